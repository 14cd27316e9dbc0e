# SPDX-License-Identifier: Apache-2.0
"""The documents in api/: valid, complete, true to themselves; and what is served of them."""

import html.parser
import json
import pathlib
import re
import shutil
import socket
import subprocess
import sys

import browser
import contract
import harness
import jsonschema
import pytest
from harness import BUILD, ROOT, SANITIZED

API = ROOT / "api"
NAMES = sorted(p.stem for p in API.glob("*.yaml"))
META = pathlib.Path("/usr/share/openapi-specification/schemas/v3.0/schema.json")  # Debian's
METHODS = ("get", "put", "post", "delete", "patch", "head", "options")
UI = ROOT / "tools/npm/run/node_modules/swagger-ui-dist"

sys.path.insert(0, str(ROOT / "tools"))
import gen_openapi  # noqa: E402  # pylint: disable=wrong-import-position


@pytest.fixture(params=NAMES)
def document(request):
    return gen_openapi.load(API / f"{request.param}.yaml")


def operations(document):
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield f"{method.upper()} {path}", item, item[method]


def follow(document, node):
    while "$ref" in node:
        target = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part.replace("~1", "/").replace("~0", "~")]
        node = target
    return node


def validator(document, schema):
    whole = {**contract._nullable(schema),
             "components": contract._nullable(document.get("components", {}))}
    return jsonschema.Draft202012Validator(whole)


def walk(node, where=""):
    yield where, node
    if isinstance(node, dict):
        for key, value in node.items():
            yield from walk(value, f"{where}/{key}")
    elif isinstance(node, list):
        for i, value in enumerate(node):
            yield from walk(value, f"{where}/{i}")


# ---- the documents ----

def test_is_valid_openapi(document):
    meta = json.loads(META.read_text())
    faults = [f"{list(e.path)}: {e.message[:300]}"
              for e in jsonschema.Draft4Validator(meta).iter_errors(document)]
    assert faults == []
    assert document["openapi"].startswith("3.0.")


def test_every_reference_leads_somewhere_and_every_component_is_used(document):
    used = set()
    for where, node in walk(document):
        if isinstance(node, dict) and isinstance(node.get("$ref"), str):
            assert node["$ref"].startswith("#/"), where
            assert follow(document, node) is not None, where
            used.add(node["$ref"])
    for kind, members in document.get("components", {}).items():
        if kind != "securitySchemes":
            for name in members:
                assert f"#/components/{kind}/{name}" in used, f"{kind} {name} is not used"


def test_every_operation_says_what_it_is(document):
    ids = []
    for where, item, op in operations(document):
        assert op.get("summary", "").strip(), where
        assert op["responses"], where
        assert any(s[0] in "23" for s in op["responses"]), where
        ids.append(op["operationId"])
        named = set(re.findall(r"\{([^}]+)\}", where))
        given = {p["name"] for p in (follow(document, p) for p in
                                     item.get("parameters", []) + op.get("parameters", []))
                 if p["in"] == "path"}
        assert given == named, where
    assert len(set(ids)) == len(ids)


def examples(content):
    if "example" in content:
        yield content["example"]
    for example in content.get("examples", {}).values():
        yield example["value"]


def contents(document, op):
    """Every (what, media type, its object) that an operation takes or answers."""
    if "requestBody" in op:
        for kind, content in follow(document, op["requestBody"])["content"].items():
            yield "request", kind, content
    for status, response in op["responses"].items():
        for kind, content in follow(document, response).get("content", {}).items():
            yield status, kind, content


def test_examples_are_what_their_schemas_say(document):
    missing, wrong = [], []
    for where, item, op in operations(document):
        for what, kind, content in contents(document, op):
            if not kind.startswith("application/json"):
                continue
            assert "schema" in content, (where, what)
            found = list(examples(content))
            if not found and what[0] in "r2" and "example" not in follow(
                    document, content["schema"]):
                missing.append(f"{where} {what}")
            for example in found:
                for e in validator(document, content["schema"]).iter_errors(example):
                    wrong.append(f"{where} {what}: {e.message[:200]} at {list(e.path)}")
        for p in item.get("parameters", []) + op.get("parameters", []):
            p = follow(document, p)
            if "example" in p:
                for e in validator(document, p["schema"]).iter_errors(p["example"]):
                    wrong.append(f"{where} {p['name']}: {e.message[:200]}")
    assert wrong == []
    assert missing == []


def test_examples_within_schemas(document):
    wrong = []
    for where, node in walk(document.get("components", {}).get("schemas", {})):
        if isinstance(node, dict) and "example" in node and not where.endswith("/properties"):
            for e in validator(document, node).iter_errors(node["example"]):
                wrong.append(f"{where}: {e.message[:200]}")
    assert wrong == []


def test_what_needs_a_token_says_so(document):
    """Swagger UI sends the token where the document asks for it, and nowhere else."""
    schemes = document.get("components", {}).get("securitySchemes", {})
    for where, _item, op in operations(document):
        asked = op.get("security", document.get("security", []))
        if op["x-kiln-role"] == "none":
            assert asked == [], where
            continue
        assert asked, where
        for name in asked[0]:
            scheme = schemes[name]
            assert (scheme["type"], scheme["scheme"]) == ("http", "bearer"), where
    assert document["servers"] == [{"url": "/"}], "trying out goes to whoever served the page"


# ---- what is served ----

def test_the_served_documents_are_these(server):
    listed = server.request("GET", "/openapi", token=None)
    assert listed.status == 200, listed
    assert sorted(d["name"] for d in listed.json["documents"]) == NAMES
    for d in listed.json["documents"]:
        got = server.request("GET", d["url"], token=None)
        assert got.status == 200 and got.headers["Content-Type"] == "application/json", got
        assert got.json == gen_openapi.load(API / f"{d['name']}.yaml")
        assert got.json["info"]["title"] == d["title"]


def test_a_document_is_sent_once(server):
    first = server.request("GET", "/openapi/kube.json", token=None)
    tag = first.headers["ETag"]
    assert re.fullmatch(r'"[0-9a-f]{16}"', tag)
    for has in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = server.request("GET", "/openapi/kube.json", headers={"If-None-Match": has},
                               token=None)
        assert (again.status, again.body, again.headers["ETag"]) == (304, b"", tag)
    for has in ('"other"', tag.strip('"'), "", '"', ",,"):
        again = server.request("GET", "/openapi/kube.json", headers={"If-None-Match": has},
                               token=None)
        assert (again.status, again.body) == (200, first.body)
    head = server.request("HEAD", "/openapi/kube.json", token=None, check=False)
    assert (head.status, int(head.headers["Content-Length"]), head.body) == (
        200, len(first.body), b"")


def test_a_token_does_no_harm(server):
    assert server.request("GET", "/openapi/kube.json").status == 200
    assert server.request("GET", "/openapi/kube.json", token="wrong").status == 200


class Page(html.parser.HTMLParser):
    """What a page loads, and what in it a strict policy forbids."""

    def __init__(self, text):
        super().__init__()
        self.loads, self.inline, self.inside = [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.inside = tag
        if tag == "script" or (tag == "link" and "href" in attrs):
            self.loads.append(attrs.get("src") or attrs.get("href"))
        self.inline += [a for a in attrs if a.startswith("on") or a == "style"]
        if tag == "style":
            self.inline.append(tag)

    def handle_data(self, data):
        if self.inside == "script" and data.strip():
            self.inline.append(data)


TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
         ".png": "image/png"}


def test_the_page_and_all_that_it_loads(server):
    assert UI.is_dir(), "tools/setup.sh run installs Swagger UI"
    for path in ("/docs", "/docs/"):
        got = server.request("GET", path, token=None)
        assert (got.status, got.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    policy = got.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert re.search(r"script-src 'self'(;|$)", policy), "nothing inline, nothing evaluated"
    page = Page(got.body.decode())
    assert page.inline == []
    assert {pathlib.Path(p).name for p in page.loads} >= {
        "swagger-ui-bundle.js", "swagger-ui.css", "docs.js"}
    for path in page.loads:
        assert path.startswith("/docs/"), "from nowhere else"
        asset = server.request("GET", path, token=None)
        assert asset.status == 200, path
        assert asset.headers["Content-Type"] == TYPES[pathlib.Path(path).suffix]
        assert asset.headers["X-Content-Type-Options"] == "nosniff"
        assert asset.headers["Cache-Control"] in ("no-cache", "public, max-age=86400")
        name = pathlib.Path(path).name
        source = UI / name if (UI / name).exists() else ROOT / "web/docs" / name
        assert asset.body == source.read_bytes(), path


@pytest.mark.parametrize("path", [
    "/docs/../../etc/passwd", "/docs/%2e%2e/%2e%2e/etc/passwd", "/docs/..%2fopenapi%2findex.json",
    "/docs/%2e%2e%2f%2e%2e%2fkiln-server", "/docs/docs.js%00.css", "/docs/docs.css/..%2f..",
    "/docs//etc/passwd", "/docs/index.html", "/docs/missing.html", "/docs/package.json",
    "/docs/swagger-ui.js", "/docs/DOCS.CSS", "/docs/%2e%2e/kiln-server",
    "/openapi/index.json", "/openapi/kube", "/openapi/.json", "/openapi/kube.yaml",
    "/openapi/..%2fkube.json", "/openapi/%2e%2e%2fopenapi%2fkube.json", "/openapi/kube.json/x",
    "/openapi/kube.json%00", "/openapi/KUBE.json", "/openapi/" + "a" * 3000 + ".json"])
def test_nothing_else_is_served(server, path):
    got = server.raw(f"GET {path} HTTP/1.1\r\nHost: k\r\nConnection: close\r\n\r\n".encode())
    status = int(got.split()[1])
    assert status in (400, 404), got
    for secret in (b"root:", b"ELF", b"swagger-ui-dist", b'"documents"'):
        assert secret not in got


@pytest.mark.parametrize("path", ["/docs", "/docs/docs.css", "/openapi", "/openapi/kube.json"])
def test_only_to_read(server, path):
    for method in ("POST", "PUT", "DELETE"):
        got = server.request(method, path, "x", check=False)
        assert got.status == 405 and "GET" in got.headers["Allow"], got


def programs(folder):
    """A copy of the build that lacks npm's part."""
    for file in BUILD.glob("kiln*"):
        if file.is_file():
            shutil.copy(file, folder)
    shutil.copytree(BUILD / "runtimes", folder / "runtimes")
    shutil.copytree(BUILD / "web", folder / "web", ignore=lambda d, names: ["swagger-ui"])
    harness.own(folder)
    return folder


def test_without_swagger_ui_the_page_says_what_to_run(folder, start, monkeypatch):
    home = folder / "programs"
    home.mkdir()
    monkeypatch.setattr(harness, "KILN", programs(home) / "kiln")
    server = start()
    got = server.request("GET", "/docs", token=None)
    assert got.status == 200 and b"tools/setup.sh run" in got.body
    for path in Page(got.body.decode()).loads:
        assert server.request("GET", path, token=None).status == 200
    assert server.request("GET", "/docs/swagger-ui-bundle.js", token=None).status == 404
    assert server.request("GET", "/openapi", token=None).status == 200
    # and when it is there, it is seen
    (home / "web/swagger-ui").mkdir()
    for name in ("swagger-ui-bundle.js", "swagger-ui.css"):
        shutil.copy(UI / name, home / "web/swagger-ui")
    harness.own(home / "web/swagger-ui")
    assert b"swagger-ui-bundle.js" in server.request("GET", "/docs", token=None).body
    assert server.request("GET", "/docs/swagger-ui-bundle.js", token=None).status == 200


def test_without_its_documents_the_server_runs(folder, start, monkeypatch):
    home = folder / "programs"
    home.mkdir()
    programs(home)
    shutil.rmtree(home / "web")
    monkeypatch.setattr(harness, "KILN", home / "kiln")
    server = start()
    assert server.request("GET", "/health", token=None).status == 200
    for path in ("/openapi", "/openapi/kube.json"):
        assert server.request("GET", path, token=None).status == 503
    assert server.request("GET", "/docs", token=None).status == 404


def rss(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text).group(1)) * 1024


def test_readers_that_do_not_read_cost_little(server):
    """The bundle is 1.7 MB: not that for each of them."""
    path = "/docs/swagger-ui-bundle.js"
    assert server.request("GET", path, token=None).status == 200
    before = rss(server.pid)
    readers = []
    try:
        for _ in range(60):
            s = socket.socket()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.connect((server.host, server.port))
            s.sendall(f"GET {path} HTTP/1.1\r\nHost: k\r\n\r\n".encode())
            assert s.recv(12) == b"HTTP/1.1 200"
            readers.append(s)
        if not SANITIZED:
            assert rss(server.pid) - before < 60 * 700 * 1024
        # one that goes on has all of it
        got, end = b"", b"0\r\n\r\n"
        while not got.endswith(end):
            got += readers[0].recv(65536)
        assert len(got) > (UI / "swagger-ui-bundle.js").stat().st_size
    finally:
        for s in readers:
            s.close()


def test_the_installed_files(folder):
    """meson install puts the same files where the installed server looks."""
    if shutil.which("meson") is None or not (BUILD / "build.ninja").exists():
        pytest.skip("only from a build folder")
    out = subprocess.run(["meson", "install", "-C", str(BUILD), "--no-rebuild", "--destdir",
                          str(folder)], capture_output=True, text=True, timeout=120, check=False)
    assert out.returncode == 0, out.stderr
    web = next(folder.rglob("kiln/web"))
    assert (web / "openapi/kube.json").exists() and (web / "docs/index.html").exists()
    assert (web / "swagger-ui/swagger-ui-bundle.js").exists()
    assert (web / "swagger-ui/LICENSE").exists()


@pytest.fixture
def page(tmp_path):
    made = browser.Browser(tmp_path)
    yield made
    made.close()


@pytest.mark.skipif(not browser.PROGRAM or SANITIZED,
                    reason="a browser is not among the test packages")
def test_in_a_browser(server, page):
    """Where there is one: the page is drawn, a call is tried out with the token that was typed in,
    and the policy stopped nothing."""
    page.open(f"{server.url}/docs")
    page.click("option[value='/openapi/common.json']")  # drawn; chosen by what a select sends
    page.value("""(() => { const s = document.querySelector('#select');
        Object.getOwnPropertyDescriptor(HTMLSelectElement.prototype, 'value').set.call(
            s, '/openapi/common.json');
        s.dispatchEvent(new Event('change', { bubbles: true })); })()""")
    page.click("#operations-default-metrics .opblock-summary-control")
    assert page.value("document.querySelectorAll('#select option').length") == len(NAMES)
    page.value(f"ui.preauthorizeApiKey('bearer', {json.dumps(server.token)})")
    page.click(".try-out__btn")
    page.click(".btn.execute")
    status = ".live-responses-table .response-col_status"
    said = harness.wait_for("it is answered", lambda: page.value(
        f"[...document.querySelectorAll('{status}')].map((e) => e.textContent).join(' ')"
        ".match(/[0-9]{3}/)?.[0]"))
    assert said == "200"
    assert [w for w in page.said if "Content Security Policy" in w] == []
    assert page.said == []
