/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_SERVER_BACKENDS_H
#define KILN_SERVER_BACKENDS_H

/* The services outside that this server was told to use, from its settings. Each is NULL where it
 * is not configured: kiln's own store does its work then. */

#include "remote/loki.h"
#include "remote/prometheus.h"
#include "remote/s3.h"
#include "server/settings.h"

struct backends {
    struct loki *loki;
    struct prometheus *prometheus;
    struct s3 *s3;
};
/* Before the zygotes start: S3's keys are taken out of the environment. ERR_INVALID says which
 * setting is wrong. Nothing is connected to: a service may come up later. */
int backends_open(const struct settings *s, struct backends *ret, struct error *err);
void backends_stop(struct backends *b);  /* what is under way there ends soon */
void backends_close(struct backends *b); /* safe on a half-opened one */

#endif
