/* SPDX-License-Identifier: Apache-2.0 */
/* Workspaces, projects, kept executions and the numbers of jobs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "core/internal.h"
#include "core_world.h"
#include <cmocka.h>
#include <stdio.h>

static struct world w;
WORLD_FIXTURE(w)

/* ---- workspaces ---- */
struct got_workspace {
    bool over;
    enum error_code code;
    char id[64];
};

static void on_workspace(void *arg, const struct error *err, const struct workspace *ws) {
    struct got_workspace *g = arg;
    g->over = true;
    g->code = err ? err->code : ERR_NONE;
    if (!err)
        (void)snprintf(g->id, sizeof g->id, "%s", ws->id);
}

static struct got_workspace make_workspace(const char *id, const char *name) {
    struct got_workspace g = {0};
    struct workspace ws = {.id = id ? x_strdup(id) : NULL, .name = x_strdup(name)};
    core_workspace_create(w.core, w.loops[0], &w.admin, &ws, on_workspace, &g);
    world_until(&w, &g.over);
    return g;
}

static enum error_code delete_workspace(const char *id) {
    struct answer a = {0};
    core_workspace_delete(w.core, w.loops[0], &w.admin, str_of(id), got_nothing, &a);
    world_until(&w, &a.over);
    return a.err.code;
}

static bool exists(const char *id) {
    struct workspace ws = {0};
    bool there = core_workspace(w.core, str_of(id), &ws);
    workspace_done(&ws);
    return there;
}

static bool count_one(void *arg, const struct workspace *ws) {
    (void)ws;
    ++*(int *)arg;
    return true;
}

static int workspaces(void) {
    int n = 0;
    core_workspaces_each(w.core, count_one, &n);
    return n;
}

static void start_in(const char *workspace, const char *project, const char *name,
                     struct answer *a) {
    struct core_draft d = {.function = draft(name, "main.handler"), .code = STR("x")};
    free(d.function->workspace);
    free(d.function->project);
    d.function->workspace = x_strdup(workspace);
    d.function->project = x_strdup(project);
    d.wait_build = true;
    core_function_create(w.core, w.loops[0], &w.admin, &d, got_function, a);
}

static uint32_t function_in(const char *workspace, const char *project, const char *name) {
    struct answer a = {0};
    start_in(workspace, project, name, &a);
    world_until(&w, &a.over);
    assert_int_equal(a.err.code, ERR_NONE);
    uint32_t no = a.f->no;
    answer_done(&a);
    return no;
}

static void test_default_is_there(void **state) {
    (void)state;
    assert_true(exists(DEFAULT_WORKSPACE));
    struct project *p = core_project(w.core, STR(DEFAULT_WORKSPACE), STR(DEFAULT_PROJECT));
    assert_non_null(p);
    project_unref(p);
    assert_int_equal(delete_workspace(DEFAULT_WORKSPACE), ERR_CONFLICT);
    assert_int_equal(delete_workspace("ws-none"), ERR_NOT_FOUND);
    assert_int_equal(workspaces(), 1);
}

static void test_made_and_changed(void **state) {
    (void)state;
    struct got_workspace a = make_workspace(NULL, "Team \xea\xb0\x80");
    assert_string_equal(a.id, "ws-2");
    assert_int_equal(make_workspace("mine", "x").code, ERR_NONE);
    assert_int_equal(make_workspace("mine", "y").code, ERR_CONFLICT);
    assert_int_equal(make_workspace("-bad", "y").code, ERR_INVALID);
    assert_int_equal(make_workspace("empty", "").code, ERR_INVALID);
    assert_int_equal(workspaces(), 3);
    struct got_workspace g = {0};
    struct workspace ws = {
        .id = x_strdup("mine"), .name = x_strdup("new"), .description = x_strdup("words")};
    core_workspace_update(w.core, w.loops[1], &w.admin, &ws, on_workspace, &g);
    world_until(&w, &g.over);
    world_reopen(&w);
    assert_true(core_workspace(w.core, STR("mine"), &ws));
    assert_string_equal(ws.name, "new");
    assert_string_equal(ws.description, "words");
    workspace_done(&ws);
    ws = (struct workspace){.id = x_strdup("mine"), .name = x_strdup("newer")};
    g.over = false;
    core_workspace_update(w.core, w.loops[1], &w.admin, &ws, on_workspace, &g);
    world_until(&w, &g.over);
    assert_true(core_workspace(w.core, STR("mine"), &ws));
    assert_string_equal(ws.name, "newer");
    assert_string_equal(ws.description, "words"); /* not said: stays */
    assert_int_not_equal(ws.created_us, 0);
    workspace_done(&ws);
    assert_int_equal(workspaces(), 3);
}

/* A path may have named "ws-2" before anybody was given that number. */
static void test_a_number_may_be_taken(void **state) {
    (void)state;
    function_in("ws-3", "p", "f"); /* has number 2 */
    assert_string_equal(make_workspace(NULL, "third").id, "ws-4");
    assert_string_equal(make_workspace(NULL, "fourth").id, "ws-5"); /* has number 4 */
}

static void test_functions_make_their_place(void **state) {
    (void)state;
    struct answer a = {0}, b = {0}; /* in one group of commits */
    start_in("fresh", "proj", "a", &a);
    start_in("fresh", "proj", "b", &b);
    world_until(&w, &a.over);
    world_until(&w, &b.over);
    assert_int_equal(a.err.code + b.err.code, ERR_NONE);
    answer_done(&a);
    answer_done(&b);
    assert_true(exists("fresh"));
    assert_int_equal(workspaces(), 2);
    world_reopen(&w);
    assert_int_equal(workspaces(), 2);
    struct project *p = core_project(w.core, STR("fresh"), STR("proj"));
    assert_non_null(p);
    project_unref(p);
}

static void test_deleted_with_everything(void **state) {
    (void)state;
    uint32_t one = function_in("gone", "p", "one"), two = function_in("gone", "q", "two");
    uint32_t other = function_in("stays", "p", "one");
    struct answer late = {0}, dead = {0};
    start_in("gone", "p", "late", &late); /* made in the same group, before it */
    core_workspace_delete(w.core, w.loops[0], &w.admin, STR("gone"), got_nothing, &dead);
    world_until(&w, &dead.over);
    world_until(&w, &late.over);
    assert_int_equal(dead.err.code, ERR_NONE);
    answer_done(&late);
    assert_null(core_function(w.core, one));
    assert_null(core_function(w.core, two));
    assert_false(exists("gone"));
    assert_null(core_project(w.core, STR("gone"), STR("p")));
    assert_null(core_function_named(w.core, STR("gone"), STR("p"), STR("late")));
    assert_int_equal(call_wait(&w, other, "x"), ERR_NONE);
    world_reopen(&w);
    assert_null(core_function(w.core, one));
    assert_false(exists("gone"));
    struct function *f = core_function(w.core, other);
    assert_non_null(f);
    function_unref(f);
}

/* ---- projects ---- */
static void on_project(void *arg, const struct error *err, struct project *p) {
    struct answer *a = arg;
    (void)p;
    a->over = true;
    if (err)
        a->err = *err;
}

static enum error_code make_project(const char *workspace, const char *name) {
    struct answer a = {0};
    struct project *p = project_new();
    p->workspace = x_strdup(workspace);
    p->name = x_strdup(name);
    pairs_add(&p->config, STR("K"), STR("v"));
    core_project_create(w.core, w.loops[0], &w.admin, p, on_project, &a);
    world_until(&w, &a.over);
    return a.err.code;
}

static enum error_code delete_project(const char *name) {
    struct answer a = {0};
    core_project_delete(w.core, w.loops[0], &w.admin, STR("shop"), str_of(name), got_nothing, &a);
    world_until(&w, &a.over);
    return a.err.code;
}

static void test_projects(void **state) {
    (void)state;
    assert_int_equal(make_project("shop", "cart"), ERR_NONE);
    assert_int_equal(make_project("shop", "cart"), ERR_CONFLICT);
    assert_int_equal(make_project("shop", "a b"), ERR_INVALID);
    assert_true(exists("shop"));
    uint32_t no = function_in("shop", "cart", "f");
    assert_int_equal(delete_project("cart"), ERR_CONFLICT);
    assert_int_equal(delete_project("none"), ERR_NOT_FOUND);
    struct answer a = {0}, d = {0};
    struct project *now = core_project(w.core, STR("shop"), STR("cart"));
    struct project *next = project_clone(now);
    project_unref(now);
    pairs_add(&next->config, STR("K"), STR("w"));
    core_project_update(w.core, w.loops[0], &w.admin, next, on_project, &a);
    world_until(&w, &a.over);
    assert_int_equal(call_wait(&w, no, "x"), ERR_NONE);
    world_reopen(&w);
    now = core_project(w.core, STR("shop"), STR("cart"));
    assert_string_equal(pairs_get(&now->config, "K"), "w");
    project_unref(now);
    core_function_delete(w.core, w.loops[0], &w.admin, no, got_nothing, &d);
    world_until(&w, &d.over);
    assert_int_equal(delete_project("cart"), ERR_NONE);
    assert_null(core_project(w.core, STR("shop"), STR("cart")));
}

/* ---- executions ---- */
struct got_execution {
    struct ask ask;
    uint32_t function_no;
    struct ulid id;
    bool over;
    enum error_code code;
    uint64_t no;
    char request[64], response[64];
    bool has_response;
};

static void take(void *arg, const struct execution *e) {
    struct got_execution *g = arg;
    g->no = e->no;
    g->has_response = e->response.p != NULL;
    (void)snprintf(g->request, sizeof g->request, "%.*s", STR_ARG(e->request));
    (void)snprintf(g->response, sizeof g->response, "%.*s", STR_ARG(e->response));
}

static int read_one(struct ask *ask, struct store *s, struct error *err) {
    struct got_execution *g = container_of(ask, struct got_execution, ask);
    return store_execution_get(s, g->function_no, &g->id, take, g, err);
}

static void answer(struct ask *ask, const struct error *err) {
    struct got_execution *g = container_of(ask, struct got_execution, ask);
    g->over = true;
    g->code = err ? err->code : ERR_NONE;
}

static struct got_execution execution(uint32_t function_no, const struct ulid *id) {
    struct got_execution g = {.function_no = function_no, .id = *id};
    g.ask = (struct ask){.core = w.core, .loop = w.loops[1], .read = read_one, .answer = answer};
    ask_after_history(&g.ask);
    world_until(&w, &g.over);
    return g;
}

static void test_executions(void **state) {
    (void)state;
    uint32_t no = create_wait(&w, "f", "code");
    struct execution e = {
        .no = core_job_no(w.core), .function_no = no, .id = ulid_make(no), .request = STR("in")};
    core_execution_keep(w.core, w.loops[0], &e);
    struct got_execution g = execution(no, &e.id);
    assert_int_equal(g.no, e.no);
    assert_string_equal(g.request, "in");
    assert_false(g.has_response);
    struct execution outcome = {.function_no = no, .id = e.id, .response = STR("")};
    core_execution_keep(w.core, w.loops[0], &outcome);
    g = execution(no, &e.id);
    assert_string_equal(g.request, "in"); /* what was there stays */
    assert_true(g.has_response);
    assert_int_equal(g.no, e.no);
    assert_int_equal(execution(no + 1, &e.id).code, ERR_NOT_FOUND);
    struct ulid unknown = ulid_make(no);
    assert_int_equal(execution(no, &unknown).code, ERR_NOT_FOUND);
}

static void test_large_bodies_are_left_out(void **state) {
    (void)state;
    uint32_t no = create_wait(&w, "f", "code");
    char *large = x_calloc(1, EXECUTION_BODY_MAX + 1);
    memset(large, 'x', EXECUTION_BODY_MAX + 1);
    struct execution e = {.function_no = no, .id = ulid_make(no)};
    e.request = str_n(large, EXECUTION_BODY_MAX);
    e.response = str_n(large, EXECUTION_BODY_MAX + 1);
    core_execution_keep(w.core, w.loops[0], &e);
    struct got_execution g = execution(no, &e.id);
    assert_int_equal(strlen(g.request), sizeof g.request - 1);
    assert_false(g.has_response);
    free(large);
}

static void test_job_numbers_are_given_once(void **state) {
    (void)state;
    uint64_t last = 0;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 50000; i++) { /* reservations are made under way */
            uint64_t no = core_job_no(w.core);
            assert_true(no > last);
            last = no;
            if (i % 1000 == 0)
                world_tick(&w);
        }
        world_reopen(&w);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_default_is_there, setup, teardown),
        cmocka_unit_test_setup_teardown(test_made_and_changed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_number_may_be_taken, setup, teardown),
        cmocka_unit_test_setup_teardown(test_functions_make_their_place, setup, teardown),
        cmocka_unit_test_setup_teardown(test_deleted_with_everything, setup, teardown),
        cmocka_unit_test_setup_teardown(test_projects, setup, teardown),
        cmocka_unit_test_setup_teardown(test_executions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_large_bodies_are_left_out, setup, teardown),
        cmocka_unit_test_setup_teardown(test_job_numbers_are_given_once, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
