/* SPDX-License-Identifier: Apache-2.0 */
#include "zygote/internal.h"

/* Network namespaces made ahead. One costs several times all the rest of a sandbox, and the kernel
 * makes and ends them under one lock; joining a ready one costs microseconds.
 *
 * A helper process, forked before the interpreter is warm, makes one for each request it is sent
 * and sends it back. (The zygote itself cannot: it may not return to the host's network namespace.)
 * Each is used by one instance and ends with it. */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>

static NORETURN void maker(int sock) {
    int fd = dup2(sock, SANDBOX_CHANNEL_FD);
    if (fd < 0)
        _exit(1);
    sandbox_close_rest();
    for (;;) {
        struct zygote_msg m;
        size_t n_fds = 0;
        if (zygote_recv(fd, &m, NULL, &n_fds) <= 0)
            _exit(0);
        int made[2] = {-1, -1};
        int r = net_make(m.net == ZYGOTE_NET_EGRESS, &made[0], &made[1]);
        m.error = (uint32_t)-r;
        n_fds = r < 0 ? 0 : made[1] >= 0 ? 2 : 1;
        if (zygote_send(fd, &m, made, n_fds) < 0)
            _exit(1);
        fd_close(&made[0]);
        fd_close(&made[1]);
    }
}

static void ask_one(struct netns *n, uint32_t net) {
    struct zygote_msg m = {.net = net};
    if (n->sock >= 0 && zygote_send(n->sock, &m, NULL, 0) < 0)
        fd_close(&n->sock);
}

void netns_start(struct netns *n) {
    int pair[2];
    *n = (struct netns){.sock = -1};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return;
    pid_t pid = fork();
    if (pid == 0)
        maker(pair[1]);
    (void)close(pair[1]);
    if (pid < 0 || fcntl(pair[0], F_SETFL, O_RDWR | O_NONBLOCK) < 0) {
        (void)close(pair[0]);
        return;
    }
    n->sock = pair[0];
    for (size_t i = 0; i < ZYGOTE_NETNS_SPARES; i++) {
        ask_one(n, ZYGOTE_NET_NONE);
        ask_one(n, ZYGOTE_NET_EGRESS);
    }
}

/* Takes in what is ready. What could not be made is not asked for again: the instances then try
 * themselves, and say what is wrong. */
static void gather(struct netns *n) {
    while (n->sock >= 0) {
        struct zygote_msg m;
        int fds[2] = {-1, -1};
        size_t n_fds = 2;
        int r = zygote_recv(n->sock, &m, fds, &n_fds);
        if (r == -EAGAIN)
            return;
        if (r <= 0) {
            fd_close(&n->sock); /* the helper is gone: without spares */
            return;
        }
        struct netns_shelf *s = &n->shelves[m.net == ZYGOTE_NET_EGRESS];
        if (m.error == 0 && n_fds > 0 && s->count < ZYGOTE_NETNS_SPARES) {
            memcpy(s->fds[s->count++], fds, sizeof(fds));
            continue;
        }
        fd_close(&fds[0]);
        fd_close(&fds[1]);
    }
}

bool netns_take(struct netns *n, uint32_t net, int *ret_ns, int *ret_tap) {
    if (net == ZYGOTE_NET_HOST)
        return false;
    gather(n);
    struct netns_shelf *s = &n->shelves[net == ZYGOTE_NET_EGRESS];
    if (s->count == 0)
        return false;
    s->count--;
    *ret_ns = s->fds[s->count][0];
    *ret_tap = s->fds[s->count][1];
    ask_one(n, net);
    return true;
}
