/* SPDX-License-Identifier: Apache-2.0 */
/* Changing the configuration of a function, with or without new code.
 *
 * Without code the new configuration serves at once; where handler or runtime changed, the active
 * version is first loaded with them, and nothing changes when that fails. With code, what serves
 * now goes on as it is until the new version has been built. */

#include "core/functions.h"
#include <stdio.h>

struct update {
    struct change ch;
    struct function *f; /* ours alone until it is published */
    struct blob *code;  /* of a new version; empty where it is an image; NULL: there is none */
    char *image;        /* of the new version, or NULL */
    bool triggers_given, wait_build;
    struct trigger **triggers;
    size_t n_triggers;
    uint32_t checked_no;         /* version that was loaded with the new handler; 0 = none */
    uint32_t version_no, number; /* to be built */
    bool rebuild;                /* the newest version, which failed with the old handler */
    struct build_wait wait;
    void (*done)(void *arg, const struct error *err, struct function *f);
    void *arg;
};

static void update_free(struct update *op) {
    change_done(&op->ch);
    function_unref(op->f);
    blob_unref(op->code);
    free(op->image);
    triggers_free(op->triggers, op->n_triggers);
    free(op->wait.log);
    free(op);
}

/* An image does not look at handler and runtime. */
static bool loads_otherwise(const struct function *a, const struct function *b) {
    if (b->image)
        return false;
    return a->kind != b->kind || strcmp(a->handler, b->handler) != 0;
}

/* What changes by other ways than this one stays as it is now. */
static void take_state(struct function *f, const struct function *now) {
    f->status = now->status;
    f->active_no = now->active_no;
    f->active_number = now->active_number;
    f->previous_no = now->previous_no;
    f->previous_number = now->previous_number;
    f->last_number = now->last_number;
    f->created_us = now->created_us;
    f->deployed_us = now->deployed_us;
    free(f->image);
    f->image = now->image ? x_strdup(now->image) : NULL;
}

/* What the new version runs, or NULL: code. */
static const char *new_image(const struct update *op) {
    return op->code && op->code->len ? NULL : op->image;
}

/* What is made of an image is of the one that was asked for last. Of one that is made of code an
 * image says what serves. */
static void take_image(struct function *f, const char *image) {
    if (f->kind != RUNTIME_IMAGE || !image)
        return;
    free(f->image);
    f->image = x_strdup(image);
}

static int merge(struct update *op, const struct function *now, struct error *err) {
    struct function *f = op->f;
    if (f->updated_us != now->updated_us || (op->checked_no && op->checked_no != now->active_no))
        return error_field(err, ERR_CONFLICT, "function",
                           "function '%s' was changed meanwhile; read it again", now->name);
    take_state(f, now);
    take_image(f, new_image(op));
    f->updated_us = core_stamp(op->ch.core);
    op->rebuild = !op->code && !now->active_no && now->last_number && loads_otherwise(f, now);
    if (op->code && ++f->last_number > VERSIONS_MAX)
        return error_field(err, ERR_CONFLICT, "version", "version numbers end at %d", VERSIONS_MAX);
    op->ch.code = op->code;
    op->ch.code_of = f;
    op->ch.code_number = f->last_number;
    if (op->code || op->rebuild)
        f->status = FN_BUILDING;
    return 0;
}

static int prepare(struct change *ch, struct error *err) {
    struct update *op = container_of(ch, struct update, ch);
    struct function *now = registry_view(&ch->core->registry, ch->fn, NULL);
    int r = merge(op, now, err);
    function_unref(now);
    return r;
}

static int replace_triggers(struct update *op, struct store *s, struct error *err) {
    size_t n;
    struct trigger **old = registry_triggers(&op->ch.core->registry, op->ch.fn, &n);
    int r = 0;
    for (size_t i = 0; i < n && r == 0; i++)
        r = store_trigger_delete(s, old[i]->no, err);
    triggers_free(old, n);
    return r < 0 ? r : triggers_insert(s, op->triggers, op->n_triggers, op->f->no, err);
}

static int rebuild_newest(struct update *op, struct store *s, struct error *err) {
    struct version v = {0};
    int r = store_version_newest(s, op->f->no, &v, err);
    if (r == 0)
        r = store_version_set_build(s, v.no, BUILD_RUNNING, STR(""), err);
    op->version_no = v.no;
    op->number = v.number;
    op->image = version_is_image(&v) ? TAKE_PTR(v.image) : NULL;
    version_done(&v);
    return r;
}

static int add_version(struct update *op, struct store *s, struct error *err) {
    struct function *f = op->f;
    struct version v = {.function_no = f->no,
                        .number = f->last_number,
                        .build = BUILD_RUNNING,
                        .created_us = f->updated_us,
                        .code_len = op->code->len,
                        .image = op->image};
    struct str code = str_n(op->code->bytes, op->code->len);
    if (store_version_insert(s, &v, upload_rest(&op->ch, code), err) < 0 ||
        upload_used(&op->ch, s, &v, err) < 0)
        return -1;
    op->version_no = v.no;
    op->number = v.number;
    return change_event(&op->ch, s, f->no, "deployed", op->number, err, "Version v%u deployed",
                        op->number);
}

static int run(struct change *ch, struct store *s, struct error *err) {
    struct update *op = container_of(ch, struct update, ch);
    if (store_function_update(s, op->f, err) < 0 ||
        change_event(ch, s, op->f->no, "updated", 0, err, "Function %s updated", op->f->name) < 0)
        return -1;
    if (op->code && add_version(op, s, err) < 0)
        return -1;
    if (op->rebuild && rebuild_newest(op, s, err) < 0)
        return -1;
    return op->triggers_given ? replace_triggers(op, s, err) : 0;
}

static void publish(struct change *ch) {
    struct update *op = container_of(ch, struct update, ch);
    struct function *f = op->f;
    struct publication p = {.function = function_ref(f)};
    /* While new code is being built its configuration waits with it: the end of the build, good or
     * bad, publishes what fits the version that then serves. */
    if (f->active_no && f->status != FN_BUILDING) {
        p.set_deployment = true;
        p.deployment = core_deployment(ch->core, f, f->active_no, f->active_number);
    }
    if (op->triggers_given) {
        triggers_newest_first(op->triggers, op->n_triggers);
        p.set_triggers = true;
        p.triggers = op->triggers;
        p.n_triggers = op->n_triggers;
        op->triggers = NULL;
        op->n_triggers = 0;
    }
    if (op->code && op->code->len)
        code_cache_put(ch->core, op->version_no, op->code, NULL);
    registry_publish(ch->core, ch->fn, &p);
}

static void answer(struct update *op) {
    struct function *f = registry_view(&op->ch.core->registry, op->ch.fn, NULL);
    op->done(op->arg, NULL, f);
    function_unref(f);
    update_free(op);
}

static void built(struct build_wait *w, bool in_time) {
    (void)in_time; /* the status says how it stands */
    answer(container_of(w, struct update, wait));
}

static void finish(struct change *ch, const struct error *err) {
    struct update *op = container_of(ch, struct update, ch);
    if (err) {
        op->done(op->arg, err, NULL);
        update_free(op);
        return;
    }
    bool wait = op->version_no && op->wait_build;
    free(op->wait.log);
    op->wait = (struct build_wait){.over = built};
    if (op->version_no)
        build_enqueue(ch->core, ch->fn, op->f, op->version_no, op->number, new_image(op), true,
                      false, wait ? &op->wait : NULL, ch->loop);
    if (!new_image(op) && !op->f->image)
        engine_warm(ch->core->engine, op->f->kind);
    if (!wait)
        answer(op);
}

/* The end of a log, where the reason stands. */
static const char *tail(const char *log, size_t most) {
    size_t len = log ? strlen(log) : 0;
    const char *p = len > most ? log + len - most : log;
    while (p && (*p & 0xc0) == 0x80) /* not in the middle of a character */
        p++;
    return p ? p : "";
}

static void checked(struct build_wait *w, bool in_time) {
    struct update *op = container_of(w, struct update, wait);
    struct error err;
    if (in_time && w->ok) {
        change_start(&op->ch);
        return;
    }
    if (in_time)
        error_field(&err, ERR_BUILD_FAILED, "handler",
                    "the active version does not load with this configuration; nothing was "
                    "changed: %s",
                    tail(w->log, 300));
    else
        error_set(&err, ERR_UNAVAILABLE, "the check of the new handler did not end in time");
    change_fail(&op->ch, &err);
}

/* Loads the active version with the new handler or runtime first, where they changed. */
static void begin(struct update *op) {
    struct core *c = op->ch.core;
    struct function *now = registry_view(&c->registry, op->ch.fn, NULL);
    if (!op->code && now->active_no && loads_otherwise(op->f, now)) {
        struct function *probe = function_clone(op->f);
        op->checked_no = now->active_no;
        op->wait.over = checked;
        build_enqueue(c, op->ch.fn, probe, now->active_no, now->active_number, NULL, false, true,
                      &op->wait, op->ch.loop);
        function_unref(probe);
    } else {
        change_start(&op->ch);
    }
    function_unref(now);
}

static int check_update(struct update *op, struct str code, const char *image, struct error *err) {
    struct core *c = op->ch.core;
    if (core_refuses(c, err) < 0 || change_needs_function(&op->ch, err) < 0 ||
        function_check(op->f, err) < 0)
        return -1;
    if ((code.p || image) && code_check(code, image, op->f->kind, err) < 0)
        return -1;
    return op->triggers_given ? triggers_check(c, op->triggers, op->n_triggers, op->f, err) : 0;
}

void core_function_update(struct core *c, struct loop *loop, const struct principal *who,
                          struct core_update *u,
                          void (*done)(void *arg, const struct error *err, struct function *f),
                          void *arg) {
    struct error err;
    struct update *op = x_alloc(sizeof *op);
    change_init(&op->ch, c, loop, who, u->function->no);
    op->ch.prepare = prepare;
    op->ch.run = run;
    op->ch.publish = publish;
    op->ch.finish = finish;
    op->f = u->function;
    op->triggers_given = u->triggers_given;
    op->triggers = u->triggers;
    op->n_triggers = u->n_triggers;
    op->wait_build = u->wait_build;
    op->done = done;
    op->arg = arg;
    if (check_update(op, u->code, u->image, &err) < 0) {
        change_fail(&op->ch, &err);
        return;
    }
    op->image = u->image ? x_strdup(u->image) : NULL;
    op->code = u->code.p || u->image ? blob_new(u->code) : NULL;
    begin(op);
}
