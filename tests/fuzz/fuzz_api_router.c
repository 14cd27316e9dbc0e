/* SPDX-License-Identifier: Apache-2.0 */
/* The router over the real table of operations: first byte the method, then the path. */
#include "fuzz.h"

#include "api/dialects.h"
#include "api/router.h"
#include "http/url.h"

/* A path that was found is found again as it is cleaned, with the same parameters. */
static void check_again(struct str path, enum http_method method, const struct route_match *m,
                        struct arena *a) {
    struct route_match again;
    struct error err;
    struct str clean;
    MUST(url_path_clean(path, a, &clean) == 0);
    MUST(route_find(&route_table, method, clean, a, &again, &err) == 0);
    MUST(again.route == m->route && again.n_params == m->n_params);
    for (size_t i = 0; i < m->n_params; i++)
        MUST(str_eq(again.params[i], m->params[i]));
}

static size_t count_params(const char *template) {
    size_t n = 0;
    for (; *template; template ++)
        n += *template == '{';
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct arena arena;
    struct route_match m;
    struct error err = {0};
    if (size == 0 || size > HTTP_TARGET_MAX)
        return 0;
    enum http_method method = (enum http_method)(data[0] % (HTTP_OPTIONS + 1));
    struct str path = str_n(data + 1, size - 1);
    arena_init(&arena, 256 * KIB);
    int rc = route_find(&route_table, method, path, &arena, &m, &err);
    MUST(m.dialect);
    if (rc < 0) {
        MUST(!m.route);
        MUST(err.code == ERR_NOT_FOUND || err.code == ERR_METHOD || err.code == ERR_INVALID);
        MUST((err.code == ERR_METHOD) == (m.allow[0] != '\0'));
    } else {
        MUST(m.route->method == method || (method == HTTP_HEAD && m.route->method == HTTP_GET));
        MUST(m.n_params == count_params(m.route->path));
        for (size_t i = 0; i < m.n_params; i++)
            MUST(str_is_utf8(m.params[i]) &&
                 !(m.params[i].len && memchr(m.params[i].p, 0, m.params[i].len)));
        check_again(path, method, &m, &arena);
    }
    arena_done(&arena);
    return 0;
}
