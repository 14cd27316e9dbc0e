/* SPDX-License-Identifier: Apache-2.0 */
/* Files that are handed out as they are: read once, when first asked for, and only as many and as
 * large as the limits say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/web.h"
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

static char folder[] = "/tmp/kiln-test-web-XXXXXX";

static void put(const char *name, const char *text, off_t size) {
    cleanup_free char *path = x_asprintf("%s/%s", folder, name);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    if (size)
        assert_int_equal(ftruncate(fileno(f), size), 0);
    assert_int_equal(fclose(f), 0);
}

static int setup(void **state) {
    (void)state;
    strcpy(folder + sizeof(folder) - 7, "XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    cleanup_free char *command = x_asprintf("rm -rf '%s'", folder);
    return system(command);
}

static void a_file_is_read_once_when_asked_for(void **state) {
    (void)state;
    struct web *w = web_new(folder);
    const struct web_file *f = NULL, *again = NULL;
    assert_int_equal(web_get(w, "a.txt", &f), -ENOENT);
    put("a.txt", "hello", 0);
    assert_int_equal(web_get(w, "a.txt", &f), 0);
    assert_int_equal(f->len, 5);
    assert_memory_equal(f->p, "hello", 5);
    put("a.txt", "changed", 0);
    assert_int_equal(web_get(w, "a.txt", &again), 0);
    assert_ptr_equal(f, again);
    web_free(w);
}

static void the_tag_is_of_the_content(void **state) {
    (void)state;
    struct web *w = web_new(folder);
    const struct web_file *one = NULL, *same = NULL, *other = NULL, *empty = NULL;
    put("one", "text", 0);
    put("same", "text", 0);
    put("other", "texT", 0);
    put("empty", "", 0);
    assert_int_equal(web_get(w, "one", &one), 0);
    assert_int_equal(web_get(w, "same", &same), 0);
    assert_int_equal(web_get(w, "other", &other), 0);
    assert_int_equal(web_get(w, "empty", &empty), 0);
    assert_string_equal(one->etag, same->etag);
    assert_string_not_equal(one->etag, other->etag);
    assert_int_equal(strlen(one->etag), 18); /* 64 bits and the quotes */
    assert_int_equal(empty->len, 0);
    web_free(w);
}

static void only_regular_files_within_the_limits(void **state) {
    (void)state;
    struct web *w = web_new(folder);
    const struct web_file *f = NULL;
    cleanup_free char *pipe = x_asprintf("%s/pipe", folder);
    assert_int_equal(mkfifo(pipe, 0600), 0);
    assert_int_equal(web_get(w, "pipe", &f), -ENOENT);
    assert_int_equal(web_get(w, ".", &f), -ENOENT);
    put("large", "", (off_t)WEB_FILE_MAX);
    assert_int_equal(web_get(w, "large", &f), 0);
    put("larger", "", (off_t)WEB_FILE_MAX + 1);
    assert_int_equal(web_get(w, "larger", &f), -EFBIG);
    for (int i = 1; i <= WEB_FILES_MAX; i++) {
        char name[16];
        snprintf(name, sizeof(name), "f%d", i);
        put(name, name, 0);
        assert_int_equal(web_get(w, name, &f), i < WEB_FILES_MAX ? 0 : -ENOSPC);
    }
    assert_int_equal(web_get(w, "large", &f), 0);
    web_free(w);
}

static void without_a_folder_there_is_nothing(void **state) {
    (void)state;
    struct web *w = web_new("/nowhere/at/all");
    const struct web_file *f = NULL;
    assert_int_equal(web_get(w, "docs/index.html", &f), -ENOENT);
    web_free(w);
    web_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_file_is_read_once_when_asked_for, setup, teardown),
        cmocka_unit_test_setup_teardown(the_tag_is_of_the_content, setup, teardown),
        cmocka_unit_test_setup_teardown(only_regular_files_within_the_limits, setup, teardown),
        cmocka_unit_test(without_a_folder_there_is_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
