/* SPDX-License-Identifier: Apache-2.0 */
/* kiln metrics, events, triggers: what the server knows about one function. */

#include "cli/cli.h"
#include <math.h>
#include <stdio.h>

/* ---- metrics ---- */

/* Three digits after the point, where they say something. */
static void put_number(struct buf *out, const struct json *parent, struct str name) {
    cleanup_free char *key = str_dup(name);
    double n = 0;
    struct error ignored;
    if (json_get_double(parent, key, JSON_NULLABLE, -HUGE_VAL, HUGE_VAL, &n, &ignored) < 0) {
        (void)json_dump(json_member(parent, key), out);
        return;
    }
    char text[400];
    (void)snprintf(text, sizeof text, "%.3f", n);
    size_t len = strlen(text);
    while (text[len - 1] == '0')
        len--;
    (void)buf_put(out, text, text[len - 1] == '.' ? len - 1 : len);
}

static void show_metric(const struct json *all, struct str name, const struct json *v) {
    cleanup_buf struct buf text = BUF_INIT(64 * KIB);
    struct json_walk walk = {0};
    struct str part;
    const struct json *n;
    if (json_kind(v) == JSON_KIND_OBJECT)
        while (json_next(v, &walk, &part, &n)) {
            buf_printf(&text, "%s%.*s ", text.len ? ", " : "", STR_ARG(part));
            put_number(&text, v, part);
        }
    else
        put_number(&text, all, name);
    bool ms = str_is(name, "duration");
    printf("%-16.*s %s%s\n", STR_ARG(name), buf_cstr(&text), ms ? " (ms)" : "");
}

int command_metrics(const struct options *o, struct error *err) {
    cleanup_free char *id = NULL;
    cleanup_buf struct buf query = BUF_INIT(KIB);
    cleanup_json struct json *reply = NULL;
    if (option_window(o, "start", "end", &query, err) < 0 ||
        function_find(o, o->args[0], &id, err) < 0)
        return -1;
    if (query.len)
        query.p[0] = '?';
    cleanup_free char *path = x_asprintf("/%s/metrics%s", id, buf_cstr(&query));
    if (client_call("GET", path, NULL, &reply, err) < 0)
        return -1;
    if (o->json)
        return print_json(reply);
    struct json_walk walk = {0};
    struct str name;
    const struct json *v;
    while (json_next(reply, &walk, &name, &v))
        show_metric(reply, name, v);
    return 0;
}

/* ---- events ---- */

static void event_row(struct table *t, const struct json *e) {
    const struct json *more = NULL;
    struct error ignored;
    char age[16];
    (void)json_get_object(e, "metadata", JSON_NULLABLE, &more, &ignored);
    cleanup_free char *type = str_dup(member_str(e, "type", "-"));
    cleanup_free char *what = str_dup(member_str(e, "description", "-"));
    cleanup_free char *by = str_dup(more ? member_str(more, "by", "-") : STR("-"));
    cleanup_free char *ident = str_dup(member_str(e, "id", "-"));
    table_row(t, table_age(member_str(e, "created_at", ""), age), type, what, by, ident);
}

int command_events(const struct options *o, struct error *err) {
    static const char *const heads[] = {"AGE", "TYPE", "WHAT", "BY", "ID"};
    cleanup_free char *id = NULL;
    cleanup_json struct json *reply = NULL;
    const struct json *list = NULL;
    if (option_limit(o->limit, err) < 0 || function_find(o, o->args[0], &id, err) < 0)
        return -1;
    cleanup_free char *path =
        x_asprintf("/%s/events%s%s", id, o->limit ? "?limit=" : "", o->limit ? o->limit : "");
    if (client_list(path, "events", &reply, &list, err) < 0)
        return -1;
    return table_of(o, list, heads, ARRAY_LEN(heads), NULL, event_row);
}

/* ---- triggers ---- */

/* "GET /hello", "0 * * * *". */
static char *what_of(const struct json *trigger) {
    const struct json *config = NULL;
    struct error ignored;
    (void)json_get_object(trigger, "config", JSON_NULLABLE, &config, &ignored);
    if (!config)
        return x_strdup("-");
    if (json_has(config, "cron"))
        return str_dup(member_str(config, "cron", "-"));
    struct str method = member_str(config, "method", ""), path = member_str(config, "path", "-");
    return x_asprintf("%.*s %.*s", STR_ARG(method), STR_ARG(path));
}

static void trigger_row(struct table *t, const struct json *v) {
    struct error ignored;
    char age[16];
    bool enabled = false;
    (void)json_get_bool(v, "enabled", JSON_NULLABLE, &enabled, &ignored);
    cleanup_free char *name = str_dup(member_str(v, "name", "-"));
    cleanup_free char *type = str_dup(member_str(v, "type", "-"));
    cleanup_free char *what = what_of(v);
    cleanup_free char *ident = str_dup(member_str(v, "id", "-"));
    table_row(t, name, type, what, enabled ? "yes" : "no",
              table_age(member_str(v, "updated_at", ""), age), ident);
}

int command_triggers(const struct options *o, struct error *err) {
    static const char *const heads[] = {"NAME", "TYPE", "WHEN", "ENABLED", "UPDATED", "ID"};
    cleanup_free char *id = NULL;
    cleanup_json struct json *reply = NULL;
    const struct json *list = NULL;
    if (function_find(o, o->args[0], &id, err) < 0)
        return -1;
    cleanup_free char *path = x_asprintf("/%s/triggers", id);
    if (client_list(path, "triggers", &reply, &list, err) < 0)
        return -1;
    return table_of(o, list, heads, ARRAY_LEN(heads),
                    "no triggers: `kiln deploy` makes them with --http and --cron", trigger_row);
}
