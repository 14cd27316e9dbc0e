/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_API_ROUTER_H
#define KILN_API_ROUTER_H

/* From method and path to operation. The table is made at build time from api/ *.yaml by
 * tools/gen_routes.py: a trie of segments in which literals go before parameters, so that
 * /functions/provider/health is never the function "provider". A trailing slash is accepted.
 *
 * A parameter at the end of a path may take all that is left of it (x-kiln-rest in the document),
 * nothing at all too: it is tried after everything else and is as long as it likes. */

#include "api/dialect.h"
#include "base/arena.h"
#include "http/parser.h"

#define ROUTE_PARAMS_MAX         4
#define ROUTE_SEGMENTS_MAX       16             /* more of them only a rest takes */
#define ROUTE_BODY_INVOKE        SIZE_MAX       /* body limit: the server's setting for payloads */
#define ROUTE_BODY_INVOKE_BASE64 (SIZE_MAX - 1) /* the same, as base64 inside JSON */
#define ROUTE_ALLOW_MAX          64

struct request;

struct route {
    enum http_method method;
    const char *method_name;
    const char *path;      /* template, as in the document */
    const char *operation; /* operationId */
    const struct dialect *dialect;
    int role; /* enum role a token needs; 0: none, no token either */
    size_t body_max;
    bool in_workspace; /* the path has a parameter {workspace…} */
    void (*handle)(struct request *r);
};

struct route_node {
    const char *segment; /* NULL: a parameter, any segment but an empty one */
    uint16_t segment_len;
    uint16_t first_child, n_children; /* literals first, then the parameter, then the rest */
    uint16_t first_route, n_routes;
    bool rest; /* a parameter for all that is left; it has no children */
};

struct route_table {
    const struct route *routes;
    const struct route_node *nodes; /* [0] is the root */
    size_t n_routes;
};
extern const struct route_table route_table;

struct route_match {
    const struct route *route;           /* NULL: no such path, or not with this method */
    const struct dialect *dialect;       /* also where there is no route: by prefix */
    struct str params[ROUTE_PARAMS_MAX]; /* decoded, a rest as a whole; in the arena or the path */
    size_t n_params;
    char allow[ROUTE_ALLOW_MAX]; /* "GET, POST": methods of the path; "" for an unknown path */
};

/* PATH is raw, as in the request. HEAD is served by GET's route where it has none of its own. 0
 * with ret->route, or -1: ERR_NOT_FOUND, ERR_METHOD, ERR_INVALID (a broken escape); ret->dialect is
 * set in any case. */
int route_find(const struct route_table *t, enum http_method method, struct str path,
               struct arena *a, struct route_match *ret, struct error *err);

/* The dialect that owns a path which no operation has; never NULL. */
const struct dialect *route_dialect_of(struct str path);

#endif
