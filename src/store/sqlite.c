/* SPDX-License-Identifier: Apache-2.0 */
/* Opening the two databases: files, pragmas, migrations. */

#include "store/sqlite.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>

/* Before SQLite's first use in the process. Only the store thread uses a connection, and the whole
 * server must stay small: no statistics (a lock an allocation), little lookaside. */
static void configure_library(void) {
    (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    (void)sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 512, 64);
}

/* Locking: with locking_mode=EXCLUSIVE the connection keeps an fcntl(2) lock from its first
 * transaction on, which a killed process loses and a forked one does not get; the index of the
 * write-ahead log is then plain memory and no third file is needed. */
static const char PRAGMAS[] = "PRAGMA page_size = 4096;"
                              "PRAGMA auto_vacuum = INCREMENTAL;"
                              "PRAGMA locking_mode = EXCLUSIVE;"
                              "PRAGMA journal_mode = WAL;"
                              "PRAGMA wal_autocheckpoint = 0;"
                              "PRAGMA journal_size_limit = 8388608;"
                              "PRAGMA cache_size = -1024;"
                              "PRAGMA mmap_size = 0;"
                              "PRAGMA temp_store = MEMORY;"
                              "PRAGMA foreign_keys = ON;"
                              "PRAGMA trusted_schema = OFF;"
                              "BEGIN IMMEDIATE; COMMIT;";

/* NORMAL writes the log without fsync: a kill of the process loses nothing, as the bytes are the
 * kernel's by then; a power cut may lose the end of the log, and leaves a sound database. */
struct db_kind {
    const char *file;
    const char *pragmas;
    const char *const *migrations;
    const int *n_migrations;
};
static const struct db_kind KINDS[STORE_DB_COUNT] = {
    [STORE_STATE] = {"state.db", "PRAGMA synchronous = FULL;", sqlite_state_migrations,
                     &sqlite_state_migrations_n},
    [STORE_HISTORY] = {"history.db", "PRAGMA synchronous = NORMAL;", sqlite_history_migrations,
                       &sqlite_history_migrations_n},
};

#define BUSY_MS 300 /* a server that is just ending */

static int on_wal(void *arg, sqlite3 *h, const char *name, int pages) {
    (void)h;
    (void)name;
    ((struct sqlite_db *)arg)->wal_pages = (uint32_t)pages;
    return SQLITE_OK;
}

/* Makes the file first, so that it and the log that takes its mode are never readable to others.
 * An existing one is not opened here: closing it would drop the process's locks on it. */
static int make_private_file(const char *path, struct error *err) {
    cleanup_close int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 && errno != EEXIST)
        return error_errno(err, -errno, path);
    if (fd < 0 && chmod(path, 0600) < 0)
        return error_errno(err, -errno, path);
    return 0;
}

static int run_sql(struct sqlite_db *db, const char *sql, struct error *err) {
    int rc = sqlite3_exec(db->h, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : sqlite_error(db, sqlite3_extended_errcode(db->h), err);
}

static int read_version(struct sqlite_db *db, int *ret, struct error *err) {
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(db->h, "PRAGMA user_version", -1, &st, NULL);
    if (rc == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW)
        *ret = sqlite3_column_int(st, 0);
    rc = sqlite3_finalize(st);
    return rc == SQLITE_OK ? 0 : sqlite_error(db, rc, err);
}

static int migrate_one(struct sqlite_db *db, const char *sql, int to, struct error *err) {
    char set_version[64];
    (void)snprintf(set_version, sizeof(set_version), "PRAGMA user_version = %d", to);
    if (run_sql(db, "BEGIN IMMEDIATE", err) == 0 && run_sql(db, sql, err) == 0 &&
        run_sql(db, set_version, err) == 0 && run_sql(db, "COMMIT", err) == 0)
        return 0;
    (void)sqlite3_exec(db->h, "ROLLBACK", NULL, NULL, NULL);
    return error_prepend(err, "migration to version %d", to);
}

int sqlite_migrate(struct sqlite_db *db, const char *const *migrations, int n, struct error *err) {
    int version = 0;
    if (read_version(db, &version, err) < 0)
        return -1;
    if (version > n)
        return error_set(err, ERR_CONFLICT,
                         "%s was written by a newer kiln (schema %d, this one knows %d): use that "
                         "kiln or another data folder",
                         db->file, version, n);
    for (; version < n; version++) {
        if (migrate_one(db, migrations[version], version + 1, err) < 0)
            return -1;
    }
    return 0;
}

static int in_use(const char *data_dir, struct error *err) {
    return error_set(err, ERR_CONFLICT, "data folder %s is in use by another kiln", data_dir);
}

static int open_db(struct sqlite_db *db, const struct db_kind *kind, const char *data_dir,
                   struct error *err) {
    cleanup_free char *path = x_asprintf("%s/%s", data_dir, kind->file);
    db->file = kind->file;
    if (make_private_file(path, err) < 0)
        return -1;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    int rc = sqlite3_open_v2(path, &db->h, flags, NULL);
    if (rc != SQLITE_OK)
        return sqlite_error(db, rc, err);
    (void)sqlite3_busy_timeout(db->h, BUSY_MS);
    (void)sqlite3_db_config(db->h, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    if (run_sql(db, kind->pragmas, err) < 0 || run_sql(db, PRAGMAS, err) < 0) {
        rc = sqlite3_errcode(db->h) & 0xff;
        return rc == SQLITE_BUSY || rc == SQLITE_LOCKED ? in_use(data_dir, err) : -1;
    }
    (void)sqlite3_wal_hook(db->h, on_wal, db);
    return sqlite_migrate(db, kind->migrations, *kind->n_migrations, err);
}

int sqlite_open(struct sqlite *q, const char *data_dir, struct error *err) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, configure_library);
    for (int i = 0; i < STORE_DB_COUNT; i++) {
        if (open_db(&q->db[i], &KINDS[i], data_dir, err) < 0)
            return -1;
    }
    return 0;
}

static void close_db(struct sqlite_db *db) {
    for (size_t i = 0; i < SQLITE_STATEMENTS_MAX; i++)
        (void)sqlite3_finalize(db->statements[i].st);
    memset(db->statements, 0, sizeof(db->statements));
    (void)sqlite3_close(db->h); /* checkpoints and removes the log */
    db->h = NULL;
}

void sqlite_close(struct sqlite *q) {
    for (int i = 0; i < STORE_DB_COUNT; i++)
        close_db(&q->db[i]);
}
