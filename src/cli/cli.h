/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_CLI_CLI_H
#define KILN_CLI_CLI_H

/* The command line: each command is a function in the table of main.c; all speak to a server's
 * fnservice API through client.c. One thread, ends with its command: memory is not freed on the
 * way out where that would only be noise. */

#include "base/buf.h"
#include "base/clock.h"
#include "base/error.h"
#include "json/tree.h"

#define CLI_WORKSPACE "ws-default"
#define CLI_PROJECT   "proj-default"
#define CLI_CODE_MAX  (10 * MIB) /* as the server: CODE_MAX of model.h */
#define CLI_LIST_MAX  64         /* --env, --label, --header: so many of each */

/* Every option of every command; which of them a command takes stands in its row. */
struct options {
    const char *args[4]; /* what stands without dashes */
    size_t n_args;
    const char *name, *runtime, *handler, *memory, *cpu, *timeout, *min, *max, *network, *http;
    const char *cron, *image, *format;
    const char *project, *data, *method, *path, *since, *until, *limit, *version;
    const char *env[CLI_LIST_MAX], *label[CLI_LIST_MAX], *header[CLI_LIST_MAX];
    size_t n_env, n_label, n_header;
    bool json, follow, async, help, previous;
};

struct command {
    const char *name, *args, *help;
    size_t min_args, max_args;
    const char *options; /* names separated by blanks; --json and --project go everywhere */
    int (*run)(const struct options *o, struct error *err);
};
/* ERR_INVALID says which option is wrong and which the command takes. */
int options_parse(const struct command *c, int argc, char **argv, struct options *ret,
                  struct error *err);
/* "10m" ago, or RFC 3339 as it is, as RFC 3339. */
int option_time(const char *text, const char *option, char out[RFC3339_MAX], struct error *err);
int option_limit(const char *text, struct error *err); /* NULL is fine */
/* --since and --until, where they were given, as query parameters of these names, each behind '&'.
 */
int option_window(const struct options *o, const char *since, const char *until, struct buf *out,
                  struct error *err);
void options_help(const struct command *c, struct buf *out);

/* ---- client.c: one request after the other over one connection ---- */
/* Path below the workspace's functions ("" = the list): JSON in (NULL: none), JSON out (NULL for
 * an empty body). Any status of 400 or more is *ERR, in words, with what to do next. */
int client_call(const char *method, const char *path, const struct buf *body, struct json **ret,
                struct error *err);
/* The same with a path of the server's root, for what another of its APIs does. */
int client_call_at(const char *method, const char *path, const struct buf *body, struct json **ret,
                   struct error *err);
/* GET of one whose reply has the list MEMBER: *RET_LIST stands in *RET. */
int client_list(const char *path, const char *member, struct json **ret,
                const struct json **ret_list, struct error *err);
const char *client_workspace(void); /* KILN_WORKSPACE, or CLI_WORKSPACE */
/* Gives every line of a streamed answer to LINE as it comes, until the server or Ctrl-C ends it. */
int client_stream(const char *path, void (*line)(struct str line), struct error *err);
void client_done(void);

/* ---- functions.c ---- */
/* Finds a function by name or id: *RET_ID is owned by the caller. ERR_NOT_FOUND says how to list.
 */
int function_find(const struct options *o, const char *name, char **ret_id, struct error *err);
/* A member that is text, or FALLBACK. */
struct str member_str(const struct json *v, const char *name, const char *fallback);
const char *project_of(const struct options *o);

/* ---- triggers.c ---- */
/* Makes --http and --cron triggers of function NAME; deployed again they are changed. */
int triggers_set(const struct options *o, const char *name, const char *id, struct error *err);

/* ---- image.c ---- */
/* fnservice makes functions of code only: those of an image are made as IronFunctions' routes. */
int image_check(const struct options *o, struct error *err);
int image_create(const struct options *o, const char *name, struct error *err);
int image_set_format(const struct options *o, const char *name, struct error *err);

/* ---- archive.c: what a folder is sent as ---- */
/* The file's bytes, or the folder as a ustar archive (regular files only, sorted by name; dot files
 * and __pycache__ stay behind). At most CLI_CODE_MAX bytes. */
int archive_read(const char *path, bool *ret_folder, struct buf *out, struct error *err);

/* ---- table.c: columns as wide as they need to be ---- */
#define TABLE_COLUMNS 8
struct table {
    const char *const *heads;
    size_t n_columns, n_rows;
    char **cells;
};
void table_row(struct table *t, ...); /* as many const char * as there are columns */
/* LIST as --json wants it, else a table with a row for each item; where it has none, NOTHING (NULL:
 * the heads alone). */
int table_of(const struct options *o, const struct json *list, const char *const *heads,
             size_t n_columns, const char *nothing,
             void (*row)(struct table *t, const struct json *item));
/* "3s", "5m", "2h", "4d" since an RFC 3339 time. */
const char *table_age(struct str rfc3339, char out[16]);

/* ---- table.c: one line on a terminal that is overwritten; nothing elsewhere ---- */
void progress(const char *fmt, ...) PRINTF_LIKE(1, 2);
void progress_end(void);

int print_json(const struct json *v);

/* ---- the commands ---- */
int command_deploy(const struct options *o, struct error *err);
int command_invoke(const struct options *o, struct error *err);
int command_list(const struct options *o, struct error *err);
int command_get(const struct options *o, struct error *err);
int command_logs(const struct options *o, struct error *err);
int command_delete(const struct options *o, struct error *err);
int command_metrics(const struct options *o, struct error *err);
int command_events(const struct options *o, struct error *err);
int command_triggers(const struct options *o, struct error *err);
int command_versions(const struct options *o, struct error *err);
int command_activate(const struct options *o, struct error *err);
int command_rollback(const struct options *o, struct error *err);

#endif
