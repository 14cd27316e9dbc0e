/* SPDX-License-Identifier: Apache-2.0 */
#include "json/yaml_text.h"

#include <yaml.h>

#include "json/write.h"

/* ---- reading ---- */
struct reading {
    yaml_parser_t parser;
    struct json_w w;
    struct error *err;
    /* Of each open collection: is it a mapping, and is a key next? */
    bool mapping[YAML_DEPTH_MAX], key_next[YAML_DEPTH_MAX];
    unsigned depth, documents;
};

static int refuse(struct reading *r, const yaml_mark_t *at, const char *what) {
    return error_set(r->err, ERR_INVALID, "line %zu: %s", at->line + 1, what);
}

static bool is_null(const yaml_event_t *e) {
    struct str s = str_n(e->data.scalar.value, e->data.scalar.length);
    return e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (s.len == 0 || str_is(s, "~") || str_is(s, "null"));
}

static bool wants_key(const struct reading *r) {
    return r->depth && r->mapping[r->depth - 1] && r->key_next[r->depth - 1];
}

static void value_done(struct reading *r) {
    if (r->depth && r->mapping[r->depth - 1])
        r->key_next[r->depth - 1] = true;
}

static int scalar(struct reading *r, const yaml_event_t *e) {
    if (e->data.scalar.anchor || e->data.scalar.tag)
        return refuse(r, &e->start_mark, "anchors and tags are not read");
    struct str s = str_n(e->data.scalar.value, e->data.scalar.length);
    if (wants_key(r)) {
        jw_key_str(&r->w, s);
        r->key_next[r->depth - 1] = false;
        return 0;
    }
    if (is_null(e))
        jw_null(&r->w);
    else
        jw_str(&r->w, s);
    value_done(r);
    return 0;
}

static int open_one(struct reading *r, const yaml_event_t *e, bool mapping) {
    bool marked = mapping ? e->data.mapping_start.anchor || e->data.mapping_start.tag
                          : e->data.sequence_start.anchor || e->data.sequence_start.tag;
    if (marked)
        return refuse(r, &e->start_mark, "anchors and tags are not read");
    if (wants_key(r))
        return refuse(r, &e->start_mark, "a key must be a word");
    if (r->depth == YAML_DEPTH_MAX)
        return refuse(r, &e->start_mark, "nested too deep");
    r->mapping[r->depth] = mapping;
    r->key_next[r->depth] = mapping;
    r->depth++;
    if (mapping)
        jw_begin_object(&r->w);
    else
        jw_begin_array(&r->w);
    return 0;
}

static void close_one(struct reading *r) {
    if (r->mapping[--r->depth])
        jw_end_object(&r->w);
    else
        jw_end_array(&r->w);
    value_done(r);
}

static int take_event(struct reading *r, const yaml_event_t *e) {
    switch (e->type) {
    case YAML_DOCUMENT_START_EVENT:
        return r->documents++ ? refuse(r, &e->start_mark, "more than one document") : 0;
    case YAML_ALIAS_EVENT:
        return refuse(r, &e->start_mark, "aliases are not read");
    case YAML_SCALAR_EVENT:
        return scalar(r, e);
    case YAML_SEQUENCE_START_EVENT:
        return open_one(r, e, false);
    case YAML_MAPPING_START_EVENT:
        return open_one(r, e, true);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        close_one(r);
        return 0;
    default:
        return 0;
    }
}

int yaml_to_json(struct str yaml, struct buf *out, struct error *err) {
    struct reading r = {.err = err};
    bool end = false;
    int rc = 0;
    if (yaml.len > YAML_MAX)
        return error_set(err, ERR_TOO_LARGE, "it is over 1 MiB");
    json_w_init(&r.w, out);
    if (!yaml_parser_initialize(&r.parser))
        abort();
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)(yaml.p ? yaml.p : ""),
                                 yaml.len);
    while (rc == 0 && !end) {
        yaml_event_t e;
        if (!yaml_parser_parse(&r.parser, &e)) {
            rc = refuse(&r, &r.parser.problem_mark, "it is no YAML");
            break;
        }
        rc = take_event(&r, &e);
        end = e.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&e);
    }
    yaml_parser_delete(&r.parser);
    if (rc == 0 && !r.documents)
        rc = error_set(err, ERR_INVALID, "it is empty");
    if (rc == 0 && json_w_done(&r.w) < 0)
        rc = error_set(err, ERR_TOO_LARGE, "it is too long");
    return rc;
}

/* ---- writing ---- */
static int to_buf(void *arg, unsigned char *p, size_t n) {
    return buf_put(arg, p, n) == 0;
}

/* Plain where no reader can take it for anything but this string. */
static bool plain_is_safe(struct str s) {
    static const char *const words[] = {"true", "false", "yes", "no", "on", "off",
                                        "null", "nan",   "inf", "y",  "n"};
    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): not empty */
    if (s.len == 0 || !((s.p[0] >= 'a' && s.p[0] <= 'z') || (s.p[0] >= 'A' && s.p[0] <= 'Z')))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (str_ieq(s, str_of(words[i])))
            return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.p[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '.' || c == '/' || c == '-' || c == '_';
        bool colon_inside = c == ':' && i + 1 < s.len; /* "host:5000/x:tag" */
        if (!ok && !colon_inside)
            return false;
    }
    return true;
}

static int emit(yaml_emitter_t *em, yaml_event_t *e, int made) {
    return made && yaml_emitter_emit(em, e) ? 0 : -1;
}

static int emit_scalar(yaml_emitter_t *em, struct str s, bool plain) {
    yaml_event_t e;
    return emit(em, &e,
                yaml_scalar_event_initialize(
                    &e, NULL, NULL, (const unsigned char *)s.p, (int)s.len, plain, 1,
                    plain ? YAML_PLAIN_SCALAR_STYLE : YAML_DOUBLE_QUOTED_SCALAR_STYLE));
}

static int emit_string(yaml_emitter_t *em, struct str s) {
    return emit_scalar(em, s.p ? s : STR(""), plain_is_safe(s));
}

static int emit_value(yaml_emitter_t *em, const struct json *v, unsigned depth);

static int emit_members(yaml_emitter_t *em, const struct json *v, unsigned depth) {
    struct json_walk walk = {0};
    struct str name;
    const struct json *member;
    while (json_next(v, &walk, &name, &member))
        if (emit_string(em, name) < 0 || emit_value(em, member, depth + 1) < 0)
            return -1;
    return 0;
}

static int emit_value(yaml_emitter_t *em, const struct json *v, unsigned depth) {
    yaml_event_t e;
    struct str s;
    struct error ignored;
    if (depth > YAML_DEPTH_MAX)
        return -1;
    if (json_kind(v) == JSON_KIND_OBJECT) {
        yaml_mapping_style_t style =
            json_count(v) ? YAML_BLOCK_MAPPING_STYLE : YAML_FLOW_MAPPING_STYLE;
        if (emit(em, &e, yaml_mapping_start_event_initialize(&e, NULL, NULL, 1, style)) < 0 ||
            emit_members(em, v, depth) < 0)
            return -1;
        return emit(em, &e, yaml_mapping_end_event_initialize(&e));
    }
    if (json_kind(v) == JSON_KIND_ARRAY) {
        if (emit(em, &e,
                 yaml_sequence_start_event_initialize(&e, NULL, NULL, 1,
                                                      YAML_BLOCK_SEQUENCE_STYLE)) < 0)
            return -1;
        for (size_t i = 0; i < json_count(v); i++)
            if (emit_value(em, json_item(v, i), depth + 1) < 0)
                return -1;
        return emit(em, &e, yaml_sequence_end_event_initialize(&e));
    }
    if (json_as_str(v, &s, &ignored) == 0)
        return emit_string(em, s);
    cleanup_buf struct buf text = BUF_INIT(64); /* a number, true, false, null: the same in YAML */
    return json_dump(v, &text) < 0 ? -1 : emit_scalar(em, buf_str(&text), true);
}

int yaml_from_json(const struct json *v, struct buf *out, struct error *err) {
    yaml_emitter_t em;
    yaml_event_t e;
    if (!yaml_emitter_initialize(&em))
        abort();
    yaml_emitter_set_output(&em, to_buf, out);
    yaml_emitter_set_unicode(&em, 1);
    yaml_emitter_set_width(&em, -1);
    bool ok = emit(&em, &e, yaml_stream_start_event_initialize(&e, YAML_UTF8_ENCODING)) == 0 &&
              emit(&em, &e, yaml_document_start_event_initialize(&e, NULL, NULL, NULL, 1)) == 0 &&
              emit_value(&em, v, 0) == 0 &&
              emit(&em, &e, yaml_document_end_event_initialize(&e, 1)) == 0 &&
              emit(&em, &e, yaml_stream_end_event_initialize(&e)) == 0;
    yaml_emitter_delete(&em);
    return ok ? 0 : error_set(err, ERR_TOO_LARGE, "the document is too long");
}
