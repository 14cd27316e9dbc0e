/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>

#include "http/conn.h"

#define ERROR_BODY_MAX (16 * KIB)
/* Status line, Date, Content-Length, Connection: all that stands in a head but its headers. */
#define HEAD_FIXED_MAX 256

enum framing { FRAMED_LENGTH, FRAMED_STREAM };

/* Headers that frame the message: the server's alone. */
static const struct str reserved[] = {
    {"date", 4},    {"connection", 10}, {"content-length", 14}, {"transfer-encoding", 17},
    {"upgrade", 7}, {"keep-alive", 10}, {"trailer", 7},
};

static bool is_ours(struct str name) {
    for (size_t i = 0; i < ARRAY_LEN(reserved); i++)
        if (str_ieq(reserved[i], name))
            return true;
    return false;
}

static char *put(char *p, struct str s) {
    memcpy(p, s.p, s.len);
    return p + s.len;
}

static char *put_number(char *p, uint64_t v) {
    char digits[20];
    size_t n = sizeof(digits);
    do
        digits[--n] = (char)('0' + v % 10);
    while (v /= 10);
    return put(p, str_n(digits + n, sizeof(digits) - n));
}

static char *put_headers(char *p, const struct http_header *headers, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const struct http_header *h = &headers[i];
        if (!http_is_token(h->name) || !http_is_field_value(h->value) || is_ours(h->name))
            continue;
        p = put(put(p, h->name), STR(": "));
        if (h->value.len > 0)
            p = put(p, h->value);
        p = put(p, STR("\r\n"));
    }
    return p;
}

/* The write timeout runs from when there is something to write. */
static void output_begins(struct http_conn *c) {
    if (conn_pending(c) == 0)
        c->wrote_ns = loop_now_ns(c->server->loop);
}

/* OUT_MAX is the sum of all that may be pending: an append cannot fail. */
static void output(struct http_conn *c, struct str s) {
    int r = buf_put(&c->work->out, s.p, s.len);
    assert(r == 0);
    (void)r;
}

/* May this connection take another call after this answer? */
static void settle_keep_alive(struct http_conn *c, enum framing framing) {
    uint64_t left = c->state == CONN_BODY ? conn_body_left(c) : 0;
    if (c->server->draining)
        c->keep_alive = false;
    if (left > 0 && (!c->continued || left > HTTP_DISCARD_MAX || framing == FRAMED_STREAM))
        c->keep_alive = false;
    if (framing == FRAMED_STREAM && c->work->call.head.minor == 0)
        c->keep_alive = false;
}

static char *put_framing(struct http_conn *c, char *p, int status, enum framing framing,
                         uint64_t len) {
    struct work *w = c->work;
    bool none = status == 204 || status == 304;
    w->bodyless = none || w->call.head.method_id == HTTP_HEAD;
    w->chunked_out = framing == FRAMED_STREAM && w->call.head.minor == 1;
    if (none)
        return p;
    if (framing == FRAMED_LENGTH)
        return put(put_number(put(p, STR("Content-Length: ")), len), STR("\r\n"));
    return w->chunked_out ? put(p, STR("Transfer-Encoding: chunked\r\n")) : p;
}

/* 0, or -EMSGSIZE: the headers are too long, nothing was put. */
static int put_head(struct http_conn *c, int status, const struct http_header *headers, size_t n,
                    enum framing framing, uint64_t len) {
    size_t bound = HEAD_FIXED_MAX;
    if (status < 200 || status > 599) /* it may come from an instance */
        status = 500;
    for (size_t i = 0; i < n; i++) {
        if (headers[i].name.len + headers[i].value.len > HTTP_REPLY_HEAD_MAX)
            return -EMSGSIZE;
        bound += headers[i].name.len + headers[i].value.len + 4;
        if (bound > HTTP_REPLY_HEAD_MAX)
            return -EMSGSIZE;
    }
    struct buf *out = &c->work->out;
    output_begins(c);
    int r = buf_reserve(out, bound);
    assert(r == 0);
    (void)r;
    char *p = out->p + out->len;
    p = put_number(put(p, STR("HTTP/1.1 ")), (uint64_t)status);
    p = put(put(put(p, STR(" ")), str_of(http_status_text(status))), STR("\r\n"));
    p = put(p, server_date(c->server));
    p = put_framing(c, p, status, framing, len);
    if (!c->keep_alive)
        p = put(p, STR("Connection: close\r\n"));
    else if (c->work->call.head.minor == 0)
        p = put(p, STR("Connection: keep-alive\r\n"));
    p = put(put_headers(p, headers, n), STR("\r\n"));
    out->len = (size_t)(p - out->p);
    return 0;
}

/* Is there someone to answer? Where not, FINAL says that the handler is through with the call. */
static bool answerable(struct http_conn *c, bool final) {
    if (!c->call_open)
        return false;
    if (c->state != CONN_ORPHAN)
        return true;
    if (final) {
        c->call_open = false;
        conn_wake(c);
    }
    return false;
}

static void answered(struct http_conn *c) {
    c->reply = REPLY_DONE;
    c->call_open = false;
    conn_wake(c);
}

/* What an instance named as headers does not fit: a fault on our side of the wire. */
static void reply_too_long(struct http_conn *c) {
    reply_bad_request(c, 500, "The headers of the answer are too long.");
    answered(c);
}

void http_reply(struct http_call *call, int status, const struct http_header *headers, size_t n,
                struct str body) {
    struct http_conn *c = call->conn;
    if (!answerable(c, true))
        return;
    assert(c->reply == REPLY_NONE);
    settle_keep_alive(c, FRAMED_LENGTH);
    if (put_head(c, status, headers, n, FRAMED_LENGTH, body.len) < 0) {
        reply_too_long(c);
        return;
    }
    struct work *w = c->work;
    if (w->bodyless || body.len == 0) {
        answered(c);
        return;
    }
    if (body.len <= COPY_MAX) {
        output(c, body);
    } else {
        w->tail = (struct buf){x_memdup(body.p, body.len), body.len, body.len, body.len};
    }
    answered(c);
}

void http_reply_buf(struct http_call *call, int status, const struct http_header *headers, size_t n,
                    struct buf *body) {
    struct http_conn *c = call->conn;
    if (body->len <= COPY_MAX || !c->call_open || c->state == CONN_ORPHAN) {
        http_reply(call, status, headers, n, buf_str(body));
        buf_done(body);
        return;
    }
    assert(c->reply == REPLY_NONE);
    settle_keep_alive(c, FRAMED_LENGTH);
    if (put_head(c, status, headers, n, FRAMED_LENGTH, body->len) < 0) {
        buf_done(body);
        reply_too_long(c);
        return;
    }
    if (c->work->bodyless) {
        buf_done(body);
    } else {
        c->work->tail = *body;
        *body = BUF_INIT(body->max);
    }
    answered(c);
}

/* ---- streams ---- */
void http_stream_begin(struct http_call *call, int status, const struct http_header *headers,
                       size_t n) {
    struct http_conn *c = call->conn;
    if (!answerable(c, false))
        return;
    assert(c->reply == REPLY_NONE);
    settle_keep_alive(c, FRAMED_STREAM);
    if (put_head(c, status, headers, n, FRAMED_STREAM, 0) < 0)
        (void)put_head(c, status, NULL, 0, FRAMED_STREAM, 0);
    c->reply = REPLY_STREAM;
    conn_wake(c);
}

static void put_chunk(struct http_conn *c, struct str data) {
    char size[20], *p = size + sizeof(size);
    *--p = '\n';
    *--p = '\r';
    for (size_t v = data.len; v; v >>= 4)
        *--p = "0123456789abcdef"[v & 15];
    output(c, str_n(p, (size_t)(size + sizeof(size) - p)));
    output(c, data);
    output(c, STR("\r\n"));
}

int http_stream_write(struct http_call *call, struct str data) {
    struct http_conn *c = call->conn;
    if (!answerable(c, false))
        return -EPIPE;
    assert(c->reply == REPLY_STREAM);
    struct work *w = c->work;
    if (data.len > HTTP_STREAM_PENDING_MAX)
        return -EMSGSIZE;
    if (w->bodyless || data.len == 0)
        return 0;
    size_t pending = conn_pending(c);
    if (pending > 0 && pending + data.len > HTTP_STREAM_PENDING_MAX) {
        w->drain_wanted = true;
        return -EAGAIN;
    }
    output_begins(c);
    if (w->chunked_out)
        put_chunk(c, data);
    else
        output(c, data);
    conn_wake(c);
    return 0;
}

void http_stream_end(struct http_call *call) {
    struct http_conn *c = call->conn;
    if (!answerable(c, true))
        return;
    assert(c->reply == REPLY_STREAM);
    output_begins(c);
    if (c->work->chunked_out && !c->work->bodyless)
        output(c, STR("0\r\n\r\n"));
    answered(c);
}

void http_stream_abort(struct http_call *call) {
    struct http_conn *c = call->conn;
    if (!answerable(c, true))
        return;
    c->call_open = false;
    c->broken = true;
    conn_wake(c);
}

/* ---- the server's own ---- */
void reply_continue(struct http_conn *c) {
    output_begins(c);
    output(c, STR("HTTP/1.1 100 Continue\r\n\r\n"));
    conn_wake(c);
}

/* The head of what is refused, as far as it was understood: from its request line on. Slices of a
 * buffer that has moved since are not looked at. */
static const struct http_head *known_head(const struct http_conn *c) {
    const struct work *w = c->work;
    const struct http_head *h = &w->call.head;
    if (c->state != CONN_HEAD)
        return h;
    return h->path.len > 0 && h->base == w->in.p + w->pos ? h : NULL;
}

void reply_bad_request(struct http_conn *c, int status, const char *reason) {
    const struct http_config *cf = &c->server->config;
    const struct http_head *head = known_head(c);
    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): it has read something */
    c->work->bodyless = head && head->method_id == HTTP_HEAD;
    cleanup_buf struct buf body = BUF_INIT(ERROR_BODY_MAX);
    const char *type = "text/plain; charset=utf-8";
    if (cf->on_error) {
        cf->on_error(cf->user, head, status, reason, &body, &type);
    } else {
        (void)buf_printf(&body, "%s\n", reason);
    }
    c->keep_alive = false;
    struct http_header h = {STR("Content-Type"), str_of(type)};
    if (put_head(c, status, &h, 1, FRAMED_LENGTH, body.len) == 0 && !c->work->bodyless)
        output(c, buf_str(&body));
    conn_wake(c);
}
