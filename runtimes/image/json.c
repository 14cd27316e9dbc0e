/* SPDX-License-Identifier: Apache-2.0 */
#include "image_runtime.h"

/* Format "json": one object a call and one an answer (fnproject's protocol of 2018). */

#include "base/clock.h"
#include "json/scan.h"
#include "json/write.h"

#include <errno.h>

/* ---- request ---- */

/* A member for each name with the list of all its values. */
static void put_headers(struct json_w *w, const struct call *c) {
    struct wire_in in = c->headers;
    jw_object_member(w, "headers");
    uint32_t n = wire_get_u32(&in);
    cleanup_free struct str *pairs = x_calloc(2 * (size_t)n + 2, sizeof(*pairs));
    for (uint32_t i = 0; i < 2 * n; i++)
        pairs[i] = wire_get_str(&in);
    for (uint32_t i = 0; i < n; i++) {
        struct str name = pairs[2 * (size_t)i];
        if (!name.p || header_is_ours(name))
            continue;
        jw_key_str(w, name);
        jw_begin_array(w);
        for (uint32_t j = i; j < n; j++)
            if (pairs[2 * (size_t)j].p && str_eq(pairs[2 * (size_t)j], name)) {
                jw_str(w, pairs[2 * (size_t)j + 1]);
                if (j > i)
                    pairs[2 * (size_t)j].p = NULL;
            }
        jw_end_array(w);
    }
    jw_end_object(w);
}

int json_request(const struct call *c, struct buf *out) {
    cleanup_buf struct buf url = BUF_INIT(64 * KIB);
    char deadline[RFC3339_MAX];
    struct json_w w;
    call_url(c, &url);
    json_w_init(&w, out);
    jw_begin_object(&w);
    jw_str_member(&w, "call_id", c->id);
    struct str type = call_header(c, "content-type");
    jw_str_member(&w, "content_type", type.p ? type : STR(""));
    jw_cstr_member(&w, "deadline",
                   clock_rfc3339(clock_real_us() + (int64_t)c->deadline_ms * 1000, deadline));
    jw_str_member(&w, "body", c->body);
    jw_object_member(&w, "protocol");
    jw_cstr_member(&w, "type", "http");
    jw_str_member(&w, "method", c->method);
    jw_str_member(&w, "request_url", buf_str(&url));
    put_headers(&w, c);
    jw_end_object(&w);
    jw_end_object(&w);
    int r = json_w_done(&w);
    return r < 0 ? r : buf_putc(out, '\n');
}

/* ---- answer ---- */

/* Length of the object that TEXT begins with, 0 when its end has not come. */
static size_t object_len(struct str text, struct progress *p) {
    size_t i = p->at;
    for (; i < text.len; i++) {
        char ch = text.p[i];
        if (p->in_string) {
            if (ch == '\\')
                i++;
            else if (ch == '"')
                p->in_string = false;
        } else if (ch == '"') {
            p->in_string = true;
        } else if (ch == '{' || ch == '[') {
            p->depth++;
        } else if ((ch == '}' || ch == ']') && --p->depth == 0) {
            return i + 1;
        }
    }
    p->at = i; /* may be beyond TEXT: behind a backslash that ends it */
    return 0;
}

static int get_string(const struct json_member *m, struct buf *out) {
    return m->kind == JSON_KIND_STRING ? json_unescape(json_inside(m->value), out) : -EINVAL;
}

static int read_header(const struct json_member *m, struct result *r) {
    cleanup_buf struct buf name = BUF_INIT(IMAGE_HEAD_MAX), value = BUF_INIT(IMAGE_HEAD_MAX);
    if (json_unescape(m->key, &name) < 0)
        return -EBADMSG;
    struct str text = m->value;
    if (m->kind == JSON_KIND_ARRAY) { /* its first: a string, or nothing */
        text = str_trim(str_n(text.p + 1, text.len - 2));
        if (!text.len)
            return 0;
        if (text.p[0] != '"')
            return -EBADMSG;
        for (size_t i = 1; i < text.len; i++) {
            if (text.p[i] == '\\')
                i++;
            else if (text.p[i] == '"')
                text.len = i + 1;
        }
    } else if (m->kind != JSON_KIND_STRING) {
        return -EBADMSG;
    }
    if (json_unescape(json_inside(text), &value) < 0)
        return -EBADMSG;
    result_header(r, buf_str(&name), buf_str(&value));
    return 0;
}

static int read_protocol(struct str text, struct result *r) {
    struct json_members it, headers;
    struct json_member m, h;
    if (json_members_open(&it, text) < 0)
        return -EBADMSG;
    while (json_members_next(&it, &m) > 0) {
        if (json_key_is(m.key, "status_code")) {
            uint64_t status;
            if (m.kind != JSON_KIND_NUMBER || str_u64(m.value, 599, &status) < 0)
                return -EBADMSG;
            if (status && status < 100)
                return -EBADMSG;
            r->status = status ? (uint16_t)status : 200;
        } else if (json_key_is(m.key, "headers") && m.kind == JSON_KIND_OBJECT) {
            if (json_members_open(&headers, m.value) < 0)
                return -EBADMSG;
            while (json_members_next(&headers, &h) > 0)
                if (read_header(&h, r) < 0)
                    return -EBADMSG;
        }
    }
    return 0;
}

static int read_member(const struct json_member *m, struct result *r, struct buf *body) {
    if (json_key_is(m->key, "body")) {
        buf_clear(body);
        if (m->kind == JSON_KIND_NULL)
            return 0;
        return m->kind == JSON_KIND_STRING ? get_string(m, body) : buf_put_str(body, m->value);
    }
    if (json_key_is(m->key, "content_type") && m->kind == JSON_KIND_STRING) {
        cleanup_buf struct buf type = BUF_INIT(KIB);
        if (get_string(m, &type) < 0)
            return -EBADMSG;
        if (type.len)
            result_header(r, STR("content-type"), buf_str(&type));
        r->is_json = str_starts(buf_str(&type), STR("application/json"));
        return 0;
    }
    if (json_key_is(m->key, "protocol") && m->kind == JSON_KIND_OBJECT)
        return read_protocol(m->value, r);
    return 0;
}

ssize_t json_answer(struct str text, struct progress *p, struct result *r, struct buf *body,
                    const char **ret_why) {
    size_t skip = 0;
    *ret_why = "the container's answer is no JSON object {body, content_type, protocol}";
    while (skip < text.len && memchr(" \t\r\n", text.p[skip], 4))
        skip++;
    if (skip == text.len)
        return 0;
    text = str_n(text.p + skip, text.len - skip);
    if (text.p[0] != '{')
        return -EBADMSG;
    size_t len = object_len(text, p);
    if (!len)
        return 0;
    struct json_members it;
    struct json_member m;
    int more = json_members_open(&it, str_n(text.p, len));
    r->wrapped = true;
    while (more >= 0 && (more = json_members_next(&it, &m)) > 0)
        if (read_member(&m, r, body) < 0)
            return -EBADMSG;
    if (more < 0)
        return -EBADMSG;
    r->body = buf_str(body);
    return (ssize_t)(skip + len);
}
