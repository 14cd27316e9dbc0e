/* SPDX-License-Identifier: Apache-2.0 */
/* A task on its worker thread: the steps of its kind, each of which leaves progress and log. */

#include "task/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/eventfd.h>

#include "base/clock.h"
#include "base/log.h"
#include "remote/s3.h"
#include "task/image.h"

/* ---- what it says ---- */
static int save(struct store *s, void *arg, struct error *err) {
    return store_builder_update(s, arg, err);
}

int job_save(struct job *j) {
    struct error err;
    j->saved_ns = clock_mono_ns();
    j->task.updated_us = clock_real_us();
    free(j->task.log);
    struct str log = buf_str(&j->log);
    if (log.len > TASK_LOG_MAX) /* its end, from the beginning of a line */
        log = str_n(log.p + log.len - TASK_LOG_MAX, TASK_LOG_MAX);
    const char *line = log.len == TASK_LOG_MAX ? memchr(log.p, '\n', log.len) : NULL;
    if (line)
        log = str_n(line + 1, (size_t)(log.p + log.len - line - 1));
    j->task.log = str_dup(log);
    if (store_wait(j->tasks->config.store, STORE_STATE, save, &j->task, &err) == 0)
        return 0;
    if (err.code != ERR_NOT_FOUND) /* its workspace was deleted meanwhile */
        log_error("task not stored", LOG_STR("task", j->task.id), LOG_STR("error", err.text));
    return -1;
}

void job_log_line(struct job *j, struct str line) {
    if (j->log.len > TASK_LOG_MAX)
        buf_drop(&j->log, j->log.len - TASK_LOG_MAX);
    cleanup_buf struct buf clean = BUF_INIT(CHILD_LINE_MAX + 8);
    for (size_t i = 0; i < line.len;) { /* the store's text is UTF-8 without NUL */
        size_t n = str_utf8_step(str_n(line.p + i, line.len - i));
        bool bad = n == 0 || line.p[i] == 0;
        int r = bad ? buf_putc(&clean, '?') : buf_put(&clean, line.p + i, n);
        if (r < 0)
            break;
        i += bad ? 1 : n;
    }
    (void)buf_put_str(&j->log, buf_str(&clean));
    (void)buf_putc(&j->log, '\n');
    if (clock_mono_ns() - j->saved_ns > TASK_SAVE_EVERY_NS)
        (void)job_save(j);
}

void job_log(struct job *j, const char *fmt, ...) {
    char line[1024];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (n > 0)
        job_log_line(j, str_n(line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1));
}

/* And saves. */
static void job_progress(struct job *j, const char *what) {
    free(j->task.progress);
    j->task.progress = x_strdup(what);
    job_log(j, "%s", what);
    (void)job_save(j);
}

/* ---- the check of the code: core asks the engine, on a loop; this thread waits ---- */
struct check {
    _Atomic int refs; /* one of the worker, one of the loop */
    struct loop_task task;
    struct core *core;
    struct loop *loop;
    struct function *function;
    struct buf code;
    int over_fd;
    /* the outcome, before over_fd is written */
    bool ok, failed;
    struct error error;
    char *log;
};

static void check_unref(struct check *k) {
    if (atomic_fetch_sub(&k->refs, 1) != 1)
        return;
    function_unref(k->function);
    buf_done(&k->code);
    fd_close(&k->over_fd);
    free(k->log);
    free(k);
}

static void checked(void *arg, const struct error *err, bool ok, const char *log) {
    struct check *k = arg;
    const uint64_t one = 1;
    k->ok = ok;
    k->failed = err != NULL;
    if (err)
        k->error = *err;
    k->log = log ? x_strdup(log) : NULL;
    ssize_t n = write(k->over_fd, &one, sizeof one);
    (void)n;
    check_unref(k);
}

static void begin_check(struct loop_task *task) {
    struct check *k = container_of(task, struct check, task);
    core_code_check(k->core, k->loop, k->function, buf_str(&k->code), checked, k);
}

/* A module beside the application's that wants its handler by name: the runtime alone would be
 * content with a function of another form, which Spin is not. */
#define CHECK_MODULE "kiln_build_check"

static int check_tar(const struct source *s, struct buf *out, struct error *err) {
    struct source all = {.n = s->n, .cap = s->n + 1};
    char path[SOURCE_PATH_MAX + 32];
    char *text = x_asprintf("from %s import IncomingHandler\n", s->module);
    (void)snprintf(path, sizeof path, "%s%s%s.py", s->folder, *s->folder ? "/" : "", CHECK_MODULE);
    all.v = x_calloc(all.cap, sizeof *all.v);
    memcpy(all.v, s->v, s->n * sizeof *s->v);
    all.v[all.n++] = (struct source_file){.path = path, .bytes = text, .len = strlen(text)};
    int r = source_tar(&all, s->folder, "", out, err);
    free(all.v);
    free(text);
    return r;
}

/* "Blog API!" → "blog-api", for what wants a name. */
static void name_from(const char *app, char out[NAME_MAX_LEN + 1]) {
    size_t n = 0;
    for (const char *p = app; *p && n < NAME_MAX_LEN; p++) {
        char c = *p >= 'A' && *p <= 'Z' ? (char)(*p + 32) : *p;
        bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (plain)
            out[n++] = c;
        else if (n && out[n - 1] != '-')
            out[n++] = '-';
    }
    while (n && out[n - 1] == '-')
        n--;
    out[n] = 0;
    if (!n)
        (void)snprintf(out, NAME_MAX_LEN + 1, "app");
}

static struct function *draft(const struct job *j) {
    struct function *f = function_new();
    char name[NAME_MAX_LEN + 1];
    name_from(j->task.app_name, name);
    f->workspace = x_strdup(j->task.workspace);
    f->project = x_strdup(DEFAULT_PROJECT);
    f->name = x_strdup(name);
    f->runtime = x_strdup("python3");
    f->kind = RUNTIME_PYTHON;
    f->handler = x_asprintf("%s.IncomingHandler", CHECK_MODULE);
    f->network = NETWORK_NONE; /* importing needs none */
    return f;
}

static struct check *start_check(struct job *j, const struct source *s, struct error *err) {
    struct builder *t = j->tasks;
    uint32_t at = atomic_fetch_add(&t->next_loop, 1) % (uint32_t)t->config.n_loops;
    struct check *k = x_alloc(sizeof *k);
    k->refs = 2;
    k->task.run = begin_check;
    k->core = t->config.core;
    k->loop = t->config.loops[at];
    k->function = draft(j);
    k->code = BUF_INIT(CODE_MAX);
    k->over_fd = eventfd(0, EFD_CLOEXEC);
    if (k->over_fd < 0 || check_tar(s, &k->code, err) < 0) {
        k->refs = 1;
        check_unref(k);
        error_field(err, ERR_TOO_LARGE, "file", "the application is over 10 MiB, unpacked");
        return NULL;
    }
    loop_post(k->loop, &k->task);
    return k;
}

static void log_lines(struct job *j, const char *text) {
    struct str rest = str_of(text ? text : "");
    while (rest.p) {
        struct str line = str_cut(&rest, '\n');
        if (line.len)
            job_log_line(j, line);
    }
}

/* The last line that says something, without the engine's own. */
static void last_words(const char *log, char out[ERROR_TEXT_MAX]) {
    struct str rest = str_of(log ? log : "");
    (void)snprintf(out, ERROR_TEXT_MAX, "the code did not load");
    while (rest.p) {
        struct str line = str_trim(str_cut(&rest, '\n'));
        if (line.len && !str_starts(line, STR("[kiln]")))
            (void)snprintf(out, ERROR_TEXT_MAX, "%.*s", (int)(line.len > 400 ? 400 : line.len),
                           line.p);
    }
}

static int check_code(struct job *j, const struct source *s, struct error *err) {
    struct check *k = start_check(j, s, err);
    if (!k)
        return -1;
    struct pollfd p[] = {{.fd = k->over_fd, .events = POLLIN},
                         {.fd = workers_cancel_fd(j->tasks->config.workers), .events = POLLIN}};
    while (poll(p, 2, -1) < 0 && errno == EINTR)
        ;
    if (!p[0].revents) {
        check_unref(k);
        return error_set(err, ERR_UNAVAILABLE, "the server is shutting down");
    }
    int r = 0;
    log_lines(j, k->log);
    if (k->failed) {
        *err = k->error;
        r = -1;
    } else if (!k->ok && core_draining(j->tasks->config.core)) {
        r = error_set(err, ERR_UNAVAILABLE, "the server is shutting down");
    } else if (!k->ok) {
        char why[ERROR_TEXT_MAX];
        last_words(k->log, why);
        r = error_set(err, ERR_BUILD_FAILED, "the code does not load: %s", why);
    }
    check_unref(k);
    return r;
}

/* ---- build ---- */
static int put_s3(struct job *j, struct str bytes, const char *name, char **ret_url,
                  struct error *err) {
    struct builder *t = j->tasks;
    cleanup_free char *key = task_object_key(j->task.workspace, j->task.id, name);
    if (s3_put(t->config.s3, key, bytes, err) < 0)
        return -1;
    free(*ret_url);
    *ret_url = x_asprintf("s3://%s/%s", t->s3_bucket, key);
    return 0;
}

int job_source_to_s3(struct job *j, struct str file, struct error *err) {
    bool archive = source_is_archive(str_of(j->file_name));
    return put_s3(j, file, archive ? "source.zip" : "source.py", &j->task.file_path, err);
}

static int image_to_s3(struct job *j, const char *path, struct error *err) {
    cleanup_buf struct buf bytes = BUF_INIT(0);
    job_progress(j, "Storing the artefact in S3");
    if (task_read_file(path, 4 * SOURCE_BYTES_MAX, &bytes, err) < 0)
        return -1;
    return put_s3(j, buf_str(&bytes), "image.tar", &j->task.wasm_path, err);
}

/* Under another name until it is whole. */
static int write_image(struct job *j, const struct source *s, struct error *err) {
    cleanup_free char *part = task_path(j->tasks, j->task.id, "image.part");
    cleanup_free char *path = task_path(j->tasks, j->task.id, "image.tar");
    struct image_made made;
    int fd = open(part, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return error_errno(err, -errno, "the artefact could not be made");
    int r = image_write(fd, s, j->task.app_name, &made, err);
    if (r == 0 && (fsync(fd) < 0 || rename(part, path) < 0))
        r = error_errno(err, -errno, "the artefact could not be written");
    (void)close(fd);
    if (r < 0) {
        (void)unlink(part);
        return -1;
    }
    job_log(j, "artefact %s, %llu bytes", made.digest, (unsigned long long)made.bytes);
    free(j->task.wasm_path);
    j->task.wasm_path = x_asprintf("artifacts/%s/image.tar", j->task.id);
    return j->tasks->config.s3 ? image_to_s3(j, path, err) : 0;
}

static int build(struct job *j, struct error *err) {
    cleanup_source struct source s = {0};
    cleanup_buf struct buf upload = BUF_INIT(0);
    struct str name = str_of(j->file_name);
    const char *file = source_is_archive(name) ? "source.zip" : "source.py";
    cleanup_free char *path = task_path(j->tasks, j->task.id, file);
    job_progress(j, "Reading the source");
    if (task_read_file(path, SOURCE_UPLOAD_MAX + 1, &upload, err) < 0 ||
        source_read(name, buf_str(&upload), j->task.app_name, &s, err) < 0)
        return -1;
    job_log(j, "%zu files, %zu bytes; handler %s.IncomingHandler%s%s", s.n, s.bytes, s.module,
            s.manifest_made ? "; spin.toml added" : "",
            s.wrapped ? "; init_incoming_handler wrapped" : "");
    job_progress(j, "Checking that the code loads");
    if (check_code(j, &s, err) < 0)
        return -1;
    job_progress(j, "Packing the artefact");
    return write_image(j, &s, err);
}

/* ---- the whole ---- */
static int steps(struct job *j, struct error *err) {
    if (j->task.kind != TASK_PUSH && build(j, err) < 0)
        return -1;
    if (j->task.kind != TASK_BUILD) {
        job_progress(j, "Pushing the image");
        return job_push(j, err);
    }
    return 0;
}

static void end(struct job *j, int r, const struct error *err) {
    j->task.status = r == 0 ? TASK_COMPLETED : TASK_FAILED;
    free(j->task.progress);
    j->task.progress = x_strdup(r == 0 ? "Done" : "Failed");
    free(j->task.error);
    j->task.error = r == 0 ? NULL : x_strdup(err->text);
    if (r < 0)
        job_log(j, "failed: %s", err->text);
    else
        job_log(j, "done");
    (void)job_save(j);
    log_info("task ended", LOG_STR("task", j->task.id),
             LOG_STR("kind", task_kind_name(j->task.kind)),
             LOG_STR("status", task_status_name(j->task.status)));
}

void job_run(struct job *j) {
    struct error err = {0};
    j->task.status = TASK_RUNNING;
    j->task.attempts++;
    if (j->task.attempts > TASK_ATTEMPTS_MAX) {
        error_set(&err, ERR_INTERNAL, "the server ended %u times while this task ran",
                  TASK_ATTEMPTS_MAX);
        end(j, -1, &err);
        return;
    }
    if (job_save(j) < 0)
        return; /* gone, or the disk is full: nothing is begun that could not be told of */
    int r = steps(j, &err);
    bool ending =
        workers_stopping(j->tasks->config.workers) || core_draining(j->tasks->config.core);
    if (r < 0 && ending && !j->password) {
        j->task.attempts--; /* an orderly end is nobody's fault; the next start takes it up */
        (void)job_save(j);
        return;
    }
    if (r < 0 && ending)
        error_set(&err, ERR_UNAVAILABLE,
                  "the server ended while this task ran, and its password is stored nowhere: "
                  "ask for it again");
    end(j, r, &err);
}
