# SPDX-License-Identifier: Apache-2.0
"""Every setting: a wrong value ends the start with a sentence that says which and why."""

import re
import subprocess

import harness
import pytest
from harness import KILN, PATIENCE_S


def kiln(*args):
    done = subprocess.run([str(KILN), "serve", *args], capture_output=True, text=True,
                          timeout=PATIENCE_S, check=False)
    return done.returncode, done.stdout, done.stderr


def settings():
    """(name, how the value is called, default) of each line of --help."""
    status, out, _ = kiln("--help")
    assert status == 0
    found = []
    for line in out.splitlines():
        m = re.match(r"  --([a-z-]+)(?: ([A-Z:]+))?\s+\S", line)
        if m:
            default = re.search(r"\(([^()\s]+)\)$", line)
            found.append((m.group(1), m.group(2), default.group(1) if default else None))
    return found


ALL = settings()
NUMBERS = [s for s in ALL if s[1] in ("N", "SIZE", "TIME", "UID")]


def test_help_names_them_all():
    names = [s[0] for s in ALL]
    for name in ("data", "listen", "gateway", "config", "no-auth", "memory", "timeout",
                 "queue-max", "idle-timeout", "body-max", "history-age", "drain-timeout"):
        assert name in names
    assert len(names) == len(set(names)) and len(NUMBERS) > 25


@pytest.mark.parametrize("name,kind,default", NUMBERS, ids=[s[0] for s in NUMBERS])
def test_wrong_numbers(tmp_path, name, kind, default):
    bad = ["", "x", "-1", "1.5", "1 0", "0x10", "99999999999999999999999", "18446744073709551615",
           "1Zi", "١"]
    bad.append("30s" if kind != "TIME" else "30")
    for value in bad:
        for args in ((f"--{name}={value}",), (f"--{name}", value)):
            status, out, err = kiln("--data", str(tmp_path / "d"), *args)
            assert status == 2, (value, out, err)
            assert f"--{name}" in err and "Traceback" not in err, err
            assert err.count("\n") == 1, "one sentence"
    config = tmp_path / "kiln.conf"
    config.write_text(f"# settings\n\n{name} = nonsense\n")
    status, _, err = kiln("--config", str(config))
    assert status == 2 and "line 3" in err and name in err and str(config) in err, err
    assert not (tmp_path / "d").exists(), "something was made before the settings were checked"


@pytest.mark.parametrize("args,said", [
    (["--nonsense"], "--nonsense"),
    (["--nonsense=1"], "--nonsense"),
    (["serve"], "serve"),
    (["-d"], "-d"),
    (["--"], ""),
    (["--data"], "--data"),
    (["--data="], "--data"),
    (["--no-auth=maybe"], "no-auth"),
    (["--listen", "nonsense"], "nonsense"),
    (["--listen", "127.0.0.1:99999"], "99999"),
    (["--listen", "127.0.0.1:"], "127.0.0.1:"),
    (["--listen", "300.1.1.1:80"], "300.1.1.1"),
    (["--gateway", "x:y"], "x:y"),
    (["--store", "mysql://x"], "mysql"),
    (["--log-level", "loud"], "loud"),
    (["--log-format", "xml"], "xml"),
    (["--memory", "1Gi", "--memory-max", "512Mi"], "--memory"),
    (["--network-allow", "nonsense"], "nonsense"),
    (["--network-allow", "10.0.0.0/99"], "10.0.0.0/99"),
    (["--no-auth", "--listen", "0.0.0.0:0"], "--insecure"),
    (["--config", "/no/such/file"], "/no/such/file"),
    (["--config", "/"], "/"),
])
def test_wrong_values(tmp_path, args, said):
    status, out, err = kiln(*([] if "--data" in " ".join(args) else
                              ["--data", str(tmp_path / "d")]),
                            *([] if "--listen" in args else ["--listen", "127.0.0.1:0"]),
                            *([] if "--gateway" in args else ["--gateway", "127.0.0.1:0"]), *args)
    assert status in (1, 2), (out, err)
    assert said in err and err.strip().splitlines()[-1].startswith("kiln"), err


@pytest.mark.parametrize("text,line", [
    ("nonsense = 1", 1), ("memory", 1), ("= 5", 1), ("memory = 128Mi\nmemory: 1", 2),
    ("config = x", 1), ("help = true", 1), ("--memory = 128Mi", 1), ("[section]", 1),
    ("\n\nno-auth = yes", 3), ("memory = 128Mi = 3", 1), ("memory = 1\0 28Mi", 1),
])
def test_wrong_files(tmp_path, text, line):
    config = tmp_path / "kiln.conf"
    config.write_text(text)
    status, _, err = kiln("--data", str(tmp_path / "d"), "--config", str(config))
    assert status == 2 and f"line {line}" in err, err


def test_a_file_that_is_too_large(tmp_path):
    config = tmp_path / "kiln.conf"
    config.write_text("# x\n" * 100000)
    status, _, err = kiln("--config", str(config))
    assert status == 2 and "larger" in err, err


def test_files_and_flags(tmp_path, start):
    """The flag wins over the file, the file over the default; CR LF, blanks and comments are fine."""
    config = tmp_path / "kiln.conf"
    config.write_text("# kiln\r\n  timeout   =  7s  \r\n\r\nmax-instances=3\r\nqueue-max = 5\r\n")
    config.chmod(0o644)
    tmp_path.chmod(0o755)
    if harness.AS_USER:
        pytest.skip("pytest's folder is root's alone")
    server = start("--config", str(config), "--max-instances", "4")
    ident = server.create("def handler(e): return 1")
    f = server.fn("GET", f"/{ident}").json
    assert f["timeout"] == 7 and f["max_replicas"] == 4


def test_version_and_help():
    status, out, _ = kiln("--version")
    assert status == 0 and re.match(r"kiln \d+\.\d+\.\d+\n$", out)
    status, out, err = kiln("--help")
    assert status == 0 and "Usage" in out and err == ""


def test_defaults_are_within_their_own_bounds(start):
    """Each default, given as a flag, is what the server starts with anyway."""
    flags = [x for name, _kind, default in NUMBERS if default for x in (f"--{name}", default)]
    server = start(*flags)
    assert server.request("GET", "/ready").status == 200
