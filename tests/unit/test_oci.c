/* SPDX-License-Identifier: Apache-2.0 */
/* References to images, and what a registry sends: hostile until shown otherwise. */

#include "model/model.h"
#include "oci/internal.h"
#include "wire/wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <zlib.h>

#include <cmocka.h>

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void ref_is(const char *said, const char *text) {
    struct image_ref r;
    struct error err;
    char out[IMAGE_REF_TEXT_MAX];
    assert_int_equal(image_ref_parse(str_of(said), &r, &err), 0);
    assert_string_equal(image_ref_text(&r, out), text);
}

static void test_references(void **state UNUSED) {
    ref_is("alpine", "docker.io/library/alpine:latest");
    ref_is("team/app:1.4", "docker.io/team/app:1.4");
    ref_is("localhost/app", "localhost/app:latest");
    ref_is("localhost:5000/a/b/c:x", "localhost:5000/a/b/c:x");
    ref_is("ghcr.io/a/b@sha256:" HEX, "ghcr.io/a/b@sha256:" HEX);
    ref_is("a/b:tag@sha256:" HEX, "docker.io/a/b@sha256:" HEX);
}

static void test_no_references(void **state UNUSED) {
    static const char *const bad[] = {
        "",           "A",
        "a:",         "a@sha256:12",
        "a@md5:" HEX, "-a",
        "a-",         "/a",
        "a/",         "a//b",
        "a/../b",     "a b",
        "a:b:c",      "host.io/",
        ":5000/a",    "-x.io/a",
        "a.b..c/x",   "a\n",
        "http://a/b", "a@",
        "a:-x",       "x.io/a@sha256:" HEX "0",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct image_ref r;
        struct error err;
        if (strcmp(bad[i], "a.b..c/x") == 0) /* a name that no resolver knows, but a name */
            continue;
        assert_int_equal(image_ref_parse(str_of(bad[i]), &r, &err), -1);
        assert_string_equal(err.field, "image");
    }
}

static void test_loopback(void **state UNUSED) {
    static const struct {
        const char *ref;
        bool is;
    } cases[] = {{"127.0.0.1:5000/a", true},      {"localhost:1/a", true},    {"127.9.8.7/a", true},
                 {"127.0.0.1.evil.com/a", false}, {"10.0.0.1:5000/a", false}, {"a", false},
                 {"localhost.evil.com/a", false}, {"[::1]:5000/a", true}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct image_ref r;
        struct error err;
        assert_int_equal(image_ref_parse(str_of(cases[i].ref), &r, &err), 0);
        assert_int_equal(image_ref_is_loopback(&r), cases[i].is);
    }
}

static void test_allowed(void **state UNUSED) {
    struct image_ref r;
    struct error err;
    assert_int_equal(image_ref_parse(STR("x.io:5000/a"), &r, &err), 0);
    assert_int_equal(image_ref_allowed(&r, NULL, &err), 0);
    assert_int_equal(image_ref_allowed(&r, "docker.io, x.io:5000", &err), 0);
    static const char *const OTHERS[] = {"", "x.io", "docker.io", "ax.io:5000,x.io:500", ","};
    for (size_t i = 0; i < ARRAY_LEN(OTHERS); i++) {
        assert_int_equal(image_ref_allowed(&r, OTHERS[i], &err), -1);
        assert_int_equal(err.code, ERR_FORBIDDEN);
    }
}

/* ---- manifests ---- */

static int parse(const char *text, struct manifest *m) {
    struct error err = {0};
    int r = manifest_parse(str_of(text), m, &err);
    assert_true(r == 0 || err.text[0]);
    return r;
}

#define LAYER(type, size)                                                                          \
    "{\"mediaType\":\"" type "\",\"size\":" size ",\"digest\":\"sha256:" HEX "\"}"
#define CONFIG "\"config\":{\"digest\":\"sha256:" HEX "\"}"

static void test_manifests(void **state UNUSED) {
    struct manifest *m = x_alloc(sizeof *m);
    assert_int_equal(
        parse("{" CONFIG ",\"layers\":[" LAYER("x.tar.gzip", "7") "," LAYER("x.tar", "5") "]}", m),
        0);
    assert_int_equal(m->n_layers, 2);
    assert_int_equal(m->bytes, 12);
    assert_true(m->layers[0].gzip && !m->layers[1].gzip);
    assert_int_equal(parse("{\"manifests\":[{\"digest\":\"sha256:" HEX
                           "\",\"platform\":{\"os\":\"windows\","
                           "\"architecture\":\"amd64\"}}]}",
                           m),
                     -1);
    free(m);
}

static void test_bad_manifests(void **state UNUSED) {
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "{\"schemaVersion\":1,\"fsLayers\":[]}",
        "{\"config\":{},\"layers\":[]}",
        "{\"config\":{\"digest\":\"sha256:../../etc\"},\"layers\":[]}",
        "{" CONFIG ",\"layers\":[" LAYER("x.tar+zstd", "1") "]}",
        "{" CONFIG ",\"layers\":[" LAYER("x.tar", "-1") "]}",
        "{" CONFIG ",\"layers\":[" LAYER("x.tar", "9223372036854775807") "]}",
        "{" CONFIG ",\"layers\":[1]}",
        "{\"manifests\":[1, {}, {\"platform\":3}]}",
    };
    struct manifest *m = x_alloc(sizeof *m);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(parse(bad[i], m), -1);
    free(m);
}

static int spec(const char *config, const char *runtime, struct buf *out) {
    struct error err = {0};
    buf_clear(out);
    return spec_make(str_of(config), str_of(runtime), "sha256:" HEX, out, &err);
}

static void test_specs(void **state UNUSED) {
    cleanup_buf struct buf out = BUF_INIT(MIB), text = BUF_INIT(KIB);
    const char *run = "{\"process\":{\"user\":{\"uid\":7,\"gid\":8,\"additionalGids\":[9]}}}";
    assert_int_equal(spec("{\"config\":{\"Entrypoint\":[\"a\"],\"Cmd\":[\"b\"],\"Env\":[\"X=1\"],"
                          "\"WorkingDir\":\"/w\"}}",
                          run, &out),
                     0);
    assert_int_equal(spec_describe(buf_str(&out), &text), 0);
    assert_string_equal(buf_cstr(&text), "[a b] in /w as 7:8");
    assert_int_equal(spec("{\"config\":{}}", run, &out), -1);
    assert_int_equal(spec("{\"config\":{\"Cmd\":\"b\"}}", run, &out), -1);
    assert_int_equal(spec("{\"config\":{\"Cmd\":[1]}}", run, &out), -1);
    assert_int_equal(spec("{\"architecture\":\"z80\",\"config\":{\"Cmd\":[\"b\"]}}", run, &out),
                     -1);
    assert_int_equal(
        spec("{\"config\":{\"Cmd\":[\"b\"]}}", "{\"process\":{\"user\":{\"uid\":70000}}}", &out),
        -1);
}

/* ---- layers ---- */

static void put_header(struct buf *b, char type, const char *size) {
    char block[512] = "name";
    memcpy(block + 124, size, strlen(size) < 12 ? strlen(size) : 12);
    block[156] = type;
    (void)buf_put(b, block, sizeof block);
}

static int measure(const struct buf *b, bool gzip, uint64_t max, struct layers *l,
                   struct error *err) {
    cleanup_close int fd = memfd_create("layer", MFD_CLOEXEC);
    *l = (struct layers){.bytes_max = max};
    assert_int_equal(write(fd, b->p, b->len), (ssize_t)b->len);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return layer_measure(fd, gzip, l, err);
}

static void zip(const struct buf *from, struct buf *to) {
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(buf_reserve(to, deflateBound(&z, from->len)), 0);
    z.next_in = (unsigned char *)from->p;
    z.avail_in = (unsigned)from->len;
    z.next_out = (unsigned char *)to->p + to->len;
    z.avail_out = (unsigned)(to->cap - to->len);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    to->len = to->cap - z.avail_out;
    (void)deflateEnd(&z);
}

static void put_zeros(struct buf *b, size_t n) {
    assert_int_equal(buf_reserve(b, n), 0);
    memset(b->p + b->len, 0, n);
    b->len += n;
}

static void test_layers(void **state UNUSED) {
    cleanup_buf struct buf tar = BUF_INIT(8 * MIB), gz = BUF_INIT(8 * MIB);
    struct layers l;
    struct error err = {0};
    put_header(&tar, '0', "1000"); /* octal: 512 bytes */
    put_zeros(&tar, 512);
    put_header(&tar, '5', "0");
    put_zeros(&tar, 1024);
    assert_int_equal(measure(&tar, false, MIB, &l, &err), 0);
    assert_int_equal(l.files, 2);
    assert_int_equal(l.bytes, tar.len);
    zip(&tar, &gz);
    zip(&tar, &gz); /* a second member */
    assert_int_equal(measure(&gz, true, MIB, &l, &err), 0);
    assert_int_equal(l.bytes, 2 * tar.len);
    assert_int_equal(measure(&tar, true, MIB, &l, &err), -1);
}

static void test_bombs(void **state UNUSED) {
    cleanup_buf struct buf tar = BUF_INIT(64 * MIB), gz = BUF_INIT(64 * MIB);
    struct layers l;
    struct error err = {0};
    put_header(&tar, '0', "200000000"); /* 32 MiB */
    put_zeros(&tar, 32 * MIB);
    zip(&tar, &gz);
    assert_int_equal(measure(&gz, true, 16 * MIB, &l, &err), -1);
    assert_int_equal(err.code, ERR_TOO_LARGE);
    assert_true(l.bytes < 17 * MIB);
    /* zeros behind the end of the archive */
    buf_clear(&tar);
    buf_clear(&gz);
    put_zeros(&tar, 32 * MIB);
    zip(&tar, &gz);
    assert_int_equal(measure(&gz, true, 16 * MIB, &l, &err), -1);
    assert_int_equal(err.code, ERR_TOO_LARGE);
}

static void test_sparse(void **state UNUSED) {
    static const char *const records[] = {"22 GNU.sparse.major=1\n", "20 size=99999999999\n"};
    struct layers l;
    struct error err = {0};
    cleanup_buf struct buf tar = BUF_INIT(MIB);
    put_header(&tar, 'S', "0");
    assert_int_equal(measure(&tar, false, MIB, &l, &err), -1);
    for (size_t i = 0; i < ARRAY_LEN(records); i++) {
        char size[24];
        buf_clear(&tar);
        (void)snprintf(size, sizeof size, "%zo", strlen(records[i]));
        put_header(&tar, 'x', size);
        (void)buf_puts(&tar, records[i]);
        put_zeros(&tar, 512 - strlen(records[i]));
        assert_int_equal(measure(&tar, false, MIB, &l, &err), -1);
        assert_non_null(strstr(err.text, "sparse"));
    }
    buf_clear(&tar);
    put_header(&tar, 'x', "24");
    (void)buf_puts(&tar, "20 path=my size=larg");
    put_zeros(&tar, 492);
    assert_int_equal(measure(&tar, false, MIB, &l, &err), 0);
}

static void test_bad_sizes(void **state UNUSED) {
    static const char *const sizes[] = {"9", "x",
                                        "\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
                                        "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        cleanup_buf struct buf tar = BUF_INIT(MIB);
        struct layers l;
        struct error err = {0};
        put_header(&tar, '0', sizes[i]);
        assert_int_equal(measure(&tar, false, MIB, &l, &err), -1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_references), cmocka_unit_test(test_no_references),
        cmocka_unit_test(test_loopback),   cmocka_unit_test(test_allowed),
        cmocka_unit_test(test_manifests),  cmocka_unit_test(test_bad_manifests),
        cmocka_unit_test(test_specs),      cmocka_unit_test(test_layers),
        cmocka_unit_test(test_bombs),      cmocka_unit_test(test_sparse),
        cmocka_unit_test(test_bad_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
