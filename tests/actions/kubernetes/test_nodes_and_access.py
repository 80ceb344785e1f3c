"""Actions on pods, nodes, ingresses and secrets of a real cluster, and previews without the right to a dry run."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from kubernetes import client

from opslib import platforms
from opslib.actions import applier, approval, drift, plans
from opslib.actions.applying import target_locks
from opslib.actions.catalogue import make
from opslib.actions.kubernetes import BY_US
from opslib.errors import ParameterError, PlanError
from tests.actions.kubernetes.desk import WHO, Desk, previewed, versions
from tests.probes.kubernetes.world import deployment, until

pytestmark = pytest.mark.slow
ALLOWED_FROM = "nginx.ingress.kubernetes.io/whitelist-source-range"


def keys(desk: Desk) -> dict[str, str]:
    """The values of the secret."""
    found = client.CoreV1Api(desk.world.api).read_namespaced_secret("keys", desk.world.namespace).data
    return {name: base64.b64decode(value).decode() for name, value in found.items()}


def allowed(desk: Desk) -> str | None:
    """The allow-list of the ingress."""
    one = client.NetworkingV1Api(desk.world.api).read_namespaced_ingress("to-desk", desk.world.namespace)
    found: dict[str, str] = one.metadata.annotations or {}
    return found.get(ALLOWED_FROM)


def running(desk: Desk, app: str) -> list[Any]:
    return [pod for pod in desk.world.pods(app) if not pod.metadata.deletion_timestamp]


def test_the_last_ready_pod_and_what_a_budget_keeps_are_not_deleted(desk: Desk) -> None:
    last = running(desk, "alone")[0].metadata.name
    with pytest.raises(PlanError, match=f"{last} is the last ready pod of deployment/alone; scale it up first"):
        desk.propose(("kubernetes.delete-pod", {"pod": last}))
    until(lambda: len(running(desk, "desk")) == 2, "two pods of the desk")
    kept = running(desk, "desk")[0].metadata.name
    with pytest.raises(PlanError, match="disruption budget desk allows no pod of deployment/desk to be taken away now"):
        desk.propose(("kubernetes.delete-pod", {"pod": kept}))


def test_a_pod_is_deleted_and_another_is_ready(desk: Desk) -> None:
    assert (
        desk.apply(desk.propose(("kubernetes.scale", {"workload": "deployment/alone", "replicas": 2}))).state
        == "verified"
    )
    pod = running(desk, "alone")[0]
    plan = previewed(desk, "kubernetes.delete-pod", pod=pod.metadata.name)
    assert plan.document.actions[0].blast_radius == {"pods": 1, "ready_pods_left": 1}
    assert desk.apply(plan).state == "verified"
    assert pod.metadata.uid not in {one.metadata.uid for one in running(desk, "alone")}
    assert desk.world.deployment("alone").status.ready_replicas == 2


def test_a_node_is_cordoned_and_back(desk: Desk) -> None:
    node = client.CoreV1Api(desk.world.api).list_node().items[0].metadata.name
    plan = previewed(desk, "kubernetes.cordon", node=node)
    assert desk.apply(plan).state == "verified"
    assert client.CoreV1Api(desk.world.api).read_node(node).spec.unschedulable
    with pytest.raises(PlanError, match=f"node {node} is cordoned already"):
        desk.propose(("kubernetes.cordon", {"node": node}))
    assert desk.undo(plan).state == "verified"
    assert not client.CoreV1Api(desk.world.api).read_node(node).spec.unschedulable


def test_a_drain_that_would_leave_nobody_ready_is_refused(desk: Desk) -> None:
    node = running(desk, "desk")[0].spec.node_name
    with pytest.raises(PlanError, match=r"no ready pod would be left of|nothing would start these pods"):
        desk.propose(("kubernetes.drain", {"node": node}))


def test_a_node_is_drained_and_taken_back(desk: Desk) -> None:
    nodes = {pod.spec.node_name for pod in running(desk, "mover")}
    free = nodes - {pod.spec.node_name for app in ("desk", "alone", "scaled-desk") for pod in running(desk, app)}
    if not free:
        pytest.skip("this cluster has no second node that only the pod to be moved runs on")
    [node] = free
    plan = previewed(desk, "kubernetes.drain", node=node)
    moved = [row for row in plan.document.actions[0].preview["rows"] if row["workload"] == "deployment/mover"]
    assert [row["held_back_now"] for row in moved] == [""]
    mover = ("kubernetes.restart", {"workload": "deployment/mover"})
    restart = desk.propose(mover)
    for one in (plan, restart):
        approval.approve(desk.settings, one.hash, WHO)
        approval.apply(desk.settings, one.hash, WHO)
    for held, asked in ((plan, restart), (restart, plan)):  # neither goes while the other does
        with target_locks(desk.settings, held.document.targets) as free_now:
            assert free_now
            assert applier.run_once(desk.settings, asked.hash).state == "approved"
    approval.reject(desk.settings, restart.hash, WHO)
    done = applier.run_once(desk.settings, plan.hash)
    assert (done.state, plan.document.actions[0].authority) == ("verified", "L2")
    until(lambda: desk.world.deployment("mover").status.ready_replicas == 2, "the moved pod, ready elsewhere")
    assert node not in {pod.spec.node_name for pod in running(desk, "mover")}
    assert desk.undo(plan).state == "verified"
    assert not client.CoreV1Api(desk.world.api).read_node(node).spec.unschedulable


def test_a_drain_that_would_move_more_than_was_previewed_is_void(desk: Desk) -> None:
    node = running(desk, "mover")[0].spec.node_name
    everything = [f"{desk.world.namespace}/deployment/{name}" for name in ("desk", "alone", "scaled-desk", "book")]
    drain = make("kubernetes.drain", {"node": node, "outage_of": everything})
    with plans.context(platforms.load(desk.settings, "crypto"), "recorder") as reading:
        planned = drain.observe(reading).target
        assert f"deployment/{desk.world.namespace}/mover" in planned.also
        assert drift.changes(planned, drain.observe(reading).target) == []
        late = deployment("late", 1)
        late["spec"]["template"]["spec"]["nodeName"] = node
        desk.world.apply(late)
        try:
            until(lambda: bool(running(desk, "late")), "a pod that came to the node later")
            [told] = drift.changes(planned, drain.observe(reading).target)
        finally:
            client.AppsV1Api(desk.world.api).delete_namespaced_deployment("late", desk.world.namespace)
            until(lambda: not desk.world.pods("late"), "the end of that pod")
    assert told == f"deployment/{desk.world.namespace}/late would change with it now, and not when it was planned"


def test_an_ingress_lets_only_some_through_and_everybody_again(desk: Desk) -> None:
    plan = previewed(desk, "kubernetes.set-allow-list", ingress="to-desk", networks=["10.0.0.0/8", "192.0.2.7/32"])
    assert plan.document.actions[0].preview["changes"] == ["allowed from everywhere -> 10.0.0.0/8,192.0.2.7/32"]
    assert desk.apply(plan).state == "verified"
    assert allowed(desk) == "10.0.0.0/8,192.0.2.7/32"
    assert desk.undo(plan).state == "verified"
    assert allowed(desk) is None
    with pytest.raises(ParameterError, match="does not appear to be an IPv4 or IPv6 network"):
        desk.propose(("kubernetes.set-allow-list", {"ingress": "to-desk", "networks": ["everybody"]}))


def test_a_secret_is_rotated_and_never_shown(desk: Desk) -> None:
    plan = previewed(desk, "kubernetes.rotate-secret", secret="keys", keys=["a"], length=40)
    [planned] = plan.document.actions
    assert (planned.undo.kind, planned.authority) == ("none", "L3")
    done = desk.apply(plan)
    assert done.state == "verified"
    now = keys(desk)
    assert len(now["a"]) == 40
    assert now["b"] == "old-b"
    told = json.dumps([done.result, done.as_json()])
    told += "".join(path.read_text("utf-8") for path in desk.settings.home.rglob("*.jsonl"))
    told += "".join(path.read_text("utf-8") for path in desk.settings.home.rglob("*-apply.ipynb"))
    for value in (now["a"], base64.b64encode(now["a"].encode()).decode(), "old-a"):
        assert value not in told
    with pytest.raises(PlanError, match="cannot be undone: the old values are not kept"):
        approval.undo(desk.settings, plan.hash, WHO)
    with pytest.raises(PlanError, match="the API server would refuse it"):
        desk.propose(("kubernetes.rotate-secret", {"secret": "keys", "keys": ["missing"]}))


def test_without_the_right_to_a_dry_run_the_preview_says_so(desk: Desk) -> None:
    place = desk.settings.state / "sandbox" / "crypto.json"
    told = json.loads(place.read_text("utf-8"))
    del told["endpoints"]["kubernetes_preview"]
    place.write_text(json.dumps(told), "utf-8")
    before = versions(desk)
    arguments = {"workload": "deployment/alone", "container": "main", "variable": "LEVEL", "value": "debug"}
    plan = desk.propose(("kubernetes.set-env", arguments))
    assert versions(desk) == before
    preview = plan.document.actions[0].preview
    assert preview["checked_by"] == BY_US
    assert preview["changes"] == ["main: env LEVEL (unset) -> 'debug'"]
    assert desk.apply(plan).state == "verified"
    assert desk.undo(plan).state == "verified"
