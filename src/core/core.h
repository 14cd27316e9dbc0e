/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_CORE_CORE_H
#define KILN_CORE_CORE_H

/* struct core: what kiln does, without saying how it is asked. It holds the registry of functions
 * in memory, checks tokens, makes and builds versions, carries calls to the engine, keeps the
 * records, and answers questions about all that from the store. The API dialects, the triggers and
 * the command line's server side are thin faces over this header.
 *
 * Threads: every call below is made on a loop thread (or before the loops run, where it says so).
 * What needs the store is asynchronous: `done(arg, err, …)` runs later on the LOOP that was given,
 * never before the call returns; ERR is NULL on success, and results are borrowed until done
 * returns. Inputs are copied before the call returns unless it says takes. */

#include "engine/engine.h"
#include "store/store.h"

struct core;
struct workers; /* loop/work.h */
struct oci;     /* oci/oci.h */
struct loki;
struct prometheus;
struct s3;
struct json;
struct prometheus_question; /* remote/prometheus.h */

struct core_config {
    const char *version;    /* of kiln: "0.1.0" */
    bool no_auth;           /* everybody is the administrator */
    uint64_t history_age_s; /* records, logs, metrics, finished async calls older than this go */
    uint64_t history_bytes; /* history.db is kept below this, the oldest going first */
    uint32_t async_running_max; /* queued calls running at once, whole server */
    struct workers *workers;    /* for what blocks; outlives the core */
    struct oci *images;         /* NULL: no images; outlives the core */
    struct workers *pullers;    /* the same for images, whose registries may hang */
    struct workers *askers;     /* the same for questions to Loki and Prometheus, which may hang */
    /* Services outside, or NULL: kiln's own store does it. They outlive the core. */
    struct loki *loki;             /* has the log lines too */
    struct prometheus *prometheus; /* scrapes /metrics */
    struct s3 *s3;                 /* holds the code */
    uint32_t task_lease_ms;        /* a task that was handed out is reserved so long */
    uint32_t body_max;             /* bytes of one call's body; shown in the capabilities */
    struct engine_config engine;   /* its callbacks are filled in by core */
};

/* Before the loops run: loads functions, triggers and tokens from the store. The store and the
 * loops outlive the core. */
int core_new(const struct core_config *config, struct store *store, struct loop **loops,
             size_t n_loops, struct core **ret, struct error *err);
/* When the loops run: publishes deployments, resumes builds and queued calls, starts retention.
 * Any thread. */
void core_start(struct core *c);
bool core_draining(struct core *c); /* core_drain() was called */
bool core_ready(struct core *c);    /* started, store answering, not draining */
/* No new calls (ERR_UNAVAILABLE); running ones end; histories are flushed; DONE on loops[0]. */
void core_drain(struct core *c, uint32_t deadline_ms, void (*done)(void *arg), void *arg);
void core_free(struct core *c);
struct engine *core_engine(struct core *c);
const struct core_config *core_config_of(const struct core *c);

/* ---- who may ---- */
struct principal {
    char name[NAME_MAX_LEN + 1];      /* token's name: "admin"; shown in events */
    char workspace[NAME_MAX_LEN + 1]; /* "" = all */
    enum role role;
};
/* AUTHORIZATION is the header's value (p == NULL when absent): "Bearer <token>". The comparison is
 * by SHA-256 and in constant time. ERR_UNAUTHENTICATED with a sentence that says what to send. */
int core_authenticate(struct core *c, struct str authorization, struct principal *ret,
                      struct error *err);
/* ERR_FORBIDDEN unless P reaches the workspace with at least ROLE. */
int core_authorize(const struct principal *p, struct str workspace, enum role role,
                   struct error *err);
/* First start: makes the administrator's token (or takes TOKEN, from KILN_ADMIN_TOKEN), stores its
 * hash, writes DATA_DIR/admin.token 0600. Before the loops run. *ret_made says a new one was made.
 */
int core_admin_token(struct core *c, const char *data_dir, const char *token, bool *ret_made,
                     struct error *err);

/* ---- registry: from memory, any loop thread ---- */
struct function *core_function(struct core *c, uint32_t no); /* a reference, or NULL */
struct function *core_function_named(struct core *c, struct str workspace, struct str project,
                                     struct str name);
/* Newest first (kube: by name is the dialect's business). WORKSPACE.p, PROJECT.p NULL = all. The
 * visitor must not call core; return false to stop. */
void core_functions_each(struct core *c, struct str workspace, struct str project,
                         bool (*visit)(void *arg, const struct function *f), void *arg);
uint32_t core_function_instances(struct core *c, uint32_t no); /* loaded now */
/* Triggers of a function, newest first. */
void core_triggers_each(struct core *c, uint32_t function_no,
                        bool (*visit)(void *arg, const struct trigger *t), void *arg);
/* The enabled http trigger for METHOD and PATH on the gateway: a reference to its function, or
 * NULL; *ret_other_method says that the path exists with another method. */
struct function *core_http_trigger(struct core *c, struct str method, struct str path,
                                   bool *ret_other_method);

/* ---- workspaces and projects: from memory, any loop thread ---- */
/* Those that functions were made in are there too: a path may name any workspace, which is then
 * called as its id. Copies into *RET (workspace_done()). */
bool core_workspace(struct core *c, struct str id, struct workspace *ret);
void core_workspaces_each(struct core *c, bool (*visit)(void *arg, const struct workspace *w),
                          void *arg); /* oldest first; the visitor must not call core */
/* W's id NULL: "ws-<no>". ERR_CONFLICT: the id is taken. */
void core_workspace_create(struct core *c, struct loop *loop, const struct principal *who,
                           struct workspace *w /* contents taken */,
                           void (*done)(void *arg, const struct error *err,
                                        const struct workspace *w),
                           void *arg);
/* By id; its name and description stay where they are NULL. */
void core_workspace_update(struct core *c, struct loop *loop, const struct principal *who,
                           struct workspace *w /* contents taken */,
                           void (*done)(void *arg, const struct error *err,
                                        const struct workspace *w),
                           void *arg);
/* With all its functions and projects. ERR_CONFLICT for ws-default, in which other APIs live. */
void core_workspace_delete(struct core *c, struct loop *loop, const struct principal *who,
                           struct str id, void (*done)(void *arg, const struct error *err),
                           void *arg);
struct project *core_project(struct core *c, struct str workspace, struct str name); /* or NULL */
void core_projects_each(struct core *c, struct str workspace,
                        bool (*visit)(void *arg, const struct project *p),
                        void *arg); /* oldest first; the visitor must not call core */
/* P is taken. ERR_CONFLICT: the name is taken. */
void core_project_create(struct core *c, struct loop *loop, const struct principal *who,
                         struct project *p,
                         void (*done)(void *arg, const struct error *err, struct project *p),
                         void *arg);
/* P: a changed clone, taken. New instances of its functions see the new config at once.
 * ERR_CONFLICT: it was changed meanwhile. */
void core_project_update(struct core *c, struct loop *loop, const struct principal *who,
                         struct project *p,
                         void (*done)(void *arg, const struct error *err, struct project *p),
                         void *arg);
/* ERR_CONFLICT while it has functions. */
void core_project_delete(struct core *c, struct loop *loop, const struct principal *who,
                         struct str workspace, struct str name,
                         void (*done)(void *arg, const struct error *err), void *arg);

/* ---- changes ---- */
/* Creates with version 1. F is a draft from function_new() (taken): workspace, project, name,
 * runtime, handler, … set and checked here again. TRIGGERS (taken, may be NULL) are made in the
 * same transaction. Builds, then activates v1.
 * wait_build: `done` runs when the build is over (or after CORE_BUILD_WAIT_MS): F's status is then
 * ready, error or building. Otherwise it runs once stored, with status building.
 * ERR_CONFLICT: the name is taken. */
#define CORE_BUILD_WAIT_MS 20000
struct core_draft {
    struct function *function;
    struct str code; /* decoded bytes; 1 .. CODE_MAX; empty (p NULL) where there is an image */
    /* OCI reference ("alpine:3.20", "registry.example.com/team/resize@sha256:…"): version 1 is what
     * it says now (a tag is resolved to a digest when it is built, and stays). Beside code it is
     * only remembered: the code runs. Copied. runtime "image" where the function has no other (its
     * handler may be ""); function->format says what its container speaks. */
    const char *image;
    struct trigger **triggers;
    size_t n_triggers;
    bool wait_build;
};
void core_function_create(struct core *c, struct loop *loop, const struct principal *who,
                          struct core_draft *draft /* contents taken */,
                          void (*done)(void *arg, const struct error *err, struct function *f),
                          void *arg);
/* Replaces the configuration (draft->function is a changed clone of the present one: same no). With
 * code: also a new version (the next number), which is built and, if good, activated. With
 * triggers_given: the triggers are replaced as a whole. New instances serve at once; running calls
 * end on the old. ERR_NOT_FOUND; ERR_CONFLICT when it changed meanwhile or the new name is taken.
 */
struct core_update {
    struct function *function;
    struct str code;   /* p NULL: unchanged */
    const char *image; /* NULL: unchanged; else a new version, as in core_draft */
    bool triggers_given;
    struct trigger **triggers;
    size_t n_triggers;
    bool wait_build;
};
void core_function_update(struct core *c, struct loop *loop, const struct principal *who,
                          struct core_update *update /* contents taken */,
                          void (*done)(void *arg, const struct error *err, struct function *f),
                          void *arg);
void core_function_delete(struct core *c, struct loop *loop, const struct principal *who,
                          uint32_t no, void (*done)(void *arg, const struct error *err), void *arg);

/* NUMBER 0 = the next one. Not activated by itself. `done` once stored: its build runs or is in
 * the queue, both BUILD_RUNNING. ERR_CONFLICT: the number is used. CODE and IMAGE (may be NULL) as
 * in core_draft; both are copied. */
void core_version_deploy(struct core *c, struct loop *loop, const struct principal *who,
                         uint32_t function_no, uint32_t number, struct str code, const char *image,
                         void (*done)(void *arg, const struct error *err, const struct version *v),
                         void *arg);
/* One of the function, by its row, or by its number where VERSION_NO is 0. */
void core_version(struct core *c, struct loop *loop, uint32_t function_no, uint32_t version_no,
                  uint32_t number,
                  void (*done)(void *arg, const struct error *err, const struct version *v),
                  void *arg);
/* Highest number first, without their build logs. */
void core_versions(struct core *c, struct loop *loop, uint32_t function_no,
                   void (*done)(void *arg, const struct error *err, const struct version *v,
                                size_t n),
                   void *arg);
/* By row. A version still building is waited for; a failed one: ERR_BUILD_FAILED. */
void core_version_activate(struct core *c, struct loop *loop, const struct principal *who,
                           uint32_t function_no, uint32_t version_no,
                           void (*done)(void *arg, const struct error *err), void *arg);
/* ERR_CONFLICT when there was none before. *NUMBER: now active. */
void core_rollback(struct core *c, struct loop *loop, const struct principal *who,
                   uint32_t function_no,
                   void (*done)(void *arg, const struct error *err, uint32_t number), void *arg);
/* Code of a version; VERSION_NO 0 = the active one (or the newest where none is). */
void core_code(struct core *c, struct loop *loop, uint32_t function_no, uint32_t version_no,
               void (*done)(void *arg, const struct error *err, struct blob *code), void *arg);

/* Of the first of N functions, as core_code() with version 0; NULL for one that has none. `done`
 * has at least one of them, and no more than CORE_CODES_MAX or about CORE_CODES_BYTES. */
#define CORE_CODES_MAX   256
#define CORE_CODES_BYTES (16 * MIB)
void core_codes(struct core *c, struct loop *loop, struct function *const *v, size_t n,
                void (*done)(void *arg, const struct error *err, struct blob *const *codes,
                             size_t n),
                void *arg);
/* Builds CODE with the configuration of F and keeps nothing of it. LOG is what it printed. ERR: it
 * could not be tried (what core_function_create() would refuse; ERR_BUSY). */
void core_code_check(struct core *c, struct loop *loop, struct function *f, struct str code,
                     void (*done)(void *arg, const struct error *err, bool ok, const char *log),
                     void *arg);

/* T is taken; its function_no says where. */
void core_trigger_create(struct core *c, struct loop *loop, const struct principal *who,
                         struct trigger *t,
                         void (*done)(void *arg, const struct error *err, struct trigger *t),
                         void *arg);
void core_trigger_update(struct core *c, struct loop *loop, const struct principal *who,
                         struct trigger *t /* changed clone, taken */,
                         void (*done)(void *arg, const struct error *err, struct trigger *t),
                         void *arg);
void core_trigger_delete(struct core *c, struct loop *loop, const struct principal *who,
                         uint32_t function_no, uint32_t trigger_no,
                         void (*done)(void *arg, const struct error *err), void *arg);

/* ---- calls ---- */
/* One synchronous call. Embedded by the caller, zeroed, must stay where it is until `done` ran or
 * core_call_cancel() returned. Order: core_call_init() resolves the function and draws the id;
 * encode with engine_input_*() into call->input / call->head; set call->body; core_call_submit().
 * A function whose first build still runs makes the call wait for it. */
struct core_call {
    struct engine_input input; /* begun by core_call_init */
    struct buf head;           /* ceiling CORE_CALL_HEAD_MAX */
    struct str body;           /* borrowed until done */
    enum invocation_source source;
    uint64_t job_no; /* of a call for core_call_async() that is a job; 0: it is none */
    /* Of a call for core_call_async(): it is taken where no version could be built, too. Somebody
     * else may run it (core_tasks_take()); kiln says then that it failed. */
    bool queue_unbuilt;
    /* Of a call for core_call_async() with SOURCE_SCHEDULE: the trigger and the run. ERR_CONFLICT:
     * that run was made before, or the trigger is not there or not enabled any more. */
    uint32_t trigger_no;
    int64_t due_us;
    void (*done)(struct core_call *call, const struct engine_result *r,
                 const struct invocation *record);
    struct ulid id; /* set by core_call_init */
    /* private */
    struct core_loop *cl;
    struct deployment *deployment;
    struct function *function;
    struct engine_call engine;
    struct list link;
    int64_t created_us;
    int state;
    struct core_fn *fn;
    struct call_later *later;
    uint64_t waiting_until_ns;
};
#define CORE_CALL_HEAD_MAX (256 * KIB)
/* ERR_NOT_FOUND, ERR_BUILD_FAILED (says where the build log is), ERR_UNAVAILABLE. On success
 * call->input has been begun with these values. */
int core_call_init(struct core *c, struct loop *loop, struct core_call *call, uint32_t function_no,
                   enum wire_body body_kind, struct str method, struct str path, struct error *err);
void core_call_submit(struct core_call *call);
void core_call_cancel(struct core_call *call); /* the client is gone; frees what the call holds */
void core_call_done(struct core_call *call);   /* after done, or instead of submit: frees */

/* Durable: `done` runs after the commit, then it runs at least once. CALL was made as above with
 * source SOURCE_ASYNC; its contents are taken (body is copied). */
void core_call_async(struct core_call *call,
                     void (*done)(void *arg, const struct error *err, const struct ulid *id),
                     void *arg);

/* One invocation with, for an async one that ended, its result (result_* of the async_call; body
 * p == NULL where there is none). ERR_NOT_FOUND. */
void core_invocation(struct core *c, struct loop *loop, const struct ulid *id,
                     void (*done)(void *arg, const struct error *err, const struct async_call *inv),
                     void *arg);
/* Newest first, that is by id, async ones that wait or run included; only those older than BEFORE
 * where it is not NULL. */
void core_invocations(struct core *c, struct loop *loop, uint32_t function_no,
                      const struct ulid *before, uint32_t limit,
                      void (*done)(void *arg, const struct error *err, const struct invocation *v,
                                   size_t n),
                      void *arg);

/* ---- tasks: queued calls that somebody outside runs ---- */
/* Which calls: those of functions of ws-default that are queued unless they say otherwise
 * (function->async): of images, for whoever is first, kiln's workers or somebody who asks here; and
 * where the function's environment says KILN_PULL=true, for those alone. What holds is what was
 * said when the call was taken. */
/* Reserves up to N (at most STORE_TASKS_MAX) of the oldest for config.task_lease_ms; after that
 * they wait again. V: running, record.started_us tells this time from others; input. */
void core_tasks_take(struct core *c, struct loop *loop, uint32_t n,
                     void (*done)(void *arg, const struct error *err, const struct async_call *v,
                                  size_t n),
                     void *arg);
/* It is done, says who has it. STARTED_US: as it was handed out; 0: he does not remember. FAILED:
 * what went wrong, empty: nothing. ERR_NOT_FOUND; ERR_CONFLICT: somebody else has it now. */
void core_task_end(struct core *c, struct loop *loop, const struct ulid *id, int64_t started_us,
                   struct str failed, void (*done)(void *arg, const struct error *err), void *arg);

/* ---- executions: calls whose bodies are kept, for the APIs that show them again ---- */
/* A number that no job had before. Any thread. */
uint64_t core_job_no(struct core *c);
/* Lands with the loop's next records (so who asks for it after the answer finds it).
 * Copied; a body over EXECUTION_BODY_MAX is left out. */
void core_execution_keep(struct core *c, struct loop *loop, const struct execution *e);

/* ---- jobs: calls that have a number from core_job_no(). A synchronous one becomes a job by
 * core_execution_keep() with its result as JSON, once it has ended; a queued one by its job_no.
 * ---- */
struct core_job {
    uint64_t no;
    struct invocation record;
    struct str result; /* JSON text; p NULL: none yet, failed, or too long to be kept */
};
/* Appends what a call returned as JSON: text as a string, nothing as null, bytes (all that Spin's
 * functions return) as what they are: JSON, else text, else base64. 0, or -errno where OUT is
 * full. */
int core_result_json(struct buf *out, enum wire_body kind, struct str body);
/* ERR_NOT_FOUND, field "job". Those of deleted functions may still be found. */
void core_job(struct core *c, struct loop *loop, uint64_t no,
              void (*done)(void *arg, const struct error *err, const struct core_job *j),
              void *arg);
/* Of a function, highest number first, below BEFORE (0: all): at most LIMIT, and about
 * CORE_JOBS_BYTES of results. MORE: there are further ones below the last. */
#define CORE_JOBS_BYTES (32 * MIB)
void core_jobs(struct core *c, struct loop *loop, uint32_t function_no, uint64_t before,
               uint32_t limit,
               void (*done)(void *arg, const struct error *err, const struct core_job *v, size_t n,
                            bool more),
               void *arg);

/* Calls that ended, newest first, with what was kept of them: of one function, or of all of a
 * workspace. One answer holds at most CORE_EXECUTIONS_BYTES of bodies and as many of lines; where
 * they are more, it ends earlier (RET_MORE), and lines are left out. */
#define CORE_EXECUTIONS_MAX   1000u
#define CORE_EXECUTIONS_BYTES (16 * MIB)
#define CORE_EXECUTIONS_COUNT 100000u
struct core_execution_filter {
    struct str workspace; /* p NULL: of FUNCTION_NO */
    uint32_t function_no;
    struct ulid before; /* only older ones; all zero: from the newest */
    uint32_t limit;     /* 1 .. CORE_EXECUTIONS_MAX */
    bool lines;         /* with the log lines of each */
};
struct core_execution_row {
    struct invocation call;
    struct str request, response; /* p NULL: not kept */
    const struct log_line *lines; /* oldest first */
    size_t n_lines;
};
struct core_execution_page {
    const struct core_execution_row *rows;
    size_t n;
    bool more;
    struct ulid last; /* BEFORE of the next page, where there is more */
    uint64_t total;   /* of all that match but for BEFORE; counted up to CORE_EXECUTIONS_COUNT */
};
void core_executions(struct core *c, struct loop *loop, const struct core_execution_filter *f,
                     void (*done)(void *arg, const struct error *err,
                                  const struct core_execution_page *page),
                     void *arg);

/* What functions did since a time, each by itself, in the order of NOS. One that is gone has zeros.
 */
struct core_activity {
    uint64_t invocations, errors, busy_us;
    uint64_t answered_errors; /* completed with a status of 400 or above; not in ERRORS */
};
void core_activity(struct core *c, struct loop *loop, const uint32_t *nos, size_t n,
                   int64_t since_us,
                   void (*done)(void *arg, const struct error *err, const struct core_activity *v,
                                size_t n),
                   void *arg);

/* ---- insight; all of these see every call whose reply was sent before they were asked ---- */
/* Oldest first, the newest LIMIT of those that match. */
void core_logs(struct core *c, struct loop *loop, const struct log_filter *f,
               void (*done)(void *arg, const struct error *err, const struct log_line *v, size_t n),
               void *arg);
/* Live lines of a function from now on, on LOOP, until core_follow_stop(). Lines that come faster
 * than FOLLOW_PENDING_MAX are skipped and LINE is then NULL with DROPPED > 0 once. */
struct core_follow;
#define FOLLOW_PENDING_MAX 10000
struct core_follow *core_follow_start(struct core *c, struct loop *loop, uint32_t function_no,
                                      void (*line)(void *arg, const struct log_line *line,
                                                   uint64_t dropped),
                                      void *arg);
void core_follow_stop(struct core_follow *f);

/* The newest LIMIT lines, newest first: of Loki where there is one, else of the store.
 * ERR_UNAVAILABLE: Loki does not answer. */
struct core_line {
    int64_t at_ns;
    struct str text;
};
void core_newest_lines(struct core *c, struct loop *loop, uint32_t function_no, uint32_t limit,
                       void (*done)(void *arg, const struct error *err, const struct core_line *v,
                                    size_t n),
                       void *arg);
/* Asks Prometheus: DATA has one object {resultType, result} for each question (copied; at most
 * CORE_QUESTIONS_MAX). ERR_UNAVAILABLE. Only where core_config.prometheus is there. */
#define CORE_QUESTIONS_MAX 4
void core_prometheus(
    struct core *c, struct loop *loop, const struct prometheus_question *v, size_t n,
    void (*done)(void *arg, const struct error *err, const struct json *const *data), void *arg);

struct core_metrics {
    uint64_t invocations, errors, cold_starts;
    uint64_t min_us, max_us, avg_us, p50_us, p95_us, p99_us; /* of running time */
    uint32_t concurrency_min, concurrency_max;
    double concurrency_avg;
    double gb_seconds;
    /* Of its processes, as the kernel counts them (control group; where there is none, of each
     * process tree when it has ended). Running instances are looked at every 10 s. */
    uint64_t cpu_us;            /* within the minutes asked for */
    uint64_t memory_peak_bytes; /* the most that one instance had, within the minutes */
    uint64_t memory_now_bytes;  /* of all its instances, when they were last looked at; 0: none */
};
/* FROM/TO real µs, 0 = open; whole minutes that overlap count. */
void core_metrics(struct core *c, struct loop *loop, uint32_t function_no, int64_t from_us,
                  int64_t to_us,
                  void (*done)(void *arg, const struct error *err, const struct core_metrics *m),
                  void *arg);
/* The same window cut at multiples of STEP_MINUTES since 1970: the first bucket holds FROM, the
 * last one TO; those without anything are there too. TOTAL is of the window. Both ends are given,
 * FROM not before 1970, and core_buckets() was asked before. */
#define CORE_BUCKETS_MAX 1500u
/* How many. ERR_INVALID, field "resolution": more than CORE_BUCKETS_MAX. */
int core_buckets(int64_t from_us, int64_t to_us, uint32_t step_minutes, size_t *ret_n,
                 struct error *err);
struct core_bucket {
    int64_t at_us; /* its begin */
    struct core_metrics m;
};
void core_metrics_series(struct core *c, struct loop *loop, uint32_t function_no, int64_t from_us,
                         int64_t to_us, uint32_t step_minutes,
                         void (*done)(void *arg, const struct error *err,
                                      const struct core_metrics *total, const struct core_bucket *v,
                                      size_t n),
                         void *arg);
/* Of every function since the server started: counters that only grow, and what is now. From
 * memory; any thread. */
struct core_totals {
    struct function *function; /* a reference */
    uint64_t invocations, errors, cold_starts, running_us, cpu_us;
    uint64_t memory_bytes;       /* now, of all its instances */
    uint32_t instances, running; /* now: loaded; calls accepted and not ended */
};
/* Of all, by number: an array to be freed with core_totals_free(). */
struct core_totals *core_totals(struct core *c, size_t *ret_n);
void core_totals_free(struct core_totals *v, size_t n);
/* Looks at instances that have worked (some a loop), then DONE. */
void core_usage_refresh(struct core *c, struct loop *loop, void (*done)(void *arg), void *arg);
/* Newest first; only those with a number below BEFORE where it is not 0. */
void core_events(struct core *c, struct loop *loop, uint32_t function_no, uint32_t before,
                 uint32_t limit,
                 void (*done)(void *arg, const struct error *err, const struct event *v, size_t n),
                 void *arg);

/* Is everything that a call needs there? Store writes, zygotes up. ERR_UNAVAILABLE says what. */
void core_health(struct core *c, struct loop *loop,
                 void (*done)(void *arg, const struct error *err), void *arg);

struct core_stats { /* for /health details and the tests; any thread */
    uint32_t functions, async_pending, async_running;
    uint32_t cold_start_us; /* typical of the last ones; 0 = there was none */
    bool images;            /* OCI images can be fetched and run: the programs are there */
    struct store_stats store;
    struct engine_info engine;
};
void core_stats(struct core *c, struct core_stats *ret);

#endif
