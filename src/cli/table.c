/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "cli/cli.h"
#include <stdarg.h>
#include <stdio.h>

void table_row(struct table *t, ...) {
    t->cells = x_realloc(t->cells, (t->n_rows + 1) * t->n_columns * sizeof *t->cells);
    va_list ap;
    va_start(ap, t);
    for (size_t c = 0; c < t->n_columns; c++) {
        const char *cell = va_arg(ap, const char *);
        t->cells[t->n_rows * t->n_columns + c] = x_strdup(cell ? cell : "-");
    }
    va_end(ap);
    t->n_rows++;
}

/* Letters, not bytes: continuation bytes of UTF-8 take no room. */
static int width_of(const char *s) {
    int n = 0;
    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

static void print_cell(const char *s, int width, bool last) {
    fputs(s, stdout);
    if (!last)
        printf("%*s", width - width_of(s) + 2, "");
}

/* And frees. */
static void table_print(struct table *t) {
    int width[TABLE_COLUMNS];
    for (size_t c = 0; c < t->n_columns; c++) {
        width[c] = width_of(t->heads[c]);
        for (size_t r = 0; r < t->n_rows; r++) {
            int w = width_of(t->cells[r * t->n_columns + c]);
            width[c] = w > width[c] ? w : width[c];
        }
    }
    for (size_t c = 0; c < t->n_columns; c++)
        print_cell(t->heads[c], width[c], c + 1 == t->n_columns);
    putchar('\n');
    for (size_t r = 0; r < t->n_rows; r++) {
        for (size_t c = 0; c < t->n_columns; c++) {
            char *cell = t->cells[r * t->n_columns + c];
            print_cell(cell, width[c], c + 1 == t->n_columns);
            free(cell);
        }
        putchar('\n');
    }
    free(t->cells);
}

int table_of(const struct options *o, const struct json *list, const char *const *heads,
             size_t n_columns, const char *nothing,
             void (*row)(struct table *t, const struct json *item)) {
    struct table t = {.heads = heads, .n_columns = n_columns};
    if (o->json)
        return print_json(list);
    if (nothing && json_count(list) == 0) {
        puts(nothing);
        return 0;
    }
    for (size_t i = 0; i < json_count(list); i++)
        row(&t, json_item(list, i));
    table_print(&t);
    return 0;
}

const char *table_age(struct str rfc3339, char out[16]) {
    int64_t then;
    if (clock_parse_rfc3339(rfc3339, &then) < 0)
        return "-";
    int64_t s = (clock_real_us() - then) / 1000000;
    if (s < 120)
        snprintf(out, 16, "%llds", (long long)(s < 0 ? 0 : s));
    else if (s < 7200)
        snprintf(out, 16, "%lldm", (long long)(s / 60));
    else if (s < 172800)
        snprintf(out, 16, "%lldh", (long long)(s / 3600));
    else
        snprintf(out, 16, "%lldd", (long long)(s / 86400));
    return out;
}

/* ---- progress ---- */

static bool shown;

void progress(const char *fmt, ...) {
    if (!isatty(STDERR_FILENO))
        return;
    va_list ap;
    va_start(ap, fmt);
    fputs("\r\033[K", stderr);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fflush(stderr);
    shown = true;
}

void progress_end(void) {
    if (shown)
        fputs("\r\033[K", stderr);
    shown = false;
}

int print_json(const struct json *v) {
    cleanup_buf struct buf text = BUF_INIT(256 * MIB);
    if (v)
        (void)json_dump(v, &text);
    puts(buf_cstr(&text));
    return 0;
}
