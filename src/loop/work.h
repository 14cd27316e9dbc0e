/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_LOOP_WORK_H
#define KILN_LOOP_WORK_H

/* struct workers: a few threads for what blocks: child processes, libcurl, archives. A loop hands
 * them work and hears back on a loop; it never waits for them.
 *
 * Threads start when there is work for them and stay until workers_free(). The queue is bounded:
 * what finds it full is refused at once and the caller says so to its client.
 *
 * The way down: workers_stop() makes workers_cancel_fd() readable for good; work that runs watches
 * it (child.h does) and ends early, work that waits ends without having run. */

#include "loop/loop.h"

#include "base/list.h"

struct workers;

/* Embed it in your own struct, zeroed; it is yours again when `done` runs. */
struct work {
    void (*run)(struct work *work);  /* on a worker thread; may block */
    void (*done)(struct work *work); /* on LOOP, or on the worker thread where LOOP is NULL */
    struct loop *loop;
    bool dropped; /* set for `done`: stopped before `run` was called */
    /* private */
    struct list link;
    struct loop_task task;
};

/* At most THREADS_MAX at work and QUEUE_MAX waiting. */
struct workers *workers_new(uint32_t threads_max, uint32_t queue_max);
/* From any thread. 0, -EAGAIN (the queue is full), -ESHUTDOWN (after workers_stop()), or -errno
 * where not one thread can be started: `done` is not called then. */
int workers_submit(struct workers *w, struct work *work);
/* An eventfd that is readable from workers_stop() on; for poll(2), never to be read. */
int workers_cancel_fd(const struct workers *w);
bool workers_stopping(const struct workers *w);
const _Atomic bool *workers_stop_flag(const struct workers *w); /* the same, to be looked at */
/* From any thread, once: nothing new is taken, what waits is dropped, what runs is told. IDLE (may
 * be NULL) is posted to LOOP when the last has ended, after that one's `done` was. */
void workers_stop(struct workers *w, struct loop *loop, struct loop_task *idle);
/* Stops where that was not done, and joins the threads: waits for what runs. What comes to
 * workers_submit() later, from threads that live on, is refused still. Once; NULL is fine. */
void workers_end(struct workers *w);
/* workers_end() where that was not done, and frees: nobody may know of W any more. */
void workers_free(struct workers *w);

#endif
