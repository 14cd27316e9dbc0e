/* SPDX-License-Identifier: Apache-2.0 */
#include "json/write.h"
#include "base/clock.h"
#include "json/scan.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>

static void put(struct json_w *w, const char *p, size_t n) {
    if (w->error == 0)
        w->error = buf_put(w->out, p, n);
}

static void before_value(struct json_w *w) {
    if (w->comma)
        put(w, ",", 1);
    w->comma = true;
}

static void put_value(struct json_w *w, const char *p, size_t n) {
    before_value(w);
    put(w, p, n);
}

static void begin(struct json_w *w, char c) {
    put_value(w, &c, 1);
    w->comma = false;
}

static void end(struct json_w *w, char c) {
    put(w, &c, 1);
    w->comma = true;
}

void jw_begin_object(struct json_w *w) {
    begin(w, '{');
}

void jw_end_object(struct json_w *w) {
    end(w, '}');
}

void jw_begin_array(struct json_w *w) {
    begin(w, '[');
}

void jw_end_array(struct json_w *w) {
    end(w, ']');
}

/* One ASCII byte that may not stand in a string as it is. */
static void put_escape(struct json_w *w, unsigned char c) {
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    const char *at = c ? strchr(from, c) : NULL;
    char escape[8];
    int n = at ? snprintf(escape, sizeof(escape), "\\%c", to[at - from])
               : snprintf(escape, sizeof(escape), "\\u%04x", c);
    put(w, escape, (size_t)n);
}

/* What needs no escape goes out in runs, valid UTF-8 included. */
static void put_escaped(struct json_w *w, struct str s) {
    const char *run = s.p, *p = s.p, *stop = s.p + s.len;
    while ((p = json_skip_plain(p, stop)) < stop && w->error == 0) {
        size_t n = str_utf8_step((struct str){p, (size_t)(stop - p)});
        if (n > 1) {
            p += n;
            continue;
        }
        put(w, run, (size_t)(p - run));
        if (n == 1)
            put_escape(w, (unsigned char)*p);
        else
            put(w, "\xef\xbf\xbd", 3);
        run = ++p;
    }
    put(w, run, (size_t)(stop - run));
}

void jw_str(struct json_w *w, struct str s) {
    before_value(w);
    put(w, "\"", 1);
    if (s.len)
        put_escaped(w, s);
    put(w, "\"", 1);
}

void jw_key_str(struct json_w *w, struct str name) {
    jw_str(w, name);
    put(w, ":", 1);
    w->comma = false;
}

void jw_key(struct json_w *w, const char *name) {
    jw_key_str(w, str_of(name));
}

void jw_cstr(struct json_w *w, const char *s) {
    if (s)
        jw_str(w, str_of(s));
    else
        jw_null(w);
}

void jw_u64(struct json_w *w, uint64_t v) {
    before_value(w);
    if (w->error == 0)
        w->error = buf_put_u64(w->out, v);
}

void jw_int(struct json_w *w, int64_t v) {
    if (v >= 0) {
        jw_u64(w, (uint64_t)v);
        return;
    }
    before_value(w);
    put(w, "-", 1);
    if (w->error == 0)
        w->error = buf_put_u64(w->out, 0 - (uint64_t)v);
}

void jw_double(struct json_w *w, double v) {
    char text[32];
    if (!isfinite(v)) {
        jw_null(w);
        return;
    }
    int n = snprintf(text, sizeof(text), "%.15g", v);
    double back = strtod(text, NULL);
    if (back < v || back > v)
        n = snprintf(text, sizeof(text), "%.17g", v);
    put_value(w, text, (size_t)n);
}

void jw_bool(struct json_w *w, bool v) {
    jw_raw(w, v ? STR("true") : STR("false"));
}

void jw_null(struct json_w *w) {
    jw_raw(w, STR("null"));
}

void jw_raw(struct json_w *w, struct str json) {
    put_value(w, json.p, json.len);
}

void jw_base64(struct json_w *w, struct str bytes) {
    put_value(w, "\"", 1);
    if (w->error == 0)
        w->error = buf_put_base64(w->out, bytes);
    put(w, "\"", 1);
}

void jw_str_member(struct json_w *w, const char *name, struct str s) {
    jw_key(w, name);
    jw_str(w, s);
}

void jw_cstr_member(struct json_w *w, const char *name, const char *s) {
    jw_key(w, name);
    jw_cstr(w, s);
}

void jw_u64_member(struct json_w *w, const char *name, uint64_t v) {
    jw_key(w, name);
    jw_u64(w, v);
}

void jw_double_member(struct json_w *w, const char *name, double v) {
    jw_key(w, name);
    jw_double(w, v);
}

void jw_bool_member(struct json_w *w, const char *name, bool v) {
    jw_key(w, name);
    jw_bool(w, v);
}

void jw_null_member(struct json_w *w, const char *name) {
    jw_key(w, name);
    jw_null(w);
}

void jw_raw_member(struct json_w *w, const char *name, struct str json) {
    jw_key(w, name);
    jw_raw(w, json);
}

void jw_object_member(struct json_w *w, const char *name) {
    jw_key(w, name);
    jw_begin_object(w);
}

void jw_array_member(struct json_w *w, const char *name) {
    jw_key(w, name);
    jw_begin_array(w);
}

void jw_time_member(struct json_w *w, const char *name, int64_t real_us) {
    char text[RFC3339_MAX];
    jw_cstr_member(w, name, real_us ? clock_rfc3339(real_us, text) : NULL);
}
