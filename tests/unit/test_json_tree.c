/* SPDX-License-Identifier: Apache-2.0 */
#include "json/tree.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct json *parse(const char *text) {
    struct json *root = NULL;
    struct error err;
    if (json_parse(str_of(text), &root, &err) < 0)
        fail_msg("%s: %s", text, err.text);
    return root;
}

static void test_parse_errors(void **state UNUSED) {
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"", "body is not valid JSON: it is empty"},
        {"  ", "body is not valid JSON: it is empty"},
        {"{\"a\":\n tru}", "body is not valid JSON: invalid token at line 2 column 4"},
        {"{\"a\":1,\"a\":2}", "body is not valid JSON: duplicate object key at line 1 column 10"},
        {"[1] 2", "body is not valid JSON: end of file expected at line 1 column 5"},
        {"{\"a\":12345678901234567890}",
         "body is not valid JSON: too big integer at line 1 column 25"},
        {"[\"\\u0000\"]", "body is not valid JSON: \\u0000 is not allowed at line 1 column 9"},
        {"[1]", "\"body\" must be an object, not an array"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct json *root = NULL;
        struct error err = {0};
        assert_int_equal(json_parse_object(str_of(cases[i].text), &root, &err), -1);
        assert_null(root);
        assert_int_equal(err.code, ERR_INVALID);
        assert_string_equal(err.field, "body");
        assert_string_equal(err.text, cases[i].error);
    }
}

static void test_nul(void **state UNUSED) {
    static const struct str texts[] = {{"2\0", 2}, {"{}\0", 3}, {"\"a\0\"", 4}, {"\"\\\0\"", 4}};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct json *root = NULL;
        struct error err;
        assert_int_equal(json_parse(texts[i], &root, &err), -1);
        assert_non_null(strstr(err.text, "NUL byte at line 1 column"));
    }
}

/* A password in a broken body must not turn up in the error. */
static void test_errors_hold_no_text(void **state UNUSED) {
    static const char *const texts[] = {"{\"password\": s3cret}", "{\"password\": \"s3cret\" x}",
                                        "{\"s3cret\":1,\"s3cret\":2}", "[\"s3cret", "s3cret"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct json *root = NULL;
        struct error err;
        assert_int_equal(json_parse(str_of(texts[i]), &root, &err), -1);
        assert_null(strstr(err.text, "s3cret"));
    }
}

static void test_depth(void **state UNUSED) {
    char text[2 * JSON_DEPTH_MAX + 2];
    for (size_t depth = JSON_DEPTH_MAX; depth <= JSON_DEPTH_MAX + 1; depth++) {
        struct json *root = NULL;
        struct error err;
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        int r = json_parse(str_n(text, 2 * depth), &root, &err);
        assert_int_equal(r, depth <= JSON_DEPTH_MAX ? 0 : -1);
        if (r < 0)
            assert_string_equal(err.text,
                                "body is not valid JSON: nested too deep at line 1 column 129");
        json_free(root);
    }
    cleanup_json struct json *quoted = parse("\"[[[[\\\"[[[[\"");
    assert_int_equal(json_kind(quoted), JSON_KIND_STRING);
}

static void test_getters(void **state UNUSED) {
    cleanup_json struct json *root =
        parse("{\"s\":\"text\",\"i\":42,\"f\":3.0,\"d\":1.5,\"b\":true,\"z\":null,"
              "\"o\":{\"x\":[10,{\"y\":\"deep\"}]},\"e\":\"bye\"}");
    struct error err;
    struct str s = STR("default");
    int64_t i = -1;
    double d = -1;
    bool b = false;
    int choice = -1;
    static const char *const choices[] = {"hi", "bye", NULL};
    const struct json *o = NULL, *a = NULL;
    assert_int_equal(json_get_str(root, "absent", 0, &s, &err), 0);
    assert_true(str_is(s, "default"));
    assert_int_equal(json_get_str(root, "z", JSON_NULLABLE, &s, &err), 0);
    assert_true(str_is(s, "default"));
    assert_int_equal(json_get_str(root, "s", JSON_REQUIRED, &s, &err), 0);
    assert_true(str_is(s, "text"));
    assert_int_equal(json_get_int(root, "i", 0, 42, 42, &i, &err), 0);
    assert_int_equal(i, 42);
    assert_int_equal(json_get_int(root, "f", 0, 0, 10, &i, &err), 0);
    assert_int_equal(i, 3);
    assert_int_equal(json_get_double(root, "i", 0, 0, 100, &d, &err), 0);
    assert_true(d > 41.9 && d < 42.1);
    assert_int_equal(json_get_bool(root, "b", 0, &b, &err), 0);
    assert_true(b);
    assert_int_equal(json_get_enum(root, "e", 0, choices, &choice, &err), 0);
    assert_int_equal(choice, 1);
    assert_int_equal(json_get_object(root, "o", 0, &o, &err), 0);
    assert_int_equal(json_get_array(o, "x", 0, &a, &err), 0);
    assert_int_equal(json_count(a), 2);
    assert_int_equal(json_as_int(json_item(a, 0), 0, 10, &i, &err), 0);
    assert_int_equal(json_get_str(json_item(a, 1), "y", 0, &s, &err), 0);
    assert_true(str_is(s, "deep"));
    assert_null(json_item(a, 2));
    assert_true(json_has(root, "z") && json_has_null(root, "z") && !json_has_null(root, "s"));
    assert_false(json_has(root, "absent") || json_has(NULL, "s") || json_has_null(NULL, "s"));
    assert_int_equal(json_kind(json_member(root, "z")), JSON_KIND_NULL);
    assert_int_equal(json_kind(json_member(root, "s")), JSON_KIND_STRING);
    assert_null(json_member(json_member(root, "s"), "s")); /* no object */
    assert_null(json_member(root, "absent"));
    assert_null(json_member(NULL, "s"));
    /* all of an absent object is absent */
    assert_int_equal(json_get_int(NULL, "i", 0, 0, 1, &i, &err), 0);
    assert_int_equal(json_get_int(NULL, "i", JSON_REQUIRED, 0, 1, &i, &err), -1);
    assert_int_equal(json_count(NULL), 0);
}

static void assert_error(int r, const struct error *err, const char *field, const char *text) {
    assert_int_equal(r, -1);
    assert_int_equal(err->code, ERR_INVALID);
    assert_string_equal(err->field, field);
    assert_string_equal(err->text, text);
}

static void test_getter_errors(void **state UNUSED) {
    cleanup_json struct json *root = parse(
        "{\"n\":1.5,\"big\":1e300,\"empty\":\"\",\"z\":null,\"spec\":{\"env\":[{\"name\":7}]}}");
    static const char *const choices[] = {"hi", "bye", NULL};
    struct error err;
    struct str s = STR("kept");
    int64_t i = 5;
    double d;
    bool b;
    int choice;
    const struct json *o, *env;
    assert_error(json_get_str(root, "name", JSON_REQUIRED, &s, &err), &err, "name",
                 "\"name\" is required");
    assert_error(json_get_str(root, "n", 0, &s, &err), &err, "n",
                 "\"n\" must be a string, not a number");
    assert_error(json_get_str(root, "z", 0, &s, &err), &err, "z",
                 "\"z\" must be a string, not null");
    assert_error(json_get_str(root, "empty", JSON_NONEMPTY, &s, &err), &err, "empty",
                 "\"empty\" must not be empty");
    assert_error(json_get_int(root, "n", 0, 0, 9, &i, &err), &err, "n",
                 "\"n\" must be a whole number");
    assert_error(json_get_int(root, "big", 0, 0, 9, &i, &err), &err, "big",
                 "\"big\" must be a whole number");
    assert_error(json_get_int(root, "spec", 0, 0, 9, &i, &err), &err, "spec",
                 "\"spec\" must be a whole number, not an object");
    assert_error(json_get_double(root, "n", 0, 2, 3, &d, &err), &err, "n",
                 "\"n\" must be from 2 to 3");
    assert_error(json_get_bool(root, "n", 0, &b, &err), &err, "n",
                 "\"n\" must be true or false, not a number");
    assert_error(json_get_enum(root, "empty", 0, choices, &choice, &err), &err, "empty",
                 "\"empty\" must be one of hi, bye");
    assert_int_equal(json_get_object(root, "spec", 0, &o, &err), 0);
    assert_int_equal(json_get_array(o, "env", 0, &env, &err), 0);
    assert_error(json_get_str(json_item(env, 0), "name", 0, &s, &err), &err, "spec.env[0].name",
                 "\"spec.env[0].name\" must be a string, not a number");
    assert_error(json_get_str(json_item(env, 0), "value", JSON_REQUIRED, &s, &err), &err,
                 "spec.env[0].value", "\"spec.env[0].value\" is required");
    assert_error(json_get_str(env, "x", 0, &s, &err), &err, "spec.env",
                 "\"spec.env\" must be an object, not an array");
    assert_error(json_fail_member(o, "cpu", &err, "is %d too many", 3), &err, "spec.cpu",
                 "\"spec.cpu\" is 3 too many");
    assert_true(str_is(s, "kept"));
    assert_int_equal(i, 5);
}

static void test_walk_and_dump(void **state UNUSED) {
    cleanup_json struct json *root = parse("{\"b\":\"1\",\"a\":\"2\",\"c\":[3, {}]}");
    struct json_walk walk = {0};
    struct str name, value;
    struct error err;
    assert_int_equal(json_next_str(root, &walk, &name, &value, &err), 1);
    assert_true(str_is(name, "b") && str_is(value, "1"));
    assert_int_equal(json_next_str(root, &walk, &name, &value, &err), 1);
    assert_true(str_is(name, "a") && str_is(value, "2"));
    assert_error(json_next_str(root, &walk, &name, &value, &err), &err, "c",
                 "\"c\" must be a string, not an array");
    assert_int_equal(json_next_str(root, &walk, &name, &value, &err), 0);
    assert_int_equal(json_next_str(root, &walk, &name, &value, &err), 0);
    struct json_walk none = {0};
    assert_int_equal(json_next_str(NULL, &none, &name, &value, &err), 0);
    cleanup_buf struct buf b = BUF_INIT(40);
    assert_int_equal(json_dump(root, &b), 0);
    assert_string_equal(buf_cstr(&b), "{\"b\":\"1\",\"a\":\"2\",\"c\":[3,{}]}");
    size_t len = b.len;
    assert_int_equal(json_dump(root, &b), -EMSGSIZE);
    assert_int_equal(b.len, len);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse_errors),
        cmocka_unit_test(test_nul),
        cmocka_unit_test(test_errors_hold_no_text),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_getters),
        cmocka_unit_test(test_getter_errors),
        cmocka_unit_test(test_walk_and_dump),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
