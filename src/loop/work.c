/* SPDX-License-Identifier: Apache-2.0 */
#include "loop/work.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>

struct workers {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct list queue;
    uint32_t queued, queue_max;
    uint32_t busy; /* threads inside run or done */
    uint32_t n_threads, threads_max;
    int cancel_fd;
    atomic_bool stopping;
    struct loop *idle_loop;
    struct loop_task *idle;
    pthread_t threads[];
};

struct workers *workers_new(uint32_t threads_max, uint32_t queue_max) {
    struct workers *w = x_alloc(sizeof *w + threads_max * sizeof w->threads[0]);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
    list_init(&w->queue);
    w->threads_max = threads_max;
    w->queue_max = queue_max;
    w->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (w->cancel_fd < 0)
        abort(); /* no descriptors at start-up */
    return w;
}

int workers_cancel_fd(const struct workers *w) {
    return w->cancel_fd;
}

bool workers_stopping(const struct workers *w) {
    return atomic_load(&w->stopping);
}

const _Atomic bool *workers_stop_flag(const struct workers *w) {
    return &w->stopping;
}

static void tell_done(struct loop_task *task) {
    struct work *work = container_of(task, struct work, task);
    work->done(work);
}

static void finish(struct work *work) {
    if (!work->loop) {
        work->done(work);
        return;
    }
    work->task = (struct loop_task){.run = tell_done};
    loop_post(work->loop, &work->task); /* from here on it is its owner's */
}

/* Under the lock: nothing runs, nothing waits, and somebody wants to know. */
static void tell_idle(struct workers *w) {
    if (!atomic_load(&w->stopping) || w->busy || w->queued || !w->idle)
        return;
    struct loop_task *idle = w->idle;
    w->idle = NULL;
    loop_post(w->idle_loop, idle);
}

static struct work *next_work(struct workers *w) {
    struct list *first = list_shift(&w->queue);
    if (!first)
        return NULL;
    w->queued--;
    w->busy++;
    return list_entry(first, struct work, link);
}

static void *run_worker(void *arg) {
    struct workers *w = arg;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        struct work *work = next_work(w);
        if (!work) {
            if (atomic_load(&w->stopping))
                break;
            pthread_cond_wait(&w->changed, &w->lock);
            continue;
        }
        pthread_mutex_unlock(&w->lock);
        if (atomic_load(&w->stopping))
            work->dropped = true;
        else
            work->run(work);
        finish(work);
        pthread_mutex_lock(&w->lock);
        w->busy--;
        tell_idle(w);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

/* Under the lock. Signals are the main thread's. */
static int start_thread(struct workers *w) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int r = pthread_create(&w->threads[w->n_threads], NULL, run_worker, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r == 0)
        w->n_threads++;
    return -r;
}

int workers_submit(struct workers *w, struct work *work) {
    int r = 0;
    work->dropped = false;
    pthread_mutex_lock(&w->lock);
    if (atomic_load(&w->stopping))
        r = -ESHUTDOWN;
    else if (w->queued >= w->queue_max)
        r = -EAGAIN;
    else if (w->busy + w->queued >= w->n_threads && w->n_threads < w->threads_max)
        r = start_thread(w);
    if (r < 0 && r != -ESHUTDOWN && w->queued < w->queue_max && w->n_threads > 0)
        r = 0; /* no further thread, but there are some */
    if (r == 0) {
        list_push(&w->queue, &work->link);
        w->queued++;
        pthread_cond_signal(&w->changed);
    }
    pthread_mutex_unlock(&w->lock);
    return r;
}

void workers_stop(struct workers *w, struct loop *loop, struct loop_task *idle) {
    const uint64_t one = 1;
    pthread_mutex_lock(&w->lock);
    w->idle_loop = loop;
    w->idle = idle;
    atomic_store(&w->stopping, true);
    ssize_t n = write(w->cancel_fd, &one, sizeof one);
    (void)n; /* EAGAIN: it is readable already */
    pthread_cond_broadcast(&w->changed);
    tell_idle(w);
    pthread_mutex_unlock(&w->lock);
}

void workers_end(struct workers *w) {
    if (!w)
        return;
    if (!workers_stopping(w))
        workers_stop(w, NULL, NULL);
    /* once it stops no further thread starts */
    for (uint32_t i = 0; i < w->n_threads; i++)
        pthread_join(w->threads[i], NULL);
    w->n_threads = 0;
}

void workers_free(struct workers *w) {
    if (!w)
        return;
    workers_end(w);
    fd_close(&w->cancel_fd);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
    free(w);
}
