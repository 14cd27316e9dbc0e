/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_BASE_ERROR_H
#define KILN_BASE_ERROR_H

/* struct error: how layers above `base`, `loop`, `wire` and `sandbox` say what went wrong: a code
 * that programs act on and one sentence for a person. Fixed size, no heap, owned by the caller.
 * Every dialect maps each code to its own status and body in one table (api/), total by test.
 *
 * A function that can fail so takes `struct error *err` last, returns 0 or -1, sets *err exactly
 * when it returns -1 and leaves its outputs untouched then. Low layers return -errno instead. */

#include "base/base.h"

enum error_code {
    ERR_NONE = 0,
    ERR_INVALID,         /* the request is malformed or a field is wrong; error.field names it */
    ERR_INVALID_RUNTIME, /* no such runtime */
    ERR_UNAUTHENTICATED, /* no token, or not one of ours */
    ERR_FORBIDDEN,       /* a good token that may not do this */
    ERR_NOT_FOUND,       /* the thing named by error.field: "function", "version", "trigger", … */
    ERR_METHOD,          /* path known, method not */
    ERR_CONFLICT,        /* name or number taken; state does not allow it */
    ERR_TOO_LARGE,       /* over a named size limit */
    ERR_QUOTA,           /* over a rate limit or quota; retry_after_s says when to come again */
    ERR_BUILD_FAILED,    /* the active version did not build */
    ERR_FUNCTION,        /* the function threw, or returned what cannot be encoded */
    ERR_TIMEOUT,         /* the function ran over its time and was killed */
    ERR_MEMORY,          /* the function was killed for its memory */
    ERR_CRASH,           /* the function's process ended by itself */
    ERR_LIMIT,       /* the function broke another limit (output, response size) and was killed */
    ERR_BUSY,        /* all instances busy and the queue full or its deadline over */
    ERR_UNAVAILABLE, /* draining, or a part of the platform is down */
    ERR_CANCELED,    /* the client went away */
    ERR_INTERNAL,    /* a fault of kiln's own */
    ERR_COUNT
};

#define ERROR_TEXT_MAX  512
#define ERROR_FIELD_MAX 64

struct error {
    enum error_code code;
    uint32_t retry_after_s; /* with ERR_QUOTA, ERR_BUSY, ERR_UNAVAILABLE; 0 says nothing */
    char field[ERROR_FIELD_MAX];
    char text[ERROR_TEXT_MAX];
};

/* Sets *ERR (may be NULL) and returns -1, so that `return error_set(…)` is one expression. Text
 * that does not fit is cut at a UTF-8 boundary. */
int error_set(struct error *err, enum error_code code, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* The same with the name of the field or kind of thing concerned. */
int error_field(struct error *err, enum error_code code, const char *field, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
/* What strerror(3) says, without a buffer that threads share. */
const char *errno_text(int errnum);
/* ERR_INTERNAL from a negative errno: "<what>: <strerror>". */
int error_errno(struct error *err, int neg_errno, const char *what);
/* Puts "<context>: " before the text, on the way up; returns -1. */
int error_prepend(struct error *err, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Stable lower-case name of a code ("not_found", "timeout"), for logs and records. */
const char *error_code_name(enum error_code code);

#endif
