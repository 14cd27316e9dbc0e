/* SPDX-License-Identifier: Apache-2.0 */
#include "opinion.h"

#include <http_parser.h>
#include <stdio.h>
#include <string.h>

struct asked {
    struct opinion *o;
    bool in_field;
};

static struct opinion *opinion_of(http_parser *hp) {
    return ((struct asked *)hp->data)->o;
}

static int on_url(http_parser *hp, const char *at, size_t len) {
    struct opinion *o = opinion_of(hp);
    if (o->target_len + len > sizeof(o->target))
        return 1;
    memcpy(o->target + o->target_len, at, len);
    o->target_len += len;
    return 0;
}

static int on_field(http_parser *hp, const char *at, size_t len) {
    struct asked *a = hp->data;
    (void)at, (void)len;
    a->o->n_headers += !a->in_field && !a->o->head_done;
    a->in_field = true;
    return 0;
}

static int on_value(http_parser *hp, const char *at, size_t len) {
    (void)at, (void)len;
    ((struct asked *)hp->data)->in_field = false;
    return 0;
}

static int on_head_done(http_parser *hp) {
    struct opinion *o = opinion_of(hp);
    o->head_done = true;
    o->keep_alive = http_should_keep_alive(hp);
    o->minor = hp->http_minor;
    o->chunked = hp->flags & F_CHUNKED;
    o->content_length = hp->content_length == UINT64_MAX ? 0 : hp->content_length;
    o->upgrade = hp->upgrade;
    snprintf(o->method, sizeof(o->method), "%s", http_method_str(hp->method));
    return 0;
}

static int on_body(http_parser *hp, const char *at, size_t len) {
    (void)at;
    opinion_of(hp)->body_len += len;
    return 0;
}

static int on_done(http_parser *hp) {
    opinion_of(hp)->done = true;
    http_parser_pause(hp, 1);
    return 0;
}

void opinion_ask(const char *request, size_t len, struct opinion *ret) {
    static const http_parser_settings settings = {
        .on_url = on_url,
        .on_header_field = on_field,
        .on_header_value = on_value,
        .on_headers_complete = on_head_done,
        .on_body = on_body,
        .on_message_complete = on_done,
    };
    struct asked asked = {.o = ret};
    http_parser hp;
    memset(ret, 0, offsetof(struct opinion, target));
    ret->target_len = ret->n_headers = ret->body_len = 0;
    ret->content_length = 0;
    http_parser_init(&hp, HTTP_REQUEST);
    hp.data = &asked;
    http_parser_execute(&hp, &settings, request, len);
    enum http_errno e = HTTP_PARSER_ERRNO(&hp);
    ret->failed = e != HPE_OK && e != HPE_PAUSED;
}
