/* SPDX-License-Identifier: Apache-2.0 */
/* The orderly end: waiting calls are refused, running ones end (or are ended at the deadline), then
 * instances, then zygotes. Each loop drains itself; the last one lets loops[0] end the zygotes. The
 * links stay open until then: a loop may still hear of the end of what was born on it and moved. */

#include "base/log.h"
#include "engine/internal.h"

static void finish(struct engine *e) {
    void (*drained)(void *arg) = e->drained;
    e->drained = NULL;
    loop_timer_clear(e->loops[0], &e->on[0].drain_timer);
    if (drained)
        drained(e->drained_arg);
}

void drain_zygote_gone(struct engine *e) {
    if (atomic_load(&e->all_drained) && zygotes_gone(e))
        finish(e);
}

struct last {
    struct loop_task task;
    struct engine *engine;
};

static void all_loops_drained(struct loop_task *task) {
    struct last *l = container_of(task, struct last, task);
    struct engine *e = l->engine;
    free(l);
    if (zygotes_gone(e))
        finish(e);
    else
        zygotes_end(e);
}

/* An instance that was on its way to a loop that had none left ends there later: what counts in the
 * end is that none is left anywhere. */
void drain_check(struct engine_loop *el) {
    struct engine *e = el->engine;
    if (!el->draining || el->instances.count)
        return;
    if (!el->drained) {
        el->drained = true;
        loop_timer_clear(el->loop, &el->drain_timer);
        atomic_fetch_sub(&e->loops_draining, 1);
    }
    if (atomic_load(&e->loops_draining) || atomic_load(&e->instances) ||
        atomic_exchange(&e->all_drained, true))
        return;
    struct last *l = x_alloc(sizeof *l);
    l->task.run = all_loops_drained;
    l->engine = e;
    loop_post(e->loops[0], &l->task);
}

static void kill_all(struct engine_loop *el, bool busy_too) {
    size_t it = 0;
    struct instance *inst;
    while ((inst = map_next(&el->instances, &it)))
        if (busy_too || (inst->state != INST_BUSY && !inst->build))
            instance_kill(inst, ERR_UNAVAILABLE, "the server is shutting down");
}

static void patience_over(struct loop_timer *timer) {
    struct engine_loop *el = container_of(timer, struct engine_loop, drain_timer);
    log_warn("drain deadline", LOG_INT("loop", el->index),
             LOG_INT("instances", el->instances.count));
    kill_all(el, true);
}

static void begin(struct loop_task *task) {
    struct engine_loop *el = container_of(task, struct engine_loop, control);
    el->draining = true;
    /* A call that hears this may cancel one of another pool: none goes before all have heard. */
    list_for_each (it, &el->pools)
        list_entry(it, struct pool, link)->pinned++;
    list_for_each (it, &el->pools)
        pool_refuse_waiting(list_entry(it, struct pool, link), "the server is shutting down");
    list_for_each (it, &el->pools)
        list_entry(it, struct pool, link)->pinned--;
    for (int k = 0; k < RUNTIME_COUNT; k++)
        zygote_link_fail(&el->links[k], "the server is shutting down");
    kill_all(el, false);
    loop_timer_set(el->loop, &el->drain_timer,
                   loop_now_ns(el->loop) + el->engine->drain_ms * NS_PER_MS);
    list_for_each_safe (it, &el->pools)
        pool_check_unused(list_entry(it, struct pool, link));
    drain_check(el);
}

void engine_drain(struct engine *e, uint32_t deadline_ms, void (*done)(void *arg), void *arg) {
    e->drained = done;
    e->drained_arg = arg;
    e->drain_ms = deadline_ms;
    atomic_store(&e->draining, true);
    atomic_store(&e->loops_draining, (uint32_t)e->n_loops);
    for (size_t i = 0; i < e->n_loops; i++) {
        struct engine_loop *el = &e->on[i];
        loop_timer_init(&el->drain_timer, patience_over);
        el->control = (struct loop_task){.run = begin};
        loop_post(el->loop, &el->control);
    }
}
