/* SPDX-License-Identifier: Apache-2.0 */
/* The documents of the served APIs, and Swagger UI over them. All of it is public: it says what
 * could be asked, not what is there. */

#include "api/dialects.h"
#include "api/internal.h"
#include "api/web.h"
#include "routes.h"
#include <errno.h>
#include <stdio.h>

#define HEADER(n, v)                                                                               \
    { STR(n), STR(v) }

/* Nothing but what this server hands out runs in the page, and it talks to nobody else. Swagger UI
 * needs no script of its own in the page and evaluates none; it does put <style> elements and style
 * attributes there (seen in Chromium, which says what a policy stopped), and icons as data: URLs.
 */
#define POLICY                                                                                     \
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "                    \
    "img-src 'self' data:; font-src 'self' data:; connect-src 'self'; base-uri 'none'; "           \
    "form-action 'none'; frame-ancestors 'none'"

/* Asked again each time: what was built or installed since is shown at once. */
#define CACHE_ASK  "no-cache"
#define CACHE_KEEP "public, max-age=86400" /* of npm: changes with a release */

static void send_file(struct request *r, const struct web_file *f, const char *type,
                      const char *cache) {
    const struct http_header headers[] = {
        {STR("Content-Type"), str_of(type)},         {STR("Cache-Control"), str_of(cache)},
        HEADER("X-Content-Type-Options", "nosniff"), HEADER("Referrer-Policy", "no-referrer"),
        HEADER("Content-Security-Policy", POLICY),
    };
    web_reply(r, f, headers, ARRAY_LEN(headers));
}

static void fail_missing(struct request *r, const char *what) {
    struct error err;
    (void)error_set(&err, ERR_NOT_FOUND, "there is no %s here", what);
    request_fail(r, &err);
}

/* ---- documents ---- */

static void send_document(struct request *r, const char *name) {
    char file[64];
    const struct web_file *f;
    struct error err;
    (void)snprintf(file, sizeof(file), "openapi/%s.json", name);
    if (web_get(r->api->web, file, &f) == 0) {
        send_file(r, f, "application/json", CACHE_ASK);
        return;
    }
    (void)error_set(&err, ERR_UNAVAILABLE, "the documents of the APIs are not installed");
    request_fail(r, &err);
}

void op_common_list_documents(struct request *r) {
    send_document(r, "index");
}

void op_common_get_document(struct request *r) {
    struct str name = r->params[0];
    const char *ending = ".json";
    if (!str_ends(name, str_of(ending))) {
        fail_missing(r, "such document");
        return;
    }
    name.len -= strlen(ending);
    for (size_t i = 0; dialects[i]; i++) {
        if (str_is(name, dialects[i]->name)) {
            send_document(r, dialects[i]->name);
            return;
        }
    }
    fail_missing(r, "such document");
}

/* ---- the page ---- */

#define HTML "text/html; charset=utf-8"
#define JS   "text/javascript; charset=utf-8"
#define CSS  "text/css; charset=utf-8"

static const struct asset {
    const char *name, *file, *type, *cache;
} ASSETS[] = {
    {"docs.js", "docs/docs.js", JS, CACHE_ASK},
    {"docs.css", "docs/docs.css", CSS, CACHE_ASK},
    {"swagger-ui.css", "swagger-ui/swagger-ui.css", CSS, CACHE_KEEP},
    {"swagger-ui-bundle.js", "swagger-ui/swagger-ui-bundle.js", JS, CACHE_KEEP},
    {"swagger-ui-standalone-preset.js", "swagger-ui/swagger-ui-standalone-preset.js", JS,
     CACHE_KEEP},
    {"favicon-16x16.png", "swagger-ui/favicon-16x16.png", "image/png", CACHE_KEEP},
    {"favicon-32x32.png", "swagger-ui/favicon-32x32.png", "image/png", CACHE_KEEP},
};

/* npm's part may be missing, or come while the server runs. */
void op_common_docs(struct request *r) {
    const struct web_file *f;
    bool whole = web_get(r->api->web, "swagger-ui/swagger-ui-bundle.js", &f) == 0;
    if (web_get(r->api->web, whole ? "docs/index.html" : "docs/missing.html", &f) == 0)
        send_file(r, f, HTML, CACHE_ASK);
    else
        fail_missing(r, "page");
}

void op_common_docs_file(struct request *r) {
    const struct web_file *f;
    for (size_t i = 0; i < ARRAY_LEN(ASSETS); i++) {
        const struct asset *a = &ASSETS[i];
        if (!str_is(r->params[0], a->name))
            continue;
        if (web_get(r->api->web, a->file, &f) < 0)
            break;
        send_file(r, f, a->type, a->cache);
        return;
    }
    fail_missing(r, "such file");
}
