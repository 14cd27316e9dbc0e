/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_BASE_RAND_H
#define KILN_BASE_RAND_H

#include "base/base.h"

/* Fills from getrandom(2); aborts if the kernel has none. */
void rand_bytes(void *p, size_t n);
uint64_t rand_u64(void);

#endif
