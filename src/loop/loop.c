/* SPDX-License-Identifier: Apache-2.0 */
#include "loop/loop.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "base/clock.h"
#include "loop/timers.h"

#define EVENTS_PER_TICK 128
/* A deferred write may make another (an answer starts the next pipelined call): a few rounds keep
 * that within the tick, a bound keeps it from starving io. */
#define DEFER_ROUNDS 4

struct loop {
    int epoll_fd, wake_fd, index;
    uint64_t now_ns;
    struct timers timers;
    struct loop_task *deferred, **deferred_end;

    struct epoll_event events[EVENTS_PER_TICK];
    int event, n_events; /* events[event..n_events) of this tick are still to be told */

    /* Written by other threads, so on cache lines of their own. */
    _Alignas(64) _Atomic(struct loop_task *) posted; /* newest first */
    _Alignas(64) atomic_bool asleep;
    atomic_bool stop;
};

static _Thread_local struct loop *current;

struct loop *loop_new(int index) {
    struct loop *loop = aligned_alloc(64, sizeof(*loop));
    if (!loop)
        abort();
    memset(loop, 0, sizeof(*loop));
    loop->index = index;
    loop->deferred_end = &loop->deferred;
    loop->now_ns = clock_mono_ns();
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    /* Edge-triggered: every write is an edge, the counter never needs to be read. */
    struct epoll_event ev = {.events = EPOLLIN | EPOLLET};
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->wake_fd, &ev) < 0)
        abort();
    return loop;
}

void loop_free(struct loop *loop) {
    if (!loop)
        return;
    fd_close(&loop->wake_fd);
    fd_close(&loop->epoll_fd);
    timers_done(&loop->timers);
    if (current == loop)
        current = NULL;
    free(loop);
}

uint64_t loop_now_ns(const struct loop *loop) {
    return loop->now_ns;
}

int loop_index(const struct loop *loop) {
    return loop->index;
}

struct loop *loop_current(void) {
    return current;
}

/* ---- descriptors ---- */
int loop_io_add(struct loop *loop, struct loop_io *io) {
    struct epoll_event ev = {.events = io->events, .data.ptr = io};
    return epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, io->fd, &ev) < 0 ? -errno : 0;
}

int loop_io_mod(struct loop *loop, struct loop_io *io, uint32_t events) {
    if (io->events == events)
        return 0;
    struct epoll_event ev = {.events = events, .data.ptr = io};
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, io->fd, &ev) < 0)
        return -errno;
    io->events = events;
    return 0;
}

void loop_io_del(struct loop *loop, struct loop_io *io) {
    (void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, io->fd, NULL);
    for (int i = loop->event; i < loop->n_events; i++)
        if (loop->events[i].data.ptr == io)
            loop->events[i].data.ptr = NULL;
}

static void run_io(struct loop *loop) {
    while (loop->event < loop->n_events) {
        const struct epoll_event *ev = &loop->events[loop->event++];
        struct loop_io *io = ev->data.ptr; /* NULL: the eventfd, or deleted in this tick */
        if (io)
            io->ready(io, ev->events);
    }
    loop->event = loop->n_events = 0;
}

/* ---- timers ---- */
void loop_timer_init(struct loop_timer *timer, void (*fire)(struct loop_timer *timer)) {
    *timer = (struct loop_timer){.fire = fire};
}

void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t deadline_ns) {
    timers_set(&loop->timers, timer, deadline_ns);
}

void loop_timer_clear(struct loop *loop, struct loop_timer *timer) {
    timers_clear(&loop->timers, timer);
}

static void run_timers(struct loop *loop) {
    /* Bounded by what was set before: a timer that sets itself anew in the past runs next tick. */
    for (size_t n = loop->timers.count; n > 0; n--) {
        struct loop_timer *t = timers_first(&loop->timers);
        if (!t || t->deadline_ns > loop->now_ns)
            return;
        timers_clear(&loop->timers, t);
        t->fire(t);
    }
}

/* ---- tasks ---- */
static void wake(struct loop *loop) {
    const uint64_t one = 1;
    ssize_t n;
    do
        n = write(loop->wake_fd, &one, sizeof(one));
    while (n < 0 && errno == EINTR);
}

void loop_post(struct loop *loop, struct loop_task *task) {
    struct loop_task *head = atomic_load_explicit(&loop->posted, memory_order_relaxed);
    do
        task->next = head;
    while (!atomic_compare_exchange_weak(&loop->posted, &head, task));
    /* Sequentially consistent on both sides: either the loop sees the task before it sleeps, or
     * this thread sees that it sleeps; the exchange lets one of several posters write. */
    if (atomic_load(&loop->asleep) && atomic_exchange(&loop->asleep, false))
        wake(loop);
}

static void run_posted(struct loop *loop) {
    if (!atomic_load_explicit(&loop->posted, memory_order_relaxed))
        return;
    struct loop_task *newest = atomic_exchange(&loop->posted, NULL), *oldest = NULL;
    while (newest) {
        struct loop_task *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest) {
        struct loop_task *task = oldest;
        oldest = task->next;
        task->next = NULL;
        task->run(task);
    }
}

void loop_defer(struct loop *loop, struct loop_task *task) {
    if (task->linked)
        return;
    task->next = NULL;
    task->linked = loop->deferred_end;
    *loop->deferred_end = task;
    loop->deferred_end = &task->next;
}

void loop_defer_cancel(struct loop *loop, struct loop_task *task) {
    if (!task->linked)
        return;
    *task->linked = task->next;
    if (task->next)
        task->next->linked = task->linked;
    else
        loop->deferred_end = task->linked;
    task->next = NULL;
    task->linked = NULL;
}

static void run_deferred(struct loop *loop) {
    struct loop_task mark = {0}; /* ends a round: what is deferred meanwhile stands behind it */
    for (int round = 0; loop->deferred && round < DEFER_ROUNDS; round++) {
        loop_defer(loop, &mark);
        while (loop->deferred != &mark) {
            struct loop_task *task = loop->deferred;
            loop_defer_cancel(loop, task);
            task->run(task);
        }
        loop_defer_cancel(loop, &mark);
    }
}

/* ---- the tick ---- */
static int wait_ms(struct loop *loop, int most_ms) {
    if (loop->deferred || atomic_load(&loop->posted) || atomic_load(&loop->stop))
        return 0;
    const struct loop_timer *t = timers_first(&loop->timers);
    if (!t)
        return most_ms;
    uint64_t now = clock_mono_ns();
    if (t->deadline_ns <= now)
        return 0;
    uint64_t ms = (t->deadline_ns - now + NS_PER_MS - 1) / NS_PER_MS;
    int timer_ms = ms > INT_MAX ? INT_MAX : (int)ms;
    return most_ms < 0 || timer_ms < most_ms ? timer_ms : most_ms;
}

void loop_tick(struct loop *loop, int most_ms) {
    current = loop;
    atomic_store(&loop->asleep, true);
    int ms = wait_ms(loop, most_ms); /* after asleep: see loop_post() */
    int n = epoll_wait(loop->epoll_fd, loop->events, EVENTS_PER_TICK, ms);
    atomic_store(&loop->asleep, false);
    loop->now_ns = clock_mono_ns();
    loop->n_events = n < 0 ? 0 : n; /* EINTR: an empty tick */
    run_io(loop);
    run_posted(loop);
    run_timers(loop);
    run_deferred(loop);
}

void loop_run(struct loop *loop) {
    while (!atomic_load(&loop->stop))
        loop_tick(loop, -1);
    atomic_store(&loop->stop, false);
}

void loop_stop(struct loop *loop) {
    atomic_store(&loop->stop, true);
    wake(loop);
}
