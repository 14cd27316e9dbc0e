/* SPDX-License-Identifier: Apache-2.0 */
#include "remote/prometheus.h"
#include "remote/http.h"
#include <stdatomic.h>

struct prometheus {
    char *url;
    struct remote_auth auth;
    _Atomic bool stopped;
};

static int open_remote(struct prometheus *p, struct remote **ret, struct error *err) {
    struct remote_config config = {.base_url = p->url,
                                   .what = "Prometheus",
                                   .user = p->auth.user,
                                   .password = p->auth.password,
                                   .bearer = p->auth.bearer,
                                   .timeout_ms = PROMETHEUS_TIMEOUT_MS,
                                   .stop = &p->stopped};
    return remote_new(&config, ret, err);
}

int prometheus_new(const char *url, const struct remote_auth *auth, struct prometheus **ret,
                   struct error *err) {
    struct prometheus *p = x_alloc(sizeof *p);
    p->url = x_strdup(url);
    if (auth)
        p->auth = *auth;
    struct remote *r;
    if (open_remote(p, &r, err) < 0) { /* says now what is wrong with the URL */
        prometheus_free(p);
        return -1;
    }
    remote_free(r);
    *ret = p;
    return 0;
}

void prometheus_free(struct prometheus *p) {
    if (!p)
        return;
    remote_auth_wipe(&p->auth);
    free(p->url);
    free(p);
}

void prometheus_stop(struct prometheus *p) {
    if (p)
        atomic_store(&p->stopped, true);
}

static void write_path(struct buf *path, const struct prometheus_question *q) {
    (void)buf_printf(path, "/api/v1/%s?query=", q->step_s ? "query_range" : "query");
    (void)remote_escape(path, str_of(q->promql), false);
    if (q->step_s)
        (void)buf_printf(path, "&start=%lld&end=%lld&step=%u", (long long)q->start_s,
                         (long long)q->end_s, q->step_s);
    else
        (void)buf_printf(path, "&time=%lld", (long long)q->end_s);
}

/* {"status":"success","data":{…}} or {"status":"error","errorType":…,"error":…}. */
static int read_reply(struct str text, struct json **ret, const struct json **ret_data,
                      struct error *err) {
    cleanup_json struct json *root = NULL;
    struct error why;
    struct str status = STR(""), said = STR("");
    const struct json *data = NULL, *result = NULL;
    if (json_parse_object(text, &root, &why) < 0)
        return error_set(err, ERR_UNAVAILABLE, "Prometheus answered what is no JSON object");
    if (json_get_str(root, "status", JSON_REQUIRED, &status, &why) < 0 ||
        json_get_str(root, "error", JSON_OPTIONAL, &said, &why) < 0 ||
        json_get_object(root, "data", JSON_OPTIONAL, &data, &why) < 0 ||
        json_get_array(data, "result", JSON_OPTIONAL, &result, &why) < 0)
        return error_set(err, ERR_UNAVAILABLE, "Prometheus answered something else: %s", why.text);
    if (!str_is(status, "success") || !result)
        return error_set(err, ERR_UNAVAILABLE, "Prometheus refuses the question: %.*s",
                         said.len > 200 ? 200 : (int)said.len, said.p);
    *ret = TAKE_PTR(root);
    *ret_data = data;
    return 0;
}

int prometheus_ask(struct prometheus *p, const struct prometheus_question *q, struct json **ret,
                   const struct json **ret_data, struct error *err) {
    cleanup_buf struct buf path = BUF_INIT(REMOTE_URL_MAX);
    struct remote *r;
    struct remote_reply reply;
    write_path(&path, q);
    struct remote_request req = {
        .method = "GET", .path = buf_cstr(&path), .reply_max = PROMETHEUS_REPLY_MAX};
    if (open_remote(p, &r, err) < 0)
        return -1;
    int rc = remote_do(r, &req, &reply, err);
    if (rc == 0) {
        bool json = reply.status == 200 || reply.status == 400 || reply.status == 422;
        rc = json ? read_reply(buf_str(&reply.body), ret, ret_data, err)
                  : remote_refused(r, &reply, err);
        remote_reply_done(&reply);
    }
    remote_free(r);
    return rc;
}
