/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_API_BLUE_TASKS_H
#define KILN_API_BLUE_TASKS_H

/* What the builder's operations of the blue dialect share. */

#include "api/blue.h"
#include "task/task.h"

/* BuildResponse with 202, or ERR: a `done` of builder_submit(). ARG is the request. */
void blue_accepted(void *arg, const struct error *err, const struct task *task);

#endif
