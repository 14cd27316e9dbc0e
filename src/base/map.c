/* SPDX-License-Identifier: Apache-2.0 */
/* Linear probing with backward shift on deletion: no tombstones, so lookups do not degrade, and
 * `used` always equals `count`. A slot is free when its value is NULL. */
#include "base/map.h"
#include "base/rand.h"
#include "base/siphash.h"

enum { MAP_FIRST = 16 };

static uint64_t hash_key[2];

/* Before main(), so that no lookup has to ask whether the key is there and no thread races. */
static __attribute__((constructor)) void draw_hash_key(void) {
    rand_bytes(hash_key, sizeof(hash_key));
}

uint64_t hash_bytes(const void *p, size_t len) {
    return siphash13(hash_key[0], hash_key[1], p, len);
}

void map_init(struct map *m) {
    *m = (struct map){0};
}

void map_done(struct map *m) {
    if (!m)
        return;
    free(m->slots);
    map_init(m);
}

/* The slot of KEY, or the free one where it would go. The table is never full. */
static struct map_slot *find(const struct map *m, struct str key, uint64_t hash) {
    size_t i = hash & (m->cap - 1);
    while (m->slots[i].value && (m->slots[i].hash != hash || !str_eq(m->slots[i].key, key)))
        i = (i + 1) & (m->cap - 1);
    return &m->slots[i];
}

void *map_get(const struct map *m, struct str key) {
    if (m->count == 0)
        return NULL;
    return find(m, key, hash_bytes(key.p, key.len))->value;
}

static void grow(struct map *m) {
    struct map bigger = {.cap = m->cap ? m->cap * 2 : MAP_FIRST};
    bigger.slots = x_calloc(bigger.cap, sizeof(*bigger.slots));
    for (size_t i = 0; i < m->cap; i++) {
        if (m->slots[i].value)
            *find(&bigger, m->slots[i].key, m->slots[i].hash) = m->slots[i];
    }
    free(m->slots);
    m->slots = bigger.slots;
    m->cap = bigger.cap;
}

void *map_put(struct map *m, struct str key, void *value) {
    if ((m->count + 1) * 4 > m->cap * 3)
        grow(m);
    uint64_t hash = hash_bytes(key.p, key.len);
    struct map_slot *slot = find(m, key, hash);
    void *old = slot->value;
    *slot = (struct map_slot){hash, key, value};
    if (!old)
        m->used = ++m->count;
    return old;
}

/* Closes the hole at I: later entries of the run move back unless that would put them before the
 * slot their hash asks for. */
static void shift_back(struct map *m, size_t hole) {
    size_t mask = m->cap - 1;
    for (size_t i = (hole + 1) & mask; m->slots[i].value; i = (i + 1) & mask) {
        size_t from_home = (i - (m->slots[i].hash & mask)) & mask;
        if (from_home >= ((i - hole) & mask)) {
            m->slots[hole] = m->slots[i];
            hole = i;
        }
    }
    m->slots[hole] = (struct map_slot){0};
}

void *map_del(struct map *m, struct str key) {
    if (m->count == 0)
        return NULL;
    struct map_slot *slot = find(m, key, hash_bytes(key.p, key.len));
    void *old = slot->value;
    if (!old)
        return NULL;
    shift_back(m, (size_t)(slot - m->slots));
    m->used = --m->count;
    return old;
}

void *map_next(const struct map *m, size_t *it) {
    while (*it < m->cap) {
        void *value = m->slots[(*it)++].value;
        if (value)
            return value;
    }
    return NULL;
}
