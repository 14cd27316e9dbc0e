/* SPDX-License-Identifier: Apache-2.0 */
/* The instances and the waiting calls of one deployment on one loop: who runs where, when another
 * instance starts, when an idle one ends. */

#include "base/clock.h"
#include "base/log.h"
#include "engine/internal.h"
#include <stdio.h>

static void idle_fired(struct loop_timer *timer);
static void wait_fired(struct loop_timer *timer);
static void keep_fired(struct loop_timer *timer);

static struct engine_config *config_of(struct pool *p) {
    return &p->el->engine->config;
}

/* Containers are told to stay for less: ENGINE_IMAGE_IDLE_MS, or what the setting says below it. */
static uint64_t idle_ns(const struct pool *p) {
    uint32_t ms = p->el->engine->config.idle_ms;
    if (p->deployment->kind == RUNTIME_IMAGE && ms > ENGINE_IMAGE_IDLE_MS)
        ms = ENGINE_IMAGE_IDLE_MS;
    return ms * NS_PER_MS;
}

static uint64_t bit_of(const struct pool *p) {
    return 1ull << p->el->index;
}

/* ---- making and ending pools ---- */

struct pool *pool_of(struct engine_loop *el, struct deployment *d) {
    struct pool **slot = &d->shared->pools[el->index];
    struct pool *p = *slot;
    if (p)
        return p;
    p = x_alloc(sizeof *p);
    p->el = el;
    p->deployment = deployment_ref(d);
    list_init(&p->waiting);
    list_init(&p->idle);
    list_init(&p->loading);
    loop_timer_init(&p->idle_timer, idle_fired);
    loop_timer_init(&p->wait_timer, wait_fired);
    loop_timer_init(&p->keep_timer, keep_fired);
    list_push(&el->pools, &p->link);
    *slot = p;
    return p;
}

static void pool_free(struct pool *p) {
    handover_want(p, false);
    p->deployment->shared->pools[p->el->index] = NULL;
    loop_timer_clear(p->el->loop, &p->idle_timer);
    loop_timer_clear(p->el->loop, &p->wait_timer);
    loop_timer_clear(p->el->loop, &p->keep_timer);
    list_del(&p->link);
    deployment_unref(p->deployment);
    free(p);
}

void pool_check_unused(struct pool *p) {
    if (p->n_local || p->n_waiting || p->fetch_ns || p->asked || p->pinned)
        return;
    if (p->retired || p->el->draining)
        pool_free(p);
}

void pools_done(struct engine_loop *el) {
    list_for_each_safe (it, &el->pools)
        pool_free(list_entry(it, struct pool, link));
}

/* ---- the calls ---- */

void call_end(struct engine_call *call, struct engine_result *r) {
    uint64_t now = clock_mono_ns();
    uint64_t waited_ns = (call->running_ns ? call->running_ns : now) - call->submitted_ns;
    uint64_t starting_ns = 0;
    if (call->cold && call->started_ns) {
        starting_ns = call->running_ns - call->started_ns;
        if (starting_ns > waited_ns)
            starting_ns = waited_ns;
    }
    r->cold = call->cold;
    r->starting_us = (uint32_t)(starting_ns / NS_PER_US);
    r->queued_us = (uint32_t)((waited_ns - starting_ns) / NS_PER_US);
    r->running_us = call->running_ns ? (uint32_t)((now - call->running_ns) / NS_PER_US) : 0;
    call->state = CALL_DONE;
    call->instance = NULL;
    call->done(call, r);
}

void call_fail(struct engine_call *call, enum error_code cause, const char *text) {
    struct engine_result r = {
        .cause = cause,
        .error_text = text,
        .instance = call->instance ? call->instance->name : "",
    };
    call_end(call, &r);
}

/* One call waits no more. A mark that outlives the last one would send idle instances round and
 * round between the loops. */
void pool_waits_less(struct pool *p) {
    if (--p->n_waiting == 0)
        handover_want(p, false);
}

static struct engine_call *first_waiting(const struct pool *p) {
    return list_entry(p->waiting.next, struct engine_call, link);
}

static struct engine_call *take_waiting(struct pool *p) {
    struct list *n = list_shift(&p->waiting);
    if (!n)
        return NULL;
    struct engine_call *call = list_entry(n, struct engine_call, link);
    call->state = CALL_NEW;
    pool_waits_less(p);
    return call;
}

/* Those that were submitted until UNTIL_NS. */
static void fail_waiting(struct pool *p, uint64_t until_ns, enum error_code cause, const char *type,
                         const char *text) {
    /* Only those that wait now: a callback may submit again. */
    struct list now;
    list_init(&now);
    while (p->n_waiting && first_waiting(p)->submitted_ns <= until_ns)
        list_push(&now, &take_waiting(p)->link);
    for (struct list *n; (n = list_shift(&now));) {
        struct engine_result r = {
            .cause = cause, .error_type = type, .error_text = text, .instance = ""};
        call_end(list_entry(n, struct engine_call, link), &r);
    }
}

/* ---- idle instances ---- */

static void arm_idle(struct pool *p, uint64_t deadline_ns) {
    if (!loop_timer_is_set(&p->idle_timer))
        loop_timer_set(p->el->loop, &p->idle_timer, deadline_ns);
}

static void idle_add(struct pool *p, struct instance *inst) {
    inst->state = INST_IDLE;
    inst->prewarmed = true; /* whatever it was started for: it is ready before its next call */
    inst->deadline_ns = 0;
    inst->idle_since_ns = loop_now_ns(p->el->loop);
    list_unshift(&p->idle, &inst->link);
    atomic_fetch_add_explicit(&p->el->engine->idle, 1, memory_order_relaxed);
    if (p->n_idle++ == 0 && p->el->engine->n_loops > 1)
        atomic_fetch_or(&p->deployment->shared->idle_mask, bit_of(p));
    arm_idle(p, inst->idle_since_ns + idle_ns(p));
}

void pool_idle_remove(struct pool *p, struct instance *inst) {
    list_del(&inst->link);
    atomic_fetch_sub_explicit(&p->el->engine->idle, 1, memory_order_relaxed);
    if (--p->n_idle == 0 && p->el->engine->n_loops > 1)
        atomic_fetch_and(&p->deployment->shared->idle_mask, ~bit_of(p));
}

void pool_loading(struct pool *p, int change) {
    p->n_loading += (uint32_t)change;
    atomic_fetch_add(&p->deployment->shared->loading, (uint32_t)change);
}

/* One fewer alive, unless that would leave fewer than the minimum that are loaded. */
static bool release_above_min(struct pool *p) {
    struct deployment *d = p->deployment;
    uint32_t min = p->retired ? 0 : d->min_instances + atomic_load(&d->shared->loading);
    uint32_t live = atomic_load(&d->shared->live);
    while (live > min)
        if (atomic_compare_exchange_weak(&d->shared->live, &live, live - 1))
            return true;
    return false;
}

static void idle_fired(struct loop_timer *timer) {
    struct pool *p = container_of(timer, struct pool, idle_timer);
    uint64_t now = loop_now_ns(p->el->loop), keep_ns = idle_ns(p);
    while (p->n_idle) { /* the one idle for longest stands last */
        struct instance *inst = list_entry(p->idle.prev, struct instance, link);
        if (inst->idle_since_ns + keep_ns > now) {
            arm_idle(p, inst->idle_since_ns + keep_ns);
            return;
        }
        if (!release_above_min(p)) {
            /* All that are left are the minimum; look again when the set may have changed. */
            arm_idle(p, now + keep_ns);
            return;
        }
        inst->released = true;
        instance_kill(inst, ERR_CANCELED, "idle");
    }
}

/* ---- starting instances ---- */

static bool reserve(struct pool *p) {
    struct deployment *d = p->deployment;
    uint32_t live = atomic_load(&d->shared->live);
    while (live < d->max_instances)
        if (atomic_compare_exchange_weak(&d->shared->live, &live, live + 1))
            return true;
    return false;
}

static bool start_one(struct pool *p, bool prewarmed, struct error *err) {
    struct function *f = p->deployment->function;
    bool reserved = reserve(p);
    if (!reserved) { /* an end that did not see the mark has given its place back before */
        handover_want(p, true);
        reserved = reserve(p);
    }
    if (!reserved) {
        error_set(err, ERR_BUSY, "all %u instances are busy", p->deployment->max_instances);
        return false;
    }
    handover_want(p, false);
    struct instance *inst = spare_take(p->el, p->deployment->kind, f->network, err);
    if (!inst) {
        atomic_fetch_sub(&p->deployment->shared->live, 1);
        return false;
    }
    inst->prewarmed = prewarmed;
    instance_assign_pool(inst, p);
    return true;
}

/* Another one is worth its start when calls wait that none is starting for, and either there is
 * none yet, or what runs would take too long to come to them. Short calls mostly use the processor:
 * beyond one instance a processor more of them only take time from each other, so for those (and
 * while nothing is known of a function) the head of the queue must have waited for long. */
static bool worth_starting(struct pool *p) {
    if (p->n_loading >= p->n_waiting || p->n_loading >= ENGINE_STARTING_MAX)
        return false;
    uint32_t running = p->n_local - p->n_loading;
    if (running == 0 && p->n_loading == 0)
        return true;
    struct engine_call *head = first_waiting(p);
    uint64_t waited_ns = loop_now_ns(p->el->loop) - head->submitted_ns;
    uint32_t live = atomic_load_explicit(&p->deployment->shared->live, memory_order_relaxed);
    if (p->ewma_us < ENGINE_SHORT_CALL_US && live >= p->el->engine->processors)
        return running && waited_ns > ENGINE_SHORT_WAIT_MS * NS_PER_MS;
    if (running == 0 || p->ewma_us * p->n_waiting / running > ENGINE_SCALE_WAIT_US)
        return true;
    return waited_ns > ENGINE_SCALE_TICK_MS * NS_PER_MS;
}

static void arm_wait(struct pool *p, bool scale) {
    struct engine_call *head = first_waiting(p);
    uint64_t at = head->queue_deadline_ns;
    uint64_t tick = loop_now_ns(p->el->loop) + ENGINE_SCALE_TICK_MS * NS_PER_MS;
    if (scale && tick < at)
        at = tick;
    if (!loop_timer_is_set(&p->wait_timer) || p->wait_timer.deadline_ns > at)
        loop_timer_set(p->el->loop, &p->wait_timer, at);
}

static void scale(struct pool *p) {
    if (handover_ask(p)) {
        arm_wait(p, false);
        return;
    }
    struct error err = {0};
    bool started = true;
    while (started && worth_starting(p))
        started = start_one(p, false, &err);
    if (!started && err.code != ERR_BUSY && p->n_local == 0) {
        fail_waiting(p, UINT64_MAX, err.code, NULL, err.text);
        return;
    }
    /* Between the first look and the mark that we want one, another loop may have become idle. */
    if (p->wanted)
        (void)handover_ask(p);
    /* At the function's own limit only an ending call or a deadline changes anything. */
    if (p->n_waiting)
        arm_wait(p, !p->wanted);
}

static void expire(struct pool *p, uint64_t now) {
    while (p->n_waiting) {
        struct engine_call *head = first_waiting(p);
        if (head->queue_deadline_ns > now)
            return;
        take_waiting(p);
        call_fail(head, ERR_BUSY, "all instances of the function stayed busy for too long");
    }
}

static void wait_fired(struct loop_timer *timer) {
    struct pool *p = container_of(timer, struct pool, wait_timer);
    p->pinned++;
    expire(p, loop_now_ns(p->el->loop));
    pool_pump(p);
    p->pinned--;
    pool_check_unused(p);
}

void pool_pump(struct pool *p) {
    while (p->n_waiting && p->n_idle) {
        struct instance *inst = list_entry(p->idle.next, struct instance, link);
        pool_idle_remove(p, inst);
        atomic_fetch_add_explicit(&p->el->engine->busy, 1, memory_order_relaxed);
        instance_run(inst, take_waiting(p));
    }
    if (p->n_waiting)
        scale(p);
    else
        handover_want(p, false);
}

/* ---- what happens to a pool ---- */

static void wait_in(struct pool *p, struct engine_call *call) {
    call->state = CALL_WAITING;
    call->queue_deadline_ns = call->submitted_ns + config_of(p)->queue_ms * NS_PER_MS;
    p->n_waiting++;
}

void pool_put_back(struct pool *p, struct engine_call *call) {
    wait_in(p, call);
    list_unshift(&p->waiting, &call->link);
    call->instance = NULL;
    call->running_ns = 0;
}

void pool_submit(struct pool *p, struct engine_call *call) {
    if (p->n_waiting == 0 && p->n_idle) { /* the warm path */
        struct instance *inst = list_entry(p->idle.next, struct instance, link);
        pool_idle_remove(p, inst);
        atomic_fetch_add_explicit(&p->el->engine->busy, 1, memory_order_relaxed);
        instance_run(inst, call);
        if (p->n_waiting) /* put back */
            pool_pump(p);
        return;
    }
    if (p->n_waiting >= config_of(p)->queue_max) {
        call_fail(call, ERR_BUSY, "too many calls of the function wait already");
        return;
    }
    wait_in(p, call);
    list_push(&p->waiting, &call->link);
    pool_pump(p);
}

void pool_ready(struct pool *p, struct instance *inst) {
    if (inst->exited || network_is_lost(inst)) {
        idle_add(p, inst);
        instance_end(inst);
        return;
    }
    if (p->n_waiting && !handover_due(p)) {
        atomic_fetch_add_explicit(&p->el->engine->busy, 1, memory_order_relaxed);
        instance_run(inst, take_waiting(p));
        return;
    }
    /* Also when the pool is retired: what waits on another loop still runs. */
    if (!p->el->draining && handover_give(p, inst))
        return;
    if (p->retired || p->el->draining) {
        idle_add(p, inst);
        instance_kill(inst, ERR_CANCELED, "retired");
        return;
    }
    idle_add(p, inst);
    if (p->n_waiting)
        pool_pump(p);
    else
        handover_idle(p);
}

void pool_load_failed(struct pool *p, uint64_t blame_ns, enum error_code cause, const char *type,
                      const char *text) {
    fail_waiting(p, blame_ns, cause, cause == ERR_FUNCTION ? type : NULL, text);
}

static void start_min(struct pool *p) {
    struct deployment *d = p->deployment;
    while (atomic_load(&d->shared->live) < d->min_instances) {
        struct error err = {0};
        if (!start_one(p, true, &err)) {
            log_warn("cannot keep instances warm", LOG_STR("function", d->function->name),
                     LOG_STR("reason", err.text));
            return;
        }
    }
}

static void keep_fired(struct loop_timer *timer) {
    struct pool *p = container_of(timer, struct pool, keep_timer);
    if (!p->retired && !p->el->draining)
        start_min(p);
}

void pool_lost(struct pool *p, bool released) {
    p->n_local--;
    if (!released)
        atomic_fetch_sub(&p->deployment->shared->live, 1);
    p->pinned++;
    if (p->n_waiting)
        pool_pump(p);
    else
        handover_lost(p);
    pool_keep_min(p);
    p->pinned--;
    pool_check_unused(p);
}

/* The minimum is kept by one loop; another one that lost an instance tells it. */
void pool_keep_min(struct pool *p) {
    struct deployment *d = p->deployment;
    uint32_t home = d->function->no % (uint32_t)p->el->engine->n_loops;
    if (p->retired || p->el->draining || atomic_load(&d->shared->live) >= d->min_instances)
        return;
    if (home != p->el->index)
        engine_publish(p->el->engine, d);
    else if (p->keep_ms == 0)
        start_min(p);
    else if (!loop_timer_is_set(&p->keep_timer))
        loop_timer_set(p->el->loop, &p->keep_timer,
                       loop_now_ns(p->el->loop) + p->keep_ms * NS_PER_MS);
}

void pool_died_idle(struct pool *p) {
    uint32_t ms = p->keep_ms ? 2 * p->keep_ms : ENGINE_KEEP_RETRY_MS;
    p->keep_ms = ms < ENGINE_KEEP_RETRY_MAX ? ms : ENGINE_KEEP_RETRY_MAX;
}

void pool_retire(struct pool *p) {
    p->retired = true;
    list_for_each_safe (it, &p->idle)
        instance_kill(list_entry(it, struct instance, link), ERR_CANCELED, "retired");
    pool_check_unused(p);
}

void pool_refuse_waiting(struct pool *p, const char *text) {
    fail_waiting(p, UINT64_MAX, ERR_UNAVAILABLE, NULL, text);
}
