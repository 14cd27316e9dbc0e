/* SPDX-License-Identifier: Apache-2.0 */
/* CPU time and memory of instances, off the path of calls: an instance that takes a call is put on
 * its loop's list of those to look at, and a timer walks that list, a few a turn. */

#include "base/clock.h"
#include "engine/internal.h"
#include <fcntl.h>
#include <stdio.h>

static void arm(struct engine_loop *el) {
    if (!loop_timer_is_set(&el->usage_timer))
        loop_timer_set(el->loop, &el->usage_timer,
                       loop_now_ns(el->loop) + ENGINE_USAGE_MS * NS_PER_MS);
}

static void list_move_all(struct list *to, struct list *from) {
    for (struct list *node; (node = list_shift(from));)
        list_push(to, node);
}

void usage_worked(struct instance *inst) {
    if (!list_empty(&inst->used))
        return;
    list_push(&inst->el->used, &inst->used);
    arm(inst->el);
}

/* ---- one instance ---- */

struct used {
    uint64_t cpu_us, now_bytes, peak_bytes;
};

static bool read_text(const char *path, char *out, size_t size) {
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, out, size - 1);
    out[n > 0 ? n : 0] = 0;
    return n > 0;
}

static pid_t pid_of(int pidfd) {
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", pidfd);
    const char *at = read_text(path, text, sizeof text) ? strstr(text, "\nPid:") : NULL;
    return at ? (pid_t)strtol(at + 5, NULL, 10) : -1;
}

/* The first process with those of its children that it has waited for; proc(5). */
static void look_at_process(const struct instance *inst, struct used *u) {
    char path[64], text[2048];
    pid_t pid = inst->pidfd >= 0 ? pid_of(inst->pidfd) : -1;
    if (pid <= 0)
        return;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    const char *rest = read_text(path, text, sizeof text) ? strrchr(text, ')') : NULL;
    unsigned long long user, system, user_children, system_children;
    long long rss;
    if (!rest || sscanf(rest,
                        ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %llu %llu"
                        " %*d %*d %*d %*d %*u %*u %lld",
                        &user, &system, &user_children, &system_children, &rss) != 5)
        return;
    uint64_t tick_us = 1000000u / (uint64_t)sysconf(_SC_CLK_TCK);
    u->cpu_us = (user + system + user_children + system_children) * tick_us;
    u->now_bytes = rss > 0 ? (uint64_t)rss * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
    u->peak_bytes = u->now_bytes;
}

static void look_at_group(const struct instance *inst, struct used *u) {
    uint64_t cpu, peak, now = 0;
    if (cgroup_usage(inst->cgroup, &cpu, &peak) < 0)
        return;
    if (cgroup_counts_cpu(inst->cgroup))
        u->cpu_us = cpu;
    if (cgroup_memory(inst->cgroup, &now) == 0)
        u->now_bytes = now;
    if (peak || now)
        u->peak_bytes = peak > now ? peak : now;
}

static bool counts_all(const struct instance *inst) {
    const struct cgroup_info *has = &inst->el->engine->limits;
    return inst->cgroup && cgroup_counts_cpu(inst->cgroup) && has->has_memory;
}

static void tell(struct instance *inst, const struct used *u, bool end) {
    struct engine *e = inst->el->engine;
    struct engine_usage delta = {.memory_peak_bytes = u->peak_bytes};
    int64_t now = end ? 0 : (int64_t)u->now_bytes;
    delta.cpu_us = u->cpu_us > inst->cpu_us ? u->cpu_us - inst->cpu_us : 0;
    delta.memory_bytes = now - inst->memory_bytes;
    inst->cpu_us += delta.cpu_us;
    inst->memory_bytes = now;
    if (e->config.on_usage && inst->pool)
        e->config.on_usage(e->config.user, inst->el->loop, inst->pool->deployment, &delta);
}

/* What a spare has used to get ready is nobody's: a Node.js takes longer to start than most
 * functions run. */
void usage_begins(struct instance *inst) {
    struct used u = {0};
    if (!counts_all(inst))
        look_at_process(inst, &u);
    if (inst->cgroup)
        look_at_group(inst, &u);
    inst->cpu_us = u.cpu_us;
}

static void look(struct instance *inst) {
    struct used u = {0};
    list_del(&inst->used);
    if (!inst->pool || inst->state == INST_DYING)
        return; /* its end is told of by itself */
    if (!counts_all(inst))
        look_at_process(inst, &u);
    if (inst->cgroup)
        look_at_group(inst, &u);
    tell(inst, &u, false);
    if (inst->state == INST_BUSY)
        usage_worked(inst); /* and goes on working */
}

void usage_ended(struct instance *inst) {
    struct used u = {0};
    list_del(&inst->used);
    if (!inst->pool)
        return;
    u.cpu_us = inst->end_cpu_us;
    u.peak_bytes = inst->end_peak_bytes;
    if (inst->cgroup) /* tells of processes too that nobody has waited for */
        look_at_group(inst, &u);
    if (u.cpu_us < inst->end_cpu_us)
        u.cpu_us = inst->end_cpu_us;
    tell(inst, &u, true);
}

/* ---- all of a loop ---- */

static void usage_fired(struct loop_timer *timer) {
    struct engine_loop *el = container_of(timer, struct engine_loop, usage_timer);
    if (list_empty(&el->looking)) /* a new round: those that work on are for the next one */
        list_move_all(&el->looking, &el->used);
    for (uint32_t n = 0; n < ENGINE_USAGE_TURN && !list_empty(&el->looking); n++)
        look(list_entry(el->looking.next, struct instance, used));
    if (!list_empty(&el->looking)) {
        loop_timer_set(el->loop, timer, loop_now_ns(el->loop) + ENGINE_USAGE_PAUSE_MS * NS_PER_MS);
    } else {
        loop_timer_clear(el->loop, timer);
        if (!list_empty(&el->used))
            arm(el);
    }
}

static bool is_of(const struct instance *inst, uint32_t function_no) {
    return function_no == 0 || (inst->pool && inst->pool->deployment->function->no == function_no);
}

void engine_usage_look(struct engine_loop *el, uint32_t function_no, uint32_t max) {
    struct list now, *from[] = {&el->looking, &el->used};
    uint32_t n = 0;
    list_init(&now);
    for (size_t i = 0; i < ARRAY_LEN(from); i++) {
        list_for_each_safe (it, from[i]) {
            if (n >= max || !is_of(list_entry(it, struct instance, used), function_no))
                continue;
            list_del(it);
            list_push(&now, it);
            n++;
        }
    }
    while (!list_empty(&now))
        look(list_entry(now.next, struct instance, used));
}

void usage_init(struct engine_loop *el) {
    list_init(&el->used);
    list_init(&el->looking);
    loop_timer_init(&el->usage_timer, usage_fired);
}

void usage_done(struct engine_loop *el) {
    loop_timer_clear(el->loop, &el->usage_timer);
}
