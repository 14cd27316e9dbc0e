/* SPDX-License-Identifier: Apache-2.0 */
#include "base/ulid.h"
#include "base/clock.h"
#include "base/rand.h"

#include <errno.h>

/* Crockford's base32: no I, L, O, U. */
static const char letters[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

#define TAIL_BITS   48
#define TAIL_MAX    ((1ull << TAIL_BITS) - 1)
#define RANDOM_BITS 38 /* below the ten of the microsecond */

static void put_be(uint8_t *out, uint64_t v, int bytes) {
    for (int i = bytes - 1; i >= 0; i--, v >>= 8)
        out[i] = (uint8_t)v;
}

static uint64_t get_be(const uint8_t *in, int bytes) {
    uint64_t v = 0;
    for (int i = 0; i < bytes; i++)
        v = v << 8 | in[i];
    return v;
}

struct ulid ulid_make(uint32_t function_no) {
    static __thread uint64_t last_ms, tail;
    uint64_t us = (uint64_t)clock_real_us(), ms = us / 1000;
    /* half of the random room is left to count up in */
    uint64_t fresh = (us % 1000) << RANDOM_BITS | (rand_u64() >> (64 - RANDOM_BITS + 1));
    if (ms > last_ms || tail == TAIL_MAX) {
        last_ms = ms > last_ms ? ms : last_ms + 1;
        tail = fresh;
    } else if (ms == last_ms && fresh >> RANDOM_BITS > tail >> RANDOM_BITS) {
        tail = fresh;
    } else { /* same microsecond, or the clock was set back */
        tail++;
    }
    struct ulid u = {0};
    put_be(u.b, last_ms, 6);
    put_be(u.b + 6, function_no, 4);
    put_be(u.b + 10, tail, 6);
    return u;
}

/* 26 letters hold 130 bits: the first letter carries only three. */
void ulid_text(const struct ulid *u, char out[ULID_TEXT_LEN + 1]) {
    unsigned __int128 v = (unsigned __int128)get_be(u->b, 8) << 64 | get_be(u->b + 8, 8);
    for (int i = ULID_TEXT_LEN - 1; i >= 0; i--, v >>= 5)
        out[i] = letters[(unsigned)v & 31];
    out[ULID_TEXT_LEN] = '\0';
}

int ulid_parse(struct str s, struct ulid *ret) {
    if (s.len != ULID_TEXT_LEN || s.p[0] > '7')
        return -EINVAL;
    unsigned __int128 v = 0;
    for (size_t i = 0; i < s.len; i++) {
        const char *at = s.p[i] ? strchr(letters, s.p[i]) : NULL;
        if (!at)
            return -EINVAL;
        v = v << 5 | (unsigned)(at - letters);
    }
    put_be(ret->b, (uint64_t)(v >> 64), 8);
    put_be(ret->b + 8, (uint64_t)v, 8);
    return 0;
}

uint32_t ulid_function_no(const struct ulid *u) {
    return (uint32_t)get_be(u->b + 6, 4);
}

uint64_t ulid_ms(const struct ulid *u) {
    return get_be(u->b, 6);
}
