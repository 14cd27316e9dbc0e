/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/sandbox.h"

/* user_namespaces(7): who may write which id map. */

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>

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
