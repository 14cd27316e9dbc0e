/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_BASE_CLOCK_H
#define KILN_BASE_CLOCK_H

/* Time: monotonic nanoseconds for deadlines and durations, real microseconds since 1970 for what
 * is stored and shown. */

#include "base/str.h"

uint64_t clock_mono_ns(void);
int64_t clock_real_us(void);

#define RFC3339_MAX 40
/* "2025-06-10T18:15:00.125Z"; the fraction (3 or 6 digits) is left out where it is zero. */
const char *clock_rfc3339(int64_t real_us, char out[RFC3339_MAX]);
/* RFC 3339 section 5.6 with any offset: 0 or -EINVAL. */
int clock_parse_rfc3339(struct str s, int64_t *ret_real_us);

#endif
