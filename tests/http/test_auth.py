# SPDX-License-Identifier: Apache-2.0
"""Tokens: made on the first start, hashed at rest, asked for everywhere."""

import os
import pathlib
import stat
import subprocess

import pytest
from harness import KILN, Server

PY = "def handler(e):\n    return 'ok'\n"


def ask(server, header=None, path="/api/v1/functions", **more):
    headers = {"Authorization": header} if header is not None else {}
    return server.call("GET", path, token=None, headers=headers, **more)


def test_the_token_is_made_with_care(server):
    path = server.data / "admin.token"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    token = path.read_text().strip()
    assert token.startswith("kiln_") and len(token) >= 40
    assert stat.S_IMODE(server.data.stat().st_mode) & 0o077 == 0 or os.environ.get("KILN_AS_USER")
    assert ask(server, f"Bearer {token}").status == 200


def test_tokens_of_two_servers_differ(start):
    assert start().token != start().token


@pytest.mark.parametrize("header", [
    None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic {token}", "Token {token}", "{token}",
    "Bearer {token}x", "Bearer x{token}", "Bearer {short}", "Bearer {token} {token}",
    "Bearer {token},", "Digest username=\"x\"", "Bearer " + "x" * 600, "bearer:{token}",
    "Bearer {upper}", "Bearer \"{token}\""])
def test_what_is_refused(server, header):
    text = header and header.format(token=server.token, short=server.token[:-1],
                                    upper=server.token.upper())
    for path in ("/api/v1/functions", "/api/v1/workspaces/ws-default/functions?project_id=x"):
        reply = ask(server, text, path)
        assert reply.status == 401, reply
        assert reply.headers["WWW-Authenticate"].startswith("Bearer")
        assert reply.json["error"]
        assert server.token.encode() not in reply.body


@pytest.mark.parametrize("header", ["Bearer {token}", "bearer {token}", "BEARER {token}",
                                    "Bearer   {token}", "Bearer {token}  "])
def test_what_is_taken(server, header):
    assert ask(server, header.format(token=server.token)).status == 200


def test_two_headers_do_not_help(server):
    raw = server.raw(b"GET /api/v1/functions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                     b"Authorization: Bearer wrong\r\nAuthorization: Bearer "
                     + server.token.encode() + b"\r\n\r\n")
    assert raw.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 401 ")), raw


def test_the_token_is_not_taken_from_elsewhere(server):
    token = server.token
    for path in (f"/api/v1/functions?token={token}", f"/api/v1/functions?access_token={token}"):
        assert ask(server, None, path).status == 401
    reply = server.call("GET", "/api/v1/functions", token=None, headers={
        "Cookie": f"token={token}", "X-Api-Key": token})
    assert reply.status == 401


def test_refusal_comes_before_everything_else(server):
    """Who has no token learns nothing: not what exists, nor whether a body is right."""
    ident = server.create(PY, name="secret-name")
    for method, path, body in [
            ("GET", "/api/v1/functions/secret-name", None), ("GET", "/api/v1/functions/none", None),
            ("POST", "/api/v1/functions", b"{"),
            ("GET", f"/api/v1/workspaces/ws-default/functions/{ident}", None),
            ("GET", "/api/v1/workspaces/ws-default/functions/func-9999", None),
            ("POST", f"/api/v1/workspaces/ws-default/functions/{ident}/invoke", b"\xff")]:
        reply = server.request(method, path, body, token=None)
        assert reply.status == 401, (method, path, reply)
    assert server.fn("GET", f"/{ident}/invocations").json["invocations"] == []


def test_a_large_body_without_a_token_is_not_read(server):
    raw = server.raw(b"POST /api/v1/functions HTTP/1.1\r\nHost: x\r\nContent-Length: 16000000\r\n"
                     b"Connection: close\r\n\r\n", timeout=60)
    assert raw.startswith(b"HTTP/1.1 401 "), raw[:200]


def test_health_needs_none(server):
    for path in ("/health", "/ready", "/api/v1/health", "/api/v1/ready"):
        assert ask(server, None, path).status == 200
        assert ask(server, "Bearer wrong", path).status == 200


def test_the_token_is_nowhere_at_rest(start, folder):
    data = folder / "data"
    own = start("--log-level", "debug", data=str(data))
    ident = own.create(PY)
    own.result(ident)
    own.kube("GET", "/f")
    ask(own, "Bearer wrong-one-of-somebody")
    token = own.token.encode()
    assert own.terminate() == 0
    files = [p for p in data.rglob("*") if p.is_file()]
    assert any(p.name == "state.db" for p in files)
    for path in files:
        held = path.read_bytes()
        if path.name != "admin.token":
            assert token not in held, path
        assert b"wrong-one-of-somebody" not in held, path
    log = own.log().encode()
    assert token not in log and b"wrong-one-of-somebody" not in log


def test_database_files_are_the_owners(server):
    server.create(PY)
    for path in server.data.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 or \
            stat.S_IMODE(server.data.stat().st_mode) & 0o077 == 0, path


def test_a_restart_keeps_the_token(start, folder):
    data = str(folder / "data")
    first = start(data=data)
    token = first.token
    assert first.terminate() == 0
    second = start(data=data)
    assert second.token == token
    assert ask(second, f"Bearer {token}").status == 200


def test_a_lost_file_does_not_open_the_door(start, folder):
    """The hash stays: the server starts, the old token is good, and none is made in silence."""
    data = folder / "data"
    first = start(data=str(data))
    token = first.token
    assert first.terminate() == 0
    (data / "admin.token").unlink()
    second = Server(data=str(data), expect_start=False)
    second.auth = False  # reads no token file
    second.command = lambda: [c for c in Server.command(second) if c != "--no-auth"]
    second.start()
    try:
        assert ask(second).status == 401
        assert ask(second, f"Bearer {token}").status == 200
    finally:
        second.stop()


def test_a_token_from_the_environment(start):
    given = "an-administrators-token-of-my-own"
    own = start(env={"KILN_ADMIN_TOKEN": given})
    assert ask(own, f"Bearer {given}").status == 200
    assert stat.S_IMODE((own.data / "admin.token").stat().st_mode) == 0o600
    ident = own.create("import os\ndef handler(e):\n    return dict(os.environ)\n")
    assert given not in str(own.result(ident)), "it does not reach functions"


def test_another_token_from_the_environment_replaces_the_old(start, folder):
    data = str(folder / "data")
    first = start(data=data)
    old = first.token
    assert first.terminate() == 0
    new = "another-token-from-the-environment"
    second = start(data=data, env={"KILN_ADMIN_TOKEN": new})
    assert ask(second, f"Bearer {new}").status == 200
    assert ask(second, f"Bearer {old}").status == 401


@pytest.mark.parametrize("token", ["short", "has blanks in it, which no header has", "x" * 600,
                                   "ümläute-are-not-for-headers"])
def test_bad_tokens_from_the_environment_end_the_start(tmp_path, token):
    done = serve("--data", str(tmp_path / "d"), "--listen", "127.0.0.1:0", "--gateway",
                 "127.0.0.1:0", env={"KILN_ADMIN_TOKEN": token})
    assert done.returncode not in (0, None)
    assert "KILN_ADMIN_TOKEN" in done.stderr
    assert token not in done.stderr


def serve(*flags, env=None):
    """A start that must fail."""
    return subprocess.run([str(KILN), "serve", *flags], env={**os.environ, **(env or {})},
                          capture_output=True, text=True, timeout=60, check=False)


# ---- without tokens ----


def test_no_auth(start):
    own = start(auth=False)
    assert ask(own).status == 200
    assert ask(own, "Bearer whatever").status == 200
    assert own.kube("POST", "", {"name": "f", "runtime": "python39", "code": PY}).status == 201
    assert own.kube("POST", "/f/invoke", {}).json["body"] == "ok"


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"])
def test_no_auth_is_refused_on_a_public_address(tmp_path, address):
    done = serve("--data", str(tmp_path / "d"), "--no-auth", "--listen", address, "--gateway",
                 "127.0.0.1:0")
    assert done.returncode not in (0, None)
    assert "--insecure" in done.stderr and "--no-auth" in done.stderr
    assert not (tmp_path / "d" / "state.db").exists(), "nothing was made"


def test_insecure_allows_it(tmp_path):
    own = Server("--insecure", auth=False, expect_start=False)
    command = own.command()
    command[command.index("127.0.0.1:0")] = "0.0.0.0:0"
    own.command = lambda: command
    own.start()
    try:
        own.host = "127.0.0.1"
        assert ask(own).status == 200
    finally:
        own.stop()


def test_no_auth_in_a_file_is_refused_too(tmp_path):
    config = tmp_path / "kiln.conf"
    config.write_text("no-auth = true\nlisten = 0.0.0.0:0\ngateway = 127.0.0.1:0\n")
    done = serve("--data", str(tmp_path / "d"), "--config", str(config))
    assert done.returncode not in (0, None)
    assert "--insecure" in done.stderr


def test_one_data_folder_one_server(server):
    done = serve("--data", str(server.data), "--listen", "127.0.0.1:0", "--gateway", "127.0.0.1:0")
    assert done.returncode not in (0, None)
    assert str(server.data) in done.stderr or "another" in done.stderr
    assert pathlib.Path(server.data / "server.url").read_text().strip() == server.url
    assert ask(server, f"Bearer {server.token}").status == 200
