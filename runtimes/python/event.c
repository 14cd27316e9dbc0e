/* SPDX-License-Identifier: Apache-2.0 */
#include "event.h"

#include <structmember.h>
#include <time.h>

/* ---- Context ---- */

struct context {
    PyObject_HEAD;
    PyObject *invocation_id;
    uint64_t deadline_ns; /* CLOCK_MONOTONIC */
};

static struct { PyObject *name, *version, *workspace, *logger; } function;

static uint64_t now_ns(clockid_t clock) {
    struct timespec ts;
    (void)clock_gettime(clock, &ts);
    return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static int64_t remaining_ns(const struct context *c) {
    return (int64_t)(c->deadline_ns - now_ns(CLOCK_MONOTONIC));
}

static void context_dealloc(PyObject *self) {
    Py_XDECREF(((struct context *)self)->invocation_id);
    PyObject_Free(self);
}

static PyObject *get_function_field(PyObject *self, void *field) {
    (void)self;
    PyObject *v = *(PyObject **)field;
    return Py_NewRef(v ? v : Py_None);
}

static PyObject *get_deadline(PyObject *self, void *unused) {
    (void)unused;
    double at = (double)now_ns(CLOCK_REALTIME) + (double)remaining_ns((struct context *)self);
    return PyFloat_FromDouble(at / 1e9);
}

static PyObject *get_remaining(PyObject *self, PyObject *unused) {
    (void)unused;
    int64_t ns = remaining_ns((struct context *)self);
    return PyLong_FromLongLong(ns > 0 ? ns / (int64_t)NS_PER_MS : 0);
}

static PyObject *context_repr(PyObject *self) {
    return PyUnicode_FromFormat("<Context of %V>", ((struct context *)self)->invocation_id,
                                "no invocation");
}

static PyGetSetDef context_getset[] = {
    {"function_name", get_function_field, NULL, NULL, &function.name},
    {"function_version", get_function_field, NULL, NULL, &function.version},
    {"workspace_id", get_function_field, NULL, NULL, &function.workspace},
    {"log", get_function_field, NULL, NULL, &function.logger},
    {"logger", get_function_field, NULL, NULL, &function.logger},
    {"deadline", get_deadline, NULL, NULL, NULL},
    {0},
};
static PyMemberDef context_members[] = {
    {"invocation_id", T_OBJECT, offsetof(struct context, invocation_id), READONLY, NULL},
    {"aws_request_id", T_OBJECT, offsetof(struct context, invocation_id), READONLY, NULL},
    {0},
};
static PyMethodDef context_methods[] = {
    {"get_remaining_time_in_millis", get_remaining, METH_NOARGS, "Time left for this call."},
    {0},
};

static PyTypeObject context_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "kiln.Context",
    .tp_basicsize = sizeof(struct context),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_dealloc = context_dealloc,
    .tp_repr = context_repr,
    .tp_getset = context_getset,
    .tp_members = context_members,
    .tp_methods = context_methods,
};

static PyObject *context_new(struct str id, uint32_t deadline_ms) {
    struct context *c = PyObject_New(struct context, &context_type);
    if (!c)
        return NULL;
    c->deadline_ns = now_ns(CLOCK_MONOTONIC) + deadline_ms * NS_PER_MS;
    c->invocation_id = text_of(id);
    if (!c->invocation_id)
        Py_CLEAR(c);
    return (PyObject *)c;
}

/* ---- Event ---- */

struct event {
    PyDictObject dict;
    PyObject *context;
    PyObject *raw_body;
};

static void event_dealloc(PyObject *self) {
    struct event *e = (struct event *)self;
    PyObject_GC_UnTrack(self);
    Py_CLEAR(e->context);
    Py_CLEAR(e->raw_body);
    PyDict_Type.tp_dealloc(self);
}

static PyObject *event_getattro(PyObject *self, PyObject *name) {
    PyObject *v = PyDict_GetItemWithError(self, name);
    if (v)
        return Py_NewRef(v);
    if (PyErr_Occurred())
        return NULL;
    v = PyObject_GenericGetAttr(self, name);
    struct event *e = (struct event *)self;
    if (v || !e->context || !PyErr_ExceptionMatches(PyExc_AttributeError))
        return v;
    PyErr_Clear();
    v = PyObject_GenericGetAttr(e->context, name);
    if (!v && PyErr_ExceptionMatches(PyExc_AttributeError))
        PyErr_Format(PyExc_AttributeError, "the event has no attribute '%U'", name);
    return v;
}

static int event_setattro(PyObject *self, PyObject *name, PyObject *value) {
    if (value)
        return PyDict_SetItem(self, name, value);
    return PyDict_DelItem(self, name);
}

static PyMemberDef event_members[] = {
    {"raw_body", T_OBJECT, offsetof(struct event, raw_body), READONLY, NULL},
    {"context", T_OBJECT, offsetof(struct event, context), READONLY, NULL},
    {0},
};

static PyTypeObject event_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "kiln.Event",
    .tp_basicsize = sizeof(struct event),
    /* GC flag, traverse and clear are inherited: context and raw_body lead back to nothing. */
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_base = &PyDict_Type,
    .tp_dealloc = event_dealloc,
    .tp_getattro = event_getattro,
    .tp_setattro = event_setattro,
    .tp_members = event_members,
};

/* ---- from a CALL ---- */

static PyObject *key_body, *key_headers, *key_method, *key_path, *key_query;
static PyObject *json_scan; /* the standard library's C scanner: text, index → value, end */

PyObject *text_of(struct str s) {
    PyObject *text = PyUnicode_DecodeUTF8(s.p, (Py_ssize_t)s.len, "strict");
    if (!text && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
        PyErr_Clear();
        text = PyUnicode_DecodeLatin1(s.p, (Py_ssize_t)s.len, NULL);
    }
    return text;
}

static bool is_blank(Py_UCS4 c) {
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* The value of JSON text; NULL without an exception when it is not JSON. */
static PyObject *parse_json(PyObject *text) {
    Py_ssize_t len = PyUnicode_GET_LENGTH(text), at = 0;
    PyObject *value = NULL;

    while (at < len && is_blank(PyUnicode_READ_CHAR(text, at)))
        at++;
    PyObject *index = PyLong_FromSsize_t(at);
    PyObject *args[] = {text, index};
    PyObject *pair = index ? PyObject_Vectorcall(json_scan, args, 2, NULL) : NULL;
    Py_XDECREF(index);
    if (!pair) {
        /* Not JSON (ValueError, or StopIteration where nothing begins) or nested beyond reason. */
        if (!PyErr_ExceptionMatches(PyExc_MemoryError))
            PyErr_Clear();
        return NULL;
    }
    for (at = PyLong_AsSsize_t(PyTuple_GET_ITEM(pair, 1)); at < len; at++) {
        if (!is_blank(PyUnicode_READ_CHAR(text, at)))
            goto done;
    }
    value = Py_NewRef(PyTuple_GET_ITEM(pair, 0));
done:
    Py_DECREF(pair);
    return value;
}

/* JSON that does not parse falls back to text, text that is not UTF-8 to bytes. */
static PyObject *body_value(enum wire_body kind, PyObject *raw) {
    if (kind == WIRE_BODY_NONE || (kind == WIRE_BODY_JSON && PyBytes_GET_SIZE(raw) == 0))
        Py_RETURN_NONE;
    if (kind == WIRE_BODY_BYTES)
        return Py_NewRef(raw);
    PyObject *text = PyUnicode_DecodeUTF8(PyBytes_AS_STRING(raw), PyBytes_GET_SIZE(raw), "strict");
    if (!text) {
        if (!PyErr_ExceptionMatches(PyExc_UnicodeDecodeError))
            return NULL;
        PyErr_Clear();
        return Py_NewRef(raw);
    }
    if (kind != WIRE_BODY_JSON)
        return text;
    PyObject *value = parse_json(text);
    if (!value && !PyErr_Occurred())
        return text;
    Py_DECREF(text);
    return value;
}

/* Adds a value to the one that stands under the same name. Query: a list. Headers: one text, joined
 * by ", " (RFC 9110 section 5.3) and cookies by "; " (RFC 6265 section 5.4). */
static PyObject *combine(PyObject *old, PyObject *key, PyObject *value, bool headers) {
    if (headers) {
        bool cookie = PyUnicode_CompareWithASCIIString(key, "cookie") == 0;
        return PyUnicode_FromFormat(cookie ? "%U; %U" : "%U, %U", old, value);
    }
    PyObject *list = PyList_Check(old) ? Py_NewRef(old) : PyList_New(0);
    if (list && ((old != list && PyList_Append(list, old) < 0) || PyList_Append(list, value) < 0))
        Py_CLEAR(list);
    return list;
}

static int add_pair(PyObject *dict, PyObject *key, PyObject *value, bool headers) {
    PyObject *old = PyDict_GetItemWithError(dict, key);
    if (!old)
        return PyErr_Occurred() ? -1 : PyDict_SetItem(dict, key, value);
    PyObject *both = combine(old, key, value, headers);
    int r = both ? PyDict_SetItem(dict, key, both) : -1;
    Py_XDECREF(both);
    return r;
}

static PyObject *read_pairs(struct wire_in *in, bool headers) {
    PyObject *dict = PyDict_New();
    uint32_t n = wire_get_u32(in);

    if (n > WIRE_HEADERS_MAX)
        in->bad = true;
    for (uint32_t i = 0; dict && i < n && !in->bad; i++) {
        struct str k = wire_get_str(in), v = wire_get_str(in);
        PyObject *key = text_of(k), *value = text_of(v);
        if (!key || !value || add_pair(dict, key, value, headers) < 0)
            Py_CLEAR(dict);
        Py_XDECREF(key);
        Py_XDECREF(value);
    }
    return dict;
}

/* Sets the keys to VALUES, in order, taking them. */
static int set_keys(PyObject *event, PyObject *const values[5]) {
    PyObject *const keys[] = {key_body, key_headers, key_method, key_path, key_query};
    int r = 0;
    for (size_t i = 0; i < 5; i++) {
        if (r == 0)
            r = values[i] ? PyDict_SetItem(event, keys[i], values[i]) : -1;
        Py_XDECREF(values[i]);
    }
    return r;
}

static bool whole_requests;

void event_set_whole_requests(bool whole) {
    whole_requests = whole;
}

static PyObject *event_new(void) {
    return PyDict_Type.tp_new(&event_type, NULL, NULL);
}

bool event_from_call(struct str payload, struct call *ret) {
    struct wire_in in = wire_open(payload);
    uint32_t deadline_ms = wire_get_u32(&in);
    uint8_t flags = wire_get_u8(&in);
    enum wire_body kind = flags & ~WIRE_PLAIN;
    struct str id = wire_get_str(&in), method = wire_get_str(&in), path = wire_get_str(&in);
    PyObject *query = read_pairs(&in, false);
    PyObject *headers = query ? read_pairs(&in, true) : NULL;
    struct str body = wire_get_str(&in);
    bool ok = headers && wire_done(&in) && kind <= WIRE_BODY_BYTES;
    PyObject *self = ok ? event_new() : NULL;

    *ret = (struct call){.plain = (flags & WIRE_PLAIN) && !whole_requests};
    if (!self) {
        Py_XDECREF(query);
        Py_XDECREF(headers);
        return false;
    }
    struct event *e = (struct event *)self;
    e->context = context_new(id, deadline_ms);
    e->raw_body = PyBytes_FromStringAndSize(body.p, (Py_ssize_t)body.len);
    PyObject *value = e->raw_body ? body_value(kind, e->raw_body) : NULL;
    PyObject *const values[] = {Py_XNewRef(value), headers, text_of(method), text_of(path), query};
    ok = set_keys(self, values) == 0 && e->context && value;
    if (ok) {
        ret->context = Py_NewRef(e->context);
        ret->event = Py_NewRef(ret->plain ? value : self);
    }
    Py_XDECREF(value);
    Py_DECREF(self);
    return ok;
}

void call_done(struct call *c) {
    Py_CLEAR(c->event);
    Py_CLEAR(c->context);
}

int event_set_function(struct str name, struct str version, struct str workspace,
                       PyObject *logger) {
    Py_XSETREF(function.name, text_of(name));
    Py_XSETREF(function.version, text_of(version));
    Py_XSETREF(function.workspace, text_of(workspace));
    Py_XSETREF(function.logger, Py_NewRef(logger));
    return function.name && function.version && function.workspace ? 0 : -1;
}

void event_set_scanner(PyObject *scan) {
    Py_XSETREF(json_scan, Py_NewRef(scan));
}

int event_types_init(PyObject *module) {
    if (PyType_Ready(&context_type) < 0 || PyType_Ready(&event_type) < 0)
        return -1;
    key_body = PyUnicode_InternFromString("body");
    key_headers = PyUnicode_InternFromString("headers");
    key_method = PyUnicode_InternFromString("method");
    key_path = PyUnicode_InternFromString("path");
    key_query = PyUnicode_InternFromString("query");
    if (PyModule_AddObjectRef(module, "Event", (PyObject *)&event_type) < 0)
        return -1;
    if (PyModule_AddObjectRef(module, "Context", (PyObject *)&context_type) < 0)
        return -1;
    return 0;
}
