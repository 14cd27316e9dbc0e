/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_REMOTE_S3_H
#define KILN_REMOTE_S3_H

/* struct s3: objects of one bucket of an S3 service, addressed by path (URL/BUCKET/KEY) and signed
 * with AWS Signature Version 4 by libcurl. Blocking, for worker threads; several may use it at
 * once. docs.aws.amazon.com/AmazonS3/latest/API. */

#include "base/buf.h"
#include "base/error.h"

#define S3_TIMEOUT_MS 60000u
#define S3_KEY_MAX    1024 /* bytes of a key, as S3 has it */

struct s3_config { /* copied */
    const char *url, *bucket, *region;
    const char *access_key, *secret_key;
};
struct s3;
int s3_new(const struct s3_config *config, struct s3 **ret, struct error *err); /* ERR_INVALID */
void s3_free(struct s3 *s);                                                     /* NULL is fine */
void s3_stop(struct s3 *s); /* from any thread: what is under way ends soon */

/* 0, or ERR_UNAVAILABLE with what the service says. */
int s3_put(struct s3 *s, const char *key, struct str bytes, struct error *err);
/* Into *RET (initialised, with its ceiling). ERR_NOT_FOUND; ERR_TOO_LARGE. */
int s3_get(struct s3 *s, const char *key, struct buf *ret, struct error *err);
/* One that is not there is no error. */
int s3_delete(struct s3 *s, const char *key, struct error *err);

#endif
