/* SPDX-License-Identifier: Apache-2.0 */
/* runna: list, get, create, update. Code is built before anything is stored: what this API refuses
 * leaves nothing behind. */

#include "api/fields.h"
#include "api/lists.h"
#include "api/runna.h"
#include "routes.h"
#include <stdio.h>

#define LIST_BODY_MAX (64 * MIB) /* a page of functions ends here */
#define UPDATE_TRIES  10         /* when somebody else changes the function meanwhile */

/* ---- out ---- */

static const char *runtime_name(const struct function *f) {
    if (f->image || f->kind == RUNTIME_IMAGE)
        return "image";
    return f->kind == RUNTIME_NODE ? "nodejs" : "python";
}

static void write_function(struct json_w *w, const struct function *f, const struct blob *code) {
    jw_begin_object(w);
    jw_u64_member(w, "id", f->no);
    jw_cstr_member(w, "name", function_title(f));
    jw_cstr_member(w, "runtime", runtime_name(f));
    fields_write_code(w, code, "code_is_base64");
    jw_cstr_member(w, "execution_type", f->async ? "async" : "sync");
    jw_time_member(w, "created_at", f->created_us);
    jw_time_member(w, "updated_at", f->updated_us);
    jw_end_object(w);
}

static void send_id(struct request *r, uint32_t no) {
    struct buf body = BUF_INIT(KIB);
    struct json_w w;
    runna_begin(&w, &body);
    jw_begin_object(&w);
    jw_u64_member(&w, "function_id", no);
    jw_end_object(&w);
    runna_send(r, &w, &body);
}

/* ---- list: codes come in slices, so that no one question holds the store for long ---- */

struct listing {
    struct function_list list;
    size_t at;
    struct buf body;
    struct json_w w;
};

static void listing_free(void *state) {
    struct listing *l = state;
    function_list_done(&l->list);
    buf_done(&l->body);
    free(l);
}

static void list_end(struct request *r) {
    struct listing *l = r->state;
    if (l->at < l->list.n)
        page_next(r, l->list.v[l->at - 1]->no);
    jw_end_array(&l->w);
    jw_end_object(&l->w);
    jw_end_object(&l->w);
    struct json_w w = l->w;
    struct buf body = l->body;
    l->body = BUF_INIT(0);
    request_written(r, 200, NULL, 0, &w, &body);
}

static void list_next(struct request *r);

static void on_codes(void *arg, const struct error *err, struct blob *const *codes, size_t n) {
    struct request *r = arg;
    struct listing *l = r->state;
    if (err) {
        request_fail(r, err);
        return;
    }
    for (size_t i = 0; i < n && l->body.len < LIST_BODY_MAX; i++)
        write_function(&l->w, l->list.v[l->at++], codes[i]);
    list_next(r);
}

static void list_next(struct request *r) {
    struct listing *l = r->state;
    if (l->at == l->list.n || l->body.len >= LIST_BODY_MAX || !r->call)
        list_end(r);
    else
        core_codes(r->core, r->loop, l->list.v + l->at, l->list.n - l->at, on_codes, r);
}

void op_runna_list_functions(struct request *r) {
    struct error err;
    struct listing *l = x_alloc(sizeof *l);
    r->state = l;
    r->free_state = listing_free;
    if (function_list_page(&l->list, r, STR_NULL, &err) < 0) {
        request_fail(r, &err);
        return;
    }
    buf_init(&l->body, REPLY_MAX);
    runna_begin(&l->w, &l->body);
    jw_begin_object(&l->w);
    jw_array_member(&l->w, "functions");
    list_next(r);
}

/* ---- get ---- */

static void on_code(void *arg, const struct error *err, struct blob *const *codes, size_t n) {
    struct request *r = arg;
    if (err) {
        runna_fail(r, err);
        return;
    }
    struct buf body = BUF_INIT(REPLY_MAX);
    struct json_w w;
    runna_begin(&w, &body);
    write_function(&w, r->function, n ? codes[0] : NULL);
    runna_send(r, &w, &body);
}

void op_runna_get_function(struct request *r) {
    struct error err;
    if (runna_function(r, &err) < 0)
        request_fail(r, &err);
    else
        core_codes(r->core, r->loop, &r->function, 1, on_code, r);
}

/* ---- in ---- */

/* What a body says of a function; what it does not say is NULL or -1. */
struct said {
    char *name, *runtime;
    struct buf code;
    int async;
    int tries;
};

static void said_free(void *state) {
    struct said *s = state;
    free(s->name);
    free(s->runtime);
    buf_done(&s->code);
    free(s);
}

static int say_text(const struct json *o, const char *member, int flags, char **ret,
                    struct error *err) {
    struct str s = STR_NULL;
    if (json_get_str(o, member, flags, &s, err) < 0)
        return -1;
    if (s.p)
        field_set(ret, s);
    return 0;
}

static int say_code(const struct json *o, int flags, struct buf *ret, struct error *err) {
    struct str s = STR_NULL;
    if (json_get_str(o, "code", flags | JSON_NONEMPTY, &s, err) < 0)
        return -1;
    if (s.p && buf_put_str(ret, s) < 0)
        return error_field(err, ERR_TOO_LARGE, "code", "\"code\" is over the limit of %zu bytes",
                           ret->max);
    return 0;
}

/* FLAGS are those of every member: required, or may be null. */
static int read_body(struct request *r, int flags, struct said *s, struct error *err) {
    static const char *const TYPES[] = {"sync", "async", NULL};
    cleanup_json struct json *o = NULL;
    *s = (struct said){.async = -1, .code = BUF_INIT(CODE_MAX)};
    if (fields_body(r, &o, err) < 0) {
        (void)snprintf(err->field, sizeof err->field, "body");
        return -1;
    }
    if (say_text(o, "name", flags, &s->name, err) < 0 ||
        say_text(o, "runtime", flags, &s->runtime, err) < 0 ||
        say_code(o, flags, &s->code, err) < 0)
        return -1;
    return json_get_enum(o, "execution_type", flags, TYPES, &s->async, err);
}

static int set_runtime(struct function *f, const char *name, struct error *err) {
    struct str s = str_of(name);
    int kind = s.len <= RUNTIME_MAX_LEN ? runtime_parse(s) : -1;
    if (kind != RUNTIME_PYTHON && kind != RUNTIME_NODE)
        return error_field(err, ERR_INVALID_RUNTIME, "runtime",
                           "\"runtime\" must be python or nodejs");
    if (f->runtime && f->kind == (enum runtime_kind)kind)
        return 0; /* another spelling that somebody else chose stays */
    field_set(&f->runtime, s);
    f->kind = (enum runtime_kind)kind;
    return 0;
}

#define HANDLER_DEFAULT "handler"

static int apply(const struct said *s, struct function *f, struct error *err) {
    bool image = f->image || f->kind == RUNTIME_IMAGE;
    if (image && (s->runtime != NULL) != (s->code.len > 0))
        return error_field(err, ERR_INVALID, s->runtime ? "code" : "runtime",
                           "the function is an image: to make it one of code, give both "
                           "\"runtime\" and \"code\"");
    if (s->name && function_set_title(f, str_of(s->name), "name", err) < 0)
        return -1;
    if (s->runtime && set_runtime(f, s->runtime, err) < 0)
        return -1;
    if (s->code.len && (!f->handler || !f->handler[0]))
        field_set(&f->handler, STR(HANDLER_DEFAULT));
    if (s->async >= 0)
        f->async = s->async == 1;
    return 0;
}

static bool is_taken(struct request *r, const struct function *f) {
    struct function *other =
        core_function_named(r->core, str_of(f->workspace), str_of(f->project), str_of(f->name));
    bool taken = other && other->no != f->no;
    function_unref(other);
    return taken;
}

static int refuse_taken(const struct function *f, struct error *err) {
    return error_field(err, ERR_CONFLICT, "name", "there is a function named '%s' already",
                       function_title(f));
}

/* The line of a build log that says most: the last one that is not kiln's own. */
static struct str telling_line(const char *log) {
    struct str rest = str_of(log ? log : ""), best = STR("it does not load");
    while (rest.p && rest.len) {
        struct str line = str_trim(str_cut(&rest, '\n'));
        if (line.len && !str_starts(line, STR("[kiln]")))
            best = line;
    }
    return best;
}

static void fail_code(struct request *r, const char *field, const char *log) {
    struct error err;
    struct str line = telling_line(log);
    int len = line.len < 400 ? (int)line.len : 400;
    if (!core_ready(r->core))
        (void)error_set(&err, ERR_UNAVAILABLE, "the server is shutting down");
    else
        (void)error_field(&err, ERR_INVALID, field, "\"%s\" cannot be built: %.*s", field, len,
                          line.p);
    request_fail(r, &err);
}

/* ---- create ---- */

static void on_undone(void *arg, const struct error *err UNUSED) {
    fail_code(arg, "code", NULL);
}

static void on_created(void *arg, const struct error *err, struct function *f) {
    struct request *r = arg;
    if (err)
        request_fail(r, err);
    else if (f->status == FN_ERROR) /* although it was tried: what builds once may fail once more */
        core_function_delete(r->core, r->loop, &r->who, f->no, on_undone, r);
    else
        send_id(r, f->no);
}

static struct function *fresh(const struct request *r) {
    struct function *f = function_new();
    field_set(&f->workspace, STR(DEFAULT_WORKSPACE));
    field_set(&f->project, STR(DEFAULT_PROJECT));
    field_set(&f->handler, STR(HANDLER_DEFAULT));
    (void)r;
    return f;
}

static void create_checked(void *arg, const struct error *err, bool ok, const char *log) {
    struct request *r = arg;
    struct said *s = r->state;
    struct error why;
    if (err || !ok) {
        if (err)
            request_fail(r, err);
        else
            fail_code(r, "code", log);
        return;
    }
    struct core_draft draft = {.function = fresh(r), .code = buf_str(&s->code), .wait_build = true};
    (void)apply(s, draft.function, &why); /* it went well before */
    core_function_create(r->core, r->loop, &r->who, &draft, on_created, r);
}

void op_runna_create_function(struct request *r) {
    struct error err;
    struct said *s = x_alloc(sizeof *s);
    struct function *f = fresh(r);
    r->state = s;
    r->free_state = said_free;
    if (read_body(r, JSON_REQUIRED, s, &err) < 0 || apply(s, f, &err) < 0 ||
        (is_taken(r, f) && refuse_taken(f, &err) < 0))
        request_fail(r, &err);
    else
        core_code_check(r->core, r->loop, f, buf_str(&s->code), create_checked, r);
    function_unref(f);
}

/* ---- update ---- */

static void update_try(struct request *r);

static void on_updated(void *arg, const struct error *err, struct function *f) {
    struct request *r = arg;
    struct said *s = r->state;
    bool raced = err && err->code == ERR_CONFLICT && strcmp(err->field, "function") == 0;
    if (raced && ++s->tries < UPDATE_TRIES)
        update_try(r); /* what is said does not depend on what was there */
    else if (err && err->code == ERR_BUILD_FAILED)
        fail_code(r, "runtime", err->text);
    else if (err)
        runna_fail(r, err);
    else if (s->code.len && f->status == FN_ERROR)
        fail_code(r, "code", NULL);
    else
        send_id(r, r->function->no);
}

/* The function as it is now with what was said, or NULL and *ERR. */
static struct function *changed(struct request *r, struct error *err) {
    struct function *now = core_function(r->core, r->function->no);
    if (!now) {
        (void)error_field(err, ERR_NOT_FOUND, "function", "the function was deleted");
        return NULL;
    }
    struct function *f = function_clone(now);
    function_unref(now);
    if (apply(r->state, f, err) == 0 && (!is_taken(r, f) || refuse_taken(f, err) == 0))
        return f;
    function_unref(f);
    return NULL;
}

static void update_try(struct request *r) {
    struct said *s = r->state;
    struct error err;
    struct function *f = changed(r, &err);
    if (!f) {
        runna_fail(r, &err);
        return;
    }
    struct core_update update = {.function = f, .wait_build = true};
    update.code = s->code.len ? buf_str(&s->code) : STR_NULL;
    core_function_update(r->core, r->loop, &r->who, &update, on_updated, r);
}

static void update_checked(void *arg, const struct error *err, bool ok, const char *log) {
    struct request *r = arg;
    if (err)
        request_fail(r, err);
    else if (!ok)
        fail_code(r, "code", log);
    else
        update_try(r);
}

void op_runna_update_function(struct request *r) {
    struct error err;
    struct said *s = x_alloc(sizeof *s);
    r->state = s;
    r->free_state = said_free;
    if (runna_function(r, &err) < 0 || read_body(r, JSON_NULLABLE, s, &err) < 0) {
        request_fail(r, &err);
        return;
    }
    struct function *f = changed(r, &err);
    if (!f)
        runna_fail(r, &err);
    else if (s->code.len)
        core_code_check(r->core, r->loop, f, buf_str(&s->code), update_checked, r);
    else if (s->name || s->runtime || s->async >= 0)
        update_try(r);
    else
        send_id(r, r->function->no);
    function_unref(f);
}
