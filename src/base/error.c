/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"
#include "base/str.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const code_names[ERR_COUNT] = {
    [ERR_NONE] = "none",
    [ERR_INVALID] = "invalid",
    [ERR_INVALID_RUNTIME] = "invalid_runtime",
    [ERR_UNAUTHENTICATED] = "unauthenticated",
    [ERR_FORBIDDEN] = "forbidden",
    [ERR_NOT_FOUND] = "not_found",
    [ERR_METHOD] = "method",
    [ERR_CONFLICT] = "conflict",
    [ERR_TOO_LARGE] = "too_large",
    [ERR_QUOTA] = "quota",
    [ERR_BUILD_FAILED] = "build_failed",
    [ERR_FUNCTION] = "function",
    [ERR_TIMEOUT] = "timeout",
    [ERR_MEMORY] = "memory",
    [ERR_CRASH] = "crash",
    [ERR_LIMIT] = "limit",
    [ERR_BUSY] = "busy",
    [ERR_UNAVAILABLE] = "unavailable",
    [ERR_CANCELED] = "canceled",
    [ERR_INTERNAL] = "internal",
};

/* Takes an unfinished UTF-8 sequence off the end of TEXT, which was cut there. */
static void drop_half_char(char *text) {
    size_t len = strlen(text), lead = len;
    while (lead > 0 && len - lead < 3 && ((unsigned char)text[lead - 1] & 0xc0) == 0x80)
        lead--;
    if (lead > 0 && (unsigned char)text[lead - 1] >= 0xc0 &&
        str_utf8_step((struct str){text + lead - 1, len - lead + 1}) == 0)
        text[lead - 1] = '\0';
}

/* vsnprintf() that cuts between characters. */
static void PRINTF_LIKE(3, 0) format_cut(char *out, size_t size, const char *fmt, va_list ap) {
    int n = vsnprintf(out, size, fmt, ap);
    if (n < 0)
        out[0] = '\0';
    else if ((size_t)n >= size)
        drop_half_char(out);
}

/* The text goes through a copy, since its arguments may point into *ERR. */
static void PRINTF_LIKE(4, 0) set_all(struct error *err, enum error_code code, const char *field,
                                      const char *fmt, va_list ap) {
    struct error next = {.code = code};
    format_cut(next.text, sizeof(next.text), fmt, ap);
    if (field)
        (void)snprintf(next.field, sizeof(next.field), "%s", field);
    drop_half_char(next.field);
    *err = next;
}

int error_set(struct error *err, enum error_code code, const char *fmt, ...) {
    if (!err)
        return -1;
    va_list ap;
    va_start(ap, fmt);
    set_all(err, code, NULL, fmt, ap);
    va_end(ap);
    return -1;
}

int error_field(struct error *err, enum error_code code, const char *field, const char *fmt, ...) {
    if (!err)
        return -1;
    va_list ap;
    va_start(ap, fmt);
    set_all(err, code, field, fmt, ap);
    va_end(ap);
    return -1;
}

const char *errno_text(int errnum) {
    const char *text = strerrordesc_np(errnum);
    return text ? text : "unknown error";
}

int error_errno(struct error *err, int neg_errno, const char *what) {
    const char *text = strerrordesc_np(-neg_errno);
    if (!text)
        return error_set(err, ERR_INTERNAL, "%s: error %d", what, -neg_errno);
    return error_set(err, ERR_INTERNAL, "%s: %s", what, text);
}

int error_prepend(struct error *err, const char *fmt, ...) {
    if (!err)
        return -1;
    char context[ERROR_TEXT_MAX], text[ERROR_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    format_cut(context, sizeof(context), fmt, ap);
    va_end(ap);
    if ((size_t)snprintf(text, sizeof(text), "%s: %s", context, err->text) >= sizeof(text))
        drop_half_char(text);
    memcpy(err->text, text, sizeof(text));
    return -1;
}

const char *error_code_name(enum error_code code) {
    return (unsigned)code < ERR_COUNT ? code_names[code] : "unknown";
}
