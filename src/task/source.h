/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_TASK_SOURCE_H
#define KILN_TASK_SOURCE_H

/* struct source: the files of an application that somebody uploaded to be built: one .py, or a
 * .zip with spin.toml at its root (developer.fermyon.com/spin/v3/python-components). The upload is
 * hostile: what leads out of the folder, links, bombs and what is over a limit is refused.
 * Blocks a little (inflating): for worker threads. */

#include "base/buf.h"
#include "base/error.h"

#define SOURCE_UPLOAD_MAX   (10 * MIB) /* the file as it is uploaded */
#define SOURCE_FILES_MAX    2000u
#define SOURCE_BYTES_MAX    (32 * MIB) /* all files of an archive, unpacked */
#define SOURCE_PATH_MAX     200u
#define SOURCE_DEPTH_MAX    16u
#define SOURCE_MANIFEST_MAX (64 * KIB) /* spin.toml */
#define SOURCE_MODULE_MAX   128u

struct source_file {
    char *path; /* relative, without "." and "..", never ends in '/' */
    char *bytes;
    size_t len;
};
struct source {
    struct source_file *v;
    size_t n, cap, bytes;
    char folder[SOURCE_PATH_MAX + 1];   /* of the component's code: "" or "src/app" */
    char module[SOURCE_MODULE_MAX + 1]; /* in it, with the handler: "app" */
    bool wrapped;                       /* IncomingHandler was added */
    bool manifest_made;                 /* spin.toml was added */
};

/* NAME is the upload's file name; APP is what a manifest that is made calls the application. 0, or
 * -1 ERR_INVALID or ERR_TOO_LARGE with the field "file". */
int source_read(struct str name, struct str upload, const char *app, struct source *ret,
                struct error *err);
void source_done(struct source *s);
static inline void cleanup_source_p(struct source *s) {
    source_done(s);
}
#define cleanup_source __attribute__((cleanup(cleanup_source_p)))
/* ".py" or ".zip": 0, or -1 ERR_INVALID with the field "file". */
int source_check_name(struct str name, struct error *err);
bool source_is_archive(struct str name);

/* The files under FOLDER (relative to it; "" = all) as a POSIX tar, each path behind PREFIX ("" or
 * "app/"); owner 0, time 0: the same files make the same bytes. Appended to OUT. */
int source_tar(const struct source *s, const char *folder, const char *prefix, struct buf *out,
               struct error *err);

#endif
