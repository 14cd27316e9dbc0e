/* SPDX-License-Identifier: Apache-2.0 */
/* blue: SpinApp manifests, written out or applied to a cluster. */

#include "api/blue_tasks.h"
#include "api/internal.h"
#include "base/rand.h"
#include "model/image_ref.h"
#include "routes.h"
#include "json/yaml_text.h"
#include <stdio.h>

#define DNS_LABEL_MAX   63 /* RFC 1123 */
#define REPLICAS_MAX    10000
#define QUANTITY_MAX    32
#define OUTPUT_PATH_MAX 255

/* ---- names ---- */

static bool is_label(struct str s) {
    if (s.len == 0 || s.len > DNS_LABEL_MAX || s.p[0] == '-' || s.p[s.len - 1] == '-')
        return false;
    for (size_t i = 0; i < s.len; i++)
        if (!(s.p[i] >= 'a' && s.p[i] <= 'z') && !(s.p[i] >= '0' && s.p[i] <= '9') && s.p[i] != '-')
            return false;
    return true;
}

/* Lower-cased, and without blanks, '-' and '_', as the builder of the document makes them. */
static int name_of_app(struct str given, char out[DNS_LABEL_MAX + 1], struct error *err) {
    size_t n = 0;
    for (size_t i = 0; i < given.len; i++) {
        char c = given.p[i];
        if (c == ' ' || c == '-' || c == '_')
            continue;
        c = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
        bool ok = (c >= 'a' && c <= 'z') || (n && c >= '0' && c <= '9'); /* a Service begins so */
        if (!ok || n == DNS_LABEL_MAX)
            return error_field(err, ERR_INVALID, "app_name",
                               "app_name must be up to %d letters and digits, a letter first; "
                               "blanks, '-' and '_' are left out",
                               DNS_LABEL_MAX);
        out[n++] = c;
    }
    out[n] = 0;
    return n ? 0
             : error_field(err, ERR_INVALID, "app_name", "app_name has no letter or digit in it");
}

static int check_image(struct str image, struct error *err) {
    if (image_ref_check(image, err) == 0)
        return 0;
    (void)snprintf(err->field, sizeof(err->field), "image_ref");
    return error_prepend(err, "image_ref");
}

/* ---- quantities (kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity) ---- */

struct quantity {
    const char *field;
    struct str text;
    bool memory;
    double value;
};

/* Digits with at most one point; how many bytes they take, or 0. */
static size_t take_number(struct str s, double *ret) {
    size_t i = 0, digits = 0;
    double scale = 0;
    *ret = 0;
    for (; i < s.len; i++) {
        if (s.p[i] == '.' && scale == 0) {
            scale = 1;
            continue;
        }
        if (s.p[i] < '0' || s.p[i] > '9')
            break;
        digits++;
        *ret = *ret * 10 + (s.p[i] - '0');
        scale *= 10;
    }
    if (scale > 1)
        *ret /= scale;
    return digits ? i : 0;
}

static int check_quantity(struct quantity *q, const char *absent, struct error *err) {
    static const struct {
        const char *suffix;
        double factor;
    } units[] = {{"", 1},           {"k", 1e3},           {"M", 1e6},
                 {"G", 1e9},        {"T", 1e12},          {"Ki", 1024.0},
                 {"Mi", 1048576.0}, {"Gi", 1073741824.0}, {"Ti", 1099511627776.0}};
    struct str s = q->text.p ? q->text : str_of(absent);
    size_t n = s.len <= QUANTITY_MAX ? take_number(s, &q->value) : 0;
    struct str suffix = str_n(s.p + n, s.len - n);
    if (n && q->value > 0 && !q->memory && str_is(suffix, "m")) {
        q->value /= 1000;
        return 0;
    }
    for (size_t i = 0; n && q->value > 0 && i < (q->memory ? ARRAY_LEN(units) : 1); i++)
        if (str_is(suffix, units[i].suffix)) {
            q->value *= units[i].factor;
            return 0;
        }
    return error_field(err, ERR_INVALID, q->field, "%s must be a quantity such as %s, not '%.*s'",
                       q->field, q->memory ? "128Mi or 1Gi" : "500m or 0.5",
                       (int)(s.len > QUANTITY_MAX ? QUANTITY_MAX : s.len), s.p);
}

static int check_resources(const struct spinapp *a, struct error *err) {
    struct quantity cpu = {"cpu_limit", a->cpu_limit, false, 0},
                    cpu_request = {"cpu_request", a->cpu_request, false, 0},
                    memory = {"memory_limit", a->memory_limit, true, 0},
                    memory_request = {"memory_request", a->memory_request, true, 0};
    if (check_quantity(&cpu, SPINAPP_CPU_LIMIT, err) < 0 ||
        check_quantity(&cpu_request, SPINAPP_CPU_REQUEST, err) < 0 ||
        check_quantity(&memory, SPINAPP_MEMORY_LIMIT, err) < 0 ||
        check_quantity(&memory_request, SPINAPP_MEMORY_REQUEST, err) < 0)
        return -1;
    if (cpu_request.value > cpu.value)
        return error_field(err, ERR_INVALID, "cpu_request", "cpu_request is above cpu_limit");
    if (memory_request.value > memory.value)
        return error_field(err, ERR_INVALID, "memory_request",
                           "memory_request is above memory_limit");
    return 0;
}

/* ---- scaffold ---- */

struct scaffold {
    struct request *r;
    struct buf yaml;
};

static void scaffold_free(void *state) {
    struct scaffold *s = state;
    buf_done(&s->yaml);
    free(s);
}

static void scaffold_end(struct request *r, struct str yaml, const char *path, const char *why) {
    struct buf body = BUF_INIT(MIB);
    struct json_w w;
    json_w_init(&w, &body);
    jw_begin_object(&w);
    jw_bool_member(&w, "success", why == NULL);
    if (yaml.p)
        jw_str_member(&w, "yaml_content", yaml);
    else
        jw_null_member(&w, "yaml_content");
    jw_cstr_member(&w, "file_path", path);
    jw_cstr_member(&w, "error", why);
    jw_end_object(&w);
    request_written(r, 200, NULL, 0, &w, &body);
}

static void on_kept(void *arg, const struct error *err, const char *path) {
    struct scaffold *s = arg;
    if (err && err->code != ERR_QUOTA)
        request_fail(s->r, err);
    else
        scaffold_end(s->r, buf_str(&s->yaml), path, err ? err->text : NULL);
}

static int make_yaml(const struct spinapp *app, struct buf *out, struct error *err) {
    cleanup_buf struct buf text = BUF_INIT(64 * KIB);
    cleanup_json struct json *v = NULL;
    struct json_w w;
    json_w_init(&w, &text);
    spinapp_write(&w, app);
    if (json_w_done(&w) < 0)
        return error_set(err, ERR_INVALID, "the manifest is too long");
    return json_parse(buf_str(&text), &v, err) < 0 ? -1 : yaml_from_json(v, out, err);
}

/* The last part of the image's name, as a name of a SpinApp. */
static void name_of_image(struct str image, char out[DNS_LABEL_MAX + 1]) {
    struct image_ref ref;
    struct error ignored;
    size_t n = 0;
    const char *last = "app";
    if (image_ref_parse(image, &ref, &ignored) == 0)
        last = strrchr(ref.path, '/') ? strrchr(ref.path, '/') + 1 : ref.path;
    for (const char *p = last; *p && n < DNS_LABEL_MAX; p++) {
        bool letter = *p >= 'a' && *p <= 'z';
        if (letter || (n && ((*p >= '0' && *p <= '9') || out[n - 1] != '-')))
            out[n++] = letter || (*p >= '0' && *p <= '9') ? *p : '-';
    }
    while (n && out[n - 1] == '-')
        n--;
    out[n] = 0;
    if (!n)
        (void)snprintf(out, DNS_LABEL_MAX + 1, "app");
}

/* Kept under a name of its own: a client's path leads nowhere on this machine. */
static bool kept_name(struct str path, char out[OUTPUT_PATH_MAX + 1]) {
    size_t n = 0;
    for (size_t i = 0; i < path.len; i++) {
        char c = path.p[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '_' || (c == '.' && n && out[n - 1] != '.');
        if (c == '/' && i == 0)
            continue;
        if (!ok && c != '/')
            return false;
        out[n++] = c == '/' ? '_' : c;
    }
    out[n] = 0;
    return n > 0;
}

void op_blue_scaffold(struct request *r) {
    struct blue_check c;
    struct error err;
    cleanup_json struct json *o = NULL;
    struct spinapp app = {.replicas = 1, .bare = true};
    struct str path = STR_NULL;
    char name[DNS_LABEL_MAX + 1], file[OUTPUT_PATH_MAX + 1];
    blue_check_init(&c);
    blue_body(&c, r, &o);
    blue_str(&c, o, "image_ref", JSON_REQUIRED, 0, IMAGE_REF_MAX_LEN, &app.image);
    blue_str(&c, o, "component", JSON_NULLABLE, 0, DNS_LABEL_MAX, &app.component);
    blue_int(&c, o, "replicas", 0, 1, REPLICAS_MAX, &app.replicas);
    blue_str(&c, o, "output_path", JSON_NULLABLE, 0, OUTPUT_PATH_MAX, &path);
    if (blue_refused(&c, r))
        return;
    blue_check_done(&c);
    if (!app.component.len)
        app.component = STR_NULL;
    struct scaffold *s = x_alloc(sizeof(*s));
    s->r = r;
    s->yaml = BUF_INIT(64 * KIB);
    r->state = s;
    r->free_state = scaffold_free;
    name_of_image(app.image, name);
    app.name = str_of(name);
    if (check_image(app.image, &err) < 0 || make_yaml(&app, &s->yaml, &err) < 0)
        scaffold_end(r, STR_NULL, NULL, err.text);
    else if (app.component.p && !is_label(app.component))
        scaffold_end(r, STR_NULL, NULL, "component must be small letters, digits and '-'");
    else if (!path.len)
        scaffold_end(r, buf_str(&s->yaml), NULL, NULL);
    else if (!kept_name(path, file))
        scaffold_end(r, STR_NULL, NULL,
                     "output_path must be letters, digits, '-', '_', '.' and '/', without '..'");
    else
        builder_keep(r->api->builder, r->loop, r->workspace, str_of(file), buf_str(&s->yaml),
                     on_kept, s);
}

/* ---- deploy ---- */

struct deploy_request {
    struct spinapp app;
    struct str app_name, function_id;
    const struct json *tolerations, *affinity;
    char name[DNS_LABEL_MAX + 1];
    struct buf tolerations_text, affinity_text;
};

struct deploying { /* r->state: what the answer says again */
    struct request *r;
    char name[DNS_LABEL_MAX + 1], namespace_[DNS_LABEL_MAX + 1];
    bool autoscaling, use_spot;
};

static void on_deployed(void *arg, const struct error *err, const struct deployed *x) {
    static const char *const words[] = {[SERVICE_FOUND] = "found",
                                        [SERVICE_PENDING] = "pending",
                                        [SERVICE_NOT_FOUND] = "not_found"};
    struct deploying *d = arg;
    if (err) {
        request_fail(d->r, err);
        return;
    }
    struct buf body = BUF_INIT(64 * KIB);
    struct json_w w;
    json_w_init(&w, &body);
    jw_begin_object(&w);
    jw_cstr_member(&w, "app_name", d->name);
    jw_cstr_member(&w, "namespace", d->namespace_);
    jw_cstr_member(&w, "service_name", x->service == SERVICE_FOUND ? d->name : NULL);
    jw_cstr_member(&w, "service_status", words[x->service]);
    jw_cstr_member(&w, "endpoint", x->endpoint[0] ? x->endpoint : NULL);
    jw_bool_member(&w, "enable_autoscaling", d->autoscaling);
    jw_bool_member(&w, "use_spot", d->use_spot);
    jw_cstr_member(&w, "error", x->error[0] ? x->error : NULL);
    jw_end_object(&w);
    request_written(d->r, 200, NULL, 0, &w, &body);
}

static void read_deploy(struct blue_check *c, const struct json *o, struct deploy_request *d) {
    struct spinapp *a = &d->app;
    blue_str(c, o, "app_name", JSON_NULLABLE, 0, TITLE_MAX_LEN, &d->app_name);
    blue_str(c, o, "namespace", JSON_REQUIRED, 0, 253, &a->namespace_);
    blue_str(c, o, "service_account", JSON_NULLABLE, 0, 253, &a->service_account);
    blue_str(c, o, "cpu_limit", JSON_NULLABLE, 0, 64, &a->cpu_limit);
    blue_str(c, o, "memory_limit", JSON_NULLABLE, 0, 64, &a->memory_limit);
    blue_str(c, o, "cpu_request", JSON_NULLABLE, 0, 64, &a->cpu_request);
    blue_str(c, o, "memory_request", JSON_NULLABLE, 0, 64, &a->memory_request);
    blue_str(c, o, "image_ref", JSON_REQUIRED, 0, IMAGE_REF_MAX_LEN, &a->image);
    blue_bool(c, o, "enable_autoscaling", 0, &a->autoscaling);
    blue_int(c, o, "replicas", 0, 1, REPLICAS_MAX, &a->replicas);
    blue_bool(c, o, "use_spot", 0, &a->use_spot);
    blue_list(c, o, "custom_tolerations", JSON_NULLABLE, BLUE_OBJECTS, &d->tolerations);
    blue_object(c, o, "custom_affinity", JSON_NULLABLE, &d->affinity);
    blue_str(c, o, "function_id", JSON_NULLABLE, 0, DNS_LABEL_MAX, &d->function_id);
}

/* A label's value: letters, digits, '-', '_', '.', first and last a letter or digit. */
static bool is_label_value(struct str s) {
    struct error ignored;
    char last = s.len ? s.p[s.len - 1] : 0;
    return check_name(s, "function_id", &ignored) == 0 && last != '-' && last != '_' && last != '.';
}

static int dump(const struct json *v, const char *field, struct buf *text, struct str *ret,
                struct error *err) {
    *text = BUF_INIT(DEPLOY_JSON_MAX);
    if (!v)
        return 0;
    if (json_dump(v, text) < 0)
        return error_field(err, ERR_TOO_LARGE, field, "%s is over 64 KiB", field);
    *ret = buf_str(text);
    return 0;
}

static int check_deploy(struct deploy_request *d, struct error *err) {
    struct spinapp *a = &d->app;
    if (!d->app_name.len)
        (void)snprintf(d->name, sizeof(d->name), "app%08x", (unsigned)rand_u64());
    else if (name_of_app(d->app_name, d->name, err) < 0)
        return -1;
    a->name = str_of(d->name);
    if (!is_label(a->namespace_))
        return error_field(err, ERR_INVALID, "namespace",
                           "namespace must be up to 63 small letters, digits and '-'");
    if (a->service_account.p && !is_label(a->service_account))
        return error_field(err, ERR_INVALID, "service_account",
                           "service_account must be small letters, digits and '-'");
    if (d->function_id.len && !is_label_value(d->function_id))
        return error_field(err, ERR_INVALID, "function_id",
                           "function_id must be letters, digits, '-', '_' and '.'");
    if (d->function_id.len)
        a->function_id = d->function_id;
    if (check_image(a->image, err) < 0 || check_resources(a, err) < 0 ||
        dump(d->tolerations, "custom_tolerations", &d->tolerations_text, &a->tolerations, err) < 0)
        return -1;
    return dump(d->affinity, "custom_affinity", &d->affinity_text, &a->affinity, err);
}

static void start_deploy(struct request *r, struct deploy_request *d) {
    struct deploying *x = x_alloc(sizeof(*x));
    x->r = r;
    (void)snprintf(x->name, sizeof(x->name), "%s", d->name);
    (void)snprintf(x->namespace_, sizeof(x->namespace_), "%.*s", STR_ARG(d->app.namespace_));
    x->autoscaling = d->app.autoscaling;
    x->use_spot = d->app.use_spot;
    r->state = x;
    r->free_state = free;
    builder_deploy(r->api->builder, r->loop, r->workspace, &d->app, on_deployed, x);
}

void op_blue_deploy(struct request *r) {
    struct deploy_request d = {.app = {.replicas = 1, .autoscaling = true, .use_spot = true}};
    struct blue_check c;
    struct error err;
    cleanup_json struct json *o = NULL;
    blue_check_init(&c);
    blue_body(&c, r, &o);
    read_deploy(&c, o, &d);
    if (blue_refused(&c, r))
        return;
    blue_check_done(&c);
    if (check_deploy(&d, &err) < 0)
        request_fail(r, &err);
    else
        start_deploy(r, &d);
    buf_done(&d.tolerations_text);
    buf_done(&d.affinity_text);
}
