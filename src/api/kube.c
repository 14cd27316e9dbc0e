/* SPDX-License-Identifier: Apache-2.0 */
/* The kube dialect: its errors, and its small operations. */

#include "api/kube.h"
#include "api/common.h"
#include "api/dialects.h"
#include "api/internal.h"
#include "routes.h"
#include "json/write.h"

int kube_function(struct request *r, struct error *err) {
    r->function = core_function_named(r->core, r->workspace, STR(DEFAULT_PROJECT), r->params[0]);
    return r->function ? 0 : error_field(err, ERR_NOT_FOUND, "function", "Function not found");
}

void op_kube_health(struct request *r) {
    common_health(r);
}
void op_kube_ready(struct request *r) {
    common_ready(r);
}

/* ---- metrics ---- */

static void on_metrics(void *arg, const struct error *err, const struct core_metrics *m) {
    struct request *r = arg;
    if (err) {
        request_fail(r, err);
        return;
    }
    double calls = m->invocations ? (double)m->invocations : 1;
    struct buf body = BUF_INIT(4 * KIB);
    struct json_w w;
    json_w_init(&w, &body);
    jw_begin_object(&w);
    jw_u64_member(&w, "invocations", m->invocations);
    jw_u64_member(&w, "coldStarts", m->cold_starts);
    jw_double_member(&w, "avgDuration", (double)m->avg_us / 1e6);
    jw_double_member(&w, "errorRate", (double)m->errors / calls);
    jw_double_member(&w, "costEstimate",
                     m->gb_seconds * r->api->price_gb_second +
                         (double)m->invocations * r->api->price_request);
    jw_end_object(&w);
    request_json(r, 200, &body);
}

void op_kube_get_metrics(struct request *r) {
    struct error err;
    if (kube_function(r, &err) < 0)
        request_fail(r, &err);
    else
        core_metrics(r->core, r->loop, r->function->no, 0, 0, on_metrics, r);
}

/* ---- delete ---- */

void op_kube_delete_function(struct request *r) {
    struct error err;
    if (kube_function(r, &err) < 0)
        request_fail(r, &err);
    else
        core_function_delete(r->core, r->loop, &r->who, r->function->no, request_deleted, r);
}

/* ---- errors ---- */

static const struct dialect_error ERRORS[ERR_COUNT] = {
    [ERR_NONE] = {500, "Internal server error: "},
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
    [ERR_INTERNAL] = {500, "Internal server error: "},
};

/* This dialect has no codes; the table's word is how the sentence begins. */
static void error_body(struct buf *out, const struct error *err, const char *word) {
    struct error said = *err;
    if (word)
        (void)error_set(&said, err->code, "%s%s", word, err->text);
    common_error_body(out, &said, NULL);
}

static const char *const PREFIXES[] = {"/api/v1", NULL};

const struct dialect dialect_kube = {
    .name = "kube",
    .prefixes = PREFIXES,
    .content_type = "application/json",
    .cors = true,
    .workspace_param = -1,
    .errors = ERRORS,
    .error_body = error_body,
};
