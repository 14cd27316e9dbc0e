/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_API_API_H
#define KILN_API_API_H

/* struct api: the served APIs, as callbacks for http_server. One for the program; immutable once it
 * is made, so that every loop uses the same. */

#include "core/core.h"
#include "http/server.h"

struct api;

struct api_config {
    const char *public_url;  /* "http://127.0.0.1:8080": where this API is reached; copied */
    const char *gateway_url; /* "http://127.0.0.1:8081": where http triggers are reached; copied */
    /* Prices of costEstimate; negative: the default (API_PRICE_…). */
    double price_gb_second, price_request;
};
#define API_PRICE_GB_SECOND 0.0000166667
#define API_PRICE_REQUEST   0.0000002

/* CORE outlives the api. */
struct api *api_new(struct core *core, const struct api_config *config);
void api_free(struct api *a); /* after the servers that use it; NULL is fine */
/* Sets user, on_head, on_call, on_error and body_max of a server's configuration. */
void api_http(struct api *a, struct http_config *http);

#endif
