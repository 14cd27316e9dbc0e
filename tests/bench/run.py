#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""make bench: kiln beside its anchors, interleaved in one run, as ratios.

Every figure is measured on this machine now. Rates are medians over the rounds; CPU is user and
system time of the whole process tree a request. Traffic stays on loopback and is bounded.

    tests/bench/run.py [--rounds N] [--seconds S] [--write FILE]
"""

import argparse
import http.client
import json
import os
import pathlib
import platform
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
TICK_US = 1e6 / os.sysconf("SC_CLK_TCK")
PYTHON = "/usr/bin/python3"

PY_CODE = "def handler(event):\n    return {'hello': event.body['name'], 'n': event.body['n'] + 1}\n"
JS_CODE = "exports.handler = async (event) => ({hello: event.body.name, n: event.body.n + 1});\n"
BODY = '{"name":"bob","n":41}'
WSGI = """import json
def app(environ, start_response):
    e = json.loads(environ['wsgi.input'].read(int(environ.get('CONTENT_LENGTH') or 0)))
    out = json.dumps({'statusCode': 200, 'body': {'hello': e['name'], 'n': e['n'] + 1}}).encode()
    start_response('200 OK', [('Content-Type', 'application/json'), ('Content-Length', str(len(out)))])
    return [out]
"""
NODE_HTTP = """const http = require('http');
http.createServer((q, r) => { let b = ''; q.on('data', (d) => { b += d; }); q.on('end', () => {
  const e = JSON.parse(b);
  const out = JSON.stringify({statusCode: 200, body: {hello: e.name, n: e.n + 1}});
  r.writeHead(200, {'Content-Type': 'application/json', 'Content-Length': out.length}); r.end(out);
}); }).listen(+process.argv[2], '127.0.0.1');
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def tree(pid):
    parents = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = pathlib.Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
            parents[int(entry)] = int(fields[1])
        except OSError:
            pass
    found = [pid]
    for p in found:
        found += [c for c, of in parents.items() if of == p]
    return found


def cpu_us(pid):
    total = 0
    for p in tree(pid):
        try:
            fields = pathlib.Path(f"/proc/{p}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        except OSError:
            pass
    return total * TICK_US


def rss_kib(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text).group(1))


def wait_port(port, process):
    end = time.monotonic() + 30
    while time.monotonic() < end:
        assert process.poll() is None, "a server ended"
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise SystemExit(f"nothing listens on {port}")


class Peer:
    """A server under load: its process, where it listens, what is posted."""

    def __init__(self, name, process, port, path, token=None):
        self.name, self.process, self.port, self.path = name, process, port, path
        self.rates, self.cpu, self.p50, self.p99 = [], [], [], []
        self.script = tempfile.NamedTemporaryFile("w", suffix=".lua", prefix="kiln-bench-",
                                                  delete=False)
        auth = f'wrk.headers["Authorization"]="Bearer {token}"' if token else ""
        self.script.write(f"""wrk.method="POST" wrk.body='{BODY}'
wrk.headers["Content-Type"]="application/json" {auth}
function done(summary, latency, requests)
  io.write(string.format("RESULT %d %d %f %f %d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99),
    summary.errors.status + summary.errors.read + summary.errors.write + summary.errors.timeout))
end""")
        self.script.close()

    def load(self, seconds):
        before = cpu_us(self.process.pid)
        out = subprocess.run(
            ["wrk", "-t1", "-c64", f"-d{seconds}s", "-s", self.script.name,
             f"http://127.0.0.1:{self.port}{self.path}"],
            capture_output=True, text=True, check=True, timeout=seconds + 60).stdout
        used = cpu_us(self.process.pid) - before
        n, us, p50, p99, bad = map(float, re.search(
            r"RESULT (\d+) (\d+) (\S+) (\S+) (\d+)", out).groups())
        if bad:
            raise SystemExit(f"{self.name}: {int(bad)} of {int(n)} requests failed\n{out}")
        self.rates.append(n / us * 1e6)
        self.cpu.append(used / n)
        self.p50.append(p50 / 1e3)
        self.p99.append(p99 / 1e3)

    def stop(self):
        os.unlink(self.script.name)
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


class Kiln:
    def __init__(self, folder):
        self.data = folder / "data"
        self.log = open(folder / "kiln.log", "wb")
        self.process = subprocess.Popen(
            [BUILD / "kiln", "serve", "--data", self.data, "--listen", "127.0.0.1:0",
             "--gateway", "127.0.0.1:0"], stdout=self.log, stderr=self.log)
        end = time.monotonic() + 30
        url = self.data / "server.url"
        while not (url.exists() and url.read_text().endswith("\n")):
            assert self.process.poll() is None and time.monotonic() < end, "kiln did not start"
            time.sleep(0.02)
        self.port = int(url.read_text().strip().rsplit(":", 1)[1])
        self.token = (self.data / "admin.token").read_text().strip()
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def call(self, method, path, body=None):
        headers = {"Authorization": f"Bearer {self.token}"}
        self.connection.request(method, f"/api/v1/functions{path}", body, headers)
        r = self.connection.getresponse()
        data = r.read()
        assert r.status < 300, (method, path, r.status, data[:300])
        return r, data

    def deploy(self, name, runtime, code):
        self.call("POST", "", json.dumps(
            {"name": name, "runtime": runtime, "handler": "main.handler", "code": code}))
        while json.loads(self.call("GET", f"/{name}")[1])["status"]["state"] != "running":
            time.sleep(0.005)

    def stop(self):
        self.connection.close()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def touch_memory():
    """Pages that were never backed are slow the first time: not something to measure."""
    block = bytearray(1 << 30)
    for i in range(0, len(block), 4096):
        block[i] = 1


def time_command(argv):
    begun = time.perf_counter()
    pid = os.posix_spawn(argv[0], argv, os.environ)
    os.waitpid(pid, 0)
    return (time.perf_counter() - begun) * 1e3


def first_calls(kiln, runtime, code, n):
    """Each of a function that was built and never called."""
    times = []
    for i in range(n):
        name = f"first-{runtime}-{i}"
        kiln.deploy(name, runtime, code)
        time.sleep(0.25)  # the next spare stands ready, as it does between first calls
        begun = time.perf_counter()
        r, _ = kiln.call("POST", f"/{name}/invoke", BODY)
        times.append((time.perf_counter() - begun) * 1e3)
        assert r.headers["X-Cold-Start"] == "true"
        kiln.call("DELETE", f"/{name}")
    return times


def memory(folder):
    """The server alone, without functions and with a thousand that idle."""
    kiln = Kiln(folder)
    time.sleep(0.5)
    empty = rss_kib(kiln.process.pid)
    for i in range(1000):
        kiln.call("POST", "", json.dumps({"name": f"idle-{i}", "runtime": "python39",
                                          "handler": "main.handler", "code": PY_CODE}))
    while any(f["status"]["state"] == "deploying" for f in json.loads(kiln.call("GET", "")[1])):
        time.sleep(0.2)
    time.sleep(1)
    full = rss_kib(kiln.process.pid)
    kiln.stop()
    return empty / 1024, full / 1024


def start_peers(folder, kiln):
    (folder / "wsgi.py").write_text(WSGI)
    (folder / "server.js").write_text(NODE_HTTP)
    peers = {}
    for name, path in (("kiln python", "/api/v1/functions/py/invoke"),
                       ("kiln node", "/api/v1/functions/js/invoke")):
        peers[name] = Peer(name, kiln.process, kiln.port, path, kiln.token)
    port = free_port()
    process = subprocess.Popen(
        [PYTHON, "-m", "gunicorn", "-k", "gthread", "-w", "2", "--threads", "8", "-b",
         f"127.0.0.1:{port}", "--log-level", "error", "--keep-alive", "60", "wsgi:app"],
        cwd=folder)
    wait_port(port, process)
    peers["gunicorn"] = Peer("gunicorn gthread 2 x 8", process, port, "/")
    port = free_port()
    process = subprocess.Popen(["node", folder / "server.js", str(port)])
    wait_port(port, process)
    peers["node"] = Peer("node http", process, port, "/")
    return peers


def missing():
    lacks = [t for t in ("wrk", "node") if not shutil.which(t)]
    if subprocess.run([PYTHON, "-c", "import gunicorn"], capture_output=True).returncode:
        lacks.append("gunicorn")
    return lacks


def measure(rounds, seconds):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="kiln-bench-"))
    lines = []
    try:
        touch_memory()
        print("memory …", file=sys.stderr)
        (folder / "m").mkdir()
        empty, full = memory(folder / "m")
        kiln = Kiln(folder)
        kiln.deploy("py", "python39", PY_CODE)
        kiln.deploy("js", "nodejs18", JS_CODE)
        peers = start_peers(folder, kiln)
        for name, peer in peers.items():
            peer.load(1)
            for list_ in (peer.rates, peer.cpu, peer.p50, peer.p99):
                list_.clear()
        for i in range(rounds):
            for name, peer in peers.items():
                print(f"round {i + 1} of {rounds}: {peer.name} …", file=sys.stderr)
                peer.load(seconds)
        print("first calls …", file=sys.stderr)
        anchors = {"python": [], "node": []}
        firsts = {"python": [], "node": []}
        for _ in range(rounds):
            firsts["python"] += first_calls(kiln, "python39", PY_CODE, 7)
            anchors["python"] += [time_command([PYTHON, "-I", "-S", "-c", "pass"])
                                  for _ in range(7)]
            firsts["node"] += first_calls(kiln, "nodejs18", JS_CODE, 5)
            anchors["node"] += [time_command([shutil.which("node"), "-e", "0"]) for _ in range(5)]
        for name in ("gunicorn", "node"):
            peers[name].stop()
        kiln.stop()
        for name in ("kiln python", "kiln node"):
            os.unlink(peers[name].script.name)
        lines = report(peers, firsts, anchors, empty, full, rounds, seconds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return lines


def report(peers, firsts, anchors, empty, full, rounds, seconds):
    med = statistics.median
    out = ["| server (wrk -t1 -c64) | requests/s, median | lowest | CPU µs a request | p50 ms | p99 ms |",
           "|---|---|---|---|---|---|"]
    for p in peers.values():
        out.append(f"| {p.name} | {med(p.rates):,.0f} | {min(p.rates):,.0f} | {med(p.cpu):.1f} | "
                   f"{med(p.p50):.2f} | {med(p.p99):.2f} |")
    out += ["", "| first call of a function | median ms | least ms | anchor | median ms |",
            "|---|---|---|---|---|"]
    for kind, anchor in (("python", "`python3 -I -S -c pass`"), ("node", "`node -e 0`")):
        out.append(f"| {kind} | {med(firsts[kind]):.2f} | {min(firsts[kind]):.2f} | {anchor} | "
                   f"{med(anchors[kind]):.2f} |")
    rows = [
        ("Python, requests against gunicorn", med(peers["kiln python"].rates) /
         med(peers["gunicorn"].rates), "≥ 1.5", lambda v: v >= 1.5),
        ("Python, CPU µs a request", med(peers["kiln python"].cpu), "≤ 60", lambda v: v <= 60),
        ("Node.js, requests against `http`", med(peers["kiln node"].rates) /
         med(peers["node"].rates), "≥ 0.5", lambda v: v >= 0.5),
        ("first call, Python, against its anchor", med(firsts["python"]) / med(anchors["python"]),
         "≤ 0.33", lambda v: v <= 1 / 3),
        ("first call, Node.js, against its anchor", med(firsts["node"]) / med(anchors["node"]),
         "≤ 0.5", lambda v: v <= 0.5),
        ("server without functions, MiB resident", empty, "≤ 12", lambda v: v <= 12),
        ("1,000 deployed and idle, MiB more", full - empty, "≤ 10", lambda v: v <= 10),
    ]
    out += ["", "| quantity | measured | goal | |", "|---|---|---|---|"]
    for name, value, goal, good in rows:
        out.append(f"| {name} | {value:.2f} | {goal} | {'reached' if good(value) else 'missed'} |")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True).stdout.strip()
    out += ["", f"{rounds} rounds of {seconds} s, interleaved; {os.cpu_count()} processors, Linux "
            f"{platform.release().split('-')[0]}, Python {platform.python_version()}, Node {version}."]
    return out


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=int, default=4)
    options.add_argument("--write", help="put the tables into this file as well")
    args = options.parse_args()
    lacks = missing()
    if lacks:
        raise SystemExit(f"missing: {', '.join(lacks)} (tools/setup.sh bench installs them)")
    lines = measure(args.rounds, args.seconds)
    print("\n".join(lines))
    if args.write:
        pathlib.Path(args.write).write_text(
            "# Benchmarks\n\nWritten by `make bench`; see tests/bench/run.py for what is measured "
            "and how.\n\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
