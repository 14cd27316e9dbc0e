/* SPDX-License-Identifier: Apache-2.0 */
/* iron: apps. */

#include "api/iron.h"
#include "api/lists.h"
#include "routes.h"

/* ---- out ---- */

static void write_app(struct json_w *w, const struct request *r, const struct project *p) {
    jw_begin_object(w);
    jw_cstr_member(w, "name", p->name);
    iron_write_config(w, r, &p->config);
    jw_end_object(w);
}

static void send_app(struct request *r, const char *message, const struct project *p) {
    struct buf body = BUF_INIT(REPLY_MAX);
    struct json_w w;
    json_w_init(&w, &body);
    jw_begin_object(&w);
    jw_cstr_member(&w, "message", message);
    jw_key(&w, "app");
    write_app(&w, r, p);
    jw_end_object(&w);
    request_written(r, 200, NULL, 0, &w, &body);
}

/* ---- list and get ---- */

struct app_list { /* oldest first */
    struct project **v;
    size_t n, cap;
    uint64_t before;
};

static bool take_app(void *arg, const struct project *p) {
    struct app_list *l = arg;
    if (p->no >= l->before)
        return true;
    if (l->n == l->cap) {
        l->cap = l->cap ? 2 * l->cap : 64;
        l->v = x_realloc(l->v, l->cap * sizeof(struct project *));
    }
    l->v[l->n++] = project_ref((struct project *)(uintptr_t)p);
    return true;
}

void op_iron_list_apps(struct request *r) {
    struct page page;
    struct error err;
    if (page_get(r, 0, 0, false, &page, &err) < 0) {
        request_fail(r, &err);
        return;
    }
    struct app_list l = {.before = page.before};
    core_projects_each(r->core, r->workspace, take_app, &l);
    struct buf body = BUF_INIT(REPLY_MAX);
    struct json_w w;
    json_w_init(&w, &body);
    jw_begin_object(&w);
    jw_cstr_member(&w, "message", "Successfully listed applications");
    jw_array_member(&w, "apps");
    for (size_t i = l.n, left = page.limit; i > 0 && left > 0; i--, left--) {
        write_app(&w, r, l.v[i - 1]);
        if (left == 1 && i > 1)
            page_next(r, l.v[i - 1]->no);
    }
    jw_end_array(&w);
    jw_end_object(&w);
    for (size_t i = 0; i < l.n; i++)
        project_unref(l.v[i]);
    free(l.v);
    request_written(r, 200, NULL, 0, &w, &body);
}

void op_iron_get_app(struct request *r) {
    struct error err;
    struct project *p = iron_app(r, &err);
    if (!p) {
        request_fail(r, &err);
        return;
    }
    send_app(r, "Successfully loaded app", p);
    project_unref(p);
}

/* ---- create and update ---- */

static void on_created(void *arg, const struct error *err, struct project *p) {
    struct error taken;
    if (err && err->code == ERR_CONFLICT) {
        (void)iron_fail(&taken, ERR_CONFLICT, "App already exists", NULL);
        err = &taken;
    }
    if (err)
        request_fail(arg, err);
    else
        send_app(arg, "App successfully created", p);
}

/* Somebody else was faster: what he made of it is the new start. */
static void on_put(struct request *r, const struct error *err, const struct project *p,
                   const char *message) {
    if (err && err->code == ERR_CONFLICT && iron_try_again(r))
        op_iron_put_app(r);
    else if (err)
        request_fail(r, err);
    else
        send_app(r, message, p);
}

static void on_put_new(void *arg, const struct error *err, struct project *p) {
    on_put(arg, err, p, "App successfully created");
}

static void on_updated(void *arg, const struct error *err, struct project *p) {
    on_put(arg, err, p, "App successfully updated");
}

static int read_name(const struct json *o, struct str *ret, struct error *err) {
    return json_get_str(o, "name", JSON_NULLABLE, ret, err) < 0 ? iron_invalid_json(err) : 0;
}

static struct project *app_new(const struct request *r, struct str name) {
    struct project *p = project_new();
    p->workspace = str_dup(r->workspace);
    p->name = str_dup(name);
    return p;
}

static const char MISSING[] = "Missing new application";

void op_iron_create_app(struct request *r) {
    cleanup_json struct json *root = NULL;
    const struct json *o;
    struct str name = STR("");
    struct error err;
    if (iron_body(r, "app", MISSING, &root, &o, &err) < 0 || read_name(o, &name, &err) < 0 ||
        iron_check_app_name(name, &err) < 0) {
        request_fail(r, &err);
        return;
    }
    struct project *p = app_new(r, name);
    if (iron_read_config(o, false, &p->config, &err) < 0) {
        project_unref(p);
        request_fail(r, &err);
        return;
    }
    core_project_create(r->core, r->loop, &r->who, p, on_created, r);
}

/* The app of the path, changed, or a new one where there is none; NULL with *ERR. */
static struct project *changed(const struct request *r, const struct json *o, bool *ret_new,
                               struct error *err) {
    struct str name = STR("");
    struct project *now = core_project(r->core, r->workspace, r->params[IRON_APP]);
    struct project *p = now ? project_clone(now) : NULL;
    *ret_new = now == NULL;
    project_unref(now);
    if (!p && iron_check_app_name(r->params[IRON_APP], err) < 0)
        return NULL;
    if (!p)
        p = app_new(r, r->params[IRON_APP]);
    int rc = read_name(o, &name, err);
    if (rc == 0 && name.len && !str_is(name, p->name))
        rc = iron_fail(err, ERR_INVALID, "Could not update app - name is immutable", NULL);
    if (rc == 0)
        rc = iron_read_config(o, !*ret_new, &p->config, err);
    if (rc == 0)
        return p;
    project_unref(p);
    return NULL;
}

void op_iron_put_app(struct request *r) {
    cleanup_json struct json *root = NULL;
    const struct json *o;
    struct error err;
    bool is_new;
    if (iron_body(r, "app", MISSING, &root, &o, &err) < 0) {
        request_fail(r, &err);
        return;
    }
    struct project *p = changed(r, o, &is_new, &err);
    if (!p)
        request_fail(r, &err);
    else if (is_new)
        core_project_create(r->core, r->loop, &r->who, p, on_put_new, r);
    else
        core_project_update(r->core, r->loop, &r->who, p, on_updated, r);
}

/* ---- delete ---- */

static void on_deleted(void *arg, const struct error *err) {
    struct error why;
    if (err && err->code == ERR_CONFLICT) {
        (void)iron_fail(&why, ERR_INVALID, "Cannot remove apps with routes", NULL);
        err = &why;
    } else if (err && err->code == ERR_NOT_FOUND) {
        (void)iron_fail(&why, ERR_NOT_FOUND, "App not found", NULL);
        err = &why;
    }
    if (err) {
        request_fail(arg, err);
        return;
    }
    struct buf body = BUF_INIT(KIB);
    (void)buf_puts(&body, "{\"message\":\"App deleted\"}");
    request_json(arg, 200, &body);
}

void op_iron_delete_app(struct request *r) {
    core_project_delete(r->core, r->loop, &r->who, r->workspace, r->params[IRON_APP], on_deleted,
                        r);
}
