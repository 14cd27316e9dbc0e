/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void test_error_set(void **state UNUSED) {
    struct error e = {.retry_after_s = 9};
    assert_int_equal(error_field(&e, ERR_INVALID, "name", "bad %d", 7), -1);
    assert_string_equal(e.text, "bad 7");
    assert_string_equal(e.field, "name");
    assert_int_equal(e.retry_after_s, 0);
    assert_int_equal(error_set(&e, ERR_BUSY, "was: %s", e.text), -1); /* its own text as argument */
    assert_string_equal(e.text, "was: bad 7");
    assert_string_equal(e.field, "");
    assert_int_equal(error_prepend(&e, "while %s", "trying"), -1);
    assert_string_equal(e.text, "while trying: was: bad 7");
    assert_int_equal(e.code, ERR_BUSY);
    assert_int_equal(error_errno(&e, -ENOENT, "open x"), -1);
    assert_string_equal(e.text, "open x: No such file or directory");
    assert_int_equal(e.code, ERR_INTERNAL);
    assert_int_equal(error_set(NULL, ERR_BUSY, "x"), -1);
    assert_int_equal(error_prepend(NULL, "x"), -1);
}

/* However long the start is, the cut never leaves half a character. */
static void test_error_cut(void **state UNUSED) {
    static const char *const chars[] = {"\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
    for (int pad = 0; pad < 8; pad++) {
        for (size_t c = 0; c < ARRAY_LEN(chars); c++) {
            char text[2048] = "";
            memset(text, 'x', (size_t)pad);
            for (size_t at = (size_t)pad; at < 1500; at += strlen(chars[c]))
                memcpy(text + at, chars[c], strlen(chars[c]) + 1);
            struct error e;
            error_field(&e, ERR_INVALID, text, "%s", text);
            assert_true(str_is_utf8(str_of(e.text)) && str_is_utf8(str_of(e.field)));
            assert_true(strlen(e.text) > ERROR_TEXT_MAX - 5);
            error_prepend(&e, "p");
            assert_true(str_is_utf8(str_of(e.text)));
        }
    }
}

static void test_code_names(void **state UNUSED) {
    for (int c = 0; c < ERR_COUNT; c++)
        assert_non_null(error_code_name((enum error_code)c));
    assert_string_equal(error_code_name(ERR_NOT_FOUND), "not_found");
    assert_string_equal(error_code_name((enum error_code)999), "unknown");
}

/* ---- log: what goes to descriptor 2 is read back through a pipe ---- */

static int saved_stderr, pipe_out;

static void catch_stderr(void) {
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    saved_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    assert_true(dup2(fds[1], STDERR_FILENO) >= 0);
    assert_int_equal(close(fds[1]), 0);
    pipe_out = fds[0];
}

/* The line without its time, which is checked for its form. */
static const char *caught(char *line, size_t size, size_t time_at) {
    assert_true(dup2(saved_stderr, STDERR_FILENO) >= 0);
    assert_int_equal(close(saved_stderr), 0);
    ssize_t n = read(pipe_out, line, size - 1);
    assert_true(n >= 0);
    assert_int_equal(close(pipe_out), 0);
    line[n] = '\0';
    if (n == 0)
        return line;
    static const char form[] = "dddd-dd-ddTdd:dd:dd.dddZ";
    for (size_t i = 0; form[i]; i++) {
        char c = line[time_at + i];
        assert_true(form[i] == 'd' ? c >= '0' && c <= '9' : c == form[i]);
    }
    return line + time_at + strlen(form);
}

static void test_log_text(void **state UNUSED) {
    char line[8192];
    log_setup(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    catch_stderr();
    log_info("instance killed", LOG_STR("why", "time out"), LOG_INT("n", -3), LOG_STR("a", "b"),
             LOG_STR("none", ""), LOG_STR("evil", "x\ny\x1b[31m\"\\\xc2\x9b\xff\x7f"));
    assert_string_equal(caught(line, sizeof(line), 0),
                        " info  instance killed why=\"time out\" n=-3 a=b none=\"\" "
                        "evil=\"x\\ny\\u001b[31m\\\"\\\\\\u009b\xef\xbf\xbd\\u007f\"\n");
}

static void test_log_json(void **state UNUSED) {
    char line[8192];
    log_setup(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    catch_stderr();
    log_warn("listening", LOG_STR("at", "a\"b"), LOG_INT("port", 80));
    assert_string_equal(caught(line, sizeof(line), strlen("{\"ts\":\"")),
                        "\",\"level\":\"warn\",\"event\":\"listening\",\"at\":\"a\\\"b\","
                        "\"port\":80}\n");
}

/* Over-long values are cut, but the line is one line and still closes its quotes and braces. */
static void test_log_cut(void **state UNUSED) {
    static char big[9000];
    static const char euro[] = {'\n', '\xe2', '\x82', '\xac', '\n'};
    for (size_t pad = 0; pad < 40; pad++) {
        char line[8192];
        memset(big, 'x', sizeof(big) - 1);
        memcpy(big + 4000 + pad, euro, sizeof(euro));
        log_setup(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
        catch_stderr();
        log_error("e", LOG_SPAN("head", str_n(big, 3900 + pad * 4)), LOG_STR("big", big),
                  LOG_INT("never", 1));
        (void)caught(line, sizeof(line), strlen("{\"ts\":\""));
        size_t n = strlen(line);
        assert_true(n <= 4096 && n > 3800);
        assert_true(str_ends(str_n(line, n), STR("\"}\n")) ||
                    str_ends(str_n(line, n), STR(":1}\n")));
        assert_ptr_equal(strchr(line, '\n'), line + n - 1);
        assert_true(str_is_utf8(str_n(line, n)));
    }
}

static void test_log_level(void **state UNUSED) {
    char line[100];
    log_setup(LOG_LEVEL_WARN, LOG_FORMAT_TEXT);
    catch_stderr();
    assert_int_equal(fcntl(pipe_out, F_SETFL, O_NONBLOCK), 0);
    log_info("quiet");
    log_debug("quiet");
    assert_int_equal(read(pipe_out, line, sizeof(line)), -1);
    log_warn("heard");
    assert_string_equal(caught(line, sizeof(line), 0), " warn  heard\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_error_set),  cmocka_unit_test(test_error_cut),
        cmocka_unit_test(test_code_names), cmocka_unit_test(test_log_text),
        cmocka_unit_test(test_log_json),   cmocka_unit_test(test_log_cut),
        cmocka_unit_test(test_log_level),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
