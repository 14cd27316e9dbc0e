/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

/* Memory is out: say so without allocating and end. */
static NORETURN void out_of_memory(void) {
    static const char text[] = "kiln: out of memory\n";
    ssize_t n UNUSED = write(STDERR_FILENO, text, sizeof(text) - 1);
    abort();
}

void *x_alloc(size_t size) {
    void *p = calloc(1, size ? size : 1);
    if (!p)
        out_of_memory();
    return p;
}

void *x_calloc(size_t count, size_t size) {
    void *p = calloc(count ? count : 1, size ? size : 1);
    if (!p)
        out_of_memory();
    return p;
}

void *x_realloc(void *p, size_t size) {
    void *q = realloc(p, size ? size : 1);
    if (!q)
        out_of_memory();
    return q;
}

char *x_strndup(const char *s, size_t len) {
    size_t n = strnlen(s, len);
    char *copy = x_alloc(n + 1);
    memcpy(copy, s, n);
    return copy;
}

char *x_strdup(const char *s) {
    return x_strndup(s, strlen(s));
}

void *x_memdup(const void *p, size_t len) {
    void *copy = x_alloc(len);
    if (len)
        memcpy(copy, p, len);
    return copy;
}

char *x_asprintf(const char *fmt, ...) {
    char *s = NULL;
    va_list ap;
    va_start(ap, fmt);
    int n = vasprintf(&s, fmt, ap);
    va_end(ap);
    if (n < 0)
        out_of_memory();
    return s;
}

void fd_close(int *fd) {
    int saved = errno;
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
    errno = saved;
}
