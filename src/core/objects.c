/* SPDX-License-Identifier: Apache-2.0 */
/* Code that is kept in S3 instead of in the store. A change with new code writes down the key as
 * nobody's, uploads, and then commits: the version's transaction takes the key. Whatever happens in
 * between, the sweep deletes what no version has. */

#include "core/internal.h"
#include "remote/s3.h"
#include <openssl/sha.h>
#include <stdio.h>

#define HASH_HEX (2 * SHA256_DIGEST_LENGTH)

static void hash_hex(const struct blob *b, char out[HASH_HEX + 1]) {
    unsigned char hash[SHA256_DIGEST_LENGTH];
    SHA256((const unsigned char *)b->bytes, b->len, hash);
    for (size_t i = 0; i < sizeof hash; i++)
        snprintf(out + 2 * i, 3, "%02x", hash[i]);
}

/* ---- upload ---- */

struct upload {
    struct change *ch;
    struct store_job job;
    struct error error;
    void (*then)(struct change *ch, const struct error *err);
};

bool upload_wanted(const struct change *ch) {
    return ch->core->config.s3 && ch->code && ch->code->len;
}

/* functions/<workspace>/<project>/<name>/v<number>-<ulid>-<sha256>: the name is for people, the
 * ULID makes it one of its kind, the hash is looked at when it comes back. */
static char *key_of(const struct change *ch) {
    char ulid[ULID_TEXT_LEN + 1], hash[HASH_HEX + 1];
    const struct function *f = ch->code_of;
    struct ulid id = ulid_make(ch->code_number);
    ulid_text(&id, ulid);
    hash_hex(ch->code, hash);
    return x_asprintf("functions/%s/%s/%s/v%u-%s-%s", f->workspace, f->project, f->name,
                      ch->code_number, ulid, hash);
}

static void upload_end(struct upload *u, const struct error *err) {
    u->then(u->ch, err);
    free(u);
}

static void put_run(struct work *work) {
    struct change *ch = container_of(work, struct change, work);
    struct error err = {0};
    if (s3_put(ch->core->config.s3, ch->code_at, str_n(ch->code->bytes, ch->code->len), &err) < 0) {
        (void)error_prepend(&err, "the code was not stored, and nothing was made");
        ch->error = err;
    }
}

static void put_done(struct work *work) {
    struct change *ch = container_of(work, struct change, work);
    struct upload *u = ch->uploading;
    if (work->dropped)
        (void)error_set(&ch->error, ERR_UNAVAILABLE, "the server is shutting down");
    ch->uploading = NULL;
    u->error = ch->error;
    upload_end(u, u->error.code ? &u->error : NULL);
}

static int note_run(struct store_job *job, struct store *s, struct error *err) {
    struct upload *u = container_of(job, struct upload, job);
    return store_object_begin(s, u->ch->code_at, clock_real_us() + OBJECT_UPLOAD_US, err);
}

static void noted(struct store_job *job, const struct error *err) {
    struct upload *u = container_of(job, struct upload, job);
    struct change *ch = u->ch;
    if (err) {
        upload_end(u, err);
        return;
    }
    ch->error = (struct error){.code = ERR_NONE};
    ch->uploading = u;
    ch->work = (struct work){.run = put_run, .done = put_done, .loop = ch->loop};
    if (workers_submit(ch->core->config.workers, &ch->work) == 0)
        return;
    (void)error_set(&u->error, ERR_UNAVAILABLE, "too much waits for a worker thread");
    upload_end(u, &u->error);
}

void upload_start(struct change *ch, void (*then)(struct change *ch, const struct error *err)) {
    struct upload *u = x_alloc(sizeof *u);
    u->ch = ch;
    u->then = then;
    free(ch->code_at);
    ch->code_at = key_of(ch);
    u->job =
        (struct store_job){.db = STORE_STATE, .run = note_run, .done = noted, .loop = ch->loop};
    store_submit(ch->core->store, &u->job);
}

struct str upload_rest(const struct change *ch, struct str code) {
    return ch->code_at ? STR("") : code;
}

int upload_used(struct change *ch, struct store *s, struct version *v, struct error *err) {
    if (!ch->code_at)
        return 0;
    v->code_len = ch->code->len;
    return store_version_set_object(s, v->no, ch->code_at, ch->code->len, err);
}

struct abandon {
    struct core *core;
    struct store_job job;
    char *key;
};

static int abandon_run(struct store_job *job, struct store *s, struct error *err) {
    return store_object_abandon(s, container_of(job, struct abandon, job)->key, err);
}

/* An error is no matter: the key stands in the list, for later. */
static void abandoned(struct store_job *job, const struct error *err UNUSED) {
    struct abandon *a = container_of(job, struct abandon, job);
    objects_kick(a->core);
    free(a->key);
    free(a);
}

void upload_over(struct change *ch, bool failed) {
    if (!ch->code_at)
        return;
    if (!failed) {
        free(TAKE_PTR(ch->code_at));
        return;
    }
    struct abandon *a = x_alloc(sizeof *a);
    a->core = ch->core;
    a->key = TAKE_PTR(ch->code_at);
    a->job = (struct store_job){
        .db = STORE_STATE, .run = abandon_run, .done = abandoned, .loop = ch->loop};
    store_submit(ch->core->store, &a->job);
}

/* ---- fetch ---- */

int code_slot_read(struct store *s, uint32_t version_no, struct code_slot *ret, struct error *err) {
    ret->version_no = version_no;
    return store_version_code(s, version_no, &ret->code, &ret->at, &ret->len, err);
}

static bool is_whole(const struct code_slot *slot, const struct blob *b) {
    char hash[HASH_HEX + 1];
    size_t len = strlen(slot->at);
    hash_hex(b, hash);
    return len > HASH_HEX && strcmp(slot->at + len - HASH_HEX, hash) == 0;
}

int code_slot_fetch(struct core *c, struct code_slot *slot, struct error *err) {
    slot->code = code_cache_get(c, slot->version_no);
    if (slot->code)
        return 0;
    if (!c->config.s3)
        return error_set(err, ERR_UNAVAILABLE,
                         "the code lies in S3, which this server is not configured for: see "
                         "--s3-url");
    cleanup_buf struct buf bytes = BUF_INIT(CODE_MAX);
    if (s3_get(c->config.s3, slot->at, &bytes, err) < 0) {
        if (err->code == ERR_NOT_FOUND) /* of the object, not of the version */
            err->code = ERR_UNAVAILABLE;
        return -1;
    }
    struct blob *b = blob_new(buf_str(&bytes));
    if (!is_whole(slot, b)) {
        blob_unref(b);
        return error_set(err, ERR_UNAVAILABLE, "the code in S3 is not what was put there");
    }
    slot->code = b;
    return 0;
}

void code_slot_done(struct code_slot *slot) {
    blob_unref(slot->code);
    free(slot->at);
    *slot = (struct code_slot){.code = NULL};
}

/* ---- what is nobody's goes ---- */

static void sweep(struct objects *o);

static void again_later(struct objects *o, bool soon) {
    o->busy = false;
    for (size_t i = 0; i < o->n; i++)
        free(o->keys[i]);
    o->n = 0;
    if (atomic_load(&o->core->draining))
        return;
    if (soon || o->again) {
        o->again = false;
        sweep(o);
        return;
    }
    struct loop *loop = o->core->loops[0];
    loop_timer_set(loop, &o->timer, loop_now_ns(loop) + OBJECTS_SWEEP_MS * NS_PER_MS);
}

static int forget_run(struct store_job *job, struct store *s, struct error *err) {
    struct objects *o = container_of(job, struct objects, job);
    for (size_t i = 0; i < o->n; i++)
        if (o->gone[i] && store_object_gone(s, o->keys[i], err) < 0)
            return -1;
    return 0;
}

static void forgotten(struct store_job *job, const struct error *err) {
    struct objects *o = container_of(job, struct objects, job);
    bool all = !err && o->n == OBJECTS_SWEEP_MAX;
    for (size_t i = 0; i < o->n; i++)
        all &= o->gone[i];
    again_later(o, all);
}

static void delete_run(struct work *work) {
    struct objects *o = container_of(work, struct objects, work);
    struct error err;
    bool told = false;
    for (size_t i = 0; i < o->n; i++) {
        o->gone[i] = s3_delete(o->core->config.s3, o->keys[i], &err) == 0;
        if (!o->gone[i] && !told)
            log_warn("object of S3 not deleted, trying again", LOG_STR("key", o->keys[i]),
                     LOG_STR("error", err.text));
        told |= !o->gone[i];
        if (told) /* it does not answer, and will not for the others */
            break;
    }
}

static void deleted(struct work *work) {
    struct objects *o = container_of(work, struct objects, work);
    if (work->dropped) {
        again_later(o, false);
        return;
    }
    o->job = (struct store_job){
        .db = STORE_STATE, .run = forget_run, .done = forgotten, .loop = o->core->loops[0]};
    store_submit(o->core->store, &o->job);
}

static void keep_key(void *arg, const char *key) {
    struct objects *o = arg;
    o->keys[o->n++] = x_strdup(key);
}

static int find_run(struct store_job *job, struct store *s, struct error *err) {
    struct objects *o = container_of(job, struct objects, job);
    return store_objects_unused(s, clock_real_us(), OBJECTS_SWEEP_MAX, keep_key, o, err);
}

static void found(struct store_job *job, const struct error *err) {
    struct objects *o = container_of(job, struct objects, job);
    memset(o->gone, 0, sizeof o->gone);
    o->work = (struct work){.run = delete_run, .done = deleted, .loop = o->core->loops[0]};
    if (err || o->n == 0 || workers_submit(o->core->config.workers, &o->work) < 0)
        again_later(o, false);
}

static void sweep(struct objects *o) {
    loop_timer_clear(o->core->loops[0], &o->timer);
    if (o->busy) {
        o->again = true;
        return;
    }
    o->busy = true;
    o->job = (struct store_job){
        .db = STORE_STATE, .run = find_run, .done = found, .loop = o->core->loops[0]};
    store_submit(o->core->store, &o->job);
}

static void timer_fire(struct loop_timer *timer) {
    sweep(container_of(timer, struct objects, timer));
}

static void kick_run(struct loop_task *task) {
    struct objects *o = container_of(task, struct objects, kick);
    atomic_store(&o->kicked, false);
    if (!atomic_load(&o->core->draining))
        sweep(o);
}

void objects_kick(struct core *c) {
    if (c->config.s3 && c->objects.core && !atomic_exchange(&c->objects.kicked, true))
        loop_post(c->loops[0], &c->objects.kick);
}

void objects_start(struct core *c) {
    struct objects *o = &c->objects;
    loop_timer_init(&o->timer, timer_fire);
    o->kick.run = kick_run;
    o->core = c;
    if (c->config.s3)
        sweep(o);
}

void objects_stop(struct core *c) {
    if (c->objects.core)
        loop_timer_clear(c->loops[0], &c->objects.timer);
}
