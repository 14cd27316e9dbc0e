/* SPDX-License-Identifier: Apache-2.0 */
/* The tables. A migration that has been released is never changed: a new one is added below it. */

#include "store/sqlite.h"

/* AUTOINCREMENT: a number is never given twice, as history and the world outside remember it.
 * versions.active is not stored: functions.active_no says it once. Big columns stand last, so that
 * reading a row's other columns does not walk through their pages. */
const char *const sqlite_state_migrations[] = {
    "CREATE TABLE functions ("
    " no INTEGER PRIMARY KEY AUTOINCREMENT,"
    " workspace TEXT NOT NULL, project TEXT NOT NULL, name TEXT NOT NULL,"
    " runtime TEXT NOT NULL, kind INTEGER NOT NULL, handler TEXT NOT NULL,"
    " memory TEXT, cpu TEXT, memory_bytes INTEGER NOT NULL, cpu_milli INTEGER NOT NULL,"
    " timeout_ms INTEGER NOT NULL, min_instances INTEGER NOT NULL,"
    " max_instances INTEGER NOT NULL, network INTEGER NOT NULL, status INTEGER NOT NULL,"
    " active_no INTEGER NOT NULL, active_number INTEGER NOT NULL,"
    " previous_no INTEGER NOT NULL, previous_number INTEGER NOT NULL,"
    " last_number INTEGER NOT NULL,"
    " created_us INTEGER NOT NULL, updated_us INTEGER NOT NULL, deployed_us INTEGER NOT NULL,"
    " env TEXT NOT NULL, labels TEXT NOT NULL, annotations TEXT NOT NULL,"
    " UNIQUE (workspace, project, name)) STRICT;"

    "CREATE TABLE versions ("
    " no INTEGER PRIMARY KEY AUTOINCREMENT,"
    " function_no INTEGER NOT NULL REFERENCES functions ON DELETE CASCADE,"
    " number INTEGER NOT NULL, build INTEGER NOT NULL, created_us INTEGER NOT NULL,"
    " code_len INTEGER NOT NULL, image TEXT, build_log TEXT,"
    " UNIQUE (function_no, number)) STRICT;"

    "CREATE TABLE version_codes ("
    " version_no INTEGER PRIMARY KEY REFERENCES versions ON DELETE CASCADE,"
    " code BLOB NOT NULL) STRICT;"

    "CREATE TABLE triggers ("
    " no INTEGER PRIMARY KEY AUTOINCREMENT,"
    " function_no INTEGER NOT NULL REFERENCES functions ON DELETE CASCADE,"
    " name TEXT NOT NULL, type INTEGER NOT NULL, enabled INTEGER NOT NULL,"
    " created_us INTEGER NOT NULL, updated_us INTEGER NOT NULL, config TEXT NOT NULL,"
    " UNIQUE (function_no, name)) STRICT;"

    /* no reference: the line that says "deleted" outlives its function */
    "CREATE TABLE events ("
    " no INTEGER PRIMARY KEY AUTOINCREMENT,"
    " function_no INTEGER NOT NULL, created_us INTEGER NOT NULL, type TEXT NOT NULL,"
    " description TEXT, metadata TEXT NOT NULL) STRICT;"
    "CREATE INDEX events_of ON events (function_no, no);"

    "CREATE TABLE tokens ("
    " no INTEGER PRIMARY KEY AUTOINCREMENT,"
    " workspace TEXT NOT NULL, name TEXT NOT NULL, role INTEGER NOT NULL,"
    " created_us INTEGER NOT NULL, hash BLOB NOT NULL,"
    " UNIQUE (workspace, name)) STRICT;"

    "CREATE TABLE async_calls ("
    " seq INTEGER PRIMARY KEY AUTOINCREMENT,"
    " id BLOB NOT NULL UNIQUE,"
    " function_no INTEGER NOT NULL REFERENCES functions ON DELETE CASCADE,"
    " status INTEGER NOT NULL, attempts INTEGER NOT NULL, workspace TEXT NOT NULL,"
    " version_number INTEGER NOT NULL, source INTEGER NOT NULL, cause INTEGER NOT NULL,"
    " http_status INTEGER NOT NULL, cold INTEGER NOT NULL,"
    " created_us INTEGER NOT NULL, started_us INTEGER NOT NULL, ended_us INTEGER NOT NULL,"
    " queued_us INTEGER NOT NULL, starting_us INTEGER NOT NULL, running_us INTEGER NOT NULL,"
    " error_text TEXT NOT NULL, result_status INTEGER NOT NULL,"
    " result_headers TEXT, result_body BLOB, input BLOB) STRICT;"
    "CREATE INDEX async_calls_of ON async_calls (function_no, status, seq);",

    "ALTER TABLE functions ADD COLUMN title TEXT;"
    "ALTER TABLE functions ADD COLUMN methods TEXT;"
    "ALTER TABLE functions ADD COLUMN async INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE functions ADD COLUMN image TEXT;"
    "ALTER TABLE functions ADD COLUMN format INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE functions ADD COLUMN reply_headers TEXT;"

    /* Those that functions live in, but for what was never named: a path may say any workspace. */
    "CREATE TABLE workspaces ("
    " no INTEGER PRIMARY KEY AUTOINCREMENT,"
    " id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, description TEXT,"
    " created_us INTEGER NOT NULL, updated_us INTEGER NOT NULL) STRICT;"
    "CREATE TABLE projects ("
    " no INTEGER PRIMARY KEY AUTOINCREMENT,"
    " workspace TEXT NOT NULL, name TEXT NOT NULL, config TEXT NOT NULL,"
    " created_us INTEGER NOT NULL, updated_us INTEGER NOT NULL,"
    " UNIQUE (workspace, name)) STRICT;"
    "INSERT INTO workspaces (id, name, created_us, updated_us)"
    " VALUES ('ws-default', 'default', strftime('%s') * 1000000, strftime('%s') * 1000000);"
    "INSERT OR IGNORE INTO workspaces (id, name, created_us, updated_us)"
    " SELECT workspace, workspace, min(created_us), min(created_us) FROM functions"
    " GROUP BY workspace;"
    "INSERT INTO projects (workspace, name, config, created_us, updated_us)"
    " VALUES ('ws-default', 'proj-default', '{}', strftime('%s') * 1000000,"
    " strftime('%s') * 1000000);"
    "INSERT OR IGNORE INTO projects (workspace, name, config, created_us, updated_us)"
    " SELECT workspace, project, '{}', min(created_us), min(created_us) FROM functions"
    " GROUP BY workspace, project;"
    "CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL)"
    " STRICT, WITHOUT ROWID;",

    /* What functions keep; key_value_use is the sum that the limits are held to. */
    "CREATE TABLE key_values ("
    " function_no INTEGER NOT NULL REFERENCES functions ON DELETE CASCADE,"
    " store TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL,"
    " PRIMARY KEY (function_no, store, key)) STRICT;"
    "CREATE TABLE key_value_use ("
    " function_no INTEGER PRIMARY KEY REFERENCES functions ON DELETE CASCADE,"
    " keys INTEGER NOT NULL, bytes INTEGER NOT NULL) STRICT;",

    /* Queued calls that are jobs. A table of its own: columns that are added to async_calls stand
     * behind its bodies. */
    "CREATE TABLE async_jobs ("
    " no INTEGER PRIMARY KEY,"
    " seq INTEGER NOT NULL UNIQUE REFERENCES async_calls ON DELETE CASCADE,"
    " function_no INTEGER NOT NULL, result_kind INTEGER NOT NULL DEFAULT 0) STRICT;"
    "CREATE INDEX async_jobs_of ON async_jobs (function_no, no);",

    /* Queued calls that others than our own workers may run. */
    "CREATE TABLE async_tasks ("
    " seq INTEGER PRIMARY KEY REFERENCES async_calls ON DELETE CASCADE,"
    " pullers_only INTEGER NOT NULL,"
    " since_us INTEGER NOT NULL DEFAULT 0, until_us INTEGER NOT NULL DEFAULT 0) STRICT;"
    "CREATE INDEX async_tasks_until ON async_tasks (until_us, seq);",

    /* AUTOINCREMENT: a number is a place in a list that somebody may be paging through. */
    "CREATE TABLE tasks ("
    " no INTEGER PRIMARY KEY AUTOINCREMENT,"
    " id TEXT NOT NULL UNIQUE, workspace TEXT NOT NULL, kind INTEGER NOT NULL,"
    " status INTEGER NOT NULL, attempts INTEGER NOT NULL,"
    " created_us INTEGER NOT NULL, updated_us INTEGER NOT NULL,"
    " app_name TEXT, progress TEXT, error TEXT, file_path TEXT, wasm_path TEXT, image TEXT,"
    " params TEXT, log TEXT) STRICT;"
    "CREATE INDEX tasks_of ON tasks (workspace, no);"
    "CREATE INDEX tasks_open ON tasks (no) WHERE status < 2;",

    /* What a version's image was when it was built. */
    "ALTER TABLE versions ADD COLUMN image_digest TEXT;"
    "ALTER TABLE versions ADD COLUMN image_spec BLOB;",

    /* Code that lies in S3, and the objects there that are to go. */
    "ALTER TABLE versions ADD COLUMN code_at TEXT;"
    "CREATE TABLE objects_unused (key TEXT PRIMARY KEY, after_us INTEGER NOT NULL) STRICT;"
    "CREATE INDEX objects_unused_after ON objects_unused (after_us);"
    "CREATE TRIGGER versions_code_unused AFTER DELETE ON versions WHEN OLD.code_at IS NOT NULL"
    " BEGIN INSERT OR REPLACE INTO objects_unused (key, after_us) VALUES (OLD.code_at, 0); END;",

    /* The last run of each schedule. */
    "CREATE TABLE trigger_runs ("
    " trigger_no INTEGER PRIMARY KEY REFERENCES triggers ON DELETE CASCADE,"
    " due_us INTEGER NOT NULL) STRICT;",
};
const int sqlite_state_migrations_n = ARRAY_LEN(sqlite_state_migrations);

/* Keyed so that one function's rows lie together in the order of time and no second index is
 * needed: an invocation's id holds its function's number. */
const char *const sqlite_history_migrations[] = {
    "CREATE TABLE invocations ("
    " function_no INTEGER NOT NULL, id BLOB NOT NULL,"
    " version_number INTEGER NOT NULL, status INTEGER NOT NULL, source INTEGER NOT NULL,"
    " cause INTEGER NOT NULL, http_status INTEGER NOT NULL, cold INTEGER NOT NULL,"
    " created_us INTEGER NOT NULL, started_us INTEGER NOT NULL, ended_us INTEGER NOT NULL,"
    " queued_us INTEGER NOT NULL, starting_us INTEGER NOT NULL, running_us INTEGER NOT NULL,"
    " error_text TEXT NOT NULL,"
    " PRIMARY KEY (function_no, id)) STRICT, WITHOUT ROWID;"

    "CREATE TABLE log_lines ("
    " function_no INTEGER NOT NULL, at_us INTEGER NOT NULL, seq INTEGER NOT NULL,"
    " version_number INTEGER NOT NULL, invocation BLOB NOT NULL, level INTEGER NOT NULL,"
    " instance TEXT NOT NULL, message TEXT NOT NULL,"
    " PRIMARY KEY (function_no, at_us, seq)) STRICT, WITHOUT ROWID;"

    "CREATE TABLE metrics ("
    " function_no INTEGER NOT NULL, minute INTEGER NOT NULL,"
    " invocations INTEGER NOT NULL, errors INTEGER NOT NULL, cold_starts INTEGER NOT NULL,"
    " gb_us INTEGER NOT NULL, concurrency_min INTEGER NOT NULL,"
    " concurrency_max INTEGER NOT NULL, busy_us INTEGER NOT NULL, duration BLOB NOT NULL,"
    " PRIMARY KEY (function_no, minute)) STRICT, WITHOUT ROWID;",

    /* What went in and came out, where the caller's API shows it again. no: a job's number. */
    "CREATE TABLE executions ("
    " function_no INTEGER NOT NULL, id BLOB NOT NULL, no INTEGER,"
    " request BLOB, response BLOB,"
    " PRIMARY KEY (function_no, id)) STRICT, WITHOUT ROWID;"
    "CREATE INDEX executions_no ON executions (no) WHERE no IS NOT NULL;",

    /* CPU time and memory as the kernel counts them. */
    ("ALTER TABLE metrics ADD COLUMN cpu_us INTEGER NOT NULL DEFAULT 0;"
     "ALTER TABLE metrics ADD COLUMN memory_peak_bytes INTEGER NOT NULL DEFAULT 0;"),

    "CREATE INDEX executions_jobs ON executions (function_no, no) WHERE no IS NOT NULL;",

    "ALTER TABLE metrics ADD COLUMN answered_errors INTEGER NOT NULL DEFAULT 0;",
};
const int sqlite_history_migrations_n = ARRAY_LEN(sqlite_history_migrations);
