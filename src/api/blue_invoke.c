/* SPDX-License-Identifier: Apache-2.0 */
/* blue: invoke. The function gets a POST; what went in and came out is kept for the logs, and the
 * answer is the call's own ExecutionLog, its lines included. */

#include "api/blue.h"
#include "api/dialects.h"
#include "base/clock.h"
#include "invoke/invoke.h"
#include "routes.h"

#define LINES_MAX 10000 /* of one call, the newest; its bytes are bounded when they are written */

struct invoke { /* r->state */
    struct core_call call;
    struct request *r;
    struct buf request;  /* a copy: the connection's goes with a client that leaves */
    struct buf response; /* as JSON */
    struct invocation record;
};

static void invoke_free(void *state) {
    struct invoke *iv = state;
    buf_done(&iv->request);
    buf_done(&iv->response);
    free(iv);
}

/* ---- in ---- */

static int prepare(struct request *r, struct invoke *iv, struct error *err) {
    struct http_call *http = r->call;
    enum wire_body kind = iv->request.len > 0 ? WIRE_BODY_JSON : WIRE_BODY_NONE;
    if (blue_is_inactive(r->function))
        return error_field(err, ERR_CONFLICT, "status",
                           "Function is inactive: set its status to active to invoke it");
    if (core_call_init(r->core, r->loop, &iv->call, r->function->no, kind, STR("POST"), STR("/"),
                       err) < 0)
        return -1;
    struct engine_input *in = &iv->call.input;
    iv->call.source = SOURCE_SYNC;
    iv->call.body = buf_str(&iv->request);
    if (invoke_input_head(in, &http->head, INVOKE_PRIVATE, &http->arena, err) == 0 &&
        invoke_input_end(in, err) == 0)
        return 0;
    core_call_done(&iv->call);
    return -1;
}

/* ---- what did not build has no call to show: its build's log is the answer ---- */

static void on_version(void *arg, const struct error *err, const struct version *v) {
    struct request *r = arg;
    struct error failed;
    struct str log = str_of(!err && v->build_log ? v->build_log : "");
    size_t most = ERROR_TEXT_MAX / 2; /* its end says what was wrong */
    if (log.len > most)
        log = str_n(log.p + log.len - most, most);
    while (log.len && ((unsigned char)log.p[0] & 0xc0) == 0x80)
        log = str_n(log.p + 1, log.len - 1);
    (void)error_field(&failed, ERR_BUILD_FAILED, "code", "the function's code did not build%s%.*s",
                      log.len ? ": " : "", STR_ARG(log));
    request_fail(r, &failed);
}

static void refuse(struct request *r, const struct error *err) {
    if (err->code == ERR_BUILD_FAILED)
        core_version(r->core, r->loop, r->function->no, 0, r->function->last_number, on_version, r);
    else
        request_fail(r, err);
}

/* ---- out ---- */

/* The function's answer as JSON; bytes that are no text as base64. */
static int put_response(struct buf *out, const struct engine_result *result) {
    struct json_w w;
    json_w_init(&w, out);
    if (result->body.len == 0)
        return 0;
    if (json_check(result->body, NULL) == 0) {
        jw_raw(&w, result->body);
        return json_w_done(&w);
    }
    bool text = str_is_utf8(result->body);
    jw_begin_object(&w);
    jw_key(&w, "data");
    if (text) {
        jw_str(&w, result->body);
    } else {
        jw_base64(&w, result->body);
        jw_bool_member(&w, "isBase64Encoded", true);
    }
    jw_end_object(&w);
    return json_w_done(&w);
}

static void put_failure(struct buf *out, const struct error *err) {
    struct json_w w;
    json_w_init(&w, out);
    jw_begin_object(&w);
    jw_cstr_member(&w, "error", err->text);
    jw_end_object(&w);
}

static void on_lines(void *arg, const struct error *err, const struct log_line *lines, size_t n) {
    struct invoke *iv = arg;
    struct request *r = iv->r;
    struct buf body = BUF_INIT(REPLY_MAX);
    struct json_w w;
    json_w_init(&w, &body);
    blue_write_execution(&w, &iv->record, buf_str(&iv->request), buf_str(&iv->response), lines,
                         err ? 0 : n);
    request_written(r, 200, NULL, 0, &w, &body);
}

/* A fault of the function's is an answer; one of the platform's is an error. */
static bool is_functions_own(enum error_code cause) {
    switch (cause) {
    case ERR_NONE:
    case ERR_FUNCTION:
    case ERR_TIMEOUT:
    case ERR_MEMORY:
    case ERR_CRASH:
    case ERR_LIMIT:
        return true;
    default:
        return false;
    }
}

static void keep(struct invoke *iv) {
    struct execution e = {.function_no = iv->record.function_no, .id = iv->call.id};
    if (iv->request.len)
        e.request = buf_str(&iv->request);
    if (iv->response.len)
        e.response = buf_str(&iv->response);
    core_execution_keep(iv->r->core, iv->r->loop, &e);
}

static void on_done(struct core_call *call, const struct engine_result *result,
                    const struct invocation *record) {
    struct invoke *iv = container_of(call, struct invoke, call);
    struct request *r = iv->r;
    struct error err;
    r->gone = NULL; /* the call is over: what follows ends by itself */
    iv->record = *record;
    core_call_done(call); /* RESULT is not the call's; its id stays */
    if (result->cause != ERR_NONE)
        invoke_error(result, &err);
    if (!is_functions_own(result->cause)) {
        refuse(r, &err);
        return;
    }
    if (result->cause != ERR_NONE)
        put_failure(&iv->response, &err);
    else if (put_response(&iv->response, result) < 0)
        buf_clear(&iv->response);
    keep(iv);
    struct log_filter lines = {
        .function_no = record->function_no, .invocation = iv->call.id, .limit = LINES_MAX};
    core_logs(r->core, r->loop, &lines, on_lines, iv);
}

static void on_gone(struct request *r) {
    core_call_cancel(&((struct invoke *)r->state)->call);
    request_free(r);
}

/* False: R is answered. */
static bool body_is_json(struct request *r) {
    struct blue_check c;
    size_t at = 0;
    blue_check_init(&c);
    if (str_trim(r->call->body).len > 0 && json_check(r->call->body, &at) < 0)
        blue_no_json(&c, at, "the body must be one JSON value");
    if (blue_refused(&c, r))
        return false;
    blue_check_done(&c);
    return true;
}

void op_blue_invoke_function(struct request *r) {
    struct error err;
    if (blue_function(r, &err) < 0) {
        request_fail(r, &err);
        return;
    }
    if (!body_is_json(r))
        return;
    struct invoke *iv = x_alloc(sizeof(*iv));
    iv->r = r;
    buf_init(&iv->request, core_config_of(r->core)->body_max);
    buf_init(&iv->response, REPLY_MAX / 2);
    r->state = iv;
    r->free_state = invoke_free;
    int rc = buf_put_str(&iv->request, str_trim(r->call->body));
    if (rc < 0)
        (void)error_errno(&err, rc, "the request's body");
    if (rc < 0 || prepare(r, iv, &err) < 0) {
        refuse(r, &err);
        return;
    }
    iv->call.done = on_done;
    r->gone = on_gone;
    core_call_submit(&iv->call);
}
