/* SPDX-License-Identifier: Apache-2.0 */
/* kiln-bench-runtime DEPTH SECONDS PROGRAM ARG…: calls a second of a hello-world handler over the
 * socketpair, without server and sandbox; for measuring by hand. PROGRAM is a kiln-bare-X. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include "wire/wire.h"

static const char python_code[] = "def handler(event):\n"
                                  "    return {'hello': event['body'].get('name', 'world')}\n";
static const char node_code[] = "exports.handler = (event) => ({hello: event.body.name});\n";

static double now(void) {
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void put_call(struct buf *b, uint32_t seq) {
    const char *const headers[] = {
        "host", "localhost:8080", "user-agent",       "curl/7.88.1",    "accept",
        "*/*",  "content-type",   "application/json", "content-length", "16"};
    ssize_t at = wire_begin(b, WIRE_CALL, 0, seq);
    (void)wire_u32(b, 30000);
    (void)wire_u8(b, WIRE_BODY_JSON);
    (void)wire_str(b, STR("inv-01HZX0000000000000000000"));
    (void)wire_str(b, STR("POST"));
    (void)wire_str(b, STR("/invoke"));
    (void)wire_u32(b, 0);
    (void)wire_u32(b, ARRAY_LEN(headers) / 2);
    for (size_t i = 0; i < ARRAY_LEN(headers); i++)
        (void)wire_str(b, str_of(headers[i]));
    (void)wire_str(b, STR("{\"name\": \"bench\"}"));
    (void)wire_end(b, at);
}

static void put_load(struct buf *b, bool node) {
    ssize_t at = wire_begin(b, WIRE_LOAD, 0, 0);
    (void)wire_u8(b, 0);
    (void)wire_str(b, STR("bench"));
    (void)wire_str(b, STR("v1"));
    (void)wire_str(b, STR("ws-default"));
    (void)wire_str(b, STR("main.handler"));
    (void)wire_u32(b, 0);
    (void)wire_str(b, str_of(node ? node_code : python_code));
    (void)wire_end(b, at);
}

static void put_all(int fd, const struct buf *b) {
    for (size_t at = 0; at < b->len;) {
        ssize_t n = write(fd, b->p + at, b->len - at);
        if (n <= 0)
            exit(1);
        at += (size_t)n;
    }
}

/* Frames of TYPE that came with one read. */
static int take(int fd, struct buf *in, uint8_t type) {
    struct wire_frame f;
    size_t need;
    int count = 0;

    (void)buf_reserve(in, 64 * KIB);
    ssize_t n = read(fd, in->p + in->len, in->cap - in->len);
    if (n <= 0) {
        (void)fprintf(stderr, "the instance is gone\n");
        exit(1);
    }
    in->len += (size_t)n;
    while ((n = wire_parse(in->p, in->len, WIRE_FRAME_MAX, &f, &need)) > 0) {
        if (f.type == WIRE_LOAD_FAILED || f.type == WIRE_FAILED) {
            (void)fprintf(stderr, "%.*s\n", STR_ARG(f.payload));
            exit(1);
        }
        count += f.type == type;
        buf_drop(in, (size_t)n);
    }
    return count;
}

int main(int argc, char **argv) {
    int pair[2], depth = argc > 3 ? atoi(argv[1]) : 0;
    struct buf in = BUF_INIT(1 * MIB), out = BUF_INIT(1 * MIB);
    struct rusage usage;

    if (depth < 1 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
        return 2;
    pid_t pid = fork();
    if (pid == 0) {
        (void)dup2(pair[1], 3);
        execv(argv[3], argv + 3);
        _exit(127);
    }
    (void)close(pair[1]);
    double t0 = now();
    while (!take(pair[0], &in, WIRE_HELLO))
        ;
    double t1 = now();
    put_load(&out, strstr(argv[3], "node") != NULL);
    put_call(&out, 1);
    put_all(pair[0], &out);
    while (!take(pair[0], &in, WIRE_RESULT))
        ;
    double t2 = now(), end = t2 + atof(argv[2]);
    (void)printf("hello after %.1f ms, first call %.3f ms\n", (t1 - t0) * 1e3, (t2 - t1) * 1e3);
    long calls = 0;
    for (int owed = depth; now() < end;) {
        buf_clear(&out);
        for (; owed > 0; owed--)
            put_call(&out, (uint32_t)++calls);
        put_all(pair[0], &out);
        owed = take(pair[0], &in, WIRE_RESULT);
    }
    double took = now() - t2;
    (void)close(pair[0]);
    (void)wait4(pid, NULL, 0, &usage);
    double cpu = (double)usage.ru_utime.tv_sec + (double)usage.ru_utime.tv_usec / 1e6 +
                 (double)usage.ru_stime.tv_sec + (double)usage.ru_stime.tv_usec / 1e6;
    (void)printf("depth %d: %.0f calls/s, %.1f us cpu a call in the instance, max rss %ld KiB\n",
                 depth, (double)calls / took, cpu * 1e6 / (double)calls, usage.ru_maxrss);
    return 0;
}
