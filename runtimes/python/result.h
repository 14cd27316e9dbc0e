/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_RUNTIMES_PYTHON_RESULT_H
#define KILN_RUNTIMES_PYTHON_RESULT_H

/* What a handler returned, as a RESULT frame.
 *
 * A dict is a response (wrapped) when
 *   - it has `statusCode`, an HTTP status: an int from 100 to 599 or its decimal text. Another
 *     number there is an error; anything else (None, "done") makes the dict plain data;
 *   - or it has `status`, such a number, and beside it `body` or `headers`, or nothing at all.
 *     {"status": "ok", "items": []} and {"status": 200, "items": []} are plain data.
 * Of a response `headers` is a dict of name to str, number, or a list of them (sent repeated; None
 * is left out), `multiValueHeaders` adds to it, and `isBase64Encoded: True` makes a str body the
 * bytes it stands for. Other keys are ignored. All else, tuples too, is plain data.
 *
 * Body of a response: str → TEXT, bytes, bytearray, memoryview → BYTES, None or absent → NONE, else
 * JSON. Plain data: the same, but None is JSON null. */

#include <Python.h>

#include "wire/wire.h"

/* Appends the frame to the channel. PLAIN: a dict is never a response. 0, or -1 with an exception
 * saying what cannot be encoded. */
int result_send(uint32_t seq, PyObject *result, bool plain);

#endif
