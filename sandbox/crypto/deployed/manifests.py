"""The objects of the platform, as documents for the cluster."""

from __future__ import annotations

import json
from typing import Any

from sandbox.cluster import pods
from sandbox.cluster.workloads import Document, controlled, namespace, object_, resources
from sandbox.crypto import redis_server
from sandbox.crypto.deployed.setup import CONTROL, NAMESPACE, STATE, Setup
from sandbox.crypto.redis_server import RedisServer

__all__ = ["everything", "names"]

_SECRET = "platform"  # noqa: S105 - the name of the object
_GIVEN = "/etc/platform"
_WORK = "/data"


def names(setup: Setup) -> list[str]:
    """The Deployments."""
    web = [] if setup.nginx is None else ["web"]
    return ["redis", "redis-replica", "risk-harmoniser", "strategist", *web]


def everything(setup: Setup) -> list[Document]:
    """The namespace and all in it."""
    web = [] if setup.nginx is None else [_web(setup)]
    parts = [_redis("redis"), _redis("redis-replica"), _harmoniser(), _strategist(setup), *web]
    return [namespace(NAMESPACE, setup.sandbox_id), _secret(setup), *parts]


def _secret(setup: Setup) -> Document:
    """What the parts are given that has passwords in it."""
    ports = {"primary": setup.ports["redis"], "replica": setup.ports["redis-replica"]}
    addresses = {name: RedisServer(name, port, setup.passwords).url() for name, port in ports.items()}
    content = {
        "harmoniser.json": json.dumps({"sandbox_id": setup.sandbox_id, "redis": addresses}),
        "redis.conf": redis_server.configuration(ports["primary"], _WORK, setup.passwords),
        "redis-replica.conf": redis_server.configuration(
            ports["replica"], _WORK, setup.passwords, replica_of=ports["primary"]
        ),
    }
    return object_(NAMESPACE, "v1", "Secret", _SECRET, stringData=content)


def _redis(name: str) -> Document:
    container = {
        "command": [redis_server.binary(), f"{_GIVEN}/{name}.conf"],
        "resources": resources("20m", "1", "16Mi", "192Mi"),
    }
    return _deployment(name, container, [f"{name}.conf"], work=True)


def _harmoniser() -> Document:
    container = {
        "command": pods.python("-m", "sandbox.crypto.deployed.harmoniser", f"{_GIVEN}/harmoniser.json"),
        "env": pods.environment(),
        "resources": resources("20m", "1", "64Mi", "256Mi"),
    }
    return _deployment("risk-harmoniser", container, ["harmoniser.json"])


def _strategist(setup: Setup) -> Document:
    paths = ["--state", str(setup.folder / STATE), "--control", str(setup.folder / CONTROL)]
    health = {"httpGet": {"host": "127.0.0.1", "path": "/health", "port": setup.ports["api"]}}
    container = {
        "command": pods.python("-m", "sandbox.crypto.service", "--deployed", *paths),
        "env": pods.environment(),
        "resources": resources("50m", "2", "128Mi", "768Mi"),
        "readinessProbe": {**health, "periodSeconds": 2, "timeoutSeconds": 3},
    }
    return _deployment("strategist", container, [], folder=setup)


def _web(setup: Setup) -> Document:
    listening = {"tcpSocket": {"host": "127.0.0.1", "port": setup.ports["web"]}}
    container = {
        "command": [str(setup.nginx), "-p", str(setup.folder / "nginx"), "-c", "nginx.conf", "-e", "stderr"],
        "resources": resources("5m", "200m", "16Mi", "64Mi"),
        "readinessProbe": {**listening, "periodSeconds": 2},
    }
    return _deployment("web", container, [], folder=setup)


def _deployment(
    name: str, container: dict[str, Any], given: list[str], *, work: bool = False, folder: Setup | None = None
) -> Document:
    """A Deployment of one pod that shares its node's network: the one before ends first, for it has the port."""
    volumes, mounts = pods.volumes(), pods.mounts()
    if given:
        volumes.append({"name": "given", "secret": {"secretName": _SECRET, "items": [_item(one) for one in given]}})
        mounts.append({"name": "given", "mountPath": _GIVEN, "readOnly": True})
    if work:
        volumes.append({"name": "work", "emptyDir": {}})
        mounts.append({"name": "work", "mountPath": _WORK})
    if folder is not None:
        volumes.append({"name": "folder", "hostPath": {"path": str(folder.folder)}})
        mounts.append({"name": "folder", "mountPath": str(folder.folder)})
    running = {"name": name, "image": pods.HOST, "imagePullPolicy": "Never", **container, "volumeMounts": mounts}
    pod = {
        "hostNetwork": True,
        "terminationGracePeriodSeconds": 5,
        "containers": [running],
        "volumes": volumes,
    }
    spec = {**controlled(name, pod, 1), "strategy": {"type": "Recreate"}, "paused": False}
    return object_(NAMESPACE, "apps/v1", "Deployment", name, spec=spec)


def _item(name: str) -> dict[str, str]:
    return {"key": name, "path": name}
