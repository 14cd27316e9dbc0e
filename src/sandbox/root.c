/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/sandbox.h"

/* The root that functions see: a read-only tmpfs with /usr and a little of /etc and /dev of the
 * host, and nothing else of it. Few mounts on purpose: each is copied for every instance. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <linux/mount.h>
#include <sched.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

/* NOLINTBEGIN(concurrency-mt-unsafe): one thread */

/* sys/mount.h and linux/mount.h exclude each other in glibc 2.36. */
int mount(const char *source, const char *target, const char *type, unsigned long flags,
          const void *data);
int umount2(const char *target, int flags);
#ifndef MNT_DETACH
#define MNT_DETACH 2
#endif

#define ROOT_SIZE "size=16m,nr_inodes=16384,mode=0755"

static const char passwd_text[] = "root:x:0:0:root:/:/usr/sbin/nologin\n"
                                  "kiln:x:1000:1000:kiln:/tmp:/bin/sh\n"
                                  "nobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n";
static const char group_text[] = "root:x:0:\nkiln:x:1000:\nnogroup:x:65534:\n";

/* ---- the mount namespace ---- */

/* setns(2) to our own mount namespace moves us to its root, out of a chroot. */
static int leave_chroot(void) {
    cleanup_close int self = (int)syscall(SYS_pidfd_open, getpid(), 0);
    if (self < 0)
        return -errno;
    return setns(self, CLONE_NEWNS) < 0 ? -errno : 0;
}

/* No mount of ours may show outside. In a chroot, "/" is no mount and cannot be made private, so
 * that is done from the namespace's root. */
static int mounts_private(void) {
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0)
        return 0;
    if (errno != EINVAL)
        return -errno;
    cleanup_close int jail = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (jail < 0)
        return -errno;
    int r = leave_chroot();
    if (r < 0)
        return r;
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return -errno;
    if (fchdir(jail) < 0 || chroot(".") < 0)
        return -errno;
    return 0;
}

/* Any folder that every system has; what it hides is not needed. */
static int mount_base(void) {
    static const char *const places[] = {"/tmp", "/mnt", "/run", "/media"};
    int r = -ENOENT;
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        if (mount("tmpfs", places[i], "tmpfs", MS_NOSUID, ROOT_SIZE) < 0) {
            r = -errno;
            continue;
        }
        return chdir(places[i]) < 0 ? -errno : 0;
    }
    return r;
}

/* ---- read-only binds; relative paths are in the new root, our current folder ---- */

static unsigned long locked_flags(const char *options) {
    static const struct {
        const char *name;
        unsigned long flag;
    } known[] = {{"nosuid", MS_NOSUID},   {"nodev", MS_NODEV},           {"noexec", MS_NOEXEC},
                 {"noatime", MS_NOATIME}, {"nodiratime", MS_NODIRATIME}, {"relatime", MS_RELATIME}};
    unsigned long flags = 0;
    char copy[256], *save = NULL;
    (void)snprintf(copy, sizeof(copy), "%s", options);
    for (char *o = strtok_r(copy, ",", &save); o; o = strtok_r(NULL, ",", &save))
        for (size_t i = 0; i < ARRAY_LEN(known); i++)
            if (strcmp(o, known[i].name) == 0)
                flags |= known[i].flag;
    return flags;
}

/* Before Linux 5.12: every mount at or below PATH (absolute) by itself, keeping the flags that a
 * user namespace may not take off. */
static int read_only_each(const char *path, unsigned long flags) {
    FILE *f = fopen("/proc/self/mountinfo", "re");
    if (!f)
        return -errno;
    char line[8192], where[PATH_MAX], options[256];
    size_t len = strlen(path);
    int r = 0;
    while (r == 0 && fgets(line, sizeof(line), f)) {
        if (sscanf(line, "%*s %*s %*s %*s %4095s %255s", where, options) != 2)
            continue;
        if (strncmp(where, path, len) != 0 || (where[len] != '\0' && where[len] != '/'))
            continue;
        unsigned long all = MS_REMOUNT | MS_BIND | MS_RDONLY | flags | locked_flags(options);
        if (mount(NULL, where, NULL, all, NULL) < 0)
            r = -errno;
    }
    (void)fclose(f);
    return r;
}

static int read_only(const char *path, bool devices) {
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID |
                                          (devices ? 0 : MOUNT_ATTR_NODEV)};
    if (syscall(SYS_mount_setattr, AT_FDCWD, path, AT_RECURSIVE, &attr, sizeof(attr)) == 0)
        return 0;
    if (errno != ENOSYS && errno != EPERM)
        return -errno;
    char real[PATH_MAX];
    if (!realpath(path, real))
        return -errno;
    return read_only_each(real, MS_NOSUID | (devices ? 0 : MS_NODEV));
}

/* AT exists and is of the same kind. Recursive: a user namespace may not leave submounts out. */
static int bind_at(const char *from, const char *at, bool devices) {
    if (mount(from, at, NULL, MS_BIND | MS_REC, NULL) < 0)
        return -errno;
    return read_only(at, devices);
}

static int bind_dir(const char *from, const char *at) {
    if (mkdir(at, 0755) < 0 && errno != EEXIST)
        return -errno;
    return bind_at(from, at, false);
}

/* A top folder: the same symlink, or a bind; nothing where the host has nothing. */
static int top_dir(const char *name) {
    char host[32], target[PATH_MAX];
    struct stat st;
    (void)snprintf(host, sizeof(host), "/%s", name);
    if (lstat(host, &st) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (S_ISDIR(st.st_mode))
        return bind_dir(host, name);
    if (!S_ISLNK(st.st_mode))
        return 0;
    ssize_t n = readlink(host, target, sizeof(target) - 1);
    if (n < 0)
        return -errno;
    target[n] = '\0';
    return symlink(target, name) < 0 ? -errno : 0;
}

static int make_usr(void) {
    static const char *const names[] = {"usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        int r = top_dir(names[i]);
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- /etc ---- */

/* Copies of a host's folder of links and small files (one level); what cannot be read is left out.
 */
static int copy_dir(const char *from, const char *to, const char *pattern) {
    cleanup_close int src = open(from, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (src < 0)
        return 0;
    if (mkdir(to, 0755) < 0 && errno != EEXIST)
        return -errno;
    cleanup_close int dst = open(to, O_PATH | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fdopendir(dup(src));
    if (!d || dst < 0) {
        if (d)
            (void)closedir(d);
        return -errno;
    }
    for (struct dirent *e; (e = readdir(d));) {
        char target[PATH_MAX];
        if (e->d_name[0] == '.' || fnmatch(pattern, e->d_name, 0) != 0)
            continue;
        ssize_t n = readlinkat(src, e->d_name, target, sizeof(target) - 1);
        if (n > 0) {
            target[n] = '\0';
            if (symlinkat(target, dst, e->d_name) < 0)
                continue; /* as a file that cannot be copied: the rest is still of use */
        } else {
            (void)file_copy(src, e->d_name, dst, e->d_name, SANDBOX_ETC_FILE_MAX);
        }
    }
    (void)closedir(d);
    return 0;
}

/* /etc/python3, /etc/python3.11: sitecustomize.py and the like. */
static int copy_python_dirs(void) {
    DIR *d = opendir("/etc");
    if (!d)
        return 0;
    int r = 0;
    for (struct dirent *e; r == 0 && (e = readdir(d));) {
        char from[300], to[300];
        if (fnmatch("python3*", e->d_name, 0) != 0)
            continue;
        (void)snprintf(from, sizeof(from), "/etc/%s", e->d_name);
        (void)snprintf(to, sizeof(to), "etc/%s", e->d_name);
        r = copy_dir(from, to, "*");
    }
    (void)closedir(d);
    return r;
}

static int generate_etc(void) {
    static const struct {
        const char *path, *text;
    } files[] = {
        {"etc/passwd", passwd_text},
        {"etc/group", group_text},
        {"etc/hosts", "127.0.0.1 localhost kiln\n::1 localhost\n"},
        {"etc/hostname", "kiln\n"},
        {"etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"},
        {"etc/resolv.conf", "nameserver " SANDBOX_TAP_DNS "\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        int r = file_create(AT_FDCWD, files[i].path, files[i].text);
        if (r < 0)
            return r;
    }
    return 0;
}

static int make_etc(void) {
    static const char *const copied[] = {"ld.so.cache", "ld.so.conf", "localtime", "mime.types",
                                         "protocols",   "services",   "gai.conf"};
    if (mkdir("etc", 0755) < 0 || mkdir("etc/ssl", 0755) < 0)
        return -errno;
    int r = generate_etc();
    if (r < 0)
        return r;
    for (size_t i = 0; i < ARRAY_LEN(copied); i++) {
        char from[64];
        (void)snprintf(from, sizeof(from), "/etc/%s", copied[i]);
        (void)file_copy(AT_FDCWD, from, AT_FDCWD, from + 1, SANDBOX_ETC_FILE_MAX);
    }
    (void)file_copy(AT_FDCWD, "/etc/ssl/openssl.cnf", AT_FDCWD, "etc/ssl/openssl.cnf",
                    SANDBOX_ETC_FILE_MAX);
    /* For instances on the host's network (bound over resolv.conf there). */
    if (file_copy(AT_FDCWD, "/etc/resolv.conf", AT_FDCWD, "etc/resolv.host.conf",
                  SANDBOX_ETC_FILE_MAX) < 0) {
        (void)unlink("etc/resolv.host.conf");
        r = file_create(AT_FDCWD, "etc/resolv.host.conf", "");
    }
    if (r == 0)
        r = copy_dir("/etc/ld.so.conf.d", "etc/ld.so.conf.d", "*.conf");
    if (r == 0)
        r = copy_dir("/etc/alternatives", "etc/alternatives", "*");
    if (r == 0)
        r = copy_python_dirs();
    if (r == 0 && access("/etc/ssl/certs", R_OK | X_OK) == 0)
        r = bind_dir("/etc/ssl/certs", "etc/ssl/certs");
    return r;
}

/* ---- /dev ---- */

static int make_node(const char *name, unsigned major_no, unsigned minor_no, bool root) {
    char host[32];
    (void)snprintf(host, sizeof(host), "/dev/%s", name);
    if (root && mknod(host + 1, S_IFCHR | 0666, makedev(major_no, minor_no)) == 0)
        return chmod(host + 1, 0666) < 0 ? -errno : 0;
    int r = file_create(AT_FDCWD, host + 1, "");
    return r < 0 ? r : bind_at(host, host + 1, true);
}

/* Only the zygote may open it: it is its user's, mode 0600, or the host's own (bound). A machine
 * without one has no egress network; that shows when the tap is made. */
static void make_tun(uint32_t owner, bool root) {
    if (mkdir("dev/net", 0755) < 0)
        return;
    if (root && mknod("dev/net/tun", S_IFCHR | 0600, makedev(10, 200)) == 0) {
        if (chown("dev/net/tun", owner, owner) < 0)
            (void)unlink("dev/net/tun"); /* as if the machine had none */
        return;
    }
    if (access("/dev/net/tun", F_OK) == 0 && file_create(AT_FDCWD, "dev/net/tun", "") == 0)
        (void)bind_at("/dev/net/tun", "dev/net/tun", true);
}

static int make_dev(const struct sandbox_config *cfg, bool root) {
    static const struct {
        const char *name;
        unsigned major_no, minor_no; /* Documentation/admin-guide/devices.txt */
    } nodes[] = {
        {"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}};
    static const char *const links[][2] = {{"/proc/self/fd", "dev/fd"},
                                           {"/proc/self/fd/0", "dev/stdin"},
                                           {"/proc/self/fd/1", "dev/stdout"},
                                           {"/proc/self/fd/2", "dev/stderr"},
                                           {"/tmp", "dev/shm"}};
    if (mkdir("dev", 0755) < 0)
        return -errno;
    for (size_t i = 0; i < ARRAY_LEN(nodes); i++) {
        int r = make_node(nodes[i].name, nodes[i].major_no, nodes[i].minor_no, root);
        if (r < 0)
            return r;
    }
    for (size_t i = 0; i < ARRAY_LEN(links); i++)
        if (symlink(links[i][0], links[i][1]) < 0)
            return -errno;
    make_tun(cfg->uid_base, root);
    return 0;
}

/* ---- the rest ---- */

/* A proc must be fully visible here, or the kernel lets no user namespace mount its own. */
static int make_proc(bool root) {
    if (mkdir("proc", 0555) < 0)
        return -errno;
    if (root && mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) == 0)
        return 0;
    return mount("/proc", "proc", NULL, MS_BIND | MS_REC, NULL) < 0 ? -errno : 0;
}

/* crun asks what file system holds the control groups, also where it is to leave them alone; and a
 * container's /dev has a tty. */
static int make_for_containers(bool root) {
    if (mkdir("sys", 0555) < 0 || mkdir("sys/fs", 0555) < 0 || mkdir("sys/fs/cgroup", 0555) < 0)
        return -errno;
    return make_node("tty", 5, 0, root);
}

static int make_folders(int runtimes) {
    static const char *const names[] = {"tmp", "app", "run", "opt"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (mkdir(names[i], 0755) < 0)
            return -errno;
    if (mkdir("opt/kiln", 0755) < 0)
        return -errno;
    if (runtimes < 0)
        return 0;
    char from[64];
    (void)snprintf(from, sizeof(from), "/proc/self/fd/%d", runtimes);
    return bind_at(from, "opt/kiln", false);
}

/* The current folder becomes "/", everything else of the host goes. */
static int switch_root(void) {
    cleanup_close int new_root = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (new_root < 0)
        return -errno;
    int r = leave_chroot();
    if (r < 0)
        return r;
    if (fchdir(new_root) < 0)
        return -errno;
    if (syscall(SYS_pivot_root, ".", ".") == 0) {
        /* Both are stacked at "/"; "." is the old one's place on top (pivot_root(2)). */
        if (umount2(".", MNT_DETACH) < 0)
            return -errno;
    } else if (errno != EINVAL || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0) {
        return -errno; /* EINVAL: the root is an initramfs, which cannot be pivoted away */
    }
    return chdir("/") < 0 ? -errno : 0;
}

int root_enter(const struct sandbox_config *cfg, bool root, const char **ret_step) {
    *ret_step = "unshare the mount namespace";
    if (unshare(CLONE_NEWNS) < 0)
        return -errno;
    /* Opened now, since our tmpfs may come to lie over it; not before, since only mounts of our
     * own namespace can be bound. */
    cleanup_close int runtimes = -1;
    if (cfg->runtimes_dir) {
        runtimes = open(cfg->runtimes_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        *ret_step = "open the runtimes folder";
        if (runtimes < 0)
            return -errno;
    }
    int r;
    *ret_step = "make mounts private";
    if ((r = mounts_private()) < 0)
        return r;
    *ret_step = "mount a tmpfs for the root";
    if ((r = mount_base()) < 0)
        return r;
    *ret_step = "bind /usr";
    if ((r = make_usr()) < 0)
        return r;
    *ret_step = "make /etc";
    if ((r = make_etc()) < 0)
        return r;
    *ret_step = "make /dev";
    if ((r = make_dev(cfg, root)) < 0)
        return r;
    if (cfg->containers && (r = make_for_containers(root)) < 0)
        return r;
    *ret_step = "make /proc";
    if ((r = make_proc(root)) < 0)
        return r;
    *ret_step = "bind the runtimes folder";
    if ((r = make_folders(runtimes)) < 0)
        return r;
    *ret_step = "change the root";
    if ((r = switch_root()) < 0)
        return r;
    *ret_step = "make the root read-only";
    if (mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY | MS_NOSUID | (root ? 0 : MS_NODEV), NULL) <
        0)
        return -errno;
    return 0;
}
/* NOLINTEND(concurrency-mt-unsafe) */
