/* SPDX-License-Identifier: Apache-2.0 */
#include "egress/tap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <slirp/libslirp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>

#if !SLIRP_CHECK_VERSION(4, 7, 0)
#error "libslirp 4.7 or newer is needed: older ones cannot turn off DHCP"
#endif

#define FRAME_BUF    2048 /* more than EGRESS_FRAME_MAX, so that longer frames are seen as such */
#define NOFILE_OTHER 64

struct tap {
    struct list node, dirty, timed;
    struct taps *taps;
    Slirp *slirp;
    int fd, pidfd;
    uint64_t instance;
    bool readable, dead;
    enum tap_timer timer;
    int64_t due_ms;
    struct packet opening; /* the one that the stack is looking at */
    int sockets[EGRESS_SOCKETS_MAX], polled[EGRESS_SOCKETS_MAX];
    size_t n_sockets, n_polled, n_tcp;
    int64_t reject_second;
    unsigned rejects;
};

/* Periods, and the grid that their ends are rounded up to, so that many taps wake us once. The
 * stack's own periods are 2 ms (delayed ACK) and 499 ms (retransmission); datagram sockets only
 * need to be forgotten in the end. */
static const struct {
    int period_ms, grid_ms;
} timers[TIMERS] = {[TIMER_FAST] = {2, 1}, [TIMER_SLOW] = {499, 500}, [TIMER_LAZY] = {5000, 5000}};
#define SLIRP_FAST_MS 2
#define SLIRP_SLOW_MS 500 /* what is above needs no timer at all */

static int64_t now_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * (int64_t)NS_PER_S + ts.tv_nsec;
}
static int64_t now_ms(void) {
    return now_ns() / (int64_t)NS_PER_MS;
}

static void count(uint64_t *what, int64_t by) {
    __atomic_store_n(what, *what + (uint64_t)by, __ATOMIC_RELAXED);
}

static struct slot *slot_of(struct taps *t, int fd) {
    return fd >= 0 && (size_t)fd < t->n_slots ? &t->slots[fd] : NULL;
}

static void mark_dirty(struct tap *tap) {
    if (list_empty(&tap->dirty))
        list_push(&tap->taps->dirty, &tap->dirty);
}

/* ---- what epoll watches ---- */
static int watch(struct taps *t, int fd, uint32_t events) {
    struct slot *s = slot_of(t, fd);
    struct epoll_event ev = {.events = events, .data.fd = fd};
    int op = !s->events ? EPOLL_CTL_ADD : events ? EPOLL_CTL_MOD : EPOLL_CTL_DEL;
    if (s->events == events)
        return 0;
    if (epoll_ctl(t->epoll_fd, op, fd, &ev) < 0)
        return -errno;
    s->events = events;
    return 0;
}

static int slot_take(struct taps *t, int fd, enum slot_kind kind, struct tap *tap,
                     uint32_t events) {
    struct slot *s = slot_of(t, fd);
    if (!s)
        return -EMFILE;
    *s = (struct slot){.kind = kind, .tap = tap};
    return watch(t, fd, events);
}

static void slot_release(struct taps *t, int fd) {
    struct slot *s = slot_of(t, fd);
    if (!s)
        return;
    (void)watch(t, fd, 0);
    *s = (struct slot){.kind = SLOT_NONE};
}

/* ---- callbacks of the stack ---- */
static ssize_t on_send(const void *buf, size_t len, void *opaque) {
    struct tap *tap = opaque;
    /* Full or gone: the stack repeats what matters. */
    (void)!write(tap->fd, buf, len);
    return (ssize_t)len;
}

static void on_guest_error(const char *msg UNUSED, void *opaque) {
    struct tap *tap = opaque;
    count(&tap->taps->stats->malformed, 1);
}

static int64_t on_clock(void *opaque UNUSED) {
    return now_ns();
}

/* Only IPv6 router advertisements have timers of their own, and IPv6 is off. */
static void *on_timer_new(SlirpTimerCb cb UNUSED, void *cb_opaque UNUSED, void *opaque UNUSED) {
    return NULL;
}
static void on_timer_free(void *timer UNUSED, void *opaque UNUSED) {}
static void on_timer_mod(void *timer UNUSED, int64_t expire UNUSED, void *opaque UNUSED) {}
static void on_notify(void *opaque UNUSED) {}

static void forget_socket(struct tap *tap, int fd) {
    struct slot *s = slot_of(tap->taps, fd);
    if (!s || s->kind != SLOT_SOCKET || s->tap != tap)
        return;
    tap->n_tcp -= s->protocol == IPPROTO_TCP;
    slot_release(tap->taps, fd);
    for (size_t i = 0; i < tap->n_sockets; i++)
        if (tap->sockets[i] == fd) {
            tap->sockets[i] = tap->sockets[--tap->n_sockets];
            break;
        }
    count(&tap->taps->stats->sockets, -1);
}

static void on_register(int fd, void *opaque) {
    struct tap *tap = opaque;
    struct slot *s = slot_of(tap->taps, fd);
    if (!s)
        return;
    if (s->kind == SLOT_SOCKET) /* closed without a word, and opened anew */
        forget_socket(s->tap, fd);
    if (tap->n_sockets == EGRESS_SOCKETS_MAX)
        return; /* cannot be: input() lets nothing open a socket then */
    *s = (struct slot){.kind = SLOT_SOCKET,
                       .tap = tap,
                       .protocol = tap->opening.protocol,
                       .sport = tap->opening.sport};
    tap->sockets[tap->n_sockets++] = fd;
    tap->n_tcp += s->protocol == IPPROTO_TCP;
    count(&tap->taps->stats->sockets, 1);
}

static void on_unregister(int fd, void *opaque) {
    forget_socket(opaque, fd);
}

static const SlirpCb callbacks = {
    .send_packet = on_send,
    .guest_error = on_guest_error,
    .clock_get_ns = on_clock,
    .timer_new = on_timer_new,
    .timer_free = on_timer_free,
    .timer_mod = on_timer_mod,
    .register_poll_fd = on_register,
    .unregister_poll_fd = on_unregister,
    .notify = on_notify,
};

static Slirp *stack_new(struct tap *tap) {
    const bool loopback = tap->taps->filter.allow.host_loopback;
    const SlirpConfig cfg = {
        .version = 4,
        .in_enabled = true,
        .vnetwork.s_addr = htonl(EGRESS_NET),
        .vnetmask.s_addr = htonl(UINT32_MAX << (32 - EGRESS_PREFIX_LEN)),
        .vhost.s_addr = htonl(EGRESS_GATEWAY_ADDR),
        .vdhcp_start.s_addr = htonl(EGRESS_GUEST_ADDR),
        .vnameserver.s_addr = htonl(EGRESS_DNS_ADDR),
        .if_mtu = EGRESS_MTU,
        .if_mru = EGRESS_MTU,
        .disable_host_loopback = !loopback,
        .disable_dhcp = true,
    };
    return slirp_new(&cfg, &callbacks, tap);
}

/* ---- polling ---- */
static uint32_t to_epoll(int events) {
    return (events & SLIRP_POLL_IN ? EPOLLIN : 0u) | (events & SLIRP_POLL_OUT ? EPOLLOUT : 0u) |
           (events & SLIRP_POLL_PRI ? EPOLLPRI : 0u) | (events & SLIRP_POLL_ERR ? EPOLLERR : 0u) |
           (events & SLIRP_POLL_HUP ? EPOLLHUP : 0u);
}

static int on_add_poll(int fd, int events, void *opaque) {
    struct tap *tap = opaque;
    struct slot *s = slot_of(tap->taps, fd);
    if (!s || s->kind != SLOT_SOCKET || s->tap != tap || tap->n_polled == EGRESS_SOCKETS_MAX ||
        watch(tap->taps, fd, to_epoll(events)) < 0)
        return -1;
    s->filled = tap->taps->turns;
    tap->polled[tap->n_polled++] = fd;
    return fd;
}

static int on_get_revents(int fd, void *opaque) {
    struct tap *tap = opaque;
    struct slot *s = slot_of(tap->taps, fd);
    if (!s || s->kind != SLOT_SOCKET || s->tap != tap)
        return 0;
    uint32_t got = s->revents;
    s->revents = 0;
    return (got & EPOLLIN ? SLIRP_POLL_IN : 0) | (got & EPOLLOUT ? SLIRP_POLL_OUT : 0) |
           (got & EPOLLPRI ? SLIRP_POLL_PRI : 0) | (got & EPOLLERR ? SLIRP_POLL_ERR : 0) |
           (got & EPOLLHUP ? SLIRP_POLL_HUP : 0);
}

static void set_timer(struct tap *tap, enum tap_timer timer) {
    if (tap->timer == timer && timer != TIMER_NONE)
        return; /* keeps its earlier end */
    tap->timer = timer;
    list_del(&tap->timed);
    if (timer == TIMER_NONE)
        return;
    int64_t grid = timers[timer].grid_ms;
    tap->due_ms = (now_ms() + timers[timer].period_ms + grid - 1) / grid * grid;
    list_push(&tap->taps->timed[timer], &tap->timed); /* one period a list: stays in order */
}

/* Tells epoll what the stack waits for, and sets the timer that it needs. */
static void fill(struct tap *tap) {
    int before[EGRESS_SOCKETS_MAX];
    size_t n_before = tap->n_polled;
    uint32_t timeout_ms = UINT32_MAX;
    memcpy(before, tap->polled, n_before * sizeof(*before));
    tap->n_polled = 0;
    tap->taps->turns++;
    slirp_pollfds_fill(tap->slirp, &timeout_ms, on_add_poll, tap);
    for (size_t i = 0; i < n_before; i++) {
        struct slot *s = slot_of(tap->taps, before[i]);
        if (s->kind == SLOT_SOCKET && s->tap == tap && s->filled != tap->taps->turns) {
            (void)watch(tap->taps, before[i], 0);
            s->revents = 0;
        }
    }
    if (timeout_ms <= SLIRP_FAST_MS)
        set_timer(tap, TIMER_FAST);
    else if (timeout_ms > SLIRP_SLOW_MS)
        set_timer(tap, TIMER_NONE);
    else
        set_timer(tap, tap->n_tcp ? TIMER_SLOW : TIMER_LAZY);
}

/* ---- from the instance ---- */
static void reject(struct tap *tap, const uint8_t *frame, size_t len) {
    uint8_t reply[EGRESS_REJECT_LEN];
    int64_t second = now_ms() / (int64_t)MS_PER_S;
    if (tap->reject_second != second)
        tap->rejects = 0;
    tap->reject_second = second;
    if (tap->rejects >= TAP_REJECTS_PER_S)
        return;
    tap->rejects++;
    filter_reject(frame, len, reply);
    (void)!write(tap->fd, reply, sizeof(reply));
}

static bool has_socket(const struct tap *tap, const struct packet *k) {
    for (size_t i = 0; i < tap->n_sockets; i++) {
        const struct slot *s = &tap->taps->slots[tap->sockets[i]];
        if (s->protocol == k->protocol && s->sport == k->sport)
            return true;
    }
    return false;
}

/* Whether the limits let PACKET reach the stack, which keeps one socket a UDP port, so that a known
 * port opens none. A TCP port may be known for another peer: a SYN opens one in any case. */
static bool within_limits(const struct tap *tap, const struct packet *k) {
    const struct taps *t = tap->taps;
    if (!k->may_open || (tap->n_sockets < EGRESS_SOCKETS_MAX && t->stats->sockets < t->sockets_max))
        return true;
    return k->protocol == IPPROTO_UDP && has_socket(tap, k);
}

static void input(struct tap *tap, const uint8_t *frame, size_t len) {
    struct egress_stats *stats = tap->taps->stats;
    count(&stats->packets, 1);
    enum verdict v = filter_frame(&tap->taps->filter, frame, len, &tap->opening);
    if (v == VERDICT_PASS && within_limits(tap, &tap->opening)) {
        slirp_input(tap->slirp, frame, (int)len);
    } else if (v == VERDICT_DROP) {
        count(&stats->malformed, 1);
    } else {
        count(v == VERDICT_PASS ? &stats->over_limit : &stats->refused, 1);
        if (v == VERDICT_REJECT || tap->opening.protocol != IPPROTO_TCP) /* TCP tries again */
            reject(tap, frame, len);
    }
}

static void read_packets(struct tap *tap) {
    uint8_t frame[FRAME_BUF];
    for (int i = 0; i < TAP_PACKETS_PER_TURN; i++) {
        ssize_t n = read(tap->fd, frame, sizeof(frame));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            tap->dead = n == 0 || errno != EAGAIN;
            return;
        }
        input(tap, frame, (size_t)n);
    }
}

/* ---- life ---- */
static void tap_free(struct tap *tap) {
    struct taps *t = tap->taps;
    if (tap->slirp)
        slirp_cleanup(tap->slirp);
    while (tap->n_sockets) /* what the stack closed without a word */
        forget_socket(tap, tap->sockets[0]);
    if (tap->pidfd >= 0)
        slot_release(t, tap->pidfd);
    slot_release(t, tap->fd);
    fd_close(&tap->pidfd);
    fd_close(&tap->fd);
    list_del(&tap->node);
    list_del(&tap->dirty);
    list_del(&tap->timed);
    free(tap);
    count(&t->stats->taps, -1);
}

/* The order matters: poll() first, for it sets the clock by which new sockets get their end. */
static void turn(struct tap *tap) {
    if (!tap->dead)
        slirp_pollfds_poll(tap->slirp, 0, on_get_revents, tap);
    if (!tap->dead && tap->readable)
        read_packets(tap);
    tap->readable = false;
    if (tap->dead)
        tap_free(tap);
    else
        fill(tap);
}

static int wanted_files(void) {
    const rlim_t wanted = EGRESS_SOCKETS_TOTAL + 2 * EGRESS_TAPS_MAX + NOFILE_OTHER;
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) < 0)
        return -errno;
    r.rlim_cur = r.rlim_max < wanted ? r.rlim_max : wanted;
    return setrlimit(RLIMIT_NOFILE, &r) < 0 ? -errno : (int)r.rlim_cur;
}

int taps_init(struct taps *t, const struct egress_allow *allow, struct egress_stats *stats) {
    memset(t, 0, sizeof(*t));
    filter_init(&t->filter, allow);
    t->stats = stats;
    list_init(&t->all);
    list_init(&t->dirty);
    for (int i = 0; i < TIMERS; i++)
        list_init(&t->timed[i]);
    int files = wanted_files();
    if (files < 0)
        return files;
    t->n_slots = (size_t)files;
    t->slots = x_calloc(t->n_slots, sizeof(*t->slots));
    t->sockets_max = t->n_slots / 2 < EGRESS_SOCKETS_TOTAL ? t->n_slots / 2 : EGRESS_SOCKETS_TOTAL;
    t->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    return t->epoll_fd < 0 ? -errno : 0;
}

int taps_attach(struct taps *t, int tap_fd, int pidfd, uint64_t instance) {
    cleanup_close int fd = tap_fd;
    cleanup_close int watch_fd = pidfd;
    if (t->stats->taps >= EGRESS_TAPS_MAX)
        return -EMFILE;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return -errno;
    struct tap *tap = x_alloc(sizeof(*tap));
    tap->taps = t;
    tap->instance = instance;
    tap->timer = TIMER_NONE;
    list_init(&tap->dirty);
    list_init(&tap->timed);
    list_push(&t->all, &tap->node);
    count(&t->stats->taps, 1);
    tap->fd = take_fd(&fd);
    tap->pidfd = take_fd(&watch_fd);
    int r = slot_take(t, tap->fd, SLOT_TAP, tap, EPOLLIN);
    if (r == 0 && tap->pidfd >= 0)
        r = slot_take(t, tap->pidfd, SLOT_PIDFD, tap, EPOLLIN);
    if (r == 0 && !(tap->slirp = stack_new(tap)))
        r = -ENOMEM;
    if (r < 0)
        tap_free(tap);
    return r;
}

void taps_detach(struct taps *t, uint64_t instance) {
    list_for_each_safe (it, &t->all) {
        struct tap *tap = list_entry(it, struct tap, node);
        if (tap->instance == instance)
            tap_free(tap);
    }
}

void taps_event(struct taps *t, int fd, uint32_t revents) {
    struct slot *s = slot_of(t, fd);
    if (!s || !s->tap)
        return;
    if (s->kind == SLOT_SOCKET)
        s->revents |= revents;
    else if (s->kind == SLOT_TAP)
        s->tap->readable = true;
    else
        s->tap->dead = true;
    mark_dirty(s->tap);
}

static void expire(struct taps *t) {
    int64_t now = now_ms();
    for (int i = 0; i < TIMERS; i++) {
        while (!list_empty(&t->timed[i])) {
            struct tap *tap = list_entry(t->timed[i].next, struct tap, timed);
            if (tap->due_ms > now)
                break;
            tap->timer = TIMER_NONE;
            list_del(&tap->timed);
            mark_dirty(tap);
        }
    }
}

void taps_turn(struct taps *t) {
    struct list *it;
    expire(t);
    while ((it = list_shift(&t->dirty)))
        turn(list_entry(it, struct tap, dirty));
}

int taps_timeout_ms(const struct taps *t) {
    int64_t first = INT64_MAX, now = 0;
    for (int i = 0; i < TIMERS; i++) {
        if (list_empty(&t->timed[i]))
            continue;
        const struct tap *tap = list_entry(t->timed[i].next, struct tap, timed);
        first = tap->due_ms < first ? tap->due_ms : first;
    }
    if (first == INT64_MAX)
        return -1;
    now = now_ms();
    return first > now ? (int)(first - now) : 0;
}
