/* SPDX-License-Identifier: Apache-2.0 */
/* Executions: bodies kept of calls, and the numbers of jobs. Numbers are reserved in the store by
 * blocks, so that one that was told is never told again, however the server ends. */

#include "core/internal.h"

/* ---- numbers ---- */
static int reserve(struct core *c, struct store *s, uint64_t *ret, struct error *err) {
    (void)c;
    return store_counter_reserve(s, "jobs", JOBS_RESERVED, ret, err);
}

int jobs_init(struct core *c, struct store *s, struct error *err) {
    uint64_t first;
    if (reserve(c, s, &first, err) < 0)
        return -1;
    c->jobs.next = first;
    c->jobs.end = first + JOBS_RESERVED;
    return 0;
}

/* Reservations follow each other without a gap: nobody else takes from this counter. */
static int more_run(struct store_job *job, struct store *s, struct error *err) {
    struct core *c = container_of(job, struct core, jobs.job);
    uint64_t first;
    return reserve(c, s, &first, err);
}

static void more_done(struct store_job *job, const struct error *err) {
    struct core *c = container_of(job, struct core, jobs.job);
    pthread_mutex_lock(&c->jobs.lock);
    if (!err)
        c->jobs.end += JOBS_RESERVED;
    c->jobs.reserving = false;
    pthread_mutex_unlock(&c->jobs.lock);
}

uint64_t core_job_no(struct core *c) {
    pthread_mutex_lock(&c->jobs.lock);
    uint64_t no = c->jobs.next++;
    bool low = c->jobs.next + JOBS_RESERVED / 2 > c->jobs.end && !c->jobs.reserving;
    if (low)
        c->jobs.reserving = true;
    pthread_mutex_unlock(&c->jobs.lock);
    if (low) {
        c->jobs.job = (struct store_job){.db = STORE_STATE, .run = more_run, .done = more_done};
        store_submit(c->store, &c->jobs.job);
    }
    return no;
}

/* ---- bodies ---- */
void core_execution_keep(struct core *c, struct loop *loop, const struct execution *e) {
    history_execution(core_on(c, loop), e);
}
