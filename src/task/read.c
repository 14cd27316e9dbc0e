/* SPDX-License-Identifier: Apache-2.0 */
/* Looking tasks up. */

#include "task/internal.h"

#include <stdio.h>

struct look {
    struct store_job job;
    char id[TASK_ID_LEN + 1];
    struct task task;
    void (*done)(void *arg, const struct error *err, const struct task *task);
    void *arg;
};

static int look_run(struct store_job *job, struct store *s, struct error *err) {
    struct look *l = container_of(job, struct look, job);
    return store_builder_get(s, l->id, &l->task, err);
}

static void look_done(struct store_job *job, const struct error *err) {
    struct look *l = container_of(job, struct look, job);
    l->done(l->arg, err, err ? NULL : &l->task);
    task_done(&l->task);
    free(l);
}

void builder_get(struct builder *t, struct loop *loop, struct str id,
                 void (*done)(void *arg, const struct error *err, const struct task *task),
                 void *arg) {
    struct look *l = x_alloc(sizeof *l);
    l->job =
        (struct store_job){.db = STORE_STATE, .run = look_run, .done = look_done, .loop = loop};
    /* what is no id is nobody's: "" */
    if (task_id_is(id))
        (void)snprintf(l->id, sizeof l->id, "%.*s", STR_ARG(id));
    l->done = done;
    l->arg = arg;
    store_submit(t->config.store, &l->job);
}

struct listing {
    struct store_job job;
    char *workspace;
    uint32_t before_no, limit;
    struct task *v;
    size_t n;
    bool more;
    void (*done)(void *arg, const struct error *err, const struct task *v, size_t n, bool more);
    void *arg;
};

static char *copy(const char *s) {
    return s ? x_strdup(s) : NULL;
}

static bool list_visit(void *arg, const struct task *t) {
    struct listing *l = arg;
    if (l->n == l->limit) {
        l->more = true;
        return false;
    }
    struct task *to = &l->v[l->n++];
    *to = *t;
    to->workspace = copy(t->workspace);
    to->app_name = copy(t->app_name);
    to->progress = copy(t->progress);
    to->error = copy(t->error);
    to->file_path = copy(t->file_path);
    to->wasm_path = copy(t->wasm_path);
    to->image = copy(t->image);
    to->params = NULL;
    to->log = NULL;
    return true;
}

static int list_run(struct store_job *job, struct store *s, struct error *err) {
    struct listing *l = container_of(job, struct listing, job);
    return store_builder_each(s, l->workspace, l->before_no, l->limit + 1, list_visit, l, err);
}

static void list_done(struct store_job *job, const struct error *err) {
    struct listing *l = container_of(job, struct listing, job);
    l->done(l->arg, err, l->v, err ? 0 : l->n, l->more);
    for (size_t i = 0; i < l->n; i++)
        task_done(&l->v[i]);
    free(l->v);
    free(l->workspace);
    free(l);
}

void builder_list(struct builder *t, struct loop *loop, struct str workspace, uint32_t before_no,
                  uint32_t limit,
                  void (*done)(void *arg, const struct error *err, const struct task *v, size_t n,
                               bool more),
                  void *arg) {
    struct listing *l = x_alloc(sizeof *l);
    l->job =
        (struct store_job){.db = STORE_STATE, .run = list_run, .done = list_done, .loop = loop};
    l->workspace = str_dup(workspace);
    l->before_no = before_no;
    l->limit = limit > TASK_LIST_MAX ? TASK_LIST_MAX : limit;
    l->v = x_calloc(l->limit + 1, sizeof *l->v);
    l->done = done;
    l->arg = arg;
    store_submit(t->config.store, &l->job);
}
