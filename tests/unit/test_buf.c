/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"
#include "base/buf.h"
#include "base/rand.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void test_ceiling(void **state UNUSED) {
    cleanup_buf struct buf b = BUF_INIT(10);
    assert_int_equal(buf_puts(&b, "12345678"), 0);
    assert_int_equal(buf_puts(&b, "9ab"), -EMSGSIZE);
    assert_int_equal(buf_printf(&b, "%d", 123), -EMSGSIZE);
    assert_int_equal(buf_put_u64(&b, 100), -EMSGSIZE);
    assert_int_equal(buf_put_base64(&b, STR("x")), -EMSGSIZE);
    assert_int_equal(b.len, 8);
    assert_int_equal(buf_printf(&b, "%d", 90), 0); /* to the brim: the NUL has room past it */
    assert_string_equal(buf_cstr(&b), "1234567890");
    assert_int_equal(buf_putc(&b, 'x'), -EMSGSIZE);
    assert_int_equal(buf_reserve(&b, SIZE_MAX), -EMSGSIZE);
}

static void test_put_drop_take(void **state UNUSED) {
    cleanup_buf struct buf b = BUF_INIT(MIB);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(buf_put_u64(&b, (uint64_t)i), 0);
    assert_int_equal(b.len, 10 + 90 * 2 + 900 * 3);
    buf_drop(&b, b.len - 3);
    assert_true(str_is(buf_str(&b), "999"));
    assert_int_equal(buf_put_u64(&b, UINT64_MAX), 0);
    size_t len;
    cleanup_free char *p = buf_take(&b, &len);
    assert_int_equal(len, 23);
    assert_string_equal(p, "99918446744073709551615");
    assert_int_equal(b.len, 0);
    cleanup_free char *nothing = buf_take(&b, NULL);
    assert_string_equal(nothing, "");
    buf_drop(&b, 5);
}

static void test_base64_known(void **state UNUSED) { /* RFC 4648 section 10 */
    static const char *const pairs[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"}};
    cleanup_buf struct buf b = BUF_INIT(100);
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        buf_clear(&b);
        assert_int_equal(buf_put_base64(&b, str_of(pairs[i][0])), 0);
        assert_true(str_is(buf_str(&b), pairs[i][1]));
    }
}

static void test_base64_round_trip(void **state UNUSED) {
    cleanup_buf struct buf text = BUF_INIT(MIB), back = BUF_INIT(MIB);
    unsigned char bytes[300];
    for (size_t n = 0; n < sizeof(bytes); n++) {
        rand_bytes(bytes, n);
        buf_clear(&text);
        buf_clear(&back);
        assert_int_equal(buf_put_base64(&text, str_n(bytes, n)), 0);
        assert_int_equal(text.len, (n + 2) / 3 * 4);
        assert_int_equal(buf_put_base64_decoded(&back, buf_str(&text)), 0);
        assert_int_equal(back.len, n);
        assert_memory_equal(back.p ? back.p : "", bytes, n);
    }
}

static void test_base64_refused(void **state UNUSED) {
    static const char *const bad[] = {
        "Z",      "Zg",       "Zg=",  "====", "Z===", "Zh==",    "Zm9=",    "Zm 9",
        "Zm9v\n", "Zg==Zg==", "=m9v", "Zm-_", "Z=9v", "Zm\xffg", "Zm9vZg=a"};
    cleanup_buf struct buf b = BUF_INIT(100);
    assert_int_equal(buf_puts(&b, "kept"), 0);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(buf_put_base64_decoded(&b, str_of(bad[i])), -EINVAL);
        assert_true(str_is(buf_str(&b), "kept"));
    }
    b.max = 5;
    assert_int_equal(buf_put_base64_decoded(&b, STR("Zm8=")), -EMSGSIZE);
    assert_int_equal(buf_put_base64_decoded(&b, STR("Zg==")), 0); /* fits to the byte */
    assert_true(str_is(buf_str(&b), "keptf"));
}

static void test_arena(void **state UNUSED) {
    struct arena a;
    arena_init(&a, 200 * KIB);
    for (int round = 0; round < 3; round++) {
        size_t total = 0;
        for (size_t n = 0; n < 500; n++) {
            unsigned char *p = arena_alloc(&a, n);
            assert_non_null(p);
            assert_int_equal((uintptr_t)p % 16, 0);
            for (size_t i = 0; i < n; i++)
                assert_int_equal(p[i], 0);
            memset(p, 0xaa, n);
            total += n;
        }
        assert_non_null(arena_alloc(&a, 200 * KIB - total)); /* up to the ceiling */
        assert_null(arena_alloc(&a, 1));
        assert_null(arena_alloc(&a, SIZE_MAX));
        arena_reset(&a);
    }
    arena_done(&a);
    arena_done(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ceiling),        cmocka_unit_test(test_put_drop_take),
        cmocka_unit_test(test_base64_known),   cmocka_unit_test(test_base64_round_trip),
        cmocka_unit_test(test_base64_refused), cmocka_unit_test(test_arena),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
