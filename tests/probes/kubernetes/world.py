"""A namespace of a real cluster with workloads that are well and workloads that are not, for probes and actions."""

from __future__ import annotations

import base64
import gzip
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client, config, dynamic

from opslib.clusters import rights
from opslib.errors import RunbookError
from opslib.probes import Target
from sandbox.cluster import pods as host

PATIENCE_S = 180.0
SCRIPTS = {
    "web": "trap 'exit 0' TERM; while :; do echo tick; sleep 1 & wait $!; done",
    "crash": "echo about to fail >&2; echo 'ERROR no such table positions'; exit 3",
    "greedy": "echo filling; exec tail /dev/zero",
    "chatty": "trap 'exit 0' TERM; yes 'INFO a line that says nothing of any use to anybody' | head -n 60000; "
    "echo 'ERROR broker timed out'; while :; do sleep 1 & wait $!; done",
}


@dataclass(frozen=True)
class World:
    """A namespace of the cluster, and the addresses under which recorder and applier reach it."""

    namespace: str
    folder: Path
    kubeconfig: Path
    context: str

    @property
    def admin(self) -> str:
        """The address for an identity that may do everything."""
        return f"kubeconfig://{self.kubeconfig}?context={self.context}&namespace={self.namespace}"

    @property
    def target(self) -> Target:
        """What a probe gets, with everything allowed."""
        return Target("kubernetes", self.admin, {"disk": ("df", "-P", "{path}"), "nvidia-smi": ("nvidia-smi",)})

    @cached_property
    def api(self) -> client.ApiClient:
        """The official client, for what a test does itself."""
        return config.new_client_from_config(str(self.kubeconfig), self.context)

    def dynamic(self) -> dynamic.DynamicClient:
        """A client for objects of any version that the cluster serves."""
        return dynamic.DynamicClient(self.api, cache_file=str(self.folder / f"{secrets.token_hex(6)}.json"))

    def apply(self, *documents: dict[str, Any]) -> None:
        """Make objects, those that have a namespace in this one."""
        api = self.dynamic()
        for document in documents:
            kind = api.resources.get(api_version=document["apiVersion"], kind=document["kind"])
            kind.create(body=document, namespace=self.namespace if kind.namespaced else None)

    def pods(self, app: str) -> list[Any]:
        """The pods of an application."""
        found = client.CoreV1Api(self.api).list_namespaced_pod(self.namespace, label_selector=f"app={app}")
        return list(found.items)

    def deployment(self, name: str) -> Any:
        """A deployment as it is."""
        return client.AppsV1Api(self.api).read_namespaced_deployment(name, self.namespace)

    def address_of(self, account: str, documents: list[dict[str, Any]]) -> str:
        """The address for a new service account that may do just what the documents say."""
        self.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account}}, *documents)
        token = self._token(account)
        given = yaml.safe_load(self.kubeconfig.read_text("utf-8"))
        given["users"] = [{"name": account, "user": {"token": token}}]
        for one in given["contexts"]:
            one["context"]["user"] = account
        path = self.folder / f"{account}.kubeconfig"
        path.write_text(yaml.safe_dump(given), "utf-8")
        path.chmod(0o600)
        return f"kubeconfig://{path}?context={self.context}&namespace={self.namespace}"

    def _token(self, account: str) -> str:
        """A token of a service account: asked for, which clusters of every version can answer."""
        body = {"spec": {"expirationSeconds": 3600}, "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"}
        answer = client.CoreV1Api(self.api).create_namespaced_service_account_token(account, self.namespace, body)
        return str(answer.status.token)


def until(shows: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    """Wait until something shows."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            if shows():
                return
        except RunbookError:
            pass
        if time.monotonic() > deadline:
            raise AssertionError(f"never seen: {what}")
        time.sleep(0.5)


def deployment(name: str, replicas: int = 1, **container: Any) -> dict[str, Any]:
    """A deployment whose container runs a script of `SCRIPTS` with what this machine has."""
    script = SCRIPTS.get(name, SCRIPTS["web"])
    own = {
        "name": "main",
        "image": host.HOST,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/sh", "-c", script],
        "volumeMounts": host.mounts(),
        "resources": {"requests": {"cpu": "5m", "memory": "8Mi"}, "limits": {"memory": "48Mi"}},
        **container,
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "annotations": {"kubernetes.io/change-cause": "first release"}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [own], "volumes": host.volumes()},
            },
        },
    }


def healthy() -> list[dict[str, Any]]:
    """A service of two pods with everything that stands around one."""
    about = {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "scaled"}}
    return [
        deployment("web", 2, env=[{"name": "LEVEL", "value": "info"}, {"name": "DB_PASSWORD", "value": "hunter2hunt"}]),
        deployment("scaled", 1),
        {
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
        },
        {
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "nobody"},
            "spec": {"selector": {"app": "nobody"}, "ports": [{"port": 80}]},
        },
        {
            "apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "scaled"},
            "spec": {**about, "minReplicas": 1, "maxReplicas": 3, "targetCPUUtilizationPercentage": 80},
        },
        {
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "web-secrets"},
            "stringData": {"api-key": "swordfish-4711", "other": "leave-me-alone"},
        },
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web-config"}, "data": {"a": "1"}},
        *(release(number) for number in (1, 2)),
    ]  # fmt: skip


def versioned(cluster: World, name: str = "web") -> list[dict[str, Any]]:
    """Objects in the version that the cluster serves: a disruption budget and an ingress."""
    budget = cluster.dynamic().resources.search(kind="PodDisruptionBudget")[0].group_version
    rules = [
        {
            "host": "desk.example",
            "http": {
                "paths": [
                    {
                        "path": path,
                        "pathType": "Prefix",
                        "backend": {"service": {"name": service, "port": {"number": 80}}},
                    }
                    for path, service in (("/", name), ("/nobody", "nobody"), ("/gone", "gone"))
                ]
            },
        }
    ]
    return [
        {
            "apiVersion": budget, "kind": "PodDisruptionBudget", "metadata": {"name": name},
            "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": name}}},
        },
        {
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": f"to-{name}"},
            "spec": {"rules": rules},
        },
    ]  # fmt: skip


def broken() -> list[dict[str, Any]]:
    """Workloads that crash, run out of memory, have no image, find no room, and write too much."""
    return [
        deployment("crash"),
        deployment("greedy", resources={"limits": {"memory": "24Mi", "cpu": "200m"}}),
        deployment("imageless", image="registry.invalid/desk/api:v9"),
        deployment("homeless", resources={"requests": {"cpu": "900"}}),
        deployment("chatty"),
    ]


def release(number: int) -> dict[str, Any]:
    """A Helm release as Helm keeps it."""
    told = {
        "name": "desk",
        "version": number,
        "info": {
            "status": "deployed" if number == 2 else "superseded",
            "last_deployed": f"2026-11-28T0{number}:00:00.5Z",
            "description": "Upgrade complete",
        },
        "chart": {"metadata": {"name": "desk", "version": f"1.{number}.0", "appVersion": "7"}},
        "config": {"image": {"tag": f"v{number}"}, "password": f"hidden-value-{number}"},
        "manifest": f"spec:\n  containers:\n  - image: desk/api:v{number}\n",
    }
    packed = base64.b64encode(gzip.compress(json.dumps(told).encode())).decode()
    labels = {"owner": "helm", "name": "desk", "version": str(number), "status": "deployed"}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "helm.sh/release.v1",
        "metadata": {"name": f"sh.helm.release.v1.desk.v{number}", "labels": labels},
        "data": {"release": base64.b64encode(packed.encode()).decode()},
    }


def recorder_of(cluster: World, reads: list[str], proposes: list[str], account: str) -> str:
    """The address for an account with just the rights that `runbook rbac` prints for the recorder."""
    wanted = rights.of_recorder(reads, proposes)
    return cluster.address_of(account, rights.roles(account, cluster.namespace, account, wanted))
