/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_REMOTE_AUTH_H
#define KILN_REMOTE_AUTH_H

/* How kiln shows who it is to a back end: read from a file, since command lines are public. */

#include "base/error.h"

#define REMOTE_SECRET_MAX 4096

struct remote_auth { /* one of the two, or neither */
    char user[256], password[REMOTE_SECRET_MAX];
    char bearer[REMOTE_SECRET_MAX];
};
/* The first line of the file at PATH: "Bearer TOKEN" or "user:password". ERR_INVALID; the error
 * tells of the file and nothing of what it holds. */
int remote_auth_read(const char *path, struct remote_auth *ret, struct error *err);
void remote_auth_wipe(struct remote_auth *a);

#endif
