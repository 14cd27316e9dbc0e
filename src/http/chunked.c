/* SPDX-License-Identifier: Apache-2.0 */
#include "http/chars.h"
#include "http/parser.h"

/* More digits than any size that is allowed; leading zeros count. */
#define SIZE_DIGITS_MAX 15

enum {
    IN_SIZE,
    IN_EXT,
    AT_SIZE_LF,
    IN_DATA,
    AT_DATA_CR,
    AT_DATA_LF,
    AT_TRAILER, /* first byte of a trailer line, or of the empty line */
    IN_TRAILER_NAME,
    IN_TRAILER_VALUE,
    AT_TRAILER_LF,
    AT_END_LF,
};

static int refuse(const char **ret_reason, int status, const char *reason) {
    *ret_reason = reason;
    return -status;
}

void http_chunked_init(struct http_chunked *d) {
    *d = (struct http_chunked){.state = IN_SIZE};
}

static bool is_text(char c) {
    return (unsigned char)c >= 0x20 ? c != 0x7f : c == '\t';
}

static int take_size(struct http_chunked *d, char c, const char **ret_reason) {
    int v = hex_value(c);
    if (v >= 0) {
        if (++d->digits > SIZE_DIGITS_MAX)
            return refuse(ret_reason, 413, "A chunk is too large.");
        d->left = d->left << 4 | (unsigned)v;
        return 0;
    }
    if (d->digits == 0 || (c != ';' && c != '\r'))
        return refuse(ret_reason, 400, "A chunk size is malformed.");
    d->state = c == ';' ? IN_EXT : AT_SIZE_LF;
    return 0;
}

static int take_ext(struct http_chunked *d, char c, const char **ret_reason) {
    if (c == '\r') {
        d->state = AT_SIZE_LF;
        return 0;
    }
    if (!is_text(c))
        return refuse(ret_reason, 400, "A chunk extension is malformed.");
    if (++d->ext_len > HTTP_CHUNK_EXT_MAX)
        return refuse(ret_reason, 431, "The chunk extensions are too long.");
    return 0;
}

/* The size line is complete: is there room for the chunk? */
static int begin_chunk(struct http_chunked *d, const struct buf *out, const char **ret_reason) {
    if (out && d->left > out->max - out->len)
        return refuse(ret_reason, 413, "The body is too large.");
    d->digits = 0;
    d->state = d->left ? IN_DATA : AT_TRAILER;
    return 0;
}

static int take_trailer(struct http_chunked *d, char c, const char **ret_reason) {
    if (++d->trailers_len > HTTP_TRAILERS_MAX)
        return refuse(ret_reason, 431, "The trailers are too long.");
    if (d->state == AT_TRAILER && c == '\r')
        d->state = AT_END_LF;
    else if (d->state == IN_TRAILER_NAME && c == ':')
        d->state = IN_TRAILER_VALUE;
    else if (d->state == IN_TRAILER_VALUE && c == '\r')
        d->state = AT_TRAILER_LF;
    else if (d->state != IN_TRAILER_VALUE && http_char_is(c, CHAR_TOKEN))
        d->state = IN_TRAILER_NAME;
    else if (d->state != IN_TRAILER_VALUE || !is_text(c))
        return refuse(ret_reason, 400, "A trailer is malformed.");
    return 0;
}

/* C must be WANT; then goes to NEXT. */
static int take_mark(struct http_chunked *d, char c, char want, uint8_t next,
                     const char **ret_reason) {
    if (c != want)
        return refuse(ret_reason, 400, "A chunk is malformed.");
    d->state = next;
    return 0;
}

static int take_byte(struct http_chunked *d, char c, const struct buf *out,
                     const char **ret_reason) {
    switch (d->state) {
    case IN_SIZE:
        return take_size(d, c, ret_reason);
    case IN_EXT:
        return take_ext(d, c, ret_reason);
    case AT_SIZE_LF:
        if (c != '\n')
            return refuse(ret_reason, 400, "A chunk size is malformed.");
        return begin_chunk(d, out, ret_reason);
    case AT_DATA_CR:
        return take_mark(d, c, '\r', AT_DATA_LF, ret_reason);
    case AT_DATA_LF:
        return take_mark(d, c, '\n', IN_SIZE, ret_reason);
    case AT_TRAILER_LF:
        return take_mark(d, c, '\n', AT_TRAILER, ret_reason);
    case AT_END_LF:
        d->done = c == '\n';
        return take_mark(d, c, '\n', AT_END_LF, ret_reason);
    default:
        return take_trailer(d, c, ret_reason);
    }
}

/* As much of the present chunk's data as there is: how many bytes, or minus a status. */
static ssize_t take_data(struct http_chunked *d, const char *p, size_t len, struct buf *out,
                         const char **ret_reason) {
    size_t n = d->left < len ? (size_t)d->left : len;
    if (out && buf_put(out, p, n) < 0)
        return refuse(ret_reason, 413, "The body is too large.");
    d->left -= n;
    if (d->left == 0)
        d->state = AT_DATA_CR;
    return (ssize_t)n;
}

ssize_t http_chunked_feed(struct http_chunked *d, const char *p, size_t len, struct buf *out,
                          const char **ret_reason) {
    size_t i = 0;
    while (i < len && !d->done) {
        ssize_t r;
        if (d->state == IN_DATA) {
            r = take_data(d, p + i, len - i, out, ret_reason);
        } else {
            r = take_byte(d, p[i], out, ret_reason);
            r = r < 0 ? r : 1;
        }
        if (r < 0)
            return r;
        i += (size_t)r;
    }
    return (ssize_t)i;
}
