/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_SERVER_PATHS_H
#define KILN_SERVER_PATHS_H

#include "base/error.h"

struct paths {
    char *lib;      /* where this program and its zygotes stand */
    char *runtimes; /* what instances see at /opt/kiln */
    char *web;      /* what browsers are given (web/); it may be missing */
    char *data;     /* made if need be, mode 0700, without symbolic links */
    char *images;   /* below it: unpacked images (oci/oci.h) */
    char id[16];    /* of this data folder: names its control groups */
};

/* Only where kiln's pages stand; the caller's. NULL where kiln is not whole. */
char *paths_web(void);
int paths_find(struct paths *p, const char *data, struct error *err);
void paths_done(struct paths *p);

#endif
