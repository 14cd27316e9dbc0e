# SPDX-License-Identifier: Apache-2.0
"""Versions that are OCI images, over a real registry: fetched, kept, run in all three formats, and
held to the same limits as any function. Functions that are images from their first version on are
made through the iron API (test_iron.py); here they become so with their second one."""

import json
import os
import pathlib
import re
import shutil
import socket
import tempfile
import threading

import pytest
import registry as reg
from harness import AS_USER, PATIENCE_S, b64, own, unb64, wait_for

pytestmark = reg.needed_to_run
CODE = "def handler(event):\n    return 'code'\n"


@pytest.fixture(scope="module")
def made():
    """A folder for layouts."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="test-kiln-images-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def registry(made):
    with reg.Registry() as r:
        yield r


@pytest.fixture(scope="module")
def push(made, registry):
    """push("name", cmd=[…], …): an image of the test program; its reference."""
    done = {}

    def make(name, to=None, files=None, **config):
        key = (name, to)
        if key not in done:
            layout = reg.image(made, name, {"/program": reg.compiled(reg.PROGRAM), **(files or {})},
                               **{"entrypoint": ["/program"], **config})
            done[key] = (to or registry).push(layout, f"test/{name}:1")
        return done[key]

    return make


def versions(server, ident, which):
    return server.fn("GET", f"/{ident}/versions/{which}").json


def deploy(server, ident, image, expect="success"):
    reply = server.fn("POST", f"/{ident}/versions", {"image": image})
    assert reply.status == 201, reply
    assert reply.json["image"] == image
    ver = reply.json["id"]
    done = wait_for("the image is built", lambda: (
        lambda v: v if v["build_status"] in ("success", "failed") else None)(
            versions(server, ident, ver)))
    assert done["build_status"] == expect, done["build_log"]
    return done


def function(server, image, name="f", **more):
    """A function whose active version is IMAGE; its id."""
    ident = server.create(CODE, name=name, **more)
    version = deploy(server, ident, image)
    reply = server.fn("PUT", f"/{ident}/versions/{version['id']}/active")
    assert reply.status == 200, reply
    return ident


def run(server, ident, body=None, **more):
    reply = server.invoke(ident, body, **more)
    assert reply.status == 200, reply
    return unb64(reply.json["body"])


def failure(server, ident, body=None, status=500):
    reply = server.invoke(ident, body)
    assert reply.status == status, reply
    return reply


# ---- format "default" ----

def test_a_call_is_a_container(server, push):
    ident = function(server, push("echo", cmd=["echo"]))
    assert run(server, ident, "hello") == b"hello"
    assert run(server, ident, "x" * 900000) == b"x" * 900000
    assert run(server, ident) == b""
    lines = wait_for("its lines are there", lambda: (
        lambda got: got if len(got) >= 3 else None)(
            [e["message"] for e in server.logs(ident) if "bytes" in e["message"]]))
    assert "got 5 bytes" in lines and "got 900000 bytes" in lines


def test_the_build_log_says_what_was_fetched(server, push, registry):
    ident = server.create(CODE)
    version = deploy(server, ident, push("echo", cmd=["echo"]))
    assert registry.digest("test/echo:1") in version["build_log"]
    assert "runs [/program echo] in / as 0:0" in version["build_log"]
    assert version["image"] == registry.ref("test/echo:1")
    listed = server.fn("GET", f"/{ident}/versions").json["versions"]
    assert [v.get("image") for v in listed] == [registry.ref("test/echo:1"), None]


def test_code_and_image_take_turns(server, push):
    """The function's runtime is Python; what is active decides."""
    ident = server.create(CODE)
    version = deploy(server, ident, push("echo", cmd=["echo"]))
    assert server.result(ident) == b"code"
    server.fn("PUT", f"/{ident}/versions/{version['id']}/active")
    assert run(server, ident, "image") == b"image"
    assert server.fn("POST", f"/{ident}/rollback").status == 200
    assert server.result(ident) == b"code"
    assert server.fn("POST", f"/{ident}/rollback").status == 200
    assert run(server, ident, "again") == b"again"


def test_beside_code_an_image_is_remembered(server):
    ident = server.create(CODE)
    reply = server.fn("POST", f"/{ident}/versions", {
        "source_code": b64("def handler(e):\n    return 'two'\n"), "image": "myregistry/my-function:v2"})
    assert reply.status == 201 and reply.json["image"] == "myregistry/my-function:v2"
    done = wait_for("it is built", lambda: (
        lambda v: v if v["build_status"] == "success" else None)(
            versions(server, ident, reply.json["id"])))
    server.fn("PUT", f"/{ident}/versions/{done['id']}/active")
    assert server.result(ident) == b"two"


def test_exit_code(server, push):
    ident = function(server, push("exit", cmd=["exit"], env=["CODE=7"]))
    assert "exit code 7" in failure(server, ident).body.decode()
    assert any("going" in e["message"] for e in server.logs(ident))


def test_what_cannot_be_executed(server, push):
    ident = function(server, push("nothing", entrypoint=["/no-such-program"]))
    assert "no-such-program" in failure(server, ident).body.decode()


def test_bytes_are_bytes(server, push):
    ident = function(server, push("binary", cmd=["binary"]))
    assert run(server, ident) == bytes(range(256))


def test_environment(server, push):
    ident = function(server, push("env", cmd=["env"], env=["FROM_IMAGE=1", "BOTH=image"]),
                     environment={"BOTH": "function", "my-key": "v"})
    env = dict(line.split("=", 1) for line in run(
        server, ident, method="PUT", path="/a/b", headers={"X-Two": ["1", "2"]}).decode().splitlines())
    assert env["FROM_IMAGE"] == "1" and env["BOTH"] == "function"
    assert env["MY_KEY"] == "v" and env["my-key"] == "v"
    assert env["METHOD"] == "PUT" and env["ROUTE"] == "/a/b"
    assert env["HEADER_X_TWO"] == "1 2"
    assert env["FUNCTION_NAME"] == "f" and env["KILN_WORKSPACE"] == "ws-default"
    assert "KILN_IMAGE_FORMAT" not in env


def test_many_at_once(server, push):
    ident = function(server, push("echo", cmd=["echo"]))
    results = []

    def call(i):
        results.append(run(server, ident, f"n{i}") == f"n{i}".encode())

    threads = [threading.Thread(target=call, args=(i,)) for i in range(12)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert results == [True] * 12


# ---- the container ----

def test_user_of_the_image(server, push):
    passwd = b"root:x:0:0::/:\nalice:x:1234:1235::/home:\n"
    ident = function(server, push("user", cmd=["id"], user="alice", workdir="/home/alice",
                                  files={"/etc/passwd": passwd, "/home/alice/x": b""}))
    assert run(server, ident) == b"uid 1234 gid 1235 pid 1 cwd /home/alice\n"


def test_it_has_no_privileges(server, push):
    status = run(server, function(server, push("status", cmd=["status"]))).decode()
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert f"{name}:\t0000000000000000\n" in status
    assert "NoNewPrivs:\t1\n" in status and "Seccomp:\t2\n" in status


def test_it_sees_nothing_else(server, push):
    assert run(server, function(server, push("fds", cmd=["fds"]))).split() == [b"0", b"1", b"2", b"3"]
    pids = [w for w in run(server, function(server, push("pids", cmd=["pids"]), name="g")).split()
            if w.isdigit()]
    assert pids == [b"1"]
    root = run(server, function(server, push("root", cmd=["root"]), name="h")).split()
    assert set(root) <= {b"dev", b"etc", b"proc", b"program", b"tmp"}


def test_what_it_writes_goes_with_it(server, push):
    ident = function(server, push("write", cmd=["write"]))
    for _ in range(2):
        said = run(server, ident).decode()
        assert "before No such file" in said and "tmp-before No such file" in said
        assert "root ok" in said and "tmp ok" in said and "dev ok" in said


def test_what_is_not_for_it(server, push):
    said = dict(line.split(" ", 1) for line in run(
        server, function(server, push("escape", cmd=["escape"]))).decode().splitlines())
    assert set(said) == {"mount", "unshare", "chroot", "ptrace", "setuid", "proc-sys", "sysrq", "tun",
                         "mknod", "raw", "fd3"}
    assert [name for name, result in said.items() if result == "ok"] == []


# ---- limits ----

def test_memory(server, push):
    ident = function(server, push("memory", cmd=["memory"]))
    reply = failure(server, ident)
    # where no control group limits it, an allocation fails
    assert re.search("memory limit of 128 MiB|exit code 12", reply.body.decode())


def test_timeout_ends_the_tree(server, push):
    ident = function(server, push("sleep", cmd=["sleep"]), timeout=1)
    assert "longer than its limit" in failure(server, ident, status=504).body.decode()
    server.fn("DELETE", f"/{ident}")
    wait_for("nothing of it runs", lambda: not programs_running())


def programs_running():
    found = []
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and open(f"/proc/{entry}/cmdline", "rb").read().startswith(b"/program\0sleep"):
                found.append(entry)
        except OSError:
            pass
    return found


def test_fork_bomb(server, push):
    ident = function(server, push("bomb", cmd=["bomb"]))
    other = server.create(CODE, name="other")
    assert run(server, ident) == b"forked few\n"
    assert server.result(other) == b"code"


# ---- network ----

def listener():
    s = socket.socket()
    s.bind(("127.0.0.1", 0))
    s.listen()
    return s


def test_no_way_to_the_host(server, push):
    with listener() as s:
        where = f"127.0.0.1:{s.getsockname()[1]}"
        ident = function(server, push("dial", cmd=["dial"]))
        assert run(server, ident, where) == b"dial Connection refused\n"


def test_networks(server, start, push):
    """Nothing that leaves this machine is asked for: who refuses it says which network there is."""
    image = push("dial", cmd=["dial"])
    none = function(server, image, network="none")
    assert run(server, none, "10.0.0.1:80") == b"dial Network is unreachable\n"
    egress = function(server, image, name="egress")
    if server.fn("GET", "/provider/capabilities").json["limits"]["egress"]:
        assert run(server, egress, "10.0.0.1:80") == b"dial No route to host\n"
    own = start("--allow-host-network")
    with listener() as s:
        host = function(own, image, network="host")
        assert run(own, host, f"127.0.0.1:{s.getsockname()[1]}") == b"dial ok\n"
    own.fn("DELETE", f"/{host}")


# ---- fetching ----

def log_of_failure(server, image):
    ident = server.create(CODE, name=f"g{os.urandom(4).hex()}")
    version = deploy(server, ident, image, expect="failed")
    assert server.result(ident) == b"code"
    reply = server.fn("PUT", f"/{ident}/versions/{version['id']}/active")
    assert reply.status in (400, 409, 422), reply
    return version["build_log"]


def test_what_is_not_there(server, registry, push):
    assert "the registry has no image" in log_of_failure(server, registry.ref("no/such:1"))
    push("echo", cmd=["echo"])
    missing = registry.ref("test/echo") + "@sha256:" + "0" * 64
    assert "the registry has no image" in log_of_failure(server, missing)


def test_no_registry(server):
    closed = f"127.0.0.1:{reg.free_port()}"
    said = log_of_failure(server, f"{closed}/a/b:1")
    assert f"the registry {closed} cannot be reached" in said and "connection refused" in said


def test_registries_that_are_not_used(start):
    server = start("--registries", "registry.example.com,docker.io")
    closed = f"127.0.0.1:{reg.free_port()}"
    said = log_of_failure(server, f"{closed}/a/b:1")
    assert f"images of {closed} are not used here" in said and "setting registries" in said


@pytest.mark.parametrize("image", ["", "UPPER/case", "a b", "a:", "x@sha256:12", "-x/y", "a/../b",
                                   "x" * 600, "127.0.0.1:1/a//b", "a:tag:tag", "http://a/b"])
def test_what_is_no_reference(server, image):
    ident = server.create(CODE)
    reply = server.fn("POST", f"/{ident}/versions", {"image": image})
    assert reply.status == 400, reply


def test_an_image_for_another_machine(server, push):
    said = log_of_failure(server, push("arm", cmd=["echo"], arch="mips"))
    assert "made for linux/mips" in said


def test_an_image_without_an_entrypoint(server, push):
    assert "no entrypoint" in log_of_failure(server, push("data", entrypoint=[]))


def test_a_tag_moves_and_the_version_does_not(server, registry, made, push):
    first = push("moving", cmd=["echo"])
    ident = function(server, first)
    assert run(server, ident, "x") == b"x"
    layout = reg.image(made, "moved", {"/program": reg.compiled(reg.PROGRAM)}, entrypoint=["/program", "id"])
    registry.push(layout, "test/moving:1")
    assert run(server, ident, "x") == b"x"
    other = function(server, first, name="other")
    assert run(server, other).startswith(b"uid 0 gid 0 pid 1")


def folders(server):
    return {p.name for p in (server.data / "images").iterdir() if not p.name.startswith(".")}


def test_the_cache_outlives_the_registry_and_the_server(start, push, made):
    with reg.Registry() as own:
        image = push("cached", to=own, cmd=["echo"])
        server = start()
        ident = function(server, image)
        assert len(folders(server)) == 1
        server.terminate()
        own.stop()
        server.start()
        assert run(server, ident, "cached") == b"cached"
        server.terminate()
        # Without the cache it is fetched again, by its digest; without a registry that is told.
        shutil.rmtree(server.data / "images")
        server.start()
        reply = server.invoke(ident, "gone")
        assert reply.status == 503 and b"cannot be reached" in reply.body, reply
        own.start()
        assert run(server, ident, "back") == b"back"
        assert len(folders(server)) == 1
        server.fn("DELETE", f"/{ident}")


def test_a_crash_while_fetching_leaves_nothing(start, push):
    server = start()
    (server.data / "images" / ".tmp-1-1").mkdir()
    (server.data / "images" / ".tmp-1-1" / "file").write_text("left")
    own(server.data / "images")
    server.kill()
    server.start()
    assert not (server.data / "images" / ".tmp-1-1").exists()


def test_one_fetch_for_many(start, push):
    server = start()
    image = push("echo", cmd=["echo"])
    made = [server.create(CODE, name=f"f{i}") for i in range(4)]
    for ident in made:
        assert server.fn("POST", f"/{ident}/versions", {"image": image}).status == 201
    logs = [wait_for("it is built", lambda i=i: (
        lambda v: v["build_log"] if v["build_status"] == "success" else None)(
            versions(server, i, "v2"))) for i in made]
    assert len([log for log in logs if "unpacked" in log]) == 1, logs
    assert len(folders(server)) == 1


def test_a_fetch_does_not_hold_up_the_end(start):
    """A registry that takes the question and never answers. The build goes on after the start."""
    with listener() as silent:
        silent.settimeout(PATIENCE_S)
        server = start()
        ident = server.create(CODE)
        image = f"127.0.0.1:{silent.getsockname()[1]}/a/b:1"
        reply = server.fn("POST", f"/{ident}/versions", {"image": image})
        first = silent.accept()[0]  # held open: who asks hears nothing, not even an end
        server.terminate()
        first.close()
        server.start()
        second = silent.accept()[0]
        assert versions(server, ident, reply.json["id"])["build_status"] == "building"
        second.close()
    done = wait_for("it is over", lambda: (
        lambda v: v if v["build_status"] == "failed" else None)(
            versions(server, ident, reply.json["id"])))
    assert "cannot be reached" in done["build_log"]
    server.fn("DELETE", f"/{ident}")


def test_size_limit(start, made, registry):
    layout = reg.image(made, "zeros", {"/zeros": bytes(8 << 20)}, entrypoint=["/zeros"])
    image = registry.push(layout, "test/zeros:1")  # 8 MiB of nothing are some KiB in the registry
    server = start("--image-max", "4Mi")
    ident = server.create(CODE)
    said = deploy(server, ident, image, expect="failed")["build_log"]
    assert "unpacks to more than 4 MiB" in said
    assert not [p for p in (server.data / "images").iterdir() if p.name.startswith(".tmp")]
    server.fn("DELETE", f"/{ident}")


def test_what_was_used_longest_ago_goes(start, made, registry):
    images = [registry.push(reg.image(made, f"big{i}", {
        "/program": reg.compiled(reg.PROGRAM), "/random": os.urandom(3 << 20)},
        entrypoint=["/program", "echo"]), f"test/big{i}:1") for i in range(3)]
    server = start("--image-cache-max", "6Mi")
    keeper = function(server, images[0], name="keeper")
    ident = server.create(CODE, name="g")
    said = deploy(server, ident, images[1], expect="failed")["build_log"]
    assert "has no room" in said
    assert run(server, keeper, "kept") == b"kept"
    server.terminate()
    server.start()  # what nobody has asked for since is old
    server.fn("DELETE", f"/{keeper}")
    deploy(server, ident, images[2])
    assert len(folders(server)) == 1
    server.fn("DELETE", f"/{ident}")


def test_credentials(start, folder, made):
    with reg.Registry(user="kiln", password="open-sesame") as own:
        image = own.push(reg.image(made, "private", {"/program": reg.compiled(reg.PROGRAM)},
                                   entrypoint=["/program", "echo"]), "test/private:1")
        server = start()
        assert "does not let kiln read" in log_of_failure(server, image)
        wrong = own.auth_file(folder / "wrong.json", password="wrong")
        right = own.auth_file(folder / "right.json")
        if AS_USER:
            for path in (wrong, right):
                os.chown(path, int(AS_USER), int(AS_USER))
        server = start("--registry-auth", str(wrong))
        said = log_of_failure(server, image)
        assert "does not let kiln read" in said and "wrong" not in said.replace(str(wrong), "")
        server = start("--registry-auth", str(right))
        assert run(server, function(server, image), "in") == b"in"
        assert "open-sesame" not in server.log()


def test_credentials_that_others_may_read(start, folder):
    path = folder / "auth.json"
    path.write_text("{}")
    path.chmod(0o644)
    server = start("--registry-auth", str(path), expect_start=False)
    with pytest.raises(AssertionError, match="chmod 600"):
        server.start()


# ---- what is said of it ----

def test_capabilities(server):
    reply = server.fn("GET", "/provider/capabilities")
    assert reply.json["supports_custom_images"] is True
    (images,) = [r for r in reply.json["runtimes"] if r["name"] == "image"]
    assert images["available"] and re.match(r"crun \d", images["interpreter"])
    said = json.loads(server.cli("doctor", "--json").stdout)
    assert said["items"]["images"]["ok"] is True
