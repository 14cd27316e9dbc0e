/* SPDX-License-Identifier: Apache-2.0 */
/* Values below 64 have a bucket each (index = value). Above, each octave [2^e, 2^(e+1)) has 64
 * steps of width 2^(e-6). Packed form: varints (LEB128) of buckets  [sum  min  max  (index -
 * previous index - 1, count - 1) for each bucket] the first index counted from -1; nothing follows
 * when there is no bucket. */
#include "base/histogram.h"

#include <errno.h>

enum { STEP_BITS = 6, STEPS = 1 << STEP_BITS };

static uint16_t index_of(uint64_t value) {
    if (value < STEPS)
        return (uint16_t)value;
    unsigned shift = 63 - (unsigned)__builtin_clzll(value) - STEP_BITS;
    uint64_t index = ((uint64_t)shift << STEP_BITS) + (value >> shift);
    return index < HISTOGRAM_BUCKETS_MAX ? (uint16_t)index : HISTOGRAM_BUCKETS_MAX - 1;
}

/* The middle of a bucket: at most 1/128 from any value in it. */
static uint64_t middle_of(uint16_t index) {
    if (index < 2 * STEPS)
        return index;
    unsigned shift = (unsigned)(index >> STEP_BITS) - 1;
    uint64_t low = (uint64_t)((index & (STEPS - 1)) + STEPS) << shift;
    return low + (1ull << shift) / 2;
}

void histogram_init(struct histogram *h) {
    *h = (struct histogram){0};
}

void histogram_done(struct histogram *h) {
    if (!h)
        return;
    free(h->buckets);
    histogram_init(h);
}

/* First position whose index is not below INDEX. */
static uint32_t lower_bound(const struct histogram *h, uint16_t index) {
    uint32_t low = 0, high = h->used;
    while (low < high) {
        uint32_t mid = (low + high) / 2;
        if (h->buckets[mid].index < index)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static struct histogram_bucket *bucket_at(struct histogram *h, uint16_t index) {
    uint32_t at = lower_bound(h, index);
    if (at < h->used && h->buckets[at].index == index)
        return &h->buckets[at];
    if (h->used == h->cap) {
        h->cap = h->cap ? h->cap * 2 : 8;
        h->buckets = x_realloc(h->buckets, h->cap * sizeof(*h->buckets));
    }
    memmove(h->buckets + at + 1, h->buckets + at, (h->used - at) * sizeof(*h->buckets));
    h->buckets[at] = (struct histogram_bucket){.index = index};
    h->used++;
    return &h->buckets[at];
}

static void count_up(struct histogram *h, uint16_t index, uint32_t n) {
    struct histogram_bucket *bucket = bucket_at(h, index);
    if (__builtin_add_overflow(bucket->count, n, &bucket->count))
        bucket->count = UINT32_MAX;
}

static void widen(struct histogram *h, uint64_t count, uint64_t sum, uint64_t min, uint64_t max) {
    if (h->count == 0 || min < h->min)
        h->min = min;
    if (h->count == 0 || max > h->max)
        h->max = max;
    if (__builtin_add_overflow(h->sum, sum, &h->sum))
        h->sum = UINT64_MAX;
    h->count += count;
}

void histogram_add(struct histogram *h, uint64_t value) {
    count_up(h, index_of(value), 1);
    widen(h, 1, value, value, value);
}

void histogram_merge(struct histogram *into, const struct histogram *from) {
    if (from->count == 0)
        return;
    for (uint32_t i = 0; i < from->used; i++)
        count_up(into, from->buckets[i].index, from->buckets[i].count);
    widen(into, from->count, from->sum, from->min, from->max);
}

uint64_t histogram_quantile(const struct histogram *h, double q) {
    if (h->count == 0)
        return 0;
    if (!(q > 0)) /* NaN too */
        return h->min;
    if (q >= 1)
        return h->max;
    double exact = q * (double)h->count;
    uint64_t rank = (uint64_t)exact, seen = 0;
    if ((double)rank < exact)
        rank++; /* the smallest value with at least a fraction q at or below it */
    for (uint32_t i = 0; i < h->used; i++) {
        seen += h->buckets[i].count;
        if (seen >= rank) {
            uint64_t value = middle_of(h->buckets[i].index);
            return value < h->min ? h->min : value > h->max ? h->max : value;
        }
    }
    return h->max;
}

static int put_varint(struct buf *b, uint64_t v) {
    uint8_t bytes[10];
    size_t n = 0;
    for (; v >= 0x80; v >>= 7)
        bytes[n++] = (uint8_t)(v | 0x80);
    bytes[n++] = (uint8_t)v;
    return buf_put(b, bytes, n);
}

static int pack_all(const struct histogram *h, struct buf *out) {
    int r = put_varint(out, h->used);
    if (h->used == 0)
        return r;
    const uint64_t head[] = {h->sum, h->min, h->max};
    for (size_t i = 0; i < ARRAY_LEN(head) && r == 0; i++)
        r = put_varint(out, head[i]);
    int previous = -1;
    for (uint32_t i = 0; i < h->used && r == 0; i++) {
        r = put_varint(out, (uint64_t)(h->buckets[i].index - previous - 1));
        if (r == 0)
            r = put_varint(out, h->buckets[i].count - 1);
        previous = h->buckets[i].index;
    }
    return r;
}

int histogram_pack(const struct histogram *h, struct buf *out) {
    size_t before = out->len;
    int r = pack_all(h, out);
    if (r < 0)
        out->len = before;
    return r;
}

/* Takes one varint of at most MAX off *IN. */
static int get_varint(struct str *in, uint64_t max, uint64_t *ret) {
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (in->len == 0)
            return -EINVAL;
        uint8_t byte = (uint8_t)*in->p++;
        in->len--;
        if (shift == 63 && byte > 1)
            return -EINVAL;
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *ret = v;
            return v <= max ? 0 : -EINVAL;
        }
    }
    return -EINVAL;
}

static int unpack_buckets(struct histogram *h, struct str *in, uint64_t buckets) {
    uint64_t next = 0;
    for (; buckets; buckets--) {
        uint64_t gap, count;
        if (get_varint(in, HISTOGRAM_BUCKETS_MAX - 1, &gap) < 0 ||
            get_varint(in, UINT32_MAX - 1, &count) < 0)
            return -EINVAL;
        next += gap;
        if (next >= HISTOGRAM_BUCKETS_MAX)
            return -EINVAL;
        count_up(h, (uint16_t)next, (uint32_t)count + 1);
        h->count += count + 1;
        next++;
    }
    return 0;
}

static int unpack_all(struct histogram *h, struct str in) {
    uint64_t buckets;
    if (get_varint(&in, HISTOGRAM_BUCKETS_MAX, &buckets) < 0)
        return -EINVAL;
    if (buckets == 0)
        return in.len ? -EINVAL : 0;
    if (get_varint(&in, UINT64_MAX, &h->sum) < 0 || get_varint(&in, UINT64_MAX, &h->min) < 0 ||
        get_varint(&in, UINT64_MAX, &h->max) < 0 || unpack_buckets(h, &in, buckets) < 0 || in.len)
        return -EINVAL;
    if (h->min > h->max || index_of(h->min) != h->buckets[0].index ||
        index_of(h->max) != h->buckets[h->used - 1].index)
        return -EINVAL;
    return 0;
}

int histogram_unpack(struct histogram *h, struct str packed) {
    struct histogram part;
    histogram_init(&part);
    int r = unpack_all(&part, packed);
    if (r == 0)
        histogram_merge(h, &part);
    histogram_done(&part);
    return r;
}
