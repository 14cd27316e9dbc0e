/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_EGRESS_TAP_H
#define KILN_EGRESS_TAP_H

/* The taps and their user-space stacks, on one epoll descriptor. libslirp thinks in poll(2): before
 * a sleep it names what it waits for, after it it asks what came. Here only the taps that something
 * came for are asked (a turn), and only what changed is told to epoll. A tap without a socket has
 * no timer: it costs nothing until its instance sends. */

#include "base/list.h"
#include "egress/filter.h"

#define TAP_PACKETS_PER_TURN 64  /* then the others have their turn */
#define TAP_REJECTS_PER_S    100 /* ICMP answers to one instance */

enum tap_timer { TIMER_FAST, TIMER_SLOW, TIMER_LAZY, TIMERS, TIMER_NONE = TIMERS };

struct tap;
struct slot { /* what a descriptor is */
    enum slot_kind { SLOT_NONE, SLOT_TAP, SLOT_PIDFD, SLOT_SOCKET, SLOT_OTHER } kind;
    struct tap *tap;
    uint32_t events, revents; /* asked of and come from epoll */
    uint64_t filled;          /* the last turn that wanted it */
    uint8_t protocol;         /* of a socket: what opened it */
    uint16_t sport;
};

struct taps {
    int epoll_fd;
    struct slot *slots; /* by descriptor */
    size_t n_slots;
    size_t sockets_max;
    struct filter filter;
    struct egress_stats *stats; /* shared with the server, only written here */
    struct list all, dirty, timed[TIMERS];
    uint64_t turns;
};

int taps_init(struct taps *t, const struct egress_allow *allow, struct egress_stats *stats);
/* Takes both descriptors, also on error; PIDFD may be -1. */
int taps_attach(struct taps *t, int tap_fd, int pidfd, uint64_t instance);
void taps_detach(struct taps *t, uint64_t instance);
/* Notes what epoll said of FD. */
void taps_event(struct taps *t, int fd, uint32_t revents);
/* A turn for every tap that has something to do. */
void taps_turn(struct taps *t);
/* Until the next timer, for epoll_wait(2): milliseconds or -1. */
int taps_timeout_ms(const struct taps *t);

#endif
