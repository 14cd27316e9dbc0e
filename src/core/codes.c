/* SPDX-License-Identifier: Apache-2.0 */
/* The code of several functions at once, for lists that show it. */

#include "core/internal.h"

struct codes_ask {
    struct ask ask;
    struct codes_want {
        uint32_t function_no, version_no;
    } * want;
    size_t n;
    struct code_slot *slots;
    struct blob **codes; /* what the slots hold */
    void (*done)(void *arg, const struct error *err, struct blob *const *codes, size_t n);
    void *arg;
};

static int newest(struct store *s, uint32_t function_no, uint32_t *ret_no, struct error *err) {
    struct version v = {0};
    int r = store_version_newest(s, function_no, &v, err);
    *ret_no = v.no;
    version_done(&v);
    return r;
}

/* What is gone meanwhile, or is no code (an image), stays NULL. */
static int read_one(struct store *s, struct codes_want *want, struct code_slot *ret,
                    struct error *err) {
    struct error why = {0};
    if ((want->version_no || newest(s, want->function_no, &want->version_no, &why) == 0) &&
        code_slot_read(s, want->version_no, ret, &why) == 0)
        return 0;
    if (why.code == ERR_NOT_FOUND)
        return 0;
    *err = why;
    return -1;
}

static int codes_read(struct ask *ask, struct store *s, struct error *err) {
    struct codes_ask *a = container_of(ask, struct codes_ask, ask);
    size_t bytes = 0, i = 0;
    while (i < a->n && bytes <= CORE_CODES_BYTES) {
        struct code_slot *slot = &a->slots[i];
        if (read_one(s, &a->want[i], slot, err) < 0)
            return -1;
        a->codes[i] = slot->code;
        ask->far |= slot->at != NULL;
        bytes += slot->len;
        i++;
    }
    a->n = i;
    return 0;
}

static int codes_fetch(struct ask *ask, struct error *err) {
    struct codes_ask *a = container_of(ask, struct codes_ask, ask);
    for (size_t i = 0; i < a->n; i++) {
        if (a->slots[i].at && code_slot_fetch(ask->core, &a->slots[i], err) < 0)
            return -1;
        a->codes[i] = a->slots[i].code;
    }
    return 0;
}

static void codes_answer(struct ask *ask, const struct error *err) {
    struct codes_ask *a = container_of(ask, struct codes_ask, ask);
    a->done(a->arg, err, err ? NULL : a->codes, err ? 0 : a->n);
    for (size_t i = 0; i < a->n; i++)
        code_slot_done(&a->slots[i]);
    free(a->slots);
    free(a->codes);
    free(a->want);
    free(a);
}

void core_codes(struct core *c, struct loop *loop, struct function *const *v, size_t n,
                void (*done)(void *arg, const struct error *err, struct blob *const *codes,
                             size_t n),
                void *arg) {
    struct codes_ask *a = x_alloc(sizeof *a);
    a->ask = (struct ask){
        .core = c, .loop = loop, .read = codes_read, .fetch = codes_fetch, .answer = codes_answer};
    a->n = n < CORE_CODES_MAX ? n : CORE_CODES_MAX;
    a->want = x_calloc(a->n + 1, sizeof *a->want);
    a->codes = x_calloc(a->n + 1, sizeof(struct blob *));
    a->slots = x_calloc(a->n + 1, sizeof *a->slots);
    for (size_t i = 0; i < a->n; i++)
        a->want[i] = (struct codes_want){v[i]->no, v[i]->active_no};
    a->done = done;
    a->arg = arg;
    ask_start(&a->ask);
}
