/* SPDX-License-Identifier: Apache-2.0 */
/* Live log lines: written on the loop of the instance, read on the loop of the follower. */

#include "core/internal.h"

struct followed {
    struct list link;
    struct log_line line;
    char text[];
};
struct core_follow {
    struct list link; /* in followers.list; this and all but the callback under followers.lock */
    struct core *core;
    struct loop *loop;
    uint32_t function_no;
    struct list lines;
    size_t n, bytes;
    uint64_t dropped;
    bool posted;
    bool stopped; /* touched on `loop` alone */
    bool in_task; /* the same */
    struct loop_task task;
    void (*line)(void *arg, const struct log_line *line, uint64_t dropped);
    void *arg;
};

void followers_init(struct followers *f) {
    pthread_mutex_init(&f->lock, NULL);
    list_init(&f->list);
}

static void lines_free(struct list *lines) {
    struct list *node;
    while ((node = list_shift(lines)))
        free(list_entry(node, struct followed, link));
}

void followers_done(struct followers *f) {
    struct list *node;
    while ((node = list_shift(&f->list))) {
        struct core_follow *follow = list_entry(node, struct core_follow, link);
        lines_free(&follow->lines);
        free(follow);
    }
    pthread_mutex_destroy(&f->lock);
}

/* Adds the line; true when the follower's loop has to be told. */
static bool tell_locked(struct core_follow *follow, const struct log_line *l) {
    if (follow->n >= FOLLOW_PENDING_MAX || follow->bytes + l->message.len > FOLLOW_BYTES_MAX) {
        follow->dropped++;
    } else {
        struct followed *e = x_alloc(sizeof *e + l->message.len);
        e->line = *l;
        if (l->message.len)
            memcpy(e->text, l->message.p, l->message.len);
        e->line.message.p = e->text;
        list_push(&follow->lines, &e->link);
        follow->n++;
        follow->bytes += l->message.len;
    }
    bool post = !follow->posted;
    follow->posted = true;
    return post;
}

void followers_tell(struct core *c, const struct log_line *l) {
    pthread_mutex_lock(&c->followers.lock);
    list_for_each (it, &c->followers.list) {
        struct core_follow *follow = list_entry(it, struct core_follow, link);
        if (follow->function_no == l->function_no && tell_locked(follow, l))
            loop_post(follow->loop, &follow->task); /* lock-free; posted once at a time */
    }
    pthread_mutex_unlock(&c->followers.lock);
}

static void hand_over(struct core_follow *follow, struct list *lines, uint64_t dropped) {
    struct list *node;
    while (!follow->stopped && (node = list_shift(lines))) {
        struct followed *e = list_entry(node, struct followed, link);
        follow->line(follow->arg, &e->line, 0);
        free(e);
    }
    if (!follow->stopped && dropped)
        follow->line(follow->arg, NULL, dropped);
    lines_free(lines);
}

static void task_run(struct loop_task *task) {
    struct core_follow *follow = container_of(task, struct core_follow, task);
    struct list lines;
    list_init(&lines);
    pthread_mutex_lock(&follow->core->followers.lock);
    follow->posted = false;
    for (struct list *node; (node = list_shift(&follow->lines));)
        list_push(&lines, node);
    uint64_t dropped = follow->dropped;
    follow->dropped = 0;
    follow->n = follow->bytes = 0;
    pthread_mutex_unlock(&follow->core->followers.lock);
    follow->in_task = true;
    hand_over(follow, &lines, dropped);
    follow->in_task = false;
    if (!follow->stopped)
        return;
    pthread_mutex_lock(&follow->core->followers.lock);
    bool again = follow->posted; /* then the task that is under way frees it */
    pthread_mutex_unlock(&follow->core->followers.lock);
    if (!again)
        free(follow);
}

struct core_follow *core_follow_start(struct core *c, struct loop *loop, uint32_t function_no,
                                      void (*line)(void *arg, const struct log_line *line,
                                                   uint64_t dropped),
                                      void *arg) {
    struct core_follow *follow = x_alloc(sizeof *follow);
    follow->core = c;
    follow->loop = loop;
    follow->function_no = function_no;
    follow->line = line;
    follow->arg = arg;
    follow->task.run = task_run;
    list_init(&follow->lines);
    pthread_mutex_lock(&c->followers.lock);
    list_push(&c->followers.list, &follow->link);
    atomic_fetch_add(&c->followers.n, 1);
    pthread_mutex_unlock(&c->followers.lock);
    return follow;
}

void core_follow_stop(struct core_follow *follow) {
    if (!follow)
        return;
    follow->stopped = true;
    pthread_mutex_lock(&follow->core->followers.lock);
    list_del(&follow->link);
    atomic_fetch_sub(&follow->core->followers.n, 1);
    bool posted = follow->posted; /* then its task frees it: it comes to this loop after us */
    lines_free(&follow->lines);
    pthread_mutex_unlock(&follow->core->followers.lock);
    if (!posted && !follow->in_task)
        free(follow);
}
