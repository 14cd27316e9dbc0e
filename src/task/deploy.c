/* SPDX-License-Identifier: Apache-2.0 */
/* A SpinApp into a cluster: applied, then its Service is looked for, which the operator makes. At
 * once, as its caller waits, and recorded as a task. */

#include "task/internal.h"

#include <poll.h>
#include <stdio.h>

#include "base/clock.h"
#include "remote/kubernetes.h"
#include "json/write.h"

#define MANIFEST_MAX   (4 * DEPLOY_JSON_MAX)
#define SPINAPPS       "/apis/core.spinkube.dev/v1alpha1/namespaces/%s/spinapps/%s"
#define DEPLOY_WAIT_MS 3000u /* for the operator to make Deployment and Service */
#define DEPLOY_LOOK_MS 250

struct deploy {
    struct work work;
    struct job *job;
    char name[64], namespace_[64];
    struct buf manifest, scheduling; /* JSON; scheduling is empty where nothing is asked for */
    bool custom;                     /* tolerations or affinity of the caller's own */
    struct deployed result;
    struct error error;
    bool failed;
    void (*done)(void *arg, const struct error *err, const struct deployed *d);
    void *arg;
};

/* ---- on a worker ---- */
static int check_namespace(struct deploy *d, struct kubernetes *k, struct error *err) {
    cleanup_free char *path = x_asprintf("/api/v1/namespaces/%s", d->namespace_);
    int r = kubernetes_get(k, path, NULL, err);
    if (r == 0)
        return error_field(err, ERR_INVALID, "namespace",
                           "namespace '%s' does not exist: make it first (kubectl create namespace "
                           "%s)",
                           d->namespace_, d->namespace_);
    /* Rights in one namespace do not hold the right to look at it: applying will tell. */
    return r < 0 && err->code != ERR_FORBIDDEN ? -1 : 0;
}

static int apply(struct deploy *d, struct kubernetes *k, struct error *err) {
    cleanup_free char *path = x_asprintf(SPINAPPS, d->namespace_, d->name);
    int r = kubernetes_apply(k, path, buf_str(&d->manifest), err);
    if (r == 0)
        return error_set(err, ERR_UNAVAILABLE,
                         "the cluster knows no SpinApp (core.spinkube.dev/v1alpha1): install "
                         "SpinKube, and make namespace '%s'",
                         d->namespace_);
    if (r < 0)
        return -1;
    struct str warning = kubernetes_warning(k);
    if (warning.p)
        job_log(d->job, "the cluster warns: %.*s", STR_ARG(warning));
    job_log(d->job, "SpinApp %s/%s applied", d->namespace_, d->name);
    return 0;
}

/* Its address, with the port of its Service where that is not 80. */
static void found(struct deploy *d, const struct json *service) {
    const struct json *ports = json_member(json_member(service, "spec"), "ports");
    struct error ignored;
    int64_t port = 80;
    (void)json_get_int(json_item(ports, 0), "port", 0, 1, 65535, &port, &ignored);
    int n = snprintf(d->result.endpoint, sizeof d->result.endpoint,
                     "http://%s.%s.svc.cluster.local", d->name, d->namespace_);
    if (port != 80)
        (void)snprintf(d->result.endpoint + n, sizeof d->result.endpoint - (size_t)n, ":%d",
                       (int)port);
    d->result.service = SERVICE_FOUND;
}

/* 1 there, 0 not yet, -1. */
static int look_for_service(struct deploy *d, struct kubernetes *k, struct error *err) {
    cleanup_free char *path =
        x_asprintf("/api/v1/namespaces/%s/services/%s", d->namespace_, d->name);
    cleanup_json struct json *service = NULL;
    int r = kubernetes_get(k, path, &service, err);
    if (r == 1)
        found(d, service);
    return r;
}

/* Applied to a Deployment that is there: the same call would make one without containers. */
static int schedule(struct deploy *d, struct kubernetes *k, struct error *err) {
    cleanup_free char *path =
        x_asprintf("/apis/apps/v1/namespaces/%s/deployments/%s", d->namespace_, d->name);
    int r = kubernetes_get(k, path, NULL, err);
    if (r == 1)
        r = kubernetes_apply(k, path, buf_str(&d->scheduling), err);
    if (r == 1)
        job_log(d->job, "tolerations and affinity applied to its Deployment");
    return r;
}

static bool pause_or_stop(struct deploy *d, uint64_t deadline_ns) {
    struct pollfd p = {.fd = workers_cancel_fd(d->job->tasks->config.workers), .events = POLLIN};
    return clock_mono_ns() >= deadline_ns || poll(&p, 1, DEPLOY_LOOK_MS) != 0;
}

/* What the operator makes of it, as far as it comes within DEPLOY_WAIT_MS. */
static void follow(struct deploy *d, struct kubernetes *k) {
    uint64_t deadline_ns = clock_mono_ns() + DEPLOY_WAIT_MS * NS_PER_MS;
    int service = 0, scheduled = d->scheduling.len ? 0 : 1;
    struct error err = {0};
    do {
        if (service == 0)
            service = look_for_service(d, k, &err);
        if (scheduled == 0)
            scheduled = schedule(d, k, &err);
    } while ((service == 0 || scheduled == 0) && !pause_or_stop(d, deadline_ns));
    if (service == 0) {
        cleanup_free char *path = x_asprintf(SPINAPPS, d->namespace_, d->name);
        d->result.service =
            kubernetes_get(k, path, NULL, &err) == 0 ? SERVICE_NOT_FOUND : SERVICE_PENDING;
    } else if (service < 0) {
        d->result.service = SERVICE_NOT_FOUND;
        job_log(d->job, "the Service could not be looked for: %s", err.text);
        (void)snprintf(d->result.error, sizeof d->result.error, "%s", err.text);
    }
    if (scheduled == 1)
        return;
    job_log(d->job, "tolerations and affinity not applied: %s",
            scheduled < 0 ? err.text : "there is no Deployment yet");
    if (d->custom) /* a preference for spot nodes may fail quietly, what was spelt out may not */
        (void)snprintf(d->result.error, sizeof d->result.error,
                       "custom_tolerations and custom_affinity were not applied: %.400s",
                       scheduled < 0 ? err.text : "the operator has made no Deployment yet");
}

static int deploy(struct deploy *d, struct error *err) {
    struct builder *t = d->job->tasks;
    struct kubernetes *k = NULL;
    if (kubernetes_open(t->kubeconfig, workers_stop_flag(t->config.workers), &k, err) < 0) {
        if (err->code == ERR_INVALID) /* a file of the server's, not of the client's */
            err->code = ERR_UNAVAILABLE;
        return -1;
    }
    int r = check_namespace(d, k, err);
    if (r == 0)
        r = apply(d, k, err);
    if (r == 0)
        follow(d, k);
    kubernetes_close(k);
    return r;
}

static int insert(struct store *s, void *arg, struct error *err) {
    return store_builder_insert(s, arg, err);
}

static void deploy_run(struct work *work) {
    struct deploy *d = container_of(work, struct deploy, work);
    struct task *t = &d->job->task;
    t->status = TASK_RUNNING;
    t->attempts = 1;
    t->created_us = t->updated_us = clock_real_us();
    t->progress = x_strdup("Deploying");
    d->failed = store_wait(d->job->tasks->config.store, STORE_STATE, insert, t, &d->error) < 0;
    if (d->failed)
        return;
    d->failed = deploy(d, &d->error) < 0;
    t->status = d->failed ? TASK_FAILED : TASK_COMPLETED;
    free(t->progress);
    t->progress = x_strdup(d->failed ? "Failed" : "Done");
    if (d->failed) {
        t->error = x_strdup(d->error.text);
        job_log(d->job, "failed: %s", d->error.text);
    }
    (void)job_save(d->job);
}

/* ---- on the caller's loop ---- */
static void deploy_free(struct deploy *d) {
    job_free(d->job);
    buf_done(&d->manifest);
    buf_done(&d->scheduling);
    free(d);
}

static void deploy_over(struct work *work) {
    struct deploy *d = container_of(work, struct deploy, work);
    if (work->dropped) {
        d->failed = true;
        error_set(&d->error, ERR_UNAVAILABLE, "the server is shutting down");
    }
    d->done(d->arg, d->failed ? &d->error : NULL, &d->result);
    deploy_free(d);
}

static void refused(struct loop_task *task) {
    struct job *j = container_of(task, struct job, task_posted);
    struct deploy *d = j->deploy;
    d->done(d->arg, &d->error, NULL);
    deploy_free(d);
}

static void write_texts(struct deploy *d, const struct spinapp *app) {
    struct json_w w;
    json_w_init(&w, &d->manifest);
    spinapp_write(&w, app);
    if (!spinapp_schedules(app))
        return;
    json_w_init(&w, &d->scheduling);
    spinapp_write_scheduling(&w, app);
}

void builder_deploy(struct builder *t, struct loop *loop, struct str workspace,
                    const struct spinapp *app,
                    void (*done)(void *arg, const struct error *err, const struct deployed *d),
                    void *arg) {
    struct deploy *d = x_alloc(sizeof *d);
    struct job *j = job_new(t);
    d->job = j;
    d->done = done;
    d->arg = arg;
    d->manifest = BUF_INIT(MANIFEST_MAX);
    d->scheduling = BUF_INIT(MANIFEST_MAX);
    d->custom = app->tolerations.p || app->affinity.p;
    (void)snprintf(d->name, sizeof d->name, "%.*s", STR_ARG(app->name));
    (void)snprintf(d->namespace_, sizeof d->namespace_, "%.*s", STR_ARG(app->namespace_));
    write_texts(d, app);
    task_id_make(j->task.id);
    j->task.kind = TASK_DEPLOY;
    j->task.workspace = str_dup(workspace);
    j->task.app_name = str_dup(app->name);
    j->task.image = str_dup(app->image);
    d->work = (struct work){.run = deploy_run, .done = deploy_over, .loop = loop};
    if (workers_submit(t->config.workers, &d->work) == 0)
        return;
    error_set(&d->error, ERR_BUSY, "the server is busy: come again");
    d->error.retry_after_s = 5;
    j->deploy = d;
    j->task_posted = (struct loop_task){.run = refused};
    loop_post(loop, &j->task_posted);
}
