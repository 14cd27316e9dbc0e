# SPDX-License-Identifier: Apache-2.0
"""A real registry (docker-registry) on a loopback port, and images made from scratch for it.

    with Registry() as registry:
        ref = registry.push(image(folder, "hello", {"/hello": binary}, entrypoint=["/hello"]), "team/hello:1")
"""

import functools
import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import urllib.request
import warnings

import pytest
from harness import free_port, wait_for

TOOLS = ("docker-registry", "skopeo", "umoci")
MISSING = [t for t in TOOLS if not shutil.which(t)]
# For tests that run images: what they run, and what that needs.
PROGRAM = (pathlib.Path(__file__).parent / "image_program.c").read_text()
NOT_TO_RUN = [t for t in (*TOOLS, "crun", "gcc") if not shutil.which(t)]
needed_to_run = pytest.mark.skipif(
    bool(NOT_TO_RUN), reason=f"not installed: {' '.join(NOT_TO_RUN)}")


def run(*command, **more):
    done = subprocess.run([str(c) for c in command], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=300, check=False, **more)
    assert done.returncode == 0, done
    return done.stdout


def bcrypt(password):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import crypt
        return crypt.crypt(password, crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=16))


class Registry:
    """user, password: it wants them (htpasswd)."""

    def __init__(self, user=None, password=None):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="test-kiln-registry-"))
        self.user, self.password = user, password
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        self.process = None
        self.start()

    def config(self):
        text = {"version": 0.1, "log": {"level": "error"},
                "storage": {"filesystem": {"rootdirectory": str(self.folder / "storage")},
                            "delete": {"enabled": True}},
                "http": {"addr": self.host}}
        if self.user:
            passwords = self.folder / "htpasswd"
            passwords.write_text(f"{self.user}:{bcrypt(self.password)}\n")
            text["auth"] = {"htpasswd": {"realm": "test", "path": str(passwords)}}
        path = self.folder / "config.yml"
        path.write_text(json.dumps(text))  # JSON is YAML
        return path

    def start(self):
        self.log = open(self.folder / "log", "ab")
        self.process = subprocess.Popen(
            ["docker-registry", "serve", str(self.config())], stdin=subprocess.DEVNULL,
            stdout=self.log, stderr=self.log, start_new_session=True)

        def up():
            assert self.process.poll() is None, (self.folder / "log").read_text()
            with socket.socket() as s:
                return s.connect_ex(("127.0.0.1", self.port)) == 0

        try:
            wait_for("the registry listens", up)
        except BaseException:
            self.stop()
            raise

    def stop(self):
        """As it was, but not there; start() brings it back."""
        self.process.kill()
        self.process.wait()
        self.log.close()

    def close(self):
        if self.process.poll() is None:
            self.stop()
        shutil.rmtree(self.folder)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def auth_file(self, path, password=None):
        """Credentials as docker's config.json has them, mode 0600."""
        import base64
        pair = base64.b64encode(f"{self.user}:{password or self.password}".encode()).decode()
        path = pathlib.Path(path)
        path.touch(mode=0o600)
        path.write_text(json.dumps({"auths": {self.host: {"auth": pair}}}))
        return path

    def ref(self, name):
        return f"{self.host}/{name}"

    def push(self, layout, name):
        """An OCI layout ("folder:tag") as NAME ("team/app:1"); the reference to pull it by."""
        auth = []
        if self.user:
            auth = ["--dest-authfile", self.auth_file(self.folder / "push.json")]
        run("skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false", *auth,
            f"oci:{layout}", f"docker://{self.ref(name)}")
        return self.ref(name)

    def digest(self, name):
        path, tag = name.rsplit(":", 1)
        request = urllib.request.Request(
            f"http://{self.host}/v2/{path}/manifests/{tag}", method="HEAD",
            headers={"Accept": "application/vnd.oci.image.manifest.v1+json"})
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.headers["Docker-Content-Digest"]

    def tags(self, path):
        with urllib.request.urlopen(f"http://{self.host}/v2/{path}/tags/list", timeout=60) as reply:
            return json.loads(reply.read())["tags"]


def image(folder, name, files, entrypoint=(), cmd=(), env=(), user=None, workdir=None, arch=None):
    """Makes an image with nothing but FILES ({"/path": local file or bytes}); "layout:tag" for push().
    The files' modes are kept; what is given as bytes is 0644."""
    layout = pathlib.Path(folder) / f"{name}.oci"
    bundle = pathlib.Path(folder) / f"{name}.bundle"
    tag = f"{layout}:image"
    run("umoci", "init", "--layout", layout)
    run("umoci", "new", "--image", tag)
    root = [] if os.geteuid() == 0 else ["--rootless"]
    run("umoci", "unpack", *root, "--image", tag, bundle)
    for path, content in files.items():
        to = bundle / "rootfs" / path.lstrip("/")
        to.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            to.write_bytes(content)
        else:
            shutil.copy2(content, to)
    run("umoci", "repack", "--image", tag, bundle)
    settings = []
    for word in entrypoint:
        settings += [f"--config.entrypoint={word}"]
    for word in cmd:
        settings += [f"--config.cmd={word}"]
    for pair in env:
        settings += [f"--config.env={pair}"]
    if user:
        settings += [f"--config.user={user}"]
    if workdir:
        settings += [f"--config.workingdir={workdir}"]
    if arch:
        settings += [f"--architecture={arch}"]
    if settings:
        run("umoci", "config", "--image", tag, *settings)
    shutil.rmtree(bundle)
    return tag


@functools.lru_cache(maxsize=None)
def compiled(source):
    """A statically linked program; the file goes with the test's process."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="test-kiln-program-"))
    import atexit
    atexit.register(shutil.rmtree, folder, True)
    (folder / "main.c").write_text(source)
    run("gcc", "-static", "-O1", "-w", "-o", folder / "main", folder / "main.c")
    return folder / "main"
