/* SPDX-License-Identifier: Apache-2.0 */
/* Making, changing and deleting projects. */

#include "core/functions.h"
#include "core/places.h"

struct project_change {
    struct change ch;
    struct project *p; /* ours until it is published */
    struct places_new made;
    int64_t was_us; /* updated_us of what p was cloned from */
    void (*done)(void *arg, const struct error *err, struct project *p);
    void (*deleted)(void *arg, const struct error *err);
    void *arg;
};

static void finish(struct change *ch, const struct error *err) {
    struct project_change *op = container_of(ch, struct project_change, ch);
    if (op->deleted)
        op->deleted(op->arg, err);
    else
        op->done(op->arg, err, err ? NULL : op->p);
    places_new_done(&op->made);
    project_unref(op->p);
    change_done(ch);
    free(op);
}

static struct project_change *begin(struct core *c, struct loop *loop, const struct principal *who,
                                    struct project *p, void *arg) {
    struct project_change *op = x_alloc(sizeof *op);
    change_init(&op->ch, c, loop, who, 0);
    op->ch.finish = finish;
    op->p = p;
    op->arg = arg;
    return op;
}

static void start(struct project_change *op) {
    struct error err;
    const struct project *p = op->p;
    if (core_refuses(op->ch.core, &err) < 0 ||
        check_name(str_of(p->workspace), "workspace", &err) < 0 ||
        check_project_name(str_of(p->name), "name", &err) < 0 || check_env(&p->config, &err) < 0)
        change_fail(&op->ch, &err);
    else
        change_start(&op->ch);
}

/* ---- create ---- */
static int create_run(struct change *ch, struct store *s, struct error *err) {
    struct project_change *op = container_of(ch, struct project_change, ch);
    if (places_room(ch->core, err) < 0 ||
        store_workspace_ensure(s, op->p->workspace, op->p->created_us, &op->made.workspace, err) <
            0)
        return -1;
    return store_project_insert(s, op->p, err);
}

static void create_publish(struct change *ch) {
    struct project_change *op = container_of(ch, struct project_change, ch);
    places_made(ch->core, &op->made);
    places_put_project(&ch->core->places, project_ref(op->p));
}

void core_project_create(struct core *c, struct loop *loop, const struct principal *who,
                         struct project *p,
                         void (*done)(void *arg, const struct error *err, struct project *p),
                         void *arg) {
    struct project_change *op = begin(c, loop, who, p, arg);
    op->done = done;
    op->ch.run = create_run;
    op->ch.publish = create_publish;
    p->created_us = p->updated_us = core_stamp(c);
    start(op);
}

/* ---- update: its functions are deployed anew, since the config is part of their environment ----
 */
static int update_run(struct change *ch, struct store *s, struct error *err) {
    struct project_change *op = container_of(ch, struct project_change, ch);
    return store_project_update(s, op->p, op->was_us, err);
}

static bool deployed_in(const struct core_fn *fn, const struct project *p) {
    const struct function *f = fn->function;
    return fn->deployment && strcmp(f->workspace, p->workspace) == 0 &&
           strcmp(f->project, p->name) == 0;
}

static void redeploy(struct core *c, struct core_fn *fn) {
    struct deployment *now;
    struct function *f = registry_view(&c->registry, fn, &now);
    if (now) {
        struct publication p = {.set_deployment = true};
        p.deployment = core_deployment(c, now->function, now->version_no, now->version_number);
        registry_publish(c, fn, &p);
        deployment_unref(now);
    }
    function_unref(f);
}

static void update_publish(struct change *ch) {
    struct project_change *op = container_of(ch, struct project_change, ch);
    struct registry *r = &ch->core->registry;
    struct core_fn **v = NULL;
    size_t n = 0, cap = 0;
    places_put_project(&ch->core->places, project_ref(op->p));
    pthread_rwlock_rdlock(&r->lock);
    for (size_t i = 0; i < r->n; i++) {
        if (!deployed_in(r->v[i], op->p))
            continue;
        v = grow(v, n, &cap, sizeof(void *));
        v[n++] = core_fn_ref(r->v[i]);
    }
    pthread_rwlock_unlock(&r->lock);
    for (size_t i = 0; i < n; i++) {
        redeploy(ch->core, v[i]);
        core_fn_unref(v[i]);
    }
    free(v);
}

void core_project_update(struct core *c, struct loop *loop, const struct principal *who,
                         struct project *p,
                         void (*done)(void *arg, const struct error *err, struct project *p),
                         void *arg) {
    struct project_change *op = begin(c, loop, who, p, arg);
    op->done = done;
    op->ch.run = update_run;
    op->ch.publish = update_publish;
    op->was_us = p->updated_us;
    p->updated_us = core_stamp(c);
    start(op);
}

/* ---- delete ---- */
static int delete_run(struct change *ch, struct store *s, struct error *err) {
    struct project_change *op = container_of(ch, struct project_change, ch);
    return store_project_delete(s, op->p, err);
}

static void delete_publish(struct change *ch) {
    struct project_change *op = container_of(ch, struct project_change, ch);
    places_remove_project(&ch->core->places, op->p->no);
}

void core_project_delete(struct core *c, struct loop *loop, const struct principal *who,
                         struct str workspace, struct str name,
                         void (*done)(void *arg, const struct error *err), void *arg) {
    struct error err;
    struct project *p = core_project(c, workspace, name);
    struct project_change *op = begin(c, loop, who, p, arg);
    op->deleted = done;
    op->ch.run = delete_run;
    op->ch.publish = delete_publish;
    if (p) {
        start(op);
        return;
    }
    error_field(&err, ERR_NOT_FOUND, "project", "there is no such project");
    change_fail(&op->ch, &err);
}
