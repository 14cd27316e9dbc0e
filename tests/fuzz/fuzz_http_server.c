/* SPDX-License-Identifier: Apache-2.0 */
/* The server, over a socketpair, with a handler that answers in every way there is. The first byte
 * of the input says how finely the rest is written. Checked: whatever comes, every call is ended
 * once, what is answered is HTTP, and after the client has gone no connection is left. */
#include "fuzz.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/server.h"

static struct loop *loop;
static struct http_server *server;
static size_t open_calls; /* begun with on_gone set, not ended */

struct later { /* an answer to be made in the next tick */
    struct loop_task task;
    struct http_call *call;
};

static void on_gone(struct http_call *call) {
    struct later *l = call->user_data;
    if (l)
        l->call = NULL;
    open_calls--;
}

static void answer_later(struct loop_task *task) {
    struct later *l = container_of(task, struct later, task);
    if (l->call) {
        open_calls--;
        http_reply(l->call, 202, NULL, 0, l->call->body);
    }
    free(l);
}

static void defer_answer(struct http_call *call) {
    struct later *l = x_alloc(sizeof(*l));
    l->call = call;
    l->task.run = answer_later;
    call->user_data = l;
    call->on_gone = on_gone;
    open_calls++;
    loop_post(loop, &l->task);
}

static void stream(struct http_call *call) {
    http_stream_begin(call, 200, call->head.headers, call->head.n_headers);
    for (int i = 0; i < 3; i++)
        MUST(http_stream_write(call, call->body) == 0 || call->body.len > 4096);
    if (call->head.minor == 0)
        http_stream_abort(call);
    else
        http_stream_end(call);
}

static char route(const struct http_call *call) {
    return call->head.path.len > 1 ? call->head.path.p[1] : 0;
}

static void on_head(struct http_call *call, void *user) {
    (void)user;
    if (route(call) == 'u')
        http_reply(call, 401, NULL, 0, STR("no"));
    else if (route(call) == 'e')
        stream(call);
    else if (route(call) == 'b')
        call->body_max = 16;
}

static void on_call(struct http_call *call, void *user) {
    (void)user;
    struct buf b = BUF_INIT(GIB);
    switch (route(call)) {
    case 'a':
        defer_answer(call);
        break;
    case 's':
        stream(call);
        break;
    case 'l':
        MUST(buf_reserve(&b, 70000) == 0);
        memset(b.p, 'x', 70000);
        b.len = 70000;
        http_reply_buf(call, 200, NULL, 0, &b);
        break;
    default:
        http_reply(call, 200, call->head.headers, call->head.n_headers, call->body);
    }
}

static void set_up(void) {
    struct error err;
    loop = loop_new(0);
    struct http_config config = {
        .loop = loop, .on_head = on_head, .on_call = on_call, .body_max = 100000};
    MUST(http_server_new(&config, &server, &err) == 0);
}

/* Lets the server work, reading what it says: the first bytes into HEAD. */
static void turn(int fd, char head[9], size_t *ret_len) {
    char sink[65536];
    ssize_t n;
    loop_tick(loop, 0);
    while ((n = recv(fd, sink, sizeof(sink), MSG_DONTWAIT)) > 0)
        for (ssize_t i = 0; i < n; i++, ++*ret_len)
            if (*ret_len < 9)
                head[*ret_len] = sink[i];
}

static void talk(int fd, const uint8_t *data, size_t size, size_t piece) {
    char head[9] = "";
    size_t got = 0;
    for (size_t at = 0; at < size;) {
        size_t n = size - at < piece ? size - at : piece;
        ssize_t r = send(fd, data + at, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        turn(fd, head, &got);
        if (r < 0)
            break; /* the server has closed */
        at += (size_t)r;
    }
    for (int i = 0; i < 4; i++)
        turn(fd, head, &got);
    MUST(got == 0 || (got >= 9 && memcmp(head, "HTTP/1.1 ", 9) == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    int fds[2];
    if (!loop)
        set_up();
    if (size < 1)
        return 0;
    MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    MUST(http_server_adopt(server, fds[0]) == 0);
    bool half = data[0] & 1;
    talk(fds[1], data + 1, size - 1, data[0] < 64 && size < 1024 ? (size_t)data[0] / 2 + 1 : 65536);
    if (half)
        shutdown(fds[1], SHUT_WR);
    loop_tick(loop, 0);
    close(fds[1]);
    for (int i = 0; i < 50 && http_server_connections(server) > 0; i++)
        loop_tick(loop, 0);
    MUST(http_server_connections(server) == 0 && open_calls == 0);
    return 0;
}
