/* SPDX-License-Identifier: Apache-2.0 */
#include "store/sqlite.h"

#define COLUMNS                                                                                    \
    "no, id, workspace, kind, status, attempts, created_us, updated_us, app_name, progress,"       \
    " error, file_path, wasm_path, image, params"

static const char INSERT[] = "INSERT INTO tasks (id, workspace, kind, status, attempts, created_us,"
                             " updated_us, app_name, progress, error, file_path, wasm_path, image,"
                             " params, log) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)";
static const char UPDATE[] = "UPDATE tasks SET status = ?, attempts = ?, updated_us = ?,"
                             " progress = ?, error = ?, file_path = ?, wasm_path = ?, image = ?,"
                             " params = ?, log = ? WHERE id = ?";
static const char GET[] = "SELECT " COLUMNS ", log FROM tasks WHERE id = ?";
static const char EACH[] = "SELECT " COLUMNS " FROM tasks WHERE workspace = ?1"
                           " AND (?2 = 0 OR no < ?2) ORDER BY no DESC LIMIT ?3";
static const char OPEN[] = "SELECT " COLUMNS ", log FROM tasks WHERE status < 2 ORDER BY no";
static const char OLD[] =
    "SELECT id, workspace FROM tasks WHERE status >= 2 AND updated_us < ? LIMIT ?";
static const char CROWDED[] = "SELECT workspace FROM tasks GROUP BY workspace HAVING count(*) > ?"
                              " LIMIT 1";
static const char SURPLUS[] =
    "SELECT id, workspace FROM tasks WHERE workspace = ?1 AND status >= 2 AND no <"
    " (SELECT no FROM tasks WHERE workspace = ?1 ORDER BY no DESC"
    "  LIMIT 1 OFFSET ?2 - 1) ORDER BY no LIMIT ?3";
static const char DELETE[] = "DELETE FROM tasks WHERE id = ?";

int store_builder_insert(struct store *s, struct task *t, struct error *err) {
    cleanup_query struct query q = query_write(s, STORE_STATE, INSERT);
    bind_text(&q, t->id);
    bind_text(&q, t->workspace);
    bind_int(&q, t->kind);
    bind_int(&q, t->status);
    bind_int(&q, t->attempts);
    bind_int(&q, t->created_us);
    bind_int(&q, t->updated_us);
    bind_text(&q, t->app_name);
    bind_text(&q, t->progress);
    bind_text(&q, t->error);
    bind_text(&q, t->file_path);
    bind_text(&q, t->wasm_path);
    bind_text(&q, t->image);
    bind_text(&q, t->params);
    bind_text(&q, t->log);
    if (query_run(&q, err) < 0)
        return -1;
    t->no = (uint32_t)sqlite3_last_insert_rowid(STATE(s)->h);
    return 0;
}

static int no_such_task(struct error *err) {
    return error_field(err, ERR_NOT_FOUND, "task", "Task not found");
}

int store_builder_update(struct store *s, const struct task *t, struct error *err) {
    cleanup_query struct query q = query_write(s, STORE_STATE, UPDATE);
    bind_int(&q, t->status);
    bind_int(&q, t->attempts);
    bind_int(&q, t->updated_us);
    bind_text(&q, t->progress);
    bind_text(&q, t->error);
    bind_text(&q, t->file_path);
    bind_text(&q, t->wasm_path);
    bind_text(&q, t->image);
    bind_text(&q, t->params);
    bind_text(&q, t->log);
    bind_text(&q, t->id);
    if (query_run(&q, err) < 0)
        return -1;
    return query_changes(&q) ? 0 : no_such_task(err);
}

static void read_task(struct query *q, struct task *t) {
    *t = (struct task){.no = read_u32(q)};
    read_fixed(q, t->id, sizeof t->id);
    t->workspace = read_text(q);
    t->kind = (enum task_kind)read_u32(q);
    t->status = (enum task_status)read_u32(q);
    t->attempts = read_u32(q);
    t->created_us = read_int(q);
    t->updated_us = read_int(q);
    t->app_name = read_text(q);
    t->progress = read_text(q);
    t->error = read_text(q);
    t->file_path = read_text(q);
    t->wasm_path = read_text(q);
    t->image = read_text(q);
    t->params = read_text(q);
}

int store_builder_get(struct store *s, const char *id, struct task *ret, struct error *err) {
    cleanup_query struct query q = query_read(s, STORE_STATE, GET);
    bind_text(&q, id);
    int rc = query_step(&q, err);
    if (rc < 0)
        return -1;
    if (rc == 0)
        return no_such_task(err);
    read_task(&q, ret);
    ret->log = read_text(&q);
    return 0;
}

int store_builder_each(struct store *s, const char *workspace, uint32_t before_no, uint32_t limit,
                       bool (*visit)(void *arg, const struct task *t), void *arg,
                       struct error *err) {
    cleanup_query struct query q = query_read(s, STORE_STATE, EACH);
    bind_text(&q, workspace);
    bind_int(&q, before_no);
    bind_int(&q, limit);
    int rc;
    while ((rc = query_step(&q, err)) == 1) {
        struct task t;
        read_task(&q, &t);
        bool more = visit(arg, &t);
        task_done(&t);
        if (!more)
            return 0;
    }
    return rc;
}

int store_builder_open(struct store *s, void (*visit)(void *arg, struct task *t), void *arg,
                       struct error *err) {
    cleanup_query struct query q = query_read(s, STORE_STATE, OPEN);
    int rc;
    while ((rc = query_step(&q, err)) == 1) {
        struct task t;
        read_task(&q, &t);
        t.log = read_text(&q);
        visit(arg, &t);
    }
    return rc;
}

/* ---- retention ---- */
struct trim {
    struct store *s;
    uint32_t left;
    void (*gone)(void *arg, struct str id, struct str workspace);
    void *arg;
};

/* All that Q yields: gathered first, as a table is not changed while it is read. */
static int delete_those(struct trim *t, struct query *q, struct error *err) {
    struct row {
        char id[TASK_ID_LEN + 1], workspace[NAME_MAX_LEN + 1];
    } *rows = x_calloc(t->left + 1, sizeof *rows);
    uint32_t n = 0;
    int rc = 0;
    while (n < t->left && (rc = query_step(q, err)) == 1) {
        read_fixed(q, rows[n].id, sizeof rows[n].id);
        read_fixed(q, rows[n].workspace, sizeof rows[n].workspace);
        n++;
    }
    for (uint32_t i = 0; rc >= 0 && i < n; i++) {
        cleanup_query struct query del = query_write(t->s, STORE_STATE, DELETE);
        bind_text(&del, rows[i].id);
        rc = query_run(&del, err);
        if (rc >= 0)
            t->gone(t->arg, str_of(rows[i].id), str_of(rows[i].workspace));
    }
    t->left -= n;
    free(rows);
    return rc < 0 ? -1 : 0;
}

static int trim_crowded(struct trim *t, uint32_t keep, struct error *err) {
    cleanup_query struct query q = query_read(t->s, STORE_STATE, CROWDED);
    bind_int(&q, keep);
    int rc = query_step(&q, err);
    if (rc <= 0)
        return rc;
    cleanup_free char *workspace = read_text(&q);
    cleanup_query struct query ids = query_read(t->s, STORE_STATE, SURPLUS);
    bind_text(&ids, workspace);
    bind_int(&ids, keep);
    bind_int(&ids, t->left);
    return delete_those(t, &ids, err);
}

int store_builder_trim(struct store *s, int64_t before_us, uint32_t keep, uint32_t slice,
                       void (*gone)(void *arg, struct str id, struct str workspace), void *arg,
                       struct error *err) {
    struct trim t = {.s = s, .left = slice, .gone = gone, .arg = arg};
    cleanup_query struct query q = query_read(s, STORE_STATE, OLD);
    bind_int(&q, before_us);
    bind_int(&q, slice);
    if (delete_those(&t, &q, err) < 0)
        return -1;
    return t.left ? trim_crowded(&t, keep, err) : 0;
}
