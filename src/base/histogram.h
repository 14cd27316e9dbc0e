/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_BASE_HISTOGRAM_H
#define KILN_BASE_HISTOGRAM_H

/* struct histogram: counts of values in log-linear buckets (64 steps an octave: a percentile is at
 * most 1.6 % off). Sparse: holds only the buckets that were hit, at most HISTOGRAM_BUCKETS_MAX.
 * Values are microseconds in all of kiln. */

#include "base/buf.h"

#define HISTOGRAM_BUCKETS_MAX 2048 /* covers values up to 2^37, about 38 hours in µs */

struct histogram {
    uint64_t count, sum, min, max;
    uint32_t used, cap;
    struct histogram_bucket {
        uint16_t index;
        uint32_t count;
    } * buckets; /* sorted by index */
};

void histogram_init(struct histogram *h);
void histogram_done(struct histogram *h);
void histogram_add(struct histogram *h, uint64_t value);
void histogram_merge(struct histogram *into, const struct histogram *from);
/* Value below which fraction Q (0..1) of the values lie, clamped to [min, max]; 0 when empty. */
uint64_t histogram_quantile(const struct histogram *h, double q);
/* Compact form for the store (varints), and back: 0 or -EINVAL. unpack merges into *H. */
int histogram_pack(const struct histogram *h, struct buf *out);
int histogram_unpack(struct histogram *h, struct str packed);

#endif
