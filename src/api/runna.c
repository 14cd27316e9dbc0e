/* SPDX-License-Identifier: Apache-2.0 */
/* The runna dialect: its envelope and errors, jobs, metrics, and its small operations. */

#include "api/runna.h"
#include "api/dialects.h"
#include "api/lists.h"
#include "invoke/invoke.h"
#include "routes.h"
#include <stdio.h>

#define JOBS_DEFAULT   1000 /* rows of a list whose caller names no limit */
#define JOB_DIGITS_MAX 20

/* ---- the envelope ---- */

void runna_begin(struct json_w *w, struct buf *body) {
    json_w_init(w, body);
    jw_begin_object(w);
    jw_bool_member(w, "success", true);
    jw_key(w, "data");
}

void runna_send(struct request *r, struct json_w *w, struct buf *body) {
    jw_end_object(w);
    request_written(r, 200, NULL, 0, w, body);
}

/* ---- ids ---- */

static bool is_number(struct str s) {
    for (size_t i = 0; i < s.len; i++)
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
    return s.len > 0;
}

/* A number that is too large for us is one that nothing has. */
static int number(struct str s, const char *field, uint64_t max, uint64_t *ret, struct error *err) {
    if (!is_number(s))
        return error_field(err, ERR_INVALID, field, "%s must be a whole number from 1", field);
    if (str_u64(s, max, ret) < 0)
        *ret = 0;
    return 0;
}

static int no_such(const char *field, const char *what, struct str id, struct error *err) {
    int len = id.len < JOB_DIGITS_MAX ? (int)id.len : JOB_DIGITS_MAX;
    return error_field(err, ERR_NOT_FOUND, field, "%s with id %.*s%s not found", what, len, id.p,
                       id.len > JOB_DIGITS_MAX ? "…" : "");
}

int runna_function(struct request *r, struct error *err) {
    uint64_t no = 0;
    if (number(r->params[0], "function_id", UINT32_MAX, &no, err) < 0)
        return -1;
    struct function *f = no ? core_function(r->core, (uint32_t)no) : NULL;
    if (f && str_is(r->workspace, f->workspace)) {
        r->function = f;
        return 0;
    }
    function_unref(f);
    return no_such("function", "Function", r->params[0], err);
}

static int job_no(const struct request *r, uint64_t *ret, struct error *err) {
    *ret = 0;
    if (number(r->params[0], "id", INT64_MAX, ret, err) < 0)
        return -1;
    return *ret ? 0 : no_such("job", "Job", r->params[0], err);
}

static void say_id(struct error *err, const char *field, const char *what, uint64_t no) {
    char digits[JOB_DIGITS_MAX + 1];
    (void)snprintf(digits, sizeof digits, "%llu", (unsigned long long)no);
    (void)no_such(field, what, str_of(digits), err);
}

void runna_fail(struct request *r, const struct error *err) {
    struct error said = *err;
    if (err->code == ERR_NOT_FOUND && r->function && strcmp(err->field, "job") != 0)
        say_id(&said, "function", "Function", r->function->no);
    request_fail(r, &said);
}

/* ---- jobs ---- */

static const char *status_name(enum invocation_status s) {
    switch (s) {
    case INV_PENDING:
        return "pending";
    case INV_RUNNING:
        return "running";
    case INV_COMPLETED:
        return "success";
    case INV_FAILED:
        return "failed";
    }
    return "failed";
}

static void write_result(struct json_w *w, const struct invocation *v, struct str result) {
    if (v->status == INV_FAILED) {
        jw_object_member(w, "result");
        jw_cstr_member(w, "error", v->error_text[0] ? v->error_text : error_code_name(v->cause));
        jw_end_object(w);
    } else if (v->status == INV_COMPLETED && result.p) {
        jw_raw_member(w, "result", result);
    } else {
        jw_null_member(w, "result");
    }
}

void runna_write_job(struct json_w *w, uint64_t no, const struct invocation *v, struct str result) {
    bool ended = v->status == INV_COMPLETED || v->status == INV_FAILED;
    jw_begin_object(w);
    jw_u64_member(w, "id", no);
    jw_u64_member(w, "job_id", no);
    jw_u64_member(w, "function_id", v->function_no);
    jw_cstr_member(w, "status", status_name(v->status));
    write_result(w, v, result);
    jw_time_member(w, "timestamp", v->created_us);
    if (ended)
        jw_u64_member(w, "duration", invoke_ms(v->running_us));
    else
        jw_null_member(w, "duration");
    jw_end_object(w);
}

/* Jobs of functions that are deleted, or not of this workspace, are nobody's. */
static bool is_seen(const struct request *r, uint32_t function_no) {
    struct function *f = core_function(r->core, function_no);
    bool seen = f && strcmp(f->workspace, DEFAULT_WORKSPACE) == 0;
    function_unref(f);
    return seen;
}

static uint64_t *asked_no(struct request *r) {
    return r->state;
}

static void on_job(void *arg, const struct error *err, const struct core_job *j) {
    struct request *r = arg;
    struct error why;
    if (err && err->code != ERR_NOT_FOUND) {
        request_fail(r, err);
        return;
    }
    if (err || !is_seen(r, j->record.function_no)) {
        say_id(&why, "job", "Job", *asked_no(r));
        request_fail(r, &why);
        return;
    }
    struct buf body = BUF_INIT(REPLY_MAX);
    struct json_w w;
    runna_begin(&w, &body);
    runna_write_job(&w, j->no, &j->record, j->result);
    runna_send(r, &w, &body);
}

void op_runna_get_job(struct request *r) {
    struct error err;
    uint64_t no;
    if (job_no(r, &no, &err) < 0) {
        request_fail(r, &err);
        return;
    }
    r->state = x_memdup(&no, sizeof no);
    r->free_state = free;
    core_job(r->core, r->loop, no, on_job, r);
}

static void on_jobs(void *arg, const struct error *err, const struct core_job *v, size_t n,
                    bool more) {
    struct request *r = arg;
    if (err) {
        runna_fail(r, err);
        return;
    }
    if (more && n)
        page_next(r, v[n - 1].no);
    struct buf body = BUF_INIT(REPLY_MAX);
    struct json_w w;
    runna_begin(&w, &body);
    jw_begin_object(&w);
    jw_array_member(&w, "jobs");
    for (size_t i = 0; i < n; i++)
        runna_write_job(&w, v[i].no, &v[i].record, v[i].result);
    jw_end_array(&w);
    jw_end_object(&w);
    runna_send(r, &w, &body);
}

void op_runna_list_jobs(struct request *r) {
    struct error err;
    struct page page;
    if (runna_function(r, &err) < 0 || page_get(r, JOBS_DEFAULT, 0, false, &page, &err) < 0)
        request_fail(r, &err);
    else
        core_jobs(r->core, r->loop, r->function->no, page.before, page.limit, on_jobs, r);
}

/* ---- metrics ---- */

static uint64_t round_up(uint64_t n, uint64_t unit) {
    return n / unit + (n % unit != 0);
}

static void write_unit(struct json_w *w, const char *name, uint64_t n, const char *unit) {
    char text[32];
    (void)snprintf(text, sizeof text, "%llu%s", (unsigned long long)n, unit);
    jw_cstr_member(w, name, text);
}

static void write_metrics(struct json_w *w, const struct core_metrics *m) {
    uint64_t good = m->invocations - m->errors, running_us = m->avg_us * m->invocations;
    uint64_t memory = m->memory_now_bytes ? m->memory_now_bytes : m->memory_peak_bytes;
    double percent = m->invocations ? 100.0 * (double)good / (double)m->invocations : 0;
    jw_begin_object(w);
    jw_object_member(w, "invocations");
    jw_u64_member(w, "total", m->invocations);
    jw_u64_member(w, "successful", good);
    jw_u64_member(w, "failed", m->errors);
    jw_end_object(w);
    jw_double_member(w, "success_rate", percent);
    write_unit(w, "avg_execution_time", round_up(m->avg_us, 1000), "ms");
    uint64_t cpu = 0;
    if (running_us) /* NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult) */
        cpu = (100 * m->cpu_us + running_us / 2) / running_us;
    write_unit(w, "cpu_usage", cpu, "%");
    write_unit(w, "memory_usage", round_up(memory, MIB), "MB");
    jw_end_object(w);
}

static void on_metrics(void *arg, const struct error *err, const struct core_metrics *m) {
    struct request *r = arg;
    if (err) {
        runna_fail(r, err);
        return;
    }
    struct buf body = BUF_INIT(4 * KIB);
    struct json_w w;
    runna_begin(&w, &body);
    write_metrics(&w, m);
    runna_send(r, &w, &body);
}

void op_runna_get_metrics(struct request *r) {
    struct error err;
    if (runna_function(r, &err) < 0)
        request_fail(r, &err);
    else
        core_metrics(r->core, r->loop, r->function->no, 0, 0, on_metrics, r);
}

/* ---- delete ---- */

static void on_deleted(void *arg, const struct error *err) {
    struct request *r = arg;
    if (err) {
        runna_fail(r, err);
        return;
    }
    struct buf body = BUF_INIT(KIB);
    (void)buf_puts(&body, "{\"success\":true}");
    request_json(r, 200, &body);
}

void op_runna_delete_function(struct request *r) {
    struct error err;
    if (runna_function(r, &err) < 0)
        request_fail(r, &err);
    else
        core_function_delete(r->core, r->loop, &r->who, r->function->no, on_deleted, r);
}

/* ---- errors ---- */

#define INVALID_WORD "VALIDATION_ERROR"

static const struct dialect_error ERRORS[ERR_COUNT] = {
    [ERR_NONE] = {500, "INTERNAL_ERROR"},          [ERR_INVALID] = {400, INVALID_WORD},
    [ERR_INVALID_RUNTIME] = {400, INVALID_WORD},   [ERR_UNAUTHENTICATED] = {401, "UNAUTHORIZED"},
    [ERR_FORBIDDEN] = {403, "FORBIDDEN"},          [ERR_NOT_FOUND] = {404, "NOT_FOUND"},
    [ERR_METHOD] = {405, "METHOD_NOT_ALLOWED"},    [ERR_CONFLICT] = {409, "CONFLICT"},
    [ERR_TOO_LARGE] = {413, "PAYLOAD_TOO_LARGE"},  [ERR_QUOTA] = {429, "RATE_LIMIT_EXCEEDED"},
    [ERR_BUILD_FAILED] = {409, "CONFLICT"},        [ERR_FUNCTION] = {500, "INTERNAL_ERROR"},
    [ERR_TIMEOUT] = {504, "INTERNAL_ERROR"},       [ERR_MEMORY] = {500, "INTERNAL_ERROR"},
    [ERR_CRASH] = {500, "INTERNAL_ERROR"},         [ERR_LIMIT] = {500, "INTERNAL_ERROR"},
    [ERR_BUSY] = {503, "SERVICE_UNAVAILABLE"},     [ERR_UNAVAILABLE] = {503, "SERVICE_UNAVAILABLE"},
    [ERR_CANCELED] = {503, "SERVICE_UNAVAILABLE"}, [ERR_INTERNAL] = {500, "INTERNAL_ERROR"},
};

/* What was not found has a word of its own. */
static const char *word_of(const struct error *err, const char *word) {
    if (err->code == ERR_NOT_FOUND && strcmp(err->field, "function") == 0)
        return "FUNCTION_NOT_FOUND";
    if (err->code == ERR_NOT_FOUND && strcmp(err->field, "job") == 0)
        return "JOB_NOT_FOUND";
    return word;
}

static void error_body(struct buf *out, const struct error *err, const char *word) {
    struct json_w w;
    json_w_init(&w, out);
    jw_begin_object(&w);
    jw_bool_member(&w, "success", false);
    jw_object_member(&w, "error");
    jw_cstr_member(&w, "code", word_of(err, word));
    jw_cstr_member(&w, "message", err->text);
    if (strcmp(word, INVALID_WORD) == 0) {
        jw_object_member(&w, "details");
        jw_cstr_member(&w, "field", err->field[0] ? err->field : "request");
        jw_cstr_member(&w, "reason", err->text);
        jw_end_object(&w);
    }
    jw_end_object(&w);
    jw_end_object(&w);
}

static const char *const PREFIXES[] = {"/functions", "/jobs", NULL};

const struct dialect dialect_runna = {
    .name = "runna",
    .prefixes = PREFIXES,
    .content_type = "application/json",
    .workspace_param = -1,
    .errors = ERRORS,
    .error_body = error_body,
};
