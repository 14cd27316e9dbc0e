/* SPDX-License-Identifier: Apache-2.0 */
#include "remote/kubeconfig.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "remote/kubernetes.h"
#include "json/tree.h"
#include "json/yaml_text.h"

#define POD_FILES "/var/run/secrets/kubernetes.io/serviceaccount"

static void wipe(char **s) {
    if (*s)
        explicit_bzero(*s, strlen(*s));
    free(*s);
    *s = NULL;
}

static void wipe_buf(struct buf *b) {
    if (b->p)
        explicit_bzero(b->p, b->cap);
    buf_done(b);
}

void kubeconfig_done(struct kubeconfig *c) {
    free(c->server);
    free(c->user);
    wipe(&c->token);
    wipe(&c->password);
    wipe_buf(&c->ca);
    wipe_buf(&c->cert);
    wipe_buf(&c->key);
    *c = (struct kubeconfig){0};
}

static int read_file(const char *path, struct buf *out, struct error *err) {
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    int r = fd < 0 ? -errno : 0;
    *out = BUF_INIT(KUBERNETES_FILE_MAX);
    while (r == 0) {
        r = buf_reserve(out, 16 * KIB);
        ssize_t n = r < 0 ? r : read(fd, out->p + out->len, out->cap - out->len);
        if (n < 0 && r == 0)
            r = errno == EINTR ? 0 : -errno;
        if (n == 0)
            return 0;
        if (n > 0)
            out->len += (size_t)n;
    }
    wipe_buf(out);
    return error_set(err, ERR_INVALID, "cannot read %s: %s", path, errno_text(-r));
}

/* ---- a kubeconfig ---- */
struct file {
    const char *path;
    struct json *root;
};

static int wrong(const struct file *f, struct error *err, const char *what) {
    return error_set(err, ERR_INVALID, "the kubeconfig %s %s", f->path, what);
}

static struct str text(const struct json *o, const char *name) {
    struct str s = STR_NULL;
    struct error ignored;
    (void)json_get_str(o, name, JSON_NULLABLE, &s, &ignored);
    return s.len ? s : STR_NULL;
}

/* Member INSIDE of the item of LIST that has this name. */
static const struct json *named(const struct file *f, const char *list, struct str name,
                                const char *inside) {
    const struct json *items = json_member(f->root, list);
    for (size_t i = 0; i < json_count(items); i++) {
        const struct json *item = json_item(items, i);
        if (name.p && str_eq(text(item, "name"), name))
            return json_member(item, inside);
    }
    return NULL;
}

/* PEM that stands in the file as base64 (MEMBER-data), or in a file beside it (MEMBER). */
static int read_pem(const struct file *f, const struct json *o, const char *member, struct buf *ret,
                    struct error *err) {
    char data[64];
    (void)snprintf(data, sizeof data, "%s-data", member);
    struct str inside = text(o, data), path = text(o, member);
    if (inside.p) {
        *ret = BUF_INIT(KUBERNETES_FILE_MAX);
        if (buf_put_base64_decoded(ret, inside) == 0)
            return 0;
        return error_set(err, ERR_INVALID, "the kubeconfig %s: %s is no base64", f->path, data);
    }
    if (!path.p)
        return 0;
    const char *slash = strrchr(f->path, '/');
    int folder = path.p[0] == '/' || !slash ? 0 : (int)(slash - f->path) + 1;
    cleanup_free char *full = x_asprintf("%.*s%.*s", folder, f->path, STR_ARG(path));
    return read_file(full, ret, err);
}

static char *dup_or_null(struct str s) {
    return s.p ? str_dup(s) : NULL;
}

static void trim_end(struct buf *b) {
    while (b->len && (b->p[b->len - 1] == '\n' || b->p[b->len - 1] == '\r'))
        b->len--;
}

static int read_token(struct kubeconfig *c, const char *path, struct error *err) {
    struct buf token;
    if (read_file(path, &token, err) < 0)
        return -1;
    trim_end(&token);
    c->token = str_dup(buf_str(&token));
    wipe_buf(&token);
    return 0;
}

static int read_user(struct kubeconfig *c, const struct file *f, const struct json *user,
                     struct error *err) {
    if (json_has(user, "exec") || json_has(user, "auth-provider"))
        return wrong(f, err,
                     "gets its credentials from a program (exec or auth-provider), which "
                     "is not run here: give it a token or a client certificate");
    c->token = dup_or_null(text(user, "token"));
    c->user = dup_or_null(text(user, "username"));
    c->password = dup_or_null(text(user, "password"));
    if (!c->token && text(user, "tokenFile").p) {
        cleanup_free char *path = str_dup(text(user, "tokenFile"));
        if (read_token(c, path, err) < 0)
            return -1;
    }
    if (read_pem(f, user, "client-certificate", &c->cert, err) < 0)
        return -1;
    return read_pem(f, user, "client-key", &c->key, err);
}

static int take(struct kubeconfig *c, const struct file *f, struct error *err) {
    const struct json *context = named(f, "contexts", text(f->root, "current-context"), "context");
    if (!context)
        return wrong(f, err, "has no current-context");
    const struct json *cluster = named(f, "clusters", text(context, "cluster"), "cluster");
    if (!cluster || !text(cluster, "server").p)
        return wrong(f, err, "has no cluster with a server in its context");
    c->server = str_dup(text(cluster, "server"));
    c->insecure = str_is(text(cluster, "insecure-skip-tls-verify"), "true");
    if (read_pem(f, cluster, "certificate-authority", &c->ca, err) < 0)
        return -1;
    return read_user(c, f, named(f, "users", text(context, "user"), "user"), err);
}

int kubeconfig_read(struct kubeconfig *c, const char *path, struct error *err) {
    struct buf yaml, json = BUF_INIT(2 * KUBERNETES_FILE_MAX);
    struct file f = {.path = path};
    *c = (struct kubeconfig){0};
    if (read_file(path, &yaml, err) < 0)
        return -1;
    int r = yaml_to_json(buf_str(&yaml), &json, err);
    if (r == 0)
        r = json_parse_object(buf_str(&json), &f.root, err);
    if (r < 0)
        error_prepend(err, "the kubeconfig %s", path);
    else
        r = take(c, &f, err);
    json_free(f.root);
    wipe_buf(&json);
    wipe_buf(&yaml);
    if (r < 0)
        kubeconfig_done(c);
    return r;
}

/* ---- a pod ---- */
int kubeconfig_in_cluster(struct kubeconfig *c, struct error *err) {
    const char *host = getenv("KUBERNETES_SERVICE_HOST");
    const char *port = getenv("KUBERNETES_SERVICE_PORT");
    *c = (struct kubeconfig){0};
    if (!host || !*host || !port || !*port)
        return error_set(err, ERR_UNAVAILABLE,
                         "no Kubernetes cluster is configured: set kubeconfig (or KUBECONFIG), or "
                         "run inside of the cluster");
    c->server = x_asprintf(strchr(host, ':') ? "https://[%s]:%s" : "https://%s:%s", host, port);
    if (read_token(c, POD_FILES "/token", err) < 0 ||
        read_file(POD_FILES "/ca.crt", &c->ca, err) < 0) {
        kubeconfig_done(c);
        return -1;
    }
    return 0;
}
