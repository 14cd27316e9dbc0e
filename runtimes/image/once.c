/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"
#include "image_runtime.h"

/* Format "default": a container for each call. */

#include <errno.h>
#include <poll.h>
#include <stdio.h>

/* Writes what the pipe takes; an end that nobody reads any more is closed, which is no fault. */
static void feed(struct container *k, struct str *rest) {
    if (rest->len) {
        ssize_t n = write(k->in, rest->p, rest->len);
        if (n > 0)
            *rest = str_n(rest->p + n, rest->len - (size_t)n);
        else if (n < 0 && errno != EAGAIN && errno != EINTR)
            rest->len = 0;
    }
    if (!rest->len)
        fd_close(&k->in);
}

/* True at the end of its output. */
static bool take(struct container *k, struct buf *out, bool *too_much) {
    static char chunk[64 * KIB];
    ssize_t n = read(k->out, chunk, sizeof(chunk));
    if (n < 0)
        return errno != EAGAIN && errno != EINTR;
    if (n > 0 && buf_put(out, chunk, (size_t)n) < 0)
        *too_much = true; /* read on: it must not hang on a full pipe */
    return n == 0;
}

static void exchange(struct container *k, struct str input, struct buf *out, bool *too_much) {
    for (bool ended = false; !ended;) {
        struct pollfd p[2] = {{.fd = k->out, .events = POLLIN}, {.fd = k->in, .events = POLLOUT}};
        if (k->in >= 0 && !input.len)
            fd_close(&k->in);
        p[1].fd = k->in;
        if (poll(p, 2, -1) < 0)
            continue;
        if (k->in >= 0 && p[1].revents)
            feed(k, &input);
        if (p[0].revents)
            ended = take(k, out, too_much);
    }
}

static void failed(const struct call *c, int code) {
    cleanup_buf struct buf why = BUF_INIT(4 * KIB);
    char text[64];
    container_complaint(&why);
    (void)snprintf(text, sizeof(text), "exit code %d", code);
    if (why.len)
        answer_failed(c->seq, false, "ContainerError", buf_cstr(&why));
    else
        answer_failed(c->seq, false, "ExitError", text);
}

void once_call(const struct spec *s, const struct call *c) {
    struct container k;
    struct strings env = {0};
    bool too_much = false;
    env_copy(&env, &s->env);
    call_env(c, &env);
    int r = container_start(&k, s, &env);
    strings_done(&env);
    if (r < 0) {
        answer_failed(c->seq, true, "ContainerError", errno_text(-r));
        return;
    }
    cleanup_buf struct buf out = BUF_INIT(IMAGE_BODY_MAX);
    exchange(&k, c->body, &out, &too_much);
    int code = container_end(&k);
    if (code == IMAGE_KILLED) /* the engine sees whether it was for its memory */
        _exit(IMAGE_KILLED);
    if (code != 0) {
        failed(c, code);
        return;
    }
    if (too_much) {
        answer_failed(c->seq, false, "OutputError", "the result is larger than 63 MiB");
        return;
    }
    struct result res = {.status = 200, .body = buf_str(&out)};
    answer_result(c->seq, &res);
}
