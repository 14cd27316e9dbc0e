# SPDX-License-Identifier: Apache-2.0
"""Code that misbehaves costs its caller an error and nobody else anything."""

import json
import os
import re
import threading

import harness
import machine
import pytest
from harness import children_of, unb64, wait_for

PY = {"runtime": "python3.9", "handler": "main.handler"}
JS = {"runtime": "nodejs18", "handler": "index.handler"}


@pytest.fixture
def limits(server):
    """What a control group holds to; without one, memory is a limit on the data segment, and an
    allocation over it fails inside the function."""
    told = server.fn("GET", "/provider/capabilities").json
    memory = told["limits"]["memory"] and "data-segment" not in told["isolation"]
    return {**told["limits"], "memory": memory}


class Bystander:
    """Another function that is called all the while: each call must be answered as ever."""

    def __init__(self, server, language=None):
        self.server = server
        self.ident = server.create("def handler(e): return e['body']", name="bystander", **PY)
        self.over = threading.Event()
        self.n = 0
        self.wrong = []
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.over.is_set():
            reply = self.server.kube("POST", "/bystander/invoke", self.n)
            if reply.status != 200 or reply.json["body"] != self.n:
                self.wrong.append(reply)
            self.n += 1
            self.over.wait(0.005)

    def __enter__(self):
        self.thread.start()
        wait_for("the other function runs", lambda: self.n > 0)
        self.begin = self.n
        return self

    def __exit__(self, *failed):
        if not failed[0]:
            wait_for("the other function goes on", lambda: self.n > self.begin + 2)
        self.over.set()
        self.thread.join()
        if not failed[0]:
            assert not self.wrong, self.wrong[:3]


def fails(server, code, cause, status=500, language=PY, body=None, bystander=True, **more):
    """Calls a function that misbehaves: reply, record and log must name the cause."""
    ident = server.create(code, **language, **more)
    if bystander:
        with Bystander(server):
            reply = server.invoke(ident, body)
    else:
        reply = server.invoke(ident, body)
    assert reply.status == status, (reply, server.logs(ident))
    assert reply.headers["X-Kiln-Error"] == cause, reply
    assert reply.json["code"] == "INVOCATION_FAILED" and reply.json["details"]["cause"] == cause
    call = reply.json["details"]["invocation_id"]
    record = server.fn("GET", f"/invocations/{call}").json
    assert record["status"] == "failed" and record["error"]["cause"] == cause, record
    lines = server.logs(ident, invocation_id=call)
    assert any(x["level"] == "error" for x in lines), lines
    return ident, reply, "\n".join(x["message"] for x in lines)


def goes_on(server, ident, body, wanted):
    """The next call of the same function has an instance of its own."""
    assert server.result(ident, body) == wanted


# ---- time ----

LOOPS = [
    (PY, "def handler(e):\n    while e['body'] == 'loop': pass\n    return 'ok'"),
    (PY, "import time\ndef handler(e):\n    if e['body'] == 'loop': time.sleep(1000)\n    return 'ok'"),
    (PY, "import signal\ndef handler(e):\n    for s in range(1, 65):\n        try: signal.signal(s, "
         "signal.SIG_IGN)\n        except Exception: pass\n    while e['body'] == 'loop': pass\n"
         "    return 'ok'"),
    (PY, "import asyncio\nasync def handler(e):\n    if e['body'] == 'loop': await "
         "asyncio.get_event_loop().create_future()\n    return 'ok'"),
    (JS, "exports.handler = e => { while (e.body === 'loop'); return 'ok'; };"),
    (JS, "exports.handler = async e => { if (e.body === 'loop') await new Promise(() => {}); "
         "return 'ok'; };"),
    (JS, "exports.handler = async e => { while (e.body === 'loop') await null; return 'ok'; };"),
]


@pytest.mark.parametrize("n", range(len(LOOPS)))
def test_endless(server, n):
    language, code = LOOPS[n]
    # long enough for the short call after it, on a busy machine too
    ident, reply, log = fails(server, code, "timeout", 504, language, "loop", timeout=2.4)
    assert "2.4" in reply.json["error"] and "timeout" in log
    assert reply.json["details"]["duration"] >= 2400
    goes_on(server, ident, "x", b"ok")


FAMILY = """
import os, sys, time, subprocess
def handler(event):
    for n in range(6):
        if os.fork() == 0:
            if n % 2: os.setsid()
            if n % 3 == 0 and os.fork() == 0: os.setsid()
            for fd in (0, 1, 2, 3):
                try: os.close(fd)
                except OSError: pass
            os.execve("/bin/sleep", ["sleep", event["body"]], {})
    time.sleep(1000)
"""
FAMILY_JS = """
const {spawn} = require('child_process');
exports.handler = async event => {
  for (let n = 0; n < 4; n++)
    spawn('/bin/sh', ['-c', `setsid sleep ${event.body} & sleep ${event.body}`],
          {detached: n % 2 === 0, stdio: 'ignore'}).unref();
  await new Promise(() => {});
};
"""


@pytest.mark.parametrize("language,code", [(PY, FAMILY), (JS, FAMILY_JS)])
def test_the_whole_family_is_dead_before_the_caller_hears(server, language, code):
    mark = f"98765{os.getpid()}.{os.urandom(3).hex().translate(str.maketrans('abcdef', '012345'))}"
    ident = server.create(code, **language, timeout=5)  # all of the family has begun by then
    seen = []
    done = threading.Event()

    def watch():
        while not done.is_set():
            seen.append(len(machine.running(mark)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        reply = server.invoke(ident, mark)
        left = machine.running(mark)
    finally:
        done.set()
        watcher.join()
    assert reply.status == 504, reply
    assert left == [], "processes outlived the answer"
    assert max(seen) >= 4, "the test saw no child at all"


def test_children_that_outlive_their_call_end_with_the_instance(server):
    mark = f"97531.{os.getpid()}"
    ident = server.create(FAMILY.replace("    time.sleep(1000)\n", "    return 'ok'\n"), timeout=5)
    assert server.result(ident, mark) == b"ok"
    assert server.fn("DELETE", f"/{ident}").status == 204
    wait_for("the children are gone", lambda: machine.running(mark) == [])


# ---- memory ----

EATERS = [
    (PY, "def handler(e):\n    x = []\n    while True: x.append(bytearray(b'x' * 1000000))"),
    (JS, "exports.handler = () => { const x = []; for (;;) x.push(Buffer.alloc(1e6, 1)); };"),
]


@pytest.mark.parametrize("n", range(len(EATERS)))
def test_memory(server, limits, n):
    if not limits["memory"]:
        pytest.skip("the server says that memory limits are not in force here")
    language, code = EATERS[n]
    _, reply, log = fails(server, code, "memory", 500, language,
                          resources={"memory": "96Mi"}, timeout=30)
    assert "96 MiB" in reply.json["error"] and "memory" in log


def test_memory_of_children_counts(server, limits):
    if not limits["memory"]:
        pytest.skip("the server says that memory limits are not in force here")
    code = """
import os, time
def handler(e):
    pids = []
    for _ in range(8):
        pid = os.fork()
        if pid == 0:
            x = bytearray(b'x' * 40_000_000)
            time.sleep(30)
            os._exit(0)
        pids.append(pid)
    for pid in pids: os.waitpid(pid, 0)
    time.sleep(2)
"""
    ident = server.create(code, resources={"memory": "96Mi"}, timeout=3)
    with Bystander(server):
        reply = server.invoke(ident)
    # The kernel picks a victim: the handler itself, or children one after another.
    assert reply.status in (200, 500, 504), reply


def test_memory_without_cgroups_is_an_error_of_the_function(server, limits):
    if limits["memory"]:
        pytest.skip("memory is limited by a cgroup here")
    ident = server.create(EATERS[0][1], resources={"memory": "96Mi"}, timeout=20)
    with Bystander(server):
        reply = server.invoke(ident)
    assert reply.status == 500 and reply.json["details"]["cause"] in ("function", "crash", "memory")


def test_tmp_is_bounded(server):
    code = """
def handler(e):
    n = 0
    try:
        with open("/tmp/big", "wb", buffering=0) as f:
            while True:
                n += f.write(b"x" * 65536)
    except OSError as x:
        return {"errno": x.errno, "n": n}
"""
    ident = server.create(code, resources={"memory": "512Mi"})
    with Bystander(server):
        got = server.result(ident)
    assert got["errno"] == 28 and got["n"] <= 64 << 20


def test_number_of_files_in_tmp_is_bounded(server):
    code = """
import os
def handler(e):
    n = 0
    try:
        while True:
            os.close(os.open(f"/tmp/{n}", os.O_CREAT | os.O_WRONLY))
            n += 1
    except OSError as x:
        return {"errno": x.errno, "n": n}
"""
    ident = server.create(code, resources={"memory": "512Mi"}, timeout=60)
    with Bystander(server):
        got = server.result(ident)
    assert got["errno"] == 28 and got["n"] <= 65536


def test_open_files_are_bounded(server):
    code = """
import os
def handler(e):
    fds = []
    try:
        while True: fds.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as x:
        for fd in fds: os.close(fd)
        return {"errno": x.errno, "n": len(fds)}
"""
    assert server.result(server.create(code))["errno"] == 24


# ---- death ----

DEATHS = [
    (PY, "import os\ndef handler(e): os.abort()", "134"),
    (PY, "import os\ndef handler(e): os.kill(os.getpid(), 11)", "139"),
    (PY, "import ctypes\ndef handler(e): ctypes.string_at(0)", "signal 11"),
    (PY, "import os\ndef handler(e): os._exit(3)", "status 3"),
    (PY, "import os\ndef handler(e): os._exit(0)", "status 0"),
    (PY, "import sys\ndef handler(e): sys.exit(4)", "4"),
    (PY, "import threading, os, time\ndef handler(e):\n    threading.Timer(0.05, os._exit, [5]).start()"
         "\n    time.sleep(100)", "status 5"),
    (PY, "import os\ndef handler(e): os.execv('/bin/true', ['true'])", None),
    (JS, "exports.handler = () => process.abort();", "signal"),
    (JS, "exports.handler = () => process.exit(6);", "6"),
    (JS, "exports.handler = () => process.reallyExit(7);", "7"),
    (JS, "exports.handler = async () => { setTimeout(() => process.exit(8), 20); "
         "await new Promise(() => {}); };", "8"),
    (JS, "exports.handler = async () => { setTimeout(() => { throw new Error('late'); }, 10); "
         "await new Promise(() => {}); };", None),
]


@pytest.mark.parametrize("n", range(len(DEATHS)))
def test_death(server, n):
    language, code, said = DEATHS[n]
    ident = server.create(code, **language, timeout=60)
    with Bystander(server):
        reply = server.invoke(ident)
    assert reply.status == 500, reply
    cause = reply.json["details"]["cause"]
    assert cause in ("crash", "function") if "sys.exit" in code or "late" in code \
        else cause == "crash", reply
    if said:
        assert said in reply.json["error"], reply
    call = reply.json["details"]["invocation_id"]
    assert server.fn("GET", f"/invocations/{call}").json["error"]["cause"] == cause
    assert server.logs(ident, invocation_id=call), "nothing in the log"


def test_the_four_ends_are_told_apart(server, limits):
    code = """
import os, time
def handler(e):
    what = e["body"]
    if what == "time": time.sleep(60)
    if what == "crash": os.abort()
    if what == "throw": raise ValueError("no such user")
    if what == "memory":
        x = []
        while True: x.append(bytearray(b"x" * 1000000))
    return "ok"
"""
    ident = server.create(code, timeout=5, resources={"memory": "96Mi"})
    causes = {"time": "timeout", "crash": "crash", "throw": "function"}
    if limits["memory"]:
        causes["memory"] = "memory"
    for what, cause in causes.items():
        reply = server.invoke(ident, what)
        assert reply.json["details"]["cause"] == cause, reply
        assert reply.status == (504 if cause == "timeout" else 500)
        assert server.kube("POST", "/f/invoke", what).headers["X-Kiln-Error"] == cause
        goes_on(server, ident, "x", b"ok")
    reply = server.invoke(ident, "throw")
    assert reply.json["details"]["error_type"] == "ValueError"
    assert "no such user" in reply.json["error"]
    lines = server.logs(ident, invocation_id=reply.json["details"]["invocation_id"])
    assert "Traceback" in lines[0]["message"] and "line 7" in lines[0]["message"], lines


def test_deep_recursion(server):
    ident = server.create("def f(n): return f(n + 1)\ndef handler(e):\n    return f(0)")
    reply = server.invoke(ident)
    assert reply.status == 500 and reply.json["details"]["cause"] in ("function", "crash")
    ident = server.create("import sys\nsys.setrecursionlimit(10**9)\ndef f(n): return f(n + 1)\n"
                          "def handler(e): return f(0)", name="g", resources={"memory": "256Mi"})
    with Bystander(server):
        reply = server.invoke(ident)
    assert reply.status in (500, 504), reply
    ident = server.create("const f = n => f(n + 1) + 1; exports.handler = () => f(0);",
                          name="h", **JS)
    reply = server.invoke(ident)
    assert reply.status == 500 and "RangeError" in reply.json["error"], reply


# ---- output ----

GIGABYTE = [
    (PY, "def handler(e):\n    s = 'x' * 99\n    for _ in range(10_000_000): print(s)\n    return 'end'"),
    (PY, "def handler(e):\n    print('x' * 1_000_000_000)\n    return 'end'"),
    (PY, "import os\ndef handler(e):\n    b = b'x' * 99 + b'\\n'\n    for _ in range(10_000_000): "
         "os.write(1, b)\n    return 'end'"),
    (PY, "import os\ndef handler(e):\n    b = b'x' * 1_000_000\n    for _ in range(1000): "
         "os.write(2, b)\n    return 'end'"),
    (PY, "import os\ndef handler(e):\n    b = bytes(1_000_000)\n    for _ in range(1000): "
         "os.write(1, b)\n    return 'end'"),
    (JS, "exports.handler = () => { const s = 'x'.repeat(99); for (let i = 0; i < 1e7; i++) "
         "console.log(s); return 'end'; };"),
    (JS, "const fs = require('fs'); exports.handler = () => { const b = Buffer.alloc(1e6, 'x'); "
         "for (let i = 0; i < 1000; i++) { let n = 0; while (n < b.length) { try { n += "
         "fs.writeSync(1, b, n); } catch (e) { if (e.code !== 'EAGAIN') throw e; } } } "
         "return 'end'; };"),
]


@pytest.mark.parametrize("n", range(len(GIGABYTE)))
def test_a_gigabyte_of_output(server, n):
    language, code = GIGABYTE[n]
    most = [machine.rss(server.pid)]
    before = most[0]
    over = threading.Event()

    def watch():
        while not over.wait(0.02):
            most.append(machine.rss(server.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        ident = server.create(code, **language, timeout=60, resources={"memory": "2Gi"})
        with Bystander(server):
            reply = server.invoke(ident)
    finally:
        over.set()
        watcher.join()
    assert reply.status == 500 and reply.json["details"]["cause"] == "limit", reply
    if not harness.SANITIZED:  # which keeps what was freed
        assert max(most) - before < 64 << 20, "the server's memory grew with the output"
    call = reply.json["details"]["invocation_id"]
    lines = server.logs(ident, invocation_id=call, limit=1000)
    assert sum(len(x["message"]) for x in lines) < 1 << 20
    assert any("not kept" in x["message"] for x in lines), lines[-3:]


def test_output_below_the_limit_is_cut_and_said(server):
    ident = server.create("def handler(e):\n    for i in range(10000): print(i, 'x' * 100)\n"
                          "    return 'end'")
    assert server.result(ident) == b"end"
    lines = server.logs(ident, limit=1000)
    assert "not kept" in lines[-1]["message"] and lines[-1]["level"] == "warn"


# ---- forks ----

BOMBS = [
    (PY, "import os\ndef handler(e):\n    while True:\n        try: os.fork()\n"
         "        except OSError: pass"),
    (PY, "import threading, time\ndef handler(e):\n    while True:\n        try: "
         "threading.Thread(target=time.sleep, args=(1000,)).start()\n        except RuntimeError: pass"),
    (JS, "const {spawn} = require('child_process'); exports.handler = async () => { for (;;) { try { "
         "spawn('/bin/sh', ['-c', 'sh -c \"sleep 100\" & sleep 100']).on('error', () => {}); } "
         "catch {} await new Promise(r => setImmediate(r)); } };"),
]


@pytest.mark.parametrize("n", range(len(BOMBS)))
def test_fork_bomb(server, limits, n):
    language, code = BOMBS[n]
    ident = server.create(code, **language, timeout=1.5, resources={"memory": "256Mi"})
    most = [0]
    over = threading.Event()

    def watch():
        while not over.wait(0.05):
            most.append(len(children_of(server.pid)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with Bystander(server):
            reply = server.invoke(ident)
        left = children_of(server.pid)
    finally:
        over.set()
        watcher.join()
    assert reply.status in (500, 504), reply
    assert reply.json["details"]["cause"] in ("timeout", "memory", "crash", "function"), reply
    if limits["pids"]:
        assert max(most) < 250, "more processes than the limit of an instance"
    assert len(left) < 40, "the bomb outlived its answer"


# ---- results ----

ODD_RESULTS = [
    (PY, "def handler(e): return object()"),
    (PY, "def handler(e): return {1, 2}"),
    (PY, "def handler(e): return float('nan')"),
    (PY, "def handler(e): return {'a': float('inf')}"),
    (PY, "def handler(e):\n    a = []\n    a.append(a)\n    return a"),
    (PY, "def handler(e): return {(1, 2): 3}"),
    (PY, "def handler(e): return lambda: 1"),
    (PY, "def handler(e): return '\\ud800'"),
    (PY, "def handler(e):\n    a = 1\n    for _ in range(100000): a = [a]\n    return a"),
    (PY, "def handler(e): return {'statusCode': 'teapot'}"),
    (PY, "def handler(e): return {'statusCode': 99999}"),
    (PY, "def handler(e): return {'statusCode': 200, 'headers': 'none'}"),
    (JS, "exports.handler = () => { const a = {}; a.a = a; return a; };"),
    (JS, "exports.handler = () => 10n;"),
    (JS, "exports.handler = () => ({toJSON() { throw new Error('no'); }});"),
    (JS, "exports.handler = () => ({statusCode: 99999});"),
    (JS, "exports.handler = () => ({statusCode: 200, headers: 'none'});"),
]


@pytest.mark.parametrize("n", range(len(ODD_RESULTS)))
def test_results_that_cannot_be_encoded(server, n):
    """An error that says so, or a JSON reply; never a broken one."""
    language, code = ODD_RESULTS[n]
    ident = server.create(code, **language)
    reply = server.invoke(ident)
    assert reply.status in (200, 500), reply
    if reply.status == 500:
        assert reply.json["details"]["cause"] in ("function", "crash"), reply
        assert len(reply.json["error"]) > 5, reply
    else:
        unb64(reply.json["body"])
    kube = server.kube("POST", "/f/invoke")
    assert kube.status == reply.status
    json.loads(kube.body)


@pytest.mark.parametrize("language,code", [
    (PY, "def handler(e): return 'x' * e['body']"),
    (JS, "exports.handler = e => 'x'.repeat(e.body);"),
])
def test_result_too_large(start, language, code):
    server = start("--response-max", "1Mi")
    ident = server.create(code, **language)
    assert len(server.result(ident, 1_000_000)) == 1_000_000
    before = machine.rss(server.pid)
    reply = server.invoke(ident, 90_000_000)
    assert reply.status == 500, reply
    assert reply.json["details"]["cause"] in ("limit", "function", "crash"), reply
    assert "larger" in reply.json["error"] or "over" in reply.json["error"], reply
    reply = server.invoke(ident, 3_000_000)
    assert reply.status == 500 and reply.json["details"]["cause"] in ("limit", "function"), reply
    if not harness.SANITIZED:
        assert machine.rss(server.pid) - before < 64 << 20
    assert len(server.result(ident, 10)) == 10


# ---- code that does not load ----

BROKEN = [
    (PY, "def handler(e) return 1", "SyntaxError"),
    (PY, "import nothing_like_this\ndef handler(e): pass", "nothing_like_this"),
    (PY, "raise ValueError('at import')\ndef handler(e): pass", "at import"),
    (PY, "def other(e): pass", "handler"),
    (PY, "handler = 3", "handler"),
    (PY, "import os\nos._exit(3)", "status 3"),
    (PY, "import sys\nsys.exit(3)", "3"),
    (PY, "\x00", ""),
    (PY, "", ""),
    (PY, "while True: pass", "load"),
    (PY, "import os\nwhile True: os.write(1, b'x' * 65536)", ""),
    (JS, "exports.handler = () => {", "SyntaxError"),
    (JS, "require('nothing-like-this'); exports.handler = () => 1;", "nothing-like-this"),
    (JS, "throw new Error('at load');", "at load"),
    (JS, "exports.other = () => 1;", "handler"),
    (JS, "process.exit(3);", "3"),
    (JS, "while (true);", "load"),
]


@pytest.fixture(scope="module")
def impatient():
    """For what never ends: the others are to say what is wrong with them, however long it takes."""
    server = harness.Server("--start-timeout", "3s")
    yield server
    server.stop()


@pytest.mark.parametrize("n", range(len(BROKEN)))
def test_code_that_does_not_load(server, impatient, n):
    language, code, said = BROKEN[n]
    server = impatient if said == "load" else server
    reply = server.fn("POST", "", {"name": f"b{n}", "source_code": __import__("base64").b64encode(
        code.encode()).decode(), **language})
    if code == "" and reply.status == 400:
        return
    assert reply.status == 201 and reply.json["status"] == "error", reply
    ident = reply.json["id"]
    log = server.versions_log(ident)
    assert said in log and len(log) < 1 << 20, log[:2000]
    version = server.fn("GET", f"/{ident}/versions").json["versions"][0]
    assert version["build_status"] == "failed" and not version["is_active"]
    reply = server.invoke(ident)
    assert reply.status == 409 and reply.json["code"] == "BUILD_FAILED", reply
    assert server.kube("POST", f"/b{n}/invoke").status == 409
    assert server.fn("DELETE", f"/{ident}").status == 204


def test_a_failed_build_never_serves(server):
    ident = server.create("def handler(e): return 'good'")
    reply = server.fn("POST", f"/{ident}/versions", {
        "source_code": __import__("base64").b64encode(b"def handler(e) return").decode()})
    assert reply.status == 201
    version = reply.json["id"]
    wait_for("it failed", lambda: server.fn("GET", f"/{ident}/versions/{version}").json[
        "build_status"] == "failed")
    reply = server.fn("PUT", f"/{ident}/versions/{version}/active")
    assert reply.status == 409 and reply.json["code"] == "BUILD_FAILED", reply
    assert server.result(ident) == b"good"


# ---- the protocol, from the wrong side ----

HOSTILE = """
import os, struct, time, random, socket
RESULT, FAILED, LOG, READY, HELLO, LOAD_FAILED = 19, 20, 21, 17, 16, 18
def frame(kind, seq, payload, flags=0, zero=0, length=None):
    return struct.pack("<IBBHI", len(payload) if length is None else length, kind, flags, zero, seq) + payload
def text(s): return struct.pack("<I", len(s)) + s
def result(status=200, wrapped=0, kind=1, headers=b"\\0\\0\\0\\0", body=b"1"):
    return struct.pack("<HBB", status, wrapped, kind) + headers + text(body)
def send(*parts):
    for p in parts: os.write(3, p)
def handler(event):
    what = event["body"]
    if what == "ok": return "ok"
    me = 1
    if what == "random": send(random.Random(1).randbytes(100000))
    if what == "zeros": send(bytes(5000))
    if what == "ones": send(b"\\xff" * 5000)
    if what == "huge length": send(frame(RESULT, me, b"", length=0xffffffff))
    if what == "large length": send(frame(RESULT, me, b"", length=63 << 20), bytes(1000))
    if what == "unknown type": send(frame(99, me, b""))
    if what == "server's type": send(frame(2, me, b"")); send(frame(1, 0, b""))
    if what == "nonzero zero": send(frame(RESULT, me, result(), zero=7))
    if what == "other seq": send(frame(RESULT, me + 1, result()))
    if what == "seq 0": send(frame(RESULT, 0, result()))
    if what == "failed of other seq": send(frame(FAILED, 77, text(b"E") + text(b"m")))
    if what == "ready": send(frame(READY, 0, b""))
    if what == "ready twice": send(frame(READY, 0, b""), frame(READY, 0, b""))
    if what == "hello": send(frame(HELLO, 0, text(b"evil")))
    if what == "load failed": send(frame(LOAD_FAILED, 0, text(b"evil")))
    if what == "two results": send(frame(RESULT, me, result()), frame(RESULT, me, result()))
    if what == "short result": send(frame(RESULT, me, b"\\xc8"))
    if what == "empty result": send(frame(RESULT, me, b""))
    if what == "long result": send(frame(RESULT, me, result() + b"x"))
    if what == "status 0": send(frame(RESULT, me, result(status=0)))
    if what == "status 65535": send(frame(RESULT, me, result(status=65535)))
    if what == "kind 9": send(frame(RESULT, me, result(kind=9)))
    if what == "bad text": send(frame(RESULT, me, result(kind=2, body=b"\\xff\\xfe")))
    if what == "many headers": send(frame(RESULT, me, result(headers=struct.pack("<I", 0xffffffff))))
    if what == "long header": send(frame(RESULT, me, result(headers=struct.pack("<II", 1, 0xfffffff0))))
    if what == "short failed": send(frame(FAILED, me, b"\\1\\0\\0\\0"))
    if what == "log level 9": send(frame(LOG, me, b"\\x09" + text(b"x")))
    if what == "log without text": send(frame(LOG, me, b"\\1"))
    if what == "long log": send(frame(LOG, me, b"\\1" + struct.pack("<I", 0x7fffffff) + b"x"))
    if what == "close": os.close(3)
    if what == "shutdown":
        s = socket.socket(fileno=os.dup(3)); s.shutdown(socket.SHUT_RDWR)
    if what == "half a frame": send(frame(RESULT, me, result())[:-1]); os._exit(0)
    if what == "replace": os.dup2(os.open("/dev/null", os.O_RDWR), 3)
    time.sleep(3)
    return "end"
"""
# Where a call is to hear of the frame itself, not of how long it took.
PATIENT = HOSTILE.replace("time.sleep(3)", "time.sleep(100)")
ONLY_A_TIMEOUT = ("large length", "replace")  # it may only be waiting for the rest
VARIANTS = re.findall(r'what == "([^"]+)"', HOSTILE)[1:]


@pytest.mark.parametrize("what", VARIANTS)
def test_hostile_frames(server, what):
    ident = server.create(PATIENT, max_replicas=1, timeout=3 if what in ONLY_A_TIMEOUT else 60)
    with Bystander(server):
        reply = server.invoke(ident, what)
    if what == "two results":
        assert reply.status in (200, 500), reply  # the first is an answer as good as any
    elif what in ONLY_A_TIMEOUT:
        assert reply.status in (500, 504), reply
    else:
        assert reply.status == 500, reply
        assert reply.json["details"]["cause"] in ("crash", "limit"), reply
    assert "evil" not in reply.body.decode()
    if what == "two results":  # the second may come after the next call began, and is that one's end
        assert server.invoke(ident, "ok").status in (200, 500)
    assert server.result(ident, "ok") == b"ok"


def test_json_that_is_none(server):
    """What says that it is JSON is looked at before it becomes part of a reply."""
    ident = server.create(PATIENT.replace('if what == "ok": return "ok"', '''
    if what == "ok": return "ok"
    send(frame(RESULT, 1, result(body=b'1, "evil": {')))'''), max_replicas=1, timeout=60)
    reply = server.kube("POST", "/f/invoke", "x")
    assert reply.status == 500 and "evil" not in reply.body.decode(), reply
    json.loads(reply.body)
    assert ident


HOSTILE_WHILE_IDLE = HOSTILE.replace("def handler(event):", """
import threading
def later(what):
    time.sleep(1)  # the call has been answered by then, on a busy machine too
    if what == "random": send(random.Random(1).randbytes(100000))
    if what == "result": send(frame(RESULT, 1, result()))
    if what == "next result": send(frame(RESULT, 2, result(body=b'"evil"')))
    if what == "ready": send(frame(READY, 0, b""))
    if what == "exit": os._exit(0)
def handler(event):
    if event["body"] in ("random", "result", "next result", "ready", "exit"):
        threading.Thread(target=later, args=(event["body"],)).start()
        return "later"
""")


@pytest.mark.parametrize("what", ["random", "result", "next result", "ready", "exit"])
def test_hostile_frames_of_an_idle_instance(server, what):
    """Nobody waits for it: it goes, and the next call has another one."""
    ident = server.create(HOSTILE_WHILE_IDLE, max_replicas=1, timeout=60)
    with Bystander(server):
        assert server.result(ident, what) == b"later"
        wait_for("it is gone", lambda: server.kube("GET", "/f").json["status"]["replicas"] == 0)
        assert server.result(ident, "ok") == b"ok"


@pytest.mark.parametrize("what", VARIANTS)
def test_hostile_frames_of_a_build(server, what):
    """The same while the code is loaded for its check."""
    code = HOSTILE.replace("def handler(event):", "def attack(event):") + f"""
attack({{"body": {what!r}}})
def handler(event): return "ok"
"""
    with Bystander(server):
        reply = server.fn("POST", "", {
            "name": "f", **PY,
            "source_code": __import__("base64").b64encode(code.encode()).decode()})
    assert reply.status == 201 and reply.json["status"] in ("error", "ready"), reply
    assert "evil" not in reply.body.decode()
