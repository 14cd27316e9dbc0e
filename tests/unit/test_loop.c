/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/rand.h"
#include "loop/loop.h"

/* ---- descriptors ---- */
struct end {
    struct loop_io io;
    struct loop *loop;
    struct end *other;
    int calls;
};

static void delete_other(struct loop_io *io, uint32_t events) {
    struct end *e = container_of(io, struct end, io);
    assert_true(events & EPOLLIN);
    e->calls++;
    loop_io_del(e->loop, &e->other->io);
}

static void io_deleted_in_the_tick_is_not_told(void **state) {
    (void)state;
    struct loop *loop = loop_new(3);
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    struct end a = {.io = {fds[0], EPOLLIN, delete_other}, .loop = loop};
    struct end b = {.io = {fds[1], EPOLLIN, delete_other}, .loop = loop, .other = &a};
    a.other = &b;
    assert_int_equal(write(fds[0], "x", 1) + write(fds[1], "y", 1), 2);
    assert_int_equal(loop_io_add(loop, &a.io), 0);
    assert_int_equal(loop_io_add(loop, &b.io), 0);
    loop_tick(loop, 0);
    assert_int_equal(a.calls + b.calls, 1); /* both were ready, the first deleted the second */
    loop_tick(loop, 0);
    assert_int_equal(a.calls + b.calls, 2);
    assert_int_equal(loop_index(loop), 3);
    assert_ptr_equal(loop_current(), loop);
    loop_io_del(loop, &a.io);
    loop_io_del(loop, &b.io);
    close(fds[0]);
    close(fds[1]);
    loop_free(loop);
    assert_null(loop_current());
}

static void io_mod_changes_what_is_told(void **state) {
    (void)state;
    struct loop *loop = loop_new(0);
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    struct end a = {.io = {fds[0], EPOLLIN, delete_other}, .loop = loop};
    struct end b = {.io = {-1, 0, NULL}};
    a.other = &b;
    assert_int_equal(loop_io_add(loop, &a.io), 0);
    assert_int_equal(loop_io_mod(loop, &a.io, 0), 0);
    assert_int_equal(write(fds[1], "x", 1), 1);
    loop_tick(loop, 0);
    assert_int_equal(a.calls, 0);
    assert_int_equal(loop_io_mod(loop, &a.io, EPOLLIN), 0);
    loop_tick(loop, 0);
    assert_int_equal(a.calls, 1);
    loop_io_del(loop, &a.io);
    close(fds[0]);
    close(fds[1]);
    loop_free(loop);
}

/* ---- timers ---- */
#define TIMERS 500
struct alarm {
    struct loop_timer timer;
    uint64_t *last, *fired;
};

static void check_order(struct loop_timer *timer) {
    struct alarm *a = container_of(timer, struct alarm, timer);
    assert_true(timer->deadline_ns >= *a->last);
    assert_false(loop_timer_is_set(timer));
    *a->last = timer->deadline_ns;
    ++*a->fired;
}

static void timers_fire_in_order_and_cleared_ones_never(void **state) {
    (void)state;
    struct loop *loop = loop_new(0);
    static struct alarm alarms[TIMERS];
    uint64_t last = 0, fired = 0, now = loop_now_ns(loop), cleared = 0;
    for (int i = 0; i < TIMERS; i++) {
        alarms[i] = (struct alarm){.last = &last, .fired = &fired};
        loop_timer_init(&alarms[i].timer, check_order);
        loop_timer_clear(loop, &alarms[i].timer); /* safe when unset */
        loop_timer_set(loop, &alarms[i].timer, now - rand_u64() % NS_PER_MS);
    }
    for (int i = 0; i < TIMERS; i += 3)
        loop_timer_set(loop, &alarms[i].timer, now - rand_u64() % NS_PER_MS); /* moved */
    for (int i = 0; i < TIMERS; i += 7, cleared++)
        loop_timer_clear(loop, &alarms[i].timer);
    loop_tick(loop, 0);
    assert_int_equal(fired, TIMERS - cleared);
    loop_free(loop);
}

static struct loop *again_loop;
static int again_calls;
static void set_again(struct loop_timer *timer) {
    if (++again_calls < 3)
        loop_timer_set(again_loop, timer, loop_now_ns(again_loop));
}

static void timer_may_set_itself_again_and_waits_wake(void **state) {
    (void)state;
    again_loop = loop_new(0);
    again_calls = 0;
    struct loop_timer t;
    loop_timer_init(&t, set_again);
    uint64_t deadline = clock_mono_ns() + 2 * NS_PER_MS;
    loop_timer_set(again_loop, &t, deadline);
    loop_tick(again_loop, -1);
    assert_int_equal(again_calls, 1); /* once a tick, though due again at once */
    assert_true(loop_now_ns(again_loop) >= deadline);
    loop_tick(again_loop, -1);
    loop_tick(again_loop, -1);
    assert_int_equal(again_calls, 3);
    assert_false(loop_timer_is_set(&t));
    loop_free(again_loop);
}

/* ---- tasks ---- */
#define POSTERS 4
#define POSTS   20000
struct posted {
    struct loop_task task;
    int poster, number;
};
static struct posted posts[POSTERS][POSTS];
static int next_of[POSTERS];
static int posted_total;
static struct loop *post_loop;

static void take_post(struct loop_task *task) {
    struct posted *p = container_of(task, struct posted, task);
    assert_int_equal(p->number, next_of[p->poster]);
    next_of[p->poster]++;
    if (++posted_total == POSTERS * POSTS)
        loop_stop(post_loop);
}

static void *post_all(void *arg) {
    struct posted *mine = arg;
    for (int i = 0; i < POSTS; i++)
        loop_post(post_loop, &mine[i].task);
    return NULL;
}

static void posts_of_many_threads_arrive_in_order(void **state) {
    (void)state;
    pthread_t threads[POSTERS];
    post_loop = loop_new(0);
    for (int t = 0; t < POSTERS; t++)
        for (int i = 0; i < POSTS; i++)
            posts[t][i] = (struct posted){.task.run = take_post, .poster = t, .number = i};
    for (int t = 0; t < POSTERS; t++)
        assert_int_equal(pthread_create(&threads[t], NULL, post_all, posts[t]), 0);
    loop_run(post_loop); /* hangs if a wake-up is lost */
    for (int t = 0; t < POSTERS; t++)
        pthread_join(threads[t], NULL);
    assert_int_equal(posted_total, POSTERS * POSTS);
    loop_free(post_loop);
}

struct ping {
    struct loop_task task;
    struct loop *to;
    struct ping *back;
    int left;
};

static void pong(struct loop_task *task) {
    struct ping *p = container_of(task, struct ping, task);
    if (--p->left > 0)
        loop_post(p->to, &p->back->task);
    else
        loop_post(p->to, &p->back->task), loop_stop(loop_current());
}

static void *run_loop(void *loop) {
    loop_run(loop);
    return NULL;
}

/* Each side sleeps until the other posts: every wake-up counts. */
static void two_loops_wake_each_other(void **state) {
    (void)state;
    struct loop *a = loop_new(0), *b = loop_new(1);
    struct ping in_a = {.task.run = pong, .to = b, .left = 2000};
    struct ping in_b = {.task.run = pong, .to = a, .left = 2000};
    in_a.back = &in_b;
    in_b.back = &in_a;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, run_loop, b), 0);
    loop_post(a, &in_a.task);
    loop_run(a);
    pthread_join(thread, NULL);
    assert_int_equal(in_a.left, 0);
    assert_int_equal(in_b.left, 0);
    loop_free(a);
    loop_free(b);
}

struct deferred {
    struct loop_task task;
    int runs, more;
};
static struct loop *defer_loop;

static void run_deferred(struct loop_task *task) {
    struct deferred *d = container_of(task, struct deferred, task);
    d->runs++;
    if (d->more-- > 0)
        loop_defer(defer_loop, task);
}

static void defer_is_idempotent_and_can_be_cancelled(void **state) {
    (void)state;
    defer_loop = loop_new(0);
    struct deferred d[4] = {0};
    for (int i = 0; i < 4; i++)
        d[i].task.run = run_deferred;
    loop_defer_cancel(defer_loop, &d[0].task);
    for (int i = 0; i < 4; i++)
        loop_defer(defer_loop, &d[i].task);
    loop_defer(defer_loop, &d[0].task);
    loop_defer_cancel(defer_loop, &d[1].task);
    loop_defer_cancel(defer_loop, &d[3].task);
    d[2].more = 1;
    loop_tick(defer_loop, -1); /* does not sleep while something is deferred */
    assert_int_equal(d[0].runs, 1);
    assert_int_equal(d[1].runs, 0);
    assert_int_equal(d[2].runs, 2);
    assert_int_equal(d[3].runs, 0);
    loop_defer(defer_loop, &d[3].task);
    loop_tick(defer_loop, -1);
    assert_int_equal(d[3].runs, 1);
    loop_free(defer_loop);
}

static void endless_deferring_does_not_keep_the_tick(void **state) {
    (void)state;
    defer_loop = loop_new(0);
    struct deferred d = {.task.run = run_deferred, .more = 1000};
    loop_defer(defer_loop, &d.task);
    loop_tick(defer_loop, -1);
    assert_in_range(d.runs, 2, 100);
    while (d.runs <= 1000)
        loop_tick(defer_loop, -1);
    loop_free(defer_loop);
}

static void stop_before_run_ends_it_at_once(void **state) {
    (void)state;
    struct loop *loop = loop_new(0);
    loop_stop(loop);
    loop_run(loop);
    loop_free(loop);
    loop_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(io_deleted_in_the_tick_is_not_told),
        cmocka_unit_test(io_mod_changes_what_is_told),
        cmocka_unit_test(timers_fire_in_order_and_cleared_ones_never),
        cmocka_unit_test(timer_may_set_itself_again_and_waits_wake),
        cmocka_unit_test(posts_of_many_threads_arrive_in_order),
        cmocka_unit_test(two_loops_wake_each_other),
        cmocka_unit_test(defer_is_idempotent_and_can_be_cancelled),
        cmocka_unit_test(endless_deferring_does_not_keep_the_tick),
        cmocka_unit_test(stop_before_run_ends_it_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
