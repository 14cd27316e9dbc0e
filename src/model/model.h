/* SPDX-License-Identifier: Apache-2.0 */
#ifndef KILN_MODEL_MODEL_H
#define KILN_MODEL_MODEL_H

/* The things kiln knows, in the words of DESIGN.md: workspace > project > function > version and
 * trigger; invocations, log lines, events. Plain data: no SQL, no HTTP, no processes.
 *
 * struct function and struct version are immutable once they are shared, and reference counted, so
 * that any thread may hold one. A change makes a new object (function_clone, change, publish). */

#include "base/error.h"
#include "base/str.h"
#include "base/ulid.h"
#include <stdatomic.h>

/* ---- limits of the model (each named in docs/limits.md) ---- */
#define NAME_MAX_LEN          63 /* names of workspaces, projects, functions, triggers */
#define HANDLER_MAX_LEN       255
#define RUNTIME_MAX_LEN       32
#define ENV_PAIRS_MAX         256
#define ENV_KEY_MAX_LEN       255
#define ENV_TOTAL_MAX         (64 * KIB) /* keys and values of a function together */
#define LABEL_PAIRS_MAX       64
#define LABEL_MAX_LEN         255
#define CODE_MAX              (10 * MIB) /* decoded source or archive */
#define TRIGGERS_MAX          64         /* of one function */
#define TRIGGER_CONFIG_MAX    32         /* pairs */
#define TRIGGER_VALUE_MAX     2048
#define VERSIONS_MAX          10000 /* highest version number */
#define MEMORY_MIN            (32 * MIB)
#define MEMORY_MAX            (16 * GIB) /* what a field may say; a setting bounds it further */
#define CPU_MILLI_MAX         64000u
#define TIMEOUT_MS_MAX        900000u
#define INSTANCES_MAX         1000u /* maxReplicas */
#define TITLE_MAX_LEN         255   /* a name that is no identifier: "Resize images", "/a/b" */
#define DESCRIPTION_MAX       4096
#define IMAGE_REF_MAX_LEN     512
#define METHODS_MAX_LEN       64   /* "GET,POST" */
#define REPLY_HEADERS_MAX_LEN 8192 /* JSON text */
#define WORKSPACES_MAX        100000u
#define PROJECTS_MAX          100000u
#define EXECUTION_BODY_MAX    (1 * MIB) /* request or response kept; longer ones are not */
#define KV_KEY_MAX_LEN        255
#define KV_VALUE_MAX          (1 * MIB)
#define KV_KEYS_MAX           10000      /* of one function, in all its stores */
#define KV_BYTES_MAX          (64 * MIB) /* keys and values of one function */

/* ---- enumerations; *_name() is total, *_parse() returns -1 for an unknown word ---- */
enum function_status { FN_PENDING, FN_BUILDING, FN_READY, FN_ERROR, FN_DELETING };
enum build_status { BUILD_PENDING, BUILD_RUNNING, BUILD_SUCCESS, BUILD_FAILED };
enum invocation_status { INV_PENDING, INV_RUNNING, INV_COMPLETED, INV_FAILED };
enum trigger_type { TRIGGER_HTTP, TRIGGER_SCHEDULE, TRIGGER_EVENT, TRIGGER_QUEUE };
/* RUNTIME_IMAGE: an OCI image runs under its own entrypoint. */
enum runtime_kind { RUNTIME_PYTHON, RUNTIME_NODE, RUNTIME_IMAGE, RUNTIME_COUNT };
enum image_format { IMAGE_DEFAULT, IMAGE_HTTP, IMAGE_JSON }; /* what a container reads and writes */
enum network_kind { NETWORK_EGRESS, NETWORK_NONE, NETWORK_HOST };
enum log_line_level { LINE_DEBUG, LINE_INFO, LINE_WARN, LINE_ERROR };
enum invocation_source { SOURCE_SYNC, SOURCE_ASYNC, SOURCE_HTTP_TRIGGER, SOURCE_SCHEDULE };

const char *function_status_name(enum function_status s); /* "pending" … "deleting" */
const char *build_status_name(enum build_status s);       /* "pending|building|success|failed" */
const char *invocation_status_name(enum invocation_status s);
const char *trigger_type_name(enum trigger_type t); /* "http|schedule|event|messagequeue" */
const char *network_kind_name(enum network_kind n); /* "egress|none|host" */
int network_kind_parse(struct str s);
const char *log_line_level_name(enum log_line_level l); /* "debug|info|warn|error" */
const char *invocation_source_name(enum invocation_source s);
const char *image_format_name(enum image_format f); /* "default|http|json" */
int image_format_parse(struct str s);

/* Runtimes: every accepted spelling maps to a kind (COMPATIBILITY.md): python3.9, python39,
 * python3, python, nodejs18, node18, nodejs, node and other minor numbers of the same languages;
 * "Python 3.12" and "image" too; go, java and the rest: -1. */
int runtime_parse(struct str s);
const char *runtime_kind_name(enum runtime_kind k); /* "python", "node", "image" */

/* ---- string pairs (env, labels, annotations, trigger config), in the order given ---- */
struct pair {
    char *key, *value;
};
struct pairs {
    struct pair *v;
    size_t n;
};
void pairs_done(struct pairs *p);
void pairs_add(struct pairs *p, struct str key, struct str value); /* replaces an equal key */
void pairs_copy(struct pairs *to, const struct pairs *from);
const char *pairs_get(const struct pairs *p, const char *key); /* or NULL */
/* Pairs as JSON object text for the store, and back. */
struct buf;
int pairs_to_json(const struct pairs *p, struct buf *out);
int pairs_from_json(struct pairs *p, struct str text, struct error *err);

/* ---- function ---- */
struct function {
    _Atomic uint32_t refs;
    uint32_t no; /* number in the store, from 1; "func-<no>" outside. 0 until stored */
    char *workspace, *project, *name;
    char *title;   /* as its maker wrote the name where that is none (name_of_title()), or NULL */
    char *runtime; /* as the caller spelt it */
    enum runtime_kind kind;
    char *handler;
    struct pairs env, labels, annotations;
    char *memory, *cpu;     /* as the caller spelt them ("256Mi", "100m"), or NULL */
    uint64_t memory_bytes;  /* 0 = the server's default */
    uint32_t cpu_milli;     /* 0 = no quota */
    uint32_t timeout_ms;    /* 0 = the server's default */
    uint32_t min_instances; /* kept warm */
    uint32_t max_instances; /* 0 = the server's default (10) */
    enum network_kind network;
    char *methods; /* that its invocation URL takes: "GET,POST"; NULL: all */
    bool async;    /* a call that does not say is queued (runna's execution_type, iron's type) */
    char *image;   /* the OCI image that its active version is, as its maker wrote it; NULL: code */
    enum image_format format;
    char *reply_headers; /* JSON object, name → list of values, added to replies; or NULL */
    enum function_status status;
    uint32_t active_no, active_number;           /* version row and its number; 0 = none yet */
    uint32_t previous_no, previous_number;       /* active before; 0 = none */
    uint32_t last_number;                        /* highest version number ever used */
    int64_t created_us, updated_us, deployed_us; /* deployed: last activation; 0 never */
};
struct function *function_new(void);                       /* refs = 1, zeroed */
struct function *function_clone(const struct function *f); /* deep, refs = 1 */
struct function *function_ref(struct function *f);
void function_unref(struct function *f);
/* What its maker calls it: the title, else the name. */
const char *function_title(const struct function *f);
/* The name for what a maker calls it: TITLE itself where check_name() takes it (a leading '/' is
 * left out); else its letters and digits with '-' between, and 8 hex digits of its hash, so that
 * different titles have different names. 0, or -1: empty, over TITLE_MAX_LEN, control bytes or no
 * UTF-8. FIELD is named in the error. */
int name_of_title(struct str title, const char *field, char out[NAME_MAX_LEN + 1],
                  struct error *err);
/* Sets name, and title where it is another text. */
int function_set_title(struct function *f, struct str title, const char *field, struct error *err);

/* ---- workspace and project ---- */
struct workspace {
    uint32_t no;
    char *id;          /* "ws-default", "ws-12", or what a caller used in a path */
    char *name;        /* what people call it */
    char *description; /* or NULL */
    int64_t created_us, updated_us;
};
void workspace_done(struct workspace *w); /* frees the strings */
struct project {                          /* an iron app; a namespace */
    _Atomic uint32_t refs;
    uint32_t no;
    char *workspace, *name;
    struct pairs config; /* environment of all its functions; a function's own goes before it */
    int64_t created_us, updated_us;
};
struct project *project_new(void);
struct project *project_clone(const struct project *p);
struct project *project_ref(struct project *p);
void project_unref(struct project *p);

/* ---- code and versions ---- */
struct blob { /* immutable bytes shared between threads */
    _Atomic uint32_t refs;
    size_t len;
    char bytes[];
};
struct blob *blob_new(struct str s);
struct blob *blob_ref(struct blob *b);
void blob_unref(struct blob *b);

struct version {
    uint32_t no; /* "ver-<no>" */
    uint32_t function_no;
    uint32_t number; /* 1, 2, … shown as "v1" */
    enum build_status build;
    bool active;
    int64_t created_us;
    uint64_t code_len;
    char *image;     /* or NULL */
    char *build_log; /* or NULL; bounded by BUILD_LOG_MAX */
};
#define BUILD_LOG_MAX (64 * KIB)
void version_done(struct version *v); /* frees the strings */
/* Is it an image that runs? (An image beside code is only remembered.) */
bool version_is_image(const struct version *v);

struct trigger {
    _Atomic uint32_t refs;
    uint32_t no; /* "trg-<no>" */
    uint32_t function_no;
    char *name;
    enum trigger_type type;
    bool enabled;
    struct pairs config;
    int64_t created_us, updated_us;
};
struct trigger *trigger_new(void);
struct trigger *trigger_clone(const struct trigger *t);
struct trigger *trigger_ref(struct trigger *t);
void trigger_unref(struct trigger *t);

/* ---- what happened ---- */
struct invocation { /* one record; every call leaves one */
    struct ulid id; /* "inv-<26 letters>"; carries the function's number and the time */
    uint32_t function_no;
    uint32_t version_number;
    enum invocation_status status;
    enum invocation_source source;
    enum error_code cause; /* ERR_NONE when completed */
    uint16_t http_status;  /* what the handler said, 0 where it said nothing */
    bool cold;
    int64_t created_us; /* accepted; real time */
    int64_t started_us; /* 0 while pending */
    int64_t ended_us;   /* 0 while running */
    uint32_t queued_us, starting_us, running_us;
    char error_text[256]; /* first sentence of what failed, or "" */
};

/* What went in and came out of a call that was asked to be kept: blue's ExecutionLog, runna's job.
 */
struct execution {
    uint64_t no; /* runna's job number; 0: it is no job */
    uint32_t function_no;
    struct ulid id;               /* the invocation */
    struct str request, response; /* bodies as they were; borrowed; p NULL: not kept (too long) */
};

struct log_line {
    uint32_t function_no;
    uint32_t version_number;
    struct ulid invocation; /* all zero: outside of a call */
    int64_t at_us;
    enum log_line_level level;
    char instance[32];  /* "a1b2c3-x9"; part of pod names */
    struct str message; /* borrowed */
};

struct event {   /* one audit line */
    uint32_t no; /* "evt-<no>" */
    uint32_t function_no;
    char type[24]; /* "created", "updated", "deleted", "deployed", "version_activated", … */
    char *description;
    struct pairs metadata;
    int64_t created_us;
};
void event_done(struct event *e);

/* ---- tasks: builds, pushes, deployments, with their progress and log ---- */
#define TASK_ID_LEN  41         /* "task-" and a UUID */
#define TASK_LOG_MAX (64 * KIB) /* kept of a task's log: its end */
enum task_kind { TASK_BUILD, TASK_PUSH, TASK_BUILD_AND_PUSH, TASK_DEPLOY };
enum task_status { TASK_PENDING, TASK_RUNNING, TASK_COMPLETED, TASK_FAILED };
struct task {
    uint32_t no; /* order of acceptance */
    char id[TASK_ID_LEN + 1];
    char *workspace;
    enum task_kind kind;
    enum task_status status;
    char *app_name;    /* or NULL */
    char *progress;    /* what it does now, in a few words; or NULL */
    char *error;       /* why it failed, in a sentence; or NULL */
    char *file_path;   /* the upload: relative to the data folder, or s3://…; or NULL */
    char *wasm_path;   /* the artefact, the same way; or NULL */
    char *image;       /* where it was pushed, with its tag; or NULL */
    char *params;      /* JSON: what it needs to be taken up again; never a secret; or NULL */
    char *log;         /* or NULL */
    uint32_t attempts; /* times it was started */
    int64_t created_us, updated_us;
};
void task_done(struct task *t);                   /* frees the strings */
const char *task_kind_name(enum task_kind k);     /* "build|push|build-and-push|deploy" */
const char *task_status_name(enum task_status s); /* "pending|running|completed|failed" */
void task_id_make(char out[TASK_ID_LEN + 1]);
bool task_id_is(struct str s); /* such an id, in its one spelling */

/* ---- checks of what a caller said; the sentence names the field and what would be right ---- */
/* Letters, digits, '-', '_' and '.', first a letter or digit, at most NAME_MAX_LEN. */
int check_name(struct str s, const char *field, struct error *err);
/* The same, and it may begin with '-' or '_'. */
int check_project_name(struct str s, const char *field, struct error *err);
int check_handler(struct str s, struct error *err); /* path.of.names, no control bytes, no ".." */
int check_env(const struct pairs *env, struct error *err);
int check_labels(const struct pairs *labels, const char *field, struct error *err);
/* "256Mi", "1Gi", "128M", plain bytes → bytes within [MEMORY_MIN, MEMORY_MAX]. */
int parse_memory(struct str s, const char *field, uint64_t *ret_bytes, struct error *err);
/* "100m", "0.5", "2" → thousandths of a core within [10, CPU_MILLI_MAX]. */
int parse_cpu(struct str s, const char *field, uint32_t *ret_milli, struct error *err);
/* Is it a schedule (cron.h)? */
int check_cron(struct str s, const char *field, struct error *err);
/* Type and config of a trigger: http wants method and path in form and fills the defaults (GET,
 * /{function name}); schedule wants cron. */
int check_trigger(struct trigger *t, const char *function_name, struct error *err);

/* ---- outside ids: prefix and number ---- */
#define ID_TEXT_MAX 40
const char *id_text(char out[ID_TEXT_MAX], const char *prefix, uint32_t no); /* "func-12" */
uint32_t id_parse(struct str s, const char *prefix);                         /* 0: not such an id */
const char *invocation_id_text(char out[ID_TEXT_MAX], const struct ulid *u); /* "inv-01J…" */
int invocation_id_parse(struct str s, struct ulid *ret);

/* Total stored sizes etc. that several layers show. */
#define DEFAULT_WORKSPACE "ws-default"
#define DEFAULT_PROJECT   "proj-default"

#endif
