/* SPDX-License-Identifier: Apache-2.0 */
/* fnservice: versions. */

#include "api/fields.h"
#include "api/fnservice.h"
#include "api/lists.h"
#include "routes.h"

static void write_version(struct json_w *w, const struct function *f, const struct version *v,
                          bool detail) {
    jw_begin_object(w);
    fnservice_write_id(w, "id", "ver", v->no);
    jw_cstr_member(w, "workspace_id", f->workspace);
    fnservice_write_id(w, "function_id", "func", f->no);
    jw_cstr_member(w, "function_name", f->name);
    jw_u64_member(w, "version", v->number);
    if (v->image)
        jw_cstr_member(w, "image", v->image);
    jw_cstr_member(w, "build_status", build_status_name(v->build));
    jw_time_member(w, "created_at", v->created_us);
    jw_bool_member(w, "is_active", v->active);
    if (detail) {
        jw_u64_member(w, "code_size", v->code_len);
        jw_cstr_member(w, "build_log", v->build_log ? v->build_log : "");
    }
    jw_end_object(w);
}

/* ---- deploy ---- */

static void on_version(struct request *r, int status, const struct error *err,
                       const struct version *v, bool detail) {
    struct json_w w;
    struct buf body;
    if (!request_begin(r, err, &w, &body))
        return;
    write_version(&w, r->function, v, detail);
    fnservice_send(r, status, &w, &body);
}

static void on_deployed(void *arg, const struct error *err, const struct version *v) {
    on_version(arg, 201, err, v, false);
}

/* Code, or an image. Beside code an image is only remembered: what others would build of it. */
static int read_deploy(const struct json *o, uint32_t *ret_number, struct buf *code,
                       struct str *image, struct error *err) {
    int64_t number = 0;
    if (json_get_str(o, "image", JSON_NULLABLE, image, err) < 0 ||
        json_get_int(o, "version", JSON_NULLABLE, 1, VERSIONS_MAX, &number, err) < 0)
        return -1;
    bool has_code = json_has(o, "source_code") && !json_has_null(o, "source_code");
    *ret_number = (uint32_t)number;
    if (image->len > 0 && !has_code)
        return 0;
    if (!has_code)
        return error_field(err, ERR_INVALID, "source_code",
                           "\"source_code\" is required, or \"image\"");
    return fnservice_base64(o, "source_code", JSON_REQUIRED | JSON_NONEMPTY, code, err);
}

void op_fnservice_deploy_version(struct request *r) {
    cleanup_json struct json *o = NULL;
    cleanup_buf struct buf code = BUF_INIT(CODE_MAX);
    struct str image = STR_NULL;
    uint32_t number = 0;
    struct error err;
    if (fnservice_function(r, &err) < 0 || fields_body(r, &o, &err) < 0 ||
        read_deploy(o, &number, &code, &image, &err) < 0) {
        request_fail(r, &err);
        return;
    }
    cleanup_free char *ref = image.len ? str_dup(image) : NULL;
    core_version_deploy(r->core, r->loop, &r->who, r->function->no, number, buf_str(&code), ref,
                        on_deployed, r);
}

/* ---- list ---- */

static void write_summary(struct json_w *w, const struct version *v) {
    jw_begin_object(w);
    fnservice_write_id(w, "id", "ver", v->no);
    jw_u64_member(w, "version", v->number);
    if (v->image)
        jw_cstr_member(w, "image", v->image);
    jw_cstr_member(w, "build_status", build_status_name(v->build));
    jw_time_member(w, "created_at", v->created_us);
    jw_bool_member(w, "is_active", v->active);
    jw_end_object(w);
}

static void on_list(void *arg, const struct error *err, const struct version *v, size_t n) {
    struct request *r = arg;
    if (err) {
        request_fail(r, err);
        return;
    }
    for (; n && v->number >= r->page_before; n--) /* on the pages before */
        v++;
    if (page_cut(r, &n))
        page_next(r, v[n - 1].number);
    struct buf body = BUF_INIT(REPLY_MAX);
    struct json_w w;
    json_w_init(&w, &body);
    jw_begin_object(&w);
    jw_array_member(&w, "versions");
    for (size_t i = 0; i < n; i++)
        write_summary(&w, &v[i]);
    jw_end_array(&w);
    jw_end_object(&w);
    fnservice_send(r, 200, &w, &body);
}

void op_fnservice_list_versions(struct request *r) {
    struct page page;
    struct error err;
    if (fnservice_function(r, &err) < 0 || page_get(r, 0, 0, false, &page, &err) < 0)
        request_fail(r, &err);
    else
        core_versions(r->core, r->loop, r->function->no, on_list, r);
}

/* ---- one version, named by id or by number ---- */

/* "ver-12", "v2" or "2". Sets *RET_NO or *RET_NUMBER, the other is 0. */
static int read_wanted(struct request *r, uint32_t *ret_no, uint32_t *ret_number,
                       struct error *err) {
    struct str s = r->params[FN_THIRD];
    uint64_t number = 0;
    *ret_no = id_parse(s, "ver");
    if (s.len > 1 && s.p[0] == 'v')
        s = str_n(s.p + 1, s.len - 1);
    if (!*ret_no && str_u64(s, VERSIONS_MAX, &number) < 0)
        number = 0;
    *ret_number = (uint32_t)number;
    if (*ret_no || *ret_number)
        return 0;
    return error_field(err, ERR_NOT_FOUND, "version", "Version not found");
}

static void find(struct request *r,
                 void (*done)(void *arg, const struct error *err, const struct version *v)) {
    uint32_t no, number;
    struct error err;
    if (fnservice_function(r, &err) < 0 || read_wanted(r, &no, &number, &err) < 0)
        request_fail(r, &err);
    else
        core_version(r->core, r->loop, r->function->no, no, number, done, r);
}

static void on_get(void *arg, const struct error *err, const struct version *v) {
    on_version(arg, 200, err, v, true);
}

void op_fnservice_get_version(struct request *r) {
    find(r, on_get);
}

static void on_activated(void *arg, const struct error *err) {
    if (err)
        request_fail(arg, err);
    else
        fnservice_message(arg, "Version activated successfully");
}

static void on_found(void *arg, const struct error *err, const struct version *v) {
    struct request *r = arg;
    if (err)
        request_fail(r, err);
    else
        core_version_activate(r->core, r->loop, &r->who, r->function->no, v->no, on_activated, r);
}

void op_fnservice_activate_version(struct request *r) {
    find(r, on_found);
}

static void on_rolled_back(void *arg, const struct error *err, uint32_t number UNUSED) {
    if (err)
        request_fail(arg, err);
    else
        fnservice_message(arg, "Rollback successful");
}

void op_fnservice_rollback_version(struct request *r) {
    struct error err;
    if (fnservice_function(r, &err) < 0)
        request_fail(r, &err);
    else
        core_rollback(r->core, r->loop, &r->who, r->function->no, on_rolled_back, r);
}
