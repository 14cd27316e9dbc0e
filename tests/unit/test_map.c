/* SPDX-License-Identifier: Apache-2.0 */
#include "base/map.h"
#include "base/rand.h"
#include "base/siphash.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { KEYS = 700, STEPS = 200000 };

struct item {
    uint64_t no;
    bool in;
};

static void check_same(const struct map *m, const struct item *items) {
    size_t count = 0, walked = 0, it = 0;
    for (size_t i = 0; i < KEYS; i++) {
        assert_ptr_equal(map_get(m, MAP_KEY(items[i].no)), items[i].in ? &items[i] : NULL);
        count += items[i].in;
    }
    for (const struct item *item; (item = map_next(m, &it)); walked++)
        assert_true(item->in);
    assert_int_equal(m->count, count);
    assert_int_equal(walked, count);
}

/* Random puts and deletes against an array that cannot be wrong. */
static void test_against_model(void **state UNUSED) {
    static struct item items[KEYS];
    struct map m;
    map_init(&m);
    for (size_t i = 0; i < KEYS; i++)
        items[i].no = rand_u64();
    for (int step = 0; step < STEPS; step++) {
        uint32_t dice = (uint32_t)rand_u64();
        struct item *item = &items[dice % KEYS];
        bool grows = step < STEPS / 2 ? dice >> 30 != 0 : dice >> 30 == 0;
        void *want = item->in ? item : NULL;
        void *got = grows ? map_put(&m, MAP_KEY(item->no), item) : map_del(&m, MAP_KEY(item->no));
        assert_ptr_equal(got, want);
        item->in = grows;
        if (step % 1000 == 0)
            check_same(&m, items);
    }
    check_same(&m, items);
    map_done(&m);
    map_done(NULL);
}

static void test_replacement_keeps_new_key(void **state UNUSED) {
    char first[] = "name", second[] = "name";
    int a, b;
    struct map m;
    map_init(&m);
    assert_null(map_put(&m, str_of(first), &a));
    assert_ptr_equal(map_put(&m, str_of(second), &b), &a);
    memset(first, 'x', 4); /* the old key's memory is gone with its value */
    assert_ptr_equal(map_get(&m, STR("name")), &b);
    assert_int_equal(m.count, 1);
    assert_null(map_get(&m, STR_NULL));
    map_done(&m);
    assert_null(map_get(&m, STR("name")));
    assert_null(map_del(&m, STR("name")));
}

/* Values of CPython 3.11, whose hash() of bytes is SipHash-1-3, with the key 0 of
 * PYTHONHASHSEED=0. */
static void test_siphash(void **state UNUSED) {
    assert_true(siphash13(0, 0, "a", 1) == 0x407448d2b89b1813ull);
    assert_true(siphash13(0, 0, "abcdefg", 7) == 0x6db12aae9070f506ull);
    assert_true(siphash13(0, 0, "abcdefgh", 8) == 0x3f7b849c0b8e35eaull);
    assert_true(siphash13(0, 0, "the quick brown fox jumps over", 30) == 0xad7dbf39b6f5e689ull);
    assert_true(hash_bytes("a", 1) == hash_bytes("a", 1));
    assert_true(hash_bytes("a", 1) != siphash13(0, 0, "a", 1)); /* keyed */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_model),
        cmocka_unit_test(test_replacement_keeps_new_key),
        cmocka_unit_test(test_siphash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
