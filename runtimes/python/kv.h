/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_RUNTIMES_PYTHON_KV_H
#define KILN_RUNTIMES_PYTHON_KV_H

/* Questions to the key-value store (KV and KV_ANSWER of wire.h). One at a time an instance, and
 * only while a call runs: threads of the function take turns, and the call ends only when the one
 * that is under way has its answer. */

#include <Python.h>

#include "base/base.h"

/* 0, or -1 with an exception: no memory. Before the first call. */
int kv_init(void);
void kv_begin(uint32_t seq); /* call SEQ may ask from now on */
void kv_end(void);           /* waits for the answer that is still to come; then nobody may */
/* _kiln.kv(op, store, key, value) → (status, bytes) */
PyObject *kv_ask(PyObject *self, PyObject *args);

#endif
