/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_API_BLUE_H
#define KILN_API_BLUE_H

/* What the files of the blue dialect share. Its models and bounds are those of its OpenAPI document
 * (FastAPI and pydantic v2): what breaks them is answered with 422 and all of them at once, in
 * those libraries' words; everything else that is refused with
 * {"detail":{"error":{code,message,details}},"error":{code,message,details}}.
 *
 * Parameters of its paths: the workspace first where a path has one (then r->workspace says it
 * too), else the function or task. */

#include "api/request.h"
#include "json/tree.h"
#include "json/write.h"

/* ---- 422: what a request breaks of its model, gathered ---- */
struct blue_check {
    struct buf items; /* [{"type","loc","msg","input"}, … without the end */
    struct json_w w;
    size_t n;
};
#define BLUE_CHECK_MAX (256 * KIB) /* of the reply; what comes past it is not told */

void blue_check_init(struct blue_check *c);
void blue_check_done(struct blue_check *c); /* without answering */
/* The body as a JSON object into *RET (free with json_free()); NULL where it is none, which C then
 * holds. */
void blue_body(struct blue_check *c, const struct request *r, struct json **ret);
/* The body is no JSON: WHY, at an offset. */
void blue_no_json(struct blue_check *c, size_t at, const char *why);
/* Ends R with 422 and frees C: true. False, and nothing done, where C holds nothing. */
bool blue_refused(struct blue_check *c, struct request *r);

/* Members of a body. O may be NULL (the body was none: nothing is read and nothing added). FLAGS:
 * JSON_REQUIRED, JSON_NULLABLE (null counts as absent). *RET is left alone where the member is
 * absent or wrong: set the default before. */
void blue_str(struct blue_check *c, const struct json *o, const char *name, int flags,
              size_t min_len, size_t max_len, struct str *ret); /* lengths in characters */
void blue_int(struct blue_check *c, const struct json *o, const char *name, int flags, int64_t min,
              int64_t max, int64_t *ret); /* INT64_MIN/MAX: no such bound */
void blue_bool(struct blue_check *c, const struct json *o, const char *name, int flags, bool *ret);
void blue_time(struct blue_check *c, const struct json *o, const char *name, int flags,
               int64_t *ret_us);
/* A list of strings, of objects (ITEMS), a map of strings, any object: checked as a whole. */
enum blue_items { BLUE_STRINGS, BLUE_OBJECTS };
void blue_list(struct blue_check *c, const struct json *o, const char *name, int flags,
               enum blue_items items, const struct json **ret);
void blue_map(struct blue_check *c, const struct json *o, const char *name, int flags,
              const struct json **ret);
void blue_object(struct blue_check *c, const struct json *o, const char *name, int flags,
                 const struct json **ret);
/* A query parameter. */
void blue_query_int(struct blue_check *c, struct request *r, const char *name, int64_t min,
                    int64_t max, int64_t *ret);
/* Anything else: WHERE is "body", "query" or "path"; VALUE may be NULL (null). */
void blue_wrong(struct blue_check *c, const char *where, const char *name, const struct json *value,
                const char *type, const char *msg, ...) PRINTF_LIKE(6, 7);
/* The same for what is no JSON: a query parameter, a field of a form. p NULL: it was missing. */
void blue_wrong_text(struct blue_check *c, const char *where, const char *name, struct str value,
                     const char *type, const char *msg, ...) PRINTF_LIKE(6, 7);

/* ---- lookup: 0, or -1 ERR_NOT_FOUND with the field "workspace" or "function" ---- */
/* That r->workspace exists. */
int blue_workspace(struct request *r, struct error *err);
/* Sets r->function to "fn-N" (r->params[1]) of r->workspace; one of another is not found. */
int blue_function(struct request *r, struct error *err);
/* The same for a path without workspace (r->params[0]): of any that the token reaches. */
int blue_function_anywhere(struct request *r, struct error *err);
/* For a workspace that stands in a body: the token reaches it with ROLE, and it exists. */
int blue_workspace_named(struct request *r, struct str id, enum role role, struct error *err);

/* Set to "inactive" by a PATCH of its status: takes no calls. */
bool blue_is_inactive(const struct function *f);

/* ---- pages ---- */
struct page; /* lists.h */
/* `limit` (422 outside of 1 .. MAX; ABSENT 0: all) and `after`. -1: R is answered. */
int blue_page(struct request *r, int64_t absent, int64_t max, bool by_id, struct page *ret);

/* ---- out ---- */
#define BLUE_DAY_US   (24 * 3600 * 1000000LL) /* what "24h" counters look back */
#define BLUE_TIME_MAX 40
/* "2025-12-07T18:15:00.125000+09:00" */
const char *blue_time_text(int64_t real_us, char out[BLUE_TIME_MAX]);
void blue_write_time(struct json_w *w, const char *member, int64_t real_us); /* 0: null */
/* JSON text as it is, else {"data": text}; p NULL: null. */
void blue_write_body(struct json_w *w, const char *member, struct str body);

/* The ExecutionLog of a call. Bodies as they were kept; p NULL: null. */
void blue_write_execution(struct json_w *w, const struct invocation *call, struct str request,
                          struct str response, const struct log_line *lines, size_t n);

#endif
