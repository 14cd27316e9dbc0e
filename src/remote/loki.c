/* SPDX-License-Identifier: Apache-2.0 */
#include "remote/loki_internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "remote/http.h"
#include "json/write.h"
#include <signal.h>
#include <stdio.h>
#include <time.h>

/* Pushing: the queue, and the thread that empties it. */

struct line {
    struct list link;
    uint32_t function_no, level;
    char workspace[LOKI_WORKSPACE_MAX];
    int64_t at_ns;
    size_t len;
    char text[];
};

static const char *const LEVELS[] = {"debug", "info", "warn", "error"};

/* ---- the queue; under the lock ---- */

static void drop_oldest(struct loki *l) {
    struct line *line = list_entry(list_shift(&l->lines), struct line, link);
    l->n_lines--;
    l->bytes -= line->len;
    l->dropped++;
    free(line);
}

/* Loki tells lines of a stream apart by their time and text alone, and orders them by time: within
 * one microsecond they are counted. */
static int64_t stamp(struct loki *l, int64_t at_us) {
    l->same_us = at_us == l->last_us ? l->same_us + 1 : 0;
    l->last_us = at_us;
    return at_us * 1000 + (l->same_us < 1000 ? l->same_us : 999);
}

static uint32_t level_of(const char *name) {
    for (uint32_t i = 0; i < ARRAY_LEN(LEVELS); i++)
        if (strcmp(LEVELS[i], name) == 0)
            return i;
    return 1;
}

void loki_push(struct loki *l, const struct loki_line *given) {
    struct line *line = x_alloc(sizeof *line + given->text.len);
    list_init(&line->link);
    line->function_no = given->function_no;
    line->level = level_of(given->level);
    snprintf(line->workspace, sizeof line->workspace, "%s", given->workspace);
    line->len = given->text.len;
    if (line->len)
        memcpy(line->text, given->text.p, line->len);
    for (char *p = line->text; (p = memchr(p, 0, line->len - (size_t)(p - line->text)));)
        *p = ' '; /* a NUL is no text, and what asks for these lines refuses it */
    pthread_mutex_lock(&l->lock);
    line->at_ns = stamp(l, given->at_us);
    list_push(&l->lines, &line->link);
    l->n_lines++;
    l->bytes += line->len;
    while (l->bytes > LOKI_PENDING_MAX || l->n_lines > LOKI_PENDING_LINES)
        drop_oldest(l);
    bool wake = l->n_lines == 1 || l->n_lines >= LOKI_BATCH_LINES || l->bytes >= LOKI_BATCH_BYTES;
    pthread_mutex_unlock(&l->lock);
    if (wake)
        pthread_cond_signal(&l->cond);
}

/* ---- one push ---- */

struct batch {
    struct line *v[LOKI_BATCH_LINES];
    size_t n, bytes;
};

static void batch_free(struct batch *b) {
    for (size_t i = 0; i < b->n; i++)
        free(b->v[i]);
    b->n = b->bytes = 0;
}

static void take(struct loki *l, struct batch *b) {
    while (b->n < LOKI_BATCH_LINES && b->bytes < LOKI_BATCH_BYTES && !list_empty(&l->lines)) {
        struct line *line = list_entry(list_shift(&l->lines), struct line, link);
        l->n_lines--;
        l->bytes -= line->len;
        b->bytes += line->len;
        b->v[b->n++] = line;
    }
}

static int by_stream(const void *pa, const void *pb) {
    const struct line *a = *(struct line *const *)pa, *b = *(struct line *const *)pb;
    if (a->function_no != b->function_no)
        return a->function_no < b->function_no ? -1 : 1;
    if (a->level != b->level)
        return a->level < b->level ? -1 : 1;
    int c = strcmp(a->workspace, b->workspace);
    return c ? c : a->at_ns < b->at_ns ? -1 : a->at_ns > b->at_ns;
}

static bool same_stream(const struct line *a, const struct line *b) {
    return a->function_no == b->function_no && a->level == b->level &&
           strcmp(a->workspace, b->workspace) == 0;
}

static void write_labels(struct json_w *w, const struct line *line) {
    char id[24];
    snprintf(id, sizeof id, "fn-%u", line->function_no);
    jw_object_member(w, "stream");
    jw_cstr_member(w, "job", "kiln");
    jw_cstr_member(w, "function_id", id);
    jw_cstr_member(w, "workspace", line->workspace);
    jw_cstr_member(w, "level", LEVELS[line->level]);
    jw_end_object(w);
}

static void write_value(struct json_w *w, const struct line *line) {
    char ns[24];
    snprintf(ns, sizeof ns, "%lld", (long long)line->at_ns);
    jw_begin_array(w);
    jw_cstr(w, ns);
    jw_str(w, str_n(line->text, line->len));
    jw_end_array(w);
}

/* {"streams":[{"stream":{labels},"values":[["<ns>","line"],…]},…]} */
static int write_batch(struct batch *b, struct buf *out) {
    struct json_w w;
    qsort(b->v, b->n, sizeof b->v[0], by_stream);
    json_w_init(&w, out);
    jw_begin_object(&w);
    jw_array_member(&w, "streams");
    for (size_t i = 0; i < b->n;) {
        const struct line *first = b->v[i];
        jw_begin_object(&w);
        write_labels(&w, first);
        jw_array_member(&w, "values");
        while (i < b->n && same_stream(first, b->v[i]))
            write_value(&w, b->v[i++]);
        jw_end_array(&w);
        jw_end_object(&w);
    }
    jw_end_array(&w);
    jw_end_object(&w);
    return json_w_done(&w);
}

int loki_open(struct loki *l, const _Atomic bool *stop, uint32_t timeout_ms, struct remote **ret,
              struct error *err) {
    struct remote_config config = {.base_url = l->url,
                                   .what = "Loki",
                                   .user = l->auth.user,
                                   .password = l->auth.password,
                                   .bearer = l->auth.bearer,
                                   .timeout_ms = timeout_ms,
                                   .stop = stop};
    return remote_new(&config, ret, err);
}

enum pushed { PUSH_TAKEN, PUSH_REFUSED, PUSH_LATER };

static enum pushed push(struct loki *l, struct remote *r, struct str body, struct error *err) {
    const char *headers[2] = {"Content-Type: application/json", l->tenant_header};
    struct remote_request req = {.method = "POST",
                                 .path = "/loki/api/v1/push",
                                 .headers = headers,
                                 .n_headers = l->tenant_header ? 2 : 1,
                                 .body = body};
    struct remote_reply reply;
    if (remote_do(r, &req, &reply, err) < 0)
        return PUSH_LATER;
    int status = reply.status;
    if (status / 100 != 2)
        (void)remote_refused(r, &reply, err);
    remote_reply_done(&reply);
    /* 429: too much at once. Another 4xx is about these lines (too old, too long) or about us;
     * a wrong password or path may be put right meanwhile. */
    if (status / 100 == 2)
        return PUSH_TAKEN;
    return status == 400 || status == 413 || status == 422 ? PUSH_REFUSED : PUSH_LATER;
}

/* ---- the thread ---- */

static void wait_ms(struct loki *l, uint64_t ms) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    uint64_t ns = (uint64_t)until.tv_nsec + ms * NS_PER_MS;
    until.tv_sec += (time_t)(ns / NS_PER_S);
    until.tv_nsec = (long)(ns % NS_PER_S);
    while (!l->ending && pthread_cond_timedwait(&l->cond, &l->lock, &until) == 0)
        if (l->pause_ms == 0 && (l->n_lines >= LOKI_BATCH_LINES || l->bytes >= LOKI_BATCH_BYTES))
            return; /* a batch is whole */
}

static void tell_drops(struct loki *l) {
    if (l->dropped == l->dropped_told)
        return;
    log_warn("log lines not pushed to Loki", LOG_INT("lines", l->dropped - l->dropped_told));
    l->dropped_told = l->dropped;
}

static void outcome(struct loki *l, enum pushed how, size_t n, const struct error *err) {
    if (how == PUSH_TAKEN) {
        if (!l->reachable && l->told)
            log_info("Loki answers again");
        l->reachable = true;
        l->told = false;
        l->pause_ms = 0;
    } else if (how == PUSH_REFUSED) {
        log_warn("Loki refuses lines", LOG_INT("lines", n), LOG_STR("reason", err->text));
        l->dropped += n;
        l->dropped_told += n;
        l->pause_ms = 0;
    } else {
        if (!l->told) /* once, until it answers again */
            log_warn("log lines wait for Loki", LOG_STR("reason", err->text));
        l->told = true;
        l->reachable = false;
        uint32_t ms = l->pause_ms ? 2 * l->pause_ms : LOKI_RETRY_FIRST_MS;
        l->pause_ms = ms < LOKI_RETRY_MAX_MS ? ms : LOKI_RETRY_MAX_MS;
    }
}

/* Back in front of those that came meanwhile; under the lock. */
static void put_back(struct loki *l, struct batch *b) {
    while (b->n) {
        struct line *line = b->v[--b->n];
        list_unshift(&l->lines, &line->link);
        l->n_lines++;
        l->bytes += line->len;
    }
    b->bytes = 0;
    while (l->bytes > LOKI_PENDING_MAX || l->n_lines > LOKI_PENDING_LINES)
        drop_oldest(l);
}

static void push_batch(struct loki *l, struct remote *r, struct batch *b) {
    cleanup_buf struct buf body = BUF_INIT(16 * MIB); /* every byte escaped, and the labels */
    struct error err = {0};
    take(l, b);
    if (b->n == 0)
        return;
    pthread_mutex_unlock(&l->lock);
    enum pushed how = PUSH_REFUSED;
    if (write_batch(b, &body) < 0)
        (void)error_set(&err, ERR_TOO_LARGE, "a batch is too large");
    else
        how = push(l, r, buf_str(&body), &err);
    pthread_mutex_lock(&l->lock);
    outcome(l, how, b->n, &err);
    if (how == PUSH_LATER)
        put_back(l, b);
    else
        batch_free(b);
    tell_drops(l);
}

static void *run(void *arg) {
    struct loki *l = arg;
    struct remote *r = NULL;
    struct error err;
    struct batch *b = x_alloc(sizeof *b);
    if (loki_open(l, &l->abort, LOKI_PUSH_TIMEOUT_MS, &r, &err) < 0)
        abort(); /* loki_new() has opened the same */
    pthread_mutex_lock(&l->lock);
    while (!l->ending) {
        if (l->n_lines == 0)
            pthread_cond_wait(&l->cond, &l->lock);
        else
            wait_ms(l, l->pause_ms ? l->pause_ms : LOKI_BATCH_MS);
        if (!l->ending)
            push_batch(l, r, b);
    }
    do { /* the last ones, as long as they are taken */
        l->pause_ms = 0;
        push_batch(l, r, b);
    } while (l->n_lines && l->pause_ms == 0 && !atomic_load(&l->abort));
    l->ended = true;
    pthread_cond_broadcast(&l->cond);
    pthread_mutex_unlock(&l->lock);
    remote_free(r);
    free(b);
    return NULL;
}

/* ---- making and ending ---- */

static int check_tenant(const char *tenant, struct error *err) {
    for (const char *p = tenant; *p; p++)
        if ((unsigned char)*p <= 0x20 || (unsigned char)*p >= 0x7f || strlen(tenant) > 150)
            return error_set(err, ERR_INVALID,
                             "Loki's tenant wants at most 150 letters and digits");
    return 0;
}

static void dispose(struct loki *l) {
    while (!list_empty(&l->lines))
        free(list_entry(list_shift(&l->lines), struct line, link));
    pthread_cond_destroy(&l->cond);
    pthread_mutex_destroy(&l->lock);
    remote_auth_wipe(&l->auth);
    free(l->tenant_header);
    free(l->url);
    free(l);
}

int loki_new(const struct loki_config *config, struct loki **ret, struct error *err) {
    const char *tenant = config->tenant ? config->tenant : "";
    if (check_tenant(tenant, err) < 0)
        return -1;
    struct loki *l = x_alloc(sizeof *l);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&l->cond, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&l->lock, NULL);
    list_init(&l->lines);
    l->url = x_strdup(config->url);
    l->tenant_header = *tenant ? x_asprintf("X-Scope-OrgID: %s", tenant) : NULL;
    l->reachable = true;
    if (config->auth)
        l->auth = *config->auth;
    struct remote *r;
    if (loki_open(l, NULL, LOKI_PUSH_TIMEOUT_MS, &r, err) < 0) {
        dispose(l);
        return -1;
    }
    remote_free(r);
    sigset_t all, before; /* signals are the program's business */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int e = pthread_create(&l->thread, NULL, run, l);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (e) {
        dispose(l);
        return error_errno(err, -e, "cannot start the thread that pushes to Loki");
    }
    *ret = l;
    return 0;
}

void loki_stop(struct loki *l) {
    if (l)
        atomic_store(&l->stopped, true);
}

void loki_free(struct loki *l) {
    if (!l)
        return;
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += LOKI_LAST_MS / 1000;
    pthread_mutex_lock(&l->lock);
    l->ending = true;
    pthread_cond_broadcast(&l->cond);
    while (!l->ended && pthread_cond_timedwait(&l->cond, &l->lock, &until) == 0)
        ;
    pthread_mutex_unlock(&l->lock);
    atomic_store(&l->abort, true);
    pthread_join(l->thread, NULL);
    l->dropped += l->n_lines;
    tell_drops(l);
    dispose(l);
}
