/* SPDX-License-Identifier: Apache-2.0 */
/* Paths of the gateway: which enabled http trigger stands behind a path and method. Two triggers on
 * one path and method are refused when they are made; where two slipped in at the same moment, the
 * older one serves. */

#include "core/functions.h"

struct route {
    char *path;
    struct route_target {
        struct core_fn *fn; /* borrowed: taken out before it goes */
        uint32_t trigger_no;
        char method[12];
    } * v;
    size_t n, cap;
};

static const char *route_path(const struct trigger *t) {
    return t->type == TRIGGER_HTTP && t->enabled ? pairs_get(&t->config, "path") : NULL;
}

static void add_one(struct map *routes, struct core_fn *fn, const struct trigger *t,
                    const char *path) {
    struct route *route = map_get(routes, str_of(path));
    if (!route) {
        route = x_alloc(sizeof *route);
        route->path = x_strdup(path);
        map_put(routes, str_of(route->path), route);
    }
    const char *method = pairs_get(&t->config, "method");
    struct route_target target = {.fn = fn, .trigger_no = t->no};
    strncpy(target.method, method ? method : "GET", sizeof target.method - 1);
    route->v = grow(route->v, route->n, &route->cap, sizeof *route->v);
    size_t at = route->n++;
    for (; at > 0 && route->v[at - 1].trigger_no > t->no; at--)
        route->v[at] = route->v[at - 1];
    route->v[at] = target;
}

void routes_add(struct map *routes, struct core_fn *fn) {
    for (size_t i = 0; i < fn->n_triggers; i++) {
        const char *path = route_path(fn->triggers[i]);
        if (path)
            add_one(routes, fn, fn->triggers[i], path);
    }
}

static void route_free(struct route *route) {
    free(route->path);
    free(route->v);
    free(route);
}

static void remove_one(struct map *routes, struct core_fn *fn, const char *path) {
    struct route *route = map_get(routes, str_of(path));
    if (!route)
        return;
    size_t kept = 0;
    for (size_t i = 0; i < route->n; i++)
        if (route->v[i].fn != fn)
            route->v[kept++] = route->v[i];
    route->n = kept;
    if (!kept) {
        map_del(routes, str_of(route->path));
        route_free(route);
    }
}

void routes_remove(struct map *routes, struct core_fn *fn) {
    for (size_t i = 0; i < fn->n_triggers; i++) {
        const char *path = route_path(fn->triggers[i]);
        if (path)
            remove_one(routes, fn, path);
    }
}

void routes_done(struct map *routes) {
    size_t it = 0;
    struct route *route;
    while ((route = map_next(routes, &it)))
        route_free(route);
    map_done(routes);
}

/* A method of its own goes before ANY. */
static struct core_fn *by_method(const struct route *route, struct str method) {
    struct core_fn *any = NULL;
    for (size_t i = 0; i < route->n; i++) {
        if (str_is(method, route->v[i].method))
            return route->v[i].fn;
        /* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): routes have one */
        if (strcmp(route->v[i].method, "ANY") == 0)
            any = route->v[i].fn;
    }
    return any;
}

struct function *core_http_trigger(struct core *c, struct str method, struct str path,
                                   bool *ret_other_method) {
    struct function *f = NULL;
    pthread_rwlock_rdlock(&c->registry.lock);
    const struct route *route = map_get(&c->registry.routes, path);
    struct core_fn *fn = route ? by_method(route, method) : NULL;
    if (fn)
        f = function_ref(fn->function);
    *ret_other_method = route && !f;
    pthread_rwlock_unlock(&c->registry.lock);
    return f;
}

int route_check(struct core *c, const struct trigger *t, uint32_t self, struct error *err) {
    const char *path = route_path(t), *method = pairs_get(&t->config, "method");
    bool taken = false;
    if (!path)
        return 0;
    pthread_rwlock_rdlock(&c->registry.lock);
    const struct route *route = map_get(&c->registry.routes, str_of(path));
    for (size_t i = 0; route && i < route->n; i++)
        if (route->v[i].fn->no != self && strcmp(route->v[i].method, method ? method : "GET") == 0)
            taken = true;
    pthread_rwlock_unlock(&c->registry.lock);
    if (!taken)
        return 0;
    return error_field(err, ERR_CONFLICT, "path",
                       "another function's trigger serves %s %s on the gateway already",
                       method ? method : "GET", path);
}
