/* SPDX-License-Identifier: Apache-2.0 */
#include "base/str.h"

#include <errno.h>

static unsigned char lower(unsigned char c) {
    return c >= 'A' && c <= 'Z' ? c | 0x20 : c;
}

bool str_ieq(struct str a, struct str b) {
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++) {
        if (lower((unsigned char)a.p[i]) != lower((unsigned char)b.p[i]))
            return false;
    }
    return true;
}

bool str_starts(struct str s, struct str prefix) {
    return s.len >= prefix.len && str_eq((struct str){s.p, prefix.len}, prefix);
}

bool str_ends(struct str s, struct str suffix) {
    if (s.len < suffix.len)
        return false;
    if (suffix.len == 0)
        return true;
    return str_eq((struct str){s.p + s.len - suffix.len, suffix.len}, suffix);
}

static bool is_blank(char c) {
    return c == ' ' || c == '\t';
}

struct str str_trim(struct str s) {
    while (s.len && is_blank(s.p[0])) {
        s.p++;
        s.len--;
    }
    while (s.len && is_blank(s.p[s.len - 1]))
        s.len--;
    return s;
}

struct str str_cut(struct str *rest, char sep) {
    struct str whole = *rest;
    const char *at = whole.len ? memchr(whole.p, sep, whole.len) : NULL;
    if (!at) {
        *rest = STR_NULL;
        return whole;
    }
    size_t before = (size_t)(at - whole.p);
    *rest = (struct str){at + 1, whole.len - before - 1};
    return (struct str){whole.p, before};
}

int str_u64(struct str s, uint64_t max, uint64_t *ret) {
    if (s.len == 0)
        return -EINVAL;
    uint64_t v = 0;
    bool over = false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return -EINVAL;
        over |= __builtin_mul_overflow(v, 10, &v);
        over |= __builtin_add_overflow(v, (uint64_t)(s.p[i] - '0'), &v);
    }
    if (over || v > max)
        return -ERANGE;
    *ret = v;
    return 0;
}

/* True when the N bytes at P are all 10xxxxxx. */
static bool is_tail(const unsigned char *p, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return false;
    }
    return true;
}

/* The table of RFC 3629 section 4, by first byte. */
size_t str_utf8_step(struct str s) {
    if (s.len == 0)
        return 0;
    const unsigned char *p = (const unsigned char *)s.p;
    unsigned char c = p[0];
    if (c < 0x80)
        return 1;
    if (c < 0xc2 || c > 0xf4)
        return 0;
    size_t n = c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    if (s.len < n || !is_tail(p + 1, n - 1))
        return 0;
    if ((c == 0xe0 && p[1] < 0xa0) || (c == 0xf0 && p[1] < 0x90)) /* overlong */
        return 0;
    if ((c == 0xed && p[1] > 0x9f) || (c == 0xf4 && p[1] > 0x8f)) /* surrogate; over U+10FFFF */
        return 0;
    return n;
}

bool str_is_utf8(struct str s) {
    size_t i = 0;
    while (i < s.len) {
        uint64_t word;
        if (s.len - i >= sizeof(word)) { /* eight ASCII bytes at once */
            memcpy(&word, s.p + i, sizeof(word));
            if (!(word & 0x8080808080808080ull)) {
                i += sizeof(word);
                continue;
            }
        }
        size_t n = str_utf8_step((struct str){s.p + i, s.len - i});
        if (n == 0)
            return false;
        i += n;
    }
    return true;
}

bool str_is_small_hex(struct str s) {
    for (size_t i = 0; i < s.len; i++)
        if (hex_value(s.p[i]) < 0 || (s.p[i] >= 'A' && s.p[i] <= 'F'))
            return false;
    return true;
}

char *str_dup(struct str s) {
    char *copy = x_alloc(s.len + 1);
    if (s.len)
        memcpy(copy, s.p, s.len);
    return copy;
}
