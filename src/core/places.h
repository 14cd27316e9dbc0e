/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_CORE_PLACES_H
#define KILN_CORE_PLACES_H

/* struct places: where functions live, in memory (places.c); what changes them (workspaces.c,
 * projects.c). Every function's workspace and project is here: making a function makes them. */

#include "core/internal.h"

void places_init(struct places *p);
void places_done(struct places *p);
/* On the store thread after the commit, or before anybody else looks. */
void places_add_workspace(struct places *p, const struct workspace *w /* its strings are taken */);
void places_set_workspace(struct places *p, const struct workspace *w); /* name, description */
void places_remove_workspace(struct places *p, struct str id);          /* with its projects */
void places_put_project(struct places *p, struct project *project /* taken; replaces its like */);
void places_remove_project(struct places *p, uint32_t no);

/* Is there room for one more workspace and project? ERR_QUOTA. */
int places_room(struct core *c, struct error *err);

struct places_new { /* what the making of a function made besides */
    struct workspace workspace;
    struct project *project;
};
/* On the store thread, in the transaction that makes F. */
int places_ensure(struct core *c, struct store *s, const struct function *f,
                  struct places_new *made, struct error *err);
void places_made(struct core *c, struct places_new *made); /* after the commit */
void places_new_done(struct places_new *made);

#endif
