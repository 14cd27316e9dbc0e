/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_BASE_BUF_H
#define KILN_BASE_BUF_H

/* struct buf: a growing run of bytes with a named ceiling. Everything whose size comes from
 * outside is gathered in one. Past `max` an append fails with -EMSGSIZE and appends nothing; the
 * same with -ENOMEM where the machine has no memory for a size below it.
 * Not thread-safe. `p` is not NUL-terminated unless buf_cstr() is called. */

#include "base/str.h"

struct buf {
    char *p;
    size_t len;
    size_t cap;
    size_t max;
};

#define BUF_INIT(limit) ((struct buf){.max = (limit)})

void buf_init(struct buf *b, size_t max);
void buf_done(struct buf *b);  /* frees; the buf may be used again with its max */
void buf_clear(struct buf *b); /* len = 0, memory kept */
/* Room for N more bytes: 0, -EMSGSIZE or -ENOMEM. */
int buf_reserve(struct buf *b, size_t n);
int buf_put(struct buf *b, const void *p, size_t n);
int buf_puts(struct buf *b, const char *cstr);
int buf_putc(struct buf *b, char c);
int buf_put_str(struct buf *b, struct str s);
int buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
int buf_put_u64(struct buf *b, uint64_t v); /* decimal */
/* Drops N bytes from the front (memmove). */
void buf_drop(struct buf *b, size_t n);
/* NUL-terminated view; the NUL is not counted in len. Aborts only when memory is out. */
const char *buf_cstr(struct buf *b);
static inline struct str buf_str(const struct buf *b) {
    return (struct str){b->p, b->len};
}
/* Moves the bytes to the caller (free()), leaves the buf empty. A NUL stands behind them; never
 * NULL. */
char *buf_take(struct buf *b, size_t *ret_len);

/* base64 (RFC 4648 section 4, with padding), appended to B. */
int buf_put_base64(struct buf *b, struct str bytes);
/* Strict decode: no blanks, padding required, spare bits zero. 0, -EINVAL, -EMSGSIZE. */
int buf_put_base64_decoded(struct buf *b, struct str text);

static inline void cleanup_buf_p(struct buf *b) {
    buf_done(b);
}
#define cleanup_buf __attribute__((cleanup(cleanup_buf_p)))

#endif
