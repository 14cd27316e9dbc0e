# SPDX-License-Identifier: Apache-2.0
"""fnservice and its neighbours: what does not fit one of the other files."""

import socket

from harness import PATIENCE_S, b64

HELLO = "def handler(event):\n    print('said')\n    return 'hello'\n"
FN = "/api/v1/workspaces/ws-default/functions"


def test_deploy_answers_building(server):
    ident = server.create(HELLO)
    v = server.fn("POST", f"/{ident}/versions", {"source_code": b64(HELLO)}).json
    assert (v["version"], v["build_status"], v["is_active"]) == (2, "building", False)


def test_a_version_by_any_of_its_names(server):
    ident = server.create(HELLO)
    other = server.create(HELLO, name="other")
    row = server.fn("GET", f"/{ident}/versions").json["versions"][0]["id"]
    foreign = server.fn("GET", f"/{other}/versions").json["versions"][0]["id"]
    for name in (row, "v1", "1"):
        v = server.fn("GET", f"/{ident}/versions/{name}").json
        assert v["id"] == row and v["build_log"]
        assert server.fn("PUT", f"/{ident}/versions/{name}/active").status == 200
    for name in (foreign, "v2", "2", "ver-999", "v0", "x"):
        for method, path in (("GET", name), ("PUT", f"{name}/active")):
            reply = server.fn(method, f"/{ident}/versions/{path}")
            assert (reply.status, reply.json["code"]) == (404, "VERSION_NOT_FOUND"), name


def test_typical_cold_start_is_measured(start):
    server = start()
    ident = server.create(HELLO)
    assert server.fn("GET", "/provider/capabilities").json["typical_cold_start_ms"] == 0
    assert server.invoke(ident).json["cold_start"] is True
    assert server.fn("GET", "/provider/capabilities").json["typical_cold_start_ms"] > 0


def test_cors_at_the_root(server):
    for path in ("/health", "/ready"):
        assert server.request("OPTIONS", path, token=None, check=False).status == 200
        reply = server.request("GET", path, token=None)
        assert reply.headers["Access-Control-Allow-Origin"] == "*"


class Following:
    """A stream of log lines that has begun."""

    def __init__(self, server, ident, query=""):
        self.socket = socket.create_connection((server.host, server.port), timeout=PATIENCE_S)
        self.socket.sendall(f"GET {FN}/{ident}/logs?follow=true{query} HTTP/1.1\r\nHost: k\r\n"
                            f"Authorization: Bearer {server.token}\r\n\r\n".encode())
        self.got = self.socket.recv(1)

    def until_the_end(self):
        while not self.got.endswith(b"\r\n0\r\n\r\n"):
            part = self.socket.recv(65536)
            assert part, self.got
            self.got += part
        self.socket.close()
        return self.got


def test_follow_ends_with_its_function(server):
    ident = server.create(HELLO)
    assert server.result(ident) == b"hello"
    past = Following(server, ident)
    assert server.result(ident) == b"hello"
    assert server.fn("DELETE", f"/{ident}").status == 204
    assert b"said" in past.until_the_end()
