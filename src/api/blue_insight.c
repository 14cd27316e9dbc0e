/* SPDX-License-Identifier: Apache-2.0 */
/* blue: metrics and loki-logs. Where a Prometheus or a Loki is configured it is asked; else the
 * stored minutes and lines are answered with the same shapes, those of Prometheus' own API
 * included (prometheus.io/docs/prometheus/latest/querying/api). */

#include "api/blue.h"
#include "base/clock.h"
#include "remote/prometheus.h"
#include "routes.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define WINDOW_S      3600
#define STEP_S        60
#define LINES_DEFAULT 100
#define LINES_MAX     1000

struct insight {
    char id[ID_TEXT_MAX], promql[160];
    int64_t now_us;
};

static struct insight *insight_new(struct request *r) {
    struct insight *s = x_alloc(sizeof(*s));
    s->now_us = clock_real_us();
    id_text(s->id, "fn", r->function->no);
    (void)snprintf(s->promql, sizeof(s->promql),
                   "sum(rate(kiln_function_cpu_seconds_total{function_id=\"%s\"}[1m]))", s->id);
    r->state = s;
    r->free_state = free;
    return s;
}

/* ---- metrics ---- */

struct point {
    double at_s, value;
};

static void begin_metrics(struct json_w *w) {
    jw_begin_object(w);
    jw_cstr_member(w, "status", "success");
    jw_object_member(w, "data");
}

static void write_point(struct json_w *w, const struct point *p) {
    jw_begin_object(w);
    jw_double_member(w, "timestamp", p->at_s);
    jw_double_member(w, "value", p->value);
    jw_end_object(w);
}

static void write_queries(struct json_w *w, const struct insight *s) {
    jw_u64_member(w, "window_seconds", WINDOW_S);
    jw_cstr_member(w, "instant_query", s->promql);
    jw_cstr_member(w, "range_query", s->promql);
}

static void end_metrics(struct request *r, struct json_w *w, struct buf *body) {
    const struct insight *s = r->state;
    jw_end_object(w);
    jw_cstr_member(w, "function_id", s->id);
    jw_end_object(w);
    request_written(r, 200, NULL, 0, w, body);
}

/* ---- of stored minutes ---- */

/* [<time>, "<value>"], as Prometheus writes a sample. */
static void write_sample(struct json_w *w, const struct point *p) {
    char text[32];
    (void)snprintf(text, sizeof(text), "%.9g", p->value);
    jw_begin_array(w);
    jw_double(w, p->at_s);
    jw_cstr(w, text);
    jw_end_array(w);
}

static void begin_raw(struct json_w *w, const char *name, const char *type) {
    jw_object_member(w, name);
    jw_cstr_member(w, "resultType", type);
    jw_array_member(w, "result");
    jw_begin_object(w);
    jw_object_member(w, "metric"); /* sum() leaves no labels */
    jw_end_object(w);
}

static void end_raw(struct json_w *w) {
    jw_end_object(w);
    jw_end_array(w);
    jw_end_object(w);
}

static void write_stored(struct json_w *w, const struct insight *s, const struct point *v,
                         size_t n) {
    const struct point *now = &v[n - 1];
    jw_double_member(w, "cpu_total", now->value);
    jw_array_member(w, "cpu_series");
    for (size_t i = 0; i < n; i++)
        write_point(w, &v[i]);
    jw_end_array(w);
    write_queries(w, s);
    begin_raw(w, "raw_instant", "vector");
    jw_key(w, "value");
    write_sample(w, now);
    end_raw(w);
    begin_raw(w, "raw_range", "matrix");
    jw_array_member(w, "values");
    for (size_t i = 0; i < n; i++)
        write_sample(w, &v[i]);
    jw_end_array(w);
    end_raw(w);
}

/* A minute's rate is told at its end, and now that of the last 60 s: of the present minute, and of
 * the one before as much as is left of it, as if its use had been even. */
static size_t rates(const struct insight *s, const struct core_bucket *v, size_t n,
                    struct point *ret) {
    size_t count = 0;
    for (size_t i = 0; i + 1 < n; i++)
        ret[count++] =
            (struct point){(double)v[i].at_us / 1e6 + STEP_S, (double)v[i].m.cpu_us / 1e6 / STEP_S};
    double passed = (double)(s->now_us - v[n - 1].at_us) / 1e6;
    double left = passed < STEP_S ? (STEP_S - passed) / STEP_S : 0;
    double used = (double)v[n - 1].m.cpu_us + (n > 1 ? left * (double)v[n - 2].m.cpu_us : 0);
    ret[count++] = (struct point){(double)s->now_us / 1e6, used / 1e6 / STEP_S};
    return count;
}

static void on_series(void *arg, const struct error *err, const struct core_metrics *total UNUSED,
                      const struct core_bucket *v, size_t n) {
    struct request *r = arg;
    struct point points[WINDOW_S / STEP_S + 2];
    if (err || n == 0 || n > ARRAY_LEN(points)) {
        struct error none;
        (void)error_set(&none, ERR_INTERNAL, "the stored minutes are not as asked for");
        request_fail(r, err ? err : &none);
        return;
    }
    struct buf body = BUF_INIT(REPLY_MAX);
    struct json_w w;
    size_t count = rates(r->state, v, n, points);
    json_w_init(&w, &body);
    begin_metrics(&w);
    write_stored(&w, r->state, points, count);
    end_metrics(r, &w, &body);
}

/* ---- of Prometheus ---- */

/* [<number>, "<number>"]: false where it is none, as "NaN" is. */
static bool read_sample(const struct json *v, struct point *ret) {
    struct error err;
    struct str text;
    char at[64] = "", value[64];
    cleanup_buf struct buf number = BUF_INIT(sizeof(at) - 1);
    if (json_count(v) != 2 || json_dump(json_item(v, 0), &number) < 0 ||
        json_as_str(json_item(v, 1), &text, &err) < 0 || text.len >= sizeof(value))
        return false;
    (void)snprintf(at, sizeof(at), "%.*s", STR_ARG(buf_str(&number)));
    (void)snprintf(value, sizeof(value), "%.*s", STR_ARG(text));
    *ret = (struct point){strtod(at, NULL), strtod(value, NULL)};
    return isfinite(ret->at_s) && isfinite(ret->value);
}

/* The first series of a result: sum() makes one at most. */
static const struct json *first_of(const struct json *data, const char *member) {
    return json_member(json_item(json_member(data, "result"), 0), member);
}

static void write_raw(struct json_w *w, const char *name, const struct json *data) {
    cleanup_buf struct buf text = BUF_INIT(PROMETHEUS_REPLY_MAX * 2);
    if (json_dump(data, &text) == 0)
        jw_raw_member(w, name, buf_str(&text));
    else
        jw_null_member(w, name);
}

static void on_prometheus(void *arg, const struct error *err, const struct json *const *data) {
    struct request *r = arg;
    struct json_w w;
    struct buf body;
    struct point p;
    if (!request_begin(r, err, &w, &body))
        return;
    begin_metrics(&w);
    if (read_sample(first_of(data[0], "value"), &p))
        jw_double_member(&w, "cpu_total", p.value);
    else
        jw_null_member(&w, "cpu_total"); /* it has nothing, or not yet */
    jw_array_member(&w, "cpu_series");
    const struct json *values = first_of(data[1], "values");
    for (size_t i = 0; i < json_count(values); i++)
        if (read_sample(json_item(values, i), &p))
            write_point(&w, &p);
    jw_end_array(&w);
    write_queries(&w, r->state);
    write_raw(&w, "raw_instant", data[0]);
    write_raw(&w, "raw_range", data[1]);
    end_metrics(r, &w, &body);
}

static void ask_prometheus(struct request *r, const struct insight *s) {
    int64_t now_s = s->now_us / 1000000;
    struct prometheus_question v[] = {
        {.promql = s->promql, .end_s = now_s},
        {.promql = s->promql, .start_s = now_s - WINDOW_S, .end_s = now_s, .step_s = STEP_S}};
    core_prometheus(r->core, r->loop, v, ARRAY_LEN(v), on_prometheus, r);
}

void op_blue_get_function_metrics(struct request *r) {
    struct error err;
    if (blue_function_anywhere(r, &err) < 0) {
        request_fail(r, &err);
        return;
    }
    const struct insight *s = insight_new(r);
    if (core_config_of(r->core)->prometheus)
        ask_prometheus(r, s);
    else
        core_metrics_series(r->core, r->loop, r->function->no,
                            s->now_us - (int64_t)WINDOW_S * 1000000, s->now_us, STEP_S / 60,
                            on_series, r);
}

/* ---- loki-logs ---- */

static void on_lines(void *arg, const struct error *err, const struct core_line *v, size_t n) {
    struct request *r = arg;
    struct json_w w;
    struct buf body;
    char id[ID_TEXT_MAX], ns[32];
    if (!request_begin(r, err, &w, &body))
        return;
    jw_begin_object(&w);
    jw_array_member(&w, "logs");
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(ns, sizeof(ns), "%lld", (long long)v[i].at_ns);
        jw_begin_object(&w);
        jw_cstr_member(&w, "timestamp", ns);
        jw_str_member(&w, "line", v[i].text);
        jw_end_object(&w);
    }
    jw_end_array(&w);
    jw_u64_member(&w, "total", n);
    jw_cstr_member(&w, "function_id", id_text(id, "fn", r->function->no));
    jw_end_object(&w);
    request_written(r, 200, NULL, 0, &w, &body);
}

void op_blue_get_loki_logs(struct request *r) {
    int64_t limit = LINES_DEFAULT;
    struct blue_check c;
    struct error err;
    blue_check_init(&c);
    blue_query_int(&c, r, "limit", 1, LINES_MAX, &limit);
    if (blue_refused(&c, r))
        return;
    blue_check_done(&c);
    if (blue_function_anywhere(r, &err) < 0)
        request_fail(r, &err);
    else
        core_newest_lines(r->core, r->loop, r->function->no, (uint32_t)limit, on_lines, r);
}
