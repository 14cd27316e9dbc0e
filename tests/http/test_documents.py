# SPDX-License-Identifier: Apache-2.0
"""The examples of the documents of fnservice and kube, literally, as they stand in tests/specs:
only the base URL, the ids and the token are put in. The answers have the members and types of the
examples."""

import json
import subprocess
import textwrap

import harness
import pytest
from documents import assert_like, block, sections
from harness import ROOT, unb64, wait_for

WS = "ws-789"
PROJECT = "proj-456"

# ---- document 000: requests and the fields of their answers ----

CREATE = block("fnservice", "Create Function", "Request Body")
UPDATE = block("fnservice", "Update Function", "Request Body")
DEPLOY = block("fnservice", "Deploy Version", "Request Body")
HTTP_TRIGGER = block("fnservice", "Create Trigger", "Request Body (HTTP")
SCHEDULE_TRIGGER = block("fnservice", "Create Trigger", "Request Body (Schedule")
INVOKE = block("fnservice", "Invoke Function (Synchronous)", "Request Body")
# What users name themselves: maps whose keys are theirs.
FREE = ("labels", "annotations", "metadata", "config", "details", "headers", "environment")


def answer_of(*titles):
    return block("fnservice", *titles, "Response")


def post(server, method, path, text=None, ws=WS):
    headers = {"Content-Type": "application/json"} if text else {}
    reply = server.request(method, f"/api/v1/workspaces/{ws}/functions{path}", text, headers)
    if method == "POST" and path.startswith("?") and reply.status == 201:
        server.made.add((ws, reply.json["id"]))
    return reply


@pytest.fixture
def example(server):
    """The document's function; its id."""
    reply = post(server, "POST", f"?project_id={PROJECT}", CREATE)
    assert reply.status == 201, reply
    return reply.json["id"]


def block_words(title):
    return next(s.text for s in sections("fnservice") if s.titles and s.titles[-1] == title)


def like(reply, status, *titles):
    """The reply's JSON, which is shaped like the document's example."""
    assert reply.status == status, reply
    assert_like(answer_of(*titles), reply.json, FREE)
    return reply.json


def test_create(server):
    f = like(post(server, "POST", f"?project_id={PROJECT}", CREATE), 201, "Create Function")
    example = json.loads(answer_of("Create Function"))
    for name in ("workspace_id", "project_id", "name", "namespace", "runtime", "handler", "status",
                 "active_version"):
        assert f[name] == example[name]
    assert "secret-key" not in json.dumps(f)


def test_list_and_get(server, example):
    listed = like(post(server, "GET", f"?project_id={PROJECT}"), 200, "List Functions")
    assert set(listed["functions"][0]) == {"id", "name", "runtime", "status", "active_version",
                                          "created_at"}
    got = like(post(server, "GET", f"/{example}"), 200, "Get Function")
    assert got["labels"] == json.loads(answer_of("Get Function"))["labels"]


def test_update_and_delete(server, example):
    got = like(post(server, "PUT", f"/{example}", UPDATE), 200, "Get Function")
    assert (got["name"], got["handler"]) == ("updated-function", "main.new_handler")
    gone = post(server, "DELETE", f"/{example}")
    assert (gone.status, gone.body) == (204, b"")


def test_versions(server, example):
    v = like(post(server, "POST", f"/{example}/versions", DEPLOY), 201, "Deploy Version")
    assert (v["workspace_id"], v["function_id"], v["function_name"], v["version"],
            v["is_active"]) == (WS, example, "my-function", 2, False)
    reply = post(server, "PUT", f"/{example}/versions/{v['id']}/active")
    assert (reply.status, reply.json) == (200, json.loads(answer_of("Set Active Version")))
    listed = like(post(server, "GET", f"/{example}/versions"), 200, "List Versions")["versions"]
    assert [(x["version"], x["build_status"], x["is_active"]) for x in listed] == [
        (2, "success", True), (1, "success", False)]
    assert unb64(post(server, "POST", f"/{example}/invoke", INVOKE).json["body"]) == b"Version 2"
    reply = post(server, "POST", f"/{example}/rollback")
    assert (reply.status, reply.json) == (200, json.loads(answer_of("Rollback Version")))
    assert unb64(post(server, "POST", f"/{example}/invoke", INVOKE).json["body"]) == b"Hello World"


def test_triggers(server, example):
    t = like(post(server, "POST", f"/{example}/triggers", HTTP_TRIGGER), 201, "Create Trigger")
    assert t["config"] == json.loads(HTTP_TRIGGER)["config"]
    got = server.gateway("GET", "/api/hello")
    assert (got.status, got.body) == (200, b"Hello World")
    assert post(server, "GET", f"/{example}/triggers").json["triggers"] == [t]
    assert post(server, "PUT", f"/{example}/triggers/{t['id']}", '{"enabled": false}').status == 200
    assert post(server, "DELETE", f"/{example}/triggers/{t['id']}").status == 204


def test_the_schedule_trigger(server, example):
    t = like(post(server, "POST", f"/{example}/triggers", SCHEDULE_TRIGGER), 201, "Create Trigger")
    assert (t["type"], t["config"]["cron"]) == ("schedule", "0 */5 * * *")


def test_invoke(server, example):
    r = like(post(server, "POST", f"/{example}/invoke", INVOKE), 200,
             "Invoke Function (Synchronous)")
    assert (r["status_code"], unb64(r["body"])) == (200, b"Hello World")


def test_invoke_async_and_history(server, example):
    run = like(post(server, "POST", f"/{example}/invoke-async", INVOKE), 202,
               "Invoke Function (Asynchronous)")["invocation_id"]
    wait_for("it completes", lambda: post(
        server, "GET", f"/invocations/{run}").json["status"] == "completed")
    got = like(post(server, "GET", f"/invocations/{run}"), 200, "Get Invocation Status")
    assert got["result"]["status_code"] == 200
    assert unb64(got["result"]["body"]) == b"Hello World"
    listed = post(server, "GET", f"/{example}/invocations?limit=50").json["invocations"]
    assert [i["invocation_id"] for i in listed] == [run]


def test_logs(server):
    ident = post(server, "POST", f"?project_id={PROJECT}", json.dumps({
        **json.loads(CREATE), "name": "talks", "source_code": harness.b64(
            "def handler(context):\n    print('Processing request')\n")})).json["id"]
    post(server, "POST", f"/{ident}/invoke", INVOKE)
    wait_for("the line is stored", lambda: post(server, "GET", f"/{ident}/logs").json["logs"])
    got = like(post(server, "GET", f"/{ident}/logs"), 200, "Get Function Logs")["logs"]
    assert got[0]["message"] == "Processing request"


def test_metrics_and_events(server, example):
    post(server, "POST", f"/{example}/invoke", INVOKE)
    like(post(server, "GET", f"/{example}/metrics"), 200, "Get Function Metrics")
    like(post(server, "GET", f"/{example}/events?limit=100"), 200, "Get Function Events")


def test_provider(server):
    c = like(post(server, "GET", "/provider/capabilities"), 200, "Get Provider Capabilities")
    assert {"python3.9", "nodejs18"} & set(c["supported_runtimes"])
    assert post(server, "GET", "/provider/health").json == json.loads(
        block("fnservice", "Check Provider Health", "Response (Healthy)"))


def test_errors(server):
    reply = post(server, "POST", f"?project_id={PROJECT}", CREATE.replace("python3.9", "cobol"))
    assert reply.status == 400
    assert_like(block("fnservice", "Error Responses"), reply.json, FREE)
    words = block_words("Common Error Codes")
    assert reply.json["code"] == "INVALID_RUNTIME" and reply.json["code"] in words
    assert post(server, "GET", "/func-999999").json["code"] == "FUNCTION_NOT_FOUND"


def test_the_functions_of_the_sdk_examples(server):
    """The sources that the document's Python and JavaScript examples deploy."""
    python = server.create("""
def handler(context):
    return {"status": 200, "body": "Hello World"}
""", name="p", handler="main.handler")
    assert server.result(python, {"message": "test"}) == b"Hello World"
    node = server.create("""
exports.handler = async (event) => {
  return {
    statusCode: 200,
    body: JSON.stringify({ message: 'Hello World' })
  };
};
""", name="n", runtime="nodejs18", handler="index.handler")
    assert json.loads(server.result(node, {"message": "test"})) == {"message": "Hello World"}


# ---- document 001: its examples are whole programs ----

CURL = block("kube", "cURL", language="bash")
PYTHON = block("kube", "SDK Examples", "Python", language="python")
NODE = block("kube", "SDK Examples", "Node.js", language="javascript")


@pytest.fixture
def open_server(start):
    """The document's API has no authentication."""
    return start(auth=False)


def run(command, **more):
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **more)
    assert done.returncode == 0, done
    return done.stdout


def test_the_curl_example(open_server):
    script = CURL.replace("http://api-server", open_server.url).replace("curl ", "curl -sS ")
    out = run(["sh", "-ec", script])
    decoder = json.JSONDecoder()
    created, end = decoder.raw_decode(out)
    invoked, _ = decoder.raw_decode(out[end:].lstrip())
    assert created["status"] == {"state": "deploying"}
    assert invoked == {"statusCode": 200, "body": "OK"}


def test_the_python_example(open_server):
    script = PYTHON.replace("http://api-server", open_server.url)
    script += "print(response.status_code, result.status_code, result.text)\n"
    out = run(["/usr/bin/python3", "-c", script])  # with Debian's python3-requests
    assert out.split(maxsplit=2)[:2] == ["201", "200"]
    assert json.loads(out.split(maxsplit=2)[2]) == {"statusCode": 200, "body": None}


def run_node(script):
    """With npm's axios."""
    whole = f"(async () => {{{textwrap.dedent(script)}}})().catch((e) => console.log(e.message))"
    return run(["node", "-e", whole], cwd=ROOT / "tools/npm/test")


def test_the_node_example(open_server):
    """Its `...` stands for the code: that one word is filled in."""
    script = NODE.replace("http://api-server", open_server.url).replace(
        "handler = ...", "handler = async (event) => event.body")
    out = run_node(script + "console.log(JSON.stringify(result.data));")
    assert json.loads(out) == {"statusCode": 200, "body": {"data": "test"}}


def test_the_node_example_to_the_letter(open_server):
    """With `...` as code it is stored, does not build, and the call says so."""
    out = run_node(NODE.replace("http://api-server", open_server.url))
    assert "status code 409" in out


# ---- document 001: each endpoint ----

KUBE_CREATE = block("kube", "Create Function")


@pytest.fixture
def kube_example(server):
    """The document's function, built; the answer to its creation."""
    reply = server.request("POST", "/api/v1/functions", KUBE_CREATE,
                           {"Content-Type": "application/json"})
    server.wait_build("my-function")
    return reply


def kube_like(reply, status, title, index=0):
    assert reply.status == status, reply
    assert_like(block("kube", title, index=index), reply.json, ("environment",), ("result",))
    return reply.json


def test_kube_create(kube_example):
    got = kube_like(kube_example, 201, "Create Function", 1)
    assert got == {**got, **json.loads(block("kube", "Create Function", index=1))}


def test_kube_list_and_get(server, kube_example):
    listed = kube_like(server.kube("GET"), 200, "List Functions")
    assert [f["name"] for f in listed] == ["my-function"]
    got = kube_like(server.kube("GET", "/my-function"), 200, "Get Function")
    assert got["code"] == json.loads(KUBE_CREATE)["code"]


def test_kube_update_and_delete(server, kube_example):
    reply = server.request("PUT", "/api/v1/functions/my-function", KUBE_CREATE,
                           {"Content-Type": "application/json"})
    assert reply.status == 200, reply
    server.wait_build("my-function")
    reply = server.kube("DELETE", "/my-function")
    assert (reply.status, reply.body) == (204, b"")


def test_kube_invoke_and_its_trigger(server, kube_example):
    body = block("kube", "Invoke Function")
    reply = server.request("POST", "/api/v1/functions/my-function/invoke", body,
                           {"Content-Type": "application/json"})
    assert (reply.status, reply.json) == (200, {"statusCode": 200, "body": "Hello!"})
    assert float(reply.headers["X-Function-Duration"]) >= 0
    assert reply.headers["X-Cold-Start"] in ("true", "false")
    assert server.gateway("GET", "/my-function").body == b"Hello!"


def test_kube_metrics(server, kube_example):
    server.kube("POST", "/my-function/invoke", {})
    kube_like(server.kube("GET", "/my-function/metrics"), 200, "Get Function Metrics")


def test_kube_health(server):
    for path in ("/health", "/api/v1/health"):
        assert server.request("GET", path).json == json.loads(block("kube", "Health Check"))
    for path in ("/ready", "/api/v1/ready"):
        assert server.request("GET", path).json == json.loads(block("kube", "Readiness Check"))


def test_kube_errors(server):
    for reply, status, title in [
            (server.request("POST", "/api/v1/functions", "{"), 400, "400 Bad Request"),
            (server.kube("GET", "/nowhere"), 404, "404 Not Found")]:
        kube_like(reply, status, title)
    assert server.kube("GET", "/nowhere").json["error"].lower().startswith("function")


@pytest.mark.parametrize("title", ["HTTP Trigger", "Cron Trigger"])
def test_kube_triggers(server, title):
    function = {**json.loads(KUBE_CREATE), "triggers": [json.loads(block("kube", title))]}
    reply = server.kube("POST", "", function)
    assert reply.status == 201, reply
    server.wait_build("my-function")
    got = server.kube("GET", "/my-function").json["triggers"]
    assert [t["type"] for t in got] == [function["triggers"][0]["type"]]


def test_the_event_object(server):
    """The document's event: its members are there."""
    text = block("kube", "Event Object", language="javascript")
    names = [line.split('"')[1] for line in text.splitlines() if '"' in line]
    assert server.kube("POST", "", {
        "name": "my-function", "runtime": "nodejs18", "handler": "index.handler",
        "code": "exports.handler = (event) => Object.keys(event);"}).status == 201
    server.wait_build("my-function")
    assert set(names) <= set(server.kube("POST", "/my-function/invoke", {}).json["body"])


RETURNS = [block("kube", "Response Format", language="javascript", index=i) for i in (0, 1)]


@pytest.mark.parametrize("text,value", [
    (json.loads(KUBE_CREATE)["code"],
     {"statusCode": 200, "body": "Hello!"}),
    (f"exports.handler = () => ({RETURNS[0]});",
     {"statusCode": 200, "body": "Response data (string or object)"}),
    (f"exports.handler = () => ({RETURNS[1]});",
     {"statusCode": 200, "body": {"message": "Hello World"}})])
def test_the_response_formats_of_001(server, text, value):
    assert server.kube("POST", "", {"name": "my-function", "runtime": "nodejs18",
                                    "handler": "index.handler", "code": text}).status == 201
    server.wait_build("my-function")
    reply = server.kube("POST", "/my-function/invoke", {"key": "value", "data": [1, 2, 3]})
    assert reply.json == value
    assert float(reply.headers["X-Function-Duration"]) >= 0
    assert reply.headers["X-Cold-Start"] in ("true", "false")
