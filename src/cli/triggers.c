/* SPDX-License-Identifier: Apache-2.0 */
/* What `kiln deploy` makes beside a function: the triggers of --http and --cron. */

#include "cli/cli.h"
#include "json/write.h"

/* The id of the function's trigger NAME, or NULL. */
static char *trigger_id(const char *id, const char *name, struct error *err) {
    cleanup_free char *path = x_asprintf("/%s/triggers", id);
    cleanup_json struct json *reply = NULL;
    const struct json *list = NULL;
    if (client_list(path, "triggers", &reply, &list, err) < 0)
        return NULL;
    for (size_t i = 0; i < json_count(list); i++)
        if (str_is(member_str(json_item(list, i), "name", ""), name))
            return str_dup(member_str(json_item(list, i), "id", ""));
    return NULL;
}

static void put_http(struct json_w *w, const char *http) {
    struct str path = str_of(http), method = STR("GET");
    if (memchr(path.p, ' ', path.len))
        method = str_cut(&path, ' ');
    jw_str_member(w, "method", method);
    jw_str_member(w, "path", path);
}

/* TYPE is http, and WHEN "[METHOD ]PATH", or schedule, and WHEN is its cron. */
static int set(const char *name, const char *id, const char *type, const char *when,
               struct error *err) {
    cleanup_buf struct buf body = BUF_INIT(64 * KIB);
    struct json_w w;
    bool http = strcmp(type, "http") == 0;
    json_w_init(&w, &body);
    jw_begin_object(&w);
    jw_cstr_member(&w, "name", name);
    jw_cstr_member(&w, "type", type);
    jw_bool_member(&w, "enabled", true);
    jw_object_member(&w, "config");
    if (http)
        put_http(&w, when);
    else
        jw_cstr_member(&w, "cron", when);
    jw_end_object(&w);
    jw_end_object(&w);
    struct error none = {0};
    cleanup_free char *old = trigger_id(id, name, &none);
    cleanup_free char *url =
        old ? x_asprintf("/%s/triggers/%s", id, old) : x_asprintf("/%s/triggers", id);
    return client_call(old ? "PUT" : "POST", url, &body, NULL, err);
}

int triggers_set(const struct options *o, const char *name, const char *id, struct error *err) {
    cleanup_free char *http = x_asprintf("%s-http", name), *cron = x_asprintf("%s-cron", name);
    if (o->http && set(http, id, "http", o->http, err) < 0)
        return -1;
    return o->cron ? set(cron, id, "schedule", o->cron, err) : 0;
}
