/* SPDX-License-Identifier: Apache-2.0 */
/* fnservice: create, list, get, update, delete. */

#include "api/fields.h"
#include "api/fnservice.h"
#include "api/lists.h"
#include "routes.h"

/* ---- create ---- */

static void on_function(struct request *r, int status, const struct error *err,
                        const struct function *f) {
    struct json_w w;
    struct buf body;
    if (!request_begin(r, err, &w, &body))
        return;
    fnservice_write_function(&w, r, f);
    fnservice_send(r, status, &w, &body);
}

static void on_created(void *arg, const struct error *err, struct function *f) {
    on_function(arg, 201, err, f);
}

static void on_updated(void *arg, const struct error *err, struct function *f) {
    on_function(arg, 200, err, f);
}

/* What create and update read alike. */
static int read_common(const struct request *r, const struct json *o, struct function *f,
                       struct error *err) {
    const struct json *resources = NULL;
    if (fields_environment(o, "environment", &f->env, err) < 0 ||
        fields_pairs(o, "labels", &f->labels, err) < 0 ||
        fields_pairs(o, "annotations", &f->annotations, err) < 0 ||
        json_get_object(o, "resources", JSON_NULLABLE, &resources, err) < 0 ||
        fields_resources(r, resources, "resources.", f, err) < 0 ||
        fields_timeout(o, "timeout", f, err) < 0 ||
        fields_replicas(r, o, "min_replicas", "max_replicas", f, err) < 0)
        return -1;
    return fields_network(r, o, "network", f, err);
}

static int read_place(struct request *r, const struct json *o, struct function *f,
                      struct error *err) {
    struct str project = STR_NULL;
    if (json_get_str(o, "project_id", JSON_NULLABLE, &project, err) < 0)
        return -1;
    if (!project.p && request_query(r, "project_id", &project, err) < 0)
        return -1;
    if (!project.p)
        project = STR(DEFAULT_PROJECT);
    if (check_name(r->workspace, "workspace_id", err) < 0 ||
        check_name(project, "project_id", err) < 0)
        return -1;
    field_set(&f->workspace, r->workspace);
    field_set(&f->project, project);
    return 0;
}

#define HANDLER_DEFAULT "handler"

static int read_create(struct request *r, const struct json *o, struct function *f,
                       struct buf *code, struct error *err) {
    if (read_place(r, o, f, err) < 0 || fields_name(o, "name", JSON_REQUIRED, f, err) < 0 ||
        fields_runtime(o, "runtime", JSON_REQUIRED, f, err) < 0)
        return -1;
    field_set(&f->handler, STR(HANDLER_DEFAULT));
    if (fields_handler(o, "handler", JSON_NULLABLE, f, err) < 0 ||
        fnservice_base64(o, "source_code", JSON_REQUIRED | JSON_NONEMPTY, code, err) < 0)
        return -1;
    return read_common(r, o, f, err);
}

void op_fnservice_create_function(struct request *r) {
    cleanup_json struct json *o = NULL;
    cleanup_buf struct buf code = BUF_INIT(CODE_MAX);
    struct core_draft draft = {.function = function_new(), .wait_build = true};
    struct error err;
    if (fields_body(r, &o, &err) < 0 || read_create(r, o, draft.function, &code, &err) < 0) {
        function_unref(draft.function);
        request_fail(r, &err);
        return;
    }
    draft.code = buf_str(&code);
    core_function_create(r->core, r->loop, &r->who, &draft, on_created, r);
}

/* ---- list and get ---- */

static void write_summary(struct json_w *w, const struct function *f) {
    jw_begin_object(w);
    fnservice_write_id(w, "id", "func", f->no);
    jw_cstr_member(w, "name", f->name);
    jw_cstr_member(w, "runtime", f->runtime);
    jw_cstr_member(w, "status", function_status_name(f->status));
    fnservice_write_version_name(w, "active_version", f->active_number);
    jw_time_member(w, "created_at", f->created_us);
    jw_end_object(w);
}

void op_fnservice_list_functions(struct request *r) {
    struct str project;
    struct error err;
    int rc = request_query(r, "project_id", &project, &err);
    if (rc == 0)
        (void)error_field(&err, ERR_INVALID, "project_id",
                          "project_id is required: add ?project_id= to the query");
    if (rc <= 0) {
        request_fail(r, &err);
        return;
    }
    struct function_list l;
    if (function_list_page(&l, r, project, &err) < 0) {
        request_fail(r, &err);
        return;
    }
    struct buf body = BUF_INIT(REPLY_MAX);
    struct json_w w;
    json_w_init(&w, &body);
    jw_begin_object(&w);
    jw_array_member(&w, "functions");
    for (size_t i = 0; i < l.n; i++)
        write_summary(&w, l.v[i]);
    jw_end_array(&w);
    function_list_done(&l);
    jw_end_object(&w);
    fnservice_send(r, 200, &w, &body);
}

void op_fnservice_get_function(struct request *r) {
    struct error err;
    int rc = fnservice_function(r, &err);
    on_function(r, 200, rc < 0 ? &err : NULL, r->function);
}

/* ---- update and delete ---- */

/* A client that sends back what it read may name the runtime it has. */
static int check_same_runtime(const struct json *o, const struct function *f, struct error *err) {
    struct str runtime = STR_NULL;
    if (json_get_str(o, "runtime", JSON_NULLABLE, &runtime, err) < 0)
        return -1;
    if (runtime.p && !str_is(runtime, f->runtime))
        return json_fail_member(o, "runtime", err,
                                "cannot change: create another function for another runtime");
    if (json_has(o, "source_code"))
        return json_fail_member(o, "source_code", err,
                                "is not changed here: deploy a version with POST …/versions");
    return 0;
}

static int read_update(const struct request *r, const struct json *o, struct function *f,
                       struct error *err) {
    if (check_same_runtime(o, f, err) < 0 || fields_name(o, "name", JSON_NULLABLE, f, err) < 0 ||
        fields_handler(o, "handler", JSON_NULLABLE, f, err) < 0)
        return -1;
    return read_common(r, o, f, err);
}

void op_fnservice_update_function(struct request *r) {
    cleanup_json struct json *o = NULL;
    struct core_update update = {.wait_build = true};
    struct error err;
    if (fnservice_function(r, &err) < 0 || fields_body(r, &o, &err) < 0) {
        request_fail(r, &err);
        return;
    }
    update.function = function_clone(r->function);
    if (read_update(r, o, update.function, &err) < 0) {
        function_unref(update.function);
        request_fail(r, &err);
        return;
    }
    core_function_update(r->core, r->loop, &r->who, &update, on_updated, r);
}

void op_fnservice_delete_function(struct request *r) {
    struct error err;
    if (fnservice_function(r, &err) < 0) {
        request_fail(r, &err);
        return;
    }
    core_function_delete(r->core, r->loop, &r->who, r->function->no, request_deleted, r);
}
