/* SPDX-License-Identifier: Apache-2.0 */
/* Key-value stores of functions: each question is one job of the store's thread, so that what SET
 * has answered is on the disk. */

#include "core/internal.h"

/* All keys of a function at their longest, each with its length. */
#define ANSWER_MAX (KV_KEYS_MAX * (KV_KEY_MAX_LEN + 4) + KV_VALUE_MAX)

struct kv_job {
    struct store_job job;
    struct engine_kv *kv;
    bool found;
    struct buf answer;
};

static void take_value(void *arg, struct str value) {
    (void)buf_put_str(arg, value);
}

static void take_key(void *arg, struct str key) {
    (void)wire_str(arg, key);
}

static int run(struct store_job *job, struct store *s, struct error *err) {
    struct kv_job *j = container_of(job, struct kv_job, job);
    const struct engine_kv *kv = j->kv;
    j->found = true;
    switch (kv->op) {
    case WIRE_KV_GET:
        return store_kv_get(s, kv->function_no, kv->store, kv->key, take_value, &j->answer,
                            &j->found, err);
    case WIRE_KV_SET:
        return store_kv_set(s, kv->function_no, kv->store, kv->key, kv->value, err);
    case WIRE_KV_DELETE:
        return store_kv_delete(s, kv->function_no, kv->store, kv->key, err);
    case WIRE_KV_EXISTS:
        return store_kv_get(s, kv->function_no, kv->store, kv->key, NULL, NULL, &j->found, err);
    case WIRE_KV_KEYS:
        return store_kv_keys(s, kv->function_no, kv->store, take_key, &j->answer, err);
    }
    return error_set(err, ERR_INTERNAL, "unknown operation");
}

static void done(struct store_job *job, const struct error *err) {
    struct kv_job *j = container_of(job, struct kv_job, job);
    struct engine_kv *kv = j->kv;
    if (!err) {
        kv->answer(kv, j->found ? WIRE_KV_OK : WIRE_KV_NONE, buf_str(&j->answer));
    } else if (err->code == ERR_QUOTA || err->code == ERR_NOT_FOUND) {
        kv->answer(kv, err->code == ERR_QUOTA ? WIRE_KV_FULL : WIRE_KV_FAILED, str_of(err->text));
    } else { /* the store's own words are for who runs the server */
        log_error("key-value store failed", LOG_INT("function", kv->function_no),
                  LOG_STR("error", err->text));
        kv->answer(kv, WIRE_KV_FAILED, STR("the key-value store failed"));
    }
    buf_done(&j->answer);
    free(j);
}

void kv_ask(void *user, struct loop *loop, struct engine_kv *kv) {
    struct core *c = user;
    struct kv_job *j = x_alloc(sizeof *j);
    buf_init(&j->answer, ANSWER_MAX);
    j->kv = kv;
    j->job = (struct store_job){.db = STORE_STATE, .run = run, .done = done, .loop = loop};
    store_submit(c->store, &j->job);
}
