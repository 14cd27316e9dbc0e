/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_REMOTE_PROMETHEUS_H
#define KILN_REMOTE_PROMETHEUS_H

/* struct prometheus: questions to a Prometheus server (prometheus.io/docs/prometheus/latest/
 * querying/api). Blocking, for worker threads; several may ask at once. */

#include "remote/auth.h"
#include "json/tree.h"

#define PROMETHEUS_TIMEOUT_MS 10000u
#define PROMETHEUS_REPLY_MAX  (8 * MIB)

struct prometheus;
/* URL is copied; AUTH may be NULL and is copied. ERR_INVALID: no URL. */
int prometheus_new(const char *url, const struct remote_auth *auth, struct prometheus **ret,
                   struct error *err);
void prometheus_free(struct prometheus *p); /* NULL is fine */
/* From any thread: those who ask, and who will ask, hear ERR_UNAVAILABLE soon. */
void prometheus_stop(struct prometheus *p);

struct prometheus_question {
    const char *promql;
    int64_t start_s, end_s; /* of a range; END_S alone where STEP_S is 0 */
    uint32_t step_s;        /* 0: one moment */
};
/* *RET: the whole reply, to be freed; *RET_DATA: its member "data", an object with resultType and
 * result. ERR_UNAVAILABLE: it cannot be reached, or refuses, with what it says. */
int prometheus_ask(struct prometheus *p, const struct prometheus_question *q, struct json **ret,
                   const struct json **ret_data, struct error *err);

#endif
