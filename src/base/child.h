/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_BASE_CHILD_H
#define KILN_BASE_CHILD_H

/* child_run(): runs a program of the machine to its end and says what became of it: for the tools
 * that kiln drives (skopeo, umoci, crun, tar). Blocks: call it on a worker thread (loop/work.h).
 *
 * The program is the leader of a process group of its own, which is killed at the deadline, on a
 * cancel, and when the leader has ended; it dies with the thread that runs it. It gets descriptors
 * 0, 1 and 2 and no other. Never put a secret into argv: every user of the machine reads it there;
 * use env, input or a file of mode 0600. */

#include "base/buf.h"

#define CHILD_LINE_MAX 4096 /* a longer line is told in pieces */

struct child_spec {
    const char *const *argv; /* NULL-ended; argv[0] is a path, or a name looked up in PATH */
    const char *const
        *env; /* "NAME=value", NULL-ended; added to CHILD_ENV of ours, or instead; may be NULL */
    const char *cwd;   /* or NULL: "/" */
    struct str input;  /* bytes for its stdin; p NULL: input_fd */
    int input_fd;      /* its stdin; 0 or less: nothing to read */
    int output_fd;     /* its stdout goes there; 0 or less: into result.out */
    size_t output_max; /* bytes kept of each of stdout and stderr; the rest is read and lost */
    uint64_t file_bytes_max; /* RLIMIT_FSIZE; 0: none */
    uint32_t deadline_ms;    /* 0: none */
    int cancel_fd; /* poll(2): readable = give up (workers_cancel_fd()); 0 or less: none */
    /* Each line of its output as it comes, without its end; on this thread. May be NULL. */
    void (*line)(void *arg, struct str line, bool is_stderr);
    void *arg;
};

/* What is handed on of our own environment. */
#define CHILD_ENV                                                                                  \
    "PATH", "HOME", "TMPDIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy",               \
        "https_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"

enum child_end { CHILD_EXITED, CHILD_KILLED /* by a signal */, CHILD_TIMED_OUT, CHILD_CANCELED };
struct child_result {
    enum child_end end;
    int status;            /* exit code, or the signal's number; 0 after a deadline or a cancel */
    bool out_cut, err_cut; /* there was more than output_max */
    struct buf out, err;
};

/* 0 when it was run, whatever became of it; *RET is then to be freed with child_result_done().
 * -ENOENT, -EACCES, …: it could not be run. */
int child_run(const struct child_spec *spec, struct child_result *ret);
void child_result_done(struct child_result *r);
/* The last line of R's stderr that has something to say, without blanks around it; borrowed. */
struct str child_last_line(const struct child_result *r);
/* It ended by itself with exit code 0. */
static inline bool child_ok(const struct child_result *r) {
    return r->end == CHILD_EXITED && r->status == 0;
}

#endif
