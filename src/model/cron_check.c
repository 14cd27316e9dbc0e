/* SPDX-License-Identifier: Apache-2.0 */
/* Schedules: "[second] minute hour day-of-month month day-of-week", or an @word.
 * Each field becomes a set of bits, so that a date that never comes can be refused. */

#include "model/model.h"
#include <stdarg.h>
#include <stdio.h>

struct cron_field {
    const char *name;
    unsigned int low, high;
    const char *const *words; /* for LOW, LOW + 1, …; or NULL */
    bool question;            /* '?' reads as '*' (Quartz) */
};

static const char *const MONTHS[] = {"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL",
                                     "AUG", "SEP", "OCT", "NOV", "DEC", NULL};
static const char *const DAYS[] = {"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", NULL};

enum { SECOND, MINUTE, HOUR, DAY_OF_MONTH, MONTH, DAY_OF_WEEK, FIELD_COUNT };
static const struct cron_field FIELDS[FIELD_COUNT] = {
    [SECOND] = {"second", 0, 59, NULL, false},
    [MINUTE] = {"minute", 0, 59, NULL, false},
    [HOUR] = {"hour", 0, 23, NULL, false},
    [DAY_OF_MONTH] = {"day of month", 1, 31, NULL, true},
    [MONTH] = {"month", 1, 12, MONTHS, false},
    [DAY_OF_WEEK] = {"day of week", 0, 7, DAYS, true}, /* 7 is Sunday again */
};

static const char *const WORDS[] = {"@hourly",  "@daily",  "@midnight", "@weekly",
                                    "@monthly", "@yearly", "@annually"};

#define EVERY_MIN_NS NS_PER_S
#define EVERY_MAX_S  (366 * 24 * 3600ull)
#define CRON_MAX_LEN 256

struct cron_parse {
    const char *field; /* of the request */
    const struct cron_field *at;
    struct error *err;
};

PRINTF_LIKE(2, 3) static int refuse(const struct cron_parse *c, const char *fmt, ...) {
    char why[160];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(why, sizeof(why), fmt, ap);
    va_end(ap);
    return error_field(c->err, ERR_INVALID, c->field, "%s: the %s field %s", c->field, c->at->name,
                       why);
}

static int parse_value(const struct cron_parse *c, struct str s, unsigned int *ret) {
    uint64_t v;
    int rc = str_u64(s, UINT32_MAX, &v);
    for (unsigned int i = 0; rc < 0 && c->at->words && c->at->words[i]; i++) {
        if (str_ieq(s, str_of(c->at->words[i]))) {
            v = c->at->low + i;
            rc = 0;
        }
    }
    if (rc < 0 || v < c->at->low || v > c->at->high)
        return refuse(c, "must hold numbers from %u to %u%s%s%s%s", c->at->low, c->at->high,
                      c->at->words ? " or names such as " : "", c->at->words ? c->at->words[0] : "",
                      c->at->words ? " and " : "", c->at->words ? c->at->words[1] : "");
    *ret = (unsigned int)v;
    return 0;
}

/* One part of a list: "*", "5", "1-5", with "/step" behind. */
static int parse_part(const struct cron_parse *c, struct str part, uint64_t *bits) {
    struct str range = str_cut(&part, '/');
    bool stepped = part.p != NULL;
    uint64_t step = 1;
    if (stepped && (str_u64(part, 10000, &step) < 0 || step == 0))
        return refuse(c, "has a step that is not a number from 1");
    if (stepped && step > c->at->high)
        return refuse(c, "has a step beyond its highest value %u", c->at->high);

    unsigned int low = c->at->low, high = c->at->high;
    bool any = str_is(range, "*") || (c->at->question && str_is(range, "?"));
    if (str_is(range, "?") && !any)
        return refuse(c, "cannot be '?': only the days can");
    if (!any) {
        struct str rest = range;
        struct str first = str_cut(&rest, '-');
        if (parse_value(c, first, &low) < 0)
            return -1;
        if (rest.p && parse_value(c, rest, &high) < 0)
            return -1;
        if (!rest.p && !stepped)
            high = low;
        if (low > high)
            return refuse(c, "has a range that ends before it begins");
    }
    for (uint64_t v = low; v <= high; v += step)
        *bits |= 1ull << v;
    return 0;
}

static int parse_field(const struct cron_parse *c, struct str s, uint64_t *ret_bits) {
    uint64_t bits = 0;
    for (struct str rest = s; rest.p;) {
        struct str part = str_cut(&rest, ',');
        if (part.len == 0)
            return refuse(c, "has an empty entry");
        if (parse_part(c, part, &bits) < 0)
            return -1;
    }
    *ret_bits = bits;
    return 0;
}

/* Is there a month in which one of the days exists? */
static bool date_exists(uint64_t days, uint64_t months) {
    static const unsigned int LENGTH[] = {0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    for (unsigned int m = 1; m <= 12; m++) {
        uint64_t there = (2ull << LENGTH[m]) - 2; /* bits 1 .. LENGTH */
        if ((months >> m & 1) && (days & there))
            return true;
    }
    return false;
}

/* Splits at blanks; returns how many fields there are, at most MAX + 1. */
static size_t split_fields(struct str s, struct str *out, size_t max) {
    size_t n = 0, i = 0;
    while (i < s.len) {
        size_t start = i;
        while (i < s.len && s.p[i] != ' ' && s.p[i] != '\t')
            i++;
        if (i > start) {
            if (n == max)
                return max + 1;
            out[n++] = str_n(s.p + start, i - start);
        }
        while (i < s.len && (s.p[i] == ' ' || s.p[i] == '\t'))
            i++;
    }
    return n;
}

static int check_fields(struct str s, const char *field, struct error *err) {
    struct str text[FIELD_COUNT];
    uint64_t bits[FIELD_COUNT] = {1};
    size_t n = split_fields(s, text, FIELD_COUNT);
    if (n < FIELD_COUNT - 1 || n > FIELD_COUNT)
        return error_field(err, ERR_INVALID, field,
                           "%s must have five fields (minute, hour, day of month, month, day of "
                           "week) or six (second first), or be a word such as @hourly",
                           field);
    size_t first = FIELD_COUNT - n;
    for (size_t i = 0; i < n; i++) {
        struct cron_parse c = {field, &FIELDS[first + i], err};
        if (parse_field(&c, text[i], &bits[first + i]) < 0)
            return -1;
    }
    /* A restricted day of week runs on its own: cron takes either day. */
    struct str dow = text[n - 1];
    bool any_dow = dow.p[0] == '*' || dow.p[0] == '?';
    struct cron_parse c = {field, &FIELDS[DAY_OF_MONTH], err};
    if (any_dow && !date_exists(bits[DAY_OF_MONTH], bits[MONTH]))
        return refuse(&c, "names a day that none of the months has");
    return 0;
}

/* ---- @every: a duration as Go writes it ---- */
struct unit {
    const char *text;
    double ns;
};
static const struct unit UNITS[] = {
    {"ns", 1},   {"us", 1e3}, {"µs", 1e3}, /* U+00B5 */
    {"μs", 1e3},                           /* U+03BC */
    {"ms", 1e6}, {"s", 1e9},  {"m", 60e9}, {"h", 3600e9},
};

static bool is_number_byte(char c) {
    return (c >= '0' && c <= '9') || c == '.';
}

/* Reads "<number><unit>" off the front of *S; false when there is none. */
static bool take_duration_part(struct str *s, double *ret_ns) {
    double value = 0, scale = 0;
    size_t i = 0, digits = 0, unit;
    for (; i < s->len && is_number_byte(s->p[i]); i++) {
        if (s->p[i] == '.') {
            if (scale != 0)
                return false;
            scale = 1;
            continue;
        }
        value = value * 10 + (s->p[i] - '0');
        scale *= 10;
        digits++;
    }
    for (unit = i; i < s->len && !is_number_byte(s->p[i]); i++)
        ;
    for (size_t k = 0; digits && k < ARRAY_LEN(UNITS); k++) {
        if (!str_is(str_n(s->p + unit, i - unit), UNITS[k].text))
            continue;
        *ret_ns = (scale != 0 ? value / scale : value) * UNITS[k].ns;
        *s = str_n(s->p + i, s->len - i);
        return true;
    }
    return false;
}

static int check_every(struct str s, const char *field, struct error *err) {
    double total = 0, part = 0;
    bool ok = s.len > 0;
    while (ok && s.len) {
        ok = take_duration_part(&s, &part);
        total += part;
    }
    if (ok && total >= (double)EVERY_MIN_NS && total <= (double)(EVERY_MAX_S * NS_PER_S))
        return 0;
    return error_field(err, ERR_INVALID, field,
                       "%s: @every wants a duration from 1s to 8784h such as \"1h30m\" or \"90s\"",
                       field);
}

int check_cron(struct str s, const char *field, struct error *err) {
    s = str_trim(s);
    if (s.len == 0)
        return error_field(err, ERR_INVALID, field,
                           "%s is missing: say when, such as \"*/5 * * * *\"", field);
    if (s.len > CRON_MAX_LEN)
        return error_field(err, ERR_INVALID, field, "%s must be at most %d bytes", field,
                           CRON_MAX_LEN);
    if (str_starts(s, STR("@every")) && (s.len == 6 || s.p[6] == ' ' || s.p[6] == '\t'))
        return check_every(str_trim(str_n(s.p + 6, s.len - 6)), field, err);
    if (s.p[0] != '@')
        return check_fields(s, field, err);
    for (size_t i = 0; i < ARRAY_LEN(WORDS); i++) {
        if (str_is(s, WORDS[i]))
            return 0;
    }
    return error_field(err, ERR_INVALID, field,
                       "%s: the @ words are @hourly, @daily, @midnight, @weekly, @monthly, "
                       "@yearly, @annually and @every with a duration",
                       field);
}
