/* SPDX-License-Identifier: Apache-2.0 */
/* fnservice: status and history of invocations. */

#include "api/fnservice.h"
#include "api/lists.h"
#include "invoke/invoke.h"
#include "routes.h"

/* As a list wants it: without a result. The object stays open. */
static void write_record(struct json_w *w, const char *workspace, const struct invocation *v) {
    char id[ID_TEXT_MAX];
    bool ended = v->status == INV_COMPLETED || v->status == INV_FAILED;
    jw_begin_object(w);
    jw_cstr_member(w, "invocation_id", invocation_id_text(id, &v->id));
    jw_cstr_member(w, "workspace_id", workspace);
    fnservice_write_id(w, "function_id", "func", v->function_no);
    if (v->version_number)
        fnservice_write_version_name(w, "version", v->version_number);
    jw_cstr_member(w, "source", invocation_source_name(v->source));
    jw_cstr_member(w, "status", invocation_status_name(v->status));
    jw_time_member(w, "created_at", v->created_us);
    if (v->started_us)
        jw_time_member(w, "started_at", v->started_us);
    if (!ended)
        return;
    jw_time_member(w, "completed_at", v->ended_us);
    jw_u64_member(w, "duration", invoke_ms(v->running_us));
    jw_bool_member(w, "cold_start", v->cold);
    if (v->status == INV_COMPLETED) {
        jw_u64_member(w, "status_code", v->http_status);
        return;
    }
    jw_object_member(w, "error");
    jw_cstr_member(w, "cause", invoke_cause(v->cause));
    jw_cstr_member(w, "message", v->error_text);
    jw_end_object(w);
}

static void write_result(struct json_w *w, const struct async_call *c) {
    jw_object_member(w, "result");
    jw_u64_member(w, "status_code", c->result_status);
    if (c->result_headers.len > 0)
        jw_raw_member(w, "headers", c->result_headers);
    jw_key(w, "body");
    jw_base64(w, c->result_body);
    jw_end_object(w);
}

static void on_get(void *arg, const struct error *err, const struct async_call *c) {
    struct request *r = arg;
    struct json_w w;
    struct buf body;
    if (!request_begin(r, err, &w, &body))
        return;
    write_record(&w, r->function->workspace, &c->record);
    if (c->record.status == INV_COMPLETED && c->result_body.p)
        write_result(&w, c);
    jw_end_object(&w);
    fnservice_send(r, 200, &w, &body);
}

/* The id leads to its function, and that to its workspace: nobody reads another's. */
void op_fnservice_get_invocation(struct request *r) {
    struct ulid id;
    struct error err;
    if (invocation_id_parse(r->params[FN_INVOCATION], &id) == 0)
        r->function = core_function(r->core, ulid_function_no(&id));
    if (!r->function || !str_is(r->workspace, r->function->workspace)) {
        (void)error_field(&err, ERR_NOT_FOUND, "invocation", "Invocation not found");
        request_fail(r, &err);
        return;
    }
    core_invocation(r->core, r->loop, &id, on_get, r);
}

static void on_list(void *arg, const struct error *err, const struct invocation *v, size_t n) {
    struct request *r = arg;
    if (err) {
        request_fail(r, err);
        return;
    }
    if (page_cut(r, &n))
        page_next_id(r, &v[n - 1].id);
    struct buf body = BUF_INIT(REPLY_MAX);
    struct json_w w;
    json_w_init(&w, &body);
    jw_begin_object(&w);
    jw_array_member(&w, "invocations");
    for (size_t i = 0; i < n; i++) {
        write_record(&w, r->function->workspace, &v[i]);
        jw_end_object(&w);
    }
    jw_end_array(&w);
    jw_end_object(&w);
    fnservice_send(r, 200, &w, &body);
}

void op_fnservice_list_invocations(struct request *r) {
    struct page page;
    struct error err;
    if (fnservice_function(r, &err) < 0 || page_get(r, 50, 0, true, &page, &err) < 0) {
        request_fail(r, &err);
        return;
    }
    core_invocations(r->core, r->loop, r->function->no, &page.before_id, page.limit + 1, on_list,
                     r);
}
