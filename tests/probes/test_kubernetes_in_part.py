"""What a probe of Kubernetes saw in part is said in the note of its table, which a notebook remembers as unseen."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from opslib import probes
from opslib.clusters import connect
from opslib.probes import Target
from tests.probes.api_server import address, api_server

STAMP = "2026-11-20T10:00:00Z"
PATTERNS = {"patterns": {"errors": "ERROR"}, "selector": "app=web"}


def pod(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "main", "image": "web:1"}]}, "status": {}}


def event(number: int) -> dict[str, Any]:
    return {
        "metadata": {"name": f"event-{number}"},
        "involvedObject": {"kind": "Pod", "name": "web-0"},
        "lastTimestamp": dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "reason": "ScalingReplicaSet" if number % 2 else "Unhealthy",
        "message": f"event {number}",
    }


@contextmanager
def cluster(
    folder: Path, objects: Mapping[str, list[dict[str, Any]]], logs: Mapping[str, str | None]
) -> Iterator[Target]:
    with api_server(objects, logs) as url:
        target = Target("kubernetes", address(url, folder))
        yield target
        connect(target.url).api.close()


def test_a_log_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    logs = {"web-0": f"{STAMP} ERROR one\n{STAMP} fine\n", "web-1": None}
    with cluster(tmp_path, {"pods": [pod("web-0"), pod("web-1")]}, logs) as target:
        shown = probes.call("kubernetes.logs", target, {"selector": "app=web"})
        counted = probes.call("logs.count", target, PATTERNS)
        steps = probes.call("logs.over_time", target, PATTERNS)
    assert shown.table.column("line").to_pylist() == ["ERROR one", "fine"]
    assert shown.note is not None
    assert shown.note.startswith("1 of 2 logs could not be read: web-1/main: ")
    assert "waiting to start: ContainerCreating" in shown.note
    assert (counted.note, steps.note) == (shown.note, shown.note)
    [row] = counted.table.to_pylist()
    assert (row["count"], row["complete"]) == (1, False)


def test_logs_that_were_read_whole_have_no_note(tmp_path: Path) -> None:
    with cluster(tmp_path, {"pods": [pod("web-0")]}, {"web-0": f"{STAMP} ERROR one\n"}) as target:
        assert probes.call("kubernetes.logs", target, {"selector": "app=web"}).note is None
        counted = probes.call("logs.count", target, PATTERNS)
    assert counted.note is None
    assert counted.table.column("complete").to_pylist() == [True]


def test_a_log_of_which_a_part_was_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opslib.probes.kubernetes_logs.SCANNED_BYTES", 1000)
    with cluster(tmp_path, {"pods": [pod("web-0")]}, {"web-0": f"{STAMP} ERROR again\n" * 200}) as target:
        counted = probes.call("logs.count", target, PATTERNS)
    assert counted.note == "read in part, within the budget of lines, bytes and time: web-0/main"
    assert counted.table.column("complete").to_pylist() == [False]


def test_lines_beyond_the_most_are_said(tmp_path: Path) -> None:
    names = ("web-0", "web-1", "web-2")
    logs = {name: "".join(f"{STAMP} line {number}\n" for number in range(2000)) for name in names}
    with cluster(tmp_path, {"pods": [pod(name) for name in names]}, logs) as target:
        shown = probes.call("kubernetes.logs", target, {"selector": "app=web", "tail": 2000})
    assert shown.table.num_rows == 5000
    assert shown.note == "the last 5,000 of 6,000 lines"


def test_events_beyond_the_most_are_said(tmp_path: Path) -> None:
    with cluster(tmp_path, {"events": [event(number) for number in range(501)]}, {}) as target:
        found = probes.call("kubernetes.events", target, {})
    assert (found.table.num_rows, found.note) == (500, "the newest 500 of 501 events")
    with cluster(tmp_path, {"events": [event(1)]}, {}) as target:
        assert probes.call("kubernetes.events", target, {}).note is None


def test_changes_that_may_not_be_seen_are_said(tmp_path: Path) -> None:
    seen = {"deployments": [], "statefulsets": [], "configmaps": [], "ingresses": [], "events": [event(1)]}
    with cluster(tmp_path, seen, {}) as target:
        found = probes.call("changes.recent", target, {})
    rows = found.table.to_pylist()
    assert [row["kind"] for row in rows] == ["pod", "secrets", "Helm releases", "autoscalers"]
    assert found.note == "autoscalers: our identity may not do that"
    assert [row["unseen"] for row in rows[1:3]] == ["not looked at: its role reads no secrets"] * 2


def test_changes_in_secrets_that_nobody_asked_for_are_not_unseen(tmp_path: Path) -> None:
    kinds = ("deployments", "statefulsets", "configmaps", "horizontalpodautoscalers", "ingresses", "events")
    with cluster(tmp_path, {kind: [] for kind in kinds}, {}) as target:
        found = probes.call("changes.recent", target, {})
    assert ([row["kind"] for row in found.table.to_pylist()], found.note) == (["secrets", "Helm releases"], None)


def test_changes_for_which_no_time_is_left_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opslib.probes.changes._BUDGET_S", -1.0)
    with cluster(tmp_path, {}, {}) as target:
        found = probes.call("changes.recent", target, {})
    assert found.note is not None
    assert found.note.startswith("deployments, stateful sets, ")
    assert found.note.endswith(": no time was left to ask")
    assert found.table.num_rows == 8
