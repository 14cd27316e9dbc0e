/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs: calls that have a number. Queued ones are read from the queue, where they stand from
 * acceptance to retention; the others from the history that they ended in. */

#include "core/internal.h"
#include "json/scan.h"
#include "json/write.h"

/* ---- results ---- */
int core_result_json(struct buf *out, enum wire_body kind, struct str body) {
    struct json_w w;
    json_w_init(&w, out);
    if (kind == WIRE_BODY_NONE)
        jw_null(&w);
    else if (kind != WIRE_BODY_TEXT && json_check(body, NULL) == 0) /* it comes from the function */
        jw_raw(&w, body);
    else if (kind == WIRE_BODY_BYTES && !str_is_utf8(body))
        jw_base64(&w, body);
    else
        jw_str(&w, body);
    return json_w_done(&w);
}

/* A copy in memory of its own: jobs are sorted after they are read. */
static void keep(struct core_job *to, const struct store_job_row *j) {
    struct buf text;
    *to = (struct core_job){.no = j->no, .record = j->record};
    if (!j->result.p || j->record.status != INV_COMPLETED)
        return;
    buf_init(&text, SIZE_MAX); /* bounded when it was stored */
    int r = j->queued ? core_result_json(&text, (enum wire_body)j->result_kind, j->result)
                      : buf_put_str(&text, j->result);
    if (r == 0)
        to->result.p = buf_take(&text, &to->result.len);
    buf_done(&text);
}

static void job_done(struct core_job *j) {
    free((char *)j->result.p);
}

/* ---- one ---- */
struct one_ask {
    struct ask ask;
    uint64_t no;
    struct core_job job;
    void (*done)(void *arg, const struct error *err, const struct core_job *j);
    void *arg;
};

static void keep_one(void *arg, const struct store_job_row *j) {
    keep(&((struct one_ask *)arg)->job, j);
}

static int one_read(struct ask *ask, struct store *s, struct error *err) {
    struct one_ask *a = container_of(ask, struct one_ask, ask);
    return store_job_get(s, a->no, keep_one, a, err);
}

static void one_answer(struct ask *ask, const struct error *err) {
    struct one_ask *a = container_of(ask, struct one_ask, ask);
    a->done(a->arg, err, err ? NULL : &a->job);
    job_done(&a->job);
    free(a);
}

void core_job(struct core *c, struct loop *loop, uint64_t no,
              void (*done)(void *arg, const struct error *err, const struct core_job *j),
              void *arg) {
    struct one_ask *a = x_alloc(sizeof *a);
    a->ask = (struct ask){.core = c, .loop = loop, .read = one_read, .answer = one_answer};
    a->no = no;
    a->done = done;
    a->arg = arg;
    ask_after_history(&a->ask);
}

/* ---- those of a function ---- */
struct many_ask {
    struct ask ask;
    uint32_t function_no, limit;
    uint64_t before;
    struct core_job *v;
    size_t n, cap;
    /* of the source that is being read */
    uint32_t read;
    size_t bytes;
    uint64_t cut; /* below it not everything was read; 0: it was */
    bool more;
    void (*done)(void *arg, const struct error *err, const struct core_job *v, size_t n, bool more);
    void *arg;
};

static bool keep_many(void *arg, const struct store_job_row *j) {
    struct many_ask *a = arg;
    if (a->read == a->limit || a->bytes > CORE_JOBS_BYTES) {
        a->more = true;
        if (a->cut <= j->no)
            a->cut = j->no + 1;
        return false;
    }
    a->read++;
    a->bytes += j->result.len;
    a->v = grow(a->v, a->n, &a->cap, sizeof *a->v);
    keep(&a->v[a->n++], j);
    return true;
}

static int newest_first(const void *a, const void *b) {
    uint64_t x = ((const struct core_job *)a)->no, y = ((const struct core_job *)b)->no;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* Each source was read down to its own end: what both have is the part of the list that is whole.
 */
static void cut(struct many_ask *a) {
    if (a->n)
        qsort(a->v, a->n, sizeof *a->v, newest_first);
    while (a->n > 0 && (a->n > a->limit || a->v[a->n - 1].no < a->cut)) {
        a->more = true;
        job_done(&a->v[--a->n]);
    }
}

static int many_read(struct ask *ask, struct store *s, struct error *err) {
    struct many_ask *a = container_of(ask, struct many_ask, ask);
    for (int queued = 0; queued < 2; queued++) {
        a->read = 0;
        a->bytes = 0;
        if (store_job_each(s, queued, a->function_no, a->before, keep_many, a, err) < 0)
            return -1;
    }
    cut(a);
    return 0;
}

static void many_answer(struct ask *ask, const struct error *err) {
    struct many_ask *a = container_of(ask, struct many_ask, ask);
    a->done(a->arg, err, err ? NULL : a->v, err ? 0 : a->n, !err && a->more);
    for (size_t i = 0; i < a->n; i++)
        job_done(&a->v[i]);
    free(a->v);
    free(a);
}

void core_jobs(struct core *c, struct loop *loop, uint32_t function_no, uint64_t before,
               uint32_t limit,
               void (*done)(void *arg, const struct error *err, const struct core_job *v, size_t n,
                            bool more),
               void *arg) {
    struct many_ask *a = x_alloc(sizeof *a);
    a->ask = (struct ask){.core = c, .loop = loop, .read = many_read, .answer = many_answer};
    a->function_no = function_no;
    a->before = before;
    a->limit = limit < READ_ROWS_MAX ? limit : READ_ROWS_MAX;
    a->done = done;
    a->arg = arg;
    ask_after_history(&a->ask);
}
