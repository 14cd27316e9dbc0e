/* SPDX-License-Identifier: Apache-2.0 */
/* store: key-value stores and their limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "store_world.h"
#include <cmocka.h>
#include <stdio.h>

/* ---- key-value stores ---- */
static void kv_take(void *arg, struct str s) {
    struct buf *b = arg;
    (void)buf_put_str(b, s);
    (void)buf_putc(b, '|');
}

static int kv_is(struct store *s, uint32_t no, const char *store, struct str key, struct str want,
                 struct error *err) {
    cleanup_buf struct buf b = BUF_INIT(KIB);
    bool found;
    OK(store_kv_get(s, no, str_of(store), key, kv_take, &b, &found, err));
    CHECK(found == (want.p != NULL));
    CHECK(!found || (b.len == want.len + 1 && memcmp(b.p, want.p, want.len) == 0));
    OK(store_kv_get(s, no, str_of(store), key, NULL, NULL, &found, err));
    CHECK(found == (want.p != NULL));
    return 0;
}

static int kv_keys_are(struct store *s, uint32_t no, const char *store, struct str want,
                       struct error *err) {
    cleanup_buf struct buf b = BUF_INIT(KIB);
    OK(store_kv_keys(s, no, str_of(store), kv_take, &b, err));
    CHECK(str_eq(buf_str(&b), want));
    return 0;
}

static int kv_body(struct store *s, void *arg, struct error *err) {
    uint32_t f, g;
    (void)arg;
    OK(make_function(s, "kv-f", &f, err));
    OK(make_function(s, "kv-g", &g, err));
    OK(kv_is(s, f, "d", STR("k"), STR_NULL, err));
    OK(store_kv_delete(s, f, STR("d"), STR("k"), err));
    OK(store_kv_set(s, f, STR("d"), STR("k"), STR("\0\xff one"), err));
    OK(kv_is(s, f, "d", STR("k"), STR("\0\xff one"), err));
    OK(kv_is(s, f, "e", STR("k"), STR_NULL, err));
    OK(kv_is(s, g, "d", STR("k"), STR_NULL, err));
    OK(store_kv_set(s, f, STR("d"), STR("k"), STR(""), err));
    OK(kv_is(s, f, "d", STR("k"), STR(""), err));
    OK(store_kv_set(s, f, STR("d"), STR("a\0b"), STR("2"), err));
    OK(store_kv_set(s, f, STR("e"), STR("z"), STR("3"), err));
    OK(kv_keys_are(s, f, "d", STR("a\0b|k|"), err));
    OK(kv_keys_are(s, f, "e", STR("z|"), err));
    OK(store_kv_delete(s, f, STR("d"), STR("a\0b"), err));
    OK(kv_keys_are(s, f, "d", STR("k|"), err));
    OK(store_function_delete(s, f, err));
    OK(kv_keys_are(s, f, "d", STR_NULL, err));
    OK(kv_is(s, f, "d", STR("k"), STR_NULL, err));
    return 0;
}

static int kv_without_function(struct store *s, void *arg, struct error *err) {
    (void)arg;
    return store_kv_set(s, 4000000, STR("d"), STR("k"), STR("v"), err);
}

static void key_values(void **state) {
    struct store *s = ((struct fixture *)*state)->store;
    struct error err;
    on(s, STORE_STATE, kv_body, NULL);
    assert_int_equal(try_on(s, STORE_STATE, kv_without_function, NULL, &err), -1);
    assert_int_equal(err.code, ERR_NOT_FOUND);
}

struct kv_fill {
    uint32_t no;
    char *big; /* KV_VALUE_MAX */
};

static int kv_fill_body(struct store *s, void *arg, struct error *err) {
    struct kv_fill *fill = arg;
    char key[16];
    OK(make_function(s, "kv-full", &fill->no, err));
    for (int i = 0; i < (int)(KV_BYTES_MAX / KV_VALUE_MAX) - 1; i++) {
        (void)snprintf(key, sizeof(key), "b%d", i);
        OK(store_kv_set(s, fill->no, STR("d"), str_of(key), str_n(fill->big, KV_VALUE_MAX), err));
    }
    for (int i = 0; i < KV_KEYS_MAX - (int)(KV_BYTES_MAX / KV_VALUE_MAX) + 1; i++) {
        (void)snprintf(key, sizeof(key), "k%d", i);
        OK(store_kv_set(s, fill->no, STR("e"), str_of(key), STR(""), err));
    }
    return 0;
}

static int kv_one_key_more(struct store *s, void *arg, struct error *err) {
    return store_kv_set(s, ((struct kv_fill *)arg)->no, STR("x"), STR("new"), STR(""), err);
}

static int kv_bytes_more(struct store *s, void *arg, struct error *err) {
    struct kv_fill *fill = arg;
    return store_kv_set(s, fill->no, STR("e"), STR("k0"), str_n(fill->big, KV_VALUE_MAX), err);
}

static int kv_less(struct store *s, void *arg, struct error *err) {
    uint32_t no = ((struct kv_fill *)arg)->no;
    OK(store_kv_delete(s, no, STR("d"), STR("b0"), err));
    return store_kv_set(s, no, STR("x"), STR("other"), STR("fits"), err);
}

static void key_values_are_bounded(void **state) {
    struct store *s = ((struct fixture *)*state)->store;
    struct kv_fill fill = {.big = x_alloc(KV_VALUE_MAX)};
    struct error err;
    on(s, STORE_STATE, kv_fill_body, &fill);
    for (int i = 0; i < 2; i++) { /* what is refused leaves no trace in the sums */
        assert_int_equal(try_on(s, STORE_STATE, kv_one_key_more, &fill, &err), -1);
        assert_int_equal(err.code, ERR_QUOTA);
        assert_int_equal(try_on(s, STORE_STATE, kv_bytes_more, &fill, &err), -1);
        assert_int_equal(err.code, ERR_QUOTA);
    }
    on(s, STORE_STATE, kv_less, &fill);
    on(s, STORE_STATE, kv_bytes_more, &fill); /* the room of b0 */
    assert_int_equal(try_on(s, STORE_STATE, kv_one_key_more, &fill, &err), -1);
    free(fill.big);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        STORE_TEST(key_values),
        STORE_TEST(key_values_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
