/* SPDX-License-Identifier: Apache-2.0 */
/* store: records, lines, minutes, and what retention leaves of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "store_world.h"
#include <cmocka.h>
#include <stdio.h>
#include <sys/stat.h>

/* ---- history ---- */
struct record_log {
    struct ulid ids[16];
    uint32_t n, stop_after;
};

static bool note_record(void *arg, const struct invocation *v) {
    struct record_log *l = arg;
    l->ids[l->n++] = v->id;
    return l->n != l->stop_after;
}

static int invocations_body(struct store *s, void *arg, struct error *err) {
    (void)arg;
    struct record_log l = {0};
    struct invocation v[5], got;
    for (size_t i = 0; i < 5; i++)
        v[i] = a_record(i < 4 ? 1 : 2);
    OK(store_invocations_append(s, v, 5, err));
    OK(store_invocation_get(s, &v[2].id, &got, err));
    CHECK(memcmp(&got.id, &v[2].id, 16) == 0 && got.function_no == 1 && got.version_number == 3);
    CHECK(got.status == INV_FAILED && got.source == SOURCE_ASYNC && got.cause == ERR_TIMEOUT);
    CHECK(got.http_status == 504 && got.cold && got.created_us == 11 && got.started_us == 12);
    CHECK(got.ended_us == 13 && got.queued_us == 14 && got.starting_us == 15);
    CHECK(got.running_us == UINT32_MAX && strcmp(got.error_text, "it 'failed'") == 0);
    struct ulid unknown = ulid_make(1);
    FAILS(store_invocation_get(s, &unknown, &got, err), ERR_NOT_FOUND, "invocation");
    v[2].status = INV_COMPLETED;
    OK(store_invocations_append(s, &v[2], 1, err)); /* again: replaced */
    OK(store_invocation_get(s, &v[2].id, &got, err));
    CHECK(got.status == INV_COMPLETED);
    OK(store_invocation_each(s, 1, &LAST_ID, 10, note_record, &l, err));
    CHECK(l.n == 4 && memcmp(&l.ids[0], &v[3].id, 16) == 0);
    CHECK(memcmp(&l.ids[3], &v[0].id, 16) == 0);
    l = (struct record_log){.stop_after = 2};
    OK(store_invocation_each(s, 1, &LAST_ID, 10, note_record, &l, err));
    CHECK(l.n == 2);
    l = (struct record_log){0};
    OK(store_invocation_each(s, 1, &LAST_ID, 3, note_record, &l, err));
    CHECK(l.n == 3);
    return 0;
}

static void invocations(void **state) {
    on(((struct fixture *)*state)->store, STORE_HISTORY, invocations_body, NULL);
}

struct line_log {
    char text[32];
    uint32_t n;
    struct log_line last;
};

static bool note_line(void *arg, const struct log_line *l) {
    struct line_log *o = arg;
    if (o->n < sizeof(o->text) - 1)
        o->text[o->n] = l->message.len ? l->message.p[0] : '_';
    o->text[++o->n] = '\0';
    o->last = *l;
    return true;
}

static int lines_are(struct store *s, struct log_filter f, const char *want, struct error *err) {
    struct line_log l = {0};
    f.function_no = 1;
    f.limit = f.limit ? f.limit : 100;
    OK(store_logs_each(s, &f, note_line, &l, err));
    if (strcmp(l.text, want) != 0)
        return error_set(err, ERR_INTERNAL, "lines \"%s\", not \"%s\"", l.text, want);
    return 0;
}

static int logs_body(struct store *s, void *arg, struct error *err) {
    (void)arg;
    int64_t t = clock_real_us();
    struct invocation inv = a_record(1);
    struct log_line v[6] = {{0}};
    static const char *const TEXT[] = {"a", "b", "c\0d", "d", "e", ""};
    for (size_t i = 0; i < 6; i++) {
        v[i] = (struct log_line){.function_no = i == 4 ? 2 : 1,
                                 .version_number = 1 + (uint32_t)(i & 1),
                                 .at_us = t + (i < 3 ? 0 : (int64_t)i),
                                 .level = LINE_WARN,
                                 .message = str_of(TEXT[i])};
        (void)snprintf(v[i].instance, sizeof(v[i].instance), "inst");
    }
    v[1].invocation = v[3].invocation = inv.id;
    v[2].message.len = 3;
    OK(store_logs_append(s, v, 6, err));
    OK(lines_are(s, (struct log_filter){0}, "abcd_", err));
    OK(lines_are(s, (struct log_filter){.limit = 2}, "d_", err));
    OK(lines_are(s, (struct log_filter){.limit = 4}, "bcd_", err)); /* within one µs */
    OK(lines_are(s, (struct log_filter){.since_us = t + 1}, "d_", err));
    OK(lines_are(s, (struct log_filter){.since_us = t + 3}, "d_", err));
    OK(lines_are(s, (struct log_filter){.until_us = t + 3}, "abc", err));
    OK(lines_are(s, (struct log_filter){.until_us = t}, "", err));
    OK(lines_are(s, (struct log_filter){.version_number = 2}, "bd_", err));
    OK(lines_are(s, (struct log_filter){.version_number = 1, .limit = 1}, "c", err));
    OK(lines_are(s, (struct log_filter){.invocation = inv.id}, "bd", err));
    OK(lines_are(s, (struct log_filter){.invocation = inv.id, .limit = 1}, "d", err));
    inv.ended_us = t + 10; /* with its record there too */
    OK(store_invocations_append(s, &inv, 1, err));
    OK(lines_are(s, (struct log_filter){.invocation = inv.id}, "bd", err));
    struct line_log l = {0};
    struct log_filter f = {.function_no = 1, .limit = 3, .until_us = t + 3};
    OK(store_logs_each(s, &f, note_line, &l, err));
    CHECK(l.last.level == LINE_WARN && strcmp(l.last.instance, "inst") == 0);
    CHECK(l.last.message.len == 3 && l.last.at_us == t);
    f.limit = 0;
    l.n = 0;
    OK(store_logs_each(s, &f, note_line, &l, err));
    CHECK(l.n == 0);
    /* A start later the numbers begin anew: lines of the same µs are kept. */
    store_sqlite(s)->log_seq = 0;
    OK(store_logs_append(s, v, 3, err));
    OK(lines_are(s, (struct log_filter){.until_us = t + 1}, "abcabc", err));
    return 0;
}

static void logs(void **state) {
    on(((struct fixture *)*state)->store, STORE_HISTORY, logs_body, NULL);
}

struct metric_log {
    uint32_t n;
    int64_t minutes[8];
    struct metric_minute first;
    uint64_t count, max;
};

static bool note_metric(void *arg, const struct metric_minute *m) {
    struct metric_log *l = arg;
    if (l->n == 0) {
        l->first = *m;
        l->count = m->duration.count;
        l->max = m->duration.max;
    }
    l->minutes[l->n++] = m->minute;
    return true;
}

static int metrics_body(struct store *s, void *arg, struct error *err) {
    (void)arg;
    struct metric_log l = {0};
    struct metric_minute m[2] = {{.function_no = 1,
                                  .minute = 10,
                                  .invocations = 3,
                                  .errors = 1,
                                  .cold_starts = 1,
                                  .gb_us = 100,
                                  .concurrency_min = 2,
                                  .concurrency_max = 4,
                                  .busy_us = 9},
                                 {.function_no = 1, .minute = 11, .invocations = 1}};
    histogram_init(&m[0].duration);
    histogram_init(&m[1].duration);
    histogram_add(&m[0].duration, 1000);
    histogram_add(&m[1].duration, 5);
    OK(store_metrics_merge(s, m, 2, err));
    m[0].concurrency_min = 1;
    m[0].concurrency_max = 3;
    histogram_add(&m[0].duration, 100000);
    OK(store_metrics_merge(s, m, 1, err));
    OK(store_metrics_each(s, 1, 10, 11, note_metric, &l, err));
    CHECK(l.n == 2 && l.minutes[0] == 10 && l.minutes[1] == 11);
    CHECK(l.first.invocations == 6 && l.first.errors == 2 && l.first.cold_starts == 2);
    CHECK(l.first.gb_us == 200 && l.first.busy_us == 18 && l.first.concurrency_min == 1);
    CHECK(l.first.concurrency_max == 4 && l.count == 3 && l.max == 100000);
    /* processor time alone, before calls and after them */
    struct metric_minute cpu = {.function_no = 2, .minute = 10, .concurrency_min = UINT32_MAX};
    cpu.cpu_us = 70;
    cpu.memory_peak_bytes = 4096;
    histogram_init(&cpu.duration);
    m[0].function_no = 2;
    m[0].cpu_us = 5;
    OK(store_metrics_merge(s, &cpu, 1, err));
    OK(store_metrics_merge(s, m, 1, err));
    cpu.memory_peak_bytes = 512;
    OK(store_metrics_merge(s, &cpu, 1, err));
    memset(&l, 0, sizeof(l));
    OK(store_metrics_each(s, 2, 10, 10, note_metric, &l, err));
    CHECK(l.n == 1 && l.first.invocations == 3 && l.first.concurrency_min == 1);
    CHECK(l.first.cpu_us == 145 && l.first.memory_peak_bytes == 4096);
    l.n = 0;
    OK(store_metrics_each(s, 1, 11, 99, note_metric, &l, err));
    CHECK(l.n == 1 && l.minutes[0] == 11);
    histogram_done(&m[0].duration);
    histogram_done(&m[1].duration);
    return 0;
}

static void metrics(void **state) {
    on(((struct fixture *)*state)->store, STORE_HISTORY, metrics_body, NULL);
}

/* ---- retention ---- */
#define DAY_US (24 * 3600 * 1000000LL)

struct counts {
    int64_t lines, records, metrics, calls, events;
};

static int count_history_body(struct store *s, void *arg, struct error *err) {
    struct counts *c = arg;
    const struct {
        enum store_db db;
        const char *sql;
        int64_t *ret;
    } ALL[] = {
        {STORE_HISTORY, "SELECT count(*) FROM log_lines", &c->lines},
        {STORE_HISTORY, "SELECT count(*) FROM invocations", &c->records},
        {STORE_HISTORY, "SELECT count(*) FROM metrics", &c->metrics},
        {STORE_STATE, "SELECT count(*) FROM async_calls", &c->calls},
        {STORE_STATE, "SELECT count(*) FROM events", &c->events},
    };
    for (size_t i = 0; i < ARRAY_LEN(ALL); i++) {
        cleanup_query struct query q = query_read(s, ALL[i].db, ALL[i].sql);
        OK(query_int(&q, 0, ALL[i].ret, err));
    }
    return 0;
}

/* 100 rows of each kind, one an hour, the last one now; a third of a function that is gone. */
static int fill_history_body(struct store *s, void *arg, struct error *err) {
    int64_t now = *(int64_t *)arg;
    uint32_t no[3];
    OK(make_function(s, "a", &no[0], err));
    OK(make_function(s, "b", &no[1], err));
    no[2] = 77;
    for (int i = 0; i < 100; i++) {
        for (int f = 0; f < 3; f++) {
            int64_t at = now - (int64_t)i * DAY_US / 24;
            struct invocation v = a_record(no[f]);
            v.id = id_at(no[f], at);
            struct log_line l = {.function_no = no[f], .at_us = at, .message = STR("line")};
            struct metric_minute m = {.function_no = no[f], .minute = at / 60000000};
            OK(store_invocations_append(s, &v, 1, err));
            OK(store_logs_append(s, &l, 1, err));
            OK(store_metrics_merge(s, &m, 1, err));
        }
    }
    for (int i = 99; i >= 0; i--) {
        int64_t at = now - (int64_t)i * DAY_US / 24;
        struct async_call c = {.id = id_at(no[0], at), .function_no = no[0]};
        OK(store_async_insert(s, &c, err));
        c.status = i % 2 ? INV_COMPLETED : INV_PENDING;
        c.record.created_us = at;
        c.record.ended_us = at + 1;
        if (i % 2)
            OK(store_async_finish(s, &c, err));
        struct event e = {.function_no = no[0], .type = "x", .created_us = now - i * DAY_US};
        OK(store_event_insert(s, &e, err));
    }
    return 0;
}

struct trim {
    struct retention r;
    int calls;
};

static int trim_body(struct store *s, void *arg, struct error *err) {
    struct trim *t = arg;
    bool more = true;
    for (t->calls = 0; more; t->calls++) {
        CHECK(t->calls < 10000);
        OK(store_trim(s, &t->r, &more, err));
    }
    return 0;
}

static void retention_by_age(void **state) {
    struct store *s = ((struct fixture *)*state)->store;
    int64_t now = clock_real_us() / 60000000 * 60000000;
    struct counts c;
    struct trim t = {
        .r = {.history_before_us = now - DAY_US + 1000, .history_bytes_max = GIB, .slice = 10}};
    on(s, STORE_HISTORY, fill_history_body, &now);
    on(s, STORE_HISTORY, count_history_body, &c);
    assert_int_equal(c.lines + c.records + c.metrics, 900);
    on(s, STORE_HISTORY, trim_body, &t);
    assert_true(t.calls > 60); /* ten rows at a time */
    on(s, STORE_HISTORY, count_history_body, &c);
    assert_int_equal(c.lines, 2 * 24);
    assert_int_equal(c.records, 2 * 24);
    assert_in_range(c.metrics, 2 * 24, 2 * 25); /* whole minutes */
    assert_int_equal(c.calls, 100 - 38);        /* every other one ended; 76 are too old */
    assert_in_range(c.events, 90, 91);
    on(s, STORE_HISTORY, trim_body, &t);
    assert_int_equal(t.calls, 1);
}

/* Twelve calls, all but the first ended, with results of a MiB. */
static int fill_results_body(struct store *s, void *arg, struct error *err) {
    static char result[MIB];
    uint32_t no;
    (void)arg;
    OK(make_function(s, "big", &no, err));
    for (int i = 0; i < 12; i++) {
        struct async_call c = {.id = ulid_make(no), .function_no = no, .workspace = "w"};
        c.record.created_us = clock_real_us();
        OK(store_async_insert(s, &c, err));
        c.status = INV_COMPLETED;
        c.record.ended_us = clock_real_us();
        c.result_headers = STR("{}");
        c.result_body = str_n(result, sizeof(result));
        if (i > 0)
            OK(store_async_finish(s, &c, err));
    }
    return 0;
}

static int count_calls_body(struct store *s, void *arg, struct error *err) {
    cleanup_query struct query q =
        query_read(s, STORE_STATE, "SELECT count(*) * 100 + sum(status = 0) FROM async_calls");
    return query_int(&q, 0, arg, err);
}

static void results_are_kept_by_bytes(void **state) {
    struct store *s = ((struct fixture *)*state)->store;
    int64_t calls;
    struct trim t = {.r = {.history_bytes_max = 16 * MIB, .slice = 3}};
    on(s, STORE_STATE, fill_results_body, NULL);
    on(s, STORE_HISTORY, trim_body, &t);
    on(s, STORE_STATE, count_calls_body, &calls);
    assert_int_equal(calls, 1201);
    t.r.history_bytes_max = 4 * MIB;
    on(s, STORE_HISTORY, trim_body, &t);
    on(s, STORE_STATE, count_calls_body, &calls);
    assert_int_equal(calls, 401); /* three results, and the call that still waits */
}

/* Function 1: 20,000 lines of about 500 bytes over ten days, most on the last one; function 2: a
 * few in between. */
static int fill_bytes_body(struct store *s, void *arg, struct error *err) {
    int64_t now = *(int64_t *)arg;
    static char text[480];
    uint32_t no[2];
    OK(make_function(s, "a", &no[0], err));
    OK(make_function(s, "b", &no[1], err));
    memset(text, 'x', sizeof(text));
    for (int i = 0; i < 20000; i++) {
        int64_t age = i < 2000 ? 10 * DAY_US - (int64_t)i * 9 * DAY_US / 2000
                               : DAY_US - (int64_t)(i - 2000) * DAY_US / 18000;
        struct log_line l = {.function_no = no[i % 10 == 0],
                             .at_us = now - age,
                             .message = str_n(text, sizeof(text))};
        OK(store_logs_append(s, &l, 1, err));
    }
    return 0;
}

static int oldest_body(struct store *s, void *arg, struct error *err) {
    int64_t *oldest = arg;
    static const char SQL[] = "SELECT min(at_us) FROM log_lines WHERE function_no = ?";
    for (int i = 0; i < 2; i++) {
        cleanup_query struct query q = query_read(s, STORE_HISTORY, SQL);
        bind_int(&q, i + 1);
        OK(query_int(&q, INT64_MAX, &oldest[i], err));
    }
    return 0;
}

static void retention_by_bytes(void **state) {
    struct fixture *x = *state;
    int64_t now = clock_real_us(), oldest[2];
    struct store_stats before, after;
    struct trim t = {.r = {.history_bytes_max = 4 * MIB, .slice = 500}};
    on(x->store, STORE_HISTORY, fill_bytes_body, &now);
    store_stats(x->store, &before);
    assert_true(before.history_bytes > 8 * MIB);
    on(x->store, STORE_HISTORY, trim_body, &t);
    store_stats(x->store, &after);
    /* a sixteenth below the limit, and no more than needed */
    assert_in_range(after.history_bytes, 3 * MIB, 4 * MIB - 4 * MIB / 16);
    on(x->store, STORE_HISTORY, oldest_body, oldest);
    assert_true(oldest[0] > now - DAY_US && oldest[1] > now - DAY_US); /* the oldest went */
    store_close(x->store); /* the file itself is smaller too */
    char path[128];
    struct stat st;
    (void)snprintf(path, sizeof(path), "%s/history.db", x->dir);
    assert_int_equal(stat(path, &st), 0);
    assert_true((uint64_t)st.st_size < 5 * MIB);
    reopen(x);
    t.r.history_bytes_max = 1; /* can never be reached: ends all the same */
    on(x->store, STORE_HISTORY, trim_body, &t);
    on(x->store, STORE_HISTORY, oldest_body, oldest);
    assert_true(oldest[0] > now - 2000000 || oldest[0] == INT64_MAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        STORE_TEST(invocations),
        STORE_TEST(logs),
        STORE_TEST(metrics),
        STORE_TEST(retention_by_age),
        STORE_TEST(results_are_kept_by_bytes),
        STORE_TEST(retention_by_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
