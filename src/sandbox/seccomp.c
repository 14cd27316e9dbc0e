/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/sandbox.h"

/* The system calls that a function may make: a list of what is allowed; what is refused on purpose
 * answers EPERM, everything unknown ENOSYS, so that programs fall back on what is known.
 *
 * libseccomp knows the numbers of the names. The program is our own: libseccomp 2.5 makes a rule a
 * number, 534 instructions, and the kernel checks and translates them anew for each instance: 126
 * µs; runs of numbers with the same verdict are 216 instructions and 70 µs. */

#include <errno.h>
#include <linux/audit.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#if defined(__x86_64__)
#define ARCH    AUDIT_ARCH_X86_64
#define X32_BIT 0x40000000u
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define ARCH AUDIT_ARCH_RISCV64
#else
#error "name this architecture's AUDIT_ARCH constant"
#endif

#define NUMBERS  1024u /* above, nothing is known */
#define CODE_MAX 1024u

#define NS_FLAGS                                                                                   \
    (CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET |     \
     CLONE_NEWCGROUP)

/* Names that an architecture lacks are skipped. */
/* clang-format off */
static const char *const allowed[] = {
    "_llseek", "_newselect", "accept", "accept4", "access", "alarm", "arch_prctl",
    "arm_fadvise64_64", "arm_sync_file_range", "bind", "brk", "cacheflush", "cachestat", "capget",
    "capset", "chdir", "chmod", "chown", "chown32", "clock_getres", "clock_getres_time64",
    "clock_gettime", "clock_gettime64", "clock_nanosleep", "clock_nanosleep_time64", "close",
    "close_range", "connect", "copy_file_range", "creat", "dup", "dup2", "dup3", "epoll_create",
    "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait", "eventfd",
    "eventfd2", "execve", "execveat", "exit", "exit_group", "faccessat", "faccessat2", "fadvise64",
    "fadvise64_64", "fallocate", "fchdir", "fchmod", "fchmodat", "fchmodat2", "fchown", "fchown32",
    "fchownat", "fcntl", "fcntl64", "fdatasync", "fgetxattr", "flistxattr", "flock", "fork",
    "fremovexattr", "fsetxattr", "fstat", "fstat64", "fstatat64", "fstatfs", "fstatfs64", "fsync",
    "ftruncate", "ftruncate64", "futex", "futex_requeue", "futex_time64", "futex_wait",
    "futex_waitv", "futex_wake", "futimesat", "get_robust_list", "get_thread_area", "getcpu",
    "getcwd", "getdents", "getdents64", "getegid", "getegid32", "geteuid", "geteuid32", "getgid",
    "getgid32", "getgroups", "getgroups32", "getitimer", "getpeername", "getpgid", "getpgrp",
    "getpid", "getppid", "getpriority", "getrandom", "getresgid", "getresgid32", "getresuid",
    "getresuid32", "getrlimit", "getrusage", "getsid", "getsockname", "getsockopt", "gettid",
    "gettimeofday", "getuid", "getuid32", "getxattr", "inotify_add_watch", "inotify_init",
    "inotify_init1", "inotify_rm_watch", "io_cancel", "io_destroy", "io_getevents", "io_pgetevents",
    "io_pgetevents_time64", "io_setup", "io_submit", "ioctl", "ioprio_get", "ioprio_set", "ipc",
    "kill", "lchown", "lchown32", "lgetxattr", "link", "linkat", "listen", "listxattr",
    "llistxattr", "lremovexattr", "lseek", "lsetxattr", "lstat", "lstat64", "madvise", "membarrier",
    "memfd_create", "mincore", "mkdir", "mkdirat", "mknod", "mknodat", "mlock", "mlock2",
    "mlockall", "mmap", "mmap2", "mprotect", "mq_getsetattr", "mq_notify", "mq_open",
    "mq_timedreceive", "mq_timedreceive_time64", "mq_timedsend", "mq_timedsend_time64", "mq_unlink",
    "mremap", "mseal", "msgctl", "msgget", "msgrcv", "msgsnd", "msync", "munlock", "munlockall",
    "munmap", "nanosleep", "newfstatat", "open", "openat", "openat2", "pause", "pidfd_open",
    "pidfd_send_signal", "pipe", "pipe2", "pkey_alloc", "pkey_free", "pkey_mprotect", "poll",
    "ppoll", "ppoll_time64", "prctl", "pread64", "preadv", "preadv2", "prlimit64", "pselect6",
    "pselect6_time64", "pwrite64", "pwritev", "pwritev2", "read", "readahead", "readlink",
    "readlinkat", "readv", "recv", "recvfrom", "recvmmsg", "recvmmsg_time64", "recvmsg",
    "remap_file_pages", "removexattr", "rename", "renameat", "renameat2", "restart_syscall",
    "riscv_flush_icache", "riscv_hwprobe", "rmdir", "rseq", "rt_sigaction", "rt_sigpending",
    "rt_sigprocmask", "rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait",
    "rt_sigtimedwait_time64", "rt_tgsigqueueinfo", "sched_get_priority_max",
    "sched_get_priority_min", "sched_getaffinity", "sched_getattr", "sched_getparam",
    "sched_getscheduler", "sched_rr_get_interval", "sched_rr_get_interval_time64",
    "sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler", "sched_yield",
    "seccomp", "select", "semctl", "semget", "semop", "semtimedop", "semtimedop_time64", "send",
    "sendfile", "sendfile64", "sendmmsg", "sendmsg", "sendto", "set_robust_list", "set_thread_area",
    "set_tid_address", "set_tls", "setfsgid", "setfsgid32", "setfsuid", "setfsuid32", "setgid",
    "setgid32", "setgroups", "setgroups32", "setitimer", "setpgid", "setpriority", "setregid",
    "setregid32", "setresgid", "setresgid32", "setresuid", "setresuid32", "setreuid", "setreuid32",
    "setrlimit", "setsid", "setsockopt", "setuid", "setuid32", "setxattr", "shmat", "shmctl",
    "shmdt", "shmget", "shutdown", "sigaltstack", "signalfd", "signalfd4", "sigprocmask",
    "sigreturn", "splice", "stat", "stat64", "statfs", "statfs64", "statx", "symlink", "symlinkat",
    "sync_file_range", "sync_file_range2", "syncfs", "sysinfo", "tee", "tgkill", "time",
    "timer_create", "timer_delete", "timer_getoverrun", "timer_gettime", "timer_gettime64",
    "timer_settime", "timer_settime64", "timerfd_create", "timerfd_gettime", "timerfd_gettime64",
    "timerfd_settime", "timerfd_settime64", "times", "tkill", "truncate", "truncate64",
    "ugetrlimit", "umask", "uname", "unlink", "unlinkat", "utime", "utimensat", "utimensat_time64",
    "utimes", "vfork", "wait4", "waitid", "waitpid", "write", "writev",
};

/* Refused with EPERM: what a program may understand as "not allowed". */
static const char *const refused[] = {
    "acct", "add_key", "adjtimex", "bpf", "chroot", "clock_adjtime", "clock_settime",
    "delete_module", "fanotify_init", "finit_module", "fsconfig", "fsmount", "fsopen", "fspick",
    "init_module", "ioperm", "iopl", "kcmp", "kexec_file_load", "kexec_load", "keyctl",
    "lookup_dcookie", "mbind", "migrate_pages", "mount", "mount_setattr", "move_mount",
    "move_pages", "name_to_handle_at", "open_by_handle_at", "open_tree", "perf_event_open",
    "pidfd_getfd", "pivot_root", "process_madvise", "process_vm_readv", "process_vm_writev",
    "ptrace", "quotactl", "quotactl_fd", "reboot", "request_key", "set_mempolicy", "setdomainname",
    "sethostname", "setns", "settimeofday", "stime", "swapoff", "swapon", "syslog", "umount",
    "umount2", "unshare", "userfaultfd", "vhangup", "vmsplice",
};

/* Allowed to what makes containers (crun), beyond the above. */
static const char *const container_makers[] = {
    "chroot", "fsconfig", "fsmount", "fsopen", "fspick", "mount", "mount_setattr", "move_mount",
    "open_tree", "pivot_root", "setdomainname", "sethostname", "setns", "umount", "umount2",
    "unshare",
};
/* clang-format on */

enum verdict {
    UNKNOWN, /* ENOSYS */
    ALLOWED,
    REFUSED,  /* EPERM */
    BY_CLONE, /* these depend on the arguments */
    BY_IOCTL,
    BY_PERSONALITY,
    BY_SOCKET,
    BY_SOCKETPAIR,
    VERDICTS
};

struct program {
    struct sock_filter code[CODE_MAX];
    unsigned n;
    unsigned leaf[VERDICTS]; /* of a BY_…: where the jump to its block stands; 0 = none */
    bool too_long;
};

static void emit(struct program *p, struct sock_filter f) {
    if (p->n < CODE_MAX)
        p->code[p->n++] = f;
    else
        p->too_long = true;
}

static void give(struct program *p, uint32_t action) {
    emit(p, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action));
}

static void allow(struct program *p) {
    give(p, SECCOMP_RET_ALLOW);
}

static void refuse(struct program *p, uint32_t error) {
    give(p, SECCOMP_RET_ERRNO | error);
}

static void load(struct program *p, size_t offset) {
    emit(p, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset));
}

/* The lower half of argument I: the kernel takes an int of all that are looked at here. */
static void load_argument(struct program *p, size_t i) {
    size_t low = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? 0 : 4;
    load(p, offsetof(struct seccomp_data, args) + 8 * i + low);
}

/* Over the next instruction unless the loaded value TESTs with K. */
static void when(struct program *p, uint16_t test, uint32_t k) {
    emit(p, (struct sock_filter)BPF_JUMP(BPF_JMP | test | BPF_K, k, 0, 1));
}

/* ---- numbers to verdicts: a binary tree over runs ---- */

static void name_all(uint8_t *verdicts, const char *const *names, size_t n, enum verdict v) {
    for (size_t i = 0; i < n; i++) {
        int nr = seccomp_syscall_resolve_name(names[i]);
        if (nr >= 0 && nr < (int)NUMBERS) /* else not of this architecture */
            verdicts[nr] = (uint8_t)v;
    }
}

static void fill(bool containers, uint8_t verdicts[NUMBERS]) {
    memset(verdicts, UNKNOWN, NUMBERS);
    name_all(verdicts, allowed, ARRAY_LEN(allowed), ALLOWED);
    name_all(verdicts, refused, ARRAY_LEN(refused), REFUSED);
    if (containers)
        name_all(verdicts, container_makers, ARRAY_LEN(container_makers), ALLOWED);
    /* clone3 hides its flags in memory: unknown */
    verdicts[SYS_clone] = containers ? ALLOWED : BY_CLONE;
    verdicts[SYS_ioctl] = BY_IOCTL;
    verdicts[SYS_personality] = BY_PERSONALITY;
    verdicts[SYS_socket] = BY_SOCKET;
    verdicts[SYS_socketpair] = BY_SOCKETPAIR;
}

static void leaf(struct program *p, enum verdict v) {
    if (v == ALLOWED)
        allow(p);
    else if (v == REFUSED)
        refuse(p, EPERM);
    else if (v == UNKNOWN)
        refuse(p, ENOSYS);
    else {
        p->leaf[v] = p->n;
        emit(p, (struct sock_filter)BPF_STMT(BPF_JMP | BPF_JA, 0));
    }
}

/* STARTS[first..last] are the first numbers of runs. Depth: log2 of their number. */
static void tree(struct program *p, const uint8_t *verdicts, const uint16_t *starts, size_t first,
                 size_t last) {
    if (first == last) {
        leaf(p, (enum verdict)verdicts[starts[first]]);
        return;
    }
    size_t middle = (first + last + 1) / 2;
    unsigned at = p->n;
    emit(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, starts[middle], 0, 0));
    tree(p, verdicts, starts, first, middle - 1);
    unsigned skip = p->n - at - 1;
    if (skip > UINT8_MAX || p->too_long)
        p->too_long = true;
    else
        p->code[at].jt = (uint8_t)skip;
    tree(p, verdicts, starts, middle, last);
}

static void by_number(struct program *p, bool containers) {
    uint8_t verdicts[NUMBERS];
    uint16_t starts[NUMBERS];
    size_t runs = 0;
    fill(containers, verdicts);
    for (unsigned nr = 0; nr < NUMBERS; nr++)
        if (nr == 0 || verdicts[nr] != verdicts[nr - 1])
            starts[runs++] = (uint16_t)nr;
    tree(p, verdicts, starts, 0, runs - 1);
}

/* ---- by arguments ---- */

/* From here on is the block of V: its leaf jumps here. */
static void block(struct program *p, enum verdict v, size_t argument) {
    if (p->n < CODE_MAX)
        p->code[p->leaf[v]].k = p->n - p->leaf[v] - 1;
    load_argument(p, argument);
}

/* AF_UNIX, AF_INET, AF_INET6, and of AF_NETLINK the routes (getifaddrs(3)). */
static void by_socket(struct program *p) {
    static const uint32_t families[] = {AF_UNIX, AF_INET, AF_INET6};
    block(p, BY_SOCKET, 0);
    for (size_t i = 0; i < ARRAY_LEN(families); i++) {
        when(p, BPF_JEQ, families[i]);
        allow(p);
    }
    emit(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_NETLINK, 1, 0));
    refuse(p, EAFNOSUPPORT);
    load_argument(p, 2);
    when(p, BPF_JEQ, NETLINK_ROUTE);
    allow(p);
    refuse(p, EPROTONOSUPPORT);
    block(p, BY_SOCKETPAIR, 0);
    when(p, BPF_JEQ, AF_UNIX);
    allow(p);
    refuse(p, EAFNOSUPPORT);
}

static void by_arguments(struct program *p) {
    if (p->leaf[BY_CLONE]) {
        block(p, BY_CLONE, 0);
        when(p, BPF_JSET, NS_FLAGS);
        refuse(p, EPERM);
        allow(p);
    }
    block(p, BY_IOCTL, 1);
    when(p, BPF_JEQ, TIOCSTI); /* types into a terminal */
    refuse(p, EPERM);
    when(p, BPF_JEQ, TIOCLINUX); /* pastes into a console */
    refuse(p, EPERM);
    allow(p);
    block(p, BY_PERSONALITY, 0);
    when(p, BPF_JEQ, 0); /* Linux */
    allow(p);
    when(p, BPF_JEQ, 0xffffffffu); /* the query */
    allow(p);
    refuse(p, EPERM);
    by_socket(p);
}

int filter_compile(bool containers, struct sock_fprog *ret) {
    cleanup_free struct program *p = x_alloc(sizeof(*p));
    load(p, offsetof(struct seccomp_data, arch));
    emit(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0));
    give(p, SECCOMP_RET_KILL_PROCESS);
    load(p, offsetof(struct seccomp_data, nr));
#ifdef X32_BIT
    when(p, BPF_JGE, X32_BIT);
    give(p, SECCOMP_RET_KILL_PROCESS);
#endif
    by_number(p, containers);
    by_arguments(p);
    if (p->too_long)
        return -E2BIG;
    *ret = (struct sock_fprog){.len = (unsigned short)p->n,
                               .filter = x_memdup(p->code, p->n * sizeof(p->code[0]))};
    return 0;
}

int filter_load(const struct sock_fprog *filter) {
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, filter) < 0 ? -errno : 0;
}
