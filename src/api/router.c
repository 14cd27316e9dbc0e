/* SPDX-License-Identifier: Apache-2.0 */
#include "api/router.h"
#include "api/dialects.h"
#include "http/url.h"
#include <errno.h>
#include <stdio.h>

const struct dialect_error *dialect_error(const struct dialect *d, enum error_code code) {
    return &d->errors[code > ERR_NONE && code < ERR_COUNT ? code : ERR_INTERNAL];
}

/* A prefix ends where a segment ends: "/api/v1" is not a prefix of "/api/v10". */
static bool has_prefix(struct str path, struct str prefix) {
    return str_starts(path, prefix) && (path.len == prefix.len || path.p[prefix.len] == '/');
}

const struct dialect *route_dialect_of(struct str path) {
    const struct dialect *best = &dialect_common;
    size_t best_len = 0;
    for (size_t i = 0; dialects[i]; i++) {
        for (const char *const *p = dialects[i]->prefixes; *p; p++) {
            struct str prefix = str_of(*p);
            if (prefix.len > best_len && has_prefix(path, prefix)) {
                best = dialects[i];
                best_len = prefix.len;
            }
        }
    }
    return best;
}

struct walk {
    const struct route_table *t;
    struct str segments[ROUTE_SEGMENTS_MAX];
    size_t n;
    struct route_match *match;
};

/* The node that the segments from I on lead to, or NULL. A literal that leads nowhere gives way to
 * the parameter beside it. Depth is bounded by ROUTE_SEGMENTS_MAX. */
static const struct route_node *descend(struct walk *w, const struct route_node *node, size_t i) {
    if (i == w->n)
        return node->n_routes ? node : NULL;
    struct str s = w->segments[i];
    for (size_t c = 0; c < node->n_children; c++) {
        const struct route_node *child = &w->t->nodes[node->first_child + c];
        const struct route_node *found = NULL;
        size_t n_params = w->match->n_params;
        if (child->segment) {
            if (str_eq(s, str_n(child->segment, child->segment_len)))
                found = descend(w, child, i + 1);
        } else if (s.len > 0 && n_params < ROUTE_PARAMS_MAX) {
            w->match->params[w->match->n_params++] = s;
            found = descend(w, child, i + 1);
        }
        if (found)
            return found;
        w->match->n_params = n_params;
    }
    return NULL;
}

/* Splits first and decodes then: an encoded slash stays inside its segment. */
static int split(struct str path, struct arena *a, struct walk *w, struct error *err) {
    struct str clean, segment;
    int rc = url_path_clean(path, a, &clean);
    while (rc == 0 && url_segment_next(&clean, &segment)) {
        if (w->n == ROUTE_SEGMENTS_MAX)
            return error_set(err, ERR_NOT_FOUND, "there is nothing at this path");
        rc = url_decode(segment, URL_PATH, a, &w->segments[w->n]);
        if (rc == 0 && !str_is_utf8(w->segments[w->n]))
            rc = -EINVAL;
        w->n += rc == 0;
    }
    if (rc < 0)
        return error_set(err, ERR_INVALID,
                         "the path has a broken %%-escape, is not UTF-8 or climbs above the root");
    return 0;
}

static void list_methods(const struct route_table *t, const struct route_node *node,
                         char allow[ROUTE_ALLOW_MAX]) {
    size_t len = 0;
    for (size_t i = 0; i < node->n_routes; i++) {
        const char *name = t->routes[node->first_route + i].method_name;
        int n = snprintf(allow + len, ROUTE_ALLOW_MAX - len, "%s%s%s", len ? ", " : "", name,
                         strcmp(name, "GET") == 0 ? ", HEAD" : "");
        if (n < 0 || len + (size_t)n >= ROUTE_ALLOW_MAX)
            break;
        len += (size_t)n;
    }
    (void)snprintf(allow + len, ROUTE_ALLOW_MAX - len, "%sOPTIONS", len ? ", " : "");
}

static const struct route *by_method(const struct route_table *t, const struct route_node *node,
                                     enum http_method method) {
    if (method == HTTP_HEAD)
        method = HTTP_GET;
    for (size_t i = 0; i < node->n_routes; i++) {
        const struct route *r = &t->routes[node->first_route + i];
        if (r->method == method)
            return r;
    }
    return NULL;
}

int route_find(const struct route_table *t, enum http_method method, struct str path,
               struct arena *a, struct route_match *ret, struct error *err) {
    struct walk w = {.t = t, .match = ret};
    ret->route = NULL;
    ret->n_params = 0;
    ret->allow[0] = '\0';
    ret->dialect = NULL;
    if (split(path, a, &w, err) < 0) {
        ret->dialect = route_dialect_of(path);
        return -1;
    }
    const struct route_node *node = descend(&w, &t->nodes[0], 0);
    if (!node) {
        ret->dialect = route_dialect_of(path);
        return error_set(err, ERR_NOT_FOUND, "there is nothing at this path");
    }
    ret->dialect = t->routes[node->first_route].dialect;
    ret->route = by_method(t, node, method);
    if (ret->route)
        return 0;
    list_methods(t, node, ret->allow);
    return error_set(err, ERR_METHOD, "this path allows %s only", ret->allow);
}
