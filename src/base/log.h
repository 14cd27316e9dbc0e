/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_BASE_LOG_H
#define KILN_BASE_LOG_H

/* The server's own structured log: one line an event on standard error, as logfmt or JSON.
 * Thread-safe, one write(2) a line. Libraries below `engine` do not log: they return errors.
 * Never give it a token, a body, or an environment value. */

#include "base/str.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

struct log_field {
    const char *key; /* NULL ends the list */
    enum { LOG_FIELD_STR, LOG_FIELD_INT } kind;
    struct str s;
    int64_t i;
};
#define LOG_STR(k, v)                                                                              \
    ((struct log_field){.key = (k), .kind = LOG_FIELD_STR, .s = str_of(v)}) /* NUL-ended string */
#define LOG_SPAN(k, v) ((struct log_field){.key = (k), .kind = LOG_FIELD_STR, .s = (v)})
#define LOG_INT(k, v)  ((struct log_field){.key = (k), .kind = LOG_FIELD_INT, .i = (int64_t)(v)})

void log_setup(enum log_level least, enum log_format format);
void log_emit(enum log_level level, const char *event, const struct log_field *fields);
#ifdef __cppcheck__ /* knows no __VA_OPT__; tools/lint.py defines it */
#define LOG_AT(level, event, ...) log_emit(level, event, NULL)
#else
#define LOG_AT(level, event, ...)                                                                  \
    log_emit(level, event, (const struct log_field[]){__VA_ARGS__ __VA_OPT__(, ){0}})
#endif
/* EVENT says what happened in a few words ("listening", "instance killed"). */
#define log_debug(event, ...) LOG_AT(LOG_LEVEL_DEBUG, event, __VA_ARGS__)
#define log_info(event, ...)  LOG_AT(LOG_LEVEL_INFO, event, __VA_ARGS__)
#define log_warn(event, ...)  LOG_AT(LOG_LEVEL_WARN, event, __VA_ARGS__)
#define log_error(event, ...) LOG_AT(LOG_LEVEL_ERROR, event, __VA_ARGS__)

#endif
