/* SPDX-License-Identifier: Apache-2.0 */
/* Queued calls: from acceptance to outcome, and the outcome until retention. */

#include "store/sqlite.h"

static const char INSERT[] = "INSERT INTO async_calls (id, function_no, status, attempts,"
                             " workspace, " RECORD_COLUMNS ", result_status, input)"
                             " VALUES (?,?,?,?,?, ?,?,?,?,?,?,?,?,?,?,?,?, 0, ?)";

/* of the row of async_calls that stands around it */
#define JOB_NO " coalesce((SELECT no FROM async_jobs WHERE async_jobs.seq = async_calls.seq), 0)"
#define SELECT                                                                                     \
    "SELECT seq, id, function_no, status, attempts, workspace, " RECORD_COLUMNS ", result_status," \
    " result_headers, result_body," JOB_NO
static const char GET[] = SELECT ", input FROM async_calls WHERE id = ?";
static const char PENDING[] = SELECT ", input FROM async_calls WHERE function_no = ?"
                                     " AND status = 0 AND seq > ? ORDER BY seq LIMIT ?";
/* Each half is read backwards in the index: with "status IN (0, 1)" a long queue would be sorted
 * for every look at its end. */
#define NEWEST(status)                                                                             \
    "SELECT * FROM (" SELECT ", NULL FROM async_calls WHERE function_no = ?1 AND status = " status \
    " AND id < ?3 ORDER BY seq DESC LIMIT ?2)"
static const char OPEN[] =
    NEWEST("0") " UNION ALL " NEWEST("1") " UNION ALL " NEWEST("-1") " ORDER BY 1 DESC LIMIT ?2";
static const char OF_SEQ[] = SELECT ", input FROM async_calls WHERE seq = ?";
static const char START[] = "UPDATE async_calls SET status = 1, attempts = attempts + 1,"
                            " started_us = ? WHERE id = ? AND status = 0";
static const char STATUS[] = "SELECT status FROM async_calls WHERE id = ?";
static const char FINISH[] = "UPDATE async_calls SET (status, " RECORD_COLUMNS ", result_status,"
                             " result_headers, result_body, input) ="
                             " (?, ?,?,?,?,?,?,?,?,?,?,?,?, ?, ?, ?, NULL) WHERE id = ?";
/* Through the index on (function_no, status): the table itself holds the bodies. What somebody has
 * reserved stays so. */
static const char RECOVER[] = "UPDATE async_calls SET status = 0, started_us = 0 WHERE status = 1"
                              " AND function_no IN (SELECT no FROM functions)"
                              " AND seq NOT IN (SELECT seq FROM async_tasks WHERE until_us > 0)";
static const char COUNT[] = "SELECT no, n FROM (SELECT no, (SELECT count(*) FROM async_calls"
                            " WHERE function_no = no AND status = 0) AS n FROM functions)"
                            " WHERE n > 0 ORDER BY no";
static const char OLDEST[] = "SELECT seq, status, created_us, ended_us FROM async_calls"
                             " WHERE seq > ? ORDER BY seq";
static const char RESULT_SIZES[] = "SELECT seq, coalesce(length(result_body), 0) +"
                                   " coalesce(length(result_headers), 0) FROM async_calls"
                                   " WHERE status > 1 ORDER BY seq DESC";
static const char ENDED_UP_TO[] = "SELECT seq FROM async_calls WHERE status > 1 AND seq <= ?"
                                  " ORDER BY seq LIMIT ?";
static const char DELETE[] = "DELETE FROM async_calls WHERE seq = ?";

static int no_such_call(struct error *err) {
    return error_field(err, ERR_NOT_FOUND, "invocation", "there is no such invocation");
}

int store_async_insert(struct store *s, struct async_call *c, struct error *err) {
    struct invocation record = c->record;
    if (!record.created_us)
        record.created_us = (int64_t)ulid_ms(&c->id) * 1000;
    cleanup_query struct query q = query_write(s, STORE_STATE, INSERT);
    bind_ulid(&q, &c->id);
    bind_int(&q, c->function_no);
    bind_int(&q, c->takers == ASYNC_PULLERS ? SQLITE_PULLERS_ONLY : (int64_t)c->status);
    bind_int(&q, c->attempts);
    bind_text(&q, c->workspace);
    bind_record(&q, &record);
    bind_blob(&q, c->input.p, c->input.len);
    if (query_run(&q, err) < 0) {
        int why = query_constraint(&q);
        if (why == SQLITE_CONSTRAINT_FOREIGNKEY)
            return error_field(err, ERR_NOT_FOUND, "function", "there is no such function");
        if (why == SQLITE_CONSTRAINT_UNIQUE)
            return error_field(err, ERR_CONFLICT, "invocation", "the invocation exists already");
        return -1;
    }
    c->seq = (uint64_t)sqlite3_last_insert_rowid(STATE(s)->h);
    if (c->takers != ASYNC_WORKERS && sqlite_task_insert(s, c, err) < 0)
        return -1;
    return c->job_no ? sqlite_job_insert(s, c, err) : 0;
}

static void read_call(struct query *q, struct async_call *c) {
    c->seq = (uint64_t)read_int(q);
    read_ulid(q, &c->id);
    c->function_no = read_u32(q);
    int64_t status = read_int(q);
    c->status = status < 0 ? INV_PENDING : (enum invocation_status)status;
    c->attempts = read_u32(q);
    read_fixed(q, c->workspace, sizeof(c->workspace));
    read_record(q, &c->record);
    c->record.id = c->id;
    c->record.function_no = c->function_no;
    c->record.status = c->status;
    c->result_status = (uint16_t)read_int(q);
    c->result_headers = read_str(q);
    c->result_body = read_str(q);
    c->job_no = (uint64_t)read_int(q);
    c->input = read_str(q);
}

int store_async_pending(struct store *s, uint32_t function_no, uint64_t after, uint32_t limit,
                        uint64_t bytes_max, void (*visit)(void *arg, const struct async_call *c),
                        void *arg, struct error *err) {
    cleanup_query struct query q = query_read(s, STORE_STATE, PENDING);
    bind_int(&q, function_no);
    bind_int(&q, (int64_t)after);
    bind_int(&q, limit);
    uint64_t bytes = 0;
    int rc;
    while (bytes < bytes_max && (rc = query_step(&q, err)) != 0) {
        if (rc < 0)
            return -1;
        struct async_call c = {0};
        read_call(&q, &c);
        if (bytes && bytes + c.input.len > bytes_max)
            break; /* the first one always goes, however large */
        bytes += c.input.len;
        visit(arg, &c);
    }
    return 0;
}

int store_async_start(struct store *s, const struct ulid *id, int64_t at_us, struct error *err) {
    cleanup_query struct query q = query_write(s, STORE_STATE, START);
    bind_int(&q, at_us);
    bind_ulid(&q, id);
    if (query_run(&q, err) < 0)
        return -1;
    if (query_changes(&q))
        return sqlite_task_taken(s, id, err);
    cleanup_query struct query there = query_read(s, STORE_STATE, STATUS);
    bind_ulid(&there, id);
    int rc = query_step(&there, err);
    if (rc <= 0)
        return rc < 0 ? -1 : no_such_call(err);
    return error_field(err, ERR_CONFLICT, "invocation", "the invocation is %s already",
                       invocation_status_name((enum invocation_status)read_int(&there)));
}

int store_async_finish(struct store *s, const struct async_call *c, struct error *err) {
    cleanup_query struct query q = query_write(s, STORE_STATE, FINISH);
    bind_int(&q, c->status);
    bind_record(&q, &c->record);
    bind_int(&q, c->result_status);
    bind_str(&q, c->result_headers);
    if (c->result_body.p)
        bind_blob(&q, c->result_body.p, c->result_body.len);
    else
        bind_text(&q, NULL);
    bind_ulid(&q, &c->id);
    if (query_run(&q, err) < 0)
        return -1;
    if (!query_changes(&q))
        return no_such_call(err);
    return c->job_no ? sqlite_job_finish(s, c, err) : 0;
}

static int visit_one(struct query *q, void (*visit)(void *arg, const struct async_call *c),
                     void *arg, struct error *err) {
    int rc = query_step(q, err);
    if (rc <= 0)
        return rc < 0 ? -1 : no_such_call(err);
    struct async_call c = {0};
    read_call(q, &c);
    visit(arg, &c);
    return 0;
}

int sqlite_async_visit(struct store *s, int64_t seq,
                       void (*visit)(void *arg, const struct async_call *c), void *arg,
                       struct error *err) {
    cleanup_query struct query q = query_read(s, STORE_STATE, OF_SEQ);
    bind_int(&q, seq);
    return visit_one(&q, visit, arg, err);
}

int store_async_get(struct store *s, const struct ulid *id,
                    void (*visit)(void *arg, const struct async_call *c), void *arg,
                    struct error *err) {
    cleanup_query struct query q = query_read(s, STORE_STATE, GET);
    bind_ulid(&q, id);
    return visit_one(&q, visit, arg, err);
}

int store_async_recover(struct store *s,
                        void (*visit)(void *arg, uint32_t function_no, uint64_t pending), void *arg,
                        struct error *err) {
    cleanup_query struct query q = query_write(s, STORE_STATE, RECOVER);
    if (query_run(&q, err) < 0)
        return -1;
    cleanup_query struct query count = query_read(s, STORE_STATE, COUNT);
    int rc;
    while ((rc = query_step(&count, err)) == 1) {
        uint32_t function_no = read_u32(&count);
        visit(arg, function_no, (uint64_t)read_int(&count));
    }
    return rc;
}

/* Calls that came at once may stand in another order than their ids: some more are given, so that
 * the caller, who sorts by id, misses none. */
#define OPEN_SLACK 64

int store_async_open(struct store *s, uint32_t function_no, const struct ulid *before,
                     uint32_t limit, bool (*visit)(void *arg, const struct async_call *c),
                     void *arg, struct error *err) {
    cleanup_query struct query q = query_read(s, STORE_STATE, OPEN);
    bind_int(&q, function_no);
    bind_int(&q, (int64_t)limit + OPEN_SLACK);
    bind_ulid(&q, before);
    int rc;
    bool more = true;
    while (more && (rc = query_step(&q, err)) != 0) {
        if (rc < 0)
            return -1;
        struct async_call c = {0};
        read_call(&q, &c);
        more = visit(arg, &c);
    }
    return 0;
}

/* ---- retention ---- */
struct ended {
    int64_t seq[TRIM_BATCH];
    size_t n, max;
};

/* Calls were accepted in the order of seq, so the walk ends at the first young one. Old ones that
 * still wait are passed over. */
static int collect_old(struct store *s, int64_t before_us, struct ended *e, struct error *err) {
    cleanup_query struct query q = query_read(s, STORE_STATE, OLDEST);
    bind_int(&q, 0);
    int rc = 0;
    while (e->n < e->max && (rc = query_step(&q, err)) == 1) {
        int64_t seq = read_int(&q), status = read_int(&q);
        if (read_int(&q) >= before_us)
            break;
        if (status >= INV_COMPLETED && read_int(&q) < before_us)
            e->seq[e->n++] = seq;
    }
    return rc < 0 ? -1 : 0;
}

/* The youngest call whose result, together with all younger ones, is over BYTES_MAX; 0: none. */
static int find_excess(struct store *s, uint64_t bytes_max, int64_t *ret_seq, struct error *err) {
    uint64_t bytes = 0;
    int rc;
    *ret_seq = 0;
    cleanup_query struct query q = query_read(s, STORE_STATE, RESULT_SIZES);
    while ((rc = query_step(&q, err)) == 1) {
        int64_t seq = read_int(&q);
        bytes += (uint64_t)read_int(&q);
        if (bytes > bytes_max) {
            *ret_seq = seq;
            return 0;
        }
    }
    return rc;
}

static int collect_excess(struct store *s, uint64_t bytes_max, struct ended *e, struct error *err) {
    uint64_t all;
    int64_t up_to;
    int rc;
    if (sqlite_bytes(s, STORE_STATE, &all, err) < 0)
        return -1;
    if (all <= bytes_max) /* then the results are, and none has to be looked at */
        return 0;
    if (find_excess(s, bytes_max, &up_to, err) < 0)
        return -1;
    if (!up_to)
        return 0;
    cleanup_query struct query q = query_read(s, STORE_STATE, ENDED_UP_TO);
    bind_int(&q, up_to);
    bind_int(&q, (int64_t)e->max);
    while ((rc = query_step(&q, err)) == 1)
        e->seq[e->n++] = read_int(&q);
    return rc;
}

int sqlite_trim_async(struct store *s, const struct retention *r, bool *ret_more,
                      struct error *err) {
    cleanup_free struct ended *e = x_alloc(sizeof(*e));
    e->max = r->slice < TRIM_BATCH ? (size_t)r->slice : TRIM_BATCH;
    if (collect_old(s, r->history_before_us, e, err) < 0 ||
        (e->n == 0 && collect_excess(s, r->history_bytes_max, e, err) < 0))
        return -1;
    *ret_more = e->n == e->max;
    if (e->n == 0)
        return 0;
    cleanup_query struct query d = query_write(s, STORE_STATE, DELETE);
    for (size_t i = 0; i < e->n; i++) {
        bind_int(&d, e->seq[i]);
        if (query_run(&d, err) < 0)
            return -1;
    }
    return 0;
}
