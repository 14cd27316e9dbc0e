# SPDX-License-Identifier: Apache-2.0
"""An HTTP client that sends exactly the bytes it is told to and reads one reply at a time."""

import json
import socket

from harness import PATIENCE_S, Reply


class Headers(dict):
    """Names as sent; looked up without regard to case."""

    def get(self, name, default=None):
        for k, v in self.items():
            if k.lower() == name.lower():
                return v
        return default

    def __getitem__(self, name):
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value


class Wire:
    def __init__(self, server, port=None):
        self.server = server
        self.socket = socket.create_connection((server.host, port or server.port),
                                               timeout=PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.got = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def reset(self):
        """Leaves with a reset instead of an orderly end."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data.encode() if isinstance(data, str) else data)

    def request(self, method, path, body=b"", headers="", token=True):
        """The bytes of an ordinary request."""
        head = f"{method} {path} HTTP/1.1\r\nHost: kiln\r\n{headers}"
        if token and self.server.token:
            head += f"Authorization: Bearer {self.server.token}\r\n"
        if body or method in ("POST", "PUT"):
            head += f"Content-Length: {len(body)}\r\n"
        return head.encode() + b"\r\n" + (body.encode() if isinstance(body, str) else body)

    def _more(self):
        part = self.socket.recv(65536)
        self.got += part
        return bool(part)

    def _line(self):
        while b"\r\n" not in self.got:
            assert self._more(), f"closed within a line: {self.got[:200]!r}"
        line, _, self.got = self.got.partition(b"\r\n")
        return line

    def _take(self, n):
        while len(self.got) < n:
            assert self._more(), f"closed within a body: {len(self.got)} of {n}"
        body, self.got = self.got[:n], self.got[n:]
        return body

    def _chunks(self):
        body = b""
        while True:
            size = int(self._line(), 16)
            body += self._take(size)
            assert self._line() == b""
            if size == 0:
                return body

    def reply(self, head=False):
        """The next reply; None at the end of the connection."""
        while not self.got:
            try:
                if not self._more():
                    return None
            except ConnectionResetError:
                return None
        version, status, _reason = self._line().split(b" ", 2)
        assert version in (b"HTTP/1.1", b"HTTP/1.0"), version
        headers = Headers()
        while line := self._line():
            name, _, value = line.partition(b":")
            name = name.decode()
            assert headers.get(name) is None, f"{name} twice"
            headers[name] = value.strip().decode()
        status = int(status)
        if head or status in (204, 304) or status < 200:
            body = b""
        elif headers.get("Transfer-Encoding") == "chunked":
            body = self._chunks()
        elif headers.get("Content-Length") is not None:
            body = self._take(int(headers["Content-Length"]))
        else:
            while self._more():
                pass
            body, self.got = self.got, b""
        return Reply(status, headers, body)

    def ended(self):
        """True when the server closes now, having sent nothing more."""
        try:
            while self._more():
                pass
        except ConnectionResetError:
            pass
        return self.got == b""


def one(server, data, port=None):
    """The reply to these bytes, and whether the server closed after it."""
    with Wire(server, port) as w:
        w.send(data)
        reply = w.reply()
        assert reply is not None, "closed without an answer"
        return reply, w


def is_error(reply, status, dialect="kube"):
    """An error of the dialect's form, with a sentence."""
    assert reply.status == status, reply
    assert reply.headers.get("Content-Type", "").split(";")[0] == "application/json", reply
    said = json.loads(reply.body)
    assert said["error"] and isinstance(said["error"], str), reply
    if dialect == "fnservice":
        assert said["code"], reply
        assert set(said) <= {"error", "code", "details"}, reply
    elif dialect == "kube":
        assert set(said) == {"error"}, reply
    return said
