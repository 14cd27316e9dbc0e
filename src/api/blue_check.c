/* SPDX-License-Identifier: Apache-2.0 */
/* blue: what a request breaks of its model, in the words of pydantic v2. */

#include "api/blue.h"
#include "api/fields.h"
#include "base/clock.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#define INPUT_MAX (4 * KIB) /* of one "input"; a longer one is null */
#define ITEMS_MAX 100u      /* wrong things told of one request */

void blue_check_init(struct blue_check *c) {
    *c = (struct blue_check){.items = BUF_INIT(BLUE_CHECK_MAX)};
    json_w_init(&c->w, &c->items);
    jw_begin_array(&c->w);
}

void blue_check_done(struct blue_check *c) {
    buf_done(&c->items);
}

bool blue_refused(struct blue_check *c, struct request *r) {
    if (c->n == 0)
        return false;
    struct buf body = BUF_INIT(BLUE_CHECK_MAX + KIB);
    struct json_w w;
    jw_end_array(&c->w);
    json_w_init(&w, &body);
    jw_begin_object(&w);
    jw_raw_member(&w, "detail", buf_str(&c->items));
    jw_end_object(&w);
    blue_check_done(c);
    request_written(r, 422, NULL, 0, &w, &body);
    return true;
}

/* ---- one wrong thing ---- */

static bool is_secret(struct str name) {
    return str_is(name, "environmentVariables") || str_is(name, "password");
}

/* What was given, as it was; values that may be secrets are not said again, nor is what is long. */
static void write_input(struct json_w *w, const struct json *value, bool secret) {
    cleanup_buf struct buf text = BUF_INIT(INPUT_MAX);
    jw_key(w, "input");
    if (!value) {
        jw_null(w);
    } else if (secret) {
        jw_cstr(w, SECRET_MASK);
    } else if (json_kind(value) != JSON_KIND_OBJECT) {
        if (json_dump(value, &text) == 0)
            jw_raw(w, buf_str(&text));
        else
            jw_null(w);
    } else {
        struct json_walk walk = {0};
        struct str name;
        const struct json *v;
        jw_begin_object(w);
        while (json_next(value, &walk, &name, &v)) {
            buf_clear(&text);
            bool masked = is_secret(name) || json_dump(v, &text) < 0;
            if (text.len > INPUT_MAX / 4 || name.len > INPUT_MAX / 16)
                continue;
            jw_key_str(w, name);
            if (masked)
                jw_cstr(w, SECRET_MASK);
            else
                jw_raw(w, buf_str(&text));
        }
        jw_end_object(w);
    }
}

struct wrong {
    const char *where, *name, *type;
    struct str key; /* of a map; p NULL: none */
    long index;     /* of a list; -1: none */
    const struct json *value;
    bool secret;
    const char *limit; /* name of the bound in "ctx", or NULL */
    int64_t bound;
};

/* False where no more is told. The object is left open for the input. */
static bool begin(struct blue_check *c, const struct wrong *x, const char *msg) {
    struct json_w *w = &c->w;
    if (++c->n > ITEMS_MAX || c->items.len > BLUE_CHECK_MAX / 2)
        return false;
    jw_begin_object(w);
    jw_cstr_member(w, "type", x->type);
    jw_array_member(w, "loc");
    jw_cstr(w, x->where);
    if (x->name)
        jw_cstr(w, x->name);
    if (x->key.p)
        jw_str(w, x->key.len <= INPUT_MAX ? x->key : STR("…"));
    if (x->index >= 0)
        jw_int(w, x->index);
    jw_end_array(w);
    jw_cstr_member(w, "msg", msg);
    return true;
}

static void end(struct blue_check *c, const struct wrong *x) {
    if (x->limit) {
        jw_object_member(&c->w, "ctx");
        jw_key(&c->w, x->limit);
        jw_int(&c->w, x->bound);
        jw_end_object(&c->w);
    }
    jw_end_object(&c->w);
}

static void add(struct blue_check *c, const struct wrong *x, const char *msg) {
    if (!begin(c, x, msg))
        return;
    write_input(&c->w, x->value, x->secret);
    end(c, x);
}

#define MSG_MAX 512

void blue_wrong(struct blue_check *c, const char *where, const char *name, const struct json *value,
                const char *type, const char *msg, ...) {
    char text[MSG_MAX];
    va_list ap;
    va_start(ap, msg);
    (void)vsnprintf(text, sizeof(text), msg, ap);
    va_end(ap);
    struct wrong x = {.where = where, .name = name, .type = type, .index = -1, .value = value};
    x.secret = name && is_secret(str_of(name));
    add(c, &x, text);
}

void blue_wrong_text(struct blue_check *c, const char *where, const char *name, struct str value,
                     const char *type, const char *msg, ...) {
    char text[MSG_MAX];
    va_list ap;
    va_start(ap, msg);
    (void)vsnprintf(text, sizeof(text), msg, ap);
    va_end(ap);
    struct wrong x = {.where = where, .name = name, .type = type, .index = -1};
    if (!begin(c, &x, text))
        return;
    jw_key(&c->w, "input");
    if (!value.p || value.len > INPUT_MAX)
        jw_null(&c->w);
    else
        jw_str(&c->w, name && is_secret(str_of(name)) ? STR(SECRET_MASK) : value);
    end(c, &x);
}

/* ---- the body ---- */

void blue_no_json(struct blue_check *c, size_t at, const char *why) {
    struct wrong x = {.where = "body", .type = "json_invalid", .index = (long)at};
    if (!begin(c, &x, "JSON decode error"))
        return;
    jw_object_member(&c->w, "input");
    jw_end_object(&c->w);
    jw_object_member(&c->w, "ctx");
    jw_cstr_member(&c->w, "error", why);
    jw_end_object(&c->w);
    jw_end_object(&c->w);
}

void blue_body(struct blue_check *c, const struct request *r, struct json **ret) {
    struct error err;
    struct json *root = NULL;
    size_t at = 0;
    *ret = NULL;
    if (str_trim(r->call->body).len == 0) {
        blue_wrong(c, "body", NULL, NULL, "missing", "Field required");
    } else if (json_parse(r->call->body, &root, &err) < 0) {
        (void)json_check(r->call->body, &at);
        blue_no_json(c, at, err.text);
    } else if (json_kind(root) != JSON_KIND_OBJECT) {
        blue_wrong(c, "body", NULL, root, "model_attributes_type",
                   "Input should be a valid dictionary or object to extract fields from");
        json_free(root);
    } else {
        *ret = root;
    }
}

/* The member where there is something to look at, else NULL. */
static const struct json *take(struct blue_check *c, const struct json *o, const char *name,
                               int flags) {
    const struct json *v = json_member(o, name);
    if (!v && o && (flags & JSON_REQUIRED))
        blue_wrong(c, "body", name, o, "missing", "Field required");
    if (v && (flags & JSON_NULLABLE) && json_kind(v) == JSON_KIND_NULL)
        return NULL;
    return v;
}

static void bound(struct blue_check *c, const char *name, const struct json *value,
                  const char *type, const char *limit, int64_t at, const char *msg) {
    struct wrong x = {.where = "body",
                      .name = name,
                      .type = type,
                      .index = -1,
                      .value = value,
                      .secret = is_secret(str_of(name)),
                      .limit = limit,
                      .bound = at};
    add(c, &x, msg);
}

static size_t characters(struct str s) {
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++)
        n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
    return n;
}

void blue_str(struct blue_check *c, const struct json *o, const char *name, int flags,
              size_t min_len, size_t max_len, struct str *ret) {
    const struct json *v = take(c, o, name, flags);
    struct str s = STR_NULL;
    struct error ignored;
    char msg[MSG_MAX];
    if (!v)
        return;
    if (json_as_str(v, &s, &ignored) < 0) {
        blue_wrong(c, "body", name, v, "string_type", "Input should be a valid string");
        return;
    }
    size_t n = characters(s);
    if (n < min_len) {
        (void)snprintf(msg, sizeof(msg), "String should have at least %zu character%s", min_len,
                       min_len == 1 ? "" : "s");
        bound(c, name, v, "string_too_short", "min_length", (int64_t)min_len, msg);
    } else if (n > max_len) {
        (void)snprintf(msg, sizeof(msg), "String should have at most %zu characters", max_len);
        bound(c, name, v, "string_too_long", "max_length", (int64_t)max_len, msg);
    } else {
        *ret = s;
    }
}

void blue_int(struct blue_check *c, const struct json *o, const char *name, int flags, int64_t min,
              int64_t max, int64_t *ret) {
    const struct json *v = take(c, o, name, flags);
    struct error ignored;
    int64_t n = 0;
    char msg[MSG_MAX];
    if (!v)
        return;
    if (json_kind(v) != JSON_KIND_NUMBER) {
        blue_wrong(c, "body", name, v, "int_type", "Input should be a valid integer");
    } else if (json_as_int(v, INT64_MIN, INT64_MAX, &n, &ignored) < 0) {
        blue_wrong(c, "body", name, v, "int_from_float",
                   "Input should be a valid integer, got a number with a fractional part");
    } else if (n < min) {
        (void)snprintf(msg, sizeof(msg), "Input should be greater than or equal to %lld",
                       (long long)min);
        bound(c, name, v, "greater_than_equal", "ge", min, msg);
    } else if (n > max) {
        (void)snprintf(msg, sizeof(msg), "Input should be less than or equal to %lld",
                       (long long)max);
        bound(c, name, v, "less_than_equal", "le", max, msg);
    } else {
        *ret = n;
    }
}

void blue_bool(struct blue_check *c, const struct json *o, const char *name, int flags, bool *ret) {
    const struct json *v = take(c, o, name, flags);
    struct error ignored;
    if (!v)
        return;
    if (json_kind(v) != JSON_KIND_BOOL)
        blue_wrong(c, "body", name, v, "bool_type", "Input should be a valid boolean");
    else
        (void)json_get_bool(o, name, flags, ret, &ignored);
}

void blue_time(struct blue_check *c, const struct json *o, const char *name, int flags,
               int64_t *ret_us) {
    const struct json *v = take(c, o, name, flags);
    struct str s;
    struct error ignored;
    if (!v)
        return;
    if (json_as_str(v, &s, &ignored) < 0)
        blue_wrong(c, "body", name, v, "datetime_type", "Input should be a valid datetime");
    else if (clock_parse_rfc3339(s, ret_us) < 0)
        blue_wrong(c, "body", name, v, "datetime_parsing",
                   "Input should be a valid datetime, such as 2025-12-07T09:00:00+09:00");
}

static void add_item(struct blue_check *c, const char *name, long index, struct str key,
                     const struct json *v, const char *type, const char *msg) {
    struct wrong x = {.where = "body", .name = name, .type = type, .index = index, .key = key};
    x.value = v;
    x.secret = is_secret(str_of(name));
    add(c, &x, msg);
}

void blue_list(struct blue_check *c, const struct json *o, const char *name, int flags,
               enum blue_items items, const struct json **ret) {
    const struct json *v = take(c, o, name, flags);
    enum json_kind want = items == BLUE_STRINGS ? JSON_KIND_STRING : JSON_KIND_OBJECT;
    size_t before = c->n;
    if (!v)
        return;
    if (json_kind(v) != JSON_KIND_ARRAY) {
        blue_wrong(c, "body", name, v, "list_type", "Input should be a valid list");
        return;
    }
    for (size_t i = 0; i < json_count(v); i++) {
        const struct json *item = json_item(v, i);
        if (json_kind(item) == want)
            continue;
        if (items == BLUE_STRINGS)
            add_item(c, name, (long)i, STR_NULL, item, "string_type",
                     "Input should be a valid string");
        else
            add_item(c, name, (long)i, STR_NULL, item, "dict_type",
                     "Input should be a valid dictionary");
    }
    if (c->n == before)
        *ret = v;
}

void blue_object(struct blue_check *c, const struct json *o, const char *name, int flags,
                 const struct json **ret) {
    const struct json *v = take(c, o, name, flags);
    if (!v)
        return;
    if (json_kind(v) == JSON_KIND_OBJECT)
        *ret = v;
    else
        blue_wrong(c, "body", name, v, "dict_type", "Input should be a valid dictionary");
}

void blue_map(struct blue_check *c, const struct json *o, const char *name, int flags,
              const struct json **ret) {
    const struct json *map = NULL, *v;
    struct json_walk walk = {0};
    struct str key;
    size_t before = c->n;
    blue_object(c, o, name, flags, &map);
    while (map && json_next(map, &walk, &key, &v))
        if (json_kind(v) != JSON_KIND_STRING)
            add_item(c, name, -1, key, v, "string_type", "Input should be a valid string");
    if (map && c->n == before)
        *ret = map;
}

/* ---- the query ---- */

void blue_query_int(struct blue_check *c, struct request *r, const char *name, int64_t min,
                    int64_t max, int64_t *ret) {
    struct str text;
    struct error err;
    uint64_t n = 0;
    int rc = request_query(r, name, &text, &err);
    if (rc == 0)
        return;
    struct str digits = rc > 0 ? str_trim(text) : STR("");
    bool minus = digits.len > 1 && digits.p[0] == '-';
    int parsed = str_u64(minus ? str_n(digits.p + 1, digits.len - 1) : digits, INT64_MAX, &n);
    int64_t value = minus ? -(int64_t)n : (int64_t)n;
    if (rc < 0)
        blue_wrong_text(c, "query", name, STR_NULL, "int_parsing", "%s", err.text);
    else if (parsed == -EINVAL)
        blue_wrong_text(c, "query", name, text, "int_parsing",
                        "Input should be a valid integer, unable to parse string as an integer");
    else if (value < min || (parsed < 0 && minus))
        blue_wrong_text(c, "query", name, text, "greater_than_equal",
                        "Input should be greater than or equal to %lld", (long long)min);
    else if (value > max || parsed < 0)
        blue_wrong_text(c, "query", name, text, "less_than_equal",
                        "Input should be less than or equal to %lld", (long long)max);
    else
        *ret = value;
}
