# SPDX-License-Identifier: Apache-2.0
"""fnservice: functions. Source: document 000, COMPATIBILITY of kiln, api/fnservice.yaml."""

import concurrent.futures
import datetime
import json

import pytest
from harness import b64

OK = "def handler(event):\n    return 'ok'\n"
NODE_OK = "exports.handler = async () => 'ok';\n"
ENV = """
import os
def handler(event):
    return {k: v for k, v in os.environ.items() if k in event["body"]}
"""


def body(**more):
    data = {"name": "f", "runtime": "python3.9", "handler": "main.handler", "source_code": b64(OK)}
    data.update(more)
    return {k: v for k, v in data.items() if v is not ...}


def refused(reply, field=None, status=400, code="INVALID_REQUEST"):
    """An error in the document's form, about this field; nothing was made."""
    assert reply.status == status, reply
    assert reply.json["code"] == code, reply
    assert reply.json["error"]
    if field:
        said = reply.json["details"]["field"]
        assert said == field or said.startswith(field + ".") or said.endswith("." + field), reply
    return reply


def moment(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


# ---- create ----


def test_create_answers_as_the_document_says(server):
    before = datetime.datetime.now(datetime.timezone.utc)
    reply = server.fn("POST", "", body(
        name="my-function", project_id="proj-456", environment={"API_KEY": "secret-key"},
        resources={"memory": "256Mi", "cpu": "100m"}, labels={"team": "backend"},
        annotations={"description": "Processes user data"}, timeout=7, min_replicas=0,
        max_replicas=3, network="none"), ws="ws-789")
    after = datetime.datetime.now(datetime.timezone.utc)
    assert reply.status == 201, reply
    f = reply.json
    assert f["id"].startswith("func-")
    created, updated = moment(f.pop("created_at")), moment(f.pop("updated_at"))
    second = datetime.timedelta(seconds=1)
    assert before - second <= created <= updated <= after + second
    del f["id"]
    assert f == {
        "workspace_id": "ws-789", "project_id": "proj-456", "name": "my-function",
        "namespace": "proj-456", "runtime": "python3.9", "handler": "main.handler",
        "status": "ready", "active_version": "v1", "environment": {"API_KEY": "***"},
        "resources": {"memory": "256Mi", "cpu": "100m"}, "timeout": 7, "min_replicas": 0,
        "max_replicas": 3, "network": "none", "labels": {"team": "backend"},
        "annotations": {"description": "Processes user data"}}


def test_defaults(server):
    reply = server.fn("POST", "", body(handler=...))
    assert reply.status == 201, reply
    f = reply.json
    assert f["project_id"] == f["namespace"] == "proj-default"
    assert f["workspace_id"] == "ws-default"
    assert f["handler"] == "handler"
    assert (f["min_replicas"], f["max_replicas"]) == (0, 10)
    assert f["timeout"] == 30
    assert f["network"] == "egress"
    assert f["labels"] == f["annotations"] == f["environment"] == {}
    assert server.result(f["id"]) == b"ok"


def test_nulls_are_as_good_as_absent(server):
    reply = server.fn("POST", "", body(
        handler=None, environment=None, resources=None, labels=None, annotations=None,
        timeout=None, min_replicas=None, max_replicas=None, network=None, project_id=None))
    assert reply.status == 201, reply
    assert reply.json["max_replicas"] == 10


def test_project_in_the_query(server):
    reply = server.fn("POST", "?project_id=by-query", body())
    assert (reply.status, reply.json["project_id"]) == (201, "by-query")
    both = server.fn("POST", "?project_id=by-query", body(name="g", project_id="by-body"))
    assert (both.status, both.json["project_id"]) == (201, "by-body")


@pytest.mark.parametrize("runtime", [
    "python3.9", "python39", "python3.11", "python3", "python", "nodejs18", "node18", "nodejs20",
    "nodejs", "node"])
def test_spellings_of_runtimes(server, runtime):
    code = OK if runtime.startswith("python") else NODE_OK
    ident = server.create(code, runtime=runtime, handler="index.handler")
    assert server.fn("GET", f"/{ident}").json["runtime"] == runtime
    assert server.result(ident) == b"ok"


@pytest.mark.parametrize("runtime", [
    "python2", "python2.7", "ruby3", "", "Python  3", "python3.9; rm", "node\n", "p" * 10000,
    "pythönn", "go", "java"])
def test_unknown_runtimes(server, runtime):
    refused(server.fn("POST", "", body(runtime=runtime)), code="INVALID_RUNTIME")
    assert server.kube("GET", "").json == []


def test_runtimes_of_the_document_that_do_not_run_here_are_refused(server):
    have = server.fn("GET", "/provider/capabilities").json["supported_runtimes"]
    for runtime in ("go1.21", "go119", "java11", "java17"):
        if runtime not in have:
            refused(server.fn("POST", "", body(runtime=runtime)), code="INVALID_RUNTIME")


@pytest.mark.parametrize("field", ["name", "runtime", "source_code"])
def test_what_must_be_there(server, field):
    code = "INVALID_REQUEST"
    refused(server.fn("POST", "", body(**{field: ...})), field, code=code)
    refused(server.fn("POST", "", body(**{field: None})), field, code=code)


WRONG = [
    ("name", [1, True, [], {}, "", " ", "a b", "-a", ".a", "a/b", "a\n", "é", "𝔘",
              "a" * 64, "a" * 100000]),
    ("handler", [1, False, [], {}, "", "../x", "a..b", ".a", "a.", "a b", "a;b", "a\nb", "a(b)",
                 "h" * 256]),
    ("source_code", [1, {}, [], True, "", "!", "a", "YQ", "YQ===", "Y Q==", "YQ==\n", "é", "__-_"]),
    ("environment", [1, "A=B", [], {"A": 1}, {"A": None}, {"A": {}}, {"": "x"}, {"1A": "x"},
                     {"A=B": "x"}, {"A B": "x"}, {"A": "***"},
                     {"K" * 256: "x"}, {f"K{i}": "" for i in range(257)}, {"A": "x" * 65536}]),
    ("resources", [1, "x", [], {"memory": 1}, {"memory": "lots"}, {"memory": "-1"},
                   {"memory": "1Ki"}, {"memory": "9999Gi"}, {"memory": "99999999999999999999Gi"},
                   {"cpu": 1}, {"cpu": "fast"}, {"cpu": "-100m"}, {"cpu": "0"}, {"cpu": "1e9"}]),
    ("labels", [1, "x", [], {"a": 1}, {"a": None}, {"": "x"}, {"a": "\u0007"}, {"a": "x" * 256},
                {f"k{i}": "" for i in range(65)}]),
    ("annotations", [1, "x", [], {"a": 1}, {"a": []}]),
    ("timeout", ["30", True, [], {}, 0, -1, 901, 1e308]),
    ("min_replicas", ["1", True, 1.5, -1, 1001, 2**40, [], 11]),
    ("max_replicas", ["1", True, 1.5, 0, -1, 1001, 2**40, {}]),
    ("network", [1, "", "internet", "HOST", [], {}]),
    ("project_id", [1, True, [], {}, "", "a b", "p" * 64, "../x"]),
]


@pytest.mark.parametrize("field,value", [
    pytest.param(field, v, id=f"{field}-{i}") for field, vs in WRONG for i, v in enumerate(vs)])
def test_wrong_values_say_which_field(server, field, value):
    reply = server.fn("POST", "", body(**{field: value}))
    asked = reply.json.get("details", {}).get("field", "")
    if field == "resources" and isinstance(value, dict):
        field = next(iter(value))
    refused(reply, field)
    assert len(reply.body) < 2000, "an error does not repeat what was sent"
    assert asked
    assert server.fn("GET", "?project_id=proj-default").json["functions"] == []


def test_wrong_runtime_types(server):
    for value in (1, True, [], {}):
        refused(server.fn("POST", "", body(runtime=value)), "runtime")


def test_host_network_needs_a_server_that_allows_it(server):
    refused(server.fn("POST", "", body(network="host")), status=403, code="FORBIDDEN")
    assert server.kube("GET", "").json == []


@pytest.mark.parametrize("field,value", [
    ("name", "a\u0000b"), ("environment", {"A": "x\u0000y"}), ("min_replicas", 10**30)])
def test_what_json_may_not_carry_here(server, field, value):
    """NUL ends strings elsewhere and such numbers fit nowhere: refused with the body as a whole."""
    refused(server.fn("POST", "", body(**{field: value})))
    assert server.kube("GET", "").json == []


def test_minimum_above_maximum(server):
    refused(server.fn("POST", "", body(min_replicas=3, max_replicas=2)))


def test_environment_values_are_not_in_errors(server):
    reply = server.fn("POST", "", body(environment={"A": "very-secret", "1": "very-secret-too"}))
    refused(reply, "environment")
    assert b"very-secret" not in reply.body


@pytest.mark.parametrize("raw", [
    b"", b"{", b"[]", b"null", b"1", b"\"x\"", b"{}x", b"{\"name\":\"a\",}", b"{'a':1}",
    b"\xff\xfe", b"{\"name\":\"\xff\"}", b"{\"name\":\"\\ud800\"}", b"[" * 100000,
    b"{\"a\":" * 5000 + b"1" + b"}" * 5000, b"{\"name\":\"a\\u0000\"}"])
def test_bodies_that_are_no_objects(server, raw):
    reply = server.request("POST", "/api/v1/workspaces/ws-default/functions", raw,
                           {"Content-Type": "application/json"})
    refused(reply)
    assert server.kube("GET", "").json == []


def test_twice_the_same_key_is_not_ambiguous(server):
    """Refused or the last one wins: never the first for one layer and the last for another."""
    raw = json.dumps(body()).replace('"name": "f"', '"name": "f", "name": "g"').encode()
    reply = server.request("POST", "/api/v1/workspaces/ws-default/functions", raw)
    names = [f["name"] for f in server.kube("GET", "").json]
    assert (reply.status, names) in ((400, []), (201, ["g"])), reply


def test_unknown_fields_are_ignored(server):
    reply = server.fn("POST", "", body(surprise={"deep": [1, 2]}, version=7, id="func-999"))
    assert reply.status == 201, reply
    assert reply.json["id"] != "func-999"
    assert reply.json["active_version"] == "v1"


def test_text_of_all_planes_in_labels_and_annotations(server):
    text = "Grüße, 你好, 🚀, \"quoted\" \\ </script>"
    ident = server.create(OK, labels={text[:20]: text}, annotations={"description": text})
    f = server.fn("GET", f"/{ident}").json
    assert f["labels"] == {text[:20]: text}
    assert f["annotations"] == {"description": text}


def test_unicode_in_source_and_environment(server):
    code = "# Grüße\ndef handler(e):\n    import os\n    return 'ß🚀' + os.environ['X']\n"
    ident = server.create(code, environment={"X": "你好\nzwei"})
    assert server.result(ident) == "ß🚀你好\nzwei".encode()


def test_longest_name_that_is_allowed(server):
    name = "a" * 63
    ident = server.create(OK, name=name)
    assert server.fn("GET", f"/{ident}").json["name"] == name
    assert server.result(ident) == b"ok"


def test_most_environment_that_is_allowed(server):
    env = {f"K{i}": "v" * 200 for i in range(256)}
    ident = server.create(ENV, environment=env)
    assert server.result(ident, list(env)) == env


def test_a_large_source(server):
    code = "X = '" + "y" * (3 << 20) + "'\ndef handler(e):\n    return len(X)\n"
    ident = server.create(code)
    assert server.result(ident) == 3 << 20


def test_a_source_over_the_limit_is_refused(server):
    reply = server.fn("POST", "", body(source_code=b64(b"#" * (10 * 1024 * 1024 + 1))))
    refused(reply, status=413, code="PAYLOAD_TOO_LARGE")
    assert server.kube("GET", "").json == []


def test_failed_build_leaves_a_function_that_says_so(server):
    reply = server.fn("POST", "", body(source_code=b64("def handler(:\n")))
    assert reply.status == 201, reply
    assert (reply.json["status"], reply.json["active_version"]) == ("error", "")
    assert "SyntaxError" in server.versions_log(reply.json["id"])
    called = server.invoke(reply.json["id"])
    assert (called.status, called.json["code"]) == (409, "BUILD_FAILED"), called


def test_node_syntax_error(server):
    reply = server.fn("POST", "", body(runtime="nodejs18", source_code=b64("exports.handler = (")))
    assert (reply.status, reply.json["status"]) == (201, "error"), reply
    assert "SyntaxError" in server.versions_log(reply.json["id"])


@pytest.mark.parametrize("runtime,code", [
    ("python3.9", "def other(e):\n    return 1\n"), ("nodejs18", "exports.other = () => 1;")])
def test_a_handler_that_does_not_exist(server, runtime, code):
    reply = server.fn("POST", "", body(runtime=runtime, source_code=b64(code),
                                       handler="main.missing"))
    assert (reply.status, reply.json["status"]) == (201, "error"), reply
    log = server.versions_log(reply.json["id"])
    assert "missing" in log and "other" in log, "the log names what is there"


# ---- names ----


def test_a_name_is_taken_once_a_project(server):
    first = server.create(OK)
    refused(server.fn("POST", "", body()), status=409, code="CONFLICT")
    assert server.fn("POST", "", body(project_id="other")).status == 201
    assert server.fn("POST", "", body(), ws="ws-other").status == 201
    assert server.fn("DELETE", f"/{first}").status == 204
    again = server.create(OK)
    assert again != first, "an id is not used twice"


def test_a_race_for_a_name_has_one_winner(server):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: server.fn("POST", "", body(name="race")), range(8)))
    assert sorted(r.status for r in replies) == [201] + [409] * 7, replies
    assert [f["name"] for f in server.kube("GET", "").json] == ["race"]


def test_a_race_for_a_name_by_both_apis(server):
    def make(i):
        if i % 2:
            return server.fn("POST", "", body(name="race"))
        return server.kube("POST", "", {"name": "race", "runtime": "python39", "code": OK})

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        statuses = sorted(r.status for r in pool.map(make, range(6)))
    assert statuses == [201] + [409] * 5
    server.wait_build("race")


def test_names_differ_by_case(server):
    server.create(OK, name="Name")
    server.create(OK, name="name")
    assert {f["name"] for f in server.kube("GET", "").json} == {"Name", "name"}


# ---- list and get ----


def test_list_is_newest_first_and_short(server):
    for name in ("one", "two", "three"):
        server.create(OK, name=name)
    got = server.fn("GET", "?project_id=proj-default").json["functions"]
    assert [f["name"] for f in got] == ["three", "two", "one"]
    assert set(got[0]) == {"id", "name", "runtime", "status", "active_version", "created_at"}


def test_list_needs_a_project(server):
    refused(server.fn("GET", ""), "project_id")


def test_list_shows_one_project_only(server):
    server.create(OK, name="here", project_id="p1")
    server.create(OK, name="there", project_id="p2")
    got = server.fn("GET", "?project_id=p1").json["functions"]
    assert [f["name"] for f in got] == ["here"]
    assert server.fn("GET", "?project_id=nobody").json == {"functions": []}
    assert server.fn("GET", "?project_id=").status in (200, 400)


def test_workspaces_do_not_see_each_other(server):
    ident = server.create(OK, triggers=None)
    version = server.fn("GET", f"/{ident}/versions").json["versions"][0]["id"]
    run = server.invoke(ident).json["invocation_id"]
    trigger = server.fn("POST", f"/{ident}/triggers", {"name": "t", "type": "http"}).json["id"]
    for method, path, data in [
            ("GET", "", None), ("PUT", "", {"labels": {}}), ("DELETE", "", None),
            ("GET", "/versions", None), ("POST", "/versions", {"source_code": b64(OK)}),
            ("GET", f"/versions/{version}", None), ("PUT", f"/versions/{version}/active", None),
            ("POST", "/rollback", None), ("GET", "/triggers", None),
            ("POST", "/triggers", {"name": "u", "type": "http"}),
            ("PUT", f"/triggers/{trigger}", {"enabled": False}),
            ("DELETE", f"/triggers/{trigger}", None), ("POST", "/invoke", {}),
            ("POST", "/invoke-async", {}), ("GET", "/invocations", None), ("GET", "/logs", None),
            ("GET", "/metrics", None), ("GET", "/events", None)]:
        refused(server.fn(method, f"/{ident}{path}", data, ws="ws-other"), status=404,
                code="FUNCTION_NOT_FOUND")
    refused(server.fn("GET", f"/invocations/{run}", ws="ws-other"), status=404,
            code="INVOCATION_NOT_FOUND")
    assert server.fn("GET", "?project_id=proj-default", ws="ws-other").json == {"functions": []}
    assert server.fn("GET", f"/{ident}").status == 200
    assert len(server.fn("GET", f"/{ident}/triggers").json["triggers"]) == 1


@pytest.mark.parametrize("ident", [
    "func-999999", "func-0", "func--1", "func-1x", "func-", "1", "nonsense", "ver-1",
    "func-99999999999999999999", "%00", "func-01", "..%2f..", "func-%31%30%30%30%30"])
def test_unknown_functions(server, ident):
    for method, data in (("GET", None), ("PUT", {}), ("DELETE", None)):
        reply = server.fn(method, f"/{ident}", data)
        assert reply.status in (400, 404), reply
        if reply.status == 404:
            assert reply.json["code"] == "FUNCTION_NOT_FOUND", reply


def test_workspace_names_are_checked(server):
    for ws in ("a%20b", "-x", "w" * 64, "%00", "a%2Fb"):
        reply = server.fn("POST", "", body(), ws=ws)
        assert reply.status in (400, 404), reply
    # A client cleans the path (RFC 3986 5.2.4); so does the server: this is another path.
    assert server.fn("POST", "", body(), ws="%2e%2e", check=False).status in (400, 404)


def test_trailing_slashes(server):
    reply = server.fn("POST", "/", body())
    assert reply.status == 201, reply
    ident = reply.json["id"]
    assert len(server.fn("GET", "/?project_id=proj-default").json["functions"]) == 1
    for path in ("/", "/versions/", "/triggers/", "/invocations/", "/logs/", "/metrics/",
                 "/events/"):
        assert server.fn("GET", f"/{ident}{path}").status == 200, path
    assert server.fn("POST", f"/{ident}/invoke/", {}).status == 200
    assert server.fn("PUT", f"/{ident}/", {"labels": {"a": "b"}}).status == 200
    assert server.fn("GET", "/provider/capabilities/").status == 200
    assert server.fn("DELETE", f"/{ident}/").status == 204


def test_unknown_paths_and_methods(server):
    ident = server.create(OK)
    for path in ("/nothing", "/versions/1/2/3", "/invoke/x"):
        reply = server.fn("GET", f"/{ident}{path}")
        refused(reply, status=404, code="NOT_FOUND")
    for method, path, allowed in [
            ("PATCH", f"/{ident}", {"GET", "PUT", "DELETE"}), ("DELETE", "", {"GET", "POST"}),
            ("GET", f"/{ident}/invoke", {"POST"}), ("POST", f"/{ident}", {"GET", "PUT", "DELETE"}),
            ("PUT", f"/{ident}/rollback", {"POST"}), ("POST", "/provider/health", {"GET"})]:
        reply = server.call(method, f"/api/v1/workspaces/ws-default/functions{path}",
                            {} if method == "POST" else None, check=False)
        assert reply.status == 405, (method, path, reply)
        assert reply.json["code"] == "METHOD_NOT_ALLOWED"
        said = {m.strip() for m in reply.headers["Allow"].split(",")}
        assert allowed <= said and method not in said, reply.headers


# ---- authorization ----


def test_every_path_needs_a_token(server):
    ident = server.create(OK)
    for method, path in [("GET", "?project_id=x"), ("POST", ""), ("GET", f"/{ident}"),
                         ("PUT", f"/{ident}"), ("DELETE", f"/{ident}"), ("POST", f"/{ident}/invoke"),
                         ("GET", f"/{ident}/logs"), ("GET", "/provider/capabilities"),
                         ("GET", "/invocations/inv-00000000000000000000000000")]:
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            reply = server.fn(method, path, headers=headers, token=None)
            refused(reply, status=401, code="UNAUTHORIZED")
            assert reply.headers["WWW-Authenticate"].startswith("Bearer")
    assert server.fn("GET", f"/{ident}").status == 200


# ---- secrets ----


def test_environment_is_given_to_the_function_and_to_nobody_else(server):
    secret = "hunter2-swordfish"
    ident = server.create(ENV, name="keeper", environment={"API_KEY": secret, "EMPTY": ""})
    assert server.result(ident, ["API_KEY", "EMPTY"]) == {"API_KEY": secret, "EMPTY": ""}
    for reply in (server.fn("GET", f"/{ident}"), server.fn("GET", "?project_id=proj-default"),
                  server.fn("PUT", f"/{ident}", {"labels": {"a": "b"}}), server.kube("GET", ""),
                  server.kube("GET", "/keeper"), server.fn("GET", f"/{ident}/events"),
                  server.fn("GET", f"/{ident}/versions"), server.fn("GET", f"/{ident}/logs")):
        assert secret.encode() not in reply.body, reply
    assert secret not in server.log()


def test_own_names_in_the_environment(server):
    names = ["FUNCTION_NAME", "FUNCTION_HANDLER", "RUNTIME"]
    code = "import os\ndef handler(e):\n    return dict(os.environ)\n"
    ident = server.create(code, name="me")
    env = server.result(ident)
    assert [env[n] for n in names] == ["me", "main.handler", "python3.9"]
    assert "v1" in env.values() or "1" in env.values(), "its own version"
    assert "ws-default" in env.values(), "its workspace"
    assert not [k for k in env if "TOKEN" in k], env


# ---- update ----


def test_update_as_the_document_writes_it(server):
    code = "def handler(e):\n    return 'old'\ndef new_handler(e):\n    return 'new'\n"
    ident = server.create(code, environment={"A": "1"}, labels={"keep": "me"})
    was = server.fn("GET", f"/{ident}").json
    reply = server.fn("PUT", f"/{ident}", {
        "name": "updated-function", "handler": "main.new_handler",
        "environment": {"NEW_VAR": "value"}, "resources": {"memory": "512Mi", "cpu": "200m"}})
    assert reply.status == 200, reply
    f = reply.json
    assert f == server.fn("GET", f"/{ident}").json
    assert f["name"] == "updated-function"
    assert f["environment"] == {"NEW_VAR": "***"}
    assert f["resources"] == {"memory": "512Mi", "cpu": "200m"}
    assert f["labels"] == {"keep": "me"}
    assert f["active_version"] == "v1"
    assert f["created_at"] == was["created_at"]
    assert moment(f["updated_at"]) >= moment(was["updated_at"])
    assert server.result(ident) == b"new"
    assert server.kube("GET", "/updated-function").status == 200
    assert server.kube("GET", "/f").status == 404


def test_update_changes_what_is_given_and_no_more(server):
    ident = server.create(OK, environment={"A": "1"}, labels={"l": "1"}, annotations={"a": "1"},
                          resources={"memory": "200Mi"}, timeout=5, min_replicas=0, max_replicas=2)
    was = server.fn("GET", f"/{ident}").json
    now = server.fn("PUT", f"/{ident}", {}).json
    assert {**now, "updated_at": ""} == {**was, "updated_at": ""}
    for field, value in [("labels", {"x": "y"}), ("annotations", {}), ("timeout", 9.5),
                         ("max_replicas", 4), ("network", "none"),
                         ("resources", {"memory": "200Mi", "cpu": "500m"})]:
        now = server.fn("PUT", f"/{ident}", {field: value}).json
        was[field] = value
        assert {**now, "updated_at": ""} == {**was, "updated_at": ""}, field


def test_what_was_read_can_be_written_back(server):
    ident = server.create(ENV, environment={"A": "secret", "B": "2"})
    f = server.fn("GET", f"/{ident}").json
    f["environment"]["B"] = "3"
    reply = server.fn("PUT", f"/{ident}", f)
    assert reply.status == 200, reply
    assert server.result(ident, ["A", "B"]) == {"A": "secret", "B": "3"}, "masks keep the value"


def test_environment_is_replaced_as_a_whole_and_serves_at_once(server):
    ident = server.create(ENV, environment={"A": "1", "B": "2"})
    assert server.result(ident, ["A", "B", "C"]) == {"A": "1", "B": "2"}
    server.fn("PUT", f"/{ident}", {"environment": {"C": "3"}})
    assert server.result(ident, ["A", "B", "C"]) == {"C": "3"}
    server.fn("PUT", f"/{ident}", {"environment": {}})
    assert server.result(ident, ["A", "B", "C"]) == {}


@pytest.mark.parametrize("field,value", [
    pytest.param(field, v, id=f"{field}-{i}") for field, vs in WRONG
    if field not in ("source_code", "project_id") for i, v in enumerate(vs)])
def test_update_refuses_what_create_refuses(server, field, value):
    found = server.kube("GET", "").json
    ident = server.create(OK) if not found else None
    was = server.fn("GET", f"/{ident}").json
    shown = field
    if field == "resources" and isinstance(value, dict):
        shown = next(iter(value))
    refused(server.fn("PUT", f"/{ident}", {field: value}), shown)
    assert server.fn("GET", f"/{ident}").json == was, "nothing changed"


def test_runtime_and_code_are_not_updated(server):
    ident = server.create(OK)
    refused(server.fn("PUT", f"/{ident}", {"runtime": "nodejs18"}), "runtime")
    refused(server.fn("PUT", f"/{ident}", {"source_code": b64(OK)}), "source_code")
    assert server.fn("PUT", f"/{ident}", {"runtime": "python3.9"}).status == 200


def test_rename_to_a_taken_name(server):
    server.create(OK, name="taken")
    ident = server.create(OK, name="mine")
    refused(server.fn("PUT", f"/{ident}", {"name": "taken"}), status=409, code="CONFLICT")
    assert server.fn("GET", f"/{ident}").json["name"] == "mine"
    assert server.fn("PUT", f"/{ident}", {"name": "mine"}).status == 200


def test_a_renamed_function_frees_its_name(server):
    ident = server.create(OK, name="first")
    assert server.fn("PUT", f"/{ident}", {"name": "second"}).status == 200
    server.create(OK, name="first")
    assert server.fn("DELETE", f"/{ident}").status == 204


def test_two_updates_at_once_both_hold(server):
    """They touch different fields: neither may undo the other, or one is told of it (409)."""
    ident = server.create(OK)
    wishes = [{"labels": {"n": "1"}}, {"annotations": {"n": "2"}}, {"timeout": 3},
              {"resources": {"memory": "200Mi"}}]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        replies = list(pool.map(lambda w: server.fn("PUT", f"/{ident}", w), wishes))
    f = server.fn("GET", f"/{ident}").json
    for wish, reply in zip(wishes, replies):
        assert reply.status in (200, 409), reply
        if reply.status == 200:
            (field, value), = wish.items()
            assert f[field] == value, (field, f)


def test_an_update_to_a_handler_that_does_not_load_does_not_serve(server):
    ident = server.create("def only(e):\n    return 'ok'\n", handler="main.only")
    reply = server.fn("PUT", f"/{ident}", {"handler": "main.nothing"})
    if reply.status == 200:
        assert server.invoke(ident).status in (409, 500)
        assert server.fn("PUT", f"/{ident}", {"handler": "main.only"}).status == 200
    assert server.result(ident) == b"ok"


# ---- delete ----


def test_delete(server):
    ident = server.create(OK)
    server.fn("POST", f"/{ident}/triggers", {"name": "t", "type": "http"})
    run = server.invoke(ident).json["invocation_id"]
    reply = server.fn("DELETE", f"/{ident}")
    assert (reply.status, reply.body) == (204, b"")
    for method, path in [("GET", ""), ("DELETE", ""), ("POST", "/invoke"), ("GET", "/versions"),
                         ("GET", "/logs"), ("GET", "/triggers"), ("GET", "/metrics")]:
        refused(server.fn(method, f"/{ident}{path}"), status=404, code="FUNCTION_NOT_FOUND")
    assert server.fn("GET", "?project_id=proj-default").json == {"functions": []}
    assert server.kube("GET", "").json == []
    assert server.gateway("GET", "/f").status == 404
    refused(server.fn("GET", f"/invocations/{run}"), status=404, code="INVOCATION_NOT_FOUND")


def test_a_race_to_delete(server):
    ident = server.create(OK)
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        statuses = sorted(r.status for r in pool.map(
            lambda _: server.fn("DELETE", f"/{ident}"), range(6)))
    assert statuses == [204] + [404] * 5
