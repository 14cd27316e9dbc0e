/* SPDX-License-Identifier: Apache-2.0 */
/* What is too old or too much goes, in slices, so that other jobs get in between. */

#include "core/internal.h"

static void submit(struct core *c);

static int job_run(struct store_job *job, struct store *s, struct error *err) {
    struct retention_job *r = container_of(job, struct retention_job, job);
    const struct core_config *config = &r->core->config;
    struct retention rule = {.history_bytes_max =
                                 config->history_bytes ? config->history_bytes : UINT64_MAX,
                             .slice = RETENTION_SLICE};
    if (config->history_age_s)
        rule.history_before_us = clock_real_us() - (int64_t)config->history_age_s * 1000000;
    r->more = false;
    return store_trim(s, &rule, &r->more, err);
}

static void job_done(struct store_job *job, const struct error *err) {
    struct retention_job *r = container_of(job, struct retention_job, job);
    struct core *c = r->core;
    r->busy = false;
    if (err)
        log_error("retention failed", LOG_STR("error", err->text));
    if (atomic_load(&c->draining))
        return;
    if (!err && r->more)
        submit(c);
    else
        loop_timer_set(c->loops[0], &r->timer,
                       loop_now_ns(c->loops[0]) + RETENTION_EVERY_MS * NS_PER_MS);
}

static void submit(struct core *c) {
    struct retention_job *r = &c->retention;
    r->busy = true;
    r->job = (struct store_job){
        .db = STORE_HISTORY, .run = job_run, .done = job_done, .loop = c->loops[0]};
    store_submit(c->store, &r->job);
}

static void timer_fire(struct loop_timer *timer) {
    struct retention_job *r = container_of(timer, struct retention_job, timer);
    if (!r->busy && !atomic_load(&r->core->draining))
        submit(r->core);
}

void retention_start(struct core *c) {
    c->retention.core = c;
    loop_timer_init(&c->retention.timer, timer_fire);
    loop_timer_set(c->loops[0], &c->retention.timer, loop_now_ns(c->loops[0]) + NS_PER_S);
}

void retention_stop(struct core *c) {
    if (c->retention.core)
        loop_timer_clear(c->loops[0], &c->retention.timer);
}
