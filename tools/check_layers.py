#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Fails when a file includes a layer that its own may not use, a header only one folder may see, or
lacks its licence line. Run as a test: tools/check_layers.py [ROOT]."""

import re
import sys
from pathlib import Path

# What each layer may include besides itself: a whole layer ("base") or one header of it.
ALLOWED = {
    "base": [],
    "json": ["base"],
    "loop": ["base"],
    "wire": ["base"],
    "sandbox": ["base"],
    "http": ["base", "loop"],
    "remote": ["base", "json"],
    "model": ["base", "json"],
    "store": ["base", "loop", "model"],
    "engine": ["base", "loop", "wire", "model", "sandbox/cgroup.h", "sandbox/launch.h",
               "egress/egress.h"],
    "oci": ["base", "json", "wire", "model", "sandbox/sandbox.h"],
    "core": ["base", "json", "loop", "remote", "model", "store/store.h", "engine/engine.h",
             "oci/oci.h"],
    "invoke": ["base", "json", "http", "model", "core"],
    "trigger": ["base", "json", "loop", "http", "model", "core", "invoke"],
    "task": ["base", "json", "loop", "remote", "model", "store/store.h", "core"],
    "api": ["base", "json", "http", "model", "core", "invoke", "task/task.h", "remote/prometheus.h"],
    "zygote": ["base", "wire", "sandbox"],
    "egress": ["base"],
    "cli": ["base", "json"],
}
# The server puts the house together and may see all of it but other programs' insides.
ALLOWED["server"] = [layer for layer in ALLOWED if layer not in ("zygote", "cli")]

# Headers from outside that belong behind one door, by the folders that may open it.
DOORS = {
    "jansson.h": {"json"},
    "sqlite3.h": {"store"},
    "seccomp.h": {"sandbox", "egress"},
    "curl/curl.h": {"cli", "remote"},
    "archive.h": {"task"},
    "archive_entry.h": {"task"},
    "yaml.h": {"json"},
}

# Headers that the build makes, which lie outside src/.
GENERATED = {"routes.h"}

CHECKED = {".c", ".h", ".py", ".js", ".mjs", ".cjs", ".sh", ".build", ".css", ".html"}
FOLDERS = ["src", "runtimes", "tests", "tools", "web"]
SKIPPED = {"node_modules", "__pycache__", "corpus", ".git"}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^">]+)[">]')


def may_include(layer, target):
    if target.split("/")[0] == layer:
        return True
    return any(target == rule or target.startswith(rule + "/") for rule in ALLOWED[layer])


def includes(path):
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        match = INCLUDE.match(line)
        if match:
            yield number, match.group(1), match.group(2)


def check_includes(root, path):
    layer = path.relative_to(root / "src").parts[0]
    if layer not in ALLOWED:
        yield f"{path.relative_to(root)}: layer {layer} is not known to {Path(__file__).name}"
        return
    for number, quote, target in includes(path):
        where = f"{path.relative_to(root)}:{number}"
        if quote == '"' and target in GENERATED:
            continue
        if quote == '"' and "/" not in target:
            yield f'{where}: "{target}" is not written relative to src/'
        elif quote == '"' and not may_include(layer, target):
            yield f"{where}: {layer} may not include {target}"
        if target in DOORS and layer not in DOORS[target]:
            yield f"{where}: {target} belongs to {', '.join(sorted(DOORS[target]))}"


def check_licence(root, path):
    head = path.read_text(errors="replace").splitlines()[:2]  # after #! or <!DOCTYPE
    if not any("SPDX-License-Identifier: Apache-2.0" in line for line in head):
        yield f"{path.relative_to(root)}: no SPDX line"


def files(root):
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            if path.is_file() and not SKIPPED.intersection(path.parts):
                yield path


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent).resolve()
    faults, seen = [], 0
    for path in files(root):
        if path.suffix in CHECKED and path.stat().st_size:
            seen += 1
            faults += check_licence(root, path)
            if path.suffix in (".c", ".h") and path.is_relative_to(root / "src"):
                faults += check_includes(root, path)
    for fault in faults:
        print(fault)
    print(f"{seen} files, {len(faults)} faults")
    return 1 if faults or not seen else 0


if __name__ == "__main__":
    sys.exit(main())
