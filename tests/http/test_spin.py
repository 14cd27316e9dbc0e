# SPDX-License-Identifier: Apache-2.0
"""Python in Spin's format: requests, responses, fresh globals, outbound requests, variables and
key-value stores."""

import concurrent.futures
import http.server
import io
import json
import os
import pathlib
import re
import tarfile
import threading

import pytest
from blue import SPIN
from harness import PATIENCE_S, ROOT, wait_for

BEGIN = """
import json, os, sys
from spin_sdk import http, key_value, variables
from spin_sdk.http import Request, Response, send
from spin_sdk.wit.types import Err
from spin_sdk.wit.imports import key_value as kv_errors, types as http_errors
from spin_sdk.wit.imports import variables as variable_errors

def reply(value, status=200):
    return Response(status, {"content-type": "application/json"}, json.dumps(value).encode())
"""


def spin(body, before=""):
    """Code whose handle_request() has this body."""
    lines = "".join(f"        {line}\n" for line in body.strip("\n").split("\n"))
    return (f"{BEGIN}\n{before}\nclass IncomingHandler(http.IncomingHandler):\n"
            f"    def handle_request(self, request):\n{lines}")


def create(server, body, before="", path="/spin", method="POST", **more):
    """A function that listens on the gateway; its id."""
    more.setdefault("handler", "app.handler")
    ident = server.create(spin(body, before), **more)
    listen(server, ident, path, method)
    return ident


def listen(server, ident, path="/spin", method="POST"):
    reply = server.fn("POST", f"/{ident}/triggers", {
        "name": f"t{method}", "type": "http", "config": {"method": method, "path": path}})
    assert reply.status == 201, reply


def ask(server, value=None, path="/spin"):
    """What it says, parsed."""
    got = server.gateway("POST", path, json.dumps(value))
    assert got.status == 200, got
    return got.json


# ---- requests and responses ----


@pytest.mark.parametrize("handler", ["handler", "app.handler", "main.nothing", "IncomingHandler",
                                     "app.IncomingHandler"])
def test_the_documents_example(server, handler):
    ident = server.create(SPIN, handler=handler)
    listen(server, ident, "/hello", "GET")
    got = server.gateway("GET", "/hello")
    assert (got.status, got.body) == (200, b"Hello from Blue FaaS!"), got
    assert got.headers["content-type"] == "text/plain"
    assert got.headers["content-length"] == "21"
    assert server.result(ident) == b"Hello from Blue FaaS!"


def test_what_a_request_is(server):
    create(server, """
return reply([type(request).__name__, request.method, request.uri, request.headers,
              type(request.body).__name__, request.body.hex()])
""")
    kind, method, uri, headers, body_kind, body = server.gateway(
        "POST", "/spin?a=1&b=x%20y&b=%26%3d&%C3%A9=/", bytes(range(256)),
        {"X-Upper-Case": "Yes", "Content-Type": "application/x"}).json
    assert (kind, method) == ("Request", "POST")
    assert uri == "/spin?a=1&b=x%20y&b=%26%3D&%C3%A9=/"
    assert headers["x-upper-case"] == "Yes" and headers["content-type"] == "application/x"
    assert all(name == name.lower() for name in headers)
    assert (body_kind, bytes.fromhex(body)) == ("bytes", bytes(range(256)))


@pytest.mark.parametrize("body", ["", "[1, 2]", "text é"])
def test_the_body_is_always_bytes(server, body):
    """JSON too is not parsed."""
    create(server, "return Response(200, {}, request.body)")
    got = server.gateway("POST", "/spin", body.encode(), {"Content-Type": "application/json"})
    assert (got.status, got.body) == (200, body.encode()), got


def test_what_a_response_may_be(server):
    create(server, """
kind = request.body.decode()
if kind == "none": return Response(204, {}, None)
if kind == "status": return Response(418, {"x-a": "b"}, b"teapot")
if kind == "length": return Response(200, {"Content-Length": "3"}, b"abc")
if kind == "large": return Response(200, {}, bytes(3 << 20))
""")
    got = server.gateway("POST", "/spin", "none")
    assert (got.status, got.body) == (204, b""), got
    got = server.gateway("POST", "/spin", "status")
    assert (got.status, got.body, got.headers["x-a"]) == (418, b"teapot", "b"), got
    assert server.gateway("POST", "/spin", "length").body == b"abc"
    assert server.gateway("POST", "/spin", "large").body == bytes(3 << 20)


def test_request_and_response_need_all_their_parts(server):
    create(server, """
wrong = []
for make in (lambda: Response(200), lambda: Response(200, {}), lambda: Request("GET", "/", {})):
    try: make()
    except TypeError: wrong.append(True)
same = Response(1, {"a": "b"}, b"") == Response(1, {"a": "b"}, b"")
return reply([wrong, same, Request(method="GET", uri="/", headers={}, body=None).uri])
""")
    assert ask(server) == [[True] * 3, True, "/"]


def archive(**files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as t:
        for name, text in files.items():
            info = tarfile.TarInfo(name.replace("__", "/").replace("_py", ".py"))
            info.size = len(text.encode())
            t.addfile(info, io.BytesIO(text.encode()))
    return out.getvalue()


def test_archive(server):
    """app.py, as Spin's templates name it, and a module beside it."""
    code = archive(lib__words_py="WORD = 'from beside'\n", app_py=spin(
        "return Response(200, {}, WORD.encode())", "from lib.words import WORD"))
    ident = server.create(code, handler="handler")
    assert server.result(ident) == b"from beside"


# ---- failures ----

FAILURES = {
    "raise ValueError('no good')": "ValueError: no good",
    "sys.exit(3)": "sys.exit(3)",
    "return None": "TypeError: handle_request() returned NoneType, not a Response",
    "return Response(200, {}, 'text')": "TypeError: the body of a Response is bytes or None",
    "return Response(1000, {}, b'')": "ValueError: status 1000",
    "return Response(200, {'a': 'b\\nc'}, b'')": "has a line break",
}


@pytest.mark.parametrize("n", range(len(FAILURES)))
def test_an_exception_is_an_empty_500(server, n):
    body, said = list(FAILURES.items())[n]
    ident = create(server, f"if request.body == b'fine': return reply('fine')\n{body}")
    got = server.gateway("POST", "/spin", "x")
    assert (got.status, got.body) == (500, b""), got
    assert got.headers["X-Kiln-Error"] == "function"
    call = got.headers["X-Kiln-Invocation-Id"]
    lines = wait_for("its log", lambda: server.logs(ident, invocation_id=call))
    assert said in lines[-1]["message"] and lines[-1]["level"] == "error", lines
    record = server.fn("GET", f"/invocations/{call}").json
    assert record["status"] == "failed" and record["error"]["cause"] == "function", record
    assert server.gateway("POST", "/spin", "fine").json == "fine"
    # who invokes it as its owner hears why
    reply = server.invoke(ident, "x")
    assert reply.status == 500 and reply.json["details"]["cause"] == "function", reply


def test_print_goes_to_the_log_of_the_request(server):
    ident = create(server, """
print("out", request.body.decode()); print("err", file=sys.stderr); os.write(1, b"raw\\n")
return reply(None)
""")
    for word in ("one", "two"):
        got = server.gateway("POST", "/spin", word)
        call = got.headers["X-Kiln-Invocation-Id"]
        lines = {(x["level"], x["message"]) for x in server.logs(ident, invocation_id=call)}
        assert {("info", f"out {word}"), ("error", "err"), ("info", "raw")} <= lines, lines


@pytest.mark.parametrize("how, cause, status", [
    ("os._exit(7)", "crash", 500), ("os.kill(os.getpid(), 11)", "crash", 500),
    ("os.close(3)", "crash", 500), ("import time; time.sleep(1000)", "timeout", 504)])
def test_a_process_that_ends_or_hangs(server, how, cause, status):
    ident = create(server, f"if request.body == b'fine': return reply('fine')\n{how}\n"
                           "return reply(None)", timeout=3 if cause == "timeout" else 60)
    reply = server.invoke(ident, "x")
    assert (reply.status, reply.json["details"]["cause"]) == (status, cause), reply
    assert server.gateway("POST", "/spin", "fine").json == "fine"


def test_memory(server):
    told = server.fn("GET", "/provider/capabilities").json
    if not told["limits"]["memory"] or "data-segment" in told["isolation"]:
        pytest.skip("memory is not limited by a control group here")
    ident = create(server, "if request.body == b'fine': return reply('fine')\nx = b'x' * (1 << 30)\n"
                           "return reply(len(x))", resources={"memory": "64Mi"})
    reply = server.invoke(ident, "x")
    assert (reply.status, reply.json["details"]["cause"]) == (500, "memory"), reply
    assert server.gateway("POST", "/spin", "fine").json == "fine"


# ---- nothing of one request is there in the next ----


def test_fresh_globals(server):
    create(server, """
global n
n += 1; seen.append(n); json.leak = getattr(json, "leak", 0) + 1
os.environ["LEAK"] = os.environ.get("LEAK", "") + "x"; os.chdir("/tmp")
IncomingHandler.count = getattr(IncomingHandler, "count", 0) + 1
return reply([n, seen, json.leak, os.environ["LEAK"], IncomingHandler.count, made])
""", "n = 0\nseen = []\nimport uuid\nmade = str(uuid.uuid4())", max_replicas=1)
    got = [ask(server) for _ in range(20)]
    assert all(g[:5] == [1, [1], 1, "x", 1] for g in got), got
    assert len({g[5] for g in got}) == 1, "the code was loaded again"


def test_randomness_differs(server):
    create(server, "import random, uuid\nreturn reply([random.random(), str(uuid.uuid4())])",
           max_replicas=1)
    got = [ask(server) for _ in range(10)]
    assert len({g[0] for g in got}) == 10 and len({g[1] for g in got}) == 10, got


LEAVE = """
import glob, subprocess, threading, time
found = sorted(p for d in ("/tmp", "/dev/shm") for p in glob.glob(d + "/**", recursive=True))
others = [p for p in os.listdir("/proc") if p.isdigit() and int(p) not in (1, os.getpid())]
content = open("/tmp/made-at-import").read()
open("/dev/shm/shared", "w").write("x")
os.makedirs("/tmp/deep/er"); open("/tmp/deep/er/file", "w").write("x")
os.symlink("/etc/passwd", "/tmp/link"); os.mkfifo("/tmp/fifo")
os.chmod("/tmp/deep", 0)
if request.body == b"1": open("/tmp/made-at-import", "a").write("x")
if request.body == b"2": os.unlink("/tmp/made-at-import")
subprocess.Popen(["/bin/sleep", "1000"], start_new_session=True)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0: time.sleep(1000)
    os._exit(0)
threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
return reply([found, others, content])
"""


def test_files_and_processes_go(server):
    ident = create(server, LEAVE, "open('/tmp/made-at-import', 'w').write('once')", max_replicas=1)
    got = [server.gateway("POST", "/spin", str(n)) for n in range(4)]
    assert all(g.status == 200 for g in got), [x["message"] for x in server.logs(ident)]
    assert [g.json for g in got] == [got[0].json] * 4, [g.json for g in got]
    found, others, content = got[0].json
    assert {os.path.basename(p) for p in found} == {"", "made-at-import"}, found
    assert others == [] and content == "once"


def test_ipc_objects_go(server):
    create(server, """
import ctypes
c = ctypes.CDLL(None, use_errno=True)
found = [open(f"/proc/sysvipc/{kind}").read().count("\\n") - 1 for kind in ("shm", "msg", "sem")]
made = [c.shmget(77, 4096, 0o1600), c.msgget(77, 0o1600), c.semget(77, 1, 0o1600)]
c.mq_open.restype = ctypes.c_int
queue = c.mq_open(b"/queue", os.O_CREAT | os.O_RDWR, 0o600, None)
return reply([found, [n >= 0 for n in made], queue])
""", max_replicas=1)
    for _ in range(3):
        assert ask(server) == [[0, 0, 0], [True] * 3, -1]


def test_files_of_an_archive_are_put_back(server):
    code = archive(data__word="good", app_py=spin("""
found = open("/tmp/app/data/word").read() + str(os.path.exists("/tmp/app/json.py"))
open("/tmp/app/data/word", "w").write("evil"); open("/tmp/app/json.py", "w").write("x")
return Response(200, {}, found.encode())"""))
    ident = server.create(code, handler="app.handler", max_replicas=1)
    for _ in range(3):
        assert server.result(ident) == b"goodFalse"
    assert server.kube("GET", "/f").json["status"]["replicas"] == 1


def test_many_at_once(server):
    create(server, "return Response(200, {}, request.body * 3)")
    with concurrent.futures.ThreadPoolExecutor(8) as several:
        got = list(several.map(lambda n: server.gateway("POST", "/spin", f"{n}-"), range(200)))
    assert [g.body for g in got] == [f"{n}-".encode() * 3 for n in range(200)]


# ---- variables ----


def test_variables(server):
    create(server, """
def get(name):
    try:
        return variables.get(name)
    except Err as e:
        return repr(e.value)
return reply([get(n) for n in json.loads(request.body)])
""", environment={"API_KEY": "upper", "SPIN_VARIABLE_TOKEN": "spin's", "TOKEN": "plain",
                  "lower": "as it is"})
    assert ask(server, ["api_key", "token", "lower", "absent"]) == [
        "upper", "spin's", "as it is", "Error_Undefined(value='absent')"]
    assert ask(server, ["API_KEY", "", "a__b", "1a", "a-b"]) == [
        f"Error_InvalidName(value='{n}')" for n in ("API_KEY", "", "a__b", "1a", "a-b")]


# ---- outbound ----


class Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_any(self):
        length = self.headers.get("content-length")
        body = self.rfile.read(int(length)) if length else b""
        if self.path == "/redirect":
            self.send_response(302)
            self.send_header("Location", "/elsewhere")
            answer = b"moved"
        elif self.path == "/cut":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"short")
            self.close_connection = True
            return
        else:
            self.send_response(201)
            self.send_header("X-Several", "1")
            self.send_header("X-Several", "2")
            answer = json.dumps([self.command, self.path, self.headers.items(), body.hex()]).encode()
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_PUT = do_any

    def log_message(self, *_):
        pass


@pytest.fixture
def other():
    """A server on loopback: its address."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo) as s:
        thread = threading.Thread(target=s.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"127.0.0.1:{s.server_port}"
        s.shutdown()
        thread.join()


SEND = """
method, uri, headers, body = json.loads(request.body)
try:
    r = send(Request(method, uri, headers, None if body is None else bytes.fromhex(body)))
    return reply([r.status, r.headers, r.body.hex(), type(r.body).__name__])
except Err as e:
    return reply(repr(e.value))
"""


def test_send(start, other):
    server = start("--allow-host-network")
    create(server, SEND, network="host", max_replicas=1)
    for _ in range(3):  # the first imports what the later ones have
        status, headers, body, kind = ask(server, [
            "PUT", f"http://{other}/a/b?c=d%20e", {"X-One": "1"}, bytes(range(256)).hex()])
        assert (status, kind, headers["x-several"]) == (201, "bytes", "1, 2")
        assert all(name == name.lower() for name in headers)
        method, path, sent, got = json.loads(bytes.fromhex(body))
        sent = dict((k.lower(), v) for k, v in sent)
        assert (method, path, sent["x-one"]) == ("PUT", "/a/b?c=d%20e", "1")
        assert sent["host"] == other and sent["content-length"] == "256"
        assert bytes.fromhex(got) == bytes(range(256))
    got = ask(server, ["GET", f"http://{other}", {}, None])
    sent = json.loads(bytes.fromhex(got[2]))
    assert sent[1] == "/" and "content-length" not in dict((k.lower(), v) for k, v in sent[2])
    assert ask(server, ["GET", f"http://{other}/redirect", {}, None])[0] == 302
    assert ask(server, ["GET", f"http://{other}/cut", {}, None]) == \
        "ErrorCode_ConnectionTerminated()"
    port = other.rpartition(":")[2]
    assert "Tls" in ask(server, ["GET", f"https://127.0.0.1:{port}/", {}, None])
    assert ask(server, ["GET", "http://127.0.0.1:1/", {}, None]) == \
        "ErrorCode_ConnectionRefused()"
    for uri in ("/relative", "ftp://x/", "http://", "http://x:port/", "http://[/"):
        assert ask(server, ["GET", uri, {}, None]) == "ErrorCode_HttpRequestUriInvalid()", uri
    assert ask(server, ["G T", f"http://{other}/", {}, None]) == \
        "ErrorCode_HttpRequestMethodInvalid()"
    assert ask(server, ["GET", f"http://{other}/", {"a": "b\r\nc: d"}, None]) == \
        "ErrorCode_HttpRequestHeaderSectionSize()"


def test_send_without_a_network(server):
    create(server, SEND, network="none")
    assert "Error" in ask(server, ["GET", "http://127.0.0.1:80/", {}, None])


# ---- key-value stores ----

KV = """
name, op, *args = json.loads(request.body)
try:
    with (key_value.open_default() if name is None else key_value.open(name)) as store:
        if op == "set": return reply(store.set(args[0], bytes.fromhex(args[1])))
        value = getattr(store, op)(*args)
        return reply(value.hex() if isinstance(value, bytes) else value)
except Err as e:
    return reply(repr(e.value))
"""


def kv(server, op, *args, store=None, path="/spin"):
    return ask(server, [store, op, *args], path)


def test_key_value(server):
    create(server, KV)
    assert kv(server, "get", "a") is None and kv(server, "exists", "a") is False
    assert kv(server, "delete", "a") is None and kv(server, "get_keys") == []
    assert kv(server, "set", "a", "00ff") is None
    assert kv(server, "get", "a") == "00ff" and kv(server, "exists", "a") is True
    assert kv(server, "set", "a", "") is None and kv(server, "get", "a") == ""
    assert kv(server, "set", "é\n\0 key", "01") is None
    assert kv(server, "get_keys") == ["a", "é\n\0 key"]
    assert kv(server, "get_keys", store="other") == [] and kv(server, "get", "a", store="x") is None
    assert kv(server, "set", "a", "02", store="other") is None
    assert kv(server, "get", "a") == "" and kv(server, "get", "a", store="other") == "02"
    assert kv(server, "delete", "a") is None
    assert kv(server, "exists", "a") is False and kv(server, "get_keys", store="other") == ["a"]


def test_key_value_limits(server):
    create(server, KV)
    assert kv(server, "set", "k" * 255, "00") is None
    assert "255 bytes" in kv(server, "set", "k" * 256, "00")
    assert "255 bytes" in kv(server, "get", "é" * 128) and "255 bytes" in kv(server, "get", "")
    assert kv(server, "set", "large", "ab" * (1 << 20)) is None
    assert kv(server, "get", "large") == "ab" * (1 << 20)
    assert "1048576 bytes" in kv(server, "set", "larger", "ab" * ((1 << 20) + 1))
    for name in ("", "a/b", "x" * 64, "é", "-"):
        assert kv(server, "get", "a", store=name) == "Error_NoSuchStore()", name


def test_key_value_that_is_full(server):
    """64 MiB a function; what is taken back can be used again."""
    create(server, """
store = key_value.open("big")
n = 0
try:
    while True:
        store.set(f"k{n}", bytes(1 << 20)); n += 1
except Err as e:
    why = repr(e.value)
store.set("k0", b"")
store.set("again", bytes(1 << 19))
return reply([n, why, len(store.get_keys())])
""", timeout=60, resources={"memory": "1Gi"})  # freed memory is kept by sanitizers
    assert ask(server) == [63, "Error_StoreTableFull()", 64]


def test_key_value_of_two_functions(server):
    create(server, KV)
    create(server, KV, name="g", path="/other")
    kv(server, "set", "a", "01")
    kv(server, "set", "a", "02", path="/other")
    assert (kv(server, "get", "a"), kv(server, "get", "a", path="/other")) == ("01", "02")


def test_key_value_goes_with_its_function(server):
    ident = create(server, KV)
    kv(server, "set", "a", "01")
    assert server.fn("DELETE", f"/{ident}").status == 204
    create(server, KV)
    assert kv(server, "get_keys") == []


def test_key_value_over_versions_and_restarts(start, folder):
    server = start(data=folder)
    ident = create(server, KV)
    kv(server, "set", "a", "01")
    reply = server.fn("POST", f"/{ident}/versions", {"source_code": __import__("base64").b64encode(
        spin(KV, "second = 2").encode()).decode()})
    assert reply.status == 201, reply
    version = wait_for("it is built", lambda: (lambda v: v if v["build_status"] == "success" else
                       None)(server.fn("GET", f"/{ident}/versions/{reply.json['id']}").json))
    active = server.fn("PUT", f"/{ident}/versions/{version['id']}/active")
    assert active.status == 200, active
    assert kv(server, "get", "a") == "01"
    for n in range(3):  # what set() has returned from is on the disk
        assert kv(server, "set", f"b{n}", "02") is None
        server.kill()
        server.start()
        assert kv(server, "get_keys") == ["a", *(f"b{i}" for i in range(n + 1))]


def test_key_value_from_many_instances(server):
    create(server, """
store = key_value.open_default()
for i in range(20): store.set(f"{request.body.decode()}-{i}", request.body)
return reply(sum(store.get(f"{request.body.decode()}-{i}") == request.body for i in range(20)))
""")
    with concurrent.futures.ThreadPoolExecutor(8) as several:
        got = list(several.map(lambda n: server.gateway("POST", "/spin", str(n)).json, range(16)))
    assert got == [20] * 16


def test_key_value_from_threads_and_plain_handlers(server):
    """Any Python function may ask; threads take turns, and a call waits for the answer that is
    still to come."""
    ident = server.create("""
import threading
from spin_sdk import key_value
def handler(event):
    store = key_value.open_default()
    def put(n): store.set(f"k{n}", b"x" * 1000)
    threads = [threading.Thread(target=put, args=(n,)) for n in range(8)]
    for t in threads: t.start()
    if event["body"] == "wait":
        for t in threads: t.join()
        return len(store.get_keys())
    return "left"
""", max_replicas=1)
    assert server.result(ident, "wait") == 8
    for _ in range(10):
        assert server.result(ident, "leave") == b"left"
    assert server.result(ident, "wait") == 8


def test_key_value_in_a_child(server):
    ident = create(server, """
r, w = os.pipe()
if os.fork() == 0:
    try: key_value.open_default().get("a")
    except RuntimeError as e: os.write(w, str(e).encode())
    os._exit(0)
return Response(200, {}, os.read(r, 1000))
""")
    assert b"by its own process" in server.invoke(ident).body or \
        b"by its own process" in server.gateway("POST", "/spin").body


# ---- hostile questions ----

HOSTILE = """
import os, struct, time
KV = 22
def frame(kind, seq, payload): return struct.pack("<IBBHI", len(payload), kind, 0, 0, seq) + payload
def text(s): return struct.pack("<I", len(s)) + s
def ask(op=1, store=b"default", key=b"k", value=b"", seq=1, rest=b""):
    return frame(KV, seq, bytes([op]) + text(store) + text(key) + text(value) + rest)
def send(*parts): os.write(3, b"".join(parts))
result = frame(19, 1, struct.pack("<HBB", 200, 0, 1) + bytes(4) + text(b'"evil"'))
def handler(event):
    what = event["body"]
    if what == "ok": return "ok"
    if what == "op 0": send(ask(0))
    if what == "op 6": send(ask(6))
    if what == "no store": send(ask(store=b""))
    if what == "long store": send(ask(store=b"x" * 64))
    if what == "bad store": send(ask(store=b"\\xff"))
    if what == "no key": send(ask(key=b""))
    if what == "long key": send(ask(key=b"x" * 256))
    if what == "bad key": send(ask(key=b"\\xff"))
    if what == "key of keys": send(ask(5))
    if what == "value of get": send(ask(value=b"x"))
    if what == "rest": send(ask(rest=b"x"))
    if what == "short": send(frame(KV, 1, b"\\1"))
    if what == "empty": send(frame(KV, 1, b""))
    if what == "wrong length": send(frame(KV, 1, b"\\1" + struct.pack("<I", 0x7fffffff) + b"x"))
    if what == "other seq": send(ask(seq=2))
    if what == "seq 0": send(ask(seq=0))
    if what == "two": send(ask(), ask())
    if what == "flood": send(*[ask(2, value=b"x" * 100) for _ in range(10000)])
    if what == "result before the answer": send(ask(), result)
    if what == "long value":
        out = ask(2, value=bytes((1 << 20) + 1))
        while out: out = out[os.write(3, out):]
    time.sleep(100)
    return "end"
"""
VARIANTS = re.findall(r'what == "([^"]+)"', HOSTILE)[1:]


@pytest.mark.parametrize("what", VARIANTS)
def test_hostile_questions(server, what):
    ident = server.create(HOSTILE, max_replicas=1, timeout=60)
    reply = server.invoke(ident, what)
    assert reply.status == 500 and reply.json["details"]["cause"] == "crash", reply
    assert "evil" not in reply.body.decode()
    assert server.result(ident, "ok") == b"ok"


def test_questions_of_an_idle_instance_and_of_one_that_is_gone(server):
    """Nobody may ask outside of a call; an answer to nobody is dropped."""
    ident = server.create(HOSTILE.replace("def handler(event):", """
import threading
def handler(event):
    if event["body"] == "idle":
        threading.Thread(target=lambda: (time.sleep(1), send(ask()))).start()
        return "later"
    if event["body"] == "gone":
        send(ask(2, value=b"x"))
        os._exit(1)
"""), max_replicas=1, timeout=60)
    assert server.result(ident, "idle") == b"later"
    wait_for("it is gone", lambda: server.kube("GET", "/f").json["status"]["replicas"] == 0)
    for _ in range(5):
        assert server.invoke(ident, "gone").status == 500
    assert server.result(ident, "ok") == b"ok"


def test_every_file_of_the_sdk_is_installed():
    """Meson copies file by file."""
    source = ROOT / "runtimes" / "python" / "spin_sdk"
    for path in source.rglob("*.py"):
        named = (path.parent / "meson.build").read_text()
        assert f"'{path.name}'" in named, path
    assert pathlib.Path(source / "http.py").exists() and PATIENCE_S
