/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/sandbox.h"

/* From the launcher L to the zygote Z. As root the new root is built first and the user namespace
 * comes with the clone (the kernel gives none inside a chroot, and real root may make device
 * nodes); an ordinary user needs the user namespace first. */

#include "sandbox/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

/* NOLINTBEGIN(concurrency-mt-unsafe): one thread */

/* Where the C library keeps this thread's id, which it trusts in raise(3) and in mutexes: fork(3)
 * has the kernel write it anew in the child, so must we. NULL without CONFIG_CHECKPOINT_RESTORE. */
static uint64_t tid_address(void) {
    int *address = NULL;
    if (prctl(PR_GET_TID_ADDRESS, &address, 0, 0, 0) < 0)
        return 0;
    return (uint64_t)(uintptr_t)address;
}

pid_t sandbox_clone(uint64_t flags, int exit_signal, int *ret_pidfd) {
    struct clone_args args = {
        .flags = flags,
        .exit_signal = (uint64_t)exit_signal,
        .pidfd = (uint64_t)(uintptr_t)ret_pidfd,
        .child_tid = tid_address(),
    };
    if (args.child_tid)
        args.flags |= CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID;
    return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

static bool kernel_at_least(unsigned major_no, unsigned minor_no) {
    struct utsname u;
    if (uname(&u) < 0)
        return false;
    char *p = u.release; /* "6.1.0-18-amd64" */
    unsigned long a = strtoul(p, &p, 10), b = *p == '.' ? strtoul(p + 1, NULL, 10) : 0;
    return a > major_no || (a == major_no && b >= minor_no);
}

/* L and Z tell each other how far they are over a SEQPACKET pair. */
struct handshake {
    int error;
    char step[ZYGOTE_STEP_MAX];
};

static int handshake_recv(int fd, struct handshake *ret) {
    ssize_t n;
    do
        n = read(fd, ret, sizeof(*ret));
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    return n == (ssize_t)sizeof(*ret) ? 0 : -ECHILD;
}

static int handshake_send(int fd, int error, const char *step) {
    struct handshake h = {.error = error};
    (void)snprintf(h.step, sizeof(h.step), "%s", step);
    return send(fd, &h, sizeof(h), MSG_NOSIGNAL) == (ssize_t)sizeof(h) ? 0 : -EPIPE;
}

static int become_inner_root(const char **ret_step) {
    *ret_step = "take the mapped ids";
    if (setgroups(0, NULL) < 0 && errno != EPERM) /* EPERM: denied with the single-id map */
        return -errno;
    if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
        return -errno;
    return 0;
}

/* Two descriptors an instance: as many as we may. Instances have their own limit. */
static void many_descriptors(void) {
    struct rlimit l;
    if (getrlimit(RLIMIT_NOFILE, &l) == 0) {
        l.rlim_cur = l.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &l);
    }
}

/* What instances inherit: set here once, not in each. */
static int own_environment(void) {
    static const char *const env[][2] = {{"PATH", "/usr/local/bin:/usr/bin:/bin"},
                                         {"HOME", "/tmp"},
                                         {"LANG", "C.UTF-8"},
                                         {"TMPDIR", "/tmp"}};
    if (clearenv() != 0)
        return -ENOMEM;
    for (size_t i = 0; i < ARRAY_LEN(env); i++)
        if (setenv(env[i][0], env[i][1], 1) < 0)
            return -errno;
    return 0;
}

static int zygote_setup(struct sandbox *sb, const char **ret_step) {
    int r = sb->root ? become_inner_root(ret_step) : 0;
    if (r < 0)
        return r;
    /* Cleared by a change of credentials, so only now. That the server may have died before is
     * seen on the channel: it has ended then. */
    *ret_step = "ask for the parent death signal";
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
        return -errno;
    *ret_step = "start a session";
    if (setsid() < 0)
        return -errno;
    *ret_step = "set the environment and the host name";
    if ((r = own_environment()) < 0)
        return r;
    if (sethostname("kiln", 4) < 0)
        return -errno;
    *ret_step = "mount /proc";
    if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
        return -errno;
    many_descriptors();
    *ret_step = "open /dev/null";
    cleanup_close int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null_fd < 0)
        return -errno;
    *ret_step = "set standard input and output";
    if (dup2(null_fd, STDIN_FILENO) < 0 || dup2(null_fd, STDOUT_FILENO) < 0)
        return -errno;
    return 0;
}

/* Z, from its first instruction. Does not return on failure. */
static int zygote_begin(struct sandbox *sb, int peer) {
    struct handshake go;
    const char *step = "wait for the id maps";
    int r = handshake_recv(peer, &go);
    if (r == 0)
        r = zygote_setup(sb, &step);
    if (handshake_send(peer, -r, step) < 0 || r < 0)
        _exit(1);
    (void)syscall(SYS_close_range, SANDBOX_CHANNEL_FD + 1, ~0u, 0);
    sb->null_fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, SANDBOX_CHANNEL_FD + 1);
    if (sb->null_fd < 0)
        _exit(1);
    return 0;
}

/* L: gives Z its ids, lets it go on, waits until it stands. */
static int zygote_assist(pid_t pid, const struct sandbox *sb, uint32_t base, int peer,
                         const char **ret_step) {
    *ret_step = "write the id maps";
    int r = sb->root ? idmap_write_range(pid, base) : 0;
    if (r < 0)
        return r;
    *ret_step = "start the zygote";
    r = handshake_send(peer, 0, "");
    static struct handshake answer; /* its step outlives us */
    if (r == 0)
        r = handshake_recv(peer, &answer);
    if (r < 0)
        return r;
    answer.step[sizeof(answer.step) - 1] = '\0';
    *ret_step = answer.step;
    return -answer.error;
}

static int new_root_and_ids(const struct sandbox_config *cfg, const struct sandbox *sb,
                            const char **ret_step) {
    if (sb->root)
        return root_enter(cfg, true, ret_step);
    uid_t uid = geteuid();
    gid_t gid = getegid();
    *ret_step = "make a user namespace";
    /* A process that gave up root without an exec may not write its own map otherwise. */
    if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0)
        return -errno;
    if (unshare(CLONE_NEWUSER) < 0)
        return -errno;
    *ret_step = "write the id maps";
    int r = idmap_write_self(0, uid, gid);
    return r < 0 ? r : root_enter(cfg, false, ret_step);
}

/* The clone and all that follows; *RET_PID as soon as there is one. */
static int launch(const struct sandbox_config *cfg, struct sandbox *sb, pid_t *ret_pid,
                  const char **ret_step) {
    *ret_step = "look for Linux 5.9 or newer";
    if (!kernel_at_least(5, 9))
        return -ENOSYS;
    *ret_step = "leave the id of the machine's root: no range of ids can be mapped";
    if (!sb->root && idmap_is_machine_root())
        return -EPERM;
    *ret_step = "compile the seccomp filter";
    int r = filter_compile(cfg->containers, &sb->filter);
    if (r < 0)
        return r;
    if ((r = new_root_and_ids(cfg, sb, ret_step)) < 0)
        return r;
    int pair[2];
    *ret_step = "make a socket pair";
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    cleanup_close int mine = pair[0], theirs = pair[1];
    /* CLONE_PARENT: Z is the server's own child, which can wait for it. */
    uint64_t flags = CLONE_PARENT | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS |
                     CLONE_NEWCGROUP | (sb->root ? CLONE_NEWUSER : 0);
    *ret_step = "clone into namespaces";
    *ret_pid = sandbox_clone(flags, 0, NULL);
    if (*ret_pid < 0)
        return -errno;
    if (*ret_pid == 0) {
        fd_close(&mine);
        return zygote_begin(sb, take_fd(&theirs));
    }
    fd_close(&theirs);
    return zygote_assist(*ret_pid, sb, cfg->uid_base, mine, ret_step);
}

int sandbox_launch(const struct sandbox_config *cfg, struct sandbox *sb, const char **ret_step) {
    *sb = (struct sandbox){
        .root = idmap_range_possible(cfg->uid_base),
        .nproc_is_per_ns = kernel_at_least(5, 14),
        .containers = cfg->containers,
        .null_fd = -1,
    };
    pid_t pid = -1;
    int r = launch(cfg, sb, &pid, ret_step);
    if (pid == 0)
        return 0;
    if (pid > 0 && r < 0)
        (void)kill(pid, SIGKILL); /* whoever started us reaps it */
    struct zygote_report report = {.pid = pid, .error = -r};
    (void)snprintf(report.step, sizeof(report.step), "%s", r < 0 ? *ret_step : "");
    if (cfg->report_fd >= 0)
        (void)!write(cfg->report_fd, &report, sizeof(report));
    if (r == 0)
        _exit(0);
    sandbox_done(sb);
    return r;
}

void sandbox_done(struct sandbox *sb) {
    free(sb->filter.filter);
    sb->filter = (struct sock_fprog){0};
    fd_close(&sb->null_fd);
}
/* NOLINTEND(concurrency-mt-unsafe) */
