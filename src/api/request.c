/* SPDX-License-Identifier: Apache-2.0 */
/* From the head to the operation, and the request's life. */

#include "api/dialects.h"
#include "api/internal.h"
#include "base/clock.h"
#include "http/url.h"

#define JSON_BODY_SLACK MIB /* room for all but the payload in a base64 invoke request */

static size_t body_limit(const struct api *a, const struct route *route) {
    size_t payload = core_config_of(a->core)->body_max;
    if (route->body_max == ROUTE_BODY_INVOKE)
        return payload;
    if (route->body_max == ROUTE_BODY_INVOKE_BASE64)
        return payload / 3 * 4 + JSON_BODY_SLACK;
    return route->body_max;
}

static int check_caller(struct request *r, struct error *err) {
    if (r->route->role == 0)
        return 0;
    struct str authorization = http_head_get(&r->call->head, "authorization");
    if (core_authenticate(r->core, authorization, &r->who, err) < 0)
        return -1;
    bool own = r->route->dialect->workspace_param >= 0 && !r->route->in_workspace;
    if (own && r->who.workspace[0])
        r->workspace = str_of(r->who.workspace);
    return core_authorize(&r->who, r->workspace, (enum role)r->route->role, err);
}

/* A chunked body over the limit is refused by the connection as it comes. */
static int check_length(const struct http_call *call, struct error *err) {
    if (call->head.content_length <= call->body_max)
        return 0;
    return error_set(err, ERR_TOO_LARGE, "the body is over this operation's limit of %zu bytes",
                     call->body_max);
}

static void set_route(struct request *r, const struct route_match *m) {
    r->route = m->route;
    memcpy(r->params, m->params, sizeof(r->params));
    r->n_params = m->n_params;
    int index = m->dialect->workspace_param;
    r->workspace = index >= 0 && m->route->in_workspace && (size_t)index < r->n_params
                       ? r->params[index]
                       : STR(DEFAULT_WORKSPACE);
}

/* Everything that can be refused is refused here, before the body is read. Until on_call the
 * request stands in the call's arena: a client that leaves meanwhile leaves nothing behind. */
static void on_head(struct http_call *call, void *user) {
    struct api *a = user;
    struct route_match match;
    struct error err;
    if (str_is(call->head.path, "*")) { /* OPTIONS only: about the server as a whole */
        reply_options(call, &dialect_common, NULL);
        return;
    }
    int found =
        route_find(&route_table, call->head.method_id, call->head.path, &call->arena, &match, &err);
    if (call->head.method_id == HTTP_OPTIONS && (match.allow[0] || match.dialect->cors)) {
        reply_options(call, match.dialect, match.allow);
        return;
    }
    if (found < 0) {
        reply_error(call, match.dialect, &err, match.allow);
        return;
    }
    struct request *r = arena_alloc(&call->arena, sizeof(*r));
    if (!r) {
        (void)error_set(&err, ERR_TOO_LARGE, "the request's path needs too much memory");
        reply_error(call, match.dialect, &err, NULL);
        return;
    }
    *r = (struct request){.api = a, .core = a->core, .loop = loop_current(), .call = call};
    set_route(r, &match);
    call->body_max = body_limit(a, r->route);
    if (check_caller(r, &err) < 0 || check_length(call, &err) < 0)
        reply_error(call, match.dialect, &err, NULL);
    else
        call->user_data = r;
}

static void on_gone(struct http_call *call) {
    struct request *r = call->user_data;
    r->call = NULL;
    if (r->gone)
        r->gone(r);
}

static void on_call(struct http_call *call, void *user UNUSED) {
    struct request *r = x_memdup(call->user_data, sizeof(*r));
    call->user_data = r;
    call->on_gone = on_gone;
    r->route->handle(r);
}

void request_free(struct request *r) {
    if (!r)
        return;
    free(r->next);
    function_unref(r->function);
    if (r->free_state)
        r->free_state(r->state);
    free(r);
}

/* The connection's own refusals (malformed, too large, too slow), in the words of the dialect. */
static void on_error(void *user UNUSED, const struct http_head *head, int status,
                     const char *reason, struct buf *body, const char **ret_content_type) {
    bool known = head && head->path.len > 0;
    const struct dialect *d = known ? route_dialect_of(head->path) : &dialect_common;
    enum error_code code = status == 413   ? ERR_TOO_LARGE
                           : status == 503 ? ERR_UNAVAILABLE
                           : status == 500 ? ERR_INTERNAL
                                           : ERR_INVALID;
    struct error err;
    (void)error_set(&err, code, "%s", reason);
    d->error_body(body, &err, dialect_error(d, code)->code);
    *ret_content_type = d->content_type;
}

struct api *api_new(struct core *core, const struct api_config *config) {
    struct api *a = x_alloc(sizeof(*a));
    a->core = core;
    a->builder = config->builder;
    a->public_url = x_strdup("");
    a->gateway_url = x_strdup("");
    a->web = web_new(config->web_dir);
    a->price_gb_second =
        config->price_gb_second >= 0 ? config->price_gb_second : API_PRICE_GB_SECOND;
    a->price_request = config->price_request >= 0 ? config->price_request : API_PRICE_REQUEST;
    return a;
}

void api_set_urls(struct api *a, const char *public_url, const char *gateway_url) {
    free(a->public_url);
    free(a->gateway_url);
    a->public_url = x_strdup(public_url);
    a->gateway_url = x_strdup(gateway_url);
}

void api_free(struct api *a) {
    if (!a)
        return;
    free(a->public_url);
    free(a->gateway_url);
    web_free(a->web);
    free(a);
}

void api_http(struct api *a, struct http_config *http) {
    static const struct route largest = {.body_max = ROUTE_BODY_INVOKE_BASE64};
    http->user = a;
    http->on_head = on_head;
    http->on_call = on_call;
    http->on_error = on_error;
    http->body_max = body_limit(a, &largest);
    if (http->body_max < 16 * MIB)
        http->body_max = 16 * MIB;
}

int request_query(struct request *r, const char *name, struct str *ret, struct error *err) {
    int rc = url_query_get(r->call->head.query, name, &r->call->arena, ret);
    if (rc >= 0)
        return rc;
    /* which pair is broken is not known: a name cannot be compared before it is decoded */
    return error_set(err, ERR_INVALID, "the query has a broken %%-escape");
}

int request_query_u32(struct request *r, const char *name, uint32_t min, uint32_t max,
                      uint32_t absent, uint32_t *ret, struct error *err) {
    struct str text;
    int rc = request_query(r, name, &text, err);
    if (rc < 0)
        return -1;
    uint64_t value = absent;
    if (rc > 0 && (str_u64(text, max, &value) < 0 || value < min))
        return error_field(err, ERR_INVALID, name, "%s must be a whole number from %u to %u", name,
                           min, max);
    *ret = (uint32_t)value;
    return 0;
}

int request_query_time(struct request *r, const char *name, int64_t *ret_us, struct error *err) {
    struct str text;
    int rc = request_query(r, name, &text, err);
    if (rc <= 0)
        return rc;
    if (clock_parse_rfc3339(text, ret_us) < 0)
        return error_field(err, ERR_INVALID, name,
                           "%s must be an RFC 3339 time such as 2025-06-10T18:15:00Z", name);
    return 0;
}

int request_query_bool(struct request *r, const char *name, bool *ret, struct error *err) {
    struct str text;
    int rc = request_query(r, name, &text, err);
    if (rc <= 0)
        return rc;
    bool yes = str_is(text, "true") || str_is(text, "1") || text.len == 0;
    if (!yes && !str_is(text, "false") && !str_is(text, "0"))
        return error_field(err, ERR_INVALID, name, "%s must be true or false", name);
    *ret = yes;
    return 0;
}
