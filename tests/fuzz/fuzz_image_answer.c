/* SPDX-License-Identifier: Apache-2.0 */
/* What a container answers, in HTTP and in JSON. Whatever it is: no byte beyond it is read, what is
 * taken is within it, and with its last bytes still to come no answer is another one. */

#include "../../runtimes/image/image_runtime.h"
#include "fuzz.h"

#include <stdlib.h>

static void check(ssize_t n, struct str text, const struct result *r) {
    if (n > (ssize_t)text.len)
        abort();
    if (n > 0 && (r->status < 100 || r->status > 599))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    cleanup_free char *copy = x_memdup(size ? (const void *)data : "", size ? size : 1);
    struct str text = str_n(copy, size);
    for (int i = 0; i < 3; i++) {
        cleanup_buf struct buf body = BUF_INIT(IMAGE_BODY_MAX);
        struct result r = {.status = 200};
        struct progress p = {0};
        const char *why = NULL;
        if (size > 1 && i == 2) /* its front first */
            (void)json_answer(str_n(copy, size / 2), &p, &r, &body, &why);
        ssize_t n = i < 2 ? http_answer(text, i == 1, false, &p, &r, &body, &why)
                          : json_answer(text, &p, &r, &body, &why);
        check(n, text, &r);
        result_done(&r);
    }
    return 0;
}
