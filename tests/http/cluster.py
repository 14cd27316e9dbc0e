# SPDX-License-Identifier: Apache-2.0
"""A stand-in for a Kubernetes API server with SpinKube: https with a real certificate, tokens and
client certificates, server-side apply. It checks what it is sent as a real one does, answers as one
does, and after `operator_s` makes Deployment and Service of a SpinApp, as the operator does."""

import base64
import http.server
import json
import pathlib
import ssl
import subprocess
import threading
import time
import urllib.parse

TOKEN = "sa-token-0123456789"
QUANTITY = {"anyOf": [{"type": "integer"}, {"type": "string"}], "pattern": (
    r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$")}
STRINGS = {"type": "object", "additionalProperties": {"type": "string"}}
NAME = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"
# What the definition of SpinApp v1alpha1 says of the fields that are used; no other is known to it.
SPINAPP = {
    "type": "object", "required": ["apiVersion", "kind", "metadata", "spec"], "additionalProperties": False,
    "properties": {
        "apiVersion": {"const": "core.spinkube.dev/v1alpha1"}, "kind": {"const": "SpinApp"},
        "metadata": {"type": "object", "required": ["name", "namespace"], "additionalProperties": False, "properties": {
            "name": {"type": "string", "pattern": NAME, "maxLength": 63}, "namespace": {"type": "string"}}},
        "spec": {
            "type": "object", "required": ["executor", "image"], "additionalProperties": False,
            "properties": {
                "image": {"type": "string"}, "executor": {"type": "string"},
                "replicas": {"type": "integer"}, "enableAutoscaling": {"type": "boolean"},
                "components": {"type": "array", "minItems": 1, "items": {"type": "string"}},
                "podLabels": STRINGS, "serviceAccountName": {"type": "string"},
                "resources": {"type": "object", "additionalProperties": False, "properties": {
                    kind: {"type": "object", "additionalProperties": QUANTITY} for kind in ("limits", "requests")}}},
        }}}
DEPLOYMENT = {
    "type": "object", "required": ["apiVersion", "kind", "metadata", "spec"], "properties": {
        "apiVersion": {"const": "apps/v1"}, "kind": {"const": "Deployment"},
        "spec": {"type": "object", "additionalProperties": False, "properties": {"template": {
            "type": "object", "additionalProperties": False, "properties": {"spec": {
                "type": "object", "additionalProperties": False, "properties": {
                    "tolerations": {"type": "array", "items": {"type": "object", "additionalProperties": False, "properties": {
                        "key": {"type": "string"}, "operator": {"enum": ["Exists", "Equal"]}, "value": {"type": "string"},
                        "effect": {"enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"]},
                        "tolerationSeconds": {"type": "integer"}}}},
                    "affinity": {"type": "object", "additionalProperties": False, "properties": {
                        k: {"type": "object"} for k in ("nodeAffinity", "podAffinity", "podAntiAffinity")}}}}}}}}}}


def run(*command):
    done = subprocess.run([str(c) for c in command], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=120, check=False)
    assert done.returncode == 0, done


class Authority:
    """Makes certificates, by openssl(1)."""

    def __init__(self, folder, name="ca"):
        self.folder, self.name = pathlib.Path(folder), name
        self.key, self.pem = self.folder / f"{name}.key", self.folder / f"{name}.pem"
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", f"/CN={name}", "-keyout", self.key, "-out", self.pem)

    def issue(self, name, extension):
        key, csr, pem = (self.folder / f"{self.name}-{name}.{e}" for e in ("key", "csr", "pem"))
        more = self.folder / f"{self.name}-{name}.ext"
        more.write_text(extension)
        run("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
            f"/O=system:masters/CN={name}", "-keyout", key, "-out", csr)
        run("openssl", "x509", "-req", "-in", csr, "-CA", self.pem, "-CAkey", self.key, "-CAcreateserial", "-days", "2",
            "-extfile", more, "-out", pem)
        return pem, key


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body, headers=()):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def status(self, code, reason, message):
        self.answer(code, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                           "message": message, "reason": reason, "code": code})

    def handle_any(self):
        cluster = self.server.cluster
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        url = urllib.parse.urlsplit(self.path)
        with cluster.lock:
            cluster.requests.append((self.command, self.path, dict(self.headers), body))
        who = self.headers.get("Authorization")
        if who != f"Bearer {cluster.token}" and not self.connection.getpeercert():
            return self.status(401, "Unauthorized", "Unauthorized")
        if cluster.broken:
            return self.status(500, "InternalError", "etcdserver: request timed out")
        parts = url.path.strip("/").split("/")
        if parts[:3] == ["api", "v1", "namespaces"] and len(parts) == 4:
            return self.one("namespaces", "", parts[3])
        if parts[:3] == ["api", "v1", "namespaces"] and len(parts) == 6 and parts[4] == "services":
            return self.one("services", parts[3], parts[5])
        if parts[:2] in (["apis", "apps"], ["apis", "core.spinkube.dev"]) and len(parts) == 7 and parts[3] == "namespaces":
            group, kind = parts[1], parts[5]
            if (group, kind, parts[2]) in (("apps", "deployments", "v1"), ("core.spinkube.dev", "spinapps", "v1alpha1")):
                if self.command == "PATCH":
                    return self.apply(kind, parts[4], parts[6], dict(urllib.parse.parse_qsl(url.query)), body)
                return self.one(kind, parts[4], parts[6])
        return self.status(404, "NotFound", "the server could not find the requested resource")

    do_GET = do_PATCH = do_POST = do_PUT = do_DELETE = handle_any

    def one(self, kind, namespace, name):
        if self.command != "GET":
            return self.status(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
        cluster = self.server.cluster
        if kind in cluster.forbidden:
            return self.status(403, "Forbidden", f'{kind} "{name}" is forbidden: User "kiln" cannot get resource "{kind}"')
        with cluster.lock:
            thing = cluster.get(kind, namespace, name)
        return self.answer(200, thing) if thing else self.status(404, "NotFound", f'{kind} "{name}" not found')

    def apply(self, kind, namespace, name, query, body):
        import jsonschema
        cluster = self.server.cluster
        if self.headers.get("Content-Type") != "application/apply-patch+yaml":
            return self.status(415, "UnsupportedMediaType", "the body of the request was in an unknown format")
        if not query.get("fieldManager"):
            return self.status(400, "BadRequest", "fieldManager is required for apply patch")
        if kind == "spinapps" and not cluster.spinkube:
            return self.status(404, "NotFound", "the server could not find the requested resource")
        if kind in cluster.forbidden:
            return self.status(403, "Forbidden", f'{kind}.core.spinkube.dev "{name}" is forbidden')
        try:
            thing = json.loads(body)
            jsonschema.Draft202012Validator(SPINAPP if kind == "spinapps" else DEPLOYMENT).validate(thing)
        except (ValueError, jsonschema.ValidationError) as e:
            cluster.faults.append(str(e)[:300])
            return self.status(422, "Invalid", f'{kind} "{name}" is invalid: {str(e)[:200]}')
        if thing["metadata"]["name"] != name or thing["metadata"].get("namespace", namespace) != namespace:
            return self.status(400, "BadRequest", "the name of the object does not match the name on the URL")
        spec = thing["spec"]
        if kind == "spinapps" and bool(spec.get("enableAutoscaling")) == (spec.get("replicas", 0) > 0):
            return self.status(422, "Invalid", "spec.replicas: replicas must be 0 with autoscaling, and at least 1 without")
        with cluster.lock:
            if not cluster.get("namespaces", "", namespace):
                return self.status(404, "NotFound", f'namespaces "{namespace}" not found')
            made = cluster.put(kind, namespace, name, thing)
        return self.answer(201 if made else 200, thing)


class Cluster:
    def __init__(self, folder, namespaces=("default", "functions"), operator_s=0.2):
        self.folder = pathlib.Path(folder)
        self.authority = Authority(folder)
        self.token = TOKEN
        self.operator_s = operator_s
        self.lock = threading.Lock()
        self.requests, self.faults = [], []
        self.things = {("namespaces", "", n): (0, {"kind": "Namespace", "metadata": {"name": n}}) for n in namespaces}
        self.spinkube, self.broken, self.forbidden = True, False, set()
        pem, key = self.authority.issue("server", "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem, key)
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(self.authority.pem)
        self.httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.httpd.daemon_threads = True
        self.httpd.cluster = self
        self.httpd.socket = context.wrap_socket(self.httpd.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"https://127.0.0.1:{self.httpd.server_address[1]}"
        self.thread = threading.Thread(target=self.httpd.serve_forever, daemon=True)
        self.thread.start()

    def get(self, kind, namespace, name):
        since, thing = self.things.get((kind, namespace, name), (None, None))
        return thing if thing and time.monotonic() >= since else None

    def put(self, kind, namespace, name, thing):
        made = (kind, namespace, name) not in self.things
        if kind == "deployments" and not made:  # an apply of some fields
            since, whole = self.things[(kind, namespace, name)]
            whole["spec"]["template"]["spec"].update(thing["spec"]["template"]["spec"])
            return False
        self.things[(kind, namespace, name)] = (0, thing)
        if kind == "spinapps" and made and self.operator_s is not None:
            later = time.monotonic() + self.operator_s
            self.things[("deployments", namespace, name)] = (later, {
                "kind": "Deployment", "metadata": {"name": name}, "spec": {"template": {"spec": {"containers": [{}]}}}})
            self.things[("services", namespace, name)] = (later, {
                "kind": "Service", "metadata": {"name": name}, "spec": {"ports": [{"port": 80, "targetPort": "http-app"}]}})
        return made

    def kubeconfig(self, name="kubeconfig", user=None, cluster=None, namespace="default"):
        """As kubectl writes them."""
        data = base64.b64encode(self.authority.pem.read_bytes()).decode()
        cluster = cluster or {"server": self.url, "certificate-authority-data": data}
        user = user or {"token": self.token}

        def block(fields, indent):
            return "".join(f"{' ' * indent}{k}: {v}\n" for k, v in fields.items())

        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: test\n  cluster:\n" + block(cluster, 4) +
            f"contexts:\n- name: here\n  context:\n    cluster: test\n    user: me\n    namespace: {namespace}\n"
            "current-context: here\npreferences: {}\nusers:\n- name: me\n  user:\n" + block(user, 4))
        return path

    def close(self):
        self.httpd.shutdown()
        self.httpd.server_close()
        self.thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
