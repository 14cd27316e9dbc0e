# SPDX-License-Identifier: Apache-2.0
"""The blue API: document 002, but for its builder and its back ends of logs and metrics."""

import concurrent.futures
import datetime
import json
import re
import urllib.parse

import pytest
from blue import SPIN, refused
from harness import b64, unb64, wait_for

PY = """def handler(event):
    body = event['body'] or {}
    print('called', body.get('do', '')) if isinstance(body, dict) else None
    if not isinstance(body, dict):
        return {'got': body}
    if body.get('do') == 'raise':
        raise ValueError('no')
    if body.get('do') == 'sleep':
        import time
        time.sleep(60)
    if body.get('do') == 'status':
        return {'statusCode': body['status'], 'body': {'status': body['status']}}
    if body.get('do') == 'text':
        return 'plain text'
    if body.get('do') == 'none':
        return None
    if body.get('do') == 'bytes':
        return b'\\xff\\x00'
    if body.get('do') == 'exit':
        import os
        os._exit(3)
    return {'method': event['method'], 'body': event['body']}
"""
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+09:00$")


def blue(server, method, path, data=None, **more):
    return server.call(method, "/api/workspaces" + path, data, **more)


@pytest.fixture
def ws(server):
    reply = blue(server, "POST", "", {"name": "a workspace"})
    assert reply.status == 201, reply
    ident = reply.json["id"]
    yield ident
    assert blue(server, "DELETE", f"/{ident}").status in (204, 404)


def make(server, ws, code=PY, name="f", **more):
    reply = blue(server, "POST", f"/{ws}/functions", {"name": name, "code": b64(code), **more})
    assert reply.status == 201, reply
    return reply.json


def invoke(server, ws, ident, data=None, **more):
    reply = blue(server, "POST", f"/{ws}/functions/{ident}/invoke", data, **more)
    assert reply.status == 200, reply
    return reply.json


def invalid(reply, *expected):
    """422 with exactly these (type, loc…) in any order."""
    assert reply.status == 422, reply
    got = sorted((e["type"], *map(str, e["loc"])) for e in reply.json["detail"])
    assert got == sorted((t, *map(str, loc)) for t, *loc in expected), reply
    return reply.json["detail"]


def next_page(reply):
    link = re.fullmatch(r'<(\?\S+)>; rel="next"', reply.headers.get("Link") or "")
    return link and link.group(1)


# ---- what is nobody's ----


def test_root_and_health(server):
    reply = server.call("GET", "/", token=None)
    assert reply.status == 200 and reply.json["status"] == "running", reply
    assert server.call("GET", "/health", token=None).status == 200


def test_a_token_is_needed(server):
    refused(server.call("GET", "/api/workspaces", token=None), 401, "UNAUTHORIZED")


def test_unknown_paths_and_methods(server):
    refused(server.call("GET", "/api/nothing"), 404, "NOT_FOUND")
    reply = server.call("PUT", "/api/workspaces")
    refused(reply, 405, "METHOD_NOT_ALLOWED")
    assert "GET" in reply.headers["Allow"] and "POST" in reply.headers["Allow"]


def test_browsers_of_any_origin(server):
    reply = server.request("OPTIONS", "/api/workspaces", token=None)
    assert reply.status == 200 and reply.headers["Access-Control-Allow-Origin"] == "*"
    assert "POST" in reply.headers["Access-Control-Allow-Methods"]
    assert server.call("GET", "/api/workspaces/none").headers["Access-Control-Allow-Origin"] == "*"


def test_a_trailing_slash_is_nothing(server, ws):
    assert blue(server, "GET", f"/{ws}/").json["id"] == ws


# ---- workspaces ----


def test_workspace_life(server):
    before = datetime.datetime.now(datetime.timezone.utc)
    reply = blue(server, "POST", "", {"name": "Büro 이름", "description": "zwei\nZeilen"})
    assert reply.status == 201, reply
    made = reply.json
    assert re.fullmatch(r"ws-\d+", made["id"]) and TIME.match(made["createdAt"])
    at = datetime.datetime.fromisoformat(made["createdAt"])
    assert abs((at - before).total_seconds()) < 60
    assert made == {"id": made["id"], "name": "Büro 이름", "description": "zwei\nZeilen",
                    "createdAt": made["createdAt"], "functionCount": 0, "invocations24h": 0,
                    "errorRate": 0}
    path = "/" + made["id"]
    assert blue(server, "GET", path).json == made
    assert made in blue(server, "GET", "").json

    reply = blue(server, "PATCH", path, {"name": "new", "description": None})
    assert reply.status == 200 and reply.json == {**made, "name": "new"}, "null changes nothing"
    assert blue(server, "PATCH", path, {"description": "other"}).json["name"] == "new"
    assert blue(server, "PATCH", path, {}).json["description"] == "other"
    reply = blue(server, "DELETE", path)
    assert reply.status == 204 and reply.body == b""
    for method, data in (("GET", None), ("PATCH", {}), ("DELETE", None)):
        refused(blue(server, method, path, data), 404, "WORKSPACE_NOT_FOUND")


def test_the_default_workspace_stays(server):
    assert "ws-default" in [w["id"] for w in blue(server, "GET", "").json]
    refused(blue(server, "DELETE", "/ws-default"), 409, "CONFLICT")
    assert blue(server, "GET", "/ws-default").status == 200


def test_workspace_of_the_wrong_form(server, ws):
    assert invalid(blue(server, "POST", "", {}), ("missing", "body", "name"))[0] == {
        "type": "missing", "loc": ["body", "name"], "msg": "Field required", "input": {}}
    invalid(blue(server, "POST", "", {"name": None}), ("string_type", "body", "name"))
    got = invalid(blue(server, "POST", "", {"name": "", "description": 5}),
                  ("string_too_short", "body", "name"), ("string_type", "body", "description"))
    assert got[0]["msg"] == "String should have at least 1 character"
    assert got[0]["ctx"] == {"min_length": 1} and got[0]["input"] == ""
    invalid(blue(server, "POST", "", {"name": "n" * 256}), ("string_too_long", "body", "name"))
    invalid(blue(server, "POST", "", ["name"]), ("model_attributes_type", "body"))
    invalid(server.request("POST", "/api/workspaces"), ("missing", "body"))
    got = invalid(server.request("POST", "/api/workspaces", '{"name": '),
                  ("json_invalid", "body", 9))
    assert got[0]["msg"] == "JSON decode error"
    invalid(blue(server, "PATCH", f"/{ws}", {"name": ""}), ("string_too_short", "body", "name"))
    invalid(blue(server, "PATCH", f"/{ws}", {"name": {}}), ("string_type", "body", "name"))
    assert blue(server, "POST", "", {"name": "x", "unknown": [1]}).status == 201
    blue(server, "DELETE", "/" + blue(server, "GET", "?limit=1").json[0]["id"])


def test_workspaces_page(server):
    made = [blue(server, "POST", "", {"name": f"w{i}"}).json["id"] for i in range(5)]
    seen, path = [], "?limit=2"
    while path:
        reply = blue(server, "GET", path)
        seen += [w["id"] for w in reply.json]
        if len(seen) == 2:  # rows that come meanwhile are before the first page
            late = blue(server, "POST", "", {"name": "late"}).json["id"]
        path = next_page(reply)
    assert seen == made[::-1] + ["ws-default"]
    for ident in [*made, late]:
        blue(server, "DELETE", f"/{ident}")
    invalid(blue(server, "GET", "?limit=0"), ("greater_than_equal", "query", "limit"))
    invalid(blue(server, "GET", "?limit=1001"), ("less_than_equal", "query", "limit"))
    invalid(blue(server, "GET", "?limit=many"), ("int_parsing", "query", "limit"))
    refused(blue(server, "GET", "?after=x"), 400, "VALIDATION_ERROR")


def test_workspace_counters(server, ws):
    f = make(server, ws)
    make(server, ws, name="g")
    assert blue(server, "GET", f"/{ws}").json["functionCount"] == 2
    for data in ({}, {}, {"do": "raise"}, {"do": "status", "status": 503}):
        invoke(server, ws, f["id"], data)
    got = blue(server, "GET", f"/{ws}").json
    assert (got["invocations24h"], got["errorRate"]) == (4, 50)
    assert got == next(w for w in blue(server, "GET", "").json if w["id"] == ws)
    f = blue(server, "GET", f"/{ws}/functions/{f['id']}").json
    assert (f["invocations24h"], f["errors24h"]) == (4, 2) and f["avgDuration"] > 0


def test_a_workspace_goes_with_everything(server, ws):
    f = make(server, ws)
    url = urllib.parse.urlparse(f["invocationUrl"])
    assert server.gateway("GET", url.path).status == 200
    assert blue(server, "DELETE", f"/{ws}").status == 204
    assert server.gateway("GET", url.path).status == 404
    refused(blue(server, "GET", f"/{ws}/functions/{f['id']}"), 404, "FUNCTION_NOT_FOUND")
    refused(blue(server, "GET", f"/{ws}/functions"), 404, "WORKSPACE_NOT_FOUND")
    refused(blue(server, "POST", f"/{ws}/functions", {"name": "x", "code": b64(PY)}), 404,
            "WORKSPACE_NOT_FOUND")
    assert server.fn("GET", "/func-" + f["id"][3:], ws=ws).status == 404


# ---- functions ----


def test_function_defaults(server, ws):
    f = make(server, ws)
    assert re.fullmatch(r"fn-\d+", f["id"]) and TIME.match(f["lastModified"])
    assert TIME.match(f["lastDeployed"])
    want = {"workspaceId": ws, "name": "f", "description": None, "runtime": "Python 3.12",
            "memory": 256, "timeout": 30, "httpMethods": ["GET"], "environmentVariables": {},
            "code": b64(PY), "status": "active", "invocations24h": 0, "errors24h": 0,
            "avgDuration": 0}
    assert {k: f[k] for k in want} == want
    assert set(f) == {*want, "id", "invocationUrl", "lastModified", "lastDeployed"}
    assert blue(server, "GET", f"/{ws}/functions/{f['id']}").json == f
    assert blue(server, "GET", f"/{ws}/functions").json == [f]


def test_function_in_full(server, ws):
    given = {"name": "Resize images!", "description": "first\nsecond", "runtime": "python3.11",
             "memory": 1024, "timeout": 900, "httpMethods": ["post", "GET", "POST"],
             "environmentVariables": {"TOKEN": "top-secret", "EMPTY": ""}}
    f = make(server, ws, **given)
    want = {**given, "httpMethods": ["GET", "POST"],
            "environmentVariables": {"TOKEN": "***", "EMPTY": "***"}}
    assert {k: f[k] for k in want} == want
    assert "top-secret" not in json.dumps(f)


def test_function_life(server, ws):
    f = make(server, ws, "import os\ndef handler(event):\n    return os.environ['KEY']\n",
             environmentVariables={"KEY": "one"})
    path = f"/{ws}/functions/{f['id']}"
    assert invoke(server, ws, f["id"])["responseBody"] == {"data": "one"}
    same = blue(server, "PATCH", path, dict.fromkeys(
        ["name", "description", "runtime", "memory", "timeout", "httpMethods",
         "environmentVariables", "code", "invocationUrl", "lastDeployed", "status"]))
    assert same.status == 200
    for key in ("invocations24h", "avgDuration", "lastModified"):
        f.pop(key), same.json.pop(key)
    assert {k: v for k, v in same.json.items() if k in f} == f, "null changes nothing"

    reply = blue(server, "PATCH", path, {"memory": 512, "description": "d", "timeout": 5,
                                         "environmentVariables": {"KEY": "***", "MORE": "x"}})
    assert (reply.json["memory"], reply.json["timeout"], reply.json["description"]) == (512, 5, "d")
    assert reply.json["environmentVariables"] == {"KEY": "***", "MORE": "***"}
    assert invoke(server, ws, f["id"])["responseBody"] == {"data": "one"}, "the mask keeps"
    assert blue(server, "PATCH", path, {"description": ""}).json["description"] == ""
    refused(blue(server, "PATCH", path, {"runtime": "image"}), 400, "VALIDATION_ERROR")
    code = "def handler(event):\n    return 'new'\n"
    reply = blue(server, "PATCH", path, {"code": b64(code)})
    assert unb64(reply.json["code"]).decode() == code and reply.json["status"] == "active"
    assert invoke(server, ws, f["id"])["responseBody"] == {"data": "new"}
    assert blue(server, "DELETE", path).status == 204
    for method, data in (("GET", None), ("PATCH", {}), ("DELETE", None)):
        refused(blue(server, method, path, data), 404, "FUNCTION_NOT_FOUND")


def test_code_that_does_not_build(server, ws):
    bad = make(server, ws, "def handler(:\n", name="bad")
    assert bad["status"] == "error" and bad["lastDeployed"] is None
    said = refused(blue(server, "POST", f"/{ws}/functions/{bad['id']}/invoke", {}), 409,
                   "BUILD_FAILED")
    assert "SyntaxError" in said["message"], "the build's log says why"
    good = make(server, ws, name="good")
    path = f"/{ws}/functions/{good['id']}"
    reply = blue(server, "PATCH", path, {"code": b64("def handler(:\n")})
    assert reply.status == 200 and reply.json["status"] == "error"
    assert reply.json["code"] == good["code"], "what serves"
    assert invoke(server, ws, good["id"], {})["status"] == "success"


def test_invocation_url(server, ws):
    def visit(method, f):
        url = urllib.parse.urlparse(f["invocationUrl"])
        assert url.port == server.gateway_port
        return server.gateway(method, url.path)

    f = make(server, ws, name="My function", httpMethods=["GET", "DELETE"])
    path = f"/{ws}/functions/{f['id']}"
    assert visit("GET", f).json["method"] == "GET"
    assert visit("DELETE", f).json["method"] == "DELETE"
    reply = visit("POST", f)
    assert reply.status == 405 and reply.headers["Allow"] == "GET, DELETE"
    g = blue(server, "PATCH", path, {"name": "other", "httpMethods": ["POST"]}).json
    assert g["httpMethods"] == ["POST"]
    assert visit("POST", g).json["method"] == "POST" and visit("GET", g).status == 405
    assert visit("GET", f).status == 404, "the old name's"
    g = blue(server, "PATCH", path, {"httpMethods": []}).json
    assert g["httpMethods"] == [] and g["invocationUrl"] is None


def test_triggers_of_others_stay(server, ws):
    f = make(server, ws)
    fn = "/func-" + f["id"][3:]
    made = server.fn("POST", f"{fn}/triggers", {"name": "mine", "type": "http", "enabled": True,
                                               "config": {"method": "GET", "path": "/own"}}, ws=ws)
    assert made.status == 201, made
    blue(server, "PATCH", f"/{ws}/functions/{f['id']}", {"httpMethods": ["PUT"]})
    assert server.gateway("GET", "/own").status == 200
    assert server.gateway("PUT", f"/fn/{ws}/f").status == 200
    assert server.gateway("GET", f"/fn/{ws}/f").status == 405


def test_what_a_client_says_of_a_deployment(server, ws):
    f = make(server, ws)
    path = f"/{ws}/functions/{f['id']}"
    reply = blue(server, "PATCH", path, {
        "invocationUrl": "http://app.ns.svc.cluster.local", "status": "deploying",
        "lastDeployed": "2025-12-07T09:00:00Z"})
    assert reply.status == 200, reply
    assert reply.json["invocationUrl"] == "http://app.ns.svc.cluster.local"
    assert reply.json["status"] == "deploying"
    assert reply.json["lastDeployed"] == "2025-12-07T18:00:00.000000+09:00"
    assert invoke(server, ws, f["id"], {})["status"] == "success"
    reply = blue(server, "PATCH", path, {"status": "active", "invocationUrl": ""})
    assert reply.json["status"] == "active" and reply.json["invocationUrl"] == f["invocationUrl"]


def test_an_inactive_function_takes_no_calls(server, ws):
    f = make(server, ws)
    path = f"/{ws}/functions/{f['id']}"
    url = urllib.parse.urlparse(f["invocationUrl"]).path
    assert server.gateway("GET", url).status == 200
    off = blue(server, "PATCH", path, {"status": "inactive"}).json
    assert (off["status"], off["invocationUrl"]) == ("inactive", f["invocationUrl"])
    said = refused(blue(server, "POST", f"{path}/invoke", {}), 409, "CONFLICT")
    assert said["message"].startswith("Function is inactive")
    assert server.gateway("GET", url).status == 404
    blue(server, "PATCH", path, {"status": "active"})
    assert invoke(server, ws, f["id"])["status"] == "success"
    assert server.gateway("GET", url).status == 200


BOUNDS = [
    ({"name": ""}, "string_too_short"),
    ({"name": 5}, "string_type"),
    ({"name": "n" * 256}, "string_too_long"),
    ({"description": []}, "string_type"),
    ({"runtime": 3.12}, "string_type"),
    ({"memory": 127}, "greater_than_equal"),
    ({"memory": 1025}, "less_than_equal"),
    ({"memory": 10 ** 15}, "less_than_equal"),
    ({"memory": "256"}, "int_type"),
    ({"memory": 256.5}, "int_from_float"),
    ({"memory": True}, "int_type"),
    ({"timeout": 0}, "greater_than_equal"),
    ({"timeout": -1}, "greater_than_equal"),
    ({"timeout": 901}, "less_than_equal"),
    ({"timeout": {}}, "int_type"),
    ({"httpMethods": "GET"}, "list_type"),
    ({"httpMethods": {}}, "list_type"),
    ({"httpMethods": ["TRACE"]}, "literal_error"),
    ({"environmentVariables": []}, "dict_type"),
    ({"code": 5}, "string_type"),
]


@pytest.mark.parametrize("given, kind", BOUNDS, ids=lambda v: json.dumps(v)[:40])
def test_function_bounds(server, ws, given, kind):
    field = next(iter(given))
    data = {"name": "f", "code": b64(PY), **given}
    invalid(blue(server, "POST", f"/{ws}/functions", data), (kind, "body", field))
    assert blue(server, "GET", f"/{ws}/functions").json == [], "nothing half made"


def test_bounds_hold_for_changes_too(server, ws):
    f = make(server, ws)
    path = f"/{ws}/functions/{f['id']}"
    for given, kind in BOUNDS:
        invalid(blue(server, "PATCH", path, given), (kind, "body", next(iter(given))))
    for given, kind in (({"invocationUrl": 1}, "string_type"),
                        ({"invocationUrl": "u" * 256}, "string_too_long"),
                        ({"status": ""}, "string_too_short"), ({"status": 1}, "string_type"),
                        ({"lastDeployed": 5}, "datetime_type"),
                        ({"lastDeployed": "yesterday"}, "datetime_parsing")):
        invalid(blue(server, "PATCH", path, given), (kind, "body", next(iter(given))))
    assert blue(server, "GET", path).json == f, "nothing changed"
    for least, most in ((128, 1), (1024, 900), (128.0, 30)):
        reply = blue(server, "PATCH", path, {"memory": least, "timeout": most})
        assert (reply.json["memory"], reply.json["timeout"]) == (least, most)


def test_all_that_is_wrong_is_said_at_once(server, ws):
    reply = blue(server, "POST", f"/{ws}/functions", {
        "memory": 1, "timeout": "x", "httpMethods": ["GET", 5, None],
        "environmentVariables": {"A": 1, "B": "b", "C": {}}, "description": 1})
    got = invalid(reply, ("missing", "body", "name"), ("missing", "body", "code"),
                  ("string_type", "body", "description"), ("greater_than_equal", "body", "memory"),
                  ("int_type", "body", "timeout"), ("string_type", "body", "httpMethods", 1),
                  ("string_type", "body", "httpMethods", 2),
                  ("string_type", "body", "environmentVariables", "A"),
                  ("string_type", "body", "environmentVariables", "C"))
    memory = next(e for e in got if e["loc"] == ["body", "memory"])
    assert memory == {"type": "greater_than_equal", "loc": ["body", "memory"], "input": 1,
                      "msg": "Input should be greater than or equal to 128", "ctx": {"ge": 128}}


def test_secrets_are_not_said_again(server, ws):
    reply = blue(server, "POST", f"/{ws}/functions", {
        "environmentVariables": {"A": ["hidden-value"], "B": "hidden-value"}})
    assert reply.status == 422 and b"hidden-value" not in reply.body
    reply = blue(server, "POST", f"/{ws}/functions", {"environmentVariables": "hidden-value"})
    assert reply.status == 422 and b"hidden-value" not in reply.body


def test_many_wrong_things_are_bounded(server, ws):
    reply = blue(server, "POST", f"/{ws}/functions", {
        "name": "f", "code": "x", "httpMethods": [1] * 20000,
        "environmentVariables": {f"k{i}": i for i in range(20000)}})
    assert reply.status == 422 and 1 <= len(reply.json["detail"]) <= 100
    reply = blue(server, "POST", f"/{ws}/functions", {"name": ["x" * 100000] * 5, "code": "x"})
    assert reply.status == 422 and len(reply.body) < 10000


@pytest.mark.parametrize("given", [
    {"code": "not base64!"}, {"code": "YQ"}, {"code": ""}, {"runtime": "cobol"},
    {"runtime": "image"}, {"name": "\x07"}, {"environmentVariables": {"1": "x"}},
    {"environmentVariables": {"A": "***"}}], ids=lambda v: json.dumps(v))
def test_what_no_schema_says(server, ws, given):
    said = refused(blue(server, "POST", f"/{ws}/functions", {
        "name": "f", "code": b64(PY), **given}), 400, "VALIDATION_ERROR")
    assert said["details"]["field"]
    assert blue(server, "GET", f"/{ws}/functions").json == []


def test_base64_with_line_breaks(server, ws):
    text = b64(PY)
    reply = blue(server, "POST", f"/{ws}/functions",
                 {"name": "f", "code": "\n".join(text[i:i + 76] for i in range(0, len(text), 76))})
    assert reply.status == 201 and reply.json["code"] == text


def test_bodies_that_are_no_object(server, ws):
    path = f"/api/workspaces/{ws}/functions"
    for body in ("[]", "5", "null", '"x"'):
        invalid(server.request("POST", path, body), ("model_attributes_type", "body"))
    for body in ("{", "{}x", '{"a":1,"a":2}', "\xff", '{"name":"\\u0000"}'):
        reply = server.request("POST", path, body.encode("latin-1"))
        assert reply.status == 422 and reply.json["detail"][0]["type"] == "json_invalid", body
    assert blue(server, "GET", f"/{ws}/functions").json == []


def test_a_name_is_taken_once(server, ws):
    def create(_):
        return blue(server, "POST", f"/{ws}/functions", {"name": "racer", "code": b64(PY)}).status

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        got = sorted(pool.map(create, range(6)))
    assert got == [201] + [409] * 5
    assert len(blue(server, "GET", f"/{ws}/functions").json) == 1
    other = make(server, ws, name="other")
    refused(blue(server, "PATCH", f"/{ws}/functions/{other['id']}", {"name": "racer"}), 409,
            "CONFLICT")
    assert blue(server, "GET", f"/{ws}/functions/{other['id']}").json["name"] == "other"


def test_ids_of_another_workspace(server, ws):
    f = make(server, ws)
    for method, tail, data in (("GET", "", None), ("PATCH", "", {}), ("DELETE", "", None),
                               ("POST", "/invoke", {}), ("GET", "/logs", None)):
        for ident in (f["id"], "fn-0", "fn-99999999999", "x", f["id"][3:], "fn-"):
            refused(blue(server, method, f"/ws-default/functions/{ident}{tail}", data), 404,
                    "FUNCTION_NOT_FOUND")
    assert blue(server, "GET", f"/{ws}/functions/{f['id']}").status == 200


def test_functions_page(server, ws):
    made = [make(server, ws, name=f"f{i}")["id"] for i in range(5)]
    seen, path = [], f"/{ws}/functions?limit=2"
    while path:
        reply = blue(server, "GET", path)
        seen += [f["id"] for f in reply.json]
        if len(seen) == 2:
            make(server, ws, name="late")
            blue(server, "DELETE", f"/{ws}/functions/{made[0]}")
        more = next_page(reply)
        path = more and f"/{ws}/functions{more}"
    assert seen == made[:0:-1]
    assert len(blue(server, "GET", f"/{ws}/functions").json) == 5
    invalid(blue(server, "GET", f"/{ws}/functions?limit=-3"),
            ("greater_than_equal", "query", "limit"))


def test_code_fills_a_page_of_the_list(server, ws):
    big = PY + "#" * (9 << 20)
    made = [make(server, ws, big, name=f"f{i}")["id"] for i in range(4)]
    seen, path = [], f"/{ws}/functions"
    pages = 0
    while path:
        reply = blue(server, "GET", path)
        assert reply.status == 200, reply
        seen += [f["id"] for f in reply.json]
        assert all(len(unb64(f["code"])) == len(big) for f in reply.json)
        pages += 1
        more = next_page(reply)
        path = more and f"/{ws}/functions{more}"
    assert seen == made[::-1] and pages == 2


def test_functions_of_the_other_apis(server, ws):
    made = server.fn("POST", "", {"name": "theirs", "runtime": "nodejs18",
                                  "handler": "index.handler",
                                  "source_code": b64("exports.handler = async () => ({n: 1});")},
                     ws=ws).json
    f = blue(server, "GET", f"/{ws}/functions").json[0]
    assert f["id"] == "fn-" + made["id"][5:] and f["name"] == "theirs"
    assert f["runtime"] == "nodejs18" and f["httpMethods"] == ["POST"] and not f["invocationUrl"]
    assert invoke(server, ws, f["id"], {})["responseBody"] == {"n": 1}
    assert blue(server, "PATCH", f"/{ws}/functions/{f['id']}", {"timeout": 7}).json["timeout"] == 7
    assert server.fn("GET", "/" + made["id"], ws=ws).json["name"] == "theirs"
    mine = make(server, ws, name="mine")
    assert server.fn("GET", "/func-" + mine["id"][3:], ws=ws).json["name"] == "mine"


# ---- invoke ----


def test_invoke_in_full(server, ws):
    f = make(server, ws)
    got = invoke(server, ws, f["id"], {"name": "Kim", "n": [1, None, "ä"]})
    assert re.fullmatch(r"inv-[0-9A-Z]{26}", got["id"]) and TIME.match(got["timestamp"])
    assert got["duration"] > 0
    assert got == {"id": got["id"], "functionId": f["id"], "timestamp": got["timestamp"],
                   "status": "success", "duration": got["duration"], "statusCode": 200,
                   "requestBody": {"name": "Kim", "n": [1, None, "ä"]},
                   "responseBody": {"method": "POST",
                                    "body": {"name": "Kim", "n": [1, None, "ä"]}},
                   "logs": ["called "], "level": "info"}
    assert blue(server, "GET", f"/{ws}/functions/{f['id']}/logs").json == {
        "logs": [got], "total": 1}


def test_the_document_s_spin_example(server, ws):
    f = make(server, ws, SPIN, name="hello")
    for _ in range(2):
        got = invoke(server, ws, f["id"], {})
        assert (got["status"], got["statusCode"]) == ("success", 200), got
        assert got["responseBody"] == {"data": "Hello from Blue FaaS!"}
    reply = server.gateway("GET", urllib.parse.urlparse(f["invocationUrl"]).path)
    assert reply.body == b"Hello from Blue FaaS!"
    assert reply.headers["Content-Type"] == "text/plain"


@pytest.mark.parametrize("given, status, body", [
    ({"do": "text"}, 200, {"data": "plain text"}),
    ({"do": "none"}, 200, None),
    ({"do": "bytes"}, 200, {"data": "/wA=", "isBase64Encoded": True}),
    ({"do": "status", "status": 201}, 201, {"status": 201}),
    ({"do": "status", "status": 404}, 404, {"status": 404}),
    ({"do": "raise"}, 500, {"error": "no"}),
    ([1, 2], 200, {"got": [1, 2]}), ("text", 200, {"got": "text"}), (0, 200, None)],
    ids=lambda v: json.dumps(v))
def test_answers(server, ws, given, status, body):
    f = make(server, ws)
    got = invoke(server, ws, f["id"], given)
    assert got["statusCode"] == status and got["requestBody"] == given
    if body is not None or given in ({"do": "none"},):
        assert got["responseBody"] == body
    good = status < 400
    assert (got["status"], got["level"]) == (("success", "info") if good else ("error", "error"))
    assert blue(server, "GET", f"/{ws}/functions/{f['id']}/logs").json["logs"] == [got]


def test_failures_are_answers(server, ws):
    f = make(server, ws)
    path = f"/{ws}/functions/{f['id']}"
    got = invoke(server, ws, f["id"], {"do": "raise"})
    assert any("ValueError: no" in line for line in got["logs"])
    assert blue(server, "PATCH", path, {"timeout": 1}).status == 200
    got = invoke(server, ws, f["id"], {"do": "sleep"})
    assert (got["status"], got["statusCode"]) == ("error", 504) and got["duration"] >= 1000
    assert blue(server, "PATCH", path, {"timeout": 30}).status == 200
    got = invoke(server, ws, f["id"], {"do": "exit"})
    assert (got["status"], got["statusCode"]) == ("error", 500) and got["responseBody"]["error"]
    assert blue(server, "GET", f"/{ws}").json["errorRate"] == 100
    logs = blue(server, "GET", f"/{ws}/functions/{f['id']}/logs").json["logs"]
    assert [g["statusCode"] for g in logs] == [500, 504, 500]


def test_invoke_without_a_body_and_with_a_bad_one(server, ws):
    f = make(server, ws)
    path = f"/api/workspaces/{ws}/functions/{f['id']}/invoke"
    assert server.request("POST", path).json["requestBody"] is None
    invalid(server.request("POST", path, "{nonsense"), ("json_invalid", "body", 1))
    invalid(server.request("POST", path, b"\xff"), ("json_invalid", "body", 0))
    assert blue(server, "GET", f"/{ws}/functions/{f['id']}/logs").json["total"] == 1


def test_large_bodies_are_answered_and_not_kept(server, ws):
    f = make(server, ws, "def handler(event):\n    return event['body']\n")
    data = {"text": "x" * (3 << 20)}
    got = invoke(server, ws, f["id"], data)
    assert got["responseBody"] == data and got["requestBody"] == data
    kept = blue(server, "GET", f"/{ws}/functions/{f['id']}/logs").json["logs"][0]
    assert kept == {**got, "requestBody": None, "responseBody": None}


# ---- logs ----


def test_logs_hold_the_calls_of_all_apis(server, ws):
    f = make(server, ws)
    g = make(server, ws, name="g")
    fn = "func-" + f["id"][3:]
    ids = [invoke(server, ws, f["id"], {"do": "text"})["id"]]
    ids.append(server.fn("POST", f"/{fn}/invoke", {"body": b64('{"do":"raise"}'), "headers": {
        "Content-Type": ["application/json"]}}, ws=ws).json["details"]["invocation_id"])
    ids.append(server.gateway("GET", f"/fn/{ws}/f").headers["X-Kiln-Invocation-Id"])
    later = server.fn("POST", f"/{fn}/invoke-async", {}, ws=ws).json["invocation_id"]
    wait_for("the queued call is done", lambda: blue(
        server, "GET", f"/{ws}/functions/{f['id']}/logs").json["total"] == 4)
    ids += [later, invoke(server, ws, g["id"], {})["id"]]
    own = blue(server, "GET", f"/{ws}/functions/{f['id']}/logs").json
    assert [e["id"] for e in own["logs"]] == ids[3::-1], "newest first"
    assert own["total"] == 4
    failed = own["logs"][2]
    assert (failed["status"], failed["statusCode"], failed["requestBody"]) == ("error", 500, None)
    assert any("ValueError" in line for line in failed["logs"])
    for e in own["logs"]:
        assert e["logs"][0].startswith("called")
    every = blue(server, "GET", f"/{ws}/logs").json
    assert [e["id"] for e in every["logs"]] == ids[::-1] and every["total"] == 5
    assert blue(server, "GET", f"/{ws}/functions/{g['id']}/logs").json["total"] == 1


def test_logs_page(server, ws):
    f, g = make(server, ws), make(server, ws, name="g")
    ids = [invoke(server, ws, (f, g)[i % 2]["id"], {"do": str(i)})["id"] for i in range(9)]
    for base, want in ((f"/{ws}/logs", ids[::-1]),
                       (f"/{ws}/functions/{f['id']}/logs", ids[::-2])):
        seen, path = [], base + "?limit=2"
        while path:
            reply = blue(server, "GET", path)
            assert len(reply.json["logs"]) <= 2
            seen += [e["id"] for e in reply.json["logs"]]
            if len(seen) == 2:
                invoke(server, ws, f["id"], {})
            more = next_page(reply)
            path = more and base + more
        assert len(set(seen)) == len(seen), "none twice"
        got = [i for i in seen if i in ids]
        assert sorted(got) == sorted(want), "none lost"
        assert [i[4:14] for i in got] == [i[4:14] for i in want], "by the millisecond"


def test_log_limits(server, ws):
    f = make(server, ws)
    for path, most in ((f"/{ws}/logs", 500), (f"/{ws}/functions/{f['id']}/logs", 1000)):
        assert blue(server, "GET", path).json == {"logs": [], "total": 0}
        assert blue(server, "GET", f"{path}?limit={most}").status == 200
        invalid(blue(server, "GET", f"{path}?limit={most + 1}"),
                ("less_than_equal", "query", "limit"))
        invalid(blue(server, "GET", f"{path}?limit=0"), ("greater_than_equal", "query", "limit"))
        invalid(blue(server, "GET", f"{path}?limit=1.5"), ("int_parsing", "query", "limit"))
        invalid(blue(server, "GET", f"{path}?limit="), ("int_parsing", "query", "limit"))
        refused(blue(server, "GET", f"{path}?after=!"), 400, "VALIDATION_ERROR")
    refused(blue(server, "GET", "/ws-none/logs"), 404, "WORKSPACE_NOT_FOUND")


def test_default_limits_of_logs(server, ws):
    f = make(server, ws)
    for _ in range(101):
        invoke(server, ws, f["id"], {})
    reply = blue(server, "GET", f"/{ws}/functions/{f['id']}/logs")
    assert (len(reply.json["logs"]), reply.json["total"]) == (100, 101) and next_page(reply)
    reply = blue(server, "GET", f"/{ws}/logs")
    assert (len(reply.json["logs"]), reply.json["total"]) == (50, 101)


def test_changes_of_a_workspace_at_the_same_time(server, ws):
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda c: blue(server, "PATCH", f"/{ws}", c).status,
                            [{"name": "both"}, {"description": "are there"}] * 4))
    assert set(got) == {200}
    now = blue(server, "GET", f"/{ws}").json
    assert (now["name"], now["description"]) == ("both", "are there")


def test_changes_at_the_same_time_are_all_there(server, ws):
    f = make(server, ws)
    path = f"/{ws}/functions/{f['id']}"
    changes = [{"memory": 512}, {"timeout": 7}, {"description": "d"}, {"httpMethods": ["PUT"]},
               {"environmentVariables": {"A": "b"}}, {"status": "mine"}]
    with concurrent.futures.ThreadPoolExecutor(len(changes)) as pool:
        got = list(pool.map(lambda c: blue(server, "PATCH", path, c), changes * 3))
    assert {r.status for r in got} == {200}
    now = blue(server, "GET", path).json
    assert (now["memory"], now["timeout"], now["description"]) == (512, 7, "d")
    assert now["httpMethods"] == ["PUT"] and now["environmentVariables"] == {"A": "***"}
    assert now["status"] == "mine"
    assert server.gateway("PUT", f"/fn/{ws}/f").status == 200
    assert server.gateway("GET", f"/fn/{ws}/f").status == 405


# ---- what survives ----


def test_everything_is_there_after_a_restart(folder, start):
    server = start(data=folder)
    ws = blue(server, "POST", "", {"name": "kept", "description": "d"}).json
    f = make(server, ws["id"], httpMethods=["GET", "PUT"], description="x\ny")
    got = invoke(server, ws["id"], f["id"], {"a": 1})
    shown = blue(server, "GET", f"/{ws['id']}/functions/{f['id']}").json
    server.kill()
    server.start()
    again = blue(server, "GET", f"/{ws['id']}").json
    assert again == {**ws, "functionCount": 1, "invocations24h": 1}
    assert blue(server, "GET", f"/{ws['id']}/logs").json["logs"] == [got]
    now = blue(server, "GET", f"/{ws['id']}/functions/{f['id']}").json
    port = urllib.parse.urlparse(now["invocationUrl"]).port
    assert port == server.gateway_port
    assert {**now, "invocationUrl": None} == {**shown, "invocationUrl": None}
    assert server.gateway("PUT", f"/fn/{ws['id']}/f").json["method"] == "PUT"
    assert blue(server, "POST", "", {"name": "next"}).json["id"] != ws["id"]


# ---- what nobody expects ----

ODD = [None, True, False, 0, -1, 2 ** 63 - 1, 2 ** 70, -0.0, 1e308, "", " ", "x" * 5000, "é\u2028😀",
       "../../etc", "fn-1", "***", [], [[]], [None], {}, {"": ""}, {"a": {"b": []}}, [1] * 300]
FIELDS = ["name", "description", "runtime", "memory", "timeout", "httpMethods",
          "environmentVariables", "code", "invocationUrl", "lastDeployed", "status"]


def sane(reply):
    assert reply.status < 500, reply
    if reply.status >= 400:
        assert ("error" in reply.json) != (reply.status == 422), reply


def test_odd_values_in_every_field(server, ws):
    f = make(server, ws)
    for field in FIELDS:
        for odd in ODD:
            body = json.dumps({"name": "g", "code": b64(PY), field: odd})
            for method, path in (("POST", f"/{ws}/functions"),
                                 ("PATCH", f"/{ws}/functions/{f['id']}")):
                sane(server.request(method, "/api/workspaces" + path, body))
            if field in ("name", "description"):
                body = json.dumps({"name": "g", field: odd})
                sane(server.request("PATCH", f"/api/workspaces/{ws}", body))
    for odd in ODD:
        reply = server.request("POST", f"/api/workspaces/{ws}/functions/{f['id']}/invoke",
                               json.dumps(odd))
        assert reply.status in (200, 409), reply
    for g in blue(server, "GET", f"/{ws}/functions").json:
        assert blue(server, "GET", f"/{ws}/functions/{g['id']}").json == g


def test_odd_paths(server, ws):
    for odd in ("%00", "%ff", "..", "fn-1%2Fx", "%F0%9F%98%80", "fn-+1", "fn- 1".replace(" ", "%20"),
                "x" * 300, "fn-4294967297", "ws-default", "*"):
        for method in ("GET", "PATCH", "DELETE", "POST"):
            for path in (f"/api/workspaces/{odd}", f"/api/workspaces/{ws}/functions/{odd}",
                         f"/api/workspaces/{odd}/functions", f"/api/workspaces/{odd}/logs",
                         f"/api/workspaces/{ws}/functions/{odd}/logs",
                         f"/api/workspaces/{ws}/functions/{odd}/invoke"):
                if odd == "ws-default" and method in ("DELETE", "POST"):
                    continue
                reply = server.request(method, path, "{}", check=False)
                assert reply.status < 500, (method, path, reply)


def test_many_at_once(server, ws):
    """Calls, lists, changes and deletions side by side: each is whole, or refused."""
    def work(i):
        f = make(server, ws, name=f"f{i}")
        path = f"/{ws}/functions/{f['id']}"
        for n in range(5):
            assert invoke(server, ws, f["id"], {"n": n})["status"] == "success"
            assert blue(server, "PATCH", path, {"description": str(n)}).status == 200
            assert blue(server, "GET", f"/{ws}/functions?limit=3").status == 200
            assert blue(server, "GET", f"/{ws}/logs?limit=5").status == 200
        got = blue(server, "GET", path).json
        assert (got["invocations24h"], got["description"]) == (5, "4")
        assert blue(server, "DELETE", path).status == 204

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert blue(server, "GET", f"/{ws}/functions").json == []
    assert blue(server, "GET", f"/{ws}").json["functionCount"] == 0
