/* SPDX-License-Identifier: Apache-2.0 */
/* The scanner against jansson, and its parts against each other. */
#include <jansson.h>

#include "fuzz.h"
#include "json/scan.h"
#include "json/write.h"

/* What jansson says: 1 accepted, 0 refused, -1 no answer (numbers beyond its types, names with a
 * NUL in them, and text that only one of the two finds too deep). */
static int opinion(struct str text, bool deep) {
    json_error_t e;
    if (text.len && memchr(text.p, '\0', text.len)) /* it takes "1\0" for "1" */
        return 0;
    json_t *tree = json_loadb(text.p, text.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &e);
    json_decref(tree);
    if (tree)
        return deep ? -1 : 1;
    enum json_error_code code = json_error_code(&e);
    return code == json_error_numeric_overflow || code == json_error_stack_overflow ||
                   code == json_error_null_byte_in_key
               ? -1
               : 0;
}

static bool maybe_deep(struct str text) {
    size_t open = 0;
    for (size_t i = 0; i < text.len; i++)
        open += text.p[i] == '[' || text.p[i] == '{';
    return open > JSON_DEPTH_MAX;
}

/* A string that was unescaped, written and unescaped again is the same. */
static void check_string(struct str escaped) {
    cleanup_buf struct buf once = BUF_INIT(MIB), again = BUF_INIT(MIB), text = BUF_INIT(8 * MIB);
    struct json_w w;
    MUST(json_unescape(escaped, &once) == 0);
    MUST(str_is_utf8(buf_str(&once)));
    json_w_init(&w, &text);
    jw_str(&w, buf_str(&once));
    MUST(json_w_done(&w) == 0 && json_check(buf_str(&text), NULL) == 0);
    MUST(json_unescape(json_inside(buf_str(&text)), &again) == 0);
    MUST(str_eq(buf_str(&once), buf_str(&again)));
    if (once.len == 0 || !memchr(once.p, 0, once.len))
        MUST(json_key_is(escaped, buf_cstr(&once)));
}

static void check_members(struct str text, int whole) {
    struct json_members it;
    struct json_member m;
    if (json_members_open(&it, text) < 0)
        return;
    int r;
    while ((r = json_members_next(&it, &m)) > 0) {
        MUST(json_check(m.value, NULL) == 0);
        check_string(m.key);
        if (m.kind == JSON_KIND_STRING)
            check_string(json_inside(m.value));
    }
    MUST(r == whole);
    MUST(it.at <= text.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > 256 * KIB)
        return 0;
    struct str text = str_n(data, size);
    size_t at = 0;
    int r = json_check(text, &at);
    MUST(at <= size);
    int other = opinion(text, maybe_deep(text));
    MUST(other < 0 || (other == 1) == (r == 0));
    check_members(text, r);
    return 0;
}
