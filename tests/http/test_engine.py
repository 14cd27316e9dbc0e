# SPDX-License-Identifier: Apache-2.0
"""The local engine from outside: reuse, several at once, the queue, scaling, versions, hand-over."""

import concurrent.futures
import threading
import time

import pytest
from harness import PATIENCE_S, b64, wait_for
from wire import Wire

COUNT = """
import os, uuid
me, n = str(uuid.uuid4()), 0
def handler(event):
    global n
    n += 1
    return {"me": me, "n": n, "version": os.environ["KILN_FUNCTION_VERSION"]}
"""
COUNT_JS = """
const me = require('crypto').randomUUID(); let n = 0;
exports.handler = async () => ({me, n: ++n, version: process.env.KILN_FUNCTION_VERSION});
"""
# Ends itself 0.3 s after it was loaded, whether or not it has calls.
MORTAL = """
import os, threading
def handler(event): return "ok"
threading.Timer(0.3, os._exit, [1]).start()
"""
# Says when it ran, by a clock that all processes of the machine share, and on which instance.
SPANS = """
import time, uuid
me = str(uuid.uuid4())
def handler(event):
    begin = time.clock_gettime(time.CLOCK_BOOTTIME)
    time.sleep(event["body"]["sleep"])
    return {"me": me, "begin": begin, "end": time.clock_gettime(time.CLOCK_BOOTTIME)}
"""
SPANS_JS = """
const me = require('crypto').randomUUID();
exports.handler = async e => {
  const begin = Date.now();
  await new Promise(r => setTimeout(r, e.body.sleep * 1000));
  return {me, begin, end: Date.now()};
};
"""
LANGUAGES = {
    "python": {"runtime": "python3.9", "handler": "main.handler"},
    "node": {"runtime": "nodejs18", "handler": "index.handler"},
}


def replicas(server, name="f"):
    return server.kube("GET", f"/{name}").json["status"]["replicas"]


def call(server, body=None, name="f"):
    return server.kube("POST", f"/{name}/invoke", body)


def answer(server, body=None, name="f"):
    reply = call(server, body, name)
    assert reply.status == 200, reply
    return reply.json["body"]


def together(n, work):
    """work(0) … work(n-1) at once; their results in order."""
    with concurrent.futures.ThreadPoolExecutor(n) as pool:
        return list(pool.map(work, range(n)))


def most_at_once(spans):
    edges = sorted([(s["begin"], 1) for s in spans] + [(s["end"], -1) for s in spans])
    most = now = 0
    for _, step in edges:
        now += step
        most = max(most, now)
    return most


# ---- reuse ----


@pytest.mark.parametrize("language,code", [("python", COUNT), ("node", COUNT_JS)])
def test_a_warm_instance_is_used_again(server, language, code):
    ident = server.create(code, **LANGUAGES[language], max_replicas=1)
    first = server.invoke(ident).json
    assert first["cold_start"] is True
    seen = [answer(server) for _ in range(30)]
    assert {s["me"] for s in seen} == {seen[0]["me"]}
    assert [s["n"] for s in seen] == list(range(2, 32))
    assert server.invoke(ident).json["cold_start"] is False
    metrics = server.kube("GET", "/f/metrics").json
    assert metrics["invocations"] == 32 and metrics["coldStarts"] == 1


def test_one_connection_after_another_stays_on_one_instance(server):
    """Calls that never overlap need one instance, whichever loop the connection is on."""
    server.create(COUNT)
    assert len({answer(server)["me"] for _ in range(40)}) == 1
    assert replicas(server) == 1


# ---- several at once ----


@pytest.mark.parametrize("language,code", [("python", SPANS), ("node", SPANS_JS)])
def test_several_at_once_up_to_the_maximum(server, language, code):
    server.create(code, **LANGUAGES[language], max_replicas=3)
    spans = []

    def three():
        spans.extend(together(12, lambda _: answer(server, {"sleep": 0.15})))
        return most_at_once(spans) >= 3

    wait_for("three calls run at once", three)
    assert most_at_once(spans) == 3, spans
    assert len({s["me"] for s in spans}) == 3
    assert replicas(server) == 3


@pytest.mark.parametrize("language,code", [("python", SPANS), ("node", SPANS_JS)])
def test_one_at_a_time_where_the_maximum_is_one(server, language, code):
    server.create(code, **LANGUAGES[language], max_replicas=1)
    spans = together(12, lambda _: answer(server, {"sleep": 0.02}))
    assert most_at_once(spans) == 1
    assert len({s["me"] for s in spans}) == 1


def test_the_maximum_holds_while_the_maximum_is_reached_again_and_again(server):
    server.create(SPANS, max_replicas=2)
    most = 0
    over = threading.Event()

    def watch():
        nonlocal most
        while not over.is_set():
            most = max(most, replicas(server))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        spans = sum((together(8, lambda _: answer(server, {"sleep": 0.01})) for _ in range(5)), [])
    finally:
        over.set()
        watcher.join()
    assert most_at_once(spans) <= 2 and most <= 2


@pytest.mark.parametrize("language,code", [("python", COUNT), ("node", COUNT_JS)])
def test_two_hundred_calls_at_once(server, language, code):
    server.create(code, **LANGUAGES[language])
    seen = together(200, lambda _: answer(server))
    assert len(seen) == 200
    by_instance = {}
    for s in seen:
        by_instance.setdefault(s["me"], []).append(s["n"])
    assert len(by_instance) <= 10
    for me, counts in by_instance.items():
        assert sorted(counts) == list(range(1, len(counts) + 1)), f"a call of {me} ran twice"


def test_calls_of_many_connections_hand_the_one_instance_over(start):
    server = start("--loops", "4")
    server.create(COUNT, max_replicas=1)
    n, each = 16, 40

    def work(_):
        seen = []
        with Wire(server) as w:
            for _ in range(each):
                w.send(w.request("POST", "/api/v1/functions/f/invoke"))
                reply = w.reply()
                assert reply.status == 200, reply
                seen.append(reply.json["body"])
        return seen

    seen = sum(together(n, work), [])
    assert len({s["me"] for s in seen}) == 1
    assert sorted(s["n"] for s in seen) == list(range(1, n * each + 1))
    assert replicas(server) == 1


def test_an_instance_that_ends_while_other_loops_wait_for_it(start):
    """Its place is taken by another one: nobody waits for the queue's deadline."""
    server = start("--loops", "4")
    server.create("""
import os, time
def handler(event):
    time.sleep(0.01)
    if event["body"] % 3 == 0: os._exit(1)
    return event["body"]
""", max_replicas=1)
    replies = together(24, lambda n: call(server, n))
    assert [r.status for r in replies] == [500 if n % 3 == 0 else 200 for n in range(24)], replies


def test_hand_over_while_the_instance_prints(start):
    """Lines that an instance wrote for a call of one loop belong to that call."""
    server = start("--loops", "4")
    ident = server.create("""
import sys, os
def handler(event):
    print("line of", event["body"])
    os.write(1, b"raw of %d\\n" % event["body"])
    return event["body"]
""", max_replicas=1)
    ids = {}

    def work(n):
        reply = call(server, n)
        assert reply.status == 200 and reply.json["body"] == n, reply
        ids[n] = reply.headers["X-Kiln-Invocation-Id"]

    together(32, work)
    for n, ident_of_call in ids.items():
        lines = [x["message"] for x in server.logs(ident, invocation_id=ident_of_call)]
        assert sorted(lines) == [f"line of {n}", f"raw of {n}"], n


# ---- the queue ----


def test_queue_full(start):
    server = start("--queue-max", "2", "--loops", "1")
    server.create(SPANS, max_replicas=1)
    answer(server, {"sleep": 0})

    def refused():
        """Of eight at once, unless they came one by one."""
        replies = together(8, lambda _: call(server, {"sleep": 0.3}))
        ok = [r for r in replies if r.status == 200]
        full = [r for r in replies if r.status == 503]
        assert len(ok) + len(full) == 8 and len(ok) >= 3, replies
        return full

    for r in wait_for("the queue is full", refused):
        assert r.headers["X-Kiln-Error"] == "busy" and int(r.headers["Retry-After"]) >= 1, r
        assert "wait" in r.json["error"]
    assert answer(server, {"sleep": 0})["me"], "it goes on"


def test_queue_deadline(start):
    server = start("--queue-timeout", "300ms", "--loops", "1")
    ident = server.create(SPANS.replace("    begin", "    print('begun', event['body'])\n    begin"),
                          max_replicas=1)
    wait_for("an instance is there", lambda: call(server, {"sleep": 0}).status == 200)
    with Wire(server) as w:
        w.send(w.request("POST", "/api/v1/functions/f/invoke", '{"sleep": 4}'))
        wait_for("it runs", lambda: "begun {'sleep': 4}" in [
            line["message"] for line in server.logs(ident)])
        reply = server.invoke(ident, {"sleep": 0})
        assert reply.status == 503 and int(reply.headers["Retry-After"]) >= 1, reply
        assert reply.json["code"] == "INVOCATION_FAILED"
        assert reply.json["details"]["cause"] == "busy"
        assert w.reply().status == 200
    record = server.fn("GET", f"/invocations/{reply.json['details']['invocation_id']}").json
    assert record["status"] == "failed" and record["error"]["cause"] == "busy"


def test_one_full_queue_is_nobody_elses(start):
    server = start("--queue-max", "1", "--loops", "1")
    server.create(SPANS, name="slow", max_replicas=1)
    server.create(COUNT, name="other")
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        def refused():
            """Of six at once, unless they came one by one."""
            slow = [pool.submit(call, server, {"sleep": 0.5}, "slow") for _ in range(6)]
            assert all(answer(server, name="other") for _ in range(20))
            statuses = {f.result().status for f in slow}
            assert 200 in statuses and statuses <= {200, 503}
            return 503 in statuses

        wait_for("the queue is full", refused)


def test_limit_of_all_instances(start):
    """When the server's own limit is reached a call is refused or waits; nothing breaks."""
    server = start("--instances-max", "4", "--spares-python", "0", "--queue-timeout", "5s")
    for name in "abcdef":
        server.create(SPANS, name=name)
    replies = together(12, lambda i: call(server, {"sleep": 0.3}, "abcdef"[i % 6]))
    assert {r.status for r in replies} <= {200, 503}, replies
    assert sum(r.status == 200 for r in replies) >= 4, replies
    for r in replies:
        if r.status == 503:
            assert int(r.headers["Retry-After"]) >= 1, r


# ---- scaling ----


@pytest.mark.parametrize("language,code", [("python", COUNT), ("node", COUNT_JS)])
def test_scale_to_zero(start, language, code):
    server = start("--idle-timeout", "150ms")
    server.create(code, **LANGUAGES[language])
    first = answer(server)
    wait_for("no instance is left", lambda: replicas(server) == 0)
    second = call(server)
    assert second.headers["X-Cold-Start"] == "true"
    assert second.json["body"]["me"] != first["me"] and second.json["body"]["n"] == 1


def warm(server):
    """Until a call finds an instance that was not started for it."""
    wait_for("a call is not cold", lambda: call(server).headers["X-Cold-Start"] == "false")


@pytest.mark.parametrize("language,code", [("python", COUNT), ("node", COUNT_JS)])
def test_min_replicas_are_kept(start, language, code):
    server = start("--idle-timeout", "100ms")
    server.create(code, **LANGUAGES[language], min_replicas=2, max_replicas=4)
    wait_for("they start with the function, before any call", lambda: replicas(server) == 2)
    warm(server)
    for _ in range(3):
        time.sleep(0.4)  # several idle times
        assert replicas(server) >= 2
        assert call(server).headers["X-Cold-Start"] == "false"


def test_min_replicas_come_back(start):
    """After a crash, whichever loop it was on, and after the load that needed more is over."""
    server = start("--idle-timeout", "150ms", "--loops", "4")
    server.create("""
import os, time
def handler(event):
    if event["body"] == "die": os._exit(1)
    time.sleep(0.1)
""", min_replicas=1, max_replicas=5)
    for _ in range(8):
        wait_for("one is there", lambda: replicas(server) == 1)
        assert call(server, "die").status == 500
    wait_for("one is there again", lambda: replicas(server) == 1)
    together(10, lambda _: call(server, ""))
    wait_for("only the minimum is left", lambda: replicas(server) == 1)


def test_min_replicas_of_code_that_ends_itself(start):
    """What dies without a call is not started again and again without a pause."""
    server = start()
    ident = server.create(COUNT, min_replicas=1)

    def built():
        """A version whose build was over before it ended itself."""
        version = deploy(server, ident, MORTAL)
        state = wait_for("it is built", lambda: (lambda s: s if s in ("success", "failed") else None)(
            server.fn("GET", f"/{ident}/versions/{version}").json["build_status"]))
        return version if state == "success" else None

    activate(server, ident, wait_for("a build that was in time", built))
    time.sleep(3)
    began = len([line for line in server.logs(ident, limit=1000)])
    assert began < 100
    assert server.request("GET", "/health").status == 200


def test_min_replicas_after_a_restart(start):
    server = start()
    server.create(COUNT, min_replicas=1)
    server.terminate()
    server.start()
    wait_for("one is there without a call", lambda: replicas(server) == 1)
    warm(server)


# ---- changes while calls run ----


def versions_during(server, ident, change):
    """Calls without a pause while change() runs; the versions that answered, in order of begin."""
    seen, over = [], threading.Event()
    lock = threading.Lock()

    def work():
        while not over.is_set():
            begin = time.monotonic()
            reply = server.invoke(ident)
            assert reply.status == 200, reply
            with lock:
                seen.append((begin, __import__("json").loads(
                    __import__("base64").b64decode(reply.json["body"]))["version"]))

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(work) for _ in range(4)]
        wait_for("calls run", lambda: len(seen) > 20)
        change()
        done = time.monotonic()
        wait_for("calls begun after the change", lambda: sum(b > done for b, _ in seen) > 20)
        over.set()
        for f in futures:
            f.result(PATIENCE_S)
    return seen, done


def deploy(server, ident, code):
    version = server.fn("POST", f"/{ident}/versions", {"source_code": b64(code)})
    assert version.status == 201, version
    return version.json["id"]


def activate(server, ident, version):
    reply = server.fn("PUT", f"/{ident}/versions/{version}/active")
    assert reply.status == 200, reply


def test_new_version_without_a_lost_call(server):
    ident = server.create(COUNT)
    second = deploy(server, ident, COUNT)
    seen, done = versions_during(server, ident, lambda: activate(server, ident, second))
    assert {v for _, v in seen} == {"v1", "v2"}
    assert {v for begin, v in seen if begin > done} == {"v2"}, "the old one served after the change"


def test_rollback_without_a_lost_call(server):
    ident = server.create(COUNT)
    activate(server, ident, deploy(server, ident, COUNT))
    seen, done = versions_during(
        server, ident,
        lambda: [server.fn("POST", f"/{ident}/rollback") for _ in range(1)])
    assert {v for begin, v in seen if begin > done} == {"v1"}


def test_running_calls_end_on_the_old_version(server):
    slow = "import time, os\ndef handler(e):\n    time.sleep(e['body']['sleep'])\n" \
           "    return os.environ['KILN_FUNCTION_VERSION']\n"
    ident = server.create(slow)
    second = deploy(server, ident, slow)
    with Wire(server) as w:
        w.send(w.request("POST", "/api/v1/functions/f/invoke", '{"sleep": 1}'))
        wait_for("it runs", lambda: replicas(server) == 1)
        activate(server, ident, second)
        assert answer(server, {"sleep": 0}) == "v2"
        assert w.reply().json["body"] == "v1"
    wait_for("the old instance is gone", lambda: replicas(server) == 1)


def test_update_of_the_environment_reaches_the_next_call(server):
    ident = server.create("import os\ndef handler(e): return os.environ.get('A')",
                          environment={"A": "1"})
    assert answer(server) == "1"
    assert server.fn("PUT", f"/{ident}", {"environment": {"A": "2"}}).status == 200
    assert answer(server) == "2"


def test_update_of_limits_reaches_the_next_call(server):
    ident = server.create("import time\ndef handler(e): time.sleep(e['body'])", timeout=0.3)
    assert server.invoke(ident, 1.0 if False else "1", headers={
        "Content-Type": ["application/json"]}).status == 504
    assert server.fn("PUT", f"/{ident}", {"timeout": 30}).status == 200
    assert call(server, 1).status == 200


def test_delete_while_calls_run(server):
    """Each call that was taken ends with an answer; afterwards there is nothing."""
    for _ in range(5):
        ident = server.create(SPANS, max_replicas=2)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            calls = [pool.submit(call, server, {"sleep": 0.2}) for _ in range(8)]
            wait_for("they run", lambda: replicas(server) > 0)
            assert server.fn("DELETE", f"/{ident}").status == 204
            assert call(server, {"sleep": 0}).status == 404
            assert {f.result().status for f in calls} <= {200, 404}
            assert any(f.result().status == 200 for f in calls)


# ---- what a function sees ----


@pytest.mark.parametrize("language,code", [
    ("python", "import os\ndef handler(e): return dict(os.environ)"),
    ("node", "exports.handler = () => ({...process.env})"),
])
def test_environment(server, language, code):
    server.create(code, name="env-test", **LANGUAGES[language], environment={"OWN": "a=b\n\u00e4", "E": ""})
    env = answer(server, name="env-test")
    assert env["OWN"] == "a=b\n\u00e4" and env["E"] == ""
    assert env["FUNCTION_NAME"] == "env-test"
    assert env["FUNCTION_HANDLER"] == LANGUAGES[language]["handler"]
    assert env["RUNTIME"] == LANGUAGES[language]["runtime"]
    assert env["KILN_FUNCTION_VERSION"] == "v1" and env["KILN_WORKSPACE"] == "ws-default"


@pytest.mark.parametrize("language,code", [
    ("python", """
import asyncio
async def handler(event):
    await asyncio.sleep(0.01)
    a, b = await asyncio.gather(asyncio.sleep(0, 1), asyncio.sleep(0, 2))
    return {"sum": a + b}
"""),
    ("node", """
exports.handler = async () => {
  await new Promise(r => setTimeout(r, 10));
  const [a, b] = await Promise.all([1, new Promise(r => setImmediate(() => r(2)))]);
  return {sum: a + b};
};
"""),
])
def test_async_handlers(server, language, code):
    server.create(code, **LANGUAGES[language])
    for _ in range(5):
        assert answer(server) == {"sum": 3}


def test_many_functions_at_once(server):
    names = [f"f{i}" for i in range(20)]
    for i, name in enumerate(names):
        if i % 2:
            server.create(f"def handler(e): return '{name}'", name=name)
        else:
            server.create(f"exports.handler = () => '{name}'", name=name, **LANGUAGES["node"])
    assert together(60, lambda i: answer(server, name=names[i % 20])) == [
        names[i % 20] for i in range(60)]
