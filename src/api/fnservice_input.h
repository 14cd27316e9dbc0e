/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_API_FNSERVICE_INPUT_H
#define KILN_API_FNSERVICE_INPUT_H

/* The JSON of an invoke request, read without a tree: its body may be tens of megabytes. */

#include "core/core.h"
#include "json/scan.h"

struct fnservice_input {
    struct str method, path;   /* defaults filled in */
    struct str headers, query; /* JSON objects as they stand, or p == NULL */
    struct str content_type;   /* of headers; p == NULL: none */
    struct buf body;           /* decoded; ceiling: the payload limit */
    struct buf text, type;     /* private: what the strings above stand in */
};

/* IN is zeroed. An empty TEXT is an empty object. TEXT must live as long as IN. */
int fnservice_input_read(struct fnservice_input *in, struct str text, size_t payload_max,
                         struct error *err);
/* Appends query and headers to CALL's input: 0 or -1 ERR_INVALID. */
int fnservice_input_pairs(const struct fnservice_input *in, struct engine_input *out,
                          struct error *err);
void fnservice_input_done(struct fnservice_input *in);

#endif
