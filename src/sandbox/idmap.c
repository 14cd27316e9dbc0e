/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/sandbox.h"

/* user_namespaces(7): who may write which id map. */

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static bool have_caps(uint32_t mask) {
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    if (syscall(SYS_capget, &head, data) < 0)
        return false;
    return (data[0].effective & mask) == mask;
}

/* Are BASE..BASE+65535 ids of our own user namespace? */
static bool mapped_here(const char *map_file, uint32_t base) {
    FILE *f = fopen(map_file, "re");
    if (!f)
        return false;
    char line[128]; /* "inside outside count" */
    bool found = false;
    while (!found && fgets(line, sizeof(line), f)) {
        char *p = line;
        uint64_t inside = strtoull(p, &p, 10);
        (void)strtoull(p, &p, 10);
        uint64_t count = strtoull(p, &p, 10);
        found = base >= inside && (uint64_t)base + SANDBOX_IDS <= inside + count;
    }
    (void)fclose(f);
    return found;
}

bool idmap_range_possible(uint32_t base) {
    const uint32_t need = (1u << CAP_SYS_ADMIN) | (1u << CAP_SETUID) | (1u << CAP_SETGID);
    if (geteuid() != 0 || base == 0 || base > INT32_MAX - SANDBOX_IDS || !have_caps(need))
        return false;
    return mapped_here("/proc/self/uid_map", base) && mapped_here("/proc/self/gid_map", base);
}

bool idmap_is_machine_root(void) {
    struct stat st; /* root's, whatever namespace it is looked at from */
    return stat("/proc/sys", &st) < 0 ? geteuid() == 0 : st.st_uid == geteuid();
}

int idmap_write_range(pid_t pid, uint32_t base) {
    char path[64], line[64];
    int n = snprintf(line, sizeof(line), "0 %u %u\n", base, SANDBOX_IDS);
    (void)snprintf(path, sizeof(path), "/proc/%d/uid_map", (int)pid);
    int r = file_write(AT_FDCWD, path, line, (size_t)n);
    if (r < 0)
        return r;
    (void)snprintf(path, sizeof(path), "/proc/%d/gid_map", (int)pid);
    return file_write(AT_FDCWD, path, line, (size_t)n);
}

/* In a child that is still in the old namespaces: those who move out may map only themselves. */
static NORETURN void map_parent(int go) {
    static const char line[] = "0 0 65536\n";
    char c, path[64];
    if (read(go, &c, 1) != 1)
        _exit(1);
    (void)snprintf(path, sizeof(path), "/proc/%d/uid_map", (int)getppid());
    if (file_write(AT_FDCWD, path, line, sizeof(line) - 1) < 0)
        _exit(1);
    (void)snprintf(path, sizeof(path), "/proc/%d/gid_map", (int)getppid());
    _exit(file_write(AT_FDCWD, path, line, sizeof(line) - 1) < 0 ? 1 : 0);
}

int idmap_unshare_range(void) {
    int go[2], status = 0;
    if (pipe2(go, O_CLOEXEC) < 0)
        return -errno;
    cleanup_close int in = go[0], out = go[1];
    pid_t helper = fork();
    if (helper < 0)
        return -errno;
    if (helper == 0) {
        fd_close(&out);
        map_parent(in);
    }
    int r = unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0 ? -errno : 0;
    if (r == 0)
        r = prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0 ? -errno : 0;
    if (r == 0 && write(out, "g", 1) != 1)
        r = -EPIPE;
    fd_close(&out); /* the helper ends without the letter, too */
    while (waitpid(helper, &status, 0) < 0 && errno == EINTR)
        ;
    return r < 0 ? r : status ? -EPERM : 0;
}

int idmap_write_self(uint32_t inside, uint32_t outside_uid, uint32_t outside_gid) {
    char line[64];
    /* Without CAP_SETGID outside, the kernel demands that setgroups(2) be off first. */
    int r = file_write(AT_FDCWD, "/proc/self/setgroups", "deny", 4);
    if (r < 0)
        return r;
    int n = snprintf(line, sizeof(line), "%u %u 1\n", inside, outside_uid);
    r = file_write(AT_FDCWD, "/proc/self/uid_map", line, (size_t)n);
    if (r < 0)
        return r;
    n = snprintf(line, sizeof(line), "%u %u 1\n", inside, outside_gid);
    return file_write(AT_FDCWD, "/proc/self/gid_map", line, (size_t)n);
}
