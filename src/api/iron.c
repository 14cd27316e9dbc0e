/* SPDX-License-Identifier: Apache-2.0 */
/* The iron dialect (IronFunctions): its errors, and what all its operations need. Messages are the
 * original's, to the letter; what it left out is in `fields`. */

#include "api/iron.h"
#include "api/dialects.h"
#include "api/fields.h"
#include <errno.h>
#include <stdio.h>

/* ---- errors ---- */

int iron_fail(struct error *err, enum error_code code, const char *message, const char *detail) {
    return error_set(err, code, detail ? "%s%c%s" : "%s", message, IRON_DETAIL, detail);
}

int iron_invalid_json(struct error *err) {
    struct error was = *err;
    return iron_fail(err, ERR_INVALID, "Invalid JSON", was.text);
}

static void error_body(struct buf *out, const struct error *err, const char *word UNUSED) {
    struct str detail = str_of(err->text);
    struct str message = str_cut(&detail, IRON_DETAIL);
    struct json_w w;
    json_w_init(&w, out);
    jw_begin_object(&w);
    jw_object_member(&w, "error");
    jw_str_member(&w, "message", message);
    if (detail.p)
        jw_str_member(&w, "fields", detail);
    jw_end_object(&w);
    jw_end_object(&w);
}

static const struct dialect_error ERRORS[ERR_COUNT] = {
    [ERR_NONE] = {500, NULL},
    [ERR_INVALID] = {400, NULL},
    [ERR_INVALID_RUNTIME] = {400, NULL},
    [ERR_UNAUTHENTICATED] = {401, NULL},
    [ERR_FORBIDDEN] = {403, NULL},
    [ERR_NOT_FOUND] = {404, NULL},
    [ERR_METHOD] = {405, NULL},
    [ERR_CONFLICT] = {409, NULL},
    [ERR_TOO_LARGE] = {413, NULL},
    [ERR_QUOTA] = {429, NULL},
    [ERR_BUILD_FAILED] = {500, NULL},
    [ERR_FUNCTION] = {500, NULL},
    [ERR_TIMEOUT] = {504, NULL},
    [ERR_MEMORY] = {500, NULL},
    [ERR_CRASH] = {500, NULL},
    [ERR_LIMIT] = {500, NULL},
    [ERR_BUSY] = {503, NULL},
    [ERR_UNAVAILABLE] = {503, NULL},
    [ERR_CANCELED] = {503, NULL},
    [ERR_INTERNAL] = {500, NULL},
};

/* ---- bodies ---- */

int iron_body(const struct request *r, const char *wrapper, const char *missing,
              struct json **ret_root, const struct json **ret, struct error *err) {
    if (fields_body(r, ret_root, err) < 0)
        return iron_invalid_json(err);
    *ret = NULL;
    if (json_get_object(*ret_root, wrapper, JSON_NULLABLE, ret, err) < 0)
        return iron_invalid_json(err);
    return *ret ? 0 : iron_fail(err, ERR_INVALID, missing, NULL);
}

/* ---- apps ---- */

struct project *iron_app(const struct request *r, struct error *err) {
    struct project *p = core_project(r->core, r->workspace, r->params[IRON_APP]);
    if (!p)
        (void)error_field(err, ERR_NOT_FOUND, "app", "App not found");
    return p;
}

int iron_check_app_name(struct str name, struct error *err) {
    char text[64];
    if (name.len == 0)
        return iron_fail(err, ERR_INVALID, "Missing app name", NULL);
    (void)snprintf(text, sizeof(text), "App name must be %d characters or less", IRON_APP_NAME_MAX);
    if (name.len > IRON_APP_NAME_MAX)
        return iron_fail(err, ERR_INVALID, text, NULL);
    for (size_t i = 0; i < name.len; i++) {
        char c = name.p[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
              c == '-' || c == '_'))
            return iron_fail(err, ERR_INVALID, "Invalid app name", NULL);
    }
    struct error why;
    if (check_project_name(name, "name", &why) < 0)
        return iron_fail(err, ERR_INVALID, "Invalid app name", why.text);
    return 0;
}

/* ---- paths ---- */

static size_t drop_segment(const char *out, size_t n) {
    while (n > 0 && out[n - 1] != '/')
        n--;
    return n > 0 ? n - 1 : 0;
}

size_t iron_clean_path(struct str raw, char *out) {
    size_t n = 0; /* out[0..n) has a '/' before each of its segments, none behind */
    while (raw.p) {
        struct str segment = str_cut(&raw, '/');
        if (segment.len == 0 || str_is(segment, "."))
            continue;
        if (str_is(segment, "..")) {
            n = drop_segment(out, n);
            continue;
        }
        out[n++] = '/';
        memcpy(out + n, segment.p, segment.len);
        n += segment.len;
    }
    if (n == 0)
        out[n++] = '/';
    return n;
}

const char *iron_path_of(const struct function *f, char out[IRON_PATH_MAX]) {
    if (f->title && f->title[0] == '/')
        return f->title;
    (void)snprintf(out, IRON_PATH_MAX, "/%s", f->name);
    return out;
}

static struct function *find_route(struct core *core, struct str app, struct str path) {
    char name[NAME_MAX_LEN + 1], buf[IRON_PATH_MAX];
    struct error err;
    if (name_of_title(path, "path", name, &err) < 0)
        return NULL;
    struct function *f = core_function_named(core, STR(DEFAULT_WORKSPACE), app, str_of(name));
    if (f && str_is(path, iron_path_of(f, buf)))
        return f;
    function_unref(f); /* another path that comes to the same name */
    return NULL;
}

int iron_route(struct request *r, struct str *ret_path, struct error *err) {
    struct str raw = r->params[IRON_ROUTE];
    char *clean = arena_alloc(&r->call->arena, raw.len + 1);
    if (!clean)
        return error_set(err, ERR_TOO_LARGE, "the request's path needs too much memory");
    struct str path = str_n(clean, iron_clean_path(raw, clean));
    r->function = find_route(r->core, r->params[IRON_APP], path);
    if (ret_path)
        *ret_path = path;
    if (r->function)
        return 0;
    struct project *app = iron_app(r, err);
    if (!app)
        return -1;
    project_unref(app);
    return error_field(err, ERR_NOT_FOUND, "function", "Route not found");
}

/* ---- config ---- */

void iron_write_config(struct json_w *w, const struct request *r, const struct pairs *config) {
    bool in_full = r->who.role >= ROLE_DEVELOPER;
    jw_object_member(w, "config");
    for (size_t i = 0; i < config->n; i++)
        jw_cstr_member(w, config->v[i].key, in_full ? config->v[i].value : SECRET_MASK);
    jw_end_object(w);
}

static void remove_pair(struct pairs *p, struct str key) {
    for (size_t i = 0; i < p->n; i++) {
        if (!str_is(key, p->v[i].key))
            continue;
        free(p->v[i].key);
        free(p->v[i].value);
        memmove(&p->v[i], &p->v[i + 1], (p->n - i - 1) * sizeof(*p->v));
        p->n--;
        return;
    }
}

int iron_read_config(const struct json *o, bool remove, struct pairs *to, struct error *err) {
    const struct json *config = NULL;
    struct json_walk walk = {0};
    struct str key, value;
    int rc;
    if (json_get_object(o, "config", JSON_NULLABLE, &config, err) < 0)
        return iron_invalid_json(err);
    while ((rc = json_next_str(config, &walk, &key, &value, err)) > 0) {
        cleanup_free char *name = str_dup(key);
        if (remove && value.len == 0)
            remove_pair(to, key);
        else if (!str_is(value, SECRET_MASK) || !pairs_get(to, name))
            pairs_add(to, key, value);
    }
    if (rc < 0)
        return iron_invalid_json(err);
    struct error why;
    return check_env(to, &why) < 0 ? iron_fail(err, ERR_INVALID, "Invalid config", why.text) : 0;
}

/* ---- merging ---- */

#define TRIES_MAX 32

bool iron_try_again(struct request *r) {
    uintptr_t tries = (uintptr_t)r->state + 1;
    r->state = (void *)tries; /* a number; free_state is not set */
    function_unref(r->function);
    r->function = NULL;
    return r->call && tries < TRIES_MAX;
}

/* ---- ids ---- */

void iron_uuid(const struct ulid *id, char out[IRON_UUID_LEN + 1]) {
    static const char digits[] = "0123456789abcdef";
    size_t n = 0;
    for (size_t i = 0; i < sizeof(id->b); i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            out[n++] = '-';
        out[n++] = digits[id->b[i] >> 4];
        out[n++] = digits[id->b[i] & 15];
    }
    out[n] = '\0';
}

int iron_uuid_parse(struct str s, struct ulid *ret) {
    struct ulid id;
    size_t at = 0;
    if (s.len != IRON_UUID_LEN)
        return -EINVAL;
    for (size_t i = 0; i < sizeof(id.b); i++) {
        if ((i == 4 || i == 6 || i == 8 || i == 10) && s.p[at++] != '-')
            return -EINVAL;
        int hi = hex_value(s.p[at]), lo = hex_value(s.p[at + 1]);
        if (hi < 0 || lo < 0)
            return -EINVAL;
        id.b[i] = (uint8_t)(hi << 4 | lo);
        at += 2;
    }
    *ret = id;
    return 0;
}

/* ---- the dialect ---- */

static const char *const PREFIXES[] = {"/v1", "/tasks", "/r", NULL};

const struct dialect dialect_iron = {
    .name = "iron",
    .prefixes = PREFIXES,
    .content_type = "application/json; charset=utf-8",
    .workspace_param = -1,
    .errors = ERRORS,
    .error_body = error_body,
};
