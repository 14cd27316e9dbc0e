/* SPDX-License-Identifier: Apache-2.0 */
#include "task/source.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <locale.h>
#include <stdio.h>

#define READ_SIZE (64 * KIB)

static int bad(struct error *err, const char *what) {
    return error_field(err, ERR_INVALID, "file", "the archive is refused: %s", what);
}

static int too_large(struct error *err, const char *what) {
    return error_field(err, ERR_TOO_LARGE, "file", "the archive is refused: %s", what);
}

/* ---- files ---- */
void source_done(struct source *s) {
    for (size_t i = 0; i < s->n; i++) {
        free(s->v[i].path);
        free(s->v[i].bytes);
    }
    free(s->v);
    *s = (struct source){0};
}

/* BYTES is taken. */
static void add(struct source *s, struct str path, char *bytes, size_t len) {
    if (s->n == s->cap) {
        s->cap = s->cap ? 2 * s->cap : 16;
        s->v = x_realloc(s->v, s->cap * sizeof *s->v);
    }
    s->v[s->n++] = (struct source_file){.path = str_dup(path), .bytes = bytes, .len = len};
    s->bytes += len;
}

static struct source_file *find(const struct source *s, const char *path) {
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->v[i].path, path) == 0)
            return &s->v[i];
    return NULL;
}

static struct str text_of(const struct source_file *f) {
    return str_n(f->bytes, f->len); /* NOLINT(clang-analyzer-core.NullDereference) */
}

static const char *search(struct str in, const char *what) {
    return in.len ? memmem(in.p, in.len, what, strlen(what)) : NULL;
}

/* ---- names ---- */
static bool ends_in(struct str s, const char *suffix) {
    size_t n = strlen(suffix);
    return s.len > n && str_ieq(str_n(s.p + s.len - n, n), str_of(suffix));
}

bool source_is_archive(struct str name) {
    return ends_in(name, ".zip");
}

int source_check_name(struct str name, struct error *err) {
    if (ends_in(name, ".py") || ends_in(name, ".zip"))
        return 0;
    return error_field(err, ERR_INVALID, "file",
                       "file must be a .py or a .zip, by the name that it is uploaded under");
}

/* Zips come from everywhere: a path is taken apart and put together again. */
static int clean_path(const char *raw, struct buf *out, struct error *err) {
    struct str rest = str_of(raw);
    uint32_t depth = 0;
    buf_clear(out);
    if (rest.len == 0 || raw[0] == '/' || strchr(raw, '\\'))
        return bad(err, "a path that is absolute, empty or has a backslash");
    if (!str_is_utf8(rest))
        return bad(err, "a path that is no UTF-8");
    while (rest.p) {
        struct str part = str_cut(&rest, '/');
        if (str_is(part, ".."))
            return bad(err, "a path with \"..\"");
        for (size_t i = 0; i < part.len; i++)
            if ((unsigned char)part.p[i] < 0x20 || part.p[i] == 0x7f)
                return bad(err, "a path with control characters");
        if (part.len == 0 || str_is(part, "."))
            continue;
        if (++depth > SOURCE_DEPTH_MAX)
            return bad(err, "folders too deep");
        if ((out->len && buf_putc(out, '/') < 0) || buf_put_str(out, part) < 0)
            return bad(err, "a path over 200 bytes");
    }
    return 0;
}

/* libarchive converts names by way of the thread's locale, which is "C" in a server. */
struct utf8 {
    locale_t own, before;
};

static struct utf8 utf8_begin(void) {
    struct utf8 u = {.own = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0)};
    if (u.own)
        u.before = uselocale(u.own);
    return u;
}

static void utf8_end(struct utf8 *u) {
    if (!u->own)
        return;
    (void)uselocale(u->before);
    freelocale(u->own);
}
#define IN_UTF8 __attribute__((cleanup(utf8_end))) UNUSED struct utf8 in_utf8 = utf8_begin()

/* ---- zip, through libarchive ---- */
static int read_entry(struct archive *a, struct source *s, char **ret, size_t *ret_len,
                      struct error *err) {
    cleanup_buf struct buf data = BUF_INIT(SOURCE_BYTES_MAX - s->bytes);
    char *chunk = x_alloc(READ_SIZE);
    ssize_t n;
    int r = 0;
    while (r == 0 && (n = archive_read_data(a, chunk, READ_SIZE)) != 0) {
        if (n < 0)
            r = bad(err, "it is damaged, or packed in a way that is not known here");
        else if (buf_put(&data, chunk, (size_t)n) < 0)
            r = too_large(err, "its files are more than 32 MiB");
    }
    free(chunk);
    if (r == 0)
        *ret = buf_take(&data, ret_len);
    return r;
}

static int take_entry(struct archive *a, struct archive_entry *e, struct source *s,
                      struct error *err) {
    cleanup_buf struct buf path = BUF_INIT(SOURCE_PATH_MAX);
    const char *raw = archive_entry_pathname_utf8(e);
    char *bytes = NULL;
    size_t len = 0;
    if (clean_path(raw ? raw : "", &path, err) < 0)
        return -1;
    if (archive_entry_symlink(e) || archive_entry_hardlink(e))
        return bad(err, "it holds a link");
    if (archive_entry_filetype(e) == AE_IFDIR)
        return 0;
    if (archive_entry_filetype(e) != AE_IFREG)
        return bad(err, "it holds something that is neither file nor folder");
    if (archive_entry_is_encrypted(e))
        return bad(err, "it is encrypted");
    if (path.len == 0)
        return bad(err, "a file without a name");
    if (s->n >= SOURCE_FILES_MAX)
        return too_large(err, "more than 2000 files");
    if (find(s, buf_cstr(&path)))
        return bad(err, "a path stands in it twice");
    if (read_entry(a, s, &bytes, &len, err) < 0)
        return -1;
    add(s, buf_str(&path), bytes, len);
    return 0;
}

/* Sizes in its headers are not believed: what comes out is counted. */
static int read_zip(struct str upload, struct source *s, struct error *err) {
    IN_UTF8;
    struct archive *a = archive_read_new();
    struct archive_entry *e;
    int r = 0, rc = ARCHIVE_OK;
    archive_read_support_format_zip(a);
    if (upload.len < 4 || memcmp(upload.p, "PK", 2) != 0 ||
        archive_read_open_memory(a, upload.p, upload.len) != ARCHIVE_OK)
        r = bad(err, "it is no zip");
    uint32_t entries = 0;
    while (r == 0 && (rc = archive_read_next_header(a, &e)) != ARCHIVE_EOF && rc >= ARCHIVE_WARN)
        r = ++entries > 2 * SOURCE_FILES_MAX ? too_large(err, "too many entries")
                                             : take_entry(a, e, s, err);
    if (r == 0 && rc != ARCHIVE_EOF)
        r = bad(err, "it is damaged");
    archive_read_free(a);
    return r;
}

/* ---- the manifest ---- */
static bool is_module_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* The word behind KEY: `componentize app -o …`, `workdir = "src"`. */
static struct str word_behind(struct str text, const char *key, const char *skip) {
    const char *at = search(text, key);
    if (!at)
        return STR_NULL;
    const char *end = text.p + text.len;
    for (at += strlen(key); at < end && strchr(skip, *at) && *at; at++)
        ;
    const char *from = at;
    while (at < end && (is_module_char(*at) || *at == '/' || *at == '-' || *at == '.'))
        at++;
    return str_n(from, (size_t)(at - from));
}

static bool has_module(const struct source *s, struct str folder, struct str module,
                       struct source_file **ret) {
    char path[SOURCE_PATH_MAX + 8];
    int n = snprintf(path, sizeof path, "%.*s%s%.*s.py", STR_ARG(folder), folder.len ? "/" : "",
                     STR_ARG(module));
    *ret = n > 0 && (size_t)n < sizeof path ? find(s, path) : NULL;
    return *ret != NULL;
}

/* What componentize-py is told to build, where the manifest says it; else app.py. */
static int find_module(struct source *s, struct source_file **ret, struct error *err) {
    const struct source_file *toml = find(s, "spin.toml");
    if (!toml)
        return bad(err, "spin.toml must stand at its root");
    if (toml->len > SOURCE_MANIFEST_MAX || !str_is_utf8(text_of(toml)) ||
        memchr(toml->bytes, 0, toml->len))
        return bad(err, "its spin.toml is over 64 KiB, or no text");
    if (!search(text_of(toml), "spin_manifest_version") && !search(text_of(toml), "spin_version"))
        return bad(err, "its spin.toml does not say spin_manifest_version");
    struct str module = word_behind(text_of(toml), " componentize ", " ");
    struct str folder = word_behind(text_of(toml), "workdir", " =\"'");
    cleanup_buf struct buf clean = BUF_INIT(SOURCE_PATH_MAX);
    if (folder.len) {
        cleanup_free char *raw = str_dup(folder);
        if (clean_path(raw, &clean, err) < 0)
            return -1;
    }
    if (!module.len)
        module = STR("app");
    if (module.len > SOURCE_MODULE_MAX || !has_module(s, buf_str(&clean), module, ret))
        return error_field(err, ERR_INVALID, "file",
                           "spin.toml builds the module \"%.*s\", and the archive has no %.*s%s"
                           "%.*s.py",
                           (int)(module.len > 100 ? 100 : module.len), module.p, (int)clean.len,
                           clean.p ? clean.p : "", clean.len ? "/" : "",
                           (int)(module.len > 100 ? 100 : module.len), module.p);
    (void)snprintf(s->folder, sizeof s->folder, "%s", buf_cstr(&clean));
    (void)snprintf(s->module, sizeof s->module, "%.*s", STR_ARG(module));
    return 0;
}

/* The form that `spin new -t http-py` makes. APP may hold anything: only names go in. */
static void make_manifest(struct source *s, const char *app) {
    char name[64];
    size_t n = 0;
    for (const char *p = app; *p && n < sizeof name - 1; p++)
        if (is_module_char(*p) || *p == '-')
            name[n++] = *p;
    name[n] = 0;
    char *toml = x_asprintf("spin_manifest_version = 2\n"
                            "\n"
                            "[application]\n"
                            "name = \"%s\"\n"
                            "version = \"0.1.0\"\n"
                            "\n"
                            "[[trigger.http]]\n"
                            "route = \"/...\"\n"
                            "component = \"app\"\n"
                            "\n"
                            "[component.app]\n"
                            "source = \"app.wasm\"\n"
                            "\n"
                            "[component.app.build]\n"
                            "command = \"componentize-py -w spin-http componentize app -o"
                            " app.wasm\"\n",
                            n ? name : "app");
    add(s, STR("spin.toml"), toml, strlen(toml));
    s->manifest_made = true;
}

/* ---- the older form of a handler ---- */
static const char WRAPPER[] =
    "\n\n"
    "# Added by the build: what init_incoming_handler() makes, as the class that Spin calls.\n"
    "import inspect as _inspect\n"
    "from spin_sdk import http as _spin_http\n"
    "\n\n"
    "class IncomingHandler(_spin_http.IncomingHandler):\n"
    "    def handle_request(self, request):\n"
    "        takes_request = bool(_inspect.signature(init_incoming_handler).parameters)\n"
    "        made = init_incoming_handler(request) if takes_request else init_incoming_handler()\n"
    "        if hasattr(made, \"handle_request\"):\n"
    "            return made.handle_request(request)\n"
    "        return made(request) if callable(made) else made\n";

static int wrap(struct source *s, struct source_file *f, struct error *err) {
    if (!search(text_of(f), "init_incoming_handler") || search(text_of(f), "class IncomingHandler"))
        return 0;
    if (s->bytes + sizeof WRAPPER > SOURCE_BYTES_MAX)
        return too_large(err, "its files are more than 32 MiB");
    f->bytes = x_realloc(f->bytes, f->len + sizeof WRAPPER);
    memcpy(f->bytes + f->len, WRAPPER, sizeof WRAPPER - 1);
    f->len += sizeof WRAPPER - 1;
    s->bytes += sizeof WRAPPER - 1;
    s->wrapped = true;
    return 0;
}

/* ---- the whole ---- */
static int read_upload(struct str name, struct str upload, const char *app, struct source *s,
                       struct error *err) {
    struct source_file *main_file = NULL;
    if (source_check_name(name, err) < 0)
        return -1;
    if (upload.len == 0)
        return error_field(err, ERR_INVALID, "file", "file is empty");
    if (upload.len > SOURCE_UPLOAD_MAX)
        return error_field(err, ERR_TOO_LARGE, "file", "file is over 10 MiB");
    if (source_is_archive(name)) {
        if (read_zip(upload, s, err) < 0 || find_module(s, &main_file, err) < 0)
            return -1;
    } else {
        if (!str_is_utf8(upload) || memchr(upload.p, 0, upload.len))
            return error_field(err, ERR_INVALID, "file", "file is no Python source: not UTF-8");
        make_manifest(s, app);
        add(s, STR("app.py"), x_memdup(upload.p, upload.len), upload.len);
        (void)snprintf(s->module, sizeof s->module, "app");
        main_file = &s->v[s->n - 1];
    }
    return wrap(s, main_file, err);
}

int source_read(struct str name, struct str upload, const char *app, struct source *ret,
                struct error *err) {
    struct source s = {0};
    if (read_upload(name, upload, app, &s, err) < 0) {
        source_done(&s);
        return -1;
    }
    *ret = s;
    return 0;
}

/* ---- tar, through libarchive ---- */
static ssize_t tar_write(struct archive *a, void *arg, const void *p, size_t n) {
    if (buf_put(arg, p, n) == 0)
        return (ssize_t)n;
    archive_set_error(a, ENOSPC, "over the limit");
    return -1;
}

static int tar_file(struct archive *a, const struct source_file *f, const char *path) {
    struct archive_entry *e = archive_entry_new();
    archive_entry_set_pathname_utf8(e, path);
    archive_entry_set_filetype(e, AE_IFREG);
    archive_entry_set_perm(e, 0644);
    archive_entry_set_size(e, (int64_t)f->len);
    archive_entry_set_mtime(e, 0, 0);
    int rc = archive_write_header(a, e);
    if (rc == ARCHIVE_OK && f->len && archive_write_data(a, f->bytes, f->len) != (ssize_t)f->len)
        rc = ARCHIVE_FATAL;
    archive_entry_free(e);
    return rc;
}

int source_tar(const struct source *s, const char *folder, const char *prefix, struct buf *out,
               struct error *err) {
    IN_UTF8;
    size_t cut = *folder ? strlen(folder) + 1 : 0;
    struct archive *a = archive_write_new();
    archive_write_set_format_pax_restricted(a);
    archive_write_set_bytes_in_last_block(a, 1);
    int rc = archive_write_open(a, out, NULL, tar_write, NULL);
    for (size_t i = 0; rc == ARCHIVE_OK && i < s->n; i++) {
        const char *path = s->v[i].path;
        if (cut && (strncmp(path, folder, cut - 1) != 0 || path[cut - 1] != '/'))
            continue;
        char full[SOURCE_PATH_MAX + 32];
        (void)snprintf(full, sizeof full, "%s%s", prefix, path + cut);
        rc = tar_file(a, &s->v[i], full);
    }
    if (rc == ARCHIVE_OK)
        rc = archive_write_close(a);
    archive_write_free(a);
    return rc == ARCHIVE_OK ? 0 : error_set(err, ERR_INTERNAL, "the files could not be packed");
}
