/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_EGRESS_PROTOCOL_H
#define KILN_EGRESS_PROTOCOL_H

/* Between the server and kiln-egress: a SOCK_SEQPACKET pair, one struct egress_msg a packet, sent
 * as it is (both ends are of one build). End of file ends kiln-egress. Counters go the other way in
 * shared memory. */

#include "egress/egress.h"

#define EGRESS_CONTROL_FD 3
#define EGRESS_STATS_FD   4 /* memfd of sizeof(struct egress_stats) */

enum egress_op {
    EGRESS_ATTACH = 1, /* + 1 or 2 fds: tap device, pidfd */
    EGRESS_DETACH = 2,
    EGRESS_UP = 16, /* kiln-egress to server, once: `error` is 0 or an errno */
};

struct egress_msg {
    uint32_t op;
    uint32_t error;
    uint64_t instance;
};

#endif
