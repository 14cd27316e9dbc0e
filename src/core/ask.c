/* SPDX-License-Identifier: Apache-2.0 */
/* Questions to the store. One about history first lets every loop hand over what it has gathered:
 * jobs run in the order in which they were queued, so the answer holds every call whose reply was
 * sent before the question came. */

#include "core/internal.h"

struct ask_part {
    struct loop_task task;
    struct ask *ask;
    struct core_loop *cl;
};

static int job_run(struct store_job *job, struct store *s, struct error *err) {
    struct ask *a = container_of(job, struct ask, job);
    return a->read(a, s, err);
}

static void fetch_run(struct work *work) {
    struct ask *a = container_of(work, struct ask, work);
    if (a->fetch(a, &a->error) < 0 && a->error.code == ERR_NONE)
        a->error.code = ERR_INTERNAL;
}

static void fetch_done(struct work *work) {
    struct ask *a = container_of(work, struct ask, work);
    if (work->dropped)
        (void)error_set(&a->error, ERR_UNAVAILABLE, "the server is shutting down");
    a->answer(a, a->error.code ? &a->error : NULL);
}

/* What was read says that more lies elsewhere. */
static void fetch(struct ask *a) {
    a->work = (struct work){.run = fetch_run, .done = fetch_done, .loop = a->loop};
    if (workers_submit(a->core->config.workers, &a->work) == 0)
        return;
    (void)error_set(&a->error, ERR_UNAVAILABLE, "too much waits for a worker thread");
    a->answer(a, &a->error);
}

static void job_done(struct store_job *job, const struct error *err) {
    struct ask *a = container_of(job, struct ask, job);
    free(a->parts);
    a->parts = NULL;
    if (!err && a->far && a->fetch)
        fetch(a);
    else
        a->answer(a, err);
}

static void submit(struct ask *a, enum store_db db) {
    a->job = (struct store_job){.db = db, .run = job_run, .done = job_done, .loop = a->loop};
    store_submit(a->core->store, &a->job);
}

void ask_start(struct ask *a) {
    submit(a, STORE_STATE);
}

static void part_run(struct loop_task *task) {
    struct ask_part *part = container_of(task, struct ask_part, task);
    struct ask *a = part->ask;
    if (a->look)
        engine_usage_look(part->cl->el, a->look_function, USAGE_LOOK_MAX);
    history_flush(part->cl);
    if (atomic_fetch_sub(&a->left, 1) == 1)
        submit(a, STORE_HISTORY);
}

void ask_after_history(struct ask *a) {
    struct core *c = a->core;
    struct ask_part *parts = x_calloc(c->n_loops, sizeof *parts);
    a->parts = parts;
    atomic_store(&a->left, c->n_loops);
    for (size_t i = 0; i < c->n_loops; i++) {
        parts[i] = (struct ask_part){.ask = a, .cl = &c->on[i]};
        parts[i].task.run = part_run;
    }
    /* The last part may free A and the parts; C lives on. */
    for (size_t i = 0, n = c->n_loops; i < n; i++)
        loop_post(c->loops[i], &parts[i].task);
}
