/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/internal.h"

/* The programs: skopeo speaks to registries, umoci unpacks. What they say is turned into what a
 * user can act on. */

#include <errno.h>
#include <signal.h>
#include <stdio.h>

#define OUTPUT_MAX (64 * KIB)

static const char *const places[] = {"/usr/bin/", "/usr/local/bin/", "/bin/", "/usr/sbin/"};

bool oci_installed(const char *program) {
    char path[64];
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        (void)snprintf(path, sizeof path, "%s%s", places[i], program);
        if (access(path, X_OK) == 0)
            return true;
    }
    return false;
}

bool oci_available(char why[OCI_WHY_MAX]) {
    static const char *const programs[] = {"crun", "skopeo", "umoci"};
    cleanup_buf struct buf text = BUF_INIT(OCI_WHY_MAX);
    for (size_t i = 0; i < ARRAY_LEN(programs); i++)
        if (!oci_installed(programs[i]))
            (void)buf_printf(&text, "%s%s", text.len ? " " : "", programs[i]);
    if (why && text.len)
        (void)snprintf(why, OCI_WHY_MAX, "images need the package%s %s (apt install %s)",
                       strchr(buf_cstr(&text), ' ') ? "s" : "", buf_cstr(&text), buf_cstr(&text));
    else if (why)
        why[0] = 0;
    return text.len == 0;
}

/* ---- what they say ---- */

static bool says(struct str text, const char *const *words) {
    for (; *words; words++)
        if (memmem(text.p, text.len, *words, strlen(*words)))
            return true;
    return false;
}

/* skopeo logs time="…" level=fatal msg="…": the message, without its escapes. */
static void message_of(struct str line, char *out, size_t size) {
    const char *msg = line.len ? memmem(line.p, line.len, "msg=\"", 5) : NULL;
    const char *p = msg ? msg + 5 : line.p, *end = line.p + line.len;
    size_t n = 0;
    for (; p < end && n + 1 < size; p++) {
        if (msg && *p == '"')
            break;
        if (*p == '\\' && p + 1 < end)
            p++;
        out[n++] = (unsigned char)*p < 0x20 ? ' ' : *p;
    }
    out[n] = 0;
}

static int explain_registry(const struct fetch *f, struct str line, struct error *err) {
    static const char *const absent[] = {"manifest unknown",          "name unknown", "not found",
                                         "repository name not known", "blob unknown", NULL};
    static const char *const refused[] = {
        "unauthorized", "authentication required", "denied", "forbidden",
        "Forbidden",    "invalid username",        NULL};
    static const char *const unreachable[] = {"connection refused",
                                              "no such host",
                                              "i/o timeout",
                                              "dial tcp",
                                              "EOF",
                                              "reset by peer",
                                              "tls:",
                                              "x509:",
                                              "TLS handshake",
                                              "Service Unavailable",
                                              NULL};
    char text[IMAGE_REF_TEXT_MAX], said[300];
    (void)image_ref_text(&f->ref, text);
    message_of(line, said, sizeof said);
    if (says(line, absent))
        return error_field(err, ERR_NOT_FOUND, "image", "the registry has no image %s", text);
    if (says(line, refused))
        return error_field(err, ERR_FORBIDDEN, "image",
                           "the registry %s does not let kiln read %s: %s", f->ref.host,
                           f->ref.path,
                           f->o->auth_file ? "look at its entry in the file of the setting "
                                             "registry-auth"
                                           : "it may want the setting registry-auth");
    if (says(line, unreachable))
        return error_field(err, ERR_UNAVAILABLE, "image", "the registry %s cannot be reached: %s",
                           f->ref.host, said);
    return error_field(err, ERR_UNAVAILABLE, "image", "%s could not be fetched: %s", text, said);
}

static int explain_end(const struct child_result *r, const char *program, struct error *err) {
    if (r->end == CHILD_TIMED_OUT)
        return error_field(err, ERR_UNAVAILABLE, "image", "%s did not end in time", program);
    if (r->end == CHILD_CANCELED)
        return error_set(err, ERR_UNAVAILABLE, "the server is shutting down");
    if (r->end == CHILD_KILLED && r->status != SIGXFSZ)
        return error_set(err, ERR_UNAVAILABLE, "%s was killed by signal %d", program, r->status);
    return 0;
}

static int run(const struct fetch *f, struct child_spec *spec, struct child_result *r,
               struct error *err) {
    spec->cancel_fd = f->pull->cancel_fd;
    if (!spec->output_max)
        spec->output_max = OUTPUT_MAX;
    int e = child_run(spec, r);
    if (e < 0)
        return error_set(err, ERR_UNAVAILABLE, "%s does not run: %s", spec->argv[0],
                         errno_text(-e));
    if (explain_end(r, spec->argv[0], err) < 0) {
        child_result_done(r);
        return -1;
    }
    return 0;
}

/* ---- skopeo ---- */

static const char *auth_file(const struct fetch *f) {
    return f->o->auth_file ? f->o->auth_file : f->o->no_auth_file;
}

/* A registry may send more than it said: no file grows over the limit. How skopeo says so depends
 * on the Go that it was made with. */
static bool grew_too_large(const struct child_result *r) {
    static const char *const words[] = {"SIGXFSZ", "file too large", NULL};
    return (r->end == CHILD_KILLED && r->status == SIGXFSZ) || says(buf_str(&r->err), words);
}

static int too_large(const struct fetch *f, struct error *err) {
    return error_field(err, ERR_TOO_LARGE, "image",
                       "a layer of the image has more than %llu MiB, which is all that is taken "
                       "(setting image-max)",
                       (unsigned long long)(f->o->image_max / MIB));
}

/* As an ordinary user skopeo remembers what it saw where: below our own folder, not in $HOME. There
 * it would look for credentials, too, which are those of whoever started the server. */
static int skopeo(const struct fetch *f, const char *const *argv, uint32_t ms, size_t output_max,
                  struct buf *out, struct error *err) {
    cleanup_free char *data = x_asprintf("XDG_DATA_HOME=%s/.skopeo", f->o->dir);
    cleanup_free char *home = x_asprintf("HOME=%s/.skopeo", f->o->dir);
    const char *env[] = {data, home, NULL};
    struct child_spec spec = {
        .argv = argv, .env = env, .deadline_ms = ms, .output_max = output_max};
    spec.file_bytes_max = f->o->image_max > OCI_MANIFEST_MAX ? f->o->image_max : OCI_MANIFEST_MAX;
    struct child_result r;
    if (run(f, &spec, &r, err) < 0)
        return -1;
    int result = 0;
    if (!child_ok(&r) && grew_too_large(&r))
        result = too_large(f, err);
    else if (!child_ok(&r))
        result = explain_registry(f, child_last_line(&r), err);
    else if (r.out_cut)
        result = error_field(err, ERR_TOO_LARGE, "image", "the image's manifest is too large");
    else if (out)
        (void)buf_put_str(out, buf_str(&r.out));
    child_result_done(&r);
    return result;
}

int skopeo_manifest(const struct fetch *f, struct buf *out, struct error *err) {
    char ref[IMAGE_REF_TEXT_MAX], url[IMAGE_REF_TEXT_MAX + 16];
    (void)snprintf(url, sizeof url, "docker://%s", image_ref_text(&f->ref, ref));
    const char *argv[] = {
        "skopeo",     "inspect",
        "--raw",      "--authfile",
        auth_file(f), image_ref_is_loopback(&f->ref) ? "--tls-verify=false" : "--tls-verify=true",
        url,          NULL};
    return skopeo(f, argv, OCI_ASK_MS, OCI_MANIFEST_MAX, out, err);
}

int skopeo_copy(const struct fetch *f, const char *to_dir, struct error *err) {
    char ref[IMAGE_REF_TEXT_MAX], url[IMAGE_REF_TEXT_MAX + 16];
    cleanup_free char *to = x_asprintf("oci:%s:image", to_dir);
    (void)snprintf(url, sizeof url, "docker://%s", image_ref_text(&f->ref, ref));
    const char *argv[] = {"skopeo",
                          "copy",
                          "--quiet",
                          "--remove-signatures",
                          "--src-authfile",
                          auth_file(f),
                          image_ref_is_loopback(&f->ref) ? "--src-tls-verify=false"
                                                         : "--src-tls-verify=true",
                          url,
                          to,
                          NULL};
    return skopeo(f, argv, OCI_PULL_MS, 0, NULL, err);
}

/* ---- umoci ---- */

/* As root the layout is given to the ids that it is unpacked as: kiln-unpack has no others. */
static int give_away(const struct fetch *f, const char *temp, struct error *err) {
    char owner[32];
    (void)snprintf(owner, sizeof owner, "%u:%u", f->o->uid_base, f->o->uid_base);
    const char *argv[] = {"chown", "-R", "-h", owner, "--", temp, NULL};
    struct child_spec spec = {.argv = argv};
    struct child_result r;
    if (run(f, &spec, &r, err) < 0)
        return -1;
    bool ok = child_ok(&r);
    child_result_done(&r);
    return ok ? 0 : error_set(err, ERR_INTERNAL, "the image's folder cannot be given away");
}

int umoci_unpack(const struct fetch *f, const char *temp, struct error *err) {
    char base[16], said[300];
    cleanup_free char *image = x_asprintf("%s/layout:image", temp);
    cleanup_free char *bundle = x_asprintf("%s/bundle", temp);
    cleanup_free char *confined = x_asprintf("%s/kiln-unpack", f->o->lib_dir);
    (void)snprintf(base, sizeof base, "%u", f->o->uid_base);
    const char *mapped[] = {confined, base, temp, NULL};
    const char *ours[] = {"umoci", "unpack", "--rootless", "--image", image, bundle, NULL};
    struct child_spec spec = {.argv = f->o->uid_base ? mapped : ours,
                              .deadline_ms = OCI_UNPACK_MS,
                              .file_bytes_max = f->o->image_max};
    struct child_result r;
    if (f->o->uid_base && give_away(f, temp, err) < 0)
        return -1;
    if (run(f, &spec, &r, err) < 0)
        return -1;
    bool ok = child_ok(&r);
    message_of(child_last_line(&r), said, sizeof said);
    child_result_done(&r);
    return ok ? 0
              : error_field(err, ERR_INVALID, "image", "the image could not be unpacked: %s", said);
}

/* ---- away with a tree ---- */

/* Programs that know how deep a tree may be. As an ordinary user folders of an image may be closed
 * to their own owner. */
void remove_tree(const char *path) {
    static const char *const steps[][5] = {{"chmod", "-R", "u+rwX", "--"}, {"rm", "-rf", "--"}};
    for (size_t i = geteuid() == 0 ? 1 : 0; i < ARRAY_LEN(steps); i++) {
        const char *argv[7] = {NULL};
        size_t n = 0;
        for (; steps[i][n]; n++)
            argv[n] = steps[i][n];
        argv[n] = path;
        struct child_spec spec = {.argv = argv, .output_max = KIB};
        struct child_result r;
        if (child_run(&spec, &r) == 0)
            child_result_done(&r);
    }
}
