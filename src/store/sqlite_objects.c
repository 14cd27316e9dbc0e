/* SPDX-License-Identifier: Apache-2.0 */
/* Code that lies outside, as objects of S3: where a version's is, and which objects are nobody's.
 * A key is written down as unused before its object is made, and taken off that list in the
 * transaction that makes the version; a trigger puts it back when the version goes. So whatever
 * ends the server, no object is forgotten. */

#include "store/sqlite.h"

static const char NOTE[] = "INSERT INTO objects_unused (key, after_us) VALUES (?,?)";
static const char ABANDON[] = "UPDATE objects_unused SET after_us = 0 WHERE key = ?";
static const char GONE[] = "DELETE FROM objects_unused WHERE key = ?";
static const char LIST[] =
    "SELECT key FROM objects_unused WHERE after_us <= ? ORDER BY after_us LIMIT ?";
static const char SET[] = "UPDATE versions SET code_at = ?, code_len = ? WHERE no = ?";
static const char NO_CODE[] = "DELETE FROM version_codes WHERE version_no = ?";

static int with_key(struct store *s, const char *sql, const char *key, struct error *err) {
    cleanup_query struct query q = query_write(s, STORE_STATE, sql);
    bind_text(&q, key);
    return query_run(&q, err);
}

int store_object_begin(struct store *s, const char *key, int64_t after_us, struct error *err) {
    cleanup_query struct query q = query_write(s, STORE_STATE, NOTE);
    bind_text(&q, key);
    bind_int(&q, after_us);
    return query_run(&q, err);
}

int store_object_abandon(struct store *s, const char *key, struct error *err) {
    return with_key(s, ABANDON, key, err);
}

int store_object_gone(struct store *s, const char *key, struct error *err) {
    return with_key(s, GONE, key, err);
}

int store_objects_unused(struct store *s, int64_t now_us, uint32_t limit,
                         void (*visit)(void *arg, const char *key), void *arg, struct error *err) {
    cleanup_query struct query q = query_read(s, STORE_STATE, LIST);
    int rc;
    bind_int(&q, now_us);
    bind_int(&q, limit);
    while ((rc = query_step(&q, err)) > 0) {
        cleanup_free char *key = read_text(&q);
        visit(arg, key);
    }
    return rc;
}

int store_version_set_object(struct store *s, uint32_t no, const char *key, uint64_t code_len,
                             struct error *err) {
    cleanup_query struct query q = query_write(s, STORE_STATE, SET);
    bind_text(&q, key);
    bind_int(&q, (int64_t)code_len);
    bind_int(&q, no);
    if (query_run(&q, err) < 0)
        return -1;
    cleanup_query struct query c = query_write(s, STORE_STATE, NO_CODE);
    bind_int(&c, no);
    return query_run(&c, err) < 0 ? -1 : with_key(s, GONE, key, err);
}
