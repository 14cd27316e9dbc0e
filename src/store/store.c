/* SPDX-License-Identifier: Apache-2.0 */
/* The store thread: its queue, and groups of jobs that are one commit. */

#include "base/clock.h"
#include "store/sqlite.h"
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#define GROUP_MAX 4096 /* jobs of one commit */
#define IDLE_S    1    /* quiet for so long: the write-ahead logs are moved in */

struct store {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    /* under the lock */
    struct store_job *first, **last;
    bool sleeping, closing;
    /* of the store thread */
    struct sqlite sqlite;
    struct store_job *group[GROUP_MAX];
    uint8_t touched[GROUP_MAX]; /* bit per database that the job wrote to */
    /* read by any thread */
    _Atomic uint64_t commits, jobs, commit_ns, bytes[STORE_DB_COUNT];
    _Atomic uint32_t queued;
};

struct sqlite *store_sqlite(struct store *s) {
    return &s->sqlite;
}

void store_submit(struct store *s, struct store_job *job) {
    job->next = NULL;
    atomic_fetch_add_explicit(&s->queued, 1, memory_order_relaxed);
    pthread_mutex_lock(&s->lock);
    *s->last = job;
    s->last = &job->next;
    bool wake = s->sleeping;
    s->sleeping = false;
    pthread_mutex_unlock(&s->lock);
    if (wake)
        pthread_cond_signal(&s->wake);
}

/* Waits for a job; false when nothing came for IDLE_S and LIMITED. */
static bool wait_locked(struct store *s, bool limited) {
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += IDLE_S;
    int rc = 0;
    while (!s->first && !s->closing && rc != ETIMEDOUT) {
        s->sleeping = true;
        rc = limited ? pthread_cond_timedwait(&s->wake, &s->lock, &until)
                     : pthread_cond_wait(&s->wake, &s->lock);
    }
    s->sleeping = false;
    return s->first || s->closing;
}

/* Takes up to GROUP_MAX queued jobs; 0: closing and none left. */
static size_t take_group(struct store *s) {
    size_t n = 0;
    pthread_mutex_lock(&s->lock);
    while (!wait_locked(s, sqlite_wants_checkpoint(&s->sqlite))) {
        pthread_mutex_unlock(&s->lock);
        sqlite_checkpoint(&s->sqlite, true);
        pthread_mutex_lock(&s->lock);
    }
    while (s->first && n < GROUP_MAX) {
        s->group[n++] = s->first;
        s->first = s->first->next;
    }
    if (!s->first)
        s->last = &s->first;
    pthread_mutex_unlock(&s->lock);
    return n;
}

/* Fails the first N jobs of the group that wrote to one of DBS, or that were about it. */
static void fail_jobs(struct store *s, size_t n, unsigned dbs, const struct error *why) {
    for (size_t i = 0; i < n; i++) {
        struct store_job *job = s->group[i];
        if (job->failed || !((s->touched[i] | 1u << job->db) & dbs))
            continue;
        job->failed = true;
        job->error = *why;
    }
}

static void run_job(struct store *s, size_t i) {
    struct store_job *job = s->group[i];
    unsigned touched;
    struct error why;
    memset(&job->error, 0, sizeof(job->error));
    sqlite_job_begin(&s->sqlite);
    job->failed = job->run(job, s, &job->error) != 0;
    why = job->error; /* where it broke the transaction, its own words say how */
    unsigned gone = sqlite_job_end(&s->sqlite, job->failed, &touched, &why);
    s->touched[i] = (uint8_t)touched;
    if (gone)
        fail_jobs(s, i + 1, gone, &why);
}

static void update_bytes(struct store *s, int db) {
    uint64_t bytes;
    struct error ignored;
    if (sqlite_bytes(s, (enum store_db)db, &bytes, &ignored) == 0)
        atomic_store_explicit(&s->bytes[db], bytes, memory_order_relaxed);
}

static void commit_group(struct store *s, size_t n) {
    bool any = false;
    uint64_t start = clock_mono_ns();
    for (int db = 0; db < STORE_DB_COUNT; db++) {
        struct error why = {0};
        bool wrote;
        if (sqlite_group_commit(&s->sqlite, (enum store_db)db, &wrote, &why) < 0)
            fail_jobs(s, n, 1u << db, &why);
        else if (wrote)
            update_bytes(s, db);
        any |= wrote;
    }
    if (!any)
        return;
    atomic_fetch_add_explicit(&s->commits, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->commit_ns, clock_mono_ns() - start, memory_order_relaxed);
}

static void on_loop(struct loop_task *task) {
    struct store_job *job = container_of(task, struct store_job, task);
    job->done(job, job->failed ? &job->error : NULL);
}

/* The job is its owner's again with this call. */
static void finish_job(struct store_job *job) {
    if (!job->loop) {
        job->done(job, job->failed ? &job->error : NULL);
        return;
    }
    job->task = (struct loop_task){.run = on_loop};
    loop_post(job->loop, &job->task);
}

static void run_group(struct store *s, size_t n) {
    sqlite_group_begin(&s->sqlite, n);
    for (size_t i = 0; i < n; i++)
        run_job(s, i);
    commit_group(s, n);
    for (size_t i = 0; i < n; i++) {
        if (!s->group[i]->failed && s->group[i]->committed)
            s->group[i]->committed(s->group[i]);
    }
    atomic_fetch_add_explicit(&s->jobs, n, memory_order_relaxed);
    atomic_fetch_sub_explicit(&s->queued, (uint32_t)n, memory_order_relaxed);
    for (size_t i = 0; i < n; i++)
        finish_job(s->group[i]);
}

static void *thread_main(void *arg) {
    struct store *s = arg;
    size_t n;
    (void)pthread_setname_np(pthread_self(), "store");
    while ((n = take_group(s)) > 0) {
        run_group(s, n);
        sqlite_checkpoint(&s->sqlite, false);
    }
    return NULL;
}

/* Signals are the main thread's business. */
static int start_thread(struct store *s) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&s->thread, NULL, thread_main, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -rc;
}

static void store_free(struct store *s) {
    sqlite_close(&s->sqlite);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->wake);
    free(s);
}

int store_open(const struct store_config *config, struct store **ret, struct error *err) {
    if (config->url && strcmp(config->url, "sqlite") != 0)
        return error_field(err, ERR_INVALID, "store", "store must be \"sqlite\"");
    struct store *s = x_alloc(sizeof(*s));
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->wake, &attr);
    pthread_condattr_destroy(&attr);
    s->last = &s->first;
    if (sqlite_open(&s->sqlite, config->data_dir, err) < 0) {
        store_free(s);
        return -1;
    }
    for (int db = 0; db < STORE_DB_COUNT; db++)
        update_bytes(s, db);
    int rc = start_thread(s);
    if (rc < 0) {
        store_free(s);
        return error_errno(err, rc, "starting the store thread");
    }
    *ret = s;
    return 0;
}

void store_close(struct store *s) {
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->closing = true;
    pthread_mutex_unlock(&s->lock);
    pthread_cond_signal(&s->wake);
    pthread_join(s->thread, NULL);
    store_free(s);
}

/* ---- waiting ---- */
struct wait {
    struct store_job job;
    int (*run)(struct store *s, void *arg, struct error *err);
    void *arg;
    struct error *err;
    int result;
    sem_t over;
};

static int wait_run(struct store_job *job, struct store *s, struct error *err) {
    struct wait *w = container_of(job, struct wait, job);
    return w->run(s, w->arg, err);
}

static void wait_done(struct store_job *job, const struct error *err) {
    struct wait *w = container_of(job, struct wait, job);
    w->result = err ? -1 : 0;
    if (err && w->err)
        *w->err = *err;
    (void)sem_post(&w->over);
}

int store_wait(struct store *s, enum store_db db,
               int (*run)(struct store *s, void *arg, struct error *err), void *arg,
               struct error *err) {
    struct wait w = {
        .job = {.db = db, .run = wait_run, .done = wait_done}, .run = run, .arg = arg, .err = err};
    (void)sem_init(&w.over, 0, 0);
    store_submit(s, &w.job);
    while (sem_wait(&w.over) < 0)
        ;
    (void)sem_destroy(&w.over);
    return w.result;
}

void store_stats(struct store *s, struct store_stats *ret) {
    *ret = (struct store_stats){
        .commits = atomic_load_explicit(&s->commits, memory_order_relaxed),
        .jobs = atomic_load_explicit(&s->jobs, memory_order_relaxed),
        .commit_ns_total = atomic_load_explicit(&s->commit_ns, memory_order_relaxed),
        .state_bytes = atomic_load_explicit(&s->bytes[STORE_STATE], memory_order_relaxed),
        .history_bytes = atomic_load_explicit(&s->bytes[STORE_HISTORY], memory_order_relaxed),
        .queued = atomic_load_explicit(&s->queued, memory_order_relaxed),
    };
}
