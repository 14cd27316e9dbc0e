/* SPDX-License-Identifier: Apache-2.0 */
#include "result.h"

#include "channel.h"
#include "json_out.h"

#define SCRATCH_KEEP_MAX (1 * MIB)

/* The parts of the frame. Both buffers are kept from call to call. */
struct result {
    uint16_t status;
    bool wrapped;
    enum wire_body kind;
    uint32_t n_headers;
    struct buf *headers; /* strings, one after the other */
    struct buf *body;
};

static int buf_error(int r) {
    if (r < 0)
        PyErr_SetString(PyExc_ValueError, "the result is larger than 64 MiB");
    return r < 0 ? -1 : 0;
}

/* UTF-8 of a str, borrowed; with an exception where it has none. */
static int utf8_of(PyObject *text, const char *what, struct str *ret) {
    Py_ssize_t len;
    const char *p = PyUnicode_AsUTF8AndSize(text, &len);
    if (p) {
        *ret = str_n(p, (size_t)len);
        return 0;
    }
    if (PyErr_ExceptionMatches(PyExc_UnicodeEncodeError))
        PyErr_Format(PyExc_ValueError, "%s has a lone surrogate, which is not UTF-8", what);
    return -1;
}

/* ---- body ---- */

static int body_from_buffer(struct result *r, PyObject *v) {
    Py_buffer view;
    if (PyObject_GetBuffer(v, &view, PyBUF_FULL_RO) < 0)
        return -1;
    int e = buf_error(buf_reserve(r->body, (size_t)view.len));
    if (e == 0)
        e = PyBuffer_ToContiguous(r->body->p + r->body->len, &view, view.len, 'C');
    if (e == 0)
        r->body->len += (size_t)view.len;
    PyBuffer_Release(&view);
    r->kind = WIRE_BODY_BYTES;
    return e;
}

static int body_from_base64(struct result *r, PyObject *text) {
    struct str s;
    if (utf8_of(text, "the body", &s) < 0)
        return -1;
    r->kind = WIRE_BODY_BYTES;
    int e = buf_put_base64_decoded(r->body, s);
    if (e == -EMSGSIZE)
        return buf_error(e);
    if (e < 0)
        PyErr_SetString(PyExc_ValueError, "isBase64Encoded is set, but the body is not base64");
    return e < 0 ? -1 : 0;
}

static int set_body(struct result *r, PyObject *v) {
    if (PyUnicode_Check(v)) {
        struct str s;
        r->kind = WIRE_BODY_TEXT;
        return utf8_of(v, "the body", &s) < 0 ? -1 : buf_error(buf_put_str(r->body, s));
    }
    if (PyBytes_Check(v) || PyByteArray_Check(v) || PyMemoryView_Check(v))
        return body_from_buffer(r, v);
    if (v == Py_None && r->wrapped) {
        r->kind = WIRE_BODY_NONE;
        return 0;
    }
    r->kind = WIRE_BODY_JSON;
    return json_out(r->body, v);
}

/* ---- headers ---- */

static bool breaks_line(struct str s) {
    return memchr(s.p, '\n', s.len) || memchr(s.p, '\r', s.len) || memchr(s.p, 0, s.len);
}

static int put_header(struct result *r, struct str name, PyObject *value) {
    PyObject *text = NULL;
    struct str s;

    if (value == Py_None)
        return 0;
    if (PyBytes_Check(value))
        text = PyUnicode_DecodeLatin1(PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value), NULL);
    else if (PyUnicode_Check(value) || PyLong_Check(value) || PyFloat_Check(value))
        text = PyObject_Str(value);
    else
        PyErr_Format(PyExc_TypeError, "header '%.100s' is of type %.100s", name.p,
                     Py_TYPE(value)->tp_name);
    int e = text ? utf8_of(text, "a header", &s) : -1;
    if (e == 0 && breaks_line(s)) {
        PyErr_Format(PyExc_ValueError, "header '%.100s' has a line break", name.p);
        e = -1;
    }
    if (e == 0 && r->n_headers++ >= WIRE_HEADERS_MAX) {
        PyErr_Format(PyExc_ValueError, "more than %d headers", WIRE_HEADERS_MAX);
        e = -1;
    }
    if (e == 0) {
        e = wire_str(r->headers, name);
        e = buf_error(e == 0 ? wire_str(r->headers, s) : e);
    }
    Py_XDECREF(text);
    return e;
}

static int put_named(struct result *r, PyObject *key, PyObject *value) {
    struct str name;

    if (!PyUnicode_Check(key)) {
        PyErr_SetString(PyExc_TypeError, "a header's name is not a str");
        return -1;
    }
    if (utf8_of(key, "a header's name", &name) < 0)
        return -1;
    if (name.len == 0 || breaks_line(name)) {
        PyErr_SetString(PyExc_ValueError, "a header's name is empty or has a line break");
        return -1;
    }
    if (!PyList_Check(value) && !PyTuple_Check(value))
        return put_header(r, name, value);
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(value); i++) {
        if (put_header(r, name, PySequence_Fast_GET_ITEM(value, i)) < 0)
            return -1;
    }
    return 0;
}

static int put_headers(struct result *r, PyObject *dict) {
    Py_ssize_t pos = 0;
    PyObject *key, *value;

    if (!dict || dict == Py_None)
        return PyErr_Occurred() ? -1 : 0;
    if (!PyDict_Check(dict)) {
        PyErr_Format(PyExc_TypeError, "the headers are of type %.100s and not a dict",
                     Py_TYPE(dict)->tp_name);
        return -1;
    }
    while (PyDict_Next(dict, &pos, &key, &value)) {
        /* Formatting a value may run a method of the function's: hold both. */
        Py_INCREF(key);
        Py_INCREF(value);
        int e = put_named(r, key, value);
        Py_DECREF(key);
        Py_DECREF(value);
        if (e < 0)
            return -1;
    }
    return 0;
}

/* ---- response or plain data ---- */

/* The status that V stands for, 0 when it is none. */
static long status_of(PyObject *v) {
    long n = -1;
    if (PyLong_Check(v) && !PyBool_Check(v)) {
        int overflow;
        n = PyLong_AsLongAndOverflow(v, &overflow);
    } else if (PyUnicode_Check(v) && PyUnicode_GET_LENGTH(v) == 3) {
        n = 0;
        for (Py_ssize_t i = 0; i < 3; i++) {
            Py_UCS4 c = PyUnicode_READ_CHAR(v, i);
            n = c >= '0' && c <= '9' && n >= 0 ? n * 10 + (long)(c - '0') : -1;
        }
    }
    return n >= 100 && n <= 599 ? n : 0;
}

static PyObject *item(PyObject *dict, const char *key) {
    return PyDict_GetItemString(dict, key);
}

/* Status of the response that DICT is, 0 when it is plain data, -1 with an exception. */
static long response_status(PyObject *dict) {
    PyObject *v = item(dict, "statusCode");
    if (v) {
        long n = status_of(v);
        if (n == 0 && PyLong_Check(v) && !PyBool_Check(v)) {
            PyErr_SetString(PyExc_ValueError, "statusCode is not between 100 and 599");
            return -1;
        }
        return n;
    }
    v = item(dict, "status");
    if (!v || (PyDict_GET_SIZE(dict) > 1 && !item(dict, "body") && !item(dict, "headers")))
        return 0;
    return status_of(v);
}

static int fill_response(struct result *r, PyObject *dict) {
    PyObject *body = item(dict, "body");

    r->wrapped = true;
    if (put_headers(r, item(dict, "headers")) < 0)
        return -1;
    if (put_headers(r, item(dict, "multiValueHeaders")) < 0)
        return -1;
    if (body && PyUnicode_Check(body) && item(dict, "isBase64Encoded") == Py_True)
        return body_from_base64(r, body);
    return set_body(r, body ? body : Py_None);
}

static int fill_result(struct result *r, PyObject *v, bool plain) {
    long status = !plain && PyDict_Check(v) ? response_status(v) : 0;
    if (status < 0)
        return -1;
    r->status = status ? (uint16_t)status : 200;
    return status ? fill_response(r, v) : set_body(r, v);
}

static void put_u32(char *p, uint32_t v) {
    for (int i = 0; i < 4; i++)
        p[i] = (char)(v >> (8 * i));
}

/* status, wrapped, kind, pairs, length of the body; the body itself follows as the frame's tail */
static int send_frame(uint32_t seq, const struct result *r) {
    char fixed[12] = {(char)r->status, (char)(r->status >> 8), (char)r->wrapped, (char)r->kind};
    struct str head = str_n(fixed, sizeof(fixed));

    put_u32(fixed + 4, r->n_headers);
    put_u32(fixed + 8, (uint32_t)r->body->len);
    if (r->n_headers) {
        /* The list stands between count and body length: make it one run. */
        if (buf_error(buf_put(r->headers, fixed + 8, 4)) < 0 ||
            buf_error(buf_reserve(r->headers, 8)) < 0)
            return -1;
        memmove(r->headers->p + 8, r->headers->p, r->headers->len);
        memcpy(r->headers->p, fixed, 8);
        head = str_n(r->headers->p, r->headers->len + 8);
    }
    return buf_error(chan_frame(WIRE_RESULT, seq, head, buf_str(r->body)));
}

int result_send(uint32_t seq, PyObject *result, bool plain) {
    static struct buf headers = {.max = 1 * MIB}, body = {.max = WIRE_FRAME_MAX};
    struct result r = {.headers = &headers, .body = &body};

    buf_clear(&headers);
    buf_clear(&body);
    int e = fill_result(&r, result, plain);
    if (e == 0)
        e = send_frame(seq, &r);
    if (body.cap > SCRATCH_KEEP_MAX)
        buf_done(&body);
    return e;
}
