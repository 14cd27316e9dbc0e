/* SPDX-License-Identifier: Apache-2.0 */
/* Two loops on threads of their own do everything at once. What it finds is found by the thread
 * and address sanitizers, and by the sums at the end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/rand.h"
#include "core_world.h"
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>

#define ROUNDS 600
#define CHAINS 4 /* of each loop: so many things under way at once */

static struct world w;
static uint32_t shared_no;
static _Atomic int chains_left;
static _Atomic unsigned sync_calls, async_calls, surprises;

struct chain {
    size_t loop;
    int round, id;
    struct loop_task task;
    struct core_call call;
    struct core_follow *follow;
    char name[32];
    uint32_t own_no;
};

static void next(struct chain *ch);

static void may_fail(const struct error *err) {
    if (err && err->code != ERR_CONFLICT && err->code != ERR_NOT_FOUND) {
        fprintf(stderr, "unexpected: %s\n", err->text);
        atomic_fetch_add(&surprises, 1);
    }
}

static void call_over(struct core_call *call, const struct engine_result *r,
                      const struct invocation *record) {
    struct chain *ch = container_of(call, struct chain, call);
    (void)record;
    if (r->cause != ERR_NONE)
        atomic_fetch_add(&surprises, 1);
    core_call_done(call);
    next(ch);
}

static bool init_call(struct chain *ch) {
    struct error err;
    ch->call = (struct core_call){.done = call_over};
    if (core_call_init(w.core, w.loops[ch->loop], &ch->call, shared_no, WIRE_BODY_TEXT, STR("POST"),
                       STR("/"), &err) < 0)
        return false;
    engine_input_headers(&ch->call.input);
    engine_input_end(&ch->call.input);
    ch->call.body = STR("body");
    return true;
}

static void do_call(struct chain *ch) {
    if (!init_call(ch)) {
        atomic_fetch_add(&surprises, 1);
        next(ch);
        return;
    }
    atomic_fetch_add(&sync_calls, 1);
    core_call_submit(&ch->call);
}

static void queued(void *arg, const struct error *err, const struct ulid *id) {
    (void)id;
    may_fail(err);
    next(arg);
}

static void do_async(struct chain *ch) {
    if (!init_call(ch)) {
        atomic_fetch_add(&surprises, 1);
        next(ch);
        return;
    }
    atomic_fetch_add(&async_calls, 1);
    core_call_async(&ch->call, queued, ch);
}

static void f_done(void *arg, const struct error *err, struct function *f) {
    (void)f;
    may_fail(err);
    next(arg);
}

static void do_update(struct chain *ch) {
    struct function *now = core_function(w.core, shared_no);
    struct core_update u = {.function = function_clone(now), .wait_build = true};
    function_unref(now);
    u.function->timeout_ms = 1000 + (uint32_t)ch->round;
    if (ch->round % 4 == 0)
        u.code = STR("new code");
    core_function_update(w.core, w.loops[ch->loop], &w.admin, &u, f_done, ch);
}

static void invocations_done(void *arg, const struct error *err, const struct invocation *v,
                             size_t n) {
    (void)v;
    (void)n;
    may_fail(err);
    next(arg);
}

static void metrics_done(void *arg, const struct error *err, const struct core_metrics *m) {
    (void)m;
    may_fail(err);
    next(arg);
}

static void number_done(void *arg, const struct error *err, uint32_t number) {
    (void)number;
    may_fail(err);
    next(arg);
}

static void deleted(void *arg, const struct error *err) {
    may_fail(err);
    next(arg);
}

static void own_made(void *arg, const struct error *err, struct function *f) {
    struct chain *ch = arg;
    may_fail(err);
    if (err)
        next(ch);
    else
        core_function_delete(w.core, w.loops[ch->loop], &w.admin, f->no, deleted, ch);
}

static void do_create_delete(struct chain *ch) {
    snprintf(ch->name, sizeof ch->name, "own-%d", ch->id);
    struct core_draft d = {.function = draft(ch->name, "main.handler"),
                           .code = STR("code"),
                           .wait_build = ch->round % 2 == 0};
    core_function_create(w.core, w.loops[ch->loop], &w.admin, &d, own_made, ch);
}

static void on_line(void *arg, const struct log_line *line, uint64_t dropped) {
    (void)arg;
    (void)line;
    (void)dropped;
}

static void do_follow(struct chain *ch) {
    struct function *f = core_function(w.core, shared_no);
    struct deployment d = {.function = f};
    if (ch->follow) {
        core_follow_stop(ch->follow);
        ch->follow = NULL;
    } else {
        ch->follow = core_follow_start(w.core, w.loops[ch->loop], shared_no, on_line, ch);
    }
    double_print(core_engine(w.core), w.loops[ch->loop], &d, "a line");
    function_unref(f);
    next(ch);
}

static void step(struct loop_task *task) {
    struct chain *ch = container_of(task, struct chain, task);
    if (ch->round++ == ROUNDS) {
        core_follow_stop(ch->follow);
        atomic_fetch_sub(&chains_left, 1);
        return;
    }
    uint32_t dice = (uint32_t)(rand_u64() % 20);
    if (dice < 8)
        do_call(ch);
    else if (dice < 11)
        do_async(ch);
    else if (dice < 13)
        do_update(ch);
    else if (dice < 14)
        core_invocations(w.core, w.loops[ch->loop], shared_no, NULL, 10, invocations_done, ch);
    else if (dice < 15)
        core_metrics(w.core, w.loops[ch->loop], shared_no, 0, 0, metrics_done, ch);
    else if (dice < 16)
        core_rollback(w.core, w.loops[ch->loop], &w.admin, shared_no, number_done, ch);
    else if (dice < 17)
        do_create_delete(ch);
    else
        do_follow(ch);
}

static void next(struct chain *ch) {
    ch->task.run = step;
    loop_post(w.loops[ch->loop], &ch->task);
}

static void *thread_main(void *arg) {
    struct loop *loop = arg;
    struct core_stats stats;
    do { /* until the chains have ended and what they queued has run */
        loop_tick(loop, 1);
        core_stats(w.core, &stats);
    } while (atomic_load(&chains_left) || stats.async_pending || stats.async_running);
    return NULL;
}

static void test_everything_at_once(void **state) {
    (void)state;
    static struct chain chains[2 * CHAINS];
    pthread_t threads[2];
    struct answer a = {0};
    world_open(&w);
    shared_no = create_wait(&w, "shared", "code");
    atomic_store(&chains_left, 2 * CHAINS);
    for (int i = 0; i < 2 * CHAINS; i++) {
        chains[i] = (struct chain){.loop = (size_t)i % 2, .id = i};
        next(&chains[i]);
    }
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, thread_main, w.loops[i]), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(surprises, 0);
    core_metrics(w.core, w.loops[0], shared_no, 0, 0, got_metrics, &a);
    world_until(&w, &a.over);
    assert_int_equal(a.m.invocations, sync_calls + async_calls);
    assert_int_equal(a.m.errors, 0);
    struct core_stats stats;
    core_stats(w.core, &stats);
    assert_int_equal(stats.functions, 1);
    world_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_everything_at_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
