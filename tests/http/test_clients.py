# SPDX-License-Identifier: Apache-2.0
"""npm's swagger-client against kiln, from documents that others wrote (tests/specs): every
operation of them is called, and what comes back is what they promise."""

import http.server
import json
import subprocess
import threading

import harness
import jsonschema
import pytest
import yaml
from blue import SPIN
from harness import ROOT, PATIENCE_S, b64, wait_for

SPECS = ROOT / "tests/specs"
METHODS = ("get", "put", "post", "delete", "patch")
MODULES = ROOT / "tools/npm/test/node_modules/swagger-client"


class Client:
    """One document, one server; who called what is noted."""

    def __init__(self, document, url):
        assert MODULES.is_dir(), "tools/setup.sh test installs swagger-client"
        text = (SPECS / document).read_text()
        self.spec = yaml.safe_load(text)
        self.called = set()
        self.mend()
        self.node = subprocess.Popen(
            ["node", str(ROOT / "tests/http/swagger_client.mjs"), str(SPECS / document), url],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.node.stdout.readline() == "ready\n"

    def mend(self):
        """Where a document is known to be wrong about the system that it describes."""
        if "swagger" in self.spec:
            # "Map of http headers", it says beside `type: string`; IronFunctions has lists in it.
            self.spec["definitions"]["Route"]["allOf"][0]["properties"]["headers"] = {
                "type": "object",
                "additionalProperties": {"type": "array", "items": {"type": "string"}}}

    def close(self):
        self.node.stdin.close()
        self.node.wait(PATIENCE_S)
        self.node.stdout.close()

    def operations(self):
        return {(m, p) for p, item in self.spec["paths"].items() for m in METHODS if m in item}

    def schema_of(self, operation, status):
        answers = {str(k): v for k, v in operation["responses"].items()}
        answer = answers.get(str(status), answers.get("default"))
        assert answer is not None, f"{status} is not in the document"
        if "content" in answer:
            answer = answer["content"].get("application/json", {})
        return answer.get("schema")

    def call(self, method, path, parameters=None, body=None, files=None, status=None):
        """The reply's JSON, as the document describes it for its status."""
        line = {"method": method, "path": path, "parameters": parameters or {}}
        if body is not None:
            line["body"] = body
        if files:
            line["files"] = {k: {"name": n, "text": b64(t)} for k, (n, t) in files.items()}
        self.node.stdin.write(json.dumps(line) + "\n")
        self.node.stdin.flush()
        got = json.loads(self.node.stdout.readline())
        what = f"{method} {path}: {got}"
        assert "failed" not in got, what
        if status is not None:
            assert got["status"] == status, what
        operation = self.spec["paths"][path][method]
        schema = self.schema_of(operation, got["status"])
        data = json.loads(got["text"]) if got["text"] else None
        if schema:
            whole = {**schema, **{k: self.spec[k] for k in ("definitions", "components")
                                  if k in self.spec}}
            for e in jsonschema.Draft202012Validator(whole).iter_errors(data):
                raise AssertionError(f"{e.message} at {list(e.path)}: {what}")
        if got["status"] < 400:
            self.called.add((method, path))
        return data

    def assert_whole(self):
        missed = self.operations() - self.called
        assert not missed, f"never called with success: {sorted(missed)}"


@pytest.fixture
def open_server(start):
    """Neither document knows of tokens."""
    return start(auth=False)


@pytest.fixture
def client(open_server):
    made = []

    def make(document):
        made.append(Client(document, open_server.url))
        return made[-1]

    yield make
    for c in made:
        c.close()


# ---- IronFunctions ----

APP, ROUTE = "/apps/{app}", "/apps/{app}/routes/{route}"


def test_ironfunctions(client, open_server):
    c = client("ironfunctions-0.1.18.yml")
    app = c.call("post", "/apps", body={"app": {"name": "myapp", "config": {"LEVEL": "1"}}},
                 status=200)["app"]
    assert (app["name"], app["config"]) == ("myapp", {"LEVEL": "1"})
    assert "myapp" in [a["name"] for a in c.call("get", "/apps", status=200)["apps"]]
    assert c.call("get", APP, {"app": "myapp"}, status=200)["app"]["config"] == {"LEVEL": "1"}
    changed = c.call("put", APP, {"app": "myapp"}, {"app": {"config": {"MORE": "2"}}}, status=200)
    assert changed["app"]["config"] == {"LEVEL": "1", "MORE": "2"}

    route = {"path": "/hello", "image": "iron/hello", "memory": 64, "type": "async",
             "config": {"KILN_PULL": "true"}, "headers": {"X-From": ["iron"]}}
    made = c.call("post", "/apps/{app}/routes", {"app": "myapp"}, {"route": route},
                  status=201)["route"]
    assert (made["path"], made["image"], made["memory"], made["type"]) == (
        "/hello", "iron/hello", 64, "async")
    assert made["headers"] == {"X-From": ["iron"]}
    listed = c.call("get", "/apps/{app}/routes", {"app": "myapp"}, status=200)["routes"]
    assert [r["path"] for r in listed] == ["/hello"]
    at = {"app": "myapp", "route": "/hello"}  # sent as %2Fhello
    assert c.call("get", ROUTE, at, status=200)["route"]["image"] == "iron/hello"
    put = c.call("put", ROUTE, at, {"route": {"path": "/hello", "image": "iron/hello:2"}},
                 status=201)
    assert put["route"]["image"] == "iron/hello:2"
    assert c.call("get", ROUTE, at, status=200)["route"]["memory"] == 64

    queued = open_server.request("POST", "/r/myapp/hello", '{"name": "Ada"}')
    assert queued.status == 202, queued
    task = c.call("get", "/tasks", status=200)["task"]
    assert (task["id"], task["image"], json.loads(task["payload"])) == (
        queued.json["call_id"], "iron/hello:2", {"name": "Ada"})
    assert open_server.request("DELETE", "/tasks", json.dumps(task),
                               {"Content-Type": "application/json"}).status in (200, 202)

    c.call("delete", ROUTE, at, status=200)
    c.call("delete", APP, {"app": "myapp"}, status=200)
    c.assert_whole()


def test_ironfunctions_errors(client):
    c = client("ironfunctions-0.1.18.yml")
    at = {"app": "nowhere", "route": "/h"}
    assert c.call("get", ROUTE, at, status=404)["error"]["message"] == "App not found"
    assert "error" in c.call("post", "/apps", body={"app": {}}, status=400)
    c.call("post", "/apps", body={"app": {"name": "twice"}}, status=200)
    c.call("post", "/apps", body={"app": {"name": "twice"}}, status=409)
    c.call("get", ROUTE, {"app": "twice", "route": "/h"}, status=404)
    c.call("post", "/apps/{app}/routes", {"app": "twice"}, {"route": {"image": "x/y"}}, status=400)
    c.call("delete", APP, {"app": "twice"}, status=200)


# ---- Blue ----

WS, FN = "/api/workspaces/{workspace_id}", "/api/workspaces/{workspace_id}/functions/{function_id}"


def blue_functions(c):
    c.call("get", "/", status=200)
    c.call("get", "/health", status=200)
    ws = c.call("post", "/api/workspaces", body={"name": "team", "description": "ours"}, status=201)
    at = {"workspace_id": ws["id"]}
    assert ws["id"] in [w["id"] for w in c.call("get", "/api/workspaces", status=200)]
    assert c.call("get", WS, at, status=200)["name"] == "team"
    assert c.call("patch", WS, at, {"name": "crew"}, status=200)["name"] == "crew"

    fn = c.call("post", WS + "/functions", at, {
        "name": "greet", "description": "says hello", "runtime": "Python 3.12", "memory": 256,
        "timeout": 30, "httpMethods": ["GET"], "environmentVariables": {"A": "b"},
        "code": b64(SPIN)}, status=201)
    at_fn = {**at, "function_id": fn["id"]}
    assert [f["id"] for f in c.call("get", WS + "/functions", at, status=200)] == [fn["id"]]
    assert c.call("get", FN, at_fn, status=200)["name"] == "greet"
    assert c.call("patch", FN, at_fn, {"memory": 512}, status=200)["memory"] == 512

    run = wait_for("it is built", lambda: (
        lambda r: r if r.get("status") == "success" else None)(
            c.call("post", FN + "/invoke", at_fn, {"name": "Ada"}, status=200)))
    assert run["responseBody"] == {"data": "Hello from Blue FaaS!"}
    logs = wait_for("the call is in the log", lambda: c.call(
        "get", FN + "/logs", {**at_fn, "limit": 10}, status=200)["logs"])
    assert logs[0]["functionId"] == fn["id"]
    if ("get", WS + "/logs") in c.operations():
        c.call("get", WS + "/logs", {**at, "limit": 10}, status=200)
    c.call("get", "/api/functions/{function_id}/loki-logs", {"function_id": fn["id"], "limit": 10},
           status=200)
    c.call("get", "/api/functions/{function_id}/metrics", {"function_id": fn["id"]}, status=200)
    c.call("delete", FN, at_fn, status=204)
    c.call("delete", WS, at, status=204)


def finished(c, task):
    def look():
        got = c.call("get", "/api/v1/tasks/{task_id}", {"task_id": task["task_id"]}, status=200)
        return got if got["status"] not in ("pending", "running") else None
    return wait_for("the task ends", look)


def blue_builder(c):
    file = {"file": ("app.py", SPIN)}
    task = c.call("post", "/api/v1/build", body={"app_name": "greet"}, files=file, status=202)
    built = finished(c, task)
    assert built["status"] in ("completed", "done"), built
    listed = c.call("get", "/api/v1/workspaces/{workspace_id}/tasks",
                    {"workspace_id": "ws-default"}, status=200)
    assert task["task_id"] in json.dumps(listed)
    # A registry that is not there: a task that says so.
    nowhere = "127.0.0.1:1/greet"
    task = c.call("post", "/api/v1/push", body={
        "registry_url": nowhere, "app_dir": built["result"]["wasm_path"], "tag": "v1",
        "workspace_id": "ws-default"}, status=202)
    assert finished(c, task)["status"] == "failed"
    task = c.call("post", "/api/v1/build-and-push",
                  body={"registry_url": nowhere, "app_name": "greet", "tag": "v1"},
                  files=file, status=202)
    assert finished(c, task)["status"] == "failed"
    made = c.call("post", "/api/v1/scaffold", body={"image_ref": "127.0.0.1:5000/greet:v1",
                                                    "component": "greet", "replicas": 1},
                  status=200)
    assert made["success"] and "kind: SpinApp" in made["yaml_content"]


class Cluster(http.server.BaseHTTPRequestHandler):
    """As much of an API server as a deployment asks: one namespace, and it keeps what it is given.
    (The tests of deployments have one that checks what it is sent.)"""

    protocol_version = "HTTP/1.1"
    kept = {}

    def answer(self, status, what):
        body = json.dumps(what).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        path = self.path.split("?")[0]
        name = path.rsplit("/", 1)[1]
        if path == "/api/v1/namespaces/team" or path == "/api/v1/namespaces/team/services/greetapp":
            self.answer(200, {"kind": "Object", "apiVersion": "v1", "metadata": {"name": name}})
        else:
            self.answer(404, {"kind": "Status", "apiVersion": "v1", "status": "Failure",
                              "reason": "NotFound", "code": 404, "message": "not found"})

    def do_PATCH(self):
        sent = yaml.safe_load(self.rfile.read(int(self.headers["Content-Length"])))
        self.kept[self.path.split("?")[0]] = sent
        self.answer(200, sent)

    def log_message(self, *_):
        pass


@pytest.fixture
def cluster(folder):
    """A kubeconfig that leads to a Cluster."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Cluster)
    Cluster.kept.clear()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    file = folder / "kubeconfig"
    file.write_text(yaml.safe_dump({
        "apiVersion": "v1", "kind": "Config", "current-context": "here",
        "clusters": [{"name": "c", "cluster": {
            "server": f"http://127.0.0.1:{server.server_address[1]}"}}],
        "users": [{"name": "u", "user": {"token": "a-token-of-the-cluster"}}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}]}))
    harness.own(folder)
    yield file
    server.shutdown()
    server.server_close()


def blue_deploy(c):
    made = c.call("post", "/api/v1/deploy", body={
        "namespace": "team", "image_ref": "127.0.0.1:5000/greet:v1", "app_name": "Greet-App",
        "enable_autoscaling": False, "replicas": 1, "use_spot": False}, status=200)
    assert (made["app_name"], made["namespace"], made["service_name"], made["service_status"]) == (
        "greetapp", "team", "greetapp", "found")
    sent = Cluster.kept["/apis/core.spinkube.dev/v1alpha1/namespaces/team/spinapps/greetapp"]
    assert (sent["kind"], sent["spec"]["image"]) == ("SpinApp", "127.0.0.1:5000/greet:v1")


def test_blue(start, cluster):
    server = start("--kubeconfig", str(cluster), auth=False)
    c = Client("blue-faas.json", server.url)
    try:
        blue_functions(c)
        blue_builder(c)
        blue_deploy(c)
    finally:
        c.close()
    c.assert_whole()
