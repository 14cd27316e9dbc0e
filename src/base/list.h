/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_BASE_LIST_H
#define KILN_BASE_LIST_H

/* Intrusive doubly linked ring. An unlinked node points at itself. */

#include "base/base.h"

struct list {
    struct list *next, *prev;
};

static inline void list_init(struct list *l) {
    l->next = l->prev = l;
}
static inline bool list_empty(const struct list *l) {
    return l->next == l;
}
static inline void list_insert_(struct list *n, struct list *prev, struct list *next) {
    n->next = next;
    n->prev = prev;
    prev->next = n;
    next->prev = n;
}
static inline void list_push(struct list *head, struct list *n) { /* at the end */
    list_insert_(n, head->prev, head);
}
static inline void list_unshift(struct list *head, struct list *n) { /* at the front */
    list_insert_(n, head, head->next);
}
static inline void list_del(struct list *n) { /* safe on an unlinked node */
    n->prev->next = n->next;
    n->next->prev = n->prev;
    list_init(n);
}
/* First node off the ring, or NULL. */
static inline struct list *list_shift(struct list *head) {
    struct list *n = head->next;
    if (n == head)
        return NULL;
    list_del(n); /* NOLINT(clang-analyzer-unix.Malloc): it takes N for one that was freed before */
    return n;
}
#define list_entry(node, type, member) container_of(node, type, member)
#define list_for_each(it, head)        for (struct list *it = (head)->next; it != (head); it = it->next)
#define list_for_each_safe(it, head)                                                               \
    for (struct list *it = (head)->next, *it##_next = it->next; it != (head);                      \
         it = it##_next, it##_next = it->next)

#endif
