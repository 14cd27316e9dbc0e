/* SPDX-License-Identifier: Apache-2.0 */
/* The functions in memory. Source code is never kept here. */

#include "core/internal.h"
#include <stdio.h>

#define KEY_MAX (3 * (NAME_MAX_LEN + 1))

void registry_init(struct registry *r) {
    pthread_rwlock_init(&r->lock, NULL);
    map_init(&r->names);
    map_init(&r->routes);
}

void registry_done(struct registry *r) {
    for (size_t i = 0; i < r->n; i++)
        core_fn_unref(r->v[i]);
    free(r->v);
    map_done(&r->names);
    routes_done(&r->routes);
    pthread_rwlock_destroy(&r->lock);
}

/* 0 when a part is too long to be a name. */
static size_t make_key(char out[KEY_MAX], struct str ws, struct str project, struct str name) {
    struct str parts[] = {ws, project, name};
    size_t len = 0;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        if (parts[i].len > NAME_MAX_LEN)
            return 0;
        if (parts[i].len)
            memcpy(out + len, parts[i].p, parts[i].len);
        len += parts[i].len;
        out[len++] = '\0';
    }
    return len;
}

static void set_key(struct core_fn *fn, const struct function *f) {
    char key[KEY_MAX];
    fn->key_len = make_key(key, str_of(f->workspace), str_of(f->project), str_of(f->name));
    free(fn->key);
    fn->key = x_memdup(key, fn->key_len);
}

struct core_fn *core_fn_new(struct function *f) {
    struct core_fn *fn = x_alloc(sizeof *fn);
    fn->refs = 1;
    fn->no = f->no;
    fn->function = f;
    set_key(fn, f);
    list_init(&fn->changes);
    return fn;
}

struct core_fn *core_fn_ref(struct core_fn *fn) {
    atomic_fetch_add_explicit(&fn->refs, 1, memory_order_relaxed);
    return fn;
}

void core_fn_unref(struct core_fn *fn) {
    if (!fn || atomic_fetch_sub_explicit(&fn->refs, 1, memory_order_acq_rel) != 1)
        return;
    function_unref(fn->function);
    if (fn->deployment)
        deployment_unref(fn->deployment);
    triggers_free(fn->triggers, fn->n_triggers);
    free(fn->key);
    free(fn);
}

void triggers_free(struct trigger **v, size_t n) {
    for (size_t i = 0; i < n; i++)
        trigger_unref(v[i]);
    free(v);
}

/* Index of the first function whose number is at least NO. */
static size_t lower_bound(const struct registry *r, uint32_t no) {
    size_t lo = 0, hi = r->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (r->v[mid]->no < no)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static struct core_fn *find_locked(const struct registry *r, uint32_t no) {
    size_t i = lower_bound(r, no);
    return i < r->n && r->v[i]->no == no ? r->v[i] : NULL;
}

struct core_fn *registry_find(struct registry *r, uint32_t no) {
    pthread_rwlock_rdlock(&r->lock);
    struct core_fn *fn = find_locked(r, no);
    if (fn)
        core_fn_ref(fn);
    pthread_rwlock_unlock(&r->lock);
    return fn;
}

struct core_fn *registry_resolve(struct registry *r, uint32_t no, struct function **ret_f,
                                 struct deployment **ret_d) {
    pthread_rwlock_rdlock(&r->lock);
    struct core_fn *fn = find_locked(r, no);
    if (fn) {
        core_fn_ref(fn);
        *ret_f = function_ref(fn->function);
        *ret_d = fn->deployment ? deployment_ref(fn->deployment) : NULL;
    }
    pthread_rwlock_unlock(&r->lock);
    return fn;
}

struct function *registry_view(struct registry *r, struct core_fn *fn, struct deployment **ret) {
    pthread_rwlock_rdlock(&r->lock);
    struct function *f = function_ref(fn->function);
    if (ret)
        *ret = fn->deployment ? deployment_ref(fn->deployment) : NULL;
    pthread_rwlock_unlock(&r->lock);
    return f;
}

void registry_add(struct registry *r, struct core_fn *fn) {
    core_fn_ref(fn);
    pthread_rwlock_wrlock(&r->lock);
    r->v = grow(r->v, r->n, &r->cap, sizeof *r->v);
    size_t at = lower_bound(r, fn->no);
    memmove(r->v + at + 1, r->v + at, (r->n - at) * sizeof *r->v);
    r->v[at] = fn;
    r->n++;
    map_put(&r->names, str_n(fn->key, fn->key_len), fn);
    routes_add(&r->routes, fn);
    pthread_rwlock_unlock(&r->lock);
}

static void unname(struct registry *r, struct core_fn *fn) {
    struct str key = str_n(fn->key, fn->key_len);
    if (map_get(&r->names, key) == fn) /* not of one that took the name since */
        map_del(&r->names, key);
}

void registry_remove(struct core *c, struct core_fn *fn) {
    struct registry *r = &c->registry;
    struct function *f = registry_view(r, fn, NULL);
    struct publication p = {.set_deployment = true, .set_triggers = true};
    p.function = function_clone(f);
    p.function->status = FN_DELETING;
    function_unref(f);
    atomic_store(&fn->gone, true);
    registry_publish(c, fn, &p);
    objects_kick(c); /* its code */
    pthread_rwlock_wrlock(&r->lock);
    size_t at = lower_bound(r, fn->no);
    bool there = at < r->n && r->v[at] == fn;
    if (there) {
        unname(r, fn);
        memmove(r->v + at, r->v + at + 1, (r->n - at - 1) * sizeof *r->v);
        r->n--;
    }
    pthread_rwlock_unlock(&r->lock);
    if (there)
        core_fn_unref(fn);
}

static void swap_function(struct registry *r, struct core_fn *fn, struct function **f) {
    struct function *old = fn->function;
    fn->function = *f;
    *f = old;
    unname(r, fn);
    set_key(fn, fn->function);
    map_put(&r->names, str_n(fn->key, fn->key_len), fn);
}

static void swap_triggers(struct registry *r, struct core_fn *fn, struct publication *p) {
    routes_remove(&r->routes, fn);
    struct trigger **old = fn->triggers;
    size_t n = fn->n_triggers;
    fn->triggers = p->triggers;
    fn->n_triggers = p->n_triggers;
    p->triggers = old;
    p->n_triggers = n;
    routes_add(&r->routes, fn);
}

static bool has_schedule(struct trigger *const *v, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (v[i]->type == TRIGGER_SCHEDULE)
            return true;
    return false;
}

void registry_publish(struct core *c, struct core_fn *fn, struct publication *p) {
    struct registry *r = &c->registry;
    if (p->set_deployment && p->deployment)
        engine_publish(c->engine, p->deployment);
    pthread_rwlock_wrlock(&r->lock);
    if (p->function)
        swap_function(r, fn, &p->function);
    if (p->set_triggers)
        swap_triggers(r, fn, p);
    if (p->set_deployment) {
        struct deployment *old = fn->deployment;
        fn->deployment = p->deployment;
        p->deployment = old;
    }
    bool timed = p->set_triggers && (has_schedule(p->triggers, p->n_triggers) ||
                                     has_schedule(fn->triggers, fn->n_triggers));
    pthread_rwlock_unlock(&r->lock);
    if (timed)
        schedules_changed(c, fn);
    /* p holds what was there before. */
    function_unref(p->function);
    triggers_free(p->triggers, p->n_triggers);
    if (p->set_deployment && p->deployment) {
        engine_retire(c->engine, p->deployment);
        deployment_unref(p->deployment);
    }
    core_look_again(c);
}

struct deployment *core_deployment(struct core *c, struct function *f, uint32_t version_no,
                                   uint32_t version_number) {
    struct deployment *d = deployment_new(c->engine, f, version_no, version_number);
    d->project = core_project(c, str_of(f->workspace), str_of(f->project));
    return d;
}

struct trigger **registry_triggers(struct registry *r, struct core_fn *fn, size_t *ret_n) {
    pthread_rwlock_rdlock(&r->lock);
    size_t n = fn->n_triggers;
    struct trigger **v = n ? x_calloc(n, sizeof *v) : NULL;
    for (size_t i = 0; i < n; i++)
        v[i] = trigger_ref(fn->triggers[i]);
    pthread_rwlock_unlock(&r->lock);
    *ret_n = n;
    return v;
}

/* ---- core.h ---- */
struct function *core_function(struct core *c, uint32_t no) {
    pthread_rwlock_rdlock(&c->registry.lock);
    struct core_fn *fn = find_locked(&c->registry, no);
    struct function *f = fn ? function_ref(fn->function) : NULL;
    pthread_rwlock_unlock(&c->registry.lock);
    return f;
}

struct function *core_function_named(struct core *c, struct str workspace, struct str project,
                                     struct str name) {
    char key[KEY_MAX];
    size_t len = make_key(key, workspace, project, name);
    if (!len)
        return NULL;
    pthread_rwlock_rdlock(&c->registry.lock);
    struct core_fn *fn = map_get(&c->registry.names, str_n(key, len));
    struct function *f = fn ? function_ref(fn->function) : NULL;
    pthread_rwlock_unlock(&c->registry.lock);
    return f;
}

void core_functions_each(struct core *c, struct str workspace, struct str project,
                         bool (*visit)(void *arg, const struct function *f), void *arg) {
    struct registry *r = &c->registry;
    pthread_rwlock_rdlock(&r->lock);
    for (size_t i = r->n; i-- > 0;) {
        const struct function *f = r->v[i]->function;
        if ((workspace.p && !str_is(workspace, f->workspace)) ||
            (project.p && !str_is(project, f->project)))
            continue;
        if (!visit(arg, f))
            break;
    }
    pthread_rwlock_unlock(&r->lock);
}

uint32_t core_function_instances(struct core *c, uint32_t no) {
    struct deployment *d = NULL;
    pthread_rwlock_rdlock(&c->registry.lock);
    struct core_fn *fn = find_locked(&c->registry, no);
    if (fn && fn->deployment)
        d = deployment_ref(fn->deployment);
    pthread_rwlock_unlock(&c->registry.lock);
    uint32_t n = d ? deployment_instances(d) : 0;
    if (d)
        deployment_unref(d);
    return n;
}
