/* SPDX-License-Identifier: Apache-2.0 */
#include "image_runtime.h"

/* LOAD and CALL, read. The code of an image version is what src/oci/image.c wrote:
 *   u8 1  string digest  u32 n, n strings args  u32 n, n strings env ("NAME=value")
 *   string cwd  u32 uid  u32 gid  u32 n, n u32 further groups */

#include <errno.h>

static int read_strings(struct wire_in *in, size_t max, struct strings *ret) {
    uint32_t n = wire_get_u32(in);
    if (n > max)
        return -EBADMSG;
    for (; n > 0 && !in->bad; n--)
        strings_add(ret, wire_get_str(in));
    return in->bad ? -EBADMSG : 0;
}

static int read_folder(struct spec *s, struct str digest) {
    if (digest.len != 7 + 64 || memcmp(digest.p, "sha256:", 7) != 0)
        return -EBADMSG;
    memcpy(s->folder, digest.p + 7, 64);
    return strspn(s->folder, "0123456789abcdef") == 64 ? 0 : -EBADMSG;
}

static int read_code(struct spec *s, struct str code) {
    struct wire_in in = wire_open(code);
    if (wire_get_u8(&in) != 1 || read_folder(s, wire_get_str(&in)) < 0 ||
        read_strings(&in, IMAGE_ARGS_MAX, &s->args) < 0 ||
        read_strings(&in, IMAGE_ENV_MAX, &s->env) < 0 || s->args.n == 0)
        return -EBADMSG;
    struct str cwd = wire_get_str(&in);
    s->cwd = x_strndup(cwd.len ? cwd.p : "/", cwd.len ? cwd.len : 1);
    s->uid = wire_get_u32(&in);
    s->gid = wire_get_u32(&in);
    uint32_t n = wire_get_u32(&in);
    if (n > IMAGE_GIDS_MAX)
        return -EBADMSG;
    for (s->n_gids = 0; s->n_gids < n; s->n_gids++)
        s->gids[s->n_gids] = wire_get_u32(&in);
    return wire_done(&in) ? 0 : -EBADMSG;
}

/* A config key as the name that containers know it by: capitals, '-' as '_'. */
static void set_config(struct strings *env, struct str name, struct str value) {
    cleanup_free char *upper = x_strndup(name.p, name.len);
    for (char *p = upper; *p; p++) {
        if (*p >= 'a' && *p <= 'z')
            *p = (char)(*p - 'a' + 'A');
        else if (*p == '-')
            *p = '_';
    }
    env_set(env, str_of(upper), value);
    env_set(env, name, value);
}

static int format_of(struct str s) {
    return str_is(s, "http") ? FORMAT_HTTP : str_is(s, "json") ? FORMAT_JSON : FORMAT_DEFAULT;
}

static int read_env(struct spec *s, struct wire_in *in) {
    uint32_t n = wire_get_u32(in);
    for (; n > 0 && !in->bad; n--) {
        struct str name = wire_get_str(in), value = wire_get_str(in);
        if (in->bad || !name.len)
            continue;
        if (str_is(name, "KILN_IMAGE_FORMAT"))
            s->format = (enum format)format_of(value);
        else
            set_config(&s->env, name, value);
    }
    return in->bad ? -EBADMSG : 0;
}

int spec_read(struct spec *s, struct str load, bool *ret_check) {
    struct wire_in in = wire_open(load);
    *s = (struct spec){0};
    *ret_check = (wire_get_u8(&in) & WIRE_LOAD_CHECK) != 0;
    for (int i = 0; i < 4; i++) /* name, version, workspace, handler: the environment has them */
        (void)wire_get_str(&in);
    struct wire_in env = in;
    uint32_t n = wire_get_u32(&in);
    for (; n > 0 && !in.bad; n--) {
        (void)wire_get_str(&in);
        (void)wire_get_str(&in);
    }
    struct str code = wire_get_str(&in);
    if (!wire_done(&in) || read_code(s, code) < 0) /* the image's variables first */
        return -EBADMSG;
    return read_env(s, &env);
}

static bool skip_pairs(struct wire_in *in) {
    uint32_t n = wire_get_u32(in);
    for (; n > 0 && !in->bad; n--) {
        (void)wire_get_str(in);
        (void)wire_get_str(in);
    }
    return !in->bad;
}

int call_read(struct call *c, struct str payload, uint32_t seq) {
    struct wire_in in = wire_open(payload);
    *c = (struct call){.seq = seq, .deadline_ms = wire_get_u32(&in)};
    (void)wire_get_u8(&in); /* what kind of body: bytes, to a container */
    c->id = wire_get_str(&in);
    c->method = wire_get_str(&in);
    c->path = wire_get_str(&in);
    c->query = in;
    if (!skip_pairs(&in))
        return -EBADMSG;
    c->headers = in;
    if (!skip_pairs(&in))
        return -EBADMSG;
    c->body = wire_get_str(&in);
    return wire_done(&in) ? 0 : -EBADMSG;
}

struct str call_header(const struct call *c, const char *name) {
    struct wire_in in = c->headers;
    for (uint32_t n = wire_get_u32(&in); n > 0; n--) {
        struct str key = wire_get_str(&in), value = wire_get_str(&in);
        if (str_is(key, name))
            return value;
    }
    return STR_NULL;
}
