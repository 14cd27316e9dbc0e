/* SPDX-License-Identifier: Apache-2.0 */
/* kiln invoke: what the function returned goes to standard output, how it went to standard error.
 */

#include "cli/cli.h"
#include "json/write.h"
#include <stdio.h>

#define BODY_MAX (50 * MIB)

static int read_stream(FILE *f, struct buf *out, struct error *err) {
    char part[65536];
    size_t n;
    while ((n = fread(part, 1, sizeof part, f)) > 0)
        if (buf_put(out, part, n) < 0)
            return error_set(err, ERR_TOO_LARGE, "the body is larger than %zu MiB", BODY_MAX / MIB);
    return 0;
}

static int read_data(const char *data, struct buf *out, struct error *err) {
    if (!data)
        return 0;
    if (strcmp(data, "-") == 0)
        return read_stream(stdin, out, err);
    if (data[0] != '@')
        return buf_puts(out, data) < 0 ? error_set(err, ERR_TOO_LARGE, "--data is too long") : 0;
    FILE *f = fopen(data + 1, "re");
    if (!f)
        return error_set(err, ERR_INVALID, "cannot read %s", data + 1);
    int r = read_stream(f, out, err);
    (void)fclose(f);
    return r;
}

static int put_headers(struct json_w *w, const struct options *o, struct error *err) {
    if (o->n_header == 0)
        return 0;
    jw_object_member(w, "headers");
    for (size_t i = 0; i < o->n_header; i++) {
        struct str value = str_of(o->header[i]);
        struct str name = str_cut(&value, ':');
        if (!value.p)
            return error_set(err, ERR_INVALID, "--header wants \"NAME: VALUE\", not \"%s\"",
                             o->header[i]);
        jw_key_str(w, name);
        jw_begin_array(w);
        jw_str(w, str_trim(value));
        jw_end_array(w);
    }
    jw_end_object(w);
    return 0;
}

static int request(const struct options *o, struct buf *out, struct error *err) {
    cleanup_buf struct buf data = BUF_INIT(BODY_MAX);
    if (read_data(o->data, &data, err) < 0)
        return -1;
    struct json_w w;
    json_w_init(&w, out);
    jw_begin_object(&w);
    jw_cstr_member(&w, "method", o->method ? o->method : "POST");
    jw_cstr_member(&w, "path", o->path ? o->path : "/");
    if (put_headers(&w, o, err) < 0)
        return -1;
    if (data.len) {
        jw_key(&w, "body");
        jw_base64(&w, buf_str(&data));
    }
    jw_end_object(&w);
    return 0;
}

static int show_result(const struct json *reply, struct error *err) {
    struct str body = STR(""), id = STR("");
    int64_t status = 0, ms = 0;
    bool cold = false;
    if (json_get_str(reply, "body", JSON_NULLABLE, &body, err) < 0 ||
        json_get_str(reply, "invocation_id", JSON_REQUIRED, &id, err) < 0 ||
        json_get_int(reply, "status_code", JSON_REQUIRED, 0, 999, &status, err) < 0 ||
        json_get_int(reply, "duration", JSON_REQUIRED, 0, INT64_MAX, &ms, err) < 0 ||
        json_get_bool(reply, "cold_start", JSON_REQUIRED, &cold, err) < 0)
        return -1;
    cleanup_buf struct buf bytes = BUF_INIT(128 * MIB);
    if (buf_put_base64_decoded(&bytes, body) < 0)
        return error_set(err, ERR_INTERNAL, "the server's body is not base64");
    (void)fwrite(bytes.p, 1, bytes.len, stdout);
    if (bytes.len && bytes.p[bytes.len - 1] != '\n')
        putchar('\n');
    fflush(stdout);
    (void)fprintf(stderr, "%lld in %lld ms, %s, %.*s\n", (long long)status, (long long)ms,
                  cold ? "cold start" : "warm", STR_ARG(id));
    return 0;
}

int command_invoke(const struct options *o, struct error *err) {
    cleanup_free char *id = NULL;
    cleanup_buf struct buf body = BUF_INIT(2 * BODY_MAX);
    cleanup_json struct json *reply = NULL;
    if (function_find(o, o->args[0], &id, err) < 0 || request(o, &body, err) < 0)
        return -1;
    cleanup_free char *path = x_asprintf("/%s/%s", id, o->async ? "invoke-async" : "invoke");
    if (client_call("POST", path, &body, &reply, err) < 0) {
        struct error was = *err;
        return error_set(err, was.code, "%s\n  `kiln logs %s` shows what it printed", was.text,
                         o->args[0]);
    }
    if (o->json)
        return print_json(reply);
    if (!o->async)
        return show_result(reply, err);
    struct str inv = STR("");
    if (json_get_str(reply, "invocation_id", JSON_REQUIRED, &inv, err) < 0)
        return -1;
    printf("%.*s\n", STR_ARG(inv));
    return 0;
}
