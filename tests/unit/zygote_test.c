/* SPDX-License-Identifier: Apache-2.0 */
/* A zygote executable without an interpreter: its instances do what test_sandbox.c asks of them,
 * and say what came of it. */
#include "zygote_test.h"

#include "zygote/runtime.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static int warm(char *name, size_t size) {
    (void)snprintf(name, size, "Test 1.0");
    return 0;
}

static void do_read(const struct ask *a, struct reply *r) {
    int fd = open(a->path, O_RDONLY | O_CLOEXEC);
    r->error = fd < 0 ? errno : 0;
    if (fd < 0)
        return;
    size_t len = 0;
    for (ssize_t n; len < sizeof(r->text) - 1; len += (size_t)n)
        if ((n = read(fd, r->text + len, sizeof(r->text) - 1 - len)) <= 0)
            break;
    r->number = (int64_t)len;
    (void)close(fd);
}

static void do_list(const struct ask *a, struct reply *r) {
    DIR *d = opendir(a->path);
    r->error = d ? 0 : errno;
    size_t len = 0;
    for (struct dirent *e; d && (e = readdir(d)) && len < sizeof(r->text);)
        if (e->d_name[0] != '.')
            len += (size_t)snprintf(r->text + len, sizeof(r->text) - len, "%s ", e->d_name);
    if (d)
        (void)closedir(d);
}

static void do_write(const struct ask *a, struct reply *r) {
    static char block[65536];
    int fd = open(a->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    r->error = fd < 0 ? errno : 0;
    while (fd >= 0 && (uint64_t)r->number < a->number) {
        ssize_t n = write(fd, block, sizeof(block));
        if (n < 0) {
            r->error = errno;
            break;
        }
        r->number += n;
    }
    if (fd >= 0)
        (void)close(fd);
}

static void do_fork_bomb(const struct ask *a, struct reply *r) {
    while ((uint64_t)r->number < a->number) {
        pid_t pid = fork();
        if (pid == 0)
            for (;;)
                (void)pause();
        if (pid < 0) {
            r->error = errno;
            break;
        }
        r->number++;
    }
}

/* A grandchild in a session of its own that ignores what it can, and holds standard output. */
static void do_hide(struct reply *r) {
    pid_t pid = fork();
    if (pid == 0) {
        (void)setsid();
        if (fork() > 0)
            _exit(0);
        for (int sig = 1; sig < NSIG; sig++)
            (void)signal(sig, SIG_IGN);
        (void)close(3);
        for (;;)
            (void)pause();
    }
    r->error = pid < 0 ? errno : 0;
    (void)waitpid(pid, NULL, 0);
}

static void do_eat(const struct ask *a) {
    volatile char *p =
        mmap(NULL, a->number, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (uint64_t i = 0; p != MAP_FAILED && i < a->number; i += 4096)
        p[i] = 1;
}

static void do_descriptors(struct reply *r) {
    for (int fd = 0; fd < 1024; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            r->number |= fd < 63 ? INT64_C(1) << fd : INT64_MIN;
}

static void answer(const struct ask *a, struct reply *r) {
    switch (a->what) {
    case ASK_READ:
        do_read(a, r);
        break;
    case ASK_LIST:
        do_list(a, r);
        break;
    case ASK_WRITE:
        do_write(a, r);
        break;
    case ASK_FORK_BOMB:
        do_fork_bomb(a, r);
        break;
    case ASK_HIDE:
        do_hide(r);
        break;
    case ASK_EAT:
        do_eat(a);
        break;
    case ASK_DESCRIPTORS:
        do_descriptors(r);
        break;
    case ASK_SYSCALL:
        errno = 0;
        r->number = syscall((long)a->number, a->args[0], a->args[1], a->args[2], a->args[3], 0, 0);
        r->error = r->number < 0 ? errno : 0;
        break;
    case ASK_EXIT:
        _exit((int)a->number);
    case ASK_ABORT:
        abort();
    case ASK_OTHER_ABI:
#ifdef __x86_64__
        __asm__ volatile("int $0x80" : "=a"(r->number) : "a"(20) : "memory");
#else
        (void)raise(SIGSYS);
        _exit(128 + SIGSYS);
#endif
        break;
    }
}

static NORETURN void instance(void) {
    struct ask a;
    while (recv(3, &a, sizeof(a), MSG_WAITALL) == (ssize_t)sizeof(a)) {
        struct reply r = {0};
        answer(&a, &r);
        if (send(3, &r, sizeof(r), MSG_NOSIGNAL) != (ssize_t)sizeof(r))
            break;
    }
    _exit(0);
}

int main(int argc, char **argv) {
    static const struct zygote_runtime runtime = {
        .name = "test", .warm = warm, .instance = instance};
    return zygote_main(argc, argv, &runtime);
}
