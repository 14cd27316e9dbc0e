/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_ENGINE_ENGINE_H
#define KILN_ENGINE_ENGINE_H

/* struct engine: turns calls into results. It keeps zygotes, instances, pools and queues; it knows
 * nothing of HTTP, JSON or SQL. Everything but engine_new() and engine_free() happens on a loop
 * thread, and everything of a call stays on the loop that submitted it. Instances belong to one
 * loop at a time and are handed over idle, by message, when another loop of the server needs one.
 *
 * A deployment is one version of one function with one configuration, immutable. Publishing a
 * change makes a new deployment; the old one is retired: its running calls end, its idle instances
 * go, its waiting calls move on to nobody (they run on the old version). */

#include "base/buf.h"
#include "base/list.h"
#include "loop/loop.h"
#include "model/model.h"
#include "wire/wire.h"

struct engine;
struct engine_loop; /* the engine's part on one loop */

/* ---- deployment ---- */
struct deployment {
    _Atomic uint32_t refs;
    struct function *function; /* a reference */
    struct project *project;   /* its config goes before the environment; a reference or NULL */
    uint32_t version_no, version_number;
    enum runtime_kind kind; /* that runs it: of its image, else of its function */
    /* what holds for its instances, defaults filled in */
    uint64_t memory_bytes;
    uint32_t cpu_milli, timeout_ms, min_instances, max_instances;
    struct engine_shared *shared; /* the engine's counters over all loops */
};
/* Takes a reference on F. Fills limits from F and the engine's defaults. */
struct deployment *deployment_new(struct engine *e, struct function *f, uint32_t version_no,
                                  uint32_t version_number);
struct deployment *deployment_ref(struct deployment *d);
void deployment_unref(struct deployment *d);
/* From any thread. After publish, min_instances are kept warm until retire. */
void engine_publish(struct engine *e, struct deployment *d);
void engine_retire(struct engine *e, struct deployment *d);
/* Instances that are loaded (idle or busy) over all loops. Any thread. */
uint32_t deployment_instances(const struct deployment *d);

/* ---- a call ---- */
struct engine_result {
    enum error_code cause;  /* ERR_NONE: the handler returned */
    const char *error_type; /* ERR_FUNCTION: "ValueError"; else NULL */
    const char *error_text; /* a sentence; NULL when cause is ERR_NONE */
    bool empty;             /* ERR_FUNCTION: a caller by HTTP gets a 500 without a body */
    uint16_t status;
    bool wrapped;
    enum wire_body body_kind;
    struct wire_in headers; /* positioned at the pairs, already checked */
    struct str body;        /* borrowed until the callback returns */
    bool cold;              /* an instance was started or loaded for this call */
    uint32_t queued_us, starting_us, running_us;
    const char *instance; /* name for logs, "" when none ran */
};

/* Embedded by the caller; must stay where it is until `done` ran or engine_cancel() returned. */
struct engine_call {
    /* set by the caller */
    struct deployment *deployment; /* borrowed; engine takes its own reference while it needs it */
    struct ulid id;
    struct buf
        *head; /* CALL payload as of wire.h without the body string; see engine_input_begin() */
    struct str body;     /* borrowed */
    uint64_t timeout_ns; /* 0 = the deployment's */
    void (*done)(struct engine_call *call, const struct engine_result *result);
    /* private */
    struct list link;
    struct instance *instance;
    uint64_t submitted_ns, queue_deadline_ns, started_ns, running_ns;
    bool cold;
    int state;
};

/* Encodes everything of a CALL payload that stands before the body. The pairs are appended by the
 * callback style: begin, then pairs, then end (counts are patched). */
struct engine_input {
    struct buf *b;
    ssize_t count_at;
    uint32_t count;
    int failed;
};
void engine_input_begin(struct engine_input *in, struct buf *b, enum wire_body body_kind,
                        const struct ulid *id, struct str method, struct str path);
void engine_input_query(struct engine_input *in, struct str name, struct str value);
void engine_input_headers(struct engine_input *in); /* ends query, begins headers */
void engine_input_header(struct engine_input *in, struct str lower_name, struct str value);
int engine_input_end(struct engine_input *in); /* 0 or -EMSGSIZE */

/* Starts the call; `done` runs later or, when it is refused at once, before this returns. */
void engine_submit(struct engine_loop *el, struct engine_call *call);
/* The client went away: a waiting call is dropped; a running one goes on, its result is discarded.
 * `done` will not run (for a running call the engine detaches from the caller's memory: HEAD and
 * BODY have been sent or copied by then). */
void engine_cancel(struct engine_loop *el, struct engine_call *call);

/* ---- a build: load and find the handler in a fresh instance, then end it ---- */
struct engine_build {
    struct function *function; /* configuration to load with */
    struct project *project;   /* the same, or NULL; borrowed like it */
    uint32_t version_number;
    struct blob *code;
    /* Set before `done`: ERR_UNAVAILABLE or ERR_INTERNAL where it was not the code that failed. */
    enum error_code cause;
    /* OK, and what the code and the runtime printed (bounded by BUILD_LOG_MAX) */
    void (*done)(struct engine_build *b, bool ok, struct str log);
    struct instance *instance; /* private */
    struct buf log;
    uint64_t started_ns;
};
void engine_build_start(struct engine_loop *el, struct engine_build *b);

/* ---- what a call asks of its function's key-value stores ---- */
struct engine_kv {
    uint32_t function_no;
    enum wire_kv_op op;
    struct str store, key, value; /* within the limits of model.h; live until it is answered */
    /* Once, on the loop that it was asked on. PAYLOAD as of wire.h; borrowed. */
    void (*answer)(struct engine_kv *kv, enum wire_kv_status status, struct str payload);
};

/* ---- what instances use ---- */
/* Instances that have worked are looked at every ENGINE_USAGE_MS, and when they end: their control
 * group's counters, or /proc where there is none. Nothing happens while nobody works. */
struct engine_usage {
    uint64_t cpu_us;            /* more than at the last look; the first holds its start */
    int64_t memory_bytes;       /* change of what it has now; minus all of it at its end */
    uint64_t memory_peak_bytes; /* the most that it had so far */
};
/* Looks now: at those of FUNCTION_NO (0: of all) on this loop that have worked since, at most MAX
 * of them. */
void engine_usage_look(struct engine_loop *el, uint32_t function_no, uint32_t max);

/* ---- set-up ---- */
struct engine_config {
    const char *lib_dir;      /* zygote executables stand here */
    const char *runtimes_dir; /* …/runtimes, seen by instances at /opt/kiln */
    const char *images_dir;   /* unpacked images (oci/oci.h), seen by theirs there; NULL: none */
    const char *id;           /* short name of this server: names cgroups; stable per data folder */
    uint32_t uid_base;        /* root: host id of the sandbox's id 0 */
    uint64_t memory_default, memory_max;
    uint32_t timeout_ms_default, max_instances_default;
    uint32_t instances_total_max;   /* of the whole server */
    uint32_t idle_ms;               /* an idle instance beyond min_instances ends after this */
    uint32_t queue_max;             /* waiting calls a function and loop */
    uint32_t queue_ms;              /* a waiting call gives up after this */
    uint32_t start_ms;              /* spawn, HELLO and LOAD may take this in all */
    uint32_t spares[RUNTIME_COUNT]; /* parked generic instances a loop, once a runtime is in use */
    uint32_t tmp_mib;               /* size of an instance's /tmp */
    uint32_t pids_max;              /* processes and threads of one instance */
    uint32_t log_call_max;          /* bytes of log kept of one call */
    uint32_t output_call_max;       /* bytes of output at which a call is ended (ERR_LIMIT) */
    uint32_t response_max;          /* bytes of one result */
    const char *network_allow;      /* CIDRs that egress may reach although private, or NULL */
    bool allow_host_network;

    /* Callbacks into core, on the loop of the instance. */
    void *user;
    /* One line of output; CALL's id is all zero outside a call. Text is valid UTF-8. */
    void (*on_log)(void *user, struct loop *loop, const struct deployment *d,
                   const struct ulid *call, const char *instance, enum log_line_level level,
                   struct str text);
    /* What an instance has used since it was last looked at. May be NULL. */
    void (*on_usage)(void *user, struct loop *loop, const struct deployment *d,
                     const struct engine_usage *delta);
    /* Get the code of a version (of an image: its spec, src/oci/oci.h, with the image in place):
     * call ready(arg, blob or NULL, why not or NULL) on this loop, at once or later. The callee
     * takes its own reference. */
    void (*fetch_code)(void *user, struct loop *loop, uint32_t version_no,
                       void (*ready)(void *arg, struct blob *code, const struct error *err),
                       void *arg);
    /* A call asks: answer later, never before this returns, even when the call is over by then. */
    void (*kv)(void *user, struct loop *loop, struct engine_kv *kv);
};

int engine_new(const struct engine_config *config, struct loop **loops, size_t n_loops,
               struct engine **ret, struct error *err);
struct engine_loop *engine_on(struct engine *e, const struct loop *loop);
/* Starts the zygote of a runtime ahead of need (off the path); any thread. */
void engine_warm(struct engine *e, enum runtime_kind kind);
/* Calls still waiting are refused with ERR_UNAVAILABLE, running ones end; then every instance and
 * zygote is ended; DONE runs on loops[0] when nothing is left. deadline_ms bounds the patience. */
void engine_drain(struct engine *e, uint32_t deadline_ms, void (*done)(void *arg), void *arg);
void engine_free(struct engine *e); /* after drain and after the loops have ended */

/* ---- what is in force ---- */
struct engine_info {
    bool ok;                             /* functions can run */
    char reason[256];                    /* why not */
    char interpreter[RUNTIME_COUNT][64]; /* "Python 3.11.2"; "" until known */
    char isolation[256]; /* one line: namespaces, seccomp, cgroup v1 (memory, cpu, pids) … */
    bool memory_limits, cpu_limits, pids_limits, egress;
    uint32_t instances, idle, busy, spares;
};
void engine_info(struct engine *e, struct engine_info *ret); /* any thread */

#endif
