/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_RUNTIMES_IMAGE_H
#define KILN_RUNTIMES_IMAGE_H

/* The runtime of OCI images: an instance is this shim, which makes containers with crun inside its
 * own sandbox (the profile for containers, src/sandbox/sandbox.h) and speaks the frames of
 * src/wire/wire.h on descriptor 3.
 *
 *   zygote ─ shim (pid 1 of the instance; its cgroup, network and pid namespace hold all below)
 *              └ crun ─ container: own user, pid, mount, ipc and uts namespaces, its image's root
 *                       with a tmpfs over it, no capabilities, no_new_privs, kiln's seccomp filter
 *
 * What a container is given and answers depends on its format:
 *   default  one container a call: stdin = payload, stdout = result, exit code 0 = it went well
 *   http     one container; each call is an HTTP/1.1 request on its stdin, its answer on stdout
 *   json     one container; each call is a JSON object on its stdin, its answer one on stdout
 * Its stderr are log lines. Everything that a container writes is hostile. */

#include "base/buf.h"
#include "wire/wire.h"
#include "zygote/runtime.h"

#define IMAGES_DIR "/opt/kiln"  /* the server's images folder, as the sandbox shows it */
#define WORK_DIR   "/tmp/.kiln" /* on the instance's own tmpfs; no container sees it */

#define IMAGE_ARGS_MAX       1024
#define IMAGE_ENV_MAX        2048
#define IMAGE_ENV_STRING_MAX (128 * KIB - 1) /* execve(2): MAX_ARG_STRLEN */
#define IMAGE_GIDS_MAX       64
#define IMAGE_TEXT_MAX       (2 * MIB) /* of a config.json */
#define IMAGE_BODY_MAX       (WIRE_FRAME_MAX - MIB)
#define IMAGE_HEAD_MAX       (64 * KIB) /* head of an HTTP answer */
#define IMAGE_REQUEST_MAX    (WIRE_FRAME_MAX + MIB)
#define IMAGE_KILLED         137 /* what crun says of a container that SIGKILL ended */

/* ---- environment: a list of "NAME=value", each name once ---- */
struct strings {
    char **v;
    size_t n;
};
void strings_add(struct strings *s, struct str text);
void strings_done(struct strings *s);
/* Takes the place of an earlier one. A name or value that no process can have is left out. */
void env_set(struct strings *env, struct str name, struct str value);
void env_copy(struct strings *to, const struct strings *from);

/* ---- what to run, out of LOAD ---- */
enum format { FORMAT_DEFAULT, FORMAT_HTTP, FORMAT_JSON };
struct spec {
    char folder[65]; /* of the image below IMAGES_DIR: hex digits of its digest */
    struct strings args;
    struct strings env; /* of the image, then of the function */
    char *cwd;
    uint32_t uid, gid, gids[IMAGE_GIDS_MAX];
    size_t n_gids;
    enum format format;
};
/* 0 or -EBADMSG. CHECK: it is only a question. */
int spec_read(struct spec *s, struct str load, bool *ret_check);

/* ---- a call ---- */
struct call {
    uint32_t deadline_ms;
    struct str id, method, path, body;
    struct wire_in query, headers; /* positioned at the pairs, checked */
    uint32_t seq;
};
int call_read(struct call *c, struct str payload, uint32_t seq);
/* Header NAME (lower case) of the call, or p NULL. */
struct str call_header(const struct call *c, const char *name);
/* The full URL, as who sent the call says (x-kiln-request-url), else made of host and path. */
void call_url(const struct call *c, struct buf *out);
/* METHOD, ROUTE, REQUEST_URL, PARAM_…, HEADER_… */
void call_env(const struct call *c, struct strings *env);
/* Is it for the shim, not for the container? */
bool header_is_ours(struct str name);

/* ---- a container ---- */
struct container {
    pid_t crun;
    int in, out; /* its stdin and stdout, -1 once closed */
};
bool crun_find(char *name, size_t size); /* says its version */
int container_prepare(void);             /* once: folders, filter */
/* ENV is all of it. 0, or -errno. */
int container_start(struct container *c, const struct spec *s, const struct strings *env);
/* Waits for its end: exit code, or 128 + signal; frees what it had. */
int container_end(struct container *c);
/* What crun itself complained about ("" where it did not): the container did not start. */
void container_complaint(struct buf *out);

/* ---- config.c ---- */
struct config {
    const char *root; /* folder */
    bool readonly;
    bool range; /* ids 0..65535 can be mapped; else one */
    unsigned tmp_mib;
    struct str filter_base64;
};
int config_write(const struct config *c, const struct spec *s, const struct strings *env,
                 struct buf *out);

/* ---- answers: frames out; they end the process when the server is gone ---- */
struct result {
    uint16_t status;
    bool wrapped;
    struct buf headers; /* encoded pairs without their count */
    uint32_t n_headers;
    struct str body;
    bool is_json; /* its maker says so */
};
void answer_result(uint32_t seq, const struct result *r);
/* LAST: the process ends with it. */
void answer_failed(uint32_t seq, bool last, const char *type, const char *message);
void result_header(struct result *r, struct str name, struct str value);
void result_done(struct result *r);

/* ---- once.c, hot.c ---- */
void once_call(const struct spec *s, const struct call *c);
struct hot {
    struct container container;
    struct buf got; /* read and not yet used */
    bool eof;
};
int hot_start(struct hot *h, const struct spec *s);
void hot_call(struct hot *h, const struct spec *s, const struct call *c);

/* ---- http.c, json.c: one call to text, and an answer from it ---- */
/* HTTP: without its body, which follows as it is. */
int http_request(const struct call *c, struct buf *out);
int json_request(const struct call *c, struct buf *out);
/* How far an answer has been looked through, so that a long one is not begun anew with every piece
 * of it. Zeroed for each call. */
struct progress {
    size_t at;
    unsigned depth;
    bool in_string;
};
/* Looks whether TEXT holds a whole answer: its length, 0 when more is needed (EOF: that is all
 * there will ever be), or -EBADMSG with *RET_WHY. R's body and headers are filled in with the whole
 * answer; BODY holds what had to be decoded. */
ssize_t http_answer(struct str text, bool eof, bool is_head, struct progress *p, struct result *r,
                    struct buf *body, const char **ret_why);
ssize_t json_answer(struct str text, struct progress *p, struct result *r, struct buf *body,
                    const char **ret_why);

extern const struct zygote_runtime image_runtime;

#endif
