/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_JSON_WRITE_H
#define KILN_JSON_WRITE_H

/* struct json_w: writes JSON into a struct buf as it goes, with the commas. The first failure (the
 * buf is full) sticks: later calls do nothing and json_w_done() returns it. Calls must nest as JSON
 * does; that is not checked. Compact form, no blanks. Functions begin with jw_, since libjansson
 * holds names like json_object(). Not thread-safe. */

#include "base/buf.h"

struct json_w {
    struct buf *out;
    int error;  /* 0 or -errno */
    bool comma; /* a value stands before, so the next needs a comma */
};

static inline void json_w_init(struct json_w *w, struct buf *out) {
    *w = (struct json_w){.out = out};
}
/* 0, or the failure that stuck; what was written until then is in the buf. */
static inline int json_w_done(const struct json_w *w) {
    return w->error;
}

void jw_begin_object(struct json_w *w);
void jw_end_object(struct json_w *w);
void jw_begin_array(struct json_w *w);
void jw_end_array(struct json_w *w);
void jw_key(struct json_w *w, const char *name);
void jw_key_str(struct json_w *w, struct str name);
/* Bytes that are not UTF-8 become U+FFFD, one each. */
void jw_str(struct json_w *w, struct str s);
void jw_cstr(struct json_w *w, const char *s); /* NULL becomes null */
void jw_int(struct json_w *w, int64_t v);
void jw_u64(struct json_w *w, uint64_t v);
/* 15 digits where they are enough to read the same number back, else 17. What is not finite has no
 * form in JSON and becomes null. */
void jw_double(struct json_w *w, double v);
void jw_bool(struct json_w *w, bool v);
void jw_null(struct json_w *w);
/* One value that is JSON already (checked by whoever made it). */
void jw_raw(struct json_w *w, struct str json);
/* A string holding base64 of the bytes. */
void jw_base64(struct json_w *w, struct str bytes);

/* A member of the open object: its name and value. */
void jw_str_member(struct json_w *w, const char *name, struct str s);
void jw_cstr_member(struct json_w *w, const char *name, const char *s);
void jw_u64_member(struct json_w *w, const char *name, uint64_t v);
void jw_double_member(struct json_w *w, const char *name, double v);
void jw_bool_member(struct json_w *w, const char *name, bool v);
void jw_null_member(struct json_w *w, const char *name);
void jw_raw_member(struct json_w *w, const char *name, struct str json);
void jw_object_member(struct json_w *w, const char *name); /* opens it */
void jw_array_member(struct json_w *w, const char *name);  /* opens it */
/* A time as RFC 3339 text; 0 is null. */
void jw_time_member(struct json_w *w, const char *name, int64_t real_us);

#endif
