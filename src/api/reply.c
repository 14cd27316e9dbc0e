/* SPDX-License-Identifier: Apache-2.0 */
/* Answers: what is the same for every dialect. */

#include "api/dialects.h"
#include "api/internal.h"
#include "json/write.h"
#include <stdio.h>

#define ERROR_BODY_MAX (64 * KIB)

#define HEADER(n, v)                                                                               \
    { STR(n), STR(v) }

/* Sent with every reply of a dialect that browsers of any origin may use. */
static const struct http_header CORS[] = {
    HEADER("Access-Control-Allow-Origin", "*"),
    HEADER("Access-Control-Expose-Headers",
           "X-Function-Duration, X-Cold-Start, X-Kiln-Invocation-Id, X-Kiln-Error, Link"),
};

static size_t cors_headers(const struct dialect *d, struct http_header *out) {
    if (!d->cors)
        return 0;
    memcpy(out, CORS, sizeof(CORS));
    return ARRAY_LEN(CORS);
}

size_t request_headers(const struct request *r, struct http_header *out) {
    size_t n = cors_headers(r->route->dialect, out);
    if (r->next)
        out[n++] = (struct http_header){STR("Link"), str_of(r->next)};
    return n;
}

static bool has_content_type(const struct http_header *headers, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (str_ieq(headers[i].name, STR("content-type")))
            return true;
    }
    return false;
}

void request_reply(struct request *r, int status, const struct http_header *headers, size_t n,
                   struct buf *body) {
    struct http_header all[REPLY_HEADERS_MAX];
    size_t count = 0;
    if (r->call) {
        if (body->len > 0 && !has_content_type(headers, n))
            all[count++] =
                (struct http_header){STR("Content-Type"), str_of(r->route->dialect->content_type)};
        count += request_headers(r, all + count);
        for (size_t i = 0; i < n && count < REPLY_HEADERS_MAX; i++)
            all[count++] = headers[i];
        http_reply_buf(r->call, status, all, count, body);
    }
    buf_done(body);
    request_free(r);
}

void request_json(struct request *r, int status, struct buf *body) {
    request_reply(r, status, NULL, 0, body);
}

bool request_begin(struct request *r, const struct error *err, struct json_w *w, struct buf *body) {
    if (err) {
        request_fail(r, err);
        return false;
    }
    buf_init(body, REPLY_MAX);
    json_w_init(w, body);
    return true;
}

void request_written(struct request *r, int status, const struct http_header *headers, size_t n,
                     struct json_w *w, struct buf *body) {
    if (json_w_done(w) == 0) {
        request_reply(r, status, headers, n, body);
        return;
    }
    struct error err;
    (void)error_set(&err, ERR_INTERNAL, "the reply is over %zu bytes", body->max);
    buf_done(body);
    request_fail(r, &err);
}

void request_empty(struct request *r, int status) {
    struct buf nothing = BUF_INIT(0);
    request_reply(r, status, NULL, 0, &nothing);
}

void request_deleted(void *arg, const struct error *err) {
    if (err)
        request_fail(arg, err);
    else
        request_empty(arg, 204);
}

void request_fail(struct request *r, const struct error *err) {
    if (r->call)
        reply_error(r->call, r->route->dialect, err, NULL);
    request_free(r);
}

void reply_error(struct http_call *call, const struct dialect *d, const struct error *err,
                 const char *allow) {
    const struct dialect_error *line = dialect_error(d, err->code);
    struct http_header headers[REPLY_HEADERS_MAX];
    char seconds[16];
    size_t n = 0;
    headers[n++] = (struct http_header){STR("Content-Type"), str_of(d->content_type)};
    n += cors_headers(d, headers + n);
    if (allow && allow[0])
        headers[n++] = (struct http_header){STR("Allow"), str_of(allow)};
    if (err->code == ERR_UNAUTHENTICATED)
        headers[n++] = (struct http_header)HEADER("WWW-Authenticate", "Bearer realm=\"kiln\"");
    if (err->retry_after_s) {
        (void)snprintf(seconds, sizeof(seconds), "%u", err->retry_after_s);
        headers[n++] = (struct http_header){STR("Retry-After"), str_of(seconds)};
    }
    cleanup_buf struct buf body = BUF_INIT(ERROR_BODY_MAX);
    d->error_body(&body, err, line->code);
    http_reply_buf(call, line->status, headers, n, &body);
}

void reply_options(struct http_call *call, const struct dialect *d, const char *allow) {
    struct http_header headers[REPLY_HEADERS_MAX];
    size_t n = cors_headers(d, headers);
    struct str methods =
        allow && allow[0] ? str_of(allow) : STR("GET, HEAD, POST, PUT, DELETE, OPTIONS");
    headers[n++] = (struct http_header){STR("Allow"), methods};
    if (d->cors) {
        headers[n++] = (struct http_header){STR("Access-Control-Allow-Methods"), methods};
        headers[n++] = (struct http_header)HEADER("Access-Control-Allow-Headers",
                                                  "Authorization, Content-Type, *");
        headers[n++] = (struct http_header)HEADER("Access-Control-Max-Age", "86400");
    }
    http_reply(call, d->cors ? 200 : 204, headers, n, STR(""));
}
