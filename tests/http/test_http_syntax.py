# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 as RFC 9112 and RFC 9110 write it, byte by byte, against both listeners."""

import json
import socket
import threading

import harness
import machine
import pytest
from harness import wait_for
from wire import Wire, is_error, one

ECHO = """
def handler(event):
    return event["body"]
"""
SLOW = """
import time
def handler(event):
    if isinstance(event.get("body"), dict):
        time.sleep(event["body"].get("sleep", 0))
    return event["body"]
"""
HEALTH = "GET /health HTTP/1.1\r\nHost: k\r\n\r\n"


def create(server, code=ECHO, name="f", **more):
    return server.create(code, name=name, **more)


# ---- what is refused, and how ----

BAD_HEADS = {
    "nothing but a word": (b"GARBAGE\r\n\r\n", 400),
    "binary": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", 400),
    "no version": (b"GET /health\r\nHost: k\r\n\r\n", 400),
    "two blanks": (b"GET  /health HTTP/1.1\r\nHost: k\r\n\r\n", 400),
    "blank at the end": (b"GET /health HTTP/1.1 \r\nHost: k\r\n\r\n", 400),
    "bare LF": (b"GET /health HTTP/1.1\nHost: k\n\n", 400),
    "LF in a header": (b"GET /health HTTP/1.1\r\nHost: k\nX: y\r\n\r\n", 400),
    "version 2": (b"GET /health HTTP/2.0\r\nHost: k\r\n\r\n", 505),
    "version 1.2": (b"GET /health HTTP/1.2\r\nHost: k\r\n\r\n", 505),
    "version in words": (b"GET /health HTTP/x.y\r\nHost: k\r\n\r\n", 400),
    "not HTTP": (b"GET /health SPDY/3\r\nHost: k\r\n\r\n", 400),
    "method with a slash": (b"G/T /health HTTP/1.1\r\nHost: k\r\n\r\n", 400),
    "long method": (b"M" * 30 + b" / HTTP/1.1\r\nHost: k\r\n\r\n", 501),
    "CONNECT": (b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 501),
    "star without OPTIONS": (b"GET * HTTP/1.1\r\nHost: k\r\n\r\n", 400),
    "relative target": (b"GET health HTTP/1.1\r\nHost: k\r\n\r\n", 400),
    "target with a control byte": (b"GET /a\x01b HTTP/1.1\r\nHost: k\r\n\r\n", 400),
    "target with a high byte": (b"GET /a\xc3\xa4 HTTP/1.1\r\nHost: k\r\n\r\n", 400),
    "other scheme": (b"GET ftp://k/ HTTP/1.1\r\nHost: k\r\n\r\n", 400),
    "target with a user": (b"GET http://u@k/ HTTP/1.1\r\nHost: k\r\n\r\n", 400),
    "no Host": (b"GET /health HTTP/1.1\r\n\r\n", 400),
    "two Hosts": (b"GET /health HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
    "Host with a blank": (b"GET /health HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    "Host with a path": (b"GET /health HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    "folded header": (b"GET /health HTTP/1.1\r\nHost: k\r\nX: a\r\n b\r\n\r\n", 400),
    "blank before the colon": (b"GET /health HTTP/1.1\r\nHost : k\r\n\r\n", 400),
    "header without a colon": (b"GET /health HTTP/1.1\r\nHost: k\r\nX\r\n\r\n", 400),
    "header without a name": (b"GET /health HTTP/1.1\r\nHost: k\r\n: x\r\n\r\n", 400),
    "NUL in a value": (b"GET /health HTTP/1.1\r\nHost: k\r\nX: a\0b\r\n\r\n", 400),
    "CR in a value": (b"GET /health HTTP/1.1\r\nHost: k\r\nX: a\rb\r\n\r\n", 400),
    "length of words": (b"POST / HTTP/1.1\r\nHost: k\r\nContent-Length: x\r\n\r\n", 400),
    "signed length": (b"POST / HTTP/1.1\r\nHost: k\r\nContent-Length: +1\r\n\r\nx", 400),
    "negative length": (b"POST / HTTP/1.1\r\nHost: k\r\nContent-Length: -1\r\n\r\nx", 400),
    "hex length": (b"POST / HTTP/1.1\r\nHost: k\r\nContent-Length: 0x1\r\n\r\nx", 400),
    "empty length": (b"POST / HTTP/1.1\r\nHost: k\r\nContent-Length:\r\n\r\n", 400),
    "list of lengths": (b"POST / HTTP/1.1\r\nHost: k\r\nContent-Length: 1, 1\r\n\r\nx", 400),
    "length twice": (
        b"POST / HTTP/1.1\r\nHost: k\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", 400),
    "length without end": (
        b"POST / HTTP/1.1\r\nHost: k\r\nContent-Length: 99999999999999999999\r\n\r\n", 413),
    "length and chunked": (b"POST / HTTP/1.1\r\nHost: k\r\nContent-Length: 5\r\n"
                           b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "chunked and length": (b"POST / HTTP/1.1\r\nHost: k\r\nTransfer-Encoding: chunked\r\n"
                           b"Content-Length: 5\r\n\r\n0\r\n\r\n", 400),
    "gzip, chunked": (
        b"POST / HTTP/1.1\r\nHost: k\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    "chunked, identity": (
        b"POST / HTTP/1.1\r\nHost: k\r\nTransfer-Encoding: chunked, identity\r\n\r\n", 501),
    "chunked twice": (b"POST / HTTP/1.1\r\nHost: k\r\nTransfer-Encoding: chunked\r\n"
                      b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "chunked behind a tab": (
        b"POST / HTTP/1.1\r\nHost: k\r\nTransfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n", 400),
    "chunked in HTTP/1.0": (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "unknown expectation": (b"POST / HTTP/1.1\r\nHost: k\r\nExpect: 200-ok\r\n\r\n", 417),
    "long target": (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: k\r\n\r\n", 414),
    "target without end": (b"GET /" + b"a" * 40000, 414),
    "long header": (b"GET / HTTP/1.1\r\nHost: k\r\nX: " + b"a" * 40000 + b"\r\n\r\n", 431),
    "header without end": (b"GET / HTTP/1.1\r\nHost: k\r\nX: " + b"a" * 40000, 431),
    "many headers": (
        b"GET / HTTP/1.1\r\nHost: k\r\n" + b"".join(b"X%d: 1\r\n" % i for i in range(110))
        + b"\r\n", 431),
}


@pytest.mark.parametrize("what", BAD_HEADS)
@pytest.mark.parametrize("listener", ["api", "gateway"])
def test_bad_heads(server, listener, what):
    data, status = BAD_HEADS[what]
    port = server.port if listener == "api" else server.gateway_port
    with Wire(server, port) as w:
        w.send(data)
        reply = w.reply()
        is_error(reply, status, None)
        assert reply.headers["Connection"] == "close", reply
        assert w.ended(), "more after the last answer"
    assert server.request("GET", "/health").status == 200


def test_bad_heads_behind_a_good_one(server):
    """The good one is answered, the bad one too, and then nothing goes on."""
    with Wire(server) as w:
        w.send(HEALTH + "GET /health HTTP/1.1\r\nHost : x\r\n\r\n" + HEALTH)
        assert w.reply().status == 200
        assert w.reply().status == 400
        assert w.ended()


@pytest.mark.parametrize("path,dialect", [
    ("/api/v1/workspaces/ws-default/functions", "fnservice"),
    ("/api/v1/functions", "kube"),
    ("/nothing", None),
])
def test_errors_speak_the_dialect_of_their_path(server, path, dialect):
    auth = f"Authorization: Bearer {server.token}\r\n"
    for head, status in [
        (f"POST {path} HTTP/1.1\r\nHost: k\r\nContent-Length: x\r\n{auth}\r\n", 400),
        (f"POST {path} HTTP/1.1\r\nHost: a\r\nHost: b\r\n{auth}\r\n", 400),
        (f"POST {path} HTTP/1.1\r\nHost: k\r\nExpect: tea\r\n{auth}\r\n", 417),
        (f"POST {path} HTTP/1.1\r\nHost: k\r\nX: {'y' * 40000}\r\n{auth}\r\n", 431),
        (f"GET {path}/no/such/path/here HTTP/1.1\r\nHost: k\r\n{auth}\r\n", 404),
        (f"GET {path}/%zz HTTP/1.1\r\nHost: k\r\n{auth}\r\n", 400),
        (f"GET {path}/%ff HTTP/1.1\r\nHost: k\r\n{auth}\r\n", 400),
        (f"GET {path}/../../../../../../etc HTTP/1.1\r\nHost: k\r\n{auth}\r\n", 400),
    ]:
        reply, _ = one(server, head)
        is_error(reply, status, dialect)


def test_unknown_methods(server):
    for method in ("BREW", "PATCH", "TRACE", "PROPFIND"):
        for path, dialect in (("/api/v1/functions", "kube"),
                              ("/api/v1/workspaces/w/functions", "fnservice"), ("/health", None)):
            reply, _ = one(server, f"{method} {path} HTTP/1.1\r\nHost: k\r\nConnection: close\r\n"
                                   f"Authorization: Bearer {server.token}\r\n\r\n")
            is_error(reply, 405, dialect)
            assert "GET" in reply.headers["Allow"]


# ---- what is accepted ----


@pytest.mark.parametrize("data", [
    "GET /health HTTP/1.1\r\nHost: k\r\n\r\n",
    "\r\nGET /health HTTP/1.1\r\nHost: k\r\n\r\n",
    "GET /health HTTP/1.1\r\nhOsT:k\r\n\r\n",
    "GET /health HTTP/1.1\r\nHost: [::1]:80\r\nX-Empty:\r\n\r\n",
    "GET /health?a=b HTTP/1.1\r\nHost: k\r\n\r\n",
    "GET /health/ HTTP/1.1\r\nHost: k\r\n\r\n",
    "GET /%68ealth HTTP/1.1\r\nHost: k\r\n\r\n",
    "GET http://elsewhere:99/health HTTP/1.1\r\nHost: k\r\n\r\n",
    "GET HTTP://k/health HTTP/1.1\r\nHost: k\r\n\r\n",
    "GET /health HTTP/1.0\r\n\r\n",
    "GET /health HTTP/1.1\r\nHost: k\r\nContent-Length: 3\r\n\r\nabc",
    "GET /health HTTP/1.1\r\nHost: k\r\nX: \xe9\r\n\r\n",
])
def test_good_heads(server, data):
    reply, _ = one(server, data.encode("latin-1"))
    assert reply.status == 200 and reply.json == {"status": "healthy"}
    assert reply.headers["Date"].endswith(" GMT")


def test_head_in_single_bytes(server):
    with Wire(server) as w:
        for byte in HEALTH.encode():
            w.send(bytes([byte]))
        assert w.reply().status == 200


def test_head_has_no_body(server):
    with Wire(server) as w:
        w.send("HEAD /health HTTP/1.1\r\nHost: k\r\n\r\n" + HEALTH)
        reply = w.reply(head=True)
        assert reply.status == 200 and int(reply.headers["Content-Length"]) == 20
        assert w.reply().json == {"status": "healthy"}, "bytes of a body stand in between"


def test_head_of_an_error_has_no_body(server):
    with Wire(server) as w:
        w.send(w.request("HEAD", "/api/v1/functions/none") + HEALTH.encode())
        assert w.reply(head=True).status == 404
        assert w.reply().status == 200


def test_options(server):
    reply, _ = one(server, "OPTIONS * HTTP/1.1\r\nHost: k\r\n\r\n")
    assert reply.status in (200, 204), reply
    for path in ("/api/v1/functions", "/api/v1/functions/x/invoke", "/api/v1/nothing"):
        reply, _ = one(server, f"OPTIONS {path} HTTP/1.1\r\nHost: k\r\nOrigin: http://a\r\n"
                               "Access-Control-Request-Method: POST\r\n\r\n")
        assert reply.status == 200, reply
        assert reply.headers["Access-Control-Allow-Origin"] == "*"


# ---- connections ----


def test_keep_alive(server):
    with Wire(server) as w:
        for _ in range(50):
            w.send(HEALTH)
            assert w.reply().status == 200


def test_connection_close(server):
    with Wire(server) as w:
        w.send("GET /health HTTP/1.1\r\nHost: k\r\nConnection: Close\r\n\r\n" + HEALTH)
        reply = w.reply()
        assert reply.status == 200 and reply.headers["Connection"] == "close"
        assert w.ended()


def test_http_1_0(server):
    with Wire(server) as w:
        w.send("GET /health HTTP/1.0\r\n\r\n")
        reply = w.reply()
        assert reply.status == 200 and reply.headers.get("Transfer-Encoding") is None
        assert w.ended()
    with Wire(server) as w:
        for _ in range(3):
            w.send("GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            reply = w.reply()
            assert reply.status == 200 and reply.headers["Connection"].lower() == "keep-alive"


def test_half_closed_client_is_answered(server):
    got = server.raw(HEALTH.encode() + HEALTH.encode(), half_close=True)
    assert got.count(b"HTTP/1.1 200") == 2


def test_pipelining_keeps_the_order(server):
    create(server, SLOW, "slow")
    with Wire(server) as w:
        for n in range(3):  # so that several instances are there: order must not come by chance
            w.send(w.request("POST", "/api/v1/functions/slow/invoke", json.dumps({"n": n})))
            assert w.reply().json["body"] == {"n": n}
        data = b""
        for n in range(40):
            body = {"n": n, "sleep": 0.05 if n % 8 == 0 else 0}
            data += w.request("POST", "/api/v1/functions/slow/invoke", json.dumps(body))
            data += HEALTH.encode()
            data += w.request("GET", f"/api/v1/functions/none-{n}")
        w.send(data)
        for n in range(40):
            assert w.reply().json["body"]["n"] == n
            assert w.reply().json == {"status": "healthy"}
            is_error(w.reply(), 404)


def test_pipelined_beyond_every_buffer(server):
    """Nobody reads while thousands of requests come in: the server stops reading in time."""
    with Wire(server) as w:
        n = 20000
        rss = machine.rss(server.pid)

        def feed():
            for _ in range(n // 100):
                w.send(HEALTH * 100)

        feeder = threading.Thread(target=feed)
        feeder.start()
        feeder.join(0.3)
        for _ in range(n):
            assert w.reply().status == 200
        feeder.join(harness.PATIENCE_S)
        assert not feeder.is_alive()
        if not harness.SANITIZED:  # which keeps what was freed
            assert machine.rss(server.pid) - rss < 16 << 20


# ---- bodies ----


def chunked(*pieces, trailer=""):
    data = b""
    for piece in pieces:
        data += b"%x\r\n%s\r\n" % (len(piece), piece)
    return data + b"0\r\n" + trailer.encode() + b"\r\n"


def post_chunked(server, body, path="/api/v1/functions/f/invoke"):
    return (f"POST {path} HTTP/1.1\r\nHost: k\r\nAuthorization: Bearer {server.token}\r\n"
            "Transfer-Encoding: chunked\r\n\r\n").encode() + body


def test_chunked_bodies(server):
    create(server)
    for body in [
        chunked(b'"hello"'),
        chunked(*[bytes([b]) for b in b'"hello"']),
        b'0000007;ext="a;b"\r\n"hello"\r\n000\r\nX-Trailer: 1\r\nY: 2\r\n\r\n',
        b'7;a\r\n"hello"\r\n0;last\r\n\r\n',
    ]:
        with Wire(server) as w:
            w.send(post_chunked(server, body) + HEALTH.encode())
            reply = w.reply()
            assert reply.status == 200 and reply.json["body"] == "hello", reply
            assert w.reply().status == 200, "the next request began at the wrong byte"


def test_chunked_body_in_single_bytes(server):
    create(server)
    with Wire(server) as w:
        for byte in post_chunked(server, chunked(b'"he', b'l', b'lo"', trailer="T: 1\r\n")):
            w.send(bytes([byte]))
        assert w.reply().json["body"] == "hello"


def test_large_bodies_come_whole(server):
    create(server, "def handler(e): return {'n': len(e['body']), 'ends': e['body'][-3:]}")
    text = "x" * 3_000_000 + "end"
    body = json.dumps(text).encode()
    with Wire(server) as w:
        w.send(w.request("POST", "/api/v1/functions/f/invoke", body))
        assert w.reply().json["body"] == {"n": len(text), "ends": "end"}
        pieces = [body[i:i + 9973] for i in range(0, len(body), 9973)]
        w.send(post_chunked(server, chunked(*pieces)))
        assert w.reply().json["body"] == {"n": len(text), "ends": "end"}


@pytest.mark.parametrize("body", [
    b"x\r\n\r\n", b"-1\r\n\r\n", b"\r\n", b"0x5\r\nhello\r\n", b"5\r\nhelloX\r\n", b"5\nhello\r\n",
    b"fffffffffffffffff\r\n", b"5\r\nhello\n0\r\n\r\n", b"0\r\nbad trailer\r\n\r\n",
    b"0\r\n: x\r\n\r\n", b"5 5\r\nhello\r\n0\r\n\r\n",
    b"5 ;a\r\nhello\r\n0\r\n\r\n",
])
def test_broken_chunks(server, body):
    create(server)
    with Wire(server) as w:
        w.send(post_chunked(server, body))
        is_error(w.reply(), 413 if body.startswith(b"ffff") else 400)
        assert w.ended()


def test_endless_extensions_and_trailers(server):
    create(server)
    for body in (b"5;" + b"a" * 20000, chunked(trailer="X: 1\r\n" * 20000)):
        with Wire(server) as w:
            w.send(post_chunked(server, body))
            is_error(w.reply(), 431)


def test_client_that_leaves_within_its_body(server):
    create(server)
    for data in (b'Content-Length: 100\r\n\r\n"half', b'Transfer-Encoding: chunked\r\n\r\n5\r\n"h'):
        with Wire(server) as w:
            w.send(f"POST /api/v1/functions/f/invoke HTTP/1.1\r\nHost: k\r\nAuthorization: "
                   f"Bearer {server.token}\r\n".encode() + data)
            w.socket.shutdown(socket.SHUT_WR)
            assert w.reply() is None
    assert server.kube("GET", "/f/metrics").json["invocations"] == 0


# ---- a body over the limit ----


def test_413_before_the_body(start):
    server = start("--body-max", "64Ki")
    ident = create(server)
    for path, dialect in (("/api/v1/functions/f/invoke", "kube"),
                          (f"/api/v1/workspaces/ws-default/functions/{ident}/invoke", "fnservice"),
                          ("/api/v1/functions", "kube"),
                          ("/api/v1/workspaces/ws-default/functions", "fnservice")):
        head = f"POST {path} HTTP/1.1\r\nHost: k\r\nAuthorization: Bearer {server.token}\r\n"
        with Wire(server) as w:
            w.send(head + "Content-Length: 100000000\r\n\r\n")
            is_error(w.reply(), 413, dialect)  # no byte of the body was sent
        with Wire(server) as w:
            w.send(head + "Content-Length: 100000000\r\nExpect: 100-continue\r\n\r\n")
            is_error(w.reply(), 413, dialect)  # and no 100 before
    with Wire(server) as w:
        w.send(post_chunked(server, b"20000\r\n" + b"x" * 0x10000))  # not its whole
        is_error(w.reply(), 413)
    reply = server.kube("POST", "/f/invoke", "x" * 60000)
    assert reply.status == 200, "below the limit it passes"
    assert server.kube("GET", "/f/metrics").json["invocations"] == 1


def test_413_on_the_gateway(start):
    server = start("--body-max", "64Ki")
    ident = create(server)
    assert server.fn("POST", f"/{ident}/triggers", {
        "name": "t", "type": "http", "config": {"path": "/t", "method": "POST"}}).status == 201
    with Wire(server, server.gateway_port) as w:
        w.send("POST /t HTTP/1.1\r\nHost: k\r\nContent-Length: 100000000\r\n\r\n")
        is_error(w.reply(), 413, None)
    assert server.gateway("POST", "/t", "x" * 60000).status == 200


def test_401_and_404_before_the_body(server):
    for path, token, status in (("/api/v1/functions", "nonsense", 401),
                                ("/api/v1/nothing", server.token, 404)):
        with Wire(server) as w:
            w.send(f"POST {path} HTTP/1.1\r\nHost: k\r\nAuthorization: Bearer {token}\r\n"
                   "Content-Length: 900000\r\n\r\n")
            is_error(w.reply(), status)


def test_expect_continue(server):
    create(server)
    with Wire(server) as w:
        head = w.request("POST", "/api/v1/functions/f/invoke", b'"hello"',
                         "Expect: 100-continue\r\n")[:-7]
        for _ in range(2):
            w.send(head)
            assert w.reply().status == 100
            w.send(b'"hello"')
            assert w.reply().json["body"] == "hello"
        w.send(head + b'"hello"')  # one that does not wait
        reply = w.reply()
        if reply.status == 100:
            reply = w.reply()
        assert reply.json["body"] == "hello"
        assert w.got == b""


def test_expect_continue_refused(server):
    with Wire(server) as w:
        w.send(w.request("POST", "/api/v1/functions/none/invoke", b"x" * 10,
                         "Expect: 100-continue\r\n", token=False)[:-10])
        is_error(w.reply(), 401)


# ---- time ----


def test_slow_head(start):
    server = start("--head-timeout", "200ms")
    with Wire(server) as w:
        w.send("GET /health HTTP/1.1\r\nHo")
        is_error(w.reply(), 408, None)
        assert w.ended()


def test_head_that_drips_is_cut_off(start):
    """Progress does not help: the whole head has one deadline."""
    server = start("--head-timeout", "300ms")
    over = threading.Event()
    with Wire(server) as w:

        def drip():
            try:
                while not over.wait(0.02):
                    w.send("X")
            except OSError:
                pass

        w.send("GET /health HTTP/1.1\r\nA")
        dripper = threading.Thread(target=drip)
        dripper.start()
        try:
            is_error(w.reply(), 408, None)
        finally:
            over.set()
            dripper.join()


def test_slow_body(start):
    server = start("--body-timeout", "1s")
    create(server)
    with Wire(server) as w:
        w.send(w.request("POST", "/api/v1/functions/f/invoke", b'"hello"')[:-3])
        is_error(w.reply(), 408)
        assert w.ended()
    with Wire(server) as w:
        w.send(post_chunked(server, b'5\r\n"he'))
        is_error(w.reply(), 408)
    assert server.kube("GET", "/f/metrics").json["invocations"] == 0


def test_idle_connections_are_closed(start):
    server = start("--keepalive-timeout", "1s")
    with Wire(server) as quiet, Wire(server) as used:
        used.send(HEALTH)
        assert used.reply().status == 200
        assert used.reply() is None
        assert quiet.reply() is None


def test_a_running_call_is_not_idle(start):
    server = start("--keepalive-timeout", "1s", "--head-timeout", "1s", "--body-timeout", "1s")
    create(server, SLOW)
    assert server.kube("POST", "/f/invoke", {"sleep": 3}).json["body"] == {"sleep": 3}


# ---- a client that leaves ----

MARKS = """
import time
ran = []
def handler(event):
    what = event["body"]
    if what == "ran":
        return ran
    ran.append(what)
    if what == "first":
        time.sleep(3)
    return what
"""


@pytest.mark.parametrize("how", ["close", "reset", "half"])
def test_waiting_call_of_a_client_that_left_never_runs(server, how):
    ident = create(server, MARKS, max_replicas=1)
    invoke = "/api/v1/functions/f/invoke"
    first, second, third = Wire(server), Wire(server), Wire(server)
    try:
        first.send(first.request("POST", invoke, '"first"'))
        wait_for("the first runs", lambda: any(
            i["status"] == "running" or server.kube("GET", "/f").json["status"]["replicas"] == 1
            for i in server.fn("GET", f"/{ident}/invocations").json["invocations"])
            or server.kube("GET", "/f").json["status"]["replicas"] == 1)
        second.send(second.request("POST", invoke, '"abandoned"'))
        third.send(third.request("POST", invoke, '"third"'))
        if how == "close":
            second.close()
        elif how == "reset":
            second.reset()
        else:
            second.socket.shutdown(socket.SHUT_WR)
        assert first.reply().json["body"] == "first"
        assert third.reply().json["body"] == "third"
    finally:
        for w in (first, second, third):
            w.close()
    assert server.kube("POST", "/f/invoke", "ran").json["body"] == ["first", "third"]
    records = wait_for("the record of the abandoned call", lambda: [
        i for i in server.fn("GET", f"/{ident}/invocations").json["invocations"]
        if i["status"] == "failed"])
    assert "went away" in records[0]["error"]["message"]


def test_clients_that_leave_running_calls(server):
    """The function ends its work; nothing else suffers."""
    create(server, MARKS, max_replicas=1)
    for _ in range(20):
        with Wire(server) as w:
            w.send(w.request("POST", "/api/v1/functions/f/invoke", '"x"'))
            w.reset()
    assert server.kube("POST", "/f/invoke", "still there").json["body"] == "still there"


# ---- what comes from a function cannot break the framing ----


def trigger(server, code):
    ident = create(server, code)
    reply = server.fn("POST", f"/{ident}/triggers", {
        "name": "t", "type": "http", "config": {"path": "/t"}})
    assert reply.status == 201, reply


@pytest.mark.parametrize("name,value", [
    ("X-Split", "a\\r\\nX-Evil: 1\\r\\n\\r\\nHTTP/1.1 200 OK"), ("X\\r\\nX-Evil", "1"), ("X-N", "\\0"),
])
def test_a_function_cannot_split_the_reply(server, name, value):
    """A header that is none is the function's fault and reaches nobody."""
    trigger(server, f"""
def handler(event):
    return {{"statusCode": 200, "body": "ok", "headers": {{"X-Good": "1", "{name}": "{value}"}}}}
""")
    with Wire(server, server.gateway_port) as w:
        for _ in range(2):
            w.send("GET /t HTTP/1.1\r\nHost: k\r\n\r\n")
            reply = w.reply()
            assert reply.status in (200, 502), reply
            assert reply.headers.get("X-Evil") is None, reply
            assert reply.headers.get("X-Split") is None, reply
            assert w.got == b"", "more than one reply"


def test_a_function_cannot_frame_the_reply(server):
    trigger(server, """
def handler(event):
    return {"statusCode": 200, "body": "ok", "headers": {
        "X-Good": "1", "Content-Length": "500", "Transfer-Encoding": "chunked",
        "Connection": "upgrade", "Upgrade": "tea", "Date": "never", "Keep-Alive": "x"}}
""")
    with Wire(server, server.gateway_port) as w:
        for _ in range(2):
            w.send("GET /t HTTP/1.1\r\nHost: k\r\n\r\n")
            reply = w.reply()
            assert reply.status == 200 and reply.body == b"ok", reply
            assert reply.headers["X-Good"] == "1" and reply.headers["Date"] != "never", reply
            for header in ("Transfer-Encoding", "Upgrade", "Keep-Alive"):
                assert reply.headers.get(header) is None, reply


def test_statuses_without_a_body(server):
    """What a function returns with 204 or 304 must not become the next reply."""
    trigger(server, """
def handler(event):
    return {"statusCode": int(event["query"]["s"]), "body": "HTTP/1.1 200 OK"}
""")
    with Wire(server, server.gateway_port) as w:
        for status in (204, 304, 204):
            w.send(f"GET /t?s={status} HTTP/1.1\r\nHost: k\r\n\r\n")
            reply = w.reply()
            assert reply.status == status, reply
        w.send("GET /t?s=201 HTTP/1.1\r\nHost: k\r\n\r\n")
        assert w.reply().status == 201
