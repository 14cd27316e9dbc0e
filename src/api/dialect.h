/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_API_DIALECT_H
#define KILN_API_DIALECT_H

/* struct dialect: what one of the served APIs has of its own besides its operations: how it says
 * that something went wrong, and which paths are its own. One const struct a dialect,
 * `dialect_<name>`, at the end of src/api/<name>.c; its operations come from api/<name>.yaml. */

#include "base/buf.h"
#include "base/error.h"

struct dialect_error {
    uint16_t status;
    const char *code; /* word of this dialect, NULL where it has none */
};

struct dialect {
    const char *name;
    const char *const *prefixes; /* of paths that no operation has; the longest wins; NULL ends */
    const char *content_type;    /* of errors */
    bool cors;                   /* browsers of any origin may ask */
    /* Where a path has {workspace…}: its index among the parameters. Paths without one are about
     * the token's own workspace (ws-default where the token is for all). -1: ws-default always. */
    int workspace_param;
    const struct dialect_error *errors; /* [ERR_COUNT], total by test */
    /* Appends the body of an error. WORD is the table's code for it. */
    void (*error_body)(struct buf *out, const struct error *err, const char *word);
};

/* The table's line for a code; an unknown one is ERR_INTERNAL's. */
const struct dialect_error *dialect_error(const struct dialect *d, enum error_code code);

#endif
