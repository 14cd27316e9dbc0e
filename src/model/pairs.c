/* SPDX-License-Identifier: Apache-2.0 */
/* String pairs in the order given, and their form in the store. */

#include "base/buf.h"
#include "model/model.h"
#include "json/scan.h"
#include "json/write.h"

void pairs_done(struct pairs *p) {
    for (size_t i = 0; i < p->n; i++) {
        free(p->v[i].key);
        free(p->v[i].value);
    }
    free(p->v);
    *p = (struct pairs){0};
}

/* The array has room for the next power of two. */
static struct pair *append(struct pairs *p) {
    if ((p->n & (p->n - 1)) == 0)
        p->v = x_realloc(p->v, (p->n ? p->n * 2 : 1) * sizeof(*p->v));
    return &p->v[p->n++];
}

void pairs_add(struct pairs *p, struct str key, struct str value) {
    char *copy = str_dup(value); /* first: VALUE may be what is replaced */
    for (size_t i = 0; i < p->n; i++) {
        if (!str_is(key, p->v[i].key))
            continue;
        free(p->v[i].value);
        p->v[i].value = copy;
        return;
    }
    char *name = str_dup(key);
    *append(p) = (struct pair){name, copy};
}

void pairs_copy(struct pairs *to, const struct pairs *from) {
    struct pairs copy = {0};
    for (size_t i = 0; i < from->n; i++) {
        struct pair one = {x_strdup(from->v[i].key), x_strdup(from->v[i].value)};
        *append(&copy) = one;
    }
    pairs_done(to);
    *to = copy;
}

const char *pairs_get(const struct pairs *p, const char *key) {
    for (size_t i = 0; i < p->n; i++) {
        if (strcmp(p->v[i].key, key) == 0)
            return p->v[i].value;
    }
    return NULL;
}

int pairs_to_json(const struct pairs *p, struct buf *out) {
    struct json_w w;
    json_w_init(&w, out);
    jw_begin_object(&w);
    for (size_t i = 0; i < p->n; i++)
        jw_cstr_member(&w, p->v[i].key, p->v[i].value);
    jw_end_object(&w);
    return json_w_done(&w);
}

/* Above every limit of the model; adding is quadratic. */
#define PAIRS_READ_MAX 1024

static int malformed(struct error *err) {
    return error_set(err, ERR_INVALID, "pairs must be a JSON object of at most %d strings",
                     PAIRS_READ_MAX);
}

/* TEXT without its escapes; text with a NUL in it has no form as a C string. */
static int unescape(struct str text, struct buf *out) {
    buf_clear(out);
    if (json_unescape(text, out) < 0 || (out->len && memchr(out->p, 0, out->len)))
        return -1;
    return 0;
}

int pairs_from_json(struct pairs *p, struct str text, struct error *err) {
    struct pairs read = {0};
    struct json_members it;
    struct json_member m;
    cleanup_buf struct buf key = BUF_INIT(text.len), value = BUF_INIT(text.len);
    if (!text.p || json_members_open(&it, text) < 0)
        return malformed(err);
    int rc;
    while ((rc = json_members_next(&it, &m)) == 1) {
        if (m.kind != JSON_KIND_STRING || read.n == PAIRS_READ_MAX || unescape(m.key, &key) < 0 ||
            unescape(json_inside(m.value), &value) < 0)
            break;
        pairs_add(&read, buf_str(&key), buf_str(&value));
    }
    if (rc != 0) {
        pairs_done(&read);
        return malformed(err);
    }
    pairs_done(p);
    *p = read;
    return 0;
}
