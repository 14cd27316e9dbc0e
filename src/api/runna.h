/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_API_RUNNA_H
#define KILN_API_RUNNA_H

/* What the files of the runna dialect share. A function is named by its number, the first parameter
 * of its paths; all of the default workspace are seen. */

#include "api/request.h"
#include "json/write.h"

/* Sets r->function from the path: 0, or -1: ERR_NOT_FOUND, ERR_INVALID where it is no number. */
int runna_function(struct request *r, struct error *err);
/* request_fail(), where a function that has gone meanwhile is told of by its id. */
void runna_fail(struct request *r, const struct error *err);

/* {"success": true, "data": … and the end of it. */
void runna_begin(struct json_w *w, struct buf *body);
void runna_send(struct request *r, struct json_w *w, struct buf *body);

/* A job as this API shows it; its result is JSON text (p NULL: none). */
void runna_write_job(struct json_w *w, uint64_t no, const struct invocation *record,
                     struct str result);

#endif
