/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include "base/clock.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>

/* A line is at most this long; values are cut to fit and the line still ends well-formed. */
enum { LINE_MAX_BYTES = 4096, LINE_TAIL = 8 };

static atomic_int least_level = LOG_LEVEL_INFO;
static atomic_int line_format = LOG_FORMAT_TEXT;

struct line {
    size_t len;
    bool full;
    char p[LINE_MAX_BYTES];
};

void log_setup(enum log_level least, enum log_format format) {
    atomic_store(&least_level, least);
    atomic_store(&line_format, format);
}

/* All or nothing; once full, nothing more but the tail that is kept free for its end. */
static void put(struct line *l, const char *p, size_t n) {
    if (l->full || n > LINE_MAX_BYTES - LINE_TAIL - l->len) {
        l->full = true;
        return;
    }
    memcpy(l->p + l->len, p, n);
    l->len += n;
}

static void puts_(struct line *l, const char *s) {
    put(l, s, strlen(s));
}

/* One character of S: as it is, or escaped where it could end the line, the quotes, or speak to a
 * terminal (C0, DEL, C1). Returns the bytes used. Both forms escape as JSON does. */
static size_t put_char(struct line *l, struct str s) {
    unsigned char c = (unsigned char)s.p[0];
    size_t n = str_utf8_step(s);
    char escaped[8];
    if (n == 0) {
        put(l, "\xef\xbf\xbd", 3); /* U+FFFD */
        return 1;
    }
    if (c == '"' || c == '\\') {
        put(l, (const char[]){'\\', (char)c}, 2);
    } else if (c == '\n') {
        put(l, "\\n", 2);
    } else if (c == '\t') {
        put(l, "\\t", 2);
    } else if (c < 0x20 || c == 0x7f || (c == 0xc2 && (unsigned char)s.p[1] < 0xa0)) {
        unsigned code = c == 0xc2 ? (unsigned char)s.p[1] : c;
        (void)snprintf(escaped, sizeof(escaped), "\\u%04x", code);
        put(l, escaped, 6);
    } else {
        put(l, s.p, n);
    }
    return n;
}

static void put_escaped(struct line *l, struct str s) {
    while (s.len && !l->full) {
        size_t n = put_char(l, s);
        s = (struct str){s.p + n, s.len - n};
    }
}

static void put_quoted(struct line *l, struct str s) {
    puts_(l, "\"");
    put_escaped(l, s);
    if (l->len < LINE_MAX_BYTES - LINE_TAIL / 2) /* the tail has room for this quote */
        l->p[l->len++] = '"';
}

static bool is_bare(struct str s) {
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c <= ' ' || c >= 0x7f || c == '"' || c == '=' || c == '\\')
            return false;
    }
    return s.len > 0;
}

static void put_int(struct line *l, int64_t v) {
    char digits[24];
    int n = snprintf(digits, sizeof(digits), "%lld", (long long)v);
    put(l, digits, (size_t)n);
}

/* A field goes in whole, or cut inside its value, but never cut inside its key. */
static void put_field(struct line *l, const struct log_field *f, bool json) {
    size_t before = l->len;
    if (json) {
        puts_(l, ",");
        put_quoted(l, str_of(f->key));
        puts_(l, ":");
    } else {
        puts_(l, " ");
        puts_(l, f->key);
        puts_(l, "=");
    }
    if (!l->full && f->kind == LOG_FIELD_INT)
        put_int(l, f->i);
    if (l->full || LINE_MAX_BYTES - LINE_TAIL - l->len < 2) {
        l->len = before;
        l->full = true;
    } else if (f->kind == LOG_FIELD_STR) {
        if (!json && is_bare(f->s))
            put_escaped(l, f->s);
        else
            put_quoted(l, f->s);
    }
}

static void put_head(struct line *l, enum log_level level, const char *event, bool json) {
    static const char *const names[] = {"debug", "info", "warn", "error"};
    char ts[RFC3339_MAX];
    /* Whole milliseconds, always shown, so that lines stand in columns and sort. */
    int64_t ms = clock_real_us() / 1000;
    (void)clock_rfc3339(ms / 1000 * 1000000, ts);
    ts[strlen(ts) - 1] = '\0';
    char head[96];
    int n = snprintf(head, sizeof(head),
                     json ? "{\"ts\":\"%s.%03dZ\",\"level\":\"%s\",\"event\":" : "%s.%03dZ %-5s ",
                     ts, (int)(ms % 1000), names[level]);
    put(l, head, (size_t)n);
    if (json)
        put_quoted(l, str_of(event));
    else
        put_escaped(l, str_of(event));
}

void log_emit(enum log_level level, const char *event, const struct log_field *fields) {
    if ((int)level < atomic_load_explicit(&least_level, memory_order_relaxed))
        return;
    bool json = atomic_load_explicit(&line_format, memory_order_relaxed) == LOG_FORMAT_JSON;
    int saved = errno;
    struct line l;
    l.len = 0;
    l.full = false;
    put_head(&l, level, event, json);
    for (const struct log_field *f = fields; f && f->key && !l.full; f++)
        put_field(&l, f, json);
    if (json)
        l.p[l.len++] = '}';
    l.p[l.len++] = '\n';
    ssize_t n UNUSED;
    do
        n = write(STDERR_FILENO, l.p, l.len);
    while (n < 0 && errno == EINTR);
    errno = saved;
}
