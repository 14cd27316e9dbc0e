/* SPDX-License-Identifier: Apache-2.0 */
/* Series of metrics against a walker that looks at every minute for every bucket. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "core/internal.h"
#include "core_world.h"
#include <stdio.h>

static struct world w;
static const int64_t DAY = INT64_C(29000000); /* minutes; in 2025: long over */

enum { ROWS = 200 };
static struct metric_minute rows[ROWS];
static size_t n_rows;

struct rows_job {
    struct store_job job;
    bool over;
};

static int put_rows(struct store_job *job, struct store *s, struct error *err) {
    (void)job;
    return store_metrics_merge(s, rows, n_rows, err);
}

static void rows_put(struct store_job *job, const struct error *err) {
    assert_null(err);
    container_of(job, struct rows_job, job)->over = true;
}

static uint64_t state = 88172645463325252u;
static uint64_t any(uint64_t below) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % below;
}

static void make_rows(uint32_t function_no, int64_t span) {
    n_rows = 1 + any(ROWS);
    for (size_t i = 0; i < n_rows; i++) {
        struct metric_minute *m = &rows[i];
        *m = (struct metric_minute){.function_no = function_no,
                                    .minute = DAY + (int64_t)any((uint64_t)span),
                                    .concurrency_min = UINT32_MAX};
        histogram_init(&m->duration);
        m->cpu_us = any(1000);
        m->memory_peak_bytes = any(1000000);
        if (any(4) == 0) /* processor time alone */
            continue;
        m->invocations = 1 + any(5);
        m->errors = any(m->invocations);
        m->cold_starts = any(m->invocations);
        m->busy_us = any(60000000);
        m->gb_us = any(1000000);
        m->concurrency_min = (uint32_t)any(3);
        m->concurrency_max = m->concurrency_min + (uint32_t)any(4);
        for (uint64_t k = 0; k < m->invocations; k++)
            histogram_add(&m->duration, any(1000000));
    }
    struct rows_job put = {.over = false};
    put.job = (struct store_job){
        .db = STORE_HISTORY, .run = put_rows, .done = rows_put, .loop = w.loops[0]};
    store_submit(w.store, &put.job);
    world_until(&w, &put.over);
}

static void free_rows(void) {
    for (size_t i = 0; i < n_rows; i++)
        histogram_done(&rows[i].duration);
}

/* What minutes FIRST .. LAST hold, by looking at all rows. */
static struct core_metrics walk(int64_t first, int64_t last) {
    struct core_metrics m = {0};
    struct histogram h;
    uint64_t busy = 0, gb = 0;
    int64_t with_calls = 0;
    histogram_init(&h);
    m.concurrency_min = UINT32_MAX;
    for (int64_t minute = first; minute <= last; minute++) {
        bool called = false;
        for (size_t i = 0; i < n_rows; i++) {
            const struct metric_minute *r = &rows[i];
            if (r->minute != minute)
                continue;
            m.cpu_us += r->cpu_us;
            if (r->memory_peak_bytes > m.memory_peak_bytes)
                m.memory_peak_bytes = r->memory_peak_bytes;
            if (!r->invocations)
                continue;
            called = true;
            m.invocations += r->invocations;
            m.errors += r->errors;
            m.cold_starts += r->cold_starts;
            busy += r->busy_us;
            gb += r->gb_us;
            if (r->concurrency_min < m.concurrency_min)
                m.concurrency_min = r->concurrency_min;
            if (r->concurrency_max > m.concurrency_max)
                m.concurrency_max = r->concurrency_max;
            histogram_merge(&h, &r->duration);
        }
        with_calls += called;
    }
    if (with_calls < last - first + 1)
        m.concurrency_min = 0;
    m.concurrency_avg = (double)busy / ((double)(last - first + 1) * 60e6);
    m.gb_seconds = (double)gb / 1e6;
    m.min_us = h.count ? h.min : 0;
    m.max_us = h.count ? h.max : 0;
    m.avg_us = h.count ? h.sum / h.count : 0;
    m.p50_us = histogram_quantile(&h, 0.5);
    m.p95_us = histogram_quantile(&h, 0.95);
    m.p99_us = histogram_quantile(&h, 0.99);
    histogram_done(&h);
    return m;
}

static void same(const struct core_metrics *a, const struct core_metrics *b) {
    assert_int_equal(a->invocations, b->invocations);
    assert_int_equal(a->errors, b->errors);
    assert_int_equal(a->cold_starts, b->cold_starts);
    assert_int_equal(a->cpu_us, b->cpu_us);
    assert_int_equal(a->memory_peak_bytes, b->memory_peak_bytes);
    assert_int_equal(a->min_us, b->min_us);
    assert_int_equal(a->max_us, b->max_us);
    assert_int_equal(a->avg_us, b->avg_us);
    assert_int_equal(a->p50_us, b->p50_us);
    assert_int_equal(a->p95_us, b->p95_us);
    assert_int_equal(a->p99_us, b->p99_us);
    assert_int_equal(a->concurrency_min, b->concurrency_min);
    assert_int_equal(a->concurrency_max, b->concurrency_max);
    assert_true(a->concurrency_avg - b->concurrency_avg < 1e-9 &&
                b->concurrency_avg - a->concurrency_avg < 1e-9);
    assert_true(a->gb_seconds - b->gb_seconds < 1e-9 && b->gb_seconds - a->gb_seconds < 1e-9);
}

struct series {
    bool over;
    struct core_metrics total;
    struct core_bucket v[CORE_BUCKETS_MAX];
    size_t n;
};

static void got_series(void *arg, const struct error *err, const struct core_metrics *total,
                       const struct core_bucket *v, size_t n) {
    struct series *s = arg;
    assert_null(err);
    s->total = *total;
    memcpy(s->v, v, n * sizeof *v);
    s->n = n;
    s->over = true;
}

static int64_t later(int64_t a, int64_t b) {
    return a > b ? a : b;
}
static int64_t earlier(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static void check_window(uint32_t no, int64_t from_us, int64_t to_us, uint32_t step) {
    static struct series s;
    size_t n;
    struct error err;
    s.over = false;
    assert_int_equal(core_buckets(from_us, to_us, step, &n, &err), 0);
    core_metrics_series(w.core, w.loops[0], no, from_us, to_us, step, got_series, &s);
    world_until(&w, &s.over);
    assert_int_equal(s.n, n);
    int64_t first = from_us / US_PER_MINUTE, last = (to_us - 1) / US_PER_MINUTE;
    struct core_metrics all = walk(first, last);
    same(&s.total, &all);
    assert_true(s.v[0].at_us <= from_us);
    for (size_t i = 0; i < n; i++) {
        int64_t begin = s.v[i].at_us / US_PER_MINUTE, end = begin + step - 1;
        assert_int_equal(s.v[i].at_us % (step * US_PER_MINUTE), 0);
        if (i > 0)
            assert_int_equal(s.v[i].at_us - s.v[i - 1].at_us, step * US_PER_MINUTE);
        struct core_metrics one = walk(later(begin, first), earlier(end, last));
        same(&s.v[i].m, &one);
    }
    assert_true(to_us <= s.v[n - 1].at_us + step * US_PER_MINUTE);
}

static void test_buckets(void **unused) {
    (void)unused;
    static const uint32_t STEPS[] = {1, 5, 60};
    for (uint32_t round = 0; round < 40; round++) {
        uint32_t no = 1000 + round;
        int64_t span = 1 + (int64_t)any(600);
        make_rows(no, span);
        for (size_t i = 0; i < ARRAY_LEN(STEPS); i++) {
            int64_t from = (DAY + (int64_t)any((uint64_t)span)) * US_PER_MINUTE +
                           (any(2) ? (int64_t)any(60000000) : 0);
            int64_t to = from + 1 + (int64_t)any(300 * 60000000u);
            check_window(no, from, to, STEPS[i]);
        }
        free_rows();
    }
}

static void test_too_many(void **unused) {
    (void)unused;
    struct error err;
    size_t n = 0;
    int64_t from = DAY * US_PER_MINUTE;
    assert_int_equal(core_buckets(from, from + 1500 * US_PER_MINUTE, 1, &n, &err), 0);
    assert_int_equal(n, 1500);
    assert_int_equal(core_buckets(from, from + 1500 * US_PER_MINUTE + 1, 1, &n, &err), -1);
    assert_int_equal(err.code, ERR_INVALID);
    assert_string_equal(err.field, "resolution");
    assert_int_equal(core_buckets(from + 1, from + 1500 * US_PER_MINUTE + 1, 1, &n, &err), -1);
    assert_int_equal(core_buckets(from, from, 60, &n, &err), 0);
    assert_int_equal(n, 1);
    assert_int_equal(core_buckets(0, INT64_MAX, 60, &n, &err), -1);
}

static int open_world(void **unused) {
    (void)unused;
    world_open(&w);
    return 0;
}
static int close_world(void **unused) {
    (void)unused;
    world_close(&w);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_buckets, open_world, close_world),
        cmocka_unit_test(test_too_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
