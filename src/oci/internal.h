/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_OCI_INTERNAL_H
#define KILN_OCI_INTERNAL_H

/* Shared by the files of the layer. */

#include "base/child.h"
#include "base/list.h"
#include "oci/oci.h"
#include <pthread.h>

struct cached_image {
    struct list link; /* used last in front */
    char digest[IMAGE_DIGEST_LEN + 1];
    uint64_t bytes;
    uint64_t used_ns;
};
struct oci {
    char *dir, *lib_dir, *auth_file, *no_auth_file, *registries;
    uint32_t uid_base;
    uint64_t image_max, cache_max;
    pthread_mutex_t lock;
    pthread_cond_t pulled;
    struct list images;
    uint64_t bytes;     /* of all, those that are being unpacked included */
    struct list pulls;  /* struct pulling: digests under way */
    unsigned long next; /* number of the next temporary folder */
};
struct pulling {
    struct list link;
    const char *digest;
};

/* ---- manifest.c ---- */
struct layer {
    char digest[IMAGE_DIGEST_LEN + 1];
    uint64_t size; /* compressed */
    bool gzip;
};
struct manifest {
    bool is_index;                     /* then only: */
    char child[IMAGE_DIGEST_LEN + 1];  /* the manifest for this machine */
    char config[IMAGE_DIGEST_LEN + 1]; /* else: digest of its config */
    struct layer layers[OCI_LAYERS_MAX];
    size_t n_layers;
    uint64_t bytes; /* of its layers, compressed */
};
int manifest_parse(struct str text, struct manifest *ret, struct error *err);
void digest_of(struct str bytes, char out[IMAGE_DIGEST_LEN + 1]);
/* Checks the image's config; RUNTIME is umoci's config.json, which has the user resolved. */
int spec_make(struct str config, struct str runtime, const char *digest, struct buf *out,
              struct error *err);
/* "[/bin/app --serve] as 1000:1000" for the log. */
int spec_describe(struct str spec, struct buf *out);

/* ---- layer.c ---- */
struct layers {
    uint64_t bytes, files; /* of all, unpacked */
    uint64_t bytes_max;
};
/* Reads a layer's archive through: its files' sizes are added. 0 or -1. */
int layer_measure(int fd, bool gzip, struct layers *l, struct error *err);

/* ---- skopeo.c ---- */
struct fetch {
    struct oci *o;
    const struct oci_pull *pull;
    struct image_ref ref;
};
/* The raw manifest that F->ref names. */
int skopeo_manifest(const struct fetch *f, struct buf *out, struct error *err);
int skopeo_copy(const struct fetch *f, const char *to_dir, struct error *err);
/* TEMP/layout to TEMP/bundle. */
int umoci_unpack(const struct fetch *f, const char *temp, struct error *err);
void remove_tree(const char *path);

/* ---- cache.c ---- */
int cache_open(struct oci *o, struct error *err);
void cache_close(struct oci *o);
char *cache_temp(struct oci *o); /* path of a folder that is not there yet; free() */
/* Counts BYTES, taking others away where needed. ERR_TOO_LARGE. */
int cache_reserve(struct oci *o, uint64_t bytes, const struct oci_pull *p, struct error *err);
void cache_unreserve(struct oci *o, uint64_t bytes);
/* PATH (unpacked, counted) becomes the image DIGEST. */
int cache_put(struct oci *o, const char *path, const char *digest, uint64_t bytes,
              struct error *err);
int cache_spec(struct oci *o, const char *digest, struct blob **ret, struct error *err);

int file_read_all(const char *path, size_t max, struct buf *out);
int file_write_all(const char *path, struct str text, unsigned mode);

#endif
