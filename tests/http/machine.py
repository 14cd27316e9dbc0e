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


def generation(pid, ancestor):
    """1 for a child of ANCESTOR, 2 for a grandchild, …; one that is gone is far away."""
    steps = 0
    while pid != ancestor and pid > 1:
        try:
            stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            break
        pid = int(stat.rpartition(")")[2].split()[1])
        steps += 1
    return steps if pid == ancestor else 1 << 20


def named(server, name):
    """Processes of the server whose executable is called so, the one nearest to it first: numbers
    tell nothing, they are given again."""
    found = []
    for pid in children_of(server.pid):
        try:
            exe = os.path.basename(os.readlink(f"/proc/{pid}/exe"))
        except OSError:
            exe = os.path.basename(cmdline(pid).split(" ")[0])
        if exe == name or name in cmdline(pid).split(" ")[0]:
            found.append((generation(pid, server.pid), pid))
    return [pid for _, pid in sorted(found)]


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
