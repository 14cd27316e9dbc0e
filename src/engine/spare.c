/* SPDX-License-Identifier: Apache-2.0 */
/* Spares: generic instances, sandboxed and warm, that belong to nobody yet. A first call takes one
 * and a new one is made off its path. Instances of the host network, or of
 * none, are made on demand. */

#include "base/log.h"
#include "engine/internal.h"

struct instance *spare_take(struct engine_loop *el, enum runtime_kind kind, enum network_kind net,
                            struct error *err) {
    struct zygote_link *zl = &el->links[kind];
    zygote_want(el->engine, kind);
    if (zygote_hopeless(el->engine, kind, err))
        return NULL;
    if (net == NETWORK_HOST)
        return instance_spawn(el, kind, ZYGOTE_NET_HOST, err);
    /* A spare's device outlives its descriptor (net_tap_make()): it would be there, and dead. */
    if (net == NETWORK_NONE && el->engine->spare_net != ZYGOTE_NET_NONE)
        return instance_spawn(el, kind, ZYGOTE_NET_NONE, err);
    struct list *n = list_shift(&zl->spares);
    spare_refill(el, kind);
    if (!n)
        return instance_spawn(el, kind, el->engine->spare_net, err);
    zl->n_spares--;
    atomic_fetch_sub(&el->engine->spares, 1);
    return list_entry(n, struct instance, link);
}

static void refill(struct loop_timer *timer) {
    struct zygote_link *zl = container_of(timer, struct zygote_link, refill);
    struct engine *e = zl->el->engine;
    if (zl->el->draining || zl->io.fd < 0) /* a link that opens comes here again */
        return;
    while (zl->n_spares + zl->n_spawning < e->config.spares[zl->kind]) {
        struct error err;
        struct instance *inst = instance_spawn(zl->el, zl->kind, e->spare_net, &err);
        if (!inst)
            return;
        inst->for_spare = true;
        zl->n_spawning++;
    }
}

/* A little later: making a spare takes as much of the machine as the first call that took one, and
 * that call goes first. A burst that finds no spare starts its own instances meanwhile. */
void spare_refill(struct engine_loop *el, enum runtime_kind kind) {
    struct zygote_link *zl = &el->links[kind];
    if (!loop_timer_is_set(&zl->refill))
        loop_timer_set(el->loop, &zl->refill, loop_now_ns(el->loop) + ENGINE_REFILL_MS * NS_PER_MS);
}

void spare_init(struct zygote_link *zl) {
    loop_timer_init(&zl->refill, refill);
}

void spare_ready(struct instance *inst) {
    struct zygote_link *zl = &inst->el->links[inst->kind];
    inst->state = INST_SPARE;
    inst->deadline_ns = 0;
    inst->for_spare = false;
    zl->n_spawning--;
    zl->n_spares++;
    atomic_fetch_add(&inst->el->engine->spares, 1);
    list_push(&zl->spares, &inst->link);
    if (inst->el->draining)
        instance_kill(inst, ERR_CANCELED, "draining");
}

void spare_lost(struct instance *inst) {
    struct zygote_link *zl = &inst->el->links[inst->kind];
    if (inst->state == INST_SPARE) {
        zl->n_spares--;
        atomic_fetch_sub(&inst->el->engine->spares, 1);
    } else if (inst->for_spare) {
        zl->n_spawning--;
    }
}
