/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_RUNTIMES_NODE_RUNTIME_H
#define KILN_RUNTIMES_NODE_RUNTIME_H

/* The Node runtime. V8 does not survive a fork, so an instance is an exec of `node` that runs
 * worker.js, warms itself, says HELLO and then waits for whichever function needs it. */

#include "zygote/runtime.h"

extern const struct zygote_runtime node_runtime;

/* Where worker.js is, and where the function's files are unpacked. Set before warm() only by tests,
 * which have no sandbox with these paths. */
extern const char *node_runtime_dir; /* "/opt/kiln/node" */
extern const char *node_app_dir;     /* "/tmp/app" */

#endif
