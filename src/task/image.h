/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_TASK_IMAGE_H
#define KILN_TASK_IMAGE_H

/* The artefact of a build: an OCI image (github.com/opencontainers/image-spec, v1.0) of one layer
 * that holds the application under /app, as an image layout in one tar file, which skopeo calls
 * oci-archive. The same source makes the same bytes, so the same digests. */

#include "task/source.h"

#define IMAGE_DIGEST_TEXT 72 /* "sha256:" and 64 hex digits, NUL */

struct image_made {
    char digest[IMAGE_DIGEST_TEXT]; /* of the manifest */
    uint64_t bytes;                 /* of the file */
};
/* Writes the file FD, which is empty. APP names it in labels and annotations. */
int image_write(int fd, const struct source *s, const char *app, struct image_made *ret,
                struct error *err);
/* The layout in FILE, as image_write() makes them, into FOLDER, which is made: skopeo unpacks one
 * only with rights that an ordinary user has not, and into /var/tmp. Names that are not of a layout
 * are refused: S3 may have given another file back. */
int image_unpack(const char *file, const char *folder, struct error *err);

#endif
