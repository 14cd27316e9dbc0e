/* SPDX-License-Identifier: Apache-2.0 */
/* The zygote processes: started when a runtime is first needed, by loops[0] (whose thread lives as
 * long as the server, which PR_SET_PDEATHSIG asks for), and started again, with growing pauses,
 * when one ends. Each loop is given a channel of its own. */

#include "base/log.h"
#include "engine/internal.h"
#include "sandbox/launch.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static void start(struct zygote *z);

static struct loop *home(struct zygote *z) {
    return z->engine->loops[0];
}

/* ---- opening and failing the links, which belong to other loops ---- */

struct link_news {
    struct loop_task task;
    struct zygote_link *link;
    int channel; /* -1: it could not be started */
    char text[160];
};

static void link_news(struct loop_task *task) {
    struct link_news *n = container_of(task, struct link_news, task);
    if (n->channel >= 0 && n->link->el->drained)
        fd_close(&n->channel);
    else if (n->channel >= 0)
        zygote_link_open(n->link, n->channel);
    else
        zygote_link_fail(n->link, n->text);
    free(n);
}

static void tell_link(struct zygote *z, size_t loop, int channel, const char *text) {
    struct link_news *n = x_alloc(sizeof *n);
    n->task.run = link_news;
    n->link = &z->engine->on[loop].links[z->kind];
    n->channel = channel;
    snprintf(n->text, sizeof n->text, "%s", text);
    loop_post(z->engine->loops[loop], &n->task);
}

static int attach_loop(struct zygote *z, int first, size_t loop) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return -errno;
    struct zygote_msg m = {.op = ZYGOTE_ATTACH};
    int r = zygote_send(first, &m, &pair[1], 1);
    (void)close(pair[1]);
    if (r < 0) {
        (void)close(pair[0]);
        return r;
    }
    tell_link(z, loop, pair[0], "");
    return 0;
}

/* ---- start ---- */

static void set_failed(struct zygote *z, const char *text) {
    pthread_mutex_lock(&z->engine->lock);
    snprintf(z->failed, sizeof z->failed, "%s", text);
    z->up = false;
    pthread_mutex_unlock(&z->engine->lock);
}

static void retry_later(struct zygote *z) {
    loop_timer_set(home(z), &z->retry, loop_now_ns(home(z)) + z->retry_ms * NS_PER_MS);
    z->retry_ms =
        z->retry_ms * 2 > ENGINE_ZYGOTE_RETRY_MAX ? ENGINE_ZYGOTE_RETRY_MAX : z->retry_ms * 2;
}

static void failed(struct zygote *z, const char *step, int error) {
    char text[160];
    snprintf(text, sizeof text, "the %s runtime does not start: %s: %s (see `kiln doctor`)",
             runtime_kind_name(z->kind), step, errno_text(error));
    log_error("zygote not started", LOG_STR("runtime", runtime_kind_name(z->kind)),
              LOG_STR("step", step), LOG_STR("error", errno_text(error)));
    set_failed(z, text);
    for (size_t i = 0; i < z->engine->n_loops; i++)
        tell_link(z, i, -1, text);
    retry_later(z);
}

static void start(struct zygote *z) {
    struct engine *e = z->engine;
    if (z->pid || e->on[0].draining)
        return;
    char exe[4096], step[ZYGOTE_STEP_MAX] = "";
    snprintf(exe, sizeof exe, "%s/kiln-zygote-%s", e->lib_dir, runtime_kind_name(z->kind));
    int channel = -1;
    const char *shown = z->kind == RUNTIME_IMAGE ? e->images_dir : e->runtimes_dir;
    int r = zygote_start(exe, shown, e->config.uid_base, &channel, &z->pid, step);
    if (r < 0) {
        z->pid = 0;
        failed(z, step, -r);
        return;
    }
    for (size_t i = 1; i < e->n_loops; i++)
        if ((r = attach_loop(z, channel, i)) < 0)
            log_error("zygote not attached", LOG_INT("loop", i), LOG_STR("error", errno_text(-r)));
    zygote_link_open(&e->on[0].links[z->kind], channel);
}

static void start_task(struct loop_task *task) {
    start(container_of(task, struct zygote, start));
}

static void retry_fired(struct loop_timer *timer) {
    start(container_of(timer, struct zygote, retry));
}

void zygote_want(struct engine *e, enum runtime_kind kind) {
    struct zygote *z = &e->zygotes[kind];
    if (atomic_load_explicit(&z->wanted, memory_order_relaxed) || atomic_exchange(&z->wanted, true))
        return;
    z->start = (struct loop_task){.run = start_task};
    loop_post(home(z), &z->start);
}

bool zygote_hopeless(struct engine *e, enum runtime_kind kind, struct error *err) {
    struct zygote *z = &e->zygotes[kind];
    pthread_mutex_lock(&e->lock);
    bool hopeless = z->failed[0] != 0;
    if (hopeless)
        error_set(err, ERR_UNAVAILABLE, "%s", z->failed);
    pthread_mutex_unlock(&e->lock);
    return hopeless;
}

void zygote_is_up(struct engine *e, enum runtime_kind kind, const char *interpreter) {
    struct zygote *z = &e->zygotes[kind];
    z->retry_ms = ENGINE_ZYGOTE_RETRY_MS;
    pthread_mutex_lock(&e->lock);
    z->up = true;
    z->failed[0] = 0;
    snprintf(z->interpreter, sizeof z->interpreter, "%s", interpreter);
    pthread_mutex_unlock(&e->lock);
    log_info("runtime up", LOG_STR("runtime", runtime_kind_name(kind)),
             LOG_STR("interpreter", interpreter), LOG_INT("pid", z->pid));
}

/* ---- end ---- */

static void reap(struct zygote *z) {
    if (z->pid > 0)
        while (waitpid(z->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    z->pid = 0;
}

static void reaped(struct zygote *z) {
    struct engine *e = z->engine;
    if (e->on[0].draining) {
        drain_zygote_gone(e);
    } else if (z->up) { /* a new one may well serve: calls wait for it */
        log_error("runtime ended", LOG_STR("runtime", runtime_kind_name(z->kind)));
        set_failed(z, "");
        retry_later(z);
    } else {
        failed(z, "its interpreter does not start", ECHILD);
    }
}

static void end_ready(struct loop_io *io, uint32_t events UNUSED) {
    struct zygote *z = container_of(io, struct zygote, end);
    loop_io_del(home(z), io);
    fd_close(&io->fd);
    reap(z);
    reaped(z);
}

/* Its channel has closed: it is dead or about to be. Before it can be reaped the kernel ends and
 * reaps all its instances, which takes as long as it takes. */
void zygote_lost(struct engine *e, enum runtime_kind kind) {
    struct zygote *z = &e->zygotes[kind];
    (void)kill(z->pid, SIGKILL); /* a child that was not reaped: the number is still its own */
    z->end = (struct loop_io){
        .fd = (int)syscall(SYS_pidfd_open, z->pid, 0), .events = EPOLLIN, .ready = end_ready};
    if (z->end.fd >= 0 && loop_io_add(home(z), &z->end) == 0)
        return;
    fd_close(&z->end.fd);
    reap(z);
    reaped(z);
}

void zygotes_init(struct engine *e) {
    for (int k = 0; k < RUNTIME_COUNT; k++) {
        struct zygote *z = &e->zygotes[k];
        z->engine = e;
        z->kind = (enum runtime_kind)k;
        z->retry_ms = ENGINE_ZYGOTE_RETRY_MS;
        z->end.fd = -1;
        loop_timer_init(&z->retry, retry_fired);
    }
}

void zygotes_end(struct engine *e) {
    for (int k = 0; k < RUNTIME_COUNT; k++) {
        struct zygote *z = &e->zygotes[k];
        loop_timer_clear(home(z), &z->retry);
        if (z->pid > 0) /* it has nothing to lose; its channel closes with it */
            (void)kill(z->pid, SIGKILL);
        if (z->pid > 0 && e->on[0].links[k].io.fd < 0 && z->end.fd < 0)
            zygote_lost(e, z->kind);
    }
}

bool zygotes_gone(struct engine *e) {
    for (int k = 0; k < RUNTIME_COUNT; k++)
        if (e->zygotes[k].pid)
            return false;
    return true;
}

void zygotes_done(struct engine *e) {
    for (int k = 0; k < RUNTIME_COUNT; k++) {
        if (e->zygotes[k].pid > 0)
            (void)kill(e->zygotes[k].pid, SIGKILL);
        reap(&e->zygotes[k]);
        fd_close(&e->zygotes[k].end.fd);
    }
}
