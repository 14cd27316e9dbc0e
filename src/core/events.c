/* SPDX-License-Identifier: Apache-2.0 */
/* The audit of a function. Lines are written by change_event(), with the change itself. */

#include "core/internal.h"

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
