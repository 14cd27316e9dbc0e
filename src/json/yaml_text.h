/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_JSON_YAML_TEXT_H
#define KILN_JSON_YAML_TEXT_H

/* YAML (1.1, by libyaml) to and from JSON text, for files of other systems: kubeconfigs are read,
 * manifests written. What is read is one document without anchors, aliases and tags, which
 * configuration does not need and bombs are made of. */

#include "base/buf.h"
#include "base/error.h"
#include "json/tree.h"

#define YAML_MAX       (1 * MIB) /* of a document */
#define YAML_DEPTH_MAX 32

/* Every scalar becomes a string, but a plain empty one, "~" and "null", which become null: who
 * knows the document knows its types. Appended to OUT; ERR_INVALID with the line; the text, which
 * may hold secrets, is not quoted. */
int yaml_to_json(struct str yaml, struct buf *out, struct error *err);
/* The other way: strings that YAML would read as something else are quoted. */
int yaml_from_json(const struct json *v, struct buf *out, struct error *err);

#endif
