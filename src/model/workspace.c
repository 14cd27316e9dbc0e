/* SPDX-License-Identifier: Apache-2.0 */
/* Life of workspaces and projects. */

#include "model/model.h"

void workspace_done(struct workspace *w) {
    free(w->id);
    free(w->name);
    free(w->description);
    *w = (struct workspace){0};
}

struct project *project_new(void) {
    struct project *p = x_alloc(sizeof *p);
    atomic_init(&p->refs, 1);
    return p;
}

struct project *project_clone(const struct project *p) {
    struct project *c = project_new();
    c->no = p->no;
    c->workspace = x_strdup(p->workspace);
    c->name = x_strdup(p->name);
    pairs_copy(&c->config, &p->config);
    c->created_us = p->created_us;
    c->updated_us = p->updated_us;
    return c;
}

struct project *project_ref(struct project *p) {
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

void project_unref(struct project *p) {
    if (!p || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
        return;
    free(p->workspace);
    free(p->name);
    pairs_done(&p->config);
    free(p);
}
