/* SPDX-License-Identifier: Apache-2.0 */
#include "remote/http.h"
#include "remote/curl.h"
#include <ctype.h>
#include <openssl/crypto.h>
#include <stdatomic.h>
#include <stdio.h>

struct remote {
    CURL *easy;
    char *base_url, *what, *user, *password, *bearer, *sigv4, *proxy;
    struct buf ca, cert, key;
    bool insecure;
    uint32_t timeout_ms;
    const _Atomic bool *stop;
    char detail[CURL_ERROR_SIZE];
};

/* ---- making ---- */

static char *dup_or_null(const char *s) {
    return s && *s ? x_strdup(s) : NULL;
}

static struct buf keep(struct str s) {
    struct buf b = BUF_INIT(MIB);
    if (s.p)
        (void)buf_put_str(&b, s);
    return b;
}

static int check_url(const char *url, const char *what, struct error *err) {
    int bad = 1;
    CURLU *u = curl.url();
    char *scheme = NULL, *user = NULL, *query = NULL;
    if (u && strlen(url) < REMOTE_URL_MAX && curl.url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
        curl.url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK)
        bad = strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0;
    /* Kept out of URLs, since those are logged and shown. */
    if (!bad && (curl.url_get(u, CURLUPART_USER, &user, 0) == CURLUE_OK ||
                 curl.url_get(u, CURLUPART_QUERY, &query, 0) == CURLUE_OK))
        bad = 2;
    curl.free(scheme);
    curl.free(user);
    curl.free(query);
    curl.url_cleanup(u);
    if (bad == 2)
        return error_set(err, ERR_INVALID,
                         "the URL of %s holds a user or a query, which have no "
                         "place there",
                         what);
    if (bad)
        return error_set(err, ERR_INVALID,
                         "%s wants a URL such as http://127.0.0.1:3100, not "
                         "\"%.200s\"",
                         what, url);
    return 0;
}

int remote_new(const struct remote_config *config, struct remote **ret, struct error *err) {
    if (curl_load(err) < 0 || check_url(config->base_url, config->what, err) < 0)
        return -1;
    struct remote *r = x_alloc(sizeof *r);
    r->easy = curl.easy_init();
    r->base_url = x_strdup(config->base_url);
    for (size_t n = strlen(r->base_url); n && r->base_url[n - 1] == '/';)
        r->base_url[--n] = 0;
    r->what = x_strdup(config->what);
    r->user = dup_or_null(config->user);
    r->password = dup_or_null(config->password);
    r->bearer = dup_or_null(config->bearer);
    r->sigv4 = dup_or_null(config->sigv4);
    r->proxy = dup_or_null(config->proxy);
    r->ca = keep(config->ca_pem);
    r->cert = keep(config->cert_pem);
    r->key = keep(config->key_pem);
    r->insecure = config->insecure;
    r->timeout_ms = config->timeout_ms ? config->timeout_ms : REMOTE_TIMEOUT_MS;
    r->stop = config->stop;
    if (!r->easy) {
        remote_free(r);
        return error_set(err, ERR_INTERNAL, "libcurl does not start");
    }
    *ret = r;
    return 0;
}

static void forget(char *secret) {
    if (secret)
        OPENSSL_cleanse(secret, strlen(secret));
    free(secret);
}

void remote_free(struct remote *r) {
    if (!r)
        return;
    if (r->easy)
        curl.easy_cleanup(r->easy);
    free(r->base_url);
    free(r->what);
    forget(r->user);
    forget(r->password);
    forget(r->bearer);
    free(r->sigv4);
    free(r->proxy);
    if (r->key.p)
        OPENSSL_cleanse(r->key.p, r->key.len);
    buf_done(&r->ca);
    buf_done(&r->cert);
    buf_done(&r->key);
    free(r);
}

/* ---- one request ---- */

struct doing {
    struct remote *remote;
    struct remote_reply reply;
    bool too_large;
};

static size_t take_body(char *data, size_t size, size_t n, void *arg) {
    struct doing *d = arg;
    if (buf_put(&d->reply.body, data, size * n) == 0)
        return size * n;
    d->too_large = true;
    return 0;
}

/* A line a header; the status line begins anew, as after "100 Continue". */
static size_t take_header(char *data, size_t size, size_t n, void *arg) {
    struct doing *d = arg;
    struct buf *out = &d->reply.headers;
    struct str line = str_n(data, size * n), rest = line;
    if (str_starts(line, STR("HTTP/"))) {
        buf_clear(out);
        return line.len;
    }
    struct str name = str_cut(&rest, ':');
    if (!rest.p)
        return line.len;
    while (rest.len && (rest.p[rest.len - 1] == '\n' || rest.p[rest.len - 1] == '\r'))
        rest.len--;
    rest = str_trim(rest);
    if (buf_reserve(out, name.len + rest.len + 3) < 0)
        return line.len; /* what is beyond the bound is not kept */
    for (size_t i = 0; i < name.len; i++)
        (void)buf_putc(out, (char)tolower((unsigned char)name.p[i]));
    (void)buf_puts(out, ": ");
    (void)buf_put_str(out, rest);
    (void)buf_putc(out, '\n');
    return line.len;
}

static int watch(void *arg, curl_off_t total UNUSED, curl_off_t now UNUSED,
                 curl_off_t up_total UNUSED, curl_off_t up UNUSED) {
    const struct doing *d = arg;
    return d->remote->stop && atomic_load(d->remote->stop);
}

static void set_blob(CURL *easy, CURLoption option, const struct buf *b) {
    struct curl_blob blob = {.data = b->p, .len = b->len, .flags = CURL_BLOB_NOCOPY};
    if (b->len)
        curl.easy_setopt(easy, option, &blob);
}

static void set_tls(const struct remote *r) {
    curl.easy_setopt(r->easy, CURLOPT_SSL_VERIFYPEER, r->insecure ? 0L : 1L);
    curl.easy_setopt(r->easy, CURLOPT_SSL_VERIFYHOST, r->insecure ? 0L : 2L);
    set_blob(r->easy, CURLOPT_CAINFO_BLOB, &r->ca);
    set_blob(r->easy, CURLOPT_SSLCERT_BLOB, &r->cert);
    set_blob(r->easy, CURLOPT_SSLKEY_BLOB, &r->key);
    if (r->cert.len) {
        curl.easy_setopt(r->easy, CURLOPT_SSLCERTTYPE, "PEM");
        curl.easy_setopt(r->easy, CURLOPT_SSLKEYTYPE, "PEM");
    }
}

static void set_identity(const struct remote *r) {
    if (r->sigv4)
        curl.easy_setopt(r->easy, CURLOPT_AWS_SIGV4, r->sigv4);
    else if (r->user)
        curl.easy_setopt(r->easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
    if (r->user) {
        curl.easy_setopt(r->easy, CURLOPT_USERNAME, r->user);
        curl.easy_setopt(r->easy, CURLOPT_PASSWORD, r->password ? r->password : "");
    }
}

static void set_transfer(struct remote *r, const struct remote_request *req, struct doing *d) {
    uint32_t ms = req->timeout_ms ? req->timeout_ms : r->timeout_ms;
    curl.easy_setopt(r->easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl.easy_setopt(r->easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl.easy_setopt(r->easy, CURLOPT_PROXY, r->proxy ? r->proxy : "");
    curl.easy_setopt(r->easy, CURLOPT_NOSIGNAL, 1L);
    curl.easy_setopt(r->easy, CURLOPT_TIMEOUT_MS, (long)ms);
    curl.easy_setopt(r->easy, CURLOPT_CONNECTTIMEOUT_MS,
                     (long)(ms < REMOTE_CONNECT_MS ? ms : REMOTE_CONNECT_MS));
    curl.easy_setopt(r->easy, CURLOPT_ERRORBUFFER, r->detail);
    curl.easy_setopt(r->easy, CURLOPT_WRITEFUNCTION, take_body);
    curl.easy_setopt(r->easy, CURLOPT_WRITEDATA, d);
    curl.easy_setopt(r->easy, CURLOPT_HEADERFUNCTION, take_header);
    curl.easy_setopt(r->easy, CURLOPT_HEADERDATA, d);
    curl.easy_setopt(r->easy, CURLOPT_NOPROGRESS, 0L);
    curl.easy_setopt(r->easy, CURLOPT_XFERINFOFUNCTION, watch);
    curl.easy_setopt(r->easy, CURLOPT_XFERINFODATA, d);
}

static void set_method(struct remote *r, const struct remote_request *req) {
    if (strcmp(req->method, "HEAD") == 0)
        curl.easy_setopt(r->easy, CURLOPT_NOBODY, 1L);
    else if (strcmp(req->method, "GET") != 0 || req->body.p)
        curl.easy_setopt(r->easy, CURLOPT_CUSTOMREQUEST, req->method);
    if (!req->body.p)
        return;
    curl.easy_setopt(r->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)req->body.len);
    curl.easy_setopt(r->easy, CURLOPT_POSTFIELDS, req->body.p);
}

static struct curl_slist *set_headers(struct remote *r, const struct remote_request *req) {
    /* No waiting for "100 Continue". libcurl 7.88 would sign a header that is only taken out. */
    struct curl_slist *list = r->sigv4 ? NULL : curl.slist_append(NULL, "Expect:");
    curl.easy_setopt(r->easy, CURLOPT_EXPECT_100_TIMEOUT_MS, 1L);
    for (size_t i = 0; i < req->n_headers && i < REMOTE_HEADERS_MAX; i++)
        list = curl.slist_append(list, req->headers[i]);
    if (r->bearer) {
        char *line = x_asprintf("Authorization: Bearer %s", r->bearer);
        list = curl.slist_append(list, line);
        forget(line);
    }
    curl.easy_setopt(r->easy, CURLOPT_HTTPHEADER, list);
    return list;
}

/* libcurl leaves copies of what it was given to the allocator; those of the bearer are ours. */
static void headers_free(struct curl_slist *list) {
    for (struct curl_slist *l = list; l; l = l->next)
        if (strncmp(l->data, "Authorization:", 14) == 0)
            OPENSSL_cleanse(l->data, strlen(l->data));
    curl.slist_free_all(list);
}

static int failed(const struct doing *d, CURLcode code, struct error *err) {
    const struct remote *r = d->remote;
    if (d->too_large)
        return error_set(err, ERR_TOO_LARGE, "the reply of %s is larger than %zu bytes", r->what,
                         d->reply.body.max);
    if (code == CURLE_ABORTED_BY_CALLBACK)
        return error_set(err, ERR_UNAVAILABLE, "the server is shutting down");
    return error_set(err, ERR_UNAVAILABLE, "%s at %.150s cannot be reached: %s", r->what,
                     r->base_url, r->detail[0] ? r->detail : curl.easy_strerror(code));
}

int remote_do(struct remote *r, const struct remote_request *req, struct remote_reply *ret,
              struct error *err) {
    struct doing d = {.remote = r};
    cleanup_free char *url = x_asprintf("%s%s", r->base_url, req->path);
    buf_init(&d.reply.body, req->reply_max ? req->reply_max : REMOTE_REPLY_MAX);
    buf_init(&d.reply.headers, REMOTE_REPLY_HEADERS);
    r->detail[0] = 0;
    curl.easy_reset(r->easy); /* keeps the connections */
    curl.easy_setopt(r->easy, CURLOPT_URL, url);
    set_transfer(r, req, &d);
    set_tls(r);
    set_identity(r);
    set_method(r, req);
    struct curl_slist *headers = set_headers(r, req);
    CURLcode code = curl.easy_perform(r->easy);
    headers_free(headers);
    if (code != CURLE_OK) {
        remote_reply_done(&d.reply);
        return failed(&d, code, err);
    }
    long status = 0;
    curl.easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
    d.reply.status = (int)status;
    *ret = d.reply;
    return 0;
}

/* ---- replies ---- */

void remote_reply_done(struct remote_reply *reply) {
    buf_done(&reply->body);
    buf_done(&reply->headers);
}

struct str remote_header(const struct remote_reply *reply, const char *name) {
    struct str rest = buf_str(&reply->headers);
    while (rest.p) {
        struct str value = str_cut(&rest, '\n');
        if (str_is(str_cut(&value, ':'), name) && value.p)
            return str_trim(value);
    }
    return STR_NULL;
}

int remote_refused(const struct remote *r, const struct remote_reply *reply, struct error *err) {
    struct str rest = buf_str(&reply->body), line = str_trim(str_cut(&rest, '\n'));
    char text[240];
    size_t n = 0;
    while (n < line.len) { /* of a stranger: no control bytes, and cut between characters */
        size_t step = str_utf8_step(str_n(line.p + n, line.len - n));
        if (step == 0 || n + step >= sizeof text || (unsigned char)line.p[n] < 0x20)
            break;
        memcpy(text + n, line.p + n, step);
        n += step;
    }
    return error_set(err, ERR_UNAVAILABLE, "%s answered %d%s%.*s", r->what, reply->status,
                     n ? ": " : "", (int)n, text);
}

static bool plain(unsigned char c, bool keep_slash) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~' || (c == '/' && keep_slash);
}

int remote_escape(struct buf *out, struct str text, bool keep_slash) {
    static const char HEX[] = "0123456789ABCDEF";
    int r = 0;
    for (size_t i = 0; i < text.len && r == 0; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if (plain(c, keep_slash))
            r = buf_putc(out, (char)c);
        else
            r = buf_put(out, (const char[]){'%', HEX[c >> 4], HEX[c & 15]}, 3);
    }
    return r;
}
