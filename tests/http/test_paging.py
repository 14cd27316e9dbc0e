# SPDX-License-Identifier: Apache-2.0
"""Lists by pages, while others write."""

import re
import threading

import pytest
from harness import b64

PY = "def handler(event):\n    return event\n"


def pages(get, path, limit, member, between=lambda: None):
    """All rows of a list, page by page; BETWEEN runs after each."""
    rows, query = [], f"?limit={limit}" if "?" not in path else f"&limit={limit}"
    at = path + query
    while at:
        reply = get(at)
        assert reply.status == 200, reply
        page = reply.json[member] if member else reply.json
        assert len(page) <= limit
        rows += page
        link = reply.headers.get("Link")
        between()
        if not link:
            return rows
        assert len(page) == limit
        found = re.fullmatch(r'<(\?[^<>"\s]*)>; rel="next"', link)
        assert found, link
        at = path.split("?")[0] + found.group(1)
    return rows


def test_functions(server):
    names = [f"p{i:02}" for i in range(25)]
    for name in names:
        server.create(PY, name=name, project_id="paged")
    made = iter(range(100))

    def another():
        server.create(PY, name=f"new{next(made)}", project_id="paged")

    rows = pages(lambda p: server.fn("GET", p), "?project_id=paged", 4, "functions", another)
    assert [f["name"] for f in rows] == names[::-1], "what comes meanwhile shifts nothing"
    whole = server.fn("GET", "?project_id=paged")
    assert len(whole.json["functions"]) == 25 + 7 and "Link" not in whole.headers


def test_functions_go_meanwhile(server):
    ids = {f"p{i:02}": server.create(PY, name=f"p{i:02}", project_id="paged") for i in range(12)}
    victims = iter(["p11", "p05", "p00"])  # on a page that was read, on one to come, the last

    def one_less():
        name = next(victims, None)
        if name:
            assert server.fn("DELETE", f"/{ids[name]}").status == 204

    rows = pages(lambda p: server.fn("GET", p), "?project_id=paged", 3, "functions", one_less)
    assert [f["name"] for f in rows] == ["p11", "p10", "p09", "p08", "p07", "p06", "p04", "p03",
                                        "p02", "p01"]


def test_kube(server):
    for i in range(5):
        server.create(PY, name=f"k{i}")
    rows = pages(lambda p: server.kube("GET", p), "", 2, None)
    assert [f["name"] for f in rows] == ["k4", "k3", "k2", "k1", "k0"]


def test_invocations_while_calls_go_on(server):
    ident = server.create(PY)
    known = []
    for i in range(30):
        reply = server.invoke(ident, {"i": i})
        assert reply.status == 200
        known.append(reply.json["invocation_id"])
    for i in range(10):
        known.append(server.fn("POST", f"/{ident}/invoke-async", {}).json["invocation_id"])
    stop, errors = threading.Event(), []

    def calls():
        while not stop.is_set():
            reply = server.invoke(ident, {})
            if reply.status != 200:
                errors.append(reply)

    callers = [threading.Thread(target=calls) for _ in range(3)]
    first = server.fn("GET", f"/{ident}/invocations?limit=1")
    for t in callers:
        t.start()
    try:
        rows = first.json["invocations"]
        after = re.search(r"after=(\w+)", first.headers["Link"]).group(1)
        rows += pages(lambda p: server.fn("GET", p), f"/{ident}/invocations?after={after}", 7,
                      "invocations")
    finally:
        stop.set()
        for t in callers:
            t.join()
    assert not errors
    got = [r["invocation_id"] for r in rows]
    assert got == sorted(got, reverse=True) and len(got) == len(set(got))
    assert set(got) == set(known), "nothing lost, nothing from after the first page"


def test_versions_and_events(server):
    ident = server.create(PY)
    for number in range(2, 9):
        reply = server.fn("POST", f"/{ident}/versions",
                          {"version": number, "source_code": b64(PY)})
        assert reply.status == 201, reply
    rows = pages(lambda p: server.fn("GET", p), f"/{ident}/versions", 3, "versions")
    assert [v["version"] for v in rows] == list(range(8, 0, -1))
    events = pages(lambda p: server.fn("GET", p), f"/{ident}/events", 2, "events")
    assert [e["type"] for e in events] == ["deployed"] * 7 + ["created"]


@pytest.mark.parametrize("path", ["?project_id=x&after=0", "?project_id=x&after=-1",
                                  "?project_id=x&after=", "?project_id=x&after=abc",
                                  "?project_id=x&limit=0", "?project_id=x&limit=1001",
                                  "?project_id=x&limit=all"])
def test_what_is_no_page(server, path):
    reply = server.fn("GET", path)
    assert reply.status == 400 and reply.json["details"]["field"] in ("after", "limit"), reply


def test_a_cursor_is_an_id(server):
    ident = server.create(PY)
    for cursor in ("1", "inv-01", "z" * 26, ""):
        reply = server.fn("GET", f"/{ident}/invocations?after={cursor}")
        assert reply.status == 400 and reply.json["details"]["field"] == "after", reply


def test_the_link_keeps_the_query(server):
    for i in range(3):
        server.create(PY, name=f"f{i}", project_id="a.b-c")
    reply = server.fn("GET", "?project_id=a.b-c&x=%22%3E&after=99999&limit=2&&y")
    found = re.fullmatch(r'<\?project_id=a\.b-c&x=%22%3E&limit=2&y&after=\d+>; rel="next"',
                         reply.headers["Link"])
    assert found, reply.headers["Link"]
