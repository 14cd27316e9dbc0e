/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"
#include "image_runtime.h"

/* The instance: frames in, containers, frames out. One call at a time, all blocking: the engine
 * ends the whole instance when a call takes too long. */

#include "json/scan.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>

static struct buf out = BUF_INIT(WIRE_FRAME_MAX + MIB);

/* ---- frames out ---- */

static void send_out(void) {
    for (size_t at = 0; at < out.len;) {
        ssize_t n = send(WIRE_INSTANCE_FD, out.p + at, out.len - at, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            _exit(0);
        at += (size_t)n;
    }
    if (out.cap > MIB)
        buf_done(&out);
    buf_clear(&out);
}

static void send_frame(enum wire_type type, uint8_t flags, uint32_t seq, const char *a,
                       const char *b) {
    ssize_t at = wire_begin(&out, type, flags, seq);
    if (a)
        (void)wire_str(&out, str_of(a));
    if (b)
        (void)wire_str(&out, str_of(b));
    if (at < 0 || wire_end(&out, at) < 0)
        _exit(1);
    send_out();
}

void answer_failed(uint32_t seq, bool last, const char *type, const char *message) {
    send_frame(WIRE_FAILED, last ? WIRE_FAILED_LAST : 0, seq, type, message);
    if (last)
        _exit(0);
}

void result_header(struct result *r, struct str name, struct str value) {
    if (r->n_headers >= WIRE_HEADERS_MAX)
        return;
    if (!r->headers.max)
        r->headers = BUF_INIT(MIB);
    if (wire_str(&r->headers, name) == 0 && wire_str(&r->headers, value) == 0)
        r->n_headers++;
}

void result_done(struct result *r) {
    buf_done(&r->headers);
    r->n_headers = 0;
}

static enum wire_body kind_of(const struct result *r) {
    if (!r->body.len)
        return WIRE_BODY_NONE;
    if (r->is_json && json_check(r->body, NULL) == 0)
        return WIRE_BODY_JSON;
    return str_is_utf8(r->body) ? WIRE_BODY_TEXT : WIRE_BODY_BYTES;
}

void answer_result(uint32_t seq, const struct result *r) {
    ssize_t at = wire_begin(&out, WIRE_RESULT, 0, seq);
    (void)wire_u16(&out, r->status);
    (void)wire_u8(&out, r->wrapped);
    (void)wire_u8(&out, (uint8_t)kind_of(r));
    (void)wire_u32(&out, r->n_headers);
    (void)buf_put_str(&out, buf_str(&r->headers));
    (void)wire_str(&out, r->body);
    if (at < 0 || wire_end(&out, at) < 0) {
        buf_clear(&out);
        answer_failed(seq, true, "OutputError", "the result is larger than 64 MiB");
    }
    send_out();
}

/* ---- frames in ---- */

static struct buf in = BUF_INIT(WIRE_HEADER_LEN + WIRE_FRAME_MAX);

static void read_some(size_t want) {
    if (buf_reserve(&in, want) < 0)
        _exit(1);
    ssize_t n = read(WIRE_INSTANCE_FD, in.p + in.len, want);
    if (n < 0 && errno == EINTR)
        return;
    if (n <= 0) /* the server is gone */
        _exit(0);
    in.len += (size_t)n;
}

/* One whole frame; it lies in `in` until drop_frame(). */
static size_t read_frame(struct wire_frame *ret) {
    for (;;) {
        size_t need = 0;
        ssize_t n = wire_parse(in.p, in.len, WIRE_FRAME_MAX, ret, &need);
        if (n > 0)
            return (size_t)n;
        if (n < 0)
            _exit(1);
        size_t least = need > in.len ? need - in.len : WIRE_HEADER_LEN;
        read_some(need ? least : WIRE_HEADER_LEN - in.len);
    }
}

static void drop_frame(size_t n) {
    buf_drop(&in, n);
    if (in.cap > MIB && !in.len)
        buf_done(&in);
}

/* ---- the loop ---- */

/* The folder stays as long as somebody holds this lock: the server's cache asks for it before it
 * takes an image away (src/oci/cache.c). The descriptor lives until the process ends. */
static int hold_image(const struct spec *s) {
    char path[128];
    (void)snprintf(path, sizeof(path), IMAGES_DIR "/%s", s->folder);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || flock(fd, LOCK_SH | LOCK_NB) < 0)
        return -errno;
    return 0;
}

static NORETURN void load_failed(const char *what) {
    send_frame(WIRE_LOAD_FAILED, 0, 0, what, NULL);
    _exit(0);
}

static void load(struct spec *s, struct hot *hot) {
    struct wire_frame f;
    bool check;
    size_t n = read_frame(&f);
    if (f.type != WIRE_LOAD || spec_read(s, f.payload, &check) < 0)
        load_failed("the image's description is malformed");
    drop_frame(n);
    int r = hold_image(s);
    if (r < 0)
        load_failed("the image is not in the cache any more; the next call fetches it again");
    if (s->format != FORMAT_DEFAULT && !check && (r = hot_start(hot, s)) < 0)
        load_failed(errno_text(-r));
    send_frame(WIRE_READY, 0, 0, NULL, NULL);
}

/* Until a call comes. A container that ends or speaks meanwhile ends the instance: the next call
 * gets a fresh one. */
static void wait_for_call(const struct spec *s, struct hot *hot) {
    while (s->format != FORMAT_DEFAULT && in.len == 0) {
        struct pollfd p[2] = {{.fd = WIRE_INSTANCE_FD, .events = POLLIN},
                              {.fd = hot->container.out, .events = POLLIN}};
        if (poll(p, 2, -1) < 0)
            continue;
        if (p[0].revents)
            return;
        char chunk[4096];
        ssize_t n = read(hot->container.out, chunk, sizeof(chunk));
        if (n > 0 && (hot->got.len > KIB || buf_put(&hot->got, chunk, (size_t)n) < 0))
            _exit(1);
        if (n == 0)
            _exit(container_end(&hot->container));
    }
}

static NORETURN void image_instance(void) {
    struct spec s;
    struct hot hot = {.container = {.in = -1, .out = -1}};
    (void)signal(SIGPIPE, SIG_IGN);
    (void)fcntl(WIRE_INSTANCE_FD, F_SETFD, FD_CLOEXEC);
    send_frame(WIRE_HELLO, 0, 0, "crun", NULL);
    load(&s, &hot);
    for (;;) {
        struct wire_frame f;
        struct call c;
        wait_for_call(&s, &hot);
        size_t n = read_frame(&f);
        if (f.type != WIRE_CALL || call_read(&c, f.payload, f.seq) < 0)
            _exit(1);
        if (s.format == FORMAT_DEFAULT)
            once_call(&s, &c);
        else
            hot_call(&hot, &s, &c);
        drop_frame(n);
    }
}

static int image_warm(char *name, size_t size) {
    if (!crun_find(name, size)) {
        (void)fprintf(stderr, "images: crun does not run: install the package crun\n");
        return -ENOENT;
    }
    return container_prepare();
}

const struct zygote_runtime image_runtime = {
    .name = "image",
    .containers = true,
    .warm = image_warm,
    .instance = image_instance,
};
