/* SPDX-License-Identifier: Apache-2.0 */
/* Invocation records and log lines. */

#include "store/sqlite.h"

/* ---- the columns that records share with queued calls ---- */
void bind_record(struct query *q, const struct invocation *v) {
    bind_int(q, v->version_number);
    bind_int(q, v->source);
    bind_int(q, v->cause);
    bind_int(q, v->http_status);
    bind_int(q, v->cold);
    bind_int(q, v->created_us);
    bind_int(q, v->started_us);
    bind_int(q, v->ended_us);
    bind_int(q, v->queued_us);
    bind_int(q, v->starting_us);
    bind_int(q, v->running_us);
    bind_str(q, str_n(v->error_text, strnlen(v->error_text, sizeof(v->error_text))));
}

void read_record(struct query *q, struct invocation *v) {
    v->version_number = read_u32(q);
    v->source = (enum invocation_source)read_int(q);
    v->cause = (enum error_code)read_int(q);
    v->http_status = (uint16_t)read_int(q);
    v->cold = read_int(q) != 0;
    v->created_us = read_int(q);
    v->started_us = read_int(q);
    v->ended_us = read_int(q);
    v->queued_us = read_u32(q);
    v->starting_us = read_u32(q);
    v->running_us = read_u32(q);
    read_fixed(q, v->error_text, sizeof(v->error_text));
}

/* ---- invocations ---- */
/* A queued call that runs again after a crash replaces its record. */
static const char APPEND[] =
    "INSERT OR REPLACE INTO invocations (function_no, id, status, " RECORD_COLUMNS
    ") VALUES (?,?,?, ?,?,?,?,?,?,?,?,?,?,?,?)";
static const char GET[] = "SELECT function_no, id, status, " RECORD_COLUMNS " FROM invocations"
                          " WHERE function_no = ? AND id = ?";
static const char EACH[] = "SELECT function_no, id, status, " RECORD_COLUMNS " FROM invocations"
                           " WHERE function_no = ? AND id < ? ORDER BY id DESC LIMIT ?";

int store_invocations_append(struct store *s, const struct invocation *v, size_t n,
                             struct error *err) {
    cleanup_query struct query q = query_write(s, STORE_HISTORY, APPEND);
    for (size_t i = 0; i < n; i++) {
        bind_int(&q, ulid_function_no(&v[i].id));
        bind_ulid(&q, &v[i].id);
        bind_int(&q, v[i].status);
        bind_record(&q, &v[i]);
        if (query_run(&q, err) < 0)
            return -1;
    }
    return 0;
}

static void read_invocation(struct query *q, struct invocation *v) {
    v->function_no = read_u32(q);
    read_ulid(q, &v->id);
    v->status = (enum invocation_status)read_int(q);
    read_record(q, v);
}

int store_invocation_get(struct store *s, const struct ulid *id, struct invocation *ret,
                         struct error *err) {
    cleanup_query struct query q = query_read(s, STORE_HISTORY, GET);
    bind_int(&q, ulid_function_no(id));
    bind_ulid(&q, id);
    int rc = query_step(&q, err);
    if (rc < 0)
        return -1;
    if (rc == 0)
        return error_field(err, ERR_NOT_FOUND, "invocation", "there is no such invocation");
    read_invocation(&q, ret);
    return 0;
}

int store_invocation_each(struct store *s, uint32_t function_no, const struct ulid *before,
                          uint32_t limit, bool (*visit)(void *arg, const struct invocation *v),
                          void *arg, struct error *err) {
    cleanup_query struct query q = query_read(s, STORE_HISTORY, EACH);
    bind_int(&q, function_no);
    bind_ulid(&q, before);
    bind_int(&q, limit);
    int rc;
    bool more = true;
    while (more && (rc = query_step(&q, err)) != 0) {
        if (rc < 0)
            return -1;
        struct invocation v = {0};
        read_invocation(&q, &v);
        more = visit(arg, &v);
    }
    return 0;
}

/* ---- log lines ---- */
static const char APPEND_LINE[] = "INSERT OR IGNORE INTO log_lines (function_no, at_us, seq,"
                                  " version_number, invocation, level, instance, message)"
                                  " VALUES (?,?,?,?,?,?,?,?)";

#define MATCH                                                                                      \
    " FROM log_lines WHERE function_no = ?1 AND (at_us, seq) >= (?2, ?3) AND at_us < ?4"           \
    " AND (?5 = 0 OR version_number = ?5) AND (?6 IS NULL OR invocation = ?6)"
/* First key of the newest LIMIT lines: only short columns are walked. */
static const char OLDEST_LINE[] =
    "SELECT at_us, seq" MATCH " ORDER BY at_us DESC, seq DESC LIMIT 1 OFFSET ?7";
static const char EACH_LINE[] = "SELECT function_no, at_us, version_number, invocation, level,"
                                " instance, message" MATCH " ORDER BY at_us, seq";

/* Lines of one call are looked for around its time only; its last ones may come a little late. */
#define LINES_BEFORE_US (1000 * 1000)
#define LINES_AFTER_US  (10 * 1000 * 1000)

static bool is_zero(const struct ulid *u) {
    static const struct ulid ZERO;
    return memcmp(u, &ZERO, sizeof(ZERO)) == 0;
}

int store_logs_append(struct store *s, const struct log_line *v, size_t n, struct error *err) {
    struct sqlite *sq = store_sqlite(s);
    cleanup_query struct query q = query_write(s, STORE_HISTORY, APPEND_LINE);
    for (size_t i = 0; i < n;) {
        bind_int(&q, v[i].function_no);
        bind_int(&q, v[i].at_us);
        bind_int(&q, (int64_t)sq->log_seq++);
        bind_int(&q, v[i].version_number);
        bind_blob(&q, v[i].invocation.b, is_zero(&v[i].invocation) ? 0 : sizeof(struct ulid));
        bind_int(&q, v[i].level);
        bind_str(&q, str_n(v[i].instance, strnlen(v[i].instance, sizeof(v[i].instance))));
        bind_str(&q, v[i].message.p ? v[i].message : STR(""));
        if (query_run(&q, err) < 0)
            return -1;
        /* seq begins at 0 with every start: where the clock went back onto a stored line, the
         * next number is tried */
        i += query_changes(&q) ? 1 : 0;
    }
    return 0;
}

struct line_range {
    int64_t from_us, from_seq, until_us;
};

static void bind_filter(struct query *q, const struct log_filter *f, const struct line_range *r) {
    bind_int(q, f->function_no);
    bind_int(q, r->from_us);
    bind_int(q, r->from_seq);
    bind_int(q, r->until_us);
    bind_int(q, f->version_number);
    if (is_zero(&f->invocation))
        bind_text(q, NULL);
    else
        bind_ulid(q, &f->invocation);
}

/* The times between which lines can match. */
static int bound_range(struct store *s, const struct log_filter *f, struct line_range *ret,
                       struct error *err) {
    int64_t until = f->until_us ? f->until_us : INT64_MAX, from = f->since_us;
    if (!is_zero(&f->invocation)) {
        struct invocation v = {.ended_us = 0};
        struct error none;
        int64_t born = (int64_t)ulid_ms(&f->invocation) * 1000 - LINES_BEFORE_US;
        from = from > born ? from : born;
        if (store_invocation_get(s, &f->invocation, &v, &none) == 0) {
            if (v.ended_us && v.ended_us + LINES_AFTER_US < until)
                until = v.ended_us + LINES_AFTER_US;
        } else if (none.code != ERR_NOT_FOUND) {
            *err = none;
            return -1;
        }
    }
    *ret = (struct line_range){.from_us = from, .from_seq = -1, .until_us = until};
    return 0;
}

static int narrow_to_limit(struct store *s, const struct log_filter *f, struct line_range *r,
                           struct error *err) {
    cleanup_query struct query q = query_read(s, STORE_HISTORY, OLDEST_LINE);
    bind_filter(&q, f, r);
    bind_int(&q, f->limit - 1);
    int rc = query_step(&q, err);
    if (rc == 1) {
        r->from_us = read_int(&q);
        r->from_seq = read_int(&q);
    }
    return rc < 0 ? -1 : 0;
}

int store_logs_each(struct store *s, const struct log_filter *f,
                    bool (*visit)(void *arg, const struct log_line *l), void *arg,
                    struct error *err) {
    struct line_range range;
    if (f->limit == 0)
        return 0;
    if (bound_range(s, f, &range, err) < 0 || narrow_to_limit(s, f, &range, err) < 0)
        return -1;
    cleanup_query struct query q = query_read(s, STORE_HISTORY, EACH_LINE);
    bind_filter(&q, f, &range);
    int rc;
    bool more = true;
    while (more && (rc = query_step(&q, err)) != 0) {
        if (rc < 0)
            return -1;
        struct log_line l = {.function_no = read_u32(&q)};
        l.at_us = read_int(&q);
        l.version_number = read_u32(&q);
        read_ulid(&q, &l.invocation);
        l.level = (enum log_line_level)read_int(&q);
        read_fixed(&q, l.instance, sizeof(l.instance));
        l.message = read_str(&q);
        more = visit(arg, &l);
    }
    return 0;
}
