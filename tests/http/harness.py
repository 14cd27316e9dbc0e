# SPDX-License-Identifier: Apache-2.0
"""A real server for the black-box tests, and the proof that it leaves nothing behind.

KILN_BUILD   the build folder to test (build)
KILN_AS_USER run the server as this user id instead of our own
"""

import base64
import http.client
import json
import os
import pathlib
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.parse

import contract

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / os.environ.get("KILN_BUILD", "build")
KILN = BUILD / "kiln"
AS_USER = os.environ.get("KILN_AS_USER")
SANITIZED = "san" in BUILD.name
# Waiting is for an event that will come; this only bounds a test that fails.
PATIENCE_S = 120 if SANITIZED else 60

# Two loops, two runtimes: a zygote each and a spare a loop.
WARM_DESCRIPTORS = 30
WARM_PROCESSES = 12

ANSI = re.compile(r"\x1b\[[0-9;]*m")


def wait_for(what, condition, patience_s=PATIENCE_S):
    """Until condition() is true; its value. Fails with `what` when it does not come."""
    end = time.monotonic() + patience_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"still not: {what}")
        time.sleep(0.01)


def b64(data):
    if isinstance(data, str):
        data = data.encode()
    return base64.b64encode(data).decode()


def unb64(text):
    return base64.b64decode(text, validate=True)


class Reply:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {dict(self.headers)} {self.body[:600]!r}>"


def children_of(pid):
    """All processes below pid, whatever session or namespace they made for themselves."""
    parents = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            stat = pathlib.Path(f"/proc/{entry}/stat").read_text()
        except OSError:
            continue
        fields = stat.rpartition(")")[2].split()
        if fields[0] != "Z":
            parents[int(entry)] = int(fields[1])
    found, todo = set(), [pid]
    while todo:
        parent = todo.pop()
        for child, of in parents.items():
            if of == parent and child not in found:
                found.add(child)
                todo.append(child)
    return found


def started(pid):
    """When a process began, in ticks of the machine; None when it is gone. A number alone is given
    again to somebody else when the machine has used them all up."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])


def alive(process):
    """Of (its number, when it began), as Server.seen has them."""
    pid, begun = process
    return started(pid) == begun


def free_port():
    """For a server that ends and comes again: a port that nobody is given who asks for any, nor one
    who connects to somewhere."""
    first = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = 10000 + secrets.randbelow(first - 10000) if first > 11000 else 0
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
                return s.getsockname()[1]
            except OSError:
                pass


def descriptors(pid):
    """What is open, but for the control groups that are kept to be used again: those are as many
    as there ever were instances at once."""
    names = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            names.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except OSError:
            pass
    return sorted(re.sub(r"[0-9]+", "N", n) for n in names if not re.search(r"/i\d+-\d+/", n))


def cgroups(ident):
    found = []
    for base, folders, _files in os.walk("/sys/fs/cgroup"):
        found += [os.path.join(base, f) for f in folders if f == f"kiln-{ident}"]
    return found


def mounts():
    return sorted(line.split()[4] for line in open("/proc/self/mountinfo"))


def temp_files():
    return {e for e in os.listdir("/tmp") if "kiln" in e.lower()}


def own(path):
    """Gives a tree of files to who the server runs as."""
    if AS_USER:
        for base, folders, files in os.walk(path):
            for name in (".", *folders, *files):
                os.chown(os.path.join(base, name), int(AS_USER), int(AS_USER),
                         follow_symlinks=False)


class Server:
    def __init__(self, *flags, data=None, env=None, auth=True, expect_start=True):
        self.own_data = data is None
        self.data = pathlib.Path(data or tempfile.mkdtemp(prefix="test-kiln-data-"))
        if AS_USER and self.own_data:
            os.chown(self.data, int(AS_USER), int(AS_USER))
        self.flags = flags
        self.env = env or {}
        self.auth = auth
        self.process = None
        self.token = None
        self.mounts_before = mounts()
        self.seen = set()
        self.made = set()
        if expect_start:
            self.start()

    # ---- life ----

    def command(self):
        prefix = []
        if AS_USER:
            prefix = ["setpriv", f"--reuid={AS_USER}", f"--regid={AS_USER}", "--clear-groups"]
        flags = ["--listen", "127.0.0.1:0", "--gateway", "127.0.0.1:0", *self.flags]
        if not self.auth:
            flags.append("--no-auth")
        return [*prefix, str(KILN), "serve", "--data", str(self.data), *flags]

    def start(self):
        self.log_path = self.data.parent / (self.data.name + ".log")
        self.log_file = open(self.log_path, "ab")
        url = self.data / "server.url"
        url.unlink(missing_ok=True)
        env = {**os.environ, "HOME": str(self.data), **self.env}

        def listening():
            return re.findall(r"gateway=http://\S*?:(\d+) ", ANSI.sub("", self.log()))

        starts = len(listening())  # before it runs: it may be quicker than we are
        self.process = subprocess.Popen(
            self.command(), stdin=subprocess.DEVNULL, stdout=self.log_file,
            stderr=self.log_file, env=env, start_new_session=True)
        self.pid = self.process.pid

        def up():
            assert self.process.poll() is None, f"the server ended:\n{self.log()}"
            return (url.exists() and url.read_text().endswith("\n")
                    and len(listening()) > starts)

        try:
            wait_for("the server listens", up)
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        self.url = url.read_text().strip()
        self.host, port = self.url.removeprefix("http://").rsplit(":", 1)
        self.port = int(port)
        self.gateway_port = int(listening()[-1])
        self.token = (self.data / "admin.token").read_text().strip() if self.auth else None
        if "KILN_ADMIN_TOKEN" in self.env:
            self.token = self.env["KILN_ADMIN_TOKEN"]
        self.open_at_start = len(descriptors(self.pid))
        self.running_at_start = len(children_of(self.pid))
        self.ident = None
        for group in pathlib.Path("/proc").joinpath(str(self.pid), "cgroup").read_text().split():
            found = re.search(r"/kiln-([0-9a-f]+)", group)
            if found:
                self.ident = found.group(1)

    def log(self):
        return self.log_path.read_text(errors="replace")

    def note_children(self):
        now = {(pid, started(pid)) for pid in children_of(self.pid)}
        self.seen |= {(pid, begun) for pid, begun in now if begun is not None}

    def terminate(self):
        """SIGTERM and the orderly end; the exit status."""
        self.note_children()
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(PATIENCE_S)
        self.log_file.close()
        self.assert_nothing_left()
        return status

    def kill(self):
        """kill -9: what the machine looks like afterwards is the next start's business, but for
        processes: those go with the server."""
        self.note_children()
        self.process.kill()
        self.process.wait(PATIENCE_S)
        self.log_file.close()
        wait_for("every process went with the server",
                 lambda: not [p for p in self.seen if alive(p)])

    def stop(self):
        if self.process and self.process.poll() is None:
            status = self.terminate()
            assert status == 0, f"the server ended with {status}:\n{self.log()[-6000:]}"
        self.clean()

    def clean(self):
        self.assert_clean_log()
        if self.own_data:
            shutil.rmtree(self.data, ignore_errors=True)
            self.log_path.unlink(missing_ok=True)

    # ---- nothing left behind ----

    def assert_clean_log(self):
        log = self.log()
        for word in ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "runtime error:",
                     "WARNING: ThreadSanitizer", "Assertion", "abort"):
            at = log.find(word)
            assert at < 0, log[max(0, at - 200):at + 5000]
        if self.token:
            assert self.token not in log, "the token reached the log"

    def assert_nothing_left(self):
        wait_for("no process is left", lambda: not [p for p in self.seen if alive(p)])
        if self.ident:
            assert cgroups(self.ident) == [], "control groups are left"
        # Another file's tests may hold a small disk of their own at this moment.
        left = [m for m in mounts() if m not in self.mounts_before and "kiln" in m and
                (m.startswith(str(self.data)) or not m.startswith("/tmp/test-kiln-"))]
        assert left == [], "mounts are left"
        assert not (self.data / "server.url").exists()
        known = re.compile(r"^(admin\.token|(state|history)\.db(-wal|-shm)?|lock|\S*\.lock)$")
        for path in self.data.rglob("*"):
            below = path.relative_to(self.data).parts
            if below[0] in ("images", "artifacts") and not below[-1].startswith(".tmp-"):
                continue  # images and what was built outlive the server
            assert known.match(path.name), f"{path} is left in the data folder"

    def assert_settled(self):
        """After a test: its functions are deleted, and what they used is given back, but for what
        is kept warm. The bound is from the server's start, so that what leaks with each test of a
        file shows; zygotes and spares take their part of it once."""
        for ws, ident in self.made:
            assert self.fn("DELETE", f"/{ident}", ws=ws).status in (204, 404)
        self.made.clear()
        for f in self.kube("GET", "").json:
            assert self.kube("DELETE", f"/{f['name']}").status in (204, 404)
        most = self.open_at_start + WARM_DESCRIPTORS
        wait_for(f"descriptors are given back: {descriptors(self.pid)}",
                 lambda: len(descriptors(self.pid)) <= most)
        most_running = self.running_at_start + WARM_PROCESSES
        wait_for(f"processes end: {children_of(self.pid)}",
                 lambda: len(children_of(self.pid)) <= most_running)

    # ---- requests ----

    def request(self, method, path, body=None, headers=None, port=None, token=True, check=True):
        headers = dict(headers or {})
        if token is True:
            token = self.token
        if token and "Authorization" not in headers:
            headers["Authorization"] = f"Bearer {token}"
        if isinstance(body, str):
            body = body.encode()
        connection = http.client.HTTPConnection(self.host, port or self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, path, body=body, headers=headers)
            r = connection.getresponse()
            reply = Reply(r.status, r.headers, r.read())
        finally:
            connection.close()
        if check and port is None:
            contract.check(method, path, reply)
        return reply

    def call(self, method, path, data=None, **more):
        """JSON in, JSON out."""
        body = None if data is None else json.dumps(data)
        headers = {"Content-Type": "application/json"} if data is not None else {}
        headers.update(more.pop("headers", {}))
        return self.request(method, path, body, headers, **more)

    def fn(self, method, path="", data=None, ws="ws-default", **more):
        """The fnservice API."""
        reply = self.call(method, f"/api/v1/workspaces/{ws}/functions{path}", data, **more)
        if method == "POST" and reply.status == 201 and path.split("?")[0] in ("", "/"):
            self.made.add((ws, reply.json["id"]))
        return reply

    def kube(self, method, path="", data=None, **more):
        return self.call(method, f"/api/v1/functions{path}", data, **more)

    def gateway(self, method, path, body=None, headers=None):
        return self.request(method, path, body, headers, port=self.gateway_port, token=None)

    # ---- what most tests begin with ----

    def create(self, code, name="f", runtime="python3.9", handler="main.handler", **more):
        """A function through fnservice, built and ready; its id."""
        data = {"name": name, "runtime": runtime, "handler": handler, "source_code": b64(code)}
        data.update(more)
        reply = self.fn("POST", "", data)
        assert reply.status == 201, reply
        ident, status = reply.json["id"], reply.json["status"]
        if status in ("pending", "building"):  # for longer than the answer waits for it
            status = wait_for(f"{name} is built", lambda: (
                lambda s: s if s not in ("pending", "building") else None)(
                    self.fn("GET", f"/{ident}").json["status"]))
        assert status == "ready", (reply, self.versions_log(ident))
        return ident

    def versions_log(self, ident):
        version = self.fn("GET", f"/{ident}/versions").json["versions"][0]["id"]
        return self.fn("GET", f"/{ident}/versions/{version}").json.get("build_log")

    def invoke(self, ident, body=None, **more):
        data = dict(more)
        if body is not None:
            data["body"] = b64(body if isinstance(body, (str, bytes)) else json.dumps(body))
            if not isinstance(body, (str, bytes)):
                data.setdefault("headers", {"Content-Type": ["application/json"]})
        return self.fn("POST", f"/{ident}/invoke", data)

    def result(self, ident, body=None, **more):
        """What the function returned, parsed where it is JSON."""
        reply = self.invoke(ident, body, **more)
        assert reply.status == 200, reply
        raw = unb64(reply.json["body"])
        kind = reply.json["headers"].get("Content-Type", [""])[0]
        return json.loads(raw) if "json" in kind else raw

    def wait_build(self, name):
        return wait_for(f"{name} is built", lambda: (
            lambda r: r if r.json["status"]["state"] not in ("deploying", "building") else None)(
                self.kube("GET", f"/{name}")))

    def logs(self, ident, **query):
        q = urllib.parse.urlencode(query)
        reply = self.fn("GET", f"/{ident}/logs" + (f"?{q}" if q else ""))
        assert reply.status == 200, reply
        return reply.json["logs"]

    def raw(self, data, port=None, half_close=False, timeout=PATIENCE_S):
        """Bytes over a socket; everything that comes until the server closes."""
        with socket.create_connection((self.host, port or self.port), timeout=timeout) as s:
            s.sendall(data)
            if half_close:
                s.shutdown(socket.SHUT_WR)
            got = b""
            while True:
                part = s.recv(65536)
                if not part:
                    return got
                got += part

    def cli(self, *args, stdin=None, check=True):
        """The command line against this server."""
        env = {**os.environ, "KILN_URL": self.url, "KILN_TOKEN": self.token or ""}
        done = subprocess.run([str(KILN), *args], env=env, input=stdin, capture_output=True,
                              text=True, timeout=PATIENCE_S, check=False)
        if check:
            assert done.returncode == 0, done
        return done
