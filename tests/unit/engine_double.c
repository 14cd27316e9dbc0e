/* SPDX-License-Identifier: Apache-2.0 */
#include "engine_double.h"
#include "base/list.h"
#include <stdio.h>

_Atomic int double_mode;
_Atomic bool double_hold_builds;
_Atomic unsigned double_submitted, double_builds, double_published, double_retired;

struct held { /* a call or a build that will end on its loop */
    struct list link;
    struct loop_task task;
    struct engine_loop *el;
    struct engine_call *call;
    struct engine_build *build;
    enum double_mode mode;
    bool posted, canceled;
};
struct engine_loop {
    struct engine *engine;
    struct loop *loop;
    struct list held;
    struct loop_task drain;
};
struct engine {
    struct engine_config config;
    struct engine_loop on[8];
    size_t n_loops;
    _Atomic size_t draining_left;
    _Atomic bool draining;
    void (*drained)(void *arg);
    void *drained_arg;
    struct loop_task drained_task;
};

int engine_new(const struct engine_config *config, struct loop **loops, size_t n_loops,
               struct engine **ret, struct error *err) {
    struct engine *e = x_alloc(sizeof *e);
    if (n_loops > ARRAY_LEN(e->on)) {
        free(e);
        return error_set(err, ERR_INTERNAL, "too many loops");
    }
    e->config = *config;
    e->n_loops = n_loops;
    for (size_t i = 0; i < n_loops; i++) {
        e->on[i].engine = e;
        e->on[i].loop = loops[i];
        list_init(&e->on[i].held);
    }
    *ret = e;
    return 0;
}

void engine_free(struct engine *e) {
    for (size_t i = 0; i < e->n_loops; i++)
        for (struct list *node; (node = list_shift(&e->on[i].held));)
            free(list_entry(node, struct held, link));
    free(e);
}

struct engine_loop *engine_on(struct engine *e, const struct loop *loop) {
    for (size_t i = 0; i < e->n_loops; i++)
        if (e->on[i].loop == loop)
            return &e->on[i];
    return NULL;
}

void engine_warm(struct engine *e, enum runtime_kind kind) {
    (void)e;
    (void)kind;
}

void engine_info(struct engine *e, struct engine_info *ret) {
    (void)e;
    *ret = (struct engine_info){.ok = true};
}

/* ---- deployments ---- */
struct deployment *deployment_new(struct engine *e, struct function *f, uint32_t version_no,
                                  uint32_t version_number) {
    (void)e;
    struct deployment *d = x_alloc(sizeof *d);
    d->refs = 1;
    d->function = function_ref(f);
    d->version_no = version_no;
    d->version_number = version_number;
    d->memory_bytes = 256 * MIB;
    d->timeout_ms = 30000;
    d->max_instances = f->max_instances ? f->max_instances : 10;
    return d;
}

struct deployment *deployment_ref(struct deployment *d) {
    atomic_fetch_add(&d->refs, 1);
    return d;
}

void deployment_unref(struct deployment *d) {
    if (!d || atomic_fetch_sub(&d->refs, 1) != 1)
        return;
    function_unref(d->function);
    project_unref(d->project);
    free(d);
}

void engine_publish(struct engine *e, struct deployment *d) {
    (void)e;
    (void)d;
    atomic_fetch_add(&double_published, 1);
}

void engine_retire(struct engine *e, struct deployment *d) {
    (void)e;
    (void)d;
    atomic_fetch_add(&double_retired, 1);
}

uint32_t deployment_instances(const struct deployment *d) {
    (void)d;
    return 1;
}

/* ---- ends ---- */
static void answer(struct engine_call *call, enum double_mode mode) {
    /* two headers of one name and another: u32 count, then strings */
    static const char headers[] = "\3\0\0\0"
                                  "\1\0\0\0x\1\0\0\0"
                                  "1\1\0\0\0x\1\0\0\0"
                                  "2\1\0\0\0y\1\0\0\0"
                                  "3";
    struct engine_result r = {.instance = "t1-0",
                              .status = 200,
                              .cold = false,
                              .queued_us = 5,
                              .running_us = 1000,
                              .body_kind = WIRE_BODY_JSON,
                              .body = call->body,
                              .headers = wire_open(str_n(headers, sizeof headers - 1))};
    if (mode == DOUBLE_BUSY) {
        r = (struct engine_result){
            .cause = ERR_BUSY, .error_text = "all instances are busy", .instance = ""};
    } else if (mode == DOUBLE_TIMEOUT) {
        r = (struct engine_result){.cause = ERR_TIMEOUT,
                                   .error_text = "ran over its time",
                                   .instance = "t1-0",
                                   .running_us = 30000000};
    } else if (mode == DOUBLE_REFUSE) {
        r = (struct engine_result){
            .cause = ERR_UNAVAILABLE, .error_text = "shutting down", .instance = ""};
    }
    call->done(call, &r);
}

static void build_end(struct engine_build *b) {
    struct str code = str_n(b->code->bytes, b->code->len);
    bool bad = memmem(code.p, code.len, "BAD", 3) || strcmp(b->function->handler, "missing") == 0;
    struct str log = bad ? STR("SyntaxError: BAD\n") : STR("built\n");
    if (memmem(code.p, code.len, "GONE", 4)) {
        b->cause = ERR_UNAVAILABLE;
        bad = true;
    }
    b->done(b, !bad, log);
}

static void held_run(struct loop_task *task) {
    struct held *h = container_of(task, struct held, task);
    list_del(&h->link);
    if (h->call)
        answer(h->call, h->mode);
    else if (h->build)
        build_end(h->build);
    free(h);
}

static void hold(struct engine_loop *el, struct engine_call *call, struct engine_build *build,
                 enum double_mode mode) {
    struct held *h = x_alloc(sizeof *h);
    h->task.run = held_run;
    h->el = el;
    h->call = call;
    h->build = build;
    h->mode = mode;
    list_push(&el->held, &h->link);
    bool wait = call ? mode == DOUBLE_HOLD : atomic_load(&double_hold_builds);
    if (!wait) {
        h->posted = true;
        loop_post(el->loop, &h->task);
    }
}

void engine_submit(struct engine_loop *el, struct engine_call *call) {
    atomic_fetch_add(&double_submitted, 1);
    enum double_mode mode = (enum double_mode)atomic_load(&double_mode);
    if (mode == DOUBLE_REFUSE || atomic_load(&el->engine->draining))
        answer(call, DOUBLE_REFUSE); /* before submit returns, as the engine may */
    else
        hold(el, call, NULL, mode);
}

void engine_cancel(struct engine_loop *el, struct engine_call *call) {
    list_for_each (it, &el->held) {
        struct held *h = list_entry(it, struct held, link);
        if (h->call == call)
            h->call = NULL;
    }
}

void engine_build_start(struct engine_loop *el, struct engine_build *b) {
    atomic_fetch_add(&double_builds, 1);
    hold(el, NULL, b, DOUBLE_ANSWER);
}

void double_release(struct engine *e, struct loop *loop) {
    struct engine_loop *el = engine_on(e, loop);
    list_for_each (it, &el->held) {
        struct held *h = list_entry(it, struct held, link);
        if (h->mode == DOUBLE_HOLD)
            h->mode = atomic_load(&e->draining) ? DOUBLE_REFUSE : DOUBLE_ANSWER;
        if (!h->posted)
            loop_post(loop, &h->task);
        h->posted = true;
    }
}

unsigned double_held(struct engine *e, struct loop *loop) {
    unsigned n = 0;
    list_for_each (it, &engine_on(e, loop)->held)
        n++;
    return n;
}

void double_print(struct engine *e, struct loop *loop, const struct deployment *d,
                  const char *text) {
    struct ulid none = {{0}};
    e->config.on_log(e->config.user, loop, d, &none, "t1-0", LINE_INFO, str_of(text));
}

/* ---- drain ---- */
static void drained(struct loop_task *task) {
    struct engine *e = container_of(task, struct engine, drained_task);
    e->drained(e->drained_arg);
}

/* Again and again until nothing is held on this loop. */
static void drain_run(struct loop_task *task) {
    struct engine_loop *el = container_of(task, struct engine_loop, drain);
    double_release(el->engine, el->loop);
    if (!list_empty(&el->held)) {
        loop_post(el->loop, task);
        return;
    }
    if (atomic_fetch_sub(&el->engine->draining_left, 1) == 1)
        loop_post(el->engine->on[0].loop, &el->engine->drained_task);
}

void engine_drain(struct engine *e, uint32_t deadline_ms, void (*done)(void *arg), void *arg) {
    (void)deadline_ms;
    e->drained = done;
    e->drained_arg = arg;
    e->drained_task.run = drained;
    atomic_store(&e->draining, true);
    atomic_store(&e->draining_left, e->n_loops);
    for (size_t i = 0; i < e->n_loops; i++) {
        e->on[i].drain.run = drain_run;
        loop_post(e->on[i].loop, &e->on[i].drain);
    }
}

void engine_usage_look(struct engine_loop *el, uint32_t function_no, uint32_t max) {
    (void)el;
    (void)function_no;
    (void)max;
}
