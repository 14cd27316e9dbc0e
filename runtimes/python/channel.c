/* SPDX-License-Identifier: Apache-2.0 */
#include "channel.h"

#include <Python.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>

#define CHAN_READ_SIZE   (64 * KIB)  /* room offered to a read */
#define CHAN_KEEP_MAX    (1 * MIB)   /* a larger buffer is given back after use */
#define CHAN_LOGS_MAX    (32 * KIB)  /* log lines are flushed past this */
#define CHAN_HELD_MAX    (256 * KIB) /* finished answers are flushed past this */
#define CHAN_LOG_HOLD_MS 50          /* a log line waits at most this long */
#define CHAN_HOLD_MS     1           /* an answer waits at most this long behind the next call */
#define CHAN_SIGNAL      (SIGRTMAX - 2)

static struct {
    int fd;
    bool detached;
    bool handing_over; /* the child of the fork under way gets the channel */
    uint32_t seq;
    struct buf in;
    size_t in_at; /* consumed bytes at the front of `in` */

    atomic_flag lock; /* guards out and out_sent against the signal handlers */
    struct buf out;
    size_t out_sent;
    struct buf lines[2]; /* unfinished line of each stream */

    bool have_timer;
    timer_t timer;
    volatile sig_atomic_t armed_ms; /* 0 = not armed */
} chan = {
    .fd = -1,
    .lock = ATOMIC_FLAG_INIT,
    .in = {.max = WIRE_HEADER_LEN + WIRE_FRAME_MAX + CHAN_READ_SIZE},
    .out = {.max = WIRE_FRAME_MAX + CHAN_HELD_MAX + 2 * WIRE_LOG_LINE_MAX},
    .lines = {{.max = WIRE_LOG_LINE_MAX}, {.max = WIRE_LOG_LINE_MAX}},
};

/* Holders of the GIL exclude each other already; what is left is a handler running in the main
 * thread while another thread appends, which lasts one send that never blocks. */
static void lock_out(void) {
    while (atomic_flag_test_and_set_explicit(&chan.lock, memory_order_acquire))
        sched_yield();
}

static void unlock_out(void) {
    atomic_flag_clear_explicit(&chan.lock, memory_order_release);
}

static void arm(int ms) {
    if (!chan.have_timer || (chan.armed_ms && chan.armed_ms <= ms))
        return;
    struct itimerspec at = {.it_value.tv_nsec = ms * (long)NS_PER_MS};
    chan.armed_ms = ms;
    (void)timer_settime(chan.timer, 0, &at, NULL);
}

/* Sends what is held as far as FLAGS allow; the lock is held. */
static int send_held(int flags) {
    while (chan.out_sent < chan.out.len) {
        ssize_t n = send(chan.fd, chan.out.p + chan.out_sent, chan.out.len - chan.out_sent,
                         MSG_NOSIGNAL | flags);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        chan.out_sent += (size_t)n;
    }
    chan.out.len = chan.out_sent = 0;
    return 0;
}

static void on_timer(int sig) {
    (void)sig;
    int saved = errno;
    chan.armed_ms = 0;
    if (atomic_flag_test_and_set_explicit(&chan.lock, memory_order_acquire)) {
        arm(CHAN_HOLD_MS); /* interrupted an append: again in a moment */
    } else {
        int r = chan.fd >= 0 ? send_held(MSG_DONTWAIT) : 0;
        unlock_out();
        if (r == -EAGAIN)
            arm(CHAN_LOG_HOLD_MS);
    }
    errno = saved;
}

/* The process dies of SIG: what earlier calls and log lines left here must not die with it. Where
 * an append was interrupted the buffer may be inconsistent and is left alone. */
static void on_crash(int sig, siginfo_t *info, void *context) {
    (void)context;
    if (chan.fd >= 0 && !atomic_flag_test_and_set_explicit(&chan.lock, memory_order_acquire))
        (void)send_held(MSG_DONTWAIT);
    (void)signal(sig, SIG_DFL);
    (void)raise(sig);
    /* The first process of a pid namespace survives its own raise(): a fault comes again by itself
     * when this returns; an abort, or what somebody sent, does not. */
    if (sig == SIGABRT || info->si_code <= 0)
        _exit(128 + sig);
}

static void catch_crashes(void) {
    static char stack[16 * 1024]; /* for a stack overflow; touched only by a crash */
    stack_t alt = {.ss_sp = stack, .ss_size = sizeof(stack)};
    struct sigaction sa = {.sa_sigaction = on_crash,
                           .sa_flags = SA_ONSTACK | SA_NODEFER | SA_SIGINFO};
    const int fatal[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};

    (void)sigaltstack(&alt, NULL);
    sigemptyset(&sa.sa_mask);
    for (size_t i = 0; i < ARRAY_LEN(fatal); i++)
        (void)sigaction(fatal[i], &sa, NULL);
}

/* To this thread: another one may be the function's own and must not be interrupted. glibc 2.36
 * does not name the field. */
static void make_timer(void) {
    struct sigevent ev = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = CHAN_SIGNAL};
    ev._sigev_un._tid = (pid_t)syscall(SYS_gettid);
    chan.have_timer = timer_create(CLOCK_MONOTONIC, &ev, &chan.timer) == 0;
}

void chan_open(int fd) {
    struct sigaction sa = {.sa_handler = on_timer, .sa_flags = SA_RESTART};

    chan.fd = fd;
    chan.detached = false; /* the fork of this instance itself ran chan_detach() */
    (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    sigemptyset(&sa.sa_mask);
    (void)sigaction(CHAN_SIGNAL, &sa, NULL);
    catch_crashes();
    make_timer();
}

bool chan_is_open(void) {
    return !chan.detached && chan.fd >= 0;
}

void chan_set_call(uint32_t seq) {
    chan.seq = seq;
}

int chan_flush(void) {
    if (chan.fd < 0) {
        chan_discard();
        return 0;
    }
    lock_out();
    int r = send_held(0);
    if (r == 0 && chan.out.cap > CHAN_KEEP_MAX)
        buf_done(&chan.out);
    unlock_out();
    return r;
}

void chan_discard(void) {
    lock_out();
    chan.out.len = chan.out_sent = 0;
    unlock_out();
}

void chan_exit(int status) {
    chan_end_lines();
    (void)chan_flush();
    _exit(status);
}

pid_t chan_fork(void) {
    chan_end_lines();
    if (chan_flush() < 0)
        _exit(0);                    /* the server is gone */
    if (chan.in.len == chan.in_at) { /* the code that was loaded need not be there twice */
        buf_done(&chan.in);
        chan.in_at = 0;
    }
    chan.handing_over = true;
    PyOS_BeforeFork();
    pid_t pid = fork();
    if (pid == 0)
        PyOS_AfterFork_Child(); /* runs chan_detach() */
    else
        PyOS_AfterFork_Parent();
    chan.handing_over = false;
    if (pid == 0) { /* timers stay with the parent (timer_create(2)) */
        chan.armed_ms = 0;
        make_timer();
    }
    return pid;
}

void chan_detach(void) {
    if (chan.handing_over)
        return;
    chan.detached = true;
    chan.have_timer = false;
    atomic_flag_clear(&chan.lock);
    chan.out.len = chan.out_sent = 0;
    chan.lines[0].len = chan.lines[1].len = 0;
    fd_close(&chan.fd);
}

/* ---- in ---- */

/* Reads once, at least one byte. NEED is the size of the frame at the front, or 0. */
static int fill(size_t need) {
    if (chan.in_at) {
        buf_drop(&chan.in, chan.in_at);
        chan.in_at = 0;
    }
    if (chan.in.len == 0 && chan.in.cap > CHAN_KEEP_MAX)
        buf_done(&chan.in);
    size_t room = need > chan.in.len ? need - chan.in.len : 0;
    if (buf_reserve(&chan.in, room > CHAN_READ_SIZE ? room : CHAN_READ_SIZE) < 0)
        return -EBADMSG;

    ssize_t n;
    PyThreadState *state = PyEval_SaveThread();
    do {
        n = recv(chan.fd, chan.in.p + chan.in.len, chan.in.cap - chan.in.len, 0);
    } while (n < 0 && errno == EINTR);
    int err = errno;
    PyEval_RestoreThread(state);
    if (n < 0)
        return -err;
    chan.in.len += (size_t)n;
    return n > 0;
}

int chan_next(struct wire_frame *ret) {
    for (;;) {
        size_t need = 0, have = chan.in.len - chan.in_at;
        ssize_t n = have ? wire_parse(chan.in.p + chan.in_at, have, WIRE_FRAME_MAX, ret, &need) : 0;
        if (n < 0)
            return (int)n;
        bool hold = n > 0 && chan.have_timer && chan.out.len < CHAN_HELD_MAX;
        if (chan.out.len && !hold) {
            int r = chan_flush();
            if (r < 0)
                return r;
        }
        if (n > 0) {
            if (chan.out.len)
                arm(CHAN_HOLD_MS);
            chan.in_at += (size_t)n;
            return 1;
        }
        int r = fill(need);
        if (r <= 0)
            return r;
    }
}

/* ---- out ---- */

int chan_frame(enum wire_type type, uint32_t seq, struct str head, struct str tail) {
    return chan_frame_flags(type, 0, seq, head, tail);
}

int chan_frame_flags(enum wire_type type, uint8_t flags, uint32_t seq, struct str head,
                     struct str tail) {
    if (head.len + tail.len > WIRE_FRAME_MAX)
        return -EMSGSIZE;
    if (chan.detached)
        return 0;
    if (chan.out.len && head.len + tail.len > CHAN_HELD_MAX)
        (void)chan_flush();
    lock_out();
    ssize_t at = wire_begin(&chan.out, type, flags, seq);
    int r = at < 0 ? (int)at : 0;
    if (r == 0)
        r = buf_put_str(&chan.out, head);
    if (r == 0)
        r = buf_put_str(&chan.out, tail);
    if (r == 0)
        r = wire_end(&chan.out, at);
    else if (at >= 0)
        chan.out.len = (size_t)at;
    unlock_out();
    return r;
}

/* Length of the longest piece of at most WIRE_LOG_LINE_MAX bytes that cuts no UTF-8 sequence. */
static size_t piece_len(struct str s) {
    size_t n = WIRE_LOG_LINE_MAX;
    if (s.len <= n)
        return s.len;
    for (int back = 0; back < 3 && ((uint8_t)s.p[n] & 0xc0) == 0x80; back++)
        n--;
    return n;
}

static void log_piece(enum wire_level level, struct str s) {
    uint32_t len = (uint32_t)s.len;
    char head[5] = {(char)level, (char)len, (char)(len >> 8), (char)(len >> 16), (char)(len >> 24)};
    (void)chan_frame(WIRE_LOG, chan.seq, str_n(head, sizeof(head)), s);
}

static void write_plain(int fd, struct str s) {
    while (s.len) {
        ssize_t n = write(fd, s.p, s.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        s.p += n;
        s.len -= (size_t)n;
    }
}

void chan_log(enum wire_level level, struct str text) {
    if (chan.detached) {
        write_plain(2, text);
        write_plain(2, STR("\n"));
        return;
    }
    do {
        size_t n = piece_len(text);
        log_piece(level, str_n(text.p, n));
        text.p += n;
        text.len -= n;
    } while (text.len);
    if (chan.out.len >= CHAN_LOGS_MAX || !chan.have_timer)
        (void)chan_flush();
    else
        arm(CHAN_LOG_HOLD_MS);
}

/* What a stream's lines are called: print() is information; who writes to standard error himself,
 * past the logging module, reports something wrong. */
static enum wire_level stream_level(enum chan_stream stream) {
    return stream == CHAN_STDERR ? WIRE_ERROR : WIRE_INFO;
}

/* Length of S without a UTF-8 sequence that is cut off at its end. */
static size_t whole_chars(struct str s) {
    for (size_t back = 1; back <= 3 && back < s.len; back++) {
        uint8_t c = (uint8_t)s.p[s.len - back];
        if ((c & 0xc0) == 0x80)
            continue;
        size_t want = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 1;
        return want > back ? s.len - back : s.len;
    }
    return s.len;
}

/* Adds to the unfinished line of a stream, cutting it where it grows past the limit. */
static void hold_line(enum chan_stream stream, struct str s) {
    struct buf *line = &chan.lines[stream];
    while (s.len) {
        size_t room = WIRE_LOG_LINE_MAX - line->len;
        size_t n = s.len < room ? s.len : room;
        (void)buf_put(line, s.p, n);
        s.p += n;
        s.len -= n;
        if (line->len < WIRE_LOG_LINE_MAX)
            return;
        size_t cut = whole_chars(buf_str(line));
        chan_log(stream_level(stream), str_n(line->p, cut));
        buf_drop(line, cut);
    }
}

void chan_write(enum chan_stream stream, struct str text) {
    if (chan.detached) {
        write_plain(stream == CHAN_STDERR ? 2 : 1, text);
        return;
    }
    const char *nl;
    while (text.len && (nl = memchr(text.p, '\n', text.len))) {
        struct str line = str_n(text.p, (size_t)(nl - text.p));
        if (chan.lines[stream].len) {
            hold_line(stream, line);
            chan_log(stream_level(stream), buf_str(&chan.lines[stream]));
            buf_clear(&chan.lines[stream]);
        } else {
            chan_log(stream_level(stream), line);
        }
        text.len -= line.len + 1;
        text.p = nl + 1;
    }
    hold_line(stream, text);
}

void chan_end_lines(void) {
    for (int i = 0; i < 2; i++) {
        if (chan.lines[i].len == 0)
            continue;
        chan_log(stream_level(i), buf_str(&chan.lines[i]));
        buf_clear(&chan.lines[i]);
    }
}
