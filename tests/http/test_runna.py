# SPDX-License-Identifier: Apache-2.0
"""The runna API: functions by number, jobs, metrics, and the envelope on everything."""

import concurrent.futures
import io
import json
import re
import tarfile
import threading

import pytest
from harness import b64, wait_for

ECHO = {"name": "myFunction", "runtime": "python", "code": "def handler(event): return event",
        "execution_type": "sync"}
NODE_ECHO = {"name": "n", "runtime": "nodejs", "code": "function handler(event) { return event }",
             "execution_type": "sync"}
RFC3339 = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")


def data(reply):
    assert reply.status == 200, reply
    assert reply.json["success"] is True
    return reply.json["data"]


def error(reply, status, code, field=None):
    assert reply.status == status, reply
    assert reply.json["success"] is False
    e = reply.json["error"]
    assert e["code"] == code, reply
    assert e["message"]
    if field:
        assert e["details"]["field"] == field, reply
        assert e["details"]["reason"]
    return e


def make(server, **more):
    return data(server.call("POST", "/functions", {**ECHO, **more}))["function_id"]


def functions(server):
    return data(server.call("GET", "/functions"))["functions"]


def invoke(server, ident, event=None):
    return data(server.call("POST", f"/functions/{ident}/invoke", event))


def job(server, ident):
    return data(server.call("GET", f"/jobs/{ident}"))


def ended(server, ident):
    return wait_for(f"job {ident} has ended", lambda: (
        lambda j: j if j["status"] in ("success", "failed") else None)(job(server, ident)))


def pages(server, path, member, limit):
    """Every row of a list, page by page."""
    rows, at = [], f"{path}?limit={limit}"
    while at:
        reply = server.call("GET", at)
        part = data(reply)[member]
        assert len(part) <= limit
        rows += part
        link = reply.headers.get("Link")
        assert part or not link
        at = path + re.fullmatch(r'<(\?.*)>; rel="next"', link).group(1) if link else None
    return rows


# ---- the document, to the letter ----

def test_the_documents_examples(server):
    ident = data(server.call("POST", "/functions", {
        "name": "myFunction",
        "runtime": "python",
        "code": "def handler(event): return event",
        "execution_type": "sync"}))["function_id"]
    assert isinstance(ident, int)
    want = {"id": ident, "name": "myFunction", "runtime": "python",
            "code": "def handler(event): return event", "execution_type": "sync"}
    got = data(server.call("GET", f"/functions/{ident}"))
    assert {k: got[k] for k in want} == want
    assert RFC3339.match(got["created_at"]) and RFC3339.match(got["updated_at"])
    assert data(server.call("GET", "/functions")) == {"functions": [got]}
    params = {"param1": "value1", "param2": "value2"}
    done = invoke(server, ident, params)
    assert done["function_id"] == ident and done["status"] == "success"
    assert done["result"] == params and isinstance(done["duration"], int)
    assert RFC3339.match(done["timestamp"])
    assert job(server, done["id"]) == done
    assert data(server.call("GET", f"/functions/{ident}/jobs")) == {"jobs": [done]}
    assert data(server.call("PUT", f"/functions/{ident}", {
        "name": "myUpdatedFunction",
        "runtime": "nodejs",
        "code": "function handler(event) { return event }",
        "execution_type": "async"})) == {"function_id": ident}
    pending = invoke(server, ident, params)
    assert (pending["status"], pending["result"], pending["duration"]) == ("pending", None, None)
    assert pending["id"] > done["id"]
    assert ended(server, pending["id"])["result"] == params
    metrics = data(server.call("GET", f"/functions/{ident}/metrics"))
    assert metrics["invocations"] == {"total": 2, "successful": 2, "failed": 0}
    assert metrics["success_rate"] == 100
    reply = server.call("DELETE", f"/functions/{ident}")
    assert (reply.status, reply.json) == (200, {"success": True})
    e = error(server.call("GET", f"/functions/{ident}"), 404, "FUNCTION_NOT_FOUND")
    assert e["message"] == f"Function with id {ident} not found"


def test_trailing_slashes(server):
    ident = make(server)
    assert len(data(server.call("GET", "/functions/"))["functions"]) == 1
    assert data(server.call("GET", f"/functions/{ident}/"))["id"] == ident
    assert data(server.call("POST", f"/functions/{ident}/invoke/", 1))["result"] == 1


# ---- functions ----

@pytest.mark.parametrize("name", [
    "f", "Resize images", "이미지 크기 조정", "a/b", "/slash", "emoji 😀", "é", "e\u0301", "مرحبا",
    "x" * 255, "..", " leading", "quote\"s", "<b>", "%2F", "{id}"])
def test_names_are_any_text(server, name):
    ident = make(server, name=name)
    assert data(server.call("GET", f"/functions/{ident}"))["name"] == name
    assert [f["name"] for f in functions(server)] == [name]
    error(server.call("POST", "/functions", {**ECHO, "name": name}), 409, "CONFLICT")
    assert invoke(server, ident, {})["status"] == "success"


@pytest.mark.parametrize("name", ["", "x" * 256, "a\nb", "a\x00b", "\x7f", "tab\t", 7, None, True,
                                  [], {}, ["f"]])
def test_names_that_are_none(server, name):
    error(server.call("POST", "/functions", {**ECHO, "name": name}), 400, "VALIDATION_ERROR")
    assert functions(server) == []


@pytest.mark.parametrize("field", ["name", "runtime", "code", "execution_type"])
@pytest.mark.parametrize("value", [None, 1, "", [], {}, True, 1.5, "nonsense\n"])
def test_fields_of_create(server, field, value):
    bad = {**ECHO, field: value}
    if field == "code" and value == "nonsense\n":
        bad["code"] = "nonsense("
    error(server.call("POST", "/functions", bad), 400, "VALIDATION_ERROR", field)
    assert functions(server) == []


@pytest.mark.parametrize("field", ["name", "runtime", "code", "execution_type"])
def test_missing_fields_of_create(server, field):
    error(server.call("POST", "/functions", {k: v for k, v in ECHO.items() if k != field}), 400,
          "VALIDATION_ERROR", field)
    assert functions(server) == []


@pytest.mark.parametrize("body", ["", "{", "[]", "null", "1", '"x"', "{}{}", "\xff", "{'a':1}",
                                  '{"name":"a","name":"b"}', "[" * 2000, '{"a":' * 500 + "1" + "}" * 500])
def test_bodies_of_create(server, body):
    for method, path in (("POST", "/functions"), ("PUT", f"/functions/{make(server, name='x')}")):
        reply = server.request(method, path, body.encode("latin-1"))
        error(reply, 400, "VALIDATION_ERROR", "body" if len(body) < 2000 else None)
    assert [f["name"] for f in functions(server)] == ["x"]


def test_unknown_members_are_ignored(server):
    ident = make(server, owner="me", id=999)
    assert ident != 999


@pytest.mark.parametrize("runtime,code", [
    ("python", "def handler(event) return event"),
    ("python", "x = 1"),
    ("python", "raise ValueError('no')"),
    ("python", "import does_not_exist\ndef handler(e): return 1"),
    ("nodejs", "function handler(event) return event"),
    ("nodejs", "const x = 1"),
    ("nodejs", "throw new Error('no')"),
    ("nodejs", "function handler(event) { return event ")])
def test_code_that_does_not_build(server, runtime, code):
    error(server.call("POST", "/functions", {**ECHO, "runtime": runtime, "code": code}), 400,
          "VALIDATION_ERROR", "code")
    assert functions(server) == []
    ident = make(server)  # the name is free
    before = data(server.call("GET", f"/functions/{ident}"))
    error(server.call("PUT", f"/functions/{ident}",
                      {"name": "other", "runtime": runtime, "code": code,
                       "execution_type": "async"}), 400, "VALIDATION_ERROR", "code")
    assert data(server.call("GET", f"/functions/{ident}")) == before
    assert invoke(server, ident, 5)["result"] == 5


def test_the_reason_of_a_failed_build_is_told(server):
    e = error(server.call("POST", "/functions", {**ECHO, "code": "raise ValueError('the reason')"}),
              400, "VALIDATION_ERROR", "code")
    assert "the reason" in e["details"]["reason"]


@pytest.mark.parametrize("code", [
    "function handler(event) { return [event] }",
    "const handler = (event) => [event]",
    "let handler = async (event) => [event];",
    "async function handler(event) { return [event] }",
    "exports.handler = (event) => [event]",
    "module.exports = { handler(event) { return [event] } }"])
def test_node_handlers_need_not_be_exported(server, code):
    ident = make(server, runtime="nodejs", code=code)
    assert invoke(server, ident, {"a": 1})["result"] == [{"a": 1}]


@pytest.mark.parametrize("code", [
    "def handler(event): return [event]", "async def handler(event): return [event]",
    "handler = lambda event: [event]", "def handler(event, context): return [event]",
    "def handler(event):\n    import os\n    return [event] if os.environ['FUNCTION_NAME'] else 0"])
def test_python_handlers(server, code):
    assert invoke(server, make(server, code=code), {"a": 1})["result"] == [{"a": 1}]


@pytest.mark.parametrize("runtime,shown", [
    ("python", "python"), ("python3.9", "python"), ("nodejs", "nodejs"), ("node18", "nodejs")])
def test_runtimes(server, runtime, shown):
    code = ECHO["code"] if shown == "python" else NODE_ECHO["code"]
    ident = make(server, runtime=runtime, code=code)
    assert data(server.call("GET", f"/functions/{ident}"))["runtime"] == shown


@pytest.mark.parametrize("runtime", ["ruby", "image", "Python ", "go", "java11"])
def test_runtimes_that_are_none(server, runtime):
    error(server.call("POST", "/functions", {**ECHO, "runtime": runtime}), 400, "VALIDATION_ERROR",
          "runtime")


def test_update_of_parts(server):
    ident = make(server)

    def put(**what):
        assert data(server.call("PUT", f"/functions/{ident}", what)) == {"function_id": ident}
        return data(server.call("GET", f"/functions/{ident}"))

    first = data(server.call("GET", f"/functions/{ident}"))
    assert put() == first
    assert put(name=None, runtime=None, code=None, execution_type=None) == first
    renamed = put(name="새 이름")
    assert renamed["name"] == "새 이름" and renamed["code"] == first["code"]
    assert renamed["created_at"] == first["created_at"]
    assert renamed["updated_at"] > first["updated_at"]
    assert put(execution_type="async")["execution_type"] == "async"
    assert invoke(server, ident, 1)["status"] == "pending"
    assert put(execution_type="sync", code="def handler(e): return 'new'")["name"] == "새 이름"
    assert invoke(server, ident, 1)["result"] == "new"  # at once
    assert put(runtime="nodejs", code="var handler = () => 'node'")["runtime"] == "nodejs"
    assert invoke(server, ident, 1)["result"] == "node"
    assert make(server, name="myFunction") != ident  # its old name is free


def test_update_of_the_runtime_alone(server):
    ident = make(server)
    error(server.call("PUT", f"/functions/{ident}", {"runtime": "nodejs"}), 400,
          "VALIDATION_ERROR", "runtime")
    assert data(server.call("GET", f"/functions/{ident}"))["runtime"] == "python"
    assert invoke(server, ident, 1)["result"] == 1


@pytest.mark.parametrize("field", ["name", "runtime", "code", "execution_type"])
@pytest.mark.parametrize("value", [1, "", [], {}, True, "\n"])
def test_fields_of_update(server, field, value):
    ident = make(server)
    before = functions(server)
    value = "x(" if field == "code" and value == "\n" else value
    error(server.call("PUT", f"/functions/{ident}", {field: value}), 400, "VALIDATION_ERROR", field)
    assert functions(server) == before


def test_a_name_that_is_taken(server):
    first = make(server, name="first")
    second = make(server, name="second")
    error(server.call("POST", "/functions", {**ECHO, "name": "first"}), 409, "CONFLICT")
    error(server.call("PUT", f"/functions/{second}", {"name": "first"}), 409, "CONFLICT")
    assert data(server.call("PUT", f"/functions/{first}", {"name": "first"}))
    assert [f["name"] for f in functions(server)] == ["second", "first"]


def test_a_race_for_a_name(server):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for n in range(3):
            name = f"경주 {n}"
            replies = list(pool.map(lambda _, name=name: server.call(
                "POST", "/functions", {**ECHO, "name": name}), range(8)))
            assert sorted(r.status for r in replies) == [200] + [409] * 7, replies
    assert len(functions(server)) == 3


def test_a_race_of_renames(server):
    idents = [make(server, name=f"f{n}") for n in range(4)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        replies = list(pool.map(
            lambda i: server.call("PUT", f"/functions/{i}", {"name": "wanted"}), idents))
    assert sorted(r.status for r in replies) == [200, 409, 409, 409], replies
    assert [f["name"] for f in functions(server)].count("wanted") == 1


def test_updates_at_once_are_all_kept(server):
    """Two that say different things about a function do not undo each other."""
    ident = make(server)
    changes = [{"execution_type": "async"}, {"name": "renamed"}, {"code": "def handler(e): return 2"},
               {"execution_type": "async"}]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        replies = list(pool.map(
            lambda c: server.call("PUT", f"/functions/{ident}", c), changes))
    assert [r.status for r in replies] == [200] * 4, replies
    f = data(server.call("GET", f"/functions/{ident}"))
    assert (f["name"], f["execution_type"]) == ("renamed", "async")
    assert f["code"] == "def handler(e): return 2"


def test_a_race_of_delete_and_others(server):
    for _ in range(3):
        ident = make(server)
        calls = [("DELETE", "", None), ("PUT", "", {"code": "def handler(e): return 1"}),
                 ("POST", "/invoke", {}), ("DELETE", "", None), ("GET", "/jobs", None)]
        with concurrent.futures.ThreadPoolExecutor(5) as pool:
            replies = list(pool.map(
                lambda c, i=ident: server.call(c[0], f"/functions/{i}{c[1]}", c[2]), calls))
        assert sorted((replies[0].status, replies[3].status)) == [200, 404]
        for r in replies:
            assert r.status in (200, 404), r
        assert functions(server) == []


def test_code_of_an_archive(server):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as t:
        text = b"def handler(event): return 'from the archive'"
        info = tarfile.TarInfo("main.py")
        info.size = len(text)
        t.addfile(info, io.BytesIO(text))
        info = tarfile.TarInfo("data.bin")
        info.size = 2
        t.addfile(info, io.BytesIO(b"\xff\xfe"))
    ident = int(server.create(out.getvalue(), name="tar").removeprefix("func-"))
    got = data(server.call("GET", f"/functions/{ident}"))
    assert got["code_is_base64"] is True and got["code"] == b64(out.getvalue())
    assert invoke(server, ident)["result"] == "from the archive"


def test_list_in_pages(server):
    idents = [make(server, name=f"f{n}", code=f"def handler(e): return {n}") for n in range(7)]
    got = pages(server, "/functions", "functions", 3)
    assert [f["id"] for f in got] == idents[::-1]
    assert got == functions(server)
    for n, f in enumerate(got[::-1]):
        assert f["code"] == f"def handler(e): return {n}"


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=-1", "limit=1001", "limit=", "after=x",
                                   "after=-1", "limit=1.5", "limit=99999999999999999999", "limit=%zz"])
def test_queries_that_are_wrong(server, query):
    ident = make(server)
    for path in ("/functions", f"/functions/{ident}/jobs"):
        error(server.call("GET", f"{path}?{query}"), 400, "VALIDATION_ERROR")


# ---- calls ----

@pytest.mark.parametrize("event", [
    {}, [], [1, 2, 3], 0, -1.5, "text", "", True, False, None, {"한국어": "값", "😀": "\u0000"},
    {"body": 1, "headers": 2}, {"statusCode": 404, "body": "x"}, {"status": 201, "headers": {}},
    {"statusCode": 9999}, {"a": [[[{"b": None}]]]}, 2 ** 53, 1e308, {"": ""}])
@pytest.mark.parametrize("runtime", ["python", "nodejs"])
def test_the_body_is_the_event_and_the_result(shared, runtime, event):
    ident = shared.__dict__.get("echo_" + runtime)
    if ident is None or shared.call("GET", f"/functions/{ident}").status != 200:
        base = ECHO if runtime == "python" else NODE_ECHO
        ident = make(shared, **{**base, "name": "echo " + runtime})
        setattr(shared, "echo_" + runtime, ident)
    done = invoke(shared, ident, event) if event is not None else data(
        shared.request("POST", f"/functions/{ident}/invoke", "null"))
    assert done["status"] == "success" and done["result"] == event
    assert job(shared, done["id"])["result"] == event


def test_no_body_is_no_parameters(server):
    assert invoke(server, make(server))["result"] == {}


@pytest.mark.parametrize("code,result", [
    ("return None", None), ("return 'text'", "text"), ("return 1.5", 1.5), ("return [1, None]", [1, None]),
    ("return {'data': 'function result'}", {"data": "function result"}), ("return b'\\xff\\x00'", "/wA="),
    ("return (1, 2)", [1, 2]), ("return ''", ""), ("return '한국어 😀'", "한국어 😀"),
    ("return {'statusCode': 500, 'body': 'x'}", {"statusCode": 500, "body": "x"})])
def test_results(server, code, result):
    ident = make(server, code=f"def handler(event):\n    {code}")
    done = invoke(server, ident, {})
    assert done["status"] == "success" and done["result"] == result
    assert job(server, done["id"]) == done


@pytest.mark.parametrize("body", ["{", "x", "{}{}", '{"a":}', "[1,]", "\x00", "NaN", '"\\ud800"', "[" * 500])
def test_bodies_that_are_no_json(server, body):
    ident = make(server)
    error(server.request("POST", f"/functions/{ident}/invoke", body), 400, "VALIDATION_ERROR", "body")
    assert data(server.call("GET", f"/functions/{ident}/jobs")) == {"jobs": []}


@pytest.mark.parametrize("runtime,code,word", [
    ("python", "def handler(e): raise ValueError('no such user')", "no such user"),
    ("python", "def handler(e): return {1, 2}", ""),
    ("python", "def handler(e): import os; os._exit(3)", ""),
    ("python", "def handler(e): raise SystemExit(1)", ""),
    ("nodejs", "function handler(e) { throw new Error('no such user') }", "no such user"),
    ("nodejs", "async function handler(e) { process.exit(3) }", ""),
    ("nodejs", "function handler(e) { return Promise.reject(new Error('late')) }", "late")])
def test_a_handler_that_fails_is_a_failed_job(server, runtime, code, word):
    ident = make(server, runtime=runtime, code=code)
    done = invoke(server, ident, {})
    assert done["status"] == "failed" and isinstance(done["duration"], int)
    assert list(done["result"]) == ["error"] and done["result"]["error"]
    assert word in done["result"]["error"]
    assert job(server, done["id"]) == done
    assert data(server.call("GET", f"/functions/{ident}/metrics"))["invocations"] == {
        "total": 1, "successful": 0, "failed": 1}
    data(server.call("PUT", f"/functions/{ident}", {"execution_type": "async"}))
    later = ended(server, invoke(server, ident, {})["id"])
    assert later["status"] == "failed" and word in later["result"]["error"]
    assert isinstance(later["duration"], int)


def test_a_call_over_its_time_is_a_failed_job(server):
    ident = int(server.create("import time\ndef handler(e): time.sleep(60)", name="slow",
                              timeout=1).removeprefix("func-"))
    done = invoke(server, ident, {})
    assert done["status"] == "failed" and done["duration"] >= 1000
    assert job(server, done["id"]) == done


def test_a_large_event_and_result(server):
    ident = make(server)
    text = "가" * 700_000
    done = invoke(server, ident, text)
    assert done["result"] == text
    assert job(server, done["id"])["result"] is None  # over what is kept of a synchronous call
    data(server.call("PUT", f"/functions/{ident}", {"execution_type": "async"}))
    assert ended(server, invoke(server, ident, text)["id"])["result"] == text


def test_a_call_without_json_type(server):
    ident = make(server)
    reply = server.request("POST", f"/functions/{ident}/invoke", '{"a": 1}',
                           {"Content-Type": "text/plain"})
    assert data(reply)["result"] == {"a": 1}


# ---- jobs ----

def test_jobs_of_both_kinds_in_one_list(server):
    ident = make(server, code="def handler(e): return e['n']")
    numbers = []
    for n in range(9):
        data(server.call("PUT", f"/functions/{ident}",
                         {"execution_type": "async" if n % 2 else "sync"}))
        numbers.append(invoke(server, ident, {"n": n})["id"])
    for number in numbers:
        ended(server, number)
    assert numbers == sorted(set(numbers))
    for limit in (1, 2, 4, 9, 100):
        got = pages(server, f"/functions/{ident}/jobs", "jobs", limit)
        assert [j["id"] for j in got] == numbers[::-1]
        assert [j["result"] for j in got] == list(range(9))[::-1]


def test_pages_lose_and_repeat_nothing_while_others_write(server):
    ident = make(server)
    other = make(server, name="async", execution_type="async")
    before = {n: [invoke(server, n, {})["id"] for _ in range(20)] for n in (ident, other)}
    stop = threading.Event()

    def write():
        while not stop.is_set():
            invoke(server, ident, {})
            invoke(server, other, {})

    writers = [threading.Thread(target=write) for _ in range(2)]
    for w in writers:
        w.start()
    try:
        for n in (ident, other):
            got = [j["id"] for j in pages(server, f"/functions/{n}/jobs", "jobs", 7)]
            assert got == sorted(set(got), reverse=True)
            assert set(before[n]) <= set(got)
    finally:
        stop.set()
        for w in writers:
            w.join()


def test_a_job_that_waits_and_runs(server):
    """It runs until a call of another API lets it go."""
    ident = make(server, execution_type="async",
                 code="import time\nfrom spin_sdk import key_value\n"
                 "def handler(e):\n    store = key_value.open_default()\n"
                 "    if e != 'wait': return store.set('go', b'')\n"
                 "    while not store.exists('go'): time.sleep(0.05)\n    return 'slept'")
    number = invoke(server, ident, "wait")["id"]
    seen = set()

    def over():
        j = job(server, number)
        seen.add(j["status"])
        if j["status"] in ("pending", "running"):
            assert j["result"] is None and j["duration"] is None
        listed = data(server.call("GET", f"/functions/{ident}/jobs"))["jobs"]
        assert [x["id"] for x in listed] == [number]
        return j["status"] == "success"

    wait_for("the job runs", lambda: over() or "running" in seen)
    assert "running" in seen
    server.result(f"func-{ident}", "go")
    wait_for("the job ends", over)
    assert seen <= {"pending", "running", "success"}
    assert job(server, number)["result"] == "slept"


def test_jobs_survive_a_kill(start):
    server = start()
    ident = make(server, execution_type="async",
                 code="import time\ndef handler(e):\n    time.sleep(e['s'])\n    return e")
    quick = invoke(server, ident, {"s": 0})["id"]
    ended(server, quick)
    sync = make(server, name="sync")
    done = invoke(server, sync, {"kept": True})
    assert job(server, done["id"]) == done
    waiting = [invoke(server, ident, {"s": 0.3, "n": n}) for n in range(12)]
    server.kill()
    server.start()
    for n, j in enumerate(waiting):
        after = ended(server, j["id"])
        assert after["status"] == "success" and after["result"] == {"s": 0.3, "n": n}
        assert after["timestamp"] == j["timestamp"]
    assert job(server, quick)["result"] == {"s": 0}
    assert job(server, done["id"]) == done
    highest = waiting[-1]["id"]
    assert invoke(server, sync, 1)["id"] > highest
    got = [j["id"] for j in data(server.call("GET", f"/functions/{ident}/jobs"))["jobs"]]
    assert got == [j["id"] for j in waiting][::-1] + [quick]


@pytest.mark.parametrize("ident", ["999999", "0", "18446744073709551616", "9" * 400])
def test_numbers_of_nothing(server, ident):
    shown = ident if len(ident) <= 20 else ident[:20] + "…"
    e = error(server.call("GET", f"/jobs/{ident}"), 404, "JOB_NOT_FOUND")
    assert e["message"] == f"Job with id {shown} not found"
    for method, rest in (("GET", ""), ("PUT", ""), ("DELETE", ""), ("GET", "/metrics"),
                         ("POST", "/invoke"), ("GET", "/jobs")):
        e = error(server.call(method, f"/functions/{ident}{rest}", {} if method != "GET" else None),
                  404, "FUNCTION_NOT_FOUND")
        assert e["message"] == f"Function with id {shown} not found"


@pytest.mark.parametrize("ident", ["x", "-1", "1.0", "+1", "1x", "%20", "0x1", "func-1", "한",
                                   "1%2F2", "'", "1e3"])
def test_ids_that_are_no_numbers(server, ident):
    path = "".join(c if ord(c) < 128 else "".join(f"%{b:02X}" for b in c.encode()) for c in ident)
    error(server.call("GET", f"/functions/{path}"), 400, "VALIDATION_ERROR", "function_id")
    error(server.call("GET", f"/jobs/{path}"), 400, "VALIDATION_ERROR", "id")


@pytest.mark.parametrize("path", ["%00", "%zz", "%", "%ff", "..%2F..", "../../.."])
def test_paths_that_are_broken(server, path):
    reply = server.call("GET", f"/functions/{path}")
    assert reply.status in (400, 404), reply
    assert reply.json["success"] is False or path == "../../.."


def test_jobs_go_with_their_function(server):
    ident = make(server)
    sync = invoke(server, ident, {})["id"]
    data(server.call("PUT", f"/functions/{ident}", {"execution_type": "async"}))
    queued = invoke(server, ident, {})["id"]
    assert server.call("DELETE", f"/functions/{ident}").status == 200
    for number in (sync, queued):
        error(server.call("GET", f"/jobs/{number}"), 404, "JOB_NOT_FOUND")
    error(server.call("GET", f"/functions/{ident}/jobs"), 404, "FUNCTION_NOT_FOUND")
    assert make(server) > ident  # a number is never given twice


def test_calls_of_other_apis_are_no_jobs(server):
    ident = make(server)
    server.invoke(f"func-{ident}", {})
    assert data(server.call("GET", f"/functions/{ident}/jobs")) == {"jobs": []}
    assert data(server.call("GET", f"/functions/{ident}/metrics"))["invocations"]["total"] == 1


# ---- metrics ----

def test_metrics_before_the_first_call(server):
    got = data(server.call("GET", f"/functions/{make(server)}/metrics"))
    assert got == {"invocations": {"total": 0, "successful": 0, "failed": 0}, "success_rate": 0,
                   "avg_execution_time": "0ms", "cpu_usage": "0%", "memory_usage": "0MB"}


def test_metrics_are_measured(server):
    ident = make(server, code="import time\nheld = bytearray(60 << 20)\n"
                 "for i in range(0, len(held), 4096): held[i] = 1\n"
                 "def handler(e):\n    end = time.thread_time() + 0.3\n"
                 "    while time.thread_time() < end: pass\n    return 1 / e\n")
    for n in (1, 2, 4, 0):
        invoke(server, ident, n)
    got = data(server.call("GET", f"/functions/{ident}/metrics"))
    assert got["invocations"] == {"total": 4, "successful": 3, "failed": 1}
    assert got["success_rate"] == 75
    assert int(got["avg_execution_time"].removesuffix("ms")) >= 300
    # A process that computes all the time has as much CPU time as time, where nobody else does.
    assert int(got["cpu_usage"].removesuffix("%")) > 0
    assert int(got["memory_usage"].removesuffix("MB")) >= 60


# ---- one engine, several APIs ----

def test_functions_of_others_are_seen(server):
    made = [int(server.create("def handler(e): return 'x'", name="of-fnservice", project_id="apart")
                .removeprefix("func-"))]
    server.fn("POST", "", {
            "name": "elsewhere", "runtime": "python3.9", "handler": "main.handler",
                "source_code": b64("def handler(e): return 1")}, ws="ws-other")
    assert server.kube("POST", "", {"name": "of-kube", "runtime": "nodejs18", "handler": "handler",
                                    "code": "exports.handler = () => 1"}).status == 201
    server.wait_build("of-kube")
    got = functions(server)
    assert [f["name"] for f in got] == ["of-kube", "of-fnservice"]
    assert [f["runtime"] for f in got] == ["nodejs", "python"]
    assert got[1]["id"] == made[0] and got[1]["code"] == "def handler(e): return 'x'"
    other = server.fn("GET", "?project_id=proj-default", ws="ws-other").json["functions"][0]["id"]
    error(server.call("GET", f"/functions/{other.removeprefix('func-')}"), 404, "FUNCTION_NOT_FOUND")
    assert invoke(server, made[0], {})["result"] == "x"


def test_our_functions_are_seen_by_others(server):
    ident = make(server, name="이름 하나", code="def handler(e): return {'statusCode': 201, 'body': e['body']}")
    got = server.fn("GET", f"/func-{ident}").json
    assert got["id"] == f"func-{ident}" and got["status"] == "ready"
    kube = server.kube("GET", "").json
    assert len(kube) == 1
    reply = server.kube("POST", f"/{kube[0]['name']}/invoke", {"a": 1})
    assert reply.json == {"statusCode": 201, "body": {"a": 1}}


def test_a_function_that_never_was_built(server):
    server.kube("POST", "", {"name": "broken", "runtime": "python", "handler": "handler",
                             "code": "def ("})
    server.wait_build("broken")
    ident = functions(server)[0]["id"]
    assert functions(server)[0]["code"] == "def ("
    error(server.call("POST", f"/functions/{ident}/invoke", {}), 409, "CONFLICT")
    data(server.call("PUT", f"/functions/{ident}", {"code": ECHO["code"]}))
    assert invoke(server, ident, 3)["result"] == 3


# ---- the envelope on everything ----

def test_tokens(server):
    ident = make(server)
    for method, path, body in (("GET", "/functions", None), ("POST", "/functions", ECHO),
                               ("GET", f"/functions/{ident}", None), ("GET", "/jobs/1", None),
                               ("POST", f"/functions/{ident}/invoke", {})):
        for token in (None, "wrong"):
            reply = server.call(method, path, body, token=token)
            error(reply, 401, "UNAUTHORIZED")
            assert reply.headers["WWW-Authenticate"].startswith("Bearer")


def test_paths_and_methods_that_are_none(server):
    for path in ("/functions/1/2", "/jobs", "/jobs/1/2", "/functions/1/invoke/x"):
        error(server.call("GET", path), 404, "NOT_FOUND")
    for method, path, allow in (("PUT", "/functions", "POST"), ("POST", "/functions/1", "PUT"),
                                ("DELETE", "/jobs/1", "GET"), ("GET", "/functions/1/invoke", "POST")):
        reply = server.call(method, path)
        error(reply, 405, "METHOD_NOT_ALLOWED")
        assert allow in reply.headers["Allow"]


def test_too_much(server):
    error(server.request("POST", "/functions", "x" * (16777216 + 1)), 413, "PAYLOAD_TOO_LARGE")
    error(server.call("POST", "/functions", {**ECHO, "code": "#" * (10485760 + 1)}), 413,
          "PAYLOAD_TOO_LARGE")
    assert functions(server) == []


def test_a_request_that_is_no_http(server):
    raw = server.raw(b"GET /functions/%zz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    body = json.loads(raw.partition(b"\r\n\r\n")[2])
    assert body["success"] is False and body["error"]["code"] == "VALIDATION_ERROR"


def test_many_functions_with_code_and_many_callers(server):
    code = "def handler(e): return e\n" + "#" * 200_000
    for n in range(30):
        make(server, name=f"f{n}", code=code)
    got = functions(server)
    assert len(got) == 30 and all(f["code"] == code for f in got)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda n: invoke(server, got[n % 30]["id"], n)["result"], range(60)))
    assert results == list(range(60))


def test_a_caller_that_leaves_leaves_a_job(server):
    ident = make(server, code="import time\ndef handler(e):\n    time.sleep(e)\n    return e")
    invoke(server, ident, 0)
    with pytest.raises(OSError):
        server_timeout(server, ident)
    wait_for("the job is there", lambda: len(
        data(server.call("GET", f"/functions/{ident}/jobs"))["jobs"]) == 2)
    left = data(server.call("GET", f"/functions/{ident}/jobs"))["jobs"][0]
    assert left["status"] == "failed" and "caller" in left["result"]["error"]


def server_timeout(server, ident):
    """A call whose client closes before it ends."""
    text = (f"POST /functions/{ident}/invoke HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
            f"Authorization: Bearer {server.token}\r\n\r\n10")
    server.raw(text.encode(), timeout=1)
