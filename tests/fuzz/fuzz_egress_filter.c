/* SPDX-License-Identifier: Apache-2.0 */
/* A frame that passes must, read by simpler means, be ARP or be an unfragmented IPv4 packet from
 * the guest to the resolver or to an address that is allowed. */

#include "egress/filter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(cond)                                                                              \
    do {                                                                                           \
        if (!(cond))                                                                               \
            abort();                                                                               \
    } while (0)

static uint32_t get32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct filter f;
    static const struct egress_allow none;
    struct packet k;
    uint8_t reply[EGRESS_REJECT_LEN];
    filter_init(&f, &none);
    enum verdict v = filter_frame(&f, data, size, &k);
    if (v == VERDICT_REJECT)
        filter_reject(data, size, reply);
    if (v != VERDICT_PASS || k.arp)
        return 0;
    REQUIRE(size >= EGRESS_ETH_LEN + 28 && size <= EGRESS_FRAME_MAX);
    const uint8_t *ip = data + EGRESS_ETH_LEN;
    uint32_t dst = get32(ip + 16);
    REQUIRE(ip[0] == 0x45 && (ip[6] & 0x3f) == 0 && ip[7] == 0);
    REQUIRE(get32(ip + 12) == EGRESS_GUEST_ADDR);
    REQUIRE(dst == EGRESS_DNS_ADDR ? ip[22] == 0 && ip[23] == 53 : filter_allows(&f, dst));
    REQUIRE(dst == EGRESS_DNS_ADDR || (dst >> 24 != 10 && dst >> 24 != 127 && dst >> 28 < 14));
    return 0;
}
