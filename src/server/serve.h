/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_SERVER_SERVE_H
#define KILN_SERVER_SERVE_H

#include "server/settings.h"

/* Runs the server until a signal has drained it. 0, or -1 with *ERR when it could not start. */
int serve(const struct settings *s, struct error *err);

#endif
