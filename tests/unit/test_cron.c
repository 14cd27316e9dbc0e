/* SPDX-License-Identifier: Apache-2.0 */
/* cron: when schedules come, against known dates and against a walker that looks at every minute.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include "base/clock.h"
#include "model/cron.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define SECOND ((int64_t)1000000)

static struct cron parsed(const char *text) {
    struct cron c;
    struct error err;
    if (cron_parse(str_of(text), "cron", &c, &err) < 0)
        fail_msg("\"%s\": %s", text, err.text);
    return c;
}

static int64_t at(const char *text) {
    int64_t us;
    assert_int_equal(clock_parse_rfc3339(str_of(text), &us), 0);
    return us;
}

static void known(void **state) {
    (void)state;
    static const struct {
        const char *cron, *after, *next;
    } CASES[] = {
        {"* * * * *", "2026-11-20T10:00:00Z", "2026-11-20T10:01:00Z"},
        {"* * * * *", "2026-11-20T10:00:59.999999Z", "2026-11-20T10:01:00Z"},
        {"*/5 * * * *", "2026-11-20T10:04:59Z", "2026-11-20T10:05:00Z"},
        {"*/5 * * * *", "2026-11-20T10:05:00Z", "2026-11-20T10:10:00Z"},
        {"0 */5 * * *", "2026-11-20T21:00:00Z", "2026-11-21T00:00:00Z"},
        {"* * * * * *", "2026-11-20T23:59:59Z", "2026-11-21T00:00:00Z"},
        {"30 * * * * *", "2026-11-20T10:00:30Z", "2026-11-20T10:01:30Z"},
        {"0 0 29 2 *", "2026-11-20T00:00:00Z", "2028-02-29T00:00:00Z"},
        {"0 0 29 2 *", "2096-03-01T00:00:00Z", "2104-02-29T00:00:00Z"},
        {"0 0 31 * *", "2026-11-20T00:00:00Z", "2026-12-31T00:00:00Z"},
        {"0 9-17 * * MON-FRI", "2026-11-20T17:00:00Z", "2026-11-23T09:00:00Z"},
        {"0 0 * * 7", "2026-11-20T00:00:00Z", "2026-11-22T00:00:00Z"},
        {"0 0 * * 5-7", "2026-11-22T00:00:00Z", "2026-11-27T00:00:00Z"},
        {"0 0 13 * FRI", "2026-11-20T00:00:00Z", "2026-11-27T00:00:00Z"}, /* either day */
        {"0 0 13 * FRI", "2026-12-11T00:00:00Z", "2026-12-13T00:00:00Z"},
        {"0 0 */10 * MON", "2026-11-20T00:00:00Z", "2026-12-21T00:00:00Z"}, /* both days */
        {"0 0 30 2 MON", "2026-11-20T00:00:00Z", "2027-02-01T00:00:00Z"},
        {"@hourly", "2026-11-20T10:00:00Z", "2026-11-20T11:00:00Z"},
        {"@daily", "2026-12-31T10:00:00Z", "2027-01-01T00:00:00Z"},
        {"@midnight", "2026-12-31T10:00:00Z", "2027-01-01T00:00:00Z"},
        {"@weekly", "2026-11-20T10:00:00Z", "2026-11-22T00:00:00Z"},
        {"@monthly", "2026-11-20T10:00:00Z", "2026-12-01T00:00:00Z"},
        {"@yearly", "2026-11-20T10:00:00Z", "2027-01-01T00:00:00Z"},
        {"@annually", "2026-11-20T10:00:00Z", "2027-01-01T00:00:00Z"},
    };
    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        struct cron c = parsed(CASES[i].cron);
        char got[RFC3339_MAX];
        int64_t next = cron_next(&c, 0, at(CASES[i].after));
        if (next != at(CASES[i].next))
            fail_msg("%s after %s: %s, not %s", CASES[i].cron, CASES[i].after,
                     clock_rfc3339(next, got), CASES[i].next);
    }
}

static void every(void **state) {
    (void)state;
    struct cron c = parsed("@every 1m30s");
    assert_int_equal(c.every_us, 90 * SECOND);
    assert_int_equal(cron_next(&c, 1000, 1000), 1000 + 90 * SECOND);
    assert_int_equal(cron_next(&c, 1000, 999 + 90 * SECOND), 1000 + 90 * SECOND);
    assert_int_equal(cron_next(&c, 1000, 1000 + 90 * SECOND), 1000 + 180 * SECOND);
    assert_int_equal(cron_next(&c, 1000, 5), 1000 + 90 * SECOND); /* the clock went back */
    assert_int_equal(cron_next(&c, 1000, 1000 + 1000000000 * SECOND) % (90 * SECOND), 1000);
    assert_int_equal(parsed("@every 1500ms").every_us, 1500000);
    assert_int_equal(parsed("@every 8784h").every_us, 8784 * 3600 * SECOND);
}

/* ---- at random ---- */
struct made {
    char text[256];
    bool set[CRON_FIELDS][64];
    bool open[CRON_FIELDS];
};
static const int LOW[] = {0, 0, 0, 1, 1, 0}, HIGH[] = {59, 59, 23, 31, 12, 7};
static const char *const MONTHS[] = {"",    "jan", "FEB", "Mar", "apr", "May", "JUN",
                                     "jul", "AUG", "sep", "OCT", "nov", "Dec"};
static const char *const DAYS[] = {"sun", "MON", "tue", "WED", "thu", "FRI", "sat"};

static int below(int n) {
    return rand() % n;
}

static void put_number(char *out, int f, int v) {
    if (f == CRON_MONTH && below(2))
        sprintf(out, "%s", MONTHS[v]);
    else if (f == CRON_DAY_OF_WEEK && v < 7 && below(2))
        sprintf(out, "%s", DAYS[v]);
    else
        sprintf(out, "%d", v);
}

/* One entry of a list: its text, and what it means. */
static void make_entry(struct made *m, int f, char *out) {
    int low = LOW[f] + below(HIGH[f] - LOW[f] + 1), high = low, step = 1;
    char a[16], b[16];
    put_number(a, f, low);
    switch (below(4)) {
    case 0:
        strcpy(out, a);
        break;
    case 1:
        high = low + below(HIGH[f] - low + 1);
        put_number(b, f, high);
        sprintf(out, "%s-%s", a, b);
        break;
    case 2:
        high = low + below(HIGH[f] - low + 1);
        step = 1 + below(HIGH[f] < 9 ? HIGH[f] : 9);
        put_number(b, f, high);
        sprintf(out, "%s-%s/%d", a, b, step);
        break;
    default:
        high = HIGH[f];
        step = 1 + below(HIGH[f] < 9 ? HIGH[f] : 9);
        sprintf(out, "%s/%d", a, step);
        break;
    }
    for (int v = low; v <= high; v += step)
        m->set[f][v] = true;
}

static void make_field(struct made *m, int f) {
    char entry[64];
    m->open[f] = below(f == CRON_DAY_OF_MONTH || f == CRON_DAY_OF_WEEK ? 3 : 4) == 0;
    if (m->open[f]) {
        int step = below(2) ? 1 : 1 + below(5);
        for (int v = LOW[f]; v <= HIGH[f]; v += step)
            m->set[f][v] = true;
        sprintf(entry, step > 1 ? "*/%d" : "*", step);
        strcat(m->text, entry);
    }
    for (int n = m->open[f] ? 0 : 1 + below(3), i = 0; i < n; i++) {
        make_entry(m, f, entry);
        if (i)
            strcat(m->text, ",");
        strcat(m->text, entry);
    }
    strcat(m->text, " ");
}

static void make(struct made *m, bool seconds) {
    memset(m, 0, sizeof(*m));
    m->set[CRON_SECOND][0] = !seconds;
    for (int f = seconds ? CRON_SECOND : CRON_MINUTE; f < CRON_FIELDS; f++)
        make_field(m, f);
    if (m->set[CRON_DAY_OF_WEEK][7])
        m->set[CRON_DAY_OF_WEEK][0] = true;
}

static bool is_then(const struct made *m, int64_t s) {
    time_t t = (time_t)s;
    struct tm tm;
    gmtime_r(&t, &tm);
    bool month = m->set[CRON_DAY_OF_MONTH][tm.tm_mday], week = m->set[CRON_DAY_OF_WEEK][tm.tm_wday];
    bool open = m->open[CRON_DAY_OF_MONTH] || m->open[CRON_DAY_OF_WEEK];
    return m->set[CRON_SECOND][tm.tm_sec] && m->set[CRON_MINUTE][tm.tm_min] &&
           m->set[CRON_HOUR][tm.tm_hour] && m->set[CRON_MONTH][tm.tm_mon + 1] &&
           (open ? month && week : month || week);
}

#define WALK_MAX 60000 /* steps: 41 days of minutes, 16 hours of seconds */

static void walk(const struct made *m, int64_t from, int64_t step) {
    struct cron c;
    struct error err;
    if (cron_parse(str_of(m->text), "cron", &c, &err) < 0) { /* "0 0 31 2 *": a date of no month */
        assert_non_null(strstr(err.text, "none of the months"));
        for (int64_t s = 0; s < 366 * 24 * 3600; s += 3600)
            for (int k = 0; k < 60; k++)
                if (is_then(m, s + k * 60))
                    fail_msg("%s is refused and would come", m->text);
        return;
    }
    int64_t next = cron_next(&c, 0, from * SECOND + below(1000000)) / SECOND;
    int64_t s = from - from % step + step;
    for (int i = 0; i < WALK_MAX && s < next && !is_then(m, s); i++)
        s += step;
    if (!is_then(m, next) || (s < next && is_then(m, s)) || s > next)
        fail_msg("%s after %lld: %lld, but the walker says %lld", m->text, (long long)from,
                 (long long)next, (long long)s);
}

static void against_a_walker(void **state) {
    (void)state;
    struct made m;
    srand(20261120);
    for (int i = 0; i < 1500; i++) {
        bool seconds = i % 3 == 0;
        int64_t from = 1700000000 + (int64_t)below(1000) * 1000000 + below(1000000);
        make(&m, seconds);
        walk(&m, from, seconds ? 1 : 60);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known),
        cmocka_unit_test(every),
        cmocka_unit_test(against_a_walker),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
