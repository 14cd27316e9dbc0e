/* SPDX-License-Identifier: Apache-2.0 */
/* What an instance asks of its key-value stores: a question that passes is within the limits of
 * model.h and, written down again, is the payload that came. */

#include "engine/internal.h"
#include "fuzz.h"

static struct str payload;
static bool asked;

static void check(void *user, struct loop *loop, struct engine_kv *kv) {
    (void)user, (void)loop;
    cleanup_buf struct buf b = BUF_INIT(2 * KV_VALUE_MAX);
    asked = true;
    MUST(kv->function_no == 7 && kv->op >= WIRE_KV_GET && kv->op <= WIRE_KV_KEYS);
    MUST(kv->store.len >= 1 && kv->store.len <= NAME_MAX_LEN && str_is_utf8(kv->store));
    MUST(kv->key.len <= KV_KEY_MAX_LEN && str_is_utf8(kv->key));
    MUST((kv->key.len == 0) == (kv->op == WIRE_KV_KEYS));
    MUST(kv->value.len <= (kv->op == WIRE_KV_SET ? KV_VALUE_MAX : 0));
    MUST(wire_u8(&b, (uint8_t)kv->op) == 0 && wire_str(&b, kv->store) == 0);
    MUST(wire_str(&b, kv->key) == 0 && wire_str(&b, kv->value) == 0);
    MUST(str_eq(buf_str(&b), payload));
    kv->answer(kv, WIRE_KV_OK, STR_NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct function f = {.no = 7};
    struct deployment d = {.function = &f};
    struct pool p = {.deployment = &d};
    struct engine e = {.config.kv = check};
    struct engine_loop el = {.engine = &e};
    struct instance inst = {.el = &el, .pool = &p, .state = INST_DYING};
    payload = str_n(data, size);
    struct wire_frame frame = {.type = WIRE_KV, .seq = 1, .payload = payload};
    asked = false;
    MUST(kv_asked(&inst, &frame) == asked);
    MUST(!inst.kv);
    return 0;
}
