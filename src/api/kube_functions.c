/* SPDX-License-Identifier: Apache-2.0 */
/* kube: list, create, get, replace. */

#include "api/fields.h"
#include "api/internal.h"
#include "api/kube.h"
#include "api/lists.h"
#include "routes.h"
#include "json/write.h"
#include <stdio.h>

/* ---- out ---- */

static const char *state_name(enum function_status s) {
    switch (s) {
    case FN_PENDING:
    case FN_BUILDING:
        return "deploying";
    case FN_READY:
        return "running";
    case FN_ERROR:
        return "error";
    case FN_DELETING:
        return "deleting";
    }
    return "error";
}

/* Where it can be reached in truth: its first http trigger, else its invoke URL. */
static void write_endpoint(struct json_w *w, const struct request *r, const struct function *f,
                           const struct trigger_list *g) {
    cleanup_free char *url = NULL;
    for (size_t i = g->n; i > 0 && !url; i--) {
        const struct trigger *t = g->v[i - 1];
        const char *path = pairs_get(&t->config, "path");
        if (t->type == TRIGGER_HTTP && t->enabled && path)
            url = x_asprintf("%s%s", r->api->gateway_url, path);
    }
    if (!url)
        url = x_asprintf("%s/api/v1/functions/%s/invoke", r->api->public_url, f->name);
    jw_cstr_member(w, "endpoint", url);
}

static void write_status(struct json_w *w, const struct request *r, const struct function *f,
                         const struct trigger_list *g) {
    jw_object_member(w, "status");
    jw_cstr_member(w, "state", state_name(f->status));
    jw_u64_member(w, "replicas", core_function_instances(r->core, f->no));
    write_endpoint(w, r, f, g);
    if (f->deployed_us)
        jw_time_member(w, "lastDeployment", f->deployed_us);
    jw_end_object(w);
}

static void write_names(struct json_w *w, const struct function *f) {
    jw_cstr_member(w, "name", f->name);
    jw_cstr_member(w, "runtime", f->runtime);
    jw_cstr_member(w, "handler", f->handler);
}

static void write_replicas(struct json_w *w, const struct request *r, const struct function *f) {
    jw_u64_member(w, "minReplicas", f->min_instances);
    jw_u64_member(w, "maxReplicas", function_max_instances(r, f));
}

static void write_summary(struct json_w *w, struct request *r, const struct function *f) {
    struct trigger_list g;
    trigger_list_get(&g, r, f);
    jw_begin_object(w);
    write_names(w, f);
    write_replicas(w, r, f);
    write_status(w, r, f, &g);
    jw_end_object(w);
    trigger_list_done(&g);
}

#define CRON_KEY "schedule"

static void write_trigger(struct json_w *w, const struct trigger *t) {
    static const char *const TYPES[] = {[TRIGGER_HTTP] = "http",
                                        [TRIGGER_SCHEDULE] = "cron",
                                        [TRIGGER_EVENT] = "event",
                                        [TRIGGER_QUEUE] = "queue"};
    jw_begin_object(w);
    jw_cstr_member(w, "type", TYPES[t->type]);
    jw_object_member(w, "config");
    for (size_t i = 0; i < t->config.n; i++) {
        const struct pair *p = &t->config.v[i];
        bool cron = t->type == TRIGGER_SCHEDULE && strcmp(p->key, "cron") == 0;
        jw_cstr_member(w, cron ? CRON_KEY : p->key, p->value);
    }
    jw_end_object(w);
    jw_end_object(w);
}

/* ---- list ---- */

void op_kube_list_functions(struct request *r) {
    struct function_list l;
    struct error err;
    if (function_list_page(&l, r, STR(DEFAULT_PROJECT), &err) < 0) {
        request_fail(r, &err);
        return;
    }
    struct buf body = BUF_INIT(REPLY_MAX);
    struct json_w w;
    json_w_init(&w, &body);
    jw_begin_array(&w);
    for (size_t i = 0; i < l.n; i++)
        write_summary(&w, r, l.v[i]);
    jw_end_array(&w);
    function_list_done(&l);
    request_written(r, 200, NULL, 0, &w, &body);
}

/* ---- get ---- */

static void write_function(struct json_w *w, struct request *r, const struct function *f,
                           const struct blob *code) {
    struct trigger_list g;
    trigger_list_get(&g, r, f);
    jw_begin_object(w);
    write_names(w, f);
    fields_write_code(w, code, "codeIsBase64");
    fields_write_environment(w, &f->env);
    write_replicas(w, r, f);
    jw_array_member(w, "triggers");
    for (size_t i = g.n; i > 0; i--)
        write_trigger(w, g.v[i - 1]);
    jw_end_array(w);
    write_status(w, r, f, &g);
    jw_end_object(w);
    trigger_list_done(&g);
}

static void on_code(void *arg, const struct error *err, struct blob *code) {
    struct request *r = arg;
    struct json_w w;
    struct buf body;
    if (!request_begin(r, err, &w, &body))
        return;
    write_function(&w, r, r->function, code);
    request_written(r, 200, NULL, 0, &w, &body);
}

void op_kube_get_function(struct request *r) {
    struct error err;
    if (kube_function(r, &err) < 0)
        request_fail(r, &err);
    else
        core_code(r->core, r->loop, r->function->no, 0, on_code, r);
}

/* ---- in ---- */

struct draft {
    struct function *function;
    struct str code; /* in the JSON tree */
    struct trigger **triggers;
    size_t n_triggers;
};

static void draft_done(struct draft *d) {
    function_unref(d->function);
    for (size_t i = 0; i < d->n_triggers; i++)
        trigger_unref(d->triggers[i]);
    free(d->triggers);
}

/* What other dialects call `cron` is `schedule` here; it is stored under the one name. */
static int read_cron(struct trigger *t, size_t index, const struct function *f, struct error *err) {
    char name[32];
    const char *when = pairs_get(&t->config, CRON_KEY);
    if (check_cron(str_of(when ? when : ""), "config." CRON_KEY, err) < 0)
        return -1;
    (void)snprintf(name, sizeof(name), "cron-%zu", index + 1);
    field_set(&t->name, str_of(name));
    struct pairs config = {0};
    pairs_add(&config, STR("cron"), str_of(when));
    for (size_t i = 0; i < t->config.n; i++) {
        const struct pair *p = &t->config.v[i];
        if (strcmp(p->key, CRON_KEY) != 0 && strcmp(p->key, "cron") != 0)
            pairs_add(&config, str_of(p->key), str_of(p->value));
    }
    pairs_done(&t->config);
    t->config = config;
    t->type = TRIGGER_SCHEDULE;
    return check_trigger(t, f->name, err);
}

/* This dialect's triggers have no method: any serves. Nor a name: their place in the list is it. */
static int read_trigger(const struct json *o, size_t index, const struct function *f,
                        struct trigger *t, struct error *err) {
    struct str type = STR_NULL;
    char name[32];
    (void)snprintf(name, sizeof(name), "http-%zu", index + 1);
    field_set(&t->name, str_of(name));
    if (json_get_str(o, "type", JSON_REQUIRED, &type, err) < 0)
        return -1;
    if (str_is(type, "queue"))
        return json_fail_member(o, "type", err,
                                "queue is not served by this version of kiln, which has http and "
                                "cron triggers");
    if (!str_is(type, "http") && !str_is(type, "cron"))
        return json_fail_member(o, "type", err, "must be http or cron");
    t->enabled = true;
    if (fields_map(o, "config", &t->config, err) < 0)
        return -1;
    if (str_is(type, "cron"))
        return read_cron(t, index, f, err);
    if (!pairs_get(&t->config, "method"))
        pairs_add(&t->config, STR("method"), STR("ANY"));
    t->type = TRIGGER_HTTP;
    return check_trigger(t, f->name, err);
}

static int read_triggers(const struct json *o, struct draft *d, struct error *err) {
    const struct json *list = NULL;
    if (json_get_array(o, "triggers", JSON_NULLABLE, &list, err) < 0)
        return -1;
    size_t n = json_count(list);
    if (n > TRIGGERS_MAX)
        return json_fail_member(o, "triggers", err, "must have at most %d items", TRIGGERS_MAX);
    d->triggers = x_calloc(n + 1, sizeof(*d->triggers));
    for (size_t i = 0; i < n; i++) {
        const struct json *item = json_item(list, i);
        struct trigger *t = d->triggers[d->n_triggers++] = trigger_new();
        if (json_kind(item) != JSON_KIND_OBJECT)
            return json_fail(item, err, "must be an object");
        if (read_trigger(item, i, d->function, t, err) < 0)
            return -1;
    }
    return 0;
}

static int read_code(const struct json *o, struct draft *d, struct error *err) {
    if (json_get_str(o, "code", JSON_REQUIRED | JSON_NONEMPTY, &d->code, err) < 0)
        return -1;
    if (d->code.len > CODE_MAX)
        return error_field(err, ERR_TOO_LARGE, "code", "\"code\" is over the limit of %zu bytes",
                           (size_t)CODE_MAX);
    return 0;
}

#define HANDLER_DEFAULT "handler"

/* D->function is fresh, but for its place, name and stored environment. */
static int read_draft(const struct request *r, const struct json *o, struct draft *d,
                      struct error *err) {
    struct function *f = d->function;
    field_set(&f->handler, STR(HANDLER_DEFAULT));
    struct pairs stored = f->env;
    f->env = (struct pairs){0};
    bool given = json_has(o, "environment") && !json_has_null(o, "environment");
    if (given)
        f->env = stored; /* for masks; replaced as a whole */
    else
        pairs_done(&stored);
    if (fields_runtime(o, "runtime", JSON_REQUIRED, f, err) < 0 ||
        fields_handler(o, "handler", JSON_NULLABLE, f, err) < 0 || read_code(o, d, err) < 0 ||
        fields_environment(o, "environment", &f->env, err) < 0 ||
        fields_replicas(r, o, "minReplicas", "maxReplicas", f, err) < 0 ||
        fields_resources(r, o, "", f, err) < 0 || fields_timeout(o, "timeout", f, err) < 0)
        return -1;
    return read_triggers(o, d, err);
}

/* ---- create ---- */

static void on_created(void *arg, const struct error *err, struct function *f) {
    struct request *r = arg;
    struct json_w w;
    struct buf body;
    if (!request_begin(r, err, &w, &body))
        return;
    jw_begin_object(&w);
    write_names(&w, f);
    jw_object_member(&w, "status");
    jw_cstr_member(&w, "state", state_name(f->status));
    jw_end_object(&w);
    jw_end_object(&w);
    request_written(r, 201, NULL, 0, &w, &body);
}

void op_kube_create_function(struct request *r) {
    cleanup_json struct json *o = NULL;
    struct draft d = {.function = function_new()};
    struct error err;
    field_set(&d.function->workspace, r->workspace);
    field_set(&d.function->project, STR(DEFAULT_PROJECT));
    if (fields_body(r, &o, &err) < 0 ||
        fields_name(o, "name", JSON_REQUIRED, d.function, &err) < 0 ||
        read_draft(r, o, &d, &err) < 0) {
        draft_done(&d);
        request_fail(r, &err);
        return;
    }
    struct core_draft draft = {
        .function = d.function, .code = d.code, .triggers = d.triggers, .n_triggers = d.n_triggers};
    core_function_create(r->core, r->loop, &r->who, &draft, on_created, r);
}

/* ---- replace ---- */

static void on_replaced(void *arg, const struct error *err, struct function *f) {
    struct request *r = arg;
    struct json_w w;
    struct buf body;
    if (!request_begin(r, err, &w, &body))
        return;
    write_summary(&w, r, f);
    request_written(r, 200, NULL, 0, &w, &body);
}

/* A clone, so that it stays the same function, with everything that a body may say at its default.
 * What this dialect cannot say (labels, annotations, network) stays. */
static struct function *blank(const struct function *f) {
    struct function *b = function_clone(f);
    free(b->memory);
    free(b->cpu);
    b->memory = b->cpu = NULL;
    b->memory_bytes = 0;
    b->cpu_milli = b->timeout_ms = b->min_instances = b->max_instances = 0;
    return b;
}

void op_kube_replace_function(struct request *r) {
    cleanup_json struct json *o = NULL;
    struct error err;
    if (kube_function(r, &err) < 0 || fields_body(r, &o, &err) < 0) {
        request_fail(r, &err);
        return;
    }
    struct draft d = {.function = blank(r->function)};
    if (read_draft(r, o, &d, &err) < 0) {
        draft_done(&d);
        request_fail(r, &err);
        return;
    }
    struct core_update update = {.function = d.function,
                                 .code = d.code,
                                 .wait_build = true, /* a call after this one finds the new code */
                                 .triggers_given = true,
                                 .triggers = d.triggers,
                                 .n_triggers = d.n_triggers};
    core_function_update(r->core, r->loop, &r->who, &update, on_replaced, r);
}
