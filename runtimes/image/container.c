/* SPDX-License-Identifier: Apache-2.0 */
#include "image_runtime.h"

/* One container at a time: its root, its config.json, and crun as our child. */

#include "sandbox/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

#define BASE        WORK_DIR "/c" /* a tmpfs that lives as long as the container */
#define ROOT        BASE "/root"
#define BUNDLE      WORK_DIR "/bundle"
#define COMPLAINTS  WORK_DIR "/crun.log"
#define VERSION_MAX 256

static char crun_path[64];
static struct buf filter = BUF_INIT(64 * KIB); /* base64 */

/* ---- crun ---- */

static NORETURN void exec_crun(char *const *argv, int in, int out) {
    static char *const env[] = {(char *)"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:"
                                        "/sbin:/bin",
                                NULL};
    struct sigaction dfl = {.sa_handler = SIG_DFL};
    (void)sigaction(SIGPIPE, &dfl, NULL);
    if (dup2(in, STDIN_FILENO) >= 0 && dup2(out, STDOUT_FILENO) >= 0)
        (void)execve(crun_path, argv, env);
    _exit(127);
}

static int wait_for(pid_t pid) {
    int status = 0;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return 255;
    while (waitpid(-1, NULL, WNOHANG) > 0) /* as process 1 we inherit what it left */
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* The first line of `crun --version`: "crun version 1.8.1". */
static bool ask_version(char *name, size_t size) {
    int fds[2];
    char *argv[] = {crun_path, (char *)"--version", NULL};
    char text[VERSION_MAX];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return false;
    cleanup_close int in = fds[0], out = fds[1];
    pid_t pid = fork();
    if (pid == 0)
        exec_crun(argv, STDIN_FILENO, out);
    fd_close(&out);
    ssize_t n = pid < 0 ? -1 : read(in, text, sizeof(text) - 1);
    if (pid > 0 && wait_for(pid) != 0)
        n = -1;
    if (n <= 0)
        return false;
    text[n] = 0;
    text[strcspn(text, "\r\n")] = 0;
    const char *version = strncmp(text, "crun version ", 13) == 0 ? text + 13 : text;
    (void)snprintf(name, size, "crun %.40s", version);
    return true;
}

bool crun_find(char *name, size_t size) {
    static const char *const places[] = {"/usr/bin/crun", "/usr/local/bin/crun", "/bin/crun",
                                         "/usr/sbin/crun"};
    for (size_t i = 0; i < ARRAY_LEN(places); i++)
        if (access(places[i], X_OK) == 0) {
            (void)snprintf(crun_path, sizeof(crun_path), "%s", places[i]);
            return ask_version(name, size);
        }
    return false;
}

/* In the zygote, before any instance is forked. */
int container_prepare(void) {
    struct sock_fprog strict = {0};
    int r = filter_compile(false, &strict);
    if (r == 0)
        r = buf_put_base64(&filter, str_n(strict.filter, strict.len * sizeof(strict.filter[0])));
    free(strict.filter);
    return r;
}

/* ---- root ---- */

static unsigned tmp_mib(void) {
    struct statvfs st;
    if (statvfs("/tmp", &st) < 0)
        return 1;
    uint64_t mib = (uint64_t)st.f_frsize * st.f_blocks / MIB;
    return mib ? (unsigned)mib : 1;
}

static bool range_is_mapped(void) {
    char text[128];
    unsigned inside, outside, n;
    int r = file_read(AT_FDCWD, "/proc/self/uid_map", text, sizeof(text));
    return r > 0 && sscanf(text, "%u %u %u", &inside, &outside, &n) == 3 && n >= SANDBOX_IDS;
}

/* The image below, a tmpfs over it. -errno where the kernel has no overlay for user namespaces
 * (before Linux 5.11): then the root is read-only. */
static int mount_overlay(const char *image) {
    char options[512];
    if (mkdir(BASE "/up", 0755) < 0 || mkdir(BASE "/work", 0755) < 0)
        return -errno;
    (void)snprintf(options, sizeof(options),
                   "lowerdir=%s,upperdir=" BASE "/up,workdir=" BASE "/work,userxattr", image);
    return mount("overlay", ROOT, "overlay", MS_NOSUID | MS_NODEV, options) < 0 ? -errno : 0;
}

static int make_root(struct config *c, char *image, size_t image_size, const struct spec *s) {
    char options[64];
    (void)snprintf(image, image_size, IMAGES_DIR "/%s/rootfs", s->folder);
    c->tmp_mib = tmp_mib();
    c->range = range_is_mapped();
    c->filter_base64 = buf_str(&filter);
    (void)snprintf(options, sizeof(options), "size=%um,mode=0700,nr_inodes=%u", c->tmp_mib,
                   SANDBOX_TMP_INODES);
    if (mount("tmpfs", BASE, "tmpfs", MS_NOSUID | MS_NODEV, options) < 0)
        return -errno;
    if (mkdir(ROOT, 0755) < 0)
        return -errno;
    c->readonly = mount_overlay(image) < 0;
    c->root = c->readonly ? image : ROOT;
    return 0;
}

static void drop_root(void) {
    (void)umount2(ROOT, MNT_DETACH);
    (void)umount2(BASE, MNT_DETACH);
}

static int folders(void) {
    static const char *const names[] = {WORK_DIR, BUNDLE, BASE, WORK_DIR "/run"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (mkdir(names[i], 0700) < 0 && errno != EEXIST)
            return -errno;
    return 0;
}

static int write_file(const char *path, struct str text) {
    cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    for (size_t at = 0; at < text.len;) {
        ssize_t n = write(fd, text.p + at, text.len - at);
        if (n < 0 && errno != EINTR)
            return -errno;
        at += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static int make_bundle(const struct spec *s, const struct strings *env) {
    cleanup_buf struct buf text = BUF_INIT(8 * IMAGE_TEXT_MAX);
    struct config c = {0};
    char image[256];
    int r = folders();
    if (r == 0)
        r = make_root(&c, image, sizeof(image), s);
    if (r == 0)
        r = config_write(&c, s, env, &text);
    if (r == 0)
        r = write_file(BUNDLE "/config.json", buf_str(&text));
    return r;
}

/* ---- run ---- */

static pid_t run(int in, int out) {
    static unsigned number; /* crun forgets a container a little after it has ended */
    char id[32];
    (void)snprintf(id, sizeof(id), "c%u", ++number);
    char *argv[] = {crun_path,
                    (char *)"--root=" WORK_DIR "/run",
                    (char *)"--cgroup-manager=disabled",
                    (char *)"--log=" COMPLAINTS,
                    (char *)"run",
                    (char *)"--no-new-keyring",
                    (char *)"--bundle=" BUNDLE,
                    id,
                    NULL};
    pid_t pid = fork();
    if (pid == 0)
        exec_crun(argv, in, out);
    return pid;
}

int container_start(struct container *c, const struct spec *s, const struct strings *env) {
    int to[2], from[2];
    *c = (struct container){.in = -1, .out = -1};
    (void)unlink(COMPLAINTS);
    int r = make_bundle(s, env);
    if (r < 0) {
        drop_root();
        return r;
    }
    if (pipe2(to, O_CLOEXEC) < 0)
        return -errno;
    cleanup_close int its_in = to[0], our_in = to[1];
    if (pipe2(from, O_CLOEXEC) < 0)
        return -errno;
    cleanup_close int our_out = from[0], its_out = from[1];
    if (fcntl(our_in, F_SETFL, O_NONBLOCK) < 0 || fcntl(our_out, F_SETFL, O_NONBLOCK) < 0)
        return -errno;
    c->crun = run(its_in, its_out);
    if (c->crun < 0)
        return -errno;
    c->in = take_fd(&our_in);
    c->out = take_fd(&our_out);
    return 0;
}

int container_end(struct container *c) {
    fd_close(&c->in);
    fd_close(&c->out);
    int code = wait_for(c->crun);
    drop_root();
    return code;
}

void container_complaint(struct buf *out) {
    char text[1024];
    buf_clear(out);
    int n = file_read(AT_FDCWD, COMPLAINTS, text, sizeof(text));
    if (n <= 0)
        return;
    struct str line = str_n(text, strcspn(text, "\n"));
    /* "2026-11-20T14:00:00.000000Z: what is wrong" */
    const char *sep = line.len > 29 ? strstr(text + 20, ": ") : NULL;
    if (text[0] == '2' && sep && sep < text + 40)
        line = str_n(sep + 2, line.len - (size_t)(sep + 2 - text));
    (void)buf_put_str(out, line);
}
