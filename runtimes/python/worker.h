/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_RUNTIMES_PYTHON_WORKER_H
#define KILN_RUNTIMES_PYTHON_WORKER_H

#include "base/base.h"

/* Exit status of an instance that got a frame it cannot understand. */
#define WORKER_EXIT_PROTOCOL 70

/* Registers the built-in module _kiln; before the interpreter starts. 0 or -ENOMEM. */
int worker_register(void);
/* Imports kiln_worker and runs the path of a call some hundred times, so that an instance is forked
 * with everything in place. 0, or -EIO with the traceback on standard error. */
int worker_warm(void);
/* The frame loop over FD; never returns. INTERPRETER is what HELLO says. */
void worker_run(int fd, const char *interpreter) NORETURN;

#endif
