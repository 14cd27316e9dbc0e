/* SPDX-License-Identifier: Apache-2.0 */
/* blue: tasks of the builder, looked up. */

#include "api/blue_tasks.h"
#include "api/internal.h"
#include "api/lists.h"
#include "routes.h"

/* ---- out ---- */

static void write_result(struct json_w *w, const struct task *t) {
    if (t->status != TASK_COMPLETED) {
        jw_null_member(w, "result");
        return;
    }
    jw_object_member(w, "result");
    jw_cstr_member(w, "wasm_path", t->wasm_path);
    jw_cstr_member(w, "image_url", t->image);
    jw_cstr_member(w, "image_uri", t->image);
    jw_cstr_member(w, "file_path", t->file_path);
    jw_end_object(w);
}

static void write_head(struct json_w *w, const struct task *t) {
    jw_cstr_member(w, "task_id", t->id);
    jw_cstr_member(w, "kind", task_kind_name(t->kind));
    jw_cstr_member(w, "status", task_status_name(t->status));
    jw_cstr_member(w, "progress", t->progress);
}

void blue_accepted(void *arg, const struct error *err, const struct task *task) {
    struct request *r = arg;
    if (err) {
        request_fail(r, err);
        return;
    }
    bool in_s3 = task->file_path && str_starts(str_of(task->file_path), STR("s3://"));
    struct buf body = BUF_INIT(64 * KIB);
    struct json_w w;
    json_w_init(&w, &body);
    jw_begin_object(&w);
    jw_cstr_member(&w, "task_id", task->id);
    jw_cstr_member(&w, "status", task_status_name(task->status));
    jw_cstr_member(&w, "message", task->kind == TASK_PUSH ? "Push accepted" : "Build accepted");
    jw_cstr_member(&w, "source_s3_path", in_s3 ? task->file_path : NULL);
    jw_end_object(&w);
    request_written(r, 202, NULL, 0, &w, &body);
}

/* ---- one ---- */

static void on_task(void *arg, const struct error *err, const struct task *t) {
    struct request *r = arg;
    struct error refused;
    /* One of a workspace that the token does not reach is not there. */
    if (!err &&
        core_authorize(&r->who, str_of(t->workspace), (enum role)r->route->role, &refused) < 0) {
        error_field(&refused, ERR_NOT_FOUND, "task", "Task not found");
        err = &refused;
    }
    struct json_w w;
    struct buf body;
    if (!request_begin(r, err, &w, &body))
        return;
    jw_begin_object(&w);
    write_head(&w, t);
    write_result(&w, t);
    jw_cstr_member(&w, "error", t->error);
    jw_cstr_member(&w, "log", t->log ? t->log : "");
    jw_end_object(&w);
    request_written(r, 200, NULL, 0, &w, &body);
}

void op_blue_get_task(struct request *r) {
    builder_get(r->api->builder, r->loop, r->params[0], on_task, r);
}

/* ---- those of a workspace ---- */

static void on_tasks(void *arg, const struct error *err, const struct task *v, size_t n,
                     bool more) {
    struct request *r = arg;
    char time[BLUE_TIME_MAX];
    struct json_w w;
    struct buf body;
    if (!request_begin(r, err, &w, &body))
        return;
    jw_begin_object(&w);
    jw_str_member(&w, "workspace_id", r->call ? r->workspace : STR(""));
    jw_array_member(&w, "tasks");
    for (size_t i = 0; i < n; i++) {
        jw_begin_object(&w);
        write_head(&w, &v[i]);
        jw_cstr_member(&w, "app_name", v[i].app_name);
        jw_cstr_member(&w, "created_at", blue_time_text(v[i].created_us, time));
        jw_cstr_member(&w, "updated_at", blue_time_text(v[i].updated_us, time));
        write_result(&w, &v[i]);
        jw_cstr_member(&w, "error", v[i].error);
        jw_end_object(&w);
    }
    jw_end_array(&w);
    jw_u64_member(&w, "count", n);
    jw_end_object(&w);
    if (more && n)
        page_next(r, v[n - 1].no);
    request_written(r, 200, NULL, 0, &w, &body);
}

void op_blue_list_tasks(struct request *r) {
    struct error err;
    struct page page;
    if (blue_page(r, TASK_LIST_MAX, TASK_LIST_MAX, false, &page) < 0)
        return;
    if (blue_workspace(r, &err) < 0) {
        request_fail(r, &err);
        return;
    }
    builder_list(r->api->builder, r->loop, r->workspace, page_before_u32(&page), page.limit,
                 on_tasks, r);
}
