/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_BASE_BASE_H
#define KILN_BASE_BASE_H

/* What every file of kiln may assume: attributes, cleanup helpers, allocation that cannot fail.
 *
 * Small fixed sizes come from x_alloc() and friends, which abort when memory is out: there is no
 * useful way on. A size that a client or an instance chose goes through struct buf or struct
 * arena instead, which have a named ceiling and fail as an error. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define ARRAY_LEN(a)                    (sizeof(a) / sizeof((a)[0]))
#define PRINTF_LIKE(fmt, first)         __attribute__((format(printf, fmt, first)))
#define MUST_CHECK                      __attribute__((warn_unused_result))
#define UNUSED                          __attribute__((unused))
#define NORETURN                        __attribute__((noreturn))
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#define KIB ((size_t)1024)
#define MIB (KIB * 1024)
#define GIB (MIB * 1024)

#define NS_PER_US 1000ull
#define NS_PER_MS 1000000ull
#define NS_PER_S  1000000000ull
#define MS_PER_S  1000ull

/* Zeroed memory of SIZE bytes; aborts when memory is out. Free with free(). */
void *x_alloc(size_t size) MUST_CHECK;
void *x_calloc(size_t count, size_t size) MUST_CHECK;
void *x_realloc(void *p, size_t size) MUST_CHECK;
char *x_strdup(const char *s) MUST_CHECK;
char *x_strndup(const char *s, size_t len) MUST_CHECK;
void *x_memdup(const void *p, size_t len) MUST_CHECK;
char *x_asprintf(const char *fmt, ...) PRINTF_LIKE(1, 2) MUST_CHECK;

static inline void cleanup_free_p(void *p) {
    free(*(void **)p);
}
static inline void cleanup_close_p(int *fd) {
    if (*fd >= 0)
        (void)close(*fd);
}
#define cleanup_free  __attribute__((cleanup(cleanup_free_p)))
#define cleanup_close __attribute__((cleanup(cleanup_close_p)))

/* Hands the pointer or descriptor over and disarms its cleanup. */
static inline void *take_ptr_(void **p) {
    void *v = *p;
    *p = NULL;
    return v;
}
#define TAKE_PTR(p) ((__typeof__(p))take_ptr_((void **)&(p)))
static inline int take_fd(int *fd) {
    int v = *fd;
    *fd = -1;
    return v;
}
/* Closes *FD if open and sets it to -1; errno is kept. */
void fd_close(int *fd);

#endif
