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

/* ---- before the loops run ---- */
struct wait_job {
    struct store_job job;
    struct core *core;
    int (*read)(struct core *c, void *arg, struct error *err);
    void *arg;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool over;
    int result;
    struct error error;
};

static int wait_run(struct store_job *job, struct store *s, struct error *err) {
    (void)s;
    struct wait_job *w = container_of(job, struct wait_job, job);
    return w->read(w->core, w->arg, err);
}

static void wait_done(struct store_job *job, const struct error *err) {
    struct wait_job *w = container_of(job, struct wait_job, job);
    pthread_mutex_lock(&w->lock);
    if (err) {
        w->error = *err;
        w->result = -1;
    }
    w->over = true;
    pthread_cond_signal(&w->cond);
    pthread_mutex_unlock(&w->lock);
}

int ask_and_wait(struct core *c, enum store_db db,
                 int (*read)(struct core *c, void *arg, struct error *err), void *arg,
                 struct error *err) {
    struct wait_job w = {
        .job = {.db = db, .run = wait_run, .done = wait_done}, .core = c, .read = read, .arg = arg};
    pthread_mutex_init(&w.lock, NULL);
    pthread_cond_init(&w.cond, NULL);
    store_submit(c->store, &w.job);
    pthread_mutex_lock(&w.lock);
    while (!w.over)
        pthread_cond_wait(&w.cond, &w.lock);
    pthread_mutex_unlock(&w.lock);
    pthread_cond_destroy(&w.cond);
    pthread_mutex_destroy(&w.lock);
    if (w.result < 0 && err)
        *err = w.error;
    return w.result;
}
