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
    struct str left[ROUTE_SEGMENTS_MAX + 1]; /* the path from that segment on, still encoded */
    size_t n;
    bool more; /* the path has segments that did not fit */
    struct route_match *match;
    const struct route_node *rest; /* the node that takes what is left from rest_at on */
    size_t rest_at;
};

static const struct route_node *child_of(const struct walk *w, const struct route_node *node,
                                         size_t c) {
    return &w->t->nodes[node->first_child + c];
}

/* NODE's child that takes the rest, as a find, or NULL. */
static const struct route_node *take_rest(struct walk *w, const struct route_node *node, size_t i) {
    if (node->n_children == 0 || w->match->n_params == ROUTE_PARAMS_MAX)
        return NULL;
    const struct route_node *last = child_of(w, node, node->n_children - 1U);
    if (!last->rest)
        return NULL;
    w->rest = last;
    w->rest_at = i;
    return last;
}

/* The node that the segments from I on lead to, or NULL. A literal that leads nowhere gives way to
 * the parameter beside it, and that to the rest. Depth is bounded by ROUTE_SEGMENTS_MAX. */
static const struct route_node *descend(struct walk *w, const struct route_node *node, size_t i) {
    if (i == w->n)
        return node->n_routes && !w->more ? node : take_rest(w, node, i);
    struct str s = w->segments[i];
    for (size_t c = 0; c < node->n_children; c++) {
        const struct route_node *child = child_of(w, node, c);
        const struct route_node *found = NULL;
        size_t n_params = w->match->n_params;
        if (child->rest)
            break;
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
    return take_rest(w, node, i);
}

static int broken_path(struct error *err) {
    return error_set(err, ERR_INVALID,
                     "the path has a broken %%-escape, is not UTF-8 or climbs above the root");
}

/* Splits first and decodes then: an encoded slash stays inside its segment. */
static int split(struct str path, struct arena *a, struct walk *w, struct error *err) {
    struct str clean, segment;
    if (url_path_clean(path, a, &clean) < 0)
        return broken_path(err);
    w->left[0] = clean;
    while (url_segment_next(&clean, &segment)) {
        if (w->n == ROUTE_SEGMENTS_MAX) {
            w->more = true;
            break;
        }
        if (url_decode(segment, URL_PATH, a, &w->segments[w->n]) < 0 ||
            !str_is_utf8(w->segments[w->n]))
            return broken_path(err);
        w->left[++w->n] = clean;
    }
    return 0;
}

/* The rest without the slash before it and one behind it, decoded as a whole. */
static int add_rest(struct walk *w, struct arena *a, struct error *err) {
    struct str left = w->left[w->rest_at];
    if (left.len && left.p[0] == '/')
        left = str_n(left.p + 1, left.len - 1);
    if (left.len && left.p[left.len - 1] == '/')
        left.len--;
    struct str *param = &w->match->params[w->match->n_params++];
    if (url_decode(left, URL_PATH, a, param) < 0 || !str_is_utf8(*param))
        return broken_path(err);
    return 0;
}

static bool has_method(const struct route_table *t, const struct route_node *node,
                       enum http_method method) {
    for (size_t i = 0; i < node->n_routes; i++)
        if (t->routes[node->first_route + i].method == method)
            return true;
    return false;
}

static void list_methods(const struct route_table *t, const struct route_node *node,
                         char allow[ROUTE_ALLOW_MAX]) {
    bool head = has_method(t, node, HTTP_GET) && !has_method(t, node, HTTP_HEAD);
    size_t len = 0;
    for (size_t i = 0; i < node->n_routes; i++) {
        const struct route *r = &t->routes[node->first_route + i];
        int n = snprintf(allow + len, ROUTE_ALLOW_MAX - len, "%s%s%s", len ? ", " : "",
                         r->method_name, head && r->method == HTTP_GET ? ", HEAD" : "");
        if (n < 0 || len + (size_t)n >= ROUTE_ALLOW_MAX)
            break;
        len += (size_t)n;
    }
    if (!has_method(t, node, HTTP_OPTIONS))
        (void)snprintf(allow + len, ROUTE_ALLOW_MAX - len, "%sOPTIONS", len ? ", " : "");
}

static const struct route *by_method(const struct route_table *t, const struct route_node *node,
                                     enum http_method method) {
    for (size_t i = 0; i < node->n_routes; i++) {
        const struct route *r = &t->routes[node->first_route + i];
        if (r->method == method)
            return r;
    }
    return method == HTTP_HEAD ? by_method(t, node, HTTP_GET) : NULL;
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
    if (node->rest && add_rest(&w, a, err) < 0)
        return -1;
    ret->route = by_method(t, node, method);
    if (ret->route)
        return 0;
    list_methods(t, node, ret->allow);
    return error_set(err, ERR_METHOD, "this path allows %s only", ret->allow);
}
