/* SPDX-License-Identifier: Apache-2.0 */
/* What a caller may say. A sentence names the field and what would be right, and never repeats a
 * value: it may be a secret. */

#include "model/model.h"

static bool is_alnum(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* UTF-8 without control bytes. */
static bool is_plain_text(struct str s) {
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c < 0x20 || c == 0x7f)
            return false;
    }
    return str_is_utf8(s);
}

int check_name(struct str s, const char *field, struct error *err) {
    bool ok = s.len > 0 && s.len <= NAME_MAX_LEN && is_alnum(s.p[0]);
    for (size_t i = 0; ok && i < s.len; i++)
        ok = is_alnum(s.p[i]) || s.p[i] == '-' || s.p[i] == '_' || s.p[i] == '.';
    if (ok)
        return 0;
    return error_field(err, ERR_INVALID, field,
                       "%s must be 1 to %d letters, digits, '-', '_' or '.', beginning with a "
                       "letter or digit",
                       field, NAME_MAX_LEN);
}

int check_project_name(struct str s, const char *field, struct error *err) {
    struct str rest = s;
    while (rest.len > 1 && (rest.p[0] == '-' || rest.p[0] == '_'))
        rest = str_n(rest.p + 1, rest.len - 1);
    if (s.len <= NAME_MAX_LEN && rest.len == 1 && (rest.p[0] == '-' || rest.p[0] == '_'))
        return 0; /* of nothing else */
    return check_name(s.len > NAME_MAX_LEN ? s : rest, field, err);
}

static bool contains_dotdot(struct str s) {
    for (size_t i = 1; i < s.len; i++) {
        if (s.p[i] == '.' && s.p[i - 1] == '.')
            return true;
    }
    return false;
}

int check_handler(struct str s, struct error *err) {
    bool ok = s.len > 0 && s.len <= HANDLER_MAX_LEN && is_plain_text(s) && !contains_dotdot(s);
    ok = ok && !strchr("./", s.p[0]) && !strchr("./", s.p[s.len - 1]);
    for (size_t i = 0; ok && i < s.len; i++)
        ok = !strchr(" \\\"'`;|&<>(){}*?!", s.p[i]);
    if (ok)
        return 0;
    return error_field(err, ERR_INVALID, "handler",
                       "handler must be 1 to %d characters such as \"index.handler\": a module and "
                       "a function joined by a dot, without blanks, quotes or '..'",
                       HANDLER_MAX_LEN);
}

static bool env_key_ok(struct str s) {
    if (s.len == 0 || s.len > ENV_KEY_MAX_LEN || (s.p[0] >= '0' && s.p[0] <= '9'))
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (!is_alnum(s.p[i]) && s.p[i] != '_' && s.p[i] != '-' && s.p[i] != '.')
            return false;
    }
    return true;
}

int check_env(const struct pairs *env, struct error *err) {
    if (env->n > ENV_PAIRS_MAX)
        return error_field(err, ERR_INVALID, "environment",
                           "environment must have at most %d variables", ENV_PAIRS_MAX);
    size_t total = 0;
    for (size_t i = 0; i < env->n; i++) {
        struct str key = str_of(env->v[i].key), value = str_of(env->v[i].value);
        if (!env_key_ok(key))
            return error_field(err, ERR_INVALID, "environment",
                               "environment: the name of variable %zu must be 1 to %d letters, "
                               "digits, '_', '-' or '.', not beginning with a digit",
                               i + 1, ENV_KEY_MAX_LEN);
        if (!str_is_utf8(value))
            return error_field(err, ERR_INVALID, "environment",
                               "environment: the value of %s must be UTF-8", env->v[i].key);
        total += key.len + value.len;
    }
    if (total > ENV_TOTAL_MAX)
        return error_field(err, ERR_INVALID, "environment",
                           "environment must be at most %zu bytes, names and values together",
                           (size_t)ENV_TOTAL_MAX);
    return 0;
}

int check_labels(const struct pairs *labels, const char *field, struct error *err) {
    if (labels->n > LABEL_PAIRS_MAX)
        return error_field(err, ERR_INVALID, field, "%s must have at most %d entries", field,
                           LABEL_PAIRS_MAX);
    for (size_t i = 0; i < labels->n; i++) {
        struct str key = str_of(labels->v[i].key), value = str_of(labels->v[i].value);
        if (key.len == 0 || key.len > LABEL_MAX_LEN || !is_plain_text(key))
            return error_field(err, ERR_INVALID, field,
                               "%s: key %zu must be 1 to %d bytes of text without control "
                               "characters",
                               field, i + 1, LABEL_MAX_LEN);
        if (str_is(key, "description") && value.len <= DESCRIPTION_MAX && str_is_utf8(value))
            continue; /* prose: line breaks too */
        if (value.len > LABEL_MAX_LEN || !is_plain_text(value))
            return error_field(err, ERR_INVALID, field,
                               "%s: the value of key %zu must be at most %d bytes of text without "
                               "control characters",
                               field, i + 1, LABEL_MAX_LEN);
    }
    return 0;
}
