/* SPDX-License-Identifier: Apache-2.0 */
#include "python_runtime.h"

#include <Python.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>

#include "wire/wire.h"
#include "worker.h"

const char *python_runtime_dir = "/opt/kiln/python";
const char *python_app_dir = "/tmp/app";

static char interpreter[64];

static PyStatus add_path(PyConfig *config, const char *dir) {
    wchar_t *wide = Py_DecodeLocale(dir, NULL);
    if (!wide)
        return PyStatus_NoMemory();
    PyStatus st = PyWideStringList_Append(&config->module_search_paths, wide);
    PyMem_RawFree(wide);
    return st;
}

/* The standard library and Debian's packages; nothing of a user's, of the environment or of the
 * place that the executable lies in.
 *
 * The hash seed is drawn once here and shared by every instance of this zygote: it cannot change
 * once a dict exists. A function can read its own seed and so craft keys that collide in another
 * function's dicts. What that buys is slow parsing of one request, which the limit on bodies
 * and the timeout of the function bound, so it is accepted. */
static PyStatus configure(PyConfig *config) {
    const char *const dirs[] = {"/usr/lib/python3.11", "/usr/lib/python3.11/lib-dynload",
                                "/usr/local/lib/python3.11/dist-packages",
                                "/usr/lib/python3/dist-packages"};

    PyConfig_InitIsolatedConfig(config);
    config->site_import = 0;
    config->write_bytecode = 0;
    config->pathconfig_warnings = 0;
    config->module_search_paths_set = 1;
    PyStatus st = PyConfig_SetString(config, &config->home, L"/usr");
    if (!PyStatus_Exception(st))
        st = PyConfig_SetString(config, &config->program_name, L"/usr/bin/python3");
    if (!PyStatus_Exception(st))
        st = add_path(config, python_runtime_dir);
    for (size_t i = 0; i < ARRAY_LEN(dirs) && !PyStatus_Exception(st); i++)
        st = add_path(config, dirs[i]);
    return st;
}

static int start_interpreter(void) {
    PyPreConfig pre;
    PyConfig config;

    PyPreConfig_InitIsolatedConfig(&pre);
    pre.utf8_mode = 1;
    PyStatus st = Py_PreInitialize(&pre);
    if (!PyStatus_Exception(st)) {
        st = configure(&config);
        if (!PyStatus_Exception(st))
            st = Py_InitializeFromConfig(&config);
        PyConfig_Clear(&config);
    }
    if (PyStatus_Exception(st)) {
        (void)fprintf(stderr, "python: %s: %s\n", st.func ? st.func : "start",
                      st.err_msg ? st.err_msg : "failed");
        return -EIO;
    }
    return 0;
}

static int python_warm(char *name, size_t name_size) {
    /* As any Python program: a write to a closed pipe is an exception and no death. */
    (void)signal(SIGPIPE, SIG_IGN);
    int r = worker_register();
    if (r == 0)
        r = start_interpreter();
    if (r < 0)
        return r;
    const char *version = Py_GetVersion();
    (void)snprintf(interpreter, sizeof(interpreter), "Python %.*s", (int)strcspn(version, " "),
                   version);
    (void)snprintf(name, name_size, "%s", interpreter);
    return worker_warm();
}

/* PyOS_AfterFork_Child() runs what the standard library registered: `random` draws a new seed. The
 * other sources (secrets, uuid4, hashes of OpenSSL) ask the kernel, and no generator of
 * OpenSSL's exists yet because warming never draws from it. */
static void NORETURN python_instance(void) {
    PyOS_AfterFork_Child();
    worker_run(WIRE_INSTANCE_FD, interpreter);
}

const struct zygote_runtime python_runtime = {
    .name = "python",
    .warm = python_warm,
    .before_fork = PyOS_BeforeFork,
    .after_fork_parent = PyOS_AfterFork_Parent,
    .instance = python_instance,
};
