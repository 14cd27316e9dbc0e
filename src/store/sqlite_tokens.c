/* SPDX-License-Identifier: Apache-2.0 */
#include "store/sqlite.h"

/* A name means one token of its workspace: put again, the old one is void. */
static const char PUT[] = "INSERT INTO tokens (workspace, name, role, created_us, hash)"
                          " VALUES (?,?,?,?,?) ON CONFLICT (workspace, name) DO UPDATE SET"
                          " role = excluded.role, created_us = excluded.created_us,"
                          " hash = excluded.hash RETURNING no";
static const char EACH[] = "SELECT no, workspace, name, role, created_us, hash FROM tokens"
                           " ORDER BY no";

int store_token_put(struct store *s, struct token_row *t, struct error *err) {
    cleanup_query struct query q = query_write(s, STORE_STATE, PUT);
    bind_text(&q, t->workspace);
    bind_text(&q, t->name);
    bind_int(&q, t->role);
    bind_int(&q, t->created_us);
    bind_blob(&q, t->hash, sizeof(t->hash));
    if (query_step(&q, err) < 0)
        return -1;
    uint32_t no = read_u32(&q);
    if (query_step(&q, err) < 0) /* the write itself ends with the last row */
        return -1;
    t->no = no;
    return 0;
}

int store_token_each(struct store *s, void (*visit)(void *arg, const struct token_row *t),
                     void *arg, struct error *err) {
    cleanup_query struct query q = query_read(s, STORE_STATE, EACH);
    int rc;
    while ((rc = query_step(&q, err)) == 1) {
        struct token_row t = {.no = read_u32(&q)};
        read_fixed(&q, t.workspace, sizeof(t.workspace));
        read_fixed(&q, t.name, sizeof(t.name));
        t.role = (enum role)read_int(&q);
        t.created_us = read_int(&q);
        struct str hash = read_str(&q);
        if (hash.len == sizeof(t.hash)) {
            memcpy(t.hash, hash.p, hash.len);
            visit(arg, &t);
        }
    }
    return rc;
}
