/* SPDX-License-Identifier: Apache-2.0 */
#include "http/parser.h"

#include <arpa/inet.h>
#include <errno.h>

#include "http/chars.h"

enum {
    AT_START, /* nothing yet; one empty line before the request line is let pass (RFC 9112, 2.2) */
    AT_REQUEST_LINE,
    AT_FIELDS,
};

/* method SP target SP HTTP/1.1 CR */
#define REQUEST_LINE_MAX (HTTP_METHOD_MAX + HTTP_TARGET_MAX + 11)

static int refuse(const char **ret_reason, int status, const char *reason) {
    *ret_reason = reason;
    return -status;
}

void http_head_init(struct http_head *h) {
    memset(h, 0, offsetof(struct http_head, headers));
}

bool http_is_token(struct str s) {
    for (size_t i = 0; i < s.len; i++)
        if (!http_char_is(s.p[i], CHAR_TOKEN))
            return false;
    return s.len > 0;
}

bool http_is_field_value(struct str s) {
    unsigned bad = 0; /* no early exit: so the compiler may use vectors */
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bad |= (unsigned)((c < 0x20) & (c != '\t')) | (unsigned)(c == 0x7f);
    }
    return !bad;
}

/* ---- host ---- */
static bool is_port(struct str s) {
    uint64_t port;
    return s.len == 0 || (s.len <= 5 && str_u64(s, 65535, &port) == 0);
}

static bool is_ipv6(struct str s) {
    char text[INET6_ADDRSTRLEN];
    struct in6_addr addr;
    if (s.len >= sizeof(text) || memchr(s.p, 0, s.len))
        return false;
    memcpy(text, s.p, s.len);
    text[s.len] = 0;
    return inet_pton(AF_INET6, text, &addr) == 1;
}

static bool is_reg_name(struct str s) {
    for (size_t i = 0; i < s.len; i++) {
        if (http_char_is(s.p[i], CHAR_HOST))
            continue;
        if (s.p[i] != '%' || s.len - i < 3 || hex_value(s.p[i + 1]) < 0 ||
            hex_value(s.p[i + 2]) < 0)
            return false;
        i += 2;
    }
    return s.len > 0 && s.len <= 255;
}

bool http_is_host(struct str s) {
    if (s.len > 0 && s.p[0] == '[') {
        const char *end = memchr(s.p, ']', s.len);
        if (!end || !is_ipv6(str_n(s.p + 1, (size_t)(end - s.p) - 1)))
            return false;
        struct str rest = str_n(end + 1, (size_t)(s.p + s.len - end) - 1);
        return rest.len == 0 || (rest.p[0] == ':' && is_port(str_n(rest.p + 1, rest.len - 1)));
    }
    struct str name = str_cut(&s, ':');
    return is_reg_name(name) && (!s.p || is_port(s));
}

/* ---- request line ---- */
static const struct {
    struct str name;
    enum http_method id;
} methods[] = {
    {{"GET", 3}, HTTP_GET},         {{"POST", 4}, HTTP_POST},   {{"PUT", 3}, HTTP_PUT},
    {{"DELETE", 6}, HTTP_DELETE},   {{"PATCH", 5}, HTTP_PATCH}, {{"HEAD", 4}, HTTP_HEAD},
    {{"OPTIONS", 7}, HTTP_OPTIONS},
};

static enum http_method method_of(struct str s) {
    for (size_t i = 0; i < ARRAY_LEN(methods); i++)
        if (str_eq(methods[i].name, s))
            return methods[i].id;
    return HTTP_OTHER;
}

static int take_version(struct http_head *h, struct str s, const char **ret_reason) {
    if (s.len != 8 || memcmp(s.p, "HTTP/", 5) != 0 || s.p[6] != '.' || s.p[5] < '0' ||
        s.p[5] > '9' || s.p[7] < '0' || s.p[7] > '9')
        return refuse(ret_reason, 400, "The request line is malformed.");
    if (s.p[5] != '1' || s.p[7] > '1')
        return refuse(ret_reason, 505, "Only HTTP/1.1 and HTTP/1.0 are spoken here.");
    h->minor = (uint8_t)(s.p[7] - '0');
    return 0;
}

static void take_path(struct http_head *h, struct str s) {
    h->path = str_cut(&s, '?');
    h->query = s;
}

/* "http://authority/path?query" (RFC 9112 section 3.2.2). */
static int take_absolute(struct http_head *h, struct str s, const char **ret_reason) {
    size_t skip = s.len >= 7 && str_ieq(str_n(s.p, 7), STR("http://"))    ? 7
                  : s.len >= 8 && str_ieq(str_n(s.p, 8), STR("https://")) ? 8
                                                                          : 0;
    if (!skip)
        return refuse(ret_reason, 400, "The request target is malformed.");
    s = str_n(s.p + skip, s.len - skip);
    size_t n = 0;
    while (n < s.len && s.p[n] != '/' && s.p[n] != '?')
        n++;
    h->host = str_n(s.p, n);
    if (!http_is_host(h->host))
        return refuse(ret_reason, 400, "The host in the request target is malformed.");
    take_path(h, str_n(s.p + n, s.len - n));
    if (h->path.len == 0)
        h->path = h->method_id == HTTP_OPTIONS && !h->query.p ? STR("*") : STR("/");
    return 0;
}

static int take_target(struct http_head *h, struct str s, const char **ret_reason) {
    if (s.len > HTTP_TARGET_MAX)
        return refuse(ret_reason, 414, "The request target is too long.");
    for (size_t i = 0; i < s.len; i++)
        if (!http_char_is(s.p[i], CHAR_TARGET))
            return refuse(ret_reason, 400, "The request target holds a byte that must be encoded.");
    h->target = s;
    if (s.len > 0 && s.p[0] == '/') {
        take_path(h, s);
        return 0;
    }
    if (str_is(s, "*") && h->method_id == HTTP_OPTIONS) {
        h->path = s;
        return 0;
    }
    return take_absolute(h, s, ret_reason);
}

static int take_request_line(struct http_head *h, struct str line, const char **ret_reason) {
    h->method = str_cut(&line, ' ');
    struct str target = str_cut(&line, ' ');
    if (!line.p || !http_is_token(h->method))
        return refuse(ret_reason, 400, "The request line is malformed.");
    int r = take_version(h, line, ret_reason);
    if (r < 0)
        return r;
    if (h->method.len > HTTP_METHOD_MAX || str_is(h->method, "CONNECT"))
        return refuse(ret_reason, 501, "The method is not supported.");
    h->method_id = method_of(h->method);
    return take_target(h, target, ret_reason);
}

/* ---- header fields ---- */
static int take_length(struct http_head *h, struct str v, const char **ret_reason) {
    if (h->has_length)
        return refuse(ret_reason, 400, "Content-Length is given twice.");
    int r = str_u64(v, INT64_MAX, &h->content_length);
    if (r == -ERANGE)
        return refuse(ret_reason, 413, "The body is too large.");
    if (r < 0)
        return refuse(ret_reason, 400, "Content-Length is not a number.");
    h->has_length = true;
    return 0;
}

static int take_host(struct http_head *h, struct str v, const char **ret_reason) {
    if (h->has_host)
        return refuse(ret_reason, 400, "Host is given twice.");
    if (!http_is_host(v))
        return refuse(ret_reason, 400, "Host is malformed.");
    h->has_host = true;
    if (!h->host.p) /* that of an absolute target goes before */
        h->host = v;
    return 0;
}

static int take_connection(struct http_head *h, struct str v, const char **ret_reason) {
    (void)ret_reason;
    while (v.p) {
        struct str option = str_trim(str_cut(&v, ','));
        if (str_ieq(option, STR("close")))
            h->conn_close = true;
        else if (str_ieq(option, STR("keep-alive")))
            h->conn_keep = true;
    }
    return 0;
}

static int take_coding(struct http_head *h, struct str v, const char **ret_reason) {
    if (h->has_te)
        return refuse(ret_reason, 400, "Transfer-Encoding is given twice.");
    h->has_te = true;
    if (!str_ieq(v, STR("chunked")))
        return refuse(ret_reason, 501, "The only transfer coding understood is chunked.");
    return 0;
}

static int take_expect(struct http_head *h, struct str v, const char **ret_reason) {
    if (!str_ieq(v, STR("100-continue")))
        return refuse(ret_reason, 417, "The only expectation understood is 100-continue.");
    h->expect_continue = true;
    return 0;
}

static const struct special {
    struct str name;
    int (*take)(struct http_head *h, struct str value, const char **ret_reason);
} specials[] = {
    {{"host", 4}, take_host},
    {{"content-length", 14}, take_length},
    {{"connection", 10}, take_connection},
    {{"transfer-encoding", 17}, take_coding},
    {{"expect", 6}, take_expect},
};

/* RAW is the value with the blanks around it. Tabs are lawful there, but implementations differ
 * over them, so the headers that frame the message do without. */
static int take_special(struct http_head *h, const struct http_header *f, struct str raw,
                        const char **ret_reason) {
    for (size_t i = 0; i < ARRAY_LEN(specials); i++) {
        if (!str_eq(specials[i].name, f->name))
            continue;
        if (memchr(raw.p, '\t', raw.len))
            return refuse(ret_reason, 400, "A header that frames the request holds a tab.");
        return specials[i].take(h, f->value, ret_reason);
    }
    return 0;
}

/* Writes the name's bytes in lower case; its length, up to the first byte that is no tchar. */
static size_t lower_name(char *p, size_t len) {
    size_t n = 0;
    for (; n < len; n++) {
        char c = http_token_lower[(uint8_t)p[n]];
        if (!c)
            break;
        p[n] = c;
    }
    return n;
}

static int take_field(struct http_head *h, char *p, size_t len, const char **ret_reason) {
    if (p[0] == ' ' || p[0] == '\t')
        return refuse(ret_reason, 400, "Folded header lines are not accepted.");
    size_t n = lower_name(p, len);
    if (n == 0 || n == len || p[n] != ':')
        return refuse(ret_reason, 400, "A header name is malformed.");
    struct str raw = str_n(p + n + 1, len - n - 1), value = str_trim(raw);
    if (!http_is_field_value(value))
        return refuse(ret_reason, 400, "A header value holds a control byte.");
    if (h->n_headers == HTTP_HEADERS_MAX)
        return refuse(ret_reason, 431, "There are too many headers.");
    struct http_header *f = &h->headers[h->n_headers++];
    *f = (struct http_header){str_n(p, n), value};
    return take_special(h, f, raw, ret_reason);
}

/* ---- the head ---- */
static int finish(struct http_head *h, const char **ret_reason) {
    if (h->minor == 1 && !h->has_host)
        return refuse(ret_reason, 400, "Host is missing.");
    if (h->has_te && (h->has_length || h->minor == 0))
        return refuse(ret_reason, 400,
                      h->has_length ? "Content-Length and Transfer-Encoding exclude each other."
                                    : "HTTP/1.0 knows no Transfer-Encoding.");
    h->chunked = h->has_te;
    h->keep_alive = !h->conn_close && (h->minor == 1 || h->conn_keep);
    if (h->minor == 0)
        h->expect_continue = false;
    return 0;
}

/* One line without its CRLF: 0 to go on, 1 when it ended the head, or minus a status. */
static int take_line(struct http_head *h, char *p, size_t len, const char **ret_reason) {
    int r;
    if (h->state == AT_FIELDS) {
        if (len > 0)
            return take_field(h, p, len, ret_reason);
        r = finish(h, ret_reason);
        return r < 0 ? r : 1;
    }
    if (h->state == AT_START && len == 0) {
        h->state = AT_REQUEST_LINE;
        return 0;
    }
    r = take_request_line(h, str_n(p, len), ret_reason);
    h->state = AT_FIELDS;
    return r;
}

/* No line end in P[0..LEN), of which the first SEEN were looked at before: what can be refused
 * already? Binary rubbish (TLS, say) should not wait for the head's timeout. */
static int check_part(const struct http_head *h, const char *p, size_t len, size_t seen,
                      const char **ret_reason) {
    if (h->state == AT_FIELDS)
        return 0;
    for (size_t i = seen; i < len; i++)
        if ((unsigned char)p[i] >= 0x7f || ((unsigned char)p[i] < 0x20 && p[i] != '\r'))
            return refuse(ret_reason, 400, "The request line is malformed.");
    return len > REQUEST_LINE_MAX ? refuse(ret_reason, 414, "The request target is too long.") : 0;
}

ssize_t http_head_parse(struct http_head *h, char *p, size_t len, const char **ret_reason) {
    if (p != h->base) {
        http_head_init(h);
        h->base = p;
    }
    size_t end = len < HTTP_HEAD_MAX ? len : HTTP_HEAD_MAX;
    const char *lf;
    while ((lf = memchr(p + h->scan, '\n', end - h->scan)) != NULL) {
        char *line = p + h->line;
        size_t n = (size_t)(lf - line);
        if (n == 0 || line[n - 1] != '\r')
            return refuse(ret_reason, 400, "A line does not end in CR LF.");
        h->line = h->scan = (size_t)(lf - p) + 1;
        int r = take_line(h, line, n - 1, ret_reason);
        if (r != 0)
            return r < 0 ? r : (ssize_t)h->line;
    }
    int r = check_part(h, p + h->line, end - h->line, h->scan - h->line, ret_reason);
    if (r == 0 && end == HTTP_HEAD_MAX)
        r = refuse(ret_reason, 431, "The request head is too long.");
    h->scan = end;
    return r;
}

struct str http_head_get(const struct http_head *h, const char *lower) {
    struct str name = str_of(lower);
    for (size_t i = 0; i < h->n_headers; i++)
        if (str_eq(h->headers[i].name, name))
            return h->headers[i].value;
    return STR_NULL;
}
