/* SPDX-License-Identifier: Apache-2.0 */
/* kiln-egress: the network of all instances of one server, see egress.h. Started by
 * egress_start(): kiln-egress UID ALLOW_LIST, with the control channel and the counters as
 * descriptors. */

#include "egress/confine.h"
#include "egress/host.h"
#include "egress/protocol.h"
#include "egress/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define EVENTS_PER_TURN   256
#define CONTROLS_PER_TURN 64

struct server {
    struct taps taps;
    int watch_fd;
};

/* Closes what came beyond the two descriptors that a message may bring. */
static void take_fds(struct msghdr *m, int fds[2]) {
    size_t n = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
            if (n < 2)
                fds[n++] = fd;
            else
                (void)close(fd);
        }
    }
}

/* 1: a message was handled, 0: none is waiting, -EPIPE: the server is gone. */
static int control_one(struct server *s) {
    struct egress_msg msg;
    union {
        char buf[CMSG_SPACE(2 * sizeof(int))];
        struct cmsghdr align;
    } u;
    struct iovec iov = {&msg, sizeof(msg)};
    struct msghdr m = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = u.buf, .msg_controllen = sizeof(u.buf)};
    int fds[2] = {-1, -1};
    ssize_t n = recvmsg(EGRESS_CONTROL_FD, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0)
        return errno == EAGAIN ? 0 : errno == EINTR ? 1 : -EPIPE;
    if (n == 0)
        return -EPIPE;
    take_fds(&m, fds);
    if (n == sizeof(msg) && msg.op == EGRESS_ATTACH && fds[0] >= 0) {
        (void)taps_attach(&s->taps, fds[0], fds[1], msg.instance);
        return 1;
    }
    if (n == sizeof(msg) && msg.op == EGRESS_DETACH)
        taps_detach(&s->taps, msg.instance);
    fd_close(&fds[0]);
    fd_close(&fds[1]);
    return 1;
}

static int control(struct server *s) {
    int r = 1;
    for (int i = 0; i < CONTROLS_PER_TURN && r > 0; i++)
        r = control_one(s);
    return r < 0 ? r : 0;
}

static int run(struct server *s) {
    struct epoll_event events[EVENTS_PER_TURN];
    for (;;) {
        bool has_control = false;
        int n = epoll_wait(s->taps.epoll_fd, events, EVENTS_PER_TURN, taps_timeout_ms(&s->taps));
        if (n < 0 && errno != EINTR)
            return -errno;
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            has_control |= fd == EGRESS_CONTROL_FD;
            if (fd == s->watch_fd) {
                host_drain(fd);
                (void)host_refresh(&s->taps.filter);
            } else if (fd != EGRESS_CONTROL_FD) {
                taps_event(&s->taps, fd, events[i].events);
            }
        }
        taps_turn(&s->taps);
        if (has_control && control(s) < 0)
            return 0;
    }
}

static int watch_in(struct server *s, int fd) {
    struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};
    return epoll_ctl(s->taps.epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

/* The stack prints warnings about what instances send: they must not be able to fill a log. */
static int silence(void) {
#if !defined(__SANITIZE_ADDRESS__)
    cleanup_close int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (fd < 0 || dup2(fd, STDERR_FILENO) < 0)
        return -errno;
#endif
    return 0;
}

static int set_up(struct server *s, int argc, char **argv) {
    struct egress_allow allow;
    char *end;
    if (argc != 3)
        return -EINVAL;
    unsigned long uid = strtoul(argv[1], &end, 10);
    if (*end || uid >= UINT32_MAX || egress_parse_allow(argv[2], &allow, NULL) < 0)
        return -EINVAL;
    if (close_range(EGRESS_STATS_FD + 1, ~0u, 0) < 0)
        return -errno;
    void *stats = mmap(NULL, sizeof(struct egress_stats), PROT_READ | PROT_WRITE, MAP_SHARED,
                       EGRESS_STATS_FD, 0);
    if (stats == MAP_FAILED)
        return -errno;
    (void)close(EGRESS_STATS_FD);
    int r = taps_init(&s->taps, &allow, stats);
    if (r == 0)
        r = s->watch_fd = host_watch();
    if (r >= 0)
        r = host_refresh(&s->taps.filter);
    if (r == 0)
        r = watch_in(s, s->watch_fd);
    if (r == 0)
        r = watch_in(s, EGRESS_CONTROL_FD);
    if (r == 0)
        r = silence();
    if (r == 0)
        r = confine_root();
    if (r == 0)
        r = confine_privileges((uint32_t)uid);
    return r == 0 ? confine_syscalls() : r;
}

int main(int argc, char **argv) {
    static struct server s;
    int r = set_up(&s, argc, argv);
    struct egress_msg up = {.op = EGRESS_UP, .error = (uint32_t)-r};
    if (send(EGRESS_CONTROL_FD, &up, sizeof(up), MSG_NOSIGNAL) != sizeof(up)) {
        fputs("kiln-egress is started by kiln, not by hand\n", stderr);
        return 2;
    }
    if (r == 0)
        r = run(&s);
    /* Nothing to tidy: the kernel closes, and the leak checkers' exit is not on the allow list. */
    _exit(r == 0 ? 0 : 1);
}
