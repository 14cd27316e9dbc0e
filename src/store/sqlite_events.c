/* SPDX-License-Identifier: Apache-2.0 */
/* Audit lines. */

#include "store/sqlite.h"

#define EVENTS_PER_FUNCTION_MAX "1000"

static const char INSERT[] = "INSERT INTO events (function_no, created_us, type, description,"
                             " metadata) VALUES (?,?,?,?,?)";
static const char ONCE[] = "INSERT INTO events (function_no, created_us, type, description,"
                           " metadata) SELECT ?1, ?2, ?3, ?4, ?5 WHERE"
                           " EXISTS (SELECT 1 FROM functions WHERE no = ?1) AND NOT EXISTS"
                           " (SELECT 1 FROM events WHERE function_no = ?1 AND type = ?3"
                           " AND metadata = ?5)";
static const char BOUND[] = "DELETE FROM events WHERE function_no = ?1 AND no <="
                            " (SELECT no FROM events WHERE function_no = ?1 ORDER BY no DESC"
                            " LIMIT 1 OFFSET " EVENTS_PER_FUNCTION_MAX ")";
static const char EACH[] = "SELECT no, function_no, created_us, type, description, metadata"
                           " FROM events WHERE function_no = ? AND no < ? ORDER BY no DESC"
                           " LIMIT ?";

static const char OLDEST[] = "SELECT no, created_us FROM events ORDER BY no LIMIT ?";
static const char DELETE_UP_TO[] = "DELETE FROM events WHERE no <= ?";

static int insert(struct store *s, const char *sql, struct event *e, struct error *err) {
    cleanup_query struct query q = query_write(s, STORE_STATE, sql);
    bind_int(&q, e->function_no);
    bind_int(&q, e->created_us);
    bind_text(&q, e->type);
    bind_text(&q, e->description);
    bind_pairs(&q, &e->metadata);
    if (query_run(&q, err) < 0)
        return -1;
    if (!query_changes(&q))
        return 0;
    uint32_t no = (uint32_t)sqlite3_last_insert_rowid(STATE(s)->h);
    cleanup_query struct query bound = query_write(s, STORE_STATE, BOUND);
    bind_int(&bound, e->function_no);
    if (query_run(&bound, err) < 0)
        return -1;
    e->no = no;
    return 0;
}

int store_event_insert(struct store *s, struct event *e, struct error *err) {
    return insert(s, INSERT, e, err);
}

int store_event_once(struct store *s, struct event *e, struct error *err) {
    return insert(s, ONCE, e, err);
}

static void read_event(struct query *q, struct event *e) {
    e->no = read_u32(q);
    e->function_no = read_u32(q);
    e->created_us = read_int(q);
    read_fixed(q, e->type, sizeof(e->type));
    e->description = read_text(q);
    read_pairs(q, &e->metadata);
}

int store_event_each(struct store *s, uint32_t function_no, uint32_t before, uint32_t limit,
                     bool (*visit)(void *arg, const struct event *e), void *arg,
                     struct error *err) {
    cleanup_query struct query q = query_read(s, STORE_STATE, EACH);
    bind_int(&q, function_no);
    bind_int(&q, before);
    bind_int(&q, limit);
    int rc;
    bool more = true;
    while (more && (rc = query_step(&q, err)) != 0) {
        if (rc < 0)
            return -1;
        struct event e = {0};
        read_event(&q, &e);
        more = visit(arg, &e);
        event_done(&e);
    }
    return 0;
}

/* Numbers and times grow together, so the walk ends at the first young line. */
int sqlite_trim_events(struct store *s, int64_t before_us, uint64_t slice, bool *ret_more,
                       struct error *err) {
    int64_t last = 0;
    uint64_t n = 0, max = slice < TRIM_BATCH ? slice : TRIM_BATCH;
    int rc;
    cleanup_query struct query q = query_read(s, STORE_STATE, OLDEST);
    bind_int(&q, (int64_t)max);
    while ((rc = query_step(&q, err)) == 1) {
        int64_t no = read_int(&q);
        if (read_int(&q) >= before_us)
            break;
        last = no;
        n++;
    }
    if (rc < 0)
        return -1;
    *ret_more = n == max;
    if (n == 0)
        return 0;
    query_reset(&q);
    cleanup_query struct query d = query_write(s, STORE_STATE, DELETE_UP_TO);
    bind_int(&d, last);
    return query_run(&d, err);
}
