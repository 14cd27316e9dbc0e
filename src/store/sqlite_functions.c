/* SPDX-License-Identifier: Apache-2.0 */
#include "store/sqlite.h"

#define COLUMNS                                                                                    \
    "workspace, project, name, runtime, kind, handler, memory, cpu, memory_bytes, cpu_milli,"      \
    " timeout_ms, min_instances, max_instances, network, status, active_no, active_number,"        \
    " previous_no, previous_number, last_number, created_us, updated_us, deployed_us, env,"        \
    " labels, annotations, title, methods, async, image, format, reply_headers"

static const char INSERT[] = "INSERT INTO functions (" COLUMNS ") VALUES"
                             " (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)";
static const char UPDATE[] = "UPDATE functions SET (" COLUMNS ") ="
                             " (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
                             " WHERE no = ?";
static const char EACH[] = "SELECT no, " COLUMNS " FROM functions ORDER BY no";
static const char DELETE[] = "DELETE FROM functions WHERE no = ?";
static const char DELETE_EVENTS[] =
    "DELETE FROM events WHERE function_no = ? AND type <> 'deleted'";

static void bind_function(struct query *q, const struct function *f) {
    bind_text(q, f->workspace);
    bind_text(q, f->project);
    bind_text(q, f->name);
    bind_text(q, f->runtime);
    bind_int(q, f->kind);
    bind_text(q, f->handler);
    bind_text(q, f->memory);
    bind_text(q, f->cpu);
    bind_int(q, (int64_t)f->memory_bytes);
    bind_int(q, f->cpu_milli);
    bind_int(q, f->timeout_ms);
    bind_int(q, f->min_instances);
    bind_int(q, f->max_instances);
    bind_int(q, f->network);
    bind_int(q, f->status);
    bind_int(q, f->active_no);
    bind_int(q, f->active_number);
    bind_int(q, f->previous_no);
    bind_int(q, f->previous_number);
    bind_int(q, f->last_number);
    bind_int(q, f->created_us);
    bind_int(q, f->updated_us);
    bind_int(q, f->deployed_us);
    bind_pairs(q, &f->env);
    bind_pairs(q, &f->labels);
    bind_pairs(q, &f->annotations);
    bind_text(q, f->title);
    bind_text(q, f->methods);
    bind_int(q, f->async);
    bind_text(q, f->image);
    bind_int(q, f->format);
    bind_text(q, f->reply_headers);
}

static struct function *read_function(struct query *q) {
    struct function *f = function_new();
    f->no = read_u32(q);
    f->workspace = read_text(q);
    f->project = read_text(q);
    f->name = read_text(q);
    f->runtime = read_text(q);
    f->kind = (enum runtime_kind)read_int(q);
    f->handler = read_text(q);
    f->memory = read_text(q);
    f->cpu = read_text(q);
    f->memory_bytes = (uint64_t)read_int(q);
    f->cpu_milli = read_u32(q);
    f->timeout_ms = read_u32(q);
    f->min_instances = read_u32(q);
    f->max_instances = read_u32(q);
    f->network = (enum network_kind)read_int(q);
    f->status = (enum function_status)read_int(q);
    f->active_no = read_u32(q);
    f->active_number = read_u32(q);
    f->previous_no = read_u32(q);
    f->previous_number = read_u32(q);
    f->last_number = read_u32(q);
    f->created_us = read_int(q);
    f->updated_us = read_int(q);
    f->deployed_us = read_int(q);
    read_pairs(q, &f->env);
    read_pairs(q, &f->labels);
    read_pairs(q, &f->annotations);
    f->title = read_text(q);
    f->methods = read_text(q);
    f->async = read_int(q) != 0;
    f->image = read_text(q);
    f->format = (enum image_format)read_int(q);
    f->reply_headers = read_text(q);
    return f;
}

/* Says which name is taken where that was the failure. */
static int explain(const struct query *q, const struct function *f, struct error *err) {
    if (query_constraint(q) != SQLITE_CONSTRAINT_UNIQUE)
        return -1;
    return error_field(err, ERR_CONFLICT, "name",
                       "a function named '%s' exists in project '%s' already", function_title(f),
                       f->project);
}

static int no_such_function(struct error *err) {
    return error_field(err, ERR_NOT_FOUND, "function", "there is no such function");
}

int store_function_insert(struct store *s, struct function *f, struct error *err) {
    cleanup_query struct query q = query_write(s, STORE_STATE, INSERT);
    bind_function(&q, f);
    if (query_run(&q, err) < 0)
        return explain(&q, f, err);
    f->no = (uint32_t)sqlite3_last_insert_rowid(STATE(s)->h);
    return 0;
}

int store_function_update(struct store *s, const struct function *f, struct error *err) {
    cleanup_query struct query q = query_write(s, STORE_STATE, UPDATE);
    bind_function(&q, f);
    bind_int(&q, f->no);
    if (query_run(&q, err) < 0)
        return explain(&q, f, err);
    return query_changes(&q) ? 0 : no_such_function(err);
}

int store_function_delete(struct store *s, uint32_t no, struct error *err) {
    cleanup_query struct query q = query_write(s, STORE_STATE, DELETE);
    bind_int(&q, no);
    if (query_run(&q, err) < 0)
        return -1;
    if (!query_changes(&q))
        return no_such_function(err);
    cleanup_query struct query events = query_write(s, STORE_STATE, DELETE_EVENTS);
    bind_int(&events, no);
    return query_run(&events, err);
}

int store_function_each(struct store *s, void (*visit)(void *arg, struct function *f), void *arg,
                        struct error *err) {
    cleanup_query struct query q = query_read(s, STORE_STATE, EACH);
    int rc;
    while ((rc = query_step(&q, err)) == 1)
        visit(arg, read_function(&q));
    return rc;
}
