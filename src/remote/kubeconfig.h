/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_REMOTE_KUBECONFIG_H
#define KILN_REMOTE_KUBECONFIG_H

/* struct kubeconfig: what is needed to speak to a cluster, out of a kubeconfig
 * (kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig) or a pod's files.
 */

#include "base/buf.h"
#include "base/error.h"

struct kubeconfig {
    char *server;                  /* "https://host:6443" */
    char *token, *user, *password; /* or NULL */
    struct buf ca, cert, key;      /* PEM; empty: none */
    bool insecure;
};
int kubeconfig_read(struct kubeconfig *c, const char *path, struct error *err);
/* ERR_UNAVAILABLE where this is no pod. */
int kubeconfig_in_cluster(struct kubeconfig *c, struct error *err);
void kubeconfig_done(struct kubeconfig *c); /* wipes */

#endif
