/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/sandbox.h"

/* netdevice(7): the few calls that a new network namespace needs, by ioctl. */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/route.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static int up(int sock, const char *name) {
    struct ifreq req = {.ifr_flags = IFF_UP | IFF_RUNNING};
    memcpy(req.ifr_name, name, strlen(name) + 1);
    return ioctl(sock, SIOCSIFFLAGS, &req) < 0 ? -errno : 0;
}

int net_loopback_up(void) {
    cleanup_close int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (sock < 0)
        return -errno;
    return up(sock, "lo");
}

static void ipv4(struct sockaddr *sa, uint32_t address) {
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(address)};
    memcpy(sa, &in, sizeof(in));
}

static int address(int sock, const char *name) {
    struct ifreq req = {0};
    memcpy(req.ifr_name, name, strlen(name) + 1);
    ipv4(&req.ifr_addr, SANDBOX_TAP_ADDRESS);
    if (ioctl(sock, SIOCSIFADDR, &req) < 0)
        return -errno;
    ipv4(&req.ifr_netmask, SANDBOX_TAP_MASK);
    return ioctl(sock, SIOCSIFNETMASK, &req) < 0 ? -errno : 0;
}

static int default_route(int sock) {
    struct rtentry route = {.rt_flags = RTF_UP | RTF_GATEWAY};
    ipv4(&route.rt_gateway, SANDBOX_TAP_GATEWAY);
    ipv4(&route.rt_dst, 0);
    ipv4(&route.rt_genmask, 0);
    return ioctl(sock, SIOCADDRT, &route) < 0 ? -errno : 0;
}

int net_tap_make(int *ret_fd) {
    cleanup_close int tap = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (tap < 0)
        return -errno;
    struct ifreq req = {.ifr_name = SANDBOX_TAP_NAME, .ifr_flags = IFF_TAP | IFF_NO_PI};
    if (ioctl(tap, TUNSETIFF, &req) < 0)
        return -errno;
    /* The device then ends with its namespace, in the background, and not in the close(2) of
     * whoever holds the descriptor last, which would wait for it some 30 ms. */
    if (ioctl(tap, TUNSETPERSIST, 1) < 0)
        return -errno;
    cleanup_close int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (sock < 0)
        return -errno;
    int r = address(sock, SANDBOX_TAP_NAME);
    if (r == 0)
        r = up(sock, SANDBOX_TAP_NAME);
    if (r == 0)
        r = default_route(sock);
    if (r == 0)
        *ret_fd = take_fd(&tap);
    return r;
}

int net_make(bool tap, int *ret_ns, int *ret_tap) {
    if (unshare(CLONE_NEWNET) < 0)
        return -errno;
    int r = net_loopback_up();
    if (r < 0)
        return r;
    cleanup_close int made = -1;
    if (tap && (r = net_tap_make(&made)) < 0)
        return r;
    int ns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (ns < 0)
        return -errno;
    *ret_ns = ns;
    *ret_tap = take_fd(&made);
    return 0;
}
