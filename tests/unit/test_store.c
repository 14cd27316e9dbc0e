/* SPDX-License-Identifier: Apache-2.0 */
/* store: functions, their versions and triggers, events, tokens. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "store_world.h"
#include <cmocka.h>
#include <stdio.h>

/* ---- functions ---- */
static void take_last(void *arg, struct function *f) {
    struct function **last = arg;
    function_unref(*last);
    *last = f;
}

static int same_text(const char *a, const char *b) {
    return (!a && !b) || (a && b && strcmp(a, b) == 0);
}

static bool same_pairs(const struct pairs *a, const struct pairs *b) {
    bool same = a->n == b->n;
    for (size_t i = 0; same && i < a->n; i++)
        same = same_text(a->v[i].key, b->v[i].key) && same_text(a->v[i].value, b->v[i].value);
    return same;
}

static bool same_function(const struct function *a, const struct function *b) {
    return a->no == b->no && same_text(a->workspace, b->workspace) &&
           same_text(a->project, b->project) && same_text(a->name, b->name) &&
           same_text(a->runtime, b->runtime) && a->kind == b->kind &&
           same_text(a->handler, b->handler) && same_pairs(&a->env, &b->env) &&
           same_pairs(&a->labels, &b->labels) && same_pairs(&a->annotations, &b->annotations) &&
           same_text(a->memory, b->memory) && same_text(a->cpu, b->cpu) &&
           a->memory_bytes == b->memory_bytes && a->cpu_milli == b->cpu_milli &&
           a->timeout_ms == b->timeout_ms && a->min_instances == b->min_instances &&
           a->max_instances == b->max_instances && a->network == b->network &&
           a->status == b->status && a->active_no == b->active_no &&
           a->active_number == b->active_number && a->previous_no == b->previous_no &&
           a->previous_number == b->previous_number && a->last_number == b->last_number &&
           a->created_us == b->created_us && a->updated_us == b->updated_us &&
           a->deployed_us == b->deployed_us;
}

static int functions_body(struct store *s, void *arg, struct error *err) {
    (void)arg;
    struct function *f = a_function("p", "größe'\"\n"), *read = NULL;
    f->kind = RUNTIME_NODE;
    pairs_add(&f->env, STR("SECRET"), STR("\x01\"\\é\xf0\x9f\x99\x82\n"));
    pairs_add(&f->env, STR("EMPTY"), STR(""));
    pairs_add(&f->labels, STR("l"), STR("v"));
    pairs_add(&f->annotations, STR("a"), STR("v"));
    f->memory = x_strdup("256Mi");
    f->memory_bytes = 16 * GIB;
    f->cpu_milli = 1;
    f->timeout_ms = 2;
    f->min_instances = 3;
    f->max_instances = 4;
    f->network = NETWORK_HOST;
    f->status = FN_READY;
    f->active_no = 5;
    f->active_number = 6;
    f->previous_no = 7;
    f->previous_number = 8;
    f->last_number = 9;
    f->deployed_us = INT64_MAX;
    OK(store_function_insert(s, f, err));
    CHECK(f->no == 1);
    OK(store_function_each(s, take_last, &read, err));
    CHECK(read && same_function(f, read));

    struct function *g = a_function("p", "größe'\"\n");
    FAILS(store_function_insert(s, g, err), ERR_CONFLICT, "name");
    CHECK(g->no == 0);
    free(g->project);
    g->project = x_strdup("other");
    OK(store_function_insert(s, g, err));
    CHECK(g->no == 2);
    free(g->project);
    g->project = x_strdup("p");
    FAILS(store_function_update(s, g, err), ERR_CONFLICT, "name");
    free(g->name);
    g->name = x_strdup("renamed");
    g->cpu = x_strdup("100m");
    OK(store_function_update(s, g, err));
    OK(store_function_each(s, take_last, &read, err));
    CHECK(same_function(g, read));

    OK(store_function_delete(s, 2, err));
    FAILS(store_function_delete(s, 2, err), ERR_NOT_FOUND, "function");
    FAILS(store_function_update(s, g, err), ERR_NOT_FOUND, "function");
    OK(store_function_insert(s, g, err));
    CHECK(g->no == 3); /* a number is never given twice */
    function_unref(read);
    function_unref(f);
    function_unref(g);
    return 0;
}

static void functions(void **state) {
    on(((struct fixture *)*state)->store, STORE_STATE, functions_body, NULL);
}

static void conflict_says_what(void **state) {
    struct error err;
    struct store *s = ((struct fixture *)*state)->store;
    assert_int_equal(try_on(s, STORE_STATE, conflict_body, NULL, &err), -1);
    assert_string_equal(err.text, "a function named 'x' exists in project 'p' already");
}

/* ---- versions ---- */
static char *code_at; /* where store_version_code() says that it is */
static uint64_t code_len;

static int versions_body(struct store *s, void *arg, struct error *err) {
    (void)arg;
    static char log[BUILD_LOG_MAX + 100];
    struct function *f = a_function("p", "f");
    struct version v = {.number = 1, .build = BUILD_PENDING, .created_us = 5}, got = {0};
    struct blob *code = NULL;
    FAILS(store_version_insert(s, &v, STR("x"), err), ERR_NOT_FOUND, "function");
    OK(store_function_insert(s, f, err));
    v.function_no = f->no;
    OK(store_version_insert(s, &v, STR("a\0b\xff"), err));
    CHECK(v.no == 1 && v.code_len == 4);
    FAILS(store_version_insert(s, &v, STR("x"), err), ERR_CONFLICT, "version");
    v.number = 3;
    v.image = (char *)"img";
    OK(store_version_insert(s, &v, STR(""), err));
    v.number = 2;
    OK(store_version_insert(s, &v, STR("two"), err));

    OK(store_version_code(s, 1, &code, &code_at, &code_len, err));
    CHECK(code->len == 4 && memcmp(code->bytes, "a\0b\xff", 4) == 0);
    blob_unref(code);
    OK(store_version_code(s, 2, &code, &code_at, &code_len, err));
    CHECK(code->len == 0);
    blob_unref(code);
    FAILS(store_version_code(s, 99, &code, &code_at, &code_len, err), ERR_NOT_FOUND, "version");

    OK(store_version_get(s, 1, &got, err));
    CHECK(got.number == 1 && !got.active && got.build == BUILD_PENDING && !got.image &&
          !got.build_log && got.created_us == 5 && got.function_no == f->no);
    version_done(&got);
    FAILS(store_version_get(s, 99, &got, err), ERR_NOT_FOUND, "version");

    memset(log, 'x', sizeof(log));
    memcpy(log + sizeof(log) - 4, "end", 4);
    OK(store_version_set_build(s, 2, BUILD_FAILED, str_n(log, sizeof(log) - 1), err));
    FAILS(store_version_set_build(s, 99, BUILD_FAILED, STR(""), err), ERR_NOT_FOUND, "version");
    f->active_no = 2;
    OK(store_function_update(s, f, err));
    OK(store_version_get(s, 2, &got, err));
    CHECK(got.build == BUILD_FAILED && got.active && strcmp(got.image, "img") == 0);
    CHECK(strlen(got.build_log) == BUILD_LOG_MAX && str_ends(str_of(got.build_log), STR("end")));
    version_done(&got);
    OK(store_version_find(s, f->no, 3, &got, err));
    CHECK(got.no == 2 && strlen(got.build_log) == BUILD_LOG_MAX);
    version_done(&got);
    FAILS(store_version_find(s, f->no, 9, &got, err), ERR_NOT_FOUND, "version");
    FAILS(store_version_find(s, f->no + 1, 3, &got, err), ERR_NOT_FOUND, "version");

    struct version_log all = {0}, two = {.stop_after = 2};
    OK(store_version_each(s, f->no, note_version, &all, err));
    CHECK(all.n == 3 && all.numbers[0] == 3 && all.numbers[1] == 2 && all.numbers[2] == 1);
    CHECK(all.active == 3);
    OK(store_version_each(s, f->no, note_version, &two, err));
    CHECK(two.n == 2);
    OK(store_function_delete(s, f->no, err));
    FAILS(store_version_code(s, 1, &code, &code_at, &code_len, err), ERR_NOT_FOUND, "version");
    function_unref(f);
    return 0;
}

static void versions(void **state) {
    on(((struct fixture *)*state)->store, STORE_STATE, versions_body, NULL);
}

struct key_log {
    char keys[8][32];
    uint32_t n;
};

static void note_key(void *arg, const char *key) {
    struct key_log *l = arg;
    snprintf(l->keys[l->n++], sizeof(l->keys[0]), "%s", key);
}

static int objects_body(struct store *s, void *arg, struct error *err) {
    (void)arg;
    struct function *f = a_function("p", "objects");
    struct version v = {.number = 1, .created_us = 5}, got = {0};
    struct key_log l = {.n = 0};
    struct blob *code = NULL;
    OK(store_function_insert(s, f, err));
    v.function_no = f->no;
    /* being uploaded: nobody's, but not yet to be deleted */
    OK(store_object_begin(s, "a", 100, err));
    OK(store_object_begin(s, "b", 100, err));
    OK(store_objects_unused(s, 99, 8, note_key, &l, err));
    CHECK(l.n == 0);
    OK(store_object_abandon(s, "b", err));
    OK(store_objects_unused(s, 99, 8, note_key, &l, err));
    CHECK(l.n == 1 && strcmp(l.keys[0], "b") == 0);
    OK(store_object_gone(s, "b", err));
    /* a version's: nobody may delete it */
    OK(store_version_insert(s, &v, STR(""), err));
    OK(store_version_set_object(s, v.no, "a", 7, err));
    l.n = 0;
    OK(store_objects_unused(s, 1000, 8, note_key, &l, err));
    CHECK(l.n == 0);
    OK(store_version_code(s, v.no, &code, &code_at, &code_len, err));
    CHECK(!code && code_len == 7 && strcmp(code_at, "a") == 0);
    free(code_at);
    OK(store_version_get(s, v.no, &got, err));
    CHECK(got.code_len == 7);
    version_done(&got);
    /* with its function it is nobody's again */
    OK(store_function_delete(s, f->no, err));
    OK(store_objects_unused(s, 1000, 8, note_key, &l, err));
    CHECK(l.n == 1 && strcmp(l.keys[0], "a") == 0);
    OK(store_object_gone(s, "a", err));
    function_unref(f);
    return 0;
}

static void objects(void **state) {
    on(((struct fixture *)*state)->store, STORE_STATE, objects_body, NULL);
}

/* ---- triggers, events, tokens ---- */
struct trigger_log {
    struct trigger *v[8];
    uint32_t n;
};

static void note_trigger(void *arg, struct trigger *t) {
    struct trigger_log *l = arg;
    l->v[l->n++] = t;
}

static int triggers_body(struct store *s, void *arg, struct error *err) {
    (void)arg;
    uint32_t no;
    struct trigger_log l = {0};
    struct trigger *t = trigger_new(), *u;
    t->name = x_strdup("t");
    t->type = TRIGGER_SCHEDULE;
    t->enabled = true;
    t->created_us = 7;
    pairs_add(&t->config, STR("cron"), STR("* * * * *"));
    FAILS(store_trigger_insert(s, t, err), ERR_NOT_FOUND, "function");
    OK(make_function(s, "f", &no, err));
    t->function_no = no;
    OK(store_trigger_insert(s, t, err));
    FAILS(store_trigger_insert(s, t, err), ERR_CONFLICT, "name");
    u = trigger_clone(t);
    free(u->name);
    u->name = x_strdup("u");
    OK(store_trigger_insert(s, u, err));
    CHECK(u->no == t->no + 1 || u->no > t->no);
    free(u->name);
    u->name = x_strdup("t");
    FAILS(store_trigger_update(s, u, err), ERR_CONFLICT, "name");
    free(u->name);
    u->name = x_strdup("w");
    u->enabled = false;
    OK(store_trigger_update(s, u, err));
    OK(store_trigger_each(s, note_trigger, &l, err));
    CHECK(l.n == 2 && l.v[0]->no == t->no && l.v[0]->enabled && l.v[0]->type == TRIGGER_SCHEDULE);
    CHECK(same_pairs(&l.v[0]->config, &t->config) && l.v[0]->created_us == 7);
    CHECK(strcmp(l.v[1]->name, "w") == 0 && !l.v[1]->enabled && l.v[1]->function_no == no);
    trigger_unref(l.v[0]);
    trigger_unref(l.v[1]);
    OK(store_trigger_delete(s, u->no, err));
    FAILS(store_trigger_delete(s, u->no, err), ERR_NOT_FOUND, "trigger");
    FAILS(store_trigger_update(s, u, err), ERR_NOT_FOUND, "trigger");
    OK(store_function_delete(s, no, err));
    l.n = 0;
    OK(store_trigger_each(s, note_trigger, &l, err));
    CHECK(l.n == 0);
    trigger_unref(t);
    trigger_unref(u);
    return 0;
}

static void triggers(void **state) {
    on(((struct fixture *)*state)->store, STORE_STATE, triggers_body, NULL);
}

struct event_log {
    uint32_t n, first_no;
    char types[8][24];
    bool metadata;
};

static bool note_event(void *arg, const struct event *e) {
    struct event_log *l = arg;
    if (l->n == 0)
        l->first_no = e->no;
    if (l->n < ARRAY_LEN(l->types))
        memcpy(l->types[l->n], e->type, sizeof(e->type));
    const char *by = pairs_get(&e->metadata, "by");
    l->metadata = by && strcmp(by, "admin") == 0 && strcmp(e->description, "it was") == 0;
    l->n++;
    return true;
}

static int events_body(struct store *s, void *arg, struct error *err) {
    (void)arg;
    uint32_t no, other;
    struct event_log l = {0};
    struct event e = {.type = "created", .description = (char *)"it was", .created_us = 3};
    pairs_add(&e.metadata, STR("by"), STR("admin"));
    OK(make_function(s, "f", &no, err));
    OK(make_function(s, "g", &other, err));
    e.function_no = no;
    OK(store_event_insert(s, &e, err));
    (void)snprintf(e.type, sizeof(e.type), "version_activated");
    OK(store_event_insert(s, &e, err));
    uint32_t second = e.no;
    e.function_no = other;
    OK(store_event_insert(s, &e, err));
    OK(store_event_each(s, no, UINT32_MAX, 100, note_event, &l, err));
    CHECK(l.n == 2 && l.first_no == second && l.metadata);
    CHECK(strcmp(l.types[0], "version_activated") == 0 && strcmp(l.types[1], "created") == 0);
    l.n = 0;
    OK(store_event_each(s, no, UINT32_MAX, 1, note_event, &l, err));
    CHECK(l.n == 1);

    e.function_no = no; /* bounded by count */
    for (int i = 0; i < 1100; i++)
        OK(store_event_insert(s, &e, err));
    l.n = 0;
    OK(store_event_each(s, no, UINT32_MAX, 5000, note_event, &l, err));
    CHECK(l.n == 1000 && l.first_no == e.no);

    (void)snprintf(e.type, sizeof(e.type), "deleted");
    OK(store_event_insert(s, &e, err));
    OK(store_function_delete(s, no, err));
    l.n = 0;
    OK(store_event_each(s, no, UINT32_MAX, 100, note_event, &l, err));
    CHECK(l.n == 1 && strcmp(l.types[0], "deleted") == 0);
    pairs_done(&e.metadata);
    return 0;
}

static void events(void **state) {
    on(((struct fixture *)*state)->store, STORE_STATE, events_body, NULL);
}

struct token_log {
    struct token_row v[8];
    uint32_t n;
};

static void note_token(void *arg, const struct token_row *t) {
    struct token_log *l = arg;
    l->v[l->n++] = *t;
}

static int tokens_body(struct store *s, void *arg, struct error *err) {
    (void)arg;
    struct token_log l = {0};
    struct token_row t = {.role = ROLE_ADMIN, .name = "admin", .created_us = 4};
    memset(t.hash, 0, sizeof(t.hash));
    OK(store_token_put(s, &t, err));
    uint32_t no = t.no;
    memset(t.hash, 0xee, sizeof(t.hash));
    OK(store_token_put(s, &t, err));
    CHECK(t.no == no);
    struct token_row u = {.role = ROLE_VIEWER, .name = "admin", .workspace = "ws-1"};
    OK(store_token_put(s, &u, err));
    OK(store_token_each(s, note_token, &l, err));
    CHECK(l.n == 2 && l.v[0].no == no && l.v[0].role == ROLE_ADMIN && l.v[0].created_us == 4);
    CHECK(memcmp(l.v[0].hash, t.hash, 32) == 0 && strcmp(l.v[0].name, "admin") == 0);
    CHECK(l.v[0].workspace[0] == '\0' && strcmp(l.v[1].workspace, "ws-1") == 0);
    return 0;
}

static void tokens(void **state) {
    on(((struct fixture *)*state)->store, STORE_STATE, tokens_body, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        STORE_TEST(functions), STORE_TEST(conflict_says_what), STORE_TEST(versions),
        STORE_TEST(objects),   STORE_TEST(triggers),           STORE_TEST(events),
        STORE_TEST(tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
