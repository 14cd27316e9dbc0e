/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_API_COMMON_H
#define KILN_API_COMMON_H

/* What several dialects answer alike. */

#include "api/request.h"

/* {"status":"healthy"}: the process answers. */
void common_health(struct request *r);
/* {"status":"ready"}, or 503 with what is missing. */
void common_ready(struct request *r);
/* {"error": text} */
void common_error_body(struct buf *out, const struct error *err, const char *word);

#endif
