/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_ZYGOTE_RUNTIME_H
#define KILN_ZYGOTE_RUNTIME_H

/* What a language brings to the zygote: one const struct a zygote executable
 * (runtimes/python/zygote_python.c, runtimes/node/zygote_node.c), handed to zygote_main(). */

#include "base/base.h"

struct zygote_runtime {
    const char *name; /* "python", "node" */
    bool containers;  /* its instances make containers: sandbox.h has that profile */
    /* Runs once inside the ready sandbox, single-threaded, as the zygote's pid 1: start and warm
     * the interpreter. Writes what it calls itself to NAME ("Python 3.11.2"). 0 or -errno with the
     * reason on standard error. */
    int (*warm)(char *name, size_t name_size);
    /* Called in the zygote around the fork, NULL where nothing is to do. */
    void (*before_fork)(void);
    void (*after_fork_parent)(void);
    /* Runs in the new instance: sandboxed, capabilities dropped, seccomp on, fd 0 = /dev/null, 1
     * and 2 = pipes, 3 = channel, no other descriptor open. Never returns. */
    void (*instance)(void) NORETURN;
};

/* argv: as the server's engine starts it (see zygote.c); returns the exit status. */
int zygote_main(int argc, char **argv, const struct zygote_runtime *runtime);

#endif
