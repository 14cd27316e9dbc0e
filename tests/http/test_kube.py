# SPDX-License-Identifier: Apache-2.0
"""The kube API: document 001."""

import concurrent.futures
import json

import pytest
from harness import b64, wait_for

PY = "def handler(event):\n    return {'statusCode': 200, 'body': event['body']}\n"
JS = ("module.exports.handler = async (event) => { return { statusCode: 200, body: 'Hello!' }; };")
ECHO = {"python39": "def handler(event):\n    return dict(event)\n",
        "nodejs18": "exports.handler = async (event) => ({...event});"}
RUNTIMES = ["python39", "nodejs18"]


def data(**more):
    d = {"name": "f", "runtime": "python39", "handler": "handler", "code": PY}
    d.update(more)
    return {k: v for k, v in d.items() if v is not ...}


def make(server, **more):
    d = data(**more)
    reply = server.kube("POST", "", d)
    assert reply.status == 201, reply
    built = server.wait_build(d["name"])
    assert built.json["status"]["state"] == "running", built
    return d["name"]


def call(server, name, value=..., **more):
    return server.kube("POST", f"/{name}/invoke", None if value is ... else value, **more)


def refused(reply, status=400):
    assert reply.status == status, reply
    assert list(reply.json) == ["error"] and reply.json["error"], reply
    return reply


# ---- list, create, get ----


def test_list_is_an_array(server):
    assert server.kube("GET", "").json == []
    make(server, name="one")
    make(server, name="two", minReplicas=0, maxReplicas=3)
    got = server.kube("GET", "").json
    assert [f["name"] for f in got] == ["two", "one"]
    for f in got:
        assert set(f) == {"name", "runtime", "handler", "minReplicas", "maxReplicas", "status"}
    assert (got[0]["minReplicas"], got[0]["maxReplicas"]) == (0, 3)
    assert (got[1]["minReplicas"], got[1]["maxReplicas"]) == (0, 10), "the defaults"
    assert got[0]["status"]["state"] == "running"
    assert got[0]["status"]["lastDeployment"]


def test_create_as_the_document_says(server):
    reply = server.kube("POST", "", {
        "name": "my-function", "runtime": "nodejs18", "handler": "index.handler", "code": JS,
        "environment": {"VAR1": "value1"}, "minReplicas": 0, "maxReplicas": 10,
        "triggers": [{"type": "http", "config": {"path": "/my-function"}}]})
    assert reply.status == 201, reply
    assert reply.json == {"name": "my-function", "runtime": "nodejs18", "handler": "index.handler",
                          "status": {"state": "deploying"}}
    server.wait_build("my-function")
    assert call(server, "my-function", {}).json == {"statusCode": 200, "body": "Hello!"}
    for method in ("GET", "POST"):
        assert server.gateway(method, "/my-function").body == b"Hello!"


def test_get_as_the_document_says(server):
    make(server, name="my-function", runtime="nodejs18", handler="index.handler", code=JS,
         environment={"SECRET": "swordfish"},
         triggers=[{"type": "http", "config": {"path": "/p"}}])
    reply = server.kube("GET", "/my-function")
    assert reply.status == 200, reply
    f = reply.json
    assert (f["name"], f["runtime"], f["handler"], f["code"]) == (
        "my-function", "nodejs18", "index.handler", JS)
    assert f["environment"] == {"SECRET": "***"}
    assert f["triggers"] == [{"type": "http", "config": {"path": "/p", "method": "ANY"}}]
    assert f["status"]["state"] == "running"
    assert f["status"]["replicas"] >= 0
    assert f["status"]["endpoint"] == f"http://{server.host}:{server.gateway_port}/p"
    assert "codeIsBase64" not in f


def test_the_endpoint_can_be_called(server):
    make(server)
    url = server.kube("GET", "/f").json["status"]["endpoint"]
    assert url.startswith(server.url)
    reply = server.call("POST", url.removeprefix(server.url), {"a": 1})
    assert reply.json == {"statusCode": 200, "body": {"a": 1}}


def test_a_call_right_after_create_waits_for_the_build(server):
    assert server.kube("POST", "", data(name="quick")).status == 201
    assert call(server, "quick", {"a": 1}).json == {"statusCode": 200, "body": {"a": 1}}


def test_replicas_are_counted_and_kept_warm(server):
    make(server, minReplicas=2, maxReplicas=3)
    wait_for("two are warm", lambda: server.kube("GET", "/f").json["status"]["replicas"] == 2)
    reply = call(server, "f", 1)
    assert reply.headers["X-Cold-Start"] == "false", "it was warm"
    assert server.kube("PUT", "/f", data(name=..., minReplicas=0)).status == 200


@pytest.mark.parametrize("field,value", [
    ("name", ...), ("name", None), ("name", ""), ("name", 5), ("name", "a b"), ("name", "../x"),
    ("name", "n" * 64), ("runtime", ...), ("runtime", None), ("runtime", "cobol"), ("runtime", 5),
    ("code", ...), ("code", ""), ("code", None), ("code", 5), ("code", ["x"]), ("handler", 5),
    ("handler", "a b"), ("handler", ""), ("environment", []), ("environment", {"A": 1}),
    ("environment", {"A=B": "x"}), ("minReplicas", "1"), ("minReplicas", -1), ("minReplicas", 1.5),
    ("minReplicas", 11), ("maxReplicas", 0), ("maxReplicas", True), ("maxReplicas", 10**6),
    ("triggers", {}), ("triggers", "x"), ("triggers", [5]), ("triggers", [{}]),
    ("triggers", [{"type": "pigeon"}]), ("triggers", [{"type": 5}]),
    ("triggers", [{"type": "http", "config": 5}]),
    ("triggers", [{"type": "http", "config": {"path": "no-slash"}}]),
    ("triggers", [{"type": "http", "config": {"path": 5}}]),
    ("triggers", [{"type": "cron", "config": {"schedule": "*/5 * * *"}}]),
    ("triggers", [{"type": "cron", "config": {"cron": "*/5 * * * *"}}]),
    ("triggers", [{"type": "queue", "config": {"queue": "q"}}]),
    ("timeout", "5"), ("timeout", 0), ("memory", "much"), ("memory", 5), ("cpu", "fast"),
])
def test_wrong_fields_are_named(server, field, value):
    reply = refused(server.kube("POST", "", data(**{field: value})))
    word = {"triggers": ("triggers", "type", "config", "path")}.get(field, (field,))
    assert any(w in reply.json["error"] for w in word), reply
    assert server.kube("GET", "").json == []


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b"5", b"\xff", b"{}x", b"[" * 5000])
def test_malformed_bodies(server, raw):
    reply = server.request("POST", "/api/v1/functions", raw)
    refused(reply)
    assert reply.json["error"].startswith("Invalid request body")


def test_handler_is_optional(server):
    make(server, handler=...)
    assert server.kube("GET", "/f").json["handler"] == "handler"
    assert call(server, "f", 5).json["body"] == 5


@pytest.mark.parametrize("runtime,handler,code", [
    ("nodejs18", "index.handler", "exports.handler = async () => 'ok';"),
    ("nodejs18", "a.b.mine", "exports.mine = async () => 'ok';"),
    ("nodejs18", "mine", "exports.mine = async () => 'ok';"),
    ("nodejs18", "nothing.here", "exports.handler = async () => 'ok';"),
    ("nodejs18", "index.handler", "module.exports = async () => 'ok';"),
    ("python39", "handler.handler", "def handler(e): return 'ok'"),
    ("python39", "mine", "def mine(e): return 'ok'"),
    ("python39", "app.mine", "def mine(e): return 'ok'"),
    ("python39", "nothing", "def handler(e): return 'ok'")])
def test_handlers(server, runtime, handler, code):
    make(server, runtime=runtime, handler=handler, code=code)
    assert call(server, "f").json == {"statusCode": 200, "body": "ok"}


def test_a_name_is_taken_once(server):
    make(server)
    refused(server.kube("POST", "", data(code="def handler(e): return 'second'")), 409)
    assert server.kube("GET", "/f").json["code"] == PY
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        statuses = sorted(r.status for r in pool.map(
            lambda _: server.kube("POST", "", data(name="race")), range(6)))
    assert statuses == [201] + [409] * 5
    server.wait_build("race")


@pytest.mark.parametrize("name", ["missing", "a%20b", "%2e%2e%2f", "f" * 300, "func-1"])
def test_unknown_functions(server, name):
    for method, path, body in [("GET", "", None), ("PUT", "", data()), ("DELETE", "", None),
                               ("POST", "/invoke", {}), ("GET", "/metrics", None)]:
        reply = refused(server.kube(method, f"/{name}{path}", body), 404)
        assert reply.json == {"error": "Function not found"}


def test_a_name_that_no_path_can_have(server):
    for name in ("%00", "%zz", "%ff"):
        assert refused(server.kube("GET", f"/{name}"), 400)


def test_a_build_that_fails(server):
    assert server.kube("POST", "", data(code="def handler(e:\n")).status == 201
    assert server.wait_build("f").json["status"]["state"] == "error"
    refused(call(server, "f", {}), 409)
    assert server.kube("PUT", "/f", data(name=...)).status == 200
    assert server.wait_build("f").json["status"]["state"] == "running"
    assert call(server, "f", 1).json["body"] == 1


# ---- update and delete ----


def test_put_replaces_as_a_whole_and_keeps_the_name(server):
    make(server, environment={"A": "1", "B": "2"}, maxReplicas=3,
         triggers=[{"type": "http", "config": {"path": "/old"}}])
    code = "import os\ndef handler(e): return [os.environ.get('A'), os.environ.get('B')]"
    reply = server.kube("PUT", "/f", {"name": "other", "runtime": "python39", "code": code,
                                      "handler": "handler",
                                      "environment": {"A": "***"},
                                      "triggers": [{"type": "http", "config": {"path": "/new"}}]})
    assert reply.status == 200, reply
    assert reply.json["name"] == "f"
    server.wait_build("f")
    wait_for("the new code serves", lambda: call(server, "f").json["body"] == ["1", None])
    f = server.kube("GET", "/f").json
    assert (f["code"], f["maxReplicas"], f["environment"]) == (code, 10, {"A": "***"})
    assert server.gateway("GET", "/new").status == 200
    assert server.gateway("GET", "/old").status == 404
    assert server.kube("GET", "/other").status == 404


def test_put_may_change_the_runtime(server):
    make(server)
    assert server.kube("PUT", "/f", data(runtime="nodejs18", code=JS,
                                         handler="index.handler")).status == 200
    wait_for("node serves", lambda: call(server, "f", 1).json.get("body") == "Hello!")
    assert server.kube("GET", "/f").json["runtime"] == "nodejs18"


def test_put_that_does_not_build_leaves_the_old_code_serving(server):
    make(server, code="def handler(e): return 'old'")
    assert server.kube("PUT", "/f", data(code="def handler(e:")).status == 200
    ident = server.fn("GET", "?project_id=proj-default").json["functions"][0]["id"]
    wait_for("the build is over", lambda: server.fn("GET", f"/{ident}/versions").json["versions"][
        0]["build_status"] == "failed")
    assert call(server, "f").json == {"statusCode": 200, "body": "old"}


@pytest.mark.parametrize("field,value", [("runtime", "cobol"), ("code", ""), ("code", 5),
                                         ("environment", {"A": 5}), ("maxReplicas", 0),
                                         ("triggers", [{"type": "http", "config": {"path": "x"}}]),
                                         ("runtime", ...), ("code", ...)])
def test_bad_puts_change_nothing(server, field, value):
    make(server, environment={"A": "1"})
    before = server.kube("GET", "/f").json
    refused(server.kube("PUT", "/f", data(**{field: value})))
    after = server.kube("GET", "/f").json
    before["status"].pop("replicas"), after["status"].pop("replicas")
    assert after == before


def test_delete(server):
    make(server, triggers=[{"type": "http", "config": {"path": "/gone"}}])
    reply = server.kube("DELETE", "/f")
    assert (reply.status, reply.body) == (204, b"")
    refused(server.kube("GET", "/f"), 404)
    refused(server.kube("DELETE", "/f"), 404)
    assert server.gateway("GET", "/gone").status == 404
    make(server, code="def handler(e): return 'again'")
    assert call(server, "f").json["body"] == "again"


# ---- invoke ----


def test_invoke_as_the_document_says(server):
    make(server, code="def handler(e):\n    return {'statusCode': 200, 'body':"
                      " {'message': 'Function executed successfully', 'result': e['body']}}\n")
    reply = call(server, "f", {"key": "value", "data": [1, 2, 3]})
    assert reply.status == 200, reply
    assert reply.json == {"statusCode": 200, "body": {
        "message": "Function executed successfully",
        "result": {"key": "value", "data": [1, 2, 3]}}}
    assert float(reply.headers["X-Function-Duration"]) >= 0
    assert reply.headers["X-Cold-Start"] == "true"
    assert reply.headers["X-Kiln-Invocation-Id"].startswith("inv-")
    assert call(server, "f", {}).headers["X-Cold-Start"] == "false"


def test_duration_is_seconds(server):
    make(server, code="import time\ndef handler(e):\n    time.sleep(0.2)\n")
    seconds = float(call(server, "f").headers["X-Function-Duration"])
    assert 0.19 <= seconds < 30


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_event(server, runtime):
    make(server, runtime=runtime, code=ECHO[runtime])
    reply = server.kube("POST", "/f/invoke?a=1&b=x%20y&b=2", {"data": "test"}, headers={
        "X-Custom": "Value", "Cookie": "a=1"})
    event = reply.json["body"]
    assert set(event) == {"body", "headers", "method", "path", "query"}
    assert (event["method"], event["path"], event["body"]) == ("POST", "/invoke", {"data": "test"})
    assert event["query"] == {"a": "1", "b": ["x y", "2"]}
    assert event["headers"]["x-custom"] == "Value"
    assert event["headers"]["content-type"] == "application/json"
    assert "authorization" not in event["headers"], "the platform's token is not the function's"
    assert server.token.encode() not in reply.body


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("value", [
    {}, [], [1, 2, 3], {"a": {"b": [None, True, 1.5]}}, "text", "", 5, 0, -1.5, True, False, None,
    "Grüße 🚀 \" \\ \n \u2028", {"__proto__": 1}, {"": ""}, [[[[]]]], 2**53, "x" * 100_000,
    {f"k{i}": i for i in range(1000)}])
def test_any_json_arrives_and_returns(server, runtime, value):
    code = {"python39": "def handler(e): return {'statusCode': 200, 'body': e['body']}",
            "nodejs18": "exports.handler = async (e) => ({statusCode: 200, body: e.body});"}
    make(server, runtime=runtime, code=code[runtime])
    reply = call(server, "f", value)
    assert reply.status == 200, reply
    assert reply.json == {"statusCode": 200, "body": value}


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("headers", [{}, {"Content-Type": "application/json"},
                                     {"Content-Type": "text/plain"}])
def test_an_empty_body(server, runtime, headers):
    make(server, runtime=runtime, code=ECHO[runtime])
    reply = server.kube("POST", "/f/invoke", headers=headers)
    assert reply.status == 200, reply
    assert reply.json["body"]["body"] in (None, {}), "nothing, not an error"


def test_json_whatever_the_content_type(server):
    """axios, requests and curl -d all send JSON here, some with another Content-Type."""
    make(server)
    for kind in ("application/json", "text/plain", "application/x-www-form-urlencoded", None):
        headers = {"Content-Type": kind} if kind else {}
        reply = server.request("POST", "/api/v1/functions/f/invoke", b'{"a": [1]}', headers)
        assert reply.json == {"statusCode": 200, "body": {"a": [1]}}, kind


@pytest.mark.parametrize("raw", [b"{", b"{'a': 1}", b"[1,]", b"nope", b"{} {}", b"\xff", b"01",
                                 b"NaN", b'"\x01"', b'{"a":1}\x00'])
def test_a_body_that_is_not_json(server, raw):
    make(server)
    reply = refused(server.request("POST", "/api/v1/functions/f/invoke", raw))
    assert reply.json["error"].startswith("Invalid request body")
    assert server.kube("GET", "/f/metrics").json["invocations"] == 0


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("value,status,body", [
    ({"statusCode": 404, "body": "no"}, 404, "no"), ({"statusCode": 500, "body": {"e": 1}}, 500,
                                                     {"e": 1}),
    ({"message": "Hello World"}, 200, {"message": "Hello World"}), ([1], 200, [1]),
    ("text", 200, "text"), (5, 200, 5), (None, 200, None), (False, 200, False),
    ({"statusCode": 204}, 204, None), ({"status": 201, "body": "x"}, 201, "x"),
    ({"statusCode": 200, "body": '{"a": 1}'}, 200, '{"a": 1}')])
def test_the_wrapper(server, runtime, value, status, body):
    code = {"python39": f"def handler(e): return {value!r}",
            "nodejs18": f"exports.handler = () => ({json.dumps(value)});"}[runtime]
    make(server, runtime=runtime, code=code)
    reply = call(server, "f")
    assert reply.status == 200, "whatever the function said"
    assert reply.json == {"statusCode": status, "body": body}


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_headers_and_bytes_in_the_wrapper(server, runtime):
    value = {"statusCode": 200, "headers": {"X-A": "1", "X-B": ["2", "3"]},
             "isBase64Encoded": True, "body": "AP8="}
    code = {"python39": f"def handler(e): return {value!r}",
            "nodejs18": f"exports.handler = () => ({json.dumps(value)});"}[runtime]
    make(server, runtime=runtime, code=code)
    assert call(server, "f").json == {"statusCode": 200, "headers": {"X-A": "1", "X-B": ["2", "3"]},
                                      "body": "AP8=", "isBase64Encoded": True}


@pytest.mark.parametrize("runtime,code,text", [
    ("python39", "def handler(e): raise ValueError('inside')", "inside"),
    ("nodejs18", "exports.handler = async () => { throw new Error('inside'); };", "inside"),
    ("python39", "def handler(e): return object()", "object"),
    ("python39", "def handler(e): return {'statusCode': 9999}", "statusCode")])
def test_a_function_that_throws(server, runtime, code, text):
    make(server, runtime=runtime, code=code)
    reply = refused(call(server, "f", {}), 500)
    assert text in reply.json["error"]
    assert reply.headers["X-Kiln-Error"] == "function"
    assert reply.headers["X-Kiln-Invocation-Id"].startswith("inv-")


def test_a_timeout(server):
    make(server, code="def handler(e):\n    while True: pass\n", timeout=0.2)
    reply = refused(call(server, "f", {}), 504)
    assert reply.headers["X-Kiln-Error"] == "timeout"


def test_environment_of_the_document(server):
    make(server, name="me", handler="main.handler", environment={"VAR1": "value1"},
         code="import os\ndef handler(e): return [os.environ[k] for k in"
              " ('FUNCTION_NAME', 'FUNCTION_HANDLER', 'RUNTIME', 'VAR1')]")
    assert call(server, "me").json["body"] == ["me", "main.handler", "python39", "value1"]


# ---- metrics, health, CORS, paths ----


def test_metrics(server):
    make(server, code="def handler(e):\n    if e['body'] == 'bad': raise ValueError('x')\n")
    zero = server.kube("GET", "/f/metrics").json
    assert zero == {"invocations": 0, "coldStarts": 0, "avgDuration": 0, "errorRate": 0,
                    "costEstimate": 0}
    for value in ("good", "bad", "good", "good"):
        call(server, "f", value)
    m = server.kube("GET", "/f/metrics").json
    assert (m["invocations"], m["errorRate"]) == (4, 0.25)
    assert 1 <= m["coldStarts"] <= 4
    assert 0 < m["avgDuration"] < 30, "seconds"
    assert m["costEstimate"] > 0


def test_health_and_ready_need_no_token(server):
    for path in ("/health", "/api/v1/health", "/health/", "/api/v1/health/"):
        reply = server.call("GET", path, token=None)
        assert (reply.status, reply.json) == (200, {"status": "healthy"})
    for path in ("/ready", "/api/v1/ready"):
        reply = server.call("GET", path, token=None)
        assert (reply.status, reply.json) == (200, {"status": "ready"})


def test_cors_on_everything(server):
    make(server)
    origin = {"Origin": "https://app.example"}
    for method, path, body, token in [
            ("GET", "", None, True), ("GET", "/missing", None, True), ("POST", "", {}, True),
            ("POST", "/f/invoke", {}, True), ("GET", "", None, None), ("PATCH", "/f", None, True),
            ("DELETE", "/missing", None, True)]:
        reply = server.kube(method, path, body, headers=origin, token=token, check=False)
        assert reply.headers["Access-Control-Allow-Origin"] == "*", (method, path, reply)
    assert server.call("GET", "/api/v1/health", token=None,
                       headers=origin).headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize("path,methods", [
    ("", {"GET", "POST"}), ("/f", {"GET", "PUT", "DELETE"}), ("/f/invoke", {"POST"}),
    ("/f/metrics", {"GET"}), ("/nothing/at/all", set())])
def test_preflight(server, path, methods):
    reply = server.kube("OPTIONS", path, token=None, headers={
        "Origin": "https://app.example", "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-type"}, check=False)
    assert reply.status == 200, reply
    assert reply.headers["Access-Control-Allow-Origin"] == "*"
    allowed = reply.headers["Access-Control-Allow-Headers"].lower()
    assert "authorization" in allowed and "content-type" in allowed or allowed == "*"
    said = {m.strip() for m in reply.headers["Access-Control-Allow-Methods"].split(",")}
    assert methods <= said, reply.headers
    assert "Access-Control-Allow-Credentials" not in reply.headers, "never with a star"


def test_preflight_of_health(server):
    assert server.call("OPTIONS", "/api/v1/health", token=None, check=False).status == 200


def test_unknown_paths_and_methods(server):
    make(server)
    refused(server.kube("GET", "/f/nothing", check=False), 404)
    refused(server.call("GET", "/api/v1/nothing", check=False), 404)
    for method, path, allowed in [("PATCH", "/f", "PUT"), ("GET", "/f/invoke", "POST"),
                                  ("DELETE", "", "GET"), ("POST", "/f/metrics", "GET")]:
        reply = refused(server.kube(method, path, check=False), 405)
        assert allowed in reply.headers["Allow"]


def test_trailing_slashes(server):
    assert server.kube("POST", "/", data()).status == 201
    server.wait_build("f")
    assert len(server.kube("GET", "/").json) == 1
    assert server.kube("GET", "/f/").status == 200
    assert server.kube("POST", "/f/invoke/", 5).json["body"] == 5
    assert server.kube("GET", "/f/metrics/").json["invocations"] == 1
    assert server.kube("PUT", "/f/", data()).status == 200
    assert server.kube("DELETE", "/f/").status == 204


def test_every_path_needs_a_token(server):
    make(server)
    for method, path in [("GET", ""), ("POST", ""), ("GET", "/f"), ("PUT", "/f"), ("DELETE", "/f"),
                         ("POST", "/f/invoke"), ("GET", "/f/metrics")]:
        for headers in ({}, {"Authorization": "Bearer nonsense"}):
            reply = refused(server.kube(method, path, token=None, headers=headers), 401)
            assert reply.headers["WWW-Authenticate"].startswith("Bearer")
    assert server.kube("GET", "/f").status == 200


# ---- one set of functions ----


def test_made_here_seen_by_fnservice(server):
    make(server, name="made-here", environment={"A": "1"})
    (f,) = server.fn("GET", "?project_id=proj-default").json["functions"]
    assert (f["name"], f["runtime"], f["status"]) == ("made-here", "python39", "ready")
    whole = server.fn("GET", f"/{f['id']}").json
    assert (whole["handler"], whole["environment"]) == ("handler", {"A": "***"})
    assert server.result(f["id"], {"a": 1}) == {"a": 1}
    call(server, "made-here", 1)
    assert server.fn("GET", f"/{f['id']}/metrics").json["invocations"] == 2
    assert server.kube("GET", "/made-here/metrics").json["invocations"] == 2
    assert server.fn("DELETE", f"/{f['id']}").status == 204
    assert server.kube("GET", "").json == []


def test_made_by_fnservice_seen_here(server):
    ident = server.create(PY, name="made-there")
    f = server.kube("GET", "/made-there").json
    assert (f["code"], f["runtime"], f["handler"]) == (PY, "python3.9", "main.handler")
    assert call(server, "made-there", [1]).json == {"statusCode": 200, "body": [1]}
    server.fn("POST", f"/{ident}/versions", {"source_code": b64("def handler(e): return 'v2'")})
    assert server.fn("PUT", f"/{ident}/versions/2/active").status == 200
    assert call(server, "made-there", 1).json["body"] == "v2"
    assert server.kube("GET", "/made-there").json["code"] == "def handler(e): return 'v2'"
    assert server.kube("DELETE", "/made-there").status == 204
    assert server.fn("GET", f"/{ident}").status == 404


def test_other_projects_and_workspaces_are_not_seen_here(server):
    server.create(PY, name="elsewhere", project_id="other")
    reply = server.fn("POST", "", {"name": "far", "runtime": "python3.9", "source_code": b64(PY)},
                      ws="ws-other")
    assert reply.status == 201
    assert server.kube("GET", "").json == []
    for name in ("elsewhere", "far"):
        refused(call(server, name, {}), 404)


def test_an_archive_made_there_is_shown_as_base64_here(server):
    import io
    import tarfile
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as t:
        for name, text in (("main.py", PY.encode()), ("x.bin", b"\xff\xfe")):
            info = tarfile.TarInfo(name)
            info.size = len(text)
            t.addfile(info, io.BytesIO(text))
    server.create(out.getvalue(), name="packed")
    f = server.kube("GET", "/packed").json
    assert f["codeIsBase64"] is True
    assert f["code"] == b64(out.getvalue())
