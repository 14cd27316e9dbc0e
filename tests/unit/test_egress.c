/* SPDX-License-Identifier: Apache-2.0 */
/* The filter and the allow list, over bytes. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "egress/filter.h"

#include <arpa/inet.h>
#include <errno.h>

#define TCP      6
#define UDP      17
#define ICMP     1
#define ETH      EGRESS_ETH_LEN
#define FULL_LEN (ETH + 20 + 20)

static uint32_t ip(const char *text) {
    struct in_addr in;
    assert_int_equal(inet_pton(AF_INET, text, &in), 1);
    return ntohl(in.s_addr);
}

static void set_filter(struct filter *f, const char *allow) {
    struct egress_allow a;
    assert_int_equal(egress_parse_allow(allow, &a, NULL), 0);
    filter_init(f, &a);
}

static void put(uint8_t *p, uint32_t v, int bytes) {
    for (int i = 0; i < bytes; i++)
        p[i] = (uint8_t)(v >> 8 * (bytes - 1 - i));
}

/* A frame of 20 bytes of transport: a SYN, a datagram or an echo request. */
static void make_frame(uint8_t f[FULL_LEN], const char *dst, uint8_t protocol, uint16_t dport) {
    memset(f, 0, FULL_LEN);
    put(f + 12, 0x0800, 2);
    f[ETH] = 0x45;
    put(f + ETH + 2, 40, 2);
    f[ETH + 8] = 64;
    f[ETH + 9] = protocol;
    put(f + ETH + 12, EGRESS_GUEST_ADDR, 4);
    put(f + ETH + 16, ip(dst), 4);
    uint8_t *t = f + ETH + 20;
    put(t, 40000, 2);
    put(t + 2, dport, 2);
    if (protocol == TCP) {
        t[12] = 0x50;
        t[13] = 2;
    } else if (protocol == UDP) {
        put(t + 4, 20, 2);
    } else if (protocol == ICMP) {
        put(t, 0x0800, 2);
        put(t + 4, 77, 2);
    }
}

static enum verdict judge(const struct filter *f, const char *dst, uint8_t protocol,
                          uint16_t dport) {
    uint8_t frame[FULL_LEN];
    struct packet k;
    make_frame(frame, dst, protocol, dport);
    return filter_frame(f, frame, sizeof(frame), &k);
}

/* First and last address of every range, and their neighbours outside. */
static void test_edges(void **state UNUSED) {
    static const struct {
        const char *before, *first, *last, *after;
    } ranges[] = {
        {NULL, "0.0.0.0", "0.255.255.255", "1.0.0.0"},
        {"9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0"},
        {"100.63.255.255", "100.64.0.0", "100.127.255.255", "100.128.0.0"},
        {"126.255.255.255", "127.0.0.0", "127.255.255.255", "128.0.0.0"},
        {"169.253.255.255", "169.254.0.0", "169.254.255.255", "169.255.0.0"},
        {"172.15.255.255", "172.16.0.0", "172.31.255.255", "172.32.0.0"},
        {"191.255.255.255", "192.0.0.0", "192.0.0.255", "192.0.1.0"},
        {"192.0.1.255", "192.0.2.0", "192.0.2.255", "192.0.3.0"},
        {"192.31.195.255", "192.31.196.0", "192.31.196.255", "192.31.197.0"},
        {"192.52.192.255", "192.52.193.0", "192.52.193.255", "192.52.194.0"},
        {"192.88.98.255", "192.88.99.0", "192.88.99.255", "192.88.100.0"},
        {"192.167.255.255", "192.168.0.0", "192.168.255.255", "192.169.0.0"},
        {"192.175.47.255", "192.175.48.0", "192.175.48.255", "192.175.49.0"},
        {"198.17.255.255", "198.18.0.0", "198.19.255.255", "198.20.0.0"},
        {"198.51.99.255", "198.51.100.0", "198.51.100.255", "198.51.101.0"},
        {"203.0.112.255", "203.0.113.0", "203.0.113.255", "203.0.114.0"},
        {"223.255.255.255", "224.0.0.0", "255.255.255.255", NULL},
    };
    struct filter f;
    set_filter(&f, NULL);
    for (size_t i = 0; i < ARRAY_LEN(ranges); i++) {
        if (ranges[i].before)
            assert_true(filter_allows(&f, ip(ranges[i].before)));
        assert_false(filter_allows(&f, ip(ranges[i].first)));
        assert_false(filter_allows(&f, ip(ranges[i].last)));
        if (ranges[i].after)
            assert_true(filter_allows(&f, ip(ranges[i].after)));
    }
}

static void test_allow_and_host(void **state UNUSED) {
    struct filter f;
    const uint32_t host[] = {ip("93.1.2.3"), ip("8.8.8.8"), ip("203.1.1.1")};
    uint32_t many[EGRESS_HOST_MAX + 1] = {0};
    set_filter(&f, "10.1.0.0/16,93.1.2.3");
    assert_int_equal(filter_set_host(&f, host, ARRAY_LEN(host)), 0);
    assert_int_equal(filter_set_host(&f, many, ARRAY_LEN(many)), -E2BIG);
    assert_true(filter_allows(&f, ip("10.1.255.255")));
    assert_false(filter_allows(&f, ip("10.2.0.0")));
    assert_true(filter_allows(&f, ip("93.1.2.3"))); /* the list goes before the host's own */
    assert_false(filter_allows(&f, ip("8.8.8.8")));
    assert_false(filter_allows(&f, ip("203.1.1.1")));
    assert_true(filter_allows(&f, ip("8.8.8.9")));
    set_filter(&f, "0.0.0.0/0");
    assert_true(filter_allows(&f, ip("169.254.169.254")));
    assert_false(filter_allows(&f, ip("127.0.0.1"))); /* only by way of the gateway */
    assert_false(filter_allows(&f, ip("10.0.2.7")));
    assert_false(filter_allows(&f, ip("224.0.0.1")));
}

static void test_own_network(void **state UNUSED) {
    struct filter f;
    set_filter(&f, "10.0.0.0/8");
    assert_int_equal(judge(&f, "10.0.2.3", UDP, 53), VERDICT_PASS);
    assert_int_equal(judge(&f, "10.0.2.3", TCP, 53), VERDICT_PASS);
    assert_int_equal(judge(&f, "10.0.2.3", UDP, 54), VERDICT_REJECT);
    assert_int_equal(judge(&f, "10.0.2.3", ICMP, 53), VERDICT_REJECT);
    assert_int_equal(judge(&f, "10.0.2.2", TCP, 80), VERDICT_REJECT);
    assert_int_equal(judge(&f, "10.0.2.4", TCP, 53), VERDICT_REJECT);
    assert_int_equal(judge(&f, "10.0.2.255", UDP, 53), VERDICT_REJECT);
    set_filter(&f, "127.0.0.1");
    assert_int_equal(judge(&f, "10.0.2.2", TCP, 80), VERDICT_PASS);
    assert_int_equal(judge(&f, "10.0.2.2", UDP, 67), VERDICT_REJECT);
    assert_int_equal(judge(&f, "10.0.2.2", UDP, 69), VERDICT_REJECT);
    assert_int_equal(judge(&f, "127.0.0.1", TCP, 80), VERDICT_REJECT);
}

static void test_protocols(void **state UNUSED) {
    struct filter f;
    struct packet k;
    uint8_t frame[FULL_LEN];
    set_filter(&f, NULL);
    assert_int_equal(judge(&f, "9.9.9.9", TCP, 80), VERDICT_PASS);
    assert_int_equal(judge(&f, "9.9.9.9", UDP, 80), VERDICT_PASS);
    assert_int_equal(judge(&f, "9.9.9.9", ICMP, 0), VERDICT_PASS);
    assert_int_equal(judge(&f, "9.9.9.9", 47, 0), VERDICT_REJECT);
    assert_int_equal(judge(&f, "255.255.255.255", UDP, 67), VERDICT_DROP);
    make_frame(frame, "9.9.9.9", TCP, 80);
    assert_int_equal(filter_frame(&f, frame, FULL_LEN, &k), VERDICT_PASS);
    assert_true(k.may_open && k.protocol == TCP && k.sport == 40000 && !k.arp);
    frame[ETH + 33] = 0x10; /* ACK */
    assert_int_equal(filter_frame(&f, frame, FULL_LEN, &k), VERDICT_PASS);
    assert_false(k.may_open);
}

/* One byte changed in a frame that passes. */
static void test_malformed(void **state UNUSED) {
    static const struct {
        uint8_t protocol, at, value;
        enum verdict want;
    } cases[] = {
        {TCP, 12, 0x86, VERDICT_DROP},        /* an unknown ethertype, 0x8600 */
        {TCP, 13, 0x06, VERDICT_DROP},        /* ARP that is none */
        {TCP, ETH, 0x65, VERDICT_DROP},       /* IPv6 */
        {TCP, ETH, 0x46, VERDICT_DROP},       /* with options */
        {TCP, ETH, 0x44, VERDICT_DROP},       /* header too short */
        {TCP, ETH + 3, 41, VERDICT_DROP},     /* longer than the frame */
        {TCP, ETH + 3, 19, VERDICT_DROP},     /* shorter than its header */
        {TCP, ETH + 3, 39, VERDICT_DROP},     /* TCP header cut */
        {TCP, ETH + 6, 0x20, VERDICT_REJECT}, /* first fragment */
        {TCP, ETH + 6, 0x40, VERDICT_PASS},   /* do not fragment */
        {TCP, ETH + 7, 1, VERDICT_DROP},      /* later fragment */
        {TCP, ETH + 15, 16, VERDICT_DROP},    /* of another source */
        {TCP, ETH + 32, 0x40, VERDICT_DROP},  /* TCP offset too small */
        {TCP, ETH + 32, 0x60, VERDICT_DROP},  /* and beyond the packet */
        {UDP, ETH + 25, 21, VERDICT_DROP},    /* UDP length beyond the packet */
        {UDP, ETH + 25, 7, VERDICT_DROP},     /* and below its header */
        {UDP, ETH + 3, 27, VERDICT_DROP},     /* UDP header cut */
        {ICMP, ETH + 20, 0, VERDICT_DROP},    /* echo reply */
        {ICMP, ETH + 20, 5, VERDICT_DROP},    /* redirect */
        {ICMP, ETH + 3, 27, VERDICT_DROP},    /* cut */
    };
    struct filter f;
    struct packet k;
    uint8_t frame[FULL_LEN];
    set_filter(&f, NULL);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        make_frame(frame, "9.9.9.9", cases[i].protocol, 80);
        frame[cases[i].at] = cases[i].value;
        assert_int_equal(filter_frame(&f, frame, FULL_LEN, &k), cases[i].want);
    }
    make_frame(frame, "9.9.9.9", TCP, 80);
    for (size_t len = 0; len < FULL_LEN; len++) {
        uint8_t *exact = x_memdup(frame, len + !len); /* so that a sanitizer sees an overrun */
        assert_int_equal(filter_frame(&f, exact, len, &k), VERDICT_DROP);
        free(exact);
    }
    uint8_t big[EGRESS_FRAME_MAX + 1] = {0};
    memcpy(big, frame, FULL_LEN);
    assert_int_equal(filter_frame(&f, big, EGRESS_FRAME_MAX, &k), VERDICT_PASS);
    assert_int_equal(filter_frame(&f, big, EGRESS_FRAME_MAX + 1, &k), VERDICT_DROP);
}

static void test_arp(void **state UNUSED) {
    static const uint8_t head[] = {8, 6, 0, 1, 8, 0, 6, 4, 0, 1};
    struct filter f;
    struct packet k;
    uint8_t frame[ETH + 28] = {0};
    set_filter(&f, NULL);
    memcpy(frame + 12, head, sizeof(head));
    put(frame + ETH + 14, EGRESS_GUEST_ADDR, 4);
    assert_int_equal(filter_frame(&f, frame, sizeof(frame), &k), VERDICT_PASS);
    assert_true(k.arp && !k.may_open);
    assert_int_equal(filter_frame(&f, frame, sizeof(frame) - 1, &k), VERDICT_DROP);
    put(frame + ETH + 14, EGRESS_GATEWAY_ADDR, 4);
    assert_int_equal(filter_frame(&f, frame, sizeof(frame), &k), VERDICT_DROP);
    put(frame + ETH + 14, EGRESS_GUEST_ADDR, 4);
    frame[ETH + 7] = 3;
    assert_int_equal(filter_frame(&f, frame, sizeof(frame), &k), VERDICT_DROP);
}

static uint32_t sum(const uint8_t *p, size_t len) {
    uint32_t s = 0;
    for (size_t i = 0; i < len; i += 2)
        s += (uint32_t)(p[i] << 8 | p[i + 1]);
    while (s >> 16)
        s = (s & 0xffff) + (s >> 16);
    return s;
}

static void test_reject(void **state UNUSED) {
    uint8_t frame[FULL_LEN], out[EGRESS_REJECT_LEN];
    make_frame(frame, "10.1.1.1", TCP, 80);
    memset(frame + 6, 0xab, 6);
    filter_reject(frame, FULL_LEN, out);
    assert_memory_equal(out, frame + 6, 6);
    assert_int_equal(sum(out + ETH, 20), 0xffff);
    assert_int_equal(sum(out + ETH + 20, EGRESS_REJECT_LEN - ETH - 20), 0xffff);
    assert_int_equal(out[ETH + 20], 3);
    assert_int_equal(out[ETH + 21], 13);
    assert_memory_equal(out + ETH + 28, frame + ETH, 28);
}

static void test_parse(void **state UNUSED) {
    static const struct {
        const char *text;
        int want;
        size_t n_or_at;
        bool loopback;
    } cases[] = {
        {NULL, 0, 0, false},
        {"", 0, 0, false},
        {"  ", 0, 0, false},
        {"10.0.0.0/8", 0, 1, false},
        {" 10.0.0.0/8 ,\t192.168.1.7 ", 0, 2, false},
        {"127.0.0.1", 0, 1, true},
        {"127.0.0.0/8", 0, 1, true},
        {"0.0.0.0/0", 0, 1, true},
        {"10.0.0.0/8,", -EINVAL, 11, false},
        {",", -EINVAL, 0, false},
        {"10.0.0.1/8", -EINVAL, 0, false},
        {"10.0.0.0/8, 10.0.0.0/33", -EINVAL, 12, false},
        {"10.0.0.0/", -EINVAL, 0, false},
        {"10.0.0.0/08", -EINVAL, 0, false},
        {"10.0.0.0/-1", -EINVAL, 0, false},
        {"10.0.0", -EINVAL, 0, false},
        {"example.org", -EINVAL, 0, false},
        {"::1", -EINVAL, 0, false},
        {"1.1.1.1 2.2.2.2", -EINVAL, 0, false},
        {"111.111.111.111/320", -EINVAL, 0, false},
        {"127.0.0.5", -EINVAL, 0, false},
        {"224.0.0.0/8", -EINVAL, 0, false},
        {"255.255.255.255", -EINVAL, 0, false},
        {"10.0.2.2", -EINVAL, 0, false},
        {"0.0.0.0", -EINVAL, 0, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct egress_allow a = {.n = 99};
        size_t at = 1000;
        assert_int_equal(egress_parse_allow(cases[i].text, &a, &at), cases[i].want);
        assert_int_equal(cases[i].want ? at : a.n, cases[i].n_or_at);
        if (!cases[i].want)
            assert_int_equal(a.host_loopback, cases[i].loopback);
        else
            assert_int_equal(a.n, 99); /* untouched */
    }
}

static void test_parse_too_many(void **state UNUSED) {
    char text[(EGRESS_ALLOW_MAX + 1) * 8 + 1] = "";
    struct egress_allow a;
    size_t at;
    for (int i = 0; i <= EGRESS_ALLOW_MAX; i++)
        strcat(text, i ? ",8.8.8.8" : "8.8.8.8");
    assert_int_equal(egress_parse_allow(text, &a, &at), -E2BIG);
    assert_int_equal(at, EGRESS_ALLOW_MAX * 8);
    text[at - 1] = '\0';
    assert_int_equal(egress_parse_allow(text, &a, &at), 0);
    assert_int_equal(a.n, EGRESS_ALLOW_MAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_edges),          cmocka_unit_test(test_allow_and_host),
        cmocka_unit_test(test_own_network),    cmocka_unit_test(test_protocols),
        cmocka_unit_test(test_malformed),      cmocka_unit_test(test_arp),
        cmocka_unit_test(test_reject),         cmocka_unit_test(test_parse),
        cmocka_unit_test(test_parse_too_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
