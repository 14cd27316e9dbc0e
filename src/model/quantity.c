/* SPDX-License-Identifier: Apache-2.0 */
/* Amounts of memory and of processor as Kubernetes spells them (resource.Quantity, without
 * exponents): digits, an optional fraction, a suffix. */

#include "model/model.h"

struct suffix {
    const char *text;
    uint64_t factor;
};

static const struct suffix MEMORY_SUFFIXES[] = {
    {"", 1},
    {"Ki", KIB},
    {"Mi", MIB},
    {"Gi", GIB},
    {"k", 1000},
    {"M", 1000 * 1000},
    {"G", 1000 * 1000 * 1000},
};

#define WHOLE_MAX    1000000000000ull /* far above every limit, far below overflow */
#define FRACTION_MAX 9                /* digits */

/* Reads "<digits>[.<digits>]" off the front of *S: whole part and fraction in 1e-9. */
static bool take_decimal(struct str *s, uint64_t *ret_whole, uint64_t *ret_nano) {
    size_t i = 0, start;
    uint64_t whole = 0, nano = 0, unit = 100000000;
    for (; i < s->len && s->p[i] >= '0' && s->p[i] <= '9'; i++) {
        whole = whole * 10 + (uint64_t)(s->p[i] - '0');
        if (whole > WHOLE_MAX)
            return false;
    }
    if (i == 0)
        return false;
    if (i < s->len && s->p[i] == '.') {
        for (start = ++i; i < s->len && s->p[i] >= '0' && s->p[i] <= '9'; i++, unit /= 10)
            nano += (uint64_t)(s->p[i] - '0') * unit;
        if (i == start || i - start > FRACTION_MAX)
            return false;
    }
    *s = str_n(s->p + i, s->len - i);
    *ret_whole = whole;
    *ret_nano = nano;
    return true;
}

/* WHOLE and NANO times FACTOR, rounded up; UINT64_MAX when out of all reason. */
static uint64_t scale(uint64_t whole, uint64_t nano, uint64_t factor) {
    if (whole > UINT64_MAX / 4 / factor)
        return UINT64_MAX;
    return whole * factor + (nano * factor + 999999999) / 1000000000;
}

static int memory_error(const char *field, struct error *err) {
    return error_field(err, ERR_INVALID, field,
                       "%s must be an amount of memory from 32Mi to 16Gi, such as \"256Mi\", "
                       "\"1Gi\", \"128M\" or a number of bytes",
                       field);
}

int parse_memory(struct str s, const char *field, uint64_t *ret_bytes, struct error *err) {
    uint64_t whole, nano;
    if (!take_decimal(&s, &whole, &nano))
        return memory_error(field, err);
    for (size_t i = 0; i < ARRAY_LEN(MEMORY_SUFFIXES); i++) {
        if (!str_is(s, MEMORY_SUFFIXES[i].text))
            continue;
        uint64_t bytes = scale(whole, nano, MEMORY_SUFFIXES[i].factor);
        if (bytes < MEMORY_MIN || bytes > MEMORY_MAX)
            break;
        *ret_bytes = bytes;
        return 0;
    }
    return memory_error(field, err);
}

int parse_cpu(struct str s, const char *field, uint32_t *ret_milli, struct error *err) {
    uint64_t whole, nano;
    bool ok = take_decimal(&s, &whole, &nano);
    uint64_t milli = 0;
    if (ok && s.len == 0)
        milli = scale(whole, nano, 1000);
    else if (ok && str_is(s, "m"))
        milli = scale(whole, nano, 1);
    if (milli < 10 || milli > CPU_MILLI_MAX)
        return error_field(err, ERR_INVALID, field,
                           "%s must be an amount of processor from 10m to %u cores, such as "
                           "\"100m\", \"0.5\" or \"2\"",
                           field, CPU_MILLI_MAX / 1000);
    *ret_milli = (uint32_t)milli;
    return 0;
}
