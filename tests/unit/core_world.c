/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "core_world.h"
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#define TICKS_MAX 100000 /* far more than any of these takes: then the test has failed */

void world_tick(struct world *w) {
    loop_tick(w->loops[0], 1);
    loop_tick(w->loops[1], 0);
}

void world_until(struct world *w, const bool *flag) {
    for (int i = 0; i < TICKS_MAX && !*flag; i++)
        world_tick(w);
    assert_true(*flag);
}

static void open_here(struct world *w) {
    struct error err = {0};
    struct store_config sc = {.url = "sqlite", .data_dir = w->dir};
    struct core_config cc = {.version = "0.1.0",
                             .history_age_s = 3600,
                             .history_bytes = GIB,
                             .async_running_max = 8,
                             .body_max = MIB};
    assert_int_equal(store_open(&sc, &w->store, &err), 0);
    for (int i = 0; i < 2; i++)
        w->loops[i] = loop_new(i);
    assert_int_equal(core_new(&cc, w->store, w->loops, 2, &w->core, &err), 0);
    core_start(w->core);
}

void world_open(struct world *w) {
    *w = (struct world){.admin = {.name = "admin", .role = ROLE_ADMIN}};
    strcpy(w->dir, "/tmp/kiln-test-core-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    atomic_store(&double_mode, DOUBLE_ANSWER);
    atomic_store(&double_hold_builds, false);
    open_here(w);
}

static void raise_flag(void *arg) {
    *(bool *)arg = true;
}

static void shut(struct world *w) {
    bool over = false;
    core_drain(w->core, 1000, raise_flag, &over);
    world_until(w, &over);
    store_close(w->store);
    for (int i = 0; i < 5; i++)
        world_tick(w);
    core_free(w->core);
    for (int i = 0; i < 2; i++)
        loop_free(w->loops[i]);
}

void world_reopen(struct world *w) {
    shut(w);
    atomic_store(&double_mode, DOUBLE_ANSWER);
    atomic_store(&double_hold_builds, false);
    open_here(w);
}

void world_close(struct world *w) {
    char command[128];
    shut(w);
    snprintf(command, sizeof command, "rm -rf '%s'", w->dir);
    assert_int_equal(system(command), 0);
}

void answer_done(struct answer *a) {
    function_unref(a->f);
    blob_unref(a->code);
    *a = (struct answer){0};
}

static bool note(struct answer *a, const struct error *err) {
    assert_false(a->over);
    if (err)
        a->err = *err;
    a->over = true;
    return err == NULL;
}

void got_function(void *arg, const struct error *err, struct function *f) {
    struct answer *a = arg;
    if (note(a, err))
        a->f = function_ref(f);
}
void got_version(void *arg, const struct error *err, const struct version *v) {
    struct answer *a = arg;
    if (note(a, err)) {
        a->number = v->number;
        a->version_no = v->no;
        snprintf(a->text[0], sizeof a->text[0], "%s", v->build_log ? v->build_log : "");
    }
}
void got_versions(void *arg, const struct error *err, const struct version *v, size_t n) {
    struct answer *a = arg;
    note(a, err);
    a->n = n;
    for (size_t i = 0; i < n && i < ARRAY_LEN(a->versions); i++)
        a->versions[i] = v[i];
}
void got_nothing(void *arg, const struct error *err) {
    note(arg, err);
}
void got_number(void *arg, const struct error *err, uint32_t number) {
    note(arg, err);
    ((struct answer *)arg)->number = number;
}
void got_trigger(void *arg, const struct error *err, struct trigger *t) {
    if (note(arg, err))
        ((struct answer *)arg)->trigger_no = t->no;
}
void got_id(void *arg, const struct error *err, const struct ulid *id) {
    note(arg, err);
    ((struct answer *)arg)->id = *id;
}
void got_invocation(void *arg, const struct error *err, const struct async_call *inv) {
    struct answer *a = arg;
    if (!note(a, err))
        return;
    a->call = *inv;
    snprintf(a->body, sizeof a->body, "%.*s", STR_ARG(inv->result_body));
    snprintf(a->headers, sizeof a->headers, "%.*s", STR_ARG(inv->result_headers));
}
void got_invocations(void *arg, const struct error *err, const struct invocation *v, size_t n) {
    struct answer *a = arg;
    note(a, err);
    a->n = n;
    for (size_t i = 0; i < n && i < ARRAY_LEN(a->v); i++)
        a->v[i] = v[i];
}
void got_logs(void *arg, const struct error *err, const struct log_line *v, size_t n) {
    struct answer *a = arg;
    note(a, err);
    a->n = n;
    for (size_t i = 0; i < n && i < ARRAY_LEN(a->text); i++) {
        snprintf(a->text[i], sizeof a->text[i], "%.*s", STR_ARG(v[i].message));
        a->level[i] = v[i].level;
    }
}
void got_metrics(void *arg, const struct error *err, const struct core_metrics *m) {
    if (note(arg, err))
        ((struct answer *)arg)->m = *m;
}
void got_events(void *arg, const struct error *err, const struct event *v, size_t n) {
    struct answer *a = arg;
    note(a, err);
    a->n = n;
    for (size_t i = 0; i < n && i < ARRAY_LEN(a->text); i++)
        snprintf(a->text[i], sizeof a->text[i], "%s", v[i].type);
}
void got_code(void *arg, const struct error *err, struct blob *code) {
    if (note(arg, err))
        ((struct answer *)arg)->code = blob_ref(code);
}

struct function *draft(const char *name, const char *handler) {
    struct function *f = function_new();
    f->workspace = x_strdup(DEFAULT_WORKSPACE);
    f->project = x_strdup(DEFAULT_PROJECT);
    f->name = x_strdup(name);
    f->runtime = x_strdup("python3.9");
    f->handler = x_strdup(handler);
    return f;
}

void create_start(struct world *w, const char *name, const char *code, bool wait,
                  struct answer *a) {
    struct core_draft d = {
        .function = draft(name, "main.handler"), .code = str_of(code), .wait_build = wait};
    core_function_create(w->core, w->loops[0], &w->admin, &d, got_function, a);
}

uint32_t create_wait(struct world *w, const char *name, const char *code) {
    struct answer a = {0};
    create_start(w, name, code, true, &a);
    world_until(w, &a.over);
    assert_int_equal(a.err.code, ERR_NONE);
    uint32_t no = a.f->no;
    answer_done(&a);
    return no;
}

static void call_over(struct core_call *call, const struct engine_result *r,
                      const struct invocation *record) {
    struct test_call *t = (struct test_call *)call;
    assert_false(t->over);
    t->cause = r->cause;
    t->record = *record;
    snprintf(t->body, sizeof t->body, "%.*s", STR_ARG(r->body));
    t->over = true;
    core_call_done(call);
}

static int encode(struct world *w, struct core_call *call, struct loop *loop, uint32_t no,
                  const char *body, struct error *err) {
    if (core_call_init(w->core, loop, call, no, WIRE_BODY_TEXT, STR("POST"), STR("/"), err) < 0)
        return -1;
    engine_input_query(&call->input, STR("q"), STR("1"));
    engine_input_headers(&call->input);
    engine_input_header(&call->input, STR("h"), STR("2"));
    assert_int_equal(engine_input_end(&call->input), 0);
    call->body = str_of(body);
    return 0;
}

int call_start(struct world *w, struct test_call *t, size_t at, uint32_t no, const char *body,
               struct error *err) {
    struct error own;
    *t = (struct test_call){.call.done = call_over};
    int r = encode(w, &t->call, w->loops[at], no, body, err ? err : &own);
    if (!err)
        assert_int_equal(r, 0);
    if (r == 0)
        core_call_submit(&t->call);
    return r;
}

enum error_code call_wait(struct world *w, uint32_t no, const char *body) {
    struct test_call t;
    call_start(w, &t, 0, no, body, NULL);
    assert_false(t.over); /* never before submit has returned */
    world_until(w, &t.over);
    return t.cause;
}

struct ulid async_wait(struct world *w, uint32_t no, const char *body) {
    struct core_call call = {.source = SOURCE_ASYNC};
    struct error err;
    struct answer a = {0};
    assert_int_equal(encode(w, &call, w->loops[0], no, body, &err), 0);
    core_call_async(&call, got_id, &a);
    world_until(w, &a.over);
    assert_int_equal(a.err.code, ERR_NONE);
    return a.id;
}
