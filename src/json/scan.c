/* SPDX-License-Identifier: Apache-2.0 */
#include "json/scan.h"

#include <errno.h>

#define ONES  0x0101010101010101ull
#define HIGHS (ONES * 0x80)

/* The scan: `p` moves on, and stays at the fault when a step returns false. */
struct scan {
    const char *p, *end;
};

/* The high bit of some byte is set when one of the eight is >= 0x80, < 0x20, '"' or '\\'. */
static inline uint64_t not_plain(uint64_t w) {
    uint64_t quote = w ^ ONES * '"', backslash = w ^ ONES * '\\';
    uint64_t hits = (w - ONES * 0x20) | (quote - ONES) | (backslash - ONES);
    return ((hits & ~w) | w) & HIGHS;
}

static inline bool is_plain(unsigned char c) {
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

const char *json_skip_plain(const char *p, const char *end) {
    uint64_t word;
    while ((size_t)(end - p) >= sizeof(word)) {
        memcpy(&word, p, sizeof(word));
        if (not_plain(word))
            break;
        p += sizeof(word);
    }
    while (p < end && is_plain((unsigned char)*p))
        p++;
    return p;
}

static inline void skip_space(struct scan *s) {
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\r' || *s->p == '\t'))
        s->p++;
}

static inline bool take(struct scan *s, char c) {
    if (s->p == s->end || *s->p != c)
        return false;
    s->p++;
    return true;
}

static bool take_hex4(struct scan *s, uint32_t *ret) {
    uint32_t v = 0;
    for (int i = 0; i < 4; i++, s->p++) {
        int digit = s->p < s->end ? hex_value(*s->p) : -1;
        if (digit < 0)
            return false;
        v = v << 4 | (uint32_t)digit;
    }
    *ret = v;
    return true;
}

/* The XXXX of \uXXXX, and the second half where it is a surrogate. */
static bool take_unicode(struct scan *s, uint32_t *ret) {
    const char *start = s->p;
    uint32_t high, low;
    if (!take_hex4(s, &high))
        return false;
    *ret = high;
    if (high < 0xd800 || high > 0xdfff)
        return true;
    if (high > 0xdbff) { /* a second half comes first */
        s->p = start;
        return false;
    }
    if (!take(s, '\\') || !take(s, 'u'))
        return false;
    start = s->p;
    if (!take_hex4(s, &low))
        return false;
    if (low < 0xdc00 || low > 0xdfff) {
        s->p = start;
        return false;
    }
    *ret = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
    return true;
}

/* What follows a backslash, as a code point. */
static bool take_escape(struct scan *s, uint32_t *ret) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (take(s, 'u'))
        return take_unicode(s, ret);
    const char *at = s->p < s->end && *s->p ? strchr(from, *s->p) : NULL;
    if (!at)
        return false;
    *ret = (unsigned char)to[at - from];
    s->p++;
    return true;
}

static bool scan_string(struct scan *s) {
    uint32_t code;
    if (!take(s, '"'))
        return false;
    for (;;) {
        s->p = json_skip_plain(s->p, s->end);
        if (take(s, '"'))
            return true;
        if (take(s, '\\')) {
            if (!take_escape(s, &code))
                return false;
            continue;
        }
        size_t n = str_utf8_step((struct str){s->p, (size_t)(s->end - s->p)});
        if (n < 2) /* text over, broken, or a control character */
            return false;
        s->p += n;
    }
}

static bool scan_digits(struct scan *s) {
    const char *start = s->p;
    while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
        s->p++;
    return s->p > start;
}

static bool scan_number(struct scan *s) {
    (void)take(s, '-');
    if (!take(s, '0') && !scan_digits(s))
        return false;
    if (take(s, '.') && !scan_digits(s))
        return false;
    if (take(s, 'e') || take(s, 'E')) {
        if (!take(s, '+'))
            (void)take(s, '-');
        return scan_digits(s);
    }
    return true;
}

static bool scan_word(struct scan *s, const char *word) {
    for (; *word; word++) {
        if (!take(s, *word))
            return false;
    }
    return true;
}

/* A string, number, true, false or null. */
static bool scan_scalar(struct scan *s) {
    switch (s->p < s->end ? *s->p : '\0') {
    case '"':
        return scan_string(s);
    case 't':
        return scan_word(s, "true");
    case 'f':
        return scan_word(s, "false");
    case 'n':
        return scan_word(s, "null");
    default:
        return scan_number(s);
    }
}

static bool scan_key(struct scan *s) {
    skip_space(s);
    if (!scan_string(s))
        return false;
    skip_space(s);
    return take(s, ':');
}

/* The open arrays and objects; a bit each instead of a stack frame each. */
struct nest {
    unsigned depth;
    uint64_t is_object[JSON_DEPTH_MAX / 64];
};

static bool nest_in(struct nest *n, bool object) {
    if (n->depth == JSON_DEPTH_MAX)
        return false;
    uint64_t bit = 1ull << (n->depth % 64), *word = &n->is_object[n->depth / 64];
    *word = object ? *word | bit : *word & ~bit;
    n->depth++;
    return true;
}

static bool nest_object(const struct nest *n) {
    unsigned top = n->depth - 1;
    return n->is_object[top / 64] >> (top % 64) & 1;
}

/* Opens an array or object, and closes it at once where it is empty. False on a fault; otherwise
 * *RET_VALUE says whether a value must follow (else one has just ended). */
static bool open_nest(struct scan *s, struct nest *n, bool *ret_value) {
    bool object = *s->p == '{';
    if (!nest_in(n, object))
        return false;
    s->p++;
    skip_space(s);
    if (take(s, object ? '}' : ']')) {
        n->depth--;
        *ret_value = false;
        return true;
    }
    *ret_value = true;
    return !object || scan_key(s);
}

/* After a value: closes what ends here. False on a fault; when the depth is still above 0, a comma
 * was taken and a value must follow. */
static bool after_value(struct scan *s, struct nest *n) {
    while (n->depth) {
        skip_space(s);
        bool object = nest_object(n);
        if (take(s, ','))
            return !object || scan_key(s);
        if (!take(s, object ? '}' : ']'))
            return false;
        n->depth--;
    }
    return true;
}

/* One value, white space before it allowed. OUTER is how deep it stands already. */
static bool scan_value(struct scan *s, unsigned outer) {
    struct nest n = {.depth = 0};
    do {
        bool more = false;
        skip_space(s);
        if (s->p < s->end && (*s->p == '{' || *s->p == '[')) {
            if (n.depth + outer >= JSON_DEPTH_MAX || !open_nest(s, &n, &more))
                return false;
        } else if (!scan_scalar(s)) {
            return false;
        }
        if (!more && !after_value(s, &n))
            return false;
    } while (n.depth);
    return true;
}

int json_check(struct str text, size_t *ret_at) {
    if (text.len == 0) { /* perhaps without an address, which has no offsets */
        if (ret_at)
            *ret_at = 0;
        return -EINVAL;
    }
    struct scan s = {text.p, text.p + text.len};
    bool good = scan_value(&s, 0);
    if (good) {
        skip_space(&s);
        good = s.p == s.end;
    }
    if (good)
        return 0;
    if (ret_at)
        *ret_at = (size_t)(s.p - text.p);
    return -EINVAL;
}

enum { MEMBERS_FIRST, MEMBERS_MORE, MEMBERS_OVER, MEMBERS_BAD };

int json_members_open(struct json_members *it, struct str text) {
    *it = (struct json_members){.text = text, .state = MEMBERS_FIRST};
    if (text.len == 0) {
        it->state = MEMBERS_BAD;
        return -EINVAL;
    }
    struct scan s = {text.p, text.p + text.len};
    skip_space(&s);
    if (!take(&s, '{'))
        it->state = MEMBERS_BAD;
    it->at = (size_t)(s.p - text.p);
    return it->state == MEMBERS_BAD ? -EINVAL : 0;
}

static enum json_kind kind_of(char first) {
    switch (first) {
    case '{':
        return JSON_KIND_OBJECT;
    case '[':
        return JSON_KIND_ARRAY;
    case '"':
        return JSON_KIND_STRING;
    case 't':
    case 'f':
        return JSON_KIND_BOOL;
    case 'n':
        return JSON_KIND_NULL;
    default:
        return JSON_KIND_NUMBER;
    }
}

static bool scan_member(struct scan *s, struct json_member *ret) {
    skip_space(s);
    const char *key = s->p;
    if (!scan_string(s))
        return false;
    ret->key = str_n(key + 1, (size_t)(s->p - key) - 2);
    skip_space(s);
    if (!take(s, ':'))
        return false;
    skip_space(s);
    const char *value = s->p;
    if (!scan_value(s, 1))
        return false;
    ret->value = str_n(value, (size_t)(s->p - value));
    ret->kind = kind_of(*value);
    return true;
}

/* The closing brace and nothing but white space behind it. */
static bool scan_end(struct scan *s) {
    if (!take(s, '}'))
        return false;
    skip_space(s);
    return s->p == s->end;
}

int json_members_next(struct json_members *it, struct json_member *ret) {
    if (it->state >= MEMBERS_OVER)
        return it->state == MEMBERS_OVER ? 0 : -EINVAL;
    struct scan s = {it->text.p + it->at, it->text.p + it->text.len};
    struct json_member member;
    bool first = it->state == MEMBERS_FIRST;
    skip_space(&s);
    if (s.p < s.end && *s.p == '}')
        it->state = scan_end(&s) ? MEMBERS_OVER : MEMBERS_BAD;
    else if ((first || take(&s, ',')) && scan_member(&s, &member))
        it->state = MEMBERS_MORE;
    else
        it->state = MEMBERS_BAD;
    it->at = (size_t)(s.p - it->text.p);
    if (it->state == MEMBERS_BAD)
        return -EINVAL;
    if (it->state == MEMBERS_OVER)
        return 0;
    *ret = member;
    return 1;
}

/* CODE as UTF-8 into OUT; the bytes used. */
static size_t encode_utf8(uint32_t code, char out[4]) {
    static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    size_t n = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, code >>= 6)
        out[i] = (char)(0x80 | (code & 0x3f));
    out[0] = (char)(n == 1 ? code : lead[n] | code);
    return n;
}

bool json_key_is(struct str key, const char *name) {
    if (!memchr(key.p, '\\', key.len))
        return str_is(key, name);
    struct scan s = {key.p, key.p + key.len};
    size_t left = strlen(name);
    while (s.p < s.end) {
        uint32_t code;
        char bytes[4] = {*s.p};
        size_t n = 1;
        if (take(&s, '\\')) {
            if (!take_escape(&s, &code))
                return false;
            n = encode_utf8(code, bytes);
        } else {
            s.p++;
        }
        if (n > left || memcmp(name, bytes, n) != 0)
            return false;
        name += n;
        left -= n;
    }
    return left == 0;
}

static int unescape_all(struct scan *s, struct buf *out) {
    while (s->p < s->end) {
        const char *at = memchr(s->p, '\\', (size_t)(s->end - s->p));
        const char *stop = at ? at : s->end;
        int r = buf_put(out, s->p, (size_t)(stop - s->p));
        s->p = stop;
        if (r == 0 && take(s, '\\')) {
            uint32_t code;
            char bytes[4];
            if (!take_escape(s, &code))
                return -EINVAL;
            r = buf_put(out, bytes, encode_utf8(code, bytes));
        }
        if (r < 0)
            return r;
    }
    return 0;
}

int json_unescape(struct str escaped, struct buf *out) {
    struct scan s = {escaped.p, escaped.p + escaped.len};
    size_t before = out->len;
    if (escaped.len == 0)
        return 0;
    int r = unescape_all(&s, out);
    if (r < 0)
        out->len = before;
    return r;
}
