/* SPDX-License-Identifier: Apache-2.0 */
/* Making and deleting functions. */

#include "core/functions.h"
#include "core/places.h"
#include <stdio.h>

/* ---- shared with functions_update.c ---- */
int function_check(struct function *f, struct error *err) {
    if (check_name(str_of(f->workspace), "workspace", err) < 0 ||
        check_project_name(str_of(f->project), "project", err) < 0 ||
        check_name(str_of(f->name), "name", err) < 0 || check_env(&f->env, err) < 0 ||
        check_labels(&f->labels, "labels", err) < 0 ||
        check_labels(&f->annotations, "annotations", err) < 0)
        return -1;
    int kind = runtime_parse(str_of(f->runtime));
    if (kind < 0)
        return error_field(err, ERR_INVALID_RUNTIME, "runtime", "there is no runtime '%s'",
                           f->runtime ? f->runtime : "");
    f->kind = (enum runtime_kind)kind;
    if (f->kind == RUNTIME_IMAGE && !f->handler)
        f->handler = x_strdup("");
    bool has_handler = f->kind != RUNTIME_IMAGE || f->handler[0];
    if (has_handler && check_handler(str_of(f->handler), err) < 0)
        return -1;
    if (f->timeout_ms > TIMEOUT_MS_MAX)
        return error_field(err, ERR_INVALID, "timeout", "timeout is at most %u s",
                           TIMEOUT_MS_MAX / 1000);
    if (f->max_instances > INSTANCES_MAX || f->min_instances > INSTANCES_MAX)
        return error_field(err, ERR_INVALID, "replicas", "at most %u instances", INSTANCES_MAX);
    if (f->max_instances && f->min_instances > f->max_instances)
        return error_field(err, ERR_INVALID, "minReplicas",
                           "minReplicas is larger than maxReplicas");
    return 0;
}

/* A taken name says more than the path that goes with it: -1, *ERR about the name where it is. */
static int refuse_route(struct core *c, const struct function *f, struct error *err) {
    struct function *other =
        core_function_named(c, str_of(f->workspace), str_of(f->project), str_of(f->name));
    bool taken = other && other->no != f->no;
    function_unref(other);
    if (!taken)
        return -1;
    return error_field(err, ERR_CONFLICT, "name",
                       "a function named '%s' exists in project '%s' already", function_title(f),
                       f->project);
}

/* IMAGE where it is what runs, else NULL. */
static const char *image_that_runs(struct str code, const char *image) {
    return code.len == 0 && image && image[0] ? image : NULL;
}

int code_check(struct str code, const char *image, enum runtime_kind kind, struct error *err) {
    if (image && image_ref_check(str_of(image), err) < 0)
        return -1;
    if (image_that_runs(code, image))
        return 0;
    if (kind == RUNTIME_IMAGE)
        return error_field(err, ERR_INVALID, "image", "runtime 'image' runs an image: name one");
    if (code.len == 0)
        return error_field(err, ERR_INVALID, "code", "code is empty");
    if (code.len > CODE_MAX)
        return error_field(err, ERR_TOO_LARGE, "code", "code is larger than %zu MiB",
                           CODE_MAX / MIB);
    return 0;
}

int triggers_check(struct core *c, struct trigger **v, size_t n, const struct function *f,
                   struct error *err) {
    if (n > TRIGGERS_MAX)
        return error_field(err, ERR_INVALID, "triggers", "at most %d triggers a function",
                           TRIGGERS_MAX);
    for (size_t i = 0; i < n; i++) {
        if (check_trigger(v[i], f->name, err) < 0)
            return -1;
        if (route_check(c, v[i], f->no, err) < 0)
            return refuse_route(c, f, err);
        for (size_t j = 0; j < i; j++)
            if (strcmp(v[i]->name, v[j]->name) == 0)
                return error_field(err, ERR_CONFLICT, "triggers", "two triggers are named '%s'",
                                   v[i]->name);
    }
    return 0;
}

int triggers_insert(struct store *s, struct trigger **v, size_t n, uint32_t function_no,
                    struct error *err) {
    for (size_t i = 0; i < n; i++) {
        v[i]->function_no = function_no;
        v[i]->created_us = v[i]->updated_us = clock_real_us();
        if (store_trigger_insert(s, v[i], err) < 0)
            return -1;
    }
    return 0;
}

void triggers_newest_first(struct trigger **v, size_t n) {
    for (size_t i = 0; i + i + 1 < n; i++) {
        struct trigger *t = v[i];
        v[i] = v[n - 1 - i];
        v[n - 1 - i] = t;
    }
}

/* ---- create ---- */
struct create {
    struct change ch;
    struct function *f; /* ours alone until it is published */
    struct blob *code;
    char *image; /* or NULL */
    struct places_new made;
    struct trigger **triggers;
    size_t n_triggers;
    bool wait_build;
    uint32_t version_no;
    struct build_wait wait;
    void (*done)(void *arg, const struct error *err, struct function *f);
    void *arg;
};

static void create_free(struct create *op) {
    change_done(&op->ch);
    function_unref(op->f);
    blob_unref(op->code);
    free(op->image);
    places_new_done(&op->made);
    triggers_free(op->triggers, op->n_triggers);
    free(op->wait.log);
    free(op);
}

static int create_run(struct change *ch, struct store *s, struct error *err) {
    struct create *op = container_of(ch, struct create, ch);
    struct version v = {
        .number = 1, .build = BUILD_RUNNING, .created_us = op->f->created_us, .image = op->image};
    struct str code = str_n(op->code->bytes, op->code->len);
    if (places_ensure(ch->core, s, op->f, &op->made, err) < 0 ||
        store_function_insert(s, op->f, err) < 0)
        return -1;
    v.function_no = op->f->no;
    v.code_len = code.len;
    if (store_version_insert(s, &v, upload_rest(ch, code), err) < 0 ||
        upload_used(ch, s, &v, err) < 0 ||
        triggers_insert(s, op->triggers, op->n_triggers, op->f->no, err) < 0)
        return -1;
    op->version_no = v.no;
    return change_event(ch, s, op->f->no, "created", 1, err, "Function %s created", op->f->name);
}

static void create_publish(struct change *ch) {
    struct create *op = container_of(ch, struct create, ch);
    places_made(ch->core, &op->made);
    ch->fn = core_fn_new(function_ref(op->f));
    ch->fn->triggers = op->triggers;
    ch->fn->n_triggers = op->n_triggers;
    bool triggers = op->n_triggers > 0;
    triggers_newest_first(op->triggers, op->n_triggers);
    op->triggers = NULL;
    op->n_triggers = 0;
    if (!op->f->image)
        code_cache_put(ch->core, op->version_no, op->code, NULL);
    registry_add(&ch->core->registry, ch->fn);
    if (triggers)
        schedules_changed(ch->core, ch->fn);
}

static void create_built(struct build_wait *w, bool in_time) {
    (void)in_time; /* the status says how it stands */
    struct create *op = container_of(w, struct create, wait);
    struct function *f = registry_view(&op->ch.core->registry, op->ch.fn, NULL);
    op->done(op->arg, NULL, f);
    function_unref(f);
    create_free(op);
}

static void create_finish(struct change *ch, const struct error *err) {
    struct create *op = container_of(ch, struct create, ch);
    if (err) {
        op->done(op->arg, err, NULL);
        create_free(op);
        return;
    }
    struct core *c = ch->core;
    if (!op->f->image) /* that one's begins with its first call */
        engine_warm(c->engine, op->f->kind);
    op->wait.over = create_built;
    build_enqueue(c, ch->fn, op->f, op->version_no, 1, op->f->image, true, false,
                  op->wait_build ? &op->wait : NULL, ch->loop);
    if (op->wait_build)
        return;
    op->done(op->arg, NULL, op->f);
    create_free(op);
}

static void draft_defaults(struct core *c, struct function *f) {
    f->created_us = f->updated_us = core_stamp(c);
    f->deployed_us = 0;
    f->status = FN_BUILDING;
    f->active_no = f->active_number = f->previous_no = f->previous_number = 0;
    f->last_number = 1;
}

void core_function_create(struct core *c, struct loop *loop, const struct principal *who,
                          struct core_draft *draft,
                          void (*done)(void *arg, const struct error *err, struct function *f),
                          void *arg) {
    struct error err;
    struct create *op = x_alloc(sizeof *op);
    change_init(&op->ch, c, loop, who, 0);
    op->ch.run = create_run;
    op->ch.publish = create_publish;
    op->ch.finish = create_finish;
    op->f = draft->function;
    op->triggers = draft->triggers;
    op->n_triggers = draft->n_triggers;
    op->wait_build = draft->wait_build;
    op->done = done;
    op->arg = arg;
    draft_defaults(c, op->f);
    if (core_refuses(c, &err) < 0 || function_check(op->f, &err) < 0 ||
        code_check(draft->code, draft->image, op->f->kind, &err) < 0 ||
        triggers_check(c, op->triggers, op->n_triggers, op->f, &err) < 0) {
        change_fail(&op->ch, &err);
        return;
    }
    op->code = blob_new(draft->code);
    op->ch.code = op->code;
    op->ch.code_of = op->f;
    op->ch.code_number = 1;
    op->image = draft->image ? x_strdup(draft->image) : NULL;
    free(op->f->image);
    const char *runs = image_that_runs(draft->code, draft->image);
    op->f->image = runs ? x_strdup(runs) : NULL;
    change_start(&op->ch);
}

/* ---- delete: one transaction; what runs ends on the retired deployment ---- */
struct delete {
    struct change ch;
    void (*done)(void *arg, const struct error *err);
    void *arg;
};

static int delete_run(struct change *ch, struct store *s, struct error *err) {
    struct function *f = registry_view(&ch->core->registry, ch->fn, NULL);
    int r = change_event(ch, s, f->no, "deleted", 0, err, "Function %s deleted", f->name);
    if (r == 0)
        r = store_function_delete(s, f->no, err);
    function_unref(f);
    return r;
}

static void delete_publish(struct change *ch) {
    registry_remove(ch->core, ch->fn);
}

static void delete_finish(struct change *ch, const struct error *err) {
    struct delete *op = container_of(ch, struct delete, ch);
    op->done(op->arg, err);
    change_done(ch);
    free(op);
}

void core_function_delete(struct core *c, struct loop *loop, const struct principal *who,
                          uint32_t no, void (*done)(void *arg, const struct error *err),
                          void *arg) {
    struct error err;
    struct delete *op = x_alloc(sizeof *op);
    change_init(&op->ch, c, loop, who, no);
    op->ch.run = delete_run;
    op->ch.publish = delete_publish;
    op->ch.finish = delete_finish;
    op->done = done;
    op->arg = arg;
    if (core_refuses(c, &err) < 0 || change_needs_function(&op->ch, &err) < 0)
        change_fail(&op->ch, &err);
    else
        change_start(&op->ch);
}
