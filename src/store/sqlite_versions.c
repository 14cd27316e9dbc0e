/* SPDX-License-Identifier: Apache-2.0 */
#include "store/sqlite.h"

static const char INSERT[] = "INSERT INTO versions (function_no, number, build, created_us,"
                             " code_len, image, build_log) VALUES (?,?,?,?,?,?,?)";
static const char INSERT_CODE[] = "INSERT INTO version_codes (version_no, code) VALUES (?,?)";
static const char CODE[] = "SELECT c.code, v.code_at, v.code_len FROM versions v"
                           " LEFT JOIN version_codes c ON c.version_no = v.no WHERE v.no = ?";
static const char IMAGE[] = "SELECT CASE WHEN code_len = 0 THEN image END, image_digest, image_spec"
                            " FROM versions WHERE no = ?";
static const char SET_IMAGE[] = "UPDATE versions SET image_digest = ?, image_spec = ? WHERE no = ?";
static const char ACTIVE_IMAGES[] =
    "SELECT DISTINCT v.image_digest FROM functions f JOIN versions v ON v.no = f.active_no"
    " WHERE v.image_digest IS NOT NULL";
static const char SET_BUILD[] = "UPDATE versions SET build = ?, build_log = ? WHERE no = ?";

#define SELECT(log)                                                                                \
    "SELECT v.no, v.function_no, v.number, v.build, f.active_no = v.no, v.created_us,"             \
    " v.code_len, v.image, " log " FROM versions v JOIN functions f ON f.no = v.function_no"
static const char GET[] = SELECT("v.build_log") " WHERE v.no = ?";
static const char FIND[] = SELECT("v.build_log") " WHERE v.function_no = ? AND v.number = ?";
/* A list of VERSIONS_MAX logs would be hundreds of megabytes. */
static const char EACH[] = SELECT("NULL") " WHERE v.function_no = ? ORDER BY v.number DESC";

static int no_such_version(struct error *err) {
    return error_field(err, ERR_NOT_FOUND, "version", "there is no such version");
}

/* Text that fits BUILD_LOG_MAX: the end of a log says why a build failed. */
static struct str bounded_log(struct str log) {
    if (log.len > BUILD_LOG_MAX) {
        log = str_n(log.p + log.len - BUILD_LOG_MAX, BUILD_LOG_MAX);
        while (log.len && ((unsigned char)log.p[0] & 0xc0) == 0x80) /* inside a letter */
            log = str_n(log.p + 1, log.len - 1);
    }
    return log;
}

static int explain(const struct query *q, const struct version *v, struct error *err) {
    switch (query_constraint(q)) {
    case SQLITE_CONSTRAINT_UNIQUE:
        return error_field(err, ERR_CONFLICT, "version", "version v%u exists already", v->number);
    case SQLITE_CONSTRAINT_FOREIGNKEY:
        return error_field(err, ERR_NOT_FOUND, "function", "there is no such function");
    default:
        return -1;
    }
}

int store_version_insert(struct store *s, struct version *v, struct str code, struct error *err) {
    cleanup_query struct query q = query_write(s, STORE_STATE, INSERT);
    bind_int(&q, v->function_no);
    bind_int(&q, v->number);
    bind_int(&q, v->build);
    bind_int(&q, v->created_us);
    bind_int(&q, (int64_t)code.len);
    bind_text(&q, v->image);
    bind_str(&q, bounded_log(str_of(v->build_log)));
    if (query_run(&q, err) < 0)
        return explain(&q, v, err);
    int64_t no = sqlite3_last_insert_rowid(STATE(s)->h);
    cleanup_query struct query c = query_write(s, STORE_STATE, INSERT_CODE);
    bind_int(&c, no);
    bind_blob(&c, code.p, code.len);
    if (query_run(&c, err) < 0)
        return -1;
    v->no = (uint32_t)no;
    v->code_len = code.len;
    return 0;
}

static void read_version(struct query *q, struct version *v) {
    v->no = read_u32(q);
    v->function_no = read_u32(q);
    v->number = read_u32(q);
    v->build = (enum build_status)read_int(q);
    v->active = read_int(q) != 0;
    v->created_us = read_int(q);
    v->code_len = (uint64_t)read_int(q);
    v->image = read_text(q);
    v->build_log = read_text(q);
}

static int read_one(struct query *q, struct version *ret, struct error *err) {
    int rc = query_step(q, err);
    if (rc <= 0)
        return rc < 0 ? -1 : no_such_version(err);
    read_version(q, ret);
    return 0;
}

int store_version_get(struct store *s, uint32_t no, struct version *ret, struct error *err) {
    cleanup_query struct query q = query_read(s, STORE_STATE, GET);
    bind_int(&q, no);
    return read_one(&q, ret, err);
}

int store_version_newest(struct store *s, uint32_t function_no, struct version *ret,
                         struct error *err) {
    cleanup_query struct query q = query_read(s, STORE_STATE, EACH);
    bind_int(&q, function_no);
    return read_one(&q, ret, err);
}

int store_version_find(struct store *s, uint32_t function_no, uint32_t number, struct version *ret,
                       struct error *err) {
    cleanup_query struct query q = query_read(s, STORE_STATE, FIND);
    bind_int(&q, function_no);
    bind_int(&q, number);
    return read_one(&q, ret, err);
}

int store_version_code(struct store *s, uint32_t no, struct blob **ret, char **ret_at,
                       uint64_t *ret_len, struct error *err) {
    cleanup_query struct query q = query_read(s, STORE_STATE, CODE);
    bind_int(&q, no);
    int rc = query_step(&q, err);
    if (rc <= 0)
        return rc < 0 ? -1 : no_such_version(err);
    struct str code = read_str(&q);
    char *at = read_text(&q);
    *ret_at = at;
    *ret_len = (uint64_t)read_int(&q);
    *ret = at ? NULL : blob_new(code);
    return 0;
}

int store_version_set_build(struct store *s, uint32_t no, enum build_status b, struct str log,
                            struct error *err) {
    cleanup_query struct query q = query_write(s, STORE_STATE, SET_BUILD);
    bind_int(&q, b);
    bind_str(&q, bounded_log(log));
    bind_int(&q, no);
    if (query_run(&q, err) < 0)
        return -1;
    return query_changes(&q) ? 0 : no_such_version(err);
}

int store_version_image(struct store *s, uint32_t no, char **ret_image, char **ret_digest,
                        struct blob **ret_spec, struct error *err) {
    cleanup_query struct query q = query_read(s, STORE_STATE, IMAGE);
    bind_int(&q, no);
    int rc = query_step(&q, err);
    if (rc <= 0)
        return rc < 0 ? -1 : no_such_version(err);
    *ret_image = read_text(&q);
    *ret_digest = read_text(&q);
    struct str spec = read_str(&q);
    *ret_spec = *ret_digest ? blob_new(spec) : NULL;
    return 0;
}

int store_version_set_image(struct store *s, uint32_t no, const char *digest, struct str spec,
                            struct error *err) {
    cleanup_query struct query q = query_write(s, STORE_STATE, SET_IMAGE);
    bind_text(&q, digest);
    bind_blob(&q, spec.p, spec.len);
    bind_int(&q, no);
    if (query_run(&q, err) < 0)
        return -1;
    return query_changes(&q) ? 0 : no_such_version(err);
}

int store_images_active(struct store *s, void (*visit)(void *arg, const char *digest), void *arg,
                        struct error *err) {
    cleanup_query struct query q = query_read(s, STORE_STATE, ACTIVE_IMAGES);
    int rc;
    while ((rc = query_step(&q, err)) > 0) {
        cleanup_free char *digest = read_text(&q);
        visit(arg, digest);
    }
    return rc;
}

int store_version_each(struct store *s, uint32_t function_no,
                       bool (*visit)(void *arg, const struct version *v), void *arg,
                       struct error *err) {
    cleanup_query struct query q = query_read(s, STORE_STATE, EACH);
    bind_int(&q, function_no);
    int rc;
    bool more = true;
    while (more && (rc = query_step(&q, err)) != 0) {
        if (rc < 0)
            return -1;
        struct version v = {0};
        read_version(&q, &v);
        more = visit(arg, &v);
        version_done(&v);
    }
    return 0;
}
