/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_SANDBOX_PROBE_H
#define KILN_SANDBOX_PROBE_H

/* What this machine gives to sandboxes, found out by building one in a child process. For
 * `kiln doctor`, for the capabilities that the APIs show, and to refuse to serve without isolation.
 */

#include "sandbox/cgroup.h"

enum probe_id {
    PROBE_USER_NS,    /* user namespaces */
    PROBE_NAMESPACES, /* mount, pid, ipc and uts namespaces, own root and /proc */
    PROBE_NET_NS,     /* a network namespace with its own loopback */
    PROBE_SECCOMP,    /* the filter loads */
    PROBE_MEMORY,     /* memory limits by cgroup */
    PROBE_CPU,        /* cpu limits by cgroup */
    PROBE_PIDS,       /* process limits by cgroup */
    PROBE_TUN,        /* /dev/net/tun, for network mode egress */
    PROBE_COUNT
};

struct probe_item {
    const char *name; /* "user namespaces": for people */
    const char *key;  /* "user_namespaces": for programs */
    bool required;    /* without it kiln does not run functions */
    bool ok;
    char text[256]; /* one sentence: what is so, and if not ok how to get it */
};

struct sandbox_probe {
    bool root;     /* ids are mapped to a range of their own */
    bool ok;       /* every required item is ok */
    int error;     /* errno of the first step that failed, 0 */
    char step[96]; /* that step */
    struct cgroup_info cgroup;
    struct probe_item items[PROBE_COUNT];
};

/* Fills *RET. CGROUPS is the tree in use, or NULL: then one is made and removed for the trial
 * (which may move this process between groups and back). Takes some 20 ms; forks, so call it before
 * there are threads. Fails never: a trial that cannot be made is an item that is not ok. */
void sandbox_probe(const struct cgroup_tree *cgroups, struct sandbox_probe *ret);

#endif
