/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_REMOTE_HTTP_H
#define KILN_REMOTE_HTTP_H

/* struct remote: a client of one HTTP service, over libcurl. Blocking: for worker threads
 * (loop/work.h), never on a loop. What the other side sends is hostile: the reply's size and the
 * whole time are bounded, redirects are not followed, only http and https are spoken, TLS is
 * verified, and neither .netrc nor proxies of the environment are used.
 *
 * A remote belongs to one thread at a time and keeps its connection for the next request.
 * Secrets stand in this process's memory alone: none is in an error's text or a log. */

#include "base/buf.h"
#include "base/error.h"

#define REMOTE_URL_MAX       4096
#define REMOTE_HEADERS_MAX   32
#define REMOTE_REPLY_MAX     (16 * MIB) /* of a body, where the request does not say */
#define REMOTE_CONNECT_MS    10000u
#define REMOTE_TIMEOUT_MS    30000u     /* of a request that does not say */
#define REMOTE_REPLY_HEADERS (16 * KIB) /* headers kept of a reply */

/* What holds for all requests. Strings are copied; NULL is none. */
struct remote_config {
    const char *base_url;        /* "https://host:port/prefix"; a path is put behind it */
    const char *what;            /* what errors call it: "Loki", "the Kubernetes API" */
    const char *user, *password; /* basic authentication, or the keys of SigV4 */
    const char *bearer;          /* token: "Authorization: Bearer …" */
    const char *sigv4;           /* "aws:amz:us-east-1:s3": requests are signed (AWS Signature 4) */
    const char *proxy;           /* URL; NULL: none, whatever the environment says */
    struct str ca_pem;           /* trusted instead of the system's authorities */
    struct str cert_pem, key_pem; /* of the client */
    bool insecure;                /* TLS is not verified; for kubeconfigs that say so */
    uint32_t timeout_ms;          /* 0: REMOTE_TIMEOUT_MS */
    const _Atomic bool *stop;     /* once true, requests under way end soon; may be NULL */
};
struct remote;
/* ERR_INVALID: the URL is none, or not http(s). */
int remote_new(const struct remote_config *config, struct remote **ret, struct error *err);
void remote_free(struct remote *r);

struct remote_request {
    const char *method; /* "GET", "PUT", … */
    const char *path; /* with its query; encoded by the caller (remote_escape()); begins with '/' */
    const char *const *headers; /* "Name: value"; n_headers <= REMOTE_HEADERS_MAX */
    size_t n_headers;
    struct str body;     /* p NULL: none */
    size_t reply_max;    /* 0: REMOTE_REPLY_MAX */
    uint32_t timeout_ms; /* 0: the remote's */
};
struct remote_reply {
    int status;         /* whatever it is: 404 is no error here */
    struct buf body;    /* remote_reply_done() */
    struct buf headers; /* "name: value\n" lines, names in lower case */
};
/* 0 when a whole reply came. ERR_UNAVAILABLE: no connection, no TLS, too slow, stopped;
 * ERR_TOO_LARGE: the reply is larger than asked for. */
int remote_do(struct remote *r, const struct remote_request *req, struct remote_reply *ret,
              struct error *err);
void remote_reply_done(struct remote_reply *reply);
/* The value of a reply's header by its lower-case name; p NULL: there is none. */
struct str remote_header(const struct remote_reply *reply, const char *name);
/* Appends TEXT percent-encoded (all but letters, digits, '-', '.', '_', '~'; and '/' where
 * KEEP_SLASH). */
int remote_escape(struct buf *out, struct str text, bool keep_slash);
/* ERR_UNAVAILABLE from a reply that is not what was hoped for: "<what> answered 400: <the first
 * line of its text>". */
int remote_refused(const struct remote *r, const struct remote_reply *reply, struct error *err);

#endif
