/* SPDX-License-Identifier: Apache-2.0 */
/* Calls with their bodies and lines, page by page. Pages go by id, which orders by the millisecond;
 * on one page the time of acceptance orders. One job reads all of a page: the newest records
 * of each function until they are older than the page's oldest, then what was kept of those that
 * are on the page, then the lines of each function in the time of its calls there. */

#include "core/internal.h"

#define LINES_MAX      50000u /* lines looked at for one page and function, the newest */
#define LINES_AFTER_US (10 * 1000 * 1000)

struct executions_ask {
    struct ask ask;
    struct core_execution_filter filter;
    uint32_t *functions;
    size_t n_functions, cap_functions;
    struct core_execution_row *rows; /* a heap, the oldest on top; then newest first */
    size_t n, room;
    size_t *row_of; /* of each line */
    struct log_line *lines;
    size_t n_lines, cap_lines, cap_row_of;
    struct buf bodies, text;
    struct ulid last;
    uint64_t total;
    bool more;
    void (*done)(void *arg, const struct error *err, const struct core_execution_page *page);
    void *arg;
};

static int by_id(const struct ulid *a, const struct ulid *b) {
    return memcmp(a->b, b->b, sizeof a->b);
}

/* ---- which calls: the newest LIMIT + 1 over all functions ---- */
static void swap(struct core_execution_row *a, struct core_execution_row *b) {
    struct core_execution_row t = *a;
    *a = *b;
    *b = t;
}

static bool older(const struct executions_ask *a, size_t i, size_t k) {
    return by_id(&a->rows[i].call.id, &a->rows[k].call.id) < 0;
}

static void sift_up(struct executions_ask *a, size_t i) {
    for (; i > 0 && older(a, i, (i - 1) / 2); i = (i - 1) / 2)
        swap(&a->rows[i], &a->rows[(i - 1) / 2]);
}

static void sift_down(struct executions_ask *a) {
    for (size_t i = 0;;) {
        size_t least = i, left = 2 * i + 1;
        for (size_t k = left; k < left + 2 && k < a->n; k++)
            if (older(a, k, least))
                least = k;
        if (least == i)
            return;
        swap(&a->rows[i], &a->rows[least]);
        i = least;
    }
}

static bool take_call(void *arg, const struct invocation *v) {
    struct executions_ask *a = arg;
    if (a->n < a->room) {
        a->rows[a->n] = (struct core_execution_row){.call = *v};
        sift_up(a, a->n++);
        return true;
    }
    if (by_id(&v->id, &a->rows[0].call.id) < 0)
        return false; /* those that follow are older still */
    a->rows[0] = (struct core_execution_row){.call = *v};
    sift_down(a);
    return true;
}

static int by_page(const void *x, const void *y) {
    const struct core_execution_row *a = x, *b = y;
    return by_id(&b->call.id, &a->call.id);
}

static int newest_first(const void *x, const void *y) {
    const struct core_execution_row *a = x, *b = y;
    if (a->call.created_us != b->call.created_us)
        return a->call.created_us < b->call.created_us ? 1 : -1;
    return by_page(x, y);
}

static int read_calls(struct executions_ask *a, struct store *s, struct error *err) {
    for (size_t i = 0; i < a->n_functions; i++) {
        uint32_t no = a->functions[i], count = 0;
        if (store_invocations_before(s, no, &a->filter.before, take_call, a, err) < 0)
            return -1;
        if (a->total < CORE_EXECUTIONS_COUNT &&
            store_invocations_count(s, no, CORE_EXECUTIONS_COUNT - (uint32_t)a->total, &count,
                                    err) < 0)
            return -1;
        a->total += count;
    }
    if (a->n)
        qsort(a->rows, a->n, sizeof *a->rows, by_page);
    a->more = a->n == a->room;
    a->n -= a->more;
    return 0;
}

/* ---- what was kept of them ---- */
struct kept {
    struct executions_ask *a;
    struct core_execution_row *row;
    bool full;
};

static bool keep(struct buf *to, struct str body, struct str *ret) {
    size_t at = to->len;
    if (!body.p)
        return true;
    if (buf_put_str(to, body) < 0)
        return false;
    *ret = (struct str){(const char *)(uintptr_t)(at + 1), body.len};
    return true;
}

static void keep_bodies(void *arg, const struct execution *e) {
    struct kept *k = arg;
    k->full = !keep(&k->a->bodies, e->request, &k->row->request) ||
              !keep(&k->a->bodies, e->response, &k->row->response);
}

static int read_bodies(struct executions_ask *a, struct store *s, struct error *err) {
    for (size_t i = 0; i < a->n; i++) {
        struct kept k = {.a = a, .row = &a->rows[i]};
        struct error none = {0};
        if (store_execution_get(s, k.row->call.function_no, &k.row->call.id, keep_bodies, &k,
                                &none) < 0 &&
            none.code != ERR_NOT_FOUND) {
            *err = none;
            return -1;
        }
        if (k.full) { /* the first always fits: see the limits */
            a->n = i;
            a->more = true;
            break;
        }
    }
    for (size_t i = 0; i < a->n; i++) {
        struct str *of[] = {&a->rows[i].request, &a->rows[i].response};
        for (size_t k = 0; k < 2; k++)
            if (of[k]->p)
                of[k]->p = a->bodies.p ? a->bodies.p + (uintptr_t)of[k]->p - 1 : "";
    }
    return 0;
}
_Static_assert(CORE_EXECUTIONS_BYTES >= 2 * EXECUTION_BODY_MAX, "one call's bodies fit");

/* ---- their lines ---- */
static ssize_t find_row(const struct executions_ask *a, const struct ulid *id) {
    size_t low = 0, high = a->n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        int r = by_id(&a->rows[mid].call.id, id);
        if (r == 0)
            return (ssize_t)mid;
        if (r > 0)
            low = mid + 1;
        else
            high = mid;
    }
    return -1;
}

static bool take_line(void *arg, const struct log_line *l) {
    struct executions_ask *a = arg;
    ssize_t row = find_row(a, &l->invocation);
    size_t at = a->text.len;
    if (row < 0)
        return true;
    if (buf_put_str(&a->text, l->message) < 0)
        return false;
    a->lines = grow(a->lines, a->n_lines, &a->cap_lines, sizeof *a->lines);
    a->row_of = grow(a->row_of, a->n_lines, &a->cap_row_of, sizeof *a->row_of);
    a->lines[a->n_lines] = *l;
    a->lines[a->n_lines].message = (struct str){(const char *)(uintptr_t)at, l->message.len};
    a->row_of[a->n_lines++] = (size_t)row;
    a->rows[row].n_lines++;
    return true;
}

/* Of one function that has calls on the page, over all of their time. */
static int read_lines_of(struct executions_ask *a, uint32_t no, struct store *s,
                         struct error *err) {
    struct log_filter f = {.function_no = no, .limit = LINES_MAX};
    bool any = false;
    for (size_t i = 0; i < a->n; i++) {
        const struct invocation *v = &a->rows[i].call;
        int64_t end = v->ended_us ? v->ended_us + LINES_AFTER_US : INT64_MAX;
        if (v->function_no != no)
            continue;
        f.since_us = v->created_us;
        if (!any || end > f.until_us)
            f.until_us = end;
        any = true;
    }
    return any ? store_logs_each(s, &f, take_line, a, err) : 0;
}

/* Lines by call, in the order in which they came. */
static void sort_lines(struct executions_ask *a) {
    struct log_line *sorted = x_calloc(a->n_lines + 1, sizeof *sorted);
    size_t at = 0;
    for (size_t i = 0; i < a->n; i++) {
        a->rows[i].lines = sorted + at;
        at += a->rows[i].n_lines;
        a->rows[i].n_lines = 0;
    }
    for (size_t i = 0; i < a->n_lines; i++) {
        struct core_execution_row *row = &a->rows[a->row_of[i]];
        struct log_line l = a->lines[i];
        l.message.p = a->text.p ? a->text.p + (uintptr_t)l.message.p : "";
        sorted[(size_t)(row->lines - sorted) + row->n_lines++] = l;
    }
    free(a->lines);
    a->lines = sorted;
}

static int read_lines(struct executions_ask *a, struct store *s, struct error *err) {
    for (size_t i = 0; i < a->n_functions; i++)
        if (read_lines_of(a, a->functions[i], s, err) < 0)
            return -1;
    sort_lines(a);
    return 0;
}

static int executions_read(struct ask *ask, struct store *s, struct error *err) {
    struct executions_ask *a = container_of(ask, struct executions_ask, ask);
    if (read_calls(a, s, err) < 0 || read_bodies(a, s, err) < 0)
        return -1;
    if (a->filter.lines && read_lines(a, s, err) < 0)
        return -1;
    if (a->n) {
        a->last = a->rows[a->n - 1].call.id;
        qsort(a->rows, a->n, sizeof *a->rows, newest_first);
    }
    return 0;
}

/* ---- question and answer ---- */
static void executions_answer(struct ask *ask, const struct error *err) {
    struct executions_ask *a = container_of(ask, struct executions_ask, ask);
    struct core_execution_page page = {
        .rows = a->rows, .n = a->n, .more = a->more, .last = a->last, .total = a->total};
    a->done(a->arg, err, err ? NULL : &page);
    buf_done(&a->bodies);
    buf_done(&a->text);
    free(a->functions);
    free(a->rows);
    free(a->lines);
    free(a->row_of);
    free(a);
}

static void add_function(struct executions_ask *a, uint32_t no) {
    a->functions = grow(a->functions, a->n_functions, &a->cap_functions, sizeof *a->functions);
    a->functions[a->n_functions++] = no;
}

static bool take_function(void *arg, const struct function *f) {
    add_function(arg, f->no);
    return true;
}

void core_executions(struct core *c, struct loop *loop, const struct core_execution_filter *f,
                     void (*done)(void *arg, const struct error *err,
                                  const struct core_execution_page *page),
                     void *arg) {
    struct executions_ask *a = x_alloc(sizeof *a);
    a->ask =
        (struct ask){.core = c, .loop = loop, .read = executions_read, .answer = executions_answer};
    a->filter = *f;
    uint32_t limit = f->limit && f->limit < CORE_EXECUTIONS_MAX ? f->limit : CORE_EXECUTIONS_MAX;
    a->room = limit + 1;
    a->rows = x_calloc(a->room, sizeof *a->rows);
    if (f->workspace.p)
        core_functions_each(c, f->workspace, STR_NULL, take_function, a);
    else
        add_function(a, f->function_no);
    a->filter.workspace = STR_NULL; /* the caller's, and done with */
    buf_init(&a->bodies, CORE_EXECUTIONS_BYTES);
    buf_init(&a->text, CORE_EXECUTIONS_BYTES);
    a->done = done;
    a->arg = arg;
    ask_after_history(&a->ask);
}
