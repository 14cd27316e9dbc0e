/* SPDX-License-Identifier: Apache-2.0 */
/* Calls page by page with what was kept of them, and what functions did lately. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "core_world.h"
#include <cmocka.h>

static struct world w;
WORLD_FIXTURE(w)

struct got_page {
    bool over, more;
    enum error_code code;
    size_t n, bodies;
    uint64_t total;
    struct ulid last, ids[CORE_EXECUTIONS_MAX];
    uint32_t functions[CORE_EXECUTIONS_MAX];
};

static void on_page(void *arg, const struct error *err, const struct core_execution_page *page) {
    struct got_page *g = arg;
    g->over = true;
    g->code = err ? err->code : ERR_NONE;
    if (err)
        return;
    g->n = page->n;
    g->more = page->more;
    g->total = page->total;
    g->last = page->last;
    for (size_t i = 0; i < page->n; i++) {
        g->ids[i] = page->rows[i].call.id;
        g->functions[i] = page->rows[i].call.function_no;
        g->bodies += page->rows[i].response.len;
        if (i)
            assert_true(page->rows[i - 1].call.created_us >= page->rows[i].call.created_us);
    }
}

static struct got_page *page_of(const char *workspace, uint32_t no, uint32_t limit,
                                const struct ulid *before) {
    static struct got_page g;
    struct core_execution_filter f = {
        .workspace = str_of(workspace), .function_no = no, .limit = limit, .lines = true};
    g = (struct got_page){0};
    if (before)
        f.before = *before;
    core_executions(w.core, w.loops[0], &f, on_page, &g);
    world_until(&w, &g.over);
    assert_int_equal(g.code, ERR_NONE);
    return &g;
}

static struct ulid keep(uint32_t no, size_t len) {
    struct ulid id;
    char *text = x_alloc(len + 1);
    memset(text, '1', len);
    assert_int_equal(call_wait(&w, no, "1"), ERR_NONE);
    struct got_page *g = page_of(NULL, no, 1, NULL);
    id = g->ids[0];
    struct execution e = {.function_no = no, .id = id, .response = str_n(text, len)};
    core_execution_keep(w.core, w.loops[0], &e);
    free(text);
    return id;
}

static void pages_of_a_function_lose_and_repeat_nothing(void **state) {
    (void)state;
    uint32_t no = create_wait(&w, "f", "code"), other = create_wait(&w, "g", "code");
    struct ulid before;
    size_t seen = 0;
    for (int i = 0; i < 10; i++) {
        call_wait(&w, no, "1");
        call_wait(&w, other, "1");
    }
    assert_int_equal(page_of(NULL, no, 3, NULL)->total, 10);
    for (const struct ulid *from = NULL; true; from = &before) {
        struct got_page *g = page_of(NULL, no, 3, from);
        for (size_t i = 0; i < g->n; i++) {
            assert_int_equal(g->functions[i], no);
            if (from)
                assert_true(memcmp(g->ids[i].b, before.b, sizeof before.b) < 0);
        }
        seen += g->n;
        before = g->last;
        call_wait(&w, no, "1"); /* what comes meanwhile is before the first page */
        if (!g->more)
            break;
        assert_int_equal(g->n, 3);
    }
    assert_int_equal(seen, 10);
}

static void a_page_of_a_workspace_is_of_all_its_functions(void **state) {
    (void)state;
    uint32_t a = create_wait(&w, "a", "code"), b = create_wait(&w, "b", "code");
    for (int i = 0; i < 4; i++) {
        call_wait(&w, a, "1");
        call_wait(&w, b, "1");
    }
    struct got_page *g = page_of("ws-default", 0, 100, NULL);
    assert_int_equal(g->n, 8);
    assert_int_equal(g->total, 8);
    assert_false(g->more);
    g = page_of("ws-default", 0, 8, NULL);
    assert_false(g->more); /* exactly full */
    g = page_of("ws-default", 0, 7, NULL);
    assert_true(g->more);
    assert_int_equal(g->n, 7);
    assert_int_equal(page_of("ws-none", 0, 5, NULL)->n, 0);
}

static void bodies_end_a_page(void **state) {
    (void)state;
    uint32_t no = create_wait(&w, "f", "code");
    size_t fit = CORE_EXECUTIONS_BYTES / EXECUTION_BODY_MAX;
    for (size_t i = 0; i < fit + 3; i++)
        keep(no, EXECUTION_BODY_MAX);
    struct got_page *g = page_of(NULL, no, 1000, NULL);
    assert_int_equal(g->n, fit);
    assert_true(g->more);
    assert_int_equal(g->bodies, CORE_EXECUTIONS_BYTES);
    struct ulid last = g->last;
    g = page_of(NULL, no, 1000, &last);
    assert_int_equal(g->n, 3);
    assert_false(g->more);
}

struct got_activity {
    bool over;
    size_t n;
    struct core_activity v[3];
};

static void on_activity(void *arg, const struct error *err, const struct core_activity *v,
                        size_t n) {
    struct got_activity *g = arg;
    assert_null(err);
    g->over = true;
    g->n = n;
    for (size_t i = 0; i < n; i++)
        g->v[i] = v[i];
}

static void activity_is_each_functions_own(void **state) {
    (void)state;
    uint32_t no = create_wait(&w, "f", "code"), other = create_wait(&w, "g", "code");
    uint32_t nos[] = {other, 4711, no};
    struct got_activity g = {0};
    call_wait(&w, no, "1");
    call_wait(&w, no, "1");
    double_mode = DOUBLE_TIMEOUT;
    call_wait(&w, no, "1");
    double_mode = DOUBLE_ANSWER;
    core_activity(w.core, w.loops[0], nos, 3, clock_real_us() - 60000000, on_activity, &g);
    world_until(&w, &g.over);
    assert_int_equal(g.n, 3);
    assert_int_equal(g.v[0].invocations, 0);
    assert_int_equal(g.v[1].invocations, 0);
    assert_int_equal(g.v[2].invocations, 3);
    assert_int_equal(g.v[2].errors, 1);
    assert_int_equal(g.v[2].answered_errors, 0);
    g.over = false;
    core_activity(w.core, w.loops[0], nos, 3, clock_real_us() + 120000000, on_activity, &g);
    world_until(&w, &g.over);
    assert_int_equal(g.v[2].invocations, 0); /* only what is as young */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(pages_of_a_function_lose_and_repeat_nothing, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_page_of_a_workspace_is_of_all_its_functions, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(bodies_end_a_page, setup, teardown),
        cmocka_unit_test_setup_teardown(activity_is_each_functions_own, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
