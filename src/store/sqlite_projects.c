/* SPDX-License-Identifier: Apache-2.0 */
#include "store/sqlite.h"

static const char INSERT[] = "INSERT INTO projects (workspace, name, config, created_us,"
                             " updated_us) VALUES (?,?,?,?,?)";
static const char ENSURE[] = "INSERT OR IGNORE INTO projects (workspace, name, config,"
                             " created_us, updated_us) VALUES (?1, ?2, '{}', ?3, ?3)";
static const char UPDATE[] = "UPDATE projects SET config = ?, updated_us = ? WHERE no = ?"
                             " AND updated_us = ?";
static const char THERE[] = "SELECT 1 FROM projects WHERE no = ?";
static const char DELETE[] = "DELETE FROM projects WHERE no = ?";
static const char EACH[] = "SELECT no, workspace, name, config, created_us, updated_us"
                           " FROM projects ORDER BY no";
static const char HAS_FUNCTIONS[] =
    "SELECT 1 FROM functions WHERE workspace = ? AND project = ? LIMIT 1";

int store_project_insert(struct store *s, struct project *p, struct error *err) {
    cleanup_query struct query q = query_write(s, STORE_STATE, INSERT);
    bind_text(&q, p->workspace);
    bind_text(&q, p->name);
    bind_pairs(&q, &p->config);
    bind_int(&q, p->created_us);
    bind_int(&q, p->updated_us);
    if (query_run(&q, err) < 0) {
        if (query_constraint(&q) == SQLITE_CONSTRAINT_UNIQUE)
            return error_field(err, ERR_CONFLICT, "name", "a project '%s' exists already", p->name);
        return -1;
    }
    p->no = (uint32_t)sqlite3_last_insert_rowid(STATE(s)->h);
    return 0;
}

int store_project_ensure(struct store *s, const char *workspace, const char *name, int64_t at_us,
                         struct project **ret, struct error *err) {
    cleanup_query struct query q = query_write(s, STORE_STATE, ENSURE);
    bind_text(&q, workspace);
    bind_text(&q, name);
    bind_int(&q, at_us);
    if (query_run(&q, err) < 0)
        return -1;
    if (!query_changes(&q))
        return 0;
    struct project *p = project_new();
    p->no = (uint32_t)sqlite3_last_insert_rowid(STATE(s)->h);
    p->workspace = x_strdup(workspace);
    p->name = x_strdup(name);
    p->created_us = p->updated_us = at_us;
    *ret = p;
    return 1;
}

static int no_such_project(struct error *err) {
    return error_field(err, ERR_NOT_FOUND, "project", "there is no such project");
}

static int why_not_updated(struct store *s, const struct project *p, struct error *err) {
    int64_t there;
    cleanup_query struct query q = query_read(s, STORE_STATE, THERE);
    bind_int(&q, p->no);
    if (query_int(&q, 0, &there, err) < 0)
        return -1;
    return there ? error_field(err, ERR_CONFLICT, "project", "project '%s' was changed meanwhile",
                               p->name)
                 : no_such_project(err);
}

int store_project_update(struct store *s, const struct project *p, int64_t was_us,
                         struct error *err) {
    cleanup_query struct query q = query_write(s, STORE_STATE, UPDATE);
    bind_pairs(&q, &p->config);
    bind_int(&q, p->updated_us);
    bind_int(&q, p->no);
    bind_int(&q, was_us);
    if (query_run(&q, err) < 0)
        return -1;
    return query_changes(&q) ? 0 : why_not_updated(s, p, err);
}

int store_project_delete(struct store *s, const struct project *p, struct error *err) {
    int64_t functions;
    cleanup_query struct query has = query_read(s, STORE_STATE, HAS_FUNCTIONS);
    bind_text(&has, p->workspace);
    bind_text(&has, p->name);
    if (query_int(&has, 0, &functions, err) < 0)
        return -1;
    if (functions)
        return error_field(err, ERR_CONFLICT, "project", "project '%s' has functions", p->name);
    cleanup_query struct query q = query_write(s, STORE_STATE, DELETE);
    bind_int(&q, p->no);
    if (query_run(&q, err) < 0)
        return -1;
    return query_changes(&q) ? 0 : no_such_project(err);
}

int store_project_each(struct store *s, void (*visit)(void *arg, struct project *p), void *arg,
                       struct error *err) {
    cleanup_query struct query q = query_read(s, STORE_STATE, EACH);
    int rc;
    while ((rc = query_step(&q, err)) == 1) {
        struct project *p = project_new();
        p->no = read_u32(&q);
        p->workspace = read_text(&q);
        p->name = read_text(&q);
        read_pairs(&q, &p->config);
        p->created_us = read_int(&q);
        p->updated_us = read_int(&q);
        visit(arg, p);
    }
    return rc;
}
