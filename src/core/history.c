/* SPDX-License-Identifier: Apache-2.0 */
/* Records, log lines and minutes, gathered on each loop and handed to the store in groups. */

#include "core/internal.h"

static void executions_free(struct history_batch *b) {
    for (size_t i = 0; i < b->n_executions; i++) {
        free((char *)b->executions[i].request.p);
        free((char *)b->executions[i].response.p);
    }
    b->n_executions = b->execution_bytes = 0;
}

static void batch_free(struct history_batch *b) {
    if (!b)
        return;
    for (size_t i = 0; i < b->n_minutes; i++)
        histogram_done(&b->minutes[i].duration);
    free(b->records);
    free(b->lines);
    free(b->minutes);
    executions_free(b);
    free(b->executions);
    buf_done(&b->text);
    free(b);
}

static bool worth_keeping(const struct history_batch *b) {
    return b->cap_records <= 2 * HISTORY_BATCH_RECORDS && b->text.cap <= 2 * HISTORY_BATCH_BYTES &&
           b->cap_lines <= 4 * HISTORY_BATCH_RECORDS &&
           b->cap_executions <= 2 * HISTORY_BATCH_RECORDS;
}

/* Empties it for the next use. */
static void batch_recycle(struct history *h, struct history_batch *b) {
    for (size_t i = 0; i < b->n_minutes; i++)
        histogram_done(&b->minutes[i].duration);
    b->n_records = b->n_lines = b->n_minutes = 0;
    executions_free(b);
    buf_clear(&b->text);
    for (size_t i = 0; i < ARRAY_LEN(h->spare) && worth_keeping(b); i++) {
        if (!h->spare[i]) {
            h->spare[i] = b;
            return;
        }
    }
    batch_free(b);
}

static bool empty(const struct history_batch *b) {
    return !b ||
           (b->n_records == 0 && b->n_lines == 0 && b->n_minutes == 0 && b->n_executions == 0);
}

static bool full(const struct history_batch *b) {
    return b &&
           (b->n_records >= HISTORY_BATCH_RECORDS || b->text.len >= HISTORY_BATCH_BYTES ||
            b->n_lines >= 2 * HISTORY_BATCH_RECORDS || b->execution_bytes >= HISTORY_BATCH_BYTES);
}

static int job_run(struct store_job *job, struct store *s, struct error *err) {
    struct history_batch *b = container_of(job, struct history_batch, job);
    if (b->n_records && store_invocations_append(s, b->records, b->n_records, err) < 0)
        return -1;
    if (b->n_lines && store_logs_append(s, b->lines, b->n_lines, err) < 0)
        return -1;
    for (size_t i = 0; i < b->n_executions; i++)
        if (store_execution_put(s, &b->executions[i], err) < 0)
            return -1;
    return b->n_minutes ? store_metrics_merge(s, b->minutes, b->n_minutes, err) : 0;
}

static void retry_fire(struct loop_timer *timer) {
    struct history_batch *b = container_of(timer, struct history_batch, retry);
    list_del(&b->link);
    store_submit(b->cl->core->store, &b->job);
}

/* Before the end there is no time to wait. */
static void retry_now(struct core_loop *cl) {
    for (struct list *node; (node = list_shift(&cl->history.failed));) {
        struct history_batch *b = list_entry(node, struct history_batch, link);
        loop_timer_clear(cl->loop, &b->retry);
        store_submit(cl->core->store, &b->job);
    }
}

static void job_done(struct store_job *job, const struct error *err) {
    struct history_batch *b = container_of(job, struct history_batch, job);
    struct core_loop *cl = b->cl;
    atomic_store(&cl->core->store_ok, err == NULL);
    if (err && !atomic_load(&cl->core->draining)) {
        log_error("history not written, trying again", LOG_STR("error", err->text));
        list_push(&cl->history.failed, &b->link);
        loop_timer_set(cl->loop, &b->retry, loop_now_ns(cl->loop) + HISTORY_RETRY_MS * NS_PER_MS);
        return;
    }
    if (err)
        log_error("history lost", LOG_INT("records", b->n_records), LOG_STR("error", err->text));
    cl->history.in_flight--;
    batch_recycle(&cl->history, b);
    if (full(cl->history.filling) && cl->history.in_flight < HISTORY_IN_FLIGHT_MAX)
        history_flush(cl);
}

static void report_drops(struct history *h) {
    if (h->lines_dropped)
        log_warn("log lines dropped: the store is slow", LOG_INT("lines", h->lines_dropped));
    if (h->records_dropped)
        log_error("records dropped: the store fails", LOG_INT("records", h->records_dropped));
    h->lines_dropped = h->records_dropped = 0;
}

void history_flush(struct core_loop *cl) {
    struct history *h = &cl->history;
    struct history_batch *b = h->filling;
    loop_timer_clear(cl->loop, &h->timer);
    report_drops(h);
    if (atomic_load(&cl->core->draining))
        retry_now(cl);
    if (empty(b))
        return;
    h->filling = NULL;
    memset(h->slots, 0, sizeof h->slots);
    for (size_t i = 0; i < b->n_lines; i++) /* the text moves no more */
        b->lines[i].message.p = b->text.p + (uintptr_t)b->lines[i].message.p;
    b->job =
        (struct store_job){.db = STORE_HISTORY, .run = job_run, .done = job_done, .loop = cl->loop};
    h->in_flight++;
    store_submit(cl->core->store, &b->job);
}

static void timer_fire(struct loop_timer *timer) {
    struct core_loop *cl = container_of(timer, struct core_loop, history.timer);
    if (cl->history.in_flight < HISTORY_IN_FLIGHT_MAX)
        history_flush(cl);
    else
        loop_timer_set(cl->loop, timer, loop_now_ns(cl->loop) + HISTORY_FLUSH_MS * NS_PER_MS);
}

static struct history_batch *batch_new(struct core_loop *cl) {
    struct history_batch *b = x_alloc(sizeof *b);
    b->cl = cl;
    buf_init(&b->text, HISTORY_PENDING_MAX);
    loop_timer_init(&b->retry, retry_fire);
    list_init(&b->link);
    return b;
}

static struct history_batch *filling(struct core_loop *cl) {
    struct history *h = &cl->history;
    for (size_t i = 0; i < ARRAY_LEN(h->spare) && !h->filling; i++) {
        h->filling = h->spare[i];
        h->spare[i] = NULL;
    }
    if (!h->filling)
        h->filling = batch_new(cl);
    if (!loop_timer_is_set(&h->timer))
        loop_timer_set(cl->loop, &h->timer, loop_now_ns(cl->loop) + HISTORY_FLUSH_MS * NS_PER_MS);
    return h->filling;
}

static void flush_if_full(struct core_loop *cl) {
    if (full(cl->history.filling) && cl->history.in_flight < HISTORY_IN_FLIGHT_MAX)
        history_flush(cl);
}

void history_record(struct core_loop *cl, const struct invocation *v) {
    struct history_batch *b = filling(cl);
    if (b->n_records >= HISTORY_RECORDS_MAX) {
        cl->history.records_dropped++;
        return;
    }
    b->records = grow(b->records, b->n_records, &b->cap_records, sizeof *b->records);
    b->records[b->n_records++] = *v;
    flush_if_full(cl);
}

/* The older half of the lines goes. */
static void drop_lines(struct history *h, struct history_batch *b) {
    size_t n = (b->n_lines + 1) / 2;
    if (n == 0)
        return;
    size_t cut = n < b->n_lines ? (uintptr_t)b->lines[n].message.p : b->text.len;
    buf_drop(&b->text, cut);
    memmove(b->lines, b->lines + n, (b->n_lines - n) * sizeof *b->lines);
    b->n_lines -= n;
    for (size_t i = 0; i < b->n_lines; i++)
        b->lines[i].message.p = (const char *)((uintptr_t)b->lines[i].message.p - cut);
    h->lines_dropped += n;
}

void history_line(struct core_loop *cl, const struct log_line *l) {
    struct history_batch *b = filling(cl);
    if (b->n_lines >= HISTORY_LINES_MAX || b->text.len + l->message.len > HISTORY_PENDING_MAX)
        drop_lines(&cl->history, b);
    size_t at = b->text.len;
    if (buf_put_str(&b->text, l->message) < 0) {
        cl->history.lines_dropped++;
        return;
    }
    b->lines = grow(b->lines, b->n_lines, &b->cap_lines, sizeof *b->lines);
    struct log_line *line = &b->lines[b->n_lines++];
    *line = *l;
    line->message = (struct str){(const char *)(uintptr_t)at, l->message.len};
    flush_if_full(cl);
}

static struct str copy_body(struct history_batch *b, struct str body) {
    if (!body.p || body.len > EXECUTION_BODY_MAX)
        return STR_NULL;
    b->execution_bytes += body.len;
    return str_n(x_memdup(body.len ? body.p : "", body.len), body.len);
}

/* Where the store cannot keep up, bodies are what is let go first: their records stay. */
void history_execution(struct core_loop *cl, const struct execution *e) {
    struct history_batch *b = filling(cl);
    if (b->n_executions >= 2 * HISTORY_RECORDS_MAX)
        return; /* their records go, too */
    struct execution mine = *e;
    bool room = b->execution_bytes < HISTORY_PENDING_MAX && b->n_executions < HISTORY_RECORDS_MAX;
    mine.request = room ? copy_body(b, e->request) : STR_NULL;
    mine.response = room ? copy_body(b, e->response) : STR_NULL;
    b->executions = grow(b->executions, b->n_executions, &b->cap_executions, sizeof mine);
    b->executions[b->n_executions++] = mine;
    flush_if_full(cl);
}

/* A function that has lost its slot gets a second row: the store adds them up. */
struct metric_minute *history_minute(struct core_loop *cl, uint32_t function_no, int64_t minute) {
    struct history_batch *b = filling(cl);
    __typeof__(cl->history.slots[0]) *slot = &cl->history.slots[function_no % MINUTE_SLOTS];
    if (slot->function_no == function_no && slot->minute == minute)
        return &b->minutes[slot->index];
    b->minutes = grow(b->minutes, b->n_minutes, &b->cap_minutes, sizeof *b->minutes);
    slot->function_no = function_no;
    slot->minute = minute;
    slot->index = (uint32_t)b->n_minutes;
    struct metric_minute *m = &b->minutes[b->n_minutes++];
    *m = (struct metric_minute){
        .function_no = function_no, .minute = minute, .concurrency_min = UINT32_MAX};
    histogram_init(&m->duration);
    return m;
}

void history_init(struct core_loop *cl) {
    loop_timer_init(&cl->history.timer, timer_fire);
    list_init(&cl->history.failed);
}

void history_done(struct core_loop *cl) {
    batch_free(cl->history.filling);
    for (struct list *node; (node = list_shift(&cl->history.failed));)
        batch_free(list_entry(node, struct history_batch, link));
    for (size_t i = 0; i < ARRAY_LEN(cl->history.spare); i++)
        batch_free(cl->history.spare[i]);
}
