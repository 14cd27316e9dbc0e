/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_RUNTIMES_PYTHON_JSON_OUT_H
#define KILN_RUNTIMES_PYTHON_JSON_OUT_H

/* Writes a Python value as compact JSON text (RFC 8259, UTF-8). What json.dumps(ensure_ascii=False,
 * allow_nan=False) accepts is accepted and spelled alike. Own code because the standard encoder
 * builds a list of strings that is joined, decoded and copied again, which costs more than a whole
 * call, and because its errors do not say which value could not be encoded. Runs no Python code of
 * the function's. */

#include <Python.h>

#include "base/buf.h"

/* 0, or -1 with a Python exception whose text names the place of the value ("result.items[3]"). */
int json_out(struct buf *b, PyObject *value);

#endif
