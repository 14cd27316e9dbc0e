/* SPDX-License-Identifier: Apache-2.0 */
/* What reaches a function, and what of its result reaches the client. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/fnservice_input.h"
#include "invoke/invoke.h"

static void assert_str(struct str s, const char *want) {
    assert_int_equal(s.len, strlen(want));
    assert_memory_equal(s.p, want, s.len);
}

/* ---- results ---- */

static const struct {
    const char *name, *value;
} HOSTILE[] = {
    {"X-Good", " yes "},         {"x-good", "again"},     {"Bad Name", "x"},
    {"X-Split", "a\r\nEvil: 1"}, {"Content-Length", "9"}, {"TRANSFER-encoding", "chunked"},
    {"Connection", "close"},     {"", "empty"},           {"X-Nul", "a\x01"},
    {"Set-Cookie", "a=1"},       {"X:Colon", "x"},        {"Upgrade", "h2c"},
};

static struct wire_in hostile(struct buf *b) {
    buf_clear(b);
    (void)wire_u32(b, ARRAY_LEN(HOSTILE));
    for (size_t i = 0; i < ARRAY_LEN(HOSTILE); i++) {
        (void)wire_str(b, str_of(HOSTILE[i].name));
        (void)wire_str(b, str_of(HOSTILE[i].value));
    }
    return wire_open(buf_str(b));
}

static void headers_cannot_break_a_reply(void **state) {
    (void)state;
    cleanup_buf struct buf b = BUF_INIT(64 * KIB);
    struct wire_in in = hostile(&b);
    uint32_t left = INVOKE_HEADERS_START;
    struct http_header h;
    assert_true(invoke_header_next(&in, &left, &h));
    assert_str(h.name, "X-Good");
    assert_str(h.value, "yes");
    assert_true(invoke_header_next(&in, &left, &h));
    assert_str(h.value, "again");
    assert_true(invoke_header_next(&in, &left, &h));
    assert_str(h.name, "Set-Cookie");
    assert_false(invoke_header_next(&in, &left, &h));
}

static void truncated_headers_end(void **state) {
    (void)state;
    cleanup_buf struct buf b = BUF_INIT(KIB);
    (void)wire_u32(&b, 1000);
    (void)wire_str(&b, STR("a"));
    struct wire_in in = wire_open(buf_str(&b));
    uint32_t left = INVOKE_HEADERS_START;
    struct http_header h;
    assert_false(invoke_header_next(&in, &left, &h));
}

static void headers_as_json_join_names(void **state) {
    (void)state;
    cleanup_buf struct buf b = BUF_INIT(64 * KIB), out = BUF_INIT(64 * KIB);
    struct http_header none = {STR_NULL, STR_NULL};
    struct http_header type = {STR("Content-Type"), STR("application/json")};
    assert_int_equal(invoke_headers_json(&out, hostile(&b), false, type), 3);
    assert_str(buf_str(&out), "{\"X-Good\":[\"yes\",\"again\"],\"Set-Cookie\":[\"a=1\"],"
                              "\"Content-Type\":[\"application/json\"]}");
    buf_clear(&out);
    assert_int_equal(invoke_headers_json(&out, hostile(&b), true, none), 2);
    assert_str(buf_str(&out), "{\"X-Good\":[\"yes\",\"again\"],\"Set-Cookie\":\"a=1\"}");
}

/* ---- requests ---- */

static void private_faces_keep_the_key(void **state) {
    (void)state;
    assert_false(invoke_header_passes(STR("authorization"), INVOKE_PRIVATE));
    assert_true(invoke_header_passes(STR("authorization"), INVOKE_PUBLIC));
    assert_true(invoke_header_passes(STR("host"), INVOKE_PRIVATE));
    const char *const dropped[] = {"connection",        "content-length",      "expect", "te",
                                   "transfer-encoding", "proxy-authorization", "upgrade"};
    for (size_t i = 0; i < ARRAY_LEN(dropped); i++)
        assert_false(invoke_header_passes(str_of(dropped[i]), INVOKE_PUBLIC));
}

static void body_kinds(void **state) {
    (void)state;
    const struct {
        const char *type;
        struct str body;
        enum wire_body kind;
    } cases[] = {
        {NULL, STR(""), WIRE_BODY_NONE},
        {"application/json", STR(""), WIRE_BODY_NONE},
        {"application/json", STR("1"), WIRE_BODY_JSON},
        {"Application/JSON; charset=utf-8", STR("[1]"), WIRE_BODY_JSON},
        {"application/problem+json", STR("{}"), WIRE_BODY_JSON},
        {"application/json", STR("{oops"), WIRE_BODY_TEXT},
        {"application/jsonx", STR("{}"), WIRE_BODY_BYTES},
        {NULL, STR("{\"a\":1}"), WIRE_BODY_JSON},
        {NULL, STR("{a"), WIRE_BODY_TEXT},
        {NULL, STR("12"), WIRE_BODY_TEXT},
        {NULL, STR("\xff\xfe"), WIRE_BODY_BYTES},
        {"text/plain", STR("hi"), WIRE_BODY_TEXT},
        {"text/plain", STR("\xff"), WIRE_BODY_BYTES},
        {"application/x-www-form-urlencoded", STR("a=1"), WIRE_BODY_TEXT},
        {"application/octet-stream", STR("hi"), WIRE_BODY_BYTES},
        {"image/png", STR("{}"), WIRE_BODY_BYTES},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct str type = cases[i].type ? str_of(cases[i].type) : STR_NULL;
        assert_int_equal(invoke_body_kind(type, cases[i].body), cases[i].kind);
    }
}

/* ---- fnservice's JSON ---- */

#define PAYLOAD_MAX 16

static int read_input(struct fnservice_input *in, const char *text, struct error *err) {
    *in = (struct fnservice_input){.method = STR_NULL};
    *err = (struct error){0};
    return fnservice_input_read(in, str_of(text), PAYLOAD_MAX, err);
}

static void defaults_of_an_empty_request(void **state) {
    (void)state;
    const char *const empty[] = {"", "  ", "{}", "{\"body\":null,\"other\":[{}]}"};
    for (size_t i = 0; i < ARRAY_LEN(empty); i++) {
        struct fnservice_input in;
        struct error err;
        assert_int_equal(read_input(&in, empty[i], &err), 0);
        assert_str(in.method, "POST");
        assert_str(in.path, "/");
        assert_int_equal(in.body.len, 0);
        assert_null(in.content_type.p);
        fnservice_input_done(&in);
    }
}

static void pairs_reach_the_call(void **state) {
    (void)state;
    struct fnservice_input in;
    struct error err;
    struct ulid id = ulid_make(1);
    cleanup_buf struct buf head = BUF_INIT(64 * KIB), want = BUF_INIT(64 * KIB);
    struct engine_input got, expected;
    assert_int_equal(read_input(&in,
                                "{\"method\":\"PUT\",\"path\":\"/a\\u00e9\","
                                "\"headers\":{\"Content-Type\":[\"text/plain\"],\"X-A\":\"one\","
                                "\"Connection\":[\"close\"],\"X-B\":[ \"x\\\"y]\" , \"2\" ]},"
                                "\"query\":{\"q\":[],\"r\":[\"1\",\"2\"]},\"body\":\"aGk=\"}",
                                &err),
                     0);
    assert_str(in.method, "PUT");
    assert_str(in.path, "/a\xc3\xa9");
    assert_str(in.content_type, "text/plain");
    assert_str(buf_str(&in.body), "hi");
    engine_input_begin(&got, &head, WIRE_BODY_TEXT, &id, in.method, in.path);
    assert_int_equal(fnservice_input_pairs(&in, &got, &err), 0);
    assert_int_equal(engine_input_end(&got), 0);
    engine_input_begin(&expected, &want, WIRE_BODY_TEXT, &id, STR("PUT"), STR("/a\xc3\xa9"));
    engine_input_query(&expected, STR("r"), STR("1"));
    engine_input_query(&expected, STR("r"), STR("2"));
    engine_input_headers(&expected);
    engine_input_header(&expected, STR("content-type"), STR("text/plain"));
    engine_input_header(&expected, STR("x-a"), STR("one"));
    engine_input_header(&expected, STR("x-b"), STR("x\"y]"));
    engine_input_header(&expected, STR("x-b"), STR("2"));
    assert_int_equal(engine_input_end(&expected), 0);
    assert_int_equal(head.len, want.len);
    assert_memory_equal(head.p, want.p, want.len);
    fnservice_input_done(&in);
}

static void wrong_fields_are_named(void **state) {
    (void)state;
    static const struct {
        const char *text, *field;
        enum error_code code;
    } cases[] = {
        {"[]", "", ERR_INVALID},
        {"{", "", ERR_INVALID},
        {"{} x", "", ERR_INVALID},
        {"{\"method\":1}", "method", ERR_INVALID},
        {"{\"method\":\"A B\"}", "method", ERR_INVALID},
        {"{\"method\":\"\"}", "method", ERR_INVALID},
        {"{\"path\":\"x\"}", "path", ERR_INVALID},
        {"{\"path\":\"/\\n\"}", "path", ERR_INVALID},
        {"{\"path\":\"/a\",\"path\":\"/b\"}", "path", ERR_INVALID},
        {"{\"headers\":[]}", "headers", ERR_INVALID},
        {"{\"headers\":{\"a\":1}}", "headers", ERR_INVALID},
        {"{\"headers\":{\"a\":[1]}}", "headers", ERR_INVALID},
        {"{\"headers\":{\"a\":[\"1\",null]}}", "headers", ERR_INVALID},
        {"{\"body\":{}}", "body", ERR_INVALID},
        {"{\"body\":\"!\"}", "body", ERR_INVALID},
        {"{\"body\":\"aGk\"}", "body", ERR_INVALID},
        {"{\"body\":\"aGk=\\n\"}", "body", ERR_INVALID},
        {"{\"body\":\"MTIzNDU2Nzg5MDEyMzQ1Njc4\"}", "body", ERR_TOO_LARGE},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fnservice_input in;
        struct error err;
        assert_int_equal(read_input(&in, cases[i].text, &err), -1);
        assert_int_equal(err.code, cases[i].code);
        assert_string_equal(err.field, cases[i].field);
        fnservice_input_done(&in);
    }
}

static void header_names_and_values_are_checked(void **state) {
    (void)state;
    const char *const bad[] = {"{\"headers\":{\"a b\":\"x\"}}", "{\"headers\":{\"\":\"x\"}}",
                               "{\"headers\":{\"a\":\"x\\r\\ny: z\"}}"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct fnservice_input in;
        struct error err;
        struct ulid id = ulid_make(1);
        cleanup_buf struct buf head = BUF_INIT(64 * KIB);
        struct engine_input out;
        assert_int_equal(read_input(&in, bad[i], &err), 0);
        engine_input_begin(&out, &head, WIRE_BODY_NONE, &id, in.method, in.path);
        assert_int_equal(fnservice_input_pairs(&in, &out, &err), -1);
        assert_string_equal(err.field, "headers");
        fnservice_input_done(&in);
    }
}

static void slashes_may_be_escaped_in_base64(void **state) {
    (void)state;
    struct fnservice_input in;
    struct error err;
    assert_int_equal(read_input(&in, "{\"body\":\"\\/\\/\\/\\/\"}", &err), 0);
    assert_str(buf_str(&in.body), "\xff\xff\xff");
    fnservice_input_done(&in);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers_cannot_break_a_reply),
        cmocka_unit_test(truncated_headers_end),
        cmocka_unit_test(headers_as_json_join_names),
        cmocka_unit_test(private_faces_keep_the_key),
        cmocka_unit_test(body_kinds),
        cmocka_unit_test(defaults_of_an_empty_request),
        cmocka_unit_test(pairs_reach_the_call),
        cmocka_unit_test(wrong_fields_are_named),
        cmocka_unit_test(header_names_and_values_are_checked),
        cmocka_unit_test(slashes_may_be_escaped_in_base64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
