/* SPDX-License-Identifier: Apache-2.0 */
/* fnservice: what the provider can do, and whether it is well. Everything is true of this server as
 * it runs: nothing that it could do elsewhere is claimed. */

#include "api/fnservice.h"
#include "api/internal.h"
#include "invoke/invoke.h"
#include "routes.h"
#include <ctype.h>
#include <stdio.h>

static const struct {
    enum runtime_kind kind;
    const char *spelling; /* of the documents */
    const char *prefix;   /* of the spelling with the interpreter's own number */
    unsigned parts;       /* of that number that the spelling has */
} RUNTIMES[] = {
    /* those that code is written for; images have an entry of their own */
    {RUNTIME_PYTHON, "python3.9", "python", 2},
    {RUNTIME_NODE, "nodejs18", "nodejs", 1},
};

/* "Python 3.11.2" → "python3.11"; "" where no number stands. */
static void own_spelling(char *out, size_t size, const char *prefix, const char *interpreter,
                         unsigned parts) {
    const char *p = interpreter;
    while (*p && !isdigit((unsigned char)*p))
        p++;
    const char *end = p;
    while (isdigit((unsigned char)*end) || (*end == '.' && --parts > 0))
        end++;
    if (end > p)
        (void)snprintf(out, size, "%s%.*s", prefix, (int)(end - p), p);
    else
        out[0] = '\0';
}

static void write_supported(struct json_w *w, const struct engine_info *info) {
    jw_array_member(w, "supported_runtimes");
    for (size_t i = 0; i < ARRAY_LEN(RUNTIMES); i++) {
        const char *interpreter = info->interpreter[RUNTIMES[i].kind];
        char own[64];
        if (!interpreter[0])
            continue;
        jw_cstr(w, RUNTIMES[i].spelling);
        own_spelling(own, sizeof(own), RUNTIMES[i].prefix, interpreter, RUNTIMES[i].parts);
        if (own[0] && strcmp(own, RUNTIMES[i].spelling) != 0)
            jw_cstr(w, own);
    }
    jw_end_array(w);
}

static void write_runtimes(struct json_w *w, const struct engine_info *info) {
    jw_array_member(w, "runtimes");
    for (size_t i = 0; i < ARRAY_LEN(RUNTIMES); i++) {
        const char *interpreter = info->interpreter[RUNTIMES[i].kind];
        jw_begin_object(w);
        jw_cstr_member(w, "name", runtime_kind_name(RUNTIMES[i].kind));
        jw_cstr_member(w, "interpreter", interpreter);
        jw_bool_member(w, "available", interpreter[0] != '\0');
        jw_end_object(w);
    }
    const char *crun = info->interpreter[RUNTIME_IMAGE];
    jw_begin_object(w);
    jw_cstr_member(w, "name", runtime_kind_name(RUNTIME_IMAGE));
    jw_cstr_member(w, "interpreter", crun);
    jw_bool_member(w, "available", crun[0] != '\0');
    jw_end_object(w);
    jw_end_array(w);
}

static void write_limits(struct json_w *w, const struct engine_info *info) {
    jw_object_member(w, "limits");
    jw_bool_member(w, "memory", info->memory_limits);
    jw_bool_member(w, "cpu", info->cpu_limits);
    jw_bool_member(w, "pids", info->pids_limits);
    jw_bool_member(w, "egress", info->egress);
    jw_end_object(w);
}

static void write_features(struct json_w *w, const struct core_config *config,
                           const struct core_stats *stats) {
    jw_array_member(w, "supported_trigger_types");
    jw_cstr(w, "http");
    jw_cstr(w, "schedule");
    jw_end_array(w);
    jw_bool_member(w, "supports_async", true);
    jw_bool_member(w, "supports_logs", true);
    jw_bool_member(w, "supports_metrics", true);
    jw_bool_member(w, "supports_environment_vars", true);
    jw_bool_member(w, "supports_custom_images", stats->images);
    jw_u64_member(w, "max_memory_mb", config->engine.memory_max / MIB);
    jw_u64_member(w, "max_timeout_secs", TIMEOUT_MS_MAX / MS_PER_S);
    jw_u64_member(w, "max_payload_size_mb", config->body_max / MIB);
    jw_u64_member(w, "typical_cold_start_ms", invoke_ms(stats->cold_start_us));
    jw_bool_member(w, "supports_scale_to_zero", true);
    jw_bool_member(w, "supports_auto_scaling", true);
    jw_bool_member(w, "supports_https", false);
    jw_bool_member(w, "supports_warm_pool", true);
}

static void send_capabilities(struct request *r) {
    const struct core_config *config = core_config_of(r->core);
    struct core_stats stats;
    core_stats(r->core, &stats);
    struct buf body = BUF_INIT(REPLY_MAX);
    struct json_w w;
    json_w_init(&w, &body);
    jw_begin_object(&w);
    jw_cstr_member(&w, "name", "local");
    jw_cstr_member(&w, "version", config->version);
    jw_cstr_member(&w, "description", "kiln's own engine: sandboxed processes on this machine");
    jw_bool_member(&w, "supports_versioning", true);
    write_supported(&w, &stats.engine);
    write_features(&w, config, &stats);
    write_runtimes(&w, &stats.engine);
    jw_cstr_member(&w, "isolation", stats.engine.isolation);
    write_limits(&w, &stats.engine);
    jw_end_object(&w);
    fnservice_send(r, 200, &w, &body);
}

/* ---- an interpreter is known once it has run: the first who asks has them started and waits ----
 */

#define WARM_LOOK_MS 20
#define WARM_LOOKS   150 /* 3 s in all; then what is not there is said to be missing */

struct warming {
    struct request *r;
    struct loop_timer timer;
    unsigned looks;
};

/* Images are asked for where their programs are. */
static bool is_here(struct request *r, int kind) {
    struct core_stats stats;
    if (kind != RUNTIME_IMAGE)
        return true;
    core_stats(r->core, &stats);
    return stats.images;
}

static bool all_known(struct request *r) {
    struct engine_info info;
    bool known = true;
    engine_info(core_engine(r->core), &info);
    for (int k = 0; k < RUNTIME_COUNT; k++)
        known = known && (info.interpreter[k][0] || !is_here(r, k));
    return known;
}

static void on_look(struct loop_timer *timer) {
    struct warming *w = container_of(timer, struct warming, timer);
    struct request *r = w->r;
    if (++w->looks < WARM_LOOKS && !all_known(r)) {
        loop_timer_set(r->loop, timer, loop_now_ns(r->loop) + WARM_LOOK_MS * NS_PER_MS);
        return;
    }
    atomic_store(&r->api->interpreters_asked, true);
    send_capabilities(r);
}

static void on_warming_gone(struct request *r) {
    loop_timer_clear(r->loop, &((struct warming *)r->state)->timer);
    request_free(r);
}

void op_fnservice_get_provider_capabilities(struct request *r) {
    if (atomic_load(&r->api->interpreters_asked) || all_known(r)) {
        send_capabilities(r);
        return;
    }
    struct warming *w = x_alloc(sizeof(*w));
    w->r = r;
    r->state = w;
    r->free_state = free;
    r->gone = on_warming_gone;
    for (int k = 0; k < RUNTIME_COUNT; k++)
        if (is_here(r, k))
            engine_warm(core_engine(r->core), (enum runtime_kind)k);
    loop_timer_init(&w->timer, on_look);
    loop_timer_set(r->loop, &w->timer, loop_now_ns(r->loop) + WARM_LOOK_MS * NS_PER_MS);
}

static void on_health(void *arg, const struct error *err) {
    struct buf body = BUF_INIT(REPLY_MAX);
    struct json_w w;
    json_w_init(&w, &body);
    jw_begin_object(&w);
    if (err) {
        jw_cstr_member(&w, "error", "Provider unhealthy");
        jw_cstr_member(&w, "details", err->text);
    } else {
        jw_cstr_member(&w, "status", "healthy");
    }
    jw_end_object(&w);
    fnservice_send(arg, err ? 503 : 200, &w, &body);
}

void op_fnservice_get_provider_health(struct request *r) {
    core_health(r->core, r->loop, on_health, r);
}
