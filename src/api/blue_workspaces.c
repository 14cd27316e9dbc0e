/* SPDX-License-Identifier: Apache-2.0 */
/* blue: workspaces and their counters, which are summed over the minutes of their functions. */

#include "api/blue.h"
#include "api/fields.h"
#include "api/lists.h"
#include "base/clock.h"
#include "base/map.h"
#include "routes.h"

/* ---- out ---- */

struct shown {
    struct workspace w;
    uint64_t functions, invocations, errors;
};

struct showing { /* r->state */
    struct request *r;
    int status;
    bool list;
    struct shown *v;
    size_t n, cap;
    struct map by_id;
    uint32_t *nos; /* functions, and whose each is */
    size_t *of;
    size_t n_functions, cap_functions;
};

static void showing_free(void *state) {
    struct showing *s = state;
    for (size_t i = 0; i < s->n; i++)
        workspace_done(&s->v[i].w);
    free(s->v);
    free(s->nos);
    free(s->of);
    map_done(&s->by_id);
    free(s);
}

static struct showing *showing_new(struct request *r, int status) {
    struct showing *s = x_alloc(sizeof(*s));
    s->r = r;
    s->status = status;
    map_init(&s->by_id);
    r->state = s;
    r->free_state = showing_free;
    return s;
}

static void add_workspace(struct showing *s, const struct workspace *w) {
    if (s->n == s->cap) {
        s->cap = s->cap ? 2 * s->cap : 16;
        s->v = x_realloc(s->v, s->cap * sizeof(*s->v));
    }
    struct shown *to = &s->v[s->n++];
    *to = (struct shown){.w = *w};
    to->w.id = x_strdup(w->id);
    to->w.name = x_strdup(w->name);
    to->w.description = w->description ? x_strdup(w->description) : NULL;
}

static bool take_function(void *arg, const struct function *f) {
    struct showing *s = arg;
    const struct shown *of = map_get(&s->by_id, str_of(f->workspace));
    if (!of)
        return true;
    if (s->n_functions == s->cap_functions) {
        s->cap_functions = s->cap_functions ? 2 * s->cap_functions : 64;
        s->nos = x_realloc(s->nos, s->cap_functions * sizeof(*s->nos));
        s->of = x_realloc(s->of, s->cap_functions * sizeof(*s->of));
    }
    s->of[s->n_functions] = (size_t)(of - s->v);
    s->nos[s->n_functions++] = f->no;
    return true;
}

static void write_workspace(struct json_w *w, const struct shown *x) {
    jw_begin_object(w);
    jw_cstr_member(w, "id", x->w.id);
    jw_cstr_member(w, "name", x->w.name);
    jw_cstr_member(w, "description", x->w.description);
    char text[BLUE_TIME_MAX];
    jw_cstr_member(w, "createdAt", blue_time_text(x->w.created_us, text));
    jw_u64_member(w, "functionCount", x->functions);
    jw_u64_member(w, "invocations24h", x->invocations);
    jw_double_member(w, "errorRate",
                     x->invocations ? 100.0 * (double)x->errors / (double)x->invocations : 0);
    jw_end_object(w);
}

static void on_activity(void *arg, const struct error *err, const struct core_activity *v,
                        size_t n) {
    struct showing *s = arg;
    if (err) {
        request_fail(s->r, err);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        struct shown *x = &s->v[s->of[i]];
        x->functions++;
        x->invocations += v[i].invocations;
        x->errors += v[i].errors + v[i].answered_errors;
    }
    struct buf body = BUF_INIT(REPLY_MAX);
    struct json_w w;
    json_w_init(&w, &body);
    if (s->list)
        jw_begin_array(&w);
    for (size_t i = 0; i < s->n; i++)
        write_workspace(&w, &s->v[i]);
    if (s->list)
        jw_end_array(&w);
    request_written(s->r, s->status, NULL, 0, &w, &body);
}

/* With the counters that they have now. */
static void show(struct showing *s) {
    struct request *r = s->r;
    for (size_t i = 0; i < s->n; i++)
        map_put(&s->by_id, str_of(s->v[i].w.id), &s->v[i]);
    core_functions_each(r->core, s->n == 1 ? str_of(s->v[0].w.id) : STR_NULL, STR_NULL,
                        take_function, s);
    core_activity(r->core, r->loop, s->nos, s->n_functions, clock_real_us() - BLUE_DAY_US,
                  on_activity, s);
}

static void on_changed(void *arg, const struct error *err, const struct workspace *w) {
    struct showing *s = arg;
    if (err) {
        request_fail(s->r, err);
        return;
    }
    add_workspace(s, w);
    show(s);
}

/* ---- list: all that the token reaches, newest first ---- */

static bool take_workspace(void *arg, const struct workspace *w) {
    struct showing *s = arg;
    const char *only = s->r->who.workspace;
    if (!only[0] || strcmp(only, w->id) == 0)
        add_workspace(s, w);
    return true;
}

static void cut_page(struct showing *s, const struct page *page) {
    struct shown *kept = x_calloc(s->n + 1, sizeof(*kept));
    size_t n = 0;
    bool more = false;
    for (size_t i = s->n; i-- > 0;) {
        bool here = s->v[i].w.no < page->before && n < page->limit;
        more = more || (!here && s->v[i].w.no < page->before);
        if (here)
            kept[n++] = s->v[i];
        else
            workspace_done(&s->v[i].w);
    }
    free(s->v);
    s->v = kept;
    s->n = n;
    if (more && n)
        page_next(s->r, kept[n - 1].w.no);
}

int blue_page(struct request *r, int64_t absent, int64_t max, bool by_id, struct page *ret) {
    struct blue_check c;
    struct error err;
    int64_t limit = absent;
    blue_check_init(&c);
    blue_query_int(&c, r, "limit", 1, max, &limit);
    if (blue_refused(&c, r))
        return -1;
    blue_check_done(&c);
    if (page_get(r, (uint32_t)absent, (uint32_t)max, by_id, ret, &err) == 0)
        return 0;
    request_fail(r, &err);
    return -1;
}

void op_blue_list_workspaces(struct request *r) {
    struct page page;
    if (blue_page(r, 0, PAGE_MAX, false, &page) < 0)
        return;
    struct showing *s = showing_new(r, 200);
    s->list = true;
    core_workspaces_each(r->core, take_workspace, s);
    cut_page(s, &page);
    show(s);
}

/* ---- one ---- */

void op_blue_get_workspace(struct request *r) {
    struct error err;
    struct workspace w;
    if (!core_workspace(r->core, r->workspace, &w)) {
        (void)error_field(&err, ERR_NOT_FOUND, "workspace", "Workspace not found");
        request_fail(r, &err);
        return;
    }
    struct showing *s = showing_new(r, 200);
    add_workspace(s, &w);
    workspace_done(&w);
    show(s);
}

static void read_description(struct blue_check *c, const struct json *o, struct workspace *w) {
    struct str s = STR_NULL;
    blue_str(c, o, "description", JSON_NULLABLE, 0, DESCRIPTION_MAX, &s);
    if (s.p)
        field_set(&w->description, s);
}

void op_blue_create_workspace(struct request *r) {
    cleanup_json struct json *o = NULL;
    struct workspace w = {0};
    struct str name = STR_NULL;
    struct blue_check c;
    struct error err;
    if (r->who.workspace[0]) {
        (void)error_set(&err, ERR_FORBIDDEN, "the token is for one workspace only");
        request_fail(r, &err);
        return;
    }
    blue_check_init(&c);
    blue_body(&c, r, &o);
    blue_str(&c, o, "name", JSON_REQUIRED, 1, TITLE_MAX_LEN, &name);
    read_description(&c, o, &w);
    if (blue_refused(&c, r)) {
        workspace_done(&w);
        return;
    }
    blue_check_done(&c);
    field_set(&w.name, name);
    core_workspace_create(r->core, r->loop, &r->who, &w, on_changed, showing_new(r, 201));
}

void op_blue_update_workspace(struct request *r) {
    cleanup_json struct json *o = NULL;
    struct workspace w = {0};
    struct str name = STR_NULL;
    struct blue_check c;
    struct error err;
    if (blue_workspace(r, &err) < 0) {
        request_fail(r, &err);
        return;
    }
    blue_check_init(&c);
    blue_body(&c, r, &o);
    blue_str(&c, o, "name", JSON_NULLABLE, 1, TITLE_MAX_LEN, &name);
    read_description(&c, o, &w);
    if (blue_refused(&c, r)) {
        workspace_done(&w);
        return;
    }
    blue_check_done(&c);
    field_set(&w.id, r->workspace);
    if (name.p)
        field_set(&w.name, name);
    core_workspace_update(r->core, r->loop, &r->who, &w, on_changed, showing_new(r, 200));
}

void op_blue_delete_workspace(struct request *r) {
    struct error err;
    if (blue_workspace(r, &err) < 0)
        request_fail(r, &err);
    else
        core_workspace_delete(r->core, r->loop, &r->who, r->workspace, request_deleted, r);
}
