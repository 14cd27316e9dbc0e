/* SPDX-License-Identifier: Apache-2.0 */
/* blue: functions shown, listed, deleted. */

#include "api/blue_functions.h"
#include "api/fields.h"
#include "api/internal.h"
#include "api/lists.h"
#include "base/clock.h"
#include "routes.h"
#include <stdlib.h>

#define LIST_CODE_MAX (24 * MIB) /* a page of a list ends with the code that goes over it */

const char *const blue_methods[] = {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"};
_Static_assert(ARRAY_LEN(blue_methods) == BLUE_METHODS_N, "all of them");

bool blue_is_inactive(const struct function *f) {
    const char *status = pairs_get(&f->annotations, BLUE_STATUS);
    return status && str_ieq(str_of(status), STR("inactive"));
}

/* ---- out ---- */

static const char *status_of(const struct function *f) {
    const char *said = pairs_get(&f->annotations, BLUE_STATUS);
    if (said)
        return said;
    switch (f->status) {
    case FN_PENDING:
    case FN_BUILDING:
        return "building";
    case FN_READY:
        return "active";
    case FN_ERROR:
        return "error";
    case FN_DELETING:
        return "deleting";
    }
    return "error";
}

/* What was said, else where its http trigger is: its own, though it is off while the function is
 * inactive, before another API's. */
static void write_url(struct json_w *w, const struct request *r, const struct function *f,
                      const struct trigger_list *g) {
    const char *said = pairs_get(&f->annotations, BLUE_URL);
    const char *path = NULL;
    for (size_t i = g->n; i > 0 && !said; i--) {
        const struct trigger *t = g->v[i - 1];
        bool other = t->type == TRIGGER_HTTP && t->enabled && !path;
        if (blue_is_invocation(t) || other)
            path = pairs_get(&t->config, "path");
    }
    cleanup_free char *url = path ? x_asprintf("%s%s", r->api->gateway_url, path) : NULL;
    jw_cstr_member(w, "invocationUrl", said ? said : url);
}

static bool triggered_by(const struct trigger_list *g, const char *method) {
    for (size_t i = 0; i < g->n; i++) {
        const char *has = pairs_get(&g->v[i]->config, "method");
        if (g->v[i]->type == TRIGGER_HTTP && has &&
            (strcmp(has, method) == 0 || strcmp(has, "ANY") == 0))
            return true;
    }
    return false;
}

/* Of a function of another API: those of its http triggers, or POST, which invoke is. */
static void write_methods(struct json_w *w, const struct function *f,
                          const struct trigger_list *g) {
    struct str rest = str_of(f->methods);
    bool any = false;
    jw_array_member(w, "httpMethods");
    while (rest.p && rest.len)
        jw_str(w, str_cut(&rest, ','));
    for (size_t i = 0; i < BLUE_METHODS_N && !f->methods; i++) {
        if (!triggered_by(g, blue_methods[i]))
            continue;
        jw_cstr(w, blue_methods[i]);
        any = true;
    }
    if (!f->methods && !any)
        jw_cstr(w, "POST");
    jw_end_array(w);
}

static void write_limits(struct json_w *w, const struct request *r, const struct function *f) {
    uint64_t bytes =
        f->memory_bytes ? f->memory_bytes : core_config_of(r->core)->engine.memory_default;
    jw_u64_member(w, "memory", (bytes + MIB - 1) / MIB);
    jw_u64_member(w, "timeout", (function_timeout_ms(r, f) + 999) / 1000);
}

static void write_environment(struct json_w *w, const struct function *f) {
    jw_object_member(w, "environmentVariables");
    for (size_t i = 0; i < f->env.n; i++)
        jw_cstr_member(w, f->env.v[i].key, SECRET_MASK);
    jw_end_object(w);
}

static void write_times(struct json_w *w, const struct function *f) {
    const char *said = pairs_get(&f->annotations, BLUE_DEPLOYED);
    blue_write_time(w, "lastModified", f->updated_us);
    blue_write_time(w, "lastDeployed", said ? strtoll(said, NULL, 10) : f->deployed_us);
}

static void write_function(struct json_w *w, struct request *r, const struct function *f,
                           const struct blob *code, const struct core_activity *a,
                           const char *status) {
    struct trigger_list g;
    char id[ID_TEXT_MAX];
    trigger_list_get(&g, r, f);
    jw_begin_object(w);
    jw_cstr_member(w, "id", id_text(id, "fn", f->no));
    jw_cstr_member(w, "workspaceId", f->workspace);
    jw_cstr_member(w, "name", function_title(f));
    jw_cstr_member(w, "description", pairs_get(&f->annotations, BLUE_DESCRIPTION));
    jw_cstr_member(w, "runtime", f->runtime);
    write_limits(w, r, f);
    write_methods(w, f, &g);
    write_environment(w, f);
    jw_key(w, "code");
    jw_base64(w, code ? str_n(code->bytes, code->len) : STR(""));
    write_url(w, r, f, &g);
    jw_cstr_member(w, "status", status ? status : status_of(f));
    write_times(w, f);
    jw_u64_member(w, "invocations24h", a->invocations);
    jw_u64_member(w, "errors24h", a->errors + a->answered_errors);
    jw_double_member(w, "avgDuration",
                     a->invocations ? (double)a->busy_us / 1000.0 / (double)a->invocations : 0);
    jw_end_object(w);
    trigger_list_done(&g);
}

/* ---- one, with its code and counters; r->function is it ---- */

static void showing_free(void *state) {
    struct blue_shown *s = state;
    blob_unref(s->code);
    free(s);
}

struct blue_shown *blue_shown_new(struct request *r, int http_status) {
    struct blue_shown *s = x_alloc(sizeof(*s));
    *s = (struct blue_shown){.r = r, .http_status = http_status};
    r->state = s;
    r->free_state = showing_free;
    return s;
}

static void on_activity(void *arg, const struct error *err, const struct core_activity *v,
                        size_t n UNUSED) {
    struct blue_shown *s = arg;
    struct json_w w;
    struct buf body;
    if (!request_begin(s->r, err, &w, &body))
        return;
    write_function(&w, s->r, s->r->function, s->code, v, s->status);
    request_written(s->r, s->http_status, NULL, 0, &w, &body);
}

static void on_code(void *arg, const struct error *err, struct blob *const *codes,
                    size_t n UNUSED) {
    struct blue_shown *s = arg;
    if (err) {
        request_fail(s->r, err);
        return;
    }
    s->code = codes[0] ? blob_ref(codes[0]) : NULL;
    core_activity(s->r->core, s->r->loop, &s->r->function->no, 1, clock_real_us() - BLUE_DAY_US,
                  on_activity, s);
}

static void show(struct blue_shown *s) {
    core_codes(s->r->core, s->r->loop, &s->r->function, 1, on_code, s);
}

/* New code that did not build: what served before goes on serving, and is shown. */
void blue_show_stored(void *arg, const struct error *err, struct function *f) {
    struct blue_shown *s = arg;
    if (err) {
        request_fail(s->r, err);
        return;
    }
    function_unref(s->r->function);
    s->r->function = function_ref(f);
    if (s->new_code && f->status == FN_READY && f->active_number != f->last_number)
        s->status = "error";
    show(s);
}

void op_blue_get_function(struct request *r) {
    struct error err;
    if (blue_function(r, &err) < 0)
        request_fail(r, &err);
    else
        show(blue_shown_new(r, 200));
}

/* ---- list ---- */

struct listing { /* r->state */
    struct request *r;
    struct function_list l;
    uint32_t *nos;
    struct blob **codes;
    size_t n, bytes; /* codes that are there */
};

static void listing_free(void *state) {
    struct listing *s = state;
    for (size_t i = 0; i < s->n; i++)
        blob_unref(s->codes[i]);
    function_list_done(&s->l);
    free(s->nos);
    free(s->codes);
    free(s);
}

static void on_list(void *arg, const struct error *err, const struct core_activity *v, size_t n) {
    struct listing *s = arg;
    struct json_w w;
    struct buf body;
    if (!request_begin(s->r, err, &w, &body))
        return;
    jw_begin_array(&w);
    for (size_t i = 0; i < n; i++)
        write_function(&w, s->r, s->l.v[i], s->codes[i], &v[i], NULL);
    jw_end_array(&w);
    if (n > 0 && n < s->l.n)
        page_next(s->r, s->l.v[n - 1]->no);
    request_written(s->r, 200, NULL, 0, &w, &body);
}

static void on_list_codes(void *arg, const struct error *err, struct blob *const *codes, size_t n);

/* The next codes, until the page has all or is full. */
static void list_on(struct listing *s) {
    struct request *r = s->r;
    if (s->n < s->l.n && s->bytes < LIST_CODE_MAX)
        core_codes(r->core, r->loop, s->l.v + s->n, s->l.n - s->n, on_list_codes, s);
    else
        core_activity(r->core, r->loop, s->nos, s->n, clock_real_us() - BLUE_DAY_US, on_list, s);
}

static void on_list_codes(void *arg, const struct error *err, struct blob *const *codes, size_t n) {
    struct listing *s = arg;
    if (err) {
        request_fail(s->r, err);
        return;
    }
    for (size_t i = 0; i < n && s->bytes < LIST_CODE_MAX; i++) {
        s->bytes += codes[i] ? codes[i]->len : 0;
        s->codes[s->n++] = codes[i] ? blob_ref(codes[i]) : NULL;
    }
    list_on(s);
}

void op_blue_list_functions(struct request *r) {
    struct error err;
    struct page page;
    if (blue_workspace(r, &err) < 0) {
        request_fail(r, &err);
        return;
    }
    if (blue_page(r, 0, PAGE_MAX, false, &page) < 0)
        return;
    struct listing *s = x_alloc(sizeof(*s));
    s->r = r;
    r->state = s;
    r->free_state = listing_free;
    if (function_list_page(&s->l, r, STR_NULL, &err) < 0) {
        request_fail(r, &err);
        return;
    }
    s->nos = x_calloc(s->l.n + 1, sizeof(*s->nos));
    s->codes = x_calloc(s->l.n + 1, sizeof(struct blob *));
    for (size_t i = 0; i < s->l.n; i++)
        s->nos[i] = s->l.v[i]->no;
    list_on(s);
}

/* ---- delete ---- */

void op_blue_delete_function(struct request *r) {
    struct error err;
    if (blue_function(r, &err) < 0)
        request_fail(r, &err);
    else
        core_function_delete(r->core, r->loop, &r->who, r->function->no, request_deleted, r);
}
