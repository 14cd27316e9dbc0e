# SPDX-License-Identifier: Apache-2.0
"""The fuzzed and the forgotten, made from the documents in api/: every operation of every dialect is
given bodies, fields, path and query parameters that are wrong. The answer is the dialect's own error,
or success where the value happens to be good; never a 5xx; and what was refused has changed nothing."""

import concurrent.futures
import copy
import http.client
import json
import re

import contract
import harness
import pytest
import yaml
from harness import b64

CODE = "def handler(event): return 1"
LONG = "x" * 300


class Raw(str):
    """JSON text that json.dumps() cannot say."""


class Op:
    def __init__(self, dialect, document, path, item, method):
        self.dialect, self.document, self.path, self.method = dialect, document, path, method.upper()
        self.spec = item[method]
        self.name = f"{dialect}-{self.spec['operationId']}"
        both = item.get("parameters", []) + self.spec.get("parameters", [])
        self.parameters = [self.deref(p) for p in both]
        self.path_names = re.findall(r"\{([^}]+)\}", path)
        self.rest = self.spec.get("x-kiln-rest")

    def deref(self, node):
        while isinstance(node, dict) and "$ref" in node:
            target = self.document
            for part in node["$ref"].removeprefix("#/").split("/"):
                target = target[part]
            node = target
        return node

    def query(self):
        return [p["name"] for p in self.parameters if p["in"] == "query"]

    def media(self):
        return self.deref(self.spec.get("requestBody", {})).get("content", {})

    def schema(self):
        return self.media().get("application/json", {}).get("schema", {})

    def example(self):
        """A body that is good."""
        media = self.media()["application/json"]
        if "example" in media:
            return copy.deepcopy(media["example"])
        for one in media.get("examples", {}).values():
            return copy.deepcopy(self.deref(one)["value"])
        return self.made(media.get("schema", {}))

    def flat(self, schema):
        schema = dict(self.deref(schema))
        for word in ("allOf", "anyOf", "oneOf"):
            for part in schema.pop(word, [])[:None if word == "allOf" else 1]:
                part = self.flat(part)
                properties = {**schema.get("properties", {}), **part.get("properties", {})}
                schema = {**schema, **part}
                if properties:
                    schema["properties"] = properties
        return schema

    def made(self, schema):
        schema = self.flat(schema)
        for word in ("example", "default"):
            if schema.get(word) is not None:
                return copy.deepcopy(schema[word])
        if schema.get("enum"):
            return schema["enum"][0]
        kind = schema.get("type")
        if "properties" in schema or kind == "object":
            return {k: self.made(v) for k, v in schema.get("properties", {}).items()
                    if k in schema.get("required", ())}
        if kind == "array":
            return [self.made(schema["items"])] if schema.get("minItems") else []
        return {"integer": schema.get("minimum", 1), "number": schema.get("minimum", 1),
                "boolean": True}.get(kind, "text")

    def fields(self, schema=None, at=(), depth=0):
        """Where a body has fields: paths into it."""
        schema = self.flat(self.schema() if schema is None else schema)
        for name, part in schema.get("properties", {}).items():
            yield (*at, name)
            if depth < 2:
                yield from self.fields(part, (*at, name), depth + 1)
        if schema.get("type") == "array" and depth < 2:
            yield (*at, 0)
            yield from self.fields(schema.get("items", {}), (*at, 0), depth + 1)


def load():
    for file in sorted(contract.API.glob("*.yaml")):
        document = yaml.safe_load(file.read_text())
        for path, item in document["paths"].items():
            for method in item:
                if method in ("get", "put", "post", "delete", "patch"):
                    yield Op(file.stem, document, path, item, method)


OPS = list(load())
WITH_BODY = [op for op in OPS if "application/json" in op.media()]
WITH_PATH = [op for op in OPS if op.path_names]
WITH_QUERY = [op for op in OPS if op.query()]
# The world holds no image that could be run, and a task of a builder is another file's matter.
CALLS = {"kube-invoke_function", "runna-invoke_function", "fnservice-invoke_function",
         "fnservice-invoke_async", "blue-invoke_function"}


def of(ops):
    return pytest.mark.parametrize("op", ops, ids=[op.name for op in ops])


# ---- the shape of a dialect's errors ----

def has_text(v):
    return isinstance(v, str) and v != ""


def envelope(body):
    e = body["error"]
    return body["success"] is False and has_text(e["code"]) and has_text(e["message"]) and (
        e["code"] != "VALIDATION_ERROR" or has_text(e["details"]["field"]))


def blue_error(body):
    if isinstance(body["detail"], list):
        return all(has_text(d["msg"]) and isinstance(d["loc"], list) and has_text(d["type"])
                   for d in body["detail"])
    return body["detail"]["error"] == body["error"] and has_text(body["error"]["code"]) and \
        has_text(body["error"]["message"])


SHAPES = {
    "common": lambda b: has_text(b["error"]),
    "kube": lambda b: has_text(b["error"]),
    "fnservice": lambda b: has_text(b["error"]) and has_text(b["code"]),
    "runna": envelope,
    "iron": lambda b: has_text(b["error"]["message"]),
    "blue": blue_error,
}


def is_error_of(dialect, reply):
    try:
        return SHAPES[dialect](reply.json)
    except (ValueError, KeyError, TypeError):
        return False


# ---- a world with one of everything ----

class World:
    def __init__(self):
        self.server = harness.Server()
        self.connection = None
        self.n = 0
        self.known = None # state(), where nothing was changed since
        self.fresh = False # as build() left it

    def ask(self, method, path, body=None, kind="application/json"):
        """One request on a connection that stays; no look at the documents."""
        if isinstance(body, str):
            body = body.encode("utf-8", "surrogatepass")
        headers = {"Authorization": f"Bearer {self.server.token}"}
        if body is not None:
            headers["Content-Type"] = kind
        for again in (True, False):
            try:
                if self.connection is None:
                    self.connection = http.client.HTTPConnection(
                        self.server.host, self.server.port, timeout=harness.PATIENCE_S)
                self.connection.request(method, path, body, headers)
                r = self.connection.getresponse()
                return harness.Reply(r.status, r.headers, r.read())
            except (http.client.HTTPException, ConnectionError):
                self.connection.close()
                self.connection = None
                assert again and self.server.process.poll() is None, self.server.log()[-3000:]

    def made(self, method, path, body):
        reply = self.ask(method, path, json.dumps(body))
        assert reply.status in (200, 201, 202), (method, path, reply)
        return reply.json

    def clear(self):
        for f in self.ask("GET", "/functions").json["data"]["functions"]:
            assert self.ask("DELETE", f"/functions/{f['id']}").status in (200, 404)
        for app in self.ask("GET", "/v1/apps").json.get("apps") or []:
            for route in self.ask("GET", f"/v1/apps/{app['name']}/routes").json.get("routes") or []:
                self.ask("DELETE", f"/v1/apps/{app['name']}/routes/{route['path']}")
            self.ask("DELETE", f"/v1/apps/{app['name']}")
        for ws in self.workspaces():
            if ws["id"] != "ws-default":
                self.ask("DELETE", f"/api/workspaces/{ws['id']}")

    def workspaces(self):
        reply = self.ask("GET", "/api/workspaces").json
        return reply if isinstance(reply, list) else reply["workspaces"]

    def build(self):
        """As it is before each test."""
        if self.fresh:
            return
        self.known = None
        self.clear()
        fn = "/api/v1/workspaces/ws-default/functions"
        f = self.made("POST", fn, {
            "name": "base", "project_id": "proj-default", "runtime": "python3.9",
            "handler": "main.handler", "source_code": b64(CODE)})
        no = int(f["id"].removeprefix("func-"))
        away = self.made("POST", fn.replace("ws-default", "ws-away"), {
            "name": "away", "project_id": "proj-default", "runtime": "python3.9",
            "handler": "main.handler", "source_code": b64(CODE)})
        self.fn = f"{fn}/{f['id']}"
        self.away = away["id"].removeprefix("func-")
        trigger = self.made("POST", f"{self.fn}/triggers", {
            "name": "base", "type": "http", "config": {"path": "/base"}})
        version = self.ask("GET", f"{self.fn}/versions").json["versions"][0]
        call = self.made("POST", f"{self.fn}/invoke-async", {})
        job = self.made("POST", f"/functions/{no}/invoke", {})["data"]["id"]
        self.made("POST", "/v1/apps", {"app": {"name": "badapp"}})
        self.made("POST", "/v1/apps/badapp/routes", {"route": {
            "path": "/r", "image": "127.0.0.1:1/none", "type": "sync"}})
        self.values = {
            "workspaceId": "ws-default", "workspace_id": "ws-default", "functionId": f["id"],
            "versionId": version["id"], "triggerId": trigger["id"], "name": "base",
            "invocationId": call["invocation_id"], "id": str(job), "app": "badapp", "route": "r",
            "task_id": "none", "document": "kube.json", "file": "docs.css",
            "function_id": {"blue": f"fn-{no}", "runna": str(no)}}
        self.no = no
        self.fresh = True

    def repair(self):
        """After a change that was taken: is the function still what the paths say?"""
        base = self.ask("GET", f"/functions/{self.no}").json.get("data", {})
        if (base.get("name"), base.get("runtime"), base.get("code")) != ("base", "python", CODE):
            self.build()

    def path(self, op, **instead):
        def value(match):
            name = match.group(1)
            v = instead.get(name, self.values.get(name, "none"))
            return v[op.dialect] if isinstance(v, dict) else v
        return re.sub(r"\{([^}]+)\}", value, op.path)

    def state(self):
        """What there is, but for what a build or a call may change by itself."""
        # Every page: the lists are as long as they are.
        functions = self.ask("GET", "/functions").json["data"]["functions"]
        triggers = self.ask("GET", f"{self.fn}/triggers").json.get("triggers")
        versions = self.ask("GET", f"{self.fn}/versions").json.get("versions") or []
        return (functions, triggers, [v["id"] for v in versions],
                self.ask("GET", "/v1/apps").json.get("apps"),
                self.ask("GET", "/v1/routes").json.get("routes"),
                [(w["id"], w.get("name"), w.get("description")) for w in self.workspaces()])

    def unique(self, op, body):
        """Another name for each creation."""
        self.n += 1

        def walk(v):
            if isinstance(v, dict):
                for k in v:
                    if k == "name" and isinstance(v[k], str) and op.method == "POST":
                        v[k] = f"bad{self.n}"
                    elif k == "path" and isinstance(v[k], str):
                        v[k] = f"/bad{self.n}"
                    elif k in ("triggers", "version"):
                        continue
                    else:
                        walk(v[k])
            elif isinstance(v, list):
                for one in v:
                    walk(one)
        walk(body)
        return body

    def try_one(self, op, path, body, what):
        """The request, and that its answer is in order."""
        changes = op.method != "GET" and op.name not in CALLS
        before = changes and (self.known or self.state())
        reply = self.ask(op.method, path, body)
        if changes and reply.status < 400:
            self.known, self.fresh = None, False
        where = f"{op.name} {op.method} {path[:200]} {what[:300]}: {reply}"
        assert reply.status < 500 or self.is_ours(op, reply), where
        if reply.status >= 400:
            assert is_error_of(op.dialect, reply) or self.is_of_nobody(path, reply), where
            if changes:
                self.known = self.state()
                assert self.known == before, f"changed by {where}"
        return reply

    def is_of_nobody(self, path, reply):
        """A path that cannot be read, or that says another one, has whose its beginning is."""
        return (b"the path has a broken" in reply.body or "/%2e%2e" in path) and \
            any(is_error_of(d, reply) for d in SHAPES)

    def is_ours(self, op, reply):
        """Where there is no cluster, no registry and no image, saying so is right."""
        there = reply.status in (502, 503) or b"cannot be reached" in reply.body
        return op.dialect in ("blue", "iron") and there and is_error_of(op.dialect, reply)


@pytest.fixture(scope="module")
def the_world():
    w = World()
    yield w
    w.clear()
    w.server.stop()


@pytest.fixture
def world(the_world):
    the_world.build()
    yield the_world
    assert the_world.ask("GET", "/health").status == 200


# ---- bodies ----

BODIES = [
    b"", b" ", b"{", b"}", b"{]", b"nonsense", b"'x'", b"[]", b"[1,2]", b'"text"', b"1", b"null", b"true",
    b"NaN", b"-", b"1e999", b"{}{}", b"{},", b'{"a":1,}', b'{"a" 1}', b'{a:1}', b"\xff\xfe{\x00}\x00",
    b"\xef\xbb\xbf{}", b'{"\xff":1}', b'{"name":"\xc0\x80"}', b'{"name":"\\u0000"}',
    b'{"name":"\\ud800"}', b'{"name":"\\udc00\\ud800"}', b'{"name":"a","name":"b"}',
    b'{"name":"\x01"}', b"\x00", b"[" * 100000, b'{"a":' * 20000 + b"1" + b"}" * 20000,
    b'{"a":' + b"9" * 5000 + b"}", b"{" + b'"a":1,' * 20000 + b'"b":2}', b"name=x&runtime=y",
    b"<xml/>"]


@of(WITH_BODY)
def test_bodies(world, op):
    for body in BODIES:
        world.try_one(op, world.path(op), body, repr(body[:60]))


@of(WITH_BODY)
def test_a_type_that_is_not_json(world, op):
    """What the content type says does not matter, or is refused; it breaks nothing."""
    body = json.dumps(world.unique(op, op.example()))
    world.fresh = False
    for kind in ("text/plain", "application/xml", "multipart/form-data; boundary=x", "", "x" * 500):
        reply = world.ask(op.method, world.path(op), body, kind)
        assert reply.status < 500 or world.is_ours(op, reply), (op.name, kind, reply)
        assert reply.status < 400 or is_error_of(op.dialect, reply), (op.name, kind, reply)


# ---- fields ----

VALUES = [
    None, True, False, 0, -1, 1.5, 2 ** 63, -2 ** 63 - 1, 10 ** 40, Raw("1e400"), "", " ", "12", "-1",
    "1e3", "true", "null", [], {}, [None], [[]], {"a": None}, [1, "a", {}], {"": {}}, "x" * 5000,
    "a\u0000b", "\ud800", "\udc00\ud800", "e\u0301\u0301", "\U0001f600", "\u202eabc", "a\nb\tc",
    "../../etc/passwd", "a/b", "%00%2F", "{}", "한국어 이름", "\ufeff", "\u007f"]


def with_value(body, at, value):
    """BODY with VALUE there, the way to it made where it is missing."""
    *way, last = at
    node = body
    for n, step in enumerate(way):
        after = at[n + 1]
        empty = [] if isinstance(after, int) else {}
        if isinstance(step, int):
            while len(node) <= step:
                node.append(copy.deepcopy(empty))
            if not isinstance(node[step], type(empty)):
                node[step] = empty
        elif not isinstance(node.get(step), type(empty)):
            node[step] = empty
        node = node[step]
    if isinstance(last, int):
        del node[:]
        node.append(value)
    else:
        node[last] = value
    return body


def dumps(body):
    """With Raw as it is."""
    marks = {}

    def walk(v):
        if isinstance(v, Raw):
            marks[f"@raw{len(marks)}@"] = str(v)
            return f"@raw{len(marks) - 1}@"
        if isinstance(v, dict):
            return {k: walk(x) for k, x in v.items()}
        return [walk(x) for x in v] if isinstance(v, list) else v

    text = json.dumps(walk(body))
    for mark, raw in marks.items():
        text = text.replace(f'"{mark}"', raw)
    return text


@of(WITH_BODY)
def test_fields(world, op):
    good = op.example()
    if not isinstance(good, dict):
        pytest.skip("the body is not made of fields")
    if op.method in ("PUT", "PATCH") and not op.flat(op.schema()).get("required"):
        good = {}  # each field by itself: the others would only have to be built
    elif op.method == "PUT":  # what is taken leaves the function as it is, for the next ones
        same = {"code": CODE, "runtime": "python3.9", "handler": "handler"}
        good.update((k, v) for k, v in same.items() if k in good)
    for at in op.fields():
        for value in VALUES:
            body = with_value(world.unique(op, copy.deepcopy(good)), at, value)
            reply = world.try_one(op, world.path(op), dumps(body), f"{at}={value!r:.60}")
            if reply.status < 300 and op.method in ("PUT", "PATCH"):
                world.repair()


@of(WITH_BODY)
def test_missing_and_unknown_fields(world, op):
    good = op.example()
    if not isinstance(good, dict):
        pytest.skip("the body is not made of fields")
    required = op.flat(op.schema()).get("required", [])
    for name in list(good):
        body = world.unique(op, copy.deepcopy(good))
        del body[name]
        reply = world.try_one(op, world.path(op), json.dumps(body), f"without {name}")
        if name in required:
            assert 400 <= reply.status < 500, (op.name, name, reply)
    for extra in ({"unknown": 1}, {"": None}, {"__proto__": {}}, {"x" * 3000: [{}]}, {"한": "é"},
                  {f"k{n}": n for n in range(2000)}):
        body = {**world.unique(op, copy.deepcopy(good)), **extra}
        world.try_one(op, world.path(op), json.dumps(body), f"with {list(extra)[0]:.40}")


# ---- paths and queries ----

ODD = ["%2F", "..%2F..%2Fetc%2Fpasswd", "%00", "a%00b", "%0A", "%0d%0aX:y", "%ff", "%C0%80",
       "%ED%A0%80", "%", "%zz", "%1", "%E2%80%AE", "%F0%9F%98%80", "e%CC%81", "-1", "0", "1e9", "1.0",
       "99999999999999999999", "func-99999999999999999999", "func--1", "func-0", "fn-0", "fn-4294967297",
       "func-4294967297", "ver-0", "trg-0", "inv-", "inv-00000000000000000000000000", "%20", "%27%3B--",
       "%22", "null", "undefined", "%7Bid%7D", "*", "~", "%2e%2e", "x" * 64, LONG, "x" * 5000, "%25",
       "%2525", "A", "+", "a;b", "a=b", "a,b", "(", "$%7Bx%7D"]


@of(WITH_PATH)
def test_path_parameters(world, op):
    body = json.dumps(world.unique(op, op.example())) if op in WITH_BODY else None
    away = [world.away, f"func-{world.away}", f"fn-{world.away}", "ws-away", "away"]
    for name in op.path_names:
        for odd in ODD + away:
            if odd in away and "workspace" in name and op.method != "GET":
                continue # a workspace that is there
            world.try_one(op, world.path(op, **{name: odd}), body, name)


@of([op for op in WITH_PATH if "workspaceId" not in op.path_names and
     "workspace_id" not in op.path_names])
def test_what_is_of_another_workspace(world, op):
    """Paths without a workspace reach the default one, whose functions have other numbers."""
    ours = {"function_id": {"runna": world.away}, "name": "away"}
    wanted = [n for n in op.path_names if n in ours and (n == "name" or op.dialect == "runna")]
    for name in wanted:
        body = json.dumps(op.example()) if op in WITH_BODY else None
        path = world.path(op, **{name: ours[name]})
        assert world.try_one(op, path, body, "of another workspace").status == 404


@of([op for op in WITH_PATH if op.dialect in ("fnservice", "blue") and len(op.path_names) > 1])
def test_ids_through_the_wrong_workspace(world, op):
    body = json.dumps(world.unique(op, op.example())) if op in WITH_BODY else None
    name = next(n for n in op.path_names if n.lower().startswith("workspace"))
    reply = world.try_one(op, world.path(op, **{name: "ws-away"}), body, "through ws-away")
    assert reply.status in (404, 422, 400), (op.name, reply)


QUERY = ["", "0", "-1", "1.5", "x", "null", "true", "%00", "%ff", "%zz", "%", "%F0%9F%98%80", "1e3",
         "99999999999999999999", "%2F", "2025-13-45T99:99:99Z", "2025-01-01", "now", "x" * 3000, "%26",
         "inv-00000000000000000000000000", "[]", "0x10", "+5", "%20"]


@of(WITH_QUERY)
def test_query_parameters(world, op):
    body = json.dumps(world.unique(op, op.example())) if op in WITH_BODY else None
    needed = "&".join(f"{p['name']}=proj-default" for p in op.parameters
                      if p["in"] == "query" and p.get("required"))
    for name in op.query():
        for value in QUERY:
            if name == "follow" and value in ("", "1", "true"):
                continue  # such a reply has no end
            rest = "" if name in needed else needed
            world.try_one(op, f"{world.path(op)}?{rest}&{name}={value}", body, name)
    for query in ("?", "&&&", "=", "?=&=&", "&".join(f"a{n}=1" for n in range(900)), "limit=1&limit=x",
                  "unknown=1", "%=1"):
        world.try_one(op, f"{world.path(op)}?{query}", body, query)


# ---- races ----

RACES = {
    "fnservice": ("/api/v1/workspaces/ws-default/functions", lambda name: {
        "name": name, "project_id": "proj-default", "runtime": "python3.9",
        "handler": "main.handler", "source_code": b64(CODE)}),
    "kube": ("/api/v1/functions", lambda name: {
        "name": name, "runtime": "python3.9", "handler": "handler", "code": CODE}),
    "runna": ("/functions", lambda name: {
        "name": name, "runtime": "python", "code": CODE, "execution_type": "sync"}),
    "blue": ("/api/workspaces/ws-default/functions", lambda name: {
        "name": name, "code": b64(CODE)}),
    "iron": ("/v1/apps", lambda name: {"app": {"name": name}}),
    "iron-route": ("/v1/apps/badapp/routes", lambda name: {
        "route": {"path": f"/{name}", "image": "127.0.0.1:1/none", "type": "sync"}}),
}


@pytest.mark.parametrize("api", RACES)
def test_two_for_one_name(world, api):
    path, body = RACES[api]
    world.fresh = False
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for n in range(3):
            replies = list(pool.map(lambda _, n=n: world.server.call(
                "POST", path, body(f"race{n}")), range(4)))
            won = [r for r in replies if r.status < 300]
            assert len(won) == 1, replies
            for r in replies:
                assert r in won or (r.status == 409 and is_error_of(api.split("-")[0], r)), replies


def test_two_apis_for_one_name(world):
    """The functions of kube, runna and fnservice's default project have one set of names."""
    world.fresh = False
    apis = [RACES[a] for a in ("fnservice", "kube", "runna")] * 2
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        for n in range(3):
            replies = list(pool.map(lambda a, n=n: world.server.call(
                "POST", a[0], a[1](f"race{n}")), apis))
            assert sorted(r.status == 409 for r in replies) == [False] + [True] * 5, replies
