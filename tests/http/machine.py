# SPDX-License-Identifier: Apache-2.0
"""What the machine says about a server's processes, for the tests that look from the outside."""

import os
import pathlib
import re

from harness import children_of


def rss(pid):
    """Resident bytes."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text).group(1)) * 1024


def cmdline(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def named(server, name):
    """Processes of the server whose executable is called so, the one nearest to it first."""
    found = []
    for pid in sorted(children_of(server.pid)):
        try:
            exe = os.path.basename(os.readlink(f"/proc/{pid}/exe"))
        except OSError:
            exe = os.path.basename(cmdline(pid).split(" ")[0])
        if exe == name or name in cmdline(pid).split(" ")[0]:
            found.append(pid)
    return found


def running(mark):
    """Processes of the whole machine that hold MARK in their environment or command line."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        if mark in cmdline(entry):
            found.append(int(entry))
            continue
        try:
            if mark.encode() in pathlib.Path(f"/proc/{entry}/environ").read_bytes():
                found.append(int(entry))
        except OSError:
            pass
    return found
