/* SPDX-License-Identifier: Apache-2.0 */
/* The blue dialect: its errors, what its files share, and the root. */

#include "api/blue.h"
#include "api/dialects.h"
#include "api/internal.h"
#include "base/clock.h"
#include "routes.h"
#include <stdio.h>
#include <time.h>

/* ---- lookup ---- */

int blue_workspace_named(struct request *r, struct str id, enum role role, struct error *err) {
    struct workspace w;
    if (core_authorize(&r->who, id, role, err) < 0)
        return -1;
    if (!core_workspace(r->core, id, &w))
        return error_field(err, ERR_NOT_FOUND, "workspace", "Workspace not found");
    workspace_done(&w);
    return 0;
}

int blue_workspace(struct request *r, struct error *err) {
    return blue_workspace_named(r, r->workspace, (enum role)r->route->role, err);
}

static int no_function(struct request *r, struct error *err) {
    function_unref(r->function);
    r->function = NULL;
    return error_field(err, ERR_NOT_FOUND, "function", "Function not found");
}

int blue_function(struct request *r, struct error *err) {
    r->function = core_function(r->core, id_parse(r->params[1], "fn"));
    if (!r->function || !str_is(r->workspace, r->function->workspace))
        return no_function(r, err);
    return 0;
}

int blue_function_anywhere(struct request *r, struct error *err) {
    struct error refused;
    r->function = core_function(r->core, id_parse(r->params[0], "fn"));
    if (!r->function || core_authorize(&r->who, str_of(r->function->workspace),
                                       (enum role)r->route->role, &refused) < 0)
        return no_function(r, err);
    return 0;
}

/* ---- out ---- */

#define KOREA_S (9 * 3600)

const char *blue_time_text(int64_t real_us, char out[BLUE_TIME_MAX]) {
    int64_t us = real_us % 1000000;
    time_t s = (time_t)(real_us / 1000000) + KOREA_S;
    struct tm tm = {0};
    if (us < 0) {
        us += 1000000;
        s--;
    }
    (void)gmtime_r(&s, &tm);
    size_t n = strftime(out, BLUE_TIME_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(out + n, BLUE_TIME_MAX - n, ".%06d+09:00", (int)us);
    return out;
}

void blue_write_time(struct json_w *w, const char *member, int64_t real_us) {
    char text[BLUE_TIME_MAX];
    jw_cstr_member(w, member, real_us ? blue_time_text(real_us, text) : NULL);
}

void blue_write_body(struct json_w *w, const char *member, struct str body) {
    jw_key(w, member);
    if (!body.p || body.len == 0) {
        jw_null(w);
    } else if (json_check(body, NULL) == 0) {
        jw_raw(w, body);
    } else {
        jw_begin_object(w);
        jw_str_member(w, "data", body);
        jw_end_object(w);
    }
}

void op_blue_root(struct request *r) {
    struct buf body = BUF_INIT(4 * KIB);
    struct json_w w;
    json_w_init(&w, &body);
    jw_begin_object(&w);
    jw_cstr_member(&w, "message", "kiln serves functions");
    jw_cstr_member(&w, "version", core_config_of(r->core)->version);
    jw_cstr_member(&w, "status", core_ready(r->core) ? "running" : "starting");
    jw_cstr_member(&w, "docs", "/docs");
    jw_end_object(&w);
    request_written(r, 200, NULL, 0, &w, &body);
}

/* ---- errors ---- */

static const struct dialect_error ERRORS[ERR_COUNT] = {
    [ERR_NONE] = {500, "INTERNAL_ERROR"},
    [ERR_INVALID] = {400, "VALIDATION_ERROR"},
    [ERR_INVALID_RUNTIME] = {400, "VALIDATION_ERROR"},
    [ERR_UNAUTHENTICATED] = {401, "UNAUTHORIZED"},
    [ERR_FORBIDDEN] = {403, "FORBIDDEN"},
    [ERR_NOT_FOUND] = {404, "NOT_FOUND"},
    [ERR_METHOD] = {405, "METHOD_NOT_ALLOWED"},
    [ERR_CONFLICT] = {409, "CONFLICT"},
    [ERR_TOO_LARGE] = {413, "PAYLOAD_TOO_LARGE"},
    [ERR_QUOTA] = {429, "RATE_LIMIT_EXCEEDED"},
    [ERR_BUILD_FAILED] = {409, "BUILD_FAILED"},
    [ERR_FUNCTION] = {500, "FUNCTION_ERROR"},
    [ERR_TIMEOUT] = {504, "FUNCTION_TIMEOUT"},
    [ERR_MEMORY] = {500, "FUNCTION_OUT_OF_MEMORY"},
    [ERR_CRASH] = {500, "FUNCTION_CRASHED"},
    [ERR_LIMIT] = {500, "FUNCTION_LIMIT_EXCEEDED"},
    [ERR_BUSY] = {503, "SERVICE_BUSY"},
    [ERR_UNAVAILABLE] = {503, "SERVICE_UNAVAILABLE"},
    [ERR_CANCELED] = {503, "REQUEST_CANCELED"},
    [ERR_INTERNAL] = {500, "INTERNAL_ERROR"},
};

/* "WORKSPACE_NOT_FOUND" for what is named; else the table's word. */
static const char *word_of(const struct error *err, const char *word) {
    static const struct {
        const char *field, *word;
    } things[] = {{"workspace", "WORKSPACE_NOT_FOUND"},
                  {"function", "FUNCTION_NOT_FOUND"},
                  {"task", "TASK_NOT_FOUND"}};
    for (size_t i = 0; err->code == ERR_NOT_FOUND && i < ARRAY_LEN(things); i++)
        if (strcmp(err->field, things[i].field) == 0)
            return things[i].word;
    return word;
}

static void write_error(struct json_w *w, const struct error *err, const char *word) {
    jw_object_member(w, "error");
    jw_cstr_member(w, "code", word_of(err, word));
    jw_cstr_member(w, "message", err->text);
    jw_object_member(w, "details");
    if (err->field[0])
        jw_cstr_member(w, "field", err->field);
    if (err->retry_after_s)
        jw_u64_member(w, "retry_after", err->retry_after_s);
    jw_end_object(w);
    jw_end_object(w);
}

static void error_body(struct buf *out, const struct error *err, const char *word) {
    struct json_w w;
    json_w_init(&w, out);
    jw_begin_object(&w);
    jw_object_member(&w, "detail");
    write_error(&w, err, word);
    jw_end_object(&w);
    write_error(&w, err, word);
    jw_end_object(&w);
}

static const char *const PREFIXES[] = {"/api",
                                       "/api/v1/build",
                                       "/api/v1/tasks",
                                       "/api/v1/push",
                                       "/api/v1/build-and-push",
                                       "/api/v1/scaffold",
                                       "/api/v1/deploy",
                                       NULL};

const struct dialect dialect_blue = {
    .name = "blue",
    .prefixes = PREFIXES,
    .content_type = "application/json",
    .cors = true,
    .workspace_param = 0,
    .errors = ERRORS,
    .error_body = error_body,
};
