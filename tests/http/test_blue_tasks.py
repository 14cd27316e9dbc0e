# SPDX-License-Identifier: Apache-2.0
"""The builder of the blue API: builds, pushes and their tasks, with a real registry."""

import base64
import gzip
import hashlib
import io
import json
import os
import pathlib
import shutil
import stat
import tarfile
import time
import urllib.parse
import uuid
import zipfile

import backends
import harness
import pytest
import registry as registries
from blue import refused, wrong
from harness import wait_for

HELLO = """from spin_sdk import http
from spin_sdk.http import Request, Response


class IncomingHandler(http.IncomingHandler):
    def handle_request(self, request: Request) -> Response:
        return Response(200, {"content-type": "text/plain"}, b"hello")
"""
OLD_FORM = """from spin_sdk.http import Response


def init_incoming_handler(request):
    return Response(200, {}, b"old")
"""
SPIN_TOML = """spin_manifest_version = 2
[application]
name = "blog"
[component.blog.build]
command = "componentize-py -w spin-http componentize main -o app.wasm"
"""
needs_registry = pytest.mark.skipif(bool(registries.MISSING), reason=f"no {registries.MISSING}")


def form(**fields):
    """multipart/form-data: (body, headers). A pair is a file: (name, bytes)."""
    boundary = uuid.uuid4().hex
    out = b""
    for name, value in fields.items():
        out += f"--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"".encode()
        if isinstance(value, tuple):
            out += f'; filename="{value[0]}"\r\nContent-Type: application/octet-stream'.encode()
            value = value[1]
        out += b"\r\n\r\n" + (value.encode() if isinstance(value, str) else value) + b"\r\n"
    out += f"--{boundary}--\r\n".encode()
    return out, {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def post(server, operation, fields, **more):
    body, headers = form(**fields)
    return server.request("POST", f"/api/v1/{operation}", body, headers, **more)


def accepted(reply):
    assert reply.status == 202, reply
    assert reply.json["status"] == "pending" and reply.json["message"]
    return reply.json["task_id"]


def task(server, ident, **more):
    reply = server.call("GET", f"/api/v1/tasks/{ident}", **more)
    assert reply.status == 200, reply
    return reply.json


def ended(server, ident):
    return wait_for(f"{ident} ends", lambda: (t := task(server, ident))["status"] in (
        "completed", "failed") and t)


def completed(server, reply):
    t = ended(server, accepted(reply))
    assert t["status"] == "completed", t
    assert t["error"] is None and t["progress"] == "Done", t
    return t


def failed(server, reply):
    t = ended(server, accepted(reply))
    assert t["status"] == "failed" and t["result"] is None, t
    return t


def build(server, code=HELLO, name="hello.py", **more):
    return post(server, "build", {"file": (name, code.encode()), **more})


def zipped(files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        for name, content in files.items():
            z.writestr(name, content)
    return out.getvalue()


def archive(server, files, **more):
    content = files if isinstance(files, bytes) else zipped(files)
    return post(server, "build", {"file": ("app.zip", content), **more})


def image_of(path):
    """An image layout in a tar: (manifest, configuration, files of its layer)."""
    with tarfile.open(path) as tar:
        blobs = {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}
    for name, content in blobs.items():
        if name.startswith("blobs/"):
            assert name == f"blobs/sha256/{hashlib.sha256(content).hexdigest()}"
    assert json.loads(blobs["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}

    def blob(descriptor):
        content = blobs["blobs/sha256/" + descriptor["digest"].removeprefix("sha256:")]
        assert len(content) == descriptor["size"]
        return content

    (top,) = json.loads(blobs["index.json"])["manifests"]
    manifest = json.loads(blob(top))
    config = json.loads(blob(manifest["config"]))
    (layer,) = manifest["layers"]
    tar = gzip.decompress(blob(layer))
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(tar).hexdigest()}"]
    with tarfile.open(fileobj=io.BytesIO(tar)) as t:
        files = {m.name: t.extractfile(m).read().decode() for m in t}
    return manifest, config, files


def artefact(server, t):
    return image_of(pathlib.Path(server.data) / t["result"]["wasm_path"])


# ---- builds -------------------------------------------------------------------------------------


def test_a_source_becomes_an_image(server):
    t = completed(server, build(server, app_name="Blog"))
    assert t["kind"] == "build"
    result = t["result"]
    assert result == {"wasm_path": f"artifacts/{t['task_id']}/image.tar", "image_url": None,
                      "image_uri": None, "file_path": f"artifacts/{t['task_id']}/source.py"}
    source = pathlib.Path(server.data) / result["file_path"]
    assert source.read_text() == HELLO
    if os.geteuid() == source.stat().st_uid:
        assert stat.S_IMODE(source.stat().st_mode) == 0o600
    manifest, config, files = artefact(server, t)
    assert files["app/app.py"] == HELLO
    assert 'name = "Blog"' in files["app/spin.toml"]
    assert config["config"]["Labels"]["io.kiln.handler"] == "app.IncomingHandler"
    assert config["config"]["Entrypoint"][0] == "spin"
    assert manifest["annotations"]["org.opencontainers.image.title"] == "Blog"
    for step in ("Reading the source", "Checking that the code loads", "Packing the artefact", "done"):
        assert step in t["log"], t["log"]
    again = completed(server, build(server, app_name="Blog"))
    assert artefact(server, again)[0] == manifest  # the same digests


def test_an_archive_with_its_manifest(server):
    t = completed(server, archive(server, {
        "spin.toml": SPIN_TOML, "main.py": "import helper\n" + HELLO, "helper.py": "x = 1\n",
        "data/Ä.txt": "text"}))
    _, config, files = artefact(server, t)
    assert set(files) == {"app/spin.toml", "app/main.py", "app/helper.py", "app/data/Ä.txt"}
    assert files["app/spin.toml"] == SPIN_TOML
    assert config["config"]["Labels"]["io.kiln.handler"] == "main.IncomingHandler"
    below = SPIN_TOML + 'workdir = "src"\n'
    t = completed(server, archive(server, {
        "spin.toml": below, "src/main.py": "import helper\n" + HELLO, "src/helper.py": ""}))
    assert "app/src/main.py" in artefact(server, t)[2]


def test_the_older_form_is_wrapped(server):
    t = completed(server, build(server, OLD_FORM))
    source = artefact(server, t)[2]["app/app.py"]
    assert source.startswith(OLD_FORM) and "class IncomingHandler" in source
    t = completed(server, build(server, HELLO + "\n# init_incoming_handler\n"))
    assert artefact(server, t)[2]["app/app.py"].count("class IncomingHandler") == 1


@pytest.mark.parametrize("code, words", [
    ("def broken(:\n", "SyntaxError"),
    ("import no_such_module\n", "no_such_module"),
    ("raise ValueError('at import')\n", "at import"),
    ("def handler(event):\n    return 1\n", "IncomingHandler"),
])
def test_code_that_does_not_load_is_a_failed_build(server, code, words):
    t = failed(server, build(server, code))
    assert words in t["error"] + t["log"], t
    assert t["progress"] == "Failed"
    refused(server.call("POST", "/api/v1/push", {
        "registry_url": "localhost:1/x", "workspace_id": "ws-default", "app_dir": t["task_id"]}),
        409, "CONFLICT")


def test_the_build_is_in_the_sandbox(server):
    """Code that is loaded sees neither the server's files nor its processes."""
    t = failed(server, build(server, f"""
import os
raise RuntimeError("%s %s" % (os.path.exists({str(server.data)!r}), len(os.listdir('/proc')) > 0 and os.getpid()))
"""))
    assert "False" in t["error"], t


def test_a_build_without_a_name_gets_one(server):
    ident = accepted(build(server, name="my app.py"))
    ended(server, ident)
    listed = server.call("GET", "/api/v1/workspaces/ws-default/tasks").json["tasks"]
    assert listed[0]["task_id"] == ident
    assert listed[0]["app_name"].startswith("my app-")


# ---- what is refused at once ----------------------------------------------------------------------


@pytest.mark.parametrize("files, status", [
    (b"no zip at all", 400),
    (b"PK\x03\x04" + b"\0" * 100, 400),
    ({"main.py": HELLO}, 400),                                         # no spin.toml
    ({"sub/spin.toml": SPIN_TOML, "sub/main.py": HELLO}, 400),         # not at its root
    ({"spin.toml": SPIN_TOML}, 400),                                   # no main.py
    ({"spin.toml": "nothing", "app.py": HELLO}, 400),
    ({"spin.toml": SPIN_TOML, "main.py": HELLO, "../out": "x"}, 400),
    ({"spin.toml": SPIN_TOML, "main.py": HELLO, "a/../../out": "x"}, 400),
    ({"spin.toml": SPIN_TOML, "main.py": HELLO, "/etc/out": "x"}, 400),
    ({"spin.toml": SPIN_TOML, "main.py": HELLO, "a" * 201: "x"}, 400),
    ({"spin.toml": SPIN_TOML, "main.py": HELLO, "d/" * 17 + "x": "x"}, 400),
    ({"spin.toml": SPIN_TOML, "main.py": HELLO, "bomb": b"\0" * (33 << 20)}, 413),
    ({"spin.toml": SPIN_TOML, "main.py": HELLO} | {f"f{i}": "" for i in range(2001)}, 413),
], ids=range(13))
def test_bad_archives(server, files, status):
    before = sorted(os.listdir(pathlib.Path(server.data) / "artifacts"))
    error = refused(archive(server, files), status,
                    "VALIDATION_ERROR" if status == 400 else "PAYLOAD_TOO_LARGE")
    assert error["details"]["field"] == "file"
    assert sorted(os.listdir(pathlib.Path(server.data) / "artifacts")) == before


def test_links_and_doubles_in_archives(server):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        z.writestr("spin.toml", SPIN_TOML)
        z.writestr("main.py", HELLO)
        link = zipfile.ZipInfo("secret")
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        z.writestr(link, "/etc/passwd")
    assert "link" in refused(archive(server, out.getvalue()), 400, "VALIDATION_ERROR")["message"]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z, pytest.warns(UserWarning):
        z.writestr("spin.toml", SPIN_TOML)
        z.writestr("main.py", HELLO)
        z.writestr("main.py", "x = 1\n")
    assert "twice" in refused(archive(server, out.getvalue()), 400, "VALIDATION_ERROR")["message"]
    whole = zipped({"spin.toml": SPIN_TOML, "main.py": HELLO * 50})
    refused(archive(server, whole[: len(whole) // 2]), 400, "VALIDATION_ERROR")


def test_bad_forms(server):
    assert wrong(post(server, "build", {})) == {("body", "file"): "missing"}
    assert wrong(post(server, "build", {"file": "text"})) == {("body", "file"): "value_error"}
    assert wrong(server.call("POST", "/api/v1/build", {"file": "x"})) == {
        ("body", "file"): "missing"}
    assert wrong(post(server, "build-and-push", {"app_name": "x"})) == {
        ("body", "file"): "missing", ("body", "registry_url"): "missing"}
    assert wrong(build(server, app_name="x" * 256)) == {("body", "app_name"): "string_too_long"}
    assert wrong(build(server, app_name="a\nb")) == {("body", "app_name"): "value_error"}
    assert wrong(build(server, app_name=("f", b"x"))) == {("body", "app_name"): "string_type"}
    refused(build(server, workspace_id="ws-none"), 404, "WORKSPACE_NOT_FOUND")
    for name in ("hello.txt", "hello", "py", "", ".py.exe"):
        refused(build(server, name=name), 400, "VALIDATION_ERROR")
    refused(build(server, ""), 400, "VALIDATION_ERROR")
    refused(post(server, "build", {"file": ("a.py", b"\xff\xfe")}), 400, "VALIDATION_ERROR")
    refused(post(server, "build", {"file": ("a.py", b"x = 1\0")}), 400, "VALIDATION_ERROR")
    refused(post(server, "build", {"file": ("a.py", b"#" * (10 << 20) + b"#")}), 413,
            "PAYLOAD_TOO_LARGE")
    body, headers = form(file=("a.py", b"x = 1"))
    for bad in (body[:-10], b"x" + body, body.replace(b"\r\n", b"\n"), b"", body.replace(b"form-data", b"x")):
        refused(server.request("POST", "/api/v1/build", bad, headers), 400, "VALIDATION_ERROR")
    refused(server.request("POST", "/api/v1/build", body, {"Content-Type": "multipart/form-data"}),
            400, "VALIDATION_ERROR")


PUSH = {"registry_url": "localhost:1/team/app", "workspace_id": "ws-default", "app_dir": "x"}


@pytest.mark.parametrize("change, loc", [
    ({"registry_url": None}, "registry_url"), ({"registry_url": 1}, "registry_url"),
    ({"registry_url": ""}, "registry_url"), ({"workspace_id": ["ws"]}, "workspace_id"),
    ({"username": None}, "username"), ({"password": 5}, "password"), ({"tag": {}}, "tag"),
    ({"tag": "x" * 129}, "tag"), ({"app_dir": 1}, "app_dir"), ({"s3_source_path": False}, "s3_source_path"),
])
def test_push_of_the_wrong_type(server, change, loc):
    assert ("body", loc) in wrong(server.call("POST", "/api/v1/push", {**PUSH, **change}))


def test_push_of_nothing(server):
    for missing in ("registry_url", "workspace_id"):
        body = {k: v for k, v in PUSH.items() if k != missing}
        assert wrong(server.call("POST", "/api/v1/push", body)) == {("body", missing): "missing"}
    refused(server.call("POST", "/api/v1/push", {**PUSH, "app_dir": None}), 400, "VALIDATION_ERROR")
    refused(server.call("POST", "/api/v1/push", {**PUSH, "workspace_id": "ws-none"}), 404,
            "WORKSPACE_NOT_FOUND")
    nobody = f"task-{uuid.uuid4()}"
    for path in ("x", "/etc/passwd", "../state.db", nobody, f"artifacts/{nobody}/image.tar",
                 f"artifacts/../artifacts/{nobody}", f"s3://b/{nobody}/../x", "artifacts", "."):
        error = refused(server.call("POST", "/api/v1/push", {**PUSH, "app_dir": path}), 404, "NOT_FOUND")
        assert "artefact" in error["message"]


def test_push_to_nowhere(server):
    t = completed(server, build(server))
    for url in ("team/app", "http://", "user@host.example/x", "h.example/UPPER", "h.example/a:tag",
                "h.example/a@sha256:" + "0" * 64, "h.example/a b", "h.example/../x", "-h.example/x"):
        refused(server.call("POST", "/api/v1/push", {**PUSH, "registry_url": url, "app_dir": t["task_id"]}),
                400, "VALIDATION_ERROR")
    for tag in ("a b", "-x", ".x", "a/b", "a:b", "ä"):
        error = refused(server.call("POST", "/api/v1/push", {**PUSH, "tag": tag, "app_dir": t["task_id"]}),
                        400, "VALIDATION_ERROR")
        assert error["details"]["field"] == "tag", tag
    refused(server.call("POST", "/api/v1/push", {
        **PUSH, "username": "a:b", "password": "x", "app_dir": t["task_id"]}), 400, "VALIDATION_ERROR")


def test_push_to_a_registry_that_is_not_used(start):
    server = start("--registries", "registry.example.com")
    t = completed(server, build(server))
    task = server.call("POST", "/api/v1/push", {
        **PUSH, "registry_url": "127.0.0.1:1/team/app", "app_dir": t["task_id"]}).json["task_id"]
    end = ended(server, task)
    assert end["status"] == "failed" and "are not used here" in end["error"], end


# ---- tasks ----------------------------------------------------------------------------------------


def test_tasks_are_of_their_workspace(server):
    ws = server.call("POST", "/api/workspaces", {"name": "builders"}).json["id"]
    idents = [accepted(build(server, app_name=f"a{i}", workspace_id=ws)) for i in range(5)]
    for ident in idents:
        ended(server, ident)
    reply = server.call("GET", f"/api/v1/workspaces/{ws}/tasks").json
    assert reply["workspace_id"] == ws and reply["count"] == 5
    assert [t["task_id"] for t in reply["tasks"]] == idents[::-1]
    assert [t["app_name"] for t in reply["tasks"]] == [f"a{i}" for i in (4, 3, 2, 1, 0)]
    assert all(t["result"]["wasm_path"] for t in reply["tasks"])
    error = refused(server.call("POST", "/api/v1/push", {**PUSH, "app_dir": idents[0]}), 404, "NOT_FOUND")
    assert "workspace" in error["message"]  # another workspace's
    assert server.call("DELETE", f"/api/workspaces/{ws}").status == 204
    refused(server.call("GET", f"/api/v1/tasks/{idents[0]}"), 404, "TASK_NOT_FOUND")
    refused(server.call("GET", f"/api/v1/workspaces/{ws}/tasks"), 404, "WORKSPACE_NOT_FOUND")


def test_tasks_page_while_others_come(server):
    idents = [accepted(build(server)) for _ in range(6)]
    path, seen = "/api/v1/workspaces/ws-default/tasks?limit=2", []
    for _ in range(3):
        reply = server.call("GET", path)
        assert reply.json["count"] == 2
        seen += [t["task_id"] for t in reply.json["tasks"]]
        idents.append(accepted(build(server)))
        if len(seen) < 6:
            path = urllib.parse.urljoin(path, reply.headers["Link"].partition(">")[0].lstrip("<"))
    assert seen == idents[5::-1]
    for ident in idents:
        ended(server, ident)
    for bad in ("limit=0", "limit=1001", "limit=x"):
        assert ("query", "limit") in wrong(
            server.call("GET", f"/api/v1/workspaces/ws-default/tasks?{bad}"))
    refused(server.call("GET", "/api/v1/workspaces/ws-default/tasks?after=x"), 400, "VALIDATION_ERROR")


def test_tasks_that_are_not_there(server):
    for ident in ("x", "task-", f"task-{uuid.uuid4()}", f"task-{uuid.uuid4()}".upper(), "%00", "1"):
        reply = server.call("GET", f"/api/v1/tasks/{ident}")
        assert reply.status in (404, 400), reply
    refused(server.call("GET", "/api/v1/workspaces/ws-none/tasks"), 404, "WORKSPACE_NOT_FOUND")
    assert server.call("GET", f"/api/v1/tasks/task-{uuid.uuid4()}", token=None).status == 401


# ---- pushes ---------------------------------------------------------------------------------------


def pulled(folder, ref, *flags):
    """What a client gets of the registry, as an oci-archive."""
    path = folder / f"{uuid.uuid4().hex}.tar"
    registries.run("skopeo", "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false",
                   *flags, f"docker://{ref}", f"oci-archive:{path}")
    return image_of(path)


@needs_registry
def test_what_is_pushed_is_what_was_built(server, folder):
    with registries.Registry() as registry:
        built = completed(server, build(server, app_name="Blog API"))
        reply = server.call("POST", "/api/v1/push", {
            "registry_url": registry.host + "/team/blog", "workspace_id": "ws-default", "tag": "v1",
            "app_dir": built["result"]["wasm_path"]})
        t = completed(server, reply)
        assert t["result"]["image_url"] == t["result"]["image_uri"] == f"{registry.host}/team/blog:v1"
        assert t["result"]["wasm_path"] == built["result"]["wasm_path"]
        assert pulled(folder, t["result"]["image_uri"]) == artefact(server, built)
        # every way to name it; a registry alone takes the application's name; the default tag
        for name in ({"app_dir": built["task_id"]}, {"app_dir": "/artifacts/" + built["task_id"]},
                     {"s3_source_path": built["result"]["file_path"]}):
            t = completed(server, server.call("POST", "/api/v1/push", {
                "registry_url": f"http://{registry.host}/", "workspace_id": "ws-default", **name}))
            assert t["result"]["image_uri"] == f"{registry.host}/blog-api:task-{t['task_id']}"
            assert f"task-{t['task_id']}" in registry.tags("blog-api")


@needs_registry
def test_build_and_push(server, folder):
    with registries.Registry() as registry:
        t = completed(server, post(server, "build-and-push", {
            "file": ("hello.py", HELLO.encode()), "registry_url": registry.host + "/x/y", "app_name": "z",
            "username": "AWS", "password": "dummy-password"}))
        assert t["kind"] == "build-and-push"
        assert t["result"]["image_uri"] == f"{registry.host}/x/y:task-{t['task_id']}"
        assert pulled(folder, t["result"]["image_uri"]) == artefact(server, t)
        registry.stop()
        t = failed(server, post(server, "build-and-push", {
            "file": ("hello.py", HELLO.encode()), "registry_url": registry.host + "/x/y"}))
        assert registry.host in t["error"] and "\\" not in t["error"], t
        registry.start()


@needs_registry
def test_a_registry_that_wants_credentials(server, folder):
    with registries.Registry("builder", "a secret word") as registry:
        built = completed(server, build(server))
        push = {"registry_url": registry.host + "/private", "workspace_id": "ws-default", "tag": "t",
                "app_dir": built["task_id"]}
        t = failed(server, server.call("POST", "/api/v1/push", push))
        assert "authentication" in t["error"] or "unauthorized" in t["error"], t
        t = failed(server, server.call("POST", "/api/v1/push", {
            **push, "username": "builder", "password": "a wrong word"}))
        assert "wrong word" not in json.dumps(t)
        t = completed(server, server.call("POST", "/api/v1/push", {
            **push, "username": "builder", "password": "a secret word"}))
        auth = registry.auth_file(folder / "auth.json")
        assert pulled(folder, t["result"]["image_uri"], "--authfile", auth) == artefact(server, built)
        assert "secret" not in json.dumps(t)
    secrets = [b"a secret word", base64.b64encode(b"builder:a secret word")]
    for path in pathlib.Path(server.data).rglob("*"):
        assert not path.is_file() or not any(s in path.read_bytes() for s in secrets), path


class Hanging:
    """A registry that takes connections and says nothing."""

    def __enter__(self):
        import socket
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.host = "127.0.0.1:%d" % self.socket.getsockname()[1]
        return self

    def __exit__(self, *_):
        self.socket.close()


@needs_registry
def test_a_password_is_on_no_command_line(start):
    server = start()
    with Hanging() as registry:
        ident = accepted(post(server, "build-and-push", {
            "file": ("a.py", HELLO.encode()), "registry_url": registry.host + "/x", "username": "u",
            "password": "not-for-ps"}))

        def skopeo():
            for pid in filter(str.isdigit, os.listdir("/proc")):
                try:
                    line = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
                    environment = b"" if b"skopeo" not in line else pathlib.Path(f"/proc/{pid}/environ").read_bytes()
                except OSError:
                    continue
                if line.startswith(b"skopeo") and registry.host.encode() in line:
                    return line + environment
            return None

        line = wait_for("skopeo runs", skopeo)
        assert b"not-for-ps" not in line
        assert task(server, ident)["status"] == "running"
        # The end of the server ends it; it cannot be taken up, as the password is nowhere.
        server.terminate()
        assert not skopeo()
    server.start()
    t = ended(server, ident)
    assert t["status"] == "failed" and "password" in t["error"], t


# ---- S3 -------------------------------------------------------------------------------------------


def test_what_is_built_is_in_s3(start, folder):
    s3 = backends.S3()
    try:
        (folder / "keys").write_text(f"{s3.access}:{s3.secret}\n")
        harness.own(folder / "keys")
        server = start("--s3-url", s3.url, "--s3-bucket", s3.bucket, "--s3-region", s3.region, "--s3-keys-file",
                       str(folder / "keys"), "--task-keep=1")
        reply = build(server)
        t = completed(server, reply)
        at = f"s3://{s3.bucket}/tasks/ws-default/{t['task_id']}"
        assert reply.json["source_s3_path"] == t["result"]["file_path"] == f"{at}/source.py"
        assert t["result"]["wasm_path"] == f"{at}/image.tar"
        stored = {key.rpartition("/")[2]: content for key, content in s3.objects.items()}
        assert stored["source.py"] == HELLO.encode()
        image = folder / "image.tar"
        image.write_bytes(stored["image.tar"])
        assert image_of(image)[2]["app/app.py"] == HELLO
        if not registries.MISSING:
            shutil.rmtree(pathlib.Path(server.data) / "artifacts" / t["task_id"])
            with registries.Registry() as registry:
                pushed = completed(server, server.call("POST", "/api/v1/push", {
                    "registry_url": registry.host + "/from/s3", "workspace_id": "ws-default",
                    "s3_source_path": f"{at}/source.py"}))
                assert pulled(folder, pushed["result"]["image_uri"]) == image_of(image)
        s3.stop()
        assert build(server).status == 503
        s3.start()
        completed(server, build(server))
        server.terminate()
        server.start()
        wait_for("the older objects go", lambda: not any(t["task_id"] in key for key in s3.objects))
    finally:
        s3.close()


# ---- the end of the server --------------------------------------------------------------------------

SLOW = "import time\ntime.sleep(3)\n" + HELLO
# Builds for as long as the test needs to end the server, however slow the machine is.
UNTIL = "import time\nwhile time.time() < %f:\n    time.sleep(0.05)\n" + HELLO


def test_a_build_survives_kill_9(start):
    server = start()
    code = UNTIL % (time.time() + 10)
    idents = [accepted(build(server, code)) for _ in range(3)]
    wait_for("one runs", lambda: task(server, idents[0])["status"] == "running")
    server.kill()
    server.start()
    for ident in idents:
        t = ended(server, ident)
        assert t["status"] == "completed", t
        assert "taken up again" in t["log"]
        artefact(server, t)


def test_a_build_survives_an_orderly_end(start):
    server = start("--drain-timeout=100ms")
    idents = [accepted(build(server, SLOW)) for _ in range(3)]
    wait_for("one runs", lambda: task(server, idents[0])["status"] == "running")
    server.terminate()
    server.start()
    for ident in idents:
        assert ended(server, ident)["status"] == "completed"


def test_a_build_that_ends_the_server_is_not_tried_for_ever(start):
    server = start()
    ident = accepted(build(server, "import time\ntime.sleep(15)\n" + HELLO))
    for times in range(1, 4):  # the log keeps what earlier attempts wrote
        wait_for("it is at it", lambda n=times: task(server, ident)["log"].count("Checking") == n)
        server.kill()
        server.start()
    t = ended(server, ident)
    assert t["status"] == "failed" and "3 times" in t["error"], t


def test_old_tasks_go_with_what_they_made(start):
    server = start("--task-keep=2", "--task-age=30d")
    idents = [accepted(build(server)) for _ in range(4)]
    for ident in idents:
        ended(server, ident)
    server.terminate()
    server.start()
    wait_for("the older ones are gone", lambda: server.call(
        "GET", "/api/v1/workspaces/ws-default/tasks").json["count"] == 2)
    assert [t["task_id"] for t in server.call("GET", "/api/v1/workspaces/ws-default/tasks").json["tasks"]
            ] == idents[:1:-1]
    wait_for("their folders too", lambda: sorted(os.listdir(
        pathlib.Path(server.data) / "artifacts")) == sorted(idents[2:]))


def test_tasks_of_others(start):
    """A token of one workspace sees nothing of another."""
    server = start()
    ident = accepted(build(server))
    ended(server, ident)
    reply = server.call("GET", f"/api/v1/tasks/{ident}", token="not-a-token")
    assert reply.status == 401, reply
