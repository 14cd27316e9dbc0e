/* SPDX-License-Identifier: Apache-2.0 */
#include "task/image.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include "json/write.h"

#define TAR_MAX  (SOURCE_BYTES_MAX + SOURCE_FILES_MAX * 2 * KIB) /* headers and padding */
#define JSON_MAX (64 * KIB)

#define TYPE_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define TYPE_CONFIG   "application/vnd.oci.image.config.v1+json"
#define TYPE_LAYER    "application/vnd.oci.image.layer.v1.tar+gzip"
#define TYPE_INDEX    "application/vnd.oci.image.index.v1+json"

struct blob_of {
    struct buf bytes;
    char digest[IMAGE_DIGEST_TEXT];
};

static void digest_of(struct str bytes, char out[IMAGE_DIGEST_TEXT]) {
    unsigned char sum[SHA256_DIGEST_LENGTH];
    (void)SHA256((const unsigned char *)bytes.p, bytes.len, sum);
    int n = snprintf(out, IMAGE_DIGEST_TEXT, "sha256:");
    for (size_t i = 0; i < sizeof sum; i++, n += 2)
        (void)snprintf(out + n, IMAGE_DIGEST_TEXT - (size_t)n, "%02x", sum[i]);
}

/* As the Go programs of this world call it. */
static const char *architecture(void) {
    static const char *const names[][2] = {
        {"x86_64", "amd64"}, {"aarch64", "arm64"}, {"ppc64le", "ppc64le"}, {"s390x", "s390x"}};
    struct utsname u;
    for (size_t i = 0; uname(&u) == 0 && i < ARRAY_LEN(names); i++)
        if (strcmp(u.machine, names[i][0]) == 0)
            return names[i][1];
    return "amd64";
}

/* ---- gzip, without the time of day in it ---- */
static ssize_t put(struct archive *a, void *arg, const void *p, size_t n) {
    if (buf_put(arg, p, n) == 0)
        return (ssize_t)n;
    archive_set_error(a, ENOSPC, "over the limit");
    return -1;
}

static int gzip(struct str bytes, struct buf *out, struct error *err) {
    struct archive *a = archive_write_new();
    struct archive_entry *e = archive_entry_new();
    archive_write_set_format_raw(a);
    archive_write_add_filter_gzip(a);
    (void)archive_write_set_filter_option(a, "gzip", "timestamp", NULL);
    archive_write_set_bytes_in_last_block(a, 1);
    archive_entry_set_filetype(e, AE_IFREG);
    archive_entry_set_size(e, (int64_t)bytes.len);
    bool ok = archive_write_open(a, out, NULL, put, NULL) == ARCHIVE_OK &&
              archive_write_header(a, e) == ARCHIVE_OK &&
              archive_write_data(a, bytes.p, bytes.len) == (ssize_t)bytes.len &&
              archive_write_close(a) == ARCHIVE_OK;
    archive_entry_free(e);
    archive_write_free(a);
    return ok ? 0 : error_set(err, ERR_INTERNAL, "the layer could not be compressed");
}

/* ---- the documents ---- */
static void write_labels(struct json_w *w, const char *member, const struct source *s,
                         const char *app) {
    char handler[2 * SOURCE_PATH_MAX];
    (void)snprintf(handler, sizeof handler, "%s%s%s.IncomingHandler", s->folder,
                   *s->folder ? "/" : "", s->module);
    jw_object_member(w, member);
    jw_cstr_member(w, "org.opencontainers.image.title", app);
    jw_cstr_member(w, "io.kiln.runtime", "python-spin");
    jw_cstr_member(w, "io.kiln.handler", handler);
    jw_end_object(w);
}

static void write_list(struct json_w *w, const char *member, const char *const *v) {
    jw_array_member(w, member);
    for (; *v; v++)
        jw_cstr(w, *v);
    jw_end_array(w);
}

/* Its entry point is Spin's own, which builds what spin.toml says and serves it. */
static int make_config(struct buf *out, const struct source *s, const char *app,
                       const char *diff_id) {
    static const char *const entrypoint[] = {"spin",           "up",       "--build",    "--from",
                                             "/app/spin.toml", "--listen", "0.0.0.0:80", NULL};
    const char *const layers[] = {diff_id, NULL};
    struct json_w w;
    json_w_init(&w, out);
    jw_begin_object(&w);
    jw_cstr_member(&w, "architecture", architecture());
    jw_cstr_member(&w, "os", "linux");
    jw_object_member(&w, "config");
    write_list(&w, "Entrypoint", entrypoint);
    jw_cstr_member(&w, "WorkingDir", "/app");
    jw_object_member(&w, "ExposedPorts");
    jw_object_member(&w, "80/tcp");
    jw_end_object(&w);
    jw_end_object(&w);
    write_labels(&w, "Labels", s, app);
    jw_end_object(&w);
    jw_object_member(&w, "rootfs");
    jw_cstr_member(&w, "type", "layers");
    write_list(&w, "diff_ids", layers);
    jw_end_object(&w);
    jw_end_object(&w);
    return json_w_done(&w);
}

static void write_descriptor(struct json_w *w, const char *type, const struct blob_of *b) {
    jw_cstr_member(w, "mediaType", type);
    jw_cstr_member(w, "digest", b->digest);
    jw_u64_member(w, "size", b->bytes.len);
}

static int make_manifest(struct buf *out, const struct source *s, const char *app,
                         const struct blob_of *config, const struct blob_of *layer) {
    struct json_w w;
    json_w_init(&w, out);
    jw_begin_object(&w);
    jw_u64_member(&w, "schemaVersion", 2);
    jw_cstr_member(&w, "mediaType", TYPE_MANIFEST);
    jw_object_member(&w, "config");
    write_descriptor(&w, TYPE_CONFIG, config);
    jw_end_object(&w);
    jw_array_member(&w, "layers");
    jw_begin_object(&w);
    write_descriptor(&w, TYPE_LAYER, layer);
    jw_end_object(&w);
    jw_end_array(&w);
    write_labels(&w, "annotations", s, app);
    jw_end_object(&w);
    return json_w_done(&w);
}

static int make_index(struct buf *out, const struct blob_of *manifest) {
    struct json_w w;
    json_w_init(&w, out);
    jw_begin_object(&w);
    jw_u64_member(&w, "schemaVersion", 2);
    jw_cstr_member(&w, "mediaType", TYPE_INDEX);
    jw_array_member(&w, "manifests");
    jw_begin_object(&w);
    write_descriptor(&w, TYPE_MANIFEST, manifest);
    jw_end_object(&w);
    jw_end_array(&w);
    jw_end_object(&w);
    return json_w_done(&w);
}

/* ---- the file ---- */
static int put_file(struct archive *a, const char *path, struct str bytes) {
    struct archive_entry *e = archive_entry_new();
    archive_entry_set_pathname(e, path);
    archive_entry_set_filetype(e, AE_IFREG);
    archive_entry_set_perm(e, 0644);
    archive_entry_set_size(e, (int64_t)bytes.len);
    archive_entry_set_mtime(e, 0, 0);
    bool ok = archive_write_header(a, e) == ARCHIVE_OK &&
              archive_write_data(a, bytes.p, bytes.len) == (ssize_t)bytes.len;
    archive_entry_free(e);
    return ok ? 0 : -1;
}

static int put_blob(struct archive *a, const struct blob_of *b) {
    char path[128];
    (void)snprintf(path, sizeof path, "blobs/sha256/%s", b->digest + 7);
    return put_file(a, path, buf_str(&b->bytes));
}

struct parts {
    struct blob_of layer, config, manifest;
    struct buf index;
};

static int write_archive(int fd, const struct parts *p, struct error *err) {
    struct archive *a = archive_write_new();
    archive_write_set_format_pax_restricted(a);
    int r = archive_write_open_fd(a, fd) == ARCHIVE_OK ? 0 : -1;
    if (r == 0)
        r = put_file(a, "oci-layout", STR("{\"imageLayoutVersion\":\"1.0.0\"}"));
    if (r == 0)
        r = put_file(a, "index.json", buf_str(&p->index));
    const struct blob_of *blobs[] = {&p->manifest, &p->config, &p->layer};
    for (size_t i = 0; r == 0 && i < ARRAY_LEN(blobs); i++)
        r = put_blob(a, blobs[i]);
    if (r == 0 && archive_write_close(a) != ARCHIVE_OK)
        r = -1;
    int e = archive_errno(a);
    archive_write_free(a);
    return r == 0 ? 0 : error_errno(err, e > 0 ? -e : -EIO, "the artefact could not be written");
}

static int make_parts(struct parts *p, const struct source *s, const char *app, struct error *err) {
    cleanup_buf struct buf tar = BUF_INIT(TAR_MAX);
    char diff_id[IMAGE_DIGEST_TEXT];
    if (source_tar(s, "", "app/", &tar, err) < 0)
        return -1;
    digest_of(buf_str(&tar), diff_id);
    if (gzip(buf_str(&tar), &p->layer.bytes, err) < 0)
        return -1;
    digest_of(buf_str(&p->layer.bytes), p->layer.digest);
    if (make_config(&p->config.bytes, s, app, diff_id) < 0)
        return error_set(err, ERR_INTERNAL, "the image's configuration is too long");
    digest_of(buf_str(&p->config.bytes), p->config.digest);
    if (make_manifest(&p->manifest.bytes, s, app, &p->config, &p->layer) < 0)
        return error_set(err, ERR_INTERNAL, "the image's manifest is too long");
    digest_of(buf_str(&p->manifest.bytes), p->manifest.digest);
    if (make_index(&p->index, &p->manifest) < 0)
        return error_set(err, ERR_INTERNAL, "the image's index is too long");
    return 0;
}

int image_write(int fd, const struct source *s, const char *app, struct image_made *ret,
                struct error *err) {
    struct parts p = {
        .layer.bytes = BUF_INIT(2 * TAR_MAX),
        .config.bytes = BUF_INIT(JSON_MAX),
        .manifest.bytes = BUF_INIT(JSON_MAX),
        .index = BUF_INIT(JSON_MAX),
    };
    int r = make_parts(&p, s, app, err);
    if (r == 0)
        r = write_archive(fd, &p, err);
    if (r == 0) {
        off_t size = lseek(fd, 0, SEEK_END);
        ret->bytes = size > 0 ? (uint64_t)size : 0;
        memcpy(ret->digest, p.manifest.digest, sizeof ret->digest);
    }
    buf_done(&p.layer.bytes);
    buf_done(&p.config.bytes);
    buf_done(&p.manifest.bytes);
    buf_done(&p.index);
    return r;
}

/* ---- back into a folder ---- */
static bool layout_name(const char *name) {
    struct str s = str_of(name);
    if (str_is(s, "oci-layout") || str_is(s, "index.json"))
        return true;
    const struct str blobs = STR("blobs/sha256/");
    return str_starts(s, blobs) && s.len == blobs.len + 2 * SHA256_DIGEST_LENGTH &&
           str_is_small_hex(str_n(s.p + blobs.len, s.len - blobs.len));
}

static int damaged(struct error *err) {
    return error_set(err, ERR_INTERNAL, "the artefact is damaged: build it again");
}

static int unpack_one(struct archive *a, struct archive_entry *e, int at, struct error *err) {
    const char *name = archive_entry_pathname(e);
    if (!name || archive_entry_filetype(e) != AE_IFREG || !layout_name(name))
        return damaged(err);
    cleanup_close int fd = openat(at, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_errno(err, -errno, "the artefact could not be unpacked");
    return archive_read_data_into_fd(a, fd) == ARCHIVE_OK ? 0 : damaged(err);
}

static int make_folders(const char *folder, int *ret_at, struct error *err) {
    if (mkdir(folder, 0700) == 0)
        *ret_at = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*ret_at < 0 || mkdirat(*ret_at, "blobs", 0700) < 0 ||
        mkdirat(*ret_at, "blobs/sha256", 0700) < 0)
        return error_errno(err, -errno, "the artefact could not be unpacked");
    return 0;
}

int image_unpack(const char *file, const char *folder, struct error *err) {
    cleanup_close int at = -1;
    struct archive_entry *e;
    if (make_folders(folder, &at, err) < 0)
        return -1;
    struct archive *a = archive_read_new();
    archive_read_support_format_tar(a);
    int rc = archive_read_open_filename(a, file, 64 * KIB), r = 0, n = 0;
    while (r == 0 && rc == ARCHIVE_OK && (rc = archive_read_next_header(a, &e)) == ARCHIVE_OK)
        r = ++n > 16 ? damaged(err) : unpack_one(a, e, at, err);
    if (r == 0 && rc != ARCHIVE_EOF)
        r = damaged(err);
    archive_read_free(a);
    return r;
}
