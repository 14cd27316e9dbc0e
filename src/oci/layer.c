/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/internal.h"

/* How much a layer unpacks to, before it is unpacked: the archive is read through as a stream.
 * Own code, since umoci knows no limit; what it looks at are the headers of tar (POSIX 1003.1
 * ustar, pax and GNU). Sparse files, whose size is not in their bytes, are refused. */

#include <errno.h>
#include <zlib.h>

#define BLOCK 512u
#define CHUNK (64 * KIB)

struct scan {
    struct layers *l;
    uint64_t skip; /* bytes of the present file that are still to come */
    unsigned char block[BLOCK];
    size_t have;   /* of a header */
    char tail[16]; /* last bytes of a pax record's text */
    bool in_pax;
    struct error *err;
};

static int too_large(struct scan *s) {
    return error_field(s->err, ERR_TOO_LARGE, "image",
                       "the image unpacks to more than %llu MiB (setting image-max)",
                       (unsigned long long)(s->l->bytes_max / MIB));
}

/* Octal text, or base 256 where the first bit is set (GNU). */
static int read_size(const unsigned char *p, uint64_t *ret) {
    uint64_t v = 0;
    if (p[0] & 0x80) {
        for (int i = 0; i < 4; i++)
            if (p[i] & (i ? 0xff : 0x7f))
                return -1;
        for (int i = 4; i < 12; i++)
            v = v << 8 | p[i];
    } else {
        for (int i = 0; i < 12 && p[i] && p[i] != ' '; i++) {
            if (p[i] < '0' || p[i] > '7')
                return -1;
            v = v * 8 + (unsigned)(p[i] - '0');
        }
    }
    *ret = v;
    return v > INT64_MAX / 2 ? -1 : 0;
}

static int on_header(struct scan *s) {
    static const unsigned char zeros[BLOCK];
    if (memcmp(s->block, zeros, BLOCK) == 0) /* the end, or what follows it */
        return 0;
    uint64_t size;
    char type = (char)s->block[156];
    if (read_size(s->block + 124, &size) < 0)
        return error_field(s->err, ERR_INVALID, "image", "a layer of the image is no tar archive");
    if (type == 'S')
        return error_field(s->err, ERR_INVALID, "image", "the image holds sparse files");
    s->in_pax = type == 'x' || type == 'g';
    memset(s->tail, 0, sizeof s->tail);
    if (++s->l->files > OCI_FILES_MAX)
        return error_field(s->err, ERR_TOO_LARGE, "image", "the image has more than %u files",
                           OCI_FILES_MAX);
    s->skip = (size + BLOCK - 1) / BLOCK * BLOCK;
    return 0;
}

/* "GNU.sparse.…" in a pax header tells of more than the archive holds, and "size" of other bounds
 * than the ones that we go by (it is only needed above 8 GiB). */
static int on_pax(struct scan *s, const unsigned char *p, size_t n) {
    static const char sparse[] = "GNU.sparse", size[] = " size=";
    const size_t last = sizeof s->tail - 1;
    for (size_t i = 0; i < n; i++) {
        memmove(s->tail, s->tail + 1, last);
        s->tail[last] = (char)p[i];
        const char *end = s->tail + sizeof s->tail;
        char before = *(end - sizeof size);
        if (memcmp(end - (sizeof sparse - 1), sparse, sizeof sparse - 1) == 0 ||
            (memcmp(end - (sizeof size - 1), size, sizeof size - 1) == 0 && before >= '0' &&
             before <= '9'))
            return error_field(s->err, ERR_INVALID, "image",
                               "the image holds sparse files, or files above 8 GiB");
    }
    return 0;
}

static int feed(struct scan *s, const unsigned char *p, size_t n) {
    while (n > 0) {
        size_t take;
        if (s->skip) {
            take = s->skip < n ? (size_t)s->skip : n;
            if (s->in_pax && on_pax(s, p, take) < 0)
                return -1;
            s->skip -= take;
        } else {
            take = BLOCK - s->have < n ? BLOCK - s->have : n;
            memcpy(s->block + s->have, p, take);
            s->have += take;
            if (s->have == BLOCK) {
                s->have = 0;
                if (on_header(s) < 0)
                    return -1;
            }
        }
        p += take;
        n -= take;
    }
    return 0;
}

static int take_plain(struct scan *s, const unsigned char *p, size_t n) {
    s->l->bytes += n;
    return s->l->bytes > s->l->bytes_max ? too_large(s) : feed(s, p, n);
}

static ssize_t read_chunk(int fd, unsigned char *p) {
    ssize_t n;
    do
        n = read(fd, p, CHUNK);
    while (n < 0 && errno == EINTR);
    return n;
}

static int measure_plain(int fd, struct scan *s, unsigned char *in) {
    ssize_t n;
    while ((n = read_chunk(fd, in)) > 0)
        if (take_plain(s, in, (size_t)n) < 0)
            return -1;
    return n < 0 ? error_errno(s->err, -errno, "cannot read a layer") : 0;
}

static int bad_gzip(struct scan *s) {
    return error_field(s->err, ERR_INVALID, "image", "a layer of the image is no gzip file");
}

static int inflate_chunk(z_stream *z, struct scan *s, unsigned char *out) {
    do {
        z->next_out = out;
        z->avail_out = CHUNK;
        int r = inflate(z, Z_NO_FLUSH);
        if (r != Z_OK && r != Z_STREAM_END && r != Z_BUF_ERROR)
            return bad_gzip(s);
        if (take_plain(s, out, CHUNK - z->avail_out) < 0)
            return -1;
        if (r == Z_STREAM_END && z->avail_in && inflateReset(z) != Z_OK) /* another member */
            return bad_gzip(s);
        if (r == Z_STREAM_END && !z->avail_in)
            return inflateReset(z) == Z_OK ? 0 : bad_gzip(s);
    } while (z->avail_in || z->avail_out == 0);
    return 0;
}

static int measure_gzip(int fd, struct scan *s, unsigned char *in) {
    cleanup_free unsigned char *out = x_alloc(CHUNK);
    z_stream z = {0};
    if (inflateInit2(&z, 15 + 16) != Z_OK)
        return error_set(s->err, ERR_INTERNAL, "zlib does not start");
    ssize_t n;
    int r = 0;
    while (r == 0 && (n = read_chunk(fd, in)) > 0) {
        z.next_in = in;
        z.avail_in = (unsigned)n;
        r = inflate_chunk(&z, s, out);
    }
    (void)inflateEnd(&z);
    return r;
}

int layer_measure(int fd, bool gzip, struct layers *l, struct error *err) {
    cleanup_free unsigned char *in = x_alloc(CHUNK);
    struct scan s = {.l = l, .err = err};
    return gzip ? measure_gzip(fd, &s, in) : measure_plain(fd, &s, in);
}
