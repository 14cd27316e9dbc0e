/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_API_INTERNAL_H
#define KILN_API_INTERNAL_H

/* What the files of api/ share but operations do not need. */

#include "api/api.h"
#include "api/request.h"
#include "api/web.h"

struct api {
    struct core *core;
    char *public_url, *gateway_url;
    double price_gb_second, price_request;
    struct builder *builder;
    struct web *web;                 /* what browsers are given */
    _Atomic bool interpreters_asked; /* capabilities have waited for them once */
};

/* Answers an error where there is no request yet. ALLOW: value of Allow, or NULL. */
void reply_error(struct http_call *call, const struct dialect *d, const struct error *err,
                 const char *allow);
/* OPTIONS: which methods, and for whom. */
void reply_options(struct http_call *call, const struct dialect *d, const char *allow);

#endif
