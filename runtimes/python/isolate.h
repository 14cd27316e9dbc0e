/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_RUNTIMES_PYTHON_ISOLATE_H
#define KILN_RUNTIMES_PYTHON_ISOLATE_H

/* Functions of which each call must see the state right after their code was loaded (Spin's
 * format): every call has a process of its own, forked from the one that loaded the code. The fork
 * is made before the call comes, and the child itself reads the call and writes its result, so that
 * a caller does not wait for it and nothing is copied. When the child has ended the parent ends
 * whatever processes it left, puts its files back, and forks the next.
 *
 * A child that ends before its result is out takes the instance with it, and the engine says why
 * (memory, crash). One that hangs is killed with the instance. */

#include <Python.h>

#include "wire/wire.h"

/* The loop of such a function; HANDLE answers one call. PREPARE(used) makes ready for the next. */
void isolate_run(void (*handle)(const struct wire_frame *f), void (*prepare)(int used)) NORETURN;
/* _kiln.used(bits): the call tells PREPARE what it has used. */
PyObject *isolate_used(PyObject *self, PyObject *bits);

#endif
