/* SPDX-License-Identifier: Apache-2.0 */
/* Tasks: queued calls that somebody outside runs. The store knows what is reserved until when; one
 * timer on the first loop stands for the reservation that ends next, however many there are. */

#include "core/functions.h"
#include <stdio.h>

#define PULL_KEY        "KILN_PULL"
#define RECOUNT_EVERY_S 10 /* while there seem to be too many */

enum async_takers tasks_takers(const struct function *f) {
    const char *pull = pairs_get(&f->env, PULL_KEY);
    if (!f->async || strcmp(f->workspace, DEFAULT_WORKSPACE) != 0)
        return ASYNC_WORKERS;
    if (pull && strcmp(pull, "true") == 0)
        return ASYNC_PULLERS;
    return f->image ? ASYNC_BOTH : ASYNC_WORKERS;
}

/* What is known in memory is never too low; where it says that there is no room, the store is asked
 * what is left, now and then. */
static bool has_room(const struct tasks *t) {
    return t->open < ASYNC_PENDING_MAX && t->open_bytes < TASKS_BYTES_MAX;
}

int tasks_admit(struct core *c, struct store *s, uint64_t bytes, struct error *err) {
    struct tasks *t = &c->tasks;
    uint64_t now = clock_mono_ns();
    if (!has_room(t) && now >= t->recount_ns) {
        if (store_task_count(s, &t->open, &t->open_bytes, err) < 0)
            return -1;
        t->recount_ns = now + RECOUNT_EVERY_S * NS_PER_S;
    }
    if (has_room(t)) {
        t->open++;
        t->open_bytes += bytes;
        return 0;
    }
    error_set(err, ERR_BUSY, "too many tasks wait already for somebody to take them");
    err->retry_after_s = RECOUNT_EVERY_S;
    return -1;
}

/* ---- reservations that end ---- */
struct freed { /* functions with one call more for the workers each */
    uint32_t *v;
    size_t n, cap;
};

static void note_freed(void *arg, uint32_t function_no) {
    struct freed *f = arg;
    f->v = grow(f->v, f->n, &f->cap, sizeof *f->v);
    f->v[f->n++] = function_no;
}

static void tell_freed(struct core *c, struct freed *f) {
    for (size_t i = 0; i < f->n; i++)
        async_tell(c, f->v[i], 1);
    free(f->v);
    *f = (struct freed){0};
}

struct expire {
    struct store_job job;
    struct core *core;
    struct freed freed;
    int64_t next_us;
};

static int expire_run(struct store_job *job, struct store *s, struct error *err) {
    struct expire *e = container_of(job, struct expire, job);
    e->freed.n = 0; /* of a run that was undone */
    return store_task_expire(s, clock_real_us(), note_freed, &e->freed, &e->next_us, err);
}

/* On the first loop. */
static void watch(struct core *c, int64_t until_us) {
    struct tasks *t = &c->tasks;
    if (!until_us || atomic_load(&c->draining))
        return;
    int64_t left_us = until_us - clock_real_us();
    uint64_t at_ns = loop_now_ns(c->loops[0]) + (left_us > 0 ? (uint64_t)left_us * 1000 : 0);
    at_ns += NS_PER_MS; /* what fires too early finds nothing and is set again */
    if (!loop_timer_is_set(&t->timer) || t->timer.deadline_ns > at_ns)
        loop_timer_set(c->loops[0], &t->timer, at_ns);
}

static void expire_done(struct store_job *job, const struct error *err) {
    struct expire *e = container_of(job, struct expire, job);
    struct core *c = e->core;
    if (err) {
        log_error("ended reservations of tasks not looked at", LOG_STR("error", err->text));
        watch(c, clock_real_us() + (int64_t)MS_PER_S * 1000);
        e->freed.n = 0;
    } else {
        watch(c, e->next_us);
    }
    tell_freed(c, &e->freed);
    free(e);
}

static void expire_start(struct core *c) {
    struct expire *e = x_alloc(sizeof *e);
    e->core = c;
    e->job = (struct store_job){
        .db = STORE_STATE, .run = expire_run, .done = expire_done, .loop = c->loops[0]};
    store_submit(c->store, &e->job);
}

static void timer_fire(struct loop_timer *timer) {
    struct core *c = container_of(timer, struct core, tasks.timer);
    if (!atomic_load(&c->draining))
        expire_start(c);
}

void tasks_init(struct core *c) {
    loop_timer_init(&c->tasks.timer, timer_fire);
    c->tasks.open = ASYNC_PENDING_MAX; /* the store is asked first */
}

void tasks_start(struct core *c) {
    expire_start(c);
}

struct watch_task {
    struct loop_task task;
    struct core *core;
    int64_t until_us;
};

static void watch_run(struct loop_task *task) {
    struct watch_task *w = container_of(task, struct watch_task, task);
    watch(w->core, w->until_us);
    free(w);
}

static void watch_from_anywhere(struct core *c, int64_t until_us) {
    struct watch_task *w = x_alloc(sizeof *w);
    w->task.run = watch_run;
    w->core = c;
    w->until_us = until_us;
    loop_post(c->loops[0], &w->task);
}

/* ---- handing out ---- */
struct take {
    struct store_job job;
    struct loop_task task;
    struct core *core;
    struct error error;
    uint32_t limit;
    int64_t until_us;
    struct async_call v[STORE_TASKS_MAX];
    size_t n;
    struct freed freed;
    void (*done)(void *arg, const struct error *err, const struct async_call *v, size_t n);
    void *arg;
};

static void take_clear(struct take *t) {
    while (t->n > 0)
        free((char *)(uintptr_t)t->v[--t->n].input.p);
}

static void keep_task(void *arg, const struct async_call *call) {
    struct take *t = arg;
    struct async_call *copy = &t->v[t->n++];
    *copy = *call;
    copy->result_headers = copy->result_body = STR_NULL;
    copy->input = str_n(x_memdup(call->input.p, call->input.len), call->input.len);
}

static int take_run(struct store_job *job, struct store *s, struct error *err) {
    struct take *t = container_of(job, struct take, job);
    int64_t now = clock_real_us(), next;
    take_clear(t);
    t->freed.n = 0;
    t->until_us = now + (int64_t)t->core->config.task_lease_ms * 1000;
    if (store_task_expire(s, now, note_freed, &t->freed, &next, err) < 0)
        return -1;
    return store_task_take(s, t->limit, ASYNC_FETCH_BYTES, now, t->until_us, keep_task, t, err);
}

static void take_end(struct take *t, const struct error *err) {
    t->done(t->arg, err, err ? NULL : t->v, err ? 0 : t->n);
    take_clear(t);
    free(t->freed.v);
    free(t);
}

static void take_done(struct store_job *job, const struct error *err) {
    struct take *t = container_of(job, struct take, job);
    if (!err)
        tell_freed(t->core, &t->freed);
    if (!err && t->n)
        watch_from_anywhere(t->core, t->until_us);
    take_end(t, err);
}

static void take_refused(struct loop_task *task) {
    struct take *t = container_of(task, struct take, task);
    take_end(t, &t->error);
}

void core_tasks_take(struct core *c, struct loop *loop, uint32_t n,
                     void (*done)(void *arg, const struct error *err, const struct async_call *v,
                                  size_t n),
                     void *arg) {
    struct take *t = x_alloc(sizeof *t);
    t->core = c;
    t->limit = n;
    t->done = done;
    t->arg = arg;
    if (core_refuses(c, &t->error) < 0) {
        t->task.run = take_refused;
        loop_post(loop, &t->task);
        return;
    }
    t->job =
        (struct store_job){.db = STORE_STATE, .run = take_run, .done = take_done, .loop = loop};
    store_submit(c->store, &t->job);
}

/* ---- the end ---- */
struct task_end {
    struct store_job job;
    struct core_loop *cl;
    struct async_call outcome;
    int64_t started_us;
    char failed[256]; /* "" = it went well */
    void (*done)(void *arg, const struct error *err);
    void *arg;
};

static void begin_record(void *arg, const struct async_call *call) {
    struct task_end *e = arg;
    e->outcome.function_no = call->function_no;
    e->outcome.record = call->record;
}

/* What we know of a call that ran elsewhere: when it was given away and when it came back. */
static void fill_record(struct task_end *e, const struct function *f) {
    struct invocation *v = &e->outcome.record;
    v->ended_us = clock_real_us();
    if (v->started_us < v->created_us || v->started_us > v->ended_us)
        v->started_us = v->created_us;
    int64_t queued_us = v->started_us - v->created_us, running_us = v->ended_us - v->started_us;
    v->queued_us = queued_us < UINT32_MAX ? (uint32_t)queued_us : UINT32_MAX;
    v->running_us = running_us < UINT32_MAX ? (uint32_t)running_us : UINT32_MAX;
    v->version_number = f ? f->active_number : 0;
    v->status = e->failed[0] ? INV_FAILED : INV_COMPLETED;
    v->cause = e->failed[0] ? ERR_FUNCTION : ERR_NONE;
    memcpy(v->error_text, e->failed, sizeof v->error_text);
    e->outcome.status = v->status;
}

static int end_run(struct store_job *job, struct store *s, struct error *err) {
    struct task_end *e = container_of(job, struct task_end, job);
    struct core *c = e->cl->core;
    if (store_async_get(s, &e->outcome.id, begin_record, e, err) < 0)
        return err->code == ERR_NOT_FOUND
                   ? error_field(err, ERR_NOT_FOUND, "task", "there is no such task")
                   : -1;
    struct function *f = core_function(c, e->outcome.function_no);
    fill_record(e, f);
    function_unref(f);
    return store_task_end(s, &e->outcome, e->started_us, err);
}

static void end_done(struct store_job *job, const struct error *err) {
    struct task_end *e = container_of(job, struct task_end, job);
    if (!err)
        history_record(e->cl, &e->outcome.record);
    e->done(e->arg, err);
    free(e);
}

void core_task_end(struct core *c, struct loop *loop, const struct ulid *id, int64_t started_us,
                   struct str failed, void (*done)(void *arg, const struct error *err), void *arg) {
    struct task_end *e = x_alloc(sizeof *e);
    e->cl = core_on(c, loop);
    e->outcome.id = *id;
    e->started_us = started_us;
    if (failed.len)
        (void)snprintf(e->failed, sizeof e->failed, "%.*s", STR_ARG(failed));
    e->done = done;
    e->arg = arg;
    e->job = (struct store_job){.db = STORE_STATE, .run = end_run, .done = end_done, .loop = loop};
    store_submit(c->store, &e->job);
}
