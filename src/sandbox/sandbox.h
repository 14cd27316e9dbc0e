/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_SANDBOX_SANDBOX_H
#define KILN_SANDBOX_SANDBOX_H

/* The sandbox itself: what a zygote executable does to itself once (sandbox_launch()) and to every
 * instance that it forks (sandbox_enter()). Knows neither threads nor the zygote's channel.
 *
 *   launcher L (just exec'd)  own mount namespace, new read-only root, pivot_root
 *     -> zygote Z             child of the server; user, pid, mount, ipc, uts namespaces; pid 1
 *       -> instance           pid, mount, ipc, uts and network namespaces, then its own user
 *                             namespace; no capabilities, no_new_privs, seccomp
 *
 * As root, inside ids 0..65535 of Z are host ids uid_base..: Z is 0, each instance gets another one
 * and sees itself as 1000. As an ordinary user only one id exists, and all of them are that user.
 *
 * The profile for containers (sandbox_config.containers): the instance is no function's code but
 * kiln's own, which makes a container for the function inside it. It keeps all capabilities, but
 * within a user namespace of its own over a mount namespace of its own, and is 0 there, with the
 * zygote's whole range of ids below it (as an ordinary user: with that one id); the system calls
 * that make containers are allowed; the rest is as for any instance. So what escapes from a
 * container is still inside an instance, with no power over its network, its limits, its pid
 * namespace or anything that is not its own.
 *
 * Needs Linux 5.9 (clone3, pidfds, close_range). Everything here is single-threaded. Functions
 * return 0 or -errno; `*ret_step` then names the failed step (a literal). */

#include "base/base.h"

#include <linux/filter.h>
#include <linux/sched.h>

#define SANDBOX_IDS           65536u
#define SANDBOX_UID           1000u /* what an instance sees itself as */
#define SANDBOX_CHANNEL_FD    3     /* kept open in Z and in instances */
#define SANDBOX_TMP_INODES    65536u
#define SANDBOX_MEMLOCK_MAX   (64 * KIB)
#define SANDBOX_ETC_FILE_MAX  (1 * MIB) /* a file of /etc is copied up to this size */
#define SANDBOX_OOM_SCORE_ADJ "500"
#define SANDBOX_CGROUPS_MAX   4

#define SANDBOX_TAP_NAME    "eth0"
#define SANDBOX_TAP_ADDRESS 0x0a00020fu /* 10.0.2.15 */
#define SANDBOX_TAP_MASK    0xffffff00u
#define SANDBOX_TAP_GATEWAY 0x0a000202u /* 10.0.2.2 */
#define SANDBOX_TAP_DNS     "10.0.2.3"

struct sandbox {
    bool root;                /* a range of ids is mapped; otherwise one id */
    bool nproc_is_per_ns;     /* RLIMIT_NPROC counts within a user namespace (Linux 5.14) */
    int null_fd;              /* /dev/null */
    bool containers;          /* profile for containers */
    struct sock_fprog filter; /* compiled once, loaded by every instance */
};

struct sandbox_config {
    const char *runtimes_dir; /* appears as /opt/kiln; NULL: empty */
    uint32_t uid_base;        /* for root */
    bool containers;          /* instances make containers themselves */
    int report_fd;            /* L writes a struct zygote_report (launch.h) here, unless -1 */
};

/* Called first thing in main(), as L. Returns 0 in Z only, where everything but descriptors 0..3 is
 * closed; L itself has exited then. Returns -errno in L. */
int sandbox_launch(const struct sandbox_config *cfg, struct sandbox *sb, const char **ret_step);
void sandbox_done(struct sandbox *sb);

enum sandbox_net { SANDBOX_NET_NONE = 0, SANDBOX_NET_EGRESS = 1, SANDBOX_NET_HOST = 2 };

struct sandbox_instance {
    enum sandbox_net net;
    uint32_t slot; /* 0..: picks the instance's id among Z's */
    uint32_t tmp_max_mib;
    uint64_t data_max; /* 0 = none */
    uint32_t files_max, procs_max;
    int netns_fd; /* a ready network namespace (net_make()) to join, or -1: one is made */
    int channel_fd, out_fd, err_fd; /* become 3, 1, 2; all above 3 */
    int cgroup_fds[SANDBOX_CGROUPS_MAX];
    size_t n_cgroup_fds;
};

/* Flags for clone3(2) of an instance; exit_signal is SIGCHLD. Handlers are reset by it, ignored
 * signals stay ignored (as the interpreter left them). */
uint64_t sandbox_clone_flags(const struct sandbox_instance *in);
/* clone3(2) without a stack: like fork. FLAGS may hold CLONE_PIDFD with RET_PIDFD. */
pid_t sandbox_clone(uint64_t flags, int exit_signal, int *ret_pidfd);

/* In the new child: everything up to and with the seccomp filter. *RET_TAP becomes the tap device
 * of network mode egress, -1 if it could not be made. Descriptors other than 0..3 stay open: the
 * caller reports, then calls sandbox_close_rest(). */
int sandbox_enter(const struct sandbox *sb, const struct sandbox_instance *in, int *ret_tap,
                  const char **ret_step);
void sandbox_close_rest(void);

/* ---- the parts, for the above and for tests ---- */
/* idmap.c: can this process give a child the ids BASE..BASE+65535? */
bool idmap_range_possible(uint32_t base);
/* Are we the machine's own root (also inside a user namespace that maps to it)? An instance with
 * that id could write /proc/sys without any capability, so without a range none may be made. */
bool idmap_is_machine_root(void);
int idmap_write_range(pid_t pid, uint32_t base);
/* Moves into a new user namespace with the same ids as ours, 0..SANDBOX_IDS-1, and its own mount
 * namespace. /proc must be that of our pid namespace. */
int idmap_unshare_range(void);
int idmap_write_self(uint32_t inside, uint32_t outside_uid, uint32_t outside_gid);
/* root.c: the new root, and moving into it. */
int root_enter(const struct sandbox_config *cfg, bool root, const char **ret_step);
/* seccomp.c */
/* CONTAINERS: with what crun needs to make one; a container gets the stricter one on top. */
int filter_compile(bool containers, struct sock_fprog *ret);
int filter_load(const struct sock_fprog *filter);
/* caps.c: nothing in any set, and no way back. */
int caps_drop(void);
int caps_no_new(void); /* no_new_privs alone */
/* net.c */
int net_loopback_up(void);
int net_tap_make(int *ret_fd);
/* Moves into a new network namespace with its loopback up, and a tap device if TAP: its descriptors
 * (*ret_tap -1 without). */
int net_make(bool tap, int *ret_ns, int *ret_tap);
/* file.c */
int file_write(int dir, const char *path, const void *p, size_t len); /* existing file, one write */
int file_create(int dir, const char *path, const char *text);
int file_read(int dir, const char *path, char *p, size_t size); /* NUL-ended; length or -errno */
int file_copy(int from_dir, const char *from, int to_dir, const char *to, size_t max);

#endif
