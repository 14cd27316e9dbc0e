/* SPDX-License-Identifier: Apache-2.0 */
/* Type and config of a trigger. */

#include "model/model.h"

static const char *const METHODS[] = {"GET",    "POST", "PUT",     "PATCH",
                                      "DELETE", "HEAD", "OPTIONS", "ANY"};

/* "get" is stored as "GET", so that routing compares bytes. */
static int check_method(struct pairs *config, struct error *err) {
    const char *method = pairs_get(config, "method");
    if (!method) {
        pairs_add(config, STR("method"), STR("GET"));
        return 0;
    }
    for (size_t i = 0; i < ARRAY_LEN(METHODS); i++) {
        if (str_ieq(str_of(method), str_of(METHODS[i])) ||
            (strcmp(method, "*") == 0 && strcmp(METHODS[i], "ANY") == 0)) {
            pairs_add(config, STR("method"), str_of(METHODS[i]));
            return 0;
        }
    }
    return error_field(err, ERR_INVALID, "config.method",
                       "config.method must be GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS or ANY");
}

static bool segment_ok(struct str segment) {
    if (str_is(segment, ".") || str_is(segment, ".."))
        return false;
    for (size_t i = 0; i < segment.len; i++) {
        unsigned char c = (unsigned char)segment.p[i];
        if (c <= 0x20 || c == 0x7f || strchr("?#\\\"<>^`{|}%", c))
            return false;
    }
    return true;
}

/* A decoded path: what routing compares with. An empty segment may only stand last. */
static bool path_ok(struct str path) {
    if (path.len == 0 || path.p[0] != '/' || !str_is_utf8(path))
        return false;
    struct str rest = str_n(path.p + 1, path.len - 1);
    while (rest.p) {
        struct str segment = str_cut(&rest, '/');
        if (!segment_ok(segment) || (segment.len == 0 && rest.p))
            return false;
    }
    return true;
}

static int check_http(struct pairs *config, const char *function_name, struct error *err) {
    if (check_method(config, err) < 0)
        return -1;
    const char *path = pairs_get(config, "path");
    if (!path) {
        cleanup_free char *own = x_asprintf("/%s", function_name);
        pairs_add(config, STR("path"), str_of(own));
        return 0;
    }
    if (!path_ok(str_of(path)))
        return error_field(err, ERR_INVALID, "config.path",
                           "config.path must begin with '/' and have no blanks, no '?', '#' or "
                           "'%%', and no empty, '.' or '..' parts");
    return 0;
}

static int check_config_size(const struct pairs *config, struct error *err) {
    if (config->n > TRIGGER_CONFIG_MAX)
        return error_field(err, ERR_INVALID, "config", "config must have at most %d entries",
                           TRIGGER_CONFIG_MAX);
    for (size_t i = 0; i < config->n; i++) {
        struct str key = str_of(config->v[i].key), value = str_of(config->v[i].value);
        if (key.len == 0 || key.len > NAME_MAX_LEN || !str_is_utf8(key))
            return error_field(err, ERR_INVALID, "config",
                               "config: key %zu must be 1 to %d bytes of text", i + 1,
                               NAME_MAX_LEN);
        if (value.len > TRIGGER_VALUE_MAX || !str_is_utf8(value))
            return error_field(err, ERR_INVALID, "config",
                               "config: the value of key %zu must be at most %d bytes of text",
                               i + 1, TRIGGER_VALUE_MAX);
    }
    return 0;
}

int check_trigger(struct trigger *t, const char *function_name, struct error *err) {
    if (check_name(str_of(t->name), "name", err) < 0 || check_config_size(&t->config, err) < 0)
        return -1;
    const char *cron = pairs_get(&t->config, "cron");
    switch (t->type) {
    case TRIGGER_HTTP:
        return check_http(&t->config, function_name, err);
    case TRIGGER_SCHEDULE:
        return check_cron(str_of(cron ? cron : ""), "config.cron", err);
    case TRIGGER_EVENT:
    case TRIGGER_QUEUE:
        return 0;
    }
    return error_field(err, ERR_INVALID, "type",
                       "type must be http, schedule, event or messagequeue");
}
