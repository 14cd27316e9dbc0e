/* SPDX-License-Identifier: Apache-2.0 */
#include "http/url.h"

#include <errno.h>

#include "http/chars.h"

/* The byte that the escape at P (of LEFT bytes, the first is '%') stands for, or -1. */
static int unescape(const char *p, size_t left) {
    if (left < 3)
        return -1;
    int hi = hex_value(p[1]), lo = hex_value(p[2]);
    if (hi < 0 || lo < 0 || (hi | lo) == 0)
        return -1;
    return hi << 4 | lo;
}

static bool needs_decoding(struct str s, enum url_decoding how) {
    return s.len > 0 && (memchr(s.p, '%', s.len) || (how == URL_QUERY && memchr(s.p, '+', s.len)));
}

int url_decode(struct str in, enum url_decoding how, struct arena *a, struct str *ret) {
    if (!needs_decoding(in, how)) {
        *ret = in;
        return 0;
    }
    char *out = arena_alloc(a, in.len);
    size_t n = 0;
    if (!out)
        return -EMSGSIZE;
    for (size_t i = 0; i < in.len; i++) {
        int c = (unsigned char)in.p[i];
        if (c == '%') {
            c = unescape(in.p + i, in.len - i);
            if (c < 0)
                return -EINVAL;
            i += 2;
        } else if (c == '+' && how == URL_QUERY) {
            c = ' ';
        }
        out[n++] = (char)c;
    }
    *ret = str_n(out, n);
    return 0;
}

/* ---- paths ---- */
/* Copies SEGMENT to OUT with its escapes in canonical form: the length, or -EINVAL. */
static ssize_t put_canonical(char *out, struct str segment) {
    static const char digits[] = "0123456789ABCDEF";
    size_t n = 0;
    for (size_t i = 0; i < segment.len; i++) {
        if (segment.p[i] != '%') {
            out[n++] = segment.p[i];
            continue;
        }
        int c = unescape(segment.p + i, segment.len - i);
        if (c < 0)
            return -EINVAL;
        i += 2;
        if (http_char_is((char)c, CHAR_UNRESERVED)) {
            out[n++] = (char)c;
        } else {
            out[n++] = '%';
            out[n++] = digits[c >> 4];
            out[n++] = digits[c & 15];
        }
    }
    return (ssize_t)n;
}

/* True where no segment is empty (but the last), or begins with a dot, and nothing is escaped. */
static bool is_clean(struct str s) {
    for (size_t i = 0; i < s.len; i++) {
        if (s.p[i] == '%' || s.p[i] == 0)
            return false;
        if (s.p[i] == '/' && i + 1 < s.len && (s.p[i + 1] == '/' || s.p[i + 1] == '.'))
            return false;
    }
    return true;
}

/* OUT[0..N) ends in '/': N after the last segment has gone, 0 when there is none. */
static size_t drop_segment(const char *out, size_t n) {
    if (n <= 1)
        return 0;
    n--;
    while (out[n - 1] != '/')
        n--;
    return n;
}

int url_path_clean(struct str raw, struct arena *a, struct str *ret) {
    if (raw.len == 0 || raw.p[0] != '/')
        return -EINVAL;
    if (is_clean(raw)) {
        *ret = raw;
        return 0;
    }
    char *out = arena_alloc(a, raw.len + 1); /* + 1: a '/' is written behind every segment */
    if (!out)
        return -EMSGSIZE;
    size_t n = 1;
    out[0] = '/'; /* out[0..n) always ends in '/' between segments */
    for (struct str rest = str_n(raw.p + 1, raw.len - 1); rest.p;) {
        ssize_t len = put_canonical(out + n, str_cut(&rest, '/'));
        if (len < 0 || memchr(out + n, 0, (size_t)len))
            return -EINVAL;
        struct str segment = str_n(out + n, (size_t)len);
        if (len == 0 || str_is(segment, "."))
            continue;
        if (str_is(segment, "..")) {
            n = drop_segment(out, n);
            if (n == 0)
                return -EINVAL;
            continue;
        }
        n += (size_t)len;
        if (rest.p)
            out[n++] = '/';
    }
    *ret = str_n(out, n);
    return 0;
}

bool url_segment_next(struct str *rest, struct str *ret) {
    if (rest->len <= 1)
        return false;
    struct str from = str_n(rest->p + 1, rest->len - 1);
    const char *slash = memchr(from.p, '/', from.len);
    *ret = str_n(from.p, slash ? (size_t)(slash - from.p) : from.len);
    *rest = str_n(ret->p + ret->len, from.len - ret->len);
    return true;
}

/* ---- queries ---- */
int url_query_next(struct str *rest, struct arena *a, struct str *ret_name, struct str *ret_value) {
    while (rest->p) {
        struct str value = str_cut(rest, '&');
        if (value.len == 0)
            continue;
        struct str name = str_cut(&value, '=');
        if (!value.p)
            value = STR("");
        int r = url_decode(name, URL_QUERY, a, &name);
        if (r == 0)
            r = url_decode(value, URL_QUERY, a, &value);
        if (r < 0)
            return r;
        *ret_name = name;
        *ret_value = value;
        return 1;
    }
    return 0;
}

int url_query_get(struct str query, const char *name, struct arena *a, struct str *ret_value) {
    struct str found, value;
    int r;
    while ((r = url_query_next(&query, a, &found, &value)) > 0)
        if (str_is(found, name)) {
            *ret_value = value;
            return 1;
        }
    return r;
}
