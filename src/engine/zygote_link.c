/* SPDX-License-Identifier: Apache-2.0 */
/* A zygote as one loop sees it: its own channel, on which it asks for instances and hears of their
 * birth and end. */

#include "base/log.h"
#include "engine/internal.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

struct spawn_request { /* kept while the channel is full or not there; owns the descriptors */
    struct list link;
    uint64_t instance;
    struct zygote_msg msg;
    int fds[ZYGOTE_FDS_MAX];
    size_t n_fds;
};

static void request_free(struct spawn_request *r) {
    for (size_t i = 0; i < r->n_fds; i++)
        fd_close(&r->fds[i]);
    list_del(&r->link);
    free(r);
}

static struct zygote_msg spawn_message(const struct instance *inst) {
    const struct engine_config *config = &inst->el->engine->config;
    return (struct zygote_msg){
        .op = ZYGOTE_SPAWN,
        .instance = inst->id,
        .net = inst->net,
        .tmp_max_mib = config->tmp_mib,
        .files_max = 1024,
        .procs_max = config->pids_max,
    };
}

struct spawn_failure { /* told later: the caller is still busy with the instance */
    struct loop_task task;
    struct engine_loop *el;
    uint64_t instance;
    int error;
};

static void tell_failure(struct loop_task *task) {
    struct spawn_failure *f = container_of(task, struct spawn_failure, task);
    struct instance *inst = instance_find(f->el, f->instance);
    if (inst)
        instance_spawn_failed(inst, errno_text(f->error));
    free(f);
}

static void fail_later(struct engine_loop *el, uint64_t instance, int error) {
    struct spawn_failure *f = x_alloc(sizeof *f);
    f->task.run = tell_failure;
    f->el = el;
    f->instance = instance;
    f->error = error;
    loop_post(el->loop, &f->task);
}

static void keep(struct zygote_link *zl, const struct zygote_msg *m, const int *fds, size_t n) {
    struct spawn_request *r = x_alloc(sizeof *r);
    list_init(&r->link);
    r->instance = m->instance;
    r->msg = *m;
    for (size_t i = 0; i < n; i++) {
        int fd = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
        if (fd < 0) { /* one fewer might be the group that limits it */
            fail_later(zl->el, m->instance, errno);
            request_free(r);
            return;
        }
        r->fds[r->n_fds++] = fd;
    }
    list_push(&zl->unsent, &r->link);
    if (zl->io.fd >= 0)
        loop_io_mod(zl->el->loop, &zl->io, EPOLLIN | EPOLLOUT);
}

void zygote_link_spawn(struct zygote_link *zl, struct instance *inst, const int theirs[3]) {
    struct zygote_msg m = spawn_message(inst);
    int fds[3 + CGROUP_PROCS_MAX];
    memcpy(fds, theirs, 3 * sizeof fds[0]);
    size_t n = 3;
    if (inst->cgroup)
        n += cgroup_procs_fds(inst->cgroup, fds + 3);
    if (zl->io.fd < 0 || !list_empty(&zl->unsent)) {
        keep(zl, &m, fds, n);
        return;
    }
    int r = zygote_send(zl->io.fd, &m, fds, n);
    if (r == -EAGAIN)
        keep(zl, &m, fds, n);
    else if (r < 0)
        fail_later(zl->el, inst->id, -r);
}

static void send_unsent(struct zygote_link *zl) {
    while (!list_empty(&zl->unsent)) {
        struct spawn_request *q = list_entry(zl->unsent.next, struct spawn_request, link);
        int r = zygote_send(zl->io.fd, &q->msg, q->fds, q->n_fds);
        if (r == -EAGAIN) {
            loop_io_mod(zl->el->loop, &zl->io, EPOLLIN | EPOLLOUT);
            return;
        }
        if (r < 0)
            fail_later(zl->el, q->instance, -r);
        request_free(q);
    }
    loop_io_mod(zl->el->loop, &zl->io, EPOLLIN);
}

/* ---- what the zygote says ---- */

struct forward { /* EXITED of an instance that has changed loops since it was born here */
    struct loop_task task;
    struct engine_loop *to;
    uint64_t instance;
    struct zygote_msg msg;
};

static void ended(struct instance *inst, const struct zygote_msg *m) {
    inst->end_cpu_us = m->cpu_us;
    inst->end_peak_bytes = (uint64_t)m->max_rss_kib * KIB;
    instance_exited(inst, m->wait_status, true);
}

static void forwarded(struct loop_task *task) {
    struct forward *f = container_of(task, struct forward, task);
    struct instance *inst = instance_find(f->to, f->instance);
    if (inst)
        ended(inst, &f->msg);
    free(f);
}

static void forward_exit(struct engine_loop *from, const struct zygote_msg *m) {
    struct engine *e = from->engine;
    for (size_t i = 0; i < e->n_loops; i++) {
        if (&e->on[i] == from)
            continue;
        struct forward *f = x_alloc(sizeof *f);
        f->task.run = forwarded;
        f->to = &e->on[i];
        f->instance = m->instance;
        f->msg = *m;
        loop_post(e->on[i].loop, &f->task);
    }
}

static void on_spawned(struct zygote_link *zl, const struct zygote_msg *m, int *fds, size_t n) {
    struct instance *inst = instance_find(zl->el, m->instance);
    if (inst && n >= 1)
        instance_spawned(inst, take_fd(&fds[0]), n >= 2 ? take_fd(&fds[1]) : -1);
}

static void on_message(struct zygote_link *zl, struct zygote_msg *m, int *fds, size_t n) {
    m->text[sizeof m->text - 1] = 0;
    struct instance *inst = NULL;
    switch (m->op) {
    case ZYGOTE_UP:
        zygote_is_up(zl->el->engine, zl->kind, m->text);
        return;
    case ZYGOTE_SPAWNED:
        on_spawned(zl, m, fds, n);
        return;
    case ZYGOTE_SPAWN_FAILED:
        inst = instance_find(zl->el, m->instance);
        if (inst) {
            char text[200];
            snprintf(text, sizeof text, "%s: %s", m->text, errno_text((int)m->error));
            instance_spawn_failed(inst, text);
        }
        return;
    case ZYGOTE_EXITED:
        inst = instance_find(zl->el, m->instance);
        if (inst)
            ended(inst, m);
        else
            forward_exit(zl->el, m);
        return;
    default:
        return;
    }
}

/* With its zygote every instance is gone: the kernel ends a pid namespace with its init. The ends
 * of these start others, which wait for the next zygote: only those that are there now are lost. */
static void all_lost(struct zygote_link *zl) {
    struct map *all = &zl->el->instances;
    size_t it = 0, n = 0;
    cleanup_free uint64_t *ids = x_calloc(all->count + 1, sizeof *ids);
    struct instance *inst;
    while (!list_empty(&zl->unsent))
        request_free(list_entry(zl->unsent.next, struct spawn_request, link));
    while ((inst = map_next(all, &it)))
        if (inst->kind == zl->kind)
            ids[n++] = inst->id;
    for (size_t i = 0; i < n; i++) {
        if (!(inst = instance_find(zl->el, ids[i])))
            continue;
        if (inst->kill_cause == ERR_NONE) { /* its channel's end may have been seen before */
            inst->kill_cause = ERR_UNAVAILABLE;
            snprintf(inst->kill_text, sizeof inst->kill_text, "the %s runtime ended unexpectedly",
                     runtime_kind_name(zl->kind));
        }
        instance_exited(inst, 0, false);
    }
}

static void ready(struct loop_io *io, uint32_t events) {
    struct zygote_link *zl = container_of(io, struct zygote_link, io);
    int fds[ZYGOTE_FDS_MAX];
    for (int turn = 0; turn < 64; turn++) {
        struct zygote_msg m;
        size_t n = ARRAY_LEN(fds);
        int r = zygote_recv(io->fd, &m, fds, &n);
        if (r == -EAGAIN)
            break;
        if (r == -EBADMSG) /* no descriptor was free for its own: that instance alone is lost */
            continue;
        if (r <= 0) {
            zygote_link_close(zl);
            all_lost(zl);
            if (zl->el->index == 0)
                zygote_lost(zl->el->engine, zl->kind);
            return;
        }
        on_message(zl, &m, fds, n);
        for (size_t i = 0; i < n; i++)
            fd_close(&fds[i]);
        if (io->fd < 0)
            return;
    }
    if (events & EPOLLOUT)
        send_unsent(zl);
}

void zygote_link_init(struct zygote_link *zl, struct engine_loop *el, enum runtime_kind kind) {
    zl->el = el;
    zl->kind = kind;
    zl->io.fd = -1;
    list_init(&zl->unsent);
    list_init(&zl->spares);
    spare_init(zl);
}

void zygote_link_open(struct zygote_link *zl, int channel) {
    if (zl->io.fd >= 0) { /* the end of the last one has not been seen here yet */
        zygote_link_close(zl);
        all_lost(zl);
    }
    zl->io = (struct loop_io){.fd = channel, .events = EPOLLIN, .ready = ready};
    if (loop_io_add(zl->el->loop, &zl->io) < 0) {
        fd_close(&zl->io.fd);
        return;
    }
    send_unsent(zl);
    spare_refill(zl->el, zl->kind);
    list_for_each (it, &zl->el->pools) { /* what could not be started before */
        struct pool *p = list_entry(it, struct pool, link);
        if (p->deployment->function->kind == zl->kind)
            pool_keep_min(p);
    }
}

void zygote_link_close(struct zygote_link *zl) {
    if (zl->io.fd < 0)
        return;
    loop_io_del(zl->el->loop, &zl->io);
    fd_close(&zl->io.fd);
}

void zygote_link_done(struct zygote_link *zl) {
    zygote_link_close(zl);
    while (!list_empty(&zl->unsent))
        request_free(list_entry(zl->unsent.next, struct spawn_request, link));
}

void zygote_link_fail(struct zygote_link *zl, const char *text) {
    struct list now; /* an end may start others */
    list_init(&now);
    for (struct list *n; (n = list_shift(&zl->unsent));)
        list_push(&now, n);
    for (struct list *n; (n = list_shift(&now));) {
        struct spawn_request *q = list_entry(n, struct spawn_request, link);
        struct instance *inst = instance_find(zl->el, q->instance);
        request_free(q);
        if (inst)
            instance_spawn_failed(inst, text);
    }
}
