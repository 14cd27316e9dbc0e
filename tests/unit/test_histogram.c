/* SPDX-License-Identifier: Apache-2.0 */
#include "base/histogram.h"
#include "base/rand.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { VALUES = 20000 };

static int by_size(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Any magnitude up to 2^37, each octave as likely. */
static uint64_t any_value(void) {
    return (rand_u64() & ((1ull << 37) - 1)) >> (rand_u64() % 37);
}

static void assert_near(uint64_t got, uint64_t exact) {
    uint64_t off = got > exact ? got - exact : exact - got;
    assert_true(off * 1000 <= exact * 16);
}

static void test_quantiles(void **state UNUSED) {
    static uint64_t values[VALUES];
    struct histogram h;
    histogram_init(&h);
    uint64_t sum = 0;
    for (size_t i = 0; i < VALUES; i++) {
        values[i] = any_value();
        sum += values[i];
        histogram_add(&h, values[i]);
    }
    qsort(values, VALUES, sizeof(values[0]), by_size);
    for (size_t permille = 1; permille < 1000; permille++) {
        size_t rank = (VALUES * permille + 999) / 1000; /* the value that this many are not above */
        uint64_t got = histogram_quantile(&h, (double)permille / 1000);
        /* the product in floating point may round the rank up by one */
        if (rank < VALUES && got > values[rank - 1] + values[rank - 1] * 16 / 1000)
            rank++;
        assert_near(got, values[rank - 1]);
    }
    assert_true(histogram_quantile(&h, 0) == values[0]);
    assert_true(histogram_quantile(&h, 1) == values[VALUES - 1]);
    assert_true(h.count == VALUES && h.sum == sum);
    histogram_done(&h);
}

static void assert_same(const struct histogram *a, const struct histogram *b) {
    assert_true(a->count == b->count && a->sum == b->sum && a->min == b->min && a->max == b->max);
    assert_int_equal(a->used, b->used);
    for (uint32_t i = 0; i < a->used; i++) {
        assert_int_equal(a->buckets[i].index, b->buckets[i].index);
        assert_int_equal(a->buckets[i].count, b->buckets[i].count);
    }
}

/* Two halves merged are the whole; packed and unpacked it is the same. */
static void test_merge_and_pack(void **state UNUSED) {
    struct histogram whole, part[2], back;
    cleanup_buf struct buf packed = BUF_INIT(64 * KIB);
    histogram_init(&whole);
    histogram_init(&part[0]);
    histogram_init(&part[1]);
    histogram_init(&back);
    for (size_t i = 0; i < 3000; i++) {
        uint64_t v = any_value();
        histogram_add(&whole, v);
        histogram_add(&part[rand_u64() & 1], v);
    }
    histogram_merge(&part[0], &part[1]);
    assert_same(&part[0], &whole);
    assert_int_equal(histogram_pack(&whole, &packed), 0);
    assert_int_equal(histogram_unpack(&back, buf_str(&packed)), 0);
    assert_same(&back, &whole);
    for (size_t cut = 0; cut < packed.len; cut++) { /* every cut is refused and changes nothing */
        assert_int_equal(histogram_unpack(&back, str_n(packed.p, cut)), -EINVAL);
        assert_true(back.count == whole.count);
    }
    assert_int_equal(histogram_unpack(&back, buf_str(&packed)), 0); /* merges */
    assert_true(back.count == 2 * whole.count);
    histogram_done(&whole);
    histogram_done(&part[0]);
    histogram_done(&part[1]);
    histogram_done(&back);
}

static void test_edges(void **state UNUSED) {
    struct histogram h;
    cleanup_buf struct buf packed = BUF_INIT(100);
    histogram_init(&h);
    assert_int_equal(histogram_quantile(&h, 0.5), 0);
    assert_int_equal(histogram_pack(&h, &packed), 0);
    assert_int_equal(histogram_unpack(&h, buf_str(&packed)), 0);
    assert_int_equal(h.count, 0);
    histogram_add(&h, 1000003);
    assert_int_equal(histogram_quantile(&h, 0.5), 1000003); /* clamped to [min, max] */
    histogram_add(&h, UINT64_MAX);
    assert_true(histogram_quantile(&h, 1) == UINT64_MAX);
    buf_clear(&packed);
    assert_int_equal(histogram_pack(&h, &packed), 0);
    assert_int_equal(buf_putc(&packed, 0), 0);
    assert_int_equal(histogram_unpack(&h, buf_str(&packed)), -EINVAL); /* something left over */
    packed.max = packed.len;
    assert_int_equal(histogram_pack(&h, &packed), -EMSGSIZE);
    histogram_done(&h);
    histogram_done(NULL);
}

/* Noise never crashes and leaves a histogram that still adds up. */
static void test_noise(void **state UNUSED) {
    for (int i = 0; i < 20000; i++) {
        unsigned char noise[24];
        struct histogram h;
        histogram_init(&h);
        rand_bytes(noise, sizeof(noise));
        noise[0] &= 3;
        if (histogram_unpack(&h, str_n(noise, rand_u64() % sizeof(noise))) == 0)
            assert_true(h.used <= HISTOGRAM_BUCKETS_MAX && h.min <= h.max);
        else
            assert_int_equal(h.count, 0);
        histogram_done(&h);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quantiles),
        cmocka_unit_test(test_merge_and_pack),
        cmocka_unit_test(test_edges),
        cmocka_unit_test(test_noise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
