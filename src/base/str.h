/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_BASE_STR_H
#define KILN_BASE_STR_H

/* struct str: a borrowed run of bytes, not ended by NUL. It lives as long as what it points into.
 */

#include "base/base.h"

struct str {
    const char *p;
    size_t len;
};

#define STR(lit)   ((struct str){(lit), sizeof(lit) - 1})
#define STR_NULL   ((struct str){NULL, 0})
#define STR_ARG(s) (int)(s).len, (s).p /* for "%.*s" */

static inline struct str str_of(const char *cstr) {
    return (struct str){cstr, cstr ? strlen(cstr) : 0};
}
static inline struct str str_n(const void *p, size_t len) {
    return (struct str){(const char *)p, len};
}
static inline bool str_eq(struct str a, struct str b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}
static inline bool str_is(struct str a, const char *cstr) {
    return str_eq(a, str_of(cstr));
}
bool str_ieq(struct str a, struct str b); /* ASCII case-insensitive */
bool str_starts(struct str s, struct str prefix);
bool str_ends(struct str s, struct str suffix);
struct str str_trim(struct str s); /* spaces and tabs off both ends */
/* Cuts *REST at the first SEP: returns what stood before, *REST keeps what stands after.
 * Without SEP returns the whole and *REST becomes STR_NULL (p == NULL: nothing left). */
struct str str_cut(struct str *rest, char sep);
/* Whole string as a decimal number without sign, at most MAX: 0, -EINVAL or -ERANGE. */
int str_u64(struct str s, uint64_t max, uint64_t *ret);
/* Strict UTF-8 (RFC 3629: no surrogates, no overlong forms). */
bool str_is_utf8(struct str s);
/* Bytes of the UTF-8 sequence that S begins with (1..4), or 0 when S is empty or it is broken. */
size_t str_utf8_step(struct str s);
/* Value of a hexadecimal digit, large or small, or -1. */
static inline int hex_value(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}
/* Are all of them digits and small letters from a to f, as hashes are written? */
bool str_is_small_hex(struct str s);
/* NUL-terminated copy; free with free(). */
char *str_dup(struct str s) MUST_CHECK;

#endif
