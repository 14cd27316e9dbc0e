/* SPDX-License-Identifier: Apache-2.0 */
/* Versions: deploy, list, activate, roll back, read the code. */

#include "core/functions.h"
#include <stdio.h>

static int not_its_own(struct error *err) {
    return error_field(err, ERR_NOT_FOUND, "version", "the function has no such version");
}

/* ---- deploy ---- */
struct deploy {
    struct change ch;
    uint32_t number;
    struct blob *code;
    char *image; /* or NULL */
    struct function *next;
    struct version v;
    void (*done)(void *arg, const struct error *err, const struct version *v);
    void *arg;
};

static int deploy_prepare(struct change *ch, struct error *err) {
    struct deploy *op = container_of(ch, struct deploy, ch);
    struct function *now = registry_view(&ch->core->registry, ch->fn, NULL);
    op->next = function_clone(now);
    function_unref(now);
    if (op->number == 0)
        op->number = op->next->last_number + 1;
    if (op->number > VERSIONS_MAX)
        return error_field(err, ERR_INVALID, "version", "version numbers end at %d", VERSIONS_MAX);
    if (op->number > op->next->last_number)
        op->next->last_number = op->number;
    ch->code = op->code;
    ch->code_of = op->next;
    ch->code_number = op->number;
    return 0;
}

static int deploy_run(struct change *ch, struct store *s, struct error *err) {
    struct deploy *op = container_of(ch, struct deploy, ch);
    op->v = (struct version){.function_no = op->next->no,
                             .number = op->number,
                             .build = BUILD_RUNNING,
                             .created_us = clock_real_us(),
                             .code_len = op->code->len,
                             .image = op->image ? x_strdup(op->image) : NULL};
    struct str code = str_n(op->code->bytes, op->code->len);
    if (store_version_insert(s, &op->v, upload_rest(ch, code), err) < 0 ||
        upload_used(ch, s, &op->v, err) < 0 || store_function_update(s, op->next, err) < 0)
        return -1;
    return change_event(ch, s, op->next->no, "deployed", op->number, err, "Version v%u deployed",
                        op->number);
}

static void deploy_publish(struct change *ch) {
    struct deploy *op = container_of(ch, struct deploy, ch);
    struct publication p = {.function = function_ref(op->next)};
    if (op->code->len)
        code_cache_put(ch->core, op->v.no, op->code, NULL);
    registry_publish(ch->core, ch->fn, &p);
}

static void deploy_finish(struct change *ch, const struct error *err) {
    struct deploy *op = container_of(ch, struct deploy, ch);
    if (!err)
        build_enqueue(ch->core, ch->fn, op->next, op->v.no, op->number,
                      version_is_image(&op->v) ? op->v.image : NULL, false, false, NULL, ch->loop);
    op->done(op->arg, err, err ? NULL : &op->v);
    version_done(&op->v);
    function_unref(op->next);
    blob_unref(op->code);
    free(op->image);
    change_done(ch);
    free(op);
}

static int deploy_check(const struct change *ch, struct str code, const char *image,
                        struct error *err) {
    struct function *now = registry_view(&ch->core->registry, ch->fn, NULL);
    int r = code_check(code, image, now->kind, err);
    function_unref(now);
    return r;
}

void core_version_deploy(struct core *c, struct loop *loop, const struct principal *who,
                         uint32_t function_no, uint32_t number, struct str code, const char *image,
                         void (*done)(void *arg, const struct error *err, const struct version *v),
                         void *arg) {
    struct error err;
    struct deploy *op = x_alloc(sizeof *op);
    change_init(&op->ch, c, loop, who, function_no);
    op->ch.prepare = deploy_prepare;
    op->ch.run = deploy_run;
    op->ch.publish = deploy_publish;
    op->ch.finish = deploy_finish;
    op->number = number;
    op->done = done;
    op->arg = arg;
    if (core_refuses(c, &err) < 0 || change_needs_function(&op->ch, &err) < 0 ||
        deploy_check(&op->ch, code, image, &err) < 0) {
        change_fail(&op->ch, &err);
        return;
    }
    op->code = blob_new(code);
    op->image = image ? x_strdup(image) : NULL;
    change_start(&op->ch);
}

/* ---- activate and roll back ---- */
struct activate {
    struct change ch;
    uint32_t version_no;
    bool rollback;
    struct function *base;
    struct function *next; /* made in run: the number is in the store */
    uint32_t number;
    char *image; /* that it is, or NULL */
    struct build_wait wait;
    void (*activated)(void *arg, const struct error *err);
    void (*rolled)(void *arg, const struct error *err, uint32_t number);
    void *arg;
};

static int activate_prepare(struct change *ch, struct error *err) {
    struct activate *op = container_of(ch, struct activate, ch);
    op->base = registry_view(&ch->core->registry, ch->fn, NULL);
    if (op->rollback) {
        if (!op->base->previous_no)
            return error_field(err, ERR_CONFLICT, "version",
                               "no version was active before the present one");
        op->version_no = op->base->previous_no;
    }
    op->number = op->base->active_number;
    ch->nothing = op->version_no == op->base->active_no;
    return 0;
}

static int check_built(const struct activate *op, const struct version *v, struct error *err) {
    if (v->function_no != op->ch.fn->no)
        return not_its_own(err);
    if (v->build == BUILD_FAILED)
        return error_field(err, ERR_BUILD_FAILED, "version",
                           "version v%u was not built; its build log says why", v->number);
    if (v->build != BUILD_SUCCESS)
        return error_field(err, ERR_CONFLICT, "version", "version v%u is still being built",
                           v->number);
    return 0;
}

static void make_next(struct activate *op) {
    struct function *next = function_clone(op->base);
    next->previous_no = op->base->active_no;
    next->previous_number = op->base->active_number;
    next->active_no = op->version_no;
    next->active_number = op->number;
    next->status = FN_READY;
    next->deployed_us = clock_real_us();
    free(next->image);
    next->image = op->image ? x_strdup(op->image) : NULL;
    op->next = next;
}

static int activate_run(struct change *ch, struct store *s, struct error *err) {
    struct activate *op = container_of(ch, struct activate, ch);
    struct version v = {0};
    if (store_version_get(s, op->version_no, &v, err) < 0)
        return -1;
    op->number = v.number;
    int r = check_built(op, &v, err);
    free(op->image);
    op->image = version_is_image(&v) ? x_strdup(v.image) : NULL;
    version_done(&v);
    if (r < 0)
        return -1;
    make_next(op);
    if (store_function_update(s, op->next, err) < 0)
        return -1;
    return change_event(
        ch, s, op->next->no, op->rollback ? "rolled_back" : "version_activated", op->number, err,
        op->rollback ? "Rolled back to version v%u" : "Version v%u activated", op->number);
}

static void activate_publish(struct change *ch) {
    struct activate *op = container_of(ch, struct activate, ch);
    struct publication p = {.function = function_ref(op->next), .set_deployment = true};
    p.deployment = core_deployment(ch->core, op->next, op->version_no, op->number);
    registry_publish(ch->core, ch->fn, &p);
}

static void activate_finish(struct change *ch, const struct error *err) {
    struct activate *op = container_of(ch, struct activate, ch);
    if (op->rollback)
        op->rolled(op->arg, err, err ? 0 : op->number);
    else
        op->activated(op->arg, err);
    function_unref(op->base);
    function_unref(op->next);
    free(op->wait.log);
    free(op->image);
    change_done(ch);
    free(op);
}

static struct activate *activate_new(struct core *c, struct loop *loop, const struct principal *who,
                                     uint32_t function_no) {
    struct activate *op = x_alloc(sizeof *op);
    change_init(&op->ch, c, loop, who, function_no);
    op->ch.prepare = activate_prepare;
    op->ch.run = activate_run;
    op->ch.publish = activate_publish;
    op->ch.finish = activate_finish;
    return op;
}

static void build_awaited(struct build_wait *w, bool in_time) {
    (void)in_time; /* what the store says about the build decides */
    change_start(&container_of(w, struct activate, wait)->ch);
}

void core_version_activate(struct core *c, struct loop *loop, const struct principal *who,
                           uint32_t function_no, uint32_t version_no,
                           void (*done)(void *arg, const struct error *err), void *arg) {
    struct error err;
    struct activate *op = activate_new(c, loop, who, function_no);
    op->version_no = version_no;
    op->activated = done;
    op->arg = arg;
    if (core_refuses(c, &err) < 0 || change_needs_function(&op->ch, &err) < 0) {
        change_fail(&op->ch, &err);
        return;
    }
    op->wait.over = build_awaited;
    build_wait_for(c, &op->wait, loop, version_no);
}

void core_rollback(struct core *c, struct loop *loop, const struct principal *who,
                   uint32_t function_no,
                   void (*done)(void *arg, const struct error *err, uint32_t number), void *arg) {
    struct error err;
    struct activate *op = activate_new(c, loop, who, function_no);
    op->rollback = true;
    op->rolled = done;
    op->arg = arg;
    if (core_refuses(c, &err) < 0 || change_needs_function(&op->ch, &err) < 0)
        change_fail(&op->ch, &err);
    else
        change_start(&op->ch);
}

/* ---- one ---- */
struct version_ask {
    struct ask ask;
    uint32_t function_no, version_no, number;
    struct version v;
    void (*done)(void *arg, const struct error *err, const struct version *v);
    void *arg;
};

static int version_read(struct ask *ask, struct store *s, struct error *err) {
    struct version_ask *a = container_of(ask, struct version_ask, ask);
    if (!a->version_no)
        return store_version_find(s, a->function_no, a->number, &a->v, err);
    if (store_version_get(s, a->version_no, &a->v, err) < 0)
        return -1;
    return a->v.function_no == a->function_no ? 0 : not_its_own(err);
}

static void version_answer(struct ask *ask, const struct error *err) {
    struct version_ask *a = container_of(ask, struct version_ask, ask);
    a->done(a->arg, err, err ? NULL : &a->v);
    version_done(&a->v);
    free(a);
}

void core_version(struct core *c, struct loop *loop, uint32_t function_no, uint32_t version_no,
                  uint32_t number,
                  void (*done)(void *arg, const struct error *err, const struct version *v),
                  void *arg) {
    struct version_ask *a = x_alloc(sizeof *a);
    a->ask = (struct ask){.core = c, .loop = loop, .read = version_read, .answer = version_answer};
    a->function_no = function_no;
    a->version_no = version_no;
    a->number = number;
    a->done = done;
    a->arg = arg;
    ask_start(&a->ask);
}

/* ---- list ---- */
struct versions_ask {
    struct ask ask;
    uint32_t function_no;
    struct version *v;
    size_t n, cap;
    void (*done)(void *arg, const struct error *err, const struct version *v, size_t n);
    void *arg;
};

static bool keep_version(void *arg, const struct version *v) {
    struct versions_ask *a = arg;
    a->v = grow(a->v, a->n, &a->cap, sizeof *a->v);
    struct version *copy = &a->v[a->n++];
    *copy = *v;
    copy->image = v->image ? x_strdup(v->image) : NULL;
    return true;
}

static int versions_read(struct ask *ask, struct store *s, struct error *err) {
    struct versions_ask *a = container_of(ask, struct versions_ask, ask);
    return store_version_each(s, a->function_no, keep_version, a, err);
}

static void versions_answer(struct ask *ask, const struct error *err) {
    struct versions_ask *a = container_of(ask, struct versions_ask, ask);
    a->done(a->arg, err, err ? NULL : a->v, err ? 0 : a->n);
    for (size_t i = 0; i < a->n; i++)
        version_done(&a->v[i]);
    free(a->v);
    free(a);
}

void core_versions(struct core *c, struct loop *loop, uint32_t function_no,
                   void (*done)(void *arg, const struct error *err, const struct version *v,
                                size_t n),
                   void *arg) {
    struct versions_ask *a = x_alloc(sizeof *a);
    a->ask =
        (struct ask){.core = c, .loop = loop, .read = versions_read, .answer = versions_answer};
    a->function_no = function_no;
    a->done = done;
    a->arg = arg;
    ask_start(&a->ask);
}

/* ---- code ---- */
struct code_ask {
    struct ask ask;
    uint32_t function_no, version_no;
    struct code_slot slot;
    void (*done)(void *arg, const struct error *err, struct blob *code);
    void *arg;
};

static bool newest_or_active(void *arg, const struct version *v) {
    struct code_ask *a = arg;
    if (a->version_no == 0 || v->active)
        a->version_no = v->no;
    return !v->active;
}

static int code_read(struct ask *ask, struct store *s, struct error *err) {
    struct code_ask *a = container_of(ask, struct code_ask, ask);
    struct version v = {0};
    if (a->version_no == 0 && store_version_each(s, a->function_no, newest_or_active, a, err) < 0)
        return -1;
    if (store_version_get(s, a->version_no, &v, err) < 0)
        return -1;
    bool ours = v.function_no == a->function_no;
    version_done(&v);
    if (!ours)
        return not_its_own(err);
    if (code_slot_read(s, a->version_no, &a->slot, err) < 0)
        return -1;
    ask->far = a->slot.at != NULL;
    return 0;
}

static int code_far(struct ask *ask, struct error *err) {
    struct code_ask *a = container_of(ask, struct code_ask, ask);
    return code_slot_fetch(ask->core, &a->slot, err);
}

static void code_answer(struct ask *ask, const struct error *err) {
    struct code_ask *a = container_of(ask, struct code_ask, ask);
    a->done(a->arg, err, err ? NULL : a->slot.code);
    code_slot_done(&a->slot);
    free(a);
}

void core_code(struct core *c, struct loop *loop, uint32_t function_no, uint32_t version_no,
               void (*done)(void *arg, const struct error *err, struct blob *code), void *arg) {
    struct code_ask *a = x_alloc(sizeof *a);
    a->ask = (struct ask){
        .core = c, .loop = loop, .read = code_read, .fetch = code_far, .answer = code_answer};
    a->function_no = function_no;
    a->version_no = version_no;
    a->done = done;
    a->arg = arg;
    ask_start(&a->ask);
}
