/* SPDX-License-Identifier: Apache-2.0 */
/* Deployments: made, published to every loop, retired from every loop. */

#include "engine/internal.h"

struct deployment *deployment_new(struct engine *e, struct function *f, uint32_t version_no,
                                  uint32_t version_number) {
    const struct engine_config *config = &e->config;
    struct deployment *d = x_alloc(sizeof *d);
    d->refs = 1;
    d->function = function_ref(f);
    d->kind = f->image ? RUNTIME_IMAGE : f->kind;
    d->version_no = version_no;
    d->version_number = version_number;
    d->memory_bytes = f->memory_bytes ? f->memory_bytes : config->memory_default;
    if (d->memory_bytes > config->memory_max)
        d->memory_bytes = config->memory_max;
    d->cpu_milli = f->cpu_milli;
    d->timeout_ms = f->timeout_ms ? f->timeout_ms : config->timeout_ms_default;
    d->max_instances = f->max_instances ? f->max_instances : config->max_instances_default;
    d->min_instances = f->min_instances < d->max_instances ? f->min_instances : d->max_instances;
    d->shared = x_alloc(sizeof *d->shared + e->n_loops * sizeof d->shared->pools[0]);
    d->shared->engine = e;
    return d;
}

struct deployment *deployment_ref(struct deployment *d) {
    atomic_fetch_add_explicit(&d->refs, 1, memory_order_relaxed);
    return d;
}

void deployment_unref(struct deployment *d) {
    if (!d || atomic_fetch_sub_explicit(&d->refs, 1, memory_order_acq_rel) != 1)
        return;
    function_unref(d->function);
    project_unref(d->project);
    free(d->shared);
    free(d);
}

uint32_t deployment_instances(const struct deployment *d) {
    return atomic_load(&d->shared->ready);
}

struct notice { /* a deployment's news to one loop */
    struct loop_task task;
    struct engine_loop *el;
    struct deployment *deployment; /* a reference */
};

static void notice_free(struct notice *n) {
    deployment_unref(n->deployment);
    free(n);
}

static void published(struct loop_task *task) {
    struct notice *n = container_of(task, struct notice, task);
    if (!n->el->draining && !atomic_load(&n->deployment->shared->retired))
        pool_keep_min(pool_of(n->el, n->deployment));
    notice_free(n);
}

static void retired(struct loop_task *task) {
    struct notice *n = container_of(task, struct notice, task);
    struct pool *p = n->deployment->shared->pools[n->el->index];
    if (p)
        pool_retire(p);
    notice_free(n);
}

static void tell(struct engine_loop *el, struct deployment *d,
                 void (*run)(struct loop_task *task)) {
    struct notice *n = x_alloc(sizeof *n);
    n->task.run = run;
    n->el = el;
    n->deployment = deployment_ref(d);
    loop_post(el->loop, &n->task);
}

void engine_publish(struct engine *e, struct deployment *d) {
    if (d->min_instances)
        tell(&e->on[d->function->no % e->n_loops], d, published);
}

void engine_retire(struct engine *e, struct deployment *d) {
    atomic_store(&d->shared->retired, true);
    for (size_t i = 0; i < e->n_loops; i++)
        tell(&e->on[i], d, retired);
}
