/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_API_WEB_H
#define KILN_API_WEB_H

/* struct web: files that are handed out as they are. A file is read when it is first asked for and
 * kept, once for all connections, until the end: what a client gets is a copy of at most
 * WEB_PIECE_MAX bytes at a time, so that many slow readers of a large file cost little. A file that
 * could not be read is tried again by the next request.
 *
 * Names of files come from tables of the program, never from a client. Any thread. */

#include "api/request.h"

#define WEB_FILE_MAX  (16 * MIB)
#define WEB_FILES_MAX 64
#define WEB_PIECE_MAX (64 * KIB)

struct web;

struct web_file { /* immutable; lives as long as the web */
    char *name;
    char *p;
    size_t len;
    char etag[20]; /* quoted; of the content (RFC 9110 section 8.8.3) */
};

/* FOLDER need not exist; copied. */
struct web *web_new(const char *folder);
void web_free(struct web *w); /* after every request that uses it; NULL is fine */
/* NAME ("docs/index.html") is below the folder: 0, -ENOENT and other -errno, -EFBIG over
 * WEB_FILE_MAX, -ENOSPC at WEB_FILES_MAX. */
int web_get(struct web *w, const char *name, const struct web_file **ret);
/* Ends the request with the file, or with 304 where the client has it. At most WEB_HEADERS_MAX
 * headers, whose memory must stay. */
#define WEB_HEADERS_MAX 6
void web_reply(struct request *r, const struct web_file *f, const struct http_header *headers,
               size_t n);

#endif
