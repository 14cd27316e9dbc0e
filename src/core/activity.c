/* SPDX-License-Identifier: Apache-2.0 */
/* What functions did lately, for lists that show it. */

#include "core/internal.h"

struct activity_ask {
    struct ask ask;
    uint32_t *nos;
    struct core_activity *v;
    size_t n;
    int64_t since_us;
    void (*done)(void *arg, const struct error *err, const struct core_activity *v, size_t n);
    void *arg;
};

static int activity_read(struct ask *ask, struct store *s, struct error *err) {
    struct activity_ask *a = container_of(ask, struct activity_ask, ask);
    for (size_t i = 0; i < a->n; i++) {
        struct store_activity sums;
        if (store_activity(s, a->nos[i], a->since_us / 60000000, &sums, err) < 0)
            return -1;
        a->v[i] = (struct core_activity){.invocations = sums.invocations,
                                         .errors = sums.errors,
                                         .busy_us = sums.busy_us,
                                         .answered_errors = sums.answered_errors};
    }
    return 0;
}

static void activity_answer(struct ask *ask, const struct error *err) {
    struct activity_ask *a = container_of(ask, struct activity_ask, ask);
    a->done(a->arg, err, err ? NULL : a->v, err ? 0 : a->n);
    free(a->nos);
    free(a->v);
    free(a);
}

void core_activity(struct core *c, struct loop *loop, const uint32_t *nos, size_t n,
                   int64_t since_us,
                   void (*done)(void *arg, const struct error *err, const struct core_activity *v,
                                size_t n),
                   void *arg) {
    struct activity_ask *a = x_alloc(sizeof *a);
    a->ask =
        (struct ask){.core = c, .loop = loop, .read = activity_read, .answer = activity_answer};
    a->nos = x_calloc(n + 1, sizeof *a->nos);
    a->v = x_calloc(n + 1, sizeof *a->v);
    a->n = n;
    a->since_us = since_us;
    for (size_t i = 0; i < n; i++)
        a->nos[i] = nos[i];
    a->done = done;
    a->arg = arg;
    ask_after_history(&a->ask);
}
