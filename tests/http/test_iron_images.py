# SPDX-License-Identifier: Apache-2.0
"""Routes as IronFunctions meant them: images from a real registry, in all three formats."""

import concurrent.futures
import json
import pathlib
import shutil
import tempfile

import pytest
import registry as reg
from harness import AS_USER, b64, unb64, wait_for
from test_iron import Iron, queued, refused

pytestmark = reg.needed_to_run


@pytest.fixture(scope="module")
def made():
    path = pathlib.Path(tempfile.mkdtemp(prefix="test-kiln-iron-images-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def registry():
    with reg.Registry() as r:
        yield r


@pytest.fixture(scope="module")
def image(made, registry):
    """image("echo"): a reference to the test program told to do that; image("echo", version=2);
    image("echo", "x", own): in another registry."""
    done = {}

    def make(mode, version=1, to=None):
        key = (mode, version, to)
        if key not in done:
            layout = reg.image(made, f"{mode}-{version}", {"/program": reg.compiled(reg.PROGRAM)},
                               entrypoint=["/program"], cmd=[mode])
            done[key] = (to or registry).push(layout, f"iron/{mode}:{version}")
        return done[key]

    return make


@pytest.fixture
def iron(server):
    i = Iron(server)
    yield i
    i.clean()


def test_a_route_runs_its_image(iron, image):
    iron.route("/echo", image=image("echo"), headers={"X-Team": ["blue", "green"]})
    reply = iron.server.request("POST", "/r/app/echo", b"payload")
    assert reply.status == 200, reply
    assert reply.body == b"payload"
    assert reply.headers["X-Team"] == "blue"
    assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert iron("GET", "/r/app/echo?payload=by%20query").body == b"by query"
    assert iron("GET", "/r/app/echo").body == b""
    for method in ("PUT", "PATCH", "DELETE", "OPTIONS"):
        assert iron.server.request(method, "/r/app/echo", b"x").body == b"x"


def test_every_api_calls_the_image(iron, image):
    """The body is its stdin, what it writes is the answer, whoever asks."""
    server = iron.server
    iron.route("/deep/echo", image=image("echo"))
    found = [f for f in server.call("GET", "/functions").json["data"]["functions"]
             if f["name"] == "/deep/echo"]
    assert len(found) == 1 and (found[0]["runtime"], found[0]["code"]) == ("image", "")
    no = found[0]["id"]
    wait_for("it is built", lambda: server.fn("GET", f"/func-{no}").json["status"] == "ready")
    shown = server.fn("GET", f"/func-{no}").json
    assert (shown["project_id"], shown["runtime"], shown["status"]) == ("app", "image", "ready")
    done = server.fn("POST", f"/func-{no}/invoke", {"body": b64('{"a": 1}')})
    assert done.status == 200 and unb64(done.json["body"]) == b'{"a": 1}', done
    done = server.call("POST", f"/api/workspaces/ws-default/functions/fn-{no}/invoke", {"a": 1})
    assert done.json["status"] == "success" and done.json["responseBody"] == {"a": 1}, done
    job = server.call("POST", f"/functions/{no}/invoke", {"a": 1}).json["data"]
    assert (job["status"], job["result"]) == ("success", '{"a": 1}')
    iron.route("/by-kube", app="proj-default", image=image("echo"))
    done = server.kube("POST", "/by-kube/invoke", {"a": 1})
    assert done.status == 200 and done.json == {"statusCode": 200, "body": '{"a": 1}'}, done
    assert server.kube("DELETE", "/by-kube").status == 204
    assert iron("POST", "/r/proj-default/by-kube", "x").status == 404


def test_environment(iron, image):
    iron.app("app", **{"FROM_APP": "1", "BOTH": "app"})
    iron.route("/a/env", image=image("env"), config={"BOTH": "route", "my-key": "v"})
    reply = iron.server.request("GET", "/r/app/a/env?q=1", headers={
        "X-Mine": "yes", "X-Kiln-Request-Url": "http://spoof/", "X-Kiln-Param-Evil": "1"})
    env = dict(line.split("=", 1) for line in reply.body.decode().splitlines() if "=" in line)
    assert (env["METHOD"], env["ROUTE"]) == ("GET", "/a/env")
    assert env["REQUEST_URL"] == f"{iron.server.url}/r/app/a/env?q=1"
    assert (env["FROM_APP"], env["BOTH"], env["MY_KEY"]) == ("1", "route", "v")
    assert env["HEADER_X_MINE"] == "yes"
    assert not [k for k in env if k.startswith("PARAM_") or "AUTHORIZATION" in k]


def test_a_route_for_all_below_it(iron, image):
    iron.route("/files/*Rest", image=image("env"))
    iron.route("/files/deep/*rest", image=image("env"))
    iron.route("/files/exact", image=image("id"))
    for path, route, rest in (("/files/a/b", "/files/*Rest", "/a/b"), ("/files", "/files/*Rest", "/"),
                              ("/files/deep/x", "/files/deep/*rest", "/x")):
        reply = iron.server.request("GET", "/r/app" + path)
        assert reply.status == 200, reply
        env = dict(line.split("=", 1) for line in reply.body.decode().splitlines() if "=" in line)
        assert (env["ROUTE"], env["PARAM_REST"]) == (route, rest)
        assert env["REQUEST_URL"] == f"{iron.server.url}/r/app{path}"
    assert iron.server.request("GET", "/r/app/files/exact").body.startswith(b"uid")
    refused(iron("GET", "/r/app/filesystem"), 404, "Route not found on that application")


def test_a_bad_exit(iron, image):
    iron.route("/exit", image=image("exit"), config={"CODE": "3"}, headers={"X-Team": ["blue"]})
    reply = iron("POST", "/r/app/exit")
    assert reply.status == 500, reply
    assert set(reply.json) == {"error"} and reply.json["error"]["message"]
    assert reply.headers["X-Team"] == "blue"


def test_a_timeout_and_too_much_memory(iron, image):
    iron.route("/sleep", image=image("sleep"), timeout=1, headers={"X-Team": ["blue"]})
    reply = iron("POST", "/r/app/sleep")
    refused(reply, 504, "Timed out")
    assert reply.headers["X-Team"] == "blue"
    iron.route("/memory", image=image("memory"), memory=64)
    reply = iron("POST", "/r/app/memory")
    assert reply.status == 500, reply
    assert "memory" in reply.json["error"]["message"] or AS_USER  # who has no control groups


@pytest.mark.parametrize("fmt", ["http", "json"])
def test_hot_formats(iron, image, fmt):
    iron.route("/hot", image=image(fmt), format=fmt)
    first = iron.server.request("POST", "/r/app/hot?a=b", b'{"n": 1}',
                                {"Content-Type": "application/json", "X-Mine": "yes"})
    assert first.status == (202 if fmt == "http" else 203), first
    assert first.headers["X-Call"] == "1"
    if fmt == "http":
        assert first.body.lower().startswith(b"post /")
        assert b"x-mine: yes" in first.body.lower() and first.body.endswith(b'{"n": 1}')
        assert b"x-kiln" not in first.body.lower() and b"authorization" not in first.body.lower()
    else:
        assert first.headers["Content-Type"] == "text/x-call"
        assert first.body == "call 1 é".encode()
    second = iron.server.request("POST", "/r/app/hot", b"two")
    assert (second.status, second.headers["X-Call"]) == (first.status, "2"), "the same process"
    broken = iron.server.request("POST", "/r/app/hot", b"die")
    assert broken.status == 500, broken
    assert broken.json["error"]["message"]


def test_a_default_route_is_not_one_at_a_time(iron, image):
    iron.route("/echo", image=image("echo"))
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        got = list(pool.map(lambda i: iron.server.request("POST", "/r/app/echo", b"%d" % i).body,
                            range(12)))
    assert got == [b"%d" % i for i in range(12)]


def test_async_runs_the_image_with_its_payload(iron, image):
    iron.route("/later", image=image("echo"), type="async")
    queued(iron.server.request("POST", "/r/app/later", b"12345"))
    ident = next(f["id"] for f in iron.server.fn("GET", "?project_id=app").json["functions"])
    wait_for("it has run", lambda: [line for line in iron.server.logs(ident)
                                    if "got 5 bytes" in line["message"]])


def test_an_async_call_is_run_once_by_a_worker_or_a_puller(iron, image):
    iron.route("/later", image=image("echo"), type="async")
    ident = next(f["id"] for f in iron.server.fn("GET", "?project_id=app").json["functions"])
    calls = {queued(iron.server.request("POST", "/r/app/later", b"x" * 7)) for _ in range(12)}
    pulled = set()
    while task := iron("GET", "/v1/tasks").json["task"]:
        assert task["id"] in calls and task["id"] not in pulled
        assert (task["image"], task["payload"]) == (image("echo"), "x" * 7)
        pulled.add(task["id"])
        assert iron("DELETE", "/tasks", task).status == 202

    def records():
        got = iron.server.fn("GET", f"/{ident}/invocations?limit=50").json["invocations"]
        return got if len(got) == 12 and all(g["status"] == "completed" for g in got) else None

    wait_for("all have ended", records)
    lines = [line for line in iron.server.logs(ident) if "got 7 bytes" in line["message"]]
    assert len(lines) == 12 - len(pulled)


def test_another_image_serves_when_it_is_there(iron, image):
    iron.route("/x", image=image("echo"))
    assert iron.server.request("POST", "/r/app/x", b"one").body == b"one"
    assert iron.put("/x", image=image("id"))["image"] == image("id")
    wait_for("the new image serves",
             lambda: iron.server.request("POST", "/r/app/x", b"one").body.startswith(b"uid"))
    assert iron("GET", "/v1/apps/app/routes/x").json["route"]["image"] == image("id")
    assert [r["path"] for r in iron("GET", f"/v1/routes?image={image('id')}").json["routes"]] == [
        "/x"]


def test_a_registry_that_is_down(iron, image):
    with reg.Registry() as own:
        ref = image("echo", "down", own)
        own.stop()
        assert iron.route("/x", image=ref, headers={"X-Team": ["blue"]})["image"] == ref
        for _ in range(2):  # while it is built, and after
            reply = iron("POST", "/r/app/x")
            assert reply.status == 500, reply
            assert reply.json["error"]["message"] == "Image not found"
            assert own.host in reply.json["error"]["fields"]
            assert reply.headers["X-Team"] == "blue"
        own.start()
        assert iron.put("/x", image=ref)["image"] == ref
        assert iron.server.request("POST", "/r/app/x", b"back").body == b"back"


def test_a_registry_that_comes_later(iron, image):
    """Nobody has to ask for the pull again: who calls, does."""
    with reg.Registry() as own:
        ref = image("echo", "later", own)
        own.stop()
        iron.route("/x", image=ref)
        assert iron("POST", "/r/app/x").status == 500
        own.start()

        def calls():
            reply = iron.server.request("POST", "/r/app/x", b"now")
            return reply if reply.status == 200 else None

        assert wait_for("it runs", calls, 60).body == b"now"


def test_pullers_need_no_registry(iron):
    ref = f"127.0.0.1:{reg.free_port()}/no/body:1"
    iron.route("/x", image=ref, type="async", config={"KILN_PULL": "true"})
    ident = next(f["id"] for f in iron.server.fn("GET", "?project_id=app").json["functions"])
    wait_for("its build has failed",
             lambda: iron.server.fn("GET", f"/{ident}").json["status"] == "error")
    call = queued(iron("POST", "/r/app/x", {"n": 1}))
    task = iron("GET", "/v1/tasks").json["task"]
    assert (task["id"], task["image"], json.loads(task["payload"])) == (call, ref, {"n": 1})
    assert iron("DELETE", "/tasks", task).status == 202


UNTIL_TOLD = """
import time
from spin_sdk import key_value
def handler(event):
    store = key_value.open_default()
    if event["body"] == "go":
        return store.set("go", b"")
    while not store.exists("go"):
        time.sleep(0.05)
"""


def test_kiln_runs_what_a_puller_gave_up(start, image):
    iron = Iron(start("--loops", "1", "--async-running-max", "1", "--task-lease", "500ms"))
    iron.put(iron.code(UNTIL_TOLD, name="slow", timeout=60), type="async")
    iron.route("/later", image=image("echo"), type="async")
    functions = iron.server.fn("GET", "?project_id=app").json["functions"]
    ids = {f["name"]: f["id"] for f in functions}
    queued(iron("POST", "/r/app/slow"))
    wait_for("kiln's only worker is busy", lambda: [
        i for i in iron.server.fn("GET", f"/{ids['slow']}/invocations").json["invocations"]
        if i["status"] == "running"])
    call = queued(iron.server.request("POST", "/r/app/later", b"12345"))
    task = iron("GET", "/v1/tasks").json["task"]
    assert task["id"] == call
    iron.server.result(ids["slow"], "go")
    wait_for("kiln has run it", lambda: [
        line for line in iron.server.logs(ids["later"]) if "got 5 bytes" in line["message"]])
    assert iron("DELETE", "/tasks", task).status in (404, 409), "it is not the puller's any more"
    done = wait_for("its record is there", lambda: [
        i for i in iron.server.fn("GET", f"/{ids['later']}/invocations").json["invocations"]
        if i["status"] == "completed"])
    assert len(done) == 1
