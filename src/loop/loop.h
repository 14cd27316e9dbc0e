/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_LOOP_LOOP_H
#define KILN_LOOP_LOOP_H

/* struct loop: one epoll a thread. Everything that happens on a connection or an instance happens
 * on one loop, in callbacks that must not block.
 *
 * A tick: wait; io callbacks; posted tasks; timers that are due; deferred tasks. All memory (io,
 * timers, tasks) is embedded in what uses it: the loop allocates nothing per event.
 *
 * Thread rule: loop_post(), loop_stop() and loop_index() are for any thread, the rest belongs to
 * the thread that runs the loop (or that made it, before it runs). */

#include "base/base.h"

struct loop;

/* INDEX is the caller's own number for it (0, 1, …). Aborts only when the kernel gives no
 * descriptors; made at start-up. */
struct loop *loop_new(int index);
/* Posted and deferred tasks that have not run are dropped, io and timers forgotten. */
void loop_free(struct loop *loop);
/* Runs ticks on this thread until loop_stop(). The present tick is finished first. */
void loop_run(struct loop *loop);
/* One tick that waits at most WAIT_MS (-1: until something happens). For tests and fuzzers. */
void loop_tick(struct loop *loop, int wait_ms);
/* From any thread and from signal handlers. */
void loop_stop(struct loop *loop);
/* Monotonic time as of the beginning of the tick (clock_mono_ns() before the first one). */
uint64_t loop_now_ns(const struct loop *loop);
int loop_index(const struct loop *loop);
/* The loop that runs on this thread, or NULL. */
struct loop *loop_current(void);

/* ---- descriptors ---- */
struct loop_io {
    int fd;
    uint32_t events; /* EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLET… as of epoll_ctl(2) */
    void (*ready)(struct loop_io *io, uint32_t events); /* EPOLLERR and EPOLLHUP come unasked */
};
/* Set fd, events and ready before. 0 or -errno (ENOMEM, ENOSPC, EPERM for a regular file). */
int loop_io_add(struct loop *loop, struct loop_io *io);
/* Does nothing when EVENTS are what is asked for already. */
int loop_io_mod(struct loop *loop, struct loop_io *io, uint32_t events);
/* Call it before close(fd). From then on, in any callback of the same tick too, `ready` is not
 * called again and *IO may be freed. */
void loop_io_del(struct loop *loop, struct loop_io *io);

/* ---- timers: a heap, O(log n) to set and clear ---- */
struct loop_timer {
    void (*fire)(struct loop_timer *timer);
    uint64_t deadline_ns; /* private from here */
    uint32_t slot;        /* place in the heap + 1; 0 = not set */
};
void loop_timer_init(struct loop_timer *timer, void (*fire)(struct loop_timer *timer));
/* Fires once, at or up to 1 ms after DEADLINE_NS (as of loop_now_ns()); sets anew when it was set.
 * It is unset when it fires: the callback may set it again or free it. */
void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t deadline_ns);
void loop_timer_clear(struct loop *loop, struct loop_timer *timer); /* safe when unset */
static inline bool loop_timer_is_set(const struct loop_timer *timer) {
    return timer->slot != 0;
}

/* ---- tasks ---- */
/* Set `run`, leave the rest zero. Not to be queued twice at once with loop_post(). It is unqueued
 * when it runs: run() may queue it again or free it. */
struct loop_task {
    struct loop_task *next;
    void (*run)(struct loop_task *task);
    struct loop_task **linked; /* private: loop_defer() only */
};
/* Runs TASK on LOOP's thread. From any thread, lock-free; tasks of one poster run in the order in
 * which they were posted. Writes to the loop's eventfd only where the loop may be asleep. */
void loop_post(struct loop *loop, struct loop_task *task);
/* Runs TASK at the end of the present tick, after all io callbacks, posted tasks and timers: for
 * gathering writes. Does nothing while it is queued already. What deferred tasks defer runs in the
 * same tick too, for a few rounds; after that io gets its turn first. */
void loop_defer(struct loop *loop, struct loop_task *task);
void loop_defer_cancel(struct loop *loop, struct loop_task *task); /* safe when not queued */

#endif
