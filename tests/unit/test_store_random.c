/* SPDX-License-Identifier: Apache-2.0 */
/* store: many functions, and random changes against an array. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/rand.h"
#include "store_world.h"
#include <cmocka.h>
#include <stdio.h>

/* ---- many, and at random ---- */
static void ten_thousand_functions(void **state) {
    struct fixture *x = *state;
    int many = 10000;
    uint32_t n;
    on(x->store, STORE_STATE, many_body, &many);
    store_close(x->store);
    reopen(x);
    on(x->store, STORE_STATE, count_body, &n);
    assert_int_equal(n, many);
}

#define NAMES 8
struct model_function {
    bool there;
    uint32_t no, name, active;
    uint32_t versions[64], n_versions; /* row numbers by number; 0 none */
};
struct naive {
    struct model_function v[NAMES];
    uint64_t random;
};

static uint32_t draw(struct naive *m, uint32_t below) {
    m->random ^= m->random << 13;
    m->random ^= m->random >> 7;
    m->random ^= m->random << 17;
    return (uint32_t)(m->random >> 33) % below;
}

static int random_create(struct store *s, struct naive *m, uint32_t i, struct error *err) {
    char name[16];
    uint32_t no = 0;
    struct error e;
    (void)snprintf(name, sizeof(name), "n%u", i);
    int rc = make_function(s, name, &no, &e);
    CHECK((rc == 0) == !m->v[i].there);
    CHECK(rc == 0 || e.code == ERR_CONFLICT);
    if (rc == 0)
        m->v[i] = (struct model_function){.there = true, .no = no};
    return 0;
}

static int random_version(struct store *s, struct naive *m, uint32_t i, struct error *err) {
    struct model_function *f = &m->v[i];
    struct error e;
    struct version v = {.function_no = f->no ? f->no : 999999, .number = 1 + draw(m, 63)};
    int rc = store_version_insert(s, &v, str_n(&v.number, sizeof(v.number)), &e);
    bool can = f->there && !f->versions[v.number];
    CHECK((rc == 0) == can);
    CHECK(rc == 0 || e.code == (f->there ? ERR_CONFLICT : ERR_NOT_FOUND));
    if (rc == 0)
        f->versions[v.number] = v.no;
    return 0;
}

static int random_activate(struct store *s, struct naive *m, uint32_t i, struct error *err) {
    struct model_function *f = &m->v[i];
    char name[16];
    (void)snprintf(name, sizeof(name), "n%u", i);
    struct function *g = a_function("p", name);
    g->no = f->no;
    g->active_number = draw(m, 64);
    g->active_no = f->versions[g->active_number];
    struct error e;
    int rc = store_function_update(s, g, &e);
    if (rc == 0)
        f->active = g->active_no;
    function_unref(g);
    CHECK((rc == 0) == f->there);
    CHECK(rc == 0 || e.code == ERR_NOT_FOUND);
    return 0;
}

static int random_delete(struct store *s, struct naive *m, uint32_t i, struct error *err) {
    struct error e;
    int rc = store_function_delete(s, m->v[i].no, &e);
    CHECK((rc == 0) == m->v[i].there);
    m->v[i] = (struct model_function){0};
    return 0;
}

static int compare(struct store *s, const struct naive *m, uint32_t i, struct error *err) {
    const struct model_function *f = &m->v[i];
    struct version_log l;
    uint32_t want = 0, total = 0;
    for (uint32_t number = 1; number < 64; number++) {
        if (!f->versions[number])
            continue;
        total++;
        struct version v = {0};
        OK(store_version_get(s, f->versions[number], &v, err));
        CHECK(v.number == number && v.function_no == f->no);
        CHECK(v.active == (f->active == v.no));
        struct blob *code;
        char *code_at;
        uint64_t code_len;
        OK(store_version_code(s, v.no, &code, &code_at, &code_len, err));
        CHECK(code->len == sizeof(number) && memcmp(code->bytes, &number, sizeof(number)) == 0);
        blob_unref(code);
        version_done(&v);
        want = number;
    }
    l = (struct version_log){.stop_after = total < 16 ? 0 : 1};
    OK(store_version_each(s, f->no, note_version, &l, err));
    CHECK(total ? l.numbers[0] == want : l.n == 0);
    CHECK(total >= 16 || l.n == total);
    return 0;
}

static int random_body(struct store *s, void *arg, struct error *err) {
    struct naive *m = arg;
    for (int step = 0; step < 40; step++) {
        uint32_t i = draw(m, NAMES), what = draw(m, 100);
        if (what < 25)
            OK(random_create(s, m, i, err));
        else if (what < 75)
            OK(random_version(s, m, i, err));
        else if (what < 95)
            OK(random_activate(s, m, i, err));
        else
            OK(random_delete(s, m, i, err));
    }
    for (uint32_t i = 0; i < NAMES; i++)
        OK(compare(s, m, i, err));
    return 0;
}

/* Undone as a whole: the naive model goes back too. */
static int random_undone_body(struct store *s, void *arg, struct error *err) {
    OK(random_body(s, arg, err));
    return error_set(err, ERR_CANCELED, "undo");
}

static void random_changes_match_an_array(void **state) {
    struct fixture *x = *state;
    static struct naive m, copy;
    memset(&m, 0, sizeof(m));
    m.random = rand_u64() | 1;
    uint64_t seed = m.random;
    struct error err = {0};
    for (int round = 0; round < 50; round++) {
        bool undo = draw(&m, 4) == 0;
        copy = m;
        int rc =
            try_on(x->store, STORE_STATE, undo ? random_undone_body : random_body, &copy, &err);
        if ((rc != 0) != undo || (undo && err.code != ERR_CANCELED))
            fail_msg("seed %llx round %d: %s", (unsigned long long)seed, round, err.text);
        uint64_t next = copy.random;
        if (!undo)
            m = copy;
        m.random = next;
        if (draw(&m, 10) == 0) {
            store_close(x->store);
            reopen(x);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        STORE_TEST(ten_thousand_functions),
        STORE_TEST(random_changes_match_an_array),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
