/* SPDX-License-Identifier: Apache-2.0 */
/* Calendar by own arithmetic: gmtime_r() takes a lock of the C library on every call, and this runs
 * on every record and log line. */
#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

#define US_PER_S    1000000
#define S_PER_DAY   86400
#define DAYS_OF_ERA 146097 /* 400 Gregorian years */

uint64_t clock_mono_ns(void) {
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

int64_t clock_real_us(void) {
    struct timespec ts;
    (void)clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * US_PER_S + ts.tv_nsec / 1000;
}

/* Days from 1 January 0000 to 1 January of YEAR (>= 0). */
static int64_t days_to_year(int64_t year) {
    int64_t y = year + 399; /* leap days of the years 0..year-1; year 0 is a leap year */
    return year * 365 + (y / 4 - y / 100 + y / 400) - (399 / 4 - 399 / 100 + 399 / 400);
}

static bool is_leap(int64_t year) {
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static int days_of_month(int64_t year, int month) {
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return month == 2 && is_leap(year) ? 29 : days[month - 1];
}

#define DAYS_TO_1970 719528 /* days_to_year(1970) */
#define REAL_US_MIN  (-(int64_t)DAYS_TO_1970 * S_PER_DAY * US_PER_S)
#define REAL_US_MAX  (((int64_t)(25 * DAYS_OF_ERA) - DAYS_TO_1970) * S_PER_DAY * US_PER_S - 1)

const char *clock_rfc3339(int64_t real_us, char out[RFC3339_MAX]) {
    if (real_us < REAL_US_MIN) /* the form has four digits for the year */
        real_us = REAL_US_MIN;
    if (real_us > REAL_US_MAX)
        real_us = REAL_US_MAX;
    int64_t us = real_us - REAL_US_MIN;
    int64_t day = us / US_PER_S / S_PER_DAY;
    int second = (int)(us / US_PER_S % S_PER_DAY), fraction = (int)(us % US_PER_S);
    int64_t year = day * 400 / DAYS_OF_ERA; /* at most one too high or low */
    while (days_to_year(year) > day)
        year--;
    while (days_to_year(year + 1) <= day)
        year++;
    int in_year = (int)(day - days_to_year(year)), month = 1;
    for (; in_year >= days_of_month(year, month); month++)
        in_year -= days_of_month(year, month);
    int n = snprintf(out, RFC3339_MAX, "%04d-%02d-%02dT%02d:%02d:%02d", (int)year, month,
                     in_year + 1, second / 3600, second / 60 % 60, second % 60);
    size_t left = RFC3339_MAX - (size_t)n;
    if (fraction % 1000)
        (void)snprintf(out + n, left, ".%06dZ", fraction);
    else if (fraction)
        (void)snprintf(out + n, left, ".%03dZ", fraction / 1000);
    else
        (void)snprintf(out + n, left, "Z");
    return out;
}

/* Takes N digits off *S: their value, or -1. */
static int take_digits(struct str *s, size_t n) {
    int v = 0;
    if (s->len < n)
        return -1;
    for (size_t i = 0; i < n; i++) {
        if (s->p[i] < '0' || s->p[i] > '9')
            return -1;
        v = v * 10 + (s->p[i] - '0');
    }
    *s = (struct str){s->p + n, s->len - n};
    return v;
}

/* Takes one of the letters of SET off *S: the letter, or 0. */
static char take_one(struct str *s, const char *set) {
    char c = s->len ? s->p[0] : '\0';
    if (!c || !strchr(set, c))
        return '\0';
    *s = (struct str){s->p + 1, s->len - 1};
    return c;
}

/* Digits after the point as microseconds; what is finer is cut off. */
static int take_fraction(struct str *s) {
    int us = 0, scale = US_PER_S / 10, digit, n = 0;
    for (; (digit = take_digits(s, 1)) >= 0; n++, scale /= 10)
        us += digit * scale;
    return n ? us : -1;
}

/* "Z" or "+hh:mm" as seconds. */
static int take_offset(struct str *s, int *ret) {
    char sign = take_one(s, "Zz+-");
    if (!sign)
        return -EINVAL;
    *ret = 0;
    if (sign == 'Z' || sign == 'z')
        return 0;
    int hours = take_digits(s, 2), minutes = take_one(s, ":") ? take_digits(s, 2) : -1;
    if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59)
        return -EINVAL;
    *ret = (hours * 3600 + minutes * 60) * (sign == '-' ? -1 : 1);
    return 0;
}

static int take_date(struct str *s, int64_t *ret_days) {
    int year = take_digits(s, 4);
    int month = take_one(s, "-") ? take_digits(s, 2) : -1;
    int day = take_one(s, "-") ? take_digits(s, 2) : -1;
    if (year < 0 || month < 1 || month > 12 || day < 1 || day > days_of_month(year, month))
        return -EINVAL;
    *ret_days = days_to_year(year) + day - 1 - DAYS_TO_1970;
    for (int m = 1; m < month; m++)
        *ret_days += days_of_month(year, m);
    return 0;
}

/* A second of 60 (a leap second) is taken as the first of the next minute. */
static int take_time(struct str *s, int64_t *ret_us) {
    int hour = take_digits(s, 2);
    int minute = take_one(s, ":") ? take_digits(s, 2) : -1;
    int second = take_one(s, ":") ? take_digits(s, 2) : -1;
    int fraction = take_one(s, ".") ? take_fraction(s) : 0;
    if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60 ||
        fraction < 0)
        return -EINVAL;
    *ret_us = (int64_t)(hour * 3600 + minute * 60 + second) * US_PER_S + fraction;
    return 0;
}

int clock_parse_rfc3339(struct str s, int64_t *ret_real_us) {
    int64_t days, us;
    int offset;
    if (take_date(&s, &days) < 0 || !take_one(&s, "Tt") || take_time(&s, &us) < 0 ||
        take_offset(&s, &offset) < 0 || s.len)
        return -EINVAL;
    *ret_real_us = (days * S_PER_DAY - offset) * US_PER_S + us;
    return 0;
}
