# SPDX-License-Identifier: Apache-2.0
"""Loki, Prometheus and S3 as back ends: what they are sent, what is asked of them, and what happens
when they are not there."""

import concurrent.futures
import contextlib
import http.client
import json
import shutil
import sqlite3
import threading
import time

import harness
import pytest
from backends import S3, S3RVER, Loki, Prometheus, S3rver
from harness import PATIENCE_S, b64, wait_for

SAY = "def handler(event):\n    print(event['body'])\n    return 'said'\n"
TELL = """
import sys
def handler(context):
    for line in context.body.split("|"):
        print(line)
    print("bad", file=sys.stderr)
    return "told"
"""
BURN = """
import time
def handler(event):
    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass
    return "burnt"
"""


def tell(server, ident, *lines):
    assert server.result(ident, "|".join(lines)) == b"told"


def number(ident):
    return ident.replace("func-", "fn-")


def loki_logs(server, ident, query=""):
    return server.call("GET", f"/api/functions/{number(ident)}/loki-logs{query}")


@pytest.fixture
def loki():
    service = Loki()
    yield service
    service.close()


@pytest.fixture
def s3():
    service = S3()
    yield service
    service.close()


# ---- without any ----


def test_stored_lines_have_lokis_shape(server):
    ident = server.create(TELL)
    tell(server, ident, "one", "two ünï \"quoted\" \\ {x}")
    reply = loki_logs(server, ident).json
    assert reply["function_id"] == number(ident) and reply["total"] == 3
    assert sorted(e["line"] for e in reply["logs"]) == ["bad", "one", "two ünï \"quoted\" \\ {x}"]
    times = [int(e["timestamp"]) for e in reply["logs"]]
    assert times == sorted(times, reverse=True)
    assert abs(times[0] / 1e9 - time.time()) < 10 * PATIENCE_S
    assert loki_logs(server, ident, "?limit=1").json["total"] == 1
    assert loki_logs(server, ident, "?limit=1").json["logs"][0] == reply["logs"][0]


@pytest.mark.parametrize("limit", ["0", "1001", "x", "", "-1", "1.5", "99999999999999999999"])
def test_a_limit_that_is_none(server, limit):
    ident = server.create(TELL)
    reply = loki_logs(server, ident, f"?limit={limit}")
    assert reply.status == 422 and reply.json["detail"][0]["loc"] == ["query", "limit"]


@pytest.mark.parametrize("what", ["loki-logs", "metrics"])
@pytest.mark.parametrize("ident", ["fn-99999", "fn-0", "fn-x", "x", "func-1", "fn-99999999999"])
def test_no_such_function(server, what, ident):
    reply = server.call("GET", f"/api/functions/{ident}/{what}")
    assert reply.status == 404 and reply.json["error"]["code"] == "FUNCTION_NOT_FOUND"


def blue_metrics(server, ident):
    return server.call("GET", f"/api/functions/{number(ident)}/metrics")


def check_metrics(reply, ident):
    """The numbers are those in the raw answers."""
    assert reply["status"] == "success" and reply["function_id"] == number(ident)
    data = reply["data"]
    promql = f'sum(rate(kiln_function_cpu_seconds_total{{function_id="{number(ident)}"}}[1m]))'
    assert data["instant_query"] == data["range_query"] == promql
    assert data["window_seconds"] == 3600
    assert data["raw_instant"]["resultType"] == "vector"
    assert data["raw_range"]["resultType"] == "matrix"
    instant, ranged = data["raw_instant"]["result"], data["raw_range"]["result"]
    assert data["cpu_total"] == (pytest.approx(float(instant[0]["value"][1])) if instant else None)
    points = ranged[0]["values"] if ranged else []
    assert [p["timestamp"] for p in data["cpu_series"]] == pytest.approx([p[0] for p in points])
    assert [p["value"] for p in data["cpu_series"]] == pytest.approx([float(p[1]) for p in points])
    return data


def test_stored_minutes_have_prometheus_shape(server):
    ident = server.create(BURN)
    idle = check_metrics(blue_metrics(server, ident).json, ident)
    for _ in range(3):
        assert server.result(ident) == b"burnt"
    data = check_metrics(blue_metrics(server, ident).json, ident)
    # 0.6 s of the last 60: more than was idle's, and no more than there are seconds
    assert idle["cpu_total"] < 0.6 / 60 * 0.9 <= data["cpu_total"] < 10
    assert len(data["cpu_series"]) == 61
    times = [p["timestamp"] for p in data["cpu_series"]]
    assert all(t % 60 == 0 for t in times[:-1]) and times == sorted(times)
    assert abs(times[-1] - time.time()) < 10 * PATIENCE_S


# ---- Loki ----


def test_lines_are_pushed_and_asked_for(start, loki):
    server = start("--loki-url", loki.url)
    ident = server.create(TELL)
    lines = ["one", "two ünï \"quoted\" \\", "", "tab\there", "x" * 5000]
    tell(server, ident, *lines)
    wait_for("all lines are pushed", lambda: len(loki.lines) >= len(lines) + 1)
    out = [line for lb, _ns, line in loki.lines if lb["level"] == "info"]
    assert out == lines, "in their order, as they were"
    assert [line for lb, _ns, line in loki.lines if lb["level"] == "error"] == ["bad"]
    assert {lb["function_id"] for lb, *_ in loki.lines} == {number(ident)}
    assert {lb["workspace"] for lb, *_ in loki.lines} == {"ws-default"}
    # the store has them as well
    assert [e["message"] for e in server.logs(ident)] == [*lines, "bad"]
    reply = loki_logs(server, ident, "?limit=100").json
    assert reply["total"] == len(lines) + 1
    assert [e["line"] for e in reply["logs"]] == [
        line for _lb, _ns, line in sorted(loki.lines, key=lambda x: -x[1])]
    assert loki.queries[-1]["limit"] == "100"
    assert loki.queries[-1]["query"] == f'{{job="kiln",function_id="{number(ident)}"}}'
    assert loki_logs(server, ident, "?limit=2").json["total"] == 2


def test_lines_wait_for_a_loki_that_is_away(start, loki):
    server = start("--loki-url", loki.url)
    ident = server.create(TELL)
    tell(server, ident, "before")
    wait_for("the first lines came", lambda: len(loki.lines) == 2)
    loki.stop()
    for i in range(20):
        tell(server, ident, f"during {i}")
    reply = loki_logs(server, ident)
    assert reply.status == 503 and "Loki" in reply.json["error"]["message"]
    # and nothing else waits for it
    assert len(server.logs(ident)) == 42
    loki.start()
    wait_for("what waited came", lambda: len(loki.lines) == 42)
    assert [line for lb, _ns, line in loki.lines if lb["level"] == "info"] == [
        "before", *(f"during {i}" for i in range(20))]
    assert loki_logs(server, ident).json["total"] == 42


def test_what_loki_refuses_is_let_go(start, loki):
    server = start("--loki-url", loki.url)
    ident = server.create(TELL)
    loki.refuse = (400, b"entry too far behind")
    tell(server, ident, "too old")
    wait_for("it is told", lambda: "entry too far behind" in server.log())
    loki.refuse = (429, b"slow down")
    tell(server, ident, "too much at once")
    wait_for("it is told", lambda: "slow down" in server.log())
    loki.refuse = None
    wait_for("that is pushed again",
             lambda: "too much at once" in {line for *_, line in loki.lines})
    assert "too old" not in {line for *_, line in loki.lines}


@pytest.mark.parametrize("reply", [
    (200, b"[]"), (200, b"nonsense"), (200, b'{"status":"success"}'),
    (200, b'{"data":{"resultType":"matrix","result":[]}}'),
    (200, b'{"data":{"resultType":"streams","result":[{"values":[["x","y"]]}]}}'),
    (200, b'{"data":{"resultType":"streams","result":[{"values":[[1,"y"]]}]}}'),
    (200, b'{"data":{"resultType":"streams","result":[7]}}'),
    (200, b'{"data":{"resultType":"streams","result":{}}}'),
    (500, b"out of order"), (401, b""), (302, b"elsewhere"), (200, b"\xff" * 100)])
def test_a_loki_that_answers_nonsense(shared_loki, reply):
    server, loki, ident = shared_loki
    loki.reply = reply
    answer = loki_logs(server, ident)
    loki.reply = None
    assert answer.status == 503 and "Loki" in answer.json["error"]["message"]
    assert loki_logs(server, ident).status == 200


@pytest.fixture(scope="module")
def shared_loki():
    loki = Loki()
    server = harness.Server("--loki-url", loki.url)
    try:
        yield server, loki, server.create(TELL)
    finally:
        server.stop()
        loki.close()


def test_who_kiln_is_to_loki(start, folder):
    loki = Loki(tenant="team-a", authorization="Bearer very-secret-word")
    (folder / "auth").write_text("Bearer very-secret-word\n")
    harness.own(folder)
    server = start("--loki-url", loki.url + "/", "--loki-tenant", "team-a", "--loki-auth-file",
                   str(folder / "auth"))
    ident = server.create(TELL)
    tell(server, ident, "hello")
    wait_for("the lines came", lambda: len(loki.lines) == 2)
    assert loki_logs(server, ident).json["total"] == 2
    assert "very-secret-word" not in server.log()
    loki.close()


def test_a_loki_that_hangs_holds_nothing_else(start, loki):
    server = start("--loki-url", loki.url)
    ident = server.create(TELL)
    loki.hang = threading.Event()

    def ask():
        with contextlib.suppress(OSError, http.client.HTTPException):
            assert loki_logs(server, ident).status == 503

    askers = [threading.Thread(target=ask) for _ in range(5)]
    for asker in askers:
        asker.start()
    wait_for("questions hang", lambda: len(loki.queries) >= 2)
    tell(server, ident, "meanwhile")
    assert len(server.logs(ident)) == 2
    other = server.create(TELL, name="other")
    tell(server, other, "cold")
    wait_for("lines are pushed meanwhile", lambda: len(loki.lines) == 4)
    assert server.terminate() == 0, "and the end does not wait for it"
    for asker in askers:
        asker.join()
    loki.hang.set()


def test_the_last_lines_reach_loki(start, loki):
    server = start("--loki-url", loki.url)
    ident = server.create(TELL)
    tell(server, ident, *[f"line {i}" for i in range(3000)])
    assert server.terminate() == 0
    assert [line for lb, _ns, line in loki.lines if lb["level"] == "info"] == [
        f"line {i}" for i in range(3000)]


def test_the_server_ends_without_a_loki(start, loki):
    server = start("--loki-url", loki.url)
    ident = server.create(TELL)
    loki.stop()
    tell(server, ident, "lost")
    assert server.terminate() == 0
    assert "not pushed to Loki" in server.log()


# ---- Prometheus ----


@pytest.mark.skipif(not shutil.which("prometheus"), reason="no prometheus here")
def test_a_real_prometheus(start):
    prometheus = Prometheus()
    try:
        server = start("--prometheus-url", prometheus.url)
        prometheus.scrape(server)
        prometheus.start()
        ident = server.create(BURN)
        selector = f'kiln_function_invocations_total{{function_id="{number(ident)}"}}'

        def burnt():
            assert server.result(ident) == b"burnt"
            data = check_metrics(blue_metrics(server, ident).json, ident)
            return data["cpu_total"]

        assert wait_for("Prometheus tells of the time that was used", burnt) < 10
        scraped = prometheus.ask(selector)[0]
        assert scraped["metric"]["function"] == "f"
        assert scraped["metric"]["workspace"] == "ws-default"
        assert int(scraped["value"][1]) >= 1
        wait_for("a scrape in time", lambda: prometheus.ask("up")[0]["value"][1] == "1")
        assert prometheus.ask("kiln_build_info")[0]["metric"]["version"]
        prometheus.kill()
        reply = blue_metrics(server, ident)
        assert reply.status == 503 and "Prometheus" in reply.json["error"]["message"]
        prometheus.start()
        assert blue_metrics(server, ident).status == 200
    finally:
        prometheus.close()


# ---- S3 ----


def s3_server(start, folder, s3, **more):
    (folder / "keys").write_text(f"{s3.access}:{s3.secret}\n")
    harness.own(folder)
    return start("--s3-url", s3.url, "--s3-bucket", s3.bucket, "--s3-region", s3.region,
                 "--s3-keys-file", str(folder / "keys"), **more)


def test_code_is_kept_in_s3(start, folder, s3):
    server = s3_server(start, folder, s3)
    ident = server.create(SAY, name="keeps")
    assert list(s3.objects.values()) == [SAY.encode()]
    [first] = s3.objects
    assert first.startswith("functions/ws-default/proj-default/keeps/v1-")
    other = SAY.replace("said", "other")
    reply = server.fn("POST", f"/{ident}/versions", {"source_code": b64(other)})
    assert reply.status == 201
    assert set(s3.objects.values()) == {SAY.encode(), other.encode()}
    assert any("/keeps/v2-" in key for key in s3.objects)
    # nothing of it lies in the store
    for file in ("state.db", "state.db-wal"):
        assert b"return 'said'" not in (server.data / file).read_bytes()
    assert server.kube("GET", "/keeps").json["code"] == SAY
    # it is fetched again after a start
    assert server.terminate() == 0
    server.start()
    s3.requests.clear()
    assert server.result(ident, "x") == b"said"
    assert s3.requests == [("GET", first)]
    assert server.fn("PUT", f"/{ident}/versions/2/active").status == 200
    assert server.result(ident, "x") == b"other"
    assert server.fn("DELETE", f"/{ident}").status == 204
    wait_for("its code went with it", lambda: not s3.objects)
    assert s3.secret not in server.log()


def test_nothing_is_made_when_s3_fails(start, folder, s3):
    server = s3_server(start, folder, s3)
    ident = server.create(SAY, name="stays")
    s3.fail = (500, b"<Error><Code>InternalError</Code><Message>We lost it.</Message></Error>")
    before = server.fn("GET", f"/{ident}/versions").json
    for reply in (
            server.fn("POST", "", {"name": "new", "runtime": "python3.9", "handler": "main.handler",
                                   "source_code": b64(SAY)}),
            server.fn("POST", f"/{ident}/versions", {"source_code": b64(SAY)}),
            server.kube("PUT", "/stays", {"name": "stays", "runtime": "python3.9",
                                          "handler": "main.handler", "code": SAY})):
        assert reply.status == 503 and "We lost it." in reply.body.decode(), reply
    assert server.fn("GET", f"/{ident}/versions").json == before
    assert [f["name"] for f in server.kube("GET", "").json] == ["stays"]
    s3.stop()
    reply = server.fn("POST", f"/{ident}/versions", {"source_code": b64(SAY)})
    assert reply.status == 503 and "cannot be reached" in reply.body.decode()
    assert server.result(ident, "x") == b"said", "what runs goes on"
    s3.fail = None
    s3.start()
    assert server.fn("POST", f"/{ident}/versions", {"source_code": b64(SAY)}).status == 201
    assert len(s3.objects) == 2


def test_a_name_that_is_taken_leaves_no_object(start, folder, s3):
    server = s3_server(start, folder, s3)
    ident = server.create(SAY, name="taken")
    reply = server.fn("POST", "", {"name": "taken", "runtime": "python3.9",
                                   "handler": "main.handler", "source_code": b64(SAY)})
    assert reply.status == 409
    wait_for("what was put for it is deleted", lambda: len(s3.objects) == 1)
    assert server.result(ident, "x") == b"said"


def test_large_code(start, folder, s3):
    server = s3_server(start, folder, s3)
    code = SAY + "#" + "ü" * (4 << 20) + "\n"
    ident = server.create(code, name="large")
    assert list(s3.objects.values()) == [code.encode()]
    assert server.terminate() == 0
    server.start()
    assert server.result(ident, "x") == b"said"
    assert server.kube("GET", "/large").json["code"] == code


def test_an_upload_that_a_kill_cut_off_is_not_forgotten(start, folder, s3):
    server = s3_server(start, folder, s3)
    s3.hold = threading.Event()

    def create():
        with contextlib.suppress(OSError, http.client.HTTPException):
            server.kube("POST", "", {"name": "cut", "runtime": "python3.9",
                                     "handler": "main.handler", "code": SAY})

    asker = threading.Thread(target=create)
    asker.start()
    wait_for("the code is put", lambda: s3.objects)
    server.kill()
    s3.hold.set()
    asker.join()
    server.start()
    assert server.kube("GET", "").json == []
    assert server.terminate() == 0
    with contextlib.closing(sqlite3.connect(server.data / "state.db")) as db:
        listed = db.execute("SELECT key FROM objects_unused").fetchall()
        # as if its hour were over
        db.execute("UPDATE objects_unused SET after_us = 0")
        db.commit()
    harness.own(server.data)
    assert listed == [(key,) for key in s3.objects] and len(listed) == 1
    server.start()
    wait_for("it is deleted", lambda: not s3.objects)


def test_code_that_was_changed_in_s3_is_not_run(start, folder, s3):
    server = s3_server(start, folder, s3)
    ident = server.create(SAY, name="safe")
    assert server.terminate() == 0
    [key] = s3.objects
    right = s3.objects[key]
    s3.objects[key] = right.replace(b"said", b"evil")
    server.start()
    reply = server.invoke(ident, "x")
    assert reply.status == 503 and b"evil" not in reply.body, reply
    del s3.objects[key]
    assert server.invoke(ident, "x").status == 503
    assert server.kube("GET", "/safe").status in (200, 503)
    s3.objects[key] = right
    assert server.result(ident, "x") == b"said"


def test_a_load_that_failed_is_not_told_to_calls_that_came_later(start, folder, s3):
    """Several instances fail to load at once; whoever calls when the first has said so gets one of
    his own, and not what the others say a moment later."""
    server = s3_server(start, folder, s3)
    for i in range(5):
        ident = server.create(SAY, name=f"late{i}")
        assert server.terminate() == 0
        [(key, code)] = s3.objects.items()
        s3.objects.clear()
        server.start()
        with concurrent.futures.ThreadPoolExecutor(8) as several:
            early = [several.submit(server.invoke, ident, "x") for _ in range(8)]
            first = next(concurrent.futures.as_completed(early)).result()
            assert first.status == 503 and "S3 has no object" in first.body.decode(), first
            s3.objects[key] = code
            assert server.result(ident, "x") == b"said"
        assert {c.result().status for c in early} <= {200, 503}
        server.fn("DELETE", f"/{ident}")
        wait_for("its code is gone", lambda: not s3.objects)


def test_code_stays_where_it_was_put(start, folder, s3):
    """S3 configured later or no more: each version is where it was made."""
    server = start()
    here = server.create(SAY, name="here")
    assert server.terminate() == 0
    (folder / "keys").write_text(f"{s3.access}:{s3.secret}\n")
    harness.own(folder)
    server.flags = ("--s3-url", s3.url, "--s3-bucket", s3.bucket, "--s3-region", s3.region,
                    "--s3-keys-file", str(folder / "keys"))
    server.start()
    there = server.create(SAY, name="there")
    assert server.result(here, "x") == server.result(there, "x") == b"said"
    assert len(s3.objects) == 1
    assert server.terminate() == 0
    server.flags = ()
    server.start()
    assert server.result(here, "x") == b"said"
    reply = server.invoke(there, "x")
    assert reply.status == 503 and "--s3-url" in reply.body.decode(), reply


@pytest.mark.skipif(not S3RVER.exists(), reason="no s3rver: tools/setup.sh test")
def test_a_real_s3_server(start):
    s3 = S3rver()
    try:
        s3.start()
        server = start("--s3-url", s3.url, env={"AWS_ACCESS_KEY_ID": s3.ACCESS,
                                                "AWS_SECRET_ACCESS_KEY": s3.SECRET})
        ident = server.create(SAY, name="real")
        assert len(s3.objects()) == 1
        s3.kill()
        reply = server.fn("POST", f"/{ident}/versions", {"source_code": b64(SAY)})
        assert reply.status == 503
        s3.start()
        assert server.terminate() == 0
        server.start()
        assert server.result(ident, "x") == b"said"
        assert server.fn("DELETE", f"/{ident}").status == 204
        wait_for("its code went with it", lambda: not s3.objects())
    finally:
        s3.close()


@pytest.mark.skipif(not S3RVER.exists(), reason="no s3rver: tools/setup.sh test")
def test_a_wrong_key_is_refused_clearly(start):
    s3 = S3rver()
    try:
        s3.start()
        server = start("--s3-url", s3.url, env={"AWS_ACCESS_KEY_ID": "NOBODY",
                                                "AWS_SECRET_ACCESS_KEY": "wrong-secret-key"})
        reply = server.fn("POST", "", {"name": "new", "runtime": "python3.9",
                                       "handler": "main.handler", "source_code": b64(SAY)})
        assert reply.status == 503 and "403" in reply.body.decode(), reply
        assert server.fn("GET", "?project_id=proj-default").json["functions"] == []
        assert "wrong-secret-key" not in server.log() + json.dumps(reply.json)
    finally:
        s3.close()


# ---- settings ----


@pytest.mark.parametrize("flags,word", [
    (("--loki-url", "127.0.0.1:3100"), "loki-url"), (("--loki-url", "ftp://x"), "loki-url"),
    (("--loki-url", "http://user:hidden@127.0.0.1:1"), "loki-url"),
    (("--loki-url", "http://127.0.0.1:1", "--loki-auth-file", "/nowhere"), "loki-auth-file"),
    (("--loki-url", "http://127.0.0.1:1", "--loki-tenant", "a b"), "loki-url"),
    (("--prometheus-url", "nonsense"), "prometheus-url"),
    (("--s3-url", "http://127.0.0.1:1"), "access key"),
    (("--s3-url", "http://127.0.0.1:1", "--s3-bucket", "a/b"), "bucket"),
    (("--price-request", "free"), "price-request"), (("--price-request", "-1"), "price-request"),
    (("--price-gb-second", "inf"), "price-gb-second"), (("--price-gb-second", ""), "price-gb-s"),
    (("--price-gb-second", "1e9"), "price-gb-second"), (("--price-request", "1.2.3"), "price-req")])
def test_settings_that_are_wrong(flags, word):
    server = harness.Server(*flags, expect_start=False)
    try:
        with pytest.raises(AssertionError):
            server.start()
        assert word in server.log() and "hidden" not in server.log(), server.log()
    finally:
        server.clean()


def test_prices_are_settings(start):
    server = start("--price-gb-second", "0", "--price-request", "0.5")
    server.create(SAY, name="costs")
    for _ in range(3):
        server.kube("POST", "/costs/invoke", {"a": 1})
    assert server.kube("GET", "/costs/metrics").json["costEstimate"] == 1.5
