/* SPDX-License-Identifier: Apache-2.0 */
#include "node_runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/wait.h>

#include "wire/wire.h"

#define NODE_MAJOR_MIN 18
#define NODE_PATH_MAX  512

const char *node_runtime_dir = "/opt/kiln/node";
const char *node_app_dir = "/tmp/app";

static char node_path[NODE_PATH_MAX];

/* First `node` that can be run: Debian's place, then the search path. */
static int find_node(void) {
    const char *search = getenv("PATH");
    struct str rest = str_of(search ? search : "/usr/local/bin:/usr/bin:/bin"), dir;

    (void)snprintf(node_path, sizeof(node_path), "/usr/bin/node");
    while (access(node_path, X_OK) < 0) {
        if (!rest.p)
            return -ENOENT;
        dir = str_cut(&rest, ':');
        (void)snprintf(node_path, sizeof(node_path), "%.*s/node", STR_ARG(dir));
    }
    return 0;
}

static NORETURN void exec_version(int out) {
    char *argv[] = {node_path, (char *)"--version", NULL};
    char *envp[] = {NULL};

    (void)dup2(out, STDOUT_FILENO);
    (void)execve(node_path, argv, envp);
    _exit(127);
}

/* What `node --version` says ("v20.1.0") into VERSION. */
static int ask_version(char *version, size_t size) {
    int pipe_fds[2], status = 0;
    ssize_t n;

    if (pipe2(pipe_fds, O_CLOEXEC) < 0)
        return -errno;
    cleanup_close int in = pipe_fds[0];
    pid_t pid = fork();
    if (pid == 0)
        exec_version(pipe_fds[1]);
    (void)close(pipe_fds[1]);
    if (pid < 0)
        return -errno;
    do {
        n = read(in, version, size - 1);
    } while (n < 0 && errno == EINTR);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (n <= 0 || status != 0)
        return -ENOEXEC;
    version[n] = 0;
    version[strcspn(version, "\r\n")] = 0;
    return 0;
}

static int node_warm(char *name, size_t name_size) {
    char version[64] = "";
    int r = find_node();

    if (r < 0) {
        (void)fprintf(stderr, "node: not found in the sandbox: install the package nodejs\n");
        return r;
    }
    r = ask_version(version, sizeof(version));
    if (r < 0 || version[0] != 'v') {
        (void)fprintf(stderr, "node: %s does not run\n", node_path);
        return r < 0 ? r : -ENOEXEC;
    }
    if (strtol(version + 1, NULL, 10) < NODE_MAJOR_MIN) {
        (void)fprintf(stderr, "node: %s is %s, at least %d is needed\n", node_path, version,
                      NODE_MAJOR_MIN);
        return -ENOEXEC;
    }
    (void)snprintf(name, name_size, "Node.js %s", version + 1);
    return 0;
}

/* The flags keep a generic process small: one helper thread instead of four (collection still runs
 * beside the code), and a young generation that begins at its smallest and stays below what a
 * 128 MiB function can afford. The heap's limit cannot be set: which function comes is not
 * known yet; its cgroup bounds it. */
static NORETURN void node_instance(void) {
    char worker[NODE_PATH_MAX], app[NODE_PATH_MAX], path[] = "PATH=/usr/local/bin:/usr/bin:/bin";
    char home[] = "HOME=/tmp", lang[] = "LANG=C.UTF-8", tmp[] = "TMPDIR=/tmp";

    (void)snprintf(worker, sizeof(worker), "%s/worker.js", node_runtime_dir);
    (void)snprintf(app, sizeof(app), "%s", node_app_dir);
    char *argv[] = {node_path,
                    (char *)"--v8-pool-size=1",
                    (char *)"--max-semi-space-size=4",
                    (char *)"--no-deprecation",
                    worker,
                    app,
                    NULL};
    char *envp[] = {path, home, lang, tmp, NULL};
    (void)fcntl(WIRE_INSTANCE_FD, F_SETFD, 0);
    (void)execve(node_path, argv, envp);
    _exit(127);
}

const struct zygote_runtime node_runtime = {
    .name = "node",
    .warm = node_warm,
    .instance = node_instance,
};
