/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_API_DIALECTS_H
#define KILN_API_DIALECTS_H

#include "api/dialect.h"

extern const struct dialect dialect_common; /* paths of nobody; answers {"error"} */
extern const struct dialect dialect_fnservice;
extern const struct dialect dialect_kube;
extern const struct dialect dialect_runna;
extern const struct dialect dialect_blue;
extern const struct dialect dialect_iron;

/* All of them; NULL ends. The one place that a new dialect is added to. */
extern const struct dialect *const dialects[];

#endif
