/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_REMOTE_LOKI_INTERNAL_H
#define KILN_REMOTE_LOKI_INTERNAL_H

/* Shared by loki.c (pushing) and loki_ask.c. */

#include "base/list.h"
#include "remote/http.h"
#include "remote/loki.h"
#include <pthread.h>
#include <stdatomic.h>

struct loki {
    char *url, *tenant_header;
    struct remote_auth auth;
    pthread_t thread;
    _Atomic bool stopped, abort; /* ends what is asked; what is pushed */
    pthread_mutex_t lock;
    pthread_cond_t cond; /* lines have come; it is to end; it has ended */
    /* under the lock */
    struct list lines;
    size_t n_lines, bytes;
    int64_t last_us, same_us;
    uint64_t dropped, dropped_told;
    uint32_t pause_ms; /* before the next try; 0: all is well */
    bool reachable, told, ending, ended;
};

int loki_open(struct loki *l, const _Atomic bool *stop, uint32_t timeout_ms, struct remote **ret,
              struct error *err);

#endif
