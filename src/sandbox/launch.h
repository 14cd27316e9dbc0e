/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_SANDBOX_LAUNCH_H
#define KILN_SANDBOX_LAUNCH_H

/* How the server starts a zygote executable (src/zygote/zygote.c says what it does then). */

#include "base/base.h"

/* First host uid of the 65,536 that a zygote gets as root, unless told otherwise: right behind the
 * range that systemd gives to containers. */
#define ZYGOTE_UID_BASE  1879048192u
#define ZYGOTE_STEP_MAX  96
#define ZYGOTE_REPORT_FD 4 /* where the launcher writes its struct zygote_report */

/* Launcher to zygote_start(), once: the zygote's process id as the launcher sees it, or what
 * failed. */
struct zygote_report {
    int32_t pid;
    int32_t error; /* errno, 0 = well */
    char step[ZYGOTE_STEP_MAX];
};

/* Starts EXE with RUNTIMES_DIR as its /opt/kiln. Waits until the sandbox stands (some milliseconds;
 * not for the interpreter: that is told by ZYGOTE_UP on the channel) or has failed: returns 0, or
 * -errno with the failing step in RET_STEP (may be NULL).
 *
 * *ret_channel: the zygote's first channel (SOCK_SEQPACKET, close-on-exec, non-blocking), the
 * caller's. *ret_pid: a direct child of this process: reap it with waitpid(). It dies, and every
 * instance with it, when the channel is closed, when this process dies, or when the THREAD that
 * called this ends (PR_SET_PDEATHSIG is bound to the thread): call it from one that stays.
 *
 * The zygote gets standard error of this process, /dev/null as 0 and 1, an empty environment and no
 * other descriptor. As root it runs as UID_BASE.. in a user namespace of its own (UID_BASE 0: the
 * default). May be called in a process with threads (vfork, async-signal-safe calls only). */
int zygote_start(const char *exe, const char *runtimes_dir, uid_t uid_base, int *ret_channel,
                 pid_t *ret_pid, char ret_step[ZYGOTE_STEP_MAX]);

#endif
