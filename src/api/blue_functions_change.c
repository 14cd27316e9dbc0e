/* SPDX-License-Identifier: Apache-2.0 */
/* blue: functions made and changed, with the triggers of their invocation URLs. */

#include "api/blue_functions.h"
#include "api/fields.h"
#include "api/lists.h"
#include "routes.h"
#include <ctype.h>

#define RUNTIME    "Python 3.12"
#define MEMORY_MIB 256
#define TIMEOUT_S  30

/* ---- its triggers ---- */

static struct trigger *new_trigger(const struct function *f, struct str method) {
    struct trigger *t = trigger_new();
    cleanup_free char *path = x_asprintf("/fn/%s/%s", f->workspace, f->name);
    t->name = x_asprintf(BLUE_TRIGGER "%.*s", STR_ARG(method));
    for (char *p = t->name; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    t->type = TRIGGER_HTTP;
    t->enabled = !blue_is_inactive(f);
    pairs_add(&t->config, STR("method"), method);
    pairs_add(&t->config, STR("path"), str_of(path));
    return t;
}

static bool same(const struct trigger *a, const struct trigger *b) {
    const char *x = pairs_get(&a->config, "path"), *y = pairs_get(&b->config, "path");
    return strcmp(a->name, b->name) == 0 && a->enabled == b->enabled && x && y && strcmp(x, y) == 0;
}

/* The triggers that F should have, into an array (*RET_N of them); NULL where those of OLD are as
 * they should be. Others than ours stay. */
static struct trigger **make_triggers(const struct function *f, const struct trigger_list *old,
                                      size_t *ret_n) {
    struct trigger **v = x_calloc(BLUE_METHODS_N + TRIGGERS_MAX, sizeof(*v));
    struct str rest = str_of(f->methods);
    size_t n = 0, ours = 0, kept = 0;
    while (rest.p && rest.len)
        v[n++] = new_trigger(f, str_cut(&rest, ','));
    size_t fresh = n;
    for (size_t i = 0; old && i < old->n; i++) {
        ours += blue_is_invocation(old->v[i]);
        for (size_t k = 0; k < fresh; k++)
            kept += same(old->v[i], v[k]);
        if (!blue_is_invocation(old->v[i]))
            v[n++] = trigger_clone(old->v[i]);
    }
    *ret_n = n;
    if (!old || ours != fresh || kept != fresh)
        return v;
    for (size_t i = 0; i < n; i++)
        trigger_unref(v[i]);
    free(v);
    *ret_n = 0;
    return NULL;
}

/* ---- create ---- */

static struct function *new_function(const struct request *r) {
    struct function *f = function_new();
    f->workspace = str_dup(r->workspace);
    f->project = x_strdup(DEFAULT_PROJECT);
    f->runtime = x_strdup(RUNTIME);
    f->kind = RUNTIME_PYTHON;
    f->handler = x_strdup(BLUE_HANDLER);
    f->timeout_ms = TIMEOUT_S * 1000;
    f->methods = x_strdup("GET");
    return f;
}

void op_blue_create_function(struct request *r) {
    cleanup_json struct json *o = NULL;
    cleanup_buf struct buf code = BUF_INIT(CODE_MAX);
    struct blue_given g;
    struct error err;
    if (blue_workspace(r, &err) < 0) {
        request_fail(r, &err);
        return;
    }
    if (blue_given_read(r, false, &o, &g) < 0)
        return;
    struct function *f = new_function(r);
    if (g.memory < 0)
        g.memory = MEMORY_MIB;
    if (blue_given_apply(r, o, &g, f, &err) < 0 || blue_given_code(&g, &code, &err) < 0) {
        function_unref(f);
        request_fail(r, &err);
        return;
    }
    struct core_draft draft = {.function = f, .code = buf_str(&code), .wait_build = true};
    draft.triggers = make_triggers(f, NULL, &draft.n_triggers);
    core_function_create(r->core, r->loop, &r->who, &draft, blue_show_stored,
                         blue_shown_new(r, 201));
}

/* ---- change ---- */

#define TRIES_MAX 20 /* where others change the same function at the same time */

struct changing {
    struct blue_shown show; /* first: r->state */
    struct json *o;
    struct blue_given g; /* in it */
    struct buf code;
    int tries;
};

static void changing_free(void *state) {
    struct changing *ch = state;
    blob_unref(ch->show.code);
    json_free(ch->o);
    buf_done(&ch->code);
    free(ch);
}

static void on_changed(void *arg, const struct error *err, struct function *f);

/* What is given, on top of what the function is now. */
static void change(struct changing *ch) {
    struct request *r = ch->show.r;
    struct error err;
    struct function *f = function_clone(r->function);
    if (blue_given_apply(r, ch->o, &ch->g, f, &err) < 0) {
        function_unref(f);
        request_fail(r, &err);
        return;
    }
    struct core_update update = {.function = f, .wait_build = true};
    if (ch->g.code.p)
        update.code = buf_str(&ch->code);
    if (f->methods) {
        struct trigger_list old;
        trigger_list_get(&old, r, r->function);
        update.triggers = make_triggers(f, &old, &update.n_triggers);
        update.triggers_given = update.triggers != NULL;
        trigger_list_done(&old);
    }
    core_function_update(r->core, r->loop, &r->who, &update, on_changed, ch);
}

/* Changed by somebody else meanwhile: once more, on top of that. Only what the body says changes,
 * so nothing of theirs is lost. */
static void on_changed(void *arg, const struct error *err, struct function *f) {
    struct changing *ch = arg;
    struct request *r = ch->show.r;
    bool raced = err && err->code == ERR_CONFLICT && strcmp(err->field, "function") == 0;
    struct function *now =
        raced && ch->tries++ < TRIES_MAX ? core_function(r->core, r->function->no) : NULL;
    if (!now) {
        blue_show_stored(&ch->show, err, f);
        return;
    }
    function_unref(r->function);
    r->function = now;
    change(ch);
}

void op_blue_update_function(struct request *r) {
    struct json *o = NULL;
    struct blue_given g;
    struct error err;
    if (blue_function(r, &err) < 0) {
        request_fail(r, &err);
        return;
    }
    if (blue_given_read(r, true, &o, &g) < 0) {
        json_free(o);
        return;
    }
    struct changing *ch = x_alloc(sizeof(*ch));
    *ch = (struct changing){.show = {.r = r, .http_status = 200}, .o = o, .g = g};
    ch->show.new_code = g.code.p != NULL;
    buf_init(&ch->code, CODE_MAX);
    r->state = ch;
    r->free_state = changing_free;
    if (g.code.p && blue_given_code(&g, &ch->code, &err) < 0)
        request_fail(r, &err);
    else
        change(ch);
}
