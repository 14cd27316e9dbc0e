/* SPDX-License-Identifier: Apache-2.0 */
#include "store/sqlite.h"

#define WHERE_KEY " FROM key_values WHERE function_no = ? AND store = ? AND key = ?"
static const char GET[] = "SELECT value" WHERE_KEY;
static const char LENGTH[] = "SELECT length(value)" WHERE_KEY;
static const char DELETE[] = "DELETE" WHERE_KEY;
static const char SET[] = "INSERT INTO key_values (function_no, store, key, value)"
                          " VALUES (?,?,?,?) ON CONFLICT (function_no, store, key)"
                          " DO UPDATE SET value = excluded.value";
static const char KEYS[] = "SELECT key FROM key_values WHERE function_no = ? AND store = ?"
                           " ORDER BY key";
static const char ADD[] = "INSERT INTO key_value_use (function_no, keys, bytes) VALUES (?,?,?)"
                          " ON CONFLICT (function_no) DO UPDATE SET"
                          " keys = keys + excluded.keys, bytes = bytes + excluded.bytes"
                          " RETURNING keys, bytes";

static void bind_key(struct query *q, uint32_t function_no, struct str store, struct str key) {
    bind_int(q, function_no);
    bind_str(q, store);
    bind_blob(q, key.p, key.len);
}

int store_kv_get(struct store *s, uint32_t function_no, struct str store, struct str key,
                 void (*visit)(void *arg, struct str value), void *arg, bool *ret_found,
                 struct error *err) {
    cleanup_query struct query q = query_read(s, STORE_STATE, visit ? GET : LENGTH);
    bind_key(&q, function_no, store, key);
    int rc = query_step(&q, err);
    if (rc < 0)
        return -1;
    if (rc == 1 && visit)
        visit(arg, read_str(&q));
    *ret_found = rc == 1;
    return 0;
}

/* Length of the value, -1 where there is none. */
static int length_of(struct store *s, uint32_t function_no, struct str store, struct str key,
                     int64_t *ret, struct error *err) {
    cleanup_query struct query q = query_read(s, STORE_STATE, LENGTH);
    bind_key(&q, function_no, store, key);
    return query_int(&q, -1, ret, err);
}

/* Counts what is about to be stored; past a limit the job fails and all of it is undone. */
static int add_use(struct store *s, uint32_t function_no, int64_t keys, int64_t bytes,
                   struct error *err) {
    cleanup_query struct query q = query_write(s, STORE_STATE, ADD);
    bind_int(&q, function_no);
    bind_int(&q, keys);
    bind_int(&q, bytes);
    int rc = query_step(&q, err);
    if (rc < 0 && query_constraint(&q) == SQLITE_CONSTRAINT_FOREIGNKEY)
        return error_field(err, ERR_NOT_FOUND, "function", "the function was deleted");
    if (rc < 0)
        return -1;
    int64_t all_keys = read_int(&q), all_bytes = read_int(&q);
    if (query_step(&q, err) < 0) /* the write itself ends with the last row */
        return query_constraint(&q) == SQLITE_CONSTRAINT_FOREIGNKEY
                   ? error_field(err, ERR_NOT_FOUND, "function", "the function was deleted")
                   : -1;
    if (keys > 0 && all_keys > KV_KEYS_MAX)
        return error_set(err, ERR_QUOTA, "the function has %d keys, the most there may be",
                         KV_KEYS_MAX);
    if (bytes > 0 && all_bytes > (int64_t)KV_BYTES_MAX)
        return error_set(err, ERR_QUOTA, "the function's keys and values would be over %zu bytes",
                         (size_t)KV_BYTES_MAX);
    return 0;
}

int store_kv_set(struct store *s, uint32_t function_no, struct str store, struct str key,
                 struct str value, struct error *err) {
    int64_t old;
    if (length_of(s, function_no, store, key, &old, err) < 0)
        return -1;
    int64_t keys = old < 0, bytes = (int64_t)value.len;
    bytes += old < 0 ? (int64_t)key.len : -old;
    if (add_use(s, function_no, keys, bytes, err) < 0)
        return -1;
    cleanup_query struct query q = query_write(s, STORE_STATE, SET);
    bind_key(&q, function_no, store, key);
    bind_blob(&q, value.p, value.len);
    return query_run(&q, err);
}

int store_kv_delete(struct store *s, uint32_t function_no, struct str store, struct str key,
                    struct error *err) {
    int64_t old;
    if (length_of(s, function_no, store, key, &old, err) < 0)
        return -1;
    if (old < 0)
        return 0;
    if (add_use(s, function_no, -1, -old - (int64_t)key.len, err) < 0)
        return -1;
    cleanup_query struct query q = query_write(s, STORE_STATE, DELETE);
    bind_key(&q, function_no, store, key);
    return query_run(&q, err);
}

int store_kv_keys(struct store *s, uint32_t function_no, struct str store,
                  void (*visit)(void *arg, struct str key), void *arg, struct error *err) {
    cleanup_query struct query q = query_read(s, STORE_STATE, KEYS);
    bind_int(&q, function_no);
    bind_str(&q, store);
    int rc;
    while ((rc = query_step(&q, err)) == 1)
        visit(arg, read_str(&q));
    return rc;
}
