# SPDX-License-Identifier: Apache-2.0
"""kill -9 of everything, the orderly end, full disks, damaged data: nothing acknowledged is lost."""

import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import threading
import time

import harness
import machine
import pytest
from harness import AS_USER, KILN, PATIENCE_S, b64, children_of, wait_for
from wire import Wire

OK = "def handler(e): return 'ok'"
# Says when it has begun: only then is what follows done to a call that runs.
SLOW = """
import time
def handler(e):
    print("begun", e["body"], flush=True)
    time.sleep(e["body"])
    return "slept"
"""
SLOW_JS = """
exports.handler = e => {
  console.log('begun', e.body);
  return new Promise(r => setTimeout(() => r('slept'), e.body * 1000));
};
"""
JS = {"runtime": "nodejs18", "handler": "index.handler"}


def enqueue(server, ident, body):
    """The id of a call that was acknowledged, or None."""
    try:
        reply = server.fn("POST", f"/{ident}/invoke-async", {"body": b64(body)})
    except OSError:
        return None
    except Exception as e:  # http.client's own: the server went away within its answer
        if type(e).__module__ != "http.client":
            raise
        return None
    return reply.json["invocation_id"] if reply.status == 202 else None


def status_of(server, call):
    reply = server.fn("GET", f"/invocations/{call}")
    assert reply.status == 200, reply
    return reply.json["status"]


def running(server, name="f"):
    return server.kube("GET", f"/{name}").json["status"]["replicas"]


def wait_begun(server, ident, body):
    wait_for(f"the call with {body} runs", lambda: [
        line for line in server.logs(ident) if line["message"] == f"begun {body}"])


def wait_accepted(server, ident, n):
    """Until n calls of the function run or wait."""
    gauge = f'kiln_function_calls_running{{function_id="{ident.replace("func-", "fn-")}"'

    def accepted():
        text = server.request("GET", "/metrics").body.decode()
        return [int(line.split()[-1]) for line in text.splitlines() if line.startswith(gauge)] == [n]

    wait_for(f"{n} calls are accepted", accepted)


# ---- kill -9 of the server ----


def test_kill_leaves_no_process_and_loses_no_data(start):
    server = start()
    ident = server.create("def handler(e): return 'v1'", environment={"A": "secret"},
                          resources={"memory": "64Mi"}, labels={"a": "b"})
    version = server.fn("POST", f"/{ident}/versions", {
        "source_code": b64("def handler(e): return 'v2'")}).json["id"]
    assert server.fn("PUT", f"/{ident}/versions/{version}/active").status == 200
    server.create("exports.handler = () => 'node';", name="n", **JS)
    assert server.fn("POST", f"/{ident}/triggers", {
        "name": "t", "type": "http", "config": {"path": "/t"}}).status == 201
    assert server.gateway("GET", "/t").body == b"v2"
    server.kube("POST", "/n/invoke")
    paths = ["", f"/{ident}", f"/{ident}/versions", f"/{ident}/versions/{version}",
             f"/{ident}/triggers"]
    paths[0] = "?project_id=proj-default"
    before = [server.fn("GET", p).json for p in paths]
    with Wire(server) as w:
        w.send(w.request("POST", "/api/v1/functions/n/invoke", "1"))
        server.kill()  # asserts that every process is gone
    server.start()
    assert [server.fn("GET", p).json for p in paths] == before
    assert server.gateway("GET", "/t").body == b"v2"
    assert server.kube("POST", "/n/invoke").json["body"] == "node"
    assert server.fn("POST", f"/{ident}/rollback").status == 200
    assert server.gateway("GET", "/t").body == b"v1"


def test_kill_with_busy_instances(start):
    """Those that compute, sleep, have left their session or stopped listening go too."""
    server = start()
    server.create("import os, time\ndef handler(e):\n    if os.fork() == 0:\n        os.setsid()\n"
                  "    while True: time.sleep(0.01)")
    server.create("exports.handler = () => { for (;;); };", name="n", **JS)
    wires = [Wire(server) for _ in range(4)]
    for i, w in enumerate(wires):
        w.send(w.request("POST", f"/api/v1/functions/{'fn'[i % 2]}/invoke", "1"))
    wait_for("both run", lambda: running(server) and running(server, "n"))
    server.kill()
    for w in wires:
        w.close()
    server.start()
    assert server.request("GET", "/ready").status == 200
    assert running(server) == 0


def test_queued_calls_survive_kills(start):
    """Several kills at random moments: each acknowledged call ends, none is lost."""
    server = start()
    ident = server.create("import time\ndef handler(e):\n    time.sleep(0.005)\n    return e['body']")
    rng = random.Random(20)
    acknowledged = []
    for _ in range(5):
        over = threading.Event()

        def feed():
            while not over.is_set():
                call = enqueue(server, ident, f"call {len(acknowledged)}")
                if call:
                    acknowledged.append(call)

        feeders = [threading.Thread(target=feed) for _ in range(3)]
        for f in feeders:
            f.start()
        enough = len(acknowledged) + rng.randint(11, 60)
        wait_for("some are acknowledged", lambda: len(acknowledged) >= enough)
        server.kill()
        over.set()
        for f in feeders:
            f.join()
        server.start()
    assert len(acknowledged) > 50 and len(set(acknowledged)) == len(acknowledged)
    for call in acknowledged:
        wait_for(f"{call} is completed", lambda: status_of(server, call) == "completed")


def test_queued_call_runs_again_that_was_cut_off(start):
    server = start()
    ident = server.create("import time\ndef handler(e):\n    time.sleep(float(e['body']))\n"
                          "    return 'end'")
    call = enqueue(server, ident, "3")
    wait_for("it runs", lambda: status_of(server, call) == "running")
    server.kill()
    server.start()
    wait_for("it has run", lambda: status_of(server, call) == "completed")


def test_builds_go_on_after_a_kill(start):
    server = start()
    names = [f"f{n}" for n in range(6)]
    for name in names:
        reply = server.kube("POST", "", {"name": name, "runtime": "python3.9", "handler": "main.h",
                                         "code": "import time\ntime.sleep(0.3)\ndef h(e): return 1"})
        assert reply.status == 201
    server.kill()
    server.start()
    for name in names:
        assert server.wait_build(name).json["status"]["state"] == "running"
        assert server.kube("POST", f"/{name}/invoke").json["body"] == 1


# ---- kill -9 of its helpers ----


@pytest.mark.parametrize("language,code", [
    ("python", SLOW), ("node", SLOW_JS)])
def test_kill_of_a_zygote(start, language, code):
    server = start()
    more = JS if language == "node" else {}
    ident = server.create(code, **more)
    server.create(OK if language == "node" else "exports.handler = () => 'ok';", name="other",
                  **({} if language == "node" else JS))
    assert server.kube("POST", "/f/invoke", 0).json["body"] == "slept"
    with Wire(server) as w:
        w.send(w.request("POST", "/api/v1/functions/f/invoke", "30"))
        wait_begun(server, ident, 30)
        zygotes = machine.named(server, f"kiln-zygote-{language}")
        assert zygotes
        os.kill(zygotes[0], signal.SIGKILL)
        reply = w.reply()
    assert reply.status == 503 and reply.headers["X-Kiln-Error"] == "platform", reply
    call = reply.headers["X-Kiln-Invocation-Id"]
    record = server.fn("GET", f"/invocations/{call}").json
    assert record["status"] == "failed" and record["error"]["cause"] == "platform", record
    # Until its processes are gone too, a call may still meet one of them.
    wait_for("the next call works", lambda: server.invoke(
        ident, "0", headers={"Content-Type": ["application/json"]}).status == 200)
    assert server.kube("POST", "/other/invoke").json["body"] == "ok"
    assert server.request("GET", "/ready").status == 200


def test_zygotes_that_are_killed_again_and_again(start):
    server = start()
    ident = server.create(OK)
    for _ in range(4):
        for pid in machine.named(server, "kiln-zygote-python"):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        wait_for("a call has an answer", lambda: server.invoke(ident).status == 200)


def test_kill_of_an_instance_from_outside(start):
    server = start()
    ident = server.create(SLOW, max_replicas=1)
    with Wire(server) as w:
        w.send(w.request("POST", "/api/v1/functions/f/invoke", "30"))
        wait_begun(server, ident, 30)
        for pid in children_of(server.pid):
            if machine.cmdline(pid) and pid not in machine.named(server, "kiln-egress") and \
                    pid not in machine.named(server, "kiln-zygote-python")[:2]:
                os.kill(pid, signal.SIGKILL)
        reply = w.reply()
    assert reply.status == 500 and reply.headers["X-Kiln-Error"] == "crash", reply
    wait_for("the next ones have an instance", lambda: server.invoke(
        ident, "0", headers={"Content-Type": ["application/json"]}).status == 200)


def test_kill_of_egress(start):
    server = start()
    server.create(OK)
    egress = machine.named(server, "kiln-egress")
    if not egress:
        pytest.skip("no egress here: the capabilities say so")
    os.kill(egress[0], signal.SIGKILL)
    for _ in range(20):
        assert server.kube("POST", "/f/invoke").json["body"] == "ok"
    server.create(OK, name="g")
    assert server.kube("POST", "/g/invoke").json["body"] == "ok"


# ---- the orderly end ----


def test_sigterm_answers_running_calls(start):
    server = start()
    ident = server.create(SLOW)
    with Wire(server) as w, Wire(server) as idle:
        idle.send("GET /health HTTP/1.1\r\nHost: k\r\n\r\n")
        assert idle.reply().status == 200
        w.send(w.request("POST", "/api/v1/functions/f/invoke", "3"))
        wait_begun(server, ident, 3)
        server.note_children()
        server.process.send_signal(signal.SIGTERM)
        assert idle.reply() is None, "an idle connection is closed"
        with pytest.raises(OSError):
            wait_for("nobody listens", lambda: not socket.create_connection(
                (server.host, server.port), timeout=1).close() and False)
        reply = w.reply()
        assert reply.status == 200 and reply.json["body"] == "slept", reply
        assert reply.headers["Connection"] == "close"
    assert server.process.wait(PATIENCE_S) == 0
    server.assert_nothing_left()


def test_sigterm_refuses_waiting_calls(start):
    server = start()
    ident = server.create(SLOW, max_replicas=1)
    first = Wire(server)
    others = [Wire(server) for _ in range(4)]
    first.send(first.request("POST", "/api/v1/functions/f/invoke", "4"))
    wait_begun(server, ident, 4)
    for w in others:
        w.send(w.request("POST", "/api/v1/functions/f/invoke", "0"))
    wait_accepted(server, ident, 5)
    server.note_children()
    server.process.send_signal(signal.SIGTERM)
    for w in others:
        reply = w.reply()
        assert reply.status == 503 and "shutting down" in reply.json["error"], reply
        w.close()
    assert first.reply().json["body"] == "slept"
    first.close()
    assert server.process.wait(PATIENCE_S) == 0
    server.assert_nothing_left()


def test_sigterm_twice_ends_at_once(start):
    server = start()
    server.create(SLOW)
    with Wire(server) as w:
        w.send(w.request("POST", "/api/v1/functions/f/invoke", "600"))
        wait_for("it runs", lambda: running(server) == 1)
        server.note_children()
        server.process.send_signal(signal.SIGTERM)
        wait_for("it drains", lambda: "draining" in server.log())
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(PATIENCE_S)
    wait_for("nothing is left", lambda: not [p for p in server.seen if harness.alive(p)])


def test_drain_deadline(start):
    server = start("--drain-timeout", "300ms")
    server.create(SLOW)
    with Wire(server) as w:
        w.send(w.request("POST", "/api/v1/functions/f/invoke", "600"))
        wait_for("it runs", lambda: running(server) == 1)
        server.note_children()
        server.process.send_signal(signal.SIGTERM)
        reply = w.reply()
        assert reply is None or reply.status == 503, reply
    assert server.process.wait(PATIENCE_S) == 0
    server.assert_nothing_left()


def test_sigterm_keeps_queued_calls(start):
    server = start()
    ident = server.create("import time\ndef handler(e): time.sleep(0.05)", max_replicas=1)
    calls = [enqueue(server, ident, str(n)) for n in range(40)]
    assert all(calls)
    assert server.terminate() == 0
    server.start()
    for call in calls:
        wait_for("it has run", lambda: status_of(server, call) == "completed")


def test_start_and_stop_in_quick_succession(start):
    server = start()
    server.create(OK)
    for _ in range(5):
        assert server.terminate() == 0
        server.start()
        assert server.kube("POST", "/f/invoke").json["body"] == "ok"


# ---- where the data is ----


def serve(data, *flags):
    """Runs until it ends by itself: (status, what it said)."""
    prefix = ["setpriv", f"--reuid={AS_USER}", f"--regid={AS_USER}", "--clear-groups"] if AS_USER \
        else []
    done = subprocess.run([*prefix, str(KILN), "serve", "--data", str(data), "--listen",
                           "127.0.0.1:0", "--gateway", "127.0.0.1:0", *flags],
                          capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def stopped(start):
    server = start()
    server.create(OK)
    assert server.terminate() == 0
    return server


@pytest.mark.parametrize("name", ["state.db", "history.db"])
@pytest.mark.parametrize("how", ["text", "half"])
def test_corrupt_database(stopped, name, how):
    file = stopped.data / name
    good = file.read_bytes()
    bad = b"this is no database\n" * 1000 if how == "text" else good[:100] + os.urandom(
        len(good) - 100)
    file.write_bytes(bad)
    status, said = serve(stopped.data)
    assert status == 1 and name in said, (status, said)
    assert file.read_bytes() == bad, "the damaged file was changed"
    file.write_bytes(good)
    stopped.start()
    assert stopped.kube("POST", "/f/invoke").json["body"] == "ok"


def test_database_of_a_newer_kiln(stopped):
    db = sqlite3.connect(stopped.data / "state.db")
    version = db.execute("PRAGMA user_version").fetchone()[0]
    db.execute(f"PRAGMA user_version = {version + 1000}")
    db.close()
    status, said = serve(stopped.data)
    assert status == 1 and "newer" in said, (status, said)
    db = sqlite3.connect(stopped.data / "state.db")
    db.execute(f"PRAGMA user_version = {version}")
    db.close()
    stopped.start()
    assert stopped.kube("POST", "/f/invoke").json["body"] == "ok"


def test_two_servers_on_one_folder(start):
    server = start()
    server.create(OK)
    status, said = serve(server.data)
    assert status == 1 and str(server.data) in said and "in use" in said, (status, said)
    assert server.kube("POST", "/f/invoke").json["body"] == "ok"
    assert (server.data / "server.url").exists(), "the second one took the first one's file away"


@pytest.mark.parametrize("flag", ["--listen", "--gateway"])
def test_port_taken(start, flag):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        data = tempfile.mkdtemp(prefix="test-kiln-data-")
        if AS_USER:
            os.chown(data, int(AS_USER), int(AS_USER))
        try:
            status, said = serve(data, flag, f"127.0.0.1:{port}")
        finally:
            shutil.rmtree(data)
        assert status != 0 and str(port) in said and "use" in said, (status, said)


@pytest.mark.parametrize("which", ["port", "gateway_port"])
def test_port_taken_by_another_kiln(start, which):
    """SO_REUSEPORT must not let a second server share it quietly."""
    server = start()
    data = tempfile.mkdtemp(prefix="test-kiln-data-")
    if AS_USER:
        os.chown(data, int(AS_USER), int(AS_USER))
    flag = "--listen" if which == "port" else "--gateway"
    try:
        status, said = serve(data, flag, f"127.0.0.1:{getattr(server, which)}")
    finally:
        shutil.rmtree(data)
    assert status != 0 and str(getattr(server, which)) in said, (status, said)


def test_data_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("x")
    for data in (tmp_path / "file", tmp_path / "file" / "below", "/proc/none/such"):
        status, said = serve(data)
        assert status != 0 and str(data).split("/")[1] in said, (status, said)


def test_stale_server_url_is_replaced(start):
    server = start()
    server.kill()
    server.start()
    assert server.url in (server.data / "server.url").read_text()


# ---- a full disk ----


@pytest.fixture
def small_disk():
    if os.geteuid() != 0 or AS_USER:
        pytest.skip("mounting needs root")
    folder = tempfile.mkdtemp(prefix="test-kiln-disk-")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "none", folder], check=False)
    if done.returncode:
        os.rmdir(folder)
        pytest.skip("tmpfs cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)
    os.rmdir(folder)


def test_full_disk(small_disk, start):
    data = os.path.join(small_disk, "data")
    os.mkdir(data)
    server = harness.Server(data=data)
    server.log_path = server.log_path  # beside the data: on the small disk
    try:
        ident = server.create(OK)
        filler = os.path.join(small_disk, "filler")
        with open(filler, "wb", buffering=0) as f:
            try:
                while True:
                    f.write(b"x" * 4096)
            except OSError:
                pass
        failed = 0
        for n in range(30):
            reply = server.fn("POST", f"/{ident}/invoke-async", {"body": b64("x" * 20000)})
            assert reply.status in (202, 500, 503), reply
            failed += reply.status != 202
            if reply.status != 202:
                assert reply.json["code"] in ("INTERNAL_ERROR", "UNAVAILABLE"), reply
        assert failed > 0, "the disk was not full"
        reply = server.kube("POST", "", {"name": "g", "runtime": "python3.9", "handler": "main.h",
                                         "code": "def h(e): return 1\n" + "#" * 100000})
        assert reply.status in (500, 503), reply
        assert server.kube("GET", "/g").status == 404, "a refused change is seen"
        assert server.kube("POST", "/f/invoke").json["body"] == "ok", "calls go on"
        os.unlink(filler)
        wait_for("it takes changes again", lambda: server.fn(
            "POST", f"/{ident}/invoke-async", {"body": b64("x")}).status == 202)
        server.create(OK, name="h")
        assert server.kube("POST", "/h/invoke").json["body"] == "ok"
        wait_for("records are written again", lambda: server.fn(
            "GET", f"/{ident}/invocations").json["invocations"])
    finally:
        server.note_children()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE_S) == 0
        server.log_file.close()


# ---- retention ----


def test_retention_by_age(start):
    server = start("--history-age", "1s")
    ident = server.create("def handler(e): print('line')")
    server.invoke(ident)
    assert server.logs(ident)
    time.sleep(1.5)
    server.terminate()
    server.start()  # retention runs at the start, and every minute
    wait_for("the old lines are gone", lambda: server.logs(ident) == [])
    assert server.fn("GET", f"/{ident}").status == 200


def test_retention_by_bytes(start):
    server = start("--history-bytes", "1Mi")
    ident = server.create("def handler(e):\n    for i in range(100): print(i, 'x' * 1000)")
    for _ in range(40):
        server.invoke(ident)
    assert server.logs(ident)
    server.terminate()
    server.start()
    wait_for("it is small again", lambda: (server.data / "history.db").stat().st_size <= 1 << 20)
    server.invoke(ident)
    assert len(server.logs(ident, limit=50)) == 50, "new lines are kept"
