# SPDX-License-Identifier: Apache-2.0
"""One set of functions behind five APIs: what one makes, changes or deletes, all others see."""

import itertools
import json
import urllib.parse

import pytest
from harness import b64, unb64, wait_for

APIS = ("fnservice", "kube", "blue", "runna", "iron")
SPIN = """from spin_sdk import http
from spin_sdk.http import Request, Response


class IncomingHandler(http.IncomingHandler):
    def handle_request(self, request: Request) -> Response:
        return Response(200, {"content-type": "application/json; charset=utf-8"},
                        b'{"made": "blue"}')
"""
BLUE = "/api/workspaces/ws-default/functions"
APP = "/v1/apps/proj-default/routes"
NOWHERE = "127.0.0.1:1/none:1"  # no registry is there: such a route is seen, and never built


def code(text):
    return f"def handler(event):\n    return {{'made': {text!r}}}\n"


class Function:
    """One function, as every API names it."""

    def __init__(self, server, no):
        self.server = server
        self.no = no
        self.learn()

    def learn(self):
        self.name = self.server.fn("GET", f"/func-{self.no}").json["name"]
        self.title = self.server.call("GET", f"/functions/{self.no}").json["data"]["name"]
        self.path = self.title if self.title.startswith("/") else "/" + self.name

    def at(self, api, method, data=None):
        s, call = self.server, self.server.call
        return {
            "fnservice": lambda: s.fn(method, f"/func-{self.no}", data),
            "kube": lambda: s.kube(method, f"/{self.name}", data),
            "blue": lambda: call(method, f"{BLUE}/fn-{self.no}", data),
            "runna": lambda: call(method, f"/functions/{self.no}", data),
            "iron": lambda: call(method, APP + "/" + urllib.parse.quote(self.path, safe=""), data),
        }[api]()

    def call(self, api):
        s = self.server
        if api == "fnservice":
            return json.loads(unb64(s.fn("POST", f"/func-{self.no}/invoke", {}).json["body"]))
        if api == "kube":
            return s.kube("POST", f"/{self.name}/invoke", {}).json["body"]
        if api == "blue":
            return s.call("POST", f"{BLUE}/fn-{self.no}/invoke", {}).json["responseBody"]
        if api == "runna":
            return s.call("POST", f"/functions/{self.no}/invoke", {}).json["data"]["result"]
        return s.call("POST", "/r/proj-default" + urllib.parse.quote(self.path), {}).json

    def seen(self):
        return {api: self.at(api, "GET").status for api in APIS}

    def assert_seen(self):
        assert self.seen() == dict.fromkeys(APIS, 200)
        listed = self.server.fn("GET", "?project_id=proj-default&limit=500").json["functions"]
        assert f"func-{self.no}" in [f["id"] for f in listed]
        assert self.name in [f["name"] for f in self.server.kube("GET").json]
        assert f"fn-{self.no}" in [f["id"] for f in self.server.call("GET", BLUE).json]
        listed = self.server.call("GET", "/functions").json["data"]["functions"]
        assert (self.no, self.title) in [(f["id"], f["name"]) for f in listed]
        assert self.path in [r["path"] for r in self.server.call("GET", APP).json["routes"]]

    def assert_calls(self, value):
        assert {api: self.call(api) for api in APIS} == dict.fromkeys(APIS, value)


def make(server, api, name):
    if api == "fnservice":
        reply = server.fn("POST", "", {"name": name, "runtime": "python3.9",
                                       "handler": "main.handler", "source_code": b64(code(api))})
        ident = reply.json["id"]
    elif api == "kube":
        reply = server.kube("POST", "", {"name": name, "runtime": "python39",
                                         "handler": "handler", "code": code(api)})
        server.wait_build(name)
        listed = server.fn("GET", "?project_id=proj-default").json["functions"]
        ident = [f["id"] for f in listed if f["name"] == name][0]
    elif api == "blue":
        reply = server.call("POST", BLUE, {"name": name, "code": b64(SPIN)})
        ident = reply.json["id"]
    elif api == "runna":
        reply = server.call("POST", "/functions", {"name": name, "runtime": "python",
                                                   "code": code(api), "execution_type": "sync"})
        ident = str(reply.json["data"]["function_id"])
    else:
        reply = server.call("POST", APP, {"route": {"path": name, "image": NOWHERE}})
        listed = server.call("GET", "/functions").json["data"]["functions"]
        ident = [str(f["id"]) for f in listed if "/" + f["name"].lstrip("/") == name][0]
    assert reply.status in (200, 201), reply
    return Function(server, int(ident.rpartition("-")[2]))


NAMES = {"fnservice": "a-name_1.x", "kube": "Its.name", "blue": "Resize images", "runna": "함수 a/b?#%",
         "iron": "/a path/of/ü"}


@pytest.mark.parametrize("maker,deleter", itertools.product(APIS, APIS))
def test_made_by_one_deleted_by_another(server, maker, deleter):
    f = make(server, maker, NAMES[maker])
    f.assert_seen()
    if maker != "iron":
        f.assert_calls({"made": maker})
    assert f.at(deleter, "DELETE").status in (200, 204)
    assert f.seen() == dict.fromkeys(APIS, 404)
    make(server, maker, NAMES[maker]).at(maker, "DELETE")


def test_another_name_is_another_name_everywhere(server):
    f = make(server, "runna", "/deep/path")
    reply = f.at("fnservice", "PUT", {"name": "short"})
    assert reply.status == 200 and reply.json["name"] == "short", reply
    f.learn()
    assert (f.title, f.path) == ("short", "/short")
    f.assert_seen()
    f.assert_calls({"made": "runna"})
    assert make(server, "runna", "/deep/path").at("runna", "DELETE").status == 200, "it is free"
    for api, change, title in (("blue", {"name": "이름 하나"}, "이름 하나"),
                               ("runna", {"name": "/x/y z"}, "/x/y z")):
        assert f.at(api, "PUT" if api == "runna" else "PATCH", change).status == 200
        f.learn()
        assert f.title == title
        f.assert_seen()
        f.assert_calls({"made": "runna"})
    assert f.at("fnservice", "PUT", {"name": f.name, "timeout": 9}).status == 200
    f.learn()
    assert f.title == "/x/y z", "a client sends back the name that it read"
    assert f.at("runna", "DELETE").status == 200


def test_new_code_is_new_code_everywhere(server):
    f = make(server, "blue", "Some code")
    changes = [("kube", "PUT", {"runtime": "python39", "handler": "handler", "code": code("k")}, "k"),
               ("runna", "PUT", {"code": code("r")}, "r"),
               ("blue", "PATCH", {"code": b64(code("b"))}, "b")]
    for api, method, data, made in changes:
        assert f.at(api, method, data).status == 200
        wait_for(f"{api}'s code serves", lambda: f.call("kube") == {"made": made})
        f.learn()
        assert f.title == "Some code"
        f.assert_calls({"made": made})
    assert f.at("iron", "PUT", {"route": {"memory": 256, "config": {"A": "b"}}}).status == 201
    assert f.at("blue", "GET").json["memory"] == 256
    assert f.at("fnservice", "GET").json["environment"] == {"A": "***"}
    assert f.at("blue", "DELETE").status == 204


@pytest.mark.parametrize("api,method,change", [
    ("blue", "PATCH", {"runtime": "Python 3.12", "code": b64(code("it"))}),
    ("runna", "PUT", {"runtime": "python", "code": code("it")}),
    ("kube", "PUT", {"runtime": "python39", "handler": "handler", "code": code("it")})])
def test_an_image_becomes_code(server, api, method, change):
    f = make(server, "iron", "/was/an/image")
    if api != "kube":
        for member in change:
            reply = f.at(api, method, {member: change[member]})
            assert reply.status == 400 and "runtime" in reply.body.decode(), reply
    assert f.at(api, method, change).status == 200
    wait_for("the code serves", lambda: f.call("kube") == {"made": "it"})
    f.assert_seen()
    f.assert_calls({"made": "it"})
    assert f.at(api, "DELETE").status in (200, 204)


def test_a_taken_name_is_said_to_be_taken(server):
    f = make(server, "blue", "taken by me")
    for data in ({"name": "taken by me", "code": b64(SPIN)},):
        reply = server.call("POST", BLUE, data)
        assert reply.status == 409 and reply.json["error"]["details"] == {"field": "name"}, reply
        assert "'taken by me'" in reply.json["error"]["message"], reply
    reply = server.call("POST", "/functions", {"name": "taken by me", "runtime": "python",
                                               "code": code("x"), "execution_type": "sync"})
    assert reply.status == 409 and "'taken by me'" in reply.json["error"]["message"], reply
    assert f.at("blue", "DELETE").status == 204


@pytest.mark.parametrize("kind,raw,value", [
    ("application/json", b'{"a": [1]}', {"a": [1]}), ("text/plain", b"Hello", "Hello"),
    ("text/html; charset=utf-8", "가".encode(), "가"), ("application/json", b"{", None),
    ("application/octet-stream", b"\xff\x00", None)])
def test_bytes_are_what_their_type_says(server, kind, raw, value):
    made = server.call("POST", BLUE, {"name": "bytes", "code": b64(
        SPIN.replace("application/json; charset=utf-8", kind).replace("b'{\"made\": \"blue\"}'",
                                                                      repr(raw)))})
    f = Function(server, int(made.json["id"][3:]))
    reply = server.kube("POST", "/bytes/invoke", {}).json
    if value is None:
        assert reply["isBase64Encoded"] is True and unb64(reply["body"]) == raw
    else:
        assert reply["body"] == value and "isBase64Encoded" not in reply
    done = server.call("POST", f"/functions/{f.no}/invoke", {}).json["data"]
    text = raw.decode() if kind != "application/octet-stream" else b64(raw)
    assert done["result"] == (text if value is None else value)
    assert f.at("runna", "PUT", {"execution_type": "async"}).status == 200
    job = server.call("POST", f"/functions/{f.no}/invoke", {}).json["data"]["id"]
    ended = wait_for("the job ends", lambda: (lambda j: j if j["status"] == "success" else None)(
        server.call("GET", f"/jobs/{job}").json["data"]))
    assert ended["result"] == done["result"]
    assert f.at("runna", "DELETE").status == 200
