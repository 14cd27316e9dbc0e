/* SPDX-License-Identifier: Apache-2.0 */
#include "base/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/clock.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define ENV_MAX      64
#define READ_SIZE    (16 * KIB)
#define FIRST_FREE   3 /* above the standard descriptors */

struct stream { /* stdout or stderr of the program, on our side */
    int fd;
    struct buf *kept;
    bool *cut;
    char line[CHILD_LINE_MAX];
    size_t line_len;
    bool is_stderr;
};

struct run {
    const struct child_spec *spec;
    struct child_result *ret;
    struct stream out, err;
    int std[3]; /* the program's side */
    pid_t pid, parent;
    int pidfd;
    int report[2]; /* a pipe: errno of what could not be run. Not through memory: sanitizers make a
                    * fork(2) of vfork(2) */
    char path[4096];
    const char *env[ENV_MAX + 1];
    char *env_own[ENV_MAX];
    size_t n_env, n_env_own;
};

/* ---- what it is given ---- */
static int find_program(const char *name, char out[4096]) {
    if (strchr(name, '/'))
        return snprintf(out, 4096, "%s", name) < 4096 ? 0 : -ENAMETOOLONG;
    const char *path = getenv("PATH");
    struct str rest = str_of(path && *path ? path : DEFAULT_PATH);
    while (rest.p) {
        struct str dir = str_cut(&rest, ':');
        if (dir.len == 0 || dir.p[0] != '/') /* not from where we happen to stand */
            continue;
        if (snprintf(out, 4096, "%.*s/%s", STR_ARG(dir), name) < 4096 && access(out, X_OK) == 0)
            return 0;
    }
    return -ENOENT;
}

/* The first of a name counts for some programs, the last for others: only one is given. */
static bool is_given(const struct child_spec *spec, const char *name) {
    size_t n = strlen(name);
    for (const char *const *e = spec->env; e && *e; e++)
        if (strncmp(*e, name, n) == 0 && (*e)[n] == '=')
            return true;
    return false;
}

static void make_env(struct run *r) {
    static const char *const handed_on[] = {CHILD_ENV};
    bool path = false;
    for (size_t i = 0; i < ARRAY_LEN(handed_on); i++) {
        const char *value = getenv(handed_on[i]);
        bool given = is_given(r->spec, handed_on[i]);
        path |= i == 0 && (value || given);
        if (!value || given)
            continue;
        r->env_own[r->n_env_own] = x_asprintf("%s=%s", handed_on[i], value);
        r->env[r->n_env++] = r->env_own[r->n_env_own++];
    }
    if (!path)
        r->env[r->n_env++] = "PATH=" DEFAULT_PATH;
    if (!is_given(r->spec, "LANG"))
        r->env[r->n_env++] = "LANG=C.UTF-8";
    for (const char *const *e = r->spec->env; e && *e && r->n_env < ENV_MAX; e++)
        r->env[r->n_env++] = *e;
    r->env[r->n_env] = NULL;
}

/* FD, above the standard descriptors, so that dup2(2) in the child overwrites nothing. */
static int above_standard(int fd) {
    if (fd < 0)
        return -errno;
    if (fd >= FIRST_FREE)
        return fd;
    int up = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FREE);
    int r = up < 0 ? -errno : up;
    (void)close(fd);
    return r;
}

static int input_of(const struct child_spec *spec) {
    if (!spec->input.p && spec->input_fd > 0)
        return above_standard(fcntl(spec->input_fd, F_DUPFD_CLOEXEC, FIRST_FREE));
    if (!spec->input.p)
        return above_standard(open("/dev/null", O_RDONLY | O_CLOEXEC));
    /* A file in memory: nobody has to feed a pipe while the output is read. */
    int fd = above_standard(memfd_create("input", MFD_CLOEXEC));
    for (size_t at = 0; fd >= 0 && at < spec->input.len;) {
        ssize_t n = pwrite(fd, spec->input.p + at, spec->input.len - at, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            int r = -errno;
            (void)close(fd);
            return r;
        }
        at += (size_t)n;
    }
    return fd;
}

static int output_of(struct stream *s, int *ret_theirs) {
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    s->fd = above_standard(fds[0]);
    *ret_theirs = above_standard(fds[1]);
    if (s->fd < 0 || *ret_theirs < 0)
        return -EMFILE;
    (void)fcntl(s->fd, F_SETFL, O_NONBLOCK);
    return 0;
}

static int make_descriptors(struct run *r) {
    r->std[0] = input_of(r->spec);
    if (r->std[0] < 0)
        return r->std[0];
    if (r->spec->output_fd > 0) {
        r->std[1] = above_standard(fcntl(r->spec->output_fd, F_DUPFD_CLOEXEC, FIRST_FREE));
        if (r->std[1] < 0)
            return r->std[1];
    } else {
        int e = output_of(&r->out, &r->std[1]);
        if (e < 0)
            return e;
    }
    int e = output_of(&r->err, &r->std[2]);
    if (e == 0 && pipe2(r->report, O_CLOEXEC) < 0)
        e = -errno;
    for (int i = 0; e == 0 && i < 2; i++) {
        r->report[i] = above_standard(r->report[i]);
        e = r->report[i] < 0 ? r->report[i] : 0;
    }
    return e;
}

/* ---- the child of vfork(2): our memory, so only system calls ---- */
static NORETURN void child(struct run *r) {
    if (setpgid(0, 0) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 ||
        getppid() != r->parent)
        goto failed;
    for (int i = 0; i < FIRST_FREE; i++)
        if (dup2(r->std[i], i) < 0)
            goto failed;
    if (syscall(SYS_close_range, FIRST_FREE, ~0u, 1u << 2 /* CLOSE_RANGE_CLOEXEC */) < 0)
        goto failed;
    if (r->spec->file_bytes_max) {
        struct rlimit most = {r->spec->file_bytes_max, r->spec->file_bytes_max};
        if (setrlimit(RLIMIT_FSIZE, &most) < 0)
            goto failed;
    }
    if (chdir(r->spec->cwd ? r->spec->cwd : "/") < 0)
        goto failed;
    for (int sig = 1; sig < NSIG; sig++) {
        struct sigaction dfl = {.sa_handler = SIG_DFL};
        (void)sigaction(sig, &dfl, NULL);
    }
    sigset_t none;
    (void)sigemptyset(&none);
    (void)pthread_sigmask(SIG_SETMASK, &none, NULL);
    (void)execve(r->path, (char *const *)r->spec->argv, (char *const *)r->env);
failed:;
    int why = errno ? errno : ESRCH;
    (void)!write(r->report[1], &why, sizeof why);
    _exit(127);
}

/* 0 when it runs, else -errno of what kept it from that. */
static int read_report(struct run *r) {
    int why = 0;
    ssize_t n;
    fd_close(&r->report[1]);
    do
        n = read(r->report[0], &why, sizeof why);
    while (n < 0 && errno == EINTR);
    return n == sizeof why ? -why : 0;
}

static void reap(struct run *r, int *ret_status) {
    while (waitpid(r->pid, ret_status, 0) < 0 && errno == EINTR)
        ;
}

static int spawn(struct run *r) {
    sigset_t all, before;
    (void)sigfillset(&all);
    r->parent = getpid();
    /* No handler of ours may run in the child on our memory. */
    (void)pthread_sigmask(SIG_BLOCK, &all, &before);
    /* posix_spawn(3) cannot ask for the parent death signal, and a fork copies the page tables. */
    pid_t pid = vfork(); /* NOLINT(clang-analyzer-security.insecureAPI.vfork) */
    if (pid == 0)
        child(r); /* NOLINT(clang-analyzer-unix.Vfork): it only makes system calls */
    int saved = errno;
    r->pid = pid;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (pid < 0)
        return -saved;
    int e = read_report(r);
    if (e < 0) {
        reap(r, NULL);
        return e;
    }
    r->pidfd = (int)syscall(SYS_pidfd_open, r->pid, 0u); /* close-on-exec by itself */
    if (r->pidfd >= 0)
        return 0;
    saved = errno;
    (void)kill(-r->pid, SIGKILL);
    reap(r, NULL);
    return -saved;
}

/* ---- its output ---- */
static void tell_line(const struct run *r, struct stream *s) {
    struct str line = str_n(s->line, s->line_len);
    if (line.len && line.p[line.len - 1] == '\r')
        line.len--;
    r->spec->line(r->spec->arg, line, s->is_stderr);
    s->line_len = 0;
}

static void split_lines(const struct run *r, struct stream *s, struct str bytes) {
    for (size_t i = 0; i < bytes.len; i++) {
        if (bytes.p[i] == '\n') {
            tell_line(r, s);
            continue;
        }
        if (s->line_len == sizeof s->line)
            tell_line(r, s);
        s->line[s->line_len++] = bytes.p[i];
    }
}

static void keep(struct stream *s, struct str bytes) {
    size_t room = s->kept->max - s->kept->len;
    if (bytes.len > room) {
        *s->cut = true;
        bytes.len = room;
    }
    if (bytes.len && buf_put_str(s->kept, bytes) < 0)
        *s->cut = true;
}

static void take_output(const struct run *r, struct stream *s) {
    char chunk[READ_SIZE];
    for (int i = 0; s->fd >= 0 && i < 16; i++) { /* a bound: deadline and cancel get their turn */
        ssize_t n = read(s->fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            fd_close(&s->fd);
            return;
        }
        keep(s, str_n(chunk, (size_t)n));
        if (r->spec->line)
            split_lines(r, s, str_n(chunk, (size_t)n));
    }
}

/* ---- its life ---- */
static int poll_ms(uint64_t deadline_ns) {
    if (!deadline_ns)
        return -1;
    uint64_t now = clock_mono_ns();
    if (now >= deadline_ns)
        return 0;
    uint64_t ms = (deadline_ns - now + NS_PER_MS - 1) / NS_PER_MS;
    return ms > INT32_MAX ? INT32_MAX : (int)ms;
}

static enum child_end supervise(struct run *r) {
    uint32_t ms = r->spec->deadline_ms;
    uint64_t deadline_ns = ms ? clock_mono_ns() + ms * NS_PER_MS : 0;
    for (;;) {
        struct pollfd p[] = {
            {.fd = r->pidfd, .events = POLLIN},
            {.fd = r->out.fd, .events = POLLIN}, /* -1 is passed over */
            {.fd = r->err.fd, .events = POLLIN},
            {.fd = r->spec->cancel_fd > 0 ? r->spec->cancel_fd : -1, .events = POLLIN},
        };
        int wait = poll_ms(deadline_ns);
        if (poll(p, ARRAY_LEN(p), wait) < 0 && errno != EINTR)
            return CHILD_CANCELED;
        if (p[3].revents)
            return CHILD_CANCELED;
        if (p[1].revents)
            take_output(r, &r->out);
        if (p[2].revents)
            take_output(r, &r->err);
        if (p[0].revents)
            return CHILD_EXITED;
        if (deadline_ns && clock_mono_ns() >= deadline_ns)
            return CHILD_TIMED_OUT;
    }
}

/* The leader is a zombie until the group has been killed: its number is nobody else's. */
static void finish(struct run *r) {
    r->ret->end = supervise(r);
    (void)kill(-r->pid, SIGKILL);
    int status = 0;
    reap(r, &status);
    take_output(r, &r->out); /* what lies in the pipes; who else holds them is not waited for */
    take_output(r, &r->err);
    if (r->spec->line && r->out.line_len)
        tell_line(r, &r->out);
    if (r->spec->line && r->err.line_len)
        tell_line(r, &r->err);
    if (r->ret->end != CHILD_EXITED)
        return;
    r->ret->end = WIFEXITED(status) ? CHILD_EXITED : CHILD_KILLED;
    r->ret->status = WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status);
}

int child_run(const struct child_spec *spec, struct child_result *ret) {
    struct child_result result = {.out = BUF_INIT(spec->output_max),
                                  .err = BUF_INIT(spec->output_max)};
    struct run *r = x_alloc(sizeof *r);
    *r = (struct run){
        .spec = spec, .ret = &result, .std = {-1, -1, -1}, .report = {-1, -1}, .pidfd = -1};
    r->out = (struct stream){.fd = -1, .kept = &result.out, .cut = &result.out_cut};
    r->err =
        (struct stream){.fd = -1, .kept = &result.err, .cut = &result.err_cut, .is_stderr = true};
    int e = find_program(spec->argv[0], r->path);
    make_env(r);
    if (e == 0)
        e = make_descriptors(r);
    if (e == 0)
        e = spawn(r);
    for (int i = 0; i < FIRST_FREE; i++)
        fd_close(&r->std[i]);
    fd_close(&r->report[0]);
    fd_close(&r->report[1]);
    if (e == 0)
        finish(r);
    fd_close(&r->out.fd);
    fd_close(&r->err.fd);
    fd_close(&r->pidfd);
    for (size_t i = 0; i < r->n_env_own; i++)
        free(r->env_own[i]);
    free(r);
    if (e == 0)
        *ret = result;
    else
        child_result_done(&result);
    return e;
}

void child_result_done(struct child_result *r) {
    buf_done(&r->out);
    buf_done(&r->err);
}

struct str child_last_line(const struct child_result *r) {
    struct str rest = buf_str(&r->err), last = STR("");
    while (rest.p) {
        struct str line = str_trim(str_cut(&rest, '\n'));
        if (line.len && line.p[line.len - 1] == '\r')
            line.len--;
        if (line.len)
            last = line;
    }
    return last;
}
