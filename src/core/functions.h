/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_CORE_FUNCTIONS_H
#define KILN_CORE_FUNCTIONS_H

/* What making and changing functions, versions and triggers share. 0 or -1 with *err. */

#include "core/internal.h"
#include "model/image_ref.h"

int core_refuses(struct core *c, struct error *err); /* while starting and shutting down */
int change_needs_function(const struct change *ch, struct error *err);

int function_check(struct function *f, struct error *err); /* all fields; sets kind */
/* What a version is made of: code, or an image, or code that runs and an image that is remembered.
 * KIND is the function's runtime. */
int code_check(struct str code, const char *image, enum runtime_kind kind, struct error *err);
int triggers_check(struct core *c, struct trigger **v, size_t n, const struct function *f,
                   struct error *err);
/* Is T's path and method on the gateway free, but for function SELF's own? */
int route_check(struct core *c, const struct trigger *t, uint32_t self, struct error *err);
/* On the store thread; sets the numbers. */
int triggers_insert(struct store *s, struct trigger **v, size_t n, uint32_t function_no,
                    struct error *err);
void triggers_newest_first(struct trigger **v, size_t n); /* turns oldest-first around */

#endif
