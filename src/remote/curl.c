/* SPDX-License-Identifier: Apache-2.0 */
#include "remote/curl.h"
#include <dlfcn.h>
#include <pthread.h>

#define LIBCURL "libcurl.so.4" /* the ABI since curl 7.16 */

struct curl_functions curl;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool loaded;

static void load(void) {
    void *library = dlopen(LIBCURL, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return;
    loaded = true;
#define LOOK_UP(name)                                                                              \
    *(void **)&curl.name = dlsym(library, "curl_" #name);                                          \
    loaded = loaded && curl.name;
    CURL_FUNCTIONS(LOOK_UP)
    loaded = loaded && curl.global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
}

int curl_load(struct error *err) {
    (void)pthread_once(&once, load);
    if (loaded)
        return 0;
    return error_set(err, ERR_UNAVAILABLE,
                     "%s is not there or does not start: install the package libcurl4", LIBCURL);
}
