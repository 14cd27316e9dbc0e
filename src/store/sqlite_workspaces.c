/* SPDX-License-Identifier: Apache-2.0 */
#include "store/sqlite.h"
#include <stdio.h>

static const char INSERT[] = "INSERT INTO workspaces (id, name, description, created_us,"
                             " updated_us) VALUES (?,?,?,?,?)";
static const char SET_ID[] = "UPDATE OR IGNORE workspaces SET id = ? WHERE no = ?";
static const char ENSURE[] = "INSERT OR IGNORE INTO workspaces (id, name, created_us, updated_us)"
                             " VALUES (?1, ?1, ?2, ?2)";
static const char UPDATE[] = "UPDATE workspaces SET name = coalesce(?, name),"
                             " description = coalesce(?, description), updated_us = ? WHERE id = ?"
                             " RETURNING no, name, description, created_us";
static const char DELETE[] = "DELETE FROM workspaces WHERE id = ?";
static const char DELETE_PROJECTS[] = "DELETE FROM projects WHERE workspace = ?";
static const char DELETE_TASKS[] = "DELETE FROM tasks WHERE workspace = ?";
static const char DELETE_EVENTS[] = "DELETE FROM events WHERE type <> 'deleted' AND function_no IN"
                                    " (SELECT no FROM functions WHERE workspace = ?)";
static const char DELETE_FUNCTIONS[] = "DELETE FROM functions WHERE workspace = ?";
static const char EACH[] = "SELECT no, id, name, description, created_us, updated_us"
                           " FROM workspaces ORDER BY no";

static int taken(const char *id, struct error *err) {
    return error_field(err, ERR_CONFLICT, "id", "a workspace '%s' exists already", id);
}

/* "ws-<no>", or the next one where a caller has taken it by naming it in a path. */
static int give_id(struct store *s, struct workspace *w, struct error *err) {
    char id[NAME_MAX_LEN + 1];
    for (uint32_t n = w->no;; n++) {
        snprintf(id, sizeof id, "ws-%u", n);
        cleanup_query struct query q = query_write(s, STORE_STATE, SET_ID);
        bind_text(&q, id);
        bind_int(&q, w->no);
        if (query_run(&q, err) < 0)
            return -1;
        if (query_changes(&q))
            break;
    }
    w->id = x_strdup(id);
    return 0;
}

int store_workspace_insert(struct store *s, struct workspace *w, struct error *err) {
    cleanup_query struct query q = query_write(s, STORE_STATE, INSERT);
    bind_text(&q, w->id ? w->id : ""); /* nobody has that one */
    bind_text(&q, w->name);
    bind_text(&q, w->description);
    bind_int(&q, w->created_us);
    bind_int(&q, w->updated_us);
    if (query_run(&q, err) < 0)
        return w->id && query_constraint(&q) == SQLITE_CONSTRAINT_UNIQUE ? taken(w->id, err) : -1;
    w->no = (uint32_t)sqlite3_last_insert_rowid(STATE(s)->h);
    return w->id ? 0 : give_id(s, w, err);
}

int store_workspace_ensure(struct store *s, const char *id, int64_t at_us, struct workspace *ret,
                           struct error *err) {
    cleanup_query struct query q = query_write(s, STORE_STATE, ENSURE);
    bind_text(&q, id);
    bind_int(&q, at_us);
    if (query_run(&q, err) < 0)
        return -1;
    if (!query_changes(&q))
        return 0;
    *ret = (struct workspace){.no = (uint32_t)sqlite3_last_insert_rowid(STATE(s)->h),
                              .id = x_strdup(id),
                              .name = x_strdup(id),
                              .created_us = at_us,
                              .updated_us = at_us};
    return 1;
}

static int no_such_workspace(struct error *err) {
    return error_field(err, ERR_NOT_FOUND, "workspace", "there is no such workspace");
}

int store_workspace_update(struct store *s, struct workspace *w, struct error *err) {
    cleanup_query struct query q = query_write(s, STORE_STATE, UPDATE);
    bind_text(&q, w->name);
    bind_text(&q, w->description);
    bind_int(&q, w->updated_us);
    bind_text(&q, w->id);
    int rc = query_step(&q, err);
    if (rc <= 0)
        return rc < 0 ? -1 : no_such_workspace(err);
    struct workspace now = {.no = read_u32(&q), .id = w->id, .updated_us = w->updated_us};
    now.name = read_text(&q);
    now.description = read_text(&q);
    now.created_us = read_int(&q);
    query_reset(&q); /* it held their text */
    w->id = NULL;
    workspace_done(w);
    *w = now;
    return 0;
}

/* Rows gone, or -1. */
static int delete_with(struct store *s, const char *sql, const char *id, struct error *err) {
    cleanup_query struct query q = query_write(s, STORE_STATE, sql);
    bind_text(&q, id);
    return query_run(&q, err) < 0 ? -1 : query_changes(&q);
}

int store_workspace_delete(struct store *s, const char *id, struct error *err) {
    if (delete_with(s, DELETE_EVENTS, id, err) < 0 ||
        delete_with(s, DELETE_FUNCTIONS, id, err) < 0 ||
        delete_with(s, DELETE_PROJECTS, id, err) < 0 || delete_with(s, DELETE_TASKS, id, err) < 0)
        return -1;
    int gone = delete_with(s, DELETE, id, err);
    return gone < 0 ? -1 : gone ? 0 : no_such_workspace(err);
}

int store_workspace_each(struct store *s, void (*visit)(void *arg, struct workspace *w), void *arg,
                         struct error *err) {
    cleanup_query struct query q = query_read(s, STORE_STATE, EACH);
    int rc;
    while ((rc = query_step(&q, err)) == 1) {
        struct workspace w = {.no = read_u32(&q)};
        w.id = read_text(&q);
        w.name = read_text(&q);
        w.description = read_text(&q);
        w.created_us = read_int(&q);
        w.updated_us = read_int(&q);
        visit(arg, &w);
    }
    return rc;
}
