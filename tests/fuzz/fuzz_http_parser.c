/* SPDX-License-Identifier: Apache-2.0 */
/* The parser of heads, chunked bodies and URLs. Checked: whole and byte by byte give the same; what
 * is accepted, http-parser accepts too, with the same method, target, headers, framing and body. */
#include "fuzz.h"

#include <string.h>

#include "http/parser.h"
#include "http/url.h"
#include "opinion.h"

#define BODY_MAX (64 * KIB)

static char *copy_of(const uint8_t *data, size_t size) {
    char *p = malloc(size ? size : 1);
    MUST(p);
    if (size)
        memcpy(p, data, size);
    return p;
}

static void check_slice(struct str s, const char *p, size_t len) {
    if (s.p && s.len && s.p >= p && s.p <= p + len)
        MUST((size_t)(s.p - p) + s.len <= len);
}

static void check_head(const struct http_head *h, const char *p, size_t len) {
    MUST(len <= HTTP_HEAD_MAX && h->n_headers <= HTTP_HEADERS_MAX && h->minor <= 1);
    MUST(!(h->has_length && h->chunked) && (h->has_length || h->content_length == 0));
    MUST(http_is_token(h->method) && h->path.len > 0);
    MUST(h->path.p[0] == '/' || (str_is(h->path, "*") && h->method_id == HTTP_OPTIONS));
    MUST(h->minor == 0 || http_is_host(h->host));
    check_slice(h->target, p, len);
    check_slice(h->path, p, len);
    check_slice(h->query, p, len);
    for (size_t i = 0; i < h->n_headers; i++) {
        check_slice(h->headers[i].name, p, len);
        check_slice(h->headers[i].value, p, len);
        MUST(http_is_token(h->headers[i].name) && http_is_field_value(h->headers[i].value));
    }
}

/* ---- byte by byte against whole ---- */
static void check_incremental(const uint8_t *data, size_t size, ssize_t whole) {
    struct http_head h;
    const char *reason = NULL;
    char *p = copy_of(data, size);
    http_head_init(&h);
    ssize_t r = 0;
    for (size_t n = 1; n <= size && r == 0; n++)
        r = http_head_parse(&h, p, n, &reason);
    MUST(whole < 0 ? r < 0 : r == whole);
    MUST(r >= 0 || reason);
    free(p);
}

struct body {
    ssize_t status;
    size_t len, used;
    bool done, trailers;
};

static struct body decode(const char *p, size_t len, size_t piece) {
    struct http_chunked d;
    cleanup_buf struct buf out = BUF_INIT(BODY_MAX);
    struct body b = {0};
    const char *reason = NULL;
    http_chunked_init(&d);
    while (b.used < len && !d.done) {
        size_t n = len - b.used < piece ? len - b.used : piece;
        b.status = http_chunked_feed(&d, p + b.used, n, &out, &reason);
        if (b.status < 0) {
            MUST(reason);
            return b;
        }
        MUST(d.done || (size_t)b.status == n);
        b.used += (size_t)b.status;
    }
    b.status = 0;
    b.len = out.len;
    b.done = d.done;
    b.trailers = d.trailers_len > 2;
    return b;
}

static struct body check_chunked(const char *p, size_t len) {
    struct body whole = decode(p, len, len ? len : 1), slow = decode(p, len, 1);
    MUST(whole.status == slow.status);
    if (whole.status == 0)
        MUST(whole.len == slow.len && whole.used == slow.used && whole.done == slow.done);
    return whole;
}

/* ---- the second opinion ---- */
/* It knows a list of methods only, and takes "Transfer-EncodingX" for a transfer coding. */
static bool is_beyond_it(const struct http_head *h) {
    for (size_t i = 0; i < h->n_headers; i++)
        if (h->headers[i].name.len > 17 && str_starts(h->headers[i].name, STR("transfer-encoding")))
            return true;
    return h->method_id == HTTP_OTHER;
}

static void ask_other(const struct http_head *h, const char *p, size_t head_len, size_t size) {
    static struct opinion o;
    if (is_beyond_it(h))
        return;
    opinion_ask(p, head_len, &o);
    MUST(!o.failed && o.head_done && o.minor == h->minor && str_is(h->method, o.method));
    MUST(str_eq(h->target, str_n(o.target, o.target_len)) && o.n_headers == h->n_headers);
    MUST(o.chunked == h->chunked && o.content_length == h->content_length);
    if (o.upgrade)
        return;
    MUST(o.keep_alive == h->keep_alive);
    if (!h->chunked) {
        MUST(o.done == (h->content_length == 0));
        return;
    }
    struct body b = check_chunked(p + head_len, size - head_len);
    if (b.status < 0 || b.trailers) /* it reads trailers as if they were headers */
        return;
    opinion_ask(p, size, &o);
    MUST(!o.failed && o.done == b.done && o.body_len == b.len);
}

/* ---- URLs ---- */
static void check_url(const struct http_head *h) {
    struct arena a;
    struct str clean, again, rest = h->query, name, value;
    arena_init(&a, 256 * KIB);
    if (url_path_clean(h->path, &a, &clean) == 0) {
        MUST(clean.p && clean.len > 0 && clean.p[0] == '/');
        MUST(!memmem(clean.p, clean.len, "//", 2) && !memmem(clean.p, clean.len, "/../", 4));
        MUST(url_path_clean(clean, &a, &again) == 0 && str_eq(clean, again));
        for (struct str left = clean, segment; url_segment_next(&left, &segment);)
            MUST(segment.len > 0 && url_decode(segment, URL_PATH, &a, &value) == 0);
    }
    while (url_query_next(&rest, &a, &name, &value) > 0)
        MUST(!(name.len && memchr(name.p, 0, name.len)));
    arena_done(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct http_head h;
    const char *reason = NULL;
    char *p = copy_of(data, size);
    http_head_init(&h);
    ssize_t n = http_head_parse(&h, p, size, &reason);
    MUST(n <= (ssize_t)size && (n >= 0 || (n <= -400 && n > -600 && reason)));
    check_incremental(data, size, n);
    if (n > 0) {
        check_head(&h, p, (size_t)n);
        ask_other(&h, p, (size_t)n, size);
        check_url(&h);
    }
    free(p);
    return 0;
}
