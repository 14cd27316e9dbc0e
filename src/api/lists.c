/* SPDX-License-Identifier: Apache-2.0 */
#include "api/lists.h"

static bool take_function(void *arg, const struct function *f) {
    struct function_list *l = arg;
    if (l->n == l->cap) {
        l->cap = l->cap ? 2 * l->cap : 64;
        l->v = x_realloc(l->v, l->cap * sizeof(*l->v));
    }
    l->v[l->n++] = function_ref((struct function *)(uintptr_t)f);
    return true;
}

void function_list_get(struct function_list *l, const struct request *r, struct str project) {
    *l = (struct function_list){0};
    core_functions_each(r->core, r->workspace, project, take_function, l);
}

void function_list_done(struct function_list *l) {
    for (size_t i = 0; i < l->n; i++)
        function_unref(l->v[i]);
    free(l->v);
}

static bool take_trigger(void *arg, const struct trigger *t) {
    struct trigger_list *l = arg;
    l->v[l->n++] = trigger_ref((struct trigger *)(uintptr_t)t);
    return l->n < ARRAY_LEN(l->v);
}

void trigger_list_get(struct trigger_list *l, const struct request *r, const struct function *f) {
    l->n = 0;
    core_triggers_each(r->core, f->no, take_trigger, l);
}

void trigger_list_done(struct trigger_list *l) {
    for (size_t i = 0; i < l->n; i++)
        trigger_unref(l->v[i]);
}
