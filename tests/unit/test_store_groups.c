/* SPDX-License-Identifier: Apache-2.0 */
/* store: several jobs in one commit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "store_world.h"
#include <cmocka.h>
#include <semaphore.h>
#include <stdio.h>

/* ---- groups ---- */
/* A job that holds the store thread until it is let go, so that what is submitted behind it
 * becomes one group. */
struct gate {
    struct store_job job;
    sem_t entered, leave;
};

static int gate_run(struct store_job *job, struct store *s, struct error *err) {
    struct gate *g = container_of(job, struct gate, job);
    (void)s;
    (void)err;
    sem_post(&g->entered);
    while (sem_wait(&g->leave) != 0)
        ;
    return 0;
}

static void nothing(struct store_job *job, const struct error *err) {
    (void)job;
    (void)err;
}

static void gate_close(struct gate *g, struct store *s) {
    *g = (struct gate){.job = {.run = gate_run, .done = nothing}};
    sem_init(&g->entered, 0, 0);
    sem_init(&g->leave, 0, 0);
    store_submit(s, &g->job);
    while (sem_wait(&g->entered) != 0)
        ;
}

#define MEMBERS 5
struct member {
    struct store_job job;
    int index;
    int fail; /* 1: says so after writing; 2: writes more than there is room for */
    struct party *party;
};
struct party {
    struct member v[MEMBERS];
    int order[MEMBERS * 2], n; /* +index committed, 100 + index done */
    int failed[MEMBERS];
    struct loop *loop;
    int left;
};

static int member_run(struct store_job *job, struct store *s, struct error *err) {
    struct member *m = container_of(job, struct member, job);
    char name[16];
    uint32_t no;
    (void)snprintf(name, sizeof(name), "m%d", m->index);
    OK(make_function(s, name, &no, err));
    if (m->fail == 2) {
        static char big[4 * MIB];
        struct version v = {.function_no = no, .number = 1};
        return store_version_insert(s, &v, str_n(big, sizeof(big)), err);
    }
    return m->fail ? error_set(err, ERR_INVALID, "no") : 0;
}

static void member_committed(struct store_job *job) {
    struct member *m = container_of(job, struct member, job);
    m->party->order[m->party->n++] = m->index;
}

static void member_done(struct store_job *job, const struct error *err) {
    struct member *m = container_of(job, struct member, job);
    struct party *p = m->party;
    p->order[p->n++] = 100 + m->index;
    p->failed[m->index] = err ? (int)err->code : 0;
    if (--p->left == 0)
        loop_stop(p->loop);
}

static sem_t settled;

static int settle_run(struct store_job *job, struct store *s, struct error *err) {
    (void)job;
    (void)s;
    (void)err;
    return 0;
}

static void settle_done(struct store_job *job, const struct error *err) {
    (void)job;
    (void)err;
    sem_post(&settled);
}

/* Until the store thread is out of the loop_post() of every earlier job. */
static void settle(struct store *s) {
    static struct store_job job;
    job = (struct store_job){.run = settle_run, .done = settle_done};
    sem_init(&settled, 0, 0);
    store_submit(s, &job);
    while (sem_wait(&settled) != 0)
        ;
}

static void run_party(struct party *p, struct store *s) {
    struct gate gate;
    p->loop = loop_new(0);
    p->left = MEMBERS;
    gate_close(&gate, s);
    for (int i = 0; i < MEMBERS; i++) {
        p->v[i].index = i;
        p->v[i].party = p;
        p->v[i].job = (struct store_job){.db = STORE_STATE,
                                         .run = member_run,
                                         .committed = member_committed,
                                         .done = member_done,
                                         .loop = p->loop};
        store_submit(s, &p->v[i].job);
    }
    sem_post(&gate.leave);
    loop_run(p->loop);
    settle(s);
    loop_free(p->loop);
}

static void one_failure_leaves_the_others(void **state) {
    struct store *s = ((struct fixture *)*state)->store;
    struct store_stats before, after;
    uint32_t n;
    static struct party p;
    memset(&p, 0, sizeof(p));
    p.v[1].fail = 1;
    store_stats(s, &before);
    run_party(&p, s);
    store_stats(s, &after);
    assert_int_equal(after.commits - before.commits, 1);     /* one group */
    assert_int_equal(after.jobs - before.jobs, MEMBERS + 2); /* the gate, settle() */
    assert_int_equal(after.queued, 0);
    static const int ORDER[] = {0, 2, 3, 4, 100, 101, 102, 103, 104};
    assert_int_equal(p.n, ARRAY_LEN(ORDER));
    assert_memory_equal(p.order, ORDER, sizeof(ORDER));
    assert_int_equal(p.failed[1], ERR_INVALID);
    on(s, STORE_STATE, count_body, &n);
    assert_int_equal(n, MEMBERS - 1);
}

static int limit_pages(struct store *s, void *arg, struct error *err) {
    char sql[64];
    (void)snprintf(sql, sizeof(sql), "PRAGMA max_page_count = %d", *(int *)arg);
    CHECK(sqlite3_exec(STATE(s)->h, sql, NULL, NULL, NULL) == SQLITE_OK);
    return 0;
}

static void full_disk_is_survived(void **state) {
    struct store *s = ((struct fixture *)*state)->store;
    int few = 100, many = 1000000;
    uint32_t n, committed = 0;
    static struct party p;
    memset(&p, 0, sizeof(p));
    p.v[2].fail = 2;
    on(s, STORE_STATE, limit_pages, &few);
    run_party(&p, s);
    assert_int_equal(p.failed[2], ERR_UNAVAILABLE);
    for (int i = 0; i < MEMBERS; i++)
        committed += p.failed[i] == 0;
    on(s, STORE_STATE, count_body, &n);
    assert_int_equal(n, committed); /* what was said to be stored is, and nothing else */
    struct error err;
    on(s, STORE_STATE, limit_pages, &many);
    assert_int_equal(try_on(s, STORE_STATE, conflict_body, NULL, &err), -1);
    assert_int_equal(err.code, ERR_CONFLICT); /* it serves again */
}

static int refuse_commit(void *arg) {
    (void)arg;
    return 1;
}

static int hook_body(struct store *s, void *arg, struct error *err) {
    (void)err;
    (void)sqlite3_commit_hook(STATE(s)->h, *(int *)arg ? refuse_commit : NULL, NULL);
    return 0;
}

static void failed_commit_fails_its_group(void **state) {
    struct store *s = ((struct fixture *)*state)->store;
    int yes = 1, no = 0;
    uint32_t n;
    static struct party p;
    memset(&p, 0, sizeof(p));
    on(s, STORE_STATE, hook_body, &yes);
    run_party(&p, s);
    assert_int_equal(p.n, MEMBERS); /* nobody was told "committed" */
    for (int i = 0; i < MEMBERS; i++) {
        assert_int_equal(p.order[i], 100 + i);
        assert_true(p.failed[i] != 0);
    }
    on(s, STORE_STATE, hook_body, &no);
    on(s, STORE_STATE, count_body, &n);
    assert_int_equal(n, 0);
    memset(&p, 0, sizeof(p));
    run_party(&p, s);
    on(s, STORE_STATE, count_body, &n);
    assert_int_equal(n, MEMBERS);
}

static void close_runs_what_is_queued(void **state) {
    struct fixture *x = *state;
    static struct party p;
    struct gate gate;
    uint32_t n;
    memset(&p, 0, sizeof(p));
    p.loop = loop_new(0); /* posts to it are dropped */
    gate_close(&gate, x->store);
    for (int i = 0; i < MEMBERS; i++) {
        p.v[i] = (struct member){.index = i, .party = &p};
        p.v[i].job = (struct store_job){
            .db = STORE_STATE, .run = member_run, .done = nothing, .loop = p.loop};
        store_submit(x->store, &p.v[i].job);
    }
    sem_post(&gate.leave);
    store_close(x->store);
    loop_free(p.loop);
    reopen(x);
    on(x->store, STORE_STATE, count_body, &n);
    assert_int_equal(n, MEMBERS);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        STORE_TEST(one_failure_leaves_the_others),
        STORE_TEST(full_disk_is_survived),
        STORE_TEST(failed_commit_fails_its_group),
        STORE_TEST(close_runs_what_is_queued),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
