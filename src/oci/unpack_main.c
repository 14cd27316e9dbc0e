/* SPDX-License-Identifier: Apache-2.0 */
/* kiln-unpack UID_BASE DIR: runs `umoci unpack` on DIR/layout into DIR/bundle, for a server that is
 * root. What it reads comes from strangers, so it has no more than it needs: the ids
 * UID_BASE..65535 more and no others, DIR as the only place that it may write to, no network, no
 * way to see other processes. Exit status: umoci's own, or 125 when this could not be made. */

#include "base/str.h"
#include "sandbox/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/mount.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* NOLINTBEGIN(concurrency-mt-unsafe): one thread */

/* sys/mount.h and linux/mount.h exclude each other in glibc 2.36. */
int mount(const char *source, const char *target, const char *type, unsigned long flags,
          const void *data);

#define PLACE "/mnt"

static NORETURN void fail(const char *what) {
    (void)fprintf(stderr, "kiln-unpack: %s: %s\n", what, strerror(errno));
    _exit(125);
}

static void set_mount(const char *path, unsigned flags, uint64_t set, uint64_t clear) {
    struct mount_attr attr = {.attr_set = set, .attr_clr = clear};
    if (syscall(SYS_mount_setattr, AT_FDCWD, path, flags, &attr, sizeof(attr)) < 0)
        fail("change mounts");
}

/* Everything read-only, but for DIR, which is at PLACE. */
static void own_view(int dir) {
    char from[64];
    (void)snprintf(from, sizeof(from), "/proc/self/fd/%d", dir);
    if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
        fail("make mounts private");
    if (mount(from, PLACE, NULL, MS_BIND, NULL) < 0)
        fail("bind the folder");
    set_mount("/", AT_RECURSIVE, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, 0);
    set_mount(PLACE, 0, 0, MOUNT_ATTR_RDONLY);
}

static NORETURN void unpack(const char *path, int go) {
    static const char *const argv[] = {"umoci",         "unpack", "--image", PLACE "/layout:image",
                                       PLACE "/bundle", NULL};
    char letter;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || read(go, &letter, 1) != 1)
        _exit(125);
    /* In our own mount namespace, whose mounts alone can be bound, and while we still may: the
     * folder above is closed to the ids that we take. */
    int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        fail(path);
    if (setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
        fail("take the ids");
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0) /* cleared by the change of ids */
        fail("ask for the parent death signal");
    own_view(dir);
    if (chdir("/") < 0 || caps_no_new() < 0)
        fail("give up privileges");
    (void)execvp(argv[0], (char *const *)(uintptr_t)argv);
    fail("umoci does not run");
}

int main(int argc, char **argv) {
    uint64_t base;
    int go[2], status = 0;
    if (argc != 3 || str_u64(str_of(argv[1]), INT32_MAX, &base) < 0) {
        (void)fputs("kiln-unpack is started by kiln serve\n", stderr);
        return 125;
    }
    if (pipe2(go, O_CLOEXEC) < 0)
        fail("make a pipe");
    pid_t pid = sandbox_clone(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC |
                                  CLONE_NEWUTS | CLONE_NEWPID,
                              SIGCHLD, NULL);
    if (pid < 0)
        fail("clone into namespaces");
    if (pid == 0) {
        (void)close(go[1]);
        unpack(argv[2], go[0]);
    }
    (void)close(go[0]);
    int r = idmap_write_range(pid, (uint32_t)base);
    if (r < 0) {
        errno = -r;
        (void)kill(pid, SIGKILL);
        fail("write the id maps");
    }
    if (write(go[1], "g", 1) != 1)
        fail("start umoci");
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            fail("wait for umoci");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
/* NOLINTEND(concurrency-mt-unsafe) */
