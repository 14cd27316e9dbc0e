/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_CORE_INTERNAL_H
#define KILN_CORE_INTERNAL_H

/* What the files of core share.
 *
 *   struct core       one a server
 *   struct core_loop  core's part on one loop, touched by that thread alone
 *   struct core_fn    a function in the registry: counted references; what it points at is
 *                     immutable and swapped under the registry's lock
 *   struct change     one change of one function. Changes of a function take turns, so each sees
 *                     what the one before it has published; functions do not wait for each other
 *   struct ask        one question to the store, after every loop has handed over its history
 *
 * Locks are held for a few instructions, never while calling out, and never two at once. */

#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "core/core.h"
#include "core/schedule.h"
#include "loop/work.h"
#include "oci/oci.h"
#include <pthread.h>

#define HISTORY_FLUSH_MS        100u        /* a record waits this long for company */
#define HISTORY_BATCH_RECORDS   512         /* or until there are so many */
#define HISTORY_BATCH_BYTES     (256 * KIB) /* or so much text */
#define HISTORY_IN_FLIGHT_MAX   2u          /* batches of a loop with the store */
#define HISTORY_PENDING_MAX     (16 * MIB)  /* text of log lines a loop holds; then the oldest go */
#define HISTORY_LINES_MAX       (128 * 1024) /* and how many lines */
#define HISTORY_RECORDS_MAX     (128 * 1024) /* records a loop holds while the store fails */
#define HISTORY_RETRY_MS        1000u        /* before a failed batch is tried again */
#define MINUTE_SLOTS            256          /* functions whose minute is found at once */
#define CODE_CACHE_MAX          (8 * MIB)
#define PULL_AGAIN_MS           5000u /* an image that could not be fetched is not asked for more often */
#define BUILDS_RUNNING_MAX      2u     /* of code; and as many images that are fetched */
#define CODE_CHECKS_RUNNING_MAX 2u     /* builds that are only tried, a loop */
#define CODE_CHECKS_WAITING_MAX 256u   /* and those that wait for one to end */
#define CALL_BUILD_WAIT_MS      30000u /* a call waits this long for a first build */
#define ASYNC_PENDING_MAX       1000000 /* queued calls, whole server; and as many for pullers only */
#define TASKS_BYTES_MAX         (1 * GIB) /* inputs that wait for pullers */
#define ASYNC_FETCH_MAX         16u       /* calls of a function fetched at once */
#define ASYNC_FETCH_BYTES       (4 * MIB)
#define ASYNC_RETRY_FIRST_MS    100u /* first pause after "busy" */
#define ASYNC_RETRY_MAX_MS      10000u
#define FOLLOW_BYTES_MAX        (8 * MIB) /* text a follower may have waiting */
#define RETENTION_EVERY_MS      60000u
#define RETENTION_SLICE         2000u
#define HEALTH_FRESH_MS         1000u /* a good answer is reused for this long */
#define TOKENS_MAX              10000u
#define LOGS_READ_MAX           (64 * MIB) /* text of one answer of core_logs() */
#define READ_ROWS_MAX           100000u    /* rows of any one answer */
#define US_PER_MINUTE           INT64_C(60000000)
#define USAGE_LOOK_MAX          32u /* instances a loop looks at for one question */

struct core_loop;

/* ---- places.c (places.h) ---- */
struct place_project {
    struct project *project;
    char *key; /* of the map of names */
    size_t key_len;
};
struct places {
    pthread_rwlock_t lock;
    struct workspace **workspaces; /* oldest first */
    size_t n_workspaces, cap_workspaces;
    struct place_project **projects; /* oldest first */
    size_t n_projects, cap_projects;
    struct map by_id;   /* workspaces */
    struct map by_name; /* workspace NUL project → place_project */
};

/* ---- execution_keep.c ---- */
struct job_numbers {
    pthread_mutex_t lock;
    uint64_t next, end; /* those that are reserved and not given out */
    bool reserving;
    struct store_job job;
};

/* ---- usage.c ---- */
struct fn_totals { /* since the start */
    _Atomic uint64_t invocations, errors, cold_starts, running_us, cpu_us;
    _Atomic int64_t memory_bytes; /* now */
};
void core_on_usage(void *user, struct loop *loop, const struct deployment *d,
                   const struct engine_usage *delta);

/* ---- registry.c ---- */
struct core_fn {
    _Atomic uint32_t refs;
    _Atomic uint32_t running; /* calls submitted and not ended, all loops */
    struct fn_totals totals;
    uint32_t no;
    _Atomic uint32_t invoked;       /* version that was called last: its first call is an event */
    _Atomic bool gone;              /* deleted */
    _Atomic bool pulling_again;     /* calls wait for it */
    _Atomic uint64_t pull_again_ns; /* not before */
    char *key;                      /* of the map of names; under registry.lock as all below */
    size_t key_len;
    struct function *function;
    struct deployment *deployment; /* of the active version; NULL before one */
    struct trigger **triggers;     /* newest first */
    size_t n_triggers;
    struct list changes; /* waiting for their turn; under core.turns_lock */
    bool changing;
};
struct registry {
    pthread_rwlock_t lock;
    struct core_fn **v; /* by number, ascending */
    size_t n, cap;
    struct map names;  /* workspace NUL project NUL name → core_fn */
    struct map routes; /* path → struct route */
};
void registry_init(struct registry *r);
void registry_done(struct registry *r);
struct core_fn *core_fn_new(struct function *f /* taken */);
struct core_fn *core_fn_ref(struct core_fn *fn);
void core_fn_unref(struct core_fn *fn);
struct core_fn *registry_find(struct registry *r, uint32_t no); /* a reference or NULL */
/* Both at once, for the path of a call: one lock. */
struct core_fn *registry_resolve(struct registry *r, uint32_t no, struct function **ret_f,
                                 struct deployment **ret_d);
/* References to what FN shows now; the deployment may be NULL. */
struct function *registry_view(struct registry *r, struct core_fn *fn, struct deployment **ret);
void registry_add(struct registry *r, struct core_fn *fn /* takes a reference */);
void registry_remove(struct core *c, struct core_fn *fn);

/* A deployment of F's version with the config of its project. */
struct deployment *core_deployment(struct core *c, struct function *f, uint32_t version_no,
                                   uint32_t version_number);

/* What a change makes visible, in one step. All pointers are taken. */
struct publication {
    struct function *function; /* NULL: as before */
    bool set_deployment;
    struct deployment *deployment; /* NULL: none any more */
    bool set_triggers;
    struct trigger **triggers;
    size_t n_triggers;
};
/* Swaps, tells the engine, and lets waiting calls look again. Any thread. */
void registry_publish(struct core *c, struct core_fn *fn, struct publication *p);
/* References to the triggers of FN: an array for free(), N long. */
struct trigger **registry_triggers(struct registry *r, struct core_fn *fn, size_t *ret_n);
void triggers_free(struct trigger **v, size_t n);

/* ---- routes.c: under registry.lock ---- */
void routes_add(struct map *routes, struct core_fn *fn); /* fn->triggers */
void routes_remove(struct map *routes, struct core_fn *fn);
void routes_done(struct map *routes);

/* ---- change.c ---- */
struct change {
    struct core *core;
    struct core_fn *fn; /* a reference; NULL while it is being made */
    struct loop *loop;
    struct principal who;
    /* On `loop`, holding the function's turn. 0 or -1 with *err. May be NULL. */
    int (*prepare)(struct change *ch, struct error *err);
    int (*run)(struct change *ch, struct store *s, struct error *err); /* store thread */
    void (*publish)(struct change *ch);                                /* store thread */
    void (*finish)(struct change *ch, const struct error *err); /* on `loop`; frees the change */
    bool nothing; /* set by prepare: there is nothing to store, finish well */
    /* New code, which is put where code is kept before `run` is called. Borrowed. */
    struct blob *code; /* or NULL */
    const struct function *code_of;
    uint32_t code_number; /* of the version; prepare may set it */
    /* private */
    struct store_job job;
    struct loop_task task;
    struct list link;
    struct error error;
    bool has_turn;
    struct work work;
    struct upload *uploading;
    char *code_at; /* key of the object that the code is; NULL: it goes into the store */
};
/* Sets core, loop, who (NULL: kiln itself) and fn (by number; ERR_NOT_FOUND later). */
void change_init(struct change *ch, struct core *c, struct loop *loop, const struct principal *who,
                 uint32_t function_no);
void change_start(struct change *ch);
void change_fail(struct change *ch, const struct error *err); /* instead of start */
void change_done(struct change *ch);                          /* what init took */
/* One line in the audit, in the transaction of the change. NUMBER 0: not about a version. */
int change_event(struct change *ch, struct store *s, uint32_t function_no, const char *type,
                 uint32_t number, struct error *err, const char *description, ...)
    PRINTF_LIKE(7, 8);

/* ---- ask.c ---- */
struct ask {
    struct core *core;
    struct loop *loop;
    int (*read)(struct ask *a, struct store *s, struct error *err); /* store thread */
    void (*answer)(struct ask *a, const struct error *err);         /* on `loop`; frees */
    /* Where `read` has set `far`: on a worker thread, after it, may block. May be NULL. */
    int (*fetch)(struct ask *a, struct error *err);
    bool far;
    bool look;              /* ask_after_history(): first looks at what instances of … use … */
    uint32_t look_function; /* … this function; 0: all */
    /* private */
    struct store_job job;
    _Atomic size_t left;
    struct ask_part *parts;
    struct work work;
    struct error error;
};
void ask_start(struct ask *a);         /* reads at once */
void ask_after_history(struct ask *a); /* reads after every loop has handed over its history */

/* ---- build.c, build_wait.c ---- */
struct build {
    struct change change; /* what its outcome changes */
    struct engine_build engine;
    struct core_loop *cl;
    uint32_t version_no, number;
    char *image;   /* that it is, or NULL: code */
    char *digest;  /* that it was resolved to */
    bool check;    /* only a question: nothing is stored */
    bool activate; /* when it is good */
    bool ok;
    char *log;
    struct function *next; /* set by prepare */
    struct function *base; /* what next was cloned from */
    struct list link;      /* queued or running; under builds.lock */
    struct list waiters;
    struct loop_task task;
};
enum build_kind { BUILD_CODE, BUILD_IMAGE, BUILD_KINDS };
struct builds {
    pthread_mutex_t lock;
    struct list queue[BUILD_KINDS]; /* a registry that is slow holds up images only */
    struct list running;
    uint32_t n_running[BUILD_KINDS];
    uint32_t next_loop;
    bool stopped;
};
/* Waits for a build, on LOOP, at most CORE_BUILD_WAIT_MS. Embedded; zero it and set over. */
struct build_wait {
    void (*over)(struct build_wait *w, bool in_time); /* on loop, later */
    bool ok;                                          /* in time: did it succeed? */
    char *log;                                        /* its log, or NULL; yours to free */
    struct core *core;
    struct loop *loop;
    struct loop_timer timer;
    struct loop_task task;
    struct list link;
};
/* F: what to load it with; IMAGE: what it is where it is no code, else NULL. WAIT may be NULL; it
 * is attached before the build can end. */
void build_enqueue(struct core *c, struct core_fn *fn, struct function *f, uint32_t version_no,
                   uint32_t number, const char *image, bool activate, bool check,
                   struct build_wait *wait, struct loop *loop);
/* A call wants FN, whose image could not be fetched: perhaps its registry is there by now. False:
 * it is no such function, or was tried a moment ago. */
bool build_again(struct core *c, struct loop *loop, struct core_fn *fn, const struct function *f);
/* A version that is not being built is over at once, with ok false. */
void build_wait_for(struct core *c, struct build_wait *w, struct loop *loop, uint32_t version_no);
void build_wait_attach(struct build_wait *w, struct core *c, struct loop *loop, struct list *to);
void build_wait_wake(struct core *c, struct list *waiters, bool ok, const char *log);
void builds_init(struct builds *b);
void builds_done(struct builds *b);
void builds_stop(struct core *c);
struct build *builds_find(struct builds *b, uint32_t version_no); /* under lock */

/* ---- objects.c: code that lies in S3 ---- */
/* The code that a change brings is to be kept outside: does that, then THEN on its loop. */
bool upload_wanted(const struct change *ch);
void upload_start(struct change *ch, void (*then)(struct change *ch, const struct error *err));
/* In the change's `run`: V's code is the object. Nothing where it was not uploaded. */
int upload_used(struct change *ch, struct store *s, struct version *v, struct error *err);
/* What store_version_insert() is to be given. */
struct str upload_rest(const struct change *ch, struct str code);
void upload_over(struct change *ch, bool failed); /* at its end */
/* Code of a version: here, or to be fetched. */
struct code_slot {
    uint32_t version_no;
    struct blob *code; /* NULL: it lies at… */
    char *at;
    uint64_t len;
};
int code_slot_read(struct store *s, uint32_t version_no, struct code_slot *ret, struct error *err);
int code_slot_fetch(struct core *c, struct code_slot *slot, struct error *err); /* blocks */
void code_slot_done(struct code_slot *slot);
#define OBJECTS_SWEEP_MS  60000u
#define OBJECTS_SWEEP_MAX 64u
#define OBJECT_UPLOAD_US                                                                           \
    INT64_C(3600000000) /* an upload that is not a version's by then is none                       \
                         */
struct objects {        /* deletes what is nobody's; on loops[0] */
    struct core *core;
    struct loop_timer timer;
    struct loop_task kick;
    _Atomic bool kicked;
    struct store_job job;
    struct work work;
    bool busy, again;
    char *keys[OBJECTS_SWEEP_MAX];
    bool gone[OBJECTS_SWEEP_MAX];
    size_t n;
};
void objects_start(struct core *c);
void objects_stop(struct core *c);
void objects_kick(struct core *c); /* something may have become nobody's; any thread */

/* ---- code_cache.c ---- */
/* A reference, or NULL. Of code, not of images. Any thread. */
struct blob *code_cache_get(struct core *c, uint32_t version_no);
struct code_cache {
    pthread_mutex_t lock;
    struct map by_version;
    struct list lru, fetching;
    size_t bytes;
};
void code_cache_init(struct code_cache *cc);
void code_cache_done(struct code_cache *cc);
/* DIGEST: of the image whose spec CODE is; NULL: it is code. */
void code_cache_put(struct core *c, uint32_t version_no, struct blob *code, const char *digest);
/* As engine_config.fetch_code. */
void code_fetch(void *user, struct loop *loop, uint32_t version_no,
                void (*ready)(void *arg, struct blob *code, const struct error *err), void *arg);

/* ---- images.c ---- */
/* Pulls what an image version is, on a worker thread. DONE on LOOP, later: its digest and spec
 * (oci/oci.h), or why not; LOG is for who built it. */
void image_pull(struct core *c, struct loop *loop, uint32_t version_no,
                void (*done)(void *arg, const struct error *err, const char *digest,
                             struct blob *spec, struct str log),
                void *arg);
/* READY, at once or later, when the image is in the cache (again). */
void image_load(struct core *c, struct loop *loop, uint32_t version_no, const char *digest,
                struct blob *spec,
                void (*ready)(void *arg, struct blob *code, const struct error *err), void *arg);

/* ---- kv.c ---- */
void kv_ask(void *user, struct loop *loop, struct engine_kv *kv); /* as engine_config.kv */

/* ---- history.c ---- */
struct history_batch {
    struct store_job job;
    struct core_loop *cl;
    struct invocation *records;
    size_t n_records, cap_records;
    struct log_line *lines; /* message.p is an offset in text until the batch is sealed */
    size_t n_lines, cap_lines;
    struct buf text;
    struct metric_minute *minutes;
    size_t n_minutes, cap_minutes;
    struct execution *executions; /* their bodies are copies */
    size_t n_executions, cap_executions, execution_bytes;
    struct loop_timer retry;
    struct list link; /* in history.failed while it waits for the timer */
};
struct history {
    struct history_batch *filling; /* or NULL */
    struct history_batch *spare[HISTORY_IN_FLIGHT_MAX];
    struct list failed;
    struct loop_timer timer;
    uint32_t in_flight;
    uint64_t lines_dropped, records_dropped;
    struct {
        uint32_t function_no, index;
        int64_t minute;
    } slots[MINUTE_SLOTS];
};
void history_init(struct core_loop *cl);
void history_done(struct core_loop *cl);
void history_record(struct core_loop *cl, const struct invocation *v);
void history_line(struct core_loop *cl, const struct log_line *l);
void history_execution(struct core_loop *cl, const struct execution *e);
/* The row of the function's present minute, to be added to. */
struct metric_minute *history_minute(struct core_loop *cl, uint32_t function_no, int64_t minute);
void history_flush(struct core_loop *cl); /* now, however many are in flight */

/* ---- execution_keep.c ---- */
#define JOBS_RESERVED (64 * KIB) /* numbers that are taken from the store at once */
int jobs_init(struct core *c, struct store *s, struct error *err); /* before the loops run */

/* ---- events.c ---- */
/* The audit has one line about the first call of each version. */
void event_invoked(struct core_loop *cl, struct core_fn *fn, uint32_t version_number);

/* ---- calls.c ---- */
/* Everything that one ended call leaves: record, minute, a line when it was killed. Takes it off
 * fn->running. */
void call_account(struct core_loop *cl, struct core_fn *fn, const struct deployment *d,
                  const struct invocation *v, const char *instance);
void call_record(struct invocation *v, const struct ulid *id, const struct deployment *d,
                 enum invocation_source source, int64_t created_us, const struct engine_result *r);
void calls_look_again(struct core_loop *cl); /* those that wait for a build */
void calls_init(struct core_loop *cl);

/* ---- logs.c, logs_follow.c ---- */
void core_on_log(void *user, struct loop *loop, const struct deployment *d, const struct ulid *call,
                 const char *instance, enum log_line_level level, struct str text);
struct followers {
    _Atomic uint32_t n;
    pthread_mutex_t lock;
    struct list list;
};
void followers_init(struct followers *f);
void followers_done(struct followers *f);
void followers_tell(struct core *c, const struct log_line *l);

/* ---- async.c, async_run.c ---- */
struct async_fn {     /* a function with queued calls, on the loop that runs them */
    struct list link; /* in async.ready while something may be fetched */
    uint64_t key;     /* the function's number */
    int64_t pending;  /* told of and not yet fetched */
    uint32_t running; /* fetched and not finished */
    bool fetching;
};
struct async {
    struct map fns;
    struct list ready;
    struct list resting; /* async_run.link: wait before they are tried again */
    uint32_t running, running_max;
    bool pumping;
    struct loop_timer timer;
};
void async_init(struct core_loop *cl);
void async_done(struct core_loop *cl);
void async_pump(struct core_loop *cl);
/* COUNT calls more are pending. From any thread. */
void async_tell(struct core *c, uint32_t function_no, uint64_t count);
struct async_run { /* one queued call that was fetched */
    struct list link;
    struct core_loop *cl;
    struct async_fn *afn;
    struct core_fn *fn;
    struct deployment *deployment;
    struct engine_call engine;
    struct ulid id;
    enum invocation_source source;
    int64_t created_us;
    uint32_t retry_ms;
    uint64_t rest_until_ns;
    struct buf head, body;
    struct async_call outcome;
    struct buf headers, result; /* of the outcome */
    struct error error;
    struct store_job job;
};
struct async_run *async_run_new(struct core_loop *cl, struct async_fn *afn, struct core_fn *fn,
                                const struct async_call *c);
void async_run_submit(struct async_run *run);
void async_run_free(struct async_run *run);
void async_run_over(struct async_run *run); /* frees, goes on with the next */
void async_resting_wake(struct core_loop *cl, uint64_t now_ns);

/* ---- tasks.c ---- */
struct tasks {
    struct loop_timer timer; /* on loops[0]: the reservation that ends next */
    /* Those for pullers only, and their inputs together; store thread; may be too high, never too
     * low. */
    uint64_t open, open_bytes;
    uint64_t recount_ns;
};
enum async_takers tasks_takers(const struct function *f);
/* On the store thread: is there room for one more that only pullers take? */
int tasks_admit(struct core *c, struct store *s, uint64_t bytes, struct error *err);
void tasks_init(struct core *c);
void tasks_start(struct core *c);

/* ---- retention.c ---- */
struct retention_job {
    struct store_job job;
    struct core *core;
    bool more, busy;
    struct loop_timer timer;
};
void retention_start(struct core *c); /* on loops[0] */
void retention_stop(struct core *c);

/* ---- auth.c ---- */
struct auth {
    struct token_row *tokens;
    size_t n, cap;
};
int auth_load(struct core *c, struct error *err);

/* ---- core.c ---- */
struct core_loop {
    struct core *core;
    struct loop *loop;
    struct engine_loop *el;
    uint32_t index;
    struct history history;
    struct list waiting; /* core_call.link, in order of coming */
    struct loop_timer waiting_timer;
    struct async async;
    struct list checks; /* code_check.link, waiting */
    uint32_t checks_running, checks_waiting;
    struct loop_task look_again;
    _Atomic bool look_again_posted;
    struct loop_task started;
};
struct pending_count {
    uint32_t function_no;
    uint64_t pending;
};
struct core {
    struct core_config config;
    struct store *store;
    struct engine *engine;
    struct loop **loops;
    size_t n_loops;
    struct core_loop *on;
    struct registry registry;
    struct places places;
    struct job_numbers jobs;
    struct auth auth;
    struct tasks tasks;
    struct builds builds;
    struct code_cache codes;
    struct followers followers;
    struct retention_job retention;
    struct schedules schedules;
    struct objects objects;
    pthread_mutex_t turns_lock;
    _Atomic bool started, draining, store_ok;
    _Atomic int64_t async_pending; /* below zero while a call was fetched before it was told of */
    _Atomic uint32_t async_running;
    _Atomic uint32_t cold_start_us; /* moving average; 0 = there was none */
    _Atomic int64_t last_change_us;
    _Atomic uint64_t healthy_ns;
    struct version *unbuilt; /* until core_start(): builds to take up again */
    size_t n_unbuilt, cap_unbuilt;
    struct pending_count *recovered; /* the same for queued calls */
    size_t n_recovered, cap_recovered;
    void (*drained)(void *arg);
    void *drained_arg;
};
struct core_loop *core_on(struct core *c, const struct loop *loop);
/* References to all functions: an array for free(), N long. */
struct core_fn **core_fns(struct core *c, size_t *ret_n);
void core_look_again(struct core *c); /* posts to every loop */
int64_t core_stamp(struct core *c);   /* real µs, never twice the same */
/* Grows an array for one more: *V of SIZE-byte things, N used of *CAP. */
void *grow(void *v, size_t n, size_t *cap, size_t size);

#endif
