/* SPDX-License-Identifier: Apache-2.0 */
/* Source code by version: a few megabytes of what was used last, shared by the loops. Misses of the
 * same version at the same time ask the store once; where that fails, those that came while it was
 * asked have it asked again, so that nobody hears what was true before he came. */

#include "core/internal.h"

struct cached {
    struct list link; /* used last in front */
    uint64_t key;
    struct blob *code;
    char *digest; /* of the image whose spec it is, or NULL */
};
struct code_waiter {
    struct list link;
    struct loop_task task;
    struct loop *loop;
    void (*ready)(void *arg, struct blob *code, const struct error *err);
    void *arg;
    struct core *core;
    uint32_t version_no;
    bool late; /* it came while another one's fetch was under way */
    struct blob *code;
    char *digest;
    struct error error;
};
struct code_fetch {
    struct list link; /* in code_cache.fetching */
    struct core *core;
    uint32_t version_no;
    struct list waiters; /* under the lock */
    struct blob *code;
    char *digest;
    struct code_slot slot; /* where it lies outside */
    struct error error;    /* why it is not there */
    struct work work;
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
    free(e->digest);
    free(e);
}

void code_cache_done(struct code_cache *cc) {
    while (!list_empty(&cc->lru))
        drop(cc, list_entry(cc->lru.next, struct cached, link));
    map_done(&cc->by_version);
    pthread_mutex_destroy(&cc->lock);
}

static void put_locked(struct code_cache *cc, uint32_t version_no, struct blob *code,
                       const char *digest) {
    uint64_t key = version_no;
    if (code->len > CODE_CACHE_MAX || map_get(&cc->by_version, MAP_KEY(key)))
        return;
    while (cc->bytes + code->len > CODE_CACHE_MAX)
        drop(cc, list_entry(cc->lru.prev, struct cached, link));
    struct cached *e = x_alloc(sizeof *e);
    e->key = key;
    e->code = blob_ref(code);
    e->digest = digest ? x_strdup(digest) : NULL;
    cc->bytes += code->len;
    list_unshift(&cc->lru, &e->link);
    map_put(&cc->by_version, MAP_KEY(e->key), e);
}

void code_cache_put(struct core *c, uint32_t version_no, struct blob *code, const char *digest) {
    pthread_mutex_lock(&c->codes.lock);
    put_locked(&c->codes, version_no, code, digest);
    pthread_mutex_unlock(&c->codes.lock);
}

static struct blob *get_locked(struct code_cache *cc, uint32_t version_no, char **ret_digest) {
    uint64_t key = version_no;
    struct cached *e = map_get(&cc->by_version, MAP_KEY(key));
    if (!e)
        return NULL;
    list_del(&e->link);
    list_unshift(&cc->lru, &e->link);
    *ret_digest = e->digest ? x_strdup(e->digest) : NULL;
    return blob_ref(e->code);
}

struct blob *code_cache_get(struct core *c, uint32_t version_no) {
    cleanup_free char *digest = NULL;
    pthread_mutex_lock(&c->codes.lock);
    struct blob *code = get_locked(&c->codes, version_no, &digest);
    pthread_mutex_unlock(&c->codes.lock);
    if (digest) {
        blob_unref(code);
        return NULL;
    }
    return code;
}

static void hand_out(struct core *c, struct loop *loop, uint32_t version_no, struct blob *code,
                     const char *digest,
                     void (*ready)(void *arg, struct blob *code, const struct error *err),
                     void *arg) {
    if (code && digest)
        image_load(c, loop, version_no, digest, code, ready, arg);
    else
        ready(arg, code, NULL);
}

static void waiter_run(struct loop_task *task) {
    struct code_waiter *w = container_of(task, struct code_waiter, task);
    if (w->code)
        hand_out(w->core, w->loop, w->version_no, w->code, w->digest, w->ready, w->arg);
    else
        w->ready(w->arg, NULL, w->error.code ? &w->error : NULL);
    blob_unref(w->code);
    free(w->digest);
    free(w);
}

static struct code_fetch *fetch_new(struct core *c, uint32_t version_no);

static int fetch_run(struct store_job *job, struct store *s, struct error *err) {
    struct code_fetch *f = container_of(job, struct code_fetch, job);
    cleanup_free char *image = NULL;
    int r = store_version_image(s, f->version_no, &image, &f->digest, &f->code, err);
    if (r < 0 || image)
        return r;
    f->slot.version_no = f->version_no;
    return store_version_code(s, f->version_no, &f->code, &f->slot.at, &f->slot.len, err);
}

/* Those that came late, into a fetch of their own; NULL: there are none. */
static struct code_fetch *again_locked(struct code_fetch *f) {
    struct code_fetch *again = NULL;
    list_for_each_safe (it, &f->waiters) {
        struct code_waiter *w = list_entry(it, struct code_waiter, link);
        if (!w->late)
            continue;
        if (!again)
            again = fetch_new(f->core, f->version_no);
        w->late = false;
        list_del(it);
        list_push(&again->waiters, it);
    }
    return again;
}

/* On the store thread or a worker's. */
static void fetch_end(struct code_fetch *f) {
    struct code_cache *cc = &f->core->codes;
    struct code_fetch *again = NULL;
    if (f->error.code)
        log_error("code not read", LOG_INT("version", f->version_no),
                  LOG_STR("error", f->error.text));
    pthread_mutex_lock(&cc->lock);
    list_del(&f->link);
    if (f->code)
        put_locked(cc, f->version_no, f->code, f->digest);
    else if (!f->work.dropped)
        again = again_locked(f);
    pthread_mutex_unlock(&cc->lock);
    if (again)
        store_submit(f->core->store, &again->job);
    struct list *node; /* nobody else finds F any more */
    while ((node = list_shift(&f->waiters))) {
        struct code_waiter *w = list_entry(node, struct code_waiter, link);
        w->code = f->code ? blob_ref(f->code) : NULL;
        w->digest = f->digest ? x_strdup(f->digest) : NULL;
        w->error = f->error;
        loop_post(w->loop, &w->task);
    }
    blob_unref(f->code);
    code_slot_done(&f->slot);
    free(f->digest);
    free(f);
}

static void far_run(struct work *work) {
    struct code_fetch *f = container_of(work, struct code_fetch, work);
    if (code_slot_fetch(f->core, &f->slot, &f->error) == 0)
        f->code = blob_ref(f->slot.code);
}

static void far_done(struct work *work) {
    struct code_fetch *f = container_of(work, struct code_fetch, work);
    if (work->dropped)
        (void)error_set(&f->error, ERR_UNAVAILABLE, "the server is shutting down");
    fetch_end(f);
}

/* On the store thread. */
static void fetch_done(struct store_job *job, const struct error *err) {
    struct code_fetch *f = container_of(job, struct code_fetch, job);
    if (err) {
        f->error = *err;
    } else if (f->slot.at) {
        f->work = (struct work){.run = far_run, .done = far_done};
        if (workers_submit(f->core->config.workers, &f->work) == 0)
            return;
        (void)error_set(&f->error, ERR_UNAVAILABLE, "too much waits for a worker thread");
    }
    fetch_end(f);
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
                void (*ready)(void *arg, struct blob *code, const struct error *err), void *arg) {
    struct core *c = user;
    struct code_fetch *begin = NULL;
    pthread_mutex_lock(&c->codes.lock);
    cleanup_free char *digest = NULL;
    struct blob *code = get_locked(&c->codes, version_no, &digest);
    if (!code) {
        struct code_waiter *w = x_alloc(sizeof *w);
        *w = (struct code_waiter){.task.run = waiter_run,
                                  .loop = loop,
                                  .ready = ready,
                                  .arg = arg,
                                  .core = c,
                                  .version_no = version_no};
        struct code_fetch *f = fetching_locked(&c->codes, version_no);
        w->late = f != NULL;
        if (!f)
            f = begin = fetch_new(c, version_no);
        list_push(&f->waiters, &w->link);
    }
    pthread_mutex_unlock(&c->codes.lock);
    if (begin)
        store_submit(c->store, &begin->job);
    if (code) {
        hand_out(c, loop, version_no, code, digest, ready, arg);
        blob_unref(code);
    }
}
