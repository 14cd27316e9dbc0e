/* SPDX-License-Identifier: Apache-2.0 */
/* fnservice: metrics and events. */

#include "api/fields.h"
#include "api/fnservice.h"
#include "api/lists.h"
#include "base/clock.h"
#include "http/url.h"
#include "routes.h"

/* ---- metrics ---- */

enum { M_INVOCATIONS = 1, M_ERRORS = 2, M_DURATION = 4, M_COLD = 8, M_CONCURRENCY = 16 };
#define M_ALL          31
#define SERIES_DEFAULT 60 /* buckets of a series whose start is not given */

static const char *const METRICS[] = {"invocations", "errors", "duration", "cold_starts",
                                      "concurrency"};

static int add_metrics(struct str names, unsigned *set, struct error *err) {
    while (names.p) {
        struct str name = str_trim(str_cut(&names, ','));
        size_t i = 0;
        while (i < ARRAY_LEN(METRICS) && !str_is(name, METRICS[i]))
            i++;
        if (i == ARRAY_LEN(METRICS))
            return error_field(err, ERR_INVALID, "metrics[]",
                               "metrics[] must be invocations, errors, duration, cold_starts or "
                               "concurrency");
        *set |= 1u << i;
    }
    return 0;
}

/* metrics[]=a&metrics[]=b, and metrics=a,b, which some clients make of it. */
static int read_metrics(struct request *r, unsigned *ret, struct error *err) {
    struct str rest = r->call->head.query, name, value;
    int rc;
    *ret = 0;
    while (rest.p && (rc = url_query_next(&rest, &r->call->arena, &name, &value)) != 0) {
        if (rc < 0)
            return error_set(err, ERR_INVALID, "the query has a broken %%-escape");
        if ((str_is(name, "metrics[]") || str_is(name, "metrics")) &&
            add_metrics(value, ret, err) < 0)
            return -1;
    }
    if (*ret == 0)
        *ret = M_ALL;
    return 0;
}

/* Minutes of a bucket; 0: none was asked for. */
static int read_resolution(struct request *r, uint32_t *ret, struct error *err) {
    static const struct {
        const char *name;
        uint32_t minutes;
    } known[] = {{"1m", 1}, {"5m", 5}, {"1h", 60}};
    struct str s;
    int rc = request_query(r, "resolution", &s, err);
    *ret = 0;
    for (size_t i = 0; rc > 0 && i < ARRAY_LEN(known); i++)
        if (str_is(s, known[i].name))
            *ret = known[i].minutes;
    if (rc > 0 && *ret == 0)
        return error_field(err, ERR_INVALID, "resolution", "resolution must be 1m, 5m or 1h");
    return rc < 0 ? -1 : 0;
}

static void write_duration(struct json_w *w, const struct core_metrics *m) {
    jw_object_member(w, "duration");
    jw_double_member(w, "min", (double)m->min_us / 1e3);
    jw_double_member(w, "max", (double)m->max_us / 1e3);
    jw_double_member(w, "avg", (double)m->avg_us / 1e3);
    jw_double_member(w, "p50", (double)m->p50_us / 1e3);
    jw_double_member(w, "p95", (double)m->p95_us / 1e3);
    jw_double_member(w, "p99", (double)m->p99_us / 1e3);
    jw_end_object(w);
}

static void write_concurrency(struct json_w *w, const struct core_metrics *m) {
    jw_object_member(w, "concurrency");
    jw_u64_member(w, "min", m->concurrency_min);
    jw_u64_member(w, "max", m->concurrency_max);
    jw_double_member(w, "avg", m->concurrency_avg);
    jw_end_object(w);
}

struct metrics_state {
    unsigned set;
    uint32_t step_minutes;
    int64_t from_us, to_us;
};

static void write_members(struct json_w *w, unsigned set, const struct core_metrics *m) {
    if (set & M_INVOCATIONS)
        jw_u64_member(w, "invocations", m->invocations);
    if (set & M_ERRORS)
        jw_u64_member(w, "errors", m->errors);
    if (set & M_DURATION)
        write_duration(w, m);
    if (set & M_COLD)
        jw_u64_member(w, "cold_starts", m->cold_starts);
    if (set & M_CONCURRENCY)
        write_concurrency(w, m);
}

static void on_series(void *arg, const struct error *err, const struct core_metrics *total,
                      const struct core_bucket *v, size_t n) {
    struct request *r = arg;
    if (err) {
        request_fail(r, err);
        return;
    }
    const struct metrics_state *state = r->state;
    struct buf body = BUF_INIT(REPLY_MAX);
    struct json_w w;
    json_w_init(&w, &body);
    jw_begin_object(&w);
    write_members(&w, state->set, total);
    if (state->step_minutes)
        jw_array_member(&w, "series");
    for (size_t i = 0; i < n; i++) {
        jw_begin_object(&w);
        jw_time_member(&w, "timestamp", v[i].at_us);
        write_members(&w, state->set, &v[i].m);
        jw_end_object(&w);
    }
    if (state->step_minutes)
        jw_end_array(&w);
    jw_end_object(&w);
    fnservice_send(r, 200, &w, &body);
}

static void on_metrics(void *arg, const struct error *err, const struct core_metrics *m) {
    on_series(arg, err, m, NULL, 0);
}

/* A series has a begin and an end: by default it ends now, and has SERIES_DEFAULT buckets. */
static int bound_series(struct metrics_state *s, struct error *err) {
    size_t n;
    if (s->to_us <= 0)
        s->to_us = s->to_us ? 1 : clock_real_us() > s->from_us ? clock_real_us() : s->from_us + 1;
    if (s->from_us == 0)
        s->from_us = s->to_us - (int64_t)(SERIES_DEFAULT - 1) * s->step_minutes * 60000000;
    if (s->from_us < 0)
        s->from_us = 0;
    return core_buckets(s->from_us, s->to_us, s->step_minutes, &n, err);
}

static int read_window(struct request *r, struct metrics_state *s, struct error *err) {
    if (request_query_time(r, "start", &s->from_us, err) < 0 ||
        request_query_time(r, "end", &s->to_us, err) < 0 ||
        read_resolution(r, &s->step_minutes, err) < 0 || read_metrics(r, &s->set, err) < 0)
        return -1;
    if (s->step_minutes && bound_series(s, err) < 0)
        return -1;
    if (s->from_us && s->to_us && s->to_us < s->from_us)
        return error_field(err, ERR_INVALID, "end", "end must not be before start");
    return 0;
}

void op_fnservice_get_metrics(struct request *r) {
    struct metrics_state s = {0};
    struct error err;
    if (fnservice_function(r, &err) < 0 || read_window(r, &s, &err) < 0) {
        request_fail(r, &err);
        return;
    }
    r->state = x_memdup(&s, sizeof(s));
    r->free_state = free;
    if (s.step_minutes)
        core_metrics_series(r->core, r->loop, r->function->no, s.from_us, s.to_us, s.step_minutes,
                            on_series, r);
    else
        core_metrics(r->core, r->loop, r->function->no, s.from_us, s.to_us, on_metrics, r);
}

/* ---- events ---- */

static void write_event(struct json_w *w, const struct event *e) {
    jw_begin_object(w);
    fnservice_write_id(w, "id", "evt", e->no);
    jw_cstr_member(w, "type", e->type);
    jw_cstr_member(w, "description", e->description ? e->description : "");
    fields_write_pairs(w, "metadata", &e->metadata);
    jw_time_member(w, "created_at", e->created_us);
    jw_end_object(w);
}

static void on_events(void *arg, const struct error *err, const struct event *v, size_t n) {
    if (err) {
        request_fail(arg, err);
        return;
    }
    if (page_cut(arg, &n))
        page_next(arg, v[n - 1].no);
    struct buf body = BUF_INIT(REPLY_MAX);
    struct json_w w;
    json_w_init(&w, &body);
    jw_begin_object(&w);
    jw_array_member(&w, "events");
    for (size_t i = 0; i < n; i++)
        write_event(&w, &v[i]);
    jw_end_array(&w);
    jw_end_object(&w);
    fnservice_send(arg, 200, &w, &body);
}

void op_fnservice_get_events(struct request *r) {
    struct page page;
    struct error err;
    if (fnservice_function(r, &err) < 0 || page_get(r, 100, 0, false, &page, &err) < 0)
        request_fail(r, &err);
    else
        core_events(r->core, r->loop, r->function->no, page_before_u32(&page), page.limit + 1,
                    on_events, r);
}
