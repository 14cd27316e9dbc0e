/* SPDX-License-Identifier: Apache-2.0 */
/* Transactions: one of the group in each database it writes to, a savepoint for each job. */

#include "store/sqlite.h"

static const char BEGIN[] = "BEGIN IMMEDIATE";
static const char COMMIT[] = "COMMIT";
static const char ROLLBACK[] = "ROLLBACK";
static const char SAVE[] = "SAVEPOINT job";
static const char KEEP[] = "RELEASE job";
static const char UNDO[] = "ROLLBACK TO job";

static int exec(struct sqlite_db *db, const char *sql) {
    int rc;
    sqlite3_stmt *st = sqlite_statement(db, sql, &rc);
    if (!st)
        return rc;
    (void)sqlite3_step(st);
    return sqlite3_reset(st);
}

/* A full disk makes SQLite give the whole transaction up by itself. */
static bool transaction_gone(const struct sqlite_db *db) {
    return db->in_transaction && sqlite3_get_autocommit(db->h);
}

struct query query_write(struct store *s, enum store_db which, const char *sql) {
    struct sqlite *q = store_sqlite(s);
    struct sqlite_db *db = &q->db[which];
    struct query ret = {.db = db};
    if (!db->in_transaction) {
        ret.rc = exec(db, BEGIN);
        db->in_transaction = ret.rc == SQLITE_OK;
    }
    if (ret.rc == SQLITE_OK && q->savepoints && !db->in_savepoint) {
        ret.rc = exec(db, SAVE);
        db->in_savepoint = ret.rc == SQLITE_OK;
    }
    /* what follows a lost transaction must not be written outside of one */
    if (ret.rc == SQLITE_OK && transaction_gone(db))
        ret.rc = SQLITE_ABORT_ROLLBACK;
    q->touched |= 1u << which;
    if (ret.rc == SQLITE_OK)
        ret.st = sqlite_statement(db, sql, &ret.rc);
    return ret;
}

void sqlite_group_begin(struct sqlite *q, size_t n_jobs) {
    q->savepoints = n_jobs > 1;
    q->touched = 0;
}

void sqlite_job_begin(struct sqlite *q) {
    q->touched = 0;
}

static int end_savepoint(struct sqlite_db *db, bool failed) {
    int rc = SQLITE_OK;
    if (failed)
        rc = exec(db, UNDO);
    if (rc == SQLITE_OK)
        rc = exec(db, KEEP);
    return rc;
}

/* Undoes the job in DB; false when that took the group's transaction along. */
static bool end_job_in(struct sqlite_db *db, bool failed, bool several, struct error *err) {
    int rc = SQLITE_OK;
    if (!db->in_transaction)
        return true;
    if (!transaction_gone(db) && db->in_savepoint)
        rc = end_savepoint(db, failed);
    db->in_savepoint = false;
    if (rc == SQLITE_OK && failed && !several && !transaction_gone(db)) {
        (void)exec(db, ROLLBACK);
        db->in_transaction = false;
        return true;
    }
    if (rc == SQLITE_OK && !transaction_gone(db))
        return true;
    if (rc != SQLITE_OK || err->code == ERR_NONE)
        (void)sqlite_error(db, rc == SQLITE_OK ? SQLITE_FULL : rc, err);
    if (!sqlite3_get_autocommit(db->h))
        (void)exec(db, ROLLBACK);
    db->in_transaction = false;
    return false;
}

unsigned sqlite_job_end(struct sqlite *q, bool failed, unsigned *ret_touched, struct error *err) {
    unsigned gone = 0;
    for (int i = 0; i < STORE_DB_COUNT; i++) {
        if ((q->touched & 1u << i) && !end_job_in(&q->db[i], failed, q->savepoints, err))
            gone |= 1u << i;
    }
    *ret_touched = q->touched;
    return gone;
}

int sqlite_group_commit(struct sqlite *q, enum store_db which, bool *ret_wrote, struct error *err) {
    struct sqlite_db *db = &q->db[which];
    *ret_wrote = db->in_transaction;
    if (!db->in_transaction)
        return 0;
    int rc = exec(db, COMMIT);
    if (rc != SQLITE_OK) {
        (void)sqlite_error(db, rc, err);
        if (!sqlite3_get_autocommit(db->h))
            (void)exec(db, ROLLBACK);
    }
    db->in_transaction = false;
    return rc == SQLITE_OK ? 0 : -1;
}

bool sqlite_wants_checkpoint(const struct sqlite *q) {
    return q->db[STORE_STATE].wal_pages || q->db[STORE_HISTORY].wal_pages;
}

void sqlite_checkpoint(struct sqlite *q, bool idle) {
    for (int i = 0; i < STORE_DB_COUNT; i++) {
        struct sqlite_db *db = &q->db[i];
        if (!db->wal_pages || (!idle && db->wal_pages < WAL_PAGES_MAX))
            continue;
        /* A failure is no loss: the log is kept and tried again after the next commit. */
        (void)sqlite3_wal_checkpoint_v2(db->h, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
        db->wal_pages = 0;
    }
}
