/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rand.h"
#include "wire/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>

#include <cmocka.h>

static void put_call(struct buf *b, uint32_t seq) {
    ssize_t at = wire_begin(b, WIRE_CALL, 3, seq);
    assert_true(at >= 0);
    assert_int_equal(wire_u32(b, 30000), 0);
    assert_int_equal(wire_u8(b, WIRE_BODY_TEXT), 0);
    assert_int_equal(wire_u16(b, 0xbeef), 0);
    assert_int_equal(wire_str(b, STR("hello")), 0);
    assert_int_equal(wire_str(b, STR_NULL), 0);
    assert_int_equal(wire_end(b, at), 0);
}

static void test_round_trip(void **state UNUSED) {
    cleanup_buf struct buf b = BUF_INIT(KIB);
    struct wire_frame f;
    size_t need;
    put_call(&b, 7);
    size_t one = b.len;
    put_call(&b, 8);
    for (size_t n = 0; n < one; n++) { /* every cut asks for more, and knows how much */
        assert_int_equal(wire_parse(b.p, n, KIB, &f, &need), 0);
        assert_int_equal(need, n < WIRE_HEADER_LEN ? 0 : one);
    }
    assert_int_equal(wire_parse(b.p, b.len, KIB, &f, &need), one);
    assert_int_equal(f.seq, 7);
    assert_int_equal(wire_parse(b.p + one, b.len - one, KIB, &f, &need), one);
    assert_int_equal(f.type, WIRE_CALL);
    assert_int_equal(f.flags, 3);
    assert_int_equal(f.seq, 8);
    struct wire_in in = wire_open(f.payload);
    assert_int_equal(wire_get_u32(&in), 30000);
    assert_int_equal(wire_get_u8(&in), WIRE_BODY_TEXT);
    assert_int_equal(wire_get_u16(&in), 0xbeef);
    assert_true(str_is(wire_get_str(&in), "hello"));
    assert_false(wire_done(&in));
    assert_int_equal(wire_get_str(&in).len, 0);
    assert_true(wire_done(&in));
    assert_int_equal(wire_get_u8(&in), 0);
    assert_false(wire_done(&in)); /* bad, and stays so */
}

static void test_layout(void **state UNUSED) { /* as wire.h says, byte by byte */
    static const unsigned char want[] = {5, 0, 0, 0, 21, 1, 0, 0, 4, 3, 2, 1, 1, 0, 0, 0, 'x'};
    cleanup_buf struct buf b = BUF_INIT(KIB);
    ssize_t at = wire_begin(&b, WIRE_LOG, 1, 0x01020304);
    assert_int_equal(wire_str(&b, STR("x")), 0);
    assert_int_equal(wire_end(&b, at), 0);
    assert_int_equal(b.len, sizeof(want));
    assert_memory_equal(b.p, want, sizeof(want));
}

static void test_malformed(void **state UNUSED) {
    unsigned char head[WIRE_HEADER_LEN] = {0xff, 0xff, 0xff, 0xff};
    struct wire_frame f;
    size_t need;
    assert_int_equal(wire_parse(head, sizeof(head), SIZE_MAX, &f, &need), -EBADMSG);
    memset(head, 0, sizeof(head));
    head[0] = 11;
    assert_int_equal(wire_parse(head, sizeof(head), 10, &f, &need), -EBADMSG);
    assert_int_equal(need, WIRE_HEADER_LEN + 11); /* too large is told apart from malformed */
    assert_int_equal(wire_parse(head, sizeof(head), 11, &f, &need), 0);
    head[7] = 1;
    assert_int_equal(wire_parse(head, sizeof(head), 11, &f, &need), -EBADMSG);
    assert_int_equal(need, 0);
    static const unsigned char liar[] = {0xff, 0xff, 0xff, 0xff, 'a'};
    struct wire_in in = wire_open(str_n(liar, sizeof(liar)));
    assert_null(wire_get_str(&in).p);
    assert_false(wire_done(&in));
    in = wire_open(STR_NULL);
    assert_true(wire_done(&in));
    cleanup_buf struct buf tiny = BUF_INIT(14);
    ssize_t at = wire_begin(&tiny, WIRE_LOG, 0, 0);
    assert_int_equal(wire_str(&tiny, STR("x")), -EMSGSIZE);
    assert_int_equal(tiny.len, WIRE_HEADER_LEN); /* nothing half-written */
    assert_int_equal(wire_end(&tiny, at), 0);
    assert_int_equal(wire_begin(&tiny, WIRE_LOG, 0, 0), -EMSGSIZE);
    assert_int_equal(wire_end(&tiny, -EMSGSIZE), -EMSGSIZE);
}

static void test_noise(void **state UNUSED) {
    for (int i = 0; i < 50000; i++) {
        unsigned char noise[64];
        struct wire_frame f;
        size_t need, n = rand_u64() % sizeof(noise);
        rand_bytes(noise, sizeof(noise));
        noise[1] = noise[2] = noise[3] = noise[6] = noise[7] = 0;
        ssize_t r = wire_parse(noise, n, 40, &f, &need);
        assert_true(r <= (ssize_t)n);
        if (r <= 0)
            continue;
        assert_int_equal(f.payload.len + WIRE_HEADER_LEN, r);
        struct wire_in in = wire_open(f.payload);
        while (!in.bad && in.p < in.end)
            assert_true(wire_get_str(&in).len <= f.payload.len);
    }
}

/* ---- zygote channel ---- */

static void make_channel(int ends[2]) {
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends),
                     0);
}

static int count_fds(void) {
    int n = 0;
    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void test_zygote_fds(void **state UNUSED) {
    int before = count_fds(), ends[2], got[ZYGOTE_FDS_MAX];
    make_channel(ends);
    struct zygote_msg m = {.op = ZYGOTE_SPAWN, .instance = 77, .text = "x"}, r;
    int fds[3] = {0, 1, 2};
    for (size_t room = 0; room <= ZYGOTE_FDS_MAX; room++) {
        size_t n = room;
        assert_int_equal(zygote_send(ends[0], &m, fds, 3), 0);
        assert_int_equal(zygote_recv(ends[1], &r, got, &n), 1);
        assert_int_equal(n, room < 3 ? room : 3);
        assert_memory_equal(&r, &m, sizeof(m));
        for (size_t i = 0; i < n; i++) {
            assert_true(fcntl(got[i], F_GETFD) & FD_CLOEXEC);
            assert_int_equal(close(got[i]), 0);
        }
        assert_int_equal(count_fds(), before + 2); /* the others were closed */
    }
    size_t n = ZYGOTE_FDS_MAX;
    assert_int_equal(zygote_recv(ends[1], &r, got, &n), -EAGAIN);
    assert_int_equal(zygote_send(ends[0], &m, fds, ZYGOTE_FDS_MAX + 1), -EINVAL);
    assert_int_equal(close(ends[0]), 0);
    assert_int_equal(zygote_recv(ends[1], &r, got, &n), 0);
    assert_int_equal(zygote_send(ends[1], &m, NULL, 0), -EPIPE);
    assert_int_equal(close(ends[1]), 0);
}

static void test_zygote_malformed(void **state UNUSED) {
    int before = count_fds(), ends[2], got[ZYGOTE_FDS_MAX];
    size_t n = ZYGOTE_FDS_MAX;
    make_channel(ends);
    struct zygote_msg m = {.op = ZYGOTE_UP}, r;
    assert_int_equal(send(ends[0], &m, sizeof(m) - 1, 0), sizeof(m) - 1);
    assert_int_equal(zygote_recv(ends[1], &r, got, &n), -EBADMSG);
    char big[sizeof(m) + 1] = {0};
    assert_int_equal(send(ends[0], big, sizeof(big), 0), sizeof(big));
    assert_int_equal(zygote_recv(ends[1], &r, got, &n), -EBADMSG);
    memset(m.text, 'x', sizeof(m.text)); /* text without an end */
    assert_int_equal(zygote_send(ends[0], &m, &ends[0], 1), 0);
    assert_int_equal(zygote_recv(ends[1], &r, got, &n), -EBADMSG);
    assert_int_equal(close(ends[0]) + close(ends[1]), 0);
    assert_int_equal(count_fds(), before);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_layout),
        cmocka_unit_test(test_malformed),  cmocka_unit_test(test_noise),
        cmocka_unit_test(test_zygote_fds), cmocka_unit_test(test_zygote_malformed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
