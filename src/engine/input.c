/* SPDX-License-Identifier: Apache-2.0 */
/* Encoding what stands before the body of a CALL frame; see wire.h. */

#include "engine/engine.h"
#include <errno.h>
#include <stdio.h>

static void note(struct engine_input *in, int r) {
    if (r < 0)
        in->failed = r;
}

static void patch_count(struct engine_input *in) {
    if (in->failed)
        return;
    for (int i = 0; i < 4; i++)
        in->b->p[in->count_at + i] = (char)(in->count >> (8 * i));
}

static void begin_pairs(struct engine_input *in) {
    in->count_at = (ssize_t)in->b->len;
    in->count = 0;
    note(in, wire_u32(in->b, 0));
}

static void add_pair(struct engine_input *in, struct str key, struct str value) {
    if (++in->count > WIRE_HEADERS_MAX) {
        in->failed = -EMSGSIZE;
        return;
    }
    note(in, wire_str(in->b, key));
    note(in, wire_str(in->b, value));
}

void engine_input_begin(struct engine_input *in, struct buf *b, enum wire_body body_kind,
                        const struct ulid *id, struct str method, struct str path) {
    char text[ID_TEXT_MAX];
    *in = (struct engine_input){.b = b};
    note(in, wire_u32(b, 0)); /* the deadline: set when the call goes out */
    note(in, wire_u8(b, (uint8_t)body_kind));
    note(in, wire_str(b, str_of(invocation_id_text(text, id))));
    note(in, wire_str(b, method));
    note(in, wire_str(b, path));
    begin_pairs(in);
}

void engine_input_query(struct engine_input *in, struct str name, struct str value) {
    add_pair(in, name, value);
}

void engine_input_headers(struct engine_input *in) {
    patch_count(in);
    begin_pairs(in);
}

void engine_input_header(struct engine_input *in, struct str lower_name, struct str value) {
    add_pair(in, lower_name, value);
}

int engine_input_end(struct engine_input *in) {
    patch_count(in);
    return in->failed;
}
