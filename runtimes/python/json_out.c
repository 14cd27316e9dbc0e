/* SPDX-License-Identifier: Apache-2.0 */
#include "json_out.h"

#include <math.h>
#include <stdio.h>

#define JSON_DEPTH_MAX 500 /* more is a mistake or a value that contains itself */
#define PLACE_MAX      200

struct place { /* of the value that failed, built from its end backwards */
    char text[PLACE_MAX];
    size_t at;
};

struct json_writer {
    struct buf *b;
    int depth;
    struct place place;
};

static int put_value(struct json_writer *w, PyObject *v);

static void place_add(struct place *p, const char *s) {
    size_t n = strlen(s);
    if (n > p->at)
        return;
    p->at -= n;
    memcpy(p->text + p->at, s, n);
}

static int too_large(int r) {
    if (r < 0)
        PyErr_SetString(PyExc_ValueError, "is too large: the limit is 64 MiB");
    return r < 0 ? -1 : 0;
}

static int put(struct json_writer *w, const void *p, size_t n) {
    return too_large(buf_put(w->b, p, n));
}

static int put_escaped(struct json_writer *w, unsigned char c) {
    char text[8];
    const char *shorts = "\"\"\\\\\bb\ff\nn\rr\tt";
    for (const char *s = shorts; *s; s += 2) {
        if ((unsigned char)*s == c)
            return put(w, (char[]){'\\', s[1]}, 2);
    }
    (void)snprintf(text, sizeof(text), "\\u%04x", c);
    return put(w, text, 6);
}

static int put_string(struct json_writer *w, PyObject *v) {
    Py_ssize_t len;
    const char *s = PyUnicode_AsUTF8AndSize(v, &len);
    if (!s) {
        if (PyErr_ExceptionMatches(PyExc_UnicodeEncodeError))
            PyErr_SetString(PyExc_ValueError, "is text with a lone surrogate, which is not UTF-8");
        return -1;
    }
    if (too_large(buf_reserve(w->b, (size_t)len + 2)) < 0)
        return -1;
    w->b->p[w->b->len++] = '"';
    Py_ssize_t from = 0;
    for (Py_ssize_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        if (put(w, s + from, (size_t)(i - from)) < 0 || put_escaped(w, c) < 0)
            return -1;
        from = i + 1;
    }
    return put(w, s + from, (size_t)(len - from)) < 0 ? -1 : put(w, "\"", 1);
}

/* Also for subclasses (enum members): the number, never a method of theirs. */
static int put_int(struct json_writer *w, PyObject *v) {
    int overflow;
    long long n = PyLong_AsLongLongAndOverflow(v, &overflow);
    if (!overflow) {
        char text[24];
        return put(w, text, (size_t)snprintf(text, sizeof(text), "%lld", n));
    }
    PyObject *s = PyLong_Type.tp_repr(v);
    if (!s)
        return -1;
    Py_ssize_t len;
    const char *p = PyUnicode_AsUTF8AndSize(s, &len);
    int r = p ? put(w, p, (size_t)len) : -1;
    Py_DECREF(s);
    return r;
}

static int put_float(struct json_writer *w, PyObject *v) {
    double d = PyFloat_AS_DOUBLE(v);
    if (!isfinite(d)) {
        PyErr_Format(PyExc_ValueError, "is %s, which JSON does not have",
                     isnan(d) ? "nan" : "infinity");
        return -1;
    }
    char *s = PyOS_double_to_string(d, 'r', 0, Py_DTSF_ADD_DOT_0, NULL);
    if (!s)
        return -1;
    int r = put(w, s, strlen(s));
    PyMem_Free(s);
    return r;
}

static int put_key(struct json_writer *w, PyObject *k) {
    if (PyUnicode_Check(k))
        return put_string(w, k);
    if (k != Py_None && !PyBool_Check(k) && !PyLong_Check(k) && !PyFloat_Check(k)) {
        PyErr_Format(PyExc_TypeError, "has a key of type %.100s; JSON keys are strings",
                     Py_TYPE(k)->tp_name);
        return -1;
    }
    if (put(w, "\"", 1) < 0 || put_value(w, k) < 0)
        return -1;
    return put(w, "\"", 1);
}

static void place_key(struct json_writer *w, PyObject *k) {
    char text[80];
    PyObject *type, *value, *trace;

    PyErr_Fetch(&type, &value, &trace);
    const char *s = PyUnicode_Check(k) ? PyUnicode_AsUTF8(k) : NULL;
    PyErr_Clear();
    if (s && strlen(s) < 60 && PyUnicode_IsIdentifier(k))
        (void)snprintf(text, sizeof(text), ".%s", s);
    else
        (void)snprintf(text, sizeof(text), "[%.60s]", s ? s : "?");
    place_add(&w->place, text);
    PyErr_Restore(type, value, trace);
}

static int put_dict(struct json_writer *w, PyObject *v) {
    Py_ssize_t pos = 0;
    PyObject *k, *item;
    bool first = true;

    if (put(w, "{", 1) < 0)
        return -1;
    while (PyDict_Next(v, &pos, &k, &item)) {
        if (!first && put(w, ",", 1) < 0)
            return -1;
        first = false;
        if (put_key(w, k) < 0 || put(w, ":", 1) < 0)
            return -1;
        if (put_value(w, item) < 0) {
            place_key(w, k);
            return -1;
        }
    }
    return put(w, "}", 1);
}

static int put_list(struct json_writer *w, PyObject *v) {
    if (put(w, "[", 1) < 0)
        return -1;
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(v); i++) {
        if (i && put(w, ",", 1) < 0)
            return -1;
        if (put_value(w, PySequence_Fast_GET_ITEM(v, i)) < 0) {
            char text[32];
            (void)snprintf(text, sizeof(text), "[%zd]", i);
            place_add(&w->place, text);
            return -1;
        }
    }
    return put(w, "]", 1);
}

static int put_container(struct json_writer *w, PyObject *v) {
    if (w->depth >= JSON_DEPTH_MAX) {
        PyErr_SetString(PyExc_ValueError, "is nested too deeply, or contains itself");
        return -1;
    }
    w->depth++;
    int r = PyDict_Check(v) ? put_dict(w, v) : put_list(w, v);
    w->depth--;
    return r;
}

static int put_value(struct json_writer *w, PyObject *v) {
    if (PyUnicode_Check(v))
        return put_string(w, v);
    if (v == Py_None)
        return put(w, "null", 4);
    if (PyBool_Check(v))
        return v == Py_True ? put(w, "true", 4) : put(w, "false", 5);
    if (PyLong_Check(v))
        return put_int(w, v);
    if (PyFloat_Check(v))
        return put_float(w, v);
    if (PyDict_Check(v) || PyList_Check(v) || PyTuple_Check(v))
        return put_container(w, v);
    PyErr_Format(PyExc_TypeError, "is of type %.100s, which JSON does not have",
                 Py_TYPE(v)->tp_name);
    return -1;
}

/* Puts the place of the value before the message of the exception that is set. */
static void name_place(struct place *place) {
    PyObject *type, *value, *trace;

    place_add(place, "result");
    PyErr_Fetch(&type, &value, &trace);
    PyErr_NormalizeException(&type, &value, &trace);
    PyObject *text = value ? PyObject_Str(value) : NULL;
    const char *s = text ? PyUnicode_AsUTF8(text) : NULL;
    PyErr_Clear();
    PyErr_Format(type, "%s %s", place->text + place->at, s ? s : "cannot be encoded");
    Py_XDECREF(text);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(trace);
}

int json_out(struct buf *b, PyObject *value) {
    struct json_writer w = {.b = b};

    w.place.at = sizeof(w.place.text) - 1;
    if (put_value(&w, value) == 0)
        return 0;
    if (PyErr_ExceptionMatches(PyExc_TypeError) || PyErr_ExceptionMatches(PyExc_ValueError))
        name_place(&w.place);
    return -1;
}
