/* SPDX-License-Identifier: Apache-2.0 */
/* store: opening, migrations, closing, crashes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "store_world.h"
#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- opening ---- */
static const char *self; /* this program: some tests need a process of their own */

static void second_opener_is_refused(void **state) {
    struct fixture *x = *state;
    struct store_config config = {.url = "sqlite", .data_dir = x->dir};
    struct store *second = NULL;
    struct error err;
    assert_int_equal(store_open(&config, &second, &err), -1);
    assert_null(second);
    assert_int_equal(err.code, ERR_CONFLICT);
    assert_non_null(strstr(err.text, "is in use by another kiln"));
    assert_non_null(strstr(err.text, x->dir));
    uint32_t n; /* the first one is not hurt */
    on(x->store, STORE_STATE, count_body, &n);
    assert_int_equal(store_open(&config, &second, &err), -1);
    config.url = "mysql://x";
    assert_int_equal(store_open(&config, &second, &err), -1);
    assert_string_equal(err.field, "store");
    config = (struct store_config){.data_dir = "/nonexistent/folder"};
    assert_int_equal(store_open(&config, &second, &err), -1);
}

static void second_process_is_refused(void **state) {
    struct fixture *x = *state;
    pid_t pid = fork();
    if (pid == 0) {
        execl(self, self, "--open", x->dir, (char *)NULL);
        _exit(99);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 7);
}

static void files_are_private(void **state) {
    struct fixture *x = *state;
    char path[128];
    struct stat st;
    for (size_t i = 0; i < STORE_FILES; i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", x->dir, store_files[i]);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
    }
}

static void set_version(const char *dir, const char *file, int version) {
    char path[128], sql[64];
    sqlite3 *h;
    (void)snprintf(path, sizeof(path), "%s/%s", dir, file);
    (void)snprintf(sql, sizeof(sql), "PRAGMA user_version = %d", version);
    assert_int_equal(sqlite3_open(path, &h), SQLITE_OK);
    assert_int_equal(sqlite3_exec(h, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(h), SQLITE_OK);
}

static void newer_schema_is_refused(void **state) {
    struct fixture *x = *state;
    struct store_config config = {.url = "sqlite", .data_dir = x->dir};
    struct error err;
    store_close(x->store);
    x->store = NULL;
    set_version(x->dir, "history.db", 999);
    assert_int_equal(store_open(&config, &x->store, &err), -1);
    assert_int_equal(err.code, ERR_CONFLICT);
    assert_non_null(strstr(err.text, "history.db was written by a newer kiln"));
    set_version(x->dir, "history.db", sqlite_history_migrations_n);
    reopen(x);
}

static void not_a_database_is_said(void **state) {
    struct fixture *x = *state;
    char path[128], junk[8192];
    store_close(x->store);
    x->store = NULL;
    (void)snprintf(path, sizeof(path), "%s/state.db", x->dir);
    int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    memset(junk, 'j', sizeof(junk));
    assert_int_equal(write(fd, junk, sizeof(junk)), sizeof(junk));
    close(fd);
    struct store_config config = {.data_dir = x->dir};
    struct error err;
    assert_int_equal(store_open(&config, &x->store, &err), -1);
    assert_non_null(strstr(err.text, "state.db is damaged or not a database"));
}

static int user_version(sqlite3 *h) {
    sqlite3_stmt *st;
    assert_int_equal(sqlite3_prepare_v2(h, "PRAGMA user_version", -1, &st, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    int v = sqlite3_column_int(st, 0);
    sqlite3_finalize(st);
    return v;
}

static void migrations_run_once_each(void **state) {
    (void)state;
    static const char *const LIST[] = {
        "CREATE TABLE t (a); INSERT INTO t VALUES (1);",
        "ALTER TABLE t ADD b; UPDATE t SET b = a + 1;",
        "INSERT INTO t VALUES (5, 6); INSERT INTO nothing VALUES (1);",
    };
    struct sqlite_db db = {.file = "x.db"};
    struct error err;
    assert_int_equal(sqlite3_open(":memory:", &db.h), SQLITE_OK);
    assert_int_equal(sqlite_migrate(&db, LIST, 1, &err), 0);
    assert_int_equal(user_version(db.h), 1);
    assert_int_equal(sqlite_migrate(&db, LIST, 2, &err), 0); /* from version 1 */
    assert_int_equal(sqlite_migrate(&db, LIST, 2, &err), 0);
    assert_int_equal(user_version(db.h), 2);
    assert_int_equal(sqlite_migrate(&db, LIST, 3, &err), -1); /* undone as a whole */
    assert_non_null(strstr(err.text, "migration to version 3"));
    assert_int_equal(user_version(db.h), 2);
    sqlite3_stmt *st;
    assert_int_equal(sqlite3_prepare_v2(db.h, "SELECT sum(b) FROM t", -1, &st, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    assert_int_equal(sqlite3_column_int(st, 0), 2);
    sqlite3_finalize(st);
    assert_int_equal(sqlite_migrate(&db, LIST, 1, &err), -1);
    sqlite3_close(db.h);
}

/* ---- ends ---- */
static int fill_body(struct store *s, void *arg, struct error *err) {
    uint32_t no;
    struct invocation v;
    OK(make_function(s, arg, &no, err));
    v = a_record(no);
    return store_invocations_append(s, &v, 1, err);
}

static bool count_record(void *arg, const struct invocation *v) {
    (void)v;
    ++*(uint32_t *)arg;
    return true;
}

static int count_records_body(struct store *s, void *arg, struct error *err) {
    *(uint32_t *)arg = 0;
    return store_invocation_each(s, 1, &LAST_ID, 10, count_record, arg, err);
}

/* Size of state.db itself: what is in the log only does not count. */
static off_t state_size(const struct fixture *x) {
    char path[128];
    struct stat st;
    (void)snprintf(path, sizeof(path), "%s/state.db", x->dir);
    assert_int_equal(stat(path, &st), 0);
    return st.st_size;
}

static void quiet_store_moves_its_log_in(void **state) {
    struct fixture *x = *state;
    int many = 500;
    off_t before = state_size(x);
    on(x->store, STORE_STATE, many_body, &many);
    const struct timespec pause = {.tv_nsec = 50 * NS_PER_MS};
    for (int i = 0; i < 600 && state_size(x) == before; i++)
        (void)nanosleep(&pause, NULL);
    assert_true(state_size(x) > before);
    uint32_t n; /* and serves on */
    on(x->store, STORE_STATE, count_body, &n);
    assert_int_equal(n, many);
}

#define CHILD_ROWS 200

/* In a process of its own: stores rows one by one, tells each over stdout, waits to be killed. */
static int child_main(const char *dir) {
    struct store *s;
    struct error err;
    struct store_config config = {.url = "sqlite", .data_dir = dir};
    if (store_open(&config, &s, &err) != 0)
        return err.code == ERR_CONFLICT ? 7 : 8;
    for (int i = 0;; i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "f%d", i);
        if (try_on(s, STORE_STATE, fill_body, name, &err) != 0)
            return 9;
        if (write(STDOUT_FILENO, ".", 1) != 1)
            return 10;
    }
}

static int count_all_records_body(struct store *s, void *arg, struct error *err) {
    struct query q = query_read(s, STORE_HISTORY, "SELECT count(*) FROM invocations");
    int64_t n = 0;
    int rc = query_int(&q, 0, &n, err);
    query_reset(&q);
    *(uint32_t *)arg = (uint32_t)n;
    return rc;
}

static void killed_server_keeps_what_it_said(void **state) {
    struct fixture *x = *state;
    int fds[2], status;
    store_close(x->store);
    x->store = NULL;
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(fds[1], STDOUT_FILENO);
        close(fds[0]);
        close(fds[1]);
        execl(self, self, "--fill", x->dir, (char *)NULL);
        _exit(99);
    }
    close(fds[1]);
    uint32_t said = 0, functions_n, records;
    char c;
    while (said < CHILD_ROWS && read(fds[0], &c, 1) == 1)
        said++;
    kill(pid, SIGKILL);
    while (read(fds[0], &c, 1) == 1)
        said++;
    close(fds[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_true(said >= CHILD_ROWS);
    reopen(x);
    on(x->store, STORE_STATE, count_body, &functions_n);
    on(x->store, STORE_HISTORY, count_all_records_body, &records);
    assert_in_range(functions_n, said, said + 1);
    assert_in_range(records, said, said + 1);
    assert_true(records <= functions_n); /* the state is committed first */
}

static void reopened_store_has_it_all(void **state) {
    struct fixture *x = *state;
    uint32_t n, records;
    on(x->store, STORE_STATE, fill_body, (void *)"a");
    store_close(x->store);
    reopen(x);
    on(x->store, STORE_STATE, count_body, &n);
    on(x->store, STORE_HISTORY, count_records_body, &records);
    assert_int_equal(n, 1);
    assert_int_equal(records, 1);
}

int main(int argc, char **argv) {
    self = argv[0];
    if (argc == 3 && (strcmp(argv[1], "--fill") == 0 || strcmp(argv[1], "--open") == 0))
        return child_main(argv[2]);
    const struct CMUnitTest tests[] = {
        STORE_TEST(second_opener_is_refused),
        STORE_TEST(second_process_is_refused),
        STORE_TEST(files_are_private),
        STORE_TEST(newer_schema_is_refused),
        STORE_TEST(not_a_database_is_said),
        cmocka_unit_test(migrations_run_once_each),
        STORE_TEST(killed_server_keeps_what_it_said),
        STORE_TEST(reopened_store_has_it_all),
        STORE_TEST(quiet_store_moves_its_log_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
