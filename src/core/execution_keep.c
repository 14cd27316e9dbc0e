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

struct execution_ask {
    struct ask ask;
    uint32_t function_no;
    bool by_id;
    struct ulid id;
    uint64_t no;
    struct execution found; /* bodies are copies */
    void (*done)(void *arg, const struct error *err, const struct execution *e);
    void *arg;
};

static struct str copy(struct str s) {
    return s.p ? str_n(x_memdup(s.p, s.len), s.len) : STR_NULL;
}

static void take(void *arg, const struct execution *e) {
    struct execution_ask *a = arg;
    a->found = *e;
    a->found.request = copy(e->request);
    a->found.response = copy(e->response);
}

static int read_one(struct ask *ask, struct store *s, struct error *err) {
    struct execution_ask *a = container_of(ask, struct execution_ask, ask);
    return store_execution_get(s, a->function_no, a->by_id ? &a->id : NULL, a->no, take, a, err);
}

static void answer(struct ask *ask, const struct error *err) {
    struct execution_ask *a = container_of(ask, struct execution_ask, ask);
    a->done(a->arg, err, err ? NULL : &a->found);
    free((char *)a->found.request.p);
    free((char *)a->found.response.p);
    free(a);
}

void core_execution(struct core *c, struct loop *loop, uint32_t function_no, const struct ulid *id,
                    uint64_t no,
                    void (*done)(void *arg, const struct error *err, const struct execution *e),
                    void *arg) {
    struct execution_ask *a = x_alloc(sizeof *a);
    a->ask = (struct ask){.core = c, .loop = loop, .read = read_one, .answer = answer};
    a->function_no = function_no;
    a->by_id = id != NULL;
    if (id)
        a->id = *id;
    a->no = no;
    a->done = done;
    a->arg = arg;
    ask_after_history(&a->ask);
}
