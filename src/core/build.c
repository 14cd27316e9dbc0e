/* SPDX-License-Identifier: Apache-2.0 */
/* Builds: a queue of code and one of images, at most BUILDS_RUNNING_MAX at once of each, on the
 * loops in turn. The engine loads the code in a fresh sandbox, an image is fetched; the outcome is
 * one change of the function. A build that was cut off by the end of the server is taken up again
 * by core_start(). */

#include "core/internal.h"
#include <stdio.h>

static void pump(struct core *c);

void builds_init(struct builds *b) {
    pthread_mutex_init(&b->lock, NULL);
    for (size_t i = 0; i < BUILD_KINDS; i++)
        list_init(&b->queue[i]);
    list_init(&b->running);
}

static enum build_kind kind_of(const struct build *b) {
    return b->image ? BUILD_IMAGE : BUILD_CODE;
}

static void build_free(struct build *b) {
    change_done(&b->change);
    function_unref(b->engine.function);
    function_unref(b->next);
    function_unref(b->base);
    project_unref(b->engine.project);
    blob_unref(b->engine.code);
    free(b->log);
    free(b->image);
    free(b->digest);
    free(b);
}

void builds_done(struct builds *b) {
    struct list *lists[] = {&b->queue[BUILD_CODE], &b->queue[BUILD_IMAGE], &b->running};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        for (struct list *node; (node = list_shift(lists[i]));)
            build_free(list_entry(node, struct build, link));
    pthread_mutex_destroy(&b->lock);
}

static struct build *find_in(struct list *list, uint32_t version_no) {
    list_for_each (it, list) {
        struct build *b = list_entry(it, struct build, link);
        if (b->version_no == version_no && !b->check)
            return b;
    }
    return NULL;
}

struct build *builds_find(struct builds *b, uint32_t version_no) {
    struct build *found = find_in(&b->running, version_no);
    for (size_t i = 0; i < BUILD_KINDS && !found; i++)
        found = find_in(&b->queue[i], version_no);
    return found;
}

/* Last step: off the list, waiters woken, the next one begins. */
static void build_over(struct build *b, bool ok) {
    struct core *c = b->change.core;
    pthread_mutex_lock(&c->builds.lock);
    list_del(&b->link);
    c->builds.n_running[kind_of(b)]--;
    pthread_mutex_unlock(&c->builds.lock);
    build_wait_wake(c, &b->waiters, ok, b->log);
    build_free(b);
    pump(c);
}

/* ---- what the outcome changes ---- */
static void activate(struct function *next, const struct build *b) {
    if (next->active_no && next->active_no != b->version_no) {
        next->previous_no = next->active_no;
        next->previous_number = next->active_number;
    }
    next->active_no = b->version_no;
    next->active_number = b->number;
    next->status = FN_READY;
    free(next->image);
    next->image = b->image ? x_strdup(b->image) : NULL;
    next->deployed_us = clock_real_us();
}

/* The configuration that came with code that does not load must not meet the older code that goes
 * on serving: handler and runtime stay those that serve. */
static void keep_serving(struct function *next, const struct deployment *serving) {
    next->status = FN_ERROR;
    if (!serving)
        return;
    free(next->handler);
    free(next->runtime);
    next->handler = x_strdup(serving->function->handler);
    next->runtime = x_strdup(serving->function->runtime);
    next->kind = serving->function->kind;
}

static int prepare_outcome(struct change *ch, struct error *err) {
    (void)err;
    struct build *b = container_of(ch, struct build, change);
    struct deployment *serving;
    struct function *now = registry_view(&ch->core->registry, ch->fn, &serving);
    b->base = now;
    /* A newer version is active already: this one only gets its build status. */
    if (b->activate && b->number >= now->active_number) {
        b->next = function_clone(now);
        if (b->ok)
            activate(b->next, b);
        else
            keep_serving(b->next, serving);
    }
    if (serving)
        deployment_unref(serving);
    return 0;
}

static int run_outcome(struct change *ch, struct store *s, struct error *err) {
    struct build *b = container_of(ch, struct build, change);
    struct str log = str_of(b->log ? b->log : "");
    if (log.len > BUILD_LOG_MAX)
        log.len = BUILD_LOG_MAX;
    if (store_version_set_build(s, b->version_no, b->ok ? BUILD_SUCCESS : BUILD_FAILED, log, err) <
        0)
        return -1;
    if (b->digest &&
        store_version_set_image(s, b->version_no, b->digest,
                                str_n(b->engine.code->bytes, b->engine.code->len), err) < 0)
        return -1;
    if (!b->next)
        return 0;
    if (store_function_update(s, b->next, err) < 0)
        return -1;
    if (!b->ok || !b->base->active_no)
        return 0;
    return change_event(ch, s, b->next->no, "version_activated", b->number, err,
                        "Version v%u activated", b->number);
}

static void publish_outcome(struct change *ch) {
    struct build *b = container_of(ch, struct build, change);
    struct core *c = ch->core;
    if (b->digest)
        code_cache_put(c, b->version_no, b->engine.code, b->digest);
    if (!b->next)
        return;
    struct publication p = {.function = function_ref(b->next)};
    if (b->next->active_no) {
        p.set_deployment = true;
        p.deployment = core_deployment(c, b->next, b->next->active_no, b->next->active_number);
    }
    registry_publish(c, ch->fn, &p);
}

static void finish_outcome(struct change *ch, const struct error *err) {
    struct build *b = container_of(ch, struct build, change);
    if (err && err->code != ERR_NOT_FOUND)
        log_error("build result not stored", LOG_INT("version", b->version_no),
                  LOG_STR("error", err->text));
    build_over(b, b->ok && !err);
}

static void ended(struct build *b, bool ok, struct str log) {
    b->ok = ok;
    b->log = str_dup(log);
    if (b->check) {
        build_over(b, ok);
        return;
    }
    log_info(ok ? "built" : "build failed", LOG_INT("function", b->change.fn->no),
             LOG_INT("version", b->number));
    change_start(&b->change);
}

static void engine_ended(struct engine_build *eb, bool ok, struct str log) {
    struct build *b = container_of(eb, struct build, engine);
    if (!ok && atomic_load(&b->change.core->draining)) {
        build_over(b, false); /* stays as it is in the store and is taken up again */
        return;
    }
    ended(b, ok, log);
}

/* ---- running ---- */
/* Whatever can be known of an image without running it has been looked at when it is there. */
static void pulled(void *arg, const struct error *err, const char *digest, struct blob *spec,
                   struct str log) {
    struct build *b = arg;
    if (err && atomic_load(&b->change.core->draining)) {
        build_over(b, false);
        return;
    }
    if (!err) {
        b->digest = x_strdup(digest);
        b->engine.code = blob_ref(spec);
    }
    ended(b, !err, log);
}

static void code_ready(void *arg, struct blob *code, const struct error *err) {
    (void)err;
    struct build *b = arg;
    if (!code) {
        ended(b, false, STR("the code of this version could not be read\n"));
        return;
    }
    b->engine.code = blob_ref(code);
    b->engine.version_number = b->number;
    b->engine.done = engine_ended;
    engine_build_start(b->cl->el, &b->engine);
}

static void start_task(struct loop_task *task) {
    struct build *b = container_of(task, struct build, task);
    if (b->image) {
        image_pull(b->change.core, b->cl->loop, b->version_no, pulled, b);
        return;
    }
    code_fetch(b->change.core, b->cl->loop, b->version_no, code_ready, b);
}

static struct build *next_locked(struct builds *q) {
    for (size_t i = 0; i < BUILD_KINDS && !q->stopped; i++) {
        struct list *node = q->n_running[i] < BUILDS_RUNNING_MAX ? list_shift(&q->queue[i]) : NULL;
        if (!node)
            continue;
        list_push(&q->running, node);
        q->n_running[i]++;
        return list_entry(node, struct build, link);
    }
    return NULL;
}

static void pump(struct core *c) {
    for (;;) {
        pthread_mutex_lock(&c->builds.lock);
        struct build *b = next_locked(&c->builds);
        uint32_t at = b ? c->builds.next_loop++ % (uint32_t)c->n_loops : 0;
        pthread_mutex_unlock(&c->builds.lock);
        if (!b)
            return;
        b->cl = &c->on[at];
        b->change.loop = b->cl->loop;
        loop_post(b->cl->loop, &b->task);
    }
}

void build_enqueue(struct core *c, struct core_fn *fn, struct function *f, uint32_t version_no,
                   uint32_t number, const char *image, bool activate_it, bool check,
                   struct build_wait *wait, struct loop *loop) {
    struct build *b = x_alloc(sizeof *b);
    change_init(&b->change, c, NULL, NULL, 0);
    b->change.fn = core_fn_ref(fn);
    b->change.prepare = prepare_outcome;
    b->change.run = run_outcome;
    b->change.publish = publish_outcome;
    b->change.finish = finish_outcome;
    b->engine.function = function_ref(f);
    b->engine.project = core_project(c, str_of(f->workspace), str_of(f->project));
    b->version_no = version_no;
    b->number = number;
    b->image = image ? x_strdup(image) : NULL;
    b->activate = activate_it;
    b->check = check;
    b->task.run = start_task;
    list_init(&b->waiters);
    if (wait)
        build_wait_attach(wait, c, loop, &b->waiters);
    pthread_mutex_lock(&c->builds.lock);
    list_push(&c->builds.queue[kind_of(b)], &b->link);
    pthread_mutex_unlock(&c->builds.lock);
    pump(c);
}

/* Those in the queue stay "building" in the store; who waits for them hears that it is over. */
void builds_stop(struct core *c) {
    struct list gone;
    list_init(&gone);
    pthread_mutex_lock(&c->builds.lock);
    c->builds.stopped = true;
    for (size_t i = 0; i < BUILD_KINDS; i++)
        for (struct list *node; (node = list_shift(&c->builds.queue[i]));)
            list_push(&gone, node);
    pthread_mutex_unlock(&c->builds.lock);
    for (struct list *node; (node = list_shift(&gone));) {
        struct build *b = list_entry(node, struct build, link);
        build_wait_wake(c, &b->waiters, false, NULL);
        build_free(b);
    }
}
