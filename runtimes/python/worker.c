/* SPDX-License-Identifier: Apache-2.0 */
#include "worker.h"

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>

#include "channel.h"
#include "event.h"
#include "isolate.h"
#include "kv.h"
#include "python_runtime.h"
#include "result.h"

#define WARM_CALLS      200
#define FAILED_TEXT_MAX (64 * KIB) /* of an exception's message */

static PyObject *kiln_worker; /* the Python half */

static struct {
    PyObject *handler;
    int args;      /* 0, 1: event, 2: event and context */
    bool isolated; /* a process for each call; see isolate.h */
    bool exiting;  /* the handler raised SystemExit */
    int exit_status;
} fn;

/* ---- the module _kiln, for the Python half ---- */

/* UTF-8 of TEXT; what UTF-8 cannot say is spelled \udcXX. *RET_HOLDER keeps it alive. */
static int lossy_utf8(PyObject *text, struct str *ret, PyObject **ret_holder) {
    Py_ssize_t len;
    const char *p = PyUnicode_AsUTF8AndSize(text, &len);
    *ret_holder = NULL;
    if (!p) {
        PyErr_Clear();
        *ret_holder = PyUnicode_AsEncodedString(text, "utf-8", "backslashreplace");
        if (!*ret_holder)
            return -1;
        p = PyBytes_AS_STRING(*ret_holder);
        len = PyBytes_GET_SIZE(*ret_holder);
    }
    *ret = str_n(p, (size_t)len);
    return 0;
}

static PyObject *write_stream(PyObject *text, enum chan_stream stream) {
    struct str s;
    PyObject *holder;
    if (!PyUnicode_Check(text)) {
        PyErr_Format(PyExc_TypeError, "write() argument must be str, not %.100s",
                     Py_TYPE(text)->tp_name);
        return NULL;
    }
    if (lossy_utf8(text, &s, &holder) < 0)
        return NULL;
    chan_write(stream, s);
    Py_XDECREF(holder);
    return PyLong_FromSsize_t(PyUnicode_GET_LENGTH(text));
}

static PyObject *kiln_stdout_write(PyObject *self, PyObject *text) {
    (void)self;
    return write_stream(text, CHAN_STDOUT);
}

static PyObject *kiln_stderr_write(PyObject *self, PyObject *text) {
    (void)self;
    return write_stream(text, CHAN_STDERR);
}

static PyObject *kiln_log(PyObject *self, PyObject *args) {
    int level;
    PyObject *text, *holder;
    struct str s;
    (void)self;
    if (!PyArg_ParseTuple(args, "iU", &level, &text) || lossy_utf8(text, &s, &holder) < 0)
        return NULL;
    chan_log(level >= WIRE_DEBUG && level <= WIRE_ERROR ? (enum wire_level)level : WIRE_INFO, s);
    Py_XDECREF(holder);
    Py_RETURN_NONE;
}

static PyObject *kiln_flush(PyObject *self, PyObject *unused) {
    (void)self, (void)unused;
    (void)chan_flush();
    Py_RETURN_NONE;
}

static PyObject *kiln_detach(PyObject *self, PyObject *unused) {
    (void)self, (void)unused;
    chan_detach();
    Py_RETURN_NONE;
}

static PyObject *kiln_exit(PyObject *self, PyObject *args) {
    int status;
    (void)self;
    if (!PyArg_ParseTuple(args, "i", &status))
        return NULL;
    chan_exit(status);
}

static PyMethodDef kiln_methods[] = {
    {"stdout_write", kiln_stdout_write, METH_O, "Text for standard output."},
    {"stderr_write", kiln_stderr_write, METH_O, "Text for standard error."},
    {"log", kiln_log, METH_VARARGS, "log(level, text): one LOG frame."},
    {"flush", kiln_flush, METH_NOARGS, "Sends what is held."},
    {"detach", kiln_detach, METH_NOARGS, "In a forked child: the channel is the parent's."},
    {"kv", kv_ask, METH_VARARGS, "kv(op, store, key, value): (status, bytes)."},
    {"used", isolate_used, METH_O, "used(bits): what a call of its own process has used."},
    {"exit", kiln_exit, METH_VARARGS, "Flushes and ends the process."},
    {0},
};
static struct PyModuleDef kiln_module = {
    PyModuleDef_HEAD_INIT, "_kiln", NULL, -1, kiln_methods, NULL, NULL, NULL, NULL};

static PyObject *kiln_init(void) {
    PyObject *m = PyModule_Create(&kiln_module);
    if (!m || event_types_init(m) < 0 ||
        PyModule_AddStringConstant(m, "APP_DIR", python_app_dir) < 0)
        Py_CLEAR(m);
    return m;
}

int worker_register(void) {
    return PyImport_AppendInittab("_kiln", kiln_init) < 0 ? -ENOMEM : 0;
}

/* ---- a call ---- */

static struct str frame_string(struct str s, char len[4]) {
    for (int i = 0; i < 4; i++)
        len[i] = (char)(s.len >> (8 * i));
    return str_n(len, 4);
}

static void send_failed(uint32_t seq, struct str type, struct str message) {
    char len[4];
    cleanup_buf struct buf b = BUF_INIT(FAILED_TEXT_MAX + 1 * KIB);

    if (message.len > FAILED_TEXT_MAX)
        message.len = FAILED_TEXT_MAX;
    while (message.len == FAILED_TEXT_MAX && !str_is_utf8(message) && message.len > 0)
        message.len--;
    (void)buf_put_str(&b, frame_string(type, len));
    (void)buf_put_str(&b, type);
    (void)buf_put_str(&b, frame_string(message, len));
    uint8_t flags = (fn.exiting ? WIRE_FAILED_LAST : 0) | (fn.isolated ? WIRE_FAILED_EMPTY : 0);
    (void)chan_frame_flags(WIRE_FAILED, flags, seq, buf_str(&b), message);
}

/* The pending exception becomes log line and FAILED. Python formats it; where even that fails (no
 * memory), its bare type is told. */
static void fail_call(uint32_t seq) {
    PyObject *type, *value, *trace;
    struct str name = STR("Error"), message = STR("the exception could not be described");
    PyObject *h1 = NULL, *h2 = NULL;

    PyErr_Fetch(&type, &value, &trace);
    PyErr_NormalizeException(&type, &value, &trace);
    if (value && trace)
        (void)PyException_SetTraceback(value, trace);
    /* (type, message, exit status or None) */
    PyObject *told = PyObject_CallMethod(kiln_worker, "report", "O", value ? value : Py_None);
    if (told && PyTuple_Check(told) && PyTuple_GET_SIZE(told) == 3) {
        (void)lossy_utf8(PyTuple_GET_ITEM(told, 0), &name, &h1);
        (void)lossy_utf8(PyTuple_GET_ITEM(told, 1), &message, &h2);
        PyObject *status = PyTuple_GET_ITEM(told, 2);
        fn.exiting = status != Py_None && !fn.isolated;
        fn.exit_status = fn.exiting ? (int)PyLong_AsLong(status) & 0xff : 0;
    } else if (type && PyType_Check(type)) {
        name = str_of(((PyTypeObject *)type)->tp_name);
    }
    PyErr_Clear();
    chan_end_lines();
    send_failed(seq, name, message);
    Py_XDECREF(told);
    Py_XDECREF(h1);
    Py_XDECREF(h2);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(trace);
}

static PyObject *call_handler(const struct call *c) {
    PyObject *args[] = {c->event, c->context};
    PyObject *r = PyObject_Vectorcall(fn.handler, args, (size_t)fn.args, NULL);
    if (!r ||
        (!PyCoro_CheckExact(r) && !(Py_TYPE(r)->tp_as_async && Py_TYPE(r)->tp_as_async->am_await)))
        return r;
    PyObject *awaited = PyObject_CallMethod(kiln_worker, "run_async", "O", r);
    Py_DECREF(r);
    return awaited;
}

/* Each call has a copy of the context variables of the moment after loading: what one call sets,
 * the next does not see. */
static PyObject *call_in_context(const struct call *c) {
    PyObject *vars = PyContext_CopyCurrent();
    if (!vars || PyContext_Enter(vars) < 0) {
        Py_XDECREF(vars);
        return NULL;
    }
    PyObject *r = call_handler(c);
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    (void)PyContext_Exit(vars);
    PyErr_Restore(type, value, trace);
    Py_DECREF(vars);
    return r;
}

static void handle_call(const struct wire_frame *f) {
    chan_set_call(f->seq);
    kv_begin(f->seq);
    struct call c;
    bool ok = event_from_call(f->payload, &c);
    if (!ok && !PyErr_Occurred())
        chan_exit(WORKER_EXIT_PROTOCOL);
    PyObject *result = ok ? call_in_context(&c) : NULL;
    call_done(&c);
    kv_end();
    if (result) {
        chan_end_lines();
        if (result_send(f->seq, result, c.plain) < 0)
            fail_call(f->seq);
        Py_DECREF(result);
    } else {
        fail_call(f->seq);
    }
    chan_set_call(0);
    if (fn.exiting)
        chan_exit(fn.exit_status);
}

/* ---- loading ---- */

static PyObject *read_env(struct wire_in *in) {
    PyObject *list = PyList_New(0);
    uint32_t n = wire_get_u32(in);

    for (uint32_t i = 0; list && i < n && !in->bad; i++) {
        struct str k = wire_get_str(in), v = wire_get_str(in);
        PyObject *pair = Py_BuildValue("(y#y#)", k.p ? k.p : "", (Py_ssize_t)k.len, v.p ? v.p : "",
                                       (Py_ssize_t)v.len);
        if (!pair || PyList_Append(list, pair) < 0)
            Py_CLEAR(list);
        Py_XDECREF(pair);
    }
    return list;
}

static void load_failed(void) {
    PyObject *type, *value, *trace, *holder = NULL;
    struct str text = STR("the function could not be loaded, nor the reason be described");
    char len[4];

    PyErr_Fetch(&type, &value, &trace);
    PyErr_NormalizeException(&type, &value, &trace);
    if (value && trace)
        (void)PyException_SetTraceback(value, trace);
    PyObject *told =
        PyObject_CallMethod(kiln_worker, "describe_load_failure", "O", value ? value : Py_None);
    if (told && PyUnicode_Check(told))
        (void)lossy_utf8(told, &text, &holder);
    PyErr_Clear();
    chan_end_lines();
    (void)chan_frame(WIRE_LOAD_FAILED, 0, frame_string(text, len), text);
    Py_XDECREF(told);
    Py_XDECREF(holder);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(trace);
}

/* Takes the LOAD payload: 0, -EBADMSG, or -1 with an exception. */
static int load(struct str payload, uint8_t *ret_flags) {
    struct wire_in in = wire_open(payload);
    *ret_flags = wire_get_u8(&in);
    struct str name = wire_get_str(&in), version = wire_get_str(&in);
    struct str workspace = wire_get_str(&in), handler = wire_get_str(&in);
    PyObject *env = read_env(&in);
    struct str code = wire_get_str(&in);
    int r = -1;

    if (!wire_done(&in)) {
        Py_XDECREF(env);
        return -EBADMSG;
    }
    PyObject *logger = PyObject_GetAttrString(kiln_worker, "logger");
    PyObject *text = text_of(handler);
    PyObject *found = NULL;
    if (env && logger && text && event_set_function(name, version, workspace, logger) == 0)
        found = PyObject_CallMethod(kiln_worker, "load", "OOy#", text, env, code.p ? code.p : "",
                                    (Py_ssize_t)code.len);
    PyObject *callable;
    if (found && PyArg_ParseTuple(found, "Oi", &callable, &fn.args)) {
        Py_XSETREF(fn.handler, Py_NewRef(callable));
        fn.isolated = fn.args < 0;
        if (fn.isolated)
            fn.args = 1;
        event_set_whole_requests(fn.isolated);
        r = 0;
    }
    Py_XDECREF(found);
    Py_XDECREF(text);
    Py_XDECREF(logger);
    Py_XDECREF(env);
    return r;
}

static void load_function(void) {
    struct wire_frame f;
    uint8_t flags = 0;
    int r = chan_next(&f);

    if (r == 0)
        chan_exit(0);
    if (r < 0 || f.type != WIRE_LOAD)
        chan_exit(WORKER_EXIT_PROTOCOL);
    r = load(f.payload, &flags);
    if (r == -EBADMSG)
        chan_exit(WORKER_EXIT_PROTOCOL);
    if (r < 0) {
        load_failed();
        chan_exit(1);
    }
    chan_end_lines();
    (void)chan_frame(WIRE_READY, 0, STR_NULL, STR_NULL);
    if (flags & WIRE_LOAD_CHECK)
        chan_exit(0);
}

/* ---- warming ---- */

static void warm_call_frame(struct buf *b) {
    const char *const headers[] = {"host",       "localhost", "content-type", "application/json",
                                   "user-agent", "kiln"};
    (void)wire_u32(b, 1000);
    (void)wire_u8(b, WIRE_BODY_JSON);
    (void)wire_str(b, STR("inv-00000000000000000000000000"));
    (void)wire_str(b, STR("POST"));
    (void)wire_str(b, STR("/invoke"));
    (void)wire_u32(b, 1);
    (void)wire_str(b, STR("q"));
    (void)wire_str(b, STR("1"));
    (void)wire_u32(b, ARRAY_LEN(headers) / 2);
    for (size_t i = 0; i < ARRAY_LEN(headers); i++)
        (void)wire_str(b, str_of(headers[i]));
    (void)wire_str(b, STR("{\"name\":\"kiln\",\"n\":[1,2.5,null,true,\"\\u00e9\"]}"));
}

/* Loads WARM_SOURCE of kiln_worker with one of its handlers and calls that COUNT times, without a
 * channel. */
static int warm_handler(const char *handler, int count) {
    cleanup_buf struct buf b = BUF_INIT(64 * KIB);
    struct wire_frame f = {.type = WIRE_CALL};

    warm_call_frame(&b);
    f.payload = buf_str(&b);
    PyObject *found = PyObject_CallMethod(kiln_worker, "warm_load", "s", handler);
    PyObject *callable;
    if (!found || !PyArg_ParseTuple(found, "Oi", &callable, &fn.args)) {
        Py_XDECREF(found);
        return -1;
    }
    fn.handler = callable;
    for (int n = 0; n < count; n++)
        handle_call(&f);
    fn.handler = NULL;
    Py_DECREF(found);
    chan_discard();
    return 0;
}

/* A handler for each path worth having run before any fork. */
static int warm_calls(void) {
    if (warm_handler("main.handler", WARM_CALLS) < 0 ||
        warm_handler("main.response", WARM_CALLS) < 0)
        return -1;
    return warm_handler("main.failing", 5);
}

/* In a new instance, before it says HELLO: takes the page faults of a first load and call (some
 * 240, a millisecond) while it is a spare that nobody waits for. */
static void touch_pages(void) {
    PyObject *done = NULL;
    if (warm_handler("main.handler", 1) == 0)
        done = PyObject_CallMethod(kiln_worker, "warm_forget", NULL);
    if (!done)
        PyErr_Clear();
    Py_XDECREF(done);
}

static void prepare_isolated(int used) {
    PyObject *done = PyObject_CallMethod(kiln_worker, "prepare_isolated", "i", used);
    if (!done) { /* the next call must not see what this one left */
        PyErr_Print();
        chan_exit(1);
    }
    Py_DECREF(done);
}

static void NORETURN run_isolated(void) {
    PyObject *done = PyObject_CallMethod(kiln_worker, "begin_isolated", NULL);
    if (!done)
        PyErr_Print();
    Py_XDECREF(done);
    if (!done)
        chan_exit(1);
    isolate_run(handle_call, prepare_isolated);
}

void worker_run(int fd, const char *interpreter) {
    struct wire_frame f;
    char len[4];
    int r;

    touch_pages();
    chan_open(fd);
    (void)chan_frame(WIRE_HELLO, 0, frame_string(str_of(interpreter), len), str_of(interpreter));
    load_function();
    if (fn.isolated)
        run_isolated();
    while ((r = chan_next(&f)) > 0) {
        if (f.type != WIRE_CALL)
            chan_exit(WORKER_EXIT_PROTOCOL);
        handle_call(&f);
    }
    chan_exit(r == -EBADMSG ? WORKER_EXIT_PROTOCOL : 0);
}

int worker_warm(void) {
    kiln_worker = kv_init() == 0 ? PyImport_ImportModule("kiln_worker") : NULL;
    PyObject *scan = kiln_worker ? PyObject_GetAttrString(kiln_worker, "json_scan") : NULL;
    if (scan)
        event_set_scanner(scan);
    Py_XDECREF(scan);
    if (scan && warm_calls() == 0) {
        PyObject *done = PyObject_CallMethod(kiln_worker, "warm_done", NULL);
        Py_XDECREF(done);
        if (done)
            return 0;
    }
    PyErr_Print();
    return -EIO;
}
