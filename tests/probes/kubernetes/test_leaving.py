"""A pod that is being deleted: what it cannot tell any more is no hole in what was seen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes import client

from opslib import probes
from opslib.errors import ProbeError
from opslib.probes import kubernetes_logs
from tests.probes.kubernetes.world import World, deployment, until

pytestmark = pytest.mark.slow

WORKLOAD = {"workload": "deployment/leaving"}
STAYS = ["/bin/sh", "-c", "trap '' TERM; while :; do echo tick; sleep 1; done"]


@pytest.fixture
def leaving(seen: World) -> Iterator[str]:
    """The name of a pod that is being deleted and takes its time, beside the one in its place."""
    made = deployment("leaving", command=STAYS)
    made["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 120
    pods, workloads = client.CoreV1Api(seen.api), client.AppsV1Api(seen.api)

    def there() -> list[str]:
        running = [pod for pod in seen.pods("leaving") if pod.status.phase == "Running"]
        return [pod.metadata.name for pod in running if not pod.metadata.deletion_timestamp]

    seen.apply(made)
    until(lambda: len(there()) == 1, "the pod that leaves")
    name = there()[0]
    try:
        pods.delete_namespaced_pod(name, seen.namespace)
        until(lambda: len(there()) == 1, "the pod in its place")
        yield name
    finally:
        workloads.delete_namespaced_deployment("leaving", seen.namespace)
        for pod in seen.pods("leaving"):
            pods.delete_namespaced_pod(pod.metadata.name, seen.namespace, grace_period_seconds=0)


def test_a_leaving_pod_is_not_asked_for_its_card(seen: World, leaving: str) -> None:
    cards = probes.call("gpu.cards", seen.target, WORKLOAD).table.to_pylist()
    assert [row["pod"] == leaving for row in cards] == [False]


def test_a_log_that_went_with_a_leaving_pod_is_no_hole(
    seen: World, leaving: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = kubernetes_logs._stream

    def ended(cluster: Any, source: Any, *more: Any) -> None:
        """As it is once the kubelet has removed the container."""
        if source.pod == leaving:
            source.unread = f'container "main" in pod "{leaving}" is terminated'
        else:
            stream(cluster, source, *more)

    monkeypatch.setattr(kubernetes_logs, "_stream", ended)
    counted = probes.call("logs.count", seen.target, {**WORKLOAD, "patterns": {"ticks": "tick"}})
    assert counted.note is None
    assert counted.table.to_pylist()[0]["count"] > 0
    with pytest.raises(ProbeError, match=r"no log could be read: .* is terminated"):
        probes.call("kubernetes.logs", seen.target, {"pod": leaving})
