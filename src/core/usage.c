/* SPDX-License-Identifier: Apache-2.0 */
/* What instances use: into the function's present minute and its totals since the start. */

#include "core/internal.h"

static uint64_t load(_Atomic uint64_t *v) {
    return atomic_load_explicit(v, memory_order_relaxed);
}

void core_on_usage(void *user, struct loop *loop, const struct deployment *d,
                   const struct engine_usage *delta) {
    struct core *c = user;
    uint32_t no = d->function->no;
    struct core_fn *fn = registry_find(&c->registry, no);
    if (!fn) /* deleted: nothing is left to be told of it */
        return;
    struct fn_totals *t = &fn->totals;
    atomic_fetch_add_explicit(&t->cpu_us, delta->cpu_us, memory_order_relaxed);
    atomic_fetch_add_explicit(&t->memory_bytes, delta->memory_bytes, memory_order_relaxed);
    if (delta->cpu_us || delta->memory_peak_bytes) {
        struct metric_minute *m =
            history_minute(core_on(c, loop), no, clock_real_us() / US_PER_MINUTE);
        m->cpu_us += delta->cpu_us;
        if (delta->memory_peak_bytes > m->memory_peak_bytes)
            m->memory_peak_bytes = delta->memory_peak_bytes;
    }
    core_fn_unref(fn);
}

static void fill(struct core_totals *v, struct core_fn *fn) {
    struct fn_totals *t = &fn->totals;
    int64_t memory = atomic_load_explicit(&t->memory_bytes, memory_order_relaxed);
    *v = (struct core_totals){
        .function = function_ref(fn->function),
        .invocations = load(&t->invocations),
        .errors = load(&t->errors),
        .cold_starts = load(&t->cold_starts),
        .running_us = load(&t->running_us),
        .cpu_us = load(&t->cpu_us),
        .memory_bytes = memory > 0 ? (uint64_t)memory : 0,
        .instances = fn->deployment ? deployment_instances(fn->deployment) : 0,
        .running = atomic_load_explicit(&fn->running, memory_order_relaxed),
    };
}

struct core_totals *core_totals(struct core *c, size_t *ret_n) {
    pthread_rwlock_rdlock(&c->registry.lock);
    size_t n = c->registry.n;
    struct core_totals *v = x_calloc(n + 1, sizeof *v);
    for (size_t i = 0; i < n; i++)
        fill(&v[i], c->registry.v[i]);
    pthread_rwlock_unlock(&c->registry.lock);
    *ret_n = n;
    return v;
}

void core_totals_free(struct core_totals *v, size_t n) {
    for (size_t i = 0; i < n; i++)
        function_unref(v[i].function);
    free(v);
}

/* ---- now ---- */
struct refresh {
    struct ask ask;
    void (*done)(void *arg);
    void *arg;
};

static int read_nothing(struct ask *ask UNUSED, struct store *s UNUSED, struct error *err UNUSED) {
    return 0;
}

static void refreshed(struct ask *ask, const struct error *err UNUSED) {
    struct refresh *r = container_of(ask, struct refresh, ask);
    r->done(r->arg);
    free(r);
}

void core_usage_refresh(struct core *c, struct loop *loop, void (*done)(void *arg), void *arg) {
    struct refresh *r = x_alloc(sizeof *r);
    r->ask = (struct ask){
        .core = c, .loop = loop, .read = read_nothing, .answer = refreshed, .look = true};
    r->done = done;
    r->arg = arg;
    ask_after_history(&r->ask);
}
