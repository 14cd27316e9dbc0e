/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/cgroup_internal.h"

/* Leaves: the group of one instance. */

#include "sandbox/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

#define CPU_PERIOD_US    100000u
#define CPU_QUOTA_US_MIN 1000u /* the kernel takes no less */
#define KILL_ROUNDS      64
#define NO_LIMIT         UINT64_MAX
#define NOT_WRITTEN      (UINT64_MAX - 1)

struct cgroup {
    struct cgroup_tree *tree;
    char name[CGROUP_NAME_MAX];
    int procs[CGROUP_PROCS_MAX]; /* a hierarchy */
    int limit[CG_CONTROLLERS];   /* the limit's file, -1 = none */
    int swap_limit;              /* v1: memory and swap together */
    uint64_t written[CG_CONTROLLERS];
    uint64_t oom_base, cpu_base_us;
};

static int leaf_open(const struct cgroup *cg, const struct hierarchy *h, const char *file,
                     int flags) {
    char path[CGROUP_NAME_MAX + 64];
    (void)snprintf(path, sizeof(path), "%s/%s", cg->name, file);
    int fd = openat(h->dir, path, flags | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static const struct hierarchy *of(const struct cgroup *cg, enum controller c) {
    for (size_t i = 0; i < cg->tree->n_h; i++)
        if (cg->tree->h[i].has[c])
            return &cg->tree->h[i];
    return NULL;
}

static int leaf_write(const struct cgroup *cg, enum controller c, const char *file,
                      const char *text) {
    cleanup_close int fd = leaf_open(cg, of(cg, c), file, O_WRONLY);
    if (fd < 0)
        return fd;
    return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

/* The number after KEY in a file of "key number" lines, or the first number where KEY is NULL. */
static int leaf_number(const struct cgroup *cg, enum controller c, const char *file,
                       const char *key, uint64_t *ret) {
    const struct hierarchy *h = of(cg, c);
    if (!h)
        return -EOPNOTSUPP;
    char path[CGROUP_NAME_MAX + 64], text[4096];
    (void)snprintf(path, sizeof(path), "%s/%s", cg->name, file);
    int n = file_read(h->dir, path, text, sizeof(text));
    if (n < 0)
        return n;
    const char *p = text;
    size_t len = key ? strlen(key) : 0;
    while (key && !(strncmp(p, key, len) == 0 && p[len] == ' ')) {
        p = strchr(p, '\n');
        if (!p)
            return -ENODATA;
        p++;
    }
    char *after = NULL;
    uint64_t value = strtoull(p + len, &after, 10);
    if (after == p + len)
        return -ENODATA;
    *ret = value;
    return 0;
}

/* ---- making ---- */

static int open_limits(struct cgroup *cg) {
    static const char *const files[][CG_CONTROLLERS] = {
        [CGROUP_V1] = {"memory.limit_in_bytes", "cpu.cfs_quota_us", "pids.max", NULL},
        [CGROUP_V2] = {"memory.max", "cpu.max", "pids.max", NULL}};
    for (size_t c = 0; c < CG_CONTROLLERS; c++) {
        const struct hierarchy *h = of(cg, (enum controller)c);
        if (!h || !files[cg->tree->info.mode][c])
            continue;
        cg->limit[c] = leaf_open(cg, h, files[cg->tree->info.mode][c], O_WRONLY);
        if (cg->limit[c] < 0)
            return cg->limit[c];
    }
    if (!of(cg, CG_MEMORY))
        return 0;
    if (cg->tree->info.mode == CGROUP_V2) {
        /* Absent where swap is not accounted for, or before Linux 4.19. */
        (void)leaf_write(cg, CG_MEMORY, "memory.swap.max", "0");
        (void)leaf_write(cg, CG_MEMORY, "memory.oom.group", "1");
        return 0;
    }
    int fd = leaf_open(cg, of(cg, CG_MEMORY), "memory.memsw.limit_in_bytes", O_WRONLY);
    cg->swap_limit = fd < 0 ? -1 : fd; /* only with swap accounting */
    return 0;
}

static int leaf_make(struct cgroup *cg) {
    for (size_t i = 0; i < cg->tree->n_h; i++) {
        const struct hierarchy *h = &cg->tree->h[i];
        if (mkdirat(h->dir, cg->name, 0755) < 0)
            return -errno;
        cg->procs[i] = leaf_open(cg, h, "cgroup.procs", O_WRONLY);
        if (cg->procs[i] < 0)
            return cg->procs[i];
    }
    return open_limits(cg);
}

int cgroup_new(struct cgroup_tree *t, const char *name, struct cgroup **ret) {
    if (t->info.mode == CGROUP_NONE)
        return -EOPNOTSUPP;
    if (!cgroup_name_ok(name, CGROUP_NAME_MAX) || strcmp(name, CGROUP_SERVER_LEAF) == 0)
        return -EINVAL;
    if (faccessat(t->h[0].dir, name, F_OK, 0) == 0)
        return -EEXIST;
    struct cgroup *cg = x_alloc(sizeof(*cg));
    *cg = (struct cgroup){.tree = t,
                          .procs = {-1, -1, -1, -1},
                          .limit = {-1, -1, -1, -1},
                          .swap_limit = -1,
                          .written = {NO_LIMIT, NO_LIMIT, NO_LIMIT, NO_LIMIT}};
    memcpy(cg->name, name, strlen(name) + 1);
    int r = leaf_make(cg);
    if (r < 0) {
        cgroup_free(cg);
        return r;
    }
    *ret = cg;
    return 0;
}

void cgroup_free(struct cgroup *cg) {
    if (!cg)
        return;
    for (size_t i = 0; i < CGROUP_PROCS_MAX; i++)
        fd_close(&cg->procs[i]);
    for (size_t c = 0; c < CG_CONTROLLERS; c++)
        fd_close(&cg->limit[c]);
    fd_close(&cg->swap_limit);
    for (size_t i = 0; i < cg->tree->n_h; i++)
        (void)procs_remove_leaf(cg->tree->h[i].dir, cg->name);
    free(cg);
}

/* ---- limits ---- */

static int put(int fd, const char *text) {
    return pwrite(fd, text, strlen(text), 0) < 0 ? -errno : 0;
}

/* Version 1 wants memory <= memory and swap at any time: down in one order, up in the other. */
static int put_memory(struct cgroup *cg, const char *text) {
    int r = put(cg->limit[CG_MEMORY], text);
    if (cg->swap_limit < 0)
        return r;
    if (r == -EINVAL) {
        r = put(cg->swap_limit, text);
        return r < 0 ? r : put(cg->limit[CG_MEMORY], text);
    }
    return r < 0 ? r : put(cg->swap_limit, text);
}

static int put_limit(struct cgroup *cg, enum controller c, uint64_t value) {
    char text[64];
    bool v2 = cg->tree->info.mode == CGROUP_V2;
    if (value == NO_LIMIT)
        (void)snprintf(text, sizeof(text), "%s", v2 || c == CG_PIDS ? "max" : "-1");
    else if (c == CG_CPU && v2)
        (void)snprintf(text, sizeof(text), "%" PRIu64 " %u", value, CPU_PERIOD_US);
    else
        (void)snprintf(text, sizeof(text), "%" PRIu64, value);
    return c == CG_MEMORY ? put_memory(cg, text) : put(cg->limit[c], text);
}

static int set_limit(struct cgroup *cg, enum controller c, uint64_t value) {
    if (cg->limit[c] < 0 || cg->written[c] == value)
        return 0;
    cg->written[c] = NOT_WRITTEN;
    int r = put_limit(cg, c, value);
    if (r == 0)
        cg->written[c] = value;
    return r;
}

static uint64_t quota_us(uint32_t cpu_milli) {
    if (cpu_milli == 0)
        return NO_LIMIT;
    uint64_t us = (uint64_t)cpu_milli * CPU_PERIOD_US / 1000;
    return us < CPU_QUOTA_US_MIN ? CPU_QUOTA_US_MIN : us;
}

int cgroup_limits(struct cgroup *cg, uint64_t memory_bytes, uint32_t cpu_milli, uint32_t pids_max) {
    int r = set_limit(cg, CG_MEMORY, memory_bytes ? memory_bytes : NO_LIMIT);
    if (r == 0)
        r = set_limit(cg, CG_CPU, quota_us(cpu_milli));
    if (r == 0)
        r = set_limit(cg, CG_PIDS, pids_max ? pids_max : NO_LIMIT);
    return r;
}

size_t cgroup_procs_fds(const struct cgroup *cg, int fds[CGROUP_PROCS_MAX]) {
    size_t n = cg ? cg->tree->n_h : 0;
    for (size_t i = 0; i < n; i++)
        fds[i] = cg->procs[i];
    return n;
}

/* ---- counters ---- */

static int oom_kills(const struct cgroup *cg, uint64_t *ret) {
    bool v2 = cg->tree->info.mode == CGROUP_V2;
    return leaf_number(cg, CG_MEMORY, v2 ? "memory.events" : "memory.oom_control", "oom_kill", ret);
}

static uint64_t cpu_us(const struct cgroup *cg) {
    uint64_t n = 0;
    if (cg->tree->info.mode == CGROUP_V2)
        return leaf_number(cg, CG_CPU, "cpu.stat", "usage_usec", &n) == 0 ? n : 0;
    return leaf_number(cg, CG_CPUACCT, "cpuacct.usage", NULL, &n) == 0 ? n / NS_PER_US : 0;
}

int cgroup_oom_kills(struct cgroup *cg, uint64_t *ret_oom_kills) {
    uint64_t n;
    int r = oom_kills(cg, &n);
    if (r == 0)
        *ret_oom_kills = n - cg->oom_base;
    return r;
}

int cgroup_usage(struct cgroup *cg, uint64_t *ret_cpu_us, uint64_t *ret_mem_peak_bytes) {
    bool v2 = cg->tree->info.mode == CGROUP_V2;
    uint64_t peak = 0, cpu = cpu_us(cg);
    if (leaf_number(cg, CG_MEMORY, v2 ? "memory.peak" : "memory.max_usage_in_bytes", NULL, &peak) <
        0)
        peak = 0;
    *ret_cpu_us = cpu > cg->cpu_base_us ? cpu - cg->cpu_base_us : 0;
    *ret_mem_peak_bytes = peak;
    return 0;
}

int cgroup_memory(struct cgroup *cg, uint64_t *ret_bytes) {
    bool v2 = cg->tree->info.mode == CGROUP_V2;
    return leaf_number(cg, CG_MEMORY, v2 ? "memory.current" : "memory.usage_in_bytes", NULL,
                       ret_bytes);
}

bool cgroup_counts_cpu(const struct cgroup *cg) {
    return of(cg, cg->tree->info.mode == CGROUP_V2 ? CG_CPU : CG_CPUACCT) != NULL;
}

/* ---- the end of an instance ---- */

int cgroup_kill(struct cgroup *cg) {
    const struct hierarchy *h = &cg->tree->h[0];
    char path[CGROUP_NAME_MAX + 64];
    (void)snprintf(path, sizeof(path), "%s/cgroup.kill", cg->name); /* v2, Linux 5.14 */
    if (file_write(h->dir, path, "1", 1) == 0)
        return 0;
    if (cg->limit[CG_PIDS] >= 0 && set_limit(cg, CG_PIDS, 0) < 0) /* nobody forks away from us */
        return -EIO;
    for (int round = 0; round < (cg->limit[CG_PIDS] >= 0 ? 2 : KILL_ROUNDS); round++) {
        int n = procs_kill_round(h->dir, cg->name);
        if (n <= 0)
            return n;
    }
    return 0;
}

int cgroup_reset(struct cgroup *cg) {
    cleanup_close int fd = leaf_open(cg, &cg->tree->h[0], "cgroup.procs", O_RDONLY);
    if (fd < 0)
        return fd;
    char some[32];
    ssize_t n = read(fd, some, sizeof(some));
    if (n != 0)
        return n < 0 ? -errno : -EBUSY;
    uint64_t ooms = 0;
    if (of(cg, CG_MEMORY) && oom_kills(cg, &ooms) == 0)
        cg->oom_base = ooms;
    cg->cpu_base_us = cpu_us(cg);
    /* Pages of files that the last one read or wrote stay charged until they are needed. */
    if (cg->tree->info.mode == CGROUP_V1 && of(cg, CG_MEMORY))
        (void)leaf_write(cg, CG_MEMORY, "memory.max_usage_in_bytes", "0");
    return 0;
}
