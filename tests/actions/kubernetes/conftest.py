"""A namespace with workloads to change, and recorder and applier under accounts with just the rights they need."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from opslib import people, store
from opslib.clusters import rights
from opslib.incidents.opening import open_incident
from opslib.settings import Settings
from tests.actions.kubernetes.desk import Desk
from tests.probes.kubernetes.world import World, deployment, until, versioned


@pytest.fixture(scope="session")
def changed(kubeconfig: tuple[Path, str], namespace: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The namespace whose workloads the actions change, with an account that reads and one that changes."""
    world = World(namespace, tmp_path_factory.mktemp("appliers"), *kubeconfig)
    desk = deployment("desk", 2, env=[{"name": "LEVEL", "value": "info"}])
    world.apply(desk, deployment("alone", 1), deployment("scaled-desk", 1), *versioned(world, "desk"))
    about = {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "scaled-desk"}}
    bounds = {"minReplicas": 1, "maxReplicas": 2, "targetCPUUtilizationPercentage": 90}
    world.apply(
        {
            "apiVersion": "autoscaling/v1",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "scaled-desk"},
            "spec": {**about, **bounds},
        },
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "keys"},
            "stringData": {"a": "old-a", "b": "old-b"},
        },
    )
    mover = deployment("mover", 2)
    spread = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
    mover["spec"]["template"]["spec"] |= {
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
        "topologySpreadConstraints": [{**spread, "labelSelector": {"matchLabels": {"app": "mover"}}}],
    }
    book = deployment("book", 1)
    book["spec"]["strategy"] = {"type": "Recreate"}  # as a database of one pod: the old one goes first
    world.apply(mover, book)
    wanted = {"desk": 2, "alone": 1, "scaled-desk": 1, "mover": 2, "book": 1}
    until(
        lambda: all((world.deployment(name).status.ready_replicas or 0) == many for name, many in wanted.items()),
        "the workloads of the actions",
    )
    yield world
    world.api.close()


@pytest.fixture(scope="session")
def addresses(changed: World) -> dict[str, str]:
    """Where recorder, previews and applier reach the cluster: each an account with just its rights."""
    actions = list(rights.CHANGES)
    space = changed.namespace
    reading, changing = rights.of_recorder([], actions), rights.of_applier(actions)
    return {
        "kubernetes": changed.address_of("reader", rights.roles("reader", space, "reader", reading)),
        "kubernetes_preview": changed.address_of("preview", rights.roles("preview", space, "preview", changing)),
        "kubernetes_admin": changed.address_of("changer", rights.roles("changer", space, "changer", changing)),
    }


@pytest.fixture
def desk(settings: Settings, changed: World, addresses: dict[str, str]) -> Desk:
    """An incident that a person opened on the platform, and its run."""
    folder = settings.state / "sandbox"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "crypto.json").write_text(json.dumps({"endpoints": addresses}), "utf-8")
    with store.transaction(settings) as connection:
        for name in ("dora", "erin"):
            people.add(connection, name, "L4")
        incident = open_incident(
            connection,
            platform="crypto",
            runbook="triage",
            target="desk",
            severity="critical",
            title="desk",
            opened_by="dora",
        )["id"]
        row = connection.execute(
            "INSERT INTO runs (incident, number, runbook, platform, mode, requested_by, state)"
            " VALUES (%s, 1, 'triage', 'crypto', 'plan', 'ann', 'running') RETURNING id",
            (incident,),
        ).fetchone()
    assert row is not None
    return Desk(settings, changed, int(row["id"]))
