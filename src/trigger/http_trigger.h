/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_TRIGGER_HTTP_TRIGGER_H
#define KILN_TRIGGER_HTTP_TRIGGER_H

/* The gateway: http triggers at their paths. The function gets the request as it came and its
 * result is the reply. Open to everybody: that is what a public http trigger is. So what a function
 * says when it throws is not part of a reply: the public learns that it failed and the invocation's
 * id, its owner finds the words in the log and the record. */

#include "core/core.h"
#include "http/server.h"

/* Sets user, on_head, on_call, on_error and body_max of the gateway's server. CORE outlives the
 * server. Nothing to free. */
void http_trigger_http(struct core *core, struct http_config *http);

#endif
