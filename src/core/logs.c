/* SPDX-License-Identifier: Apache-2.0 */
/* Log lines: from instances into history, and back to who asks. */

#include "core/internal.h"
#include "remote/loki.h"
#include <stdio.h>

void core_on_log(void *user, struct loop *loop, const struct deployment *d, const struct ulid *call,
                 const char *instance, enum log_line_level level, struct str text) {
    struct core *c = user;
    struct log_line l = {.function_no = d->function->no,
                         .version_number = d->version_number,
                         .invocation = *call,
                         .at_us = clock_real_us(),
                         .level = level,
                         .message = text};
    snprintf(l.instance, sizeof l.instance, "%s", instance);
    history_line(core_on(c, loop), &l);
    if (c->config.loki)
        loki_push(c->config.loki, &(struct loki_line){.function_no = l.function_no,
                                                      .workspace = d->function->workspace,
                                                      .level = log_line_level_name(level),
                                                      .at_us = l.at_us,
                                                      .text = text});
    if (atomic_load_explicit(&c->followers.n, memory_order_relaxed))
        followers_tell(c, &l);
}

struct logs_ask {
    struct ask ask;
    struct log_filter filter;
    struct log_line *v;
    size_t n, cap;
    struct buf text;
    bool too_much;
    void (*done)(void *arg, const struct error *err, const struct log_line *v, size_t n);
    void *arg;
};

static bool keep_line(void *arg, const struct log_line *l) {
    struct logs_ask *a = arg;
    size_t at = a->text.len;
    if (buf_put_str(&a->text, l->message) < 0) {
        a->too_much = true;
        return false;
    }
    a->v = grow(a->v, a->n, &a->cap, sizeof *a->v);
    a->v[a->n] = *l;
    a->v[a->n++].message = (struct str){(const char *)(uintptr_t)at, l->message.len};
    return true;
}

static int read_logs(struct ask *ask, struct store *s, struct error *err) {
    struct logs_ask *a = container_of(ask, struct logs_ask, ask);
    if (store_logs_each(s, &a->filter, keep_line, a, err) < 0)
        return -1;
    if (a->too_much)
        return error_field(err, ERR_TOO_LARGE, "limit",
                           "these lines are more than %zu MiB; ask for fewer", LOGS_READ_MAX / MIB);
    for (size_t i = 0; i < a->n; i++)
        a->v[i].message.p = a->text.p + (uintptr_t)a->v[i].message.p;
    return 0;
}

static void answer_logs(struct ask *ask, const struct error *err) {
    struct logs_ask *a = container_of(ask, struct logs_ask, ask);
    a->done(a->arg, err, err ? NULL : a->v, err ? 0 : a->n);
    free(a->v);
    buf_done(&a->text);
    free(a);
}

void core_logs(struct core *c, struct loop *loop, const struct log_filter *f,
               void (*done)(void *arg, const struct error *err, const struct log_line *v, size_t n),
               void *arg) {
    struct logs_ask *a = x_alloc(sizeof *a);
    a->ask = (struct ask){.core = c, .loop = loop, .read = read_logs, .answer = answer_logs};
    a->filter = *f;
    if (a->filter.limit == 0 || a->filter.limit > READ_ROWS_MAX)
        a->filter.limit = READ_ROWS_MAX;
    buf_init(&a->text, LOGS_READ_MAX);
    a->done = done;
    a->arg = arg;
    ask_after_history(&a->ask);
}
