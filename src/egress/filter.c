/* SPDX-License-Identifier: Apache-2.0 */
#include "egress/filter.h"

#include <errno.h>
#include <netinet/in.h>

#define ETHERTYPE_IPV4 0x0800
#define ETHERTYPE_ARP  0x0806
#define ARP_LEN        28
#define IP_LEN         20
#define UDP_LEN        8
#define TCP_LEN        20
#define ICMP_LEN       8
#define ICMP_ECHO_REQ  8
#define PORT_DNS       53
#define PORT_BOOTPS    67
#define PORT_TFTP      69
#define TCP_SYN_FLAG   0x02

static uint16_t get16(const uint8_t *p) {
    return (uint16_t)(p[0] << 8 | p[1]);
}
static uint32_t get32(const uint8_t *p) {
    return (uint32_t)get16(p) << 16 | get16(p + 2);
}
static void put16(uint8_t *p, uint32_t v) {
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}
static void put32(uint8_t *p, uint32_t v) {
    put16(p, v >> 16);
    put16(p + 2, v);
}

#define CIDR(a, b, c, d, bits)                                                                     \
    { (uint32_t)(a) << 24 | (b) << 16 | (c) << 8 | (d), UINT32_MAX << (32 - (bits)) }

/* Never, whatever the allow list says: they mean this host or many hosts, or are our own network,
 * in which the stack takes every address but two for the host's. */
static const struct egress_cidr never[] = {
    CIDR(0, 0, 0, 0, 8),   CIDR(127, 0, 0, 0, 8),     CIDR(224, 0, 0, 0, 4),
    CIDR(240, 0, 0, 0, 4), {EGRESS_NET, 0xffffff00u},
};

/* Not globally reachable: IANA IPv4 Special-Purpose Address Registry (RFC 6890). */
static const struct egress_cidr special[] = {
    CIDR(10, 0, 0, 0, 8),      /* private, RFC 1918 */
    CIDR(100, 64, 0, 0, 10),   /* carrier-grade NAT, RFC 6598 */
    CIDR(169, 254, 0, 0, 16),  /* link-local, cloud metadata */
    CIDR(172, 16, 0, 0, 12),   /* private */
    CIDR(192, 0, 0, 0, 24),    /* IETF protocol assignments */
    CIDR(192, 0, 2, 0, 24),    /* documentation */
    CIDR(192, 31, 196, 0, 24), /* AS112 */
    CIDR(192, 52, 193, 0, 24), /* AMT */
    CIDR(192, 88, 99, 0, 24),  /* 6to4 relay anycast */
    CIDR(192, 168, 0, 0, 16),  /* private */
    CIDR(192, 175, 48, 0, 24), /* AS112 */
    CIDR(198, 18, 0, 0, 15),   /* benchmarks */
    CIDR(198, 51, 100, 0, 24), /* documentation */
    CIDR(203, 0, 113, 0, 24),  /* documentation */
};

static bool in_list(const struct egress_cidr *list, size_t n, uint32_t addr) {
    for (size_t i = 0; i < n; i++)
        if ((addr & list[i].mask) == list[i].addr)
            return true;
    return false;
}

static int compare_addr(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

void filter_init(struct filter *f, const struct egress_allow *allow) {
    memset(f, 0, sizeof(*f));
    f->allow = *allow;
}

int filter_set_host(struct filter *f, const uint32_t *addrs, size_t n) {
    if (n > EGRESS_HOST_MAX)
        return -E2BIG;
    if (n)
        memcpy(f->host, addrs, n * sizeof(*addrs));
    f->n_host = n;
    qsort(f->host, n, sizeof(*f->host), compare_addr);
    return 0;
}

bool filter_allows(const struct filter *f, uint32_t dst) {
    if (in_list(never, ARRAY_LEN(never), dst))
        return false;
    if (in_list(f->allow.cidrs, f->allow.n, dst))
        return true;
    if (in_list(special, ARRAY_LEN(special), dst))
        return false;
    return !bsearch(&dst, f->host, f->n_host, sizeof(dst), compare_addr);
}

/* The stack answers ARP for the gateway and the resolver; it learns from what we let through. */
static enum verdict judge_arp(const uint8_t *p, size_t len) {
    static const uint8_t head[] = {0, 1, 8, 0, 6, 4, 0};
    if (len < ARP_LEN || memcmp(p, head, sizeof(head)) != 0 || (p[7] != 1 && p[7] != 2))
        return VERDICT_DROP;
    uint32_t sender = get32(p + 14);
    return sender == EGRESS_GUEST_ADDR || sender == 0 ? VERDICT_PASS : VERDICT_DROP;
}

/* Reads the transport header at P: false when truncated or of a kind that the stack need not see.
 * *ret_known is false for protocols that are not let out. */
static bool read_transport(const uint8_t *p, size_t len, struct packet *k, uint16_t *ret_dport,
                           bool *ret_known) {
    *ret_known = true;
    switch (k->protocol) {
    case IPPROTO_TCP:
        if (len < TCP_LEN || (p[12] >> 4) * 4u < TCP_LEN || (p[12] >> 4) * 4u > len)
            return false;
        k->may_open = p[13] & TCP_SYN_FLAG;
        break;
    case IPPROTO_UDP:
        if (len < UDP_LEN || get16(p + 4) < UDP_LEN || get16(p + 4) > len)
            return false;
        k->may_open = true;
        break;
    case IPPROTO_ICMP:
        if (len < ICMP_LEN || p[0] != ICMP_ECHO_REQ || p[1] != 0)
            return false;
        k->sport = get16(p + 4);
        k->may_open = true;
        return true;
    default:
        *ret_known = false;
        return true;
    }
    k->sport = get16(p);
    *ret_dport = get16(p + 2);
    return true;
}

static bool may_reach(const struct filter *f, uint32_t dst, uint8_t protocol, uint16_t dport) {
    if (dst == EGRESS_DNS_ADDR)
        return protocol != IPPROTO_ICMP && dport == PORT_DNS;
    if (dst != EGRESS_GATEWAY_ADDR)
        return filter_allows(f, dst);
    /* Ports at which the stack itself would answer, with servers that nobody needs. */
    if (protocol == IPPROTO_UDP && dport >= PORT_BOOTPS && dport <= PORT_TFTP)
        return false;
    return f->allow.host_loopback && protocol != IPPROTO_ICMP;
}

/* Fragments and options are dropped whole: reassembly and option stripping have been where
 * user-space stacks break, and a kernel sends neither to the world unless asked for it. */
static enum verdict judge_ip(const struct filter *f, const uint8_t *p, size_t len,
                             struct packet *k) {
    if (len < IP_LEN || p[0] != 0x45)
        return VERDICT_DROP;
    size_t total = get16(p + 2);
    if (total < IP_LEN || total > len || get32(p + 12) != EGRESS_GUEST_ADDR)
        return VERDICT_DROP;
    uint32_t dst = get32(p + 16);
    if (dst >= 0xe0000000u) /* multicast, broadcast: never answered (RFC 1122 section 3.2.2) */
        return VERDICT_DROP;
    if (get16(p + 6) & 0x3fff) /* more fragments, or an offset: only the first has the ports */
        return (get16(p + 6) & 0x1fff) || total < IP_LEN + 8 ? VERDICT_DROP : VERDICT_REJECT;
    uint16_t dport = 0;
    bool known;
    k->protocol = p[9];
    if (!read_transport(p + IP_LEN, total - IP_LEN, k, &dport, &known))
        return VERDICT_DROP;
    return known && may_reach(f, dst, k->protocol, dport) ? VERDICT_PASS : VERDICT_REJECT;
}

enum verdict filter_frame(const struct filter *f, const uint8_t *frame, size_t len,
                          struct packet *ret) {
    struct packet k = {0};
    enum verdict v = VERDICT_DROP;
    if (len < EGRESS_ETH_LEN || len > EGRESS_FRAME_MAX)
        return VERDICT_DROP;
    uint16_t ethertype = get16(frame + 12);
    if (ethertype == ETHERTYPE_IPV4)
        v = judge_ip(f, frame + EGRESS_ETH_LEN, len - EGRESS_ETH_LEN, &k);
    else if (ethertype == ETHERTYPE_ARP) {
        v = judge_arp(frame + EGRESS_ETH_LEN, len - EGRESS_ETH_LEN);
        k.arp = true;
    }
    *ret = k;
    return v;
}

static uint16_t checksum(const uint8_t *p, size_t len) {
    uint32_t sum = 0;
    for (size_t i = 0; i + 1 < len; i += 2)
        sum += get16(p + i);
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

void filter_reject(const uint8_t *frame, size_t len, uint8_t out[EGRESS_REJECT_LEN]) {
    static const uint8_t gateway_mac[6] = {0x52, 0x55, 10, 0, 2, 2}; /* as the stack has it */
    uint8_t *ip = out + EGRESS_ETH_LEN, *icmp = ip + IP_LEN;
    size_t quoted = len - EGRESS_ETH_LEN;
    memset(out, 0, EGRESS_REJECT_LEN);
    memcpy(out, frame + 6, 6);
    memcpy(out + 6, gateway_mac, 6);
    put16(out + 12, ETHERTYPE_IPV4);
    ip[0] = 0x45;
    put16(ip + 2, EGRESS_REJECT_LEN - EGRESS_ETH_LEN);
    ip[8] = 64;
    ip[9] = IPPROTO_ICMP;
    put32(ip + 12, EGRESS_GATEWAY_ADDR);
    put32(ip + 16, EGRESS_GUEST_ADDR);
    put16(ip + 10, checksum(ip, IP_LEN));
    icmp[0] = 3;
    icmp[1] = 13;
    memcpy(icmp + 8, frame + EGRESS_ETH_LEN, quoted < IP_LEN + 8 ? quoted : IP_LEN + 8);
    put16(icmp + 2, checksum(icmp, 8 + IP_LEN + 8));
}
