/* SPDX-License-Identifier: Apache-2.0 */
/* runna: invoke. The body is the event itself; a call is a job, waited for or queued as its
 * function says. */

#include "api/runna.h"
#include "invoke/invoke.h"
#include "routes.h"
#include "json/scan.h"

struct invoke {
    struct core_call call;
    struct request *r;
    uint64_t no;
    int64_t created_us;
};

/* ---- in ---- */

static int check_body(struct str body, struct error *err) {
    size_t at = 0;
    if (body.len == 0 || json_check(body, &at) == 0)
        return 0;
    return error_field(err, ERR_INVALID, "body", "the body is not JSON (at offset %zu)", at);
}

static int prepare(struct request *r, struct invoke *iv, struct error *err) {
    struct http_call *http = r->call;
    enum wire_body kind = (enum wire_body)(WIRE_BODY_JSON | WIRE_PLAIN);
    if (runna_function(r, err) < 0 || check_body(http->body, err) < 0 ||
        core_call_init(r->core, r->loop, &iv->call, r->function->no, kind, STR("POST"),
                       STR("/invoke"), err) < 0)
        return -1;
    struct engine_input *in = &iv->call.input;
    iv->call.body = http->body.len ? http->body : STR("{}");
    iv->created_us = iv->call.created_us;
    if (invoke_input_head(in, &http->head, INVOKE_PRIVATE, &http->arena, err) == 0 &&
        invoke_input_end(in, err) == 0)
        return 0;
    core_call_done(&iv->call);
    return -1;
}

/* ---- out ---- */

static void send_job(struct request *r, uint64_t no, const struct invocation *record,
                     struct str result) {
    struct buf body = BUF_INIT(REPLY_MAX);
    struct json_w w;
    runna_begin(&w, &body);
    runna_write_job(&w, no, record, result);
    runna_send(r, &w, &body);
}

/* Failures of kiln's, not of the function's: the call has not run. */
static bool is_ours(enum error_code cause) {
    return cause == ERR_BUSY || cause == ERR_UNAVAILABLE || cause == ERR_CANCELED ||
           cause == ERR_INTERNAL || cause == ERR_NOT_FOUND || cause == ERR_TOO_LARGE;
}

static void keep(struct request *r, const struct invoke *iv, struct str result) {
    struct execution e = {.no = iv->no, .id = iv->call.id, .response = result};
    e.function_no = r->function->no;
    core_execution_keep(r->core, r->loop, &e);
}

static void on_done(struct core_call *call, const struct engine_result *result,
                    const struct invocation *record) {
    struct invoke *iv = container_of(call, struct invoke, call);
    struct request *r = iv->r;
    struct error err;
    core_call_done(call); /* RESULT is not the call's */
    if (is_ours(result->cause)) {
        invoke_error(result, &err);
        runna_fail(r, &err);
        return;
    }
    cleanup_buf struct buf json = BUF_INIT(REPLY_MAX);
    bool good = result->cause == ERR_NONE;
    if (good && core_result_json(&json, result->body_kind, result->body) < 0) {
        (void)error_set(&err, ERR_LIMIT, "the function's result is over %zu bytes", json.max);
        request_fail(r, &err);
        return;
    }
    keep(r, iv, good ? buf_str(&json) : STR_NULL);
    send_job(r, iv->no, record, buf_str(&json));
}

static void on_gone(struct request *r) {
    struct invoke *iv = r->state;
    core_call_cancel(&iv->call);
    keep(r, iv, STR_NULL); /* its record says that the caller went away */
    request_free(r);
}

static void on_accepted(void *arg, const struct error *err, const struct ulid *id) {
    struct request *r = arg;
    const struct invoke *iv = r->state;
    if (err) {
        runna_fail(r, err);
        return;
    }
    struct invocation record = {.id = *id,
                                .function_no = r->function->no,
                                .status = INV_PENDING,
                                .created_us = iv->created_us};
    send_job(r, iv->no, &record, STR_NULL);
}

void op_runna_invoke_function(struct request *r) {
    struct invoke *iv = x_alloc(sizeof(*iv));
    struct error err;
    iv->r = r;
    r->state = iv;
    r->free_state = free;
    if (prepare(r, iv, &err) < 0) {
        runna_fail(r, &err);
        return;
    }
    iv->no = core_job_no(r->core);
    if (r->function->async) {
        iv->call.source = SOURCE_ASYNC;
        iv->call.job_no = iv->no;
        core_call_async(&iv->call, on_accepted, r);
        return;
    }
    iv->call.source = SOURCE_SYNC;
    iv->call.done = on_done;
    r->gone = on_gone;
    core_call_submit(&iv->call);
}
