/* SPDX-License-Identifier: Apache-2.0 */
/* The first line is the content type, the rest the body. Parts are slices of the body, in order and
 * apart; what was read can be written and read again. */
#include "base/buf.h"
#include "fuzz.h"
#include "http/multipart.h"

#include <errno.h>

static void write_part(struct buf *out, const struct multipart_part *p) {
    (void)buf_puts(out, "--x\r\nContent-Disposition: form-data; name=\"");
    for (const char *c = p->name; *c; c++) {
        if (*c == '"' || *c == '\\')
            (void)buf_putc(out, '\\');
        (void)buf_putc(out, *c);
    }
    (void)buf_puts(out, "\"\r\n\r\n");
    (void)buf_put_str(out, p->body);
    (void)buf_puts(out, "\r\n");
}

/* Only where the content holds nothing that looks like our boundary. */
static void read_again(const struct multipart_part *p) {
    cleanup_buf struct buf text = BUF_INIT(4 * MIB);
    struct multipart m;
    struct multipart_part again;
    if (p->body.len && memmem(p->body.p, p->body.len, "--x", 3))
        return;
    write_part(&text, p);
    (void)buf_puts(&text, "--x--\r\n");
    MUST(multipart_open(&m, STR("multipart/form-data; boundary=x"), buf_str(&text)) == 0);
    MUST(multipart_next(&m, &again) == 1);
    MUST(strcmp(again.name, p->name) == 0 && str_eq(again.body, p->body));
    MUST(multipart_next(&m, &again) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct str body = str_n(data, size);
    struct str type = str_cut(&body, '\n');
    struct multipart m;
    struct multipart_part p;
    if (size > 256 * KIB || !body.p || multipart_open(&m, type, body) < 0)
        return 0;
    const char *last = body.p;
    unsigned parts = 0;
    int r;
    while ((r = multipart_next(&m, &p)) > 0) {
        MUST(p.body.p >= last && p.body.p + p.body.len <= body.p + body.len);
        MUST(p.name[0] && str_is_utf8(str_of(p.name)) && str_is_utf8(str_of(p.file_name)));
        last = p.body.p + p.body.len;
        read_again(&p);
        parts++;
    }
    MUST(parts <= MULTIPART_PARTS_MAX && (r == 0 || r == -EINVAL || r == -E2BIG));
    return 0;
}
