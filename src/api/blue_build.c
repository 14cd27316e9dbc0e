/* SPDX-License-Identifier: Apache-2.0 */
/* blue: builds and pushes are asked for. The forms are multipart/form-data, told of what is wrong
 * with them as their models' other requests are. */

#include "api/blue_tasks.h"
#include "api/internal.h"
#include "http/multipart.h"
#include "routes.h"
#include <errno.h>

#define NO_PASSWORD "dummy-password" /* what clients send who have none: the document's default */

/* ---- a form ---- */

struct form {
    bool has_file;
    char file_name[MULTIPART_NAME_MAX + 1];
    struct str file;
    struct str app_name, workspace, registry, user, password, tag; /* p NULL: not given */
};

static const struct {
    const char *name;
    size_t offset;
    bool push; /* of build-and-push only */
} FIELDS[] = {
    {"app_name", offsetof(struct form, app_name), false},
    {"workspace_id", offsetof(struct form, workspace), false},
    {"registry_url", offsetof(struct form, registry), true},
    {"username", offsetof(struct form, user), true},
    {"password", offsetof(struct form, password), true},
    {"tag", offsetof(struct form, tag), true},
};

static void take_part(struct form *f, const struct multipart_part *p, bool push,
                      struct blue_check *c) {
    if (strcmp(p->name, "file") == 0) {
        f->has_file = true;
        if (!p->is_file)
            blue_wrong_text(c, "body", "file", STR_NULL, "value_error",
                            "Value error, Expected UploadFile, received: <class 'str'>");
        memcpy(f->file_name, p->file_name, sizeof(f->file_name));
        f->file = p->body;
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(FIELDS); i++) {
        if (strcmp(p->name, FIELDS[i].name) != 0 || (FIELDS[i].push && !push))
            continue; /* what is not known is passed over, as the document's server does */
        if (p->is_file || !str_is_utf8(p->body) ||
            (p->body.len && memchr(p->body.p, 0, p->body.len)))
            blue_wrong_text(c, "body", p->name, STR_NULL, "string_type",
                            "Input should be a valid string");
        else if (p->body.len) /* an empty field is one that was not filled in */
            *(struct str *)((char *)f + FIELDS[i].offset) = p->body;
    }
}

static int read_form(struct request *r, struct form *f, bool push, struct blue_check *c,
                     struct error *err) {
    struct multipart m;
    struct multipart_part part;
    int got = multipart_open(&m, http_head_get(&r->call->head, "content-type"), r->call->body);
    if (got == -ENOTSUP)
        return 0; /* a form of another kind: all its fields are missing */
    while (got == 0 && (got = multipart_next(&m, &part)) > 0) {
        take_part(f, &part, push, c);
        got = 0;
    }
    if (m.ended && got == 0)
        return 0;
    return error_field(err, ERR_INVALID, "body", "There was an error parsing the body%s",
                       got == -E2BIG ? ": it has too many parts" : "");
}

static void missing(struct blue_check *c, const char *name) {
    blue_wrong_text(c, "body", name, STR_NULL, "missing", "Field required");
}

static void bounded(struct blue_check *c, const char *name, struct str value, size_t max) {
    if (value.len > max)
        blue_wrong_text(c, "body", name, STR_NULL, "string_too_long",
                        "String should have at most %zu characters", max);
}

/* A name is shown, logged, and put into an image. */
static void check_app_name(struct blue_check *c, struct str name) {
    bounded(c, "app_name", name, TITLE_MAX_LEN);
    for (size_t i = 0; i < name.len; i++)
        if ((unsigned char)name.p[i] < 0x20 || name.p[i] == 0x7f) {
            blue_wrong_text(c, "body", "app_name", STR_NULL, "value_error",
                            "Value error, control characters are not allowed");
            return;
        }
}

static struct task_push push_of(struct str registry, struct str user, struct str password,
                                struct str tag) {
    bool none = password.len == 0 || str_is(password, NO_PASSWORD);
    return (struct task_push){
        .registry = registry,
        .user = none       ? STR_NULL
                : user.len ? user
                           : STR("AWS"),
        .password = none ? STR_NULL : password,
        .tag = tag.len ? tag : STR("sha256"),
    };
}

static void start_build(struct request *r, enum task_kind kind) {
    struct form f = {0};
    struct blue_check c;
    struct error err;
    bool push = kind == TASK_BUILD_AND_PUSH;
    blue_check_init(&c);
    if (read_form(r, &f, push, &c, &err) < 0) {
        blue_check_done(&c);
        request_fail(r, &err);
        return;
    }
    if (!f.has_file)
        missing(&c, "file");
    if (push && !f.registry.p)
        missing(&c, "registry_url");
    check_app_name(&c, f.app_name);
    if (blue_refused(&c, r))
        return;
    blue_check_done(&c);
    struct task_draft draft = {
        .kind = kind,
        .workspace = f.workspace.p ? f.workspace : STR(DEFAULT_WORKSPACE),
        .app_name = f.app_name,
        .file_name = str_of(f.file_name),
        .file = f.file,
        .push = push_of(f.registry, f.user, f.password, f.tag),
    };
    if (blue_workspace_named(r, draft.workspace, ROLE_DEVELOPER, &err) < 0)
        request_fail(r, &err);
    else
        builder_submit(r->api->builder, r->loop, &draft, blue_accepted, r);
}

void op_blue_build(struct request *r) {
    start_build(r, TASK_BUILD);
}

void op_blue_build_and_push(struct request *r) {
    start_build(r, TASK_BUILD_AND_PUSH);
}

/* ---- push ---- */

struct push_request {
    struct str registry, user, password, tag, app_dir, workspace, source;
};

static void read_push(struct blue_check *c, const struct json *o, struct push_request *p) {
    blue_str(c, o, "registry_url", JSON_REQUIRED, 1, TASK_REGISTRY_MAX, &p->registry);
    blue_str(c, o, "username", 0, 0, TASK_USER_MAX, &p->user);
    blue_str(c, o, "password", 0, 0, TASK_CREDENTIAL_MAX, &p->password);
    blue_str(c, o, "tag", 0, 0, TASK_TAG_MAX, &p->tag);
    blue_str(c, o, "app_dir", JSON_NULLABLE, 0, TASK_PATH_MAX, &p->app_dir);
    blue_str(c, o, "workspace_id", JSON_REQUIRED, 1, NAME_MAX_LEN, &p->workspace);
    blue_str(c, o, "s3_source_path", JSON_NULLABLE, 0, TASK_PATH_MAX, &p->source);
}

static int check_push(struct request *r, const struct push_request *p, struct error *err) {
    if (blue_workspace_named(r, p->workspace, ROLE_DEVELOPER, err) < 0)
        return -1;
    if (p->app_dir.len || p->source.len)
        return 0;
    return error_field(err, ERR_INVALID, "app_dir",
                       "app_dir or s3_source_path must name what a build made: its wasm_path, "
                       "its file_path or its task_id");
}

void op_blue_push(struct request *r) {
    struct push_request p = {0};
    struct blue_check c;
    struct error err;
    cleanup_json struct json *o = NULL;
    blue_check_init(&c);
    blue_body(&c, r, &o);
    read_push(&c, o, &p);
    if (blue_refused(&c, r))
        return;
    blue_check_done(&c);
    if (check_push(r, &p, &err) < 0) {
        request_fail(r, &err);
        return;
    }
    struct task_draft draft = {
        .kind = TASK_PUSH,
        .workspace = p.workspace,
        .source = p.app_dir.len ? p.app_dir : p.source,
        .push = push_of(p.registry, p.user, p.password, p.tag),
    };
    builder_submit(r->api->builder, r->loop, &draft, blue_accepted, r);
}
