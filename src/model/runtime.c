/* SPDX-License-Identifier: Apache-2.0 */
/* Spellings of runtimes: "<language>[<major>[[.]<minor>…]]", or as people write them:
 * "Python 3.12". The interpreter that runs is the one of the machine; the spelling only chooses the
 * language. */

#include "model/model.h"

struct language {
    const char *name;
    enum runtime_kind kind;
    char major; /* the only first digit that is the same language, or 0: any */
};

/* A longer name stands before its own beginning. */
static const struct language LANGUAGES[] = {
    {"Python ", RUNTIME_PYTHON, '3'}, {"Node.js ", RUNTIME_NODE, 0},
    {"python", RUNTIME_PYTHON, '3'},  {"nodejs", RUNTIME_NODE, 0},
    {"node", RUNTIME_NODE, 0},
};

/* "", "3", "39", "3.9", "18", "18.x", "20.11.1" */
static bool version_ok(struct str s, char major) {
    if (s.len == 0)
        return true;
    if (s.len > 8 || (major && s.p[0] != major))
        return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.p[i];
        bool digit = c >= '0' && c <= '9';
        bool last = i + 1 == s.len;
        if (digit || (c == '.' && i > 0 && !last && s.p[i - 1] != '.'))
            continue;
        if (c == 'x' && last && i > 1 && s.p[i - 1] == '.')
            continue;
        return false;
    }
    return s.p[0] != '0';
}

int runtime_parse(struct str s) {
    if (str_is(s, "image"))
        return RUNTIME_IMAGE;
    for (size_t i = 0; i < ARRAY_LEN(LANGUAGES); i++) {
        struct str name = str_of(LANGUAGES[i].name);
        if (!str_starts(s, name))
            continue;
        struct str version = str_n(s.p + name.len, s.len - name.len);
        if (version.len == 0 && name.p[name.len - 1] == ' ')
            return -1;
        return version_ok(version, LANGUAGES[i].major) ? (int)LANGUAGES[i].kind : -1;
    }
    return -1;
}

const char *runtime_kind_name(enum runtime_kind k) {
    switch (k) {
    case RUNTIME_PYTHON:
        return "python";
    case RUNTIME_NODE:
        return "node";
    case RUNTIME_IMAGE:
        return "image";
    case RUNTIME_COUNT:
        break;
    }
    return "unknown";
}
