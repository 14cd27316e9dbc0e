/* SPDX-License-Identifier: Apache-2.0 */
/* Questions to services outside: on a worker thread, answered on the loop that asked. */

#include "core/internal.h"
#include "loop/work.h"
#include "remote/loki.h"
#include "remote/prometheus.h"
#include <errno.h>

#define LOKI_WINDOW_MAX_S (30 * 86400) /* Loki's own limit of one question, by default */

struct lines_ask {
    struct work work;
    struct loop_task task;
    struct core *core;
    uint32_t function_no, limit;
    struct core_line *v; /* texts are offsets until all are there */
    size_t n, cap;
    struct buf text;
    struct error error;
    bool failed;
    void (*done)(void *arg, const struct error *err, const struct core_line *v, size_t n);
    void *arg;
};

static int refuse(struct error *err, int r) {
    return error_set(err, ERR_UNAVAILABLE,
                     r == -EAGAIN ? "too much waits for a worker thread"
                                  : "the server is shutting down");
}

static void take_line(void *arg, int64_t at_ns, struct str line) {
    struct lines_ask *a = arg;
    size_t at = a->text.len;
    if (buf_put_str(&a->text, line) < 0)
        return; /* beyond the bound the oldest are left out */
    a->v = grow(a->v, a->n, &a->cap, sizeof *a->v);
    a->v[a->n++] = (struct core_line){at_ns, {(const char *)(uintptr_t)at, line.len}};
}

/* Lines of the last moments too: clocks differ. */
static void ask_loki(struct work *work) {
    struct lines_ask *a = container_of(work, struct lines_ask, work);
    int64_t now_ns = clock_real_us() * 1000;
    int64_t age_ns =
        (int64_t)(a->core->config.history_age_s < LOKI_WINDOW_MAX_S ? a->core->config.history_age_s
                                                                    : LOKI_WINDOW_MAX_S) *
        (int64_t)NS_PER_S;
    a->failed = loki_ask(a->core->config.loki, a->function_no, now_ns - age_ns,
                         now_ns + 60 * (int64_t)NS_PER_S, a->limit, take_line, a, &a->error) < 0;
}

static void lines_end(struct lines_ask *a) {
    for (size_t i = 0; i < a->n; i++)
        a->v[i].text.p = a->text.p ? a->text.p + (uintptr_t)a->v[i].text.p : "";
    a->done(a->arg, a->failed ? &a->error : NULL, a->v, a->failed ? 0 : a->n);
    free(a->v);
    buf_done(&a->text);
    free(a);
}

static void loki_answered(struct work *work) {
    struct lines_ask *a = container_of(work, struct lines_ask, work);
    if (work->dropped) {
        a->failed = true;
        (void)refuse(&a->error, -ESHUTDOWN);
    }
    lines_end(a);
}

static void stored(void *arg, const struct error *err, const struct log_line *v, size_t n) {
    struct lines_ask *a = arg;
    a->failed = err != NULL;
    if (err)
        a->error = *err;
    for (size_t i = n; i-- > 0;)
        take_line(a, v[i].at_us * 1000, v[i].message);
    lines_end(a);
}

static void lines_refused(struct loop_task *task) {
    lines_end(container_of(task, struct lines_ask, task));
}

static void fail_later(struct lines_ask *a, struct loop *loop, int r) {
    a->failed = true;
    (void)refuse(&a->error, r);
    a->task.run = lines_refused;
    loop_post(loop, &a->task);
}

void core_newest_lines(struct core *c, struct loop *loop, uint32_t function_no, uint32_t limit,
                       void (*done)(void *arg, const struct error *err, const struct core_line *v,
                                    size_t n),
                       void *arg) {
    struct lines_ask *a = x_alloc(sizeof *a);
    a->core = c;
    a->function_no = function_no;
    a->limit = limit;
    a->done = done;
    a->arg = arg;
    buf_init(&a->text, LOGS_READ_MAX);
    if (!c->config.loki) {
        struct log_filter f = {.function_no = function_no, .limit = limit};
        core_logs(c, loop, &f, stored, a);
        return;
    }
    a->work = (struct work){.run = ask_loki, .done = loki_answered, .loop = loop};
    int r = workers_submit(c->config.askers, &a->work);
    if (r < 0)
        fail_later(a, loop, r);
}

/* ---- Prometheus ---- */

struct prom_ask {
    struct work work;
    struct loop_task task;
    struct core *core;
    struct prometheus_question v[CORE_QUESTIONS_MAX];
    char *promql[CORE_QUESTIONS_MAX];
    struct json *replies[CORE_QUESTIONS_MAX];
    const struct json *data[CORE_QUESTIONS_MAX];
    size_t n;
    struct error error;
    bool failed;
    void (*done)(void *arg, const struct error *err, const struct json *const *data);
    void *arg;
};

static void ask_prometheus(struct work *work) {
    struct prom_ask *a = container_of(work, struct prom_ask, work);
    for (size_t i = 0; i < a->n && !a->failed; i++)
        a->failed = prometheus_ask(a->core->config.prometheus, &a->v[i], &a->replies[i],
                                   &a->data[i], &a->error) < 0;
}

static void prom_end(struct prom_ask *a) {
    a->done(a->arg, a->failed ? &a->error : NULL, a->failed ? NULL : a->data);
    for (size_t i = 0; i < a->n; i++) {
        json_free(a->replies[i]);
        free(a->promql[i]);
    }
    free(a);
}

static void prom_answered(struct work *work) {
    struct prom_ask *a = container_of(work, struct prom_ask, work);
    if (work->dropped) {
        a->failed = true;
        (void)refuse(&a->error, -ESHUTDOWN);
    }
    prom_end(a);
}

static void prom_refused(struct loop_task *task) {
    prom_end(container_of(task, struct prom_ask, task));
}

void core_prometheus(
    struct core *c, struct loop *loop, const struct prometheus_question *v, size_t n,
    void (*done)(void *arg, const struct error *err, const struct json *const *data), void *arg) {
    struct prom_ask *a = x_alloc(sizeof *a);
    a->core = c;
    a->done = done;
    a->arg = arg;
    for (; a->n < n && a->n < CORE_QUESTIONS_MAX; a->n++) {
        a->promql[a->n] = x_strdup(v[a->n].promql);
        a->v[a->n] = v[a->n];
        a->v[a->n].promql = a->promql[a->n];
    }
    a->work = (struct work){.run = ask_prometheus, .done = prom_answered, .loop = loop};
    int r = workers_submit(c->config.askers, &a->work);
    if (r == 0)
        return;
    a->failed = true;
    (void)refuse(&a->error, r);
    a->task.run = prom_refused;
    loop_post(loop, &a->task);
}
