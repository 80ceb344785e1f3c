"""A24 on facts as the probes tell them: what is over, what is not, what changed, and what labels name."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pandas as pd
import pytest

from opslib.diagnosis import triage
from opslib.errors import ProbeError
from tests.diagnosis.triage_facts import NOW, RULE, Platform, fired, firing, run


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
