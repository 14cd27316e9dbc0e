/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

int file_write(int dir, const char *path, const void *p, size_t len) {
    cleanup_close int fd = openat(dir, path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return -errno;
    ssize_t n = write(fd, p, len);
    if (n < 0)
        return -errno;
    return (size_t)n == len ? 0 : -EIO;
}

static int write_all(int fd, const char *p, size_t len) {
    while (len > 0) {
        ssize_t n = write(fd, p, len);
        if (n < 0)
            return -errno;
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

int file_create(int dir, const char *path, const char *text) {
    cleanup_close int fd = openat(dir, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0)
        return -errno;
    return write_all(fd, text, strlen(text));
}

int file_read(int dir, const char *path, char *p, size_t size) {
    cleanup_close int fd = openat(dir, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return -errno;
    size_t len = 0;
    while (len < size - 1) {
        ssize_t n = read(fd, p + len, size - 1 - len);
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        len += (size_t)n;
    }
    p[len] = '\0';
    return (int)len;
}

int file_copy(int from_dir, const char *from, int to_dir, const char *to, size_t max) {
    cleanup_close int in = openat(from_dir, from, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (in < 0)
        return -errno;
    struct stat st;
    if (fstat(in, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -EINVAL;
    if ((uint64_t)st.st_size > max)
        return -EFBIG;
    cleanup_close int out =
        openat(to_dir, to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, (st.st_mode & 0755) | 0444);
    if (out < 0)
        return -errno;
    char block[16384];
    for (size_t done = 0; done <= max;) {
        ssize_t n = read(in, block, sizeof(block));
        if (n <= 0)
            return n < 0 ? -errno : 0;
        int r = write_all(out, block, (size_t)n);
        if (r < 0)
            return r;
        done += (size_t)n;
    }
    return -EFBIG;
}
