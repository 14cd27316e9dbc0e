/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "http/url.h"

static const struct {
    const char *in, *out; /* NULL: -EINVAL */
} paths[] = {
    {"/", "/"},
    {"/a/b", "/a/b"},
    {"/a/b/", "/a/b/"},
    {"//", "/"},
    {"//a///b//", "/a/b/"},
    {"/.", "/"},
    {"/./a/./b/.", "/a/b/"},
    {"/a/..", "/"},
    {"/a/../b", "/b"},
    {"/a/b/../../c/", "/c/"},
    {"/a/%2e%2E/b", "/b"},
    {"/%41%7e%2f%3f%20", "/A~%2F%3F%20"},
    {"/a%2f..%2Fb", "/a%2F..%2Fb"},
    {"/...", "/..."},
    {"/.a/..b", "/.a/..b"},
    {"", NULL},
    {"a", NULL},
    {"/..", NULL},
    {"/a/../..", NULL},
    {"/%2e%2e/", NULL},
    {"/%", NULL},
    {"/%4", NULL},
    {"/%4g", NULL},
    {"/a%00", NULL},
};

static void paths_are_cleaned(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        struct arena a;
        struct str got;
        arena_init(&a, 4096);
        int r = url_path_clean(str_of(paths[i].in), &a, &got);
        assert_int_equal(r, paths[i].out ? 0 : -EINVAL);
        if (r == 0 && !str_is(got, paths[i].out))
            fail_msg("%s became %.*s", paths[i].in, STR_ARG(got));
        arena_done(&a);
    }
}

static void clean_input_is_not_copied(void **state) {
    (void)state;
    struct arena a;
    struct str in = STR("/a/b.c"), got;
    arena_init(&a, 0);
    assert_int_equal(url_path_clean(in, &a, &got), 0);
    assert_ptr_equal(got.p, in.p);
    assert_int_equal(url_decode(STR("a+b"), URL_PATH, &a, &got), 0);
    assert_int_equal(url_decode(STR("a+b"), URL_QUERY, &a, &got), -EMSGSIZE);
    assert_int_equal(url_path_clean(STR("/a//b"), &a, &got), -EMSGSIZE);
    arena_done(&a);
}

static void segments_come_in_order(void **state) {
    (void)state;
    struct str rest = STR("/api/v1/x/"), s;
    assert_true(url_segment_next(&rest, &s) && str_is(s, "api"));
    assert_true(url_segment_next(&rest, &s) && str_is(s, "v1"));
    assert_true(url_segment_next(&rest, &s) && str_is(s, "x"));
    assert_false(url_segment_next(&rest, &s));
    rest = STR("/");
    assert_false(url_segment_next(&rest, &s));
    rest = STR("");
    assert_false(url_segment_next(&rest, &s));
}

static void queries_are_decoded(void **state) {
    (void)state;
    struct arena a;
    struct str rest = STR("&a=1+2&&b=%26%3D&c&=x&a=%C3%A4&"), n, v;
    static const char *const want[][2] = {
        {"a", "1 2"}, {"b", "&="}, {"c", ""}, {"", "x"}, {"a", "\xc3\xa4"}};
    arena_init(&a, 4096);
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        assert_int_equal(url_query_next(&rest, &a, &n, &v), 1);
        assert_true(str_is(n, want[i][0]) && str_is(v, want[i][1]));
    }
    assert_int_equal(url_query_next(&rest, &a, &n, &v), 0);
    assert_int_equal(url_query_get(STR("x=1&%79=2&y=3"), "y", &a, &v), 1);
    assert_true(str_is(v, "2"));
    assert_int_equal(url_query_get(STR("x=1"), "y", &a, &v), 0);
    assert_int_equal(url_query_get(STR_NULL, "y", &a, &v), 0);
    assert_int_equal(url_query_get(STR("x=%zz&y=1"), "y", &a, &v), -EINVAL);
    assert_int_equal(url_query_get(STR("y=%00"), "y", &a, &v), -EINVAL);
    arena_done(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_are_cleaned),
        cmocka_unit_test(clean_input_is_not_copied),
        cmocka_unit_test(segments_come_in_order),
        cmocka_unit_test(queries_are_decoded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
