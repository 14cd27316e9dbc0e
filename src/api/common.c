/* SPDX-License-Identifier: Apache-2.0 */
/* Health and readiness, and the errors of paths that belong to no dialect. */

#include "api/common.h"
#include "api/dialects.h"
#include "routes.h"
#include "json/write.h"

#define SMALL_MAX (4 * KIB)

void common_health(struct request *r) {
    struct buf body = BUF_INIT(SMALL_MAX);
    (void)buf_puts(&body, "{\"status\":\"healthy\"}");
    request_json(r, 200, &body);
}

static void on_health(void *arg, const struct error *err) {
    struct request *r = arg;
    struct buf body = BUF_INIT(SMALL_MAX);
    if (!err) {
        (void)buf_puts(&body, "{\"status\":\"ready\"}");
        request_json(r, 200, &body);
        return;
    }
    struct json_w w;
    json_w_init(&w, &body);
    jw_begin_object(&w);
    jw_cstr_member(&w, "status", "not ready");
    jw_cstr_member(&w, "error", err->text);
    jw_end_object(&w);
    request_json(r, 503, &body);
}

void common_ready(struct request *r) {
    if (core_ready(r->core)) {
        core_health(r->core, r->loop, on_health, r);
        return;
    }
    struct error err;
    (void)error_set(&err, ERR_UNAVAILABLE, "the server is starting or shutting down");
    on_health(r, &err);
}

void op_common_health(struct request *r) {
    common_health(r);
}
void op_common_ready(struct request *r) {
    common_ready(r);
}

void common_error_body(struct buf *out, const struct error *err, const char *word UNUSED) {
    struct json_w w;
    json_w_init(&w, out);
    jw_begin_object(&w);
    jw_cstr_member(&w, "error", err->text);
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
    [ERR_BUILD_FAILED] = {409, NULL},
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

static const char *const PREFIXES[] = {NULL};

const struct dialect dialect_common = {
    .name = "common",
    .prefixes = PREFIXES,
    .content_type = "application/json",
    .cors = true,         /* /health and /ready are kube's as well */
    .workspace_param = 0, /* none has one: the token's own */
    .errors = ERRORS,
    .error_body = common_error_body,
};

const struct dialect *const dialects[] = {
    &dialect_common, &dialect_fnservice, &dialect_kube, &dialect_runna,
    &dialect_blue,   &dialect_iron,      NULL};
