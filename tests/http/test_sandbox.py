# SPDX-License-Identifier: Apache-2.0
"""The sandbox from inside: each function tries what it must not be able to do."""

import json
import os
import socket
import subprocess
import threading

import machine
import pytest
from harness import children_of, wait_for

JS = {"runtime": "nodejs18", "handler": "index.handler"}
PYTHON = """
import ctypes, os, socket, sys, time, errno, struct, subprocess
libc = ctypes.CDLL(None, use_errno=True)
def tried(f, *args):
    try:
        return ["done", repr(f(*args))[:200]]
    except OSError as e:
        return [errno.errorcode.get(e.errno, str(e.errno)), ""]
def call(name, *args):
    r = getattr(libc, name)(*args)
    return ["done", r] if r >= 0 else [errno.errorcode[ctypes.get_errno()], ""]
"""


def run(server, code, language=None, body=None, name="f", **more):
    """What handler(event) of CODE returns."""
    ident = server.create(code if language else PYTHON + code, name=name, **(language or {}), **more)
    return server.result(ident, body)


# ---- files ----

SECRETS = ["/etc/shadow", "/etc/sudoers", "/root", "/home", "/var", "/srv", "/mnt", "/boot",
           "/sys/fs/cgroup", "/sys/kernel", "/run", "/proc/kcore", "/proc/keys", "/dev/mem", "/dev/kmsg",
           "/dev/sda", "/dev/vda", "/dev/net/tun", "/dev/shm/../../root", "/proc/1/root/root",
           "/proc/self/root/etc/shadow", "/proc/sysrq-trigger", "/var/run/docker.sock"]
LOOK = """
def handler(event):
    found = {}
    for path in event["body"]:
        try:
            found[path] = os.listdir(path) if os.path.isdir(path) else open(path, "rb").read(100).hex()
        except OSError as e:
            found[path] = None
    return found
"""
LOOK_JS = """
const fs = require('fs');
exports.handler = event => {
  const found = {};
  for (const path of event.body) {
    try { found[path] = fs.statSync(path).isDirectory() ? fs.readdirSync(path)
            : fs.readFileSync(path).subarray(0, 100).toString('hex'); }
    catch { found[path] = null; }
  }
  return found;
};
"""


@pytest.mark.parametrize("language,code", [(None, LOOK), (JS, LOOK_JS)])
def test_the_hosts_files_are_not_there(server, language, code):
    paths = SECRETS + [str(server.data), str(server.data / "admin.token"),
                       str(server.data / "state.db"), os.getcwd(), str(server.log_path)]
    found = run(server, code, language, paths)
    for path, what in found.items():
        assert not what, f"{path}: {what}"


def test_host_names_and_users_are_not_shown(server):
    got = run(server, """
def handler(event):
    return {"passwd": open("/etc/passwd").read(), "host": socket.gethostname(),
            "mounts": open("/proc/self/mountinfo").read(), "root": sorted(os.listdir("/"))}
""")
    assert got["host"] != socket.gethostname()
    assert str(server.data) not in got["mounts"]
    assert len(got["passwd"].splitlines()) < 10
    assert not {"home", "root", "work", "boot", "srv"} & set(got["root"]) or got["root"]


@pytest.mark.parametrize("language,code", [
    (None, """
def handler(event):
    wrote = []
    for base, folders, _ in os.walk("/"):
        if base == "/": folders[:] = [f for f in folders if f not in ("proc", "tmp")]
        try:
            open(base + "/kiln-was-here", "w").close()
            wrote.append(base)
        except OSError: pass
    return wrote
"""),
    (JS, """
const fs = require('fs');
exports.handler = () => {
  const wrote = [], todo = ['/'];
  while (todo.length) {
    const base = todo.pop();
    try { fs.writeFileSync(base + '/kiln-was-here', ''); wrote.push(base); } catch {}
    let entries = []; try { entries = fs.readdirSync(base, {withFileTypes: true}); } catch {}
    for (const e of entries) if (e.isDirectory() && !(base === '/' && ['proc', 'tmp'].includes(e.name)))
      todo.push((base === '/' ? '' : base) + '/' + e.name);
  }
  return wrote;
};
"""),
])
def test_nothing_but_tmp_can_be_written(server, language, code):
    wrote = run(server, code, language, timeout=60)
    assert [w for w in wrote if not w.startswith(("/dev/shm", "/dev/mqueue"))] == []


def test_tmp_is_of_one_instance(server):
    code = """
def handler(event):
    what = event["body"]
    before = sorted(f for f in os.listdir("/tmp") if f != "app")
    open("/tmp/" + what, "w").write(what)
    time.sleep(0.3)
    return before
"""
    a = server.create(PYTHON + code, name="a", max_replicas=2)
    assert server.result(a, "first") == []
    assert server.result(a, "second") == ["first"], "a warm instance keeps its own"
    assert run(server, code, None, "other", name="b") == []
    seen = []

    def two_at_once():
        threads = [threading.Thread(target=lambda: seen.append(server.result(a, "third")))
                   for _ in range(2)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        return [] in seen

    wait_for("a second instance has run, and has a /tmp of its own", two_at_once)
    assert not any(f in os.listdir("/tmp") for f in ("first", "second", "other"))


def test_suid_files_give_nothing(server):
    got = run(server, """
def handler(event):
    import shutil
    shutil.copy("/bin/sh" if os.path.exists("/bin/sh") else sys.executable, "/tmp/sh")
    out = {"suid": tried(os.chmod, "/tmp/sh", 0o6755)}
    out["mknod"] = tried(os.mknod, "/tmp/null", 0o600 | 0o020000, os.makedev(1, 3))
    return out
""")
    assert got["mknod"][0] == "EPERM"


# ---- processes ----


@pytest.mark.parametrize("language,code", [
    (None, """
def handler(event):
    return sorted(int(p) for p in os.listdir("/proc") if p.isdigit())
"""),
    (JS, "exports.handler = () => require('fs').readdirSync('/proc').filter(p => /^\\d+$/.test(p))"
         ".map(Number);"),
])
def test_no_other_process_is_seen(server, language, code):
    server.create("def handler(e): return 1", name="other", min_replicas=1)
    assert run(server, code, language) == [1]


def test_kill_of_everything_harms_nobody(server):
    other = server.create("import os\nn=0\ndef handler(e):\n    global n\n    n += 1\n    return n",
                          name="other", max_replicas=1)
    assert server.result(other) == 1
    before = children_of(server.pid)
    got = run(server, """
import signal
def handler(event):
    out = [tried(os.kill, -1, signal.SIGKILL)]
    for pid in list(range(2, 300)) + event["body"]:
        out.append(tried(os.kill, pid, signal.SIGKILL))
    return [x for x in out if x[0] not in ("ESRCH", "EPERM")]
""", None, [server.pid, os.getpid(), *before])
    assert got == []
    assert server.result(other) == 2


IDENTITY = """
def handler(event):
    status = dict(l.split(":\\t", 1) for l in open("/proc/self/status").read().splitlines() if ":\\t" in l)
    return {k: status[k] for k in ("Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd",
                                   "CapAmb", "NoNewPrivs", "Seccomp")}
"""
IDENTITY_JS = """
exports.handler = () => Object.fromEntries(require('fs').readFileSync('/proc/self/status', 'utf8')
  .split('\\n').filter(l => l.includes(':\\t')).map(l => l.split(':\\t')));
"""


@pytest.mark.parametrize("language,code", [(None, IDENTITY), (JS, IDENTITY_JS)])
def test_no_rights(server, language, code):
    got = run(server, code, language)
    assert set(got["Uid"].split()) == {"1000"} and set(got["Gid"].split()) == {"1000"}
    for caps in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(got[caps], 16) == 0, caps
    assert got["NoNewPrivs"] == "1" and got["Seccomp"] == "2"


def test_not_root_outside(server):
    """Nor any user of this machine, and each instance another one where there are enough."""
    mark = f"7531{os.getpid()}"
    code = PYTHON + "def handler(e):\n    subprocess.Popen(['sleep', e['body']])\n    time.sleep(3)"
    server.create(code, name="a", timeout=20)
    server.create(code, name="b", timeout=20)
    threads = [threading.Thread(target=server.kube, args=("POST", f"/{n}/invoke", mark))
               for n in "ab"]
    for t in threads:
        t.start()
    pids = wait_for("both run", lambda: (lambda p: p if len(p) >= 2 else None)(
        machine.running(mark)))
    uids = [os.stat(f"/proc/{pid}").st_uid for pid in pids]
    for t in threads:
        t.join()
    assert 0 not in uids
    if os.geteuid() == 0 and "KILN_AS_USER" not in os.environ:
        assert len(set(uids)) == 2 and min(uids) > 65535, uids


REFUSED = """
def handler(event):
    out = {}
    out["mount"] = call("mount", b"none", b"/tmp", b"tmpfs", 0, None)
    out["umount"] = call("umount2", b"/tmp", 2)
    out["chroot"] = tried(os.chroot, "/tmp")
    for name, flag in (("user", 0x10000000), ("mount ns", 0x20000), ("net", 0x40000000),
                       ("pid", 0x20000000), ("uts", 0x4000000), ("ipc", 0x8000000),
                       ("cgroup", 0x2000000)):
        out["unshare " + name] = call("unshare", flag)
    out["setns"] = call("setns", 0, 0)
    out["ptrace"] = call("ptrace", 16, 1, 0, 0)
    out["bpf"] = call("syscall", 321, 0, 0, 0)
    out["perf"] = call("syscall", 298, 0, 0, 0, 0, 0)
    out["keyctl"] = call("syscall", 250, 0, 0, 0)
    out["add_key"] = call("syscall", 248, b"user", b"k", b"v", 1, -2)
    out["io_uring"] = call("syscall", 425, 8, 0)
    out["userfaultfd"] = call("syscall", 323, 0)
    out["init_module"] = call("syscall", 175, 0, 0, b"")
    out["kexec"] = call("syscall", 246, 0, 0, 0, 0)
    out["reboot"] = call("syscall", 169, 0xfee1dead, 672274793, 0x1234567, 0)
    out["clone3 user"] = call("syscall", 435, struct.pack("<11Q", 0x10000000, *[0] * 10), 88)
    out["process_vm_readv"] = call("syscall", 310, 1, 0, 0, 0, 0, 0)
    out["open_by_handle_at"] = call("syscall", 304, -100, 0, 0)
    out["fsopen"] = call("syscall", 430, b"tmpfs", 0)
    out["pivot_root"] = call("syscall", 155, b"/tmp", b"/tmp")
    out["raw socket"] = tried(socket.socket, socket.AF_INET, socket.SOCK_RAW, 1)
    out["packet socket"] = tried(socket.socket, socket.AF_PACKET, socket.SOCK_RAW, 0)
    out["vsock"] = tried(socket.socket, 40, socket.SOCK_STREAM, 0)
    out["alg"] = tried(socket.socket, 38, socket.SOCK_SEQPACKET, 0)
    out["setuid"] = tried(os.setuid, 0)
    out["setgid"] = tried(os.setgid, 0)
    out["hostname"] = tried(socket.sethostname, "evil")
    out["nice"] = tried(os.setpriority, os.PRIO_PROCESS, 0, -20)
    out["clock"] = tried(time.clock_settime, time.CLOCK_REALTIME, 1)
    out["sysctl"] = tried(lambda: open("/proc/sys/kernel/hostname", "w").write("x"))
    out["tty"] = tried(lambda: __import__("fcntl").ioctl(0, 0x5412, b"x"))
    return out
"""


def test_dangerous_calls_are_refused(server):
    got = run(server, REFUSED)
    done = {name: how for name, how in got.items() if how[0] == "done"}
    assert done == {}, done


def test_nothing_is_inherited(server):
    got = run(server, """
def handler(event):
    fds = {}
    for fd in range(0, 1024):
        try: fds[fd] = os.readlink(f"/proc/self/fd/{fd}")
        except OSError: pass
    return {"fds": fds, "env1": open("/proc/1/environ", "rb").read().hex(),
            "cmd1": open("/proc/1/cmdline", "rb").read().hex(), "env": dict(os.environ),
            "ppid": os.getppid()}
""")
    assert set(got["fds"]) <= {"0", "1", "2", "3"}, got["fds"]
    assert got["fds"]["0"] == "/dev/null"
    assert got["ppid"] == 0
    seen = bytes.fromhex(got["env1"]) + bytes.fromhex(got["cmd1"]) + json.dumps(got["env"]).encode()
    for word in (b"KILN_ADMIN_TOKEN", server.token.encode(), str(server.data).encode(), b"LS_COLORS"):
        assert word not in seen


def test_the_admin_token_of_the_environment_stays_with_the_server(start):
    token = "kiln-test-" + "x" * 40
    server = start(env={"KILN_ADMIN_TOKEN": token, "KILN_SECRET_OF_HOST": "very secret"})
    look = """
def handler(event):
    found = []
    for p in os.listdir("/proc"):
        for f in ("environ", "cmdline"):
            try: found.append(open(f"/proc/{p}/{f}", "rb").read().decode("latin-1"))
            except OSError: pass
    return "".join(found) + repr(os.environ)
"""
    for language, code in ((None, look), (JS, """
const fs = require('fs');
exports.handler = () => fs.readFileSync('/proc/1/environ', 'latin1') + JSON.stringify(process.env);
""")):
        got = run(server, code, language, name="n" if language else "f")
        assert token not in str(got) and "very secret" not in str(got)
    for pid in children_of(server.pid):
        try:
            env = open(f"/proc/{pid}/environ", "rb").read()
        except OSError:
            continue
        assert token.encode() not in env, machine.cmdline(pid)


def test_core_files_and_dumps(server):
    got = run(server, """
import resource
def handler(event):
    return resource.getrlimit(resource.RLIMIT_CORE)
""")
    assert got == [0, 0]


# ---- network ----

REACH = """
def reach(host, port, timeout=3):
    s = socket.socket()
    s.settimeout(timeout)
    begin = time.monotonic()
    try:
        s.connect((host, port))
        s.getpeername()  # an ICMP error may wake connect() a moment before it can be read
        return "connected"
    except OSError as e:
        return type(e).__name__
    finally:
        s.close()
def handler(event):
    out = {"interfaces": sorted(name for _, name in socket.if_nameindex())}
    for host, port in event["body"]:
        out[f"{host}:{port}"] = reach(host, port)
    return out
"""


def targets(server):
    """Nothing that leaves this machine: kiln-egress must refuse each of them itself."""
    return [["127.0.0.1", server.port], ["127.0.0.1", server.gateway_port],
            ["169.254.169.254", 80], ["10.0.0.1", 80], ["192.168.0.1", 80], ["172.16.0.1", 80],
            ["0.0.0.0", server.port], ["10.0.2.2", server.port], ["10.0.2.3", server.port],
            ["100.64.0.1", 80], ["224.0.0.1", 80], ["255.255.255.255", 80]]


@pytest.mark.parametrize("network", ["none", "egress"])
def test_what_cannot_be_reached(server, network):
    got = run(server, REACH, None, targets(server), network=network, timeout=60)
    interfaces = got.pop("interfaces")
    if network == "none":
        assert interfaces == ["lo"]
    for where, how in got.items():
        assert how != "connected", f"{where} was reached"


def test_own_addresses_of_the_host_cannot_be_reached(server):
    """A server on each address that this machine has; none of them may hear of the function."""
    out = subprocess.run(["ip", "-4", "-o", "addr"], capture_output=True, text=True, check=False)
    addresses = [line.split()[3].split("/")[0] for line in out.stdout.splitlines()]
    with socket.create_server(("", 0)) as listener:
        listener.settimeout(0.2)
        port = listener.getsockname()[1]
        got = run(server, REACH, None, [[a, port] for a in addresses], timeout=60)
        got.pop("interfaces")
        assert "connected" not in got.values() or not addresses, got
        with pytest.raises(TimeoutError):
            listener.accept()


def test_unix_sockets_of_the_host_cannot_be_reached(server):
    name = f"\0kiln-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(name)
        listener.listen()
        got = run(server, """
def handler(event):
    with socket.socket(socket.AF_UNIX) as s:
        return tried(s.connect, event["body"])
""", None, name)
    assert got[0] == "ECONNREFUSED"


def test_host_network_needs_the_flag(server):
    reply = server.fn("POST", "", {"name": "f", "runtime": "python3.9", "handler": "main.handler",
                                   "network": "host", "source_code": "ZGVmIGhhbmRsZXIoZSk6IHBhc3M="})
    assert reply.status in (400, 403), reply
    assert "network" in reply.json["error"]
    ident = server.create("def handler(e): return 1")
    assert server.fn("PUT", f"/{ident}", {"network": "host"}).status in (400, 403)


def test_host_network_with_the_flag(start):
    server = start("--allow-host-network")
    got = run(server, REACH, None, [["127.0.0.1", server.port]], network="host")
    assert got[f"127.0.0.1:{server.port}"] == "connected"
    got = run(server, REACH, None, [["127.0.0.1", server.port]], name="g")
    assert got[f"127.0.0.1:{server.port}"] != "connected"


# ---- chance ----

CHANCE = """
import random, uuid, secrets, tempfile, hashlib, ssl
at_load = [random.random(), str(uuid.uuid4())]
def handler(event):
    time.sleep(0.2)
    return at_load + [random.random(), random.SystemRandom().random(), os.urandom(8).hex(),
        str(uuid.uuid4()), str(uuid.uuid1()), secrets.token_hex(8), tempfile.mktemp(), ssl.RAND_bytes(8).hex()]
"""
CHANCE_JS = """
const crypto = require('crypto');
const atLoad = [Math.random(), crypto.randomUUID()];
exports.handler = async () => { await new Promise(r => setTimeout(r, 200)); return [...atLoad,
  Math.random(), crypto.randomUUID(), crypto.randomBytes(8).toString('hex'),
  crypto.getRandomValues(new Uint8Array(8)).join(), require('util').inspect(crypto.randomInt(2 ** 40))]; };
"""


@pytest.mark.parametrize("language,code", [(None, CHANCE), (JS, CHANCE_JS)])
def test_chance_differs_between_instances(server, language, code):
    ident = server.create(code if language else PYTHON + code, max_replicas=6, **(language or {}))
    seen = []

    def several():
        threads = [threading.Thread(target=lambda: seen.append(server.result(ident)))
                   for _ in range(6)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        return len({s[1] for s in seen}) >= 2

    wait_for("more than one instance has run", several)
    for column in zip(*{s[1]: s for s in seen}.values()):
        assert len(set(column)) == len(column), column
