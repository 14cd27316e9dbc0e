/* SPDX-License-Identifier: Apache-2.0 */
/* kiln-bare-python, kiln-bare-node: a runtime without zygote and sandbox, for tests and measuring.
 *     kiln-bare-X RUNTIME_DIR APP_DIR      with the instance's channel as descriptor 3
 * Warms the interpreter, forks an instance as the zygote does, and ends as the instance ended:
 * 128 + signal where it died of one. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#ifdef BARE_PYTHON
#include "../../runtimes/python/python_runtime.h"
#define RUNTIME python_runtime
#else
#include "../../runtimes/node/node_runtime.h"
#define RUNTIME node_runtime
#endif

int main(int argc, char **argv) {
    char name[64];
    int status = 0;

    if (argc != 3)
        return 2;
#ifdef BARE_PYTHON
    python_runtime_dir = argv[1];
    python_app_dir = argv[2];
#else
    node_runtime_dir = argv[1];
    node_app_dir = argv[2];
#endif
    if (RUNTIME.warm(name, sizeof(name)) < 0)
        return 3;
    if (RUNTIME.before_fork)
        RUNTIME.before_fork();
    pid_t pid = fork();
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        RUNTIME.instance();
    }
    if (RUNTIME.after_fork_parent)
        RUNTIME.after_fork_parent();
    (void)close(3);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
