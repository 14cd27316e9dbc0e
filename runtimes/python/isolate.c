/* SPDX-License-Identifier: Apache-2.0 */
#include "isolate.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/wait.h>

#include "channel.h"
#include "worker.h"

enum stage { STAGE_WAITING, STAGE_TAKEN, STAGE_DONE };

/* What a child tells its parent; in memory that both share. */
static struct shared {
    _Atomic int stage;
    _Atomic int used;
} * shared;

PyObject *isolate_used(PyObject *self, PyObject *bits) {
    (void)self;
    long v = PyLong_AsLong(bits);
    if (v == -1 && PyErr_Occurred())
        return NULL;
    if (shared)
        atomic_fetch_or(&shared->used, (int)v);
    Py_RETURN_NONE;
}

static void NORETURN child(void (*handle)(const struct wire_frame *f)) {
    struct wire_frame f;
    int r = chan_next(&f);
    if (r <= 0)
        chan_exit(r == -EBADMSG ? WORKER_EXIT_PROTOCOL : 0);
    if (f.type != WIRE_CALL)
        chan_exit(WORKER_EXIT_PROTOCOL);
    atomic_store(&shared->stage, STAGE_TAKEN);
    struct rlimit none = {0, 0}; /* POSIX message queues could not be found and removed */
    (void)setrlimit(RLIMIT_MSGQUEUE, &none);
    handle(&f);
    if (chan_flush() == 0)
        atomic_store(&shared->stage, STAGE_DONE);
    _exit(0);
}

static int wait_child(pid_t pid) {
    int status = 0, r;
    Py_BEGIN_ALLOW_THREADS;
    do
        r = waitpid(pid, &status, 0);
    while (r < 0 && errno == EINTR);
    Py_END_ALLOW_THREADS;
    return r < 0 ? 0 : status;
}

/* Kills our direct children: as the first process of the namespace we inherit those whose parents
 * ended. False: there are none, or they cannot be known. */
static bool kill_children(void) {
    char path[64], text[4096];
    (void)snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    fd_close(&fd);
    if (n <= 0)
        return false;
    text[n] = 0;
    for (char *at = text, *end; *at; at = end) {
        long pid = strtol(at, &end, 10);
        if (end == at)
            break;
        /* the last number may be cut off where the list is longer than what was read */
        if (pid > 1 && *end)
            (void)kill((pid_t)pid, SIGKILL);
    }
    return true;
}

static void end_leftovers(void) {
    pid_t pid = 0;
    for (;;) {
        while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
            continue;
        if (pid < 0 || !kill_children()) /* ECHILD: nobody is left */
            return;
        (void)waitpid(-1, NULL, 0);
    }
}

/* Those of our IPC namespace: as its first process we are in a sandbox, whose namespace is ours. */
static void remove_ipc(void) {
    union { /* semctl(2) wants it to be defined by its caller */
        struct seminfo *info;
        struct semid_ds *ds;
    } sem;
    struct shm_info shm_info;
    struct msginfo msg_info;
    struct seminfo sem_info;
    struct shmid_ds shm_ds;
    struct msqid_ds msg_ds;
    struct semid_ds sem_ds;
    if (getpid() != 1)
        return;
    int top = shmctl(0, SHM_INFO, (struct shmid_ds *)&shm_info);
    for (int i = 0; i <= top && shm_info.used_ids > 0; i++)
        (void)shmctl(shmctl(i, SHM_STAT, &shm_ds), IPC_RMID, NULL);
    top = msgctl(0, MSG_INFO, (struct msqid_ds *)&msg_info);
    for (int i = 0; i <= top && msg_info.msgpool > 0; i++)
        (void)msgctl(msgctl(i, MSG_STAT, &msg_ds), IPC_RMID, NULL);
    sem.info = &sem_info;
    top = semctl(0, 0, SEM_INFO, sem);
    sem.ds = &sem_ds;
    for (int i = 0; i <= top && sem_info.semusz > 0; i++)
        (void)semctl(semctl(i, 0, SEM_STAT, sem), 0, IPC_RMID);
}

/* The child ended without its result, or there was no call for it. */
static void check_end(int status) {
    int stage = atomic_load(&shared->stage);
    if (stage == STAGE_DONE)
        return;
    if (WIFSIGNALED(status))
        _exit(128 + WTERMSIG(status));
    _exit(WEXITSTATUS(status));
}

void isolate_run(void (*handle)(const struct wire_frame *f), void (*prepare)(int used)) {
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        chan_exit(1);
    for (;;) {
        atomic_store(&shared->stage, STAGE_WAITING);
        pid_t pid = chan_fork();
        if (pid == 0)
            child(handle);
        if (pid < 0)
            chan_exit(1);
        check_end(wait_child(pid));
        end_leftovers();
        remove_ipc();
        prepare(atomic_load(&shared->used));
    }
}
