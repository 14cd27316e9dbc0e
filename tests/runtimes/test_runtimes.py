# SPDX-License-Identifier: Apache-2.0
"""Handlers as the API documents write them, on both runtimes, without server and sandbox.

Run: KILN_BUILD=build /usr/bin/python3 -m pytest tests/runtimes
"""

import base64
import json
import os
import struct
import tarfile

import pytest
from driver import *  # noqa: F403

BOTH = pytest.mark.parametrize("runtime", ["python", "node"])


@pytest.fixture
def start(tmp_path):
    made = []

    def go(runtime, code=None, handler="main.handler", **kw):
        i = Instance(runtime, tmp_path / "app")
        made.append(i)
        if code is not None:
            assert i.load(code, handler, **kw) is None
        return i

    yield go
    for i in made:
        i.close()


def py(expression):
    return f"def handler(event, context):\n    return {expression}\n"


def js(expression):
    return f"exports.handler = (event, context) => ({expression});\n"


def code(runtime, python, node):
    return py(python) if runtime == "python" else js(node)


# ---- forms of handlers ----

PYTHON_FORMS = {
    "context": ("def handler(context):\n return {'v': context.body['x'], 'n': context.function_name}", "main.handler"),
    "event": ("def handler(event):\n return {'v': event['body']['x'], 'n': 'fn'}", "main.handler"),
    "two": ("def handler(event, context):\n return {'v': event['body']['x'], 'n': context.function_name}", "handler"),
    "none": ("x = [1, 'é☃']\ndef handler():\n return {'v': x.pop(0), 'n': 'fn'}", "index.handler"),
    "star": ("def handler(*a):\n return {'v': a[0].body['x'], 'n': a[1].function_name}", "index.handler"),
    "bare": ("def run(e):\n return {'v': e.body['x'], 'n': 'fn'}", "run"),
    "fallback": ("def handler(e):\n return {'v': e.body['x'], 'n': 'fn'}", "main.other"),
    "async": ("import asyncio\nasync def handler(e):\n await asyncio.sleep(0)\n return {'v': e.body['x'], 'n': 'fn'}", "main.handler"),
    "lambda": ("handler = lambda e: {'v': e.body['x'], 'n': 'fn'}", "main.handler"),
    "object": ("class H:\n def __call__(self, e): return {'v': e.body['x'], 'n': 'fn'}\nhandler = H()", "main.handler"),
    "stdlib name": ("def handler(e):\n return {'v': e.body['x'], 'n': 'fn'}", "json.handler"),
}  # fmt: skip
NODE_FORMS = {
    "exports": ("exports.handler = async (e, c) => ({v: e.body.x, n: c.functionName});", "index.handler"),
    "module.exports": ("module.exports = {handler(e, c) { return {v: e.body.x, n: c.function_name}; }};", "handler"),
    "not exported": ("function handler(e) { return {v: e.body.x, n: 'fn'}; } // end", "index.handler"),
    "const": ("const run = async (e) => ({v: e.body.x, n: 'fn'});", "main.run"),
    "module": ("module.exports = (e) => ({v: e.body.x, n: 'fn'});", "index.handler"),
    "esm": ("import fs from 'node:fs';\nexport const handler = (e) => ({v: e.body.x, n: 'fn'});", "index.handler"),
    "esm default": ("export default async function (e) { return {v: e.body.x, n: 'fn'}; }", "index.handler"),
    "esm not exported": ("import 'node:fs';\nfunction handler(e) { return {v: e.body.x, n: 'fn'}; }", "index.handler"),
    "callback": ("exports.handler = (e, c, done) => setImmediate(done, null, {v: e.body.x, n: 'fn'});", "index.handler"),
    "callback now": ("exports.handler = (e, c, done) => { done(null, {v: e.body.x, n: 'fn'}); };", "index.handler"),
    "fallback": ("exports.handler = (e) => ({v: e.body.x, n: 'fn'});", "index.other"),
    "shebang": ("#!/usr/bin/env node\nexports.handler = (e) => ({v: e.body.x, n: 'fn'});", "index.handler"),
    "this": ("class A { m() { return 'fn'; } handler(e) { return {v: e.body.x, n: 'fn'}; } }\nexports.handler = A.prototype.handler;", "index.handler"),
    "dynamic import": ("exports.handler = async (e) => { await import('node:os'); return {v: e.body.x, n: 'fn'}; };", "index.handler"),
}  # fmt: skip
FORMS = [("python", k) for k in PYTHON_FORMS] + [("node", k) for k in NODE_FORMS]


@pytest.mark.parametrize("runtime,form", FORMS)
def test_forms(start, runtime, form):
    source, handler = (PYTHON_FORMS if runtime == "python" else NODE_FORMS)[form]
    i = start(runtime, source, handler)
    assert i.call({"x": 1}).value == {"v": 1, "n": "fn"}
    assert i.call({"x": "é☃"}).value == {"v": "é☃", "n": "fn"}


@BOTH
def test_hello_names_the_interpreter(start, runtime):
    i = start(runtime, code(runtime, "1", "1"))
    assert i.hello.startswith({"python": "Python 3.", "node": "Node.js "}[runtime])


# ---- events ----


@BOTH
def test_event(start, runtime):
    i = start(runtime, code(runtime, "dict(event)", "event"))
    headers = [("a", "1"), ("b", "x"), ("a", "2"), ("cookie", "c=1"), ("cookie", "d=2"), ("l", b"\xe9")]
    query = [("q", "1"), ("r", "ü"), ("q", "2"), ("q", "3"), ("__proto__", "p")]
    a = i.call([1], headers=headers, query=query, method="PUT", path="/a/b")
    assert a.value == {
        "body": [1],
        "headers": {"a": "1, 2", "b": "x", "cookie": "c=1; d=2", "l": "é"},
        "method": "PUT",
        "path": "/a/b",
        "query": {"q": ["1", "2", "3"], "r": "ü", "__proto__": "p"},
    }


@BOTH
@pytest.mark.parametrize(
    "body,kind,want",
    [
        (b"", NONE, None),
        (b"", JSON, None),
        (b' {"a": [1, 2.5, null]} \n', JSON, {"a": [1, 2.5, None]}),
        (b"[1", JSON, "[1"),
        (b"1 2", JSON, "1 2"),
        (b"NaN", JSON, "NaN"),
        (b"\xff", JSON, "bytes ff"),
        ("é".encode(), TEXT, "é"),
        (b"", TEXT, ""),
        (b"\xff\x00", TEXT, "bytes ff00"),
        (b"abc", BYTES, "bytes 616263"),
        ("\ufffd".encode(), TEXT, "\ufffd"),
        (b"[" * 100000, JSON, "[" * 100000),
    ],
)
def test_bodies(start, runtime, body, kind, want):
    i = start(
        runtime,
        code(
            runtime,
            "['bytes ' + event.body.hex() if isinstance(event.body, bytes) else event['body'], event.raw_body.hex()]",
            "[Buffer.isBuffer(event.body) ? 'bytes ' + event.body.toString('hex') : event.body, event.rawBody.toString('hex')]",
        ),
    )
    assert i.call(body, kind).value == [want, body.hex()]


@BOTH
def test_context(start, runtime):
    i = start(
        runtime,
        code(
            runtime,
            "[context.function_name, context.function_version, context.workspace_id, context.invocation_id,"
            " 3000 < context.get_remaining_time_in_millis() <= 5000, event.invocation_id, event.deadline > 1e9]",
            "[context.functionName, context.functionVersion, context.workspaceId, context.invocation_id,"
            " context.getRemainingTimeInMillis() > 3000, context.invocationId, context.deadline > 1e9]",
        ),
    )
    assert i.call(id="inv-7").value == ["fn", "v3", "ws-1", "inv-7", True, "inv-7", True]


@BOTH
def test_environment(start, runtime):
    source = code(runtime, "[__import__('os').environ.get(k) for k in ('A', 'Ü')]", "[process.env.A, process.env.Ü]")
    i = start(runtime, source, env=[("A", "1=2"), ("Ü", "é")])
    assert i.call().value == ["1=2", "é"]
    assert "bad name" in start(runtime).load(source, env=[("A=B", "1")])


# ---- results ----

RESULTS = [
    # python, node, status, wrapped, kind, headers, body
    ("{'statusCode': 201, 'body': 'x'}", "{statusCode: 201, body: 'x'}", 201, True, TEXT, [], b"x"),
    ("{'status': 404}", "{status: 404}", 404, True, NONE, [], b""),
    ("{'status': '200', 'body': {'a': 'é'}}", "{status: '200', body: {a: 'é'}}", 200, True, JSON, [], '{"a":"é"}'.encode()),
    ("{'status': 'ok', 'items': []}", "{status: 'ok', items: []}", 200, False, JSON, [], b'{"status":"ok","items":[]}'),
    ("{'status': 200, 'items': []}", "{status: 200, items: []}", 200, False, JSON, [], b'{"status":200,"items":[]}'),
    ("{'status': 700, 'body': 1}", "{status: 700, body: 1}", 200, False, JSON, [], b'{"status":700,"body":1}'),
    ("{'statusCode': None}", "{statusCode: null}", 200, False, JSON, [], b'{"statusCode":null}'),
    ("{'statusCode': 200, 'body': b'\\xff\\x00'}", "{statusCode: 200, body: Buffer.from([255, 0])}", 200, True, BYTES, [], b"\xff\x00"),
    ("{'statusCode': 200, 'body': '/w==', 'isBase64Encoded': True}", "{statusCode: 200, body: '/w==', isBase64Encoded: true}", 200, True, BYTES, [], b"\xff"),
    ("{'statusCode': 200, 'headers': {'A': 1, 'B': ['x', 'y'], 'C': None}, 'body': None}", "{statusCode: 200, headers: {A: 1, B: ['x', 'y'], C: null}, body: null}", 200, True, NONE, [("A", "1"), ("B", "x"), ("B", "y")], b""),
    ("'té'", "'té'", 200, False, TEXT, [], "té".encode()),
    ("bytearray(b'\\x00')", "new Uint8Array(1)", 200, False, BYTES, [], b"\0"),
    ("None", "null", 200, False, JSON, [], b"null"),
    ("[1, 'a\\n\\x01\"', 1.5, True]", "[1, 'a\\n\\x01\"', 1.5, true]", 200, False, JSON, [], b'[1,"a\\n\\u0001\\"",1.5,true]'),
    ("[]", "[]", 200, False, JSON, [], b"[]"),
    ("7", "7", 200, False, JSON, [], b"7"),
    ("event.raw_body", "event.rawBody", 200, False, BYTES, [], bytes(range(256))),
]  # fmt: skip


@BOTH
@pytest.mark.parametrize("row", RESULTS, ids=[r[0][:40] for r in RESULTS])
def test_results(start, runtime, row):
    python, node, status, wrapped, kind, headers, body = row
    a = start(runtime, code(runtime, python, node)).call(bytes(range(256)))
    assert (a.error, a.status, a.wrapped, a.kind, a.headers, a.body) == (None, status, wrapped, kind, headers, body)


BAD_RESULTS = [
    ("python", "{'a': [1, {'when': __import__('datetime').date(2024, 1, 1)}]}", "result.a[1].when is of type datetime.date"),
    ("python", "{'a': float('nan')}", "result.a is nan"),
    ("python", "'\\ud800'", "lone surrogate"),
    ("python", "['\\ud800']", "result[0] is text with a lone surrogate"),
    ("python", "(lambda x: x.append(x) or x)([])", "contains itself"),
    ("python", "{(1, 2): 3}", "key of type tuple"),
    ("python", "{'statusCode': 1000}", "between 100 and 599"),
    ("python", "{'statusCode': 200, 'headers': {'a': 'x\\r\\ny: z'}}", "line break"),
    ("python", "{'statusCode': 200, 'headers': [1]}", "not a dict"),
    ("python", "{'statusCode': 200, 'body': '*', 'isBase64Encoded': True}", "not base64"),
    ("python", "{'statusCode': 200, 'headers': {str(i): 'x' for i in range(300)}}", "more than 256"),
    ("python", "b'x' * ((64 << 20) + 1)", "larger than 64 MiB"),
    ("python", "['x' * (65 << 20)]", "limit is 64 MiB"),
    ("python", "(x for x in [])", "generator"),
    ("node", "({a: [1, {n: 1n}]})", "result.a[1].n is a BigInt"),
    ("node", "(() => { const a = {}; a.b = a; return a; })()", "result.b contains itself"),
    ("node", "() => 1", "function"),
    ("node", "{statusCode: 1000}", "between 100 and 599"),
    ("node", "{statusCode: 200, headers: {a: 'x\\r\\ny: z'}}", "line break"),
    ("node", "{statusCode: 200, headers: 1}", "headers are of type"),
    ("node", "{statusCode: 200, body: '*', isBase64Encoded: true}", "not base64"),
    ("node", "Buffer.alloc((64 << 20) + 1)", "larger than 64 MiB"),
]  # fmt: skip


@pytest.mark.parametrize("runtime,expression,want", BAD_RESULTS)
def test_bad_results(start, runtime, expression, want):
    source = f"def handler(e):\n if e.body: return {expression}\n return 5\n"
    if runtime == "node":
        source = f"exports.handler = (e) => e.body ? ({expression}) : 5;"
    i = start(runtime, source)
    a = i.call(1)
    assert want in a.error[1], a.error
    assert i.call().value == 5


@BOTH
def test_big_bodies(start, runtime):
    i = start(runtime, code(runtime, "event.body", "event.body"))
    body = os.urandom(20 << 20)
    assert i.call(body).body == body
    text = "é" * (5 << 20)
    assert i.call(text).body == text.encode()
    assert i.call({"a": 1}).value == {"a": 1}


@BOTH
def test_queued_calls_are_answered_in_order(start, runtime):
    sources = {
        "python": "import asyncio\nasync def handler(e):\n await asyncio.sleep(0.001 if e.body % 3 else 0)\n print(e.body)\n return e.body\n",
        "node": "exports.handler = (e) => { console.log(e.body); return e.body % 3 ? new Promise((r) => setTimeout(r, 1, e.body)) : e.body; };",
    }  # fmt: skip
    i = start(runtime, sources[runtime])
    i.sock.sendall(b"".join(call_frame(n, n) for n in range(1, 201)))
    for n in range(1, 201):
        a = i.answer()
        assert (a.seq, a.value, a.logs) == (n, n, [(INFO, str(n))])


@BOTH
def test_an_answer_does_not_wait_for_a_slow_call_behind_it(start, runtime):
    source = {
        "python": "import time\ndef handler(e):\n time.sleep(e.body)\n return e.body\n",
        "node": "exports.handler = (e) => new Promise((r) => setTimeout(r, e.body * 1000, e.body));",
    }[runtime]
    i = start(runtime, source)
    i.sock.sendall(call_frame(1, 0) + call_frame(2, 60))
    assert i.answer().seq == 1
    i.process.kill()


@BOTH
def test_frames_in_small_pieces(start, runtime):
    i = start(runtime, code(runtime, "event.body", "event.body"))
    data = call_frame(1, "a" * 50) + call_frame(2, "b")
    for at in range(len(data)):
        i.sock.sendall(data[at : at + 1])
    assert [i.answer().body, i.answer().body] == [b"a" * 50, b"b"]


# ---- logs ----


def test_python_logs(start):
    i = start(
        "python",
        "import logging, sys, warnings\n"
        "log = logging.getLogger('x')\n"
        "print('loading')\n"
        "def handler(event, context):\n"
        "    print('a', 'b'); print('two\\nlines'); print('err', file=sys.stderr)\n"
        "    logging.debug('no'); logging.info('i'); log.warning('w %d', 1); context.log.error('e\\nf')\n"
        "    warnings.warn('careful'); sys.stdout.buffer.write(b'raw\\n')\n"
        "    try: 1/0\n"
        "    except ZeroDivisionError: log.exception('failed')\n"
        "    print('\\ud800'); print('end', end='')\n",
    )
    assert i.loose == [(INFO, "loading")]
    logs = i.call().logs
    assert logs[:8] == [
        (INFO, "a b"), (INFO, "two"), (INFO, "lines"), (ERROR, "err"),
        (INFO, "i"), (WARN, "w 1"), (ERROR, "e"), (ERROR, "f"),
    ]  # fmt: skip
    assert logs[8][0] == WARN and logs[8][1].endswith("main.py:7: UserWarning: careful")
    assert logs[9] == (INFO, "raw")
    assert logs[10][0] == ERROR and logs[10][1].startswith("failed\nTraceback") and "1/0" in logs[10][1]
    assert logs[11:] == [(INFO, "\\ud800"), (INFO, "end")]


def test_python_basic_config(start):
    source = "import logging\nlogging.basicConfig(level=logging.DEBUG, format='%(levelname)s! %(message)s')\n"
    i = start("python", source + "def handler():\n logging.debug('d')\n")
    assert i.call().logs == [(DEBUG, "DEBUG! d")]


def test_node_logs(start):
    i = start(
        "node",
        "exports.handler = () => { console.log('a %d', 1, {b: [1]}); console.debug('d'); console.info('two\\nlines');"
        "console.warn('w'); console.error('e'); process.stdout.write('x'); process.stdout.write('y\\nend');"
        "console.group('g'); console.log('in'); console.groupEnd(); console.log('out'); process.stderr.write('z');"
        "console.table([{a: 1}]); };",
    )
    logs = i.call().logs
    assert logs[:7] == [
        (INFO, "a 1 { b: [ 1 ] }"), (DEBUG, "d"), (INFO, "two"), (INFO, "lines"), (WARN, "w"), (ERROR, "e"), (INFO, "xy"),
    ]  # fmt: skip
    assert logs[7:10] == [(INFO, "g"), (INFO, "  in"), (INFO, "out")]
    assert logs[-2:] == [(INFO, "end"), (ERROR, "z")]
    assert any("│" in line for _, line in logs[10:-2])


@BOTH
def test_long_lines_are_cut(start, runtime):
    source = {
        "python": "import sys\ndef handler():\n print('é' * 20000)\n for _ in range(9000): sys.stdout.write('☃☃☃')\n",
        "node": "exports.handler = () => { console.log('é'.repeat(20000));"
        "for (let i = 0; i < 9000; i++) process.stdout.write('☃☃☃'); };",
    }[runtime]
    logs = start(runtime, source).call().logs
    assert all(len(line.encode()) <= 16 << 10 and line for _, line in logs)
    text = "".join(line for _, line in logs)
    assert text == "é" * 20000 + "☃" * 27000


@BOTH
def test_much_output_is_flushed_while_running(start, runtime):
    source = {
        "python": "def handler():\n for n in range(20000): print(n)\n return 1\n",
        "node": "exports.handler = () => { for (let n = 0; n < 20000; n++) console.log(n); return 1; };",
    }[runtime]
    a = start(runtime, source).call()
    assert [line for _, line in a.logs] == [str(n) for n in range(20000)] and a.value == 1


def test_python_logs_survive_a_crash(start):
    i = start("python", "import os, signal\ndef handler(e):\n print('last words')\n os.kill(os.getpid(), e.body)\n")
    i.send(11)
    status, frames = i.exited()
    assert status == 128 + 11 and [i.log_of(p) for k, _, p in frames if k == LOG] == [(INFO, "last words")]


def test_python_fork_leaves_the_channel_alone(start):
    source = (
        "import os\ndef handler():\n print('parent')\n pid = os.fork()\n"
        " if pid == 0:\n  print('child')\n  os._exit(0)\n"
        " os.waitpid(pid, 0)\n return 1\n"
    )
    a = start("python", source).call()
    assert a.value == 1 and a.logs == [(INFO, "parent")]


# ---- failures ----


@BOTH
def test_exception(start, runtime):
    source = {
        "python": "class Odd(Exception): pass\ndef inner(): raise Odd('bad é')\ndef handler(e):\n inner()\n",
        "node": "class Odd extends Error { get name() { return 'Odd'; } }\n"
        "function inner() { throw new Odd('bad é'); }\nexports.handler = () => { inner(); };",
    }[runtime]
    i = start(runtime, source)
    for _ in range(2):
        a = i.call()
        assert a.error == ("Odd", "bad é")
        assert len(a.logs) == 1 and a.logs[0][0] == ERROR
        text = a.logs[0][1]
        assert "inner" in text and "bad é" in text and "kiln_worker" not in text and "worker.js" not in text


@BOTH
def test_async_exception(start, runtime):
    source = {
        "python": "import asyncio\nasync def handler(e):\n await asyncio.sleep(0)\n raise KeyError('k')\n",
        "node": "exports.handler = async () => { await null; throw new TypeError('k'); };",
    }[runtime]
    a = start(runtime, source).call()
    assert a.error in [("KeyError", "'k'"), ("TypeError", "k")]
    assert "kiln_worker" not in a.logs[0][1] and "asyncio/" not in a.logs[0][1]


@pytest.mark.parametrize("raised", ["RecursionError", "MemoryError", "KeyboardInterrupt"])
def test_python_base_exceptions(start, raised):
    i = start("python", f"def handler(e):\n if e.body: raise {raised}('x')\n return 1\n")
    assert i.call(1).error == (raised, "x")
    assert i.call().value == 1


def test_python_recursion(start):
    i = start("python", "def handler(e):\n return handler(e)\n")
    assert i.call().error[0] == "RecursionError"


def test_python_system_exit(start):
    i = start("python", "import sys\ndef handler(e):\n sys.exit(3)\n")
    assert i.call().error[0] == "SystemExit"
    assert i.exited()[0] == 3


def test_node_odd_throws(start):
    i = start("node", "exports.handler = (e) => { throw e.body; };")
    assert i.call("text").error == ("string", "'text'")
    assert i.call({"message": "m", "name": "N"}).error == ("N", "m")


def test_node_process_exit(start):
    i = start("node", "exports.handler = () => { console.log('bye'); process.exit(4); };")
    i.send()
    status, frames = i.exited()
    assert status == 4 and [i.log_of(p) for k, _, p in frames] == [(INFO, "bye")]


def test_node_uncaught(start):
    i = start("node", "exports.handler = () => new Promise(() => setTimeout(() => { throw new Error('later'); }, 1));")
    assert i.call().error == ("Error", "later")
    assert i.exited()[0] == 1


@BOTH
def test_no_state_of_a_call_is_kept(start, runtime):
    if runtime == "node":
        pytest.skip("weak references in Node need a collection that cannot be forced here")
    source = (
        "import gc, weakref, contextvars\nlast = None\nvar = contextvars.ContextVar('v', default=0)\n"
        "class Thing: pass\n"
        "def handler(e):\n global last\n gone = last is None or last() is None\n seen = var.get(); var.set(1)\n"
        " e['thing'] = Thing(); last = weakref.ref(e['thing'])\n"
        " if e.body: raise ValueError('x')\n return [gone, seen]\n"
    )
    i = start("python", source)
    assert i.call(0).value == [True, 0]
    assert i.call(1).error
    assert i.call(0).value == [True, 0]


# ---- loading ----


@BOTH
def test_load_failures(start, runtime):
    missing = start(runtime).load(
        {"python": "def other(e): pass\n", "node": "exports.other = () => 1;"}[runtime], "main.wanted"
    )
    assert "'wanted'" in missing and "other" in missing
    syntax = start(runtime).load({"python": "def handler(:\n", "node": "exports.handler = ("}[runtime])
    assert "SyntaxError" in syntax and "main." in syntax
    raising = {"python": "x = 1\nraise ValueError('at load')\n", "node": "throw new Error('at load')"}
    text = start(runtime).load(raising[runtime])
    assert "at load" in text and "kiln_worker" not in text and "worker.js" not in text


@BOTH
@pytest.mark.parametrize("good", [True, False])
def test_check(start, runtime, good):
    i = start(runtime)
    text = i.load(code(runtime, "1", "1") if good else "(", flags=CHECK)
    assert (text is None) == good
    assert i.exited()[0] == (0 if good else 1)


@BOTH
@pytest.mark.parametrize("data", [frame(99, 0, b""), frame(CALL, 1, b"\0"), b"\xff" * 12, call_frame(1, b"x", 9)])
def test_malformed_frames(start, runtime, data):
    i = start(runtime, code(runtime, "1", "1"))
    i.sock.sendall(data)
    assert i.exited()[0] == 70


@BOTH
def test_end_of_the_channel_is_a_quiet_end(start, runtime):
    i = start(runtime, code(runtime, "1", "1"))
    i.sock.shutdown(1)
    assert i.exited()[0] == 0


PY_FILES = {
    "main.py": "from lib.util import name\nimport data\ndef handler(e): return [name(), data.X]\n",
    "lib/__init__.py": "",
    "lib/util.py": "def name(): return 'ü'\n",
    "data.py": "X = 1\n",
}
JS_FILES = {
    "main.js": "const u = require('./lib/util'); const d = require('dep'); exports.handler = () => [u.name(), d];",
    "lib/util.js": "exports.name = () => 'ü';",
    "node_modules/dep/index.js": "module.exports = 1;",
}


@BOTH
@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_archive(start, runtime, form):
    files = dict({"python": PY_FILES, "node": JS_FILES}[runtime])
    files["long/" * 30 + "name.txt"] = "x"
    i = start(runtime, archive(files, format=form), "main.handler")
    assert i.call().value == ["ü", 1]


@pytest.mark.parametrize(
    "runtime,files,handler",
    [
        ("python", {"src/app.py": "def run(e): return 1\n"}, "src/app.run"),
        ("python", {"pkg/app.py": "from . import b\ndef run(e): return b.X\n", "pkg/b.py": "X = 1\n"}, "pkg.app.run"),
        ("python", {"index.py": "def handler(e): return 1\n"}, "handler"),
        ("node", {"src/app.js": "exports.run = () => 1;"}, "src/app.run"),
        ("node", {"a.mjs": "export const run = () => 1;"}, "a.run"),
        ("node", {"a.js": "import {x} from './b.js';\nexport const run = () => x;", "b.js": "export const x = 1;", "package.json": '{"type": "module"}'}, "a.run"),
        ("node", {"lib/m.js": "exports.handler = () => 1;", "package.json": '{"main": "lib/m.js"}'}, "handler"),
        ("node", {"index.js": "const handler = () => 1;"}, "index.handler"),
    ],
)  # fmt: skip
def test_archive_files(start, runtime, files, handler):
    assert start(runtime, archive(files), handler).call().value == 1


def tar_entry(name, kind, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@BOTH
@pytest.mark.parametrize(
    "files,want",
    [
        ({"../x": "a"}, "leads out"),
        ({"a/../../x": "a"}, "leads out"),
        ({"/etc/x": "a"}, "leads out"),
        ({"l": tar_entry("l", tarfile.SYMTYPE, "/etc")}, "a link"),
        ({"l": tar_entry("l", tarfile.LNKTYPE, "/etc/passwd")}, "a link"),
        ({"f": tar_entry("f", tarfile.FIFOTYPE)}, "special file"),
        ({"readme.txt": "x"}, "no file to load"),
    ],
)
def test_bad_archives(start, runtime, files, want):
    assert want in start(runtime).load(archive(files), "main.handler")


@BOTH
def test_damaged_archives(start, runtime):
    good = archive({"main.py": "x" * 600})
    assert "cut off" in start(runtime).load(good[:700])
    assert "checksum" in start(runtime).load(b"y" + good[1:])


def test_python_instances_draw_different_random_numbers(start, tmp_path):
    """Each is a fork of one zygote, where `random` has been imported already."""
    source = (
        "import os, random, ssl, uuid, tempfile\ndef handler():\n seen = []\n for _ in range(3):\n"
        "  r, w = os.pipe()\n  if os.fork() == 0:\n"
        "   os.write(w, repr([random.random(), ssl.RAND_bytes(8), uuid.uuid4()]).encode())\n   os._exit(0)\n"
        "  os.close(w); seen.append(os.read(r, 500)); os.wait()\n"
        " return len(set(seen))\n"
    )
    assert start("python", source).call().value == 3
    source = "import random\nx = random.random()\ndef handler(): return x\n"
    assert start("python", source).call().value != start("python", source).call().value
