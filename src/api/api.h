/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_API_API_H
#define KILN_API_API_H

/* struct api: the served APIs, as callbacks for http_server. One for the program; immutable once it
 * is made, so that every loop uses the same. */

#include "core/core.h"
#include "http/server.h"

struct api;
struct builder; /* task/task.h */

struct api_config {
    /* Prices of costEstimate; negative: the default (API_PRICE_…). */
    double price_gb_second, price_request;
    struct builder *builder; /* the builder; outlives the api */
    const char *web_dir;     /* web/ of the build or the installation; it need not exist */
};
#define API_PRICE_GB_SECOND 0.0000166667
#define API_PRICE_REQUEST   0.0000002

/* CORE outlives the api. */
struct api *api_new(struct core *core, const struct api_config *config);
/* Before the loops run: where this API ("http://127.0.0.1:8080") and http triggers are reached, as
 * they stand in `endpoint`. Copied. */
void api_set_urls(struct api *a, const char *public_url, const char *gateway_url);
void api_free(struct api *a); /* after the servers that use it; NULL is fine */
/* Sets user, on_head, on_call, on_error and body_max of a server's configuration. */
void api_http(struct api *a, struct http_config *http);

#endif
