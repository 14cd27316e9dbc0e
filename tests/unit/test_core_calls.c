/* SPDX-License-Identifier: Apache-2.0 */
/* Calls, queued calls, and what they leave: records, lines, minutes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "core_world.h"
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>

static struct world w;
WORLD_FIXTURE(w)

static struct answer invocations(uint32_t no, uint32_t limit) {
    struct answer a = {0};
    core_invocations(w.core, w.loops[0], no, NULL, limit, got_invocations, &a);
    world_until(&w, &a.over);
    assert_int_equal(a.err.code, ERR_NONE);
    return a;
}

static struct answer invocation(const struct ulid *id) {
    struct answer a = {0};
    core_invocation(w.core, w.loops[1], id, got_invocation, &a);
    world_until(&w, &a.over);
    return a;
}

static struct core_metrics metrics(uint32_t no) {
    struct answer a = {0};
    core_metrics(w.core, w.loops[0], no, 0, 0, got_metrics, &a);
    world_until(&w, &a.over);
    return a.m;
}

static struct answer logs(uint32_t no) {
    struct answer a = {0};
    struct log_filter f = {.function_no = no, .limit = 50};
    core_logs(w.core, w.loops[0], &f, got_logs, &a);
    world_until(&w, &a.over);
    assert_int_equal(a.err.code, ERR_NONE);
    return a;
}

/* Whoever has the reply finds the record, whichever loop the call ran on. */
static void test_record_is_there(void **state) {
    (void)state;
    uint32_t no = create_wait(&w, "f", "code");
    for (size_t i = 0; i < 4; i++) {
        struct test_call t;
        call_start(&w, &t, i % 2, no, "body", NULL);
        world_until(&w, &t.over);
        assert_string_equal(t.body, "body");
        struct answer one = invocation(&t.call.id);
        assert_int_equal(one.err.code, ERR_NONE);
        assert_int_equal(one.call.status, INV_COMPLETED);
        assert_int_equal(one.call.record.running_us, 1000);
        assert_int_equal(one.call.record.source, SOURCE_SYNC);
        struct answer all = invocations(no, 50);
        assert_int_equal(all.n, i + 1);
        assert_memory_equal(&all.v[0].id, &t.call.id, sizeof t.call.id); /* newest first */
    }
    assert_int_equal(invocations(no, 2).n, 2);
    struct ulid unknown = ulid_make(no);
    assert_int_equal(invocation(&unknown).err.code, ERR_NOT_FOUND);
}

static void test_many_records(void **state) {
    (void)state;
    enum { CALLS = 1500 }; /* more than a batch */
    static struct test_call t[CALLS];
    uint32_t no = create_wait(&w, "f", "code");
    for (size_t i = 0; i < CALLS; i++)
        call_start(&w, &t[i], i % 2, no, "", NULL);
    for (size_t i = 0; i < CALLS; i++)
        world_until(&w, &t[i].over);
    struct core_metrics m = metrics(no);
    assert_int_equal(m.invocations, CALLS);
    assert_int_equal(m.errors, 0);
    assert_int_equal(invocations(no, 100000).n, CALLS);
}

static void test_metrics(void **state) {
    (void)state;
    uint32_t no = create_wait(&w, "f", "code");
    for (int i = 0; i < 3; i++)
        assert_int_equal(call_wait(&w, no, ""), ERR_NONE);
    atomic_store(&double_mode, DOUBLE_BUSY);
    assert_int_equal(call_wait(&w, no, ""), ERR_BUSY);
    atomic_store(&double_mode, DOUBLE_HOLD);
    struct test_call t[4];
    for (int i = 0; i < 4; i++)
        call_start(&w, &t[i], (size_t)i % 2, no, "", NULL);
    for (int i = 0; i < 2; i++)
        double_release(core_engine(w.core), w.loops[i]);
    for (int i = 0; i < 4; i++)
        world_until(&w, &t[i].over);
    struct core_metrics m = metrics(no);
    assert_int_equal(m.invocations, 8);
    assert_int_equal(m.errors, 1);
    assert_int_equal(m.min_us, 1000); /* what never ran has no duration */
    assert_int_equal(m.max_us, 1000);
    assert_int_equal(m.avg_us, 1000);
    assert_int_equal(m.p99_us, 1000);
    assert_int_equal(m.concurrency_min, 0);
    assert_int_equal(m.concurrency_max, 4);
    /* 7 calls of 1 ms with 256 MiB; each call's share is rounded down to a GB-µs. */
    assert_true(m.gb_seconds > 0.0017 && m.gb_seconds < 0.0018);
}

static void test_timeout_is_a_line(void **state) {
    (void)state;
    uint32_t no = create_wait(&w, "f", "code");
    atomic_store(&double_mode, DOUBLE_TIMEOUT);
    assert_int_equal(call_wait(&w, no, ""), ERR_TIMEOUT);
    struct answer a = logs(no);
    assert_int_equal(a.n, 1);
    assert_string_equal(a.text[0], "killed after 30 s: timeout (limit 30 s)");
    assert_int_equal(a.level[0], LINE_ERROR);
    assert_int_equal(metrics(no).max_us, 30000000);
}

static struct deployment fake_deployment(uint32_t no) {
    return (struct deployment){.function = core_function(w.core, no), .version_number = 1};
}

static void test_logs(void **state) {
    (void)state;
    char line[32];
    uint32_t no = create_wait(&w, "f", "code");
    struct deployment d = fake_deployment(no);
    for (int i = 0; i < 60; i++) {
        snprintf(line, sizeof line, "line %d", i);
        double_print(core_engine(w.core), w.loops[0], &d, line);
    }
    struct answer a = logs(no);
    assert_int_equal(a.n, 50); /* the newest fifty, oldest first */
    assert_string_equal(a.text[0], "line 10");
    assert_string_equal(a.text[49], "line 59");
    function_unref(d.function);
}

struct seen {
    struct core_follow *follow;
    unsigned lines;
    uint64_t dropped;
    bool stop_at_once, over;
};

static void on_line(void *arg, const struct log_line *line, uint64_t dropped) {
    struct seen *s = arg;
    s->dropped += dropped;
    if (line)
        s->lines++;
    s->over = true;
    if (s->stop_at_once)
        core_follow_stop(s->follow);
}

static void test_follow(void **state) {
    (void)state;
    uint32_t no = create_wait(&w, "f", "code"), other = create_wait(&w, "g", "code");
    struct deployment d = fake_deployment(no), d2 = fake_deployment(other);
    struct seen all = {0}, one = {.stop_at_once = true}, none = {0};
    all.follow = core_follow_start(w.core, w.loops[0], no, on_line, &all);
    one.follow = core_follow_start(w.core, w.loops[1], no, on_line, &one);
    none.follow = core_follow_start(w.core, w.loops[1], no, on_line, &none);
    struct engine *e = core_engine(w.core);
    double_print(e, w.loops[1], &d, "a");
    double_print(e, w.loops[0], &d, "b");
    double_print(e, w.loops[0], &d2, "not this one");
    core_follow_stop(none.follow); /* with lines waiting */
    world_until(&w, &all.over);
    world_until(&w, &one.over);
    assert_int_equal(all.lines, 2);
    assert_int_equal(one.lines, 1);
    assert_int_equal(none.lines, 0);
    for (unsigned i = 0; i < FOLLOW_PENDING_MAX + 5; i++)
        double_print(e, w.loops[1], &d, "x");
    for (int i = 0; i < 5; i++)
        world_tick(&w);
    assert_int_equal(all.lines, 2 + FOLLOW_PENDING_MAX);
    assert_int_equal(all.dropped, 5);
    core_follow_stop(all.follow);
    function_unref(d.function);
    function_unref(d2.function);
}

static void test_refused_at_once(void **state) {
    (void)state;
    uint32_t no = create_wait(&w, "f", "code");
    atomic_store(&double_mode, DOUBLE_REFUSE);
    assert_int_equal(call_wait(&w, no, ""), ERR_UNAVAILABLE); /* later, not within submit */
    struct test_call t;
    call_start(&w, &t, 0, no, "", NULL);
    core_call_cancel(&t.call);
    for (int i = 0; i < 5; i++)
        world_tick(&w);
    assert_false(t.over);
    assert_int_equal(invocations(no, 50).n, 2);
}

static void test_cancel(void **state) {
    (void)state;
    struct test_call t;
    uint32_t no = create_wait(&w, "f", "code");
    atomic_store(&double_mode, DOUBLE_HOLD);
    call_start(&w, &t, 0, no, "", NULL);
    core_call_cancel(&t.call);
    double_release(core_engine(w.core), w.loops[0]);
    struct answer a = invocations(no, 50);
    assert_false(t.over);
    assert_int_equal(a.n, 1);
    assert_int_equal(a.v[0].cause, ERR_CANCELED);
    assert_int_equal(metrics(no).errors, 1);
    /* one that waits for a build */
    struct answer made = {0};
    atomic_store(&double_hold_builds, true);
    create_start(&w, "g", "code", false, &made);
    world_until(&w, &made.over);
    call_start(&w, &t, 1, made.f->no, "", NULL);
    core_call_cancel(&t.call);
    assert_int_equal(invocations(made.f->no, 50).n, 1);
    answer_done(&made);
}

static void files_may_grow(bool yes) {
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = yes ? limit.rlim_max : 1;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* While the disk takes nothing, calls go on and queued ones are refused; their records are written
 * when it does again. */
static void test_full_disk(void **state) {
    (void)state;
    struct core_call queued = {.source = SOURCE_ASYNC};
    struct answer refused = {0};
    struct error err;
    uint32_t no = create_wait(&w, "f", "code");
    void (*before)(int) = signal(SIGXFSZ, SIG_IGN);
    files_may_grow(false);
    assert_int_equal(call_wait(&w, no, ""), ERR_NONE);
    assert_int_equal(call_wait(&w, no, ""), ERR_NONE);
    for (int i = 0; i < 20000 && core_ready(w.core); i++)
        world_tick(&w);
    assert_int_equal(core_call_init(w.core, w.loops[0], &queued, no, WIRE_BODY_NONE, STR("POST"),
                                    STR("/"), &err),
                     0);
    engine_input_headers(&queued.input);
    engine_input_end(&queued.input);
    core_call_async(&queued, got_id, &refused);
    world_until(&w, &refused.over);
    bool ready = core_ready(w.core);
    files_may_grow(true);
    signal(SIGXFSZ, before);
    assert_int_not_equal(refused.err.code, ERR_NONE);
    assert_false(ready);
    for (int i = 0; i < 20000 && invocations(no, 50).n < 2; i++)
        world_tick(&w);
    assert_int_equal(invocations(no, 50).n, 2);
    assert_int_equal(metrics(no).invocations, 2);
    assert_true(core_ready(w.core));
}

/* ---- queued calls ---- */
static void wait_ended(const struct ulid *id, struct answer *ret) {
    for (int i = 0; i < 5000; i++) {
        *ret = invocation(id);
        assert_int_equal(ret->err.code, ERR_NONE);
        if (ret->call.status >= INV_COMPLETED)
            return;
    }
    fail_msg("the queued call has not ended");
}

static void test_async(void **state) {
    (void)state;
    struct answer a;
    uint32_t no = create_wait(&w, "f", "code");
    struct ulid id = async_wait(&w, no, "queued body");
    wait_ended(&id, &a);
    assert_int_equal(a.call.status, INV_COMPLETED);
    assert_int_equal(a.call.result_status, 200);
    assert_string_equal(a.body, "queued body");
    assert_string_equal(a.headers, "{\"x\":[\"1\",\"2\"],\"y\":[\"3\"],"
                                   "\"Content-Type\":[\"application/json\"]}");
    assert_int_equal(a.call.record.source, SOURCE_ASYNC);
    struct answer all = invocations(no, 50);
    assert_int_equal(all.n, 1);
    assert_int_equal(all.v[0].status, INV_COMPLETED);
    assert_int_equal(metrics(no).invocations, 1);
}

/* No more run than there are instances; the others wait and are seen. */
static void test_async_bounded(void **state) {
    (void)state;
    enum { CALLS = 30 };
    struct ulid ids[CALLS];
    struct core_stats stats;
    uint32_t no = create_wait(&w, "slow", "code"), quick = create_wait(&w, "quick", "code");
    size_t home = no % 2;
    atomic_store(&double_mode, DOUBLE_HOLD);
    for (int i = 0; i < CALLS; i++)
        ids[i] = async_wait(&w, no, "x");
    for (int i = 0; i < 50; i++)
        world_tick(&w);
    assert_int_equal(double_held(core_engine(w.core), w.loops[home]),
                     2); /* half of 8 over 2 loops */
    core_stats(w.core, &stats);
    assert_int_equal(stats.async_running, 2);
    assert_int_equal(stats.async_pending, CALLS - 2);
    assert_int_equal(invocations(no, 50).n, CALLS);
    atomic_store(&double_mode, DOUBLE_ANSWER);
    struct ulid id = async_wait(&w, quick, "y"); /* on the other loop */
    struct answer a;
    wait_ended(&id, &a);
    double_release(core_engine(w.core), w.loops[home]);
    for (int i = 0; i < CALLS; i++) {
        wait_ended(&ids[i], &a);
        assert_int_equal(a.call.status, INV_COMPLETED);
    }
    for (int i = 0; i < 10; i++)
        world_tick(&w);
    core_stats(w.core, &stats);
    assert_int_equal(stats.async_running, 0);
    assert_int_equal(stats.async_pending, 0);
}

static void test_async_survives_restart(void **state) {
    (void)state;
    enum { CALLS = 10 };
    struct ulid ids[CALLS];
    struct answer a;
    uint32_t no = create_wait(&w, "f", "code");
    atomic_store(&double_mode, DOUBLE_HOLD); /* some are cut off while they run */
    for (int i = 0; i < CALLS; i++)
        ids[i] = async_wait(&w, no, "x");
    for (int i = 0; i < 20; i++)
        world_tick(&w);
    world_reopen(&w);
    for (int i = 0; i < CALLS; i++) {
        wait_ended(&ids[i], &a);
        assert_int_equal(a.call.status, INV_COMPLETED);
        assert_string_equal(a.body, "x");
    }
    assert_int_equal(invocations(no, 50).n, CALLS);
}

static void test_async_busy_tries_again(void **state) {
    (void)state;
    uint32_t no = create_wait(&w, "f", "code");
    atomic_store(&double_mode, DOUBLE_BUSY);
    unsigned before = double_submitted;
    struct ulid id = async_wait(&w, no, "x");
    for (int i = 0; i < 1000 && double_submitted == before; i++)
        world_tick(&w);
    for (int i = 0; i < 200; i++)
        world_tick(&w);
    assert_true(double_submitted - before < 20); /* with growing pauses, not in a spin */
    struct answer a = invocation(&id);
    assert_true(a.call.status < INV_COMPLETED);
    atomic_store(&double_mode, DOUBLE_ANSWER);
    wait_ended(&id, &a);
    assert_int_equal(a.call.status, INV_COMPLETED);
}

static void test_async_failure(void **state) {
    (void)state;
    struct answer a;
    uint32_t no = create_wait(&w, "f", "code");
    atomic_store(&double_mode, DOUBLE_TIMEOUT);
    struct ulid id = async_wait(&w, no, "x");
    wait_ended(&id, &a);
    assert_int_equal(a.call.status, INV_FAILED);
    assert_int_equal(a.call.record.cause, ERR_TIMEOUT);
    assert_null(a.call.result_body.p);
}

static void test_async_of_deleted(void **state) {
    (void)state;
    struct core_stats stats;
    uint32_t no = create_wait(&w, "f", "code");
    atomic_store(&double_mode, DOUBLE_HOLD);
    for (int i = 0; i < 20; i++)
        async_wait(&w, no, "x");
    struct answer gone = {0};
    core_function_delete(w.core, w.loops[0], &w.admin, no, got_nothing, &gone);
    world_until(&w, &gone.over);
    for (int i = 0; i < 2; i++)
        double_release(core_engine(w.core), w.loops[i]);
    for (int i = 0; i < 200; i++)
        world_tick(&w);
    core_stats(w.core, &stats);
    assert_int_equal(stats.async_running, 0);
    assert_int_equal(stats.async_pending, 0);
    /* the dispatcher goes on for others */
    atomic_store(&double_mode, DOUBLE_ANSWER);
    uint32_t other = create_wait(&w, "g", "code");
    struct ulid id = async_wait(&w, other, "x");
    struct answer a;
    wait_ended(&id, &a);
}

static void test_async_waits_for_build(void **state) {
    (void)state;
    struct answer made = {0}, a;
    atomic_store(&double_hold_builds, true);
    create_start(&w, "f", "code", false, &made);
    world_until(&w, &made.over);
    struct ulid id = async_wait(&w, made.f->no, "x");
    for (int i = 0; i < 20; i++)
        world_tick(&w);
    a = invocation(&id);
    assert_int_equal(a.call.status, INV_PENDING);
    for (int i = 0; i < 2; i++)
        double_release(core_engine(w.core), w.loops[i]);
    wait_ended(&id, &a);
    assert_int_equal(a.call.status, INV_COMPLETED);
    answer_done(&made);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_record_is_there),
        TEST(test_many_records),
        TEST(test_metrics),
        TEST(test_timeout_is_a_line),
        TEST(test_logs),
        TEST(test_follow),
        TEST(test_refused_at_once),
        TEST(test_cancel),
        TEST(test_full_disk),
        TEST(test_async),
        TEST(test_async_bounded),
        TEST(test_async_survives_restart),
        TEST(test_async_busy_tries_again),
        TEST(test_async_failure),
        TEST(test_async_of_deleted),
        TEST(test_async_waits_for_build),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
