/* SPDX-License-Identifier: Apache-2.0 */
#include "api/fields.h"
#include <math.h>
#include <stdio.h>

int fields_body(const struct request *r, struct json **ret, struct error *err) {
    if (r->call->body.len == 0)
        return error_set(err, ERR_INVALID, "Invalid request body: a JSON object is expected");
    if (json_parse_object(r->call->body, ret, err) < 0)
        return error_prepend(err, "Invalid request body");
    return 0;
}

void fields_write_code(struct json_w *w, const struct blob *code, const char *is_base64) {
    struct str bytes = code ? str_n(code->bytes, code->len) : STR("");
    if (str_is_utf8(bytes)) {
        jw_str_member(w, "code", bytes);
        return;
    }
    jw_key(w, "code");
    jw_base64(w, bytes);
    jw_bool_member(w, is_base64, true);
}

void field_set(char **to, struct str value) {
    free(*to);
    *to = str_dup(value);
}

void fields_write_pairs(struct json_w *w, const char *member, const struct pairs *p) {
    jw_object_member(w, member);
    for (size_t i = 0; i < p->n; i++)
        jw_cstr_member(w, p->v[i].key, p->v[i].value);
    jw_end_object(w);
}

void fields_write_environment(struct json_w *w, const struct pairs *env) {
    jw_object_member(w, "environment");
    for (size_t i = 0; i < env->n; i++)
        jw_cstr_member(w, env->v[i].key, SECRET_MASK);
    jw_end_object(w);
}

int fields_name(const struct json *o, const char *member, int flags, struct function *f,
                struct error *err) {
    struct str s = STR_NULL;
    if (json_get_str(o, member, flags, &s, err) < 0)
        return -1;
    if (!s.p)
        return 0;
    if (check_name(s, member, err) < 0)
        return -1;
    /* Another name ends the title: it would be shown, and nothing found by it. */
    if (f->name && !str_is(s, f->name)) {
        free(f->title);
        f->title = NULL;
    }
    field_set(&f->name, s);
    return 0;
}

int fields_runtime(const struct json *o, const char *member, int flags, struct function *f,
                   struct error *err) {
    struct str s = STR_NULL;
    if (json_get_str(o, member, flags, &s, err) < 0)
        return -1;
    if (!s.p)
        return 0;
    int kind = s.len <= RUNTIME_MAX_LEN ? runtime_parse(s) : -1;
    if (kind < 0)
        return error_field(err, ERR_INVALID_RUNTIME, member,
                           "%s is not one that this server runs: give python3.9, nodejs18 or "
                           "another spelling of Python 3 or Node.js",
                           member);
    field_set(&f->runtime, s);
    f->kind = (enum runtime_kind)kind;
    return 0;
}

int fields_handler(const struct json *o, const char *member, int flags, struct function *f,
                   struct error *err) {
    struct str s = STR_NULL;
    if (json_get_str(o, member, flags, &s, err) < 0)
        return -1;
    if (!s.p)
        return 0;
    if (check_handler(s, err) < 0)
        return -1;
    field_set(&f->handler, s);
    return 0;
}

/* PRESENT says whether the member is there; the pairs are the caller's to free in any case. */
static int read_pairs(const struct json *o, const char *member, struct pairs *ret, bool *present,
                      struct error *err) {
    const struct json *map = NULL;
    struct json_walk walk = {0};
    struct str name, value;
    if (json_get_object(o, member, JSON_NULLABLE, &map, err) < 0)
        return -1;
    *present = map != NULL;
    int rc;
    while ((rc = json_next_str(map, &walk, &name, &value, err)) > 0)
        pairs_add(ret, name, value);
    return rc;
}

static void replace_pairs(struct pairs *to, struct pairs *with) {
    pairs_done(to);
    *to = *with;
    *with = (struct pairs){0};
}

int fields_map(const struct json *o, const char *member, struct pairs *to, struct error *err) {
    struct pairs given = {0};
    bool present = false;
    int rc = read_pairs(o, member, &given, &present, err);
    if (rc == 0 && present)
        replace_pairs(to, &given);
    pairs_done(&given);
    return rc;
}

int fields_pairs(const struct json *o, const char *member, struct pairs *to, struct error *err) {
    struct pairs given = {0};
    bool present = false;
    int rc = read_pairs(o, member, &given, &present, err);
    if (rc == 0 && present)
        rc = check_labels(&given, member, err);
    if (rc == 0 && present)
        replace_pairs(to, &given);
    pairs_done(&given);
    return rc;
}

/* A reader never sees values, so a client that sends back what it read sends masks. */
static int unmask(const struct json *map, const char *member, struct pairs *given,
                  const struct pairs *stored, struct error *err) {
    for (size_t i = 0; i < given->n; i++) {
        if (strcmp(given->v[i].value, SECRET_MASK) != 0)
            continue;
        const char *old = pairs_get(stored, given->v[i].key);
        if (!old)
            return json_fail_member(map, member, err,
                                    "has \"" SECRET_MASK "\" for %s, which has no stored value "
                                    "to keep",
                                    given->v[i].key);
        pairs_add(given, str_of(given->v[i].key), str_of(old));
    }
    return 0;
}

int fields_environment(const struct json *o, const char *member, struct pairs *to,
                       struct error *err) {
    struct pairs given = {0};
    bool present = false;
    int rc = read_pairs(o, member, &given, &present, err);
    if (rc == 0 && present)
        rc = unmask(o, member, &given, to, err);
    if (rc == 0 && present)
        rc = check_env(&given, err);
    if (rc == 0 && present)
        replace_pairs(to, &given);
    pairs_done(&given);
    return rc;
}

static int set_memory(const struct request *r, const struct json *o, const char *field,
                      struct function *f, struct error *err) {
    struct str s = STR_NULL;
    uint64_t bytes, most = core_config_of(r->core)->engine.memory_max;
    if (json_get_str(o, "memory", JSON_NULLABLE, &s, err) < 0)
        return -1;
    if (!s.p)
        return 0;
    if (parse_memory(s, field, &bytes, err) < 0)
        return -1;
    if (most && bytes > most)
        return error_field(err, ERR_INVALID, field, "%s is over this server's limit of %llu MiB",
                           field, (unsigned long long)(most / MIB));
    field_set(&f->memory, s);
    f->memory_bytes = bytes;
    return 0;
}

static int set_cpu(const struct json *o, const char *field, struct function *f, struct error *err) {
    struct str s = STR_NULL;
    uint32_t milli;
    if (json_get_str(o, "cpu", JSON_NULLABLE, &s, err) < 0)
        return -1;
    if (!s.p)
        return 0;
    if (parse_cpu(s, field, &milli, err) < 0)
        return -1;
    field_set(&f->cpu, s);
    f->cpu_milli = milli;
    return 0;
}

int fields_resources(const struct request *r, const struct json *o, const char *prefix,
                     struct function *f, struct error *err) {
    char memory[ERROR_FIELD_MAX], cpu[ERROR_FIELD_MAX];
    (void)snprintf(memory, sizeof(memory), "%smemory", prefix);
    (void)snprintf(cpu, sizeof(cpu), "%scpu", prefix);
    return set_memory(r, o, memory, f, err) < 0 || set_cpu(o, cpu, f, err) < 0 ? -1 : 0;
}

int fields_timeout(const struct json *o, const char *member, struct function *f,
                   struct error *err) {
    double seconds = -1;
    if (json_get_double(o, member, JSON_NULLABLE, 0.001, TIMEOUT_MS_MAX / 1000.0, &seconds, err) <
        0)
        return -1;
    if (seconds > 0)
        f->timeout_ms = (uint32_t)lround(seconds * 1000);
    return 0;
}

int fields_replicas(const struct request *r, const struct json *o, const char *min_member,
                    const char *max_member, struct function *f, struct error *err) {
    int64_t least = f->min_instances, most = f->max_instances;
    if (json_get_int(o, min_member, JSON_NULLABLE, 0, INSTANCES_MAX, &least, err) < 0 ||
        json_get_int(o, max_member, JSON_NULLABLE, 1, INSTANCES_MAX, &most, err) < 0)
        return -1;
    int64_t in_force = most ? most : (int64_t)function_max_instances(r, f);
    if (least > in_force)
        return json_fail_member(o, min_member, err, "must not be above \"%s\", which is %lld",
                                max_member, (long long)in_force);
    f->min_instances = (uint32_t)least;
    f->max_instances = (uint32_t)most;
    return 0;
}

int fields_network(const struct request *r, const struct json *o, const char *member,
                   struct function *f, struct error *err) {
    struct str s = STR_NULL;
    if (json_get_str(o, member, JSON_NULLABLE, &s, err) < 0)
        return -1;
    if (!s.p)
        return 0;
    int kind = network_kind_parse(s);
    if (kind < 0)
        return json_fail_member(o, member, err, "must be egress, none or host");
    bool allowed = r->who.role >= ROLE_ADMIN && core_config_of(r->core)->engine.allow_host_network;
    if (kind == NETWORK_HOST && f->network != NETWORK_HOST && !allowed)
        return error_field(err, ERR_FORBIDDEN, member,
                           "%s host is for administrators of a server that allows it", member);
    f->network = (enum network_kind)kind;
    return 0;
}

uint32_t function_timeout_ms(const struct request *r, const struct function *f) {
    return f->timeout_ms ? f->timeout_ms : core_config_of(r->core)->engine.timeout_ms_default;
}

uint32_t function_max_instances(const struct request *r, const struct function *f) {
    return f->max_instances ? f->max_instances
                            : core_config_of(r->core)->engine.max_instances_default;
}
