/* SPDX-License-Identifier: Apache-2.0 */
#include "json/tree.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

/* A value that was reached. Its children are made as they are asked for and freed with the root. */
struct json {
    const struct json *parent; /* NULL: the root */
    const char *name;          /* the member's name (jansson's own), or NULL: an item */
    size_t index;              /* of an item */
    json_t *value;
    struct json_doc *doc;
    struct json *next; /* all values of the document, the root last */
};
struct json_doc {
    json_t *tree;
    struct json *values;
};

static const struct json *add_value(struct json_doc *doc, const struct json *parent,
                                    const char *name, size_t index, json_t *value) {
    struct json *v = x_alloc(sizeof(*v));
    *v = (struct json){parent, name, index, value, doc, doc->values};
    doc->values = v;
    return v;
}

/* ---- paths and errors ---- */

/* "spec.env[2].name" for V; what does not fit is cut. The root is "body". */
static void put_path(struct buf *out, const struct json *v) {
    char index[32];
    if (!v || !v->parent)
        return;
    put_path(out, v->parent);
    if (!v->name) {
        (void)snprintf(index, sizeof(index), "[%zu]", v->index);
        (void)buf_puts(out, index);
        return;
    }
    if (out->len)
        (void)buf_putc(out, '.');
    (void)buf_puts(out, v->name);
}

static int PRINTF_LIKE(4, 0) fail_at(const struct json *v, const char *member, struct error *err,
                                     const char *why, va_list ap) {
    cleanup_buf struct buf path = BUF_INIT(4 * KIB);
    char text[ERROR_TEXT_MAX];
    put_path(&path, v);
    if (member && path.len)
        (void)buf_putc(&path, '.');
    if (member)
        (void)buf_puts(&path, member);
    if (path.len == 0)
        (void)buf_puts(&path, "body");
    (void)vsnprintf(text, sizeof(text), why, ap);
    (void)error_field(err, ERR_INVALID, buf_cstr(&path), "\"%.200s\" %s", buf_cstr(&path), text);
    return -1;
}

int json_fail(const struct json *v, struct error *err, const char *why, ...) {
    va_list ap;
    va_start(ap, why);
    int r = fail_at(v, NULL, err, why, ap);
    va_end(ap);
    return r;
}

int json_fail_member(const struct json *obj, const char *name, struct error *err, const char *why,
                     ...) {
    va_list ap;
    va_start(ap, why);
    int r = fail_at(obj, name, err, why, ap);
    va_end(ap);
    return r;
}

static const char *const kind_names[] = {
    [JSON_KIND_NULL] = "null",       [JSON_KIND_BOOL] = "a boolean",
    [JSON_KIND_NUMBER] = "a number", [JSON_KIND_STRING] = "a string",
    [JSON_KIND_ARRAY] = "an array",  [JSON_KIND_OBJECT] = "an object",
};

static int wrong_kind(const struct json *v, const char *wanted, struct error *err) {
    (void)json_fail(v, err, "must be %s, not %s", wanted, kind_names[json_kind(v)]);
    return -1; /* said again for the analyzer, which does not look into variadic functions */
}

/* ---- parsing ---- */

/* jansson's message goes on with the text it stands near, which may be a secret, or with an option
 * that the client cannot set. */
static void cut_message(char *text) {
    static const char *const ends[] = {" near ", " without "};
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        char *end = strstr(text, ends[i]);
        if (end)
            *end = '\0';
    }
}

static int not_json(struct error *err, const char *why, int line, int column) {
    (void)error_field(err, ERR_INVALID, "body", "body is not valid JSON: %s at line %d column %d",
                      why, line, column);
    return -1;
}

/* What jansson is too kind to: it would go 2048 deep, over C's stack, and takes a NUL byte behind a
 * number for the end of the text. */
static int check_before(struct str text, struct error *err) {
    unsigned depth = 0;
    bool quoted = false;
    int line = 1, column = 1;
    for (size_t i = 0; i < text.len; i++, column++) {
        char c = text.p[i];
        if (c == '\0')
            return not_json(err, "NUL byte", line, column);
        if (quoted) {
            if (c == '\\' && i + 1 < text.len && text.p[i + 1])
                i++, column++;
            else if (c == '"')
                quoted = false;
        } else if (c == '"') {
            quoted = true;
        } else if ((c == '[' || c == '{') && ++depth > JSON_DEPTH_MAX) {
            return not_json(err, "nested too deep", line, column);
        } else if ((c == ']' || c == '}') && depth) {
            depth--;
        }
        if (c == '\n') {
            line++;
            column = 0;
        }
    }
    return 0;
}

int json_parse(struct str text, struct json **ret, struct error *err) {
    json_error_t fault;
    if (str_trim(text).len == 0) {
        (void)error_field(err, ERR_INVALID, "body", "body is not valid JSON: it is empty");
        return -1;
    }
    if (check_before(text, err) < 0)
        return -1;
    json_t *tree = json_loadb(text.p, text.len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &fault);
    if (!tree) {
        cut_message(fault.text);
        return not_json(err, fault.text, fault.line, fault.column);
    }
    struct json_doc *doc = x_alloc(sizeof(*doc));
    doc->tree = tree;
    (void)add_value(doc, NULL, NULL, 0, tree);
    *ret = doc->values;
    return 0;
}

int json_parse_object(struct str text, struct json **ret, struct error *err) {
    cleanup_json struct json *root = NULL;
    if (json_parse(text, &root, err) < 0)
        return -1;
    if (!json_is_object(root->value))
        return wrong_kind(root, "an object", err);
    *ret = TAKE_PTR(root);
    return 0;
}

void json_free(struct json *root) {
    if (!root)
        return;
    struct json_doc *doc = root->doc;
    json_decref(doc->tree);
    for (struct json *v = doc->values, *next; v; v = next) {
        next = v->next;
        free(v);
    }
    free(doc);
}

/* ---- values ---- */

enum json_kind json_kind(const struct json *v) {
    switch (json_typeof(v->value)) {
    case JSON_OBJECT:
        return JSON_KIND_OBJECT;
    case JSON_ARRAY:
        return JSON_KIND_ARRAY;
    case JSON_STRING:
        return JSON_KIND_STRING;
    case JSON_INTEGER:
    case JSON_REAL:
        return JSON_KIND_NUMBER;
    case JSON_TRUE:
    case JSON_FALSE:
        return JSON_KIND_BOOL;
    case JSON_NULL:
    default:
        return JSON_KIND_NULL;
    }
}

int json_as_str(const struct json *v, struct str *ret, struct error *err) {
    if (!json_is_string(v->value))
        return wrong_kind(v, "a string", err);
    *ret = str_n(json_string_value(v->value), json_string_length(v->value));
    return 0;
}

/* 3.0 and 3e2 are whole numbers too: clients in JavaScript know no other kind. */
static bool whole_number(const json_t *value, int64_t *ret) {
    if (json_is_integer(value)) {
        *ret = json_integer_value(value);
        return true;
    }
    double d = json_real_value(value);
    if (!json_is_real(value) || d < -9007199254740992.0 || d > 9007199254740992.0 || floor(d) < d)
        return false;
    *ret = (int64_t)d;
    return true;
}

int json_as_int(const struct json *v, int64_t min, int64_t max, int64_t *ret, struct error *err) {
    int64_t n;
    if (!json_is_number(v->value))
        return wrong_kind(v, "a whole number", err);
    if (!whole_number(v->value, &n))
        return json_fail(v, err, "must be a whole number");
    if (n < min || n > max)
        return json_fail(v, err, "must be from %lld to %lld", (long long)min, (long long)max);
    *ret = n;
    return 0;
}

size_t json_count(const struct json *v) {
    if (!v)
        return 0;
    return json_is_array(v->value) ? json_array_size(v->value) : json_object_size(v->value);
}

const struct json *json_item(const struct json *array, size_t i) {
    json_t *value = array ? json_array_get(array->value, i) : NULL;
    return value ? add_value(array->doc, array, NULL, i, value) : NULL;
}

bool json_next(const struct json *obj, struct json_walk *walk, struct str *ret_name,
               const struct json **ret) {
    if (!obj || (walk->begun && !walk->at))
        return false;
    walk->at =
        walk->begun ? json_object_iter_next(obj->value, walk->at) : json_object_iter(obj->value);
    walk->begun = true;
    if (!walk->at)
        return false;
    const char *name = json_object_iter_key(walk->at);
    *ret_name = str_n(name, json_object_iter_key_len(walk->at));
    *ret = add_value(obj->doc, obj, name, 0, json_object_iter_value(walk->at));
    return true;
}

int json_next_str(const struct json *obj, struct json_walk *walk, struct str *ret_name,
                  struct str *ret_value, struct error *err) {
    const struct json *v;
    struct str name;
    if (!json_next(obj, walk, &name, &v))
        return 0;
    if (json_as_str(v, ret_value, err) < 0)
        return -1;
    *ret_name = name;
    return 1;
}

/* jansson reports no reason, so the append keeps its own. */
struct dump {
    struct buf *out;
    int error;
};

static int dump_piece(const char *p, size_t n, void *data) {
    struct dump *dump = data;
    dump->error = buf_put(dump->out, p, n);
    return dump->error;
}

int json_dump(const struct json *v, struct buf *out) {
    struct dump dump = {.out = out};
    size_t before = out->len;
    if (json_dump_callback(v->value, dump_piece, &dump, JSON_COMPACT | JSON_ENCODE_ANY) == 0)
        return 0;
    out->len = before;
    return dump.error ? dump.error : -ENOMEM;
}

/* ---- members ---- */

bool json_has(const struct json *obj, const char *name) {
    return obj && json_object_get(obj->value, name) != NULL;
}

bool json_has_null(const struct json *obj, const char *name) {
    return obj && json_is_null(json_object_get(obj->value, name));
}

const struct json *json_member(const struct json *obj, const char *name) {
    void *at = obj ? json_object_iter_at(obj->value, name) : NULL;
    return at ? add_value(obj->doc, obj, json_object_iter_key(at), 0, json_object_iter_value(at))
              : NULL;
}

static bool is_empty(const struct json *v) {
    switch (json_kind(v)) {
    case JSON_KIND_STRING:
        return json_string_length(v->value) == 0;
    case JSON_KIND_ARRAY:
    case JSON_KIND_OBJECT:
        return json_count(v) == 0;
    default:
        return false;
    }
}

/* 1 and the member; 0 absent, as it may be; -1. */
static int member(const struct json *obj, const char *name, int flags, const struct json **ret,
                  struct error *err) {
    if (obj && !json_is_object(obj->value))
        return wrong_kind(obj, "an object", err);
    json_t *value = NULL;
    void *at = obj ? json_object_iter_at(obj->value, name) : NULL;
    if (at)
        value = json_object_iter_value(at);
    if (!value && !(flags & JSON_REQUIRED))
        return 0;
    if (!value) {
        (void)json_fail_member(obj, name, err, "is required");
        return -1;
    }
    if (json_is_null(value) && (flags & JSON_NULLABLE))
        return 0;
    const struct json *v = add_value(obj->doc, obj, json_object_iter_key(at), 0, value);
    if ((flags & JSON_NONEMPTY) && is_empty(v)) {
        (void)json_fail(v, err, "must not be empty");
        return -1;
    }
    *ret = v;
    return 1;
}

int json_get_str(const struct json *obj, const char *name, int flags, struct str *ret,
                 struct error *err) {
    const struct json *v;
    int r = member(obj, name, flags, &v, err);
    return r <= 0 ? r : json_as_str(v, ret, err);
}

int json_get_int(const struct json *obj, const char *name, int flags, int64_t min, int64_t max,
                 int64_t *ret, struct error *err) {
    const struct json *v;
    int r = member(obj, name, flags, &v, err);
    return r <= 0 ? r : json_as_int(v, min, max, ret, err);
}

int json_get_double(const struct json *obj, const char *name, int flags, double min, double max,
                    double *ret, struct error *err) {
    const struct json *v;
    int r = member(obj, name, flags, &v, err);
    if (r <= 0)
        return r;
    if (!json_is_number(v->value))
        return wrong_kind(v, "a number", err);
    double d = json_number_value(v->value);
    if (d < min || d > max)
        return json_fail(v, err, "must be from %g to %g", min, max);
    *ret = d;
    return 0;
}

int json_get_bool(const struct json *obj, const char *name, int flags, bool *ret,
                  struct error *err) {
    const struct json *v;
    int r = member(obj, name, flags, &v, err);
    if (r <= 0)
        return r;
    if (!json_is_boolean(v->value))
        return wrong_kind(v, "true or false", err);
    *ret = json_is_true(v->value);
    return 0;
}

static int get_kind(const struct json *obj, const char *name, int flags, enum json_kind kind,
                    const struct json **ret, struct error *err) {
    const struct json *v;
    int r = member(obj, name, flags, &v, err);
    if (r <= 0)
        return r;
    if (json_kind(v) != kind)
        return wrong_kind(v, kind_names[kind], err);
    *ret = v;
    return 0;
}

int json_get_object(const struct json *obj, const char *name, int flags, const struct json **ret,
                    struct error *err) {
    return get_kind(obj, name, flags, JSON_KIND_OBJECT, ret, err);
}

int json_get_array(const struct json *obj, const char *name, int flags, const struct json **ret,
                   struct error *err) {
    return get_kind(obj, name, flags, JSON_KIND_ARRAY, ret, err);
}

/* "must be one of a, b, c" */
static int not_one_of(const struct json *v, const char *const *names, struct error *err) {
    cleanup_buf struct buf list = BUF_INIT(ERROR_TEXT_MAX);
    for (size_t i = 0; names[i]; i++)
        (void)buf_printf(&list, "%s%s", i ? ", " : "", names[i]);
    return json_fail(v, err, "must be one of %s", buf_cstr(&list));
}

int json_get_enum(const struct json *obj, const char *name, int flags, const char *const *names,
                  int *ret, struct error *err) {
    const struct json *v;
    struct str s;
    int r = member(obj, name, flags, &v, err);
    if (r <= 0)
        return r;
    if (json_as_str(v, &s, err) < 0)
        return -1;
    for (int i = 0; names[i]; i++) {
        if (str_is(s, names[i])) {
            *ret = i;
            return 0;
        }
    }
    return not_one_of(v, names, err);
}
