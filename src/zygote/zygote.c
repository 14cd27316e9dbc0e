/* SPDX-License-Identifier: Apache-2.0 */
#include "zygote/internal.h"

/* main() of every zygote executable:
 *   kiln-zygote-<language> --runtimes DIR [--uid-base N]
 * with the first channel as descriptor 3 and the launcher's report as 4 (sandbox/launch.h). */

#include "sandbox/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>

/* NOLINTBEGIN(concurrency-mt-unsafe): one thread */

static int parse(int argc, char **argv, struct sandbox_config *cfg) {
    for (int i = 1; i + 1 < argc; i += 2) {
        uint64_t n;
        if (strcmp(argv[i], "--runtimes") == 0)
            cfg->runtimes_dir = argv[i + 1];
        else if (strcmp(argv[i], "--uid-base") == 0 &&
                 str_u64(str_of(argv[i + 1]), INT32_MAX, &n) == 0)
            cfg->uid_base = (uint32_t)n;
        else
            return -EINVAL;
    }
    return argc % 2 == 1 && cfg->runtimes_dir ? 0 : -EINVAL;
}

static bool is_open(int fd) {
    return fcntl(fd, F_GETFD) >= 0;
}

static int watch(int epoll, int fd, enum source_kind *source) {
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = source};
    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

static int make_signals(struct zygote *z) {
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGCHLD);
    int r = -pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (r < 0)
        return r;
    z->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (z->signals < 0)
        return -errno;
    z->signal_source = SOURCE_SIGNAL;
    return watch(z->epoll, z->signals, &z->signal_source);
}

static int make_reports(struct zygote *z) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    z->report_in = pair[0];
    z->report_out = pair[1];
    z->report_source = SOURCE_REPORT;
    if (fcntl(z->report_in, F_SETFL, O_RDWR | O_NONBLOCK) < 0)
        return -errno;
    return watch(z->epoll, z->report_in, &z->report_source);
}

static int prepare(struct zygote *z) {
    list_init(&z->channels);
    map_init(&z->by_pid);
    z->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (z->epoll < 0)
        return -errno;
    int r = make_signals(z);
    if (r == 0)
        r = make_reports(z);
    if (r == 0)
        r = channel_add(z, SANDBOX_CHANNEL_FD, true);
    return r;
}

/* Says UP, or why not, and serves. */
static int run(struct zygote *z) {
    struct zygote_msg up = {.op = ZYGOTE_UP};
    netns_start(&z->netns);
    int r = z->runtime->warm(up.text, sizeof(up.text));
    if (r < 0) {
        (void)fprintf(stderr, "kiln-zygote-%s: the interpreter does not start: %s\n",
                      z->runtime->name, strerror(-r));
        return r;
    }
    up.text[sizeof(up.text) - 1] = '\0';
    if ((r = prepare(z)) < 0)
        return r;
    struct list *first = z->channels.next;
    channel_send(z, list_entry(first, struct channel, node), &up, NULL, 0);
    return zygote_serve(z);
}

int zygote_main(int argc, char **argv, const struct zygote_runtime *runtime) {
    struct sandbox_config cfg = {.report_fd = ZYGOTE_REPORT_FD, .containers = runtime->containers};
    struct zygote z = {
        .runtime = runtime, .epoll = -1, .signals = -1, .report_in = -1, .report_out = -1};
    if (parse(argc, argv, &cfg) < 0 || !is_open(SANDBOX_CHANNEL_FD) || !is_open(ZYGOTE_REPORT_FD)) {
        (void)fprintf(stderr, "kiln-zygote-%s is started by kiln serve\n", runtime->name);
        return 2;
    }
    const char *step = "";
    if (sandbox_launch(&cfg, &z.sandbox, &step) < 0)
        return 1; /* the report says what */
    int r = run(&z);
    /* Process 1 of its namespace: what it leaves running ends with it. */
    _exit(r < 0 ? 1 : 0);
}
/* NOLINTEND(concurrency-mt-unsafe) */
