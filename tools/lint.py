#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""make lint: clang-format and cppcheck over the C sources, clang-tidy one file a process (it grows
without end over many). tools/lint.py BUILD [FILE…]; BUILD has Meson's compile_commands.json."""

import json
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ["src", "runtimes", "tests"]
SKIPPED = {"node_modules", "build"}


def sources(wanted):
    if wanted:
        return [Path(name).resolve() for name in wanted]
    found = (p for folder in FOLDERS for p in sorted((ROOT / folder).rglob("*.[ch]")))
    return [p for p in found if not SKIPPED.intersection(p.parts)]


def run(*command):
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True)
    return done.returncode, done.stdout


def tidy(build, path):
    return path, *run("clang-tidy", "--quiet", "-p", str(build), str(path))


def tidy_all(build, units):
    failed = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, status, text in pool.map(lambda p: tidy(build, p), units):
            if status:
                failed += 1
                print(f"clang-tidy: {path.relative_to(ROOT)}\n{text}")
    return failed


def main():
    build = Path(sys.argv[1]).resolve()
    paths = sources(sys.argv[2:])
    commands = json.loads((build / "compile_commands.json").read_text())
    compiled = {(Path(c["directory"]) / c["file"]).resolve() for c in commands}
    failed = 0
    status, text = run("clang-format", "--dry-run", "-Werror", *map(str, paths))
    if status:
        failed += 1
        print(text)
    failed += tidy_all(build, [p for p in paths if p in compiled])
    status, text = run(
        "cppcheck", "--quiet", "--error-exitcode=1", "--inline-suppr", "--std=c11", "-Isrc",
        "-D_GNU_SOURCE", "-D__cppcheck__", f"-D__{platform.machine()}__",
        "--enable=warning,portability", "--suppress=missingIncludeSystem",
        # What it cannot parse: an attribute of a pointer, a statement that is an expression.
        "--suppress=syntaxError:*/zygote/runtime.h", "--suppress=internalAstError",
        *[str(p) for p in paths if p.suffix == ".c" and p.is_relative_to(ROOT / "src")])
    if status:
        failed += 1
        print(text)
    print(f"lint: {len(paths)} files, {failed} with faults")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
