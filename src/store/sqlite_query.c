/* SPDX-License-Identifier: Apache-2.0 */
/* Statements: prepared once, bound and read in order. */

#include "base/buf.h"
#include "store/sqlite.h"
#include <assert.h>

/* Whether SQLITE_FULL means the disk or our own ceiling, the user hears the same. */
int sqlite_error(struct sqlite_db *db, int rc, struct error *err) {
    switch (rc & 0xff) {
    case SQLITE_FULL:
        return error_set(err, ERR_UNAVAILABLE,
                         "%s cannot grow: the disk that holds the data folder is full", db->file);
    case SQLITE_IOERR:
        return error_set(err, ERR_INTERNAL, "%s: reading or writing the file failed (%s)", db->file,
                         sqlite3_errstr(rc));
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return error_set(err, ERR_UNAVAILABLE, "%s is in use by another process", db->file);
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
        return error_set(err, ERR_UNAVAILABLE, "%s cannot be opened for writing", db->file);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return error_set(err, ERR_INTERNAL, "%s is damaged or not a database", db->file);
    case SQLITE_TOOBIG:
        return error_set(err, ERR_TOO_LARGE, "the row is larger than %s takes", db->file);
    case SQLITE_CONSTRAINT:
        if (rc == SQLITE_CONSTRAINT_FOREIGNKEY) /* every reference there is leads to a function */
            return error_field(err, ERR_NOT_FOUND, "function", "the function was deleted");
        return error_set(err, ERR_CONFLICT, "%s: the row contradicts another one", db->file);
    default:
        return error_set(err, ERR_INTERNAL, "%s: %s", db->file,
                         db->h ? sqlite3_errmsg(db->h) : sqlite3_errstr(rc));
    }
}

static size_t slot_of(const char *sql) {
    uint64_t h = (uint64_t)(uintptr_t)sql * 0x9e3779b97f4a7c15ull;
    return (size_t)(h >> 56) & (SQLITE_STATEMENTS_MAX - 1);
}

sqlite3_stmt *sqlite_statement(struct sqlite_db *db, const char *sql, int *ret_rc) {
    size_t at = slot_of(sql);
    for (size_t n = 0; db->statements[at].sql != sql; n++) {
        assert(n < SQLITE_STATEMENTS_MAX); /* as many as there are texts in the sources */
        struct statement *slot = &db->statements[at];
        if (!slot->sql) {
            *ret_rc =
                sqlite3_prepare_v3(db->h, sql, -1, SQLITE_PREPARE_PERSISTENT, &slot->st, NULL);
            if (*ret_rc != SQLITE_OK)
                return NULL;
            slot->sql = sql;
            break;
        }
        at = (at + 1) & (SQLITE_STATEMENTS_MAX - 1);
    }
    /* Visitors may not come back to the statement that calls them. */
    *ret_rc = sqlite3_stmt_busy(db->statements[at].st) ? SQLITE_MISUSE : SQLITE_OK;
    return *ret_rc == SQLITE_OK ? db->statements[at].st : NULL;
}

struct query query_read(struct store *s, enum store_db db, const char *sql) {
    struct query q = {.db = &store_sqlite(s)->db[db]};
    q.st = sqlite_statement(q.db, sql, &q.rc);
    return q;
}

/* ---- binding ---- */
static void note(struct query *q, int rc) {
    if (q->rc == SQLITE_OK)
        q->rc = rc;
}

void bind_int(struct query *q, int64_t v) {
    if (q->st)
        note(q, sqlite3_bind_int64(q->st, ++q->bound, v));
}

void bind_str(struct query *q, struct str s) {
    if (q->st)
        note(q, sqlite3_bind_text64(q->st, ++q->bound, s.p, s.len, SQLITE_STATIC, SQLITE_UTF8));
}

void bind_text(struct query *q, const char *s) {
    bind_str(q, str_of(s));
}

void bind_blob(struct query *q, const void *p, size_t len) {
    if (q->st)
        note(q, sqlite3_bind_blob64(q->st, ++q->bound, len ? p : "", len, SQLITE_STATIC));
}

void bind_ulid(struct query *q, const struct ulid *u) {
    bind_blob(q, u->b, sizeof(u->b));
}

#define PAIRS_JSON_MAX (8 * MIB) /* every byte escaped, of the largest set that a check lets by */

void bind_pairs(struct query *q, const struct pairs *p) {
    cleanup_buf struct buf json = BUF_INIT(PAIRS_JSON_MAX);
    if (!q->st)
        return;
    if (pairs_to_json(p, &json) < 0) {
        note(q, SQLITE_TOOBIG);
        return;
    }
    note(q,
         sqlite3_bind_text64(q->st, ++q->bound, json.p, json.len, SQLITE_TRANSIENT, SQLITE_UTF8));
}

/* ---- running ---- */
int query_step(struct query *q, struct error *err) {
    if (!q->st || q->rc != SQLITE_OK) {
        if (q->rc == SQLITE_OK)
            q->rc = SQLITE_MISUSE;
        return sqlite_error(q->db, q->rc, err);
    }
    q->column = 0;
    int rc = sqlite3_step(q->st);
    if (rc == SQLITE_ROW)
        return 1;
    if (rc == SQLITE_DONE)
        return 0;
    q->rc = sqlite3_extended_errcode(q->db->h);
    return sqlite_error(q->db, q->rc, err);
}

int query_run(struct query *q, struct error *err) {
    int rc = query_step(q, err);
    if (q->st)
        (void)sqlite3_reset(q->st);
    q->bound = 0;
    return rc < 0 ? -1 : 0;
}

void query_reset(struct query *q) {
    if (!q->st)
        return;
    (void)sqlite3_reset(q->st);
    (void)sqlite3_clear_bindings(q->st);
    q->st = NULL;
}

int query_constraint(const struct query *q) {
    return (q->rc & 0xff) == SQLITE_CONSTRAINT ? q->rc : 0;
}

int query_changes(const struct query *q) {
    return sqlite3_changes(q->db->h);
}

int query_int(struct query *q, int64_t default_value, int64_t *ret, struct error *err) {
    int rc = query_step(q, err);
    if (rc < 0)
        return -1;
    *ret = rc == 1 && sqlite3_column_type(q->st, 0) != SQLITE_NULL ? sqlite3_column_int64(q->st, 0)
                                                                   : default_value;
    return 0;
}

/* ---- reading ---- */
int64_t read_int(struct query *q) {
    return sqlite3_column_int64(q->st, q->column++);
}

uint32_t read_u32(struct query *q) {
    return (uint32_t)read_int(q);
}

struct str read_str(struct query *q) {
    int column = q->column++;
    const void *p = sqlite3_column_blob(q->st, column);
    size_t len = (size_t)sqlite3_column_bytes(q->st, column);
    if (!p && sqlite3_column_type(q->st, column) != SQLITE_NULL)
        p = "";
    return str_n(p, len);
}

char *read_text(struct query *q) {
    struct str s = read_str(q);
    return s.p ? str_dup(s) : NULL;
}

void read_fixed(struct query *q, char *out, size_t size) {
    struct str s = read_str(q);
    size_t n = s.len < size ? s.len : size - 1;
    if (s.p && n)
        memcpy(out, s.p, n);
    out[n] = '\0';
}

void read_ulid(struct query *q, struct ulid *ret) {
    struct str s = read_str(q);
    *ret = (struct ulid){{0}};
    if (s.p && s.len == sizeof(ret->b))
        memcpy(ret->b, s.p, s.len);
}

/* What we wrote ourselves reads back; a damaged row reads as no pairs. */
void read_pairs(struct query *q, struct pairs *ret) {
    struct error ignored;
    (void)pairs_from_json(ret, read_str(q), &ignored);
}
