/* SPDX-License-Identifier: Apache-2.0 */
/* Triggers of a function, one by one. */

#include "core/functions.h"

enum trigger_op_kind { OP_CREATE, OP_UPDATE, OP_DELETE };

struct trigger_op {
    struct change ch;
    enum trigger_op_kind kind;
    uint32_t trigger_no;
    struct trigger *t; /* ours alone until it is published; NULL when deleting */
    struct trigger **now;
    size_t n_now;
    void (*done)(void *arg, const struct error *err, struct trigger *t);
    void (*deleted)(void *arg, const struct error *err);
    void *arg;
};

static ssize_t find(const struct trigger_op *op) {
    for (size_t i = 0; i < op->n_now; i++)
        if (op->now[i]->no == op->trigger_no)
            return (ssize_t)i;
    return -1;
}

static int check_set(const struct trigger_op *op, struct error *err) {
    if (op->kind == OP_CREATE && op->n_now >= TRIGGERS_MAX)
        return error_field(err, ERR_INVALID, "triggers", "at most %d triggers a function",
                           TRIGGERS_MAX);
    for (size_t i = 0; i < op->n_now; i++)
        if (op->now[i]->no != op->trigger_no && strcmp(op->now[i]->name, op->t->name) == 0)
            return error_field(err, ERR_CONFLICT, "name",
                               "the function has a trigger named '%s' already", op->t->name);
    return 0;
}

static int prepare(struct change *ch, struct error *err) {
    struct trigger_op *op = container_of(ch, struct trigger_op, ch);
    op->now = registry_triggers(&ch->core->registry, ch->fn, &op->n_now);
    ssize_t at = op->kind == OP_CREATE ? -1 : find(op);
    if (op->kind != OP_CREATE && at < 0)
        return error_field(err, ERR_NOT_FOUND, "trigger", "the function has no such trigger");
    if (op->kind == OP_DELETE)
        return 0;
    if (op->kind == OP_UPDATE && op->now[at]->updated_us != op->t->updated_us)
        return error_field(err, ERR_CONFLICT, "trigger",
                           "the trigger was changed meanwhile; read it again");
    op->t->updated_us = core_stamp(ch->core);
    if (op->kind == OP_CREATE)
        op->t->created_us = op->t->updated_us;
    return check_set(op, err);
}

static int run(struct change *ch, struct store *s, struct error *err) {
    struct trigger_op *op = container_of(ch, struct trigger_op, ch);
    static const char *const words[] = {"created", "updated", "deleted"};
    int r = 0;
    if (op->kind == OP_CREATE)
        r = store_trigger_insert(s, op->t, err);
    else if (op->kind == OP_UPDATE)
        r = store_trigger_update(s, op->t, err);
    else
        r = store_trigger_delete(s, op->trigger_no, err);
    if (r < 0)
        return r;
    const char *name = op->t ? op->t->name : op->now[find(op)]->name;
    return change_event(ch, s, ch->fn->no, "updated", 0, err, "Trigger %s %s", name,
                        words[op->kind]);
}

static void publish(struct change *ch) {
    struct trigger_op *op = container_of(ch, struct trigger_op, ch);
    ssize_t at = op->kind == OP_CREATE ? -1 : find(op);
    struct trigger **v = x_calloc(op->n_now + 1, sizeof *v);
    size_t n = 0;
    if (op->kind == OP_CREATE)
        v[n++] = trigger_ref(op->t);
    for (size_t i = 0; i < op->n_now; i++) {
        if ((ssize_t)i != at)
            v[n++] = trigger_ref(op->now[i]);
        else if (op->kind == OP_UPDATE)
            v[n++] = trigger_ref(op->t);
    }
    struct publication p = {.set_triggers = true, .triggers = v, .n_triggers = n};
    registry_publish(ch->core, ch->fn, &p);
}

static void finish(struct change *ch, const struct error *err) {
    struct trigger_op *op = container_of(ch, struct trigger_op, ch);
    if (op->deleted)
        op->deleted(op->arg, err);
    else
        op->done(op->arg, err, err ? NULL : op->t);
    trigger_unref(op->t);
    triggers_free(op->now, op->n_now);
    change_done(ch);
    free(op);
}

static struct trigger_op *op_new(struct core *c, struct loop *loop, const struct principal *who,
                                 enum trigger_op_kind kind, uint32_t function_no, void *arg) {
    struct trigger_op *op = x_alloc(sizeof *op);
    change_init(&op->ch, c, loop, who, function_no);
    op->ch.prepare = prepare;
    op->ch.run = run;
    op->ch.publish = publish;
    op->ch.finish = finish;
    op->kind = kind;
    op->arg = arg;
    return op;
}

static int check(struct trigger_op *op, struct error *err) {
    struct core *c = op->ch.core;
    if (core_refuses(c, err) < 0 || change_needs_function(&op->ch, err) < 0)
        return -1;
    if (!op->t)
        return 0;
    struct function *f = registry_view(&c->registry, op->ch.fn, NULL);
    int r = check_trigger(op->t, f->name, err);
    if (r == 0)
        r = route_check(c, op->t, f->no, err);
    function_unref(f);
    return r;
}

static void start(struct trigger_op *op) {
    struct error err;
    if (check(op, &err) < 0)
        change_fail(&op->ch, &err);
    else
        change_start(&op->ch);
}

void core_trigger_create(struct core *c, struct loop *loop, const struct principal *who,
                         struct trigger *t,
                         void (*done)(void *arg, const struct error *err, struct trigger *t),
                         void *arg) {
    struct trigger_op *op = op_new(c, loop, who, OP_CREATE, t->function_no, arg);
    op->t = t;
    op->done = done;
    start(op);
}

void core_trigger_update(struct core *c, struct loop *loop, const struct principal *who,
                         struct trigger *t,
                         void (*done)(void *arg, const struct error *err, struct trigger *t),
                         void *arg) {
    struct trigger_op *op = op_new(c, loop, who, OP_UPDATE, t->function_no, arg);
    op->t = t;
    op->trigger_no = t->no;
    op->done = done;
    start(op);
}

void core_trigger_delete(struct core *c, struct loop *loop, const struct principal *who,
                         uint32_t function_no, uint32_t trigger_no,
                         void (*done)(void *arg, const struct error *err), void *arg) {
    struct trigger_op *op = op_new(c, loop, who, OP_DELETE, function_no, arg);
    op->trigger_no = trigger_no;
    op->deleted = done;
    start(op);
}

void core_triggers_each(struct core *c, uint32_t function_no,
                        bool (*visit)(void *arg, const struct trigger *t), void *arg) {
    size_t n = 0;
    struct core_fn *fn = registry_find(&c->registry, function_no);
    if (!fn)
        return;
    struct trigger **v = registry_triggers(&c->registry, fn, &n);
    for (size_t i = 0; i < n && visit(arg, v[i]); i++)
        continue;
    triggers_free(v, n);
    core_fn_unref(fn);
}
