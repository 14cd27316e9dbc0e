# SPDX-License-Identifier: Apache-2.0
"""Images whose containers stay: formats http and json, through the iron API; and what a container of
any format is told of its call."""

import json
import pathlib
import shutil
import tempfile

import machine
import pytest
import registry as reg
from harness import children_of, wait_for

pytestmark = reg.needed_to_run


@pytest.fixture(scope="module")
def images():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="test-kiln-images-"))
    try:
        with reg.Registry() as registry:
            def make(mode):
                layout = reg.image(folder, mode, {"/program": reg.compiled(reg.PROGRAM)},
                                   entrypoint=["/program", mode])
                return registry.push(layout, f"iron/{mode}:1")
            yield {mode: make(mode) for mode in ("http", "json", "env", "echo", "exit")}
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def route(server, images):
    """route("http", …): a route to that image, its path below /r/."""
    made = []

    def make(mode, path="/hot", **more):
        reply = server.call("POST", "/v1/apps/hot/routes", {"route": {
            "path": path, "image": images[mode], "type": "sync",
            **({"format": mode} if mode in ("http", "json") else {}), **more}})
        assert reply.status == 201, reply
        made.append(path)
        return f"/r/hot{path}"

    yield make
    for path in made:
        assert server.call("DELETE", f"/v1/apps/hot/routes{path}").status == 200
    assert server.call("DELETE", "/v1/apps/hot").status == 200


def call(server, path, body="", status=200, method="POST", **headers):
    reply = server.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
    assert reply.status == status, reply
    return reply


# ---- http ----

def test_http_container_stays(server, route):
    path = route("http")
    first = call(server, path, "one", 202, X_Thing="a thing")
    head, body = first.body.decode().rsplit("\r\n", 1)
    assert body == "one" and "x-thing: a thing" in head.lower()
    assert "content-length: 3" in head.lower()
    assert first.headers["X-Call"] == "1" and first.headers["Content-Type"].startswith("text/plain")
    second = call(server, path, "two", 202)
    assert second.headers["X-Call"] == "2" and second.body.endswith(b"\r\ntwo")


def test_http_container_is_told_of_its_call(server, route):
    path = route("http", config={"some-key": "value"})
    head = call(server, path, "", 202, X_Thing="1").body.decode()
    assert "METHOD: POST\r\n" in head and "ROUTE: /hot\r\n" in head
    assert f"REQUEST_URL: {server.url}{path}\r\n" in head
    assert "HEADER_X_THING: 1\r\n" in head and "Task-ID: " in head


def test_http_chunked_answer(server, route):
    reply = call(server, route("http"), "chunked", 201)
    assert reply.body == b"chunked!" and reply.headers["X-Call"] == "1"


@pytest.mark.parametrize("word, what", [
    ("die", "exit code 3"), ("garbage", "no HTTP response"), ("endless", "Content-Length")])
def test_http_container_that_fails(server, route, word, what):
    """The call fails at once, and the next one has a container of its own."""
    path = route("http")
    assert call(server, path, "good", 202).headers["X-Call"] == "1"
    assert what in call(server, path, word, 500).json["error"]["message"]
    assert call(server, path, "good", 202).headers["X-Call"] == "1"


def test_http_stray_answers_reach_nobody(server, route):
    path = route("http")
    assert call(server, path, "stray", 202).body.endswith(b"\r\nstray")
    for _ in range(3):
        assert call(server, path, "mine", 202).body.endswith(b"\r\nmine")


def test_http_large_bodies(server, route):
    body = "x" * 900000
    assert call(server, route("http"), body, 202).body.endswith(body.encode())


def test_idle_container_ends(start, images):
    """With the setting below the 30 s of images; the next call has a new one."""
    server = start("--idle-timeout", "300ms")
    server.call("POST", "/v1/apps/idle/routes", {"route": {
        "path": "/hot", "image": images["http"], "format": "http", "type": "sync"}})
    assert call(server, "/r/idle/hot", "x", 202).headers["X-Call"] == "1"
    (made,) = server.fn("GET", "?project_id=idle").json["functions"]
    wait_for("its instance ends", lambda: not containers(server))
    assert call(server, "/r/idle/hot", "x", 202).headers["X-Call"] == "1"
    server.fn("DELETE", f"/{made['id']}")


def containers(server):
    return [pid for pid in children_of(server.pid)
            if machine.cmdline(pid).startswith("/program http")]


# ---- json ----

def test_json(server, route):
    path = route("json")
    first = call(server, path + "?a=1&a=2", 'he said "hi"\n', 203, X_Thing="1",
                 Content_Type="text/plain")
    assert first.body.decode() == "call 1 é"
    assert first.headers["Content-Type"] == "text/x-call" and first.headers["X-Call"] == "1"
    assert call(server, path, "", 203).headers["X-Call"] == "2"
    (made,) = server.fn("GET", "?project_id=hot").json["functions"]
    lines = wait_for("what it was asked is in the log", lambda: [
        json.loads(line["message"]) for line in server.logs(made["id"])
        if line["message"].startswith("{")])
    asked = lines[0]
    assert asked["body"] == 'he said "hi"\n' and asked["content_type"] == "text/plain"
    assert asked["call_id"] and asked["deadline"].endswith("Z")
    protocol = asked["protocol"]
    assert (protocol["type"], protocol["method"]) == ("http", "POST")
    assert protocol["request_url"] == f"{server.url}{path}?a=1&a=2"
    assert protocol["headers"]["x-thing"] == ["1"]


@pytest.mark.parametrize("word, what", [("die", "exit code 3"), ("garbage", "no JSON object")])
def test_json_container_that_fails(server, route, word, what):
    path = route("json")
    assert call(server, path, "good", 203).headers["X-Call"] == "1"
    assert what in call(server, path, word, 500).json["error"]["message"]
    assert call(server, path, "good", 203).headers["X-Call"] == "1"


# ---- default ----

def test_environment_of_a_call(server, route):
    path = route("env", path="/env", config={"my-key": "route"})
    env = dict(line.split("=", 1) for line in call(
        server, path + "?q=1", "", X_Two="2").body.decode().splitlines())
    assert env["METHOD"] == "POST" and env["ROUTE"] == "/env"
    assert env["REQUEST_URL"] == f"{server.url}{path}?q=1"
    assert env["HEADER_X_TWO"] == "2" and env["MY_KEY"] == "route"
    assert not [name for name in env if name.startswith("HEADER_X_KILN")]


def test_exit_code_is_an_error(server, route):
    path = route("exit", path="/exit", config={"CODE": "9"})
    assert "exit code 9" in call(server, path, "", 500).json["error"]["message"]
