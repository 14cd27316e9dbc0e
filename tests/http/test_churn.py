# SPDX-License-Identifier: Apache-2.0
"""Everything at once: calls that end well and badly, callers that leave, versions that change,
instances and zygotes that are killed. Every call is answered, and afterwards all is given back."""

import errno
import os
import pathlib
import random
import signal
import threading
import time

import pytest
from harness import (PATIENCE_S, WARM_DESCRIPTORS, WARM_PROCESSES, b64, children_of, descriptors,
                     wait_for)
from wire import Wire

SECONDS = 8
LOOPS = 4
PYTHON = """
import os, sys, time
def handler(event):
    what = event["body"]
    if what == "sleep": time.sleep(0.02)
    if what == "raise": raise ValueError("no")
    if what == "exit": os._exit(3)
    if what == "hang": time.sleep(60)
    if what == "eat": return len(bytearray(512 << 20))
    if what == "fork" and os.fork() == 0: time.sleep(60)
    if what == "raw": os.write(1, b"raw\\n" * 4000)
    if what == "flood":
        while True: os.write(1, b"x" * 4096)
    if what == "shut":
        import socket
        socket.socket(fileno=os.dup(3)).shutdown(socket.SHUT_RDWR)
    if what == "garbage": os.write(3, b"\\xff" * 64)
    if what == "early": os.write(3, b"\\0\\0\\0\\0\\x13\\0\\0\\0\\1\\0\\0\\0")
    return what
"""
NODE = """
exports.handler = async e => {
  const what = e.body;
  if (what === 'sleep') await new Promise(r => setTimeout(r, 20));
  if (what === 'raise') throw new Error('no');
  if (what === 'exit') process.exit(3);
  if (what === 'hang') await new Promise(r => setTimeout(r, 60000));
  return what;
};
"""
COMMON = ["ok"] * 60 + ["sleep"] * 20 + ["raise"] * 5 + ["exit", "hang"]
HARD = ["eat", "fork", "raw", "flood", "shut", "garbage", "early"]
NAMES = [f"p{i}" for i in range(5)] + ["n0", "n1"]


class Churn:
    """Threads that do their worst until stopped, and what went wrong meanwhile."""

    def __init__(self, server, seed):
        self.server = server
        self.over = threading.Event()
        self.wrong, self.answers = [], {}
        self.random = random.Random(seed)
        self.ids = {n: self.create(n) for n in NAMES}
        self.threads = []

    def create(self, name):
        node = name.startswith("n")
        number = int(name[1:])
        data = {
            "name": name, "runtime": "nodejs18" if node else "python3.9",
            "handler": "index.handler" if node else "main.handler",
            "source_code": b64(NODE if node else PYTHON), "timeout": 1,
            "max_replicas": 1 + number % 3, "min_replicas": number % 2,
        }
        reply = self.server.fn("POST", "", data)
        assert reply.status == 201, reply
        return reply.json["id"]

    def start(self, work, times=1):
        def run(rng):
            while not self.over.is_set():
                try:
                    work(rng)
                except Exception as e:  # pylint: disable=broad-except
                    if not self.over.is_set():
                        self.wrong.append(repr(e))
                        return

        for _ in range(times):
            t = threading.Thread(target=run, args=(random.Random(self.random.random()),))
            t.start()
            self.threads.append(t)

    def stop(self):
        self.over.set()
        for t in self.threads:
            t.join(PATIENCE_S)
            assert not t.is_alive(), "a call was never answered"
        assert not self.wrong, self.wrong[:3]

    # ---- what the threads do ----

    def call(self, rng):
        name = rng.choice(NAMES)
        what = rng.choice(COMMON if rng.random() < 0.95 or name[0] == "n" else HARD)
        reply = self.server.kube("POST", f"/{name}/invoke", what, check=False)
        self.answers[reply.status] = self.answers.get(reply.status, 0) + 1
        assert reply.status in (200, 404, 409, 500, 502, 503, 504), (what, reply)
        if reply.status == 200:
            assert reply.json["body"] == what, (what, reply)

    def leave(self, rng):
        w = Wire(self.server)
        for _ in range(rng.randint(1, 3)):
            w.send(w.request("POST", f"/api/v1/functions/{rng.choice(NAMES)}/invoke",
                             f'"{rng.choice(COMMON)}"', "Content-Type: application/json\r\n"))
        self.over.wait(rng.random() * 0.03)
        w.reset()

    def change(self, rng):
        name = rng.choice(NAMES)
        ident = self.ids[name]
        self.over.wait(0.05)
        step = rng.randrange(4)
        if step == 0:
            reply = self.server.fn("PUT", f"/{ident}", {"environment": {"N": str(rng.random())}})
        elif step == 1:
            code = NODE if name[0] == "n" else PYTHON
            reply = self.server.fn("POST", f"/{ident}/versions", {"source_code": b64(code)})
            if reply.status == 201 and reply.json["build_status"] == "success":
                reply = self.server.fn("PUT", f"/{ident}/versions/{reply.json['id']}/active")
        elif step == 2:
            reply = self.server.fn("POST", f"/{ident}/rollback")
        else:
            reply = self.server.fn("DELETE", f"/{ident}")
            assert reply.status == 204, reply
            self.ids[name] = self.create(name)
        assert reply.status < 500, reply

    def build_again(self):
        """What was killed while it was built."""
        for name, ident in self.ids.items():
            if self.server.fn("GET", f"/{ident}").json["status"] == "error":
                assert self.server.fn("DELETE", f"/{ident}").status == 204
                self.ids[name] = self.create(name)

    def kill(self, rng):
        """An instance, or (seldom) a zygote with all that it made."""
        self.over.wait(0.1)
        direct = [p for p in children_of(self.server.pid) if "zygote" in name_of(p)]
        zygotes = [p for p in direct if parent_of(p) == self.server.pid]
        pick = zygotes if rng.random() < 0.05 else [p for p in direct if p not in zygotes]
        if pick:
            try:
                os.kill(rng.choice(pick), signal.SIGKILL)
            except ProcessLookupError:
                pass


def read(path):
    try:
        return pathlib.Path(path).read_text(errors="replace")
    except OSError:
        return ""


def name_of(pid):
    return read(f"/proc/{pid}/cmdline").partition("\0")[0]


def stat_of(pid):
    return read(f"/proc/{pid}/stat").rpartition(")")[2].split() or ["Z"] + ["0"] * 20


def parent_of(pid):
    return int(stat_of(pid)[1])


def rests(pid):
    """The server sleeps: nothing goes round and round in it."""
    before = sum(map(int, stat_of(pid)[11:13]))
    time.sleep(0.5)
    return sum(map(int, stat_of(pid)[11:13])) - before <= 10


def churn(start, seed, *flags):
    server = start("--loops", str(LOOPS), "--idle-timeout", "80ms", "--queue-timeout", "2s",
                   "--output-call-max", "1Mi", "--instances-max", "40", *flags)
    c = Churn(server, seed)
    c.start(c.call, 8)
    c.start(c.leave, 3)
    c.start(c.change)
    c.start(c.kill)
    return server, c


@pytest.mark.parametrize("seed", [1])
def test_churn(start, seed):
    server, c = churn(start, seed)
    time.sleep(SECONDS)
    server.note_children()
    c.stop()
    assert c.answers[200] > 0, c.answers
    c.build_again()
    for name in NAMES:  # each goes on as if nothing had been
        wait_for(f"{name} answers", lambda name=name: server.kube(
            "POST", f"/{name}/invoke", "ok", check=False).status == 200)
        keep = int(name[1:]) % 2
        wait_for(f"{name} is scaled down", lambda name=name, keep=keep: server.kube(
            "GET", f"/{name}").json["status"]["replicas"] == keep)
    wait_for("the server rests", lambda: rests(server.pid))
    for name in NAMES:
        assert server.fn("DELETE", f"/{c.ids[name]}").status == 204
    spares = 2 * LOOPS
    wait_for("processes end",
             lambda: len(children_of(server.pid)) <= server.running_at_start + WARM_PROCESSES + spares)
    most = server.open_at_start + WARM_DESCRIPTORS + 5 * spares
    wait_for("descriptors are given back", lambda: len(descriptors(server.pid)) <= most)


def test_the_end_during_churn(start):
    server, c = churn(start, 2, "--drain-timeout", "2s")
    time.sleep(SECONDS / 4)
    server.note_children()
    c.over.set()  # what they hear from now on may be that nobody listens
    assert server.terminate() == 0
    c.stop()


CONNECT = """
import errno, socket
def handler(event):
    while True:
        try:
            with socket.create_connection(("10.9.9.9", 80), timeout=20) as s:
                s.getpeername()
                return 0
        except OSError as e:
            # An ICMP error may wake connect() a moment before it can be read: then once more.
            if e.errno != errno.ENOTCONN:
                return e.errno
"""


def test_another_network_after_the_end_of_one(start):
    """kiln-egress parses what functions send: should one of them end it, the others go on."""
    server = start()
    server.create(CONNECT)

    def egress():
        return [p for p in children_of(server.pid) if name_of(p).endswith("kiln-egress")]

    def refused():  # by kiln-egress, which answers at once
        return server.kube("POST", "/f/invoke").json["body"] == errno.EHOSTUNREACH

    first = egress()
    if not first:
        pytest.skip("no egress here: the capabilities say so")
    assert refused()
    os.kill(first[0], signal.SIGKILL)
    wait_for("another one is there", lambda: egress() and egress() != first)
    wait_for("new instances have a network", refused)
    assert refused()
