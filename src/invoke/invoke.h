/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_INVOKE_INVOKE_H
#define KILN_INVOKE_INVOKE_H

/* Between HTTP and a call: what of a request reaches the function, and what of its result reaches
 * the client. One place for every face that carries calls (api, trigger), so that none is laxer
 * than the others. Stateless. */

#include "core/core.h"
#include "http/parser.h"
#include "http/url.h"

/* ---- request to call ---- */
enum invoke_pass {
    INVOKE_PRIVATE, /* Authorization is the caller's key to kiln: it stays outside */
    INVOKE_PUBLIC,  /* a public address: Authorization is between client and function */
};
/* False for kiln's own (X-Kiln-…) and for what belongs to the connection: Connection, Expect,
 * Transfer-Encoding, Upgrade, proxy headers, Content-Length. LOWER_NAME is in lower case. */
bool invoke_header_passes(struct str lower_name, enum invoke_pass pass);
/* Appends the pairs of the query, then the headers that pass, those that its Connection header
 * names left out: 0, or -1 ERR_INVALID. Further headers may follow, then the end. */
int invoke_input_head(struct engine_input *in, const struct http_head *head, enum invoke_pass pass,
                      struct arena *a, struct error *err);
/* engine_input_end(): 0, or -1 ERR_TOO_LARGE. */
int invoke_input_end(struct engine_input *in, struct error *err);
/* What the function is told that BODY is. CONTENT_TYPE p == NULL: none was given.
 *   empty                                            NONE
 *   a JSON type, or none and '{' or '[': valid JSON  JSON
 *   a text type or none, and UTF-8                   TEXT
 *   else                                             BYTES */
enum wire_body invoke_body_kind(struct str content_type, struct str body);

/* ---- result to reply ---- */
/* Next header of a result: false at the end. Those whose name is no token or whose value has
 * control bytes are skipped, and so are the ones that frame a message (Content-Length,
 * Transfer-Encoding, Connection …): a function says what its reply is, not how it travels. Start
 * with a copy of result->headers and *left = INVOKE_HEADERS_START. */
#define INVOKE_HEADERS_START UINT32_MAX
bool invoke_header_next(struct wire_in *in, uint32_t *left, struct http_header *ret);
/* Content-Type of a body whose handler named none; NULL for no body. */
const char *invoke_content_type(enum wire_body kind);

/* Appends the headers as a JSON object: name → list of values, or with SINGLES name → value where
 * there is one. Names equal but for case are one. Returns how many names. EXTRA (name NULL: none)
 * is added unless the result has it. */
size_t invoke_headers_json(struct buf *out, struct wire_in headers, bool singles,
                           struct http_header extra);

/* Why a call failed, in one word ("function", "timeout", "memory", "crash", "limit", "busy",
 * "platform") for X-Kiln-Error and details.cause. */
const char *invoke_cause(enum error_code code);
/* Sets *ERR to what R failed with, for a dialect's error table. */
void invoke_error(const struct engine_result *r, struct error *err);
/* µs as ms, rounded up: what callers call "duration". */
static inline uint64_t invoke_ms(uint64_t us) {
    return (us + 999) / 1000;
}

#endif
