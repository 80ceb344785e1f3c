"""PostgreSQL and Redis of the platform, and what has to be there before any pod: secrets, services, accounts."""

from __future__ import annotations

import hashlib
from pathlib import Path

from opslib.clusters import rights
from sandbox.cluster import pods
from sandbox.crypto.redis_server import RECORDER_RULES, binary
from sandbox.derivatives.objects import LABEL, Document, object_, resources, secret, stateful_set
from sandbox.derivatives.scripts import script
from sandbox.derivatives.setup import NAMESPACE, Setup

__all__ = ["DATA", "VOLUME_MIB", "everything", "postgres", "stateful"]

VOLUME_MIB = 224
DATA = "/var/lib/postgresql/data"


def everything(setup: Setup) -> list[Document]:
    """What the platform's pods need first: secrets, services, the recorder's identity, and the stateful sets.

    What belongs to no namespace does not go with ours: it carries our mark, by which `down` finds it.
    """
    found = [*_secrets(setup), *_services(), *_recorder(), *stateful(setup)]
    for one in found:
        if one["kind"].startswith("Cluster"):
            labels = one["metadata"].get("labels", {})
            one["metadata"] = {**one["metadata"], "labels": {**labels, "sandbox-id": setup.sandbox_id}}
    return found


def stateful(setup: Setup) -> list[Document]:
    """PostgreSQL and Redis."""
    return [postgres(setup), _redis()]


def postgres(setup: Setup, volume_mib: int = VOLUME_MIB) -> Document:
    """The StatefulSet of the database, on a volume of that size [MiB]."""
    path = DATA
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
        "env": [secret("POSTGRES_PASSWORD", "postgres"), {"name": "LC_ALL", "value": "C.UTF-8"}],
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
        "resources": resources("50m", "200m", "64Mi", "384Mi"),
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
    return stateful_set("postgres", spec)


def _redis() -> Document:
    running = {
        "name": "redis",
        "image": pods.HOST,
        "imagePullPolicy": "Never",
        "command": [binary(), "/etc/redis/redis.conf"],
        "ports": [{"name": "redis", "containerPort": 6379}],
        "resources": resources("20m", "200m", "16Mi", "96Mi"),
        "readinessProbe": {"tcpSocket": {"port": "redis"}, "periodSeconds": 2},
        "volumeMounts": [*pods.mounts(), {"name": "configuration", "mountPath": "/etc/redis"}],
    }
    spec = {
        "terminationGracePeriodSeconds": 2,
        "containers": [running],
        "volumes": [*pods.volumes(), {"name": "configuration", "secret": {"secretName": "redis"}}],
    }
    return stateful_set("redis", spec)


def _secrets(setup: Setup) -> list[Document]:
    users = {
        "default": f"on #{_hashed(setup.passwords['redis'])} ~* &* +@all",
        "recorder": f"on #{_hashed(setup.passwords['redis_recorder'])} {RECORDER_RULES}",
    }
    lines = (Path(__file__).parent / "redis.conf").read_text("utf-8")
    lines += "".join(f"user {name} {rules}\n" for name, rules in users.items())
    passwords = {name: setup.passwords[name] for name in ("postgres", "axiom_prod", "redis")}
    return [
        object_("v1", "Secret", "platform", stringData=passwords),
        object_("v1", "Secret", "redis", stringData={"redis.conf": lines}),
    ]


def _services() -> list[Document]:
    ports = {"derivatives-api": (80, "http"), "postgres": (5432, "postgres"), "redis": (6379, "redis")}
    found = [
        object_("v1", "Service", name, spec={"selector": {LABEL: name}, "ports": [{"port": port, "targetPort": to}]})
        for name, (port, to) in ports.items()
    ]
    exporters = [{"name": name, "port": port} for name, port in (("postgres", 9187), ("redis", 9121))]
    return [*found, object_("v1", "Service", "exporters", spec={"selector": {LABEL: "exporters"}, "ports": exporters})]


def _recorder() -> list[Document]:
    """The identity of the probes: it reads, and looks into containers."""
    looks = [
        {"apiGroups": ["", "apps", "autoscaling", "policy", "batch", "events.k8s.io", "metrics.k8s.io"],
         "resources": ["*"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["networking.k8s.io"], "resources": ["ingresses"], "verbs": ["get", "list", "watch"]},
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
        object_("v1", "ServiceAccount", "recorder"),
        object_(rbac, "ClusterRole", "sandbox-recorder", rules=looks),
        object_(rbac, "ClusterRoleBinding", "sandbox-recorder", roleRef=role, subjects=[who]),
        object_("v1", "ServiceAccount", "previewer"),  # asks for dry runs, for which RBAC wants the right to change
        *rights.roles("sandbox-previewer", NAMESPACE, "previewer", rights.of_applier(rights.CHANGES)),
    ]


def _hashed(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()
