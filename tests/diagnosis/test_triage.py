"""A24 on facts as the probes tell them: what is over, what is not, which part is not well, and what labels name."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

import opslib
from opslib.diagnosis import Verdict, triage
from opslib.errors import ProbeError
from opslib.platforms import load
from opslib.probes.seen import Seen
from opslib.runs import catalogue, parameters
from opslib.settings import Settings
from tests.diagnosis.told import context

PROJECT = Path(__file__).resolve().parents[2]
NOW = dt.datetime(2026, 11, 28, 12, 0, tzinfo=dt.UTC)
AGO = pd.Timestamp(NOW) - pd.Timedelta(hours=3)
CONTACTS = {
    "L1": {"who": "On-call engineer", "how": "PagerDuty: trading-oncall", "within": "5 minutes"},
    "L2": {"who": "Quant team", "how": "Slack: #quant-emergency", "within": "15 minutes"},
}
KUBERNETES = ("api", "redis", "postgres", "kubernetes", "prometheus")
SERIES = {"labels": {"pod": "api-1"}, "value": 3.0}
RULE = {
    "alert": "QueueTooLong", "state": "inactive", "expression": "queue_depth > 10", "for_s": 0.0, "health": "ok",
    "error": "", "rule_labels": {"severity": "warning"}, "active": [], "holds": False, "measure": "queue_depth",
    "sign": ">", "limit": 10.0, "value": 3.0, "series": [SERIES],
}  # fmt: skip
CARD_TAINT = "nvidia.com/gpu=present:NoSchedule"
NO_ALERTS = pd.DataFrame(columns=["alertname", "state", "since", "value"])


def answered(value: Any, mark: str) -> Any:
    """An answer that knows its evidence."""
    if isinstance(value, pd.DataFrame):
        found = value.copy()
        found.attrs["evidence"] = mark
        return found
    known = Seen(value)
    known.evidence = mark
    return known


class Platform:
    """An `ops` of a platform that is well, until something is changed."""

    def __init__(self, systems: tuple[str, ...] = KUBERNETES) -> None:
        self.systems = systems
        self.unseen: list[str] = []
        self.concluded: list[Verdict] = []
        self.asked: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.context = context(contacts=CONTACTS)
        pods = {
            "pod": ["api-1", "api-2"], "status": ["Running"] * 2, "ready": [True] * 2, "restarts": [0, 0],
            "last_reason": [None] * 2, "last_finished": pd.to_datetime([None] * 2, utc=True),
            "created": [AGO] * 2, "node": ["node-1"] * 2,
        }  # fmt: skip
        nodes = {"node": ["node-1"], "ready": [True], "problems": [None], "gpu_node": [True], "taints": [CARD_TAINT]}
        workloads = {"workload": ["deployment/api"], "desired": [2], "ready": [2]}
        targets = {
            "job": ["api", "runbook"],
            "instance": ["api:80", "us:1"],
            "health": ["up", "down"],
            "error": [""] * 2,
        }
        self.answers: dict[str, Any] = {
            "http.health": {"http_status": 200, "status": "ok"},
            "http.json": ProbeError("GET /api/status answered 404: Not Found"),
            "redis.ping": {"took_ms": 0.2},
            "redis.memory": {"used_memory": 5e6, "used_memory_rss": 9e6, "maxmemory": 96e6, "policy": "allkeys-lru"},
            "postgres.server": {"answers": True, "took_ms": 4.0},
            "postgres.usage": {"used": 10, "connections_limit": 100, "used_pct": 10.0, "waiting_for_locks": 0},
            "kubernetes.pods": pd.DataFrame(pods).set_index("pod"),
            "kubernetes.workloads": pd.DataFrame(workloads).set_index("workload"),
            "kubernetes.nodes": pd.DataFrame(nodes).set_index("node"),
            "prometheus.targets": pd.DataFrame(targets),
            "prometheus.query": pd.DataFrame(columns=["metric", "value"]),
            "prometheus.alerts": NO_ALERTS,
            "prometheus.rules": pd.DataFrame({"alert": ["QueueTooLong"]}),
            "prometheus.rule": RULE,
            "prometheus.range": pd.DataFrame(
                {"value": [1.0, 3.0]}, index=pd.DatetimeIndex([AGO, pd.Timestamp(NOW)], name="time")
            ),
            "changes.recent": pd.DataFrame(columns=["time", "kind", "name", "what", "by", "unseen"]),
        }

    def __getattr__(self, system: str) -> Any:
        return _System(self, system)

    def has(self, system: str) -> bool:
        return system in self.systems

    def now(self) -> dt.datetime:
        return NOW

    def look(self, what: str, probe: Any, /, *arguments: Any, **named: Any) -> Any:
        try:
            return probe(*arguments, **named)
        except ProbeError as error:
            self.unseen.append(f"{what} ({error})")
            return None

    def conclude(self, verdict: Verdict) -> None:
        self.concluded.append(verdict)


class _System:
    def __init__(self, ops: Platform, system: str) -> None:
        self._ops, self._system = ops, system

    def __getattr__(self, probe: str) -> Any:
        name = f"{self._system}.{probe}"

        def ask(*arguments: Any, **named: Any) -> Any:
            self._ops.asked.append((name, arguments, named))
            answer = self._ops.answers[name]
            if isinstance(answer, Exception):
                raise answer
            return answered(answer, f"E-{name}")

        return ask


def run(ops: Platform, alert: dict[str, Any], monkeypatch: pytest.MonkeyPatch, platform: str = "derivatives") -> Any:
    """The notebook's cells on a platform; what its names stand for at the end."""
    monkeypatch.setattr(opslib, "connect", lambda: ops)
    settings = Settings(params=PROJECT / "params", notebooks=PROJECT / "notebooks")
    runbook = catalogue.find(settings, "triage")
    shown: list[Any] = []
    values = {**parameters.resolve(runbook, load(settings, platform), {}, alert), "display": shown.append}
    cells = json.loads((PROJECT / "notebooks" / "alerts" / "triage.ipynb").read_text("utf-8"))["cells"]
    for cell in cells[2:]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), values)
    return SimpleNamespace(**values, shown=shown)


def fired(name: str = "QueueTooLong", **labels: str) -> dict[str, Any]:
    given = {"alertname": name, "severity": "warning", **labels}
    return {"status": "firing", "labels": given, "annotations": {}, "startsAt": "2026-11-28T11:50:00Z"}


def firing(*names: str, **labels: str) -> pd.DataFrame:
    rows = [
        {"alertname": name, "state": "firing", "since": "2026-11-28T11:50:00Z", "value": 1.0, **labels}
        for name in names
    ]
    return pd.DataFrame(rows)


def test_an_alert_whose_rule_is_not_here_is_not_over(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ops = Platform()
    found = run(ops, fired("FundingRateSpike"), monkeypatch)
    [verdict] = ops.concluded
    assert found.confirmed is None
    assert verdict.summary.startswith("Not known:")
    assert "its rule is not in this Prometheus" in verdict.summary
    assert "delivered as firing at 2026-11-28T11:50:00Z" in verdict.summary
    assert verdict.confidence == 0.0
    told = capsys.readouterr().out
    assert "has it now: L1, On-call engineer, PagerDuty: trading-oncall" in told
    assert "call L2 (Quant team, Slack: #quant-emergency, within 15 minutes)" in told
    assert "Nobody has to be called" not in told
    assert "prometheus.rule" not in [name for name, _, _ in ops.asked]


def test_an_alert_whose_rule_does_not_hold_is_over(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ops = Platform()
    found = run(ops, fired(pod="api-1"), monkeypatch)
    assert (found.confirmed, found.verdict.confidence, found.verdict.unseen) == (False, 1.0, [])
    assert "E-prometheus.rule" in found.case.evidence
    assert "Nobody has to be called" in capsys.readouterr().out
    assert len(found.shown) == 2  # the rule over time, and what its labels name


@pytest.mark.parametrize(
    ("change", "confirmed"),
    [
        ({"health": "err", "error": "many-to-many matching not allowed"}, None),
        ({"health": "unknown"}, None),
        ({"series": []}, None),
        ({"series": [{"labels": {"pod": "api-2"}, "value": 3.0}]}, None),
        ({"series": [{"labels": {"pod": "api-1"}, "value": 12.0}]}, True),
        ({"series": [{"labels": {"pod": "api-1", "severity": "of the series"}, "value": 12.0}]}, True),
        ({"expression": "absent(up)", "measure": "absent(up)", "sign": None, "limit": None, "series": []}, False),
        ({"active": [{"labels": {"pod": "api-1"}, "state": "firing"}]}, True),
    ],
)
def test_only_a_rule_that_evaluates_and_does_not_hold_ends_it(
    change: dict[str, Any], confirmed: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ops = Platform()
    ops.answers["prometheus.rule"] = {**RULE, **change}
    assert run(ops, fired(pod="api-1"), monkeypatch).confirmed is confirmed


def test_an_alert_that_prometheus_has_firing_is_true_though_its_rule_cannot_be_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ops = Platform()
    ops.answers["prometheus.rule"] = ProbeError("the query takes too long")
    ops.answers["prometheus.alerts"] = firing("QueueTooLong", pod="api-1")
    found = run(ops, fired(pod="api-1"), monkeypatch)
    assert found.confirmed is True
    assert "Prometheus has it firing" in found.symptom
    assert found.fires == []
    assert run(ops, fired(pod="api-2"), monkeypatch).fires == ["QueueTooLong"]


def test_other_alerts_confirm_that_something_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    ops = Platform()
    ops.answers["prometheus.alerts"] = firing("LargeLoss")
    found = run(ops, fired("FundingRateSpike"), monkeypatch)
    assert found.confirmed is True
    assert "LargeLoss fires" in found.symptom
    ops.answers["prometheus.alerts"] = firing("Watchdog", severity="none")
    assert run(ops, fired("FundingRateSpike"), monkeypatch).confirmed is None
    ops.answers["prometheus.alerts"] = firing("VarBreach", platform="crypto")
    assert run(ops, fired("FundingRateSpike"), monkeypatch).fires == []


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


def test_a_platform_without_systems_says_whom_to_call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run(Platform(()), fired(), monkeypatch)
    assert (found.confirmed, len(found.parts)) == (None, 0)
    assert "has it now: L1" in capsys.readouterr().out


def test_the_change_nearest_to_the_alert_stands_first(monkeypatch: pytest.MonkeyPatch) -> None:
    ops = Platform()
    ops.answers["http.json"] = {
        "config_changes": [
            {"at": "2026-11-28T09:00:00.5+00:00", "key": "limits", "from": 1, "to": 2, "by": "risk desk"},
            {"at": "2026-11-28T11:48:00+00:00", "key": "kelly", "from": 0.2, "to": 0.4, "by": "risk desk"},
        ]
    }
    rows = [
        {
            "time": pd.Timestamp(NOW) - pd.Timedelta(minutes=age),
            "kind": "deployment",
            "name": f"api-{age}",
            "what": "edited",
        }
        for age in (1, 11, 90)
    ]
    unseen = {"time": pd.NaT, "kind": "secrets", "unseen": "forbidden"}
    ops.answers["changes.recent"] = pd.DataFrame([*rows, unseen])
    found = run(ops, fired(), monkeypatch)
    assert list(found.changes["name"]) == ["api-11", "kelly", "api-1", "api-90", "limits"]
    assert list(found.changes["minutes"].round()) == [1.0, 2.0, -9.0, 80.0, 170.0]
    assert set(found.changes.attrs["evidence"]) == {"E-changes.recent", "E-http.json"}


def test_where_nothing_tells_changes_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ops = Platform(("api", "redis", "prometheus"))
    found = run(ops, fired(), monkeypatch)
    assert found.changes is None
    assert found.verdict.unseen == []
    assert "Nothing here tells what changed." in capsys.readouterr().out


def test_what_the_labels_name_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    ops = Platform()
    ops.answers["http.json"] = {"models": [{"name": "momentum", "symbols": {"SOL-USD": {"edge_bps": 14.4}}}]}
    labels = {"pod": "api-2", "node": "node-1", "deployment": "gone", "instance": "api:80", "symbol": "SOL-USD"}
    found = run(ops, fired(**labels), monkeypatch).objects.set_index("part")
    assert found["state"].to_dict() == {
        "pod api-2": "ok", "node node-1": "ok", "deployment gone": "not there", "instance api:80": "ok",
        "symbol SOL-USD": "ok",
    }  # fmt: skip
    assert found.at["symbol SOL-USD", "seen"] == "models.0.symbols.SOL-USD: edge bps 14.4"
    assert found.at["pod api-2", "evidence"] == "E-kubernetes.pods"


def test_hostile_labels_become_no_question(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = '"} or vector(1) #\n{{7*7}} *; FLUSHALL'
    ops = Platform()
    labels = dict.fromkeys(("pod", "node", "deployment", "symbol", "instance", "job", "key"), bad)
    run(ops, fired(**labels), monkeypatch)
    run(ops, fired(f"X{bad}"), monkeypatch)
    assert ops.asked
    assert bad not in repr([(arguments, named) for _, arguments, named in ops.asked])
    assert all("FLUSHALL" not in repr(one) for one in ops.asked)


def test_a_rule_is_drawn_back_to_the_alerts_beginning() -> None:
    assert triage.stretch(NOW, None, 60.0) == (60.0, 15.0)
    assert triage.stretch(NOW, NOW - dt.timedelta(hours=4), 60.0) == (300.0, 75.0)
    assert triage.stretch(NOW, NOW - dt.timedelta(days=30), 60.0) == (1440.0, 360.0)
    many = pd.DataFrame({f"pod-{n}": [1.0, float(n)] for n in range(20)})
    assert list(triage.drawn(many, ">").columns) == [f"pod-{n}" for n in range(19, 11, -1)]
    assert list(triage.drawn(many, "<").columns) == [f"pod-{n}" for n in range(8)]
