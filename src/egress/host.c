/* SPDX-License-Identifier: Apache-2.0 */
#include "egress/host.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

int host_watch(void) {
    struct sockaddr_nl sa = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_IPV4_IFADDR};
    cleanup_close int fd =
        socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
    if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
        return -errno;
    return take_fd(&fd);
}

void host_drain(int watch_fd) {
    char buf[4096];
    ssize_t n;
    do /* ENOBUFS: messages were lost, which is a change like any other */
        n = recv(watch_fd, buf, sizeof(buf), MSG_DONTWAIT);
    while (n > 0 || (n < 0 && (errno == EINTR || errno == ENOBUFS)));
}

int host_refresh(struct filter *f) {
    uint32_t addrs[EGRESS_HOST_MAX];
    size_t n = 0;
    int r = 0;
    struct ifaddrs *all;
    if (getifaddrs(&all) < 0)
        return -errno;
    for (struct ifaddrs *i = all; i && r == 0; i = i->ifa_next) {
        if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET)
            continue;
        if (n == EGRESS_HOST_MAX)
            r = -E2BIG;
        else
            addrs[n++] = ntohl(((struct sockaddr_in *)i->ifa_addr)->sin_addr.s_addr);
    }
    freeifaddrs(all);
    return r < 0 ? r : filter_set_host(f, addrs, n);
}
