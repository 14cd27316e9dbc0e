/* SPDX-License-Identifier: Apache-2.0 */
/* The generated route table and the router, without a server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/dialects.h"
#include "api/router.h"
#include <stdio.h>

static struct arena arena;
static struct route_match match;
static struct error err;

static int find(enum http_method method, const char *path) {
    arena_reset(&arena);
    memset(&match, 0xaa, sizeof(match));
    err = (struct error){0};
    return route_find(&route_table, method, str_of(path), &arena, &match, &err);
}

/* A path of TEMPLATE: parameter I becomes "p<I>". */
static void fill(const char *template, char *out, size_t size) {
    size_t len = 0, n = 0;
    for (const char *p = template; *p; p++) {
        if (*p != '{') {
            out[len++] = *p;
            continue;
        }
        len += (size_t)snprintf(out + len, size - len, "p%zu", n++);
        p = strchr(p, '}');
    }
    out[len] = '\0';
}

static void every_template_leads_to_its_operation(void **state) {
    (void)state;
    assert_true(route_table.n_routes > 30);
    for (size_t i = 0; i < route_table.n_routes; i++) {
        const struct route *r = &route_table.routes[i];
        char path[256], slashed[260], name[8];
        fill(r->path, path, sizeof(path));
        (void)snprintf(slashed, sizeof(slashed), "%s/", path);
        assert_int_equal(find(r->method, path), 0);
        assert_ptr_equal(match.route, r);
        for (size_t k = 0; k < match.n_params; k++) {
            (void)snprintf(name, sizeof(name), "p%zu", k);
            assert_true(str_is(match.params[k], name));
        }
        assert_ptr_equal(match.dialect, r->dialect);
        assert_int_equal(find(r->method, slashed), 0);
        assert_ptr_equal(match.route, r);
    }
}

#define WS "/api/v1/workspaces/ws-1/functions"

static void literals_win_over_parameters(void **state) {
    (void)state;
    assert_int_equal(find(HTTP_GET, WS "/invocations/inv-1"), 0);
    assert_string_equal(match.route->operation, "get_invocation");
    assert_true(str_is(match.params[1], "inv-1"));
    assert_int_equal(find(HTTP_GET, WS "/provider/health"), 0);
    assert_string_equal(match.route->operation, "get_provider_health");
    assert_int_equal(match.n_params, 1);
    assert_int_equal(find(HTTP_GET, WS "/func-1"), 0);
    assert_string_equal(match.route->operation, "get_function");
}

/* "provider" and "invocations" lead further as literals, and give way where they do not. */
static void a_literal_that_leads_nowhere_gives_way(void **state) {
    (void)state;
    assert_int_equal(find(HTTP_GET, WS "/provider/logs"), 0);
    assert_string_equal(match.route->operation, "get_logs");
    assert_int_equal(match.n_params, 2);
    assert_true(str_is(match.params[0], "ws-1"));
    assert_true(str_is(match.params[1], "provider"));
    assert_int_equal(find(HTTP_POST, WS "/invocations/invoke"), -1);
    assert_int_equal(err.code, ERR_METHOD);
}

static void parameters_are_decoded_after_splitting(void **state) {
    (void)state;
    assert_int_equal(find(HTTP_GET, "/api/v1/functions/a%2Fb"), 0);
    assert_string_equal(match.route->operation, "get_function");
    assert_true(str_is(match.params[0], "a/b"));
    assert_int_equal(find(HTTP_GET, "/api/v1/functions/caf%C3%A9+x"), 0);
    assert_true(str_is(match.params[0], "caf\xc3\xa9+x"));
    assert_int_equal(find(HTTP_GET, "/api/v1/%66unctions"), 0);
    assert_string_equal(match.route->operation, "list_functions");
    assert_int_equal(find(HTTP_GET, "//api/v1//functions"), 0);
}

static void bad_paths_are_refused(void **state) {
    (void)state;
    const char *const bad[] = {"/api/v1/functions/%", "/api/v1/functions/%zz",
                               "/api/v1/functions/%00", "/api/v1/functions/%ff", "/../../x"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(find(HTTP_GET, bad[i]), -1);
        assert_int_equal(err.code, ERR_INVALID);
        assert_null(match.route);
    }
    assert_int_equal(find(HTTP_GET, "/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a"), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
}

static void unknown_paths_speak_the_dialect_of_their_prefix(void **state) {
    (void)state;
    static const struct {
        const char *path;
        const struct dialect *dialect;
    } cases[] = {
        {"/nothing", &dialect_common},         {"/v1/nothing", &dialect_iron},
        {"/api/v10", &dialect_blue},           {"/api/v1", &dialect_kube},
        {"/api/v1/nothing", &dialect_kube},    {"/api/v1/workspaces", &dialect_fnservice},
        {WS "/x/nothing", &dialect_fnservice},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(find(HTTP_GET, cases[i].path), -1);
        assert_int_equal(err.code, ERR_NOT_FOUND);
        assert_ptr_equal(match.dialect, cases[i].dialect);
        assert_string_equal(match.allow, "");
    }
}

static void a_wrong_method_lists_the_right_ones(void **state) {
    (void)state;
    assert_int_equal(find(HTTP_PATCH, "/api/v1/functions"), -1);
    assert_int_equal(err.code, ERR_METHOD);
    assert_ptr_equal(match.dialect, &dialect_kube);
    assert_string_equal(match.allow, "GET, HEAD, POST, OPTIONS");
    assert_int_equal(find(HTTP_OTHER, WS "/func-1/rollback"), -1);
    assert_string_equal(match.allow, "POST, OPTIONS");
}

static void head_is_served_as_get(void **state) {
    (void)state;
    assert_int_equal(find(HTTP_HEAD, "/health"), 0);
    assert_string_equal(match.route->operation, "health");
    assert_int_equal(find(HTTP_HEAD, "/api/v1/functions/x/invoke"), -1);
}

/* ---- parameters that take the rest ---- */

static void a_rest_is_all_that_is_left(void **state) {
    (void)state;
    static const struct {
        const char *path, *rest;
    } cases[] = {
        {"/r/app/a", "a"},
        {"/r/app/a/b/c", "a/b/c"},
        {"/r/app/a/b/", "a/b"},
        {"/r/app//a//b", "a/b"},
        {"/r/app/%2Fa%2Fb", "/a/b"},
        {"/r/app/a%2F%2Fb/%2F", "a//b//"},
        {"/r/app/caf%C3%A9+/x", "caf\xc3\xa9+/x"},
        {"/r/app/./a/../b", "b"},
        {"/r/app", ""},
        {"/r/app/", ""},
        {"/r/app/%2F", "/"},
        {"/r/app/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18", "1/2/3/4/5/6/7/8/9/10/11/12/13/14/"
                                                                "15/16/17/18"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(find(HTTP_POST, cases[i].path), 0);
        assert_string_equal(match.route->operation, "call_post");
        assert_int_equal(match.n_params, 2);
        assert_true(str_is(match.params[0], "app"));
        assert_true(str_is(match.params[1], cases[i].rest));
        assert_ptr_equal(match.dialect, &dialect_iron);
    }
}

static void a_rest_comes_last(void **state) {
    (void)state;
    assert_int_equal(find(HTTP_GET, "/v1/apps/a/routes"), 0);
    assert_string_equal(match.route->operation, "list_app_routes");
    assert_int_equal(find(HTTP_GET, "/v1/apps/a/routes/"), 0);
    assert_string_equal(match.route->operation, "list_app_routes");
    assert_int_equal(find(HTTP_GET, "/v1/apps/a/routes/%2F"), 0);
    assert_string_equal(match.route->operation, "get_route");
    assert_int_equal(find(HTTP_GET, "/v1/apps/a/routes//h"), 0);
    assert_string_equal(match.route->operation, "get_route");
    assert_true(str_is(match.params[1], "h"));
    assert_int_equal(find(HTTP_DELETE, "/v1/apps/a/routes"), -1); /* not the route "" */
    assert_int_equal(err.code, ERR_METHOD);
    assert_string_equal(match.allow, "GET, HEAD, POST, OPTIONS");
    assert_int_equal(find(HTTP_GET, "/v1/apps/a/other/x"), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_int_equal(find(HTTP_GET, "/r"), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_ptr_equal(match.dialect, &dialect_iron);
}

static void a_broken_rest_is_refused(void **state) {
    (void)state;
    const char *const bad[] = {"/r/a/%",   "/r/a/x/%zz",
                               "/r/a/%00", "/r/a/x/%ff",
                               "/r/a/%C3", "/r/a/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/%ff"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(find(HTTP_GET, bad[i]), -1);
        assert_int_equal(err.code, ERR_INVALID);
        assert_null(match.route);
        assert_ptr_equal(match.dialect, &dialect_iron);
    }
}

static void every_method_may_have_its_operation(void **state) {
    (void)state;
    static const struct {
        enum http_method method;
        const char *operation;
    } cases[] = {
        {HTTP_GET, "call_get"},         {HTTP_HEAD, "call_head"},   {HTTP_POST, "call_post"},
        {HTTP_PUT, "call_put"},         {HTTP_PATCH, "call_patch"}, {HTTP_DELETE, "call_delete"},
        {HTTP_OPTIONS, "call_options"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(find(cases[i].method, "/r/a/b"), 0);
        assert_string_equal(match.route->operation, cases[i].operation);
    }
    assert_int_equal(find(HTTP_OTHER, "/r/a/b"), -1);
    assert_string_equal(match.allow, "GET, PUT, POST, DELETE, PATCH, HEAD, OPTIONS");
}

/* Whoever adds an operation decides who may call it; only health needs nobody. */
static void only_health_needs_no_token(void **state) {
    (void)state;
    for (size_t i = 0; i < route_table.n_routes; i++) {
        const struct route *r = &route_table.routes[i];
        bool open = strstr(r->path, "/health") || strstr(r->path, "/ready");
        open = open && !strstr(r->path, "/provider/");
        open = open || strcmp(r->path, "/") == 0 || strncmp(r->path, "/docs", 5) == 0 ||
               strncmp(r->path, "/openapi", 8) == 0;
        assert_int_equal(r->role == 0, open);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_template_leads_to_its_operation),
        cmocka_unit_test(literals_win_over_parameters),
        cmocka_unit_test(a_literal_that_leads_nowhere_gives_way),
        cmocka_unit_test(parameters_are_decoded_after_splitting),
        cmocka_unit_test(bad_paths_are_refused),
        cmocka_unit_test(unknown_paths_speak_the_dialect_of_their_prefix),
        cmocka_unit_test(a_wrong_method_lists_the_right_ones),
        cmocka_unit_test(head_is_served_as_get),
        cmocka_unit_test(a_rest_is_all_that_is_left),
        cmocka_unit_test(a_rest_comes_last),
        cmocka_unit_test(a_broken_rest_is_refused),
        cmocka_unit_test(every_method_may_have_its_operation),
        cmocka_unit_test(only_health_needs_no_token),
    };
    arena_init(&arena, 64 * KIB);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    arena_done(&arena);
    return rc;
}
