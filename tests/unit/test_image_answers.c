/* SPDX-License-Identifier: Apache-2.0 */
/* What containers answer (runtimes/image): whole answers, answers in pieces, and what is none. */

#include "../../runtimes/image/image_runtime.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct answer {
    struct result r;
    struct buf body;
    struct progress progress;
    const char *why;
};

static ssize_t http(struct str text, bool eof, struct answer *a) {
    *a = (struct answer){.r.status = 200, .body = BUF_INIT(IMAGE_BODY_MAX)};
    return http_answer(text, eof, false, &a->progress, &a->r, &a->body, &a->why);
}

static ssize_t json(struct str text, struct answer *a) {
    *a = (struct answer){.r.status = 200, .body = BUF_INIT(IMAGE_BODY_MAX)};
    return json_answer(text, &a->progress, &a->r, &a->body, &a->why);
}

static void answer_done(struct answer *a) {
    result_done(&a->r);
    buf_done(&a->body);
}

static struct str header(const struct answer *a, const char *name) {
    struct wire_in in = wire_open(buf_str(&a->r.headers));
    for (uint32_t i = 0; i < a->r.n_headers; i++) {
        struct str key = wire_get_str(&in), value = wire_get_str(&in);
        if (str_ieq(key, str_of(name)))
            return value;
    }
    return STR_NULL;
}

/* Every part of TEXT wants more; all of it is taken, and what follows is left. */
static void http_whole(const char *text, unsigned status, const char *body) {
    struct str all = str_of(text);
    struct answer a;
    for (size_t n = 0; n < all.len; n++) {
        assert_int_equal(http(str_n(all.p, n), false, &a), 0);
        answer_done(&a);
    }
    /* piece by piece, going on where it stood */
    a = (struct answer){.r.status = 200, .body = BUF_INIT(IMAGE_BODY_MAX)};
    for (size_t n = 0; n < all.len; n++)
        assert_int_equal(
            http_answer(str_n(all.p, n), false, false, &a.progress, &a.r, &a.body, &a.why), 0);
    assert_int_equal(http_answer(all, false, false, &a.progress, &a.r, &a.body, &a.why), all.len);
    assert_true(str_is(a.r.body, body));
    answer_done(&a);
    cleanup_buf struct buf more = BUF_INIT(MIB);
    (void)buf_put_str(&more, all);
    (void)buf_puts(&more, "HTTP/1.1 200 next");
    assert_int_equal(http(buf_str(&more), false, &a), (ssize_t)all.len);
    assert_int_equal(a.r.status, status);
    assert_true(str_is(a.r.body, body));
    answer_done(&a);
}

static void test_http_whole(void **state UNUSED) {
    http_whole("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "hello");
    http_whole("HTTP/1.1 404 \r\ncontent-length:0\r\n\r\n", 404, "");
    http_whole("HTTP/1.0 500\nContent-Length: 2\n\nno", 500, "no");
    http_whole("HTTP/1.1 204 None\r\n\r\n", 204, "");
    http_whole("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Made\r\nContent-Length: 1\r\n\r\nx", 201,
               "x");
    http_whole(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789"
        "\r\n0\r\n\r\n",
        200, "abc0123456789");
}

static void test_http_until_the_end(void **state UNUSED) {
    struct answer a;
    struct str text = STR("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it");
    assert_int_equal(http(text, false, &a), 0);
    answer_done(&a);
    assert_int_equal(http(text, true, &a), (ssize_t)text.len);
    assert_true(str_is(a.r.body, "all of it"));
    answer_done(&a);
}

static void test_http_headers(void **state UNUSED) {
    struct answer a;
    assert_true(http(STR("HTTP/1.1 200 OK\r\nX-A:  1 \r\nX-B:\r\nConnection: keep-alive\r\n"
                         "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"),
                     false, &a) > 0);
    assert_int_equal(a.r.n_headers, 3);
    assert_true(str_is(header(&a, "x-a"), "1") && header(&a, "x-b").p);
    assert_true(a.r.is_json && a.r.wrapped);
    answer_done(&a);
}

static void test_http_bad(void **state UNUSED) {
    static const char *const texts[] = {
        "garbage",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\na name: x\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\nwithout an end",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffff\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct answer a;
        assert_int_equal(http(str_of(texts[i]), false, &a), -EBADMSG);
        assert_true(a.why[0]);
        answer_done(&a);
    }
}

static void test_http_endless_head(void **state UNUSED) {
    cleanup_buf struct buf text = BUF_INIT(2 * IMAGE_HEAD_MAX);
    struct answer a;
    (void)buf_puts(&text, "HTTP/1.1 200 OK\r\n");
    while (text.len < IMAGE_HEAD_MAX)
        (void)buf_puts(&text, "X-Again: and again\r\n");
    assert_int_equal(http(buf_str(&text), false, &a), -EBADMSG);
    answer_done(&a);
}

static void test_json_whole(void **state UNUSED) {
    struct str all =
        STR(" \n{\"body\": \"a \\\"}\\\" \\u00e9\", \"content_type\": \"text/x\", \"protocol\":"
            " {\"status_code\": 404, \"headers\": {\"X-A\": [\"1\", \"2\"], \"X-B\": \"3\","
            " \"X-C\": []}}}");
    struct answer a;
    for (size_t n = 0; n < all.len; n++) {
        assert_int_equal(json(str_n(all.p, n), &a), 0);
        answer_done(&a);
    }
    a = (struct answer){.r.status = 200, .body = BUF_INIT(IMAGE_BODY_MAX)};
    for (size_t n = 0; n < all.len; n++)
        assert_int_equal(json_answer(str_n(all.p, n), &a.progress, &a.r, &a.body, &a.why), 0);
    assert_int_equal(json_answer(all, &a.progress, &a.r, &a.body, &a.why), all.len);
    assert_int_equal(a.r.status, 404);
    assert_true(str_is(a.r.body, "a \"}\" \u00e9"));
    assert_true(str_is(header(&a, "x-a"), "1") && str_is(header(&a, "x-b"), "3"));
    assert_null(header(&a, "x-c").p);
    assert_true(str_is(header(&a, "content-type"), "text/x"));
    answer_done(&a);
}

static void test_json_lenient(void **state UNUSED) {
    struct answer a;
    assert_int_equal(json(STR("{}"), &a), 2);
    assert_int_equal(a.r.status, 200);
    assert_int_equal(a.r.body.len, 0);
    answer_done(&a);
    assert_true(json(STR("{\"body\": {\"a\": [1]}, \"content_type\": \"application/json\"}"), &a) >
                0);
    assert_true(str_is(a.r.body, "{\"a\": [1]}") && a.r.is_json);
    answer_done(&a);
}

static void test_json_bad(void **state UNUSED) {
    static const char *const texts[] = {
        "[1]",
        "hello",
        "{]",
        "{\"a\" 1}",
        "{\"protocol\": {\"status_code\": 9}}",
        "{\"protocol\": {\"status_code\": 600}}",
        "{\"protocol\": {\"status_code\": \"200\"}}",
        "{\"protocol\": {\"headers\": {\"a\": [1]}}}",
        "{\"protocol\": {\"headers\": {\"a\": {}}}}",
        "{\"body\": \"\\ud800\"}",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct answer a;
        assert_int_equal(json(str_of(texts[i]), &a), -EBADMSG);
        answer_done(&a);
    }
}

/* ---- requests ---- */

static void put_pair(struct buf *b, const char *name, const char *value) {
    (void)wire_str(b, str_of(name));
    (void)wire_str(b, str_of(value));
}

static void make_call(struct buf *b, const char *body) {
    (void)wire_u32(b, 1000);
    (void)wire_u8(b, WIRE_BODY_TEXT);
    (void)wire_str(b, STR("inv-1"));
    (void)wire_str(b, STR("PUT"));
    (void)wire_str(b, STR("/a b"));
    (void)wire_u32(b, 1);
    put_pair(b, "q", "1&2");
    (void)wire_u32(b, 6);
    put_pair(b, "x-one", "1");
    put_pair(b, "x-two", "a");
    put_pair(b, "x-two", "b");
    put_pair(b, "content-length", "77");
    put_pair(b, "x-kiln-request-url", "http://h/r/app/a");
    put_pair(b, "x-kiln-param-id", "7");
    (void)wire_str(b, str_of(body));
}

static bool has(const struct buf *b, const char *text) {
    return memmem(b->p, b->len, text, strlen(text)) != NULL;
}

static void test_http_request(void **state UNUSED) {
    cleanup_buf struct buf load = BUF_INIT(KIB * 4), out = BUF_INIT(KIB * 4);
    struct call c;
    make_call(&load, "body");
    assert_int_equal(call_read(&c, buf_str(&load), 1), 0);
    assert_int_equal(http_request(&c, &out), 0);
    assert_true(has(&out, "PUT /a%20b?q=1%262 HTTP/1.1\r\nHost: localhost\r\n"));
    assert_true(has(&out, "x-one: 1\r\nx-two: a\r\nx-two: b\r\n"));
    assert_true(has(&out, "\r\nContent-Length: 4\r\n\r\n"));
    assert_true(has(&out, "REQUEST_URL: http://h/r/app/a\r\n") && has(&out, "PARAM_ID: 7\r\n"));
    assert_true(has(&out, "HEADER_X_TWO: a b\r\n"));
    assert_false(has(&out, "77\r\nX") || has(&out, "x-kiln"));
}

static void test_json_request(void **state UNUSED) {
    cleanup_buf struct buf load = BUF_INIT(KIB * 4), out = BUF_INIT(KIB * 4);
    struct call c;
    make_call(&load, "\"\n");
    assert_int_equal(call_read(&c, buf_str(&load), 1), 0);
    assert_int_equal(json_request(&c, &out), 0);
    assert_true(has(&out, "\"call_id\":\"inv-1\"") && has(&out, "\"body\":\"\\\"\\n\""));
    assert_true(has(&out, "\"request_url\":\"http://h/r/app/a\""));
    assert_true(has(&out, "\"x-two\":[\"a\",\"b\"]"));
    assert_false(has(&out, "x-kiln"));
    assert_int_equal(out.p[out.len - 1], '\n');
    assert_null(memchr(out.p, '\n', out.len - 1));
}

static void test_cut_frames(void **state UNUSED) {
    cleanup_buf struct buf load = BUF_INIT(KIB * 4);
    struct call c;
    make_call(&load, "body");
    for (size_t n = 0; n < load.len; n++)
        assert_int_equal(call_read(&c, str_n(load.p, n), 1), -EBADMSG);
}

static void test_env_names_once(void **state UNUSED) {
    struct strings env = {0};
    env_set(&env, STR("A"), STR("1"));
    env_set(&env, STR("AB"), STR("2"));
    env_set(&env, STR("A"), STR("3"));
    env_set(&env, STR("B=C"), STR("x"));
    env_set(&env, STR(""), STR("x"));
    env_set(&env, STR("Z"), STR("a\0b"));
    assert_int_equal(env.n, 2);
    assert_string_equal(env.v[0], "A=3");
    assert_string_equal(env.v[1], "AB=2");
    strings_done(&env);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_http_whole),        cmocka_unit_test(test_http_until_the_end),
        cmocka_unit_test(test_http_headers),      cmocka_unit_test(test_http_bad),
        cmocka_unit_test(test_http_endless_head), cmocka_unit_test(test_json_whole),
        cmocka_unit_test(test_json_lenient),      cmocka_unit_test(test_json_bad),
        cmocka_unit_test(test_http_request),      cmocka_unit_test(test_json_request),
        cmocka_unit_test(test_cut_frames),        cmocka_unit_test(test_env_names_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
