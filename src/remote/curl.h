/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_REMOTE_CURL_H
#define KILN_REMOTE_CURL_H

/* libcurl, loaded when the first remote server is to be asked: with what it brings (TLS, LDAP,
 * Kerberos, …) it takes more memory than all of an idle server that asks nobody. Its functions are
 * members of `curl` under their names without the prefix; none before curl_load() has said 0. */

#define CURL_DISABLE_TYPECHECK
#include "base/error.h"
#include <curl/curl.h>

#undef curl_easy_setopt
#undef curl_easy_getinfo

#define CURL_FUNCTIONS(X)                                                                          \
    X(global_init)                                                                                 \
    X(easy_init)                                                                                   \
    X(easy_cleanup)                                                                                \
    X(easy_reset)                                                                                  \
    X(easy_setopt)                                                                                 \
    X(easy_perform)                                                                                \
    X(easy_getinfo)                                                                                \
    X(easy_strerror)                                                                               \
    X(slist_append)                                                                                \
    X(slist_free_all)                                                                              \
    X(free)                                                                                        \
    X(url)                                                                                         \
    X(url_cleanup)                                                                                 \
    X(url_get)                                                                                     \
    X(url_set)

#define CURL_MEMBER(name) __typeof__(curl_##name) *name;
struct curl_functions {
    CURL_FUNCTIONS(CURL_MEMBER)
};
extern struct curl_functions curl;

/* Any thread. 0, or -1 with what is missing. */
int curl_load(struct error *err);

#endif
