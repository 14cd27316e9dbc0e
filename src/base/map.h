/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_BASE_MAP_H
#define KILN_BASE_MAP_H

/* struct map: bytes to pointer, open addressing, SipHash-1-3 with a key drawn at process start, so
 * that a client cannot choose colliding names. Keys are borrowed: they must live as long as their
 * entry (usually inside the value). Not thread-safe. */

#include "base/str.h"

struct map_slot {
    uint64_t hash;
    struct str key;
    void *value;
};
struct map {
    struct map_slot *slots;
    size_t count, used, cap;
};

void map_init(struct map *m);
void map_done(struct map *m); /* frees the table, not the values */
void *map_get(const struct map *m, struct str key);
/* Sets KEY to VALUE (not NULL); returns what it replaced or NULL. On replacement the new key
 * pointer is kept. */
void *map_put(struct map *m, struct str key, void *value);
void *map_del(struct map *m, struct str key); /* what was there, or NULL */
/* Walks all entries: start with *it = 0; NULL at the end. Do not change the map meanwhile. */
void *map_next(const struct map *m, size_t *it);
uint64_t hash_bytes(const void *p, size_t len); /* the keyed hash */

/* A u64 as a key: put the number in the value and point at it. */
#define MAP_KEY(lvalue) ((struct str){(const char *)&(lvalue), sizeof(lvalue)})

#endif
