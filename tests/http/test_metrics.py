# SPDX-License-Identifier: Apache-2.0
"""What is measured: series by resolution, processor time and memory, and /metrics."""

import datetime
import re
import socket

import harness
import pytest
from harness import b64, wait_for

SAY = "def handler(event):\n    return 'said'\n"
FAIL = "def handler(event):\n    if event['body'] == 'fail':\n        raise ValueError('x')\n"
BURN = """
import subprocess, time
def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
def handler(event):
    burn(0.3)
    return 'burnt'
"""
BURN_BELOW = """
import subprocess, sys
def handler(event):
    subprocess.run([sys.executable, "-c",
        "import time\\nend = time.process_time() + 0.3\\nwhile time.process_time() < end: pass"],
        check=True)
    return 'burnt'
"""
EAT = """
def handler(event):
    x = bytearray(40 << 20)
    for i in range(0, len(x), 4096):
        x[i] = 1
    return len(x)
"""
MINUTES = {"1m": 1, "5m": 5, "1h": 60}


def utc(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def rfc3339(t):
    return t.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def now():
    return datetime.datetime.now(datetime.timezone.utc)


def metrics(server, ident, query=""):
    reply = server.fn("GET", f"/{ident}/metrics{query}")
    assert reply.status == 200, reply
    return reply.json


# ---- series ----


@pytest.mark.parametrize("resolution", MINUTES)
def test_a_series_is_the_same_cut_in_pieces(server, resolution):
    ident = server.create(FAIL)
    for body in ("ok", "fail", "ok"):
        server.invoke(ident, body)
    step = datetime.timedelta(minutes=MINUTES[resolution])
    end = now() + datetime.timedelta(minutes=3)
    start = end - 7 * step
    found = metrics(server, ident,
                    f"?resolution={resolution}&start={rfc3339(start)}&end={rfc3339(end)}")
    series = found["series"]
    times = [utc(b["timestamp"]) for b in series]
    assert all(t.timestamp() % step.total_seconds() == 0 for t in times), "aligned"
    assert [b - a for a, b in zip(times, times[1:])] == [step] * (len(times) - 1), "none is missing"
    assert times[0] <= start < times[0] + step and times[-1] < end <= times[-1] + step
    for name in ("invocations", "errors", "cold_starts"):
        assert sum(b[name] for b in series) == found[name]
    assert found["invocations"] == 3 and found["errors"] == 1
    assert max(b["duration"]["max"] for b in series) == found["duration"]["max"]
    assert max(b["concurrency"]["max"] for b in series) == found["concurrency"]["max"] == 1
    for b in series:
        assert set(b) == {"timestamp", *found} - {"series"}
        if b["invocations"] == 0:
            assert b["duration"] == dict.fromkeys(("min", "max", "avg", "p50", "p95", "p99"), 0)
            assert b["concurrency"] == {"min": 0, "max": 0, "avg": 0}
    assert [b for b in series if b["invocations"]], "and some have something"


def test_a_series_has_an_end_by_itself(server):
    ident = server.create(SAY)
    server.invoke(ident, "x")
    before = now()
    for resolution, minutes in MINUTES.items():
        found = metrics(server, ident, f"?resolution={resolution}")
        assert len(found["series"]) == 60 and found["invocations"] == 1
        last = utc(found["series"][-1]["timestamp"])
        assert last <= now() and before - last < datetime.timedelta(minutes=minutes)
    assert "series" not in metrics(server, ident)
    future = rfc3339(now() + datetime.timedelta(hours=5))
    assert metrics(server, ident, f"?resolution=1m&start={future}")["invocations"] == 0


def test_only_what_was_asked_for_in_a_series(server):
    ident = server.create(SAY)
    for query in ("metrics=errors&metrics=duration", "metrics%5B%5D=errors&metrics[]=duration",
                  "metrics[]=errors,duration", "metrics%5b%5d=duration&metrics=errors"):
        found = metrics(server, ident, f"?resolution=1m&{query}")
        assert set(found) == {"errors", "duration", "series"}
        assert set(found["series"][0]) == {"timestamp", "errors", "duration"}


@pytest.mark.parametrize("query,field", [
    ("resolution=1m&start=2020-01-01T00:00:00Z", "resolution"),
    ("resolution=1h&start=1960-01-01T00:00:00Z", "resolution"),
    ("resolution=5m&start=2020-01-01T00:00:00Z&end=2020-02-01T00:00:00Z", "resolution"),
    ("resolution=1M", "resolution"), ("resolution=60", "resolution"),
    ("resolution=1m&start=2020-01-02T00:00:00Z&end=2020-01-01T00:00:00Z", "end"),
    ("resolution=1m&metrics[]=invocations,love", "metrics[]"), ("metrics=", "metrics[]")])
def test_a_series_that_cannot_be(server, query, field):
    ident = server.create(SAY)
    reply = server.fn("GET", f"/{ident}/metrics?{query}")
    assert reply.status == 400 and reply.json["details"]["field"] == field, reply
    if field == "resolution" and "start" in query:
        assert "1500" in reply.json["error"], "says what would be right"


def test_the_longest_series(server):
    ident = server.create(SAY)
    whole = "?resolution=1m&start=2025-01-01T00:00:00Z&end=2025-01-02T01:00:00Z"
    assert len(metrics(server, ident, whole)["series"]) == 1500
    more = whole.replace("01:00:00Z", "01:00:01Z")
    assert server.fn("GET", f"/{ident}/metrics{more}").status == 400


# ---- /metrics ----

SAMPLE = re.compile(r'([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$')
LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\\n]|\\\\|\\"|\\n)*)"(?:,|$)')


def parse(text):
    """The text format, strictly: {name: (type, {labels: value})}."""
    assert text.endswith("\n")
    families, order = {}, []
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            name = line.split(" ")[2]
            assert name not in families, "one HELP a family"
            families[name] = [None, {}]
            order.append(name)
            continue
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name == order[-1] and families[name] == [None, {}] and kind in (
                "counter", "gauge")
            families[name][0] = kind
            continue
        name, labels, value = SAMPLE.match(line).groups()
        assert name == order[-1], "a family's samples stand together"
        found, at = {}, 0
        while labels and at < len(labels):
            match = LABEL.match(labels, at)
            assert match, labels
            found[match[1]] = re.sub(r'\\(.)', lambda m: {"n": "\n"}.get(m[1], m[1]), match[2])
            at = match.end()
        key = tuple(sorted(found.items()))
        assert key not in families[name][1], "a sample stands twice"
        families[name][1][key] = float(value)
    return families


def scrape(server, **more):
    reply = server.request("GET", "/metrics", **more)
    assert reply.status == 200, reply
    assert reply.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return parse(reply.body.decode())


def of(families, name, ident):
    number = ident.replace("func-", "fn-")
    found = [v for k, v in families[name][1].items() if ("function_id", number) in k]
    assert len(found) == 1, (name, ident)
    return found[0]


def test_counters_of_a_function(server):
    ident = server.create(FAIL, name="counts")
    before = scrape(server)
    assert of(before, "kiln_function_invocations_total", ident) == 0
    for body in ("ok", "fail", "ok"):
        server.invoke(ident, body)
    after = scrape(server)
    assert of(after, "kiln_function_invocations_total", ident) == 3
    assert of(after, "kiln_function_errors_total", ident) == 1
    assert of(after, "kiln_function_cold_starts_total", ident) == 1
    assert of(after, "kiln_function_instances", ident) == 1
    assert of(after, "kiln_function_calls_running", ident) == 0
    assert of(after, "kiln_function_memory_bytes", ident) > 100000
    assert 0 < of(after, "kiln_function_running_seconds_total", ident) < 100
    [(labels, one)] = after["kiln_build_info"][1].items()
    assert one == 1 and re.fullmatch(r"\d+\.\d+\.\d+", dict(labels)["version"])
    assert {dict(k)["state"] for k in after["kiln_instances"][1]} == {"idle", "busy", "spare"}
    assert server.fn("DELETE", f"/{ident}").status == 204
    gone = scrape(server)
    assert not gone["kiln_function_invocations_total"][1], "no series of what is not there"


@pytest.mark.parametrize("code", [BURN, BURN_BELOW], ids=["itself", "its children"])
def test_processor_time_is_measured(server, code):
    ident = server.create(code, name="burns")
    before = of(scrape(server), "kiln_function_cpu_seconds_total", ident)
    for _ in range(3):
        assert server.result(ident) == b"burnt"
    used = of(scrape(server), "kiln_function_cpu_seconds_total", ident) - before
    # whole processes are counted; what a busy machine adds is not
    assert 0.85 < used < 20
    # an idle one uses none
    again = of(scrape(server), "kiln_function_cpu_seconds_total", ident) - before
    assert again - used < 0.3


def test_processor_time_of_who_is_killed(server):
    ident = server.create("def handler(event):\n    while True:\n        pass\n", name="loops",
                          timeout=2)
    before = of(scrape(server), "kiln_function_cpu_seconds_total", ident)
    assert server.invoke(ident, "x").status == 504

    def used():
        return of(scrape(server), "kiln_function_cpu_seconds_total", ident)

    # told when its last process is gone, which is before the call ends
    assert used() - before > 0.1
    wait_for("its memory is given back",
             lambda: of(scrape(server), "kiln_function_memory_bytes", ident) == 0)


def test_memory_is_measured(server):
    ident = server.create(EAT, name="eats")
    assert server.result(ident) == 40 << 20
    number = ident.replace("func-", "")
    data = server.call("GET", f"/functions/{number}/metrics")
    assert data.status == 200
    assert of(scrape(server), "kiln_function_memory_bytes", ident) > 0


TITLES = ['plain', 'with "quotes"', 'back\\slash', 'ünï ❄', 'a{b="c"} 1', "comma, space"]


def test_labels_are_escaped(server):
    numbers = {}
    for title in TITLES:
        reply = server.call("POST", "/api/workspaces/ws-default/functions", {
            "name": title, "code": b64("def handler(event):\n    return 1\n")})
        assert reply.status in (200, 201), reply
        numbers[reply.json["id"]] = title
    found = scrape(server)["kiln_function_invocations_total"][1]
    names = {dict(k)["function_id"]: dict(k)["function"] for k in found}
    assert {i: names.get(i) for i in numbers} == numbers
    for ident in numbers:
        assert server.call("DELETE",
                           f"/api/workspaces/ws-default/functions/{ident}").status == 204


@pytest.mark.parametrize("token", [None, "wrong"])
def test_metrics_want_a_token(server, token):
    reply = server.request("GET", "/metrics", token=token)
    assert reply.status == 401 and reply.headers["WWW-Authenticate"]


def test_other_methods(server):
    assert server.request("POST", "/metrics", "x").status == 405
    head = server.request("HEAD", "/metrics")
    assert head.status == 200 and head.body == b""


def test_a_slow_scraper_gets_everything(start):
    """More than a connection holds at once comes in pieces; who leaves in between does no harm."""
    server = start()
    body = {"runtime": "python3.9", "handler": "main.handler", "code": SAY}
    # long names: 8 families of 300 functions are half a megabyte
    for i in range(300):
        name = f"{'x' * 50}-{i}"
        assert server.kube("POST", "", {"name": name, **body}).status == 201
    request = (f"GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token}\r\n"
               "Connection: close\r\n\r\n").encode()
    with socket.create_connection((server.host, server.port)) as s:
        s.sendall(request)
        assert s.recv(1)
    with socket.create_connection((server.host, server.port), timeout=harness.PATIENCE_S) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.sendall(request)
        got = b""
        while part := s.recv(4096):
            got += part
    assert got.startswith(b"HTTP/1.1 200") and got.endswith(b"0\r\n\r\n")
    families = scrape(server)
    assert len(families["kiln_function_invocations_total"][1]) == 300
    assert len(families["kiln_function_calls_running"][1]) == 300
