/* SPDX-License-Identifier: Apache-2.0 */
#include "remote/auth.h"
#include "base/str.h"
#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>

void remote_auth_wipe(struct remote_auth *a) {
    OPENSSL_cleanse(a, sizeof *a);
}

static void copy(char *out, size_t size, struct str s) {
    if (s.len < size) {
        memcpy(out, s.p, s.len);
        out[s.len] = 0;
    }
}

static int parse(struct str line, struct remote_auth *ret) {
    struct remote_auth a = {.user = ""};
    if (str_starts(line, STR("Bearer "))) {
        copy(a.bearer, sizeof a.bearer, str_trim(str_n(line.p + 7, line.len - 7)));
    } else {
        struct str password = line, user = str_cut(&password, ':');
        copy(a.user, sizeof a.user, user);
        if (password.p)
            copy(a.password, sizeof a.password, password);
    }
    bool good = a.bearer[0] || (a.user[0] && a.password[0]);
    for (size_t i = 0; i < line.len; i++) /* nothing that would end a header */
        good &= (unsigned char)line.p[i] >= 0x20 && line.p[i] != 0x7f;
    if (good)
        *ret = a;
    remote_auth_wipe(&a);
    return good ? 0 : -EINVAL;
}

int remote_auth_read(const char *path, struct remote_auth *ret, struct error *err) {
    char line[2 * REMOTE_SECRET_MAX] = "";
    FILE *f = fopen(path, "re");
    if (!f)
        return error_set(err, ERR_INVALID, "cannot read %s: %s", path, errno_text(errno));
    setvbuf(f, NULL, _IONBF, 0); /* no copy that stays behind */
    if (!fgets(line, sizeof line, f))
        line[0] = 0;
    (void)fclose(f);
    line[strcspn(line, "\r\n")] = 0;
    int r = parse(str_trim(str_of(line)), ret);
    OPENSSL_cleanse(line, sizeof line);
    if (r < 0)
        return error_set(err, ERR_INVALID,
                         "the first line of %s is neither \"user:password\" nor \"Bearer TOKEN\"",
                         path);
    return 0;
}
