/* SPDX-License-Identifier: Apache-2.0 */
/* Giving a generic instance its function: network, code, environment, in one LOAD frame. */

#include "base/clock.h"
#include "engine/internal.h"
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/uio.h>

struct load_env {
    struct buf *b;
    size_t count_at;
    uint32_t count;
};

static void env_add(struct load_env *env, const char *key, const char *value) {
    wire_str(env->b, str_of(key));
    wire_str(env->b, str_of(value));
    env->count++;
}

/* Of two pairs with one name the runtimes take the later one: its project's config, the function's
 * own, what kiln says. */
static void put_env(struct buf *b, const struct function *f, const struct project *project,
                    uint32_t number, enum runtime_kind kind) {
    struct load_env env = {.b = b, .count_at = b->len};
    char id[ID_TEXT_MAX], version[16];
    snprintf(version, sizeof version, "v%u", number);
    wire_u32(b, 0);
    for (size_t i = 0; project && i < project->config.n; i++)
        env_add(&env, project->config.v[i].key, project->config.v[i].value);
    for (size_t i = 0; i < f->env.n; i++)
        env_add(&env, f->env.v[i].key, f->env.v[i].value);
    env_add(&env, "FUNCTION_NAME", f->name);
    env_add(&env, "FUNCTION_HANDLER", f->handler);
    env_add(&env, "RUNTIME", f->runtime);
    env_add(&env, "KILN_FUNCTION_ID", id_text(id, "func", f->no));
    env_add(&env, "KILN_FUNCTION_VERSION", version);
    env_add(&env, "KILN_WORKSPACE", f->workspace);
    env_add(&env, "KILN_PROJECT", f->project);
    if (kind == RUNTIME_IMAGE) /* for the runtime itself: runtimes/image/spec.c */
        env_add(&env, "KILN_IMAGE_FORMAT", image_format_name(f->format));
    for (int i = 0; i < 4; i++)
        b->p[env.count_at + (size_t)i] = (char)(env.count >> (8 * i));
}

static void send_load(struct instance *inst, const struct function *f,
                      const struct project *project, uint32_t number, const struct blob *code,
                      uint8_t flags) {
    struct buf *b = &inst->el->scratch;
    char version[16];
    snprintf(version, sizeof version, "v%u", number);
    buf_clear(b);
    wire_u8(b, flags);
    wire_str(b, str_of(f->name));
    wire_str(b, str_of(version));
    wire_str(b, str_of(f->workspace));
    wire_str(b, str_of(f->handler));
    put_env(b, f, project, number, inst->kind);
    inst->load_sent = true;
    int r = frames_send(inst, WIRE_LOAD, 0, buf_str(b), str_n(code->bytes, code->len));
    if (r < 0)
        instance_kill(inst, ERR_CRASH, "the instance does not take its code: %s", errno_text(-r));
}

/* Who came after it was asked for may ask again: it may be there by now. */
static void no_code(struct instance *inst, uint64_t asked_ns, const struct error *err) {
    if (err)
        instance_kill(inst, err->code, "%s", err->text);
    else
        instance_kill(inst, ERR_INTERNAL, "the code of the function could not be read");
    inst->blame_ns = asked_ns;
}

static void code_ready(void *arg, struct blob *code, const struct error *err) {
    struct pool *p = arg;
    uint64_t asked_ns = p->fetch_ns;
    p->fetch_ns = 0;
    list_for_each_safe (it, &p->loading) {
        struct instance *inst = list_entry(it, struct instance, link);
        if (!inst->spawned || inst->load_sent)
            continue;
        if (code)
            send_load(inst, p->deployment->function, p->deployment->project,
                      p->deployment->version_number, code, 0);
        else
            no_code(inst, asked_ns, err);
    }
    pool_check_unused(p);
}

/* Where no memory cgroup holds, the data segment is limited instead: an allocation that goes beyond
 * fails inside the function. prlimit(2) reaches the instance by its pid, which stands in the fdinfo
 * of its pidfd (proc(5)). */
static void limit_data(struct instance *inst, uint64_t bytes) {
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", inst->pidfd);
    FILE *f = fopen(path, "re");
    int pid = 0;
    while (f && fgets(text, sizeof text, f))
        if (sscanf(text, "Pid: %d", &pid) == 1)
            break;
    if (f)
        fclose(f);
    struct rlimit limit = {bytes, bytes};
    if (pid > 0)
        (void)prlimit(pid, RLIMIT_DATA, &limit, NULL);
}

void load_begin(struct instance *inst) {
    if (!inst->spawned || inst->load_sent)
        return;
    struct engine *e = inst->el->engine;
    struct pool *p = inst->pool;
    const struct function *f = p ? p->deployment->function : inst->build->function;
    network_give(inst, f->network);
    if (!e->limits.has_memory && !inst->limited) {
        inst->limited = true;
        limit_data(inst, inst->memory_limit);
    }
    if (!p) {
        send_load(inst, f, inst->build->project, inst->build->version_number, inst->build->code,
                  WIRE_LOAD_CHECK);
    } else if (!p->fetch_ns) {
        p->fetch_ns = clock_mono_ns();
        e->config.fetch_code(e->config.user, inst->el->loop, p->deployment->version_no, code_ready,
                             p);
    }
}
