/* SPDX-License-Identifier: Apache-2.0 */
/* Ended tasks go by age and by count, and what they made with them; so do folders whose task is
 * gone (with its workspace, or never stored because the server ended). */

#include "task/internal.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "remote/s3.h"

struct gone {
    char id[TASK_ID_LEN + 1], workspace[NAME_MAX_LEN + 1];
};
struct trimming {
    struct work work;
    struct builder *tasks;
    struct gone *gone; /* TASKS_TRIM_SLICE of them */
    size_t n_gone;
};

/* On the store thread: remembered only. */
static void note_gone(void *arg, struct str id, struct str workspace) {
    struct trimming *k = arg;
    if (k->n_gone == TASKS_TRIM_SLICE)
        return;
    struct gone *g = &k->gone[k->n_gone++];
    (void)snprintf(g->id, sizeof g->id, "%.*s", STR_ARG(id));
    (void)snprintf(g->workspace, sizeof g->workspace, "%.*s", STR_ARG(workspace));
}

/* Where S3 does not answer its objects stay: nothing here waits for it to come back. */
static void remove_objects(struct builder *t, const struct gone *g) {
    static const char *const names[] = {"source.py", "source.zip", "image.tar"};
    struct error err;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        cleanup_free char *key = task_object_key(g->workspace, g->id, names[i]);
        if (s3_delete(t->config.s3, key, &err) < 0) {
            log_warn("a task's objects stay in S3", LOG_STR("task", g->id),
                     LOG_STR("error", err.text));
            return;
        }
    }
}

static int trim(struct store *s, void *arg, struct error *err) {
    struct trimming *k = arg;
    const struct builder_config *c = &k->tasks->config;
    int64_t before_us = clock_real_us() - (int64_t)(c->keep_age_s * 1000000);
    return store_builder_trim(s, before_us, c->keep_count, TASKS_TRIM_SLICE, note_gone, k, err);
}

struct known {
    const char *id;
    bool there;
};

static int look(struct store *s, void *arg, struct error *err) {
    struct known *known = arg;
    struct task t;
    if (store_builder_get(s, known->id, &t, err) == 0) {
        known->there = true;
        task_done(&t);
        return 0;
    }
    return err->code == ERR_NOT_FOUND ? 0 : -1;
}

static void sweep(struct trimming *k) {
    struct builder *t = k->tasks;
    DIR *dir = opendir(t->artifacts);
    if (!dir)
        return;
    for (struct dirent *e; (e = readdir(dir)) && !workers_stopping(t->config.workers);) {
        struct stat st;
        struct known known = {.id = e->d_name};
        struct error err;
        if (!task_id_is(str_of(e->d_name)) ||
            fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
            st.st_mtime > time(NULL) - TASKS_ORPHAN_S)
            continue;
        if (store_wait(t->config.store, STORE_STATE, look, &known, &err) == 0 && !known.there)
            task_remove_folder(t, e->d_name);
    }
    (void)closedir(dir);
}

static void trim_run(struct work *work) {
    struct trimming *k = container_of(work, struct trimming, work);
    struct error err;
    do {
        k->n_gone = 0;
        if (store_wait(k->tasks->config.store, STORE_STATE, trim, k, &err) < 0) {
            log_warn("old tasks not removed", LOG_STR("error", err.text));
            return;
        }
        for (size_t i = 0; i < k->n_gone; i++) {
            task_remove_folder(k->tasks, k->gone[i].id); /* if not, the next sweep does */
            if (k->tasks->config.s3)
                remove_objects(k->tasks, &k->gone[i]);
        }
    } while (k->n_gone && !workers_stopping(k->tasks->config.workers));
    sweep(k);
}

static void trim_over(struct work *work) {
    struct trimming *k = container_of(work, struct trimming, work);
    struct builder *t = k->tasks;
    loop_timer_set(t->home, &t->retention, loop_now_ns(t->home) + TASKS_RETENTION_MS * NS_PER_MS);
}

static void fire(struct loop_timer *timer) {
    struct builder *t = container_of(timer, struct builder, retention);
    struct trimming *k = t->trimming;
    k->work = (struct work){.run = trim_run, .done = trim_over, .loop = t->home};
    if (workers_submit(t->config.workers, &k->work) < 0)
        loop_timer_set(t->home, timer, loop_now_ns(t->home) + TASKS_RETENTION_MS * NS_PER_MS);
}

void builder_retention_start(struct builder *t) {
    t->trimming = x_alloc(sizeof *t->trimming);
    t->trimming->tasks = t;
    t->trimming->gone = x_calloc(TASKS_TRIM_SLICE, sizeof *t->trimming->gone);
    loop_timer_init(&t->retention, fire);
    fire(&t->retention);
}

void builder_retention_stop(struct builder *t) {
    if (!t->trimming)
        return;
    loop_timer_clear(t->home, &t->retention);
    free(t->trimming->gone);
    free(t->trimming);
}
