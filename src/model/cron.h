/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_MODEL_CRON_H
#define KILN_MODEL_CRON_H

/* Schedules: "[second] minute hour day-of-month month day-of-week", an @word, or "@every 1h30m".
 *
 * Lists, ranges, steps and the English names of months and days in each field; '?' for '*' in the
 * two day fields (Quartz); 7 is Sunday as 0 is. Where both day fields are restricted (neither
 * begins with '*' or '?'), one of them is enough, as in crontab(5). @every counts from an anchor
 * (the trigger's last change), so that a restart shifts nothing.
 *
 * Times are microseconds since 1970, real time, and read in UTC. cron_next() is the one place that
 * turns calendar into time: a time zone would be a further parameter of it, which shifts what it is
 * given and what it finds. */

#include "base/error.h"
#include "base/str.h"

enum cron_field {
    CRON_SECOND,
    CRON_MINUTE,
    CRON_HOUR,
    CRON_DAY_OF_MONTH,
    CRON_MONTH,
    CRON_DAY_OF_WEEK,
    CRON_FIELDS
};

struct cron {
    uint64_t bits[CRON_FIELDS]; /* bit N: value N is meant; day of week 0..6 */
    bool either_day;            /* day of month or day of week */
    int64_t every_us;           /* @every; 0: the fields hold */
};

/* 0, or -1 with ERR_INVALID that names FIELD and says what would be right. A date that never comes
 * is refused. */
int cron_parse(struct str s, const char *field, struct cron *ret, struct error *err);
/* The first time after AFTER_US; 0: there is none within CRON_YEARS. */
int64_t cron_next(const struct cron *c, int64_t anchor_us, int64_t after_us);
#define CRON_YEARS 40 /* 29 February comes within 8, on a given day of the week within 40 */

#endif
