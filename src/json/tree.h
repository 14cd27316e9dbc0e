/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_JSON_TREE_H
#define KILN_JSON_TREE_H

/* struct json: a parsed document and its values, for the control plane (a tree costs too much on
 * the invocation path: see json/scan.h). libjansson underneath, seen by this folder only. A value
 * knows its path, so that every error names the field as the client would find it:
 * error.field = "spec.env[2].name", error.text = "\"spec.env[2].name\" must be a string, …".
 *
 * Everything got out of a document is borrowed from it and lives until json_free() of its root.
 * Not thread-safe, reading included (values remember their paths as they are reached). */

#include "base/buf.h"
#include "base/error.h"
#include "json/scan.h"

struct json;

/* ERR_INVALID with line and column when TEXT is not one JSON value; names that stand twice in an
 * object, NUL characters in strings and whole numbers over 64 bits are refused too. Errors never
 * quote the text, which may hold secrets. */
int json_parse(struct str text, struct json **ret, struct error *err);
/* The same, and the value must be an object. */
int json_parse_object(struct str text, struct json **ret, struct error *err);
void json_free(struct json *root); /* the root that json_parse() gave; frees all its values */

enum json_flags {
    JSON_OPTIONAL = 0,
    JSON_REQUIRED = 1, /* absence is an error */
    JSON_NULLABLE = 2, /* null counts as absent (with JSON_REQUIRED: may be null, not absent) */
    JSON_NONEMPTY = 4, /* "", [] and {} are errors */
};

/* The member NAME of OBJ. 0 and *RET set where it is there; 0 and *RET untouched where it is absent
 * and may be: set the default before. -1 and ERR_INVALID where it is of the wrong kind or out of
 * range, or required and absent. OBJ may be NULL (an optional object that is absent): then all
 * members are absent. */
int json_get_str(const struct json *obj, const char *name, int flags, struct str *ret,
                 struct error *err);
int json_get_int(const struct json *obj, const char *name, int flags, int64_t min, int64_t max,
                 int64_t *ret, struct error *err);
int json_get_double(const struct json *obj, const char *name, int flags, double min, double max,
                    double *ret, struct error *err);
int json_get_bool(const struct json *obj, const char *name, int flags, bool *ret,
                  struct error *err);
int json_get_object(const struct json *obj, const char *name, int flags, const struct json **ret,
                    struct error *err);
int json_get_array(const struct json *obj, const char *name, int flags, const struct json **ret,
                   struct error *err);
/* A string that must be one of NAMES (ends with NULL): *RET is its place in the list. */
int json_get_enum(const struct json *obj, const char *name, int flags, const char *const *names,
                  int *ret, struct error *err);
/* For partial updates: whether the member stands there at all, and whether as null. */
bool json_has(const struct json *obj, const char *name);
bool json_has_null(const struct json *obj, const char *name);
/* The member itself, whatever it is; NULL where it is absent or OBJ is no object. */
const struct json *json_member(const struct json *obj, const char *name);

/* ---- values by themselves: the root, an item, a member in a walk ---- */
enum json_kind json_kind(const struct json *v);
int json_as_str(const struct json *v, struct str *ret, struct error *err);
int json_as_int(const struct json *v, int64_t min, int64_t max, int64_t *ret, struct error *err);
/* ERR_INVALID about V, for what only the caller can judge: "\"<path>\" <why>"; returns -1. */
int json_fail(const struct json *v, struct error *err, const char *why, ...) PRINTF_LIKE(3, 4);
/* The same about the member NAME of OBJ. */
int json_fail_member(const struct json *obj, const char *name, struct error *err, const char *why,
                     ...) PRINTF_LIKE(4, 5);

size_t json_count(const struct json *v); /* items or members; 0 for NULL and other kinds */
const struct json *json_item(const struct json *array, size_t i); /* NULL past the end */

/* Walks an object in the order of its text: start with {0}. False at the end or when OBJ is NULL.
 */
struct json_walk {
    void *at;
    bool begun;
};
bool json_next(const struct json *obj, struct json_walk *walk, struct str *ret_name,
               const struct json **ret);
/* The same for a map of strings: 1 a member, 0 the end, -1 a value that is no string. */
int json_next_str(const struct json *obj, struct json_walk *walk, struct str *ret_name,
                  struct str *ret_value, struct error *err);

/* Appends V as compact JSON, members in the order of the text: 0, -EMSGSIZE or -ENOMEM. */
int json_dump(const struct json *v, struct buf *out);

static inline void cleanup_json_p(struct json **j) {
    json_free(*j);
}
#define cleanup_json __attribute__((cleanup(cleanup_json_p)))

#endif
