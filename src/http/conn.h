/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_HTTP_CONN_H
#define KILN_HTTP_CONN_H

/* Private to http/: a connection (conn.c), its answers (reply.c), and the server that owns it
 * (server.c).
 *
 *   HEAD --head complete, on_head()--> BODY --body complete, on_call()--> CALL --answered--> HEAD
 *     |                                  |                                  |
 *     | refused, timeout, last answer    | answered early: DISCARD (a short rest) --> HEAD
 *     +----------------------------------+--> LAST --all written--> LINGER --> CLOSED
 *
 * An idle connection is one small object. What an active one needs (head, buffers, arena) is a
 * struct work, taken from the server's spares when bytes come and given back when all is answered
 * and written, so that nothing is allocated per call. */

#include "base/list.h"
#include "http/server.h"

#define IN_CAP      (16 * KIB) /* the read buffer; grows only for a long head */
#define IN_MAX      (64 * KIB)
#define OUT_HIGH    (64 * KIB)  /* with more unwritten no further pipelined call is begun */
#define OUT_MAX     (512 * KIB) /* OUT_HIGH, a reply head, and what a stream may have pending */
#define COPY_MAX    (16 * KIB)  /* longer bodies are written from where they are */
#define KEEP_MAX    (16 * KIB)  /* buffers that grew over this are freed between calls */
#define WORK_SPARES 128

/* Head of one reply; over it the reply becomes a 500. */
#define HTTP_REPLY_HEAD_MAX (64 * KIB)

enum conn_state {
    CONN_HEAD,    /* reading a head; idle where nothing of it has come */
    CONN_BODY,    /* reading the body of a call */
    CONN_CALL,    /* the handler has the call */
    CONN_DISCARD, /* answered before the body was whole: reading the rest away */
    CONN_LAST,    /* the last answer is being written */
    CONN_LINGER,  /* it is written and our half shut: reading on until the client has closed */
    CONN_ORPHAN,  /* the client is gone, the handler has not answered and cannot be told */
    CONN_CLOSED,  /* freed at the end of the tick */
};

enum reply_state { REPLY_NONE, REPLY_STREAM, REPLY_DONE };

struct work {
    struct work *next; /* in the server's spares */
    struct http_call call;
    struct buf in;
    size_t pos;         /* in.p[pos..len) has not been used yet */
    size_t body_at;     /* where the head ended in `in` */
    bool body_in_place; /* the body ends up whole in `in`; else it is gathered in `body` */
    struct http_chunked chunked;
    struct buf body;
    struct buf out;
    size_t out_at;   /* out.p[out_at..len) is unwritten */
    struct buf tail; /* the body of the last reply, where it is long: written after `out` */
    size_t tail_at;
    /* The reply being made */
    bool bodyless; /* HEAD, 204, 304 */
    bool chunked_out;
    bool drain_wanted; /* a stream write was refused */
};

struct http_conn {
    struct loop_io io;
    struct loop_timer timer; /* fires at or before deadline_ns and looks again: rarely moved */
    struct loop_task task;   /* end of tick: go on, write, tidy up */
    struct list link;
    struct http_server *server;
    struct work *work; /* NULL when idle */
    enum conn_state state;
    enum reply_state reply;
    int budget;    /* reads left in this turn */
    bool readable; /* edge-triggered: until a read says otherwise */
    bool writable;
    bool peer_closed; /* the kernel says so; bytes may still be unread */
    bool eof;         /* read to the end */
    bool broken;      /* reset, or a write failed */
    bool held;        /* a next call waits for output to be written */
    bool call_open;   /* on_head() was called and the call is not over */
    bool handed;      /* on_call() was called for it */
    bool continued;   /* the client has, or needs, no 100 Continue */
    bool keep_alive;  /* after the present answer */
    bool linger;      /* bytes may be unread when the last answer is out */
    size_t counted;   /* of the server's `bodies` */
    uint64_t discard_left;
    uint64_t since_ns; /* idle: last answer; head: first byte; body: last byte; linger: shutdown */
    uint64_t wrote_ns; /* last progress in writing, or when there began to be something */
    uint64_t deadline_ns;
    char peer[HTTP_PEER_MAX];
};

struct http_server {
    struct http_config config;
    struct loop *loop;
    struct list conns, listeners;
    size_t n_conns;
    size_t bodies; /* bytes allocated for large bodies under way */
    struct work *spares;
    size_t n_spares;
    bool draining, paused;
    struct loop_timer resume; /* accepting again after descriptors ran out */
    void (*drained)(void *user);
    void *drained_user;
    uint64_t date_s; /* `date` is that of this second of the loop's clock */
    char date[48];   /* "Date: …\r\n" */
    size_t date_len;
};

/* conn.c */
int conn_open(struct http_server *s, int fd, const char *peer);
/* Ends it now: on_gone is told, the descriptor closed, the object freed. */
void conn_destroy(struct http_conn *c);
/* Draining: closes it at the end of the tick where it is idle. */
void conn_retire(struct http_conn *c);
/* Bytes not written yet. */
size_t conn_pending(const struct http_conn *c);
/* Bytes of the present call's body that have not come; UINT64_MAX where nobody knows. */
uint64_t conn_body_left(const struct http_conn *c);
/* Something to write, or to go on with, at the end of the tick. */
void conn_wake(struct http_conn *c);

/* reply.c */
/* Makes the server's own answer to what cannot go on; the connection closes after it. */
void reply_bad_request(struct http_conn *c, int status, const char *reason);
void reply_continue(struct http_conn *c);

/* server.c */
struct work *server_work(struct http_server *s);
void server_work_back(struct http_server *s, struct work *w);
void server_forget(struct http_server *s, struct http_conn *c); /* C is gone: last word on it */
struct str server_date(struct http_server *s);

#endif
