/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_API_LISTS_H
#define KILN_API_LISTS_H

/* What core shows one by one under its lock, as references that may be written out at leisure. */

#include "api/request.h"

/* ---- pages: `limit` and `after` of a list's query ----
 * Lists go from the newest to the oldest. A page ends with a cursor, what its last row is known by,
 * and the next one has what is older: rows that come meanwhile are before the first page, rows that
 * go leave no gap, none comes twice. The reply's Link header leads there (RFC 8288). */
struct page {
    uint32_t limit;        /* UINT32_MAX: as many as there are */
    uint64_t before;       /* rows below this number; UINT64_MAX: from the newest */
    struct ulid before_id; /* lists of calls: below this id; all ones: from the newest */
};
/* As core takes it: 0 from the newest. */
static inline uint32_t page_before_u32(const struct page *p) {
    return p->before > UINT32_MAX ? 0 : (uint32_t)p->before;
}
#define PAGE_MAX 1000 /* rows, where somebody asks for a limit */
/* ABSENT: limit of a list whose document names one, 0 where it is whole. MAX: 0 is PAGE_MAX. The
 * cursor is a number, or (BY_ID) an invocation's id. */
int page_get(struct request *r, uint32_t absent, uint32_t max, bool by_id, struct page *ret,
             struct error *err);
/* Ask for limit + 1 rows: true where *N is more than the page, and cuts it. */
bool page_cut(const struct request *r, size_t *n);
/* There is more after the row that is known by this. */
void page_next(struct request *r, uint64_t no);
void page_next_id(struct request *r, const struct ulid *id);

struct function_list { /* newest first */
    struct function **v;
    size_t n, cap;
    struct page page;
    bool more;
};
/* Of the request's workspace; PROJECT.p NULL: of all its projects. */
void function_list_get(struct function_list *l, struct request *r, struct str project);
/* The page that the query asks for; sets the Link header. */
int function_list_page(struct function_list *l, struct request *r, struct str project,
                       struct error *err);
void function_list_done(struct function_list *l);

struct trigger_list { /* newest first */
    struct trigger *v[TRIGGERS_MAX];
    size_t n;
};
void trigger_list_get(struct trigger_list *l, const struct request *r, const struct function *f);
void trigger_list_done(struct trigger_list *l);

#endif
