/* SPDX-License-Identifier: Apache-2.0 */
/* iron: routes. */

#include "api/fields.h"
#include "api/iron.h"
#include "api/lists.h"
#include "model/image_ref.h"
#include "routes.h"
#include <ctype.h>
#include <math.h>
#include <stdio.h>

#define MEMORY_DEFAULT 128 /* MiB */

/* ---- out ---- */

static uint64_t memory_of(const struct request *r, const struct function *f) {
    struct str text = str_of(f->memory ? f->memory : "");
    uint64_t mib;
    if (str_ends(text, STR("Mi")) && str_u64(str_n(text.p, text.len - 2), UINT32_MAX, &mib) == 0)
        return mib; /* as it was given, where less than MEMORY_MIN was asked for */
    uint64_t bytes =
        f->memory_bytes ? f->memory_bytes : core_config_of(r->core)->engine.memory_default;
    return (bytes + MIB - 1) / MIB;
}

/* The format default has a process a call, and the original bounds those of hot formats only: 1,
 * what everybody has who says nothing, is no bound then. */
static uint32_t concurrency_of(const struct request *r, const struct function *f) {
    return f->image && !f->max_instances ? 1 : function_max_instances(r, f);
}

static void set_concurrency(struct function *f, uint32_t n) {
    f->max_instances = f->format == IMAGE_DEFAULT && n == 1 ? 0 : n;
}

static void write_route(struct json_w *w, const struct request *r, const struct function *f) {
    char path[IRON_PATH_MAX];
    jw_begin_object(w);
    jw_cstr_member(w, "app_name", f->project);
    jw_cstr_member(w, "path", iron_path_of(f, path));
    jw_cstr_member(w, "image", f->image ? f->image : "");
    jw_u64_member(w, "memory", memory_of(r, f));
    jw_raw_member(w, "headers", f->reply_headers ? str_of(f->reply_headers) : STR("{}"));
    jw_cstr_member(w, "type", f->async ? "async" : "sync");
    jw_cstr_member(w, "format", image_format_name(f->format));
    jw_u64_member(w, "max_concurrency", concurrency_of(r, f));
    jw_double_member(w, "timeout", function_timeout_ms(r, f) / 1000.0);
    iron_write_config(w, r, &f->env);
    jw_end_object(w);
}

static void send_route(struct request *r, int status, const char *message,
                       const struct function *f) {
    struct buf body = BUF_INIT(REPLY_MAX);
    struct json_w w;
    json_w_init(&w, &body);
    jw_begin_object(&w);
    jw_cstr_member(&w, "message", message);
    jw_key(&w, "route");
    write_route(&w, r, f);
    jw_end_object(&w);
    request_written(r, status, NULL, 0, &w, &body);
}

/* ---- list and get ---- */

/* Those of IMAGE, where one is asked for; of them the page. */
static int send_list(struct request *r, struct str project, struct error *err) {
    struct page page;
    struct str image = STR_NULL;
    if (page_get(r, 0, 0, false, &page, err) < 0 || request_query(r, "image", &image, err) < 0)
        return -1;
    struct function_list l;
    function_list_get(&l, r, project);
    struct buf body = BUF_INIT(REPLY_MAX);
    struct json_w w;
    json_w_init(&w, &body);
    jw_begin_object(&w);
    jw_cstr_member(&w, "message", "Successfully listed routes");
    jw_array_member(&w, "routes");
    uint32_t last = 0, left = page.limit;
    for (size_t i = 0; i < l.n; i++) {
        const struct function *f = l.v[i];
        if (f->no >= page.before || (image.len && !(f->image && str_is(image, f->image))))
            continue;
        if (left == 0) {
            page_next(r, last);
            break;
        }
        write_route(&w, r, f);
        last = f->no;
        left--;
    }
    jw_end_array(&w);
    jw_end_object(&w);
    function_list_done(&l);
    request_written(r, 200, NULL, 0, &w, &body);
    return 0;
}

void op_iron_list_routes(struct request *r) {
    struct error err;
    if (send_list(r, STR_NULL, &err) < 0)
        request_fail(r, &err);
}

void op_iron_list_app_routes(struct request *r) {
    struct error err;
    struct project *app = iron_app(r, &err);
    if (!app || send_list(r, r->params[IRON_APP], &err) < 0)
        request_fail(r, &err);
    project_unref(app);
}

void op_iron_get_route(struct request *r) {
    struct error err;
    if (iron_route(r, NULL, &err) < 0)
        request_fail(r, &err);
    else
        send_route(r, 200, "Successfully loaded route", r->function);
}

/* ---- in: members that routes have when they are made and when they are changed ---- */

static int read_memory(const struct request *r, const struct json *o, struct function *f,
                       struct error *err) {
    uint64_t most = core_config_of(r->core)->engine.memory_max / MIB;
    int64_t mib = 0;
    char text[32];
    if (json_get_int(o, "memory", JSON_NULLABLE, INT64_MIN, INT64_MAX, &mib, err) < 0)
        return iron_invalid_json(err);
    if (mib == 0)
        return 0;
    if (mib < 0 || (uint64_t)mib > (most ? most : IRON_MAX_MEMORY)) {
        (void)snprintf(text, sizeof(text), "1 to %llu MiB", (unsigned long long)most);
        return iron_fail(err, ERR_INVALID, "Invalid route Memory", text);
    }
    (void)snprintf(text, sizeof(text), "%lldMi", (long long)mib);
    field_set(&f->memory, str_of(text));
    f->memory_bytes = (uint64_t)mib * MIB > MEMORY_MIN ? (uint64_t)mib * MIB : MEMORY_MIN;
    return 0;
}

static int read_word(const struct json *o, const char *member, struct str *ret, struct error *err) {
    *ret = STR("");
    return json_get_str(o, member, JSON_NULLABLE, ret, err) < 0 ? iron_invalid_json(err) : 0;
}

static int read_kind(const struct json *o, struct function *f, struct error *err) {
    struct str type, format;
    if (read_word(o, "type", &type, err) < 0 || read_word(o, "format", &format, err) < 0)
        return -1;
    if (type.len && !str_is(type, "sync") && !str_is(type, "async"))
        return iron_fail(err, ERR_INVALID, "Invalid route Type", "sync or async");
    if (format.len && image_format_parse(format) < 0)
        return iron_fail(err, ERR_INVALID, "Invalid route Format", "default, http or json");
    if (type.len)
        f->async = str_is(type, "async");
    if (format.len)
        f->format = (enum image_format)image_format_parse(format);
    return 0;
}

static int read_concurrency(const struct json *o, uint32_t now, struct function *f,
                            struct error *err) {
    int64_t n = 0;
    char text[32];
    if (json_get_int(o, "max_concurrency", JSON_NULLABLE, INT64_MIN, INT64_MAX, &n, err) < 0)
        return iron_invalid_json(err);
    (void)snprintf(text, sizeof(text), "1 to %u", INSTANCES_MAX);
    if (n < 0)
        return iron_fail(err, ERR_INVALID, "Negative MaxConcurrency", text);
    if (n > INSTANCES_MAX)
        return iron_fail(err, ERR_INVALID, "Invalid route MaxConcurrency", text);
    if (f->image || n)
        set_concurrency(f, n ? (uint32_t)n : now);
    if (f->min_instances > f->max_instances && f->max_instances)
        f->min_instances = f->max_instances;
    return 0;
}

static int read_timeout(const struct json *o, struct function *f, struct error *err) {
    double seconds = 0;
    char text[32];
    if (json_get_double(o, "timeout", JSON_NULLABLE, -1e18, 1e18, &seconds, err) < 0)
        return iron_invalid_json(err);
    (void)snprintf(text, sizeof(text), "at most %u s", TIMEOUT_MS_MAX / 1000);
    if (seconds < 0)
        return iron_fail(err, ERR_INVALID, "Negative timeout", text);
    if (seconds > TIMEOUT_MS_MAX / 1000.0)
        return iron_fail(err, ERR_INVALID, "Invalid route Timeout", text);
    if (seconds > 0)
        f->timeout_ms = seconds < 0.001 ? 1 : (uint32_t)lround(seconds * 1000);
    return 0;
}

/* NOW: max_concurrency before this. IS_NEW: an empty config value is a value. */
static int read_members(const struct request *r, const struct json *o, uint32_t now, bool is_new,
                        struct function *f, struct error *err) {
    if (read_memory(r, o, f, err) < 0 || read_kind(o, f, err) < 0 ||
        read_concurrency(o, now, f, err) < 0 || read_timeout(o, f, err) < 0 ||
        iron_read_headers(o, f, err) < 0)
        return -1;
    return iron_read_config(o, !is_new, &f->env, err);
}

static int read_image(const struct json *o, struct str *ret, struct error *err) {
    struct error why;
    if (read_word(o, "image", ret, err) < 0)
        return -1;
    if (ret->len && image_ref_check(*ret, &why) < 0)
        return iron_fail(err, ERR_INVALID, "Invalid route Image", why.text);
    return 0;
}

/* ---- create ---- */

static bool escapes_ok(struct str path) {
    for (size_t i = 0; i < path.len; i++) {
        if (path.p[i] != '%')
            continue;
        if (i + 2 >= path.len || !isxdigit((unsigned char)path.p[i + 1]) ||
            !isxdigit((unsigned char)path.p[i + 2]))
            return false;
    }
    return true;
}

static int read_path(const struct json *o, struct function *f, struct error *err) {
    struct str path;
    struct error why;
    char name[NAME_MAX_LEN + 1];
    if (read_word(o, "path", &path, err) < 0)
        return -1;
    if (path.len == 0)
        return iron_fail(err, ERR_INVALID, "Missing route Path", NULL);
    if (!escapes_ok(path) || name_of_title(path, "path", name, &why) < 0)
        return iron_fail(err, ERR_INVALID, "Path malformed",
                         escapes_ok(path) ? why.text : "it has a broken %-escape");
    if (memchr(path.p, ':', path.len))
        return iron_fail(err, ERR_INVALID, "Dynamic URL is not allowed", NULL);
    if (path.p[0] != '/')
        return iron_fail(err, ERR_INVALID, "Invalid Path format", "it begins with a '/'");
    cleanup_free char *clean = x_alloc(path.len + 1);
    path = str_n(clean, iron_clean_path(path, clean));
    return function_set_title(f, path, "path", err);
}

static int read_route(const struct request *r, const struct json *o, struct function *f,
                      struct str *ret_image, struct error *err) {
    char memory[32];
    if (read_path(o, f, err) < 0 || read_image(o, ret_image, err) < 0)
        return -1;
    if (ret_image->len == 0)
        return iron_fail(err, ERR_INVALID, "Missing route Image", NULL);
    (void)snprintf(memory, sizeof(memory), "%dMi", MEMORY_DEFAULT);
    field_set(&f->memory, str_of(memory));
    f->memory_bytes = MEMORY_DEFAULT * MIB;
    field_set(&f->workspace, r->workspace);
    field_set(&f->project, r->params[IRON_APP]);
    field_set(&f->runtime, STR("image"));
    field_set(&f->handler, STR(""));
    field_set(&f->image, *ret_image);
    return read_members(r, o, 1, true, f, err);
}

static int check_app(const struct request *r, struct error *err) {
    struct error unknown;
    struct project *app = iron_app(r, &unknown);
    project_unref(app);
    return app ? 0 : iron_check_app_name(r->params[IRON_APP], err);
}

static void on_created(void *arg, const struct error *err, struct function *f) {
    struct error taken;
    if (err && err->code == ERR_CONFLICT) {
        (void)iron_fail(&taken, ERR_CONFLICT, "Route already exists", NULL);
        err = &taken;
    }
    if (err)
        request_fail(arg, err);
    else
        send_route(arg, 201, "Route successfully created", f);
}

static const char MISSING[] = "Missing new route";

void op_iron_create_route(struct request *r) {
    cleanup_json struct json *root = NULL;
    const struct json *o;
    struct str image;
    struct error err;
    if (iron_body(r, "route", MISSING, &root, &o, &err) < 0 || check_app(r, &err) < 0) {
        request_fail(r, &err);
        return;
    }
    struct function *f = function_new();
    if (read_route(r, o, f, &image, &err) < 0) {
        function_unref(f);
        request_fail(r, &err);
        return;
    }
    cleanup_free char *reference = str_dup(image);
    struct core_draft draft = {.function = f, .image = reference};
    core_function_create(r->core, r->loop, &r->who, &draft, on_created, r);
}

/* ---- update ---- */

static void on_updated(void *arg, const struct error *err, struct function *f) {
    struct request *r = arg;
    if (err && err->code == ERR_CONFLICT && iron_try_again(r))
        op_iron_put_route(r);
    else if (err)
        request_fail(r, err);
    else
        send_route(r, 201, "Route successfully updated", f);
}

static int check_same_path(const struct json *o, struct str now, struct error *err) {
    struct str path;
    if (read_word(o, "path", &path, err) < 0)
        return -1;
    cleanup_free char *clean = x_alloc(path.len + 1);
    if (path.len == 0 || str_eq(now, str_n(clean, iron_clean_path(path, clean))))
        return 0;
    return iron_fail(err, ERR_INVALID, "Could not update route - path is immutable", NULL);
}

/* The reference of a new version, or NULL where the present one stays. */
static int read_new_image(const struct json *o, const struct function *f, char **ret,
                          struct error *err) {
    struct str image;
    if (read_image(o, &image, err) < 0)
        return -1;
    if (image.len == 0)
        return 0;
    if (!f->image)
        return iron_fail(err, ERR_INVALID, "Could not update route",
                         "its function is made of code, not of an image");
    bool unbuilt =
        f->status == FN_ERROR || (f->status == FN_READY && f->last_number != f->active_number);
    if (!str_is(image, f->image) || unbuilt)
        *ret = str_dup(image);
    return 0;
}

void op_iron_put_route(struct request *r) {
    cleanup_json struct json *root = NULL;
    cleanup_free char *image = NULL;
    const struct json *o;
    struct str path;
    struct error err;
    if (iron_body(r, "route", MISSING, &root, &o, &err) < 0 || iron_route(r, &path, &err) < 0 ||
        check_same_path(o, path, &err) < 0 || read_new_image(o, r->function, &image, &err) < 0) {
        request_fail(r, &err);
        return;
    }
    struct function *f = function_clone(r->function);
    if (read_members(r, o, concurrency_of(r, f), false, f, &err) < 0) {
        function_unref(f);
        request_fail(r, &err);
        return;
    }
    struct core_update update = {.function = f, .image = image};
    core_function_update(r->core, r->loop, &r->who, &update, on_updated, r);
}

/* ---- delete ---- */

static void on_deleted(void *arg, const struct error *err) {
    struct error gone;
    if (err && err->code == ERR_NOT_FOUND) {
        (void)iron_fail(&gone, ERR_NOT_FOUND, "Route not found", NULL);
        err = &gone;
    }
    if (err) {
        request_fail(arg, err);
        return;
    }
    struct buf body = BUF_INIT(KIB);
    (void)buf_puts(&body, "{\"message\":\"Route deleted\"}");
    request_json(arg, 200, &body);
}

void op_iron_delete_route(struct request *r) {
    struct error err;
    if (iron_route(r, NULL, &err) < 0)
        request_fail(r, &err);
    else
        core_function_delete(r->core, r->loop, &r->who, r->function->no, on_deleted, r);
}
