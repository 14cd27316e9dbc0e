/* SPDX-License-Identifier: Apache-2.0 */
#include "base/str.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void test_compare(void **state UNUSED) {
    assert_true(str_ieq(STR("Content-Type"), STR("content-tYPE")));
    assert_false(str_ieq(STR("a["), STR("a{"))); /* differ by 0x20 but are no letters */
    assert_false(str_ieq(STR("abc"), STR("ab")));
    assert_true(str_starts(STR("abc"), STR("ab")));
    assert_false(str_starts(STR("a"), STR("ab")));
    assert_true(str_starts(STR_NULL, STR_NULL));
    assert_true(str_ends(STR("main.py"), STR(".py")));
    assert_false(str_ends(STR("py"), STR(".py")));
    assert_true(str_ends(STR("x"), STR_NULL));
}

static void test_trim_and_cut(void **state UNUSED) {
    assert_true(str_is(str_trim(STR(" \t a b\t ")), "a b"));
    assert_int_equal(str_trim(STR("  \t")).len, 0);
    struct str rest = STR("a,,b");
    assert_true(str_is(str_cut(&rest, ','), "a"));
    assert_true(str_is(str_cut(&rest, ','), ""));
    assert_non_null(rest.p);
    assert_true(str_is(str_cut(&rest, ','), "b"));
    assert_null(rest.p);
    rest = STR("a,");
    (void)str_cut(&rest, ',');
    assert_non_null(rest.p); /* an empty last part is a part */
    assert_int_equal(rest.len, 0);
}

static void test_u64(void **state UNUSED) {
    uint64_t v = 7;
    assert_int_equal(str_u64(STR("18446744073709551615"), UINT64_MAX, &v), 0);
    assert_true(v == UINT64_MAX);
    assert_int_equal(str_u64(STR("18446744073709551616"), UINT64_MAX, &v), -ERANGE);
    assert_int_equal(str_u64(STR("99999999999999999999999"), UINT64_MAX, &v), -ERANGE);
    assert_int_equal(str_u64(STR("11"), 10, &v), -ERANGE);
    static const char *const bad[] = {"", "-1", "+1", " 1", "1 ", "0x1", "1e3"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(str_u64(str_of(bad[i]), 100, &v), -EINVAL);
    assert_true(v == UINT64_MAX); /* untouched by failures */
}

static void test_utf8(void **state UNUSED) {
    static const char *const good[] = {"",
                                       "plain ascii, long enough",
                                       "\xc2\x80",
                                       "\xdf\xbf",
                                       "\xe0\xa0\x80",
                                       "\xed\x9f\xbf",
                                       "\xee\x80\x80",
                                       "\xf0\x90\x80\x80",
                                       "\xf4\x8f\xbf\xbf",
                                       "12345678\xc3\xa4"};
    static const char *const bad[] = {"\x80",
                                      "\xc0\x80",
                                      "\xc1\xbf",
                                      "\xc2",
                                      "\xe0\x9f\xbf",
                                      "\xed\xa0\x80",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xe2\x82",
                                      "\xff",
                                      "1234567\xc3"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_true(str_is_utf8(str_of(good[i])));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(str_is_utf8(str_of(bad[i])));
    assert_int_equal(str_utf8_step(STR("\xf0\x9f\x98\x80x")), 4);
    assert_int_equal(str_utf8_step(STR_NULL), 0);
}

static void hex(void **state) {
    (void)state;
    static const char digits[] = "0123456789abcdef";
    for (int c = 0; c < 256; c++) {
        char ch = (char)c;
        const char *small = c ? strchr(digits, c) : NULL;
        bool large = c >= 'A' && c <= 'F';
        int want = small ? (int)(small - digits) : large ? c - 'A' + 10 : -1;
        assert_int_equal(hex_value(ch), want);
        assert_int_equal(str_is_small_hex(str_n(&ch, 1)), small != NULL);
    }
    assert_true(str_is_small_hex(STR("00ff")));
    assert_false(str_is_small_hex(STR("00fF")));
    assert_false(str_is_small_hex(STR("ff0g")));
    assert_true(str_is_small_hex(STR("")));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compare), cmocka_unit_test(test_trim_and_cut),
        cmocka_unit_test(test_u64),     cmocka_unit_test(test_utf8),
        cmocka_unit_test(hex),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
