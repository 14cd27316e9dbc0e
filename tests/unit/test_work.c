/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>

#include "loop/work.h"

struct job {
    struct work work;
    struct workers *workers;
    int gate; /* an eventfd that run() waits for, or -1 */
    atomic_int started;
    bool ran_elsewhere, dropped;
    int done;
};
static pthread_t loop_thread; /* set before there is another */

static void wait_for(int fd) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    while (poll(&p, 1, -1) < 1)
        ;
}

static void job_run(struct work *work) {
    struct job *j = container_of(work, struct job, work);
    j->ran_elsewhere = !pthread_equal(pthread_self(), loop_thread);
    atomic_store(&j->started, 1);
    if (j->gate >= 0)
        wait_for(j->gate);
}

static void job_done(struct work *work) {
    struct job *j = container_of(work, struct job, work);
    assert_true(pthread_equal(pthread_self(), loop_thread));
    j->dropped = work->dropped;
    j->done++;
}

static struct job job(struct loop *loop, struct workers *w, int gate) {
    return (struct job){
        .work = {.run = job_run, .done = job_done, .loop = loop}, .workers = w, .gate = gate};
}

static void open_gate(int fd) {
    const uint64_t one = 1;
    assert_int_equal(write(fd, &one, sizeof one), sizeof one);
}

static void until_started(struct job *j) {
    while (!atomic_load(&j->started))
        sched_yield();
}

static void runs_on_a_worker_and_ends_on_the_loop(void **state) {
    (void)state;
    struct loop *loop = loop_new(0);
    struct workers *w = workers_new(2, 8);
    struct job j[6];
    for (size_t i = 0; i < ARRAY_LEN(j); i++) {
        j[i] = job(loop, w, -1);
        assert_int_equal(workers_submit(w, &j[i].work), 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(j); i++)
        while (!j[i].done)
            loop_tick(loop, 1000);
    for (size_t i = 0; i < ARRAY_LEN(j); i++) {
        assert_true(j[i].ran_elsewhere);
        assert_false(j[i].dropped);
        assert_int_equal(j[i].done, 1);
    }
    workers_free(w);
    loop_free(loop);
}

static void a_full_queue_refuses(void **state) {
    (void)state;
    struct loop *loop = loop_new(0);
    struct workers *w = workers_new(1, 1);
    int gate = eventfd(0, EFD_CLOEXEC);
    struct job a = job(loop, w, gate), b = job(loop, w, -1), c = job(loop, w, -1);
    assert_int_equal(workers_submit(w, &a.work), 0);
    until_started(&a);
    assert_int_equal(workers_submit(w, &b.work), 0);
    assert_int_equal(workers_submit(w, &c.work), -EAGAIN);
    open_gate(gate);
    while (!b.done)
        loop_tick(loop, 1000);
    assert_int_equal(a.done, 1);
    assert_int_equal(workers_submit(w, &c.work), 0);
    while (!c.done)
        loop_tick(loop, 1000);
    workers_free(w);
    loop_free(loop);
    close(gate);
}

static bool idle_told;
static void on_idle(struct loop_task *task UNUSED) {
    idle_told = true;
}

static void stopping_tells_what_runs_and_drops_what_waits(void **state) {
    (void)state;
    struct loop *loop = loop_new(0);
    struct workers *w = workers_new(1, 4);
    struct job a = job(loop, w, workers_cancel_fd(w)), b = job(loop, w, -1), c = job(loop, w, -1);
    assert_int_equal(workers_submit(w, &a.work), 0);
    until_started(&a);
    assert_int_equal(workers_submit(w, &b.work), 0);
    struct loop_task idle = {.run = on_idle};
    idle_told = false;
    workers_stop(w, loop, &idle);
    assert_true(workers_stopping(w));
    assert_int_equal(workers_submit(w, &c.work), -ESHUTDOWN);
    while (!idle_told)
        loop_tick(loop, 1000);
    assert_int_equal(a.done, 1);
    assert_false(a.dropped);
    assert_int_equal(b.done, 1); /* before idle was */
    assert_true(b.dropped);
    assert_int_equal(b.started, 0);
    assert_int_equal(c.done, 0);
    workers_free(w);
    loop_free(loop);
}

static void idle_at_once_where_nothing_runs(void **state) {
    (void)state;
    struct loop *loop = loop_new(0);
    struct workers *w = workers_new(4, 4);
    struct loop_task idle = {.run = on_idle};
    idle_told = false;
    workers_stop(w, loop, &idle);
    loop_tick(loop, 0);
    assert_true(idle_told);
    workers_free(w);
    workers_free(NULL);
    loop_free(loop);
}

/* The store's thread ends later than the workers do, and may still have work for them. */
static void who_comes_after_the_end_is_refused(void **state) {
    (void)state;
    struct loop *loop = loop_new(0);
    struct workers *w = workers_new(2, 4);
    struct job a = job(loop, w, -1), late = job(loop, w, -1);
    assert_int_equal(workers_submit(w, &a.work), 0);
    until_started(&a);
    workers_end(w);
    assert_int_equal(workers_submit(w, &late.work), -ESHUTDOWN);
    assert_true(workers_stopping(w));
    loop_tick(loop, 0);
    assert_int_equal(a.done, 1);
    assert_int_equal(late.done + late.started, 0);
    workers_end(NULL);
    workers_free(w);
    loop_free(loop);
}

int main(void) {
    loop_thread = pthread_self();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_on_a_worker_and_ends_on_the_loop),
        cmocka_unit_test(a_full_queue_refuses),
        cmocka_unit_test(stopping_tells_what_runs_and_drops_what_waits),
        cmocka_unit_test(idle_at_once_where_nothing_runs),
        cmocka_unit_test(who_comes_after_the_end_is_refused),
    };
    return cmocka_run_group_tests_name("work", tests, NULL, NULL);
}
