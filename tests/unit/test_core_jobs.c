/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs: queued and ended ones in one list, by number; code that is tried and not kept. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "core_world.h"
#include <cmocka.h>
#include <stdio.h>

static struct world w;
WORLD_FIXTURE(w)

struct got_jobs {
    bool over, more;
    enum error_code code;
    char field[ERROR_FIELD_MAX];
    size_t n;
    uint64_t no[64];
    enum invocation_status status[64];
    char result[64][64];
};

static void take(struct got_jobs *g, const struct core_job *j) {
    g->no[g->n] = j->no;
    g->status[g->n] = j->record.status;
    (void)snprintf(g->result[g->n++], 64, "%.*s", STR_ARG(j->result));
}

static void on_jobs(void *arg, const struct error *err, const struct core_job *v, size_t n,
                    bool more) {
    struct got_jobs *g = arg;
    g->code = err ? err->code : ERR_NONE;
    for (size_t i = 0; i < n; i++)
        take(g, &v[i]);
    g->more = more;
    g->over = true;
}

static void on_job(void *arg, const struct error *err, const struct core_job *j) {
    struct got_jobs *g = arg;
    g->code = err ? err->code : ERR_NONE;
    if (err)
        (void)snprintf(g->field, sizeof g->field, "%s", err->field);
    else
        take(g, j);
    g->over = true;
}

static struct got_jobs jobs(uint32_t no, uint64_t before, uint32_t limit) {
    struct got_jobs g = {0};
    core_jobs(w.core, w.loops[0], no, before, limit, on_jobs, &g);
    world_until(&w, &g.over);
    assert_int_equal(g.code, ERR_NONE);
    return g;
}

static struct got_jobs job(uint64_t no) {
    struct got_jobs g = {0};
    core_job(w.core, w.loops[1], no, on_job, &g);
    world_until(&w, &g.over);
    return g;
}

static uint64_t sync_job(uint32_t no, const char *result) {
    struct test_call t = {0};
    struct execution e = {.no = core_job_no(w.core), .function_no = no, .response = str_of(result)};
    assert_int_equal(call_start(&w, &t, 0, no, "1", NULL), 0);
    world_until(&w, &t.over);
    e.id = t.call.id;
    core_execution_keep(w.core, w.loops[0], &e);
    return e.no;
}

static uint64_t queued_job(uint32_t no, const char *body) {
    struct core_call call = {.source = SOURCE_ASYNC};
    struct answer a = {0};
    struct error err;
    assert_int_equal(
        core_call_init(w.core, w.loops[0], &call, no, WIRE_BODY_JSON, STR("POST"), STR("/"), &err),
        0);
    engine_input_headers(&call.input);
    assert_int_equal(engine_input_end(&call.input), 0);
    uint64_t job_no = call.job_no = core_job_no(w.core);
    call.body = str_of(body);
    core_call_async(&call, got_id, &a);
    world_until(&w, &a.over);
    assert_int_equal(a.err.code, ERR_NONE);
    return job_no;
}

static void wait_end(uint64_t no) {
    struct got_jobs g;
    do {
        world_tick(&w);
        g = job(no);
        assert_int_equal(g.code, ERR_NONE);
    } while (g.status[0] == INV_PENDING || g.status[0] == INV_RUNNING);
}

static void both_kinds_are_one_list(void **state) {
    (void)state;
    uint32_t no = create_wait(&w, "f", "code"), other = create_wait(&w, "g", "code");
    uint64_t all[9], before = 0;
    for (int i = 0; i < 9; i++)
        all[i] = i % 3 ? sync_job(no, "{\"a\":1}") : queued_job(no, "[2]");
    sync_job(other, "3");
    for (int i = 0; i < 9; i += 3)
        wait_end(all[i]);
    for (size_t seen = 0; seen < 9;) {
        struct got_jobs g = jobs(no, before, 2);
        assert_int_equal(g.n, seen == 8 ? 1 : 2);
        assert_int_equal(g.more, seen + g.n < 9);
        for (size_t i = 0; i < g.n; i++, seen++) {
            assert_int_equal(g.no[i], all[8 - seen]);
            assert_int_equal(g.status[i], INV_COMPLETED);
            assert_string_equal(g.result[i], (8 - seen) % 3 ? "{\"a\":1}" : "[2]");
        }
        before = g.no[g.n - 1];
    }
}

static void a_queued_job_is_there_before_it_runs_and_after_an_end(void **state) {
    (void)state;
    uint32_t no = create_wait(&w, "f", "code");
    uint64_t first = sync_job(no, "1");
    atomic_store(&double_mode, DOUBLE_BUSY);
    uint64_t waits = queued_job(no, "[7]");
    assert_true(waits > first);
    struct got_jobs g = job(waits);
    assert_true(g.status[0] == INV_PENDING || g.status[0] == INV_RUNNING);
    assert_string_equal(g.result[0], "");
    atomic_store(&double_mode, DOUBLE_ANSWER);
    world_reopen(&w);
    wait_end(waits);
    g = jobs(no, 0, 10);
    assert_int_equal(g.n, 2);
    assert_int_equal(g.no[0], waits);
    assert_string_equal(g.result[0], "[7]");
    assert_int_equal(g.no[1], first);
    assert_true(core_job_no(w.core) > waits);
}

static void a_failed_job_has_no_result(void **state) {
    (void)state;
    uint32_t no = create_wait(&w, "f", "code");
    atomic_store(&double_mode, DOUBLE_TIMEOUT);
    uint64_t queued = queued_job(no, "[7]");
    wait_end(queued);
    struct got_jobs g = job(queued);
    assert_int_equal(g.status[0], INV_FAILED);
    assert_string_equal(g.result[0], "");
}

static void a_number_that_is_none(void **state) {
    (void)state;
    static const uint64_t numbers[] = {1, 99999, INT64_MAX, UINT64_MAX, 0};
    uint32_t no = create_wait(&w, "f", "code");
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        struct got_jobs g = job(numbers[i]);
        assert_int_equal(g.code, ERR_NOT_FOUND);
        assert_string_equal(g.field, "job");
    }
    assert_int_equal(jobs(no, 0, 10).n, 0);
    assert_int_equal(jobs(77, UINT64_MAX, 10).n, 0);
}

static void results_as_json(void **state) {
    (void)state;
    static const struct {
        enum wire_body kind;
        struct str body;
        const char *json;
    } cases[] = {
        {WIRE_BODY_NONE, {"", 0}, "null"},
        {WIRE_BODY_JSON, {"{\"a\":[1]}", 9}, "{\"a\":[1]}"},
        {WIRE_BODY_JSON, {"{oops", 5}, "\"{oops\""}, /* it comes from a function */
        {WIRE_BODY_TEXT, {"a\"b", 3}, "\"a\\\"b\""},
        {WIRE_BODY_BYTES, {"\xff\x00", 2}, "\"/wA=\""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cleanup_buf struct buf out = BUF_INIT(1024);
        assert_int_equal(core_result_json(&out, cases[i].kind, cases[i].body), 0);
        assert_string_equal(buf_cstr(&out), cases[i].json);
    }
    cleanup_buf struct buf tiny = BUF_INIT(4);
    assert_true(core_result_json(&tiny, WIRE_BODY_TEXT, STR("too long")) < 0);
}

struct got_check {
    bool over, ok;
    enum error_code code;
};

static void on_check(void *arg, const struct error *err, bool ok, const char *log) {
    struct got_check *g = arg;
    g->code = err ? err->code : ERR_NONE;
    g->ok = ok;
    assert_true(err || log);
    g->over = true;
}

static struct got_check check(const char *code) {
    struct got_check g = {0};
    struct function *f = draft("f", "main.handler");
    core_code_check(w.core, w.loops[0], f, str_of(code), on_check, &g);
    function_unref(f);
    assert_false(g.over); /* never before it returns */
    world_until(&w, &g.over);
    return g;
}

static bool any(void *arg, const struct function *f) {
    (void)f;
    *(bool *)arg = true;
    return false;
}

static void code_is_tried_and_not_kept(void **state) {
    (void)state;
    bool there = false;
    assert_true(check("good").ok);
    struct got_check bad = check("BAD");
    assert_false(bad.ok);
    assert_int_equal(bad.code, ERR_NONE);
    assert_int_equal(check("").code, ERR_INVALID);
    assert_int_equal(check("GONE").code, ERR_UNAVAILABLE); /* that says nothing of the code */
    core_functions_each(w.core, STR("ws-default"), STR_NULL, any, &there);
    assert_false(there);
}

#define MANY 300

static void only_so_many_are_tried_at_once(void **state) {
    (void)state;
    static struct got_check g[MANY];
    struct function *f = draft("f", "main.handler");
    size_t refused = 0;
    memset(g, 0, sizeof g);
    atomic_store(&double_hold_builds, true);
    for (int i = 0; i < MANY; i++)
        core_code_check(w.core, w.loops[0], f, STR("good"), on_check, &g[i]);
    function_unref(f);
    assert_true(double_held(core_engine(w.core), w.loops[0]) <= 2);
    atomic_store(&double_hold_builds, false);
    double_release(core_engine(w.core), w.loops[0]);
    for (int i = 0; i < MANY; i++) {
        world_until(&w, &g[i].over);
        refused += g[i].code == ERR_BUSY;
        assert_true(g[i].ok || g[i].code == ERR_BUSY);
    }
    assert_int_equal(refused, MANY - 258); /* 2 run, 256 wait */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(both_kinds_are_one_list, setup, teardown),
        cmocka_unit_test_setup_teardown(a_queued_job_is_there_before_it_runs_and_after_an_end,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_failed_job_has_no_result, setup, teardown),
        cmocka_unit_test_setup_teardown(a_number_that_is_none, setup, teardown),
        cmocka_unit_test(results_as_json),
        cmocka_unit_test_setup_teardown(code_is_tried_and_not_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(only_so_many_are_tried_at_once, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
