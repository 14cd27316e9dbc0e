/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_STORE_SQLITE_H
#define KILN_STORE_SQLITE_H

/* Inside of the store: the two SQLite databases, their transactions and statements.
 *
 * store.c (thread, queue, groups) uses the sqlite_group_*() half and knows no SQL. The tables, one
 * file sqlite_<table>.c each with its SQL at the top, implement store.h with struct query. Plain
 * functions, not a vtable: there is one backend. A second one implements the same two halves; then
 * store.h's names become a table of pointers. */

#include "store/store.h"
#include <sqlite3.h>

/* A statement is known by the address of its text, which is a static array. */
#define SQLITE_STATEMENTS_MAX 256 /* slots of the cache of one database; power of two */
struct statement {
    const char *sql;
    sqlite3_stmt *st;
};

struct sqlite_db {
    sqlite3 *h;
    const char *file;    /* "state.db" */
    bool in_transaction; /* of the group */
    bool in_savepoint;   /* of the job */
    uint32_t wal_pages;
    struct statement statements[SQLITE_STATEMENTS_MAX];
};

#define STORE_DB_COUNT 2

/* Where the walk of store_trim() stands; see sqlite_trim.c. */
struct trim_state {
    uint32_t function_no; /* next one to look at; 0 = begin a pass */
    int64_t before_us;    /* cut of this pass */
    bool for_bytes;       /* the pass ends as soon as the size fits */
    bool over;            /* it was over the limit and has not come down to the target */
    int64_t oldest_us;    /* oldest row that the pass has left */
    bool oldest_known;    /* a whole pass has looked for it */
};
#define TRIM_BATCH 1024 /* rows of state.db at one call of store_trim() */

struct sqlite {
    struct sqlite_db db[STORE_DB_COUNT];
    bool savepoints;  /* the group has several jobs */
    unsigned touched; /* bit per database that the present job has written to */
    uint64_t log_seq;
    struct trim_state trim;
};

#define SQLITE_PAGE_SIZE 4096

/* ---- opening (sqlite.c) ---- */
int sqlite_open(struct sqlite *q, const char *data_dir, struct error *err);
void sqlite_close(struct sqlite *q); /* checkpoints; safe on a half-opened one */
/* Numbered list: MIGRATIONS[i] leads from version i to i + 1. Each in its own transaction. */
int sqlite_migrate(struct sqlite_db *db, const char *const *migrations, int n, struct error *err);
extern const char *const sqlite_state_migrations[];
extern const int sqlite_state_migrations_n;
extern const char *const sqlite_history_migrations[];
extern const int sqlite_history_migrations_n;

/* ---- groups (sqlite_group.c) ---- */
/* A transaction is begun by the first write to a database and not before, so reading costs no
 * commit. */
void sqlite_group_begin(struct sqlite *q, size_t n_jobs);
void sqlite_job_begin(struct sqlite *q);
/* Keeps or undoes what the job wrote. *RET_TOUCHED: databases it wrote to. Returns the bits of the
 * databases whose whole transaction is gone (disk full, I/O error), with *ERR: every job of the
 * group that touched one has failed. */
unsigned sqlite_job_end(struct sqlite *q, bool failed, unsigned *ret_touched, struct error *err);
/* 0, or -1 with *ERR: nothing of the group reached the database. *RET_WROTE: there was something
 * to commit. */
int sqlite_group_commit(struct sqlite *q, enum store_db db, bool *ret_wrote, struct error *err);
/* Moves the write-ahead log into the database: at once when it is over WAL_PAGES_MAX, and when
 * IDLE. */
#define WAL_PAGES_MAX 2048
void sqlite_checkpoint(struct sqlite *q, bool idle);
bool sqlite_wants_checkpoint(const struct sqlite *q);

/* ---- struct query: one run of a cached statement (sqlite_query.c) ----
 * Values are bound and read in order. The first failure sticks and is told by the next step, so
 * binding needs no checks. Bound memory must live until the query is reset (end of scope). */
struct query {
    struct sqlite_db *db;
    sqlite3_stmt *st;
    int bound, column, rc;
};
/* The cached statement of SQL, or NULL and *RET_RC. */
sqlite3_stmt *sqlite_statement(struct sqlite_db *db, const char *sql, int *ret_rc);
/* Of a statement that only reads. */
struct query query_read(struct store *s, enum store_db db, const char *sql);
/* Of one that writes: joins the transaction of the group and the savepoint of the job. */
struct query query_write(struct store *s, enum store_db db, const char *sql);
void query_reset(struct query *q);
static inline void cleanup_query_p(struct query *q) {
    query_reset(q);
}
#define cleanup_query __attribute__((cleanup(cleanup_query_p)))

void bind_int(struct query *q, int64_t v);
void bind_text(struct query *q, const char *s); /* NULL is NULL */
void bind_str(struct query *q, struct str s);   /* text; p == NULL is NULL */
void bind_blob(struct query *q, const void *p, size_t len);
void bind_ulid(struct query *q, const struct ulid *u);
void bind_pairs(struct query *q, const struct pairs *p);

/* 1 with a row, 0 at the end, -1 with *err. */
int query_step(struct query *q, struct error *err);
/* For statements without rows: runs to the end and resets, so that it can be bound anew. */
int query_run(struct query *q, struct error *err);
/* Which constraint failed last: SQLITE_CONSTRAINT_UNIQUE, …; 0 for none. */
int query_constraint(const struct query *q);
int query_changes(const struct query *q);

int64_t read_int(struct query *q);
uint32_t read_u32(struct query *q);
struct str read_str(struct query *q); /* text or blob; lives until the next step */
char *read_text(struct query *q);     /* a copy, or NULL */
void read_fixed(struct query *q, char *out, size_t size); /* cut to fit, NUL-terminated */
void read_ulid(struct query *q, struct ulid *ret);
void read_pairs(struct query *q, struct pairs *ret);
/* "<file>: <what SQLite says>" under the code that fits RC. */
int sqlite_error(struct sqlite_db *db, int rc, struct error *err);
/* The one integer that SQL yields, DEFAULT_VALUE when it yields nothing. */
int query_int(struct query *q, int64_t default_value, int64_t *ret, struct error *err);

/* ---- shared by tables ---- */
/* The columns of a record from version_number to error_text, in both databases. */
#define RECORD_COLUMNS                                                                             \
    "version_number, source, cause, http_status, cold, created_us, started_us, ended_us,"          \
    " queued_us, starting_us, running_us, error_text"
void bind_record(struct query *q, const struct invocation *v);
void read_record(struct query *q, struct invocation *v);
/* The number of a queued call that has just been inserted, and what kind its result is. */
int sqlite_job_insert(struct store *s, const struct async_call *c, struct error *err);
int sqlite_job_finish(struct store *s, const struct async_call *c, struct error *err);
/* In async_calls.status: waits, and no worker of ours may take it. */
#define SQLITE_PULLERS_ONLY (-1)
int sqlite_task_insert(struct store *s, const struct async_call *c, struct error *err);
int sqlite_task_taken(struct store *s, const struct ulid *id, struct error *err); /* by a worker */
int sqlite_async_visit(struct store *s, int64_t seq,
                       void (*visit)(void *arg, const struct async_call *c), void *arg,
                       struct error *err);
/* Bytes of a database that hold something: pages in use times their size. */
int sqlite_bytes(struct store *s, enum store_db db, uint64_t *ret, struct error *err);
/* Finished async calls that are too old, or whose results are too much, and old events; at most
 * SLICE rows; *RET_MORE: there may be more. */
int sqlite_trim_async(struct store *s, const struct retention *r, bool *ret_more,
                      struct error *err);
int sqlite_trim_events(struct store *s, int64_t before_us, uint64_t slice, bool *ret_more,
                       struct error *err);
struct sqlite *store_sqlite(struct store *s);
#define STATE(s) (&store_sqlite(s)->db[STORE_STATE])

#endif
