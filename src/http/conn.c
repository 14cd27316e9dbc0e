/* SPDX-License-Identifier: Apache-2.0 */
#include "http/conn.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define READS_PER_TURN 8          /* then the others get their turn */
#define CHUNK_ROOM     (4 * KIB)  /* least room behind a head for reading a chunked body */
#define BODY_FIRST     (16 * KIB) /* a length is only a promise: grow as it is kept */

size_t conn_pending(const struct http_conn *c) {
    const struct work *w = c->work;
    return w ? w->out.len - w->out_at + w->tail.len - w->tail_at : 0;
}

static size_t unread(const struct http_conn *c) {
    return c->work ? c->work->in.len - c->work->pos : 0;
}

void conn_wake(struct http_conn *c) {
    loop_defer(c->server->loop, &c->task);
}

uint64_t conn_body_left(const struct http_conn *c) {
    const struct work *w = c->work;
    const struct http_head *h = &w->call.head;
    if (c->handed)
        return 0;
    if (h->chunked)
        return UINT64_MAX;
    return h->content_length - (w->body_in_place ? 0 : w->body.len);
}

/* Keeps the server's count of what bodies take: false when that is too much now. */
static bool count_body(struct http_conn *c) {
    struct http_server *s = c->server;
    size_t now = c->work && c->work->body.cap > KEEP_MAX ? c->work->body.cap : 0;
    s->bodies += now - c->counted;
    bool fits = now <= c->counted || s->bodies <= s->config.bodies_max;
    c->counted = now;
    return fits;
}

/* ---- the end of a connection ---- */
static void conn_close(struct http_conn *c, enum conn_state state) {
    if (c->io.fd >= 0) {
        loop_io_del(c->server->loop, &c->io);
        fd_close(&c->io.fd);
    }
    loop_timer_clear(c->server->loop, &c->timer);
    c->state = state;
    c->readable = c->writable = false;
    conn_wake(c);
}

/* Tells the handler, where it can be told, that its call is over. */
static void call_gone(struct http_conn *c) {
    if (!c->call_open)
        return;
    c->call_open = false;
    if (c->work->call.on_gone)
        c->work->call.on_gone(&c->work->call);
}

/* Ends it now: on_gone is told, the descriptor closed. The object lives to the end of the tick. */
static void conn_lost(struct http_conn *c) {
    if (c->state == CONN_CLOSED || c->state == CONN_ORPHAN)
        return;
    bool orphan = c->call_open && (c->handed || c->reply == REPLY_STREAM) && !c->work->call.on_gone;
    conn_close(c, orphan ? CONN_ORPHAN : CONN_CLOSED);
    if (!orphan)
        call_gone(c);
}

static void conn_free(struct http_conn *c) {
    struct http_server *s = c->server;
    loop_defer_cancel(s->loop, &c->task);
    if (c->work)
        server_work_back(s, TAKE_PTR(c->work));
    (void)count_body(c);
    list_del(&c->link);
    server_forget(s, c);
}

void conn_destroy(struct http_conn *c) {
    conn_close(c, CONN_CLOSED);
    call_gone(c);
    conn_free(c);
}

/* No more calls: what is to be written is written, then it closes. */
static void conn_last(struct http_conn *c, bool linger) {
    c->state = CONN_LAST;
    c->linger = linger && !c->eof;
}

static void conn_refuse(struct http_conn *c, int status, const char *reason) {
    call_gone(c);
    reply_bad_request(c, status, reason);
    conn_last(c, true);
}

/* ---- reading ---- */
/* Bytes read, 0 where there are none now (or no more, or the turn is over). */
static size_t conn_recv(struct http_conn *c, void *p, size_t room) {
    if (!c->readable || c->budget == 0)
        return 0;
    c->budget--;
    ssize_t n;
    do
        n = recv(c->io.fd, p, room, 0);
    while (n < 0 && errno == EINTR);
    /* A short read has emptied the socket, and what comes later is a new edge; but the end of the
     * stream may have been told already together with these bytes. */
    if (n < (ssize_t)room && !(n > 0 && c->peer_closed))
        c->readable = false;
    if (n > 0)
        return (size_t)n;
    c->eof = n == 0;
    c->broken = n < 0 && errno != EAGAIN;
    return 0;
}

/* Makes room in the read buffer between calls, when no slice of it is held by anyone. */
static void make_room(struct work *w) {
    if (w->pos > 0) {
        buf_drop(&w->in, w->pos);
        w->pos = 0;
    }
    if (w->in.len == w->in.cap) /* IN_MAX is beyond what the parser lets a head grow to */
        (void)buf_reserve(&w->in, w->in.cap ? w->in.cap : IN_CAP);
}

/* Reads into `in`: true when something came. */
static bool fill(struct http_conn *c) {
    struct work *w = c->work;
    bool first = c->state != CONN_HEAD || unread(c) == 0;
    size_t n = conn_recv(c, w->in.p + w->in.len, w->in.cap - w->in.len);
    w->in.len += n;
    if (n > 0 && first)
        c->since_ns = loop_now_ns(c->server->loop);
    return n > 0;
}

/* Reads straight into `body`. */
static bool fill_body(struct http_conn *c) {
    struct work *w = c->work;
    struct buf *b = &w->body;
    if (b->len == b->cap) {
        size_t more = b->len > BODY_FIRST ? b->len : BODY_FIRST, left = b->max - b->len;
        if (buf_reserve(b, more < left ? more : left) < 0)
            return false;
    }
    size_t room = (b->cap < b->max ? b->cap : b->max) - b->len;
    size_t n = conn_recv(c, b->p + b->len, room);
    b->len += n;
    if (n > 0)
        c->since_ns = loop_now_ns(c->server->loop);
    return n > 0;
}

/* ---- a call ---- */
static void call_begin(struct http_conn *c, size_t head_len) {
    struct work *w = c->work;
    struct http_call *call = &w->call;
    w->pos += head_len;
    w->body_at = w->pos;
    call->body = STR_NULL;
    call->body_max = c->server->config.body_max;
    call->peer = c->peer;
    call->started_ns = loop_now_ns(c->server->loop);
    call->user_data = NULL;
    call->on_gone = call->on_drain = NULL;
    call->conn = c;
    w->bodyless = w->chunked_out = w->drain_wanted = false;
    w->body_in_place = !call->head.chunked && call->head.content_length <= w->in.cap - w->body_at;
    http_chunked_init(&w->chunked);
    c->reply = REPLY_NONE;
    c->keep_alive = call->head.keep_alive && !c->server->draining;
    c->handed = false;
    c->continued = !call->head.expect_continue || unread(c) > 0;
    c->call_open = true;
    c->state = CONN_BODY;
}

/* After on_head(): may the body come, and how will it be kept? */
static void body_begin(struct http_conn *c) {
    struct work *w = c->work;
    const struct http_head *h = &w->call.head;
    if (h->content_length > w->call.body_max) {
        conn_refuse(c, 413, "The body is too large.");
        return;
    }
    w->body.max = h->chunked ? w->call.body_max : h->content_length;
    if (!w->body_in_place && !h->chunked) {
        size_t n = unread(c); /* less than the length: the whole did not fit into `in` */
        if (buf_put(&w->body, w->in.p + w->pos, n) < 0)
            abort();
        w->pos += n;
    }
    c->since_ns = loop_now_ns(c->server->loop);
    if (!c->continued && conn_body_left(c) > 0)
        reply_continue(c);
    c->continued = true;
}

/* 1 when the body is whole, 0 when more has to be read, -1 when it was refused. */
static int take_chunked(struct http_conn *c) {
    struct work *w = c->work;
    const char *reason;
    ssize_t n = http_chunked_feed(&w->chunked, w->in.p + w->pos, unread(c), &w->body, &reason);
    if (n < 0) {
        conn_refuse(c, (int)-n, reason);
        return -1;
    }
    w->pos += (size_t)n;
    if (!w->chunked.done)
        w->pos = w->in.len = w->body_at; /* all of it was used: read over it */
    w->call.body = buf_str(&w->body);
    return w->chunked.done;
}

static int take_body(struct http_conn *c) {
    struct work *w = c->work;
    size_t len = (size_t)w->call.head.content_length;
    if (w->call.head.chunked)
        return take_chunked(c);
    if (!w->body_in_place) {
        w->call.body = buf_str(&w->body);
        return w->body.len == len;
    }
    if (unread(c) < len)
        return 0;
    w->call.body = str_n(w->in.p + w->pos, len);
    w->pos += len;
    return 1;
}

/* The call is answered: on to the rest of its body, the next call, or the end. */
static void call_done(struct http_conn *c) {
    struct work *w = c->work;
    uint64_t left = conn_body_left(c), here = unread(c);
    if (c->handed || !w->body_in_place)
        here = 0;
    else if (here > left)
        here = left;
    if (w->call.head.chunked && !c->handed)
        w->pos = w->in.len;
    w->pos += (size_t)here;
    left -= here;
    arena_reset(&w->call.arena);
    if (w->body.cap > KEEP_MAX)
        buf_done(&w->body);
    else
        buf_clear(&w->body);
    (void)count_body(c);
    http_head_init(&w->call.head);
    c->reply = REPLY_NONE;
    c->since_ns = loop_now_ns(c->server->loop);
    if (!c->keep_alive) {
        conn_last(c, left > 0 || unread(c) > 0);
        return;
    }
    c->discard_left = left;
    c->state = left ? CONN_DISCARD : CONN_HEAD;
}

/* ---- steps: true when there is more to do at once ---- */
static bool step_head(struct http_conn *c) {
    struct http_server *s = c->server;
    c->held = false;
    if (conn_pending(c) > OUT_HIGH || (c->work && c->work->tail.len > 0)) {
        c->held = true; /* goes on when that is written */
        return false;
    }
    if (!c->work) {
        if (!c->readable)
            return false;
        c->work = server_work(s);
        http_head_init(&c->work->call.head);
    }
    struct work *w = c->work;
    ssize_t n = 0;
    const char *reason = NULL;
    if (unread(c) > 0)
        n = http_head_parse(&w->call.head, w->in.p + w->pos, unread(c), &reason);
    if (n < 0) {
        conn_refuse(c, (int)-n, reason);
        return true;
    }
    if (n == 0) {
        make_room(w);
        return fill(c);
    }
    if (w->call.head.chunked && w->in.cap - w->pos - (size_t)n < CHUNK_ROOM) {
        if (w->pos == 0) /* a long head: grow; else moving it to the front is enough */
            (void)buf_reserve(&w->in, CHUNK_ROOM + w->in.cap - w->in.len);
        make_room(w);
        http_head_init(&w->call.head); /* realloc() may not have moved it */
        return true;                   /* parse it where it stands now */
    }
    call_begin(c, (size_t)n);
    if (s->config.on_head)
        s->config.on_head(&w->call, s->config.user);
    if (c->state == CONN_BODY && c->reply == REPLY_NONE)
        body_begin(c);
    return true;
}

static bool step_body(struct http_conn *c) {
    struct work *w = c->work;
    if (c->reply == REPLY_DONE) {
        call_done(c);
        return true;
    }
    if (c->reply == REPLY_STREAM) /* an early stream: the body is left unread */
        return false;
    int r = take_body(c);
    if (r < 0)
        return true;
    if (!count_body(c)) {
        conn_refuse(c, 503, "Too many large bodies are under way.");
        return true;
    }
    if (r == 0)
        return w->body_in_place || w->call.head.chunked ? fill(c) : fill_body(c);
    c->handed = true;
    c->state = CONN_CALL;
    c->server->config.on_call(&w->call, c->server->config.user);
    return true;
}

static bool step_call(struct http_conn *c) {
    if (c->reply != REPLY_DONE)
        return false;
    call_done(c);
    return true;
}

static bool step_discard(struct http_conn *c) {
    struct work *w = c->work;
    size_t n = unread(c) < c->discard_left ? unread(c) : (size_t)c->discard_left;
    w->pos += n;
    c->discard_left -= n;
    if (c->discard_left == 0) {
        c->state = CONN_HEAD;
        c->since_ns = loop_now_ns(c->server->loop);
        return true;
    }
    make_room(w);
    return fill(c);
}

static bool step_linger(struct http_conn *c) {
    char sink[16 * KIB];
    return conn_recv(c, sink, sizeof(sink)) > 0;
}

static bool step(struct http_conn *c) {
    switch (c->state) {
    case CONN_HEAD:
        return step_head(c);
    case CONN_BODY:
        return step_body(c);
    case CONN_CALL:
        return step_call(c);
    case CONN_DISCARD:
        return step_discard(c);
    case CONN_LINGER:
        return step_linger(c);
    default:
        return false;
    }
}

/* What the end of the client's stream means where the steps have come to. */
static void mind_the_end(struct http_conn *c) {
    if (c->broken || (c->eof && (c->state == CONN_BODY || c->state == CONN_LINGER)))
        conn_lost(c); /* NOLINT(bugprone-branch-clone): the order of the three matters */
    else if (c->eof && (c->state == CONN_HEAD || c->state == CONN_DISCARD))
        conn_last(c, false);
    else if (c->peer_closed && c->call_open && c->work->call.on_gone &&
             (c->state == CONN_CALL || c->reply == REPLY_STREAM))
        conn_lost(c);
}

/* Goes on as far as the bytes that are there, and the handlers, allow. Handlers run in here and
 * answer in here; what they call only notes the answer, so that nothing recurses. */
static void conn_run(struct http_conn *c) {
    c->budget = READS_PER_TURN;
    while (!c->broken && step(c))
        continue;
    mind_the_end(c);
}

/* ---- writing ---- */
static ssize_t conn_send(struct http_conn *c) {
    struct work *w = c->work;
    struct iovec iov[2];
    size_t n_iov = 0;
    ssize_t n;
    if (w->out.len > w->out_at)
        iov[n_iov++] = (struct iovec){w->out.p + w->out_at, w->out.len - w->out_at};
    if (w->tail.len > w->tail_at)
        iov[n_iov++] = (struct iovec){w->tail.p + w->tail_at, w->tail.len - w->tail_at};
    struct msghdr m = {.msg_iov = iov, .msg_iovlen = n_iov};
    do
        n = n_iov == 1 ? send(c->io.fd, iov[0].iov_base, iov[0].iov_len, MSG_NOSIGNAL)
                       : sendmsg(c->io.fd, &m, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n;
}

static void wrote(struct http_conn *c, size_t n) {
    struct work *w = c->work;
    size_t head = w->out.len - w->out_at;
    if (head > n)
        head = n;
    w->out_at += head;
    w->tail_at += n - head;
    if (w->out_at == w->out.len) {
        w->out_at = 0;
        buf_clear(&w->out);
    } else if (w->out_at >= OUT_HIGH) {
        buf_drop(&w->out, w->out_at);
        w->out_at = 0;
    }
    if (w->tail.len > 0 && w->tail_at == w->tail.len) {
        w->tail_at = 0;
        buf_done(&w->tail);
    }
    c->wrote_ns = loop_now_ns(c->server->loop);
}

static void conn_write(struct http_conn *c) {
    while (c->writable && conn_pending(c) > 0) {
        ssize_t n = conn_send(c);
        if (n >= 0) {
            wrote(c, (size_t)n);
        } else if (errno == EAGAIN) {
            c->writable = false;
        } else {
            conn_lost(c);
            return;
        }
    }
    struct work *w = c->work;
    /* An orphan's writer is woken too: its next write says -EPIPE. */
    if (w && w->drain_wanted && c->call_open &&
        (c->state == CONN_ORPHAN || conn_pending(c) <= HTTP_STREAM_PENDING_MAX / 2)) {
        w->drain_wanted = false;
        if (w->call.on_drain)
            w->call.on_drain(&w->call);
    }
}

/* ---- time ---- */
static uint64_t deadline(const struct http_conn *c) {
    const struct http_config *cf = &c->server->config;
    if (conn_pending(c) > 0)
        return c->wrote_ns + cf->write_timeout_ms * NS_PER_MS;
    switch (c->state) {
    case CONN_HEAD:
        return c->since_ns + (unread(c) ? cf->head_timeout_ms : cf->idle_timeout_ms) * NS_PER_MS;
    case CONN_BODY:
        return c->reply == REPLY_STREAM ? 0 : c->since_ns + cf->body_timeout_ms * NS_PER_MS;
    case CONN_DISCARD:
        return c->since_ns + cf->body_timeout_ms * NS_PER_MS;
    case CONN_LINGER:
        return c->since_ns + cf->linger_ms * NS_PER_MS;
    default:
        return 0;
    }
}

static void conn_arm(struct http_conn *c) {
    c->deadline_ns = deadline(c);
    if (c->deadline_ns && (!loop_timer_is_set(&c->timer) || c->deadline_ns < c->timer.deadline_ns))
        loop_timer_set(c->server->loop, &c->timer, c->deadline_ns);
}

static void conn_expire(struct http_conn *c) {
    bool slow_head = c->state == CONN_HEAD && unread(c) > 0;
    if (conn_pending(c) == 0 && (slow_head || c->state == CONN_BODY))
        conn_refuse(c, 408, "The request did not come in time.");
    else
        conn_lost(c);
    conn_wake(c);
}

static void on_timer(struct loop_timer *timer) {
    struct http_conn *c = container_of(timer, struct http_conn, timer);
    if (c->deadline_ns == 0)
        return;
    if (c->deadline_ns > loop_now_ns(c->server->loop))
        loop_timer_set(c->server->loop, &c->timer, c->deadline_ns);
    else
        conn_expire(c);
}

/* ---- turns ---- */
static void conn_shut(struct http_conn *c) {
    if (!c->linger || shutdown(c->io.fd, SHUT_WR) < 0) {
        conn_lost(c);
        return;
    }
    c->state = CONN_LINGER;
    c->since_ns = loop_now_ns(c->server->loop);
    conn_wake(c);
}

static bool is_idle(const struct http_conn *c) {
    return c->state == CONN_HEAD && unread(c) == 0 && conn_pending(c) == 0;
}

static void on_end_of_tick(struct loop_task *task) {
    struct http_conn *c = container_of(task, struct http_conn, task);
    conn_run(c);
    conn_write(c);
    if (c->state == CONN_CLOSED || (c->state == CONN_ORPHAN && !c->call_open)) {
        conn_free(c);
        return;
    }
    if (c->state == CONN_ORPHAN)
        return;
    bool written = conn_pending(c) == 0;
    if (c->state == CONN_LAST && written)
        conn_shut(c);
    else if ((c->readable && c->budget == 0) || (c->held && written))
        conn_wake(c); /* its turn was over, or output had held it up */
    if (is_idle(c) && !c->readable) {
        if (c->work)
            server_work_back(c->server, TAKE_PTR(c->work));
        if (c->server->draining)
            conn_lost(c);
    }
    if (c->state != CONN_CLOSED)
        conn_arm(c);
}

/* A request may stand in the socket that no tick has seen yet: look, then close if there is none.
 */
void conn_retire(struct http_conn *c) {
    c->readable = c->state != CONN_CLOSED && c->state != CONN_ORPHAN;
    conn_wake(c);
}

static void on_ready(struct loop_io *io, uint32_t events) {
    struct http_conn *c = container_of(io, struct http_conn, io);
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        c->readable = true;
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        c->peer_closed = true;
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
        c->writable = true;
    conn_run(c);
    conn_wake(c);
}

int conn_open(struct http_server *s, int fd, const char *peer) {
    struct http_conn *c = x_alloc(sizeof(*c));
    c->server = s;
    /* Both edges for the connection's life: no epoll_ctl() per call. */
    c->io = (struct loop_io){fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, on_ready};
    c->task.run = on_end_of_tick;
    c->writable = true;
    c->since_ns = loop_now_ns(s->loop);
    loop_timer_init(&c->timer, on_timer);
    memcpy(c->peer, peer, strnlen(peer, sizeof(c->peer) - 1));
    int r = loop_io_add(s->loop, &c->io);
    if (r < 0) {
        fd_close(&fd);
        free(c);
        return r;
    }
    list_push(&s->conns, &c->link);
    s->n_conns++;
    conn_arm(c);
    return 0;
}
