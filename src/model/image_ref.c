/* SPDX-License-Identifier: Apache-2.0 */
#include "model/image_ref.h"

#include <stdio.h>

static int bad(struct error *err, const char *what) {
    return error_field(err, ERR_INVALID, "image",
                       "image is no image reference (%s); it looks like "
                       "registry.example.com/team/name:tag",
                       what);
}

static bool is_lower_or_digit(char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_alnum(char c) {
    return is_lower_or_digit(c) || (c >= 'A' && c <= 'Z');
}

bool image_digest_check(struct str s) {
    return s.len == IMAGE_DIGEST_LEN && memcmp(s.p, "sha256:", 7) == 0 &&
           str_is_small_hex(str_n(s.p + 7, s.len - 7));
}

/* Small letters and digits, between them '.', '_', '__' or any number of '-'. */
static bool path_part_ok(struct str s) {
    if (s.len == 0 || !is_lower_or_digit(s.p[0]) || !is_lower_or_digit(s.p[s.len - 1]))
        return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.p[i];
        if (!is_lower_or_digit(c) && c != '.' && c != '_' && c != '-')
            return false;
        if (c == '.' && !is_lower_or_digit(s.p[i + 1])) /* the last one is a letter or digit */
            return false;
    }
    return true;
}

static bool path_ok(struct str s) {
    for (struct str rest = s; rest.p;)
        if (!path_part_ok(str_cut(&rest, '/')))
            return false;
    return true;
}

static bool tag_ok(struct str s) {
    if (s.len == 0 || s.len > IMAGE_TAG_MAX_LEN || !(is_alnum(s.p[0]) || s.p[0] == '_'))
        return false;
    for (size_t i = 0; i < s.len; i++)
        if (!is_alnum(s.p[i]) && s.p[i] != '.' && s.p[i] != '_' && s.p[i] != '-')
            return false;
    return true;
}

/* A name or address, perhaps with a port. */
static bool host_ok(struct str s) {
    if (s.len == 0 || s.len > IMAGE_HOST_MAX_LEN || s.p[0] == '-' || s.p[0] == ':')
        return false;
    for (size_t i = 0; i < s.len; i++)
        if (!is_alnum(s.p[i]) && !memchr(".:-[]", s.p[i], 5))
            return false;
    return true;
}

static bool is_host(struct str s) {
    return str_is(s, "localhost") || memchr(s.p, '.', s.len) || memchr(s.p, ':', s.len);
}

static void put(char *to, size_t size, struct str s) {
    (void)snprintf(to, size, "%.*s", STR_ARG(s));
}

/* Takes "@digest" and ":tag" off the end of *S. */
static int take_suffixes(struct str *s, struct image_ref *ret, struct error *err) {
    if (!s->p)
        return 0;
    const char *at = memchr(s->p, '@', s->len);
    if (at) {
        struct str digest = str_n(at + 1, s->len - (size_t)(at + 1 - s->p));
        if (!image_digest_check(digest))
            return bad(err, "its digest is not sha256: and 64 hex digits");
        put(ret->digest, sizeof ret->digest, digest);
        s->len = (size_t)(at - s->p);
    }
    const char *slash = s->len ? memrchr(s->p, '/', s->len) : NULL;
    const char *from = slash ? slash : s->p;
    const char *colon = memrchr(from, ':', s->len - (size_t)(from - s->p));
    if (!colon)
        return 0;
    struct str tag = str_n(colon + 1, s->len - (size_t)(colon + 1 - s->p));
    if (!tag_ok(tag))
        return bad(err, "its tag");
    put(ret->tag, sizeof ret->tag, tag);
    s->len = (size_t)(colon - s->p);
    return 0;
}

int image_ref_parse(struct str s, struct image_ref *ret, struct error *err) {
    *ret = (struct image_ref){0};
    if (s.len == 0)
        return bad(err, "it is empty");
    if (s.len > IMAGE_REF_MAX_LEN)
        return bad(err, "it is too long");
    if (memchr(s.p, 0, s.len))
        return bad(err, "it holds a zero byte");
    if (take_suffixes(&s, ret, err) < 0)
        return -1;
    struct str path = s, host = STR("docker.io");
    const char *slash = memchr(s.p, '/', s.len);
    struct str first = str_n(s.p, slash ? (size_t)(slash - s.p) : s.len);
    if (slash && is_host(first)) {
        host = first;
        path = str_n(slash + 1, s.len - first.len - 1);
    }
    if (!host_ok(host))
        return bad(err, "the name of its registry");
    if (!path_ok(path))
        return bad(err, "its name: small letters, digits, '.', '_', '-' and '/'");
    bool official = str_is(host, "docker.io") && !memchr(path.p, '/', path.len);
    put(ret->host, sizeof ret->host, host);
    (void)snprintf(ret->path, sizeof ret->path, "%s%.*s", official ? "library/" : "",
                   STR_ARG(path));
    if (!ret->tag[0] && !ret->digest[0])
        (void)snprintf(ret->tag, sizeof ret->tag, "latest");
    return 0;
}

int image_ref_check(struct str s, struct error *err) {
    struct image_ref r;
    return image_ref_parse(s, &r, err);
}

const char *image_ref_text(const struct image_ref *r, char out[IMAGE_REF_TEXT_MAX]) {
    bool by_digest = r->digest[0] != 0;
    (void)snprintf(out, IMAGE_REF_TEXT_MAX, "%s/%s%s%s", r->host, r->path, by_digest ? "@" : ":",
                   by_digest ? r->digest : r->tag);
    return out;
}

bool image_ref_is_loopback(const struct image_ref *r) {
    char host[IMAGE_HOST_MAX_LEN + 1];
    (void)snprintf(host, sizeof host, "%s", r->host);
    char *colon = strrchr(host, ':');
    if (colon && host[0] != '[')
        *colon = 0;
    if (strcmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0 ||
        strncmp(host, "[::1]:", 6) == 0)
        return true;
    unsigned a, b, c, d;
    char rest;
    return sscanf(host, "%u.%u.%u.%u%c", &a, &b, &c, &d, &rest) == 4 && a == 127 && b < 256 &&
           c < 256 && d < 256;
}

int image_ref_allowed(const struct image_ref *r, const char *hosts, struct error *err) {
    struct str rest = str_of(hosts);
    while (rest.p)
        if (str_is(str_trim(str_cut(&rest, ',')), r->host))
            return 0;
    if (!hosts)
        return 0;
    return error_field(
        err, ERR_FORBIDDEN, "image",
        "images of %s are not used here: the setting registries names those that are", r->host);
}
