/* SPDX-License-Identifier: Apache-2.0 */
/* Calls that have a number: queued ones in state.db, the others in history.db. */

#include "store/sqlite.h"

static const char INSERT[] = "INSERT INTO async_jobs (no, seq, function_no) VALUES (?,?,?)";
static const char FINISH[] = "UPDATE async_jobs SET result_kind = ? WHERE no = ?";

#define QUEUED                                                                                     \
    "SELECT no, async_jobs.function_no, id, status, " RECORD_COLUMNS ", result_kind, result_body"  \
    " FROM async_jobs JOIN async_calls USING (seq)"
static const char QUEUED_GET[] = QUEUED " WHERE no = ?";
static const char QUEUED_EACH[] =
    QUEUED " WHERE async_jobs.function_no = ? AND no < ? ORDER BY no DESC";

#define ENDED                                                                                      \
    "SELECT no, executions.function_no, id, status, " RECORD_COLUMNS ", 0, response"               \
    " FROM executions JOIN invocations USING (function_no, id)"
static const char ENDED_GET[] = ENDED " WHERE no = ?";
static const char ENDED_EACH[] = ENDED " WHERE function_no = ? AND no < ? ORDER BY no DESC";

int sqlite_job_insert(struct store *s, const struct async_call *c, struct error *err) {
    cleanup_query struct query q = query_write(s, STORE_STATE, INSERT);
    bind_int(&q, (int64_t)c->job_no);
    bind_int(&q, (int64_t)c->seq);
    bind_int(&q, c->function_no);
    return query_run(&q, err);
}

int sqlite_job_finish(struct store *s, const struct async_call *c, struct error *err) {
    cleanup_query struct query q = query_write(s, STORE_STATE, FINISH);
    bind_int(&q, c->job_result_kind);
    bind_int(&q, (int64_t)c->job_no);
    return query_run(&q, err);
}

static void read_job(struct query *q, struct store_job_row *j) {
    struct invocation *v = &j->record;
    j->no = (uint64_t)read_int(q);
    v->function_no = read_u32(q);
    read_ulid(q, &v->id);
    v->status = (enum invocation_status)read_int(q);
    read_record(q, v);
    j->result_kind = (uint8_t)read_int(q);
    j->result = read_str(q);
}

/* 1 found, 0 not, -1. */
static int get(struct store *s, bool queued, uint64_t no,
               void (*visit)(void *arg, const struct store_job_row *j), void *arg,
               struct error *err) {
    cleanup_query struct query q =
        queued ? query_read(s, STORE_STATE, QUEUED_GET) : query_read(s, STORE_HISTORY, ENDED_GET);
    bind_int(&q, (int64_t)no);
    int rc = query_step(&q, err);
    if (rc != 1)
        return rc;
    struct store_job_row j = {.queued = queued};
    read_job(&q, &j);
    visit(arg, &j);
    return 1;
}

int store_job_get(struct store *s, uint64_t no,
                  void (*visit)(void *arg, const struct store_job_row *j), void *arg,
                  struct error *err) {
    int rc = no > INT64_MAX ? 0 : get(s, true, no, visit, arg, err);
    if (rc == 0 && no <= INT64_MAX)
        rc = get(s, false, no, visit, arg, err);
    if (rc == 0)
        return error_field(err, ERR_NOT_FOUND, "job", "there is no such job");
    return rc < 0 ? -1 : 0;
}

int store_job_each(struct store *s, bool queued, uint32_t function_no, uint64_t before,
                   bool (*visit)(void *arg, const struct store_job_row *j), void *arg,
                   struct error *err) {
    cleanup_query struct query q =
        queued ? query_read(s, STORE_STATE, QUEUED_EACH) : query_read(s, STORE_HISTORY, ENDED_EACH);
    bind_int(&q, function_no);
    bind_int(&q, before && before < INT64_MAX ? (int64_t)before : INT64_MAX);
    int rc;
    bool more = true;
    while (more && (rc = query_step(&q, err)) != 0) {
        if (rc < 0)
            return -1;
        struct store_job_row j = {.queued = queued};
        read_job(&q, &j);
        more = visit(arg, &j);
    }
    return 0;
}
