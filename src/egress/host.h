/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_EGRESS_HOST_H
#define KILN_EGRESS_HOST_H

/* The host's own IPv4 addresses, kept current. */

#include "egress/filter.h"

/* A netlink socket that becomes readable when an address comes or goes: descriptor or -errno. */
int host_watch(void);
/* Empties the watch: the caller then refreshes. */
void host_drain(int watch_fd);
/* Reads all addresses into the filter: 0 or -errno, the filter then keeps what it had. */
int host_refresh(struct filter *f);

#endif
