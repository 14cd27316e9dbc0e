/* SPDX-License-Identifier: Apache-2.0 */
/* Records looked at from a point backwards, and sums over them. */

#include "store/sqlite.h"

static const char BEFORE[] = "SELECT function_no, id, status, " RECORD_COLUMNS " FROM invocations"
                             " WHERE function_no = ?1 AND id < ?2"
                             " ORDER BY id DESC";
static const char COUNT[] =
    "SELECT count(*) FROM (SELECT 1 FROM invocations WHERE function_no = ? LIMIT ?)";
static const char SUMS[] =
    "SELECT total(invocations), total(errors), total(answered_errors), total(busy_us) FROM metrics"
    " WHERE function_no = ? AND minute >= ?";

int store_invocations_before(struct store *s, uint32_t function_no, const struct ulid *before,
                             bool (*visit)(void *arg, const struct invocation *v), void *arg,
                             struct error *err) {
    static const struct ulid NONE;
    /* A constant above every id, so that the index serves both. */
    struct ulid top;
    memset(top.b, 0xff, sizeof(top.b));
    bool open = memcmp(before, &NONE, sizeof(NONE)) == 0;
    cleanup_query struct query q = query_read(s, STORE_HISTORY, BEFORE);
    bind_int(&q, function_no);
    bind_ulid(&q, open ? &top : before);
    int rc;
    bool more = true;
    while (more && (rc = query_step(&q, err)) != 0) {
        if (rc < 0)
            return -1;
        struct invocation v = {.function_no = read_u32(&q)};
        read_ulid(&q, &v.id);
        v.status = (enum invocation_status)read_int(&q);
        read_record(&q, &v);
        more = visit(arg, &v);
    }
    return 0;
}

int store_invocations_count(struct store *s, uint32_t function_no, uint32_t max, uint32_t *ret,
                            struct error *err) {
    int64_t n;
    cleanup_query struct query q = query_read(s, STORE_HISTORY, COUNT);
    bind_int(&q, function_no);
    bind_int(&q, max);
    if (query_int(&q, 0, &n, err) < 0)
        return -1;
    *ret = (uint32_t)n;
    return 0;
}

int store_activity(struct store *s, uint32_t function_no, int64_t first_minute,
                   struct store_activity *ret, struct error *err) {
    cleanup_query struct query q = query_read(s, STORE_HISTORY, SUMS);
    bind_int(&q, function_no);
    bind_int(&q, first_minute);
    int rc = query_step(&q, err);
    if (rc < 0)
        return -1;
    *ret = (struct store_activity){0};
    if (rc == 1) {
        ret->invocations = (uint64_t)read_int(&q);
        ret->errors = (uint64_t)read_int(&q);
        ret->answered_errors = (uint64_t)read_int(&q);
        ret->busy_us = (uint64_t)read_int(&q);
    }
    return 0;
}
