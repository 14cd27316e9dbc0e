/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_TESTS_STORE_WORLD_H
#define KILN_TESTS_STORE_WORLD_H

/* A store in a data folder of its own for each test. Bodies run as jobs on the store's thread,
 * where cmocka cannot jump out of: they use CHECK, OK and FAILS, and the test's thread asserts.
 * Include setjmp.h, stdarg.h, stddef.h and stdint.h first and cmocka.h behind. */

#include "base/clock.h"
#include "store/sqlite.h"

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

struct fixture { /* *state of a test */
    char dir[64];
    struct store *store;
};
int store_setup(void **state);
int store_teardown(void **state); /* nothing else may be left in the folder */
#define STORE_TEST(f) cmocka_unit_test_setup_teardown(f, store_setup, store_teardown)
/* Opens the store in x->dir; the test fails where that does. */
void reopen(struct fixture *x);
void remove_dir(const char *dir);
#define STORE_FILES 4
extern const char *const store_files[STORE_FILES]; /* of an open store's folder */

/* Runs the body as one job on DB and waits for it. on(): it must succeed. */
typedef int body(struct store *s, void *arg, struct error *err);
int try_on(struct store *s, enum store_db db, body *run, void *arg, struct error *err);
void on(struct store *s, enum store_db db, body *run, void *arg);

extern const struct ulid LAST_ID; /* above every id */
struct function *a_function(const char *project, const char *name);
int make_function(struct store *s, const char *name, uint32_t *ret_no, struct error *err);
struct invocation a_record(uint32_t function_no);
struct ulid id_at(uint32_t function_no, int64_t us); /* born at US */
/* ARG: uint32_t *, how many functions there are. */
int count_body(struct store *s, void *arg, struct error *err);
/* The same function twice: fails with ERR_CONFLICT. */
int conflict_body(struct store *s, void *arg, struct error *err);
/* ARG: int *, how many functions to make. */
int many_body(struct store *s, void *arg, struct error *err);

struct version_log {
    uint32_t numbers[16], n, active, stop_after;
};
bool note_version(void *arg, const struct version *v); /* ARG: struct version_log * */

#endif
