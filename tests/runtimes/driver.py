# SPDX-License-Identifier: Apache-2.0
"""Speaks the instance channel (src/wire/wire.h) to a runtime without zygote and sandbox."""

import dataclasses
import io
import json
import os
import pathlib
import socket
import struct
import subprocess
import tarfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("KILN_BUILD", ROOT / "build"))

LOAD, CALL, HELLO, READY, LOAD_FAILED, RESULT, FAILED, LOG = 1, 2, 16, 17, 18, 19, 20, 21
CHECK = 1
NONE, JSON, TEXT, BYTES = range(4)
DEBUG, INFO, WARN, ERROR = range(4)


def string(s):
    s = s.encode() if isinstance(s, str) else s
    return struct.pack("<I", len(s)) + s


def pairs(items):
    return struct.pack("<I", len(items)) + b"".join(string(k) + string(v) for k, v in items)


def frame(kind, seq, payload):
    return struct.pack("<IBBHI", len(payload), kind, 0, 0, seq) + payload


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def number(self, form):
        (n,) = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return n

    def string(self):
        n = self.number("I")
        s = self.data[self.at : self.at + n]
        assert len(s) == n
        self.at += n
        return s

    def done(self):
        assert self.at == len(self.data)


@dataclasses.dataclass
class Answer:
    """Of a call. `error` is (type, message) where it failed."""

    seq: int
    logs: list
    status: int = 0
    wrapped: bool = False
    kind: int = NONE
    headers: list = dataclasses.field(default_factory=list)
    body: bytes = b""
    error: tuple = None

    @property
    def value(self):
        assert self.kind == JSON, (self.kind, self.error, self.logs)
        return json.loads(self.body)


def call_frame(
    seq, body=b"", kind=None, query=(), headers=(), method="POST", path="/invoke", deadline=5000, id="inv-1"
):
    if kind is None:
        kind = BYTES if isinstance(body, bytes) and body else NONE if body == b"" else JSON
        if kind == JSON:
            body = json.dumps(body)
    payload = struct.pack("<IB", deadline, kind) + string(id) + string(method) + string(path)
    return frame(CALL, seq, payload + pairs(list(query)) + pairs(list(headers)) + string(body))


def archive(files, **kw):
    """A ustar archive of {name: text or TarInfo}."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kw.get("format", tarfile.USTAR_FORMAT)) as tar:
        for name, text in files.items():
            if isinstance(text, tarfile.TarInfo):
                tar.addfile(text)
                continue
            data = text.encode() if isinstance(text, str) else text
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


class Instance:
    def __init__(self, runtime, app_dir):
        ours, theirs = socket.socketpair()
        ours.settimeout(30)
        self.runtime, self.sock, self.seq, self.loose = runtime, ours, 0, []
        self.hello = None
        folder = ROOT / "runtimes" / runtime
        command = [BUILD / f"kiln-bare-{runtime}", folder, app_dir]

        def third():
            os.dup2(theirs.fileno(), 3)

        env = {"PATH": os.environ["PATH"], "ASAN_OPTIONS": "detect_leaks=0"}
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=env, pass_fds=[3, theirs.fileno()], preexec_fn=third,
        )  # fmt: skip
        theirs.close()

    def close(self):
        self.sock.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            self.process.stdout.close()
            self.process.stderr.close()

    def exited(self):
        """Exit status; the rest of the channel is read first."""
        frames = []
        while (f := self.read(True)) is not None:
            frames.append(f)
        return self.process.wait(10), frames

    def receive(self, n, end_ok=False):
        data = bytearray()
        while len(data) < n:
            try:
                piece = self.sock.recv(min(n - len(data), 1 << 20))
            except ConnectionResetError:
                piece = b""
            if not piece:
                if end_ok and not data:
                    return None
                raise EOFError(self.process.communicate()[1].decode())
            data += piece
        return bytes(data)

    def read(self, end_ok=False):
        head = self.receive(12, end_ok)
        if head is None:
            return None
        n, kind, flags, zero, seq = struct.unpack("<IBBHI", head)
        assert flags in ((0, 1) if kind == FAILED else (0,)) and zero == 0 and n <= 64 << 20
        return kind, seq, self.receive(n)

    def log_of(self, payload):
        r = Reader(payload)
        level, line = r.number("B"), r.string().decode()
        r.done()
        return level, line

    def load(self, code, handler="main.handler", env=(), flags=0):
        """None, or the text of LOAD_FAILED. `loose` has the lines logged meanwhile."""
        if isinstance(code, str):
            code = code.encode()
        kind, seq, payload = self.read()
        assert (kind, seq) == (HELLO, 0)
        self.hello = Reader(payload).string().decode()
        payload = struct.pack("<B", flags) + string("fn") + string("v3") + string("ws-1")
        self.sock.sendall(frame(LOAD, 0, payload + string(handler) + pairs(list(env)) + string(code)))
        while True:
            kind, seq, payload = self.read()
            assert seq == 0
            if kind == LOG:
                self.loose.append(self.log_of(payload))
            elif kind == LOAD_FAILED:
                return Reader(payload).string().decode()
            else:
                assert (kind, payload) == (READY, b"")
                return None

    def answer(self):
        logs = []
        while True:
            kind, seq, payload = self.read()
            r = Reader(payload)
            if kind == LOG:
                (logs if seq else self.loose).append(self.log_of(payload))
                continue
            a = Answer(seq, logs)
            if kind == FAILED:
                a.error = (r.string().decode(), r.string().decode())
            else:
                assert kind == RESULT, kind
                a.status, a.wrapped, a.kind = r.number("H"), bool(r.number("B")), r.number("B")
                a.headers = [(r.string().decode(), r.string().decode()) for _ in range(r.number("I"))]
                a.body = r.string()
            r.done()
            return a

    def send(self, *args, **kw):
        self.seq += 1
        self.sock.sendall(call_frame(self.seq, *args, **kw))
        return self.seq

    def call(self, *args, **kw):
        seq = self.send(*args, **kw)
        a = self.answer()
        assert a.seq == seq
        return a
