/* SPDX-License-Identifier: Apache-2.0 */
/* Results of calls into replies. What comes here was made by the function: hostile. */

#include "invoke/invoke.h"
#include "json/write.h"

bool invoke_header_next(struct wire_in *in, uint32_t *left, struct http_header *ret) {
    if (*left == INVOKE_HEADERS_START)
        *left = wire_get_u32(in);
    while (*left > 0 && !in->bad) {
        struct http_header h = {wire_get_str(in), wire_get_str(in)};
        --*left;
        h.value = str_trim(h.value);
        if (in->bad || !http_is_token(h.name) || !http_is_field_value(h.value))
            continue;
        if (!invoke_header_passes(h.name, INVOKE_PUBLIC))
            continue;
        *ret = h;
        return true;
    }
    return false;
}

const char *invoke_content_type(enum wire_body kind) {
    switch (kind) {
    case WIRE_BODY_JSON:
        return "application/json";
    case WIRE_BODY_TEXT:
        return "text/plain; charset=utf-8";
    case WIRE_BODY_BYTES:
        return "application/octet-stream";
    case WIRE_BODY_NONE:
        break;
    }
    return NULL;
}

/* Every value of HEADERS[I]'s name, from I on; the ones written are blanked. */
static void write_values(struct json_w *w, struct http_header *headers, size_t n, size_t i,
                         bool singles) {
    struct str name = headers[i].name;
    size_t count = 0;
    for (size_t k = i; k < n; k++)
        count += str_ieq(headers[k].name, name);
    jw_key_str(w, name);
    if (singles && count == 1) {
        jw_str(w, headers[i].value);
        return;
    }
    jw_begin_array(w);
    for (size_t k = i; k < n; k++) {
        if (!str_ieq(headers[k].name, name))
            continue;
        jw_str(w, headers[k].value);
        if (k > i)
            headers[k].name = STR_NULL;
    }
    jw_end_array(w);
}

size_t invoke_headers_json(struct buf *out, struct wire_in in, bool singles,
                           struct http_header extra) {
    struct http_header headers[WIRE_HEADERS_MAX + 1];
    size_t n = 0, names = 0;
    uint32_t left = INVOKE_HEADERS_START;
    while (n < WIRE_HEADERS_MAX && invoke_header_next(&in, &left, &headers[n])) {
        if (extra.name.p && str_ieq(headers[n].name, extra.name))
            extra.name = STR_NULL;
        n++;
    }
    if (extra.name.p)
        headers[n++] = extra;
    struct json_w w;
    json_w_init(&w, out);
    jw_begin_object(&w);
    for (size_t i = 0; i < n; i++) {
        if (!headers[i].name.p)
            continue;
        names++;
        write_values(&w, headers, n, i, singles);
    }
    jw_end_object(&w);
    return names;
}

const char *invoke_cause(enum error_code code) {
    switch (code) {
    case ERR_FUNCTION:
        return "function";
    case ERR_TIMEOUT:
        return "timeout";
    case ERR_MEMORY:
        return "memory";
    case ERR_CRASH:
        return "crash";
    case ERR_LIMIT:
        return "limit";
    case ERR_BUSY:
        return "busy";
    default:
        return "platform";
    }
}

#define RETRY_AFTER_S 1 /* a full queue empties in about the time of a call */

void invoke_error(const struct engine_result *r, struct error *err) {
    const char *text = r->error_text;
    if (!text || !text[0]) /* raise MemoryError: its name says it all */
        text = r->error_type && r->error_type[0] ? r->error_type : "the call failed";
    (void)error_set(err, r->cause, "%s", text);
    if (r->cause == ERR_BUSY || r->cause == ERR_UNAVAILABLE)
        err->retry_after_s = RETRY_AFTER_S;
}
