/* SPDX-License-Identifier: Apache-2.0 */
/* What the images of test_images.py run: one static program, told by its first words what to do;
 * MODE in the environment or argv[1]. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
static char text[1 << 20];

static size_t read_all(int fd, char *to, size_t size) {
    size_t n = 0;
    ssize_t r;
    while (n < size - 1 && (r = read(fd, to + n, size - 1 - n)) > 0)
        n += (size_t)r;
    to[n] = 0;
    return n;
}

static void say(const char *name, int result) {
    printf("%s %s\n", name, result < 0 ? strerror(errno) : "ok");
}

static void cat(const char *path) {
    int fd = open(path, O_RDONLY);
    if (fd < 0) {
        printf("%s: %s\n", path, strerror(errno));
        return;
    }
    size_t n = read_all(fd, text, sizeof text);
    fwrite(text, 1, n, stdout);
    close(fd);
}

static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void list(const char *path) {
    struct dirent **v;
    int n = scandir(path, &v, NULL, by_name);
    for (int i = 0; i < n; i++)
        if (v[i]->d_name[0] != '.')
            printf("%s\n", v[i]->d_name);
    if (n < 0)
        printf("%s: %s\n", path, strerror(errno));
}

static int dial(const char *host, int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    struct timeval tv = {5, 0};
    int s = socket(AF_INET, SOCK_STREAM, 0);
    inet_pton(AF_INET, host, &a.sin_addr);
    setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
    return connect(s, (struct sockaddr *)&a, sizeof a);
}

static void escape(void) {
    say("mount", mount("tmpfs", "/mnt", "tmpfs", 0, NULL));
    say("unshare", unshare(CLONE_NEWUSER));
    say("chroot", chroot("/"));
    say("ptrace", (int)ptrace(PTRACE_ATTACH, 1, 0, 0));
    say("setuid", setuid(4711));
    say("proc-sys", open("/proc/sys/kernel/hostname", O_WRONLY));
    say("sysrq", open("/proc/sysrq-trigger", O_WRONLY));
    say("tun", open("/dev/net/tun", O_RDWR));
    say("mknod", mknod("/tmp/sda", S_IFBLK | 0600, 8 << 8));
    say("raw", socket(AF_INET, SOCK_RAW, 1));
    say("fd3", write(3, "x", 1));
}

static void grow(void) {
    for (;;) {
        char *p = malloc(1 << 20);
        if (!p)
            exit(12);
        memset(p, 1, 1 << 20);
    }
}

static int one_call(const char *mode) {
    if (!strcmp(mode, "echo")) {
        size_t n = read_all(0, text, sizeof text);
        fprintf(stderr, "got %zu bytes\n", n);
        fwrite(text, 1, n, stdout);
    } else if (!strcmp(mode, "env")) {
        for (char **e = environ; *e; e++)
            printf("%s\n", *e);
    } else if (!strcmp(mode, "exit")) {
        fprintf(stderr, "going\n");
        return atoi(getenv("CODE"));
    } else if (!strcmp(mode, "id")) {
        printf("uid %d gid %d pid %d cwd %s\n", getuid(), getgid(), getpid(), getcwd(text, 100));
    } else if (!strcmp(mode, "status")) {
        cat("/proc/self/status");
    } else if (!strcmp(mode, "fds")) {
        list("/proc/self/fd");
    } else if (!strcmp(mode, "pids")) {
        list("/proc");
    } else if (!strcmp(mode, "root")) {
        list("/");
    } else if (!strcmp(mode, "write")) {
        say("before", access("/written", F_OK));
        say("root", open("/written", O_CREAT | O_WRONLY, 0644));
        say("tmp-before", access("/tmp/written", F_OK));
        say("tmp", open("/tmp/written", O_CREAT | O_WRONLY, 0644));
        say("dev", open("/dev/null", O_WRONLY));
    } else if (!strcmp(mode, "escape")) {
        escape();
    } else if (!strcmp(mode, "dial")) {
        read_all(0, text, 100);
        char *colon = strchr(text, ':');
        *colon = 0;
        say("dial", dial(text, atoi(colon + 1)));
    } else if (!strcmp(mode, "memory")) {
        grow();
    } else if (!strcmp(mode, "sleep")) {
        if (fork() == 0)
            for (;;)
                pause();
        for (;;)
            pause();
    } else if (!strcmp(mode, "bomb")) {
        int n = 0;
        for (pid_t p; (p = fork()) >= 0; n++)
            if (p == 0)
                for (;;)
                    pause();
        printf("forked %s\n", n < 1000 ? "few" : "many");
    } else if (!strcmp(mode, "binary")) {
        for (int i = 0; i < 256; i++)
            putchar(i);
    } else {
        fprintf(stderr, "no such mode: %s\n", mode);
        return 2;
    }
    return 0;
}

/* ---- hot ---- */

static char line[1 << 16];

static int http(const char *mode) {
    for (int call = 1;; call++) {
        size_t length = 0, n = 0;
        char head[1 << 16] = "";
        while (fgets(line, sizeof line, stdin) && strcmp(line, "\r\n") != 0) {
            if (!strncasecmp(line, "content-length:", 15))
                length = strtoul(line + 15, NULL, 10);
            strncat(head, line, sizeof head - strlen(head) - 1);
        }
        if (feof(stdin))
            return 0;
        n = length ? fread(text, 1, length, stdin) : 0;
        text[n] = 0;
        if (strstr(text, "die"))
            return 3;
        if (strstr(text, "garbage")) {
            printf("this is no response\r\n\r\n");
            fflush(stdout);
            continue;
        }
        if (strstr(text, "endless")) {
            printf("HTTP/1.1 200 OK\r\n\r\nfor ever");
            fflush(stdout);
            continue;
        }
        fprintf(stderr, "call %d\n", call);
        if (strstr(text, "chunked"))
            printf("HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\nX-Call: %d\r\n\r\n"
                   "4\r\nchun\r\n4\r\nked!\r\n0\r\n\r\n",
                   call);
        else
            printf("HTTP/1.1 202 Accepted\r\nContent-Length: %zu\r\nX-Call: %d\r\n"
                   "Content-Type: text/plain\r\n\r\n%s%s",
                   strlen(head) + n, call, head, text);
        if (strstr(text, "stray"))
            printf("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        fflush(stdout);
    }
}

/* Answers with the request as a JSON string would need a parser: it counts instead and echoes what
 * stands between two marks. */
static int json(const char *mode) {
    for (int call = 1; fgets(line, sizeof line, stdin); call++) {
        fprintf(stderr, "%s", line);
        if (strstr(line, "die"))
            return 3;
        if (strstr(line, "garbage"))
            printf("[1, 2, 3]\n");
        else
            printf(
                "{\"body\": \"call %d \\u00e9\", \"content_type\": \"text/x-call\", \"protocol\": "
                "{\"status_code\": 203, \"headers\": {\"X-Call\": [\"%d\"]}}}\n",
                call, call);
        fflush(stdout);
    }
    return 0;
}

int main(int argc, char **argv) {
    const char *mode = argc > 1 ? argv[1] : getenv("MODE");
    if (!mode)
        mode = "echo";
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    int r = !strcmp(mode, "http")   ? http(mode)
            : !strcmp(mode, "json") ? json(mode)
                                    : one_call(mode);
    fflush(stdout);
    return r;
}
