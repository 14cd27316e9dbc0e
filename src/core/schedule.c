/* SPDX-License-Identifier: Apache-2.0 */
#include "core/internal.h"
#include "model/cron.h"
#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

struct schedule { /* one enabled trigger */
    struct list link;
    uint32_t function_no;
    struct trigger *trigger; /* a reference */
    struct cron cron;
    int64_t due_us;
    size_t slot; /* place in the heap + 1; 0: never due */
};
struct schedule_list { /* of one function */
    uint64_t key;
    struct list schedules;
};

/* ---- the heap: by time, of two by the trigger's number ---- */
static bool before(const struct schedule *a, const struct schedule *b) {
    return a->due_us != b->due_us ? a->due_us < b->due_us : a->trigger->no < b->trigger->no;
}

static void put(struct schedules *s, size_t at, struct schedule *e) {
    s->heap[at] = e;
    e->slot = at + 1;
}

static size_t up(struct schedules *s, size_t at, struct schedule *e) {
    for (; at > 0 && before(e, s->heap[(at - 1) / 2]); at = (at - 1) / 2)
        put(s, at, s->heap[(at - 1) / 2]);
    put(s, at, e);
    return at;
}

static void down(struct schedules *s, size_t at, struct schedule *e) {
    for (size_t child; (child = 2 * at + 1) < s->n; at = child) {
        if (child + 1 < s->n && before(s->heap[child + 1], s->heap[child]))
            child++;
        if (!before(s->heap[child], e))
            break;
        put(s, at, s->heap[child]);
    }
    put(s, at, e);
}

static void heap_remove(struct schedules *s, struct schedule *e) {
    if (!e->slot)
        return;
    size_t at = e->slot - 1;
    struct schedule *last = s->heap[--s->n];
    e->slot = 0;
    if (last != e)
        down(s, up(s, at, last), last);
}

/* Sets when E is due next. */
static void plan(struct schedules *s, struct schedule *e, int64_t after_us) {
    heap_remove(s, e);
    e->due_us = cron_next(&e->cron, e->trigger->updated_us, after_us);
    if (!e->due_us)
        return;
    s->heap = grow(s->heap, s->n, &s->cap, sizeof(struct schedule *));
    up(s, s->n++, e);
}

/* Sets the timer to the top of the heap; what is due already fires at once. */
static void arm(struct schedules *s) {
    struct itimerspec at = {0};
    if (s->clock.fd < 0)
        return;
    if (s->n) {
        int64_t due_us = s->heap[0]->due_us;
        at.it_value.tv_sec = due_us / 1000000;
        at.it_value.tv_nsec = due_us % 1000000 * 1000;
    }
    (void)timerfd_settime(s->clock.fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &at, NULL);
}

/* ---- a run ---- */
struct run {
    uint32_t function_no, trigger_no;
};

static void tell_failure(const struct run *run, const struct error *err) {
    log_warn("a scheduled run was not made", LOG_INT("function", run->function_no),
             LOG_INT("trigger", run->trigger_no), LOG_STR("reason", err->text));
}

static void taken(void *arg, const struct error *err, const struct ulid *id UNUSED) {
    struct run *run = arg;
    if (err && err->code != ERR_CONFLICT && err->code != ERR_NOT_FOUND)
        tell_failure(run, err);
    free(run);
}

static void encode(struct core_call *call, const struct schedule *e) {
    engine_input_headers(&call->input);
    engine_input_header(&call->input, STR("content-type"), STR("application/json"));
    engine_input_header(&call->input, STR("x-kiln-trigger"), str_of(e->trigger->name));
    (void)engine_input_end(&call->input); /* a failure is told by core_call_async() */
}

static void fire(struct core *c, const struct schedule *e) {
    struct core_call call = {.source = SOURCE_SCHEDULE};
    struct error err;
    char path[sizeof("/triggers/") + NAME_MAX_LEN], when[RFC3339_MAX], body[128];
    struct run run = {e->function_no, e->trigger->no};
    (void)snprintf(path, sizeof path, "/triggers/%s", e->trigger->name);
    if (core_call_init(c, c->loops[0], &call, e->function_no, WIRE_BODY_JSON, STR("POST"),
                       str_of(path), &err) < 0) {
        if (err.code != ERR_NOT_FOUND) /* deleted, and not heard of here yet */
            tell_failure(&run, &err);
        return;
    }
    call.trigger_no = e->trigger->no;
    call.due_us = e->due_us;
    encode(&call, e);
    (void)snprintf(body, sizeof body, "{\"trigger\":\"cron\",\"timestamp\":\"%s\"}",
                   clock_rfc3339(e->due_us, when));
    call.body = str_of(body);
    core_call_async(&call, taken, x_memdup(&run, sizeof run));
}

static void run_due(struct core *c) {
    struct schedules *s = &c->schedules;
    for (int i = 0; s->n && i < SCHEDULE_ROUND_MAX; i++) {
        struct schedule *e = s->heap[0];
        int64_t now = clock_real_us();
        if (e->due_us > now)
            break;
        fire(c, e);
        plan(s, e, now);
    }
    arm(s);
}

/* The clock was set, or the machine has slept: what should have been meanwhile is skipped. */
static void plan_all(struct core *c) {
    struct schedules *s = &c->schedules;
    int64_t now = clock_real_us();
    size_t it = 0;
    struct schedule_list *l;
    while ((l = map_next(&s->functions, &it)))
        list_for_each (node, &l->schedules)
            plan(s, list_entry(node, struct schedule, link), now);
    arm(s);
}

static void clock_ready(struct loop_io *io, uint32_t events UNUSED) {
    struct core *c = container_of(io, struct core, schedules.clock);
    uint64_t times;
    ssize_t n = read(io->fd, &times, sizeof times);
    if (atomic_load(&c->draining))
        schedules_stop(c);
    else if (n < 0 && errno == ECANCELED)
        plan_all(c);
    else if (n > 0)
        run_due(c);
}

/* ---- triggers come and go ---- */
static void schedule_free(struct schedules *s, struct schedule *e) {
    heap_remove(s, e);
    list_del(&e->link);
    trigger_unref(e->trigger);
    free(e);
}

static bool is_among(struct trigger **v, size_t n, const struct trigger *t) {
    for (size_t i = 0; i < n; i++)
        if (v[i] == t) /* triggers are immutable: the same one is unchanged */
            return true;
    return false;
}

static bool is_known(const struct schedule_list *l, const struct trigger *t) {
    list_for_each (node, &l->schedules)
        if (list_entry(node, struct schedule, link)->trigger == t)
            return true;
    return false;
}

static void add(struct schedules *s, struct schedule_list *l, struct trigger *t) {
    const char *text = pairs_get(&t->config, "cron");
    struct cron cron;
    struct error err;
    if (t->type != TRIGGER_SCHEDULE || !t->enabled || is_known(l, t))
        return;
    if (cron_parse(str_of(text ? text : ""), "cron", &cron, &err) < 0) {
        log_error("stored schedule not understood", LOG_INT("trigger", t->no),
                  LOG_STR("error", err.text)); /* it was checked when it was made */
        return;
    }
    struct schedule *e = x_alloc(sizeof *e);
    e->function_no = t->function_no;
    e->trigger = trigger_ref(t);
    e->cron = cron;
    list_push(&l->schedules, &e->link);
    plan(s, e, clock_real_us());
}

static struct schedule_list *list_of(struct schedules *s, uint32_t function_no) {
    uint64_t key = function_no;
    struct schedule_list *l = map_get(&s->functions, MAP_KEY(key));
    if (!l) {
        l = x_alloc(sizeof *l);
        l->key = key;
        list_init(&l->schedules);
        map_put(&s->functions, MAP_KEY(l->key), l);
    }
    return l;
}

static void take_up(struct core *c, struct core_fn *fn) {
    struct schedules *s = &c->schedules;
    struct schedule_list *l = list_of(s, fn->no);
    size_t n;
    struct trigger **v = registry_triggers(&c->registry, fn, &n);
    if (atomic_load(&fn->gone))
        n = (triggers_free(v, n), v = NULL, 0);
    list_for_each_safe (node, &l->schedules) {
        struct schedule *e = list_entry(node, struct schedule, link);
        if (!is_among(v, n, e->trigger))
            schedule_free(s, e);
    }
    for (size_t i = 0; i < n; i++)
        add(s, l, v[i]);
    triggers_free(v, n);
    if (list_empty(&l->schedules)) {
        map_del(&s->functions, MAP_KEY(l->key));
        free(l);
    }
}

struct news {
    struct loop_task task;
    struct core *core;
    struct core_fn *fn;
};

static void hear(struct loop_task *task) {
    struct news *news = container_of(task, struct news, task);
    struct core *c = news->core;
    if (c->schedules.clock.fd >= 0) { /* else the start, which reads them all, is yet to come */
        take_up(c, news->fn);
        arm(&c->schedules);
    }
    core_fn_unref(news->fn);
    free(news);
}

void schedules_changed(struct core *c, struct core_fn *fn) {
    struct news *news = x_alloc(sizeof *news);
    news->task.run = hear;
    news->core = c;
    news->fn = core_fn_ref(fn);
    loop_post(c->loops[0], &news->task);
}

/* ---- life ---- */
void schedules_init(struct schedules *s) {
    s->clock = (struct loop_io){.fd = -1, .events = EPOLLIN, .ready = clock_ready};
    map_init(&s->functions);
}

void schedules_start(struct core *c) {
    struct schedules *s = &c->schedules;
    size_t n;
    s->clock.fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
    if (s->clock.fd < 0 || loop_io_add(c->loops[0], &s->clock) < 0) {
        log_error("schedules do not run: no timer");
        fd_close(&s->clock.fd);
        return;
    }
    cleanup_free struct core_fn **v = core_fns(c, &n);
    for (size_t i = 0; i < n; i++) {
        take_up(c, v[i]);
        core_fn_unref(v[i]);
    }
    arm(s);
}

void schedules_stop(struct core *c) {
    struct schedules *s = &c->schedules;
    if (s->clock.fd >= 0)
        loop_io_del(c->loops[0], &s->clock);
    fd_close(&s->clock.fd);
}

void schedules_done(struct schedules *s) {
    size_t it = 0;
    struct schedule_list *l;
    fd_close(&s->clock.fd);
    while ((l = map_next(&s->functions, &it))) {
        list_for_each_safe (node, &l->schedules)
            schedule_free(s, list_entry(node, struct schedule, link));
        free(l);
    }
    map_done(&s->functions);
    free(s->heap);
    s->heap = NULL;
    s->n = s->cap = 0;
}
