/* SPDX-License-Identifier: Apache-2.0 */
/* A folder as a ustar archive (POSIX.1-1988 pax, "ustar Interchange Format"): 512-byte headers,
 * contents padded to 512, two empty blocks at the end. Own code, since this is all that is needed
 * of the format. */

#include "cli/cli.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#define BLOCK     512
#define DEPTH_MAX 16

struct header {
    char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], sum[8], type, link[100], magic[6],
        version[2], user[32], group[32], major[8], minor[8], prefix[155], pad[12];
};
_Static_assert(sizeof(struct header) == BLOCK, "a ustar header is one block");

static int too_large(const char *path, struct error *err) {
    return error_set(err, ERR_TOO_LARGE, "%s is larger than the limit of %zu MiB", path,
                     CLI_CODE_MAX / MIB);
}

static int read_file(const char *path, struct buf *out, struct error *err) {
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set(err, ERR_INVALID, "cannot read %s: %s", path, errno_text(errno));
    for (;;) {
        char part[65536];
        ssize_t n = read(fd, part, sizeof part);
        if (n == 0)
            return 0;
        if (n < 0)
            return error_set(err, ERR_INVALID, "cannot read %s: %s", path, errno_text(errno));
        if (buf_put(out, part, (size_t)n) < 0)
            return too_large(path, err);
    }
}

static void octal(char *field, size_t size, uint64_t v) {
    snprintf(field, size, "%0*llo", (int)size - 1, (unsigned long long)v);
}

static int put_header(struct buf *out, const char *name, size_t size, struct error *err) {
    struct header h = {.type = '0', .magic = "ustar", .version = {'0', '0'}};
    size_t len = strlen(name);
    if (len >= sizeof h.name) {
        const char *cut = name + len - sizeof h.name;
        cut = strchr(cut, '/');
        if (!cut || (size_t)(cut - name) > sizeof h.prefix)
            return error_set(err, ERR_INVALID, "the path %s is too long to be packed", name);
        memcpy(h.prefix, name, (size_t)(cut - name));
        name = cut + 1;
    }
    memcpy(h.name, name, strlen(name));
    octal(h.mode, sizeof h.mode, 0644);
    octal(h.uid, sizeof h.uid, 0);
    octal(h.gid, sizeof h.gid, 0);
    octal(h.size, sizeof h.size, size);
    octal(h.mtime, sizeof h.mtime, 0);
    memset(h.sum, ' ', sizeof h.sum);
    unsigned sum = 0;
    for (size_t i = 0; i < sizeof h; i++)
        sum += ((unsigned char *)&h)[i];
    snprintf(h.sum, sizeof h.sum, "%06o", sum);
    return buf_put(out, &h, sizeof h);
}

static int put_file(struct buf *out, const char *path, const char *name, struct error *err) {
    cleanup_buf struct buf content = BUF_INIT(CLI_CODE_MAX);
    if (read_file(path, &content, err) < 0)
        return -1;
    static const char zeros[BLOCK];
    size_t pad = (BLOCK - content.len % BLOCK) % BLOCK;
    int r = put_header(out, name, content.len, err);
    if (r == -1)
        return -1;
    if (r < 0 || buf_put_str(out, buf_str(&content)) < 0 || buf_put(out, zeros, pad) < 0)
        return too_large(path, err);
    return 0;
}

static int wanted(const struct dirent *d) {
    return d->d_name[0] != '.' && strcmp(d->d_name, "__pycache__") != 0;
}

static int put_folder(struct buf *out, const char *path, const char *prefix, int depth,
                      struct error *err) {
    struct dirent **names;
    int n = scandir(path, &names, wanted, alphasort);
    if (n < 0 || depth > DEPTH_MAX)
        return error_set(err, ERR_INVALID, "cannot read the folder %s: %s", path,
                         n < 0 ? errno_text(errno) : "it is nested too deep");
    int r = 0;
    for (int i = 0; i < n; i++) {
        cleanup_free char *full = x_asprintf("%s/%s", path, names[i]->d_name);
        cleanup_free char *name =
            x_asprintf("%s%s%s", prefix, *prefix ? "/" : "", names[i]->d_name);
        struct stat st;
        if (r == 0 && stat(full, &st) == 0) {
            if (S_ISDIR(st.st_mode))
                r = put_folder(out, full, name, depth + 1, err);
            else if (S_ISREG(st.st_mode))
                r = put_file(out, full, name, err);
        }
        free(names[i]);
    }
    free(names);
    return r;
}

int archive_read(const char *path, bool *ret_folder, struct buf *out, struct error *err) {
    struct stat st;
    if (stat(path, &st) < 0)
        return error_set(err, ERR_INVALID, "cannot read %s: %s", path, errno_text(errno));
    *ret_folder = S_ISDIR(st.st_mode);
    if (!*ret_folder)
        return read_file(path, out, err);
    if (put_folder(out, path, "", 0, err) < 0)
        return -1;
    if (out->len == 0)
        return error_set(err, ERR_INVALID, "the folder %s holds no files", path);
    static const char end[2 * BLOCK];
    return buf_put(out, end, sizeof end) < 0 ? too_large(path, err) : 0;
}
