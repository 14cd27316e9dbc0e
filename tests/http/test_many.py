# SPDX-License-Identifier: Apache-2.0
"""Many of everything: functions by the ten thousand, records by the hundred thousand, in one
server. Lists are read page by page while others write; nothing is lost and nothing comes twice."""

import json
import pathlib
import re
import socket
import threading
import time
import urllib.parse

import harness
import pytest
from harness import PATIENCE_S, SANITIZED, wait_for

FUNCTIONS = 300 if SANITIZED else 10_000
RECORDS = 2_000 if SANITIZED else 100_000
CONNECTIONS = 8
BATCH = 50  # requests under way on a connection
CODE = "def handler(event):\n    return event\n"
WS = "/api/v1/workspaces/ws-default/functions"


class Pipe:
    """A connection that asks for many things at once: the tests' own time is what would count."""

    def __init__(self, server):
        self.server = server
        self.socket = socket.create_connection((server.host, server.port), timeout=PATIENCE_S)
        self.got = b""

    def close(self):
        self.socket.close()

    def ask(self, requests):
        """(method, path, body) of each; their statuses."""
        data = b"".join(
            b"%s %s HTTP/1.1\r\nHost: k\r\nAuthorization: Bearer %s\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
                method.encode(), path.encode(), self.server.token.encode(), len(body), body)
            for method, path, body in requests)
        self.socket.sendall(data)
        return [self.reply() for _ in requests]

    def more(self):
        part = self.socket.recv(1 << 18)
        assert part, "the server closed the connection"
        self.got += part

    def reply(self):
        while (end := self.got.find(b"\r\n\r\n")) < 0:
            self.more()
        head = self.got[:end]
        length = re.search(rb"\r\ncontent-length: (\d+)", head, re.I)
        need = end + 4 + int(length.group(1)) if length else end + 4
        while len(self.got) < need:
            self.more()
        self.got = self.got[need:]
        return int(head.split(b" ", 2)[1])


def at_once(server, requests, status):
    """All of REQUESTS over several connections, in no order."""
    faults = []

    def work(mine):
        pipe = Pipe(server)
        try:
            for i in range(0, len(mine), BATCH):
                got = pipe.ask(mine[i:i + BATCH])
                faults.extend(s for s in got if s != status)
        except BaseException as e:  # noqa: B902, told below
            faults.append(repr(e))
        finally:
            pipe.close()

    threads = [threading.Thread(target=work, args=(requests[k::CONNECTIONS],))
               for k in range(CONNECTIONS)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert faults == []


def rss_mib(server):
    text = pathlib.Path(f"/proc/{server.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text).group(1)) // 1024


def new_function(name):
    return ("POST", "/api/v1/functions", json.dumps({
        "name": name, "runtime": "python39", "handler": "handler", "code": CODE}).encode())


@pytest.fixture(scope="module")
def crowd():
    """A server with FUNCTIONS functions, started again when it had them."""
    server = harness.Server()
    server.busy = server.create(CODE, name="busy", project_id="records")  # before there is a queue
    begun = time.monotonic()
    at_once(server, [new_function(f"f{i:05}") for i in range(FUNCTIONS)], 201)
    made = time.monotonic() - begun
    small = rss_mib(server)
    server.terminate()
    begun = time.monotonic()
    server.start()
    print(f"\n{FUNCTIONS} functions: made in {made:.1f} s, {small} MiB; "
          f"started again in {time.monotonic() - begun:.2f} s")
    yield server
    server.stop()


class Churn:
    """Functions that come and go for as long as a list is being read."""

    def __init__(self, server):
        self.server, self.stop = server, threading.Event()
        self.rounds, self.faults = 0, []
        self.thread = threading.Thread(target=self.run)

    def run(self):
        pipe = Pipe(self.server)
        try:
            while not self.stop.is_set():
                name = f"churn{self.rounds % 7}"
                self.faults += [s for s in pipe.ask([new_function(name)]) if s != 201]
                self.faults += [s for s in pipe.ask(
                    [("DELETE", f"/api/v1/functions/{name}", b"")]) if s != 204]
                self.rounds += 1
        except BaseException as e:  # noqa: B902, told in __exit__
            self.faults.append(repr(e))
        finally:
            pipe.close()

    def __enter__(self):
        self.thread.start()
        wait_for("others write", lambda: self.rounds or self.faults)
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()
        assert self.faults == []
        assert self.rounds > 0


def pages(server, path, rows_of, headers=None):
    """Every row of a list, by its Link headers."""
    rows, at = [], path
    while at:
        reply = server.request("GET", at, headers=headers)
        assert reply.status == 200, reply
        rows += rows_of(reply.json)
        link = reply.headers.get("Link")
        if not link:
            return rows
        found = re.search(r'<([^>]*)>;\s*rel="?next"?', link)
        assert found, link
        at = urllib.parse.urljoin(at, found.group(1))
    return rows


LISTS = {
    "kube": ("/api/v1/functions", lambda j: [f["name"] for f in j]),
    "fnservice": (WS + "?project_id=proj-default", lambda j: [f["name"] for f in j["functions"]]),
    "blue": ("/api/workspaces/ws-default/functions", lambda j: [f["name"] for f in j]),
    "runna": ("/functions", lambda j: [f["name"] for f in j["data"]["functions"]]),
    "iron": ("/v1/apps/proj-default/routes", lambda j: [r["path"].strip("/") for r in j["routes"]]),
}


@pytest.mark.parametrize("dialect", LISTS)
def test_functions_by_pages_while_others_write(crowd, dialect):
    path, names_of = LISTS[dialect]
    sep = "&" if "?" in path else "?"
    with Churn(crowd):
        names = pages(crowd, f"{path}{sep}limit=500", names_of)
    kept = [n for n in names if n.startswith("f")]
    assert sorted(kept) == [f"f{i:05}" for i in range(FUNCTIONS)]
    churned = [n for n in names if not n.startswith("f")]
    assert len(churned) == len(set(churned)) and len(churned) <= 7


def test_one_among_many_is_found(crowd):
    for i in (0, FUNCTIONS // 2, FUNCTIONS - 1):
        assert crowd.kube("GET", f"/f{i:05}").status == 200
    assert crowd.kube("GET", "/nowhere").status == 404
    reply = wait_for("it answers", lambda: (
        lambda r: r if r.status == 200 else None)(crowd.kube("POST", "/f00000/invoke", {"n": 1})))
    assert reply.json["body"]["body"] == {"n": 1}


def test_records(crowd):
    """Calls by the hundred thousand; then all of their records, page by page, while more come."""
    ident = crowd.busy
    call = ("POST", f"{WS}/{ident}/invoke", b"{}")
    begun = time.monotonic()
    at_once(crowd, [call] * RECORDS, 200)
    took = time.monotonic() - begun
    before = rss_mib(crowd)

    def count():
        reply = crowd.fn("GET", f"/{ident}/metrics")
        assert reply.status == 200, reply
        return reply.json["invocations"]

    wait_for("all are on record", lambda: count() == RECORDS)
    stop = threading.Event()
    more = []

    def go_on():
        pipe = Pipe(crowd)
        while not stop.is_set():
            more.extend(pipe.ask([call] * 5))
        pipe.close()

    thread = threading.Thread(target=go_on)
    thread.start()
    begun = time.monotonic()
    try:
        ids = pages(crowd, f"{WS}/{ident}/invocations?limit=1000",
                    lambda j: [i["invocation_id"] for i in j["invocations"]])
    finally:
        stop.set()
        thread.join()
    listed = time.monotonic() - begun
    assert len(ids) == len(set(ids)), "none comes twice"
    assert ids == sorted(ids, reverse=True), "newest first"
    assert RECORDS <= len(ids) <= RECORDS + len(more)
    assert set(more) <= {200}
    print(f"\n{RECORDS} calls in {took:.1f} s; their records in {listed:.1f} s; "
          f"{before} MiB, then {rss_mib(crowd)} MiB")
    # What was asked for last is what there is at once: one page, never the whole list.
    if not SANITIZED:
        assert rss_mib(crowd) < before + 64


def test_memory_is_bounded(crowd):
    """With the functions and the records in it: their code and their results are not in memory."""
    if not SANITIZED:
        assert rss_mib(crowd) < 250
