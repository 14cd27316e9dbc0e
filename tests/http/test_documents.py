# SPDX-License-Identifier: Apache-2.0
"""The examples of documents 000 and 001, literally, as far as this version serves them: only the
base URL, the ids and the token are put in."""

import json
import os
import subprocess
import textwrap

import pytest
from harness import unb64, wait_for

WS = "ws-789"
PROJECT = "proj-456"

# ---- document 000: requests and the fields of their answers ----

CREATE = """{
  "name": "my-function",
  "runtime": "python3.9",
  "handler": "main.handler",
  "source_code": "ZGVmIGhhbmRsZXIoY29udGV4dCk6CiAgICByZXR1cm4geyJzdGF0dXMiOiAyMDAsICJib2R5IjogIkhlbGxvIFdvcmxkIn0=",
  "environment": {
    "API_KEY": "secret-key",
    "POOL_SIZE": "3"
  },
  "resources": {
    "memory": "256Mi",
    "cpu": "100m"
  },
  "labels": {
    "team": "backend",
    "env": "production"
  }
}"""
UPDATE = """{
  "name": "updated-function",
  "handler": "main.new_handler",
  "environment": {
    "NEW_VAR": "value"
  },
  "resources": {
    "memory": "512Mi",
    "cpu": "200m"
  }
}"""
DEPLOY = """{
  "version": 2,
  "source_code": "ZGVmIGhhbmRsZXIoY29udGV4dCk6CiAgICByZXR1cm4geyJzdGF0dXMiOiAyMDAsICJib2R5IjogIlZlcnNpb24gMiJ9",
  "image": "myregistry/my-function:v2"
}"""
HTTP_TRIGGER = """{
  "name": "http-trigger",
  "type": "http",
  "enabled": true,
  "config": {
    "method": "GET",
    "path": "/api/hello"
  }
}"""
INVOKE = """{
  "method": "POST",
  "path": "/process",
  "headers": {
    "Content-Type": ["application/json"],
    "X-Custom-Header": ["value"]
  },
  "body": "eyJkYXRhIjogInRlc3QifQ==",
  "query": {
    "param1": ["value1"],
    "param2": ["value2"]
  }
}"""


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


def fields(reply, status, names):
    assert reply.status == status, reply
    assert set(names) <= set(reply.json), reply
    return reply.json


def test_create(server):
    f = fields(post(server, "POST", f"?project_id={PROJECT}", CREATE), 201, [
        "id", "workspace_id", "project_id", "name", "namespace", "runtime", "handler", "status",
        "active_version", "created_at", "updated_at"])
    assert {k: f[k] for k in ("workspace_id", "project_id", "name", "namespace", "runtime",
                              "handler", "status", "active_version")} == {
        "workspace_id": WS, "project_id": PROJECT, "name": "my-function", "namespace": PROJECT,
        "runtime": "python3.9", "handler": "main.handler", "status": "ready",
        "active_version": "v1"}
    assert "secret-key" not in json.dumps(f)


def test_list_and_get(server, example):
    listed = fields(post(server, "GET", f"?project_id={PROJECT}"), 200, ["functions"])
    assert set(listed["functions"][0]) == {"id", "name", "runtime", "status", "active_version",
                                          "created_at"}
    got = fields(post(server, "GET", f"/{example}"), 200, [
        "id", "workspace_id", "project_id", "name", "namespace", "runtime", "handler", "status",
        "active_version", "labels", "annotations", "created_at", "updated_at"])
    assert got["labels"] == {"team": "backend", "env": "production"}


def test_update_and_delete(server, example):
    got = fields(post(server, "PUT", f"/{example}", UPDATE), 200, ["id"])
    assert (got["name"], got["handler"]) == ("updated-function", "main.new_handler")
    gone = post(server, "DELETE", f"/{example}")
    assert (gone.status, gone.body) == (204, b"")


def test_versions(server, example):
    v = fields(post(server, "POST", f"/{example}/versions", DEPLOY), 201, [
        "id", "workspace_id", "function_id", "function_name", "version", "build_status",
        "created_at", "is_active"])
    assert (v["workspace_id"], v["function_id"], v["function_name"], v["version"],
            v["is_active"]) == (WS, example, "my-function", 2, False)
    reply = post(server, "PUT", f"/{example}/versions/{v['id']}/active")
    assert (reply.status, reply.json) == (200, {"message": "Version activated successfully"})
    listed = post(server, "GET", f"/{example}/versions").json["versions"]
    assert [(x["version"], x["build_status"], x["is_active"]) for x in listed] == [
        (2, "success", True), (1, "success", False)]
    assert unb64(post(server, "POST", f"/{example}/invoke", INVOKE).json["body"]) == b"Version 2"
    reply = post(server, "POST", f"/{example}/rollback")
    assert (reply.status, reply.json) == (200, {"message": "Rollback successful"})
    assert unb64(post(server, "POST", f"/{example}/invoke", INVOKE).json["body"]) == b"Hello World"


def test_triggers(server, example):
    t = fields(post(server, "POST", f"/{example}/triggers", HTTP_TRIGGER), 201, [
        "id", "workspace_id", "function_id", "name", "type", "enabled", "config", "created_at"])
    assert t["config"] == {"method": "GET", "path": "/api/hello"}
    got = server.gateway("GET", "/api/hello")
    assert (got.status, got.body) == (200, b"Hello World")
    assert post(server, "GET", f"/{example}/triggers").json["triggers"] == [t]
    assert post(server, "PUT", f"/{example}/triggers/{t['id']}", '{"enabled": false}').status == 200
    assert post(server, "DELETE", f"/{example}/triggers/{t['id']}").status == 204


def test_invoke(server, example):
    r = fields(post(server, "POST", f"/{example}/invoke", INVOKE), 200, [
        "status_code", "headers", "body", "duration", "cold_start", "invocation_id"])
    assert (r["status_code"], unb64(r["body"])) == (200, b"Hello World")


def test_invoke_async_and_history(server, example):
    run = fields(post(server, "POST", f"/{example}/invoke-async", INVOKE), 202,
                 ["invocation_id"])["invocation_id"]

    def completed():
        got = post(server, "GET", f"/invocations/{run}").json
        return got if got["status"] == "completed" else None

    got = wait_for("it completes", completed)
    assert {"invocation_id", "workspace_id", "function_id", "status", "started_at", "completed_at",
            "result"} <= set(got)
    assert got["result"]["status_code"] == 200
    assert unb64(got["result"]["body"]) == b"Hello World"
    listed = post(server, "GET", f"/{example}/invocations?limit=50").json["invocations"]
    assert [i["invocation_id"] for i in listed] == [run]


def test_monitoring(server, example):
    post(server, "POST", f"/{example}/invoke", INVOKE)
    assert fields(post(server, "GET", f"/{example}/logs"), 200, ["logs"]) == {"logs": []}
    m = fields(post(server, "GET", f"/{example}/metrics"), 200, [
        "invocations", "errors", "duration", "cold_starts", "concurrency"])
    assert set(m["duration"]) == {"min", "max", "avg", "p50", "p95", "p99"}
    assert set(m["concurrency"]) == {"min", "max", "avg"}
    events = post(server, "GET", f"/{example}/events?limit=100").json["events"]
    assert {"id", "type", "description", "metadata", "created_at"} <= set(events[0])


def test_provider(server):
    c = fields(post(server, "GET", "/provider/capabilities"), 200, [
        "name", "version", "description", "supports_versioning", "supported_runtimes",
        "supported_trigger_types", "supports_async", "supports_logs", "supports_metrics",
        "supports_environment_vars", "supports_custom_images", "max_memory_mb", "max_timeout_secs",
        "max_payload_size_mb", "supports_scale_to_zero", "supports_auto_scaling", "supports_https",
        "supports_warm_pool"])
    assert {"python3.9", "nodejs18"} & set(c["supported_runtimes"])
    assert post(server, "GET", "/provider/health").json == {"status": "healthy"}


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

CURL = r"""
# Deploy function
curl -X POST http://api-server/api/v1/functions \
  -H "Content-Type: application/json" \
  -d '{
    "name": "my-function",
    "runtime": "nodejs18",
    "handler": "index.handler",
    "code": "module.exports.handler = async (e) => ({statusCode: 200, body: \"OK\"});"
  }'

# Invoke function
curl -X POST http://api-server/api/v1/functions/my-function/invoke \
  -H "Content-Type: application/json" \
  -d '{"test": "data"}'
"""
PYTHON = """
import requests

BASE_URL = 'http://api-server/api/v1'

# Deploy function
response = requests.post(f'{BASE_URL}/functions', json={
    'name': 'my-function',
    'runtime': 'python39',
    'handler': 'handler',
    'code': 'def handler(event): ...'
})

# Invoke function
result = requests.post(f'{BASE_URL}/functions/my-function/invoke',
    json={'data': 'test'})
"""
NODE = """
const axios = require('axios');

const client = axios.create({
  baseURL: 'http://api-server/api/v1'
});

// Deploy function
await client.post('/functions', {
  name: 'my-function',
  runtime: 'nodejs18',
  handler: 'index.handler',
  code: 'module.exports.handler = ...'
});

// Invoke function
const result = await client.post('/functions/my-function/invoke', {
  data: 'test'
});
"""

# What the examples use of the two clients, where those are not installed.
REQUESTS = '''
import json as _json
import urllib.error
import urllib.request

class Response:
    def __init__(self, status, body):
        self.status_code, self.text = status, body.decode()
    def json(self):
        return _json.loads(self.text)

def post(url, json):
    request = urllib.request.Request(url, _json.dumps(json).encode(),
                                     {"Content-Type": "application/json", "Accept": "*/*"})
    try:
        with urllib.request.urlopen(request) as r:
            return Response(r.status, r.read())
    except urllib.error.HTTPError as e:
        return Response(e.code, e.read())
'''
AXIOS = '''
exports.create = ({ baseURL }) => ({
  post: async (path, data) => {
    const r = await fetch(baseURL + path, { method: 'POST', body: JSON.stringify(data),
      headers: { 'Content-Type': 'application/json', Accept: 'application/json, text/plain, */*' } });
    if (!r.ok) throw new Error(`Request failed with status code ${r.status}: ${await r.text()}`);
    return { status: r.status, headers: r.headers, data: await r.json() };
  },
});
'''


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


def test_the_python_example(open_server, tmp_path):
    (tmp_path / "requests.py").write_text(REQUESTS)
    script = PYTHON.replace("http://api-server", open_server.url)
    script += "print(response.status_code, result.status_code, result.text)\n"
    out = run(["/usr/bin/python3", "-c", script], cwd=tmp_path,
              env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert out.split(maxsplit=2)[:2] == ["201", "200"]
    assert json.loads(out.split(maxsplit=2)[2]) == {"statusCode": 200, "body": None}


def test_the_node_example(open_server, tmp_path):
    """Its `...` stands for the code: that one word is filled in."""
    (tmp_path / "axios.js").write_text(AXIOS)
    script = NODE.replace("http://api-server", open_server.url).replace(
        "handler = ...", "handler = async (event) => event.body")
    whole = f"(async () => {{{textwrap.dedent(script)}\nconsole.log(JSON.stringify(result.data));}})()"
    out = run(["/usr/bin/node", "-e", whole], cwd=tmp_path,
              env={**os.environ, "NODE_PATH": str(tmp_path)})
    assert json.loads(out) == {"statusCode": 200, "body": {"data": "test"}}


def test_the_node_example_to_the_letter(open_server, tmp_path):
    """With `...` as code it is stored, does not build, and the call says so."""
    (tmp_path / "axios.js").write_text(AXIOS)
    script = NODE.replace("http://api-server", open_server.url)
    whole = (f"(async () => {{{textwrap.dedent(script)}}})()"
             ".catch((e) => console.log(e.message))")
    out = run(["/usr/bin/node", "-e", whole], cwd=tmp_path,
              env={**os.environ, "NODE_PATH": str(tmp_path)})
    assert "status code 409" in out


@pytest.mark.parametrize("text,value", [
    ("module.exports.handler = async (event) => { return { statusCode: 200, body: 'Hello!' }; };",
     {"statusCode": 200, "body": "Hello!"}),
    ("exports.handler = () => ({\n  \"message\": \"Hello World\"\n});",
     {"statusCode": 200, "body": {"message": "Hello World"}}),
    ("exports.handler = () => ({\n  \"statusCode\": 200,\n"
     "  \"body\": \"Response data (string or object)\"\n});",
     {"statusCode": 200, "body": "Response data (string or object)"})])
def test_the_response_formats_of_001(server, text, value):
    assert server.kube("POST", "", {"name": "my-function", "runtime": "nodejs18",
                                    "handler": "index.handler", "code": text}).status == 201
    server.wait_build("my-function")
    reply = server.kube("POST", "/my-function/invoke", {"key": "value", "data": [1, 2, 3]})
    assert reply.json == value
    assert float(reply.headers["X-Function-Duration"]) >= 0
    assert reply.headers["X-Cold-Start"] in ("true", "false")
