/* SPDX-License-Identifier: Apache-2.0 */
/* The words of the enumerations, one table each. */

#include "model/model.h"

static const char *name_at(const char *const *names, size_t n, unsigned int i) {
    return i < n ? names[i] : "unknown";
}

static int name_find(const char *const *names, size_t n, struct str s) {
    for (size_t i = 0; i < n; i++) {
        if (str_is(s, names[i]))
            return (int)i;
    }
    return -1;
}

#define NAME_AT(table, i)   name_at(table, ARRAY_LEN(table), (unsigned int)(i))
#define NAME_FIND(table, s) name_find(table, ARRAY_LEN(table), s)

static const char *const FUNCTION_STATUS[] = {
    [FN_PENDING] = "pending", [FN_BUILDING] = "building", [FN_READY] = "ready",
    [FN_ERROR] = "error",     [FN_DELETING] = "deleting",
};
static const char *const BUILD_STATUS[] = {
    [BUILD_PENDING] = "pending",
    [BUILD_RUNNING] = "building",
    [BUILD_SUCCESS] = "success",
    [BUILD_FAILED] = "failed",
};
static const char *const INVOCATION_STATUS[] = {
    [INV_PENDING] = "pending",
    [INV_RUNNING] = "running",
    [INV_COMPLETED] = "completed",
    [INV_FAILED] = "failed",
};
static const char *const TRIGGER_TYPE[] = {
    [TRIGGER_HTTP] = "http",
    [TRIGGER_SCHEDULE] = "schedule",
    [TRIGGER_EVENT] = "event",
    [TRIGGER_QUEUE] = "messagequeue",
};
static const char *const NETWORK_KIND[] = {
    [NETWORK_EGRESS] = "egress",
    [NETWORK_NONE] = "none",
    [NETWORK_HOST] = "host",
};
static const char *const LOG_LINE_LEVEL[] = {
    [LINE_DEBUG] = "debug",
    [LINE_INFO] = "info",
    [LINE_WARN] = "warn",
    [LINE_ERROR] = "error",
};
static const char *const INVOCATION_SOURCE[] = {
    [SOURCE_SYNC] = "sync",
    [SOURCE_ASYNC] = "async",
    [SOURCE_HTTP_TRIGGER] = "http",
    [SOURCE_SCHEDULE] = "schedule",
};
static const char *const IMAGE_FORMAT[] = {
    [IMAGE_DEFAULT] = "default",
    [IMAGE_HTTP] = "http",
    [IMAGE_JSON] = "json",
};

const char *function_status_name(enum function_status s) {
    return NAME_AT(FUNCTION_STATUS, s);
}

const char *build_status_name(enum build_status s) {
    return NAME_AT(BUILD_STATUS, s);
}

const char *invocation_status_name(enum invocation_status s) {
    return NAME_AT(INVOCATION_STATUS, s);
}

const char *trigger_type_name(enum trigger_type t) {
    return NAME_AT(TRIGGER_TYPE, t);
}

const char *network_kind_name(enum network_kind n) {
    return NAME_AT(NETWORK_KIND, n);
}

int network_kind_parse(struct str s) {
    return NAME_FIND(NETWORK_KIND, s);
}

const char *log_line_level_name(enum log_line_level l) {
    return NAME_AT(LOG_LINE_LEVEL, l);
}

const char *invocation_source_name(enum invocation_source s) {
    return NAME_AT(INVOCATION_SOURCE, s);
}

const char *image_format_name(enum image_format f) {
    return NAME_AT(IMAGE_FORMAT, f);
}

int image_format_parse(struct str s) {
    return NAME_FIND(IMAGE_FORMAT, s);
}
