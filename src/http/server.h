/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_HTTP_SERVER_H
#define KILN_HTTP_SERVER_H

/* struct http_server: HTTP/1.1 connections of one kind (one set of callbacks) on one loop. A
 * program with several loops makes one on each; they share a port by SO_REUSEPORT.
 *
 * Life of a call: the head is complete: on_head(). It may answer at once (the body is then thrown
 * away), lower call->body_max, or do nothing, which accepts. The body is complete: on_call(), which
 * answers at once or any time later on the same loop. One call at a time a connection; pipelined
 * ones wait in the socket and in a bounded buffer and are answered in order. Everything that was
 * answered in a tick is written with one system call a connection at the tick's end.
 *
 * A call is over, and its memory gone, when http_reply*() or http_stream_end() returns or when
 * on_gone() returns: *call must not be used after that.
 *
 * A client that goes away: the end of its stream, or a reset, seen while a call is unanswered,
 * counts as "went away" and is told through call->on_gone. A client that only closes its sending
 * half cannot be told from one that left; so for calls with on_gone set, half-closing cancels.
 * Calls answered within on_head or on_call, and calls without on_gone, are still answered. */

#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"
#include "http/parser.h"
#include "loop/loop.h"

#define HTTP_ARENA_MAX          (256 * KIB) /* of one call */
#define HTTP_STREAM_PENDING_MAX (256 * KIB) /* unwritten bytes of a stream */
#define HTTP_DISCARD_MAX                                                                           \
    (64 * KIB) /* rest of an unwanted body that is read to keep the                                \
                * connection; over it the connection is closed */
#define HTTP_PEER_MAX 56

struct http_conn;
struct http_server;

struct http_call {
    struct http_head head;
    struct str body;     /* whole, in on_call(); empty before. Lives until the call is over */
    size_t body_max;     /* on_head() may lower it for this call */
    const char *peer;    /* "192.0.2.1:4711", "[2001:db8::1]:4711", "local" */
    uint64_t started_ns; /* loop_now_ns() when the head was complete */
    struct arena arena;  /* memory until the call is over; ceiling HTTP_ARENA_MAX */
    /* for the handler */
    void *user_data;                          /* NULL at first */
    void (*on_gone)(struct http_call *call);  /* the client left before the answer was made */
    void (*on_drain)(struct http_call *call); /* after -EAGAIN: half of the pending is written */
    struct http_conn *conn;                   /* private */
};

struct http_config {
    struct loop *loop;
    void *user;
    void (*on_head)(struct http_call *call, void *user); /* may be NULL: all are accepted */
    void (*on_call)(struct http_call *call, void *user);
    /* Body of an answer that the server itself makes (malformed, too large, too slow): appends to
     * BODY and sets *ret_content_type. HEAD is NULL where not even the request line was
     * understood; else it holds what stood before the fault. May be NULL:
     * plain text. */
    void (*on_error)(void *user, const struct http_head *head, int status, const char *reason,
                     struct buf *body, const char **ret_content_type);
    /* 0 means the default */
    size_t body_max;           /* 50 MiB */
    size_t bodies_max;         /* 1 GiB: memory of all large bodies under way on this server; then
                                * 503 to the one that asks for more */
    uint32_t head_timeout_ms;  /* 10,000: the whole head, from its first byte; then 408 */
    uint32_t body_timeout_ms;  /* 30,000 without a byte; then 408 */
    uint32_t idle_timeout_ms;  /* 60,000: between calls, and before the first byte */
    uint32_t write_timeout_ms; /* 30,000 in which the client takes nothing; then cut off */
    uint32_t linger_ms;        /* 2,000: reading on after a last answer, so that it arrives */
    uint32_t connections_max;  /* 10,000: over it new ones wait in the kernel's queue */
};

int http_server_new(const struct http_config *config, struct http_server **ret, struct error *err);
/* Ends every connection at once (on_gone is told) and frees. NULL is fine. Not from within the
 * server's own callbacks. */
void http_server_free(struct http_server *s);
/* "127.0.0.1:8080", "[::1]:8080", "0.0.0.0:0", ":8080" (all of IPv4 and IPv6). Numeric addresses
 * and "localhost". *ret_port (may be NULL) is the real port where 0 was asked for. May be called
 * several times. */
int http_server_listen(struct http_server *s, const char *address, uint16_t *ret_port,
                       struct error *err);
/* 0 where nobody listens at ADDRESS: because of SO_REUSEPORT a second server of the same user would
 * quietly share the port. Ask once before the first loop listens. */
int http_address_free(const char *address, struct error *err);
/* Serves a connected stream socket; takes FD, also on failure (-errno). */
int http_server_adopt(struct http_server *s, int fd);
/* Stops listening, closes idle connections, ends the others after their present answer. `done`
 * runs on the loop, once, when the last is gone (before this returns if there is none). */
void http_server_drain(struct http_server *s, void (*done)(void *user), void *user);
size_t http_server_connections(const struct http_server *s);

/* ---- answering ----
 * Content-Length, Transfer-Encoding, Connection, Keep-Alive and Date are the server's; HEAD, 204
 * and 304 are written without a body. Headers given under these names, or with bytes that a name or
 * a value must not have, are left out: what comes from an instance cannot break the framing. */

/* Copies BODY. A STATUS that is not 200..599 becomes 500. */
void http_reply(struct http_call *call, int status, const struct http_header *headers, size_t n,
                struct str body);
/* The same, taking BODY's memory (*BODY is left empty, with its max). */
void http_reply_buf(struct http_call *call, int status, const struct http_header *headers, size_t n,
                    struct buf *body);
/* An answer in pieces: chunked; to HTTP/1.0 ended by closing. Headers that are too long for a head
 * (64 KiB) are all left out. */
void http_stream_begin(struct http_call *call, int status, const struct http_header *headers,
                       size_t n);
/* Copies DATA: 0; -EAGAIN: not taken, too much is pending, on_drain will say when to try again;
 * -EMSGSIZE: longer than HTTP_STREAM_PENDING_MAX; -EPIPE: the client is gone (without on_gone). */
int http_stream_write(struct http_call *call, struct str data);
void http_stream_end(struct http_call *call);
/* Ends a stream that cannot be completed: the client sees a broken transfer. The call is over. */
void http_stream_abort(struct http_call *call);

#endif
