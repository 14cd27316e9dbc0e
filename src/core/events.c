/* SPDX-License-Identifier: Apache-2.0 */
/* The audit of a function. Lines are written by change_event(), with the change itself. */

#include "core/internal.h"
#include <stdio.h>

struct events_ask {
    struct ask ask;
    uint32_t function_no, before, limit;
    struct event *v;
    size_t n, cap;
    void (*done)(void *arg, const struct error *err, const struct event *v, size_t n);
    void *arg;
};

static bool keep(void *arg, const struct event *e) {
    struct events_ask *a = arg;
    a->v = grow(a->v, a->n, &a->cap, sizeof *a->v);
    struct event *copy = &a->v[a->n++];
    *copy = *e;
    copy->description = e->description ? x_strdup(e->description) : NULL;
    copy->metadata = (struct pairs){0};
    pairs_copy(&copy->metadata, &e->metadata);
    return true;
}

static int read_events(struct ask *ask, struct store *s, struct error *err) {
    struct events_ask *a = container_of(ask, struct events_ask, ask);
    return store_event_each(s, a->function_no, a->before, a->limit, keep, a, err);
}

static void answer(struct ask *ask, const struct error *err) {
    struct events_ask *a = container_of(ask, struct events_ask, ask);
    a->done(a->arg, err, err ? NULL : a->v, err ? 0 : a->n);
    for (size_t i = 0; i < a->n; i++)
        event_done(&a->v[i]);
    free(a->v);
    free(a);
}

void core_events(struct core *c, struct loop *loop, uint32_t function_no, uint32_t before,
                 uint32_t limit,
                 void (*done)(void *arg, const struct error *err, const struct event *v, size_t n),
                 void *arg) {
    struct events_ask *a = x_alloc(sizeof *a);
    a->ask = (struct ask){.core = c, .loop = loop, .read = read_events, .answer = answer};
    a->function_no = function_no;
    a->before = before ? before : UINT32_MAX;
    a->limit = limit < READ_ROWS_MAX ? limit : READ_ROWS_MAX;
    a->done = done;
    a->arg = arg;
    ask_start(&a->ask);
}

/* ---- first calls ---- */
struct first_call {
    struct store_job job;
    struct event event;
};

static int first_call_run(struct store_job *job, struct store *s, struct error *err) {
    return store_event_once(s, &container_of(job, struct first_call, job)->event, err);
}

/* On the store thread: at the very end of the server no loop would run it any more. */
static void first_call_done(struct store_job *job, const struct error *err) {
    struct first_call *f = container_of(job, struct first_call, job);
    if (err)
        log_warn("event not stored", LOG_STR("error", err->text));
    event_done(&f->event);
    free(f);
}

void event_invoked(struct core_loop *cl, struct core_fn *fn, uint32_t version_number) {
    char version[16];
    if (atomic_exchange(&fn->invoked, version_number) == version_number)
        return;
    struct first_call *f = x_alloc(sizeof *f);
    f->event = (struct event){.function_no = fn->no, .type = "invoked"};
    f->event.created_us = clock_real_us();
    f->event.description = x_asprintf("Version v%u called for the first time", version_number);
    snprintf(version, sizeof version, "v%u", version_number);
    pairs_add(&f->event.metadata, STR("version"), str_of(version));
    f->job = (struct store_job){.db = STORE_STATE, .run = first_call_run, .done = first_call_done};
    store_submit(cl->core->store, &f->job);
}
