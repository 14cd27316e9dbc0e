# SPDX-License-Identifier: Apache-2.0
"""Schedule triggers (fnservice) and cron triggers (kube) fire: each run once, as an asynchronous
call; changes hold from the moment they are answered."""

import collections
import datetime
import json

import pytest
from harness import b64, wait_for

TELL = """
import json
def handler(event, context):
    told = {k: event[k] for k in ("method", "path", "query", "headers", "body")}
    print("RUN", json.dumps({**told, "id": context.invocation_id}))
"""
NEVER = "0 0 1 1 *"  # not while a test runs; see test_changes_hold_at_once


def trigger(server, ident, cron, name="t", **more):
    reply = server.fn("POST", f"/{ident}/triggers", {
        "name": name, "type": "schedule", "config": {"cron": cron}, **more})
    assert reply.status == 201, reply
    return reply.json


def runs(server, ident, path="/triggers/t"):
    """What the function was given so far, oldest first."""
    lines = [x["message"] for x in server.logs(ident, limit=1000)]
    told = [json.loads(x[4:]) for x in lines if x.startswith("RUN ")]
    return [t for t in told if path is None or t["path"] == path]


def stamps(server, ident, path="/triggers/t"):
    return [r["body"]["timestamp"] for r in runs(server, ident, path)]


def wait_runs(server, ident, n, path="/triggers/t"):
    wait_for(f"{n} runs", lambda: len(stamps(server, ident, path)) >= n)
    return runs(server, ident, path)[:n]


def seconds(stamp):
    return datetime.datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()


def now():
    return datetime.datetime.now(datetime.timezone.utc).timestamp()


class Ticker:
    """Another function, on every second: time passes when it has run again."""

    def __init__(self, server):
        self.server = server
        self.ident = server.create(TELL, name="ticker")
        trigger(server, self.ident, "* * * * * *")

    def tick(self, n=2):
        """N whole seconds have come and their runs are told."""
        begin = now()
        wait_for("the ticker runs", lambda: len(
            [s for s in stamps(self.server, self.ident) if seconds(s) > begin]) >= n)


# ---- what a run is ----


def test_a_run(server):
    ident = server.create(TELL)
    made = trigger(server, ident, "@every 1s")
    assert made["type"] == "schedule" and made["config"] == {"cron": "@every 1s"}
    run = wait_runs(server, ident, 1)[0]
    assert (run["method"], run["path"], run["query"]) == ("POST", "/triggers/t", {})
    assert run["headers"] == {"content-type": "application/json", "x-kiln-trigger": "t"}
    assert run["body"].keys() == {"trigger", "timestamp"} and run["body"]["trigger"] == "cron"
    record = wait_for("its record", lambda: (lambda r: r.json if r.json["status"] == "completed"
                                             else None)(server.fn("GET", f"/invocations/{run['id']}")))
    assert record["function_id"] == ident and "error" not in record, record
    listed = server.fn("GET", f"/{ident}/invocations").json["invocations"]
    assert run["id"] in [x.get("id", x.get("invocation_id")) for x in listed], listed


def test_every(server):
    """Counted from the trigger's making, each run once."""
    ident = server.create(TELL)
    made = trigger(server, ident, "@every 1s")
    got = [seconds(r["body"]["timestamp"]) for r in wait_runs(server, ident, 4)]
    begin = seconds(made["updated_at"])
    steps = [round(t - begin, 3) for t in got]
    assert len(set(steps)) == 4 and all(s >= 1 and s == round(s) for s in steps), (begin, got)


def test_six_fields(server):
    ident = server.create(TELL)
    trigger(server, ident, "*/2 * * * * *")
    got = [seconds(r["body"]["timestamp"]) for r in wait_runs(server, ident, 3)]
    assert all(t % 2 == 0 for t in got) and len(set(got)) == 3, got


def test_node(server):
    ident = server.create("exports.handler = e => console.log('RUN', JSON.stringify(e));",
                          runtime="nodejs18", handler="index.handler")
    trigger(server, ident, "@every 1s")
    assert wait_runs(server, ident, 1)[0]["body"]["trigger"] == "cron"


def test_spin(server):
    ident = server.create("""
from spin_sdk import http
class IncomingHandler(http.IncomingHandler):
    def handle_request(self, request):
        print("GOT", request.method, request.uri, request.body.decode())
        return http.Response(200, {}, None)
""")
    trigger(server, ident, "@every 1s", name="a.b")
    lines = wait_for("a run", lambda: [x["message"] for x in server.logs(ident)])
    assert lines[0].startswith('GOT POST /triggers/a.b {"trigger":"cron","timestamp":"20'), lines


def test_a_run_that_fails(server):
    """It is a failed call like any other; the next one comes."""
    ident = server.create("def handler(e): raise ValueError('no')")
    trigger(server, ident, "@every 1s")
    records = wait_for("two runs", lambda: (lambda v: v if len(v) >= 2 else None)([
        x for x in server.fn("GET", f"/{ident}/invocations").json["invocations"]
        if x["status"] == "failed"]))
    assert len({json.dumps(r) for r in records}) == len(records)


def test_many_at_the_same_moment(server):
    """Sixty-four triggers of each of three functions: every one runs, once for each second."""
    idents = [server.create(TELL, name=f"f{i}") for i in range(3)]
    for ident in idents:
        for n in range(64):
            trigger(server, ident, "*/5 * * * * *", name=f"t{n}")
    for ident in idents:
        def whole(ident=ident):
            by_time = collections.Counter(stamps(server, ident, None))
            return by_time and max(by_time.values()) >= 64
        wait_for("all of them ran at one moment", whole)
        told = [(r["path"], r["body"]["timestamp"]) for r in runs(server, ident, None)]
        assert len(set(told)) == len(told), "one ran twice"


# ---- changes ----


def test_changes_hold_at_once(server):
    ticker = Ticker(server)
    ident = server.create(TELL)
    tid = trigger(server, ident, "* * * * * *", enabled=False)["id"]
    ticker.tick()
    assert stamps(server, ident) == []

    def change(**more):
        reply = server.fn("PUT", f"/{ident}/triggers/{tid}", more)
        assert reply.status == 200, reply
        return now()

    def stops_at(end):
        """No run that was due after END."""
        ticker.tick()
        assert all(seconds(s) <= end for s in stamps(server, ident)), (end, stamps(server, ident))
        return len(stamps(server, ident))

    def goes_on(n):
        wait_for("it runs", lambda: len(stamps(server, ident)) >= n + 2)

    change(enabled=True)
    goes_on(0)
    n = stops_at(change(enabled=False))
    change(enabled=True)
    goes_on(n)
    n = stops_at(change(config={"cron": NEVER}))
    change(config={"cron": "@every 1s"})
    goes_on(n)
    assert server.fn("PUT", f"/{ident}", {"description": "renamed"}).status == 200
    goes_on(len(stamps(server, ident)))
    reply = server.fn("DELETE", f"/{ident}/triggers/{tid}")
    assert reply.status == 204, reply
    stops_at(now())


def test_a_function_that_is_deleted(server):
    ticker = Ticker(server)
    ident = server.create(TELL)
    trigger(server, ident, "* * * * * *")
    wait_runs(server, ident, 1)
    assert server.fn("DELETE", f"/{ident}").status == 204
    ticker.tick(1)  # one that was due just then may be told of
    before = server.log().count("scheduled run was not made")
    ticker.tick()
    assert server.log().count("scheduled run was not made") == before
    # its number is nobody's: a new function of the name is not run
    again = server.create(TELL)
    ticker.tick()
    assert runs(server, again, None) == []


def test_a_workspace_that_is_deleted(server):
    ticker = Ticker(server)
    ws = server.call("POST", "/api/workspaces", {"name": "for a while"}).json["id"]
    reply = server.fn("POST", "", {"name": "f", "runtime": "python3.9", "handler": "main.handler",
                                   "source_code": b64(TELL)}, ws=ws)
    assert reply.status == 201, reply
    made = server.fn("POST", f"/{reply.json['id']}/triggers", {
        "name": "t", "type": "schedule", "config": {"cron": "* * * * * *"}}, ws=ws)
    assert made.status == 201, made
    wait_for("it runs", lambda: server.fn("GET", f"/{reply.json['id']}/invocations",
                                          ws=ws).json["invocations"])
    assert server.call("DELETE", f"/api/workspaces/{ws}").status == 204
    ticker.tick(1)  # as above
    before = server.log().count("scheduled run was not made")
    ticker.tick()
    assert server.log().count("scheduled run was not made") == before


def test_a_function_that_is_not_built(server):
    """Nothing can run; kiln's own log says so, and the schedule goes on when there is something."""
    reply = server.fn("POST", "", {"name": "f", "runtime": "python3.9", "handler": "main.handler",
                                   "source_code": b64("syntax error")})
    assert reply.status == 201 and reply.json["status"] == "error", reply
    ident = reply.json["id"]
    before = server.log().count("scheduled run was not made")
    trigger(server, ident, "* * * * * *")
    wait_for("it is told", lambda: server.log().count("scheduled run was not made") > before)
    made = server.fn("POST", f"/{ident}/versions", {"source_code": b64(TELL)})
    assert made.status == 201, made
    active = server.fn("PUT", f"/{ident}/versions/{made.json['id']}/active")
    assert active.status == 200, active
    wait_runs(server, ident, 1)


@pytest.mark.parametrize("config", [{}, {"cron": "nonsense"}, {"cron": "61 * * * *"},
                                    {"cron": "0 0 31 2 *"}, {"cron": "@every 1ms"},
                                    {"schedule": "* * * * *"}])
def test_bad_schedules(server, config):
    ident = server.create(TELL)
    reply = server.fn("POST", f"/{ident}/triggers", {
        "name": "t", "type": "schedule", "config": config})
    assert (reply.status, reply.json["code"]) == (400, "INVALID_REQUEST"), reply
    assert reply.json["details"]["field"] == "config.cron", reply


# ---- restarts ----


def test_restarts(start, folder):
    """After kill -9 the schedule goes on; no run is made a second time, none of those that were
    missed is made up for."""
    server = start(data=folder)
    ident = server.create(TELL, name="f")
    trigger(server, ident, "* * * * * *")
    down = []
    for _ in range(3):
        wait_runs(server, ident, 2 + len(stamps(server, ident)))
        server.kill()
        begin = now()
        # stays down over a whole second: waiting for time to pass is what is tested here
        wait_for("two seconds begin", lambda: int(now()) >= int(begin) + 2)
        down.append((begin, now()))
        server.start()
    wait_runs(server, ident, 2 + len(stamps(server, ident)))
    told = runs(server, ident)
    of_stamp = collections.defaultdict(set)
    for r in told:
        of_stamp[r["body"]["timestamp"]].add(r["id"])
    # a call that ran when the server was killed runs again, but it is the same call
    assert all(len(ids) == 1 for ids in of_stamp.values()), of_stamp
    for stamp in of_stamp:
        t = seconds(stamp)
        assert t % 1 == 0 and not any(b < t <= e for b, e in down), (t, down)


# ---- kube ----


def kube_data(**more):
    return {"name": "f", "runtime": "python3.9", "handler": "main.handler", "code": TELL, **more}


def logs_of(server, name="f"):
    functions = server.fn("GET", "?project_id=proj-default").json["functions"]
    return next(f["id"] for f in functions if f["name"] == name)


def test_kube_cron(server):
    cron = {"type": "cron", "config": {"schedule": "* * * * * *"}}
    http = {"type": "http", "config": {"path": "/kube-http"}}
    reply = server.kube("POST", "", kube_data(triggers=[cron, http]))
    assert reply.status == 201, reply
    server.wait_build("f")
    got = server.kube("GET", "/f").json["triggers"]
    assert got[0] == cron and got[1]["type"] == "http", got
    ident = logs_of(server)
    run = wait_runs(server, ident, 1, "/triggers/cron-1")[0]
    assert run["body"]["trigger"] == "cron" and run["body"]["timestamp"].endswith("Z")
    # the same trigger, as fnservice calls it
    listed = server.fn("GET", f"/{ident}/triggers").json["triggers"]
    assert {"schedule": {"cron": "* * * * * *"}} == {
        t["type"]: t["config"] for t in listed if t["type"] == "schedule"}, listed
    # a replacement without triggers keeps them or not as the document says; with others, they go
    reply = server.kube("PUT", "/f", kube_data(triggers=[
        {"type": "cron", "config": {"schedule": NEVER}}]))
    assert reply.status == 200, reply
    end = now()
    ticker = Ticker(server)
    ticker.tick()
    assert all(seconds(s) <= end for s in stamps(server, ident, None))
    assert server.kube("GET", "/f").json["triggers"] == [
        {"type": "cron", "config": {"schedule": NEVER}}]


@pytest.mark.parametrize("config", [{}, {"schedule": "* * *"}, {"cron": "* * * * *"},
                                    {"schedule": ""}])
def test_kube_bad_schedules(server, config):
    reply = server.kube("POST", "", kube_data(triggers=[{"type": "cron", "config": config}]))
    assert reply.status == 400 and "schedule" in reply.json["error"], reply
    assert server.kube("GET", "").json == []


def test_kube_config_with_both_words(server):
    reply = server.kube("POST", "", kube_data(triggers=[
        {"type": "cron", "config": {"schedule": NEVER, "cron": "* * * * * *", "note": "kept"}}]))
    assert reply.status == 201, reply
    assert server.kube("GET", "/f").json["triggers"] == [
        {"type": "cron", "config": {"schedule": NEVER, "note": "kept"}}]
