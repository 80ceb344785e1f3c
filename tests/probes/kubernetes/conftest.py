"""One namespace with workloads that are well and workloads that are not, for all probes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from opslib import probes
from tests.probes.kubernetes.world import World, broken, healthy, until, versioned


@pytest.fixture(scope="session")
def seen(kubeconfig: tuple[Path, str], namespace: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The world that the probes look at, once everything in it shows."""
    world = World(namespace, tmp_path_factory.mktemp("accounts"), *kubeconfig)
    world.apply(*healthy(), *broken())
    world.apply(*versioned(world))

    def statuses() -> dict[str, dict[str, object]]:
        rows = probes.call("kubernetes.pods", world.target, {}).table.to_pylist()
        return {f"{row['workload']} {row['status']}": row for row in rows}

    def shows() -> bool:
        rows = statuses()
        told = " ".join(rows)
        states = ("web Running", "homeless Unschedulable", "imageless ImagePullBackOff", "crash CrashLoopBackOff")
        return all(f"deployment/{state}" in told for state in states) and any(
            row["workload"] == "deployment/greedy" and row["last_reason"] == "OOMKilled" for row in rows.values()
        )

    until(shows, "the workloads of the tests, each in its state")
    written = {"workload": "deployment/chatty", "grep": "ERROR"}
    until(lambda: probes.call("kubernetes.logs", world.target, written).table.num_rows == 1, "the end of a long log")
    yield world
    world.api.close()
