/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_REMOTE_KUBERNETES_H
#define KILN_REMOTE_KUBERNETES_H

/* struct kubernetes: a client of one Kubernetes API server
 * (kubernetes.io/docs/reference/using-api), over remote/http.h: blocking, of one thread at a time.
 * TLS is verified against the cluster's own authority. Tokens and keys are in this process's memory
 * alone. */

#include "remote/http.h"
#include "json/tree.h"

#define KUBERNETES_FILE_MAX   (1 * MIB) /* of a kubeconfig, a certificate, a key, a token */
#define KUBERNETES_TIMEOUT_MS 15000u

/* Where the cluster is, and who we are, from the first of: the kubeconfig PATH (NULL: not given),
 * the first file of $KUBECONFIG, the files of a pod's service account. Read anew each time, as
 * tokens are rotated. STOP: remote_config.stop. ERR_UNAVAILABLE: none is configured; ERR_INVALID:
 * the file is wrong, or names what is not done here (exec plugins). The text names the file, and
 * nothing secret of it. */
struct kubernetes;
int kubernetes_open(const char *path, const _Atomic bool *stop, struct kubernetes **ret,
                    struct error *err);
void kubernetes_close(struct kubernetes *k); /* NULL is fine */

/* GET PATH: 1 with *RET (json_free()), 0 where it is not there (404), -1. RET may be NULL. */
int kubernetes_get(struct kubernetes *k, const char *path, struct json **ret, struct error *err);
/* Server-side apply of MANIFEST (JSON) by the field manager "kiln": made, or changed where it is
 * there. 1; 0 where its place is not there (404); -1: ERR_INVALID with the server's message (400,
 * 422), ERR_FORBIDDEN (401, 403), ERR_CONFLICT, ERR_UNAVAILABLE. */
int kubernetes_apply(struct kubernetes *k, const char *path, struct str manifest,
                     struct error *err);
/* "Warning" headers of the last reply (RFC 9110), or p NULL: fields that it does not know. Lives
 * until the next request. */
struct str kubernetes_warning(const struct kubernetes *k);

#endif
