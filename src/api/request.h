/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_API_REQUEST_H
#define KILN_API_REQUEST_H

/* struct request: one request to one operation, from the complete body to the answer.
 *
 * Before that, at the head, the path was found, the token checked and the body's size limited; what
 * fails there is answered without reading the body. An operation (op_<dialect>_<operationId>) is
 * given the request and owes it exactly one end: request_json(), request_empty(), request_fail(),
 * request_reply() or request_free(). Each of them frees the request.
 *
 * The client may leave while an operation waits for core: `call` is NULL then, and answering only
 * frees. So that nothing leaks and control operations finish, a waiting operation holds the request
 * as its argument and looks at nothing of the call. One that wants to stop instead sets `gone`.
 *
 * A request belongs to the loop of its connection. */

#include "api/router.h"
#include "core/core.h"
#include "http/server.h"
#include "json/write.h"

struct api;

struct request {
    struct api *api;
    struct core *core;
    struct loop *loop;
    struct http_call *call; /* NULL: the client has left */
    const struct route *route;
    struct principal who;
    struct str params[ROUTE_PARAMS_MAX]; /* borrowed from the call, as is `workspace` */
    size_t n_params;
    struct str workspace;
    uint32_t page_limit;       /* of a list, as page_get() has read it, and … */
    uint64_t page_before;      /* … where it goes on */
    char *next;                /* of a list: value of the reply's Link header, or NULL */
    struct function *function; /* a reference released with the request, or NULL */
    /* The client left (call is NULL already): the operation may stop what it waits for and must
     * still end the request, here or later. NULL: nobody cares, it ends by itself. */
    void (*gone)(struct request *r);
    void *state; /* of the operation; released by free_state with the request */
    void (*free_state)(void *state);
};

/* Ends. BODY's memory is taken. A content type is added unless HEADERS has one, and the dialect's
 * CORS headers. */
void request_reply(struct request *r, int status, const struct http_header *headers, size_t n,
                   struct buf *body);
void request_json(struct request *r, int status, struct buf *body);
/* Begins a JSON reply where core answers: BODY and W are ready. False: ERR was the reply. */
bool request_begin(struct request *r, const struct error *err, struct json_w *w, struct buf *body);
/* With what W wrote to BODY, or with ERR_INTERNAL where that went over BODY's max. */
void request_written(struct request *r, int status, const struct http_header *headers, size_t n,
                     struct json_w *w, struct buf *body);
void request_empty(struct request *r, int status);
/* With 204, or with ERR: a `done` of core for what is gone now. ARG is the request. */
void request_deleted(void *arg, const struct error *err);
void request_fail(struct request *r, const struct error *err);
/* The operation answered through the call itself (a stream): only frees. */
void request_free(struct request *r);

/* Headers that every reply of the dialect carries, for streams. At most REPLY_HEADERS_MAX. */
#define REPLY_HEADERS_MAX 16
size_t request_headers(const struct request *r, struct http_header *out);

/* First value of a query parameter: 1, 0 where there is none, -1 ERR_INVALID. Values live with the
 * call. */
int request_query(struct request *r, const char *name, struct str *ret, struct error *err);
/* Whole number in [MIN, MAX]; DEFAULT where it is absent. */
int request_query_u32(struct request *r, const char *name, uint32_t min, uint32_t max,
                      uint32_t absent, uint32_t *ret, struct error *err);
int request_query_time(struct request *r, const char *name, int64_t *ret_us, struct error *err);
int request_query_bool(struct request *r, const char *name, bool *ret, struct error *err);

#define REPLY_MAX (128 * MIB) /* of one JSON reply: a 50 MiB result as base64, and room */

#endif
