/* SPDX-License-Identifier: Apache-2.0 */
/* Putting the parts together: store, loops, core, the faces on their listeners, and the way down.
 */

#include "server/serve.h"
#include "api/api.h"
#include "base/log.h"
#include "core/core.h"
#include "http/server.h"
#include "loop/work.h"
#include "oci/oci.h"
#include "sandbox/sandbox.h"
#include "server/backends.h"
#include "server/paths.h"
#include "task/task.h"
#include "trigger/http_trigger.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>

#define LOOPS_MAX       64
#define ASKING_THREADS  2    /* questions to services outside at once … */
#define ASKING_QUEUE    200  /* … and those that wait; more are refused */
#define PULLING_THREADS 4    /* images fetched at once … */
#define PULLING_QUEUE   1000 /* … and those that wait; more are refused */
#define LAST_REPLIES_MS 1000 /* after the last call has ended, for its reply to leave */

/* Threads for what blocks; for images, whose registries may hang; for questions to Loki and
 * Prometheus, which may hang. On the way down they end in this order. */
enum pool { BLOCKING, PULLING, ASKING, POOLS };

struct worker { /* one loop thread */
    struct server *server;
    struct loop *loop;
    pthread_t thread;
    struct http_server *api, *gateway;
    struct loop_task drain;
};

struct server {
    const struct settings *settings;
    struct paths paths;
    struct worker workers[LOOPS_MAX];
    struct loop *loops[LOOPS_MAX];
    size_t n_loops, n_threads;
    struct workers *pools[POOLS];
    struct backends backends;
    struct store *store;
    struct oci *images;
    struct core *core;
    struct builder *builder;
    struct api *api;
    uint16_t api_port, gateway_port;
    char api_url[128], gateway_url[128];
    struct loop_io signals;
    struct loop_timer last_replies;
    _Atomic uint32_t servers_open;
    struct loop_task servers_gone, pool_idle;
    uint32_t pools_ended;
    bool draining, core_drained;
};

/* ---- limits and signals of the process ---- */

static void prepare_process(void) {
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    /* A core file would hold tokens and functions' environments. */
    struct rlimit none = {0, 0};
    (void)setrlimit(RLIMIT_CORE, &none);
    (void)signal(SIGPIPE, SIG_IGN);
}

static void block_signals(sigset_t *set) {
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    pthread_sigmask(SIG_BLOCK, set, NULL);
}

/* ---- the way down ---- */

static void stop_loops(struct server *sv) {
    for (size_t i = 0; i < sv->n_loops; i++)
        loop_stop(sv->loops[i]);
}

static void check_done(struct server *sv) {
    if (sv->core_drained && sv->pools_ended == POOLS && atomic_load(&sv->servers_open) == 0)
        stop_loops(sv);
}

static void servers_gone(struct loop_task *task) {
    check_done(container_of(task, struct server, servers_gone));
}

static void server_gone(void *user) {
    struct server *sv = user;
    if (atomic_fetch_sub(&sv->servers_open, 1) == 1) {
        sv->servers_gone = (struct loop_task){.run = servers_gone};
        loop_post(sv->loops[0], &sv->servers_gone);
    }
}

static void drain_servers(struct loop_task *task) {
    struct worker *w = container_of(task, struct worker, drain);
    http_server_drain(w->api, server_gone, w->server);
    http_server_drain(w->gateway, server_gone, w->server);
}

static void replies_late(struct loop_timer *timer) {
    stop_loops(container_of(timer, struct server, last_replies));
}

static void pool_idle(struct loop_task *task);

static void stop_next_pool(struct server *sv) {
    sv->pool_idle = (struct loop_task){.run = pool_idle};
    workers_stop(sv->pools[sv->pools_ended], sv->loops[0], &sv->pool_idle);
}

static void pool_idle(struct loop_task *task) {
    struct server *sv = container_of(task, struct server, pool_idle);
    if (++sv->pools_ended < POOLS)
        stop_next_pool(sv);
    else
        check_done(sv);
}

/* What blocks is told to end now: before, a call may have waited for it. */
static void core_drained(void *arg) {
    struct server *sv = arg;
    sv->core_drained = true;
    backends_stop(&sv->backends);
    stop_next_pool(sv);
    loop_timer_set(sv->loops[0], &sv->last_replies,
                   loop_now_ns(sv->loops[0]) + LAST_REPLIES_MS * NS_PER_MS);
    check_done(sv);
}

static void begin_drain(struct server *sv) {
    sv->draining = true;
    log_info("draining", LOG_INT("deadline_ms", sv->settings->drain_ms));
    atomic_store(&sv->servers_open, (uint32_t)(2 * sv->n_loops));
    for (size_t i = 0; i < sv->n_loops; i++) {
        sv->workers[i].drain = (struct loop_task){.run = drain_servers};
        loop_post(sv->loops[i], &sv->workers[i].drain);
    }
    core_drain(sv->core, (uint32_t)sv->settings->drain_ms, core_drained, sv);
}

static void on_signal(struct loop_io *io, uint32_t events UNUSED) {
    struct server *sv = container_of(io, struct server, signals);
    struct signalfd_siginfo info;
    if (read(io->fd, &info, sizeof info) != sizeof info)
        return;
    if (!sv->draining) {
        begin_drain(sv);
        return;
    }
    log_warn("second signal: ending at once");
    stop_loops(sv);
}

/* ---- the way up ---- */

static size_t count_loops(const struct settings *s) {
    if (s->loops)
        return s->loops;
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    size_t n = cpus > 0 ? (size_t)cpus / 2 : 1;
    return n < 2 ? 2 : n > LOOPS_MAX ? LOOPS_MAX : n;
}

static struct core_config core_settings(const struct server *sv) {
    const struct settings *s = sv->settings;
    struct core_config c = {
        .version = KILN_VERSION,
        .no_auth = s->no_auth,
        .history_age_s = s->history_age_ms / MS_PER_S,
        .history_bytes = s->history_bytes,
        .async_running_max = (uint32_t)s->async_running_max,
        .task_lease_ms = (uint32_t)s->task_lease_ms,
        .body_max = (uint32_t)s->body_max,
        .workers = sv->pools[BLOCKING],
        .pullers = sv->pools[PULLING],
        .images = sv->images,
        .askers = sv->pools[ASKING],
        .loki = sv->backends.loki,
        .prometheus = sv->backends.prometheus,
        .s3 = sv->backends.s3,
        .engine =
            {
                .lib_dir = sv->paths.lib,
                .runtimes_dir = sv->paths.runtimes,
                .images_dir = sv->paths.images,
                .id = sv->paths.id,
                .uid_base = (uint32_t)s->uid_base,
                .memory_default = s->memory_default,
                .memory_max = s->memory_max,
                .timeout_ms_default = (uint32_t)s->timeout_ms,
                .max_instances_default = (uint32_t)s->max_instances,
                .instances_total_max = (uint32_t)s->instances_total,
                .idle_ms = (uint32_t)s->idle_ms,
                .queue_max = (uint32_t)s->queue_max,
                .queue_ms = (uint32_t)s->queue_ms,
                .start_ms = (uint32_t)s->start_ms,
                .tmp_mib = (uint32_t)(s->tmp_size / MIB),
                .pids_max = (uint32_t)s->pids_max,
                .log_call_max = (uint32_t)s->log_call_max,
                .output_call_max = (uint32_t)s->output_call_max,
                .response_max = (uint32_t)s->response_max,
                .network_allow = s->network_allow,
                .allow_host_network = s->allow_host_network,
            },
    };
    c.engine.spares[RUNTIME_PYTHON] = (uint32_t)s->spares_python;
    c.engine.spares[RUNTIME_NODE] = (uint32_t)s->spares_node;
    return c;
}

static int open_images(struct server *sv, struct error *err) {
    const struct settings *s = sv->settings;
    bool range = idmap_range_possible((uint32_t)s->uid_base);
    struct oci_config config = {.dir = sv->paths.images,
                                .lib_dir = sv->paths.lib,
                                .auth_file = s->registry_auth,
                                .registries = s->registries,
                                .uid_base = range ? (uint32_t)s->uid_base : 0,
                                .image_max = s->image_max,
                                .cache_max = s->image_cache_max};
    return oci_new(&config, &sv->images, err);
}

static int start_core(struct server *sv, struct error *err) {
    sv->pools[ASKING] = workers_new(ASKING_THREADS, ASKING_QUEUE);
    sv->pools[PULLING] = workers_new(PULLING_THREADS, PULLING_QUEUE);
    sv->pools[BLOCKING] =
        workers_new((uint32_t)sv->settings->work_threads, (uint32_t)sv->settings->work_queue);
    if (backends_open(sv->settings, &sv->backends, err) < 0)
        return -1;
    struct store_config store = {.url = sv->settings->store, .data_dir = sv->paths.data};
    if (store_open(&store, &sv->store, err) < 0)
        return -1;
    if (open_images(sv, err) < 0)
        return -1;
    struct core_config config = core_settings(sv);
    if (core_new(&config, sv->store, sv->loops, sv->n_loops, &sv->core, err) < 0)
        return -1;
    bool made;
    if (core_admin_token(sv->core, sv->paths.data, getenv("KILN_ADMIN_TOKEN"), &made, err) < 0)
        return -1;
    /* Not for the zygotes' environment, nor for /proc/<pid>/environ of what is started later. */
    (void)unsetenv("KILN_ADMIN_TOKEN"); /* NOLINT(concurrency-mt-unsafe) */
    if (made)
        log_info("administrator's token made", LOG_STR("folder", sv->paths.data),
                 LOG_STR("file", "admin.token"));
    return 0;
}

static void url_of(char out[128], const char *address, uint16_t port) {
    const char *colon = strrchr(address, ':');
    int host = colon ? (int)(colon - address) : 0;
    snprintf(out, 128, "http://%.*s:%u", host ? host : 9, host ? address : "127.0.0.1", port);
}

static int listen_at(struct http_server *hs, const char *address, uint16_t *port,
                     struct error *err) {
    if (*port == 0)
        return http_server_listen(hs, address, port, err);
    /* The other loops share the port that the first one was given. */
    const char *colon = strrchr(address, ':');
    int host = colon ? (int)(colon - address) : 0;
    char same[160];
    snprintf(same, sizeof same, "%.*s:%u", host, address, *port);
    return http_server_listen(hs, same, NULL, err);
}

static struct http_config http_settings(const struct settings *s, struct loop *loop) {
    return (struct http_config){
        .loop = loop,
        .body_max = s->body_max,
        .head_timeout_ms = (uint32_t)s->head_timeout_ms,
        .body_timeout_ms = (uint32_t)s->body_timeout_ms,
        .idle_timeout_ms = (uint32_t)s->keepalive_ms,
        .write_timeout_ms = (uint32_t)s->write_timeout_ms,
        .connections_max = (uint32_t)s->connections_max,
    };
}

static int bind_listeners(struct server *sv, struct error *err) {
    for (size_t i = 0; i < sv->n_loops; i++) {
        struct worker *w = &sv->workers[i];
        struct http_config config = http_settings(sv->settings, sv->loops[i]);
        api_http(sv->api, &config);
        if (http_server_new(&config, &w->api, err) < 0 ||
            listen_at(w->api, sv->settings->listen, &sv->api_port, err) < 0)
            return -1;
        config = http_settings(sv->settings, sv->loops[i]);
        http_trigger_http(sv->core, &config);
        if (http_server_new(&config, &w->gateway, err) < 0 ||
            listen_at(w->gateway, sv->settings->gateway, &sv->gateway_port, err) < 0)
            return -1;
    }
    return 0;
}

static int start_builder(struct server *sv, struct error *err) {
    const struct settings *s = sv->settings;
    struct builder_config config = {
        .core = sv->core,
        .store = sv->store,
        .workers = sv->pools[BLOCKING],
        .loops = sv->loops,
        .n_loops = sv->n_loops,
        .data_dir = sv->paths.data,
        .running_max = (uint32_t)s->tasks_running_max,
        .push_ms = (uint32_t)s->push_ms,
        .keep_age_s = s->task_age_ms / MS_PER_S,
        .keep_count = (uint32_t)s->task_keep,
        .registry_auth = s->registry_auth,
        .registries = s->registries,
        .s3 = sv->backends.s3,
        .s3_bucket = s->s3_bucket,
        .kubeconfig = s->kubeconfig,
    };
    return builder_new(&config, &sv->builder, err);
}

static int start_faces(struct server *sv, struct error *err) {
    if (start_builder(sv, err) < 0)
        return -1;
    sv->api =
        api_new(sv->core, &(struct api_config){.builder = sv->builder,
                                               .price_gb_second = sv->settings->price_gb_second,
                                               .price_request = sv->settings->price_request,
                                               .web_dir = sv->paths.web});
    if (bind_listeners(sv, err) < 0)
        return -1;
    url_of(sv->api_url, sv->settings->listen, sv->api_port);
    url_of(sv->gateway_url, sv->settings->gateway, sv->gateway_port);
    api_set_urls(sv->api, sv->api_url, sv->gateway_url);
    return 0;
}

/* DATA/server.url tells the command line on the same machine where to go. */
static void write_url(const struct server *sv) {
    cleanup_free char *path = x_asprintf("%s/server.url", sv->paths.data);
    FILE *f = fopen(path, "we");
    if (!f)
        return;
    (void)fprintf(f, "%s\n", sv->api_url);
    (void)fclose(f);
}

static void remove_url(const struct server *sv) {
    cleanup_free char *path = x_asprintf("%s/server.url", sv->paths.data);
    (void)unlink(path);
}

static void *run_loop(void *arg) {
    struct worker *w = arg;
    loop_run(w->loop);
    return NULL;
}

static int run(struct server *sv, struct error *err) {
    sigset_t set;
    block_signals(&set);
    sv->signals = (struct loop_io){.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK),
                                   .events = EPOLLIN,
                                   .ready = on_signal};
    int r = sv->signals.fd < 0 ? -errno : loop_io_add(sv->loops[0], &sv->signals);
    for (size_t i = 1; r == 0 && i < sv->n_loops; i++) {
        r = -pthread_create(&sv->workers[i].thread, NULL, run_loop, &sv->workers[i]);
        if (r == 0)
            sv->n_threads++;
    }
    if (r < 0)
        return error_errno(err, r, "cannot start the loops");
    loop_timer_init(&sv->last_replies, replies_late);
    core_start(sv->core);
    builder_start(sv->builder);
    write_url(sv);
    log_info("listening", LOG_STR("api", sv->api_url), LOG_STR("gateway", sv->gateway_url),
             LOG_STR("data", sv->paths.data), LOG_INT("loops", sv->n_loops),
             LOG_INT("pid", getpid()));
    loop_run(sv->loops[0]);
    remove_url(sv);
    return 0;
}

static void take_down(struct server *sv) {
    for (size_t i = 1; i <= sv->n_threads; i++) {
        loop_stop(sv->loops[i]);
        pthread_join(sv->workers[i].thread, NULL);
    }
    backends_stop(&sv->backends);
    for (size_t i = POOLS; i-- > 0;)
        workers_end(sv->pools[i]); /* the last work of BLOCKING still speaks to all of these */
    for (size_t i = 0; i < sv->n_loops; i++) {
        http_server_free(sv->workers[i].api);
        http_server_free(sv->workers[i].gateway);
    }
    api_free(sv->api);
    builder_free(sv->builder);
    store_close(sv->store); /* its last jobs still speak to core, and to workers */
    for (size_t i = 0; i < POOLS; i++)
        workers_free(sv->pools[i]);
    core_free(sv->core);
    oci_free(sv->images);
    backends_close(&sv->backends); /* the last lines have been told by then */
    if (sv->signals.fd > 0)
        loop_io_del(sv->loops[0], &sv->signals);
    fd_close(&sv->signals.fd);
    for (size_t i = 0; i < sv->n_loops; i++)
        loop_free(sv->loops[i]);
    paths_done(&sv->paths);
}

int serve(const struct settings *s, struct error *err) {
    struct server *sv = x_alloc(sizeof *sv);
    sv->settings = s;
    sv->signals.fd = -1;
    prepare_process();
    /* Before anything is made. SO_REUSEPORT, which lets the loops share a port, would let another
     * server join in too, so that a port in use must be looked for. */
    int r = http_address_free(s->listen, err);
    if (r == 0)
        r = http_address_free(s->gateway, err);
    if (r == 0)
        r = paths_find(&sv->paths, s->data, err);
    if (r == 0) {
        sv->n_loops = count_loops(s);
        for (size_t i = 0; i < sv->n_loops; i++) {
            sv->loops[i] = loop_new((int)i);
            sv->workers[i] = (struct worker){.server = sv, .loop = sv->loops[i]};
        }
        r = start_core(sv, err);
    }
    if (r == 0)
        r = start_faces(sv, err);
    if (r == 0)
        r = run(sv, err);
    take_down(sv);
    free(sv);
    if (r == 0)
        log_info("stopped");
    return r;
}
