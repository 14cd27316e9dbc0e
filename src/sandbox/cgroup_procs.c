/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/cgroup_internal.h"

/* Emptying and removing groups. */

#include "sandbox/sandbox.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>

/* NOLINTBEGIN(concurrency-mt-unsafe): readdir(3) on a stream of its own is safe in glibc */

/* Version 1 has no event for "the last process is gone", so removal asks again after a pause. */
#define REMOVE_ROUNDS   200
#define REMOVE_PAUSE_NS (1 * NS_PER_MS)

int procs_kill_round(int dir, const char *path) {
    char file[2 * CGROUP_NAME_MAX + 32];
    (void)snprintf(file, sizeof(file), "%s/cgroup.procs", path);
    int fd = openat(dir, file, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    FILE *f = fdopen(fd, "r");
    if (!f) {
        (void)close(fd);
        return -ENOMEM;
    }
    int listed = 0;
    char line[32];
    while (fgets(line, sizeof(line), f)) {
        pid_t pid = (pid_t)strtol(line, NULL, 10);
        if (pid <= 1 || pid == getpid()) /* 0: of another pid namespace */
            continue;
        listed++;
        (void)kill(pid, SIGKILL);
    }
    (void)fclose(f);
    return listed;
}

int procs_move_self(int dir, const char *path) {
    char file[2 * CGROUP_NAME_MAX + 32];
    (void)snprintf(file, sizeof(file), "%s/cgroup.procs", path);
    return file_write(dir, file, "0", 1);
}

int procs_remove_leaf(int dir, const char *path) {
    for (int round = 0; round < REMOVE_ROUNDS; round++) {
        if (unlinkat(dir, path, AT_REMOVEDIR) == 0 || errno == ENOENT)
            return 0;
        if (errno != EBUSY)
            return -errno;
        (void)procs_kill_round(dir, path);
        (void)nanosleep(&(struct timespec){.tv_nsec = REMOVE_PAUSE_NS}, NULL);
    }
    return -EBUSY;
}

int procs_remove_tree(int dir, const char *path) {
    cleanup_close int fd = openat(dir, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    DIR *d = copy >= 0 ? fdopendir(copy) : NULL;
    if (!d) {
        if (copy >= 0)
            (void)close(copy);
        return -ENOMEM;
    }
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_type == DT_DIR && e->d_name[0] != '.')
            (void)procs_kill_round(fd, e->d_name); /* all first: they end side by side */
    rewinddir(d);
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_type == DT_DIR && e->d_name[0] != '.')
            (void)procs_remove_leaf(fd, e->d_name);
    (void)closedir(d);
    return procs_remove_leaf(dir, path);
}
/* NOLINTEND(concurrency-mt-unsafe) */
