/* SPDX-License-Identifier: Apache-2.0 */
/* kiln deploy --image: fnservice gives a function that there is an image, and makes none of one;
 * IronFunctions' routes are that, in ws-default. All else goes over fnservice. */

#include "cli/cli.h"
#include "json/write.h"
#include <curl/curl.h>

int image_check(const struct options *o, struct error *err) {
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    if (!o->image)
        return o->format ? error_set(err, ERR_INVALID, "--format goes with --image") : 0;
    if (o->name || o->runtime || o->handler)
        return error_set(err, ERR_INVALID,
                         "--image takes no --name, --runtime or --handler: kiln deploy --image "
                         "REFERENCE NAME");
    if (o->args[0][strspn(o->args[0], letters)])
        return error_set(err, ERR_INVALID, "\"%s\" is no name: kiln deploy --image REFERENCE NAME",
                         o->args[0]);
    return 0;
}

/* METHOD on the project's routes, PATH below them, with what of the route only this API can say. */
static int route(const char *method, const char *path, const struct options *o, const char *name,
                 struct error *err) {
    cleanup_buf struct buf body = BUF_INIT(64 * KIB);
    struct json_w w;
    if (strcmp(client_workspace(), CLI_WORKSPACE) != 0)
        return error_set(err, ERR_INVALID,
                         "functions of an image are made, and their --format set, in workspace "
                         "%s only, not in %s",
                         CLI_WORKSPACE, client_workspace());
    char *project = curl_easy_escape(NULL, project_of(o), 0);
    cleanup_free char *own = x_asprintf("/%s", name);
    cleanup_free char *url = x_asprintf("/v1/apps/%s/routes%s", project, path);
    curl_free(project);
    json_w_init(&w, &body);
    jw_begin_object(&w);
    jw_object_member(&w, "route");
    jw_cstr_member(&w, "path", own);
    if (strcmp(method, "POST") == 0)
        jw_cstr_member(&w, "image", o->image);
    if (o->format)
        jw_cstr_member(&w, "format", o->format);
    jw_end_object(&w);
    jw_end_object(&w);
    return client_call_at(method, url, &body, NULL, err);
}

int image_create(const struct options *o, const char *name, struct error *err) {
    return route("POST", "", o, name, err);
}

int image_set_format(const struct options *o, const char *name, struct error *err) {
    cleanup_free char *path = x_asprintf("/%s", name);
    return route("PUT", path, o, name, err);
}
