/* SPDX-License-Identifier: Apache-2.0 */
/* kiln-egress, the network of all instances. It parses what they send, so one of them might end it:
 * then another is started, and instances that had their network from the old one get no more work.
 */

#include "base/log.h"
#include "engine/internal.h"
#include "sandbox/launch.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

/* On the thread of loops[0], which lives as long as the server: kiln-egress ends with it. */
static int start(struct engine *e) {
    char exe[4096];
    struct egress *egress = NULL;
    snprintf(exe, sizeof exe, "%s/kiln-egress", e->lib_dir);
    uint32_t base = e->config.uid_base ? e->config.uid_base : ZYGOTE_UID_BASE;
    int r = egress_start(exe, geteuid() == 0 ? base + 65535 : 0, e->network_allow, &egress);
    if (r < 0)
        return r;
    struct network *n = &e->network;
    n->end.fd = (int)syscall(SYS_pidfd_open, egress_pid(egress), 0);
    if (n->end.fd < 0 || (r = loop_io_add(e->loops[0], &n->end)) < 0) {
        r = n->end.fd < 0 ? -errno : r;
        fd_close(&n->end.fd);
        egress_stop(egress);
        return r;
    }
    pthread_mutex_lock(&e->lock);
    n->egress = egress;
    n->round++;
    pthread_mutex_unlock(&e->lock);
    return 0;
}

static void stop(struct engine *e) {
    struct network *n = &e->network;
    pthread_mutex_lock(&e->lock);
    struct egress *egress = TAKE_PTR(n->egress);
    pthread_mutex_unlock(&e->lock);
    if (n->end.fd >= 0)
        loop_io_del(e->loops[0], &n->end);
    fd_close(&n->end.fd);
    egress_stop(egress);
}

/* ---- another one ---- */

struct lost { /* to each loop */
    struct loop_task task;
    struct engine_loop *el;
};

static void lost(struct loop_task *task) {
    struct lost *l = container_of(task, struct lost, task);
    size_t it = 0;
    struct instance *inst;
    while ((inst = map_next(&l->el->instances, &it)))
        if (inst->state == INST_IDLE && network_is_lost(inst))
            instance_kill(inst, ERR_CANCELED, "its network has ended");
    free(l);
}

static void again(struct engine *e) {
    struct network *n = &e->network;
    if (e->on[0].draining)
        return;
    int r = start(e);
    if (r < 0)
        log_error("egress network not started", LOG_STR("reason", errno_text(-r)));
    else
        log_info("egress network up again", LOG_INT("pid", egress_pid(n->egress)));
    if (r < 0)
        loop_timer_set(e->loops[0], &n->retry,
                       loop_now_ns(e->loops[0]) + ENGINE_EGRESS_RETRY_MS * NS_PER_MS);
}

static void retry_fired(struct loop_timer *timer) {
    again(container_of(timer, struct engine, network.retry));
}

static void ended(struct loop_io *io, uint32_t events UNUSED) {
    struct engine *e = container_of(io, struct engine, network.end);
    log_error("egress network ended");
    stop(e);
    atomic_fetch_add(&e->network.round, 1);
    for (size_t i = 0; i < e->n_loops; i++) {
        struct lost *l = x_alloc(sizeof *l);
        l->task.run = lost;
        l->el = &e->on[i];
        loop_post(e->loops[i], &l->task);
    }
    /* Not at once: what ended it may do so again. */
    loop_timer_set(e->loops[0], &e->network.retry,
                   loop_now_ns(e->loops[0]) + ENGINE_EGRESS_RETRY_MS * NS_PER_MS);
}

/* ---- the face to the rest of the engine ---- */

void network_start(struct engine *e) {
    struct network *n = &e->network;
    n->end = (struct loop_io){.fd = -1, .events = EPOLLIN, .ready = ended};
    loop_timer_init(&n->retry, retry_fired);
    /* The zygote of an ordinary user has the host's device: without it no instance gets a tap, and
     * what the capabilities say would not be true. Root makes a device of its own. */
    int r = geteuid() == 0 || access("/dev/net/tun", R_OK | W_OK) == 0 ? 0 : -errno;
    if (r == 0)
        r = start(e);
    e->spare_net = r == 0 ? ZYGOTE_NET_EGRESS : ZYGOTE_NET_NONE;
    if (r < 0)
        log_warn("no egress network: functions have network none",
                 LOG_STR("reason", errno_text(-r)), LOG_STR("see", "kiln doctor"));
}

void network_stop(struct engine *e) {
    loop_timer_clear(e->loops[0], &e->network.retry);
    stop(e);
}

bool network_is_up(struct engine *e) {
    pthread_mutex_lock(&e->lock);
    bool up = e->network.egress != NULL;
    pthread_mutex_unlock(&e->lock);
    return up;
}

void network_give(struct instance *inst, enum network_kind kind) {
    struct engine *e = inst->el->engine;
    if (inst->tap >= 0 && kind == NETWORK_EGRESS) {
        pthread_mutex_lock(&e->lock);
        struct network *n = &e->network;
        inst->net_round = n->round;
        int r = n->egress ? egress_attach(n->egress, inst->tap, inst->pidfd, inst->id) : -ENOTCONN;
        pthread_mutex_unlock(&e->lock);
        if (r < 0)
            log_warn("an instance has no network", LOG_STR("instance", inst->name),
                     LOG_STR("reason", errno_text(-r)));
    }
    /* Without a descriptor the device is gone: that is network `none`. */
    fd_close(&inst->tap);
}

bool network_is_lost(const struct instance *inst) {
    return inst->net_round && inst->net_round != atomic_load(&inst->el->engine->network.round);
}
