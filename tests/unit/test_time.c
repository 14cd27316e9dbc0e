/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/rand.h"
#include "base/ulid.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <time.h>

#include <cmocka.h>

static void test_rfc3339_known(void **state UNUSED) {
    char out[RFC3339_MAX];
    assert_string_equal(clock_rfc3339(0, out), "1970-01-01T00:00:00Z");
    assert_string_equal(clock_rfc3339(1749579300125000, out), "2025-06-10T18:15:00.125Z");
    assert_string_equal(clock_rfc3339(1749579300125001, out), "2025-06-10T18:15:00.125001Z");
    assert_string_equal(clock_rfc3339(-1, out), "1969-12-31T23:59:59.999999Z");
    assert_string_equal(clock_rfc3339(INT64_MIN, out), "0000-01-01T00:00:00Z");
    assert_string_equal(clock_rfc3339(INT64_MAX, out), "9999-12-31T23:59:59.999999Z");
}

/* Against the C library, over the whole range. */
static void test_rfc3339_random(void **state UNUSED) {
    for (int i = 0; i < 50000; i++) {
        int64_t s = (int64_t)(rand_u64() % 315500000000ull) - 62167219200; /* years 0..9997 */
        char out[RFC3339_MAX], want[RFC3339_MAX];
        struct tm tm;
        time_t t = (time_t)s;
        assert_non_null(gmtime_r(&t, &tm));
        assert_true(strftime(want, sizeof(want), "-%m-%dT%H:%M:%SZ", &tm) > 0);
        assert_string_equal(clock_rfc3339(s * 1000000, out) + 4, want);
        int64_t back, us = s * 1000000 + (int64_t)(rand_u64() % 1000000);
        assert_int_equal(clock_parse_rfc3339(str_of(clock_rfc3339(us, out)), &back), 0);
        assert_true(back == us);
    }
}

static void test_rfc3339_parse(void **state UNUSED) {
    static const struct {
        const char *text;
        int64_t us;
    } good[] = {
        {"1985-04-12T23:20:50.52Z", 482196050520000}, /* RFC 3339 section 5.8 */
        {"1996-12-19T16:39:57-08:00", 851042397000000},
        {"1990-12-31T23:59:60Z", 662688000000000},
        {"1937-01-01T12:00:27.87+00:20", -1041337172130000},
        {"2000-02-29t00:00:00z", 951782400000000},
        {"1970-01-01T00:00:00.1234567Z", 123456},
    };
    static const char *const bad[] = {"",
                                      "2025-06-10",
                                      "2025-06-10T18:15:00",
                                      "2025-06-10 18:15:00Z",
                                      "2025-06-31T00:00:00Z",
                                      "2025-02-29T00:00:00Z",
                                      "2025-00-10T00:00:00Z",
                                      "2025-13-10T00:00:00Z",
                                      "2025-06-10T24:00:00Z",
                                      "2025-06-10T18:60:00Z",
                                      "2025-06-10T18:15:61Z",
                                      "2025-06-10T18:15:00.Z",
                                      "2025-06-10T18:15:00Zx",
                                      "2025-06-10T18:15:00+0100",
                                      "2025-06-10T18:15:00+24:00",
                                      "25-06-10T18:15:00Z",
                                      "2025-6-10T18:15:00Z",
                                      "-025-06-10T18:15:00Z",
                                      "2025-06-10T18:15Z",
                                      "2025-06-00T18:15:00Z"};
    int64_t us;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_int_equal(clock_parse_rfc3339(str_of(good[i].text), &us), 0);
        assert_true(us == good[i].us);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(clock_parse_rfc3339(str_of(bad[i]), &us), -EINVAL);
}

static void test_ulid_order(void **state UNUSED) {
    struct ulid last = ulid_make(42);
    char last_text[ULID_TEXT_LEN + 1], text[ULID_TEXT_LEN + 1];
    ulid_text(&last, last_text);
    for (int i = 0; i < 100000; i++) {
        struct ulid u = ulid_make(42), back;
        ulid_text(&u, text);
        assert_true(memcmp(&last, &u, sizeof(u)) < 0);
        assert_true(strcmp(last_text, text) < 0); /* text sorts as bytes do */
        assert_int_equal(ulid_function_no(&u), 42);
        assert_int_equal(ulid_parse(str_of(text), &back), 0);
        assert_memory_equal(&back, &u, sizeof(u));
        last = u;
        memcpy(last_text, text, sizeof(text));
    }
}

static void test_ulid_form(void **state UNUSED) {
    struct ulid u;
    char text[ULID_TEXT_LEN + 1];
    /* the example of github.com/ulid/spec, and the greatest */
    assert_int_equal(ulid_parse(STR("01ARZ3NDEKTSV4RRFFQ69G5FAV"), &u), 0);
    assert_true(ulid_ms(&u) == 1469922850259ull);
    ulid_text(&u, text);
    assert_string_equal(text, "01ARZ3NDEKTSV4RRFFQ69G5FAV");
    assert_int_equal(ulid_parse(STR("7ZZZZZZZZZZZZZZZZZZZZZZZZZ"), &u), 0);
    assert_int_equal(ulid_function_no(&u), UINT32_MAX);
    static const char *const bad[] = {"",
                                      "8ZZZZZZZZZZZZZZZZZZZZZZZZZ",
                                      "01ARZ3NDEKTSV4RRFFQ69G5FA",
                                      "01ARZ3NDEKTSV4RRFFQ69G5FAVX",
                                      "01arz3ndektsv4rrffq69g5fav",
                                      "01ARZ3NDEKTSV4RRFFQ69G5FAU"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(ulid_parse(str_of(bad[i]), &u), -EINVAL);
    assert_int_equal(ulid_parse(str_n("01ARZ3NDEKTSV4RRFFQ69G5FA\0", 26), &u), -EINVAL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rfc3339_known), cmocka_unit_test(test_rfc3339_random),
        cmocka_unit_test(test_rfc3339_parse), cmocka_unit_test(test_ulid_order),
        cmocka_unit_test(test_ulid_form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
