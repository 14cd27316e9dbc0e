/* SPDX-License-Identifier: Apache-2.0 */
#include "api/lists.h"
#include <stdio.h>

/* ---- pages ---- */

int page_get(struct request *r, uint32_t absent, uint32_t max, bool by_id, struct page *ret,
             struct error *err) {
    struct str after;
    memset(ret, 0xff, sizeof *ret);
    if (request_query_u32(r, "limit", 1, max ? max : PAGE_MAX, absent ? absent : UINT32_MAX,
                          &ret->limit, err) < 0)
        return -1;
    r->page_limit = ret->limit;
    r->page_before = ret->before;
    int rc = request_query(r, "after", &after, err);
    if (rc <= 0)
        return rc;
    bool ok = by_id ? ulid_parse(after, &ret->before_id) == 0
                    : str_u64(after, UINT64_MAX, &ret->before) == 0 && ret->before > 0;
    r->page_before = ret->before;
    if (ok)
        return 0;
    return error_field(err, ERR_INVALID, "after",
                       "after must be what the Link header of the page before says");
}

bool page_cut(const struct request *r, size_t *n) {
    if (*n <= r->page_limit)
        return false;
    *n = r->page_limit;
    return true;
}

/* Characters that may stand in a query as they are (RFC 3986, section 3.4) and end no link. */
static bool may_stand(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c && strchr("-._~!$'()*+,;:@/?%=", c));
}

static bool is_after(struct str pair) {
    struct str name = str_cut(&pair, '=');
    return str_is(name, "after");
}

static void set_next(struct request *r, const char *cursor) {
    if (!r->call)
        return;
    struct buf link = BUF_INIT(16 * KIB);
    struct str rest = r->call->head.query;
    int failed = buf_puts(&link, "<?");
    while (rest.p && rest.len) {
        struct str pair = str_cut(&rest, '&');
        if (pair.len == 0 || is_after(pair))
            continue;
        for (size_t i = 0; i < pair.len; i++)
            failed |= may_stand(pair.p[i]) ? buf_put(&link, &pair.p[i], 1)
                                           : buf_printf(&link, "%%%02X", (unsigned char)pair.p[i]);
        failed |= buf_puts(&link, "&");
    }
    failed |= buf_printf(&link, "after=%s>; rel=\"next\"", cursor);
    free(r->next);
    r->next = failed ? NULL : x_strndup(link.p, link.len);
    buf_done(&link);
}

void page_next(struct request *r, uint64_t no) {
    char cursor[24];
    snprintf(cursor, sizeof cursor, "%llu", (unsigned long long)no);
    set_next(r, cursor);
}

void page_next_id(struct request *r, const struct ulid *id) {
    char cursor[ULID_TEXT_LEN + 1];
    ulid_text(id, cursor);
    set_next(r, cursor);
}

/* ---- functions ---- */

static bool take_function(void *arg, const struct function *f) {
    struct function_list *l = arg;
    if (f->no >= l->page.before)
        return true;
    if (l->n == l->page.limit) {
        l->more = true;
        return false;
    }
    if (l->n == l->cap) {
        l->cap = l->cap ? 2 * l->cap : 64;
        l->v = x_realloc(l->v, l->cap * sizeof(*l->v));
    }
    l->v[l->n++] = function_ref((struct function *)(uintptr_t)f);
    return true;
}

void function_list_get(struct function_list *l, struct request *r, struct str project) {
    *l = (struct function_list){.page = {.limit = UINT32_MAX, .before = UINT64_MAX}};
    core_functions_each(r->core, r->workspace, project, take_function, l);
}

int function_list_page(struct function_list *l, struct request *r, struct str project,
                       struct error *err) {
    *l = (struct function_list){0};
    if (page_get(r, 0, 0, false, &l->page, err) < 0)
        return -1;
    core_functions_each(r->core, r->workspace, project, take_function, l);
    if (l->more)
        page_next(r, l->v[l->n - 1]->no);
    return 0;
}

void function_list_done(struct function_list *l) {
    for (size_t i = 0; i < l->n; i++)
        function_unref(l->v[i]);
    free(l->v);
}

static bool take_trigger(void *arg, const struct trigger *t) {
    struct trigger_list *l = arg;
    l->v[l->n++] = trigger_ref((struct trigger *)(uintptr_t)t);
    return l->n < ARRAY_LEN(l->v);
}

void trigger_list_get(struct trigger_list *l, const struct request *r, const struct function *f) {
    l->n = 0;
    core_triggers_each(r->core, f->no, take_trigger, l);
}

void trigger_list_done(struct trigger_list *l) {
    for (size_t i = 0; i < l->n; i++)
        trigger_unref(l->v[i]);
}
