/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_API_FNSERVICE_H
#define KILN_API_FNSERVICE_H

/* What the files of the fnservice dialect share. Parameters of its paths: 0 workspace, 1 function
 * or invocation, 2 version or trigger. */

#include "api/request.h"
#include "json/tree.h"
#include "json/write.h"

enum { FN_WORKSPACE, FN_FUNCTION, FN_THIRD };
#define FN_INVOCATION FN_FUNCTION

/* Sets r->function from the path: 0, or -1 ERR_NOT_FOUND (of another workspace too). */
int fnservice_function(struct request *r, struct error *err);

/* MEMBER of O as base64 into OUT (initialised; its max is the limit). */
int fnservice_base64(const struct json *o, const char *member, int flags, struct buf *out,
                     struct error *err);

void fnservice_write_function(struct json_w *w, const struct request *r, const struct function *f);
void fnservice_write_trigger(struct json_w *w, const struct function *f, const struct trigger *t);
void fnservice_write_id(struct json_w *w, const char *member, const char *prefix, uint32_t no);
/* "v2", or "" for none. */
void fnservice_write_version_name(struct json_w *w, const char *member, uint32_t number);

/* Ends R with a JSON reply, or with ERR_INTERNAL where it grew over REPLY_MAX. */
void fnservice_send(struct request *r, int status, struct json_w *w, struct buf *body);
void fnservice_message(struct request *r, const char *message);

#endif
