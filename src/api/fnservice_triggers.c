/* SPDX-License-Identifier: Apache-2.0 */
/* fnservice: triggers. */

#include "api/fields.h"
#include "api/fnservice.h"
#include "api/lists.h"
#include "routes.h"

static void on_trigger(struct request *r, int status, const struct error *err,
                       const struct trigger *t) {
    struct json_w w;
    struct buf body;
    if (!request_begin(r, err, &w, &body))
        return;
    fnservice_write_trigger(&w, r->function, t);
    fnservice_send(r, status, &w, &body);
}

static void on_created(void *arg, const struct error *err, struct trigger *t) {
    on_trigger(arg, 201, err, t);
}

static void on_updated(void *arg, const struct error *err, struct trigger *t) {
    on_trigger(arg, 200, err, t);
}

/* Type, config, name and enabled as far as they are given, then the whole is checked. */
static int read_trigger(const struct json *o, bool create, const struct function *f,
                        struct trigger *t, struct error *err) {
    static const char *const TYPES[] = {"http", "schedule", "event", "messagequeue", NULL};
    int type = (int)t->type;
    struct str name = STR_NULL;
    int must = create ? JSON_REQUIRED : JSON_NULLABLE;
    if (json_get_str(o, "name", must, &name, err) < 0 ||
        json_get_enum(o, "type", must, TYPES, &type, err) < 0 ||
        json_get_bool(o, "enabled", JSON_NULLABLE, &t->enabled, err) < 0)
        return -1;
    if (!create && type != (int)t->type)
        return json_fail_member(o, "type", err, "cannot change: delete it and create another");
    if (type != TRIGGER_HTTP && type != TRIGGER_SCHEDULE)
        return json_fail_member(o, "type", err,
                                "%s is not served by this version of kiln, which has http and "
                                "schedule triggers",
                                TYPES[type]);
    t->type = (enum trigger_type)type;
    if (name.p && check_name(name, "name", err) < 0)
        return -1;
    if (name.p)
        field_set(&t->name, name);
    if (fields_map(o, "config", &t->config, err) < 0)
        return -1;
    return check_trigger(t, f->name, err);
}

void op_fnservice_create_trigger(struct request *r) {
    cleanup_json struct json *o = NULL;
    struct error err;
    if (fnservice_function(r, &err) < 0 || fields_body(r, &o, &err) < 0) {
        request_fail(r, &err);
        return;
    }
    struct trigger *t = trigger_new();
    t->function_no = r->function->no;
    t->enabled = true;
    if (read_trigger(o, true, r->function, t, &err) < 0) {
        trigger_unref(t);
        request_fail(r, &err);
        return;
    }
    core_trigger_create(r->core, r->loop, &r->who, t, on_created, r);
}

/* ---- list ---- */

void op_fnservice_list_triggers(struct request *r) {
    struct error err;
    if (fnservice_function(r, &err) < 0) {
        request_fail(r, &err);
        return;
    }
    struct trigger_list l;
    trigger_list_get(&l, r, r->function);
    struct buf body = BUF_INIT(REPLY_MAX);
    struct json_w w;
    json_w_init(&w, &body);
    jw_begin_object(&w);
    jw_array_member(&w, "triggers");
    for (size_t i = 0; i < l.n; i++)
        fnservice_write_trigger(&w, r->function, l.v[i]);
    jw_end_array(&w);
    trigger_list_done(&l);
    jw_end_object(&w);
    fnservice_send(r, 200, &w, &body);
}

/* ---- one trigger ---- */

struct search {
    uint32_t no;
    struct trigger *found; /* a reference */
};

static bool look(void *arg, const struct trigger *t) {
    struct search *s = arg;
    if (t->no != s->no)
        return true;
    s->found = trigger_ref((struct trigger *)(uintptr_t)t);
    return false;
}

/* Sets r->function; a reference to the trigger of the path, or NULL. */
static struct trigger *find(struct request *r, struct error *err) {
    if (fnservice_function(r, err) < 0)
        return NULL;
    struct search s = {.no = id_parse(r->params[FN_THIRD], "trg")};
    if (s.no)
        core_triggers_each(r->core, r->function->no, look, &s);
    if (!s.found)
        (void)error_field(err, ERR_NOT_FOUND, "trigger", "Trigger not found");
    return s.found;
}

void op_fnservice_update_trigger(struct request *r) {
    cleanup_json struct json *o = NULL;
    struct error err;
    struct trigger *old = find(r, &err);
    if (!old) {
        request_fail(r, &err);
        return;
    }
    struct trigger *t = trigger_clone(old);
    trigger_unref(old);
    if (fields_body(r, &o, &err) < 0 || read_trigger(o, false, r->function, t, &err) < 0) {
        trigger_unref(t);
        request_fail(r, &err);
        return;
    }
    core_trigger_update(r->core, r->loop, &r->who, t, on_updated, r);
}

void op_fnservice_delete_trigger(struct request *r) {
    struct error err;
    struct trigger *t = find(r, &err);
    if (!t) {
        request_fail(r, &err);
        return;
    }
    uint32_t no = t->no;
    trigger_unref(t);
    core_trigger_delete(r->core, r->loop, &r->who, r->function->no, no, request_deleted, r);
}
