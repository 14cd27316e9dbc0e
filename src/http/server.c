/* SPDX-License-Identifier: Apache-2.0 */
#include "http/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

#include "http/conn.h"

#define BACKLOG         1024
#define ACCEPTS_A_TURN  64
#define ACCEPT_PAUSE_NS (100 * NS_PER_MS) /* when descriptors have run out */

#define NOT_AN_ADDRESS "not an address to listen on: \"%s\" (HOST:PORT)"

struct listener {
    struct loop_io io;
    struct list link;
    struct http_server *server;
};

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_storage room;
};

/* ---- what connections use ---- */
struct work *server_work(struct http_server *s) {
    struct work *w = s->spares;
    if (w) {
        s->spares = w->next;
        s->n_spares--;
        return w;
    }
    w = x_alloc(sizeof(*w));
    buf_init(&w->in, IN_MAX);
    buf_init(&w->out, OUT_MAX);
    arena_init(&w->call.arena, HTTP_ARENA_MAX);
    return w;
}

static void work_free(struct work *w) {
    buf_done(&w->in);
    buf_done(&w->body);
    buf_done(&w->out);
    buf_done(&w->tail);
    arena_done(&w->call.arena);
    free(w);
}

static void trim(struct buf *b) {
    if (b->cap > KEEP_MAX)
        buf_done(b);
    else
        buf_clear(b);
}

void server_work_back(struct http_server *s, struct work *w) {
    if (s->n_spares == WORK_SPARES) {
        work_free(w);
        return;
    }
    trim(&w->in);
    trim(&w->body);
    trim(&w->out);
    buf_done(&w->tail);
    w->pos = w->out_at = w->tail_at = 0;
    arena_reset(&w->call.arena);
    w->next = s->spares;
    s->spares = w;
    s->n_spares++;
}

struct str server_date(struct http_server *s) {
    uint64_t now_s = loop_now_ns(s->loop) / NS_PER_S;
    if (now_s != s->date_s) {
        time_t t = time(NULL);
        struct tm tm;
        s->date_s = now_s;
        s->date_len = strftime(s->date, sizeof(s->date), "Date: %a, %d %b %Y %H:%M:%S GMT\r\n",
                               gmtime_r(&t, &tm));
    }
    return str_n(s->date, s->date_len);
}

/* ---- accepting ---- */
static void listeners_want(struct http_server *s, uint32_t events) {
    list_for_each (it, &s->listeners)
        (void)loop_io_mod(s->loop, &list_entry(it, struct listener, link)->io, events);
}

static void accept_pause(struct http_server *s, bool out_of_descriptors) {
    s->paused = true;
    listeners_want(s, 0);
    if (out_of_descriptors) /* others may give some back without our hearing of it */
        loop_timer_set(s->loop, &s->resume, loop_now_ns(s->loop) + ACCEPT_PAUSE_NS);
}

static void accept_resume(struct http_server *s) {
    if (!s->paused || s->n_conns >= s->config.connections_max)
        return;
    s->paused = false;
    listeners_want(s, EPOLLIN);
}

static void on_resume(struct loop_timer *timer) {
    accept_resume(container_of(timer, struct http_server, resume));
}

static void name_peer(const union address *a, char out[HTTP_PEER_MAX]) {
    char host[INET6_ADDRSTRLEN] = "";
    if (a->any.sa_family == AF_INET) {
        inet_ntop(AF_INET, &a->v4.sin_addr, host, sizeof(host));
        snprintf(out, HTTP_PEER_MAX, "%s:%u", host, ntohs(a->v4.sin_port));
    } else if (a->any.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &a->v6.sin6_addr, host, sizeof(host));
        snprintf(out, HTTP_PEER_MAX, "[%s]:%u", host, ntohs(a->v6.sin6_port));
    } else {
        snprintf(out, HTTP_PEER_MAX, "local");
    }
}

/* False when there is nothing more to accept now. */
static bool accept_one(struct http_server *s, int listen_fd) {
    union address peer = {0};
    socklen_t len = sizeof(peer);
    int fd = accept4(listen_fd, &peer.any, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            accept_pause(s, true);
        /* anything but these and "none" is an error of that one connection, see accept(2) */
        return !s->paused && errno != EAGAIN && errno != EINVAL && errno != EBADF;
    }
    char name[HTTP_PEER_MAX];
    name_peer(&peer, name);
    (void)conn_open(s, fd, name);
    if (s->n_conns >= s->config.connections_max)
        accept_pause(s, false);
    return !s->paused;
}

static void on_acceptable(struct loop_io *io, uint32_t events) {
    struct listener *l = container_of(io, struct listener, io);
    (void)events;
    if (l->server->paused)
        return;
    for (int i = 0; i < ACCEPTS_A_TURN && accept_one(l->server, l->io.fd); i++)
        continue;
}

int http_server_adopt(struct http_server *s, int fd) {
    union address peer = {0};
    socklen_t len = sizeof(peer);
    char name[HTTP_PEER_MAX];
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        getpeername(fd, &peer.any, &len) < 0) {
        int r = -errno;
        fd_close(&fd);
        return r;
    }
    name_peer(&peer, name);
    return conn_open(s, fd, name);
}

/* ---- listening ---- */
/* HOST may be empty, "localhost", IPv4, or IPv6 without its brackets: length, or 0. */
static socklen_t set_address(const char *host, uint16_t port, union address *ret) {
    *ret = (union address){0};
    if (inet_pton(AF_INET, strcmp(host, "localhost") == 0 ? "127.0.0.1" : host,
                  &ret->v4.sin_addr) == 1) {
        ret->v4.sin_family = AF_INET;
        ret->v4.sin_port = htons(port);
        return sizeof(ret->v4);
    }
    if (inet_pton(AF_INET6, *host ? host : "::", &ret->v6.sin6_addr) == 1) {
        ret->v6.sin6_family = AF_INET6;
        ret->v6.sin6_port = htons(port);
        return sizeof(ret->v6);
    }
    return 0;
}

static socklen_t parse_address(const char *text, union address *ret) {
    char host[INET6_ADDRSTRLEN];
    uint64_t port;
    const char *colon = strrchr(text, ':');
    if (!colon || str_u64(str_of(colon + 1), 65535, &port) < 0)
        return 0;
    struct str h = str_n(text, (size_t)(colon - text));
    bool bracketed = h.len >= 2 && h.p[0] == '[' && h.p[h.len - 1] == ']';
    if (bracketed)
        h = str_n(h.p + 1, h.len - 2);
    if (h.len >= sizeof(host) || bracketed != (h.len > 0 && memchr(h.p, ':', h.len) != NULL))
        return 0;
    memcpy(host, h.p, h.len);
    host[h.len] = 0;
    return set_address(host, (uint16_t)port, ret);
}

/* A listening socket, or -errno. What accepted sockets inherit is set here once. */
static int open_listener(const union address *a, socklen_t len) {
    static const int on = 1, off = 0;
    cleanup_close int fd = socket(a->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    bool v6 = a->any.sa_family == AF_INET6;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0 ||
        (v6 &&
         setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY,
                    IN6_IS_ADDR_UNSPECIFIED(&a->v6.sin6_addr) ? &off : &on, sizeof(on)) < 0) ||
        bind(fd, &a->any, len) < 0 || listen(fd, BACKLOG) < 0)
        return -errno;
    return take_fd(&fd);
}

int http_address_free(const char *address, struct error *err) {
    static const int on = 1;
    union address a;
    socklen_t len = parse_address(address, &a);
    if (!len)
        return error_set(err, ERR_INVALID, NOT_AN_ADDRESS, address);
    cleanup_close int fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) /* no IPv6: http_server_listen() knows what to do */
        return errno == EAFNOSUPPORT ? 0 : error_errno(err, -errno, address);
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 || bind(fd, &a.any, len) < 0)
        return error_errno(err, -errno, address);
    return 0;
}

static uint16_t port_of(int fd) {
    union address a = {0};
    socklen_t len = sizeof(a);
    if (getsockname(fd, &a.any, &len) < 0)
        return 0;
    return ntohs(a.any.sa_family == AF_INET6 ? a.v6.sin6_port : a.v4.sin_port);
}

int http_server_listen(struct http_server *s, const char *address, uint16_t *ret_port,
                       struct error *err) {
    union address a;
    socklen_t len = parse_address(address, &a);
    if (!len)
        return error_set(err, ERR_INVALID, NOT_AN_ADDRESS, address);
    int fd = open_listener(&a, len);
    if (fd == -EAFNOSUPPORT && address[0] == ':') { /* no IPv6 here: all of IPv4 */
        uint16_t port = a.v6.sin6_port;
        len = set_address("0.0.0.0", ntohs(port), &a);
        fd = open_listener(&a, len);
    }
    if (fd < 0)
        return error_errno(err, fd, address);
    struct listener *l = x_alloc(sizeof(*l));
    l->server = s;
    l->io = (struct loop_io){fd, EPOLLIN, on_acceptable};
    int r = loop_io_add(s->loop, &l->io);
    if (r < 0) {
        fd_close(&fd);
        free(l);
        return error_errno(err, r, address);
    }
    list_push(&s->listeners, &l->link);
    if (ret_port)
        *ret_port = port_of(fd);
    return 0;
}

static void listeners_close(struct http_server *s) {
    struct list *n;
    while ((n = list_shift(&s->listeners)) != NULL) {
        struct listener *l = list_entry(n, struct listener, link);
        loop_io_del(s->loop, &l->io);
        fd_close(&l->io.fd);
        free(l);
    }
}

/* ---- life ---- */
static void set_defaults(struct http_config *c) {
#define DEFAULT(field, value)                                                                      \
    if (!c->field)                                                                                 \
    c->field = (value)
    DEFAULT(body_max, 50 * MIB);
    DEFAULT(bodies_max, GIB);
    DEFAULT(head_timeout_ms, 10000);
    DEFAULT(body_timeout_ms, 30000);
    DEFAULT(idle_timeout_ms, 60000);
    DEFAULT(write_timeout_ms, 30000);
    DEFAULT(linger_ms, 2000);
    DEFAULT(connections_max, 10000);
#undef DEFAULT
}

int http_server_new(const struct http_config *config, struct http_server **ret, struct error *err) {
    if (!config->loop || !config->on_call)
        return error_set(err, ERR_INTERNAL, "an HTTP server needs a loop and a handler");
    struct http_server *s = x_alloc(sizeof(*s));
    s->config = *config;
    s->loop = config->loop;
    set_defaults(&s->config);
    list_init(&s->conns);
    list_init(&s->listeners);
    loop_timer_init(&s->resume, on_resume);
    *ret = s;
    return 0;
}

void http_server_free(struct http_server *s) {
    if (!s)
        return;
    s->drained = NULL;
    s->draining = true;
    listeners_close(s);
    while (!list_empty(&s->conns))
        conn_destroy(list_entry(s->conns.next, struct http_conn, link));
    loop_timer_clear(s->loop, &s->resume);
    while (s->spares) {
        struct work *w = s->spares;
        s->spares = w->next;
        work_free(w);
    }
    free(s);
}

/* Last thing done with S by its callers: `drained` may free it. */
static void tell_drained(struct http_server *s) {
    void (*drained)(void *user) = s->drained;
    if (!s->draining || s->n_conns > 0 || !drained)
        return;
    s->drained = NULL;
    drained(s->drained_user);
}

void server_forget(struct http_server *s, struct http_conn *c) {
    free(c);
    s->n_conns--;
    accept_resume(s);
    tell_drained(s);
}

void http_server_drain(struct http_server *s, void (*done)(void *user), void *user) {
    s->draining = true;
    s->drained = done;
    s->drained_user = user;
    /* What the kernel has accepted for us was promised an answer. */
    list_for_each (it, &s->listeners)
        on_acceptable(&list_entry(it, struct listener, link)->io, EPOLLIN);
    listeners_close(s);
    list_for_each_safe (it, &s->conns)
        conn_retire(list_entry(it, struct http_conn, link));
    tell_drained(s);
}

size_t http_server_connections(const struct http_server *s) {
    return s->n_conns;
}
