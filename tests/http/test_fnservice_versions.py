# SPDX-License-Identifier: Apache-2.0
"""fnservice: versions, builds, activation and rollback (document 000)."""

import concurrent.futures

import pytest
from harness import b64, wait_for

BAD = "def handler(e:\n    return 1\n"


def answers(text):
    return f"def handler(event):\n    return {text!r}\n"


def version(server, ident, which):
    reply = server.fn("GET", f"/{ident}/versions/{which}")
    assert reply.status == 200, reply
    return reply.json


def built(server, ident, which):
    """The version once its build is over."""
    return wait_for(f"version {which} is built", lambda: (
        lambda v: v if v["build_status"] in ("success", "failed") else None)(
            version(server, ident, which)))


def deploy(server, ident, code, **more):
    reply = server.fn("POST", f"/{ident}/versions", {"source_code": b64(code), **more})
    assert reply.status == 201, reply
    return built(server, ident, reply.json["id"])


def activate(server, ident, which):
    reply = server.fn("PUT", f"/{ident}/versions/{which}/active")
    assert reply.status == 200, reply
    return reply


def active(server, ident):
    """What the function, its list of versions and its answer say; they must agree."""
    said = server.fn("GET", f"/{ident}").json["active_version"]
    listed = [v for v in server.fn("GET", f"/{ident}/versions").json["versions"] if v["is_active"]]
    assert len(listed) == 1, listed
    assert f"v{listed[0]['version']}" == said
    return listed[0]["version"]


def conflict(reply, code="CONFLICT"):
    assert (reply.status, reply.json["code"]) == (409, code), reply
    return reply


def test_creating_makes_version_one_active(server):
    ident = server.create(answers("one"))
    (only,) = server.fn("GET", f"/{ident}/versions").json["versions"]
    assert (only["version"], only["build_status"], only["is_active"]) == (1, "success", True)
    assert set(only) == {"id", "version", "build_status", "created_at", "is_active"}


def test_deploy_answers_as_the_document_says(server):
    ident = server.create(answers("one"), name="my-function")
    reply = server.fn("POST", f"/{ident}/versions", {"version": 2, "source_code": b64(answers("2"))})
    assert reply.status == 201, reply
    v = reply.json
    assert v["id"].startswith("ver-")
    assert (v["workspace_id"], v["function_id"], v["function_name"]) == (
        "ws-default", ident, "my-function")
    assert v["version"] == 2
    assert v["build_status"] in ("pending", "building", "success")
    assert v["is_active"] is False
    assert built(server, ident, v["id"])["build_status"] == "success"


def test_a_new_version_does_not_serve_before_it_is_activated(server):
    ident = server.create(answers("one"))
    v = deploy(server, ident, answers("two"))
    assert v["is_active"] is False
    assert active(server, ident) == 1
    assert server.result(ident) == b"one"
    assert activate(server, ident, v["id"]).json == {"message": "Version activated successfully"}
    assert active(server, ident) == 2
    assert server.result(ident) == b"two"


def test_activation_reaches_every_loop_at_once(server):
    """Connections land on different loops: none may go on with the old version."""
    ident = server.create(answers("one"))
    deploy(server, ident, answers("two"))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: server.result(ident), range(16))) == {b"one"}
        activate(server, ident, 2)
        assert set(pool.map(lambda _: server.result(ident), range(16))) == {b"two"}
        server.fn("POST", f"/{ident}/rollback")
        assert set(pool.map(lambda _: server.result(ident), range(16))) == {b"one"}


def test_numbers_are_given_from_the_highest_ever(server):
    ident = server.create(answers("x"))
    assert deploy(server, ident, answers("x"))["version"] == 2
    assert deploy(server, ident, answers("x"), version=7)["version"] == 7
    assert deploy(server, ident, answers("x"))["version"] == 8
    assert deploy(server, ident, answers("x"), version=None)["version"] == 9


def test_a_number_is_used_once(server):
    ident = server.create(answers("one"))
    deploy(server, ident, answers("two"), version=2)
    for number in (1, 2):
        conflict(server.fn("POST", f"/{ident}/versions",
                           {"version": number, "source_code": b64(answers("x"))}))
    assert [v["version"] for v in server.fn("GET", f"/{ident}/versions").json["versions"]] == [2, 1]
    activate(server, ident, 2)
    assert server.result(ident) == b"two"


def test_a_race_for_a_number_has_one_winner(server):
    ident = server.create(answers("one"))

    def go(i):
        return server.fn("POST", f"/{ident}/versions",
                         {"version": 2, "source_code": b64(answers(str(i)))})

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        replies = list(pool.map(go, range(6)))
    assert sorted(r.status for r in replies) == [201] + [409] * 5, replies
    winner = next(i for i, r in enumerate(replies) if r.status == 201)
    activate(server, ident, 2)
    assert server.result(ident) == str(winner).encode()


def test_deploys_at_once_get_numbers_of_their_own(server):
    ident = server.create(answers("one"))
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        replies = list(pool.map(lambda i: deploy(server, ident, answers(str(i))), range(6)))
    assert sorted(v["version"] for v in replies) == [2, 3, 4, 5, 6, 7]
    for i, v in enumerate(replies):
        activate(server, ident, v["id"])
        assert server.result(ident) == str(i).encode(), "the number and its code belong together"


@pytest.mark.parametrize("number", [0, -1, 1.5, "2", True, [], 10001, 2**40])
def test_bad_numbers(server, number):
    ident = server.create(answers("one"))
    reply = server.fn("POST", f"/{ident}/versions",
                      {"version": number, "source_code": b64(answers("x"))})
    assert (reply.status, reply.json["details"]["field"]) == (400, "version"), reply
    assert len(server.fn("GET", f"/{ident}/versions").json["versions"]) == 1


@pytest.mark.parametrize("data", [
    {}, {"version": 2}, {"source_code": ""}, {"source_code": None}, {"source_code": 5},
    {"source_code": "%%%"}, {"source_code": ["YQ=="]}, []])
def test_bad_deploys(server, data):
    ident = server.create(answers("one"))
    reply = server.fn("POST", f"/{ident}/versions", data)
    assert (reply.status, reply.json["code"]) == (400, "INVALID_REQUEST"), reply
    assert len(server.fn("GET", f"/{ident}/versions").json["versions"]) == 1


def test_versions_are_listed_highest_first(server):
    ident = server.create(answers("x"))
    for number in (5, 3, 4):
        deploy(server, ident, answers("x"), version=number)
    listed = server.fn("GET", f"/{ident}/versions").json["versions"]
    assert [v["version"] for v in listed] == [5, 4, 3, 1]


def test_one_version_by_id_and_by_number(server):
    code = answers("one")
    ident = server.create(code)
    first = server.fn("GET", f"/{ident}/versions").json["versions"][0]["id"]
    for which in (first, "1", "v1"):
        v = version(server, ident, which)
        assert (v["id"], v["version"], v["code_size"]) == (first, 1, len(code))
        assert isinstance(v["build_log"], str)


@pytest.mark.parametrize("which", ["ver-999999", "99", "v99", "0", "v0", "v", "nonsense", "func-1",
                                   "-1", "99999999999999999999", "1.0"])
def test_unknown_versions(server, which):
    ident = server.create(answers("one"))
    for method, path in (("GET", ""), ("PUT", "/active")):
        reply = server.fn(method, f"/{ident}/versions/{which}{path}")
        assert (reply.status, reply.json["code"]) == (404, "VERSION_NOT_FOUND"), reply


def test_a_version_of_another_function_is_unknown(server):
    mine = server.create(answers("mine"), name="mine")
    other = server.create(answers("other"), name="other")
    theirs = server.fn("GET", f"/{other}/versions").json["versions"][0]["id"]
    for method, path in (("GET", ""), ("PUT", "/active")):
        reply = server.fn(method, f"/{mine}/versions/{theirs}{path}")
        assert (reply.status, reply.json["code"]) == (404, "VERSION_NOT_FOUND"), reply
    assert server.result(mine) == b"mine"


def test_activating_the_active_one_changes_nothing(server):
    ident = server.create(answers("one"))
    deploy(server, ident, answers("two"))
    activate(server, ident, 2)
    activate(server, ident, 2)
    assert active(server, ident) == 2
    assert server.fn("POST", f"/{ident}/rollback").status == 200
    assert server.result(ident) == b"one", "activating twice does not lose what was before"


def test_activating_what_is_still_building_waits_for_it(server):
    ident = server.create(answers("one"))
    reply = server.fn("POST", f"/{ident}/versions", {
        "source_code": b64("import time\ntime.sleep(0.5)\n" + answers("slow"))})
    activate(server, ident, reply.json["id"])
    assert server.result(ident) == b"slow"


# ---- builds that fail ----


def test_a_failed_build_never_serves_and_keeps_its_log(server):
    ident = server.create(answers("one"))
    v = deploy(server, ident, BAD)
    assert (v["build_status"], v["is_active"]) == ("failed", False)
    assert "SyntaxError" in v["build_log"]
    reply = conflict(server.fn("PUT", f"/{ident}/versions/{v['id']}/active"), "BUILD_FAILED")
    assert reply.json["error"]
    assert active(server, ident) == 1
    assert server.result(ident) == b"one"
    assert server.fn("GET", f"/{ident}").json["status"] == "ready"
    assert version(server, ident, v["id"])["build_log"] == v["build_log"], "kept"


@pytest.mark.parametrize("runtime,code,says", [
    ("python3.9", "import nothing_of_this_name\n" + answers("x"), "nothing_of_this_name"),
    ("python3.9", "raise ValueError('at load')\n", "at load"),
    ("python3.9", "import sys\nsys.exit(3)\n", "exit"),
    ("python3.9", "handler = 5\n", "handler"),
    ("nodejs18", "exports.handler = async () => {;\n", "SyntaxError"),
    ("nodejs18", "require('nothing-of-this-name');", "nothing-of-this-name"),
    ("nodejs18", "throw new Error('at load');", "at load"),
    ("nodejs18", "exports.handler = 5;", "handler"),
    ("nodejs18", "process.exit(3);", "exit"),
])
def test_what_does_not_load_does_not_build(server, runtime, code, says):
    reply = server.fn("POST", "", {"name": "f", "runtime": runtime, "handler": "index.handler",
                                   "source_code": b64(code)})
    assert (reply.status, reply.json["status"], reply.json["active_version"]) == (
        201, "error", ""), reply
    v = version(server, reply.json["id"], 1)
    assert v["build_status"] == "failed"
    assert says in v["build_log"], v


def test_code_that_is_not_text(server):
    for i, code in enumerate((b"\xff\xfe\x00\x01", b"\x00" * 100, b"PK\x03\x04" + b"\x00" * 60)):
        reply = server.fn("POST", "", {"name": f"f{i}", "runtime": "python3.9",
                                       "source_code": b64(code)})
        assert (reply.status, reply.json["status"]) == (201, "error"), reply
        assert version(server, reply.json["id"], 1)["build_log"]


def test_a_function_that_never_built_is_mended_by_its_next_version(server):
    reply = server.fn("POST", "", {"name": "f", "runtime": "python3.9", "source_code": b64(BAD)})
    ident = reply.json["id"]
    conflict(server.invoke(ident), "BUILD_FAILED")
    v = deploy(server, ident, answers("mended"))
    activate(server, ident, v["id"])
    assert server.fn("GET", f"/{ident}").json["status"] == "ready"
    assert server.result(ident) == b"mended"
    conflict(server.fn("POST", f"/{ident}/rollback"))


def test_what_a_build_prints_is_bounded(server):
    code = "print('x' * 100)\n" * 3 + "for i in range(200000): print('y' * 80)\n" + answers("ok")
    reply = server.fn("POST", "", {"name": "f", "runtime": "python3.9", "source_code": b64(code)})
    assert reply.status == 201, reply
    v = built(server, reply.json["id"], 1)
    assert len(v["build_log"]) <= 70000


# ---- rollback ----


def test_rollback_activates_what_was_active_before(server):
    ident = server.create(answers("1"))
    for text in ("2", "3"):
        activate(server, ident, deploy(server, ident, answers(text))["id"])
    activate(server, ident, 1)
    assert server.result(ident) == b"1"
    reply = server.fn("POST", f"/{ident}/rollback")
    assert (reply.status, reply.json) == (200, {"message": "Rollback successful"}), reply
    assert active(server, ident) == 3
    assert server.result(ident) == b"3"


def test_rollback_twice_never_takes_what_did_not_serve(server):
    """A second rollback answers 409 or goes on to a version that has served; the active version,
    the reply and what runs agree either way."""
    ident = server.create(answers("1"))
    activate(server, ident, deploy(server, ident, answers("2"))["id"])
    deploy(server, ident, answers("3"))
    assert server.fn("POST", f"/{ident}/rollback").status == 200
    assert server.result(ident) == b"1"
    reply = server.fn("POST", f"/{ident}/rollback")
    assert reply.status in (200, 409), reply
    assert active(server, ident) == (2 if reply.status == 200 else 1)
    assert server.result(ident) == (b"2" if reply.status == 200 else b"1")


def test_without_a_version_before_rollback_is_an_error(server):
    ident = server.create(answers("1"))
    conflict(server.fn("POST", f"/{ident}/rollback"))
    deploy(server, ident, answers("2"))
    conflict(server.fn("POST", f"/{ident}/rollback"))
    assert server.result(ident) == b"1"


def test_a_rollback_race(server):
    ident = server.create(answers("1"))
    activate(server, ident, deploy(server, ident, answers("2"))["id"])
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        statuses = {r.status for r in pool.map(
            lambda _: server.fn("POST", f"/{ident}/rollback"), range(4))}
    assert statuses <= {200, 409} and 200 in statuses
    number = active(server, ident)
    assert server.result(ident) == str(number).encode()


def test_a_running_call_ends_with_the_version_it_began_with(server):
    slow = ("import time\ndef handler(event):\n    print('begun', flush=True)\n"
            "    time.sleep(1.5)\n    return 'old'\n")
    ident = server.create(slow)
    deploy(server, ident, answers("new"))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        call = pool.submit(server.invoke, ident)
        wait_for("it runs", lambda: [e for e in server.logs(ident) if e["message"] == "begun"])
        activate(server, ident, 2)
        assert server.result(ident) == b"new"
        reply = call.result()
    assert (reply.status, reply.json.get("body")) == (200, b64("old")), reply


# ---- archives ----


def tar(files):
    import io
    import tarfile
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as t:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            t.addfile(info, io.BytesIO(data))
    return out.getvalue()


def test_a_python_archive_with_modules_and_data(server):
    code = tar({"main.py": b"import lib.part\nimport pathlib\ndef handler(e):\n"
                           b"    here = pathlib.Path(__file__).parent\n"
                           b"    return lib.part.say() + (here / 'data.txt').read_text()\n",
                "lib/__init__.py": b"", "lib/part.py": b"def say():\n    return 'part '\n",
                "data.txt": "ß🚀".encode()})
    ident = server.create(code)
    assert server.result(ident) == "part ß🚀".encode()


def test_a_node_archive_with_modules(server):
    code = tar({"index.js": b"const p = require('./lib/part');\n"
                            b"exports.handler = async () => p.say() + require('./d.json').x;",
                "lib/part.js": b"exports.say = () => 'part ';", "d.json": b'{"x": "json"}'})
    ident = server.create(code, runtime="nodejs18", handler="index.handler")
    assert server.result(ident) == b"part json"


@pytest.mark.parametrize("files", [{"../out.py": b""}, {"/etc/x.py": b""}, {"a/../../x.py": b""}])
def test_archives_that_lead_out_are_refused(server, files):
    code = tar({"main.py": answers("x").encode(), **files})
    reply = server.fn("POST", "", {"name": "f", "runtime": "python3.9", "source_code": b64(code)})
    assert (reply.status, reply.json["status"]) == (201, "error"), reply


def test_a_build_whose_process_ends_at_once_is_not_mistaken(server):
    """The news that the process ended may overtake what it said: that still counts."""
    reply = server.fn("POST", "", {
        "name": "f", "runtime": "nodejs18", "source_code": b64("exports.handler = () => 1;")})
    ident = reply.json["id"]
    for good in (True, False) * 15:
        v = deploy(server, ident, "exports.handler = () => 1;" if good else "throw new Error('no')")
        assert v["build_status"] == ("success" if good else "failed"), v
        assert good or "Error: no" in v["build_log"], v
