# SPDX-License-Identifier: Apache-2.0
"""A registry that takes questions and never answers: whoever needs none is not held up."""

import shutil
import socket

import pytest

NEEDED = [t for t in ("crun", "skopeo", "umoci") if not shutil.which(t)]
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
