/* SPDX-License-Identifier: Apache-2.0 */
/* kiln deploy: a new function, or a new configuration and version of one that is there. */

#include "cli/cli.h"
#include "json/write.h"
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#define POLL_FIRST_MS 10
#define POLL_LAST_MS  500

struct source {
    struct buf code; /* raw */
    bool folder;
    char *name, *runtime, *handler; /* guessed where not given */
};

static void source_done(struct source *s) {
    buf_done(&s->code);
    free(s->name);
    free(s->runtime);
    free(s->handler);
}

/* ---- what the file's name says ---- */

static bool has(const char *folder, const char *file) {
    cleanup_free char *path = x_asprintf("%s/%s", folder, file);
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static const char *main_file(const char *folder) {
    static const char *const names[] = {"main.py",  "index.py",  "handler.py", "app.py",
                                        "index.js", "index.mjs", "main.js",    "handler.js"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (has(folder, names[i]))
            return names[i];
    return has(folder, "package.json") ? "index.js" : NULL;
}

static const char *runtime_of(const char *file) {
    struct str s = str_of(file);
    if (str_ends(s, STR(".py")))
        return "python3";
    if (str_ends(s, STR(".js")) || str_ends(s, STR(".mjs")) || str_ends(s, STR(".cjs")))
        return "nodejs";
    return NULL;
}

static char *stem(const char *path) {
    cleanup_free char *copy = x_strdup(path);
    size_t n = strlen(copy);
    while (n > 1 && copy[n - 1] == '/')
        copy[--n] = 0;
    char *base = strrchr(copy, '/');
    base = base ? base + 1 : copy;
    if (strcmp(base, ".") == 0 || strcmp(base, "..") == 0) {
        cleanup_free char *full = realpath(path, NULL);
        return full ? stem(full) : x_strdup("function");
    }
    char *dot = strrchr(base, '.');
    if (dot && dot != base)
        *dot = 0;
    return x_strdup(base);
}

static int guess(const struct options *o, struct source *s, struct error *err) {
    const char *path = o->args[0];
    const char *file = s->folder ? main_file(path) : path;
    const char *runtime = o->runtime ? o->runtime : file ? runtime_of(file) : NULL;
    if (!runtime)
        return error_set(err, ERR_INVALID,
                         "cannot tell the runtime of %s: name it .py or .js (a folder: main.py or "
                         "index.js), or give --runtime",
                         path);
    s->runtime = x_strdup(runtime);
    s->name = o->name ? x_strdup(o->name) : stem(path);
    cleanup_free char *module = stem(file ? file : "main");
    s->handler = o->handler ? x_strdup(o->handler) : x_asprintf("%s.handler", module);
    return 0;
}

/* ---- requests ---- */

static int put_map(struct json_w *w, const char *member, const char *const *list, size_t n,
                   struct error *err) {
    if (n == 0)
        return 0;
    jw_object_member(w, member);
    for (size_t i = 0; i < n; i++) {
        struct str value = str_of(list[i]);
        struct str key = str_cut(&value, '=');
        if (!value.p || !key.len)
            return error_set(err, ERR_INVALID, "--%s wants KEY=VALUE, not \"%s\"",
                             strcmp(member, "labels") == 0 ? "label" : "env", list[i]);
        jw_key_str(w, key);
        jw_str(w, value);
    }
    jw_end_object(w);
    return 0;
}

static int put_number(struct json_w *w, const char *member, const char *option, const char *text,
                      struct error *err) {
    uint64_t n;
    if (!text)
        return 0;
    if (str_u64(str_of(text), INT32_MAX, &n) < 0)
        return error_set(err, ERR_INVALID, "--%s wants a whole number, not \"%s\"", option, text);
    jw_u64_member(w, member, n);
    return 0;
}

/* What a new function and a changed one have in common. */
static int put_config(struct json_w *w, const struct options *o, struct error *err) {
    if (o->memory || o->cpu) {
        jw_object_member(w, "resources");
        if (o->memory)
            jw_cstr_member(w, "memory", o->memory);
        if (o->cpu)
            jw_cstr_member(w, "cpu", o->cpu);
        jw_end_object(w);
    }
    if (o->network)
        jw_cstr_member(w, "network", o->network);
    if (put_map(w, "environment", o->env, o->n_env, err) < 0 ||
        put_map(w, "labels", o->label, o->n_label, err) < 0 ||
        put_number(w, "timeout", "timeout", o->timeout, err) < 0 ||
        put_number(w, "min_replicas", "min", o->min, err) < 0 ||
        put_number(w, "max_replicas", "max", o->max, err) < 0)
        return -1;
    return 0;
}

static void put_code(struct json_w *w, const struct source *s) {
    jw_key(w, "source_code");
    jw_base64(w, buf_str(&s->code));
}

static int create(const struct options *o, const struct source *s, struct json **ret,
                  struct error *err) {
    cleanup_buf struct buf body = BUF_INIT(2 * CLI_CODE_MAX);
    struct json_w w;
    json_w_init(&w, &body);
    jw_begin_object(&w);
    jw_cstr_member(&w, "name", s->name);
    jw_cstr_member(&w, "project_id", project_of(o));
    jw_cstr_member(&w, "runtime", s->runtime);
    jw_cstr_member(&w, "handler", s->handler);
    put_code(&w, s);
    if (put_config(&w, o, err) < 0)
        return -1;
    jw_end_object(&w);
    progress("building %s …", s->name);
    return client_call("POST", "", &body, ret, err);
}

static int configure(const struct options *o, const struct source *s, const char *id,
                     struct error *err) {
    cleanup_buf struct buf body = BUF_INIT(MIB);
    struct json_w w;
    json_w_init(&w, &body);
    jw_begin_object(&w);
    size_t before = body.len;
    if (o->handler)
        jw_cstr_member(&w, "handler", s->handler);
    if (put_config(&w, o, err) < 0)
        return -1;
    bool nothing = body.len == before;
    jw_end_object(&w);
    cleanup_free char *path = x_asprintf("/%s", id);
    return nothing ? 0 : client_call("PUT", path, &body, NULL, err);
}

static void pause_ms(long ms) {
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

static int show_failure(const char *id, const char *version, struct error *err) {
    cleanup_free char *path = x_asprintf("/%s/versions/%s", id, version);
    cleanup_json struct json *v = NULL;
    if (client_call("GET", path, NULL, &v, err) < 0)
        return -1;
    struct str log = member_str(v, "build_log", "");
    progress_end();
    (void)fprintf(stderr, "%.*s", STR_ARG(log));
    return error_set(err, ERR_BUILD_FAILED, "the build failed: its log stands above");
}

/* Waits for a version's build and lets it serve. */
static int finish_version(const char *id, const char *version, struct error *err) {
    cleanup_free char *path = x_asprintf("/%s/versions/%s", id, version);
    for (long ms = POLL_FIRST_MS, waited = 0;; waited += ms) {
        cleanup_json struct json *v = NULL;
        if (client_call("GET", path, NULL, &v, err) < 0)
            return -1;
        if (str_is(member_str(v, "build_status", ""), "failed"))
            return show_failure(id, version, err);
        if (str_is(member_str(v, "build_status", ""), "success"))
            break;
        progress("building … %ld.%ld s", waited / 1000, waited % 1000 / 100);
        pause_ms(ms);
        ms = ms * 2 > POLL_LAST_MS ? POLL_LAST_MS : ms * 2;
    }
    cleanup_free char *activate = x_asprintf("/%s/versions/%s/active", id, version);
    return client_call("PUT", activate, NULL, NULL, err);
}

static int new_version(const struct options *o, const struct source *s, const char *id,
                       struct error *err) {
    cleanup_buf struct buf body = BUF_INIT(2 * CLI_CODE_MAX);
    struct json_w w;
    json_w_init(&w, &body);
    jw_begin_object(&w);
    if (o->image)
        jw_cstr_member(&w, "image", o->image);
    else
        put_code(&w, s);
    jw_end_object(&w);
    cleanup_free char *path = x_asprintf("/%s/versions", id);
    cleanup_json struct json *v = NULL;
    if (client_call("POST", path, &body, &v, err) < 0)
        return -1;
    cleanup_free char *version = str_dup(member_str(v, "id", ""));
    return finish_version(id, version, err);
}

static char *newest_version(const char *id, struct error *err) {
    cleanup_free char *path = x_asprintf("/%s/versions", id);
    cleanup_json struct json *reply = NULL;
    const struct json *list = NULL;
    if (client_list(path, "versions", &reply, &list, err) < 0)
        return NULL;
    return str_dup(member_str(json_item(list, 0), "id", ""));
}

/* Code: the reply tells of the build. */
static int first_version(const struct options *o, const struct source *s, char **ret_id,
                         struct error *err) {
    cleanup_json struct json *f = NULL;
    if (create(o, s, &f, err) < 0)
        return -1;
    *ret_id = str_dup(member_str(f, "id", ""));
    if (!str_is(member_str(f, "status", ""), "error"))
        return 0;
    cleanup_free char *version = newest_version(*ret_id, err);
    return version ? show_failure(*ret_id, version, err) : -1;
}

/* An image: its build goes on when the function is there. */
static int first_image(const struct options *o, const struct source *s, char **ret_id,
                       struct error *err) {
    if (image_create(o, s->name, err) < 0 || function_find(o, s->name, ret_id, err) < 0)
        return -1;
    if (configure(o, s, *ret_id, err) < 0) { /* nothing half made */
        cleanup_free char *path = x_asprintf("/%s", *ret_id);
        struct error ignored;
        (void)client_call("DELETE", path, NULL, NULL, &ignored);
        return -1;
    }
    cleanup_free char *version = newest_version(*ret_id, err);
    return version ? finish_version(*ret_id, version, err) : -1;
}

static int again(const struct options *o, const struct source *s, const char *id,
                 struct error *err) {
    if (o->format && image_set_format(o, s->name, err) < 0)
        return -1;
    return configure(o, s, id, err) < 0 ? -1 : new_version(o, s, id, err);
}

static int deploy(const struct options *o, const struct source *s, struct error *err) {
    cleanup_free char *id = NULL;
    struct error none = {0};
    if (function_find(o, s->name, &id, &none) == 0) {
        if (again(o, s, id, err) < 0)
            return -1;
    } else if (none.code != ERR_NOT_FOUND) {
        *err = none;
        return -1;
    } else if ((o->image ? first_image : first_version)(o, s, &id, err) < 0) {
        return -1;
    }
    if (triggers_set(o, s->name, id, err) < 0)
        return -1;
    cleanup_free char *path = x_asprintf("/%s", id);
    cleanup_json struct json *now = NULL;
    if (client_call("GET", path, NULL, &now, err) < 0)
        return -1;
    progress_end();
    if (o->json)
        return print_json(now);
    printf("deployed %s %.*s (%.*s, %s)\n", s->name, STR_ARG(member_str(now, "active_version", "")),
           STR_ARG(member_str(now, "runtime", "")), id);
    return 0;
}

int command_deploy(const struct options *o, struct error *err) {
    struct source s = {.code = BUF_INIT(CLI_CODE_MAX + 64 * KIB)};
    int r = image_check(o, err);
    if (r == 0 && o->image)
        s.name = x_strdup(o->args[0]);
    else if (r == 0)
        r = archive_read(o->args[0], &s.folder, &s.code, err);
    if (r == 0 && !o->image)
        r = guess(o, &s, err);
    if (r == 0)
        r = deploy(o, &s, err);
    source_done(&s);
    return r;
}
