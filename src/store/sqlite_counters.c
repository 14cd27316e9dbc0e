/* SPDX-License-Identifier: Apache-2.0 */
#include "store/sqlite.h"

static const char RESERVE[] = "INSERT INTO counters (name, value) VALUES (?1, 1 + ?2)"
                              " ON CONFLICT (name) DO UPDATE SET value = value + ?2"
                              " RETURNING value";

int store_counter_reserve(struct store *s, const char *name, uint64_t n, uint64_t *ret,
                          struct error *err) {
    cleanup_query struct query q = query_write(s, STORE_STATE, RESERVE);
    bind_text(&q, name);
    bind_int(&q, (int64_t)n);
    if (query_step(&q, err) < 0)
        return -1;
    uint64_t next = (uint64_t)read_int(&q);
    if (query_step(&q, err) < 0) /* the write itself ends with the last row */
        return -1;
    *ret = next - n;
    return 0;
}
