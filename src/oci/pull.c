/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/internal.h"

/* From a reference to a folder in the cache. */

#include "base/clock.h"
#include "model/model.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

static void say(const struct oci_pull *p, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void say(const struct oci_pull *p, const char *fmt, ...) {
    if (!p->log)
        return;
    char line[1024];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    (void)buf_puts(p->log, line);
    (void)buf_putc(p->log, '\n');
}

/* ---- new and free ---- */

static int check_auth_file(const char *path, struct error *err) {
    struct stat st;
    if (stat(path, &st) < 0)
        return error_field(err, ERR_INVALID, "registry-auth", "registry-auth: %s: %s", path,
                           errno_text(errno));
    if (!S_ISREG(st.st_mode) || (st.st_mode & 077))
        return error_field(err, ERR_INVALID, "registry-auth",
                           "registry-auth: %s holds secrets and others may read it: chmod 600 it",
                           path);
    return 0;
}

int oci_new(const struct oci_config *config, struct oci **ret, struct error *err) {
    if (config->auth_file && check_auth_file(config->auth_file, err) < 0)
        return -1;
    struct oci *o = x_alloc(sizeof *o);
    o->dir = x_strdup(config->dir);
    o->lib_dir = x_strdup(config->lib_dir);
    o->auth_file = config->auth_file ? x_strdup(config->auth_file) : NULL;
    o->registries = config->registries ? x_strdup(config->registries) : NULL;
    o->uid_base = config->uid_base;
    o->image_max = config->image_max;
    o->cache_max = config->cache_max;
    pthread_mutex_init(&o->lock, NULL);
    pthread_cond_init(&o->pulled, NULL);
    list_init(&o->images);
    list_init(&o->pulls);
    if (cache_open(o, err) < 0) {
        oci_free(o);
        return -1;
    }
    *ret = o;
    return 0;
}

void oci_free(struct oci *o) {
    if (!o)
        return;
    cache_close(o);
    pthread_cond_destroy(&o->pulled);
    pthread_mutex_destroy(&o->lock);
    free(o->dir);
    free(o->lib_dir);
    free(o->auth_file);
    free(o->registries);
    free(o->no_auth_file);
    free(o);
}

/* ---- resolve ---- */

/* The manifest for this machine; F->ref then has its digest. */
static int resolve(struct fetch *f, struct manifest *m, struct error *err) {
    for (int depth = 0; depth < 2; depth++) {
        cleanup_buf struct buf raw = BUF_INIT(OCI_MANIFEST_MAX);
        char digest[IMAGE_DIGEST_LEN + 1];
        if (skopeo_manifest(f, &raw, err) < 0 || manifest_parse(buf_str(&raw), m, err) < 0)
            return -1;
        digest_of(buf_str(&raw), digest);
        if (f->ref.digest[0] && strcmp(f->ref.digest, digest) != 0)
            return error_field(err, ERR_INVALID, "image",
                               "the registry answers with another image than %s", f->ref.digest);
        memcpy(f->ref.digest, digest, sizeof digest);
        if (!m->is_index)
            return 0;
        memcpy(f->ref.digest, m->child, sizeof m->child);
    }
    return error_field(err, ERR_INVALID, "image", "the image's index names another index");
}

static int check_size(const struct fetch *f, const struct manifest *m, struct error *err) {
    if (m->bytes <= f->o->image_max)
        return 0;
    return error_field(err, ERR_TOO_LARGE, "image",
                       "the image has %llu MiB, at most %llu MiB are taken (setting image-max)",
                       (unsigned long long)(m->bytes / MIB),
                       (unsigned long long)(f->o->image_max / MIB));
}

/* ---- one at a time of each ---- */

/* True when it is ours to pull; false when another thread has just done so, or tried. */
static bool begin(struct oci *o, struct pulling *mine) {
    bool waited = false;
    pthread_mutex_lock(&o->lock);
    for (;;) {
        bool other = false;
        list_for_each (it, &o->pulls)
            other |= strcmp(list_entry(it, struct pulling, link)->digest, mine->digest) == 0;
        if (!other)
            break;
        waited = true;
        pthread_cond_wait(&o->pulled, &o->lock);
    }
    list_push(&o->pulls, &mine->link);
    pthread_mutex_unlock(&o->lock);
    return !waited;
}

static void end(struct oci *o, struct pulling *mine) {
    pthread_mutex_lock(&o->lock);
    list_del(&mine->link);
    pthread_cond_broadcast(&o->pulled);
    pthread_mutex_unlock(&o->lock);
}

/* ---- fetch and unpack ---- */

static int measure(const char *layout, const struct manifest *m, struct layers *l,
                   struct error *err) {
    for (size_t i = 0; i < m->n_layers; i++) {
        cleanup_free char *path = x_asprintf("%s/blobs/sha256/%s", layout, m->layers[i].digest + 7);
        cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
            return error_errno(err, -errno, "a layer of the image is missing");
        if (layer_measure(fd, m->layers[i].gzip, l, err) < 0)
            return -1;
    }
    return 0;
}

/* What containers find their mounts on, where the image lacks it: with a read-only root crun cannot
 * make them. Without following anything that the image may have put there. */
static void mount_points(const struct oci *o, const char *rootfs) {
    static const char *const dirs[] = {"proc", "dev", "tmp", "etc"};
    static const char *const files[] = {"hosts", "hostname", "resolv.conf"};
    cleanup_close int root = open(rootfs, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    for (size_t i = 0; root >= 0 && i < ARRAY_LEN(dirs); i++)
        if (mkdirat(root, dirs[i], 0755) == 0 && o->uid_base)
            (void)!fchownat(root, dirs[i], o->uid_base, o->uid_base, AT_SYMLINK_NOFOLLOW);
    cleanup_close int etc =
        root < 0 ? -1 : openat(root, "etc", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    for (size_t i = 0; etc >= 0 && i < ARRAY_LEN(files); i++) {
        cleanup_close int fd =
            openat(etc, files[i], O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
        if (fd >= 0 && o->uid_base)
            (void)!fchown(fd, o->uid_base, o->uid_base);
    }
}

/* The layout that skopeo wrote: its own manifest names the config (and keeps the layers). */
static int read_layout(const char *layout, struct manifest *m, struct buf *config,
                       struct error *err) {
    cleanup_buf struct buf index = BUF_INIT(OCI_MANIFEST_MAX),
                           manifest = BUF_INIT(OCI_MANIFEST_MAX);
    cleanup_free char *index_path = x_asprintf("%s/index.json", layout);
    int r = file_read_all(index_path, OCI_MANIFEST_MAX, &index);
    /* {"manifests":[{"digest":"sha256:…"}]}: one, without a platform */
    const char *at = r == 0 ? memmem(index.p, index.len, "\"digest\":\"sha256:", 17) : NULL;
    if (!at || index.len - (size_t)(at - index.p) < 17 + IMAGE_DIGEST_HEX_LEN)
        return error_set(err, ERR_INTERNAL, "skopeo left no index");
    cleanup_free char *manifest_path = x_asprintf("%s/blobs/sha256/%.64s", layout, at + 17);
    r = file_read_all(manifest_path, OCI_MANIFEST_MAX, &manifest);
    if (r < 0)
        return error_errno(err, r, "skopeo left no manifest");
    if (manifest_parse(buf_str(&manifest), m, err) < 0)
        return -1;
    cleanup_free char *config_path = x_asprintf("%s/blobs/sha256/%s", layout, m->config + 7);
    r = file_read_all(config_path, OCI_MANIFEST_MAX, config);
    return r < 0 ? error_errno(err, r, "the image's config cannot be read") : 0;
}

static int write_parts(const char *temp, struct str spec, uint64_t bytes, struct error *err) {
    cleanup_free char *spec_path = x_asprintf("%s/spec", temp);
    cleanup_free char *size_path = x_asprintf("%s/size", temp);
    char text[24];
    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)bytes);
    int r = file_write_all(spec_path, spec, 0600);
    if (r == 0)
        r = file_write_all(size_path, str_of(text), 0600);
    return r < 0 ? error_errno(err, r, "cannot write the image") : 0;
}

/* TEMP/layout, TEMP/bundle/rootfs → TEMP/rootfs, spec, size. */
static int arrange(struct fetch *f, const char *temp, uint64_t *bytes, struct error *err) {
    cleanup_free char *layout = x_asprintf("%s/layout", temp);
    cleanup_free char *bundle = x_asprintf("%s/bundle", temp);
    cleanup_free char *unpacked = x_asprintf("%s/bundle/rootfs", temp);
    cleanup_free char *rootfs = x_asprintf("%s/rootfs", temp);
    cleanup_free char *runtime_path = x_asprintf("%s/bundle/config.json", temp);
    cleanup_free struct manifest *m = x_alloc(sizeof *m);
    cleanup_buf struct buf config = BUF_INIT(OCI_MANIFEST_MAX),
                           runtime = BUF_INIT(OCI_MANIFEST_MAX), spec = BUF_INIT(OCI_MANIFEST_MAX);
    struct layers sum = {.bytes_max = f->o->image_max};
    if (skopeo_copy(f, layout, err) < 0 || read_layout(layout, m, &config, err) < 0 ||
        measure(layout, m, &sum, err) < 0 || cache_reserve(f->o, sum.bytes, f->pull, err) < 0)
        return -1;
    *bytes = sum.bytes;
    say(f->pull, "unpacked: %llu KiB, %llu entries", (unsigned long long)(sum.bytes / KIB),
        (unsigned long long)sum.files);
    if (umoci_unpack(f, temp, err) < 0)
        return -1;
    int r = file_read_all(runtime_path, OCI_MANIFEST_MAX, &runtime);
    if (r < 0)
        return error_errno(err, r, "umoci left no config");
    if (spec_make(buf_str(&config), buf_str(&runtime), f->ref.digest, &spec, err) < 0)
        return -1;
    if (rename(unpacked, rootfs) < 0)
        return error_errno(err, -errno, "cannot arrange the image");
    mount_points(f->o, rootfs);
    remove_tree(layout);
    remove_tree(bundle);
    return write_parts(temp, buf_str(&spec), sum.bytes, err);
}

static int fetch(struct fetch *f, struct error *err) {
    cleanup_free char *temp = cache_temp(f->o);
    uint64_t bytes = 0;
    if (mkdir(temp, 0700) < 0)
        return error_errno(err, -errno, "cannot make a folder for the image");
    int r = arrange(f, temp, &bytes, err);
    /* while it was unpacked the folder was of who did that */
    if (r == 0 && f->o->uid_base && chown(temp, geteuid(), getegid()) < 0)
        r = error_errno(err, -errno, "cannot take the image's folder back");
    if (r == 0 && chmod(temp, 0755) < 0)
        r = error_errno(err, -errno, "cannot open the image's folder to its users");
    if (r == 0)
        r = cache_put(f->o, temp, f->ref.digest, bytes, err);
    if (r < 0) {
        cache_unreserve(f->o, bytes);
        remove_tree(temp);
    }
    return r;
}

static int fetch_once(struct fetch *f, struct error *err) {
    struct pulling mine = {.digest = f->ref.digest};
    (void)begin(f->o, &mine);
    int r = 0;
    if (oci_has(f->o, f->ref.digest))
        say(f->pull, "it is in the cache");
    else
        r = fetch(f, err);
    end(f->o, &mine);
    return r;
}

static int result(struct fetch *f, struct oci_image *ret, struct error *err) {
    cleanup_buf struct buf text = BUF_INIT(4 * KIB);
    if (cache_spec(f->o, f->ref.digest, &ret->spec, err) < 0)
        return -1;
    memcpy(ret->digest, f->ref.digest, sizeof ret->digest);
    if (spec_describe(str_n(ret->spec->bytes, ret->spec->len), &text) == 0)
        say(f->pull, "runs %s", buf_cstr(&text));
    return 0;
}

int oci_pull(struct oci *o, const struct oci_pull *p, struct oci_image *ret, struct error *err) {
    struct fetch f = {.o = o, .pull = p};
    char text[IMAGE_REF_TEXT_MAX], why[OCI_WHY_MAX];
    if (image_ref_parse(str_of(p->image), &f.ref, err) < 0)
        return -1;
    if (p->digest)
        (void)snprintf(f.ref.digest, sizeof f.ref.digest, "%s", p->digest);
    if (p->digest && oci_has(o, p->digest))
        return result(&f, ret, err);
    if (image_ref_allowed(&f.ref, o->registries, err) < 0)
        return -1;
    if (!oci_available(why))
        return error_field(err, ERR_UNAVAILABLE, "image", "%s", why);
    say(p, "image %s", image_ref_text(&f.ref, text));
    cleanup_free struct manifest *m = x_alloc(sizeof *m);
    if (resolve(&f, m, err) < 0 || check_size(&f, m, err) < 0)
        return -1;
    say(p, "digest %s, %zu layers, %llu KiB", f.ref.digest, m->n_layers,
        (unsigned long long)(m->bytes / KIB));
    if (fetch_once(&f, err) < 0)
        return -1;
    return result(&f, ret, err);
}
