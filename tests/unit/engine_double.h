/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_TESTS_ENGINE_DOUBLE_H
#define KILN_TESTS_ENGINE_DOUBLE_H

/* A stand-in for libkiln_engine that runs no code: calls and builds end as the test says. A build
 * fails when the code holds "BAD" or the handler is "missing", and, by no fault of the code, where
 * it holds "GONE". Calls answer with their body. */

#include "engine/engine.h"

enum double_mode { DOUBLE_ANSWER, DOUBLE_HOLD, DOUBLE_BUSY, DOUBLE_TIMEOUT, DOUBLE_REFUSE };

extern _Atomic int double_mode;         /* what happens to calls submitted from now on */
extern _Atomic bool double_hold_builds; /* builds started from now on wait for a release */
extern _Atomic unsigned double_submitted, double_builds, double_published, double_retired;

/* Ends everything held on LOOP; on its thread. */
void double_release(struct engine *e, struct loop *loop);
unsigned double_held(struct engine *e, struct loop *loop);
/* One line of output of a call's function, as an instance would print it; on LOOP's thread. */
void double_print(struct engine *e, struct loop *loop, const struct deployment *d,
                  const char *text);

#endif
