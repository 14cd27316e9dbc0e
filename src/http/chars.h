/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_HTTP_CHARS_H
#define KILN_HTTP_CHARS_H

/* Classes of bytes, one table for the parser and the URLs. Private to http/. */

#include "base/base.h"

enum {
    CHAR_TOKEN = 1,  /* tchar, RFC 9110 section 5.6.2 */
    CHAR_TARGET = 2, /* visible ASCII but '#': what a request target may hold */
    CHAR_HOST = 4,   /* unreserved and sub-delims, RFC 3986 section 3.2.2 (reg-name less '%') */
    CHAR_UNRESERVED = 8,
};

extern const uint8_t http_char_class[256];
/* The lower-case form of a tchar, 0 for any other byte. */
extern const char http_token_lower[256];

static inline bool http_char_is(char c, uint8_t classes) {
    return (http_char_class[(uint8_t)c] & classes) != 0;
}

#endif
