/* SPDX-License-Identifier: Apache-2.0 */
/* Life of the shared objects: made, cloned, counted, freed. */

#include "model/model.h"
#include <assert.h>

static char *dup_or_null(const char *s) {
    return s ? x_strdup(s) : NULL;
}

static void ref_up(_Atomic uint32_t *refs) {
    uint32_t before = atomic_fetch_add_explicit(refs, 1, memory_order_relaxed);
    assert(before > 0);
    (void)before;
}

/* True when the last reference went. */
static bool ref_down(_Atomic uint32_t *refs) {
    uint32_t before = atomic_fetch_sub_explicit(refs, 1, memory_order_acq_rel);
    assert(before > 0);
    return before == 1;
}

/* ---- function ---- */
struct function *function_new(void) {
    struct function *f = x_alloc(sizeof(*f));
    atomic_init(&f->refs, 1);
    return f;
}

struct function *function_clone(const struct function *f) {
    struct function *c = function_new();
    c->no = f->no;
    c->workspace = dup_or_null(f->workspace);
    c->project = dup_or_null(f->project);
    c->name = dup_or_null(f->name);
    c->title = dup_or_null(f->title);
    c->runtime = dup_or_null(f->runtime);
    c->kind = f->kind;
    c->handler = dup_or_null(f->handler);
    pairs_copy(&c->env, &f->env);
    pairs_copy(&c->labels, &f->labels);
    pairs_copy(&c->annotations, &f->annotations);
    c->memory = dup_or_null(f->memory);
    c->cpu = dup_or_null(f->cpu);
    c->memory_bytes = f->memory_bytes;
    c->cpu_milli = f->cpu_milli;
    c->timeout_ms = f->timeout_ms;
    c->min_instances = f->min_instances;
    c->max_instances = f->max_instances;
    c->network = f->network;
    c->methods = dup_or_null(f->methods);
    c->async = f->async;
    c->image = dup_or_null(f->image);
    c->format = f->format;
    c->reply_headers = dup_or_null(f->reply_headers);
    c->status = f->status;
    c->active_no = f->active_no;
    c->active_number = f->active_number;
    c->previous_no = f->previous_no;
    c->previous_number = f->previous_number;
    c->last_number = f->last_number;
    c->created_us = f->created_us;
    c->updated_us = f->updated_us;
    c->deployed_us = f->deployed_us;
    return c;
}

struct function *function_ref(struct function *f) {
    ref_up(&f->refs);
    return f;
}

void function_unref(struct function *f) {
    if (!f || !ref_down(&f->refs))
        return;
    free(f->workspace);
    free(f->project);
    free(f->name);
    free(f->title);
    free(f->runtime);
    free(f->handler);
    pairs_done(&f->env);
    pairs_done(&f->labels);
    pairs_done(&f->annotations);
    free(f->memory);
    free(f->cpu);
    free(f->methods);
    free(f->image);
    free(f->reply_headers);
    free(f);
}

/* ---- blob ---- */
struct blob *blob_new(struct str s) {
    struct blob *b = x_alloc(sizeof(*b) + s.len + 1); /* one more: it reads as a C string too */
    atomic_init(&b->refs, 1);
    b->len = s.len;
    if (s.len)
        memcpy(b->bytes, s.p, s.len);
    return b;
}

struct blob *blob_ref(struct blob *b) {
    ref_up(&b->refs);
    return b;
}

void blob_unref(struct blob *b) {
    if (b && ref_down(&b->refs))
        free(b);
}

/* ---- version ---- */
bool version_is_image(const struct version *v) {
    return v->image && v->image[0] && v->code_len == 0;
}

void version_done(struct version *v) {
    free(v->image);
    free(v->build_log);
    v->image = v->build_log = NULL;
}

/* ---- trigger ---- */
struct trigger *trigger_new(void) {
    struct trigger *t = x_alloc(sizeof(*t));
    atomic_init(&t->refs, 1);
    return t;
}

struct trigger *trigger_clone(const struct trigger *t) {
    struct trigger *c = trigger_new();
    c->no = t->no;
    c->function_no = t->function_no;
    c->name = dup_or_null(t->name);
    c->type = t->type;
    c->enabled = t->enabled;
    pairs_copy(&c->config, &t->config);
    c->created_us = t->created_us;
    c->updated_us = t->updated_us;
    return c;
}

struct trigger *trigger_ref(struct trigger *t) {
    ref_up(&t->refs);
    return t;
}

void trigger_unref(struct trigger *t) {
    if (!t || !ref_down(&t->refs))
        return;
    free(t->name);
    pairs_done(&t->config);
    free(t);
}

/* ---- event ---- */
void event_done(struct event *e) {
    free(e->description);
    e->description = NULL;
    pairs_done(&e->metadata);
}
