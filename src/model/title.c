/* SPDX-License-Identifier: Apache-2.0 */
/* Names that people wrote freely ("Resize images", "/a/b", "이미지") as names of kiln. */

#include "base/siphash.h"
#include "model/model.h"
#include <stdio.h>

#define HASH_DIGITS 8

static bool is_word(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static int refuse(struct error *err, const char *field) {
    return error_field(err, ERR_INVALID, field,
                       "%s must be 1 to %d bytes of UTF-8 without control characters", field,
                       TITLE_MAX_LEN);
}

/* Words joined by '-', cut so that the hash has room. The number of bytes. */
static size_t squeeze(struct str title, char *out, size_t max) {
    size_t n = 0;
    bool gap = false;
    for (size_t i = 0; i < title.len && n + 2 <= max; i++) {
        if (!is_word(title.p[i])) {
            gap = n > 0;
            continue;
        }
        if (gap)
            out[n++] = '-';
        gap = false;
        out[n++] = title.p[i];
    }
    return n;
}

int name_of_title(struct str title, const char *field, char out[NAME_MAX_LEN + 1],
                  struct error *err) {
    struct str bare = title.len && title.p[0] == '/' ? str_n(title.p + 1, title.len - 1) : title;
    if (check_name(bare, field, err) == 0) {
        memcpy(out, bare.p, bare.len);
        out[bare.len] = '\0';
        return 0;
    }
    if (title.len == 0 || title.len > TITLE_MAX_LEN || !str_is_utf8(title))
        return refuse(err, field);
    for (size_t i = 0; i < title.len; i++)
        if ((unsigned char)title.p[i] < ' ' || title.p[i] == 0x7f)
            return refuse(err, field);
    size_t n = squeeze(title, out, NAME_MAX_LEN - HASH_DIGITS - 1);
    /* No secret key: the same name on every machine and for ever. */
    uint32_t hash = (uint32_t)siphash13(0, 0, title.p, title.len);
    snprintf(out + n, HASH_DIGITS + 2, "%s%08x", n ? "-" : "", hash);
    return 0;
}

int function_set_title(struct function *f, struct str title, const char *field, struct error *err) {
    char name[NAME_MAX_LEN + 1];
    if (name_of_title(title, field, name, err) < 0)
        return -1;
    free(f->name);
    free(f->title);
    f->name = x_strdup(name);
    f->title = str_is(title, name) ? NULL : x_strndup(title.p, title.len);
    return 0;
}

const char *function_title(const struct function *f) {
    return f->title ? f->title : f->name;
}
