/* SPDX-License-Identifier: Apache-2.0 */
/* iron: calls at /r/{app}/{route}. The hot path: nothing is parsed but what must be, the reply is
 * written once. */

#include "api/internal.h"
#include "api/iron.h"
#include "invoke/invoke.h"
#include "routes.h"
#include "json/write.h"
#include <stdio.h>

struct iron_call {
    struct core_call call;
    struct request *r;
};

#define HEADERS_OF_OURS 4

/* ---- in ---- */

/* A route whose path ends in a segment that begins with '*' has all that is below the rest of its
 * path, where there is no route for it. */
struct below {
    struct str path;        /* that was asked for */
    struct function *found; /* a reference */
    size_t len;             /* of its path before the last '/' */
};

static bool look_below(void *arg, const struct function *f) {
    struct below *b = arg;
    const char *slash = f->title && f->title[0] == '/' ? strrchr(f->title, '/') : NULL;
    if (!slash || slash[1] != '*')
        return true;
    struct str above = str_n(f->title, (size_t)(slash - f->title));
    bool fits =
        str_starts(b->path, above) && (b->path.len == above.len || b->path.p[above.len] == '/');
    if (!fits || (b->found && above.len <= b->len))
        return true;
    function_unref(b->found);
    b->found = function_ref((struct function *)(uintptr_t)f);
    b->len = above.len;
    return true;
}

/* "App not found" before "Route not found on that application", as the original looked. PARAM is
 * what such a route has below itself, p NULL where there is none. */
static int find_function(struct request *r, struct str *ret_path, struct str *ret_param,
                         struct error *err) {
    *ret_param = STR_NULL;
    if (iron_route(r, ret_path, err) == 0)
        return 0;
    if (strcmp(err->field, "function") != 0)
        return -1;
    struct below below = {.path = *ret_path};
    core_functions_each(r->core, r->workspace, r->params[IRON_APP], look_below, &below);
    if (!below.found)
        return iron_fail(err, ERR_NOT_FOUND, "Route not found on that application", NULL);
    r->function = below.found;
    *ret_param = str_n(ret_path->p + below.len, ret_path->len - below.len);
    if (below.found->image) /* a container is told its route */
        *ret_path = str_of(below.found->title);
    return 0;
}

/* x-kiln-param-<name>, in lower case as all names of headers. */
static void add_param(struct engine_input *in, const struct function *f, struct str param,
                      struct arena *a) {
    const char *name = strrchr(f->title, '*') + 1;
    size_t begin = sizeof(IRON_HEADER_PARAM) - 1, len = strlen(name);
    char *header = arena_alloc(a, begin + len);
    if (!header || len == 0)
        return;
    memcpy(header, IRON_HEADER_PARAM, begin);
    for (size_t i = 0; i < len; i++)
        header[begin + i] =
            (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] - 'A' + 'a' : name[i]);
    if (http_is_token(str_n(header, begin + len)))
        engine_input_header(in, str_n(header, begin + len), param.len ? param : STR("/"));
}

static struct str full_url(const struct request *r, struct arena *a) {
    const struct http_head *head = &r->call->head;
    if (head->target.len && head->target.p[0] != '/')
        return head->target;
    struct str before = head->host.p ? STR("http://") : str_of(r->api->public_url);
    size_t len = before.len + head->host.len + head->target.len;
    char *url = arena_alloc(a, len);
    if (!url)
        return head->target;
    memcpy(url, before.p, before.len);
    if (head->host.len)
        memcpy(url + before.len, head->host.p, head->host.len);
    memcpy(url + before.len + head->host.len, head->target.p, head->target.len);
    return str_n(url, len);
}

/* GET has no body; what stands for it may be in the query. */
static int read_body(struct request *r, struct str *ret, struct error *err) {
    *ret = r->call->body;
    bool by_query = r->route->method == HTTP_GET || r->route->method == HTTP_HEAD;
    return ret->len || !by_query ? 0 : request_query(r, "payload", ret, err);
}

static int encode(struct request *r, struct core_call *call, struct str param, struct error *err) {
    struct http_call *http = r->call;
    struct engine_input *in = &call->input;
    if (invoke_input_head(in, &http->head, INVOKE_PRIVATE, &http->arena, err) < 0)
        return -1;
    engine_input_header(in, STR(IRON_HEADER_URL), full_url(r, &http->arena));
    if (param.p)
        add_param(in, r->function, param, &http->arena);
    return invoke_input_end(in, err);
}

static int prepare(struct request *r, struct core_call *call, struct error *err) {
    struct http_call *http = r->call;
    struct str path, param, body;
    if (find_function(r, &path, &param, err) < 0 || read_body(r, &body, err) < 0)
        return -1;
    enum wire_body kind = invoke_body_kind(http_head_get(&http->head, "content-type"), body);
    call->queue_unbuilt = r->function->async;
    if (core_call_init(r->core, r->loop, call, r->function->no, kind, http->head.method, path,
                       err) < 0)
        return -1;
    call->source = r->function->async ? SOURCE_ASYNC : SOURCE_SYNC;
    call->body = body;
    if (encode(r, call, param, err) == 0)
        return 0;
    core_call_done(call);
    return -1;
}

/* ---- out ---- */

static bool has_header(const struct http_header *headers, size_t n, struct str name) {
    for (size_t i = 0; i < n; i++)
        if (str_ieq(headers[i].name, name))
            return true;
    return false;
}

static const char *content_type(const struct engine_result *result) {
    if (result->body_kind == WIRE_BODY_BYTES && str_is_utf8(result->body))
        return invoke_content_type(WIRE_BODY_TEXT); /* a container does not say what it writes */
    return invoke_content_type(result->body_kind);
}

/* The route's headers go before the function's. */
static void send_result(struct request *r, const struct core_call *call,
                        const struct engine_result *result) {
    struct http_header headers[2 * WIRE_HEADERS_MAX + HEADERS_OF_OURS];
    struct wire_in in = result->headers;
    uint32_t left = INVOKE_HEADERS_START;
    char id[ID_TEXT_MAX];
    size_t n = iron_reply_headers(r->function, &r->call->arena, headers, WIRE_HEADERS_MAX);
    size_t of_route = n;
    headers[n++] = (struct http_header){STR("X-Kiln-Invocation-Id"),
                                        str_of(invocation_id_text(id, &call->id))};
    for (size_t i = 0; i < WIRE_HEADERS_MAX && invoke_header_next(&in, &left, &headers[n]); i++)
        n += !has_header(headers, of_route, headers[n].name);
    const char *type = content_type(result);
    if (type && !has_header(headers, n, STR("content-type")))
        headers[n++] = (struct http_header){STR("Content-Type"), str_of(type)};
    http_reply(r->call, result->status, headers, n, result->body);
    request_free(r);
}

/* CALL may be NULL: there was none. */
static void send_failure(struct request *r, const struct core_call *call, const struct error *err) {
    const struct dialect *d = r->route->dialect;
    struct http_header headers[WIRE_HEADERS_MAX + HEADERS_OF_OURS];
    char id[ID_TEXT_MAX], seconds[16];
    size_t n = 0;
    headers[n++] = (struct http_header){STR("Content-Type"), str_of(d->content_type)};
    if (call)
        headers[n++] = (struct http_header){STR("X-Kiln-Invocation-Id"),
                                            str_of(invocation_id_text(id, &call->id))};
    headers[n++] = (struct http_header){STR("X-Kiln-Error"), str_of(invoke_cause(err->code))};
    if (err->retry_after_s) {
        (void)snprintf(seconds, sizeof(seconds), "%u", err->retry_after_s);
        headers[n++] = (struct http_header){STR("Retry-After"), str_of(seconds)};
    }
    struct http_header of_route[WIRE_HEADERS_MAX];
    size_t count = iron_reply_headers(r->function, &r->call->arena, of_route, WIRE_HEADERS_MAX);
    for (size_t i = 0; i < count; i++)
        if (!str_ieq(of_route[i].name, STR("content-type")))
            headers[n++] = of_route[i];
    struct buf body = BUF_INIT(64 * KIB);
    d->error_body(&body, err, NULL);
    http_reply_buf(r->call, dialect_error(d, err->code)->status, headers, n, &body);
    buf_done(&body);
    request_free(r);
}

/* ---- an image that could not be had ---- */

/* The last line of what its build said. */
static struct str last_line(const char *log) {
    struct str rest = str_of(log ? log : ""), last = STR("");
    while (rest.p) {
        struct str line = str_trim(str_cut(&rest, '\n'));
        if (line.len)
            last = line;
    }
    return last;
}

static void on_version(void *arg, const struct error *err, const struct version *v) {
    struct request *r = arg;
    struct error why;
    if (!r->call) {
        request_free(r);
        return;
    }
    struct str line = err ? STR("") : last_line(v->build_log);
    (void)error_set(&why, ERR_BUILD_FAILED, "Image not found%c%s: %.*s", IRON_DETAIL,
                    r->function->image ? r->function->image : r->function->name, STR_ARG(line));
    send_failure(r, NULL, &why);
}

/* No version was built: the caller hears why. */
static void fail_unbuilt(struct request *r) {
    r->gone = NULL;
    core_version(r->core, r->loop, r->function->no, 0, r->function->last_number, on_version, r);
}

static void on_done(struct core_call *call, const struct engine_result *result,
                    const struct invocation *record UNUSED) {
    struct request *r = container_of(call, struct iron_call, call)->r;
    struct error err;
    core_call_done(call); /* RESULT is not the call's; its id stays */
    if (result->cause == ERR_NONE && result->status >= 200) {
        send_result(r, call, result);
        return;
    }
    if (result->cause == ERR_NONE)
        (void)error_set(&err, ERR_FUNCTION,
                        "the function answered with status %u, which cannot "
                        "end a request",
                        result->status);
    else
        invoke_error(result, &err);
    if (err.code == ERR_BUILD_FAILED) {
        fail_unbuilt(r);
        return;
    }
    if (err.code == ERR_TIMEOUT)
        (void)iron_fail(&err, ERR_TIMEOUT, "Timed out", result->error_text);
    send_failure(r, call, &err);
}

static void on_gone(struct request *r) {
    core_call_cancel(&((struct iron_call *)r->state)->call);
    request_free(r);
}

static void on_queued(void *arg, const struct error *err, const struct ulid *id) {
    struct request *r = arg;
    char uuid[IRON_UUID_LEN + 1];
    if (err) {
        request_fail(r, err);
        return;
    }
    iron_uuid(id, uuid);
    struct buf body = BUF_INIT(KIB);
    (void)buf_printf(&body, "{\"call_id\":\"%s\"}", uuid);
    request_json(r, 202, &body);
}

static void call_route(struct request *r) {
    struct iron_call *c = x_alloc(sizeof(*c));
    struct error err;
    c->r = r;
    r->state = c;
    r->free_state = free;
    if (prepare(r, &c->call, &err) < 0) {
        if (err.code == ERR_BUILD_FAILED)
            fail_unbuilt(r);
        else
            request_fail(r, &err);
        return;
    }
    if (r->function->async) {
        core_call_async(&c->call, on_queued, r);
        return;
    }
    c->call.done = on_done;
    r->gone = on_gone;
    core_call_submit(&c->call);
}

/* Any method reaches the function. */
void op_iron_call_get(struct request *r) {
    call_route(r);
}
void op_iron_call_post(struct request *r) {
    call_route(r);
}
void op_iron_call_put(struct request *r) {
    call_route(r);
}
void op_iron_call_delete(struct request *r) {
    call_route(r);
}
void op_iron_call_patch(struct request *r) {
    call_route(r);
}
void op_iron_call_head(struct request *r) {
    call_route(r);
}
void op_iron_call_options(struct request *r) {
    call_route(r);
}
