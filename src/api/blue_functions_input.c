/* SPDX-License-Identifier: Apache-2.0 */
/* blue: what bodies say of functions. */

#include "api/blue_functions.h"
#include "api/fields.h"
#include <ctype.h>
#include <errno.h>
#include <stdio.h>

#define STATUS_MAX   63
#define MEMORY_LEAST 128
#define MEMORY_MOST  1024
#define TIMEOUT_MOST (TIMEOUT_MS_MAX / 1000)

static int method_of(struct str s) {
    for (size_t i = 0; i < BLUE_METHODS_N; i++)
        if (str_ieq(s, str_of(blue_methods[i])))
            return (int)i;
    return -1;
}

static void read_methods(struct blue_check *c, const struct json *o, int flags,
                         struct blue_given *g) {
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
                       struct blue_given *g) {
    *g = (struct blue_given){.memory = -1, .timeout = -1};
    blue_str(c, o, "name", required | nullable, 1, TITLE_MAX_LEN, &g->name);
    blue_str(c, o, "description", JSON_NULLABLE, 0, DESCRIPTION_MAX, &g->description);
    blue_str(c, o, "runtime", nullable, 0, RUNTIME_MAX_LEN, &g->runtime);
    blue_int(c, o, "memory", nullable, MEMORY_LEAST, MEMORY_MOST, &g->memory);
    blue_int(c, o, "timeout", nullable, 1, TIMEOUT_MOST, &g->timeout);
    read_methods(c, o, nullable, g);
    blue_map(c, o, "environmentVariables", nullable, &g->env);
    blue_str(c, o, "code", required | nullable, 0, SIZE_MAX, &g->code);
}

static void read_given_later(struct blue_check *c, const struct json *o, struct blue_given *g) {
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
    bool has[BLUE_METHODS_N] = {false};
    struct error ignored;
    struct str s = STR_NULL;
    struct buf text = BUF_INIT(METHODS_MAX_LEN);
    for (size_t i = 0; i < json_count(list); i++)
        if (json_as_str(json_item(list, i), &s, &ignored) == 0 && method_of(s) >= 0)
            has[method_of(s)] = true;
    for (size_t i = 0; i < BLUE_METHODS_N; i++)
        if (has[i])
            (void)buf_printf(&text, "%s%s", text.len ? "," : "", blue_methods[i]);
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
int blue_given_apply(const struct request *r, const struct json *o, const struct blue_given *g,
                     struct function *f, struct error *err) {
    char deployed[24];
    bool image = f->kind == RUNTIME_IMAGE;
    if ((g->name.p && function_set_title(f, g->name, "name", err) < 0) ||
        (g->runtime.p && fields_runtime(o, "runtime", JSON_NULLABLE, f, err) < 0) ||
        (g->memory >= 0 && set_memory(r, f, g->memory, err) < 0) ||
        (g->env && fields_environment(o, "environmentVariables", &f->env, err) < 0))
        return -1;
    if (f->kind == RUNTIME_IMAGE && (g->code.p || g->runtime.p))
        return error_field(err, ERR_INVALID_RUNTIME, "runtime",
                           "runtime must be a language that code is written in");
    if (image && g->runtime.p && !g->code.p)
        return error_field(err, ERR_INVALID, "code",
                           "the function is an image: to make it one of code, give both runtime "
                           "and code");
    if (g->code.p && (!f->handler || !f->handler[0]))
        field_set(&f->handler, STR(BLUE_HANDLER));
    if (g->timeout >= 0)
        f->timeout_ms = (uint32_t)g->timeout * 1000;
    if (g->methods)
        set_methods(f, g->methods);
    if (g->description.p)
        annotate(f, BLUE_DESCRIPTION, g->description);
    if (g->url.p)
        annotate(f, BLUE_URL, g->url.len ? g->url : STR_NULL);
    if (g->status.p)
        annotate(f, BLUE_STATUS, str_is(g->status, "active") ? STR_NULL : g->status);
    if (g->deployed_us) {
        (void)snprintf(deployed, sizeof(deployed), "%lld", (long long)g->deployed_us);
        annotate(f, BLUE_DEPLOYED, str_of(deployed));
    }
    return 0;
}

/* Base64 as Python's decoder takes it: line breaks and blanks in it are nothing. */
int blue_given_code(const struct blue_given *g, struct buf *out, struct error *err) {
    struct str text = g->code;
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

int blue_given_read(struct request *r, bool patch, struct json **o, struct blue_given *g) {
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
