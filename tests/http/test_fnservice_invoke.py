# SPDX-License-Identifier: Apache-2.0
"""fnservice: invocations, at once and queued (document 000)."""

import base64
import concurrent.futures
import json
import re

import pytest
from harness import b64, unb64, wait_for

ECHO = {
    "python3.9": """
def handler(event):
    body = event["body"]
    return {"method": event["method"], "path": event["path"], "headers": event["headers"],
            "query": event["query"], "body": "bytes" if isinstance(body, bytes) else body}
""",
    "nodejs18": """
exports.handler = async (event) => ({method: event.method, path: event.path,
    headers: event.headers, query: event.query,
    body: Buffer.isBuffer(event.body) ? 'bytes' : event.body});
""",
}
BODY_BACK = {
    "python3.9": "def handler(e):\n    return {'status': 200, 'body': e['body']}\n",
    "nodejs18": "exports.handler = async (e) => ({statusCode: 200, body: e.body});",
}
INVOCATION = re.compile(r"inv-[0-9A-HJKMNP-TV-Z]{26}$")
RUNTIMES = ["python3.9", "nodejs18"]


def failed(reply, status, cause):
    """An invocation that failed, told in the document's form."""
    assert (reply.status, reply.json["code"]) == (status, "INVOCATION_FAILED"), reply
    assert reply.json["details"]["cause"] == cause, reply
    assert INVOCATION.match(reply.json["details"]["invocation_id"])
    assert reply.headers["X-Kiln-Error"] == cause
    return reply.json


def start_async(server, ident, body=None, **more):
    data = dict(more)
    if body is not None:
        data["body"] = b64(body)
    reply = server.fn("POST", f"/{ident}/invoke-async", data)
    assert reply.status == 202, reply
    assert list(reply.json) == ["invocation_id"]
    assert INVOCATION.match(reply.json["invocation_id"])
    return reply.json["invocation_id"]


def ended(server, run):
    def over():
        reply = server.fn("GET", f"/invocations/{run}")
        assert reply.status == 200, reply
        return reply.json if reply.json["status"] in ("completed", "failed") else None
    return wait_for(f"{run} ends", over)


# ---- what arrives ----


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_request_of_the_document(server, runtime):
    ident = server.create(ECHO[runtime], runtime=runtime)
    reply = server.fn("POST", f"/{ident}/invoke", {
        "method": "POST", "path": "/process",
        "headers": {"Content-Type": ["application/json"], "X-Custom-Header": ["value"]},
        "body": "eyJkYXRhIjogInRlc3QifQ==",
        "query": {"param1": ["value1"], "param2": ["value2"]}})
    assert reply.status == 200, reply
    r = reply.json
    assert r["status_code"] == 200
    assert r["headers"]["Content-Type"] == ["application/json"]
    assert isinstance(r["duration"], int) and r["duration"] >= 0
    assert isinstance(r["cold_start"], bool)
    assert INVOCATION.match(r["invocation_id"])
    assert reply.headers["X-Kiln-Invocation-Id"] == r["invocation_id"]
    got = json.loads(unb64(r["body"]))
    assert got == {"method": "POST", "path": "/process", "body": {"data": "test"},
                   "headers": {"content-type": "application/json", "x-custom-header": "value"},
                   "query": {"param1": "value1", "param2": "value2"}}


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("data", [None, {}, {"body": ""}, {"body": None, "headers": None}])
def test_an_empty_request(server, runtime, data):
    ident = server.create(ECHO[runtime], runtime=runtime)
    reply = server.fn("POST", f"/{ident}/invoke", data)
    assert reply.status == 200, reply
    assert json.loads(unb64(reply.json["body"])) == {
        "method": "POST", "path": "/", "headers": {}, "query": {}, "body": None}


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_many_values(server, runtime):
    ident = server.create(ECHO[runtime], runtime=runtime)
    got = server.result(ident, method="DELETE", path="/a/b c?d", headers={
        "X-Many": ["1", "2"], "Cookie": ["a=1", "b=2"], "X-Plain": "one", "X-None": []},
        query={"q": ["1", "ß", ""], "plain": "x", "none": [], "__proto__": ["p"]})
    assert got["method"] == "DELETE"
    assert got["path"] == "/a/b c?d"
    assert got["headers"] == {"x-many": "1, 2", "cookie": "a=1; b=2", "x-plain": "one"}
    assert got["query"]["q"] == ["1", "ß", ""]
    assert got["query"]["plain"] == "x"


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("kind,sent,seen", [
    ("application/json", b"[1, {}]", [1, {}]), (None, b'{"a": 1}', {"a": 1}), (None, b"[1]", [1]),
    (None, b"5", "5"), (None, "Grüße".encode(), "Grüße"), ("text/plain", b"[1]", "[1]"),
    (None, b"\xff\x00", "bytes"), ("application/json", b"nope", "nope"),
    ("application/octet-stream", b"[1]", "bytes"), ("application/json", b"null", None),
    ("application/json", b'"s"', "s"), ("application/json", b"1e400", ...),
    ("application/json", b'{"a":NaN}', '{"a":NaN}'), ("application/json", b"-0.0", ...)])
def test_what_the_function_sees_of_a_body(server, runtime, kind, sent, seen):
    ident = server.create(ECHO[runtime], runtime=runtime)
    headers = {"Content-Type": [kind]} if kind else {}
    reply = server.invoke(ident, sent, headers=headers)
    assert reply.status in ((200, 500) if seen is ... else (200,)), reply
    if seen is not ...:
        assert json.loads(unb64(reply.json["body"]))["body"] == seen


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_all_bytes_without_loss(server, runtime):
    ident = server.create(BODY_BACK[runtime], runtime=runtime)
    for sent in (bytes(range(256)), b"\x00", b"\xff", b"\n", b"\r\n\r\n", b"\xef\xbb\xbfx"):
        reply = server.invoke(ident, sent, headers={"Content-Type": ["application/octet-stream"]})
        assert reply.status == 200, reply
        assert unb64(reply.json["body"]) == sent


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_five_megabytes_without_loss(server, runtime):
    ident = server.create(BODY_BACK[runtime], runtime=runtime)
    sent = (bytes(range(256)) * 4096 * 5)[:5 * 1024 * 1024 - 7]
    reply = server.invoke(ident, sent, headers={"Content-Type": ["application/octet-stream"]})
    assert reply.status == 200, reply
    assert unb64(reply.json["body"]) == sent


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_megabyte_of_text(server, runtime):
    ident = server.create(BODY_BACK[runtime], runtime=runtime)
    sent = "aß你🚀" * 100_000
    reply = server.invoke(ident, sent.encode(), headers={"Content-Type": ["text/plain"]})
    assert unb64(reply.json["body"]).decode() == sent


@pytest.mark.parametrize("data,field", [
    ({"method": 5}, "method"), ({"method": ""}, "method"), ({"method": "G T"}, "method"),
    ({"method": "G\r\nX"}, "method"), ({"path": 5}, "path"), ({"path": ""}, "path"),
    ({"path": "relative"}, "path"), ({"path": "/a\n"}, "path"), ({"headers": []}, "headers"),
    ({"headers": {"A": 5}}, "headers"), ({"headers": {"A": [5]}}, "headers"),
    ({"headers": {"A B": ["x"]}}, "headers"), ({"headers": {"A": ["x\r\ny"]}}, "headers"),
    ({"headers": {"": ["x"]}}, "headers"), ({"query": "a=b"}, "query"), ({"query": {"a": 1}}, "query"),
    ({"query": {"a": [None]}}, "query"), ({"query": {"a": [["x"]]}}, "query"),
    ({"body": 5}, "body"), ({"body": {}}, "body"), ({"body": "%"}, "body"), ({"body": "YQ"}, "body"),
    ({"body": "YQ=\n="}, "body"), ({"body": "Y-_="}, "body")])
@pytest.mark.parametrize("how", ["invoke", "invoke-async"])
def test_bad_requests_reach_no_function(server, how, data, field):
    ident = server.create("def handler(e):\n    return 1\n")
    reply = server.fn("POST", f"/{ident}/{how}", data)
    assert (reply.status, reply.json["code"]) == (400, "INVALID_REQUEST"), reply
    assert reply.json["details"]["field"].startswith(field), reply
    assert server.fn("GET", f"/{ident}/invocations").json == {"invocations": []}


@pytest.mark.parametrize("raw", [b"[]", b"{", b"5", b'"x"', b'{"body":}', b"\xff",
                                 b'{"body": "YQ==",}', b'{"query": {"a": ["x"}}'])
def test_bodies_that_are_no_objects(server, raw):
    ident = server.create("def handler(e):\n    return 1\n")
    reply = server.request("POST", f"/api/v1/workspaces/ws-default/functions/{ident}/invoke", raw)
    assert (reply.status, reply.json["code"]) == (400, "INVALID_REQUEST"), reply


def test_escapes_in_the_request(server):
    ident = server.create(ECHO["python3.9"])
    raw = (b'{"met\\u0068od":"PUT","path":"\\/\\u00df","body":"YWI\\u003d",'
           b'"query":{"\\u0061":["\\ud83d\\ude80"]}}')
    reply = server.request("POST", f"/api/v1/workspaces/ws-default/functions/{ident}/invoke", raw)
    assert reply.status == 200, reply
    got = json.loads(unb64(reply.json["body"]))
    assert (got["method"], got["path"], got["body"], got["query"]) == ("PUT", "/ß", "ab",
                                                                      {"a": "🚀"})


# ---- handlers ----


@pytest.mark.parametrize("runtime,handler,code", [
    ("python3.9", "main.handler", "def handler(context):\n    return {'status': 200, 'body': 'ok'}"),
    ("python3.9", "main.handler", "def handler(event, context):\n    return 'ok'"),
    ("python3.9", "handler", "def handler(event):\n    return 'ok'"),
    ("python3.9", "other", "def other(event):\n    return 'ok'"),
    ("python3.9", "src/app.other", "def other(event):\n    return 'ok'"),
    ("python3.9", "main.handler", "async def handler(event):\n    import asyncio\n"
                                  "    await asyncio.sleep(0)\n    return 'ok'"),
    ("python3.9", "main.handler", "handler = lambda event: 'ok'"),
    ("python3.9", "main.handler", "class H:\n    def __call__(self, e): return 'ok'\nhandler = H()"),
    ("python3.9", "main.handler", "def handler(event, *rest, **more):\n    return 'ok'"),
    ("python3.9", "main.handler", "def handler(event, context=None):\n    return 'ok'"),
    ("nodejs18", "index.handler", "exports.handler = async (event) => 'ok';"),
    ("nodejs18", "index.handler", "module.exports = {handler: (event, context) => 'ok'};"),
    ("nodejs18", "index.handler", "module.exports = async () => 'ok';"),
    ("nodejs18", "handler", "exports.handler = () => 'ok';"),
    ("nodejs18", "index.other", "exports.other = () => 'ok';"),
    ("nodejs18", "index.handler", "async function handler(e) { return 'ok'; }"),
    ("nodejs18", "index.handler", "const handler = () => 'ok';"),
    ("nodejs18", "index.handler", "exports.handler = (e, c, done) => done(null, 'ok');"),
    ("nodejs18", "index.handler", "export const handler = async () => 'ok';"),
    ("nodejs18", "index.handler", "export default async () => 'ok';"),
    ("nodejs18", "index.handler", "exports.handler = () => new Promise(r => setTimeout(r, 5, 'ok'));"),
])
def test_handlers_as_they_are_written(server, runtime, handler, code):
    ident = server.create(code, runtime=runtime, handler=handler)
    assert server.result(ident) == b"ok"
    assert server.result(ident) == b"ok", "and warm"


def test_what_a_python_context_says(server):
    ident = server.create("""
def handler(event, context):
    return [context.function_name, context.function_version, context.workspace_id,
            context.invocation_id, 0 < context.get_remaining_time_in_millis() <= 7000]
""", name="me", timeout=7)
    reply = server.invoke(ident)
    assert json.loads(unb64(reply.json["body"])) == [
        "me", "v1", "ws-default", reply.json["invocation_id"], True]


def test_what_a_node_context_says(server):
    ident = server.create("""
exports.handler = async (event, context) => [context.functionName, context.functionVersion,
    context.workspaceId, context.invocationId,
    0 < context.getRemainingTimeInMillis() && context.getRemainingTimeInMillis() <= 7000];
""", name="me", runtime="nodejs18", timeout=7)
    reply = server.invoke(ident)
    assert json.loads(unb64(reply.json["body"])) == [
        "me", "v1", "ws-default", reply.json["invocation_id"], True]


# ---- results ----

JSON_KIND = ["application/json"]
TEXT_KIND = ["text/plain; charset=utf-8"]


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("value,status,kind,body", [
    ({"status": 200, "body": "Hello World"}, 200, TEXT_KIND, "Hello World"),
    ({"statusCode": 201, "body": {"a": [1]}}, 201, JSON_KIND, {"a": [1]}),
    ({"statusCode": "202", "body": "x"}, 202, TEXT_KIND, "x"),
    ({"statusCode": 200, "body": [1, 2]}, 200, JSON_KIND, [1, 2]),
    ({"statusCode": 200, "body": 5}, 200, JSON_KIND, 5),
    ({"statusCode": 200, "body": True}, 200, JSON_KIND, True),
    ({"statusCode": 404}, 404, None, b""),
    ({"statusCode": 200, "body": None}, 200, None, b""),
    ({"statusCode": 200, "body": ""}, 200, TEXT_KIND, ""),
    ({"statusCode": 503, "body": "mine"}, 503, TEXT_KIND, "mine"),
    ({"status": 204}, 204, None, b""),
    ({"message": "Hello"}, 200, JSON_KIND, {"message": "Hello"}),
    ({"status": "ok", "items": []}, 200, JSON_KIND, {"status": "ok", "items": []}),
    ({"status": 200, "items": []}, 200, JSON_KIND, {"status": 200, "items": []}),
    ({}, 200, JSON_KIND, {}), ([], 200, JSON_KIND, []), ([{"statusCode": 1}], 200, JSON_KIND,
                                                        [{"statusCode": 1}]),
    ("text ß🚀", 200, TEXT_KIND, "text ß🚀"), (5, 200, JSON_KIND, 5), (1.5, 200, JSON_KIND, 1.5),
    (True, 200, JSON_KIND, True), (None, 200, JSON_KIND, None), ("", 200, TEXT_KIND, ""),
    ({"body": "x"}, 200, JSON_KIND, {"body": "x"}),
    ({"statusCode": 200, "isBase64Encoded": True, "body": "AP8="}, 200, None, b"\x00\xff"),
    ({"statusCode": 200, "headers": {"content-type": "text/html"}, "body": "<p>"}, 200,
     ["text/html"], b"<p>"),
])
def test_results_in_every_form(server, runtime, value, status, kind, body):
    code = {"python3.9": "import json\ndef handler(e):\n    return json.loads({!r})".format(
                json.dumps(value)),
            "nodejs18": f"exports.handler = async () => ({json.dumps(value)});"}[runtime]
    ident = server.create(code, runtime=runtime)
    reply = server.invoke(ident)
    assert reply.status == 200, reply
    r = reply.json
    assert r["status_code"] == status
    headers = {k.lower(): v for k, v in r["headers"].items()}
    if kind != TEXT_KIND:
        assert headers.get("content-type") == kind
    raw = unb64(r["body"])
    if isinstance(body, bytes):
        assert raw == body
    elif kind == TEXT_KIND:
        assert raw.decode() == body
    else:
        assert json.loads(raw) == body


def test_results_only_python_has(server):
    ident = server.create("""
import collections, dataclasses, datetime, decimal, enum, uuid
def handler(event):
    which = event["body"]
    if which == "bytes": return b"\\x00\\xff"
    if which == "bytearray": return bytearray(b"ab")
    if which == "memoryview": return memoryview(b"cd")
    if which == "tuple": return (1, "2")
    if which == "ordered": return collections.OrderedDict(b=1, a=2)
    if which == "tuple of two": return ("body", 201)
    if which == "int keys": return {1: "a"}
    if which == "big": return 2 ** 70
    if which == "response": return {"statusCode": 200, "body": b"\\xfe", "headers": {"X-A": 5}}
""")
    for which, raw in [("bytes", b"\x00\xff"), ("bytearray", b"ab"), ("memoryview", b"cd")]:
        assert unb64(server.invoke(ident, which).json["body"]) == raw
    assert server.result(ident, "tuple") == [1, "2"]
    assert list(server.result(ident, "ordered").items()) == [("b", 1), ("a", 2)]
    assert server.result(ident, "int keys") == {"1": "a"}
    assert server.result(ident, "big") == 2 ** 70
    reply = server.invoke(ident, "response").json
    assert (unb64(reply["body"]), reply["headers"]["X-A"]) == (b"\xfe", ["5"])


def test_results_only_node_has(server):
    ident = server.create("""
exports.handler = async (event) => {
  switch (event.body) {
    case 'buffer': return Buffer.from([0, 255]);
    case 'array': return new Uint8Array([1, 2]);
    case 'undefined': return undefined;
    case 'date': return new Date(0);
    case 'nan': return {x: NaN};
    case 'response': return {statusCode: 200, body: Buffer.from([254]), headers: {'X-A': [1, 2]}};
  }
};
""", runtime="nodejs18")
    for which, raw in [("buffer", b"\x00\xff"), ("array", b"\x01\x02"), ("undefined", b"null")]:
        assert unb64(server.invoke(ident, which).json["body"]) == raw
    assert server.result(ident, "date") == "1970-01-01T00:00:00.000Z"
    assert server.result(ident, "nan") == {"x": None}
    reply = server.invoke(ident, "response").json
    assert (unb64(reply["body"]), reply["headers"]["X-A"]) == (b"\xfe", ["1", "2"])


@pytest.mark.parametrize("runtime,expression", [
    ("python3.9", "object()"), ("python3.9", "float('nan')"), ("python3.9", "{1, 2} and (x for x in [])"),
    ("python3.9", "'\\ud800'"), ("python3.9", "{'a': {'b': object()}}"),
    ("python3.9", "{'statusCode': 99}"), ("python3.9", "{'statusCode': 200, 'headers': 5}"),
    ("python3.9", "{'statusCode': 200, 'isBase64Encoded': True, 'body': '%'}"),
    ("nodejs18", "10n"), ("nodejs18", "(() => { const a = {}; a.a = a; return a; })()"),
    ("nodejs18", "({statusCode: 600})"), ("nodejs18", "({statusCode: 200, headers: 5})"),
    ("nodejs18", "() => 1")])
def test_what_cannot_be_encoded_is_the_functions_error(server, runtime, expression):
    code = {"python3.9": f"def handler(e):\n    return {expression}\n",
            "nodejs18": f"exports.handler = async () => {{ return {expression}; }};"}[runtime]
    ident = server.create(code, runtime=runtime)
    said = failed(server.invoke(ident), 500, "function")
    assert said["error"]
    failed(server.invoke(ident), 500, "function")


def test_a_result_that_holds_itself(server):
    ident = server.create("def handler(e):\n    a = []\n    a.append(a)\n    return a\n")
    failed(server.invoke(ident), 500, "function")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_headers_are_lists(server, runtime):
    value = {"statusCode": 200, "body": "", "headers": {"X-One": "1", "X-Two": ["a", "b"]}}
    code = {"python3.9": f"def handler(e):\n    return {value!r}\n",
            "nodejs18": f"exports.handler = () => ({json.dumps(value)});"}[runtime]
    headers = server.invoke(server.create(code, runtime=runtime)).json["headers"]
    assert (headers["X-One"], headers["X-Two"]) == (["1"], ["a", "b"])


# ---- failures ----


@pytest.mark.parametrize("runtime,code,name,text", [
    ("python3.9", "def handler(e):\n    raise ValueError('no such user')\n", "ValueError",
     "no such user"),
    ("python3.9", "class Mine(Exception): pass\nasync def handler(e):\n    raise Mine('ß')\n", "Mine",
     "ß"),
    ("python3.9", "def handler(e):\n    return 1 / 0\n", "ZeroDivisionError", "division"),
    ("python3.9", "def handler(e):\n    return handler(e)\n", "RecursionError", "recursion"),
    ("python3.9", "def handler(e):\n    raise KeyboardInterrupt()\n", "KeyboardInterrupt", ""),
    ("nodejs18", "exports.handler = async () => { throw new TypeError('no such user'); };",
     "TypeError", "no such user"),
    ("nodejs18", "exports.handler = () => { throw new Error('sync'); };", "Error", "sync"),
    ("nodejs18", "exports.handler = () => Promise.reject('a string');", "string", "a string"),
    ("nodejs18", "exports.handler = (e, c, done) => done(new RangeError('by callback'));",
     "RangeError", "by callback"),
    ("nodejs18", "exports.handler = () => new Promise(() => setTimeout(() => {"
                 " throw new Error('thrown later'); }, 5));", "Error", "thrown later"),
    ("nodejs18", "exports.handler = () => new Promise(() => { Promise.reject(new Error('lost')); });",
     "Error", "lost"),
])
def test_an_exception_is_told(server, runtime, code, name, text):
    ident = server.create(code, runtime=runtime)
    reply = server.invoke(ident)
    said = failed(reply, 500, "function")
    assert said["details"]["error_type"] == name
    assert text in said["error"]
    assert "Traceback" not in said["error"] and "    at " not in said["error"]
    failed(server.invoke(ident), 500, "function")
    run = server.fn("GET", f"/invocations/{said['details']['invocation_id']}").json
    assert (run["status"], run["error"]["cause"]) == ("failed", "function")
    assert text in run["error"]["message"]


@pytest.mark.parametrize("runtime,code", [
    ("python3.9", "def handler(e):\n    while True: pass\n"),
    ("python3.9", "import time\ndef handler(e):\n    time.sleep(60)\n"),
    ("python3.9", "import asyncio\nasync def handler(e):\n    await asyncio.sleep(60)\n"),
    ("nodejs18", "exports.handler = () => { for (;;); };"),
    ("nodejs18", "exports.handler = () => new Promise(() => {});"),
    ("nodejs18", "exports.handler = (e, c, done) => {};")])
def test_timeouts(server, runtime, code):
    ident = server.create(code, runtime=runtime, timeout=0.3)
    said = failed(server.invoke(ident), 504, "timeout")
    assert "0.3" in said["error"], "the limit is told"
    run = server.fn("GET", f"/invocations/{said['details']['invocation_id']}").json
    assert (run["status"], run["error"]["cause"]) == ("failed", "timeout")
    assert run["duration"] >= 300


@pytest.mark.parametrize("runtime,code,cause", [
    ("python3.9", "import sys\ndef handler(e):\n    if e['body'] == 'bad': sys.exit(3)\n"
                  "    return 'ok'\n", "function"),
    ("nodejs18", "exports.handler = (e) => e.body !== 'bad' ? 'ok' : new Promise(() => setTimeout("
                 "() => { throw new Error('later'); }, 1));", "function"),
    ("nodejs18", "exports.handler = async (e) => { if (e.body === 'bad') process.exit(3);"
                 " return 'ok'; };", "crash")])
def test_a_process_that_ends_takes_no_other_call_along(server, runtime, code, cause):
    ident = server.create(code, runtime=runtime, max_replicas=1)
    for _ in range(8):
        failed(server.invoke(ident, "bad"), 500, cause)
        assert server.result(ident, "good") == b"ok"


def test_a_failure_is_not_the_next_calls(server):
    ident = server.create("""
def handler(event):
    if event["body"] == "bad": raise ValueError("bad")
    return event["body"]
""")
    for _ in range(5):
        failed(server.invoke(ident, "bad"), 500, "function")
        assert server.result(ident, "good") == b"good"


# ---- records ----


def test_every_call_is_recorded(server):
    ident = server.create("def handler(e):\n    return {'status': 404, 'body': 'x'}\n")
    reply = server.invoke(ident).json
    record = server.fn("GET", f"/invocations/{reply['invocation_id']}").json
    assert record["workspace_id"] == "ws-default"
    assert (record["function_id"], record["version"], record["source"]) == (ident, "v1", "sync")
    assert (record["status"], record["status_code"]) == ("completed", 404)
    assert record["created_at"] <= record["started_at"] <= record["completed_at"]
    assert record["duration"] == reply["duration"]
    assert record["cold_start"] == reply["cold_start"]
    assert "error" not in record


def test_the_first_call_is_cold_and_the_next_is_warm(server):
    ident = server.create("def handler(e):\n    return 1\n", max_replicas=1)
    colds = [server.invoke(ident).json["cold_start"] for _ in range(4)]
    assert colds == [True, False, False, False]


def test_warm_state_is_kept_between_calls(server):
    for runtime, code in [
            ("python3.9", "n = 0\ndef handler(e):\n    global n\n    n += 1\n    return n\n"),
            ("nodejs18", "let n = 0;\nexports.handler = async () => ++n;")]:
        ident = server.create(code, name=runtime.replace(".", "-"), runtime=runtime, max_replicas=1)
        assert [server.result(ident) for _ in range(3)] == [1, 2, 3]


def test_invocations_newest_first_and_limited(server):
    ident = server.create("def handler(e):\n    return 1\n")
    runs = [server.invoke(ident).json["invocation_id"] for _ in range(55)]

    def listed(query=""):
        got = server.fn("GET", f"/{ident}/invocations{query}").json["invocations"]
        times = [i["created_at"] for i in got]
        assert times == sorted(times, reverse=True)
        return [i["invocation_id"] for i in got]

    assert listed("?limit=1000") == runs[::-1]
    assert len(listed()) == 50, "where nothing is said"
    assert runs[0] not in listed()
    assert len(listed("?limit=3")) == 3
    assert set(listed("?limit=3")) <= set(runs[-10:]), "the newest; ids know milliseconds"
    for bad in ("0", "-1", "1001", "x", "", "1.5", "9" * 30):
        reply = server.fn("GET", f"/{ident}/invocations?limit={bad}")
        assert (reply.status, reply.json["details"]["field"]) == (400, "limit"), bad


def test_only_its_own_invocations(server):
    mine = server.create("def handler(e):\n    return 1\n", name="mine")
    other = server.create("def handler(e):\n    return 1\n", name="other")
    server.invoke(other)
    run = server.invoke(mine).json["invocation_id"]
    got = server.fn("GET", f"/{mine}/invocations").json["invocations"]
    assert [i["invocation_id"] for i in got] == [run]
    assert "result" not in got[0]


@pytest.mark.parametrize("run", ["inv-00000000000000000000000000", "inv-", "nonsense", "inv-1",
                                 "inv-0000000000000000000000000U", "func-1"])
def test_unknown_invocations(server, run):
    reply = server.fn("GET", f"/invocations/{run}")
    assert (reply.status, reply.json["code"]) == (404, "INVOCATION_NOT_FOUND"), reply


def test_calls_at_once_are_told_apart(server):
    ident = server.create("import time\ndef handler(e):\n    time.sleep(0.02)\n    return e['body']\n")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda i: server.invoke(ident, f"call {i}").json, range(40)))
    assert [unb64(r["body"]).decode() for r in replies] == [f"call {i}" for i in range(40)]
    assert len({r["invocation_id"] for r in replies}) == 40


def test_no_function_no_call(server):
    for how in ("invoke", "invoke-async"):
        reply = server.fn("POST", f"/func-999999/{how}", {})
        assert (reply.status, reply.json["code"]) == (404, "FUNCTION_NOT_FOUND")


# ---- queued ----


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_async_completes_with_its_result(server, runtime):
    ident = server.create(ECHO[runtime], runtime=runtime)
    run = start_async(server, ident, '{"a": 1}', method="PUT", path="/later", query={"q": ["1"]},
                      headers={"X-A": ["b"]})
    got = ended(server, run)
    assert (got["invocation_id"], got["function_id"], got["workspace_id"]) == (run, ident,
                                                                              "ws-default")
    assert (got["status"], got["source"]) == ("completed", "async")
    assert got["created_at"] <= got["started_at"] <= got["completed_at"]
    assert got["result"]["status_code"] == 200
    assert json.loads(unb64(got["result"]["body"])) == {
        "method": "PUT", "path": "/later", "query": {"q": "1"}, "headers": {"x-a": "b"},
        "body": {"a": 1}}


def test_async_keeps_bytes_status_and_headers(server):
    ident = server.create("def handler(e):\n    return {'statusCode': 418, 'body': e['body'],"
                          " 'headers': {'X-Kept': 'yes'}}\n")
    sent = bytes(range(256)) * 100
    got = ended(server, start_async(server, ident, sent))
    assert got["result"]["status_code"] == 418
    assert unb64(got["result"]["body"]) == sent
    assert got["result"]["headers"]["X-Kept"] == ["yes"]


@pytest.mark.parametrize("returned", [
    "{'a': 1}", "'text'", "b'x'", "{'statusCode': 201, 'body': [1]}",
    "{'headers': {'content-type': 'application/x+json'}, 'body': {}}"])
def test_async_answers_what_a_call_that_is_waited_for_does(server, returned):
    ident = server.create(f"def handler(e):\n    return {returned}\n")
    now = server.invoke(ident).json
    later = ended(server, start_async(server, ident))["result"]
    assert later == {k: now[k] for k in ("status_code", "headers", "body")}


def test_async_that_fails_says_why(server):
    ident = server.create("def handler(e):\n    raise ValueError('late')\n")
    got = ended(server, start_async(server, ident))
    assert (got["status"], got["error"]["cause"]) == ("failed", "function")
    assert "late" in got["error"]["message"]
    assert "result" not in got


def test_async_that_times_out(server):
    ident = server.create("def handler(e):\n    while True: pass\n", timeout=0.2)
    got = ended(server, start_async(server, ident))
    assert (got["status"], got["error"]["cause"]) == ("failed", "timeout")


def test_async_before_it_ends(server):
    ident = server.create("import time\ndef handler(e):\n    time.sleep(2)\n    return 1\n",
                          max_replicas=1)
    runs = [start_async(server, ident) for _ in range(2)]

    def running():
        got = server.fn("GET", f"/invocations/{runs[0]}").json
        return got if got["status"] == "running" else None

    first = wait_for("it runs", running)
    assert "completed_at" not in first and "result" not in first
    listed = server.fn("GET", f"/{ident}/invocations").json["invocations"]
    assert {i["invocation_id"] for i in listed} == set(runs)
    assert {i["status"] for i in listed} <= {"pending", "running", "completed"}
    assert [ended(server, run)["status"] for run in runs] == ["completed"] * 2


def test_many_async_calls_all_run_once(server):
    ident = server.create("def handler(e):\n    print('ran', e['body'])\n    return e['body']\n")
    runs = {start_async(server, ident, f"job {i}"): f"job {i}" for i in range(60)}
    for run, body in runs.items():
        assert unb64(ended(server, run)["result"]["body"]).decode() == body
    said = [line["message"] for line in server.logs(ident, limit=1000)]
    assert sorted(said) == sorted(f"ran {b}" for b in runs.values())
    assert server.fn("GET", f"/{ident}/metrics").json["invocations"] == 60


def test_async_of_what_did_not_build(server):
    reply = server.fn("POST", "", {"name": "f", "runtime": "python3.9", "source_code": b64("(")})
    got = server.fn("POST", f"/{reply.json['id']}/invoke-async", {})
    assert (got.status, got.json["code"]) == (409, "BUILD_FAILED"), got


def test_async_of_a_deleted_function_does_not_run(server):
    ident = server.create("import time\ndef handler(e):\n    time.sleep(0.2)\n    return 1\n",
                          max_replicas=1)
    runs = [start_async(server, ident) for _ in range(5)]
    assert server.fn("DELETE", f"/{ident}").status == 204
    assert server.fn("GET", f"/invocations/{runs[-1]}").status == 404


def test_base64_is_what_rfc_4648_says(server):
    ident = server.create(BODY_BACK["python3.9"])
    for n in range(1, 8):
        sent = bytes(range(250, 250 + min(n, 6))) + b"x" * (n - min(n, 6))
        reply = server.fn("POST", f"/{ident}/invoke", {
            "body": base64.b64encode(sent).decode(),
            "headers": {"Content-Type": ["application/octet-stream"]}})
        assert base64.b64decode(reply.json["body"], validate=True) == sent
