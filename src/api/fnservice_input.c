/* SPDX-License-Identifier: Apache-2.0 */
#include "api/fnservice_input.h"
#include "invoke/invoke.h"
#include <errno.h>

#define TEXT_MAX (64 * KIB) /* one header or query value; method, path and content type */

struct members {
    struct json_member method, path, headers, query, body; /* key.p NULL: absent */
};

static int wrong(struct error *err, const char *field, const char *must) {
    return error_field(err, ERR_INVALID, field, "\"%s\" must be %s", field, must);
}

static int set_member(struct members *m, const struct json_member *v, struct error *err) {
    const struct {
        const char *name;
        enum json_kind kind;
        const char *must;
        struct json_member *to;
    } known[] = {
        {"method", JSON_KIND_STRING, "a string such as \"POST\"", &m->method},
        {"path", JSON_KIND_STRING, "a string that begins with '/'", &m->path},
        {"headers", JSON_KIND_OBJECT, "an object of lists of strings", &m->headers},
        {"query", JSON_KIND_OBJECT, "an object of lists of strings", &m->query},
        {"body", JSON_KIND_STRING, "base64 with its padding (RFC 4648)", &m->body},
    };
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (!json_key_is(v->key, known[i].name))
            continue;
        if (known[i].to->key.p)
            return wrong(err, known[i].name, "given once");
        if (v->kind == JSON_KIND_NULL)
            return 0;
        if (v->kind != known[i].kind)
            return wrong(err, known[i].name, known[i].must);
        *known[i].to = *v;
        return 0;
    }
    return 0;
}

static int split(struct str text, struct members *m, struct error *err) {
    struct json_members it;
    struct json_member v;
    int rc = json_members_open(&it, text);
    if (rc < 0)
        return error_set(err, ERR_INVALID, "Invalid request body: a JSON object is expected");
    while ((rc = json_members_next(&it, &v)) > 0) {
        if (set_member(m, &v, err) < 0)
            return -1;
    }
    if (rc < 0)
        return error_set(err, ERR_INVALID, "Invalid request body: not JSON at offset %zu", it.at);
    return 0;
}

/* Appends; B may move, so what it holds is looked at when all is in it. */
static int unescape(struct buf *b, const struct json_member *v, const char *field,
                    struct error *err) {
    if (v->key.p && json_unescape(json_inside(v->value), b) < 0)
        return wrong(err, field, "shorter");
    return 0;
}

static int read_line(struct fnservice_input *in, const struct members *m, struct error *err) {
    if (unescape(&in->text, &m->method, "method", err) < 0)
        return -1;
    size_t method_len = in->text.len;
    if (unescape(&in->text, &m->path, "path", err) < 0)
        return -1;
    const char *text = buf_cstr(&in->text); /* not NULL, where both are empty, too */
    in->method = m->method.key.p ? str_n(text, method_len) : STR("POST");
    in->path = m->path.key.p ? str_n(text + method_len, in->text.len - method_len) : STR("/");
    if (in->method.len > HTTP_METHOD_MAX || !http_is_token(in->method))
        return wrong(err, "method", "an HTTP method such as \"POST\"");
    if (in->path.len == 0 || in->path.len > HTTP_TARGET_MAX || in->path.p[0] != '/' ||
        !http_is_field_value(in->path))
        return wrong(err, "path", "text without control characters that begins with '/'");
    return 0;
}

/* Base64 has nothing to escape but '/', which some encoders write as "\/". */
static int read_body(struct fnservice_input *in, const struct json_member *v, struct error *err) {
    if (!v->key.p)
        return 0;
    struct str text = json_inside(v->value);
    cleanup_buf struct buf plain = BUF_INIT(text.len);
    if (memchr(text.p, '\\', text.len)) {
        if (json_unescape(text, &plain) < 0)
            return wrong(err, "body", "base64 with its padding (RFC 4648)");
        text = buf_str(&plain);
    }
    int rc = buf_put_base64_decoded(&in->body, text);
    if (rc == -EMSGSIZE)
        return error_field(err, ERR_TOO_LARGE, "body", "\"body\" is over the limit of %zu bytes",
                           in->body.max);
    if (rc < 0)
        return wrong(err, "body", "base64 with its padding (RFC 4648)");
    return 0;
}

/* ---- maps of strings or lists of strings ---- */

struct map_walk {
    const char *field;
    int (*each)(void *arg, struct str name, struct str value, struct error *err);
    void *arg;
    struct buf name, value; /* scratch */
};

static int map_value(struct map_walk *w, struct str escaped, struct error *err) {
    buf_clear(&w->value);
    if (json_unescape(escaped, &w->value) < 0)
        return error_field(err, ERR_INVALID, w->field, "\"%s\" has a value over %zu bytes",
                           w->field, (size_t)TEXT_MAX);
    return w->each(w->arg, buf_str(&w->name), buf_str(&w->value), err);
}

static const char *skip_blanks(const char *p) {
    return p + strspn(p, " \t\r\n");
}

/* The list's text has been checked and ends with ']', so that no look goes past its end. */
static int map_list(struct map_walk *w, struct str list, struct error *err) {
    const char *p = skip_blanks(list.p + 1);
    while (*p != ']') {
        if (*p != '"')
            return wrong(err, w->field, "an object of lists of strings");
        const char *begin = ++p;
        while (*p != '"')
            p += *p == '\\' ? 2 : 1;
        if (map_value(w, str_n(begin, (size_t)(p - begin)), err) < 0)
            return -1;
        p = skip_blanks(p + 1);
        if (*p == ',')
            p = skip_blanks(p + 1);
    }
    return 0;
}

static int map_each(struct map_walk *w, struct str map, struct error *err) {
    struct json_members it;
    struct json_member v;
    if (json_members_open(&it, map) < 0)
        return 0;
    while (json_members_next(&it, &v) > 0) {
        buf_clear(&w->name);
        if (json_unescape(v.key, &w->name) < 0)
            return wrong(err, w->field, "an object with shorter names");
        int rc = v.kind == JSON_KIND_STRING ? map_value(w, json_inside(v.value), err)
                 : v.kind == JSON_KIND_ARRAY
                     ? map_list(w, v.value, err)
                     : wrong(err, w->field, "an object of lists of strings");
        if (rc < 0)
            return -1;
    }
    return 0;
}

static int walk(struct str map, const char *field,
                int (*each)(void *arg, struct str name, struct str value, struct error *err),
                void *arg, struct error *err) {
    struct map_walk w = {.field = field,
                         .each = each,
                         .arg = arg,
                         .name = BUF_INIT(TEXT_MAX),
                         .value = BUF_INIT(TEXT_MAX)};
    int rc = map.p ? map_each(&w, map, err) : 0;
    buf_done(&w.name);
    buf_done(&w.value);
    return rc;
}

static int find_type(void *arg, struct str name, struct str value, struct error *err) {
    struct fnservice_input *in = arg;
    if (in->content_type.p || !str_ieq(name, STR("content-type")))
        return 0;
    if (buf_put(&in->type, value.p, value.len) < 0)
        return wrong(err, "headers", "shorter");
    in->content_type = str_n(buf_cstr(&in->type), value.len);
    return 0;
}

static int put_query(void *arg, struct str name, struct str value, struct error *err UNUSED) {
    engine_input_query(arg, name, value);
    return 0;
}

static int put_header(void *arg, struct str name, struct str value, struct error *err) {
    char lower[256];
    if (name.len > sizeof(lower) || !http_is_token(name))
        return wrong(err, "headers", "an object whose names are HTTP header names");
    if (!http_is_field_value(value))
        return wrong(err, "headers", "an object whose values have no control characters");
    for (size_t i = 0; i < name.len; i++)
        lower[i] = (char)(name.p[i] >= 'A' && name.p[i] <= 'Z' ? name.p[i] + 32 : name.p[i]);
    struct str key = str_n(lower, name.len);
    if (invoke_header_passes(key, INVOKE_PUBLIC))
        engine_input_header(arg, key, value);
    return 0;
}

int fnservice_input_read(struct fnservice_input *in, struct str text, size_t payload_max,
                         struct error *err) {
    struct members m = {0};
    buf_init(&in->body, payload_max);
    buf_init(&in->text, 2 * TEXT_MAX);
    buf_init(&in->type, TEXT_MAX);
    if (str_trim(text).len > 0 && split(text, &m, err) < 0)
        return -1;
    in->headers = m.headers.value;
    in->query = m.query.value;
    if (read_line(in, &m, err) < 0 || read_body(in, &m.body, err) < 0)
        return -1;
    return walk(in->headers, "headers", find_type, in, err);
}

int fnservice_input_pairs(const struct fnservice_input *in, struct engine_input *out,
                          struct error *err) {
    if (walk(in->query, "query", put_query, out, err) < 0)
        return -1;
    engine_input_headers(out);
    return walk(in->headers, "headers", put_header, out, err);
}

void fnservice_input_done(struct fnservice_input *in) {
    buf_done(&in->body);
    buf_done(&in->text);
    buf_done(&in->type);
}
