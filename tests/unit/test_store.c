/* SPDX-License-Identifier: Apache-2.0 */
/* store: every call, groups, crashes, migrations, retention. Bodies run as jobs on the store's
 * thread, where cmocka cannot jump out of: they use CHECK, and the test's thread asserts. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include "base/clock.h"
#include "base/rand.h"
#include "store/sqlite.h"
#include <fcntl.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#define CHECK(x)                                                                                   \
    do {                                                                                           \
        if (!(x))                                                                                  \
            return error_set(err, ERR_INTERNAL, "line %d: %s", __LINE__, #x);                      \
    } while (0)
#define OK(x)                                                                                      \
    do {                                                                                           \
        if ((x) != 0)                                                                              \
            return error_prepend(err, "line %d", __LINE__);                                        \
    } while (0)
/* X fails with CODE about FIELD. */
#define FAILS(x, want_code, want_field)                                                            \
    do {                                                                                           \
        memset(err, 0, sizeof(*err));                                                              \
        int rc_ = (x);                                                                             \
        if (rc_ == 0 || err->code != (want_code) || strcmp(err->field, (want_field)) != 0) {       \
            struct error e_ = *err;                                                                \
            return error_set(err, ERR_INTERNAL, "line %d: %s gave %d: %.200s", __LINE__, #x, rc_,  \
                             e_.text);                                                             \
        }                                                                                          \
    } while (0)

static const struct ulid LAST_ID = {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                     0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};

/* ---- a data folder a test, a store in it ---- */
struct fixture {
    char dir[64];
    struct store *store;
};

static void reopen(struct fixture *x) {
    struct error err;
    struct store_config config = {.url = "sqlite", .data_dir = x->dir};
    if (store_open(&config, &x->store, &err) != 0)
        fail_msg("open: %s", err.text);
}

static int setup(void **state) {
    struct fixture *x = x_alloc(sizeof(*x));
    (void)snprintf(x->dir, sizeof(x->dir), "/tmp/kiln-store-XXXXXX");
    assert_non_null(mkdtemp(x->dir));
    reopen(x);
    *state = x;
    return 0;
}

static const char *const FILES[] = {"state.db", "state.db-wal", "history.db", "history.db-wal"};

static void remove_dir(const char *dir) {
    char path[128];
    for (size_t i = 0; i < ARRAY_LEN(FILES); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", dir, FILES[i]);
        (void)unlink(path);
    }
    assert_int_equal(rmdir(dir), 0); /* nothing else was left there */
}

static int teardown(void **state) {
    struct fixture *x = *state;
    store_close(x->store);
    remove_dir(x->dir);
    free(x);
    return 0;
}

/* ---- a job that the test waits for ---- */
typedef int body(struct store *s, void *arg, struct error *err);
struct step {
    struct store_job job;
    body *run;
    void *arg;
    sem_t done;
    struct error err;
    int rc;
};

static int step_run(struct store_job *job, struct store *s, struct error *err) {
    struct step *t = container_of(job, struct step, job);
    return t->run(s, t->arg, err);
}

static void step_done(struct store_job *job, const struct error *err) {
    struct step *t = container_of(job, struct step, job);
    t->rc = err ? -1 : 0;
    if (err)
        t->err = *err;
    sem_post(&t->done);
}

static int try_on(struct store *s, enum store_db db, body *run, void *arg, struct error *err) {
    struct step t = {.job = {.db = db, .run = step_run, .done = step_done}, .run = run, .arg = arg};
    sem_init(&t.done, 0, 0);
    store_submit(s, &t.job);
    while (sem_wait(&t.done) != 0)
        ;
    sem_destroy(&t.done);
    if (err)
        *err = t.err;
    return t.rc;
}

static void on(struct store *s, enum store_db db, body *run, void *arg) {
    struct error err = {0};
    if (try_on(s, db, run, arg, &err) != 0)
        fail_msg("%s: %s", error_code_name(err.code), err.text);
}

/* ---- makers ---- */
static struct function *a_function(const char *project, const char *name) {
    struct function *f = function_new();
    f->workspace = x_strdup(DEFAULT_WORKSPACE);
    f->project = x_strdup(project);
    f->name = x_strdup(name);
    f->runtime = x_strdup("python3.9");
    f->handler = x_strdup("main.handler");
    f->created_us = f->updated_us = 1000000;
    return f;
}

static int make_function(struct store *s, const char *name, uint32_t *ret_no, struct error *err) {
    struct function *f = a_function("p", name);
    int rc = store_function_insert(s, f, err);
    *ret_no = f->no;
    function_unref(f);
    return rc;
}

static struct invocation a_record(uint32_t function_no) {
    struct invocation v = {.id = ulid_make(function_no),
                           .function_no = function_no,
                           .version_number = 3,
                           .status = INV_FAILED,
                           .source = SOURCE_ASYNC,
                           .cause = ERR_TIMEOUT,
                           .http_status = 504,
                           .cold = true,
                           .created_us = 11,
                           .started_us = 12,
                           .ended_us = 13,
                           .queued_us = 14,
                           .starting_us = 15,
                           .running_us = UINT32_MAX};
    (void)snprintf(v.error_text, sizeof(v.error_text), "it 'failed'");
    return v;
}

/* An id born at US. */
static struct ulid id_at(uint32_t function_no, int64_t us) {
    struct ulid u = ulid_make(function_no);
    uint64_t ms = (uint64_t)us / 1000;
    for (int i = 0; i < 6; i++)
        u.b[i] = (uint8_t)(ms >> (40 - 8 * i));
    return u;
}

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

static int conflict_body(struct store *s, void *arg, struct error *err) {
    uint32_t no;
    (void)arg;
    OK(make_function(s, "x", &no, err));
    return make_function(s, "x", &no, err);
}

static void conflict_says_what(void **state) {
    struct error err;
    struct store *s = ((struct fixture *)*state)->store;
    assert_int_equal(try_on(s, STORE_STATE, conflict_body, NULL, &err), -1);
    assert_string_equal(err.text, "a function named 'x' exists in project 'p' already");
}

/* ---- key-value stores ---- */
static void kv_take(void *arg, struct str s) {
    struct buf *b = arg;
    (void)buf_put_str(b, s);
    (void)buf_putc(b, '|');
}

static int kv_is(struct store *s, uint32_t no, const char *store, struct str key, struct str want,
                 struct error *err) {
    cleanup_buf struct buf b = BUF_INIT(KIB);
    bool found;
    OK(store_kv_get(s, no, str_of(store), key, kv_take, &b, &found, err));
    CHECK(found == (want.p != NULL));
    CHECK(!found || (b.len == want.len + 1 && memcmp(b.p, want.p, want.len) == 0));
    OK(store_kv_get(s, no, str_of(store), key, NULL, NULL, &found, err));
    CHECK(found == (want.p != NULL));
    return 0;
}

static int kv_keys_are(struct store *s, uint32_t no, const char *store, struct str want,
                       struct error *err) {
    cleanup_buf struct buf b = BUF_INIT(KIB);
    OK(store_kv_keys(s, no, str_of(store), kv_take, &b, err));
    CHECK(str_eq(buf_str(&b), want));
    return 0;
}

static int kv_body(struct store *s, void *arg, struct error *err) {
    uint32_t f, g;
    (void)arg;
    OK(make_function(s, "kv-f", &f, err));
    OK(make_function(s, "kv-g", &g, err));
    OK(kv_is(s, f, "d", STR("k"), STR_NULL, err));
    OK(store_kv_delete(s, f, STR("d"), STR("k"), err));
    OK(store_kv_set(s, f, STR("d"), STR("k"), STR("\0\xff one"), err));
    OK(kv_is(s, f, "d", STR("k"), STR("\0\xff one"), err));
    OK(kv_is(s, f, "e", STR("k"), STR_NULL, err));
    OK(kv_is(s, g, "d", STR("k"), STR_NULL, err));
    OK(store_kv_set(s, f, STR("d"), STR("k"), STR(""), err));
    OK(kv_is(s, f, "d", STR("k"), STR(""), err));
    OK(store_kv_set(s, f, STR("d"), STR("a\0b"), STR("2"), err));
    OK(store_kv_set(s, f, STR("e"), STR("z"), STR("3"), err));
    OK(kv_keys_are(s, f, "d", STR("a\0b|k|"), err));
    OK(kv_keys_are(s, f, "e", STR("z|"), err));
    OK(store_kv_delete(s, f, STR("d"), STR("a\0b"), err));
    OK(kv_keys_are(s, f, "d", STR("k|"), err));
    OK(store_function_delete(s, f, err));
    OK(kv_keys_are(s, f, "d", STR_NULL, err));
    OK(kv_is(s, f, "d", STR("k"), STR_NULL, err));
    return 0;
}

static int kv_without_function(struct store *s, void *arg, struct error *err) {
    (void)arg;
    return store_kv_set(s, 4000000, STR("d"), STR("k"), STR("v"), err);
}

static void key_values(void **state) {
    struct store *s = ((struct fixture *)*state)->store;
    struct error err;
    on(s, STORE_STATE, kv_body, NULL);
    assert_int_equal(try_on(s, STORE_STATE, kv_without_function, NULL, &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
}

struct kv_fill {
    uint32_t no;
    char *big; /* KV_VALUE_MAX */
};

static int kv_fill_body(struct store *s, void *arg, struct error *err) {
    struct kv_fill *fill = arg;
    char key[16];
    OK(make_function(s, "kv-full", &fill->no, err));
    for (int i = 0; i < (int)(KV_BYTES_MAX / KV_VALUE_MAX) - 1; i++) {
        (void)snprintf(key, sizeof(key), "b%d", i);
        OK(store_kv_set(s, fill->no, STR("d"), str_of(key), str_n(fill->big, KV_VALUE_MAX), err));
    }
    for (int i = 0; i < KV_KEYS_MAX - (int)(KV_BYTES_MAX / KV_VALUE_MAX) + 1; i++) {
        (void)snprintf(key, sizeof(key), "k%d", i);
        OK(store_kv_set(s, fill->no, STR("e"), str_of(key), STR(""), err));
    }
    return 0;
}

static int kv_one_key_more(struct store *s, void *arg, struct error *err) {
    return store_kv_set(s, ((struct kv_fill *)arg)->no, STR("x"), STR("new"), STR(""), err);
}

static int kv_bytes_more(struct store *s, void *arg, struct error *err) {
    struct kv_fill *fill = arg;
    return store_kv_set(s, fill->no, STR("e"), STR("k0"), str_n(fill->big, KV_VALUE_MAX), err);
}

static int kv_less(struct store *s, void *arg, struct error *err) {
    uint32_t no = ((struct kv_fill *)arg)->no;
    OK(store_kv_delete(s, no, STR("d"), STR("b0"), err));
    return store_kv_set(s, no, STR("x"), STR("other"), STR("fits"), err);
}

static void key_values_are_bounded(void **state) {
    struct store *s = ((struct fixture *)*state)->store;
    struct kv_fill fill = {.big = x_alloc(KV_VALUE_MAX)};
    struct error err;
    on(s, STORE_STATE, kv_fill_body, &fill);
    for (int i = 0; i < 2; i++) { /* what is refused leaves no trace in the sums */
        assert_int_equal(try_on(s, STORE_STATE, kv_one_key_more, &fill, &err), -1);
        assert_int_equal(err.code, ERR_QUOTA);
        assert_int_equal(try_on(s, STORE_STATE, kv_bytes_more, &fill, &err), -1);
        assert_int_equal(err.code, ERR_QUOTA);
    }
    on(s, STORE_STATE, kv_less, &fill);
    on(s, STORE_STATE, kv_bytes_more, &fill); /* the room of b0 */
    assert_int_equal(try_on(s, STORE_STATE, kv_one_key_more, &fill, &err), -1);
    free(fill.big);
}

/* ---- versions ---- */
static char *code_at; /* where store_version_code() says that it is */
static uint64_t code_len;

struct version_log {
    uint32_t numbers[16], n, active, stop_after;
};

static bool note_version(void *arg, const struct version *v) {
    struct version_log *l = arg;
    l->numbers[l->n++] = v->number;
    if (v->active)
        l->active = v->number;
    return l->n != l->stop_after;
}

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

/* ---- runs of schedules ---- */
static int run_body(struct store *s, void *arg, struct error *err) {
    uint32_t no;
    (void)arg;
    OK(make_function(s, "timed", &no, err));
    struct trigger *t = trigger_new();
    t->function_no = no;
    t->name = x_strdup("t");
    t->type = TRIGGER_SCHEDULE;
    t->enabled = true;
    int rc = store_trigger_insert(s, t, err);
    uint32_t trigger_no = t->no;
    OK(rc);
    OK(store_trigger_run(s, trigger_no, 1000, err));
    FAILS(store_trigger_run(s, trigger_no, 1000, err), ERR_CONFLICT, "trigger");
    FAILS(store_trigger_run(s, trigger_no, 999, err), ERR_CONFLICT, "trigger");
    OK(store_trigger_run(s, trigger_no, 1001, err));
    OK(store_trigger_run(s, trigger_no, INT64_C(90000000000), err));
    FAILS(store_trigger_run(s, trigger_no, INT64_C(4000000000), err), ERR_CONFLICT, "trigger");
    OK(store_trigger_run(s, trigger_no, INT64_C(3000000000), err)); /* the clock was far ahead */
    t->enabled = false;
    rc = store_trigger_update(s, t, err);
    trigger_unref(t);
    OK(rc);
    FAILS(store_trigger_run(s, trigger_no, INT64_C(4000000000), err), ERR_CONFLICT, "trigger");
    OK(store_trigger_delete(s, trigger_no, err));
    FAILS(store_trigger_run(s, trigger_no, INT64_C(5000000000), err), ERR_CONFLICT, "trigger");
    return 0;
}

static void scheduled_runs(void **state) {
    on(((struct fixture *)*state)->store, STORE_STATE, run_body, NULL);
}

/* ---- queued calls ---- */
struct call_log {
    struct ulid ids[16];
    uint64_t last_seq, pending[8];
    enum invocation_status status;
    uint32_t n, attempts;
    struct invocation record;
    char input[32], headers[32], body[32];
    bool has_body;
};

static void copy_str(char *out, size_t size, struct str s) {
    (void)snprintf(out, size, "%.*s", STR_ARG(s));
}

static void note_call(void *arg, const struct async_call *c) {
    struct call_log *l = arg;
    l->ids[l->n++] = c->id;
    l->last_seq = c->seq;
    l->status = c->status;
    l->attempts = c->attempts;
    l->record = c->record;
    l->has_body = c->result_body.p != NULL;
    copy_str(l->input, sizeof(l->input), c->input);
    copy_str(l->headers, sizeof(l->headers), c->result_headers);
    copy_str(l->body, sizeof(l->body), c->result_body);
}

static bool note_call_more(void *arg, const struct async_call *c) {
    note_call(arg, c);
    return true;
}

static void note_pending(void *arg, uint32_t function_no, uint64_t pending) {
    ((struct call_log *)arg)->pending[function_no] = pending;
}

static int async_body(struct store *s, void *arg, struct error *err) {
    (void)arg;
    uint32_t no;
    struct call_log l = {0};
    struct async_call c[4];
    OK(make_function(s, "f", &no, err));
    for (size_t i = 0; i < 4; i++) {
        c[i] = (struct async_call){
            .id = ulid_make(no), .function_no = no, .input = STR("0123456789"), .workspace = "w"};
        OK(store_async_insert(s, &c[i], err));
        CHECK(i == 0 || c[i].seq > c[i - 1].seq);
    }
    FAILS(store_async_insert(s, &c[0], err), ERR_CONFLICT, "invocation");
    struct async_call orphan = {.id = ulid_make(99), .function_no = 99};
    FAILS(store_async_insert(s, &orphan, err), ERR_NOT_FOUND, "function");

    OK(store_async_pending(s, no, 0, 3, 1000, note_call, &l, err));
    CHECK(l.n == 3 && memcmp(&l.ids[0], &c[0].id, 16) == 0 && l.last_seq == c[2].seq);
    CHECK(strcmp(l.input, "0123456789") == 0 && l.status == INV_PENDING);
    CHECK(l.record.created_us == (int64_t)ulid_ms(&c[2].id) * 1000);
    l.n = 0;
    OK(store_async_pending(s, no, c[2].seq, 3, 1000, note_call, &l, err));
    CHECK(l.n == 1 && l.last_seq == c[3].seq);
    l.n = 0;
    OK(store_async_pending(s, no, 0, 9, 25, note_call, &l, err));
    CHECK(l.n == 2);
    l.n = 0;
    OK(store_async_pending(s, no, 0, 9, 1, note_call, &l, err));
    CHECK(l.n == 1); /* one that is over the limit still goes */

    OK(store_async_start(s, &c[0].id, 77, err));
    FAILS(store_async_start(s, &c[0].id, 78, err), ERR_CONFLICT, "invocation");
    FAILS(store_async_start(s, &orphan.id, 78, err), ERR_NOT_FOUND, "invocation");
    l.n = 0;
    OK(store_async_pending(s, no, 0, 9, 1000, note_call, &l, err));
    CHECK(l.n == 3);
    l.n = 0;
    OK(store_async_open(s, no, &LAST_ID, 9, note_call_more, &l, err));
    CHECK(l.n == 4 && memcmp(&l.ids[3], &c[0].id, 16) == 0 && l.status == INV_RUNNING);
    CHECK(l.attempts == 1 && l.record.started_us == 77 && l.input[0] == '\0');

    c[1].status = INV_COMPLETED;
    c[1].record = a_record(no);
    c[1].result_status = 201;
    c[1].result_headers = STR("{\"a\":[\"b\"]}");
    c[1].result_body = STR("");
    OK(store_async_finish(s, &c[1], err));
    FAILS(store_async_finish(s, &orphan, err), ERR_NOT_FOUND, "invocation");
    l.n = 0;
    OK(store_async_get(s, &c[1].id, note_call, &l, err));
    CHECK(l.n == 1 && l.status == INV_COMPLETED && l.has_body && l.input[0] == '\0');
    CHECK(strcmp(l.headers, "{\"a\":[\"b\"]}") == 0 && l.record.http_status == 504);
    CHECK(strcmp(l.record.error_text, "it 'failed'") == 0 && l.record.status == INV_COMPLETED);
    FAILS(store_async_get(s, &orphan.id, note_call, &l, err), ERR_NOT_FOUND, "invocation");
    l.n = 0;
    OK(store_async_get(s, &c[2].id, note_call, &l, err));
    CHECK(!l.has_body && strcmp(l.input, "0123456789") == 0);

    uint32_t quiet;
    OK(make_function(s, "quiet", &quiet, err));
    OK(store_async_recover(s, note_pending, &l, err));
    CHECK(l.pending[no] == 3 && l.pending[quiet] == 0);
    l.n = 0;
    OK(store_async_pending(s, no, 0, 1, 1000, note_call, &l, err));
    CHECK(memcmp(&l.ids[0], &c[0].id, 16) == 0 && l.attempts == 1);
    OK(store_function_delete(s, no, err));
    FAILS(store_async_get(s, &c[2].id, note_call, &l, err), ERR_NOT_FOUND, "invocation");
    return 0;
}

static void async_calls(void **state) {
    on(((struct fixture *)*state)->store, STORE_STATE, async_body, NULL);
}

static void note_freed(void *arg, uint32_t function_no) {
    ((struct call_log *)arg)->pending[function_no]++;
}

#define TASK_MS INT64_C(1700000000000000) /* a whole millisecond */

static int pulled_tasks_body(struct store *s, void *arg, struct error *err) {
    (void)arg;
    uint32_t no;
    struct call_log l = {0};
    struct async_call c[4];
    int64_t next = -1;
    uint64_t n, bytes;
    const enum async_takers takers[4] = {ASYNC_WORKERS, ASYNC_BOTH, ASYNC_PULLERS, ASYNC_PULLERS};
    OK(make_function(s, "f", &no, err));
    for (size_t i = 0; i < 4; i++) {
        c[i] = (struct async_call){.id = ulid_make(no),
                                   .function_no = no,
                                   .input = STR("0123456789"),
                                   .takers = takers[i],
                                   .workspace = "w"};
        OK(store_async_insert(s, &c[i], err));
    }
    OK(store_task_count(s, &n, &bytes, err));
    CHECK(n == 2 && bytes == 20);
    OK(store_async_pending(s, no, 0, 9, 1000, note_call, &l, err));
    CHECK(l.n == 2); /* workers see their own and what is for both */
    l.n = 0;
    OK(store_async_open(s, no, &LAST_ID, 9, note_call_more, &l, err));
    CHECK(l.n == 4 && l.status == INV_PENDING);
    FAILS(store_async_start(s, &c[2].id, 1, err), ERR_CONFLICT, "invocation");

    /* handed out: the oldest that pullers may have, bounded by bytes */
    l.n = 0;
    OK(store_task_take(s, 9, 15, TASK_MS + 7, TASK_MS + 100, note_call, &l, err));
    CHECK(l.n == 1 && memcmp(&l.ids[0], &c[1].id, 16) == 0 && l.status == INV_RUNNING);
    CHECK(l.record.started_us == TASK_MS && l.attempts == 1);
    FAILS(store_async_start(s, &c[1].id, 1, err), ERR_CONFLICT, "invocation");
    l.n = 0;
    OK(store_task_take(s, 1, 1000, TASK_MS, TASK_MS + 50, note_call, &l, err));
    CHECK(l.n == 1 && memcmp(&l.ids[0], &c[2].id, 16) == 0);

    /* what is reserved stays so over a start; the workers' own does not */
    OK(store_async_start(s, &c[0].id, 77, err));
    OK(store_async_recover(s, note_pending, &l, err));
    CHECK(l.pending[no] == 1);
    l.n = 0;
    OK(store_task_take(s, 9, 1000, TASK_MS, TASK_MS + 100, note_call, &l, err));
    CHECK(l.n == 1 && memcmp(&l.ids[0], &c[3].id, 16) == 0);

    /* time over: back to whom it was for */
    l.pending[no] = 0;
    OK(store_task_expire(s, TASK_MS + 50, note_freed, &l, &next, err));
    CHECK(l.pending[no] == 0 && next == TASK_MS + 100);
    FAILS(store_async_start(s, &c[2].id, 1, err), ERR_CONFLICT, "invocation");
    OK(store_task_expire(s, TASK_MS + 100, note_freed, &l, &next, err));
    CHECK(l.pending[no] == 1 && next == 0);

    /* again, and later however the clock stands; then only the last holder may end it */
    l.n = 0;
    OK(store_task_take(s, 1, 1000, TASK_MS, TASK_MS + 200, note_call, &l, err));
    CHECK(memcmp(&l.ids[0], &c[1].id, 16) == 0 && l.record.started_us == TASK_MS + 1000);
    c[1].status = INV_COMPLETED;
    c[1].record = a_record(no);
    FAILS(store_task_end(s, &c[1], TASK_MS, err), ERR_CONFLICT, "task");
    OK(store_task_end(s, &c[1], TASK_MS + 1000, err));
    FAILS(store_task_end(s, &c[1], TASK_MS + 1000, err), ERR_NOT_FOUND, "task");
    OK(store_task_end(s, &c[2], TASK_MS, err)); /* late, but nobody has it since */
    struct async_call orphan = {.id = ulid_make(99), .function_no = 99};
    FAILS(store_task_end(s, &orphan, 0, err), ERR_NOT_FOUND, "task");
    FAILS(store_task_end(s, &c[0], 0, err), ERR_CONFLICT, "task");

    /* a worker that takes what is for both takes it from the others */
    struct async_call both = {.id = ulid_make(no), .function_no = no, .takers = ASYNC_BOTH};
    OK(store_async_insert(s, &both, err));
    OK(store_async_start(s, &both.id, 5, err));
    l.n = 0;
    OK(store_task_take(s, 9, 1000, TASK_MS, TASK_MS + 300, note_call, &l, err));
    CHECK(l.n == 1 && memcmp(&l.ids[0], &c[3].id, 16) == 0);
    OK(store_function_delete(s, no, err));
    OK(store_task_count(s, &n, &bytes, err));
    CHECK(n == 0 && bytes == 0);
    return 0;
}

static void pulled_tasks(void **state) {
    on(((struct fixture *)*state)->store, STORE_STATE, pulled_tasks_body, NULL);
}

/* ---- history ---- */
struct record_log {
    struct ulid ids[16];
    uint32_t n, stop_after;
};

static bool note_record(void *arg, const struct invocation *v) {
    struct record_log *l = arg;
    l->ids[l->n++] = v->id;
    return l->n != l->stop_after;
}

static int invocations_body(struct store *s, void *arg, struct error *err) {
    (void)arg;
    struct record_log l = {0};
    struct invocation v[5], got;
    for (size_t i = 0; i < 5; i++)
        v[i] = a_record(i < 4 ? 1 : 2);
    OK(store_invocations_append(s, v, 5, err));
    OK(store_invocation_get(s, &v[2].id, &got, err));
    CHECK(memcmp(&got.id, &v[2].id, 16) == 0 && got.function_no == 1 && got.version_number == 3);
    CHECK(got.status == INV_FAILED && got.source == SOURCE_ASYNC && got.cause == ERR_TIMEOUT);
    CHECK(got.http_status == 504 && got.cold && got.created_us == 11 && got.started_us == 12);
    CHECK(got.ended_us == 13 && got.queued_us == 14 && got.starting_us == 15);
    CHECK(got.running_us == UINT32_MAX && strcmp(got.error_text, "it 'failed'") == 0);
    struct ulid unknown = ulid_make(1);
    FAILS(store_invocation_get(s, &unknown, &got, err), ERR_NOT_FOUND, "invocation");
    v[2].status = INV_COMPLETED;
    OK(store_invocations_append(s, &v[2], 1, err)); /* again: replaced */
    OK(store_invocation_get(s, &v[2].id, &got, err));
    CHECK(got.status == INV_COMPLETED);
    OK(store_invocation_each(s, 1, &LAST_ID, 10, note_record, &l, err));
    CHECK(l.n == 4 && memcmp(&l.ids[0], &v[3].id, 16) == 0);
    CHECK(memcmp(&l.ids[3], &v[0].id, 16) == 0);
    l = (struct record_log){.stop_after = 2};
    OK(store_invocation_each(s, 1, &LAST_ID, 10, note_record, &l, err));
    CHECK(l.n == 2);
    l = (struct record_log){0};
    OK(store_invocation_each(s, 1, &LAST_ID, 3, note_record, &l, err));
    CHECK(l.n == 3);
    return 0;
}

static void invocations(void **state) {
    on(((struct fixture *)*state)->store, STORE_HISTORY, invocations_body, NULL);
}

struct line_log {
    char text[32];
    uint32_t n;
    struct log_line last;
};

static bool note_line(void *arg, const struct log_line *l) {
    struct line_log *o = arg;
    if (o->n < sizeof(o->text) - 1)
        o->text[o->n] = l->message.len ? l->message.p[0] : '_';
    o->text[++o->n] = '\0';
    o->last = *l;
    return true;
}

static int lines_are(struct store *s, struct log_filter f, const char *want, struct error *err) {
    struct line_log l = {0};
    f.function_no = 1;
    f.limit = f.limit ? f.limit : 100;
    OK(store_logs_each(s, &f, note_line, &l, err));
    if (strcmp(l.text, want) != 0)
        return error_set(err, ERR_INTERNAL, "lines \"%s\", not \"%s\"", l.text, want);
    return 0;
}

static int logs_body(struct store *s, void *arg, struct error *err) {
    (void)arg;
    int64_t t = clock_real_us();
    struct invocation inv = a_record(1);
    struct log_line v[6] = {{0}};
    static const char *const TEXT[] = {"a", "b", "c\0d", "d", "e", ""};
    for (size_t i = 0; i < 6; i++) {
        v[i] = (struct log_line){.function_no = i == 4 ? 2 : 1,
                                 .version_number = 1 + (uint32_t)(i & 1),
                                 .at_us = t + (i < 3 ? 0 : (int64_t)i),
                                 .level = LINE_WARN,
                                 .message = str_of(TEXT[i])};
        (void)snprintf(v[i].instance, sizeof(v[i].instance), "inst");
    }
    v[1].invocation = v[3].invocation = inv.id;
    v[2].message.len = 3;
    OK(store_logs_append(s, v, 6, err));
    OK(lines_are(s, (struct log_filter){0}, "abcd_", err));
    OK(lines_are(s, (struct log_filter){.limit = 2}, "d_", err));
    OK(lines_are(s, (struct log_filter){.limit = 4}, "bcd_", err)); /* within one µs */
    OK(lines_are(s, (struct log_filter){.since_us = t + 1}, "d_", err));
    OK(lines_are(s, (struct log_filter){.since_us = t + 3}, "d_", err));
    OK(lines_are(s, (struct log_filter){.until_us = t + 3}, "abc", err));
    OK(lines_are(s, (struct log_filter){.until_us = t}, "", err));
    OK(lines_are(s, (struct log_filter){.version_number = 2}, "bd_", err));
    OK(lines_are(s, (struct log_filter){.version_number = 1, .limit = 1}, "c", err));
    OK(lines_are(s, (struct log_filter){.invocation = inv.id}, "bd", err));
    OK(lines_are(s, (struct log_filter){.invocation = inv.id, .limit = 1}, "d", err));
    inv.ended_us = t + 10; /* with its record there too */
    OK(store_invocations_append(s, &inv, 1, err));
    OK(lines_are(s, (struct log_filter){.invocation = inv.id}, "bd", err));
    struct line_log l = {0};
    struct log_filter f = {.function_no = 1, .limit = 3, .until_us = t + 3};
    OK(store_logs_each(s, &f, note_line, &l, err));
    CHECK(l.last.level == LINE_WARN && strcmp(l.last.instance, "inst") == 0);
    CHECK(l.last.message.len == 3 && l.last.at_us == t);
    f.limit = 0;
    l.n = 0;
    OK(store_logs_each(s, &f, note_line, &l, err));
    CHECK(l.n == 0);
    /* A start later the numbers begin anew: lines of the same µs are kept. */
    store_sqlite(s)->log_seq = 0;
    OK(store_logs_append(s, v, 3, err));
    OK(lines_are(s, (struct log_filter){.until_us = t + 1}, "abcabc", err));
    return 0;
}

static void logs(void **state) {
    on(((struct fixture *)*state)->store, STORE_HISTORY, logs_body, NULL);
}

struct metric_log {
    uint32_t n;
    int64_t minutes[8];
    struct metric_minute first;
    uint64_t count, max;
};

static bool note_metric(void *arg, const struct metric_minute *m) {
    struct metric_log *l = arg;
    if (l->n == 0) {
        l->first = *m;
        l->count = m->duration.count;
        l->max = m->duration.max;
    }
    l->minutes[l->n++] = m->minute;
    return true;
}

static int metrics_body(struct store *s, void *arg, struct error *err) {
    (void)arg;
    struct metric_log l = {0};
    struct metric_minute m[2] = {{.function_no = 1,
                                  .minute = 10,
                                  .invocations = 3,
                                  .errors = 1,
                                  .cold_starts = 1,
                                  .gb_us = 100,
                                  .concurrency_min = 2,
                                  .concurrency_max = 4,
                                  .busy_us = 9},
                                 {.function_no = 1, .minute = 11, .invocations = 1}};
    histogram_init(&m[0].duration);
    histogram_init(&m[1].duration);
    histogram_add(&m[0].duration, 1000);
    histogram_add(&m[1].duration, 5);
    OK(store_metrics_merge(s, m, 2, err));
    m[0].concurrency_min = 1;
    m[0].concurrency_max = 3;
    histogram_add(&m[0].duration, 100000);
    OK(store_metrics_merge(s, m, 1, err));
    OK(store_metrics_each(s, 1, 10, 11, note_metric, &l, err));
    CHECK(l.n == 2 && l.minutes[0] == 10 && l.minutes[1] == 11);
    CHECK(l.first.invocations == 6 && l.first.errors == 2 && l.first.cold_starts == 2);
    CHECK(l.first.gb_us == 200 && l.first.busy_us == 18 && l.first.concurrency_min == 1);
    CHECK(l.first.concurrency_max == 4 && l.count == 3 && l.max == 100000);
    /* processor time alone, before calls and after them */
    struct metric_minute cpu = {.function_no = 2, .minute = 10, .concurrency_min = UINT32_MAX};
    cpu.cpu_us = 70;
    cpu.memory_peak_bytes = 4096;
    histogram_init(&cpu.duration);
    m[0].function_no = 2;
    m[0].cpu_us = 5;
    OK(store_metrics_merge(s, &cpu, 1, err));
    OK(store_metrics_merge(s, m, 1, err));
    cpu.memory_peak_bytes = 512;
    OK(store_metrics_merge(s, &cpu, 1, err));
    memset(&l, 0, sizeof(l));
    OK(store_metrics_each(s, 2, 10, 10, note_metric, &l, err));
    CHECK(l.n == 1 && l.first.invocations == 3 && l.first.concurrency_min == 1);
    CHECK(l.first.cpu_us == 145 && l.first.memory_peak_bytes == 4096);
    l.n = 0;
    OK(store_metrics_each(s, 1, 11, 99, note_metric, &l, err));
    CHECK(l.n == 1 && l.minutes[0] == 11);
    histogram_done(&m[0].duration);
    histogram_done(&m[1].duration);
    return 0;
}

static void metrics(void **state) {
    on(((struct fixture *)*state)->store, STORE_HISTORY, metrics_body, NULL);
}

/* ---- groups ---- */
/* A job that holds the store thread until it is let go, so that what is submitted behind it
 * becomes one group. */
struct gate {
    struct store_job job;
    sem_t entered, leave;
};

static int gate_run(struct store_job *job, struct store *s, struct error *err) {
    struct gate *g = container_of(job, struct gate, job);
    (void)s;
    (void)err;
    sem_post(&g->entered);
    while (sem_wait(&g->leave) != 0)
        ;
    return 0;
}

static void nothing(struct store_job *job, const struct error *err) {
    (void)job;
    (void)err;
}

static void gate_close(struct gate *g, struct store *s) {
    *g = (struct gate){.job = {.run = gate_run, .done = nothing}};
    sem_init(&g->entered, 0, 0);
    sem_init(&g->leave, 0, 0);
    store_submit(s, &g->job);
    while (sem_wait(&g->entered) != 0)
        ;
}

#define MEMBERS 5
struct member {
    struct store_job job;
    int index;
    int fail; /* 1: says so after writing; 2: writes more than there is room for */
    struct party *party;
};
struct party {
    struct member v[MEMBERS];
    int order[MEMBERS * 2], n; /* +index committed, 100 + index done */
    int failed[MEMBERS];
    struct loop *loop;
    int left;
};

static int member_run(struct store_job *job, struct store *s, struct error *err) {
    struct member *m = container_of(job, struct member, job);
    char name[16];
    uint32_t no;
    (void)snprintf(name, sizeof(name), "m%d", m->index);
    OK(make_function(s, name, &no, err));
    if (m->fail == 2) {
        static char big[4 * MIB];
        struct version v = {.function_no = no, .number = 1};
        return store_version_insert(s, &v, str_n(big, sizeof(big)), err);
    }
    return m->fail ? error_set(err, ERR_INVALID, "no") : 0;
}

static void member_committed(struct store_job *job) {
    struct member *m = container_of(job, struct member, job);
    m->party->order[m->party->n++] = m->index;
}

static void member_done(struct store_job *job, const struct error *err) {
    struct member *m = container_of(job, struct member, job);
    struct party *p = m->party;
    p->order[p->n++] = 100 + m->index;
    p->failed[m->index] = err ? (int)err->code : 0;
    if (--p->left == 0)
        loop_stop(p->loop);
}

static void count_function(void *arg, struct function *f) {
    ++*(uint32_t *)arg;
    function_unref(f);
}

static int count_body(struct store *s, void *arg, struct error *err) {
    *(uint32_t *)arg = 0;
    return store_function_each(s, count_function, arg, err);
}

static sem_t settled;

static int settle_run(struct store_job *job, struct store *s, struct error *err) {
    (void)job;
    (void)s;
    (void)err;
    return 0;
}

static void settle_done(struct store_job *job, const struct error *err) {
    (void)job;
    (void)err;
    sem_post(&settled);
}

/* Until the store thread is out of the loop_post() of every earlier job. */
static void settle(struct store *s) {
    static struct store_job job;
    job = (struct store_job){.run = settle_run, .done = settle_done};
    sem_init(&settled, 0, 0);
    store_submit(s, &job);
    while (sem_wait(&settled) != 0)
        ;
}

static void run_party(struct party *p, struct store *s) {
    struct gate gate;
    p->loop = loop_new(0);
    p->left = MEMBERS;
    gate_close(&gate, s);
    for (int i = 0; i < MEMBERS; i++) {
        p->v[i].index = i;
        p->v[i].party = p;
        p->v[i].job = (struct store_job){.db = STORE_STATE,
                                         .run = member_run,
                                         .committed = member_committed,
                                         .done = member_done,
                                         .loop = p->loop};
        store_submit(s, &p->v[i].job);
    }
    sem_post(&gate.leave);
    loop_run(p->loop);
    settle(s);
    loop_free(p->loop);
}

static void one_failure_leaves_the_others(void **state) {
    struct store *s = ((struct fixture *)*state)->store;
    struct store_stats before, after;
    uint32_t n;
    static struct party p;
    memset(&p, 0, sizeof(p));
    p.v[1].fail = 1;
    store_stats(s, &before);
    run_party(&p, s);
    store_stats(s, &after);
    assert_int_equal(after.commits - before.commits, 1);     /* one group */
    assert_int_equal(after.jobs - before.jobs, MEMBERS + 2); /* the gate, settle() */
    assert_int_equal(after.queued, 0);
    static const int ORDER[] = {0, 2, 3, 4, 100, 101, 102, 103, 104};
    assert_int_equal(p.n, ARRAY_LEN(ORDER));
    assert_memory_equal(p.order, ORDER, sizeof(ORDER));
    assert_int_equal(p.failed[1], ERR_INVALID);
    on(s, STORE_STATE, count_body, &n);
    assert_int_equal(n, MEMBERS - 1);
}

static int limit_pages(struct store *s, void *arg, struct error *err) {
    char sql[64];
    (void)snprintf(sql, sizeof(sql), "PRAGMA max_page_count = %d", *(int *)arg);
    CHECK(sqlite3_exec(STATE(s)->h, sql, NULL, NULL, NULL) == SQLITE_OK);
    return 0;
}

static void full_disk_is_survived(void **state) {
    struct store *s = ((struct fixture *)*state)->store;
    int few = 100, many = 1000000;
    uint32_t n, committed = 0;
    static struct party p;
    memset(&p, 0, sizeof(p));
    p.v[2].fail = 2;
    on(s, STORE_STATE, limit_pages, &few);
    run_party(&p, s);
    assert_int_equal(p.failed[2], ERR_UNAVAILABLE);
    for (int i = 0; i < MEMBERS; i++)
        committed += p.failed[i] == 0;
    on(s, STORE_STATE, count_body, &n);
    assert_int_equal(n, committed); /* what was said to be stored is, and nothing else */
    struct error err;
    on(s, STORE_STATE, limit_pages, &many);
    assert_int_equal(try_on(s, STORE_STATE, conflict_body, NULL, &err), -1);
    assert_int_equal(err.code, ERR_CONFLICT); /* it serves again */
}

static int refuse_commit(void *arg) {
    (void)arg;
    return 1;
}

static int hook_body(struct store *s, void *arg, struct error *err) {
    (void)err;
    (void)sqlite3_commit_hook(STATE(s)->h, *(int *)arg ? refuse_commit : NULL, NULL);
    return 0;
}

static void failed_commit_fails_its_group(void **state) {
    struct store *s = ((struct fixture *)*state)->store;
    int yes = 1, no = 0;
    uint32_t n;
    static struct party p;
    memset(&p, 0, sizeof(p));
    on(s, STORE_STATE, hook_body, &yes);
    run_party(&p, s);
    assert_int_equal(p.n, MEMBERS); /* nobody was told "committed" */
    for (int i = 0; i < MEMBERS; i++) {
        assert_int_equal(p.order[i], 100 + i);
        assert_true(p.failed[i] != 0);
    }
    on(s, STORE_STATE, hook_body, &no);
    on(s, STORE_STATE, count_body, &n);
    assert_int_equal(n, 0);
    memset(&p, 0, sizeof(p));
    run_party(&p, s);
    on(s, STORE_STATE, count_body, &n);
    assert_int_equal(n, MEMBERS);
}

/* ---- opening ---- */
static const char *self; /* this program: some tests need a process of their own */

static void second_opener_is_refused(void **state) {
    struct fixture *x = *state;
    struct store_config config = {.url = "sqlite", .data_dir = x->dir};
    struct store *second = NULL;
    struct error err;
    assert_int_equal(store_open(&config, &second, &err), -1);
    assert_null(second);
    assert_int_equal(err.code, ERR_CONFLICT);
    assert_non_null(strstr(err.text, "is in use by another kiln"));
    assert_non_null(strstr(err.text, x->dir));
    uint32_t n; /* the first one is not hurt */
    on(x->store, STORE_STATE, count_body, &n);
    assert_int_equal(store_open(&config, &second, &err), -1);
    config.url = "mysql://x";
    assert_int_equal(store_open(&config, &second, &err), -1);
    assert_string_equal(err.field, "store");
    config = (struct store_config){.data_dir = "/nonexistent/folder"};
    assert_int_equal(store_open(&config, &second, &err), -1);
}

static void second_process_is_refused(void **state) {
    struct fixture *x = *state;
    pid_t pid = fork();
    if (pid == 0) {
        execl(self, self, "--open", x->dir, (char *)NULL);
        _exit(99);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
}

static void files_are_private(void **state) {
    struct fixture *x = *state;
    char path[128];
    struct stat st;
    for (size_t i = 0; i < ARRAY_LEN(FILES); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", x->dir, FILES[i]);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
    }
}

static void set_version(const char *dir, const char *file, int version) {
    char path[128], sql[64];
    sqlite3 *h;
    (void)snprintf(path, sizeof(path), "%s/%s", dir, file);
    (void)snprintf(sql, sizeof(sql), "PRAGMA user_version = %d", version);
    assert_int_equal(sqlite3_open(path, &h), SQLITE_OK);
    assert_int_equal(sqlite3_exec(h, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(h), SQLITE_OK);
}

static void newer_schema_is_refused(void **state) {
    struct fixture *x = *state;
    struct store_config config = {.url = "sqlite", .data_dir = x->dir};
    struct error err;
    store_close(x->store);
    x->store = NULL;
    set_version(x->dir, "history.db", 999);
    assert_int_equal(store_open(&config, &x->store, &err), -1);
    assert_int_equal(err.code, ERR_CONFLICT);
    assert_non_null(strstr(err.text, "history.db was written by a newer kiln"));
    set_version(x->dir, "history.db", sqlite_history_migrations_n);
    reopen(x);
}

static void not_a_database_is_said(void **state) {
    struct fixture *x = *state;
    char path[128], junk[8192];
    store_close(x->store);
    x->store = NULL;
    (void)snprintf(path, sizeof(path), "%s/state.db", x->dir);
    int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    memset(junk, 'j', sizeof(junk));
    assert_int_equal(write(fd, junk, sizeof(junk)), sizeof(junk));
    close(fd);
    struct store_config config = {.data_dir = x->dir};
    struct error err;
    assert_int_equal(store_open(&config, &x->store, &err), -1);
    assert_non_null(strstr(err.text, "state.db is damaged or not a database"));
}

static int user_version(sqlite3 *h) {
    sqlite3_stmt *st;
    assert_int_equal(sqlite3_prepare_v2(h, "PRAGMA user_version", -1, &st, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    int v = sqlite3_column_int(st, 0);
    sqlite3_finalize(st);
    return v;
}

static void migrations_run_once_each(void **state) {
    (void)state;
    static const char *const LIST[] = {
        "CREATE TABLE t (a); INSERT INTO t VALUES (1);",
        "ALTER TABLE t ADD b; UPDATE t SET b = a + 1;",
        "INSERT INTO t VALUES (5, 6); INSERT INTO nothing VALUES (1);",
    };
    struct sqlite_db db = {.file = "x.db"};
    struct error err;
    assert_int_equal(sqlite3_open(":memory:", &db.h), SQLITE_OK);
    assert_int_equal(sqlite_migrate(&db, LIST, 1, &err), 0);
    assert_int_equal(user_version(db.h), 1);
    assert_int_equal(sqlite_migrate(&db, LIST, 2, &err), 0); /* from version 1 */
    assert_int_equal(sqlite_migrate(&db, LIST, 2, &err), 0);
    assert_int_equal(user_version(db.h), 2);
    assert_int_equal(sqlite_migrate(&db, LIST, 3, &err), -1); /* undone as a whole */
    assert_non_null(strstr(err.text, "migration to version 3"));
    assert_int_equal(user_version(db.h), 2);
    sqlite3_stmt *st;
    assert_int_equal(sqlite3_prepare_v2(db.h, "SELECT sum(b) FROM t", -1, &st, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    assert_int_equal(sqlite3_column_int(st, 0), 2);
    sqlite3_finalize(st);
    assert_int_equal(sqlite_migrate(&db, LIST, 1, &err), -1);
    sqlite3_close(db.h);
}

/* ---- ends ---- */
static int many_body(struct store *s, void *arg, struct error *err) {
    uint32_t no = 0;
    char name[32];
    for (int i = 0; i < *(int *)arg; i++) {
        (void)snprintf(name, sizeof(name), "fn-%d", i);
        OK(make_function(s, name, &no, err));
    }
    return 0;
}

static int fill_body(struct store *s, void *arg, struct error *err) {
    uint32_t no;
    struct invocation v;
    OK(make_function(s, arg, &no, err));
    v = a_record(no);
    return store_invocations_append(s, &v, 1, err);
}

static int count_records_body(struct store *s, void *arg, struct error *err) {
    struct record_log l = {0};
    OK(store_invocation_each(s, 1, &LAST_ID, 10, note_record, &l, err));
    *(uint32_t *)arg = l.n;
    return 0;
}

static void close_runs_what_is_queued(void **state) {
    struct fixture *x = *state;
    static struct party p;
    struct gate gate;
    uint32_t n;
    memset(&p, 0, sizeof(p));
    p.loop = loop_new(0); /* posts to it are dropped */
    gate_close(&gate, x->store);
    for (int i = 0; i < MEMBERS; i++) {
        p.v[i] = (struct member){.index = i, .party = &p};
        p.v[i].job = (struct store_job){
            .db = STORE_STATE, .run = member_run, .done = nothing, .loop = p.loop};
        store_submit(x->store, &p.v[i].job);
    }
    sem_post(&gate.leave);
    store_close(x->store);
    loop_free(p.loop);
    reopen(x);
    on(x->store, STORE_STATE, count_body, &n);
    assert_int_equal(n, MEMBERS);
}

/* Size of state.db itself: what is in the log only does not count. */
static off_t state_size(const struct fixture *x) {
    char path[128];
    struct stat st;
    (void)snprintf(path, sizeof(path), "%s/state.db", x->dir);
    assert_int_equal(stat(path, &st), 0);
    return st.st_size;
}

static void quiet_store_moves_its_log_in(void **state) {
    struct fixture *x = *state;
    int many = 500;
    off_t before = state_size(x);
    on(x->store, STORE_STATE, many_body, &many);
    const struct timespec pause = {.tv_nsec = 50 * NS_PER_MS};
    for (int i = 0; i < 600 && state_size(x) == before; i++)
        (void)nanosleep(&pause, NULL);
    assert_true(state_size(x) > before);
    uint32_t n; /* and serves on */
    on(x->store, STORE_STATE, count_body, &n);
    assert_int_equal(n, many);
}

#define CHILD_ROWS 200

/* In a process of its own: stores rows one by one, tells each over stdout, waits to be killed. */
static int child_main(const char *dir) {
    struct store *s;
    struct error err;
    struct store_config config = {.url = "sqlite", .data_dir = dir};
    if (store_open(&config, &s, &err) != 0)
        return err.code == ERR_CONFLICT ? 7 : 8;
    for (int i = 0;; i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "f%d", i);
        if (try_on(s, STORE_STATE, fill_body, name, &err) != 0)
            return 9;
        if (write(STDOUT_FILENO, ".", 1) != 1)
            return 10;
    }
}

static int count_all_records_body(struct store *s, void *arg, struct error *err) {
    struct query q = query_read(s, STORE_HISTORY, "SELECT count(*) FROM invocations");
    int64_t n = 0;
    int rc = query_int(&q, 0, &n, err);
    query_reset(&q);
    *(uint32_t *)arg = (uint32_t)n;
    return rc;
}

static void killed_server_keeps_what_it_said(void **state) {
    struct fixture *x = *state;
    int fds[2], status;
    store_close(x->store);
    x->store = NULL;
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(fds[1], STDOUT_FILENO);
        close(fds[0]);
        close(fds[1]);
        execl(self, self, "--fill", x->dir, (char *)NULL);
        _exit(99);
    }
    close(fds[1]);
    uint32_t said = 0, functions_n, records;
    char c;
    while (said < CHILD_ROWS && read(fds[0], &c, 1) == 1)
        said++;
    kill(pid, SIGKILL);
    while (read(fds[0], &c, 1) == 1)
        said++;
    close(fds[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_true(said >= CHILD_ROWS);
    reopen(x);
    on(x->store, STORE_STATE, count_body, &functions_n);
    on(x->store, STORE_HISTORY, count_all_records_body, &records);
    assert_in_range(functions_n, said, said + 1);
    assert_in_range(records, said, said + 1);
    assert_true(records <= functions_n); /* the state is committed first */
}

static void reopened_store_has_it_all(void **state) {
    struct fixture *x = *state;
    uint32_t n, records;
    on(x->store, STORE_STATE, fill_body, (void *)"a");
    store_close(x->store);
    reopen(x);
    on(x->store, STORE_STATE, count_body, &n);
    on(x->store, STORE_HISTORY, count_records_body, &records);
    assert_int_equal(n, 1);
    assert_int_equal(records, 1);
}

/* ---- retention ---- */
#define DAY_US (24 * 3600 * 1000000LL)

struct counts {
    int64_t lines, records, metrics, calls, events;
};

static int count_history_body(struct store *s, void *arg, struct error *err) {
    struct counts *c = arg;
    const struct {
        enum store_db db;
        const char *sql;
        int64_t *ret;
    } ALL[] = {
        {STORE_HISTORY, "SELECT count(*) FROM log_lines", &c->lines},
        {STORE_HISTORY, "SELECT count(*) FROM invocations", &c->records},
        {STORE_HISTORY, "SELECT count(*) FROM metrics", &c->metrics},
        {STORE_STATE, "SELECT count(*) FROM async_calls", &c->calls},
        {STORE_STATE, "SELECT count(*) FROM events", &c->events},
    };
    for (size_t i = 0; i < ARRAY_LEN(ALL); i++) {
        cleanup_query struct query q = query_read(s, ALL[i].db, ALL[i].sql);
        OK(query_int(&q, 0, ALL[i].ret, err));
    }
    return 0;
}

/* 100 rows of each kind, one an hour, the last one now; a third of a function that is gone. */
static int fill_history_body(struct store *s, void *arg, struct error *err) {
    int64_t now = *(int64_t *)arg;
    uint32_t no[3];
    OK(make_function(s, "a", &no[0], err));
    OK(make_function(s, "b", &no[1], err));
    no[2] = 77;
    for (int i = 0; i < 100; i++) {
        for (int f = 0; f < 3; f++) {
            int64_t at = now - (int64_t)i * DAY_US / 24;
            struct invocation v = a_record(no[f]);
            v.id = id_at(no[f], at);
            struct log_line l = {.function_no = no[f], .at_us = at, .message = STR("line")};
            struct metric_minute m = {.function_no = no[f], .minute = at / 60000000};
            OK(store_invocations_append(s, &v, 1, err));
            OK(store_logs_append(s, &l, 1, err));
            OK(store_metrics_merge(s, &m, 1, err));
        }
    }
    for (int i = 99; i >= 0; i--) {
        int64_t at = now - (int64_t)i * DAY_US / 24;
        struct async_call c = {.id = id_at(no[0], at), .function_no = no[0]};
        OK(store_async_insert(s, &c, err));
        c.status = i % 2 ? INV_COMPLETED : INV_PENDING;
        c.record.created_us = at;
        c.record.ended_us = at + 1;
        if (i % 2)
            OK(store_async_finish(s, &c, err));
        struct event e = {.function_no = no[0], .type = "x", .created_us = now - i * DAY_US};
        OK(store_event_insert(s, &e, err));
    }
    return 0;
}

struct trim {
    struct retention r;
    int calls;
};

static int trim_body(struct store *s, void *arg, struct error *err) {
    struct trim *t = arg;
    bool more = true;
    for (t->calls = 0; more; t->calls++) {
        CHECK(t->calls < 10000);
        OK(store_trim(s, &t->r, &more, err));
    }
    return 0;
}

static void retention_by_age(void **state) {
    struct store *s = ((struct fixture *)*state)->store;
    int64_t now = clock_real_us() / 60000000 * 60000000;
    struct counts c;
    struct trim t = {
        .r = {.history_before_us = now - DAY_US + 1000, .history_bytes_max = GIB, .slice = 10}};
    on(s, STORE_HISTORY, fill_history_body, &now);
    on(s, STORE_HISTORY, count_history_body, &c);
    assert_int_equal(c.lines + c.records + c.metrics, 900);
    on(s, STORE_HISTORY, trim_body, &t);
    assert_true(t.calls > 60); /* ten rows at a time */
    on(s, STORE_HISTORY, count_history_body, &c);
    assert_int_equal(c.lines, 2 * 24);
    assert_int_equal(c.records, 2 * 24);
    assert_in_range(c.metrics, 2 * 24, 2 * 25); /* whole minutes */
    assert_int_equal(c.calls, 100 - 38);        /* every other one ended; 76 are too old */
    assert_in_range(c.events, 90, 91);
    on(s, STORE_HISTORY, trim_body, &t);
    assert_int_equal(t.calls, 1);
}

/* Twelve calls, all but the first ended, with results of a MiB. */
static int fill_results_body(struct store *s, void *arg, struct error *err) {
    static char result[MIB];
    uint32_t no;
    (void)arg;
    OK(make_function(s, "big", &no, err));
    for (int i = 0; i < 12; i++) {
        struct async_call c = {.id = ulid_make(no), .function_no = no, .workspace = "w"};
        c.record.created_us = clock_real_us();
        OK(store_async_insert(s, &c, err));
        c.status = INV_COMPLETED;
        c.record.ended_us = clock_real_us();
        c.result_headers = STR("{}");
        c.result_body = str_n(result, sizeof(result));
        if (i > 0)
            OK(store_async_finish(s, &c, err));
    }
    return 0;
}

static int count_calls_body(struct store *s, void *arg, struct error *err) {
    cleanup_query struct query q =
        query_read(s, STORE_STATE, "SELECT count(*) * 100 + sum(status = 0) FROM async_calls");
    return query_int(&q, 0, arg, err);
}

static void results_are_kept_by_bytes(void **state) {
    struct store *s = ((struct fixture *)*state)->store;
    int64_t calls;
    struct trim t = {.r = {.history_bytes_max = 16 * MIB, .slice = 3}};
    on(s, STORE_STATE, fill_results_body, NULL);
    on(s, STORE_HISTORY, trim_body, &t);
    on(s, STORE_STATE, count_calls_body, &calls);
    assert_int_equal(calls, 1201);
    t.r.history_bytes_max = 4 * MIB;
    on(s, STORE_HISTORY, trim_body, &t);
    on(s, STORE_STATE, count_calls_body, &calls);
    assert_int_equal(calls, 401); /* three results, and the call that still waits */
}

/* Function 1: 20,000 lines of about 500 bytes over ten days, most on the last one; function 2: a
 * few in between. */
static int fill_bytes_body(struct store *s, void *arg, struct error *err) {
    int64_t now = *(int64_t *)arg;
    static char text[480];
    uint32_t no[2];
    OK(make_function(s, "a", &no[0], err));
    OK(make_function(s, "b", &no[1], err));
    memset(text, 'x', sizeof(text));
    for (int i = 0; i < 20000; i++) {
        int64_t age = i < 2000 ? 10 * DAY_US - (int64_t)i * 9 * DAY_US / 2000
                               : DAY_US - (int64_t)(i - 2000) * DAY_US / 18000;
        struct log_line l = {.function_no = no[i % 10 == 0],
                             .at_us = now - age,
                             .message = str_n(text, sizeof(text))};
        OK(store_logs_append(s, &l, 1, err));
    }
    return 0;
}

static int oldest_body(struct store *s, void *arg, struct error *err) {
    int64_t *oldest = arg;
    static const char SQL[] = "SELECT min(at_us) FROM log_lines WHERE function_no = ?";
    for (int i = 0; i < 2; i++) {
        cleanup_query struct query q = query_read(s, STORE_HISTORY, SQL);
        bind_int(&q, i + 1);
        OK(query_int(&q, INT64_MAX, &oldest[i], err));
    }
    return 0;
}

static void retention_by_bytes(void **state) {
    struct fixture *x = *state;
    int64_t now = clock_real_us(), oldest[2];
    struct store_stats before, after;
    struct trim t = {.r = {.history_bytes_max = 4 * MIB, .slice = 500}};
    on(x->store, STORE_HISTORY, fill_bytes_body, &now);
    store_stats(x->store, &before);
    assert_true(before.history_bytes > 8 * MIB);
    on(x->store, STORE_HISTORY, trim_body, &t);
    store_stats(x->store, &after);
    /* a sixteenth below the limit, and no more than needed */
    assert_in_range(after.history_bytes, 3 * MIB, 4 * MIB - 4 * MIB / 16);
    on(x->store, STORE_HISTORY, oldest_body, oldest);
    assert_true(oldest[0] > now - DAY_US && oldest[1] > now - DAY_US); /* the oldest went */
    store_close(x->store); /* the file itself is smaller too */
    char path[128];
    struct stat st;
    (void)snprintf(path, sizeof(path), "%s/history.db", x->dir);
    assert_int_equal(stat(path, &st), 0);
    assert_true((uint64_t)st.st_size < 5 * MIB);
    reopen(x);
    t.r.history_bytes_max = 1; /* can never be reached: ends all the same */
    on(x->store, STORE_HISTORY, trim_body, &t);
    on(x->store, STORE_HISTORY, oldest_body, oldest);
    assert_true(oldest[0] > now - 2000000 || oldest[0] == INT64_MAX);
}

/* ---- many, and at random ---- */
static void ten_thousand_functions(void **state) {
    struct fixture *x = *state;
    int many = 10000;
    uint32_t n;
    on(x->store, STORE_STATE, many_body, &many);
    store_close(x->store);
    reopen(x);
    on(x->store, STORE_STATE, count_body, &n);
    assert_int_equal(n, many);
}

#define NAMES 8
struct model_function {
    bool there;
    uint32_t no, name, active;
    uint32_t versions[64], n_versions; /* row numbers by number; 0 none */
};
struct naive {
    struct model_function v[NAMES];
    uint64_t random;
};

static uint32_t draw(struct naive *m, uint32_t below) {
    m->random ^= m->random << 13;
    m->random ^= m->random >> 7;
    m->random ^= m->random << 17;
    return (uint32_t)(m->random >> 33) % below;
}

static int random_create(struct store *s, struct naive *m, uint32_t i, struct error *err) {
    char name[16];
    uint32_t no = 0;
    struct error e;
    (void)snprintf(name, sizeof(name), "n%u", i);
    int rc = make_function(s, name, &no, &e);
    CHECK((rc == 0) == !m->v[i].there);
    CHECK(rc == 0 || e.code == ERR_CONFLICT);
    if (rc == 0)
        m->v[i] = (struct model_function){.there = true, .no = no};
    return 0;
}

static int random_version(struct store *s, struct naive *m, uint32_t i, struct error *err) {
    struct model_function *f = &m->v[i];
    struct error e;
    struct version v = {.function_no = f->no ? f->no : 999999, .number = 1 + draw(m, 63)};
    int rc = store_version_insert(s, &v, str_n(&v.number, sizeof(v.number)), &e);
    bool can = f->there && !f->versions[v.number];
    CHECK((rc == 0) == can);
    CHECK(rc == 0 || e.code == (f->there ? ERR_CONFLICT : ERR_NOT_FOUND));
    if (rc == 0)
        f->versions[v.number] = v.no;
    return 0;
}

static int random_activate(struct store *s, struct naive *m, uint32_t i, struct error *err) {
    struct model_function *f = &m->v[i];
    char name[16];
    (void)snprintf(name, sizeof(name), "n%u", i);
    struct function *g = a_function("p", name);
    g->no = f->no;
    g->active_number = draw(m, 64);
    g->active_no = f->versions[g->active_number];
    struct error e;
    int rc = store_function_update(s, g, &e);
    if (rc == 0)
        f->active = g->active_no;
    function_unref(g);
    CHECK((rc == 0) == f->there);
    CHECK(rc == 0 || e.code == ERR_NOT_FOUND);
    return 0;
}

static int random_delete(struct store *s, struct naive *m, uint32_t i, struct error *err) {
    struct error e;
    int rc = store_function_delete(s, m->v[i].no, &e);
    CHECK((rc == 0) == m->v[i].there);
    m->v[i] = (struct model_function){0};
    return 0;
}

static int compare(struct store *s, const struct naive *m, uint32_t i, struct error *err) {
    const struct model_function *f = &m->v[i];
    struct version_log l;
    uint32_t want = 0, total = 0;
    for (uint32_t number = 1; number < 64; number++) {
        if (!f->versions[number])
            continue;
        total++;
        struct version v = {0};
        OK(store_version_get(s, f->versions[number], &v, err));
        CHECK(v.number == number && v.function_no == f->no);
        CHECK(v.active == (f->active == v.no));
        struct blob *code;
        OK(store_version_code(s, v.no, &code, &code_at, &code_len, err));
        CHECK(code->len == sizeof(number) && memcmp(code->bytes, &number, sizeof(number)) == 0);
        blob_unref(code);
        version_done(&v);
        want = number;
    }
    l = (struct version_log){.stop_after = total < 16 ? 0 : 1};
    OK(store_version_each(s, f->no, note_version, &l, err));
    CHECK(total ? l.numbers[0] == want : l.n == 0);
    CHECK(total >= 16 || l.n == total);
    return 0;
}

static int random_body(struct store *s, void *arg, struct error *err) {
    struct naive *m = arg;
    for (int step = 0; step < 40; step++) {
        uint32_t i = draw(m, NAMES), what = draw(m, 100);
        if (what < 25)
            OK(random_create(s, m, i, err));
        else if (what < 75)
            OK(random_version(s, m, i, err));
        else if (what < 95)
            OK(random_activate(s, m, i, err));
        else
            OK(random_delete(s, m, i, err));
    }
    for (uint32_t i = 0; i < NAMES; i++)
        OK(compare(s, m, i, err));
    return 0;
}

/* Undone as a whole: the naive model goes back too. */
static int random_undone_body(struct store *s, void *arg, struct error *err) {
    OK(random_body(s, arg, err));
    return error_set(err, ERR_CANCELED, "undo");
}

static void random_changes_match_an_array(void **state) {
    struct fixture *x = *state;
    static struct naive m, copy;
    memset(&m, 0, sizeof(m));
    m.random = rand_u64() | 1;
    uint64_t seed = m.random;
    struct error err = {0};
    for (int round = 0; round < 50; round++) {
        bool undo = draw(&m, 4) == 0;
        copy = m;
        int rc =
            try_on(x->store, STORE_STATE, undo ? random_undone_body : random_body, &copy, &err);
        if ((rc != 0) != undo || (undo && err.code != ERR_CANCELED))
            fail_msg("seed %llx round %d: %s", (unsigned long long)seed, round, err.text);
        uint64_t next = copy.random;
        if (!undo)
            m = copy;
        m.random = next;
        if (draw(&m, 10) == 0) {
            store_close(x->store);
            reopen(x);
        }
    }
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(int argc, char **argv) {
    self = argv[0];
    if (argc == 3 && (strcmp(argv[1], "--fill") == 0 || strcmp(argv[1], "--open") == 0))
        return child_main(argv[2]);
    const struct CMUnitTest tests[] = {
        T(functions),
        T(conflict_says_what),
        T(key_values),
        T(scheduled_runs),
        T(key_values_are_bounded),
        T(versions),
        T(objects),
        T(triggers),
        T(events),
        T(tokens),
        T(async_calls),
        T(pulled_tasks),
        T(invocations),
        T(logs),
        T(metrics),
        T(one_failure_leaves_the_others),
        T(full_disk_is_survived),
        T(failed_commit_fails_its_group),
        T(second_opener_is_refused),
        T(second_process_is_refused),
        T(files_are_private),
        T(newer_schema_is_refused),
        T(not_a_database_is_said),
        cmocka_unit_test(migrations_run_once_each),
        T(close_runs_what_is_queued),
        T(killed_server_keeps_what_it_said),
        T(reopened_store_has_it_all),
        T(quiet_store_moves_its_log_in),
        T(retention_by_age),
        T(results_are_kept_by_bytes),
        T(retention_by_bytes),
        T(ten_thousand_functions),
        T(random_changes_match_an_array),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
