/* SPDX-License-Identifier: Apache-2.0 */
/* kube: invoke. The hot path: no JSON tree, the body goes through untouched, the reply is written
 * into one buffer. */

#include "api/kube.h"
#include "invoke/invoke.h"
#include "routes.h"
#include "json/scan.h"
#include "json/write.h"
#include <stdio.h>

struct invoke {
    struct core_call call;
    struct request *r;
};

/* ---- in ---- */

static int check_body(struct str body, struct error *err) {
    size_t at = 0;
    if (body.len == 0 || json_check(body, &at) == 0)
        return 0;
    return error_set(err, ERR_INVALID, "Invalid request body: not JSON at offset %zu", at);
}

static int prepare(struct request *r, struct invoke *iv, struct error *err) {
    struct http_call *http = r->call;
    enum wire_body kind = http->body.len > 0 ? WIRE_BODY_JSON : WIRE_BODY_NONE;
    if (kube_function(r, err) < 0 || check_body(http->body, err) < 0 ||
        core_call_init(r->core, r->loop, &iv->call, r->function->no, kind, STR("POST"),
                       STR("/invoke"), err) < 0)
        return -1;
    struct engine_input *in = &iv->call.input;
    iv->call.source = SOURCE_SYNC;
    iv->call.body = http->body;
    if (invoke_input_head(in, &http->head, INVOKE_PRIVATE, &http->arena, err) == 0 &&
        invoke_input_end(in, err) == 0)
        return 0;
    core_call_done(&iv->call);
    return -1;
}

/* ---- out ---- */

/* Spin's functions return nothing but bytes: those that their type calls JSON or text are it. */
static enum wire_body shown_kind(const struct engine_result *result) {
    struct wire_in peek = result->headers;
    uint32_t left = INVOKE_HEADERS_START;
    struct http_header h;
    if (result->body_kind != WIRE_BODY_BYTES || !str_is_utf8(result->body))
        return result->body_kind;
    while (invoke_header_next(&peek, &left, &h)) {
        if (!str_ieq(h.name, STR("content-type")))
            continue;
        struct str rest = h.value, type = str_trim(str_cut(&rest, ';'));
        if (str_ieq(type, STR("application/json")) && json_check(result->body, NULL) == 0)
            return WIRE_BODY_JSON;
        if (type.len >= 5 && str_ieq(str_n(type.p, 5), STR("text/")))
            return WIRE_BODY_TEXT;
    }
    return WIRE_BODY_BYTES;
}

/* What a handler's body looks like inside the wrapper. JSON comes from the function: it is checked
 * before it becomes part of ours. */
static int write_body(struct json_w *w, const struct engine_result *result, struct error *err) {
    jw_key(w, "body");
    switch (shown_kind(result)) {
    case WIRE_BODY_JSON:
        if (json_check(result->body, NULL) < 0)
            return error_set(err, ERR_FUNCTION, "the function returned a body that is not JSON");
        jw_raw(w, result->body);
        return 0;
    case WIRE_BODY_TEXT:
        jw_str(w, result->body);
        return 0;
    case WIRE_BODY_BYTES:
        jw_base64(w, result->body);
        jw_bool_member(w, "isBase64Encoded", true);
        return 0;
    case WIRE_BODY_NONE:
        break;
    }
    jw_null(w);
    return 0;
}

static void write_headers(struct json_w *w, const struct engine_result *result) {
    struct wire_in peek = result->headers;
    if (wire_get_u32(&peek) == 0 || peek.bad)
        return;
    struct http_header none = {STR_NULL, STR_NULL};
    cleanup_buf struct buf headers = BUF_INIT(REPLY_MAX);
    if (invoke_headers_json(&headers, result->headers, true, none) > 0)
        jw_raw_member(w, "headers", buf_str(&headers));
}

static int write_result(struct buf *body, const struct engine_result *result, struct error *err) {
    struct json_w w;
    json_w_init(&w, body);
    jw_begin_object(&w);
    jw_u64_member(&w, "statusCode", result->status);
    write_headers(&w, result);
    if (write_body(&w, result, err) < 0)
        return -1;
    jw_end_object(&w);
    if (json_w_done(&w) < 0)
        return error_set(err, ERR_LIMIT, "the function's reply is over %zu bytes", body->max);
    return 0;
}

/* Room for the numbers that headers carry, until the reply is written. */
struct header_text {
    char id[ID_TEXT_MAX], seconds[24];
};

static size_t call_headers(const struct core_call *call, const struct engine_result *result,
                           struct header_text *t, struct http_header *out) {
    int n = snprintf(t->seconds, sizeof(t->seconds), "%u.%06u", result->running_us / 1000000,
                     result->running_us % 1000000);
    out[0] = (struct http_header){STR("X-Function-Duration"), str_n(t->seconds, (size_t)n)};
    out[1] = (struct http_header){STR("X-Cold-Start"), result->cold ? STR("true") : STR("false")};
    out[2] = (struct http_header){STR("X-Kiln-Invocation-Id"),
                                  str_of(invocation_id_text(t->id, &call->id))};
    return 3;
}

static void send_failure(struct request *r, const struct core_call *call,
                         const struct engine_result *result, const struct error *err) {
    const struct dialect *d = r->route->dialect;
    const struct dialect_error *line = dialect_error(d, err->code);
    struct header_text text = {.id = ""};
    struct http_header headers[8];
    size_t n = call_headers(call, result, &text, headers);
    headers[n++] = (struct http_header){STR("X-Kiln-Error"), str_of(invoke_cause(err->code))};
    if (err->retry_after_s)
        headers[n++] = (struct http_header){STR("Retry-After"), STR("1")};
    struct buf body = BUF_INIT(64 * KIB);
    d->error_body(&body, err, line->code);
    request_reply(r, line->status, headers, n, &body);
}

static void send_result(struct request *r, const struct core_call *call,
                        const struct engine_result *result) {
    struct header_text text = {.id = ""};
    struct http_header headers[4];
    struct error err;
    struct buf body = BUF_INIT(REPLY_MAX);
    (void)buf_reserve(&body, result->body.len + 64);
    if (write_result(&body, result, &err) < 0) {
        buf_done(&body);
        send_failure(r, call, result, &err);
        return;
    }
    size_t n = call_headers(call, result, &text, headers);
    request_reply(r, 200, headers, n, &body);
}

static void on_done(struct core_call *call, const struct engine_result *result,
                    const struct invocation *record UNUSED) {
    struct request *r = container_of(call, struct invoke, call)->r;
    struct error err;
    core_call_done(call); /* RESULT is not the call's; its id stays */
    if (result->cause == ERR_NONE) {
        send_result(r, call, result);
        return;
    }
    invoke_error(result, &err);
    send_failure(r, call, result, &err);
}

static void on_gone(struct request *r) {
    core_call_cancel(&((struct invoke *)r->state)->call);
    request_free(r);
}

void op_kube_invoke_function(struct request *r) {
    struct invoke *iv = x_alloc(sizeof(*iv));
    struct error err;
    iv->r = r;
    r->state = iv;
    r->free_state = free;
    if (prepare(r, iv, &err) < 0) {
        request_fail(r, &err);
        return;
    }
    iv->call.done = on_done;
    r->gone = on_gone;
    core_call_submit(&iv->call);
}
