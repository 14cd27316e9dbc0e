/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_ENGINE_INTERNAL_H
#define KILN_ENGINE_INTERNAL_H

/* What the files of the engine share. Who owns what:
 *
 *   struct engine        one a server; fields below `shared state` are atomic or under `lock`
 *   struct engine_loop   one a loop thread, touched by that thread alone
 *   struct zygote        one a runtime; its process and first channel belong to loops[0]
 *   struct zygote_link   a zygote as one loop sees it: that loop's own channel
 *   struct pool          the instances and waiting calls of one deployment on one loop
 *   struct instance      belongs to one loop; an idle one may be handed to another loop
 *
 * States of an instance, in order (instance.c):
 *   SPAWNING  asked of the zygote
 *   SPARE     sandboxed and warm, belongs to nobody yet
 *   LOADING   given to a pool or a build, code under way
 *   IDLE      loaded, waits in its pool
 *   BUSY      runs a call
 *   DYING     killed or gone; waits for the zygote's word that its last process is reaped */

#include "base/list.h"
#include "base/map.h"
#include "egress/egress.h"
#include "engine/engine.h"
#include "sandbox/cgroup.h"
#include <pthread.h>

#define ENGINE_READ_MAX         (256 * KIB) /* bytes taken from an instance a turn */
#define ENGINE_CGROUPS_KEPT     64          /* empty cgroups a loop keeps for reuse */
#define ENGINE_STARTING_MAX     4           /* instances of a pool that start at once */
#define ENGINE_SCALE_WAIT_US    5000u       /* an expected wait above this starts another one */
#define ENGINE_SCALE_TICK_MS    10u         /* how long the head of a queue is patient */
#define ENGINE_SHORT_CALL_US    10000u      /* calls below this are short … */
#define ENGINE_SHORT_WAIT_MS    100u        /* … and wait so long for a further instance */
#define ENGINE_REFILL_MS        20u         /* a spare that was taken is made anew after this */
#define ENGINE_FAIR_EVERY       16u         /* calls after which a wanted instance changes loops */
#define ENGINE_EXIT_WAIT_MS     5000u       /* for the zygote's word after a kill */
#define ENGINE_KEEP_RETRY_MS    100u        /* first pause before a minimum is made up again */
#define ENGINE_KEEP_RETRY_MAX   10000u
#define ENGINE_ZYGOTE_RETRY_MS  200u /* first pause before a dead zygote starts again */
#define ENGINE_ZYGOTE_RETRY_MAX 10000u
#define ENGINE_EGRESS_RETRY_MS  200u   /* pause before kiln-egress starts again */
#define ENGINE_USAGE_MS         10000u /* how often instances that work are looked at … */
#define ENGINE_USAGE_TURN       16u    /* … so many a turn of the loop … */
#define ENGINE_USAGE_PAUSE_MS   2u     /* … with this pause between turns */
#define ENGINE_IMAGE_IDLE_MS    30000u /* as iron's platform has it for containers that stay */
#define ENGINE_INSTANCE_NAME    16

enum instance_state { INST_SPAWNING, INST_SPARE, INST_LOADING, INST_IDLE, INST_BUSY, INST_DYING };

struct output { /* one raw output pipe: fd 1 or 2 of the instance */
    struct loop_io io;
    struct buf line; /* begun, not yet ended */
    enum log_line_level level;
    struct instance *instance;
};

struct instance {
    struct list link; /* in its pool's list of idle ones, or the loop's list of spares */
    uint64_t id;
    struct engine_loop *el;
    enum runtime_kind kind;
    enum zygote_net net;
    enum instance_state state;
    char name[ENGINE_INSTANCE_NAME];
    bool spawned; /* the zygote has answered */
    bool hello;   /* the interpreter waits for LOAD */
    bool load_sent;
    bool prewarmed; /* not started for a call: its first one is not cold */
    bool for_spare; /* is to be parked when it is ready */
    bool exited; /* its process ended or is about to: what it wrote counts, but it gets no work */
    uint64_t memory_limit;
    bool limited;            /* its data segment is limited already */
    bool released;           /* off the count of those alive before its end */
    enum instance_state was; /* before it was DYING */
    struct loop_io channel;
    struct output out[2];
    int pidfd, tap;
    uint32_t net_round; /* engine.network.round when it got its network; 0: it has none */
    struct cgroup *cgroup;
    struct buf in, to; /* unparsed input; unsent output */
    /* what it is for: one of the two */
    struct pool *pool;
    struct engine_build *build;
    struct engine_call *call; /* while BUSY */
    struct kv_ask *kv;        /* what the call has asked and not heard yet */
    struct ulid call_id;      /* present or last call, for log lines */
    uint32_t seq;             /* of the present call */
    uint64_t calls;
    uint64_t assigned_ns, run_ns, idle_since_ns;
    uint64_t deadline_ns; /* of what it does now; the timer may be armed earlier */
    struct loop_timer timer;
    uint32_t log_bytes;    /* kept in this call */
    uint64_t output_bytes; /* written in this call */
    bool log_cut;
    struct list used; /* in its loop's `used` from a call on until it was looked at */
    uint64_t cpu_us;  /* told of */
    int64_t memory_bytes;
    uint64_t end_cpu_us, end_peak_bytes; /* as the zygote tells at its end */
    /* why it dies */
    enum error_code kill_cause;
    char kill_text[256];
    uint64_t blame_ns;         /* calls that came until then hear of it */
    struct loop_task move;     /* hand-over to another loop … */
    struct deployment *moving; /* … of an instance of this one (a reference) … */
    struct engine_loop *moving_to;
};

struct pool {
    struct list link; /* in engine_loop.pools */
    struct engine_loop *el;
    struct deployment *deployment;
    struct list waiting; /* engine_call.link, oldest first */
    struct list idle;    /* instance.link, used last in front */
    struct list loading; /* instance.link */
    uint32_t n_waiting, n_idle, n_loading;
    uint32_t n_local; /* instances on this loop in whatever state */
    bool retired;
    bool asked;        /* another loop has been asked for an idle instance */
    bool wanted;       /* our bit in want_mask is set */
    uint64_t fetch_ns; /* the code was asked for then and has not come yet; 0: it was not */
    uint32_t since_fair;
    uint64_t ewma_us; /* running time of calls, 0 until one ended */
    struct loop_timer idle_timer, wait_timer, keep_timer;
    uint32_t keep_ms; /* pause before the minimum is made up again; 0 after a call has ended well */
    uint32_t pinned;  /* in use on the stack: not to be freed */
};

struct engine_shared { /* of a deployment, over all loops */
    struct engine *engine;
    _Atomic uint32_t live, loading, ready; /* ready: idle or busy; both are among live */
    _Atomic uint64_t idle_mask, want_mask; /* bit = loop index */
    _Atomic bool retired;
    struct pool *pools[]; /* each slot touched by its loop alone */
};

struct zygote_link {
    struct engine_loop *el;
    enum runtime_kind kind;
    struct loop_io io;  /* fd -1: no zygote */
    struct list unsent; /* struct spawn_request: the channel was full, or is not there yet */
    struct list spares;
    uint32_t n_spares, n_spawning;
    struct loop_timer refill;
};

struct engine_loop {
    struct engine *engine;
    struct loop *loop;
    uint32_t index;
    uint64_t next_id;
    struct zygote_link links[RUNTIME_COUNT];
    struct list pools;
    struct map instances;     /* by id */
    struct loop_task control; /* publish, retire … are messages of their own; this is drain */
    struct cgroup *cgroups[ENGINE_CGROUPS_KEPT];
    struct cgroup *busy_cgroups[ENGINE_CGROUPS_KEPT]; /* given back before they were empty */
    uint32_t n_cgroups, n_busy_cgroups, next_cgroup;
    char *read_buf;           /* ENGINE_READ_MAX */
    struct instance *reading; /* whose frames are being worked on; NULL once it is not ours */
    struct buf scratch;
    struct list used;    /* instance.used: have worked since they were looked at */
    struct list looking; /* the same: what is left of the present round */
    struct loop_timer usage_timer;
    bool draining, drained;
    struct loop_timer drain_timer;
};

struct zygote { /* touched by loops[0] alone, but for what says otherwise */
    struct engine *engine;
    enum runtime_kind kind;
    pid_t pid; /* 0: none */
    uint32_t retry_ms;
    struct loop_timer retry;
    struct loop_io end; /* its pidfd, once it is to be reaped; fd -1 before */
    struct loop_task start;
    _Atomic bool wanted; /* any thread: start has been posted, or it runs */
    bool up;             /* under engine.lock, as the next two */
    char failed[160];    /* why it does not start; "" */
    char interpreter[64];
};

struct network {            /* kiln-egress: started, watched and started again by loops[0] */
    struct egress *egress;  /* under engine.lock; NULL: there is none now */
    _Atomic uint32_t round; /* grows with each start and each end; 0: never was one */
    struct loop_io end;     /* its pidfd */
    struct loop_timer retry;
};

struct engine {
    struct engine_config config;
    char *lib_dir, *runtimes_dir, *images_dir, *id, *network_allow;
    struct loop **loops;
    size_t n_loops;
    uint32_t processors;
    struct engine_loop *on;
    struct zygote zygotes[RUNTIME_COUNT];
    struct cgroup_tree *cgroups;
    struct cgroup_info limits;
    enum zygote_net spare_net;
    /* shared state */
    pthread_mutex_t lock;
    struct network network;
    char isolation[256];
    _Atomic uint32_t instances, idle, busy, spares;
    _Atomic uint32_t loops_draining;
    _Atomic bool draining, all_drained;
    void (*drained)(void *arg);
    void *drained_arg;
    uint32_t drain_ms;
};

/* ---- zygote.c ---- */
void zygotes_init(struct engine *e);
void zygotes_end(struct engine *e);  /* loops[0]: no instances are left; asks them to go */
void zygotes_done(struct engine *e); /* after the loops: reaps what is left */
bool zygotes_gone(struct engine *e);
void zygote_want(struct engine *e, enum runtime_kind kind); /* starts it if it is not there */
/* True, with *err, when it did not start and waiting for it is no use. */
bool zygote_hopeless(struct engine *e, enum runtime_kind kind, struct error *err);
void zygote_is_up(struct engine *e, enum runtime_kind kind, const char *interpreter);
void zygote_lost(struct engine *e, enum runtime_kind kind); /* loops[0]: its channel closed */

/* ---- zygote_link.c ---- */
void zygote_link_init(struct zygote_link *zl, struct engine_loop *el, enum runtime_kind kind);
void zygote_link_open(struct zygote_link *zl, int channel); /* takes it */
void zygote_link_close(struct zygote_link *zl);
void zygote_link_done(struct zygote_link *zl); /* the loops have ended */
/* Sends the SPAWN of an instance, now or when the channel has room. Does not take the fds. */
void zygote_link_spawn(struct zygote_link *zl, struct instance *inst, const int theirs[3]);
/* Nothing can be sent any more: what waits hears TEXT. */
void zygote_link_fail(struct zygote_link *zl, const char *text);

/* ---- spare.c ---- */
/* A generic instance of the kind and network class: a parked one or a fresh one, not yet given to
 * anybody; NULL with *err when the machine or a limit refuses. Counts it. */
struct instance *spare_take(struct engine_loop *el, enum runtime_kind kind, enum network_kind net,
                            struct error *err);
void spare_init(struct zygote_link *zl);
void spare_refill(struct engine_loop *el, enum runtime_kind kind);
void spare_ready(struct instance *inst); /* an unassigned instance is sandboxed and warm */
void spare_lost(struct instance *inst);  /* an unassigned one dies */

/* ---- instance.c ---- */
struct instance *instance_spawn(struct engine_loop *el, enum runtime_kind kind, enum zygote_net net,
                                struct error *err);
void instance_assign_pool(struct instance *inst, struct pool *pool);
void instance_assign_build(struct instance *inst, struct engine_build *build);
/* The zygote's answers. */
void instance_spawned(struct instance *inst, int pidfd, int tap);
void instance_spawn_failed(struct instance *inst, const char *text);
void instance_exited(struct instance *inst, int wait_status, bool known);
void instance_run(struct instance *inst, struct engine_call *call); /* IDLE to BUSY */
/* Ends it and all its processes; CAUSE and TEXT are what its call or build hears. */
void instance_kill(struct instance *inst, enum error_code cause, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
void instance_end(struct instance *inst);    /* the same; the cause is read from how it ended */
void instance_detach(struct instance *inst); /* off this loop's epoll, before a hand-over */
void instance_attach(struct instance *inst, struct engine_loop *el);
struct instance *instance_find(struct engine_loop *el, uint64_t id);
/* The loops have ended before the instances had (a second signal): nobody is told any more. */
void instances_done(struct engine_loop *el);

enum call_state { CALL_NEW, CALL_WAITING, CALL_RUNNING, CALL_DONE };

/* ---- load.c ---- */
/* Sends the LOAD frame when the sandbox is there and the code has come. */
void load_begin(struct instance *inst);

/* ---- groups.c ---- */
/* An empty control group, reset. 0 (with NULL where there are none at all) or -errno. */
int group_take(struct engine_loop *el, struct cgroup **ret);
void group_give(struct engine_loop *el, struct cgroup *cg); /* NULL is fine */
void groups_done(struct engine_loop *el);

/* ---- usage.c ---- */
void usage_init(struct engine_loop *el);
void usage_done(struct engine_loop *el);
void usage_begins(struct instance *inst); /* from here on what it uses is its function's */
void usage_worked(struct instance *inst); /* or may have: it will be looked at */
void usage_ended(struct instance *inst);  /* its last process is gone: what is left to tell */

/* ---- network.c ---- */
void network_start(struct engine *e);
void network_stop(struct engine *e);
bool network_is_up(struct engine *e);
/* The network of its function; the tap is not ours any more. */
void network_give(struct instance *inst, enum network_kind kind);
/* It had one that has ended since: it is not for further calls. */
bool network_is_lost(const struct instance *inst);

/* ---- output.c ---- */
/* Takes FD. 0 or -errno. */
int output_open(struct output *o, struct instance *inst, int fd, enum log_line_level level);
void output_flush(struct output *o);        /* an unended line counts as one */
void output_collect(struct instance *inst); /* what a call that ends has written by then */
void output_close(struct output *o);
/* One line or more of text from a LOG frame or a pipe. */
void output_emit(struct instance *inst, enum log_line_level level, struct str text);

/* ---- frames.c ---- */
void frames_ready(struct loop_io *io, uint32_t events); /* the channel's callback */
/* Takes what a process wrote before it ended: the news of its end, which come by another socket,
 * may be first. */
void frames_last(struct instance *inst);
/* One frame whose payload is HEAD and then the string TAIL. 0 or -errno. */
int frames_send(struct instance *inst, enum wire_type type, uint32_t seq, struct str head,
                struct str tail);
int frames_send_call(struct instance *inst, struct engine_call *call, uint32_t deadline_ms);

/* ---- kv.c ---- */
/* Takes a KV frame of the present call. False: it is malformed. */
bool kv_asked(struct instance *inst, const struct wire_frame *f);
void kv_forget(struct instance *inst); /* it is gone: the answer is dropped when it comes */

/* ---- pool.c ---- */
struct pool *pool_of(struct engine_loop *el, struct deployment *d);
void pool_submit(struct pool *p, struct engine_call *call);
void pool_pump(struct pool *p); /* matches waiting calls and instances; starts instances */
/* INST is loaded or has ended its call, and stands in no list. */
void pool_ready(struct pool *p, struct instance *inst);
void pool_idle_remove(struct pool *p, struct instance *inst);
void pool_loading(struct pool *p, int change); /* one more, or one fewer, is being loaded */
/* An instance could not be made ready: what came until BLAME_NS hears why. For what came later
 * another one is tried. */
void pool_load_failed(struct pool *p, uint64_t blame_ns, enum error_code cause, const char *type,
                      const char *text);
/* An instance is gone; released: it was taken off the count of those alive before. */
void pool_lost(struct pool *p, bool released);
void pool_retire(struct pool *p);
void pool_keep_min(struct pool *p);
/* An instance of P ended by itself before it did any work: the minimum is not made up at once. */
void pool_died_idle(struct pool *p);
void pool_refuse_waiting(struct pool *p, const char *text);
void pool_waits_less(struct pool *p); /* a call has left the list of those that wait */
/* CALL was given to an instance that did not see it: it is the next one again. */
void pool_put_back(struct pool *p, struct engine_call *call);
void pools_done(struct engine_loop *el); /* as instances_done(), and after it */
void pool_check_unused(struct pool *p);  /* frees a retired pool that nothing needs any more */
void call_end(struct engine_call *call, struct engine_result *r);
void call_fail(struct engine_call *call, enum error_code cause, const char *text);

/* ---- handover.c ---- */
bool handover_ask(struct pool *p); /* true: another loop may send an idle instance */
bool handover_due(struct pool *p); /* calls wait here, yet another loop is to have its turn */
bool handover_give(struct pool *p, struct instance *inst); /* true: another loop has it now */
void handover_idle(struct pool *p); /* one has just become idle: does another loop want it? */
void handover_want(struct pool *p, bool want);
void handover_lost(struct pool *p); /* one is gone: loops that wait for one may start another */

/* ---- build.c ---- */
void build_ended(struct instance *inst, bool ok, const char *why); /* may be told twice */

/* ---- drain.c ---- */
void drain_check(struct engine_loop *el); /* after anything that may have been the last */
void drain_zygote_gone(struct engine *e); /* loops[0] */

#endif
