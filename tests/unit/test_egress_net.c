/* SPDX-License-Identifier: Apache-2.0 */
/* kiln-egress for real. Every test makes its own "host", a network namespace with nothing but lo,
 * and in it "guests", network namespaces with a tap: whatever is sent, no packet can leave. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "egress/egress.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/route.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#define PORT        8099
#define NOBODY      65534
#define WAIT_MS     60000 /* for what must come; never a measure */
#define BULK        (4 * MIB)
#define PUBLIC      "11.1.2.3"  /* answered by the test's host, but no address of an interface */
#define OWN_ADDRESS "12.0.0.1"  /* an address of the test's host */
#define RESOLVER    "127.0.0.5" /* its resolver */

/* In children: tells where and ends. */
#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #cond, errno);           \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

static char exe[PATH_MAX];
static bool real_root; /* else in a user namespace that has only one user */

/* ---- small tools ---- */
static struct sockaddr_in address(const char *ip, int port) {
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    inet_pton(AF_INET, ip, &sa.sin_addr);
    return sa;
}

static int64_t now_ms(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void nap(void) {
    nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

static void if_up(const char *name, const char *ip, const char *mask) {
    struct ifreq r = {0};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    strcpy(r.ifr_name, name);
    if (ip) {
        struct sockaddr_in sa = address(ip, 0);
        memcpy(&r.ifr_addr, &sa, sizeof(sa));
        CHECK(ioctl(fd, SIOCSIFADDR, &r) == 0);
        sa = address(mask, 0);
        memcpy(&r.ifr_netmask, &sa, sizeof(sa));
        CHECK(ioctl(fd, SIOCSIFNETMASK, &r) == 0);
    }
    CHECK(ioctl(fd, SIOCGIFFLAGS, &r) == 0);
    r.ifr_flags |= IFF_UP;
    CHECK(ioctl(fd, SIOCSIFFLAGS, &r) == 0);
    close(fd);
}

/* "ip route add local 11.0.0.0/8 dev lo": a world that this namespace answers for. */
static void add_world(void) {
    struct {
        struct nlmsghdr h;
        struct rtmsg r;
        struct rtattr a_dst;
        uint32_t dst;
        struct rtattr a_oif;
        uint32_t oif;
    } m = {.h = {.nlmsg_len = sizeof(m),
                 .nlmsg_type = RTM_NEWROUTE,
                 .nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_ACK},
           .r = {.rtm_family = AF_INET,
                 .rtm_dst_len = 8,
                 .rtm_table = RT_TABLE_LOCAL,
                 .rtm_protocol = RTPROT_BOOT,
                 .rtm_scope = RT_SCOPE_HOST,
                 .rtm_type = RTN_LOCAL},
           .a_dst = {RTA_LENGTH(4), RTA_DST},
           .dst = htonl(11u << 24),
           .a_oif = {RTA_LENGTH(4), RTA_OIF},
           .oif = 1};
    struct {
        struct nlmsghdr h;
        struct nlmsgerr e;
    } ack;
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    CHECK(fd >= 0 && send(fd, &m, sizeof(m), 0) == sizeof(m));
    CHECK(recv(fd, &ack, sizeof(ack), 0) > 0 && ack.h.nlmsg_type == NLMSG_ERROR && !ack.e.error);
    close(fd);
}

static void send_fd(int channel, int fd) {
    char c = 0;
    union {
        char buf[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } u = {{0}};
    struct iovec iov = {&c, 1};
    struct msghdr m = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = u.buf, .msg_controllen = sizeof(u.buf)};
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    *h = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(h), &fd, sizeof(fd));
    CHECK(sendmsg(channel, &m, 0) == 1);
}

static int recv_fd(int channel) {
    char c;
    int fd;
    union {
        char buf[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } u;
    struct iovec iov = {&c, 1};
    struct msghdr m = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = u.buf, .msg_controllen = sizeof(u.buf)};
    CHECK(recvmsg(channel, &m, MSG_CMSG_CLOEXEC) == 1 && CMSG_FIRSTHDR(&m));
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
    return fd;
}

static int make_tap(void) {
    struct ifreq r = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    struct rtentry route = {.rt_flags = RTF_UP | RTF_GATEWAY};
    struct sockaddr_in any = address("0.0.0.0", 0), gateway = address("10.0.2.2", 0);
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0 && s >= 0);
    strcpy(r.ifr_name, "eth0");
    CHECK(ioctl(fd, TUNSETIFF, &r) == 0);
    if_up("lo", NULL, NULL);
    if_up("eth0", "10.0.2.15", "255.255.255.0");
    memcpy(&route.rt_gateway, &gateway, sizeof(gateway));
    memcpy(&route.rt_dst, &any, sizeof(any));
    memcpy(&route.rt_genmask, &any, sizeof(any));
    CHECK(ioctl(s, SIOCADDRT, &route) == 0);
    close(s);
    return fd;
}

/* ---- what guests do ---- */
static bool connected(int fd) {
    struct sockaddr_in sa;
    socklen_t len = sizeof(sa);
    return getpeername(fd, (struct sockaddr *)&sa, &len) == 0;
}

/* An ICMP message that comes while connect(2) is still at work wakes poll(2) a moment before
 * SO_ERROR says why: no error is no connection yet. */
static int dial_errno(const char *ip, int port, int *ret_fd) {
    struct sockaddr_in sa = address(ip, port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), e = 0;
    socklen_t len = sizeof(e);
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    int64_t end = now_ms() + WAIT_MS;
    CHECK(fd >= 0);
    if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 && errno != EINPROGRESS)
        e = errno;
    for (; !e && !connected(fd); nap()) {
        if (poll(&p, 1, WAIT_MS) != 1 || now_ms() > end)
            e = ETIMEDOUT;
        else
            CHECK(getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &len) == 0);
    }
    if (e || !ret_fd)
        close(fd);
    else
        *ret_fd = fd;
    return e;
}

static void dial_ends_with(const char *ip, int port, int wanted) {
    int e = dial_errno(ip, port, NULL);
    if (e != wanted)
        fprintf(stderr, "%s:%d: errno %d, not %d\n", ip, port, e, wanted);
    CHECK(e == wanted);
}

static size_t get(const char *ip, const char *path) {
    char buf[65536];
    size_t sum = 0;
    ssize_t n;
    int fd = -1;
    CHECK(dial_errno(ip, PORT, &fd) == 0);
    CHECK(fcntl(fd, F_SETFL, 0) == 0);
    n = snprintf(buf, sizeof(buf), "GET %s HTTP/1.0\r\n\r\n", path);
    CHECK(write(fd, buf, (size_t)n) == n);
    while ((n = read(fd, buf, sizeof(buf))) > 0)
        sum += (size_t)n;
    CHECK(n == 0);
    close(fd);
    return sum;
}

static void ask_resolver(const char *question) {
    char buf[64];
    struct sockaddr_in sa = address("10.0.2.3", 53);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    CHECK(connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0);
    CHECK(send(fd, question, strlen(question), 0) > 0);
    CHECK(poll(&p, 1, WAIT_MS) == 1);
    CHECK(recv(fd, buf, sizeof(buf), 0) == (ssize_t)strlen(question));
    CHECK(memcmp(buf, question, strlen(question)) == 0);
    close(fd);
}

static void guest_blocked(void) {
    static const char *const refused[] = {"10.0.2.2",   "10.0.0.1",   "192.168.1.1",
                                          "172.16.0.1", "100.64.0.1", "192.0.2.1",
                                          OWN_ADDRESS,  "0.1.2.3",    "169.254.169.254"};
    for (size_t i = 0; i < ARRAY_LEN(refused); i++)
        dial_ends_with(refused[i], PORT, EHOSTUNREACH);
    dial_ends_with("10.0.2.3", PORT, EHOSTUNREACH);
    dial_ends_with("127.0.0.1", PORT, ECONNREFUSED); /* its own loopback */
    get(PUBLIC, "/");                                /* and still at work */
}

static void guest_world(void) {
    CHECK(get(PUBLIC, "/") > 0);
    CHECK(get(PUBLIC, "/bulk") == BULK);
    dial_ends_with(PUBLIC, PORT + 1, ECONNREFUSED);
}

static void guest_allowed(void) {
    CHECK(get("10.0.2.2", "/") > 0);
    CHECK(get(OWN_ADDRESS, "/") > 0);
    dial_ends_with("10.0.2.2", PORT + 1, ECONNREFUSED);
    dial_ends_with("169.254.169.254", PORT, EHOSTUNREACH);
    dial_ends_with("10.0.2.4", PORT, EHOSTUNREACH);
}

static void guest_dns(void) {
    ask_resolver("first");
    ask_resolver("second");
    /* From here on libslirp looks at resolv.conf anew. */
    nanosleep(&(struct timespec){.tv_sec = 1, .tv_nsec = 100000000}, NULL);
    ask_resolver("third");
    ask_resolver("fourth");
}

static void guest_greedy(void) {
    struct sockaddr_in sa = address(PUBLIC, PORT);
    CHECK(get(PUBLIC, "/") > 0); /* ARP is done: the kernel queues only few packets for it */
    for (int i = 0; i < EGRESS_SOCKETS_MAX + EGRESS_SOCKETS_MAX / 2; i++) {
        int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        CHECK(fd >= 0);
        (void)sendto(fd, "x", 1, 0, (struct sockaddr *)&sa, sizeof(sa));
    }
}

static void guest_stays(void) {
    CHECK(get(PUBLIC, "/") > 0);
    for (;;)
        pause();
}

/* ---- the host ---- */
struct host {
    struct egress *egress;
    pid_t pids[16];
    size_t n_pids;
};

static pid_t child(struct host *h) {
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid > 0)
        h->pids[h->n_pids++] = pid;
    else /* a failed check leaves nobody behind */
        CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
    return pid;
}

static void serve_one(int fd) {
    static char block[65536];
    char line[256] = "";
    ssize_t n = read(fd, line, sizeof(line) - 1);
    size_t left = n > 0 && strstr(line, "/bulk") ? BULK : 128;
    while (left > 0 && (n = write(fd, block, left < sizeof(block) ? left : sizeof(block))) > 0)
        left -= (size_t)n;
    close(fd);
}

/* A TCP server on every address of the host, and an echo on its resolver's. */
static void start_servers(struct host *h) {
    struct sockaddr_in any = address("0.0.0.0", PORT), dns = address(RESOLVER, 53);
    int tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    int udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    setsockopt(tcp, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    CHECK(bind(tcp, (struct sockaddr *)&any, sizeof(any)) == 0 && listen(tcp, 64) == 0);
    CHECK(bind(udp, (struct sockaddr *)&dns, sizeof(dns)) == 0);
    if (child(h) == 0)
        for (;;)
            serve_one(accept(tcp, NULL, NULL));
    if (child(h) == 0)
        for (;;) {
            char buf[512];
            socklen_t len = sizeof(any);
            ssize_t n = recvfrom(udp, buf, sizeof(buf), 0, (struct sockaddr *)&any, &len);
            CHECK(n < 0 || sendto(udp, buf, (size_t)n, 0, (struct sockaddr *)&any, len) == n);
        }
    close(tcp);
    close(udp);
}

static void write_text(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

static void own_host(void) {
    unsigned uid = getuid(), gid = getgid();
    char map[64];
    int how = CLONE_NEWNET | CLONE_NEWNS | (uid ? CLONE_NEWUSER : 0);
    CHECK(unshare(how) == 0);
    if (uid) {
        write_text("/proc/self/setgroups", "deny");
        snprintf(map, sizeof(map), "0 %u 1\n", uid);
        write_text("/proc/self/uid_map", map);
        snprintf(map, sizeof(map), "0 %u 1\n", gid);
        write_text("/proc/self/gid_map", map);
    }
    CHECK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
    char path[] = "/tmp/kiln-resolv-XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0 && dprintf(fd, "nameserver %s\n", RESOLVER) > 0);
    close(fd);
    CHECK(mount(path, "/etc/resolv.conf", NULL, MS_BIND, NULL) == 0);
    unlink(path);
    if_up("lo", NULL, NULL);
    if_up("lo:1", OWN_ADDRESS, "255.255.255.255");
    add_world();
}

static void host_start(struct host *h, const char *allow) {
    *h = (struct host){0};
    own_host();
    start_servers(h);
    CHECK(egress_start(exe, real_root ? NOBODY : 0, allow, &h->egress) == 0);
}

/* A guest whose tap is attached as INSTANCE, watched by pidfd or not. */
static pid_t guest(struct host *h, uint64_t instance, bool watched, void (*run)(void)) {
    int pair[2], go[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    CHECK(pipe2(go, O_CLOEXEC) == 0);
    pid_t pid = child(h);
    if (pid == 0) {
        char c;
        CHECK(unshare(CLONE_NEWNET) == 0);
        int tap = make_tap();
        send_fd(pair[1], tap);
        close(tap);
        CHECK(read(go[0], &c, 1) == 1);
        run();
        _exit(0);
    }
    int tap = recv_fd(pair[0]);
    int pidfd = watched ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
    CHECK(egress_attach(h->egress, tap, pidfd, instance) == 0);
    if (pidfd >= 0)
        close(pidfd);
    close(tap);
    CHECK(write(go[1], "", 1) == 1);
    close(pair[0]), close(pair[1]), close(go[0]), close(go[1]);
    return pid;
}

static void wait_well(pid_t pid) {
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void await_taps(struct host *h, uint64_t n) {
    struct egress_stats s;
    int64_t end = now_ms() + WAIT_MS;
    for (egress_stats(h->egress, &s); s.taps != n; egress_stats(h->egress, &s)) {
        CHECK(now_ms() < end);
        nap();
    }
}

static void host_stop(struct host *h) {
    pid_t pid = egress_pid(h->egress);
    CHECK(kill(pid, 0) == 0);
    egress_stop(h->egress);
    CHECK(kill(pid, 0) < 0 && errno == ESRCH);
    for (size_t i = 0; i < h->n_pids; i++) {
        if (waitpid(h->pids[i], NULL, WNOHANG) == 0) {
            kill(h->pids[i], SIGKILL);
            waitpid(h->pids[i], NULL, 0);
        }
    }
}

/* Runs BODY as a host of its own. */
static void as_host(void (*body)(struct host *)) {
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct host h;
        body(&h);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* ---- tests ---- */
static void blocked(struct host *h) {
    struct egress_stats s;
    host_start(h, NULL);
    wait_well(guest(h, 1, true, guest_blocked));
    egress_stats(h->egress, &s);
    CHECK(s.refused >= 10 && s.over_limit == 0);
    host_stop(h);
}

static void world(struct host *h) {
    host_start(h, "");
    pid_t a = guest(h, 1, true, guest_world), b = guest(h, 2, true, guest_world);
    wait_well(a);
    wait_well(b);
    host_stop(h);
}

static void allowed(struct host *h) {
    host_start(h, "127.0.0.1/32, 10.0.0.0/8, " OWN_ADDRESS);
    wait_well(guest(h, 1, true, guest_allowed));
    host_stop(h);
}

static void dns(struct host *h) {
    host_start(h, NULL);
    wait_well(guest(h, 1, true, guest_dns));
    host_stop(h);
}

/* The other guest is served while the greedy one is at its limit. */
static void greedy(struct host *h) {
    struct egress_stats s;
    host_start(h, NULL);
    wait_well(guest(h, 1, false, guest_greedy));
    int64_t end = now_ms() + WAIT_MS;
    do { /* what the guest left in the tap's queue is still being read */
        CHECK(now_ms() < end);
        nap();
        egress_stats(h->egress, &s);
    } while (s.sockets < EGRESS_SOCKETS_MAX || s.over_limit == 0);
    CHECK(s.sockets == EGRESS_SOCKETS_MAX);
    wait_well(guest(h, 2, true, guest_world));
    CHECK(egress_detach(h->egress, 1) == 0);
    await_taps(h, 0);
    egress_stats(h->egress, &s);
    CHECK(s.sockets == 0);
    host_stop(h);
}

static void ends(struct host *h) {
    host_start(h, NULL);
    pid_t watched = guest(h, 1, true, guest_stays), detached = guest(h, 2, false, guest_stays);
    await_taps(h, 2);
    CHECK(kill(watched, SIGKILL) == 0);
    await_taps(h, 1);
    CHECK(egress_detach(h->egress, 7) == 0); /* nobody */
    CHECK(egress_detach(h->egress, 2) == 0);
    await_taps(h, 0);
    CHECK(kill(detached, SIGKILL) == 0);
    host_stop(h);
}

static void guest_until_refused(void) {
    int64_t end = now_ms() + WAIT_MS;
    while (dial_errno(PUBLIC, PORT, NULL) != EHOSTUNREACH) {
        CHECK(now_ms() < end);
        nap();
    }
}

/* An address that the host gets later is refused from then on. */
static void new_address(struct host *h) {
    host_start(h, NULL);
    wait_well(guest(h, 1, true, guest_world));
    if_up("lo:2", PUBLIC, "255.255.255.255");
    wait_well(guest(h, 2, true, guest_until_refused));
    host_stop(h);
}

static void check_status(pid_t pid, const char *line) {
    char path[64], buf[8192];
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, buf, sizeof(buf) - 1);
    CHECK(n > 0);
    buf[n] = '\0';
    close(fd);
    if (!strstr(buf, line))
        fprintf(stderr, "missing: %s in\n%s\n", line, buf);
    CHECK(strstr(buf, line));
}

static void confined(struct host *h) {
    char path[64];
    host_start(h, NULL);
    pid_t pid = egress_pid(h->egress);
    check_status(pid, "\nCapEff:\t0000000000000000\n");
    check_status(pid, "\nCapPrm:\t0000000000000000\n");
    check_status(pid, "\nNoNewPrivs:\t1\n");
    check_status(pid, "\nSeccomp:\t2\n");
    if (real_root) { /* it may look inside */
        check_status(pid, "\nUid:\t65534\t65534\t65534\t65534\n");
        snprintf(path, sizeof(path), "/proc/%d/root/etc/resolv.conf", (int)pid);
        CHECK(access(path, F_OK) == 0);
        snprintf(path, sizeof(path), "/proc/%d/root/usr", (int)pid);
        CHECK(access(path, F_OK) < 0 && errno == ENOENT);
    }
    /* It ends by itself with its channel, and what is sent then fails. */
    CHECK(kill(pid, SIGKILL) == 0);
    CHECK(waitpid(pid, NULL, 0) == pid);
    int r = egress_detach(h->egress, 1);
    CHECK(r == -EPIPE || r == -ECONNRESET);
    egress_stop(h->egress);
    h->egress = NULL;
    for (size_t i = 0; i < h->n_pids; i++)
        kill(h->pids[i], SIGKILL);
}

static void test_blocked(void **state UNUSED) {
    as_host(blocked);
}
static void test_world(void **state UNUSED) {
    as_host(world);
}
static void test_allowed(void **state UNUSED) {
    as_host(allowed);
}
static void test_dns(void **state UNUSED) {
    as_host(dns);
}
static void test_greedy(void **state UNUSED) {
    as_host(greedy);
}
static void test_ends(void **state UNUSED) {
    as_host(ends);
}
static void test_new_address(void **state UNUSED) {
    as_host(new_address);
}
static void test_confined(void **state UNUSED) {
    as_host(confined);
}

static void test_start_errors(void **state UNUSED) {
    struct egress *e = NULL;
    assert_int_equal(egress_start(exe, NOBODY, "10.0.0.0/33", &e), -EINVAL);
    assert_int_equal(egress_start("/nonexistent/kiln-egress", NOBODY, NULL, &e), -ENOENT);
    assert_int_equal(egress_start("/bin/true", NOBODY, NULL, &e), -EPROTO);
    assert_null(e);
    egress_stop(NULL);
}

/* Meson's code for a test that this machine cannot run. */
static void skip_unless_possible(void) {
    int status, fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    pid_t pid = fork();
    if (pid == 0)
        _exit(unshare(CLONE_NEWNET | CLONE_NEWNS | (getuid() ? CLONE_NEWUSER : 0)) < 0);
    waitpid(pid, &status, 0);
    if (fd < 0 || status != 0) {
        puts("skipped: needs /dev/net/tun and namespaces");
        exit(77);
    }
    close(fd);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_start_errors), cmocka_unit_test(test_blocked),
        cmocka_unit_test(test_world),        cmocka_unit_test(test_allowed),
        cmocka_unit_test(test_dns),          cmocka_unit_test(test_greedy),
        cmocka_unit_test(test_ends),         cmocka_unit_test(test_new_address),
        cmocka_unit_test(test_confined),
    };
    ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
    for (int up = 0; n > 0 && up < 3; n--) /* build/tests/unit/test_egress_net */
        if (exe[n - 1] == '/') {
            exe[n - 1] = '\0';
            up++;
        }
    strncat(exe, "/kiln-egress", sizeof(exe) - strlen(exe) - 1);
    real_root = getuid() == 0;
    skip_unless_possible();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
