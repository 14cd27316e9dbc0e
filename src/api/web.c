/* SPDX-License-Identifier: Apache-2.0 */
#include "api/web.h"
#include "base/siphash.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>

struct web {
    char *folder;
    pthread_mutex_t lock; /* of files and n; what files point to does not change */
    struct web_file *files[WEB_FILES_MAX];
    size_t n;
};

struct web *web_new(const char *folder) {
    struct web *w = x_alloc(sizeof(*w));
    w->folder = x_strdup(folder);
    pthread_mutex_init(&w->lock, NULL);
    return w;
}

static void file_free(struct web_file *f) {
    if (!f)
        return;
    free(f->name);
    free(f->p);
    free(f);
}

void web_free(struct web *w) {
    if (!w)
        return;
    for (size_t i = 0; i < w->n; i++)
        file_free(w->files[i]);
    pthread_mutex_destroy(&w->lock);
    free(w->folder);
    free(w);
}

/* ---- reading ---- */

static int read_whole(int fd, size_t size, struct buf *out) {
    int rc = buf_reserve(out, size);
    while (rc == 0 && out->len < size) {
        ssize_t n = read(fd, out->p + out->len, size - out->len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) /* an end before the end: somebody is writing it */
            return n < 0 ? -errno : -EIO;
        out->len += (size_t)n;
    }
    return rc;
}

static int load(const struct web *w, const char *name, struct web_file **ret) {
    cleanup_free char *path = x_asprintf("%s/%s", w->folder, name);
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -ENOENT;
    if (st.st_size > (off_t)WEB_FILE_MAX)
        return -EFBIG;
    cleanup_buf struct buf text = BUF_INIT(WEB_FILE_MAX);
    int rc = read_whole(fd, (size_t)st.st_size, &text);
    if (rc < 0)
        return rc;
    struct web_file *f = x_alloc(sizeof(*f));
    f->name = x_strdup(name);
    f->p = buf_take(&text, &f->len);
    snprintf(f->etag, sizeof(f->etag), "\"%016llx\"",
             (unsigned long long)siphash13(0, f->len, f->p, f->len));
    *ret = f;
    return 0;
}

static int get_locked(struct web *w, const char *name, const struct web_file **ret) {
    for (size_t i = 0; i < w->n; i++) {
        if (strcmp(w->files[i]->name, name) == 0) {
            *ret = w->files[i];
            return 0;
        }
    }
    if (w->n == WEB_FILES_MAX)
        return -ENOSPC;
    int rc = load(w, name, &w->files[w->n]);
    if (rc == 0)
        *ret = w->files[w->n++];
    return rc;
}

int web_get(struct web *w, const char *name, const struct web_file **ret) {
    pthread_mutex_lock(&w->lock);
    int rc = get_locked(w, name, ret);
    pthread_mutex_unlock(&w->lock);
    return rc;
}

/* ---- answering ---- */

/* If-None-Match, RFC 9110 section 13.1.2: a list of tags, compared weakly, or "*". */
static bool client_has(const struct http_call *call, const struct web_file *f) {
    struct str rest = http_head_get(&call->head, "if-none-match");
    while (rest.p) {
        struct str tag = str_trim(str_cut(&rest, ','));
        if (str_starts(tag, STR("W/")))
            tag = str_n(tag.p + 2, tag.len - 2);
        if (str_is(tag, f->etag) || str_is(tag, "*"))
            return true;
    }
    return false;
}

struct sending {
    struct request *r;
    const struct web_file *file;
    size_t sent;
};

static void send_on(struct sending *s) {
    while (s->sent < s->file->len) {
        size_t n = s->file->len - s->sent;
        if (n > WEB_PIECE_MAX)
            n = WEB_PIECE_MAX;
        int rc = http_stream_write(s->r->call, str_n(s->file->p + s->sent, n));
        if (rc == -EAGAIN)
            return;
        if (rc < 0)
            break;
        s->sent += n;
    }
    http_stream_end(s->r->call);
    request_free(s->r);
}

static void on_drain(struct http_call *call) {
    struct request *r = call->user_data;
    send_on(r->state);
}

static void on_gone(struct request *r) {
    request_free(r);
}

static void send_pieces(struct request *r, const struct web_file *f,
                        const struct http_header *headers, size_t n) {
    struct sending *s = x_alloc(sizeof(*s));
    *s = (struct sending){.r = r, .file = f};
    r->state = s;
    r->free_state = free;
    r->gone = on_gone;
    r->call->on_drain = on_drain;
    http_stream_begin(r->call, 200, headers, n);
    send_on(s);
}

void web_reply(struct request *r, const struct web_file *f, const struct http_header *headers,
               size_t n) {
    struct http_header all[REPLY_HEADERS_MAX];
    size_t count = request_headers(r, all);
    all[count++] = (struct http_header){STR("ETag"), str_of(f->etag)};
    for (size_t i = 0; i < n && i < WEB_HEADERS_MAX && count < REPLY_HEADERS_MAX; i++)
        all[count++] = headers[i];
    bool had = client_has(r->call, f);
    /* HEAD is cut by the connection, but for the length: only the whole body says it. */
    if (!had && f->len > WEB_PIECE_MAX && r->call->head.method_id != HTTP_HEAD) {
        send_pieces(r, f, all, count);
        return;
    }
    http_reply(r->call, had ? 304 : 200, all, count, had ? STR("") : str_n(f->p, f->len));
    request_free(r);
}
