# SPDX-License-Identifier: Apache-2.0
"""Back ends for the tests: a Loki that checks what it is sent, an S3 that checks signatures, and the
real ones where there are (Prometheus, s3rver). Loopback only; each may be stopped and started again
at its port."""

import datetime
import hashlib
import hmac
import http.server
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import urllib.error
import urllib.parse
import urllib.request

from harness import PATIENCE_S, ROOT, free_port, wait_for

S3RVER = ROOT / "tools/npm/test/node_modules/s3rver/bin/s3rver.js"


class Service:
    """An HTTP service in a thread: answer(method, path, query, headers, body) -> (status, body)."""

    def __init__(self):
        self.port = free_port()
        self.faults = []
        self.server = None
        self.answering = 0  # requests that are read and not yet answered …
        self.holding = 0  # … of which so many wait for a test
        self.change = threading.Lock()
        self.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def count(self, name, change):
        with self.change:
            setattr(self, name, getattr(self, name) + change)

    def hold_until(self, event):
        self.count("holding", 1)
        event.wait(PATIENCE_S)
        self.count("holding", -1)

    def start(self):
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self):
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                service.count("answering", 1)
                try:
                    self.reply_to(body)
                finally:
                    service.count("answering", -1)

            def reply_to(self, body):
                parts = urllib.parse.urlsplit(self.path)
                try:
                    status, reply = service.answer(self.command, parts.path, parts.query,
                                                   self.headers, body)
                except Exception as e:  # pylint: disable=broad-exception-caught
                    service.faults.append(repr(e))
                    status, reply = 400, repr(e).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(reply)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

            def log_message(self, *_args):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

            def __init__(self, *args):
                self.open = set()
                super().__init__(*args)

            def handle_error(self, *_args):
                pass  # who asked has left

            def process_request(self, request, address):
                self.open.add(request)
                super().process_request(request, address)

        self.server = Server(("127.0.0.1", self.port), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self):
        """As a machine that is switched off: its connections end too. What it has done it has told:
        else it would be asked again for what a test has seen already."""
        if not self.server:
            return
        self.server.shutdown()
        wait_for("what was done is told", lambda: self.answering <= self.holding)
        self.server.server_close()
        for connection in list(self.server.open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.server = None

    def close(self):
        self.stop()
        assert self.faults == []


class Loki(Service):
    """Push and query_range of Loki's HTTP API."""

    def __init__(self, tenant=None, authorization=None):
        self.tenant = tenant
        self.authorization = authorization
        self.lines = []  # (labels, ns, line), as pushed
        self.queries = []
        self.refuse = None  # (status, text) for pushes
        self.reply = None  # (status, text) for queries
        self.hang = None  # a threading.Event that queries wait for
        super().__init__()

    def answer(self, method, path, query, headers, body):
        assert headers.get("X-Scope-OrgID") == self.tenant
        assert headers.get("Authorization") == self.authorization
        if path == "/loki/api/v1/push":
            assert method == "POST" and headers["Content-Type"] == "application/json"
            return self.refuse or self.push(json.loads(body))
        assert (method, path) == ("GET", "/loki/api/v1/query_range"), (method, path)
        return self.reply or self.query(dict(urllib.parse.parse_qsl(query)))

    def push(self, pushed):
        assert set(pushed) == {"streams"} and pushed["streams"]
        seen = set()
        for stream in pushed["streams"]:
            labels = stream["stream"]
            assert set(labels) == {"job", "function_id", "workspace", "level"}, labels
            assert labels["job"] == "kiln" and re.fullmatch(r"fn-\d+", labels["function_id"])
            assert labels["level"] in ("debug", "info", "warn", "error")
            key = tuple(sorted(labels.items()))
            assert key not in seen, "a stream stands twice in one push"
            seen.add(key)
            times = [int(ns) for ns, _line in stream["values"]]
            assert times == sorted(times) and times, "lines of a stream are in order"
            for ns, line in stream["values"]:
                assert re.fullmatch(r"\d{19}", ns) and isinstance(line, str)
                self.lines.append((labels, int(ns), line))
        return 204, b""

    def query(self, q):
        self.queries.append(q)
        if self.hang:
            self.hold_until(self.hang)
        assert q["direction"] == "backward"
        wanted = dict(re.findall(r'(\w+)="([^"]*)"', q["query"]))
        assert wanted["job"] == "kiln"
        found = [(lb, ns, line) for lb, ns, line in set(
            (tuple(sorted(lb.items())), ns, line) for lb, ns, line in self.lines)
            if wanted.items() <= dict(lb).items() and int(q["start"]) <= ns < int(q["end"])]
        found = sorted(found, key=lambda f: -f[1])[:int(q["limit"])]
        streams = {}
        for labels, ns, line in found:
            streams.setdefault(labels, []).append([str(ns), line])
        result = [{"stream": dict(lb), "values": v} for lb, v in streams.items()]
        return 200, json.dumps({"status": "success", "data": {
            "resultType": "streams", "result": result, "stats": {}}}).encode()


def signature(secret, region, method, path, query, headers, signed, payload_hash, date):
    """AWS Signature Version 4, as docs.aws.amazon.com has it."""
    canonical = "\n".join([
        method, path, query, *(f"{n}:{' '.join(headers[n].split())}" for n in signed), "",
        ";".join(signed), payload_hash])
    scope = f"{date[:8]}/{region}/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", date, scope,
                      hashlib.sha256(canonical.encode()).hexdigest()])
    key = b"AWS4" + secret.encode()
    for part in (date[:8], region, "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


class S3(Service):
    """Objects of one bucket, for those whose requests are signed."""

    def __init__(self, access="AKIDEXAMPLE", secret="s3cr3t/With+Signs", region="eu-x-1",
                 bucket="code"):
        self.access, self.secret, self.region, self.bucket = access, secret, region, bucket
        self.objects = {}
        self.requests = []
        self.fail = None  # (status, text)
        self.hold = None  # a threading.Event that a PUT waits for, after it is done
        super().__init__()

    def check_signature(self, method, path, query, headers, body):
        given = re.fullmatch(
            r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/s3/aws4_request, ?"
            r"SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})",
            headers.get("Authorization", ""))
        assert given, headers.get("Authorization")
        access, day, region, signed, mac = given.groups()
        assert (access, region) == (self.access, self.region)
        signed = signed.split(";")
        assert {"host", "x-amz-date"} <= set(signed) and signed == sorted(signed)
        date = headers["X-Amz-Date"]
        now = datetime.datetime.now(datetime.timezone.utc)
        when = datetime.datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(
            tzinfo=datetime.timezone.utc)
        assert date.startswith(day) and abs((now - when).total_seconds()) < 900
        payload = headers["X-Amz-Content-Sha256"]
        assert payload == hashlib.sha256(body).hexdigest() and "x-amz-content-sha256" in signed
        lower = {k.lower(): v for k, v in headers.items()}
        assert mac == signature(self.secret, region, method, path, query, lower, signed, payload,
                                date), "the signature is wrong"

    def answer(self, method, path, query, headers, body):
        self.check_signature(method, path, query, headers, body)
        prefix = f"/{self.bucket}/"
        assert path.startswith(prefix), path
        key = urllib.parse.unquote(path[len(prefix):])
        self.requests.append((method, key))
        if self.fail:
            return self.fail
        if method == "PUT":
            self.objects[key] = body
            if self.hold:
                self.hold_until(self.hold)
            return 200, b""
        if method == "DELETE":
            self.objects.pop(key, None)
            return 204, b""
        assert method == "GET", method
        if key not in self.objects:
            return 404, (b"<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code>"
                         b"<Message>The specified key does not exist.</Message></Error>")
        return 200, self.objects[key]


class Program:
    """A server of the machine that can be killed and started again."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="test-back-end-"))
        self.port = free_port()
        self.process = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def command(self):
        raise NotImplementedError

    def ready(self):
        try:
            with urllib.request.urlopen(self.url + self.PROBE, timeout=PATIENCE_S) as r:
                return r.status == 200
        except urllib.error.HTTPError as e:
            return e.code < 500
        except OSError:
            assert self.process.poll() is None, (self.folder / "log").read_text()
            return False

    def start(self):
        with open(self.folder / "log", "ab") as log:
            # it goes with us, however we end
            command = ["setpriv", "--pdeathsig", "KILL", *self.command()]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, start_new_session=True)
        wait_for(f"{type(self).__name__} answers", self.ready)

    def kill(self):
        if self.process:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def close(self):
        self.kill()
        shutil.rmtree(self.folder)


class Prometheus(Program):
    """Scrapes a kiln each second, with a token. Its own port is known before the kiln's is."""

    PROBE = "/-/ready"

    def scrape(self, kiln):
        (self.folder / "token").write_text(kiln.token)
        (self.folder / "prometheus.yml").write_text(f"""
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
scrape_configs:
  - job_name: kiln
    authorization: {{credentials_file: {self.folder}/token}}
    static_configs: [{{targets: ['127.0.0.1:{kiln.port}']}}]
""")

    def command(self):
        return ["prometheus", f"--config.file={self.folder}/prometheus.yml",
                f"--storage.tsdb.path={self.folder}/data",
                f"--web.listen-address=127.0.0.1:{self.port}"]

    def ask(self, promql):
        query = urllib.parse.urlencode({"query": promql})
        with urllib.request.urlopen(f"{self.url}/api/v1/query?{query}", timeout=PATIENCE_S) as r:
            return json.load(r)["data"]["result"]


class S3rver(Program):
    PROBE = "/"
    ACCESS, SECRET, REGION, BUCKET = "S3RVER", "S3RVER", "us-east-1", "kiln"

    def command(self):
        return ["node", str(S3RVER), "-d", str(self.folder / "objects"), "-a", "127.0.0.1", "-p",
                str(self.port), "--configure-bucket", self.BUCKET, "--silent"]

    def objects(self):
        found = (self.folder / "objects" / self.BUCKET).rglob("*_object")
        return sorted(os.path.relpath(p, self.folder / "objects" / self.BUCKET) for p in found)
