/* SPDX-License-Identifier: Apache-2.0 */
#include "http/multipart.h"

#include <errno.h>

#include "http/chars.h"

/* ---- parameters of a header: ; name=token or ; name="quoted" ---- */
struct parameter {
    struct str name;
    char value[MULTIPART_NAME_MAX + 1];
    size_t len;
};

static void skip_blanks(struct str *s) {
    while (s->len && (*s->p == ' ' || *s->p == '\t'))
        *s = str_n(s->p + 1, s->len - 1);
}

static struct str take_token(struct str *s) {
    size_t n = 0;
    while (n < s->len && http_char_is(s->p[n], CHAR_TOKEN))
        n++;
    struct str token = str_n(s->p, n);
    *s = str_n(s->p + n, s->len - n);
    return token;
}

static int add_byte(struct parameter *p, char c) {
    if (p->len >= MULTIPART_NAME_MAX || (unsigned char)c < 0x20 || c == 0x7f)
        return -EINVAL;
    p->value[p->len++] = c;
    p->value[p->len] = 0;
    return 0;
}

/* Behind the opening quote. A backslash hides a quote or a backslash, as curl writes them. */
static int take_quoted(struct str *s, struct parameter *p) {
    for (size_t i = 0; i < s->len; i++) {
        char c = s->p[i];
        if (c == '"') {
            *s = str_n(s->p + i + 1, s->len - i - 1);
            return 0;
        }
        if (c == '\\' && i + 1 < s->len && (s->p[i + 1] == '"' || s->p[i + 1] == '\\'))
            c = s->p[++i];
        if (add_byte(p, c) < 0)
            return -EINVAL;
    }
    return -EINVAL;
}

/* 1 a parameter, 0 the end, -EINVAL. */
static int next_parameter(struct str *s, struct parameter *ret) {
    *ret = (struct parameter){0};
    skip_blanks(s);
    if (s->len == 0)
        return 0;
    if (*s->p != ';')
        return -EINVAL;
    *s = str_n(s->p + 1, s->len - 1);
    skip_blanks(s);
    ret->name = take_token(s);
    if (ret->name.len == 0 || s->len == 0 || *s->p != '=')
        return -EINVAL;
    *s = str_n(s->p + 1, s->len - 1);
    if (s->len && *s->p == '"') {
        *s = str_n(s->p + 1, s->len - 1);
        return take_quoted(s, ret) < 0 ? -EINVAL : 1;
    }
    struct str token = take_token(s);
    for (size_t i = 0; i < token.len; i++)
        if (add_byte(ret, token.p[i]) < 0)
            return -EINVAL;
    return token.len ? 1 : -EINVAL;
}

/* ---- the boundary ---- */
static bool boundary_ok(const struct parameter *p) {
    static const char more[] = "'()+_,-./:=? ";
    if (p->len == 0 || p->len > MULTIPART_BOUNDARY_MAX || p->value[p->len - 1] == ' ')
        return false;
    for (size_t i = 0; i < p->len; i++) {
        char c = p->value[i];
        bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!plain && !strchr(more, c))
            return false;
    }
    return true;
}

static int find_boundary(struct multipart *m, struct str rest) {
    struct parameter p;
    int r;
    bool found = false;
    while ((r = next_parameter(&rest, &p)) > 0) {
        if (!str_ieq(p.name, STR("boundary")))
            continue;
        if (found || !boundary_ok(&p))
            return -EINVAL;
        found = true;
        memcpy(m->delimiter, "\r\n--", 4);
        memcpy(m->delimiter + 4, p.value, p.len);
        m->delimiter_len = 4 + p.len;
    }
    return r < 0 || !found ? -EINVAL : 0;
}

static struct str from(struct str s, size_t n) {
    return str_n(s.p + n, s.len - n);
}

/* What stands behind a boundary: "--" ends it all, else blanks and the end of the line. */
static int after_delimiter(struct multipart *m, struct str rest) {
    if (str_starts(rest, STR("--"))) {
        m->ended = true;
        return 0;
    }
    skip_blanks(&rest);
    if (!str_starts(rest, STR("\r\n")))
        return -EINVAL;
    m->rest = from(rest, 2);
    return 0;
}

int multipart_open(struct multipart *m, struct str content_type, struct str body) {
    *m = (struct multipart){0};
    struct str rest = content_type;
    const char *semicolon = content_type.len ? memchr(rest.p, ';', rest.len) : NULL;
    struct str type = semicolon ? str_n(rest.p, (size_t)(semicolon - rest.p)) : rest;
    if (!str_ieq(str_trim(type), STR("multipart/form-data")))
        return -ENOTSUP;
    if (find_boundary(m, from(rest, type.len)) < 0)
        return -EINVAL;
    struct str first = str_n(m->delimiter + 2, m->delimiter_len - 2); /* no line before it */
    if (!str_starts(body, first))
        return -EINVAL;
    return after_delimiter(m, from(body, first.len));
}

/* ---- a part ---- */
/* Percent-encoded UTF-8 behind "utf-8'language'" (RFC 8187): what some send for names that are not
 * ASCII. */
static int take_extended(const struct parameter *p, char out[MULTIPART_NAME_MAX + 1]) {
    struct str rest = str_n(p->value, p->len);
    if (!str_ieq(str_cut(&rest, '\''), STR("utf-8")) || !rest.p)
        return -EINVAL;
    (void)str_cut(&rest, '\'');
    if (!rest.p)
        return -EINVAL;
    struct parameter plain = {0};
    for (size_t i = 0; i < rest.len; i++) {
        char c = rest.p[i];
        if (c == '%') {
            int high = i + 2 < rest.len ? hex_value(rest.p[i + 1]) : -1;
            int low = i + 2 < rest.len ? hex_value(rest.p[i + 2]) : -1;
            if (high < 0 || low < 0)
                return -EINVAL;
            c = (char)(high << 4 | low);
            i += 2;
        }
        if (add_byte(&plain, c) < 0)
            return -EINVAL;
    }
    memcpy(out, plain.value, sizeof plain.value);
    return 0;
}

static int read_disposition(struct str value, struct multipart_part *part) {
    struct parameter p;
    bool named = false, extended = false;
    int r;
    if (!str_ieq(take_token(&value), STR("form-data")))
        return -EINVAL;
    while ((r = next_parameter(&value, &p)) > 0) {
        if (str_ieq(p.name, STR("name"))) {
            if (named)
                return -EINVAL;
            named = true;
            memcpy(part->name, p.value, sizeof part->name);
        } else if (str_ieq(p.name, STR("filename*"))) {
            if (take_extended(&p, part->file_name) < 0)
                return -EINVAL;
            part->is_file = extended = true;
        } else if (str_ieq(p.name, STR("filename"))) {
            part->is_file = true;
            if (!extended)
                memcpy(part->file_name, p.value, sizeof part->file_name);
        }
    }
    bool text = str_is_utf8(str_of(part->name)) && str_is_utf8(str_of(part->file_name));
    return r < 0 || !named || !part->name[0] || !text ? -EINVAL : 0;
}

static int read_header(struct str line, struct multipart_part *part, bool *ret_disposed) {
    struct str value = line, name = take_token(&value);
    if (name.len == 0 || value.len == 0 || *value.p != ':')
        return -EINVAL;
    value = str_trim(from(value, 1));
    for (size_t i = 0; i < value.len; i++)
        if (((unsigned char)value.p[i] < 0x20 && value.p[i] != '\t') || value.p[i] == 0x7f)
            return -EINVAL;
    if (str_ieq(name, STR("content-disposition"))) {
        if (*ret_disposed)
            return -EINVAL;
        *ret_disposed = true;
        return read_disposition(value, part);
    }
    if (str_ieq(name, STR("content-type")))
        part->content_type = value;
    if (str_ieq(name, STR("content-transfer-encoding")))
        return str_ieq(value, STR("binary")) || str_ieq(value, STR("8bit")) ||
                       str_ieq(value, STR("7bit"))
                   ? 0
                   : -EINVAL;
    return 0;
}

static int read_headers(struct multipart *m, struct multipart_part *part) {
    bool disposed = false;
    for (size_t total = 0; total <= MULTIPART_HEADERS_MAX;) {
        size_t most = m->rest.len < MULTIPART_HEADERS_MAX ? m->rest.len : MULTIPART_HEADERS_MAX;
        const char *end = most ? memmem(m->rest.p, most, "\r\n", 2) : NULL;
        if (!end)
            return -EINVAL;
        struct str line = str_n(m->rest.p, (size_t)(end - m->rest.p));
        m->rest = from(m->rest, line.len + 2);
        if (line.len == 0)
            return disposed ? 0 : -EINVAL;
        if (read_header(line, part, &disposed) < 0)
            return -EINVAL;
        total += line.len + 2;
    }
    return -EINVAL;
}

/* A boundary is one only where what follows it is right: the content may hold what looks alike. */
static int read_body(struct multipart *m, struct multipart_part *part) {
    struct str rest = m->rest;
    /* An empty part: its boundary's line end is that of the headers. */
    struct str first = str_n(m->delimiter + 2, m->delimiter_len - 2);
    if (str_starts(rest, first) && after_delimiter(m, from(rest, first.len)) == 0) {
        part->body = str_n(rest.p, 0);
        return 0;
    }
    for (size_t at = 0; at < rest.len;) {
        const char *found = memmem(rest.p + at, rest.len - at, m->delimiter, m->delimiter_len);
        if (!found)
            return -EINVAL;
        size_t end = (size_t)(found - rest.p);
        if (after_delimiter(m, from(rest, end + m->delimiter_len)) == 0) {
            part->body = str_n(rest.p, end);
            return 0;
        }
        at = end + 2;
    }
    return -EINVAL;
}

int multipart_next(struct multipart *m, struct multipart_part *ret) {
    if (m->ended)
        return 0;
    if (++m->parts > MULTIPART_PARTS_MAX)
        return -E2BIG;
    *ret = (struct multipart_part){0};
    if (read_headers(m, ret) < 0 || read_body(m, ret) < 0)
        return -EINVAL;
    return 1;
}
