/* SPDX-License-Identifier: Apache-2.0 */
/* Is everything there that a call needs? */

#include "core/internal.h"
#include <stdio.h>

struct health_ask {
    struct ask ask;
    struct loop_task task;
    struct token_row token;
    bool has_token;
    void (*done)(void *arg, const struct error *err);
    void *arg;
};

/* A row of ours, written as it is: a real write and commit that changes nothing. */
static int read_health(struct ask *ask, struct store *s, struct error *err) {
    struct health_ask *a = container_of(ask, struct health_ask, ask);
    if (a->has_token)
        return store_token_put(s, &a->token, err);
    struct store_stats stats;
    store_stats(s, &stats);
    return 0;
}

static void say(struct health_ask *a, const struct error *err) {
    struct core *c = a->ask.core;
    struct error why = {0};
    struct engine_info info;
    engine_info(c->engine, &info);
    if (err)
        error_set(&why, ERR_UNAVAILABLE, "the store does not take writes: %s", err->text);
    else if (!info.ok)
        error_set(&why, ERR_UNAVAILABLE, "functions cannot run: %s", info.reason);
    else if (atomic_load(&c->draining))
        error_set(&why, ERR_UNAVAILABLE, "the server is shutting down");
    else if (!atomic_load(&c->started))
        error_set(&why, ERR_UNAVAILABLE, "the server is starting");
    a->done(a->arg, why.code ? &why : NULL);
    free(a);
}

static void answer(struct ask *ask, const struct error *err) {
    struct health_ask *a = container_of(ask, struct health_ask, ask);
    atomic_store(&ask->core->store_ok, err == NULL);
    if (!err)
        atomic_store(&ask->core->healthy_ns, clock_mono_ns());
    say(a, err);
}

static void fresh_run(struct loop_task *task) {
    say(container_of(task, struct health_ask, task), NULL);
}

void core_health(struct core *c, struct loop *loop,
                 void (*done)(void *arg, const struct error *err), void *arg) {
    struct health_ask *a = x_alloc(sizeof *a);
    uint64_t healthy_ns = atomic_load(&c->healthy_ns);
    a->ask = (struct ask){.core = c, .loop = loop, .read = read_health, .answer = answer};
    a->done = done;
    a->arg = arg;
    a->has_token = c->auth.n > 0;
    if (a->has_token)
        a->token = c->auth.tokens[0];
    /* Anybody may ask: a good answer of a moment ago costs no commit. */
    if (healthy_ns && clock_mono_ns() - healthy_ns < HEALTH_FRESH_MS * NS_PER_MS) {
        a->task.run = fresh_run;
        loop_post(loop, &a->task);
        return;
    }
    ask_start(&a->ask);
}

bool core_draining(struct core *c) {
    return atomic_load(&c->draining);
}

bool core_ready(struct core *c) {
    return atomic_load(&c->started) && atomic_load(&c->store_ok) && !atomic_load(&c->draining);
}

void core_stats(struct core *c, struct core_stats *ret) {
    int64_t pending = atomic_load(&c->async_pending);
    *ret = (struct core_stats){.async_pending = pending > 0 ? (uint32_t)pending : 0,
                               .async_running = atomic_load(&c->async_running),
                               .images = c->config.images && oci_available(NULL),
                               .cold_start_us = atomic_load(&c->cold_start_us)};
    pthread_rwlock_rdlock(&c->registry.lock);
    ret->functions = (uint32_t)c->registry.n;
    pthread_rwlock_unlock(&c->registry.lock);
    store_stats(c->store, &ret->store);
    engine_info(c->engine, &ret->engine);
}
