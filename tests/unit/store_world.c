/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "store_world.h"
#include <cmocka.h>
#include <stdio.h>
#include <unistd.h>

const struct ulid LAST_ID = {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                              0xff, 0xff, 0xff, 0xff, 0xff}};

/* ---- a data folder a test, a store in it ---- */
void reopen(struct fixture *x) {
    struct error err;
    struct store_config config = {.url = "sqlite", .data_dir = x->dir};
    if (store_open(&config, &x->store, &err) != 0)
        fail_msg("open: %s", err.text);
}

int store_setup(void **state) {
    struct fixture *x = x_alloc(sizeof(*x));
    (void)snprintf(x->dir, sizeof(x->dir), "/tmp/kiln-store-XXXXXX");
    assert_non_null(mkdtemp(x->dir));
    reopen(x);
    *state = x;
    return 0;
}

const char *const store_files[STORE_FILES] = {"state.db", "state.db-wal", "history.db",
                                              "history.db-wal"};

void remove_dir(const char *dir) {
    char path[128];
    for (size_t i = 0; i < STORE_FILES; i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", dir, store_files[i]);
        (void)unlink(path);
    }
    assert_int_equal(rmdir(dir), 0); /* nothing else was left there */
}

int store_teardown(void **state) {
    struct fixture *x = *state;
    store_close(x->store);
    remove_dir(x->dir);
    free(x);
    return 0;
}

/* ---- a job that the test waits for ---- */
int try_on(struct store *s, enum store_db db, body *run, void *arg, struct error *err) {
    struct error why = {0};
    int rc = store_wait(s, db, run, arg, &why);
    if (err)
        *err = why;
    return rc;
}

void on(struct store *s, enum store_db db, body *run, void *arg) {
    struct error err = {0};
    if (try_on(s, db, run, arg, &err) != 0)
        fail_msg("%s: %s", error_code_name(err.code), err.text);
}

/* ---- makers ---- */
struct function *a_function(const char *project, const char *name) {
    struct function *f = function_new();
    f->workspace = x_strdup(DEFAULT_WORKSPACE);
    f->project = x_strdup(project);
    f->name = x_strdup(name);
    f->runtime = x_strdup("python3.9");
    f->handler = x_strdup("main.handler");
    f->created_us = f->updated_us = 1000000;
    return f;
}

int make_function(struct store *s, const char *name, uint32_t *ret_no, struct error *err) {
    struct function *f = a_function("p", name);
    int rc = store_function_insert(s, f, err);
    *ret_no = f->no;
    function_unref(f);
    return rc;
}

struct invocation a_record(uint32_t function_no) {
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
struct ulid id_at(uint32_t function_no, int64_t us) {
    struct ulid u = ulid_make(function_no);
    uint64_t ms = (uint64_t)us / 1000;
    for (int i = 0; i < 6; i++)
        u.b[i] = (uint8_t)(ms >> (40 - 8 * i));
    return u;
}

static void count_function(void *arg, struct function *f) {
    ++*(uint32_t *)arg;
    function_unref(f);
}

int count_body(struct store *s, void *arg, struct error *err) {
    *(uint32_t *)arg = 0;
    return store_function_each(s, count_function, arg, err);
}

int conflict_body(struct store *s, void *arg, struct error *err) {
    uint32_t no;
    (void)arg;
    OK(make_function(s, "x", &no, err));
    return make_function(s, "x", &no, err);
}

int many_body(struct store *s, void *arg, struct error *err) {
    uint32_t no = 0;
    char name[32];
    for (int i = 0; i < *(int *)arg; i++) {
        (void)snprintf(name, sizeof(name), "fn-%d", i);
        OK(make_function(s, name, &no, err));
    }
    return 0;
}

bool note_version(void *arg, const struct version *v) {
    struct version_log *l = arg;
    l->numbers[l->n++] = v->number;
    if (v->active)
        l->active = v->number;
    return l->n != l->stop_after;
}
