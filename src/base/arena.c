/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"

#include <stdalign.h>

enum { ALIGN = 16, BLOCK_SIZE = 4096 - 64, BLOCK_SIZE_MAX = 64 * 1024 - 64 };

struct arena_block {
    struct arena_block *next;
    size_t used, cap;
    alignas(ALIGN) char data[];
};

#if defined(__SANITIZE_ADDRESS__)
#define PIECEWISE 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PIECEWISE 1
#endif
#endif
#ifndef PIECEWISE
#define PIECEWISE 0
#endif

void arena_init(struct arena *a, size_t max) {
    *a = (struct arena){.max = max};
}

static void free_blocks(struct arena_block *block) {
    while (block) {
        struct arena_block *next = block->next;
        free(block);
        block = next;
    }
}

void arena_done(struct arena *a) {
    if (!a)
        return;
    free_blocks(a->blocks);
    arena_init(a, a->max);
}

void arena_reset(struct arena *a) {
    struct arena_block *keep = a->blocks;
    if (keep && !PIECEWISE && keep->cap <= BLOCK_SIZE_MAX) {
        free_blocks(keep->next);
        keep->next = NULL;
        keep->used = 0;
    } else {
        free_blocks(keep);
        a->blocks = NULL;
    }
    a->used = 0;
}

/* A block for SIZE bytes at least. One that is made for a single large piece goes second, so that
 * what is left in the first can still be used. */
static struct arena_block *add_block(struct arena *a, size_t size) {
    size_t cap = size;
    if (!PIECEWISE && size <= BLOCK_SIZE_MAX / 4) {
        cap = a->blocks ? a->blocks->cap * 2 : BLOCK_SIZE;
        if (cap > BLOCK_SIZE_MAX)
            cap = BLOCK_SIZE_MAX;
        if (cap < size)
            cap = size;
    }
    struct arena_block *block = malloc(sizeof(*block) + cap);
    if (!block)
        return NULL;
    block->cap = cap;
    block->used = 0;
    struct arena_block **at = &a->blocks;
    if (cap == size && *at)
        at = &(*at)->next;
    block->next = *at;
    *at = block;
    return block;
}

void *arena_alloc(struct arena *a, size_t size) {
    if (size > a->max - a->used || size > SIZE_MAX / 2)
        return NULL;
    size_t rounded = (size + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if (rounded == 0)
        rounded = ALIGN;
    if (PIECEWISE)
        rounded = size; /* so that the first byte past it is poisoned */
    struct arena_block *block = a->blocks;
    if (PIECEWISE || !block || block->cap - block->used < rounded)
        block = add_block(a, rounded);
    if (!block)
        return NULL;
    void *p = block->data + block->used;
    block->used += rounded;
    a->used += size;
    return memset(p, 0, size);
}
