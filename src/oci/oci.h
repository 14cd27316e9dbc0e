/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_OCI_OCI_H
#define KILN_OCI_OCI_H

/* OCI images on this machine: fetched with skopeo, unpacked with umoci, kept by digest.
 *
 *   <dir>/<64 hex digits>/rootfs   the image's files, as the sandbox's ids see them
 *   <dir>/<64 hex digits>/spec     what a version that is this image is loaded with (below)
 *   <dir>/.tmp-…                   one that is being made, or goes; cleared away at start
 *
 * A tag is resolved to the digest of its linux/<this machine> manifest once, when a version is
 * built; from then on everything goes by that digest. The folder of an image is held, while an
 * instance uses it, by a shared flock(2) of that instance; the cache takes nothing away that is so
 * held, was asked for a moment ago, or is named in `keep`.
 *
 * What a registry sends is hostile: every document has a limit, layers are read through once for
 * their size before they are unpacked, and what is fetched is checked against its digest (skopeo).
 *
 * Threads: everything may be called from any thread; oci_pull() blocks, for a worker thread
 * (loop/work.h). */

#include "base/buf.h"
#include "base/error.h"
#include "model/image_ref.h"

#define OCI_MANIFEST_MAX (4 * MIB) /* bytes of a manifest, index or config */
#define OCI_LAYERS_MAX   128
#define OCI_FILES_MAX    1000000u /* entries of all layers */
#define OCI_ASK_MS       60000u   /* one question to a registry */
#define OCI_PULL_MS      1800000u /* the whole of an image */
#define OCI_UNPACK_MS    1800000u
#define OCI_KEEP_MS      120000u /* asked for so lately: stays */
#define OCI_ARGS_MAX     1024
#define OCI_ENV_MAX      1024
#define OCI_GIDS_MAX     64

struct oci_config {
    const char *dir;        /* made where it is not there; its parent is */
    const char *lib_dir;    /* kiln-unpack stands here */
    const char *auth_file;  /* docker's config.json form, 0600; or NULL */
    const char *registries; /* hosts that images may come from, by comma; NULL: all */
    uint32_t uid_base;      /* as root: ids of an image begin here; 0: all are ours */
    uint64_t image_max;     /* bytes of one image, unpacked */
    uint64_t cache_max;     /* bytes of all */
};
struct oci;
/* Makes the folder, clears away what was begun, learns what is there. ERR_INVALID about a file of
 * credentials that others may read. */
int oci_new(const struct oci_config *config, struct oci **ret, struct error *err);
void oci_free(struct oci *o); /* NULL is fine */

/* Are crun, skopeo and umoci there? WHY (may be NULL) says which are not and what to install. */
#define OCI_WHY_MAX 160
bool oci_available(char why[OCI_WHY_MAX]);
bool oci_installed(const char *program); /* one of them */

struct oci_pull {
    const char *image;  /* as its user wrote it */
    const char *digest; /* what it was resolved to, or NULL: resolve it */
    const char *const *keep;
    size_t n_keep;   /* digests that are in use */
    int cancel_fd;   /* readable = give up; 0: none */
    struct buf *log; /* lines for who built it; may be NULL */
};
struct oci_image {
    char digest[IMAGE_DIGEST_LEN + 1];
    struct blob *spec; /* a reference */
};
/* Fetches and unpacks unless it is there. Errors say what is wrong and what would help:
 * ERR_UNAVAILABLE the registry or a tool is not there, ERR_FORBIDDEN it does not let us in,
 * ERR_NOT_FOUND no such image, ERR_TOO_LARGE, ERR_INVALID no image that can run here. */
int oci_pull(struct oci *o, const struct oci_pull *p, struct oci_image *ret, struct error *err);
/* Is it there? Then it stays so for OCI_KEEP_MS. */
bool oci_has(struct oci *o, const char *digest);

/* The spec, little-endian, as of wire/wire.h:
 *   u8 1  string digest  u32 n, n strings args  u32 n, n strings env ("NAME=value")
 *   string cwd  u32 uid  u32 gid  u32 n, n u32 further groups */

#endif
