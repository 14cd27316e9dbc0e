/* SPDX-License-Identifier: Apache-2.0 */
#include "image_runtime.h"

/* The container's config.json (OCI runtime specification 1.0). */

#include "json/write.h"

#include <stdio.h>

static void put_strings(struct json_w *w, const char *name, const struct strings *s) {
    jw_array_member(w, name);
    for (size_t i = 0; i < s->n; i++)
        jw_cstr(w, s->v[i]);
    jw_end_array(w);
}

static void put_user(struct json_w *w, const struct config *c, const struct spec *s) {
    jw_object_member(w, "user");
    jw_u64_member(w, "uid", s->uid);
    jw_u64_member(w, "gid", s->gid);
    if (c->range && s->n_gids) { /* with one id there are no further groups */
        jw_array_member(w, "additionalGids");
        for (size_t i = 0; i < s->n_gids; i++)
            jw_u64(w, s->gids[i]);
        jw_end_array(w);
    }
    jw_end_object(w);
}

static void put_process(struct json_w *w, const struct config *c, const struct spec *s,
                        const struct strings *env) {
    jw_object_member(w, "process");
    jw_bool_member(w, "terminal", false);
    put_user(w, c, s);
    put_strings(w, "args", &s->args);
    put_strings(w, "env", env);
    jw_cstr_member(w, "cwd", s->cwd);
    jw_object_member(w, "capabilities"); /* none in any set */
    jw_end_object(w);
    jw_bool_member(w, "noNewPrivileges", true);
    jw_end_object(w);
}

static void put_mount(struct json_w *w, const char *at, const char *type, const char *source,
                      const char *const *options) {
    jw_begin_object(w);
    jw_cstr_member(w, "destination", at);
    jw_cstr_member(w, "type", type);
    jw_cstr_member(w, "source", source);
    jw_array_member(w, "options");
    for (; *options; options++)
        jw_cstr(w, *options);
    jw_end_array(w);
    jw_end_object(w);
}

static void put_mounts(struct json_w *w, const struct config *c) {
    static const char *const proc[] = {"nosuid", "noexec", "nodev", NULL};
    static const char *const dev[] = {"nosuid", "strictatime", "mode=755", "size=65536k", NULL};
    static const char *const bind[] = {"bind", "ro", "nosuid", "nodev", "noexec", NULL};
    static const char *const binds[] = {"/etc/resolv.conf", "/etc/hosts", "/etc/hostname"};
    char size[32];
    (void)snprintf(size, sizeof(size), "size=%um", c->tmp_mib);
    const char *tmp[] = {"nosuid", "nodev", "mode=1777", size, NULL};
    jw_array_member(w, "mounts");
    put_mount(w, "/proc", "proc", "proc", proc);
    put_mount(w, "/dev", "tmpfs", "tmpfs", dev);
    put_mount(w, "/dev/shm", "tmpfs", "shm", tmp);
    put_mount(w, "/tmp", "tmpfs", "tmpfs", tmp);
    for (size_t i = 0; i < ARRAY_LEN(binds); i++)
        put_mount(w, binds[i], "bind", binds[i], bind);
    jw_end_array(w);
}

static void put_mapping(struct json_w *w, const char *name, uint32_t inside, uint32_t n) {
    jw_array_member(w, name);
    jw_begin_object(w);
    jw_u64_member(w, "containerID", inside);
    jw_u64_member(w, "hostID", 0);
    jw_u64_member(w, "size", n);
    jw_end_object(w);
    jw_end_array(w);
}

static void put_paths(struct json_w *w, const char *name, const char *const *paths) {
    jw_array_member(w, name);
    for (; *paths; paths++)
        jw_cstr(w, *paths);
    jw_end_array(w);
}

/* No network namespace and no cgroup: it is in those of its instance. */
static void put_linux(struct json_w *w, const struct config *c, const struct spec *s) {
    static const char *const namespaces[] = {"user", "pid", "mount", "ipc", "uts"};
    static const char *const masked[] = {"/proc/acpi",          "/proc/kcore", "/proc/keys",
                                         "/proc/latency_stats", "/proc/scsi",  "/proc/timer_list",
                                         "/proc/sched_debug",   NULL};
    static const char *const readonly[] = {
        "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger", NULL};
    jw_object_member(w, "linux");
    jw_array_member(w, "namespaces");
    for (size_t i = 0; i < ARRAY_LEN(namespaces); i++) {
        jw_begin_object(w);
        jw_cstr_member(w, "type", namespaces[i]);
        jw_end_object(w);
    }
    jw_end_array(w);
    put_mapping(w, "uidMappings", c->range ? 0 : s->uid, c->range ? 65536 : 1);
    put_mapping(w, "gidMappings", c->range ? 0 : s->gid, c->range ? 65536 : 1);
    put_paths(w, "maskedPaths", masked);
    put_paths(w, "readonlyPaths", readonly);
    jw_end_object(w);
}

int config_write(const struct config *c, const struct spec *s, const struct strings *env,
                 struct buf *out) {
    struct json_w w;
    json_w_init(&w, out);
    jw_begin_object(&w);
    jw_cstr_member(&w, "ociVersion", "1.0.0");
    put_process(&w, c, s, env);
    jw_object_member(&w, "root");
    jw_cstr_member(&w, "path", c->root);
    jw_bool_member(&w, "readonly", c->readonly);
    jw_end_object(&w);
    jw_cstr_member(&w, "hostname", "kiln");
    put_mounts(&w, c);
    put_linux(&w, c, s);
    jw_object_member(&w, "annotations");
    /* The very filter of all other functions, as the kernel takes it (crun(1)). */
    jw_str_member(&w, "run.oci.seccomp_bpf_data", c->filter_base64);
    jw_end_object(&w);
    jw_end_object(&w);
    return json_w_done(&w);
}
