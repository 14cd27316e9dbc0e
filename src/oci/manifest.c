/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/internal.h"

/* The documents of an image: index, manifest, config (OCI image specification 1.0, and Docker's
 * manifests of version 2, schema 2). */

#include "model/model.h"
#include "wire/wire.h"
#include "json/tree.h"
#include <openssl/sha.h>
#include <stdio.h>

#if defined(__x86_64__)
#define ARCHITECTURE "amd64"
#elif defined(__aarch64__)
#define ARCHITECTURE "arm64"
#elif defined(__riscv)
#define ARCHITECTURE "riscv64"
#else
#error "name this machine as Go does"
#endif

void digest_of(struct str bytes, char out[IMAGE_DIGEST_LEN + 1]) {
    unsigned char hash[SHA256_DIGEST_LENGTH];
    SHA256((const unsigned char *)bytes.p, bytes.len, hash);
    memcpy(out, "sha256:", 7);
    for (size_t i = 0; i < sizeof hash; i++)
        (void)snprintf(out + 7 + 2 * i, 3, "%02x", hash[i]);
}

static int get_digest(const struct json *o, char out[IMAGE_DIGEST_LEN + 1], struct error *err) {
    struct str digest = STR_NULL;
    if (json_get_str(o, "digest", JSON_REQUIRED, &digest, err) < 0)
        return -1;
    if (!image_digest_check(digest))
        return json_fail_member(o, "digest", err, "is no sha256 digest");
    memcpy(out, digest.p, digest.len);
    out[digest.len] = 0;
    return 0;
}

/* ---- index ---- */

static bool fits_machine(const struct json *item) {
    const struct json *platform = json_member(item, "platform");
    struct str os = STR_NULL, arch = STR_NULL;
    struct error ignored;
    if (json_get_str(platform, "os", 0, &os, &ignored) < 0 ||
        json_get_str(platform, "architecture", 0, &arch, &ignored) < 0)
        return false;
    return str_is(os, "linux") && str_is(arch, ARCHITECTURE);
}

static int parse_index(const struct json *list, struct manifest *ret, struct error *err) {
    ret->is_index = true;
    for (size_t i = 0; i < json_count(list); i++)
        if (fits_machine(json_item(list, i)))
            return get_digest(json_item(list, i), ret->child, err);
    return error_field(err, ERR_INVALID, "image", "the image is not made for linux/" ARCHITECTURE);
}

/* ---- manifest ---- */

static int parse_layer(const struct json *o, struct layer *ret, struct error *err) {
    struct str type = STR_NULL;
    int64_t size = 0;
    if (json_get_str(o, "mediaType", JSON_REQUIRED, &type, err) < 0 ||
        json_get_int(o, "size", JSON_REQUIRED, 0, INT64_MAX / OCI_LAYERS_MAX, &size, err) < 0 ||
        get_digest(o, ret->digest, err) < 0)
        return -1;
    ret->size = (uint64_t)size;
    ret->gzip = str_ends(type, STR("+gzip")) || str_ends(type, STR(".gzip"));
    if (!ret->gzip && !str_ends(type, STR(".tar")))
        return error_field(err, ERR_INVALID, "image",
                           "the image has a layer of type %.*s; gzip and plain tar are unpacked",
                           (int)(type.len > 100 ? 100 : type.len), type.p);
    return 0;
}

static int parse_image(const struct json *root, struct manifest *ret, struct error *err) {
    const struct json *config = NULL, *layers = NULL;
    if (json_get_object(root, "config", JSON_REQUIRED, &config, err) < 0 ||
        json_get_array(root, "layers", JSON_REQUIRED, &layers, err) < 0 ||
        get_digest(config, ret->config, err) < 0)
        return -1;
    ret->n_layers = json_count(layers);
    if (ret->n_layers > OCI_LAYERS_MAX)
        return error_field(err, ERR_TOO_LARGE, "image", "the image has more than %d layers",
                           OCI_LAYERS_MAX);
    for (size_t i = 0; i < ret->n_layers; i++) {
        if (parse_layer(json_item(layers, i), &ret->layers[i], err) < 0)
            return -1;
        ret->bytes += ret->layers[i].size;
    }
    return 0;
}

int manifest_parse(struct str text, struct manifest *ret, struct error *err) {
    cleanup_json struct json *root = NULL;
    const struct json *list = NULL;
    *ret = (struct manifest){0};
    if (json_parse_object(text, &root, err) < 0)
        return error_prepend(err, "the image's manifest is malformed");
    if (!json_has(root, "manifests") && !json_has(root, "config"))
        return error_field(err, ERR_INVALID, "image",
                           "the image has a manifest of a kind that is not known (it may be one of "
                           "Docker's old form, schema 1)");
    int r;
    if (json_has(root, "manifests"))
        r = json_get_array(root, "manifests", JSON_REQUIRED, &list, err) < 0
                ? -1
                : parse_index(list, ret, err);
    else
        r = parse_image(root, ret, err);
    if (r < 0 && err && err->code == ERR_INVALID)
        (void)snprintf(err->field, sizeof err->field, "image");
    return r;
}

/* ---- config to spec ---- */

static int put_strings(const struct json *list, size_t max, struct buf *out, uint32_t *n,
                       struct error *err) {
    for (size_t i = 0; i < json_count(list); i++) {
        struct str s;
        if (json_as_str(json_item(list, i), &s, err) < 0)
            return -1;
        if (++*n > max)
            return error_field(err, ERR_TOO_LARGE, "image",
                               "the image's config has more than %zu words or variables", max);
        (void)wire_str(out, s);
    }
    return 0;
}

static void put_u32_at(struct buf *out, size_t at, uint32_t v) {
    for (size_t i = 0; i < 4; i++)
        out->p[at + i] = (char)(v >> (8 * i));
}

/* Two lists of strings as one, with their number before. */
static int put_list(const struct json *a, const struct json *b, size_t max, struct buf *out,
                    uint32_t *n, struct error *err) {
    size_t at = out->len;
    *n = 0;
    (void)wire_u32(out, 0);
    if (put_strings(a, max, out, n, err) < 0 || put_strings(b, max, out, n, err) < 0)
        return -1;
    put_u32_at(out, at, *n);
    return 0;
}

static int put_user(const struct json *user, struct buf *out, struct error *err) {
    int64_t uid = 0, gid = 0, more = 0;
    const struct json *gids = NULL;
    if (json_get_int(user, "uid", 0, 0, 65535, &uid, err) < 0 ||
        json_get_int(user, "gid", 0, 0, 65535, &gid, err) < 0 ||
        json_get_array(user, "additionalGids", JSON_NULLABLE, &gids, err) < 0)
        return error_prepend(err, "the image's user");
    size_t n = json_count(gids);
    n = n > OCI_GIDS_MAX ? OCI_GIDS_MAX : n;
    (void)wire_u32(out, (uint32_t)uid);
    (void)wire_u32(out, (uint32_t)gid);
    (void)wire_u32(out, (uint32_t)n);
    for (size_t i = 0; i < n; i++) {
        if (json_as_int(json_item(gids, i), 0, 65535, &more, err) < 0)
            return -1;
        (void)wire_u32(out, (uint32_t)more);
    }
    return 0;
}

static int check_machine(const struct json *root, struct error *err) {
    struct str os = STR("linux"), arch = STR(ARCHITECTURE);
    if (json_get_str(root, "os", JSON_NULLABLE, &os, err) < 0 ||
        json_get_str(root, "architecture", JSON_NULLABLE, &arch, err) < 0)
        return -1;
    if (!str_is(os, "linux") || !str_is(arch, ARCHITECTURE))
        return error_field(err, ERR_INVALID, "image",
                           "the image is made for %.*s/%.*s, this machine is linux/" ARCHITECTURE,
                           (int)(os.len > 40 ? 40 : os.len), os.p,
                           (int)(arch.len > 40 ? 40 : arch.len), arch.p);
    return 0;
}

static int make(const struct json *root, const struct json *runtime, const char *digest,
                struct buf *out, struct error *err) {
    const struct json *config = NULL, *entrypoint = NULL, *cmd = NULL, *env = NULL, *process = NULL,
                      *user = NULL;
    struct str cwd = STR("");
    uint32_t n_args = 0, n_env = 0;
    if (check_machine(root, err) < 0 ||
        json_get_object(root, "config", JSON_NULLABLE, &config, err) < 0 ||
        json_get_array(config, "Entrypoint", JSON_NULLABLE, &entrypoint, err) < 0 ||
        json_get_array(config, "Cmd", JSON_NULLABLE, &cmd, err) < 0 ||
        json_get_array(config, "Env", JSON_NULLABLE, &env, err) < 0 ||
        json_get_str(config, "WorkingDir", JSON_NULLABLE, &cwd, err) < 0 ||
        json_get_object(runtime, "process", JSON_REQUIRED, &process, err) < 0 ||
        json_get_object(process, "user", 0, &user, err) < 0)
        return -1;
    (void)wire_u8(out, 1);
    (void)wire_str(out, str_of(digest));
    if (put_list(entrypoint, cmd, OCI_ARGS_MAX, out, &n_args, err) < 0 ||
        put_list(env, NULL, OCI_ENV_MAX, out, &n_env, err) < 0)
        return -1;
    if (n_args == 0)
        return error_field(err, ERR_INVALID, "image",
                           "the image has no entrypoint and no command: nothing to run");
    (void)wire_str(out, cwd.len && cwd.p[0] == '/' ? cwd : STR("/"));
    return put_user(user, out, err);
}

int spec_make(struct str config, struct str runtime, const char *digest, struct buf *out,
              struct error *err) {
    cleanup_json struct json *root = NULL, *run = NULL;
    int r = json_parse_object(config, &root, err);
    if (r == 0)
        r = json_parse_object(runtime, &run, err);
    if (r == 0)
        r = make(root, run, digest, out, err);
    if (r < 0) {
        if (err->code == ERR_INVALID && strcmp(err->field, "image") != 0)
            (void)error_prepend(err, "the image's config");
        (void)snprintf(err->field, sizeof err->field, "image");
    }
    return r;
}

int spec_describe(struct str spec, struct buf *out) {
    struct wire_in in = wire_open(spec);
    (void)wire_get_u8(&in);
    (void)wire_get_str(&in);
    (void)buf_puts(out, "[");
    uint32_t n = wire_get_u32(&in);
    for (uint32_t i = 0; i < n && !in.bad; i++) {
        struct str s = wire_get_str(&in);
        if (i)
            (void)buf_putc(out, ' ');
        if (out->len < 2000)
            (void)buf_put_str(out, s.len > 200 ? str_n(s.p, 200) : s);
    }
    for (n = wire_get_u32(&in); n > 0 && !in.bad; n--)
        (void)wire_get_str(&in);
    struct str cwd = wire_get_str(&in);
    uint32_t uid = wire_get_u32(&in), gid = wire_get_u32(&in);
    return buf_printf(out, "] in %.*s as %u:%u", (int)(cwd.len > 200 ? 200 : cwd.len), cwd.p, uid,
                      gid);
}
