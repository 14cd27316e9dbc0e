/* SPDX-License-Identifier: Apache-2.0 */
/* Queued calls that somebody else may run: a row beside the call, until a worker of ours takes it
 * or whoever has it reserved says that it is done. until_us: reserved until then, 0 while nobody
 * has it. since_us: when it was last handed out, which is what its holder must show. */

#include "store/sqlite.h"

static const char INSERT[] = "INSERT INTO async_tasks (seq, pullers_only) VALUES (?,?)";
static const char FREE[] = "SELECT seq, since_us FROM async_tasks WHERE until_us = 0 ORDER BY seq"
                           " LIMIT ?";
static const char RESERVE[] = "UPDATE async_tasks SET since_us = ?, until_us = ? WHERE seq = ?";
static const char RUN[] = "UPDATE async_calls SET status = 1, attempts = attempts + 1,"
                          " started_us = ? WHERE seq = ?";
static const char LENGTH[] = "SELECT length(input) FROM async_calls WHERE seq = ?";
static const char OVERDUE[] = "SELECT seq, pullers_only, function_no FROM async_tasks"
                              " JOIN async_calls USING (seq)"
                              " WHERE until_us > 0 AND until_us <= ? ORDER BY until_us LIMIT ?";
static const char FREE_AGAIN[] = "UPDATE async_tasks SET until_us = 0 WHERE seq = ?";
static const char WAIT_AGAIN[] = "UPDATE async_calls SET status = ?, started_us = 0 WHERE seq = ?";
static const char NEXT[] = "SELECT min(until_us) FROM async_tasks WHERE until_us > 0";
static const char OF_CALL[] = "SELECT async_calls.seq, status, since_us FROM async_calls"
                              " LEFT JOIN async_tasks USING (seq) WHERE id = ?";
static const char DELETE[] = "DELETE FROM async_tasks WHERE seq = ?";
static const char TAKEN[] = "DELETE FROM async_tasks"
                            " WHERE seq = (SELECT seq FROM async_calls WHERE id = ?)";
/* The length of a body stands in its row's head: none is read for this. */
static const char COUNT[] = "SELECT count(*), coalesce(sum(length(input)), 0) FROM async_tasks"
                            " JOIN async_calls USING (seq) WHERE pullers_only";

int sqlite_task_insert(struct store *s, const struct async_call *c, struct error *err) {
    cleanup_query struct query q = query_write(s, STORE_STATE, INSERT);
    bind_int(&q, (int64_t)c->seq);
    bind_int(&q, c->takers == ASYNC_PULLERS);
    return query_run(&q, err);
}

int sqlite_task_taken(struct store *s, const struct ulid *id, struct error *err) {
    cleanup_query struct query q = query_write(s, STORE_STATE, TAKEN);
    bind_ulid(&q, id);
    return query_run(&q, err);
}

/* ---- handing out ---- */
struct free_task {
    int64_t seq, since_us;
};

static int find_free(struct store *s, struct free_task *v, uint32_t limit, uint32_t *ret_n,
                     struct error *err) {
    cleanup_query struct query q = query_read(s, STORE_STATE, FREE);
    bind_int(&q, limit);
    int rc;
    while ((rc = query_step(&q, err)) == 1) {
        struct free_task *t = &v[(*ret_n)++];
        t->seq = read_int(&q);
        t->since_us = read_int(&q);
    }
    return rc;
}

static int length_of(struct store *s, int64_t seq, int64_t *ret, struct error *err) {
    cleanup_query struct query q = query_read(s, STORE_STATE, LENGTH);
    bind_int(&q, seq);
    return query_int(&q, 0, ret, err);
}

static int reserve(struct store *s, const struct free_task *t, int64_t since_us, int64_t until_us,
                   struct error *err) {
    cleanup_query struct query q = query_write(s, STORE_STATE, RESERVE);
    bind_int(&q, since_us);
    bind_int(&q, until_us);
    bind_int(&q, t->seq);
    if (query_run(&q, err) < 0)
        return -1;
    cleanup_query struct query run = query_write(s, STORE_STATE, RUN);
    bind_int(&run, since_us);
    bind_int(&run, t->seq);
    return query_run(&run, err);
}

/* Whole milliseconds, which every client's idea of a time can hold, and never twice the same. */
static int64_t since(const struct free_task *t, int64_t now_us) {
    int64_t us = now_us - now_us % 1000;
    return us > t->since_us ? us : t->since_us + 1000;
}

int store_task_take(struct store *s, uint32_t limit, uint64_t bytes_max, int64_t now_us,
                    int64_t until_us, void (*visit)(void *arg, const struct async_call *c),
                    void *arg, struct error *err) {
    struct free_task v[STORE_TASKS_MAX];
    uint32_t n = 0;
    uint64_t bytes = 0;
    if (find_free(s, v, limit < STORE_TASKS_MAX ? limit : STORE_TASKS_MAX, &n, err) < 0)
        return -1;
    for (uint32_t i = 0; i < n; i++) {
        int64_t length;
        if (length_of(s, v[i].seq, &length, err) < 0)
            return -1;
        bytes += (uint64_t)length;
        if (i > 0 && bytes > bytes_max) /* the first one always goes, however large */
            break;
        if (reserve(s, &v[i], since(&v[i], now_us), until_us, err) < 0 ||
            sqlite_async_visit(s, v[i].seq, visit, arg, err) < 0)
            return -1;
    }
    return 0;
}

/* ---- reservations that end ---- */
static int release(struct store *s, int64_t seq, bool pullers_only, struct error *err) {
    cleanup_query struct query q = query_write(s, STORE_STATE, FREE_AGAIN);
    bind_int(&q, seq);
    if (query_run(&q, err) < 0)
        return -1;
    cleanup_query struct query wait = query_write(s, STORE_STATE, WAIT_AGAIN);
    bind_int(&wait, pullers_only ? SQLITE_PULLERS_ONLY : INV_PENDING);
    bind_int(&wait, seq);
    return query_run(&wait, err);
}

struct overdue_task {
    int64_t seq;
    uint32_t function_no;
    bool pullers_only;
};

static int find_overdue(struct store *s, int64_t now_us, struct overdue_task *v, size_t *ret_n,
                        struct error *err) {
    cleanup_query struct query q = query_read(s, STORE_STATE, OVERDUE);
    bind_int(&q, now_us);
    bind_int(&q, STORE_TASKS_MAX);
    int rc;
    while ((rc = query_step(&q, err)) == 1) {
        struct overdue_task *t = &v[(*ret_n)++];
        t->seq = read_int(&q);
        t->pullers_only = read_int(&q) != 0;
        t->function_no = read_u32(&q);
    }
    return rc;
}

int store_task_expire(struct store *s, int64_t now_us,
                      void (*visit)(void *arg, uint32_t function_no), void *arg,
                      int64_t *ret_next_us, struct error *err) {
    struct overdue_task v[STORE_TASKS_MAX];
    size_t n;
    do {
        n = 0;
        if (find_overdue(s, now_us, v, &n, err) < 0)
            return -1;
        for (size_t i = 0; i < n; i++) {
            if (release(s, v[i].seq, v[i].pullers_only, err) < 0)
                return -1;
            if (!v[i].pullers_only)
                visit(arg, v[i].function_no);
        }
    } while (n == STORE_TASKS_MAX);
    cleanup_query struct query q = query_read(s, STORE_STATE, NEXT);
    return query_int(&q, 0, ret_next_us, err);
}

/* ---- the end ---- */
static int not_there(struct error *err) {
    return error_field(err, ERR_NOT_FOUND, "task", "there is no such task");
}

static int check_holder(struct store *s, const struct ulid *id, int64_t since_us, int64_t *ret_seq,
                        struct error *err) {
    cleanup_query struct query q = query_read(s, STORE_STATE, OF_CALL);
    bind_ulid(&q, id);
    int rc = query_step(&q, err);
    if (rc <= 0)
        return rc < 0 ? -1 : not_there(err);
    *ret_seq = read_int(&q);
    int64_t status = read_int(&q), handed_out_us = read_int(&q);
    if (status > INV_RUNNING)
        return not_there(err);
    if (handed_out_us == 0)
        return error_field(err, ERR_CONFLICT, "task", "the task was not handed out to you");
    if (since_us && since_us != handed_out_us)
        return error_field(err, ERR_CONFLICT, "task",
                           "the task's time was over, and it was handed out again");
    return 0;
}

int store_task_end(struct store *s, const struct async_call *c, int64_t since_us,
                   struct error *err) {
    int64_t seq = 0;
    if (check_holder(s, &c->id, since_us, &seq, err) < 0)
        return -1;
    cleanup_query struct query q = query_write(s, STORE_STATE, DELETE);
    bind_int(&q, seq);
    return query_run(&q, err) < 0 ? -1 : store_async_finish(s, c, err);
}

int store_task_count(struct store *s, uint64_t *ret_n, uint64_t *ret_bytes, struct error *err) {
    cleanup_query struct query q = query_read(s, STORE_STATE, COUNT);
    if (query_step(&q, err) < 0)
        return -1;
    *ret_n = (uint64_t)read_int(&q);
    *ret_bytes = (uint64_t)read_int(&q);
    return 0;
}
