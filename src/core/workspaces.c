/* SPDX-License-Identifier: Apache-2.0 */
/* Making, changing and deleting workspaces. */

#include "core/functions.h"
#include "core/places.h"

struct workspace_change {
    struct change ch;
    struct workspace w;
    struct core_fn **gone; /* functions of the workspace that is deleted */
    size_t n_gone, cap_gone;
    void (*done)(void *arg, const struct error *err, const struct workspace *w);
    void (*deleted)(void *arg, const struct error *err);
    void *arg;
};

static int check(const struct workspace *w, bool fresh, struct error *err) {
    if (w->id && check_name(str_of(w->id), "id", err) < 0)
        return -1;
    struct str name = str_of(w->name);
    bool given = fresh || name.p;
    if (given && (name.len == 0 || name.len > TITLE_MAX_LEN || !str_is_utf8(name)))
        return error_field(err, ERR_INVALID, "name", "name must be 1 to %d bytes of UTF-8",
                           TITLE_MAX_LEN);
    if (w->description && strlen(w->description) > DESCRIPTION_MAX)
        return error_field(err, ERR_INVALID, "description", "description is at most %d bytes",
                           DESCRIPTION_MAX);
    return 0;
}

static void finish(struct change *ch, const struct error *err) {
    struct workspace_change *op = container_of(ch, struct workspace_change, ch);
    if (op->deleted)
        op->deleted(op->arg, err);
    else
        op->done(op->arg, err, err ? NULL : &op->w);
    for (size_t i = 0; i < op->n_gone; i++)
        core_fn_unref(op->gone[i]);
    free(op->gone);
    workspace_done(&op->w);
    change_done(ch);
    free(op);
}

static void start(struct workspace_change *op, bool valid, struct error *err) {
    op->ch.finish = finish;
    if (!valid || core_refuses(op->ch.core, err) < 0)
        change_fail(&op->ch, err);
    else
        change_start(&op->ch);
}

static struct workspace_change *begin(struct core *c, struct loop *loop,
                                      const struct principal *who, struct workspace *w, void *arg) {
    struct workspace_change *op = x_alloc(sizeof *op);
    change_init(&op->ch, c, loop, who, 0);
    op->w = *w;
    *w = (struct workspace){0};
    op->arg = arg;
    return op;
}

static struct workspace copy(const struct workspace *w) {
    struct workspace c = *w;
    c.id = x_strdup(w->id);
    c.name = x_strdup(w->name);
    c.description = w->description ? x_strdup(w->description) : NULL;
    return c;
}

/* ---- create ---- */
static int create_run(struct change *ch, struct store *s, struct error *err) {
    struct workspace_change *op = container_of(ch, struct workspace_change, ch);
    if (places_room(ch->core, err) < 0)
        return -1;
    return store_workspace_insert(s, &op->w, err);
}

static void create_publish(struct change *ch) {
    struct workspace_change *op = container_of(ch, struct workspace_change, ch);
    struct workspace shared = copy(&op->w);
    places_add_workspace(&ch->core->places, &shared);
}

void core_workspace_create(
    struct core *c, struct loop *loop, const struct principal *who, struct workspace *w,
    void (*done)(void *arg, const struct error *err, const struct workspace *w), void *arg) {
    struct error err;
    struct workspace_change *op = begin(c, loop, who, w, arg);
    op->done = done;
    op->ch.run = create_run;
    op->ch.publish = create_publish;
    op->w.created_us = op->w.updated_us = core_stamp(c);
    start(op, check(&op->w, true, &err) == 0, &err);
}

/* ---- update ---- */
static int update_run(struct change *ch, struct store *s, struct error *err) {
    struct workspace_change *op = container_of(ch, struct workspace_change, ch);
    return store_workspace_update(s, &op->w, err);
}

static void update_publish(struct change *ch) {
    struct workspace_change *op = container_of(ch, struct workspace_change, ch);
    places_set_workspace(&ch->core->places, &op->w);
}

void core_workspace_update(
    struct core *c, struct loop *loop, const struct principal *who, struct workspace *w,
    void (*done)(void *arg, const struct error *err, const struct workspace *w), void *arg) {
    struct error err;
    struct workspace_change *op = begin(c, loop, who, w, arg);
    op->done = done;
    op->ch.run = update_run;
    op->ch.publish = update_publish;
    op->w.updated_us = core_stamp(c);
    start(op, check(&op->w, false, &err) == 0, &err);
}

/* ---- delete: one transaction; changes of its functions that come after find nothing ---- */
static void take_functions(struct workspace_change *op) {
    struct registry *r = &op->ch.core->registry;
    pthread_rwlock_rdlock(&r->lock);
    for (size_t i = 0; i < r->n; i++) {
        if (strcmp(r->v[i]->function->workspace, op->w.id) != 0)
            continue;
        op->gone = grow(op->gone, op->n_gone, &op->cap_gone, sizeof(void *));
        op->gone[op->n_gone++] = core_fn_ref(r->v[i]);
    }
    pthread_rwlock_unlock(&r->lock);
}

static int delete_run(struct change *ch, struct store *s, struct error *err) {
    struct workspace_change *op = container_of(ch, struct workspace_change, ch);
    take_functions(op);
    for (size_t i = 0; i < op->n_gone; i++)
        if (change_event(ch, s, op->gone[i]->no, "deleted", 0, err, "Deleted with its workspace %s",
                         op->w.id) < 0)
            return -1;
    return store_workspace_delete(s, op->w.id, err);
}

static void delete_publish(struct change *ch) {
    struct workspace_change *op = container_of(ch, struct workspace_change, ch);
    size_t before = op->n_gone;
    take_functions(op); /* those that were made in the same group of commits, too */
    for (size_t i = before; i < op->n_gone; i++)
        registry_remove(ch->core, op->gone[i]);
    places_remove_workspace(&ch->core->places, str_of(op->w.id));
}

void core_workspace_delete(struct core *c, struct loop *loop, const struct principal *who,
                           struct str id, void (*done)(void *arg, const struct error *err),
                           void *arg) {
    struct error err;
    struct workspace w = {.id = x_strndup(id.p, id.len)};
    struct workspace_change *op = begin(c, loop, who, &w, arg);
    op->deleted = done;
    op->ch.run = delete_run;
    op->ch.publish = delete_publish;
    bool may = !str_is(id, DEFAULT_WORKSPACE);
    if (!may)
        error_field(&err, ERR_CONFLICT, "workspace",
                    "workspace %s stays: three of the APIs live in it", DEFAULT_WORKSPACE);
    start(op, may, &err);
}
