/* SPDX-License-Identifier: Apache-2.0 */
/* A build loads the code and finds its handler in a fresh instance, with the function's own limits
 * and sandbox, and ends it. What is printed meanwhile is the build log. */

#include "base/clock.h"
#include "engine/internal.h"
#include <stdio.h>

static void finish(struct engine_build *b, bool ok) {
    uint64_t ms = (clock_mono_ns() - b->started_ns) / NS_PER_MS;
    char line[96];
    snprintf(line, sizeof line, "[kiln] %s after %llu ms\n", ok ? "built" : "failed",
             (unsigned long long)ms);
    (void)buf_puts(&b->log, line);
    struct buf log = b->log;
    b->log = BUF_INIT(0);
    b->done(b, ok, buf_str(&log));
    buf_done(&log);
}

void build_ended(struct instance *inst, bool ok, const char *why) {
    struct engine_build *b = inst->build;
    if (!b)
        return;
    output_collect(inst);
    inst->build = NULL;
    b->instance = NULL;
    if (!ok && (inst->kill_cause == ERR_UNAVAILABLE || inst->kill_cause == ERR_INTERNAL))
        b->cause = inst->kill_cause;
    if (why && *why)
        (void)buf_printf(&b->log, "%s\n", why);
    finish(b, ok);
}

void engine_build_start(struct engine_loop *el, struct engine_build *b) {
    struct error err = {0};
    b->instance = NULL;
    b->cause = ERR_NONE;
    b->log = BUF_INIT(BUILD_LOG_MAX + 4096);
    b->started_ns = clock_mono_ns();
    struct instance *inst = NULL;
    if (el->draining)
        error_set(&err, ERR_UNAVAILABLE, "the server is shutting down");
    else
        inst =
            spare_take(el, b->function->kind,
                       b->function->network == NETWORK_NONE ? NETWORK_NONE : NETWORK_EGRESS, &err);
    if (!inst) {
        (void)buf_printf(&b->log, "%s\n", err.text);
        b->cause = ERR_UNAVAILABLE;
        finish(b, false);
        return;
    }
    instance_assign_build(inst, b);
}
