"""Pods, containers, nodes, events and what they use, on a real cluster with sick workloads."""

from __future__ import annotations

from typing import Any

import pytest
from kubernetes import client

from opslib import probes
from opslib.errors import ProbeError
from tests.probes.kubernetes.world import World, until

pytestmark = pytest.mark.slow


def rows(world: World, probe: str, /, **arguments: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = probes.call(probe, world.target, arguments).table.to_pylist()
    return found


def of(world: World, app: str) -> dict[str, Any]:
    return rows(world, "kubernetes.pods", workload=f"deployment/{app}")[0]


def test_a_healthy_pod_says_where_it_runs_and_what_it_asks_for(seen: World) -> None:
    found = rows(seen, "kubernetes.pods", selector="app=web")
    assert len(found) == 2
    assert {(row["status"], row["ready"], row["restarts"], row["ready_containers"]) for row in found} == {
        ("Running", True, 0, "1/1")
    }
    assert all(row["node"] and row["started"] and row["revision"] for row in found)
    assert {(row["cpu_request"], row["memory_request"], row["memory_limit"]) for row in found} == {
        (0.005, 8 * 2**20, 48 * 2**20)
    }


def test_a_crash_is_told_with_its_exit_code(seen: World) -> None:
    row = of(seen, "crash")
    assert (row["ready"], row["last_reason"], row["last_exit_code"]) == (False, "Error", 3)
    assert row["restarts"] >= 1
    assert row["last_finished"] is not None


def test_out_of_memory_is_told(seen: World) -> None:
    row = of(seen, "greedy")
    assert (row["last_reason"], row["last_exit_code"]) == ("OOMKilled", 137)
    assert row["memory_limit"] == 24 * 2**20


def test_an_image_that_cannot_be_had_is_told(seen: World) -> None:
    row = of(seen, "imageless")
    assert row["status"] in ("ImagePullBackOff", "ErrImagePull")
    assert "registry.invalid/desk/api:v9" in row["images"]
    assert row["message"]


def test_a_pod_without_room_is_told_with_the_schedulers_words(seen: World) -> None:
    row = of(seen, "homeless")
    assert (row["status"], row["node"]) == ("Unschedulable", None)
    assert "Insufficient cpu" in row["message"]


def test_the_worst_come_first(seen: World) -> None:
    ready = [row["ready"] for row in rows(seen, "kubernetes.pods")]
    assert ready == sorted(ready)


def test_containers_say_how_they_ended(seen: World) -> None:
    found = {row["pod"].rpartition("-")[0].rpartition("-")[0]: row for row in rows(seen, "kubernetes.containers")}
    assert found["crash"]["last_exit_code"] == 3
    assert found["web"]["state"] == "running"
    assert found["imageless"]["state"] == "waiting"


def test_nodes_say_what_they_have_and_what_is_asked_of_them(seen: World) -> None:
    found = rows(seen, "kubernetes.nodes")
    assert len(found) >= 1
    assert all(row["ready"] and row["problems"] is None and row["cpu"] > 0 and row["memory"] > 0 for row in found)
    assert sum(row["cpu_requested"] for row in found) > 0


def test_events_tell_why_and_can_be_narrowed(seen: World) -> None:
    told = rows(seen, "kubernetes.events", minutes=60, name="homeless", warnings=True)
    assert {row["reason"] for row in told} == {"FailedScheduling"}
    assert all(row["object"].startswith("pod/homeless") for row in told)
    times = [row["time"] for row in rows(seen, "kubernetes.events")]
    assert times == sorted(times, reverse=True)
    assert rows(seen, "kubernetes.events", minutes=0.0001) == []


def test_top_says_what_is_used_or_that_nothing_measures_it(seen: World) -> None:
    served = {group.name for group in client.ApisApi(seen.api).get_api_versions().groups}
    if "metrics.k8s.io" not in served:
        with pytest.raises(ProbeError, match=r"does not serve metrics\.k8s\.io"):
            rows(seen, "kubernetes.top")
        return

    def measured() -> bool:
        return len(rows(seen, "kubernetes.top", selector="app=web")) == 2

    until(measured, "the metrics of both pods")
    found = rows(seen, "kubernetes.top", selector="app=web")
    assert all(row["memory"] > 0 and 0 < row["memory_of_limit"] < 1.5 for row in found)
    assert all(row["memory"] > 0 for row in rows(seen, "kubernetes.top_nodes"))


def test_a_workload_that_is_not_there_or_badly_named_is_told(seen: World) -> None:
    with pytest.raises(ProbeError, match=rf'^kubernetes at {seen.namespace}: deployments.apps "nothing" not found$'):
        probes.call("kubernetes.pods", seen.target, {"workload": "deployment/nothing"})
    with pytest.raises(ProbeError, match="'nothing' is no workload: write deployment/NAME"):
        probes.call("kubernetes.pods", seen.target, {"workload": "nothing"})
