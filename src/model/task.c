/* SPDX-License-Identifier: Apache-2.0 */
/* Tasks: their words, their ids, their life. */

#include "model/model.h"

#include "base/rand.h"
#include <stdio.h>

static const char *const KIND[] = {
    [TASK_BUILD] = "build",
    [TASK_PUSH] = "push",
    [TASK_BUILD_AND_PUSH] = "build-and-push",
    [TASK_DEPLOY] = "deploy",
};
static const char *const STATUS[] = {
    [TASK_PENDING] = "pending",
    [TASK_RUNNING] = "running",
    [TASK_COMPLETED] = "completed",
    [TASK_FAILED] = "failed",
};

const char *task_kind_name(enum task_kind k) {
    return (unsigned int)k < ARRAY_LEN(KIND) ? KIND[k] : "unknown";
}

const char *task_status_name(enum task_status s) {
    return (unsigned int)s < ARRAY_LEN(STATUS) ? STATUS[s] : "unknown";
}

/* "task-" and a random UUID (RFC 9562, version 4). */
void task_id_make(char out[TASK_ID_LEN + 1]) {
    uint8_t b[16];
    rand_bytes(b, sizeof b);
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
    (void)snprintf(out, TASK_ID_LEN + 1,
                   "task-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
                   b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12],
                   b[13], b[14], b[15]);
}

bool task_id_is(struct str s) {
    if (s.len != TASK_ID_LEN || !str_starts(s, STR("task-")))
        return false;
    for (size_t i = 5; i < s.len; i++) {
        bool dash = i == 13 || i == 18 || i == 23 || i == 28;
        if (dash ? s.p[i] != '-' : !str_is_small_hex(str_n(s.p + i, 1)))
            return false;
    }
    return true;
}

void task_done(struct task *t) {
    free(t->workspace);
    free(t->app_name);
    free(t->progress);
    free(t->error);
    free(t->file_path);
    free(t->wasm_path);
    free(t->image);
    free(t->params);
    free(t->log);
    *t = (struct task){0};
}
