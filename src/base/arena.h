/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_BASE_ARENA_H
#define KILN_BASE_ARENA_H

/* struct arena: request-long memory, freed all at once. Has a ceiling: past it arena_alloc()
 * returns NULL, for the sizes that come from outside. In sanitizer builds every piece is a malloc
 * of its own, so that an overrun is seen. Not thread-safe. */

#include "base/str.h"

struct arena_block;
struct arena {
    struct arena_block *blocks;
    size_t used, max;
};

void arena_init(struct arena *a, size_t max);
void arena_done(struct arena *a);
/* Frees everything but one block kept for the next request. */
void arena_reset(struct arena *a);
/* Zeroed, aligned to 16. NULL when over the ceiling. */
void *arena_alloc(struct arena *a, size_t size);

#endif
