/* SPDX-License-Identifier: Apache-2.0 */
/* Sums over the minutes of a function: of a window, and of the buckets that it is cut into. */

#include "core/internal.h"

struct sum { /* of some minutes */
    struct metric_minute of;
    int64_t first, last; /* minutes with calls; -1 = none */
    int64_t rows;        /* how many of those */
};

struct metrics_ask {
    struct ask ask;
    uint32_t function_no;
    int64_t from_us, to_us;
    struct sum total;
    struct core_metrics m;
    int64_t step; /* minutes a bucket; 0: no buckets */
    int64_t first_bucket;
    size_t n;
    struct sum *sums;
    struct core_bucket *buckets;
    void (*done)(void *arg, const struct error *err, const struct core_metrics *m);
    void (*done_series)(void *arg, const struct error *err, const struct core_metrics *total,
                        const struct core_bucket *v, size_t n);
    void *arg;
};

static void sum_init(struct sum *s) {
    s->first = s->last = -1;
    histogram_init(&s->of.duration);
}

static void sum_add(struct sum *s, const struct metric_minute *m) {
    metric_minute_add(&s->of, m);
    if (m->invocations == 0) /* processor time alone */
        return;
    s->rows++;
    if (s->first < 0 || m->minute < s->first)
        s->first = m->minute;
    if (m->minute > s->last)
        s->last = m->minute;
}

static bool add(void *arg, const struct metric_minute *m) {
    struct metrics_ask *a = arg;
    sum_add(&a->total, m);
    if (a->step) {
        int64_t bucket = m->minute / a->step - a->first_bucket;
        if (bucket >= 0 && bucket < (int64_t)a->n)
            sum_add(&a->sums[bucket], m);
    }
    return true;
}

static int64_t minute_of(int64_t us) {
    return us / US_PER_MINUTE;
}

/* What the average of calls at once is taken over: FROM to TO, of what has passed by now. */
static int64_t window_us(int64_t from, int64_t to, int64_t now) {
    if (to > now)
        to = now;
    return to > from ? to - from : 1;
}

static void sum_up(const struct sum *s, int64_t window, struct core_metrics *m) {
    const struct metric_minute *of = &s->of;
    const struct histogram *h = &of->duration;
    m->cpu_us = of->cpu_us;
    m->memory_peak_bytes = of->memory_peak_bytes;
    if (s->rows == 0)
        return;
    m->invocations = of->invocations;
    m->errors = of->errors;
    m->cold_starts = of->cold_starts;
    m->concurrency_max = of->concurrency_max;
    if (window / US_PER_MINUTE <= s->rows) /* no minute went by without a call */
        m->concurrency_min = of->concurrency_min;
    m->concurrency_avg = (double)of->busy_us / (double)window;
    m->gb_seconds = (double)of->gb_us / 1e6;
    if (h->count == 0)
        return;
    m->min_us = h->min;
    m->max_us = h->max;
    m->avg_us = h->sum / h->count;
    m->p50_us = histogram_quantile(h, 0.50);
    m->p95_us = histogram_quantile(h, 0.95);
    m->p99_us = histogram_quantile(h, 0.99);
}

static void sum_up_total(struct metrics_ask *a, int64_t now) {
    int64_t from = (a->from_us ? minute_of(a->from_us) : a->total.first) * US_PER_MINUTE;
    int64_t to = a->to_us ? (minute_of(a->to_us - 1) + 1) * US_PER_MINUTE : now;
    sum_up(&a->total, window_us(from, to, now), &a->m);
}

/* The first and the last bucket reach beyond what was asked for: only what is within counts. */
static void sum_up_buckets(struct metrics_ask *a, int64_t now) {
    int64_t from = minute_of(a->from_us) * US_PER_MINUTE;
    int64_t to = (minute_of(a->to_us - 1) + 1) * US_PER_MINUTE;
    int64_t step_us = a->step * US_PER_MINUTE;
    a->buckets = x_calloc(a->n + 1, sizeof *a->buckets);
    for (size_t i = 0; i < a->n; i++) {
        struct core_bucket *b = &a->buckets[i];
        b->at_us = (a->first_bucket + (int64_t)i) * step_us;
        int64_t begin = b->at_us > from ? b->at_us : from;
        int64_t end = b->at_us + step_us < to ? b->at_us + step_us : to;
        sum_up(&a->sums[i], window_us(begin, end, now), &b->m);
    }
}

static int read_metrics(struct ask *ask, struct store *s, struct error *err) {
    struct metrics_ask *a = container_of(ask, struct metrics_ask, ask);
    int64_t last = a->to_us ? minute_of(a->to_us - 1) : INT64_MAX / US_PER_MINUTE;
    if (store_metrics_each(s, a->function_no, minute_of(a->from_us), last, add, a, err) < 0)
        return -1;
    int64_t now = clock_real_us();
    sum_up_total(a, now);
    if (a->step)
        sum_up_buckets(a, now);
    return 0;
}

static void answer(struct ask *ask, const struct error *err) {
    struct metrics_ask *a = container_of(ask, struct metrics_ask, ask);
    struct core_fn *fn = registry_find(&a->ask.core->registry, a->function_no);
    int64_t now = fn ? atomic_load(&fn->totals.memory_bytes) : 0;
    a->m.memory_now_bytes = now > 0 ? (uint64_t)now : 0;
    core_fn_unref(fn);
    if (a->done)
        a->done(a->arg, err, err ? NULL : &a->m);
    else
        a->done_series(a->arg, err, err ? NULL : &a->m, err ? NULL : a->buckets, err ? 0 : a->n);
    for (size_t i = 0; i < a->n; i++)
        histogram_done(&a->sums[i].of.duration);
    histogram_done(&a->total.of.duration);
    free(a->sums);
    free(a->buckets);
    free(a);
}

static struct metrics_ask *ask_new(struct core *c, struct loop *loop, uint32_t function_no,
                                   int64_t from_us, int64_t to_us) {
    struct metrics_ask *a = x_alloc(sizeof *a);
    a->ask = (struct ask){.core = c,
                          .loop = loop,
                          .read = read_metrics,
                          .answer = answer,
                          .look = true,
                          .look_function = function_no};
    a->function_no = function_no;
    a->from_us = from_us;
    a->to_us = to_us;
    sum_init(&a->total);
    return a;
}

void core_metrics(struct core *c, struct loop *loop, uint32_t function_no, int64_t from_us,
                  int64_t to_us,
                  void (*done)(void *arg, const struct error *err, const struct core_metrics *m),
                  void *arg) {
    struct metrics_ask *a = ask_new(c, loop, function_no, from_us, to_us);
    a->done = done;
    a->arg = arg;
    ask_after_history(&a->ask);
}

int core_buckets(int64_t from_us, int64_t to_us, uint32_t step_minutes, size_t *ret_n,
                 struct error *err) {
    int64_t step = step_minutes * US_PER_MINUTE;
    int64_t n = to_us > from_us ? (to_us - 1) / step - from_us / step + 1 : 1;
    if (n > CORE_BUCKETS_MAX)
        return error_field(err, ERR_INVALID, "resolution",
                           "this window is %lld buckets of %u minutes, and %u is the most: ask "
                           "for a later start or a coarser resolution",
                           (long long)n, step_minutes, CORE_BUCKETS_MAX);
    *ret_n = (size_t)n;
    return 0;
}

void core_metrics_series(struct core *c, struct loop *loop, uint32_t function_no, int64_t from_us,
                         int64_t to_us, uint32_t step_minutes,
                         void (*done)(void *arg, const struct error *err,
                                      const struct core_metrics *total, const struct core_bucket *v,
                                      size_t n),
                         void *arg) {
    struct metrics_ask *a = ask_new(c, loop, function_no, from_us, to_us);
    struct error err;
    a->step = step_minutes;
    a->first_bucket = minute_of(from_us) / a->step;
    if (core_buckets(from_us, to_us, step_minutes, &a->n, &err) < 0)
        abort(); /* the caller has asked core_buckets() */
    a->sums = x_calloc(a->n + 1, sizeof *a->sums);
    for (size_t i = 0; i < a->n; i++)
        sum_init(&a->sums[i]);
    a->done_series = done;
    a->arg = arg;
    ask_after_history(&a->ask);
}
