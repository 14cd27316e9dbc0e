/* SPDX-License-Identifier: Apache-2.0 */
/* Source code by version: a few megabytes of what was used last, shared by the loops. Misses of the
 * same version at the same time ask the store once. */

#include "core/internal.h"

struct cached {
    struct list link; /* used last in front */
    uint64_t key;
    struct blob *code;
};
struct code_waiter {
    struct list link;
    struct loop_task task;
    struct loop *loop;
    void (*ready)(void *arg, struct blob *code);
    void *arg;
    struct blob *code;
};
struct code_fetch {
    struct list link; /* in code_cache.fetching */
    struct core *core;
    uint32_t version_no;
    struct list waiters; /* under the lock */
    struct blob *code;
    struct store_job job;
};

void code_cache_init(struct code_cache *cc) {
    pthread_mutex_init(&cc->lock, NULL);
    map_init(&cc->by_version);
    list_init(&cc->lru);
    list_init(&cc->fetching);
}

static void drop(struct code_cache *cc, struct cached *e) {
    map_del(&cc->by_version, MAP_KEY(e->key));
    list_del(&e->link);
    cc->bytes -= e->code->len;
    blob_unref(e->code);
    free(e);
}

void code_cache_done(struct code_cache *cc) {
    while (!list_empty(&cc->lru))
        drop(cc, list_entry(cc->lru.next, struct cached, link));
    map_done(&cc->by_version);
    pthread_mutex_destroy(&cc->lock);
}

static void put_locked(struct code_cache *cc, uint32_t version_no, struct blob *code) {
    uint64_t key = version_no;
    if (code->len > CODE_CACHE_MAX || map_get(&cc->by_version, MAP_KEY(key)))
        return;
    while (cc->bytes + code->len > CODE_CACHE_MAX)
        drop(cc, list_entry(cc->lru.prev, struct cached, link));
    struct cached *e = x_alloc(sizeof *e);
    e->key = key;
    e->code = blob_ref(code);
    cc->bytes += code->len;
    list_unshift(&cc->lru, &e->link);
    map_put(&cc->by_version, MAP_KEY(e->key), e);
}

void code_cache_put(struct core *c, uint32_t version_no, struct blob *code) {
    pthread_mutex_lock(&c->codes.lock);
    put_locked(&c->codes, version_no, code);
    pthread_mutex_unlock(&c->codes.lock);
}

static struct blob *get_locked(struct code_cache *cc, uint32_t version_no) {
    uint64_t key = version_no;
    struct cached *e = map_get(&cc->by_version, MAP_KEY(key));
    if (!e)
        return NULL;
    list_del(&e->link);
    list_unshift(&cc->lru, &e->link);
    return blob_ref(e->code);
}

static void waiter_run(struct loop_task *task) {
    struct code_waiter *w = container_of(task, struct code_waiter, task);
    w->ready(w->arg, w->code);
    blob_unref(w->code);
    free(w);
}

static int fetch_run(struct store_job *job, struct store *s, struct error *err) {
    struct code_fetch *f = container_of(job, struct code_fetch, job);
    return store_version_code(s, f->version_no, &f->code, err);
}

/* On the store thread. */
static void fetch_done(struct store_job *job, const struct error *err) {
    struct code_fetch *f = container_of(job, struct code_fetch, job);
    struct code_cache *cc = &f->core->codes;
    if (err)
        log_error("code not read", LOG_INT("version", f->version_no), LOG_STR("error", err->text));
    pthread_mutex_lock(&cc->lock);
    list_del(&f->link);
    if (f->code)
        put_locked(cc, f->version_no, f->code);
    pthread_mutex_unlock(&cc->lock);
    struct list *node; /* nobody else finds F any more */
    while ((node = list_shift(&f->waiters))) {
        struct code_waiter *w = list_entry(node, struct code_waiter, link);
        w->code = f->code ? blob_ref(f->code) : NULL;
        loop_post(w->loop, &w->task);
    }
    blob_unref(f->code);
    free(f);
}

static struct code_fetch *fetching_locked(struct code_cache *cc, uint32_t version_no) {
    list_for_each (it, &cc->fetching) {
        struct code_fetch *f = list_entry(it, struct code_fetch, link);
        if (f->version_no == version_no)
            return f;
    }
    return NULL;
}

static struct code_fetch *fetch_new(struct core *c, uint32_t version_no) {
    struct code_fetch *f = x_alloc(sizeof *f);
    f->core = c;
    f->version_no = version_no;
    f->job = (struct store_job){.db = STORE_STATE, .run = fetch_run, .done = fetch_done};
    list_init(&f->waiters);
    list_push(&c->codes.fetching, &f->link);
    return f;
}

void code_fetch(void *user, struct loop *loop, uint32_t version_no,
                void (*ready)(void *arg, struct blob *code), void *arg) {
    struct core *c = user;
    struct code_fetch *begin = NULL;
    pthread_mutex_lock(&c->codes.lock);
    struct blob *code = get_locked(&c->codes, version_no);
    if (!code) {
        struct code_waiter *w = x_alloc(sizeof *w);
        *w = (struct code_waiter){.task.run = waiter_run, .loop = loop, .ready = ready, .arg = arg};
        struct code_fetch *f = fetching_locked(&c->codes, version_no);
        if (!f)
            f = begin = fetch_new(c, version_no);
        list_push(&f->waiters, &w->link);
    }
    pthread_mutex_unlock(&c->codes.lock);
    if (begin)
        store_submit(c->store, &begin->job);
    if (code) {
        ready(arg, code);
        blob_unref(code);
    }
}
