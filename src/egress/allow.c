/* SPDX-License-Identifier: Apache-2.0 */
#include "egress/egress.h"

#include <arpa/inet.h>
#include <errno.h>

#define ENTRY_MAX 18 /* "255.255.255.255/32" */
#define LOOPBACK  0x7f000001u

static bool overlaps(const struct egress_cidr *c, uint32_t addr, uint32_t mask) {
    uint32_t both = c->mask & mask;
    return (c->addr & both) == (addr & both);
}

static bool within(const struct egress_cidr *c, uint32_t addr, uint32_t mask) {
    return (c->mask & mask) == mask && (c->addr & mask) == addr;
}

static bool covers(const struct egress_cidr *c, uint32_t addr) {
    return overlaps(c, addr, UINT32_MAX);
}

/* An entry that could never take effect is a mistake to tell, not one to keep silent about. */
static bool never_reachable(const struct egress_cidr *c) {
    return within(c, 0, 0xff000000u) || within(c, 0xe0000000u, 0xe0000000u) ||
           within(c, EGRESS_NET, 0xffffff00u) ||
           (within(c, 0x7f000000u, 0xff000000u) && !covers(c, LOOPBACK));
}

static int parse_prefix(const char *s, uint32_t *ret_mask) {
    unsigned bits = 0;
    if (!*s || strlen(s) > 2 || (s[0] == '0' && s[1]))
        return -EINVAL;
    for (; *s; s++) {
        if (*s < '0' || *s > '9')
            return -EINVAL;
        bits = bits * 10 + (unsigned)(*s - '0');
    }
    if (bits > 32)
        return -EINVAL;
    *ret_mask = bits ? UINT32_MAX << (32 - bits) : 0;
    return 0;
}

static int parse_cidr(const char *p, size_t len, struct egress_cidr *ret) {
    char text[ENTRY_MAX + 1];
    struct in_addr in;
    if (len > ENTRY_MAX || memchr(p, '\0', len))
        return -EINVAL;
    memcpy(text, p, len);
    text[len] = '\0';
    char *slash = strchr(text, '/');
    if (slash)
        *slash = '\0';
    struct egress_cidr c = {.mask = UINT32_MAX};
    if (slash && parse_prefix(slash + 1, &c.mask) < 0)
        return -EINVAL;
    if (inet_pton(AF_INET, text, &in) != 1)
        return -EINVAL;
    c.addr = ntohl(in.s_addr);
    if ((c.addr & ~c.mask) || never_reachable(&c))
        return -EINVAL;
    *ret = c;
    return 0;
}

static int add_entry(struct egress_allow *a, const char *p, size_t len) {
    struct egress_cidr c;
    int r = parse_cidr(p, len, &c);
    if (r < 0)
        return r;
    if (a->n == EGRESS_ALLOW_MAX)
        return -E2BIG;
    a->cidrs[a->n++] = c;
    a->host_loopback |= covers(&c, LOOPBACK);
    return 0;
}

int egress_parse_allow(const char *csv, struct egress_allow *ret, size_t *ret_at) {
    struct egress_allow a = {0};
    const char *p = csv ? csv : "";
    if (!p[strspn(p, " \t")]) {
        *ret = a;
        return 0;
    }
    for (;;) {
        p += strspn(p, " \t");
        size_t whole = strcspn(p, ","), len = whole;
        while (len > 0 && (p[len - 1] == ' ' || p[len - 1] == '\t'))
            len--;
        int r = add_entry(&a, p, len);
        if (r < 0) {
            if (ret_at)
                *ret_at = (size_t)(p - csv);
            return r;
        }
        p += whole;
        if (!*p++)
            break;
    }
    *ret = a;
    return 0;
}
