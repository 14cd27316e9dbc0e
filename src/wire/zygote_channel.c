/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/wire.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* One control message of descriptors, aligned as the CMSG macros want. Room for more than the
 * protocol uses: what comes beyond is closed, never lost. */
enum { FDS_ROOM = 64 };
union control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int) * FDS_ROOM)];
};

int zygote_send(int channel, const struct zygote_msg *m, const int *fds, size_t n_fds) {
    if (n_fds > ZYGOTE_FDS_MAX)
        return -EINVAL;
    union control control = {0};
    struct iovec iov = {.iov_base = (void *)(uintptr_t)m, .iov_len = sizeof(*m)};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    if (n_fds) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
        memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
    }
    ssize_t n;
    do
        n = sendmsg(channel, &msg, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0; /* SEQPACKET: all or nothing */
}

/* Gathers the descriptors of MSG into FDS; those beyond ROOM are closed. Returns how many. */
static size_t gather_fds(struct msghdr *msg, int *fds, size_t room) {
    size_t got = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
            if (got < room)
                fds[got++] = fd;
            else
                (void)close(fd);
        }
    }
    return got;
}

int zygote_recv(int channel, struct zygote_msg *ret, int *fds, size_t *n_fds) {
    union control control;
    struct zygote_msg m;
    struct iovec iov = {.iov_base = &m, .iov_len = sizeof(m)};
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = sizeof(control.bytes),
    };
    ssize_t n;
    do
        n = recvmsg(channel, &msg, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    size_t got = gather_fds(&msg, fds, *n_fds);
    if (n == 0 && got == 0)
        return 0;
    if (n != (ssize_t)sizeof(m) || (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) ||
        !memchr(m.text, '\0', sizeof(m.text))) {
        for (size_t i = 0; i < got; i++)
            (void)close(fds[i]);
        return -EBADMSG;
    }
    *ret = m;
    *n_fds = got;
    return 1;
}
