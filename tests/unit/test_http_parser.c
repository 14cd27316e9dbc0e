/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "http/parser.h"

#define HOST "Host: example.com\r\n"

struct request {
    char *p;
    size_t len;
};

static struct request request_of(const char *text, size_t len) {
    return (struct request){x_memdup(text, len), len};
}

/* Fed in two pieces, cut at every place, and byte by byte: R must come out, and nothing before. */
static void check_every_cut(const char *text, size_t len, ssize_t whole) {
    for (size_t cut = 0; cut < len; cut++) {
        struct http_head h;
        const char *reason = NULL;
        struct request q = request_of(text, len);
        http_head_init(&h);
        ssize_t r = http_head_parse(&h, q.p, cut, &reason);
        if (whole > 0 && cut >= (size_t)whole)
            assert_int_equal(r, whole);
        else
            assert_true(r == 0 || (whole < 0 && r == whole));
        if (r == 0)
            r = http_head_parse(&h, q.p, len, &reason);
        assert_int_equal(r, whole);
        free(q.p);
    }
}

static ssize_t parse(struct http_head *h, struct request *q) {
    const char *reason = NULL;
    http_head_init(h);
    ssize_t r = http_head_parse(h, q->p, q->len, &reason);
    assert_true(r >= 0 || (reason && strlen(reason) > 10));
    return r;
}

static const struct {
    const char *text, *method, *path, *query, *host;
    uint64_t length;
    bool chunked, keep, expect;
    size_t headers;
} accepted[] = {
    {"GET / HTTP/1.1\r\n" HOST "\r\n", "GET", "/", NULL, "example.com", 0, 0, 1, 0, 1},
    {"\r\nGET / HTTP/1.1\r\n" HOST "\r\n", "GET", "/", NULL, "example.com", 0, 0, 1, 0, 1},
    {"GET /a%20b?x=1&y HTTP/1.1\r\n" HOST "\r\n", "GET", "/a%20b", "x=1&y", "example.com", 0, 0, 1,
     0, 1},
    {"GET /? HTTP/1.1\r\n" HOST "\r\n", "GET", "/", "", "example.com", 0, 0, 1, 0, 1},
    {"GET /a?b?c HTTP/1.1\r\n" HOST "\r\n", "GET", "/a", "b?c", "example.com", 0, 0, 1, 0, 1},
    {"PROPFIND /{a}|b HTTP/1.1\r\n" HOST "\r\n", "PROPFIND", "/{a}|b", NULL, "example.com", 0, 0, 1,
     0, 1},
    {"OPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "OPTIONS", "*", NULL, "[::1]:80", 0, 0, 1, 0,
     1},
    {"GET HTTP://other:81/p?q HTTP/1.1\r\n" HOST "\r\n", "GET", "/p", "q", "other:81", 0, 0, 1, 0,
     1},
    {"GET https://o HTTP/1.1\r\n" HOST "\r\n", "GET", "/", NULL, "o", 0, 0, 1, 0, 1},
    {"OPTIONS http://o HTTP/1.1\r\n" HOST "\r\n", "OPTIONS", "*", NULL, "o", 0, 0, 1, 0, 1},
    {"GET http://o?q HTTP/1.1\r\n" HOST "\r\n", "GET", "/", "q", "o", 0, 0, 1, 0, 1},
    {"POST / HTTP/1.1\r\nhOST:h\r\nContent-Length:   012  \r\n\r\n", "POST", "/", NULL, "h", 12, 0,
     1, 0, 2},
    {"POST / HTTP/1.1\r\n" HOST "Content-Length: 9223372036854775807\r\n\r\n", "POST", "/", NULL,
     "example.com", INT64_MAX, 0, 1, 0, 2},
    {"POST / HTTP/1.1\r\n" HOST "transfer-encoding: Chunked\r\n\r\n", "POST", "/", NULL,
     "example.com", 0, 1, 1, 0, 2},
    {"PUT / HTTP/1.1\r\n" HOST "Expect: 100-Continue\r\nContent-Length: 1\r\n\r\n", "PUT", "/",
     NULL, "example.com", 1, 0, 1, 1, 3},
    {"GET / HTTP/1.1\r\n" HOST "Connection: a, CLOSE ,b\r\n\r\n", "GET", "/", NULL, "example.com",
     0, 0, 0, 0, 2},
    {"GET / HTTP/1.1\r\n" HOST "Connection: x\r\nConnection: close\r\n\r\n", "GET", "/", NULL,
     "example.com", 0, 0, 0, 0, 3},
    {"GET / HTTP/1.1\r\n" HOST "Connection: closed\r\n\r\n", "GET", "/", NULL, "example.com", 0, 0,
     1, 0, 2},
    {"GET / HTTP/1.0\r\n\r\n", "GET", "/", NULL, NULL, 0, 0, 0, 0, 0},
    {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\nExpect: 100-continue\r\n\r\n", "GET", "/", NULL,
     NULL, 0, 0, 1, 0, 2},
    {"GET / HTTP/1.1\r\n" HOST "X:\r\nY: \t \r\nZ: a\tb\x80\xff\r\n\r\n", "GET", "/", NULL,
     "example.com", 0, 0, 1, 0, 4},
    {"GET / HTTP/1.1\r\nHost: a%41-_.~!$&'()*+,;=:\r\n\r\n", "GET", "/", NULL,
     "a%41-_.~!$&'()*+,;=:", 0, 0, 1, 0, 1},
};

static void check_str(struct str s, const char *want) {
    if (!want) {
        assert_null(s.p);
        return;
    }
    assert_non_null(s.p);
    assert_int_equal(s.len, strlen(want));
    assert_memory_equal(s.p, want, s.len);
}

static void good_requests_are_understood(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(accepted); i++) {
        struct http_head h;
        size_t head_len = strlen(accepted[i].text);
        char text[512];
        snprintf(text, sizeof(text), "%sGET /next", accepted[i].text);
        struct request q = request_of(text, strlen(text));
        assert_int_equal(parse(&h, &q), head_len);
        check_str(h.method, accepted[i].method);
        check_str(h.path, accepted[i].path);
        check_str(h.query, accepted[i].query);
        check_str(h.host, accepted[i].host);
        assert_int_equal(h.content_length, accepted[i].length);
        assert_int_equal(h.has_length, accepted[i].length > 0);
        assert_int_equal(h.chunked, accepted[i].chunked);
        assert_int_equal(h.keep_alive, accepted[i].keep);
        assert_int_equal(h.expect_continue, accepted[i].expect);
        assert_int_equal(h.n_headers, accepted[i].headers);
        check_every_cut(text, q.len, (ssize_t)head_len);
        free(q.p);
    }
}

#define R(line)  line "\r\n" HOST "\r\n"
#define F(field) "POST / HTTP/1.1\r\n" HOST field "\r\n\r\n"
#define BAD(s, text)                                                                               \
    { s, text, sizeof(text) - 1 }
static const struct {
    int status;
    const char *text;
    size_t len;
} refused[] = {
    /* lines */
    BAD(400, "GET / HTTP/1.1\n" HOST "\r\n"),
    BAD(400, "GET / HTTP/1.1\r\nHost: a\n\r\n"),
    BAD(400, "GET / HTTP/1.1\r\n" HOST "\n"),
    BAD(400, "GET / HTTP/1.1\r\r\n" HOST "\r\n"),
    BAD(400, "\r\n\r\nGET / HTTP/1.1\r\n" HOST "\r\n"),
    BAD(400, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    /* request lines */
    BAD(400, R("GET / HTTP/1.1 ")),
    BAD(400, R(" GET / HTTP/1.1")),
    BAD(400, R("GET  / HTTP/1.1")),
    BAD(400, R("GET /  HTTP/1.1")),
    BAD(400, R("GET\t/ HTTP/1.1")),
    BAD(400, R("GET /")),
    BAD(400, R("GET / http/1.1")),
    BAD(400, R("GET / HTTP/1.1a")),
    BAD(400, R("GET / HTTP/11")),
    BAD(400, R("G(T / HTTP/1.1")),
    BAD(400, R("GET /a b HTTP/1.1")),
    BAD(400, R("GET /a#b HTTP/1.1")),
    BAD(400, R("GET /\xc3\xa4 HTTP/1.1")),
    BAD(400, R("GET /\x7f HTTP/1.1")),
    BAD(400, R("GET /\0 HTTP/1.1")),
    BAD(400, R("GET a HTTP/1.1")),
    BAD(400, R("GET * HTTP/1.1")),
    BAD(400, R("GET ftp://h/ HTTP/1.1")),
    BAD(400, R("GET http:/// HTTP/1.1")),
    BAD(400, R("GET http://u@h/ HTTP/1.1")),
    BAD(400, R("GET http://h:99999/ HTTP/1.1")),
    BAD(501, R("CONNECT h:1 HTTP/1.1")),
    BAD(501, R("ABCDEFGHIJKLMNOPQRSTUVWXY / HTTP/1.1")),
    BAD(505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    BAD(505, R("GET / HTTP/1.2")),
    BAD(505, R("GET / HTTP/0.9")),
    /* header lines */
    BAD(400, F(" A: b")),
    BAD(400, F("A: b\r\n c")),
    BAD(400, F("A: b\r\n\tc")),
    BAD(400, F("A : b")),
    BAD(400, F("A\t: b")),
    BAD(400, F("A")),
    BAD(400, F(": b")),
    BAD(400, F("A(: b")),
    BAD(400, F("\xe4: b")),
    BAD(400, F("A: b\rc")),
    BAD(400, F("A: b\0c")),
    BAD(400, F("A: b\x1b")),
    BAD(400, F("A: b\x7f")),
    /* framing */
    BAD(400, F("Content-Length: +1")),
    BAD(400, F("Content-Length: -1")),
    BAD(400, F("Content-Length: 1, 1")),
    BAD(400, F("Content-Length: 1 1")),
    BAD(400, F("Content-Length: 0x1")),
    BAD(400, F("Content-Length: ")),
    BAD(400, F("Content-Length:\t1")),
    BAD(413, F("Content-Length: 9223372036854775808")),
    BAD(413, F("Content-Length: 99999999999999999999999")),
    BAD(400, F("Content-Length: 1\r\nContent-Length: 1")),
    BAD(400, F("Content-Length: 1\r\nContent-Length: 2")),
    BAD(400, F("Content-Length: 1\r\nTransfer-Encoding: chunked")),
    BAD(400, F("Transfer-Encoding: chunked\r\nContent-Length: 1")),
    BAD(400, F("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked")),
    BAD(400, F("Transfer-Encoding: chunked\t")),
    BAD(501, F("Transfer-Encoding: chunked, chunked")),
    BAD(501, F("Transfer-Encoding: gzip, chunked")),
    BAD(501, F("Transfer-Encoding: identity")),
    BAD(501, F("Transfer-Encoding: xchunked")),
    BAD(501, F("Transfer-Encoding:")),
    BAD(400, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    BAD(417, F("Expect: 200-ok")),
    /* host */
    BAD(400, "GET / HTTP/1.1\r\n\r\n"),
    BAD(400, "GET http://h/ HTTP/1.1\r\n\r\n"),
    BAD(400, F("Host: example.com")),
    BAD(400, "GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    BAD(400, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    BAD(400, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    BAD(400, "GET / HTTP/1.1\r\nHost: u@h\r\n\r\n"),
    BAD(400, "GET / HTTP/1.1\r\nHost: a,b c\r\n\r\n"),
    BAD(400, "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n"),
    BAD(400, "GET / HTTP/1.1\r\nHost: a:70000\r\n\r\n"),
    BAD(400, "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n"),
    BAD(400, "GET / HTTP/1.1\r\nHost: [::zz]\r\n\r\n"),
    BAD(400, "GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n"),
    BAD(400, "GET / HTTP/1.1\r\nHost: a%4\r\n\r\n"),
    BAD(400, "GET / HTTP/1.0\r\nHost: a b\r\n\r\n"),
};

static void bad_requests_are_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        struct http_head h;
        struct request q = request_of(refused[i].text, refused[i].len);
        ssize_t r = parse(&h, &q);
        if (r != -refused[i].status)
            fail_msg("%zd instead of -%d: %s", r, refused[i].status, refused[i].text);
        check_every_cut(refused[i].text, refused[i].len, r);
        free(q.p);
    }
}

/* A request with a target or a header of N bytes, or N headers. */
static ssize_t parse_sized(const char *before, size_t n, const char *each, const char *after) {
    struct http_head h;
    struct buf b = BUF_INIT(MIB);
    assert_int_equal(buf_puts(&b, before), 0);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(buf_puts(&b, each), 0);
    assert_int_equal(buf_puts(&b, after), 0);
    struct request q = {b.p, b.len};
    ssize_t r = parse(&h, &q);
    assert_true(r <= 0 || (size_t)r == b.len);
    buf_done(&b);
    return r;
}

static void limits_are_exact(void **state) {
    (void)state;
    const char *end = " HTTP/1.1\r\n" HOST "\r\n", *head = "GET / HTTP/1.1\r\n" HOST;
    assert_true(parse_sized("GET /", HTTP_TARGET_MAX - 1, "a", end) > 0);
    assert_int_equal(parse_sized("GET /", HTTP_TARGET_MAX, "a", end), -414);
    assert_int_equal(parse_sized("GET /", HTTP_HEAD_MAX * 2, "a", ""), -414);
    assert_true(parse_sized(head, HTTP_HEADERS_MAX - 1, "a: b\r\n", "\r\n") > 0);
    assert_int_equal(parse_sized(head, HTTP_HEADERS_MAX, "a: b\r\n", "\r\n"), -431);
    size_t room = HTTP_HEAD_MAX - strlen(head) - strlen("a: \r\n\r\n");
    char before[128];
    snprintf(before, sizeof(before), "%sa: ", head);
    assert_int_equal(parse_sized(before, room, "b", "\r\n\r\n"), HTTP_HEAD_MAX);
    assert_int_equal(parse_sized(before, room + 1, "b", "\r\n\r\n"), -431);
    assert_int_equal(parse_sized(before, HTTP_HEAD_MAX, "b", ""), -431);
    assert_int_equal(parse_sized(before, 100, "b", ""), 0);
}

static void parsing_begins_anew_when_the_buffer_moved(void **state) {
    (void)state;
    const char text[] = "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n";
    struct http_head h;
    const char *reason;
    http_head_init(&h);
    struct request a = request_of(text, 40), b = request_of(text, sizeof(text) - 1);
    assert_int_equal(http_head_parse(&h, a.p, a.len, &reason), 0);
    assert_int_equal(http_head_parse(&h, b.p, b.len, &reason), sizeof(text) - 1);
    free(a.p);
    assert_int_equal(h.n_headers, 2);
    check_str(http_head_get(&h, "content-length"), "3");
    check_str(http_head_get(&h, "host"), "h");
    check_str(http_head_get(&h, "absent"), NULL);
    free(b.p);
}

/* ---- chunked ---- */
static int decode(const char *text, size_t len, size_t piece, size_t max, struct buf *out,
                  size_t *ret_used) {
    struct http_chunked d;
    const char *reason = NULL;
    size_t at = 0;
    http_chunked_init(&d);
    buf_init(out, max);
    while (at < len && !d.done) {
        ssize_t r =
            http_chunked_feed(&d, text + at, len - at < piece ? len - at : piece, out, &reason);
        if (r < 0)
            return (int)r;
        at += (size_t)r;
    }
    *ret_used = at;
    return d.done;
}

static const struct {
    const char *text;
    int result; /* 1 done, 0 more needed, or minus the status */
    const char *body;
} chunked[] = {
    {"0\r\n\r\n", 1, ""},
    {"5\r\nhello\r\n0\r\n\r\n", 1, "hello"},
    {"00005\r\nhello\r\n1\r\n!\r\n000\r\n\r\n", 1, "hello!"},
    {"A;x=y;\"z z\"\r\n0123456789\r\n0;last\r\nT: v\r\nU:\r\n\r\n", 1, "0123456789"},
    {"5\r\nhello\r\n0\r\n", 0, "hello"},
    {"5\r\nhel", 0, "hel"},
    {"\r\n", -400, NULL},
    {"5\nhello\r\n", -400, NULL},
    {"5 \r\nhello\r\n", -400, NULL},
    {" 5\r\nhello\r\n", -400, NULL},
    {"0x5\r\nhello\r\n", -400, NULL},
    {"-5\r\nhello\r\n", -400, NULL},
    {"g\r\n", -400, NULL},
    {"5\r\nhello0\r\n\r\n", -400, NULL},
    {"5\r\nhello\n0\r\n\r\n", -400, NULL},
    {"5\r\nhello\r0\r\n\r\n", -400, NULL},
    {"5\rhello\r\n0\r\n\r\n", -400, NULL},
    {"5;a\nb\r\nhello\r\n", -400, NULL},
    {"0\r\n\n", -400, NULL},
    {"0\r\nT : v\r\n\r\n", -400, NULL},
    {"0\r\n T: v\r\n\r\n", -400, NULL},
    {"0\r\nT: v\r\n w\r\n\r\n", -400, NULL},
    {"0\r\n: v\r\n\r\n", -400, NULL},
    {"0\r\nT: \x01\r\n\r\n", -400, NULL},
    {"0\r\n\rX", -400, NULL},
    {"15\r\n", -413, NULL}, /* over the 20 bytes allowed below, before its data */
    {"a\r\n0123456789\r\nb\r\n", -413, NULL},
    {"ffffffffffffffff\r\n", -413, NULL},
    {"0000000000000001\r\n", -413, NULL}, /* too many digits */
};

static void chunked_bodies_are_decoded_strictly(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(chunked); i++) {
        size_t len = strlen(chunked[i].text);
        for (size_t piece = 1; piece <= len; piece++) {
            struct buf out;
            size_t used = 0;
            int r = decode(chunked[i].text, len, piece, 20, &out, &used);
            if (r != chunked[i].result)
                fail_msg("%d instead of %d: %s", r, chunked[i].result, chunked[i].text);
            if (r >= 0) {
                assert_int_equal(used, len);
                assert_true(str_is(buf_str(&out), chunked[i].body));
            }
            buf_done(&out);
        }
    }
}

static void chunked_leaves_the_next_request(void **state) {
    (void)state;
    struct buf out;
    size_t used = 0;
    const char text[] = "1\r\na\r\n0\r\n\r\nGET / HTTP/1.1\r\n";
    assert_int_equal(decode(text, sizeof(text) - 1, 1000, 10, &out, &used), 1);
    assert_int_equal(used, 11);
    buf_done(&out);
}

static void chunk_overhead_is_limited(void **state) {
    (void)state;
    struct buf text = BUF_INIT(MIB), out;
    size_t used;
    assert_int_equal(buf_puts(&text, "1;"), 0);
    for (size_t i = 0; i <= HTTP_CHUNK_EXT_MAX; i++)
        assert_int_equal(buf_putc(&text, 'x'), 0);
    assert_int_equal(decode(text.p, text.len, 1000, 10, &out, &used), -431);
    assert_int_equal(decode(text.p, text.len - 1, 1000, 10, &out, &used), 0);
    buf_clear(&text);
    assert_int_equal(buf_puts(&text, "0\r\nT:"), 0);
    for (size_t i = 0; i < HTTP_TRAILERS_MAX; i++)
        assert_int_equal(buf_putc(&text, 'x'), 0);
    assert_int_equal(decode(text.p, text.len, 1000, 10, &out, &used), -431);
    assert_int_equal(decode(text.p, text.len - 2, 1000, 10, &out, &used), 0);
    buf_done(&text);
}

static void statuses_have_names(void **state) {
    (void)state;
    assert_string_equal(http_status_text(404), "Not Found");
    assert_string_equal(http_status_text(299), "Status");
    assert_string_equal(http_status_text(-1), "Status");
    assert_string_equal(http_status_text(100000), "Status");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_requests_are_understood),
        cmocka_unit_test(bad_requests_are_refused),
        cmocka_unit_test(limits_are_exact),
        cmocka_unit_test(parsing_begins_anew_when_the_buffer_moved),
        cmocka_unit_test(chunked_bodies_are_decoded_strictly),
        cmocka_unit_test(chunked_leaves_the_next_request),
        cmocka_unit_test(chunk_overhead_is_limited),
        cmocka_unit_test(statuses_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
