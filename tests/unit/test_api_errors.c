/* SPDX-License-Identifier: Apache-2.0 */
/* Every dialect has an answer for every error, and each answer is its dialect's JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/dialects.h"
#include "invoke/invoke.h"
#include "json/tree.h"

static void tables_are_total(void **state) {
    (void)state;
    for (size_t d = 0; dialects[d]; d++) {
        for (int code = ERR_NONE; code < ERR_COUNT; code++) {
            const struct dialect_error *line = dialect_error(dialects[d], (enum error_code)code);
            assert_in_range(line->status, 400, 599);
        }
        assert_ptr_equal(dialect_error(dialects[d], ERR_COUNT),
                         dialect_error(dialects[d], ERR_INTERNAL));
    }
}

/* Statuses that mean the same everywhere. */
static void statuses_agree(void **state) {
    (void)state;
    static const struct {
        enum error_code code;
        int status;
    } same[] = {
        {ERR_INVALID, 400},  {ERR_UNAUTHENTICATED, 401}, {ERR_FORBIDDEN, 403}, {ERR_NOT_FOUND, 404},
        {ERR_METHOD, 405},   {ERR_CONFLICT, 409},        {ERR_TOO_LARGE, 413}, {ERR_QUOTA, 429},
        {ERR_FUNCTION, 500}, {ERR_TIMEOUT, 504},         {ERR_BUSY, 503},      {ERR_INTERNAL, 500},
    };
    for (size_t d = 0; dialects[d]; d++) {
        for (size_t i = 0; i < ARRAY_LEN(same); i++)
            assert_int_equal(dialect_error(dialects[d], same[i].code)->status, same[i].status);
    }
}

static struct json *body_of(const struct dialect *d, const struct error *e, struct buf *text) {
    struct json *o = NULL;
    struct error err;
    buf_clear(text);
    d->error_body(text, e, dialect_error(d, e->code)->code);
    assert_int_equal(json_parse_object(buf_str(text), &o, &err), 0);
    return o;
}

static void assert_member(const struct json *o, const char *name, const char *want) {
    struct str s = STR_NULL;
    struct error err;
    assert_int_equal(json_get_str(o, name, JSON_REQUIRED, &s, &err), 0);
    assert_int_equal(s.len, strlen(want));
    assert_memory_equal(s.p, want, s.len);
}

static void every_body_says_what_is_wrong(void **state) {
    (void)state;
    cleanup_buf struct buf text = BUF_INIT(64 * KIB);
    for (size_t d = 0; dialects[d]; d++) {
        for (int code = ERR_INVALID; code < ERR_COUNT; code++) {
            struct error e;
            (void)error_set(&e, (enum error_code)code, "it said \"no\"\n");
            cleanup_json struct json *o = body_of(dialects[d], &e, &text);
            bool internal = code == ERR_INTERNAL && dialects[d] == &dialect_kube;
            const struct json *error = NULL;
            if (json_get_object(o, "error", JSON_REQUIRED, &error, &e) == 0) {
                assert_member(error, "message", "it said \"no\"\n");
                continue;
            }
            assert_member(o, "error",
                          internal ? "Internal server error: it said \"no\"\n"
                                   : "it said \"no\"\n");
            assert_int_equal(json_has(o, "code"), dialects[d] == &dialect_fnservice);
        }
    }
}

static void fnservice_names_what_is_missing(void **state) {
    (void)state;
    static const char *const things[][2] = {{"function", "FUNCTION_NOT_FOUND"},
                                            {"version", "VERSION_NOT_FOUND"},
                                            {"trigger", "TRIGGER_NOT_FOUND"},
                                            {"invocation", "INVOCATION_NOT_FOUND"},
                                            {"", "NOT_FOUND"}};
    cleanup_buf struct buf text = BUF_INIT(64 * KIB);
    for (size_t i = 0; i < ARRAY_LEN(things); i++) {
        struct error e;
        (void)error_field(&e, ERR_NOT_FOUND, things[i][0], "gone");
        cleanup_json struct json *o = body_of(&dialect_fnservice, &e, &text);
        assert_member(o, "code", things[i][1]);
        assert_false(json_has(o, "details"));
    }
}

static void fnservice_names_the_wrong_field(void **state) {
    (void)state;
    const struct json *details = NULL;
    cleanup_buf struct buf text = BUF_INIT(64 * KIB);
    struct error e, err;
    (void)error_field(&e, ERR_INVALID, "resources.memory", "too much");
    cleanup_json struct json *o = body_of(&dialect_fnservice, &e, &text);
    assert_member(o, "code", "INVALID_REQUEST");
    assert_int_equal(json_get_object(o, "details", JSON_REQUIRED, &details, &err), 0);
    assert_member(details, "field", "resources.memory");
    assert_member(details, "reason", "too much");
}

static void every_cause_has_a_word(void **state) {
    (void)state;
    assert_string_equal(invoke_cause(ERR_FUNCTION), "function");
    assert_string_equal(invoke_cause(ERR_TIMEOUT), "timeout");
    assert_string_equal(invoke_cause(ERR_MEMORY), "memory");
    assert_string_equal(invoke_cause(ERR_CRASH), "crash");
    assert_string_equal(invoke_cause(ERR_LIMIT), "limit");
    assert_string_equal(invoke_cause(ERR_BUSY), "busy");
    for (int code = ERR_NONE; code < ERR_COUNT; code++)
        assert_non_null(invoke_cause((enum error_code)code));
    assert_string_equal(invoke_cause(ERR_UNAVAILABLE), "platform");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_are_total),
        cmocka_unit_test(statuses_agree),
        cmocka_unit_test(every_body_says_what_is_wrong),
        cmocka_unit_test(fnservice_names_what_is_missing),
        cmocka_unit_test(fnservice_names_the_wrong_field),
        cmocka_unit_test(every_cause_has_a_word),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
