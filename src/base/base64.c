/* SPDX-License-Identifier: Apache-2.0 */
/* base64 by table, three bytes at a time: bodies of megabytes pass through here. */
#include "base/buf.h"

#include <errno.h>

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* Value of a letter with OK set; 0 for what is no letter, so that faults gather by AND. */
enum { OK = 0x40 };
static const uint8_t values[256] = {
    /* clang-format off */
    ['A'] = OK | 0, ['B'] = OK | 1, ['C'] = OK | 2, ['D'] = OK | 3, ['E'] = OK | 4, ['F'] = OK | 5,
    ['G'] = OK | 6, ['H'] = OK | 7, ['I'] = OK | 8, ['J'] = OK | 9, ['K'] = OK | 10,
    ['L'] = OK | 11, ['M'] = OK | 12, ['N'] = OK | 13, ['O'] = OK | 14, ['P'] = OK | 15,
    ['Q'] = OK | 16, ['R'] = OK | 17, ['S'] = OK | 18, ['T'] = OK | 19, ['U'] = OK | 20,
    ['V'] = OK | 21, ['W'] = OK | 22, ['X'] = OK | 23, ['Y'] = OK | 24, ['Z'] = OK | 25,
    ['a'] = OK | 26, ['b'] = OK | 27, ['c'] = OK | 28, ['d'] = OK | 29, ['e'] = OK | 30,
    ['f'] = OK | 31, ['g'] = OK | 32, ['h'] = OK | 33, ['i'] = OK | 34, ['j'] = OK | 35,
    ['k'] = OK | 36, ['l'] = OK | 37, ['m'] = OK | 38, ['n'] = OK | 39, ['o'] = OK | 40,
    ['p'] = OK | 41, ['q'] = OK | 42, ['r'] = OK | 43, ['s'] = OK | 44, ['t'] = OK | 45,
    ['u'] = OK | 46, ['v'] = OK | 47, ['w'] = OK | 48, ['x'] = OK | 49, ['y'] = OK | 50,
    ['z'] = OK | 51, ['0'] = OK | 52, ['1'] = OK | 53, ['2'] = OK | 54, ['3'] = OK | 55,
    ['4'] = OK | 56, ['5'] = OK | 57, ['6'] = OK | 58, ['7'] = OK | 59, ['8'] = OK | 60,
    ['9'] = OK | 61, ['+'] = OK | 62, ['/'] = OK | 63,
    /* clang-format on */
};

static void encode3(char *out, const uint8_t *in) {
    uint32_t v = (uint32_t)in[0] << 16 | (uint32_t)in[1] << 8 | in[2];
    out[0] = letters[v >> 18];
    out[1] = letters[v >> 12 & 63];
    out[2] = letters[v >> 6 & 63];
    out[3] = letters[v & 63];
}

int buf_put_base64(struct buf *b, struct str bytes) {
    if (bytes.len > SIZE_MAX / 4 * 3 - 3)
        return -EMSGSIZE;
    int r = buf_reserve(b, (bytes.len + 2) / 3 * 4);
    if (r < 0 || bytes.len == 0)
        return r;
    const uint8_t *in = (const uint8_t *)bytes.p;
    char *out = b->p + b->len;
    size_t left = bytes.len;
    for (; left >= 3; left -= 3, in += 3, out += 4)
        encode3(out, in);
    if (left) {
        uint8_t last[3] = {in[0], left == 2 ? in[1] : 0, 0};
        encode3(out, last);
        out[3] = '=';
        if (left == 1)
            out[2] = '=';
        out += 4;
    }
    b->len = (size_t)(out - b->p);
    return 0;
}

/* Four letters to three bytes; returns OK, or 0 when one was no letter. */
static uint8_t decode4(uint8_t *out, const uint8_t *in) {
    uint8_t a = values[in[0]], b = values[in[1]], c = values[in[2]], d = values[in[3]];
    uint32_t v =
        (uint32_t)(a & 63) << 18 | (uint32_t)(b & 63) << 12 | (uint32_t)(c & 63) << 6 | (d & 63);
    out[0] = (uint8_t)(v >> 16);
    out[1] = (uint8_t)(v >> 8);
    out[2] = (uint8_t)v;
    return a & b & c & d & OK;
}

int buf_put_base64_decoded(struct buf *b, struct str text) {
    if (text.len % 4)
        return -EINVAL;
    if (text.len == 0)
        return 0;
    size_t pad = (text.p[text.len - 1] == '=') + (text.p[text.len - 2] == '=');
    int r = buf_reserve(b, text.len / 4 * 3 - pad);
    if (r < 0)
        return r;
    const uint8_t *in = (const uint8_t *)text.p;
    uint8_t *out = (uint8_t *)b->p + b->len;
    uint8_t ok = OK;
    for (size_t quads = text.len / 4 - 1; quads; quads--, in += 4, out += 3)
        ok &= decode4(out, in);
    /* The last four may hold padding, which stands for zero bits; the spare bits must be zero. */
    uint8_t quad[4] = {in[0], in[1], pad == 2 ? 'A' : in[2], pad ? 'A' : in[3]}, last[3];
    ok &= decode4(last, quad);
    if (!ok || (pad && last[3 - pad]))
        return -EINVAL;
    memcpy(out, last, 3 - pad);
    b->len += text.len / 4 * 3 - pad;
    return 0;
}
