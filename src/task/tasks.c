/* SPDX-License-Identifier: Apache-2.0 */
/* Accepting tasks, their turn, and taking up what an earlier server left. */

#include "task/internal.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/log.h"
#include "task/source.h"
#include "json/tree.h"
#include "json/write.h"

#define PARAMS_MAX (16 * KIB)

/* ---- one job ---- */
struct job *job_new(struct builder *t) {
    struct job *j = x_alloc(sizeof *j);
    j->tasks = t;
    j->log = BUF_INIT(2 * TASK_LOG_MAX);
    list_init(&j->link);
    return j;
}

static void free_secret(char *s) {
    if (s)
        explicit_bzero(s, strlen(s));
    free(s);
}

void job_free(struct job *j) {
    task_done(&j->task);
    buf_done(&j->log);
    free(j->file_name);
    free(j->registry);
    free(j->tag);
    free(j->user);
    free_secret(j->password);
    free(j);
}

static void job_params(struct job *j) {
    cleanup_buf struct buf text = BUF_INIT(PARAMS_MAX);
    struct json_w w;
    json_w_init(&w, &text);
    jw_begin_object(&w);
    jw_cstr_member(&w, "file_name", j->file_name);
    jw_cstr_member(&w, "registry_url", j->registry);
    jw_cstr_member(&w, "tag", j->tag);
    jw_cstr_member(&w, "source", j->source_id);
    jw_bool_member(&w, "credentials", j->password != NULL);
    jw_end_object(&w);
    free(j->task.params);
    j->task.params = x_strdup(buf_cstr(&text));
}

static char *member(const struct json *o, const char *name) {
    struct str s = STR_NULL;
    struct error ignored;
    return json_get_str(o, name, JSON_NULLABLE, &s, &ignored) == 0 && s.p ? str_dup(s) : NULL;
}

static int job_from_params(struct job *j, struct error *err) {
    cleanup_json struct json *o = NULL;
    bool credentials = false;
    if (json_parse_object(str_of(j->task.params ? j->task.params : "{}"), &o, err) < 0 ||
        json_get_bool(o, "credentials", 0, &credentials, err) < 0)
        return -1;
    j->file_name = member(o, "file_name");
    j->registry = member(o, "registry_url");
    j->tag = member(o, "tag");
    cleanup_free char *source = member(o, "source");
    (void)snprintf(j->source_id, sizeof j->source_id, "%s", source ? source : "");
    if (credentials)
        return error_set(err, ERR_UNAVAILABLE,
                         "the server ended while this task ran, and its password is stored "
                         "nowhere: ask for it again");
    bool whole = j->task.kind == TASK_DEPLOY ? false
                 : j->task.kind == TASK_PUSH
                     ? j->registry && j->tag && j->source_id[0]
                     : j->file_name && (j->task.kind == TASK_BUILD || (j->registry && j->tag));
    return whole ? 0 : error_set(err, ERR_UNAVAILABLE, "the server ended while this task ran");
}

/* ---- its turn ---- */
static void pump(struct builder *t);

static void work_run(struct work *work) {
    job_run(container_of(work, struct job, work));
}

static void work_over(struct work *work) {
    struct job *j = container_of(work, struct job, work);
    struct builder *t = j->tasks;
    t->running--;
    job_free(j);
    pump(t);
}

static void pump(struct builder *t) {
    while (t->running < t->config.running_max && !list_empty(&t->queue)) {
        struct job *j = list_entry(t->queue.next, struct job, link);
        j->work = (struct work){.run = work_run, .done = work_over, .loop = t->home};
        list_del(&j->link);
        int r = workers_submit(t->config.workers, &j->work);
        if (r == 0) {
            t->running++;
            atomic_fetch_sub(&t->waiting, 1);
            continue;
        }
        list_unshift(&t->queue, &j->link);
        if (r != -ESHUTDOWN)
            loop_timer_set(t->home, &t->retry, loop_now_ns(t->home) + TASKS_RETRY_MS * NS_PER_MS);
        return;
    }
}

static void retry(struct loop_timer *timer) {
    pump(container_of(timer, struct builder, retry));
}

static void arrive(struct loop_task *task) {
    struct job *j = container_of(task, struct job, task_posted);
    list_push(&j->tasks->queue, &j->link);
    pump(j->tasks);
}

/* J is taken; from any thread. */
static void builder_add(struct job *j) {
    atomic_fetch_add(&j->tasks->waiting, 1);
    j->task_posted = (struct loop_task){.run = arrive};
    loop_post(j->tasks->home, &j->task_posted);
}

/* ---- accepting ---- */
struct accept {
    struct job *job;
    struct work work;
    struct store_job store;
    struct loop *loop;
    struct loop_task refused;
    char *file;
    size_t file_len;
    struct error error;
    bool failed;
    void (*done)(void *arg, const struct error *err, const struct task *task);
    void *arg;
};

/* What was accepted runs, and is told of before that. */
static void accept_end(struct accept *a, const struct error *err) {
    struct job *j = a->job;
    a->done(a->arg, err, err ? NULL : &j->task);
    if (err)
        job_free(j);
    else
        builder_add(j);
    free(a->file);
    free(a);
}

static void accept_refused(struct loop_task *task) {
    struct accept *a = container_of(task, struct accept, refused);
    accept_end(a, &a->error);
}

static void refuse(struct accept *a) {
    a->refused = (struct loop_task){.run = accept_refused};
    loop_post(a->loop, &a->refused);
}

/* The build whose artefact is pushed: of the same workspace, and good. */
static int find_build(struct job *j, struct store *s, struct error *err) {
    struct task t;
    if (store_builder_get(s, j->source_id, &t, err) < 0)
        return error_field(err, ERR_NOT_FOUND, "artifact",
                           "there is no such artefact in this workspace: build it first");
    bool ours = strcmp(t.workspace, j->task.workspace) == 0 &&
                (t.kind == TASK_BUILD || t.kind == TASK_BUILD_AND_PUSH);
    int r = 0;
    if (!ours)
        r = error_field(err, ERR_NOT_FOUND, "artifact",
                        "there is no such artefact in this workspace: build it first");
    else if (!t.wasm_path)
        r = error_field(err, ERR_CONFLICT, "artifact",
                        t.status == TASK_FAILED ? "that build has failed: it has no artefact"
                                                : "that build has not ended yet");
    if (r == 0) {
        j->task.wasm_path = TAKE_PTR(t.wasm_path);
        j->task.file_path = TAKE_PTR(t.file_path);
        j->task.app_name = TAKE_PTR(t.app_name);
    }
    task_done(&t);
    return r;
}

static int accept_store(struct store_job *job, struct store *s, struct error *err) {
    struct accept *a = container_of(job, struct accept, store);
    if (a->job->task.kind == TASK_PUSH && find_build(a->job, s, err) < 0)
        return -1;
    return store_builder_insert(s, &a->job->task, err);
}

static void accept_stored(struct store_job *job, const struct error *err) {
    struct accept *a = container_of(job, struct accept, store);
    if (!err)
        log_info("task accepted", LOG_STR("task", a->job->task.id),
                 LOG_STR("kind", task_kind_name(a->job->task.kind)),
                 LOG_STR("workspace", a->job->task.workspace));
    accept_end(a, err);
}

static void accept_submit(struct accept *a) {
    struct task *t = &a->job->task;
    t->created_us = t->updated_us = clock_real_us();
    t->progress = x_strdup("Waiting");
    job_params(a->job);
    a->store = (struct store_job){
        .db = STORE_STATE, .run = accept_store, .done = accept_stored, .loop = a->loop};
    store_submit(a->job->tasks->config.store, &a->store);
}

/* On a worker: the upload is looked at once before it is accepted, so that what cannot be built is
 * refused at once, and is then on the disk. */
static int keep_upload(struct accept *a, struct error *err) {
    struct job *j = a->job;
    struct str name = str_of(j->file_name), file = str_n(a->file, a->file_len);
    bool archive = source_is_archive(name);
    struct source s;
    if (source_read(name, file, j->task.app_name, &s, err) < 0)
        return -1;
    source_done(&s);
    const char *kept = archive ? "source.zip" : "source.py";
    cleanup_free char *path = task_path(j->tasks, j->task.id, kept);
    if (task_make_folder(j->tasks, j->task.id, err) < 0)
        return -1;
    if (task_write_file(path, file, err) < 0) {
        task_remove_folder(j->tasks, j->task.id);
        return -1;
    }
    j->task.file_path = x_asprintf("artifacts/%s/%s", j->task.id, kept);
    return 0;
}

static void accept_run(struct work *work) {
    struct accept *a = container_of(work, struct accept, work);
    a->failed = keep_upload(a, &a->error) < 0;
    if (!a->failed && a->job->tasks->config.s3 &&
        job_source_to_s3(a->job, str_n(a->file, a->file_len), &a->error) < 0) {
        a->failed = true;
        task_remove_folder(a->job->tasks, a->job->task.id);
    }
}

static void accept_ran(struct work *work) {
    struct accept *a = container_of(work, struct accept, work);
    if (work->dropped) {
        a->failed = true;
        error_set(&a->error, ERR_UNAVAILABLE, "the server is shutting down");
    }
    if (a->failed)
        accept_end(a, &a->error);
    else
        accept_submit(a);
}

/* "main.py" of nobody in particular: "main-1f2e3d". */
static char *make_name(struct str file, const char *id) {
    struct str stem = file;
    const char *slash = memrchr(stem.p, '/', stem.len);
    if (slash)
        stem = str_n(slash + 1, (size_t)(file.p + file.len - slash - 1));
    const char *dot = memrchr(stem.p, '.', stem.len);
    size_t n = dot ? (size_t)(dot - stem.p) : stem.len;
    return x_asprintf("%.*s-%.6s", (int)(n > 40 ? 40 : n), stem.p, id + 5);
}

static char *dup_or_null(struct str s) {
    return s.p ? str_dup(s) : NULL;
}

static struct accept *accept_new(struct builder *t, struct loop *loop, const struct task_draft *d) {
    struct accept *a = x_alloc(sizeof *a);
    struct job *j = job_new(t);
    a->job = j;
    a->loop = loop;
    task_id_make(j->task.id);
    j->task.kind = d->kind;
    j->task.workspace = str_dup(d->workspace);
    if (d->kind != TASK_BUILD) {
        j->registry = str_dup(d->push.registry);
        j->tag = str_dup(d->push.tag);
        j->user = dup_or_null(d->push.user);
        j->password = dup_or_null(d->push.password);
    }
    if (d->kind != TASK_PUSH) {
        j->file_name = str_dup(d->file_name);
        j->task.app_name =
            d->app_name.p ? str_dup(d->app_name) : make_name(d->file_name, j->task.id);
        a->file = x_memdup(d->file.p, d->file.len ? d->file.len : 1);
        a->file_len = d->file.len;
    }
    return a;
}

static int check_draft(struct builder *t, const struct task_draft *d, struct job *j,
                       struct error *err) {
    if (d->kind != TASK_PUSH && source_check_name(d->file_name, err) < 0)
        return -1;
    if (d->kind != TASK_BUILD && task_check_push(&d->push, err) < 0)
        return -1;
    if (d->kind == TASK_PUSH && !task_source_id(d->source, j->source_id))
        return error_field(err, ERR_NOT_FOUND, "artifact",
                           "there is no such artefact in this workspace: build it first");
    if (atomic_load(&t->waiting) < TASKS_WAITING_MAX)
        return 0;
    error_set(err, ERR_BUSY, "%u tasks wait already", TASKS_WAITING_MAX);
    err->retry_after_s = 10;
    return -1;
}

void builder_submit(struct builder *t, struct loop *loop, const struct task_draft *draft,
                    void (*done)(void *arg, const struct error *err, const struct task *task),
                    void *arg) {
    struct accept *a = accept_new(t, loop, draft);
    a->done = done;
    a->arg = arg;
    if (check_draft(t, draft, a->job, &a->error) < 0) {
        refuse(a);
        return;
    }
    if (draft->kind == TASK_PUSH) {
        accept_submit(a);
        return;
    }
    a->work = (struct work){.run = accept_run, .done = accept_ran, .loop = loop};
    if (workers_submit(t->config.workers, &a->work) == 0)
        return;
    error_set(&a->error, ERR_BUSY, "the server is busy: come again");
    a->error.retry_after_s = 5;
    refuse(a);
}

/* ---- the whole ---- */
static void open_found(void *arg, struct task *task) {
    struct builder *t = arg;
    struct job *j = job_new(t);
    j->task = *task;
    if (j->task.log)
        (void)buf_puts(&j->log, j->task.log);
    list_push(&t->open, &j->link);
}

static int read_open(struct store *s, void *arg, struct error *err) {
    return store_builder_open(s, open_found, arg, err);
}

int builder_new(const struct builder_config *config, struct builder **ret, struct error *err) {
    struct builder *t = x_alloc(sizeof *t);
    t->config = *config;
    t->artifacts = x_asprintf("%s/artifacts", config->data_dir);
    t->kubeconfig = config->kubeconfig ? x_strdup(config->kubeconfig) : NULL;
    t->registry_auth = config->registry_auth ? x_strdup(config->registry_auth) : NULL;
    t->registries = config->registries ? x_strdup(config->registries) : NULL;
    t->s3_bucket = config->s3_bucket ? x_strdup(config->s3_bucket) : NULL;
    t->home = config->loops[0];
    list_init(&t->queue);
    list_init(&t->open);
    loop_timer_init(&t->retry, retry);
    int r = 0;
    if (mkdir(t->artifacts, 0700) < 0 && errno != EEXIST)
        r = error_errno(err, -errno, "the folder artifacts could not be made");
    if (r == 0)
        r = store_wait(t->config.store, STORE_STATE, read_open, t, err);
    if (r < 0)
        builder_free(t);
    else
        *ret = t;
    return r;
}

/* A task that cannot be taken up fails, with a reason: on a worker, as storing waits. */
static void fail_run(struct work *work) {
    struct job *j = container_of(work, struct job, work);
    j->task.status = TASK_FAILED;
    free(j->task.progress);
    j->task.progress = x_strdup("Failed");
    job_log(j, "failed: %s", j->task.error);
    (void)job_save(j);
}

static void fail_over(struct work *work) {
    job_free(container_of(work, struct job, work));
}

static void take_up(struct job *j) {
    struct error err;
    if (job_from_params(j, &err) == 0) {
        job_log(j, "taken up again after a restart of the server");
        builder_add(j);
        return;
    }
    free(j->task.error);
    j->task.error = x_strdup(err.text);
    j->work = (struct work){.run = fail_run, .done = fail_over, .loop = j->tasks->home};
    if (workers_submit(j->tasks->config.workers, &j->work) < 0)
        job_free(j); /* the next start finds it again */
}

static void started(struct loop_task *task) {
    struct builder *t = container_of(task, struct builder, started);
    for (struct list *node; (node = list_shift(&t->open));)
        take_up(list_entry(node, struct job, link));
    builder_retention_start(t);
}

void builder_start(struct builder *t) {
    t->started = (struct loop_task){.run = started};
    loop_post(t->home, &t->started);
}

void builder_free(struct builder *t) {
    if (!t)
        return;
    loop_timer_clear(t->home, &t->retry);
    builder_retention_stop(t);
    struct list *lists[] = {&t->queue, &t->open};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        for (struct list *node; (node = list_shift(lists[i]));)
            job_free(list_entry(node, struct job, link));
    free(t->artifacts);
    free(t->kubeconfig);
    free(t->s3_bucket);
    free(t->registry_auth);
    free(t->registries);
    free(t);
}
