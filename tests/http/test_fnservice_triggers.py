# SPDX-License-Identifier: Apache-2.0
"""fnservice: http triggers, and the gateway that they listen on."""

import concurrent.futures
import json

import pytest
from harness import wait_for

ECHO = """
import base64
def handler(event):
    body = event["body"]
    raw = event.raw_body or b""
    return {"method": event["method"], "path": event["path"], "headers": event["headers"],
            "query": event["query"], "body": body if not isinstance(body, bytes) else None,
            "raw": base64.b64encode(raw).decode()}
"""
REPLY = """
def handler(event):
    return event["body"]
"""


def trigger(server, ident, name="t", **config):
    reply = server.fn("POST", f"/{ident}/triggers", {"name": name, "type": "http",
                                                     "config": config})
    assert reply.status == 201, reply
    return reply.json


def refused(reply, field=None, status=400, code="INVALID_REQUEST"):
    assert (reply.status, reply.json["code"]) == (status, code), reply
    if field:
        assert reply.json["details"]["field"] == field, reply


# ---- the trigger itself ----


def test_create_answers_as_the_document_says(server):
    ident = server.create(ECHO)
    reply = server.fn("POST", f"/{ident}/triggers", {
        "name": "http-trigger", "type": "http", "enabled": True,
        "config": {"method": "GET", "path": "/api/hello"}})
    assert reply.status == 201, reply
    t = reply.json
    assert t.pop("id").startswith("trg-")
    assert t.pop("created_at") == t.pop("updated_at")
    assert t == {"workspace_id": "ws-default", "function_id": ident, "name": "http-trigger",
                 "type": "http", "enabled": True, "config": {"method": "GET", "path": "/api/hello"}}
    got = server.gateway("GET", "/api/hello")
    assert (got.status, got.json["method"], got.json["path"]) == (200, "GET", "/api/hello"), got


def test_defaults(server):
    ident = server.create(ECHO, name="my-function")
    reply = server.fn("POST", f"/{ident}/triggers", {"name": "t", "type": "http"})
    assert reply.json["enabled"] is True
    assert reply.json["config"] == {"method": "GET", "path": "/my-function"}
    assert server.gateway("GET", "/my-function").status == 200
    assert server.gateway("POST", "/my-function", b"x").status == 405


def test_list_is_newest_first(server):
    ident = server.create(ECHO)
    assert server.fn("GET", f"/{ident}/triggers").json == {"triggers": []}
    for name in ("one", "two", "three"):
        trigger(server, ident, name, path=f"/{name}")
    got = server.fn("GET", f"/{ident}/triggers").json["triggers"]
    assert [t["name"] for t in got] == ["three", "two", "one"]


def test_a_name_is_taken_once_a_function(server):
    ident = server.create(ECHO)
    other = server.create(ECHO, name="other")
    trigger(server, ident, "t", path="/a")
    refused(server.fn("POST", f"/{ident}/triggers", {"name": "t", "type": "http",
                                                     "config": {"path": "/b"}}), None, 409, "CONFLICT")
    assert server.gateway("GET", "/b").status == 404
    trigger(server, other, "t", path="/c")


def test_a_path_belongs_to_one_function(server):
    """Two at one path and method: refused, so that no function takes another's visitors."""
    mine = server.create(ECHO, name="mine")
    other = server.create("def handler(e):\n    return 'other'\n", name="other")
    trigger(server, mine, "t", path="/same")
    reply = server.fn("POST", f"/{other}/triggers", {"name": "t", "type": "http",
                                                     "config": {"path": "/same"}})
    refused(reply, None, 409, "CONFLICT")
    assert server.gateway("GET", "/same").json["path"] == "/same"
    trigger(server, other, "p", path="/same", method="POST")
    assert server.gateway("POST", "/same", b"").body == b"other"


def test_a_race_for_a_path_is_won_by_the_oldest(server):
    """At the same moment several may be made; the one with the lowest id serves, always."""
    def make(name):
        ident = server.create(f"def handler(e):\n    return {name!r}\n", name=name)
        return ident, name

    made = [make(f"f{i}") for i in range(4)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        replies = list(pool.map(lambda m: (m[1], server.fn("POST", f"/{m[0]}/triggers", {
            "name": "t", "type": "http", "config": {"path": "/race"}})), made))
    assert {r.status for _, r in replies} <= {201, 409}
    winner = min((int(r.json["id"].removeprefix("trg-")), name)
                 for name, r in replies if r.status == 201)[1]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert {r.body for r in pool.map(lambda _: server.gateway("GET", "/race"), range(12))} == {
            winner.encode()}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_methods(server, method):
    ident = server.create(ECHO)
    assert trigger(server, ident, path="/m", method=method.lower())["config"]["method"] == method
    assert server.gateway(method, "/m").json["method"] == method
    for other in ("GET", "POST", "PUT", "DELETE"):
        if other != method:
            assert server.gateway(other, "/m").status == 405, other


@pytest.mark.parametrize("any_method", ["ANY", "*"])
def test_any_method(server, any_method):
    ident = server.create(ECHO)
    trigger(server, ident, path="/any", method=any_method)
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        assert server.gateway(method, "/any").json["method"] == method
    head = server.gateway("HEAD", "/any")
    assert (head.status, head.body) == (200, b"")


def test_a_method_of_its_own_before_any(server):
    general = server.create("def handler(e):\n    return 'any'\n", name="general")
    special = server.create("def handler(e):\n    return 'post'\n", name="special")
    trigger(server, general, path="/x", method="ANY")
    reply = server.fn("POST", f"/{special}/triggers", {
        "name": "t", "type": "http", "config": {"path": "/x", "method": "POST"}})
    assert server.gateway("GET", "/x").body == b"any"
    assert reply.status == 201, reply
    assert server.gateway("POST", "/x", b"").body == b"post"
    assert server.gateway("PUT", "/x", b"").body == b"any"


@pytest.mark.parametrize("config,field", [
    ({"method": "FETCH"}, "config.method"), ({"method": ""}, "config.method"),
    ({"method": "GET POST"}, "config.method"), ({"path": ""}, "config.path"),
    ({"path": "no-slash"}, "config.path"), ({"path": "/a b"}, "config.path"),
    ({"path": "/a?b"}, "config.path"), ({"path": "/a#b"}, "config.path"),
    ({"path": "/a/../b"}, "config.path"), ({"path": "/./a"}, "config.path"),
    ({"path": "//a"}, "config.path"), ({"path": "/a\r\nX: y"}, "config.path"),
    ({"path": "/%41"}, "config.path")])
def test_bad_configs(server, config, field):
    ident = server.create(ECHO)
    reply = server.fn("POST", f"/{ident}/triggers", {"name": "t", "type": "http",
                                                     "config": config})
    refused(reply, field)
    assert server.fn("GET", f"/{ident}/triggers").json == {"triggers": []}


@pytest.mark.parametrize("data,field", [
    ({}, "name"), ({"name": "t"}, "type"), ({"type": "http"}, "name"),
    ({"name": 5, "type": "http"}, "name"), ({"name": "", "type": "http"}, "name"),
    ({"name": "a b", "type": "http"}, "name"), ({"name": "t" * 64, "type": "http"}, "name"),
    ({"name": "t", "type": "carrier-pigeon"}, "type"), ({"name": "t", "type": 1}, "type"),
    ({"name": "t", "type": "http", "enabled": "yes"}, "enabled"),
    ({"name": "t", "type": "http", "enabled": 1}, "enabled"),
    ({"name": "t", "type": "http", "config": []}, "config"),
    ({"name": "t", "type": "http", "config": "x"}, "config"),
    ({"name": "t", "type": "http", "config": {"path": 5}}, "config.path")])
def test_bad_triggers(server, data, field):
    ident = server.create(ECHO)
    refused(server.fn("POST", f"/{ident}/triggers", data), field)
    assert server.fn("GET", f"/{ident}/triggers").json == {"triggers": []}


@pytest.mark.parametrize("kind,config", [
    ("schedule", {"cron": "0 */5 * * *"}), ("event", {}), ("messagequeue", {"queue": "q"})])
def test_kinds_that_are_not_served_say_so(server, kind, config):
    if kind in server.fn("GET", "/provider/capabilities").json["supported_trigger_types"]:
        pytest.skip("served by this version")
    ident = server.create(ECHO)
    reply = server.fn("POST", f"/{ident}/triggers", {"name": "t", "type": kind, "config": config})
    refused(reply, "type")
    assert kind in reply.json["error"]


def test_most_triggers(server):
    ident = server.create(ECHO)
    statuses = [server.fn("POST", f"/{ident}/triggers", {
        "name": f"t{i}", "type": "http", "config": {"path": f"/t/{i}"}}).status for i in range(65)]
    assert statuses[:64] == [201] * 64
    assert 400 <= statuses[64] < 500
    assert server.gateway("GET", "/t/63").status == 200


# ---- changing ----


def test_disabled(server):
    ident = server.create(ECHO)
    reply = server.fn("POST", f"/{ident}/triggers", {
        "name": "t", "type": "http", "enabled": False, "config": {"path": "/d"}})
    assert reply.json["enabled"] is False
    assert server.gateway("GET", "/d").status == 404
    tid = reply.json["id"]
    assert server.fn("PUT", f"/{ident}/triggers/{tid}", {"enabled": True}).json["enabled"] is True
    assert server.gateway("GET", "/d").status == 200
    server.fn("PUT", f"/{ident}/triggers/{tid}", {"enabled": False})
    assert server.gateway("GET", "/d").status == 404


def test_update(server):
    ident = server.create(ECHO)
    t = trigger(server, ident, "old", path="/old", method="POST")
    reply = server.fn("PUT", f"/{ident}/triggers/{t['id']}", {
        "name": "new", "config": {"path": "/new"}})
    assert reply.status == 200, reply
    now = reply.json
    assert (now["id"], now["name"], now["enabled"]) == (t["id"], "new", True)
    assert now["config"] == {"method": "GET", "path": "/new"}, "replaced as a whole"
    assert now["created_at"] == t["created_at"]
    assert server.fn("GET", f"/{ident}/triggers").json == {"triggers": [now]}
    assert server.gateway("GET", "/new").status == 200
    assert server.gateway("POST", "/old", b"").status == 404


def test_update_of_nothing_changes_nothing(server):
    ident = server.create(ECHO)
    t = trigger(server, ident, path="/a")
    now = server.fn("PUT", f"/{ident}/triggers/{t['id']}", {}).json
    assert {**now, "updated_at": 0} == {**t, "updated_at": 0}


@pytest.mark.parametrize("data", [
    {"name": ""}, {"name": 1}, {"enabled": "no"}, {"config": {"path": "x"}}, {"type": "pigeon"},
    {"config": 1}, []])
def test_bad_updates_change_nothing(server, data):
    ident = server.create(ECHO)
    t = trigger(server, ident, path="/a")
    assert server.fn("PUT", f"/{ident}/triggers/{t['id']}", data).status == 400
    assert server.fn("GET", f"/{ident}/triggers").json == {"triggers": [t]}
    assert server.gateway("GET", "/a").status == 200


def test_update_to_a_taken_name_or_path(server):
    ident = server.create(ECHO)
    other = server.create(ECHO, name="other")
    trigger(server, other, "o", path="/other")
    trigger(server, ident, "a", path="/a")
    b = trigger(server, ident, "b", path="/b")
    for data in ({"name": "a"}, {"config": {"path": "/other"}}):
        refused(server.fn("PUT", f"/{ident}/triggers/{b['id']}", data), None, 409, "CONFLICT")
    assert server.gateway("GET", "/b").status == 200


def test_delete(server):
    ident = server.create(ECHO)
    t = trigger(server, ident, path="/gone")
    assert server.gateway("GET", "/gone").status == 200
    assert server.fn("DELETE", f"/{ident}/triggers/{t['id']}").status == 204
    assert server.gateway("GET", "/gone").status == 404
    refused(server.fn("DELETE", f"/{ident}/triggers/{t['id']}"), None, 404, "TRIGGER_NOT_FOUND")
    assert server.fn("GET", f"/{ident}/triggers").json == {"triggers": []}
    trigger(server, ident, path="/gone")


@pytest.mark.parametrize("tid", ["trg-999999", "trg-0", "nonsense", "1", "func-1"])
def test_unknown_triggers(server, tid):
    ident = server.create(ECHO)
    for method, data in (("PUT", {"enabled": False}), ("DELETE", None)):
        refused(server.fn(method, f"/{ident}/triggers/{tid}", data), None, 404, "TRIGGER_NOT_FOUND")


def test_a_trigger_of_another_function_is_unknown(server):
    mine = server.create(ECHO, name="mine")
    other = server.create(ECHO, name="other")
    t = trigger(server, other, path="/other")
    for method, data in (("PUT", {"enabled": False}), ("DELETE", None)):
        refused(server.fn(method, f"/{mine}/triggers/{t['id']}", data), None, 404,
                "TRIGGER_NOT_FOUND")
    assert server.gateway("GET", "/other").status == 200


def test_the_gateway_follows_versions_and_renames(server):
    ident = server.create("def handler(e):\n    return 'one'\n")
    trigger(server, ident, path="/stays")
    server.fn("PUT", f"/{ident}", {"name": "renamed"})
    assert server.gateway("GET", "/stays").body == b"one"


# ---- the gateway ----


def test_gateway_needs_no_token_and_knows_no_api(server):
    ident = server.create(ECHO)
    trigger(server, ident, path="/open")
    assert server.gateway("GET", "/open").status == 200
    for path in ("/api/v1/functions", "/health/../api/v1/functions", "/metrics",
                 "/api/v1/workspaces/ws-default/functions?project_id=proj-default"):
        assert server.gateway("GET", path, headers={
            "Authorization": f"Bearer {server.token}"}).status == 404, path


def test_unknown_path_and_method_are_json(server):
    ident = server.create(ECHO)
    trigger(server, ident, path="/known")
    unknown = server.gateway("GET", "/unknown")
    assert (unknown.status, list(unknown.json)) == (404, ["error"])
    wrong = server.gateway("DELETE", "/known")
    assert (wrong.status, list(wrong.json)) == (405, ["error"])


def test_query_and_headers_arrive(server):
    ident = server.create(ECHO)
    trigger(server, ident, path="/q")
    got = server.gateway("GET", "/q?a=1&b=%C3%9F+x&b=2&empty=&flag&%26=%3D", headers={
        "X-Custom-Header": "value", "X-UPPER": "Stays As It Is", "Authorization": "Basic abc",
        "Cookie": "a=1; b=2"}).json
    assert got["query"] == {"a": "1", "b": ["ß x", "2"], "empty": "", "flag": "", "&": "="}
    assert got["headers"]["x-custom-header"] == "value"
    assert got["headers"]["x-upper"] == "Stays As It Is"
    assert got["headers"]["authorization"] == "Basic abc", "the function's own to check"
    assert got["headers"]["cookie"] == "a=1; b=2"
    assert "connection" not in got["headers"] and "content-length" not in got["headers"]


def test_a_broken_query_is_refused(server):
    ident = server.create(ECHO)
    trigger(server, ident, path="/q")
    for query in ("a=%", "a=%zz", "a=%4"):
        assert server.gateway("GET", f"/q?{query}").status == 400, query


def test_paths_are_compared_decoded_and_clean(server):
    ident = server.create(ECHO)
    trigger(server, ident, path="/grüße/x")
    for path in ("/gr%C3%BC%C3%9Fe/x", "/gr%c3%bc%c3%9fe/x/", "/a/../gr%C3%BC%C3%9Fe/./x",
                 "/gr%C3%BC%C3%9Fe/%78"):
        assert server.gateway("GET", path).status == 200, path
    for path in ("/gr%C3%BC%C3%9Fe", "/gr%C3%BC%C3%9Fe/x/y", "/gr%C3%BC%C3%9Fe/X",
                 "/gr%C3%BC%C3%9Fe%2fx%00"):
        assert server.gateway("GET", path).status in (400, 404), path


@pytest.mark.parametrize("kind,sent,seen", [
    ("application/json", b'{"a": [1, 2.5, null, "\xc3\x9f"]}', {"a": [1, 2.5, None, "ß"]}),
    ("application/json; charset=utf-8", b"[]", []),
    ("application/vnd.x+json", b"5", 5),
    ("text/plain", b'{"a": 1}', '{"a": 1}'),
    ("text/plain; charset=utf-8", "Grüße 🚀".encode(), "Grüße 🚀"),
    ("application/x-www-form-urlencoded", b"a=1&b=2", "a=1&b=2"),
    ("application/json", b"{broken", "{broken"),
    ("application/octet-stream", b"abc", None),
    ("image/png", b"\x89PNG\x00\xff", None),
    ("text/plain", b"\xff\xfe", None)])
def test_bodies_by_type(server, kind, sent, seen):
    import base64
    ident = server.create(ECHO)
    trigger(server, ident, path="/b", method="POST")
    got = server.gateway("POST", "/b", sent, {"Content-Type": kind}).json
    assert got["body"] == seen
    assert base64.b64decode(got["raw"]) == sent, "the bytes are always there"


@pytest.mark.parametrize("runtime", ["python3.9", "nodejs18"])
def test_all_bytes_there_and_back(server, runtime):
    code = {"python3.9": "def handler(e):\n    return {'status': 200, 'body': e['body']}\n",
            "nodejs18": "exports.handler = async (e) => ({statusCode: 200, body: e.body});"}
    ident = server.create(code[runtime], runtime=runtime)
    trigger(server, ident, path="/bytes", method="POST")
    sent = bytes(range(256)) * 400
    got = server.gateway("POST", "/bytes", sent, {"Content-Type": "application/octet-stream"})
    assert got.status == 200
    assert got.body == sent
    assert got.headers["Content-Type"] == "application/octet-stream"


def test_chunked_body(server):
    ident = server.create(ECHO)
    trigger(server, ident, path="/c", method="POST")
    raw = server.raw(b"POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
                     b"Content-Type: text/plain\r\nConnection: close\r\n\r\n"
                     b"3\r\nabc\r\n4;ext=1\r\ndefg\r\n0\r\n\r\n", port=server.gateway_port)
    head, _, body = raw.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), head
    assert json.loads(body)["body"] == "abcdefg"


def returning(server, value, path="/r", runtime="python3.9"):
    code = {"python3.9": f"import json\ndef handler(e):\n    return json.loads({json.dumps(value)!r})",
            "nodejs18": f"exports.handler = async () => ({json.dumps(value)});"}[runtime]
    ident = server.create(code, name="r", runtime=runtime)
    trigger(server, ident, path=path)
    return server.gateway("GET", path)


@pytest.mark.parametrize("runtime", ["python3.9", "nodejs18"])
@pytest.mark.parametrize("value,status,kind,body", [
    ({"status": 201, "body": "made"}, 201, "text/plain; charset=utf-8", b"made"),
    ({"statusCode": 404, "body": {"a": 1}}, 404, "application/json", b'{"a":1}'),
    ({"statusCode": 500, "body": "own error"}, 500, "text/plain; charset=utf-8", b"own error"),
    ({"statusCode": 200, "headers": {"Content-Type": "text/html"}, "body": "<p>"}, 200, "text/html",
     b"<p>"),
    ({"statusCode": 200, "isBase64Encoded": True, "body": "AP8="}, 200, "application/octet-stream",
     b"\x00\xff"),
    ({"message": "plain"}, 200, "application/json", b'{"message":"plain"}'),
    ([1, 2], 200, "application/json", b"[1,2]"),
    ("text", 200, "text/plain; charset=utf-8", b"text"),
    ({"statusCode": 204}, 204, None, b""),
    ({"statusCode": 304, "headers": {"ETag": "\"x\""}}, 304, None, b""),
])
def test_status_headers_and_body_of_the_handler(server, runtime, value, status, kind, body):
    got = returning(server, value, runtime=runtime)
    assert got.status == status
    assert got.headers["Content-Type"] == kind
    text = got.body
    assert text == body or (kind == "application/json" and json.loads(text) == json.loads(body))


@pytest.mark.parametrize("runtime", ["python3.9", "nodejs18"])
def test_headers_of_the_handler(server, runtime):
    got = returning(server, {"statusCode": 302, "body": "", "headers": {
        "Location": "/else", "X-One": "1", "X-Number": 5, "Set-Cookie": ["a=1", "b=2"]}},
        runtime=runtime)
    assert got.status == 302
    assert got.headers["Location"] == "/else"
    assert (got.headers["X-One"], got.headers["X-Number"]) == ("1", "5")
    assert got.headers.get_all("Set-Cookie") == ["a=1", "b=2"]
    assert got.headers["X-Kiln-Invocation-Id"].startswith("inv-")


@pytest.mark.parametrize("runtime", ["python3.9", "nodejs18"])
@pytest.mark.parametrize("headers", [
    {"X-A": "1\r\nX-Evil: yes"}, {"X-A\r\nX-Evil": "yes"}, {"X-A": "1\nX-Evil: yes"},
    {"X-A": "1\r\n\r\n<script>"}, {"X A": "1"}, {"": "1"}, {"X-A": "a\u0000b"},
    {"X-A:": "1"}])
def test_header_injection(server, headers, runtime):
    """Dropped or an error of the function: never a header or a body that it did not have."""
    got = returning(server, {"statusCode": 200, "headers": headers, "body": "ok"}, runtime=runtime)
    assert got.status in (200, 502)
    assert "X-Evil" not in got.headers
    assert b"<script>" not in got.body
    if got.status == 200:
        assert got.body == b"ok"


def test_framing_headers_of_the_handler_do_not_count(server):
    """Content-Length and its like are the server's: a wrong one would split the connection."""
    got = returning(server, {"statusCode": 200, "body": "body", "headers": {
        "Content-Length": "1", "Transfer-Encoding": "chunked", "Connection": "upgrade",
        "Upgrade": "x"}})
    assert (got.status, got.body) == (200, b"body")
    assert got.headers.get_all("Content-Length") == ["4"]
    assert got.headers["Transfer-Encoding"] is None and got.headers["Upgrade"] is None


@pytest.mark.parametrize("status", [99, 600, 1000, -1, 0])
def test_a_status_that_is_none(server, status):
    got = returning(server, {"statusCode": status, "body": "x"})
    assert got.status == 502
    assert got.headers["X-Kiln-Error"] == "function"


def test_a_status_that_cannot_end_a_request(server):
    for n, status in enumerate((100, 101, 103)):
        ident = server.create(f"def handler(e):\n    return {{'statusCode': {status}}}\n",
                              name=f"s{status}")
        trigger(server, ident, path=f"/s{n}")
        assert server.gateway("GET", f"/s{n}").status == 502


def test_a_function_that_throws_is_a_bad_gateway(server):
    ident = server.create("def handler(e):\n    raise ValueError('inside')\n")
    trigger(server, ident, path="/t")
    got = server.gateway("GET", "/t")
    assert got.status == 502
    assert "inside" not in got.json["error"], "what a function says is for its owner"
    assert got.json["invocation_id"] == got.headers["X-Kiln-Invocation-Id"]
    assert got.headers["X-Kiln-Error"] == "function"
    assert "Traceback" not in got.json["error"], "the traceback is for the log"


def test_a_timeout_is_504(server):
    ident = server.create("def handler(e):\n    while True: pass\n", timeout=0.2)
    trigger(server, ident, path="/slow")
    got = server.gateway("GET", "/slow")
    assert (got.status, got.headers["X-Kiln-Error"]) == (504, "timeout"), got


def test_a_function_that_did_not_build(server):
    reply = server.fn("POST", "", {"name": "f", "runtime": "python3.9", "source_code": "KA=="})
    trigger(server, reply.json["id"], path="/broken")
    got = server.gateway("GET", "/broken")
    assert (got.status, list(got.json)) == (503, ["error"]), got


def test_visits_are_recorded(server):
    ident = server.create("def handler(e):\n    print('visited')\n    return 'x'\n")
    trigger(server, ident, path="/v")
    run = server.gateway("GET", "/v").headers["X-Kiln-Invocation-Id"]
    got = server.fn("GET", f"/invocations/{run}")
    assert got.status == 200, got
    assert (got.json["source"], got.json["status"], got.json["function_id"]) == (
        "http", "completed", ident)
    lines = wait_for("its log", lambda: server.logs(ident, invocation_id=run))
    assert [line["message"] for line in lines] == ["visited"]
    assert server.fn("GET", f"/{ident}/metrics").json["invocations"] == 1


def test_functions_of_any_workspace_listen(server):
    reply = server.fn("POST", "", {"name": "f", "runtime": "python3.9", "project_id": "p",
                                   "source_code": "ZGVmIGhhbmRsZXIoZSk6CiAgICByZXR1cm4gJ3dzJwo="},
                      ws="ws-team")
    made = server.fn("POST", f"/{reply.json['id']}/triggers", {"name": "t", "type": "http"},
                     ws="ws-team")
    assert made.json["workspace_id"] == "ws-team"
    assert server.gateway("GET", "/f").body == b"ws"
