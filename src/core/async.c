/* SPDX-License-Identifier: Apache-2.0 */
/* The dispatcher of queued calls. Each function belongs to one loop (by number). That loop fetches
 * the oldest calls of a function only while fewer than its instances run, a few at a time, and
 * serves functions in turn, so that a slow one holds up nobody and memory stays bounded. */

#include "core/internal.h"

static struct core_loop *async_home(struct core *c, uint32_t function_no) {
    return &c->on[function_no % c->n_loops];
}

/* ---- fetching ---- */
struct fetch {
    struct store_job job;
    struct core_loop *cl;
    struct async_fn *afn;
    struct core_fn *fn;
    uint32_t limit;
    int64_t pending_then;
    struct async_run *runs[ASYNC_FETCH_MAX];
    uint32_t n;
};

static void keep_run(void *arg, const struct async_call *call) {
    struct fetch *f = arg;
    if (f->n < f->limit)
        f->runs[f->n++] = async_run_new(f->cl, f->afn, f->fn, call);
}

static void drop_runs(struct fetch *f) {
    while (f->n > 0)
        async_run_free(f->runs[--f->n]);
}

static int fetch_run(struct store_job *job, struct store *s, struct error *err) {
    struct fetch *f = container_of(job, struct fetch, job);
    int64_t now = clock_real_us();
    drop_runs(f);
    if (store_async_pending(s, (uint32_t)f->afn->key, 0, f->limit, ASYNC_FETCH_BYTES, keep_run, f,
                            err) < 0)
        return -1;
    for (uint32_t i = 0; i < f->n; i++)
        if (store_async_start(s, &f->runs[i]->id, now, err) < 0)
            return -1;
    return 0;
}

/* Puts the function into the ring when there may be something to fetch. */
static void offer(struct async *a, struct async_fn *afn) {
    if (afn->pending > 0 && !afn->fetching && list_empty(&afn->link))
        list_push(&a->ready, &afn->link);
}

static void forget_if_idle(struct async *a, struct async_fn *afn) {
    if (afn->pending != 0 || afn->running || afn->fetching)
        return;
    list_del(&afn->link);
    map_del(&a->fns, MAP_KEY(afn->key));
    free(afn);
}

static void lower_pending(struct core *c, struct async_fn *afn, int64_t by) {
    afn->pending -= by;
    atomic_fetch_sub(&c->async_pending, by);
}

static void release_reserved(struct core_loop *cl, struct async_fn *afn, uint32_t n) {
    afn->running -= n;
    cl->async.running -= n;
    atomic_fetch_sub(&cl->core->async_running, n);
}

static void fetch_done(struct store_job *job, const struct error *err) {
    struct fetch *f = container_of(job, struct fetch, job);
    struct core_loop *cl = f->cl;
    struct async_fn *afn = f->afn;
    struct async *a = &cl->async;
    afn->fetching = false;
    if (err) {
        log_error("queued calls not read", LOG_STR("error", err->text));
        drop_runs(f);
        loop_timer_set(cl->loop, &a->timer, loop_now_ns(cl->loop) + NS_PER_S);
    }
    release_reserved(cl, afn, f->limit - f->n);
    if (!err) /* none: rows that were told of went with their function */
        lower_pending(cl->core, afn, f->n ? (int64_t)f->n : f->pending_then);
    a->pumping = true; /* what ends at once must not start another round inside of this one */
    for (uint32_t i = 0; i < f->n; i++)
        async_run_submit(f->runs[i]);
    a->pumping = false;
    core_fn_unref(f->fn);
    free(f);
    if (!err)
        offer(a, afn);
    forget_if_idle(a, afn);
    async_pump(cl);
}

static void fetch_start(struct core_loop *cl, struct async_fn *afn, struct core_fn *fn,
                        uint32_t room) {
    struct fetch *f = x_alloc(sizeof *f);
    f->cl = cl;
    f->afn = afn;
    f->fn = core_fn_ref(fn);
    f->limit = room;
    f->pending_then = afn->pending;
    f->job = (struct store_job){
        .db = STORE_STATE, .run = fetch_run, .done = fetch_done, .loop = cl->loop};
    afn->fetching = true;
    afn->running += room; /* reserved */
    cl->async.running += room;
    atomic_fetch_add(&cl->core->async_running, room);
    store_submit(cl->core->store, &f->job);
}

/* How many calls of the function may be fetched now. */
static uint32_t room_for(const struct async *a, const struct async_fn *afn,
                         const struct deployment *d) {
    uint32_t most = d ? d->max_instances : ASYNC_FETCH_MAX, half = (a->running_max + 1) / 2;
    if (most > half) /* however many instances it may have, others get a share */
        most = half;
    uint32_t room = most > afn->running ? most - afn->running : 0;
    if (room > a->running_max - a->running)
        room = a->running_max - a->running;
    return room < ASYNC_FETCH_MAX ? room : ASYNC_FETCH_MAX;
}

static void serve(struct core_loop *cl, struct async_fn *afn) {
    struct core *c = cl->core;
    struct core_fn *fn = registry_find(&c->registry, (uint32_t)afn->key);
    if (!fn) { /* its rows are gone with it */
        lower_pending(c, afn, afn->pending);
        forget_if_idle(&cl->async, afn);
        return;
    }
    struct deployment *d;
    struct function *f = registry_view(&c->registry, fn, &d);
    bool later = !d && (f->status == FN_BUILDING || f->status == FN_PENDING ||
                        atomic_load(&fn->pulling_again));
    uint32_t room = later ? 0 : room_for(&cl->async, afn, d);
    if (room)
        fetch_start(cl, afn, fn, room);
    if (d)
        deployment_unref(d);
    function_unref(f);
    core_fn_unref(fn);
}

static void pump(struct core_loop *cl) {
    struct async *a = &cl->async;
    if (a->pumping || atomic_load(&cl->core->draining))
        return;
    a->pumping = true;
    struct list *node;
    while (a->running < a->running_max && (node = list_shift(&a->ready)))
        serve(cl, list_entry(node, struct async_fn, link));
    a->pumping = false;
}

/* Looks at every function with something pending: after a publication or a pause. */
void async_pump(struct core_loop *cl) {
    size_t it = 0;
    struct async_fn *afn;
    if (cl->async.pumping)
        return;
    while ((afn = map_next(&cl->async.fns, &it)))
        offer(&cl->async, afn);
    pump(cl);
}

void async_run_over(struct async_run *run) {
    struct core_loop *cl = run->cl;
    struct async_fn *afn = run->afn;
    release_reserved(cl, afn, 1);
    async_run_free(run);
    offer(&cl->async, afn);
    if (!cl->async.pumping) /* else whoever pumps does both */
        forget_if_idle(&cl->async, afn);
    pump(cl);
}

/* ---- news ---- */
struct tell {
    struct loop_task task;
    struct core_loop *cl;
    uint64_t key, count;
};

static void tell_run(struct loop_task *task) {
    struct tell *t = container_of(task, struct tell, task);
    struct async *a = &t->cl->async;
    struct async_fn *afn = map_get(&a->fns, MAP_KEY(t->key));
    if (!afn) {
        afn = x_alloc(sizeof *afn);
        afn->key = t->key;
        list_init(&afn->link);
        map_put(&a->fns, MAP_KEY(afn->key), afn);
    }
    afn->pending += (int64_t)t->count;
    offer(a, afn);
    forget_if_idle(a, afn); /* fetched before we heard of it */
    pump(t->cl);
    free(t);
}

void async_tell(struct core *c, uint32_t function_no, uint64_t count) {
    struct tell *t = x_alloc(sizeof *t);
    t->task.run = tell_run;
    t->cl = async_home(c, function_no);
    t->key = function_no;
    t->count = count;
    atomic_fetch_add(&c->async_pending, (int64_t)count);
    loop_post(t->cl->loop, &t->task);
}

/* ---- those that rest ---- */
static void timer_fire(struct loop_timer *timer) {
    struct core_loop *cl = container_of(timer, struct core_loop, async.timer);
    async_resting_wake(cl, loop_now_ns(cl->loop));
    async_pump(cl);
}

void async_init(struct core_loop *cl) {
    struct async *a = &cl->async;
    uint32_t n = (uint32_t)cl->core->n_loops, most = cl->core->config.async_running_max;
    map_init(&a->fns);
    list_init(&a->ready);
    list_init(&a->resting);
    a->running_max = most > n ? most / n : 1;
    loop_timer_init(&a->timer, timer_fire);
}

void async_done(struct core_loop *cl) {
    size_t it = 0;
    struct async_fn *afn;
    for (struct list *node; (node = list_shift(&cl->async.resting));)
        async_run_free(list_entry(node, struct async_run, link));
    while ((afn = map_next(&cl->async.fns, &it)))
        free(afn);
    map_done(&cl->async.fns);
}
