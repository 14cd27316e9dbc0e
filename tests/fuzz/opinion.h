/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_TESTS_OPINION_H
#define KILN_TESTS_OPINION_H

/* What http-parser, an independent implementation, makes of a request. In a file of its own: its
 * header claims the names of kiln's. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OPINION_TARGET_MAX 16384

struct opinion {
    bool head_done, done, failed, upgrade, chunked, keep_alive;
    int minor;
    char method[32];
    char target[OPINION_TARGET_MAX];
    size_t target_len, n_headers, body_len;
    uint64_t content_length;
};
void opinion_ask(const char *request, size_t len, struct opinion *ret);

#endif
