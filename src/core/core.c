/* SPDX-License-Identifier: Apache-2.0 */
/* Making, starting and freeing the core. */

#include "core/internal.h"
#include "core/places.h"

void *grow(void *v, size_t n, size_t *cap, size_t size) {
    if (n < *cap)
        return v;
    *cap = *cap ? *cap * 2 : 8;
    return x_realloc(v, *cap * size);
}

struct core_loop *core_on(struct core *c, const struct loop *loop) {
    for (size_t i = 0; i < c->n_loops; i++)
        if (c->loops[i] == loop)
            return &c->on[i];
    abort(); /* a loop that is not the server's */
}

int64_t core_stamp(struct core *c) {
    int64_t now = clock_real_us(), last = atomic_load(&c->last_change_us), stamp;
    do
        stamp = now > last ? now : last + 1;
    while (!atomic_compare_exchange_weak(&c->last_change_us, &last, stamp));
    return stamp;
}

/* ---- something was published ---- */
static void look_again_run(struct loop_task *task) {
    struct core_loop *cl = container_of(task, struct core_loop, look_again);
    atomic_store(&cl->look_again_posted, false);
    calls_look_again(cl);
    async_resting_wake(cl, loop_now_ns(cl->loop));
    async_pump(cl);
}

void core_look_again(struct core *c) {
    for (size_t i = 0; i < c->n_loops; i++)
        if (!atomic_exchange(&c->on[i].look_again_posted, true))
            loop_post(c->loops[i], &c->on[i].look_again);
}

/* ---- loading ---- */
static void load_function(void *arg, struct function *f) {
    struct core *c = arg;
    struct core_fn *fn = core_fn_new(f);
    registry_add(&c->registry, fn);
    core_fn_unref(fn);
    if (f->updated_us > atomic_load(&c->last_change_us))
        atomic_store(&c->last_change_us, f->updated_us);
}

/* Nobody else looks yet, so the registry is changed in place. */
static void load_trigger(void *arg, struct trigger *t) {
    struct core *c = arg;
    struct core_fn *fn = registry_find(&c->registry, t->function_no);
    if (!fn) {
        trigger_unref(t);
        return;
    }
    routes_remove(&c->registry.routes, fn);
    fn->triggers = x_realloc(fn->triggers, (fn->n_triggers + 1) * sizeof *fn->triggers);
    size_t at = fn->n_triggers++;
    for (; at > 0 && fn->triggers[at - 1]->no < t->no; at--)
        fn->triggers[at] = fn->triggers[at - 1];
    fn->triggers[at] = t;
    routes_add(&c->registry.routes, fn);
    core_fn_unref(fn);
}

static bool load_unbuilt(void *arg, const struct version *v) {
    struct core *c = arg;
    if (v->build != BUILD_PENDING && v->build != BUILD_RUNNING)
        return true;
    c->unbuilt = grow(c->unbuilt, c->n_unbuilt, &c->cap_unbuilt, sizeof *c->unbuilt);
    struct version *keep = &c->unbuilt[c->n_unbuilt++];
    *keep = *v;
    keep->image = version_is_image(v) ? x_strdup(v->image) : NULL;
    keep->build_log = NULL;
    return true;
}

static void load_pending(void *arg, uint32_t function_no, uint64_t pending) {
    struct core *c = arg;
    c->recovered = grow(c->recovered, c->n_recovered, &c->cap_recovered, sizeof *c->recovered);
    c->recovered[c->n_recovered++] = (struct pending_count){function_no, pending};
}

static void load_workspace(void *arg, struct workspace *w) {
    struct core *c = arg;
    places_add_workspace(&c->places, w);
}

static void load_project(void *arg, struct project *p) {
    struct core *c = arg;
    places_put_project(&c->places, p);
}

static int load(struct store *s, void *arg, struct error *err) {
    struct core *c = arg;
    if (store_workspace_each(s, load_workspace, c, err) < 0 ||
        store_project_each(s, load_project, c, err) < 0 || jobs_init(c, s, err) < 0 ||
        store_function_each(s, load_function, c, err) < 0 ||
        store_trigger_each(s, load_trigger, c, err) < 0)
        return -1;
    for (size_t i = 0; i < c->registry.n; i++)
        if (store_version_each(s, c->registry.v[i]->no, load_unbuilt, c, err) < 0)
            return -1;
    return store_async_recover(s, load_pending, c, err);
}

static void loop_init(struct core *c, size_t i) {
    struct core_loop *cl = &c->on[i];
    cl->core = c;
    cl->loop = c->loops[i];
    cl->index = (uint32_t)i;
    cl->look_again.run = look_again_run;
    history_init(cl);
    calls_init(cl);
    async_init(cl);
    list_init(&cl->checks);
}

static int make_engine(struct core *c, struct error *err) {
    struct engine_config *config = &c->config.engine;
    config->user = c;
    config->on_log = core_on_log;
    config->on_usage = core_on_usage;
    config->fetch_code = code_fetch;
    config->kv = kv_ask;
    if (engine_new(config, c->loops, c->n_loops, &c->engine, err) < 0)
        return -1;
    for (size_t i = 0; i < c->n_loops; i++)
        c->on[i].el = engine_on(c->engine, c->loops[i]);
    return 0;
}

int core_new(const struct core_config *config, struct store *store, struct loop **loops,
             size_t n_loops, struct core **ret, struct error *err) {
    struct core *c = x_alloc(sizeof *c);
    c->config = *config;
    c->store = store;
    c->loops = x_memdup(loops, n_loops * sizeof(struct loop *));
    c->n_loops = n_loops;
    c->on = x_calloc(n_loops, sizeof *c->on);
    pthread_mutex_init(&c->turns_lock, NULL);
    registry_init(&c->registry);
    places_init(&c->places);
    pthread_mutex_init(&c->jobs.lock, NULL);
    builds_init(&c->builds);
    tasks_init(c);
    code_cache_init(&c->codes);
    followers_init(&c->followers);
    schedules_init(&c->schedules);
    for (size_t i = 0; i < n_loops; i++)
        loop_init(c, i);
    if (store_wait(store, STORE_STATE, load, c, err) < 0 || auth_load(c, err) < 0 ||
        make_engine(c, err) < 0) {
        core_free(c);
        return -1;
    }
    atomic_store(&c->store_ok, true);
    *ret = c;
    return 0;
}

/* ---- starting ---- */
static void start_function(struct core *c, struct core_fn *fn, bool used[RUNTIME_COUNT]) {
    struct function *f = registry_view(&c->registry, fn, NULL);
    if (!f->image) /* that one's begins with its first call */
        used[f->kind] = true;
    if (f->active_no) {
        struct publication p = {.set_deployment = true};
        p.deployment = core_deployment(c, f, f->active_no, f->active_number);
        registry_publish(c, fn, &p);
    }
    function_unref(f);
}

/* Was this unfinished build to be activated? Creation and an update with code say so by the
 * function's status: its first version without an active one, else the newest. */
static bool to_activate(const struct core *c, const struct function *f, const struct version *v) {
    if (f->status != FN_BUILDING)
        return false;
    for (size_t i = 0; i < c->n_unbuilt; i++) {
        const struct version *other = &c->unbuilt[i];
        if (other->function_no != v->function_no || other->no == v->no)
            continue;
        if (f->active_no ? other->number > v->number : other->number < v->number)
            return false;
    }
    return true;
}

static void resume_builds(struct core *c) {
    for (size_t i = 0; i < c->n_unbuilt; i++) {
        const struct version *v = &c->unbuilt[i];
        struct core_fn *fn = registry_find(&c->registry, v->function_no);
        if (!fn)
            continue;
        struct function *f = registry_view(&c->registry, fn, NULL);
        build_enqueue(c, fn, f, v->no, v->number, v->image, to_activate(c, f, v), false, NULL,
                      NULL);
        function_unref(f);
        core_fn_unref(fn);
    }
    for (size_t i = 0; i < c->n_unbuilt; i++)
        version_done(&c->unbuilt[i]);
    free(c->unbuilt);
    c->unbuilt = NULL;
    c->n_unbuilt = 0;
}

static void on_first_loop(struct loop_task *task) {
    struct core *c = container_of(task, struct core_loop, started)->core;
    retention_start(c);
    schedules_start(c);
    objects_start(c);
}

struct core_fn **core_fns(struct core *c, size_t *ret_n) {
    pthread_rwlock_rdlock(&c->registry.lock);
    size_t n = c->registry.n;
    struct core_fn **v = x_calloc(n + 1, sizeof(struct core_fn *));
    for (size_t i = 0; i < n; i++)
        v[i] = core_fn_ref(c->registry.v[i]);
    pthread_rwlock_unlock(&c->registry.lock);
    *ret_n = n;
    return v;
}

void core_start(struct core *c) {
    bool used[RUNTIME_COUNT] = {false};
    size_t n;
    cleanup_free struct core_fn **v = core_fns(c, &n);
    for (size_t i = 0; i < n; i++) {
        start_function(c, v[i], used);
        core_fn_unref(v[i]);
    }
    for (int kind = 0; kind < RUNTIME_COUNT; kind++)
        if (used[kind])
            engine_warm(c->engine, (enum runtime_kind)kind);
    atomic_store(&c->started, true);
    resume_builds(c);
    for (size_t i = 0; i < c->n_recovered; i++)
        async_tell(c, c->recovered[i].function_no, c->recovered[i].pending);
    free(c->recovered);
    c->recovered = NULL;
    c->n_recovered = 0;
    tasks_start(c);
    c->on[0].started.run = on_first_loop;
    loop_post(c->loops[0], &c->on[0].started);
}

struct engine *core_engine(struct core *c) {
    return c->engine;
}

const struct core_config *core_config_of(const struct core *c) {
    return &c->config;
}

void core_free(struct core *c) {
    if (!c)
        return;
    for (size_t i = 0; i < c->n_loops; i++) {
        history_done(&c->on[i]);
        async_done(&c->on[i]);
    }
    builds_done(&c->builds);
    registry_done(&c->registry); /* its deployments before the engine */
    if (c->engine)
        engine_free(c->engine);
    code_cache_done(&c->codes);
    places_done(&c->places);
    pthread_mutex_destroy(&c->jobs.lock);
    followers_done(&c->followers);
    schedules_done(&c->schedules);
    pthread_mutex_destroy(&c->turns_lock);
    free(c->unbuilt);
    free(c->recovered);
    free(c->auth.tokens);
    free(c->on);
    free(c->loops);
    free(c);
}
