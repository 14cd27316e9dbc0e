/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_RUNTIMES_PYTHON_RUNTIME_H
#define KILN_RUNTIMES_PYTHON_RUNTIME_H

/* The Python runtime: an embedded CPython that is warmed once in the zygote and forked into every
 * instance. Modules, lowest first:
 *   channel.c   frames in and out over fd 3, log lines, flushing
 *   json_out.c  Python value to JSON text
 *   event.c     what a handler is given: Event and Context
 *   result.c    what a handler returned: RESULT frame
 *   kv.c        questions to the key-value store in the middle of a call
 *   isolate.c   calls that have a process each
 *   worker.c    the frame loop: HELLO, LOAD, CALL…
 *   embed.c     the interpreter: start, warm, fork hooks
 *   kiln_worker.py  what is easier in Python: loading code, logging, tracebacks, asyncio
 *   spin_sdk    what functions in Spin's format import */

#include "zygote/runtime.h"

extern const struct zygote_runtime python_runtime;

/* Where kiln_worker.py is, and where the function's files are unpacked. Set before warm() only by
 * tests, which have no sandbox with these paths. */
extern const char *python_runtime_dir; /* "/opt/kiln/python" */
extern const char *python_app_dir;     /* "/tmp/app" */

#endif
