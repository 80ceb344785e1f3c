"""What takes back a change of a workload, a node or a policy, without a cluster: the plan's own words and figures."""

from __future__ import annotations

from typing import Any

import pytest

from opslib.actions.action import MayGoBack, Observation
from opslib.actions.catalogue import ACTIONS, make
from opslib.actions.documents import Target, Undo
from opslib.actions.kubernetes_nodes import Drain
from opslib.actions.kubernetes_rollouts import SetResources
from opslib.actions.plans import _possible


def workload(resources: dict[str, Any]) -> dict[str, Any]:
    return {
        "metadata": {"name": "api"},
        "spec": {"template": {"spec": {"containers": [{"name": "main", "resources": resources}]}}},
    }


@pytest.mark.parametrize(
    "resources", [{"requests": {"cpu": "5m"}}, {"requests": {"cpu": "5m"}, "limits": {"memory": "48Mi"}}, {}]
)
def test_resources_go_back_to_what_was_there_and_nothing_else(resources: dict[str, Any]) -> None:
    asked = {"workload": "deployment/api", "container": "main", "limits": {"memory": "64Mi", "nvidia.com/gpu": "1"}}
    action = make("kubernetes.set-resources", asked)
    assert isinstance(action, SetResources)
    seen = Observation(Target(kind="deployment", name="desk/api", uid="1"))
    undo = action._described(seen, workload(resources), ["some"])[3]
    assert undo.kind == "inverse"
    back = make(undo.action or "", undo.arguments or {})
    assert isinstance(back, SetResources)
    changed = workload(action._wanted(workload(resources)))
    assert back._wanted(changed) == resources
    assert back._shows(None, workload(resources))  # type: ignore[arg-type]
    assert not back._shows(None, changed)  # type: ignore[arg-type]


def test_a_node_that_was_cordoned_before_its_drain_stays_so() -> None:
    drain = make("kubernetes.drain", {"node": "node-1"})
    assert isinstance(drain, Drain)
    assert drain._way_back(was_cordoned=False).action == "kubernetes.uncordon"
    kept = drain._way_back(was_cordoned=True)
    assert (kept.kind, kept.reason) == (
        "restore",
        "it was cordoned before and stays so; those that moved stay where they are",
    )


@pytest.mark.parametrize(
    ("action", "arguments", "why"),
    [
        ("kubernetes.set-allow-list", {"ingress": "desk", "networks": ["10.0.0.1/8"]}, "has host bits set"),
        ("crypto.set-position-limit", {"symbol": "BTC-USD", "limit_usd": 0.0}, "limit_usd"),
        ("dashboards.set-datasource", {"uid": "a", "url": "file:///etc/passwd"}, "url"),
    ],
)
def test_what_no_action_could_be_asked_for_is_put_back_by_hand(
    action: str, arguments: dict[str, Any], why: str
) -> None:
    was = Undo(kind="inverse", reason="sets what was", action=action, arguments=arguments)
    undo = _possible(was, needs_more=True)
    assert (undo.kind, undo.action, _possible(was, needs_more=False).kind) == ("none", None, "restore")
    assert undo.reason.startswith("what was before can be put back by hand alone (")
    assert why in undo.reason


@pytest.mark.parametrize(
    ("action", "arguments"),
    [
        ("kubernetes.scale", {"workload": "deployment/api", "replicas": 3}),
        ("kubernetes.set-argument", {"workload": "deployment/api", "container": "a", "name": "x", "value": "1"}),
        ("crypto.set-router-rules", {"min_confidence": 0.6}),
        ("crypto.set-scenarios", {"scenarios": 1000}),
        ("helm.rollback", {"release": "desk", "revision": 1}),
    ],
)
def test_going_back_by_itself_has_to_be_asked_for(action: str, arguments: dict[str, Any]) -> None:
    plain, asked = make(action, arguments), make(action, {**arguments, "undo_if_ineffective": True})
    assert issubclass(ACTIONS[action].Arguments, MayGoBack)
    assert (plain.undo_if_ineffective, asked.undo_if_ineffective) == (False, True)
    assert "undo_if_ineffective" not in plain.arguments.model_dump(mode="json")
    assert asked.arguments.model_dump(mode="json")["undo_if_ineffective"] is True
    if action.startswith("crypto."):
        assert "undo_if_ineffective" not in asked.body()  # type: ignore[attr-defined]
        assert set(asked.wanted()) == set(arguments)  # type: ignore[attr-defined]
