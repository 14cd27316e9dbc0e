/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_MODEL_IMAGE_REF_H
#define KILN_MODEL_IMAGE_REF_H

/* References to OCI images, as people write them:
 *
 *   alpine                      docker.io/library/alpine:latest
 *   team/resize:1.4             docker.io/team/resize:1.4
 *   localhost:5000/resize       localhost:5000/resize:latest
 *   ghcr.io/team/resize@sha256:<64 hex digits>
 *
 * The first part is a registry's host where it holds a '.' or a ':' or is "localhost" (the grammar
 * of github.com/distribution/reference). */

#include "model/model.h"

#define IMAGE_HOST_MAX_LEN   255
#define IMAGE_TAG_MAX_LEN    128
#define IMAGE_DIGEST_LEN     71 /* "sha256:" and 64 hex digits */
#define IMAGE_DIGEST_HEX_LEN 64

struct image_ref {
    char host[IMAGE_HOST_MAX_LEN + 1]; /* "docker.io", "localhost:5000" */
    char path[IMAGE_REF_MAX_LEN + 1];  /* "library/alpine" */
    char tag[IMAGE_TAG_MAX_LEN + 1];   /* "latest"; "" where a digest says it all */
    char digest[IMAGE_DIGEST_LEN + 1]; /* "sha256:…", or "" */
};

/* 0, or -1 with a sentence that names the field "image". */
int image_ref_parse(struct str s, struct image_ref *ret, struct error *err);
int image_ref_check(struct str s, struct error *err);
/* HOST/PATH@DIGEST or HOST/PATH:TAG, as skopeo and every other tool takes it. */
#define IMAGE_REF_TEXT_MAX (IMAGE_HOST_MAX_LEN + IMAGE_REF_MAX_LEN + IMAGE_TAG_MAX_LEN + 80)
const char *image_ref_text(const struct image_ref *r, char out[IMAGE_REF_TEXT_MAX]);
/* Is the registry on this machine itself (127.0.0.0/8, ::1, localhost)? Such a one may speak plain
 * HTTP. */
bool image_ref_is_loopback(const struct image_ref *r);
/* Is its host one of HOSTS ("docker.io,registry.example.com:5000"; NULL: all are)? ERR_FORBIDDEN.
 */
int image_ref_allowed(const struct image_ref *r, const char *hosts, struct error *err);
bool image_digest_check(struct str s); /* "sha256:" and 64 small hex digits */

#endif
