/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define CHANNEL_FD 3

struct start {
    const char *exe;
    char *const *argv;
    int channel, report;
    pid_t parent;
};

static char *const environment[] = {"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/tmp",
                                    "LANG=C.UTF-8", "TMPDIR=/tmp", NULL};

static NORETURN void fail(int report_fd, const char *step) {
    struct zygote_report report = {.error = errno};
    memcpy(report.step, step, strnlen(step, sizeof(report.step) - 1));
    (void)!write(report_fd, &report, sizeof(report));
    _exit(127);
}

/* In the child of vfork(2): shares our memory, so only system calls and its own stack. */
static NORETURN void child(const struct start *s) {
    int channel = fcntl(s->channel, F_DUPFD_CLOEXEC, ZYGOTE_REPORT_FD + 1);
    int report = fcntl(s->report, F_DUPFD_CLOEXEC, ZYGOTE_REPORT_FD + 1);
    if (channel < 0 || report < 0)
        fail(s->report, "duplicate descriptors");
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null_fd >= 0) {
        (void)dup2(null_fd, STDIN_FILENO);
        (void)dup2(null_fd, STDOUT_FILENO);
    }
    if (dup2(channel, CHANNEL_FD) < 0 || dup2(report, ZYGOTE_REPORT_FD) < 0)
        fail(report, "duplicate descriptors");
    (void)syscall(SYS_close_range, ZYGOTE_REPORT_FD + 1, ~0u, 1u << 2 /* CLOSE_RANGE_CLOEXEC */);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
        fail(report, "ask for the parent death signal");
    if (getppid() != s->parent)
        _exit(127);
    for (int sig = 1; sig < NSIG; sig++) {
        struct sigaction dfl = {.sa_handler = SIG_DFL};
        (void)sigaction(sig, &dfl, NULL);
    }
    sigset_t none;
    (void)sigemptyset(&none);
    (void)pthread_sigmask(SIG_SETMASK, &none, NULL);
    (void)execve(s->exe, s->argv, environment);
    fail(report, "execute the zygote");
}

static pid_t spawn(const struct start *s) {
    sigset_t all, before;
    (void)sigfillset(&all);
    /* No handler of ours may run in the child on our memory. */
    (void)pthread_sigmask(SIG_BLOCK, &all, &before);
    /* posix_spawn(3) cannot ask for the parent death signal, and a fork copies the page tables. */
    pid_t pid = vfork(); /* NOLINT(clang-analyzer-security.insecureAPI.vfork) */
    if (pid == 0)
        child(s); /* NOLINT(clang-analyzer-unix.Vfork): it only makes system calls */
    int saved = errno;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = saved;
    return pid;
}

static void reap(pid_t pid) {
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

static int read_report(int fd, struct zygote_report *ret) {
    ssize_t n;
    do
        n = read(fd, ret, sizeof(*ret));
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    if (n != (ssize_t)sizeof(*ret)) /* died without a word */
        *ret = (struct zygote_report){.error = ECHILD, .step = "start the launcher"};
    ret->step[sizeof(ret->step) - 1] = '\0';
    return 0;
}

int zygote_start(const char *exe, const char *runtimes_dir, uid_t uid_base, int *ret_channel,
                 pid_t *ret_pid, char ret_step[ZYGOTE_STEP_MAX]) {
    int sockets[2], pipes[2];
    if (ret_step)
        (void)snprintf(ret_step, ZYGOTE_STEP_MAX, "make channels");
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
        return -errno;
    cleanup_close int channel = sockets[0], theirs = sockets[1];
    if (pipe2(pipes, O_CLOEXEC) < 0)
        return -errno;
    cleanup_close int report_in = pipes[0], report_out = pipes[1];
    char base[16];
    (void)snprintf(base, sizeof(base), "%u", uid_base ? uid_base : ZYGOTE_UID_BASE);
    const char *argv[] = {exe, "--runtimes", runtimes_dir, "--uid-base", base, NULL};
    struct start s = {exe, (char *const *)(uintptr_t)argv, theirs, report_out, getpid()};
    pid_t launcher = spawn(&s);
    if (launcher < 0)
        return -errno;
    fd_close(&theirs);
    fd_close(&report_out);
    struct zygote_report report = {0};
    int r = read_report(report_in, &report);
    reap(launcher);
    if (r == 0 && report.error)
        r = -report.error;
    if (r < 0) {
        if (report.pid > 0)
            reap(report.pid);
        if (ret_step)
            memcpy(ret_step, report.step, ZYGOTE_STEP_MAX);
        return r;
    }
    if (fcntl(channel, F_SETFL, O_RDWR | O_NONBLOCK) < 0)
        return -errno;
    *ret_channel = take_fd(&channel);
    *ret_pid = report.pid;
    return 0;
}
