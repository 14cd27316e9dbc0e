/* SPDX-License-Identifier: Apache-2.0 */
#include "image_runtime.h"

/* Lists of strings, and the environment that a call adds. */

void strings_add(struct strings *s, struct str text) {
    if (s->n % 64 == 0)
        s->v = x_realloc(s->v, (s->n + 64) * sizeof(s->v[0]));
    s->v[s->n++] = x_strndup(text.p ? text.p : "", text.len);
}

void strings_done(struct strings *s) {
    for (size_t i = 0; i < s->n; i++)
        free(s->v[i]);
    free(s->v);
    *s = (struct strings){0};
}

static bool has_name(const char *entry, struct str name) {
    return strncmp(entry, name.p, name.len) == 0 && entry[name.len] == '=';
}

void env_set(struct strings *env, struct str name, struct str value) {
    bool odd = name.len == 0 || memchr(name.p, '=', name.len) || memchr(name.p, 0, name.len) ||
               (value.len && memchr(value.p, 0, value.len));
    if (odd || name.len + value.len + 1 > IMAGE_ENV_STRING_MAX)
        return;
    cleanup_free char *entry = x_alloc(name.len + value.len + 2);
    memcpy(entry, name.p, name.len);
    entry[name.len] = '=';
    if (value.len)
        memcpy(entry + name.len + 1, value.p, value.len);
    for (size_t i = 0; i < env->n; i++)
        if (has_name(env->v[i], name)) {
            free(env->v[i]);
            env->v[i] = TAKE_PTR(entry);
            return;
        }
    if (env->n < IMAGE_ENV_MAX)
        strings_add(env, str_of(entry));
}

void env_copy(struct strings *to, const struct strings *from) {
    for (size_t i = 0; i < from->n; i++)
        strings_add(to, str_of(from->v[i]));
}

/* PREFIX and NAME in capitals, '-' and what cannot stand in a name as '_'. */
static void put_name(struct buf *out, const char *prefix, struct str name) {
    buf_clear(out);
    (void)buf_puts(out, prefix);
    for (size_t i = 0; i < name.len; i++) {
        char c = name.p[i];
        if (c >= 'a' && c <= 'z')
            c = (char)(c - 'a' + 'A');
        else if (!(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9'))
            c = '_';
        (void)buf_putc(out, c);
    }
}

/* Values of one name are joined by a space. */
static void env_join(struct strings *env, struct str name, struct str value) {
    cleanup_buf struct buf joined = BUF_INIT(IMAGE_ENV_STRING_MAX);
    for (size_t i = 0; i < env->n; i++)
        if (has_name(env->v[i], name)) {
            (void)buf_puts(&joined, env->v[i] + name.len + 1);
            (void)buf_putc(&joined, ' ');
        }
    if (buf_put_str(&joined, value) == 0)
        env_set(env, name, buf_str(&joined));
}

#define PARAM_PREFIX "x-kiln-param-"

bool header_is_ours(struct str name) {
    return str_is(name, "x-kiln-request-url") || str_starts(name, STR(PARAM_PREFIX));
}

void call_url(const struct call *c, struct buf *out) {
    struct str said = call_header(c, "x-kiln-request-url"), host = call_header(c, "host");
    if (said.p) {
        (void)buf_put_str(out, said);
        return;
    }
    if (host.len) {
        (void)buf_puts(out, "http://");
        (void)buf_put_str(out, host);
    }
    (void)buf_put_str(out, c->path);
}

/* Those of an image or a function that have the names are its own, and go. */
static void forget(struct strings *env, const char *prefix) {
    size_t kept = 0, len = strlen(prefix);
    for (size_t i = 0; i < env->n; i++) {
        if (strncmp(env->v[i], prefix, len) == 0)
            free(env->v[i]);
        else
            env->v[kept++] = env->v[i];
    }
    env->n = kept;
}

void call_env(const struct call *c, struct strings *env) {
    cleanup_buf struct buf name = BUF_INIT(KIB * 64), url = BUF_INIT(KIB * 64);
    forget(env, "HEADER_");
    forget(env, "PARAM_");
    call_url(c, &url);
    env_set(env, STR("METHOD"), c->method);
    env_set(env, STR("ROUTE"), c->path);
    env_set(env, STR("REQUEST_URL"), buf_str(&url));
    struct wire_in in = c->headers;
    for (uint32_t n = wire_get_u32(&in); n > 0; n--) {
        struct str key = wire_get_str(&in), value = wire_get_str(&in);
        if (str_starts(key, STR(PARAM_PREFIX))) {
            size_t skip = sizeof(PARAM_PREFIX) - 1;
            put_name(&name, "PARAM_", str_n(key.p + skip, key.len - skip));
            env_set(env, buf_str(&name), value);
        } else if (!header_is_ours(key)) {
            put_name(&name, "HEADER_", key);
            env_join(env, buf_str(&name), value);
        }
    }
}
