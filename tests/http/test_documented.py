# SPDX-License-Identifier: Apache-2.0
"""What docs/ says and no other test holds to."""

import re
import subprocess

import harness

EVENT_TYPES = {"created", "updated", "deleted", "deployed", "version_activated", "rolled_back", "invoked"}


def test_a_result_over_the_limit_is_told_as_that(server):
    ident = server.create("def handler(event): return 'x' * (51 << 20)", resources={"memory": "512Mi"})
    reply = server.invoke(ident)
    assert reply.status == 500, reply
    assert reply.json["details"]["cause"] == "limit"
    assert "larger than" in reply.json["error"]


def test_changes_of_triggers_are_events_of_a_documented_type(server):
    ident = server.create("def handler(event): return 1")
    data = {"name": "t", "type": "http", "config": {"path": "/documented"}}
    trigger = server.fn("POST", f"/{ident}/triggers", data).json["id"]
    server.fn("PUT", f"/{ident}/triggers/{trigger}", {"enabled": False})
    server.fn("DELETE", f"/{ident}/triggers/{trigger}")
    events = server.fn("GET", f"/{ident}/events").json["events"]
    assert [e["description"] for e in events[:3]] == [
        "Trigger t deleted", "Trigger t updated", "Trigger t created"]
    assert {e["type"] for e in events} <= EVENT_TYPES


def test_both_languages_have_the_documented_environment(server):
    python = server.create("import os\ndef handler(event): return dict(os.environ)", name="p")
    node = server.create("exports.handler = () => process.env", name="n", runtime="nodejs18",
                         handler="index.handler")
    names = [set(server.result(ident)) for ident in (python, node)]
    assert names[0] == names[1] == {
        "PATH", "HOME", "LANG", "TMPDIR", "FUNCTION_NAME", "FUNCTION_HANDLER", "RUNTIME",
        "KILN_FUNCTION_ID", "KILN_FUNCTION_VERSION", "KILN_WORKSPACE", "KILN_PROJECT"}


def test_deploying_again_moves_the_path(server, tmp_path):
    file = tmp_path / "moved.py"
    file.write_text("def handler(event): return event.path")
    server.cli("deploy", str(file), "--http", "/first")
    server.cli("deploy", str(file), "--http", "/second")
    try:
        assert server.gateway("GET", "/first").status == 404
        assert server.gateway("GET", "/second").body == b"/second"
        taken = tmp_path / "taken.py"
        taken.write_text(file.read_text())
        refused = server.cli("deploy", str(taken), "--http", "/second", check=False)
        assert refused.returncode != 0 and "/second" in refused.stderr, refused
    finally:
        server.cli("delete", "moved")
        server.cli("delete", "taken", check=False)


def test_an_allow_list_that_is_none_ends_the_start(tmp_path):
    done = subprocess.run(
        [str(harness.KILN), "serve", "--data", str(tmp_path / "data"),
         "--network-allow", "10.0.0.0/8,nonsense"],
        capture_output=True, text=True, timeout=harness.PATIENCE_S, check=False)
    assert done.returncode == 2
    assert 'wrong is "nonsense"' in done.stderr


def test_the_page_of_settings_is_what_the_program_says():
    page = (harness.ROOT / "docs" / "operations.md").read_text()
    said = subprocess.run([str(harness.KILN), "serve", "--help"], capture_output=True, text=True,
                          timeout=harness.PATIENCE_S, check=True).stdout
    assert f"$ kiln serve --help\n{said}```" in page, "copy `kiln serve --help` into docs/operations.md"


# ---- pages that repeat what stands elsewhere ----

DOCS = harness.ROOT / "docs"


def test_the_settings_are_those_of_the_help():
    said = subprocess.run([str(harness.KILN), "serve", "--help"], capture_output=True, text=True,
                          timeout=60, check=True).stdout
    assert said in (DOCS / "operations.md").read_text()


def test_every_limit_that_is_named_is_one():
    named = set(re.findall(r"\b[A-Z][A-Z0-9]*_[A-Z0-9_]*[A-Z0-9]\b",
                           (DOCS / "limits.md").read_text())) - {"KILN_PULL"}
    sources = "".join(p.read_text() for folder in ("src", "runtimes")
                      for p in (harness.ROOT / folder).rglob("*.[ch]"))
    assert named > {"CODE_MAX", "NAME_MAX_LEN"}
    assert [n for n in sorted(named) if n not in sources] == []


def test_every_page_is_in_the_index_and_every_link_leads_somewhere():
    index = (DOCS / "README.md").read_text()
    for page in [harness.ROOT / "README.md", harness.ROOT / "ARCHITECTURE.md", *DOCS.rglob("*.md")]:
        if page.parent == DOCS and page.name != "README.md":
            assert f"({page.name})" in index, page
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / link).exists(), (page, link)
