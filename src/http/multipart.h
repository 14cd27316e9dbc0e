/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_HTTP_MULTIPART_H
#define KILN_HTTP_MULTIPART_H

/* multipart/form-data (RFC 7578, RFC 2046 section 5.1), of a body that is there as a whole: parts
 * are slices of it. Own code, as the libraries that do it are servers or read mail. Strict: the
 * body begins with a boundary and ends with the last one, lines end in CRLF, a part has a
 * Content-Disposition with a name and is not encoded for transfer; anything else is -EINVAL. */

#include "base/str.h"

#define MULTIPART_PARTS_MAX    64
#define MULTIPART_HEADERS_MAX  (4 * KIB) /* of one part */
#define MULTIPART_NAME_MAX     255       /* bytes of a name, of a file's name */
#define MULTIPART_BOUNDARY_MAX 70        /* RFC 2046 */

struct multipart {
    struct str rest; /* of the body, behind the boundary that was read last */
    char delimiter[MULTIPART_BOUNDARY_MAX + 5]; /* CRLF "--" boundary */
    size_t delimiter_len;
    unsigned parts;
    bool ended;
};
struct multipart_part {
    char name[MULTIPART_NAME_MAX + 1];
    char file_name[MULTIPART_NAME_MAX + 1];
    bool is_file;            /* it has a file name, be it empty */
    struct str content_type; /* p NULL: none */
    struct str body;
};

/* CONTENT_TYPE: the request's header. 0; -ENOTSUP: it is no multipart/form-data; -EINVAL: without
 * a good boundary, or the body does not begin with it. */
int multipart_open(struct multipart *m, struct str content_type, struct str body);
/* 1 a part, 0 the end, -EINVAL, -E2BIG (over MULTIPART_PARTS_MAX). */
int multipart_next(struct multipart *m, struct multipart_part *ret);

#endif
