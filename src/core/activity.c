/* SPDX-License-Identifier: Apache-2.0 */
/* What functions did lately, and their code: for lists that show both. */

#include "core/internal.h"

struct activity_ask {
    struct ask ask;
    uint32_t *nos, *versions; /* a version row each; 0: the newest */
    struct core_activity *v;
    size_t n, done_n;
    int64_t since_us;
    size_t code_max;
    struct buf code;
    void (*done)(void *arg, const struct error *err, const struct core_activity *v, size_t n);
    void *arg;
};

static bool newest_only(void *arg, const struct version *v) {
    *(uint32_t *)arg = v->no;
    return false;
}

/* 1: there is no more room. Code that is gone (its function was deleted meanwhile) is none. */
static int read_code(struct activity_ask *a, size_t i, struct store *s, struct error *err) {
    struct blob *code = NULL;
    struct error none = {0};
    uint32_t version_no = a->versions[i];
    if (!version_no && store_version_each(s, a->nos[i], newest_only, &version_no, err) < 0)
        return -1;
    if (!version_no)
        return 0;
    if (store_version_code(s, version_no, &code, &none) < 0) {
        if (none.code != ERR_NOT_FOUND)
            *err = none;
        return none.code == ERR_NOT_FOUND ? 0 : -1;
    }
    bool full = i > 0 && a->code.len + code->len > a->code_max;
    size_t at = a->code.len;
    if (!full && buf_put_str(&a->code, str_n(code->bytes, code->len)) == 0)
        a->v[i].code = (struct str){(const char *)(uintptr_t)(at + 1), code->len};
    blob_unref(code);
    return full;
}

static int activity_read(struct ask *ask, struct store *s, struct error *err) {
    struct activity_ask *a = container_of(ask, struct activity_ask, ask);
    for (size_t i = 0; i < a->n; i++) {
        struct store_activity sums;
        int full = a->code_max ? read_code(a, i, s, err) : 0;
        if (full < 0 || store_activity(s, a->nos[i], a->since_us / 60000000, &sums, err) < 0)
            return -1;
        if (full)
            break;
        a->v[i].invocations = sums.invocations;
        a->v[i].errors = sums.errors;
        a->v[i].answered_errors = sums.answered_errors;
        a->v[i].busy_us = sums.busy_us;
        a->done_n++;
    }
    for (size_t i = 0; i < a->done_n; i++)
        if (a->v[i].code.p) /* an offset and one, until the buffer stands still */
            a->v[i].code.p = a->code.p ? a->code.p + (uintptr_t)a->v[i].code.p - 1 : "";
    return 0;
}

static void activity_answer(struct ask *ask, const struct error *err) {
    struct activity_ask *a = container_of(ask, struct activity_ask, ask);
    a->done(a->arg, err, err ? NULL : a->v, err ? 0 : a->done_n);
    buf_done(&a->code);
    free(a->nos);
    free(a->versions);
    free(a->v);
    free(a);
}

void core_activity(struct core *c, struct loop *loop, const uint32_t *nos, size_t n,
                   int64_t since_us, size_t code_max,
                   void (*done)(void *arg, const struct error *err, const struct core_activity *v,
                                size_t n),
                   void *arg) {
    struct activity_ask *a = x_alloc(sizeof *a);
    a->ask =
        (struct ask){.core = c, .loop = loop, .read = activity_read, .answer = activity_answer};
    a->nos = x_calloc(n + 1, sizeof *a->nos);
    a->versions = x_calloc(n + 1, sizeof *a->versions);
    a->v = x_calloc(n + 1, sizeof *a->v);
    a->n = n;
    a->since_us = since_us;
    a->code_max = code_max;
    buf_init(&a->code, code_max > CODE_MAX ? code_max : CODE_MAX);
    for (size_t i = 0; i < n; i++) {
        struct function *f = code_max ? core_function(c, nos[i]) : NULL;
        a->nos[i] = nos[i];
        a->versions[i] = f ? f->active_no : 0;
        function_unref(f);
    }
    a->done = done;
    a->arg = arg;
    ask_after_history(&a->ask);
}
