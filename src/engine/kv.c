/* SPDX-License-Identifier: Apache-2.0 */
/* Questions of a call to its function's key-value stores. The question is copied: the answer comes
 * from the store's thread later, when the instance that asked may be gone. */

#include "engine/internal.h"

struct kv_ask {
    struct engine_kv kv;
    struct instance *instance; /* NULL: nobody waits for the answer any more */
    uint32_t seq;
    char text[]; /* store, key and value, one after the other */
};

static bool in_range(struct str s, size_t min, size_t max) {
    return s.len >= min && s.len <= max && str_is_utf8(s);
}

static bool well_formed(enum wire_kv_op op, struct str store, struct str key, struct str value) {
    if (op < WIRE_KV_GET || op > WIRE_KV_KEYS || !in_range(store, 1, NAME_MAX_LEN))
        return false;
    bool keyed = op != WIRE_KV_KEYS;
    return in_range(key, keyed ? 1 : 0, keyed ? KV_KEY_MAX_LEN : 0) &&
           value.len <= (op == WIRE_KV_SET ? KV_VALUE_MAX : 0);
}

static struct str keep(char **at, struct str s) {
    if (s.len)
        memcpy(*at, s.p, s.len);
    struct str kept = str_n(*at, s.len);
    *at += s.len;
    return kept;
}

static void answered(struct engine_kv *kv, enum wire_kv_status status, struct str payload) {
    struct kv_ask *ask = container_of(kv, struct kv_ask, kv);
    struct instance *inst = ask->instance;
    char head = (char)status;
    if (inst) {
        inst->kv = NULL;
        int r = 0;
        if (inst->state == INST_BUSY && inst->seq == ask->seq)
            r = frames_send(inst, WIRE_KV_ANSWER, ask->seq, str_n(&head, 1), payload);
        if (r < 0)
            instance_end(inst);
    }
    free(ask);
}

bool kv_asked(struct instance *inst, const struct wire_frame *f) {
    struct wire_in in = wire_open(f->payload);
    enum wire_kv_op op = (enum wire_kv_op)wire_get_u8(&in);
    struct str store = wire_get_str(&in), key = wire_get_str(&in), value = wire_get_str(&in);
    if (!wire_done(&in) || !well_formed(op, store, key, value))
        return false;
    struct kv_ask *ask = x_alloc(sizeof *ask + store.len + key.len + value.len);
    char *at = ask->text;
    ask->instance = inst;
    ask->seq = f->seq;
    ask->kv = (struct engine_kv){.function_no = inst->pool->deployment->function->no,
                                 .op = op,
                                 .store = keep(&at, store),
                                 .key = keep(&at, key),
                                 .value = keep(&at, value),
                                 .answer = answered};
    inst->kv = ask;
    struct engine *e = inst->el->engine;
    e->config.kv(e->config.user, inst->el->loop, &ask->kv);
    return true;
}

void kv_forget(struct instance *inst) {
    if (inst->kv)
        inst->kv->instance = NULL;
    inst->kv = NULL;
}
