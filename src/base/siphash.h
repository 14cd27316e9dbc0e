/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_BASE_SIPHASH_H
#define KILN_BASE_SIPHASH_H

/* SipHash-1-3 (Aumasson and Bernstein, https://www.aumasson.jp/siphash/siphash.pdf), 64 bits: the
 * keyed hash under struct map. Own code, since no library that kiln links has it. */

#include "base/base.h"

uint64_t siphash13(uint64_t k0, uint64_t k1, const void *p, size_t len);

#endif
