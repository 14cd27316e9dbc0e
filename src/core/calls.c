/* SPDX-License-Identifier: Apache-2.0 */
/* Synchronous calls: registry → engine → record. Nothing here waits for the store. */

#include "core/internal.h"
#include <stdio.h>

enum call_state { CALL_NEW, CALL_WAITING, CALL_SUBMITTING, CALL_RUNNING, CALL_LATER, CALL_ENDED };

/* A result that is known too early: told after core_call_submit() has returned. */
struct call_later {
    struct loop_task task;
    struct core_call *call; /* NULL: canceled meanwhile */
    struct engine_result result;
    char text[256];
};

/* ---- what every ended call leaves; async.c uses it too ---- */
/* From acceptance on: waiting for a build and in the store's queue count too. */
static uint32_t queued_us(const struct invocation *v, const struct engine_result *r) {
    int64_t us = v->started_us - v->created_us - r->starting_us;
    if (us < r->queued_us)
        return r->queued_us;
    return us < UINT32_MAX ? (uint32_t)us : UINT32_MAX;
}

void call_record(struct invocation *v, const struct ulid *id, const struct deployment *d,
                 enum invocation_source source, int64_t created_us, const struct engine_result *r) {
    int64_t now = clock_real_us();
    memset(v, 0, offsetof(struct invocation, error_text) + 1);
    v->id = *id;
    v->function_no = ulid_function_no(id);
    v->version_number = d ? d->version_number : 0;
    v->status = r->cause == ERR_NONE ? INV_COMPLETED : INV_FAILED;
    v->source = source;
    v->cause = r->cause;
    v->http_status = r->cause == ERR_NONE ? r->status : 0;
    v->cold = r->cold;
    v->created_us = created_us;
    v->started_us = now - r->running_us > created_us ? now - r->running_us : created_us;
    v->ended_us = now;
    v->queued_us = queued_us(v, r);
    v->starting_us = r->starting_us;
    v->running_us = r->running_us;
    if (r->error_text)
        snprintf(v->error_text, sizeof v->error_text, "%s%s%s", r->error_type ? r->error_type : "",
                 r->error_type ? ": " : "", r->error_text);
}

/* What a person looking at the log should read about a call that was killed, or NULL. */
static const char *kill_text(const struct deployment *d, const struct invocation *v, char *out,
                             size_t size) {
    double ran = v->running_us / 1e6;
    switch (v->cause) {
    case ERR_TIMEOUT:
        snprintf(out, size, "killed after %.3g s: timeout (limit %.3g s)", ran,
                 d->timeout_ms / 1e3);
        return out;
    case ERR_MEMORY:
        snprintf(out, size, "killed after %.3g s: out of memory (limit %llu MiB)", ran,
                 (unsigned long long)(d->memory_bytes / MIB));
        return out;
    case ERR_CRASH:
        snprintf(out, size, "ended after %.3g s: %s", ran, v->error_text);
        return out;
    case ERR_LIMIT:
        snprintf(out, size, "killed after %.3g s: %s", ran, v->error_text);
        return out;
    default:
        return NULL;
    }
}

static void tell_kill(struct core_loop *cl, const struct deployment *d, const struct invocation *v,
                      const char *instance) {
    char text[512], id[ID_TEXT_MAX];
    if (!d || !kill_text(d, v, text, sizeof text))
        return;
    core_on_log(cl->core, cl->loop, d, &v->id, instance ? instance : "", LINE_ERROR, str_of(text));
    log_warn("call killed", LOG_INT("function", v->function_no),
             LOG_INT("version", v->version_number),
             LOG_STR("invocation", invocation_id_text(id, &v->id)),
             LOG_STR("cause", error_code_name(v->cause)));
}

static void add_minute(struct core_loop *cl, const struct deployment *d, const struct invocation *v,
                       uint32_t before) {
    struct metric_minute *m = history_minute(cl, v->function_no, v->ended_us / 60000000);
    uint32_t most = d ? d->max_instances : before; /* what waits does not run */
    uint32_t high = before < most ? before : most;
    uint32_t low = before ? before - 1 : 0;
    m->invocations++;
    m->errors += v->status != INV_COMPLETED;
    m->cold_starts += v->cold;
    m->answered_errors += v->status == INV_COMPLETED && v->http_status >= 400;
    m->busy_us += v->running_us;
    if (d)
        m->gb_us += (uint64_t)((double)d->memory_bytes / GIB * v->running_us);
    if (high > m->concurrency_max)
        m->concurrency_max = high;
    if (low > most)
        low = most;
    if (low < m->concurrency_min)
        m->concurrency_min = low;
    if (v->running_us || v->cause == ERR_NONE)
        histogram_add(&m->duration, v->running_us);
}

/* An update that is lost to another loop's does no harm. */
static void note_cold_start(struct core *c, uint32_t us) {
    uint64_t old = atomic_load_explicit(&c->cold_start_us, memory_order_relaxed);
    uint64_t typical = old ? (7 * old + us) / 8 : us;
    atomic_store_explicit(&c->cold_start_us, (uint32_t)typical, memory_order_relaxed);
}

void call_account(struct core_loop *cl, struct core_fn *fn, const struct deployment *d,
                  const struct invocation *v, const char *instance) {
    uint32_t before = atomic_fetch_sub(&fn->running, 1);
    struct fn_totals *t = &fn->totals;
    atomic_fetch_add_explicit(&t->invocations, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&t->running_us, v->running_us, memory_order_relaxed);
    if (v->status != INV_COMPLETED)
        atomic_fetch_add_explicit(&t->errors, 1, memory_order_relaxed);
    if (v->cold)
        atomic_fetch_add_explicit(&t->cold_starts, 1, memory_order_relaxed);
    if (v->version_number &&
        atomic_load_explicit(&fn->invoked, memory_order_relaxed) != v->version_number)
        event_invoked(cl, fn, v->version_number);
    history_record(cl, v);
    add_minute(cl, d, v, before);
    if (v->cold && v->cause == ERR_NONE)
        note_cold_start(cl->core, v->starting_us);
    tell_kill(cl, d, v, instance);
}

/* ---- one call ---- */
static void call_end(struct core_call *call, const struct engine_result *r) {
    struct invocation v;
    call->state = CALL_ENDED;
    call_record(&v, &call->id, call->deployment, call->source, call->created_us, r);
    call_account(call->cl, call->fn, call->deployment, &v, r->instance);
    call->done(call, r, &v); /* may free CALL */
}

static void later_run(struct loop_task *task) {
    struct call_later *later = container_of(task, struct call_later, task);
    struct core_call *call = later->call;
    if (call) {
        call->later = NULL;
        call_end(call, &later->result);
    }
    free(later);
}

static void end_later(struct core_call *call, enum error_code cause, const char *text) {
    struct call_later *later = x_alloc(sizeof *later);
    later->task.run = later_run;
    later->call = call;
    snprintf(later->text, sizeof later->text, "%s", text ? text : error_code_name(cause));
    later->result =
        (struct engine_result){.cause = cause, .error_text = later->text, .instance = ""};
    call->later = later;
    call->state = CALL_LATER;
    loop_post(call->cl->loop, &later->task);
}

static void engine_done(struct engine_call *ec, const struct engine_result *r) {
    struct core_call *call = container_of(ec, struct core_call, engine);
    if (call->state == CALL_SUBMITTING)
        end_later(call, r->cause ? r->cause : ERR_INTERNAL, r->error_text);
    else
        call_end(call, r);
}

static void to_engine(struct core_call *call) {
    call->engine = (struct engine_call){.deployment = call->deployment,
                                        .id = call->id,
                                        .head = &call->head,
                                        .body = call->body,
                                        .done = engine_done};
    list_init(&call->engine.link);
    call->state = CALL_SUBMITTING;
    engine_submit(call->cl->el, &call->engine);
    if (call->state == CALL_SUBMITTING)
        call->state = CALL_RUNNING;
}

/* Why there is nothing to call: 0 while a first build runs, or an image is fetched again. */
static int why_not(struct core_loop *cl, struct core_fn *fn, const struct function *f,
                   bool queue_unbuilt, struct error *err) {
    struct core *c = cl->core;
    if (f->status == FN_DELETING)
        return error_field(err, ERR_NOT_FOUND, "function", "the function was deleted");
    if (atomic_load(&c->draining) || !atomic_load(&c->started))
        return error_set(err, ERR_UNAVAILABLE, "the server is %s",
                         atomic_load(&c->started) ? "shutting down" : "starting");
    if (f->status == FN_BUILDING || f->status == FN_PENDING)
        return 0;
    if (f->status == FN_ERROR && (build_again(c, cl->loop, fn, f) || queue_unbuilt))
        return 0;
    if (f->status == FN_ERROR)
        return error_set(err, ERR_BUILD_FAILED,
                         "function '%s' has no version that was built; the list of its versions "
                         "shows the build log",
                         f->name);
    return error_set(err, ERR_UNAVAILABLE, "function '%s' is not ready", f->name);
}

int core_call_init(struct core *c, struct loop *loop, struct core_call *call, uint32_t function_no,
                   enum wire_body body_kind, struct str method, struct str path,
                   struct error *err) {
    call->fn = registry_resolve(&c->registry, function_no, &call->function, &call->deployment);
    if (!call->fn)
        return error_field(err, ERR_NOT_FOUND, "function", "there is no such function");
    call->cl = core_on(c, loop);
    bool refused = atomic_load(&c->draining) || !call->deployment;
    if (refused && why_not(call->cl, call->fn, call->function, call->queue_unbuilt, err) < 0) {
        core_call_done(call);
        return -1;
    }
    call->id = ulid_make(function_no);
    call->created_us = clock_real_us();
    call->state = CALL_NEW;
    list_init(&call->link);
    buf_init(&call->head, CORE_CALL_HEAD_MAX);
    engine_input_begin(&call->input, &call->head, body_kind, &call->id, method, path);
    return 0;
}

static void release(struct core_call *call) {
    buf_done(&call->head);
    if (call->deployment)
        deployment_unref(call->deployment);
    function_unref(call->function);
    core_fn_unref(call->fn);
    call->deployment = NULL;
    call->function = NULL;
    call->fn = NULL;
}

void core_call_done(struct core_call *call) {
    release(call);
}

static void refresh(struct core_call *call) {
    function_unref(call->function);
    call->function = registry_view(&call->cl->core->registry, call->fn, &call->deployment);
}

/* Sends it off, ends it, or says that it goes on waiting. */
static bool still_waits(struct core_call *call) {
    struct error err = {0};
    struct core_loop *cl = call->cl;
    refresh(call);
    if (call->deployment && !atomic_load(&cl->core->draining)) {
        list_del(&call->link);
        to_engine(call);
        return false;
    }
    bool over = loop_now_ns(cl->loop) >= call->waiting_until_ns;
    if (over)
        error_set(&err, ERR_UNAVAILABLE, "function '%s' is still being built",
                  call->function->name);
    if (!over && why_not(cl, call->fn, call->function, false, &err) == 0)
        return true;
    list_del(&call->link);
    end_later(call, err.code, err.text);
    return false;
}

void calls_look_again(struct core_loop *cl) {
    struct list now; /* done() may submit more */
    list_init(&now);
    while (!list_empty(&cl->waiting))
        list_push(&now, list_shift(&cl->waiting));
    struct list *node;
    while ((node = list_shift(&now))) {
        struct core_call *call = list_entry(node, struct core_call, link);
        list_push(&cl->waiting, node);
        still_waits(call);
    }
    if (!list_empty(&cl->waiting) && !loop_timer_is_set(&cl->waiting_timer))
        loop_timer_set(cl->loop, &cl->waiting_timer,
                       list_entry(cl->waiting.next, struct core_call, link)->waiting_until_ns +
                           NS_PER_MS);
}

static void waiting_fire(struct loop_timer *timer) {
    calls_look_again(container_of(timer, struct core_loop, waiting_timer));
}

void calls_init(struct core_loop *cl) {
    list_init(&cl->waiting);
    loop_timer_init(&cl->waiting_timer, waiting_fire);
}

void core_call_submit(struct core_call *call) {
    struct core_loop *cl = call->cl;
    atomic_fetch_add(&call->fn->running, 1);
    if (call->input.failed) {
        end_later(call, ERR_TOO_LARGE, "the request's headers and query are too large");
        return;
    }
    if (call->deployment) {
        to_engine(call);
        return;
    }
    call->state = CALL_WAITING;
    call->waiting_until_ns = loop_now_ns(cl->loop) + CALL_BUILD_WAIT_MS * NS_PER_MS;
    list_push(&cl->waiting, &call->link);
    calls_look_again(cl);
}

void core_call_cancel(struct core_call *call) {
    if (call->state == CALL_NEW || call->state == CALL_ENDED) {
        release(call);
        return;
    }
    struct engine_result r = {
        .cause = ERR_CANCELED, .error_text = "the caller went away", .instance = ""};
    if (call->state == CALL_RUNNING)
        engine_cancel(call->cl->el, &call->engine);
    else if (call->state == CALL_WAITING)
        list_del(&call->link);
    else if (call->later)
        call->later->call = NULL;
    call->state = CALL_ENDED;
    struct invocation v;
    call_record(&v, &call->id, call->deployment, call->source, call->created_us, &r);
    call_account(call->cl, call->fn, call->deployment, &v, "");
    release(call);
}
