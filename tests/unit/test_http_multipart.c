/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "base/buf.h"
#include "http/multipart.h"

#define TYPE "multipart/form-data; boundary=b"
#define PART "--b\r\nContent-Disposition: form-data; name="

static int first(const char *type, const char *body, struct multipart_part *part) {
    struct multipart m;
    int r = multipart_open(&m, str_of(type), str_of(body));
    return r < 0 ? r : multipart_next(&m, part);
}

static void parts_come_in_order(void **state) {
    (void)state;
    struct multipart m;
    struct multipart_part p;
    struct str body = STR(
        PART "\"file\"; filename=\"a \\\"b\\\".py\"\r\nContent-Type: text/x\r\n\r\n"
             "x\r\n--bx\r\n--\r\n" PART "n\r\n\r\n\r\n" PART "\"empty\"\r\n\r\n--b--\r\nepilogue");
    assert_int_equal(multipart_open(&m, STR(TYPE), body), 0);
    assert_int_equal(multipart_next(&m, &p), 1);
    assert_string_equal(p.name, "file");
    assert_string_equal(p.file_name, "a \"b\".py");
    assert_true(p.is_file);
    assert_true(str_is(p.content_type, "text/x"));
    assert_true(str_is(p.body, "x\r\n--bx\r\n--")); /* what only looks like a boundary */
    assert_int_equal(multipart_next(&m, &p), 1);
    assert_string_equal(p.name, "n");
    assert_false(p.is_file);
    assert_int_equal(p.body.len, 0);
    assert_int_equal(multipart_next(&m, &p), 1);
    assert_string_equal(p.name, "empty");
    assert_int_equal(p.body.len, 0);
    assert_int_equal(multipart_next(&m, &p), 0);
    assert_int_equal(multipart_next(&m, &p), 0);
}

static void names_that_are_not_ascii(void **state) {
    (void)state;
    struct multipart_part p;
    assert_int_equal(first(TYPE, PART "\"f\"; filename*=utf-8''%ec%95%b1.py\r\n\r\nx\r\n--b--", &p),
                     1);
    assert_string_equal(p.file_name, "앱.py");
    assert_int_equal(first(TYPE, PART "\"앱\"\r\n\r\nx\r\n--b--", &p), 1);
    assert_string_equal(p.name, "앱");
    assert_int_equal(first(TYPE, PART "\"\xff\"\r\n\r\nx\r\n--b--", &p), -EINVAL);
}

static void only_good_ones_are_taken(void **state) {
    (void)state;
    static const char *const bad[] = {
        "",
        "preamble\r\n" PART "a\r\n\r\nx\r\n--b--",
        PART "a\r\n\r\nnever ends",
        PART "a\r\n",
        PART "\"\"\r\n\r\nx\r\n--b--",
        PART "a; name=b\r\n\r\nx\r\n--b--",
        PART "\"a\r\n\r\nx\r\n--b--",
        "--b\r\nContent-Disposition: attachment; name=a\r\n\r\nx\r\n--b--",
        "--b\r\nContent-Type: text/plain\r\n\r\nx\r\n--b--",
        "--b\r\nno header\r\n\r\nx\r\n--b--",
        "--b\nContent-Disposition: form-data; name=a\n\nx\n--b--",
        PART "a\r\nContent-Transfer-Encoding: base64\r\n\r\neA==\r\n--b--",
    };
    struct multipart_part p;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(first(TYPE, bad[i], &p), -EINVAL);
    assert_int_equal(first("text/plain", PART "a\r\n\r\nx\r\n--b--", &p), -ENOTSUP);
    assert_int_equal(first("multipart/form-data", PART "a\r\n\r\nx\r\n--b--", &p), -EINVAL);
    assert_int_equal(first("multipart/form-data; boundary=\"b\\", "--b--", &p), -EINVAL);
    assert_int_equal(first("multipart/form-data; boundary=b; boundary=b", "--b--", &p), -EINVAL);
    assert_int_equal(first("Multipart/Form-Data; charset=x; boundary=\"b\"", "--b--", &p), 0);
}

static void parts_and_headers_are_bounded(void **state) {
    (void)state;
    cleanup_buf struct buf body = BUF_INIT(MIB);
    struct multipart m;
    struct multipart_part p;
    for (int i = 0; i <= MULTIPART_PARTS_MAX; i++)
        (void)buf_puts(&body, PART "a\r\n\r\nx\r\n");
    (void)buf_puts(&body, "--b--");
    assert_int_equal(multipart_open(&m, STR(TYPE), buf_str(&body)), 0);
    for (int i = 0; i < MULTIPART_PARTS_MAX; i++)
        assert_int_equal(multipart_next(&m, &p), 1);
    assert_int_equal(multipart_next(&m, &p), -E2BIG);
    buf_clear(&body);
    (void)buf_puts(&body, PART "a\r\nX-Long: ");
    for (size_t i = 0; i < MULTIPART_HEADERS_MAX; i++)
        (void)buf_putc(&body, 'x');
    (void)buf_puts(&body, "\r\n\r\nx\r\n--b--");
    assert_int_equal(first(TYPE, buf_cstr(&body), &p), -EINVAL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_come_in_order),
        cmocka_unit_test(names_that_are_not_ascii),
        cmocka_unit_test(only_good_ones_are_taken),
        cmocka_unit_test(parts_and_headers_are_bounded),
    };
    return cmocka_run_group_tests_name("http_multipart", tests, NULL, NULL);
}
