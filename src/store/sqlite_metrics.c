/* SPDX-License-Identifier: Apache-2.0 */
/* Metrics: one row a function and minute. Merging reads, adds and writes: the durations are a
 * packed histogram that SQL cannot add. */

#include "store/sqlite.h"

#define COLUMNS                                                                                    \
    "invocations, errors, cold_starts, gb_us, concurrency_min, concurrency_max, busy_us, "         \
    "duration,"                                                                                    \
    " cpu_us, memory_peak_bytes, answered_errors"
static const char GET[] = "SELECT " COLUMNS " FROM metrics WHERE function_no = ? AND minute = ?";
static const char PUT[] = "INSERT OR REPLACE INTO metrics (function_no, minute, " COLUMNS ")"
                          " VALUES (?,?, ?,?,?,?,?,?,?,?,?,?,?)";
static const char EACH[] = "SELECT " COLUMNS ", minute FROM metrics WHERE function_no = ?"
                           " AND minute BETWEEN ? AND ? ORDER BY minute";

#define HISTOGRAM_PACKED_MAX (HISTOGRAM_BUCKETS_MAX * 10 + 64)

/* M's histogram is initialised here; histogram_done() is the caller's. */
static void read_metric(struct query *q, struct metric_minute *m) {
    m->invocations = (uint64_t)read_int(q);
    m->errors = (uint64_t)read_int(q);
    m->cold_starts = (uint64_t)read_int(q);
    m->gb_us = (uint64_t)read_int(q);
    m->concurrency_min = read_u32(q);
    m->concurrency_max = read_u32(q);
    m->busy_us = (uint64_t)read_int(q);
    histogram_init(&m->duration);
    (void)histogram_unpack(&m->duration, read_str(q)); /* a damaged one counts nothing */
    m->cpu_us = (uint64_t)read_int(q);
    m->memory_peak_bytes = (uint64_t)read_int(q);
    m->answered_errors = (uint64_t)read_int(q);
}

void metric_minute_add(struct metric_minute *to, const struct metric_minute *m) {
    bool first = to->invocations == 0;
    to->invocations += m->invocations;
    to->errors += m->errors;
    to->cold_starts += m->cold_starts;
    to->gb_us += m->gb_us;
    to->busy_us += m->busy_us;
    if (m->invocations && (first || m->concurrency_min < to->concurrency_min))
        to->concurrency_min = m->concurrency_min;
    if (m->concurrency_max > to->concurrency_max)
        to->concurrency_max = m->concurrency_max;
    histogram_merge(&to->duration, &m->duration);
    to->cpu_us += m->cpu_us;
    to->answered_errors += m->answered_errors;
    if (m->memory_peak_bytes > to->memory_peak_bytes)
        to->memory_peak_bytes = m->memory_peak_bytes;
}

static int put_metric(struct store *s, const struct metric_minute *m, struct error *err) {
    cleanup_buf struct buf packed = BUF_INIT(HISTOGRAM_PACKED_MAX);
    if (histogram_pack(&m->duration, &packed) < 0)
        return error_set(err, ERR_INTERNAL, "a histogram of durations is too large to store");
    cleanup_query struct query q = query_write(s, STORE_HISTORY, PUT);
    bind_int(&q, m->function_no);
    bind_int(&q, m->minute);
    bind_int(&q, (int64_t)m->invocations);
    bind_int(&q, (int64_t)m->errors);
    bind_int(&q, (int64_t)m->cold_starts);
    bind_int(&q, (int64_t)m->gb_us);
    bind_int(&q, m->concurrency_min);
    bind_int(&q, m->concurrency_max);
    bind_int(&q, (int64_t)m->busy_us);
    bind_blob(&q, packed.p, packed.len);
    bind_int(&q, (int64_t)m->cpu_us);
    bind_int(&q, (int64_t)m->memory_peak_bytes);
    bind_int(&q, (int64_t)m->answered_errors);
    return query_run(&q, err);
}

static int merge_one(struct store *s, const struct metric_minute *m, struct error *err) {
    struct metric_minute sum = {.function_no = m->function_no, .minute = m->minute};
    cleanup_query struct query q = query_read(s, STORE_HISTORY, GET);
    bind_int(&q, m->function_no);
    bind_int(&q, m->minute);
    int rc = query_step(&q, err);
    if (rc < 0)
        return -1;
    if (rc == 0)
        return put_metric(s, m, err);
    read_metric(&q, &sum);
    query_reset(&q);
    metric_minute_add(&sum, m);
    rc = put_metric(s, &sum, err);
    histogram_done(&sum.duration);
    return rc;
}

int store_metrics_merge(struct store *s, const struct metric_minute *v, size_t n,
                        struct error *err) {
    for (size_t i = 0; i < n; i++) {
        if (merge_one(s, &v[i], err) < 0)
            return -1;
    }
    return 0;
}

int store_metrics_each(struct store *s, uint32_t function_no, int64_t first_minute,
                       int64_t last_minute, bool (*visit)(void *arg, const struct metric_minute *m),
                       void *arg, struct error *err) {
    cleanup_query struct query q = query_read(s, STORE_HISTORY, EACH);
    bind_int(&q, function_no);
    bind_int(&q, first_minute);
    bind_int(&q, last_minute);
    int rc;
    bool more = true;
    while (more && (rc = query_step(&q, err)) != 0) {
        if (rc < 0)
            return -1;
        struct metric_minute m = {.function_no = function_no};
        read_metric(&q, &m);
        m.minute = read_int(&q);
        more = visit(arg, &m);
        histogram_done(&m.duration);
    }
    return 0;
}
