/* SPDX-License-Identifier: Apache-2.0 */
/* blue: functions. One is a function of its workspace's default project; its name is the title. Its
 * invocation URL is real: http triggers "invocation-<method>" at /fn/<workspace>/<name> on the
 * gateway, one for each of its methods. What kiln has no place for is kept as annotations. */

#include "api/blue.h"
#include "api/fields.h"
#include "api/internal.h"
#include "api/lists.h"
#include "base/clock.h"
#include "routes.h"
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define DESCRIPTION   "description"
#define STATUS        "blue.status" /* absent: active */
#define URL           "blue.invocationUrl"
#define DEPLOYED      "blue.lastDeployed" /* µs since 1970 */
#define TRIGGER_NAME  "invocation-"
#define STATUS_MAX    63
#define HANDLER       "handler" /* the worker looks for Spin's class IncomingHandler first */
#define RUNTIME       "Python 3.12"
#define MEMORY_MIB    256
#define MEMORY_LEAST  128
#define MEMORY_MOST   1024
#define TIMEOUT_S     30
#define TIMEOUT_MOST  (TIMEOUT_MS_MAX / 1000)
#define LIST_CODE_MAX (24 * MIB) /* a page of a list ends with the code that goes over it */

static const char *const METHODS[] = {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"};

bool blue_is_inactive(const struct function *f) {
    const char *status = pairs_get(&f->annotations, STATUS);
    return status && str_ieq(str_of(status), STR("inactive"));
}

/* ---- out ---- */

static const char *status_of(const struct function *f) {
    const char *said = pairs_get(&f->annotations, STATUS);
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

static bool is_ours(const struct trigger *t) {
    return t->type == TRIGGER_HTTP && str_starts(str_of(t->name), STR(TRIGGER_NAME));
}

/* What was said, else where its http trigger is: its own, though it is off while the function is
 * inactive, before another API's. */
static void write_url(struct json_w *w, const struct request *r, const struct function *f,
                      const struct trigger_list *g) {
    const char *said = pairs_get(&f->annotations, URL);
    const char *path = NULL;
    for (size_t i = g->n; i > 0 && !said; i--) {
        const struct trigger *t = g->v[i - 1];
        bool other = t->type == TRIGGER_HTTP && t->enabled && !path;
        if (is_ours(t) || other)
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
    for (size_t i = 0; i < ARRAY_LEN(METHODS) && !f->methods; i++) {
        if (!triggered_by(g, METHODS[i]))
            continue;
        jw_cstr(w, METHODS[i]);
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
    const char *said = pairs_get(&f->annotations, DEPLOYED);
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
    jw_cstr_member(w, "description", pairs_get(&f->annotations, DESCRIPTION));
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

struct showing { /* r->state */
    struct request *r;
    int http_status;
    const char *status; /* NULL: the function's */
    bool new_code;
    struct blob *code;
};

static void showing_free(void *state) {
    struct showing *s = state;
    blob_unref(s->code);
    free(s);
}

static struct showing *showing_new(struct request *r, int http_status) {
    struct showing *s = x_alloc(sizeof(*s));
    *s = (struct showing){.r = r, .http_status = http_status};
    r->state = s;
    r->free_state = showing_free;
    return s;
}

static void on_activity(void *arg, const struct error *err, const struct core_activity *v,
                        size_t n UNUSED) {
    struct showing *s = arg;
    if (err) {
        request_fail(s->r, err);
        return;
    }
    struct buf body = BUF_INIT(REPLY_MAX);
    struct json_w w;
    json_w_init(&w, &body);
    write_function(&w, s->r, s->r->function, s->code, v, s->status);
    request_written(s->r, s->http_status, NULL, 0, &w, &body);
}

static void on_code(void *arg, const struct error *err, struct blob *const *codes,
                    size_t n UNUSED) {
    struct showing *s = arg;
    if (err) {
        request_fail(s->r, err);
        return;
    }
    s->code = codes[0] ? blob_ref(codes[0]) : NULL;
    core_activity(s->r->core, s->r->loop, &s->r->function->no, 1, clock_real_us() - BLUE_DAY_US,
                  on_activity, s);
}

static void show(struct showing *s) {
    core_codes(s->r->core, s->r->loop, &s->r->function, 1, on_code, s);
}

/* New code that did not build: what served before goes on serving, and is shown. */
static void on_stored(void *arg, const struct error *err, struct function *f) {
    struct showing *s = arg;
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
        show(showing_new(r, 200));
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
    if (err) {
        request_fail(s->r, err);
        return;
    }
    struct buf body = BUF_INIT(REPLY_MAX);
    struct json_w w;
    json_w_init(&w, &body);
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

/* ---- in ---- */

struct given { /* what a body says; p NULL or -1: nothing */
    struct str name, description, runtime, code, url, status;
    int64_t memory, timeout, deployed_us;
    const struct json *methods, *env;
};

static int method_of(struct str s) {
    for (size_t i = 0; i < ARRAY_LEN(METHODS); i++)
        if (str_ieq(s, str_of(METHODS[i])))
            return (int)i;
    return -1;
}

static void read_methods(struct blue_check *c, const struct json *o, int flags, struct given *g) {
    const struct json *list = NULL;
    struct error ignored;
    struct str s = STR_NULL;
    blue_list(c, o, "httpMethods", flags, BLUE_STRINGS, &list);
    for (size_t i = 0; i < json_count(list); i++) {
        if (json_as_str(json_item(list, i), &s, &ignored) == 0 && method_of(s) >= 0)
            continue;
        blue_wrong(c, "body", "httpMethods", json_item(list, i), "literal_error",
                   "Input should be 'GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD' or 'OPTIONS'");
        return;
    }
    g->methods = list;
}

/* REQUIRED: of name and code. NULLABLE: of all, in a PATCH. */
static void read_given(struct blue_check *c, const struct json *o, int required, int nullable,
                       struct given *g) {
    *g = (struct given){.memory = -1, .timeout = -1};
    blue_str(c, o, "name", required | nullable, 1, TITLE_MAX_LEN, &g->name);
    blue_str(c, o, "description", JSON_NULLABLE, 0, DESCRIPTION_MAX, &g->description);
    blue_str(c, o, "runtime", nullable, 0, RUNTIME_MAX_LEN, &g->runtime);
    blue_int(c, o, "memory", nullable, MEMORY_LEAST, MEMORY_MOST, &g->memory);
    blue_int(c, o, "timeout", nullable, 1, TIMEOUT_MOST, &g->timeout);
    read_methods(c, o, nullable, g);
    blue_map(c, o, "environmentVariables", nullable, &g->env);
    blue_str(c, o, "code", required | nullable, 0, SIZE_MAX, &g->code);
}

static void read_given_later(struct blue_check *c, const struct json *o, struct given *g) {
    blue_str(c, o, "invocationUrl", JSON_NULLABLE, 0, LABEL_MAX_LEN, &g->url);
    blue_time(c, o, "lastDeployed", JSON_NULLABLE, &g->deployed_us);
    blue_str(c, o, "status", JSON_NULLABLE, 1, STATUS_MAX, &g->status);
}

/* VALUE's p NULL: taken away. */
static void annotate(struct function *f, const char *key, struct str value) {
    struct pairs kept = {0};
    for (size_t i = 0; i < f->annotations.n; i++)
        if (strcmp(f->annotations.v[i].key, key) != 0)
            pairs_add(&kept, str_of(f->annotations.v[i].key), str_of(f->annotations.v[i].value));
    if (value.p)
        pairs_add(&kept, str_of(key), value);
    pairs_done(&f->annotations);
    f->annotations = kept;
}

static void set_methods(struct function *f, const struct json *list) {
    bool has[ARRAY_LEN(METHODS)] = {false};
    struct error ignored;
    struct str s = STR_NULL;
    struct buf text = BUF_INIT(METHODS_MAX_LEN);
    for (size_t i = 0; i < json_count(list); i++)
        if (json_as_str(json_item(list, i), &s, &ignored) == 0 && method_of(s) >= 0)
            has[method_of(s)] = true;
    for (size_t i = 0; i < ARRAY_LEN(METHODS); i++)
        if (has[i])
            (void)buf_printf(&text, "%s%s", text.len ? "," : "", METHODS[i]);
    field_set(&f->methods, text.p ? buf_str(&text) : STR(""));
    buf_done(&text);
}

static int set_memory(const struct request *r, struct function *f, int64_t mib, struct error *err) {
    uint64_t bytes = (uint64_t)mib * MIB, most = core_config_of(r->core)->engine.memory_max;
    if (most && bytes > most)
        return error_field(err, ERR_INVALID, "memory",
                           "memory is over this server's limit of %llu MiB",
                           (unsigned long long)(most / MIB));
    free(f->memory);
    f->memory = x_asprintf("%lldMi", (long long)mib);
    f->memory_bytes = bytes;
    return 0;
}

/* O is the body that G was read from. */
static int apply(const struct request *r, const struct json *o, const struct given *g,
                 struct function *f, struct error *err) {
    char deployed[24];
    if ((g->name.p && function_set_title(f, g->name, "name", err) < 0) ||
        (g->runtime.p && fields_runtime(o, "runtime", JSON_NULLABLE, f, err) < 0) ||
        (g->memory >= 0 && set_memory(r, f, g->memory, err) < 0) ||
        (g->env && fields_environment(o, "environmentVariables", &f->env, err) < 0))
        return -1;
    if (f->kind == RUNTIME_IMAGE && (g->code.p || g->runtime.p))
        return error_field(err, ERR_INVALID_RUNTIME, "runtime",
                           "runtime must be a language that code is written in");
    if (g->timeout >= 0)
        f->timeout_ms = (uint32_t)g->timeout * 1000;
    if (g->methods)
        set_methods(f, g->methods);
    if (g->description.p)
        annotate(f, DESCRIPTION, g->description);
    if (g->url.p)
        annotate(f, URL, g->url.len ? g->url : STR_NULL);
    if (g->status.p)
        annotate(f, STATUS, str_is(g->status, "active") ? STR_NULL : g->status);
    if (g->deployed_us) {
        (void)snprintf(deployed, sizeof(deployed), "%lld", (long long)g->deployed_us);
        annotate(f, DEPLOYED, str_of(deployed));
    }
    return 0;
}

/* Base64 as Python's decoder takes it: line breaks and blanks in it are nothing. */
static int decode(struct str text, struct buf *out, struct error *err) {
    cleanup_buf struct buf plain = BUF_INIT(text.len);
    if (memchr(text.p, '\n', text.len) || memchr(text.p, ' ', text.len) ||
        memchr(text.p, '\r', text.len)) {
        for (size_t i = 0; i < text.len; i++)
            if (!isspace((unsigned char)text.p[i]))
                (void)buf_putc(&plain, text.p[i]);
        text = buf_str(&plain);
    }
    int rc = text.len ? buf_put_base64_decoded(out, text) : 0;
    if (rc == -EMSGSIZE)
        return error_field(err, ERR_TOO_LARGE, "code", "code is over the limit of %zu bytes",
                           out->max);
    if (rc < 0 || out->len == 0)
        return error_field(err, ERR_INVALID, "code", "code must be base64 (RFC 4648) of source");
    return 0;
}

/* ---- its triggers ---- */

static struct trigger *new_trigger(const struct function *f, struct str method) {
    struct trigger *t = trigger_new();
    cleanup_free char *path = x_asprintf("/fn/%s/%s", f->workspace, f->name);
    t->name = x_asprintf(TRIGGER_NAME "%.*s", STR_ARG(method));
    for (char *p = t->name; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    t->type = TRIGGER_HTTP;
    t->enabled = !blue_is_inactive(f);
    pairs_add(&t->config, STR("method"), method);
    pairs_add(&t->config, STR("path"), str_of(path));
    return t;
}

static bool same(const struct trigger *a, const struct trigger *b) {
    const char *x = pairs_get(&a->config, "path"), *y = pairs_get(&b->config, "path");
    return strcmp(a->name, b->name) == 0 && a->enabled == b->enabled && x && y && strcmp(x, y) == 0;
}

/* The triggers that F should have, into an array (*RET_N of them); NULL where those of OLD are as
 * they should be. Others than ours stay. */
static struct trigger **make_triggers(const struct function *f, const struct trigger_list *old,
                                      size_t *ret_n) {
    struct trigger **v = x_calloc(ARRAY_LEN(METHODS) + TRIGGERS_MAX, sizeof(*v));
    struct str rest = str_of(f->methods);
    size_t n = 0, ours = 0, kept = 0;
    while (rest.p && rest.len)
        v[n++] = new_trigger(f, str_cut(&rest, ','));
    size_t fresh = n;
    for (size_t i = 0; old && i < old->n; i++) {
        ours += is_ours(old->v[i]);
        for (size_t k = 0; k < fresh; k++)
            kept += same(old->v[i], v[k]);
        if (!is_ours(old->v[i]))
            v[n++] = trigger_clone(old->v[i]);
    }
    *ret_n = n;
    if (!old || ours != fresh || kept != fresh)
        return v;
    for (size_t i = 0; i < n; i++)
        trigger_unref(v[i]);
    free(v);
    *ret_n = 0;
    return NULL;
}

/* ---- create ---- */

static struct function *new_function(const struct request *r) {
    struct function *f = function_new();
    f->workspace = str_dup(r->workspace);
    f->project = x_strdup(DEFAULT_PROJECT);
    f->runtime = x_strdup(RUNTIME);
    f->kind = RUNTIME_PYTHON;
    f->handler = x_strdup(HANDLER);
    f->timeout_ms = TIMEOUT_S * 1000;
    f->methods = x_strdup("GET");
    return f;
}

/* GIVEN from the body, or R is answered and -1. */
static int read_request(struct request *r, bool patch, struct json **o, struct given *g) {
    struct blue_check c;
    blue_check_init(&c);
    blue_body(&c, r, o);
    read_given(&c, *o, patch ? 0 : JSON_REQUIRED, patch ? JSON_NULLABLE : 0, g);
    if (patch)
        read_given_later(&c, *o, g);
    if (blue_refused(&c, r))
        return -1;
    blue_check_done(&c);
    return 0;
}

void op_blue_create_function(struct request *r) {
    cleanup_json struct json *o = NULL;
    cleanup_buf struct buf code = BUF_INIT(CODE_MAX);
    struct given g;
    struct error err;
    if (blue_workspace(r, &err) < 0) {
        request_fail(r, &err);
        return;
    }
    if (read_request(r, false, &o, &g) < 0)
        return;
    struct function *f = new_function(r);
    if (g.memory < 0)
        g.memory = MEMORY_MIB;
    if (apply(r, o, &g, f, &err) < 0 || decode(g.code, &code, &err) < 0) {
        function_unref(f);
        request_fail(r, &err);
        return;
    }
    struct core_draft draft = {.function = f, .code = buf_str(&code), .wait_build = true};
    draft.triggers = make_triggers(f, NULL, &draft.n_triggers);
    core_function_create(r->core, r->loop, &r->who, &draft, on_stored, showing_new(r, 201));
}

/* ---- change ---- */

#define TRIES_MAX 20 /* where others change the same function at the same time */

struct changing {
    struct showing show; /* first: r->state */
    struct json *o;
    struct given g; /* in it */
    struct buf code;
    int tries;
};

static void changing_free(void *state) {
    struct changing *ch = state;
    blob_unref(ch->show.code);
    json_free(ch->o);
    buf_done(&ch->code);
    free(ch);
}

static void on_changed(void *arg, const struct error *err, struct function *f);

/* What is given, on top of what the function is now. */
static void change(struct changing *ch) {
    struct request *r = ch->show.r;
    struct error err;
    struct function *f = function_clone(r->function);
    if (apply(r, ch->o, &ch->g, f, &err) < 0) {
        function_unref(f);
        request_fail(r, &err);
        return;
    }
    struct core_update update = {.function = f, .wait_build = true};
    if (ch->g.code.p)
        update.code = buf_str(&ch->code);
    if (f->methods) {
        struct trigger_list old;
        trigger_list_get(&old, r, r->function);
        update.triggers = make_triggers(f, &old, &update.n_triggers);
        update.triggers_given = update.triggers != NULL;
        trigger_list_done(&old);
    }
    core_function_update(r->core, r->loop, &r->who, &update, on_changed, ch);
}

/* Changed by somebody else meanwhile: once more, on top of that. Only what the body says changes,
 * so nothing of theirs is lost. */
static void on_changed(void *arg, const struct error *err, struct function *f) {
    struct changing *ch = arg;
    struct request *r = ch->show.r;
    bool raced = err && err->code == ERR_CONFLICT && strcmp(err->field, "function") == 0;
    struct function *now =
        raced && ch->tries++ < TRIES_MAX ? core_function(r->core, r->function->no) : NULL;
    if (!now) {
        on_stored(&ch->show, err, f);
        return;
    }
    function_unref(r->function);
    r->function = now;
    change(ch);
}

void op_blue_update_function(struct request *r) {
    struct json *o = NULL;
    struct given g;
    struct error err;
    if (blue_function(r, &err) < 0) {
        request_fail(r, &err);
        return;
    }
    if (read_request(r, true, &o, &g) < 0) {
        json_free(o);
        return;
    }
    struct changing *ch = x_alloc(sizeof(*ch));
    *ch = (struct changing){.show = {.r = r, .http_status = 200}, .o = o, .g = g};
    ch->show.new_code = g.code.p != NULL;
    buf_init(&ch->code, CODE_MAX);
    r->state = ch;
    r->free_state = changing_free;
    if (g.code.p && decode(g.code, &ch->code, &err) < 0)
        request_fail(r, &err);
    else
        change(ch);
}

void op_blue_delete_function(struct request *r) {
    struct error err;
    if (blue_function(r, &err) < 0)
        request_fail(r, &err);
    else
        core_function_delete(r->core, r->loop, &r->who, r->function->no, request_deleted, r);
}
