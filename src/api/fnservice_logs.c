/* SPDX-License-Identifier: Apache-2.0 */
/* fnservice: log lines, as a list or as a stream. */

#include "api/fnservice.h"
#include "base/clock.h"
#include "routes.h"
#include <errno.h>
#include <stdio.h>

#define LOGS_LIMIT_MAX     1000
#define LOGS_LIMIT_DEFAULT 100
#define BEAT_NS            NS_PER_S /* how often a stream looks whether it is over */
#define BEATS_A_HEARTBEAT  15       /* an empty line shows a dead peer */
#define LIVE_PENDING_MAX   (256 * KIB)
#define LINE_TEXT_MAX      (128 * KIB) /* a log line is 16 KiB; escaped six times that */

/* "my-function-v2-1a2b3c": the six letters tell versions of one name apart, as a deployment's hash
 * does in the documents. */
static void write_places(struct json_w *w, const struct function *f, const struct log_line *l) {
    uint32_t hash = (l->function_no * 2654435761u) ^ (l->version_number * 40503u);
    char container[NAME_MAX_LEN + 32], pod[NAME_MAX_LEN + 80];
    (void)snprintf(container, sizeof(container), "%s-v%u-%06x", f->name, l->version_number,
                   (hash >> 8) & 0xffffff);
    (void)snprintf(pod, sizeof(pod), "%s%s%s", container, l->instance[0] ? "-" : "", l->instance);
    jw_cstr_member(w, "container", container);
    jw_cstr_member(w, "pod", pod);
}

static void write_line(struct json_w *w, const struct function *f, const struct log_line *l) {
    static const struct ulid none;
    jw_begin_object(w);
    jw_time_member(w, "timestamp", l->at_us);
    jw_cstr_member(w, "level", log_line_level_name(l->level));
    jw_str_member(w, "message", l->message);
    write_places(w, f, l);
    if (memcmp(&l->invocation, &none, sizeof(none)) != 0) {
        char id[ID_TEXT_MAX];
        jw_cstr_member(w, "invocation_id", invocation_id_text(id, &l->invocation));
    }
    jw_end_object(w);
}

/* ---- a list ---- */

static void on_list(void *arg, const struct error *err, const struct log_line *v, size_t n) {
    struct request *r = arg;
    struct json_w w;
    struct buf body;
    if (!request_begin(r, err, &w, &body))
        return;
    jw_begin_object(&w);
    jw_array_member(&w, "logs");
    for (size_t i = 0; i < n; i++)
        write_line(&w, r->function, &v[i]);
    jw_end_array(&w);
    jw_end_object(&w);
    fnservice_send(r, 200, &w, &body);
}

/* ---- a stream ---- */

/* Follows from before the stored lines are asked for, so that none falls in between: live lines
 * wait in `live` until the stored ones are out. */
struct stream {
    struct request *r;
    struct core_follow *follow;
    struct loop_timer beat;
    struct buf live;  /* live lines that wait: struct waiting and its text, each */
    uint64_t dropped; /* lines not sent since the client is slow */
    struct log_filter filter;
    uint32_t beats;
    bool begun; /* the stored lines are out */
    bool asked; /* core still owes the stored lines */
    bool over;  /* ended while they were owed */
};

struct waiting {
    int64_t at_us;
    size_t len;
};

static void stream_free(void *state) {
    struct stream *s = state;
    buf_done(&s->live);
    free(s);
}

/* Stops everything but an answer that core still owes: that one then frees. */
static void stream_stop(struct stream *s) {
    core_follow_stop(s->follow);
    s->follow = NULL;
    loop_timer_clear(s->r->loop, &s->beat);
    s->over = true;
    if (!s->asked)
        request_free(s->r);
}

static void on_gone(struct request *r) {
    stream_stop(r->state);
}

/* The server ends, or the function is deleted and will say nothing more. */
static bool nothing_will_come(const struct request *r) {
    struct function *f = core_function(r->core, r->function->no);
    function_unref(f);
    return !f || !core_ready(r->core);
}

static void on_beat(struct loop_timer *timer) {
    struct stream *s = container_of(timer, struct stream, beat);
    struct request *r = s->r;
    if (nothing_will_come(r)) {
        struct http_call *call = r->call;
        r->call = NULL;
        http_stream_end(call);
        stream_stop(s);
        return;
    }
    loop_timer_set(r->loop, timer, loop_now_ns(r->loop) + BEAT_NS);
    if (++s->beats % BEATS_A_HEARTBEAT == 0)
        (void)http_stream_write(r->call, STR("\n"));
}

static bool stream_put(struct stream *s, struct str text) {
    return http_stream_write(s->r->call, text) == 0;
}

static void tell_dropped(struct stream *s) {
    char text[64];
    int n = snprintf(text, sizeof(text), "{\"dropped\":%llu}\n", (unsigned long long)s->dropped);
    if (s->dropped && stream_put(s, str_n(text, (size_t)n)))
        s->dropped = 0;
}

static void stream_send(struct stream *s, struct str text) {
    tell_dropped(s);
    if (s->dropped || !stream_put(s, text))
        s->dropped++;
}

static void stream_keep(struct stream *s, int64_t at_us, struct str text) {
    struct waiting head = {at_us, text.len};
    if (buf_reserve(&s->live, sizeof(head) + text.len) < 0) {
        s->dropped++;
        return;
    }
    (void)buf_put(&s->live, &head, sizeof(head));
    (void)buf_put_str(&s->live, text);
}

static int line_text(const struct stream *s, const struct log_line *l, struct buf *out) {
    struct json_w w;
    json_w_init(&w, out);
    write_line(&w, s->r->function, l);
    return json_w_done(&w) < 0 || buf_putc(out, '\n') < 0 ? -1 : 0;
}

static void stream_line(struct stream *s, const struct log_line *l) {
    cleanup_buf struct buf text = BUF_INIT(LINE_TEXT_MAX);
    if (line_text(s, l, &text) < 0) {
        s->dropped++;
        return;
    }
    if (s->begun)
        stream_send(s, buf_str(&text));
    else
        stream_keep(s, l->at_us, buf_str(&text));
}

static bool wanted(const struct log_filter *f, const struct log_line *l) {
    static const struct ulid none;
    if (f->version_number && l->version_number != f->version_number)
        return false;
    if (l->at_us < f->since_us || (f->until_us && l->at_us >= f->until_us))
        return false;
    return memcmp(&f->invocation, &none, sizeof(none)) == 0 ||
           memcmp(&f->invocation, &l->invocation, sizeof(none)) == 0;
}

static void on_live(void *arg, const struct log_line *l, uint64_t dropped) {
    struct stream *s = arg;
    s->dropped += dropped;
    if (l && wanted(&s->filter, l))
        stream_line(s, l);
}

/* Is the live line TEXT one of the stored ones, or older than those that were asked for? Its time
 * alone does not tell: loops hand over their lines one after the other, and clocks are set back. */
static bool was_stored(const struct stream *s, const struct log_line *v, size_t n, int64_t at_us,
                       struct str text) {
    if (n > 0 && n == s->filter.limit && at_us < v[0].at_us)
        return true;
    for (size_t i = 0; i < n; i++) {
        cleanup_buf struct buf stored = BUF_INIT(LINE_TEXT_MAX);
        if (v[i].at_us == at_us && line_text(s, &v[i], &stored) == 0 &&
            str_eq(buf_str(&stored), text))
            return true;
    }
    return false;
}

/* What is told live after the stored lines have come is not among them: each of those was told
 * before the store read it. */
static void send_waiting(struct stream *s, const struct log_line *v, size_t n) {
    size_t at = 0;
    while (at < s->live.len) {
        struct waiting head;
        memcpy(&head, s->live.p + at, sizeof(head));
        at += sizeof(head);
        struct str text = str_n(s->live.p + at, head.len);
        if (!was_stored(s, v, n, head.at_us, text))
            stream_send(s, text);
        at += head.len;
    }
    buf_done(&s->live);
}

static void on_stored(void *arg, const struct error *err, const struct log_line *v, size_t n) {
    struct request *r = arg;
    struct stream *s = r->state;
    s->asked = false;
    if (s->over) {
        request_free(r);
        return;
    }
    s->begun = true;
    s->dropped += err ? 1 : 0;
    for (size_t i = 0; i < n; i++)
        stream_line(s, &v[i]);
    send_waiting(s, v, n);
}

static void stream_open(struct request *r, const struct log_filter *f) {
    struct stream *s = x_alloc(sizeof(*s));
    struct http_header headers[REPLY_HEADERS_MAX];
    size_t n = request_headers(r, headers);
    headers[n++] = (struct http_header){STR("Content-Type"), STR("application/x-ndjson")};
    headers[n++] = (struct http_header){STR("Cache-Control"), STR("no-store")};
    s->r = r;
    s->filter = *f;
    buf_init(&s->live, LIVE_PENDING_MAX);
    loop_timer_init(&s->beat, on_beat);
    r->state = s;
    r->free_state = stream_free;
    r->gone = on_gone;
    http_stream_begin(r->call, 200, headers, n);
    s->follow = core_follow_start(r->core, r->loop, f->function_no, on_live, s);
    loop_timer_set(r->loop, &s->beat, loop_now_ns(r->loop) + BEAT_NS);
    s->asked = f->limit > 0;
    s->begun = !s->asked;
    if (s->asked)
        core_logs(r->core, r->loop, f, on_stored, r);
}

/* ---- which ---- */

static int read_invocation(struct request *r, struct log_filter *f, struct error *err) {
    struct str id;
    int rc = request_query(r, "invocation_id", &id, err);
    if (rc > 0 && invocation_id_parse(id, &f->invocation) < 0)
        return error_field(err, ERR_INVALID, "invocation_id",
                           "invocation_id must be an id such as inv-01J…");
    return rc < 0 ? -1 : 0;
}

#define NO_VERSION UINT32_MAX /* beyond VERSIONS_MAX: has no lines */

static int read_filter(struct request *r, struct log_filter *f, bool *ret_follow,
                       struct error *err) {
    bool previous = false;
    if (request_query_time(r, "since", &f->since_us, err) < 0 ||
        request_query_time(r, "until", &f->until_us, err) < 0 ||
        request_query_u32(r, "limit", 0, LOGS_LIMIT_MAX, LOGS_LIMIT_DEFAULT, &f->limit, err) < 0 ||
        request_query_bool(r, "follow", ret_follow, err) < 0 ||
        request_query_bool(r, "previous", &previous, err) < 0 || read_invocation(r, f, err) < 0)
        return -1;
    if (previous && *ret_follow)
        return error_field(err, ERR_INVALID, "follow",
                           "follow shows what is still written, which the previous version does "
                           "not: ask for one of follow and previous");
    if (f->since_us && f->until_us && f->until_us < f->since_us)
        return error_field(err, ERR_INVALID, "until", "until must not be before since");
    f->function_no = r->function->no;
    if (previous)
        f->version_number =
            r->function->previous_number ? r->function->previous_number : NO_VERSION;
    return 0;
}

void op_fnservice_get_logs(struct request *r) {
    struct log_filter f = {0};
    bool follow = false;
    struct error err;
    if (fnservice_function(r, &err) < 0 || read_filter(r, &f, &follow, &err) < 0)
        request_fail(r, &err);
    else if (follow && r->call->head.method_id != HTTP_HEAD)
        stream_open(r, &f);
    else if (f.limit == 0)
        on_list(r, NULL, NULL, 0);
    else
        core_logs(r->core, r->loop, &f, on_list, r);
}
