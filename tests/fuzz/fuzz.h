/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_TESTS_FUZZ_H
#define KILN_TESTS_FUZZ_H

/* Every target defines this one function. With -Dfuzz=true libFuzzer calls it; always, replay.c
 * calls it with every file of the target's corpus, as an ordinary test. */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An assertion that holds in every build. */
#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#endif
