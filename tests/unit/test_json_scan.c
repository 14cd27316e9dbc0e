/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rand.h"
#include "json/scan.h"

#include <errno.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const char *const good[] = {
    "null",
    " true\n",
    "\tfalse\r",
    "0",
    "-0",
    "10.25",
    "1e5",
    "1E+5",
    "-1.5e-300",
    "\"\"",
    "\"plain text longer than eight\"",
    "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e4\\ud83d\\ude00\"",
    "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\"",
    "\"\x7f\"",
    "[]",
    "[ ]",
    "{}",
    "{ }",
    "[1,[2],{}]",
    "{\"a\":1,\"a\":{\"b\":[true,null]}}",
    " { \"a\" : [ 1 , 2 ] , \"b\" : \"c\" } ",
    "[[],[[]],{}]",
    "{\"\":\"\"}",
    "123456789012345678901234567890",
    "\"\\u0000\"",
};

/* What is refused, and at which byte. */
static const struct {
    const char *text;
    size_t at;
} bad[] = {
    {"", 0},
    {" ", 1},
    {"nul", 3},
    {"nulll", 4},
    {"True", 0},
    {"NaN", 0},
    {"Infinity", 0},
    {"-", 1},
    {"+1", 0},
    {"01", 1},
    {"1.", 2},
    {".5", 0},
    {"1e", 2},
    {"1e+", 3},
    {"0x10", 1},
    {"1 2", 2},
    {"\"", 1},
    {"\"abc", 4},
    {"\"\\x\"", 2},
    {"\"\\u12g4\"", 5},
    {"\"\\u12", 5},
    {"\"a\nb\"", 2},
    {"\"\x01\"", 1},
    {"\"\xff\"", 1},
    {"\"\xc0\x80\"", 1},
    {"\"12345678\xed\xa0\x80\"", 9},
    {"\"\\ud800\"", 7},
    {"\"\\udc00\"", 3},
    {"\"\\ud800\\u0041\"", 9},
    {"'a'", 0},
    {"[", 1},
    {"[1", 2},
    {"[1,]", 3},
    {"[,1]", 1},
    {"[1 2]", 3},
    {"[1}", 2},
    {"{", 1},
    {"{\"a\"}", 4},
    {"{\"a\":}", 5},
    {"{\"a\":1,}", 7},
    {"{a:1}", 1},
    {"{\"a\":1", 6},
    {"{\"a\":1]", 6},
    {"{,}", 1},
    {"{\"a\" 1}", 5},
    {"]", 0},
    {"[]]", 2},
    {"{}{}", 2},
    {"/* c */ 1", 0},
    {"[1]//x", 3},
    {"\xef\xbb\xbf"
     "1",
     0},
    {"\v1", 0},
    {"{1:2}", 1},
    {"[1,,2]", 3},
    {"\"\\", 2},
    {"tru\"", 3},
};

static void test_accept(void **state UNUSED) {
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        size_t at = 99;
        assert_int_equal(json_check(str_of(good[i]), &at), 0);
        assert_int_equal(at, 99); /* untouched */
    }
}

static void test_reject(void **state UNUSED) {
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        size_t at = 99;
        if (json_check(str_of(bad[i].text), &at) != -EINVAL || at != bad[i].at)
            fail_msg("%s: fault at %zu, not %zu", bad[i].text, at, bad[i].at);
    }
    assert_int_equal(json_check(STR("1\0"), NULL), -EINVAL);
    assert_int_equal(json_check(STR_NULL, NULL), -EINVAL);
}

static void test_depth(void **state UNUSED) {
    char text[4 * JSON_DEPTH_MAX];
    size_t at;
    for (size_t depth = JSON_DEPTH_MAX - 1; depth <= JSON_DEPTH_MAX + 1; depth++) {
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        int want = depth <= JSON_DEPTH_MAX ? 0 : -EINVAL;
        assert_int_equal(json_check(str_n(text, 2 * depth), &at), want);
    }
    assert_int_equal(at, JSON_DEPTH_MAX);
    /* The members of an object stand one deeper. */
    cleanup_buf struct buf b = BUF_INIT(KIB);
    for (size_t depth = JSON_DEPTH_MAX - 1; depth <= JSON_DEPTH_MAX; depth++) {
        struct json_members it;
        struct json_member m;
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        buf_clear(&b);
        assert_int_equal(buf_printf(&b, "{\"a\":%.*s}", (int)(2 * depth), text), 0);
        int want = json_check(buf_str(&b), NULL);
        assert_int_equal(want, depth < JSON_DEPTH_MAX ? 0 : -EINVAL);
        assert_int_equal(json_members_open(&it, buf_str(&b)), 0);
        assert_int_equal(json_members_next(&it, &m), want ? want : 1);
    }
}

static void test_members(void **state UNUSED) {
    struct json_members it;
    struct json_member m;
    assert_int_equal(json_members_open(&it, STR(" {\"a\\u0062\" : \"x\\ny\",\"n\":-1.5 , "
                                                "\"o\":{\"p\":[1]},\"t\":true,\"z\":null} ")),
                     0);
    static const struct {
        const char *key, *value;
        enum json_kind kind;
    } want[] = {{"ab", "\"x\\ny\"", JSON_KIND_STRING},
                {"n", "-1.5", JSON_KIND_NUMBER},
                {"o", "{\"p\":[1]}", JSON_KIND_OBJECT},
                {"t", "true", JSON_KIND_BOOL},
                {"z", "null", JSON_KIND_NULL}};
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        assert_int_equal(json_members_next(&it, &m), 1);
        assert_true(json_key_is(m.key, want[i].key));
        assert_false(json_key_is(m.key, "other"));
        assert_true(str_is(m.value, want[i].value));
        assert_int_equal(m.kind, want[i].kind);
    }
    assert_int_equal(json_members_next(&it, &m), 0);
    assert_int_equal(json_members_next(&it, &m), 0);
    assert_int_equal(json_members_open(&it, STR(" [1]")), -EINVAL);
    assert_int_equal(it.at, 1);
    assert_int_equal(json_members_next(&it, &m), -EINVAL);
    assert_int_equal(json_members_open(&it, STR_NULL), -EINVAL);
    assert_int_equal(json_members_open(&it, STR("{\"a\":1} x")), 0);
    assert_int_equal(json_members_next(&it, &m), 1);
    assert_int_equal(json_members_next(&it, &m), -EINVAL); /* something behind the object */
}

static void test_key_is(void **state UNUSED) {
    assert_true(json_key_is(STR(""), ""));
    assert_true(json_key_is(STR("\\ud83d\\ude00x"), "\xf0\x9f\x98\x80x"));
    assert_false(json_key_is(STR("a\\u0000"), "a")); /* an escaped NUL is not the end */
    assert_false(json_key_is(STR("ab\\u0063d"), "abc"));
    assert_false(json_key_is(STR("ab\\u0063"), "abcd"));
}

static void test_unescape(void **state UNUSED) {
    cleanup_buf struct buf b = BUF_INIT(40);
    assert_int_equal(json_unescape(STR("a\\\"\\\\\\/\\b\\f\\n\\r\\t"), &b), 0);
    assert_true(str_is(buf_str(&b), "a\"\\/\b\f\n\r\t"));
    buf_clear(&b);
    assert_int_equal(json_unescape(STR("\\u0041\\u00e4\\u20AC\\ud83d\\ude00\xc3\xa4"), &b), 0);
    assert_true(str_is(buf_str(&b), "A\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\xc3\xa4"));
    size_t len = b.len;
    assert_int_equal(json_unescape(STR("x\\ud800"), &b), -EINVAL);
    assert_int_equal(json_unescape(STR("x\\"), &b), -EINVAL);
    b.max = len + 2;
    assert_int_equal(json_unescape(STR("xyz"), &b), -EMSGSIZE);
    assert_int_equal(b.len, len); /* nothing of the three was appended */
}

/* ---- agreement with jansson on random mutations ---- */

/* jansson refuses numbers that do not fit its types and NUL in names, which the grammar allows. */
static bool is_own_limit(const json_error_t *e) {
    enum json_error_code code = json_error_code(e);
    return code == json_error_numeric_overflow || code == json_error_null_byte_in_key;
}

static void assert_agree(struct str text) {
    json_error_t e;
    json_t *tree = json_loadb(text.p, text.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &e);
    bool accepted = tree || is_own_limit(&e);
    json_decref(tree);
    if (!tree && accepted)
        return;
    if ((json_check(text, NULL) == 0) != accepted)
        fail_msg("disagree on: %.*s (%s)", STR_ARG(text), accepted ? "accepted" : e.text);
}

/* Walking the members to the end says the same as the check. */
static void assert_walk_agrees(struct str text) {
    struct json_members it;
    struct json_member m;
    cleanup_buf struct buf b = BUF_INIT(KIB);
    int r = json_members_open(&it, text);
    if (r < 0)
        return;
    while ((r = json_members_next(&it, &m)) > 0) {
        assert_int_equal(json_check(m.value, NULL), 0);
        assert_int_equal(json_unescape(m.key, &b), 0);
        buf_clear(&b);
    }
    assert_int_equal(r, json_check(text, NULL));
}

static size_t mutate(char *text, size_t len, size_t room) {
    static const char alphabet[] = "{}[],:\"\\u0019dDeE+-.tfn \n\x01\x80\xc3\xa4\xed\xff";
    size_t at = rand_u64() % (len + 1);
    char c = alphabet[rand_u64() % (sizeof(alphabet) - 1)];
    switch (rand_u64() % 3) {
    case 0:
        if (at < len)
            text[at] = c;
        return len;
    case 1:
        if (at < len)
            memmove(text + at, text + at + 1, len-- - at - 1);
        return len;
    default:
        if (len == room)
            return len;
        memmove(text + at + 1, text + at, len - at);
        text[at] = c;
        return len + 1;
    }
}

static void test_agrees_with_jansson(void **state UNUSED) {
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_agree(str_of(good[i]));
        for (int round = 0; round < 4000; round++) {
            char text[128];
            size_t len = strlen(good[i]);
            memcpy(text, good[i], len);
            for (uint64_t n = 1 + rand_u64() % 4; n; n--)
                len = mutate(text, len, sizeof(text));
            cleanup_free char *exact = x_memdup(text, len); /* a byte too far is seen */
            assert_agree(str_n(exact, len));
            assert_walk_agrees(str_n(exact, len));
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accept),
        cmocka_unit_test(test_reject),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_members),
        cmocka_unit_test(test_key_is),
        cmocka_unit_test(test_unescape),
        cmocka_unit_test(test_agrees_with_jansson),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
