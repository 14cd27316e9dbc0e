/* SPDX-License-Identifier: Apache-2.0 */
/* Manifests that are kept. */

#include "task/internal.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

struct keep {
    struct work work;
    struct builder *builder;
    char *workspace, *name, *text, *path;
    struct error error;
    bool failed;
    struct loop_task refused;
    void (*done)(void *arg, const struct error *err, const char *path);
    void *arg;
};

static int make_folder(const char *path, struct error *err) {
    if (mkdir(path, 0700) == 0 || errno == EEXIST)
        return 0;
    return error_errno(err, -errno, "the folder of manifests could not be made");
}

static int count(const char *folder, uint32_t *ret, struct error *err) {
    DIR *dir = opendir(folder);
    if (!dir)
        return error_errno(err, -errno, "the folder of manifests could not be read");
    *ret = 0;
    for (struct dirent *e; (e = readdir(dir));)
        *ret += e->d_name[0] != '.';
    (void)closedir(dir);
    return 0;
}

static int write_it(struct keep *k, struct error *err) {
    cleanup_free char *all = x_asprintf("%s/scaffolds", k->builder->artifacts);
    cleanup_free char *folder = x_asprintf("%s/%s", all, k->workspace);
    cleanup_free char *file = x_asprintf("%s/%s", folder, k->name);
    uint32_t n = 0;
    if (make_folder(all, err) < 0 || make_folder(folder, err) < 0 || count(folder, &n, err) < 0)
        return -1;
    if (n >= SCAFFOLDS_MAX && access(file, F_OK) < 0)
        return error_set(err, ERR_QUOTA, "this workspace keeps %u manifests already",
                         SCAFFOLDS_MAX);
    if (task_write_file(file, str_of(k->text), err) < 0)
        return -1;
    k->path = x_asprintf("artifacts/scaffolds/%s/%s", k->workspace, k->name);
    return 0;
}

static void keep_run(struct work *work) {
    struct keep *k = container_of(work, struct keep, work);
    k->failed = write_it(k, &k->error) < 0;
}

static void over(struct keep *k) {
    k->done(k->arg, k->failed ? &k->error : NULL, k->path);
    free(k->workspace);
    free(k->name);
    free(k->text);
    free(k->path);
    free(k);
}

static void keep_over(struct work *work) {
    struct keep *k = container_of(work, struct keep, work);
    if (work->dropped) {
        k->failed = true;
        error_set(&k->error, ERR_UNAVAILABLE, "the server is shutting down");
    }
    over(k);
}

static void refused(struct loop_task *task) {
    over(container_of(task, struct keep, refused));
}

void builder_keep(struct builder *t, struct loop *loop, struct str workspace, struct str name,
                  struct str text,
                  void (*done)(void *arg, const struct error *err, const char *path), void *arg) {
    struct keep *k = x_alloc(sizeof *k);
    k->builder = t;
    k->workspace = str_dup(workspace);
    k->name = str_dup(name);
    k->text = str_dup(text);
    k->done = done;
    k->arg = arg;
    k->work = (struct work){.run = keep_run, .done = keep_over, .loop = loop};
    if (workers_submit(t->config.workers, &k->work) == 0)
        return;
    k->failed = true;
    error_set(&k->error, ERR_BUSY, "the server is busy: come again");
    k->refused = (struct loop_task){.run = refused};
    loop_post(loop, &k->refused);
}
