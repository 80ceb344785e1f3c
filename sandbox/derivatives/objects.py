"""How the objects of the platform are written: what all of them have in common."""

from __future__ import annotations

from typing import Any

from sandbox.cluster import pods, workloads
from sandbox.cluster.workloads import LABEL, Document, resources
from sandbox.derivatives.setup import DATABASE, NAMESPACE, Setup

__all__ = [
    "LABEL",
    "Document",
    "deployment",
    "environment",
    "object_",
    "program",
    "resources",
    "secret",
    "stateful_set",
]


def program(
    name: str,
    container: str,
    module: str,
    variables: list[Document],
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
        "env": variables,
        "resources": resources("10m", cpu, "48Mi", memory),
        "volumeMounts": mounts,
    }
    spec = {"terminationGracePeriodSeconds": 1, "containers": [running], "volumes": volumes}
    return deployment(name, spec, 1)


def environment(**variables: str) -> list[Document]:
    """Addresses of the stores, with passwords from the secret, then what the program itself wants."""
    redis_url = "redis://:$(REDIS_PASSWORD)@redis:6379/0"
    postgres_url = f"postgresql://axiom_prod:$(POSTGRES_PASSWORD)@postgres:5432/{DATABASE}"
    return [
        secret("REDIS_PASSWORD", "redis"),
        secret("POSTGRES_PASSWORD", "axiom_prod"),
        *pods.environment(REDIS_URL=redis_url, POSTGRES_URL=postgres_url, **variables),
    ]


def secret(variable: str, key: str) -> Document:
    """A variable that comes from the platform's secret."""
    return {"name": variable, "valueFrom": {"secretKeyRef": {"name": "platform", "key": key}}}


def deployment(name: str, pod: Document, replicas: int) -> Document:
    """A Deployment; `pod` is the specification of its pods."""
    return object_("apps/v1", "Deployment", name, spec=workloads.controlled(name, pod, replicas))


def stateful_set(name: str, pod: Document) -> Document:
    """A StatefulSet of one pod."""
    spec = {"serviceName": name, "podManagementPolicy": "Parallel", **workloads.controlled(name, pod, 1)}
    return object_("apps/v1", "StatefulSet", name, spec=spec)


def object_(version: str, kind: str, name: str, **content: Any) -> Document:
    """An object of the platform, in its namespace."""
    return workloads.object_(NAMESPACE, version, kind, name, **content)
