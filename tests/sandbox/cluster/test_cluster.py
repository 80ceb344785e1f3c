"""A pod is a pod: what one does with a cluster works on the sandbox's, from the host, with the official client."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import stream

from opslib.settings import PROJECT, Settings
from sandbox import cluster as clusters
from sandbox.cluster import Cluster, pods
from sandbox.errors import ApplyFailed, ControlRefused, NotOurs, StartFailed
from tests.sandbox.cluster.conftest import until

pytestmark = pytest.mark.slow

NAMESPACE = "trading"
SERVING = (
    "import http.server as h; print('ready', flush=True); h.test(h.SimpleHTTPRequestHandler, port=8000, bind='0.0.0.0')"
)


def pod(
    name: str, *code: str, resources: dict[str, Any] | None = None, card: bool = False, **spec: Any
) -> dict[str, Any]:
    """A pod that runs a line of Python with the project's environment."""
    volumes, mounts = pods.card()
    container = {
        "name": "main",
        "image": pods.HOST,
        "command": pods.python("-c", *code),
        "env": pods.environment(),
        "volumeMounts": [*pods.mounts(), *(mounts if card else [])],
        "resources": resources or {},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "containers": [container],
            "volumes": [*pods.volumes(), *(volumes if card else [])],
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            **spec,
        },
    }


def deployment(name: str, template: dict[str, Any]) -> dict[str, Any]:
    """A deployment of such a pod."""
    spec = {**template["spec"], "restartPolicy": "Always"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": spec},
        },
    }


@pytest.fixture(scope="module")
def core(cluster: Cluster) -> Iterator[client.CoreV1Api]:
    """The official client, as anybody would make it of the kubeconfig."""
    with config.new_client_from_config(str(cluster.kubeconfig), context=cluster.context) as opened:
        yield client.CoreV1Api(opened)


@pytest.fixture(scope="module")
def web(cluster: Cluster, core: client.CoreV1Api) -> str:
    """A pod that serves and logs, with a service in front."""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "front"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8000}]},
    }
    cluster.apply([pod("web", f"import engine.risk, numba, scipy, pandas; {SERVING}"), service], NAMESPACE)
    until(lambda: "ready" in log(core, "web"))
    return "web"


def phase(core: client.CoreV1Api, name: str) -> str:
    return core.read_namespaced_pod(name, NAMESPACE).status.phase


def log(core: client.CoreV1Api, name: str) -> str:
    try:
        return core.read_namespaced_pod_log(name, NAMESPACE) or ""
    except ApiException:
        return ""  # not started yet


def in_pod(core: client.CoreV1Api, name: str, *command: str) -> str:
    call = core.connect_get_namespaced_pod_exec
    asked = {"command": list(command), "stdout": True, "stderr": True, "stdin": False, "tty": False}
    opened = stream(call, name, NAMESPACE, **asked, _preload_content=False)
    try:
        opened.run_forever(timeout=60.0)
        return opened.read_all()
    finally:
        opened.sock.shutdown()  # its own `close` does nothing once the server has closed


def test_two_nodes_are_ready_and_one_has_the_card(core: client.CoreV1Api) -> None:
    nodes = {node.metadata.name: node for node in core.list_node().items}
    assert set(nodes) == {"node-1", "node-2"}
    for node in nodes.values():
        assert {one.type: one.status for one in node.status.conditions}["Ready"] == "True"
    assert nodes["node-2"].metadata.labels["nvidia.com/gpu.present"] == "true"
    assert [(taint.key, taint.effect) for taint in nodes["node-2"].spec.taints] == [("nvidia.com/gpu", "NoSchedule")]
    assert int(nodes["node-2"].status.allocatable["nvidia.com/gpu"]) > 0
    assert "nvidia.com/gpu" not in nodes["node-1"].status.allocatable


def test_the_kubeconfig_is_the_owners_alone_and_leads_through_loopback(cluster: Cluster) -> None:
    assert stat.S_IMODE(cluster.kubeconfig.stat().st_mode) == 0o600
    assert "server: https://127.0.0.1:" in cluster.kubeconfig.read_text("utf-8")


def test_a_pod_runs_the_projects_python_and_its_log_is_read(web: str, core: client.CoreV1Api) -> None:
    assert log(core, web).startswith("ready")
    assert core.read_namespaced_pod(web, NAMESPACE).spec.node_name == "node-1"


def test_exec_runs_in_the_pod_where_services_have_names(web: str, core: client.CoreV1Api) -> None:
    code = "import socket; print(socket.gethostname(), socket.gethostbyname('front'))"
    name, address = in_pod(core, web, "python3", "-c", code).split()
    assert name == "web"
    assert address == core.read_namespaced_service("front", NAMESPACE).spec.cluster_ip
    assert "Name or service not known" in in_pod(core, web, "python3", "-c", "import socket; socket.gethostbyname('x')")


def test_a_pod_changes_nothing_of_the_machine(web: str, core: client.CoreV1Api) -> None:
    for folder in (Path(pods.python()[0]).parent, "/usr"):
        assert "Read-only file system" in in_pod(core, web, "touch", f"{folder}/here")


def test_a_service_is_exposed_on_one_loopback_port(web: str, cluster: Cluster) -> None:
    port = cluster.expose(NAMESPACE, "front", 80)
    assert cluster.expose(NAMESPACE, "front", 80) == port
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10.0) as answer:
        assert answer.status == 200
    with pytest.raises(ControlRefused, match="no service nothing in trading"):
        cluster.expose(NAMESPACE, "nothing", 80)


def test_events_tell_what_happened(web: str, core: client.CoreV1Api) -> None:
    events = core.list_namespaced_event(NAMESPACE, field_selector="involvedObject.name=web").items
    assert {"Scheduled", "Started"} <= {event.reason for event in events}


def test_memory_over_the_limit_ends_in_a_real_oom_kill(cluster: Cluster, core: client.CoreV1Api) -> None:
    cluster.apply([pod("hungry", "bytearray(200 << 20)", resources={"limits": {"memory": "48Mi"}})], NAMESPACE)
    until(lambda: phase(core, "hungry") == "Failed")
    state = core.read_namespaced_pod("hungry", NAMESPACE).status.container_statuses[0].state.terminated
    assert (state.reason, state.exit_code) == ("OOMKilled", 137)
    assert not [event for event in core.list_event_for_all_namespaces().items if event.reason == "SystemOOM"]


def test_a_share_of_the_card_leads_to_its_node(cluster: Cluster, core: client.CoreV1Api) -> None:
    holding = (
        "import time; from sandbox.gpu.card import Card; card = Card(); card.allocate(2000); "
        "print('holding', flush=True); time.sleep(600)"
    )
    share = {"limits": {"nvidia.com/gpu": "1"}}
    here = {"nodeSelector": {"kubernetes.io/hostname": "node-2"}}
    wanting = [
        pod("on-card", holding, resources=share, card=True, tolerations=[pods.TOLERATION]),
        pod("untolerated", "pass", **here),
        pod("too-much", "pass", resources={"limits": {"nvidia.com/gpu": "17"}}, tolerations=[pods.TOLERATION]),
    ]
    cluster.apply(wanting, NAMESPACE)
    until(lambda: "holding" in log(core, "on-card"))
    assert core.read_namespaced_pod("on-card", NAMESPACE).spec.node_name == "node-2"
    for name, reason in (("untolerated", "taint"), ("too-much", "Insufficient nvidia.com/gpu")):
        conditions = until(lambda name=name: core.read_namespaced_pod(name, NAMESPACE).status.conditions)
        assert reason in conditions[0].message
    told = in_pod(core, "on-card", "nvidia-smi", "--query-gpu=name,memory.used,memory.total", "--format=csv,noheader")
    assert told == "NVIDIA A10 (simulated), 2000 MiB, 23028 MiB\n"
    assert re.search(r"\| N/A +\d+C +P0 .* 2000MiB / 23028MiB \|", in_pod(core, "on-card", "nvidia-smi"))
    assert [json.loads(path.read_text())["used_mib"] for path in cluster.card.glob("clients/*.json")] == [2000.0]
    core.delete_namespaced_pod("on-card", NAMESPACE)
    (description := cluster.card / "card.json").write_text(description.read_text())  # the faults write here


def test_without_a_card_there_is_no_program(cluster: Cluster, core: client.CoreV1Api) -> None:
    cluster.apply([pod("off-card", "import time; print('up', flush=True); time.sleep(600)", card=True)], NAMESPACE)
    until(lambda: "up" in log(core, "off-card"))
    assert core.read_namespaced_pod("off-card", NAMESPACE).spec.node_name == "node-1"
    tried = cluster.run("kubectl", "--namespace", NAMESPACE, "exec", "off-card", "--", "nvidia-smi")
    assert tried.returncode != 0
    assert '"nvidia-smi": executable file not found in $PATH' in tried.stderr


def test_top_and_autoscaling_work(cluster: Cluster, core: client.CoreV1Api, kubectl: Callable[..., str]) -> None:
    limits = {"requests": {"cpu": "50m"}, "limits": {"cpu": "80m", "memory": "64Mi"}}
    scaler = {
        "apiVersion": "autoscaling/v1",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "busy"},
        "spec": {
            "minReplicas": 1,
            "maxReplicas": 3,
            "targetCPUUtilizationPercentage": 50,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "busy"},
        },
    }
    cluster.apply([deployment("busy", pod("busy", "while True: pass", resources=limits)), scaler], NAMESPACE)
    apps = client.AppsV1Api(core.api_client)
    until(lambda: apps.read_namespaced_deployment("busy", NAMESPACE).status.replicas == 3, 180.0)
    shown = kubectl("-n", NAMESPACE, "top", "pods", "-l", "app=busy", "--no-headers")
    assert re.search(r"busy-\S+ +[1-9]\d*m +\d+Mi", shown)
    assert re.search(r"node-1 +[1-9]\d*m +\d+%", kubectl("top", "nodes", "--no-headers"))
    assert "busy" not in kubectl("-n", NAMESPACE, "top", "pods", "-l", "app!=busy", "--no-headers")
    apps.delete_namespaced_deployment("busy", NAMESPACE)


def test_versions_of_an_image_roll_out_and_a_bad_one_does_not(cluster: Cluster, core: client.CoreV1Api) -> None:
    for version in ("v1.0.0", "v1.1.0"):
        cluster.image([f"runbooks/derivatives:{version}"], environment={"VERSION": version})
    apps = client.AppsV1Api(core.api_client)

    def roll(version: str) -> None:
        saying = "import os, time; print(os.environ['VERSION'], flush=True); time.sleep(600)"
        document = deployment("versioned", pod("versioned", saying))
        document["spec"]["template"]["spec"]["containers"][0]["image"] = f"runbooks/derivatives:{version}"
        cluster.apply([document], NAMESPACE)

    def said() -> set[str]:
        running = core.list_namespaced_pod(NAMESPACE, label_selector="app=versioned").items
        return {log(core, one.metadata.name).strip() for one in running if one.metadata.deletion_timestamp is None}

    for version in ("v1.0.0", "v1.1.0"):
        roll(version)
        until(lambda version=version: said() == {version})
    roll("v6.6.6")

    def waits() -> list[str]:
        running = core.list_namespaced_pod(NAMESPACE, label_selector="app=versioned").items
        states = [one.status.container_statuses[0].state.waiting for one in running if one.status.container_statuses]
        return [state.reason for state in states if state and state.reason in ("ErrImagePull", "ImagePullBackOff")]

    until(waits)
    assert apps.read_namespaced_deployment("versioned", NAMESPACE).status.available_replicas == 1
    apps.delete_namespaced_deployment("versioned", NAMESPACE)


def test_an_account_may_what_its_role_says(cluster: Cluster, web: str) -> None:
    cluster.apply(
        [
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "reader"}},
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "Role",
                "metadata": {"name": "reader"},
                "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}],
            },
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": {"name": "reader"},
                "subjects": [{"kind": "ServiceAccount", "name": "reader"}],
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
            },
        ],
        NAMESPACE,
    )
    with config.new_client_from_config(str(cluster.account(NAMESPACE, "reader"))) as opened:
        reader = client.CoreV1Api(opened)
        assert web in [one.metadata.name for one in reader.list_namespaced_pod(NAMESPACE).items]
        for refused in (reader.list_namespaced_secret, reader.list_namespaced_event):
            with pytest.raises(ApiException, match="Forbidden"):
                refused(NAMESPACE)
        with pytest.raises(ApiException, match="Forbidden"):
            reader.delete_namespaced_pod(web, NAMESPACE)


def test_namespaces_without_the_label_are_left_alone(cluster: Cluster, core: client.CoreV1Api) -> None:
    core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name="production")))
    labels = {"sandbox-id": "another"}
    core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name="others", labels=labels)))
    for name in ("production", "others", "kube-system"):
        with pytest.raises(NotOurs, match=f"the namespace {name} does not carry sandbox-id={cluster.sandbox_id}"):
            cluster.apply([pod("intruder", "pass")], name)
        with pytest.raises(NotOurs, match="nothing was changed"):
            cluster.verify(name)
        assert not core.list_namespaced_pod(name, field_selector="metadata.name=intruder").items
    with pytest.raises(NotOurs, match="there is no namespace nowhere"):
        cluster.verify("nowhere")


def test_every_refused_document_is_named(cluster: Cluster) -> None:
    good = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "good"}, "data": {"key": "value"}}
    bad = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "bad"}, "spec": {"ports": []}}
    strange = {"apiVersion": "v1", "kind": "Strange", "metadata": {"name": "thing"}}
    with pytest.raises(ApplyFailed, match=r"refused 2 of 3 documents: Service bad: .*; Strange thing: .*no such kind"):
        cluster.apply([bad, good, strange], NAMESPACE)


def test_up_again_finds_the_cluster(shared: Settings, cluster: Cluster) -> None:
    lines: list[str] = []
    assert clusters.up(shared, progress=lines.append) == cluster
    assert lines == [f"the cluster {cluster.sandbox_id} already runs"]
    with pytest.raises(StartFailed, match="is in use: run `runbook sandbox down` first"):
        clusters.up(shared, kubeconfig=Path("/elsewhere"), context="staging")


def test_a_cluster_of_ones_own_serves_as_well(web: str, cluster: Cluster, home: Settings) -> None:
    own = clusters.up(home, kubeconfig=cluster.kubeconfig, context=cluster.context)
    assert own.own
    assert own.sandbox_id != cluster.sandbox_id
    assert clusters.find(home) == own
    with pytest.raises(NotOurs, match=f"does not carry sandbox-id={own.sandbox_id}"):
        own.apply([pod("intruder", "pass")], NAMESPACE)
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "site"},
        "spec": {"selector": {"app": "site"}, "ports": [{"name": "http", "port": 80, "targetPort": 8000}]},
    }
    own.apply([pod("site", SERVING), service], "elsewhere")

    exposed = own.expose("elsewhere", "site", 80)
    with pytest.raises(ControlRefused, match="the service site in elsewhere has no port 81"):
        own.expose("elsewhere", "site", 81)
    until(lambda: "ready" in own.run("kubectl", "--namespace", "elsewhere", "logs", "site").stdout)
    for _ in range(2):
        with urllib.request.urlopen(f"http://127.0.0.1:{exposed}/", timeout=20.0) as answer:
            assert answer.status == 200
    assert "site" in own.run("kubectl", "--namespace", "elsewhere", "get", "pods").stdout
    for refused in (lambda: own.image(["a:1"]), lambda: own.card):
        with pytest.raises(ControlRefused, match="of your own"):
            refused()
    assert clusters.down(home) is True
    assert clusters.find(home) is None
    with pytest.raises(NotOurs, match="there is no namespace elsewhere"):
        own.verify("elsewhere")
    cluster.verify(NAMESPACE)


def test_status_shows_the_kubeconfig_while_the_cluster_runs(shared: Settings) -> None:
    def kubeconfig(home: Path) -> object:
        done = subprocess.run(
            [Path(sys.executable).with_name("runbook"), "sandbox", "status", "--json"],
            env={**os.environ, "RUNBOOK_HOME": str(home)},
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout)["kubeconfig"]

    found = clusters.find(shared)
    assert found is not None
    assert kubeconfig(shared.home) == str(found.kubeconfig)
    assert kubeconfig(shared.home / "another") is None
