#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""serve.py PROGRAM: an OCI image of one static program, at a registry of its own on a free loopback
port. Prints the image's reference and serves it until it is ended. No more than an example needs:
with docker it would be `FROM scratch`, `COPY`, `ENTRYPOINT` and a push."""

import hashlib
import http.server
import io
import json
import platform
import sys
import tarfile

CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}

blobs = {}  # digest -> (type, bytes)


def add(kind, data):
    if not isinstance(data, bytes):
        data = json.dumps(data).encode()
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    blobs[digest] = (kind, data)
    return {"mediaType": kind, "digest": digest, "size": len(data)}


def make_image(program):
    layer = io.BytesIO()
    with open(program, "rb") as f:
        text = f.read()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        info = tarfile.TarInfo("program")
        info.mode, info.size = 0o755, len(text)
        tar.addfile(info, io.BytesIO(text))
    files = add(LAYER, layer.getvalue())
    config = add(CONFIG, {
        "os": "linux", "architecture": MACHINES.get(platform.machine(), platform.machine()),
        "config": {"Entrypoint": ["/program"]},
        "rootfs": {"type": "layers", "diff_ids": [files["digest"]]}})
    return add(MANIFEST, {"schemaVersion": 2, "mediaType": MANIFEST, "config": config,
                          "layers": [files]})["digest"]


class Registry(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    newest = None

    def do_GET(self):
        what = self.path.rsplit("/", 1)[-1]
        digest = what if what.startswith("sha256:") else self.newest
        kind, data = ("application/json", b"{}") if self.path == "/v2/" else blobs.get(
            digest, (None, b""))
        self.send_response(200 if kind else 404)
        if kind and self.path != "/v2/":
            self.send_header("Docker-Content-Digest", digest)
        self.send_header("Content-Type", kind or "text/plain")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    do_HEAD = do_GET

    def log_message(self, format, *args):  # pylint: disable=redefined-builtin
        pass


Registry.newest = make_image(sys.argv[1])
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry)
print(f"127.0.0.1:{server.server_port}/examples/shout:1", flush=True)
server.serve_forever()
