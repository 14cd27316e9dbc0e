/* SPDX-License-Identifier: Apache-2.0 */
#include "egress/egress.h"

#include "egress/protocol.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define READY_MS 10000
#define FD_ABOVE 16 /* our ends are moved here first, clear of the numbers that the child uses */

struct egress {
    int channel;
    pid_t pid;
    struct egress_stats *stats;
};

static int move_up(int *fd) {
    int moved = fcntl(*fd, F_DUPFD_CLOEXEC, FD_ABOVE);
    if (moved < 0)
        return -errno;
    fd_close(fd);
    *fd = moved;
    return 0;
}

static int add_actions(posix_spawn_file_actions_t *a, int channel, int stats_fd) {
    int r = posix_spawn_file_actions_addopen(a, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (r == 0)
        r = posix_spawn_file_actions_addopen(a, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    if (r == 0)
        r = posix_spawn_file_actions_adddup2(a, channel, EGRESS_CONTROL_FD);
    if (r == 0)
        r = posix_spawn_file_actions_adddup2(a, stats_fd, EGRESS_STATS_FD);
    return -r;
}

/* An own session, so that the terminal's ^C leaves it to the server; no signal blocked or ignored.
 * An empty environment: the server's may hold secrets. */
static int add_attributes(posix_spawnattr_t *a) {
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    int r = posix_spawnattr_setflags(a, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK |
                                            POSIX_SPAWN_SETSIGDEF);
    if (r == 0)
        r = posix_spawnattr_setsigmask(a, &none);
    if (r == 0)
        r = posix_spawnattr_setsigdefault(a, &all);
    return -r;
}

static int spawn(const char *exe, char **argv, int channel, int stats_fd, pid_t *ret) {
    char *envp[] = {NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    int r = posix_spawn_file_actions_init(&actions);
    if (r != 0)
        return -r;
    r = -posix_spawnattr_init(&attr);
    if (r < 0)
        goto out_actions;
    r = add_actions(&actions, channel, stats_fd);
    if (r == 0)
        r = add_attributes(&attr);
    if (r == 0)
        r = -posix_spawn(ret, exe, &actions, &attr, argv, envp);
    (void)posix_spawnattr_destroy(&attr);
out_actions:
    (void)posix_spawn_file_actions_destroy(&actions);
    return r;
}

static int wait_ready(int channel) {
    struct pollfd p = {.fd = channel, .events = POLLIN};
    struct egress_msg m;
    int n;
    do
        n = poll(&p, 1, READY_MS);
    while (n < 0 && errno == EINTR);
    if (n <= 0)
        return n < 0 ? -errno : -ETIMEDOUT;
    ssize_t len = recv(channel, &m, sizeof(m), MSG_DONTWAIT);
    if (len < 0)
        return -errno;
    if (len != sizeof(m) || m.op != EGRESS_UP)
        return -EPROTO;
    return -(int)m.error;
}

static int share_stats(struct egress *e, int *ret_fd) {
    cleanup_close int fd = memfd_create("kiln-egress", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, sizeof(*e->stats)) < 0)
        return -errno;
    /* Cut short by the other side it would be our SIGBUS. */
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return -errno;
    void *p = mmap(NULL, sizeof(*e->stats), PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        return -errno;
    e->stats = p;
    *ret_fd = take_fd(&fd);
    return move_up(ret_fd);
}

static int start(struct egress *e, const char *exe, uint32_t uid, const char *allow) {
    int pair[2];
    char uid_text[16];
    cleanup_close int stats_fd = -1;
    cleanup_close int theirs = -1;
    char *argv[] = {(char *)"kiln-egress", uid_text, (char *)(allow ? allow : ""), NULL};
    snprintf(uid_text, sizeof(uid_text), "%u", uid);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    e->channel = pair[0];
    theirs = pair[1];
    int r = move_up(&theirs);
    if (r == 0)
        r = share_stats(e, &stats_fd);
    if (r == 0)
        r = spawn(exe, argv, theirs, stats_fd, &e->pid);
    if (r < 0)
        return r;
    fd_close(&theirs); /* so that its end is seen */
    return wait_ready(e->channel);
}

int egress_start(const char *exe, uint32_t uid, const char *allow_cidrs, struct egress **ret) {
    struct egress_allow allow;
    int r = egress_parse_allow(allow_cidrs, &allow, NULL);
    if (r < 0)
        return r;
    struct egress *e = x_alloc(sizeof(*e));
    e->channel = -1;
    r = start(e, exe, uid, allow_cidrs);
    if (r < 0) {
        egress_stop(e);
        return r;
    }
    *ret = e;
    return 0;
}

static int send_msg(const struct egress *e, const struct egress_msg *msg, const int *fds,
                    size_t n_fds) {
    union {
        char buf[CMSG_SPACE(2 * sizeof(int))];
        struct cmsghdr align;
    } u = {{0}};
    struct iovec iov = {(void *)msg, sizeof(*msg)};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    if (n_fds) {
        m.msg_control = u.buf;
        m.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
    }
    ssize_t n;
    do
        n = sendmsg(e->channel, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

int egress_attach(struct egress *e, int tap_fd, int pidfd, uint64_t instance) {
    const struct egress_msg m = {.op = EGRESS_ATTACH, .instance = instance};
    const int fds[2] = {tap_fd, pidfd};
    return send_msg(e, &m, fds, pidfd >= 0 ? 2 : 1);
}

int egress_detach(struct egress *e, uint64_t instance) {
    const struct egress_msg m = {.op = EGRESS_DETACH, .instance = instance};
    return send_msg(e, &m, NULL, 0);
}

void egress_stats(const struct egress *e, struct egress_stats *ret) {
    const struct egress_stats *s = e->stats;
    *ret = (struct egress_stats){
        .taps = __atomic_load_n(&s->taps, __ATOMIC_RELAXED),
        .sockets = __atomic_load_n(&s->sockets, __ATOMIC_RELAXED),
        .packets = __atomic_load_n(&s->packets, __ATOMIC_RELAXED),
        .refused = __atomic_load_n(&s->refused, __ATOMIC_RELAXED),
        .malformed = __atomic_load_n(&s->malformed, __ATOMIC_RELAXED),
        .over_limit = __atomic_load_n(&s->over_limit, __ATOMIC_RELAXED),
    };
}

pid_t egress_pid(const struct egress *e) {
    return e->pid;
}

void egress_stop(struct egress *e) {
    if (!e)
        return;
    fd_close(&e->channel);
    /* It ends at the end of file; the signal is for one that is stuck. Nobody else reaps it unless
     * by wait for any child, and then the number is not ours to signal any more. */
    if (e->pid > 0 && waitpid(e->pid, NULL, WNOHANG) == 0) {
        (void)kill(e->pid, SIGKILL);
        while (waitpid(e->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    if (e->stats)
        (void)munmap(e->stats, sizeof(*e->stats));
    free(e);
}
