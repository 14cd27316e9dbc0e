/* SPDX-License-Identifier: Apache-2.0 */
/* An image that could not be fetched is tried again when somebody calls its function: registries
 * come and go, and who made the function is not there to do it. Code that does not build stays so.
 */

#include "core/internal.h"

struct again {
    struct change ch;
    struct function *next;
    struct version newest;
};

static int prepare(struct change *ch, struct error *err) {
    (void)err;
    struct again *op = container_of(ch, struct again, ch);
    struct function *now = registry_view(&ch->core->registry, ch->fn, NULL);
    ch->nothing = now->status != FN_ERROR || now->active_no != 0;
    if (!ch->nothing) {
        op->next = function_clone(now);
        op->next->status = FN_BUILDING;
    }
    function_unref(now);
    return 0;
}

static int run(struct change *ch, struct store *s, struct error *err) {
    struct again *op = container_of(ch, struct again, ch);
    struct version *v = &op->newest;
    if (store_version_newest(s, op->next->no, v, err) < 0)
        return -1;
    if (!version_is_image(v))
        return error_set(err, ERR_CONFLICT, "the newest version is no image");
    if (store_version_set_build(s, v->no, BUILD_RUNNING, STR(""), err) < 0)
        return -1;
    return store_function_update(s, op->next, err);
}

static void publish(struct change *ch) {
    struct again *op = container_of(ch, struct again, ch);
    struct publication p = {.function = function_ref(op->next)};
    registry_publish(ch->core, ch->fn, &p);
}

static void finish(struct change *ch, const struct error *err) {
    struct again *op = container_of(ch, struct again, ch);
    struct core *c = ch->core;
    atomic_store(&ch->fn->pulling_again, false);
    if (!err && op->next)
        build_enqueue(c, ch->fn, op->next, op->newest.no, op->newest.number, op->newest.image, true,
                      false, NULL, ch->loop);
    core_look_again(c);
    function_unref(op->next);
    version_done(&op->newest);
    change_done(ch);
    free(op);
}

bool build_again(struct core *c, struct loop *loop, struct core_fn *fn, const struct function *f) {
    if (atomic_load(&fn->pulling_again))
        return true;
    uint64_t now = loop_now_ns(loop), not_before = atomic_load(&fn->pull_again_ns);
    if (f->kind != RUNTIME_IMAGE || f->status != FN_ERROR || f->active_no || now < not_before ||
        !atomic_compare_exchange_strong(&fn->pull_again_ns, &not_before,
                                        now + PULL_AGAIN_MS * NS_PER_MS))
        return false;
    atomic_store(&fn->pulling_again, true);
    struct again *op = x_alloc(sizeof *op);
    change_init(&op->ch, c, loop, NULL, fn->no);
    op->ch.prepare = prepare;
    op->ch.run = run;
    op->ch.publish = publish;
    op->ch.finish = finish;
    if (op->ch.fn) {
        change_start(&op->ch);
        return true;
    }
    atomic_store(&fn->pulling_again, false); /* deleted meanwhile */
    change_done(&op->ch);
    free(op);
    return false;
}
