"""What A03 proposes: each cause its fix, nodes that are opened, volumes that are emptied or grown."""

from __future__ import annotations

import dataclasses
from typing import Any

import pandas as pd
import pytest

from opslib.diagnosis import postgres_down_fixes as mending
from tests.diagnosis.postgres_facts import DATABASE, NO_LIBRARY, NO_MATCH, NO_ROOM, Facts
from tests.diagnosis.verdicts import likely

ALL_SHUT = "0/2 nodes are available: 2 node(s) were unschedulable. preemption: 0/2 nodes are available."
ONE_SHUT = "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) were unschedulable."
OWN_TAINT = "node.kubernetes.io/unschedulable:NoSchedule"
NODES = pd.DataFrame(
    {
        "node": ["node-1", "node-2"], "cordoned": [False, True], "ready": [True, True], "taints": [None, OWN_TAINT],
        "cpu": [4.0, 4.0], "cpu_requested": [3.9, 1.0], "memory": [8e9, 8e9], "memory_requested": [1e9, 1e9],
    }
).set_index("node")  # fmt: skip


def plan(facts: Facts, *causes: str, **other: Any) -> list[Any]:
    database = other.pop("database", DATABASE)
    _, found = facts.diagnose()
    given = {"changed": "", "nodes": NODES, "memory_mib": 384.0, **found}
    return mending.fixes(causes, database=database, **{**given, **other})


def test_each_cause_has_the_seeds_fix_and_no_more() -> None:
    workload = {"workload": "statefulset/postgres"}
    back = [("kubernetes.undo-rollout", workload)]
    crashed, killed, full = (
        Facts().ends("Error", 1, NO_LIBRARY),
        Facts().ends("OOMKilled", 137, ""),
        Facts().ends("Error", 1, NO_ROOM),
    )
    assert plan(crashed, "pod-crash", changed="postgres: args changed") == back
    assert plan(crashed, "pod-crash") == [("kubernetes.delete-pod", {"pod": "postgres-0"})]
    assert plan(killed, "pod-crash") == [
        ("kubernetes.set-resources", {**workload, "container": "postgres", "limits": {"memory": "768Mi"}})
    ]
    assert plan(Facts().waits(), "pod-unschedulable", changed="nodeSelector changed") == back
    grown = {**workload, "container": "volume", "variable": "VOLUME_MIB", "value": "448"}
    assert plan(full, "disk-full") == [("kubernetes.set-env", grown)]
    assert plan(crashed, "pod-crash", "pod-unschedulable", changed="x") == back


@pytest.mark.parametrize("message", [ALL_SHUT, ONE_SHUT])
def test_a_node_is_opened_only_with_the_word_of_who_cordoned_it(message: str) -> None:
    facts = Facts().waits(message)
    opened = plan(facts, "pod-unschedulable")
    assert opened == [("kubernetes.uncordon", {"node": "node-2"})]
    told = mending.to_know(["pod-unschedulable"], opened, database=DATABASE, pod=facts.diagnose()[1]["pod"])
    assert told.startswith("node-2 was cordoned by somebody, maybe for maintenance: ask them before")
    assert plan(facts, "pod-unschedulable", changed="postgres: env TZ none -> 'UTC'") == opened
    back = [("kubernetes.undo-rollout", {"workload": "statefulset/postgres"})]
    by_change = [] if message == ONE_SHUT else opened
    assert plan(facts, "pod-unschedulable", changed="postgres: requests.cpu 1 -> 64") == (by_change or back)


@pytest.mark.parametrize(
    ("message", "nodes"),
    [
        (NO_MATCH, NODES),
        ("0/2 nodes are available: 2 Insufficient cpu.", NODES),
        ("", NODES),
        (ALL_SHUT, None),
        (ALL_SHUT, NODES.assign(ready=[True, False])),
        (ALL_SHUT, NODES.assign(taints=[None, f"maintenance:NoExecute, {OWN_TAINT}"])),
        (ONE_SHUT, NODES.assign(cpu_requested=[3.9, 3.9])),
    ],
)
def test_no_node_is_opened_where_that_would_not_place_the_pod(message: str, nodes: pd.DataFrame | None) -> None:
    facts = Facts().waits(message)
    assert plan(facts, "pod-unschedulable", nodes=nodes) == []
    told = mending.to_know(["pod-unschedulable"], [], database=DATABASE, pod=facts.diagnose()[1]["pod"])
    assert told.startswith("Nothing here finds the pod a node; escalate")
    assert (message.rstrip(".") or "no word of why") in told


DELETE = (
    "postgres.delete-old-rows",
    {"table": "greeks_history", "column": "timestamp", "older_than_days": 30.0, "reason": "its volume is full"},
)


@pytest.mark.parametrize("used", [0.8501, 0.856])
def test_a_volume_that_is_too_full_while_it_answers_is_emptied_of_old_history(used: float) -> None:
    facts = Facts()
    facts.used = used
    verdict, _ = facts.diagnose()
    assert (verdict.confirmed, verdict.cause, likely(verdict)) == (True, "disk-full", {"disk-full"}), verdict
    steps = plan(facts, *likely(verdict))
    assert steps == [DELETE]
    assert "room to greeks_history, not to the disk" in mending.to_know(
        ["disk-full"], steps, database=DATABASE, pod=None
    )
    facts.used = 0.84
    assert facts.diagnose()[0].confirmed is False


def test_a_lack_of_space_counts_that_its_log_told_of_a_moment_ago() -> None:
    facts = Facts()
    facts.log = ["LOG:  ready", 'ERROR:  could not extend file "base/1/2": No space left on device']
    verdict, _ = facts.diagnose()
    assert (verdict.confirmed, verdict.cause, likely(verdict)) == (True, "disk-full", {"disk-full"}), verdict
    assert plan(facts, *likely(verdict)) == [DELETE]
    facts.told_s = 900.0
    assert facts.diagnose()[0].confirmed is False
    facts.told_s = 20.0
    facts.log = ['ERROR:  could not resize shared memory segment "/PostgreSQL.1": No space left on device']
    assert facts.diagnose()[0].confirmed is False  # another file system, in the memory


def test_rows_are_deleted_only_where_there_is_room_for_the_wal() -> None:
    facts = Facts()
    facts.used = 0.99
    verdict, _ = facts.diagnose()
    assert [action for action, _ in plan(facts, *likely(verdict))] == ["kubernetes.set-env"]


@pytest.mark.parametrize("answers", [True, False])
def test_a_full_volume_that_nothing_here_grows_is_escalated(answers: bool) -> None:
    claim = dataclasses.replace(DATABASE, volume_container="", volume_variable="")
    facts = Facts() if answers else Facts().ends("Error", 1, NO_ROOM)
    facts.used = 0.99
    verdict, found = facts.diagnose()
    assert verdict.cause == "disk-full"
    assert plan(facts, "disk-full", database=claim) == []
    told = mending.to_know(["disk-full"], [], database=claim, pod=found["pod"])
    assert "escalate: have it grown" in told
    assert "until 32 MiB are free for the WAL" in told
