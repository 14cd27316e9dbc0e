/* SPDX-License-Identifier: Apache-2.0 */
/* GET /metrics: everything that is counted, in the Prometheus text format, version 0.0.4
 * (prometheus.io/docs/instrumenting/exposition_formats). One family after the other, functions by
 * number, in pieces as the client takes them: 10,000 functions are some 10 MB.
 *
 * Labels are the function's id, name and workspace; at most METRICS_FUNCTIONS_MAX functions are
 * told of, and kiln_metrics_functions_omitted says how many are not. */

#include "api/common.h"
#include "routes.h"
#include <errno.h>

#define METRICS_FUNCTIONS_MAX 20000
#define METRICS_PIECE         (48 * KIB) /* of one write; well below what a stream may hold */
#define METRICS_LINE_MAX      (4 * KIB)

static uint64_t value_invocations(const struct core_totals *t) {
    return t->invocations;
}
static uint64_t value_errors(const struct core_totals *t) {
    return t->errors;
}
static uint64_t value_cold_starts(const struct core_totals *t) {
    return t->cold_starts;
}
static uint64_t value_running_us(const struct core_totals *t) {
    return t->running_us;
}
static uint64_t value_cpu_us(const struct core_totals *t) {
    return t->cpu_us;
}
static uint64_t value_memory(const struct core_totals *t) {
    return t->memory_bytes;
}
static uint64_t value_instances(const struct core_totals *t) {
    return t->instances;
}
static uint64_t value_running(const struct core_totals *t) {
    return t->running;
}

static const struct family {
    const char *name, *type, *help;
    uint64_t (*value)(const struct core_totals *t);
    bool micros; /* the value is µs and told in seconds */
} FAMILIES[] = {
    {"kiln_function_invocations_total", "counter", "Calls that have ended.", value_invocations, 0},
    {"kiln_function_errors_total", "counter", "Calls that have failed.", value_errors, false},
    {"kiln_function_cold_starts_total", "counter", "Calls that an instance was started for.",
     value_cold_starts, false},
    {"kiln_function_running_seconds_total", "counter", "Time that calls have run.",
     value_running_us, true},
    {"kiln_function_cpu_seconds_total", "counter",
     "Processor time of the function's instances, user and system.", value_cpu_us, true},
    {"kiln_function_memory_bytes", "gauge",
     "Memory of the function's instances when they were last looked at.", value_memory, false},
    {"kiln_function_instances", "gauge", "Instances that are loaded.", value_instances, false},
    {"kiln_function_calls_running", "gauge", "Calls accepted and not ended.", value_running, false},
};

struct scrape {
    struct request *r;
    struct core_totals *v;
    size_t n, omitted;
    size_t family, next; /* where it stands */
    struct buf piece;    /* made, not yet taken */
    bool last;           /* the piece is the last one */
};

static void scrape_free(void *state) {
    struct scrape *s = state;
    core_totals_free(s->v, s->n + s->omitted);
    buf_done(&s->piece);
    free(s);
}

/* ---- text ---- */

/* A label's value: backslash, quote and line feed are escaped. */
static void put_label(struct buf *b, const char *name, const char *value) {
    (void)buf_printf(b, "%s=\"", name);
    for (; *value; value++) {
        if (*value == '\n')
            (void)buf_puts(b, "\\n");
        else if (*value == '\\' || *value == '"')
            (void)buf_put(b, (const char[]){'\\', *value}, 2);
        else
            (void)buf_putc(b, *value);
    }
    (void)buf_putc(b, '"');
}

static void put_head(struct buf *b, const char *name, const char *type, const char *help) {
    (void)buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_sample(struct buf *b, const struct family *f, const struct core_totals *t) {
    uint64_t v = f->value(t);
    (void)buf_printf(b, "%s{function_id=\"fn-%u\",", f->name, t->function->no);
    put_label(b, "function", function_title(t->function));
    (void)buf_putc(b, ',');
    put_label(b, "workspace", t->function->workspace);
    if (f->micros)
        (void)buf_printf(b, "} %llu.%06u\n", (unsigned long long)(v / 1000000),
                         (unsigned)(v % 1000000));
    else
        (void)buf_printf(b, "} %llu\n", (unsigned long long)v);
}

static void put_gauge(struct buf *b, const char *name, const char *help, uint64_t value) {
    put_head(b, name, "gauge", help);
    (void)buf_printf(b, "%s %llu\n", name, (unsigned long long)value);
}

static void put_server(struct scrape *s) {
    struct buf *b = &s->piece;
    struct core_stats stats;
    core_stats(s->r->core, &stats);
    put_head(b, "kiln_build_info", "gauge", "The version that runs; always 1.");
    (void)buf_printf(b, "kiln_build_info{version=\"%s\"} 1\n", core_config_of(s->r->core)->version);
    put_head(b, "kiln_instances", "gauge", "Sandboxed processes, by what they do.");
    (void)buf_printf(b,
                     "kiln_instances{state=\"idle\"} %u\nkiln_instances{state=\"busy\"} %u\n"
                     "kiln_instances{state=\"spare\"} %u\n",
                     stats.engine.idle, stats.engine.busy, stats.engine.spares);
    put_gauge(b, "kiln_functions", "Functions that there are.", stats.functions);
    put_gauge(b, "kiln_async_pending", "Queued calls that wait.", stats.async_pending);
    put_gauge(b, "kiln_async_running", "Queued calls that run.", stats.async_running);
    put_gauge(b, "kiln_metrics_functions_omitted", "Functions that are not told of here.",
              s->omitted);
}

/* ---- pieces ---- */

static void make_piece(struct scrape *s) {
    while (s->piece.len < METRICS_PIECE && s->family < ARRAY_LEN(FAMILIES)) {
        const struct family *f = &FAMILIES[s->family];
        if (s->next == 0)
            put_head(&s->piece, f->name, f->type, f->help);
        while (s->next < s->n && s->piece.len < METRICS_PIECE)
            put_sample(&s->piece, f, &s->v[s->next++]);
        if (s->next == s->n) {
            s->next = 0;
            s->family++;
        }
    }
    s->last = s->family == ARRAY_LEN(FAMILIES);
}

static void send_pieces(struct request *r) {
    struct scrape *s = r->state;
    for (;;) {
        if (s->piece.len && http_stream_write(r->call, buf_str(&s->piece)) == -EAGAIN)
            return; /* on_drain() goes on */
        buf_clear(&s->piece);
        if (s->last)
            break;
        make_piece(s);
    }
    http_stream_end(r->call);
    request_free(r);
}

static void on_drain(struct http_call *call) {
    send_pieces(call->user_data);
}

/* Of the token's workspace, or of all. */
static void choose(struct scrape *s) {
    const char *workspace = s->r->who.workspace;
    size_t n = 0, total;
    struct core_totals *all = core_totals(s->r->core, &total);
    for (size_t i = 0; i < total; i++) {
        if (workspace[0] && strcmp(workspace, all[i].function->workspace) != 0)
            function_unref(all[i].function);
        else
            all[n++] = all[i];
    }
    s->v = all;
    s->n = n < METRICS_FUNCTIONS_MAX ? n : METRICS_FUNCTIONS_MAX;
    s->omitted = n - s->n;
}

static void begin(void *arg) {
    struct request *r = arg;
    if (!r->call) {
        request_free(r);
        return;
    }
    struct scrape *s = x_alloc(sizeof(*s));
    struct http_header headers[REPLY_HEADERS_MAX];
    size_t n = request_headers(r, headers);
    headers[n++] =
        (struct http_header){STR("Content-Type"), STR("text/plain; version=0.0.4; charset=utf-8")};
    s->r = r;
    buf_init(&s->piece, METRICS_PIECE + METRICS_LINE_MAX);
    r->state = s;
    r->free_state = scrape_free;
    r->gone = request_free;
    r->call->on_drain = on_drain;
    choose(s);
    put_server(s);
    http_stream_begin(r->call, 200, headers, n);
    send_pieces(r);
}

void op_common_metrics(struct request *r) {
    core_usage_refresh(r->core, r->loop, begin, r);
}
