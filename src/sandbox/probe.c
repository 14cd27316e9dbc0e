/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/probe.h"

/* Builds a sandbox in a child, as a zygote would, and reads off where it stopped. */

#include "sandbox/launch.h"
#include "sandbox/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

/* NOLINTBEGIN(concurrency-mt-unsafe): before there are threads */

enum stage { STAGE_LAUNCH, STAGE_INSTANCE, STAGE_DONE };

struct trial {
    enum stage stage; /* that failed */
    bool root, tap;
    int error;
    char step[ZYGOTE_STEP_MAX];
};

static void tell(int fd, struct trial *t, int error, const char *step) {
    t->error = error;
    (void)snprintf(t->step, sizeof(t->step), "%s", step);
    (void)!write(fd, t, sizeof(*t));
}

/* In the instance. Its descriptor 3 is the result pipe again. */
static NORETURN void trial_instance(const struct sandbox *sb, const struct sandbox_instance *cfg,
                                    struct trial *t) {
    const char *step = "";
    int tap = -1;
    int r = sandbox_enter(sb, cfg, &tap, &step);
    t->stage = r < 0 ? STAGE_INSTANCE : STAGE_DONE;
    t->tap = tap >= 0;
    tell(SANDBOX_CHANNEL_FD, t, -r, step);
    _exit(0);
}

/* In Z: one instance, and out. */
static void trial_zygote(struct sandbox *sb, struct trial *t) {
    int fd = fcntl(SANDBOX_CHANNEL_FD, F_DUPFD_CLOEXEC, SANDBOX_CHANNEL_FD + 1);
    struct sandbox_instance cfg = {.net = SANDBOX_NET_EGRESS,
                                   .tmp_max_mib = 1,
                                   .netns_fd = -1,
                                   .channel_fd = fd,
                                   .out_fd = sb->null_fd,
                                   .err_fd = sb->null_fd};
    t->stage = STAGE_INSTANCE;
    t->root = sb->root;
    pid_t pid = sandbox_clone(sandbox_clone_flags(&cfg), SIGCHLD, NULL);
    if (pid == 0)
        trial_instance(sb, &cfg, t);
    if (pid < 0)
        tell(SANDBOX_CHANNEL_FD, t, errno, "make a network namespace");
    else
        (void)waitpid(pid, NULL, 0);
}

/* In the forked child, L. */
static NORETURN void trial_launcher(int result, int report) {
    struct trial t = {.stage = STAGE_LAUNCH};
    struct sandbox sb;
    const char *step = "";
    int high = fcntl(report, F_DUPFD_CLOEXEC, SANDBOX_CHANNEL_FD + 1);
    if (result != SANDBOX_CHANNEL_FD && dup2(result, SANDBOX_CHANNEL_FD) < 0)
        _exit(1);
    struct sandbox_config cfg = {.uid_base = ZYGOTE_UID_BASE, .report_fd = high};
    int r = sandbox_launch(&cfg, &sb, &step);
    t.root = sb.root;
    if (r < 0)
        tell(SANDBOX_CHANNEL_FD, &t, -r, step);
    else
        trial_zygote(&sb, &t);
    _exit(0);
}

static bool read_all(int fd, void *p, size_t size) {
    ssize_t n;
    do
        n = read(fd, p, size);
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)size;
}

static void try_sandbox(struct trial *ret) {
    int results[2], reports[2];
    *ret = (struct trial){.stage = STAGE_LAUNCH, .error = ECHILD, .step = "start a child"};
    if (pipe2(results, O_CLOEXEC) < 0)
        return;
    cleanup_close int result_in = results[0], result_out = results[1];
    if (pipe2(reports, O_CLOEXEC) < 0)
        return;
    cleanup_close int report_in = reports[0], report_out = reports[1];
    pid_t launcher = fork();
    if (launcher < 0)
        return;
    if (launcher == 0)
        trial_launcher(result_out, report_out);
    fd_close(&result_out);
    fd_close(&report_out);
    struct zygote_report report = {0};
    struct trial t;
    if (read_all(report_in, &report, sizeof(report)) && read_all(result_in, &t, sizeof(t))) {
        *ret = t;
        ret->step[sizeof(ret->step) - 1] = '\0';
    }
    (void)waitpid(launcher, NULL, 0);
    if (report.pid > 0)
        (void)waitpid(report.pid, NULL, 0);
}

/* ---- what it means ---- */

static const struct {
    const char *name, *key;
    bool required;
    const char *good, *bad;
} table[PROBE_COUNT] = {
    [PROBE_USER_NS] =
        {"user namespaces", "user_namespaces", true, "available",
         "not available: set the sysctls kernel.unprivileged_userns_clone=1, "
         "kernel.apparmor_restrict_unprivileged_userns=0 and "
         "user.max_user_namespaces above 0, and do not run in a chroot or a container "
         "without them"},
    [PROBE_NAMESPACES] =
        {"mount, pid, ipc and uts namespaces", "namespaces", true, "available",
         "not available: in a container, run it privileged or with "
         "--security-opt seccomp=unconfined --security-opt systempaths=unconfined"},
    [PROBE_NET_NS] = {"network namespaces", "network_namespaces", true, "available",
                      "not available: the kernel needs CONFIG_NET_NS and user.max_net_namespaces "
                      "above 0"},
    [PROBE_SECCOMP] = {"seccomp filters", "seccomp", true, "available",
                       "not available: the kernel needs CONFIG_SECCOMP_FILTER"},
    [PROBE_MEMORY] = {"memory limits", "cgroup_memory", false, "by control group", ""},
    [PROBE_CPU] = {"cpu limits", "cgroup_cpu", false, "by control group", ""},
    [PROBE_PIDS] = {"process limits", "cgroup_pids", false, "by control group", ""},
    [PROBE_TUN] = {"tap devices", "tun", false, "/dev/net/tun works: functions can have egress",
                   "no usable /dev/net/tun, so no network mode egress: modprobe tun, and for an "
                   "ordinary user chmod 0666 /dev/net/tun"},
};

static const char machine_root_step[] =
    "leave the id of the machine's root: no range of ids can be mapped";

static bool is_user_ns_step(const char *step) {
    static const char *const steps[] = {"make a user namespace",      "clone into namespaces",
                                        "write the id maps",          "take the mapped ids",
                                        "unshare the user namespace", machine_root_step};
    for (size_t i = 0; i < ARRAY_LEN(steps); i++)
        if (strcmp(step, steps[i]) == 0)
            return true;
    return false;
}

static enum probe_id culprit(const struct trial *t) {
    if (is_user_ns_step(t->step))
        return PROBE_USER_NS;
    if (strcmp(t->step, "load the seccomp filter") == 0 ||
        strcmp(t->step, "compile the seccomp filter") == 0)
        return PROBE_SECCOMP;
    if (strcmp(t->step, "make a network namespace") == 0 ||
        strcmp(t->step, "bring the loopback up") == 0)
        return PROBE_NET_NS;
    return PROBE_NAMESPACES;
}

static void judge_sandbox(struct sandbox_probe *p, const struct trial *t) {
    bool done = t->stage == STAGE_DONE;
    enum probe_id bad = culprit(t);
    for (size_t i = PROBE_USER_NS; i <= PROBE_SECCOMP; i++) {
        struct probe_item *it = &p->items[i];
        it->ok = done;
        if (done)
            (void)snprintf(it->text, sizeof(it->text), "%s", table[i].good);
        else if (i == bad)
            (void)snprintf(it->text, sizeof(it->text), "%s: %s; %s", t->step, strerror(t->error),
                           table[i].bad);
        else
            (void)snprintf(it->text, sizeof(it->text), "not reached: see %s", table[bad].name);
    }
    p->items[PROBE_TUN].ok = done && t->tap;
    (void)snprintf(p->items[PROBE_TUN].text, sizeof(p->items[PROBE_TUN].text), "%s",
                   done && t->tap ? table[PROBE_TUN].good : table[PROBE_TUN].bad);
}

static void judge_cgroups(struct sandbox_probe *p) {
    const bool has[] = {p->cgroup.has_memory, p->cgroup.has_cpu, p->cgroup.has_pids};
    for (size_t i = 0; i < ARRAY_LEN(has); i++) {
        struct probe_item *it = &p->items[PROBE_MEMORY + i];
        it->ok = has[i];
        if (has[i])
            (void)snprintf(it->text, sizeof(it->text), "%s, version %d",
                           table[PROBE_MEMORY + i].good, (int)p->cgroup.mode);
        else
            (void)snprintf(it->text, sizeof(it->text), "%s", p->cgroup.why);
    }
}

static void find_cgroups(const struct cgroup_tree *cgroups, struct cgroup_info *ret) {
    if (cgroups) {
        *ret = *cgroup_tree_info(cgroups);
        return;
    }
    char id[32];
    struct cgroup_tree *mine = NULL;
    (void)snprintf(id, sizeof(id), "probe-%d", (int)getpid());
    if (cgroup_tree_new(id, &mine) == 0)
        *ret = *cgroup_tree_info(mine);
    cgroup_tree_free(mine);
}

void sandbox_probe(const struct cgroup_tree *cgroups, struct sandbox_probe *ret) {
    struct trial t;
    *ret = (struct sandbox_probe){0};
    for (size_t i = 0; i < PROBE_COUNT; i++) {
        ret->items[i].name = table[i].name;
        ret->items[i].key = table[i].key;
        ret->items[i].required = table[i].required;
    }
    find_cgroups(cgroups, &ret->cgroup);
    try_sandbox(&t);
    ret->root = t.root;
    ret->error = t.error;
    memcpy(ret->step, t.step, sizeof(ret->step));
    judge_sandbox(ret, &t);
    judge_cgroups(ret);
    ret->ok = t.stage == STAGE_DONE;
}
/* NOLINTEND(concurrency-mt-unsafe) */
