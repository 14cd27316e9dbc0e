/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_HTTP_PARSER_H
#define KILN_HTTP_PARSER_H

/* A strict parser for HTTP/1.1 request heads (RFC 9112, RFC 9110) and chunked bodies.
 *
 * Strict means that whatever two implementations could read differently is refused, because a
 * proxy in front may read it the other way: bare LF, folded lines, blanks before a colon, control
 * bytes, Content-Length with Transfer-Encoding, Content-Length twice, transfer codings other than
 * chunked, Host missing or twice. Own code: http-parser is unmaintained, llhttp is not in Debian.
 *
 * It works on a contiguous buffer that grows, copies nothing (the results are slices of that
 * buffer) and looks at every byte once however finely the head comes in. */

#include "base/buf.h"

#define HTTP_HEAD_MAX      (32 * KIB) /* request line, header lines and the empty line */
#define HTTP_TARGET_MAX    (8 * KIB)
#define HTTP_METHOD_MAX    24 /* bytes */
#define HTTP_HEADERS_MAX   100
#define HTTP_CHUNK_EXT_MAX (4 * KIB) /* chunk extensions of one body in all */
#define HTTP_TRAILERS_MAX  (8 * KIB) /* trailer section of one body */

enum http_method {
    HTTP_OTHER = 0, /* a well-formed token that is none of these */
    HTTP_GET,
    HTTP_HEAD,
    HTTP_POST,
    HTTP_PUT,
    HTTP_DELETE,
    HTTP_PATCH,
    HTTP_OPTIONS,
};

struct http_header {
    struct str name, value; /* as received: name in lower case, value without blanks around it */
};

/* All slices point into the buffer that was parsed (or at literals). */
struct http_head {
    enum http_method method_id;
    struct str method;
    struct str target; /* as received */
    struct str path;   /* raw (still percent-encoded), begins with '/'; "*" only with OPTIONS */
    struct str query;  /* raw, without '?'; p == NULL where there is none */
    struct str host;   /* of the target where that is absolute, else of Host; with its port.
                        * p == NULL only in HTTP/1.0 */
    uint8_t minor;     /* HTTP/1.minor: 0 or 1 */
    bool has_length, chunked; /* at most one; neither: no body */
    bool expect_continue;     /* never in HTTP/1.0 */
    bool keep_alive;
    uint64_t content_length; /* 0 unless has_length */
    size_t n_headers;
    /* private: where parsing stands */
    const char *base;
    size_t line, scan;
    uint8_t state;
    bool has_host, has_te, conn_close, conn_keep;
    struct http_header headers[HTTP_HEADERS_MAX]; /* the first n_headers, in order */
};

/* Before the first byte of every request. Cheap: does not touch `headers`. */
void http_head_init(struct http_head *h);
/* P[0..LEN) is what there is so far, LEN growing from call to call; when P has moved since the
 * last call parsing begins anew. Header names are written in lower case into P.
 *   0    more bytes are needed (and LEN < HTTP_HEAD_MAX)
 *   > 0  the head is complete and so long; what follows is body
 *   < 0  refused: minus the status to answer with (400, 413, 414, 417, 431, 501, 505); *ret_reason
 *        becomes a sentence for the client (static). The connection cannot go on. */
ssize_t http_head_parse(struct http_head *h, char *p, size_t len, const char **ret_reason);
/* Value of the first header LOWER_NAME ("content-type"), p == NULL where there is none. */
struct str http_head_get(const struct http_head *h, const char *lower_name);

bool http_is_token(struct str s);       /* RFC 9110 section 5.6.2; false when empty */
bool http_is_field_value(struct str s); /* no control bytes but tab */
bool http_is_host(struct str s);        /* uri-host [":" port], RFC 3986; no user part */
/* "Not Found" of 404; "Status" of an unknown one. */
const char *http_status_text(int status);

/* ---- chunked bodies (RFC 9112 section 7.1) ---- */
struct http_chunked {
    uint8_t state;
    bool done; /* the last chunk and the trailer section have been read */
    uint8_t digits;
    uint32_t ext_len, trailers_len;
    uint64_t left; /* bytes of the present chunk */
};
void http_chunked_init(struct http_chunked *d);
/* Decodes P[0..LEN) and appends the data to OUT (NULL: data is dropped, without limit): how many
 * bytes were used (all of them unless d->done: the next request begins there), or minus the status
 * to answer with: 400 malformed, 413 over OUT's max, 431 trailers or extensions too long.
 * Trailer lines are checked and dropped. */
ssize_t http_chunked_feed(struct http_chunked *d, const char *p, size_t len, struct buf *out,
                          const char **ret_reason);

#endif
