/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_BASE_ULID_H
#define KILN_BASE_ULID_H

/* struct ulid: 16 bytes that sort by time of birth (github.com/ulid/spec), written as 26 letters of
 * Crockford's base32. kiln uses the 80 bits behind the time so: 32 bits the function's number, 10
 * bits the microsecond, 38 bits drawn at random and counted up within one of a thread. So an
 * invocation id leads to its function without an index, and those of a function sort by their
 * microsecond. */

#include "base/str.h"

#define ULID_TEXT_LEN 26

struct ulid {
    uint8_t b[16];
};

struct ulid ulid_make(uint32_t function_no); /* thread-safe; monotonic within a thread */
void ulid_text(const struct ulid *u, char out[ULID_TEXT_LEN + 1]);
int ulid_parse(struct str s, struct ulid *ret); /* 0 or -EINVAL; upper case only */
uint32_t ulid_function_no(const struct ulid *u);
uint64_t ulid_ms(const struct ulid *u);

#endif
