/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/child.h"

#define PLENTY_MS 60000

static struct child_result shell(struct child_spec spec, const char *script) {
    const char *argv[] = {"sh", "-c", script, NULL};
    spec.argv = argv;
    if (!spec.output_max)
        spec.output_max = 4096;
    struct child_result r;
    assert_int_equal(child_run(&spec, &r), 0);
    /* nobody is left, not even as a zombie */
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
    return r;
}

static void assert_out(struct child_result *r, const char *out) {
    assert_string_equal(buf_cstr(&r->out), out);
}

static void output_and_exit_code_are_told(void **state) {
    (void)state;
    struct child_result r =
        shell((struct child_spec){.deadline_ms = PLENTY_MS}, "echo out; echo err >&2; exit 7");
    assert_int_equal(r.end, CHILD_EXITED);
    assert_int_equal(r.status, 7);
    assert_false(child_ok(&r));
    assert_out(&r, "out\n");
    assert_string_equal(buf_cstr(&r.err), "err\n");
    assert_true(str_is(child_last_line(&r), "err"));
    child_result_done(&r);
    r = shell((struct child_spec){0}, "kill -TERM $$");
    assert_int_equal(r.end, CHILD_KILLED);
    assert_int_equal(r.status, SIGTERM);
    child_result_done(&r);
}

static void input_folder_and_environment_are_given(void **state) {
    (void)state;
    const char *env[] = {"A_NAME=a value", "TMPDIR=/theirs", NULL};
    (void)setenv("NOT_FOR_CHILDREN", "x", 1);
    (void)setenv("TMPDIR", "/ours", 1);
    struct child_spec spec = {.cwd = "/proc/self", .input = STR("bytes\n"), .env = env};
    struct child_result r = shell(
        spec,
        "cat; env | grep TMPDIR; echo $A_NAME; echo ${NOT_FOR_CHILDREN-unset}; pwd -P | cut -c1-6");
    assert_out(&r, "bytes\nTMPDIR=/theirs\na value\nunset\n/proc/\n");
    child_result_done(&r);
    int fd = memfd_create("x", MFD_CLOEXEC);
    assert_int_equal(write(fd, "file", 4), 4);
    lseek(fd, 0, SEEK_SET);
    r = shell((struct child_spec){.input_fd = fd}, "cat; pwd");
    assert_out(&r, "file/\n");
    child_result_done(&r);
    close(fd);
    r = shell((struct child_spec){0}, "cat"); /* nothing to read, and it does not wait for us */
    assert_out(&r, "");
    assert_true(child_ok(&r));
    child_result_done(&r);
}

static void output_goes_to_a_file(void **state) {
    (void)state;
    int fd = memfd_create("x", MFD_CLOEXEC);
    struct child_result r = shell((struct child_spec){.output_fd = fd}, "echo there");
    assert_out(&r, "");
    char text[16] = "";
    assert_int_equal(pread(fd, text, sizeof text, 0), 6);
    assert_string_equal(text, "there\n");
    child_result_done(&r);
    r = shell((struct child_spec){.output_fd = fd, .file_bytes_max = 4096},
              "head -c 1000000 /dev/zero");
    assert_int_equal(lseek(fd, 0, SEEK_END), 4096); /* and no further */
    assert_false(child_ok(&r));
    child_result_done(&r);
    close(fd);
}

/* Descriptors of ours, close-on-exec or not, are not its. */
static void no_descriptor_is_inherited(void **state) {
    (void)state;
    int leaky[2];
    assert_int_equal(pipe(leaky), 0);
    char script[128];
    snprintf(script, sizeof script,
             "for i in 0 1 2 %d %d; do ! [ -e /proc/$$/fd/$i ] || echo $i; done", leaky[0],
             leaky[1]);
    struct child_result r = shell((struct child_spec){0}, script);
    assert_out(&r, "0\n1\n2\n");
    child_result_done(&r);
    close(leaky[0]);
    close(leaky[1]);
}

static void much_output_is_cut_and_read_to_its_end(void **state) {
    (void)state;
    struct child_result r =
        shell((struct child_spec){.output_max = 100},
              "head -c 3000000 /dev/zero | tr '\\0' x; head -c 3000000 /dev/zero >&2; exit 3");
    assert_int_equal(r.status, 3);
    assert_true(r.out_cut && r.err_cut);
    assert_int_equal(r.out.len, 100);
    assert_int_equal(r.err.len, 100);
    child_result_done(&r);
}

struct lines {
    char text[CHILD_LINE_MAX * 3];
    int out, err;
    size_t longest;
};
static void on_line(void *arg, struct str line, bool is_stderr) {
    struct lines *l = arg;
    *(is_stderr ? &l->err : &l->out) += 1;
    if (line.len > l->longest)
        l->longest = line.len;
    if (!is_stderr)
        snprintf(l->text + strlen(l->text), sizeof l->text - strlen(l->text), "[%.*s]",
                 (int)(line.len < 20 ? line.len : 20), line.p);
}

static void lines_are_told_as_they_come(void **state) {
    (void)state;
    struct lines l = {0};
    struct child_spec spec = {.line = on_line, .arg = &l};
    struct child_result r = shell(spec, "printf 'one\\r\\n\\ntwo\\nlast'; echo e >&2;"
                                        "head -c 5000 /dev/zero | tr '\\0' y >&2");
    assert_string_equal(l.text, "[one][][two][last]");
    assert_int_equal(l.err, 3); /* the long one in two pieces */
    assert_int_equal(l.longest, CHILD_LINE_MAX);
    child_result_done(&r);
}

/* A grandchild that holds the pipes is killed with the group, and is not waited for. */
static void the_deadline_ends_the_whole_group(void **state) {
    (void)state;
    int held[2];
    assert_int_equal(pipe2(held, O_CLOEXEC), 0);
    struct child_spec spec = {.deadline_ms = 200, .output_fd = held[1]};
    struct child_result r = shell(spec, "sleep 1000 & sleep 1000");
    assert_int_equal(r.end, CHILD_TIMED_OUT);
    close(held[1]);
    char c;
    assert_int_equal(read(held[0], &c, 1), 0); /* ends when the last that held it is gone */
    close(held[0]);
    child_result_done(&r);
    r = shell((struct child_spec){.deadline_ms = PLENTY_MS}, "sleep 1000 & exit 0");
    assert_true(child_ok(&r)); /* at once */
    child_result_done(&r);
}

static void a_cancel_ends_it(void **state) {
    (void)state;
    int fd = eventfd(1, EFD_CLOEXEC);
    struct child_spec spec = {.cancel_fd = fd};
    struct child_result r = shell(spec, "sleep 1000");
    assert_int_equal(r.end, CHILD_CANCELED);
    assert_false(child_ok(&r));
    child_result_done(&r);
    close(fd);
}

static void what_cannot_be_run_says_why(void **state) {
    (void)state;
    struct child_result r;
    const char *none[] = {"no-such-program-anywhere", NULL};
    assert_int_equal(child_run(&(struct child_spec){.argv = none}, &r), -ENOENT);
    const char *folder[] = {"/tmp", NULL};
    assert_int_equal(child_run(&(struct child_spec){.argv = folder}, &r), -EACCES);
    const char *ok[] = {"true", NULL};
    assert_int_equal(child_run(&(struct child_spec){.argv = ok, .cwd = "/no/such"}, &r), -ENOENT);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(output_and_exit_code_are_told),
        cmocka_unit_test(input_folder_and_environment_are_given),
        cmocka_unit_test(output_goes_to_a_file),
        cmocka_unit_test(no_descriptor_is_inherited),
        cmocka_unit_test(much_output_is_cut_and_read_to_its_end),
        cmocka_unit_test(lines_are_told_as_they_come),
        cmocka_unit_test(the_deadline_ends_the_whole_group),
        cmocka_unit_test(a_cancel_ends_it),
        cmocka_unit_test(what_cannot_be_run_says_why),
    };
    return cmocka_run_group_tests_name("child", tests, NULL, NULL);
}
