# SPDX-License-Identifier: Apache-2.0
"""fnservice: logs, metrics, events, capabilities and health (document 000)."""

import concurrent.futures
import datetime
import http.client
import json
import shutil
import threading
import time
import urllib.parse

import pytest
from harness import b64, wait_for

SAY = "def handler(event):\n    print(event['body'])\n    return 1\n"
RFC3339 = "%Y-%m-%dT%H:%M:%S.%fZ"


def moment(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def rfc3339(at):
    return at.astimezone(datetime.timezone.utc).strftime(RFC3339)


def messages(lines):
    return [line["message"] for line in lines]


def bad_query(server, path, field):
    reply = server.fn("GET", path)
    assert (reply.status, reply.json["code"]) == (400, "INVALID_REQUEST"), reply
    assert reply.json["details"]["field"] == field, reply


# ---- logs ----


def test_a_line_as_the_document_says(server):
    before = datetime.datetime.now(datetime.timezone.utc)
    ident = server.create("def handler(e):\n    print('Processing request')\n", name="my-function")
    run = server.invoke(ident).json["invocation_id"]
    after = datetime.datetime.now(datetime.timezone.utc)
    (line,) = server.logs(ident)
    assert (line["level"], line["message"], line["invocation_id"]) == (
        "info", "Processing request", run)
    assert before - datetime.timedelta(seconds=1) <= moment(line["timestamp"]) <= after
    assert line["container"].startswith("my-function-v1-")
    assert line["pod"].startswith(line["container"] + "-")


def test_no_lines(server):
    ident = server.create("def handler(e):\n    return 1\n")
    assert server.logs(ident) == []
    server.invoke(ident)
    assert server.logs(ident) == []


def test_python_levels(server):
    ident = server.create("""
import logging, sys, warnings
def handler(event):
    print("printed")
    print("to stderr", file=sys.stderr)
    sys.stdout.write("no newline")
    logging.info("an info")
    logging.warning("a warning")
    logging.error("an error")
    logging.debug("not shown at this level")
    logging.getLogger("mine").error("of a logger")
    event.log.info("by the context")
""")
    server.invoke(ident)
    got = {line["message"]: line["level"] for line in server.logs(ident)}
    for text, level in [("printed", "info"), ("to stderr", "error"), ("no newline", "info"),
                        ("an info", "info"), ("a warning", "warn"), ("an error", "error"),
                        ("of a logger", "error"), ("by the context", "info")]:
        assert got.get(text) == level, (text, got)
    assert "not shown at this level" not in got


def test_node_levels(server):
    ident = server.create("""
exports.handler = async () => {
  console.debug('a debug'); console.log('a log'); console.info('an info');
  console.warn('a warning'); console.error('an error'); console.log({a: [1, {b: 2}]}, 'two');
  process.stdout.write('to stdout\\n'); process.stderr.write('to stderr\\n');
};
""", runtime="nodejs18")
    server.invoke(ident)
    got = {line["message"]: line["level"] for line in server.logs(ident)}
    for text, level in [("a debug", "debug"), ("a log", "info"), ("an info", "info"),
                        ("a warning", "warn"), ("an error", "error"), ("to stdout", "info"),
                        ("to stderr", "error"), ("{ a: [ 1, { b: 2 } ] } two", "info")]:
        assert got.get(text) == level, (text, got)


@pytest.mark.parametrize("runtime,code,first,has", [
    ("python3.9", "def inner():\n    raise ValueError('no such user')\n\ndef handler(e):\n"
                  "    inner()\n", "Traceback (most recent call last):",
     ["inner", "ValueError: no such user", "line 2", "line 5"]),
    ("nodejs18", "function inner() { throw new TypeError('no such user'); }\n\n"
                 "exports.handler = async () => inner();", "TypeError: no such user",
     ["inner", ":1:", ":3:"])])
def test_an_exception_is_a_line_with_its_traceback(server, runtime, code, first, has):
    ident = server.create(code, runtime=runtime)
    run = server.invoke(ident).json["details"]["invocation_id"]
    (line,) = server.logs(ident)
    assert (line["level"], line["invocation_id"]) == ("error", run)
    assert line["message"].startswith(first)
    for text in has:
        assert text in line["message"], line


def test_lines_belong_to_their_invocation(server):
    ident = server.create("import time\ndef handler(e):\n    print('a', e['body'])\n"
                          "    time.sleep(0.01)\n    print('b', e['body'])\n")
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        runs = list(pool.map(lambda i: server.invoke(ident, str(i)).json["invocation_id"],
                             range(12)))
    assert len(server.logs(ident)) == 24
    for i, run in enumerate(runs):
        lines = server.logs(ident, invocation_id=run)
        assert messages(lines) == [f"a {i}", f"b {i}"]
        assert {line["invocation_id"] for line in lines} == {run}


def test_lines_at_load_are_there_without_an_invocation(server):
    ident = server.create("print('loading')\ndef handler(e):\n    print('called')\n")
    server.invoke(ident)
    lines = server.logs(ident)
    assert "called" in messages(lines)
    for line in lines:
        assert ("invocation_id" in line) == (line["message"] == "called"), line


def test_text_of_every_kind(server):
    ident = server.create("""
def handler(event):
    print("Grüße 你好 🚀")
    print("tab\\there \\x1b[31mred\\x1b[0m \\x00nul \\x07bell")
    print("one\\ntwo\\n\\nfour")
    print("quote \\" back \\\\ </script>")
    print("\\ud800")
    print("x" * 5000)
    print("")
""")
    server.invoke(ident)
    got = messages(server.logs(ident))
    assert "Grüße 你好 🚀" in got
    assert 'quote " back \\ </script>' in got
    assert got.index("one") + 1 == got.index("two")
    assert "x" * 5000 in got
    assert any("red" in m and "bell" in m for m in got)


def test_a_huge_line_is_cut_or_split_not_lost(server):
    ident = server.create("def handler(e):\n    print('<' + 'y' * 100000 + '>')\n    return 1\n")
    assert server.result(ident) == 1
    text = "".join(messages(server.logs(ident)))
    assert text.startswith("<yyy")
    assert len(text) >= 16 * 1024


def test_the_newest_lines_oldest_first(server):
    ident = server.create("def handler(e):\n    for i in range(150): print(i)\n")
    server.invoke(ident)
    assert messages(server.logs(ident)) == [str(i) for i in range(50, 150)], "100 by default"
    assert messages(server.logs(ident, limit=3)) == ["147", "148", "149"]
    assert messages(server.logs(ident, limit=1000)) == [str(i) for i in range(150)]
    assert server.logs(ident, limit=0) == []
    for bad in ("-1", "1001", "x", "1.5", ""):
        bad_query(server, f"/{ident}/logs?limit={bad}", "limit")


def test_since_and_until(server):
    ident = server.create(SAY)
    for text in ("one", "two", "three"):
        server.invoke(ident, text)
        time.sleep(0.02)
    lines = server.logs(ident)
    at = [moment(line["timestamp"]) for line in lines]
    assert at == sorted(at)
    tick = datetime.timedelta(milliseconds=1)
    assert messages(server.logs(ident, since=rfc3339(at[1] - tick))) == ["two", "three"]
    assert messages(server.logs(ident, until=rfc3339(at[1] + tick))) == ["one", "two"]
    assert messages(server.logs(ident, since=rfc3339(at[1] - tick),
                                until=rfc3339(at[1] + tick))) == ["two"]
    assert server.logs(ident, since=rfc3339(at[2] + datetime.timedelta(seconds=1))) == []
    assert len(server.logs(ident, since="2000-01-01T00:00:00Z", until="2999-01-01T00:00:00Z")) == 3


def test_other_zones_are_the_same_moment(server):
    ident = server.create(SAY)
    server.invoke(ident, "x")
    (line,) = server.logs(ident)
    at = moment(line["timestamp"]) - datetime.timedelta(seconds=1)
    for hours in (0, 9, -5):
        zone = datetime.timezone(datetime.timedelta(hours=hours))
        assert len(server.logs(ident, since=at.astimezone(zone).isoformat())) == 1
        late = (at + datetime.timedelta(seconds=10)).astimezone(zone).isoformat()
        assert server.logs(ident, since=late) == []


@pytest.mark.parametrize("query,field", [
    ("since=yesterday", "since"), ("until=5", "until"), ("since=2025-13-01T00:00:00Z", "since"),
    ("since=2025-02-30T00:00:00Z", "since"), ("since=2025-01-01", "since"),
    ("until=2025-01-01T25:00:00Z", "until"), ("since=2025-01-01T00:00:00", "since"),
    ("since=2025-06-01T00:00:00Z&until=2025-01-01T00:00:00Z", "until"),
    ("follow=perhaps", "follow"), ("previous=2", "previous"),
    ("previous=true&follow=true", "follow"), ("invocation_id=x", "invocation_id")])
def test_bad_questions(server, query, field):
    ident = server.create(SAY)
    bad_query(server, f"/{ident}/logs?{query}", field)


def test_previous_shows_the_version_before(server):
    ident = server.create("def handler(e):\n    print('of one')\n")
    server.invoke(ident)
    assert server.logs(ident, previous="true") == []
    server.fn("POST", f"/{ident}/versions", {"source_code": b64(
        "def handler(e):\n    print('of two')\n")})
    server.fn("PUT", f"/{ident}/versions/2/active")
    server.invoke(ident)
    assert messages(server.logs(ident)) == ["of one", "of two"]
    previous = server.logs(ident, previous="true")
    assert messages(previous) == ["of one"]
    assert "-v1-" in previous[0]["container"]
    assert messages(server.logs(ident, previous="false")) == ["of one", "of two"]


def test_logs_of_one_function_only(server):
    mine = server.create(SAY, name="mine")
    other = server.create(SAY, name="other")
    server.invoke(other, "theirs")
    server.invoke(mine, "my own")
    assert messages(server.logs(mine)) == ["my own"]


class Follower:
    """A reader of a stream: its lines as they come."""

    def __init__(self, server, ident, **query):
        q = urllib.parse.urlencode({"follow": "true", **query})
        self.connection = http.client.HTTPConnection(server.host, server.port, timeout=60)
        self.connection.request("GET", f"/api/v1/workspaces/ws-default/functions/{ident}/logs?{q}",
                                headers={"Authorization": f"Bearer {server.token}"})
        self.reply = self.connection.getresponse()
        self.lines = []
        self.ended = False
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        try:
            for raw in self.reply:
                if raw.strip():
                    self.lines.append(json.loads(raw))
        except (OSError, ValueError, AttributeError, http.client.HTTPException):
            pass
        self.ended = True

    def messages(self):
        return [line.get("message") for line in self.lines]

    def close(self):
        if self.connection.sock:
            self.connection.sock.shutdown(2)
        self.thread.join(30)
        assert not self.thread.is_alive()
        self.connection.close()


def test_follow(server):
    ident = server.create(SAY)
    server.invoke(ident, "before")
    f = Follower(server, ident)
    assert f.reply.status == 200
    assert f.reply.getheader("Content-Type").startswith("application/x-ndjson")
    wait_for("the stored line", lambda: f.messages() == ["before"])
    for i in range(20):
        server.invoke(ident, f"live {i}")
    wanted = ["before"] + [f"live {i}" for i in range(20)]
    wait_for("the new lines", lambda: len(f.lines) >= len(wanted))
    assert sorted(f.messages()) == sorted(wanted), "each once"
    assert set(f.lines[-1]) == {"timestamp", "level", "message", "container", "pod",
                                "invocation_id"}
    f.close()
    assert server.result(ident, "after") == 1


def test_follow_without_the_past_and_of_one_invocation(server):
    ident = server.create(SAY)
    server.invoke(ident, "past")
    f = Follower(server, ident, limit=0)
    done = threading.Event()

    def talk():
        # The stream begins some time after its head: speak until it is heard.
        while not done.is_set():
            server.invoke(ident, "now")
            time.sleep(0.05)

    t = threading.Thread(target=talk)
    t.start()
    try:
        wait_for("a live line", lambda: f.lines)
    finally:
        done.set()
        t.join()
    assert set(f.messages()) == {"now"}
    f.close()


def test_many_followers_hear_the_same(server):
    ident = server.create(SAY)
    server.invoke(ident, "first")
    followers = [Follower(server, ident) for _ in range(5)]
    for f in followers:
        wait_for("each has begun", lambda f=f: f.messages() == ["first"])
    server.invoke(ident, "second")
    for f in followers:
        wait_for("each hears it", lambda f=f: f.messages() == ["first", "second"])
        f.close()


def test_following_ends_with_the_server(start):
    own = start()
    ident = own.create(SAY)
    own.invoke(ident, "x")
    f = Follower(own, ident)
    wait_for("it streams", lambda: f.lines)
    assert own.terminate() == 0
    wait_for("the stream ends", lambda: f.ended)
    f.close()


# ---- metrics ----


def metrics(server, ident, **query):
    reply = server.fn("GET", f"/{ident}/metrics?{urllib.parse.urlencode(query)}")
    assert reply.status == 200, reply
    return reply.json


def test_metrics_before_any_call(server):
    ident = server.create(SAY)
    m = metrics(server, ident)
    assert (m["invocations"], m["errors"], m["cold_starts"]) == (0, 0, 0)
    assert set(m) == {"invocations", "errors", "duration", "cold_starts", "concurrency"}
    assert set(m["duration"]) == {"min", "max", "avg", "p50", "p95", "p99"}
    assert set(m["concurrency"]) == {"min", "max", "avg"}
    assert m["duration"]["max"] == 0


def test_counts_are_exact_right_after_the_calls(server):
    ident = server.create("""
def handler(event):
    if event["body"] == "bad": raise ValueError("bad")
    return {"status": 500, "body": "the handler's own word is no error"}
""", max_replicas=1)
    for i in range(1, 21):
        server.invoke(ident, "bad" if i % 4 == 0 else "good")
        m = metrics(server, ident)
        assert (m["invocations"], m["errors"]) == (i, i // 4)
    assert metrics(server, ident)["cold_starts"] == 1


def test_counts_over_several_loops(server):
    ident = server.create(SAY)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda i: server.invoke(ident, "x").json, range(80)))
    m = metrics(server, ident)
    assert m["invocations"] == 80
    assert m["cold_starts"] == sum(r["cold_start"] for r in replies)
    assert 1 <= m["concurrency"]["max"] <= 80


def test_failures_of_every_kind_count(server):
    ident = server.create("""
import os
def handler(event):
    if event["body"] == "throw": raise ValueError("x")
    if event["body"] == "hang":
        while True: pass
    if event["body"] == "die": os._exit(3)
""")
    for body, cause, timeout in (("throw", "function", 30), ("hang", "timeout", 0.3),
                                 ("die", "crash", 30)):
        assert server.fn("PUT", f"/{ident}", {"timeout": timeout}).status == 200
        assert server.invoke(ident, body).json["details"]["cause"] == cause
    m = metrics(server, ident)
    assert (m["invocations"], m["errors"]) == (3, 3)


def test_percentiles_from_known_times(server):
    """90 calls of about 20 ms, 10 of about 300 ms: wide bounds that a slow day does not break."""
    ident = server.create("import time\ndef handler(e):\n    time.sleep(float(e['body']))\n",
                          max_replicas=4)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: server.invoke(ident, "0.3" if i % 10 == 0 else "0.02"),
                      range(100)))
    d = metrics(server, ident)["duration"]
    assert d["min"] <= d["p50"] <= d["p95"] <= d["p99"] <= d["max"]
    assert d["min"] <= d["avg"] <= d["max"]
    assert d["min"] >= 19, "nothing was shorter than it slept"
    assert 19 <= d["p50"] < 290
    assert d["p95"] >= 285 and d["p99"] >= 285, "a tenth slept 300 ms; buckets are about 3% wide"
    assert d["avg"] >= 0.9 * 20 + 0.1 * 285


def test_only_the_metrics_asked_for(server):
    ident = server.create(SAY)
    server.invoke(ident, "x")
    assert metrics(server, ident, **{"metrics[]": "invocations"}) == {"invocations": 1}
    both = server.fn("GET", f"/{ident}/metrics?metrics[]=errors&metrics[]=cold_starts").json
    assert both == {"errors": 0, "cold_starts": 1}
    assert set(metrics(server, ident, metrics="duration,errors")) == {"duration", "errors"}
    assert set(server.fn("GET", f"/{ident}/metrics?metrics%5B%5D=errors").json) == {"errors"}


def test_metrics_of_a_time(server):
    ident = server.create(SAY)
    server.invoke(ident, "x")
    now = datetime.datetime.now(datetime.timezone.utc)
    hour = datetime.timedelta(hours=1)
    assert metrics(server, ident, start=rfc3339(now - hour),
                   end=rfc3339(now + hour))["invocations"] == 1
    assert metrics(server, ident, start=rfc3339(now + hour))["invocations"] == 0
    assert metrics(server, ident, end=rfc3339(now - hour))["invocations"] == 0
    for resolution in ("1m", "5m", "1h"):
        assert metrics(server, ident, resolution=resolution)["invocations"] == 1


@pytest.mark.parametrize("query,field", [
    ("start=x", "start"), ("end=1", "end"), ("resolution=2m", "resolution"),
    ("resolution=", "resolution"), ("metrics[]=love", "metrics[]"),
    ("start=2025-06-01T00:00:00Z&end=2025-01-01T00:00:00Z", "end")])
def test_bad_metric_questions(server, query, field):
    ident = server.create(SAY)
    bad_query(server, f"/{ident}/metrics?{query}", field)


# ---- events ----


def test_events_tell_what_happened_newest_first(server):
    ident = server.create(SAY)
    server.fn("POST", f"/{ident}/versions", {"source_code": b64(SAY)})
    server.fn("PUT", f"/{ident}/versions/2/active")
    server.fn("POST", f"/{ident}/rollback")
    server.fn("PUT", f"/{ident}", {"labels": {"a": "b"}})
    events = server.fn("GET", f"/{ident}/events").json["events"]
    kinds = [e["type"] for e in events]
    order = [k for k in kinds if k in ("created", "deployed", "rolled_back", "updated")]
    assert order[0] == "updated" and order[1] == "rolled_back" and order[-1] == "created", kinds
    assert "version_activated" in kinds
    deployed = next(e for e in events if e["type"] == "deployed")
    assert deployed["description"] == "Version v2 deployed"
    assert deployed["metadata"]["version"] == "v2"
    assert deployed["metadata"]["deployed_by"]
    times = [e["created_at"] for e in events]
    assert times == sorted(times, reverse=True)
    assert len({e["id"] for e in events}) == len(events)


def test_events_are_limited(server):
    ident = server.create(SAY)
    for i in range(5):
        server.fn("PUT", f"/{ident}", {"labels": {"i": str(i)}})
    everything = server.fn("GET", f"/{ident}/events").json["events"]
    assert len(everything) >= 6
    assert server.fn("GET", f"/{ident}/events?limit=2").json["events"] == everything[:2]
    for bad in ("0", "-1", "1001", "x"):
        bad_query(server, f"/{ident}/events?limit={bad}", "limit")


def test_the_first_call_of_a_version_is_an_event(start, folder):
    def invoked(server):
        return [e["metadata"]["version"] for e in
                server.fn("GET", f"/{ident}/events").json["events"] if e["type"] == "invoked"]

    server = start(data=folder / "data")
    ident = server.create(SAY)
    assert invoked(server) == []
    for _ in range(3):
        server.result(ident, "x")
    assert invoked(server) == ["v1"]
    server.fn("POST", f"/{ident}/versions", {"source_code": b64(SAY)})
    server.fn("PUT", f"/{ident}/versions/2/active")
    server.result(ident, "x")
    assert invoked(server) == ["v2", "v1"]
    assert server.terminate() == 0
    server = start(data=folder / "data")
    server.result(ident, "x")
    assert invoked(server) == ["v2", "v1"], "not again after a restart"


def test_refused_changes_are_no_events(server):
    ident = server.create(SAY)
    before = server.fn("GET", f"/{ident}/events").json
    assert server.fn("PUT", f"/{ident}", {"timeout": -1}).status == 400
    assert server.fn("POST", f"/{ident}/rollback").status == 409
    assert server.fn("GET", f"/{ident}/events").json == before


# ---- the provider ----


def test_capabilities_are_of_the_document_and_true(server):
    c = server.fn("GET", "/provider/capabilities").json
    assert c["name"] == "local"
    assert c["supports_versioning"] is c["supports_async"] is c["supports_logs"] is True
    assert c["supports_metrics"] is c["supports_environment_vars"] is True
    assert c["supports_scale_to_zero"] is True
    assert c["supported_trigger_types"] == ["http", "schedule"]
    assert c["supports_custom_images"] is all(map(shutil.which, ("crun", "skopeo", "umoci")))
    assert c["max_payload_size_mb"] == 50
    assert c["max_timeout_secs"] >= 300
    assert c["isolation"]


def test_capabilities_name_what_really_runs(server):
    python = server.create("import platform\ndef handler(e): return platform.python_version()\n",
                           name="p")
    node = server.create("exports.handler = async () => process.versions.node;", name="n",
                         runtime="nodejs18")
    have = {r["name"]: r for r in server.fn("GET", "/provider/capabilities").json["runtimes"]}
    assert server.result(python).decode() in have["python"]["interpreter"]
    assert server.result(node).decode() in have["node"]["interpreter"]
    assert have["python"]["available"] and have["node"]["available"]
    supported = server.fn("GET", "/provider/capabilities").json["supported_runtimes"]
    assert {"python3.9", "nodejs18"} <= set(supported)


def test_what_is_said_to_be_supported_is_taken(server):
    server.create(SAY, name="warm")
    for i, runtime in enumerate(server.fn("GET", "/provider/capabilities").json[
            "supported_runtimes"]):
        code = SAY if "python" in runtime else "exports.handler = () => 1;"
        server.create(code, name=f"f{i}", runtime=runtime)


def test_limits_of_the_settings_are_told(start):
    own = start("--memory-max", "512Mi", "--body-max", "2Mi")
    c = own.fn("GET", "/provider/capabilities").json
    assert (c["max_memory_mb"], c["max_payload_size_mb"]) == (512, 2)
    reply = own.fn("POST", "", {"name": "f", "runtime": "python3.9", "source_code": b64(SAY),
                                "resources": {"memory": "513Mi"}})
    assert reply.status == 400, reply
    ident = own.create(SAY)
    reply = own.invoke(ident, b"x" * (2 * 1024 * 1024 + 1))
    assert (reply.status, reply.json["code"]) == (413, "PAYLOAD_TOO_LARGE"), reply


def test_health(server):
    reply = server.fn("GET", "/provider/health")
    assert (reply.status, reply.json) == (200, {"status": "healthy"})
    for path, word in (("/health", "healthy"), ("/ready", "ready")):
        for prefix in ("", "/api/v1"):
            reply = server.call("GET", prefix + path, token=None)
            assert (reply.status, reply.json) == (200, {"status": word}), reply
