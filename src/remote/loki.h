/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_REMOTE_LOKI_H
#define KILN_REMOTE_LOKI_H

/* struct loki: log lines pushed to Grafana Loki, and asked of it (grafana.com/docs/loki/latest/
 * reference/loki-http-api). A thread of its own pushes in batches; where Loki does not answer,
 * lines wait within a bound, the oldest going first, and are tried again after growing pauses. What
 * Loki itself refuses (too old, too long) is not tried again. Lines that are lost are counted and
 * told in the log: kiln's own store keeps them as well.
 *
 * Labels of a stream: job="kiln", function_id="fn-N", workspace, level. */

#include "base/str.h"
#include "remote/auth.h"

#define LOKI_PENDING_MAX     (16 * MIB) /* bytes of lines that wait */
#define LOKI_PENDING_LINES   100000u    /* and how many */
#define LOKI_BATCH_BYTES     (512 * KIB)
#define LOKI_BATCH_LINES     2000u
#define LOKI_BATCH_MS        200u /* a line waits this long for company */
#define LOKI_RETRY_FIRST_MS  500u
#define LOKI_RETRY_MAX_MS    30000u
#define LOKI_PUSH_TIMEOUT_MS 10000u
#define LOKI_ASK_TIMEOUT_MS  10000u
#define LOKI_LAST_MS         2000u /* at the end: for what still waits */
#define LOKI_REPLY_MAX       (32 * MIB)
#define LOKI_WORKSPACE_MAX   64

struct loki;
struct loki_config {                /* copied */
    const char *url;                /* "http://127.0.0.1:3100" */
    const char *tenant;             /* X-Scope-OrgID, or NULL */
    const struct remote_auth *auth; /* or NULL */
};
/* Starts its thread. ERR_INVALID: no URL, no tenant. */
int loki_new(const struct loki_config *config, struct loki **ret, struct error *err);
/* From any thread: those who ask hear ERR_UNAVAILABLE soon; pushing goes on. */
void loki_stop(struct loki *l);
/* Pushes what waits, for at most LOKI_LAST_MS, and ends the thread. NULL is fine. */
void loki_free(struct loki *l);

struct loki_line {
    uint32_t function_no;
    const char *workspace, *level;
    int64_t at_us;
    struct str text;
};
/* From any thread; copies and never waits. */
void loki_push(struct loki *l, const struct loki_line *line);

/* The newest LIMIT lines of a function between the two times (ns since 1970), newest first. Blocks:
 * on a worker thread. ERR_UNAVAILABLE with what is wrong. */
int loki_ask(struct loki *l, uint32_t function_no, int64_t from_ns, int64_t to_ns, uint32_t limit,
             void (*visit)(void *arg, int64_t at_ns, struct str line), void *arg,
             struct error *err);

#endif
