"""The objects of the platform, as documents for the cluster."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from opslib.clusters import rights
from sandbox.cluster import pods
from sandbox.crypto.redis_server import RECORDER_RULES, binary
from sandbox.derivatives.scripts import script
from sandbox.derivatives.setup import DATABASE, NAMESPACE, RELEASE, Setup
from sandbox.gpu import description as gpu

__all__ = [
    "CARD_SHARE_MIB",
    "REPLICAS",
    "VOLUME_MIB",
    "api",
    "everything",
    "migration",
    "namespace",
    "postgres",
    "report",
    "stateful",
    "workloads",
]

Document = dict[str, Any]

REPLICAS = 2
VOLUME_MIB = 224
CARD_SHARE_MIB = 512
_LABEL = "app"
_HISTORY = {"2.2.0": "Release 2.2.0", "2.3.1": "Release 2.3.1: rates of the quarter", RELEASE: f"Release {RELEASE}"}


def namespace(setup: Setup) -> Document:
    """The namespace, with the mark of who made it."""
    labels = {"sandbox-id": setup.sandbox_id, "environment": "sandbox"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}


def everything(setup: Setup) -> list[Document]:
    """What the platform's pods need first: secrets, services, the recorder's identity, and the stateful sets."""
    return [*_secrets(setup), *_services(), *_recorder(), *stateful(setup)]


def stateful(setup: Setup) -> list[Document]:
    """PostgreSQL and Redis."""
    return [postgres(setup), _redis()]


def workloads(setup: Setup) -> list[Document]:
    """Everything else that runs, and what guards it."""
    return [api(setup), _hedger(), _market_data(setup), _load(setup), _exporters(), *_guards()]


def api(setup: Setup, release: str = RELEASE, replicas: int = REPLICAS) -> Document:
    """The Deployment of the service."""
    card_volumes, card_mounts = pods.card()
    environment = _environment(
        RELEASES=str(setup.releases),
        RELEASE=release,
        MODELS=str(setup.models),
        NUMBA_CACHE_DIR=str(setup.numba),
        CARD=gpu.FOLDER,
        GPU_MEMORY_MIB=str(CARD_SHARE_MIB),
        GREEKS_BATCH="0",
    )
    health = {"httpGet": {"path": "/health", "port": "http"}}
    container = {
        "name": "api",
        "image": pods.HOST,
        "imagePullPolicy": "Never",
        "command": pods.python("-m", "sandbox.derivatives.service"),
        "env": environment,
        "ports": [{"name": "http", "containerPort": 8080}],
        "resources": _resources("20m", "100m", "190Mi", "448Mi"),
        "startupProbe": {**health, "periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": 240},
        "readinessProbe": {**health, "periodSeconds": 3, "timeoutSeconds": 5, "failureThreshold": 4},
        "livenessProbe": {**health, "periodSeconds": 15, "timeoutSeconds": 15, "failureThreshold": 6},
        "volumeMounts": [*pods.mounts(), *card_mounts, *_shared_mounts(setup)],
    }
    preferred = {"key": "nvidia.com/gpu.present", "operator": "In", "values": ["true"]}
    spec = {
        "terminationGracePeriodSeconds": 5,
        "containers": [container],
        "volumes": [*pods.volumes(), *card_volumes, *_shared_volumes(setup)],
        "tolerations": [pods.TOLERATION],
        "affinity": {
            "nodeAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {"weight": 100, "preference": {"matchExpressions": [preferred]}}
                ]
            }
        },
    }
    document = _deployment("derivatives-api", spec, replicas)
    document["metadata"]["annotations"] = {"kubernetes.io/change-cause": _HISTORY.get(release, f"Release {release}")}
    document["spec"] |= {
        "revisionHistoryLimit": 10,
        "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
    }
    document["spec"]["template"]["metadata"]["labels"]["release"] = release
    return document


def _hedger() -> Document:
    environment = _environment(API_HOST="derivatives-api", API_PORT="80")
    return _program("auto-hedger", "hedger", "sandbox.derivatives.hedger", environment, "100m", "128Mi")


def _market_data(setup: Setup) -> Document:
    environment = _environment(EXCHANGE=str(setup.exchange))
    return _program("market-data", "feed", "sandbox.derivatives.feed", environment, "100m", "96Mi", setup)


def _load(setup: Setup) -> Document:
    environment = _environment(API_HOST="derivatives-api", API_PORT="80", DEMAND=str(setup.demand))
    return _program("load-generator", "clients", "sandbox.derivatives.load", environment, "400m", "192Mi", setup)


def _program(
    name: str,
    container: str,
    module: str,
    environment: list[Document],
    cpu: str,
    memory: str,
    outside: Setup | None = None,
) -> Document:
    """A Deployment of one pod that runs one module."""
    volumes, mounts = pods.volumes(), pods.mounts()
    if outside is not None:
        path = str(outside.demand.parent)
        volumes = [*volumes, {"name": "outside", "hostPath": {"path": path}}]
        mounts = [*mounts, {"name": "outside", "mountPath": path, "readOnly": True}]
    running = {
        "name": container,
        "image": pods.HOST,
        "imagePullPolicy": "Never",
        "command": pods.python("-m", module),
        "env": environment,
        "resources": _resources("10m", cpu, "48Mi", memory),
        "volumeMounts": mounts,
    }
    spec = {"terminationGracePeriodSeconds": 1, "containers": [running], "volumes": volumes}
    return _deployment(name, spec, 1)


def report(workers: int) -> Document:
    """Another team's report, each worker with a connection of its own."""
    return _job("report-writer", "connections", str(workers))


def migration() -> Document:
    """Another team's change of a table."""
    return _job("schema-migration", "migration")


def _job(name: str, *arguments: str) -> Document:
    document = _program(name, "job", "sandbox.derivatives.report", _environment(), "100m", "128Mi")
    document["spec"]["template"]["spec"]["containers"][0]["command"] += arguments
    return document


def _exporters() -> Document:
    database = f"postgresql://postgres:$(POSTGRES_PASSWORD)@postgres:5432/{DATABASE}?sslmode=disable&connect_timeout=2"
    database_exporter = {
        "name": "postgres",
        "image": pods.HOST,
        "imagePullPolicy": "Never",
        "command": ["/usr/bin/prometheus-postgres-exporter", "--web.listen-address=:9187", "--log.level=error"],
        "env": [_secret("POSTGRES_PASSWORD", "postgres"), {"name": "DATA_SOURCE_NAME", "value": database}],
        "ports": [{"name": "postgres", "containerPort": 9187}],
        "resources": _resources("5m", "100m", "16Mi", "64Mi"),
        "volumeMounts": pods.mounts(),
    }
    redis = {
        "name": "redis",
        "image": pods.HOST,
        "imagePullPolicy": "Never",
        "command": ["/usr/bin/prometheus-redis-exporter", "-web.listen-address=:9121"],
        "env": [
            _secret("REDIS_PASSWORD", "redis"),
            {"name": "REDIS_ADDR", "value": "redis://redis:6379"},
        ],
        "ports": [{"name": "redis", "containerPort": 9121}],
        "resources": _resources("5m", "100m", "16Mi", "64Mi"),
        "volumeMounts": pods.mounts(),
    }
    return _deployment("exporters", {"containers": [database_exporter, redis], "volumes": pods.volumes()}, 1)


def postgres(setup: Setup, volume_mib: int = VOLUME_MIB) -> Document:
    """The StatefulSet of the database, on a volume of that size [MiB]."""
    path = "/var/lib/postgresql/data"
    mount = {"name": "data", "mountPath": path}
    volume = {
        "name": "volume",
        "image": pods.HOST,
        "imagePullPolicy": "Never",
        "command": ["/bin/sh", "-c", script("volume"), "volume", path],
        "env": [{"name": "VOLUME_MIB", "value": str(volume_mib)}],
        "securityContext": {"privileged": True},
        "volumeMounts": [*pods.mounts(), {**mount, "mountPropagation": "Bidirectional"}],
    }
    initdb = {
        "name": "initdb",
        "image": pods.HOST,
        "imagePullPolicy": "Never",
        "command": ["/bin/sh", "-c", script("initdb")],
        "env": [_secret("POSTGRES_PASSWORD", "postgres"), {"name": "LC_ALL", "value": "C.UTF-8"}],
        "securityContext": {"runAsUser": 65534, "runAsGroup": 65534},
        "volumeMounts": [*pods.mounts(), mount],
    }
    running = {
        "name": "postgres",
        "image": pods.HOST,
        "imagePullPolicy": "Never",
        "command": ["/usr/lib/postgresql/15/bin/postgres", "-D", f"{path}/pgdata"],
        "env": [
            {"name": "PATH", "value": "/usr/lib/postgresql/15/bin:/usr/bin:/bin"},
            {"name": "LC_ALL", "value": "C.UTF-8"},
            {"name": "PGHOST", "value": "/tmp"},  # noqa: S108 - the container's own
        ],
        "securityContext": {"runAsUser": 65534, "runAsGroup": 65534},
        "ports": [{"name": "postgres", "containerPort": 5432}],
        "resources": _resources("50m", "200m", "64Mi", "384Mi"),
        "readinessProbe": {
            "exec": {"command": ["/usr/lib/postgresql/15/bin/pg_isready", "-q", "-h", "127.0.0.1"]},
            "periodSeconds": 3,
            "timeoutSeconds": 5,
        },
        "volumeMounts": [*pods.mounts(), {**mount, "mountPropagation": "HostToContainer"}],
    }
    spec = {
        "terminationGracePeriodSeconds": 10,
        "initContainers": [volume, initdb],
        "containers": [running],
        "volumes": [
            *pods.volumes(),
            {
                "name": "data",
                "hostPath": {"path": f"/run/volumes/{setup.volume}", "type": "DirectoryOrCreate"},
            },
        ],
    }
    return _stateful("postgres", spec)


def _redis() -> Document:
    running = {
        "name": "redis",
        "image": pods.HOST,
        "imagePullPolicy": "Never",
        "command": [binary(), "/etc/redis/redis.conf"],
        "ports": [{"name": "redis", "containerPort": 6379}],
        "resources": _resources("20m", "200m", "16Mi", "96Mi"),
        "readinessProbe": {"tcpSocket": {"port": "redis"}, "periodSeconds": 2},
        "volumeMounts": [*pods.mounts(), {"name": "configuration", "mountPath": "/etc/redis"}],
    }
    spec = {
        "terminationGracePeriodSeconds": 2,
        "containers": [running],
        "volumes": [*pods.volumes(), {"name": "configuration", "secret": {"secretName": "redis"}}],
    }
    return _stateful("redis", spec)


def _secrets(setup: Setup) -> list[Document]:
    users = {
        "default": f"on #{_hashed(setup.passwords['redis'])} ~* &* +@all",
        "recorder": f"on #{_hashed(setup.passwords['redis_recorder'])} {RECORDER_RULES}",
    }
    lines = (Path(__file__).parent / "redis.conf").read_text("utf-8")
    lines += "".join(f"user {name} {rules}\n" for name, rules in users.items())
    passwords = {name: setup.passwords[name] for name in ("postgres", "axiom_prod", "redis")}
    return [
        _object("v1", "Secret", "platform", stringData=passwords),
        _object("v1", "Secret", "redis", stringData={"redis.conf": lines}),
    ]


def _services() -> list[Document]:
    ports = {"derivatives-api": (80, "http"), "postgres": (5432, "postgres"), "redis": (6379, "redis")}
    found = [
        _object("v1", "Service", name, spec={"selector": {_LABEL: name}, "ports": [{"port": port, "targetPort": to}]})
        for name, (port, to) in ports.items()
    ]
    exporters = [{"name": name, "port": port} for name, port in (("postgres", 9187), ("redis", 9121))]
    return [*found, _object("v1", "Service", "exporters", spec={"selector": {_LABEL: "exporters"}, "ports": exporters})]


def _recorder() -> list[Document]:
    """The identity of the probes: it reads, and looks into containers."""
    looks = [
        {"apiGroups": ["", "apps", "autoscaling", "policy", "batch", "events.k8s.io", "metrics.k8s.io"],
         "resources": ["*"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["create", "get"]},
    ]  # fmt: skip
    # No secret: a rule names what it allows, so the core resources are spelt out.
    looks[0]["apiGroups"] = [group for group in looks[0]["apiGroups"] if group]
    core = "pods pods/log pods/status services endpoints nodes nodes/proxy events namespaces configmaps"
    core += (
        " persistentvolumes persistentvolumeclaims replicationcontrollers resourcequotas limitranges serviceaccounts"
    )
    looks.append({"apiGroups": [""], "resources": core.split(), "verbs": ["get", "list", "watch"]})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "sandbox-recorder"}
    who = {"kind": "ServiceAccount", "name": "recorder", "namespace": NAMESPACE}
    rbac = "rbac.authorization.k8s.io/v1"
    return [
        _object("v1", "ServiceAccount", "recorder"),
        _object(rbac, "ClusterRole", "sandbox-recorder", rules=looks),
        _object(rbac, "ClusterRoleBinding", "sandbox-recorder", roleRef=role, subjects=[who]),
        _object("v1", "ServiceAccount", "previewer"),  # asks for dry runs, for which RBAC wants the right to change
        *rights.roles("sandbox-previewer", NAMESPACE, "previewer", rights.of_applier(rights.CHANGES)),
    ]


def _guards() -> list[Document]:
    """The autoscaler, that adds a pod every few minutes at most, and the disruption budget."""
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "derivatives-api"}
    cpu = {"name": "cpu", "target": {"type": "AverageValue", "averageValue": "75m"}}
    scaler = {
        "scaleTargetRef": target,
        "minReplicas": REPLICAS,
        "maxReplicas": 20,
        "metrics": [{"type": "Resource", "resource": cpu}],
        "behavior": {
            "scaleUp": {
                "stabilizationWindowSeconds": 300,
                "policies": [{"type": "Pods", "value": 1, "periodSeconds": 300}],
            },
            "scaleDown": {"stabilizationWindowSeconds": 600},
        },
    }
    budget = {"minAvailable": 1, "selector": {"matchLabels": {_LABEL: "derivatives-api"}}}
    return [
        _object("autoscaling/v2beta2", "HorizontalPodAutoscaler", "derivatives-api", spec=scaler),
        _object("policy/v1beta1", "PodDisruptionBudget", "derivatives-api", spec=budget),
    ]


def _environment(**variables: str) -> list[Document]:
    """Addresses of the stores, with passwords from the secret, then what the program itself wants."""
    redis_url = "redis://:$(REDIS_PASSWORD)@redis:6379/0"
    postgres_url = f"postgresql://axiom_prod:$(POSTGRES_PASSWORD)@postgres:5432/{DATABASE}"
    return [
        _secret("REDIS_PASSWORD", "redis"),
        _secret("POSTGRES_PASSWORD", "axiom_prod"),
        *pods.environment(REDIS_URL=redis_url, POSTGRES_URL=postgres_url, **variables),
    ]


def _secret(variable: str, key: str) -> Document:
    return {"name": variable, "valueFrom": {"secretKeyRef": {"name": "platform", "key": key}}}


def _shared_volumes(setup: Setup) -> list[Document]:
    return [{"name": "shared", "hostPath": {"path": str(setup.releases.parent)}}]


def _shared_mounts(setup: Setup) -> list[Document]:
    return [{"name": "shared", "mountPath": str(setup.releases.parent)}]


def _deployment(name: str, pod: Document, replicas: int) -> Document:
    return _object("apps/v1", "Deployment", name, spec=_controlled(name, pod, replicas))


def _stateful(name: str, pod: Document) -> Document:
    spec = {"serviceName": name, "podManagementPolicy": "Parallel", **_controlled(name, pod, 1)}
    return _object("apps/v1", "StatefulSet", name, spec=spec)


def _controlled(name: str, pod: Document, replicas: int) -> Document:
    pod = {"automountServiceAccountToken": False, "enableServiceLinks": False, **pod}
    template = {"metadata": {"labels": {_LABEL: name}}, "spec": pod}
    return {"replicas": replicas, "selector": {"matchLabels": {_LABEL: name}}, "template": template}


def _object(version: str, kind: str, name: str, **content: Any) -> Document:
    metadata: Document = {"name": name, "labels": {_LABEL: name, "platform": NAMESPACE}}
    if not kind.startswith("Cluster"):
        metadata["namespace"] = NAMESPACE
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **content}


def _resources(cpu: str, cpu_most: str, memory: str, memory_most: str) -> Document:
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": cpu_most, "memory": memory_most}}


def _hashed(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()
