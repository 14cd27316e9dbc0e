/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_API_BLUE_FUNCTIONS_H
#define KILN_API_BLUE_FUNCTIONS_H

/* blue's functions: what its files blue_functions*.c share. One is a function of its workspace's
 * default project; its name is the title. Its invocation URL is real: http triggers
 * "invocation-<method>" at /fn/<workspace>/<name> on the gateway, one for each of its methods. What
 * kiln has no place for is kept as annotations. */

#include "api/blue.h"

#define BLUE_DESCRIPTION "description"
#define BLUE_STATUS      "blue.status" /* absent: active */
#define BLUE_URL         "blue.invocationUrl"
#define BLUE_DEPLOYED    "blue.lastDeployed" /* µs since 1970 */
#define BLUE_TRIGGER     "invocation-"
#define BLUE_HANDLER     "handler" /* the worker looks for Spin's class IncomingHandler first */

extern const char *const blue_methods[];
#define BLUE_METHODS_N 7

static inline bool blue_is_invocation(const struct trigger *t) {
    return t->type == TRIGGER_HTTP && str_starts(str_of(t->name), STR(BLUE_TRIGGER));
}

/* ---- out: the request's function with its code and counters ---- */
struct blue_shown { /* r->state, or first in it */
    struct request *r;
    int http_status;
    const char *status; /* NULL: the function's */
    bool new_code;      /* it was changed by new code, which may not have built */
    struct blob *code;
};
struct blue_shown *blue_shown_new(struct request *r, int http_status); /* sets r->state */
/* A `done` of core: shows F, or fails. ARG is the blue_shown. */
void blue_show_stored(void *arg, const struct error *err, struct function *f);

/* ---- in: what a body says; p NULL or -1: nothing ---- */
struct blue_given {
    struct str name, description, runtime, code, url, status;
    int64_t memory, timeout, deployed_us;
    const struct json *methods, *env;
};
/* From the body of R into *RET_O (json_free() is the caller's), in which *G stands; or R is
 * answered and -1. PATCH: all may be absent or null. */
int blue_given_read(struct request *r, bool patch, struct json **ret_o, struct blue_given *g);
/* Into F. ERR_INVALID. */
int blue_given_apply(const struct request *r, const struct json *o, const struct blue_given *g,
                     struct function *f, struct error *err);
/* Its code's bytes into OUT. */
int blue_given_code(const struct blue_given *g, struct buf *out, struct error *err);

#endif
