# SPDX-License-Identifier: Apache-2.0
"""A registry that takes questions and never answers: whoever needs none is not held up. One that
says little and sends much: the disk is not filled."""

import hashlib
import http.server
import json
import os
import shutil
import socket
import threading

import pytest
import registry as reg
from harness import PATIENCE_S, own, wait_for
from test_blue_tasks import accepted, build
from test_images import deploy, function

NEEDED = [t for t in ("crun", "skopeo", "umoci", "docker-registry", "gcc") if not shutil.which(t)]
pytestmark = pytest.mark.skipif(bool(NEEDED), reason=f"not installed: {' '.join(NEEDED)}")
CODE = "def handler(event):\n    return 'code'\n"


@pytest.fixture
def silent():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen(100)
        yield f"127.0.0.1:{s.getsockname()[1]}"


def test_code_is_built_while_images_wait(start, silent):
    server = start()
    waiting = []
    for i in range(5):  # more than are fetched at once
        ident = server.create(CODE, name=f"f{i}")
        reply = server.fn("POST", f"/{ident}/versions", {"image": f"{silent}/a/b:{i}"})
        assert reply.status == 201, reply
        waiting.append((ident, reply.json["id"]))
    ident = server.create(CODE, name="other")
    assert server.result(ident) == b"code"
    for ident, version in waiting:
        assert server.fn("GET", f"/{ident}/versions/{version}").json["build_status"] == "building"
    for ident, _ in waiting[:3]:  # under way, or not begun
        assert server.fn("DELETE", f"/{ident}").status == 204


def test_uploads_are_taken_while_images_are_fetched_again(start, folder):
    """Calls whose images the cache has lost."""
    server = start()
    with reg.Registry() as registry:
        idents = []
        for i in range(5):  # more than there are threads
            layout = reg.image(folder, f"i{i}", {"/program": reg.compiled(reg.PROGRAM), "/i": b"%d" % i},
                               entrypoint=["/program"], cmd=["echo"])
            idents.append(function(server, registry.push(layout, f"test/i{i}:1"), name=f"f{i}"))
        server.terminate()
        shutil.rmtree(server.data / "images")
        registry.stop()
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind(("127.0.0.1", registry.port))
            s.listen(100)
            s.settimeout(PATIENCE_S)
            server.start()
            calls = [threading.Thread(target=server.invoke, args=(i, "x")) for i in idents]
            for call in calls:
                call.start()
            asked = [s.accept()[0] for _ in range(4)]
            accepted(build(server))
            for connection in asked:
                connection.close()
        for call in calls:
            call.join()
    for ident in idents:
        server.fn("DELETE", f"/{ident}")


FLOOD = 512 << 20
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, "riscv64")
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"


class Flood(http.server.BaseHTTPRequestHandler):
    """An image with one layer of 100 bytes, it says."""
    protocol_version = "HTTP/1.1"
    config = json.dumps({"architecture": ARCHITECTURE, "os": "linux", "config": {"Entrypoint": ["/x"]},
                         "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "1" * 64]}}).encode()
    named = "sha256:" + hashlib.sha256(config).hexdigest()
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": MANIFEST_TYPE,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": named,
                   "size": len(config)},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                    "digest": "sha256:" + "2" * 64, "size": 100}]}).encode()

    def log_message(self, *_):
        pass

    def do_GET(self):
        if self.path == "/v2/":
            self.reply(b"{}", "application/json")
        elif "/manifests/" in self.path:
            self.reply(self.manifest, MANIFEST_TYPE)
        elif self.named in self.path:
            self.reply(self.config, "application/octet-stream")
        else:
            self.flood()

    def reply(self, body, kind):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def flood(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        piece = b"100000\r\n" + os.urandom(1 << 20) + b"\r\n"
        try:
            for _ in range(FLOOD >> 20):
                self.wfile.write(piece)
        except OSError:
            self.close_connection = True


def test_more_than_a_layer_was_said_to_have(start):
    server = start("--image-max", "16Mi")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Flood) as registry:
        thread = threading.Thread(target=registry.serve_forever)
        thread.start()
        ident = server.create(CODE)
        version = server.fn("POST", f"/{ident}/versions", {
            "image": f"127.0.0.1:{registry.server_port}/a/b:1"}).json["id"]
        done = wait_for("it is refused", lambda: (
            lambda v: v if v["build_status"] == "failed" else None)(
                server.fn("GET", f"/{ident}/versions/{version}").json))
        registry.shutdown()
        thread.join()
    assert "more than 16 MiB" in done["build_log"] and "image-max" in done["build_log"], done
    assert not [f for f in os.listdir(server.data / "images") if f.startswith(".tmp")]


def test_credentials_of_whoever_started_the_server_are_not_used(start, folder):
    layout = reg.image(folder, "i", {"/program": reg.compiled(reg.PROGRAM)}, entrypoint=["/program"])
    with reg.Registry("someone", "else") as registry:
        image = registry.push(layout, "test/i:1")
        (folder / ".docker").mkdir()
        registry.auth_file(folder / ".docker" / "config.json")
        own(folder)
        server = start(env={"HOME": str(folder)})
        done = deploy(server, server.create(CODE), image, expect="failed")
        assert "does not let kiln read" in done["build_log"], done
