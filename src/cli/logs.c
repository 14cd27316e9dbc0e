/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"
#include <stdio.h>
#include <time.h>

static bool as_json, colors;

static const char *color_of(struct str level) {
    if (!colors)
        return "";
    return str_is(level, "error") ? "\033[31m" : str_is(level, "warn") ? "\033[33m" : "";
}

/* "18:15:00.123" of the local day; the date stands before where it is not today. */
static void show_time(struct str rfc3339) {
    int64_t us;
    if (clock_parse_rfc3339(rfc3339, &us) < 0)
        return;
    time_t s = (time_t)(us / 1000000), now = time(NULL);
    struct tm tm, today;
    localtime_r(&s, &tm);
    localtime_r(&now, &today);
    char text[32];
    bool same = tm.tm_year == today.tm_year && tm.tm_yday == today.tm_yday;
    strftime(text, sizeof text, same ? "%H:%M:%S" : "%Y-%m-%d %H:%M:%S", &tm);
    printf("%s.%03d ", text, (int)(us / 1000 % 1000));
}

/* On a terminal, what a function printed must not move the cursor or write to the clipboard. */
static void show_text(struct str s) {
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (colors && ((c < 0x20 && c != '\t' && c != '\n') || c == 0x7f))
            printf("\\x%02x", c);
        else
            putchar(c);
    }
    putchar('\n');
}

static void show_line(const struct json *l) {
    struct str level = member_str(l, "level", "");
    const char *color = color_of(level);
    show_time(member_str(l, "timestamp", ""));
    printf("%s%-5.*s%s ", color, STR_ARG(level), *color ? "\033[0m" : "");
    show_text(member_str(l, "message", ""));
}

static void streamed(struct str line) {
    cleanup_json struct json *l = NULL;
    struct error bad;
    if (json_parse_object(line, &l, &bad) < 0)
        return;
    if (as_json)
        printf("%.*s\n", STR_ARG(line));
    else
        show_line(l);
    fflush(stdout);
}

int option_time(const char *text, const char *option, char out[RFC3339_MAX], struct error *err) {
    static const struct {
        char unit;
        int64_t s;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
    struct str s = str_of(text);
    int64_t at;
    if (clock_parse_rfc3339(s, &at) == 0) {
        (void)clock_rfc3339(at, out);
        return 0;
    }
    uint64_t n;
    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        if (s.len > 1 && s.p[s.len - 1] == units[i].unit &&
            str_u64(str_n(s.p, s.len - 1), 1000000, &n) == 0) {
            (void)clock_rfc3339(clock_real_us() - (int64_t)n * units[i].s * 1000000, out);
            return 0;
        }
    return error_set(err, ERR_INVALID,
                     "--%s wants 30s, 10m, 2h, 1d or an RFC 3339 time, not \"%s\"", option, text);
}

int option_limit(const char *text, struct error *err) {
    uint64_t n;
    if (text && str_u64(str_of(text), 1000, &n) < 0)
        return error_set(err, ERR_INVALID, "--limit wants a number up to 1000, not \"%s\"", text);
    return 0;
}

static int put_time(const char *text, const char *option, const char *name, struct buf *out,
                    struct error *err) {
    char time[RFC3339_MAX];
    if (!text)
        return 0;
    if (option_time(text, option, time, err) < 0)
        return -1;
    buf_printf(out, "&%s=%s", name, time);
    return 0;
}

int option_window(const struct options *o, const char *since, const char *until, struct buf *out,
                  struct error *err) {
    if (put_time(o->since, "since", since, out, err) < 0)
        return -1;
    return put_time(o->until, "until", until, out, err);
}

static int query(const struct options *o, struct buf *out, struct error *err) {
    if (option_limit(o->limit, err) < 0 || option_window(o, "since", "until", out, err) < 0)
        return -1;
    if (o->limit)
        buf_printf(out, "&limit=%s", o->limit);
    if (o->previous)
        buf_puts(out, "&previous=true");
    return 0;
}

static int show_stored(const char *path, struct error *err) {
    cleanup_json struct json *reply = NULL;
    const struct json *lines = NULL;
    if (client_list(path, "logs", &reply, &lines, err) < 0)
        return -1;
    if (as_json)
        return print_json(lines);
    for (size_t i = 0; i < json_count(lines); i++)
        show_line(json_item(lines, i));
    return 0;
}

int command_logs(const struct options *o, struct error *err) {
    cleanup_free char *id = NULL;
    cleanup_buf struct buf q = BUF_INIT(4096);
    as_json = o->json;
    colors = isatty(STDOUT_FILENO);
    if (function_find(o, o->args[0], &id, err) < 0 || query(o, &q, err) < 0)
        return -1;
    cleanup_free char *path =
        x_asprintf("/%s/logs?follow=%s%s", id, o->follow ? "true" : "false", buf_cstr(&q));
    return o->follow ? client_stream(path, streamed, err) : show_stored(path, err);
}
