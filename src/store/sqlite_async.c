/* SPDX-License-Identifier: Apache-2.0 */
/* Queued calls: from acceptance to outcome, and the outcome until retention. */

#include "store/sqlite.h"

static const char INSERT[] = "INSERT INTO async_calls (id, function_no, status, attempts,"
                             " workspace, " RECORD_COLUMNS ", result_status, input)"
                             " VALUES (?,?,?,?,?, ?,?,?,?,?,?,?,?,?,?,?,?, 0, ?)";

#define SELECT                                                                                     \
    "SELECT seq, id, function_no, status, attempts, workspace, " RECORD_COLUMNS ", result_status," \
    " result_headers, result_body"
static const char GET[] = SELECT ", input FROM async_calls WHERE id = ?";
static const char PENDING[] = SELECT ", input FROM async_calls WHERE function_no = ?"
                                     " AND status = 0 AND seq > ? ORDER BY seq LIMIT ?";
static const char OPEN[] = SELECT ", NULL FROM async_calls WHERE function_no = ?"
                                  " AND status IN (0, 1) ORDER BY seq DESC LIMIT ?";
static const char START[] = "UPDATE async_calls SET status = 1, attempts = attempts + 1,"
                            " started_us = ? WHERE id = ? AND status = 0";
static const char STATUS[] = "SELECT status FROM async_calls WHERE id = ?";
static const char FINISH[] = "UPDATE async_calls SET (status, " RECORD_COLUMNS ", result_status,"
                             " result_headers, result_body, input) ="
                             " (?, ?,?,?,?,?,?,?,?,?,?,?,?, ?, ?, ?, NULL) WHERE id = ?";
/* Through the index on (function_no, status): the table itself holds the bodies. */
static const char RECOVER[] = "UPDATE async_calls SET status = 0, started_us = 0 WHERE status = 1"
                              " AND function_no IN (SELECT no FROM functions)";
static const char COUNT[] = "SELECT no, n FROM (SELECT no, (SELECT count(*) FROM async_calls"
                            " WHERE function_no = no AND status = 0) AS n FROM functions)"
                            " WHERE n > 0 ORDER BY no";
static const char OLDEST[] = "SELECT seq, status, created_us, ended_us FROM async_calls"
                             " WHERE seq > ? ORDER BY seq";
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
    bind_int(&q, c->status);
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
    return 0;
}

static void read_call(struct query *q, struct async_call *c) {
    c->seq = (uint64_t)read_int(q);
    read_ulid(q, &c->id);
    c->function_no = read_u32(q);
    c->status = (enum invocation_status)read_int(q);
    c->attempts = read_u32(q);
    read_fixed(q, c->workspace, sizeof(c->workspace));
    read_record(q, &c->record);
    c->record.id = c->id;
    c->record.function_no = c->function_no;
    c->record.status = c->status;
    c->result_status = (uint16_t)read_int(q);
    c->result_headers = read_str(q);
    c->result_body = read_str(q);
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
        return 0;
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
    return query_changes(&q) ? 0 : no_such_call(err);
}

int store_async_get(struct store *s, const struct ulid *id,
                    void (*visit)(void *arg, const struct async_call *c), void *arg,
                    struct error *err) {
    cleanup_query struct query q = query_read(s, STORE_STATE, GET);
    bind_ulid(&q, id);
    int rc = query_step(&q, err);
    if (rc <= 0)
        return rc < 0 ? -1 : no_such_call(err);
    struct async_call c = {0};
    read_call(&q, &c);
    visit(arg, &c);
    return 0;
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

int store_async_open(struct store *s, uint32_t function_no, uint32_t limit,
                     bool (*visit)(void *arg, const struct async_call *c), void *arg,
                     struct error *err) {
    cleanup_query struct query q = query_read(s, STORE_STATE, OPEN);
    bind_int(&q, function_no);
    bind_int(&q, limit);
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

/* Calls were accepted in the order of seq, so the walk ends at the first young one. Old ones that
 * still wait are passed over. */
int sqlite_trim_async(struct store *s, int64_t before_us, uint64_t slice, bool *ret_more,
                      struct error *err) {
    cleanup_free int64_t *old = x_calloc(TRIM_BATCH, sizeof(*old));
    size_t max = slice < TRIM_BATCH ? (size_t)slice : TRIM_BATCH, n = 0;
    cleanup_query struct query q = query_read(s, STORE_STATE, OLDEST);
    bind_int(&q, 0);
    int rc = 0;
    while (n < max && (rc = query_step(&q, err)) == 1) {
        int64_t seq = read_int(&q), status = read_int(&q);
        if (read_int(&q) >= before_us)
            break;
        if (status >= INV_COMPLETED && read_int(&q) < before_us)
            old[n++] = seq;
    }
    if (rc < 0)
        return -1;
    *ret_more = n == max;
    if (n == 0)
        return 0;
    query_reset(&q);
    cleanup_query struct query d = query_write(s, STORE_STATE, DELETE);
    for (size_t i = 0; i < n; i++) {
        bind_int(&d, old[i]);
        if (query_run(&d, err) < 0)
            return -1;
    }
    return 0;
}
