/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_LOOP_TIMERS_H
#define KILN_LOOP_TIMERS_H

/* struct timers: a binary heap of the loop's timers, earliest first; every timer knows its slot. */

#include "loop/loop.h"

struct timers {
    struct timers_entry { /* the deadline stands here too: sifting follows no pointer */
        uint64_t deadline_ns;
        struct loop_timer *timer;
    } * heap;
    size_t count, cap;
};

void timers_done(struct timers *t); /* forgets them all */
void timers_set(struct timers *t, struct loop_timer *timer, uint64_t deadline_ns);
void timers_clear(struct timers *t, struct loop_timer *timer);
static inline struct loop_timer *timers_first(const struct timers *t) {
    return t->count ? t->heap[0].timer : NULL;
}

#endif
