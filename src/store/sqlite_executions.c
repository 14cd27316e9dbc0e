/* SPDX-License-Identifier: Apache-2.0 */
#include "store/sqlite.h"

static const char PUT[] = "INSERT INTO executions (function_no, id, no, request, response)"
                          " VALUES (?,?,?,?,?) ON CONFLICT (function_no, id) DO UPDATE SET"
                          " no = coalesce(excluded.no, no),"
                          " request = coalesce(excluded.request, request),"
                          " response = coalesce(excluded.response, response)";
static const char GET[] = "SELECT function_no, id, no, request, response FROM executions"
                          " WHERE function_no = ? AND id = ?";

static void bind_body(struct query *q, struct str body) {
    if (body.p)
        bind_blob(q, body.p, body.len);
    else
        bind_text(q, NULL);
}

int store_execution_put(struct store *s, const struct execution *e, struct error *err) {
    cleanup_query struct query q = query_write(s, STORE_HISTORY, PUT);
    bind_int(&q, e->function_no);
    bind_ulid(&q, &e->id);
    if (e->no)
        bind_int(&q, (int64_t)e->no);
    else
        bind_text(&q, NULL);
    bind_body(&q, e->request);
    bind_body(&q, e->response);
    return query_run(&q, err);
}

int store_execution_get(struct store *s, uint32_t function_no, const struct ulid *id,
                        void (*visit)(void *arg, const struct execution *e), void *arg,
                        struct error *err) {
    cleanup_query struct query q = query_read(s, STORE_HISTORY, GET);
    bind_int(&q, function_no);
    bind_ulid(&q, id);
    int rc = query_step(&q, err);
    if (rc < 0)
        return -1;
    if (rc == 0)
        return error_field(err, ERR_NOT_FOUND, "execution", "there is no such execution");
    struct execution e = {.function_no = read_u32(&q)};
    read_ulid(&q, &e.id);
    e.no = (uint64_t)read_int(&q);
    e.request = read_str(&q);
    e.response = read_str(&q);
    visit(arg, &e);
    return 0;
}
