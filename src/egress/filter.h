/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_EGRESS_FILTER_H
#define KILN_EGRESS_FILTER_H

/* Which Ethernet frames of an instance may go to the user-space stack. Pure functions over bytes:
 * every frame is judged for itself, before the stack sees it. */

#include "egress/egress.h"

#define EGRESS_FRAME_MAX  (14 + EGRESS_MTU)
#define EGRESS_ETH_LEN    14
#define EGRESS_REJECT_LEN (14 + 20 + 8 + 20 + 8) /* the reply of filter_reject() */
#define EGRESS_HOST_MAX   1024                   /* addresses of the host that are remembered */

enum verdict {
    VERDICT_PASS,
    VERDICT_DROP,   /* not what an honest kernel with our route sends: no answer */
    VERDICT_REJECT, /* well-formed, not allowed: answer with filter_reject() */
};

struct filter {
    struct egress_allow allow;
    uint32_t host[EGRESS_HOST_MAX]; /* sorted; addresses of the host's interfaces */
    size_t n_host;
};

/* What the caller needs to know of a frame that passed. */
struct packet {
    bool arp;
    uint8_t protocol; /* IPPROTO_TCP, _UDP or _ICMP */
    uint16_t sport;   /* or the ICMP echo identifier */
    bool may_open;    /* the stack may open a socket for it: TCP SYN, UDP, ICMP echo */
};

void filter_init(struct filter *f, const struct egress_allow *allow);
/* Sorts ADDRS (host byte order) into the filter; -E2BIG: more than EGRESS_HOST_MAX, the filter
 * keeps what it had. */
int filter_set_host(struct filter *f, const uint32_t *addrs, size_t n);

/* Whether a destination other than the gateway and the resolver may be reached. */
bool filter_allows(const struct filter *f, uint32_t dst);
enum verdict filter_frame(const struct filter *f, const uint8_t *frame, size_t len,
                          struct packet *ret);
/* Writes to OUT the ICMP unreachable, code 13 (RFC 1812 section 5.2.7.1), that answers FRAME, which
 * filter_frame() rejected or passed as IPv4. */
void filter_reject(const uint8_t *frame, size_t len, uint8_t out[EGRESS_REJECT_LEN]);

#endif
