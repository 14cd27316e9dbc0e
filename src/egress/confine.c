/* SPDX-License-Identifier: Apache-2.0 */
#include "egress/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/sockios.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define RESOLV_CONF     "/etc/resolv.conf"
#define RESOLV_CONF_MAX (16 * KIB)
#define NEW_ROOT        "/proc" /* a folder that every system has, covered only in our namespace */

static int write_file(const char *path, const void *p, size_t len) {
    cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0444);
    if (fd < 0)
        return -errno;
    ssize_t n = write(fd, p, len);
    return n < 0 ? -errno : (size_t)n == len ? 0 : -EIO;
}

/* Without the file slirp would take 127.0.0.1 for the resolver; so does it with an empty one. */
static ssize_t read_resolv_conf(char *buf, size_t size) {
    cleanup_close int fd = open(RESOLV_CONF, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    ssize_t n = read(fd, buf, size);
    return n < 0 ? -errno : n;
}

static int map_id(const char *path, unsigned id) {
    char line[64];
    int n = snprintf(line, sizeof(line), "%u %u 1\n", id, id);
    return write_file(path, line, (size_t)n);
}

static int own_namespaces(void) {
    unsigned uid = geteuid(), gid = getegid();
    if (uid == 0)
        return unshare(CLONE_NEWNS) < 0 ? -errno : 0;
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
        return -errno;
    int r = write_file("/proc/self/setgroups", "deny", 4);
    if (r == 0)
        r = map_id("/proc/self/uid_map", uid);
    return r == 0 ? map_id("/proc/self/gid_map", gid) : r;
}

static int enter(void) {
    /* pivot_root(".", ".") stacks the old root on the new one; it does not work on a ramfs root. */
    if (syscall(SYS_pivot_root, ".", ".") == 0)
        return umount2(".", MNT_DETACH) < 0 || chdir("/") < 0 ? -errno : 0;
    return chroot(".") < 0 || chdir("/") < 0 ? -errno : 0;
}

int confine_root(void) {
    const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    char conf[RESOLV_CONF_MAX];
    ssize_t len = read_resolv_conf(conf, sizeof(conf));
    if (len < 0)
        return (int)len;
    int r = own_namespaces();
    if (r < 0)
        return r;
    umask(0022);
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", NEW_ROOT, "tmpfs", flags, "size=64k,nr_inodes=16,mode=0755") < 0 ||
        chdir(NEW_ROOT) < 0 || mkdir("etc", 0755) < 0)
        return -errno;
    r = write_file("etc/resolv.conf", conf, (size_t)len);
    if (r == 0)
        r = enter();
    if (r == 0 && mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | flags, NULL) < 0)
        r = -errno;
    return r;
}

static int drop_capabilities(void) {
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {{0}, {0}};
    for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
        (void)prctl(PR_CAPBSET_DROP, cap, 0, 0, 0); /* fails where we never had CAP_SETPCAP */
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    return syscall(SYS_capset, &head, none) < 0 ? -errno : 0;
}

static int become(uint32_t uid) {
    if (uid == 0 || geteuid() != 0)
        return 0;
    if (setgroups(0, NULL) < 0 && errno != EPERM) /* not allowed in some user namespaces */
        return -errno;
    return setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0 ? -errno : 0;
}

int confine_privileges(uint32_t uid) {
    static const int zero[] = {RLIMIT_CORE, RLIMIT_FSIZE, RLIMIT_NPROC, RLIMIT_MEMLOCK};
    const struct rlimit none = {0, 0};
    int r = become(uid);
    if (r == 0)
        r = drop_capabilities();
    if (r < 0)
        return r;
    for (size_t i = 0; i < ARRAY_LEN(zero); i++)
        if (setrlimit((__rlimit_resource_t)zero[i], &none) < 0)
            return -errno;
    /* After the change of user, which would clear it. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ||
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    return 0;
}

#define SC(name) SCMP_SYS(name)
static const int allowed[] = {
    /* packets and sockets */
    SC(read), SC(readv), SC(write), SC(writev), SC(close), SC(recvfrom), SC(recvmsg), SC(sendto),
    SC(sendmsg), SC(bind), SC(connect), SC(getsockname), SC(getpeername), SC(getsockopt),
    SC(setsockopt), SC(shutdown), SC(epoll_wait), SC(epoll_pwait), SC(epoll_ctl),
    /* resolv.conf */
    SC(newfstatat), SC(fstat), SC(stat), SC(lseek),
    /* memory, time, end */
    SC(munmap), SC(mremap), SC(brk), SC(madvise), SC(futex), SC(clock_gettime), SC(gettimeofday),
    SC(getrandom), SC(getpid), SC(gettid), SC(tgkill), SC(rt_sigaction), SC(rt_sigprocmask),
    SC(rt_sigreturn), SC(sigaltstack), SC(exit), SC(exit_group), SC(restart_syscall)};

/* One argument compared: SCMP_CMP() with all its fields. */
#define ARG_IS(arg, value)                                                                         \
    { (arg), SCMP_CMP_EQ, (scmp_datum_t)(value), 0 }
#define ARG_MASKED(arg, mask, value)                                                               \
    { (arg), SCMP_CMP_MASKED_EQ, (scmp_datum_t)(mask), (value) }
#define SOCK_TYPE_MASK 0xf
#define OPEN_MASK      (O_ACCMODE | O_CREAT | O_TRUNC)
static const struct {
    int syscall;
    unsigned n;
    struct scmp_arg_cmp args[2];
} allowed_args[] = {
    {SC(socket), 2, {ARG_IS(0, AF_INET), ARG_MASKED(1, SOCK_TYPE_MASK, SOCK_STREAM)}},
    {SC(socket), 2, {ARG_IS(0, AF_INET), ARG_MASKED(1, SOCK_TYPE_MASK, SOCK_DGRAM)}},
    {SC(socket), 2, {ARG_IS(0, AF_NETLINK), ARG_MASKED(1, SOCK_TYPE_MASK, SOCK_RAW)}},
    {SC(openat), 1, {ARG_MASKED(2, OPEN_MASK, O_RDONLY)}},
    {SC(mmap), 1, {ARG_MASKED(2, PROT_EXEC, 0)}},
    {SC(mprotect), 1, {ARG_MASKED(2, PROT_EXEC, 0)}},
    {SC(ioctl), 1, {ARG_IS(1, FIONREAD)}},
    {SC(ioctl), 1, {ARG_IS(1, FIONBIO)}},
    {SC(ioctl), 1, {ARG_IS(1, SIOCATMARK)}},
    {SC(fcntl), 1, {ARG_IS(1, F_GETFD)}},
    {SC(fcntl), 1, {ARG_IS(1, F_SETFD)}},
    {SC(fcntl), 1, {ARG_IS(1, F_GETFL)}},
    {SC(fcntl), 1, {ARG_IS(1, F_SETFL)}},
};

static int add_rules(scmp_filter_ctx c) {
    int r = 0;
    for (size_t i = 0; i < ARRAY_LEN(allowed) && r == 0; i++)
        r = seccomp_rule_add_array(c, SCMP_ACT_ALLOW, allowed[i], 0, NULL);
    for (size_t i = 0; i < ARRAY_LEN(allowed_args) && r == 0; i++)
        r = seccomp_rule_add_array(c, SCMP_ACT_ALLOW, allowed_args[i].syscall, allowed_args[i].n,
                                   allowed_args[i].args);
    return r;
}

int confine_syscalls(void) {
    scmp_filter_ctx c = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (!c)
        return -ENOMEM;
    int r = add_rules(c);
    if (r == 0)
        r = seccomp_load(c);
    seccomp_release(c);
    return r;
}
