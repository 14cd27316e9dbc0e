/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rand.h"
#include "json/scan.h"
#include "json/write.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void test_commas(void **state UNUSED) {
    cleanup_buf struct buf b = BUF_INIT(KIB);
    struct json_w w;
    json_w_init(&w, &b);
    jw_begin_object(&w);
    jw_str_member(&w, "s", STR("v"));
    jw_array_member(&w, "a");
    jw_int(&w, INT64_MIN);
    jw_u64(&w, UINT64_MAX);
    jw_begin_object(&w);
    jw_end_object(&w);
    jw_begin_array(&w);
    jw_end_array(&w);
    jw_raw(&w, STR("[1]"));
    jw_cstr(&w, NULL);
    jw_end_array(&w);
    jw_object_member(&w, "o");
    jw_bool_member(&w, "t", true);
    jw_null_member(&w, "z");
    jw_end_object(&w);
    jw_double_member(&w, "d", 0.1);
    jw_key(&w, "b");
    jw_base64(&w, STR("foo"));
    jw_time_member(&w, "at", 1000000);
    jw_time_member(&w, "never", 0);
    jw_end_object(&w);
    assert_int_equal(json_w_done(&w), 0);
    assert_string_equal(buf_cstr(&b),
                        "{\"s\":\"v\",\"a\":[-9223372036854775808,18446744073709551615,{},[],[1],"
                        "null],\"o\":{\"t\":true,\"z\":null},\"d\":0.1,\"b\":\"Zm9v\","
                        "\"at\":\"1970-01-01T00:00:01Z\",\"never\":null}");
}

static void test_strings(void **state UNUSED) {
    static const struct {
        struct str in;
        const char *out;
    } cases[] = {
        {STR(""), "\"\""},
        {STR("a\"b\\c/d"), "\"a\\\"b\\\\c/d\""},
        {STR("\b\f\n\r\t\x01\x1f\x7f"), "\"\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\""},
        {STR("a\0b"), "\"a\\u0000b\""},
        {STR("12345678\xc3\xa4\xf0\x9f\x98\x80"), "\"12345678\xc3\xa4\xf0\x9f\x98\x80\""},
        {STR("\xff\xc3(\xed\xa0\x80\xe2\x82"), "\"\xef\xbf\xbd\xef\xbf\xbd(\xef\xbf\xbd\xef\xbf\xbd"
                                               "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cleanup_buf struct buf b = BUF_INIT(KIB);
        struct json_w w;
        json_w_init(&w, &b);
        jw_str(&w, cases[i].in);
        assert_int_equal(json_w_done(&w), 0);
        assert_string_equal(buf_cstr(&b), cases[i].out);
    }
}

/* Any bytes make a valid string; valid UTF-8 comes back as it was. */
static void test_string_round_trip(void **state UNUSED) {
    cleanup_buf struct buf b = BUF_INIT(KIB), back = BUF_INIT(KIB);
    for (int i = 0; i < 20000; i++) {
        unsigned char bytes[32];
        rand_bytes(bytes, sizeof(bytes));
        for (size_t k = 0; i % 2 && k < sizeof(bytes); k++)
            bytes[k] &= 0x7f;
        struct str s = str_n(bytes, rand_u64() % sizeof(bytes));
        struct json_w w;
        buf_clear(&b);
        buf_clear(&back);
        json_w_init(&w, &b);
        jw_str(&w, s);
        assert_int_equal(json_w_done(&w), 0);
        assert_int_equal(json_check(buf_str(&b), NULL), 0);
        assert_int_equal(json_unescape(json_inside(buf_str(&b)), &back), 0);
        assert_true(str_eq(buf_str(&back), s) || !str_is_utf8(s));
    }
}

static void test_doubles(void **state UNUSED) {
    cleanup_buf struct buf b = BUF_INIT(KIB);
    struct json_w w;
    for (int i = 0; i < 50000; i++) {
        uint64_t bits = rand_u64();
        double v;
        memcpy(&v, &bits, sizeof(v));
        if (!isfinite(v))
            continue;
        buf_clear(&b);
        json_w_init(&w, &b);
        jw_double(&w, v);
        assert_int_equal(json_check(buf_str(&b), NULL), 0);
        double back = strtod(buf_cstr(&b), NULL);
        assert_memory_equal(&back, &v, sizeof(v));
    }
    buf_clear(&b);
    json_w_init(&w, &b);
    jw_begin_array(&w);
    jw_double(&w, INFINITY);
    jw_double(&w, NAN);
    jw_double(&w, 3);
    jw_double(&w, 1e300);
    jw_end_array(&w);
    assert_string_equal(buf_cstr(&b), "[null,null,3,1e+300]");
}

static void test_full(void **state UNUSED) {
    cleanup_buf struct buf b = BUF_INIT(8);
    struct json_w w;
    json_w_init(&w, &b);
    jw_begin_array(&w);
    jw_str(&w, STR("0123456789"));
    jw_int(&w, 1); /* would fit, but the failure sticks */
    assert_int_equal(json_w_done(&w), -EMSGSIZE);
    assert_true(str_is(buf_str(&b), "[\""));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commas),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_string_round_trip),
        cmocka_unit_test(test_doubles),
        cmocka_unit_test(test_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
