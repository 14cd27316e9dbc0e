/* SPDX-License-Identifier: Apache-2.0 */
#include "server/paths.h"
#include "base/str.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

static int find_lib(struct paths *p, struct error *err) {
    char exe[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n < 0)
        return error_errno(err, -errno, "cannot read /proc/self/exe (is /proc mounted?)");
    exe[n] = 0;
    char *slash = strrchr(exe, '/');
    if (slash)
        *slash = 0;
    p->lib = x_strdup(exe);
    /* Beside us in a build folder; after an installation in <prefix>/<libdir>/kiln and share/. */
    p->runtimes = x_asprintf("%s/runtimes", exe);
    p->web = x_asprintf("%s/web", exe);
    if (access(p->runtimes, R_OK | X_OK) == 0)
        return 0;
    free(p->web);
    p->web = x_asprintf("%s/../" KILN_DATADIR "/kiln/web", exe);
    cleanup_free char *beside = p->runtimes;
    p->runtimes = x_asprintf("%s/../" KILN_LIBDIR "/kiln", exe);
    if (access(p->runtimes, R_OK | X_OK) == 0)
        return 0;
    return error_set(err, ERR_INTERNAL,
                     "there is neither a folder %s nor %s: build or install kiln again", beside,
                     p->runtimes);
}

char *paths_web(void) {
    struct paths p = {0};
    struct error ignored;
    char *web = NULL;
    if (find_lib(&p, &ignored) == 0)
        web = TAKE_PTR(p.web);
    paths_done(&p);
    return web;
}

static int make_folders(const char *path, struct error *err) {
    cleanup_free char *copy = x_strdup(path);
    for (char *c = copy + 1;; c++) {
        if (*c && *c != '/')
            continue;
        char kept = *c;
        *c = 0;
        if (mkdir(copy, 0700) < 0 && errno != EEXIST)
            return error_set(err, ERR_INVALID, "cannot make the data folder %s: %s", copy,
                             errno_text(errno));
        *c = kept;
        if (!kept)
            return 0;
    }
}

/* FNV-1a: not for safety, but the same for the same folder every time. */
static void name_of(const char *path, char id[16]) {
    uint64_t h = 0xcbf29ce484222325ull;
    for (const char *c = path; *c; c++)
        h = (h ^ (unsigned char)*c) * 0x100000001b3ull;
    snprintf(id, 16, "%012llx", (unsigned long long)(h & 0xffffffffffffull));
}

int paths_find(struct paths *p, const char *data, struct error *err) {
    *p = (struct paths){0};
    if (find_lib(p, err) < 0)
        return -1;
    if (!*data)
        return error_field(err, ERR_INVALID, "data", "--data wants the path of a folder");
    if (make_folders(data, err) < 0)
        return -1;
    p->data = realpath(data, NULL);
    struct stat st;
    if (!p->data || stat(p->data, &st) < 0 || !S_ISDIR(st.st_mode))
        return error_set(err, ERR_INVALID, "--data %s is not a folder", data);
    if (access(p->data, R_OK | W_OK | X_OK) < 0)
        return error_set(err, ERR_INVALID, "the data folder %s cannot be written: %s", p->data,
                         errno_text(errno));
    p->images = x_asprintf("%s/images", p->data);
    name_of(p->data, p->id);
    return 0;
}

void paths_done(struct paths *p) {
    free(p->lib);
    free(p->runtimes);
    free(p->web);
    free(p->data);
    free(p->images);
}
