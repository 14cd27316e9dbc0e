/* SPDX-License-Identifier: Apache-2.0 */
/* Versions that are images: pulled on a worker thread when they are built, and again when the cache
 * has lost them since. What the store knows (which digest it was resolved to, which images others
 * need) is read first. */

#include "core/internal.h"
#include "loop/work.h"
#include <errno.h>
#include <stdio.h>

struct image_pull {
    struct core *core;
    struct loop *loop;
    uint32_t version_no;
    char *image, *digest; /* digest: NULL until it was resolved */
    struct blob *spec;    /* as stored, until it is replaced by the same of the cache */
    char **keep;
    size_t n_keep, cap_keep;
    struct buf log;
    struct error error;
    bool ok;
    struct store_job job;
    struct loop_task task;
    struct work work;
    void (*done)(void *arg, const struct error *err, const char *digest, struct blob *spec,
                 struct str log);
    void *arg;
};

static void keep_digest(void *arg, const char *digest) {
    struct image_pull *p = arg;
    p->keep = grow(p->keep, p->n_keep, &p->cap_keep, sizeof *p->keep);
    p->keep[p->n_keep++] = x_strdup(digest);
}

static int pull_read(struct store_job *job, struct store *s, struct error *err) {
    struct image_pull *p = container_of(job, struct image_pull, job);
    if (store_version_image(s, p->version_no, &p->image, &p->digest, &p->spec, err) < 0)
        return -1;
    if (!p->image)
        return error_set(err, ERR_INTERNAL, "the version is no image");
    return store_images_active(s, keep_digest, p, err);
}

static void pull_free(struct image_pull *p) {
    for (size_t i = 0; i < p->n_keep; i++)
        free(p->keep[i]);
    free(p->keep);
    free(p->image);
    free(p->digest);
    blob_unref(p->spec);
    buf_done(&p->log);
    free(p);
}

static void pull_over(struct image_pull *p) {
    if (!p->ok) {
        (void)buf_puts(&p->log, p->error.text);
        (void)buf_putc(&p->log, '\n');
    }
    p->done(p->arg, p->ok ? NULL : &p->error, p->digest, p->ok ? p->spec : NULL, buf_str(&p->log));
    pull_free(p);
}

static void pull_done(struct work *work) {
    struct image_pull *p = container_of(work, struct image_pull, work);
    if (work->dropped)
        error_set(&p->error, ERR_UNAVAILABLE, "the server is shutting down");
    pull_over(p);
}

/* On a worker thread. */
static void pull_run(struct work *work) {
    struct image_pull *p = container_of(work, struct image_pull, work);
    struct oci_image got = {0};
    struct oci_pull pull = {.image = p->image,
                            .digest = p->digest,
                            .keep = (const char *const *)p->keep,
                            .n_keep = p->n_keep,
                            .cancel_fd = workers_cancel_fd(p->core->config.pullers),
                            .log = &p->log};
    p->ok = oci_pull(p->core->config.images, &pull, &got, &p->error) == 0;
    if (!p->ok)
        return;
    free(p->digest);
    p->digest = x_strdup(got.digest);
    blob_unref(p->spec);
    p->spec = got.spec;
}

static void pull_begin(struct loop_task *task) {
    struct image_pull *p = container_of(task, struct image_pull, task);
    if (p->error.code) {
        pull_over(p);
        return;
    }
    p->work.run = pull_run;
    p->work.done = pull_done;
    p->work.loop = p->loop;
    int r = workers_submit(p->core->config.pullers, &p->work);
    if (r == 0)
        return;
    if (r == -EAGAIN)
        error_set(&p->error, ERR_BUSY, "too many builds and fetches are waiting");
    else
        error_set(&p->error, ERR_UNAVAILABLE, "the server is shutting down");
    pull_over(p);
}

/* On the store thread. */
static void pull_known(struct store_job *job, const struct error *err) {
    struct image_pull *p = container_of(job, struct image_pull, job);
    if (err)
        p->error = *err;
    loop_post(p->loop, &p->task);
}

void image_pull(struct core *c, struct loop *loop, uint32_t version_no,
                void (*done)(void *arg, const struct error *err, const char *digest,
                             struct blob *spec, struct str log),
                void *arg) {
    struct image_pull *p = x_alloc(sizeof *p);
    p->core = c;
    p->loop = loop;
    p->version_no = version_no;
    p->log = BUF_INIT(BUILD_LOG_MAX);
    p->done = done;
    p->arg = arg;
    p->task.run = pull_begin;
    p->job = (struct store_job){.db = STORE_STATE, .run = pull_read, .done = pull_known};
    if (c->config.images && c->config.pullers) {
        store_submit(c->store, &p->job);
        return;
    }
    error_set(&p->error, ERR_UNAVAILABLE, "this server has no cache of images");
    loop_post(loop, &p->task);
}

/* ---- for a load ---- */

struct image_load {
    void (*ready)(void *arg, struct blob *code, const struct error *err);
    void *arg;
};

static void loaded(void *arg, const struct error *err, const char *digest, struct blob *spec,
                   struct str log) {
    (void)log;
    struct image_load *l = arg;
    if (err)
        log_warn("image not fetched", LOG_STR("digest", digest ? digest : ""),
                 LOG_STR("error", err->text));
    l->ready(l->arg, spec, err);
    free(l);
}

void image_load(struct core *c, struct loop *loop, uint32_t version_no, const char *digest,
                struct blob *spec,
                void (*ready)(void *arg, struct blob *code, const struct error *err), void *arg) {
    if (c->config.images && oci_has(c->config.images, digest)) {
        ready(arg, spec, NULL);
        return;
    }
    struct image_load *l = x_alloc(sizeof *l);
    l->ready = ready;
    l->arg = arg;
    image_pull(c, loop, version_no, loaded, l);
}
