/* SPDX-License-Identifier: Apache-2.0 */
/* Ids as the outside sees them: a prefix and a number, or a prefix and a ULID. */

#include "model/model.h"
#include <stdio.h>

const char *id_text(char out[ID_TEXT_MAX], const char *prefix, uint32_t no) {
    (void)snprintf(out, ID_TEXT_MAX, "%s-%u", prefix, no);
    return out;
}

uint32_t id_parse(struct str s, const char *prefix) {
    size_t n = strlen(prefix);
    if (s.len < n + 2 || memcmp(s.p, prefix, n) != 0 || s.p[n] != '-')
        return 0;
    struct str digits = str_n(s.p + n + 1, s.len - n - 1);
    uint64_t no = 0;
    /* one number, one spelling: "func-012" is nobody's id */
    if (digits.p[0] == '0' || str_u64(digits, UINT32_MAX, &no) != 0)
        return 0;
    return (uint32_t)no;
}

const char *invocation_id_text(char out[ID_TEXT_MAX], const struct ulid *u) {
    (void)snprintf(out, ID_TEXT_MAX, "inv-");
    ulid_text(u, out + 4);
    return out;
}

int invocation_id_parse(struct str s, struct ulid *ret) {
    if (!str_starts(s, STR("inv-")))
        return -1;
    return ulid_parse(str_n(s.p + 4, s.len - 4), ret) == 0 ? 0 : -1;
}
