/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's beginning and end, and its face to the layers above. */

#include "base/clock.h"
#include "base/log.h"
#include "engine/internal.h"
#include "sandbox/launch.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ---- calls ---- */

struct engine_loop *engine_on(struct engine *e, const struct loop *loop) {
    return &e->on[loop_index(loop)];
}

void engine_submit(struct engine_loop *el, struct engine_call *call) {
    list_init(&call->link);
    call->state = CALL_NEW;
    call->submitted_ns = clock_mono_ns();
    if (el->draining) {
        call_fail(call, ERR_UNAVAILABLE, "the server is shutting down");
        return;
    }
    struct pool *p = pool_of(el, call->deployment);
    p->retired |= atomic_load_explicit(&call->deployment->shared->retired, memory_order_relaxed);
    p->pinned++;
    pool_submit(p, call);
    p->pinned--;
    if (p->retired)
        pool_check_unused(p);
}

void engine_cancel(struct engine_loop *el, struct engine_call *call) {
    list_del(&call->link);
    if (call->state == CALL_WAITING) {
        struct pool *p = pool_of(el, call->deployment);
        pool_waits_less(p);
        pool_check_unused(p);
    } else if (call->state == CALL_RUNNING && call->instance) {
        call->instance->call = NULL;
    }
    call->state = CALL_DONE;
    call->instance = NULL;
}

void engine_warm(struct engine *e, enum runtime_kind kind) {
    zygote_want(e, kind);
}

/* ---- set-up ---- */

static void loop_part_init(struct engine *e, size_t i) {
    struct engine_loop *el = &e->on[i];
    el->engine = e;
    el->loop = e->loops[i];
    el->index = (uint32_t)i;
    list_init(&el->pools);
    map_init(&el->instances);
    el->read_buf = x_alloc(ENGINE_READ_MAX);
    buf_init(&el->scratch, ENV_TOTAL_MAX + 64 * KIB);
    usage_init(el);
    for (int k = 0; k < RUNTIME_COUNT; k++)
        zygote_link_init(&el->links[k], el, (enum runtime_kind)k);
}

static void loop_part_done(struct engine_loop *el) {
    for (int k = 0; k < RUNTIME_COUNT; k++)
        zygote_link_done(&el->links[k]);
    usage_done(el);
    instances_done(el);
    pools_done(el);
    groups_done(el);
    map_done(&el->instances);
    free(el->read_buf);
    buf_done(&el->scratch);
}

static int start_cgroups(struct engine *e, struct error *err) {
    int r = cgroup_tree_new(e->id, &e->cgroups);
    if (r < 0)
        return error_errno(err, r, "cannot set up control groups");
    e->limits = *cgroup_tree_info(e->cgroups);
    if (e->limits.why[0])
        log_warn("limits incomplete", LOG_STR("reason", e->limits.why));
    return 0;
}

static void describe_isolation(struct engine *e) {
    static const char *const modes[] = {"no cgroup", "cgroup v1", "cgroup v2"};
    const struct cgroup_info *l = &e->limits;
    snprintf(e->isolation, sizeof e->isolation,
             "namespaces (user, mount, pid, ipc, uts, network), read-only root, no capabilities, "
             "seccomp, %s (%s%s%s%s), network %s",
             modes[l->mode], l->has_memory ? "memory " : "data-segment limit ",
             l->has_cpu ? "cpu " : "", l->has_pids ? "pids" : "process limit",
             l->mode == CGROUP_NONE ? " by rlimits" : "",
             e->spare_net == ZYGOTE_NET_EGRESS ? "egress" : "none");
}

static char *dup_or_null(const char *s) {
    return s ? x_strdup(s) : NULL;
}

int engine_new(const struct engine_config *config, struct loop **loops, size_t n_loops,
               struct engine **ret, struct error *err) {
    struct engine *e = x_alloc(sizeof *e);
    e->config = *config;
    e->lib_dir = x_strdup(config->lib_dir);
    e->runtimes_dir = x_strdup(config->runtimes_dir);
    e->images_dir = x_strdup(config->images_dir ? config->images_dir : config->runtimes_dir);
    e->id = x_strdup(config->id);
    e->network_allow = dup_or_null(config->network_allow);
    e->loops = loops;
    e->n_loops = n_loops;
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    e->processors = processors > 0 ? (uint32_t)processors : 1;
    e->on = x_calloc(n_loops, sizeof *e->on);
    pthread_mutex_init(&e->lock, NULL);
    for (size_t i = 0; i < n_loops; i++)
        loop_part_init(e, i);
    zygotes_init(e);
    e->network.end.fd = -1;
    if (start_cgroups(e, err) < 0) {
        engine_free(e);
        return -1;
    }
    network_start(e);
    describe_isolation(e);
    *ret = e;
    return 0;
}

void engine_free(struct engine *e) {
    if (!e)
        return;
    zygotes_done(e); /* first: with them every process of an instance ends */
    for (size_t i = 0; i < e->n_loops; i++)
        loop_part_done(&e->on[i]);
    network_stop(e);
    cgroup_tree_free(e->cgroups);
    pthread_mutex_destroy(&e->lock);
    free(e->on);
    free(e->lib_dir);
    free(e->runtimes_dir);
    free(e->images_dir);
    free(e->id);
    free(e->network_allow);
    free(e);
}

void engine_info(struct engine *e, struct engine_info *ret) {
    *ret = (struct engine_info){
        .ok = !atomic_load(&e->draining),
        .memory_limits = true, /* by cgroup, or by RLIMIT_DATA */
        .cpu_limits = e->limits.has_cpu,
        .pids_limits = true, /* by cgroup, or by RLIMIT_NPROC within the user namespace */
        .egress = network_is_up(e),
        .instances = atomic_load(&e->instances),
        .idle = atomic_load(&e->idle),
        .busy = atomic_load(&e->busy),
        .spares = atomic_load(&e->spares),
    };
    snprintf(ret->isolation, sizeof ret->isolation, "%s", e->isolation);
    pthread_mutex_lock(&e->lock);
    for (int k = 0; k < RUNTIME_COUNT; k++) {
        const struct zygote *z = &e->zygotes[k];
        snprintf(ret->interpreter[k], sizeof ret->interpreter[k], "%s", z->interpreter);
        if (z->failed[0] && k != RUNTIME_IMAGE) { /* images are an extra: crun may be missing */
            ret->ok = false;
            snprintf(ret->reason, sizeof ret->reason, "%s", z->failed);
        }
    }
    pthread_mutex_unlock(&e->lock);
}
