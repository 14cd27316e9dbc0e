/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_TESTS_CORE_WORLD_H
#define KILN_TESTS_CORE_WORLD_H

/* A core over a real store in a temporary folder and the engine's double, with two loops that the
 * test's own thread ticks. The *_wait() functions ask and tick until the answer is there. */

#include "core/core.h"
#include "engine_double.h"

struct world {
    char dir[64];
    struct store *store;
    struct loop *loops[2];
    struct core *core;
    struct principal admin;
};

struct answer { /* of anything that was asked */
    bool over;
    struct error err; /* code ERR_NONE: it went well */
    struct function *f;
    uint32_t number, version_no, trigger_no;
    struct ulid id;
    /* copies of lists */
    size_t n;
    struct invocation v[64]; /* the first of them */
    struct version versions[16];
    char text[64][128]; /* log lines, event types, build logs */
    enum log_line_level level[64];
    struct async_call call;
    char body[256], headers[256];
    struct core_metrics m;
    struct blob *code;
};

void world_open(struct world *w);   /* a fresh folder; core started */
void world_reopen(struct world *w); /* drains, closes, opens again */
void world_close(struct world *w);
/* setup() and teardown() of a test file's one world. */
#define WORLD_FIXTURE(world)                                                                       \
    static int setup(void **state) {                                                               \
        (void)state;                                                                               \
        world_open(&(world));                                                                      \
        return 0;                                                                                  \
    }                                                                                              \
    static int teardown(void **state) {                                                            \
        (void)state;                                                                               \
        world_close(&(world));                                                                     \
        return 0;                                                                                  \
    }
void world_tick(struct world *w);
void world_until(struct world *w, const bool *flag);
void answer_done(struct answer *a);

struct function *draft(const char *name, const char *handler);
void create_start(struct world *w, const char *name, const char *code, bool wait, struct answer *a);
/* Made, and built: the number of the function. */
uint32_t create_wait(struct world *w, const char *name, const char *code);
void got_function(void *arg, const struct error *err, struct function *f);
void got_version(void *arg, const struct error *err, const struct version *v);
void got_versions(void *arg, const struct error *err, const struct version *v, size_t n);
void got_nothing(void *arg, const struct error *err);
void got_number(void *arg, const struct error *err, uint32_t number);
void got_trigger(void *arg, const struct error *err, struct trigger *t);
void got_id(void *arg, const struct error *err, const struct ulid *id);
void got_invocation(void *arg, const struct error *err, const struct async_call *inv);
void got_invocations(void *arg, const struct error *err, const struct invocation *v, size_t n);
void got_logs(void *arg, const struct error *err, const struct log_line *v, size_t n);
void got_metrics(void *arg, const struct error *err, const struct core_metrics *m);
void got_events(void *arg, const struct error *err, const struct event *v, size_t n);
void got_code(void *arg, const struct error *err, struct blob *code);

struct test_call {
    struct core_call call; /* first */
    bool over;
    enum error_code cause;
    struct invocation record;
    char body[64];
};
/* On loop AT. Fails the test when init is refused, unless ERR is given. */
int call_start(struct world *w, struct test_call *t, size_t at, uint32_t no, const char *body,
               struct error *err);
enum error_code call_wait(struct world *w, uint32_t no, const char *body);
struct ulid async_wait(struct world *w, uint32_t no, const char *body);

#endif
