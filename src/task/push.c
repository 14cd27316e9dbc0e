/* SPDX-License-Identifier: Apache-2.0 */
/* Images into registries, by skopeo. A password reaches it on its standard input: argv is
 * everybody's to read. */

#include "task/internal.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "model/image_ref.h"
#include "remote/s3.h"
#include "task/image.h"
#include "json/write.h"

/* ---- where it goes ---- */
static bool is_host(struct str s) {
    return memchr(s.p, '.', s.len) || memchr(s.p, ':', s.len) || str_is(s, "localhost");
}

static struct str without_scheme(struct str s) {
    static const char *const schemes[] = {"https://", "http://"};
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++)
        if (str_starts(s, str_of(schemes[i])))
            s = str_n(s.p + strlen(schemes[i]), s.len - strlen(schemes[i]));
    while (s.len && s.p[s.len - 1] == '/') /* NOLINT(clang-analyzer-core.NullDereference) */
        s.len--;
    return s;
}

/* The part of an image's name that APP makes: "Blog API" → "blog-api". */
static void path_from(const char *app, struct buf *out) {
    bool dash = false;
    for (const char *p = app; *p && out->len < NAME_MAX_LEN; p++) {
        char c = *p >= 'A' && *p <= 'Z' ? (char)(*p + 32) : *p;
        bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (plain && dash && out->len)
            (void)buf_putc(out, '-');
        if (plain)
            (void)buf_putc(out, c);
        dash = !plain;
    }
    if (out->len == 0)
        (void)buf_puts(out, "app");
}

/* A host is needed: an image is never sent to a registry that was not named. */
static int reference(struct str registry, struct str tag, const char *app, const char *id,
                     struct image_ref *ret, struct error *err) {
    struct str at = without_scheme(registry), rest = at, host = str_cut(&rest, '/');
    cleanup_buf struct buf text = BUF_INIT(IMAGE_REF_MAX_LEN);
    struct error why;
    if (!is_host(host))
        return error_field(err, ERR_INVALID, "registry_url",
                           "registry_url must begin with a registry's host, such as "
                           "registry.example.com/team/app or localhost:5000");
    (void)buf_put_str(&text, at);
    if (!rest.p) {
        cleanup_buf struct buf path = BUF_INIT(2 * NAME_MAX_LEN);
        path_from(app, &path);
        (void)buf_putc(&text, '/');
        (void)buf_put_str(&text, buf_str(&path));
    }
    if (memchr(at.p, '@', at.len) ||
        (rest.p && memchr(rest.p, ':', rest.len))) /* a tag, or a password */
        return error_field(err, ERR_INVALID, "registry_url",
                           "registry_url is a registry and a name, without tag, digest or user");
    (void)buf_putc(&text, ':');
    if (str_is(tag, "sha256"))
        (void)buf_printf(&text, "task-%s",
                         id); /* as the document has it, whatever an id looks like */
    else
        (void)buf_put_str(&text, tag);
    if (image_ref_parse(buf_str(&text), ret, &why) == 0)
        return 0;
    struct error about_tag;
    cleanup_buf struct buf name_only = BUF_INIT(IMAGE_REF_MAX_LEN);
    (void)buf_printf(&name_only, "localhost/a:%.*s", STR_ARG(tag));
    bool tag_bad = image_ref_check(buf_str(&name_only), &about_tag) < 0;
    return tag_bad ? error_field(err, ERR_INVALID, "tag",
                                 "tag must be letters, digits, '_', '.' and '-', at most 128")
                   : error_field(err, ERR_INVALID, "registry_url",
                                 "registry_url is no place for an image: %s", why.text);
}

int task_check_push(const struct task_push *p, struct error *err) {
    struct image_ref ref;
    if (p->registry.len == 0 || p->registry.len > TASK_REGISTRY_MAX)
        return error_field(err, ERR_INVALID, "registry_url",
                           "registry_url must have 1 to %u characters", TASK_REGISTRY_MAX);
    if (p->tag.len == 0 || p->tag.len > TASK_TAG_MAX)
        return error_field(err, ERR_INVALID, "tag", "tag must have 1 to %u characters",
                           TASK_TAG_MAX);
    if (p->user.len > TASK_USER_MAX || p->password.len > TASK_CREDENTIAL_MAX)
        return error_field(err, ERR_INVALID, "password", "username or password is too long");
    if ((p->user.len && (memchr(p->user.p, ':', p->user.len) || memchr(p->user.p, 0, p->user.len))))
        return error_field(err, ERR_INVALID, "username", "username must not hold ':' or NUL");
    return reference(p->registry, p->tag, "app", "task-0", &ref, err);
}

/* ---- skopeo ---- */
#define AUTH_MAX (64 * KIB)

/* containers-auth.json(5); without a password one that knows nobody, so that no other is looked at.
 */
static int make_auth(const struct job *j, const struct image_ref *ref, struct buf *out,
                     struct error *err) {
    cleanup_buf struct buf pair = BUF_INIT(AUTH_MAX / 2);
    struct json_w w;
    json_w_init(&w, out);
    jw_begin_object(&w);
    jw_object_member(&w, "auths");
    if (j->password) {
        (void)buf_printf(&pair, "%s:%s", j->user, j->password);
        jw_object_member(&w, ref->host);
        jw_key(&w, "auth");
        jw_base64(&w, buf_str(&pair));
        jw_end_object(&w);
    }
    jw_end_object(&w);
    jw_end_object(&w);
    if (pair.p)
        explicit_bzero(pair.p, pair.len);
    return json_w_done(&w) < 0 ? error_set(err, ERR_INTERNAL, "the credentials are too long") : 0;
}

static void on_line(void *arg, struct str line, bool is_stderr UNUSED) {
    job_log_line(arg, line);
}

#define REASON_MAX 300

/* time="…" level=fatal msg="…": what is between the last quotes, without its escapes, with the
 * host's words. */
static void reason(const struct child_result *r, char out[REASON_MAX + 1]) {
    struct str line = child_last_line(r);
    const char *msg = line.len ? memmem(line.p, line.len, "msg=\"", 5) : NULL;
    const char *p = msg ? msg + 5 : line.p, *end = line.p + line.len;
    size_t n = 0;
    for (; p < end && n < REASON_MAX && !(msg && *p == '"'); p++) {
        if (*p == '\\' && p + 1 < end)
            p++;
        out[n++] = (unsigned char)*p < 0x20 ? ' ' : *p;
    }
    out[n] = 0;
}

static int ended(const struct child_result *r, const struct image_ref *ref, struct error *err) {
    char why[REASON_MAX + 1];
    if (child_ok(r))
        return 0;
    if (r->end == CHILD_TIMED_OUT)
        return error_set(err, ERR_TIMEOUT, "the registry %s was too slow", ref->host);
    if (r->end == CHILD_CANCELED)
        return error_set(err, ERR_UNAVAILABLE, "the server is shutting down");
    reason(r, why);
    return error_set(err, ERR_UNAVAILABLE, "the push to %s failed: %s", ref->host, why);
}

/* SCRATCH: a folder of this push, with the layout in it; what skopeo remembers goes there too. */
static int run_skopeo(struct job *j, const struct image_ref *ref, const char *scratch,
                      struct str auth, struct error *err) {
    char text[IMAGE_REF_TEXT_MAX];
    cleanup_free char *from = x_asprintf("oci:%s/layout", scratch);
    cleanup_free char *to = x_asprintf("docker://%s", image_ref_text(ref, text));
    cleanup_free char *tmp = x_asprintf("TMPDIR=%s", scratch);
    cleanup_free char *home = x_asprintf("HOME=%s", scratch);
    cleanup_free char *data = x_asprintf("XDG_DATA_HOME=%s", scratch);
    const char *tls = image_ref_is_loopback(ref) ? "--dest-tls-verify=false" : "--dest-tls-verify";
    const char *of_server = j->tasks->registry_auth;
    const char *authfile = j->password || !of_server ? "/dev/stdin" : of_server;
    const char *argv[] = {
        "skopeo", "--insecure-policy", "copy", "--authfile", authfile, tls, from, to, NULL};
    const char *env[] = {tmp, home, data, NULL};
    struct child_spec spec = {
        .argv = argv,
        .env = env,
        .input = auth,
        .output_max = TASK_CHILD_OUT_MAX,
        .deadline_ms = j->tasks->config.push_ms,
        .cancel_fd = workers_cancel_fd(j->tasks->config.workers),
        .line = on_line,
        .arg = j,
    };
    struct child_result r;
    int e = child_run(&spec, &r);
    if (e == -ENOENT)
        return error_set(err, ERR_UNAVAILABLE, "pushing needs the program skopeo on the server");
    if (e < 0)
        return error_errno(err, e, "skopeo could not be started");
    e = ended(&r, ref, err);
    child_result_done(&r);
    return e;
}

/* The artefact's file; from S3 where it is here no more. */
static int find_source(struct job *j, char **ret, struct error *err) {
    const char *id = j->task.kind == TASK_PUSH ? j->source_id : j->task.id;
    cleanup_free char *path = task_path(j->tasks, id, "image.tar");
    if (access(path, R_OK) == 0) {
        *ret = TAKE_PTR(path);
        return 0;
    }
    if (!j->tasks->config.s3)
        return error_set(err, ERR_NOT_FOUND, "the artefact is gone: build it again");
    cleanup_buf struct buf bytes = BUF_INIT(4 * SOURCE_BYTES_MAX);
    cleanup_free char *key = task_object_key(j->task.workspace, id, "image.tar");
    cleanup_free char *copy = task_path(j->tasks, j->task.id, "image.tar");
    if (s3_get(j->tasks->config.s3, key, &bytes, err) < 0 ||
        task_write_file(copy, buf_str(&bytes), err) < 0)
        return -1;
    *ret = TAKE_PTR(copy);
    return 0;
}

static int push_layout(struct job *j, const struct image_ref *ref, const char *source,
                       const char *scratch, struct error *err) {
    cleanup_buf struct buf auth = BUF_INIT(AUTH_MAX);
    cleanup_free char *layout = x_asprintf("%s/layout", scratch);
    if (mkdir(scratch, 0700) < 0)
        return error_errno(err, -errno, "the push's folder could not be made");
    if (image_unpack(source, layout, err) < 0 || make_auth(j, ref, &auth, err) < 0)
        return -1;
    int r = run_skopeo(j, ref, scratch, buf_str(&auth), err);
    explicit_bzero(auth.p, auth.len);
    return r;
}

int job_push(struct job *j, struct error *err) {
    struct image_ref ref;
    char text[IMAGE_REF_TEXT_MAX];
    cleanup_free char *source = NULL;
    cleanup_free char *scratch = task_path(j->tasks, j->task.id, "push");
    if (reference(str_of(j->registry), str_of(j->tag), j->task.app_name, j->task.id, &ref, err) <
            0 ||
        image_ref_allowed(&ref, j->tasks->registries, err) < 0 ||
        task_make_folder(j->tasks, j->task.id, err) < 0 || find_source(j, &source, err) < 0)
        return -1;
    job_log(j, "to %s", image_ref_text(&ref, text));
    task_remove(scratch); /* of an attempt that was cut off */
    int r = push_layout(j, &ref, source, scratch, err);
    task_remove(scratch);
    if (r == 0) {
        free(j->task.image);
        j->task.image = x_strdup(image_ref_text(&ref, text));
    }
    return r;
}
