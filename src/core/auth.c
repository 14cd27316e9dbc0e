/* SPDX-License-Identifier: Apache-2.0 */
/* Tokens: "kiln_" and 43 letters of base64url that stand for 32 random bytes. Only their SHA-256
 * is kept. A given administrator's token may be any text of TOKEN_MIN to TOKEN_MAX bytes. */

#include "base/rand.h"
#include "core/internal.h"
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdio.h>

#define TOKEN_MIN  16
#define TOKEN_MAX  512
#define TOKEN_LEN  48 /* of one that was made here */
#define ADMIN_NAME "admin"

static void add_token(void *arg, const struct token_row *t) {
    struct auth *auth = arg;
    if (auth->n >= TOKENS_MAX)
        return;
    auth->tokens = grow(auth->tokens, auth->n, &auth->cap, sizeof *auth->tokens);
    auth->tokens[auth->n++] = *t;
}

static int read_tokens(struct store *s, void *arg, struct error *err) {
    return store_token_each(s, add_token, arg, err);
}

int auth_load(struct core *c, struct error *err) {
    c->auth.n = 0;
    return store_wait(c->store, STORE_STATE, read_tokens, &c->auth, err);
}

static int refuse(struct error *err, const char *why) {
    return error_set(err, ERR_UNAUTHENTICATED,
                     "%s; send the header \"Authorization: Bearer <token>\"", why);
}

static bool bearer(struct str header, struct str *ret) {
    struct str rest = str_trim(header);
    struct str scheme = str_cut(&rest, ' ');
    if (!str_ieq(scheme, STR("Bearer")) || !rest.p)
        return false;
    *ret = str_trim(rest);
    return ret->len > 0 && ret->len <= TOKEN_MAX;
}

int core_authenticate(struct core *c, struct str authorization, struct principal *ret,
                      struct error *err) {
    if (c->config.no_auth) {
        *ret = (struct principal){.name = ADMIN_NAME, .role = ROLE_ADMIN};
        return 0;
    }
    if (!authorization.p)
        return refuse(err, "this needs a token");
    struct str token;
    if (!bearer(authorization, &token))
        return refuse(err, "the Authorization header is not of the form that is expected");
    uint8_t hash[32];
    SHA256((const unsigned char *)token.p, token.len, hash);
    const struct token_row *found = NULL;
    for (size_t i = 0; i < c->auth.n; i++) /* all of them, so that time tells nothing */
        if (CRYPTO_memcmp(hash, c->auth.tokens[i].hash, sizeof hash) == 0)
            found = &c->auth.tokens[i];
    if (!found)
        return refuse(err, "the token is not one of this server's");
    *ret = (struct principal){.role = found->role};
    memcpy(ret->name, found->name, sizeof ret->name);
    memcpy(ret->workspace, found->workspace, sizeof ret->workspace);
    return 0;
}

static const char *role_name(enum role r) {
    static const char *const names[] = {"nobody", "viewer", "invoker", "developer", "admin"};
    return (size_t)r < ARRAY_LEN(names) ? names[r] : "unknown";
}

int core_authorize(const struct principal *p, struct str workspace, enum role role,
                   struct error *err) {
    if (p->workspace[0] && !str_is(workspace, p->workspace))
        return error_set(err, ERR_FORBIDDEN, "the token is for another workspace");
    if (p->role < role)
        return error_set(err, ERR_FORBIDDEN, "this needs the role %s; the token has %s",
                         role_name(role), role_name(p->role));
    return 0;
}

/* ---- the administrator's token ---- */
static void make_token(char out[TOKEN_MAX + 1]) {
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint8_t bytes[33] = {0}; /* one more, zero: the last letter takes its bits from it */
    rand_bytes(bytes, 32);
    memcpy(out, "kiln_", 5);
    for (size_t i = 0; i < 43; i++) {
        size_t bit = i * 6;
        unsigned two = (unsigned)bytes[bit / 8] << 8 | bytes[bit / 8 + 1];
        out[5 + i] = letters[two >> (10 - bit % 8) & 63];
    }
    out[TOKEN_LEN] = '\0';
    OPENSSL_cleanse(bytes, sizeof bytes);
}

/* The token in the file, trimmed; "" when there is no file. */
static int read_file(const char *path, char out[TOKEN_MAX + 1], struct error *err) {
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    out[0] = '\0';
    if (fd < 0)
        return errno == ENOENT ? 0 : error_errno(err, -errno, path);
    ssize_t n = read(fd, out, TOKEN_MAX);
    if (n < 0)
        return error_errno(err, -errno, path);
    while (n > 0 && (out[n - 1] == '\n' || out[n - 1] == ' ' || out[n - 1] == '\r'))
        n--;
    out[n] = '\0';
    return 0;
}

static int write_all(int fd, const char *token) {
    char line[TOKEN_MAX + 2];
    int n = snprintf(line, sizeof line, "%s\n", token);
    ssize_t r = write(fd, line, (size_t)n);
    OPENSSL_cleanse(line, sizeof line);
    if (r != n)
        return r < 0 ? -errno : -EIO;
    return fsync(fd) < 0 ? -errno : 0;
}

/* Whole or not at all, and never readable by others. */
static int write_file(const char *path, const char *token, struct error *err) {
    cleanup_free char *next = x_asprintf("%s.new", path);
    (void)unlink(next);
    cleanup_close int fd = open(next, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_errno(err, -errno, next);
    int r = write_all(fd, token);
    if (r == 0 && rename(next, path) < 0)
        r = -errno;
    if (r < 0)
        (void)unlink(next);
    return r < 0 ? error_errno(err, r, path) : 0;
}

static int put_token(struct store *s, void *arg, struct error *err) {
    return store_token_put(s, arg, err);
}

static const struct token_row *stored_admin(const struct core *c) {
    for (size_t i = 0; i < c->auth.n; i++)
        if (strcmp(c->auth.tokens[i].name, ADMIN_NAME) == 0)
            return &c->auth.tokens[i];
    return NULL;
}

static int keep_token(struct core *c, const char *token, struct error *err) {
    struct token_row row = {.role = ROLE_ADMIN, .name = ADMIN_NAME};
    row.created_us = clock_real_us();
    SHA256((const unsigned char *)token, strlen(token), row.hash);
    const struct token_row *have = stored_admin(c);
    if (have && CRYPTO_memcmp(have->hash, row.hash, sizeof row.hash) == 0)
        return 0;
    if (store_wait(c->store, STORE_STATE, put_token, &row, err) < 0)
        return -1;
    return auth_load(c, err);
}

static int check_given(const char *token, const char *where, struct error *err) {
    size_t len = strlen(token);
    if (len < TOKEN_MIN || len > TOKEN_MAX)
        return error_set(err, ERR_INVALID,
                         "the administrator's token in %s must have %d to %d bytes", where,
                         TOKEN_MIN, TOKEN_MAX);
    for (const char *p = token; *p; p++)
        if (*p <= ' ' || *p > '~')
            return error_set(err, ERR_INVALID,
                             "the administrator's token in %s must be printable without blanks",
                             where);
    return 0;
}

int core_admin_token(struct core *c, const char *data_dir, const char *token, bool *ret_made,
                     struct error *err) {
    cleanup_free char *path = x_asprintf("%s/admin.token", data_dir);
    char in_file[TOKEN_MAX + 1], made[TOKEN_MAX + 1];
    if (read_file(path, in_file, err) < 0)
        return -1;
    if (token && check_given(token, "KILN_ADMIN_TOKEN", err) < 0)
        return -1;
    if (!token && in_file[0] && check_given(in_file, path, err) < 0)
        return -1;
    bool make = !token && !in_file[0] && !stored_admin(c);
    if (make)
        make_token(made);
    const char *use = token ? token : in_file[0] ? in_file : make ? made : NULL;
    int r = 0;
    if (use && strcmp(use, in_file) != 0)
        r = write_file(path, use, err);
    if (r == 0 && use)
        r = keep_token(c, use, err);
    OPENSSL_cleanse(in_file, sizeof in_file);
    OPENSSL_cleanse(made, sizeof made);
    if (r == 0)
        *ret_made = make;
    return r;
}
