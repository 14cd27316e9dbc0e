/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/sandbox.h"

/* What a freshly forked instance does to itself, in the order in which each step still may. */

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

uint64_t sandbox_clone_flags(const struct sandbox_instance *in) {
    uint64_t flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_CLEAR_SIGHAND;
    bool make = in->net != SANDBOX_NET_HOST && in->netns_fd < 0;
    return make ? flags | CLONE_NEWNET : flags;
}

static int join_cgroups(const struct sandbox_instance *in) {
    for (size_t i = 0; i < in->n_cgroup_fds; i++)
        if (write(in->cgroup_fds[i], "0", 1) != 1)
            return -errno;
    return 0;
}

/* Z's id for this instance: one of its own where there is a range, so that instances share no
 * per-user count or quota. */
static uint32_t outer_id(const struct sandbox *sb, const struct sandbox_instance *in) {
    if (sb->containers) /* a container's ids begin at 0 */
        return 0;
    return sb->root ? SANDBOX_UID + in->slot % (SANDBOX_IDS - SANDBOX_UID - 536) : 0;
}

static int own_mounts(const struct sandbox_instance *in, uint32_t id, const char **ret_step) {
    char options[128];
    (void)snprintf(options, sizeof(options), "size=%um,nr_inodes=%u,mode=1777,uid=%u,gid=%u",
                   in->tmp_max_mib ? in->tmp_max_mib : 1, SANDBOX_TMP_INODES, id, id);
    *ret_step = "mount /tmp";
    if (mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, options) < 0)
        return -errno;
    *ret_step = "mount /proc";
    if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
        return -errno;
    *ret_step = "bind resolv.conf";
    if (in->net == SANDBOX_NET_HOST &&
        mount("/etc/resolv.host.conf", "/etc/resolv.conf", NULL, MS_BIND, NULL) < 0)
        return -errno;
    return 0;
}

static int own_network(const struct sandbox_instance *in, int *ret_tap, const char **ret_step) {
    *ret_tap = -1;
    if (in->net == SANDBOX_NET_HOST)
        return 0;
    *ret_step = "join the network namespace";
    if (in->netns_fd >= 0)
        return setns(in->netns_fd, CLONE_NEWNET) < 0 ? -errno : 0;
    *ret_step = "bring the loopback up";
    int r = net_loopback_up();
    /* Without a tap the instance has no network: the server knows by its absence. */
    if (r == 0 && in->net == SANDBOX_NET_EGRESS)
        (void)net_tap_make(ret_tap);
    return r;
}

static int limit(int resource, uint64_t value) {
    struct rlimit l = {.rlim_cur = value, .rlim_max = value}, old;
    if (getrlimit((__rlimit_resource_t)resource, &old) == 0 && old.rlim_max < value)
        l.rlim_cur = l.rlim_max = old.rlim_max; /* may only fall */
    return setrlimit((__rlimit_resource_t)resource, &l) < 0 ? -errno : 0;
}

/* After the user namespace is made: what is counted is then counted inside it alone. */
static int limits(const struct sandbox *sb, const struct sandbox_instance *in) {
    /* When the whole machine is short of memory, a function goes before the server. Refused where
     * the server's own is higher still, which is as good. */
    (void)file_write(AT_FDCWD, "/proc/self/oom_score_adj", SANDBOX_OOM_SCORE_ADJ,
                     sizeof(SANDBOX_OOM_SCORE_ADJ) - 1);
    int r = limit(RLIMIT_CORE, 0);
    if (r == 0)
        r = limit(RLIMIT_MSGQUEUE, 0);
    if (r == 0)
        r = limit(RLIMIT_MEMLOCK, SANDBOX_MEMLOCK_MAX);
    if (r == 0 && in->files_max)
        r = limit(RLIMIT_NOFILE, in->files_max);
    if (r == 0 && in->data_max)
        r = limit(RLIMIT_DATA, in->data_max);
    /* Before Linux 5.14 the count is that of the user everywhere: right only with an id of one's
     * own. */
    if (r == 0 && in->procs_max && (sb->root || sb->nproc_is_per_ns))
        r = limit(RLIMIT_NPROC, in->procs_max);
    return r;
}

/* A change of credentials makes our /proc files root's; we must write our id map there. */
static int dumpable(void) {
    return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0 ? -errno : 0;
}

static int own_user(const struct sandbox *sb, uint32_t id, const char **ret_step) {
    *ret_step = "take the instance's id";
    if (sb->root && (setresgid(id, id, id) < 0 || setresuid(id, id, id) < 0))
        return -errno;
    int r = dumpable();
    if (r < 0)
        return r;
    *ret_step = "unshare the user namespace";
    if (unshare(CLONE_NEWUSER) < 0)
        return -errno;
    if ((r = dumpable()) < 0)
        return r;
    *ret_step = "write the id maps";
    return idmap_write_self(SANDBOX_UID, id, id);
}

/* Profile for containers: the whole range, or the one id that there is. */
static int own_user_range(const struct sandbox *sb, const char **ret_step) {
    *ret_step = "make the container maker's user namespace";
    if (sb->root)
        return idmap_unshare_range();
    int r = unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0 ? -errno : dumpable();
    return r < 0 ? r : idmap_write_self(0, 0, 0);
}

static int own_descriptors(const struct sandbox *sb, const struct sandbox_instance *in) {
    if (dup2(sb->null_fd, STDIN_FILENO) < 0 || dup2(in->out_fd, STDOUT_FILENO) < 0 ||
        dup2(in->err_fd, STDERR_FILENO) < 0 || dup2(in->channel_fd, SANDBOX_CHANNEL_FD) < 0)
        return -errno;
    return 0;
}

static int own_process(const struct sandbox *sb, const struct sandbox_instance *in,
                       const char **ret_step) {
    sigset_t none;
    *ret_step = "set descriptors";
    int r = own_descriptors(sb, in);
    if (r < 0)
        return r;
    *ret_step = "start a session";
    if (setsid() < 0)
        return -errno;
    *ret_step = "go to /tmp";
    if (chdir("/tmp") < 0)
        return -errno;
    (void)umask(022);
    (void)sigemptyset(&none);
    *ret_step = "unblock signals";
    return -pthread_sigmask(SIG_SETMASK, &none, NULL);
}

int sandbox_enter(const struct sandbox *sb, const struct sandbox_instance *in, int *ret_tap,
                  const char **ret_step) {
    uint32_t id = outer_id(sb, in);
    int r;
    *ret_step = "join the cgroups"; /* first, so that what follows is charged there */
    if ((r = join_cgroups(in)) < 0)
        return r;
    if ((r = own_mounts(in, id, ret_step)) < 0)
        return r;
    if ((r = own_network(in, ret_tap, ret_step)) < 0)
        return r;
    r = sb->containers ? own_user_range(sb, ret_step) : own_user(sb, id, ret_step);
    if (r < 0)
        return r;
    *ret_step = "set resource limits";
    if ((r = limits(sb, in)) < 0)
        return r;
    if ((r = own_process(sb, in, ret_step)) < 0)
        return r;
    *ret_step = "drop capabilities";
    if ((r = sb->containers ? caps_no_new() : caps_drop()) < 0)
        return r;
    *ret_step = "load the seccomp filter";
    return filter_load(&sb->filter);
}

void sandbox_close_rest(void) {
    if (syscall(SYS_close_range, SANDBOX_CHANNEL_FD + 1, ~0u, 0) < 0)
        _exit(125);
}
