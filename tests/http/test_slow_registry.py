# SPDX-License-Identifier: Apache-2.0
"""A registry that takes questions and never answers: whoever needs none is not held up."""

import shutil
import socket
import threading

import pytest
import registry as reg
from harness import wait_for
from test_blue_tasks import accepted, build
from test_images import function

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
