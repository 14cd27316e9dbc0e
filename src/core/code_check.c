/* SPDX-License-Identifier: Apache-2.0 */
/* Whether code would build, asked before anything is stored: for the APIs that refuse code that
 * does not. A few at once on the loop of the asker; the others wait. */

#include "core/functions.h"

struct code_check {
    struct engine_build build;
    struct core_loop *cl;
    struct list link;
    struct loop_task task;
    struct error error;
    bool ok;
    char *log;
    void (*done)(void *arg, const struct error *err, bool ok, const char *log);
    void *arg;
};

static void check_free(struct code_check *k) {
    function_unref(k->build.function);
    blob_unref(k->build.code);
    free(k->log);
    free(k);
}

static void refuse_task(struct loop_task *task) {
    struct code_check *k = container_of(task, struct code_check, task);
    k->done(k->arg, &k->error, false, NULL);
    check_free(k);
}

static void next(struct core_loop *cl);

static void over_task(struct loop_task *task) {
    struct code_check *k = container_of(task, struct code_check, task);
    struct core_loop *cl = k->cl;
    cl->checks_running--;
    k->done(k->arg, k->error.code ? &k->error : NULL, k->ok, k->log);
    check_free(k);
    next(cl);
}

static void built(struct engine_build *b, bool ok, struct str log) {
    struct code_check *k = container_of(b, struct code_check, build);
    k->ok = ok;
    k->log = str_dup(log);
    if (b->cause) {
        error_set(&k->error, b->cause, "the code could not be tried: the runtime is not there");
        k->error.retry_after_s = 1;
    }
    k->task.run = over_task; /* later: it may have failed inside of engine_build_start() */
    loop_post(k->cl->loop, &k->task);
}

static void next(struct core_loop *cl) {
    while (cl->checks_running < CODE_CHECKS_RUNNING_MAX && !list_empty(&cl->checks)) {
        struct code_check *k = list_entry(list_shift(&cl->checks), struct code_check, link);
        cl->checks_running++;
        cl->checks_waiting--;
        engine_build_start(cl->el, &k->build);
    }
}

static int check(struct core_loop *cl, struct function *f, struct str code, struct error *err) {
    if (core_refuses(cl->core, err) < 0 || function_check(f, err) < 0 ||
        code_check(code, NULL, f->kind, err) < 0)
        return -1;
    if (cl->checks_waiting < CODE_CHECKS_WAITING_MAX)
        return 0;
    error_set(err, ERR_BUSY, "%u functions wait to be built already", CODE_CHECKS_WAITING_MAX);
    err->retry_after_s = 1;
    return -1;
}

void core_code_check(struct core *c, struct loop *loop, struct function *f, struct str code,
                     void (*done)(void *arg, const struct error *err, bool ok, const char *log),
                     void *arg) {
    struct core_loop *cl = core_on(c, loop);
    struct code_check *k = x_alloc(sizeof *k);
    k->cl = cl;
    k->done = done;
    k->arg = arg;
    list_init(&k->link);
    if (check(cl, f, code, &k->error) < 0) {
        k->task.run = refuse_task;
        loop_post(loop, &k->task);
        return;
    }
    k->build = (struct engine_build){.function = function_clone(f),
                                     .version_number = f->last_number + 1,
                                     .code = blob_new(code),
                                     .done = built};
    list_push(&cl->checks, &k->link);
    cl->checks_waiting++;
    next(cl);
}
