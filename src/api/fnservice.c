/* SPDX-License-Identifier: Apache-2.0 */
/* The fnservice dialect: its errors, and what all its operations need. */

#include "api/fnservice.h"
#include "api/dialects.h"
#include "api/fields.h"
#include <errno.h>
#include <stdio.h>

int fnservice_function(struct request *r, struct error *err) {
    uint32_t no = id_parse(r->params[FN_FUNCTION], "func");
    r->function = no ? core_function(r->core, no) : NULL;
    if (r->function && str_is(r->workspace, r->function->workspace))
        return 0;
    return error_field(err, ERR_NOT_FOUND, "function", "Function not found");
}

int fnservice_base64(const struct json *o, const char *member, int flags, struct buf *out,
                     struct error *err) {
    struct str text = STR_NULL;
    if (json_get_str(o, member, flags, &text, err) < 0)
        return -1;
    int rc = text.p ? buf_put_base64_decoded(out, text) : 0;
    if (rc == -EMSGSIZE)
        return error_field(err, ERR_TOO_LARGE, member, "\"%s\" is over the limit of %zu bytes",
                           member, out->max);
    if (rc < 0)
        return json_fail_member(o, member, err, "must be base64 with its padding (RFC 4648)");
    return 0;
}

void fnservice_write_id(struct json_w *w, const char *member, const char *prefix, uint32_t no) {
    char text[ID_TEXT_MAX];
    jw_cstr_member(w, member, id_text(text, prefix, no));
}

void fnservice_write_version_name(struct json_w *w, const char *member, uint32_t number) {
    char text[16] = "";
    if (number)
        (void)snprintf(text, sizeof(text), "v%u", number);
    jw_cstr_member(w, member, text);
}

static void write_resources(struct json_w *w, const struct function *f) {
    jw_object_member(w, "resources");
    if (f->memory)
        jw_cstr_member(w, "memory", f->memory);
    if (f->cpu)
        jw_cstr_member(w, "cpu", f->cpu);
    jw_end_object(w);
}

void fnservice_write_function(struct json_w *w, const struct request *r, const struct function *f) {
    jw_begin_object(w);
    fnservice_write_id(w, "id", "func", f->no);
    jw_cstr_member(w, "workspace_id", f->workspace);
    jw_cstr_member(w, "project_id", f->project);
    jw_cstr_member(w, "name", f->name);
    jw_cstr_member(w, "namespace", f->project);
    jw_cstr_member(w, "runtime", f->runtime);
    jw_cstr_member(w, "handler", f->handler);
    jw_cstr_member(w, "status", function_status_name(f->status));
    fnservice_write_version_name(w, "active_version", f->active_number);
    fields_write_environment(w, &f->env);
    write_resources(w, f);
    jw_double_member(w, "timeout", function_timeout_ms(r, f) / 1000.0);
    jw_u64_member(w, "min_replicas", f->min_instances);
    jw_u64_member(w, "max_replicas", function_max_instances(r, f));
    jw_cstr_member(w, "network", network_kind_name(f->network));
    fields_write_pairs(w, "labels", &f->labels);
    fields_write_pairs(w, "annotations", &f->annotations);
    jw_time_member(w, "created_at", f->created_us);
    jw_time_member(w, "updated_at", f->updated_us);
    jw_end_object(w);
}

void fnservice_write_trigger(struct json_w *w, const struct function *f, const struct trigger *t) {
    jw_begin_object(w);
    fnservice_write_id(w, "id", "trg", t->no);
    jw_cstr_member(w, "workspace_id", f->workspace);
    fnservice_write_id(w, "function_id", "func", f->no);
    jw_cstr_member(w, "name", t->name);
    jw_cstr_member(w, "type", trigger_type_name(t->type));
    jw_bool_member(w, "enabled", t->enabled);
    fields_write_pairs(w, "config", &t->config);
    jw_time_member(w, "created_at", t->created_us);
    jw_time_member(w, "updated_at", t->updated_us ? t->updated_us : t->created_us);
    jw_end_object(w);
}

void fnservice_send(struct request *r, int status, struct json_w *w, struct buf *body) {
    request_written(r, status, NULL, 0, w, body);
}

void fnservice_message(struct request *r, const char *message) {
    struct buf body = BUF_INIT(KIB);
    struct json_w w;
    json_w_init(&w, &body);
    jw_begin_object(&w);
    jw_cstr_member(&w, "message", message);
    jw_end_object(&w);
    fnservice_send(r, 200, &w, &body);
}

/* ---- errors ---- */

static const struct dialect_error ERRORS[ERR_COUNT] = {
    [ERR_NONE] = {500, "INTERNAL_ERROR"},
    [ERR_INVALID] = {400, "INVALID_REQUEST"},
    [ERR_INVALID_RUNTIME] = {400, "INVALID_RUNTIME"},
    [ERR_UNAUTHENTICATED] = {401, "UNAUTHORIZED"},
    [ERR_FORBIDDEN] = {403, "FORBIDDEN"},
    [ERR_NOT_FOUND] = {404, "NOT_FOUND"},
    [ERR_METHOD] = {405, "METHOD_NOT_ALLOWED"},
    [ERR_CONFLICT] = {409, "CONFLICT"},
    [ERR_TOO_LARGE] = {413, "PAYLOAD_TOO_LARGE"},
    [ERR_QUOTA] = {429, "QUOTA_EXCEEDED"},
    [ERR_BUILD_FAILED] = {409, "BUILD_FAILED"},
    [ERR_FUNCTION] = {500, "INVOCATION_FAILED"},
    [ERR_TIMEOUT] = {504, "INVOCATION_FAILED"},
    [ERR_MEMORY] = {500, "INVOCATION_FAILED"},
    [ERR_CRASH] = {500, "INVOCATION_FAILED"},
    [ERR_LIMIT] = {500, "INVOCATION_FAILED"},
    [ERR_BUSY] = {503, "UNAVAILABLE"},
    [ERR_UNAVAILABLE] = {503, "UNAVAILABLE"},
    [ERR_CANCELED] = {503, "UNAVAILABLE"},
    [ERR_INTERNAL] = {500, "INTERNAL_ERROR"},
};

static const char *word_of(const struct error *err, const char *word) {
    static const struct {
        const char *thing, *word;
    } MISSING[] = {
        {"function", "FUNCTION_NOT_FOUND"},
        {"version", "VERSION_NOT_FOUND"},
        {"trigger", "TRIGGER_NOT_FOUND"},
        {"invocation", "INVOCATION_NOT_FOUND"},
    };
    if (err->code != ERR_NOT_FOUND)
        return word;
    for (size_t i = 0; i < ARRAY_LEN(MISSING); i++) {
        if (strcmp(err->field, MISSING[i].thing) == 0)
            return MISSING[i].word;
    }
    return word;
}

static void error_body(struct buf *out, const struct error *err, const char *word) {
    bool of_field = err->field[0] && (err->code == ERR_INVALID || err->code == ERR_TOO_LARGE ||
                                      err->code == ERR_INVALID_RUNTIME);
    struct json_w w;
    json_w_init(&w, out);
    jw_begin_object(&w);
    jw_cstr_member(&w, "error", err->text);
    jw_cstr_member(&w, "code", word_of(err, word));
    if (of_field) {
        jw_object_member(&w, "details");
        jw_cstr_member(&w, "field", err->field);
        jw_cstr_member(&w, "reason", err->text);
        jw_end_object(&w);
    }
    jw_end_object(&w);
}

static const char *const PREFIXES[] = {"/api/v1/workspaces", NULL};

const struct dialect dialect_fnservice = {
    .name = "fnservice",
    .prefixes = PREFIXES,
    .content_type = "application/json",
    .workspace_param = FN_WORKSPACE,
    .errors = ERRORS,
    .error_body = error_body,
};
