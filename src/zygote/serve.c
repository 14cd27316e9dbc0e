/* SPDX-License-Identifier: Apache-2.0 */
#include "zygote/internal.h"

/* The channels and the loop. */

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

static void close_all(const int *fds, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (fds[i] >= 0)
            (void)close(fds[i]);
}

int channel_add(struct zygote *z, int fd, bool first) {
    int r = -EMFILE;
    if (z->n_channels >= ZYGOTE_CHANNELS_MAX)
        goto fail;
    r = -EINVAL;
    if (fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        goto fail;
    struct channel *ch = x_alloc(sizeof(*ch));
    *ch = (struct channel){.kind = SOURCE_CHANNEL, .fd = fd, .first = first};
    list_init(&ch->queue);
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = ch};
    if (epoll_ctl(z->epoll, EPOLL_CTL_ADD, fd, &ev) < 0) {
        r = -errno;
        free(ch);
        goto fail;
    }
    list_push(&z->channels, &ch->node);
    z->n_channels++;
    return 0;
fail:
    (void)close(fd);
    return r;
}

/* Taken off its queue already. */
static void pending_free(struct pending *p) {
    close_all(p->fds, p->n_fds);
    free(p);
}

static void channel_free(struct zygote *z, struct channel *ch) {
    instances_orphan(z, ch);
    for (struct list *n; (n = list_shift(&ch->queue));)
        pending_free(list_entry(n, struct pending, node));
    list_del(&ch->node);
    z->n_channels--;
    /* Closing alone would not do: an instance that is being made has a copy of it for a moment, and
     * the epoll goes on telling of what a copy is left of (epoll(7), question 6). */
    (void)epoll_ctl(z->epoll, EPOLL_CTL_DEL, ch->fd, NULL);
    (void)close(ch->fd);
    free(ch);
}

static void watch_for(struct zygote *z, struct channel *ch, uint32_t events) {
    struct epoll_event ev = {.events = events, .data.ptr = ch};
    (void)epoll_ctl(z->epoll, EPOLL_CTL_MOD, ch->fd, &ev);
}

/* A full channel is no longer read from, until its queue is empty again. */
static void enqueue(struct zygote *z, struct channel *ch, const struct zygote_msg *m,
                    const int *fds, size_t n_fds) {
    if (ch->queued >= ZYGOTE_QUEUE_MAX || n_fds > ARRAY_LEN(((struct pending *)0)->fds)) {
        close_all(fds, n_fds); /* cannot happen; and must not grow */
        return;
    }
    struct pending *p = x_alloc(sizeof(*p));
    p->msg = *m;
    for (size_t i = 0; i < n_fds; i++)
        p->fds[i] = fds[i];
    p->n_fds = n_fds;
    list_push(&ch->queue, &p->node);
    if (ch->queued++ == 0)
        watch_for(z, ch, EPOLLOUT);
}

void channel_send(struct zygote *z, struct channel *ch, const struct zygote_msg *m, const int *fds,
                  size_t n_fds) {
    if (!ch) {
        close_all(fds, n_fds);
        return;
    }
    int r = ch->queued ? -EAGAIN : zygote_send(ch->fd, m, fds, n_fds);
    /* ETOOMANYREFS: too many descriptors in flight to a reader that is behind. */
    if (r == -EAGAIN || r == -ETOOMANYREFS || r == -ENOBUFS)
        enqueue(z, ch, m, fds, n_fds);
    else
        close_all(fds, n_fds); /* sent, or the channel is dead, which reading it will tell */
}

static void channel_flush(struct zygote *z, struct channel *ch) {
    for (struct list *n; (n = list_shift(&ch->queue));) {
        struct pending *p = list_entry(n, struct pending, node);
        int r = zygote_send(ch->fd, &p->msg, p->fds, p->n_fds);
        if (r == -EAGAIN || r == -ETOOMANYREFS || r == -ENOBUFS) {
            list_unshift(&ch->queue, n);
            return;
        }
        pending_free(p);
        ch->queued--;
    }
    watch_for(z, ch, EPOLLIN);
}

/* One request. False when the channel is at its end. */
static bool channel_read(struct zygote *z, struct channel *ch) {
    struct zygote_msg m;
    int fds[ZYGOTE_FDS_MAX];
    size_t n_fds = ARRAY_LEN(fds);
    int r = zygote_recv(ch->fd, &m, fds, &n_fds);
    if (r == -EAGAIN)
        return true;
    if (r <= 0)
        return false;
    if (m.op == ZYGOTE_SPAWN) {
        instance_spawn(z, ch, &m, fds, n_fds);
    } else if (m.op == ZYGOTE_ATTACH && n_fds == 1) {
        (void)channel_add(z, fds[0], false); /* its other end sees a refusal as its end */
    } else {
        close_all(fds, n_fds);
        return false; /* both ends are of one build: a fault, not a version */
    }
    return true;
}

/* False: the first channel is gone. */
static bool on_channel(struct zygote *z, struct channel *ch, uint32_t events) {
    if (events & EPOLLOUT)
        channel_flush(z, ch);
    bool alive = true;
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        alive = ch->queued && !(events & EPOLLHUP) ? true : channel_read(z, ch);
    if (alive)
        return true;
    bool first = ch->first;
    channel_free(z, ch);
    return !first;
}

int zygote_serve(struct zygote *z) {
    for (;;) {
        struct epoll_event ev; /* one at a time: handling one may free another's source */
        int n = epoll_wait(z->epoll, &ev, 1, -1);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n <= 0)
            continue;
        struct signalfd_siginfo info;
        switch (*(enum source_kind *)ev.data.ptr) {
        case SOURCE_CHANNEL:
            if (!on_channel(z, ev.data.ptr, ev.events))
                return 0;
            break;
        case SOURCE_SIGNAL:
            while (read(z->signals, &info, sizeof(info)) > 0)
                ;
            instances_reap(z);
            break;
        case SOURCE_REPORT:
            instances_reports(z);
            break;
        }
    }
}
