/* SPDX-License-Identifier: Apache-2.0 */
/* Questions about calls: one, or the newest of a function. */

#include "core/internal.h"

/* ---- one ---- */
struct one_ask {
    struct ask ask;
    struct async_call found;
    struct buf headers, body;
    void (*done)(void *arg, const struct error *err, const struct async_call *inv);
    void *arg;
};

static struct str keep_str(struct buf *to, struct str s) {
    if (!s.p)
        return STR_NULL;
    (void)buf_put_str(to, s);
    return to->p ? buf_str(to) : STR("");
}

static void keep_async(void *arg, const struct async_call *call) {
    struct one_ask *a = arg;
    a->found = *call;
    a->found.input = STR_NULL;
    a->found.result_headers = keep_str(&a->headers, call->result_headers);
    a->found.result_body = keep_str(&a->body, call->result_body);
}

static int one_read(struct ask *ask, struct store *s, struct error *err) {
    struct one_ask *a = container_of(ask, struct one_ask, ask);
    struct ulid id = a->found.id;
    struct error why = {0};
    if (store_async_get(s, &id, keep_async, a, &why) == 0)
        return 0;
    if (why.code != ERR_NOT_FOUND) {
        *err = why;
        return -1;
    }
    struct invocation v;
    if (store_invocation_get(s, &id, &v, err) < 0)
        return -1;
    a->found.function_no = v.function_no;
    a->found.status = v.status;
    a->found.record = v;
    return 0;
}

static void one_answer(struct ask *ask, const struct error *err) {
    struct one_ask *a = container_of(ask, struct one_ask, ask);
    a->done(a->arg, err, err ? NULL : &a->found);
    buf_done(&a->headers);
    buf_done(&a->body);
    free(a);
}

void core_invocation(struct core *c, struct loop *loop, const struct ulid *id,
                     void (*done)(void *arg, const struct error *err, const struct async_call *inv),
                     void *arg) {
    struct one_ask *a = x_alloc(sizeof *a);
    a->ask = (struct ask){.core = c, .loop = loop, .read = one_read, .answer = one_answer};
    a->found.id = *id;
    buf_init(&a->headers, SIZE_MAX); /* bounded when it was stored */
    buf_init(&a->body, SIZE_MAX);
    a->done = done;
    a->arg = arg;
    ask_after_history(&a->ask);
}

/* ---- the newest ---- */
struct many_ask {
    struct ask ask;
    uint32_t function_no, limit;
    struct ulid before; /* all ones: from the newest */
    struct invocation *v;
    size_t n, cap;
    void (*done)(void *arg, const struct error *err, const struct invocation *v, size_t n);
    void *arg;
};

static bool keep_record(void *arg, const struct invocation *v) {
    struct many_ask *a = arg;
    a->v = grow(a->v, a->n, &a->cap, sizeof *a->v);
    a->v[a->n++] = *v;
    return true;
}

static bool keep_open(void *arg, const struct async_call *call) {
    return keep_record(arg, &call->record);
}

/* Newest first; of two of the same call the one that has ended. */
static int newer(const void *a, const void *b) {
    const struct invocation *x = a, *y = b;
    int r = memcmp(y->id.b, x->id.b, sizeof x->id.b);
    return r ? r : (int)y->status - (int)x->status;
}

static int many_read(struct ask *ask, struct store *s, struct error *err) {
    struct many_ask *a = container_of(ask, struct many_ask, ask);
    if (store_async_open(s, a->function_no, &a->before, a->limit, keep_open, a, err) < 0 ||
        store_invocation_each(s, a->function_no, &a->before, a->limit, keep_record, a, err) < 0)
        return -1;
    if (a->n)
        qsort(a->v, a->n, sizeof *a->v, newer);
    size_t kept = 0;
    for (size_t i = 0; i < a->n && kept < a->limit; i++)
        if (!kept || memcmp(a->v[kept - 1].id.b, a->v[i].id.b, sizeof a->v[i].id.b) != 0)
            a->v[kept++] = a->v[i];
    a->n = kept;
    return 0;
}

static void many_answer(struct ask *ask, const struct error *err) {
    struct many_ask *a = container_of(ask, struct many_ask, ask);
    a->done(a->arg, err, err ? NULL : a->v, err ? 0 : a->n);
    free(a->v);
    free(a);
}

void core_invocations(struct core *c, struct loop *loop, uint32_t function_no,
                      const struct ulid *before, uint32_t limit,
                      void (*done)(void *arg, const struct error *err, const struct invocation *v,
                                   size_t n),
                      void *arg) {
    struct many_ask *a = x_alloc(sizeof *a);
    a->ask = (struct ask){.core = c, .loop = loop, .read = many_read, .answer = many_answer};
    a->function_no = function_no;
    if (before)
        a->before = *before;
    else
        memset(&a->before, 0xff, sizeof a->before);
    a->limit = limit < READ_ROWS_MAX ? limit : READ_ROWS_MAX;
    a->done = done;
    a->arg = arg;
    ask_after_history(&a->ask);
}
