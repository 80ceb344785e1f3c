"""Each action on a real cluster: previewed without a change, applied, its effect waited for, void after drift, undone."""

from __future__ import annotations

from typing import Any

import pytest
from kubernetes import client

from opslib import store
from opslib.actions import approval, applier
from opslib.actions.kubernetes import BY_SERVER, BY_US
from opslib.actions.kubernetes_access import ALLOWED_FROM
from opslib.errors import PlanError
from tests.actions.kubernetes.conftest import WHO, Desk
from tests.probes.kubernetes.world import until

pytestmark = pytest.mark.slow
DESK = "deployment/desk"


def versions(desk: Desk) -> dict[str, str]:
    """The version of every object that an action could change; pods and status excepted."""
    apps = client.AppsV1Api(desk.world.api).list_namespaced_deployment(desk.world.namespace).items
    core = client.CoreV1Api(desk.world.api)
    found = {f"deployment {one.metadata.name}": f"{one.metadata.uid} {one.metadata.generation}" for one in apps}
    found |= {
        f"pod {one.metadata.name}": one.metadata.uid for one in core.list_namespaced_pod(desk.world.namespace).items
    }
    found |= {
        f"secret {one.metadata.name}": one.metadata.resource_version
        for one in core.list_namespaced_secret(desk.world.namespace).items
    }
    found |= {f"node {one.metadata.name}": str(one.spec.unschedulable) for one in core.list_node().items}
    one = client.NetworkingV1Api(desk.world.api).read_namespaced_ingress("to-desk", desk.world.namespace)
    return {**found, "ingress": one.metadata.resource_version}


def previewed(desk: Desk, name: str, **arguments: Any) -> Any:
    """The plan of one action, which has changed nothing, by the server's own dry run."""
    before = versions(desk)
    plan = desk.propose((name, arguments))
    assert versions(desk) == before
    [planned] = plan.document.actions
    assert planned.preview["checked_by"] == BY_SERVER
    assert planned.target.uid
    return plan


def image(desk: Desk) -> str:
    return str(desk.world.deployment("desk").spec.template.spec.containers[0].image)


def test_scale_and_back(desk: Desk) -> None:
    plan = previewed(desk, "kubernetes.scale", workload=DESK, replicas=3)
    [planned] = plan.document.actions
    assert (planned.authority, planned.blast_radius) == ("L1", {"pods": 1})
    done = desk.apply(plan)
    assert (done.state, done.reason) == (
        "verified",
        "the effect shows; there is no alert whose condition could be evaluated",
    )
    assert desk.world.deployment("desk").status.ready_replicas == 3
    assert desk.undo(plan).state == "verified"
    assert desk.world.deployment("desk").spec.replicas == 2


def test_scale_within_the_bounds_of_the_autoscaler(desk: Desk) -> None:
    with pytest.raises(
        PlanError, match="autoscaler scaled-desk keeps deployment/scaled-desk at 1 to 2; change that first"
    ):
        desk.propose(("kubernetes.scale", {"workload": "deployment/scaled-desk", "replicas": 3}))
    plan = previewed(desk, "kubernetes.set-autoscaler", autoscaler="scaled-desk", least=2, most=4)
    assert desk.apply(plan).state == "verified"
    assert desk.world.deployment("scaled-desk").spec.replicas == 2
    assert desk.undo(plan).state == "verified"


def test_stop_needs_more_authority_and_comes_back(desk: Desk) -> None:
    plan = previewed(desk, "kubernetes.stop", workload="deployment/alone")
    assert plan.document.actions[0].authority == "L2"
    assert desk.apply(plan).state == "verified"
    assert desk.world.pods("alone") == []
    assert desk.undo(plan).state == "verified"
    assert desk.world.deployment("alone").status.ready_replicas == 1


def test_restart_replaces_every_pod_and_is_never_without_a_ready_one(desk: Desk) -> None:
    before = {pod.metadata.uid for pod in desk.world.pods("desk")}
    plan = previewed(desk, "kubernetes.restart", workload=DESK)
    [planned] = plan.document.actions
    assert planned.blast_radius == {"pods": 2, "ready_pods_at_worst": 2}
    assert planned.authority == "L1"
    assert desk.apply(plan).state == "verified"
    running = [pod for pod in desk.world.pods("desk") if not pod.metadata.deletion_timestamp]
    assert len(running) == 2
    assert not before & {pod.metadata.uid for pod in running}
    with pytest.raises(PlanError, match=r"kubernetes\.restart cannot be undone: a restart changes no configuration"):
        approval.undo(desk.settings, plan.hash, WHO)


def test_an_image_a_variable_resources_and_back_by_revision(desk: Desk) -> None:
    old = image(desk)
    several = (
        ("kubernetes.set-env", {"workload": DESK, "container": "main", "variable": "LEVEL", "value": "debug"}),
        ("kubernetes.set-resources", {"workload": DESK, "container": "main", "limits": {"memory": "56Mi"}}),
    )
    plan = desk.propose(*several)
    assert [a.preview["changes"] for a in plan.document.actions] == [
        ["main: env LEVEL 'info' -> 'debug'"],
        ["main: limits.memory 48Mi -> 56Mi"],
    ]
    assert {a.authority for a in plan.document.actions} == {"L2"}
    assert desk.apply(plan).state == "verified"
    now = desk.world.deployment("desk").spec.template.spec.containers[0]
    assert (now.env[0].value, now.resources.limits["memory"], now.image) == ("debug", "56Mi", old)
    assert desk.undo(plan).state == "verified"
    now = desk.world.deployment("desk").spec.template.spec.containers[0]
    assert (now.env[0].value, now.resources.limits["memory"]) == ("info", "48Mi")
    back = previewed(desk, "kubernetes.undo-rollout", workload=DESK)
    assert "main: limits.memory 48Mi -> 56Mi" in back.document.actions[0].preview["changes"]
    assert desk.apply(back).state == "verified"
    assert desk.world.deployment("desk").spec.template.spec.containers[0].resources.limits["memory"] == "56Mi"
    assert desk.undo(back).state == "verified"
    assert desk.world.deployment("desk").spec.template.spec.containers[0].resources.limits["memory"] == "48Mi"


def test_an_image_that_cannot_be_had_is_no_success(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    from opslib.actions import kubernetes_rollouts

    arguments = {"workload": "deployment/alone", "container": "main", "image": "registry.invalid/desk/api:v9"}
    plan = previewed(desk, "kubernetes.set-image", **arguments)
    monkeypatch.setattr(kubernetes_rollouts.SetImage, "effect_within_s", 4.0)
    document = plan.document.actions[0].model_copy(update={"effect_within_s": 4.0})
    del document
    result = desk.apply(plan) if plan.document.actions[0].effect_within_s < 10 else None
    if result is None:
        short = desk.propose(("kubernetes.set-image", arguments))
        result = desk.apply(short)
        plan = short
    assert result.state == "partial"
    assert "deployment/alone has 1 of 1 pods new and 1 ready" in str(result.reason)
    assert desk.world.deployment("alone").status.ready_replicas == 1
    assert desk.undo(plan).state == "verified"
