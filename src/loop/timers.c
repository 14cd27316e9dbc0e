/* SPDX-License-Identifier: Apache-2.0 */
#include "loop/timers.h"

void timers_done(struct timers *t) {
    free(t->heap);
    *t = (struct timers){0};
}

static void place(struct timers *t, size_t i, struct timers_entry e) {
    t->heap[i] = e;
    e.timer->slot = (uint32_t)i + 1;
}

static void sift_up(struct timers *t, size_t i, struct timers_entry e) {
    while (i > 0) {
        size_t parent = (i - 1) / 2;
        if (t->heap[parent].deadline_ns <= e.deadline_ns)
            break;
        place(t, i, t->heap[parent]);
        i = parent;
    }
    place(t, i, e);
}

static void sift_down(struct timers *t, size_t i, struct timers_entry e) {
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= t->count)
            break;
        if (child + 1 < t->count && t->heap[child + 1].deadline_ns < t->heap[child].deadline_ns)
            child++;
        if (e.deadline_ns <= t->heap[child].deadline_ns)
            break;
        place(t, i, t->heap[child]);
        i = child;
    }
    place(t, i, e);
}

/* Puts E at I, where the present entry may be overwritten. */
static void settle(struct timers *t, size_t i, struct timers_entry e) {
    if (i > 0 && e.deadline_ns < t->heap[(i - 1) / 2].deadline_ns)
        sift_up(t, i, e);
    else
        sift_down(t, i, e);
}

void timers_set(struct timers *t, struct loop_timer *timer, uint64_t deadline_ns) {
    struct timers_entry e = {deadline_ns, timer};
    timer->deadline_ns = deadline_ns;
    if (timer->slot) {
        settle(t, timer->slot - 1, e);
        return;
    }
    if (t->count == t->cap) {
        t->cap = t->cap ? t->cap * 2 : 64;
        t->heap = x_realloc(t->heap, t->cap * sizeof(*t->heap));
    }
    sift_up(t, t->count++, e);
}

void timers_clear(struct timers *t, struct loop_timer *timer) {
    if (!timer->slot)
        return;
    size_t i = timer->slot - 1;
    timer->slot = 0;
    struct timers_entry last = t->heap[--t->count];
    if (last.timer != timer)
        settle(t, i, last);
}
