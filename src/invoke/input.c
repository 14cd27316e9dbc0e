/* SPDX-License-Identifier: Apache-2.0 */
/* Requests into calls. */

#include "invoke/invoke.h"
#include "json/scan.h"

/* Of one connection (RFC 9110 section 7.6.1), of a proxy, or settled before the function runs. */
static const char *const CONNECTION_HEADERS[] = {
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
};

static bool is_connection_header(struct str name) {
    for (size_t i = 0; i < ARRAY_LEN(CONNECTION_HEADERS); i++) {
        if (str_ieq(name, str_of(CONNECTION_HEADERS[i])))
            return true;
    }
    return false;
}

/* kiln's own word to whoever runs the call, and to whoever made it: nobody else says it. */
static bool is_own_header(struct str name) {
    return name.len >= 7 && str_ieq(str_n(name.p, 7), STR("x-kiln-"));
}

bool invoke_header_passes(struct str lower_name, enum invoke_pass pass) {
    if (pass == INVOKE_PRIVATE && str_is(lower_name, "authorization"))
        return false;
    return !is_connection_header(lower_name) && !is_own_header(lower_name);
}

/* Connection: close, X-Hop names X-Hop as a header of this connection alone. */
static bool named_by_connection(struct str connection, struct str lower_name) {
    while (connection.p) {
        if (str_ieq(str_trim(str_cut(&connection, ',')), lower_name))
            return true;
    }
    return false;
}

static void add_headers(struct engine_input *in, const struct http_head *head,
                        enum invoke_pass pass) {
    struct str connection = http_head_get(head, "connection");
    for (size_t i = 0; i < head->n_headers; i++) {
        struct http_header h = head->headers[i];
        if (invoke_header_passes(h.name, pass) && !named_by_connection(connection, h.name))
            engine_input_header(in, h.name, h.value);
    }
}

static int add_query(struct engine_input *in, struct str raw, struct arena *a, struct error *err) {
    struct str name, value;
    int rc = 0;
    while (raw.p && (rc = url_query_next(&raw, a, &name, &value)) > 0)
        engine_input_query(in, name, value);
    if (rc < 0)
        return error_field(err, ERR_INVALID, "query", "the query has a broken %%-escape");
    return 0;
}

int invoke_input_head(struct engine_input *in, const struct http_head *head, enum invoke_pass pass,
                      struct arena *a, struct error *err) {
    if (add_query(in, head->query, a, err) < 0)
        return -1;
    engine_input_headers(in);
    add_headers(in, head, pass);
    return 0;
}

int invoke_input_end(struct engine_input *in, struct error *err) {
    if (engine_input_end(in) == 0)
        return 0;
    return error_set(err, ERR_TOO_LARGE, "headers and query are over %zu bytes or %d entries",
                     CORE_CALL_HEAD_MAX, WIRE_HEADERS_MAX);
}

static struct str media_type(struct str content_type) {
    return str_trim(str_cut(&content_type, ';'));
}

static bool ends_ieq(struct str s, const char *suffix) {
    struct str want = str_of(suffix);
    return s.len >= want.len && str_ieq(str_n(s.p + s.len - want.len, want.len), want);
}

/* "application/json", "application/problem+json; charset=utf-8" */
static bool is_json_type(struct str content_type) {
    struct str type = media_type(content_type);
    return str_ieq(type, STR("application/json")) || ends_ieq(type, "+json");
}

static bool is_text_type(struct str content_type) {
    static const char *const TEXT[] = {
        "application/json",     "application/x-www-form-urlencoded",
        "application/xml",      "application/javascript",
        "application/x-ndjson", "application/yaml",
        "application/graphql",
    };
    struct str type = media_type(content_type);
    for (size_t i = 0; i < ARRAY_LEN(TEXT); i++) {
        if (str_ieq(type, str_of(TEXT[i])))
            return true;
    }
    return ends_ieq(type, "+xml") || ends_ieq(type, "+json") ||
           (type.len >= 5 && str_ieq(str_n(type.p, 5), STR("text/")));
}

enum wire_body invoke_body_kind(struct str content_type, struct str body) {
    if (body.len == 0)
        return WIRE_BODY_NONE;
    bool typed = content_type.p != NULL;
    bool json = typed ? is_json_type(content_type) : body.p[0] == '{' || body.p[0] == '[';
    if (json && json_check(body, NULL) == 0)
        return WIRE_BODY_JSON;
    if ((!typed || is_text_type(content_type)) && str_is_utf8(body))
        return WIRE_BODY_TEXT;
    return WIRE_BODY_BYTES;
}
