/* SPDX-License-Identifier: Apache-2.0 */
/* Uploads, manifests and ids of the builder; what it does with them is tested over HTTP. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <archive.h>
#include <archive_entry.h>
#include <sys/mman.h>

#include "task/image.h"
#include "task/task.h"
#include "json/tree.h"
#include "json/write.h"

#define ID "task-7d5f2a52-0c1b-4b0e-9a53-0d9f1e9a7f10"

static void ids_are_uuids(void **state) {
    (void)state;
    char a[TASK_ID_LEN + 1], b[TASK_ID_LEN + 1];
    task_id_make(a);
    task_id_make(b);
    assert_true(task_id_is(str_of(a)) && task_id_is(str_of(b)));
    assert_string_not_equal(a, b);
    assert_int_equal(a[19], '4'); /* the version */
    static const char *const none[] = {"",
                                       "task-",
                                       "task-1",
                                       ID "0",
                                       "TASK-7d5f2a52",
                                       "task-7D5f2a52-0c1b-4b0e-9a53-0d9f1e9a7f10",
                                       "task-7d5f2a5200c1b-4b0e-9a53-0d9f1e9a7f10"};
    for (size_t i = 0; i < ARRAY_LEN(none); i++)
        assert_false(task_id_is(str_of(none[i])));
}

static void a_path_names_its_task_and_leads_nowhere(void **state) {
    (void)state;
    static const char *const good[] = {ID,
                                       "/" ID,
                                       "artifacts/" ID,
                                       "/artifacts/" ID "/image.tar",
                                       "artifacts/" ID "/source.py",
                                       "s3://bucket/tasks/ws-1/" ID "/image.tar",
                                       "s3://b/" ID};
    static const char *const bad[] = {"",
                                      "/",
                                      "x/" ID,
                                      "artifacts",
                                      "artifacts/x/" ID,
                                      "artifacts/../artifacts/" ID,
                                      "artifacts/" ID "/../x",
                                      "s3://b/../" ID,
                                      "./" ID,
                                      "http://b/" ID,
                                      "//" ID,
                                      "s3://"};
    char id[TASK_ID_LEN + 1];
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        id[0] = 0;
        assert_true(task_source_id(str_of(good[i]), id));
        assert_string_equal(id, ID);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(task_source_id(str_of(bad[i]), id));
    assert_false(task_source_id(str_n(ID "\0", sizeof ID), id));
}

/* ---- uploads ---- */
static const char TOML[] =
    "spin_manifest_version = 2\n[component.a.build]\n"
    "command = \"componentize-py -w spin-http componentize main -o a.wasm\"\n";

struct entry {
    const char *path, *text;
    mode_t type;
};

static ssize_t put(struct archive *a, void *arg, const void *p, size_t n) {
    (void)a;
    assert_int_equal(buf_put(arg, p, n), 0);
    return (ssize_t)n;
}

static void zip(struct buf *out, const struct entry *v, size_t n) {
    struct archive *a = archive_write_new();
    archive_write_set_format_zip(a);
    archive_write_set_bytes_in_last_block(a, 1);
    assert_int_equal(archive_write_open(a, out, NULL, put, NULL), ARCHIVE_OK);
    for (size_t i = 0; i < n; i++) {
        struct archive_entry *e = archive_entry_new();
        archive_entry_set_pathname(e, v[i].path);
        archive_entry_set_filetype(e, v[i].type ? v[i].type : AE_IFREG);
        archive_entry_set_perm(e, 0644);
        if (v[i].type == AE_IFLNK)
            archive_entry_set_symlink(e, v[i].text);
        else
            archive_entry_set_size(e, (int64_t)strlen(v[i].text));
        assert_int_equal(archive_write_header(a, e), ARCHIVE_OK);
        if (v[i].type == 0)
            (void)archive_write_data(a, v[i].text, strlen(v[i].text));
        archive_entry_free(e);
    }
    assert_int_equal(archive_write_close(a), ARCHIVE_OK);
    archive_write_free(a);
}

static int read_zip(const struct entry *v, size_t n, struct source *s, struct error *err) {
    cleanup_buf struct buf out = BUF_INIT(4 * MIB);
    zip(&out, v, n);
    return source_read(STR("app.zip"), buf_str(&out), "app", s, err);
}

static void archives_are_read(void **state) {
    (void)state;
    const struct entry v[] = {{"spin.toml", TOML, 0},
                              {"./lib/", "", AE_IFDIR},
                              {"./main.py", "x", 0},
                              {"lib//a.py", "y", 0}};
    struct source s;
    struct error err;
    assert_int_equal(read_zip(v, ARRAY_LEN(v), &s, &err), 0);
    assert_int_equal(s.n, 3);
    assert_string_equal(s.module, "main");
    assert_string_equal(s.folder, "");
    assert_string_equal(s.v[1].path, "main.py");
    assert_string_equal(s.v[2].path, "lib/a.py");
    assert_false(s.wrapped || s.manifest_made);
    source_done(&s);
}

static void what_leads_out_is_refused(void **state) {
    (void)state;
    const struct entry bad[] = {{"../x", "", 0},
                                {"a/../x", "", 0},
                                {"/x", "", 0},

                                {"l", "/etc/passwd", AE_IFLNK},
                                {"a\nb", "", 0},
                                {"main.py", "", 0}};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        const struct entry v[] = {{"spin.toml", TOML, 0}, {"main.py", "x", 0}, bad[i]};
        struct source s;
        struct error err = {0};
        assert_int_equal(read_zip(v, 3, &s, &err), -1);
        assert_int_equal(err.code, ERR_INVALID);
        assert_string_equal(err.field, "file");
    }
}

static void a_source_is_wrapped_and_given_a_manifest(void **state) {
    (void)state;
    struct source s;
    struct error err;
    assert_int_equal(source_read(STR("a.PY"), STR("def init_incoming_handler(r): pass\n"),
                                 "My \"App\"", &s, &err),
                     0);
    assert_true(s.wrapped && s.manifest_made);
    assert_int_equal(s.n, 2);
    assert_non_null(strstr(s.v[0].bytes, "name = \"MyApp\""));
    assert_non_null(memmem(s.v[1].bytes, s.v[1].len, "class IncomingHandler", 21));
    source_done(&s);
    assert_int_equal(source_read(STR("a.py"), STR("x\0y"), "a", &s, &err), -1);
    assert_int_equal(source_read(STR("a.py"), STR(""), "a", &s, &err), -1);
    assert_int_equal(source_read(STR("a.txt"), STR("x"), "a", &s, &err), -1);
    assert_int_equal(source_read(STR("a.zip"), STR("x"), "a", &s, &err), -1);
}

static void the_same_source_has_the_same_digest(void **state) {
    (void)state;
    struct image_made made[2];
    for (int i = 0; i < 2; i++) {
        struct source s;
        struct error err;
        int fd = memfd_create("image", MFD_CLOEXEC);
        assert_int_equal(source_read(STR("a.py"), STR("x = 1\n"), "a", &s, &err), 0);
        assert_int_equal(image_write(fd, &s, "a", &made[i], &err), 0);
        source_done(&s);
        close(fd);
    }
    assert_string_equal(made[0].digest, made[1].digest);
    assert_true(made[0].bytes > 0);
}

/* ---- manifests ---- */
static void a_manifest_is_json_whatever_is_in_it(void **state) {
    (void)state;
    cleanup_buf struct buf out = BUF_INIT(MIB), scheduling = BUF_INIT(MIB);
    cleanup_json struct json *v = NULL;
    const struct spinapp app = {.name = STR("a"),
                                .namespace_ = STR("n"),
                                .image = STR("x\"y\n"),
                                .replicas = 2,
                                .affinity = STR("{\"podAffinity\":{}}")};
    struct json_w w;
    struct error err;
    json_w_init(&w, &out);
    spinapp_write(&w, &app);
    assert_int_equal(json_parse_object(buf_str(&out), &v, &err), 0);
    assert_non_null(strstr(buf_cstr(&out), "\"replicas\":2"));
    assert_null(strstr(buf_cstr(&out), "affinity")); /* it has no field for it */
    assert_true(spinapp_schedules(&app));
    json_w_init(&w, &scheduling);
    spinapp_write_scheduling(&w, &app);
    assert_string_equal(
        buf_cstr(&scheduling),
        "{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\",\"metadata\":{\"name\":"
        "\"a\",\"namespace\":\"n\"},\"spec\":{\"template\":{\"spec\":{\"affinity\":"
        "{\"podAffinity\":{}}}}}}");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_uuids),
        cmocka_unit_test(a_path_names_its_task_and_leads_nowhere),
        cmocka_unit_test(archives_are_read),
        cmocka_unit_test(what_leads_out_is_refused),
        cmocka_unit_test(a_source_is_wrapped_and_given_a_manifest),
        cmocka_unit_test(the_same_source_has_the_same_digest),
        cmocka_unit_test(a_manifest_is_json_whatever_is_in_it),
    };
    return cmocka_run_group_tests_name("task", tests, NULL, NULL);
}
