/* SPDX-License-Identifier: Apache-2.0 */
/* Idle instances change loops by message: a connection's calls stay on its loop, so the instance
 * comes to the call. A loop whose calls wait asks one that has an idle instance; and where none is
 * idle and the function is at its limit, it leaves a mark that the others see when a call ends. */

#include "engine/internal.h"
#include <poll.h>

struct ask { /* from the loop that waits to one that has; and back, when that had none any more */
    struct loop_task task;
    struct engine_loop *from, *to;
    struct deployment *deployment; /* a reference */
};

static uint64_t bit_of(const struct engine_loop *el) {
    return 1ull << el->index;
}

static void send_instance(struct pool *p, struct instance *inst, struct engine_loop *to);

static void asked_in_vain(struct loop_task *task) {
    struct ask *ask = container_of(task, struct ask, task);
    struct pool *p = pool_of(ask->from, ask->deployment);
    p->asked = false;
    p->pinned++;
    if (p->n_waiting)
        pool_pump(p);
    p->pinned--;
    pool_check_unused(p);
    deployment_unref(ask->deployment);
    free(ask);
}

static void asked(struct loop_task *task) {
    struct ask *ask = container_of(task, struct ask, task);
    struct pool *p = ask->deployment->shared->pools[ask->to->index];
    if (p && p->n_idle && !p->n_waiting && !ask->to->draining) {
        struct instance *inst = list_entry(p->idle.next, struct instance, link);
        pool_idle_remove(p, inst);
        send_instance(p, inst, ask->from);
    }
    *task = (struct loop_task){.run = asked_in_vain}; /* the instance, if any, goes before */
    loop_post(ask->from->loop, task);
}

bool handover_ask(struct pool *p) {
    if (p->asked)
        return true;
    struct engine *e = p->el->engine;
    if (e->n_loops == 1)
        return false;
    uint64_t others = atomic_load(&p->deployment->shared->idle_mask) & ~bit_of(p->el);
    if (!others)
        return false;
    struct ask *ask = x_alloc(sizeof *ask);
    ask->task.run = asked;
    ask->from = p->el;
    ask->to = &e->on[__builtin_ctzll(others)];
    ask->deployment = deployment_ref(p->deployment);
    p->asked = true;
    loop_post(ask->to->loop, &ask->task);
    return true;
}

void handover_want(struct pool *p, bool want) {
    if (p->wanted == want || (want && p->el->engine->n_loops == 1))
        return;
    p->wanted = want;
    if (want)
        atomic_fetch_or(&p->deployment->shared->want_mask, bit_of(p->el));
    else
        atomic_fetch_and(&p->deployment->shared->want_mask, ~bit_of(p->el));
}

static uint64_t others_want(struct pool *p) {
    if (p->el->engine->n_loops == 1)
        return 0;
    return atomic_load(&p->deployment->shared->want_mask) & ~bit_of(p->el);
}

/* Calls wait here too: every so often the other loop has its turn all the same. */
bool handover_due(struct pool *p) {
    if (!others_want(p) || ++p->since_fair < ENGINE_FAIR_EVERY)
        return false;
    p->since_fair = 0;
    return true;
}

/* The zygote's word of its end goes to the loops on which the instance may be, and misses it while
 * it is on its way. */
static bool ended_on_its_way(const struct instance *inst) {
    struct pollfd end = {.fd = inst->pidfd, .events = POLLIN};
    return poll(&end, 1, 0) > 0;
}

static void arrived(struct loop_task *task) {
    struct instance *inst = container_of(task, struct instance, move);
    struct engine_loop *el = inst->moving_to;
    struct deployment *d = TAKE_PTR(inst->moving);
    struct pool *p = pool_of(el, d);
    instance_attach(inst, el);
    inst->pool = p;
    p->n_local++;
    p->retired |= d->shared->retired;
    inst->exited = ended_on_its_way(inst);
    bool exited = inst->exited;
    pool_ready(p, inst);
    if (exited)
        instance_exited(inst, 0, false);
    deployment_unref(d);
}

static void send_instance(struct pool *p, struct instance *inst, struct engine_loop *to) {
    if (p->el->reading == inst)
        p->el->reading = NULL; /* the other loop may end it before this one looks again */
    instance_detach(inst);
    p->n_local--;
    inst->pool = NULL;
    inst->moving = deployment_ref(p->deployment);
    inst->moving_to = to;
    inst->move = (struct loop_task){.run = arrived};
    loop_post(to->loop, &inst->move);
}

bool handover_give(struct pool *p, struct instance *inst) {
    uint64_t others = others_want(p);
    if (!others)
        return false;
    /* Begin behind our own bit so that no loop is always first. */
    uint32_t shift = p->el->index + 1;
    uint64_t later = others >> shift << shift;
    struct engine_loop *to = &p->el->engine->on[__builtin_ctzll(later ? later : others)];
    send_instance(p, inst, to);
    p->pinned++;
    if (p->n_waiting)
        pool_pump(p);
    p->pinned--;
    pool_check_unused(p);
    return true;
}

struct news { /* a deployment has room for another instance */
    struct loop_task task;
    struct engine_loop *to;
    struct deployment *deployment; /* a reference */
};

static void has_room(struct loop_task *task) {
    struct news *n = container_of(task, struct news, task);
    struct pool *p = n->deployment->shared->pools[n->to->index];
    if (p && p->n_waiting)
        pool_pump(p);
    deployment_unref(n->deployment);
    free(n);
}

void handover_lost(struct pool *p) {
    struct engine *e = p->el->engine;
    for (uint64_t others = others_want(p); others; others &= others - 1) {
        struct news *n = x_alloc(sizeof *n);
        n->task.run = has_room;
        n->to = &e->on[__builtin_ctzll(others)];
        n->deployment = deployment_ref(p->deployment);
        loop_post(n->to->loop, &n->task);
    }
}

/* After the idle bit was set: a loop that did not see it has left its mark before. */
void handover_idle(struct pool *p) {
    if (!p->n_idle || !others_want(p))
        return;
    struct instance *inst = list_entry(p->idle.next, struct instance, link);
    pool_idle_remove(p, inst);
    if (!handover_give(p, inst))
        pool_ready(p, inst);
}
