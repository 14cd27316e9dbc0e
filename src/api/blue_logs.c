/* SPDX-License-Identifier: Apache-2.0 */
/* blue: calls as ExecutionLogs, of a function and of a workspace. */

#include "api/blue.h"
#include "api/dialects.h"
#include "api/lists.h"
#include "routes.h"

#define FUNCTION_ABSENT  100
#define FUNCTION_MOST    1000
#define WORKSPACE_ABSENT 50
#define WORKSPACE_MOST   500

/* ---- one ---- */

/* Its handler's, or what this dialect says of its failure. */
static uint16_t status_code(const struct invocation *call) {
    if (call->cause == ERR_NONE)
        return call->http_status ? call->http_status : 200;
    return dialect_error(&dialect_blue, call->cause)->status;
}

/* What failed is said where the handler's own answer is missing. */
static void write_response(struct json_w *w, const struct invocation *call, struct str response) {
    if (response.p || call->cause == ERR_NONE || !call->error_text[0]) {
        blue_write_body(w, "responseBody", response);
        return;
    }
    jw_object_member(w, "responseBody");
    jw_cstr_member(w, "error", call->error_text);
    jw_end_object(w);
}

void blue_write_execution(struct json_w *w, const struct invocation *call, struct str request,
                          struct str response, const struct log_line *lines, size_t n) {
    uint16_t status = status_code(call);
    char id[ID_TEXT_MAX], time[BLUE_TIME_MAX];
    jw_begin_object(w);
    jw_cstr_member(w, "id", invocation_id_text(id, &call->id));
    jw_cstr_member(w, "functionId", id_text(id, "fn", call->function_no));
    jw_cstr_member(w, "timestamp", blue_time_text(call->created_us, time));
    jw_cstr_member(w, "status", status < 400 ? "success" : "error");
    jw_double_member(w, "duration", call->running_us / 1000.0);
    jw_u64_member(w, "statusCode", status);
    blue_write_body(w, "requestBody", request);
    write_response(w, call, response);
    jw_array_member(w, "logs");
    for (size_t i = 0; i < n; i++)
        jw_str(w, lines[i].message);
    jw_end_array(w);
    jw_cstr_member(w, "level", status < 400 ? "info" : "error");
    jw_end_object(w);
}

/* ---- lists ---- */

static void on_executions(void *arg, const struct error *err,
                          const struct core_execution_page *page) {
    struct request *r = arg;
    struct json_w w;
    struct buf body;
    if (!request_begin(r, err, &w, &body))
        return;
    jw_begin_object(&w);
    jw_array_member(&w, "logs");
    for (size_t i = 0; i < page->n; i++) {
        const struct core_execution_row *row = &page->rows[i];
        blue_write_execution(&w, &row->call, row->request, row->response, row->lines, row->n_lines);
    }
    jw_end_array(&w);
    jw_u64_member(&w, "total", page->total);
    jw_end_object(&w);
    if (page->more && page->n)
        page_next_id(r, &page->last);
    request_written(r, 200, NULL, 0, &w, &body);
}

void op_blue_get_function_logs(struct request *r) {
    struct error err;
    struct page page;
    if (blue_function(r, &err) < 0) {
        request_fail(r, &err);
        return;
    }
    if (blue_page(r, FUNCTION_ABSENT, FUNCTION_MOST, true, &page) < 0)
        return;
    struct core_execution_filter f = {.function_no = r->function->no,
                                      .before = page.before_id,
                                      .limit = page.limit,
                                      .lines = true};
    core_executions(r->core, r->loop, &f, on_executions, r);
}

void op_blue_get_workspace_logs(struct request *r) {
    struct error err;
    struct page page;
    if (blue_workspace(r, &err) < 0) {
        request_fail(r, &err);
        return;
    }
    if (blue_page(r, WORKSPACE_ABSENT, WORKSPACE_MOST, true, &page) < 0)
        return;
    struct core_execution_filter f = {
        .workspace = r->workspace, .before = page.before_id, .limit = page.limit, .lines = true};
    core_executions(r->core, r->loop, &f, on_executions, r);
}
