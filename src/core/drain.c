/* SPDX-License-Identifier: Apache-2.0 */
/* The end: no new calls, running ones end, what was gathered reaches the store. */

#include "core/internal.h"

struct barrier {
    struct ask ask;
    int rounds;
};

static int barrier_read(struct ask *a, struct store *s, struct error *err) {
    (void)a;
    (void)s;
    (void)err;
    return 0;
}

/* The first round brings everything into the store; in the second every loop has also heard back
 * of it. */
static void barrier_answer(struct ask *a, const struct error *err) {
    struct barrier *b = container_of(a, struct barrier, ask);
    struct core *c = a->core;
    (void)err;
    if (++b->rounds < 2) {
        ask_after_history(a);
        return;
    }
    free(b);
    retention_stop(c);
    schedules_stop(c);
    objects_stop(c);
    c->drained(c->drained_arg);
}

static void engine_drained(void *arg) {
    struct core *c = arg;
    struct barrier *b = x_alloc(sizeof *b);
    b->ask = (struct ask){
        .core = c, .loop = c->loops[0], .read = barrier_read, .answer = barrier_answer};
    ask_after_history(&b->ask);
}

void core_drain(struct core *c, uint32_t deadline_ms, void (*done)(void *arg), void *arg) {
    c->drained = done;
    c->drained_arg = arg;
    if (atomic_exchange(&c->draining, true))
        return;
    builds_stop(c);
    core_look_again(c); /* calls that wait for a build are refused */
    engine_drain(c->engine, deadline_ms, engine_drained, c);
}
