"""What containers wrote, counted and capped, and declared commands run in them."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from opslib import probes
from opslib.errors import ProbeError
from opslib.probes import Target
from tests.probes.kubernetes.world import World

pytestmark = pytest.mark.slow


def rows(world: World, probe: str, /, **arguments: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = probes.call(probe, world.target, arguments).table.to_pylist()
    return found


def test_the_last_lines_of_all_pods_in_order(seen: World) -> None:
    found = rows(seen, "kubernetes.logs", workload="deployment/web", tail=3)
    assert {row["line"] for row in found} == {"tick"}
    assert len({row["pod"] for row in found}) == 2
    times = [row["time"] for row in found]
    assert times == sorted(times)
    assert times[0].tzinfo == dt.UTC or times[0].utcoffset() == dt.timedelta(0)


def test_what_a_container_said_before_it_crashed(seen: World) -> None:
    lines = [row["line"] for row in rows(seen, "kubernetes.logs", selector="app=crash", previous=True)]
    assert "ERROR no such table positions" in lines
    assert rows(seen, "kubernetes.logs", selector="app=web", previous=True) == []


def test_a_huge_log_is_capped_and_still_searched(seen: World) -> None:
    found = rows(seen, "kubernetes.logs", workload="deployment/chatty", tail=100)
    assert len(found) == 100
    errors = rows(seen, "kubernetes.logs", workload="deployment/chatty", grep="ERROR")
    assert [row["line"] for row in errors] == ["ERROR broker timed out"]


def test_patterns_are_counted_with_first_seen(seen: World) -> None:
    patterns = {"errors": r"\bERROR\b", "noise": "says nothing", "never": "no such words"}
    found = {row["pattern"]: row for row in rows(seen, "logs.count", patterns=patterns, workload="deployment/chatty")}
    assert found["errors"]["count"] == 1
    assert found["errors"]["first_seen"] == found["errors"]["last_seen"]
    assert found["errors"]["example"] == "ERROR broker timed out"
    assert found["noise"]["count"] > 1000
    assert (found["never"]["count"], found["never"]["first_seen"]) == (0, None)


def test_patterns_over_time_have_every_step(seen: World) -> None:
    table = probes.call(
        "logs.over_time",
        seen.target,
        {"patterns": {"ticks": "tick"}, "workload": "deployment/web", "since_s": 60, "step_s": 10},
    ).table
    assert 6 <= table.num_rows <= 8
    assert sum(table.column("ticks").to_pylist()) > 0


def test_logs_that_cannot_be_read_say_why(seen: World) -> None:
    with pytest.raises(ProbeError, match=r"no log could be read: imageless.*waiting to start"):
        probes.call("kubernetes.logs", seen.target, {"selector": "app=imageless"})
    with pytest.raises(ProbeError, match="there is no pod of app=nothing"):
        probes.call("kubernetes.logs", seen.target, {"selector": "app=nothing"})
    with pytest.raises(ProbeError, match="is no regular expression"):
        probes.call("kubernetes.logs", seen.target, {"selector": "app=web", "grep": "("})


def test_a_declared_command_runs_without_a_shell(seen: World) -> None:
    found = probes.call(
        "kubernetes.run", seen.target, {"command": "disk", "workload": "deployment/web", "values": {"path": "/"}}
    )
    assert found["exit_code"] == 0
    assert found["words"] == ["df", "-P", "/"]
    assert "Filesystem" in found["output"]


def test_a_command_that_fails_gives_its_exit_code(seen: World) -> None:
    found = probes.call(
        "kubernetes.run", seen.target, {"command": "disk", "workload": "deployment/web", "values": {"path": "/none"}}
    )
    assert found["exit_code"] == 1
    assert "/none" in found["errors"]


@pytest.mark.parametrize("value", ["/ /etc", "/;id", "$(id)", "-h", "/`id`", "/\nid", ""])
def test_a_value_that_is_no_plain_word_is_refused(seen: World, value: str) -> None:
    with pytest.raises(ProbeError, match="must be one plain word"):
        probes.call("kubernetes.run", seen.target, {"command": "disk", "values": {"path": value}})


def test_what_is_not_declared_is_not_run(seen: World) -> None:
    with pytest.raises(ProbeError, match=r"declares no command 'shell'.*it declares disk, nvidia-smi"):
        probes.call("kubernetes.run", seen.target, {"command": "shell", "workload": "deployment/web"})
    bare = Target("kubernetes", seen.admin)
    with pytest.raises(ProbeError, match="does not declare that it runs nvidia-smi"):
        probes.call("gpu.cards", bare, {"workload": "deployment/web"})


def test_a_pod_without_a_card_says_so(seen: World) -> None:
    found = rows(seen, "gpu.cards", workload="deployment/web")
    assert len(found) == 2
    assert all(row["card"] is None and row["says"] for row in found)
