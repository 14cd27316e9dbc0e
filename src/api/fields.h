/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_API_FIELDS_H
#define KILN_API_FIELDS_H

/* JSON members into the model's fields, for every dialect: each dialect says which names its
 * members have, the rules are the same. A member that is absent leaves the field as it is; -1 means
 * ERR_INVALID, ERR_INVALID_RUNTIME or ERR_FORBIDDEN with *err naming the field. */

#include "api/request.h"
#include "json/tree.h"

/* What a reader is shown instead of an environment value; given back, it keeps the stored one. */
#define SECRET_MASK "***"

/* The whole body as one JSON object; free with json_free(). An empty body is ERR_INVALID. */
int fields_body(const struct request *r, struct json **ret, struct error *err);

int fields_name(const struct json *o, const char *member, int flags, struct function *f,
                struct error *err);
int fields_runtime(const struct json *o, const char *member, int flags, struct function *f,
                   struct error *err);
int fields_handler(const struct json *o, const char *member, int flags, struct function *f,
                   struct error *err);
/* A map of strings, replaced as a whole; not checked further. */
int fields_map(const struct json *o, const char *member, struct pairs *to, struct error *err);
/* The same for labels and annotations. */
int fields_pairs(const struct json *o, const char *member, struct pairs *to, struct error *err);
/* The same; SECRET_MASK keeps the value that *TO holds under that name. */
int fields_environment(const struct json *o, const char *member, struct pairs *to,
                       struct error *err);
/* O's members "memory" and "cpu". O may be NULL. PREFIX is what stands before their names in
 * errors:
 * "" or "resources.". */
int fields_resources(const struct request *r, const struct json *o, const char *prefix,
                     struct function *f, struct error *err);
int fields_timeout(const struct json *o, const char *member, struct function *f, struct error *err);
int fields_replicas(const struct request *r, const struct json *o, const char *min_member,
                    const char *max_member, struct function *f, struct error *err);
int fields_network(const struct request *r, const struct json *o, const char *member,
                   struct function *f, struct error *err);

/* And back: a map of strings, and the environment with its values masked. */
void fields_write_pairs(struct json_w *w, const char *member, const struct pairs *p);
void fields_write_environment(struct json_w *w, const struct pairs *env);

/* Member "code": source is text; what is not (an archive) is base64, and IS_BASE64 a member that
 * says so. CODE NULL: "". */
void fields_write_code(struct json_w *w, const struct blob *code, const char *is_base64);

/* Replaces *TO. */
void field_set(char **to, struct str value);

/* Defaults filled in, as the engine will. */
uint32_t function_timeout_ms(const struct request *r, const struct function *f);
uint32_t function_max_instances(const struct request *r, const struct function *f);

#endif
