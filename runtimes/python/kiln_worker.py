# SPDX-License-Identifier: Apache-2.0
"""The Python half of an instance: what is easier here than in C.

Imported once in the zygote, before any fork. worker.c calls load() once, then run_async() for
handlers that return something to await and report() for exceptions. Nothing here keeps a
reference to what belongs to a call.
"""

# Many of these are here for the handlers: a fork shares what an import would take milliseconds for.
# asyncio is the dearest, 3.5 MB of the zygote, and still the better choice: without it the first
# call of every async handler waits 30 ms.
import asyncio
import base64  # noqa: F401
import collections  # noqa: F401
import contextvars  # noqa: F401
import dataclasses  # noqa: F401
import datetime  # noqa: F401
import decimal  # noqa: F401
import functools  # noqa: F401
import gc
import hashlib  # noqa: F401
import importlib
import importlib.util
import inspect
import io
import json
import linecache
import logging
import math  # noqa: F401
import os
import random  # noqa: F401
import re
import stat
import sys
import time
import traceback
import types
import typing  # noqa: F401
import urllib.parse  # noqa: F401
import uuid  # noqa: F401
import warnings

import _kiln

import spin_sdk.http
import spin_sdk.key_value
import spin_sdk.variables  # noqa: F401

DEBUG, INFO, WARN, ERROR = range(4)

APP_DIR = _kiln.APP_DIR
DEFAULT_FILES = ("main.py", "index.py", "handler.py", "app.py")
ARCHIVE_ENTRIES_MAX = 20_000
ARCHIVE_NAME_MAX = 1024
CALLABLES_SHOWN_MAX = 20
#: what the sandbox sets and the function's own environment may replace
ENVIRONMENT_KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "TZ")

logger = logging.getLogger("function")


def _no_constant(name):
    raise ValueError(f"{name} is not JSON")


#: text, index -> (value, end); NaN and Infinity are refused as RFC 8259 does
json_scan = json.JSONDecoder(parse_constant=_no_constant).scan_once


class LoadError(Exception):
    """The function cannot be loaded; the text is complete and needs no traceback."""


# ---- output ----------------------------------------------------------------------------------


class _Bytes(io.RawIOBase):
    """`sys.stdout.buffer`: bytes are taken as UTF-8 text."""

    def __init__(self, write, number):
        self._write = write
        self._number = number

    def writable(self):
        return True

    def write(self, data):
        data = bytes(data)
        self._write(data.decode("utf-8", "backslashreplace"))
        return len(data)

    def flush(self):
        _kiln.flush()

    def fileno(self):
        return self._number


class _Stream(io.TextIOBase):
    """sys.stdout and sys.stderr: every line becomes a line of the invocation's log.

    Standard output is level info; what is written to standard error other than by the logging and
    warnings modules is level error.
    """

    encoding = "utf-8"
    errors = "backslashreplace"
    mode = "w"
    newlines = None
    line_buffering = True

    def __init__(self, write, name, number):
        self.write = write  # the C function itself: print() calls it without a frame in between
        self.name = name
        self._number = number
        self.buffer = _Bytes(write, number)

    def writable(self):
        return True

    def fileno(self):
        return self._number

    def flush(self):
        _kiln.flush()

    def reconfigure(self, **_):
        """Nothing to configure: accepted so that programs which do it go on."""

    def close(self):
        """Stays open: there is no other place for the text to go."""


class _Handler(logging.Handler):
    """The root handler: one frame a line, one for a record with a traceback."""

    def emit(self, record):
        try:
            text = self.format(record)
            number = record.levelno
            level = (
                ERROR
                if number >= logging.ERROR
                else WARN
                if number >= logging.WARNING
                else INFO
                if number >= logging.INFO
                else DEBUG
            )
            if record.exc_info or record.stack_info or "\n" not in text:
                _kiln.log(level, text)
            else:
                for line in text.splitlines():
                    _kiln.log(level, line)
        except Exception:
            self.handleError(record)


_root_handler = _Handler()
_basic_config = logging.basicConfig


def _configure_logging(**wanted):
    """logging.basicConfig(): where it names no destination of its own, level and format are
    applied to the handler that is already there. The original would ignore the call."""
    if {"filename", "stream", "handlers"} & wanted.keys():
        return _basic_config(**wanted)
    if wanted.get("force") and logging.root.handlers != [_root_handler]:
        for other in logging.root.handlers[:]:
            logging.root.removeHandler(other)
        logging.root.addHandler(_root_handler)
    if _root_handler not in logging.root.handlers:
        return _basic_config(**wanted)
    if "format" in wanted or "datefmt" in wanted or "style" in wanted:
        style = wanted.get("style", "%")
        text = wanted.get("format") or "{levelname}:{name}:{message}"
        if "format" not in wanted:
            style = "{"
        _root_handler.setFormatter(logging.Formatter(text, wanted.get("datefmt"), style))
    if wanted.get("level") is not None:
        logging.root.setLevel(wanted["level"])


def _show_warning(message, category, filename, lineno, file=None, line=None):
    if file is not None:
        file.write(warnings.formatwarning(message, category, filename, lineno, line))
    else:
        _kiln.log(WARN, f"{filename}:{lineno}: {category.__name__}: {message}")


def _install_output():
    sys.stdout = sys.__stdout__ = _Stream(_kiln.stdout_write, "<stdout>", 1)
    sys.stderr = sys.__stderr__ = _Stream(_kiln.stderr_write, "<stderr>", 2)
    logging.root.addHandler(_root_handler)
    logging.root.setLevel(logging.INFO)
    logging.basicConfig = _configure_logging
    warnings.showwarning = _show_warning
    os.register_at_fork(after_in_child=_kiln.detach)


# ---- exceptions ------------------------------------------------------------------------------


def _own_frame(path):
    return path == __file__ or "/asyncio/" in path or path.startswith("<frozen importlib")


def _user_trace(trace):
    """The traceback from the first frame that is the function's."""
    at = trace
    while at is not None and _own_frame(at.tb_frame.f_code.co_filename):
        at = at.tb_next
    return at


def _format(exc):
    lines = traceback.TracebackException(type(exc), exc, _user_trace(exc.__traceback__)).format()
    return "".join(lines).rstrip("\n")


def _message(exc):
    try:
        return str(exc)
    except BaseException:
        return "<the exception's text could not be made>"


def _exit_status(exc):
    code = exc.code
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    return 1


def report(exc):
    """Logs an exception that left the handler: (type, message, exit status or None)."""
    try:
        if exc is None:
            return "Error", "no exception was set", None
        if isinstance(exc, SystemExit):
            status = _exit_status(exc)
            _kiln.log(ERROR, f"the handler called sys.exit({exc.code!r})")
            return "SystemExit", f"the handler called sys.exit({exc.code!r})", status
        name = type(exc).__name__
        try:
            text = _format(exc)
        except BaseException as again:
            text = f"{name}: {_message(exc)} (no traceback: {type(again).__name__})"
        _kiln.log(ERROR, text)
        return name, _message(exc), None
    finally:
        # The traceback holds the frames, and so the data, of the call.
        if exc is not None:
            exc.__traceback__ = None
        del exc


def describe_load_failure(exc):
    if isinstance(exc, LoadError):
        return str(exc)
    if isinstance(exc, SystemExit):
        return f"the code called sys.exit({exc.code!r}) while it was loaded"
    try:
        return _format(exc)
    except BaseException:
        return f"{type(exc).__name__}: {_message(exc)}"


# ---- loading ---------------------------------------------------------------------------------


def _set_environment(pairs):
    for key in [k for k in os.environ if k not in ENVIRONMENT_KEPT]:
        del os.environ[key]
    zone = os.environ.get("TZ")
    for key, value in pairs:
        try:
            os.environb[key] = value
        except (ValueError, OSError):
            name = key.decode("utf-8", "replace")
            raise LoadError(f"environment variable {name!r} cannot be set: bad name or NUL") from None
    if os.environ.get("TZ") != zone:
        time.tzset()  # reads a file: not where nothing changed


def _split_handler(handler):
    """'src/index.handler' -> ('src/index', 'handler'); 'handler' -> ('', 'handler')"""
    file, _, name = handler.strip().rpartition(".")
    if "/" in name:  # "src/index": a file without a function
        return handler.strip(), ""
    return file.removeprefix("./"), name


def _is_archive(code):
    return code[257:262] == b"ustar"


def _octal(field):
    text = field.strip(b" \0")
    if not text:
        return 0
    if not re.fullmatch(rb"[0-7]+", text):
        raise LoadError("the archive is damaged: a number in a header is not octal")
    return int(text, 8)


def _checked_header(block):
    total = sum(block[:148]) + 8 * 32 + sum(block[156:])
    if _octal(block[148:156]) != total:
        raise LoadError("the archive is damaged: a header's checksum is wrong")


def _checked_name(raw):
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise LoadError(f"the archive has a name that is not UTF-8: {raw!r}") from None
    parts = [p for p in name.split("/") if p not in ("", ".")]
    if name.startswith("/") or ".." in parts:
        raise LoadError(f"the archive has an entry that leads out of it: {name!r}")
    if len(raw) > ARCHIVE_NAME_MAX or "\0" in name:
        raise LoadError(f"the archive has a bad name: {name[:100]!r}")
    return "/".join(parts)


def _pax_path(data):
    """The path of a pax extended header (POSIX.1-2017 pax), None where it sets none."""
    path = None
    while data:
        length, _, _ = data.partition(b" ")
        if not length.isdigit() or not 0 < int(length) <= len(data):
            raise LoadError("the archive is damaged: bad pax header")
        key, _, value = data[len(length) + 1 : int(length) - 1].partition(b"=")
        if key == b"path":
            path = value
        elif key == b"size" or key.startswith(b"GNU.sparse"):
            raise LoadError("the archive has an entry of a kind that is not supported (size, sparse)")
        data = data[int(length) :]
    return path


def _entries(code):
    """Yields (name, is_directory, mode, data) of a ustar archive. Own code: the standard tarfile
    takes longer to import than the whole of this takes to run, and extracts what must not be."""
    at, count, long_name = 0, 0, None
    while at + 512 <= len(code) and any(code[at : at + 512]):
        block = code[at : at + 512]
        _checked_header(block)
        size, kind = _octal(block[124:136]), block[156:157]
        data = code[at + 512 : at + 512 + size]
        if len(data) != size:
            raise LoadError("the archive is cut off")
        at += 512 + (size + 511) // 512 * 512
        count += 1
        if count > ARCHIVE_ENTRIES_MAX:
            raise LoadError(f"the archive has more than {ARCHIVE_ENTRIES_MAX} entries")
        if kind == b"g":
            continue
        if kind in b"xL" and kind:
            long_name = _pax_path(data) if kind == b"x" else data.rstrip(b"\0")
            continue
        raw, prefix = block[:100].split(b"\0")[0], block[345:500].split(b"\0")[0]
        if block[257:265] == b"ustar  \0":  # GNU keeps other things there
            prefix = b""
        name = _checked_name(long_name or (prefix + b"/" + raw if prefix else raw))
        long_name = None
        if kind not in (b"0", b"\0", b"7", b"5"):
            what = {b"1": "a link", b"2": "a link"}.get(kind, "a special file")
            raise LoadError(f"the archive has {what}, which is not allowed: {name!r}")
        yield name, kind == b"5", _octal(block[100:108]), data


def _unpack(code):
    os.makedirs(APP_DIR, exist_ok=True)
    made = {""}

    def make(folder):
        if folder not in made:
            os.makedirs(os.path.join(APP_DIR, folder), exist_ok=True)
            made.add(folder)

    for name, is_directory, mode, data in _entries(code):
        try:
            make(name if is_directory else os.path.dirname(name))
            if is_directory or not name:
                continue
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
            fd = os.open(os.path.join(APP_DIR, name), flags, 0o755 if mode & 0o100 else 0o644)
            with open(fd, "wb", closefd=True) as out:
                out.write(data)
        except OSError as e:
            raise LoadError(f"the archive's {name!r} cannot be unpacked: {e.strerror}") from None


def _find_file(file):
    wanted = []
    if file:
        wanted.append(file + ".py")
        if "." in file:
            wanted.append(file.replace(".", "/") + ".py")
        wanted.append(file.replace(".", "/") + "/__init__.py")
    wanted.extend(DEFAULT_FILES)
    for path in wanted:
        if ".." not in path.split("/") and os.path.isfile(os.path.join(APP_DIR, path)):
            return path
    raise LoadError("the archive has no file to load: looked for " + ", ".join(wanted))


def _module_name(dotted):
    """A name under which the code can stand in sys.modules without hiding another module."""
    if not dotted or not all(part.isidentifier() for part in dotted.split(".")):
        return "main"
    top = dotted.split(".")[0]
    return "main" if top in sys.modules or top in sys.stdlib_module_names else dotted


def _load_archive(code, file):
    _unpack(code)
    sys.path.insert(0, APP_DIR)
    importlib.invalidate_caches()
    path = _find_file(file)
    dotted = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    name = _module_name(dotted)
    if name == dotted:
        return importlib.import_module(name)
    spec = importlib.util.spec_from_file_location(name, os.path.join(APP_DIR, path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _load_source(code, file):
    name = _module_name(os.path.basename(file).rpartition(".")[2])
    path = os.path.join(APP_DIR, (file or "main") + ".py")
    try:
        text = importlib.util.decode_source(code)
    except (UnicodeDecodeError, SyntaxError) as e:
        raise LoadError(f"the source is not text: {e}") from None
    # The file does not exist: tracebacks take its lines from here.
    linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)
    module = types.ModuleType(name)
    module.__file__ = path
    sys.modules[name] = module
    sys.path.insert(0, APP_DIR)
    exec(compile(text, path, "exec", dont_inherit=True), module.__dict__)
    return module


def _callables(module):
    names = [
        k
        for k, v in vars(module).items()
        if callable(v) and not k.startswith("_") and getattr(v, "__module__", None) == module.__name__
    ]
    if not names:
        return "the code defines no function"
    more = "" if len(names) <= CALLABLES_SHOWN_MAX else ", …"
    return "it defines " + ", ".join(names[:CALLABLES_SHOWN_MAX]) + more


def _spin_class(module):
    """The class of a module in Spin's format, or None."""
    found = getattr(module, "IncomingHandler", None)
    base = spin_sdk.http.IncomingHandler
    if isinstance(found, type) and issubclass(found, base) and found is not base:
        return found
    return None


def _find_handler(module, handler, name):
    spin = _spin_class(module)
    if spin is not None and (name == "handler" or getattr(module, name, spin) is spin):
        return spin
    looked = list(dict.fromkeys(n for n in (name, handler.strip(), "handler") if n))
    for n in looked:
        found = getattr(module, n, None)
        if callable(found):
            return found
    where = os.path.relpath(getattr(module, "__file__", None) or "main.py", APP_DIR)
    names = " or ".join(repr(n) for n in looked)
    raise LoadError(f"handler {handler!r} not found: no function {names} in {where}; {_callables(module)}")


def _arguments(handler):
    """How many of (event, context) the handler takes: 0, 1 or 2."""
    try:
        parameters = inspect.signature(handler).parameters.values()
    except (ValueError, TypeError):
        return 1
    count = 0
    for p in parameters:
        if p.kind is p.VAR_POSITIONAL:
            return 2
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD):
            count += 1
    return min(count, 2)


def load(handler, environment, code):
    """Runs the function's code: (handler, number of arguments)."""
    _set_environment(environment)
    file, name = _split_handler(handler)
    module = _load_archive(code, file) if _is_archive(code) else _load_source(code, file)
    found = _find_handler(module, handler, name)
    if isinstance(found, type) and found is _spin_class(module):
        global _archive
        _archive = code if _is_archive(code) else None
        return _spin_handler(found), ISOLATED
    return found, _arguments(found)


# ---- Spin's format ---------------------------------------------------------------------------

#: instead of a number of arguments: each call has a process of its own (isolate.h)
ISOLATED = -1

#: what a path keeps as it is, beside letters, digits and "_.-~" (RFC 3986 section 3.3)
_PATH_SAFE = "/!$&'()*+,;=:@"
#: the same within a query's names and values, which "&", "=" and "+" separate (section 3.4)
_QUERY_SAFE = "/!$'()*,;:@?"


def _uri(event):
    """Path and query of a request, encoded again."""
    pairs = []
    for name, values in event["query"].items():
        for value in values if isinstance(values, list) else [values]:
            pairs.append((name, value))
    uri = urllib.parse.quote(event["path"], safe=_PATH_SAFE)
    if pairs:
        uri += "?" + urllib.parse.urlencode(pairs, quote_via=urllib.parse.quote, safe=_QUERY_SAFE)
    return uri


def _spin_result(response):
    """A Response as what every other handler returns."""
    if not isinstance(response, spin_sdk.http.Response):
        raise TypeError(f"handle_request() returned {type(response).__name__}, not a Response")
    status, body = response.status, response.body
    if not isinstance(status, int) or not 100 <= status <= 599:
        raise ValueError(f"status {status!r} is not between 100 and 599")
    if body is not None and not isinstance(body, (bytes, bytearray, memoryview)):
        raise TypeError(f"the body of a Response is bytes or None, not {type(body).__name__}")
    headers = dict(response.headers or {})
    if not any(name.lower() == "content-length" for name in headers):
        headers["content-length"] = str(len(bytes(body or b"")))
    return {"statusCode": status, "headers": headers, "body": body}


def _spin_handler(found):
    async def awaited(response):
        return _spin_result(await response)

    def handle(event):
        request = spin_sdk.http.Request(
            event["method"], _uri(event), dict(event["headers"]), event.raw_body
        )
        response = found().handle_request(request)
        return awaited(response) if inspect.isawaitable(response) else _spin_result(response)

    return handle


#: where a call may leave files; /dev/shm leads there too
WRITABLE = "/tmp"

_archive = None  # the code, where it is one
_files = None  # path -> (what it is, its content where it is none of the archive's)


def _in_sandbox():
    """Only there WRITABLE is the function's own."""
    return os.getpid() == 1 and APP_DIR == "/tmp/app"


def _walk(folder):
    """(path, lstat) of all that is below, a folder before what is in it."""
    try:
        entries = list(os.scandir(folder))
    except PermissionError:
        os.chmod(folder, 0o700)
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    for entry in entries:
        info = entry.stat(follow_symlinks=False)
        yield entry.path, info
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path)


def _mark(info):
    if stat.S_ISDIR(info.st_mode):
        return info.st_mode
    return (info.st_ino, info.st_mode, info.st_size, info.st_mtime_ns, info.st_ctime_ns)


def _content(path, info):
    if stat.S_ISLNK(info.st_mode):
        return os.readlink(path)
    if not stat.S_ISREG(info.st_mode):
        return None
    with open(path, "rb") as f:
        return f.read()


def _of_archive(path):
    return _archive is not None and path.startswith(APP_DIR + "/")


def _remember():
    """What is there before the first call: nothing, but for the archive and what the code wrote
    while it was loaded."""
    global _files
    _files = {}
    for path, info in _walk(WRITABLE):
        content = None if _of_archive(path) else _content(path, info)
        _files[path] = (_mark(info), info.st_mode, content)


def _remove(paths):
    for path in sorted(paths, reverse=True):  # what is in a folder comes before it
        if os.path.isdir(path) and not os.path.islink(path):
            os.rmdir(path)
        else:
            os.unlink(path)


def _write_again():
    if _archive is not None:
        _unpack(_archive)
    for path, (_, mode, content) in _files.items():
        if _of_archive(path):
            continue
        if stat.S_ISDIR(mode):
            os.makedirs(path, exist_ok=True)
            os.chmod(path, stat.S_IMODE(mode))
        elif isinstance(content, str):
            os.symlink(content, path)
        elif content is not None:
            with open(path, "wb") as f:
                f.write(content)
            os.chmod(path, stat.S_IMODE(mode))


def _put_back():
    """The files are again those of _remember()."""
    now = {path: _mark(info) for path, info in _walk(WRITABLE)}
    if all(now.get(path) == entry[0] for path, entry in _files.items()):
        _remove(now.keys() - _files.keys())
    else:
        _remove(now.keys())
        _write_again()
        _remember()


def begin_isolated():
    """In the process that each call is forked from, before the first of them."""
    if _in_sandbox():
        _remember()
    gc.collect()
    gc.freeze()


def prepare_isolated(used):
    """The same between two calls. USED is what they have used so far."""
    if _files is not None:
        _put_back()
    spin_sdk.http.prepare(used)


# ---- coroutines ------------------------------------------------------------------------------

_loop = None


async def _await(awaitable):
    return await awaitable


def run_async(awaitable):
    """Runs what the handler returned to its end, on one event loop for the instance's life."""
    global _loop
    if _loop is None or _loop.is_closed():
        _loop = asyncio.new_event_loop()
        asyncio.set_event_loop(_loop)
    if not inspect.iscoroutine(awaitable):
        awaitable = _await(awaitable)
    return _loop.run_until_complete(awaitable)


# ---- warming ---------------------------------------------------------------------------------

WARM_SOURCE = b'''
import json, os, logging
class Thing:
    def __init__(self, name): self.name = name
def handler(event, context):
    body = event["body"]
    return {"hello": body.get("name", "world"), "n": [i + 1 for i in range(3)], "t": (1.5, None)}
def response(event):
    event.body; event.method; event.headers.get("host"); event.invocation_id
    print("hello", 1); logging.info("hello %s", "x")
    return {"statusCode": 200, "headers": {"content-type": "text/plain"}, "body": f"{Thing('x').name}"}
def failing(event):
    raise ValueError("warm")
'''


def warm_load(handler):
    before = dict(os.environb)
    try:
        return load(handler, [(b"KILN_WARM", b"1")], WARM_SOURCE)
    finally:
        os.environb.clear()
        os.environb.update(before)


def warm_forget():
    """Takes away the traces of warming."""
    sys.modules.pop("main", None)
    linecache.clearcache()
    while APP_DIR in sys.path:
        sys.path.remove(APP_DIR)


def warm_done():
    """The last of warming in the zygote: what stays is not looked at by the collector again."""
    warm_forget()
    gc.collect()
    gc.freeze()


_install_output()
