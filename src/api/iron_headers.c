/* SPDX-License-Identifier: Apache-2.0 */
/* iron: the reply headers of a route, as they are given and as they are sent. */

#include "api/iron.h"
#include "invoke/invoke.h"
#include "json/scan.h"

/* ---- in ---- */

/* Visible and plain in JSON too, so that they need no unescaping where they are sent. */
static bool header_ok(struct str name, struct str value) {
    if (!http_is_token(name) || !http_is_field_value(value) || !str_is_utf8(value))
        return false;
    for (size_t i = 0; i < value.len; i++)
        if ((unsigned char)value.p[i] < ' ')
            return false;
    return invoke_header_passes(name, INVOKE_PUBLIC);
}

static int bad_header(struct error *err) {
    return iron_fail(err, ERR_INVALID, "Invalid route Headers",
                     "a map of header names to lists of values, without those of a connection");
}

static int write_values(struct json_w *w, struct str name, const struct json *list,
                        struct error *err) {
    if (json_kind(list) != JSON_KIND_ARRAY)
        return bad_header(err);
    if (json_count(list) == 0)
        return 0;
    jw_key_str(w, name);
    jw_begin_array(w);
    for (size_t i = 0; i < json_count(list); i++) {
        struct str value = STR_NULL;
        if (json_as_str(json_item(list, i), &value, err) < 0 || !header_ok(name, value))
            return bad_header(err);
        jw_str(w, value);
    }
    jw_end_array(w);
    return 0;
}

/* Is NAME a member of OBJ, whatever its case? */
static bool has_header(const struct json *obj, struct str name) {
    struct json_walk walk = {0};
    const struct json *v;
    struct str other;
    while (json_next(obj, &walk, &other, &v))
        if (str_ieq(name, other))
            return true;
    return false;
}

/* Of OLD those that GIVEN does not name, then those of GIVEN that have a value. */
static int merge_headers(const struct json *old, const struct json *given, struct buf *out,
                         struct error *err) {
    struct json_walk walk = {0};
    const struct json *v;
    struct str name;
    struct json_w w;
    json_w_init(&w, out);
    jw_begin_object(&w);
    while (json_next(old, &walk, &name, &v))
        if (!has_header(given, name) && write_values(&w, name, v, err) < 0)
            return -1;
    walk = (struct json_walk){0};
    while (json_next(given, &walk, &name, &v))
        if (write_values(&w, name, v, err) < 0)
            return -1;
    jw_end_object(&w);
    if (json_w_done(&w) < 0)
        return iron_fail(err, ERR_INVALID, "Invalid route Headers", "too many of them");
    return 0;
}

int iron_read_headers(const struct json *o, struct function *f, struct error *err) {
    const struct json *given = NULL;
    cleanup_json struct json *old = NULL;
    cleanup_buf struct buf text = BUF_INIT(REPLY_HEADERS_MAX_LEN);
    if (json_get_object(o, "headers", JSON_NULLABLE, &given, err) < 0)
        return iron_invalid_json(err);
    if (!given)
        return 0;
    if (f->reply_headers && json_parse_object(str_of(f->reply_headers), &old, err) < 0)
        return -1;
    if (merge_headers(old, given, &text, err) < 0)
        return -1;
    free(f->reply_headers);
    f->reply_headers = text.len > 2 ? str_dup(buf_str(&text)) : NULL;
    return 0;
}

/* ---- out ---- */

/* The first string in ARRAY, compact JSON of ours: without its quotes, still escaped. */
static struct str first_string(struct str array) {
    if (array.len < 4 || array.p[1] != '"')
        return STR_NULL;
    size_t end = 2;
    while (end < array.len && array.p[end] != '"')
        end += array.p[end] == '\\' ? 2 : 1;
    return str_n(array.p + 2, end - 2);
}

/* What iron_read_headers() wrote: no escapes but those of '"' and '\\'. */
static struct str without_escapes(struct str s, struct arena *a) {
    if (!memchr(s.p, '\\', s.len))
        return s;
    char *out = arena_alloc(a, s.len);
    size_t n = 0;
    for (size_t i = 0; out && i < s.len; i++) {
        i += s.p[i] == '\\' && i + 1 < s.len;
        out[n++] = s.p[i];
    }
    return str_n(out, n);
}

size_t iron_reply_headers(const struct function *f, struct arena *a, struct http_header *out,
                          size_t max) {
    struct json_members it;
    struct json_member m;
    size_t n = 0;
    if (!f->reply_headers || json_members_open(&it, str_of(f->reply_headers)) < 0)
        return 0;
    while (n < max && json_members_next(&it, &m) > 0) {
        struct str value = first_string(m.value);
        if (value.p)
            out[n++] = (struct http_header){m.key, without_escapes(value, a)};
    }
    return n;
}
