/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_WIRE_WIRE_H
#define KILN_WIRE_WIRE_H

/* The frames that server, zygote and instance exchange. Two channels:
 *
 * 1. instance channel: SOCK_STREAM socketpair, fd 3 inside the instance. A frame is a 12-byte
 *    header and a payload, all numbers little-endian:
 *        u32 len (payload bytes)  u8 type  u8 flags  u16 zero  u32 seq
 *    `seq` numbers the calls of an instance; an answer carries the seq of its call; 0 = no call.
 * 2. zygote channel: SOCK_SEQPACKET, one message a packet, descriptors as SCM_RIGHTS.
 *
 * In payloads a `string` is u32 length and bytes; a `pairs` is u32 count and that many (string
 * key, string value). The server treats every byte from an instance as hostile. */

#include "base/buf.h"

#define WIRE_HEADER_LEN  12
#define WIRE_INSTANCE_FD 3 /* where an instance finds its channel */

/* Limits both sides hold to. */
#define WIRE_FRAME_MAX    (64 * MIB) /* payload of any frame */
#define WIRE_HEADERS_MAX  256        /* pairs in one list */
#define WIRE_LOG_LINE_MAX (16 * KIB) /* longer lines are cut into pieces of this */

enum wire_type {
    /* server to instance */
    WIRE_LOAD = 1,      /* the function; once, first. Answered by READY or LOAD_FAILED. */
    WIRE_CALL = 2,      /* one invocation. Answered by RESULT or FAILED with the same seq. */
    WIRE_KV_ANSWER = 3, /* to a KV of the same seq */
    /* instance to server */
    WIRE_HELLO = 16,       /* the generic process is warm and waits for LOAD; payload: string,
                            * what the interpreter calls itself ("Python 3.11.2", "Node.js 20.1") */
    WIRE_READY = 17,       /* loaded, handler found; payload empty */
    WIRE_LOAD_FAILED = 18, /* payload: string text (what and where, with traceback) */
    WIRE_RESULT = 19,      /* see below */
    WIRE_FAILED = 20,      /* the handler threw; payload: string type, string message; its traceback
                            * went before as a LOG frame of level error. Flag WIRE_FAILED_LAST: the
                            * process ends with the call and must not be given another */
    WIRE_LOG = 21,         /* payload: u8 enum wire_level, string line without newline */
    WIRE_KV = 22, /* a call asks the key-value store; one at a time, answered by KV_ANSWER, before
                   * which the call does not end */
};

/* Flags of FAILED. EMPTY: who called by HTTP gets a 500 without a body, as Spin answers. */
#define WIRE_FAILED_LAST  1
#define WIRE_FAILED_EMPTY 2

enum wire_level { WIRE_DEBUG = 0, WIRE_INFO = 1, WIRE_WARN = 2, WIRE_ERROR = 3 };

/* LOAD payload:
 *   u8 flags     WIRE_LOAD_CHECK: a build: load, find the handler, answer, exit
 *   string name, string version ("v3"), string workspace, string handler
 *   pairs env    the whole environment of the function (KILN_… and FUNCTION_… included)
 *   string code  rest: source text, or a ustar archive (bytes 257..261 are "ustar") */
#define WIRE_LOAD_CHECK 1

/* CALL payload:
 *   u32 deadline_ms  what is left of the function's time
 *   u8  body_kind    enum wire_body: what the caller says the body is; with WIRE_PLAIN the event is
 *                    the body's value itself, and the result is plain data whatever it looks like
 *   string id ("inv-…")  string method  string path
 *   pairs query      decoded, in order, names may repeat
 *   pairs headers    names in lower case, in order, names may repeat
 *   string body
 *
 * RESULT payload:
 *   u16 status       100..599 as the handler said, or 200
 *   u8  wrapped      1: the handler returned {status|statusCode, …}; 0: plain data
 *   u8  body_kind    enum wire_body
 *   pairs headers    as the handler named them
 *   string body      JSON: JSON text (UTF-8); TEXT: UTF-8; BYTES: anything; NONE: empty */
enum wire_body { WIRE_BODY_NONE = 0, WIRE_BODY_JSON = 1, WIRE_BODY_TEXT = 2, WIRE_BODY_BYTES = 3 };
#define WIRE_PLAIN 0x80 /* added to the body_kind of a CALL */

/* KV payload:
 *   u8 op            enum wire_kv_op
 *   string store     1..NAME_MAX_LEN bytes
 *   string key       1..KV_KEY_MAX_LEN bytes, UTF-8; empty for KEYS
 *   string value     up to KV_VALUE_MAX bytes, for SET; else empty
 *
 * KV_ANSWER payload:
 *   u8 status        enum wire_kv_status
 *   string rest      OK of GET: the value; OK of KEYS: a string for each key, one after the other;
 *                    FULL and FAILED: a sentence; else empty */
enum wire_kv_op { WIRE_KV_GET = 1, WIRE_KV_SET, WIRE_KV_DELETE, WIRE_KV_EXISTS, WIRE_KV_KEYS };
enum wire_kv_status { WIRE_KV_OK, WIRE_KV_NONE /* no such key */, WIRE_KV_FULL, WIRE_KV_FAILED };

/* ---- writing: appends to a buf; the frame's length is patched by wire_end() ---- */
/* Returns the offset to give to wire_end(), or -EMSGSIZE. */
ssize_t wire_begin(struct buf *b, enum wire_type type, uint8_t flags, uint32_t seq);
int wire_u8(struct buf *b, uint8_t v);
int wire_u16(struct buf *b, uint16_t v);
int wire_u32(struct buf *b, uint32_t v);
int wire_str(struct buf *b, struct str s);
int wire_end(struct buf *b, ssize_t at); /* 0, or -EMSGSIZE: over WIRE_FRAME_MAX */

/* ---- reading: a cursor that goes bad once and stays bad ---- */
struct wire_in {
    const uint8_t *p, *end;
    bool bad;
};
struct wire_frame {
    uint8_t type, flags;
    uint32_t seq;
    struct str payload;
};
/* Takes one whole frame off the front of [P, P+LEN): its total size, 0 when more bytes are needed
 * (*ret_need says how many the frame has in all, or 0 if not known yet), -EBADMSG when malformed
 * (*ret_need is 0) or over MAX_PAYLOAD (*ret_need is its size). */
ssize_t wire_parse(const void *p, size_t len, size_t max_payload, struct wire_frame *ret,
                   size_t *ret_need);
struct wire_in wire_open(struct str payload);
uint8_t wire_get_u8(struct wire_in *in);
uint16_t wire_get_u16(struct wire_in *in);
uint32_t wire_get_u32(struct wire_in *in);
struct str wire_get_str(struct wire_in *in); /* borrowed from the payload */
/* True when nothing went wrong and nothing is left. */
bool wire_done(const struct wire_in *in);

/* ---- zygote channel ---- */
/* Every channel of a zygote carries requests one way and answers the other. The zygote keeps each
 * instance with the channel that asked for it and tells that channel of its end. When the first
 * channel closes, the zygote exits and with it (its pid namespace) every instance. */
enum zygote_op {
    ZYGOTE_ATTACH = 1,   /* + 1 fd: a further SEQPACKET channel to listen on */
    ZYGOTE_SPAWN = 2,    /* + fds: channel, stdout pipe, stderr pipe, then cgroup.procs files to
                          * write "0" to (0..4 of them) */
    ZYGOTE_UP = 16,      /* zygote to server, first: ready; `text` names the interpreter */
    ZYGOTE_SPAWNED = 17, /* + 1 fd pidfd, + 1 fd tap device when egress was asked and made */
    ZYGOTE_SPAWN_FAILED = 18, /* `error` is an errno, `text` the step that failed */
    ZYGOTE_EXITED = 19,       /* the instance and all its processes are gone and reaped */
};
enum zygote_net { ZYGOTE_NET_NONE = 0, ZYGOTE_NET_EGRESS = 1, ZYGOTE_NET_HOST = 2 };

struct zygote_msg { /* fixed layout, sent as it is: both ends are of one build */
    uint32_t op;
    uint32_t error;
    uint64_t instance; /* the server's number for it */
    /* SPAWN */
    uint32_t net;         /* enum zygote_net */
    uint32_t tmp_max_mib; /* size of /tmp */
    uint64_t data_max;    /* RLIMIT_DATA in bytes, 0 = none: where no memory cgroup exists */
    uint32_t files_max;   /* RLIMIT_NOFILE */
    uint32_t procs_max;   /* RLIMIT_NPROC (counts within the instance's user namespace) */
    /* EXITED */
    int32_t wait_status; /* as of waitpid(2) */
    uint32_t max_rss_kib;
    uint64_t cpu_us; /* user and system, of the whole tree that was waited for */
    char text[128];
};
#define ZYGOTE_FDS_MAX 8

/* One packet with descriptors: 0 or -errno (-EAGAIN passes through). send does not take the fds. */
int zygote_send(int channel, const struct zygote_msg *m, const int *fds, size_t n_fds);
/* 1 a message, 0 the other side closed, -errno. Received fds are close-on-exec; those beyond what
 * *n_fds allows are closed. */
int zygote_recv(int channel, struct zygote_msg *ret, int *fds, size_t *n_fds);

#endif
