/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_RUNTIMES_PYTHON_EVENT_H
#define KILN_RUNTIMES_PYTHON_EVENT_H

/* What a handler is given.
 *
 * Event: a dict {body, headers, method, path, query} whose keys are also attributes, because
 * `handler(context)` gets this very object. `raw_body` is the exact bytes. Whatever a Context has
 * is an attribute of the event too.
 *
 * Context: function_name, function_version, workspace_id, invocation_id (also aws_request_id),
 * deadline (Unix time in seconds), get_remaining_time_in_millis(), log and logger (the same
 * logging.Logger). */

#include <Python.h>

#include "wire/wire.h"

int event_types_init(PyObject *module);
/* What every call of this instance has in common. 0, or -1 with an exception. */
int event_set_function(struct str name, struct str version, struct str workspace, PyObject *logger);
/* The JSON scanner: callable (text, index) → (value, end), raising on what is not JSON. */
void event_set_scanner(PyObject *scan);

/* The handler takes requests, and so an Event even where WIRE_PLAIN is set. */
void event_set_whole_requests(bool whole);

/* What one CALL gives to the handler. */
struct call {
    PyObject *event;   /* an Event, or with WIRE_PLAIN the body's value */
    PyObject *context; /* a Context */
    bool plain;        /* WIRE_PLAIN: the result is plain data too */
};
/* Fills *RET with new references. False: with an exception set, or without one when the payload is
 * malformed; *RET has no references then. */
bool event_from_call(struct str payload, struct call *ret);
void call_done(struct call *c);

/* str of UTF-8, or of Latin-1 where it is not UTF-8; new reference */
PyObject *text_of(struct str s);

#endif
