/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_TASK_INTERNAL_H
#define KILN_TASK_INTERNAL_H

/* What the files of task/ share. */

#include "base/child.h"
#include "task/task.h"

#define TASKS_RETENTION_MS 600000u
#define TASKS_RETRY_MS     1000u /* the workers' queue was full */
#define TASKS_TRIM_SLICE   500u
#define TASKS_ORPHAN_S     3600              /* a folder without its task, this old, is nobody's */
#define TASK_SAVE_EVERY_NS (500 * NS_PER_MS) /* of a log that grows */
#define TASK_CHILD_OUT_MAX (64 * KIB)

struct builder {
    struct builder_config config;
    char *s3_bucket;
    char *artifacts; /* DATA/artifacts */
    char *kubeconfig, *registry_auth, *registries;
    struct loop *home; /* loops[0]: what follows belongs to it */
    struct list queue; /* job.link */
    uint32_t running;
    struct loop_timer retry, retention;
    struct loop_task started;
    struct list open; /* found at the start, until builder_start() */
    struct trimming *trimming;
    _Atomic uint32_t waiting; /* in the queue; any thread */
    _Atomic uint32_t next_loop;
};

/* One task on its way. */
struct job {
    struct builder *tasks;
    struct work work;
    struct loop_task task_posted;
    struct list link;
    struct task task;
    struct buf log; /* what is in task.log, and more */
    uint64_t saved_ns;
    char *file_name;
    struct deploy *deploy;           /* it is the record of this one */
    char *registry, *tag;            /* of a push */
    char *user, *password;           /* or NULL */
    char source_id[TASK_ID_LEN + 1]; /* of a push: whose artefact */
};
struct job *job_new(struct builder *t);
void job_free(struct job *j);

/* ---- on a worker ---- */
void job_run(struct job *j); /* run.c: the whole task, to its stored end */
int job_save(struct job *j); /* stores the task as it is now; 0 or -1 */
void job_log(struct job *j, const char *fmt, ...) PRINTF_LIKE(2, 3);
void job_log_line(struct job *j, struct str line);
/* The upload, where S3 is configured: task.file_path is its address then. */
int job_source_to_s3(struct job *j, struct str file, struct error *err);
int job_push(struct job *j, struct error *err); /* push.c */
/* DATA/artifacts/<id>[/<name>]; free(). */
char *task_path(const struct builder *t, const char *id, const char *name);
/* Where the same lies in S3, in the place of workspace WS. The caller's. */
char *task_object_key(const char *ws, const char *id, const char *name);
/* Makes or replaces it, mode 0600, and waits until it is on the disk. */
int task_write_file(const char *path, struct str bytes, struct error *err);
int task_read_file(const char *path, size_t max, struct buf *out, struct error *err);
int task_make_folder(const struct builder *t, const char *id, struct error *err);
void task_remove(const char *path); /* a file, or a folder with all that is in it */
void task_remove_folder(const struct builder *t, const char *id);

/* ---- tasks.c, retention.c ---- */
void builder_retention_start(struct builder *t); /* on home */
void builder_retention_stop(struct builder *t);

#endif
