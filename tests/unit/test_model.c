/* SPDX-License-Identifier: Apache-2.0 */
/* model: words, ids, pairs, checks. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include "base/buf.h"
#include "model/model.h"
#include <stdio.h>

/* ---- words ---- */
static void names_are_total(void **state) {
    (void)state;
    assert_string_equal(function_status_name(FN_PENDING), "pending");
    assert_string_equal(function_status_name(FN_DELETING), "deleting");
    assert_string_equal(function_status_name((enum function_status)99), "unknown");
    assert_string_equal(build_status_name(BUILD_RUNNING), "building");
    assert_string_equal(invocation_status_name(INV_FAILED), "failed");
    assert_string_equal(log_line_level_name(LINE_WARN), "warn");
    assert_string_equal(invocation_source_name(SOURCE_ASYNC), "async");
    assert_string_equal(trigger_type_name(TRIGGER_HTTP), "http");
    assert_string_equal(trigger_type_name(TRIGGER_QUEUE), "messagequeue");
    for (int n = NETWORK_EGRESS; n <= NETWORK_HOST; n++)
        assert_int_equal(network_kind_parse(str_of(network_kind_name((enum network_kind)n))), n);
    assert_int_equal(network_kind_parse(STR("NONE")), -1);
    assert_int_equal(network_kind_parse(STR("")), -1);
}

static void runtimes(void **state) {
    (void)state;
    static const char *const PYTHON[] = {"python",       "python3",     "python3.9",
                                         "python39",     "python310",   "python3.12",
                                         "python3.11.2", "Python 3.12", "Python 3"};
    static const char *const NODE[] = {"node",       "nodejs", "node18",     "nodejs18",
                                       "nodejs20.x", "node22", "nodejs18.19"};
    static const char *const NONE[] = {
        "",         "go1.21",   "java11",  "python2.7", "python3.",   "Python  3",
        "python ",  "PYTHON 3", "Python ", "Python",    "nodex",      "node-18",
        "python3x", "deno",     "node018", "node.18",   "python3..9", "pythonista"};
    for (size_t i = 0; i < ARRAY_LEN(PYTHON); i++)
        assert_int_equal(runtime_parse(str_of(PYTHON[i])), RUNTIME_PYTHON);
    for (size_t i = 0; i < ARRAY_LEN(NODE); i++)
        assert_int_equal(runtime_parse(str_of(NODE[i])), RUNTIME_NODE);
    for (size_t i = 0; i < ARRAY_LEN(NONE); i++)
        assert_int_equal(runtime_parse(str_of(NONE[i])), -1);
    assert_string_equal(runtime_kind_name(RUNTIME_PYTHON), "python");
    assert_string_equal(runtime_kind_name(RUNTIME_COUNT), "unknown");
}

static void ids(void **state) {
    (void)state;
    char text[ID_TEXT_MAX];
    assert_string_equal(id_text(text, "func", 12), "func-12");
    assert_int_equal(id_parse(STR("func-12"), "func"), 12);
    assert_int_equal(id_parse(STR("func-4294967295"), "func"), UINT32_MAX);
    static const char *const BAD[] = {
        "",        "func",  "func-", "func-0", "func-012", "func--1", "func-4294967296",
        "func-1x", "fun-1", "ver-1", "func1"};
    for (size_t i = 0; i < ARRAY_LEN(BAD); i++)
        assert_int_equal(id_parse(str_of(BAD[i]), "func"), 0);
    struct ulid u = ulid_make(77), back;
    assert_int_equal(strlen(invocation_id_text(text, &u)), 4 + ULID_TEXT_LEN);
    assert_int_equal(invocation_id_parse(str_of(text), &back), 0);
    assert_memory_equal(&u, &back, sizeof(u));
    assert_int_equal(invocation_id_parse(str_of(text + 4), &back), -1);
    text[5] = '!';
    assert_int_equal(invocation_id_parse(str_of(text), &back), -1);
}

/* ---- pairs ---- */
static void pairs_keep_order_and_replace(void **state) {
    (void)state;
    struct pairs p = {0}, copy = {0};
    pairs_add(&p, STR("b"), STR("1"));
    pairs_add(&p, STR("a"), STR("2"));
    pairs_add(&p, STR("c"), STR(""));
    pairs_add(&p, STR("b"), STR("3"));
    assert_int_equal(p.n, 3);
    assert_string_equal(p.v[0].key, "b");
    assert_string_equal(pairs_get(&p, "b"), "3");
    assert_string_equal(pairs_get(&p, "c"), "");
    assert_null(pairs_get(&p, "d"));
    pairs_add(&p, STR("a"), str_of(pairs_get(&p, "a"))); /* its own value */
    pairs_copy(&copy, &p);
    pairs_done(&p);
    assert_int_equal(copy.n, 3);
    assert_string_equal(copy.v[1].value, "2");
    pairs_done(&copy);
    pairs_done(&copy);
}

static void pairs_survive_json(void **state) {
    (void)state;
    struct pairs p = {0}, back = {0};
    struct error err;
    cleanup_buf struct buf json = BUF_INIT(64 * KIB);
    char key[16], value[64];
    for (int i = 0; i < 100; i++) {
        (void)snprintf(key, sizeof(key), "k%d\"\\", i);
        (void)snprintf(value, sizeof(value), "line\n\ttab \"%d\" é \x01 €", i);
        pairs_add(&p, str_of(key), str_of(value));
    }
    pairs_add(&p, STR("empty"), STR(""));
    assert_int_equal(pairs_to_json(&p, &json), 0);
    assert_int_equal(pairs_from_json(&back, buf_str(&json), &err), 0);
    assert_int_equal(back.n, p.n);
    for (size_t i = 0; i < p.n; i++) {
        assert_string_equal(back.v[i].key, p.v[i].key);
        assert_string_equal(back.v[i].value, p.v[i].value);
    }
    static const char *const BAD[] = {
        "", "[]", "{\"a\":1}", "{\"a\":\"b\"", "{\"a\":\"\\u0000\"}", "{\"a\":null}", "x"};
    for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
        err.code = ERR_NONE;
        assert_int_equal(pairs_from_json(&back, str_of(BAD[i]), &err), -1);
        assert_int_equal(err.code, ERR_INVALID);
        assert_int_equal(back.n, p.n); /* untouched */
    }
    assert_int_equal(pairs_from_json(&back, STR("{}"), &err), 0);
    assert_int_equal(back.n, 0);
    pairs_done(&p);
    pairs_done(&back);
    buf_done(&json);
    json.max = 1;
    pairs_add(&p, STR("a"), STR("b"));
    assert_true(pairs_to_json(&p, &json) < 0);
    pairs_done(&p);
}

/* ---- objects ---- */
static void clones_are_deep(void **state) {
    (void)state;
    struct function *f = function_new();
    f->no = 7;
    f->name = x_strdup("a");
    f->memory = x_strdup("256Mi");
    f->max_instances = 5;
    f->last_number = 9;
    f->deployed_us = 3;
    pairs_add(&f->env, STR("K"), STR("V"));
    struct function *c = function_clone(f);
    assert_ptr_equal(function_ref(f), f);
    assert_int_equal(f->refs, 2);
    assert_int_equal(c->refs, 1);
    function_unref(f);
    function_unref(f);
    assert_string_equal(c->name, "a");
    assert_string_equal(c->memory, "256Mi");
    assert_null(c->cpu);
    assert_string_equal(pairs_get(&c->env, "K"), "V");
    assert_int_equal(c->no + c->max_instances + c->last_number + c->deployed_us, 24);
    function_unref(c);
    function_unref(NULL);

    struct trigger *t = trigger_new();
    t->name = x_strdup("t");
    pairs_add(&t->config, STR("path"), STR("/"));
    struct trigger *t2 = trigger_clone(trigger_ref(t));
    trigger_unref(t);
    trigger_unref(t);
    assert_string_equal(t2->name, "t");
    assert_string_equal(pairs_get(&t2->config, "path"), "/");
    trigger_unref(t2);
    trigger_unref(NULL);

    struct blob *b = blob_new(STR("a\0b"));
    assert_int_equal(b->len, 3);
    assert_memory_equal(b->bytes, "a\0b", 4);
    blob_unref(blob_ref(b));
    blob_unref(b);
    blob_unref(NULL);
}

/* ---- checks ---- */
static struct str repeat(char *out, char c, size_t n) {
    memset(out, c, n);
    return str_n(out, n);
}

static void refused(int rc, const struct error *err, const char *field, const char *says) {
    assert_int_equal(rc, -1);
    assert_int_equal(err->code, ERR_INVALID);
    assert_string_equal(err->field, field);
    if (!strstr(err->text, says))
        fail_msg("\"%s\" does not say \"%s\"", err->text, says);
}

static void names_and_handlers(void **state) {
    (void)state;
    struct error err;
    char long_name[HANDLER_MAX_LEN + 1];
    static const char *const GOOD[] = {"a", "0", "my-fn_2.x", "A9"};
    static const char *const BAD[] = {"", "-a", ".a", "_a", "a b", "a/b", "é", "a\n", "a:b"};
    for (size_t i = 0; i < ARRAY_LEN(GOOD); i++)
        assert_int_equal(check_name(str_of(GOOD[i]), "name", &err), 0);
    for (size_t i = 0; i < ARRAY_LEN(BAD); i++)
        refused(check_name(str_of(BAD[i]), "project_id", &err), &err, "project_id",
                "project_id must be 1 to 63 letters, digits, '-', '_' or '.', beginning with a "
                "letter or digit");
    assert_int_equal(check_name(repeat(long_name, 'a', NAME_MAX_LEN), "name", &err), 0);
    refused(check_name(repeat(long_name, 'a', NAME_MAX_LEN + 1), "name", &err), &err, "name", "63");
    refused(check_name(STR("a\0b"), "name", &err), &err, "name", "63");

    static const char *const HANDLERS[] = {"handler", "index.handler", "src/app.main", "a.b.c",
                                           "mod:fn",  "größe.f",       "$x._y"};
    static const char *const BAD_HANDLERS[] = {"",     "..",   "a..b", "../a.b", "/etc/x",
                                               "a.",   ".a",   "a b",  "a\n",    "a;b",
                                               "a\"b", "a\\b", "a/",   "\xff",   "a`b`"};
    for (size_t i = 0; i < ARRAY_LEN(HANDLERS); i++)
        assert_int_equal(check_handler(str_of(HANDLERS[i]), &err), 0);
    for (size_t i = 0; i < ARRAY_LEN(BAD_HANDLERS); i++)
        refused(check_handler(str_of(BAD_HANDLERS[i]), &err), &err, "handler", "index.handler");
    refused(check_handler(STR("a\0b"), &err), &err, "handler", "");
    assert_int_equal(check_handler(repeat(long_name, 'a', HANDLER_MAX_LEN), &err), 0);
    refused(check_handler(repeat(long_name, 'a', HANDLER_MAX_LEN + 1), &err), &err, "handler",
            "255");
}

static void env_and_labels(void **state) {
    (void)state;
    struct error err;
    struct pairs p = {0};
    char key[64];
    static char big[ENV_TOTAL_MAX + 1];
    pairs_add(&p, STR("A_b.c-1"), STR("any\nbytes é"));
    assert_int_equal(check_env(&p, &err), 0);
    pairs_add(&p, STR("1A"), STR(""));
    refused(check_env(&p, &err), &err, "environment", "the name of variable 2");
    pairs_done(&p);
    pairs_add(&p, STR("A=B"), STR("secret"));
    refused(check_env(&p, &err), &err, "environment", "variable 1");
    assert_null(strstr(err.text, "secret"));
    pairs_done(&p);
    pairs_add(&p, STR("A"), STR("\xff\xfe"));
    refused(check_env(&p, &err), &err, "environment", "value of A must be UTF-8");
    pairs_add(&p, STR("A"), repeat(big, 'x', ENV_TOTAL_MAX - 1));
    assert_int_equal(check_env(&p, &err), 0);
    pairs_add(&p, STR("A"), repeat(big, 'x', ENV_TOTAL_MAX));
    refused(check_env(&p, &err), &err, "environment", "65536 bytes");
    pairs_done(&p);
    for (int i = 0; i < ENV_PAIRS_MAX; i++) {
        (void)snprintf(key, sizeof(key), "K%d", i);
        pairs_add(&p, str_of(key), STR(""));
    }
    assert_int_equal(check_env(&p, &err), 0);
    refused(check_labels(&p, "labels", &err), &err, "labels", "at most 64 entries");
    pairs_add(&p, STR("more"), STR(""));
    refused(check_env(&p, &err), &err, "environment", "at most 256");
    pairs_done(&p);

    pairs_add(&p, STR("app.kubernetes.io/name"), STR("x y"));
    assert_int_equal(check_labels(&p, "labels", &err), 0);
    pairs_add(&p, STR("k"), STR("a\nb"));
    refused(check_labels(&p, "annotations", &err), &err, "annotations", "value of key 2");
    pairs_add(&p, STR("k"), repeat(big, 'x', LABEL_MAX_LEN));
    assert_int_equal(check_labels(&p, "labels", &err), 0);
    pairs_add(&p, STR("k"), repeat(big, 'x', LABEL_MAX_LEN + 1));
    refused(check_labels(&p, "labels", &err), &err, "labels", "255 bytes");
    pairs_done(&p);
    pairs_add(&p, STR(""), STR("v"));
    refused(check_labels(&p, "labels", &err), &err, "labels", "key 1");
    pairs_done(&p);
}

static void quantities(void **state) {
    (void)state;
    struct error err;
    static const struct {
        const char *text;
        uint64_t bytes;
    } MEMORY[] = {{"256Mi", 256 * MIB},   {"1Gi", GIB},         {"128M", 128000000},
                  {"33554432", 32 * MIB}, {"0.5Gi", 512 * MIB}, {"16Gi", 16 * GIB},
                  {"65536Ki", 64 * MIB},  {"50000k", 50000000}, {"1.5G", 1500000000}};
    static const char *const BAD[] = {"",
                                      "Mi",
                                      "12",
                                      "31Mi",
                                      "17Gi",
                                      "-1Gi",
                                      "1 Gi",
                                      "1gi",
                                      "256MB",
                                      "0x100",
                                      "1.Gi",
                                      ".5Gi",
                                      "1e9",
                                      "1Gi ",
                                      "99999999999999999999Gi",
                                      "1.0000000001Gi",
                                      "16385Mi"};
    for (size_t i = 0; i < ARRAY_LEN(MEMORY); i++) {
        uint64_t bytes = 0;
        assert_int_equal(parse_memory(str_of(MEMORY[i].text), "memory", &bytes, &err), 0);
        assert_int_equal(bytes, MEMORY[i].bytes);
    }
    for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
        uint64_t bytes = 5;
        refused(parse_memory(str_of(BAD[i]), "resources.memory", &bytes, &err), &err,
                "resources.memory", "32Mi to 16Gi");
        assert_int_equal(bytes, 5);
    }
    static const struct {
        const char *text;
        uint32_t milli;
    } CPU[] = {{"100m", 100}, {"0.5", 500}, {"2", 2000}, {"64", 64000}, {"10m", 10}, {"0.01", 10}};
    static const char *const BAD_CPU[] = {"",      "m",    "9m", "0",  "65",
                                          "1.5.2", "100u", "1k", "-1", "64001m"};
    for (size_t i = 0; i < ARRAY_LEN(CPU); i++) {
        uint32_t milli = 0;
        assert_int_equal(parse_cpu(str_of(CPU[i].text), "cpu", &milli, &err), 0);
        assert_int_equal(milli, CPU[i].milli);
    }
    for (size_t i = 0; i < ARRAY_LEN(BAD_CPU); i++) {
        uint32_t milli = 5;
        refused(parse_cpu(str_of(BAD_CPU[i]), "cpu", &milli, &err), &err, "cpu", "10m to 64 cores");
        assert_int_equal(milli, 5);
    }
}

static void schedules(void **state) {
    (void)state;
    struct error err;
    static const char *const GOOD[] = {
        "* * * * *",      "*/5 * * * *",   "0 */5 * * *",        "0 0 1 1 *",
        "0 0 29 2 *",     "0 0 31 1,3 *",  "0 9-17 * * MON-FRI", "0 0 * * 7",
        "30 0 0 * * sun", "0 0 ? * MON",   "0 0 1 * ?",          "1,2,3 4 5 jan-mar,DEC *",
        "@hourly",        "@daily",        "@midnight",          "@weekly",
        "@monthly",       "@yearly",       "@annually",          "@every 1h30m",
        "@every 1.5h",    "@every 1500ms", "@every 90s",         " 0  0\t* * * ",
        "0 0 30 2 MON",   "5/15 * * * *",  "0 0 * * 5-7",        "0 0 30 */2 *",
    };
    for (size_t i = 0; i < ARRAY_LEN(GOOD); i++) {
        if (check_cron(str_of(GOOD[i]), "cron", &err) != 0)
            fail_msg("\"%s\" was refused: %s", GOOD[i], err.text);
    }
    static const struct {
        const char *text, *says;
    } BAD[] = {
        {"", "missing"},
        {"   ", "missing"},
        {"* * * *", "five fields"},
        {"* * * * * * *", "five fields"},
        {"60 * * * *", "minute field must hold numbers from 0 to 59"},
        {"60 * * * * *", "second field"},
        {"* 24 * * *", "hour field must hold numbers from 0 to 23"},
        {"* * 0 * *", "day of month field must hold numbers from 1 to 31"},
        {"* * * 13 *", "month field must hold numbers from 1 to 12 or names such as JAN and FEB"},
        {"* * * foo *", "month field"},
        {"* * * * 8", "day of week field must hold numbers from 0 to 7"},
        {"* * * * MONDAY", "day of week field"},
        {"*/0 * * * *", "minute field has a step that is not a number from 1"},
        {"*/x * * * *", "step"},
        {"*/ * * * *", "step"},
        {"*/60 * * * *", "beyond its highest value"},
        {"5-1 * * * *", "ends before it begins"},
        {"1,,2 * * * *", "empty entry"},
        {"1, * * * *", "empty entry"},
        {"1- * * * *", "minute field"},
        {"-1 * * * *", "minute field"},
        {"1-2-3 * * * *", "minute field"},
        {"? * * * *", "cannot be '?'"},
        {"** * * * *", "minute field"},
        {"0 0 30 2 *", "day of month field names a day that none of the months has"},
        {"0 0 31 4,6,9,11 ?", "none of the months"},
        {"0 0 31 2 */1", "none of the months"},
        {"@reboot", "@ words"},
        {"@every", "@every wants"},
        {"@every 5", "@every wants"},
        {"@every 500ms", "@every wants"},
        {"@every -5s", "@every wants"},
        {"@every 1h x", "@every wants"},
        {"@every 1..5h", "@every wants"},
        {"@every 99999h", "@every wants"},
        {"@everyday", "@ words"},
        {"99999999999999999999 * * * *", "minute field"},
    };
    for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
        if (check_cron(str_of(BAD[i].text), "config.cron", &err) == 0)
            fail_msg("\"%s\" was taken", BAD[i].text);
        refused(-1, &err, "config.cron", BAD[i].says);
    }
    char many[400];
    refused(check_cron(repeat(many, '*', sizeof(many)), "cron", &err), &err, "cron", "256 bytes");
}

static struct trigger *a_trigger(enum trigger_type type, const char *key, const char *value) {
    struct trigger *t = trigger_new();
    t->name = x_strdup("t");
    t->type = type;
    if (key)
        pairs_add(&t->config, str_of(key), str_of(value));
    return t;
}

static void triggers(void **state) {
    (void)state;
    struct error err;
    struct trigger *t = a_trigger(TRIGGER_HTTP, NULL, NULL);
    assert_int_equal(check_trigger(t, "hello", &err), 0);
    assert_string_equal(pairs_get(&t->config, "method"), "GET");
    assert_string_equal(pairs_get(&t->config, "path"), "/hello");
    trigger_unref(t);

    static const struct {
        enum trigger_type type;
        const char *key, *value, *field; /* field NULL: good */
    } CASES[] = {
        {TRIGGER_HTTP, "method", "post", NULL},
        {TRIGGER_HTTP, "method", "*", NULL},
        {TRIGGER_HTTP, "method", "TRACE", "config.method"},
        {TRIGGER_HTTP, "method", "", "config.method"},
        {TRIGGER_HTTP, "path", "/", NULL},
        {TRIGGER_HTTP, "path", "/a/b/", NULL},
        {TRIGGER_HTTP, "path", "/ünicode", NULL},
        {TRIGGER_HTTP, "path", "", "config.path"},
        {TRIGGER_HTTP, "path", "a", "config.path"},
        {TRIGGER_HTTP, "path", "//a", "config.path"},
        {TRIGGER_HTTP, "path", "/a//b", "config.path"},
        {TRIGGER_HTTP, "path", "/a/../b", "config.path"},
        {TRIGGER_HTTP, "path", "/.", "config.path"},
        {TRIGGER_HTTP, "path", "/a?b", "config.path"},
        {TRIGGER_HTTP, "path", "/a b", "config.path"},
        {TRIGGER_HTTP, "path", "/%2e%2e", "config.path"},
        {TRIGGER_HTTP, "path", "/a\r\nX: y", "config.path"},
        {TRIGGER_SCHEDULE, "cron", "*/5 * * * *", NULL},
        {TRIGGER_SCHEDULE, "cron", "nonsense", "config.cron"},
        {TRIGGER_SCHEDULE, NULL, NULL, "config.cron"},
        {TRIGGER_QUEUE, "queue", "q", NULL},
        {TRIGGER_EVENT, "source", "s", NULL},
        {TRIGGER_EVENT, "", "s", "config"},
        {(enum trigger_type)9, NULL, NULL, "type"},
    };
    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        t = a_trigger(CASES[i].type, CASES[i].key, CASES[i].value);
        int rc = check_trigger(t, "f", &err);
        if (CASES[i].field)
            refused(rc, &err, CASES[i].field, CASES[i].field);
        else
            assert_int_equal(rc, 0);
        trigger_unref(t);
    }
    t = a_trigger(TRIGGER_HTTP, "method", "post");
    assert_int_equal(check_trigger(t, "f", &err), 0);
    assert_string_equal(pairs_get(&t->config, "method"), "POST");
    free(t->name);
    t->name = x_strdup("-x");
    refused(check_trigger(t, "f", &err), &err, "name", "name must be");
    trigger_unref(t);
    t = a_trigger(TRIGGER_EVENT, NULL, NULL);
    for (int i = 0; i <= TRIGGER_CONFIG_MAX; i++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "k%d", i);
        pairs_add(&t->config, str_of(key), STR("v"));
    }
    refused(check_trigger(t, "f", &err), &err, "config", "at most 32");
    trigger_unref(t);
    static char big[TRIGGER_VALUE_MAX + 2];
    memset(big, 'x', TRIGGER_VALUE_MAX + 1);
    t = a_trigger(TRIGGER_EVENT, "k", big);
    refused(check_trigger(t, "f", &err), &err, "config", "2048 bytes");
    trigger_unref(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_total),
        cmocka_unit_test(runtimes),
        cmocka_unit_test(ids),
        cmocka_unit_test(pairs_keep_order_and_replace),
        cmocka_unit_test(pairs_survive_json),
        cmocka_unit_test(clones_are_deep),
        cmocka_unit_test(names_and_handlers),
        cmocka_unit_test(env_and_labels),
        cmocka_unit_test(quantities),
        cmocka_unit_test(schedules),
        cmocka_unit_test(triggers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
