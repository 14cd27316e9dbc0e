/* SPDX-License-Identifier: Apache-2.0 */
/* Control groups of instances. A few are kept made, since making one costs more than starting a
 * process; and one that is not empty yet (its zygote was killed, the kernel is at it) waits here to
 * be used again, since to wait for it would hold the loop. */

#include "engine/internal.h"
#include <errno.h>
#include <stdio.h>

/* One of those that were not empty and are now, or NULL. */
static struct cgroup *emptied(struct engine_loop *el) {
    for (uint32_t i = 0; i < el->n_busy_cgroups; i++) {
        struct cgroup *cg = el->busy_cgroups[i];
        if (cgroup_reset(cg) < 0)
            continue;
        el->busy_cgroups[i] = el->busy_cgroups[--el->n_busy_cgroups];
        return cg;
    }
    return NULL;
}

int group_take(struct engine_loop *el, struct cgroup **ret) {
    struct engine *e = el->engine;
    if (e->limits.mode == CGROUP_NONE)
        return 0;
    *ret = el->n_cgroups ? el->cgroups[--el->n_cgroups] : emptied(el);
    if (*ret)
        return 0;
    char name[32];
    snprintf(name, sizeof name, "i%u-%u", el->index, el->next_cgroup++);
    return cgroup_new(e->cgroups, name, ret);
}

void group_give(struct engine_loop *el, struct cgroup *cg) {
    if (!cg)
        return;
    int r = el->draining ? -ECANCELED : cgroup_reset(cg);
    if (r == 0 && el->n_cgroups < ENGINE_CGROUPS_KEPT) {
        el->cgroups[el->n_cgroups++] = cg;
    } else if (r == -EBUSY && el->n_busy_cgroups < ENGINE_CGROUPS_KEPT) {
        (void)cgroup_kill(cg);
        el->busy_cgroups[el->n_busy_cgroups++] = cg;
    } else {
        cgroup_free(cg);
    }
}

void groups_done(struct engine_loop *el) {
    for (uint32_t i = 0; i < el->n_cgroups; i++)
        cgroup_free(el->cgroups[i]);
    for (uint32_t i = 0; i < el->n_busy_cgroups; i++)
        cgroup_free(el->busy_cgroups[i]);
    el->n_cgroups = el->n_busy_cgroups = 0;
}
