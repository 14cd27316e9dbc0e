# SPDX-License-Identifier: Apache-2.0
"""The command line against a real server."""

import json
import os
import re
import shutil
import subprocess

import harness
import pytest
import registry
from harness import KILN, wait_for

PY = "def handler(event):\n    print('called with', event['body'])\n    return {'got': event['body']}\n"
JS = "exports.handler = async (event) => ({ got: event.body });\n"


def run(*args, env=None, stdin=None, cwd=None):
    """The command line with an environment of its own."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("KILN_")}
    return subprocess.run([str(KILN), *args], env={**clean, **(env or {})}, input=stdin, cwd=cwd,
                          capture_output=True, text=True, timeout=60, check=False)


def file(tmp_path, name="hello.py", text=PY):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def as_json(server, *args, **more):
    return json.loads(server.cli(*args, "--json", **more).stdout)


# ---- deploy ----


@pytest.mark.parametrize("name,text,runtime,handler", [
    ("hello.py", PY, "python3", "hello.handler"), ("hello.js", JS, "nodejs", "hello.handler"),
    ("hello.mjs", "export const handler = async (e) => ({ got: e.body });\n", "nodejs",
     "hello.handler")])
def test_deploy_a_file(server, tmp_path, name, text, runtime, handler):
    done = server.cli("deploy", file(tmp_path, name, text))
    assert "hello" in done.stdout and "v1" in done.stdout
    assert done.stderr == "", "no progress line where there is no terminal"
    f = as_json(server, "get", "hello")
    assert (f["name"], f["runtime"], f["handler"], f["status"]) == ("hello", runtime, handler,
                                                                    "ready")
    assert json.loads(server.cli("invoke", "hello", "--data", '{"a": 1}').stdout) == {
        "got": {"a": 1}}


def test_deploy_with_every_option(server, tmp_path):
    f = as_json(server, "deploy", file(tmp_path, text="import os\ndef mine(e): return os.environ['A']"),
                "--name", "my-name", "--runtime", "python3.9", "--handler", "hello.mine",
                "--env", "A=1=2", "-e", "B=", "--label", "team=x", "--memory", "200Mi",
                "--cpu", "500m", "--timeout", "7", "--min", "0", "--max", "3",
                "--network", "none", "--http", "POST /here")
    assert (f["name"], f["runtime"], f["handler"]) == ("my-name", "python3.9", "hello.mine")
    assert f["environment"] == {"A": "***", "B": "***"}
    assert f["labels"] == {"team": "x"}
    assert f["resources"] == {"memory": "200Mi", "cpu": "500m"}
    assert (f["timeout"], f["min_replicas"], f["max_replicas"], f["network"]) == (7, 0, 3, "none")
    assert server.cli("invoke", "my-name").stdout == "1=2\n"
    assert server.gateway("POST", "/here", b"").body == b"1=2"


def test_deploy_with_a_schedule(server, tmp_path):
    path = file(tmp_path)
    server.cli("deploy", path, "--cron", "@every 1s", "--http", "/hello-here")
    ident = as_json(server, "get", "hello")["id"]
    wait_for("it ran by itself", lambda: any(
        i["source"] == "schedule" for i in server.fn("GET", f"/{ident}/invocations").json[
            "invocations"]))
    lines = server.cli("triggers", "hello").stdout.splitlines()
    assert lines[0].split() == ["NAME", "TYPE", "WHEN", "ENABLED", "UPDATED", "ID"]
    assert lines[1].split()[:5] == ["hello-cron", "schedule", "@every", "1s", "yes"]
    assert lines[2].split()[:5] == ["hello-http", "http", "GET", "/hello-here", "yes"]
    server.cli("deploy", path, "--cron", "0 4 * * mon")
    assert [(t["name"], t["type"], t["config"]) for t in as_json(server, "triggers", "hello")] == [
        ("hello-cron", "schedule", {"cron": "0 4 * * mon"}),
        ("hello-http", "http", {"method": "GET", "path": "/hello-here"})]


def test_a_bad_schedule(server, tmp_path):
    done = server.cli("deploy", file(tmp_path), "--cron", "sometimes", check=False)
    assert done.returncode == 2, done
    assert "cron" in done.stderr
    assert "--http" in server.cli("triggers", "hello").stdout, "there are none, and it says how"


NO_IMAGES = [t for t in ("crun", "skopeo", "umoci", "docker-registry", "gcc")
             if not shutil.which(t)]
PROGRAM = r"""
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv) {
    int c;
    printf("%s %s ", argv[1], getenv("GREETING") ? getenv("GREETING") : "-");
    while ((c = getchar()) != EOF)
        putchar(c);
    return 0;
}
"""


@pytest.mark.skipif(bool(NO_IMAGES), reason=f"not installed: {' '.join(NO_IMAGES)}")
def test_deploy_an_image(server, tmp_path):
    with registry.Registry() as r:
        refs = [r.push(registry.image(tmp_path, f"i{n}", {"/p": registry.compiled(PROGRAM)},
                                      entrypoint=["/p", f"image{n}"]), f"cli/shout:{n}")
                for n in (1, 2)]
        done = server.cli("deploy", "--image", refs[0], "shout", "-e", "GREETING=hi",
                          "--memory", "64Mi", "--timeout", "9", "--http", "POST /shout")
        assert "deployed shout v1" in done.stdout and done.stderr == ""
        assert server.cli("invoke", "shout", "-d", "x").stdout == "image1 hi x\n"
        assert server.gateway("POST", "/shout", b"y").body == b"image1 hi y"
        f = as_json(server, "get", "shout")
        assert (f["resources"]["memory"], f["timeout"]) == ("64Mi", 9)
        done = server.cli("deploy", "--image", refs[1], "shout", "--format", "default")
        assert "deployed shout v2" in done.stdout
        assert server.cli("invoke", "shout", "-d", "x").stdout == "image2 hi x\n"
        server.cli("rollback", "shout")
        assert server.cli("invoke", "shout", "-d", "x").stdout == "image1 hi x\n"
        gone = server.cli("deploy", "--image", refs[0].replace("shout:1", "none:1"), "shout",
                          check=False)
        assert gone.returncode == 1
        assert "has no image" in gone.stderr and "the build failed" in gone.stderr
        assert server.cli("invoke", "shout", "-d", "x").stdout == "image1 hi x\n"
        assert server.request("GET", "/v1/apps/proj-default/routes/shout").json["route"][
            "format"] == "default"


@pytest.mark.parametrize("args,says", [
    (["--image", "example.com/a:1"], "missing"), (["--image", "example.com/a:1", "a/b"], "a/b"),
    (["--image", "example.com/a:1", "a", "--name", "b"], "--name"),
    (["--image", "NOT A REFERENCE", "a"], "image"), (["--format", "http", "a.py"], "--image"),
    (["--image", "example.com/a:1", "a", "--format", "xml"], "json"),
    (["--image", "example.com/a:1", "a", "--memory", "lots"], "memory")])
def test_bad_images(server, args, says):
    done = server.cli("deploy", *args, check=False)
    assert (done.returncode, done.stdout) == (2, ""), done
    assert says in done.stderr
    assert as_json(server, "list") == []


def test_an_image_wants_the_default_workspace(server):
    env = {"KILN_URL": server.url, "KILN_TOKEN": server.token, "KILN_WORKSPACE": "ws-team"}
    done = run("deploy", "--image", "example.com/a:1", "a", env=env)
    assert done.returncode == 2
    assert "ws-default" in done.stderr and "ws-team" in done.stderr


def test_deploy_a_folder(server, tmp_path):
    folder = tmp_path / "words"
    file(folder, "main.py", "import lib.a, pathlib\ndef handler(e):\n"
         "    return lib.a.say() + (pathlib.Path(__file__).parent / 'd.txt').read_text()\n")
    file(folder, "lib/__init__.py", "")
    file(folder, "lib/a.py", "def say(): return 'said '\n")
    file(folder, "d.txt", "ß")
    file(folder, ".hidden/secret.txt", "not sent")
    file(folder, "__pycache__/x.pyc", "not sent")
    server.cli("deploy", str(folder))
    assert server.cli("invoke", "words").stdout == "said ß\n"
    code = server.kube("GET", "/words").json["code"]
    assert "not sent" not in code


def test_deploy_a_node_folder(server, tmp_path):
    folder = tmp_path / "site"
    file(folder, "index.js", "const l = require('./lib');\nexports.handler = async () => l.x;\n")
    file(folder, "lib.js", "exports.x = 'from lib';\n")
    server.cli("deploy", str(folder) + "/", "--name", "my-site")
    assert server.cli("invoke", "my-site").stdout == "from lib\n"


def test_deploy_again_is_a_new_version_that_serves(server, tmp_path):
    path = file(tmp_path)
    server.cli("deploy", path)
    first = as_json(server, "get", "hello")["id"]
    file(tmp_path, text="def handler(e): return 'second'\n")
    done = server.cli("deploy", path, "--label", "new=yes")
    assert "v2" in done.stdout
    assert server.cli("invoke", "hello").stdout == "second\n"
    f = as_json(server, "get", "hello")
    assert (f["id"], f["active_version"], f["labels"]) == (first, "v2", {"new": "yes"})


def test_a_failed_build_shows_its_log(server, tmp_path):
    path = file(tmp_path, text="def handler(e:\n    pass\n")
    done = server.cli("deploy", path, check=False)
    assert done.returncode == 1
    assert "SyntaxError" in done.stderr and "failed" in done.stderr
    assert "deployed" not in done.stdout


def test_a_failed_second_build_leaves_the_first_serving(server, tmp_path):
    path = file(tmp_path, text="def handler(e): return 'first'\n")
    server.cli("deploy", path)
    file(tmp_path, text="import nothing_like_this\n")
    done = server.cli("deploy", path, check=False)
    assert done.returncode == 1
    assert "nothing_like_this" in done.stderr
    assert server.cli("invoke", "hello").stdout == "first\n"


@pytest.mark.parametrize("args,says", [
    (["deploy"], "missing"), (["deploy", "/no/such/file.py"], "/no/such/file.py"),
    (["deploy", "a", "b"], "unexpected"), (["invoke", "x", "--nope"], "--nope"),
    (["invoke", "x", "--data"], "--data"), (["list", "--data", "x"], "--data"),
    (["nonsense"], "nonsense"), (["activate", "x"], "missing"),
    (["metrics", "x", "--since", "yesterday"], "since"), (["events", "x", "--limit", "-1"], "limit"),
    (["logs", "x", "--since", "yesterday"], "since"), (["logs", "x", "--limit", "many"], "limit"),
    (["invoke", "x", "--header", "no-colon"], "header"),
    (["invoke", "x", "--data", "@/no/such"], "/no/such")])
def test_misuse_is_told_and_is_2(server, args, says):
    server.create(PY, name="x")
    done = server.cli(*args, check=False)
    assert done.returncode == 2, done
    assert says in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("extra,says", [
    (["--env", "NOVALUE"], "KEY=VALUE"), (["--label", "=x"], "KEY=VALUE"), (["--min", "some"], "min"),
    (["--max", "-1"], "max"), (["--memory", "lots"], "memory"), (["--cpu", "fast"], "cpu"),
    (["--network", "wifi"], "network"), (["--name", "a b"], "name"),
    (["--runtime", "cobol"], "runtime"), (["--timeout", "x"], "timeout")])
def test_bad_options_of_deploy(server, tmp_path, extra, says):
    done = server.cli("deploy", file(tmp_path), *extra, check=False)
    assert done.returncode in (1, 2), done
    assert says in done.stderr, done
    assert as_json(server, "list") == [], "nothing was made"


def test_a_file_of_no_known_language(server, tmp_path):
    done = server.cli("deploy", file(tmp_path, "program.txt", "x"), check=False)
    assert done.returncode == 2
    assert "--runtime" in done.stderr, "it says what to do"


# ---- invoke ----


def test_invoke_with_data_of_every_kind(server, tmp_path):
    server.create(PY, name="hello")
    body = file(tmp_path, "body.json", '{"from": "file"}')
    assert json.loads(server.cli("invoke", "hello", "-d", '["text"]').stdout) == {"got": ["text"]}
    assert json.loads(server.cli("invoke", "hello", "--data", f"@{body}").stdout) == {
        "got": {"from": "file"}}
    assert json.loads(server.cli("invoke", "hello", "--data", "-", stdin='{"from": "stdin"}'
                                 ).stdout) == {"got": {"from": "stdin"}}
    assert json.loads(server.cli("invoke", "hello").stdout) == {"got": None}
    assert json.loads(server.cli("invoke", "hello", "--data=Grüße 🚀").stdout) == {"got": "Grüße 🚀"}


def test_what_went_on_stands_beside_the_result(server):
    server.create("def handler(e): return 'just this'\n", name="f")
    done = server.cli("invoke", "f")
    assert done.stdout == "just this\n"
    assert "200" in done.stderr and " ms" in done.stderr and "cold" in done.stderr
    assert "inv-" in done.stderr
    assert "warm" in server.cli("invoke", "f").stderr


def test_invoke_with_method_path_and_headers(server):
    server.create("def handler(e): return [e['method'], e['path'], e['headers'].get('x-a')]\n",
                  name="f")
    done = server.cli("invoke", "f", "-X", "PUT", "--path", "/a/b", "-H", "X-A: one two")
    assert json.loads(done.stdout) == ["PUT", "/a/b", "one two"]


def test_invoke_as_json(server):
    server.create(PY, name="f")
    r = as_json(server, "invoke", "f")
    assert {"status_code", "headers", "body", "duration", "cold_start", "invocation_id"} == set(r)


def test_invoke_async(server):
    ident = server.create(PY, name="f")
    run_id = server.cli("invoke", "f", "--async", "--data", "later").stdout.strip()
    assert run_id.startswith("inv-")
    wait_for("it ran", lambda: server.fn("GET", f"/invocations/{run_id}").json["status"]
             == "completed")
    assert server.logs(ident, invocation_id=run_id)


def test_binary_results_pass_through(server, tmp_path):
    server.create("def handler(e): return b'\\x00\\xff\\n'\n", name="f")
    done = subprocess.run([str(KILN), "invoke", "f"], capture_output=True, timeout=60, check=True,
                          env={**os.environ, "KILN_URL": server.url, "KILN_TOKEN": server.token})
    assert done.stdout == b"\x00\xff\n"


def test_a_function_that_throws_is_1(server):
    server.create("def handler(e): raise ValueError('inside')\n", name="f")
    done = server.cli("invoke", "f", check=False)
    assert done.returncode == 1
    assert "inside" in done.stderr
    assert "kiln logs f" in done.stderr, "and says what to do next"


def test_by_id_as_well(server):
    ident = server.create(PY, name="f")
    assert json.loads(server.cli("invoke", ident, "-d", "5").stdout) == {"got": "5"}


# ---- looking ----


def test_list(server):
    assert "kiln deploy" in server.cli("list").stdout, "an empty list says what to do"
    assert as_json(server, "list") == []
    ident = server.create(PY, name="one")
    server.create(JS, name="two", runtime="nodejs18")
    lines = server.cli("list").stdout.splitlines()
    assert lines[0].split()[:4] == ["NAME", "RUNTIME", "STATUS", "VERSION"]
    assert lines[1].split()[:4] == ["two", "nodejs18", "ready", "v1"]
    assert lines[2].split()[:4] == ["one", "python3.9", "ready", "v1"]
    assert [f["id"] for f in as_json(server, "list")][1] == ident


def test_get(server):
    server.create(PY, name="f", environment={"A": "swordfish"}, labels={"l": "v"})
    out = server.cli("get", "f").stdout
    assert "f" in out and "python3.9" in out and "ready" in out
    assert "swordfish" not in out
    assert as_json(server, "get", "f")["labels"] == {"l": "v"}


def test_projects(server, tmp_path):
    server.cli("deploy", file(tmp_path), "--project", "mine")
    assert as_json(server, "list") == []
    assert [f["name"] for f in as_json(server, "list", "--project", "mine")] == ["hello"]
    assert server.cli("invoke", "hello", check=False).returncode == 1
    server.cli("invoke", "hello", "-p", "mine")
    server.cli("delete", "hello", "-p", "mine")


def test_workspaces(server, tmp_path):
    env = {"KILN_URL": server.url, "KILN_TOKEN": server.token, "KILN_WORKSPACE": "ws-team"}
    assert run("deploy", file(tmp_path), env=env).returncode == 0
    assert as_json(server, "list") == []
    assert [f["name"] for f in json.loads(run("list", "--json", env=env).stdout)] == ["hello"]
    assert run("delete", "hello", env=env).returncode == 0


def test_logs(server):
    server.create(PY, name="f")
    assert server.cli("logs", "f").stdout == ""
    for i in range(3):
        server.cli("invoke", "f", "-d", f"text {i}")
    lines = server.cli("logs", "f").stdout.splitlines()
    assert [line.split("called with ")[1] for line in lines] == ["text 0", "text 1", "text 2"]
    assert all(" info " in line for line in lines)
    assert len(server.cli("logs", "f", "--limit", "1").stdout.splitlines()) == 1
    assert len(server.cli("logs", "f", "--since", "1h").stdout.splitlines()) == 3
    assert server.cli("logs", "f", "--until", "1h").stdout == ""
    assert [e["message"] for e in as_json(server, "logs", "f", "--limit", "2")] == [
        "called with text 1", "called with text 2"]


def test_logs_follow(server, tmp_path):
    server.create(PY, name="f")
    server.cli("invoke", "f", "-d", "before")
    out = tmp_path / "out"
    with open(out, "wb") as to:
        follower = subprocess.Popen(
            [str(KILN), "logs", "f", "-f"], stdout=to, stderr=subprocess.PIPE,
            env={**os.environ, "KILN_URL": server.url, "KILN_TOKEN": server.token})
    try:
        wait_for("the line before", lambda: "before" in out.read_text())
        server.cli("invoke", "f", "-d", "after")
        wait_for("the line after", lambda: "after" in out.read_text())
        assert out.read_text().count("before") == 1
    finally:
        follower.terminate()
        follower.wait(30)
        follower.stderr.close()


def test_metrics(server):
    server.create(PY, name="f")
    server.cli("invoke", "f")
    server.cli("invoke", "f")
    wait_for("they are counted", lambda: as_json(server, "metrics", "f")["invocations"] == 2)
    out = dict(line.split(None, 1) for line in server.cli("metrics", "f").stdout.splitlines())
    assert (out["invocations"], out["errors"], out["cold_starts"]) == ("2", "0", "1")
    assert out["duration"].startswith("min ") and out["duration"].endswith(" (ms)")
    assert re.fullmatch(r"min \d+(\.\d{1,3})?, .* p95 \d+(\.\d{1,3})?, .*", out["duration"])
    before = as_json(server, "metrics", "f", "--until", "2h", "--since", "3h")
    assert before["invocations"] == 0


def test_events(server, tmp_path):
    path = file(tmp_path)
    server.cli("deploy", path)
    server.cli("deploy", path)
    lines = server.cli("events", "hello").stdout.splitlines()
    assert lines[0].split() == ["AGE", "TYPE", "WHAT", "BY", "ID"]
    assert lines[-1].split()[1] == "created" and "admin" in lines[-1]
    kinds = [e["type"] for e in as_json(server, "events", "hello")]
    assert kinds[-1] == "created" and "deployed" in kinds and len(kinds) == len(lines) - 1
    assert len(as_json(server, "events", "hello", "--limit", "1")) == 1


# ---- changing ----


def test_versions_activate_and_rollback(server, tmp_path):
    path = file(tmp_path, "f.py", "def handler(e): return 1\n")
    server.cli("deploy", path)
    file(tmp_path, "f.py", "def handler(e): return 2\n")
    server.cli("deploy", path)
    lines = server.cli("versions", "f").stdout.splitlines()
    assert lines[0].split()[:3] == ["VERSION", "BUILD", "ACTIVE"]
    assert lines[1].split()[:3] == ["v2", "success", "yes"]
    assert lines[2].split()[:2] == ["v1", "success"]
    assert [(v["version"], v["is_active"]) for v in as_json(server, "versions", "f")] == [
        (2, True), (1, False)]
    assert "v1" in server.cli("rollback", "f").stdout
    assert server.cli("invoke", "f").stdout == "1\n"
    ident = as_json(server, "versions", "f")[0]["id"]
    for which, says in (("v2", "2\n"), ("1", "1\n"), (ident, "2\n")):
        server.cli("activate", "f", which)
        assert server.cli("invoke", "f").stdout == says
    assert as_json(server, "rollback", "f")["active_version"] == "v1"
    assert json.loads(server.cli("activate", "f", "2", "--json").stdout)


def test_nothing_to_roll_back_to(server):
    server.create(PY, name="f")
    done = server.cli("rollback", "f", check=False)
    assert done.returncode == 1
    assert "409" in done.stderr


def test_delete(server):
    ident = server.create(PY, name="f")
    assert "f" in server.cli("delete", "f").stdout
    assert as_json(server, "list") == []
    server.create(PY, name="f")
    assert json.loads(server.cli("delete", "f", "--json").stdout)["deleted"] != ident


@pytest.mark.parametrize("command", [["get"], ["invoke"], ["logs"], ["versions"], ["rollback"],
                                     ["delete"], ["activate"], ["metrics"], ["events"],
                                     ["triggers"]])
def test_no_such_function(server, command):
    extra = ["v1"] if command == ["activate"] else []
    done = server.cli(*command, "missing", *extra, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "missing" in done.stderr and "kiln list" in done.stderr


def test_no_such_version(server):
    server.create(PY, name="f")
    done = server.cli("activate", "f", "v9", check=False)
    assert done.returncode == 1
    assert "v9" in done.stderr and "kiln versions" in done.stderr


# ---- without a server, with a wrong token, help ----


@pytest.mark.parametrize("command", [["list"], ["get", "f"], ["invoke", "f"], ["logs", "f", "-f"]])
def test_no_server(command, tmp_path):
    done = run(*command, env={"KILN_URL": "http://127.0.0.1:1", "HOME": str(tmp_path)})
    assert (done.returncode, done.stdout) == (1, "")
    assert "http://127.0.0.1:1" in done.stderr and "kiln serve" in done.stderr


def test_wrong_token(server):
    for token in ("wrong-token-of-somebody", ""):
        done = run("list", env={"KILN_URL": server.url, "KILN_TOKEN": token, "HOME": "/nonexistent"})
        assert done.returncode == 1
        assert "KILN_TOKEN" in done.stderr and "401" in done.stderr
        assert "wrong-token-of-somebody" not in done.stderr


def test_what_answers_is_not_kiln(server):
    """The gateway answers HTTP, yet is no API."""
    env = {"KILN_URL": f"http://{server.host}:{server.gateway_port}", "KILN_TOKEN": "x" * 20}
    done = run("list", env=env)
    assert done.returncode == 1 and done.stderr


def test_the_server_of_this_machine_is_found(start, folder):
    """Without KILN_URL and KILN_TOKEN: the default data folder says where and how."""
    (folder / ".local/share/kiln").mkdir(parents=True)
    harness.own(folder)
    own = start(data=str(folder / ".local/share/kiln"))
    done = run("list", "--json", env={"HOME": str(folder), "XDG_DATA_HOME": ""})
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done
    share = run("list", "--json", env={"HOME": "/nonexistent",
                                       "XDG_DATA_HOME": str(folder / ".local/share")})
    assert share.returncode == 0, share
    assert own.token not in done.stdout


def test_help():
    for args in (["--help"], ["help"], ["-h"]):
        done = run(*args)
        assert done.returncode == 0
        for word in ("deploy", "invoke", "list", "get", "logs", "versions", "rollback", "delete",
                     "doctor", "serve", "activate", "metrics", "events", "triggers"):
            assert word in done.stdout
    none = run()
    assert none.returncode == 2 and "Usage" in none.stderr
    for command in ("deploy", "invoke", "logs"):
        done = run(command, "--help")
        assert done.returncode == 0 and f"kiln {command}" in done.stdout
        assert "--json" in done.stdout
    served = run("serve", "--help")
    assert served.returncode == 0
    for flag in ("--data", "--listen", "--gateway", "--no-auth", "--config", "--store"):
        assert flag in served.stdout
    assert run("version").stdout.startswith("kiln ")


def test_doctor():
    done = run("doctor")
    assert done.returncode in (0, 1)
    assert "seccomp" in done.stdout and "Python" in done.stdout and "Node.js" in done.stdout
    said = json.loads(run("doctor", "--json").stdout)
    assert said["ok"] is (done.returncode == 0)
    assert set(said["items"]["seccomp"]) == {"ok", "required", "text"}
    for key, name, there in (
            ("images", "OCI images", all(map(shutil.which, ("crun", "skopeo", "umoci")))),
            ("push", "pushing what was built", bool(shutil.which("skopeo"))),
            ("docs", "pages at /docs",
             (harness.BUILD / "web/swagger-ui/swagger-ui-bundle.js").exists())):
        assert said["items"][key]["ok"] is there, key
        assert bool(said["items"][key]["text"]) is not there, key
        (line,) = [text for text in done.stdout.splitlines() if text.startswith(name)]
        assert (" ok " if there else " reduced ") in line


def test_bad_flags_of_serve(tmp_path):
    for args, says in [(["--nope"], "--nope"), (["--listen"], "--listen"),
                       (["--listen", "nowhere"], "listen"), (["--timeout", "soon"], "timeout"),
                       (["--memory", "1"], "memory"), (["extra"], "extra"),
                       (["--store", "oracle"], "store"), (["--config", "/no/such"], "/no/such"),
                       (["--log-level", "loud"], "loud")]:
        done = run("serve", "--data", str(tmp_path / "d"), *args)
        assert done.returncode not in (0, -6, -11), (args, done)
        assert says in done.stderr, (args, done)
