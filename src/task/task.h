/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_TASK_TASK_H
#define KILN_TASK_TASK_H

/* struct builder: builds and pushes as jobs that outlive the client that asked for them.
 *
 * A task is stored before it is answered for, waits its turn (at most `running_max` run at once),
 * runs on a worker thread, and keeps its progress, log and outcome until retention. What it makes
 * stands in DATA/artifacts/<task>/: source.py or source.zip as uploaded, image.tar the artefact
 * (task/image.h).
 *
 * A server that ends leaves what waits or runs as it is; the next start takes it up again, three
 * times at most. One that was given a password is not taken up, as that is stored nowhere: it has
 * failed, and says so.
 *
 * Threads: calls are made on a loop; `done(arg, …)` runs later on that loop, ERR NULL on success,
 * results borrowed until it returns. Inputs are copied. */

#include "core/core.h"
#include "loop/work.h"

struct builder;
struct s3;

#define TASKS_WAITING_MAX   1000u /* accepted and not begun, whole server */
#define TASK_ATTEMPTS_MAX   3u
#define TASK_REGISTRY_MAX   400u       /* characters of a registry_url */
#define TASK_CREDENTIAL_MAX (16 * KIB) /* of a password; ECR's have about 2 KiB */
#define TASK_USER_MAX       256u
#define TASK_TAG_MAX        128u
#define TASK_LIST_MAX       1000u /* of one answer */
#define TASK_PATH_MAX       1024u

struct builder_config {
    struct core *core;
    struct store *store;
    struct workers *workers;
    struct loop **loops;
    size_t n_loops;
    const char *data_dir;
    uint32_t running_max;
    uint32_t push_ms;          /* a push may take so long */
    uint64_t keep_age_s;       /* ended tasks and what they made */
    uint32_t keep_count;       /* and at most so many of a workspace */
    const char *registries;    /* hosts that a push may go to, by comma; NULL: all */
    const char *registry_auth; /* or NULL: a file of credentials (containers-auth.json(5)), used
                                * where a push has none of its own */
    struct s3 *s3;             /* or NULL; what is made is put there too */
    const char *s3_bucket;
    const char *kubeconfig; /* or NULL: KUBECONFIG, else the files of a pod, else none */
};
/* Before the loops run. What it points to outlives it. */
int builder_new(const struct builder_config *config, struct builder **ret, struct error *err);
void builder_start(struct builder *t); /* any thread, when the loops run: takes up what was left */
void builder_free(struct builder *t);  /* after the workers have ended; NULL is fine */

/* Where an image goes. */
struct task_push {
    struct str registry;       /* "host/name", or "host": then the name is the application's */
    struct str user, password; /* p NULL: none. Never stored, never logged */
    struct str tag;            /* "sha256": "task-<id>" */
};
struct task_draft {
    enum task_kind kind;
    struct str workspace;       /* exists: checked by the caller */
    struct str app_name;        /* p NULL: one is made */
    struct str file_name, file; /* of a build */
    struct str source;          /* of a push: what an earlier build answered (task_source_id()) */
    struct task_push push;
};
/* ERR_INVALID, ERR_TOO_LARGE (field "file", "registry_url", "tag", …); ERR_NOT_FOUND (no such
 * artefact in this workspace); ERR_CONFLICT (it is not built yet, or did not build); ERR_BUSY. */
void builder_submit(struct builder *t, struct loop *loop, const struct task_draft *draft,
                    void (*done)(void *arg, const struct error *err, const struct task *task),
                    void *arg);
/* Of any workspace: the caller looks at it. ERR_NOT_FOUND. */
void builder_get(struct builder *t, struct loop *loop, struct str id,
                 void (*done)(void *arg, const struct error *err, const struct task *task),
                 void *arg);
/* Newest first, below BEFORE_NO (0: all); MORE: there are others. */
void builder_list(struct builder *t, struct loop *loop, struct str workspace, uint32_t before_no,
                  uint32_t limit,
                  void (*done)(void *arg, const struct error *err, const struct task *v, size_t n,
                               bool more),
                  void *arg);

/* The task that PATH names: its id, "artifacts/<id>", a path under that, with a '/' before it, or
 * s3://bucket/…/<id>/…. False for everything else, ".." above all. */
bool task_source_id(struct str path, char ret[TASK_ID_LEN + 1]);
/* A registry as a client writes it: host[:port][/path], "https://" before it is left out. */
int task_check_push(const struct task_push *p, struct error *err);

/* Keeps a manifest that somebody asked for under DATA/artifacts/scaffolds/<workspace>/NAME:
 * *RET_PATH is that, relative to the data folder, and borrowed. NAME: letters, digits, '-', '_',
 * '.'; at most SCAFFOLDS_MAX of a workspace (ERR_QUOTA); one of the same name is replaced. */
#define SCAFFOLDS_MAX 1000u
void builder_keep(struct builder *t, struct loop *loop, struct str workspace, struct str name,
                  struct str text,
                  void (*done)(void *arg, const struct error *err, const char *path), void *arg);

/* ---- deployment: at once, and recorded as a task ---- */
#define SPINAPP_CPU_LIMIT      "500m"
#define SPINAPP_CPU_REQUEST    "100m"
#define SPINAPP_MEMORY_LIMIT   "500Mi"
#define SPINAPP_MEMORY_REQUEST "400Mi"
#define DEPLOY_JSON_MAX        (64 * KIB) /* of tolerations, of an affinity */
struct spinapp {
    struct str name, namespace_; /* DNS labels */
    struct str image;
    int64_t replicas;
    bool autoscaling, use_spot, bare; /* bare: image, executor and replicas only (a scaffold) */
    struct str component;             /* the only one that runs; p NULL: all */
    struct str service_account, function_id;                         /* p NULL: none */
    struct str cpu_limit, memory_limit, cpu_request, memory_request; /* p NULL: the defaults */
    struct str tolerations, affinity;                                /* JSON text; p NULL: none */
};
/* The manifest as JSON. */
struct json_w;
void spinapp_write(struct json_w *w, const struct spinapp *app);
/* Where its pods may run: a piece of its Deployment, as a SpinApp has no field for it. */
bool spinapp_schedules(const struct spinapp *app);
void spinapp_write_scheduling(struct json_w *w, const struct spinapp *app);

enum service_status { SERVICE_FOUND, SERVICE_PENDING, SERVICE_NOT_FOUND };
struct deployed {
    enum service_status service;
    char endpoint[256];         /* "" where there is none */
    char error[ERROR_TEXT_MAX]; /* what could not be done though it is deployed; "" */
};
/* ERR_INVALID (field "namespace": unknown; what the cluster refuses), ERR_UNAVAILABLE (no cluster
 * is configured, it does not answer), ERR_FORBIDDEN. */
void builder_deploy(struct builder *t, struct loop *loop, struct str workspace,
                    const struct spinapp *app,
                    void (*done)(void *arg, const struct error *err, const struct deployed *d),
                    void *arg);

#endif
