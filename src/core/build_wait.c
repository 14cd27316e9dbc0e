/* SPDX-License-Identifier: Apache-2.0 */
/* Those that wait for the end of a build. */

#include "core/internal.h"

static void over(struct build_wait *w, bool in_time) {
    loop_timer_clear(w->loop, &w->timer);
    w->over(w, in_time);
}

static void task_run(struct loop_task *task) {
    over(container_of(task, struct build_wait, task), true);
}

static void timer_fire(struct loop_timer *timer) {
    struct build_wait *w = container_of(timer, struct build_wait, timer);
    pthread_mutex_lock(&w->core->builds.lock);
    bool waits = !list_empty(&w->link);
    list_del(&w->link);
    pthread_mutex_unlock(&w->core->builds.lock);
    if (waits) /* else its task is under way */
        over(w, false);
}

static void prepare(struct build_wait *w, struct core *c, struct loop *loop) {
    w->core = c;
    w->loop = loop;
    w->task.run = task_run;
    list_init(&w->link);
    loop_timer_init(&w->timer, timer_fire);
    loop_timer_set(loop, &w->timer, loop_now_ns(loop) + CORE_BUILD_WAIT_MS * NS_PER_MS);
}

/* Under builds.lock, or before the build can be found. */
void build_wait_attach(struct build_wait *w, struct core *c, struct loop *loop, struct list *to) {
    prepare(w, c, loop);
    list_push(to, &w->link);
}

void build_wait_for(struct core *c, struct build_wait *w, struct loop *loop, uint32_t version_no) {
    pthread_mutex_lock(&c->builds.lock);
    struct build *b = builds_find(&c->builds, version_no);
    if (b)
        build_wait_attach(w, c, loop, &b->waiters);
    pthread_mutex_unlock(&c->builds.lock);
    if (b)
        return;
    prepare(w, c, loop);
    loop_post(loop, &w->task);
}

void build_wait_wake(struct core *c, struct list *waiters, bool ok, const char *log) {
    pthread_mutex_lock(&c->builds.lock);
    struct list *node;
    while ((node = list_shift(waiters))) {
        struct build_wait *w = list_entry(node, struct build_wait, link);
        w->ok = ok;
        w->log = log ? x_strdup(log) : NULL;
        loop_post(w->loop, &w->task);
    }
    pthread_mutex_unlock(&c->builds.lock);
}
