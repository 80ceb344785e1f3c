"""A platform as the triage asks it, well until something is changed, and the notebook's cells run on it."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

import opslib
from opslib.diagnosis import Verdict
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
