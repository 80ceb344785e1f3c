"""What changes together: what a release, a node or an autoscaler moves is part of its target, and locked with it."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from opslib.actions import drift
from opslib.actions.action import Context
from opslib.actions.catalogue import make
from opslib.actions.documents import Target
from opslib.clusters import helm
from tests.probes.api_server import address, api_server

Objects = dict[str, list[dict[str, Any]]]


def pod(name: str, kind: str, owner: str, namespace: str = "desk", phase: str = "Running") -> dict[str, Any]:
    owners = [{"kind": kind, "name": owner, "uid": owner, "controller": True}] if kind else []
    return {
        "metadata": {"name": name, "namespace": namespace, "uid": name, "ownerReferences": owners},
        "spec": {"nodeName": "node-1", "containers": []},
        "status": {"phase": phase},
    }


def manifest(*objects: tuple[str, str]) -> str:
    """Objects by kind and name, one in a namespace of its own."""
    documents = [{"kind": kind, "metadata": {"name": name}} for kind, name in objects]
    elsewhere = {"kind": "Secret", "metadata": {"name": "keys", "namespace": "vault"}}
    return yaml.safe_dump_all([*documents, elsewhere, None])


def revision(number: int, manifest: str) -> dict[str, Any]:
    """A revision of a release, as Helm keeps it."""
    told = {"name": "platform", "version": number, "info": {"status": "deployed"}, "manifest": manifest}
    packed = base64.b64encode(base64.b64encode(gzip.compress(json.dumps(told).encode()))).decode()
    about = {"name": f"sh.helm.release.v1.platform.v{number}", "labels": {"version": str(number)}}
    return {"metadata": about, "data": {"release": packed}}


@pytest.fixture
def objects() -> Objects:
    old, new = manifest(("Deployment", "old")), manifest(("Deployment", "api"), ("Ingress", "api"), ("ConfigMap", "x"))
    about = {"kind": "Deployment", "name": "api"}
    return {
        "nodes": [{"metadata": {"name": "node-1", "uid": "n1"}, "spec": {}, "status": {}}],
        "pods": [
            *(pod("api-5d-1", "ReplicaSet", "api-5d"), pod("api-5d-2", "ReplicaSet", "api-5d")),
            *(pod("db-0", "StatefulSet", "db", "quant"), pod("seen-x", "DaemonSet", "seen")),
            *(pod("once", "Job", "once", phase="Succeeded"), pod("bare", "", "")),
        ],
        "secrets": [revision(1, old), revision(2, new)],
        "horizontalpodautoscalers": [
            {"metadata": {"name": "api", "uid": "h1"}, "spec": {"scaleTargetRef": about, "maxReplicas": 3}}
        ],
    }


@pytest.fixture
def context(objects: Objects, tmp_path: Path) -> Iterator[Context]:
    with api_server(objects, {}) as url, Context("crypto", "sandbox", "recorder", lambda _: where) as found:
        where = address(url, tmp_path)
        yield found


def target(context: Context, name: str, **arguments: Any) -> Target:
    return make(name, arguments).observe(context).target


@pytest.mark.parametrize(
    ("name", "arguments", "also"),
    [
        (
            "helm.rollback",
            {"release": "platform", "revision": 1},
            ("deployment/desk/api", "ingress/desk/api", "secret/vault/keys"),
        ),
        ("kubernetes.drain", {"node": "node-1"}, ("deployment/desk/api", "statefulset/quant/db")),
        ("kubernetes.cordon", {"node": "node-1"}, ()),
        ("kubernetes.set-autoscaler", {"autoscaler": "api", "least": 1, "most": 2}, ("deployment/desk/api",)),
    ],
)
def test_what_it_changes_besides_is_part_of_the_target(
    context: Context, name: str, arguments: Mapping[str, Any], also: tuple[str, ...]
) -> None:
    seen = target(context, name, **arguments)
    assert seen.also == also
    assert seen.locks("crypto")[1:] == tuple(f"cluster/{key}" for key in also)


def test_a_pod_that_came_to_the_node_later_voids_the_drain_and_one_that_left_does_not(
    context: Context, objects: Objects
) -> None:
    planned = target(context, "kubernetes.drain", node="node-1")
    objects["pods"].append(pod("router-7f-1", "ReplicaSet", "router-7f"))
    later = target(context, "kubernetes.drain", node="node-1")
    assert drift.changes(planned, later) == [
        "deployment/desk/router would change with it now, and not when it was planned"
    ]
    assert drift.changes(later, planned) == []


def test_the_members_of_a_manifest_are_of_the_kinds_asked_for() -> None:
    found = manifest(("StatefulSet", "db"), ("Role", "db"), ("StatefulSet", "db"))
    assert helm.members(found, "desk", {"statefulset"}) == ("statefulset/desk/db",)
    assert helm.members("", "desk", {"statefulset"}) == ()
