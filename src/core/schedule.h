/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_CORE_SCHEDULE_H
#define KILN_CORE_SCHEDULE_H

/* Schedule triggers. Everything here belongs to loops[0]: a heap of what is due when, and one
 * timerfd of real time that stands for its top, so that ten thousand schedules cost nothing while
 * none is due and a clock that is set is noticed (timerfd_create(2), TFD_TIMER_CANCEL_ON_SET).
 *
 * A run is a durable asynchronous call with source SOURCE_SCHEDULE. The job that stores the call
 * notes in the same transaction which run it is, and refuses one that was noted before or whose
 * trigger has gone or is disabled: so each run is made at most once, whatever restarts, and a
 * change that was answered holds. Runs that were missed (no server, a machine that slept, a clock
 * that was set) are skipped. While a clock that was set back repeats less than a day, what has run
 * then does not run again.
 *
 * The function gets POST /triggers/<name of the trigger> with the JSON body
 * {"trigger":"cron","timestamp":"<when it was due, RFC 3339>"}. */

#include "base/map.h"
#include "loop/loop.h"

struct core;
struct core_fn;
struct schedule;

#define SCHEDULE_ROUND_MAX 256 /* runs made before other events have their turn */

struct schedules {
    struct loop_io clock; /* the timerfd; -1 until started and after the stop */
    struct map functions; /* number → struct schedule_list */
    struct schedule **heap;
    size_t n, cap;
};
void schedules_init(struct schedules *s);
void schedules_start(struct core *c); /* on loops[0]: takes up all triggers */
void schedules_stop(struct core *c);  /* on loops[0] */
void schedules_done(struct schedules *s);
/* The triggers of FN are others now, or FN is gone. Any thread. */
void schedules_changed(struct core *c, struct core_fn *fn);

#endif
