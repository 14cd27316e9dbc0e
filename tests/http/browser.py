# SPDX-License-Identifier: Apache-2.0
"""A page in a real browser, where the machine has one: Chromium over its debugging pipe (file
descriptors 3 and 4, messages of JSON ended by NUL; chromedevtools.github.io/devtools-protocol)."""

import json
import os
import select
import shutil
import subprocess
import sys
import time

from harness import PATIENCE_S, wait_for

PROGRAM = shutil.which("chromium")
AS_3_AND_4 = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 10) for fd in sys.argv[1:3]]
for fd, to in zip(ends, (3, 4)):
    os.dup2(fd, to)
    os.close(fd)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Browser:
    def __init__(self, folder):
        to_child, self.to = os.pipe()
        self.out, from_child = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-c", AS_3_AND_4, str(to_child), str(from_child), PROGRAM,
             "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
             "--remote-debugging-pipe", f"--user-data-dir={folder}", "about:blank"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            pass_fds=(to_child, from_child))
        os.close(to_child)
        os.close(from_child)
        self.buffer, self.number, self.session = b"", 0, None
        self.said = []  # what the page's console and the browser's log had
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target,
                                 flatten=True)["sessionId"]
        for domain in ("Runtime", "Log", "Page"):
            self.call(f"{domain}.enable")

    def close(self):
        self.session = None
        try:
            self.call("Browser.close")
        finally:
            self.process.wait(PATIENCE_S)
            os.close(self.to)
            os.close(self.out)

    def receive(self):
        end = time.monotonic() + PATIENCE_S
        while b"\0" not in self.buffer:
            assert select.select([self.out], [], [], end - time.monotonic())[0], "no answer"
            part = os.read(self.out, 1 << 16)
            assert part, "the browser ended"
            self.buffer += part
        line, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(line)

    def call(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            got = self.receive()
            if got.get("method") in ("Log.entryAdded", "Runtime.consoleAPICalled",
                                     "Runtime.exceptionThrown"):
                self.said.append(json.dumps(got["params"]))
            if got.get("id") == self.number:
                assert "error" not in got, got
                return got["result"]

    def open(self, url):
        self.call("Page.navigate", url=url)

    def value(self, script):
        got = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in got, got
        return got["result"].get("value")

    def click(self, selector):
        """When it is there."""
        here = f"document.querySelector({json.dumps(selector)})"
        wait_for(f"{selector} is there", lambda: self.value(f"!!{here}"))
        self.value(f"{here}.click()")
