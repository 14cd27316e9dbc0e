/* SPDX-License-Identifier: Apache-2.0 */
/* Taking an asynchronous call: it is in the store before the caller hears "accepted". */

#include "core/functions.h"

struct accept {
    struct store_job job;
    struct core *core;
    struct core_fn *fn;
    struct buf input;
    struct async_call row;
    uint32_t trigger_no; /* of a schedule's run, and which one */
    int64_t due_us;
    struct loop_task task;
    struct error error;
    void (*done)(void *arg, const struct error *err, const struct ulid *id);
    void *arg;
};

static void accept_end(struct accept *op, const struct error *err) {
    op->done(op->arg, err, &op->row.id);
    core_fn_unref(op->fn);
    buf_done(&op->input);
    free(op);
}

static int job_run(struct store_job *job, struct store *s, struct error *err) {
    struct accept *op = container_of(job, struct accept, job);
    if (atomic_load(&op->fn->gone))
        return error_field(err, ERR_NOT_FOUND, "function", "the function was deleted");
    if (op->trigger_no && store_trigger_run(s, op->trigger_no, op->due_us, err) < 0)
        return -1;
    if (op->row.takers == ASYNC_PULLERS && tasks_admit(op->core, s, op->row.input.len, err) < 0)
        return -1;
    return store_async_insert(s, &op->row, err);
}

static void job_done(struct store_job *job, const struct error *err) {
    struct accept *op = container_of(job, struct accept, job);
    if (!err && op->row.takers != ASYNC_PULLERS)
        async_tell(op->core, op->row.function_no, 1);
    accept_end(op, err);
}

static void fail_task(struct loop_task *task) {
    struct accept *op = container_of(task, struct accept, task);
    accept_end(op, &op->error);
}

static int take_input(struct accept *op, struct core_call *call, struct error *err) {
    struct core *c = op->core;
    op->input = call->head;
    call->head = BUF_INIT(CORE_CALL_HEAD_MAX);
    op->input.max = CORE_CALL_HEAD_MAX + c->config.body_max + sizeof(uint32_t);
    if (call->input.failed || wire_str(&op->input, call->body) < 0)
        return error_set(err, ERR_TOO_LARGE, "the request is larger than what can be queued");
    if (atomic_load(&c->async_pending) >= ASYNC_PENDING_MAX) {
        error_set(err, ERR_BUSY, "%d calls are queued already", ASYNC_PENDING_MAX);
        err->retry_after_s = 1;
        return -1;
    }
    return core_refuses(c, err);
}

static void fill_row(struct accept *op, const struct core_call *call) {
    struct async_call *row = &op->row;
    bool scheduled = call->source == SOURCE_SCHEDULE;
    op->trigger_no = call->trigger_no;
    op->due_us = call->due_us;
    row->id = call->id;
    row->function_no = call->fn->no;
    row->status = INV_PENDING;
    row->takers = call->job_no || scheduled ? ASYNC_WORKERS : tasks_takers(call->function);
    row->job_no = call->job_no;
    row->input = buf_str(&op->input);
    strncpy(row->workspace, call->function->workspace, NAME_MAX_LEN);
    row->record = (struct invocation){.id = call->id,
                                      .function_no = call->fn->no,
                                      .status = INV_PENDING,
                                      .source = scheduled ? SOURCE_SCHEDULE : SOURCE_ASYNC,
                                      .created_us = call->created_us};
}

void core_call_async(struct core_call *call,
                     void (*done)(void *arg, const struct error *err, const struct ulid *id),
                     void *arg) {
    struct accept *op = x_alloc(sizeof *op);
    struct loop *loop = call->cl->loop;
    op->core = call->cl->core;
    op->fn = core_fn_ref(call->fn);
    op->done = done;
    op->arg = arg;
    op->job = (struct store_job){.db = STORE_STATE, .run = job_run, .done = job_done, .loop = loop};
    int r = take_input(op, call, &op->error);
    fill_row(op, call);
    core_call_done(call);
    if (r == 0) {
        store_submit(op->core->store, &op->job);
        return;
    }
    op->task.run = fail_task;
    loop_post(loop, &op->task);
}
