/* SPDX-License-Identifier: Apache-2.0 */
#include "remote/kubernetes.h"

#include "remote/kubeconfig.h"

struct kubernetes {
    struct remote *remote;
    struct remote_reply reply;
    bool replied;
};

static int find_config(const char *path, struct kubeconfig *c, struct error *err) {
    if (path && *path)
        return kubeconfig_read(c, path, err);
    const char *listed = getenv("KUBECONFIG");
    if (!listed || !*listed)
        return kubeconfig_in_cluster(c, err);
    struct str rest = str_of(listed);
    cleanup_free char *first = str_dup(str_cut(&rest, ':'));
    return kubeconfig_read(c, first, err);
}

int kubernetes_open(const char *path, const _Atomic bool *stop, struct kubernetes **ret,
                    struct error *err) {
    struct kubeconfig c;
    struct remote *remote;
    if (find_config(path, &c, err) < 0)
        return -1;
    struct remote_config config = {
        .base_url = c.server,
        .what = "the Kubernetes API",
        .user = c.token ? NULL : c.user,
        .password = c.token ? NULL : c.password,
        .bearer = c.token,
        .ca_pem = buf_str(&c.ca),
        .cert_pem = buf_str(&c.cert),
        .key_pem = buf_str(&c.key),
        .insecure = c.insecure,
        .timeout_ms = KUBERNETES_TIMEOUT_MS,
        .stop = stop,
    };
    int r = remote_new(&config, &remote, err);
    if (r == 0) {
        struct kubernetes *k = x_alloc(sizeof *k);
        k->remote = remote;
        *ret = k;
    }
    kubeconfig_done(&c);
    return r;
}

static void drop_reply(struct kubernetes *k) {
    if (k->replied)
        remote_reply_done(&k->reply);
    k->replied = false;
}

void kubernetes_close(struct kubernetes *k) {
    if (!k)
        return;
    drop_reply(k);
    remote_free(k->remote);
    free(k);
}

struct str kubernetes_warning(const struct kubernetes *k) {
    return k->replied ? remote_header(&k->reply, "warning") : STR_NULL;
}

/* The sentence of a Status object (its kind is how the server says that something is wrong). */
static int refused(struct kubernetes *k, struct error *err) {
    cleanup_json struct json *status = NULL;
    struct str message = STR_NULL;
    struct error ignored;
    enum error_code code = ERR_UNAVAILABLE;
    int s = k->reply.status;
    if (s == 400 || s == 413 || s == 422)
        code = ERR_INVALID;
    else if (s == 401 || s == 403)
        code = ERR_FORBIDDEN;
    else if (s == 409)
        code = ERR_CONFLICT;
    if (json_parse_object(buf_str(&k->reply.body), &status, &ignored) == 0)
        (void)json_get_str(status, "message", JSON_NULLABLE, &message, &ignored);
    if (!message.p || !str_is_utf8(message))
        return error_set(err, code, "the Kubernetes API answered %d", s);
    return error_set(err, code, "the Kubernetes API answered %d: %.*s", s,
                     (int)(message.len > 400 ? 400 : message.len), message.p);
}

static int ask(struct kubernetes *k, const struct remote_request *req, struct error *err) {
    drop_reply(k);
    if (remote_do(k->remote, req, &k->reply, err) < 0)
        return -1;
    k->replied = true;
    return 0;
}

int kubernetes_get(struct kubernetes *k, const char *path, struct json **ret, struct error *err) {
    const char *const headers[] = {"Accept: application/json"};
    struct remote_request req = {.method = "GET", .path = path, .headers = headers, .n_headers = 1};
    if (ask(k, &req, err) < 0)
        return -1;
    if (k->reply.status == 404)
        return 0;
    if (k->reply.status != 200)
        return refused(k, err);
    struct json *root;
    if (json_parse_object(buf_str(&k->reply.body), &root, err) < 0)
        return error_set(err, ERR_UNAVAILABLE, "the Kubernetes API answered what is no JSON");
    if (ret)
        *ret = root;
    else
        json_free(root);
    return 1;
}

/* JSON is YAML: the media type is the one that server-side apply has. */
int kubernetes_apply(struct kubernetes *k, const char *path, struct str manifest,
                     struct error *err) {
    const char *const headers[] = {"Accept: application/json",
                                   "Content-Type: application/apply-patch+yaml"};
    cleanup_free char *full = x_asprintf("%s?fieldManager=kiln&force=true", path);
    struct remote_request req = {.method = "PATCH",
                                 .path = full,
                                 .headers = headers,
                                 .n_headers = ARRAY_LEN(headers),
                                 .body = manifest};
    if (ask(k, &req, err) < 0)
        return -1;
    if (k->reply.status == 404)
        return 0;
    return k->reply.status == 200 || k->reply.status == 201 ? 1 : refused(k, err);
}
