/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_EGRESS_CONFINE_H
#define KILN_EGRESS_CONFINE_H

/* What kiln-egress gives up before the first hostile byte, in this order. All return 0 or -errno,
 * and none is optional. */

#include "base/base.h"

/* An empty read-only root, but for a copy of /etc/resolv.conf, which libslirp looks at whenever it
 * is older than a second. Needs root or an own user namespace, which it makes. */
int confine_root(void);
/* User and group UID (0: stay), no capability, no new privilege, no core, no file, no process; dies
 * with the parent. */
int confine_privileges(uint32_t uid);
/* The seccomp allow list; other system calls fail with EPERM. */
int confine_syscalls(void);

#endif
