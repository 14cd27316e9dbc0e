# SPDX-License-Identifier: Apache-2.0
"""Every reply of the test suite against the OpenAPI documents in api/, and a count of which
operations were called at all: contract.py FILE fails when one is missing in what note_called()
wrote there."""

import pathlib
import re
import sys

import jsonschema
import yaml

API = pathlib.Path(__file__).resolve().parents[2] / "api"
called = set()
_operations = []


class Operation:
    def __init__(self, document, method, path, spec):
        self.document = document
        self.method = method.upper()
        self.path = path
        self.spec = spec
        pattern = path.rstrip("/")
        if spec.get("x-kiln-rest"):
            pattern = re.sub(r"/\{[^/}]+\}$", "(/.*)?", pattern)
        pattern = re.sub(r"\{[^/}]+\}", "[^/]+", pattern) + "/?"
        self.pattern = re.compile(pattern + r"$")
        self.literal = path.count("{") + (100 if spec.get("x-kiln-rest") else 0)

    @property
    def name(self):
        return self.spec["operationId"]


def _nullable(schema):
    """OpenAPI 3.0's `nullable` in JSON Schema's words."""
    if isinstance(schema, list):
        return [_nullable(s) for s in schema]
    if not isinstance(schema, dict):
        return schema
    out = {k: _nullable(v) for k, v in schema.items()}
    if out.pop("nullable", False):
        return {"anyOf": [{"type": "null"}, out]}
    return out


def _load():
    for file in sorted(API.glob("*.yaml")):
        document = yaml.safe_load(file.read_text())
        document["components"] = _nullable(document.get("components", {}))
        for path, item in document.get("paths", {}).items():
            base = ""
            for method, spec in item.items():
                if method in ("get", "put", "post", "delete", "patch", "options", "head"):
                    _operations.append(Operation(document, method, base + path, spec))


def operations():
    if not _operations:
        _load()
    return _operations


def find(method, path):
    bare = path.split("?")[0]
    hits = [o for o in operations() if o.method == method and o.pattern.match(bare)]
    return min(hits, key=lambda o: o.literal) if hits else None


def _deref(operation, node):
    while isinstance(node, dict) and "$ref" in node:
        target = operation.document
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        node = target
    return node


def check(method, path, reply):
    operation = find(method, path)
    if operation is None:
        return
    called.add((operation.document["info"]["title"], operation.name))
    responses = operation.spec["responses"]
    answer = responses.get(str(reply.status), responses.get(reply.status, responses.get("default")))
    assert answer is not None, f"{operation.name}: {reply.status} is not in the document: {reply}"
    answer = _deref(operation, answer)
    content = answer.get("content")
    if not content:
        assert reply.body == b"", f"{operation.name} {reply.status}: a body where none is: {reply}"
        return
    kind = reply.headers.get("Content-Type", "").split(";")[0]
    if kind != "application/json" or kind not in content or method == "HEAD":
        assert kind in content or "*/*" in content, (
            f"{operation.name} {reply.status}: {kind} is not in the document")
        return
    schema = _nullable(content[kind].get("schema", {}))
    schema = {**schema, "components": operation.document["components"]}
    try:
        jsonschema.Draft202012Validator(schema).validate(reply.json)
    except jsonschema.ValidationError as e:
        raise AssertionError(f"{operation.name} {reply.status}: {e.message} at {list(e.path)}: "
                             f"{reply}") from e


def note_called(file):
    """Appends what this process called; several processes may, each in one write."""
    lines = "".join(f"{title}\t{name}\n" for title, name in sorted(called))
    with open(file, "a", encoding="utf-8") as f:
        f.write(lines)


def missed(file):
    noted = set(pathlib.Path(file).read_text(encoding="utf-8").splitlines())
    return [o.name for o in operations() if f"{o.document['info']['title']}\t{o.name}" not in noted]


if __name__ == "__main__":
    names = missed(sys.argv[1])
    if names:
        sys.exit(f"operations that no test called: {', '.join(names)}")
