"""A24 on the parts of a platform: which is not well, which is closed to us, and which was not seen."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pandas as pd
import pytest

from opslib.errors import ProbeError
from tests.diagnosis.triage_facts import AGO, NO_ALERTS, NOW, RULE, Platform, fired, firing, run

PODS, WORKLOADS = "kubernetes.pods", "kubernetes.workloads"
BROKEN: dict[str, tuple[str, Any, str]] = {
    "an API that says so": ("http.health", {"http_status": 503, "status": "degraded"}, "api"),
    "an API without an answer": ("http.health", ProbeError("Connection refused"), "api"),
    "a Redis that refuses writes": (
        "redis.memory",
        {"used_memory": 95e6, "used_memory_rss": 99e6, "maxmemory": 96e6, "policy": "noeviction"},
        "redis memory",
    ),
    "a Redis that is swapped out": ("redis.memory", {"used_memory": 90e6, "used_memory_rss": 40e6}, "redis memory"),
    "a PostgreSQL without an answer": ("postgres.server", ProbeError("Connection refused"), "postgres"),
    "connections that end": (
        "postgres.usage",
        {"used": 97, "connections_limit": 100, "used_pct": 97.0, "waiting_for_locks": 3},
        "postgres connections",
    ),
    "a pod that is not ready": (PODS, {"ready": [True, False], "status": ["Running", "CrashLoopBackOff"]}, "pods"),
    "a pod that restarts": (
        PODS,
        {
            "restarts": [0, 4],
            "last_reason": [None, "OOMKilled"],
            "last_finished": pd.to_datetime([None, NOW - dt.timedelta(minutes=3)], utc=True),
        },
        "pods",
    ),
    "a workload below its number": (WORKLOADS, {"ready": [1]}, "workloads"),
    "a node that is not ready": ("kubernetes.nodes", {"ready": [False], "problems": ["KubeletDown"]}, "nodes"),
    "a node without its card": ("kubernetes.nodes", {"gpu_node": [False]}, "nodes"),
    "a target that is down": ("prometheus.targets", {"health": ["down", "down"]}, "targets"),
    "a card with an error": (
        "prometheus.query",
        pd.DataFrame({"metric": ["DCGM_FI_DEV_XID_ERRORS"], "value": [79.0], "gpu": ["0"]}),
        "cards",
    ),
    "a pod without a card": (
        "prometheus.query",
        pd.DataFrame({"metric": ["derivatives_gpu_available"], "value": [0.0], "pod": ["api-1"]}),
        "cards",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_the_part_that_is_not_well_is_named_alone(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    probe, change, part = BROKEN[what]
    ops = Platform()
    whole = ops.answers[probe]
    with_columns = isinstance(whole, pd.DataFrame) and isinstance(change, dict)
    ops.answers[probe] = whole.assign(**change) if with_columns else change
    found = run(ops, fired("FundingRateSpike"), monkeypatch)
    assert list(found.parts["part"][found.parts["state"] != "ok"]) == [part]
    assert found.confirmed is True
    assert found.symptom.startswith(f"{part} is ")
    if not isinstance(change, Exception):
        assert set(found.parts["evidence"][found.parts["part"] == part]) == {f"E-{probe}"}


def test_pods_that_ended_or_only_began_are_well(monkeypatch: pytest.MonkeyPatch) -> None:
    ops = Platform()
    young = pd.Timestamp(NOW) - pd.Timedelta(seconds=20)
    change = {"ready": [False, False], "status": ["Completed", "Pending"], "created": [AGO, young]}
    ops.answers[PODS] = ops.answers[PODS].assign(**change)
    assert run(ops, fired(), monkeypatch).confirmed is False


@pytest.mark.parametrize(
    ("probe", "part", "why"),
    [
        ("redis.ping", "redis", "redis at r:6379: it refuses our read-only identity (WRONGPASS invalid pair.)"),
        ("redis.ping", "redis", "redis at r:6379: User recorder has no permissions to run the 'ping' command"),
        ("postgres.server", "postgres", "postgres at p:5432: it refuses our identity (password authentication failed)"),
        ("prometheus.targets", "targets", "prometheus at m:9090: GET /api/v1/targets answered 401: Unauthorized"),
    ],
)
@pytest.mark.parametrize("others", [(), ("LargeLoss",)])
def test_a_part_that_does_not_take_our_identity_is_never_well(
    probe: str, part: str, why: str, others: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    ops = Platform()
    ops.answers[probe] = ProbeError(why)
    for name in others:
        ops.answers["prometheus.alerts"] = firing(name)
    found = run(ops, fired("FundingRateSpike"), monkeypatch)
    assert found.confirmed is True
    assert found.symptom.startswith(f"{part} is closed to us ({why})")
    assert "part that was asked is well" not in found.symptom


def test_where_something_fires_what_was_not_seen_is_not_called_well(monkeypatch: pytest.MonkeyPatch) -> None:
    ops = Platform()
    ops.answers[PODS] = ProbeError("pods is forbidden")
    ops.answers["prometheus.alerts"] = firing("LargeLoss")
    found = run(ops, fired("FundingRateSpike"), monkeypatch)
    assert "LargeLoss fires while pods could not be seen and the other parts are well" in found.symptom
    ops.answers["prometheus.alerts"] = NO_ALERTS
    ops.answers["prometheus.rule"] = {**RULE, "series": [{"labels": {"pod": "api-1"}, "value": 12.0}]}
    found = run(ops, fired(pod="api-1"), monkeypatch)
    assert found.symptom.endswith("while pods could not be seen and the other parts are well")


def test_what_was_not_seen_leaves_it_open(monkeypatch: pytest.MonkeyPatch) -> None:
    ops = Platform()
    ops.answers[PODS] = ProbeError("pods is forbidden")
    found = run(ops, fired(), monkeypatch)
    assert found.confirmed is None
    assert "pods could not be seen" in found.symptom
    blind = Platform()
    blind.answers = dict.fromkeys(blind.answers, ProbeError("No route to host"))
    found = run(blind, fired(), monkeypatch)
    assert found.confirmed is None
    assert "nothing of the platform answers here" in found.symptom
    assert "postgres.usage" not in [name for name, _, _ in blind.asked]


@pytest.mark.parametrize(
    ("probe", "part"),
    [
        ("http.health", "api"),
        ("redis.ping", "redis"),
        ("postgres.server", "postgres"),
        ("prometheus.targets", "targets"),
    ],
)
@pytest.mark.parametrize(
    ("why", "away"),
    [
        ("Connection refused", True),
        ("timed out", True),
        ("no answer to /health within 5 s", True),
        ("max number of clients reached", True),
        ("not allowed", False),
    ],
)
def test_a_part_that_refuses_is_down_and_one_that_was_not_seen_is_not(
    probe: str, part: str, why: str, away: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ops = Platform()
    ops.answers[probe] = ProbeError(why)
    found = run(ops, fired(), monkeypatch)
    assert found.confirmed is (True if away else None)
    assert f"{part} is no answer" in found.symptom if away else f"{part} could not be seen" in found.symptom
