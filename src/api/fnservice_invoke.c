/* SPDX-License-Identifier: Apache-2.0 */
/* fnservice: synchronous and asynchronous calls. */

#include "api/fnservice.h"
#include "api/fnservice_input.h"
#include "invoke/invoke.h"
#include "routes.h"
#include <stdio.h>

struct invoke {
    struct core_call call;
    struct fnservice_input input;
    struct request *r;
};

static void invoke_free(void *state) {
    struct invoke *iv = state;
    fnservice_input_done(&iv->input);
    free(iv);
}

/* Ready to be submitted: 0, or -1 with nothing of the call left to free. */
static int prepare(struct request *r, enum invocation_source source, struct error *err) {
    struct invoke *iv = x_alloc(sizeof(*iv));
    struct fnservice_input *in = &iv->input;
    r->state = iv;
    r->free_state = invoke_free;
    iv->r = r;
    if (fnservice_function(r, err) < 0 ||
        fnservice_input_read(in, r->call->body, core_config_of(r->core)->body_max, err) < 0)
        return -1;
    enum wire_body kind = invoke_body_kind(in->content_type, buf_str(&in->body));
    if (core_call_init(r->core, r->loop, &iv->call, r->function->no, kind, in->method, in->path,
                       err) < 0)
        return -1;
    iv->call.source = source;
    iv->call.body = buf_str(&in->body);
    if (fnservice_input_pairs(in, &iv->call.input, err) == 0) {
        if (engine_input_end(&iv->call.input) == 0)
            return 0;
        (void)error_set(err, ERR_TOO_LARGE,
                        "\"headers\" and \"query\" are over %zu bytes or %d "
                        "entries",
                        CORE_CALL_HEAD_MAX, WIRE_HEADERS_MAX);
    }
    core_call_done(&iv->call);
    return -1;
}

/* ---- replies ---- */

/* Headers of every reply that has an invocation; ID is kept by the caller. */
static size_t call_headers(const struct core_call *call, char id[ID_TEXT_MAX],
                           struct http_header *out) {
    out[0] = (struct http_header){STR("X-Kiln-Invocation-Id"),
                                  str_of(invocation_id_text(id, &call->id))};
    return 1;
}

static void write_headers(struct json_w *w, const struct engine_result *result) {
    struct http_header type = {STR_NULL, STR_NULL};
    if (result->body_kind == WIRE_BODY_JSON)
        type = (struct http_header){STR("Content-Type"), STR("application/json")};
    cleanup_buf struct buf headers = BUF_INIT(REPLY_MAX);
    (void)invoke_headers_json(&headers, result->headers, false, type);
    jw_raw_member(w, "headers", buf_str(&headers));
}

static void send_result(struct request *r, const struct core_call *call,
                        const struct engine_result *result) {
    char id[ID_TEXT_MAX];
    struct http_header headers[1];
    size_t n = call_headers(call, id, headers);
    struct buf body = BUF_INIT(REPLY_MAX);
    struct json_w w;
    json_w_init(&w, &body);
    jw_begin_object(&w);
    jw_u64_member(&w, "status_code", result->status);
    write_headers(&w, result);
    jw_key(&w, "body");
    jw_base64(&w, result->body);
    jw_u64_member(&w, "duration", invoke_ms(result->running_us));
    jw_bool_member(&w, "cold_start", result->cold);
    jw_cstr_member(&w, "invocation_id", id);
    jw_end_object(&w);
    request_written(r, 200, headers, n, &w, &body);
}

static void write_details(struct json_w *w, const struct request *r, const char *id,
                          const struct engine_result *result) {
    jw_object_member(w, "details");
    if (result->cause == ERR_BUILD_FAILED) {
        char path[256];
        (void)snprintf(path, sizeof(path), "/api/v1/workspaces/%s/functions/func-%u/versions/v%u",
                       r->function->workspace, r->function->no, r->function->last_number);
        fnservice_write_version_name(w, "version", r->function->last_number);
        jw_cstr_member(w, "build_log", path);
    } else {
        jw_cstr_member(w, "invocation_id", id);
        jw_cstr_member(w, "cause", invoke_cause(result->cause));
        if (result->error_type)
            jw_cstr_member(w, "error_type", result->error_type);
        jw_bool_member(w, "cold_start", result->cold);
        jw_u64_member(w, "duration", invoke_ms(result->running_us));
    }
    jw_end_object(w);
}

static void write_sentence(struct json_w *w, const struct engine_result *result) {
    const char *text = result->error_text ? result->error_text : "the call failed";
    if (result->error_type) {
        cleanup_free char *both = x_asprintf("%s: %s", result->error_type, text);
        jw_cstr_member(w, "error", both);
    } else {
        jw_cstr_member(w, "error", text);
    }
}

static void send_failure(struct request *r, const struct core_call *call,
                         const struct engine_result *result) {
    const struct dialect_error *line = dialect_error(r->route->dialect, result->cause);
    const char *word = result->cause == ERR_BUILD_FAILED ? line->code : "INVOCATION_FAILED";
    char id[ID_TEXT_MAX];
    struct http_header headers[3];
    size_t n = call_headers(call, id, headers);
    headers[n++] = (struct http_header){STR("X-Kiln-Error"), str_of(invoke_cause(result->cause))};
    if (line->status == 503)
        headers[n++] = (struct http_header){STR("Retry-After"), STR("1")};
    struct buf body = BUF_INIT(REPLY_MAX);
    struct json_w w;
    json_w_init(&w, &body);
    jw_begin_object(&w);
    write_sentence(&w, result);
    jw_cstr_member(&w, "code", word);
    write_details(&w, r, id, result);
    jw_end_object(&w);
    request_written(r, line->status, headers, n, &w, &body);
}

/* The version that did not build, where it is known before there is an invocation. */
static void refuse(struct request *r, const struct error *err) {
    if (err->code != ERR_BUILD_FAILED || !r->function) {
        request_fail(r, err);
        return;
    }
    struct engine_result result = {.cause = err->code, .error_text = err->text};
    struct buf body = BUF_INIT(REPLY_MAX);
    struct json_w w;
    json_w_init(&w, &body);
    jw_begin_object(&w);
    write_sentence(&w, &result);
    jw_cstr_member(&w, "code", dialect_error(r->route->dialect, err->code)->code);
    write_details(&w, r, "", &result);
    jw_end_object(&w);
    fnservice_send(r, dialect_error(r->route->dialect, err->code)->status, &w, &body);
}

/* ---- synchronous ---- */

static void on_done(struct core_call *call, const struct engine_result *result,
                    const struct invocation *record UNUSED) {
    struct request *r = container_of(call, struct invoke, call)->r;
    core_call_done(call); /* RESULT is not the call's; its id stays */
    if (result->cause == ERR_NONE)
        send_result(r, call, result);
    else
        send_failure(r, call, result);
}

static void on_gone(struct request *r) {
    struct invoke *iv = r->state;
    core_call_cancel(&iv->call);
    request_free(r);
}

void op_fnservice_invoke_function(struct request *r) {
    struct error err;
    if (prepare(r, SOURCE_SYNC, &err) < 0) {
        refuse(r, &err);
        return;
    }
    struct invoke *iv = r->state;
    iv->call.done = on_done;
    r->gone = on_gone;
    core_call_submit(&iv->call);
}

/* ---- asynchronous ---- */

static void on_accepted(void *arg, const struct error *err, const struct ulid *id) {
    struct request *r = arg;
    if (err) {
        request_fail(r, err);
        return;
    }
    struct core_call named = {.id = *id};
    char text[ID_TEXT_MAX];
    struct http_header headers[1];
    size_t n = call_headers(&named, text, headers);
    struct buf body = BUF_INIT(KIB);
    struct json_w w;
    json_w_init(&w, &body);
    jw_begin_object(&w);
    jw_cstr_member(&w, "invocation_id", text);
    jw_end_object(&w);
    request_written(r, 202, headers, n, &w, &body);
}

void op_fnservice_invoke_async(struct request *r) {
    struct error err;
    if (prepare(r, SOURCE_ASYNC, &err) < 0) {
        refuse(r, &err);
        return;
    }
    core_call_async(&((struct invoke *)r->state)->call, on_accepted, r);
}
