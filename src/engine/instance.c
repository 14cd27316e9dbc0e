/* SPDX-License-Identifier: Apache-2.0 */
/* The life of one instance: spawn, assign, run, die. States are described in internal.h. */

#include "base/clock.h"
#include "base/log.h"
#include "engine/internal.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static void timer_fired(struct loop_timer *timer);
static void set_deadline(struct instance *inst, uint64_t deadline_ns);

/* ---- spawn ---- */

static struct instance *instance_new(struct engine_loop *el, enum runtime_kind kind,
                                     enum zygote_net net) {
    struct instance *inst = x_alloc(sizeof *inst);
    list_init(&inst->link);
    list_init(&inst->used);
    inst->el = el;
    inst->kind = kind;
    inst->net = net;
    inst->id = ((uint64_t)el->index << 48) | ++el->next_id;
    snprintf(inst->name, sizeof inst->name, "%06x",
             (unsigned)(hash_bytes(&inst->id, 8) & 0xffffff));
    inst->channel.fd = inst->pidfd = inst->tap = -1;
    inst->out[0].io.fd = inst->out[1].io.fd = -1;
    buf_init(&inst->in, WIRE_FRAME_MAX + WIRE_HEADER_LEN);
    buf_init(&inst->to, 2 * (WIRE_FRAME_MAX + WIRE_HEADER_LEN));
    loop_timer_init(&inst->timer, timer_fired);
    inst->state = INST_SPAWNING;
    return inst;
}

static void instance_free(struct instance *inst) {
    struct engine_loop *el = inst->el;
    kv_forget(inst);
    loop_timer_clear(el->loop, &inst->timer);
    if (inst->channel.fd >= 0) {
        loop_io_del(el->loop, &inst->channel);
        fd_close(&inst->channel.fd);
    }
    output_close(&inst->out[0]);
    output_close(&inst->out[1]);
    fd_close(&inst->pidfd);
    fd_close(&inst->tap);
    list_del(&inst->link);
    list_del(&inst->used);
    map_del(&el->instances, MAP_KEY(inst->id));
    group_give(el, inst->cgroup);
    buf_done(&inst->in);
    buf_done(&inst->to);
    free(inst);
    atomic_fetch_sub(&el->engine->instances, 1);
}

void instances_done(struct engine_loop *el) {
    size_t it = 0;
    struct instance *inst;
    while ((inst = map_next(&el->instances, &it))) {
        instance_free(inst);
        it = 0;
    }
}

static int set_nonblock(int fd) {
    return fcntl(fd, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

/* Our ends go onto the loop, the instance's ends into THEIRS. */
static int open_channels(struct instance *inst, int theirs[3]) {
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        return -errno;
    inst->channel = (struct loop_io){.fd = fds[0], .events = EPOLLIN, .ready = frames_ready};
    theirs[0] = fds[1];
    int r = set_nonblock(fds[0]);
    if (r == 0)
        r = loop_io_add(inst->el->loop, &inst->channel);
    for (int i = 0; r == 0 && i < 2; i++) {
        if (pipe2(fds, O_CLOEXEC) < 0)
            return -errno;
        theirs[1 + i] = fds[1];
        (void)fchmod(fds[1], 0622); /* another user: so that it may open /dev/stdout once more */
        r = set_nonblock(fds[0]);
        int opened = output_open(&inst->out[i], inst, fds[0], i == 0 ? LINE_INFO : LINE_ERROR);
        r = r ? r : opened;
    }
    return r;
}

struct instance *instance_spawn(struct engine_loop *el, enum runtime_kind kind, enum zygote_net net,
                                struct error *err) {
    struct engine *e = el->engine;
    if (atomic_fetch_add(&e->instances, 1) >= e->config.instances_total_max) {
        atomic_fetch_sub(&e->instances, 1);
        error_set(err, ERR_BUSY, "the server's limit of %u instances is reached",
                  e->config.instances_total_max);
        return NULL;
    }
    struct instance *inst = instance_new(el, kind, net);
    int theirs[3] = {-1, -1, -1};
    int r = open_channels(inst, theirs);
    if (r == 0) /* without its group it would run without limits */
        r = group_take(el, &inst->cgroup);
    if (r == 0) {
        map_put(&el->instances, MAP_KEY(inst->id), inst);
        set_deadline(inst, loop_now_ns(el->loop) + e->config.start_ms * NS_PER_MS);
        zygote_link_spawn(&el->links[kind], inst, theirs);
    } else {
        instance_free(inst);
        error_errno(err, r, "cannot make the channels and the control group of an instance");
        inst = NULL;
    }
    for (int i = 0; i < 3; i++)
        fd_close(&theirs[i]);
    return inst;
}

struct instance *instance_find(struct engine_loop *el, uint64_t id) {
    return map_get(&el->instances, MAP_KEY(id));
}

void instance_spawned(struct instance *inst, int pidfd, int tap) {
    inst->pidfd = pidfd;
    inst->tap = tap;
    inst->spawned = true;
    if (inst->state == INST_DYING) {
        (void)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
        return;
    }
    if (inst->state == INST_LOADING)
        load_begin(inst);
    else if (inst->hello && inst->state == INST_SPAWNING)
        spare_ready(inst);
}

/* ---- assign ---- */

static void set_deadline(struct instance *inst, uint64_t deadline_ns) {
    /* A timer that is armed no later does: it looks at deadline_ns when it fires. So the calls of
     * a busy instance cost no timer operations. */
    inst->deadline_ns = deadline_ns;
    if (deadline_ns && (!loop_timer_is_set(&inst->timer) || inst->timer.deadline_ns > deadline_ns))
        loop_timer_set(inst->el->loop, &inst->timer, deadline_ns);
}

static void apply_limits(struct instance *inst, uint64_t memory, uint32_t cpu_milli) {
    struct engine *e = inst->el->engine;
    inst->memory_limit = memory;
    if (!inst->cgroup)
        return;
    int r = cgroup_limits(inst->cgroup, memory, cpu_milli, e->config.pids_max);
    if (r < 0) /* fail closed */
        instance_kill(inst, ERR_UNAVAILABLE, "the limits of the instance cannot be set: %s",
                      errno_text(-r));
}

static void assigned(struct instance *inst, uint64_t memory, uint32_t cpu_milli) {
    struct engine_config *config = &inst->el->engine->config;
    inst->state = INST_LOADING;
    inst->assigned_ns = loop_now_ns(inst->el->loop);
    set_deadline(inst, inst->assigned_ns + config->start_ms * NS_PER_MS);
    apply_limits(inst, memory, cpu_milli);
    if (inst->state == INST_LOADING)
        load_begin(inst);
}

void instance_assign_pool(struct instance *inst, struct pool *pool) {
    struct deployment *d = pool->deployment;
    inst->pool = pool;
    pool->n_local++;
    pool_loading(pool, 1);
    list_push(&pool->loading, &inst->link);
    usage_begins(inst);
    usage_worked(inst);
    assigned(inst, d->memory_bytes, d->cpu_milli);
}

void instance_assign_build(struct instance *inst, struct engine_build *build) {
    struct engine_config *config = &inst->el->engine->config;
    struct function *f = build->function;
    inst->build = build;
    build->instance = inst;
    assigned(inst, f->memory_bytes ? f->memory_bytes : config->memory_default, 0);
}

/* ---- run ---- */

void instance_run(struct instance *inst, struct engine_call *call) {
    uint64_t now = clock_mono_ns();
    inst->state = INST_BUSY;
    inst->call = call;
    inst->call_id = call->id;
    inst->seq++;
    inst->log_bytes = 0;
    inst->output_bytes = 0;
    inst->log_cut = false;
    inst->run_ns = now;
    call->state = CALL_RUNNING;
    call->instance = inst;
    call->running_ns = now;
    call->started_ns = inst->assigned_ns;
    call->cold = inst->calls == 0 && !inst->prewarmed;
    inst->calls++;
    usage_worked(inst);
    uint64_t limit = call->timeout_ns;
    if (!limit)
        limit = inst->pool->deployment->timeout_ms * NS_PER_MS;
    set_deadline(inst, now + limit);
    int r = frames_send_call(inst, call, (uint32_t)(limit / NS_PER_MS));
    if (r == -EPIPE || r == -ECONNRESET) { /* it ended while it was idle: another one's call */
        inst->call = NULL;
        pool_put_back(inst->pool, call);
        instance_end(inst);
    } else if (r < 0)
        instance_kill(inst, ERR_CRASH, "the instance does not take its call: %s", errno_text(-r));
}

/* ---- die ---- */

static void timed_out(struct instance *inst) {
    struct engine_config *config = &inst->el->engine->config;
    if (inst->state == INST_BUSY) {
        uint64_t ms = (inst->deadline_ns - inst->run_ns) / NS_PER_MS;
        instance_kill(inst, ERR_TIMEOUT, "the function ran longer than its limit of %g s",
                      (double)ms / 1000);
    } else if (inst->state == INST_LOADING) {
        instance_kill(inst, ERR_TIMEOUT, "the function did not load within %g s",
                      config->start_ms / 1000.0);
    } else if (inst->state == INST_SPAWNING) {
        instance_kill(inst, ERR_UNAVAILABLE, "the instance did not start within %g s",
                      config->start_ms / 1000.0);
    } else if (inst->state == INST_DYING) {
        log_error("instance end unconfirmed", LOG_STR("instance", inst->name));
        instance_exited(inst, 0, false);
    }
}

static void timer_fired(struct loop_timer *timer) {
    struct instance *inst = container_of(timer, struct instance, timer);
    if (!inst->deadline_ns)
        return;
    if (inst->deadline_ns > loop_now_ns(inst->el->loop))
        loop_timer_set(inst->el->loop, timer, inst->deadline_ns);
    else
        timed_out(inst);
}

/* Leaves the lists that work is given out from. */
static void leave_pool_lists(struct instance *inst) {
    struct pool *p = inst->pool;
    if (inst->state == INST_IDLE)
        pool_idle_remove(p, inst);
    else if (inst->state == INST_LOADING && p)
        pool_loading(p, -1);
    if (inst->state == INST_IDLE || inst->state == INST_BUSY)
        atomic_fetch_sub(&p->deployment->shared->ready, 1);
    list_del(&inst->link);
}

static void begin_dying(struct instance *inst) {
    if (inst->state == INST_SPAWNING || inst->state == INST_SPARE)
        spare_lost(inst);
    leave_pool_lists(inst);
    inst->was = inst->state;
    inst->state = INST_DYING;
    inst->blame_ns = clock_mono_ns();
    set_deadline(inst, loop_now_ns(inst->el->loop) + ENGINE_EXIT_WAIT_MS * NS_PER_MS);
}

void instance_kill(struct instance *inst, enum error_code cause, const char *fmt, ...) {
    if (inst->state == INST_DYING)
        return;
    inst->kill_cause = cause;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(inst->kill_text, sizeof inst->kill_text, fmt, ap);
    va_end(ap);
    instance_end(inst);
}

void instance_end(struct instance *inst) {
    if (inst->state == INST_DYING)
        return;
    begin_dying(inst);
    loop_io_mod(inst->el->loop, &inst->channel, 0);
    if (inst->pidfd >= 0)
        (void)syscall(SYS_pidfd_send_signal, inst->pidfd, SIGKILL, NULL, 0);
}

static void describe_exit(struct instance *inst, int status, bool known) {
    uint64_t oom = 0;
    if (inst->cgroup && cgroup_oom_kills(inst->cgroup, &oom) == 0 && oom > 0) {
        inst->kill_cause = ERR_MEMORY;
        snprintf(inst->kill_text, sizeof inst->kill_text,
                 "the function was killed for using more than its memory limit of %llu MiB",
                 (unsigned long long)(inst->memory_limit / MIB));
        return;
    }
    inst->kill_cause = ERR_CRASH;
    const char *what = "the function's process";
    if (!known)
        snprintf(inst->kill_text, sizeof inst->kill_text, "%s is gone", what);
    else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) /* ours, where the channel ended */
        snprintf(inst->kill_text, sizeof inst->kill_text,
                 "%s was killed (signal 9): from outside, or since it closed its channel to kiln, "
                 "as exec does",
                 what);
    else if (WIFSIGNALED(status))
        snprintf(inst->kill_text, sizeof inst->kill_text, "%s was killed by signal %d (%s)", what,
                 /* NOLINTNEXTLINE(concurrency-mt-unsafe): a buffer a thread in glibc 2.32 and up */
                 WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        snprintf(inst->kill_text, sizeof inst->kill_text, "%s exited with status %d", what,
                 WEXITSTATUS(status));
}

static void tell_owner(struct instance *inst) {
    enum instance_state was = inst->was;
    if (inst->build) {
        build_ended(inst, false, inst->kill_text);
        return;
    }
    struct engine_call *call = inst->call;
    inst->call = NULL;
    if (call)
        call_fail(call, inst->kill_cause, inst->kill_text);
    if (was == INST_LOADING && inst->pool)
        pool_load_failed(inst->pool, inst->blame_ns, inst->kill_cause, "LoadError",
                         inst->kill_text);
}

void instance_exited(struct instance *inst, int status, bool known) {
    inst->exited = true;
    if (known)
        frames_last(inst);
    if (inst->state != INST_DYING)
        begin_dying(inst);
    /* What it still wrote belongs to the call that ends now. */
    output_collect(inst);
    if (inst->kill_cause == ERR_NONE)
        describe_exit(inst, status, known);
    if (inst->was == INST_BUSY)
        atomic_fetch_sub(&inst->el->engine->busy, 1);
    tell_owner(inst);
    struct engine_loop *el = inst->el;
    struct pool *p = inst->pool;
    usage_ended(inst);
    bool released = inst->released;
    if (p && inst->calls == 0 && inst->kill_cause != ERR_CANCELED)
        pool_died_idle(p);
    instance_free(inst);
    if (p)
        pool_lost(p, released);
    drain_check(el);
}

void instance_spawn_failed(struct instance *inst, const char *text) {
    log_error("instance not started", LOG_STR("reason", text));
    if (inst->state != INST_DYING)
        begin_dying(inst);
    inst->kill_cause = ERR_UNAVAILABLE;
    snprintf(inst->kill_text, sizeof inst->kill_text, "the sandbox could not be made: %s", text);
    instance_exited(inst, 0, false);
}

/* ---- hand-over ---- */

void instance_detach(struct instance *inst) {
    struct engine_loop *el = inst->el;
    loop_timer_clear(el->loop, &inst->timer);
    loop_io_del(el->loop, &inst->channel);
    loop_io_del(el->loop, &inst->out[0].io);
    loop_io_del(el->loop, &inst->out[1].io);
    list_del(&inst->link);
    list_del(&inst->used);
    map_del(&el->instances, MAP_KEY(inst->id));
    inst->el = NULL;
}

void instance_attach(struct instance *inst, struct engine_loop *el) {
    inst->el = el;
    map_put(&el->instances, MAP_KEY(inst->id), inst);
    usage_worked(inst); /* perhaps it had: it is looked at once too often */
    (void)loop_io_add(el->loop, &inst->channel);
    for (int i = 0; i < 2; i++)
        if (inst->out[i].io.fd >= 0)
            (void)loop_io_add(el->loop, &inst->out[i].io);
}
