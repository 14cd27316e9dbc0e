/* SPDX-License-Identifier: Apache-2.0 */
#include "model/cron.h"
#include "model/model.h"
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

struct field {
    const char *name;
    unsigned int low, high;
    const char *const *words; /* for LOW, LOW + 1, …; or NULL */
    bool question;            /* '?' reads as '*' (Quartz) */
};

static const char *const MONTHS[] = {"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL",
                                     "AUG", "SEP", "OCT", "NOV", "DEC", NULL};
static const char *const DAYS[] = {"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", NULL};

static const struct field FIELDS[CRON_FIELDS] = {
    [CRON_SECOND] = {"second", 0, 59, NULL, false},
    [CRON_MINUTE] = {"minute", 0, 59, NULL, false},
    [CRON_HOUR] = {"hour", 0, 23, NULL, false},
    [CRON_DAY_OF_MONTH] = {"day of month", 1, 31, NULL, true},
    [CRON_MONTH] = {"month", 1, 12, MONTHS, false},
    [CRON_DAY_OF_WEEK] = {"day of week", 0, 7, DAYS, true}, /* 7 is Sunday again */
};

static const struct {
    const char *word, *fields;
} WORDS[] = {
    {"@hourly", "0 * * * *"},   {"@daily", "0 0 * * *"},   {"@midnight", "0 0 * * *"},
    {"@weekly", "0 0 * * 0"},   {"@monthly", "0 0 1 * *"}, {"@yearly", "0 0 1 1 *"},
    {"@annually", "0 0 1 1 *"},
};

#define EVERY_MIN_NS NS_PER_S
#define EVERY_MAX_S  (366 * 24 * 3600ull)
#define CRON_MAX_LEN 256

struct parse {
    const char *field; /* of the request */
    const struct field *at;
    struct error *err;
};

PRINTF_LIKE(2, 3) static int refuse(const struct parse *c, const char *fmt, ...) {
    char why[160];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(why, sizeof(why), fmt, ap);
    va_end(ap);
    return error_field(c->err, ERR_INVALID, c->field, "%s: the %s field %s", c->field, c->at->name,
                       why);
}

static int parse_value(const struct parse *c, struct str s, unsigned int *ret) {
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
static int parse_part(const struct parse *c, struct str part, uint64_t *bits) {
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

static int parse_field(const struct parse *c, struct str s, uint64_t *ret_bits) {
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

static bool is_open(struct str text) {
    return text.p[0] == '*' || text.p[0] == '?';
}

static int parse_fields(struct str s, const char *field, struct cron *ret, struct error *err) {
    struct str text[CRON_FIELDS];
    struct cron cron = {.bits = {1}};
    size_t n = split_fields(s, text, CRON_FIELDS);
    if (n < CRON_FIELDS - 1 || n > CRON_FIELDS)
        return error_field(err, ERR_INVALID, field,
                           "%s must have five fields (minute, hour, day of month, month, day of "
                           "week) or six (second first), or be a word such as @hourly",
                           field);
    size_t first = CRON_FIELDS - n;
    for (size_t i = 0; i < n; i++) {
        struct parse c = {field, &FIELDS[first + i], err};
        if (parse_field(&c, text[i], &cron.bits[first + i]) < 0)
            return -1;
    }
    cron.either_day = !is_open(text[n - 1]) && !is_open(text[n - 3]);
    uint64_t *week = &cron.bits[CRON_DAY_OF_WEEK];
    *week = (*week | *week >> 7) & 0x7f;
    struct parse c = {field, &FIELDS[CRON_DAY_OF_MONTH], err};
    if (!cron.either_day && !date_exists(cron.bits[CRON_DAY_OF_MONTH], cron.bits[CRON_MONTH]))
        return refuse(&c, "names a day that none of the months has");
    *ret = cron;
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

static int parse_every(struct str s, const char *field, struct cron *ret, struct error *err) {
    double total = 0, part = 0;
    bool ok = s.len > 0;
    while (ok && s.len) {
        ok = take_duration_part(&s, &part);
        total += part;
    }
    if (ok && total >= (double)EVERY_MIN_NS && total <= (double)(EVERY_MAX_S * NS_PER_S)) {
        *ret = (struct cron){.every_us = (int64_t)(total / NS_PER_US + 0.5)};
        return 0;
    }
    return error_field(err, ERR_INVALID, field,
                       "%s: @every wants a duration from 1s to 8784h such as \"1h30m\" or \"90s\"",
                       field);
}

int cron_parse(struct str s, const char *field, struct cron *ret, struct error *err) {
    s = str_trim(s);
    if (s.len == 0)
        return error_field(err, ERR_INVALID, field,
                           "%s is missing: say when, such as \"*/5 * * * *\"", field);
    if (s.len > CRON_MAX_LEN)
        return error_field(err, ERR_INVALID, field, "%s must be at most %d bytes", field,
                           CRON_MAX_LEN);
    if (str_starts(s, STR("@every")) && (s.len == 6 || s.p[6] == ' ' || s.p[6] == '\t'))
        return parse_every(str_trim(str_n(s.p + 6, s.len - 6)), field, ret, err);
    if (s.p[0] != '@')
        return parse_fields(s, field, ret, err);
    for (size_t i = 0; i < ARRAY_LEN(WORDS); i++) {
        if (str_is(s, WORDS[i].word))
            return parse_fields(str_of(WORDS[i].fields), field, ret, err);
    }
    return error_field(err, ERR_INVALID, field,
                       "%s: the @ words are @hourly, @daily, @midnight, @weekly, @monthly, "
                       "@yearly, @annually and @every with a duration",
                       field);
}

int check_cron(struct str s, const char *field, struct error *err) {
    struct cron cron;
    return cron_parse(s, field, &cron, err);
}

/* ---- when ---- */
#define DAY_S     (24 * 3600)
#define SECOND_US ((int64_t)1000000)

static bool has(const struct cron *c, enum cron_field field, int value) {
    return c->bits[field] >> value & 1;
}

static bool is_day(const struct cron *c, const struct tm *day) {
    bool of_month = has(c, CRON_DAY_OF_MONTH, day->tm_mday);
    bool of_week = has(c, CRON_DAY_OF_WEEK, day->tm_wday);
    return has(c, CRON_MONTH, day->tm_mon + 1) &&
           (c->either_day ? of_month || of_week : of_month && of_week);
}

/* The lowest value of a set that is at least FROM, or -1. */
static int at_least(uint64_t bits, int from) {
    uint64_t left = from < 64 ? bits >> from << from : 0;
    return left ? __builtin_ctzll(left) : -1;
}

/* The first second of a day, at or after FROM (of that day), that the fields name; -1: none. */
static int64_t in_day(const struct cron *c, int64_t from) {
    int hour = (int)(from / 3600), minute = (int)(from / 60 % 60), second = (int)(from % 60);
    int s = at_least(c->bits[CRON_SECOND], second);
    if (has(c, CRON_HOUR, hour) && has(c, CRON_MINUTE, minute) && s >= 0)
        return hour * 3600 + minute * 60 + s;
    s = at_least(c->bits[CRON_SECOND], 0);
    int m = at_least(c->bits[CRON_MINUTE], minute + 1);
    if (has(c, CRON_HOUR, hour) && m >= 0)
        return hour * 3600 + m * 60 + s;
    int h = at_least(c->bits[CRON_HOUR], hour + 1);
    return h < 0 ? -1 : h * 3600 + at_least(c->bits[CRON_MINUTE], 0) * 60 + s;
}

static int64_t next_of_fields(const struct cron *c, int64_t after_s) {
    time_t at = (time_t)(after_s + 1), limit = at + (time_t)CRON_YEARS * 366 * DAY_S;
    while (at < limit) {
        struct tm day;
        if (!gmtime_r(&at, &day))
            return 0;
        int64_t of_day = at % DAY_S;
        int64_t found = is_day(c, &day) ? in_day(c, of_day) : -1;
        if (found >= 0)
            return at - of_day + found;
        at += DAY_S - of_day; /* the next day begins */
    }
    return 0;
}

int64_t cron_next(const struct cron *c, int64_t anchor_us, int64_t after_us) {
    if (after_us < 0) /* before 1970: a clock that was never set */
        after_us = 0;
    if (!c->every_us)
        return next_of_fields(c, after_us / SECOND_US) * SECOND_US;
    int64_t since = after_us - anchor_us;
    return anchor_us + (since < 0 ? c->every_us : (since / c->every_us + 1) * c->every_us);
}
