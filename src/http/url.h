/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_HTTP_URL_H
#define KILN_HTTP_URL_H

/* Percent-encoding, paths and queries (RFC 3986; queries as HTML forms write them). Results are
 * slices of the input where nothing had to change, else they live in the arena.
 * Errors: -EINVAL: a broken escape ("%", "%2", "%zz") or an encoded NUL; -EMSGSIZE: arena full. */

#include "base/arena.h"

enum url_decoding {
    URL_PATH,  /* '+' is a plus */
    URL_QUERY, /* '+' is a blank */
};
int url_decode(struct str in, enum url_decoding how, struct arena *a, struct str *ret);

/* Cleans a raw path: "//" and "/./" become "/", "/x/../" goes, a trailing slash stays. Escapes are
 * checked and made canonical (unreserved characters decoded, the others with upper-case digits),
 * so that "%2e%2e" is seen as ".."; "%2F" stays encoded: split at '/', then url_decode() the
 * segments. -EINVAL also for a path that climbs above the root or does not begin with '/'. */
int url_path_clean(struct str raw, struct arena *a, struct str *ret);

/* Cuts the next segment off a cleaned path: "/a/b" gives "a", "b". False at the end; an empty last
 * segment (trailing slash) is not given. Segments are still encoded. */
bool url_segment_next(struct str *rest, struct str *ret);

/* Next "name=value" of a raw query, both decoded: 1, 0 at the end, or a negative error. Empty
 * pieces ("&&") are skipped; without '=' the value is empty. Start with *rest = head->query. */
int url_query_next(struct str *rest, struct arena *a, struct str *ret_name, struct str *ret_value);
/* The first value of NAME: 1, 0 where there is none, or a negative error. */
int url_query_get(struct str query, const char *name, struct arena *a, struct str *ret_value);

#endif
