/* SPDX-License-Identifier: Apache-2.0 */
/* Sums over the minutes of a function. */

#include "core/internal.h"

#define US_PER_MINUTE INT64_C(60000000)

struct metrics_ask {
    struct ask ask;
    uint32_t function_no;
    int64_t from_us, to_us;
    int64_t first, last; /* minutes that hold anything; -1 = none */
    int64_t rows;
    uint64_t busy_us, gb_us;
    struct histogram duration;
    struct core_metrics m;
    void (*done)(void *arg, const struct error *err, const struct core_metrics *m);
    void *arg;
};

static bool add(void *arg, const struct metric_minute *m) {
    struct metrics_ask *a = arg;
    a->m.invocations += m->invocations;
    a->m.errors += m->errors;
    a->m.cold_starts += m->cold_starts;
    a->busy_us += m->busy_us;
    a->gb_us += m->gb_us;
    if (a->rows++ == 0 || m->concurrency_min < a->m.concurrency_min)
        a->m.concurrency_min = m->concurrency_min;
    if (m->concurrency_max > a->m.concurrency_max)
        a->m.concurrency_max = m->concurrency_max;
    if (a->first < 0 || m->minute < a->first)
        a->first = m->minute;
    if (m->minute > a->last)
        a->last = m->minute;
    histogram_merge(&a->duration, &m->duration);
    return true;
}

/* What the average of calls at once is taken over: from what was asked for, or from the first
 * minute with a call, until now at the latest. */
static int64_t window_us(const struct metrics_ask *a) {
    int64_t now = clock_real_us();
    int64_t from = (a->from_us ? a->from_us / US_PER_MINUTE : a->first) * US_PER_MINUTE;
    int64_t to = a->to_us ? ((a->to_us - 1) / US_PER_MINUTE + 1) * US_PER_MINUTE : now;
    if (to > now)
        to = now;
    return to > from ? to - from : 1;
}

static void sum_up(struct metrics_ask *a) {
    struct core_metrics *m = &a->m;
    const struct histogram *h = &a->duration;
    if (a->rows == 0)
        return;
    int64_t window = window_us(a);
    if (window / US_PER_MINUTE > a->rows) /* a minute went by without a call */
        m->concurrency_min = 0;
    m->concurrency_avg = (double)a->busy_us / (double)window;
    m->gb_seconds = (double)a->gb_us / 1e6;
    if (h->count == 0)
        return;
    m->min_us = h->min;
    m->max_us = h->max;
    m->avg_us = h->sum / h->count;
    m->p50_us = histogram_quantile(h, 0.50);
    m->p95_us = histogram_quantile(h, 0.95);
    m->p99_us = histogram_quantile(h, 0.99);
}

static int read_metrics(struct ask *ask, struct store *s, struct error *err) {
    struct metrics_ask *a = container_of(ask, struct metrics_ask, ask);
    int64_t first = a->from_us / US_PER_MINUTE;
    int64_t last = a->to_us ? (a->to_us - 1) / US_PER_MINUTE : INT64_MAX / US_PER_MINUTE;
    if (store_metrics_each(s, a->function_no, first, last, add, a, err) < 0)
        return -1;
    sum_up(a);
    return 0;
}

static void answer(struct ask *ask, const struct error *err) {
    struct metrics_ask *a = container_of(ask, struct metrics_ask, ask);
    a->done(a->arg, err, err ? NULL : &a->m);
    histogram_done(&a->duration);
    free(a);
}

void core_metrics(struct core *c, struct loop *loop, uint32_t function_no, int64_t from_us,
                  int64_t to_us,
                  void (*done)(void *arg, const struct error *err, const struct core_metrics *m),
                  void *arg) {
    struct metrics_ask *a = x_alloc(sizeof *a);
    a->ask = (struct ask){.core = c, .loop = loop, .read = read_metrics, .answer = answer};
    a->function_no = function_no;
    a->from_us = from_us;
    a->to_us = to_us;
    a->first = a->last = -1;
    histogram_init(&a->duration);
    a->done = done;
    a->arg = arg;
    ask_after_history(&a->ask);
}
