/* SPDX-License-Identifier: Apache-2.0 */
/* Folders and files of tasks: for worker threads. */

#include "task/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#define REMOVE_DEPTH_MAX 16u

char *task_path(const struct builder *t, const char *id, const char *name) {
    return x_asprintf("%s/%s%s%s", t->artifacts, id, name ? "/" : "", name ? name : "");
}

char *task_object_key(const char *ws, const char *id, const char *name) {
    return x_asprintf("tasks/%s/%s/%s", ws, id, name);
}

int task_make_folder(const struct builder *t, const char *id, struct error *err) {
    cleanup_free char *path = task_path(t, id, NULL);
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return error_errno(err, -errno, "the task's folder could not be made");
    return 0;
}

/* What killed programs left is in there too. Links are removed, never followed. */
static void remove_at(int at, const char *name, unsigned depth) {
    if (unlinkat(at, name, 0) == 0 || depth == REMOVE_DEPTH_MAX)
        return;
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        fd_close(&fd);
        return;
    }
    for (struct dirent *e; (e = readdir(dir));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            remove_at(dirfd(dir), e->d_name, depth + 1);
    (void)closedir(dir);
    (void)unlinkat(at, name, AT_REMOVEDIR);
}

void task_remove(const char *path) {
    remove_at(AT_FDCWD, path, 0);
}

void task_remove_folder(const struct builder *t, const char *id) {
    cleanup_free char *path = task_path(t, id, NULL);
    task_remove(path);
}

static int write_all(int fd, struct str bytes) {
    while (bytes.len) {
        ssize_t n = write(fd, bytes.p, bytes.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        bytes = str_n(bytes.p + n, bytes.len - (size_t)n);
    }
    return fsync(fd) < 0 ? -errno : 0;
}

int task_write_file(const char *path, struct str bytes, struct error *err) {
    cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    int r = fd < 0 ? -errno : write_all(fd, bytes);
    if (r == 0)
        return 0;
    (void)unlink(path);
    return error_errno(err, r, "a file of the task could not be written");
}

int task_read_file(const char *path, size_t max, struct buf *out, struct error *err) {
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return error_errno(err, -errno, "a file of the task could not be opened");
    buf_init(out, max);
    for (;;) {
        int r = buf_reserve(out, out->max - out->len < 64 * KIB ? out->max - out->len : 64 * KIB);
        ssize_t n = r < 0 ? r : read(fd, out->p + out->len, out->cap - out->len);
        if (n < 0 && r == 0 && errno == EINTR)
            continue;
        if (n < 0) {
            r = r < 0 ? r : -errno;
            buf_done(out);
            return error_errno(err, r, "a file of the task could not be read");
        }
        if (n == 0)
            return 0;
        out->len += (size_t)n;
    }
}
