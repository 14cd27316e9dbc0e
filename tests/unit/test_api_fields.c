/* SPDX-License-Identifier: Apache-2.0 */
/* Members of a JSON request into a function: what is kept, and which field an error names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/fields.h"

static struct error err;

static struct json *parse(const char *text) {
    struct json *o = NULL;
    err = (struct error){0};
    assert_int_equal(json_parse_object(str_of(text), &o, &err), 0);
    return o;
}

static int environment(struct pairs *to, const char *text) {
    cleanup_json struct json *o = parse(text);
    return fields_environment(o, "environment", to, &err);
}

static void a_mask_keeps_the_stored_value(void **state) {
    (void)state;
    struct pairs env = {0};
    pairs_add(&env, STR("KEY"), STR("secret"));
    pairs_add(&env, STR("OLD"), STR("gone"));
    assert_int_equal(environment(&env, "{\"environment\":{\"KEY\":\"***\",\"NEW\":\"1\"}}"), 0);
    assert_int_equal(env.n, 2);
    assert_string_equal(pairs_get(&env, "KEY"), "secret");
    assert_string_equal(pairs_get(&env, "NEW"), "1");
    pairs_done(&env);
}

static void a_mask_without_a_stored_value_is_refused(void **state) {
    (void)state;
    struct pairs env = {0};
    pairs_add(&env, STR("KEY"), STR("secret"));
    assert_int_equal(environment(&env, "{\"environment\":{\"X\":\"***\"}}"), -1);
    assert_int_equal(err.code, ERR_INVALID);
    assert_string_equal(err.field, "environment");
    assert_string_equal(pairs_get(&env, "KEY"), "secret");
    assert_null(strstr(err.text, "secret"));
    pairs_done(&env);
}

static void an_absent_map_changes_nothing(void **state) {
    (void)state;
    struct pairs env = {0};
    pairs_add(&env, STR("KEY"), STR("v"));
    assert_int_equal(environment(&env, "{}"), 0);
    assert_int_equal(environment(&env, "{\"environment\":null}"), 0);
    assert_int_equal(env.n, 1);
    assert_int_equal(environment(&env, "{\"environment\":{}}"), 0);
    assert_int_equal(env.n, 0);
    pairs_done(&env);
}

static void values_must_be_strings(void **state) {
    (void)state;
    struct pairs env = {0};
    pairs_add(&env, STR("KEY"), STR("v"));
    assert_int_equal(environment(&env, "{\"environment\":{\"A\":\"x\",\"N\":3}}"), -1);
    assert_string_equal(err.field, "environment.N");
    assert_int_equal(environment(&env, "{\"environment\":[]}"), -1);
    assert_string_equal(err.field, "environment");
    assert_int_equal(env.n, 1);
    pairs_done(&env);
}

static void runtimes(void **state) {
    (void)state;
    static const struct {
        const char *text;
        enum error_code code;
        enum runtime_kind kind;
    } cases[] = {
        {"{\"runtime\":\"python3.9\"}", ERR_NONE, RUNTIME_PYTHON},
        {"{\"runtime\":\"python39\"}", ERR_NONE, RUNTIME_PYTHON},
        {"{\"runtime\":\"nodejs18\"}", ERR_NONE, RUNTIME_NODE},
        {"{\"runtime\":\"go1.21\"}", ERR_INVALID_RUNTIME, 0},
        {"{\"runtime\":\"\"}", ERR_INVALID_RUNTIME, 0},
        {"{\"runtime\":\"python3.90000000000000000000000000000\"}", ERR_INVALID_RUNTIME, 0},
        {"{\"runtime\":3}", ERR_INVALID, 0},
        {"{}", ERR_INVALID, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cleanup_json struct json *o = parse(cases[i].text);
        struct function *f = function_new();
        int rc = fields_runtime(o, "runtime", JSON_REQUIRED, f, &err);
        assert_int_equal(rc, cases[i].code == ERR_NONE ? 0 : -1);
        assert_int_equal(err.code, cases[i].code);
        if (rc == 0)
            assert_int_equal(f->kind, cases[i].kind);
        else
            assert_string_equal(err.field, "runtime");
        function_unref(f);
    }
}

static void names_and_handlers(void **state) {
    (void)state;
    cleanup_json struct json *o = parse("{\"name\":\"a b\",\"handler\":\"../x\",\"ok\":\"a-1\"}");
    struct function *f = function_new();
    assert_int_equal(fields_name(o, "name", JSON_REQUIRED, f, &err), -1);
    assert_string_equal(err.field, "name");
    assert_int_equal(fields_handler(o, "handler", JSON_NULLABLE, f, &err), -1);
    assert_string_equal(err.field, "handler");
    assert_null(f->name);
    assert_int_equal(fields_name(o, "ok", JSON_REQUIRED, f, &err), 0);
    assert_string_equal(f->name, "a-1");
    assert_int_equal(fields_name(o, "absent", JSON_NULLABLE, f, &err), 0);
    assert_string_equal(f->name, "a-1");
    function_unref(f);
}

static void timeouts_are_seconds(void **state) {
    (void)state;
    cleanup_json struct json *o =
        parse("{\"a\":2.5,\"b\":900,\"c\":0,\"d\":901,\"e\":\"1\",\"f\":-1}");
    struct function *f = function_new();
    assert_int_equal(fields_timeout(o, "a", f, &err), 0);
    assert_int_equal(f->timeout_ms, 2500);
    assert_int_equal(fields_timeout(o, "b", f, &err), 0);
    assert_int_equal(f->timeout_ms, 900000);
    assert_int_equal(fields_timeout(o, "absent", f, &err), 0);
    assert_int_equal(f->timeout_ms, 900000);
    for (const char *name = "cdef"; *name; name++) {
        const char member[] = {*name, '\0'};
        assert_int_equal(fields_timeout(o, member, f, &err), -1);
        assert_string_equal(err.field, member);
    }
    assert_int_equal(f->timeout_ms, 900000);
    function_unref(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_mask_keeps_the_stored_value),
        cmocka_unit_test(a_mask_without_a_stored_value_is_refused),
        cmocka_unit_test(an_absent_map_changes_nothing),
        cmocka_unit_test(values_must_be_strings),
        cmocka_unit_test(runtimes),
        cmocka_unit_test(names_and_handlers),
        cmocka_unit_test(timeouts_are_seconds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
