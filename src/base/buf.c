/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

enum { BUF_FIRST = 256 };

void buf_init(struct buf *b, size_t max) {
    *b = BUF_INIT(max);
}

void buf_done(struct buf *b) {
    if (!b)
        return;
    free(b->p);
    *b = BUF_INIT(b->max);
}

void buf_clear(struct buf *b) {
    b->len = 0;
}

/* Capacity of at least NEED (> cap): doubled, but not past the ceiling and the NUL behind it. */
static int grow(struct buf *b, size_t need) {
    size_t cap = b->cap ? b->cap : BUF_FIRST;
    while (cap < need && cap <= SIZE_MAX / 2)
        cap *= 2;
    if (cap > b->max)
        cap = b->max < SIZE_MAX ? b->max + 1 : b->max;
    if (cap < need)
        cap = need;
    char *p = realloc(b->p, cap);
    if (!p)
        return -ENOMEM;
    b->p = p;
    b->cap = cap;
    return 0;
}

int buf_reserve(struct buf *b, size_t n) {
    if (b->len > b->max || n > b->max - b->len)
        return -EMSGSIZE;
    if (n <= b->cap - b->len)
        return 0;
    return grow(b, b->len + n);
}

int buf_put(struct buf *b, const void *p, size_t n) {
    int r = buf_reserve(b, n);
    if (r < 0 || n == 0)
        return r;
    memcpy(b->p + b->len, p, n);
    b->len += n;
    return 0;
}

int buf_puts(struct buf *b, const char *cstr) {
    return buf_put(b, cstr, strlen(cstr));
}

int buf_putc(struct buf *b, char c) {
    return buf_put(b, &c, 1);
}

int buf_put_str(struct buf *b, struct str s) {
    return buf_put(b, s.p, s.len);
}

int buf_printf(struct buf *b, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0)
        return -EINVAL;
    int r = buf_reserve(b, (size_t)n);
    if (r < 0)
        return r;
    if (b->cap - b->len <= (size_t)n) { /* vsnprintf() wants its NUL */
        r = grow(b, b->len + (size_t)n + 1);
        if (r < 0)
            return r;
    }
    va_start(ap, fmt);
    (void)vsnprintf(b->p + b->len, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)n;
    return 0;
}

int buf_put_u64(struct buf *b, uint64_t v) {
    char digits[20];
    size_t at = sizeof(digits);
    do
        digits[--at] = (char)('0' + v % 10);
    while ((v /= 10) != 0);
    return buf_put(b, digits + at, sizeof(digits) - at);
}

void buf_drop(struct buf *b, size_t n) {
    if (n >= b->len) {
        b->len = 0;
        return;
    }
    if (n == 0)
        return;
    memmove(b->p, b->p + n, b->len - n);
    b->len -= n;
}

const char *buf_cstr(struct buf *b) {
    if (b->cap <= b->len) {
        b->p = x_realloc(b->p, b->len + 1);
        b->cap = b->len + 1;
    }
    b->p[b->len] = '\0';
    return b->p;
}

char *buf_take(struct buf *b, size_t *ret_len) {
    (void)buf_cstr(b);
    char *p = b->p;
    if (ret_len)
        *ret_len = b->len;
    *b = BUF_INIT(b->max);
    return p;
}
