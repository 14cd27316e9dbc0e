/* SPDX-License-Identifier: Apache-2.0 */
#include "task/task.h"

#include <stdio.h>

/* A path is never followed: only the id in it counts, and what stands around that must be what the
 * builder itself would have written. */
bool task_source_id(struct str path, char ret[TASK_ID_LEN + 1]) {
    bool s3 = str_starts(path, STR("s3://"));
    struct str rest = s3 ? str_n(path.p + 5, path.len - 5) : path;
    struct str found = STR_NULL;
    if (path.len == 0 || path.len > TASK_PATH_MAX || memchr(path.p, 0, path.len))
        return false;
    if (!s3 && rest.p[0] == '/')
        rest = str_n(rest.p + 1, rest.len - 1);
    for (size_t i = 0; rest.p; i++) {
        struct str part = str_cut(&rest, '/');
        if (str_is(part, "..") || str_is(part, "."))
            return false;
        if (found.p)
            continue;
        if (task_id_is(part))
            found = part;
        else if (!s3 && !(i == 0 && str_is(part, "artifacts")))
            return false;
    }
    if (found.p)
        (void)snprintf(ret, TASK_ID_LEN + 1, "%.*s", STR_ARG(found));
    return found.p != NULL;
}
