/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_SANDBOX_CGROUP_INTERNAL_H
#define KILN_SANDBOX_CGROUP_INTERNAL_H

/* Shared by cgroup_tree.c (finding and making the tree), cgroup.c (leaves) and cgroup_procs.c. */

#include "sandbox/cgroup.h"

/* CPUACCT is v1's alone (v2 counts with cpu) and limits nothing: it is never missed. */
enum controller { CG_MEMORY, CG_CPU, CG_PIDS, CG_CPUACCT, CG_CONTROLLERS };

/* One mounted hierarchy that we use: on v2 the only one, on v1 one a controller, or fewer where
 * controllers are mounted together. */
struct hierarchy {
    int parent; /* the folder in which the tree was made */
    int dir;    /* the tree's own */
    bool has[CG_CONTROLLERS];
};

struct cgroup_tree {
    struct cgroup_info info;
    char name[CGROUP_ID_MAX + 8]; /* "kiln-<id>" */
    struct hierarchy h[CG_CONTROLLERS];
    size_t n_h;
    bool moved; /* v2: this process went into the tree's leaf "server" */
};

/* Where a tree leaves its server on v2. */
#define CGROUP_SERVER_LEAF "server"

bool cgroup_name_ok(const char *name, size_t max);

/* cgroup_procs.c */
/* One round of SIGKILL to the processes listed in DIR's PATH/cgroup.procs, but not to this one.
 * Returns how many were listed, or -errno. */
int procs_kill_round(int dir, const char *path);
/* Moves this process into DIR's PATH. */
int procs_move_self(int dir, const char *path);
/* Kills and removes PATH below DIR with its children, one level. Bounded; -EBUSY if it stays. */
int procs_remove_tree(int dir, const char *path);
int procs_remove_leaf(int dir, const char *path);

#endif
