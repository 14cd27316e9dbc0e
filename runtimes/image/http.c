/* SPDX-License-Identifier: Apache-2.0 */
#include "image_runtime.h"

/* Format "http": HTTP/1.1 as RFC 9112 has it, between two who know each other: no pipelining, no
 * trailers, no upgrade. */

#include <errno.h>
#include <stdio.h>

/* ---- request ---- */

static void put_encoded(struct buf *out, struct str s) {
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    for (size_t i = 0; i < s.len; i++) {
        if (s.p[i] && strchr(plain, s.p[i]))
            (void)buf_putc(out, s.p[i]);
        else
            (void)buf_printf(out, "%%%02X", (unsigned char)s.p[i]);
    }
}

static void put_target(const struct call *c, struct buf *out) {
    struct wire_in in = c->query;
    for (size_t i = 0; i < c->path.len; i++) { /* decoded by the server */
        if ((unsigned char)c->path.p[i] > 0x20 && c->path.p[i] != 0x7f)
            (void)buf_putc(out, c->path.p[i]);
        else
            (void)buf_printf(out, "%%%02X", (unsigned char)c->path.p[i]);
    }
    uint32_t n = wire_get_u32(&in);
    for (uint32_t i = 0; i < n; i++) {
        (void)buf_putc(out, i ? '&' : '?');
        put_encoded(out, wire_get_str(&in));
        (void)buf_putc(out, '=');
        put_encoded(out, wire_get_str(&in));
    }
}

static void put_header(struct buf *out, struct str name, struct str value) {
    if (memchr(value.len ? value.p : "", '\n', value.len) ||
        memchr(value.len ? value.p : "", '\r', value.len))
        return;
    (void)buf_put_str(out, name);
    (void)buf_puts(out, ": ");
    (void)buf_put_str(out, value);
    (void)buf_puts(out, "\r\n");
}

static bool is_framing(struct str name) {
    static const char *const names[] = {
        "content-length", "transfer-encoding", "connection", "keep-alive",      "te",
        "trailer",        "upgrade",           "expect",     "proxy-connection"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_ieq(name, str_of(names[i])))
            return true;
    return false;
}

/* What a container of format default finds in its environment, this one finds in headers, as the
 * original platform does it (api/runner/protocol/http.go there). */
static void put_call_env(const struct call *c, struct buf *out) {
    struct strings env = {0};
    call_env(c, &env);
    for (size_t i = 0; i < env.n; i++) {
        struct str value = str_of(env.v[i]), name = str_cut(&value, '=');
        put_header(out, name, value);
    }
    strings_done(&env);
    put_header(out, STR("Task-ID"), c->id);
}

int http_request(const struct call *c, struct buf *out) {
    struct wire_in in = c->headers;
    (void)buf_put_str(out, c->method);
    (void)buf_putc(out, ' ');
    put_target(c, out);
    (void)buf_puts(out, " HTTP/1.1\r\n");
    if (!call_header(c, "host").p)
        (void)buf_puts(out, "Host: localhost\r\n");
    for (uint32_t n = wire_get_u32(&in); n > 0; n--) {
        struct str name = wire_get_str(&in), value = wire_get_str(&in);
        if (!header_is_ours(name) && !is_framing(name))
            put_header(out, name, value);
    }
    put_call_env(c, out);
    return buf_printf(out, "Content-Length: %zu\r\n\r\n", c->body.len);
}

/* ---- answer ---- */

struct head {
    unsigned minor, status;
    size_t len; /* with the empty line */
    bool has_length, chunked, close;
    uint64_t length;
};

static int read_status(struct str line, struct head *h) {
    /* "HTTP/1.1 200 OK" */
    if (line.len < 12 || memcmp(line.p, "HTTP/1.", 7) != 0 || line.p[8] != ' ' ||
        (line.p[7] != '0' && line.p[7] != '1') || (line.len > 12 && line.p[12] != ' '))
        return -EBADMSG;
    for (int i = 9; i < 12; i++)
        if (line.p[i] < '0' || line.p[i] > '9')
            return -EBADMSG;
    h->minor = (unsigned)(line.p[7] - '0');
    h->status = (unsigned)((line.p[9] - '0') * 100 + (line.p[10] - '0') * 10 + (line.p[11] - '0'));
    h->close = h->minor == 0;
    return h->status >= 100 && h->status <= 599 ? 0 : -EBADMSG;
}

static bool is_token(struct str s) {
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.p[i] <= ' ' || s.p[i] == 0x7f || s.p[i] == ':')
            return false;
    return s.len > 0;
}

static int read_field(struct str line, struct head *h, struct result *r) {
    struct str value = line, name = str_cut(&value, ':');
    if (!value.p || !is_token(name))
        return -EBADMSG;
    value = str_trim(value);
    if (str_ieq(name, STR("content-length"))) {
        uint64_t n;
        if (str_u64(value, IMAGE_BODY_MAX, &n) < 0 || (h->has_length && n != h->length))
            return -EBADMSG;
        h->has_length = true;
        h->length = n;
    } else if (str_ieq(name, STR("transfer-encoding"))) {
        if (!str_ieq(value, STR("chunked")))
            return -EBADMSG;
        h->chunked = true;
    } else if (str_ieq(name, STR("connection"))) {
        h->close |= str_ieq(value, STR("close"));
    } else if (!is_framing(name)) {
        result_header(r, name, value);
    }
    return 0;
}

static struct str next_line(struct str *rest) {
    struct str line = str_cut(rest, '\n');
    if (line.len && line.p[line.len - 1] == '\r')
        line.len--;
    return line;
}

/* Length of the head with its empty line, 0 when that has not come. */
static size_t head_len(struct str text) {
    size_t n = text.len < IMAGE_HEAD_MAX ? text.len : IMAGE_HEAD_MAX;
    for (size_t i = 0; i + 1 < n; i++)
        if (text.p[i] == '\n' && (text.p[i + 1] == '\n' ||
                                  (text.p[i + 1] == '\r' && i + 2 < n && text.p[i + 2] == '\n')))
            return i + (text.p[i + 1] == '\n' ? 2 : 3);
    return 0;
}

static int read_head(struct str text, struct head *h, struct result *r) {
    struct str rest = str_n(text.p, h->len);
    result_done(r);
    if (read_status(next_line(&rest), h) < 0)
        return -EBADMSG;
    while (rest.p) {
        struct str line = next_line(&rest);
        if (!line.len)
            return 0;
        if (read_field(line, h, r) < 0)
            return -EBADMSG;
    }
    return 0;
}

/* Length of a chunked body at the front of TEXT, whose chunks go to BODY; 0: more is needed. */
static ssize_t read_chunks(struct str text, struct progress *p, struct buf *body) {
    size_t at = p->at;
    for (;; p->at = at) {
        const char *end = at < text.len ? memchr(text.p + at, '\n', text.len - at) : NULL;
        if (!end)
            return text.len - at > 64 ? -EBADMSG : 0;
        uint64_t n = 0;
        size_t digits = 0;
        for (int d; (d = hex_value(text.p[at + digits])) >= 0; digits++)
            if ((n = n * 16 + (unsigned)d) > IMAGE_BODY_MAX)
                return -EBADMSG;
        if (!digits)
            return -EBADMSG;
        at = (size_t)(end + 1 - text.p);
        size_t left = text.len - at, want = n + 2; /* with its CRLF */
        if (left < want)
            return 0;
        if (memcmp(text.p + at + n, "\r\n", 2) != 0 || buf_put(body, text.p + at, n) < 0)
            return -EBADMSG;
        at += want;
        if (n == 0)
            return (ssize_t)at;
    }
}

static ssize_t read_body(struct str text, const struct head *h, bool eof, bool is_head,
                         struct progress *p, struct result *r, struct buf *body) {
    struct str rest = str_n(text.p + h->len, text.len - h->len);
    r->body = STR("");
    if (is_head || h->status == 204 || h->status == 304)
        return (ssize_t)h->len;
    if (h->chunked) {
        ssize_t n = read_chunks(rest, p, body);
        r->body = buf_str(body);
        return n <= 0 ? n : (ssize_t)h->len + n;
    }
    if (h->has_length) {
        if (rest.len < h->length)
            return 0;
        r->body = str_n(rest.p, h->length);
        return (ssize_t)(h->len + h->length);
    }
    if (!h->close) /* it would never end */
        return -EBADMSG;
    r->body = rest;
    return eof ? (ssize_t)text.len : 0;
}

static bool says_json(const struct result *r) {
    struct wire_in in = wire_open(buf_str(&r->headers));
    for (uint32_t i = 0; i < r->n_headers; i++) {
        struct str name = wire_get_str(&in), value = wire_get_str(&in);
        if (str_ieq(name, STR("content-type")))
            return value.len >= 16 && str_ieq(str_n(value.p, 16), STR("application/json"));
    }
    return false;
}

ssize_t http_answer(struct str text, bool eof, bool is_head, struct progress *p, struct result *r,
                    struct buf *body, const char **ret_why) {
    size_t skipped = 0;
    *ret_why = "the container's answer is no HTTP response";
    for (;;) { /* over interim answers (100 Continue) */
        struct head h = {.len = head_len(text)};
        if (text.len && memcmp(text.p, "HTTP/1.", text.len < 7 ? text.len : 7) != 0)
            return -EBADMSG;
        if (!h.len)
            return text.len >= IMAGE_HEAD_MAX ? -EBADMSG : 0;
        if (read_head(text, &h, r) < 0)
            return -EBADMSG;
        if (h.status >= 200) {
            *ret_why = "the container's HTTP response has no Content-Length that holds, or its "
                       "body is malformed";
            ssize_t n = read_body(text, &h, eof, is_head, p, r, body);
            r->status = (uint16_t)h.status;
            r->wrapped = true;
            r->is_json = says_json(r);
            return n <= 0 ? n : (ssize_t)skipped + n;
        }
        skipped += h.len;
        text = str_n(text.p + h.len, text.len - h.len);
    }
}
