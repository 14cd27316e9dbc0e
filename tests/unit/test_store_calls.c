/* SPDX-License-Identifier: Apache-2.0 */
/* store: runs of schedules, queued calls, tasks that somebody outside runs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "store_world.h"
#include <cmocka.h>
#include <stdio.h>

/* ---- runs of schedules ---- */
static int run_body(struct store *s, void *arg, struct error *err) {
    uint32_t no;
    (void)arg;
    OK(make_function(s, "timed", &no, err));
    struct trigger *t = trigger_new();
    t->function_no = no;
    t->name = x_strdup("t");
    t->type = TRIGGER_SCHEDULE;
    t->enabled = true;
    int rc = store_trigger_insert(s, t, err);
    uint32_t trigger_no = t->no;
    OK(rc);
    OK(store_trigger_run(s, trigger_no, 1000, err));
    FAILS(store_trigger_run(s, trigger_no, 1000, err), ERR_CONFLICT, "trigger");
    FAILS(store_trigger_run(s, trigger_no, 999, err), ERR_CONFLICT, "trigger");
    OK(store_trigger_run(s, trigger_no, 1001, err));
    OK(store_trigger_run(s, trigger_no, INT64_C(90000000000), err));
    FAILS(store_trigger_run(s, trigger_no, INT64_C(4000000000), err), ERR_CONFLICT, "trigger");
    OK(store_trigger_run(s, trigger_no, INT64_C(3000000000), err)); /* the clock was far ahead */
    t->enabled = false;
    rc = store_trigger_update(s, t, err);
    trigger_unref(t);
    OK(rc);
    FAILS(store_trigger_run(s, trigger_no, INT64_C(4000000000), err), ERR_CONFLICT, "trigger");
    OK(store_trigger_delete(s, trigger_no, err));
    FAILS(store_trigger_run(s, trigger_no, INT64_C(5000000000), err), ERR_CONFLICT, "trigger");
    return 0;
}

static void scheduled_runs(void **state) {
    on(((struct fixture *)*state)->store, STORE_STATE, run_body, NULL);
}

/* ---- queued calls ---- */
struct call_log {
    struct ulid ids[16];
    uint64_t last_seq, pending[8];
    enum invocation_status status;
    uint32_t n, attempts;
    struct invocation record;
    char input[32], headers[32], body[32];
    bool has_body;
};

static void copy_str(char *out, size_t size, struct str s) {
    (void)snprintf(out, size, "%.*s", STR_ARG(s));
}

static void note_call(void *arg, const struct async_call *c) {
    struct call_log *l = arg;
    l->ids[l->n++] = c->id;
    l->last_seq = c->seq;
    l->status = c->status;
    l->attempts = c->attempts;
    l->record = c->record;
    l->has_body = c->result_body.p != NULL;
    copy_str(l->input, sizeof(l->input), c->input);
    copy_str(l->headers, sizeof(l->headers), c->result_headers);
    copy_str(l->body, sizeof(l->body), c->result_body);
}

static bool note_call_more(void *arg, const struct async_call *c) {
    note_call(arg, c);
    return true;
}

static void note_pending(void *arg, uint32_t function_no, uint64_t pending) {
    ((struct call_log *)arg)->pending[function_no] = pending;
}

static int async_body(struct store *s, void *arg, struct error *err) {
    (void)arg;
    uint32_t no;
    struct call_log l = {0};
    struct async_call c[4];
    OK(make_function(s, "f", &no, err));
    for (size_t i = 0; i < 4; i++) {
        c[i] = (struct async_call){
            .id = ulid_make(no), .function_no = no, .input = STR("0123456789"), .workspace = "w"};
        OK(store_async_insert(s, &c[i], err));
        CHECK(i == 0 || c[i].seq > c[i - 1].seq);
    }
    FAILS(store_async_insert(s, &c[0], err), ERR_CONFLICT, "invocation");
    struct async_call orphan = {.id = ulid_make(99), .function_no = 99};
    FAILS(store_async_insert(s, &orphan, err), ERR_NOT_FOUND, "function");

    OK(store_async_pending(s, no, 0, 3, 1000, note_call, &l, err));
    CHECK(l.n == 3 && memcmp(&l.ids[0], &c[0].id, 16) == 0 && l.last_seq == c[2].seq);
    CHECK(strcmp(l.input, "0123456789") == 0 && l.status == INV_PENDING);
    CHECK(l.record.created_us == (int64_t)ulid_ms(&c[2].id) * 1000);
    l.n = 0;
    OK(store_async_pending(s, no, c[2].seq, 3, 1000, note_call, &l, err));
    CHECK(l.n == 1 && l.last_seq == c[3].seq);
    l.n = 0;
    OK(store_async_pending(s, no, 0, 9, 25, note_call, &l, err));
    CHECK(l.n == 2);
    l.n = 0;
    OK(store_async_pending(s, no, 0, 9, 1, note_call, &l, err));
    CHECK(l.n == 1); /* one that is over the limit still goes */

    OK(store_async_start(s, &c[0].id, 77, err));
    FAILS(store_async_start(s, &c[0].id, 78, err), ERR_CONFLICT, "invocation");
    FAILS(store_async_start(s, &orphan.id, 78, err), ERR_NOT_FOUND, "invocation");
    l.n = 0;
    OK(store_async_pending(s, no, 0, 9, 1000, note_call, &l, err));
    CHECK(l.n == 3);
    l.n = 0;
    OK(store_async_open(s, no, &LAST_ID, 9, note_call_more, &l, err));
    CHECK(l.n == 4 && memcmp(&l.ids[3], &c[0].id, 16) == 0 && l.status == INV_RUNNING);
    CHECK(l.attempts == 1 && l.record.started_us == 77 && l.input[0] == '\0');

    c[1].status = INV_COMPLETED;
    c[1].record = a_record(no);
    c[1].result_status = 201;
    c[1].result_headers = STR("{\"a\":[\"b\"]}");
    c[1].result_body = STR("");
    OK(store_async_finish(s, &c[1], err));
    FAILS(store_async_finish(s, &orphan, err), ERR_NOT_FOUND, "invocation");
    l.n = 0;
    OK(store_async_get(s, &c[1].id, note_call, &l, err));
    CHECK(l.n == 1 && l.status == INV_COMPLETED && l.has_body && l.input[0] == '\0');
    CHECK(strcmp(l.headers, "{\"a\":[\"b\"]}") == 0 && l.record.http_status == 504);
    CHECK(strcmp(l.record.error_text, "it 'failed'") == 0 && l.record.status == INV_COMPLETED);
    FAILS(store_async_get(s, &orphan.id, note_call, &l, err), ERR_NOT_FOUND, "invocation");
    l.n = 0;
    OK(store_async_get(s, &c[2].id, note_call, &l, err));
    CHECK(!l.has_body && strcmp(l.input, "0123456789") == 0);

    uint32_t quiet;
    OK(make_function(s, "quiet", &quiet, err));
    OK(store_async_recover(s, note_pending, &l, err));
    CHECK(l.pending[no] == 3 && l.pending[quiet] == 0);
    l.n = 0;
    OK(store_async_pending(s, no, 0, 1, 1000, note_call, &l, err));
    CHECK(memcmp(&l.ids[0], &c[0].id, 16) == 0 && l.attempts == 1);
    OK(store_function_delete(s, no, err));
    FAILS(store_async_get(s, &c[2].id, note_call, &l, err), ERR_NOT_FOUND, "invocation");
    return 0;
}

static void async_calls(void **state) {
    on(((struct fixture *)*state)->store, STORE_STATE, async_body, NULL);
}

static void note_freed(void *arg, uint32_t function_no) {
    ((struct call_log *)arg)->pending[function_no]++;
}

#define TASK_MS INT64_C(1700000000000000) /* a whole millisecond */

static int pulled_tasks_body(struct store *s, void *arg, struct error *err) {
    (void)arg;
    uint32_t no;
    struct call_log l = {0};
    struct async_call c[4];
    int64_t next = -1;
    uint64_t n, bytes;
    const enum async_takers takers[4] = {ASYNC_WORKERS, ASYNC_BOTH, ASYNC_PULLERS, ASYNC_PULLERS};
    OK(make_function(s, "f", &no, err));
    for (size_t i = 0; i < 4; i++) {
        c[i] = (struct async_call){.id = ulid_make(no),
                                   .function_no = no,
                                   .input = STR("0123456789"),
                                   .takers = takers[i],
                                   .workspace = "w"};
        OK(store_async_insert(s, &c[i], err));
    }
    OK(store_task_count(s, &n, &bytes, err));
    CHECK(n == 2 && bytes == 20);
    OK(store_async_pending(s, no, 0, 9, 1000, note_call, &l, err));
    CHECK(l.n == 2); /* workers see their own and what is for both */
    l.n = 0;
    OK(store_async_open(s, no, &LAST_ID, 9, note_call_more, &l, err));
    CHECK(l.n == 4 && l.status == INV_PENDING);
    FAILS(store_async_start(s, &c[2].id, 1, err), ERR_CONFLICT, "invocation");

    /* handed out: the oldest that pullers may have, bounded by bytes */
    l.n = 0;
    OK(store_task_take(s, 9, 15, TASK_MS + 7, TASK_MS + 100, note_call, &l, err));
    CHECK(l.n == 1 && memcmp(&l.ids[0], &c[1].id, 16) == 0 && l.status == INV_RUNNING);
    CHECK(l.record.started_us == TASK_MS && l.attempts == 1);
    FAILS(store_async_start(s, &c[1].id, 1, err), ERR_CONFLICT, "invocation");
    l.n = 0;
    OK(store_task_take(s, 1, 1000, TASK_MS, TASK_MS + 50, note_call, &l, err));
    CHECK(l.n == 1 && memcmp(&l.ids[0], &c[2].id, 16) == 0);

    /* what is reserved stays so over a start; the workers' own does not */
    OK(store_async_start(s, &c[0].id, 77, err));
    OK(store_async_recover(s, note_pending, &l, err));
    CHECK(l.pending[no] == 1);
    l.n = 0;
    OK(store_task_take(s, 9, 1000, TASK_MS, TASK_MS + 100, note_call, &l, err));
    CHECK(l.n == 1 && memcmp(&l.ids[0], &c[3].id, 16) == 0);

    /* time over: back to whom it was for */
    l.pending[no] = 0;
    OK(store_task_expire(s, TASK_MS + 50, note_freed, &l, &next, err));
    CHECK(l.pending[no] == 0 && next == TASK_MS + 100);
    FAILS(store_async_start(s, &c[2].id, 1, err), ERR_CONFLICT, "invocation");
    OK(store_task_expire(s, TASK_MS + 100, note_freed, &l, &next, err));
    CHECK(l.pending[no] == 1 && next == 0);

    /* again, and later however the clock stands; then only the last holder may end it */
    l.n = 0;
    OK(store_task_take(s, 1, 1000, TASK_MS, TASK_MS + 200, note_call, &l, err));
    CHECK(memcmp(&l.ids[0], &c[1].id, 16) == 0 && l.record.started_us == TASK_MS + 1000);
    c[1].status = INV_COMPLETED;
    c[1].record = a_record(no);
    FAILS(store_task_end(s, &c[1], TASK_MS, err), ERR_CONFLICT, "task");
    OK(store_task_end(s, &c[1], TASK_MS + 1000, err));
    FAILS(store_task_end(s, &c[1], TASK_MS + 1000, err), ERR_NOT_FOUND, "task");
    OK(store_task_end(s, &c[2], TASK_MS, err)); /* late, but nobody has it since */
    struct async_call orphan = {.id = ulid_make(99), .function_no = 99};
    FAILS(store_task_end(s, &orphan, 0, err), ERR_NOT_FOUND, "task");
    FAILS(store_task_end(s, &c[0], 0, err), ERR_CONFLICT, "task");

    /* a worker that takes what is for both takes it from the others */
    struct async_call both = {.id = ulid_make(no), .function_no = no, .takers = ASYNC_BOTH};
    OK(store_async_insert(s, &both, err));
    OK(store_async_start(s, &both.id, 5, err));
    l.n = 0;
    OK(store_task_take(s, 9, 1000, TASK_MS, TASK_MS + 300, note_call, &l, err));
    CHECK(l.n == 1 && memcmp(&l.ids[0], &c[3].id, 16) == 0);
    OK(store_function_delete(s, no, err));
    OK(store_task_count(s, &n, &bytes, err));
    CHECK(n == 0 && bytes == 0);
    return 0;
}

static void pulled_tasks(void **state) {
    on(((struct fixture *)*state)->store, STORE_STATE, pulled_tasks_body, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        STORE_TEST(scheduled_runs),
        STORE_TEST(async_calls),
        STORE_TEST(pulled_tasks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
