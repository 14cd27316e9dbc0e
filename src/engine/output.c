/* SPDX-License-Identifier: Apache-2.0 */
/* What an instance prints: LOG frames and the raw pipes become lines tied to a call, with a limit
 * on what is kept of a call and one on what a call may write at all. */

#include "engine/internal.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/epoll.h>

#define OUTPUT_READ        16384 /* taken from a pipe at once; the kernel holds the writer back */
#define OUTPUT_DRAIN_READS 64    /* 1 MiB: what a process without privilege may set a pipe to */

/* Appends S with every byte that is not part of valid UTF-8, and NUL, as U+FFFD. */
static void put_clean(struct buf *b, struct str s) {
    size_t good = 0;
    for (size_t i = 0; i < s.len;) {
        size_t n = 1;
        unsigned char c = (unsigned char)s.p[i];
        if (c >= 0xc2 && c <= 0xf4)
            n = c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
        if (c != 0 && i + n <= s.len && str_is_utf8(str_n(s.p + i, n))) {
            i += n;
            continue;
        }
        buf_put(b, s.p + good, i - good);
        buf_puts(b, "\xef\xbf\xbd");
        good = ++i;
    }
    buf_put(b, s.p + good, s.len - good);
}

static void to_build_log(struct engine_build *build, struct str text) {
    if (build->log.len + text.len + 1 > BUILD_LOG_MAX)
        return;
    put_clean(&build->log, text);
    buf_putc(&build->log, '\n');
}

static void deliver(struct instance *inst, enum log_line_level level, struct str text) {
    struct engine *e = inst->el->engine;
    if (inst->build) {
        to_build_log(inst->build, text);
        return;
    }
    if (!inst->pool)
        return; /* a generic process has nothing to say */
    struct buf clean = BUF_INIT(4 * WIRE_FRAME_MAX);
    if (!str_is_utf8(text) || memchr(text.p, 0, text.len)) {
        put_clean(&clean, text);
        text = buf_str(&clean);
    }
    e->config.on_log(e->config.user, inst->el->loop, inst->pool->deployment, &inst->call_id,
                     inst->name, level, text);
    buf_done(&clean);
}

static void cut(struct instance *inst) {
    char text[128];
    if (inst->log_cut)
        return;
    inst->log_cut = true;
    snprintf(text, sizeof text, "[kiln] the rest of this call's output is not kept: over %u bytes",
             inst->el->engine->config.log_call_max);
    deliver(inst, LINE_WARN, str_of(text));
}

void output_emit(struct instance *inst, enum log_line_level level, struct str text) {
    struct engine_config *config = &inst->el->engine->config;
    inst->output_bytes += text.len + 1;
    if (inst->output_bytes > config->output_call_max) {
        instance_kill(inst, ERR_LIMIT, "the function wrote more than %u bytes of output",
                      config->output_call_max);
        return;
    }
    if (inst->log_bytes + text.len > config->log_call_max) {
        cut(inst);
        return;
    }
    inst->log_bytes += (uint32_t)text.len;
    deliver(inst, level, text);
}

/* ---- the raw pipes ---- */

static void feed(struct output *o, struct str data) {
    while (data.len && o->instance->kill_cause != ERR_LIMIT) {
        const char *nl = memchr(data.p, '\n', data.len);
        size_t n = nl ? (size_t)(nl - data.p) : data.len;
        size_t room = WIRE_LOG_LINE_MAX - o->line.len;
        bool whole = nl && n <= room;
        if (n > room)
            n = room;
        buf_put(&o->line, data.p, n);
        if (whole || o->line.len == WIRE_LOG_LINE_MAX)
            output_flush(o);
        n += whole;
        data = str_n(data.p + n, data.len - n);
    }
}

/* One read; false when there is nothing more now. */
static bool read_some(struct output *o) {
    char data[OUTPUT_READ];
    ssize_t n = read(o->io.fd, data, sizeof data);
    if (n > 0) {
        feed(o, str_n(data, (size_t)n));
        return true;
    }
    if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        loop_io_del(o->instance->el->loop, &o->io);
        fd_close(&o->io.fd);
    }
    return false;
}

static void pipe_ready(struct loop_io *io, uint32_t events UNUSED) {
    (void)read_some(container_of(io, struct output, io));
}

int output_open(struct output *o, struct instance *inst, int fd, enum log_line_level level) {
    o->instance = inst;
    o->level = level;
    buf_init(&o->line, WIRE_LOG_LINE_MAX);
    o->io = (struct loop_io){.fd = fd, .events = EPOLLIN, .ready = pipe_ready};
    return loop_io_add(inst->el->loop, &o->io);
}

/* What is readable now. */
static void output_drain(struct output *o) {
    /* What a pipe may hold; a process that goes on writing does not hold the loop. */
    for (int i = 0; i < OUTPUT_DRAIN_READS && o->io.fd >= 0; i++)
        if (o->instance->kill_cause == ERR_LIMIT || !read_some(o))
            return;
}

void output_flush(struct output *o) {
    if (o->line.len == 0)
        return;
    struct str text = buf_str(&o->line);
    if (text.p[text.len - 1] == '\r')
        text.len--;
    output_emit(o->instance, o->level, text);
    buf_done(&o->line);
}

/* One poll(2) tells of both pipes: the usual call has written to neither. */
void output_collect(struct instance *inst) {
    struct pollfd ready[2] = {{.fd = inst->out[0].io.fd, .events = POLLIN},
                              {.fd = inst->out[1].io.fd, .events = POLLIN}};
    int n = poll(ready, 2, 0);
    for (int i = 0; i < 2; i++) {
        if (n > 0 && ready[i].revents)
            output_drain(&inst->out[i]);
        output_flush(&inst->out[i]);
    }
}

void output_close(struct output *o) {
    if (o->io.fd >= 0)
        loop_io_del(o->instance->el->loop, &o->io);
    fd_close(&o->io.fd);
    buf_done(&o->line);
}
