/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_JSON_SCAN_H
#define KILN_JSON_SCAN_H

/* Strict JSON (RFC 8259) without a tree and without allocation: what the invocation path needs to
 * know of a body. Stricter than the grammar in three points: text must be UTF-8 (RFC 3629), \u
 * escapes of surrogates must come in pairs (else the text has no UTF-8 form), and arrays and
 * objects nest at most JSON_DEPTH_MAX deep. Duplicate names are not looked for. Own code, since
 * every JSON library of Debian builds a tree, which costs more than the whole invocation.
 * Reentrant; everything returned is borrowed from the text. */

#include "base/buf.h"

#define JSON_DEPTH_MAX 128

enum json_kind {
    JSON_KIND_NULL,
    JSON_KIND_BOOL,
    JSON_KIND_NUMBER,
    JSON_KIND_STRING,
    JSON_KIND_ARRAY,
    JSON_KIND_OBJECT,
};

/* 0 when TEXT is exactly one value with white space around it, else -EINVAL and the offset of the
 * first byte that cannot stand there in *RET_AT (may be NULL; TEXT.len when text is missing). */
int json_check(struct str text, size_t *ret_at);

/* ---- the members of one object, in order ---- */
struct json_members {
    struct str text;
    size_t at; /* where the scan stands; the offset of the fault after -EINVAL */
    int state; /* private */
};
struct json_member {
    struct str key;   /* between the quotes, still escaped: compare with json_key_is() */
    struct str value; /* the whole value, strings with their quotes; checked */
    enum json_kind kind;
};
/* TEXT must be one object with white space around it. 0, or -EINVAL when no object begins. */
int json_members_open(struct json_members *it, struct str text);
/* 1 and the next member; 0 at the end of a well-formed object with nothing behind it; -EINVAL.
 * Having walked to 0 is as good as json_check(). */
int json_members_next(struct json_members *it, struct json_member *ret);

/* Whether the escaped KEY says NAME. */
bool json_key_is(struct str key, const char *name);
/* A string value without its quotes, still escaped. VALUE must be of JSON_KIND_STRING. */
static inline struct str json_inside(struct str value) {
    return (struct str){value.p + 1, value.len - 2};
}
/* Appends the bytes that an escaped string (without quotes) stands for. 0, -EINVAL, -EMSGSIZE,
 * -ENOMEM; appends nothing on failure. Text that comes from json_members_next() is never -EINVAL.
 */
int json_unescape(struct str escaped, struct buf *out);

/* First byte of [P, END) that is not plain: not 0x20..0x7f, or a quote or backslash. */
const char *json_skip_plain(const char *p, const char *end);

#endif
