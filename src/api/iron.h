/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_API_IRON_H
#define KILN_API_IRON_H

/* What the files of the iron dialect share. An app is a project of the default workspace, a route
 * one of its functions: its path is the function's title where that begins with '/', else its name
 * behind a '/'. */

#include "api/request.h"
#include "json/tree.h"

enum { IRON_APP, IRON_ROUTE }; /* parameters of its paths */

#define IRON_APP_NAME_MAX 30
#define IRON_MAX_MEMORY   (MEMORY_MAX / MIB) /* MiB */

#define IRON_DETAIL '\x1f' /* between message and detail, in error.text */
/* ERR_CODE with the original's MESSAGE; DETAIL (may be NULL) becomes `fields`. Returns -1. */
int iron_fail(struct error *err, enum error_code code, const char *message, const char *detail);

/* The member WRAPPER of the body: ERR_INVALID "Invalid JSON" where it is none, MISSING where it is
 * absent. *RET_ROOT is for json_free(). */
int iron_body(const struct request *r, const char *wrapper, const char *missing,
              struct json **ret_root, const struct json **ret, struct error *err);
/* An error of json/tree.h as the original said it. Returns -1. */
int iron_invalid_json(struct error *err);

/* The project of the path's first parameter: a reference, or NULL with "App not found". */
struct project *iron_app(const struct request *r, struct error *err);
int iron_check_app_name(struct str name, struct error *err);

/* RAW as a path: a '/' before it, "//" and "/./" one slash, "/x/.." gone, no slash at the end.
 * OUT holds RAW.len + 1 bytes; the length. */
size_t iron_clean_path(struct str raw, char *out);
/* The route that the path's parameters name: sets r->function; -1: "App not found", "Route not
 * found". *RET_PATH (may be NULL): its path, in the call's arena. */
int iron_route(struct request *r, struct str *ret_path, struct error *err);
/* Path of F, in OUT or in F itself. */
#define IRON_PATH_MAX (TITLE_MAX_LEN + 2)
const char *iron_path_of(const struct function *f, char out[IRON_PATH_MAX]);

/* Config: read by whoever may change it, masked for others. */
void iron_write_config(struct json_w *w, const struct request *r, const struct pairs *config);
/* Merges O's member "config" into TO; with REMOVE an empty value takes its name away. */
int iron_read_config(const struct json *o, bool remove, struct pairs *to, struct error *err);

/* Merges O's member "headers" into F's reply headers; an empty list takes a name away. */
int iron_read_headers(const struct json *o, struct function *f, struct error *err);
/* First value of each of F's reply headers: at most MAX; they live in F or in A. */
size_t iron_reply_headers(const struct function *f, struct arena *a, struct http_header *out,
                          size_t max);

/* After ERR_CONFLICT, for what merges: may the operation be run once more? A few times yes, while
 * its client is there. */
bool iron_try_again(struct request *r);

#define IRON_UUID_LEN 36
void iron_uuid(const struct ulid *id, char out[IRON_UUID_LEN + 1]);
int iron_uuid_parse(struct str s, struct ulid *ret); /* 0 or -EINVAL */

#define IRON_HEADER_URL   "x-kiln-request-url"
#define IRON_HEADER_PARAM "x-kiln-param-"

#endif
