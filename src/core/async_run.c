/* SPDX-License-Identifier: Apache-2.0 */
/* One queued call: from its stored input through the engine to its stored outcome. */

#include "core/internal.h"
#include "json/write.h"
#include <stdio.h>

/* Length of what stands before the body string of a CALL payload, or 0 when malformed. */
static size_t head_len(struct str input, struct str *ret_body) {
    struct wire_in in = wire_open(input);
    wire_get_u32(&in); /* deadline */
    wire_get_u8(&in);
    for (int i = 0; i < 3; i++)
        wire_get_str(&in);
    for (int list = 0; list < 2; list++)
        for (uint32_t n = wire_get_u32(&in); n > 0 && !in.bad; n--) {
            wire_get_str(&in);
            wire_get_str(&in);
        }
    size_t len = in.bad ? 0 : (size_t)((const char *)in.p - input.p);
    *ret_body = wire_get_str(&in);
    return wire_done(&in) ? len : 0;
}

/* On the store thread. */
struct async_run *async_run_new(struct core_loop *cl, struct async_fn *afn, struct core_fn *fn,
                                const struct async_call *call) {
    struct async_run *run = x_alloc(sizeof *run);
    struct str body;
    size_t head = head_len(call->input, &body);
    run->cl = cl;
    run->afn = afn;
    run->fn = core_fn_ref(fn);
    run->id = call->id;
    run->created_us = call->record.created_us;
    run->source = call->record.source;
    run->outcome.job_no = call->job_no;
    list_init(&run->link);
    buf_init(&run->head, SIZE_MAX); /* it was bounded when it was taken */
    buf_init(&run->body, SIZE_MAX);
    buf_init(&run->headers, MIB);
    buf_init(&run->result, SIZE_MAX); /* bounded by the engine's response_max */
    if (head) {
        (void)buf_put(&run->head, call->input.p, head);
        (void)buf_put_str(&run->body, body);
    }
    return run;
}

void async_run_free(struct async_run *run) {
    if (!run)
        return;
    if (run->deployment)
        deployment_unref(run->deployment);
    core_fn_unref(run->fn);
    buf_done(&run->head);
    buf_done(&run->body);
    buf_done(&run->headers);
    buf_done(&run->result);
    free(run);
}

/* ---- resting ---- */
/* Tries again after a pause. */
static void async_rest(struct async_run *run) {
    struct core_loop *cl = run->cl;
    struct async *a = &cl->async;
    if (atomic_load(&cl->core->draining)) { /* runs again after the next start */
        async_run_over(run);
        return;
    }
    uint32_t ms = run->retry_ms ? run->retry_ms * 2 : ASYNC_RETRY_FIRST_MS;
    run->retry_ms = ms < ASYNC_RETRY_MAX_MS ? ms : ASYNC_RETRY_MAX_MS;
    run->rest_until_ns = loop_now_ns(cl->loop) + run->retry_ms * NS_PER_MS;
    list_push(&a->resting, &run->link);
    if (!loop_timer_is_set(&a->timer) || a->timer.deadline_ns > run->rest_until_ns)
        loop_timer_set(cl->loop, &a->timer, run->rest_until_ns);
}

static void again(struct async_run *run) {
    if (run->outcome.function_no) /* it has run; only the store did not take the outcome */
        store_submit(run->cl->core->store, &run->job);
    else
        async_run_submit(run);
}

void async_resting_wake(struct core_loop *cl, uint64_t now_ns) {
    struct list all;
    uint64_t next = 0;
    bool stop = atomic_load(&cl->core->draining);
    list_init(&all);
    for (struct list *node; (node = list_shift(&cl->async.resting));)
        list_push(&all, node);
    for (struct list *node; (node = list_shift(&all));) {
        struct async_run *run = list_entry(node, struct async_run, link);
        if (stop) {
            async_run_over(run);
        } else if (run->rest_until_ns <= now_ns) {
            again(run);
        } else {
            list_push(&cl->async.resting, node);
            if (!next || run->rest_until_ns < next)
                next = run->rest_until_ns;
        }
    }
    struct loop_timer *timer = &cl->async.timer;
    if (next && (!loop_timer_is_set(timer) || timer->deadline_ns > next))
        loop_timer_set(cl->loop, timer, next);
}

/* ---- outcome ---- */
static int job_run(struct store_job *job, struct store *s, struct error *err) {
    struct async_run *run = container_of(job, struct async_run, job);
    return store_async_finish(s, &run->outcome, err);
}

static void job_done(struct store_job *job, const struct error *err) {
    struct async_run *run = container_of(job, struct async_run, job);
    if (err && err->code != ERR_NOT_FOUND) {
        log_error("outcome of a queued call not stored", LOG_STR("error", err->text));
        async_rest(run);
        return;
    }
    async_run_over(run);
}

/* Names may come more than once: {"name": ["value", …]}. JSON is called so, as in the answer of a
 * call that is waited for. */
static void put_headers(struct buf *out, struct wire_in in, bool json) {
    struct str names[WIRE_HEADERS_MAX], values[WIRE_HEADERS_MAX];
    bool told[WIRE_HEADERS_MAX] = {false};
    uint32_t n = wire_get_u32(&in);
    if (in.bad || n > WIRE_HEADERS_MAX)
        return;
    for (uint32_t i = 0; i < n; i++) {
        names[i] = wire_get_str(&in);
        values[i] = wire_get_str(&in);
    }
    struct json_w w;
    json_w_init(&w, out);
    jw_begin_object(&w);
    for (uint32_t i = 0; i < n && !in.bad; i++) {
        if (told[i])
            continue;
        json = json && !str_ieq(names[i], STR("content-type"));
        jw_key_str(&w, names[i]);
        jw_begin_array(&w);
        for (uint32_t j = i; j < n; j++) {
            if (!str_ieq(names[i], names[j]))
                continue;
            jw_str(&w, values[j]);
            told[j] = true;
        }
        jw_end_array(&w);
    }
    if (json) {
        jw_array_member(&w, "Content-Type");
        jw_str(&w, STR("application/json"));
        jw_end_array(&w);
    }
    jw_end_object(&w);
    if (json_w_done(&w) < 0)
        buf_clear(out);
}

static void end(struct async_run *run, const struct engine_result *r) {
    struct core_loop *cl = run->cl;
    struct async_call *o = &run->outcome;
    struct invocation v;
    call_record(&v, &run->id, run->deployment, run->source, run->created_us, r);
    call_account(cl, run->fn, run->deployment, &v, r->instance);
    o->id = run->id;
    o->function_no = run->fn->no;
    o->status = v.status;
    o->record = v;
    if (r->cause == ERR_NONE) {
        o->result_status = r->status;
        o->job_result_kind = (uint8_t)r->body_kind;
        put_headers(&run->headers, r->headers, r->body_kind == WIRE_BODY_JSON);
        (void)buf_put_str(&run->result, r->body);
        o->result_headers = buf_str(&run->headers);
        o->result_body = run->result.p ? buf_str(&run->result) : STR("");
    }
    buf_done(&run->head);
    buf_done(&run->body);
    run->retry_ms = 0;
    run->job =
        (struct store_job){.db = STORE_STATE, .run = job_run, .done = job_done, .loop = cl->loop};
    store_submit(cl->core->store, &run->job);
}

static void engine_done(struct engine_call *ec, const struct engine_result *r) {
    struct async_run *run = container_of(ec, struct async_run, engine);
    if (r->cause == ERR_BUSY || r->cause == ERR_UNAVAILABLE) { /* it has not run */
        atomic_fetch_sub(&run->fn->running, 1);
        async_rest(run);
        return;
    }
    end(run, r);
}

static void fail(struct async_run *run, enum error_code cause, const char *text) {
    struct engine_result r = {.cause = cause, .error_text = text, .instance = ""};
    end(run, &r);
}

void async_run_submit(struct async_run *run) {
    struct core *c = run->cl->core;
    struct deployment *d;
    if (atomic_load(&run->fn->gone) || atomic_load(&c->draining)) {
        async_run_over(run); /* its row is gone, or it runs again after the next start */
        return;
    }
    function_unref(registry_view(&c->registry, run->fn, &d));
    if (run->deployment)
        deployment_unref(run->deployment);
    run->deployment = d;
    atomic_fetch_add(&run->fn->running, 1);
    if (!run->head.len) {
        fail(run, ERR_INTERNAL, "the stored input of the call cannot be read");
    } else if (!d) {
        fail(run, ERR_BUILD_FAILED, "no version of the function was built");
    } else {
        run->engine = (struct engine_call){.deployment = d,
                                           .id = run->id,
                                           .head = &run->head,
                                           .body = buf_str(&run->body),
                                           .done = engine_done};
        list_init(&run->engine.link);
        engine_submit(run->cl->el, &run->engine);
    }
}
