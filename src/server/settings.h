/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_SERVER_SETTINGS_H
#define KILN_SERVER_SETTINGS_H

/* Every setting of `kiln serve`, from one table (settings.c): its flag, its key in the file, its
 * environment variable where it has one, its default, its bounds and its line in --help. A setting
 * is read from, each overriding the one before: the default, the file, the command line. */

#include "base/buf.h"
#include "base/error.h"

struct settings {
    char *data, *listen, *gateway, *config, *store, *network_allow, *log_level, *log_format;
    char *loki_url, *loki_tenant, *loki_auth_file, *prometheus_url, *prometheus_auth_file;
    char *s3_url, *s3_bucket, *s3_region, *s3_keys_file;
    double price_gb_second, price_request;
    bool no_auth, insecure, allow_host_network, help, version;
    uint64_t loops;
    uint64_t memory_default, memory_max, tmp_size;
    uint64_t timeout_ms, idle_ms, queue_ms, start_ms, drain_ms;
    uint64_t max_instances, instances_total, queue_max, pids_max, spares_python, spares_node;
    uint64_t log_call_max, output_call_max, response_max, body_max;
    uint64_t async_running_max, task_lease_ms;
    uint64_t history_age_ms, history_bytes;
    uint64_t connections_max, head_timeout_ms, body_timeout_ms, keepalive_ms, write_timeout_ms;
    uint64_t uid_base;
    uint64_t work_threads, work_queue;
    uint64_t tasks_running_max, push_ms, task_age_ms, task_keep;
    char *kubeconfig;
    char *registries, *registry_auth;
    uint64_t image_max, image_cache_max;
};

/* Defaults, then the file named by --config, then the command line. ERR_INVALID says which flag or
 * which line of the file, and what would be right. */
int settings_read(struct settings *s, int argc, char **argv, struct error *err);
void settings_done(struct settings *s);
void settings_help(struct buf *out); /* the lines of `kiln serve --help` */
/* What hangs together: no_auth on an address that others reach, minimum and maximum. */
int settings_check(const struct settings *s, struct error *err);

#endif
