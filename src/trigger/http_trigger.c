/* SPDX-License-Identifier: Apache-2.0 */
#include "trigger/http_trigger.h"
#include "invoke/invoke.h"
#include "json/write.h"
#include <stdio.h>

/* From the complete body to the answer. Lives until the answer or until the client has left. */
struct visit {
    struct core_call call;
    struct http_call *http;
};

#define ERROR_BODY_MAX (64 * KIB)

/* ---- errors ---- */

static int status_of(enum error_code code) {
    switch (code) {
    case ERR_INVALID:
        return 400;
    case ERR_NOT_FOUND:
        return 404;
    case ERR_METHOD:
        return 405;
    case ERR_TOO_LARGE:
        return 413;
    case ERR_QUOTA:
        return 429;
    case ERR_TIMEOUT:
        return 504;
    case ERR_BUSY:
    case ERR_UNAVAILABLE:
    case ERR_BUILD_FAILED:
    case ERR_CANCELED:
        return 503;
    case ERR_INTERNAL:
        return 500;
    default:
        return 502; /* the function behind this gateway failed */
    }
}

static void error_body(struct buf *out, const char *text, const char *id) {
    struct json_w w;
    json_w_init(&w, out);
    jw_begin_object(&w);
    jw_cstr_member(&w, "error", text);
    if (id)
        jw_cstr_member(&w, "invocation_id", id);
    jw_end_object(&w);
}

/* CALL may be NULL: there is no invocation. ALLOW: value of Allow, or "". */
static void fail(struct http_call *http, const struct error *err, const struct core_call *call,
                 const char *allow) {
    char id[ID_TEXT_MAX], seconds[16];
    struct http_header headers[5];
    size_t n = 0;
    headers[n++] = (struct http_header){STR("Content-Type"), STR("application/json")};
    if (allow[0])
        headers[n++] = (struct http_header){STR("Allow"), str_of(allow)};
    if (call) {
        (void)invocation_id_text(id, &call->id);
        headers[n++] = (struct http_header){STR("X-Kiln-Invocation-Id"), str_of(id)};
        headers[n++] = (struct http_header){STR("X-Kiln-Error"), str_of(invoke_cause(err->code))};
    }
    if (err->retry_after_s) {
        (void)snprintf(seconds, sizeof(seconds), "%u", err->retry_after_s);
        headers[n++] = (struct http_header){STR("Retry-After"), str_of(seconds)};
    }
    cleanup_buf struct buf body = BUF_INIT(ERROR_BODY_MAX);
    error_body(&body, err->text, call ? id : NULL);
    http_reply_buf(http, status_of(err->code), headers, n, &body);
}

/* ---- out ---- */

/* What a reply may have besides the handler's own headers. */
#define HEADERS_OF_OURS 2

static void reply(struct http_call *http, const struct core_call *call,
                  const struct engine_result *result) {
    struct http_header headers[WIRE_HEADERS_MAX + HEADERS_OF_OURS];
    struct wire_in in = result->headers;
    uint32_t left = INVOKE_HEADERS_START;
    char id[ID_TEXT_MAX];
    size_t n = 0;
    bool typed = false;
    headers[n++] = (struct http_header){STR("X-Kiln-Invocation-Id"),
                                        str_of(invocation_id_text(id, &call->id))};
    while (n <= WIRE_HEADERS_MAX && invoke_header_next(&in, &left, &headers[n])) {
        typed = typed || str_ieq(headers[n].name, STR("content-type"));
        n++;
    }
    const char *type = invoke_content_type(result->body_kind);
    if (!typed && type)
        headers[n++] = (struct http_header){STR("Content-Type"), str_of(type)};
    http_reply(http, result->status, headers, n, result->body);
}

/* Functions in Spin's format: who calls by HTTP hears nothing of what went wrong. */
static void reply_empty(struct http_call *http, const struct core_call *call,
                        const struct engine_result *result) {
    char id[ID_TEXT_MAX];
    (void)invocation_id_text(id, &call->id);
    struct http_header headers[] = {
        {STR("X-Kiln-Invocation-Id"), str_of(id)},
        {STR("X-Kiln-Error"), str_of(invoke_cause(result->cause))},
    };
    http_reply(http, 500, headers, ARRAY_LEN(headers), STR_NULL);
}

static void on_done(struct core_call *call, const struct engine_result *result,
                    const struct invocation *record UNUSED) {
    struct visit *v = container_of(call, struct visit, call);
    struct error err;
    core_call_done(call); /* RESULT is not the call's; its id stays */
    if (result->empty) {
        reply_empty(v->http, call, result);
    } else if (result->cause != ERR_NONE) {
        invoke_error(result, &err);
        if (err.code == ERR_FUNCTION) /* its words are for its owner, not for the public */
            (void)error_set(&err, ERR_FUNCTION, "the function failed; its log says why");
        fail(v->http, &err, call, "");
    } else if (result->status < 200) {
        (void)error_set(&err, ERR_FUNCTION,
                        "the function answered with status %u, which cannot "
                        "end a request",
                        result->status);
        fail(v->http, &err, call, "");
    } else {
        reply(v->http, call, result);
    }
    free(v);
}

/* ---- in ---- */

static void on_gone(struct http_call *http) {
    struct visit *v = http->user_data;
    core_call_cancel(&v->call);
    free(v);
}

#define ALLOW_MAX 80

/* "GET, POST": the methods for which a function listens at PATH. */
static void list_methods(struct core *core, struct str path, char allow[ALLOW_MAX]) {
    static const char *const METHODS[] = {"GET",   "HEAD",   "POST",   "PUT",
                                          "PATCH", "DELETE", "OPTIONS"};
    size_t len = 0;
    allow[0] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(METHODS); i++) {
        bool other;
        struct function *f = core_http_trigger(core, str_of(METHODS[i]), path, &other);
        if (f && len < ALLOW_MAX)
            len +=
                (size_t)snprintf(allow + len, ALLOW_MAX - len, "%s%s", len ? ", " : "", METHODS[i]);
        function_unref(f);
    }
}

static struct function *at(struct core *core, struct str method, struct str path, bool *other) {
    struct function *f = core_http_trigger(core, method, path, other);
    if (!f && *other && str_is(method, "HEAD")) /* RFC 9110 section 9.3.2 */
        f = core_http_trigger(core, STR("GET"), path, other);
    return f;
}

/* A reference to the function that listens there, or NULL with ERR and, for ERR_METHOD, ALLOW. */
static struct function *find(struct core *core, struct http_call *http, char allow[ALLOW_MAX],
                             struct error *err) {
    struct str path, clean, method = http->head.method;
    bool other_method = false;
    allow[0] = '\0';
    if (url_path_clean(http->head.path, &http->arena, &clean) < 0 ||
        url_decode(clean, URL_PATH, &http->arena, &path) < 0 || !str_is_utf8(path)) {
        (void)error_set(err, ERR_INVALID, "the path has a broken %%-escape or is not UTF-8");
        return NULL;
    }
    struct function *f = at(core, method, path, &other_method);
    if (!f && !other_method && path.len > 1 && path.p[path.len - 1] == '/') {
        path.len--;
        f = at(core, method, path, &other_method);
    }
    if (!f && other_method) {
        list_methods(core, path, allow);
        (void)error_set(err, ERR_METHOD, "the function at %.*s listens for %s only", STR_ARG(path),
                        allow);
    } else if (!f) {
        (void)error_set(err, ERR_NOT_FOUND, "no function listens at %.*s %.*s", STR_ARG(method),
                        STR_ARG(path));
    }
    return f;
}

/* Nobody's path is refused before its body is read. */
static void on_head(struct http_call *http, void *user) {
    struct error err;
    char allow[ALLOW_MAX];
    struct function *f = find(user, http, allow, &err);
    if (!f)
        fail(http, &err, NULL, allow);
    function_unref(f);
}

static int prepare(struct visit *v, struct core *core, const struct function *f,
                   struct error *err) {
    struct http_call *http = v->http;
    enum wire_body kind = invoke_body_kind(http_head_get(&http->head, "content-type"), http->body);
    struct str path;
    if (url_decode(http->head.path, URL_PATH, &http->arena, &path) < 0)
        path = http->head.path;
    if (core_call_init(core, loop_current(), &v->call, f->no, kind, http->head.method, path, err) <
        0)
        return -1;
    struct engine_input *in = &v->call.input;
    v->call.source = SOURCE_HTTP_TRIGGER;
    v->call.body = http->body;
    if (invoke_input_head(in, &http->head, INVOKE_PUBLIC, &http->arena, err) == 0 &&
        invoke_input_end(in, err) == 0)
        return 0;
    core_call_done(&v->call);
    return -1;
}

static void on_call(struct http_call *http, void *user) {
    struct core *core = user;
    struct error err;
    char allow[ALLOW_MAX];
    struct function *f = find(core, http, allow, &err); /* again: it may have gone meanwhile */
    struct visit *v = x_alloc(sizeof(*v));
    v->http = http;
    if (!f || prepare(v, core, f, &err) < 0) {
        fail(http, &err, NULL, allow);
        free(v);
        function_unref(f);
        return;
    }
    function_unref(f);
    v->call.done = on_done;
    http->user_data = v;
    http->on_gone = on_gone;
    core_call_submit(&v->call);
}

static void on_error(void *user UNUSED, const struct http_head *head UNUSED, int status UNUSED,
                     const char *reason, struct buf *body, const char **ret_content_type) {
    error_body(body, reason, NULL);
    *ret_content_type = "application/json";
}

void http_trigger_http(struct core *core, struct http_config *http) {
    http->user = core;
    http->on_head = on_head;
    http->on_call = on_call;
    http->on_error = on_error;
    http->body_max = core_config_of(core)->body_max;
}
