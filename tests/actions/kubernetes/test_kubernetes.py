"""Actions on workloads of a real cluster: previewed without a change, applied, waited for, void after drift, undone."""

from __future__ import annotations

import pytest
from kubernetes import client

from opslib.actions import approval, plans
from opslib.actions.catalogue import make
from opslib.errors import ActionFailed, PlanError
from tests.actions.kubernetes.desk import WHO, Desk, previewed

pytestmark = pytest.mark.slow
DESK = "deployment/desk"


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


def test_a_restart_with_an_outage_needs_more_authority_and_is_asked_for_by_name(desk: Desk) -> None:
    what = "deployment/book"
    with pytest.raises(PlanError, match=f"no ready pod of {what} would be left.*kubernetes.restart-with-outage"):
        desk.propose(("kubernetes.restart", {"workload": what}))
    [before] = desk.world.pods("book")
    plan = previewed(desk, "kubernetes.restart-with-outage", workload=what)
    [planned] = plan.document.actions
    assert (planned.authority, planned.blast_radius) == ("L2", {"pods": 1, "ready_pods_at_worst": "none"})
    assert desk.apply(plan).state == "verified"
    [after] = [pod for pod in desk.world.pods("book") if not pod.metadata.deletion_timestamp]
    assert after.metadata.uid != before.metadata.uid
    assert desk.world.deployment("book").status.ready_replicas == 1


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
    assert back.document.actions[0].preview["changes"] == ["main: env LEVEL 'info' -> 'debug'"]
    assert desk.apply(back).state == "verified"
    assert desk.world.deployment("desk").spec.template.spec.containers[0].env[0].value == "debug"
    assert desk.undo(back).state == "verified"
    assert desk.world.deployment("desk").spec.template.spec.containers[0].env[0].value == "info"


def test_a_setting_on_a_command_line_is_tried_by_the_server(desk: Desk) -> None:
    plan = previewed(
        desk, "kubernetes.set-argument", workload=DESK, container="main", name="max_connections", value="80"
    )
    [planned] = plan.document.actions
    assert planned.preview["changes"] == ["main: args changed"]
    assert (planned.authority, planned.blast_radius["ready_pods_at_worst"]) == ("L2", "none")
    assert planned.undo.arguments is not None
    assert planned.undo.arguments["value"] is None


def test_an_image_that_cannot_be_had_is_no_success(desk: Desk) -> None:
    action = make(
        "kubernetes.set-image",
        {"workload": "deployment/alone", "container": "main", "image": "registry.invalid/desk/api:v9"},
    )
    platform = plans.load_platform(desk.settings, "crypto")
    with plans.context(platform, "applier") as context:
        before = action.observe(context)
        undo = action.describe(context, before).undo
        action.apply(context, "key")
        assert action.done(context, before)
        assert "deployment/alone has" in str(action.effect(context, before))
        assert desk.world.deployment("alone").status.ready_replicas == 1
        back = make(str(undo.action), undo.arguments or {})
        now = back.observe(context)
        back.apply(context, "key")
        assert back.done(context, now)


def test_drift_voids_a_plan(desk: Desk) -> None:
    plan = previewed(desk, "kubernetes.scale", workload=DESK, replicas=3)
    other = previewed(desk, "kubernetes.restart", workload=DESK)
    apps = client.AppsV1Api(desk.world.api)
    apps.patch_namespaced_deployment("desk", desk.world.namespace, {"spec": {"revisionHistoryLimit": 7}})
    done = desk.apply(plan)
    assert done.state == "void"
    assert "its configuration was version" in str(done.reason)
    assert desk.world.deployment("desk").spec.replicas == 2
    assert desk.apply(other).state == "void"


def test_what_makes_no_sense_is_refused(desk: Desk) -> None:
    refused = {
        "deployment/desk has 2 replicas already": ("kubernetes.scale", {"workload": DESK, "replicas": 2}),
        "has no revision 99; kept: ": ("kubernetes.undo-rollout", {"workload": DESK, "revision": 99}),
        "desk has no container 'api'; it has main": (
            "kubernetes.set-image",
            {"workload": DESK, "container": "api", "image": "x"},
        ),
        "DB_PASSWORD is named like a secret": (
            "kubernetes.set-env",
            {"workload": DESK, "container": "main", "variable": "DB_PASSWORD", "value": "x"},
        ),
        "is so already; nothing would change": (
            "kubernetes.set-env",
            {"workload": DESK, "container": "main", "variable": "LEVEL", "value": "info"},
        ),
        "the API server would refuse it: .*must be less than or equal to memory limit": (
            "kubernetes.set-resources",
            {"workload": DESK, "container": "main", "requests": {"memory": "90Gi"}},
        ),
    }
    for message, proposal in refused.items():
        with pytest.raises(PlanError, match=message):
            desk.propose(proposal)


def test_a_crash_between_doing_and_recording_is_seen_and_not_repeated(desk: Desk) -> None:
    platform = plans.load_platform(desk.settings, "crypto")
    action = make("kubernetes.restart", {"workload": DESK})
    with plans.context(platform, "applier") as context:
        before = action.observe(context)
        assert not action.done(context, before)
        action.apply(context, "key")
        again = make("kubernetes.restart", {"workload": DESK})  # as another process finds it
        assert again.done(context, before)


def test_the_reader_may_change_nothing(desk: Desk) -> None:
    action = make("kubernetes.restart", {"workload": DESK})
    platform = plans.load_platform(desk.settings, "crypto")
    with plans.context(platform, "recorder") as context:
        with pytest.raises(ActionFailed, match="the recorder may not change crypto"):
            action.apply(context, "key")
        path = context.cluster.path("deployments", "desk")
        with pytest.raises(ActionFailed, match="our identity may not do that") as refused:
            context.cluster.change("PATCH", path, [], dry_run=False, content="application/json-patch+json")
    assert refused.value.facts == {"sent": False, "status": 403}
