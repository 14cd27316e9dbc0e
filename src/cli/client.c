/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"
#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>

#define REPLY_MAX (128 * MIB)

static CURL *curl;
static char *base_url, *authorization;

/* ---- where the server is ---- */

static char *read_line(const char *path) {
    FILE *f = fopen(path, "re");
    char line[512] = "";
    if (f && !fgets(line, sizeof line, f))
        line[0] = 0;
    if (f)
        (void)fclose(f);
    line[strcspn(line, "\r\n")] = 0;
    return line[0] ? x_strdup(line) : NULL;
}

static char *data_file(const char *name) {
    const char *share = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    cleanup_free char *path = share && *share
                                  ? x_asprintf("%s/kiln/%s", share, name)
                                  : x_asprintf("%s/.local/share/kiln/%s", home ? home : "", name);
    return read_line(path);
}

static char *setting(const char *variable, const char *file, const char *fallback) {
    const char *v = getenv(variable);
    if (v && *v)
        return x_strdup(v);
    char *line = data_file(file);
    return line ? line : fallback ? x_strdup(fallback) : NULL;
}

const char *client_workspace(void) {
    const char *ws = getenv("KILN_WORKSPACE");
    return ws && *ws ? ws : CLI_WORKSPACE;
}

static int start(struct error *err) {
    if (curl)
        return 0;
    base_url = setting("KILN_URL", "server.url", "http://127.0.0.1:8080");
    size_t n = strlen(base_url);
    while (n && base_url[n - 1] == '/')
        base_url[--n] = 0;
    cleanup_free char *token = setting("KILN_TOKEN", "admin.token", NULL);
    authorization = token ? x_asprintf("Authorization: Bearer %s", token) : NULL;
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
    curl = curl_easy_init();
    return curl ? 0 : error_set(err, ERR_INTERNAL, "libcurl does not start");
}

void client_done(void) {
    if (!curl)
        return;
    curl_easy_cleanup(curl);
    curl_global_cleanup();
    curl = NULL;
    free(base_url);
    free(authorization);
}

/* ---- requests ---- */

static size_t to_buf(char *data, size_t size, size_t n, void *arg) {
    return buf_put(arg, data, size * n) == 0 ? size * n : 0;
}

/* PATH below the workspace's functions: that of the server's root. */
static char *below_functions(const char *path) {
    char *ws = curl_easy_escape(NULL, client_workspace(), 0);
    char *all = x_asprintf("/api/v1/workspaces/%s/functions%s", ws ? ws : "", path);
    curl_free(ws);
    return all;
}

static struct curl_slist *prepare(const char *method, const char *path, const struct buf *body) {
    cleanup_free char *url = x_asprintf("%s%s", base_url, path);
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    headers = curl_slist_append(headers, "Expect:");
    if (authorization)
        headers = curl_slist_append(headers, authorization);
    curl_easy_reset(curl);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    if (body) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body->p);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body->len);
    }
    return headers;
}

static int unreachable(CURLcode code, struct error *err) {
    return error_set(err, ERR_UNAVAILABLE,
                     "no server answers at %s (%s): start one with `kiln serve` or `./run`, or "
                     "set KILN_URL",
                     base_url, curl_easy_strerror(code));
}

static const char *what_next(long status) {
    if (status != 401)
        return "";
    return ", which the command line does with KILN_TOKEN; the administrator's stands in "
           "admin.token in the data folder";
}

static enum error_code code_of(long status) {
    return status == 404   ? ERR_NOT_FOUND
           : status == 409 ? ERR_CONFLICT
           : status == 400 ? ERR_INVALID
                           : ERR_FUNCTION;
}

static int refused(long status, const struct json *reply, struct error *err) {
    struct str text = STR("the server did not say why"), code = STR_NULL;
    const struct json *iron = NULL; /* has an object with its words */
    struct error ignored;
    if (json_get_object(reply, "error", JSON_OPTIONAL, &iron, &ignored) == 0 && iron) {
        (void)json_get_str(iron, "message", JSON_OPTIONAL, &text, &ignored);
        (void)json_get_str(iron, "fields", JSON_OPTIONAL, &text, &ignored);
    }
    (void)json_get_str(reply, "error", JSON_OPTIONAL, &text, &ignored);
    (void)json_get_str(reply, "code", JSON_OPTIONAL, &code, &ignored);
    return error_set(err, code_of(status), "%.*s%s (%ld%s%.*s)", STR_ARG(text), what_next(status),
                     status, code.len ? " " : "", STR_ARG(code));
}

int client_call(const char *method, const char *path, const struct buf *body, struct json **ret,
                struct error *err) {
    cleanup_free char *all = below_functions(path);
    return client_call_at(method, all, body, ret, err);
}

int client_list(const char *path, const char *member, struct json **ret,
                const struct json **ret_list, struct error *err) {
    if (client_call("GET", path, NULL, ret, err) < 0)
        return -1;
    return json_get_array(*ret, member, JSON_REQUIRED, ret_list, err);
}

int client_call_at(const char *method, const char *path, const struct buf *body, struct json **ret,
                   struct error *err) {
    if (start(err) < 0)
        return -1;
    cleanup_buf struct buf reply = BUF_INIT(REPLY_MAX);
    struct curl_slist *headers = prepare(method, path, body);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, to_buf);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &reply);
    CURLcode code = curl_easy_perform(curl);
    curl_slist_free_all(headers);
    if (code != CURLE_OK)
        return unreachable(code, err);
    long status = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    cleanup_json struct json *parsed = NULL;
    struct error bad = {0};
    if (reply.len && json_parse(buf_str(&reply), &parsed, &bad) < 0)
        return error_set(err, ERR_INTERNAL, "%s answered %ld with what is not JSON: is it kiln?",
                         base_url, status);
    if (status >= 400)
        return refused(status, parsed, err);
    if (ret)
        *ret = TAKE_PTR(parsed);
    return 0;
}

/* ---- streams ---- */

struct stream {
    struct buf pending;
    void (*line)(struct str line);
};

static size_t to_lines(char *data, size_t size, size_t n, void *arg) {
    struct stream *s = arg;
    if (buf_put(&s->pending, data, size * n) < 0)
        return 0;
    size_t at = 0;
    for (;;) {
        char *nl = memchr(s->pending.p + at, '\n', s->pending.len - at);
        if (!nl)
            break;
        size_t len = (size_t)(nl - s->pending.p) - at;
        if (len)
            s->line(str_n(s->pending.p + at, len));
        at += len + 1;
    }
    buf_drop(&s->pending, at);
    return size * n;
}

int client_stream(const char *path, void (*line)(struct str line), struct error *err) {
    if (start(err) < 0)
        return -1;
    struct stream s = {.pending = BUF_INIT(16 * MIB), .line = line};
    cleanup_free char *all = below_functions(path);
    struct curl_slist *headers = prepare("GET", all, NULL);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, to_lines);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &s);
    CURLcode code = curl_easy_perform(curl);
    curl_slist_free_all(headers);
    buf_done(&s.pending);
    long status = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    if (code != CURLE_OK)
        return unreachable(code, err);
    return status >= 400
               ? error_set(err, ERR_INTERNAL, "the server refused the stream (%ld)", status)
               : 0;
}
