/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_API_LISTS_H
#define KILN_API_LISTS_H

/* What core shows one by one under its lock, as references that may be written out at leisure. */

#include "api/request.h"

struct function_list { /* newest first */
    struct function **v;
    size_t n, cap;
};
/* Of the request's workspace; PROJECT.p NULL: of all its projects. */
void function_list_get(struct function_list *l, const struct request *r, struct str project);
void function_list_done(struct function_list *l);

struct trigger_list { /* newest first */
    struct trigger *v[TRIGGERS_MAX];
    size_t n;
};
void trigger_list_get(struct trigger_list *l, const struct request *r, const struct function *f);
void trigger_list_done(struct trigger_list *l);

#endif
