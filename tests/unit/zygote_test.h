/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_TESTS_ZYGOTE_TEST_H
#define KILN_TESTS_ZYGOTE_TEST_H

/* What test_sandbox.c asks of an instance of zygote_test.c, over descriptor 3. */

#include <stdint.h>

enum ask_what {
    ASK_READ = 1,  /* path: text */
    ASK_LIST,      /* path: names */
    ASK_WRITE,     /* path, number of bytes: number written */
    ASK_FORK_BOMB, /* up to number children: number made */
    ASK_HIDE,
    ASK_EAT, /* number of bytes of memory */
    ASK_DESCRIPTORS,
    ASK_SYSCALL, /* number, args */
    ASK_EXIT,
    ASK_ABORT,
    ASK_OTHER_ABI, /* getpid of the 32-bit calls, where there are some */
};
struct ask {
    uint32_t what;
    uint64_t number;
    uint64_t args[4];
    char path[128];
};
struct reply {
    int32_t error;
    int64_t number;
    char text[4096];
};

#endif
