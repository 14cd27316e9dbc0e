/* SPDX-License-Identifier: Apache-2.0 */
#define PY_SSIZE_T_CLEAN
#include "kv.h"

#include "channel.h"
#include "worker.h"

#define QUESTION_MAX (2 * MIB) /* the server's limits are below */

static struct {
    PyThread_type_lock turn;
    uint32_t seq; /* 0: no call runs */
} kv;

static void take_turn(void) {
    if (PyThread_acquire_lock(kv.turn, NOWAIT_LOCK))
        return;
    Py_BEGIN_ALLOW_THREADS;
    PyThread_acquire_lock(kv.turn, WAIT_LOCK);
    Py_END_ALLOW_THREADS;
}

int kv_init(void) {
    kv.turn = PyThread_allocate_lock();
    if (!kv.turn)
        PyErr_NoMemory();
    return kv.turn ? 0 : -1;
}

void kv_begin(uint32_t seq) {
    kv.seq = seq;
}

void kv_end(void) {
    take_turn();
    kv.seq = 0;
    PyThread_release_lock(kv.turn);
}

static int send_question(int op, const struct str parts[3]) {
    cleanup_buf struct buf b = BUF_INIT(QUESTION_MAX);
    int r = wire_u8(&b, (uint8_t)op);
    for (int i = 0; i < 3 && r == 0; i++)
        r = wire_str(&b, parts[i]);
    if (r == 0)
        r = chan_frame(WIRE_KV, kv.seq, buf_str(&b), STR_NULL);
    return r == 0 ? chan_flush() : r;
}

static PyObject *read_answer(void) {
    struct wire_frame f;
    if (chan_next(&f) <= 0) /* the server is gone, and with it who waits for the result */
        chan_exit(0);
    struct wire_in in = wire_open(f.payload);
    uint8_t status = wire_get_u8(&in);
    struct str rest = wire_get_str(&in);
    if (f.type != WIRE_KV_ANSWER || f.seq != kv.seq || !wire_done(&in))
        chan_exit(WORKER_EXIT_PROTOCOL);
    return Py_BuildValue("(iy#)", (int)status, rest.p ? rest.p : "", (Py_ssize_t)rest.len);
}

/* Holding the turn. */
static PyObject *ask(int op, const struct str parts[3]) {
    if (!kv.seq || !chan_is_open()) {
        PyErr_SetString(PyExc_RuntimeError,
                        "the key-value store can be asked while a request is handled, by its own "
                        "process");
        return NULL;
    }
    if (send_question(op, parts) < 0) {
        PyErr_SetString(PyExc_RuntimeError, "the key-value store could not be asked");
        return NULL;
    }
    return read_answer();
}

PyObject *kv_ask(PyObject *self, PyObject *args) {
    struct str parts[3];
    Py_ssize_t len[3];
    int op;
    (void)self;
    if (!PyArg_ParseTuple(args, "iy#y#y#", &op, &parts[0].p, &len[0], &parts[1].p, &len[1],
                          &parts[2].p, &len[2]))
        return NULL;
    for (int i = 0; i < 3; i++)
        parts[i].len = (size_t)len[i];
    take_turn();
    PyObject *answer = ask(op, parts);
    PyThread_release_lock(kv.turn);
    return answer;
}
