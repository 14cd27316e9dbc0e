# SPDX-License-Identifier: Apache-2.0
"""The examples of the documents of blue, runna and iron, as they stand in tests/specs. Ids are put
in where an example's is only an example."""

import json
import re

import contract
import pytest
import yaml
from documents import FOLDER, assert_like, block, sections
from harness import ROOT, b64, wait_for

API = ROOT / "api"
SPECS = ROOT / "tests/specs"

# ---- runna ----

R_CREATE = block("runna", "POST /functions", "Request")
R_UPDATE = block("runna", "PUT /functions", "Request")
R_PARAMS = block("runna", "invoke", "Request")
FUNCTIONS, JOBS = "Function Management", "Jobs"


def runna(server, method, path, text=None):
    headers = {"Content-Type": "application/json"} if text else {}
    return server.request(method, path, text, headers)


def enveloped(reply, *titles, status=200, nullable=(), any_result=False):
    """What is in the envelope, which is shaped like the document's example."""
    assert reply.status == status, reply
    assert reply.json["success"] is True and "error" not in reply.json, reply
    data = reply.json["data"]
    if titles:
        example = json.loads(block("runna", *titles, "Response"))
        if any_result:  # what it is is the function's business
            data = {**data, "result": example["result"]}
        assert_like(json.dumps(example), data, ("result",), nullable)
    return reply.json["data"]


@pytest.fixture
def runna_example(server):
    made = enveloped(runna(server, "POST", "/functions", R_CREATE), "POST /functions")
    ident = made["function_id"]
    yield ident
    runna(server, "DELETE", f"/functions/{ident}")


def runna_job(server, ident):
    """The example is asynchronous in one place and not in the other: what came of the call."""
    reply = runna(server, "POST", f"/functions/{ident}/invoke", R_PARAMS)
    job = enveloped(reply, "invoke", nullable=("duration",), any_result=True)
    wait_for("it ends", lambda: runna(server, "GET", f"/jobs/{job['id']}").json["data"]["status"]
             not in ("pending", "running"))
    return job


def test_runna_functions(server, runna_example):
    got = enveloped(runna(server, "GET", f"/functions/{runna_example}"),
                    "GET /functions/{function_id}")
    asked = json.loads(R_CREATE)
    assert got == {**got, **asked, "id": runna_example}
    listed = enveloped(runna(server, "GET", "/functions"), "1.1. GET /functions")["functions"]
    assert [f["id"] for f in listed] == [runna_example]
    changed = enveloped(runna(server, "PUT", f"/functions/{runna_example}", R_UPDATE),
                        "PUT /functions")
    assert changed["function_id"] == runna_example
    got = enveloped(runna(server, "GET", f"/functions/{runna_example}"))
    assert got == {**got, **json.loads(R_UPDATE)}
    gone = runna(server, "DELETE", f"/functions/{runna_example}")
    assert (gone.status, gone.json) == (200, {"success": True})
    gone = runna(server, "GET", f"/functions/{runna_example}")
    assert gone.status == 404 and gone.json["success"] is False
    assert gone.json["error"]["code"] == "FUNCTION_NOT_FOUND"


@pytest.mark.parametrize("updated", [False, True])
def test_runna_jobs(server, runna_example, updated):
    """Synchronous Python as created, asynchronous Node.js as updated; both return their event."""
    if updated:
        enveloped(runna(server, "PUT", f"/functions/{runna_example}", R_UPDATE))
    job = runna_job(server, runna_example)
    assert job["status"] == ("pending" if updated else "success")
    got = enveloped(runna(server, "GET", f"/jobs/{job['id']}"), "GET /jobs")
    assert got["status"] == "success" and got["function_id"] == runna_example
    assert got["result"] == json.loads(R_PARAMS)
    listed = enveloped(runna(server, "GET", f"/functions/{runna_example}/jobs"),
                       "GET /functions/{function_id}/jobs")["jobs"]
    assert [j["id"] for j in listed] == [job["id"]]


def test_runna_metrics(server, runna_example):
    runna_job(server, runna_example)
    got = enveloped(runna(server, "GET", f"/functions/{runna_example}/metrics"), "metrics")
    assert got["invocations"] == {"total": 1, "successful": 1, "failed": 0}
    assert got["success_rate"] == 100
    for name, unit in (("avg_execution_time", "ms"), ("cpu_usage", "%"), ("memory_usage", "MB")):
        assert re.fullmatch(r"\d+(\.\d+)?" + unit, got[name]), got


# ---- blue ----

def test_blue_endpoints_are_served():
    """Every line `METHOD /path` of the document is an operation of ours."""
    ours = {(o.method, re.sub(r"\{\w+\}", "{}", o.path)) for o in contract.operations()}
    text = (FOLDER / "blue.txt").read_text()
    listed = re.findall(r"- `(GET|POST|PATCH|DELETE) (/api/[^`?]*)", text)
    assert len(listed) > 20
    for method, path in listed:
        assert (method, re.sub(r"\{\w+\}", "{}", path)) in ours, f"{method} {path}"


def test_the_blue_example(server):
    """The document's function, base64, through the API that it lists."""
    code = block("blue", "Python Code Format", language="python")
    reply = server.call("POST", "/api/workspaces/ws-default/functions",
                        {"name": "spin-example", "code": b64(code)})
    assert reply.status == 201, reply
    at = f"/api/workspaces/ws-default/functions/{reply.json['id']}"
    try:
        run = wait_for("it is built", lambda: (
            lambda r: r if r.status == 200 and r.json["status"] == "success" else None)(
                server.call("POST", f"{at}/invoke", {})))
        assert run.json["responseBody"] == {"data": "Hello from Blue FaaS!"}
        assert run.json["statusCode"] == 200
    finally:
        assert server.request("DELETE", at).status == 204


# ---- what others' OpenAPI documents declare, ours do ----

def declared(document, base=""):
    for path, item in document["paths"].items():
        for method in ("get", "put", "post", "delete", "patch"):
            if method in item:
                statuses = {str(s) for s in item[method]["responses"]} - {"default"}
                yield method.upper(), re.sub(r"\{\w+\}", "{}", base + path), statuses


@pytest.mark.parametrize("theirs,base", [("ironfunctions-0.1.18.yml", "/v1"),
                                         ("blue-faas.json", "")])
def test_what_they_declare_we_serve(theirs, base):
    ours = {}
    for o in contract.operations():
        path = re.sub(r"\{\w+\}", "{}", o.path)
        ours.setdefault((o.method, path), set()).update(str(s) for s in o.spec["responses"])
    for method, path, statuses in declared(yaml.safe_load((SPECS / theirs).read_text()), base):
        assert (method, path) in ours, f"{method} {path}"
        # What our servers never answer with need not be declared: a 500 of a datastore, say.
        lacks = {s for s in statuses if s[0] == "2"} - ours[method, path]
        assert not lacks, f"{method} {path}: {lacks}"


def test_the_iron_document_is_the_one_we_test_against():
    """The document is that file without its indentation."""
    def words(name):
        lines = (SPECS / name).read_text().splitlines()
        return [" ".join(line.strip().strip("|").split()) for line in lines]
    text = [w for w in words("documents/iron.txt") if w]
    for line in (w for w in words("ironfunctions-0.1.18.yml") if w):
        assert line in text, line


def test_every_json_block_is_json():
    """What these tests read is what there is to read."""
    counts = {}
    for name in ("fnservice", "kube", "runna"):
        for section in sections(name):
            for language, text in section.blocks:
                if language == "json":
                    json.loads(text)
                    counts[name] = counts.get(name, 0) + 1
    assert counts == {"fnservice": 25, "kube": 15, "runna": 16}
