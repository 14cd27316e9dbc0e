# SPDX-License-Identifier: Apache-2.0
"""SpinApps of the blue API: manifests, and deployments to a stand-in of a cluster (cluster.py)."""

import json
import os
import pathlib
import shutil
import tempfile

import cluster as clusters
import harness
import pytest
import yaml
from blue import refused, wrong
from harness import wait_for

DEPLOY = {"namespace": "functions", "image_ref": "registry.example.com/team/blog:v1"}
pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl")


@pytest.fixture(scope="module")
def cluster():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="test-kiln-cluster-"))
    try:
        with clusters.Cluster(folder) as c:
            yield c
    finally:
        shutil.rmtree(folder)


def own_all(path):
    for p in [path, *path.rglob("*")]:
        harness.own(p)


@pytest.fixture(scope="module")
def shared(cluster):
    path = cluster.kubeconfig()
    own_all(cluster.folder)
    server = harness.Server(f"--kubeconfig={path}")
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def clean(cluster):
    yield
    assert cluster.faults == [], cluster.faults
    cluster.spinkube, cluster.broken, cluster.forbidden = True, False, set()
    cluster.token = clusters.TOKEN


def deploy(server, **change):
    return server.call("POST", "/api/v1/deploy", {k: v for k, v in {**DEPLOY, **change}.items() if v is not ...})


def applied(cluster, kind, name, namespace="functions"):
    return cluster.things[(kind, namespace, name)][1]


# ---- manifests ------------------------------------------------------------------------------------


def scaffold(server, **fields):
    reply = server.call("POST", "/api/v1/scaffold", fields)
    assert reply.status == 200, reply
    return reply.json


def test_a_manifest(server):
    made = scaffold(server, image_ref="localhost:5000/team/my_blog:1.0", component="hello", replicas=3)
    assert made["success"] and made["error"] is None and made["file_path"] is None
    assert yaml.safe_load(made["yaml_content"]) == {
        "apiVersion": "core.spinkube.dev/v1alpha1", "kind": "SpinApp", "metadata": {"name": "my-blog"},
        "spec": {"image": "localhost:5000/team/my_blog:1.0", "executor": "containerd-shim-spin", "replicas": 3,
                 "components": ["hello"]}}
    digest = "ghcr.io/a/1true@sha256:" + "0" * 64
    content = yaml.safe_load(scaffold(server, image_ref=digest)["yaml_content"])
    assert content["spec"]["image"] == digest and content["spec"]["replicas"] == 1
    assert content["metadata"]["name"] == "true"  # a string, and nothing else
    assert "components" not in content["spec"]


def test_a_manifest_is_kept_where_it_belongs(server):
    made = scaffold(server, image_ref="a.example/b", output_path="deploy/blog.yaml")
    assert made["file_path"] == "artifacts/scaffolds/ws-default/deploy_blog.yaml"
    assert (pathlib.Path(server.data) / made["file_path"]).read_text() == made["yaml_content"]
    for path in ("../x", "/../../etc/passwd", "a/../b", "..", ".hidden", "a b", "ä", "x\u0000"):
        made = server.call("POST", "/api/v1/scaffold", {"image_ref": "a.example/b", "output_path": path})
        if made.status == 200:
            assert not made.json["success"] and made.json["error"], path
        else:
            assert made.status == 422, made
    assert os.listdir(pathlib.Path(server.data) / "artifacts" / "scaffolds" / "ws-default") == ["deploy_blog.yaml"]


@pytest.mark.parametrize("image", ["", " ", "UPPER", "a b", "a.example/b:", "a.example/b:t\n- x", "a@sha256:1"])
def test_a_manifest_of_no_image(server, image):
    made = scaffold(server, image_ref=image)
    assert not made["success"] and made["yaml_content"] is None and "image" in made["error"]


@pytest.mark.parametrize("fields, loc", [
    ({}, "image_ref"), ({"image_ref": 1}, "image_ref"), ({"image_ref": "a", "replicas": 0}, "replicas"),
    ({"image_ref": "a", "replicas": "2"}, "replicas"), ({"image_ref": "a", "component": 1}, "component"),
    ({"image_ref": "a", "output_path": []}, "output_path"), ({"image_ref": "x" * 513}, "image_ref"),
])
def test_manifests_of_the_wrong_type(server, fields, loc):
    assert ("body", loc) in wrong(server.call("POST", "/api/v1/scaffold", fields))


# ---- deployments ----------------------------------------------------------------------------------


def test_a_deployment(server, cluster):
    reply = deploy(server, app_name="My Blog_app-1", function_id="fn-12")
    assert reply.status == 200, reply
    assert reply.json == {
        "app_name": "myblogapp1", "namespace": "functions", "service_name": "myblogapp1", "service_status": "found",
        "endpoint": "http://myblogapp1.functions.svc.cluster.local", "enable_autoscaling": True, "use_spot": True,
        "error": None}
    assert applied(cluster, "spinapps", "myblogapp1") == {
        "apiVersion": "core.spinkube.dev/v1alpha1", "kind": "SpinApp",
        "metadata": {"name": "myblogapp1", "namespace": "functions"},
        "spec": {"image": DEPLOY["image_ref"], "executor": "containerd-shim-spin", "enableAutoscaling": True,
                 "podLabels": {"faas": "true", "function_id": "fn-12"},
                 "resources": {"limits": {"cpu": "500m", "memory": "500Mi"},
                               "requests": {"cpu": "100m", "memory": "400Mi"}}}}
    pods = applied(cluster, "deployments", "myblogapp1")["spec"]["template"]["spec"]
    assert pods["containers"] == [{}]  # nothing but what was asked for has changed
    assert "karpenter.sh/capacity-type" in [t["key"] for t in pods["tolerations"]]
    assert pods["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    method, path, headers, _ = next(r for r in cluster.requests if r[0] == "PATCH")
    assert path == ("/apis/core.spinkube.dev/v1alpha1/namespaces/functions/spinapps/myblogapp1"
                    "?fieldManager=kiln&force=true")
    assert headers["Authorization"] == f"Bearer {clusters.TOKEN}"
    task = server.call("GET", "/api/v1/workspaces/ws-default/tasks").json["tasks"][0]
    assert task["kind"] == "deploy" and task["status"] == "completed" and task["app_name"] == "myblogapp1"
    assert task["result"]["image_url"] == DEPLOY["image_ref"]


def test_a_deployment_to_the_letter(server, cluster):
    tolerations = [{"key": "gpu", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30}]
    affinity = {"podAntiAffinity": {"x": ["é", 1.5, None]}}
    reply = deploy(server, app_name="exact", enable_autoscaling=False, replicas=3, use_spot=False, cpu_limit="1.5",
                   cpu_request="250m", memory_limit="1Gi", memory_request="0.5Gi", service_account="runner",
                   custom_tolerations=tolerations, custom_affinity=affinity)
    assert reply.status == 200 and reply.json["error"] is None, reply
    spec = applied(cluster, "spinapps", "exact")["spec"]
    assert spec["replicas"] == 3 and "enableAutoscaling" not in spec and spec["podLabels"] == {"faas": "true"}
    assert spec["resources"] == {"limits": {"cpu": "1.5", "memory": "1Gi"}, "requests": {"cpu": "250m", "memory": "0.5Gi"}}
    assert spec["serviceAccountName"] == "runner"
    pods = applied(cluster, "deployments", "exact")["spec"]["template"]["spec"]
    assert pods["tolerations"] == tolerations and pods["affinity"] == affinity
    reply = deploy(server, app_name="exact", use_spot=False, image_ref="a.example/other:v2")  # again: changed
    assert reply.status == 200 and reply.json["use_spot"] is False
    assert applied(cluster, "spinapps", "exact")["spec"]["image"] == "a.example/other:v2"


def test_a_deployment_without_a_name(server, cluster):
    for name in (None, "", ...):
        reply = deploy(server, app_name=name, use_spot=False)
        assert reply.status == 200 and reply.json["app_name"].startswith("app"), reply
        assert reply.json["service_status"] == "found"


def test_an_operator_that_takes_its_time(server, cluster):
    cluster.operator_s = None
    try:
        reply = deploy(server, app_name="late")
        assert reply.status == 200 and reply.json["service_status"] == "pending", reply
        assert reply.json["service_name"] is None and reply.json["endpoint"] is None and reply.json["error"] is None
        reply = deploy(server, app_name="late", custom_tolerations=[])
        assert "no Deployment yet" in reply.json["error"]
    finally:
        cluster.operator_s = 0.2


def test_namespaces(server, cluster):
    error = refused(deploy(server, namespace="nowhere"), 400, "VALIDATION_ERROR")
    assert "nowhere" in error["message"] and error["details"]["field"] == "namespace"
    for bad in ("", "UPPER", "a/b", "../x", "a b", "-a", "a-", "a" * 64, "ä", "a?b", "%2e"):
        assert refused(deploy(server, namespace=bad), 400, "VALIDATION_ERROR")["details"]["field"] == "namespace"
    assert not any("nowhere" in k[1] for k in cluster.things)
    cluster.forbidden = {"namespaces"}  # rights in the namespace alone are enough
    assert deploy(server, app_name="narrow", use_spot=False).status == 200


@pytest.mark.parametrize("change, field", [
    ({"app_name": "1st"}, "app_name"), ({"app_name": "a.b"}, "app_name"), ({"app_name": "- _"}, "app_name"),
    ({"app_name": "앱"}, "app_name"), ({"app_name": "a" * 64}, "app_name"), ({"image_ref": "UPPER"}, "image_ref"),
    ({"image_ref": ""}, "image_ref"), ({"cpu_limit": "lots"}, "cpu_limit"), ({"cpu_limit": "0"}, "cpu_limit"),
    ({"cpu_limit": "1Gi"}, "cpu_limit"), ({"cpu_limit": "-1"}, "cpu_limit"), ({"cpu_limit": "1.2.3"}, "cpu_limit"),
    ({"cpu_limit": ""}, "cpu_limit"), ({"memory_limit": "500m"}, "memory_limit"), ({"memory_limit": "1 Gi"}, "memory_limit"),
    ({"memory_request": "Mi"}, "memory_request"), ({"cpu_request": "600m"}, "cpu_request"),
    ({"memory_request": "1Gi"}, "memory_request"), ({"memory_limit": "1Mi"}, "memory_request"),
    ({"service_account": "a b"}, "service_account"), ({"function_id": "a b"}, "function_id"),
    ({"function_id": "x-"}, "function_id"),
])
def test_deployments_of_no_sense(server, cluster, change, field):
    before = len(cluster.requests)
    assert refused(deploy(server, **change), 400, "VALIDATION_ERROR")["details"]["field"] == field
    assert len(cluster.requests) == before  # the cluster was not asked


@pytest.mark.parametrize("change, loc", [
    ({"namespace": ...}, "namespace"), ({"image_ref": ...}, "image_ref"), ({"namespace": None}, "namespace"),
    ({"replicas": 0}, "replicas"), ({"replicas": True}, "replicas"), ({"replicas": 1.5}, "replicas"),
    ({"enable_autoscaling": None}, "enable_autoscaling"), ({"use_spot": {}}, "use_spot"), ({"cpu_limit": 1}, "cpu_limit"),
    ({"custom_tolerations": {}}, "custom_tolerations"), ({"custom_tolerations": ["x"]}, "custom_tolerations"),
    ({"custom_affinity": []}, "custom_affinity"), ({"function_id": 12}, "function_id"), ({"app_name": 5}, "app_name"),
])
def test_deployments_of_the_wrong_type(server, change, loc):
    assert any(found[:2] == ("body", loc) for found in wrong(deploy(server, **change)))


def test_what_the_cluster_refuses(server, cluster):
    cluster.forbidden = {"namespaces"}  # so that it is the apply that hears of it
    error = refused(deploy(server, app_name="bad", namespace="gone"), 503, "SERVICE_UNAVAILABLE")
    assert "gone" in error["message"]
    cluster.forbidden, cluster.spinkube = set(), False
    assert "SpinKube" in refused(deploy(server), 503, "SERVICE_UNAVAILABLE")["message"]
    cluster.spinkube = True
    cluster.forbidden = {"spinapps"}
    assert "forbidden" in refused(deploy(server), 403, "FORBIDDEN")["message"]
    cluster.forbidden = {"services"}
    reply = deploy(server, app_name="blind", use_spot=False)
    assert reply.json["service_status"] == "not_found" and "forbidden" in reply.json["error"]
    cluster.forbidden, cluster.broken = set(), True
    assert "etcdserver" in refused(deploy(server), 503, "SERVICE_UNAVAILABLE")["message"]
    cluster.broken, cluster.token = False, "another"
    assert "401" in refused(deploy(server), 403, "FORBIDDEN")["message"]
    task = server.call("GET", "/api/v1/workspaces/ws-default/tasks").json["tasks"][0]
    assert task["status"] == "failed" and "401" in task["error"]
    text = json.dumps(task) + server.log()
    assert clusters.TOKEN not in text


def test_tolerations_that_the_cluster_refuses(server, cluster):
    reply = deploy(server, app_name="odd", custom_tolerations=[{"effect": "Never"}])
    assert reply.status == 200 and "not applied" in reply.json["error"] and "422" in reply.json["error"], reply
    assert cluster.faults.pop() and applied(cluster, "spinapps", "odd")


# ---- who we are -----------------------------------------------------------------------------------


def test_where_no_cluster_is(start):
    server = start(env={"KUBECONFIG": "", "KUBERNETES_SERVICE_HOST": ""})
    error = refused(deploy(server), 503, "SERVICE_UNAVAILABLE")
    assert "no Kubernetes cluster is configured" in error["message"]


def one_deployment(start, folder, path, **env):
    own_all(folder)
    server = start(*([f"--kubeconfig={path}"] if path else []), env=env)
    return deploy(server, app_name="who", use_spot=False)


def test_client_certificates_and_files(start, folder):
    with clusters.Cluster(folder) as c:
        pem, key = c.authority.issue("admin", "extendedKeyUsage=clientAuth\n")
        path = c.kubeconfig(user={"client-certificate": pem.name, "client-key": key}, cluster={
            "server": c.url, "certificate-authority": c.authority.pem.name})
        assert one_deployment(start, folder, None, KUBECONFIG=f"{path}:/none").status == 200
        assert all("Authorization" not in r[2] for r in c.requests)
        (folder / "token").write_text(clusters.TOKEN + "\n")
        path = c.kubeconfig(user={"tokenFile": folder / "token"})
        assert one_deployment(start, folder, path).status == 200


def test_a_server_that_is_another(start, folder):
    """Its certificate is of another authority, or of another name: nothing is sent to it."""
    with clusters.Cluster(folder) as c:
        (folder / "other").mkdir()
        other = clusters.Authority(folder / "other", "other")
        path = c.kubeconfig(cluster={"server": c.url, "certificate-authority": other.pem})
        refused(one_deployment(start, folder, path), 503, "SERVICE_UNAVAILABLE")
        path = c.kubeconfig(cluster={"server": c.url.replace("127.0.0.1", "localhost"),
                                     "certificate-authority": c.authority.pem})
        refused(one_deployment(start, folder, path), 503, "SERVICE_UNAVAILABLE")
        path = c.kubeconfig(cluster={"server": c.url})  # the system's authorities do not know it
        refused(one_deployment(start, folder, path), 503, "SERVICE_UNAVAILABLE")
        assert c.requests == []
        path = c.kubeconfig(cluster={"server": c.url, "insecure-skip-tls-verify": "true"})
        assert one_deployment(start, folder, path).status == 200


@pytest.mark.parametrize("text, words", [
    ("", "empty"), ("a: &x [1]\nb: *x\n", "anchors"), ("[", "YAML"), ("apiVersion: v1\n", "current-context"),
    ("- a\n", "object"),
    ("current-context: a\ncontexts: [{name: a, context: {cluster: b, user: c}}]\n", "cluster"),
    ("current-context: a\ncontexts: [{name: a, context: {cluster: b, user: c}}]\nclusters: [{name: b, cluster: {server:"
     " 'ftp://x'}}]\n", ""),
    ("current-context: a\ncontexts: [{name: a, context: {cluster: b, user: c}}]\nclusters: [{name: b, cluster: {server:"
     " 'https://x'}}]\nusers: [{name: c, user: {exec: {command: aws}}}]\n", "exec"),
    ("current-context: a\ncontexts: [{name: a, context: {cluster: b, user: c}}]\nclusters: [{name: b, cluster: {server:"
     " 'https://x', certificate-authority-data: '!'}}]\n", "base64"),
], ids=range(9))
def test_kubeconfigs_that_are_wrong(start, folder, text, words):
    path = folder / "kubeconfig"
    path.write_text(text)
    assert words in refused(one_deployment(start, folder, path), 503, "SERVICE_UNAVAILABLE")["message"]


def test_a_kubeconfig_that_is_not_there(start, folder):
    error = refused(one_deployment(start, folder, folder / "none"), 503, "SERVICE_UNAVAILABLE")
    assert "No such file" in error["message"]


def test_a_cluster_that_is_down(start, folder):
    with clusters.Cluster(folder) as c:
        path = c.kubeconfig()
    refused(one_deployment(start, folder, path), 503, "SERVICE_UNAVAILABLE")


def test_the_end_of_the_server_does_not_wait_for_the_operator(start, folder):
    with clusters.Cluster(folder, operator_s=None) as c:
        path = c.kubeconfig()
        own_all(folder)
        server = start(f"--kubeconfig={path}")
        import threading
        thread = threading.Thread(target=lambda: server.request(
            "POST", "/api/v1/deploy", json.dumps(DEPLOY), {"Content-Type": "application/json"}, check=False))
        thread.start()
        wait_for("it is applied", lambda: any(k[0] == "spinapps" for k in c.things))
        server.terminate()
        thread.join()
