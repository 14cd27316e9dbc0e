/* SPDX-License-Identifier: Apache-2.0 */
#include "server/backends.h"

/* AUTH is left empty where there is no file. */
static int read_auth(const char *path, struct remote_auth *auth, struct error *err) {
    *auth = (struct remote_auth){.user = ""};
    return path && *path ? remote_auth_read(path, auth, err) : 0;
}

static int open_loki(const struct settings *s, struct backends *b, struct error *err) {
    struct remote_auth auth;
    if (read_auth(s->loki_auth_file, &auth, err) < 0)
        return error_prepend(err, "--loki-auth-file");
    struct loki_config config = {.url = s->loki_url, .tenant = s->loki_tenant, .auth = &auth};
    int r = loki_new(&config, &b->loki, err);
    remote_auth_wipe(&auth);
    return r < 0 ? error_prepend(err, "--loki-url") : 0;
}

static int open_prometheus(const struct settings *s, struct backends *b, struct error *err) {
    struct remote_auth auth;
    if (read_auth(s->prometheus_auth_file, &auth, err) < 0)
        return error_prepend(err, "--prometheus-auth-file");
    int r = prometheus_new(s->prometheus_url, &auth, &b->prometheus, err);
    remote_auth_wipe(&auth);
    return r < 0 ? error_prepend(err, "--prometheus-url") : 0;
}

static int open_s3(const struct settings *s, struct backends *b, struct error *err) {
    struct remote_auth keys;
    if (read_auth(s->s3_keys_file, &keys, err) < 0)
        return error_prepend(err, "--s3-keys-file");
    const char *access = getenv("AWS_ACCESS_KEY_ID"), *secret = getenv("AWS_SECRET_ACCESS_KEY");
    struct s3_config config = {.url = s->s3_url,
                               .bucket = s->s3_bucket,
                               .region = s->s3_region,
                               .access_key = keys.user[0] ? keys.user : access,
                               .secret_key = keys.user[0] ? keys.password : secret};
    int r = s3_new(&config, &b->s3, err);
    remote_auth_wipe(&keys);
    return r < 0 ? error_prepend(err, "--s3-url") : 0;
}

int backends_open(const struct settings *s, struct backends *ret, struct error *err) {
    int r = 0;
    *ret = (struct backends){.loki = NULL};
    if (s->loki_url && *s->loki_url)
        r = open_loki(s, ret, err);
    if (r == 0 && s->prometheus_url && *s->prometheus_url)
        r = open_prometheus(s, ret, err);
    if (r == 0 && s->s3_url && *s->s3_url)
        r = open_s3(s, ret, err);
    /* Not for the environment of what is started later. */
    /* NOLINTBEGIN(concurrency-mt-unsafe): nobody else reads it by then */
    (void)unsetenv("AWS_SECRET_ACCESS_KEY");
    (void)unsetenv("AWS_ACCESS_KEY_ID");
    /* NOLINTEND(concurrency-mt-unsafe) */
    return r;
}

void backends_stop(struct backends *b) {
    loki_stop(b->loki);
    prometheus_stop(b->prometheus);
    s3_stop(b->s3);
}

void backends_close(struct backends *b) {
    loki_free(b->loki);
    prometheus_free(b->prometheus);
    s3_free(b->s3);
    *b = (struct backends){.loki = NULL};
}
