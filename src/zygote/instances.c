/* SPDX-License-Identifier: Apache-2.0 */
#include "zygote/internal.h"

/* The table of instances: fork, the child's report, the end. */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define SLOTS_STEP 64u

/* ---- slots ---- */

static void slots_grow(struct zygote *z) {
    uint32_t n = z->n_slots + SLOTS_STEP;
    z->slots = x_realloc(z->slots, n * sizeof(z->slots[0]));
    z->free_slots = x_realloc(z->free_slots, n * sizeof(z->free_slots[0]));
    for (uint32_t i = n; i-- > z->n_slots;) {
        z->slots[i] = NULL;
        z->free_slots[z->n_free++] = i;
    }
    z->n_slots = n;
}

static struct instance *instance_new(struct zygote *z, struct channel *ch, uint64_t id) {
    if (z->n_free == 0) {
        if (z->n_slots >= ZYGOTE_INSTANCES_MAX)
            return NULL;
        slots_grow(z);
    }
    struct instance *in = x_alloc(sizeof(*in));
    *in = (struct instance){
        .id = id, .slot = z->free_slots[--z->n_free], .pidfd = -1, .tap = -1, .channel = ch};
    z->slots[in->slot] = in;
    return in;
}

static void instance_free(struct zygote *z, struct instance *in) {
    if (in->pid)
        (void)map_del(&z->by_pid, MAP_KEY(in->pid));
    z->slots[in->slot] = NULL;
    z->free_slots[z->n_free++] = in->slot;
    fd_close(&in->pidfd);
    fd_close(&in->tap);
    free(in);
}

static void tell_failed(struct zygote *z, struct channel *ch, uint64_t id, int error,
                        const char *text) {
    struct zygote_msg m = {
        .op = ZYGOTE_SPAWN_FAILED, .instance = id, .error = error > 0 ? (uint32_t)error : EIO};
    (void)snprintf(m.text, sizeof(m.text), "%s", text);
    channel_send(z, ch, &m, NULL, 0);
}

/* ---- fork ---- */

static NORETURN void child_run(struct zygote *z, const struct sandbox_instance *cfg) {
    const char *step = "";
    int tap = -1;
    int r = sandbox_enter(&z->sandbox, cfg, &tap, &step);
    struct zygote_msg m = {.op = r < 0 ? ZYGOTE_SPAWN_FAILED : ZYGOTE_SPAWNED,
                           .error = (uint32_t)-r,
                           .instance = cfg->slot};
    if (r < 0)
        (void)snprintf(m.text, sizeof(m.text), "%s", step);
    if (zygote_send(z->report_out, &m, &tap, tap >= 0 ? 1 : 0) < 0 || r < 0)
        _exit(125);
    sandbox_close_rest();
    z->runtime->instance();
}

static pid_t instance_fork(struct zygote *z, const struct sandbox_instance *cfg, int *ret_pidfd) {
    if (z->runtime->before_fork)
        z->runtime->before_fork();
    pid_t pid = sandbox_clone(sandbox_clone_flags(cfg) | CLONE_PIDFD, SIGCHLD, ret_pidfd);
    if (pid == 0)
        child_run(z, cfg);
    int saved = errno;
    if (z->runtime->after_fork_parent)
        z->runtime->after_fork_parent();
    errno = saved;
    return pid;
}

/* Descriptors of a request, or -EINVAL. All are above 3, which is taken. */
static int spawn_config(const struct zygote_msg *m, const int *fds, size_t n_fds,
                        struct sandbox_instance *ret) {
    static const enum sandbox_net nets[] = {[ZYGOTE_NET_NONE] = SANDBOX_NET_NONE,
                                            [ZYGOTE_NET_EGRESS] = SANDBOX_NET_EGRESS,
                                            [ZYGOTE_NET_HOST] = SANDBOX_NET_HOST};
    if (n_fds < 3 || n_fds > 3 + SANDBOX_CGROUPS_MAX || m->net >= ARRAY_LEN(nets))
        return -EINVAL;
    *ret = (struct sandbox_instance){
        .net = nets[m->net],
        .tmp_max_mib = m->tmp_max_mib,
        .data_max = m->data_max,
        .files_max = m->files_max,
        .procs_max = m->procs_max,
        .netns_fd = -1,
        .channel_fd = fds[0],
        .out_fd = fds[1],
        .err_fd = fds[2],
        .n_cgroup_fds = n_fds - 3,
    };
    memcpy(ret->cgroup_fds, fds + 3, (n_fds - 3) * sizeof(fds[0]));
    return 0;
}

void instance_spawn(struct zygote *z, struct channel *ch, const struct zygote_msg *m,
                    const int *fds, size_t n_fds) {
    struct sandbox_instance cfg;
    const char *step = "read the request";
    int r = spawn_config(m, fds, n_fds, &cfg);
    struct instance *in = NULL;
    if (r == 0) {
        in = instance_new(z, ch, m->instance);
        step = "find a slot: too many instances";
        r = in ? 0 : -EAGAIN;
    }
    if (r == 0) {
        step = "fork into namespaces";
        cfg.slot = in->slot;
        (void)netns_take(&z->netns, m->net, &cfg.netns_fd, &in->tap);
        pid_t pid = instance_fork(z, &cfg, &in->pidfd);
        r = pid < 0 ? -errno : 0;
        in->pid = pid > 0 ? (uint64_t)pid : 0;
        fd_close(&cfg.netns_fd);
    }
    for (size_t i = 0; i < n_fds; i++)
        (void)close(fds[i]);
    if (r == 0) {
        (void)map_put(&z->by_pid, MAP_KEY(in->pid), in);
        return;
    }
    if (in)
        instance_free(z, in);
    tell_failed(z, ch, m->instance, -r, step);
}

/* ---- reports and ends ---- */

static void on_report(struct zygote *z, const struct zygote_msg *m, int tap) {
    struct instance *in = m->instance < z->n_slots ? z->slots[m->instance] : NULL;
    if (!in || in->state != INSTANCE_STARTING) {
        fd_close(&tap);
        return;
    }
    if (m->op != ZYGOTE_SPAWNED) {
        in->state = INSTANCE_FAILED;
        tell_failed(z, in->channel, in->id, (int)m->error, m->text);
        fd_close(&tap);
        return;
    }
    in->state = INSTANCE_RUNNING;
    if (tap < 0)
        tap = take_fd(&in->tap);
    struct zygote_msg answer = {.op = ZYGOTE_SPAWNED, .instance = in->id};
    int fds[2] = {fcntl(in->pidfd, F_DUPFD_CLOEXEC, 0), tap};
    if (fds[0] < 0) { /* out of descriptors: an instance nobody can hold */
        fd_close(&tap);
        in->state = INSTANCE_FAILED;
        tell_failed(z, in->channel, in->id, errno, "duplicate the pidfd");
        (void)syscall(SYS_pidfd_send_signal, in->pidfd, SIGKILL, NULL, 0);
        return;
    }
    channel_send(z, in->channel, &answer, fds, tap >= 0 ? 2 : 1);
}

void instances_reports(struct zygote *z) {
    for (;;) {
        struct zygote_msg m;
        int tap = -1;
        size_t n_fds = 1;
        int r = zygote_recv(z->report_in, &m, &tap, &n_fds);
        if (r == -EBADMSG)
            continue;
        if (r <= 0)
            return;
        on_report(z, &m, n_fds ? tap : -1);
    }
}

static uint64_t micros(struct timeval t) {
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_usec;
}

static void on_exit_of(struct zygote *z, struct instance *in, int status,
                       const struct rusage *used) {
    if (in->state == INSTANCE_STARTING)
        tell_failed(z, in->channel, in->id, ECHILD, "killed while it made its sandbox");
    if (in->state == INSTANCE_RUNNING) {
        struct zygote_msg m = {
            .op = ZYGOTE_EXITED,
            .instance = in->id,
            .wait_status = status,
            .max_rss_kib = (uint32_t)used->ru_maxrss,
            .cpu_us = micros(used->ru_utime) + micros(used->ru_stime),
        };
        channel_send(z, in->channel, &m, NULL, 0);
    }
    instance_free(z, in);
}

void instances_reap(struct zygote *z) {
    for (;;) {
        int status;
        struct rusage used;
        pid_t pid = wait4(-1, &status, WNOHANG, &used);
        if (pid < 0 && errno == EINTR)
            continue;
        if (pid <= 0)
            return;
        uint64_t key = (uint64_t)pid;
        struct instance *in = map_get(&z->by_pid, MAP_KEY(key));
        if (!in) /* a helper that the interpreter started */
            continue;
        if (in->state == INSTANCE_STARTING)
            instances_reports(z); /* what it said came before its end */
        on_exit_of(z, in, status, &used);
    }
}

void instances_orphan(struct zygote *z, const struct channel *ch) {
    for (uint32_t i = 0; i < z->n_slots; i++) {
        struct instance *in = z->slots[i];
        if (!in || in->channel != ch)
            continue;
        in->channel = NULL;
        (void)syscall(SYS_pidfd_send_signal, in->pidfd, SIGKILL, NULL, 0);
    }
}
