/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/wire.h"

#include <endian.h>
#include <errno.h>

ssize_t wire_begin(struct buf *b, enum wire_type type, uint8_t flags, uint32_t seq) {
    size_t at = b->len;
    uint8_t header[WIRE_HEADER_LEN] = {[4] = (uint8_t)type, [5] = flags};
    uint32_t le = htole32(seq);
    memcpy(header + 8, &le, sizeof(le));
    int r = buf_put(b, header, sizeof(header));
    return r < 0 ? r : (ssize_t)at;
}

int wire_u8(struct buf *b, uint8_t v) {
    return buf_put(b, &v, sizeof(v));
}

int wire_u16(struct buf *b, uint16_t v) {
    uint16_t le = htole16(v);
    return buf_put(b, &le, sizeof(le));
}

int wire_u32(struct buf *b, uint32_t v) {
    uint32_t le = htole32(v);
    return buf_put(b, &le, sizeof(le));
}

int wire_str(struct buf *b, struct str s) {
    if (s.len > WIRE_FRAME_MAX)
        return -EMSGSIZE;
    int r = buf_reserve(b, sizeof(uint32_t) + s.len);
    if (r < 0)
        return r;
    (void)wire_u32(b, (uint32_t)s.len);
    return buf_put_str(b, s);
}

int wire_end(struct buf *b, ssize_t at) {
    if (at < 0)
        return (int)at;
    size_t len = b->len - (size_t)at - WIRE_HEADER_LEN;
    if (len > WIRE_FRAME_MAX)
        return -EMSGSIZE;
    uint32_t le = htole32((uint32_t)len);
    memcpy(b->p + at, &le, sizeof(le));
    return 0;
}

static uint32_t load_u32(const uint8_t *p) {
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return le32toh(v);
}

ssize_t wire_parse(const void *p, size_t len, size_t max_payload, struct wire_frame *ret,
                   size_t *ret_need) {
    const uint8_t *head = p;
    if (max_payload > WIRE_FRAME_MAX)
        max_payload = WIRE_FRAME_MAX;
    *ret_need = 0;
    if (len < WIRE_HEADER_LEN)
        return 0;
    size_t payload_len = load_u32(head);
    size_t total = WIRE_HEADER_LEN + payload_len;
    if (head[6] || head[7])
        return -EBADMSG;
    *ret_need = total;
    if (payload_len > max_payload)
        return -EBADMSG;
    if (len < total)
        return 0;
    *ret = (struct wire_frame){
        .type = head[4],
        .flags = head[5],
        .seq = load_u32(head + 8),
        .payload = str_n(head + WIRE_HEADER_LEN, payload_len),
    };
    return (ssize_t)total;
}

struct wire_in wire_open(struct str payload) {
    static const uint8_t nothing;
    const uint8_t *p = payload.p ? (const uint8_t *)payload.p : &nothing;
    return (struct wire_in){.p = p, .end = p + payload.len};
}

/* The next N bytes, or NULL (and bad from then on). */
static const uint8_t *take(struct wire_in *in, size_t n) {
    if (in->bad || (size_t)(in->end - in->p) < n) {
        in->bad = true;
        return NULL;
    }
    const uint8_t *p = in->p;
    in->p += n;
    return p;
}

uint8_t wire_get_u8(struct wire_in *in) {
    const uint8_t *p = take(in, 1);
    return p ? *p : 0;
}

uint16_t wire_get_u16(struct wire_in *in) {
    const uint8_t *p = take(in, 2);
    return p ? (uint16_t)(p[0] | p[1] << 8) : 0;
}

uint32_t wire_get_u32(struct wire_in *in) {
    const uint8_t *p = take(in, 4);
    return p ? load_u32(p) : 0;
}

struct str wire_get_str(struct wire_in *in) {
    uint32_t len = wire_get_u32(in);
    const uint8_t *p = take(in, len);
    return p ? str_n(p, len) : STR_NULL;
}

bool wire_done(const struct wire_in *in) {
    return !in->bad && in->p == in->end;
}
