"""Settings on a server's command line, and variables of containers that prepare a pod, without a cluster."""

from __future__ import annotations

from typing import Any

import pytest

from opslib.actions.action import Observation
from opslib.actions.catalogue import make
from opslib.actions.documents import Target
from opslib.actions.kubernetes_rollouts import container
from opslib.errors import ParameterError, PlanError

WHERE = {"workload": "statefulset/postgres", "container": "postgres", "name": "max_connections"}


def stateful_set(*words: str) -> dict[str, Any]:
    server = {"name": "postgres", "command": ["postgres", "-D", "/data"], **({"args": list(words)} if words else {})}
    spec = {"containers": [server], "initContainers": [{"name": "volume", "env": [{"name": "SIZE", "value": "224"}]}]}
    return {"metadata": {"name": "postgres"}, "spec": {"template": {"spec": spec}}}


def arguments(thing: dict[str, Any], value: str | None) -> list[str]:
    action: Any = make("kubernetes.set-argument", {**WHERE, "value": value})
    test, change = action._operations(None, thing)
    assert (test["op"], test["value"]) == ("test", "postgres")
    assert change["path"] == "/spec/template/spec/containers/0/args"
    found: list[str] = change["value"]
    return found


def test_a_setting_is_added_replaced_and_taken_off() -> None:
    other = ("-c", "shared_buffers=16MB")
    assert arguments(stateful_set(), "80") == ["-c", "max_connections=80"]
    assert arguments(stateful_set(*other, "-c", "max_connections=40"), "80") == [*other, "-c", "max_connections=80"]
    assert arguments(stateful_set("-c", "max_connections=40", *other), None) == list(other)
    assert arguments(stateful_set("-c"), "80") == ["-c", "-c", "max_connections=80"]


@pytest.mark.parametrize(("words", "before"), [((), None), (("-c", "max_connections=40"), "40")])
def test_the_undo_is_what_was(words: tuple[str, ...], before: str | None) -> None:
    action: Any = make("kubernetes.set-argument", {**WHERE, "value": "80"})
    seen = Observation(Target(kind="statefulset", name="postgres", uid="1"), {"desired": 1})
    summary, effect, risk, undo = action._described(seen, stateful_set(*words), [])
    assert f"max_connections = 80 (before: {before or 'what its file says'})" in summary
    assert "its pod is ready" in effect
    assert "every connection is lost" in risk
    assert undo.arguments == {**WHERE, "value": before}
    assert action._shows(None, stateful_set("-c", "max_connections=80"))
    assert not action._shows(None, stateful_set(*words))


@pytest.mark.parametrize("value", ["on; rm", "'x'", "", "1 2", "../x"])
def test_only_a_number_is_set(value: str) -> None:
    with pytest.raises(ParameterError, match="value"):
        make("kubernetes.set-argument", {**WHERE, "value": value})


def test_a_variable_of_a_container_that_prepares_the_pod() -> None:
    size = {"workload": "statefulset/postgres", "container": "volume", "variable": "SIZE", "value": "448"}
    action: Any = make("kubernetes.set-env", size)
    test, change = action._operations(None, stateful_set())
    assert test["path"] == "/spec/template/spec/initContainers/0/name"
    assert change["value"] == [{"name": "SIZE", "value": "448"}]
    with pytest.raises(PlanError, match="has no container 'x'; it has postgres, volume"):
        container(stateful_set(), "x")
