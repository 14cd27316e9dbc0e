/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_EGRESS_EGRESS_H
#define KILN_EGRESS_EGRESS_H

/* The network class `egress`: an instance reaches the world, but neither the host's loopback nor
 * its addresses nor private or link-local ones, unless an allow list says so. Nothing of the host
 * is changed and no privilege is needed: the instance's network namespace holds `lo` and a TAP
 * device (IFF_TAP | IFF_NO_PI, MTU 1500), whose descriptor one process for all instances,
 * kiln-egress, serves with a TCP/IP stack in user space (libslirp).
 *
 *     eth0 10.0.2.15/24, gateway 10.0.2.2, DNS 10.0.2.3 (the host's first IPv4 resolver)
 *
 * kiln-egress parses what instances send and is therefore confined: another user, an empty root
 * with a copy of resolv.conf, no capability, a seccomp allow list. It takes the resolver once, at
 * its start. IPv4 only; TCP, UDP and ICMP echo only; no IP fragments, so no datagram that is
 * larger than the MTU. A refused packet is answered with ICMP "administratively prohibited", which
 * connect(2) reports as EHOSTUNREACH at once. At the limit of sockets new connections wait: their
 * SYN is dropped and repeated by the instance's kernel. A connection that the far side closed first
 * counts for 10 s more (TIME_WAIT); each may hold 256 KiB of buffers. */

#include "base/base.h"

#define EGRESS_GUEST_ADDR   0x0a00020fu /* 10.0.2.15, host byte order as all below */
#define EGRESS_GATEWAY_ADDR 0x0a000202u
#define EGRESS_DNS_ADDR     0x0a000203u
#define EGRESS_NET          0x0a000200u
#define EGRESS_PREFIX_LEN   24
#define EGRESS_MTU          1500

#define EGRESS_ALLOW_MAX     64    /* entries of an allow list */
#define EGRESS_TAPS_MAX      4096  /* instances at once */
#define EGRESS_SOCKETS_MAX   512   /* connections and UDP ports of one instance */
#define EGRESS_SOCKETS_TOTAL 16384 /* of all; RLIMIT_NOFILE may lower it */

struct egress_cidr {
    uint32_t addr, mask;
};
struct egress_allow {
    struct egress_cidr cidrs[EGRESS_ALLOW_MAX];
    size_t n;
    bool host_loopback; /* covers 127.0.0.1: the gateway address leads to it, every port of it */
};

/* Parses "10.1.0.0/16, 192.168.1.7" (an address alone is a /32; blanks around entries are fine;
 * NULL or "" is the empty list). -EINVAL: malformed, bits set beyond the prefix, or addresses that
 * can never be allowed (0/8, 224/4, 240/4, 10.0.2.0/24 and of 127/8 what leaves out 127.0.0.1),
 * -E2BIG: too many entries; *ret_at is then the offset of the entry at fault (may be NULL). */
int egress_parse_allow(const char *csv, struct egress_allow *ret, size_t *ret_at);

/* What kiln-egress has counted since it started. Written by kiln-egress: believe it no further
 * than numbers for display. */
struct egress_stats {
    uint64_t taps;       /* now */
    uint64_t sockets;    /* now */
    uint64_t packets;    /* from instances */
    uint64_t refused;    /* destination or protocol not allowed */
    uint64_t malformed;  /* dropped without an answer: truncated, spoofed, fragments, options */
    uint64_t over_limit; /* packets that EGRESS_SOCKETS_MAX or _TOTAL kept from opening a socket */
};

struct egress;

/* Starts EXE (kiln-egress) and waits until it is confined and ready. UID: the user and group it
 * becomes when the caller is root; 0 keeps the caller's (for a user namespace that has no other).
 * Call it on a thread that lives as long as the server: the kernel ends kiln-egress with that
 * thread. Errors: -EINVAL (allow list), -ENOENT/-EACCES (exe), -EPERM (no user namespace to be
 * confined in), -ETIMEDOUT, -EPROTO (it ended before it was ready), any other of posix_spawn(3). */
int egress_start(const char *exe, uint32_t uid, const char *allow_cidrs,
                 struct egress **ret) MUST_CHECK;

/* Hands a TAP device over; does not take TAP_FD nor PIDFD: close them afterwards. The device is
 * served until PIDFD's process ends or egress_detach(). One of both is needed: a TAP descriptor
 * keeps its network namespace alive, so that its end cannot be seen on the descriptor itself.
 * PIDFD may be -1. Any thread, never blocks. -EAGAIN: too many waiting, try again; -EPIPE or
 * -ECONNRESET: kiln-egress has ended. */
int egress_attach(struct egress *e, int tap_fd, int pidfd, uint64_t instance);
/* Connections of the instance are reset and its device closed; unknown numbers are ignored. Errors
 * as above. */
int egress_detach(struct egress *e, uint64_t instance);

void egress_stats(const struct egress *e, struct egress_stats *ret);
/* The process, to watch it (it is a child: who watches reaps, see egress_stop()). When it has
 * ended, its instances have no network: start another for those to come. */
pid_t egress_pid(const struct egress *e);
/* Ends the process, reaps it if it was not yet, and frees. NULL is fine. */
void egress_stop(struct egress *e);

#endif
