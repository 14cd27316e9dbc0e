/* SPDX-License-Identifier: Apache-2.0 */
/* iron: tasks, queued calls for who runs them elsewhere. */

#include "api/fields.h"
#include "api/iron.h"
#include "base/clock.h"
#include "routes.h"
#include <errno.h>

#define TASKS_ASKED_MAX INT32_MAX /* the document's int32; STORE_TASKS_MAX come at once */
#define ENV_NAME_MAX    (KIB)

/* ---- the environment of a call, as the original made it ---- */

/* PREFIX and NAME in upper case, '_' for '-' and for what cannot stand in a name. */
static void env_key(struct buf *out, const char *prefix, struct str name) {
    buf_clear(out);
    (void)buf_puts(out, prefix);
    for (size_t i = 0; i < name.len; i++) {
        char c = name.p[i];
        bool stays = (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        (void)buf_putc(out, c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : stays ? c : '_');
    }
}

static void add(struct pairs *env, const char *prefix, struct str name, struct str value) {
    cleanup_buf struct buf key = BUF_INIT(ENV_NAME_MAX);
    env_key(&key, prefix, name);
    if (key.len && !memchr(key.p, 0, key.len))
        pairs_add(env, buf_str(&key), value);
}

/* Values of one header are joined by a blank. */
static void add_header(struct pairs *env, struct str name, struct str value) {
    cleanup_buf struct buf key = BUF_INIT(ENV_NAME_MAX), both = BUF_INIT(MIB);
    struct str url = STR(IRON_HEADER_URL), param = STR(IRON_HEADER_PARAM);
    if (str_eq(name, url)) {
        add(env, "REQUEST_URL", STR(""), value);
        return;
    }
    if (str_starts(name, param)) {
        add(env, "PARAM_", str_n(name.p + param.len, name.len - param.len), value);
        return;
    }
    env_key(&key, "HEADER_", name);
    const char *before = pairs_get(env, buf_cstr(&key));
    if (before)
        (void)buf_printf(&both, "%s ", before);
    (void)buf_put_str(&both, value);
    pairs_add(env, buf_str(&key), buf_str(&both));
}

static void add_config(struct pairs *env, const struct pairs *config) {
    for (size_t i = 0; i < config->n; i++)
        add(env, "", str_of(config->v[i].key), str_of(config->v[i].value));
}

/* What a stored call says (CALL of wire.h): the environment, and its body. */
static int read_call(struct str input, struct pairs *env, struct str *ret_body) {
    struct wire_in in = wire_open(input);
    wire_get_u32(&in); /* deadline */
    wire_get_u8(&in);
    wire_get_str(&in); /* id */
    struct str method = wire_get_str(&in), path = wire_get_str(&in);
    add(env, "METHOD", STR(""), method);
    add(env, "ROUTE", STR(""), path);
    for (uint32_t n = wire_get_u32(&in); n > 0 && !in.bad; n--) { /* the query: in REQUEST_URL */
        wire_get_str(&in);
        wire_get_str(&in);
    }
    for (uint32_t n = wire_get_u32(&in); n > 0 && !in.bad; n--) {
        struct str name = wire_get_str(&in), value = wire_get_str(&in);
        if (!in.bad)
            add_header(env, name, value);
    }
    *ret_body = wire_get_str(&in);
    return wire_done(&in) ? 0 : -EINVAL;
}

/* ---- out ---- */

/* Every byte of a text may need six ("\\u0001"); a large one must fit into a reply as well. */
#define TEXT_PAYLOAD_MAX (REPLY_MAX / 8)

static void write_payload(struct json_w *w, struct str body) {
    if (body.len <= TEXT_PAYLOAD_MAX && str_is_utf8(body)) {
        jw_str_member(w, "payload", body);
        return;
    }
    jw_key(w, "payload");
    jw_base64(w, body);
    jw_cstr_member(w, "payload_encoding", "base64");
}

static void write_env(struct json_w *w, const struct request *r, const struct function *f,
                      struct pairs *env) {
    struct project *app = core_project(r->core, str_of(f->workspace), str_of(f->project));
    if (app)
        add_config(env, &app->config);
    add_config(env, &f->env);
    project_unref(app);
    fields_write_pairs(w, "env_vars", env);
}

static void write_task(struct json_w *w, const struct request *r, const struct function *f,
                       const struct async_call *call) {
    char id[IRON_UUID_LEN + 1], path[IRON_PATH_MAX];
    struct pairs env = {0};
    struct str body = STR("");
    (void)read_call(call->input, &env, &body);
    iron_uuid(&call->id, id);
    jw_begin_object(w);
    jw_cstr_member(w, "id", id);
    jw_cstr_member(w, "status", "running");
    jw_cstr_member(w, "image", f->image ? f->image : "");
    write_payload(w, body);
    jw_cstr_member(w, "group_name", f->project);
    jw_cstr_member(w, "app_name", f->project);
    jw_cstr_member(w, "path", iron_path_of(f, path));
    jw_double_member(w, "timeout", function_timeout_ms(r, f) / 1000.0);
    jw_time_member(w, "created_at", call->record.created_us);
    jw_time_member(w, "started_at", call->record.started_us);
    write_env(w, r, f, &env);
    jw_end_object(w);
    pairs_done(&env);
}

/* Tasks one after the other; those whose function is being deleted go with it. NULL where there is
 * none of them and SINGLE wants one. */
static void write_tasks(struct json_w *w, const struct request *r, const struct async_call *v,
                        size_t n, bool single) {
    size_t written = 0;
    for (size_t i = 0; i < n; i++) {
        struct function *f = core_function(r->core, v[i].function_no);
        if (f) {
            write_task(w, r, f, &v[i]);
            written++;
        }
        function_unref(f);
    }
    if (single && written == 0)
        jw_null(w);
}

/* ---- handing out ---- */

static void send_wrapped(struct request *r, const struct error *err, const struct async_call *v,
                         size_t n, bool single) {
    struct json_w w;
    struct buf body;
    if (!request_begin(r, err, &w, &body))
        return;
    jw_begin_object(&w);
    if (single)
        jw_key(&w, "task");
    else
        jw_array_member(&w, "tasks");
    write_tasks(&w, r, v, n, single);
    if (!single)
        jw_end_array(&w);
    jw_end_object(&w);
    request_written(r, 200, NULL, 0, &w, &body);
}

static void on_one(void *arg, const struct error *err, const struct async_call *v, size_t n) {
    send_wrapped(arg, err, v, n, true);
}

static void on_several(void *arg, const struct error *err, const struct async_call *v, size_t n) {
    send_wrapped(arg, err, v, n, false);
}

void op_iron_get_tasks(struct request *r) {
    struct error err;
    uint32_t n;
    if (request_query_u32(r, "n", 1, TASKS_ASKED_MAX, 1, &n, &err) < 0)
        request_fail(r, &err);
    else
        core_tasks_take(r->core, r->loop, n, n > 1 ? on_several : on_one, r);
}

static void on_bare(void *arg, const struct error *err, const struct async_call *v, size_t n) {
    struct request *r = arg;
    struct json_w w;
    struct buf body;
    if (!request_begin(r, err, &w, &body))
        return;
    write_tasks(&w, r, v, n, true);
    request_written(r, 202, NULL, 0, &w, &body);
}

void op_iron_take_task(struct request *r) {
    core_tasks_take(r->core, r->loop, 1, on_bare, r);
}

/* ---- the end ---- */

static void on_ended(void *arg, const struct error *err) {
    struct request *r = arg;
    struct error why;
    if (err && err->code == ERR_NOT_FOUND) {
        (void)iron_fail(&why, ERR_NOT_FOUND, "Task not found", NULL);
        err = &why;
    }
    if (err) {
        request_fail(r, err);
        return;
    }
    struct buf body = BUF_INIT(REPLY_MAX);
    if (r->call) /* checked JSON */
        (void)buf_put_str(&body, r->call->body);
    request_json(r, 202, &body);
}

/* started_at as it was handed out, in whole milliseconds however the client writes it. */
static int read_task(const struct json *o, struct ulid *id, int64_t *started_us, struct str *failed,
                     struct error *err) {
    struct str text = STR_NULL, started = STR_NULL;
    if (json_get_str(o, "id", JSON_NULLABLE, &text, err) < 0 ||
        json_get_str(o, "started_at", JSON_NULLABLE, &started, err) < 0 ||
        json_get_str(o, "error", JSON_NULLABLE, failed, err) < 0)
        return iron_invalid_json(err);
    if (text.len == 0)
        return iron_fail(err, ERR_INVALID, "Missing task ID", NULL);
    if (iron_uuid_parse(text, id) < 0)
        return iron_fail(err, ERR_NOT_FOUND, "Task not found", NULL);
    if (started.len && clock_parse_rfc3339(started, started_us) < 0)
        return iron_fail(err, ERR_INVALID, "Invalid task StartedAt", "an RFC 3339 time");
    *started_us -= *started_us % 1000;
    return 0;
}

void op_iron_end_task(struct request *r) {
    cleanup_json struct json *o = NULL;
    struct ulid id;
    int64_t started_us = 0;
    struct str failed = STR("");
    struct error err;
    if (fields_body(r, &o, &err) < 0) {
        (void)iron_invalid_json(&err);
        request_fail(r, &err);
    } else if (read_task(o, &id, &started_us, &failed, &err) < 0) {
        request_fail(r, &err);
    } else {
        core_task_end(r->core, r->loop, &id, started_us, failed, on_ended, r);
    }
}
