/* SPDX-License-Identifier: Apache-2.0 */
/* Asking Loki: GET /loki/api/v1/query_range with direction=backward. */

#include "remote/loki_internal.h"

#include "json/tree.h"
#include <stdio.h>

#define LOKI_STREAMS_MAX 1000 /* of one answer */

struct found {
    int64_t at_ns;
    struct str line;
    size_t order; /* in the answer: lines of one time stay as Loki has them */
};

struct answer {
    struct found *v;
    size_t n, cap;
};

static int bad(struct error *err) {
    return error_set(err, ERR_UNAVAILABLE, "Loki answered something else than streams of lines");
}

static int take_value(struct answer *a, const struct json *value, struct error *err) {
    struct str ns, line;
    uint64_t at;
    struct error why;
    if (json_count(value) < 2 || json_as_str(json_item(value, 0), &ns, &why) < 0 ||
        json_as_str(json_item(value, 1), &line, &why) < 0 || str_u64(ns, INT64_MAX, &at) < 0)
        return bad(err);
    if (a->n == a->cap) {
        a->cap = a->cap ? 2 * a->cap : 64;
        a->v = x_realloc(a->v, a->cap * sizeof *a->v);
    }
    a->v[a->n] = (struct found){(int64_t)at, line, a->n};
    a->n++;
    return 0;
}

static int newest_first(const void *pa, const void *pb) {
    const struct found *a = pa, *b = pb;
    if (a->at_ns != b->at_ns)
        return a->at_ns > b->at_ns ? -1 : 1;
    return a->order < b->order ? -1 : a->order > b->order;
}

/* {"status":"success","data":{"resultType":"streams","result":[{"stream":{…},"values":[…]}]}} */
static int read_answer(const struct json *root, struct answer *a, struct error *err) {
    const struct json *data = NULL, *result = NULL;
    struct str type = STR("");
    struct error why;
    if (json_get_object(root, "data", JSON_REQUIRED, &data, &why) < 0 ||
        json_get_str(data, "resultType", JSON_REQUIRED, &type, &why) < 0 ||
        json_get_array(data, "result", JSON_REQUIRED, &result, &why) < 0 ||
        !str_is(type, "streams") || json_count(result) > LOKI_STREAMS_MAX)
        return bad(err);
    for (size_t i = 0; i < json_count(result); i++) {
        const struct json *values = NULL;
        if (json_get_array(json_item(result, i), "values", JSON_REQUIRED, &values, &why) < 0)
            return bad(err);
        for (size_t k = 0; k < json_count(values); k++)
            if (take_value(a, json_item(values, k), err) < 0)
                return -1;
    }
    if (a->n)
        qsort(a->v, a->n, sizeof *a->v, newest_first);
    return 0;
}

static int ask(struct loki *l, const char *path, struct remote_reply *ret, struct error *err) {
    struct remote *r;
    const char *headers[1] = {l->tenant_header};
    struct remote_request req = {.method = "GET",
                                 .path = path,
                                 .headers = headers,
                                 .n_headers = l->tenant_header ? 1 : 0,
                                 .reply_max = LOKI_REPLY_MAX};
    if (loki_open(l, &l->stopped, LOKI_ASK_TIMEOUT_MS, &r, err) < 0)
        return -1;
    int rc = remote_do(r, &req, ret, err);
    if (rc == 0 && ret->status != 200) {
        rc = remote_refused(r, ret, err);
        remote_reply_done(ret);
    }
    remote_free(r);
    return rc;
}

int loki_ask(struct loki *l, uint32_t function_no, int64_t from_ns, int64_t to_ns, uint32_t limit,
             void (*visit)(void *arg, int64_t at_ns, struct str line), void *arg,
             struct error *err) {
    char logql[96];
    cleanup_buf struct buf path = BUF_INIT(REMOTE_URL_MAX);
    snprintf(logql, sizeof logql, "{job=\"kiln\",function_id=\"fn-%u\"}", function_no);
    (void)buf_puts(&path, "/loki/api/v1/query_range?query=");
    (void)remote_escape(&path, str_of(logql), false);
    (void)buf_printf(&path, "&start=%lld&end=%lld&limit=%u&direction=backward", (long long)from_ns,
                     (long long)to_ns, limit);
    struct remote_reply reply;
    if (ask(l, buf_cstr(&path), &reply, err) < 0)
        return -1;
    cleanup_json struct json *root = NULL;
    struct error why;
    struct answer a = {.v = NULL};
    int rc = json_parse_object(buf_str(&reply.body), &root, &why) < 0 ? bad(err)
                                                                      : read_answer(root, &a, err);
    for (size_t i = 0; rc == 0 && i < a.n && i < limit; i++)
        visit(arg, a.v[i].at_ns, a.v[i].line);
    free(a.v);
    remote_reply_done(&reply);
    return rc;
}
