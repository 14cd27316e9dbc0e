/* SPDX-License-Identifier: Apache-2.0 */
#include "image_runtime.h"

/* Formats "http" and "json": one container that answers call after call. Whatever goes wrong with
 * it ends the call and the instance: what its stream holds next is anybody's guess. */

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>

int hot_start(struct hot *h, const struct spec *s) {
    h->got = BUF_INIT(IMAGE_BODY_MAX + IMAGE_HEAD_MAX);
    h->eof = false;
    return container_start(&h->container, s, &s->env);
}

static NORETURN void broke(struct hot *h, const struct call *c, const char *why) {
    answer_failed(c->seq, true, "ContainerError", why);
    (void)h;
    _exit(0); /* process 1: the container ends with us */
}

static NORETURN void ended(struct hot *h, const struct call *c) {
    cleanup_buf struct buf text = BUF_INIT(4 * KIB);
    int code = container_end(&h->container);
    if (code == IMAGE_KILLED)
        _exit(IMAGE_KILLED);
    container_complaint(&text);
    if (!text.len)
        (void)buf_printf(&text, "the container ended before it answered: exit code %d", code);
    broke(h, c, buf_cstr(&text));
}

static void take(struct hot *h, const struct call *c) {
    static char chunk[64 * KIB];
    ssize_t n = read(h->container.out, chunk, sizeof(chunk));
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0)
        h->eof = true;
    else if (buf_put(&h->got, chunk, (size_t)n) < 0)
        broke(h, c, "the result is larger than 63 MiB");
}

static void give(struct hot *h, struct str *rest) {
    ssize_t n = write(h->container.in, rest->p, rest->len);
    if (n > 0)
        *rest = str_n(rest->p + n, rest->len - (size_t)n);
    else if (n < 0 && errno != EAGAIN && errno != EINTR)
        rest->len = 0; /* it reads no more; its output says the rest */
}

/* Moves bytes both ways once there are any. */
static void turn(struct hot *h, const struct call *c, struct str *rest) {
    struct pollfd p[2] = {{.fd = h->container.out, .events = POLLIN},
                          {.fd = rest->len ? h->container.in : -1, .events = POLLOUT}};
    if (poll(p, 2, -1) < 0)
        return;
    if (p[1].revents)
        give(h, rest);
    if (p[0].revents)
        take(h, c);
}

static ssize_t look(struct hot *h, const struct spec *s, const struct call *c, struct progress *p,
                    struct result *r, struct buf *body, const char **why) {
    if (s->format == FORMAT_HTTP)
        return http_answer(buf_str(&h->got), h->eof, str_is(c->method, "HEAD"), p, r, body, why);
    return json_answer(buf_str(&h->got), p, r, body, why);
}

/* Bytes that nobody asked for would be taken for the answer. Line ends between answers are fine. */
static bool quiet(struct hot *h) {
    for (size_t i = 0; i < h->got.len; i++)
        if (!memchr(" \t\r\n", h->got.p[i], 4))
            return false;
    buf_clear(&h->got);
    return true;
}

/* It has answered well, but is out of step, or gone: the next call, which may be on its way
 * already, gets another one. */
static void renew(struct hot *h, const struct spec *s) {
    (void)kill(-1, SIGKILL); /* everybody in our pid namespace but ourselves */
    (void)container_end(&h->container);
    buf_done(&h->got);
    if (hot_start(h, s) < 0)
        _exit(1);
}

void hot_call(struct hot *h, const struct spec *s, const struct call *c) {
    cleanup_buf struct buf request = BUF_INIT(IMAGE_REQUEST_MAX), body = BUF_INIT(IMAGE_BODY_MAX);
    struct result res = {.status = 200};
    struct progress progress = {0};
    const char *why = "";
    int r = s->format == FORMAT_HTTP ? http_request(c, &request) : json_request(c, &request);
    if (r < 0) {
        answer_failed(c->seq, false, "ContainerError", "the call is too large for its container");
        return;
    }
    for (size_t before = SIZE_MAX; before != h->got.len && !h->eof;) { /* what came meanwhile */
        before = h->got.len;
        take(h, c);
    }
    if (!quiet(h))
        broke(h, c, "the container wrote what nobody asked it for");
    struct str rest = buf_str(&request);
    struct str body_rest = s->format == FORMAT_HTTP ? c->body : STR_NULL;
    ssize_t n = 0;
    for (size_t seen = 0; n == 0;) {
        if (!rest.len) {
            rest = body_rest;
            body_rest.len = 0;
        }
        turn(h, c, &rest);
        if (h->got.len != seen || h->eof)
            n = look(h, s, c, &progress, &res, &body, &why);
        seen = h->got.len;
        if (n == 0 && h->eof)
            ended(h, c);
    }
    if (n < 0)
        broke(h, c, why);
    if (rest.len || body_rest.len) /* the next request would begin in the middle of this one */
        broke(h, c, "the container answered before it had read its request");
    answer_result(c->seq, &res);
    result_done(&res);
    buf_drop(&h->got, (size_t)n);
    if (h->eof || !quiet(h))
        renew(h, s);
}
