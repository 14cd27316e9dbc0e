/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_STORE_STORE_H
#define KILN_STORE_STORE_H

/* struct store: what survives. One store thread owns the database; every other thread hands it
 * jobs and hears back on its own loop. What is queued when the thread looks is one commit: each job
 * runs inside a savepoint of the group's transaction, so that one that fails takes nothing with it.
 *
 * Two databases under the data folder: `state.db` (functions, versions, triggers, tokens, events,
 * queued async calls; fsynced before a job is done) and `history.db` (invocation records, log
 * lines, metrics; written in bulk, may lose the last moment at a power cut, never at a kill -9 of
 * the server). A job names the one it writes; it may read both. */

#include "base/histogram.h"
#include "loop/loop.h"
#include "model/model.h"

struct store;

enum store_db { STORE_STATE, STORE_HISTORY };

/* Embed it in your own struct; it is yours again when `done` runs. */
struct store_job {
    enum store_db db;
    /* On the store thread, inside the transaction. 0, or -1 with *err: rolled back. */
    int (*run)(struct store_job *job, struct store *s, struct error *err);
    /* On the store thread after the commit, before anyone hears of it; only when run succeeded.
     * For publishing what was stored, in commit order. May be NULL. */
    void (*committed)(struct store_job *job);
    /* On LOOP (or on the store thread when LOOP is NULL); ERR is NULL on success. */
    void (*done)(struct store_job *job, const struct error *err);
    struct loop *loop;
    /* private */
    struct store_job *next;
    struct loop_task task;
    struct error error;
    bool failed;
};

struct store_config {
    const char *url;      /* "sqlite" today; postgres://… later */
    const char *data_dir; /* exists, mode 0700 */
};

/* Opens, migrates forward (a newer schema than ours is an error), starts the thread. */
int store_open(const struct store_config *config, struct store **ret, struct error *err);
/* Runs all queued jobs, checkpoints, ends the thread, closes. */
void store_close(struct store *s);
/* From any thread; jobs of one thread run in order. Jobs without a transaction need (pure reads)
 * use the same way. The queue is bounded by its callers: each keeps few jobs in flight. */
void store_submit(struct store *s, struct store_job *job);
/* Runs RUN in a job of its own and waits for its commit: for worker threads, and before the loops
 * run; never on a loop. 0, or -1 with *ERR (which may be NULL), as RUN or the commit says. */
int store_wait(struct store *s, enum store_db db,
               int (*run)(struct store *s, void *arg, struct error *err), void *arg,
               struct error *err);

struct store_stats {
    uint64_t commits, jobs, commit_ns_total;
    uint64_t state_bytes, history_bytes;
    uint32_t queued;
};
void store_stats(struct store *s, struct store_stats *ret); /* any thread */

/* ------------------------------------------------------------------------------------------
 * What a job may call, on the store thread only. All return 0, or -1 with *err.
 * Visitors return false to stop. Pointers given to visitors live until they return. */

/* functions */
int store_function_insert(struct store *s, struct function *f /* sets no */, struct error *err);
int store_function_update(struct store *s, const struct function *f, struct error *err);
/* With its versions, triggers, events, queued calls; history goes in slices by retention. */
int store_function_delete(struct store *s, uint32_t no, struct error *err);
/* For start-up: ownership of each function passes to the visitor. */
int store_function_each(struct store *s, void (*visit)(void *arg, struct function *f), void *arg,
                        struct error *err);

/* workspaces and projects */
int store_workspace_insert(struct store *s,
                           struct workspace *w /* sets no; id NULL: "ws-<number>" */,
                           struct error *err); /* ERR_CONFLICT: the id is taken */
/* Makes it where there is none: 1 with *RET, 0, -1. The same for projects. */
int store_workspace_ensure(struct store *s, const char *id, int64_t at_us, struct workspace *ret,
                           struct error *err);
/* By id; name and description stay where they are NULL. W is then the whole. */
int store_workspace_update(struct store *s, struct workspace *w, struct error *err);
/* With its projects and functions. */
int store_workspace_delete(struct store *s, const char *id, struct error *err);
/* All, at start-up; the contents pass to the visitor. */
int store_workspace_each(struct store *s, void (*visit)(void *arg, struct workspace *w), void *arg,
                         struct error *err);
int store_project_insert(struct store *s, struct project *p /* sets no */, struct error *err);
int store_project_ensure(struct store *s, const char *workspace, const char *name, int64_t at_us,
                         struct project **ret, struct error *err);
/* ERR_CONFLICT: it is not as it was at WAS_US, its updated_us before this. */
int store_project_update(struct store *s, const struct project *p, int64_t was_us,
                         struct error *err);
/* ERR_CONFLICT while it has functions. */
int store_project_delete(struct store *s, const struct project *p, struct error *err);
/* All, at start-up; ownership passes. */
int store_project_each(struct store *s, void (*visit)(void *arg, struct project *p), void *arg,
                       struct error *err);

/* Numbers that are given out in blocks: *RET is the first of N that nobody else gets. */
int store_counter_reserve(struct store *s, const char *name, uint64_t n, uint64_t *ret,
                          struct error *err);

/* versions */
int store_version_insert(struct store *s, struct version *v /* sets no */, struct str code,
                         struct error *err); /* ERR_CONFLICT when the number is used */
int store_version_get(struct store *s, uint32_t no, struct version *ret, struct error *err);
int store_version_find(struct store *s, uint32_t function_no, uint32_t number, struct version *ret,
                       struct error *err);
/* The one with the highest number, without its build log. */
int store_version_newest(struct store *s, uint32_t function_no, struct version *ret,
                         struct error *err);
/* *RET_AT: the key of the object that it is outside, yours to free, and *RET is NULL then; NULL: it
 * is here. */
int store_version_code(struct store *s, uint32_t no, struct blob **ret, char **ret_at,
                       uint64_t *ret_len, struct error *err);
/* Its code lies outside: what stood here (an empty one) goes, and KEY is in use. */
int store_version_set_object(struct store *s, uint32_t no, const char *key, uint64_t code_len,
                             struct error *err);
/* Objects outside that are, or may be, nobody's. begin: before one is made, to be deleted after
 * AFTER_US unless a version has it by then; abandon: now. A deleted version's are listed by
 * themselves. */
int store_object_begin(struct store *s, const char *key, int64_t after_us, struct error *err);
int store_object_abandon(struct store *s, const char *key, struct error *err);
int store_object_gone(struct store *s, const char *key, struct error *err); /* it is deleted */
int store_objects_unused(struct store *s, int64_t now_us, uint32_t limit,
                         void (*visit)(void *arg, const char *key), void *arg, struct error *err);
int store_version_set_build(struct store *s, uint32_t no, enum build_status b, struct str log,
                            struct error *err);
/* What an image version was resolved to: 0 and *RET_IMAGE (free(), NULL: it is code), *RET_SPEC
 * (a reference; NULL: not yet). The digest stands in the spec. */
int store_version_image(struct store *s, uint32_t no, char **ret_image, char **ret_digest,
                        struct blob **ret_spec, struct error *err);
int store_version_set_image(struct store *s, uint32_t no, const char *digest, struct str spec,
                            struct error *err);
/* Digests of the images that are active versions. */
int store_images_active(struct store *s, void (*visit)(void *arg, const char *digest), void *arg,
                        struct error *err);
/* Highest number first, without their build logs. */
int store_version_each(struct store *s, uint32_t function_no,
                       bool (*visit)(void *arg, const struct version *v), void *arg,
                       struct error *err);

/* triggers */
int store_trigger_insert(struct store *s, struct trigger *t, struct error *err);
int store_trigger_update(struct store *s, const struct trigger *t, struct error *err);
int store_trigger_delete(struct store *s, uint32_t no, struct error *err);
/* Notes that the run that was due at DUE_US is made. ERR_CONFLICT: it, or a later one (of the next
 * day at most: a clock may have been wrong), was noted before, or there is no such trigger that is
 * enabled. */
int store_trigger_run(struct store *s, uint32_t no, int64_t due_us, struct error *err);
int store_trigger_each(struct store *s, void (*visit)(void *arg, struct trigger *t), void *arg,
                       struct error *err); /* all, at start-up; ownership passes */

/* events (audit), newest first; kept by count a function and by age */
int store_event_insert(struct store *s, struct event *e, struct error *err);
/* Where its function still is and has no such line (of this type, with these metadata) yet. */
int store_event_once(struct store *s, struct event *e, struct error *err);
int store_event_each(struct store *s, uint32_t function_no, uint32_t before /* a number */,
                     uint32_t limit, bool (*visit)(void *arg, const struct event *e), void *arg,
                     struct error *err);

/* tokens: only the SHA-256 of a token is stored */
enum role { ROLE_VIEWER = 1, ROLE_INVOKER, ROLE_DEVELOPER, ROLE_ADMIN };
struct token_row {
    uint32_t no;
    uint8_t hash[32];
    char workspace[NAME_MAX_LEN + 1]; /* "" = all: the administrator */
    enum role role;
    char name[NAME_MAX_LEN + 1];
    int64_t created_us;
};
int store_token_put(struct store *s, struct token_row *t, struct error *err); /* by name */
int store_token_each(struct store *s, void (*visit)(void *arg, const struct token_row *t),
                     void *arg, struct error *err);

/* async calls: durable from acceptance to outcome */
enum async_takers {                /* who may run a queued call */
                    ASYNC_WORKERS, /* kiln itself */
                    ASYNC_BOTH,    /* whoever is first: a task too */
                    ASYNC_PULLERS, /* whoever asks for it, kiln never */
};
struct async_call {
    uint64_t seq; /* order of acceptance */
    struct ulid id;
    uint32_t function_no;
    char workspace[NAME_MAX_LEN + 1];
    enum invocation_status status;
    uint32_t attempts;        /* times it was started */
    struct str input;         /* the encoded call: CALL payload of wire.h, deadline 0 */
    struct invocation record; /* once ended */
    uint16_t result_status;
    struct str result_headers; /* JSON object name → [values] */
    struct str result_body;
    enum async_takers takers; /* at insertion */
    uint64_t job_no;          /* of a job; 0: it is none */
    uint8_t job_result_kind;  /* of a job's result_body: enum wire_body */
};
int store_async_insert(struct store *s, struct async_call *c, struct error *err);
/* Oldest pending calls of a function with seq above AFTER; input included. */
int store_async_pending(struct store *s, uint32_t function_no, uint64_t after, uint32_t limit,
                        uint64_t bytes_max, void (*visit)(void *arg, const struct async_call *c),
                        void *arg, struct error *err);
int store_async_start(struct store *s, const struct ulid *id, int64_t at_us, struct error *err);
/* Takes the input out, keeps outcome and result until retention. */
int store_async_finish(struct store *s, const struct async_call *c, struct error *err);
/* ERR_NOT_FOUND when there is none. Strings live until the visitor returns. */
int store_async_get(struct store *s, const struct ulid *id,
                    void (*visit)(void *arg, const struct async_call *c), void *arg,
                    struct error *err);
/* After a start: running becomes pending again; then counts pending per function. */
int store_async_recover(struct store *s,
                        void (*visit)(void *arg, uint32_t function_no, uint64_t pending), void *arg,
                        struct error *err);
/* Pending and running calls of a function with ids below BEFORE, newest first, as records without
 * input; a few more than LIMIT. */
int store_async_open(struct store *s, uint32_t function_no, const struct ulid *before,
                     uint32_t limit, bool (*visit)(void *arg, const struct async_call *c),
                     void *arg, struct error *err);

/* key-value stores of functions; limits KV_… of model.h, whose breach is ERR_QUOTA */
/* *RET_FOUND: VISIT (may be NULL) ran with the value. */
int store_kv_get(struct store *s, uint32_t function_no, struct str store, struct str key,
                 void (*visit)(void *arg, struct str value), void *arg, bool *ret_found,
                 struct error *err);
int store_kv_set(struct store *s, uint32_t function_no, struct str store, struct str key,
                 struct str value, struct error *err); /* ERR_NOT_FOUND: no such function */
int store_kv_delete(struct store *s, uint32_t function_no, struct str store, struct str key,
                    struct error *err); /* of one that is not there: well */
/* In the order of their bytes. */
int store_kv_keys(struct store *s, uint32_t function_no, struct str store,
                  void (*visit)(void *arg, struct str key), void *arg, struct error *err);

/* tasks: queued calls that somebody outside runs. One is handed out with a time until which it is
 * reserved; who has it says when it is done, and shows when it was given to him (its started_us):
 * after that time somebody else may have it. A worker takes none that is reserved. */
#define STORE_TASKS_MAX 100 /* handed out at once */
/* Oldest first: reserves up to LIMIT that nobody has, and marks them running. The first goes
 * whatever its size, further ones while inputs are under BYTES_MAX. */
int store_task_take(struct store *s, uint32_t limit, uint64_t bytes_max, int64_t now_us,
                    int64_t until_us, void (*visit)(void *arg, const struct async_call *c),
                    void *arg, struct error *err);
/* Those whose time is over wait again; visits each that workers may have now. *ret_next_us: when
 * the next one's time is over, 0 = there is none. */
int store_task_expire(struct store *s, int64_t now_us,
                      void (*visit)(void *arg, uint32_t function_no), void *arg,
                      int64_t *ret_next_us, struct error *err);
/* As store_async_finish() for one that was handed out at SINCE_US (0: whenever). ERR_NOT_FOUND;
 * ERR_CONFLICT: not handed out, or to somebody else since. */
int store_task_end(struct store *s, const struct async_call *c, int64_t since_us,
                   struct error *err);
/* Open ones of ASYNC_PULLERS, and their inputs together. */
int store_task_count(struct store *s, uint64_t *ret_n, uint64_t *ret_bytes, struct error *err);

/* jobs: calls with a number (core_job_no()). Queued ones stand with the async calls from acceptance
 * to retention; the others are records and executions of history. */
struct store_job_row {
    uint64_t no;
    struct invocation record; /* status: pending, running, completed, failed */
    struct str result;        /* p NULL: none, or not kept; lives until the visitor returns */
    uint8_t result_kind;      /* of a queued one: enum wire_body; else it is JSON text */
    bool queued;
};
/* ERR_NOT_FOUND, field "job". */
int store_job_get(struct store *s, uint64_t no,
                  void (*visit)(void *arg, const struct store_job_row *j), void *arg,
                  struct error *err);
/* Of a function, highest number first, from below BEFORE (0: the highest) on; of the queued ones,
 * or of the others. */
int store_job_each(struct store *s, bool queued, uint32_t function_no, uint64_t before,
                   bool (*visit)(void *arg, const struct store_job_row *j), void *arg,
                   struct error *err);

/* builder tasks: builds, pushes, deployments */
int store_builder_insert(struct store *s, struct task *t /* sets no */, struct error *err);
int store_builder_update(struct store *s, const struct task *t /* by id */, struct error *err);
int store_builder_get(struct store *s, const char *id, struct task *ret, struct error *err);
/* Newest first, those numbered below BEFORE_NO (0: all), without their logs. */
int store_builder_each(struct store *s, const char *workspace, uint32_t before_no, uint32_t limit,
                       bool (*visit)(void *arg, const struct task *t), void *arg,
                       struct error *err);
/* Those that wait or run, oldest first: at start-up. Ownership passes to the visitor. */
int store_builder_open(struct store *s, void (*visit)(void *arg, struct task *t), void *arg,
                       struct error *err);
/* Ended ones go that are older than BEFORE_US, or beyond the newest KEEP of their workspace; at
 * most SLICE; GONE is told each. */
int store_builder_trim(struct store *s, int64_t before_us, uint32_t keep, uint32_t slice,
                       void (*gone)(void *arg, struct str id, struct str workspace), void *arg,
                       struct error *err);

/* history: records, newest first */
int store_invocations_append(struct store *s, const struct invocation *v, size_t n,
                             struct error *err);
int store_invocation_get(struct store *s, const struct ulid *id, struct invocation *ret,
                         struct error *err); /* ERR_NOT_FOUND */
int store_invocation_each(struct store *s, uint32_t function_no, const struct ulid *before,
                          uint32_t limit, bool (*visit)(void *arg, const struct invocation *v),
                          void *arg, struct error *err);

/* Of one function, older than BEFORE (all zero: from the newest); ids order them. */
int store_invocations_before(struct store *s, uint32_t function_no, const struct ulid *before,
                             bool (*visit)(void *arg, const struct invocation *v), void *arg,
                             struct error *err);
/* How many records a function has, counted up to MAX. */
int store_invocations_count(struct store *s, uint32_t function_no, uint32_t max, uint32_t *ret,
                            struct error *err);
/* Sums of a function's minutes from FIRST_MINUTE on. */
struct store_activity {
    uint64_t invocations, errors, answered_errors, busy_us;
};
int store_activity(struct store *s, uint32_t function_no, int64_t first_minute,
                   struct store_activity *ret, struct error *err);

/* history: executions. An insert of one that is there replaces what it gives (p NULL: keeps). */
int store_execution_put(struct store *s, const struct execution *e, struct error *err);
/* ERR_NOT_FOUND. Strings live until the visitor returns. */
int store_execution_get(struct store *s, uint32_t function_no, const struct ulid *id,
                        void (*visit)(void *arg, const struct execution *e), void *arg,
                        struct error *err);

/* history: log lines */
struct log_filter {
    uint32_t function_no;
    int64_t since_us, until_us; /* 0 = open; since inclusive, until exclusive */
    uint32_t version_number;    /* 0 = any */
    struct ulid invocation;     /* all zero = any */
    uint32_t limit;             /* the newest LIMIT that match … */
};
int store_logs_append(struct store *s, const struct log_line *v, size_t n, struct error *err);
/* … visited oldest first. */
int store_logs_each(struct store *s, const struct log_filter *f,
                    bool (*visit)(void *arg, const struct log_line *l), void *arg,
                    struct error *err);

/* history: metrics, one row a function and minute, merged on write */
struct metric_minute {
    uint32_t function_no;
    int64_t minute; /* since 1970 */
    uint64_t invocations, errors, cold_starts;
    uint64_t gb_us;                            /* memory limit in GB times running µs: for cost */
    uint32_t concurrency_min, concurrency_max; /* calls running at once */
    uint64_t busy_us;           /* sum of running times: avg concurrency = busy / window */
    struct histogram duration;  /* µs of running, completed and failed */
    uint64_t cpu_us;            /* used by its instances, told of in this minute */
    uint64_t memory_peak_bytes; /* the most that one of them had */
    uint64_t answered_errors;   /* calls that completed with a status of 400 or above */
};
/* What add means, for those who sum up minutes too: sums, extremes (concurrency_min only of minutes
 * with calls) and one histogram. */
void metric_minute_add(struct metric_minute *to, const struct metric_minute *m);
int store_metrics_merge(struct store *s, const struct metric_minute *v, size_t n,
                        struct error *err);
int store_metrics_each(struct store *s, uint32_t function_no, int64_t first_minute,
                       int64_t last_minute, bool (*visit)(void *arg, const struct metric_minute *m),
                       void *arg, struct error *err);

/* Retention: deletes at most SLICE rows a call; *ret_more says whether to call again. */
struct retention {
    int64_t history_before_us;  /* older records, logs, finished async calls, metrics go */
    uint64_t history_bytes_max; /* of history.db, and of the results of async calls in state.db */
    uint64_t slice;
};
int store_trim(struct store *s, const struct retention *r, bool *ret_more, struct error *err);

#endif
