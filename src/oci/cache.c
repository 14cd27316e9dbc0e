/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/internal.h"

/* The folder of images: what is there, how much it is, and what goes when it is too much. */

#include "base/clock.h"
#include "base/log.h"
#include "model/model.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>

#define TEMP_PREFIX ".tmp-"

/* ---- files ---- */

int file_read_all(const char *path, size_t max, struct buf *out) {
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return -errno;
    out->max = max;
    for (;;) {
        int r = buf_reserve(out, 64 * KIB < max - out->len ? 64 * KIB : max - out->len);
        if (r < 0)
            return r;
        ssize_t n = read(fd, out->p + out->len, out->cap - out->len);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n == 0)
            return 0;
        out->len += n > 0 ? (size_t)n : 0;
        if (out->len >= max)
            return -EMSGSIZE;
    }
}

int file_write_all(const char *path, struct str text, unsigned mode) {
    cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0)
        return -errno;
    while (text.len) {
        ssize_t n = write(fd, text.p, text.len);
        if (n < 0 && errno != EINTR)
            return -errno;
        text = n > 0 ? str_n(text.p + n, text.len - (size_t)n) : text;
    }
    return 0;
}

static char *path_of(const struct oci *o, const char *digest, const char *file) {
    return x_asprintf("%s/%s%s%s", o->dir, digest + 7, file ? "/" : "", file ? file : "");
}

char *cache_temp(struct oci *o) {
    pthread_mutex_lock(&o->lock);
    unsigned long n = o->next++;
    pthread_mutex_unlock(&o->lock);
    return x_asprintf("%s/" TEMP_PREFIX "%d-%lu", o->dir, (int)getpid(), n);
}

/* ---- the table ---- */

static struct cached_image *find_locked(struct oci *o, const char *digest) {
    list_for_each (it, &o->images) {
        struct cached_image *c = list_entry(it, struct cached_image, link);
        if (strcmp(c->digest, digest) == 0)
            return c;
    }
    return NULL;
}

static void add_locked(struct oci *o, const char *digest, uint64_t bytes, uint64_t used_ns) {
    struct cached_image *c = x_alloc(sizeof *c);
    (void)snprintf(c->digest, sizeof c->digest, "%s", digest);
    c->bytes = bytes;
    c->used_ns = used_ns;
    list_unshift(&o->images, &c->link);
}

static void touch_locked(struct oci *o, struct cached_image *c) {
    c->used_ns = clock_mono_ns();
    list_del(&c->link);
    list_unshift(&o->images, &c->link);
}

bool oci_has(struct oci *o, const char *digest) {
    pthread_mutex_lock(&o->lock);
    struct cached_image *c = find_locked(o, digest);
    if (c)
        touch_locked(o, c);
    pthread_mutex_unlock(&o->lock);
    return c != NULL;
}

/* ---- at start ---- */

/* A folder that is one of ours: 64 hex digits, with a size. The size stands before the spec. */
static bool learn(struct oci *o, const char *name) {
    char digest[IMAGE_DIGEST_LEN + 1];
    cleanup_buf struct buf text = BUF_INIT(64);
    uint64_t bytes;
    if (strlen(name) != IMAGE_DIGEST_HEX_LEN)
        return false;
    (void)snprintf(digest, sizeof digest, "sha256:%s", name);
    cleanup_free char *path = path_of(o, digest, "size");
    if (!image_digest_check(str_of(digest)) || file_read_all(path, 64, &text) < 0 ||
        str_u64(buf_str(&text), INT64_MAX, &bytes) < 0)
        return false;
    add_locked(o, digest, bytes, 0);
    o->bytes += bytes;
    return true;
}

static int scan(struct oci *o, struct error *err) {
    DIR *d = opendir(o->dir);
    if (!d)
        return error_errno(err, -errno, o->dir);
    for (struct dirent *e; (e = readdir(d));) { /* NOLINT(concurrency-mt-unsafe): our own DIR */
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || learn(o, e->d_name) ||
            strncmp(e->d_name, TEMP_PREFIX, sizeof TEMP_PREFIX - 1) != 0)
            continue;
        cleanup_free char *path = x_asprintf("%s/%s", o->dir, e->d_name);
        remove_tree(path);
    }
    (void)closedir(d);
    return 0;
}

int cache_open(struct oci *o, struct error *err) {
    /* 0755: instances look up their image here with ids of their own; the data folder above is
     * closed to everybody else. */
    if (mkdir(o->dir, 0755) < 0 && errno != EEXIST)
        return error_errno(err, -errno, o->dir);
    (void)chmod(o->dir, 0755);
    if (scan(o, err) < 0)
        return -1;
    o->no_auth_file = x_asprintf("%s/.no-auth.json", o->dir);
    int r = file_write_all(o->no_auth_file, STR("{}\n"), 0600);
    return r < 0 ? error_errno(err, r, o->no_auth_file) : 0;
}

void cache_close(struct oci *o) {
    for (struct list *node; (node = list_shift(&o->images));)
        free(list_entry(node, struct cached_image, link));
}

/* ---- room ---- */

static bool is_kept(const struct cached_image *c, const struct oci_pull *p) {
    if (c->used_ns && clock_mono_ns() - c->used_ns < OCI_KEEP_MS * NS_PER_MS)
        return true;
    for (size_t i = 0; i < p->n_keep; i++)
        if (strcmp(p->keep[i], c->digest) == 0)
            return true;
    return false;
}

/* Moved aside, so that nobody finds it any more; NULL where an instance holds it. */
static char *move_away(struct oci *o, const char *digest) {
    cleanup_free char *path = path_of(o, digest, NULL);
    cleanup_close int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0)
        return NULL;
    char *temp = x_asprintf("%s/" TEMP_PREFIX "%d-%lu", o->dir, (int)getpid(), o->next++);
    if (rename(path, temp) < 0) {
        free(temp);
        return NULL;
    }
    return temp;
}

/* The one that was used longest ago and may go; its folder's new path, for remove_tree(). */
static char *evict_one_locked(struct oci *o, const struct oci_pull *p) {
    for (struct list *it = o->images.prev, *prev; it != &o->images; it = prev) {
        struct cached_image *c = list_entry(it, struct cached_image, link);
        prev = it->prev;
        char *path = is_kept(c, p) ? NULL : move_away(o, c->digest);
        if (!path)
            continue;
        log_info("image taken from the cache", LOG_STR("digest", c->digest),
                 LOG_INT("bytes", c->bytes));
        o->bytes -= c->bytes;
        list_del(&c->link);
        free(c);
        return path;
    }
    return NULL;
}

int cache_reserve(struct oci *o, uint64_t bytes, const struct oci_pull *p, struct error *err) {
    int r = 0;
    pthread_mutex_lock(&o->lock);
    while (r == 0 && o->bytes + bytes > o->cache_max) {
        char *gone = evict_one_locked(o, p);
        if (!gone) {
            r = error_field(err, ERR_TOO_LARGE, "image",
                            "the cache of images has no room for %llu MiB more: of %llu MiB "
                            "(setting image-cache-max) %llu MiB are in use",
                            (unsigned long long)((bytes + MIB - 1) / MIB),
                            (unsigned long long)(o->cache_max / MIB),
                            (unsigned long long)(o->bytes / MIB));
            break;
        }
        pthread_mutex_unlock(&o->lock);
        remove_tree(gone);
        free(gone);
        pthread_mutex_lock(&o->lock);
    }
    if (r == 0)
        o->bytes += bytes;
    pthread_mutex_unlock(&o->lock);
    return r;
}

void cache_unreserve(struct oci *o, uint64_t bytes) {
    pthread_mutex_lock(&o->lock);
    o->bytes -= bytes;
    pthread_mutex_unlock(&o->lock);
}

int cache_put(struct oci *o, const char *path, const char *digest, uint64_t bytes,
              struct error *err) {
    cleanup_free char *to = path_of(o, digest, NULL);
    cleanup_close int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || syncfs(fd) < 0) /* its name must not outlast its contents */
        return error_errno(err, -errno, "cannot write the image");
    remove_tree(to); /* of a folder that is none of ours: without a size */
    if (rename(path, to) < 0)
        return error_errno(err, -errno, "cannot put the image into the cache");
    pthread_mutex_lock(&o->lock);
    add_locked(o, digest, bytes, clock_mono_ns());
    pthread_mutex_unlock(&o->lock);
    return 0;
}

int cache_spec(struct oci *o, const char *digest, struct blob **ret, struct error *err) {
    cleanup_free char *path = path_of(o, digest, "spec");
    cleanup_buf struct buf text = BUF_INIT(OCI_MANIFEST_MAX);
    int r = file_read_all(path, OCI_MANIFEST_MAX, &text);
    if (r < 0)
        return error_errno(err, r, "cannot read the image's description");
    *ret = blob_new(buf_str(&text));
    return 0;
}
