/* SPDX-License-Identifier: Apache-2.0 */
/* Retention. A pass walks over all functions that have history, a slice at each call, and deletes
 * what is older than the pass's cut; the store serves others between two calls. The cut is the age
 * limit. Where history.db is over its limit of bytes, further passes move the cut forward by an
 * eighth of the time between the oldest row (which the pass before has seen) and now, and end as
 * soon as the size fits: nearly oldest first over all functions, without an index by time. */

#include "base/clock.h"
#include "store/sqlite.h"

#define FUNCTIONS_A_CALL   256
#define EVENTS_AGE_US      (90 * 24 * 3600 * 1000000LL)
#define MINUTE_US          60000000LL
#define STEP_MIN_US        1000000LL
#define STATE_PAGES_KEPT   2048 /* queued calls come and go */
#define HISTORY_PAGES_KEPT 64
#define FREE_PAGES_A_CALL  1024

static const char NEXT_FUNCTION[] =
    "SELECT min(n) FROM (SELECT min(function_no) AS n FROM invocations WHERE function_no >= ?1"
    " UNION ALL SELECT min(function_no) FROM executions WHERE function_no >= ?1"
    " UNION ALL SELECT min(function_no) FROM log_lines WHERE function_no >= ?1"
    " UNION ALL SELECT min(function_no) FROM metrics WHERE function_no >= ?1)";
static const char EXISTS[] = "SELECT 1 FROM functions WHERE no = ?";

static const char PAGES[] = "PRAGMA page_count";
static const char FREE_PAGES[] = "PRAGMA freelist_count";
static const char VACUUM[] = "PRAGMA incremental_vacuum(1024)";

/* ?1 function, ?2 cut, ?3 how many. */
static const char DELETE_LINES[] =
    "DELETE FROM log_lines WHERE function_no = ?1 AND (at_us, seq) <= (SELECT at_us, seq FROM"
    " (SELECT at_us, seq FROM log_lines WHERE function_no = ?1 AND at_us < ?2"
    " ORDER BY at_us, seq LIMIT ?3) ORDER BY at_us DESC, seq DESC LIMIT 1)";
static const char DELETE_INVOCATIONS[] =
    "DELETE FROM invocations WHERE function_no = ?1 AND id <= (SELECT max(id) FROM"
    " (SELECT id FROM invocations WHERE function_no = ?1 AND id < ?2 ORDER BY id LIMIT ?3))";
static const char DELETE_EXECUTIONS[] =
    "DELETE FROM executions WHERE function_no = ?1 AND id <= (SELECT max(id) FROM"
    " (SELECT id FROM executions WHERE function_no = ?1 AND id < ?2 ORDER BY id LIMIT ?3))";
static const char DELETE_METRICS[] =
    "DELETE FROM metrics WHERE function_no = ?1 AND minute <= (SELECT max(minute) FROM"
    " (SELECT minute FROM metrics WHERE function_no = ?1 AND minute < ?2"
    " ORDER BY minute LIMIT ?3))";
static const char OLDEST_LINE[] = "SELECT min(at_us) FROM log_lines WHERE function_no = ?";
static const char OLDEST_INVOCATION[] = "SELECT min(id) FROM invocations WHERE function_no = ?";
static const char OLDEST_METRIC[] = "SELECT min(minute) FROM metrics WHERE function_no = ?";

int sqlite_bytes(struct store *s, enum store_db db, uint64_t *ret, struct error *err) {
    int64_t pages, free_pages;
    cleanup_query struct query all = query_read(s, db, PAGES);
    cleanup_query struct query unused = query_read(s, db, FREE_PAGES);
    if (query_int(&all, 0, &pages, err) < 0 || query_int(&unused, 0, &free_pages, err) < 0)
        return -1;
    *ret = (uint64_t)(pages - free_pages) * SQLITE_PAGE_SIZE;
    return 0;
}

/* The smallest id born at US: ids begin with 48 bits of milliseconds, highest byte first. */
static struct ulid ulid_floor(int64_t us) {
    struct ulid u = {{0}};
    uint64_t ms = us < 0 ? 0 : (uint64_t)us / 1000;
    for (int i = 0; i < 6; i++)
        u.b[i] = ms >> 48 ? 0xff : (uint8_t)(ms >> (40 - 8 * i));
    return u;
}

/* ---- one function ---- */
static int run_delete(struct query *q, uint64_t *budget, struct error *err) {
    bind_int(q, (int64_t)*budget);
    if (query_run(q, err) < 0)
        return -1;
    uint64_t gone = (uint64_t)query_changes(q);
    *budget -= gone < *budget ? gone : *budget;
    return 0;
}

/* What of FUNCTION_NO is older than CUT_US, at most *BUDGET rows. */
static int delete_before(struct store *s, uint32_t function_no, int64_t cut_us, uint64_t *budget,
                         struct error *err) {
    struct ulid floor = ulid_floor(cut_us);
    cleanup_query struct query lines = query_write(s, STORE_HISTORY, DELETE_LINES);
    bind_int(&lines, function_no);
    bind_int(&lines, cut_us);
    if (run_delete(&lines, budget, err) < 0)
        return -1;
    if (!*budget)
        return 0;
    cleanup_query struct query invocations = query_write(s, STORE_HISTORY, DELETE_INVOCATIONS);
    bind_int(&invocations, function_no);
    bind_ulid(&invocations, &floor);
    if (run_delete(&invocations, budget, err) < 0)
        return -1;
    if (!*budget)
        return 0;
    cleanup_query struct query executions = query_write(s, STORE_HISTORY, DELETE_EXECUTIONS);
    bind_int(&executions, function_no);
    bind_ulid(&executions, &floor);
    if (run_delete(&executions, budget, err) < 0)
        return -1;
    if (!*budget)
        return 0;
    cleanup_query struct query metrics = query_write(s, STORE_HISTORY, DELETE_METRICS);
    bind_int(&metrics, function_no);
    bind_int(&metrics, cut_us / MINUTE_US);
    return run_delete(&metrics, budget, err);
}

/* Time of the oldest row of FUNCTION_NO, INT64_MAX when it has none. */
static int oldest_of(struct store *s, uint32_t function_no, int64_t *ret_us, struct error *err) {
    int64_t line, minute, oldest = INT64_MAX;
    struct ulid id;
    cleanup_query struct query a = query_read(s, STORE_HISTORY, OLDEST_LINE);
    bind_int(&a, function_no);
    if (query_int(&a, INT64_MAX, &line, err) < 0)
        return -1;
    cleanup_query struct query b = query_read(s, STORE_HISTORY, OLDEST_METRIC);
    bind_int(&b, function_no);
    if (query_int(&b, INT64_MAX, &minute, err) < 0)
        return -1;
    cleanup_query struct query c = query_read(s, STORE_HISTORY, OLDEST_INVOCATION);
    bind_int(&c, function_no);
    int rc = query_step(&c, err);
    if (rc < 0)
        return -1;
    if (rc == 1 && sqlite3_column_type(c.st, 0) != SQLITE_NULL) {
        read_ulid(&c, &id);
        oldest = (int64_t)ulid_ms(&id) * 1000;
    }
    /* A minute can go when it is over. By its beginning, the present one would hold the cut back,
     * and nothing that is younger would ever go. */
    if (minute != INT64_MAX && (minute + 1) * MINUTE_US < oldest)
        oldest = (minute + 1) * MINUTE_US;
    *ret_us = line < oldest ? line : oldest;
    return 0;
}

/* ---- the pass ---- */
static uint64_t bytes_target(const struct retention *r) {
    return r->history_bytes_max - r->history_bytes_max / 16; /* not to be back at once */
}

/* Down to the target once it is over the limit. */
static int look_at_size(struct store *s, const struct retention *r, struct error *err) {
    struct trim_state *t = &store_sqlite(s)->trim;
    uint64_t bytes;
    if (sqlite_bytes(s, STORE_HISTORY, &bytes, err) < 0)
        return -1;
    if (bytes > r->history_bytes_max)
        t->over = true;
    else if (bytes <= bytes_target(r))
        t->over = false;
    return 0;
}

static int begin_pass(struct store *s, const struct retention *r, struct error *err) {
    struct trim_state *t = &store_sqlite(s)->trim;
    if (look_at_size(s, r, err) < 0)
        return -1;
    int64_t cut = r->history_before_us, now = clock_real_us();
    t->for_bytes = false;
    if (t->oldest_known && t->over) {
        int64_t step = (now - t->oldest_us) / 8;
        int64_t moved = t->oldest_us + (step > STEP_MIN_US ? step : STEP_MIN_US);
        t->for_bytes = moved > cut;
        cut = moved > cut ? moved : cut;
    }
    t->before_us = cut;
    t->oldest_us = INT64_MAX;
    t->oldest_known = false;
    t->function_no = 1;
    return 0;
}

/* Deletes from the function the walk has come to; *BUDGET 0 afterwards: it is not done with. */
static int trim_function(struct store *s, uint32_t function_no, uint64_t *budget,
                         struct error *err) {
    struct trim_state *t = &store_sqlite(s)->trim;
    int64_t exists, oldest;
    cleanup_query struct query q = query_read(s, STORE_STATE, EXISTS);
    bind_int(&q, function_no);
    if (query_int(&q, 0, &exists, err) < 0)
        return -1;
    if (delete_before(s, function_no, exists ? t->before_us : INT64_MAX, budget, err) < 0)
        return -1;
    if (!*budget)
        return 0;
    if (oldest_of(s, function_no, &oldest, err) < 0)
        return -1;
    if (oldest < t->oldest_us)
        t->oldest_us = oldest;
    return 0;
}

/* *RET_DONE: the last function was seen, or enough was deleted. */
static int walk(struct store *s, const struct retention *r, bool *ret_done, struct error *err) {
    struct trim_state *t = &store_sqlite(s)->trim;
    uint64_t budget = r->slice ? r->slice : 1;
    for (int i = 0; i < FUNCTIONS_A_CALL && budget; i++) {
        int64_t next;
        cleanup_query struct query q = query_read(s, STORE_HISTORY, NEXT_FUNCTION);
        bind_int(&q, t->function_no);
        if (query_int(&q, 0, &next, err) < 0)
            return -1;
        if (next == 0) {
            t->oldest_known = t->oldest_us != INT64_MAX;
            *ret_done = true;
            return 0;
        }
        t->function_no = (uint32_t)next;
        if (trim_function(s, t->function_no, &budget, err) < 0)
            return -1;
        if (budget)
            t->function_no++;
        if (t->for_bytes && look_at_size(s, r, err) < 0)
            return -1;
        if (t->for_bytes && !t->over) {
            *ret_done = true;
            return 0;
        }
    }
    *ret_done = false;
    return 0;
}

static int trim_history(struct store *s, const struct retention *r, bool *ret_more,
                        struct error *err) {
    struct trim_state *t = &store_sqlite(s)->trim;
    bool done;
    if (t->function_no == 0 && begin_pass(s, r, err) < 0)
        return -1;
    if (walk(s, r, &done, err) < 0)
        return -1;
    *ret_more = !done;
    if (!done)
        return 0;
    t->function_no = 0;
    if (look_at_size(s, r, err) < 0)
        return -1;
    *ret_more = t->oldest_known && t->over;
    return 0;
}

/* Gives free pages of DB back to the file system, but for KEEP, which the next rows will take. */
static int shrink(struct store *s, enum store_db db, int64_t keep, bool *ret_more,
                  struct error *err) {
    int64_t pages;
    cleanup_query struct query q = query_read(s, db, FREE_PAGES);
    if (query_int(&q, 0, &pages, err) < 0)
        return -1;
    query_reset(&q);
    *ret_more = pages > keep + FREE_PAGES_A_CALL;
    if (pages <= keep)
        return 0;
    cleanup_query struct query v = query_write(s, db, VACUUM);
    int rc;
    while ((rc = query_step(&v, err)) == 1)
        ;
    return rc;
}

int store_trim(struct store *s, const struct retention *r, bool *ret_more, struct error *err) {
    bool history = false, calls = false, events = false, state_pages = false, pages = false;
    if (trim_history(s, r, &history, err) < 0 || sqlite_trim_async(s, r, &calls, err) < 0 ||
        sqlite_trim_events(s, clock_real_us() - EVENTS_AGE_US, r->slice, &events, err) < 0 ||
        shrink(s, STORE_STATE, STATE_PAGES_KEPT, &state_pages, err) < 0 ||
        shrink(s, STORE_HISTORY, HISTORY_PAGES_KEPT, &pages, err) < 0)
        return -1;
    *ret_more = history || calls || events || state_pages || pages;
    return 0;
}
