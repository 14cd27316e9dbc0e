/* SPDX-License-Identifier: Apache-2.0 */
/* The server over socketpairs, one thread: the test writes, ticks the loop, and reads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "http/server.h"

#define HOST            "Host: h\r\n"
#define GET(path)       "GET " path " HTTP/1.1\r\n" HOST "\r\n"
#define POST(path, len) "POST " path " HTTP/1.1\r\n" HOST "Content-Length: " #len "\r\n\r\n"

struct rig {
    struct loop *loop;
    struct http_server *server;
    int fd;         /* the client's end */
    struct buf got; /* what the client has read */
    bool closed;    /* the server has closed */
    /* the handler */
    size_t heads, calls, gone, drains;
    struct http_call *kept;
    size_t streamed;
    struct str last_body;
    char body[256];
};
static struct rig rig;

/* ---- handler: the path says what to do ---- */
static void on_gone(struct http_call *call) {
    assert_ptr_equal(call, rig.kept);
    rig.kept = NULL;
    rig.gone++;
    http_reply(call, 200, NULL, 0, STR("too late")); /* must be harmless */
}

static void pump(struct http_call *call) {
    static const char block[10000];
    while (rig.streamed < 200) {
        int r = http_stream_write(call, str_n(block, sizeof(block)));
        if (r == -EAGAIN)
            return;
        assert_int_equal(r, 0);
        rig.streamed++;
    }
    http_stream_end(call);
}

static void on_drain(struct http_call *call) {
    rig.drains++;
    pump(call);
}

static void on_head(struct http_call *call, void *user) {
    assert_ptr_equal(user, &rig);
    rig.heads++;
    if (str_is(call->head.path, "/401"))
        http_reply(call, 401, NULL, 0, STR("who?"));
    if (str_is(call->head.path, "/small"))
        call->body_max = 10;
    if (str_is(call->head.path, "/told")) {
        rig.kept = call;
        call->on_gone = on_gone;
    }
}

static void reply_big(struct http_call *call) {
    struct buf b = BUF_INIT(10 * MIB);
    assert_int_equal(buf_reserve(&b, 3 * MIB), 0);
    memset(b.p, 'x', 3 * MIB);
    b.len = 3 * MIB;
    http_reply_buf(call, 200, NULL, 0, &b);
    assert_null(b.p);
}

static void on_call(struct http_call *call, void *user) {
    struct str path = call->head.path;
    (void)user;
    rig.calls++;
    rig.last_body = str_n(rig.body, call->body.len < sizeof(rig.body) ? call->body.len : 0);
    memcpy(rig.body, call->body.p, rig.last_body.len);
    if (str_is(path, "/later") || str_is(path, "/orphan") || str_is(path, "/told")) {
        rig.kept = call;
        call->on_gone = str_is(path, "/orphan") ? NULL : on_gone;
    } else if (str_is(path, "/stream")) {
        http_stream_begin(call, 200, NULL, 0);
        assert_int_equal(http_stream_write(call, STR("hello")), 0);
        assert_int_equal(http_stream_write(call, STR("")), 0);
        assert_int_equal(http_stream_write(call, STR(" world, 16")), 0);
        http_stream_end(call);
    } else if (str_is(path, "/pump")) {
        http_stream_begin(call, 200, NULL, 0);
        call->on_drain = on_drain;
        pump(call);
    } else if (str_is(path, "/abort")) {
        http_stream_begin(call, 200, NULL, 0);
        http_stream_abort(call);
    } else if (str_is(path, "/big")) {
        reply_big(call);
    } else if (str_is(path, "/204")) {
        http_reply(call, 204, NULL, 0, STR("never seen"));
    } else if (str_is(path, "/evil")) {
        const struct http_header h[] = {
            {STR("Content-Length"), STR("1")},
            {STR("X-A"), STR("a\r\nX-B: b")},
            {STR("X C"), STR("c")},
            {STR("transfer-encoding"), STR("chunked")},
            {STR("X-Good"), STR("yes")},
            {STR("X-Empty"), STR_NULL},
        };
        http_reply(call, 200, h, ARRAY_LEN(h), STR("evil"));
    } else if (str_is(path, "/huge-headers")) {
        cleanup_free char *v = x_alloc(100000);
        memset(v, 'v', 100000);
        http_reply(call, 200, &(struct http_header){STR("X"), {v, 100000}}, 1, STR("x"));
    } else if (str_is(path, "/20k")) {
        static const char body[20480];
        http_reply(call, 200, NULL, 0, str_n(body, sizeof(body)));
    } else if (str_is(path, "/99")) {
        http_reply(call, 99, NULL, 0, STR("x"));
    } else if (str_is(path, "/arena")) {
        char *a = arena_alloc(&call->arena, 100);
        assert_non_null(a);
        assert_null(arena_alloc(&call->arena, HTTP_ARENA_MAX));
        http_reply(call, 200, NULL, 0, str_of(call->peer));
    } else {
        http_reply(call, 200, NULL, 0, call->body);
    }
}

static void on_error(void *user, const struct http_head *head, int status, const char *reason,
                     struct buf *body, const char **ret_type) {
    assert_ptr_equal(user, &rig);
    *ret_type = "application/json";
    assert_int_equal(buf_printf(body, "{\"status\":%d,\"path\":\"%.*s\",\"reason\":\"%s\"}", status,
                                head ? (int)head->path.len : 0, head ? head->path.p : "", reason),
                     0);
}

/* ---- the client ---- */
static int dial(int *ret_client) {
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    *ret_client = fds[1];
    return http_server_adopt(rig.server, fds[0]);
}

static void start(const struct http_config *config) {
    struct http_config c = config ? *config : (struct http_config){0};
    struct error err;
    rig = (struct rig){.got = BUF_INIT(16 * MIB)};
    rig.loop = c.loop = loop_new(0);
    c.user = &rig;
    c.on_head = on_head;
    c.on_call = on_call;
    c.on_error = on_error;
    assert_int_equal(http_server_new(&c, &rig.server, &err), 0);
    assert_int_equal(dial(&rig.fd), 0);
}

static void stop(void) {
    if (rig.fd >= 0)
        close(rig.fd);
    http_server_free(rig.server);
    loop_free(rig.loop);
    buf_done(&rig.got);
}

static void take(void) {
    char b[65536];
    ssize_t n;
    while ((n = recv(rig.fd, b, sizeof(b), MSG_DONTWAIT)) > 0)
        assert_int_equal(buf_put(&rig.got, b, (size_t)n), 0);
    rig.closed = n == 0 || (n < 0 && errno != EAGAIN);
}

static void ticks(int n) {
    for (int i = 0; i < n; i++) {
        loop_tick(rig.loop, 0);
        take();
    }
}

static void say_n(const char *text, size_t len) {
    while (len > 0) {
        ssize_t n = send(rig.fd, text, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN) {
            ticks(1);
            continue;
        }
        assert_true(n > 0);
        text += n;
        len -= (size_t)n;
    }
    ticks(3);
}

static void say(const char *text) {
    say_n(text, strlen(text));
}

/* Waits for what only time brings. */
static void until_closed(void) {
    while (!rig.closed) {
        loop_tick(rig.loop, 1000);
        take();
    }
}

static size_t count(const char *needle) {
    size_t n = 0, len = strlen(needle);
    const char *p = buf_cstr(&rig.got), *end = p + rig.got.len;
    while ((p = memmem(p, (size_t)(end - p), needle, len)) != NULL) {
        n++;
        p += len;
    }
    return n;
}

#define HAS(text)     assert_int_equal(count(text), 1)
#define HAS_NOT(text) assert_int_equal(count(text), 0)

static void clear(void) {
    buf_clear(&rig.got);
}

/* ---- tests ---- */
static void a_call_is_answered_and_the_connection_kept(void **state) {
    (void)state;
    start(NULL);
    for (int i = 0; i < 3; i++) {
        clear();
        say(POST("/echo", 5) "hello");
        HAS("HTTP/1.1 200 OK\r\n");
        HAS("Content-Length: 5\r\n");
        HAS("\r\nDate: ");
        HAS("\r\n\r\nhello");
        HAS_NOT("Connection:");
        assert_false(rig.closed);
    }
    assert_int_equal(rig.calls, 3);
    say("GET /arena HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
    HAS("Connection: close\r\n");
    HAS("\r\n\r\nlocal");
    assert_true(rig.closed);
    assert_int_equal(http_server_connections(rig.server), 0);
    stop();
}

static void bytes_may_come_one_by_one(void **state) {
    (void)state;
    start(NULL);
    const char text[] = POST("/echo", 5) "hello" GET("/x");
    for (size_t i = 0; i < sizeof(text) - 1; i++)
        say_n(text + i, 1);
    assert_int_equal(rig.calls, 2);
    assert_int_equal(count("HTTP/1.1 200"), 2);
    stop();
}

static void pipelined_calls_are_answered_in_order(void **state) {
    (void)state;
    start(NULL);
    say(POST("/1", 1) "1" GET("/later") POST("/2", 1) "2" POST("/3", 1) "3");
    assert_int_equal(rig.calls, 2); /* the third waits for the second */
    assert_int_equal(count("HTTP/1.1 200"), 1);
    http_reply(rig.kept, 202, NULL, 0, STR("late"));
    ticks(2);
    assert_int_equal(rig.calls, 4);
    const char *late = strstr(buf_cstr(&rig.got), "\r\n\r\nlate");
    assert_non_null(late);
    assert_non_null(strstr(late, "\r\n\r\n2"));
    assert_non_null(strstr(strstr(late, "\r\n\r\n2"), "\r\n\r\n3"));
    stop();
}

static void many_pipelined_calls_with_big_answers_are_held_back(void **state) {
    (void)state;
    start(NULL);
    struct buf b = BUF_INIT(MIB);
    for (int i = 0; i < 20; i++)
        assert_int_equal(buf_puts(&b, GET("/big")), 0);
    assert_int_equal(send(rig.fd, b.p, b.len, 0), b.len);
    loop_tick(rig.loop, 0);
    assert_int_equal(rig.calls, 1); /* not read by the client yet */
    size_t total = 0;
    while (rig.calls < 20 || total < 20 * 3 * MIB) {
        ticks(1);
        total += rig.got.len;
        clear();
    }
    buf_done(&b);
    stop();
}

static void errors_of_the_parser_are_answered(void **state) {
    (void)state;
    start(NULL);
    say(GET("/ok") "GET / HTTP/1.1\r\n\r\n" GET("/never"));
    assert_int_equal(rig.calls, 1);
    HAS("HTTP/1.1 400 Bad Request\r\n");
    HAS("Content-Type: application/json\r\n");
    HAS("Connection: close\r\n");
    HAS("{\"status\":400,\"path\":\"/\",\"reason\":\"Host is missing.\"}");
    assert_true(rig.closed); /* our half is shut, the server reads on */
    assert_int_equal(http_server_connections(rig.server), 1);
    close(rig.fd);
    rig.fd = -1;
    loop_tick(rig.loop, 0);
    assert_int_equal(http_server_connections(rig.server), 0);
    stop();
}

static void bodies_of_all_sizes_arrive_whole(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 16000, 16300, 16384, 17000, 70000, 1000000};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        start(NULL);
        char head[128];
        cleanup_free char *body = x_alloc(sizes[i] + 1);
        for (size_t k = 0; k < sizes[i]; k++)
            body[k] = (char)(k % 251 + 1);
        snprintf(head, sizeof(head), "POST / HTTP/1.1\r\n" HOST "Content-Length: %zu\r\n\r\n",
                 sizes[i]);
        say(head);
        say_n(body, sizes[i]);
        say(GET("/next"));
        ticks(50);
        assert_int_equal(rig.calls, 2);
        const char *at = strstr(buf_cstr(&rig.got), "\r\n\r\n");
        assert_non_null(at);
        assert_memory_equal(at + 4, body, sizes[i]);
        stop();
    }
}

static void chunked_bodies_arrive_whole(void **state) {
    (void)state;
    start(NULL);
    say("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n5\r\nhel");
    assert_int_equal(rig.calls, 0);
    say("lo\r\n6;x\r\n world\r\n0\r\nT: v\r\n\r\n" GET("/next"));
    assert_int_equal(rig.calls, 2);
    HAS("\r\n\r\nhello world");
    clear();
    say("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nxyz\r\n");
    HAS("HTTP/1.1 400");
    HAS("\"path\":\"/\"");
    assert_int_equal(rig.calls, 2);
    stop();
}

static void a_long_chunked_body_behind_a_long_head(void **state) {
    (void)state;
    start(NULL);
    struct buf b = BUF_INIT(MIB);
    assert_int_equal(buf_puts(&b, "POST /echo HTTP/1.1\r\n" HOST "X: "), 0);
    for (int i = 0; i < 15000; i++)
        assert_int_equal(buf_putc(&b, 'x'), 0);
    assert_int_equal(buf_puts(&b, "\r\nTransfer-Encoding: chunked\r\n\r\n"), 0);
    for (int i = 0; i < 2000; i++)
        assert_int_equal(buf_puts(&b, "a\r\n0123456789\r\n"), 0);
    assert_int_equal(buf_puts(&b, "0\r\n\r\n"), 0);
    say_n(b.p, b.len);
    ticks(10);
    HAS("Content-Length: 20000\r\n");
    assert_int_equal(count("0123456789"), 2000);
    buf_done(&b);
    stop();
}

static void expect_continue_is_said_once_and_only_when_waited_for(void **state) {
    (void)state;
    start(NULL);
    say("POST /e HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    HAS("HTTP/1.1 100 Continue\r\n\r\n");
    say("ok");
    HAS("HTTP/1.1 200 OK");
    clear();
    say("POST /e HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 2\r\n\r\nok");
    HAS_NOT("100 Continue");
    HAS("HTTP/1.1 200 OK");
    clear();
    say("POST /401 HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    HAS_NOT("100 Continue");
    HAS("HTTP/1.1 401");
    HAS("Connection: close"); /* nobody knows whether the body will come */
    stop();
}

static void too_large_is_said_before_the_body_is_read(void **state) {
    (void)state;
    start(&(struct http_config){.body_max = 1000});
    say("POST /e HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 1001\r\n\r\n");
    HAS("HTTP/1.1 413 Content Too Large");
    HAS("{\"status\":413,\"path\":\"/e\"");
    HAS_NOT("100 Continue");
    assert_true(rig.closed);
    assert_int_equal(rig.calls, 0);
    stop();
    start(&(struct http_config){.body_max = 1000});
    say(POST("/small", 10) "0123456789" POST("/small", 11));
    HAS("\r\n\r\n0123456789");
    HAS("HTTP/1.1 413");
    stop();
    start(&(struct http_config){.body_max = 1000});
    say("POST /small HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n");
    HAS("HTTP/1.1 413");
    assert_int_equal(rig.calls, 0);
    stop();
}

static void large_bodies_are_limited_in_all(void **state) {
    (void)state;
    static const char block[250000];
    int other;
    start(&(struct http_config){.bodies_max = 400000});
    say(POST("/e", 300000) "a promise costs nothing");
    say_n(block, sizeof(block));
    int first = rig.fd;
    assert_int_equal(dial(&other), 0);
    rig.fd = other;
    say(POST("/e", 300000));
    HAS_NOT("503");
    say_n(block, sizeof(block));
    HAS("HTTP/1.1 503 Service Unavailable");
    close(first);
    close(other);
    loop_tick(rig.loop, 0);
    assert_int_equal(http_server_connections(rig.server), 0);
    assert_int_equal(dial(&rig.fd), 0); /* what they took has been given back */
    clear();
    say(POST("/e", 300000));
    say_n(block, sizeof(block));
    HAS_NOT("503");
    assert_false(rig.closed);
    stop();
}

static void an_early_answer_throws_a_short_body_away(void **state) {
    (void)state;
    start(NULL);
    say(POST("/401", 6) "abc");
    HAS("HTTP/1.1 401 Unauthorized");
    HAS_NOT("Connection: close");
    say("def" POST("/echo", 2) "ok");
    HAS("\r\n\r\nok");
    assert_int_equal(rig.calls, 1);
    clear();
    say(POST("/401", 100000) "abc");
    HAS("HTTP/1.1 401 Unauthorized");
    HAS("Connection: close");
    assert_true(rig.closed);
    stop();
}

static void a_client_that_leaves_is_told_to_the_handler(void **state) {
    (void)state;
    start(NULL);
    say(GET("/later"));
    assert_non_null(rig.kept);
    close(rig.fd);
    rig.fd = -1;
    loop_tick(rig.loop, 0);
    assert_int_equal(rig.gone, 1);
    assert_int_equal(http_server_connections(rig.server), 0);
    stop();
    start(NULL); /* in the middle of the body */
    say(POST("/told", 10) "abc");
    close(rig.fd);
    rig.fd = -1;
    loop_tick(rig.loop, 0);
    assert_int_equal(rig.gone, 1);
    assert_int_equal(rig.calls, 0);
    stop();
}

static void an_orphaned_call_may_still_be_answered(void **state) {
    (void)state;
    start(NULL);
    say(GET("/orphan"));
    shutdown(rig.fd, SHUT_WR); /* half-closed: still answered */
    ticks(2);
    assert_int_equal(http_server_connections(rig.server), 1);
    http_reply(rig.kept, 200, NULL, 0, STR("here"));
    ticks(2);
    HAS("\r\n\r\nhere");
    assert_true(rig.closed);
    assert_int_equal(http_server_connections(rig.server), 0);
    stop();
    start(NULL);
    say(GET("/orphan"));
    close(rig.fd);
    rig.fd = -1;
    loop_tick(rig.loop, 0);
    http_stream_begin(rig.kept, 200, NULL, 0);
    loop_tick(rig.loop, 0); /* the write fails: nobody there */
    assert_int_equal(http_stream_write(rig.kept, STR("x")), -EPIPE);
    assert_int_equal(rig.gone, 0);
    http_stream_end(rig.kept);
    loop_tick(rig.loop, 0);
    assert_int_equal(http_server_connections(rig.server), 0);
    stop();
}

static void half_closing_after_the_request_is_answered(void **state) {
    (void)state;
    start(NULL);
    assert_int_equal(send(rig.fd, GET("/a") GET("/b"), 2 * strlen(GET("/a")), 0),
                     2 * strlen(GET("/a")));
    shutdown(rig.fd, SHUT_WR);
    ticks(3);
    assert_int_equal(count("HTTP/1.1 200"), 2);
    assert_true(rig.closed);
    stop();
}

static void streams_are_chunked(void **state) {
    (void)state;
    start(NULL);
    say(GET("/stream") GET("/x"));
    HAS("Transfer-Encoding: chunked\r\n");
    HAS("\r\n\r\n5\r\nhello\r\na\r\n world, 16\r\n0\r\n\r\nHTTP/1.1 200 OK");
    clear();
    say("HEAD /stream HTTP/1.1\r\n" HOST "\r\n" GET("/x"));
    HAS_NOT("hello");
    assert_int_equal(count("HTTP/1.1 200"), 2);
    clear();
    say("GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    HAS_NOT("chunked");
    HAS("Connection: close");
    HAS("\r\n\r\nhello world, 16");
    assert_true(rig.closed);
    stop();
    start(NULL);
    say(GET("/abort"));
    assert_true(rig.closed);
    HAS_NOT("\r\n0\r\n");
    stop();
}

static void streams_are_held_back_and_go_on(void **state) {
    (void)state;
    start(NULL);
    assert_int_equal(send(rig.fd, GET("/pump"), strlen(GET("/pump")), 0), strlen(GET("/pump")));
    for (int i = 0; i < 5; i++)
        loop_tick(rig.loop, 0); /* the client does not read */
    assert_in_range(rig.streamed, 20, 150);
    size_t before = rig.streamed;
    for (int i = 0; i < 5; i++)
        loop_tick(rig.loop, 0);
    assert_int_equal(rig.streamed, before);
    ticks(400);
    assert_int_equal(rig.streamed, 200);
    assert_true(rig.drains > 0);
    assert_int_equal(count("\r\n2710\r\n"), 200);
    assert_memory_equal(rig.got.p + rig.got.len - 7, "\r\n0\r\n\r\n", 7);
    stop();
}

static void answers_keep_their_framing(void **state) {
    (void)state;
    start(NULL);
    say(GET("/evil"));
    HAS("Content-Length: 4\r\n");
    HAS("X-Good: yes\r\n");
    HAS("X-Empty: \r\n");
    HAS_NOT("X-A");
    HAS_NOT("X-B");
    HAS_NOT("X C");
    HAS_NOT("chunked");
    clear();
    say(GET("/204") GET("/x"));
    HAS("HTTP/1.1 204 No Content");
    HAS_NOT("never seen");
    assert_int_equal(count("Content-Length"), 1);
    clear();
    say("HEAD /big HTTP/1.1\r\n" HOST "\r\n" GET("/x"));
    HAS("Content-Length: 3145728\r\n");
    assert_int_equal(count("HTTP/1.1 200"), 2);
    assert_true(rig.got.len < 1000);
    clear();
    say("GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    HAS("Connection: keep-alive\r\n");
    clear();
    say(GET("/99"));
    HAS("HTTP/1.1 500");
    clear();
    say(GET("/huge-headers"));
    HAS("HTTP/1.1 500");
    HAS("Connection: close");
    stop();
}

static void slow_clients_are_cut_off(void **state) {
    (void)state;
    const struct http_config fast = {.head_timeout_ms = 20,
                                     .body_timeout_ms = 20,
                                     .write_timeout_ms = 20,
                                     .linger_ms = 20},
                             idle = {.idle_timeout_ms = 40};
    start(&idle); /* closed without a word */
    until_closed();
    assert_int_equal(rig.got.len, 0);
    stop();
    start(&fast); /* half a head */
    say(GET("/x") "GET / HT");
    until_closed();
    HAS("HTTP/1.1 408 Request Timeout");
    HAS("\"path\":\"\"");
    while (http_server_connections(rig.server) > 0) /* lingering ends by itself */
        loop_tick(rig.loop, 1000);
    stop();
    start(&fast); /* half a body; the handler hears of it */
    say(POST("/told", 10) "abc");
    until_closed();
    HAS("HTTP/1.1 408 Request Timeout");
    assert_int_equal(rig.gone, 1);
    stop();
    start(&fast); /* does not read */
    assert_int_equal(send(rig.fd, GET("/big"), strlen(GET("/big")), 0), strlen(GET("/big")));
    while (http_server_connections(rig.server) > 0)
        loop_tick(rig.loop, 1000);
    stop();
}

static void drained(void *user) {
    ++*(int *)user;
}

static void draining_ends_idle_ones_and_lets_calls_end(void **state) {
    (void)state;
    int done = 0, idle, asking;
    start(NULL);
    assert_int_equal(dial(&idle), 0);
    say(GET("/later"));
    assert_int_equal(dial(&asking), 0); /* its request is in the socket, unseen */
    assert_int_equal(send(asking, GET("/x"), strlen(GET("/x")), 0), strlen(GET("/x")));
    http_server_drain(rig.server, drained, &done);
    ticks(2);
    char b[512];
    assert_int_equal(recv(idle, b, sizeof(b), MSG_DONTWAIT), 0);
    ssize_t n = recv(asking, b, sizeof(b) - 1, MSG_DONTWAIT);
    assert_true(n > 0);
    b[n] = 0;
    assert_non_null(strstr(b, "200 OK"));
    assert_non_null(strstr(b, "Connection: close"));
    assert_int_equal(http_server_connections(rig.server), 1);
    assert_int_equal(done, 0);
    http_reply(rig.kept, 200, NULL, 0, STR("last"));
    ticks(2);
    HAS("\r\n\r\nlast");
    HAS("Connection: close");
    assert_int_equal(done, 1);
    close(idle);
    close(asking);
    stop();
}

static void freeing_tells_the_handlers(void **state) {
    (void)state;
    start(NULL);
    say(GET("/later"));
    http_server_free(rig.server);
    rig.server = NULL;
    assert_int_equal(rig.gone, 1);
    take();
    assert_true(rig.closed);
    stop();
}

/* ---- listening ---- */
static int connect_to(uint16_t port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    return fd;
}

/* Long answers that the socket takes at once: nothing but the server itself makes it go on
 * (over TCP: a socketpair tells of every byte that was read). */
static void held_back_calls_go_on_without_an_event(void **state) {
    (void)state;
    struct error err;
    uint16_t port = 0;
    start(NULL);
    assert_int_equal(http_server_listen(rig.server, "127.0.0.1:0", &port, &err), 0);
    close(rig.fd);
    rig.fd = connect_to(port);
    ticks(1);
    say(GET("/20k") GET("/20k") GET("/20k"));
    ticks(3);
    assert_int_equal(count("Content-Length: 20480\r\n"), 3);
    stop();
}

static void listens_and_says_who_calls(void **state) {
    (void)state;
    struct error err;
    uint16_t port = 0;
    start(NULL);
    assert_int_equal(http_server_listen(rig.server, "127.0.0.1:0", &port, &err), 0);
    assert_true(port > 0);
    close(rig.fd);
    rig.fd = connect_to(port);
    ticks(1);
    say(GET("/arena"));
    HAS("\r\n\r\n127.0.0.1:");
    /* A second listener on the port, as another loop would open it */
    char again[32];
    snprintf(again, sizeof(again), "localhost:%u", port);
    assert_int_equal(http_server_listen(rig.server, again, NULL, &err), 0);
    assert_int_equal(http_address_free(again, &err), -1);
    assert_int_equal(http_address_free("127.0.0.1:0", &err), 0);
    static const char *const bad[] = {"",        "127.0.0.1", "127.0.0.1:",     "127.0.0.1:65536",
                                      "::1:80",  "[::1]",     "[127.0.0.1]:80", "example.com:80",
                                      "[::1:80", ":x"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(http_server_listen(rig.server, bad[i], NULL, &err), -1);
        assert_int_equal(err.code, ERR_INVALID);
    }
    stop();
}

static void over_the_connection_limit_they_wait(void **state) {
    (void)state;
    struct error err;
    uint16_t port = 0;
    start(&(struct http_config){.connections_max = 2});
    assert_int_equal(http_server_listen(rig.server, "127.0.0.1:0", &port, &err), 0);
    int a = connect_to(port), b = connect_to(port);
    ticks(3);
    assert_int_equal(http_server_connections(rig.server), 2); /* ours and A */
    close(a);
    ticks(3);
    assert_int_equal(http_server_connections(rig.server), 2); /* ours and B */
    close(b);
    stop();
}

static void running_out_of_descriptors_does_not_spin(void **state) {
    (void)state;
    const char *preload = getenv("LD_PRELOAD");
    if (preload && strstr(preload, "vgpreload")) /* valgrind accepts, then closes, for EMFILE */
        skip();
    struct error err;
    uint16_t port = 0;
    struct rlimit old, low;
    start(NULL);
    assert_int_equal(http_server_listen(rig.server, "127.0.0.1:0", &port, &err), 0);
    int a = connect_to(port);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    low = old;
    low.rlim_cur = (rlim_t)a + 1; /* none left */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    loop_tick(rig.loop, 0);
    assert_int_equal(http_server_connections(rig.server), 1);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    uint64_t asleep = loop_now_ns(rig.loop);
    loop_tick(rig.loop, 10000); /* sleeps until the timer: the listener does not wake it */
    assert_true(loop_now_ns(rig.loop) - asleep >= 50 * NS_PER_MS);
    for (int i = 0; i < 10 && http_server_connections(rig.server) < 2; i++)
        loop_tick(rig.loop, 1000);
    assert_int_equal(http_server_connections(rig.server), 2);
    close(a);
    stop();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_is_answered_and_the_connection_kept),
        cmocka_unit_test(bytes_may_come_one_by_one),
        cmocka_unit_test(pipelined_calls_are_answered_in_order),
        cmocka_unit_test(many_pipelined_calls_with_big_answers_are_held_back),
        cmocka_unit_test(held_back_calls_go_on_without_an_event),
        cmocka_unit_test(errors_of_the_parser_are_answered),
        cmocka_unit_test(bodies_of_all_sizes_arrive_whole),
        cmocka_unit_test(chunked_bodies_arrive_whole),
        cmocka_unit_test(a_long_chunked_body_behind_a_long_head),
        cmocka_unit_test(expect_continue_is_said_once_and_only_when_waited_for),
        cmocka_unit_test(too_large_is_said_before_the_body_is_read),
        cmocka_unit_test(large_bodies_are_limited_in_all),
        cmocka_unit_test(an_early_answer_throws_a_short_body_away),
        cmocka_unit_test(a_client_that_leaves_is_told_to_the_handler),
        cmocka_unit_test(an_orphaned_call_may_still_be_answered),
        cmocka_unit_test(half_closing_after_the_request_is_answered),
        cmocka_unit_test(streams_are_chunked),
        cmocka_unit_test(streams_are_held_back_and_go_on),
        cmocka_unit_test(answers_keep_their_framing),
        cmocka_unit_test(slow_clients_are_cut_off),
        cmocka_unit_test(draining_ends_idle_ones_and_lets_calls_end),
        cmocka_unit_test(freeing_tells_the_handlers),
        cmocka_unit_test(listens_and_says_who_calls),
        cmocka_unit_test(over_the_connection_limit_they_wait),
        cmocka_unit_test(running_out_of_descriptors_does_not_spin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
