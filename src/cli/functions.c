/* SPDX-License-Identifier: Apache-2.0 */
/* Finding, showing and changing functions by name. */

#include "cli/cli.h"
#include <curl/curl.h>
#include <stdio.h>

const char *project_of(const struct options *o) {
    return o->project ? o->project : CLI_PROJECT;
}

struct str member_str(const struct json *v, const char *name, const char *fallback) {
    struct str s = str_of(fallback);
    struct error ignored;
    (void)json_get_str(v, name, JSON_NULLABLE, &s, &ignored);
    return s;
}

static struct str text_of(const struct json *v, const char *name) {
    struct str s = member_str(v, name, "-");
    return s.len ? s : STR("-");
}

static int fetch_list(const struct options *o, struct json **ret, const struct json **ret_list,
                      struct error *err) {
    char *project = curl_easy_escape(NULL, project_of(o), 0);
    cleanup_free char *path = x_asprintf("?project_id=%s", project);
    curl_free(project);
    return client_list(path, "functions", ret, ret_list, err);
}

int function_find(const struct options *o, const char *name, char **ret_id, struct error *err) {
    cleanup_json struct json *reply = NULL;
    const struct json *list = NULL;
    if (fetch_list(o, &reply, &list, err) < 0)
        return -1;
    for (size_t i = 0; i < json_count(list); i++) {
        const struct json *f = json_item(list, i);
        if (str_is(text_of(f, "name"), name) || str_is(text_of(f, "id"), name)) {
            *ret_id = str_dup(text_of(f, "id"));
            return 0;
        }
    }
    return error_set(err, ERR_NOT_FOUND,
                     "there is no function \"%s\" in project %s: `kiln list` shows what is there",
                     name, project_of(o));
}

static void function_row(struct table *t, const struct json *f) {
    char age[16];
    const char *names[] = {"name", "runtime", "status", "active_version", "id"};
    char *cells[ARRAY_LEN(names)];
    for (size_t c = 0; c < ARRAY_LEN(names); c++)
        cells[c] = str_dup(text_of(f, names[c]));
    table_row(t, cells[0], cells[1], cells[2], cells[3],
              table_age(text_of(f, json_has(f, "updated_at") ? "updated_at" : "created_at"), age),
              cells[4]);
    for (size_t c = 0; c < ARRAY_LEN(names); c++)
        free(cells[c]);
}

int command_list(const struct options *o, struct error *err) {
    static const char *const heads[] = {"NAME", "RUNTIME", "STATUS", "VERSION", "UPDATED", "ID"};
    cleanup_json struct json *reply = NULL;
    const struct json *list = NULL;
    if (fetch_list(o, &reply, &list, err) < 0)
        return -1;
    return table_of(o, list, heads, ARRAY_LEN(heads),
                    "no functions yet: make one with `kiln deploy FILE`", function_row);
}

static void print_value(const char *name, const struct json *v) {
    cleanup_buf struct buf text = BUF_INIT(MIB);
    struct str s;
    struct error ignored;
    if (json_as_str(v, &s, &ignored) == 0)
        (void)buf_put_str(&text, s);
    else
        (void)json_dump(v, &text);
    printf("%-16s %s\n", name, buf_cstr(&text));
}

int command_get(const struct options *o, struct error *err) {
    cleanup_free char *id = NULL;
    cleanup_json struct json *reply = NULL;
    if (function_find(o, o->args[0], &id, err) < 0)
        return -1;
    cleanup_free char *path = x_asprintf("/%s", id);
    if (client_call("GET", path, NULL, &reply, err) < 0)
        return -1;
    if (o->json)
        return print_json(reply);
    struct json_walk walk = {0};
    struct str name;
    const struct json *v;
    while (json_next(reply, &walk, &name, &v)) {
        cleanup_free char *key = str_dup(name);
        print_value(key, v);
    }
    return 0;
}

int command_delete(const struct options *o, struct error *err) {
    cleanup_free char *id = NULL;
    if (function_find(o, o->args[0], &id, err) < 0)
        return -1;
    cleanup_free char *path = x_asprintf("/%s", id);
    if (client_call("DELETE", path, NULL, NULL, err) < 0)
        return -1;
    if (o->json)
        printf("{\"deleted\":\"%s\"}\n", id);
    else
        printf("deleted %s\n", o->args[0]);
    return 0;
}

/* ---- versions ---- */

static int fetch_versions(const char *id, struct json **ret, const struct json **ret_list,
                          struct error *err) {
    cleanup_free char *path = x_asprintf("/%s/versions", id);
    return client_list(path, "versions", ret, ret_list, err);
}

static int64_t number_of(const struct json *v) {
    int64_t n = 0;
    struct error ignored;
    (void)json_get_int(v, "version", JSON_OPTIONAL, 0, INT32_MAX, &n, &ignored);
    return n;
}

static bool active(const struct json *v) {
    bool is = false;
    struct error ignored;
    (void)json_get_bool(v, "is_active", JSON_OPTIONAL, &is, &ignored);
    return is;
}

static void version_row(struct table *t, const struct json *v) {
    char number[24], age[16];
    snprintf(number, sizeof number, "v%lld", (long long)number_of(v));
    cleanup_free char *build = str_dup(text_of(v, "build_status"));
    cleanup_free char *ver = str_dup(text_of(v, "id"));
    table_row(t, number, build, active(v) ? "yes" : "", table_age(text_of(v, "created_at"), age),
              ver);
}

int command_versions(const struct options *o, struct error *err) {
    static const char *const heads[] = {"VERSION", "BUILD", "ACTIVE", "CREATED", "ID"};
    cleanup_free char *id = NULL;
    cleanup_json struct json *reply = NULL;
    const struct json *list = NULL;
    if (function_find(o, o->args[0], &id, err) < 0 || fetch_versions(id, &reply, &list, err) < 0)
        return -1;
    return table_of(o, list, heads, ARRAY_LEN(heads), NULL, version_row);
}

static int version_find(const char *id, const char *word, char **ret, struct error *err) {
    cleanup_json struct json *reply = NULL;
    const struct json *list = NULL;
    if (fetch_versions(id, &reply, &list, err) < 0)
        return -1;
    for (size_t i = 0; i < json_count(list); i++) {
        const struct json *v = json_item(list, i);
        char number[24];
        snprintf(number, sizeof number, "v%lld", (long long)number_of(v));
        if (str_is(text_of(v, "id"), word) || strcmp(number, word) == 0 ||
            strcmp(number + 1, word) == 0) {
            *ret = str_dup(text_of(v, "id"));
            return 0;
        }
    }
    return error_set(err, ERR_NOT_FOUND, "there is no version \"%s\": see `kiln versions`", word);
}

int command_activate(const struct options *o, struct error *err) {
    cleanup_free char *id = NULL, *version = NULL;
    if (function_find(o, o->args[0], &id, err) < 0 ||
        version_find(id, o->args[1], &version, err) < 0)
        return -1;
    cleanup_free char *path = x_asprintf("/%s/versions/%s/active", id, version);
    if (client_call("PUT", path, NULL, NULL, err) < 0)
        return -1;
    if (o->json)
        printf("{\"activated\":\"%s\"}\n", version);
    else
        printf("%s now serves %s\n", o->args[0], o->args[1]);
    return 0;
}

int command_rollback(const struct options *o, struct error *err) {
    cleanup_free char *id = NULL;
    if (function_find(o, o->args[0], &id, err) < 0)
        return -1;
    cleanup_free char *path = x_asprintf("/%s/rollback", id);
    if (client_call("POST", path, NULL, NULL, err) < 0)
        return -1;
    cleanup_free char *get = x_asprintf("/%s", id);
    cleanup_json struct json *f = NULL;
    if (client_call("GET", get, NULL, &f, err) < 0)
        return -1;
    if (o->json)
        return print_json(f);
    printf("%s is back on %.*s\n", o->args[0], STR_ARG(text_of(f, "active_version")));
    return 0;
}
