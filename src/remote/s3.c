/* SPDX-License-Identifier: Apache-2.0 */
#include "remote/s3.h"
#include "remote/http.h"
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdatomic.h>
#include <stdio.h>

struct s3 {
    char *url, *bucket, *access_key, *secret_key, *sigv4;
    _Atomic bool stopped;
};

static int open_remote(struct s3 *s, struct remote **ret, struct error *err) {
    struct remote_config config = {.base_url = s->url,
                                   .what = "S3",
                                   .user = s->access_key,
                                   .password = s->secret_key,
                                   .sigv4 = s->sigv4,
                                   .timeout_ms = S3_TIMEOUT_MS,
                                   .stop = &s->stopped};
    return remote_new(&config, ret, err);
}

/* What a bucket's or a region's name may hold; more would need encoding in paths and signatures. */
static bool plain(const char *s) {
    return *s && strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") ==
                     strlen(s);
}

int s3_new(const struct s3_config *config, struct s3 **ret, struct error *err) {
    if (!plain(config->bucket) || !plain(config->region))
        return error_set(err, ERR_INVALID,
                         "the bucket and the region of S3 want letters, digits, "
                         "'.', '-' and '_'");
    if (!config->access_key || !*config->access_key || !config->secret_key || !*config->secret_key)
        return error_set(err, ERR_INVALID, "S3 wants an access key and a secret key");
    struct s3 *s = x_alloc(sizeof *s);
    s->url = x_strdup(config->url);
    s->bucket = x_strdup(config->bucket);
    s->access_key = x_strdup(config->access_key);
    s->secret_key = x_strdup(config->secret_key);
    s->sigv4 = x_asprintf("aws:amz:%s:s3", config->region);
    struct remote *r;
    if (open_remote(s, &r, err) < 0) {
        s3_free(s);
        return -1;
    }
    remote_free(r);
    *ret = s;
    return 0;
}

void s3_free(struct s3 *s) {
    if (!s)
        return;
    OPENSSL_cleanse(s->secret_key, strlen(s->secret_key));
    free(s->url);
    free(s->bucket);
    free(s->access_key);
    free(s->secret_key);
    free(s->sigv4);
    free(s);
}

void s3_stop(struct s3 *s) {
    if (s)
        atomic_store(&s->stopped, true);
}

/* The service's errors are XML: <Error><Code>…</Code><Message>…</Message>…; the message is what a
 * person wants. */
static int refused(const struct remote *r, struct remote_reply *reply, struct error *err) {
    const char *text = buf_cstr(&reply->body);
    const char *from = strstr(text, "<Message>"), *to = from ? strstr(from, "</Message>") : NULL;
    if (from && to) {
        from += strlen("<Message>");
        size_t len = (size_t)(to - from);
        memmove(reply->body.p, from, len);
        reply->body.len = len;
    }
    return remote_refused(r, reply, err);
}

/* S3 wants to be told what was signed; libcurl 7.88 takes it from there. */
#define HASH_HEADER "x-amz-content-sha256: "
static void hash_header(struct str body, char *out) {
    unsigned char hash[SHA256_DIGEST_LENGTH];
    SHA256((const unsigned char *)(body.p ? body.p : ""), body.len, hash);
    out += sprintf(out, HASH_HEADER);
    for (size_t i = 0; i < sizeof hash; i++)
        out += sprintf(out, "%02x", hash[i]);
}

static int one(struct s3 *s, const struct remote_request *asked, const char *key, int ok,
               int ok_too, struct remote_reply *ret, struct error *err) {
    cleanup_buf struct buf path = BUF_INIT(REMOTE_URL_MAX);
    struct remote_request req = *asked;
    struct remote *r;
    if (buf_printf(&path, "/%s/", s->bucket) < 0 || strlen(key) > S3_KEY_MAX ||
        remote_escape(&path, str_of(key), true) < 0)
        return error_set(err, ERR_INTERNAL, "a key of S3 is too long");
    char hash[sizeof HASH_HEADER + 2 * SHA256_DIGEST_LENGTH];
    const char *headers[] = {hash, "Content-Type: application/octet-stream"};
    hash_header(req.body, hash);
    req.headers = headers;
    req.n_headers = req.body.p ? 2 : 1;
    if (open_remote(s, &r, err) < 0)
        return -1;
    req.path = buf_cstr(&path);
    int rc = remote_do(r, &req, ret, err);
    if (rc == 0 && ret->status != ok && ret->status != ok_too) {
        rc = refused(r, ret, err);
        remote_reply_done(ret);
    }
    remote_free(r);
    return rc;
}

int s3_put(struct s3 *s, const char *key, struct str bytes, struct error *err) {
    struct remote_request req = {.method = "PUT", .body = bytes};
    struct remote_reply reply = {0};
    if (one(s, &req, key, 200, 204, &reply, err) < 0)
        return -1;
    remote_reply_done(&reply);
    return 0;
}

int s3_get(struct s3 *s, const char *key, struct buf *ret, struct error *err) {
    struct remote_request req = {.method = "GET", .reply_max = ret->max};
    struct remote_reply reply = {0};
    if (one(s, &req, key, 200, 404, &reply, err) < 0)
        return -1;
    int rc = 0;
    if (reply.status == 404)
        rc = error_set(err, ERR_NOT_FOUND, "S3 has no object \"%s\"", key);
    else if (buf_put_str(ret, buf_str(&reply.body)) < 0)
        rc = error_set(err, ERR_TOO_LARGE, "the object of S3 is too large");
    remote_reply_done(&reply);
    return rc;
}

int s3_delete(struct s3 *s, const char *key, struct error *err) {
    struct remote_request req = {.method = "DELETE"};
    struct remote_reply reply = {0};
    if (one(s, &req, key, 204, 200, &reply, err) < 0)
        return -1;
    remote_reply_done(&reply);
    return 0;
}
