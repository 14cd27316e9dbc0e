/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_API_KUBE_H
#define KILN_API_KUBE_H

/* What the files of the kube dialect share. A function is named by its name in the default project
 * of the default workspace, the first parameter of its paths. */

#include "api/request.h"

/* Sets r->function from the path: 0, or -1 ERR_NOT_FOUND. */
int kube_function(struct request *r, struct error *err);

#endif
