/* SPDX-License-Identifier: Apache-2.0 */
/* The channel of an instance: frames out with one writev, frames in with one read into a buffer of
 * the loop. What comes from an instance is hostile: anything out of turn ends it. */

#include "base/clock.h"
#include "engine/internal.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/uio.h>

/* ---- out ---- */

static void put_u32(uint8_t *p, uint32_t v) {
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

static int keep_rest(struct instance *inst, const struct iovec *iov, int n, size_t skip) {
    for (int i = 0; i < n; i++) {
        size_t off = skip < iov[i].iov_len ? skip : iov[i].iov_len;
        skip -= off;
        int r = buf_put(&inst->to, (char *)iov[i].iov_base + off, iov[i].iov_len - off);
        if (r < 0)
            return r;
    }
    return loop_io_mod(inst->el->loop, &inst->channel, EPOLLIN | EPOLLOUT);
}

static int send_parts(struct instance *inst, const struct iovec *iov, int n) {
    size_t total = 0;
    for (int i = 0; i < n; i++)
        total += iov[i].iov_len;
    if (inst->to.len)
        return keep_rest(inst, iov, n, 0);
    ssize_t w = writev(inst->channel.fd, iov, n);
    if (w < 0 && errno != EAGAIN && errno != EINTR)
        return -errno;
    size_t sent = w < 0 ? 0 : (size_t)w;
    return sent == total ? 0 : keep_rest(inst, iov, n, sent);
}

/* One frame whose payload is HEAD and then the string TAIL. */
int frames_send(struct instance *inst, enum wire_type type, uint32_t seq, struct str head,
                struct str tail) {
    uint8_t header[WIRE_HEADER_LEN] = {0}, tail_len[4];
    size_t len = head.len + sizeof tail_len + tail.len;
    if (len > WIRE_FRAME_MAX)
        return -EMSGSIZE;
    put_u32(header, (uint32_t)len);
    header[4] = (uint8_t)type;
    put_u32(header + 8, seq);
    put_u32(tail_len, (uint32_t)tail.len);
    struct iovec iov[] = {
        {header, sizeof header},
        {(void *)head.p, head.len},
        {tail_len, sizeof tail_len},
        {(void *)tail.p, tail.len},
    };
    return send_parts(inst, iov, tail.len ? 4 : 3);
}

int frames_send_call(struct instance *inst, struct engine_call *call, uint32_t deadline_ms) {
    put_u32((uint8_t *)call->head->p, deadline_ms);
    return frames_send(inst, WIRE_CALL, inst->seq, buf_str(call->head), call->body);
}

static void flush(struct instance *inst) {
    ssize_t w = write(inst->channel.fd, inst->to.p, inst->to.len);
    if (w > 0)
        buf_drop(&inst->to, (size_t)w);
    if (w < 0 && errno != EAGAIN && errno != EINTR) { /* it may have closed this direction alone */
        instance_end(inst);
        return;
    }
    if (inst->to.len == 0) {
        buf_done(&inst->to);
        loop_io_mod(inst->el->loop, &inst->channel, EPOLLIN);
    }
}

/* ---- in ---- */

#define LAST_READS_MAX    64         /* far more than a socket holds */
#define UNASKED_FRAME_MAX MIB        /* of what is no result: lines, a traceback */
#define RESULT_MARGIN     (64 * KIB) /* what a result's frame has besides its body */

static void broken(struct instance *inst, const char *what) {
    instance_kill(inst, ERR_CRASH, "the function's process broke kiln's protocol: %s", what);
}

static bool skip_pairs(struct wire_in *in) {
    uint32_t n = wire_get_u32(in);
    if (n > WIRE_HEADERS_MAX)
        return false;
    for (uint32_t i = 0; i < 2 * n && !in->bad; i++)
        (void)wire_get_str(in);
    return !in->bad;
}

static bool parse_result(struct wire_in *in, struct engine_result *r) {
    r->status = wire_get_u16(in);
    r->wrapped = wire_get_u8(in) != 0;
    r->body_kind = (enum wire_body)wire_get_u8(in);
    r->headers = *in;
    if (!skip_pairs(in))
        return false;
    r->body = wire_get_str(in);
    if (!wire_done(in) || r->status < 100 || r->status > 599 || r->body_kind > WIRE_BODY_BYTES)
        return false;
    return r->body_kind != WIRE_BODY_TEXT || str_is_utf8(r->body);
}

static void learn_running_time(struct pool *p, uint64_t started_ns) {
    uint64_t us = (clock_mono_ns() - started_ns) / NS_PER_US + 1;
    p->ewma_us = p->ewma_us ? (p->ewma_us * 7 + us) / 8 : us;
}

/* The call of INST has its answer R: the next call goes out before the answer is worked on. */
static void finish(struct instance *inst, struct engine_result *r) {
    struct engine_call *call = inst->call;
    struct pool *p = inst->pool;
    output_collect(inst);
    if (inst->state == INST_DYING) /* too much of it: that is what the call hears, at the end */
        return;
    char name[ENGINE_INSTANCE_NAME];
    memcpy(name, inst->name, sizeof name);
    r->instance = name;
    inst->call = NULL;
    inst->deadline_ns = 0;
    atomic_fetch_sub_explicit(&inst->el->engine->busy, 1, memory_order_relaxed);
    learn_running_time(p, inst->run_ns);
    p->keep_ms = 0;
    pool_ready(p, inst);
    if (call)
        call_end(call, r);
}

static void too_large(struct instance *inst) {
    instance_kill(inst, ERR_LIMIT, "the function's result is larger than %u bytes",
                  inst->el->engine->config.response_max);
}

static void on_result(struct instance *inst, const struct wire_frame *f) {
    struct wire_in in = wire_open(f->payload);
    struct engine_result r = {0};
    if (f->payload.len > inst->el->engine->config.response_max + RESULT_MARGIN)
        too_large(inst);
    else if (!parse_result(&in, &r))
        broken(inst, "malformed result");
    else
        finish(inst, &r);
}

/* A C string of an instance's text, cut and cleaned. */
static void text_of(struct str s, char *out, size_t size) {
    size_t n = s.len < size - 1 ? s.len : size - 1;
    while (n > 0 && n < s.len && ((unsigned char)s.p[n] & 0xc0) == 0x80)
        n--;
    memcpy(out, s.p, n);
    out[n] = 0;
    if (!str_is_utf8(str_n(out, n)) || memchr(out, 0, n))
        snprintf(out, size, "(unprintable)");
}

static void on_failed(struct instance *inst, const struct wire_frame *f) {
    struct wire_in in = wire_open(f->payload);
    struct str type = wire_get_str(&in), message = wire_get_str(&in);
    if (!wire_done(&in)) {
        broken(inst, "malformed failure");
        return;
    }
    char type_text[128], message_text[ERROR_TEXT_MAX];
    text_of(type, type_text, sizeof type_text);
    text_of(message, message_text, sizeof message_text);
    if (f->flags & WIRE_FAILED_LAST)
        inst->exited = true;
    struct engine_result r = {
        .cause = ERR_FUNCTION, .error_type = type_text, .error_text = message_text};
    r.empty = f->flags & WIRE_FAILED_EMPTY;
    finish(inst, &r);
}

static void on_ready(struct instance *inst) {
    if (inst->build) {
        build_ended(inst, true, NULL);
        instance_kill(inst, ERR_CANCELED, "built");
        return;
    }
    struct pool *p = inst->pool;
    list_del(&inst->link);
    pool_loading(p, -1);
    atomic_fetch_add(&p->deployment->shared->ready, 1);
    inst->deadline_ns = 0;
    inst->state = INST_IDLE;
    pool_ready(p, inst);
}

static void on_load_failed(struct instance *inst, const struct wire_frame *f) {
    struct wire_in in = wire_open(f->payload);
    struct str text = wire_get_str(&in);
    if (!wire_done(&in)) {
        broken(inst, "malformed load failure");
        return;
    }
    char cut[ERROR_TEXT_MAX];
    if (inst->build) {
        output_emit(inst, LINE_ERROR, text);
        text_of(text, cut, sizeof cut);
        build_ended(inst, false, NULL);
    }
    text_of(text, cut, sizeof cut);
    instance_kill(inst, ERR_FUNCTION, "%s", cut);
}

static void on_log(struct instance *inst, const struct wire_frame *f) {
    struct wire_in in = wire_open(f->payload);
    uint8_t level = wire_get_u8(&in);
    struct str text = wire_get_str(&in);
    if (!wire_done(&in) || level > WIRE_ERROR)
        broken(inst, "malformed log line");
    else
        output_emit(inst, (enum log_line_level)level, text);
}

static void on_kv(struct instance *inst, const struct wire_frame *f) {
    if (!kv_asked(inst, f))
        broken(inst, "malformed question to the key-value store");
}

static void on_hello(struct instance *inst) {
    inst->hello = true;
    if (inst->state == INST_SPAWNING && inst->spawned)
        spare_ready(inst);
}

static void on_frame(struct instance *inst, const struct wire_frame *f) {
    bool asked = inst->to.len == 0; /* nobody knows the answer before the question is out */
    bool answers = inst->state == INST_BUSY && f->seq == inst->seq && asked && !inst->kv;
    bool loading = inst->state == INST_LOADING && inst->load_sent && asked;
    if (f->type == WIRE_LOG)
        on_log(inst, f);
    else if (f->type == WIRE_RESULT && answers)
        on_result(inst, f);
    else if (f->type == WIRE_FAILED && answers)
        on_failed(inst, f);
    else if (f->type == WIRE_KV && answers)
        on_kv(inst, f);
    else if (f->type == WIRE_HELLO && !inst->hello)
        on_hello(inst);
    else if (f->type == WIRE_READY && loading)
        on_ready(inst);
    else if (f->type == WIRE_LOAD_FAILED && loading)
        on_load_failed(inst, f);
    else
        broken(inst, "a frame out of turn");
}

/* Takes whole frames off [P, P+LEN); returns the bytes taken. The instance may die or change loops
 * meanwhile, so the bytes behind are looked at only while it is still ours. */
static size_t take_frames(struct instance *inst, const char *p, size_t len, size_t *ret_need) {
    struct engine_loop *el = inst->el;
    uint32_t max = el->engine->config.response_max;
    max = (max > KV_VALUE_MAX ? max : KV_VALUE_MAX) + RESULT_MARGIN;
    size_t at = 0;
    el->reading = inst;
    for (;;) {
        struct wire_frame f;
        size_t need = 0;
        ssize_t n = wire_parse(p + at, len - at, max, &f, &need);
        *ret_need = need;
        if (n == 0 && need > UNASKED_FRAME_MAX && inst->state != INST_BUSY) {
            broken(inst, "a frame out of turn"); /* or it fills our memory and never ends it */
            return len;
        }
        if (n == 0)
            return at;
        if (n < 0) {
            if (need > max && inst->state == INST_BUSY)
                too_large(inst);
            else
                broken(inst, "malformed frame");
            return len;
        }
        at += (size_t)n;
        on_frame(inst, &f);
        if (el->reading != inst || inst->state == INST_DYING)
            return len;
        if (at == len)
            return at;
    }
}

/* A frame is larger than what one read brings: gather it in a buffer of its own. The buffer is off
 * the instance while its frames are worked on, since they may send the instance to another loop. */
static void gather(struct instance *inst, const char *p, size_t n) {
    struct engine_loop *el = inst->el;
    size_t need = 0;
    if (buf_put(&inst->in, p, n) < 0) {
        broken(inst, "frame too large");
        return;
    }
    struct buf in = inst->in;
    inst->in = BUF_INIT(in.max);
    size_t taken = take_frames(inst, in.p, in.len, &need);
    buf_drop(&in, taken);
    if (in.len == 0 || el->reading != inst || inst->state == INST_DYING) {
        buf_done(&in);
        return;
    }
    inst->in = in;
    if (need > in.len && buf_reserve(&inst->in, need - in.len) < 0)
        broken(inst, "frame too large");
}

/* False when there was nothing to read. */
static bool readable(struct instance *inst) {
    struct engine_loop *el = inst->el;
    ssize_t n = read(inst->channel.fd, el->read_buf, ENGINE_READ_MAX);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n <= 0) { /* the zygote says why, soon */
        instance_end(inst);
        return false;
    }
    if (inst->in.len) {
        gather(inst, el->read_buf, (size_t)n);
        return true;
    }
    size_t need = 0, taken = take_frames(inst, el->read_buf, (size_t)n, &need);
    if (taken < (size_t)n)
        gather(inst, el->read_buf + taken, (size_t)n - taken);
    return true;
}

void frames_last(struct instance *inst) {
    for (int i = 0; i < LAST_READS_MAX && inst->state != INST_DYING && readable(inst); i++)
        continue;
}

void frames_ready(struct loop_io *io, uint32_t events) {
    struct instance *inst = container_of(io, struct instance, channel);
    if (inst->state == INST_DYING) {
        loop_io_del(inst->el->loop, io);
        return;
    }
    if (events & EPOLLOUT)
        flush(inst);
    if (inst->state != INST_DYING && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        readable(inst);
}
