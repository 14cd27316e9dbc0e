/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "json/yaml_text.h"

static void assert_read(const char *yaml, const char *json) {
    cleanup_buf struct buf out = BUF_INIT(MIB);
    struct error err = {0};
    assert_int_equal(yaml_to_json(str_of(yaml), &out, &err), 0);
    assert_string_equal(buf_cstr(&out), json);
}

static void documents_become_json(void **state) {
    (void)state;
    assert_read("a: b\nc: [1, true, \"x\"]\n", "{\"a\":\"b\",\"c\":[\"1\",\"true\",\"x\"]}");
    assert_read("a:\n- b: c\n  d: ~\n- {}\n", "{\"a\":[{\"b\":\"c\",\"d\":null},{}]}");
    assert_read("a: |\n  one\n  two\nb:\n", "{\"a\":\"one\\ntwo\\n\",\"b\":null}");
    assert_read("{\"json\": [\"is\", \"yaml\", null]}", "{\"json\":[\"is\",\"yaml\",null]}");
    assert_read("'null'", "\"null\"");
}

static void bombs_and_nonsense_are_refused(void **state) {
    (void)state;
    static const char *const bad[] = {
        "",
        "a: &x [1]\nb: *x\n",
        "a: &x 1\n",
        "a: !!str 1\n",
        "a: b\n---\nc: d\n",
        "a: [1",
        "a: b: c",
        "\t- x",
        "? [a]\n: b\n",
        "a: \"\xff\"",
        "a: &x {b: c}\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        cleanup_buf struct buf out = BUF_INIT(MIB);
        struct error err = {0};
        assert_int_equal(yaml_to_json(str_of(bad[i]), &out, &err), -1);
        assert_int_equal(err.code, ERR_INVALID);
    }
    cleanup_buf struct buf deep = BUF_INIT(MIB), out = BUF_INIT(MIB);
    struct error err = {0};
    for (int i = 0; i < 100; i++)
        (void)buf_puts(&deep, "[");
    assert_int_equal(yaml_to_json(buf_str(&deep), &out, &err), -1);
}

/* What is written is read as the same strings, whatever they look like. */
static void strings_stay_strings(void **state) {
    (void)state;
    static const char text[] =
        "{\"a\":\"true\",\"b\":\"1.5\",\"c\":\"\",\"d\":\"no\",\"e\":\"- x\",\"f\":\"a: b\","
        "\"g\":\"#x\",\"h\":\"two\\nlines\",\"i\":\"localhost:5000/a:v1\",\"j\":\"~\","
        "\"k\":\"quo\\\"te\",\"l\":[\"*x\",\"&y\",\"!z\",\"0x10\",\"1e3\",\"a:\"],\"m\":{},"
        "\"앱\":\"이름\",\"n\":\"2020-01-01\",\"o\":\" x \"}";
    cleanup_json struct json *v = NULL;
    cleanup_buf struct buf yaml = BUF_INIT(MIB), back = BUF_INIT(MIB);
    struct error err = {0};
    assert_int_equal(json_parse(STR(text), &v, &err), 0);
    assert_int_equal(yaml_from_json(v, &yaml, &err), 0);
    assert_int_equal(yaml_to_json(buf_str(&yaml), &back, &err), 0);
    assert_string_equal(buf_cstr(&back), text);
}

static void a_manifest_looks_as_people_write_it(void **state) {
    (void)state;
    cleanup_json struct json *v = NULL;
    cleanup_buf struct buf yaml = BUF_INIT(MIB);
    struct error err = {0};
    assert_int_equal(json_parse(STR("{\"kind\":\"SpinApp\",\"spec\":{\"replicas\":2,\"on\":false,"
                                    "\"faas\":\"true\",\"x\":[{\"a\":null}]}}"),
                                &v, &err),
                     0);
    assert_int_equal(yaml_from_json(v, &yaml, &err), 0);
    assert_string_equal(buf_cstr(&yaml), "kind: SpinApp\nspec:\n  replicas: 2\n  \"on\": false\n"
                                         "  faas: \"true\"\n  x:\n  - a: null\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents_become_json),
        cmocka_unit_test(bombs_and_nonsense_are_refused),
        cmocka_unit_test(strings_stay_strings),
        cmocka_unit_test(a_manifest_looks_as_people_write_it),
    };
    return cmocka_run_group_tests_name("json_yaml", tests, NULL, NULL);
}
