/* SPDX-License-Identifier: Apache-2.0 */
/* Changes of functions, one at a time for each function. A group of the store may hold many jobs
 * before the first is published; without turns two changes of a function in one group would both
 * start from the same state. */

#include "core/functions.h"
#include <stdarg.h>
#include <stdio.h>

static void take_turn(struct change *ch);
static void to_store(struct change *ch, const struct error *err);

void change_init(struct change *ch, struct core *c, struct loop *loop, const struct principal *who,
                 uint32_t function_no) {
    ch->core = c;
    ch->loop = loop;
    if (who)
        ch->who = *who;
    else
        strcpy(ch->who.name, "kiln");
    if (function_no)
        ch->fn = registry_find(&c->registry, function_no);
    list_init(&ch->link);
}

void change_done(struct change *ch) {
    core_fn_unref(ch->fn);
    ch->fn = NULL;
}

static void give_turn(struct change *ch) {
    if (!ch->has_turn) /* a function that was made by this change has been nobody's turn yet */
        return;
    ch->has_turn = false;
    pthread_mutex_lock(&ch->core->turns_lock);
    struct list *next = list_shift(&ch->fn->changes);
    ch->fn->changing = next != NULL;
    pthread_mutex_unlock(&ch->core->turns_lock);
    if (next) {
        struct change *other = list_entry(next, struct change, link);
        loop_post(other->loop, &other->task);
    }
}

static void fail_task(struct loop_task *task) {
    struct change *ch = container_of(task, struct change, task);
    ch->finish(ch, &ch->error);
}

void change_fail(struct change *ch, const struct error *err) {
    ch->error = *err;
    ch->task.run = fail_task;
    loop_post(ch->loop, &ch->task);
}

static int job_run(struct store_job *job, struct store *s, struct error *err) {
    struct change *ch = container_of(job, struct change, job);
    return ch->run(ch, s, err);
}

static void job_committed(struct store_job *job) {
    struct change *ch = container_of(job, struct change, job);
    ch->publish(ch);
}

static void end(struct change *ch, const struct error *err) {
    upload_over(ch, err != NULL);
    give_turn(ch);
    ch->finish(ch, err);
}

static void job_done(struct store_job *job, const struct error *err) {
    end(container_of(job, struct change, job), err);
}

/* On the change's loop, with the turn. */
static void take_turn(struct change *ch) {
    int r = 0;
    if (ch->fn && atomic_load(&ch->fn->gone))
        r = error_field(&ch->error, ERR_NOT_FOUND, "function", "the function was deleted");
    if (r == 0 && ch->prepare)
        r = ch->prepare(ch, &ch->error);
    if (r < 0 || ch->nothing) {
        end(ch, r < 0 ? &ch->error : NULL);
        return;
    }
    if (upload_wanted(ch))
        upload_start(ch, to_store);
    else
        to_store(ch, NULL);
}

static void to_store(struct change *ch, const struct error *err) {
    if (err) {
        end(ch, err);
        return;
    }
    ch->job = (struct store_job){.db = STORE_STATE,
                                 .run = job_run,
                                 .committed = ch->publish ? job_committed : NULL,
                                 .done = job_done,
                                 .loop = ch->loop};
    store_submit(ch->core->store, &ch->job);
}

static void turn_task(struct loop_task *task) {
    take_turn(container_of(task, struct change, task));
}

void change_start(struct change *ch) {
    ch->task.run = turn_task;
    if (ch->fn) {
        ch->has_turn = true; /* when it runs */
        pthread_mutex_lock(&ch->core->turns_lock);
        bool wait = ch->fn->changing;
        ch->fn->changing = true;
        if (wait)
            list_push(&ch->fn->changes, &ch->link);
        pthread_mutex_unlock(&ch->core->turns_lock);
        if (wait)
            return;
    }
    loop_post(ch->loop, &ch->task);
}

int change_event(struct change *ch, struct store *s, uint32_t function_no, const char *type,
                 uint32_t number, struct error *err, const char *description, ...) {
    struct event e = {.function_no = function_no, .created_us = clock_real_us()};
    snprintf(e.type, sizeof e.type, "%s", type);
    char text[512], version[16];
    va_list ap;
    va_start(ap, description);
    vsnprintf(text, sizeof text, description, ap);
    va_end(ap);
    e.description = x_strdup(text);
    if (number) {
        snprintf(version, sizeof version, "v%u", number);
        pairs_add(&e.metadata, STR("version"), str_of(version));
    }
    const char *key = strcmp(type, "deployed") == 0 ? "deployed_by" : "by";
    pairs_add(&e.metadata, str_of(key), str_of(ch->who.name));
    int r = store_event_insert(s, &e, err);
    event_done(&e);
    return r;
}

int change_needs_function(const struct change *ch, struct error *err) {
    if (ch->fn)
        return 0;
    return error_field(err, ERR_NOT_FOUND, "function", "there is no such function");
}

int core_refuses(struct core *c, struct error *err) {
    if (atomic_load(&c->draining))
        return error_set(err, ERR_UNAVAILABLE, "the server is shutting down");
    if (!atomic_load(&c->started))
        return error_set(err, ERR_UNAVAILABLE, "the server is starting");
    return 0;
}
