/* SPDX-License-Identifier: Apache-2.0 */
/* Functions, versions, builds, triggers, tokens. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "core_world.h"
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

static struct world w;
WORLD_FIXTURE(w)

static enum function_status status_of(uint32_t no) {
    struct function *f = core_function(w.core, no);
    assert_non_null(f);
    enum function_status s = f->status;
    function_unref(f);
    return s;
}

static uint32_t active_of(uint32_t no) {
    struct function *f = core_function(w.core, no);
    uint32_t number = f->active_number;
    function_unref(f);
    return number;
}

static void wait_status(uint32_t no, enum function_status s) {
    for (int i = 0; i < 10000 && status_of(no) != s; i++)
        world_tick(&w);
    assert_int_equal(status_of(no), s);
}

static enum error_code deploy(uint32_t no, uint32_t number, const char *code, struct answer *a) {
    *a = (struct answer){0};
    core_version_deploy(w.core, w.loops[1], &w.admin, no, number, str_of(code), NULL, got_version,
                        a);
    world_until(&w, &a->over);
    return a->err.code;
}

static enum error_code activate(uint32_t no, uint32_t version_no) {
    struct answer a = {0};
    core_version_activate(w.core, w.loops[0], &w.admin, no, version_no, got_nothing, &a);
    world_until(&w, &a.over);
    return a.err.code;
}

static enum error_code rollback(uint32_t no, uint32_t *number) {
    struct answer a = {0};
    core_rollback(w.core, w.loops[0], &w.admin, no, got_number, &a);
    world_until(&w, &a.over);
    *number = a.number;
    return a.err.code;
}

static void test_create(void **state) {
    (void)state;
    struct answer a = {0};
    create_start(&w, "one", "code", true, &a);
    assert_false(a.over);
    world_until(&w, &a.over);
    assert_int_equal(a.f->status, FN_READY);
    assert_int_equal(a.f->active_number, 1);
    struct function *f =
        core_function_named(w.core, STR(DEFAULT_WORKSPACE), STR(DEFAULT_PROJECT), STR("one"));
    assert_ptr_equal(f, a.f);
    assert_null(core_function_named(w.core, STR("other"), STR(DEFAULT_PROJECT), STR("one")));
    assert_int_equal(call_wait(&w, f->no, "hello"), ERR_NONE);
    function_unref(f);
    answer_done(&a);
}

static void test_two_for_one_name(void **state) {
    (void)state;
    struct answer a = {0}, b = {0};
    create_start(&w, "same", "code", false, &a);
    create_start(&w, "same", "code", false, &b);
    world_until(&w, &a.over);
    world_until(&w, &b.over);
    assert_int_equal(a.err.code, ERR_NONE);
    assert_int_equal(b.err.code, ERR_CONFLICT);
    answer_done(&a);
    answer_done(&b);
}

static void test_bad_drafts(void **state) {
    (void)state;
    struct answer a = {0}, b = {0}, c = {0};
    create_start(&w, "-bad-", "code", true, &a);
    create_start(&w, "empty", "", true, &b);
    struct core_draft d = {.function = draft("cobol", "main.handler"), .code = STR("x")};
    free(d.function->runtime);
    d.function->runtime = x_strdup("cobol85");
    core_function_create(w.core, w.loops[0], &w.admin, &d, got_function, &c);
    assert_false(a.over || b.over || c.over);
    world_until(&w, &a.over);
    world_until(&w, &b.over);
    world_until(&w, &c.over);
    assert_int_equal(a.err.code, ERR_INVALID);
    assert_int_equal(b.err.code, ERR_INVALID);
    assert_int_equal(c.err.code, ERR_INVALID_RUNTIME);
}

static void test_failed_build(void **state) {
    (void)state;
    struct answer a = {0}, v = {0}, list = {0}, one = {0};
    struct error err;
    struct test_call t;
    create_start(&w, "bad", "BAD", true, &a);
    world_until(&w, &a.over);
    assert_int_equal(a.err.code, ERR_NONE);
    assert_int_equal(a.f->status, FN_ERROR);
    uint32_t no = a.f->no;
    assert_int_equal(call_start(&w, &t, 0, no, "", &err), -1);
    assert_int_equal(err.code, ERR_BUILD_FAILED);
    core_versions(w.core, w.loops[0], no, got_versions, &list);
    world_until(&w, &list.over);
    assert_int_equal(list.n, 1);
    assert_int_equal(list.versions[0].build, BUILD_FAILED);
    core_version(w.core, w.loops[0], no, 0, 1, got_version, &one);
    world_until(&w, &one.over);
    assert_int_equal(one.version_no, list.versions[0].no);
    assert_string_equal(one.text[0], "SyntaxError: BAD\n");
    assert_int_equal(activate(no, list.versions[0].no), ERR_BUILD_FAILED);
    assert_int_equal(deploy(no, 0, "good", &v), ERR_NONE);
    assert_int_equal(v.number, 2);
    assert_int_equal(activate(no, v.version_no), ERR_NONE); /* waits for the build */
    assert_int_equal(status_of(no), FN_READY);
    assert_int_equal(call_wait(&w, no, ""), ERR_NONE);
    answer_done(&a);
}

static void test_versions(void **state) {
    (void)state;
    struct answer two, used, list = {0}, events = {0};
    uint32_t number, no = create_wait(&w, "v", "one");
    uint32_t other = create_wait(&w, "other", "one");
    assert_int_equal(rollback(no, &number), ERR_CONFLICT);
    assert_int_equal(deploy(no, 0, "two", &two), ERR_NONE);
    assert_int_equal(active_of(no), 1);
    assert_int_equal(deploy(no, 2, "again", &used), ERR_CONFLICT);
    assert_int_equal(deploy(no, 7, "seven", &used), ERR_NONE);
    assert_int_equal(activate(other, two.version_no), ERR_NOT_FOUND);
    unsigned retired = double_retired;
    assert_int_equal(activate(no, two.version_no), ERR_NONE);
    assert_int_equal(double_retired, retired + 1);
    assert_int_equal(active_of(no), 2);
    assert_int_equal(rollback(no, &number), ERR_NONE);
    assert_int_equal(number, 1);
    assert_int_equal(active_of(no), 1);
    assert_int_equal(rollback(no, &number), ERR_NONE);
    assert_int_equal(number, 2);
    core_versions(w.core, w.loops[0], no, got_versions, &list);
    world_until(&w, &list.over);
    assert_int_equal(list.n, 3);
    assert_int_equal(list.versions[0].number, 7);
    assert_true(list.versions[1].active);
    assert_false(list.versions[2].active);
    core_events(w.core, w.loops[0], no, 0, 50, got_events, &events);
    world_until(&w, &events.over);
    static const char *const expect[] = {"rolled_back", "rolled_back", "version_activated",
                                         "deployed",    "deployed",    "created"};
    assert_int_equal(events.n, ARRAY_LEN(expect));
    for (size_t i = 0; i < ARRAY_LEN(expect); i++)
        assert_string_equal(events.text[i], expect[i]);
    struct answer code = {0};
    core_code(w.core, w.loops[0], no, 0, got_code, &code);
    world_until(&w, &code.over);
    assert_true(str_is(str_n(code.code->bytes, code.code->len), "two"));
    answer_done(&code);
}

static void test_call_waits_for_build(void **state) {
    (void)state;
    struct answer a = {0};
    struct test_call t;
    atomic_store(&double_hold_builds, true);
    create_start(&w, "slow", "code", false, &a);
    world_until(&w, &a.over);
    assert_int_equal(a.f->status, FN_BUILDING);
    call_start(&w, &t, 1, a.f->no, "x", NULL);
    unsigned submitted = double_submitted;
    for (int i = 0; i < 20; i++)
        world_tick(&w);
    assert_false(t.over);
    assert_int_equal(double_submitted, submitted);
    for (int i = 0; i < 2; i++)
        double_release(core_engine(w.core), w.loops[i]);
    world_until(&w, &t.over);
    assert_int_equal(t.cause, ERR_NONE);
    answer_done(&a);
}

static void test_restart_resumes_build(void **state) {
    (void)state;
    struct answer a = {0};
    atomic_store(&double_hold_builds, true);
    create_start(&w, "later", "code", false, &a);
    world_until(&w, &a.over);
    uint32_t no = a.f->no;
    answer_done(&a);
    world_reopen(&w);
    wait_status(no, FN_READY);
    assert_int_equal(call_wait(&w, no, ""), ERR_NONE);
    world_reopen(&w);
    assert_int_equal(status_of(no), FN_READY);
    assert_int_equal(call_wait(&w, no, ""), ERR_NONE);
}

static enum error_code update(uint32_t no, const char *handler, const char *code, int64_t stale_by,
                              struct answer *a) {
    struct function *now = core_function(w.core, no);
    struct core_update u = {.function = function_clone(now), .wait_build = true};
    function_unref(now);
    *a = (struct answer){0};
    free(u.function->handler);
    u.function->handler = x_strdup(handler);
    u.function->timeout_ms = 1234;
    u.function->updated_us -= stale_by;
    u.code = code ? str_of(code) : STR_NULL;
    core_function_update(w.core, w.loops[0], &w.admin, &u, got_function, a);
    world_until(&w, &a->over);
    return a->err.code;
}

static void test_update(void **state) {
    (void)state;
    struct answer a;
    uint32_t no = create_wait(&w, "up", "code");
    assert_int_equal(update(no, "main.handler", NULL, 1, &a), ERR_CONFLICT);
    unsigned builds = double_builds, published = double_published;
    assert_int_equal(update(no, "main.handler", NULL, 0, &a), ERR_NONE);
    assert_int_equal(a.f->timeout_ms, 1234);
    assert_int_equal(double_builds, builds);
    assert_int_equal(double_published, published + 1);
    answer_done(&a);
    /* Another handler is tried first. */
    assert_int_equal(update(no, "missing", NULL, 0, &a), ERR_BUILD_FAILED);
    struct function *f = core_function(w.core, no);
    assert_string_equal(f->handler, "main.handler");
    assert_int_equal(f->status, FN_READY);
    function_unref(f);
    assert_int_equal(update(no, "main.other", NULL, 0, &a), ERR_NONE);
    assert_string_equal(a.f->handler, "main.other");
    answer_done(&a);
    /* With code: a new version, activated when it is good. */
    assert_int_equal(update(no, "main.third", "code 2", 0, &a), ERR_NONE);
    assert_int_equal(a.f->active_number, 2);
    assert_int_equal(a.f->status, FN_READY);
    answer_done(&a);
    /* A bad one never serves, and what serves keeps its handler. */
    assert_int_equal(update(no, "main.fourth", "BAD", 0, &a), ERR_NONE);
    assert_int_equal(a.f->status, FN_ERROR);
    assert_int_equal(a.f->active_number, 2);
    assert_string_equal(a.f->handler, "main.third");
    answer_done(&a);
    assert_int_equal(call_wait(&w, no, ""), ERR_NONE);
    world_reopen(&w);
    assert_int_equal(call_wait(&w, no, ""), ERR_NONE);
}

/* A function that never loaded is built again when its handler is corrected. */
static void test_update_repairs(void **state) {
    (void)state;
    struct answer a = {0};
    struct core_draft d = {
        .function = draft("repair", "missing"), .code = STR("code"), .wait_build = true};
    core_function_create(w.core, w.loops[0], &w.admin, &d, got_function, &a);
    world_until(&w, &a.over);
    assert_int_equal(a.f->status, FN_ERROR);
    uint32_t no = a.f->no;
    answer_done(&a);
    assert_int_equal(update(no, "main.handler", NULL, 0, &a), ERR_NONE);
    assert_int_equal(a.f->status, FN_READY);
    assert_int_equal(a.f->active_number, 1);
    answer_done(&a);
}

/* New code with a new handler is being built; the old code must not meet that handler meanwhile. */
static void test_update_during_build(void **state) {
    (void)state;
    struct answer first = {0}, a = {0};
    uint32_t no = create_wait(&w, "during", "code");
    struct function *now = core_function(w.core, no);
    struct core_update u = {.function = function_clone(now), .code = STR("BAD")};
    function_unref(now);
    free(u.function->handler);
    u.function->handler = x_strdup("main.next");
    atomic_store(&double_hold_builds, true);
    core_function_update(w.core, w.loops[0], &w.admin, &u, got_function, &first);
    world_until(&w, &first.over);
    assert_int_equal(first.f->status, FN_BUILDING);
    unsigned published = double_published;
    now = core_function(w.core, no);
    u = (struct core_update){.function = function_clone(now)};
    function_unref(now);
    u.function->timeout_ms = 777;
    core_function_update(w.core, w.loops[0], &w.admin, &u, got_function, &a);
    world_until(&w, &a.over);
    assert_int_equal(a.err.code, ERR_NONE);
    assert_int_equal(double_published, published);
    for (int i = 0; i < 2; i++)
        double_release(core_engine(w.core), w.loops[i]);
    wait_status(no, FN_ERROR);
    now = core_function(w.core, no);
    assert_string_equal(now->handler, "main.handler");
    assert_int_equal(now->timeout_ms, 777);
    function_unref(now);
    assert_int_equal(call_wait(&w, no, ""), ERR_NONE);
    answer_done(&first);
    answer_done(&a);
}

/* Two updates from the same state in the same tick: one wins. */
static void test_update_race(void **state) {
    (void)state;
    uint32_t no = create_wait(&w, "race", "code");
    struct function *now = core_function(w.core, no);
    struct answer a[2] = {{0}};
    for (int i = 0; i < 2; i++) {
        struct core_update u = {.function = function_clone(now)};
        u.function->timeout_ms = 1000 + (uint32_t)i;
        core_function_update(w.core, w.loops[i], &w.admin, &u, got_function, &a[i]);
    }
    function_unref(now);
    world_until(&w, &a[0].over);
    world_until(&w, &a[1].over);
    assert_int_equal((a[0].err.code == ERR_CONFLICT) + (a[1].err.code == ERR_CONFLICT), 1);
    assert_int_equal((a[0].err.code == ERR_NONE) + (a[1].err.code == ERR_NONE), 1);
    answer_done(&a[0]);
    answer_done(&a[1]);
}

static struct trigger *http_trigger(uint32_t no, const char *name, const char *path) {
    struct trigger *t = trigger_new();
    t->function_no = no;
    t->name = x_strdup(name);
    t->type = TRIGGER_HTTP;
    t->enabled = true;
    if (path)
        pairs_add(&t->config, STR("path"), str_of(path));
    return t;
}

static enum error_code add_trigger(uint32_t no, const char *name, const char *path,
                                   uint32_t *ret_no) {
    struct answer a = {0};
    core_trigger_create(w.core, w.loops[0], &w.admin, http_trigger(no, name, path), got_trigger,
                        &a);
    world_until(&w, &a.over);
    if (ret_no)
        *ret_no = a.trigger_no;
    return a.err.code;
}

static uint32_t route(const char *method, const char *path, bool *other) {
    struct function *f = core_http_trigger(w.core, str_of(method), str_of(path), other);
    uint32_t no = f ? f->no : 0;
    function_unref(f);
    return no;
}

static bool first_trigger(void *arg, const struct trigger *t) {
    *(struct trigger **)arg = trigger_clone(t);
    return false;
}

static void test_triggers(void **state) {
    (void)state;
    bool other;
    uint32_t trigger, no = create_wait(&w, "web", "code"), no2 = create_wait(&w, "web2", "code");
    assert_int_equal(add_trigger(no, "t", NULL, &trigger), ERR_NONE);
    assert_int_equal(route("GET", "/web", &other), no);
    assert_int_equal(route("POST", "/web", &other), 0);
    assert_true(other);
    assert_int_equal(route("GET", "/nowhere", &other), 0);
    assert_false(other);
    assert_int_equal(add_trigger(no, "t", "/x", NULL), ERR_CONFLICT);
    assert_int_equal(add_trigger(no2, "t", "/web", NULL), ERR_CONFLICT);
    world_reopen(&w);
    assert_int_equal(route("GET", "/web", &other), no);
    struct trigger *t = NULL;
    core_triggers_each(w.core, no, first_trigger, &t);
    t->enabled = false;
    struct answer a = {0}, b = {0}, c = {0};
    core_trigger_update(w.core, w.loops[0], &w.admin, t, got_trigger, &a);
    world_until(&w, &a.over);
    assert_int_equal(a.err.code, ERR_NONE);
    assert_int_equal(route("GET", "/web", &other), 0);
    core_trigger_delete(w.core, w.loops[0], &w.admin, no, trigger, got_nothing, &b);
    world_until(&w, &b.over);
    assert_int_equal(b.err.code, ERR_NONE);
    core_trigger_delete(w.core, w.loops[0], &w.admin, no, trigger, got_nothing, &c);
    world_until(&w, &c.over);
    assert_int_equal(c.err.code, ERR_NOT_FOUND);
}

static void test_delete(void **state) {
    (void)state;
    bool other;
    struct error err;
    struct test_call t;
    uint32_t no = create_wait(&w, "gone", "code");
    assert_int_equal(add_trigger(no, "t", "/gone", NULL), ERR_NONE);
    atomic_store(&double_mode, DOUBLE_HOLD);
    call_start(&w, &t, 0, no, "still runs", NULL);
    struct answer a = {0}, b = {0};
    core_function_delete(w.core, w.loops[0], &w.admin, no, got_nothing, &a);
    core_function_delete(w.core, w.loops[1], &w.admin, no, got_nothing, &b);
    world_until(&w, &a.over);
    world_until(&w, &b.over);
    assert_int_equal(a.err.code, ERR_NONE);
    assert_int_equal(b.err.code, ERR_NOT_FOUND);
    assert_null(core_function(w.core, no));
    assert_int_equal(route("GET", "/gone", &other), 0);
    struct test_call late;
    assert_int_equal(call_start(&w, &late, 0, no, "", &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    double_release(core_engine(w.core), w.loops[0]);
    world_until(&w, &t.over);
    assert_int_equal(t.cause, ERR_NONE);
    atomic_store(&double_mode, DOUBLE_ANSWER);
    assert_int_not_equal(create_wait(&w, "gone", "code"), no); /* the name is free again */
}

static bool count_one(void *arg, const struct function *f) {
    uint32_t *last = arg;
    assert_true(*last == 0 || f->no < *last); /* newest first */
    *last = f->no;
    return true;
}

static void test_list_order(void **state) {
    (void)state;
    create_wait(&w, "a", "code");
    create_wait(&w, "b", "code");
    create_wait(&w, "c", "code");
    uint32_t last = 0;
    core_functions_each(w.core, STR(DEFAULT_WORKSPACE), STR_NULL, count_one, &last);
    assert_int_not_equal(last, 0);
    last = 0;
    core_functions_each(w.core, STR(DEFAULT_WORKSPACE), STR("nothing"), count_one, &last);
    assert_int_equal(last, 0);
}

/* ---- tokens ---- */
static void read_token(char out[80]) {
    char path[128];
    struct stat st;
    snprintf(path, sizeof path, "%s/admin.token", w.dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, out, 79);
    close(fd);
    assert_true(n > 1 && out[n - 1] == '\n');
    out[n - 1] = '\0';
}

static enum error_code authenticate(const char *format, const char *token, struct principal *p) {
    char header[256];
    struct error err = {0};
    snprintf(header, sizeof header, "%s%s", format, token);
    return core_authenticate(w.core, str_of(header), p, &err) == 0 ? ERR_NONE : err.code;
}

static void test_tokens(void **state) {
    (void)state;
    char token[80];
    bool made = false;
    struct error err;
    struct principal p;
    assert_int_equal(core_admin_token(w.core, w.dir, "short", &made, &err), -1);
    assert_int_equal(core_admin_token(w.core, w.dir, NULL, &made, &err), 0);
    assert_true(made);
    read_token(token);
    assert_int_equal(strlen(token), 48);
    assert_memory_equal(token, "kiln_", 5);
    assert_int_equal(authenticate("Bearer ", token, &p), ERR_NONE);
    assert_int_equal(p.role, ROLE_ADMIN);
    assert_int_equal(authenticate("bearer  ", token, &p), ERR_NONE);
    assert_int_equal(authenticate("Basic ", token, &p), ERR_UNAUTHENTICATED);
    assert_int_equal(authenticate("", token, &p), ERR_UNAUTHENTICATED);
    assert_int_equal(core_authenticate(w.core, STR_NULL, &p, &err), -1);
    assert_int_equal(err.code, ERR_UNAUTHENTICATED);
    token[20] ^= 1;
    assert_int_equal(authenticate("Bearer ", token, &p), ERR_UNAUTHENTICATED);
    token[20] ^= 1;
    world_reopen(&w); /* the same one goes on */
    assert_int_equal(core_admin_token(w.core, w.dir, NULL, &made, &err), 0);
    assert_false(made);
    assert_int_equal(authenticate("Bearer ", token, &p), ERR_NONE);
    assert_int_equal(core_admin_token(w.core, w.dir, "a-token-of-my-own", &made, &err), 0);
    assert_int_equal(authenticate("Bearer ", "a-token-of-my-own", &p), ERR_NONE);
    assert_int_equal(authenticate("Bearer ", token, &p), ERR_UNAUTHENTICATED);
    read_token(token);
    assert_string_equal(token, "a-token-of-my-own");
}

static void test_roles(void **state) {
    (void)state;
    struct error err;
    struct principal all = {.role = ROLE_ADMIN};
    struct principal one = {.role = ROLE_INVOKER, .workspace = "a"};
    assert_int_equal(core_authorize(&all, STR("b"), ROLE_ADMIN, &err), 0);
    assert_int_equal(core_authorize(&one, STR("a"), ROLE_INVOKER, &err), 0);
    assert_int_equal(core_authorize(&one, STR("a"), ROLE_VIEWER, &err), 0);
    assert_int_equal(core_authorize(&one, STR("a"), ROLE_DEVELOPER, &err), -1);
    assert_int_equal(err.code, ERR_FORBIDDEN);
    assert_int_equal(core_authorize(&one, STR("b"), ROLE_VIEWER, &err), -1);
}

static void test_health(void **state) {
    (void)state;
    bool made;
    struct error err;
    assert_int_equal(core_admin_token(w.core, w.dir, NULL, &made, &err), 0);
    for (int i = 0; i < 2; i++) { /* the second answer is a fresh one reused */
        struct answer a = {0};
        core_health(w.core, w.loops[0], got_nothing, &a);
        assert_false(a.over);
        world_until(&w, &a.over);
        assert_int_equal(a.err.code, ERR_NONE);
    }
    assert_true(core_ready(w.core));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_create),
        TEST(test_two_for_one_name),
        TEST(test_bad_drafts),
        TEST(test_failed_build),
        TEST(test_versions),
        TEST(test_call_waits_for_build),
        TEST(test_restart_resumes_build),
        TEST(test_update),
        TEST(test_update_repairs),
        TEST(test_update_during_build),
        TEST(test_update_race),
        TEST(test_triggers),
        TEST(test_delete),
        TEST(test_list_order),
        TEST(test_tokens),
        TEST(test_roles),
        TEST(test_health),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
