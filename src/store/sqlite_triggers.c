/* SPDX-License-Identifier: Apache-2.0 */
#include "store/sqlite.h"

static const char INSERT[] = "INSERT INTO triggers (function_no, name, type, enabled, created_us,"
                             " updated_us, config) VALUES (?,?,?,?,?,?,?)";
static const char UPDATE[] = "UPDATE triggers SET (function_no, name, type, enabled, created_us,"
                             " updated_us, config) = (?,?,?,?,?,?,?) WHERE no = ?";
static const char DELETE[] = "DELETE FROM triggers WHERE no = ?";
static const char EACH[] = "SELECT no, function_no, name, type, enabled, created_us, updated_us,"
                           " config FROM triggers ORDER BY no";

static const char RUN[] = "INSERT INTO trigger_runs (trigger_no, due_us)"
                          " SELECT no, ? FROM triggers WHERE no = ? AND enabled"
                          " ON CONFLICT (trigger_no) DO UPDATE SET due_us = excluded.due_us"
                          " WHERE excluded.due_us > due_us"
                          " OR due_us > excluded.due_us + 86400000000";

static int no_such_trigger(struct error *err) {
    return error_field(err, ERR_NOT_FOUND, "trigger", "there is no such trigger");
}

static int explain(const struct query *q, const struct trigger *t, struct error *err) {
    switch (query_constraint(q)) {
    case SQLITE_CONSTRAINT_UNIQUE:
        return error_field(err, ERR_CONFLICT, "name",
                           "a trigger named '%s' exists on the function already", t->name);
    case SQLITE_CONSTRAINT_FOREIGNKEY:
        return error_field(err, ERR_NOT_FOUND, "function", "there is no such function");
    default:
        return -1;
    }
}

static void bind_trigger(struct query *q, const struct trigger *t) {
    bind_int(q, t->function_no);
    bind_text(q, t->name);
    bind_int(q, t->type);
    bind_int(q, t->enabled);
    bind_int(q, t->created_us);
    bind_int(q, t->updated_us);
    bind_pairs(q, &t->config);
}

int store_trigger_insert(struct store *s, struct trigger *t, struct error *err) {
    cleanup_query struct query q = query_write(s, STORE_STATE, INSERT);
    bind_trigger(&q, t);
    if (query_run(&q, err) < 0)
        return explain(&q, t, err);
    t->no = (uint32_t)sqlite3_last_insert_rowid(STATE(s)->h);
    return 0;
}

int store_trigger_update(struct store *s, const struct trigger *t, struct error *err) {
    cleanup_query struct query q = query_write(s, STORE_STATE, UPDATE);
    bind_trigger(&q, t);
    bind_int(&q, t->no);
    if (query_run(&q, err) < 0)
        return explain(&q, t, err);
    return query_changes(&q) ? 0 : no_such_trigger(err);
}

int store_trigger_delete(struct store *s, uint32_t no, struct error *err) {
    cleanup_query struct query q = query_write(s, STORE_STATE, DELETE);
    bind_int(&q, no);
    if (query_run(&q, err) < 0)
        return -1;
    return query_changes(&q) ? 0 : no_such_trigger(err);
}

int store_trigger_run(struct store *s, uint32_t no, int64_t due_us, struct error *err) {
    cleanup_query struct query q = query_write(s, STORE_STATE, RUN);
    bind_int(&q, due_us);
    bind_int(&q, no);
    if (query_run(&q, err) < 0)
        return -1;
    return query_changes(&q)
               ? 0
               : error_field(err, ERR_CONFLICT, "trigger", "the run was made, or is not to be");
}

static struct trigger *read_trigger(struct query *q) {
    struct trigger *t = trigger_new();
    t->no = read_u32(q);
    t->function_no = read_u32(q);
    t->name = read_text(q);
    t->type = (enum trigger_type)read_int(q);
    t->enabled = read_int(q) != 0;
    t->created_us = read_int(q);
    t->updated_us = read_int(q);
    read_pairs(q, &t->config);
    return t;
}

int store_trigger_each(struct store *s, void (*visit)(void *arg, struct trigger *t), void *arg,
                       struct error *err) {
    cleanup_query struct query q = query_read(s, STORE_STATE, EACH);
    int rc;
    while ((rc = query_step(&q, err)) == 1)
        visit(arg, read_trigger(&q));
    return rc;
}
