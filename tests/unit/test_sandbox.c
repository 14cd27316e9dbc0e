/* SPDX-License-Identifier: Apache-2.0 */
/* A sandbox from the inside, and what the server sees of it. Run as root and as an ordinary user.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sandbox/cgroup.h"
#include "sandbox/launch.h"
#include "sandbox/probe.h"
#include "wire/wire.h"
#include "zygote_test.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#define WAIT_MS 20000 /* for what must come; never a measure */

static struct {
    const char *zygote_exe;
    int channel;
    pid_t pid;
    char dir[64];
    struct cgroup_tree *tree;
    struct sandbox_probe probe;
    uint64_t next_id;
} the;

static struct zygote_msg receive(int channel, int *fds, size_t *n_fds) {
    struct pollfd p = {.fd = channel, .events = POLLIN};
    struct zygote_msg m = {0};
    assert_int_equal(poll(&p, 1, WAIT_MS), 1);
    assert_int_equal(zygote_recv(channel, &m, fds, n_fds), 1);
    return m;
}

static void start_zygote(int *ret_channel, pid_t *ret_pid) {
    char step[ZYGOTE_STEP_MAX] = "";
    int r = zygote_start(the.zygote_exe, the.dir, 0, ret_channel, ret_pid, step);
    if (r < 0)
        print_error("zygote_start: %s: %s\n", step, strerror(-r));
    assert_int_equal(r, 0);
    size_t none = 0;
    struct zygote_msg m = receive(*ret_channel, NULL, &none);
    assert_int_equal(m.op, ZYGOTE_UP);
    assert_string_equal(m.text, "Test 1.0");
}

/* ---- one instance ---- */

struct inst {
    uint64_t id;
    int channel, out, pidfd, tap;
    struct cgroup *cg;
};

static struct zygote_msg ask_for(enum zygote_net net) {
    return (struct zygote_msg){.op = ZYGOTE_SPAWN,
                               .instance = ++the.next_id,
                               .net = net,
                               .tmp_max_mib = 2,
                               .files_max = 64,
                               .procs_max = 16};
}

static void request(int zygote, struct zygote_msg *m, struct inst *in) {
    int pair[2], out[2], fds[3 + CGROUP_PROCS_MAX];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    fds[0] = pair[1];
    fds[1] = fds[2] = out[1];
    size_t n = 3 + cgroup_procs_fds(in->cg, fds + 3);
    assert_int_equal(zygote_send(zygote, m, fds, n), 0);
    (void)close(pair[1]);
    (void)close(out[1]);
    in->id = m->instance;
    in->channel = pair[0];
    in->out = out[0];
    in->pidfd = in->tap = -1;
}

static void spawned(int zygote, struct inst *in) {
    int fds[2] = {-1, -1};
    size_t n = 2;
    struct zygote_msg m = receive(zygote, fds, &n);
    if (m.op != ZYGOTE_SPAWNED)
        print_error("op %u: %s: %s\n", m.op, m.text, strerror((int)m.error));
    assert_int_equal(m.op, ZYGOTE_SPAWNED);
    assert_int_equal(m.instance, in->id);
    in->pidfd = fds[0];
    in->tap = n > 1 ? fds[1] : -1;
}

static struct inst spawn(enum zygote_net net, struct cgroup *cg) {
    struct inst in = {.cg = cg};
    struct zygote_msg m = ask_for(net);
    request(the.channel, &m, &in);
    spawned(the.channel, &in);
    return in;
}

static struct zygote_msg exited(struct inst *in) {
    size_t none = 0;
    struct zygote_msg m = receive(the.channel, NULL, &none);
    assert_int_equal(m.op, ZYGOTE_EXITED);
    assert_int_equal(m.instance, in->id);
    return m;
}

static void close_inst(struct inst *in) {
    fd_close(&in->channel);
    fd_close(&in->out);
    fd_close(&in->pidfd);
    fd_close(&in->tap);
}

static void end(struct inst *in) {
    assert_int_equal(syscall(SYS_pidfd_send_signal, in->pidfd, SIGKILL, NULL, 0), 0);
    struct zygote_msg m = exited(in);
    assert_true(WIFSIGNALED(m.wait_status) && WTERMSIG(m.wait_status) == SIGKILL);
    close_inst(in);
}

static void tell(struct inst *in, const struct ask *a) {
    assert_int_equal(send(in->channel, a, sizeof(*a), MSG_NOSIGNAL), sizeof(*a));
}

static struct reply ask(struct inst *in, const struct ask *a) {
    static struct reply r;
    tell(in, a);
    assert_int_equal(recv(in->channel, &r, sizeof(r), MSG_WAITALL), sizeof(r));
    return r;
}

static struct reply ask_path(struct inst *in, enum ask_what what, const char *path, uint64_t n) {
    struct ask a = {.what = what, .number = n};
    (void)snprintf(a.path, sizeof(a.path), "%s", path);
    return ask(in, &a);
}

static int call(struct inst *in, long nr, uint64_t a, uint64_t b, uint64_t c) {
    return ask(in, &(struct ask){.what = ASK_SYSCALL, .number = (uint64_t)nr, .args = {a, b, c}})
        .error;
}

static void has_line(const char *text, const char *line) {
    if (!strstr(text, line))
        print_error("no \"%s\" in:\n%s\n", line, text);
    assert_non_null(strstr(text, line));
}

/* ---- set up ---- */

static int setup(void **state UNUSED) {
    (void)snprintf(the.dir, sizeof(the.dir), "/tmp/kiln-test-sandbox-%d", (int)getpid());
    assert_int_equal(mkdir(the.dir, 0755), 0);
    char file[96];
    (void)snprintf(file, sizeof(file), "%s/marker", the.dir);
    int fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    (void)close(fd);
    char id[32];
    (void)snprintf(id, sizeof(id), "test-%d", (int)getpid());
    assert_int_equal(cgroup_tree_new(id, &the.tree), 0);
    sandbox_probe(the.tree, &the.probe);
    start_zygote(&the.channel, &the.pid);
    return 0;
}

/* Folders of our tree, wherever it was made. */
static size_t cgroups_left(void) {
    char pattern[256] = "/sys/fs/cgroup/";
    size_t left = 0;
    for (int depth = 0; depth < 6; depth++, strcat(pattern, "*/")) {
        char full[320];
        glob_t found = {0};
        (void)snprintf(full, sizeof(full), "%skiln-*-%d", pattern, (int)getpid());
        if (glob(full, GLOB_NOSORT, NULL, &found) == 0)
            left += found.gl_pathc;
        globfree(&found);
    }
    return left;
}

static int teardown(void **state UNUSED) {
    int status;
    if (the.pid > 0)
        (void)close(the.channel);
    pid_t ended = waitpid(the.pid > 0 ? the.pid : -1, &status, 0);
    bool trees = cgroup_tree_info(the.tree)->mode != CGROUP_NONE;
    assert_true(!trees || cgroups_left() > 0);
    cgroup_tree_free(the.tree);
    assert_int_equal(cgroups_left(), 0);
    char file[96];
    (void)snprintf(file, sizeof(file), "%s/marker", the.dir);
    (void)unlink(file);
    (void)rmdir(the.dir);
    assert_int_equal(ended, the.pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return 0;
}

/* ---- tests ---- */

static void test_no_rights(void **state UNUSED) {
    struct inst in = spawn(ZYGOTE_NET_NONE, NULL);
    struct reply r = ask_path(&in, ASK_READ, "/proc/self/status", 0);
    has_line(r.text, "\nPid:\t1\n");
    has_line(r.text, "\nUid:\t1000\t1000\t1000\t1000\n");
    has_line(r.text, "\nGid:\t1000\t1000\t1000\t1000\n");
    has_line(r.text, "\nCapInh:\t0000000000000000\n");
    has_line(r.text, "\nCapPrm:\t0000000000000000\n");
    has_line(r.text, "\nCapEff:\t0000000000000000\n");
    has_line(r.text, "\nCapBnd:\t0000000000000000\n");
    has_line(r.text, "\nCapAmb:\t0000000000000000\n");
    has_line(r.text, "\nNoNewPrivs:\t1\n");
    has_line(r.text, "\nSeccomp:\t2\n");
    has_line(r.text, "\nSigBlk:\t0000000000000000\n");
    assert_int_equal(ask(&in, &(struct ask){.what = ASK_DESCRIPTORS}).number, 0xf);
    end(&in);
}

static void test_refused_calls(void **state UNUSED) {
    static const long refused[] = {SYS_mount,
                                   SYS_umount2,
                                   SYS_unshare,
                                   SYS_setns,
                                   SYS_pivot_root,
                                   SYS_chroot,
                                   SYS_ptrace,
                                   SYS_bpf,
                                   SYS_perf_event_open,
                                   SYS_userfaultfd,
                                   SYS_keyctl,
                                   SYS_add_key,
                                   SYS_process_vm_readv,
                                   SYS_open_by_handle_at,
                                   SYS_kexec_load,
                                   SYS_init_module,
                                   SYS_reboot,
                                   SYS_quotactl};
    struct inst in = spawn(ZYGOTE_NET_NONE, NULL);
    for (size_t i = 0; i < ARRAY_LEN(refused); i++)
        assert_int_equal(call(&in, refused[i], 0, 0, 0), EPERM);
    assert_int_equal(call(&in, SYS_io_uring_setup, 1, 0, 0), ENOSYS);
    assert_int_equal(call(&in, SYS_clone3, 0, 0, 0), ENOSYS);
    assert_int_equal(call(&in, SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0), EPERM);
    assert_int_equal(call(&in, SYS_personality, 0x0040000 /* ADDR_NO_RANDOMIZE */, 0, 0), EPERM);
    assert_int_equal(call(&in, SYS_ioctl, 0, TIOCSTI, 0), EPERM);
    assert_int_equal(call(&in, SYS_ioctl, 0, TIOCSTI | (1ull << 32), 0), EPERM);
    assert_int_equal(call(&in, SYS_ioctl, 0, TIOCLINUX, 0), EPERM);
    assert_int_equal(call(&in, SYS_ioctl, 0, TCGETS, 0), ENOTTY);
    assert_int_equal(call(&in, SYS_socket, AF_PACKET, SOCK_RAW, 0), EAFNOSUPPORT);
    assert_int_equal(call(&in, SYS_socket, AF_VSOCK, SOCK_STREAM, 0), EAFNOSUPPORT);
    assert_int_equal(call(&in, SYS_socket, AF_ALG, SOCK_SEQPACKET, 0), EAFNOSUPPORT);
    assert_int_equal(call(&in, SYS_socket, AF_NETLINK, SOCK_RAW, 12 /* NETFILTER */),
                     EPROTONOSUPPORT);
    assert_int_equal(call(&in, SYS_socket, AF_NETLINK, SOCK_RAW, 0), 0);
    assert_int_equal(call(&in, SYS_socket, AF_INET6, SOCK_STREAM, 0), 0);
    assert_int_equal(call(&in, 1023, 0, 0, 0), ENOSYS);
    assert_int_equal(call(&in, SYS_getpid, 0, 0, 0), 0);
    assert_int_equal(call(&in, SYS_setuid, 0, 0, 0), EINVAL); /* 0 is nobody's id here */
    end(&in);
}

/* The 32-bit calls have other numbers: whoever makes one is killed. */
static void test_other_abi(void **state UNUSED) {
#ifndef __x86_64__
    skip();
#endif
    struct inst in = spawn(ZYGOTE_NET_NONE, NULL);
    tell(&in, &(struct ask){.what = ASK_OTHER_ABI});
    struct zygote_msg m = exited(&in);
    assert_true(WIFSIGNALED(m.wait_status) && WTERMSIG(m.wait_status) == SIGSYS);
    close_inst(&in);
    in = spawn(ZYGOTE_NET_NONE, NULL);
    tell(&in, &(struct ask){.what = ASK_SYSCALL, .number = 0x40000000 | 39}); /* x32 */
    m = exited(&in);
    assert_true(WIFSIGNALED(m.wait_status) && WTERMSIG(m.wait_status) == SIGSYS);
    close_inst(&in);
}

static void test_root_is_read_only_and_bare(void **state UNUSED) {
    static const char *const absent[] = {"/etc/shadow", "/home",    "/root",   "/var",
                                         "/srv",        "/boot",    "/sys",    "/mnt",
                                         "/dev/kmsg",   "/dev/mem", "/etc/ssh"};
    static const char *const read_only[] = {"/x",          "/usr/x",      "/etc/x",
                                            "/etc/passwd", "/opt/kiln/x", "/app/x",
                                            "/dev/x",      "/run/x",      "/opt/kiln/marker"};
    struct inst in = spawn(ZYGOTE_NET_NONE, NULL);
    for (size_t i = 0; i < ARRAY_LEN(absent); i++)
        assert_int_equal(ask_path(&in, ASK_READ, absent[i], 0).error, ENOENT);
    for (size_t i = 0; i < ARRAY_LEN(read_only); i++) {
        int e = ask_path(&in, ASK_WRITE, read_only[i], 1).error;
        assert_true(e == EROFS || e == EACCES);
    }
    assert_int_equal(ask_path(&in, ASK_READ, "/opt/kiln/marker", 0).error, 0);
    assert_int_equal(ask_path(&in, ASK_READ, "/usr/bin/env", 0).error, 0);
    assert_int_equal(ask_path(&in, ASK_WRITE, "/dev/null", 1).error, 0);
    assert_true(ask_path(&in, ASK_READ, "/dev/urandom", 0).number > 0);
    has_line(ask_path(&in, ASK_READ, "/etc/resolv.conf", 0).text, "nameserver 10.0.2.3");
    has_line(ask_path(&in, ASK_READ, "/etc/passwd", 0).text, "kiln:x:1000:1000:");
    /* Nothing of the host shows through the mounts either. */
    assert_null(strstr(ask_path(&in, ASK_READ, "/proc/self/mountinfo", 0).text, "/home"));
    assert_int_not_equal(ask_path(&in, ASK_WRITE, "/proc/sys/kernel/hostname", 1).error, 0);
    assert_int_not_equal(ask_path(&in, ASK_WRITE, "/proc/sysrq-trigger", 1).error, 0);
    end(&in);
}

static void test_tmp_is_private_and_bounded(void **state UNUSED) {
    struct inst a = spawn(ZYGOTE_NET_NONE, NULL), b = spawn(ZYGOTE_NET_NONE, NULL);
    assert_int_equal(ask_path(&a, ASK_WRITE, "/tmp/mine", 4096).error, 0);
    assert_string_equal(ask_path(&b, ASK_LIST, "/tmp", 0).text, "");
    struct reply r = ask_path(&a, ASK_WRITE, "/tmp/big", 8 * MIB);
    assert_int_equal(r.error, ENOSPC);
    assert_true(r.number <= (int64_t)(2 * MIB));
    assert_int_equal(ask_path(&b, ASK_WRITE, "/dev/shm/x", 4096).error, 0);
    end(&a);
    end(&b);
}

static void test_sees_only_itself(void **state UNUSED) {
    struct inst other = spawn(ZYGOTE_NET_NONE, NULL), in = spawn(ZYGOTE_NET_NONE, NULL);
    struct reply r = ask_path(&in, ASK_LIST, "/proc", 0);
    size_t pids = 0;
    for (char *save = NULL, *w = strtok_r(r.text, " ", &save); w; w = strtok_r(NULL, " ", &save))
        pids += w[0] >= '0' && w[0] <= '9';
    assert_int_equal(pids, 1);
    assert_int_equal(call(&in, SYS_kill, (uint64_t)the.pid, 0, 0), ESRCH);
    end(&in);
    end(&other);
}

static void test_processes_are_bounded(void **state UNUSED) {
    struct inst in = spawn(ZYGOTE_NET_NONE, NULL); /* by RLIMIT_NPROC: no cgroup */
    struct reply r = ask(&in, &(struct ask){.what = ASK_FORK_BOMB, .number = 100});
    assert_int_equal(r.error, EAGAIN);
    assert_int_equal(r.number, 15);
    /* The others are not held to it. */
    struct inst other = spawn(ZYGOTE_NET_NONE, NULL);
    assert_int_equal(ask(&other, &(struct ask){.what = ASK_FORK_BOMB, .number = 4}).number, 4);
    end(&other);
    end(&in);
}

static void test_kill_takes_the_whole_tree(void **state UNUSED) {
    struct inst in = spawn(ZYGOTE_NET_NONE, NULL);
    char c;
    for (int i = 0; i < 4; i++)
        assert_int_equal(ask(&in, &(struct ask){.what = ASK_HIDE}).error, 0);
    assert_int_equal(syscall(SYS_pidfd_send_signal, in.pidfd, SIGKILL, NULL, 0), 0);
    struct zygote_msg m = exited(&in);
    assert_int_equal(WTERMSIG(m.wait_status), SIGKILL);
    assert_true(m.max_rss_kib > 0);
    /* Nobody is left who could write: EXITED means that they are gone already. */
    assert_int_equal(fcntl(in.out, F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(read(in.out, &c, 1), 0);
    close_inst(&in);
}

static void test_ends_are_told_apart(void **state UNUSED) {
    struct inst in = spawn(ZYGOTE_NET_NONE, NULL);
    tell(&in, &(struct ask){.what = ASK_EXIT, .number = 7});
    struct zygote_msg m = exited(&in);
    assert_true(WIFEXITED(m.wait_status) && WEXITSTATUS(m.wait_status) == 7);
    close_inst(&in);
    in = spawn(ZYGOTE_NET_NONE, NULL);
    tell(&in, &(struct ask){.what = ASK_ABORT});
    assert_true(WIFSIGNALED(exited(&in).wait_status)); /* process 1 dies of its own abort too */
    close_inst(&in);
}

static void test_networks(void **state UNUSED) {
    struct inst in = spawn(ZYGOTE_NET_NONE, NULL);
    struct reply r = ask_path(&in, ASK_READ, "/proc/net/dev", 0);
    assert_null(strstr(r.text, "eth"));
    has_line(r.text, " lo:");
    end(&in);
    in = spawn(ZYGOTE_NET_EGRESS, NULL);
    assert_int_equal(in.tap >= 0, the.probe.items[PROBE_TUN].ok);
    if (in.tap >= 0) {
        has_line(ask_path(&in, ASK_READ, "/proc/net/dev", 0).text, "eth0:");
        has_line(ask_path(&in, ASK_READ, "/proc/net/route", 0).text,
                 "eth0\t00000000\t0202000A\t0003");
        has_line(ask_path(&in, ASK_READ, "/proc/net/fib_trie", 0).text, "10.0.2.15");
        assert_int_not_equal(ask_path(&in, ASK_WRITE, "/dev/net/tun", 1).error, 0);
    }
    end(&in);
    in = spawn(ZYGOTE_NET_HOST, NULL);
    char own[4096] = "";
    int fd = open("/etc/resolv.conf", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        (void)!read(fd, own, sizeof(own) - 1);
        (void)close(fd);
    }
    assert_string_equal(ask_path(&in, ASK_READ, "/etc/resolv.conf", 0).text, own);
    end(&in);
}

static void test_data_limit(void **state UNUSED) {
    struct inst in = {0};
    struct zygote_msg m = ask_for(ZYGOTE_NET_NONE);
    m.data_max = 64 * MIB;
    request(the.channel, &m, &in);
    spawned(the.channel, &in);
    has_line(ask_path(&in, ASK_READ, "/proc/self/limits", 0).text,
             "Max data size             67108864");
    has_line(ask_path(&in, ASK_READ, "/proc/self/oom_score_adj", 0).text, "500");
    has_line(ask_path(&in, ASK_READ, "/proc/self/environ", 0).text, "PATH=");
    has_line(ask_path(&in, ASK_READ, "/proc/sys/kernel/hostname", 0).text, "kiln");
    has_line(ask_path(&in, ASK_READ, "/proc/self/limits", 0).text, "Max core file size        0  ");
    tell(&in, &(struct ask){.what = ASK_EAT, .number = 128 * MIB}); /* mmap fails: survives */
    struct reply r;
    assert_int_equal(recv(in.channel, &r, sizeof(r), MSG_WAITALL), sizeof(r));
    end(&in);
}

static void test_bad_requests(void **state UNUSED) {
    struct inst in = {0};
    struct zygote_msg m = ask_for((enum zygote_net)9);
    request(the.channel, &m, &in);
    size_t none = 0;
    m = receive(the.channel, NULL, &none);
    assert_int_equal(m.op, ZYGOTE_SPAWN_FAILED);
    assert_int_equal(m.instance, in.id);
    assert_int_equal(m.error, EINVAL);
    close_inst(&in);
}

/* Cgroup files that cannot be written are a failed spawn with its step, not a half sandbox. */
static void test_failing_step(void **state UNUSED) {
    int pair[2], out[2];
    struct zygote_msg m = ask_for(ZYGOTE_NET_NONE);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    int fds[] = {pair[1], out[1], out[1], out[0]}; /* a pipe's reading end takes no "0" */
    assert_int_equal(zygote_send(the.channel, &m, fds, 4), 0);
    size_t none = 0;
    struct zygote_msg a = receive(the.channel, NULL, &none);
    assert_int_equal(a.op, ZYGOTE_SPAWN_FAILED);
    assert_int_equal(a.error, EBADF);
    assert_string_equal(a.text, "join the cgroups");
    for (size_t i = 0; i < 2; i++) {
        (void)close(pair[i]);
        (void)close(out[i]);
    }
}

static void test_memory_kill(void **state UNUSED) {
    if (!cgroup_tree_info(the.tree)->has_memory)
        skip();
    struct cgroup *cg;
    uint64_t ooms = 99, cpu, peak;
    assert_int_equal(cgroup_new(the.tree, "memory", &cg), 0);
    assert_int_equal(cgroup_limits(cg, 32 * MIB, 500, 10), 0);
    for (int round = 0; round < 2; round++) {
        struct inst in = spawn(ZYGOTE_NET_NONE, cg);
        assert_int_equal(cgroup_oom_kills(cg, &ooms), 0);
        assert_int_equal(ooms, 0);
        assert_int_equal(cgroup_reset(cg), -EBUSY);
        tell(&in, &(struct ask){.what = ASK_EAT, .number = 256 * MIB});
        struct zygote_msg m = exited(&in);
        assert_true(WIFSIGNALED(m.wait_status) && WTERMSIG(m.wait_status) == SIGKILL);
        assert_int_equal(cgroup_oom_kills(cg, &ooms), 0);
        assert_true(ooms >= 1);
        assert_int_equal(cgroup_usage(cg, &cpu, &peak), 0);
        assert_true(peak <= 32 * MIB);
        close_inst(&in);
        assert_int_equal(cgroup_reset(cg), 0); /* the second round starts at 0 again */
    }
    assert_int_equal(cgroup_limits(cg, 64 * MIB, 0, 0), 0);    /* up */
    assert_int_equal(cgroup_limits(cg, 16 * MIB, 2000, 4), 0); /* down */
    cgroup_free(cg);
}

static void test_pids_limit_and_cgroup_kill(void **state UNUSED) {
    if (!cgroup_tree_info(the.tree)->has_pids)
        skip();
    struct cgroup *cg, *again;
    assert_int_equal(cgroup_new(the.tree, "pids", &cg), 0);
    assert_int_equal(cgroup_new(the.tree, "pids", &again), -EEXIST);
    assert_int_equal(cgroup_new(the.tree, "../x", &again), -EINVAL);
    assert_int_equal(cgroup_limits(cg, 0, 0, 5), 0);
    struct inst in = spawn(ZYGOTE_NET_NONE, cg);
    struct reply r = ask(&in, &(struct ask){.what = ASK_FORK_BOMB, .number = 100});
    assert_int_equal(r.error, EAGAIN);
    assert_int_equal(r.number, 4);
    assert_int_equal(cgroup_kill(cg), 0);
    struct zygote_msg m = exited(&in);
    assert_int_equal(WTERMSIG(m.wait_status), SIGKILL);
    close_inst(&in);
    assert_int_equal(cgroup_reset(cg), 0);
    cgroup_free(cg);
}

/* What a dead server left in a tree of the same id is killed and removed. */
static void test_stale_tree(void **state UNUSED) {
    if (cgroup_tree_info(the.tree)->mode == CGROUP_NONE)
        skip();
    struct cgroup_tree *old, *tree;
    struct cgroup *cg, *fresh;
    char id[32];
    (void)snprintf(id, sizeof(id), "stale-%d", (int)getpid());
    assert_int_equal(cgroup_tree_new(id, &old), 0);
    assert_int_equal(cgroup_new(old, "left", &cg), 0);
    struct inst in = spawn(ZYGOTE_NET_NONE, cg);
    assert_int_equal(cgroup_tree_new(id, &tree), 0);
    assert_int_equal(WTERMSIG(exited(&in).wait_status), SIGKILL);
    close_inst(&in);
    cgroup_free(cg);
    assert_int_equal(cgroup_new(tree, "left", &fresh), 0);
    cgroup_free(fresh);
    cgroup_tree_free(tree);
    cgroup_tree_free(old);
}

/* A second channel's instances are its own and end with it; the zygote goes on. */
static void test_attached_channel(void **state UNUSED) {
    int pair[2];
    char c;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    struct zygote_msg m = {.op = ZYGOTE_ATTACH};
    assert_int_equal(zygote_send(the.channel, &m, &pair[1], 1), 0);
    (void)close(pair[1]);
    struct inst in = {0}, other = spawn(ZYGOTE_NET_NONE, NULL);
    m = ask_for(ZYGOTE_NET_NONE);
    request(pair[0], &m, &in);
    spawned(pair[0], &in);
    (void)close(pair[0]);
    struct pollfd p = {.fd = in.out, .events = POLLIN};
    assert_int_equal(poll(&p, 1, WAIT_MS), 1);
    assert_int_equal(read(in.out, &c, 1), 0); /* gone */
    close_inst(&in);
    assert_int_equal(ask(&other, &(struct ask){.what = ASK_DESCRIPTORS}).number, 0xf);
    end(&other);
}

/* Answers wait when nobody reads them, and none is lost. */
static void test_many_at_once(void **state UNUSED) {
    enum { MANY = 200 };
    static struct inst in[MANY];
    size_t up = 0, gone = 0;
    for (size_t i = 0; i < MANY; i++) {
        struct zygote_msg m = ask_for(ZYGOTE_NET_NONE);
        struct pollfd p = {.fd = the.channel, .events = POLLOUT};
        assert_int_equal(poll(&p, 1, WAIT_MS), 1);
        request(the.channel, &m, &in[i]);
        tell(&in[i], &(struct ask){.what = ASK_EXIT});
    }
    while (gone < MANY) {
        int fds[2];
        size_t n = 2;
        struct zygote_msg m = receive(the.channel, fds, &n);
        assert_true(m.op == ZYGOTE_SPAWNED || m.op == ZYGOTE_EXITED);
        up += m.op == ZYGOTE_SPAWNED;
        gone += m.op == ZYGOTE_EXITED;
        if (n)
            (void)close(fds[0]);
    }
    assert_int_equal(up, MANY);
    for (size_t i = 0; i < MANY; i++)
        close_inst(&in[i]);
}

/* The zygote and its instances end with its first channel, and with the process that started it. */
static void test_dies_with_its_channel(void **state UNUSED) {
    int channel, status;
    pid_t pid;
    char c;
    struct inst in = {0};
    struct zygote_msg m = ask_for(ZYGOTE_NET_NONE);
    start_zygote(&channel, &pid);
    request(channel, &m, &in);
    spawned(channel, &in);
    (void)close(channel);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(read(in.out, &c, 1), 0);
    close_inst(&in);
}

static void test_dies_with_its_server(void **state UNUSED) {
    int out[2], status;
    char c;
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    pid_t server = fork();
    if (server == 0) {
        int channel;
        pid_t pid;
        char step[ZYGOTE_STEP_MAX];
        if (zygote_start(the.zygote_exe, the.dir, 0, &channel, &pid, step) < 0)
            _exit(1);
        struct zygote_msg m = ask_for(ZYGOTE_NET_NONE);
        int fds[] = {out[1], out[1], out[1]};
        if (zygote_send(channel, &m, fds, 3) < 0)
            _exit(1);
        int got[2];
        size_t n = 2;
        struct pollfd p = {.fd = channel, .events = POLLIN};
        do
            n = 2;
        while (poll(&p, 1, WAIT_MS) == 1 && zygote_recv(channel, &m, got, &n) == 1 &&
               m.op != ZYGOTE_SPAWNED);
        (void)kill(getpid(), SIGKILL);
    }
    (void)close(out[1]);
    assert_int_equal(waitpid(server, &status, 0), server);
    assert_true(WIFSIGNALED(status));
    struct pollfd p = {.fd = out[0], .events = POLLIN};
    assert_int_equal(poll(&p, 1, WAIT_MS), 1);
    assert_int_equal(read(out[0], &c, 1), 0); /* no writer is left */
    (void)close(out[0]);
}

static void test_start_fails_clearly(void **state UNUSED) {
    int channel;
    pid_t pid;
    char step[ZYGOTE_STEP_MAX] = "";
    assert_int_equal(zygote_start("/nonexistent", the.dir, 0, &channel, &pid, step), -ENOENT);
    assert_string_equal(step, "execute the zygote");
    assert_int_equal(zygote_start(the.zygote_exe, "/nonexistent", 0, &channel, &pid, step),
                     -ENOENT);
    assert_string_equal(step, "open the runtimes folder");
    assert_int_equal(waitpid(-1, NULL, WNOHANG | __WALL), 0); /* only the.pid is left */
}

static void test_probe(void **state UNUSED) {
    for (size_t i = 0; i < PROBE_COUNT; i++) {
        print_message("  %-34s %-3s %s\n", the.probe.items[i].name,
                      the.probe.items[i].ok ? "yes" : "no", the.probe.items[i].text);
        assert_true(the.probe.items[i].text[0] != '\0');
    }
    assert_true(the.probe.ok);
    assert_true(the.probe.root == (geteuid() == 0) || getenv("KILN_TEST_NESTED"));
}

/* As root the suite is run a second time so; nobody's id has no group and no capability. */
static int become_user(void) {
    const gid_t gid = 65534;
    const uid_t uid = 65534;
    if (geteuid() != 0)
        return 0;
    return setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0
               ? -errno
               : 0;
}

/* test_sandbox ZYGOTE_EXE [as-user] */
int main(int argc, char **argv) {
    if (argc < 2)
        return 2;
    the.zygote_exe = argv[1];
    if (argc > 2 && become_user() < 0)
        return 1;
    if (access(the.zygote_exe, X_OK) < 0)
        return 77; /* skipped: a build folder that only root may enter */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_probe),
        cmocka_unit_test(test_no_rights),
        cmocka_unit_test(test_refused_calls),
        cmocka_unit_test(test_other_abi),
        cmocka_unit_test(test_root_is_read_only_and_bare),
        cmocka_unit_test(test_tmp_is_private_and_bounded),
        cmocka_unit_test(test_sees_only_itself),
        cmocka_unit_test(test_processes_are_bounded),
        cmocka_unit_test(test_kill_takes_the_whole_tree),
        cmocka_unit_test(test_ends_are_told_apart),
        cmocka_unit_test(test_networks),
        cmocka_unit_test(test_data_limit),
        cmocka_unit_test(test_bad_requests),
        cmocka_unit_test(test_failing_step),
        cmocka_unit_test(test_memory_kill),
        cmocka_unit_test(test_pids_limit_and_cgroup_kill),
        cmocka_unit_test(test_stale_tree),
        cmocka_unit_test(test_attached_channel),
        cmocka_unit_test(test_many_at_once),
        cmocka_unit_test(test_dies_with_its_channel),
        cmocka_unit_test(test_dies_with_its_server),
        cmocka_unit_test(test_start_fails_clearly),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
