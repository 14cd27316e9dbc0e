/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_SANDBOX_CGROUP_H
#define KILN_SANDBOX_CGROUP_H

/* Control groups, as the server uses them: one struct cgroup_tree a server ("kiln-<id>" below a
 * group that we may write), one leaf struct cgroup an instance. Version 2 with delegation, version
 * 1 with a hierarchy a controller, or none: the caller sees the difference only in `has_…`.
 *
 * The limit and cgroup.procs files of a leaf stay open, so that giving an instance its limits costs
 * a write each and no path walk. Linux's cgroup-v2.rst and cgroup-v1/{memory,cpu,pids}.rst.
 *
 * Threads: a tree is made once, before the threads, and then only read; a leaf belongs to one
 * thread. */

#include "base/base.h"

enum cgroup_mode { CGROUP_NONE = 0, CGROUP_V1 = 1, CGROUP_V2 = 2 };
#define CGROUP_ID_MAX    64  /* of a tree */
#define CGROUP_NAME_MAX  64  /* of a leaf */
#define CGROUP_WHY_MAX   256 /* a sentence */
#define CGROUP_PROCS_MAX 4   /* cgroup.procs files of a leaf: one on v2, up to four on v1 */

struct cgroup_tree;
struct cgroup;

struct cgroup_info {
    enum cgroup_mode mode; /* CGROUP_NONE exactly when all has_… are false */
    bool has_memory, has_cpu, has_pids;
    char why[CGROUP_WHY_MAX]; /* what is missing and how to get it; "" when all is there */
};

/* Finds what this process may write and makes the tree. ID: letters, digits, '-', '_' ('/', '.' and
 * the like are -EINVAL). A tree of the same ID that a dead server left is first emptied (its
 * processes killed) and removed. On v2 the calling process may be moved into a leaf of its own ("no
 * internal processes"), so call this before starting zygotes. Where nothing can be had it still
 * returns 0, with info.mode CGROUP_NONE: the caller then falls back on rlimits. -EINVAL,
 * -ENAMETOOLONG. */
int cgroup_tree_new(const char *id, struct cgroup_tree **ret);
/* Kills what is left in leaves, removes the tree, puts this process back. Leaves must be freed. */
void cgroup_tree_free(struct cgroup_tree *t);
const struct cgroup_info *cgroup_tree_info(const struct cgroup_tree *t);

/* A new empty leaf without limits. NAME as ID above. -EEXIST, -EINVAL, -EOPNOTSUPP (no cgroups) or
 * what mkdir(2) and open(2) say. */
int cgroup_new(struct cgroup_tree *t, const char *name, struct cgroup **ret);
/* Removes the leaf; kills what is still in it. Waits for the processes to be gone at most some
 * milliseconds; a directory that is still busy then is left to cgroup_tree_free(). */
void cgroup_free(struct cgroup *cg);

/* Sets limits; a value that did not change is not written again. MEMORY_BYTES counts memory, swap
 * is set to none where it can be. CPU_MILLI: thousandths of a CPU (1000 = one), PIDS: processes and
 * threads. 0 = no limit. Controllers that are not there are skipped. 0 or -errno (-EBUSY: v1, more
 * in use than the new limit). */
int cgroup_limits(struct cgroup *cg, uint64_t memory_bytes, uint32_t cpu_milli, uint32_t pids_max);

/* Borrowed descriptors of the cgroup.procs files: a process that writes "0" to each moves itself
 * in. For ZYGOTE_SPAWN. Returns how many (0..CGROUP_PROCS_MAX). */
size_t cgroup_procs_fds(const struct cgroup *cg, int fds[CGROUP_PROCS_MAX]);

/* OOM kills in the leaf since cgroup_new() or cgroup_reset(). 0, -EOPNOTSUPP or -errno. */
int cgroup_oom_kills(struct cgroup *cg, uint64_t *ret_oom_kills);
/* CPU time used and the highest memory use since then. What the kernel does not tell (memory.peak
 * before Linux 5.19; no cpuacct on v1) is 0. 0 or -errno. */
int cgroup_usage(struct cgroup *cg, uint64_t *ret_cpu_us, uint64_t *ret_mem_peak_bytes);
/* Memory in use now, files that it reads included, as counted against the limit. 0, -EOPNOTSUPP
 * or -errno. */
int cgroup_memory(struct cgroup *cg, uint64_t *ret_bytes);
/* Whether cgroup_usage() tells CPU time at all. */
bool cgroup_counts_cpu(const struct cgroup *cg);

/* SIGKILL to everything in the leaf: cgroup.kill where there is one, else the listed processes
 * until none is left (bounded rounds). Does not wait for them to be gone. 0 or -errno. */
int cgroup_kill(struct cgroup *cg);
/* Makes an emptied leaf fit for another instance: counters start at 0 again; limits stay until the
 * next cgroup_limits(). 0, or -EBUSY when processes are still in it. */
int cgroup_reset(struct cgroup *cg);

#endif
